package models_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/text/unicode/norm"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/auditlog"
	"github.com/reviewpoint/models/ent/usedpasswordresettoken"
	"github.com/reviewpoint/models/ent/user"
	"github.com/reviewpoint/models/internal/audit"
	"github.com/reviewpoint/models/internal/password"
)

// oldHash is of oldPassword, made by the old application.
const (
	oldPassword   = "CorrectHorse9"
	wrongPassword = "correctHorse9"
	oldHash       = "$2b$12$pA1IBqFEY2Iky0k6haFJAeUe0YVZTdQBItSVZgQsUC25WsvcEZd4W"
)

// bcryptOf is the hash of a password by bcrypt, at the least cost there is.
func bcryptOf(t testing.TB, chosen string) string {
	t.Helper()
	return string(must(bcrypt.GenerateFromPassword([]byte(chosen), bcrypt.MinCost))(t))
}

// argonOf is the hash of oldPassword by Argon2id, with so many KiB of memory, in one pass.
func argonOf(t testing.TB, memory uint32) string {
	t.Helper()
	hasher := must(password.New(password.Params{Memory: memory, Time: 1, Threads: 1}, int64(memory)))(t)
	return must(hasher.Hash(t.Context(), oldPassword))(t)
}

func hashIn(t testing.TB, ctx context.Context, s *models.Store, id int) string {
	t.Helper()
	return must(s.User.Query().Where(user.ID(id)).Only(models.IncludeDeleted(ctx)))(t).HashedPassword
}

// state is whatever a login could have changed.
func state(t testing.TB, ctx context.Context, s *models.Store) []any {
	t.Helper()
	var all []any
	for _, u := range must(s.User.Query().Order(user.ByID()).All(models.IncludeDeleted(ctx)))(t) {
		all = append(all, u.ToMap(), u.HashedPassword)
	}
	for _, row := range must(s.AuditLog.Query().Order(auditlog.ByID()).All(ctx))(t) {
		all = append(all, row.ToMap())
	}
	for _, row := range must(s.UsedPasswordResetToken.Query().Order(usedpasswordresettoken.ByID()).All(ctx))(t) {
		all = append(all, row.ToMap())
	}
	return all
}

// TestAuthenticate_OldHash signs in with a hash of the old application, which is replaced.
func TestAuthenticate_OldHash(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 1, 12, 0, 0, 500_000, time.UTC)
	for name, old := range map[string]struct {
		hash   string
		cutoff *time.Time
	}{
		"no cutoff":       {oldHash, nil},
		"an older cutoff": {bcryptOf(t, oldPassword), new(start.Add(-time.Hour))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachClock(t, start.Add(-2*time.Hour), func(t *testing.T, ctx context.Context, s *models.Store, c *fakeClock) {
				visitor := models.AsAnonymous(ctx)
				u := must(newUser(s).SetHashedPassword(old.hash).SetNillableTokensValidAfter(old.cutoff).Save(ctx))(t)
				c.set(start)
				claims := models.Claims{ID: "before", UserID: u.ID, IssuedAt: start.Add(-time.Minute), ExpiresAt: start.Add(time.Hour)}
				check(t, s.CheckToken(visitor, claims))

				before := state(t, ctx, s)
				if _, err := s.Authenticate(visitor, u.Email, wrongPassword); !errors.Is(err, models.ErrInvalidCredentials) {
					t.Errorf("a wrong password answers %v", err)
				}
				if after := state(t, ctx, s); !reflect.DeepEqual(after, before) {
					t.Errorf("a wrong password left %v, want %v", after, before)
				}

				trail := must(s.AuditLog.Query().Count(ctx))(t)
				signedIn := must(s.Authenticate(visitor, u.Email, oldPassword))(t)
				hash := hashIn(t, ctx, s, u.ID)
				if !strings.HasPrefix(hash, "$argon2id$v=19$") || signedIn.ID != u.ID || signedIn.HashedPassword != hash {
					t.Errorf("user %d has %s after user %d signed in with %s", u.ID, hash, signedIn.ID, signedIn.HashedPassword)
				}
				if !reflect.DeepEqual(signedIn.TokensValidAfter, u.TokensValidAfter) {
					t.Errorf("the cutoff moved from %v to %v", u.TokensValidAfter, signedIn.TokensValidAfter)
				}
				check(t, s.CheckToken(visitor, claims))
				rows := must(s.AuditLog.Query().Order(auditlog.ByID()).Offset(trail).All(ctx))(t)
				want := map[string]any{"hashed_password": []any{audit.Redacted, audit.Redacted}}
				if len(rows) != 1 || rows[0].Action != audit.Update || rows[0].EntityID != u.ID || rows[0].Actor != "anonymous" || !reflect.DeepEqual(rows[0].Changes, want) {
					t.Errorf("the trail has %v, want one update of the hash, redacted", rows)
				}

				c.set(start.Add(time.Minute))
				must(s.Authenticate(visitor, u.Email, oldPassword))(t)
				if again := hashIn(t, ctx, s, u.ID); again != hash {
					t.Errorf("the second login changed %s to %s", hash, again)
				}
				if n := must(s.AuditLog.Query().Count(ctx))(t); n != trail+1 {
					t.Errorf("the second login left %d rows in the trail", n-trail-1)
				}
				if _, err := s.Authenticate(visitor, u.Email, wrongPassword); !errors.Is(err, models.ErrInvalidCredentials) {
					t.Errorf("a wrong password answers %v", err)
				}
			})
		})
	}
}

// TestAuthenticate_OldHashes has the versions of bcrypt, and the longest password of which it sees all.
func TestAuthenticate_OldHashes(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		for _, old := range []struct{ version, chosen string }{
			{"$2a$", oldPassword}, {"$2b$", "short"}, {"$2y$", "пароль 🦉"}, {"$2b$", strings.Repeat("x", 72)},
		} {
			hash := bcryptOf(t, old.chosen)
			u := must(newUser(s).SetHashedPassword(old.version + hash[4:]).Save(ctx))(t)
			must(s.Authenticate(ctx, u.Email, old.chosen))(t)
			if hash := hashIn(t, ctx, s, u.ID); !strings.HasPrefix(hash, "$argon2id$") {
				t.Errorf("%s of %q becomes %s", old.version, old.chosen, hash)
			}
			// From now on, the whole password counts.
			if _, err := s.Authenticate(ctx, u.Email, old.chosen+"y"); !errors.Is(err, models.ErrInvalidCredentials) {
				t.Errorf("%s of %q: more than the password answers %v", old.version, old.chosen, err)
			}
			must(s.Authenticate(ctx, u.Email, old.chosen))(t)
		}
	})
}

// somebody is an account of which a test knows what its password answers.
type somebody struct {
	email string
	right error // after the right password
}

// everybody makes an account of each kind. All have oldPassword, if any.
func everybody(t testing.TB, ctx context.Context, s *models.Store, hash string) map[string]somebody {
	t.Helper()
	u := func(create *ent.UserCreate) *ent.User { return must(create.Save(ctx))(t) }
	with := func() *ent.UserCreate { return newUser(s).SetHashedPassword(hash) }
	deleted, disabledAndDeleted := u(with()), u(with().SetIsActive(false))
	check(t, s.SoftDeleteUser(ctx, deleted.ID))
	check(t, s.SoftDeleteUser(ctx, disabledAndDeleted.ID))
	return map[string]somebody{
		"active":                   {u(with()).Email, nil},
		"administrator":            {u(with().SetIsAdmin(true)).Email, nil},
		"disabled":                 {u(with().SetIsActive(false)).Email, models.ErrAccountDisabled},
		"deleted":                  {deleted.Email, models.ErrInvalidCredentials},
		"disabled and deleted":     {disabledAndDeleted.Email, models.ErrInvalidCredentials},
		"without a password":       {u(newUser(s).SetHashedPassword(password.None)).Email, models.ErrInvalidCredentials},
		"with a hash that is none": {u(newUser(s).SetHashedPassword("hash")).Email, models.ErrInvalidCredentials},
		"unknown":                  {"nobody@example.org", models.ErrInvalidCredentials},
		"of no address":            {"nobody", models.ErrInvalidCredentials},
		"of an empty address":      {"", models.ErrInvalidCredentials},
		"of an address with NUL":   {"a\x00@example.org", models.ErrInvalidCredentials},
		"of invalid UTF-8":         {"a\xff@example.org", models.ErrInvalidCredentials},
		"of a long address":        {strings.Repeat("x", 300) + "@example.org", models.ErrInvalidCredentials},
	}
}

// TestAuthenticate_Answers holds that a login that fails answers one error, and changes nothing.
func TestAuthenticate_Answers(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		visitor := models.AsAnonymous(ctx)
		hash := argonOf(t, 64)
		for name, who := range everybody(t, ctx, s, hash) {
			before := state(t, ctx, s)
			wrongs := []string{wrongPassword, "", strings.Repeat("x", 129)}
			switch name {
			case "active":
				wrongs = append(wrongs, hash, oldPassword+"x", oldPassword+"\x00", oldPassword+"\xff", " "+oldPassword, strings.Repeat("x", 128), strings.Repeat("x", 5000))
			case "without a password":
				wrongs = append(wrongs, password.None)
			case "with a hash that is none":
				wrongs = append(wrongs, "hash")
			}
			for _, wrong := range wrongs {
				u, err := s.Authenticate(visitor, who.email, wrong)
				if err != models.ErrInvalidCredentials || u != nil { //nolint:errorlint // the very error, and nothing around it
					t.Errorf("%s with %.20q answers %v, %v", name, wrong, u, err)
				}
			}
			if who.right != nil {
				u, err := s.Authenticate(visitor, who.email, oldPassword)
				if err != who.right || u != nil { //nolint:errorlint // see above
					t.Errorf("%s with the right password answers %v, %v; want %v", name, u, err, who.right)
				}
			}
			if after := state(t, ctx, s); !reflect.DeepEqual(after, before) {
				t.Errorf("%s: what failed left %v, want %v", name, after, before)
			}
			if who.right == nil {
				u := must(s.Authenticate(visitor, who.email, oldPassword))(t)
				if u.Email != who.email || u.LastLoginAt == nil {
					t.Errorf("%s signed in as %v", name, u)
				}
			}
		}
	})
}

// TestAuthenticate_Spellings signs in with an address in other spellings.
func TestAuthenticate_Spellings(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		visitor := models.AsAnonymous(ctx)
		for _, written := range writtenAddresses() {
			u := must(s.User.Create().SetEmail(written[0]).SetHashedPassword(argonOf(t, 64)).Save(ctx))(t)
			for _, email := range written {
				if got, err := s.Authenticate(visitor, email, oldPassword); err != nil || got.ID != u.ID || got.Email != written[0] {
					t.Errorf("%q signs in as %v, %v; want %v", email, got, err, u)
				}
			}
		}
	})
}

// TestAuthenticate_Restored has accounts that were disabled or deleted for a while.
func TestAuthenticate_Restored(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := must(newUser(s).SetHashedPassword(argonOf(t, 64)).Save(ctx))(t)
		for _, step := range []struct {
			do   func(context.Context, int) error
			want error
		}{
			{s.DeactivateUser, models.ErrAccountDisabled},
			{s.SoftDeleteUser, models.ErrInvalidCredentials},
			{s.RestoreUser, models.ErrAccountDisabled},
			{s.ReactivateUser, nil},
			{s.SoftDeleteUser, models.ErrInvalidCredentials},
			{s.RestoreUser, nil},
			{s.AnonymizeUser, models.ErrInvalidCredentials},
		} {
			check(t, step.do(ctx, u.ID))
			if _, err := s.Authenticate(ctx, u.Email, oldPassword); !errors.Is(err, step.want) {
				t.Errorf("answers %v, want %v", err, step.want)
			}
		}
	})
}

// TestAuthenticate_AnotherCost has hashes that cost less than they do now.
func TestAuthenticate_AnotherCost(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := must(newUser(s).SetHashedPassword(argonOf(t, 8)).Save(ctx))(t)
		must(s.Authenticate(ctx, u.Email, oldPassword))(t)
		hash := hashIn(t, ctx, s, u.ID)
		if strings.Contains(hash, "m=8,") {
			t.Errorf("a hash of 8 KiB was kept: %s", hash)
		}
		must(s.Authenticate(ctx, u.Email, oldPassword))(t)
		if again := hashIn(t, ctx, s, u.ID); again != hash {
			t.Errorf("%s was replaced by %s", hash, again)
		}
	})
}

// TestAuthenticate_Changed holds that a password that has just been changed counts no more.
func TestAuthenticate_Changed(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := must(s.Register(ctx, "ada@example.org", oldPassword))(t)
		for i, change := range []func(old, new string) error{
			func(old, new string) error { return s.ChangePassword(models.AsUser(ctx, u), u.ID, old, new) },
			func(_, new string) error { return s.SetPassword(ctx, u.ID, new) },
			func(_, new string) error {
				return s.ResetPassword(models.AsAnonymous(ctx), " ADA@example.org", "nonce", new)
			},
		} {
			old, new := fmt.Sprint(oldPassword, " ", i), fmt.Sprint(oldPassword, " ", i+1)
			if i == 0 {
				old = oldPassword
			}
			check(t, change(old, new))
			if _, err := s.Authenticate(ctx, u.Email, old); !errors.Is(err, models.ErrInvalidCredentials) {
				t.Errorf("the old password answers %v", err)
			}
			must(s.Authenticate(ctx, u.Email, new))(t)
		}
	})
}

// TestAuthenticate_LastLogin holds that a good login alone is put on record, and none moves it back.
func TestAuthenticate_LastLogin(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	eachClock(t, start, func(t *testing.T, ctx context.Context, s *models.Store, c *fakeClock) {
		visitor := models.AsAnonymous(ctx)
		u := must(newUser(s).SetHashedPassword(argonOf(t, 64)).Save(ctx))(t)
		lastLogin := func() *time.Time { return must(s.User.Get(ctx, u.ID))(t).LastLoginAt }
		if at := lastLogin(); at != nil {
			t.Errorf("a new account has signed in at %s", at)
		}
		must(s.Authenticate(visitor, u.Email, oldPassword))(t) // which replaces the hash, if that costs more here
		wantTime(t, "last_login_at", *lastLogin(), start)
		hash := hashIn(t, ctx, s, u.ID)
		trail := must(s.AuditLog.Query().Count(ctx))(t)
		for _, step := range []struct{ now, want time.Duration }{
			{time.Hour, time.Hour},
			{time.Hour + time.Microsecond, time.Hour + time.Microsecond},
			{time.Minute, time.Hour + time.Microsecond}, // a clock that is behind
			{-time.Hour, time.Hour + time.Microsecond},
			{2 * time.Hour, 2 * time.Hour},
		} {
			before := *lastLogin()
			c.set(start.Add(step.now))
			if _, err := s.Authenticate(visitor, u.Email, wrongPassword); err == nil {
				t.Fatal("a wrong password signs in")
			}
			wantTime(t, "last_login_at after a wrong password", *lastLogin(), before)
			signedIn := must(s.Authenticate(visitor, u.Email, oldPassword))(t)
			wantTime(t, "last_login_at of the node", *signedIn.LastLoginAt, start.Add(step.want))
			wantTime(t, "last_login_at", *lastLogin(), start.Add(step.want))
			if again := must(s.User.Get(ctx, u.ID))(t); !reflect.DeepEqual(again.ToMap(), signedIn.ToMap()) {
				t.Errorf("Authenticate answers %v, want what is stored: %v", signedIn.ToMap(), again.ToMap())
			}
		}
		if n := must(s.AuditLog.Query().Count(ctx))(t); n != trail || hashIn(t, ctx, s, u.ID) != hash {
			t.Errorf("logins left %d rows in the trail", n-trail)
		}
	})
}

func TestRecordLogin_Times(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	eachClock(t, start, func(t *testing.T, ctx context.Context, s *models.Store, _ *fakeClock) {
		for _, step := range []struct {
			name   string
			at     []time.Time
			want   time.Time // zero for none
			refuse bool      // the last one
		}{
			{"now", []time.Time{start}, start, false},
			{"in another zone", []time.Time{start.In(tokyo)}, start, false},
			{"nanoseconds", []time.Time{start.Add(-1)}, start.Add(-time.Microsecond), false},
			{"later and earlier", []time.Time{start, start.Add(-time.Microsecond)}, start, false},
			{"earlier and later", []time.Time{start.Add(-time.Hour), start}, start, false},
			{"a whole second, and more", []time.Time{start.Add(-time.Second), start.Add(-time.Second + time.Microsecond)}, start.Add(-time.Second + time.Microsecond), false},
			{"more, and its whole second", []time.Time{start.Add(-time.Second + time.Microsecond), start.Add(-time.Second)}, start.Add(-time.Second + time.Microsecond), false},
			{"long ago", []time.Time{time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC)}, time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC), false},
			{"a clock ahead", []time.Time{start.Add(5 * time.Minute)}, start.Add(5 * time.Minute), false},
			{"further ahead", []time.Time{start.Add(5*time.Minute + time.Microsecond)}, time.Time{}, true},
			{"after now, further ahead", []time.Time{start, start.Add(time.Hour)}, start, true},
			{"the year 10000", []time.Time{time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, time.Time{}, true},
			{"no time", []time.Time{{}}, time.Time{}, true},
		} {
			u := must(newUser(s).Save(ctx))(t)
			trail := must(s.AuditLog.Query().Count(ctx))(t)
			for i, at := range step.at {
				err := s.RecordLogin(ctx, u.ID, at)
				if refused, ok := errors.AsType[*models.ValidationError](err); step.refuse && i == len(step.at)-1 {
					if !ok || refused.Entity != "User" || refused.Field != "last_login_at" {
						t.Errorf("%s answers %v", step.name, err)
					}
				} else if err != nil {
					t.Errorf("%s answers %v", step.name, err)
				}
			}
			got := must(s.User.Get(ctx, u.ID))(t).LastLoginAt
			if (got == nil) != step.want.IsZero() || got != nil && !got.Equal(step.want) {
				t.Errorf("%s: last_login_at is %v, want %v", step.name, got, step.want)
			}
			if n := must(s.AuditLog.Query().Count(ctx))(t); n != trail {
				t.Errorf("%s left %d rows in the trail", step.name, n-trail)
			}
		}
		deleted := must(newUser(s).Save(ctx))(t)
		check(t, s.SoftDeleteUser(ctx, deleted.ID))
		for _, id := range []int{deleted.ID, deleted.ID + 1, 0, -1} {
			if err := s.RecordLogin(ctx, id, start); !errors.Is(err, models.ErrNotFound) {
				t.Errorf("user %d, who is not there, answers %v", id, err)
			}
		}
	})
}

// TestRecordLogin_BeforeAll has times that no database keeps.
func TestRecordLogin_BeforeAll(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := must(newUser(s).Save(ctx))(t)
		for _, year := range []int{0, -1, -10_000} {
			err := s.RecordLogin(ctx, u.ID, time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC))
			if _, ok := errors.AsType[*models.ValidationError](err); !ok {
				t.Errorf("the year %d answers %v", year, err)
			}
		}
	})
}

// setters are the ways to choose a password for an account. None needs the old one to be right.
func setters(s *models.Store, u *ent.User, nonce string) map[string]func(ctx context.Context, chosen string) error {
	return map[string]func(ctx context.Context, chosen string) error{
		"Register": func(ctx context.Context, chosen string) error {
			_, err := s.Register(models.AsAnonymous(ctx), "new@example.org", chosen)
			return err
		},
		"ChangePassword": func(ctx context.Context, chosen string) error {
			return s.ChangePassword(models.AsUser(ctx, u), u.ID, oldPassword, chosen)
		},
		"SetPassword": func(ctx context.Context, chosen string) error { return s.SetPassword(ctx, u.ID, chosen) },
		"ResetPassword": func(ctx context.Context, chosen string) error {
			return s.ResetPassword(models.AsAnonymous(ctx), u.Email, nonce, chosen)
		},
	}
}

func TestPasswords_Refused(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := must(s.Register(ctx, "ada.lovelace@example.org", oldPassword))(t)
		before := state(t, ctx, s)
		for name, set := range setters(s, u, "nonce") {
			address := u.Email
			if name == "Register" {
				address = "new@example.org"
			}
			for _, chosen := range []string{
				"", "a7#kQ2x", "йцукенг", strings.Repeat("e\u0301", 7), strings.Repeat("я", 129), strings.Repeat("x", 100_000),
				"password", "PASSWORD", address, strings.ToUpper(address), "a7#kQ2xZ\xff",
			} {
				err := set(ctx, chosen)
				refused, ok := errors.AsType[*models.ValidationError](err)
				if !ok || refused.Entity != "User" || refused.Field != "password" || refused.Reason == "" {
					t.Errorf("%s of %.20q answers %v", name, chosen, err)
				}
				if chosen != "" && chosen != "password" && strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), chosen) {
					t.Errorf("%s of %.20q shows it: %v", name, chosen, err)
				}
			}
		}
		if after := state(t, ctx, s); !reflect.DeepEqual(after, before) {
			t.Errorf("what was refused left %v, want %v", after, before)
		}
		must(s.Authenticate(ctx, u.Email, oldPassword))(t)
	})
}

// TestPasswords_Taken has what rules of composition would refuse, and the longest.
func TestPasswords_Taken(t *testing.T) {
	t.Parallel()
	const same = 127
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		for i, chosen := range []string{
			"all lower case", "8052937461", " two  spaces ", "🦉🦉🦉🦉🦉🦉🦉🦉", "secret\x00secret",
			strings.Repeat("x", same) + "a", strings.Repeat("🦉", same) + "a",
		} {
			u := must(newUser(s).SetHashedPassword(argonOf(t, 64)).Save(ctx))(t)
			name := []string{"ChangePassword", "SetPassword", "ResetPassword"}[i%3]
			check(t, setters(s, u, "nonce")[name](ctx, chosen))
			must(s.Authenticate(ctx, u.Email, chosen))(t)
			for _, wrong := range []string{chosen[:len(chosen)-1] + "b", strings.TrimSpace(chosen[:len(chosen)-1])} {
				if _, err := s.Authenticate(ctx, u.Email, wrong); !errors.Is(err, models.ErrInvalidCredentials) {
					t.Errorf("%q signs in with %q: %v", chosen, wrong, err)
				}
			}
		}
	})
}

// TestPasswords_Normalised chooses a password in one form and types it in the other.
func TestPasswords_Normalised(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		composed := "r\u00e9sum\u00e9 \ud55c\uae00"
		decomposed := norm.NFD.String(composed)
		for i, chosen := range []string{composed, decomposed} {
			u := must(s.Register(ctx, fmt.Sprintf("%d@example.org", i), chosen))(t)
			must(s.Authenticate(ctx, u.Email, composed))(t)
			must(s.Authenticate(ctx, u.Email, decomposed))(t)
			check(t, s.ChangePassword(ctx, u.ID, decomposed, oldPassword))
		}
	})
}

// TestPasswords_DecomposedAndLong types the longest password in the form that has twice as many characters.
func TestPasswords_DecomposedAndLong(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		composed := strings.Repeat("\u00e9", 128)
		for i, chosen := range []string{composed, norm.NFD.String(composed)} {
			u := must(s.Register(ctx, fmt.Sprintf("%d@example.org", i), chosen))(t)
			must(s.Authenticate(ctx, u.Email, composed))(t)
			must(s.Authenticate(ctx, u.Email, norm.NFD.String(composed)))(t)
		}
	})
}

func TestPasswords_RaisedMaximum(t *testing.T) {
	t.Parallel()
	eachURL(t, func(t *testing.T, url string) {
		ctx := models.AsSystem(t.Context(), "test")
		for _, n := range []int{-1, 0, 127, 4097, math.MaxInt} {
			if _, err := models.Open(t.Context(), url, models.WithMaxPasswordLength(n)); err == nil {
				t.Errorf("a most of %d is taken", n)
			}
		}
		s := open(t, url, models.WithMaxPasswordLength(4096))
		must(s.Migrate(ctx))(t)
		long := strings.Repeat("я", 4095)
		u := must(s.Register(ctx, "ada@example.org", long+"а"))(t)
		must(s.Authenticate(ctx, u.Email, long+"а"))(t)
		for _, wrong := range []string{long + "б", long, long + "аа"} {
			if _, err := s.Authenticate(ctx, u.Email, wrong); !errors.Is(err, models.ErrInvalidCredentials) {
				t.Errorf("a password of %d bytes answers %v", len(wrong), err)
			}
		}
		if _, err := s.Register(ctx, "b@example.org", long+"аа"); err == nil {
			t.Error("4097 characters are taken")
		}
	})
}

// tryBytes is how many bytes a login allocates, by which it can be told what was computed: Argon2 allocates its
// memory, and bcrypt next to nothing. Nothing else must run meanwhile.
func tryBytes(t testing.TB, ctx context.Context, s *models.Store, email, chosen string) (uint64, error) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := s.Authenticate(ctx, email, chosen)
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc, err
}

// TestAuthenticate_SameWork holds that a login costs one hash, whoever it is about.
//
//nolint:paralleltest // It counts what the process allocates.
func TestAuthenticate_SameWork(t *testing.T) {
	const one = 19 << 20
	s := models.OpenTest(t, models.WithPasswordHashing(models.PasswordHashing{}))
	ctx := models.AsSystem(t.Context(), "test")
	try := func(name, email, chosen string, want uint64) {
		t.Helper()
		const rest = 256 << 10 // for the database
		if n, err := tryBytes(t, ctx, s, email, chosen); n < want || n > want+rest {
			t.Errorf("%s with %.20q allocates %d bytes, want those of %d hashes (%v)", name, chosen, n, want/one, err)
		}
	}
	try("nobody at all", "nobody@example.org", wrongPassword, one)
	hash := must(s.Register(ctx, "first@example.org", oldPassword))(t).HashedPassword
	all := everybody(t, ctx, s, hash)
	for name, who := range all {
		try(name, who.email, wrongPassword, one)
		try(name, who.email, strings.Repeat("x", 129), 0)
		try(name, who.email, oldPassword, one)
	}
}

// TestAuthenticate_ReadsNoProfile holds that the size of what a person has put into the own account does not tell
// that there is such an account.
//
//nolint:paralleltest // It counts what the process allocates.
func TestAuthenticate_ReadsNoProfile(t *testing.T) {
	s := models.OpenTest(t)
	ctx := models.AsSystem(t.Context(), "test")
	u := must(newUser(s).SetHashedPassword(argonOf(t, 64)).SetPreferences(map[string]any{"all": strings.Repeat("x", 1<<20)}).Save(ctx))(t)
	must(newUser(s).SetHashedPassword(argonOf(t, 64)).Save(ctx))(t)
	for i, email := range []string{u.Email, "nobody@example.org", "somebody@example.org", "anybody@example.org"} {
		if n, err := tryBytes(t, ctx, s, email, wrongPassword); n > 512<<10 {
			t.Errorf("the try %d allocates %d bytes (%v)", i, n, err)
		}
	}
}

// TestAuthenticate_BothKinds holds that as long as there is a hash of bcrypt, a wrong password costs one of each
// kind, whoever it is about: Argon2 takes its memory, and bcrypt a little.
//
//nolint:paralleltest // It counts what the process allocates.
func TestAuthenticate_BothKinds(t *testing.T) {
	s := models.OpenTest(t)
	ctx := models.AsSystem(t.Context(), "test")
	const argon, bcrypts = 1 << 20, 4096
	modern := must(newUser(s).SetHashedPassword(argonOf(t, argon>>10)).Save(ctx))(t).Email
	least := func(email string) uint64 {
		var least uint64 = math.MaxUint64
		for range 10 { // others allocate, too
			n, err := tryBytes(t, ctx, s, email, wrongPassword)
			if !errors.Is(err, models.ErrInvalidCredentials) {
				t.Errorf("%s answers %v", email, err)
			}
			least = min(least, n)
		}
		return least
	}
	before := map[string]uint64{modern: least(modern), "nobody@example.org": least("nobody@example.org")}
	old := must(newUser(s).SetHashedPassword(bcryptOf(t, oldPassword)).Save(ctx))(t)
	for email, n := range before {
		if after := least(email); after < n+bcrypts {
			t.Errorf("%s allocates %d bytes, and %d beside a hash of bcrypt", email, n, after)
		}
	}
	if n := least(old.Email); n < before["nobody@example.org"] {
		t.Errorf("an account with a hash of bcrypt allocates %d bytes, less than an unknown address", n)
	}
	check(t, s.SoftDeleteUser(ctx, old.ID))
	for email, n := range before {
		if after := least(email); after >= n+bcrypts {
			t.Errorf("%s allocates %d bytes, and %d when there is no hash of bcrypt any more", email, n, after)
		}
	}
}

// crowd is a store in which most of the time goes into hashes, with accounts of one kind or of two.
type crowd struct {
	*models.Store

	ctx            context.Context
	known, unknown []string
}

func newCrowd(t testing.TB, hashing models.PasswordHashing, hashes ...string) *crowd {
	t.Helper()
	s := models.OpenTest(t, models.WithPasswordHashing(hashing))
	c := &crowd{Store: s, ctx: models.AsAnonymous(t.Context())}
	const accounts = 200
	for i := range accounts {
		u := must(newUser(s).SetHashedPassword(hashes[i%len(hashes)]).SetName("Ada").Save(models.AsSystem(t.Context(), "test")))(t)
		c.known = append(c.known, u.Email)
		c.unknown = append(c.unknown, fmt.Sprintf("nobody%d@example.org", i))
	}
	return c
}

// crowds are the stores that are measured: three quarters of Argon2 in the mixed one.
func crowds(t testing.TB) map[string]*crowd {
	t.Helper()
	hash := must(must(password.New(password.Default, int64(password.Default.Memory)))(t).Hash(t.Context(), oldPassword))(t)
	return map[string]*crowd{
		"argon2": newCrowd(t, models.PasswordHashing{}, hash),
		"mixed":  newCrowd(t, models.PasswordHashing{}, hash, oldHash, hash, hash),
	}
}

// BenchmarkAuthenticate measures logins at what hashes cost by default. Compare by
//
//	go test -run '^$' -bench Authenticate -count 10 . | benchstat -col /try -
func BenchmarkAuthenticate(b *testing.B) {
	for hashes, c := range crowds(b) {
		for _, try := range []struct {
			name     string
			emails   []string
			password string
			want     error
		}{
			{"unknown", c.unknown, wrongPassword, models.ErrInvalidCredentials},
			{"wrong", c.known, wrongPassword, models.ErrInvalidCredentials},
			{"right", c.known, oldPassword, nil}, // which replaces the old hashes
		} {
			b.Run("hashes="+hashes+"/try="+try.name, func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if _, err := c.Authenticate(c.ctx, try.emails[i%len(try.emails)], try.password); !errors.Is(err, try.want) {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// samples are how long logins took.
type samples []float64

// at is the value below which a part of them lies.
func (s samples) at(part float64) float64 {
	return s[min(int(part*float64(len(s))), len(s)-1)]
}

func (s samples) String() string {
	var b strings.Builder
	for _, part := range []float64{0.05, 0.25, 0.5, 0.75, 0.95} {
		fmt.Fprintf(&b, "  p%g %.3f", 100*part, s.at(part))
	}
	return b.String() + " ms"
}

// distance is that of Kolmogorov and Smirnov: the most by which one distribution is ahead of the other.
func distance(a, b samples) float64 {
	var most float64
	for i, j := 0, 0; i < len(a) && j < len(b); {
		x := min(a[i], b[j])
		for i < len(a) && a[i] <= x {
			i++
		}
		for j < len(b) && b[j] <= x {
			j++
		}
		most = max(most, math.Abs(float64(i)/float64(len(a))-float64(j)/float64(len(b))))
	}
	return most
}

// TestAuthenticate_Distribution shows how long logins with an unknown address and with a wrong password take,
// in a random order. It asserts nothing about time, which is for people to judge.
//
//nolint:paralleltest // What runs beside it would show.
func TestAuthenticate_Distribution(t *testing.T) {
	if os.Getenv("REVIEWPOINT_TEST_LONG") != "1" {
		t.Skip("it takes some minutes: REVIEWPOINT_TEST_LONG=1")
	}
	for name, c := range crowds(t) {
		n := map[string]int{"argon2": 800, "mixed": 300}[name]
		took := map[string]samples{}
		measure := func(kind, email string) {
			begun := time.Now()
			_, err := c.Authenticate(c.ctx, email, wrongPassword)
			took[kind] = append(took[kind], float64(time.Since(begun))/float64(time.Millisecond))
			if !errors.Is(err, models.ErrInvalidCredentials) {
				t.Fatal(err)
			}
		}
		for range n {
			known := func() { measure("wrong password", c.known[rand.N(len(c.known))]) }
			unknown := func() { measure("unknown address", c.unknown[rand.N(len(c.unknown))]) }
			if rand.N(2) == 0 {
				known()
				unknown()
			} else {
				unknown()
				known()
			}
		}
		for kind, s := range took {
			slices.Sort(s)
			t.Logf("%s, %d with %s: %s", name, len(s), kind, s)
		}
		t.Logf("%s: distance %.4f; that of equal distributions is below %.4f in 95 of 100 cases",
			name, distance(took["wrong password"], took["unknown address"]), 1.358*math.Sqrt(2/float64(n)))
	}
}

const crowdVariable = "REVIEWPOINT_TEST_CROWD"

// memoryUse is what a process says of itself, in MiB.
type memoryUse struct {
	Heap float64 `json:"heap"` // in use
	Most float64 `json:"most"` // resident, ever (VmHWM)
}

func useNow(t testing.TB) memoryUse {
	t.Helper()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	status := string(must(os.ReadFile("/proc/self/status"))(t))
	_, line, _ := strings.Cut(status, "VmHWM:")
	line, _, _ = strings.Cut(line, "kB")
	return memoryUse{float64(stats.HeapInuse) / (1 << 20), must(strconv.ParseFloat(strings.TrimSpace(line), 64))(t) / 1024}
}

// TestAuthenticate_Crowd is a process of its own, in which 500 people sign in at once.
//
//nolint:paralleltest // It is the only one.
func TestAuthenticate_Crowd(t *testing.T) {
	hash := os.Getenv(crowdVariable)
	if hash == "" {
		t.Skip("it is a process of TestAuthenticate_Memory")
	}
	const people = 500
	slots := models.PasswordHashing{MaxMemory: 2 * password.Default.Memory}
	c := newCrowd(t, slots, hash)
	runtime.GC()
	idle := useNow(t)
	var (
		done sync.WaitGroup
		lock sync.Mutex
		heap float64
	)
	for i := range people {
		done.Go(func() {
			chosen, want := oldPassword, error(nil)
			email := c.known[i%len(c.known)]
			if i%2 == 0 {
				chosen, want = wrongPassword, models.ErrInvalidCredentials
			}
			if i%4 == 0 {
				email = c.unknown[i%len(c.unknown)]
			}
			if _, err := c.Authenticate(c.ctx, email, chosen); !errors.Is(err, want) {
				t.Errorf("%s answers %v", email, err)
			}
			now := useNow(t)
			lock.Lock()
			defer lock.Unlock()
			heap = max(heap, now.Heap)
		})
	}
	done.Wait()
	busy := useNow(t)
	busy.Heap = heap
	must(fmt.Fprintf(os.Stdout, "crowd %s\n", must(json.Marshal([]memoryUse{idle, busy}))(t)))(t)
}

// TestAuthenticate_Memory holds that however many people sign in, the memory is that of the hashes that may be
// computed at once, and of a few more that the collector has not come to; of all at once it would be 9500 MiB.
func TestAuthenticate_Memory(t *testing.T) {
	t.Parallel()
	if os.Getenv("REVIEWPOINT_TEST_LONG") != "1" {
		t.Skip("it takes half a minute: REVIEWPOINT_TEST_LONG=1")
	}
	if runtime.GOOS != "linux" {
		t.Skip("it reads /proc")
	}
	hash := must(must(password.New(password.Default, int64(password.Default.Memory)))(t).Hash(t.Context(), oldPassword))(t)
	cmd := exec.CommandContext(t.Context(), must(os.Executable())(t), "-test.run=^TestAuthenticate_Crowd$")
	cmd.Env, cmd.Stderr = append(os.Environ(), crowdVariable+"="+hash), os.Stderr
	output := string(must(cmd.Output())(t))
	_, line, _ := strings.Cut(output, "crowd ")
	line, _, _ = strings.Cut(line, "\n")
	var use []memoryUse
	check(t, json.Unmarshal([]byte(line), &use))
	idle, busy := use[0], use[1]
	t.Logf("idle: %+v MiB, with 500 people: %+v MiB", idle, busy)
	if most := 256.0; busy.Most-idle.Most > most {
		t.Errorf("500 people who sign in at once take %.0f MiB more than none, want at most %.0f", busy.Most-idle.Most, most)
	}
}

// writtenAddresses are addresses in their normal form, each with other ways to write it.
func writtenAddresses() [][]string {
	return [][]string{
		{"ada@example.org", "Ada@Example.ORG", " ada@example.org\n", "\u3000ADA@EXAMPLE.ORG\u00a0", "ada@example\u3002org", "ada@exam\u00adple.org"},
		{"юзер0@пример.рф", "Юзер0@Пример.РФ", "ЮЗЕР0@xn--e1afmkfd.xn--p1ai", "юзер0@XN--E1AFMKFD.РФ"},
		{"josé@müller.example", "jose\u0301@mu\u0308ller.example", "JOSE\u0301@MÜLLER.example", "José@xn--mller-kva.example"},
		{"\u00e5k@example.org", "\u212b\u212a@example.org", "A\u030aK@example.org"},
	}
}

// addressWays are the ways in which an address gets into users. Each returns the id of the row.
func addressWays(s *models.Store) map[string]func(ctx context.Context, email string) (int, error) {
	id := func(u *ent.User, err error) (int, error) {
		if err != nil {
			return 0, err
		}
		return u.ID, nil
	}
	old := func(ctx context.Context) (*ent.User, error) { return newUser(s).Save(ctx) }
	return map[string]func(ctx context.Context, email string) (int, error){
		"Register": func(ctx context.Context, email string) (int, error) {
			return id(s.Register(models.AsAnonymous(ctx), email, oldPassword))
		},
		"create": func(ctx context.Context, email string) (int, error) { return id(newUser(s).SetEmail(email).Save(ctx)) },
		"bulk create": func(ctx context.Context, email string) (int, error) {
			users, err := s.User.CreateBulk(newUser(s), newUser(s).SetEmail(email)).Save(ctx)
			if err != nil {
				return 0, err
			}
			return users[1].ID, nil
		},
		"update by id": func(ctx context.Context, email string) (int, error) {
			u, err := old(ctx)
			if err != nil {
				return 0, err
			}
			return u.ID, s.User.UpdateOneID(u.ID).SetEmail(email).Exec(ctx)
		},
		"update of a row, by an administrator": func(ctx context.Context, email string) (int, error) {
			admin, err := newUser(s).SetIsAdmin(true).Save(ctx)
			if err != nil {
				return 0, err
			}
			return id(s.User.UpdateOne(admin).SetEmail(email).Save(models.AsUser(ctx, admin)))
		},
		"bulk update": func(ctx context.Context, email string) (int, error) {
			u, err := old(ctx)
			if err != nil {
				return 0, err
			}
			return u.ID, s.User.Update().Where(user.ID(u.ID)).SetEmail(email).Exec(ctx)
		},
		"upsert that creates": func(ctx context.Context, email string) (int, error) {
			return newUser(s).SetEmail(email).OnConflict(emailConflict()...).Ignore().ID(ctx)
		},
		"upsert that updates": func(ctx context.Context, email string) (int, error) {
			u, err := old(ctx)
			if err != nil {
				return 0, err
			}
			return newUser(s).SetEmail(email).SetPublicID(u.PublicID).OnConflictColumns(user.FieldPublicID).UpdateNewValues().ID(ctx)
		},
		"UpsertUser that creates": func(ctx context.Context, email string) (int, error) {
			return id(s.UpsertUser(ctx, email, func(*ent.UserMutation) {}))
		},
		"UpsertUser that updates": func(ctx context.Context, email string) (int, error) {
			u, err := old(ctx)
			if err != nil {
				return 0, err
			}
			return id(s.UpsertUser(ctx, u.Email, func(m *ent.UserMutation) { m.SetEmail(email) }))
		},
	}
}

// TestAddress_Stored holds that what is stored is the normal form, by whichever way it came.
func TestAddress_Stored(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		for name, store := range addressWays(s) {
			for _, written := range writtenAddresses() {
				for i, email := range written {
					if name == "Register" && i != 1 {
						continue // A hash each costs time.
					}
					id, err := store(ctx, email)
					if err != nil {
						t.Errorf("%s of %q: %v", name, email, err)
						continue
					}
					if got := column[string](t, ctx, s, "SELECT email FROM users WHERE id = $1", id); got[0] != written[0] {
						t.Errorf("%s of %q stores %q, want %q", name, email, got[0], written[0])
					}
					for _, other := range written {
						if u, err := s.UserByEmail(ctx, other); err != nil || u.ID != id || u.Email != written[0] {
							t.Errorf("%s of %q: by %q one finds %v, %v", name, email, other, u, err)
						}
					}
					check(t, s.SoftDeleteUser(ctx, id)) // which frees the address
					if u, err := s.UserByEmail(ctx, email); !errors.Is(err, models.ErrNotFound) {
						t.Errorf("%s of %q: it is found when it is deleted: %v, %v", name, email, u, err)
					}
				}
			}
		}
	})
}

// TestAddress_Unique has an address that somebody has, in another spelling.
func TestAddress_Unique(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		for _, written := range writtenAddresses() {
			owner := must(newUser(s).SetEmail(written[1]).Save(ctx))(t)
			for name, store := range addressWays(s) {
				id, err := store(ctx, written[2])
				switch name {
				case "upsert that creates", "UpsertUser that creates": // They find it.
					if err != nil || id != owner.ID {
						t.Errorf("%s of %q is about user %d, %v; want %d", name, written[2], id, err, owner.ID)
					}
				case "Register", "UpsertUser that updates":
					if !errors.Is(err, models.ErrEmailTaken) {
						t.Errorf("%s of %q answers %v", name, written[2], err)
					}
				default:
					if !errors.Is(err, models.ErrUnique) {
						t.Errorf("%s of %q answers %v", name, written[2], err)
					}
				}
			}
			check(t, s.SoftDeleteUser(ctx, owner.ID))
			must(newUser(s).SetEmail(written[2]).Save(ctx))(t)
			if err := s.RestoreUser(ctx, owner.ID); !errors.Is(err, models.ErrEmailTaken) {
				t.Errorf("%q is restored beside %q: %v", written[1], written[2], err)
			}
		}
	})
}

// TestAddress_Refused holds that what is no address is told by field, and not shown.
func TestAddress_Refused(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		wantRefusal := func(name, email, entity string, err error) {
			t.Helper()
			refused, ok := errors.AsType[*models.ValidationError](err)
			if !ok || refused.Entity != entity || refused.Field != "email" || refused.Reason == "" || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, refused), "canary") {
				t.Errorf("%s of %q answers %v", name, email, err)
			}
		}
		for _, email := range []string{
			"", "canary", "canary@", "@canary", "canary canary@example.org", "canary@exam_ple.org", "canary@127.0.0.1", "canary\x00@example.org",
			"canary\xff@example.org", strings.Repeat("x", 59) + "canary@example.org", "canary@" + strings.Repeat("x", 64) + ".org",
		} {
			before := state(t, ctx, s)
			for name, store := range addressWays(s) {
				if strings.Contains(name, "update") { // They make a row first.
					continue
				}
				_, err := store(ctx, email)
				wantRefusal(name, email, "User", err)
			}
			_, err := s.UserByEmail(ctx, email)
			wantRefusal("UserByEmail", email, "User", err)
			wantRefusal("ResetPassword", email, "User", s.ResetPassword(ctx, email, "nonce", oldPassword))
			wantRefusal("ConsumeResetToken", email, "UsedPasswordResetToken", s.ConsumeResetToken(ctx, email, "nonce"))
			wantRefusal("create of a reset", email, "UsedPasswordResetToken", newReset(s, email, "nonce").Exec(ctx))
			if after := state(t, ctx, s); !reflect.DeepEqual(after, before) {
				t.Errorf("%q left %v, want %v", email, after, before)
			}
			for name, store := range addressWays(s) {
				if strings.Contains(name, "update") {
					_, err := store(ctx, email)
					wantRefusal(name, email, "User", err)
				}
			}
		}
	})
}

// TestAddress_OfResets holds that a nonce counts once for an address, however that is written.
func TestAddress_OfResets(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		stored := func() []string {
			return column[string](t, ctx, s, "SELECT DISTINCT email FROM used_password_reset_tokens")
		}
		for _, written := range writtenAddresses() {
			for i, email := range written {
				nonce := func(way string) string { return fmt.Sprint(way, i) }
				check(t, newReset(s, email, nonce("create")).Exec(ctx))
				check(t, s.UsedPasswordResetToken.CreateBulk(newReset(s, email, nonce("bulk"))).Exec(ctx))
				row := must(newReset(s, "other@example.org", nonce("update")).Save(ctx))(t)
				check(t, row.Update().SetEmail(email).Exec(ctx))
				row = must(newReset(s, "other@example.org", nonce("bulk update")).Save(ctx))(t)
				check(t, s.UsedPasswordResetToken.Update().Where(usedpasswordresettoken.ID(row.ID)).SetEmail(email).Exec(ctx))
				check(t, newReset(s, email, nonce("upsert")).OnConflictColumns("email", "nonce").UpdateNewValues().Exec(ctx))
				check(t, s.ConsumeResetToken(ctx, email, nonce("consume")))
				for _, way := range []string{"create", "bulk", "update", "bulk update", "upsert", "consume"} {
					for _, other := range written {
						if err := s.ConsumeResetToken(ctx, other, nonce(way)); !errors.Is(err, models.ErrTokenUsed) {
							t.Errorf("%s of %q: as %q it counts again: %v", way, email, other, err)
						}
					}
				}
				if got := stored(); !slices.Equal(got, written[:1]) {
					t.Errorf("%q is stored as %q, want %q", email, got, written[:1])
				}
			}
			// ResetPassword shares them.
			must(newUser(s).SetEmail(written[0]).Save(ctx))(t)
			if err := s.ResetPassword(ctx, written[1], "consume0", oldPassword); !errors.Is(err, models.ErrTokenUsed) {
				t.Errorf("a nonce that was consumed resets the password of %q: %v", written[1], err)
			}
			check(t, s.ResetPassword(ctx, written[2], "reset", oldPassword))
			if err := s.ConsumeResetToken(ctx, written[1], "reset"); !errors.Is(err, models.ErrTokenUsed) {
				t.Errorf("the nonce of a reset counts again: %v", err)
			}
			must(s.UsedPasswordResetToken.Delete().Exec(ctx))(t)
		}
	})
}

// TestAddress_SetByUpsert sets the address by the upsert itself, past the hooks of the creation.
func TestAddress_SetByUpsert(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := must(newUser(s).Save(ctx))(t)
		_ = newUser(s).SetEmail(u.Email).OnConflict(emailConflict()...).
			Update(func(set *ent.UserUpsert) { set.SetEmail(" Ada@Example.ORG") }).Exec(ctx)
		_ = newUser(s).SetEmail(u.Email).OnConflict(emailConflict()...).
			Update(func(set *ent.UserUpsert) { set.SetEmail("no address") }).Exec(ctx)
		row := must(newReset(s, u.Email, "nonce").Save(ctx))(t)
		_ = newReset(s, u.Email, "nonce").OnConflictColumns("email", "nonce").
			Update(func(set *ent.UsedPasswordResetTokenUpsert) { set.SetEmail(" Ada@Example.ORG") }).Exec(ctx)
		for _, query := range []string{"SELECT email FROM users WHERE id = $1", "SELECT email FROM used_password_reset_tokens WHERE id = $1"} {
			id := u.ID
			if strings.Contains(query, "reset") {
				id = row.ID
			}
			if got := column[string](t, ctx, s, query, id); got[0] != u.Email && got[0] != "ada@example.org" {
				t.Errorf("%q is stored", got[0])
			}
		}
	})
}
