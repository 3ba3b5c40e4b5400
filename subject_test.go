package models_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/auditlog"
	"github.com/reviewpoint/models/ent/file"
	"github.com/reviewpoint/models/ent/usedpasswordresettoken"
)

const (
	canaryAvatar = "https://example.org/canary-avatar-2c6e.png"
	canaryFormer = "canary-former@example.org" // an address that the person had before
)

// newCanary is a person with all that is personal, now and in the trail, who has signed in and used resets.
func newCanary(t *testing.T, ctx context.Context, s *models.Store) *ent.User {
	t.Helper()
	u := must(newUser(s).SetEmail(canaryFormer).SetHashedPassword(firstHash()).SetName("former " + canaryName).Save(ctx))(t)
	check(t, s.ConsumeResetToken(ctx, canaryFormer, "former "+canaryNonce))
	u = must(s.User.UpdateOne(u).SetEmail(canaryAddress).SetName(canaryName).SetBio(canaryBio).SetAvatarURL(canaryAvatar).
		SetPreferences(map[string]any{"note": canaryPreference}).Save(ctx))(t)
	check(t, s.ConsumeResetToken(ctx, canaryAddress, canaryNonce))
	check(t, s.RecordLogin(ctx, u.ID, u.UpdatedAt))
	return must(s.User.Get(ctx, u.ID))(t)
}

// wantAnonymous checks that nothing personal of a canary is anywhere in the database.
func wantAnonymous(t *testing.T, ctx context.Context, s *models.Store, u *ent.User) {
	t.Helper()
	for place, value := range allCells(t, ctx, s) {
		for _, text := range []string{canaryAddress, canaryFormer, canaryName, canaryBio, canaryAvatar, canaryPreference, firstHash()} {
			if strings.Contains(strings.ToLower(value), strings.ToLower(text)) {
				t.Errorf("%s is still there: %s", text, place)
			}
		}
	}
	after := must(s.User.Get(models.IncludeDeleted(ctx), u.ID))(t)
	if after.IsActive || after.IsAdmin || after.LastLoginAt != nil || after.PublicID != u.PublicID {
		t.Errorf("the account is %v", after)
	}
}

// allCells are all values of all tables, each by its place.
func allCells(t *testing.T, ctx context.Context, s *models.Store) map[string]string {
	t.Helper()
	tables := "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
	if s.Dialect() == "postgres" {
		tables = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
	}
	cells := make(map[string]string)
	for _, table := range column[string](t, ctx, s, tables) {
		addCells(t, ctx, s, table, cells)
	}
	return cells
}

func addCells(t *testing.T, ctx context.Context, s *models.Store, table string, cells map[string]string) {
	t.Helper()
	rows := must(s.QueryContext(ctx, "SELECT * FROM "+table))(t) //nolint:unqueryvet // Columns that are to come, too.
	defer rows.Close()
	names := must(rows.Columns())(t)
	values, into := make([]any, len(names)), make([]any, len(names))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		check(t, rows.Scan(into...))
		id := values[max(0, slices.Index(names, "id"))]
		for i, value := range values {
			if text, ok := value.([]byte); ok {
				value = string(text)
			}
			cells[fmt.Sprintf("%s %v, %s", table, id, names[i])] = fmt.Sprint(value)
		}
	}
	check(t, rows.Err())
}

// exportOf is what ExportSubject writes, and what that means.
func exportOf(t *testing.T, ctx context.Context, s *models.Store, id int) (text string, subject map[string]any) {
	t.Helper()
	var written bytes.Buffer
	check(t, s.ExportSubject(ctx, id, &written))
	check(t, json.Unmarshal(written.Bytes(), &subject))
	return written.String(), subject
}

// newestChange is the id of the newest row of the trail.
func newestChange(t *testing.T, ctx context.Context, s *models.Store) int {
	t.Helper()
	return must(s.AuditLog.Query().Order(ent.Desc(auditlog.FieldID)).FirstID(ctx))(t)
}

// wantRows checks that a list in an export has these rows, in order and whole.
func wantRows[T interface{ ToMap() map[string]any }](t *testing.T, subject map[string]any, list string, want []T) {
	t.Helper()
	got, _ := subject[list].([]any)
	if len(got) != len(want) {
		t.Errorf("%s has %d rows, want %d", list, len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if row := asJSON(t, want[i].ToMap()); !reflect.DeepEqual(got[i], any(row)) {
			t.Errorf("row %d of %s is %v, want %v", i, list, got[i], row)
		}
	}
}

var march = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestExportSubject(t *testing.T) {
	t.Parallel()
	eachClock(t, march, func(t *testing.T, ctx context.Context, s *models.Store, c *fakeClock) {
		var changes []int // the rows of the trail that are about her
		changed := func(err error) {
			t.Helper()
			check(t, err)
			changes = append(changes, newestChange(t, ctx, s))
		}
		other := must(newUser(s).SetName("Other").Save(ctx))(t)
		ada, err := newUser(s).SetEmail("ада@пример.рф").SetHashedPassword(canaryHash).SetIsAdmin(true).
			SetName("Ада «Лавлейс» 🚀 <b>&amp;").SetBio("a \"line\"\nand\tanother \u2028\\").
			SetPreferences(map[string]any{"тема": []any{"é", 1.5, nil, true, map[string]any{"n": ""}}}).Save(ctx)
		changed(err)
		asAda := models.AsUser(ctx, ada)

		// Two pages and a row of files and changes.
		uploads, rows := make([]*ent.FileCreate, 1001), make([]*ent.AuditLogCreate, 1001)
		for i := range uploads {
			uploads[i] = newFile(s, ada).SetSize(int64(i))
			rows[i] = newAudit(s).SetEntityID(ada.ID)
		}
		files := must(s.File.CreateBulk(uploads...).Save(ctx))(t)
		for _, row := range must(s.AuditLog.CreateBulk(rows...).Save(ctx))(t) {
			changes = append(changes, row.ID)
		}

		changed(s.File.UpdateOne(files[1]).SetFilename("переименован.pdf").Exec(ctx))
		changed(s.File.DeleteOne(files[2]).Exec(ctx))
		changed(s.File.DeleteOne(files[3]).Exec(asAda))
		changed(s.File.UpdateOne(files[4]).SetUserID(other.ID).Exec(ctx)) // given away
		theirs := must(newFile(s, other).Save(ctx))(t)
		changed(s.File.UpdateOne(theirs).SetUserID(ada.ID).Exec(ctx)) // taken over

		check(t, newReset(s, "ада@пример.рф", canaryNonce).Exec(ctx))
		c.set(march.Add(time.Hour))
		changed(s.User.UpdateOne(ada).SetEmail("ada@example.org").Exec(ctx))
		c.set(march.Add(2 * time.Hour))
		check(t, newReset(s, "ada@example.org", canaryNonce).Exec(ctx))
		check(t, s.RecordLogin(ctx, ada.ID, c.Now()))
		changed(s.User.UpdateOne(ada).SetAvatarURL("https://example.org/ада.png").Exec(asAda))

		// What she did to others, and what they did.
		check(t, s.User.UpdateOne(other).SetName(canaryName).SetEmail(canaryAddress).Exec(asAda))
		check(t, s.User.UpdateOne(other).SetBio(canaryBio).Exec(models.AsUser(ctx, other)))
		check(t, newReset(s, other.Email, canaryNonce).Exec(ctx))
		check(t, newFile(s, other).SetFilename(canaryFile).Exec(ctx))
		c.set(march.Add(3 * time.Hour))

		text, subject := exportOf(t, ctx, s, ada.ID)
		if want := []string{"actions", "changes", "exported_at", "files", "password_resets", "user"}; !slices.Equal(slices.Sorted(maps.Keys(subject)), want) {
			t.Errorf("the export has %v, want %v", slices.Sorted(maps.Keys(subject)), want)
		}
		if at := march.Add(3 * time.Hour).Format(time.RFC3339); subject["exported_at"] != at {
			t.Errorf("exported_at is %v, want %s", subject["exported_at"], at)
		}
		if want := asJSON(t, must(s.User.Get(ctx, ada.ID))(t).ToMap()); !reflect.DeepEqual(subject["user"], any(want)) {
			t.Errorf("user is %v, want %v", subject["user"], want)
		}
		wantRows(t, subject, "files", must(s.File.Query().Where(file.UserID(ada.ID)).Order(file.ByID()).All(ctx))(t))
		wantRows(t, subject, "changes", must(s.AuditLog.Query().Where(auditlog.IDIn(changes...)).Order(auditlog.ByID()).All(ctx))(t))
		for list, want := range map[string]string{
			"password_resets": `[{"email":"ада@пример.рф","used_at":"2026-03-01T12:00:00Z"},{"email":"ada@example.org","used_at":"2026-03-01T14:00:00Z"}]`,
			"actions":         fmt.Sprintf(`[{"action":"update","at":"2026-03-01T14:00:00Z","entity":"user","entity_id":%d}]`, other.ID),
		} {
			if got := encode(t, subject[list]); got != want {
				t.Errorf("%s is %s, want %s", list, got, want)
			}
		}
		for _, canary := range []string{canaryHash, canaryNonce, canaryName, canaryAddress, canaryBio, canaryFile, "Other"} {
			if strings.Contains(text, canary) {
				t.Errorf("the export shows %s, which is secret or another person's", canary)
			}
		}
	})
}

// TestExportSubject_ActionsOnFiles: a row of the trail need not say whose the file is.
func TestExportSubject_ActionsOnFiles(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		admin, other := must(newUser(s).SetIsAdmin(true).Save(ctx))(t), must(newUser(s).Save(ctx))(t)
		f := must(newFile(s, other).SetFilename(canaryFile).Save(ctx))(t)
		check(t, s.File.UpdateOne(f).SetFilename("renamed.pdf").Exec(models.AsUser(ctx, admin)))
		check(t, s.File.DeleteOne(f).Exec(models.AsUser(ctx, admin)))
		text, subject := exportOf(t, ctx, s, admin.ID)
		var did []any
		rows, _ := subject["actions"].([]any)
		for _, row := range rows {
			did = append(did, row.(map[string]any)["action"])
		}
		if want := []any{"update", "delete"}; !slices.Equal(did, want) {
			t.Errorf("the actions are %v, want %v of the file", did, want)
		}
		if strings.Contains(text, canaryFile) {
			t.Error("the export shows the name of another person's file")
		}
	})
}

// TestExportSubject_FilesThatAreGone: what was recorded of a file while it was hers is held about her.
func TestExportSubject_FilesThatAreGone(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		other := must(newUser(s).Save(ctx))(t)
		for name, remove := range map[string]func(f *ent.File) error{
			"deleted":    func(f *ent.File) error { return s.File.DeleteOne(f).Exec(ctx) },
			"given away": func(f *ent.File) error { return s.File.UpdateOne(f).SetUser(other).Exec(ctx) },
		} {
			u := must(newUser(s).Save(ctx))(t)
			created := newestChange(t, ctx, s)
			f := must(newFile(s, u).Save(ctx))(t)
			check(t, s.File.UpdateOne(f).SetFilename(canaryFile).Exec(ctx))
			check(t, remove(f))
			_, subject := exportOf(t, ctx, s, u.ID)
			want := must(s.AuditLog.Query().Where(auditlog.IDGTE(created)).Order(auditlog.ByID()).All(ctx))(t)
			t.Run(name, func(t *testing.T) { wantRows(t, subject, "changes", want) })
		}
	})
}

// TestExportSubject_FilesOfOthersBefore: what was recorded of a file while it was somebody else's is not hers to see.
func TestExportSubject_FilesOfOthersBefore(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		other, u := must(newUser(s).Save(ctx))(t), must(newUser(s).Save(ctx))(t)
		f := must(newFile(s, other).SetFilename(canaryFile).Save(ctx))(t)
		check(t, s.File.UpdateOne(f).SetFilename("published.pdf").Exec(ctx))
		check(t, s.File.UpdateOne(f).SetUser(u).Exec(ctx))
		if text, _ := exportOf(t, ctx, s, u.ID); strings.Contains(text, canaryFile) {
			t.Errorf("the export has the name that the file had with its owner before:\n%s", text)
		}
	})
}

// TestExportSubject_DeletedByOtherHands is about an account of whose deletion the row alone tells.
func TestExportSubject_DeletedByOtherHands(t *testing.T) {
	t.Parallel()
	eachClock(t, march, func(t *testing.T, ctx context.Context, s *models.Store, c *fakeClock) {
		u := must(newUser(s).SetEmail("ada@example.org").Save(ctx))(t)
		check(t, newReset(s, u.Email, "nonce").Exec(ctx))
		must(s.ExecContext(ctx, "UPDATE users SET is_deleted = TRUE, deleted_at = $1", march.Add(time.Hour)))(t)
		c.set(march.Add(2 * time.Hour))
		check(t, newUser(s).SetEmail("ada@example.org").Exec(ctx))
		check(t, newReset(s, u.Email, "nonce of the heir").Exec(ctx))
		_, subject := exportOf(t, ctx, s, u.ID)
		if got := encode(t, subject["password_resets"]); got != `[{"email":"ada@example.org","used_at":"2026-03-01T12:00:00Z"}]` {
			t.Errorf("password_resets are %s, want that of before and none of the heir's", got)
		}
	})
}

// TestExportSubject_OfADeletedAccount: the address is somebody else's by now.
func TestExportSubject_OfADeletedAccount(t *testing.T) {
	t.Parallel()
	eachClock(t, march, func(t *testing.T, ctx context.Context, s *models.Store, c *fakeClock) {
		u := must(newUser(s).SetEmail("ada@example.org").Save(ctx))(t)
		check(t, newFile(s, u).Exec(ctx))
		check(t, newReset(s, u.Email, "nonce").Exec(ctx))
		c.set(march.Add(time.Hour))
		check(t, s.SoftDeleteUser(ctx, u.ID))
		c.set(march.Add(2 * time.Hour))
		heir := must(newUser(s).SetEmail("ada@example.org").Save(ctx))(t)
		check(t, newReset(s, u.Email, "nonce of the heir").Exec(ctx))
		for _, person := range []*ent.User{u, heir} {
			_, subject := exportOf(t, ctx, s, person.ID)
			want := asJSON(t, must(s.User.Get(models.IncludeDeleted(ctx), person.ID))(t).ToMap())
			if !reflect.DeepEqual(subject["user"], any(want)) {
				t.Errorf("user is %v, want %v", subject["user"], want)
			}
			at := map[int]string{u.ID: "2026-03-01T12:00:00Z", heir.ID: "2026-03-01T14:00:00Z"}[person.ID]
			if got := encode(t, subject["password_resets"]); got != `[{"email":"ada@example.org","used_at":"`+at+`"}]` {
				t.Errorf("password_resets are %s, want that at %s", got, at)
			}
		}
		_, subject := exportOf(t, ctx, s, u.ID)
		wantRows(t, subject, "files", must(s.File.Query().Where(file.UserID(u.ID)).All(models.IncludeDeleted(ctx)))(t))
		if files, _ := subject["files"].([]any); len(files) != 1 {
			t.Errorf("files are %v, want one", subject["files"])
		}
	})
}

// asking are contexts in which somebody asks about a subject, each with the answer.
func asking(t *testing.T, ctx context.Context, s *models.Store, subject *ent.User, self error) map[string]struct {
	ctx  context.Context
	want error
} {
	t.Helper()
	admin := func() *ent.User { return must(newUser(s).SetIsAdmin(true).Save(ctx))(t) }
	disabled, deleted, demoted := admin(), admin(), admin()
	check(t, s.DeactivateUser(ctx, disabled.ID))
	check(t, s.SoftDeleteUser(ctx, deleted.ID))
	check(t, s.User.UpdateOne(demoted).SetIsAdmin(false).Exec(ctx))
	return map[string]struct {
		ctx  context.Context
		want error
	}{
		"nobody":                   {t.Context(), models.ErrNoViewer},
		"anonymous":                {models.AsAnonymous(ctx), models.ErrForbidden},
		"another person":           {models.AsUser(ctx, must(newUser(s).Save(ctx))(t)), models.ErrForbidden},
		"the person":               {models.AsUser(ctx, subject), self},
		"a disabled admin":         {models.AsUser(ctx, disabled), models.ErrForbidden},
		"a deleted admin":          {models.AsUser(ctx, deleted), models.ErrForbidden},
		"an admin no more":         {models.AsUser(ctx, demoted), models.ErrForbidden},
		"a claimed admin":          {models.WithViewer(ctx, models.Viewer{UserID: subject.ID, Admin: true}), models.ErrForbidden},
		"an admin whom none names": {models.WithViewer(ctx, models.Viewer{Admin: true}), models.ErrForbidden},
		"an admin":                 {models.AsUser(ctx, admin()), nil},
		"an admin with a label":    {models.WithViewer(ctx, models.Viewer{Admin: true, Label: "desk"}), nil},
		"the system":               {ctx, nil},
	}
}

func TestExportSubject_ByWhom(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := must(newUser(s).Save(ctx))(t)
		for name, who := range asking(t, ctx, s, u, nil) {
			for of, id := range map[string]int{"somebody": u.ID, "nobody who is there": u.ID + 1000, "0": 0, "-1": -1} {
				want := who.want
				if id != u.ID && want == nil {
					want = models.ErrNotFound
				}
				if id != u.ID && name == "the person" {
					want = models.ErrForbidden
				}
				var written bytes.Buffer
				if err := s.ExportSubject(who.ctx, id, &written); !errors.Is(err, want) {
					t.Errorf("%s exports %s: got %v, want %v", name, of, err, want)
				}
				if (written.Len() > 0) != (want == nil) {
					t.Errorf("%s exports %s: %q was written", name, of, written.String())
				}
			}
		}
		check(t, s.SoftDeleteUser(ctx, u.ID))
		wantOneOf(t, "a deleted person", s.ExportSubject(models.AsUser(ctx, u), u.ID, io.Discard), models.ErrForbidden)
		check(t, s.User.DeleteOneID(u.ID).Exec(models.HardDelete(models.IncludeDeleted(ctx))))
		wantOneOf(t, "a person who is not there", s.ExportSubject(ctx, u.ID, io.Discard), models.ErrNotFound)
	})
}

// brokenWriter takes some bytes and fails then.
type brokenWriter struct {
	room   int
	failed int // times
}

func (w *brokenWriter) Write(p []byte) (int, error) {
	if len(p) <= w.room {
		w.room -= len(p)
		return len(p), nil
	}
	n := w.room
	w.room = 0
	w.failed++
	return n, errOnPurpose
}

func TestExportSubject_WriterFails(t *testing.T) {
	t.Parallel()
	eachClock(t, march, func(t *testing.T, ctx context.Context, s *models.Store, _ *fakeClock) {
		u := newCanary(t, ctx, s)
		check(t, newFile(s, u).Exec(ctx))
		check(t, newFile(s, u).Exec(ctx))
		text, _ := exportOf(t, ctx, s, u.ID)
		for room := 0; room < len(text); room += 61 {
			w := &brokenWriter{room: room}
			if err := s.ExportSubject(ctx, u.ID, w); !errors.Is(err, errOnPurpose) || w.failed != 1 {
				t.Errorf("after %d bytes: got %v, and %d writes after the first that failed; want its error, and none", room, err, w.failed-1)
			}
		}
		check(t, s.ExportSubject(ctx, u.ID, &brokenWriter{room: len(text)}))

		ended, cancel := context.WithCancel(ctx)
		if err := s.ExportSubject(ended, u.ID, writerFunc(func(p []byte) (int, error) {
			cancel()
			return len(p), nil
		})); !errors.Is(err, context.Canceled) {
			t.Errorf("a context that ends midway: got %v, want context.Canceled", err)
		}
	})
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestExportSubject_InTx(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := must(newUser(s).Save(ctx))(t)
		err := s.InTx(ctx, func(ctx context.Context) error {
			check(t, newFile(s, u).SetFilename("uncommitted.pdf").Exec(ctx))
			if text, _ := exportOf(t, ctx, s, u.ID); !strings.Contains(text, "uncommitted.pdf") {
				t.Error("the export does not show what its transaction did")
			}
			return errOnPurpose
		})
		wantOneOf(t, "the transaction", err, errOnPurpose)
		if text, _ := exportOf(t, ctx, s, u.ID); strings.Contains(text, "uncommitted.pdf") {
			t.Error("the export shows what was rolled back")
		}
	})
}

func TestAnonymizeUser(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := newCanary(t, ctx, s)
		u = must(s.User.UpdateOne(u).SetIsAdmin(true).Save(ctx))(t)
		other := must(newUser(s).SetName("Other").Save(ctx))(t)
		f := must(newFile(s, u).SetFilename("kept.pdf").Save(ctx))(t)
		check(t, s.User.UpdateOne(other).SetBio("changed by the person").Exec(models.AsUser(ctx, u)))
		check(t, newReset(s, other.Email, "of another").Exec(ctx))
		// More than a page of the trail.
		rows := make([]*ent.AuditLogCreate, 1001)
		for i := range rows {
			rows[i] = newAudit(s).SetEntityID(u.ID).SetChanges(map[string]any{
				"name": []any{nil, canaryName}, "last_login_at": []any{"2026-01-01T00:00:00Z", nil}, "is_active": []any{true, false},
			})
		}
		check(t, s.AuditLog.CreateBulk(rows...).Exec(ctx))
		token := s.NewClaims(u, time.Hour)
		before := allCells(t, ctx, s)
		last := newestChange(t, ctx, s)

		check(t, s.AnonymizeUser(ctx, u.ID))
		wantAnonymous(t, ctx, s, u)
		after := must(s.User.Get(ctx, u.ID))(t)
		if !strings.HasSuffix(after.Email, "@anonymous.invalid") || after.Name != nil || after.Bio != nil || after.AvatarURL != nil || after.Preferences != nil || after.TokensValidAfter == nil {
			t.Errorf("the account is %v", after)
		}
		resets := must(s.UsedPasswordResetToken.Query().Order(usedpasswordresettoken.ByID()).All(ctx))(t)
		for i, moved := range []bool{true, true, false} {
			if strings.HasSuffix(resets[i].Email, "@anonymous.invalid") != moved || !moved && resets[i].Email != other.Email {
				t.Errorf("reset %d has the address %s", i, resets[i].Email)
			}
		}
		if kept := must(s.File.Get(ctx, f.ID))(t); !reflect.DeepEqual(kept.ToMap(), f.ToMap()) {
			t.Errorf("the file is %v, want %v", kept, f)
		}

		// Its own row of the trail.
		rest := must(s.AuditLog.Query().Where(auditlog.IDGT(last)).All(ctx))(t)
		if len(rest) != 1 || rest[0].Action != "anonymize" || rest[0].Actor != "system:test" || rest[0].Entity != "user" || rest[0].EntityID != u.ID {
			t.Fatalf("the trail goes on with %v, want one row", rest)
		}
		cutoff := after.TokensValidAfter.Format(time.RFC3339Nano)
		const gone, replaced = `["[redacted]",null]`, `["[redacted]","[redacted]"]`
		want := `{"avatar_url":` + gone + `,"bio":` + gone + `,"email":` + replaced + `,"hashed_password":` + replaced +
			`,"is_active":[true,false],"is_admin":[true,false],"name":` + gone + `,"preferences":` + gone + `,"tokens_valid_after":[null,"` + cutoff + `"]}`
		if got := encode(t, rest[0].Changes); got != want {
			t.Errorf("its changes are %s, want %s", got, want)
		}

		// What else has changed, by columns.
		changed := make(map[string]int)
		for place, value := range allCells(t, ctx, s) {
			if old, was := before[place]; was && old != value {
				table, column, _ := strings.Cut(place, ", ")
				table, id, _ := strings.Cut(table, " ")
				changed[table+"."+column]++
				if own := fmt.Sprint(u.ID); table == "users" && id != own || table == "audit_logs" && before["audit_logs "+id+", entity_id"] != own {
					t.Errorf("%s was %q, is %q", place, old, value)
				}
			}
		}
		columns := []string{
			"audit_logs.changes", "audit_logs.updated_at", "used_password_reset_tokens.email", "used_password_reset_tokens.updated_at",
			"users.avatar_url", "users.bio", "users.email", "users.hashed_password", "users.is_active", "users.is_admin",
			"users.last_login_at", "users.name", "users.preferences", "users.tokens_valid_after", "users.updated_at",
		}
		if got := slices.Sorted(maps.Keys(changed)); !slices.Equal(got, columns) {
			t.Errorf("it changed %v, want %v", got, columns)
		}
		redacted := must(s.AuditLog.Get(ctx, last))(t)
		if got := encode(t, redacted.Changes); got != `{"is_active":[true,false],"last_login_at":["[redacted]",null],"name":[null,"[redacted]"]}` {
			t.Errorf("an older row of the trail is %s", got)
		}

		// Nobody gets in.
		for _, address := range []string{canaryAddress, canaryFormer, after.Email} {
			for _, password := range []string{firstPassword, "!", ""} {
				_, err := s.Authenticate(models.AsAnonymous(ctx), address, password)
				wantOneOf(t, "sign in", err, models.ErrInvalidCredentials)
			}
		}
		err := s.CheckToken(models.AsAnonymous(ctx), token)
		wantOneOf(t, "an old token", err, models.ErrTokenRevoked)
		wantOneOf(t, "an old token", err, models.ErrAccountDisabled)
		wantOneOf(t, "a link to the old address", s.ResetPassword(models.AsAnonymous(ctx), canaryAddress, "fresh", secondPassword), models.ErrNotFound)
		wantOneOf(t, "a link to the new address", s.ResetPassword(models.AsAnonymous(ctx), after.Email, "fresh", secondPassword), models.ErrAccountDisabled)
		check(t, s.ReactivateUser(ctx, u.ID))
		wantOneOf(t, "an old token after ReactivateUser", s.CheckToken(models.AsAnonymous(ctx), token), models.ErrTokenRevoked)
		_, err = s.Authenticate(models.AsAnonymous(ctx), after.Email, firstPassword)
		wantOneOf(t, "sign in after ReactivateUser", err, models.ErrInvalidCredentials)
		check(t, must(s.Register(models.AsAnonymous(ctx), canaryAddress, firstPassword))(t).Update().Exec(ctx)) // The address is free.
	})
}

func TestAnonymizeUser_Twice(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := newCanary(t, ctx, s)
		check(t, s.AnonymizeUser(ctx, u.ID))
		check(t, s.AnonymizeUser(ctx, u.ID))
		wantAnonymous(t, ctx, s, u)
		if got := actions(t, ctx, s, "user", u.ID); !slices.Equal(got, []string{"create", "update", "anonymize", "anonymize"}) {
			t.Errorf("the trail is %v", got)
		}
	})
}

func TestAnonymizeUser_DeletedAccount(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := newCanary(t, ctx, s)
		check(t, s.SoftDeleteUser(ctx, u.ID))
		deleted := must(s.User.Get(models.IncludeDeleted(ctx), u.ID))(t)
		check(t, s.AnonymizeUser(ctx, u.ID))
		wantAnonymous(t, ctx, s, u)
		after := must(s.User.Get(models.IncludeDeleted(ctx), u.ID))(t)
		if !after.IsDeleted || after.DeletedAt == nil || !after.DeletedAt.Equal(*deleted.DeletedAt) {
			t.Errorf("the account is %v, want it deleted as before", after)
		}
		if got := actions(t, ctx, s, "user", u.ID); !slices.Equal(got, []string{"create", "update", "soft_delete", "anonymize"}) {
			t.Errorf("the trail is %v", got)
		}
	})
}

func TestAnonymizeUser_ByWhom(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		for name, who := range asking(t, ctx, s, must(newUser(s).Save(ctx))(t), models.ErrForbidden) {
			u := newCanary(t, ctx, s)
			if name == "the person" {
				who.ctx = models.AsUser(ctx, u)
			}
			before := allCells(t, ctx, s)
			if err := s.AnonymizeUser(who.ctx, u.ID); !errors.Is(err, who.want) {
				t.Errorf("%s: got %v, want %v", name, err, who.want)
			}
			if who.want == nil {
				wantAnonymous(t, ctx, s, u)
				wantOneOf(t, name+", of nobody", s.AnonymizeUser(who.ctx, u.ID+1000), models.ErrNotFound)
			} else if !maps.Equal(before, allCells(t, ctx, s)) {
				t.Errorf("%s has changed something", name)
			}
			check(t, s.AnonymizeUser(ctx, u.ID)) // The next one has the same canaries.
		}
	})
}

// TestAnonymizeUser_OneselfAsAdmin: whose rights end with it, so that it must not stop halfway.
func TestAnonymizeUser_OneselfAsAdmin(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := newCanary(t, ctx, s)
		u = must(s.User.UpdateOne(u).SetIsAdmin(true).Save(ctx))(t)
		before := allCells(t, ctx, s)
		err := s.AnonymizeUser(models.AsUser(ctx, u), u.ID)
		wantOneOf(t, "the answer", err, nil, models.ErrForbidden)
		if err == nil {
			wantAnonymous(t, ctx, s, u)
		} else if !maps.Equal(before, allCells(t, ctx, s)) {
			t.Errorf("it answered %v, and has changed something", err)
		}
	})
}

func TestAnonymizeUser_InTx(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := newCanary(t, ctx, s)
		before := allCells(t, ctx, s)
		err := s.InTx(ctx, func(ctx context.Context) error {
			check(t, s.AnonymizeUser(ctx, u.ID))
			wantAnonymous(t, ctx, s, u)
			return errOnPurpose
		})
		wantOneOf(t, "the transaction", err, errOnPurpose)
		if !maps.Equal(before, allCells(t, ctx, s)) {
			t.Error("what was rolled back has left something")
		}
		check(t, s.InTx(ctx, func(ctx context.Context) error { return s.AnonymizeUser(ctx, u.ID) }))
		wantAnonymous(t, ctx, s, u)
	})
}

// history makes accounts and resets at hours after March began, and checks whose resets are anonymized.
type history struct {
	*models.Store

	c     *fakeClock
	moved []string // the nonces of the resets that AnonymizeUser is to take along
	kept  []string
}

func (h *history) at(hour int) { h.c.set(march.Add(time.Duration(hour) * time.Hour)) }

func (h *history) reset(t *testing.T, ctx context.Context, address string, hours ...int) (nonces []string) {
	t.Helper()
	for _, hour := range hours {
		h.at(hour)
		nonce := fmt.Sprintf("%s at %d", address, hour)
		check(t, h.ConsumeResetToken(ctx, address, nonce))
		nonces = append(nonces, nonce)
	}
	return nonces
}

func (h *history) his(t *testing.T, ctx context.Context, address string, hours ...int) {
	t.Helper()
	h.moved = append(h.moved, h.reset(t, ctx, address, hours...)...)
}

func (h *history) others(t *testing.T, ctx context.Context, address string, hours ...int) {
	t.Helper()
	h.kept = append(h.kept, h.reset(t, ctx, address, hours...)...)
}

// anonymize checks that it takes along the resets and the trail of the one, and nothing of anybody else.
func (h *history) anonymize(t *testing.T, ctx context.Context, u *ent.User) {
	t.Helper()
	before := allCells(t, ctx, h.Store)
	check(t, h.AnonymizeUser(ctx, u.ID))
	for _, reset := range must(h.UsedPasswordResetToken.Query().All(ctx))(t) {
		if moved := slices.Contains(h.moved, reset.Nonce); moved != strings.HasSuffix(reset.Email, "@anonymous.invalid") {
			t.Errorf("the reset of %q has the address %s", reset.Nonce, reset.Email)
		}
	}
	own := fmt.Sprint(u.ID)
	for place, value := range allCells(t, ctx, h.Store) {
		table, column, _ := strings.Cut(place, ", ")
		others := strings.HasPrefix(table, "users ") && before[table+", id"] != own ||
			strings.HasPrefix(table, "audit_logs ") && before[table+", entity_id"] != own
		if old, was := before[place]; was && others && old != value {
			t.Errorf("%s of %s was %q, is %q", column, table, old, value)
		}
	}
}

func eachHistory(t *testing.T, test func(t *testing.T, ctx context.Context, h *history)) {
	t.Helper()
	eachClock(t, march, func(t *testing.T, ctx context.Context, s *models.Store, c *fakeClock) {
		t.Helper()
		test(t, ctx, &history{Store: s, c: c})
	})
}

// TestAnonymizeUser_AddressesOverTime: two people have one address in turn, and a third has the other one.
func TestAnonymizeUser_AddressesOverTime(t *testing.T) {
	t.Parallel()
	eachHistory(t, func(t *testing.T, ctx context.Context, h *history) {
		const first, second = "first@example.org", "second@example.org"
		h.others(t, ctx, first, 1) // before the account was made
		h.at(2)
		ada := must(newUser(h.Store).SetEmail(first).Save(ctx))(t)
		h.his(t, ctx, first, 3)
		h.others(t, ctx, second, 4)
		h.at(5)
		check(t, h.User.UpdateOne(ada).SetEmail(second).Exec(ctx))
		h.his(t, ctx, second, 6)
		h.at(7)
		bob := must(newUser(h.Store).SetEmail(first).Save(ctx))(t)
		h.others(t, ctx, first, 8)
		h.at(9)
		check(t, h.User.UpdateOne(bob).SetEmail("bob@example.org").Exec(ctx))
		check(t, h.User.UpdateOne(ada).SetEmail(first).Exec(ctx))
		h.his(t, ctx, first, 10)
		h.at(11)
		check(t, newUser(h.Store).SetEmail(second).Exec(ctx))
		h.others(t, ctx, second, 12)
		h.others(t, ctx, "bob@example.org", 13)
		h.his(t, ctx, first, 14)
		h.at(15)
		h.anonymize(t, ctx, ada)
	})
}

// TestAnonymizeUser_AddressTakenSince: a deleted account leaves its address to another one.
func TestAnonymizeUser_AddressTakenSince(t *testing.T) {
	t.Parallel()
	eachHistory(t, func(t *testing.T, ctx context.Context, h *history) {
		const address = "ada@example.org"
		ada := must(newUser(h.Store).SetEmail(address).SetName("Ada").Save(ctx))(t)
		h.his(t, ctx, address, 1)
		h.at(2)
		check(t, h.SoftDeleteUser(ctx, ada.ID))
		h.at(3)
		heir := must(newUser(h.Store).SetEmail(address).SetName("Ada").Save(ctx))(t)
		h.others(t, ctx, address, 4)
		h.at(5)
		h.anonymize(t, ctx, ada)
		if got := must(h.User.Get(ctx, heir.ID))(t); got.Email != address || !got.IsActive {
			t.Errorf("the heir is %v", got)
		}
	})
}

// TestAnonymizeUser_RestoredAccount: another one had the address while the account was deleted.
func TestAnonymizeUser_RestoredAccount(t *testing.T) {
	t.Parallel()
	eachHistory(t, func(t *testing.T, ctx context.Context, h *history) {
		const address = "ada@example.org"
		ada := must(newUser(h.Store).SetEmail(address).Save(ctx))(t)
		h.his(t, ctx, address, 1)
		h.at(2)
		check(t, h.SoftDeleteUser(ctx, ada.ID))
		h.at(3)
		heir := must(newUser(h.Store).SetEmail(address).Save(ctx))(t)
		h.others(t, ctx, address, 4)
		h.at(5)
		check(t, h.User.UpdateOne(heir).SetEmail("heir@example.org").Exec(ctx))
		h.at(6)
		check(t, h.RestoreUser(ctx, ada.ID))
		h.his(t, ctx, address, 7)
		h.at(8)
		h.anonymize(t, ctx, ada)
	})
}

// TestAnonymizeUser_OneNonceForTwoAddresses: a nonce counts once for an address, so it may be there for two.
func TestAnonymizeUser_OneNonceForTwoAddresses(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := must(newUser(s).SetEmail(canaryFormer).Save(ctx))(t)
		check(t, s.ConsumeResetToken(ctx, canaryFormer, "nonce"))
		check(t, s.User.UpdateOne(u).SetEmail(canaryAddress).Exec(ctx))
		check(t, s.ConsumeResetToken(ctx, canaryAddress, "nonce"))
		if err := s.AnonymizeUser(ctx, u.ID); err != nil {
			t.Fatalf("got %v", err)
		}
		wantAnonymous(t, ctx, s, u)
	})
}

// TestAnonymizeUser_ClocksApart: the machine that made the account was ahead of the one that did the reset, as
// clocks may be by some minutes.
func TestAnonymizeUser_ClocksApart(t *testing.T) {
	t.Parallel()
	eachURL(t, func(t *testing.T, url string) {
		here, ahead := newFakeClock(march), newFakeClock(march.Add(time.Minute))
		s, other := open(t, url, models.WithClock(here.Now)), open(t, url, models.WithClock(ahead.Now))
		ctx := models.AsSystem(t.Context(), "test")
		must(s.Migrate(ctx))(t)
		u := must(newUser(other).SetEmail(canaryAddress).Save(ctx))(t)
		here.set(march.Add(time.Second))
		check(t, s.ConsumeResetToken(ctx, canaryAddress, "nonce"))
		here.set(march.Add(time.Hour))
		check(t, s.AnonymizeUser(ctx, u.ID))
		wantAnonymous(t, ctx, s, u)
	})
}
