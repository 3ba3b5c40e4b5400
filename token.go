package models

import (
	"cmp"
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/blacklistedtoken"
	"github.com/reviewpoint/models/ent/usedpasswordresettoken"
	"github.com/reviewpoint/models/internal/clock"
	"github.com/reviewpoint/models/internal/policy"
	"github.com/reviewpoint/models/internal/privilege"
	"github.com/reviewpoint/models/internal/row"
	"github.com/reviewpoint/models/internal/validation"
)

// clockSkew is how far the clocks of two machines may be apart: RFC 7519, 4.1.4 speaks of a few minutes
// of leeway.
const clockSkew = 5 * time.Minute

// Claims are what a token (RFC 7519) says that is checked here. The service signs them, and verifies the
// signature before CheckToken.
//
// NewClaims dates a token by the login that it comes from: IssuedAt is the whole second of
// last_login_at. A cutoff (tokens_valid_after) lies at or after all logins before it, whatever the clocks
// of other machines say, and refuses what was issued in its second or earlier. A login after the cutoff is
// put on record in the next second at the earliest, so its token passes at once, though it may seem to
// come from the future, by a second or by what the clocks of two machines differ: leave the check of iat
// to CheckToken. A token that takes the place of another one keeps its iat.
//
// A token that a service dates by its own clock is refused in the second of a cutoff, even if it is the
// newer one; and if that clock is ahead, it outlives a cutoff for as long.
type Claims struct {
	ID        string    // jti, with 1 to 255 characters; case counts
	UserID    int       // sub
	IssuedAt  time.Time // iat
	ExpiresAt time.Time // exp
}

// NewClaims returns claims with a random ID for an account that Authenticate or Register has returned. The
// token expires a lifetime from now, or from its IssuedAt if that is later, in whole seconds.
func (s *Store) NewClaims(u *ent.User, lifetime time.Duration) Claims {
	login := u.CreatedAt
	if u.LastLoginAt != nil && u.LastLoginAt.After(login) {
		login = *u.LastLoginAt
	}
	issued, now := login.UTC().Truncate(time.Second), s.moment(context.Background()).Truncate(time.Second)
	expires := now.Add(lifetime)
	if issued.After(now) {
		expires = issued.Add(lifetime)
	}
	return Claims{ID: uuid.NewString(), UserID: u.ID, IssuedAt: issued, ExpiresAt: expires.Truncate(time.Second)}
}

// CheckToken returns nil for a token that may be accepted: not expired, not blacklisted, issued after the
// account's cutoff, and the account in use. It is one statement, in one round trip; a connection of
// PostgreSQL takes one more, once, to prepare it.
//
// Everybody may. It returns ErrTokenExpired, or ErrTokenRevoked, and with that ErrDeleted or
// ErrAccountDisabled where the account is why; *ValidationError for claims that are missing; and whatever
// error the database has. A token is to be accepted after nil alone. It may run inside InTx.
func (s *Store) CheckToken(ctx context.Context, claims Claims) error {
	if _, err := policy.Asking(ctx); err != nil {
		return err
	}
	if err := claims.complete(); err != nil {
		return err
	}
	if !claims.ExpiresAt.After(s.moment(ctx)) {
		return ErrTokenExpired
	}
	var (
		listed  = true // until the database says otherwise
		account string
	)
	err := s.db.Read(ctx, checkToken, []any{claims.ID, claims.IssuedAt.Truncate(time.Second), claims.UserID}, func(r *row.Row) (err error) {
		listed, account = !row.Bool(r.Next(), &err), row.String(r.Next(), &err)
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("check a token: %w", err)
	case account == "deleted":
		return fmt.Errorf("%w: %w", ErrTokenRevoked, ErrDeleted)
	case account == "disabled":
		return fmt.Errorf("%w: %w", ErrTokenRevoked, ErrAccountDisabled)
	case listed, account != "in use":
		return ErrTokenRevoked
	}
	return nil
}

// checkToken answers one row. SQLite numbers arguments by their first appearance. A blacklisted token counts as such for as long as its row is kept, which is
// longer than the token.
const checkToken = `SELECT NOT EXISTS (SELECT 1 FROM blacklisted_tokens WHERE jti = $1), (SELECT CASE
	WHEN is_deleted THEN 'deleted'
	WHEN NOT is_active THEN 'disabled'
	WHEN tokens_valid_after >= $2 THEN 'signed in again since'
	ELSE 'in use' END FROM users WHERE id = $3)`

// ask scans the single row that a query answers.
func (s *Store) ask(ctx context.Context, query string, args []any, dest ...any) (err error) {
	rows, err := s.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	if !rows.Next() {
		return cmp.Or(rows.Err(), stdsql.ErrNoRows)
	}
	return rows.Scan(dest...)
}

// exists is what a SELECT EXISTS answers. Without an answer nothing is known, so the zero value is never one.
func (s *Store) exists(ctx context.Context, query string, args ...any) (answer bool, err error) {
	answered := false
	err = s.db.Read(ctx, query, args, func(r *row.Row) (err error) {
		answer, answered = row.Bool(r.Next(), &err), true
		return err
	})
	if err == nil && !answered {
		err = stdsql.ErrNoRows
	}
	return answer, err
}

func (c Claims) complete() error {
	switch {
	case c.UserID <= 0:
		return validation.New("Token", "sub", "must be the id of an account")
	case c.IssuedAt.IsZero():
		return validation.New("Token", "iat", "is missing")
	}
	return Token{c.ID, c.ExpiresAt}.valid()
}

// Token is a token to be revoked: its jti, and when it expires.
type Token struct {
	ID        string    // 1 to 255 characters; case counts
	ExpiresAt time.Time // kept for 5 minutes longer
}

func (t Token) valid() error {
	if err := blacklistedtoken.JtiValidator(t.ID); err != nil {
		return validation.Because("Token", "jti", "must be text of 1 to 255 characters", err)
	}
	if year := t.ExpiresAt.UTC().Year(); year < 1970 || year > 9999 {
		return validation.New("Token", "exp", "must be a time from 1970 to 9999")
	}
	return nil
}

// RevokeToken puts a token on the blacklist, where it stays until it has expired and 5 minutes more. Again
// is no error; the later expiry is kept.
//
// Signed-in persons and the system may; others get ErrForbidden. It returns *ValidationError for an id or a
// time that cannot be. It may run inside InTx.
func (s *Store) RevokeToken(ctx context.Context, jti string, expiresAt time.Time) error {
	_, err := s.RevokeTokens(ctx, []Token{{jti, expiresAt}})
	return err
}

// RevokeTokens is RevokeToken for any number, all of them or none. It returns how many the blacklist did
// not hold, or not for as long; none for no tokens. Its errors are those of RevokeToken, and it may run
// inside InTx.
func (s *Store) RevokeTokens(ctx context.Context, tokens []Token) (int, error) {
	if err := s.allow(ctx, "revoke tokens", func(Viewer) bool { return true }); err != nil {
		return 0, err
	}
	last := make(map[string]time.Time, len(tokens)) // by id; a statement takes each once
	for _, token := range tokens {
		if err := token.valid(); err != nil {
			return 0, err
		}
		if at := clock.Normal(token.ExpiresAt); at.After(last[token.ID]) {
			last[token.ID] = at
		}
	}
	ids := slices.Sorted(maps.Keys(last)) // so that two callers do not wait for each other
	if len(ids) <= revokeBatch {
		return s.revoke(ctx, ids, last)
	}
	var revoked int
	err := s.InTx(ctx, func(ctx context.Context) error {
		revoked = 0
		for batch := range slices.Chunk(ids, revokeBatch) {
			n, err := s.revoke(ctx, batch, last)
			if err != nil {
				return err
			}
			revoked += n
		}
		return nil
	})
	return revoked, err
}

// revokeBatch is how many tokens go in one statement.
const revokeBatch = 500

func (s *Store) revoke(ctx context.Context, ids []string, expires map[string]time.Time) (int, error) {
	if len(ids) == 0 {
		return 0, nil
	}
	values, args := make([]string, len(ids)), []any{s.moment(ctx)}
	for i, id := range ids {
		args = append(args, id, expires[id])
		values[i] = fmt.Sprintf("($1, $1, $%d, $%d)", len(args)-1, len(args))
	}
	result, err := s.ExecContext(ctx, "INSERT INTO blacklisted_tokens (created_at, updated_at, jti, expires_at) VALUES "+strings.Join(values, ", ")+
		" ON CONFLICT (jti) DO UPDATE SET expires_at = excluded.expires_at, updated_at = excluded.updated_at WHERE blacklisted_tokens.expires_at < excluded.expires_at", args...)
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	return int(n), err
}

// RevokeAllTokens refuses whatever tokens of the account were issued before.
//
// The person, administrators and the system may; others get ErrForbidden. It returns ErrNotFound for an
// account that is not there. It may run inside InTx.
func (s *Store) RevokeAllTokens(ctx context.Context, userID int) error {
	err := s.allow(ctx, "revoke the tokens of another account", func(v Viewer) bool { return v.Admin || v.UserID == userID })
	if err != nil {
		return err
	}
	return s.User.UpdateOneID(userID).SetTokensValidAfter(s.moment(ctx)).Exec(privilege.Raise(ctx, ent.TypeUser))
}

// TokenRevoked reports whether the token is blacklisted and has not expired. It knows nothing of the
// account and its cutoff: CheckToken does.
//
// Everybody may. An id that no token has is not revoked. After an error, which is the database's, nothing
// is known of the token. It may run inside InTx.
func (s *Store) TokenRevoked(ctx context.Context, jti string) (bool, error) {
	if _, err := policy.Asking(ctx); err != nil {
		return false, err
	}
	revoked, err := s.exists(ctx, "SELECT EXISTS (SELECT 1 FROM blacklisted_tokens WHERE jti = $1 AND expires_at > $2)", jti, s.moment(ctx))
	if err != nil {
		return false, fmt.Errorf("check a token: %w", err)
	}
	return revoked, nil
}

// ConsumeResetToken makes a nonce of 1 to 64 characters count for an address: of any number of callers, in
// whatever processes, one succeeds, and the others get ErrTokenUsed. ResetPassword does it together with
// the new password.
//
// Everybody may. It returns *ValidationError for an address or a nonce that cannot be. It may run inside
// InTx, which can go on after ErrTokenUsed.
func (s *Store) ConsumeResetToken(ctx context.Context, email, nonce string) error {
	if _, err := policy.Asking(ctx); err != nil {
		return err
	}
	return s.consume(privilege.Raise(ctx, ent.TypeUsedPasswordResetToken), email, nonce)
}

func validNonce(nonce string) error {
	if err := usedpasswordresettoken.NonceValidator(nonce); err != nil {
		return validation.Because(ent.TypeUsedPasswordResetToken, usedpasswordresettoken.FieldNonce, "must be text of 1 to 64 characters", err)
	}
	return nil
}

func (s *Store) consume(ctx context.Context, email, nonce string) error {
	if err := validNonce(nonce); err != nil {
		return err
	}
	err := s.UsedPasswordResetToken.Create().SetEmail(email).SetNonce(nonce).
		OnConflictColumns(usedpasswordresettoken.FieldEmail, usedpasswordresettoken.FieldNonce).DoNothing().Exec(ctx)
	if errors.Is(err, stdsql.ErrNoRows) { // It was there.
		return ErrTokenUsed
	}
	return err
}

// resetUsed reports whether the nonce has counted for the address, which is in its normal form.
func (s *Store) resetUsed(ctx context.Context, email, nonce string) (bool, error) {
	return s.UsedPasswordResetToken.Query().
		Where(usedpasswordresettoken.Email(email), usedpasswordresettoken.Nonce(nonce)).Exist(ctx)
}
