package models_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/auditlog"
	"github.com/reviewpoint/models/ent/user"
	"github.com/reviewpoint/models/internal/clock"
)

const (
	firstPassword  = "correct horse"
	secondPassword = "battery staple"
	thirdPassword  = "purple elephant"
)

// firstLook returns a context in which do runs when the time is first asked for. A method that changes an
// account has then read and verified, and written nothing; what it writes bears the time from before.
func firstLook(ctx context.Context, do func()) context.Context {
	var once sync.Once
	return clock.NewContext(ctx, func() time.Time {
		now := time.Now()
		once.Do(do)
		return now
	})
}

// meetAtClock runs the functions at once, and lets each wait for the others at its first look at the clock.
func meetAtClock(ctx context.Context, fns ...func(ctx context.Context) error) []error {
	var all sync.WaitGroup
	all.Add(len(fns))
	meeting := make([]func() error, len(fns))
	for i, fn := range fns {
		meeting[i] = func() error {
			arrive := sync.OnceFunc(all.Done)
			defer arrive() // Who fails before keeps nobody waiting.
			return fn(firstLook(ctx, func() {
				arrive()
				all.Wait()
			}))
		}
	}
	return atOnce(meeting...)
}

// wantOneOf checks an answer that depends on who came first.
func wantOneOf(t *testing.T, what string, err error, answers ...error) {
	t.Helper()
	if !slices.ContainsFunc(answers, func(answer error) bool { return errors.Is(err, answer) }) {
		t.Errorf("%s: got %v, want one of %v", what, err, answers)
	}
}

// wantPassword checks that one password signs in and another one does not.
func wantPassword(t *testing.T, ctx context.Context, s *models.Store, address, right, wrong string) {
	t.Helper()
	if _, err := s.Authenticate(models.AsAnonymous(ctx), address, right); err != nil {
		t.Errorf("sign in with %q: %v", right, err)
	}
	if _, err := s.Authenticate(models.AsAnonymous(ctx), address, wrong); !errors.Is(err, models.ErrInvalidCredentials) {
		t.Errorf("sign in with %q: got %v, want ErrInvalidCredentials", wrong, err)
	}
}

// firstHash is one of firstPassword by the old application, which costs next to nothing to verify.
var firstHash = sync.OnceValue(func() string {
	hash, err := bcrypt.GenerateFromPassword([]byte(firstPassword), bcrypt.MinCost)
	if err != nil {
		panic(err)
	}
	return string(hash)
})

// newAccount is a user nobody else has, whose password is the first one.
func newAccount(t *testing.T, ctx context.Context, s *models.Store) *ent.User {
	t.Helper()
	return must(newUser(s).SetHashedPassword(firstHash()).Save(ctx))(t)
}

func TestRegister_AtOnce(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		spellings := []string{
			"rené@bücher.example", "RENÉ@BÜCHER.EXAMPLE", " René@Bücher.Example\t", "rene\u0301@bu\u0308cher.example", "rené@xn--bcher-kva.example",
		}
		made := make([]*ent.User, 32)
		fns := make([]func(context.Context) error, len(made))
		for i := range fns {
			fns[i] = func(ctx context.Context) (err error) {
				made[i], err = s.Register(models.AsAnonymous(ctx), spellings[i%len(spellings)], fmt.Sprintf("%s %d", firstPassword, i))
				return err
			}
		}
		winner := -1
		for i, err := range meetAtClock(ctx, fns...) {
			if err == nil && winner < 0 {
				winner = i
				continue
			}
			wantOneOf(t, fmt.Sprintf("registration %d", i), err, models.ErrEmailTaken)
		}
		if winner < 0 {
			t.Fatal("nobody was registered")
		}
		all := must(s.User.Query().All(models.IncludeDeleted(ctx)))(t)
		if len(all) != 1 || all[0].ID != made[winner].ID || all[0].Email != spellings[0] {
			t.Errorf("the accounts are %v, want that of the one who was registered", all)
		}
		if n := trailLength(t, ctx, s.Client); n != 1 {
			t.Errorf("the trail has %d rows, want the creation alone", n)
		}
		u, err := s.Authenticate(models.AsAnonymous(ctx), spellings[0], fmt.Sprintf("%s %d", firstPassword, winner))
		if err != nil || u.ID != made[winner].ID {
			t.Errorf("the one who was registered signs in with %v, %v", u, err)
		}
	})
}

func TestUpsertUser_AtOnce(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		fns := make([]func(context.Context) error, 32)
		for i := range fns {
			address, name := []string{"ada@example.org", "ADA@example.org ", "Ada@Example.Org"}[i%3], fmt.Sprintf("Ada %d", i)
			fns[i] = func(ctx context.Context) error {
				u, err := s.UpsertUser(ctx, address, func(m *ent.UserMutation) { m.SetName(name) })
				if err == nil && (u.Email != "ada@example.org" || *u.Name != name) {
					err = fmt.Errorf("it answered %v", u)
				}
				return err
			}
		}
		var answers []error
		if s.Dialect() == "postgres" { // All of these have found nobody when they meet. On SQLite, they would wait for the one writer.
			answers = meetAtClock(ctx, fns[:8]...)
			fns = fns[8:]
		}
		rest := make([]func() error, len(fns))
		for i, fn := range fns {
			rest[i] = func() error { return fn(ctx) }
		}
		answers = append(answers, atOnce(rest...)...)
		for i, err := range answers {
			if err != nil {
				t.Errorf("upsert %d: %v", i, err)
			}
		}
		u := must(s.User.Query().Only(models.IncludeDeleted(ctx)))(t)
		want := slices.Concat([]string{"create"}, slices.Repeat([]string{"update"}, len(answers)-1))
		if got := actions(t, ctx, s, "user", u.ID); !slices.Equal(got, want) {
			t.Errorf("the trail is %v, want a creation and %d updates", got, len(answers)-1)
		}
	})
}

func TestChangePassword_AtOnce(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := newAccount(t, ctx, s)
		chosen := []string{secondPassword, thirdPassword}
		answers := meetAtClock(models.AsUser(ctx, u),
			func(ctx context.Context) error { return s.ChangePassword(ctx, u.ID, firstPassword, chosen[0]) },
			func(ctx context.Context) error { return s.ChangePassword(ctx, u.ID, firstPassword, chosen[1]) },
		)
		winner := slices.Index(answers, nil)
		if winner < 0 || !errors.Is(answers[1-winner], models.ErrInvalidCredentials) {
			t.Fatalf("two who change the password get %v, want nil and ErrInvalidCredentials", answers)
		}
		wantPassword(t, ctx, s, u.Email, chosen[winner], chosen[1-winner])
		if got := actions(t, ctx, s, "user", u.ID); !slices.Equal(got, []string{"create", "update"}) {
			t.Errorf("the trail is %v, want one change", got)
		}
	})
}

// TestResetPassword_BesideChangePassword: whoever follows the link wins, for the old password counts no more.
func TestResetPassword_BesideChangePassword(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		visitor := models.AsAnonymous(ctx)

		u := newAccount(t, ctx, s)
		err := s.ChangePassword(firstLook(models.AsUser(ctx, u), func() {
			check(t, s.ResetPassword(visitor, u.Email, "nonce", thirdPassword))
		}), u.ID, firstPassword, secondPassword)
		wantOneOf(t, "a change that a reset comes before", err, models.ErrInvalidCredentials)
		wantPassword(t, ctx, s, u.Email, thirdPassword, secondPassword)

		u = newAccount(t, ctx, s)
		check(t, s.ResetPassword(firstLook(visitor, func() {
			check(t, s.ChangePassword(models.AsUser(ctx, u), u.ID, firstPassword, secondPassword))
		}), u.Email, "nonce", thirdPassword))
		wantPassword(t, ctx, s, u.Email, thirdPassword, secondPassword)

		for range rounds() / 2 {
			u := newAccount(t, ctx, s)
			answers := meetAtClock(ctx,
				func(ctx context.Context) error {
					return s.ResetPassword(models.AsAnonymous(ctx), u.Email, "nonce", thirdPassword)
				},
				func(ctx context.Context) error {
					return s.ChangePassword(models.AsUser(ctx, u), u.ID, firstPassword, secondPassword)
				},
			)
			check(t, answers[0])
			wantOneOf(t, "a change beside a reset", answers[1], nil, models.ErrInvalidCredentials)
			wantPassword(t, ctx, s, u.Email, thirdPassword, secondPassword)
		}
	})
}

// TestResetPassword_AccountChangesMeanwhile: a reset that fails leaves the nonce as it was.
func TestResetPassword_AccountChangesMeanwhile(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		for name, meanwhile := range map[string]struct {
			do, undo func(u *ent.User) error
			want     error
		}{
			"deactivated": {
				func(u *ent.User) error { return s.DeactivateUser(ctx, u.ID) },
				func(u *ent.User) error { return s.ReactivateUser(ctx, u.ID) },
				models.ErrAccountDisabled,
			},
			"deleted": {
				func(u *ent.User) error { return s.SoftDeleteUser(ctx, u.ID) },
				func(u *ent.User) error { return s.RestoreUser(ctx, u.ID) },
				models.ErrNotFound,
			},
			"another address": {
				func(u *ent.User) error { return s.User.UpdateOne(u).SetEmail("other." + u.Email).Exec(ctx) },
				func(u *ent.User) error { return s.User.UpdateOne(u).SetEmail(u.Email).Exec(ctx) },
				models.ErrNotFound,
			},
		} {
			t.Run(name, func(t *testing.T) {
				u := newAccount(t, ctx, s)
				err := s.ResetPassword(firstLook(models.AsAnonymous(ctx), func() { check(t, meanwhile.do(u)) }), u.Email, "nonce", secondPassword)
				wantOneOf(t, "the answer", err, meanwhile.want)
				check(t, meanwhile.undo(u))
				wantPassword(t, ctx, s, u.Email, firstPassword, secondPassword)
				check(t, s.ResetPassword(models.AsAnonymous(ctx), u.Email, "nonce", secondPassword))
				wantPassword(t, ctx, s, u.Email, secondPassword, firstPassword)
			})
		}
	})
}

// TestAuthenticate_AccountChangesMeanwhile changes the account after the password has been verified.
func TestAuthenticate_AccountChangesMeanwhile(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		argon2 := must(s.Register(ctx, "argon2@example.org", firstPassword))(t).HashedPassword
		for name, meanwhile := range map[string]struct {
			do   func(u *ent.User) error
			want error
		}{
			"another password": {func(u *ent.User) error { return s.SetPassword(ctx, u.ID, secondPassword) }, models.ErrInvalidCredentials},
			"a new salt":       {func(u *ent.User) error { return s.SetPassword(ctx, u.ID, firstPassword) }, nil},
			"deactivated":      {func(u *ent.User) error { return s.DeactivateUser(ctx, u.ID) }, models.ErrAccountDisabled},
			"deleted":          {func(u *ent.User) error { return s.SoftDeleteUser(ctx, u.ID) }, models.ErrInvalidCredentials},
			"anonymized":       {func(u *ent.User) error { return s.AnonymizeUser(ctx, u.ID) }, models.ErrInvalidCredentials},
		} {
			for hashing, hash := range map[string]string{"argon2": argon2, "bcrypt": firstHash()} { // A sign-in replaces that of bcrypt.
				u := must(newUser(s).SetHashedPassword(hash).Save(ctx))(t)
				_, err := s.Authenticate(firstLook(models.AsAnonymous(ctx), func() { check(t, meanwhile.do(u)) }), u.Email, firstPassword)
				wantOneOf(t, name+", "+hashing, err, meanwhile.want)
				after := must(s.User.Get(models.IncludeDeleted(ctx), u.ID))(t)
				if (after.LastLoginAt != nil) != (meanwhile.want == nil) {
					t.Errorf("%s, %s: the last login is %v after %v", name, hashing, after.LastLoginAt, err)
				}
				if name == "another password" {
					wantPassword(t, ctx, s, u.Email, secondPassword, firstPassword)
				}
			}
		}
	})
}

// TestAuthenticate_AtOnce signs in many with one hash of the old application, which one of them replaces.
func TestAuthenticate_AtOnce(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := newAccount(t, ctx, s)
		for i, err := range meetAtClock(models.AsAnonymous(ctx), slices.Repeat([]func(context.Context) error{
			func(ctx context.Context) error {
				signedIn, err := s.Authenticate(ctx, u.Email, firstPassword)
				if err == nil && signedIn.LastLoginAt == nil {
					err = errors.New("it answered an account without a login")
				}
				return err
			},
		}, 8)...) {
			if err != nil {
				t.Errorf("sign-in %d: %v", i, err)
			}
		}
		wantPassword(t, ctx, s, u.Email, firstPassword, secondPassword)
		if got := actions(t, ctx, s, "user", u.ID); !slices.Equal(got, []string{"create", "update"}) {
			t.Errorf("the trail is %v, want one new hash", got)
		}
	})
}

func TestDeactivateUser_BesideReactivateUser(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		for range rounds() {
			u := must(newUser(s).Save(ctx))(t)
			token := s.NewClaims(u, time.Hour)
			fns := slices.Repeat([]func(context.Context) error{
				func(ctx context.Context) error { return s.DeactivateUser(ctx, u.ID) },
				func(ctx context.Context) error { return s.ReactivateUser(ctx, u.ID) },
			}, 4)
			for i, err := range meetAtClock(ctx, fns...) {
				if err != nil {
					t.Errorf("%d: %v", i, err)
				}
			}
			active := true
			for _, row := range must(s.AuditLog.Query().Where(auditlog.EntityID(u.ID), auditlog.Action("update")).Order(auditlog.ByID()).All(ctx))(t) {
				pair, changed := row.Changes[user.FieldIsActive].([]any)
				if !changed {
					continue // It was disabled again, which moved the cutoff.
				}
				if pair[0] != active || pair[1] != !active {
					t.Errorf("a row of the trail says %v of an account whose is_active was %v", pair, active)
				}
				active = !active
			}
			if u = must(s.User.Get(ctx, u.ID))(t); u.IsActive != active {
				t.Errorf("is_active is %v, and %v by the trail", u.IsActive, active)
			}
			wantOneOf(t, "a token from before", s.CheckToken(models.AsAnonymous(ctx), token), models.ErrTokenRevoked)
		}
	})
}

// TestRegister_BesideRestoreUser lets many delete, restore and register one address.
func TestRegister_BesideRestoreUser(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		for range rounds() / 2 {
			u := newAccount(t, ctx, s)
			if people.Load()%2 == 0 {
				check(t, s.SoftDeleteUser(ctx, u.ID))
			}
			steps := []struct {
				name string
				do   func(ctx context.Context) error
				may  []error
			}{
				{"delete", func(ctx context.Context) error { return s.SoftDeleteUser(ctx, u.ID) }, []error{nil, models.ErrNotFound}},
				{"restore", func(ctx context.Context) error { return s.RestoreUser(ctx, u.ID) }, []error{nil, models.ErrNotFound, models.ErrEmailTaken}},
				{"register", func(ctx context.Context) error {
					_, err := s.Register(models.AsAnonymous(ctx), u.Email, firstPassword)
					return err
				}, []error{nil, models.ErrEmailTaken}},
				{"delete whoever it is", func(ctx context.Context) error {
					_, err := s.User.Delete().Where(user.Email(u.Email)).Exec(ctx)
					return err
				}, []error{nil}},
			}
			var fns []func(context.Context) error
			for range 3 {
				for _, step := range steps {
					fns = append(fns, step.do)
				}
			}
			for i, err := range meetAtClock(ctx, fns...) {
				wantOneOf(t, steps[i%len(steps)].name, err, steps[i%len(steps)].may...)
			}
			alive := 0
			for _, one := range must(s.User.Query().Where(user.Email(u.Email)).All(models.IncludeDeleted(ctx)))(t) {
				trail := actions(t, ctx, s, "user", one.ID)
				if last := trail[len(trail)-1]; one.IsDeleted != (last == "soft_delete") {
					t.Errorf("account %d has is_deleted %v after %v", one.ID, one.IsDeleted, trail)
				}
				if !one.IsDeleted {
					alive++
				}
			}
			if alive > 1 {
				t.Errorf("%d accounts in use have one address", alive)
			}
		}
	})
}

// TestAnonymizeUser_BesideSignIns: whoever comes first, afterwards nobody signs in and nothing personal is left.
func TestAnonymizeUser_BesideSignIns(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		passwords := []string{firstPassword, secondPassword, thirdPassword}
		for range rounds() / 2 {
			u := newCanary(t, ctx, s)
			fns := []func() error{
				func() error { return s.AnonymizeUser(ctx, u.ID) },
				func() error { return s.ChangePassword(models.AsUser(ctx, u), u.ID, firstPassword, secondPassword) },
			}
			for i := range 3 {
				fns = append(fns,
					func() error {
						_, err := s.Authenticate(models.AsAnonymous(ctx), u.Email, passwords[i])
						return err
					},
					func() error {
						return s.ResetPassword(models.AsAnonymous(ctx), u.Email, fmt.Sprintf("nonce-at-once-%d", i), passwords[i])
					})
			}
			answers := atOnce(fns...)
			check(t, answers[0])
			for i, err := range answers[1:] {
				wantOneOf(t, fmt.Sprintf("function %d", i+1), err,
					nil, models.ErrInvalidCredentials, models.ErrAccountDisabled, models.ErrNotFound, models.ErrForbidden)
			}
			wantAnonymous(t, ctx, s, u)
			address := must(s.User.Get(ctx, u.ID))(t).Email
			for _, password := range passwords {
				_, err := s.Authenticate(models.AsAnonymous(ctx), address, password)
				wantOneOf(t, "sign in", err, models.ErrInvalidCredentials)
			}
		}
	})
}

// TestAnonymizeUser_ResetMeanwhile uses a link after AnonymizeUser has begun and before it has changed anything.
func TestAnonymizeUser_ResetMeanwhile(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := newCanary(t, ctx, s)
		reset := make(chan error, 1)
		check(t, s.AnonymizeUser(firstLook(ctx, func() {
			// The account is locked by then, or SQLite's writer taken: the reset waits.
			go func() { reset <- s.ResetPassword(models.AsAnonymous(ctx), u.Email, "nonce-meanwhile", secondPassword) }()
		}), u.ID))
		wantOneOf(t, "the reset", <-reset, nil, models.ErrNotFound)
		wantAnonymous(t, ctx, s, u)
	})
}

// TestAnonymizeUser_BeforeAPendingChange: what was allowed before must not bring anything personal back.
func TestAnonymizeUser_BeforeAPendingChange(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		for name, change := range map[string]func(ctx context.Context, u *ent.User) error{
			"a reset": func(ctx context.Context, u *ent.User) error {
				return s.ResetPassword(models.AsAnonymous(ctx), u.Email, "nonce-pending", secondPassword)
			},
			"a change of the password": func(ctx context.Context, u *ent.User) error {
				return s.ChangePassword(models.AsUser(ctx, u), u.ID, firstPassword, secondPassword)
			},
			"a change of the profile": func(ctx context.Context, u *ent.User) error {
				return s.User.UpdateOneID(u.ID).SetName(canaryName).SetBio(canaryBio).Exec(models.AsUser(ctx, u))
			},
			"a change of the profile in bulk": func(ctx context.Context, u *ent.User) error {
				return s.User.Update().SetName(canaryName).SetBio(canaryBio).Exec(models.AsUser(ctx, u))
			},
		} {
			u := newCanary(t, ctx, s)
			err := change(firstLook(ctx, func() { check(t, s.AnonymizeUser(ctx, u.ID)) }), u)
			t.Run(name, func(t *testing.T) {
				// nil is of a bulk change, which found nobody.
				wantOneOf(t, "the answer", err, nil, models.ErrInvalidCredentials, models.ErrNotFound, models.ErrForbidden)
				wantAnonymous(t, ctx, s, u)
			})
			check(t, s.AnonymizeUser(ctx, u.ID)) // The next one has the same canaries.
		}
	})
}
