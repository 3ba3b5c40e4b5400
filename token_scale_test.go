package models_test

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/bcrypt"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent/blacklistedtoken"
	"github.com/reviewpoint/models/ent/user"
)

// TestRevokeToken_AtOnce lets 64 callers revoke one token with an expiry of their own each.
func TestRevokeToken_AtOnce(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		for range rounds() {
			jti, soon := uuid.NewString(), time.Now().Add(time.Hour).Truncate(time.Microsecond)
			calls := make([]func() error, 64)
			for i, k := range rand.Perm(len(calls)) {
				calls[i] = func() error { return s.RevokeToken(ctx, jti, soon.Add(time.Duration(k)*time.Microsecond)) }
			}
			check(t, errors.Join(atOnce(calls...)...))
			row := must(s.BlacklistedToken.Query().Where(blacklistedtoken.Jti(jti)).Only(ctx))(t)
			if want := soon.Add(63 * time.Microsecond); !row.ExpiresAt.Equal(want) {
				t.Errorf("it expires at %s, want the latest, %s", row.ExpiresAt, want)
			}
		}
	})
}

// TestRevokeTokens_Overlapping lets several callers revoke sets with much in common and in whatever order,
// some in one statement and some in several. None waits for another in a circle.
func TestRevokeTokens_Overlapping(t *testing.T) {
	t.Parallel()
	const callers, pool = 8, 900
	eachURL(t, func(t *testing.T, url string) {
		t.Run("revoke", func(t *testing.T) {
			ctx, s := models.AsSystem(t.Context(), "test"), open(t, url)
			must(s.Migrate(ctx))(t)
			soon := time.Now().Add(time.Hour).Truncate(time.Second)
			latest := make(map[string]time.Time)
			for range rounds() {
				calls := make([]func() error, callers)
				for i := range calls {
					tokens := make([]models.Token, 0, pool)
					for range 200 + rand.N(600) {
						token := models.Token{ID: fmt.Sprintf("token %d", rand.N(pool)), ExpiresAt: soon.Add(rand.N(time.Hour).Truncate(time.Microsecond))}
						tokens = append(tokens, token)
						if token.ExpiresAt.After(latest[token.ID]) {
							latest[token.ID] = token.ExpiresAt
						}
					}
					calls[i] = func() error {
						_, err := s.RevokeTokens(ctx, tokens)
						return err
					}
				}
				check(t, errors.Join(atOnce(calls...)...))
			}
			rows := must(s.BlacklistedToken.Query().All(ctx))(t)
			if len(rows) != len(latest) {
				t.Errorf("%d rows, want one for each of %d tokens", len(rows), len(latest))
			}
			for _, row := range rows {
				if !row.ExpiresAt.Equal(latest[row.Jti]) {
					t.Errorf("%s expires at %s, want the latest, %s", row.Jti, row.ExpiresAt, latest[row.Jti])
				}
			}
		})
		// InTx would have tried again after a deadlock. The server's account of them is complete when the
		// connections are gone.
		ctx, s := models.AsSystem(t.Context(), "check"), open(t, url, models.WithMaxConns(1))
		settle(t, ctx, s)
		if s.Dialect() == "postgres" {
			if n := column[int](t, ctx, s, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")[0]; n != 0 {
				t.Errorf("the server has ended %d deadlocks, want none", n)
			}
		}
	})
}

// TestRevokeTokens_Duplicates gives the same token several times in one call.
func TestRevokeTokens_Duplicates(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		soon := time.Now().Add(time.Hour).Truncate(time.Second)
		tokens := make([]models.Token, 0, 2400)
		for i := range 2400 {
			tokens = append(tokens, models.Token{ID: fmt.Sprintf("token %d", i%1200), ExpiresAt: soon.Add(time.Duration(i%7) * time.Minute)})
		}
		for _, want := range []int{1200, 0} { // the first time, and again
			if n := must(s.RevokeTokens(ctx, tokens))(t); n != want {
				t.Errorf("%d tokens were revoked, want %d", n, want)
			}
		}
		for _, row := range must(s.BlacklistedToken.Query().All(ctx))(t) {
			var i int
			must(fmt.Sscanf(row.Jti, "token %d", &i))(t)
			if want := soon.Add(time.Duration(max(i%7, (i+1200)%7)) * time.Minute); !row.ExpiresAt.Equal(want) {
				t.Errorf("%s expires at %s, want the later one, %s", row.Jti, row.ExpiresAt, want)
			}
		}
	})
}

// TestRevokeToken_IDsAreExact revokes one of several ids that look alike.
func TestRevokeToken_IDsAreExact(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		alike := []string{"token-a", "TOKEN-A", "Token-a", "token-a ", " token-a", "token-\u00e9", "token-e\u0301", "token-_", "token-%"}
		u, later := must(newUser(s).Save(ctx))(t), time.Now().Add(time.Hour)
		for i, revoked := range alike {
			check(t, s.RevokeToken(ctx, revoked, later))
			for k, other := range alike {
				claims := s.NewClaims(u, time.Hour)
				claims.ID = other
				err, is := s.CheckToken(ctx, claims), must(s.TokenRevoked(ctx, other))(t)
				if want := k <= i; errors.Is(err, models.ErrTokenRevoked) != want || (err == nil) == want || is != want {
					t.Errorf("%q answers %v and %t after %q, want revoked: %t", other, err, is, alike[:i+1], want)
				}
			}
		}
	})
}

// tokenOwner is somebody who signs in, and whose tokens are cut off.
type tokenOwner struct {
	*models.Store

	id              int
	email, password string
}

// tokenLifetime is more than the clocks of the tests go on.
const tokenLifetime = 10000 * time.Hour

// newTokenOwner makes an account, and returns the claims of its first token, too.
func newTokenOwner(t *testing.T, ctx context.Context, s *models.Store) (*tokenOwner, models.Claims) {
	t.Helper()
	c := &tokenOwner{Store: s, email: uuid.NewString() + "@example.org"}
	u := must(s.Register(ctx, c.email, c.choose()))(t)
	c.id = u.ID
	return c, s.NewClaims(u, tokenLifetime)
}

// choose gives the client another password, which is returned.
func (c *tokenOwner) choose() string {
	c.password = "password of " + uuid.NewString()
	return c.password
}

func (c *tokenOwner) signIn(ctx context.Context) (models.Claims, error) {
	u, err := c.Authenticate(ctx, c.email, c.password)
	if err != nil {
		return models.Claims{}, err
	}
	return c.NewClaims(u, tokenLifetime), nil
}

// signInAt is the way of a single sign-on, with the time that it gives.
func (c *tokenOwner) signInAt(ctx context.Context, at time.Time) (models.Claims, error) {
	if err := c.RecordLogin(ctx, c.id, at); err != nil {
		return models.Claims{}, err
	}
	u, err := c.UserByID(ctx, c.id)
	if err != nil {
		return models.Claims{}, err
	}
	return c.NewClaims(u, tokenLifetime), nil
}

// moveIn gives the account of the client a password of the old application, by the client of ent.
func (c *tokenOwner) moveIn(ctx context.Context) error {
	hash, err := bcrypt.GenerateFromPassword([]byte(c.choose()), bcrypt.MinCost)
	return errors.Join(err, c.User.UpdateOneID(c.id).SetHashedPassword(string(hash)).SetIsActive(true).Exec(ctx))
}

type cutoffKind struct {
	name string
	do   func(ctx context.Context, c *tokenOwner) error
}

// cutoffs are what refuses the tokens from before. Each leaves an account to which one can sign in.
func cutoffs() []cutoffKind {
	return []cutoffKind{
		{"RevokeAllTokens", func(ctx context.Context, c *tokenOwner) error { return c.RevokeAllTokens(ctx, c.id) }},
		{"SetPassword", func(ctx context.Context, c *tokenOwner) error { return c.SetPassword(ctx, c.id, c.choose()) }},
		{"ChangePassword", func(ctx context.Context, c *tokenOwner) error {
			old := c.password
			return c.ChangePassword(ctx, c.id, old, c.choose())
		}},
		{"ResetPassword", func(ctx context.Context, c *tokenOwner) error {
			return c.ResetPassword(models.AsAnonymous(ctx), c.email, uuid.NewString(), c.choose())
		}},
		{"SoftDeleteUser and RestoreUser", func(ctx context.Context, c *tokenOwner) error {
			return errors.Join(c.SoftDeleteUser(ctx, c.id), c.RestoreUser(ctx, c.id))
		}},
		{"DeactivateUser and ReactivateUser", func(ctx context.Context, c *tokenOwner) error {
			return errors.Join(c.DeactivateUser(ctx, c.id), c.ReactivateUser(ctx, c.id))
		}},
		{"AnonymizeUser, and another life", func(ctx context.Context, c *tokenOwner) error {
			if err := c.AnonymizeUser(ctx, c.id); err != nil {
				return err
			}
			u, err := c.UserByID(ctx, c.id)
			if err != nil {
				return err
			}
			c.email = u.Email
			return c.moveIn(ctx)
		}},
		{"ent's Update of the password", func(ctx context.Context, c *tokenOwner) error { return c.moveIn(ctx) }},
		{"ent's Delete and RestoreUser", func(ctx context.Context, c *tokenOwner) error {
			_, err := c.User.Delete().Where(user.ID(c.id)).Exec(ctx)
			return errors.Join(err, c.RestoreUser(ctx, c.id))
		}},
		{"ent's Update to a time long ago", func(ctx context.Context, c *tokenOwner) error {
			return c.User.Update().Where(user.ID(c.id)).SetTokensValidAfter(someDay.AddDate(-1, 0, 0)).Exec(ctx)
		}},
		{"RevokeAllTokens after a login, in one transaction", func(ctx context.Context, c *tokenOwner) error {
			return c.InTx(ctx, func(ctx context.Context) error {
				if _, err := c.signIn(ctx); err != nil {
					return err
				}
				return c.RevokeAllTokens(ctx, c.id)
			})
		}},
	}
}

// TestCutoff_SameSecond cuts tokens off while the clock stands, or hardly moves. What was issued before is
// refused at once and for ever, and a login right after it passes at once.
func TestCutoff_SameSecond(t *testing.T) {
	t.Parallel()
	second := time.Date(2026, 3, 29, 1, 59, 59, 0, time.UTC)
	eachCheap(t, second, func(t *testing.T, ctx context.Context, s *models.Store, clock *fakeClock) {
		for i, kind := range cutoffs() {
			for k, tt := range []struct{ fraction, before time.Duration }{
				{0, 0},
				{0, time.Microsecond},
				{123456 * time.Microsecond, 123456 * time.Microsecond},
				{time.Second - time.Microsecond, 0},
				{time.Second - time.Microsecond, time.Microsecond},
			} {
				if (i+k)%3 > 0 && !isLong() {
					continue
				}
				at := second.Add(tt.fraction)
				clock.set(at.Add(-tt.before))
				c, first := newTokenOwner(t, ctx, s)
				old := []models.Claims{first, must(c.signIn(ctx))(t)}
				clock.set(at)
				where := fmt.Sprintf("%s at %s, logins %s before", kind.name, at.Format("05.000000"), tt.before)
				var login models.Claims
				for range 2 {
					check(t, kind.do(ctx, c))
					wantCutOff(t, ctx, s, where, old...)
					login = must(c.signIn(ctx))(t)
					again := must(c.signIn(ctx))(t)
					wantAccepted(t, ctx, s, where, login, again)
					wantCutOff(t, ctx, s, where+", then a login", old...)
					old = append(old, login, again)
				}
				for _, later := range []time.Duration{time.Microsecond, time.Second, time.Hour} {
					clock.set(at.Add(later))
					wantCutOff(t, ctx, s, where+", then "+later.String(), old[:len(old)-2]...)
					wantAccepted(t, ctx, s, where+", then "+later.String(), login, must(c.signIn(ctx))(t))
				}
			}
		}
	})
}

func wantCutOff(t *testing.T, ctx context.Context, s *models.Store, where string, tokens ...models.Claims) {
	t.Helper()
	for _, token := range tokens {
		if err := s.CheckToken(ctx, token); !errors.Is(err, models.ErrTokenRevoked) {
			t.Errorf("%s: a token of %s from before answers %v, want ErrTokenRevoked", where, token.IssuedAt, err)
		}
	}
}

func wantAccepted(t *testing.T, ctx context.Context, s *models.Store, where string, tokens ...models.Claims) {
	t.Helper()
	for _, token := range tokens {
		if err := s.CheckToken(ctx, token); err != nil {
			t.Errorf("%s: a token of %s from after it answers %v", where, token.IssuedAt, err)
		}
	}
}

// TestCutoff_AnySequence runs random sequences of logins and cutoffs, on machines whose clocks are up to a
// minute behind. Every token from before the last cutoff is refused, and every one from after it passes.
func TestCutoff_AnySequence(t *testing.T) {
	t.Parallel()
	sequences := 20
	if isLong() {
		sequences = 3000
	}
	eachCheap(t, someDay, func(t *testing.T, ctx context.Context, s *models.Store, clock *fakeClock) {
		tokens := 0
		for range sequences {
			h := &tokenHistory{clock: clock, now: someDay}
			h.pass()
			c, first := newTokenOwner(t, ctx, s)
			h.live = append(h.live, first)
			h.note("Register")
			for range 4 + rand.N(16) {
				if err := h.step(ctx, c); err != nil {
					t.Fatalf("%v\nafter %s", err, h)
				}
				if !h.holds(t, ctx, s) {
					return
				}
			}
			tokens += len(h.old) + len(h.live)
		}
		t.Logf("%d sequences with %d tokens", sequences, tokens)
	})
}

// tokenHistory is one sequence.
type tokenHistory struct {
	clock     *fakeClock
	now       time.Time // by the clock that is right
	steps     []string
	old, live []models.Claims // from before the last cutoff, and from after it
}

func (h *tokenHistory) String() string { return strings.Join(h.steps, "\n      ") }

func (h *tokenHistory) note(step string) {
	h.steps = append(h.steps, h.clock.Now().UTC().Format("15:04:05.000000 ")+step)
}

func anyOf[T any](of ...T) T { return of[rand.N(len(of))] }

// pass lets some time go by, or none. Then it is another machine's turn.
func (h *tokenHistory) pass() {
	h.now = h.now.Add(anyOf(0, 0, 0, time.Microsecond, 300*time.Millisecond, time.Second-time.Microsecond, time.Second, time.Minute))
	h.clock.set(h.now.Add(-anyOf(0, 0, 0, time.Microsecond, 500*time.Millisecond, time.Second, rand.N(time.Minute), time.Minute)))
}

func (h *tokenHistory) step(ctx context.Context, c *tokenOwner) error {
	h.pass()
	switch rand.N(10) {
	case 0, 1, 2, 3:
		cut := anyOf(cutoffs()...)
		h.note(cut.name)
		h.old, h.live = append(h.old, h.live...), nil
		return cut.do(ctx, c)
	case 4:
		h.note("a cutoff that is undone")
		err := c.InTx(ctx, func(ctx context.Context) error {
			return errors.Join(c.RevokeAllTokens(ctx, c.id), errOnPurpose)
		})
		if errors.Is(err, errOnPurpose) {
			return nil
		}
		return err
	case 5:
		at := h.clock.Now().Truncate(time.Microsecond).Add(anyOf(-time.Hour, -time.Second, -time.Microsecond, 0, time.Second, 5*time.Minute))
		h.note("RecordLogin at " + at.UTC().Format("15:04:05.000000"))
		return h.login(c.signInAt(ctx, at))
	default:
		h.note("Authenticate")
		return h.login(c.signIn(ctx))
	}
}

func (h *tokenHistory) login(token models.Claims, err error) error {
	h.live = append(h.live, token)
	return err
}

func (h *tokenHistory) holds(t *testing.T, ctx context.Context, s *models.Store) bool {
	t.Helper()
	for want, tokens := range map[error][]models.Claims{models.ErrTokenRevoked: h.old, nil: h.live} {
		for _, token := range tokens {
			if err := s.CheckToken(ctx, token); !errors.Is(err, want) {
				t.Errorf("a token of %s answers %v, want %v, after\n      %s", token.IssuedAt, err, want, h)
				return false
			}
		}
	}
	return true
}

// signInOrder asks a worker to sign in by a password, again and again, until it is wrong.
type signInOrder struct {
	Email    string `json:"email"`
	Password string `json:"password"`
}

// signInRounds is a worker. It says when somebody has signed in, and at the end which tokens there were.
func signInRounds(t *testing.T, s *models.Store, orders *json.Decoder) error {
	t.Helper()
	ctx := models.AsAnonymous(t.Context())
	for {
		var order signInOrder
		if err := orders.Decode(&order); err != nil {
			return err
		}
		var (
			signedIn sync.Once
			tokens   [4][]models.Claims
			calls    []func() error
		)
		for i := range tokens {
			calls = append(calls, func() error {
				for {
					u, err := s.Authenticate(ctx, order.Email, order.Password)
					if err != nil {
						return err
					}
					tokens[i] = append(tokens[i], s.NewClaims(u, time.Hour))
					signedIn.Do(func() { reply(t, "signed in") })
				}
			})
		}
		for _, err := range atOnce(calls...) {
			if !errors.Is(err, models.ErrInvalidCredentials) {
				return err
			}
		}
		reply(t, slices.Concat(tokens[:]...))
	}
}

// TestCutoff_RacesLogins changes a password while processes sign in by the old one, by the clock of the
// machine. No token of theirs passes when that has returned.
func TestCutoff_RacesLogins(t *testing.T) {
	t.Parallel()
	races := 2
	if isLong() {
		races = 60
	}
	eachURL(t, func(t *testing.T, url string) {
		if strings.HasPrefix(url, "sqlite") {
			url += "?synchronous=off"
		}
		ctx, s := models.AsSystem(t.Context(), "test"), openCheap(t, url)
		must(s.Migrate(ctx))(t)
		workers := startWorkers(t, 2, "sign in", url)
		tokens := 0
		for round := range races {
			for _, kind := range cutoffs()[1:4] {
				c, _ := newTokenOwner(t, ctx, s)
				stale := round%2 == 1
				if stale {
					check(t, c.moveIn(ctx))
				}
				for _, w := range workers {
					w.tell(t, signInOrder{c.email, c.password})
				}
				for _, w := range workers {
					w.hear(t, new(string))
				}
				check(t, kind.do(ctx, c))
				for _, w := range workers {
					var old []models.Claims
					w.hear(t, &old)
					wantCutOff(t, ctx, s, kind.name, old...)
					tokens += len(old)
				}
				wantAccepted(t, ctx, s, kind.name, must(c.signIn(ctx))(t))
			}
		}
		for _, w := range workers {
			w.end(t)
		}
		t.Logf("%d logins by a password that was about to change", tokens)
	})
}

// rowFiller makes many rows by one statement each.
type rowFiller struct {
	*models.Store

	t   *testing.T
	ctx context.Context
}

// insert makes n rows of a SELECT in which i counts from 1. It is written for PostgreSQL, less what differs.
func (f rowFiller) insert(n int, into, values string, args ...any) {
	f.t.Helper()
	from := fmt.Sprintf("generate_series(1, %d::bigint) AS n(i)", n)
	if f.Dialect() != "postgres" {
		from = fmt.Sprintf("(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT i FROM n)", n)
	}
	must(f.ExecContext(f.ctx, "INSERT INTO "+into+" SELECT "+values+" FROM "+from, args...))(f.t)
}

// text is the expression of a text that is another one for each i, in an order of its own.
func (f rowFiller) text(prefix string) string {
	if f.Dialect() == "postgres" {
		return "'" + prefix + "' || lpad(to_hex((i * 2654435761) % 4294967296), 8, '0') || '-' || i"
	}
	return "'" + prefix + "' || printf('%08x-%d', (i * 2654435761) % 4294967296, i)"
}

// textOf is that text for an i.
func textOf(prefix string, i int) string {
	return fmt.Sprintf("%s%08x-%d", prefix, uint32(i*2654435761), i)
}

// seconds is the expression of the time that is as many seconds after the argument.
func (f rowFiller) seconds(seconds string) string {
	if f.Dialect() == "postgres" {
		return "$1::timestamptz + (" + seconds + ") * interval '1 second'"
	}
	return "datetime($1, (" + seconds + ") || ' seconds')"
}

// users makes n accounts in use, person0000...@example.org, since a time.
func (f rowFiller) users(n int, since time.Time) {
	f.t.Helper()
	id := "printf('%08x-0000-4000-8000-%012x', (i * 2654435761) % 4294967296, i)"
	if f.Dialect() == "postgres" {
		id = "gen_random_uuid()"
	}
	f.insert(n, "users (public_id, email, hashed_password, created_at)", id+", "+f.text("person")+" || '@example.org', 'x', "+f.seconds("i % 1000"), since)
}

// tokens makes n blacklisted tokens, which expire within an hour from then.
func (f rowFiller) tokens(n int, prefix string, expires time.Time) {
	f.t.Helper()
	f.insert(n, "blacklisted_tokens (jti, expires_at)", f.text(prefix)+", "+f.seconds("i % 3600"), expires)
}

func (f rowFiller) resets(n int, used time.Time) {
	f.t.Helper()
	f.insert(n, "used_password_reset_tokens (email, nonce, used_at)", f.text("person")+" || '@example.org', "+f.text("")+", "+f.seconds("i % 3600"), used)
}

func (f rowFiller) auditLogs(n int, at time.Time) {
	f.t.Helper()
	changes := "'{\"name\": [null, \"Ada\"]}'"
	if f.Dialect() == "postgres" {
		changes += "::jsonb"
	}
	f.insert(n, "audit_logs (actor, action, entity, entity_id, changes, at)", "'user:1', 'update', 'user', i, "+changes+", "+f.seconds("i % 3600"), at)
}

func (f rowFiller) analyze() {
	f.t.Helper()
	must(f.ExecContext(f.ctx, "ANALYZE"))(f.t)
}

// TestPlans asks the databases how they would carry out what is sent with each request, and by a purge,
// when there is much to look through. None of it looks through a table, or a whole index.
func TestPlans(t *testing.T) {
	t.Parallel()
	rows, people := 20_000, 5_000
	if isLong() {
		rows, people = 1_000_000, 100_000
	}
	eachURL(t, func(t *testing.T, url string) {
		var sent []sentStatement
		ctx, s := models.AsSystem(t.Context(), "test"), openCheap(t, url, models.WithClock(newFakeClock(someDay).Now),
			models.WithStatements(func(query string, args []driver.NamedValue) {
				statement := sentStatement{query: query}
				for _, arg := range args {
					statement.args = append(statement.args, arg.Value)
				}
				if query != "BEGIN" && query != "COMMIT" {
					sent = append(sent, statement)
				}
			}))
		must(s.Migrate(ctx))(t)
		f := rowFiller{s, t, ctx}
		f.users(people, someDay.AddDate(0, 0, -1))
		f.tokens(rows/2, "live ", someDay.Add(time.Hour))
		f.tokens(rows/2, "expired ", someDay.AddDate(0, 0, -2))
		f.resets(rows, someDay.AddDate(0, 0, -2))
		f.auditLogs(rows, someDay.AddDate(0, 0, -2))
		f.analyze()
		u := must(s.UserByEmail(ctx, textOf("person", people/2)+"@example.org"))(t)
		claims := s.NewClaims(u, time.Hour)
		check(t, s.CheckToken(ctx, claims))
		claims.ID = textOf("live ", rows/3)
		if err := s.CheckToken(ctx, claims); !errors.Is(err, models.ErrTokenRevoked) {
			t.Errorf("a blacklisted token answers %v, want ErrTokenRevoked", err)
		}
		for _, tt := range []struct {
			name       string
			statements int
			want       error
			do         func(s *models.Store) error
		}{
			{"CheckToken", 1, models.ErrTokenRevoked, func(s *models.Store) error { return s.CheckToken(ctx, claims) }},
			{"TokenRevoked", 1, nil, func(s *models.Store) error {
				_, err := s.TokenRevoked(ctx, claims.ID)
				return err
			}},
			{"UserByEmail", 1, nil, func(s *models.Store) error {
				_, err := s.UserByEmail(ctx, u.Email)
				return err
			}},
			{"Authenticate", 2, models.ErrInvalidCredentials, func(s *models.Store) error {
				_, err := s.Authenticate(ctx, u.Email, "a password nobody has")
				return err
			}},
			{"ConsumeResetToken", 1, models.ErrTokenUsed, func(s *models.Store) error {
				return s.ConsumeResetToken(ctx, u.Email, textOf("", people/2))
			}},
			{"ResetPassword", 2, models.ErrTokenUsed, func(s *models.Store) error { // which looks first whether it is of any use
				return s.ResetPassword(ctx, u.Email, textOf("", people/2), "a password nobody guesses")
			}},
			{"RevokeTokens", 1, nil, func(s *models.Store) error {
				_, err := s.RevokeTokens(ctx, []models.Token{{ID: "a", ExpiresAt: someDay}, {ID: claims.ID, ExpiresAt: someDay}})
				return err
			}},
			{"PurgeExpired", 3, nil, func(s *models.Store) error { // which finds nothing that old
				_, err := s.PurgeExpired(ctx, models.PurgeOptions{Tokens: 3 * oneDay, Resets: 3 * oneDay, AuditLogs: 3 * oneDay})
				return err
			}},
			{"PurgeExpired to count", 3, nil, func(s *models.Store) error {
				_, err := s.PurgeExpired(ctx, models.PurgeOptions{Tokens: 3 * oneDay, Resets: 3 * oneDay, AuditLogs: 3 * oneDay, DryRun: true})
				return err
			}},
		} {
			sent = nil
			if err := tt.do(s); !errors.Is(err, tt.want) {
				t.Errorf("%s answers %v, want %v", tt.name, err, tt.want)
			}
			if len(sent) != tt.statements {
				t.Errorf("%s sends %d statements, want %d: %v", tt.name, len(sent), tt.statements, sent)
			}
			for _, statement := range slices.Clone(sent) {
				wantSearches(t, ctx, s, tt.name, statement)
				// When half of all is to go. PostgreSQL reads a small table as a whole rather than to look up a batch.
				if strings.Contains(statement.query, "DELETE") && (s.Dialect() != "postgres" || isLong()) {
					args := slices.Clone(statement.args)
					args[len(args)-1] = someDay.AddDate(0, 0, -1)
					wantSearches(t, ctx, s, tt.name+" of much", sentStatement{statement.query, args})
				}
			}
		}
	})
}

// bcryptIndex has the rows that are asked for alone, of which one will do.
const bcryptIndex = "user_bcrypt"

type sentStatement struct {
	query string
	args  []any
}

// wantSearches checks that a statement finds its rows by searching indexes.
func wantSearches(t *testing.T, ctx context.Context, s *models.Store, name string, statement sentStatement) {
	t.Helper()
	var plan, scans []string
	if s.Dialect() == "postgres" {
		var nodes []struct {
			Plan planNode `json:"Plan"` //nolint:tagliatelle // PostgreSQL's name
		}
		answered := column[string](t, ctx, s, "EXPLAIN (FORMAT JSON) "+statement.query, statement.args...)
		check(t, json.Unmarshal([]byte(strings.Join(answered, "")), &nodes))
		nodes[0].Plan.walk(func(n planNode) {
			plan = append(plan, strings.Join([]string{n.Type, n.Relation, n.Index, n.Cond}, " "))
			switch n.Type {
			case "Seq Scan", "Parallel Seq Scan", "Sample Scan", "Tid Scan":
				scans = append(scans, n.Relation)
			case "Index Scan", "Index Only Scan", "Bitmap Index Scan":
				if n.Cond == "" && n.Index != bcryptIndex {
					scans = append(scans, n.Index)
				}
			}
		})
	} else {
		for _, step := range queryPlan(t, ctx, s, statement) {
			plan = append(plan, step)
			if strings.HasPrefix(step, "SCAN") && !strings.HasSuffix(step, bcryptIndex) && step != "SCAN CONSTANT ROW" && !strings.HasSuffix(step, "VALUES CLAUSE") {
				scans = append(scans, step)
			}
		}
	}
	t.Logf("%s: %s", name, strings.Join(plan, "; "))
	if len(scans) > 0 {
		t.Errorf("%s looks through %v: %s", name, scans, statement.query)
	}
}

// planNode is a part of what EXPLAIN (FORMAT JSON) answers.
type planNode struct {
	Type     string     `json:"Node Type"`     //nolint:tagliatelle // PostgreSQL's name
	Relation string     `json:"Relation Name"` //nolint:tagliatelle // PostgreSQL's name
	Index    string     `json:"Index Name"`    //nolint:tagliatelle // PostgreSQL's name
	Cond     string     `json:"Index Cond"`    //nolint:tagliatelle // PostgreSQL's name
	Plans    []planNode `json:"Plans"`         //nolint:tagliatelle // PostgreSQL's name
}

func (n planNode) walk(visit func(planNode)) {
	visit(n)
	for _, child := range n.Plans {
		child.walk(visit)
	}
}

// queryPlan is what SQLite's EXPLAIN QUERY PLAN answers.
func queryPlan(t *testing.T, ctx context.Context, s *models.Store, statement sentStatement) (steps []string) {
	t.Helper()
	rows := must(s.QueryContext(ctx, "EXPLAIN QUERY PLAN "+statement.query, statement.args...))(t)
	defer rows.Close()
	for rows.Next() {
		var (
			id, parent, unused int
			step               string
		)
		check(t, rows.Scan(&id, &parent, &unused, &step))
		steps = append(steps, step)
	}
	check(t, rows.Err())
	return steps
}
