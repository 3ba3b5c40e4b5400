package models_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"entgo.io/ent/dialect"
	"github.com/google/uuid"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/file"
	"github.com/reviewpoint/models/ent/user"
	"github.com/reviewpoint/models/internal/database"
)

func TestUser_CRUD(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		made := must(newUser(s).SetName("Юля 🦉").SetBio("bio").SetAvatarURL("https://example.org/a.png").Save(ctx))(t)
		if made.ID < 1 || made.PublicID == uuid.Nil || !made.IsActive || made.IsAdmin || made.IsDeleted {
			t.Errorf("the defaults of a new user are wrong: %v", made)
		}
		read := must(s.User.Get(ctx, made.ID))(t)
		if !reflect.DeepEqual(made.ToMap(), read.ToMap()) {
			t.Errorf("read %v, want what was made: %v", read.ToMap(), made.ToMap())
		}
		if read.Role() != "user" {
			t.Errorf("role is %q, want user", read.Role())
		}
		changed := must(read.Update().SetIsAdmin(true).ClearBio().Save(ctx))(t)
		if changed.Role() != "admin" || changed.Bio != nil || *changed.Name != "Юля 🦉" {
			t.Errorf("changed to %v", changed)
		}
		check(t, s.User.DeleteOneID(made.ID).Exec(models.HardDelete(ctx)))
		if _, err := s.User.Get(models.IncludeDeleted(ctx), made.ID); !ent.IsNotFound(err) {
			t.Errorf("a deleted user answers %v, want not found", err)
		}
	})
}

func TestFile_CRUD(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		owner := must(newUser(s).Save(ctx))(t)
		made := must(newFile(s, owner).SetSize(1 << 62).Save(ctx))(t)
		read := must(s.File.Get(ctx, made.ID))(t)
		if !reflect.DeepEqual(made.ToMap(), read.ToMap()) || read.Size != 1<<62 {
			t.Errorf("read %v, want %v", read.ToMap(), made.ToMap())
		}
		check(t, s.File.UpdateOneID(made.ID).SetFilename("b.pdf").Exec(ctx))
		if n := must(s.File.Delete().Where(file.Filename("b.pdf")).Exec(ctx))(t); n != 1 {
			t.Errorf("deleted %d files, want 1", n)
		}
	})
}

func TestTokens_CRUD(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		expires := time.Date(2030, 1, 2, 3, 4, 5, 6000, time.UTC)
		token := must(newToken(s, "jti", expires).Save(ctx))(t)
		if read := must(s.BlacklistedToken.Get(ctx, token.ID))(t); !reflect.DeepEqual(token.ToMap(), read.ToMap()) {
			t.Errorf("read %v, want %v", read.ToMap(), token.ToMap())
		}
		check(t, token.Update().SetExpiresAt(expires.Add(time.Hour)).Exec(ctx))
		check(t, s.BlacklistedToken.DeleteOne(token).Exec(ctx))

		reset := must(newReset(s, "a@example.org", "nonce").Save(ctx))(t)
		if reset.UsedAt.IsZero() {
			t.Error("used_at is not set by itself")
		}
		if read := must(s.UsedPasswordResetToken.Get(ctx, reset.ID))(t); !reflect.DeepEqual(reset.ToMap(), read.ToMap()) {
			t.Errorf("read %v, want %v", read.ToMap(), reset.ToMap())
		}
		if after := must(reset.Update().SetNonce("other").Save(ctx))(t); !after.UsedAt.Equal(reset.UsedAt) {
			t.Errorf("after an update used_at is %s, want %s", after.UsedAt, reset.UsedAt)
		}
		check(t, s.UsedPasswordResetToken.DeleteOne(reset).Exec(ctx))

		audit := must(newAudit(s).Save(ctx))(t)
		if read := must(s.AuditLog.Get(ctx, audit.ID))(t); !reflect.DeepEqual(audit.ToMap(), read.ToMap()) {
			t.Errorf("read %v, want %v", read.ToMap(), audit.ToMap())
		}
	})
}

// TestToMap_HasEveryColumn compares with the database's own list.
func TestToMap_HasEveryColumn(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		owner := must(newUser(s).SetName("Ada").SetPreferences(map[string]any{"a": 1.5}).Save(ctx))(t)
		for table, entity := range map[string]interface{ ToMap() map[string]any }{
			"users":                      owner,
			"files":                      must(newFile(s, owner).Save(ctx))(t),
			"blacklisted_tokens":         must(newToken(s, "j", time.Now()).Save(ctx))(t),
			"used_password_reset_tokens": must(newReset(s, "a@example.org", "n").Save(ctx))(t),
			"audit_logs":                 must(newAudit(s).Save(ctx))(t),
		} {
			query := "SELECT name FROM pragma_table_info($1)"
			if s.Dialect() == "postgres" {
				query = "SELECT column_name FROM information_schema.columns WHERE table_name = $1"
			}
			want := slices.DeleteFunc(column[string](t, ctx, s, query, table), func(name string) bool { return name == "hashed_password" })
			slices.Sort(want)
			if got := slices.Sorted(maps.Keys(entity.ToMap())); !slices.Equal(got, want) {
				t.Errorf("ToMap of %s has %v, want %v", table, got, want)
			}
			direct, err := json.Marshal(entity)
			check(t, err)
			mapped, err := json.Marshal(entity.ToMap())
			check(t, err)
			if !bytes.Equal(direct, mapped) {
				t.Errorf("JSON of %s is %s, want %s", table, direct, mapped)
			}
		}
	})
}

// column returns the first column of every row.
func column[T any](t *testing.T, ctx context.Context, s *models.Store, query string, args ...any) (values []T) {
	t.Helper()
	rows := must(s.QueryContext(ctx, query, args...))(t)
	defer rows.Close()
	for rows.Next() {
		var value T
		check(t, rows.Scan(&value))
		values = append(values, value)
	}
	check(t, rows.Err())
	return values
}

func TestUser_ShowsNoHash(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := must(newUser(s).SetHashedPassword("canary-hash").Save(ctx))(t)
		encoded, err := json.Marshal(u)
		check(t, err)
		for _, shown := range []string{fmt.Sprintf("%v", u), fmt.Sprintf("%+v", u), fmt.Sprintf("%#v", u), u.String(), string(encoded)} {
			if strings.Contains(shown, "canary-hash") {
				t.Errorf("the hash is shown: %s", shown)
			}
		}
		for _, shown := range []string{fmt.Sprintf("%v", u), fmt.Sprintf("%#v", *u)} {
			if shown != u.String() {
				t.Errorf("got %q, want %q", shown, u)
			}
		}
	})
}

func TestUser_DeleteCascades(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		leaver, stayer := must(newUser(s).Save(ctx))(t), must(newUser(s).Save(ctx))(t)
		check(t, s.File.CreateBulk(newFile(s, leaver), newFile(s, leaver), newFile(s, stayer)).Exec(ctx))
		check(t, s.User.DeleteOne(leaver).Exec(models.HardDelete(ctx)))
		left := must(s.File.Query().All(ctx))(t)
		if len(left) != 1 || left[0].UserID != stayer.ID {
			t.Errorf("files left: %v, want the one of the user who stays", left)
		}
		// The database does it, not the client.
		must(s.ExecContext(ctx, "DELETE FROM users WHERE id = $1", stayer.ID))(t)
		if n := must(s.File.Query().Count(ctx))(t); n != 0 {
			t.Errorf("%d files left after a raw delete, want 0", n)
		}
	})
}

// wantKind checks what a violated constraint answers: the sentinel, ent's own error, and no value.
func wantKind(t *testing.T, err, kind error, value string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("got %v, want %v", err, kind)
	}
	if !ent.IsConstraintError(err) {
		t.Errorf("%v is no constraint error of ent's", err)
	}
	for _, shown := range []string{fmt.Sprint(err), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
		if value != "" && strings.Contains(shown, value) {
			t.Errorf("the error shows a value of the row: %s", shown)
		}
	}
}

func TestUniqueness(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		const email = "canary@example.org"
		first := must(s.User.Create().SetEmail(email).SetHashedPassword("x").Save(ctx))(t)
		again := func() error { return s.User.Create().SetEmail(email).SetHashedPassword("x").Exec(ctx) }
		wantKind(t, again(), models.ErrUnique, email)
		wantKind(t, newUser(s).SetPublicID(first.PublicID).Exec(ctx), models.ErrUnique, first.PublicID.String())
		other := must(newUser(s).Save(ctx))(t)
		wantKind(t, other.Update().SetEmail(email).Exec(ctx), models.ErrUnique, email)

		check(t, first.Update().SetIsDeleted(true).SetDeletedAt(time.Now()).Exec(ctx))
		check(t, again()) // the address of a deleted user is free
		wantKind(t, again(), models.ErrUnique, email)
		wantKind(t, s.User.UpdateOneID(first.ID).SetIsDeleted(false).Exec(models.IncludeDeleted(ctx)), models.ErrUnique, email)

		expires := time.Now().Add(time.Hour)
		check(t, newToken(s, "canary-jti", expires).Exec(ctx))
		check(t, newToken(s, "CANARY-jti", expires).Exec(ctx)) // case counts
		wantKind(t, newToken(s, "canary-jti", expires).Exec(ctx), models.ErrUnique, "canary-jti")

		check(t, newReset(s, email, "canary-nonce").Exec(ctx))
		check(t, newReset(s, email, "other").Exec(ctx))
		check(t, newReset(s, "other@example.org", "canary-nonce").Exec(ctx))
		wantKind(t, newReset(s, email, "canary-nonce").Exec(ctx), models.ErrUnique, "canary-nonce")
	})
}

func TestForeignKey(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		wantKind(t, newFile(s, &ent.User{ID: 424242}).Exec(ctx), models.ErrForeignKey, "424242")
		owner := must(newUser(s).Save(ctx))(t)
		f := must(newFile(s, owner).Save(ctx))(t)
		wantKind(t, f.Update().SetUserID(424242).Exec(ctx), models.ErrForeignKey, "424242")
	})
}

func TestEdges(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		owner, other := must(newUser(s).Save(ctx))(t), must(newUser(s).Save(ctx))(t)
		f := must(newFile(s, owner).SetFilename("needle.pdf").Save(ctx))(t)
		check(t, newFile(s, owner).Exec(ctx))
		if n := must(owner.QueryFiles().Count(ctx))(t); n != 2 {
			t.Errorf("the owner has %d files, want 2", n)
		}
		if n := must(other.QueryFiles().Count(ctx))(t); n != 0 {
			t.Errorf("the other one has %d files, want 0", n)
		}
		if u := must(f.QueryUser().Only(ctx))(t); u.ID != owner.ID {
			t.Errorf("the file's user is %d, want %d", u.ID, owner.ID)
		}
		if id := must(s.User.Query().Where(user.HasFilesWith(file.Filename("needle.pdf"))).OnlyID(ctx))(t); id != owner.ID {
			t.Errorf("found user %d by the file, want %d", id, owner.ID)
		}
		if n := must(s.File.Query().Where(file.HasUserWith(user.ID(other.ID))).Count(ctx))(t); n != 0 {
			t.Errorf("found %d files of a user without files", n)
		}
		if id := must(s.User.Query().Where(user.Not(user.HasFiles())).OnlyID(ctx))(t); id != other.ID {
			t.Errorf("the user without files is %d, want %d", id, other.ID)
		}
	})
}

// TestEagerLoading counts the statements: they do not grow with the rows.
func TestEagerLoading(t *testing.T) {
	t.Parallel()
	eachURL(t, func(t *testing.T, url string) {
		s := open(t, url)
		ctx := models.AsSystem(t.Context(), "test")
		must(s.Migrate(ctx))(t)
		for range 50 {
			owner := must(newUser(s).Save(ctx))(t)
			check(t, s.File.CreateBulk(newFile(s, owner), newFile(s, owner)).Exec(ctx))
		}
		db := must(database.Open(ctx, url, database.Options{}))(t)
		defer db.Close()
		statements := 0
		client := ent.NewClient(ent.Driver(dialect.DebugWithContext(db, func(context.Context, ...any) { statements++ })))
		users := must(client.User.Query().WithFiles().All(ctx))(t)
		for _, u := range users {
			if len(u.Edges.Files) != 2 {
				t.Fatalf("user %d came with %d files, want 2", u.ID, len(u.Edges.Files))
			}
		}
		if len(users) != 50 || statements != 2 {
			t.Errorf("%d users took %d statements, want 50 in 2", len(users), statements)
		}
		statements = 0
		if files := must(client.File.Query().WithUser().All(ctx))(t); len(files) != 100 || files[0].Edges.User == nil || statements != 2 {
			t.Errorf("%d files took %d statements, want 100 in 2, with their users", len(files), statements)
		}
	})
}

func TestOpenMemory(t *testing.T) {
	t.Parallel()
	ctx := models.AsSystem(t.Context(), "test")
	one, two := open(t, "sqlite://:memory:"), open(t, "sqlite://:memory:")
	must(one.Migrate(ctx))(t)
	must(two.Migrate(ctx))(t)
	errs := make(chan error, 16)
	for i := range cap(errs) {
		go func() {
			err := newToken(one, fmt.Sprint(i), time.Now()).Exec(ctx)
			_, counted := one.BlacklistedToken.Query().Count(ctx)
			errs <- errors.Join(err, counted)
		}()
	}
	for range cap(errs) {
		check(t, <-errs)
	}
	if n := must(one.BlacklistedToken.Query().Count(ctx))(t); n != cap(errs) {
		t.Errorf("the store has %d tokens, want %d", n, cap(errs))
	}
	if n := must(two.BlacklistedToken.Query().Count(ctx))(t); n != 0 {
		t.Errorf("the other store has %d tokens, want 0", n)
	}
}

func TestStore(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		check(t, s.Ping(ctx))
		if s.Dialect() != "sqlite3" && s.Dialect() != "postgres" {
			t.Errorf("dialect is %q, want sqlite3 or postgres", s.Dialect())
		}
		again := must(s.Migrate(ctx))(t)
		if len(again.Applied) != 0 {
			t.Errorf("applied %v to a database that was up to date", again.Applied)
		}
		for _, migration := range must(s.Migrations(ctx))(t) {
			if migration.AppliedAt.IsZero() || migration.AppliedAt.Location() != time.UTC {
				t.Errorf("%s was applied at %v, want a time in UTC", migration.Name, migration.AppliedAt)
			}
		}
	})
}

// TestSchemaCreate: ent's own way to make tables would leave out the CHECKs, so it is refused.
func TestSchemaCreate(t *testing.T) {
	t.Parallel()
	eachURL(t, func(t *testing.T, url string) {
		s := open(t, url)
		if err := s.Schema.Create(t.Context()); err == nil || !strings.Contains(err.Error(), "call Store.Migrate") {
			t.Errorf("got %v, want the way to make the tables", err)
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		errs := make(chan error, 16)
		for range cap(errs) {
			go func() {
				errs <- s.InTx(ctx, func(ctx context.Context) error {
					u, err := newUser(s).Save(ctx)
					if err != nil {
						return err
					}
					if err := newFile(s, u).Exec(ctx); err != nil {
						return err
					}
					_, err = u.QueryFiles().Only(ctx)
					return err
				})
			}()
		}
		for range cap(errs) {
			check(t, <-errs)
		}
		if n := must(s.File.Query().Count(ctx))(t); n != cap(errs) {
			t.Errorf("%d files, want %d", n, cap(errs))
		}
	})
}
