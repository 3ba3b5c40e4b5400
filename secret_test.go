package models_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/file"
)

// TestErrors_HoldNoValue provokes every kind of refusal and looks for the row in what is answered.
func TestErrors_HoldNoValue(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		const canary, id = "canary", 424242
		owner := must(newUser(s).SetEmail(canary).SetHashedPassword(canary).Save(ctx))(t)
		f := must(newFile(s, owner).SetFilename(canary).Save(ctx))(t)
		raw := func(query string, args ...any) error {
			_, err := s.ExecContext(ctx, query, args...)
			return err
		}
		long := strings.Repeat(canary, 100)
		for name, err := range map[string]error{
			"unique":                  newUser(s).SetEmail(canary).Exec(ctx),
			"unique, in bulk":         s.User.CreateBulk(newUser(s), newUser(s).SetEmail(canary)).Exec(ctx),
			"unique, raw":             raw("INSERT INTO users (public_id, email, hashed_password) VALUES ($1, $2, $3)", uuid.NewString(), canary, canary),
			"foreign key":             f.Update().SetUserID(id).Exec(ctx),
			"check":                   f.Update().AddSize(-id).Exec(ctx),
			"check, raw":              raw("UPDATE users SET hashed_password = ''"),
			"not null, raw":           raw("UPDATE users SET hashed_password = NULL"),
			"too long":                owner.Update().SetName(long).Exec(ctx),
			"too long, raw":           raw("UPDATE users SET name = $1", long),
			"NUL":                     owner.Update().SetName(canary + "\x00").Exec(ctx),
			"NUL, raw":                raw("UPDATE users SET name = $1", canary+"\x00"),
			"NUL in an object":        owner.Update().SetPreferences(map[string]any{canary: canary + "\x00"}).Exec(ctx),
			"no JSON":                 owner.Update().SetPreferences(map[string]any{canary: func() {}}).Exec(ctx),
			"no JSON, raw":            raw("UPDATE users SET preferences = $1", "{"+canary),
			"no number, raw":          raw("UPDATE files SET size = $1", canary),
			"no number, literally":    raw("UPDATE files SET size = 'canary'"),
			"no time, raw":            raw("UPDATE users SET created_at = $1", canary),
			"no boolean, raw":         raw("UPDATE users SET is_admin = $1", canary),
			"no UUID, raw":            raw("UPDATE users SET public_id = $1", canary),
			"no argument":             raw("UPDATE users SET name = $1", struct{ Name string }{canary}),
			"no such column":          raw("UPDATE users SET nosuch = $1", canary),
			"no such row":             s.User.UpdateOneID(id).SetName(canary).Exec(ctx),
			"a value that is missing": s.User.Create().SetEmail(canary).Exec(ctx),
		} {
			if err == nil {
				t.Errorf("%s is accepted, want an error", name)
			}
			for err := range chain(err) {
				for _, verb := range []string{"%v", "%+v", "%#v"} {
					if shown := fmt.Sprintf(verb, err); strings.Contains(shown, canary) || strings.Contains(shown, fmt.Sprint(id)) {
						t.Errorf("%s: the error shows a value in %s: %s", name, verb, shown)
					}
				}
			}
		}
	})
}

// chain goes through err and all that it wraps.
func chain(err error) func(yield func(error) bool) {
	return func(yield func(error) bool) {
		if err == nil || !yield(err) {
			return
		}
		var wrapped []error
		switch err := err.(type) { //nolint:errorlint // It goes through the chain itself.
		case interface{ Unwrap() error }:
			wrapped = []error{err.Unwrap()}
		case interface{ Unwrap() []error }:
			wrapped = err.Unwrap()
		}
		for _, err := range wrapped {
			for err := range chain(err) {
				if !yield(err) {
					return
				}
			}
		}
	}
}

// TestUser_ValueShowsNoHash: fmt and encoding/json do not find methods of *User on a User.
func TestUser_ValueShowsNoHash(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := must(newUser(s).SetHashedPassword("canary-hash").Save(ctx))(t)
		f := must(newFile(s, u).Save(ctx))(t)
		f = must(s.File.Query().Where(file.ID(f.ID)).WithUser().Only(ctx))(t)
		for name, v := range map[string]any{
			"pointer": u, "value": *u, "pointers": []*ent.User{u}, "values": []ent.User{*u}, "edges": f.Edges,
			"in a struct": struct{ U ent.User }{*u}, "builder": u.Update().SetHashedPassword("canary-hash"),
		} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
				if shown := fmt.Sprintf(verb, v); strings.Contains(shown, "canary-hash") {
					t.Errorf("%s of the %s shows the hash", verb, name)
				}
			}
		}
		if got, want := must(json.Marshal(*u))(t), must(json.Marshal(u))(t); !bytes.Equal(got, want) {
			t.Errorf("the JSON of the value is %s, want that of the pointer: %s", got, want)
		}
	})
}

func TestDebug_ShowsNoArgument(t *testing.T) { //nolint:paralleltest // The logger is the process's.
	var shown bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&shown, nil)))
	defer slog.SetDefault(before)
	s := models.OpenTest(t)
	check(t, s.Debug().User.Create().SetEmail("a@example.org").SetHashedPassword("canary-hash").Exec(models.AsSystem(t.Context(), "test")))
	if got := shown.String(); strings.Contains(got, "canary-hash") || !strings.Contains(got, "INSERT INTO") {
		t.Errorf("Debug writes %q, want the statement without its arguments", got)
	}
}
