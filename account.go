package models

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/predicate"
	"github.com/reviewpoint/models/ent/user"
	"github.com/reviewpoint/models/internal/address"
	"github.com/reviewpoint/models/internal/clock"
	"github.com/reviewpoint/models/internal/cutoff"
	"github.com/reviewpoint/models/internal/password"
	"github.com/reviewpoint/models/internal/policy"
	"github.com/reviewpoint/models/internal/privilege"
	"github.com/reviewpoint/models/internal/row"
	"github.com/reviewpoint/models/internal/validation"
	"github.com/reviewpoint/models/internal/viewer"
	"github.com/reviewpoint/models/schema"
)

// UserOption sets more of the account that Register makes, such as its name. Register's own address and
// password take the place of what it sets of these.
type UserOption = func(*ent.UserMutation)

// Register makes an account. The address is stored in its normal form: without spaces around it, in
// lower case, composed (Unicode's NFC); it has at most 254 bytes. The password has 8 to 128 characters
// (WithMaxPasswordLength), is not among the most common ones, and is not the address; no rules of
// composition, as NIST SP 800-63B advises. It is stored as a hash of Argon2id (WithPasswordHashing).
//
// Everybody may; but what a person may not change of the own account (is_admin, for one), only
// administrators and the system set by an option: others get ErrForbidden. It returns *ValidationError,
// and ErrEmailTaken, which tells that there is such an account: a service that must not say so answers
// alike and writes to the address. It may run inside InTx, which can only be rolled back after
// ErrEmailTaken.
func (s *Store) Register(ctx context.Context, email, password string, opts ...UserOption) (*ent.User, error) {
	v, err := policy.Asking(ctx)
	if err != nil {
		return nil, err
	}
	create := s.User.Create()
	for _, opt := range opts {
		opt(create.Mutation())
	}
	if !v.System && !v.Admin {
		for _, column := range slices.Concat(create.Mutation().Fields(), create.Mutation().AddedEdges()) {
			if !slices.Contains(profile, column) {
				return nil, policy.Deny("%s may not set %s of a new account", v, column)
			}
		}
	}
	if email, err = normalAddress(email); err != nil {
		return nil, err
	}
	hash, err := s.newHash(ctx, password, email)
	if err != nil {
		return nil, err
	}
	u, err := create.SetEmail(email).SetHashedPassword(hash).Save(privilege.Raise(ctx, ent.TypeUser))
	return u, taken(err)
}

func taken(err error) error {
	if errors.Is(err, ErrUnique) { // The other value that is unique is random.
		return ErrEmailTaken
	}
	return err
}

// Authenticate returns the account with the address and the password, and records the login in
// last_login_at. A hash of the old application, or one that cost less than they do now, is replaced, but
// for bcrypt's of more than 72 bytes, which is all of a password that bcrypt looks at. NewClaims makes a
// token's claims of what it returns.
//
// Everybody may, but for a viewer without an account in use, who gets ErrForbidden. It returns
// ErrInvalidCredentials for an unknown address, a deleted account, and a wrong password, and takes as long
// for each: that of a hash, and of one of bcrypt's besides as long as any account has one. Only accounts that
// have not signed in since WithPasswordHashing was raised take less. It returns ErrAccountDisabled for a
// disabled account, to whoever knows its password, and ErrSerialization for one that others keep changing. It
// may run inside InTx, as ChangePassword does. How often somebody may try is for the service to bound.
func (s *Store) Authenticate(ctx context.Context, email, chosen string) (*ent.User, error) {
	v, err := policy.Asking(ctx)
	if err == nil {
		err = policy.InUse(ctx, s, v)
	}
	if err != nil {
		return nil, err
	}
	if password.TooLong(chosen, s.maxPassword) {
		return nil, ErrInvalidCredentials
	}
	ctx = privilege.Raise(ctx, ent.TypeUser)
	for range 5 {
		u, err := s.known(ctx, email)
		if err != nil {
			return nil, err
		}
		stale, err := s.verify(ctx, u, chosen)
		switch {
		case err != nil:
			return nil, err
		case !u.IsActive:
			return nil, ErrAccountDisabled
		}
		signedIn, err := s.signIn(ctx, u, chosen, stale)
		if err != nil || signedIn != nil {
			return signedIn, err
		}
		// The account has changed since it was read, perhaps its password.
	}
	return nil, fmt.Errorf("sign in: %w", ErrSerialization)
}

// known returns the account with the address, or one that no password matches.
func (s *Store) known(ctx context.Context, email string) (*ent.User, error) {
	email, err := address.Normal(email)
	if err != nil {
		email = "" // which nobody has
	}
	u, err := s.User.Query().Where(user.Email(email), user.IsDeleted(false)).
		Select(user.FieldID, user.FieldHashedPassword, user.FieldIsActive). // whose reading takes as long for each
		Only(ctx)
	if ent.IsNotFound(err) {
		return &ent.User{HashedPassword: password.None}, nil
	}
	return u, err
}

// verify returns ErrInvalidCredentials for a wrong password, or else whether the hash should be replaced.
func (s *Store) verify(ctx context.Context, u *ent.User, chosen string) (stale bool, err error) {
	bcrypt, err := s.exists(ctx, "SELECT EXISTS (SELECT 1 FROM users WHERE NOT is_deleted AND hashed_password LIKE '$2%')")
	if err != nil {
		return false, err
	}
	matches, stale, err := s.passwords.Verify(ctx, u.HashedPassword, chosen)
	if err != nil || matches {
		return stale, err
	}
	if bcrypt {
		err = s.passwords.Spend(ctx, u.HashedPassword, chosen)
	}
	return false, cmp.Or(err, ErrInvalidCredentials)
}

// signIn records the login of an account whose password has been verified, and replaces its hash if that
// is stale. It returns nil if the account is not any more as it was then.
func (s *Store) signIn(ctx context.Context, u *ent.User, chosen string, stale bool) (signedIn *ent.User, err error) {
	hash := u.HashedPassword
	if stale {
		if hash, err = s.passwords.Hash(ctx, chosen); err != nil {
			return nil, err
		}
	}
	err = s.InTx(ctx, func(ctx context.Context) error {
		signedIn = nil
		same, err := s.recordLogin(ctx, u.ID, s.moment(ctx), " AND is_active AND hashed_password = $4", u.HashedPassword)
		if err != nil || !same {
			return err
		}
		if stale {
			if err := s.User.UpdateOneID(u.ID).SetHashedPassword(hash).Exec(cutoff.Keep(ctx)); err != nil {
				return err
			}
		}
		signedIn, err = s.User.Get(ctx, u.ID)
		return err
	})
	return signedIn, err
}

// RecordLogin sets last_login_at, unless a later login is on record. at is at most 5 minutes from now.
// Authenticate calls it; others that sign people in, such as a single sign-on, do so themselves.
//
// Administrators and the system may; others get ErrForbidden. It returns ErrNotFound for an account that
// is not there, and *ValidationError for a time that cannot be. It may run inside InTx.
func (s *Store) RecordLogin(ctx context.Context, userID int, at time.Time) error {
	if err := s.allow(ctx, "record logins", func(v Viewer) bool { return v.Admin }); err != nil {
		return err
	}
	if at.IsZero() || at.UTC().Year() < 1 || clock.Normal(at).After(s.moment(ctx).Add(clockSkew)) {
		return validation.New(ent.TypeUser, user.FieldLastLoginAt, "must be a time that is not in the future")
	}
	found, err := s.recordLogin(ctx, userID, at, "")
	if err == nil && !found {
		err = fmt.Errorf("user %d: %w", userID, ErrNotFound)
	}
	return err
}

// recordLogin moves last_login_at on to at, and past the cutoff: see Claims. Logins are not audited, so
// this goes by one statement. It reports whether there is such an account.
func (s *Store) recordLogin(ctx context.Context, userID int, at time.Time, where string, args ...any) (bool, error) {
	latest := "max($1, ifnull(last_login_at, ''), ifnull(datetime(tokens_valid_after, '+1 second'), ''))"
	if s.Dialect() == dialect.Postgres {
		latest = "GREATEST($1::timestamptz, last_login_at, date_trunc('second', tokens_valid_after) + interval '1 second')"
	}
	result, err := s.ExecContext(ctx, "UPDATE users SET last_login_at = "+latest+", updated_at = $2 WHERE id = $3 AND NOT is_deleted"+where,
		append([]any{clock.Normal(at), s.moment(ctx), userID}, args...)...)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// UserByID returns the account with the id. Whoever may not see it gets ErrNotFound. It answers as s.User.Get
// does, but sooner, for it goes round the client: interceptors that a service has added do not run. It may run
// inside InTx.
func (s *Store) UserByID(ctx context.Context, userID int) (*ent.User, error) {
	if viewer.DeletedIncluded(ctx) {
		return s.user(ctx, ent.SelectUser+" WHERE id = $1", userID)
	}
	return s.user(ctx, ent.SelectUser+" WHERE id = $1 AND NOT is_deleted", userID)
}

// UserByEmail returns the account with the address, in whatever form that is written, and not a deleted
// one; its Email is the one to write to. Whoever may not see it gets ErrNotFound. It returns
// *ValidationError for what is no address. It goes round the client as UserByID does, and may run inside InTx.
func (s *Store) UserByEmail(ctx context.Context, email string) (*ent.User, error) {
	email, err := normalAddress(email)
	if err != nil {
		return nil, err
	}
	return s.user(ctx, ent.SelectUser+" WHERE email = $1 AND NOT is_deleted", email)
}

// user returns the account that a query finds, as the client answers the same query under the rules of
// the schema.
func (s *Store) user(ctx context.Context, query string, arg any) (*ent.User, error) {
	owner, err := userRules.Readable(ctx, ent.TypeUser)
	if err != nil {
		return nil, err
	}
	args := []any{arg}
	if owner != 0 { // A row of somebody else is not even read: how long that takes would tell of it.
		query, args = query+" AND id = $2 AND NOT is_deleted", append(args, owner)
	}
	var found *ent.User
	err = s.db.Read(ctx, query, args, func(r *row.Row) error {
		found = &s.User.Nodes(1)[0]
		return found.Scan(r)
	})
	if err == nil && found == nil {
		err = ent.NewNotFoundError(user.Label)
	}
	if err != nil {
		return nil, err
	}
	return found, nil
}

var userRules = schema.User{}.Policy().(policy.Rules) //nolint:forcetypeassert // Else no program starts.

// UpsertUser gives the account with the address what set sets, or makes one; without a password, if set
// does not give its hash. set may be called more than once.
//
// The system may; administrators and the person may update what they may by the client; others get
// ErrForbidden. It returns *ValidationError, and ErrEmailTaken where set gives the account an address that another one has, or
// where it runs inside InTx and somebody else made the account meanwhile; then that transaction can only
// be rolled back.
func (s *Store) UpsertUser(ctx context.Context, email string, set func(*ent.UserMutation)) (*ent.User, error) {
	email, err := normalAddress(email)
	if err != nil {
		return nil, err
	}
	var u *ent.User
	for range 3 { // Another one may make it between the look and the creation.
		err = s.InTx(ctx, func(ctx context.Context) error {
			u, err = s.upsertUser(ctx, email, set)
			return err
		})
		if !errors.Is(err, ErrUnique) || s.db.InTransaction(ctx) {
			break
		}
	}
	return u, taken(err)
}

func (s *Store) upsertUser(ctx context.Context, email string, set func(*ent.UserMutation)) (*ent.User, error) {
	u, err := s.locked(user.Email(email), user.IsDeleted(false)).Only(ctx)
	switch {
	case ent.IsNotFound(err):
		create := s.User.Create().SetHashedPassword(password.None)
		set(create.Mutation())
		return create.SetEmail(email).Save(ctx)
	case err != nil:
		return nil, err
	}
	update := s.User.UpdateOne(u)
	set(update.Mutation())
	return update.Save(ctx)
}

// locked is a query of accounts that nobody else changes until the transaction ends; in SQLite that is so
// anyway.
func (s *Store) locked(which ...predicate.User) *ent.UserQuery {
	query := s.User.Query().Where(which...)
	if s.Dialect() == dialect.Postgres {
		query.ForUpdate()
	}
	return query
}

// DeactivateUser disables an account: nobody signs in to it, and the tokens issued before are refused, also
// after ReactivateUser. Again is no error.
//
// Administrators and the system may; others get ErrForbidden. It returns ErrNotFound for an account that is
// not there. It may run inside InTx.
func (s *Store) DeactivateUser(ctx context.Context, userID int) error {
	return s.User.UpdateOneID(userID).SetIsActive(false).Exec(ctx)
}

// ReactivateUser undoes DeactivateUser, but for the tokens. Again is no error.
//
// Administrators and the system may; others get ErrForbidden. It returns ErrNotFound for an account
// that is not there. It may run inside InTx.
func (s *Store) ReactivateUser(ctx context.Context, userID int) error {
	return s.User.UpdateOneID(userID).SetIsActive(true).Exec(ctx)
}

// SignupsPerMonth counts the accounts made in each month of a year from 1 to 9998, January first, in
// UTC. Those deleted since count in a context from IncludeDeleted.
//
// It counts what the viewer may see: all for administrators and the system, the own one for a person;
// others get ErrForbidden. It is twelve statements, and may run inside InTx.
func (s *Store) SignupsPerMonth(ctx context.Context, year int) ([12]int, error) {
	var months [12]int
	for i := range months {
		begin := time.Date(year, time.January+time.Month(i), 1, 0, 0, 0, 0, time.UTC)
		n, err := s.User.Query().Where(user.CreatedAtGTE(begin), user.CreatedAtLT(begin.AddDate(0, 1, 0))).Count(ctx)
		if err != nil {
			return months, err
		}
		months[i] = n
	}
	return months, nil
}

// SoftDeleteUser deletes an account and keeps its row and its files: nobody finds the row without
// IncludeDeleted, the address is free for somebody else, and tokens issued before are refused
// (tokens_valid_after). It is what the client's Delete does, but keeps the row under HardDelete too.
//
// Administrators and the system may; others get ErrForbidden. It returns ErrNotFound for an account that
// is not there or deleted already: of two at once, one. It may run inside InTx.
func (s *Store) SoftDeleteUser(ctx context.Context, userID int) error {
	return s.User.UpdateOneID(userID).SetIsDeleted(true).Exec(ctx)
}

// RestoreUser undoes SoftDeleteUser, but for the tokens.
//
// Administrators and the system may; others get ErrForbidden. It returns ErrEmailTaken when somebody else
// has the address by now, after which a transaction that it ran in can only be rolled back, and
// ErrNotFound for an account that is not there or not deleted. It may run inside InTx.
func (s *Store) RestoreUser(ctx context.Context, userID int) error {
	err := s.User.UpdateOneID(userID).Where(user.IsDeleted(true)).SetIsDeleted(false).Exec(IncludeDeleted(ctx))
	return taken(err)
}
