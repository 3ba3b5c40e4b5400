package models_test

import (
	"context"
	stdsql "database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"github.com/google/uuid"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/auditlog"
	"github.com/reviewpoint/models/ent/file"
	"github.com/reviewpoint/models/ent/user"
)

// changes are what a row of the trail says of each column: the old value and the new one.
type changes map[string][2]any

// entry is a row of the trail.
type entry struct {
	actor, action, entity string
	id                    int
	changes               changes
}

func (e entry) String() string {
	encoded, err := json.Marshal(e.changes)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s: %s %s %d: %s", e.actor, e.action, e.entity, e.id, canonical(string(encoded)))
}

// canonical is the one text of a JSON value, whose numbers lose no digit.
func canonical(text string) string {
	var v any
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&v); err != nil {
		return err.Error()
	}
	encoded, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(encoded)
}

// trailLength is how many rows the trail has.
func trailLength(t *testing.T, ctx context.Context, c *ent.Client) int {
	t.Helper()
	return must(c.AuditLog.Query().Count(ctx))(t)
}

// wantTrail checks the rows of the trail after the first so many, all written at that time.
func wantTrail(t *testing.T, ctx context.Context, c *ent.Client, after int, at time.Time, want ...entry) {
	t.Helper()
	rows := must(c.AuditLog.Query().Order(auditlog.ByID()).All(ctx))(t)[after:]
	texts := make(map[int]string)
	raw := must(c.QueryContext(ctx, "SELECT id, CAST(changes AS text) FROM audit_logs"))(t)
	defer raw.Close()
	for raw.Next() {
		var (
			id   int
			text string
		)
		check(t, raw.Scan(&id, &text))
		texts[id] = canonical(text)
	}
	check(t, raw.Err())
	if len(rows) != len(want) {
		t.Errorf("the trail has %d more rows, want %d", len(rows), len(want))
	}
	for i, row := range rows {
		got := fmt.Sprintf("%s: %s %s %d: %s", row.Actor, row.Action, row.Entity, row.EntityID, texts[row.ID])
		if i >= len(want) {
			t.Errorf("the row %d of the trail is %s, want none", i, got)
			continue
		}
		if got != want[i].String() {
			t.Errorf("the row %d of the trail is\n%s, want\n%s", i, got, want[i])
		}
		wantTime(t, "at", row.At, at)
		wantTime(t, "created_at", row.CreatedAt, at)
		wantTime(t, "updated_at", row.UpdatedAt, at)
	}
}

// unaudited are the columns that the trail passes over, and the id, which it has in a column of its own.
var unaudited = []string{"id", "updated_at", "last_login_at"}

// whole are the changes of a row that is made, or of one that is gone.
func whole(columns map[string]any, pair func(value any) [2]any) changes {
	all := changes{}
	for column, value := range columns {
		if value != nil && !slices.Contains(unaudited, column) {
			all[column] = pair(value)
		}
	}
	return all
}

func appeared(value any) [2]any { return [2]any{nil, value} }

func vanished(value any) [2]any { return [2]any{value, nil} }

const redacted = "[redacted]"

// userColumns are what the trail knows of a user.
func userColumns(u *ent.User) map[string]any {
	columns := u.ToMap()
	columns["hashed_password"] = redacted
	return columns
}

func TestAudit_Create(t *testing.T) {
	t.Parallel()
	eachClock(t, someDay, func(t *testing.T, ctx context.Context, s *models.Store, _ *fakeClock) {
		u := must(newUser(s).SetName("Ada").SetPreferences(map[string]any{"theme": "dark"}).SetLastLoginAt(someDay).Save(ctx))(t)
		now := someDay.UTC().Truncate(time.Microsecond)
		wantTrail(t, ctx, s.Client, 0, someDay, entry{"system:test", "create", "user", u.ID, changes{
			"created_at": {nil, now}, "public_id": {nil, u.PublicID}, "email": {nil, u.Email}, "hashed_password": {nil, redacted},
			"is_active": {nil, true}, "is_admin": {nil, false}, "is_deleted": {nil, false}, "name": {nil, "Ada"},
			"preferences": {nil, map[string]any{"theme": "dark"}},
		}})
		check(t, s.File.CreateBulk(newFile(s, u), newFile(s, u)).Exec(ctx))
		check(t, newFile(s, u).Exec(ctx)) // a creation of a file is on the row itself
		wantTrail(t, ctx, s.Client, 1, someDay)
		made := must(s.User.CreateBulk(newUser(s), newUser(s).SetIsAdmin(true), newUser(s).SetIsDeleted(true)).Save(ctx))(t)
		// The rows of a bulk create are audited from within, so the last comes first.
		var want []entry
		for _, u := range slices.Backward(made) {
			want = append(want, entry{"system:test", "create", "user", u.ID, whole(userColumns(u), appeared)})
		}
		wantTrail(t, ctx, s.Client, 1, someDay, want...)
		if made[2].DeletedAt == nil || want[0].changes["deleted_at"] != [2]any{nil, now} {
			t.Errorf("the trail of a user who is made deleted has %v", want[0])
		}
	})
}

// audited is a change and what the trail must say of it.
type audited struct {
	name   string
	change func(ctx context.Context, s *models.Store, u *ent.User, f *ent.File) error
	want   func(u *ent.User, f *ent.File) []entry
}

var hourLater = someDay.Add(time.Hour).UTC().Truncate(time.Microsecond)

// ofUser wants one row about the user.
func ofUser(action string, want changes) func(u *ent.User, _ *ent.File) []entry {
	return func(u *ent.User, _ *ent.File) []entry { return []entry{{"system:test", action, "user", u.ID, want}} }
}

// ofFile wants one row about the file.
func ofFile(action string, want changes) func(_ *ent.User, f *ent.File) []entry {
	return func(_ *ent.User, f *ent.File) []entry { return []entry{{"system:test", action, "file", f.ID, want}} }
}

func nothing(*ent.User, *ent.File) []entry { return nil }

// auditedUpdates are the updates of a user whose name is old and whose preferences are {"a": 1}.
func auditedUpdates() []audited {
	renamed := changes{"name": {"old", "new"}}
	return []audited{
		{"UpdateOne", func(ctx context.Context, s *models.Store, u *ent.User, _ *ent.File) error {
			return s.User.UpdateOne(u).SetName("new").Exec(ctx)
		}, ofUser("update", renamed)},
		{"UpdateOneID", func(ctx context.Context, s *models.Store, u *ent.User, _ *ent.File) error {
			return s.User.UpdateOneID(u.ID).SetName("new").Exec(ctx)
		}, ofUser("update", renamed)},
		{"UpdateOne of some columns", func(ctx context.Context, s *models.Store, u *ent.User, _ *ent.File) error {
			return s.User.UpdateOne(u).Select(user.FieldID).SetName("new").SetBio("bio").Exec(ctx)
		}, ofUser("update", changes{"name": {"old", "new"}, "bio": {nil, "bio"}})},
		{"Update", func(ctx context.Context, s *models.Store, u *ent.User, _ *ent.File) error {
			return s.User.Update().Where(user.ID(u.ID)).SetName("new").Exec(ctx)
		}, ofUser("update", renamed)},
		{"an old value that nobody had read", func(ctx context.Context, s *models.Store, u *ent.User, _ *ent.File) error {
			stale := *u
			name := "stale"
			stale.Name = &name
			return s.User.UpdateOne(&stale).SetName("new").Exec(ctx)
		}, ofUser("update", renamed)},
		{"many columns", func(ctx context.Context, _ *models.Store, u *ent.User, _ *ent.File) error {
			return u.Update().SetEmail("new@example.org").SetIsActive(false).SetIsAdmin(true).SetAvatarURL("").SetTokensValidAfter(hourLater).Exec(ctx)
		}, func(u *ent.User, _ *ent.File) []entry {
			return []entry{{"system:test", "update", "user", u.ID, changes{
				"email": {u.Email, "new@example.org"}, "is_active": {true, false}, "is_admin": {false, true},
				"avatar_url": {nil, ""}, "tokens_valid_after": {nil, hourLater},
			}}}
		}},
		{"clear", func(ctx context.Context, _ *models.Store, u *ent.User, _ *ent.File) error {
			return u.Update().ClearName().ClearBio().Exec(ctx)
		}, ofUser("update", changes{"name": {"old", nil}})},
		{"preferences", func(ctx context.Context, _ *models.Store, u *ent.User, _ *ent.File) error {
			return u.Update().SetPreferences(map[string]any{"a": 1, "b": map[string]any{"c": []any{"d", nil}}}).Exec(ctx)
		}, ofUser("update", changes{"preferences": {map[string]any{"a": 1}, map[string]any{"a": 1, "b": map[string]any{"c": []any{"d", nil}}}}})},
		{"preferences cleared", func(ctx context.Context, _ *models.Store, u *ent.User, _ *ent.File) error {
			return u.Update().SetPreferences(nil).Exec(ctx)
		}, ofUser("update", changes{"preferences": {map[string]any{"a": 1}, nil}})},
		{"password", func(ctx context.Context, _ *models.Store, u *ent.User, _ *ent.File) error {
			return u.Update().SetHashedPassword("canary-two").Exec(ctx)
		}, ofUser("update", changes{"hashed_password": {redacted, redacted}, "tokens_valid_after": {nil, hourLater}})},
		{"a statement of its own", func(ctx context.Context, s *models.Store, u *ent.User, _ *ent.File) error {
			return s.User.UpdateOne(u).Modify(func(u *entsql.UpdateBuilder) { u.Set("name", entsql.Expr("upper(name)")) }).Exec(ctx)
		}, ofUser("update", changes{"name": {"old", "OLD"}})},
		{"a statement of its own, in bulk", func(ctx context.Context, s *models.Store, _ *ent.User, _ *ent.File) error {
			return s.User.Update().Modify(func(u *entsql.UpdateBuilder) { u.Set("is_admin", true) }).Exec(ctx)
		}, ofUser("update", changes{"is_admin": {false, true}})},
		{"login and a name", func(ctx context.Context, _ *models.Store, u *ent.User, _ *ent.File) error {
			return u.Update().SetLastLoginAt(hourLater).SetName("new").Exec(ctx)
		}, ofUser("update", renamed)},
	}
}

// unauditedChanges are not worth a row.
func unauditedChanges() []audited {
	return []audited{
		{"the same values", func(ctx context.Context, _ *models.Store, u *ent.User, _ *ent.File) error {
			return u.Update().SetName("old").SetEmail(u.Email).SetPreferences(map[string]any{"a": 1.0}).ClearBio().SetIsActive(true).Exec(ctx)
		}, nothing},
		{"the same values, in bulk", func(ctx context.Context, s *models.Store, _ *ent.User, _ *ent.File) error {
			return s.User.Update().SetName("old").Exec(ctx)
		}, nothing},
		{"updated_at", func(ctx context.Context, _ *models.Store, u *ent.User, f *ent.File) error {
			return errors.Join(u.Update().SetUpdatedAt(hourLater).Exec(ctx), f.Update().Exec(ctx))
		}, nothing},
		{"last_login_at", func(ctx context.Context, _ *models.Store, u *ent.User, _ *ent.File) error {
			return u.Update().SetLastLoginAt(hourLater).Exec(ctx)
		}, nothing},
		{"nobody", func(ctx context.Context, s *models.Store, _ *ent.User, _ *ent.File) error {
			_, err := s.User.Delete().Where(user.Name("nobody")).Exec(models.HardDelete(ctx))
			return errors.Join(err, s.User.Update().Where(user.Name("nobody")).SetName("x").Exec(ctx), s.File.Update().Where(file.Size(9)).SetSize(8).Exec(ctx))
		}, nothing},
		{"a new file", func(ctx context.Context, s *models.Store, u *ent.User, _ *ent.File) error {
			return newFile(s, u).Exec(ctx)
		}, nothing},
		{"other entities", func(ctx context.Context, s *models.Store, _ *ent.User, _ *ent.File) error {
			return errors.Join(newToken(s, "jti", someDay).Exec(ctx), newReset(s, "a@example.org", "n").Exec(ctx))
		}, nothing},
		{"upsert that ignores", func(ctx context.Context, s *models.Store, u *ent.User, _ *ent.File) error {
			return upsert(s, u).Ignore().Exec(ctx)
		}, nothing},
	}
}

// auditedDeletes are deletes, and changes of files.
func auditedDeletes() []audited {
	const big = 1<<53 + 1 // no float64 holds it
	deleted := changes{"is_deleted": {false, true}, "deleted_at": {nil, hourLater}, "tokens_valid_after": {nil, hourLater}}
	gone := func(u *ent.User, f *ent.File) []entry {
		return []entry{
			{"system:test", "delete", "file", f.ID, whole(f.ToMap(), vanished)},
			{"system:test", "delete", "user", u.ID, whole(userColumns(u), vanished)},
		}
	}
	return []audited{
		{"Delete", func(ctx context.Context, s *models.Store, u *ent.User, _ *ent.File) error {
			return s.User.DeleteOne(u).Exec(ctx)
		}, ofUser("soft_delete", deleted)},
		{"Delete in bulk", func(ctx context.Context, s *models.Store, _ *ent.User, _ *ent.File) error {
			_, err := s.User.Delete().Exec(ctx)
			return err
		}, ofUser("soft_delete", deleted)},
		{"SetIsDeleted", func(ctx context.Context, _ *models.Store, u *ent.User, _ *ent.File) error {
			return u.Update().SetIsDeleted(true).Exec(ctx)
		}, ofUser("soft_delete", deleted)},
		{"Delete and restore", func(ctx context.Context, s *models.Store, u *ent.User, _ *ent.File) error {
			return errors.Join(s.SoftDeleteUser(ctx, u.ID), s.RestoreUser(ctx, u.ID))
		}, func(u *ent.User, _ *ent.File) []entry {
			return []entry{
				{"system:test", "soft_delete", "user", u.ID, deleted},
				{"system:test", "restore", "user", u.ID, changes{"is_deleted": {true, false}, "deleted_at": {hourLater, nil}}},
			}
		}},
		{"HardDelete", func(ctx context.Context, s *models.Store, u *ent.User, _ *ent.File) error {
			return s.User.DeleteOne(u).Exec(models.HardDelete(ctx))
		}, gone},
		{"HardDelete in bulk", func(ctx context.Context, s *models.Store, _ *ent.User, _ *ent.File) error {
			_, err := s.User.Delete().Exec(models.HardDelete(ctx))
			return err
		}, gone},
		{"file update", func(ctx context.Context, _ *models.Store, _ *ent.User, f *ent.File) error {
			return f.Update().SetFilename("b.pdf").SetSize(big).Exec(ctx)
		}, ofFile("update", changes{"filename": {"статья.pdf", "b.pdf"}, "size": {0, big}})},
		{"file update by addition", func(ctx context.Context, s *models.Store, _ *ent.User, _ *ent.File) error {
			return s.File.Update().AddSize(big).Exec(ctx)
		}, ofFile("update", changes{"size": {0, big}})},
		{"file delete", func(ctx context.Context, s *models.Store, _ *ent.User, f *ent.File) error {
			return s.File.DeleteOne(f).Exec(ctx)
		}, func(_ *ent.User, f *ent.File) []entry {
			return []entry{{"system:test", "delete", "file", f.ID, whole(f.ToMap(), vanished)}}
		}},
		{"file delete in bulk", func(ctx context.Context, s *models.Store, _ *ent.User, _ *ent.File) error {
			_, err := s.File.Delete().Exec(ctx)
			return err
		}, func(_ *ent.User, f *ent.File) []entry {
			return []entry{{"system:test", "delete", "file", f.ID, whole(f.ToMap(), vanished)}}
		}},
	}
}

// TestAudit_EachChange makes every kind of change an hour after the rows were made, and undoes it.
func TestAudit_EachChange(t *testing.T) {
	t.Parallel()
	eachClock(t, someDay, func(t *testing.T, _ context.Context, s *models.Store, c *fakeClock) {
		for _, tt := range slices.Concat(auditedUpdates(), unauditedChanges(), auditedDeletes()) {
			t.Run(tt.name, func(t *testing.T) {
				ctx := models.RollbackTest(t, s)
				c.set(someDay)
				u := must(newUser(s).SetName("old").SetHashedPassword("canary-hash").SetPreferences(map[string]any{"a": 1}).Save(ctx))(t)
				f := must(newFile(s, u).Save(ctx))(t)
				before := trailLength(t, ctx, s.Client)
				c.set(someDay.Add(time.Hour))
				check(t, tt.change(ctx, s, u, f))
				wantTrail(t, ctx, s.Client, before, someDay.Add(time.Hour), tt.want(u, f)...)
				for _, row := range column[string](t, ctx, s, "SELECT CAST(changes AS text) FROM audit_logs") {
					if strings.Contains(row, "canary") {
						t.Errorf("the trail shows the hash: %s", row)
					}
				}
			})
		}
	})
}

// TestAudit_EachWay makes the same changes through each way to the client.
func TestAudit_EachWay(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, ctx context.Context, c *ent.Client) {
		s := &models.Store{Client: c}
		u := must(newUser(s).Save(ctx))(t)
		f := must(newFile(s, u).Save(ctx))(t)
		check(t, u.Update().SetName("Ada").Exec(ctx))
		must(c.File.Update().SetFilename("b.pdf").Save(ctx))(t)
		check(t, c.User.DeleteOneID(u.ID).Exec(ctx))
		check(t, c.File.DeleteOne(f).Exec(ctx))
		check(t, c.User.DeleteOneID(u.ID).Exec(models.HardDelete(ctx)))
		if got, want := actions(t, ctx, s, "user", u.ID), []string{"create", "update", "soft_delete", "delete"}; !slices.Equal(got, want) {
			t.Errorf("the trail of the user is %v, want %v", got, want)
		}
		if got, want := actions(t, ctx, s, "file", f.ID), []string{"update", "delete"}; !slices.Equal(got, want) {
			t.Errorf("the trail of the file is %v, want %v", got, want)
		}
	})
}

// TestAudit_BulkUpdate changes three rows, one of which is so already.
func TestAudit_BulkUpdate(t *testing.T) {
	t.Parallel()
	eachClock(t, someDay, func(t *testing.T, ctx context.Context, s *models.Store, c *fakeClock) {
		made := must(s.User.CreateBulk(newUser(s).SetName("a"), newUser(s).SetName("new"), newUser(s), newUser(s).SetName("other")).Save(ctx))(t)
		before := trailLength(t, ctx, s.Client)
		c.set(someDay.Add(time.Hour))
		if n := must(s.User.Update().Where(user.IDNEQ(made[3].ID)).SetName("new").Save(ctx))(t); n != 3 {
			t.Errorf("%d rows were updated, want 3", n)
		}
		wantTrail(t, ctx, s.Client, before, someDay.Add(time.Hour),
			entry{"system:test", "update", "user", made[0].ID, changes{"name": {"a", "new"}}},
			entry{"system:test", "update", "user", made[2].ID, changes{"name": {nil, "new"}}})
	})
}

// TestAudit_TriedAgain lets a bulk change lose against another transaction after its first chunk. It is
// tried again as a whole. PostgreSQL alone can be made to say so.
func TestAudit_TriedAgain(t *testing.T) {
	t.Parallel()
	ctx, s := models.AsSystem(t.Context(), "test"), open(t, postgresURL(t))
	const n = 501 // two chunks
	users := make([]*ent.UserCreate, n)
	for i := range users {
		users[i] = newUser(s)
	}
	check(t, s.User.CreateBulk(users...).Exec(ctx))
	must(s.ExecContext(ctx, `CREATE SEQUENCE tries;
		CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF nextval('tries') = 2 THEN RAISE EXCEPTION 'lost' USING ERRCODE = '40001'; END IF;
			RETURN NULL;
		END $$;
		CREATE TRIGGER lose AFTER INSERT ON audit_logs FOR EACH STATEMENT EXECUTE FUNCTION lose()`))(t)
	if changed := must(s.User.Update().SetName("new").Save(ctx))(t); changed != n {
		t.Errorf("%d rows were changed, want %d", changed, n)
	}
	if rows := must(s.AuditLog.Query().Where(auditlog.Action("update")).Count(ctx))(t); rows != n {
		t.Errorf("%d rows in the trail, want %d", rows, n)
	}
	if tries := column[int](t, ctx, s, "SELECT last_value FROM tries")[0]; tries != 4 {
		t.Errorf("%d inserts, want two of each try", tries)
	}
}

// TestAudit_Chunks changes more rows than go in one statement.
func TestAudit_Chunks(t *testing.T) {
	t.Parallel()
	eachClock(t, someDay, func(t *testing.T, ctx context.Context, s *models.Store, c *fakeClock) {
		const n = 1201
		users := make([]*ent.UserCreate, n)
		for i := range users {
			users[i] = newUser(s).SetName(fmt.Sprint(i))
		}
		made := must(s.User.CreateBulk(users...).Save(ctx))(t)
		wantLength(t, ctx, s, n)
		c.set(someDay.Add(time.Hour))
		if changed := must(s.User.Update().SetName("new").Save(ctx))(t); changed != n {
			t.Errorf("%d rows were changed, want %d", changed, n)
		}
		want := make([]entry, n)
		for i, u := range made {
			want[i] = entry{"system:test", "update", "user", u.ID, changes{"name": {fmt.Sprint(i), "new"}}}
		}
		wantTrail(t, ctx, s.Client, n, someDay.Add(time.Hour), want...)
		// A failure in the last chunk undoes the first.
		last := made[n-1]
		if err := s.User.Update().Modify(func(u *entsql.UpdateBuilder) {
			u.Set("email", entsql.Expr(fmt.Sprintf("CASE WHEN id = %d THEN '' ELSE email END", last.ID))).Set("name", "x")
		}).Exec(ctx); !errors.Is(err, models.ErrCheck) {
			t.Errorf("got %v, want ErrCheck", err)
		}
		if names := must(s.User.Query().Where(user.Name("new")).Count(ctx))(t); names != n {
			t.Errorf("%d users have the name of before, want %d", names, n)
		}
		wantLength(t, ctx, s, 2*n)
		if deleted := must(s.User.Delete().Exec(ctx))(t); deleted != n {
			t.Errorf("%d rows were deleted, want %d", deleted, n)
		}
		wantLength(t, ctx, s, 3*n)
	})
}

func wantLength(t *testing.T, ctx context.Context, s *models.Store, want int) {
	t.Helper()
	if n := trailLength(t, ctx, s.Client); n != want {
		t.Errorf("the trail has %d rows, want %d", n, want)
	}
}

// TestAudit_Upsert is audited as what the database made of it.
func TestAudit_Upsert(t *testing.T) {
	t.Parallel()
	eachClock(t, someDay, func(t *testing.T, ctx context.Context, s *models.Store, c *fakeClock) {
		for name, tt := range map[string]struct {
			upsert func(ctx context.Context, u *ent.User) error
			want   changes // of the row that is there; nil for none
			err    error
		}{
			"new values": {func(ctx context.Context, u *ent.User) error {
				return upsert(s, u).UpdateNewValues().Exec(ctx)
			}, changes{"hashed_password": {redacted, redacted}, "tokens_valid_after": {nil, hourLater}}, nil},
			"some columns": {func(ctx context.Context, u *ent.User) error {
				return upsert(s, u).Update(func(set *ent.UserUpsert) { set.SetName("new").ClearBio().SetIsAdmin(true) }).Exec(ctx)
			}, changes{"name": {"old", "new"}, "bio": {"bio", nil}, "is_admin": {false, true}}, nil},
			"in bulk": {func(ctx context.Context, u *ent.User) error {
				return s.User.CreateBulk(s.User.Create().SetEmail(u.Email).SetHashedPassword("x")).OnConflict(emailConflict()...).
					Update(func(set *ent.UserUpsert) { set.SetName("new") }).Exec(ctx)
			}, changes{"name": {"old", "new"}}, nil},
			"by public id": {func(ctx context.Context, u *ent.User) error {
				return newUser(s).SetPublicID(u.PublicID).OnConflictColumns(user.FieldPublicID).
					Update(func(set *ent.UserUpsert) { set.SetName("new") }).Exec(ctx)
			}, changes{"name": {"old", "new"}}, nil},
			"nothing new": {func(ctx context.Context, u *ent.User) error { return upsert(s, u).Ignore().Exec(ctx) }, nil, nil},
			"do nothing":  {func(ctx context.Context, u *ent.User) error { return upsert(s, u).DoNothing().Exec(ctx) }, nil, stdsql.ErrNoRows},
		} {
			t.Run(name, func(t *testing.T) {
				ctx := models.RollbackTest(t, s)
				c.set(someDay)
				u := must(newUser(s).SetName("old").SetBio("bio").Save(ctx))(t)
				check(t, newUser(s).SetName("old").Exec(ctx)) // somebody else
				c.set(hourLater)
				if err := tt.upsert(ctx, u); !errors.Is(err, tt.err) {
					t.Errorf("got %v, want %v", err, tt.err)
				}
				var want []entry
				if tt.want != nil {
					want = []entry{{"system:test", "update", "user", u.ID, tt.want}}
				}
				wantTrail(t, ctx, s.Client, 2, hourLater, want...)
				if n := countUsers(t, ctx, s); n != 2 {
					t.Errorf("%d users, want 2", n)
				}
			})
		}
	})
}

// TestAudit_UpsertInserts: it is a creation where nobody has the address, a deleted user aside.
func TestAudit_UpsertInserts(t *testing.T) {
	t.Parallel()
	eachClock(t, someDay, func(t *testing.T, ctx context.Context, s *models.Store, _ *fakeClock) {
		dead := must(newUser(s).SetName("dead").Save(ctx))(t)
		check(t, s.SoftDeleteUser(ctx, dead.ID))
		dead = must(s.User.Get(models.IncludeDeleted(ctx), dead.ID))(t)
		for i, put := range []func() (int, error){
			func() (int, error) { return upsert(s, dead).UpdateNewValues().ID(ctx) },
			func() (int, error) { return upsert(s, &ent.User{Email: "b@example.org"}).DoNothing().ID(ctx) },
			func() (int, error) { return upsert(s, &ent.User{Email: "c@example.org"}).Ignore().ID(ctx) },
			func() (int, error) {
				return upsert(s, &ent.User{Email: "d@example.org"}).Update(func(set *ent.UserUpsert) { set.SetName("never") }).ID(ctx)
			},
		} {
			u := must(s.User.Get(ctx, must(put())(t)))(t)
			wantTrail(t, ctx, s.Client, 2+i, someDay, entry{"system:test", "create", "user", u.ID, whole(userColumns(u), appeared)})
		}
		wantSame(t, ctx, s, dead)
		// Of one that updates and one that inserts, in one statement, nobody can tell which was which.
		old := must(newUser(s).SetName("old").Save(ctx))(t)
		email := fmt.Sprintf("person%d@example.org", people.Add(1))
		row := func(email string) *ent.UserCreate {
			return s.User.Create().SetEmail(email).SetHashedPassword("hash").SetName("new")
		}
		err := s.User.CreateBulk(row(old.Email), row(email)).OnConflict(emailConflict()...).UpdateNewValues().Exec(ctx)
		if !errors.Is(err, models.ErrNotAudited) {
			t.Errorf("two at once: got %v, want ErrNotAudited", err)
		}
		wantSame(t, ctx, s, old)
		wantLength(t, ctx, s, 7)
	})
}

// TestAudit_SparedByAHook: of the rows that a delete is about, a hook of the service's spares one in the middle.
func TestAudit_SparedByAHook(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := must(newUser(s).Save(ctx))(t)
		files := must(s.File.CreateBulk(newFile(s, u), newFile(s, u), newFile(s, u)).Save(ctx))(t)
		s.File.Use(func(next ent.Mutator) ent.Mutator {
			return ent.MutateFunc(func(ctx context.Context, m ent.Mutation) (ent.Value, error) {
				m.(*ent.FileMutation).Where(file.IDNEQ(files[1].ID))
				return next.Mutate(ctx, m)
			})
		})
		if n := must(s.File.Delete().Exec(ctx))(t); n != 2 {
			t.Errorf("deleted %d files, want 2", n)
		}
		for i, want := range [][]string{{"delete"}, nil, {"delete"}} {
			if got := actions(t, ctx, s, "file", files[i].ID); !slices.Equal(got, want) {
				t.Errorf("the trail of file %d is %v, want %v", i, got, want)
			}
		}
	})
}

// TestAudit_UpsertsAtOnce lets many put the same address: one creates it, the others update it.
func TestAudit_UpsertsAtOnce(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		for range rounds() {
			u := &ent.User{Email: fmt.Sprintf("person%d@example.org", people.Add(1))}
			fns := make([]func() error, 8)
			for i := range fns {
				fns[i] = func() error {
					return upsert(s, u).Update(func(set *ent.UserUpsert) { set.SetName(fmt.Sprint(i)) }).Exec(ctx)
				}
			}
			check(t, errors.Join(atOnce(fns...)...))
			id := must(s.User.Query().Where(user.Email(u.Email)).OnlyID(ctx))(t)
			want := append([]string{"create"}, slices.Repeat([]string{"update"}, len(fns)-1)...)
			if got := actions(t, ctx, s, "user", id); !slices.Equal(got, want) {
				t.Errorf("the trail is %v, want %v", got, want)
			}
			wantChain(t, ctx, s, id)
		}
	})
}

// TestAudit_UpsertOfTheSameMoment updates a row that nobody saw when it began. What it was is not known,
// so it is tried again, and in a transaction of the caller's the update is not kept, whatever that does
// with the answer. SQLite's writers take turns.
func TestAudit_UpsertOfTheSameMoment(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		if s.Dialect() == "sqlite3" {
			return
		}
		for i, end := range []func(use func(ctx context.Context, c *ent.Client) error) error{
			func(use func(context.Context, *ent.Client) error) error { return use(ctx, s.Client) },
			func(use func(context.Context, *ent.Client) error) error {
				return s.InTx(ctx, func(ctx context.Context) error { _ = use(ctx, s.Client); return nil })
			},
			func(use func(context.Context, *ent.Client) error) error {
				tx := must(s.Tx(ctx))(t)
				_ = use(ctx, tx.Client())
				return tx.Commit()
			},
		} {
			u := &ent.User{Email: fmt.Sprintf("moment%d@example.org", i)}
			use, whole, trail := models.ErrNotAudited, models.ErrTxFailed, []string{"create"}
			if i == 0 {
				use, whole, trail = nil, nil, []string{"create", "update"}
			}
			answer := make(chan error, 1)
			check(t, s.InTx(ctx, func(in context.Context) error {
				check(t, upsert(s, u).UpdateNewValues().Exec(in))
				go func() {
					answer <- end(func(ctx context.Context, c *ent.Client) error {
						err := upsert(&models.Store{Client: c}, u).Update(func(set *ent.UserUpsert) { set.SetName("unseen") }).Exec(ctx)
						if !errors.Is(err, use) {
							t.Errorf("%d: got %v, want %v", i, err, use)
						}
						return err
					})
				}()
				waitsForLock(t, ctx, s, answer)
				return nil
			}))
			if err := <-answer; !errors.Is(err, whole) {
				t.Errorf("%d: the transaction answers %v, want %v", i, err, whole)
			}
			made := must(s.User.Query().Where(user.Email(u.Email)).Only(ctx))(t)
			if got := actions(t, ctx, s, "user", made.ID); (made.Name != nil) != (i == 0) || !slices.Equal(got, trail) {
				t.Errorf("%d: the user is %v and the trail %v, want %v", i, made, got, trail)
			}
		}
	})
}

// waitsForLock returns when another connection is at a row that this one has locked, or has answered.
func waitsForLock(t *testing.T, ctx context.Context, s *models.Store, answer <-chan error) {
	t.Helper()
	for len(answer) == 0 {
		if column[int](t, ctx, s, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")[0] > 0 {
			return
		}
	}
	t.Error("the other one did not wait")
}

// TestAudit_UpsertOfTheSamePublicID is TestAudit_UpsertOfTheSameMoment where both rows have one public id: the
// second is no creation, though it finds what it would have made.
func TestAudit_UpsertOfTheSamePublicID(t *testing.T) {
	t.Parallel()
	ctx, s := models.AsSystem(t.Context(), "test"), open(t, postgresURL(t))
	id, answer := uuid.New(), make(chan error, 1)
	put := func(ctx context.Context, name string) error {
		return newUser(s).SetPublicID(id).SetName(name).OnConflictColumns(user.FieldPublicID).
			Update(func(set *ent.UserUpsert) { set.SetName(name) }).Exec(ctx)
	}
	check(t, s.InTx(ctx, func(in context.Context) error {
		check(t, put(in, "one"))
		go func() { answer <- put(ctx, "two") }()
		waitsForLock(t, ctx, s, answer)
		return nil
	}))
	check(t, <-answer)
	made := must(s.User.Query().Only(ctx))(t)
	if got := actions(t, ctx, s, "user", made.ID); !slices.Equal(got, []string{"create", "update"}) {
		t.Errorf("the trail is %v, want create and update", got)
	}
	wantChain(t, ctx, s, made.ID)
}

// TestAudit_NothingOfAFailure: what was not kept is not in the trail.
func TestAudit_NothingOfAFailure(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u, other := must(newUser(s).Save(ctx))(t), must(newUser(s).Save(ctx))(t)
		f := must(newFile(s, u).Save(ctx))(t)
		rolledBack := func(end func(tx *ent.Tx) error) error {
			tx := must(s.Tx(ctx))(t)
			check(t, tx.User.UpdateOneID(u.ID).SetName("x").Exec(ctx))
			check(t, tx.User.DeleteOneID(other.ID).Exec(ctx))
			check(t, tx.File.DeleteOneID(f.ID).Exec(ctx))
			if n := trailLength(t, ctx, tx.Client()); n != 5 {
				t.Errorf("the trail has %d rows inside, want 5", n)
			}
			return end(tx)
		}
		for name, tt := range map[string]struct{ err, want error }{
			"create":      {newUser(s).SetEmail(u.Email).Exec(ctx), models.ErrUnique},
			"bulk create": {s.User.CreateBulk(newUser(s), newUser(s).SetEmail(u.Email)).Exec(ctx), models.ErrUnique},
			"update":      {u.Update().SetName("x").SetEmail(other.Email).Exec(ctx), models.ErrUnique},
			"bulk update": {s.User.Update().SetEmail("one@example.org").Exec(ctx), models.ErrUnique},
			"file":        {f.Update().SetUserID(424242).Exec(ctx), models.ErrForeignKey},
			"nobody":      {s.User.UpdateOneID(424242).SetName("x").Exec(ctx), models.ErrNotFound},
			"InTx": {s.InTx(ctx, func(ctx context.Context) error {
				check(t, errors.Join(newUser(s).Exec(ctx), u.Update().SetName("x").Exec(ctx), s.File.DeleteOne(f).Exec(ctx)))
				if n := trailLength(t, ctx, s.Client); n != 5 {
					t.Errorf("the trail has %d rows inside, want 5", n)
				}
				return errOnPurpose
			}), errOnPurpose},
			"Tx": {rolledBack((*ent.Tx).Rollback), nil},
		} {
			if !errors.Is(tt.err, tt.want) {
				t.Errorf("%s: got %v, want %v", name, tt.err, tt.want)
			}
		}
		wantLength(t, ctx, s, 2)
		wantSame(t, ctx, s, u)
		wantSame(t, ctx, s, other)
		if n := must(s.File.Query().Count(ctx))(t); n != 1 {
			t.Errorf("%d files, want 1", n)
		}
	})
}

func TestAudit_Actor(t *testing.T) {
	t.Parallel()
	eachClock(t, someDay, func(t *testing.T, ctx context.Context, s *models.Store, _ *fakeClock) {
		u, admin := must(newUser(s).Save(ctx))(t), must(newUser(s).SetIsAdmin(true).Save(ctx))(t)
		f := must(newFile(s, u).Save(ctx))(t)
		var old any
		for i, tt := range []struct {
			viewer context.Context
			want   string
		}{
			{models.AsSystem(ctx, "nightly"), "system:nightly"},
			{models.AsSystem(ctx, ""), "system"},
			{models.AsUser(ctx, u), fmt.Sprint("user:", u.ID)},
			{models.AsUser(ctx, admin), fmt.Sprint("user:", admin.ID)},
			{models.WithViewer(ctx, models.Viewer{Admin: true, Label: "console"}), "admin:console"},
			{models.WithViewer(ctx, models.Viewer{UserID: u.ID, Label: "ignored"}), fmt.Sprint("user:", u.ID)},
		} {
			name := fmt.Sprint("name of ", tt.want, i)
			check(t, s.User.UpdateOneID(u.ID).SetName(name).Exec(tt.viewer))
			wantTrail(t, ctx, s.Client, 2+i, someDay, entry{tt.want, "update", "user", u.ID, changes{"name": {old, name}}})
			old = name
		}
		check(t, s.File.DeleteOne(f).Exec(models.AsUser(ctx, u)))
		wantTrail(t, ctx, s.Client, 8, someDay, entry{fmt.Sprint("user:", u.ID), "delete", "file", f.ID, whole(f.ToMap(), vanished)})
		// The files of a user who goes are deleted by whoever deletes the user.
		g := must(newFile(s, u).Save(ctx))(t)
		u = must(s.User.Get(ctx, u.ID))(t)
		check(t, s.User.DeleteOne(u).Exec(models.HardDelete(models.AsUser(ctx, admin))))
		by := fmt.Sprint("user:", admin.ID)
		wantTrail(t, ctx, s.Client, 9, someDay, entry{by, "delete", "file", g.ID, whole(g.ToMap(), vanished)},
			entry{by, "delete", "user", u.ID, whole(userColumns(u), vanished)})
	})
}

// TestAudit_IsNeverChanged tries to change the trail, as the system too.
func TestAudit_IsNeverChanged(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, ctx context.Context, c *ent.Client) {
		s := &models.Store{Client: c}
		admin := must(newUser(s).SetIsAdmin(true).Save(ctx))(t)
		row := must(newAudit(s).Save(ctx))(t)
		before := encode(t, must(c.AuditLog.Query().Order(auditlog.ByID()).All(ctx))(t))
		for name, viewer := range map[string]context.Context{
			"the system": ctx, "with all flags": models.HardDelete(models.IncludeDeleted(ctx)), "an administrator": models.AsUser(ctx, admin),
		} {
			_, deleted := c.AuditLog.Delete().Exec(viewer)
			for what, err := range map[string]error{
				"UpdateOne":   c.AuditLog.UpdateOne(row).SetUpdatedAt(someDay).Exec(viewer),
				"UpdateOneID": c.AuditLog.UpdateOneID(row.ID).Exec(viewer),
				"Update":      c.AuditLog.Update().SetUpdatedAt(someDay).Exec(viewer),
				"Modify": c.AuditLog.Update().Modify(func(u *entsql.UpdateBuilder) { u.Set("actor", "nobody") }).
					Exec(viewer),
				"DeleteOne":               c.AuditLog.DeleteOne(row).Exec(viewer),
				"DeleteOneID":             c.AuditLog.DeleteOneID(row.ID).Exec(viewer),
				"Delete":                  deleted,
				"an unknown row":          c.AuditLog.DeleteOneID(424242).Exec(viewer),
				"an unknown row, updated": c.AuditLog.UpdateOneID(424242).Exec(viewer),
			} {
				if !errors.Is(err, models.ErrForbidden) {
					t.Errorf("%s, %s: got %v, want ErrForbidden", name, what, err)
				}
			}
		}
		for name, upsert := range map[string]*ent.AuditLogUpsertBulk{
			"one":  c.AuditLog.CreateBulk(newAudit(s)).OnConflictColumns(auditlog.FieldID).UpdateNewValues(),
			"many": c.AuditLog.CreateBulk(newAudit(s), newAudit(s)).OnConflict(entsql.DoNothing()),
		} {
			if err := upsert.Exec(ctx); !errors.Is(err, models.ErrNotAudited) {
				t.Errorf("upsert of %s: got %v, want ErrNotAudited", name, err)
			}
		}
		if after := encode(t, must(c.AuditLog.Query().Order(auditlog.ByID()).All(ctx))(t)); after != before {
			t.Errorf("the trail is %s, want %s as before", after, before)
		}
	})
}

// TestAudit_Elsewhere changes files by their user: the trail could not tell.
func TestAudit_Elsewhere(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, ctx context.Context, c *ent.Client) {
		s := &models.Store{Client: c}
		u, other := must(newUser(s).Save(ctx))(t), must(newUser(s).Save(ctx))(t)
		f, g := must(newFile(s, u).Save(ctx))(t), must(newFile(s, other).Save(ctx))(t)
		for name, err := range map[string]error{
			"AddFileIDs":             u.Update().SetName("x").AddFileIDs(g.ID).Exec(ctx),
			"AddFiles":               c.User.UpdateOneID(u.ID).AddFiles(g).Exec(ctx),
			"AddFileIDs, in bulk":    c.User.Update().Where(user.ID(u.ID)).AddFileIDs(g.ID).Exec(ctx),
			"RemoveFileIDs":          u.Update().RemoveFileIDs(f.ID).Exec(ctx),
			"RemoveFileIDs, in bulk": c.User.Update().RemoveFileIDs(f.ID).Exec(ctx),
			"ClearFiles":             u.Update().ClearFiles().Exec(ctx),
			"ClearFiles, in bulk":    c.User.Update().ClearFiles().Exec(ctx),
			"Create":                 newUser(s).AddFileIDs(g.ID).Exec(ctx),
			"CreateBulk":             c.User.CreateBulk(newUser(s), newUser(s).AddFileIDs(g.ID)).Exec(ctx),
			"upsert of a file":       newFile(s, u).SetPublicID(g.PublicID).OnConflictColumns(file.FieldPublicID).UpdateNewValues().Exec(ctx),
			"upsert of files": c.File.CreateBulk(newFile(s, u).SetPublicID(g.PublicID)).OnConflictColumns(file.FieldPublicID).
				UpdateNewValues().Exec(ctx),
		} {
			if !errors.Is(err, models.ErrNotAudited) {
				t.Errorf("%s: got %v, want ErrNotAudited", name, err)
			}
		}
		for _, before := range []*ent.File{f, g} {
			if got, want := encode(t, must(c.File.Get(ctx, before.ID))(t)), encode(t, before); got != want {
				t.Errorf("the file is %s, want %s", got, want)
			}
		}
		wantSame(t, ctx, s, u)
		wantLength(t, ctx, s, 2)
		if n := must(c.User.Query().Count(ctx))(t); n != 2 {
			t.Errorf("%d users, want 2", n)
		}
		// From the file it is one change, of one row.
		check(t, g.Update().SetUser(u).Exec(ctx))
		if got := actions(t, ctx, s, "file", g.ID); !slices.Equal(got, []string{"update"}) {
			t.Errorf("the trail of the file is %v, want its update", got)
		}
	})
}

// TestAudit_Digits changes numbers by less than a float64 tells apart.
func TestAudit_Digits(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := must(newUser(s).SetPreferences(map[string]any{"n": json.Number("9007199254740993")}).Save(ctx))(t)
		for _, number := range []string{"9007199254740992", "0.1", "0.10000000000000000555"} {
			check(t, s.User.UpdateOneID(u.ID).SetPreferences(map[string]any{"n": json.Number(number)}).Exec(models.AsUser(ctx, u)))
		}
		texts := column[string](t, ctx, s, "SELECT CAST(changes AS text) FROM audit_logs WHERE action = 'update' ORDER BY id")
		const want = "9007199254740993 9007199254740992 9007199254740992 0.1 0.1 0.10000000000000000555"
		if got := strings.Join(regexp.MustCompile(`[0-9.]+`).FindAllString(strings.Join(texts, ""), -1), " "); got != want {
			t.Errorf("the trail has %s, want %s", got, want)
		}
		read := must(s.User.Get(ctx, u.ID))(t)
		check(t, s.User.UpdateOne(read).SetPreferences(read.Preferences).SetName("n").Exec(ctx))
		if got := encode(t, must(s.User.Get(ctx, u.ID))(t).Preferences); got != `{"n":0.10000000000000000555}` {
			t.Errorf("read and written again it is %s", got)
		}
	})
}

// TestAudit_Atomic takes the trail away: no change is made without it.
func TestAudit_Atomic(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u, dead := must(newUser(s).Save(ctx))(t), must(newUser(s).Save(ctx))(t)
		f := must(newFile(s, u).Save(ctx))(t)
		check(t, s.SoftDeleteUser(ctx, dead.ID))
		dead = must(s.User.Get(models.IncludeDeleted(ctx), dead.ID))(t)
		must(s.ExecContext(ctx, "ALTER TABLE audit_logs RENAME TO elsewhere"))(t)
		hard := models.HardDelete(ctx)
		bulk := func(_ int, err error) error { return err }
		for name, change := range map[string]func(ctx context.Context, c *ent.Client) error{
			"create": func(ctx context.Context, c *ent.Client) error { return newUser(&models.Store{Client: c}).Exec(ctx) },
			"upsert": func(ctx context.Context, c *ent.Client) error {
				return upsert(&models.Store{Client: c}, u).UpdateNewValues().Exec(ctx)
			},
			"bulk create": func(ctx context.Context, c *ent.Client) error {
				return c.User.CreateBulk(newUser(s), newUser(s)).Exec(ctx)
			},
			"update":      func(ctx context.Context, c *ent.Client) error { return c.User.UpdateOneID(u.ID).SetName("x").Exec(ctx) },
			"bulk update": func(ctx context.Context, c *ent.Client) error { return c.User.Update().SetName("x").Exec(ctx) },
			"delete":      func(ctx context.Context, c *ent.Client) error { return c.User.DeleteOneID(u.ID).Exec(ctx) },
			"bulk delete": func(ctx context.Context, c *ent.Client) error { return bulk(c.User.Delete().Exec(ctx)) },
			"restore": func(ctx context.Context, c *ent.Client) error {
				return (&models.Store{Client: c}).RestoreUser(ctx, dead.ID)
			},
			"hard delete": func(ctx context.Context, c *ent.Client) error {
				return c.User.DeleteOneID(dead.ID).Exec(models.HardDelete(ctx))
			},
			"hard delete with files": func(ctx context.Context, c *ent.Client) error {
				return bulk(c.User.Delete().Exec(models.HardDelete(ctx)))
			},
			"file":             func(ctx context.Context, c *ent.Client) error { return c.File.UpdateOneID(f.ID).SetSize(1).Exec(ctx) },
			"files":            func(ctx context.Context, c *ent.Client) error { return c.File.Update().SetSize(1).Exec(ctx) },
			"file delete":      func(ctx context.Context, c *ent.Client) error { return c.File.DeleteOneID(f.ID).Exec(ctx) },
			"bulk file delete": func(ctx context.Context, c *ent.Client) error { return bulk(c.File.Delete().Exec(ctx)) },
		} {
			if name == "bulk create" {
				// Its builders are a client's, so the transaction would not be that of c.
				wantRefused(t, ctx, s, name, func(ctx context.Context, _ *ent.Client) error { return change(ctx, s.Client) }, false)
				continue
			}
			wantRefused(t, ctx, s, name, change, true)
		}
		if err := s.User.DeleteOneID(u.ID).Exec(hard); err == nil {
			t.Error("a user was removed without a row in the trail")
		}
		wantSame(t, ctx, s, u)
		wantSame(t, ctx, s, dead)
		if users, files := must(s.User.Query().Count(models.IncludeDeleted(ctx)))(t), must(s.File.Query().Where(file.Size(0)).Count(ctx))(t); users != 2 || files != 1 {
			t.Errorf("%d users and %d files, want the 2 and the 1 of before", users, files)
		}
		must(s.ExecContext(ctx, "ALTER TABLE elsewhere RENAME TO audit_logs"))(t)
		wantLength(t, ctx, s, 3)
		check(t, u.Update().SetName("x").Exec(ctx)) // the connections are sound
	})
}

// wantRefused makes a change alone and in transactions that swallow the error: none of them keeps anything.
func wantRefused(t *testing.T, ctx context.Context, s *models.Store, name string, change func(ctx context.Context, c *ent.Client) error, tx bool) {
	t.Helper()
	if err := change(ctx, s.Client); err == nil {
		t.Errorf("%s: it was made without a row in the trail", name)
	}
	if err := s.InTx(ctx, func(ctx context.Context) error { _ = change(ctx, s.Client); return nil }); !errors.Is(err, models.ErrTxFailed) {
		t.Errorf("%s in InTx: got %v, want ErrTxFailed", name, err)
	}
	if !tx {
		return
	}
	for way, client := range map[string]*ent.Client{"client": s.Client, "Debug": s.Debug()} {
		tx := must(client.Tx(ctx))(t)
		if err := change(ctx, tx.Client()); err == nil {
			t.Errorf("%s in Tx of %s: it was made without a row in the trail", name, way)
		}
		if err := tx.Commit(); !errors.Is(err, models.ErrTxFailed) {
			t.Errorf("%s in Tx of %s: the commit answers %v, want ErrTxFailed", name, way, err)
		}
	}
}

// stock is a client on ent's own driver, beside a store on the same database.
func stock(t *testing.T, url string) *ent.Client {
	t.Helper()
	name, dsn := dialect.Postgres, url
	if path, ok := strings.CutPrefix(url, "sqlite://"); ok {
		name, dsn = dialect.SQLite, "file:"+path+"?_foreign_keys=1&_busy_timeout=10000"
	}
	db := must(stdsql.Open(name, dsn))(t)
	client := ent.NewClient(ent.Driver(entsql.OpenDB(name, db)), ent.Log(func(...any) {}))
	t.Cleanup(func() { check(t, client.Close()) })
	return client
}

// TestAudit_StockDriver: ent's own driver cannot put a change and its row into one transaction.
func TestAudit_StockDriver(t *testing.T) {
	t.Parallel()
	eachURL(t, func(t *testing.T, url string) {
		s := open(t, url)
		ctx := models.AsSystem(t.Context(), "test")
		must(s.Migrate(ctx))(t)
		u, other := must(newUser(s).Save(ctx))(t), must(newUser(s).Save(ctx))(t)
		f := must(newFile(s, u).Save(ctx))(t)
		dead := must(newUser(s).Save(ctx))(t)
		check(t, s.SoftDeleteUser(ctx, dead.ID))
		plain := stock(t, url)
		for name, c := range map[string]*ent.Client{"client": plain, "Debug": plain.Debug()} {
			wantNotAudited(t, ctx, name, c, u, f)
			tx := must(c.Tx(ctx))(t)
			wantNotAudited(t, ctx, "Tx of "+name, tx.Client(), u, f)
			if err := tx.Commit(); err != nil {
				t.Errorf("the commit of nothing answers %v", err)
			}
			for name, tt := range map[string]struct {
				viewer context.Context
				want   []int
				err    error
			}{
				"nobody":     {t.Context(), nil, models.ErrNoViewer},
				"a visitor":  {models.AsAnonymous(ctx), nil, models.ErrForbidden},
				"a user":     {models.AsUser(ctx, u), []int{u.ID}, nil},
				"deleted":    {models.AsUser(ctx, dead), nil, nil},
				"the system": {ctx, []int{u.ID, other.ID}, nil},
				"everything": {models.IncludeDeleted(ctx), []int{u.ID, other.ID, dead.ID}, nil},
			} {
				if seen, err := c.User.Query().Order(user.ByID()).IDs(tt.viewer); !errors.Is(err, tt.err) || !slices.Equal(seen, tt.want) {
					t.Errorf("%s sees %v and %v, want %v and %v", name, seen, err, tt.want, tt.err)
				}
			}
		}
		wantSame(t, ctx, s, u)
		wantLength(t, ctx, s, 4)
		if users, files := must(s.User.Query().Count(models.IncludeDeleted(ctx)))(t), must(s.File.Query().Where(file.Size(0)).Count(ctx))(t); users != 3 || files != 1 {
			t.Errorf("%d users and %d files, want 3 and 1", users, files)
		}
	})
}

// wantNotAudited tries every change that would have a row in the trail.
func wantNotAudited(t *testing.T, ctx context.Context, way string, c *ent.Client, u *ent.User, f *ent.File) {
	t.Helper()
	s := &models.Store{Client: c}
	_, deleted := c.User.Delete().Exec(ctx)
	_, removed := c.User.Delete().Exec(models.HardDelete(ctx))
	_, files := c.File.Delete().Exec(ctx)
	for name, err := range map[string]error{
		"create": newUser(s).Exec(ctx), "bulk create": c.User.CreateBulk(newUser(s)).Exec(ctx), "upsert": upsert(s, u).UpdateNewValues().Exec(ctx),
		"update": c.User.UpdateOneID(u.ID).SetName("x").Exec(ctx), "bulk update": c.User.Update().SetName("x").Exec(ctx),
		"delete": c.User.DeleteOneID(u.ID).Exec(ctx), "bulk delete": deleted, "hard delete": c.User.DeleteOneID(u.ID).Exec(models.HardDelete(ctx)),
		"bulk hard delete": removed, "file": c.File.UpdateOneID(f.ID).SetSize(1).Exec(ctx), "files": c.File.Update().SetSize(1).Exec(ctx),
		"file delete": c.File.DeleteOneID(f.ID).Exec(ctx), "bulk file delete": files,
		"restore": s.RestoreUser(ctx, u.ID),
	} {
		if !errors.Is(err, models.ErrNotAudited) {
			t.Errorf("%s, %s: got %v, want ErrNotAudited", way, name, err)
		}
	}
}

// TestAudit_InTx keeps changes and their rows together, through nested transactions and past what found nobody.
func TestAudit_InTx(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		var u *ent.User
		check(t, s.InTx(ctx, func(in context.Context) error {
			u = must(newUser(s).Save(in))(t)
			for name, err := range map[string]error{
				"UpdateOneID": s.User.UpdateOneID(424242).SetName("x").Exec(in), "DeleteOneID": s.User.DeleteOneID(424242).Exec(in),
				"hard": s.User.DeleteOneID(424242).Exec(models.HardDelete(in)), "file": s.File.UpdateOneID(424242).SetSize(1).Exec(in),
				"file delete": s.File.DeleteOneID(424242).Exec(in), "restore": s.RestoreUser(in, u.ID),
			} {
				if !errors.Is(err, models.ErrNotFound) {
					t.Errorf("%s: got %v, want ErrNotFound", name, err)
				}
			}
			check(t, s.InTx(in, func(in context.Context) error { return s.User.UpdateOneID(u.ID).SetName("inner").Exec(in) }))
			tx := must(s.Tx(in))(t)
			check(t, tx.User.UpdateOneID(u.ID).SetName("tx").Exec(in))
			check(t, tx.Commit())
			wantLength(t, ctx, s, 0) // nothing is seen outside
			return s.Debug().User.DeleteOneID(u.ID).Exec(in)
		}))
		if got, want := actions(t, ctx, s, "user", u.ID), []string{"create", "update", "update", "soft_delete"}; !slices.Equal(got, want) {
			t.Errorf("the trail is %v, want %v", got, want)
		}
		wantChain(t, ctx, s, u.ID)
		wantLength(t, ctx, s, 4)
	})
}

// TestAudit_UpdatesAtOnce: each old value is what the row had when it was changed.
func TestAudit_UpdatesAtOnce(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		for range rounds() {
			u := must(newUser(s).Save(ctx))(t)
			fns := make([]func() error, 12)
			for i := range fns {
				fns[i] = func() error { return s.User.UpdateOneID(u.ID).SetName(fmt.Sprint(i)).Exec(ctx) }
				if i%2 == 1 {
					fns[i] = func() error { return s.User.Update().Where(user.ID(u.ID)).SetName(fmt.Sprint(i)).Exec(ctx) }
				}
			}
			check(t, errors.Join(atOnce(fns...)...))
			wantChain(t, ctx, s, u.ID)
			if n := len(actions(t, ctx, s, "user", u.ID)); n != 13 {
				t.Errorf("the trail has %d rows, want 13", n)
			}
		}
	})
}
