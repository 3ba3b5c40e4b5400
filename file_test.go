package models_test

import (
	"context"
	stdsql "database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"entgo.io/ent/dialect"
	"github.com/google/uuid"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/file"
)

// fileViewers are all kinds of people that can ask about the files of owner.
func fileViewers(t *testing.T, ctx context.Context, s *models.Store, owner *ent.User) map[string]models.Viewer {
	t.Helper()
	user := func(set func(*ent.UserCreate)) int {
		create := newUser(s)
		set(create)
		u := must(create.Save(ctx))(t)
		check(t, manyFiles(ctx, s, u.ID, 2))
		return u.ID
	}
	gone := user(func(*ent.UserCreate) {})
	check(t, s.User.DeleteOneID(gone).Exec(models.HardDelete(ctx)))
	deleted := func(c *ent.UserCreate) { c.SetIsDeleted(true) }
	disabled := func(c *ent.UserCreate) { c.SetIsActive(false) }
	admin := func(c *ent.UserCreate) { c.SetIsAdmin(true) }
	return map[string]models.Viewer{
		"anonymous":         {},
		"own":               {UserID: owner.ID},
		"own, disabled":     {UserID: user(disabled)},
		"own, deleted":      {UserID: user(deleted)},
		"other":             {UserID: user(func(*ent.UserCreate) {})},
		"other, disabled":   {UserID: user(disabled)},
		"other, deleted":    {UserID: user(deleted)},
		"gone":              {UserID: gone},
		"never there":       {UserID: 1 << 40},
		"not an id":         {UserID: -1},
		"admin":             {UserID: user(admin), Admin: true},
		"admin on call":     {UserID: user(admin)},
		"admin, disabled":   {UserID: user(func(c *ent.UserCreate) { admin(c); disabled(c) }), Admin: true},
		"admin, deleted":    {UserID: user(func(c *ent.UserCreate) { admin(c); deleted(c) }), Admin: true},
		"admin no more":     {UserID: user(func(*ent.UserCreate) {}), Admin: true},
		"admin, gone":       {UserID: gone, Admin: true},
		"admin by label":    {Admin: true, Label: "console"},
		"admin of no name":  {Admin: true},
		"system":            {System: true, Label: "test"},
		"system for a user": {System: true, UserID: gone},
	}
}

// TestFiles_AsClient: each method answers and does what the client does for the same viewer.
func TestFiles_AsClient(t *testing.T) {
	t.Parallel()
	eachClock(t, time.Date(2026, 11, 23, 12, 0, 0, 5000, time.UTC), func(t *testing.T, ctx context.Context, s *models.Store, _ *fakeClock) {
		owner := must(newUser(s).Save(ctx))(t)
		check(t, manyFiles(ctx, s, owner.ID, 3))
		viewers := fileViewers(t, ctx, s, owner)
		deleted := must(newUser(s).SetIsDeleted(true).Save(ctx))(t)
		check(t, manyFiles(ctx, s, deleted.ID, 2))
		for name, v := range viewers {
			owners := map[string]int{"owner": owner.ID, "deleted owner": deleted.ID, "no owner": 1<<40 + 1}
			if v.UserID > 0 {
				owners["own"] = v.UserID
			}
			for whose, id := range owners {
				for _, c := range fileCalls(s, id) {
					t.Run(name+"/"+whose+"/"+c.name, func(t *testing.T) {
						as := func(ctx context.Context) context.Context { return models.WithViewer(ctx, v) }
						sameAsClient(t, s, as, c)
					})
				}
			}
		}
		for _, c := range fileCalls(s, owner.ID) {
			t.Run("nobody/"+c.name, func(t *testing.T) {
				sameAsClient(t, s, func(ctx context.Context) context.Context { return nobody{ctx} }, c)
			})
		}
	})
}

type fileCall struct {
	name           string
	method, client func(ctx context.Context) (any, error)
}

func fileCalls(s *models.Store, owner int) []fileCall {
	names := []string{"статья 0.pdf", "статья 1.pdf", "nothing.pdf"}
	calls := []fileCall{{
		"delete",
		func(ctx context.Context) (any, error) {
			deleted, missing, err := s.DeleteFiles(ctx, owner, names)
			if err == nil && len(deleted)+len(missing) != len(names) {
				err = fmt.Errorf("%q and %q are not %q", deleted, missing, names)
			}
			return len(deleted), err
		},
		func(ctx context.Context) (any, error) {
			return s.File.Delete().Where(file.UserID(owner), file.FilenameIn(names...)).Exec(ctx)
		},
	}}
	for _, n := range []int{1, 3} {
		calls = append(calls, fileCall{
			fmt.Sprintf("create %d", n),
			func(ctx context.Context) (any, error) {
				files, err := s.CreateFiles(ctx, owner, newFiles(n))
				return withoutIDs(files), err
			},
			func(ctx context.Context) (any, error) {
				files, err := s.File.MapCreateBulk(newFiles(n), func(c *ent.FileCreate, i int) {
					f := newFiles(n)[i]
					c.SetFilename(f.Filename).SetContentType(f.ContentType).SetSize(f.Size).SetUserID(owner)
				}).Save(ctx)
				return withoutIDs(files), err
			},
		})
	}
	for _, user := range []int{0, owner} {
		query := func() *ent.FileQuery {
			query := s.File.Query().Order(ent.Desc(file.FieldCreatedAt, file.FieldID)) // All have the same time.
			if user != 0 {
				query.Where(file.UserID(user))
			}
			return query
		}
		calls = append(calls, fileCall{
			fmt.Sprintf("list, one user's %t", user != 0),
			func(ctx context.Context) (any, error) {
				p, err := s.ListFiles(ctx, models.FileFilter{UserID: user}, models.PageRequest{Limit: 2, WithTotal: true})
				if err != nil {
					return "", err
				}
				return fmt.Sprint(p.Items, *p.Total), nil
			},
			func(ctx context.Context) (any, error) {
				files, err := query().Limit(2).All(ctx)
				if err != nil {
					return "", err
				}
				n, err := query().Count(ctx)
				return fmt.Sprint(files, n), err
			},
		})
	}
	return calls
}

// withoutIDs is what two creations have in common.
func withoutIDs(files []*ent.File) string {
	var text strings.Builder
	for _, f := range files {
		fmt.Fprintln(&text, f.CreatedAt, f.UpdatedAt, f.Filename, f.ContentType, f.Size, f.UserID)
	}
	return text.String()
}

// sameAsClient makes both calls in transactions that are undone, and compares what they answer and leave.
func sameAsClient(t *testing.T, s *models.Store, as func(context.Context) context.Context, c fileCall) {
	t.Helper()
	var answers, left [2]string
	var errs [2]error
	for i, call := range []func(context.Context) (any, error){c.method, c.client} {
		undone := errors.New("undone")
		var answer any
		err := s.InTx(models.AsSystem(t.Context(), "test"), func(ctx context.Context) error {
			answer, errs[i] = call(as(ctx))
			answers[i] = fmt.Sprint(answer)
			if errs[i] != nil {
				answers[i] = ""
			}
			if !errors.Is(errs[i], models.ErrForeignKey) {
				files := must(s.File.Query().Order(file.ByID()).All(ctx))(t)
				trail := column[string](t, ctx, s, "SELECT actor || action || entity || entity_id || changes FROM audit_logs ORDER BY id")
				left[i] = withoutIDs(files) + strings.Join(trail, "\n")
			}
			return undone
		})
		if !errors.Is(err, undone) {
			t.Fatal(err)
		}
	}
	if answers[0] != answers[1] || left[0] != left[1] {
		t.Errorf("the method answers\n%s\nand leaves\n%s\nthe client\n%s\nand\n%s", answers[0], left[0], answers[1], left[1])
	}
	for _, kind := range []error{models.ErrNoViewer, models.ErrForbidden, models.ErrNotFound, models.ErrForeignKey} {
		if errors.Is(errs[0], kind) != errors.Is(errs[1], kind) {
			t.Errorf("the method answers %v, the client %v", errs[0], errs[1])
		}
	}
	if ent.IsConstraintError(errs[0]) != ent.IsConstraintError(errs[1]) || !strings.HasSuffix(fmt.Sprint(errs[1]), fmt.Sprint(errs[0])) {
		t.Errorf("the method answers %v, the client %v", errs[0], errs[1])
	}
}

// TestCreateFiles: the nodes are the rows, in the order given, and can be used as the client's.
func TestCreateFiles(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := must(newUser(s).Save(ctx))(t)
		odd := []models.NewFile{
			{"\"quoted\"", "a'b", math.MaxInt64},
			{`back\slash\"`, `{"a":[1]}`, 0},
			{"{a,b,NULL}", "NULL", 1},
			{"null", "null", math.MaxInt32 + 1},
			{"\n\t\r\x01\x1f\x7f <&>\u2028", " ", 1<<53 + 1},
			{strings.Repeat("😀", 255), strings.Repeat("ж", 128), 2},
			{"12345", "1e5", 3},
			{" $1 ? ", "%s", 4},
			{"\ufeffe\u0301", "\ufffd", 5},
		}
		for _, files := range [][]models.NewFile{odd, odd[:1], odd[4:5], odd[6:8], slices.Concat(newFiles(1000), odd), newFiles(100), newFiles(101)} {
			made := must(s.CreateFiles(models.AsUser(ctx, u), u.ID, files))(t)
			if len(made) != len(files) {
				t.Fatalf("%d files of %d", len(made), len(files))
			}
			for i, f := range files {
				if made[i].Filename != f.Filename || made[i].ContentType != f.ContentType || made[i].Size != f.Size || i > 0 && made[i].ID <= made[i-1].ID {
					t.Fatalf("file %d is %v, want %+v", i, made[i], f)
				}
			}
			rows := must(s.File.Query().Where(file.IDGTE(made[0].ID)).Order(file.ByID()).All(ctx))(t)
			if fmt.Sprint(rows) != fmt.Sprint(made) {
				t.Fatalf("the rows are %v, the nodes %v", rows, made)
			}
		}
		made := must(s.CreateFiles(ctx, u.ID, newFiles(2)))(t)
		listed := must(s.ListFiles(ctx, models.FileFilter{UserID: u.ID}, models.PageRequest{Limit: 1}))(t)
		for _, f := range append(made, listed.Items...) {
			if owner := must(f.QueryUser().Only(ctx))(t); owner.ID != u.ID {
				t.Errorf("the owner is %v", owner)
			}
			if renamed := must(f.Update().SetFilename("b").Save(ctx))(t); renamed.ID != f.ID || renamed.Filename != "b" {
				t.Errorf("renamed: %v", renamed)
			}
			_, err := f.Update().SetFilename("").Save(ctx)
			if _, ok := errors.AsType[*models.ValidationError](err); !ok {
				t.Errorf("the node's client is not the store's: %v", err)
			}
		}
		if none, err := s.CreateFiles(ctx, u.ID, nil); none == nil || len(none) != 0 || err != nil {
			t.Errorf("no files: %v, %v", none, err)
		}
	})
}

// TestCreateFiles_AnyOrder: the ids go to the right nodes in whatever order the database answers.
func TestCreateFiles_AnyOrder(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := must(newUser(s).Save(ctx))(t)
		for _, order := range []string{"id", "id DESC", "id % 3, id", "id = 2, id"} {
			made := must(s.CreateFiles(ctx, u.ID, newFiles(7)))(t)
			ids := fileIDs(made)
			for _, f := range made {
				f.ID = 0
			}
			query := fmt.Sprintf("SELECT id, public_id FROM files WHERE id >= %d ORDER BY %s", ids[0], order)
			if n := must(s.IDsFrom(ctx, query, made))(t); n != 7 || !slices.Equal(fileIDs(made), ids) {
				t.Errorf("by %s: %v, want %v", order, fileIDs(made), ids)
			}
		}
	})
}

// TestCreateFiles_Million: a call of a million files is bound by what they take in memory.
func TestCreateFiles_Million(t *testing.T) {
	t.Parallel()
	if os.Getenv("REVIEWPOINT_TEST_LONG") != "1" {
		t.Skip("it takes a minute: REVIEWPOINT_TEST_LONG=1")
	}
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := must(newUser(s).Save(ctx))(t)
		const n = 1_000_000
		files := newFiles(n)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		made := must(s.CreateFiles(ctx, u.ID, files))(t)
		runtime.GC()
		runtime.ReadMemStats(&after)
		t.Logf("%d bytes a file stay, the heap took %d MB", (after.HeapAlloc-before.HeapAlloc)/n, (after.HeapSys-before.HeapSys)>>20)
		if len(made) != n || must(s.File.Query().Count(ctx))(t) != n {
			t.Errorf("%d files", len(made))
		}
	})
}

// TestCreateFiles_Statements: up to 10,000 files are one statement without a transaction of its own, more
// are one transaction.
func TestCreateFiles_Statements(t *testing.T) {
	t.Parallel()
	eachURL(t, func(t *testing.T, url string) {
		var sent []string
		s := open(t, url, models.CheapHashing, models.WithStatements(func(query string, _ []driver.NamedValue) { sent = append(sent, query) }))
		must(s.Migrate(t.Context()))(t)
		ctx := models.AsSystem(t.Context(), "test")
		u := must(newUser(s).Save(ctx))(t)
		texts := map[string]bool{}
		for _, n := range []int{1, 2, 1000, 10_000} {
			sent = nil
			check(t, manyFiles(models.AsUser(ctx, u), s, u.ID, n))
			if len(sent) != 1 {
				t.Errorf("%d files are %d statements", n, len(sent))
			}
			texts[sent[0]] = true
		}
		sent = nil
		check(t, manyFiles(ctx, s, u.ID, 10_001))
		if len(sent) != 4 || sent[0] != "BEGIN" || !texts[sent[1]] || !texts[sent[2]] || sent[3] != "COMMIT" {
			t.Errorf("10,001 files are %d statements: %.60q", len(sent), sent)
		}
		if len(texts) != 2 {
			t.Errorf("%d texts", len(texts))
		}
	})
}

// TestFiles_Refused: what cannot be is refused in one line, as the client does, and nothing is changed.
func TestFiles_Refused(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u, disabled := must(newUser(s).Save(ctx))(t), must(newUser(s).SetIsActive(false).Save(ctx))(t)
		check(t, manyFiles(ctx, s, u.ID, 1))
		for _, bad := range []models.NewFile{
			{"", "a", 0}, {"a", "", 0}, {"a", "a", -1}, {"a", "a", math.MinInt64},
			{"a\x00", "a", 0}, {"a", "\x00", 0}, {"\xff", "a", 0}, {"a", "a\xff", 0},
			{strings.Repeat("ж", 256), "a", 0}, {"a", strings.Repeat("😀", 129), 0},
		} {
			_, err := s.CreateFiles(ctx, u.ID, append(newFiles(2), bad, bad))
			got, ok := errors.AsType[*models.ValidationError](err)
			clientErr := s.File.Create().SetFilename(bad.Filename).SetContentType(bad.ContentType).SetSize(bad.Size).SetUserID(u.ID).Exec(ctx)
			want, _ := errors.AsType[*models.ValidationError](clientErr)
			if !ok || got.Entity != want.Entity || got.Field != want.Field || got.Reason != want.Reason || !strings.HasPrefix(err.Error(), "file 2: ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%.20q, %.20q, %d: %v, want %v", bad.Filename, bad.ContentType, bad.Size, err, want)
			}
			_, err = s.CreateFiles(models.AsUser(ctx, disabled), disabled.ID, []models.NewFile{bad})
			if !errors.Is(err, models.ErrForbidden) {
				t.Errorf("for a disabled account: %v", err)
			}
			if got.Field != file.FieldFilename {
				continue
			}
			_, _, err = s.DeleteFiles(ctx, u.ID, []string{"статья 0.pdf", bad.Filename})
			if got, ok := errors.AsType[*models.ValidationError](err); !ok || got.Reason != want.Reason || !strings.HasPrefix(err.Error(), "filename 1: ") {
				t.Errorf("delete %.20q: %v, want %v", bad.Filename, err, want)
			}
		}
		for _, id := range []int{0, -1, math.MinInt64} {
			_, err := s.CreateFiles(ctx, id, newFiles(1))
			if got, ok := errors.AsType[*models.ValidationError](err); !ok || got.Field != file.FieldUserID {
				t.Errorf("create for user %d: %v", id, err)
			}
			_, _, err = s.DeleteFiles(ctx, id, []string{"a"})
			if got, ok := errors.AsType[*models.ValidationError](err); !ok || got.Field != file.FieldUserID {
				t.Errorf("delete of user %d: %v", id, err)
			}
		}
		for _, refused := range []context.Context{nobody{ctx}, models.AsAnonymous(ctx), models.AsUser(ctx, disabled)} {
			if _, err := s.CreateFiles(refused, disabled.ID, nil); !errors.Is(err, models.ErrForbidden) && !errors.Is(err, models.ErrNoViewer) {
				t.Errorf("no files: %v", err)
			}
			if _, _, err := s.DeleteFiles(refused, disabled.ID, nil); !errors.Is(err, models.ErrForbidden) && !errors.Is(err, models.ErrNoViewer) {
				t.Errorf("no names: %v", err)
			}
		}
		if n := must(s.File.Query().Count(ctx))(t); n != 1 {
			t.Errorf("%d files, want the one of before", n)
		}
	})
}

// TestCreateFiles_AllOrNone: when a row of the second statement is refused, the first is undone.
func TestCreateFiles_AllOrNone(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := must(newUser(s).Save(ctx))(t)
		refuse := "CREATE TRIGGER refuse BEFORE INSERT ON files WHEN NEW.filename = 'bad' BEGIN SELECT RAISE(ABORT, 'bad'); END"
		if s.Dialect() == dialect.Postgres {
			refuse = "ALTER TABLE files ADD CONSTRAINT refuse CHECK (filename <> 'bad')"
		}
		must(s.ExecContext(ctx, refuse))(t)
		for _, n := range []int{2, 10_002} {
			files := newFiles(n)
			files[n-1].Filename = "bad"
			if made, err := s.CreateFiles(ctx, u.ID, files); made != nil || !ent.IsConstraintError(err) && !errors.Is(err, models.ErrCheck) && s.Dialect() == dialect.Postgres || err == nil {
				t.Errorf("%d files: %d made, %v", n, len(made), err)
			}
			if n := must(s.File.Query().Count(ctx))(t); n != 0 {
				t.Fatalf("%d files are left", n)
			}
		}
		check(t, manyFiles(ctx, s, u.ID, 1))
	})
}

// TestFiles_InTx: the methods join the transaction of the context. It goes on after what the rules refuse,
// and not after what the database refuses.
func TestFiles_InTx(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u, disabled := must(newUser(s).Save(ctx))(t), must(newUser(s).SetIsActive(false).Save(ctx))(t)
		undone := errors.New("undone")
		err := s.InTx(ctx, func(ctx context.Context) error {
			for _, n := range []int{1, 3, 10_001} {
				check(t, manyFiles(ctx, s, u.ID, n))
			}
			if p := must(s.ListFiles(ctx, models.FileFilter{}, models.PageRequest{WithTotal: true}))(t); *p.Total != 10_005 {
				t.Errorf("inside: %d files", *p.Total)
			}
			deleted, _, err := s.DeleteFiles(ctx, u.ID, []string{"статья 0.pdf"})
			if len(deleted) != 1 || err != nil {
				t.Errorf("inside: %q deleted, %v", deleted, err)
			}
			return undone
		})
		if n := must(s.File.Query().Count(ctx))(t); n != 0 || !errors.Is(err, undone) {
			t.Errorf("after a rollback: %d files, %v", n, err)
		}
		check(t, s.InTx(ctx, func(ctx context.Context) error {
			for _, n := range []int{1, 2, 10_001} {
				if err := manyFiles(models.AsUser(ctx, disabled), s, disabled.ID, n); !errors.Is(err, models.ErrForbidden) {
					t.Errorf("%d files for a disabled account: %v", n, err)
				}
			}
			_, _, err := s.DeleteFiles(models.AsUser(ctx, disabled), disabled.ID, []string{"a"})
			if !errors.Is(err, models.ErrForbidden) {
				t.Errorf("delete: %v", err)
			}
			return manyFiles(ctx, s, u.ID, 1)
		}))
		if n := must(s.File.Query().Count(ctx))(t); n != 1 {
			t.Errorf("after a commit: %d files", n)
		}
		err = s.InTx(ctx, func(ctx context.Context) error {
			if err := manyFiles(ctx, s, 1<<40, 1); !errors.Is(err, models.ErrForeignKey) || !ent.IsConstraintError(err) {
				t.Errorf("files of nobody: %v", err)
			}
			return manyFiles(ctx, s, u.ID, 1)
		})
		if !errors.Is(err, models.ErrTxFailed) {
			t.Errorf("after a statement failed: %v", err)
		}
	})
}

// TestDeleteFiles: each name is told once, all files that have it go, and each has its row in the trail.
func TestDeleteFiles(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u, other := must(newUser(s).Save(ctx))(t), must(newUser(s).Save(ctx))(t)
		own := models.AsUser(ctx, u)
		odd := `{"a",'b\'} $1`
		for _, owner := range []int{u.ID, other.ID} {
			must(s.CreateFiles(ctx, owner, []models.NewFile{{"b", "x", 1}, {"a", "x", 1}, {"b", "x", 2}, {odd, "x", 1}, {"A", "x", 1}}))(t)
		}
		deleted, missing, err := s.DeleteFiles(own, u.ID, []string{"none", "b", odd, "b", "none", "nothing"})
		if fmt.Sprintf("%q %q", deleted, missing) != fmt.Sprintf("%q %q", []string{"b", odd}, []string{"none", "nothing"}) || err != nil {
			t.Errorf("deleted %q, missing %q, %v", deleted, missing, err)
		}
		if left := column[string](t, ctx, s, "SELECT filename FROM files WHERE user_id = $1 ORDER BY id", u.ID); fmt.Sprint(left) != "[a A]" {
			t.Errorf("left: %q", left)
		}
		if trail := column[string](t, ctx, s, "SELECT actor || ' ' || action FROM audit_logs WHERE entity = 'file'"); fmt.Sprint(trail) != strings.TrimSpace(fmt.Sprintf("[%[1]s %[1]s %[1]s]", fmt.Sprintf("user:%d delete", u.ID))) {
			t.Errorf("trail: %q", trail)
		}
		deleted, missing, err = s.DeleteFiles(own, other.ID, []string{"a", "b"})
		if len(deleted) != 0 || fmt.Sprint(missing) != "[a b]" || err != nil {
			t.Errorf("another one's: deleted %q, missing %q, %v", deleted, missing, err)
		}
		if n := must(s.File.Query().Where(file.UserID(other.ID)).Count(ctx))(t); n != 5 {
			t.Errorf("the other one has %d files", n)
		}
		check(t, manyFiles(ctx, s, u.ID, 1200))
		names := make([]string, 70_000) // more than either database takes arguments
		for i := range names {
			names[i] = fmt.Sprintf("статья %d.pdf", 70_000-i)
		}
		deleted, missing, err = s.DeleteFiles(own, u.ID, names)
		if len(deleted) != 1199 || len(missing) != 70_000-1199 || deleted[0] != "статья 1199.pdf" || err != nil {
			t.Errorf("%d deleted, %d missing, %v", len(deleted), len(missing), err)
		}
	})
}

// TestDeleteFiles_NotAll: when fewer go than were found, none goes, and nobody is told that they went.
func TestDeleteFiles_NotAll(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := must(newUser(s).Save(ctx))(t)
		files := must(s.CreateFiles(ctx, u.ID, []models.NewFile{{"a", "x", 1}, {"b", "x", 1}}))(t)
		s.File.Use(func(next ent.Mutator) ent.Mutator {
			return ent.MutateFunc(func(ctx context.Context, m ent.Mutation) (ent.Value, error) {
				m.(*ent.FileMutation).Where(file.IDNEQ(files[1].ID))
				return next.Mutate(ctx, m)
			})
		})
		if deleted, _, err := s.DeleteFiles(models.AsUser(ctx, u), u.ID, []string{"a", "b"}); len(deleted) != 0 || !errors.Is(err, models.ErrForbidden) {
			t.Errorf("deleted %q, %v, want ErrForbidden", deleted, err)
		}
		if n := must(s.File.Query().Count(ctx))(t); n != 2 {
			t.Errorf("%d files are left, want both", n)
		}
	})
}

// TestFiles_AtOnce: of two that delete a file one has deleted it, and what several make is all there.
func TestFiles_AtOnce(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := must(newUser(s).Save(ctx))(t)
		const callers, each = 8, 30
		var (
			group   sync.WaitGroup
			mu      sync.Mutex
			ids     = map[int]bool{}
			deleted []string
		)
		for range callers {
			group.Go(func() {
				made, err := s.CreateFiles(models.AsUser(ctx, u), u.ID, newFiles(each))
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				for _, f := range made {
					ids[f.ID] = true
				}
			})
		}
		group.Wait()
		if n := must(s.File.Query().Count(ctx))(t); n != callers*each || len(ids) != n {
			t.Errorf("%d files with %d ids", n, len(ids))
		}
		names := make([]string, each)
		for i := range names {
			names[i] = newFiles(each)[i].Filename
		}
		for i := range callers {
			group.Go(func() {
				mine := slices.Clone(names)
				if i%2 == 1 {
					slices.Reverse(mine)
				}
				gone, _, err := s.DeleteFiles(models.AsUser(ctx, u), u.ID, mine)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				deleted = append(deleted, gone...)
			})
		}
		group.Wait()
		slices.Sort(deleted)
		if len(slices.Compact(slices.Clone(deleted))) != each || len(deleted) != each {
			t.Errorf("%d names were deleted %d times", each, len(deleted))
		}
		if trail := column[int](t, ctx, s, "SELECT count(*) FROM audit_logs WHERE entity = 'file'"); trail[0] != callers*each {
			t.Errorf("%d rows in the trail of %d files", trail[0], callers*each)
		}
	})
}

// TestFiles_Busy: while somebody else writes, nothing is changed, and the answer says so.
func TestFiles_Busy(t *testing.T) {
	t.Parallel()
	url := "sqlite://" + t.TempDir() + "/test.db?busy_timeout=20ms"
	s, other := open(t, url, models.CheapHashing), open(t, url, models.CheapHashing)
	ctx := models.AsSystem(t.Context(), "test")
	must(s.Migrate(ctx))(t)
	u := must(newUser(s).Save(ctx))(t)
	check(t, manyFiles(ctx, s, u.ID, 1))
	check(t, other.InTx(ctx, func(inner context.Context) error {
		check(t, manyFiles(inner, other, u.ID, 1))
		for _, n := range []int{1, 2, 10_001} {
			if err := manyFiles(ctx, s, u.ID, n); !errors.Is(err, models.ErrBusy) {
				t.Errorf("create %d: %v", n, err)
			}
		}
		if _, _, err := s.DeleteFiles(ctx, u.ID, []string{"статья 0.pdf"}); !errors.Is(err, models.ErrBusy) {
			t.Errorf("delete: %v", err)
		}
		if p := must(s.ListFiles(ctx, models.FileFilter{}, models.PageRequest{}))(t); len(p.Items) != 1 {
			t.Errorf("a reader sees %d files", len(p.Items))
		}
		return nil
	}))
	if n := must(s.File.Query().Count(ctx))(t); n != 2 {
		t.Errorf("%d files", n)
	}
}

// rawFiles is what somebody would write for files alone, with database/sql and prepared statements.
type rawFiles struct {
	db           *stdsql.DB
	page, insert *stdsql.Stmt
	sqlite       bool
}

type rawFile struct {
	id, userID            int
	createdAt, updatedAt  time.Time
	publicID              uuid.UUID
	filename, contentType string
	size                  int64
}

func newRawFiles(b *testing.B, ctx context.Context, url string) *rawFiles {
	b.Helper()
	r := &rawFiles{sqlite: strings.HasPrefix(url, "sqlite")}
	path := strings.TrimPrefix(url, "sqlite://")
	name, source := "postgres", url
	if r.sqlite {
		name, source = "sqlite3", "file:"+path+"&_foreign_keys=1&_journal_mode=WAL&_txlock=immediate&_busy_timeout=5000"
		source = strings.Replace(source, "?synchronous", "?_synchronous", 1)
	}
	r.db = must(stdsql.Open(name, source))(b)
	b.Cleanup(func() { check(b, r.db.Close()) })
	r.db.SetMaxIdleConns(10)
	r.page = must(r.db.PrepareContext(ctx, "SELECT id, created_at, updated_at, public_id, filename, content_type, size, user_id FROM files WHERE user_id = $1 ORDER BY created_at DESC, id DESC LIMIT 20"))(b)
	insert := "INSERT INTO files (created_at, updated_at, public_id, filename, content_type, size, user_id) VALUES ($1, $1, $2, $3, $4, $5, $6)"
	if !r.sqlite {
		insert += " RETURNING id"
	}
	r.insert = must(r.db.PrepareContext(ctx, insert))(b)
	return r
}

func (r *rawFiles) list(b *testing.B, ctx context.Context, userID int) {
	b.Helper()
	rows := must(r.page.QueryContext(ctx, userID))(b)
	defer rows.Close()
	files := make([]*rawFile, 0, 20)
	for rows.Next() {
		f := new(rawFile)
		check(b, rows.Scan(&f.id, &f.createdAt, &f.updatedAt, &f.publicID, &f.filename, &f.contentType, &f.size, &f.userID))
		files = append(files, f)
	}
	check(b, rows.Err())
	if len(files) != 20 {
		b.Fatalf("a page of %d", len(files))
	}
}

func (r *rawFiles) create(b *testing.B, ctx context.Context, insert *stdsql.Stmt, userID int, n models.NewFile) rawFile {
	b.Helper()
	now := time.Now().UTC()
	f := rawFile{createdAt: now, updatedAt: now, publicID: uuid.New(), filename: n.Filename, contentType: n.ContentType, size: n.Size, userID: userID}
	var at any = now
	if r.sqlite {
		at = now.Truncate(2 * time.Microsecond).Add(time.Microsecond).Format("2006-01-02 15:04:05.000000-07:00") // never a whole second
	}
	if !r.sqlite {
		check(b, insert.QueryRowContext(ctx, at, f.publicID.String(), f.filename, f.contentType, f.size, f.userID).Scan(&f.id))
		return f
	}
	f.id = int(must(must(insert.ExecContext(ctx, at, f.publicID.String(), f.filename, f.contentType, f.size, f.userID))(b).LastInsertId())(b))
	return f
}

func (r *rawFiles) createMany(b *testing.B, ctx context.Context, userID int, files []models.NewFile) {
	b.Helper()
	tx := must(r.db.BeginTx(ctx, nil))(b)
	insert := tx.StmtContext(ctx, r.insert)
	made := make([]rawFile, len(files))
	for i, f := range files {
		made[i] = r.create(b, ctx, insert, userID, f)
	}
	check(b, tx.Commit())
}

// BenchmarkFiles measures the methods for files beside what somebody would write by hand, and beside the
// generated client, each by itself and in turn:
// go test -run '^$' -bench Files -count 6 . The time of "ratio" is that of all in turn, which others that
// use the machine disturb alike; it reports the medians beside raw.
func BenchmarkFiles(b *testing.B) {
	for name, url := range map[string]func() string{
		"sqlite":   func() string { return "sqlite://" + b.TempDir() + "/bench.db?synchronous=normal" },
		"postgres": func() string { return postgresURL(b) },
	} {
		b.Run(name, func(b *testing.B) { benchFiles(b, url()) })
	}
}

func benchFiles(b *testing.B, url string) {
	b.Helper()
	s := must(models.Open(b.Context(), url))(b)
	b.Cleanup(func() { check(b, s.Close()) })
	must(s.Migrate(b.Context()))(b)
	ctx := models.AsSystem(context.Background(), "bench")
	users := make([]*ent.User, 100)
	for i := range users {
		users[i] = must(newUser(s).Save(ctx))(b)
		check(b, manyFiles(ctx, s, users[i].ID, 100))
	}
	raw := newRawFiles(b, ctx, url)
	thousand := newFiles(1000)
	turn := 0
	next := func() (context.Context, int) {
		turn++
		u := users[turn%len(users)]
		return models.AsUser(ctx, u), u.ID
	}
	for _, bench := range []struct {
		name string
		by   map[string]func()
	}{
		{"list", map[string]func(){
			"raw": func() { ctx, id := next(); raw.list(b, ctx, id) },
			"method": func() {
				ctx, id := next()
				if p := must(s.ListFiles(ctx, models.FileFilter{UserID: id}, models.PageRequest{}))(b); len(p.Items) != 20 {
					b.Fatalf("a page of %d", len(p.Items))
				}
			},
			"client": func() {
				ctx, id := next()
				must(s.File.Query().Where(file.UserID(id)).Order(ent.Desc(file.FieldCreatedAt, file.FieldID)).Limit(20).All(ctx))(b)
			},
		}},
		{"create 1", map[string]func(){
			"raw":    func() { ctx, id := next(); raw.create(b, ctx, raw.insert, id, thousand[0]) },
			"method": func() { ctx, id := next(); must(s.CreateFiles(ctx, id, thousand[:1]))(b) },
			"client": func() {
				ctx, id := next()
				must(s.File.Create().SetFilename(thousand[0].Filename).SetContentType(thousand[0].ContentType).SetUserID(id).Save(ctx))(b)
			},
		}},
		{"create 1000", map[string]func(){
			"raw":    func() { ctx, id := next(); raw.createMany(b, ctx, id, thousand) },
			"method": func() { ctx, id := next(); must(s.CreateFiles(ctx, id, thousand))(b) },
			"client": func() {
				ctx, id := next()
				must(s.File.MapCreateBulk(thousand, func(c *ent.FileCreate, i int) {
					c.SetFilename(thousand[i].Filename).SetContentType(thousand[i].ContentType).SetSize(thousand[i].Size).SetUserID(id)
				}).Save(ctx))(b)
			},
		}},
	} {
		b.Run(bench.name+"/ratio", func(b *testing.B) {
			took := map[string][]time.Duration{}
			for b.Loop() {
				for by, do := range bench.by { // in any order
					began := time.Now()
					do()
					took[by] = append(took[by], time.Since(began))
				}
			}
			median := func(by string) float64 { slices.Sort(took[by]); return float64(took[by][len(took[by])/2]) }
			b.ReportMetric(median("method")/median("raw"), "method/raw")
			b.ReportMetric(median("client")/median("raw"), "client/raw")
			b.ReportMetric(median("raw"), "raw-ns")
		})
		for _, by := range []string{"raw", "method", "client"} {
			b.Run(bench.name+"/by="+by, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					bench.by[by]()
				}
			})
		}
	}
}

func newFiles(n int) []models.NewFile {
	files := make([]models.NewFile, n)
	for i := range files {
		files[i] = models.NewFile{Filename: fmt.Sprintf("статья %d.pdf", i), ContentType: "application/pdf", Size: int64(i)}
	}
	return files
}

func manyFiles(ctx context.Context, s *models.Store, userID, n int) error {
	_, err := s.CreateFiles(ctx, userID, newFiles(n))
	return err
}
