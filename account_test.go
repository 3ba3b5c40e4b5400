package models_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	entgo "entgo.io/ent"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/user"
	"github.com/reviewpoint/models/internal/policy"
	"github.com/reviewpoint/models/schema"
)

// refusal asserts that err is a *ValidationError of the field, and returns its reason.
func refusal(t *testing.T, err error, entity, field string) string {
	t.Helper()
	refused, ok := errors.AsType[*models.ValidationError](err)
	if !ok || refused.Entity != entity || refused.Field != field {
		t.Fatalf("got %v, want a *ValidationError of %s.%s", err, entity, field)
	}
	return refused.Reason
}

func TestRegister(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		visitor := models.AsAnonymous(ctx)
		u := must(s.Register(visitor, " Юзер@Пример.РФ ", goodPassword, func(m *ent.UserMutation) {
			m.SetName("Юля")
			m.SetPreferences(map[string]any{"theme": "dark"})
		}))(t)
		if u.Email != "юзер@пример.рф" || *u.Name != "Юля" || u.IsAdmin || !u.IsActive || u.LastLoginAt != nil || u.TokensValidAfter != nil {
			t.Errorf("the account is %v", u.ToMap())
		}
		if stored := must(s.User.Get(ctx, u.ID))(t).HashedPassword; !strings.HasPrefix(stored, "$argon2id$v=19$") {
			t.Errorf("the password is stored as %q", stored)
		}
		if _, err := s.Register(visitor, "ЮЗЕР@пример.рф", goodPassword); !errors.Is(err, models.ErrEmailTaken) {
			t.Errorf("the address in another spelling: got %v, want ErrEmailTaken", err)
		}
		for password, want := range map[string]string{
			"short77":                "at least 8 characters",
			strings.Repeat("я", 129): "at most 128 characters",
			"Password1":              "most common passwords",
			"NEW@example.org":        "e-mail address",
			"long enough\xff":        "UTF-8",
		} {
			_, err := s.Register(visitor, "new@example.org", password)
			if reason := refusal(t, err, "User", "password"); !strings.Contains(reason, want) {
				t.Errorf("%q is refused because it %s, want %q", password, reason, want)
			}
		}
		_, err := s.Register(visitor, "new.example.org", goodPassword)
		refusal(t, err, "User", "email")
		_, err = s.Register(visitor, "new@example.org", goodPassword, func(m *ent.UserMutation) { m.SetName(strings.Repeat("x", 129)) })
		refusal(t, err, "User", "name")
		if n := must(s.User.Query().Count(ctx))(t); n != 1 {
			t.Errorf("there are %d accounts, want 1", n)
		}
	})
}

// TestRegister_OptionsHaveNoRights tries to set by an option what the person may not change later.
func TestRegister_OptionsHaveNoRights(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		person := models.AsUser(ctx, must(newUser(s).Save(ctx))(t))
		for name, set := range map[string]models.UserOption{
			"is_admin":   func(m *ent.UserMutation) { m.SetIsAdmin(true) },
			"is_active":  func(m *ent.UserMutation) { m.SetIsActive(true) },
			"email":      func(m *ent.UserMutation) { m.SetEmail("other@example.org") },
			"password":   func(m *ent.UserMutation) { m.SetHashedPassword("x") },
			"login":      func(m *ent.UserMutation) { m.SetLastLoginAt(time.Now()) },
			"created_at": func(m *ent.UserMutation) { m.SetCreatedAt(time.Now()) },
			"operation":  func(m *ent.UserMutation) { m.SetOp(ent.OpDelete) },
			"files":      func(m *ent.UserMutation) { m.AddFileIDs(1) },
		} {
			for _, ctx := range []context.Context{models.AsAnonymous(ctx), person} {
				if _, err := s.Register(ctx, "new@example.org", goodPassword, set); !errors.Is(err, models.ErrForbidden) {
					t.Errorf("%s: got %v, want ErrForbidden", name, err)
				}
			}
		}
		u := must(s.Register(ctx, "new@example.org", goodPassword, func(m *ent.UserMutation) {
			m.SetEmail("other@example.org")
			m.SetHashedPassword("x")
			m.SetIsAdmin(true)
		}))(t)
		if u.Email != "new@example.org" || u.HashedPassword == "x" || !u.IsAdmin {
			t.Errorf("the account is %v", u.ToMap())
		}
	})
}

// TestRegister_RaisedRightsStayInside has a hook of the service ask, in the context in which an account
// is made, for what a visitor may not see.
func TestRegister_RaisedRightsStayInside(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		var answers []error
		s.User.Use(func(next entgo.Mutator) entgo.Mutator {
			return entgo.MutateFunc(func(ctx context.Context, m entgo.Mutation) (entgo.Value, error) {
				_, files := s.File.Query().Count(ctx)
				_, trail := s.AuditLog.Query().Count(ctx)
				_, tokens := s.BlacklistedToken.Delete().Exec(ctx)
				answers = append(answers, files, trail, tokens)
				return next.Mutate(ctx, m)
			})
		})
		visitor := models.AsAnonymous(ctx)
		must(s.Register(visitor, "new@example.org", goodPassword))(t)
		for i, err := range answers {
			if !errors.Is(err, models.ErrForbidden) {
				t.Errorf("question %d of the hook: got %v, want ErrForbidden", i, err)
			}
		}
		if len(answers) != 3 {
			t.Errorf("the hook got %d answers, want 3", len(answers))
		}
		if _, err := s.User.Query().Count(visitor); !errors.Is(err, models.ErrForbidden) {
			t.Errorf("afterwards the visitor gets %v, want ErrForbidden", err)
		}
	})
}

// TestRegister_ByWhomIsNoAdministratorAnyMore claims rights that the account has lost.
func TestRegister_ByWhomIsNoAdministratorAnyMore(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		was := must(newUser(s).SetIsAdmin(true).Save(ctx))(t)
		asWas := models.AsUser(ctx, was)
		check(t, s.User.UpdateOne(was).SetIsAdmin(false).Exec(ctx))
		id := must(newUser(s).Save(ctx))(t).ID
		_, register := s.Register(asWas, "new@example.org", goodPassword, func(m *ent.UserMutation) { m.SetIsAdmin(true) })
		for name, err := range map[string]error{
			"Register":        register,
			"SetPassword":     s.SetPassword(asWas, id, goodPassword),
			"DeactivateUser":  s.DeactivateUser(asWas, id),
			"AnonymizeUser":   s.AnonymizeUser(asWas, id),
			"RevokeAllTokens": s.RevokeAllTokens(asWas, id),
			"RevokeToken":     s.RevokeToken(asWas, "jti", time.Now()),
			"RecordLogin":     s.RecordLogin(asWas, id, time.Now()),
			"ExportSubject":   s.ExportSubject(asWas, id, &strings.Builder{}),
		} {
			if !errors.Is(err, models.ErrForbidden) {
				t.Errorf("%s: got %v, want ErrForbidden", name, err)
			}
		}
	})
}

func TestUpsertUser(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		made := must(s.UpsertUser(ctx, " ADA@example.org", func(m *ent.UserMutation) { m.SetName("Ada") }))(t)
		if made.Email != "ada@example.org" || *made.Name != "Ada" {
			t.Errorf("the account is %v", made.ToMap())
		}
		if _, err := s.Authenticate(ctx, "ada@example.org", "!"); !errors.Is(err, models.ErrInvalidCredentials) {
			t.Errorf("an account without a password answers %v, want ErrInvalidCredentials", err)
		}
		again := must(s.UpsertUser(ctx, "ada@EXAMPLE.org", func(m *ent.UserMutation) { m.SetBio("Countess") }))(t)
		if again.ID != made.ID || *again.Name != "Ada" || *again.Bio != "Countess" {
			t.Errorf("the account is %v", again.ToMap())
		}
		other := must(newUser(s).Save(ctx))(t)
		if _, err := s.UpsertUser(ctx, "ada@example.org", func(m *ent.UserMutation) { m.SetEmail(other.Email) }); !errors.Is(err, models.ErrEmailTaken) {
			t.Errorf("the address of another account: got %v, want ErrEmailTaken", err)
		}
		check(t, s.SoftDeleteUser(ctx, made.ID))
		third := must(s.UpsertUser(ctx, "ada@example.org", func(*ent.UserMutation) {}))(t)
		if third.ID == made.ID {
			t.Error("the deleted account was updated")
		}
		if got := column[string](t, ctx, s, "SELECT action FROM audit_logs WHERE entity_id = $1 ORDER BY id", made.ID); strings.Join(got, " ") != "create update soft_delete" {
			t.Errorf("the trail is %v", got)
		}
	})
}

func TestSignupsPerMonth(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		var gone *ent.User
		for _, at := range []time.Time{
			time.Date(2025, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
			time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
			time.Date(2026, 2, 1, 1, 0, 0, 0, time.FixedZone("", 7200)), // January in UTC
			time.Date(2026, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
			time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
		} {
			check(t, newUser(s).SetCreatedAt(at).Exec(ctx))
		}
		gone = must(newUser(s).SetCreatedAt(time.Date(2026, 6, 15, 0, 0, 0, 0, time.UTC)).Save(ctx))(t)
		check(t, s.SoftDeleteUser(ctx, gone.ID))
		if got, want := must(s.SignupsPerMonth(ctx, 2026))(t), [12]int{0: 2, 11: 1}; got != want {
			t.Errorf("got %v, want %v", got, want)
		}
		if got, want := must(s.SignupsPerMonth(models.IncludeDeleted(ctx), 2026))(t), [12]int{0: 2, 5: 1, 11: 1}; got != want {
			t.Errorf("with deleted ones: got %v, want %v", got, want)
		}
	})
}

func TestPasswordOptions(t *testing.T) {
	t.Parallel()
	for name, opt := range map[string]models.Option{
		"little memory":          models.WithPasswordHashing(models.PasswordHashing{Memory: 19455}),
		"one pass":               models.WithPasswordHashing(models.PasswordHashing{Time: 1}),
		"much memory":            models.WithPasswordHashing(models.PasswordHashing{Memory: 1<<20 + 1}),
		"much time":              models.WithPasswordHashing(models.PasswordHashing{Time: 65}),
		"many threads":           models.WithPasswordHashing(models.PasswordHashing{Threads: 65}),
		"less than one hash":     models.WithPasswordHashing(models.PasswordHashing{MaxMemory: 19455}),
		"a lower maximum length": models.WithMaxPasswordLength(127),
		"an endless password":    models.WithMaxPasswordLength(4097),
	} {
		if _, err := models.Open(t.Context(), "sqlite://:memory:", opt); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	ctx := models.AsSystem(t.Context(), "test")
	s := models.OpenTest(t, models.WithMaxPasswordLength(200), models.WithPasswordHashing(models.PasswordHashing{Memory: 20_000, Time: 3, Threads: 2}))
	u := must(s.Register(ctx, "ada@example.org", strings.Repeat("я", 200)))(t)
	if !strings.HasPrefix(u.HashedPassword, "$argon2id$v=19$m=20000,t=3,p=2$") {
		t.Errorf("the hash is %s", u.HashedPassword)
	}
	must(s.Authenticate(ctx, "ada@example.org", strings.Repeat("я", 200)))(t)
	if _, err := s.Authenticate(ctx, "ada@example.org", strings.Repeat("я", 199)); !errors.Is(err, models.ErrInvalidCredentials) {
		t.Errorf("the password less its last character: got %v, want ErrInvalidCredentials", err)
	}
}

// TestProfile holds what a person may set at registration to what the schema lets a person edit.
func TestProfile(t *testing.T) {
	t.Parallel()
	rules, ok := schema.User{}.Policy().(policy.Rules)
	if !ok {
		t.Fatal("users have no rules")
	}
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		_, err := s.Register(models.AsAnonymous(ctx), "ada@example.org", goodPassword, func(m *ent.UserMutation) {
			for _, column := range rules.Editable {
				check(t, m.SetField(column, map[bool]any{true: map[string]any{}, false: "x"}[column == user.FieldPreferences]))
			}
		})
		check(t, err)
	})
}
