package models_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/internal/text"
)

// textColumn is a column of text and two ways to fill it: by the client, and by SQL that goes round the client's validators.
type textColumn struct {
	name     string
	max      int // characters
	required bool
	client   func(ctx context.Context, s *models.Store, value string) error
	raw      func(ctx context.Context, s *models.Store, value string) error
}

func textColumns() []textColumn {
	userColumn := func(column string) func(context.Context, *models.Store, string) error {
		return func(ctx context.Context, s *models.Store, value string) error {
			u, err := newUser(s).Save(ctx)
			if err != nil {
				return err
			}
			_, err = s.ExecContext(ctx, "UPDATE users SET "+column+" = $1 WHERE id = $2", value, u.ID)
			return err
		}
	}
	fileColumn := func(column string) func(context.Context, *models.Store, string) error {
		return func(ctx context.Context, s *models.Store, value string) error {
			f, err := fileOfSomebody(ctx, s)
			if err != nil {
				return err
			}
			_, err = s.ExecContext(ctx, "UPDATE files SET "+column+" = $1 WHERE id = $2", value, f.ID)
			return err
		}
	}
	insert := func(query string, rest ...any) func(context.Context, *models.Store, string) error {
		return func(ctx context.Context, s *models.Store, value string) error {
			_, err := s.ExecContext(ctx, query, append([]any{value}, rest...)...)
			return err
		}
	}
	user := func(set func(*ent.UserCreate, string)) func(context.Context, *models.Store, string) error {
		return func(ctx context.Context, s *models.Store, value string) error {
			create := newUser(s)
			set(create, value)
			return create.Exec(ctx)
		}
	}
	audit := func(set func(*ent.AuditLogCreate, string)) func(context.Context, *models.Store, string) error {
		return func(ctx context.Context, s *models.Store, value string) error {
			create := newAudit(s)
			set(create, value)
			return create.Exec(ctx)
		}
	}
	file := func(set func(*ent.FileUpdateOne, string)) func(context.Context, *models.Store, string) error {
		return func(ctx context.Context, s *models.Store, value string) error {
			f, err := fileOfSomebody(ctx, s)
			if err != nil {
				return err
			}
			update := f.Update()
			set(update, value)
			return update.Exec(ctx)
		}
	}
	auditRow := "INSERT INTO audit_logs (%s, entity_id, changes) VALUES ($1, 'x', 'x', 1, '{}')"
	return []textColumn{
		{"users.email", 255, true, user(func(c *ent.UserCreate, v string) { c.SetEmail(v) }), userColumn("email")},
		{"users.hashed_password", 255, true, user(func(c *ent.UserCreate, v string) { c.SetHashedPassword(v) }), userColumn("hashed_password")},
		{"users.name", 128, false, user(func(c *ent.UserCreate, v string) { c.SetName(v) }), userColumn("name")},
		{"users.bio", 512, false, user(func(c *ent.UserCreate, v string) { c.SetBio(v) }), userColumn("bio")},
		{"users.avatar_url", 255, false, user(func(c *ent.UserCreate, v string) { c.SetAvatarURL(v) }), userColumn("avatar_url")},
		{"files.filename", 255, true, file(func(u *ent.FileUpdateOne, v string) { u.SetFilename(v) }), fileColumn("filename")},
		{"files.content_type", 128, true, file(func(u *ent.FileUpdateOne, v string) { u.SetContentType(v) }), fileColumn("content_type")},
		{"blacklisted_tokens.jti", 255, true, func(ctx context.Context, s *models.Store, v string) error {
			return newToken(s, v, time.Now()).Exec(ctx)
		}, insert("INSERT INTO blacklisted_tokens (jti, expires_at) VALUES ($1, $2)", time.Now())},
		{"used_password_reset_tokens.email", 255, true, func(ctx context.Context, s *models.Store, v string) error {
			return newReset(s, v, uuid.NewString()).Exec(ctx)
		}, insert("INSERT INTO used_password_reset_tokens (email, nonce) VALUES ($1, 'raw')")},
		{"used_password_reset_tokens.nonce", 64, true, func(ctx context.Context, s *models.Store, v string) error {
			return newReset(s, uuid.NewString()+"@example.org", v).Exec(ctx)
		}, insert("INSERT INTO used_password_reset_tokens (nonce, email) VALUES ($1, 'raw')")},
		{"audit_logs.actor", 255, true, audit(func(c *ent.AuditLogCreate, v string) { c.SetActor(v) }), insert(fmt.Sprintf(auditRow, "actor, action, entity"))},
		{"audit_logs.action", 32, true, audit(func(c *ent.AuditLogCreate, v string) { c.SetAction(v) }), insert(fmt.Sprintf(auditRow, "action, actor, entity"))},
		{"audit_logs.entity", 64, true, audit(func(c *ent.AuditLogCreate, v string) { c.SetEntity(v) }), insert(fmt.Sprintf(auditRow, "entity, actor, action"))},
	}
}

func fileOfSomebody(ctx context.Context, s *models.Store) (*ent.File, error) {
	owner, err := newUser(s).Save(ctx)
	if err != nil {
		return nil, err
	}
	return newFile(s, owner).Save(ctx)
}

// letters is n characters, of which some take two bytes and some four.
func letters(n int, salt string) string {
	return salt + string([]rune(strings.Repeat("ю🦉", n))[:n-len(salt)])
}

func TestText_Bounds(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		for _, c := range textColumns() {
			for way, write := range map[string]func(context.Context, *models.Store, string) error{"client": c.client, "raw SQL": c.raw} {
				longest, longer := letters(c.max, way[:1]), letters(c.max+1, way[:1])
				if strings.HasSuffix(c.name, ".email") && way == "client" { // which counts in bytes
					longest = "a@" + strings.Repeat(strings.Repeat("b", 62)+".", 4)
					longest, longer = longest[:253]+"b", longest[:253]+"bb"
				}
				if err := write(ctx, s, longest); err != nil {
					t.Errorf("%s by %s: %d characters are refused: %v", c.name, way, c.max, err)
				}
				if err := write(ctx, s, longer); err == nil {
					t.Errorf("%s by %s: %d characters are accepted", c.name, way, c.max+1)
				}
				if err := write(ctx, s, ""); (err != nil) != c.required {
					t.Errorf("%s by %s: an empty text answers %v; required: %t", c.name, way, err, c.required)
				}
			}
			err := c.client(ctx, s, letters(c.max+1, ""))
			refused, ok := errors.AsType[*models.ValidationError](err)
			if !ok || !strings.HasSuffix(c.name, "."+refused.Field) {
				t.Errorf("%s: a text that is too long answers %v, want a *ValidationError", c.name, err)
			}
			if !strings.HasSuffix(c.name, ".email") && !ent.IsValidationError(err) {
				t.Errorf("%s: a text that is too long is no validation error for ent", c.name)
			}
		}
	})
}

func TestText_InvalidIsRefusedAlike(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		value string
		want  error
	}{
		"NUL":           {"a\x00b", text.ErrNUL},
		"NUL first":     {"\x00", text.ErrNUL},
		"invalid UTF-8": {"a\xffb", text.ErrInvalidUTF8},
		"surrogate":     {"\xed\xa0\x80", text.ErrInvalidUTF8},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
				for _, c := range textColumns() {
					for way, write := range map[string]func(context.Context, *models.Store, string) error{"client": c.client, "raw SQL": c.raw} {
						if err := write(ctx, s, tt.value); !errors.Is(err, tt.want) {
							t.Errorf("%s by %s answers %v, want %v", c.name, way, err, tt.want)
						}
					}
				}
				for _, preferences := range []map[string]any{
					{"k": tt.value}, {tt.value: 1}, {"a": map[string]any{"b": []any{1, tt.value}}}, {"a": []string{tt.value}},
				} {
					if err := newUser(s).SetPreferences(preferences).Exec(ctx); !errors.Is(err, tt.want) {
						t.Errorf("preferences %q answer %v, want %v", preferences, err, tt.want)
					}
				}
			})
		})
	}
}

// TestChecks_OfTheDatabase writes SQL with literals, as other hands would.
func TestChecks_OfTheDatabase(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		f := must(fileOfSomebody(ctx, s))(t)
		for _, query := range []string{
			"UPDATE files SET size = -1",
			"UPDATE users SET preferences = '[]'",
			"UPDATE users SET is_deleted = true",
			"UPDATE users SET deleted_at = CURRENT_TIMESTAMP",
			`UPDATE users SET preferences = '"x"'`,
			"UPDATE users SET preferences = 'null'",
			"UPDATE users SET email = ''",
			"UPDATE files SET filename = ''",
		} {
			if _, err := s.ExecContext(ctx, query); !errors.Is(err, models.ErrCheck) {
				t.Errorf("%s answers %v, want ErrCheck", query, err)
			}
		}
		// What PostgreSQL refuses by type.
		for _, query := range []string{
			"UPDATE users SET preferences = '{'",
			"UPDATE files SET size = 'many'",
			"UPDATE users SET created_at = 'yesterday noon'",
			"UPDATE users SET public_id = 'seven'",
			"UPDATE users SET email = NULL",
			"UPDATE files SET user_id = NULL",
		} {
			if _, err := s.ExecContext(ctx, query); err == nil {
				t.Errorf("%s is accepted", query)
			}
		}
		must(s.ExecContext(ctx, "UPDATE users SET preferences = '{\"a\": null}'"))(t)
		if err := newFile(s, &ent.User{ID: f.UserID}).SetSize(-1).Exec(ctx); !ent.IsValidationError(err) {
			t.Errorf("a negative size answers %v, want a validation error", err)
		}
	})
}

func TestPreferences(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		nested := map[string]any{
			"theme": "тёмная 🦉", "nothing": nil, "n": 1.5, "yes": true, "": "empty key",
			"deep": map[string]any{"list": []any{1.0, nil, map[string]any{"x": "<&>"}}, "none": []any{}},
		}
		u := must(newUser(s).SetPreferences(nested).Save(ctx))(t)
		if read := must(s.User.Get(ctx, u.ID))(t); !reflect.DeepEqual(read.Preferences, nested) {
			t.Errorf("read %v, want %v", read.Preferences, nested)
		}
		null := func() bool {
			return column[bool](t, ctx, s, "SELECT preferences IS NULL FROM users WHERE id = $1", u.ID)[0]
		}
		check(t, u.Update().SetPreferences(nil).Exec(ctx))
		if !null() {
			t.Error("preferences set to nil are not NULL")
		}
		check(t, u.Update().SetPreferences(map[string]any{}).Exec(ctx))
		if null() {
			t.Error("an empty object became NULL")
		}
		check(t, s.User.Update().SetPreferences(nil).Exec(ctx))
		if !null() {
			t.Error("preferences set to nil in bulk are not NULL")
		}
		check(t, u.Update().SetPreferences(nested).Exec(ctx))
		check(t, u.Update().ClearPreferences().Exec(ctx))
		if !null() {
			t.Error("cleared preferences are not NULL")
		}
		u = must(newUser(s).SetPreferences(nil).Save(ctx))(t)
		if !null() || u.ToMap()["preferences"] != nil {
			t.Error("preferences made as nil are not NULL")
		}
	})
}
