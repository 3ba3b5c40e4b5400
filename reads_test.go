package models_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"entgo.io/ent/dialect/sql"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/predicate"
	"github.com/reviewpoint/models/ent/user"
)

// TestUserReads_AsClient asks for accounts by the methods, which go round the rules of the schema, and by
// the client, which has them: each viewer gets the same row, or the same error.
func TestUserReads_AsClient(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		full := must(newUser(s).SetName("Ада \"Байрон\"").SetBio("☃").SetAvatarURL("https://example.org/ä").
			SetPreferences(map[string]any{"language": "日本語", "nested": []any{1.5, nil, true}}).SetIsAdmin(true).
			SetLastLoginAt(someDay.Add(123456 * time.Microsecond)).SetTokensValidAfter(time.Now().Add(time.Hour)).Save(ctx))(t)
		plain := must(newUser(s).Save(ctx))(t)
		disabled := must(newUser(s).SetIsActive(false).Save(ctx))(t)
		deleted := must(newUser(s).Save(ctx))(t)
		check(t, s.SoftDeleteUser(ctx, deleted.ID))
		again := must(newUser(s).SetEmail(deleted.Email).Save(ctx))(t) // somebody else has the address by now

		viewers := map[string]context.Context{
			"nobody":          t.Context(),
			"anonymous":       models.AsAnonymous(t.Context()),
			"system":          ctx,
			"an admin":        models.AsUser(t.Context(), full),
			"a person":        models.AsUser(t.Context(), plain),
			"the disabled":    models.AsUser(t.Context(), disabled),
			"the deleted":     models.AsUser(t.Context(), deleted),
			"a negative one":  models.WithViewer(t.Context(), models.Viewer{UserID: -1}),
			"an unnamed one":  models.WithViewer(t.Context(), models.Viewer{Admin: true}),
			"one not there":   models.WithViewer(t.Context(), models.Viewer{UserID: 1 << 30}),
			"a labelled one":  models.WithViewer(t.Context(), models.Viewer{Admin: true, Label: "tool"}),
			"a cancelled one": cancelled(ctx),
		}
		same := func(t *testing.T, ctx context.Context, u *ent.User) {
			t.Helper()
			got, err := s.UserByID(ctx, u.ID)
			want, wantErr := s.User.Get(ctx, u.ID)
			wantSameUser(t, fmt.Sprintf("UserByID(%d)", u.ID), got, err, want, wantErr)
			got, err = s.UserByEmail(ctx, " "+strings.ToUpper(u.Email)+" ")
			want, wantErr = s.User.Query().Where(user.Email(u.Email), user.IsDeleted(false)).Only(ctx)
			wantSameUser(t, "UserByEmail("+u.Email+")", got, err, want, wantErr)
		}
		for name, viewer := range viewers {
			for which, ctx := range map[string]context.Context{"": viewer, ", deleted included": models.IncludeDeleted(viewer)} {
				t.Run(name+which, func(t *testing.T) {
					for _, u := range []*ent.User{full, plain, disabled, deleted, again, {ID: 1 << 30, Email: "nobody@example.org"}, {ID: -1, Email: "a@example.org"}} {
						same(t, ctx, u)
						err := s.InTx(ctx, func(ctx context.Context) error {
							same(t, ctx, u)
							return nil
						})
						if err != nil && !errors.Is(err, context.Canceled) {
							t.Error(err)
						}
					}
				})
			}
		}
	})
}

func cancelled(ctx context.Context) context.Context {
	ctx, stop := context.WithCancel(ctx)
	stop()
	return ctx
}

// fields are all that a node shows, secrets and edges included.
func fields(node any) (values []any) {
	v := reflect.Indirect(reflect.ValueOf(node))
	if !v.IsValid() { // nil
		return nil
	}
	for i := range v.NumField() {
		if v.Type().Field(i).IsExported() {
			values = append(values, v.Field(i).Interface())
		}
	}
	return values
}

func wantSameUser(t *testing.T, name string, got *ent.User, err error, want *ent.User, wantErr error) {
	t.Helper()
	if !reflect.DeepEqual(fields(got), fields(want)) {
		t.Errorf("%s answers %v, and the client %v", name, got, want)
	}
	if fmt.Sprint(err) != fmt.Sprint(wantErr) || reflect.TypeOf(err) != reflect.TypeOf(wantErr) {
		t.Errorf("%s fails with %T %v, and the client with %T %v", name, err, err, wantErr, wantErr)
	}
}

// TestUserReads_GoOn uses what the methods answer as one uses a node of the client.
func TestUserReads_GoOn(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		made := must(newUser(s).Save(ctx))(t)
		f := must(newFile(s, made).Save(ctx))(t)
		u := must(s.UserByID(ctx, made.ID))(t)
		if got := must(u.QueryFiles().OnlyID(ctx))(t); got != f.ID {
			t.Errorf("its file is %d, want %d", got, f.ID)
		}
		if got := must(u.Update().SetName("Ada").Save(ctx))(t); got.Name == nil || *got.Name != "Ada" {
			t.Errorf("the update answers the name %v", got.Name)
		}
	})
}

// TestReads_Tx reads what the transaction has written and nobody else sees yet.
func TestReads_Tx(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		undone := errors.New("undone")
		var id int
		err := s.InTx(ctx, func(tx context.Context) error {
			u := must(newUser(s).SetPreferences(map[string]any{"a": "b"}).Save(tx))(t)
			id = u.ID
			wantUser := must(s.User.Get(tx, u.ID))(t)
			if got := must(s.UserByID(tx, u.ID))(t); !reflect.DeepEqual(fields(got), fields(wantUser)) {
				t.Errorf("inside it is %v, want %v", got, wantUser)
			}
			check(t, s.RevokeToken(tx, "jti", time.Now().Add(time.Hour)))
			if !must(s.TokenRevoked(tx, "jti"))(t) {
				t.Error("inside the token is not revoked")
			}
			if must(s.TokenRevoked(ctx, "jti"))(t) {
				t.Error("outside the token is revoked already")
			}
			return undone
		})
		if !errors.Is(err, undone) {
			t.Fatal(err)
		}
		if _, err := s.UserByID(ctx, id); !errors.Is(err, models.ErrNotFound) {
			t.Errorf("afterwards the account answers %v, want ErrNotFound", err)
		}
	})
}

// TestClient_Columns reads rows of the client of which a part was selected, or more than the columns.
func TestClient_Columns(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := must(newUser(s).SetName("Ada").Save(ctx))(t)
		part := must(s.User.Query().Where(user.ID(u.ID)).Select(user.FieldName).Only(ctx))(t)
		if part.ID != u.ID || *part.Name != "Ada" || part.Email != "" || part.LastLoginAt != nil {
			t.Errorf("a part of the columns is %#v", part)
		}
		other := must(newUser(s).Save(ctx))(t)
		more := must(s.User.Query().Where(predicate.User(func(s *sql.Selector) {
			s.AppendSelectExprAs(sql.Expr("id + 1"), "next")
		})).Order(user.ByID()).All(ctx))(t)
		for i, want := range []*ent.User{u, other} {
			if next := must(more[i].Value("next"))(t); fmt.Sprint(next) != fmt.Sprint(want.ID+1) || more[i].Email != want.Email || (more[i].Name == nil) != (want.Name == nil) {
				t.Errorf("with a column more: %v and %#v, want %#v", next, more[i], want)
			}
		}
	})
}

// TestUserReads_Stranger asks for an account of somebody else whose row cannot be read: not even that shows.
func TestUserReads_Stranger(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		person, stranger := must(newUser(s).Save(ctx))(t), must(newUser(s).Save(ctx))(t)
		must(s.ExecContext(ctx, `UPDATE users SET preferences = '{"a": 1e999}' WHERE id = $1`, stranger.ID))(t)
		asPerson := models.AsUser(t.Context(), person)
		if _, err := s.UserByEmail(asPerson, stranger.Email); !errors.Is(err, models.ErrNotFound) {
			t.Errorf("by its address it answers %v, want ErrNotFound", err)
		}
		if _, err := s.UserByID(asPerson, stranger.ID); !errors.Is(err, models.ErrNotFound) {
			t.Errorf("by its id it answers %v, want ErrNotFound", err)
		}
	})
}
