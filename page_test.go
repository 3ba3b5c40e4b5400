package models_test

import (
	"cmp"
	"context"
	"database/sql/driver"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/file"
)

// fileLists are the lists that there are of a user's files, by who asks for them.
func fileLists(ctx context.Context, owner, admin *ent.User) map[string]struct {
	ctx    context.Context
	filter models.FileFilter
} {
	type list = struct {
		ctx    context.Context
		filter models.FileFilter
	}
	return map[string]list{
		"own":             {models.AsUser(ctx, owner), models.FileFilter{}},
		"own, by id":      {models.AsUser(ctx, owner), models.FileFilter{UserID: owner.ID}},
		"one user's":      {models.AsUser(ctx, admin), models.FileFilter{UserID: owner.ID}},
		"all":             {models.AsUser(ctx, admin), models.FileFilter{}},
		"all, for system": {ctx, models.FileFilter{}},
	}
}

// sortedFiles is a list as its definition says, by the client.
func sortedFiles(t *testing.T, ctx context.Context, s *models.Store, filter models.FileFilter) []*ent.File {
	t.Helper()
	v, _ := models.ViewerFrom(ctx)
	all := (v.Admin || v.System) && filter.UserID == 0
	query := s.File.Query()
	if filter.UserID != 0 {
		query.Where(file.UserID(filter.UserID))
	}
	files := must(query.All(ctx))(t)
	slices.SortFunc(files, func(a, b *ent.File) int {
		if all {
			return cmp.Compare(b.ID, a.ID)
		}
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(b.ID, a.ID))
	})
	return files
}

func fileIDs(files []*ent.File) []int {
	ids := make([]int, len(files))
	for i, f := range files {
		ids[i] = f.ID
	}
	return ids
}

// seed is a random source that a failing test names.
func seed(t *testing.T) *rand.Rand {
	t.Helper()
	first := rand.Uint64()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", first)
		}
	})
	return rand.New(rand.NewPCG(first, 0))
}

// scatterFiles makes files with few distinct times, whole seconds among them, in no order.
func scatterFiles(t *testing.T, ctx context.Context, s *models.Store, random *rand.Rand, n int, owners ...*ent.User) {
	t.Helper()
	creates := make([]*ent.FileCreate, n)
	for i := range creates {
		at := time.Date(2026, 1, 1, 0, 0, random.IntN(3), random.IntN(3)*500_000_000+random.IntN(2)*1000, time.UTC)
		creates[i] = newFile(s, owners[random.IntN(len(owners))]).SetCreatedAt(at).SetUpdatedAt(at)
	}
	check(t, s.File.CreateBulk(creates...).Exec(ctx))
}

// TestListFiles_Pages: whatever the data and the limits, the pages are the list, in both directions.
func TestListFiles_Pages(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		random := seed(t)
		owner, other, admin := must(newUser(s).Save(ctx))(t), must(newUser(s).Save(ctx))(t), must(newUser(s).SetIsAdmin(true).Save(ctx))(t)
		for _, n := range []int{1, 1, 2, 40, 60} {
			scatterFiles(t, ctx, s, random, n, owner, other)
			for name, list := range fileLists(ctx, owner, admin) {
				want := sortedFiles(t, list.ctx, s, list.filter)
				walkPages(t, random, name, models.PageRequest{}, func(r models.PageRequest) (*models.Page[*ent.File], error) {
					return s.ListFiles(list.ctx, list.filter, r)
				}, want)
			}
		}
	})
}

// walkPages goes to the end of a list and back, in pages of random length.
func walkPages[T any](t *testing.T, random *rand.Rand, name string, request models.PageRequest, list func(models.PageRequest) (*models.Page[T], error), want []T) {
	t.Helper()
	var forth, back []T
	for {
		request.Limit = 1 + random.IntN(25)
		p := must(list(request))(t)
		if (p.Prev == "") != (len(forth) == 0) {
			t.Fatalf("%s: Prev %q after %d items", name, p.Prev, len(forth))
		}
		forth = append(forth, p.Items...)
		if (p.Next == "") != (len(forth) == len(want)) {
			t.Fatalf("%s: Next %q after %d of %d items", name, p.Next, len(forth), len(want))
		}
		if request.After = p.Next; p.Next == "" {
			back, request.Before = p.Items, p.Prev
			break
		}
	}
	for request.Before != "" {
		request.Limit, request.After = 1+random.IntN(25), ""
		p := must(list(request))(t)
		if p.Next == "" || len(p.Items) == 0 {
			t.Fatalf("%s: Next %q before %d items: %d", name, p.Next, len(back), len(p.Items))
		}
		back, request.Before = slices.Concat(p.Items, back), p.Prev
	}
	for _, got := range [][]T{forth, back} {
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%s: the pages are\n%v\nthe list is\n%v", name, got, want)
		}
	}
}

// TestListFiles_Meanwhile: what stays is shown once, whatever comes and goes between two pages.
func TestListFiles_Meanwhile(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		random := seed(t)
		owner, other, admin := must(newUser(s).Save(ctx))(t), must(newUser(s).Save(ctx))(t), must(newUser(s).SetIsAdmin(true).Save(ctx))(t)
		scatterFiles(t, ctx, s, random, 60, owner, other)
		for name, list := range fileLists(ctx, owner, admin) {
			scatterFiles(t, ctx, s, random, 40, owner, other)
			stayed := sortedFiles(t, list.ctx, s, list.filter)
			disturb := func() {
				scatterFiles(t, ctx, s, random, 1+random.IntN(3), owner, other)
				for range min(2, len(stayed)) {
					i := random.IntN(len(stayed))
					check(t, s.File.DeleteOne(stayed[i]).Exec(ctx))
					stayed = slices.Delete(stayed, i, i+1)
				}
			}
			for _, back := range []bool{false, true} {
				seen := map[int]int{}
				request := models.PageRequest{}
				if back {
					request.Before = endOfFiles(t, list.ctx, s, list.filter)
					stayed = sortedFiles(t, list.ctx, s, list.filter)
				}
				for {
					request.Limit = 1 + random.IntN(9)
					p := must(s.ListFiles(list.ctx, list.filter, request))(t)
					for _, f := range p.Items {
						seen[f.ID]++
					}
					request.After, request.Before = p.Next, ""
					if back {
						request.After, request.Before = "", p.Prev
					}
					if request.After == request.Before {
						break
					}
					disturb()
				}
				for _, f := range stayed {
					if seen[f.ID] == 0 {
						t.Errorf("%s (back %t): file %d, which stayed, is on no page", name, back, f.ID)
					}
				}
				for id, n := range seen {
					if n > 1 {
						t.Errorf("%s (back %t): file %d is on %d pages", name, back, id, n)
					}
				}
			}
		}
	})
}

// endOfFiles returns a cursor behind the last file of a list: the Prev of the page that is empty once what
// it showed was deleted.
func endOfFiles(t *testing.T, ctx context.Context, s *models.Store, filter models.FileFilter) string {
	t.Helper()
	all := sortedFiles(t, ctx, s, filter)
	p := must(s.ListFiles(ctx, filter, models.PageRequest{Limit: len(all) - 1}))(t)
	check(t, s.File.DeleteOne(all[len(all)-1]).Exec(models.AsSystem(ctx, "test")))
	return must(s.ListFiles(ctx, filter, models.PageRequest{After: p.Next}))(t).Prev
}

// TestListFiles_EmptyPage: a page whose files are gone shows the way back, and nothing is missed on it.
func TestListFiles_EmptyPage(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		owner, admin := must(newUser(s).Save(ctx))(t), must(newUser(s).SetIsAdmin(true).Save(ctx))(t)
		for name, list := range fileLists(ctx, owner, admin) {
			check(t, manyFiles(ctx, s, owner.ID, 4))
			files := sortedFiles(t, list.ctx, s, list.filter)
			get := func(r models.PageRequest) *models.Page[*ent.File] {
				r.Limit = 2
				return must(s.ListFiles(list.ctx, list.filter, r))(t)
			}
			first := get(models.PageRequest{})
			second := get(models.PageRequest{After: first.Next})
			check(t, s.File.DeleteOne(files[2]).Exec(ctx))
			check(t, s.File.DeleteOne(files[3]).Exec(ctx))
			gone := get(models.PageRequest{After: first.Next})
			if len(gone.Items) != 0 || gone.Items == nil || gone.Next != "" {
				t.Fatalf("%s: after the end: %+v", name, gone)
			}
			if again := get(models.PageRequest{Before: gone.Prev}); fmt.Sprint(again.Items) != fmt.Sprint(first.Items) || again.Prev != "" {
				t.Errorf("%s: back from the end: %+v, want %+v", name, again, first)
			}
			check(t, manyFiles(ctx, s, owner.ID, 2))
			check(t, s.File.DeleteOne(files[0]).Exec(ctx))
			check(t, s.File.DeleteOne(files[1]).Exec(ctx))
			newer := sortedFiles(t, list.ctx, s, list.filter)
			if p := get(models.PageRequest{Before: second.Prev}); fmt.Sprint(p.Items) != fmt.Sprint(newer) || p.Prev != "" || p.Next == "" {
				t.Errorf("%s: before what is gone: %+v, want %v", name, p, fileIDs(newer))
			}
			for _, f := range newer {
				check(t, s.File.DeleteOne(f).Exec(ctx))
			}
			begin := get(models.PageRequest{Before: second.Prev})
			if len(begin.Items) != 0 || begin.Prev != "" || begin.Next == "" {
				t.Fatalf("%s: before the beginning: %+v", name, begin)
			}
			check(t, manyFiles(ctx, s, owner.ID, 4))
			files = sortedFiles(t, list.ctx, s, list.filter)
			second = get(models.PageRequest{After: get(models.PageRequest{}).Next})
			check(t, s.File.DeleteOne(files[0]).Exec(ctx))
			check(t, s.File.DeleteOne(files[1]).Exec(ctx))
			begin = get(models.PageRequest{Before: second.Prev})
			if p := get(models.PageRequest{After: begin.Next}); len(begin.Items) != 0 || fmt.Sprint(p.Items) != fmt.Sprint(second.Items) {
				t.Errorf("%s: on from before the beginning: %+v, want %+v", name, p, second)
			}
			for _, f := range files[2:] {
				check(t, s.File.DeleteOne(f).Exec(ctx))
			}
		}
	})
}

// TestListFiles_Total counts what the list has, whatever the page.
func TestListFiles_Total(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		owner, other, admin := must(newUser(s).Save(ctx))(t), must(newUser(s).Save(ctx))(t), must(newUser(s).SetIsAdmin(true).Save(ctx))(t)
		check(t, manyFiles(ctx, s, owner.ID, 25))
		check(t, manyFiles(ctx, s, other.ID, 3))
		for name, list := range fileLists(ctx, owner, admin) {
			want := len(sortedFiles(t, list.ctx, s, list.filter))
			p := must(s.ListFiles(list.ctx, list.filter, models.PageRequest{WithTotal: true}))(t)
			if p.Total == nil || *p.Total != want || len(p.Items) != models.DefaultPageLimit {
				t.Errorf("%s: %d files, total %v, want %d", name, len(p.Items), p.Total, want)
			}
			p = must(s.ListFiles(list.ctx, list.filter, models.PageRequest{After: p.Next, WithTotal: true}))(t)
			if p.Total == nil || *p.Total != want {
				t.Errorf("%s: total %v on the second page, want %d", name, p.Total, want)
			}
			if p := must(s.ListFiles(list.ctx, list.filter, models.PageRequest{}))(t); p.Total != nil {
				t.Errorf("%s: a total that nobody asked for", name)
			}
		}
		hidden := must(s.ListFiles(models.AsUser(ctx, owner), models.FileFilter{UserID: other.ID}, models.PageRequest{WithTotal: true}))(t)
		if len(hidden.Items) != 0 || *hidden.Total != 0 || hidden.Next != "" {
			t.Errorf("somebody else's files: %+v", hidden)
		}
	})
}

// TestListFiles_Refused: what is no request is refused in one line.
func TestListFiles_Refused(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		owner, other := must(newUser(s).Save(ctx))(t), must(newUser(s).Save(ctx))(t)
		own := models.AsUser(ctx, owner)
		check(t, manyFiles(ctx, s, owner.ID, 5))
		check(t, manyFiles(ctx, s, other.ID, 5))
		cursor := must(s.ListFiles(own, models.FileFilter{}, models.PageRequest{Limit: 2}))(t).Next
		refused := func(ctx context.Context, filter models.FileFilter, request models.PageRequest, field string) {
			t.Helper()
			_, err := s.ListFiles(ctx, filter, request)
			invalid, ok := errors.AsType[*models.ValidationError](err)
			if !ok || invalid.Field != field || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), cursor) {
				t.Errorf("%+v %+v: %v, want a *ValidationError of %s", filter, request, err, field)
			}
		}
		must(s.ListFiles(own, models.FileFilter{}, models.PageRequest{After: cursor, Limit: models.MaxPageLimit}))(t)
		must(s.ListFiles(own, models.FileFilter{UserID: owner.ID}, models.PageRequest{Before: cursor, Limit: 1}))(t)
		refused(own, models.FileFilter{}, models.PageRequest{Limit: -1}, "limit")
		refused(own, models.FileFilter{}, models.PageRequest{Limit: models.MaxPageLimit + 1}, "limit")
		refused(own, models.FileFilter{}, models.PageRequest{After: cursor, Before: cursor}, "before")
		refused(own, models.FileFilter{UserID: -1}, models.PageRequest{}, "user_id")
		for _, foreign := range []struct {
			ctx    context.Context
			filter models.FileFilter
		}{
			{ctx, models.FileFilter{}},
			{ctx, models.FileFilter{UserID: other.ID}},
			{models.AsUser(ctx, other), models.FileFilter{}},
			{own, models.FileFilter{UserID: other.ID}},
		} {
			refused(foreign.ctx, foreign.filter, models.PageRequest{After: cursor}, "after")
			refused(foreign.ctx, foreign.filter, models.PageRequest{Before: cursor}, "before")
		}
		for i := range cursor {
			for _, c := range "AZaz09-_=+/ \n\r\x00é" {
				if rune(cursor[i]) != c {
					refused(own, models.FileFilter{}, models.PageRequest{After: cursor[:i] + string(c) + cursor[i+1:]}, "after")
				}
				refused(own, models.FileFilter{}, models.PageRequest{After: cursor[:i] + string(c) + cursor[i:]}, "after")
			}
			refused(own, models.FileFilter{}, models.PageRequest{After: cursor[:i] + cursor[i+1:]}, "after")
			refused(own, models.FileFilter{}, models.PageRequest{After: cursor[i+1:] + " "}, "after")
		}
		refused(own, models.FileFilter{}, models.PageRequest{After: strings.Repeat("A", 1<<20)}, "after")
		raw := must(base64.RawURLEncoding.DecodeString(cursor))(t)
		for i := range len(raw) * 8 {
			raw[i/8] ^= 1 << (i % 8)
			refused(own, models.FileFilter{}, models.PageRequest{After: base64.RawURLEncoding.EncodeToString(raw)}, "after")
			raw[i/8] ^= 1 << (i % 8)
		}
	})
}

// TestListFiles_Statements: a page is one statement, and reads no more of the index than it shows, on the
// first page and on a deep one, in both directions, by whatever plan.
func TestListFiles_Statements(t *testing.T) {
	t.Parallel()
	eachURL(t, func(t *testing.T, url string) {
		var sent []string
		s := open(t, url, models.CheapHashing, models.WithStatements(func(query string, _ []driver.NamedValue) { sent = append(sent, query) }))
		must(s.Migrate(t.Context()))(t)
		ctx := models.AsSystem(t.Context(), "test")
		owner, other, admin := must(newUser(s).Save(ctx))(t), must(newUser(s).Save(ctx))(t), must(newUser(s).SetIsAdmin(true).Save(ctx))(t)
		check(t, manyFiles(ctx, s, owner.ID, 3000))
		check(t, manyFiles(ctx, s, other.ID, 3000))
		must(s.ExecContext(ctx, "ANALYZE"))(t)
		texts := map[string]bool{}
		for name, list := range fileLists(ctx, owner, admin) {
			deep := must(s.ListFiles(list.ctx, list.filter, models.PageRequest{Limit: models.MaxPageLimit}))(t)
			for _, request := range []models.PageRequest{{}, {After: deep.Next}, {Before: deep.Next}, {WithTotal: true}} {
				sent = nil
				must(s.ListFiles(list.ctx, list.filter, request))(t)
				want := 1
				if request.WithTotal {
					want = 2
				}
				if len(sent) != want {
					t.Errorf("%s: %d statements: %q", name, len(sent), sent)
				}
				texts[sent[0]] = true
			}
		}
		if len(texts) != 9 {
			t.Errorf("%d texts for nine kinds of pages", len(texts))
		}
		for query := range texts {
			for _, plan := range plans(t, ctx, s, query) {
				for _, slow := range []string{"Seq Scan on files", "Sort", "TEMP B-TREE", "Bitmap", "Filter: (ROW", "Filter: (created_at", "Filter: (id"} {
					if strings.Contains(plan, slow) {
						t.Errorf("%s in the plan of %s\n%s", slow, query, plan)
					}
				}
				if how := search(s, query); !how.MatchString(plan) {
					t.Errorf("the plan of %s is not %s\n%s", query, how, plan)
				}
			}
		}
	})
}

// search is how the rows of a page are found.
func search(s *models.Store, query string) *regexp.Regexp {
	byUser, from := strings.Contains(query, "user_id = $1"), strings.Contains(query, "id <") || strings.Contains(query, "id >") || strings.Contains(query, "id) ")
	var how string
	switch sqlite := s.Dialect() == dialect.SQLite; {
	case sqlite && byUser && from:
		how = `(?s)MERGE \(UNION ALL\).*SEARCH files USING INDEX file_user_id_created_at_id \(user_id=\? AND created_at=\? AND id[<>]\?\).*` +
			`SEARCH files USING INDEX file_user_id_created_at_id \(user_id=\? AND created_at[<>]\?\)`
	case sqlite && byUser:
		how = `SEARCH files USING INDEX file_user_id_created_at_id \(user_id=\?\)`
	case sqlite && from:
		how = `^SEARCH files USING INTEGER PRIMARY KEY \(rowid[<>]\?\)$`
	case sqlite:
		how = `^SCAN files$` // from its end
	case byUser && from:
		how = `Index Scan( Backward)? using file_user_id_created_at_id on files .*\n *Index Cond: \(\(user_id = .*\) AND \(ROW\(created_at, id\) [<>] ROW`
	case byUser:
		how = `Index Scan Backward using file_user_id_created_at_id on files .*\n *Index Cond: \(user_id = `
	case from:
		how = `Index Scan( Backward)? using files_pkey on files .*\n *Index Cond: \(id [<>]`
	default:
		how = `Index Scan Backward using files_pkey on files`
	}
	return regexp.MustCompile(how)
}

// plans are those of a statement, on PostgreSQL the one for its arguments and the one for any.
func plans(t *testing.T, ctx context.Context, s *models.Store, query string) (plans []string) {
	t.Helper()
	args, types, literals := []any{1, time.Now(), 5000, 21}, "bigint, timestamptz, bigint, bigint", "1, now(), 5000, 21"
	switch {
	case strings.Contains(query, "$4"):
	case strings.Contains(query, "$2"):
		args, types, literals = []any{1, 21}, "bigint, bigint", "1, 21"
	default:
		args, types, literals = []any{21}, "bigint", "21"
	}
	if s.Dialect() == dialect.SQLite {
		return []string{sqlitePlan(t, ctx, s, query, args)}
	}
	check(t, s.InTx(ctx, func(ctx context.Context) error {
		must(s.ExecContext(ctx, "PREPARE p ("+types+") AS "+query))(t)
		for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
			must(s.ExecContext(ctx, "SET LOCAL plan_cache_mode = "+mode))(t)
			plans = append(plans, strings.Join(column[string](t, ctx, s, "EXPLAIN EXECUTE p ("+literals+")"), "\n"))
		}
		must(s.ExecContext(ctx, "DEALLOCATE p"))(t)
		return nil
	}))
	return plans
}

func sqlitePlan(t *testing.T, ctx context.Context, s *models.Store, query string, args []any) string {
	t.Helper()
	rows := must(s.QueryContext(ctx, "EXPLAIN QUERY PLAN "+query, args...))(t)
	defer rows.Close()
	var plan []string
	for rows.Next() {
		var (
			id, parent, unused int
			step               string
		)
		check(t, rows.Scan(&id, &parent, &unused, &step))
		plan = append(plan, step)
	}
	check(t, rows.Err())
	return strings.Join(plan, "\n")
}

// TestListFiles_MadeUpCursor gives cursors that somebody composed who knows how, of times that no row can have.
func TestListFiles_MadeUpCursor(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := must(newUser(s).Save(ctx))(t)
		for _, at := range []int64{math.MinInt64, math.MaxInt64} {
			raw := binary.BigEndian.AppendUint64([]byte{1}, uint64(at))
			raw = binary.BigEndian.AppendUint64(raw, 1)
			sum := fnv.New64a()
			sum.Write(raw)
			sum.Write([]byte("files user_id=" + strconv.Itoa(u.ID) + " by created_at desc"))
			cursor := base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(raw, sum.Sum64()))
			_, err := s.ListFiles(models.AsUser(t.Context(), u), models.FileFilter{}, models.PageRequest{After: cursor})
			if invalid, ok := errors.AsType[*models.ValidationError](err); !ok {
				t.Errorf("the time %d answers %v, want *ValidationError: %v", at, err, invalid)
			}
		}
	})
}
