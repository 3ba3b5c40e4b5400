package models_test

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"entgo.io/ent/dialect"
	"golang.org/x/text/unicode/norm"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/internal/dbtest"
)

// What texts are made of: each in several cases and forms, what patterns give a meaning, and what they do not.
var pieces = []string{
	"a", "A", "ä", "Ä", "a\u0308", "é", "É", "E\u0301", "ß", "ẞ", "ς", "σ", "Σ", "k", "\u212A", "i", "İ", "ı", "ﬀ", "дом", "ДОМ", "日本", "😀",
	"%", "_", "*", "?", "[", "]", "^", "-", ".", "(", ")", "+", "{1}", "|", "$", `\`, `\d`, "'", `"`, " ", "\n", "~", "***:", "(?i)", "[a-z]", "!",
}

func randomText(random *rand.Rand, most int) string {
	var b strings.Builder
	for range random.IntN(most + 1) {
		b.WriteString(pieces[random.IntN(len(pieces))])
	}
	return b.String()
}

// finds is what a filter's text means: in either case, letter by letter, and in either form.
func finds(in, wanted string) bool {
	for _, wanted := range []string{norm.NFC.String(wanted), norm.NFD.String(wanted)} {
		text, n := []rune(in), len([]rune(wanted))
		for i := 0; i+n <= len(text); i++ {
			if strings.EqualFold(string(text[i:i+n]), wanted) {
				return true
			}
		}
	}
	return false
}

// few returns one of few times, whole seconds among them.
func few(random *rand.Rand) time.Time {
	return time.Date(2026, 1, 1, 0, 0, random.IntN(3), random.IntN(3)*500_000_000+random.IntN(2)*1000, time.UTC)
}

// scatterUsers makes accounts that have much in common.
func scatterUsers(t *testing.T, ctx context.Context, s *models.Store, random *rand.Rand, n int) {
	t.Helper()
	creates := make([]*ent.UserCreate, n)
	for i := range creates {
		at := few(random)
		creates[i] = newUser(s).SetCreatedAt(at).SetUpdatedAt(at).SetIsActive(random.IntN(3) > 0).SetIsAdmin(random.IntN(3) == 0)
		if random.IntN(3) > 0 {
			creates[i].SetName(randomText(random, 2))
		}
		if random.IntN(2) > 0 {
			creates[i].SetLastLoginAt(few(random))
		}
		if random.IntN(4) == 0 {
			creates[i].SetIsDeleted(true).SetDeletedAt(at)
		}
		if random.IntN(2) > 0 {
			local := []string{"łukasz", "o'neil", "_a", "zoé"}[random.IntN(4)]
			creates[i].SetEmail(fmt.Sprintf("%s%d@example.org", local, people.Add(1)))
		}
	}
	check(t, s.User.CreateBulk(creates...).Exec(ctx))
}

func randomUserFilter(random *rand.Rand) models.UserFilter {
	var f models.UserFilter
	maybe := func() bool { return random.IntN(5) == 0 }
	flag := func(to **bool) {
		if maybe() {
			*to = new(random.IntN(2) == 0)
		}
	}
	flag(&f.Active)
	flag(&f.Admin)
	flag(&f.Deleted)
	if maybe() {
		f.Text = randomText(random, 1)
	}
	if maybe() {
		f.Name = randomText(random, 2)
	}
	if maybe() {
		f.Email = []string{"SON", "Łuk", "@EXAMPLE", "é", "_", "%", "1"}[random.IntN(7)]
	}
	if maybe() {
		f.CreatedFrom = few(random)
	}
	if before := few(random); maybe() && f.CreatedFrom.Before(before) {
		f.CreatedBefore = before
	}
	return f
}

func passesUser(f models.UserFilter, u *ent.User) bool {
	name := ""
	if u.Name != nil {
		name = *u.Name
	}
	is := func(want *bool, got bool) bool { return want == nil || *want == got }
	return is(f.Active, u.IsActive) && is(f.Admin, u.IsAdmin) && is(f.Deleted, u.IsDeleted) &&
		(f.Text == "" || finds(name, f.Text) || finds(u.Email, f.Text)) &&
		(f.Name == "" || finds(name, f.Name)) && (f.Email == "" || finds(u.Email, f.Email)) &&
		!u.CreatedAt.Before(f.CreatedFrom) && (f.CreatedBefore.IsZero() || u.CreatedAt.Before(f.CreatedBefore))
}

var userOrders = map[models.Sort]func(a, b *ent.User) int{
	models.SortID:        func(_, _ *ent.User) int { return 0 },
	models.SortCreatedAt: func(a, b *ent.User) int { return a.CreatedAt.Compare(b.CreatedAt) },
	models.SortUpdatedAt: func(a, b *ent.User) int { return a.UpdatedAt.Compare(b.UpdatedAt) },
	models.SortEmail:     func(a, b *ent.User) int { return strings.Compare(a.Email, b.Email) },
	models.SortName:      func(a, b *ent.User) int { return strings.Compare(valueOf(a.Name), valueOf(b.Name)) },
	models.SortLastLoginAt: func(a, b *ent.User) int {
		return valueOf(a.LastLoginAt).Compare(valueOf(b.LastLoginAt))
	},
}

func valueOf[T any](p *T) T {
	if p == nil {
		return *new(T)
	}
	return *p
}

// sortedUsers is a list as its definition says, by the client.
func sortedUsers(t *testing.T, ctx context.Context, s *models.Store, f models.UserFilter, r models.PageRequest) []*ent.User {
	t.Helper()
	users := slices.DeleteFunc(must(s.User.Query().All(ctx))(t), func(u *ent.User) bool { return !passesUser(f, u) })
	by := cmp.Or(r.Sort, models.SortCreatedAt)
	descending := r.Order == models.Descending || r.Order == "" && by != models.SortEmail && by != models.SortName
	return inOrder(users, userOrders[by], func(u *ent.User) int { return u.ID }, descending)
}

func inOrder[T any](items []T, order func(a, b T) int, id func(T) int, descending bool) []T {
	slices.SortFunc(items, func(a, b T) int { return cmp.Or(order(a, b), cmp.Compare(id(a), id(b))) })
	if descending {
		slices.Reverse(items)
	}
	return items
}

func randomOrder[T any](random *rand.Rand, orders map[models.Sort]T) models.PageRequest {
	sorts := []models.Sort{""}
	for s := range orders {
		sorts = append(sorts, s)
	}
	slices.Sort(sorts)
	return models.PageRequest{
		Sort:      sorts[random.IntN(len(sorts))],
		Order:     []models.Order{"", models.Ascending, models.Descending}[random.IntN(3)],
		WithTotal: random.IntN(4) == 0,
	}
}

// TestListUsers_Pages: whatever the data, the filter, the order and the limits, the pages are the list, in
// both directions.
func TestListUsers_Pages(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		random := seed(t)
		admin, person := must(newUser(s).SetIsAdmin(true).Save(ctx))(t), must(newUser(s).Save(ctx))(t)
		for _, n := range []int{1, 20, 60} {
			scatterUsers(t, ctx, s, random, n)
			for range 60 {
				as := []context.Context{ctx, models.IncludeDeleted(ctx), models.AsUser(ctx, admin), models.AsUser(models.IncludeDeleted(ctx), admin), models.AsUser(ctx, person)}[random.IntN(5)]
				filter, request := randomUserFilter(random), randomOrder(random, userOrders)
				if filter.Deleted != nil && *filter.Deleted {
					as = models.IncludeDeleted(as)
				}
				want := sortedUsers(t, as, s, filter, request)
				walkPages(t, random, fmt.Sprintf("%+v %+v", filter, request), request, func(r models.PageRequest) (*models.Page[*ent.User], error) {
					p, err := s.ListUsers(as, filter, r)
					if err == nil && (r.WithTotal != (p.Total != nil) || r.WithTotal && *p.Total != len(want)) {
						t.Errorf("%+v: the total is %v, want %d: %t", filter, p.Total, len(want), r.WithTotal)
					}
					return p, err
				}, want)
			}
		}
	})
}

var fileOrders = map[models.Sort]func(a, b *ent.File) int{
	models.SortID:          func(_, _ *ent.File) int { return 0 },
	models.SortCreatedAt:   func(a, b *ent.File) int { return a.CreatedAt.Compare(b.CreatedAt) },
	models.SortUpdatedAt:   func(a, b *ent.File) int { return a.UpdatedAt.Compare(b.UpdatedAt) },
	models.SortFilename:    func(a, b *ent.File) int { return strings.Compare(a.Filename, b.Filename) },
	models.SortContentType: func(a, b *ent.File) int { return strings.Compare(a.ContentType, b.ContentType) },
	models.SortSize:        func(a, b *ent.File) int { return cmp.Compare(a.Size, b.Size) },
}

var (
	contentTypes = []string{"application/pdf", "Application/PDF", "image/png", "IMAGE/jpeg", "image/*", "x-image/png", "image"}
	fileSizes    = []int64{0, 1, 1, 1000, 1 << 62}
)

func randomFileFilter(random *rand.Rand, owners ...*ent.User) models.FileFilter {
	var f models.FileFilter
	maybe := func() bool { return random.IntN(5) == 0 }
	if random.IntN(2) == 0 {
		f.UserID = owners[random.IntN(len(owners))].ID
	}
	if maybe() {
		f.Filename = randomText(random, 2)
	}
	if maybe() {
		f.ContentType = append([]string{"image/*", "IMAGE/*", "*", "image/", "i*"}, contentTypes...)[random.IntN(5+len(contentTypes))]
	}
	if maybe() {
		f.MinSize = fileSizes[random.IntN(len(fileSizes))]
	}
	if most := fileSizes[random.IntN(len(fileSizes))]; maybe() && most >= f.MinSize {
		f.MaxSize = &most
	}
	if maybe() {
		f.CreatedFrom = few(random)
	}
	if before := few(random); maybe() && f.CreatedFrom.Before(before) {
		f.CreatedBefore = before
	}
	return f
}

func passesFile(f models.FileFilter, file *ent.File) bool {
	kind := func() bool {
		if begin, ok := strings.CutSuffix(f.ContentType, "*"); ok {
			return len(file.ContentType) >= len(begin) && strings.EqualFold(file.ContentType[:len(begin)], begin)
		}
		return strings.EqualFold(f.ContentType, file.ContentType)
	}
	return (f.UserID == 0 || f.UserID == file.UserID) && (f.Filename == "" || finds(file.Filename, f.Filename)) &&
		(f.ContentType == "" || kind()) && file.Size >= f.MinSize && (f.MaxSize == nil || file.Size <= *f.MaxSize) &&
		!file.CreatedAt.Before(f.CreatedFrom) && (f.CreatedBefore.IsZero() || file.CreatedAt.Before(f.CreatedBefore))
}

// TestLists_Text looks for each piece of text among all.
func TestLists_Text(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		for _, piece := range pieces {
			check(t, newUser(s).SetName("<"+piece+">").Exec(ctx))
		}
		for _, piece := range pieces {
			for _, f := range []models.UserFilter{{Name: piece}, {Name: "<" + piece + ">"}, {Text: piece + ">"}} {
				want := sortedUsers(t, ctx, s, f, models.PageRequest{})
				got := must(s.ListUsers(ctx, f, models.PageRequest{Limit: 100}))(t)
				if len(want) == 0 || fmt.Sprint(got.Items) != fmt.Sprint(want) {
					t.Errorf("%+v finds\n%v\nwant\n%v", f, got.Items, want)
				}
			}
		}
	})
}

// planned opens a migrated store, and tells the last statement that it sent and the plan of that.
func planned(t *testing.T, url string) (s *models.Store, last func(ctx context.Context) (query, plan string)) {
	t.Helper()
	var (
		sent string
		args []any
	)
	s = open(t, url, models.CheapHashing, models.WithStatements(func(query string, named []driver.NamedValue) {
		sent, args = query, nil
		for _, arg := range named {
			args = append(args, arg.Value)
		}
	}))
	must(s.Migrate(t.Context()))(t)
	return s, func(ctx context.Context) (query, plan string) {
		query = sent
		if s.Dialect() == dialect.SQLite {
			return query, sqlitePlan(t, ctx, s, query, args)
		}
		return query, strings.Join(column[string](t, ctx, s, "EXPLAIN "+query, args...), "\n")
	}
}

// TestListUsers_Plans: the orders that the documentation calls cheap go by an index from the place on, however
// deep that lies.
func TestListUsers_Plans(t *testing.T) {
	t.Parallel()
	eachURL(t, func(t *testing.T, url string) {
		s, lastPlan := planned(t, url)
		ctx := models.AsSystem(t.Context(), "test")
		_, err := s.ImportUsers(ctx, strings.NewReader(manyUsers(5000)), models.ImportOptions{})
		check(t, err)
		must(s.ExecContext(ctx, "ANALYZE"))(t)
		sqlite := s.Dialect() == dialect.SQLite
		for _, c := range []struct {
			request models.PageRequest
			sqlite  string
			plan    string
		}{
			{models.PageRequest{}, `SEARCH users USING INDEX user_created_at_id \(created_at=\? AND id<\?\)(?s:.*)SEARCH users USING INDEX user_created_at_id \(created_at<\?\)`, `Index Cond: \(ROW\(created_at, id\) < ROW`},
			{models.PageRequest{Order: models.Ascending}, `SEARCH users USING INDEX user_created_at_id \(created_at=\? AND id>\?\)(?s:.*)SEARCH users USING INDEX user_created_at_id \(created_at>\?\)`, `Index Cond: \(ROW\(created_at, id\) > ROW`},
			{models.PageRequest{Sort: models.SortID}, `SEARCH users USING INTEGER PRIMARY KEY \(rowid<\?\)`, `Index Scan Backward using users_pkey on users(?s:.*)Index Cond: \(id <`},
			{models.PageRequest{Sort: models.SortEmail}, `SEARCH users USING INDEX user_email \(email>\?\)`, ""},
		} {
			c.request.Limit = 1000
			c.request.After = must(s.ListUsers(ctx, models.UserFilter{}, c.request))(t).Next
			c.request.Limit = 20
			must(s.ListUsers(ctx, models.UserFilter{}, c.request))(t)
			query, plan := lastPlan(ctx)
			want, slow := c.plan, "Sort"
			if sqlite {
				want, slow = c.sqlite, "TEMP B-TREE"
			}
			if !regexp.MustCompile(want).MatchString(plan) || want != "" && strings.Contains(plan, slow) {
				t.Errorf("the plan of %s is not %s\n%s", query, want, plan)
			}
		}
	})
}

func manyUsers(n int) string {
	var b strings.Builder
	b.WriteString("email\n")
	for i := range n {
		fmt.Fprintf(&b, "many%d@example.org\n", i)
	}
	return b.String()
}

// TestListFiles_PlanByID: the files of one user are not looked for among those of all.
func TestListFiles_PlanByID(t *testing.T) {
	t.Parallel()
	eachURL(t, func(t *testing.T, url string) {
		s, lastPlan := planned(t, url)
		ctx := models.AsSystem(t.Context(), "test")
		owner, other := must(newUser(s).Save(ctx))(t), must(newUser(s).Save(ctx))(t)
		check(t, manyFiles(ctx, s, owner.ID, 50))
		check(t, manyFiles(ctx, s, other.ID, 5000))
		must(s.ExecContext(ctx, "ANALYZE"))(t)
		request := models.PageRequest{Sort: models.SortID}
		for range 2 {
			request.After = must(s.ListFiles(ctx, models.FileFilter{UserID: owner.ID}, request))(t).Next
			query, plan := lastPlan(ctx)
			if !strings.Contains(plan, "file_user_id_") || strings.Contains(plan, "files_pkey") {
				t.Errorf("the plan of %s\n%s", query, plan)
			}
		}
	})
}

// TestLists_Interrupted: a search ends with its context, though no row is found that would be the occasion.
func TestLists_Interrupted(t *testing.T) {
	t.Parallel()
	eachURL(t, func(t *testing.T, url string) {
		began := func() {}
		s := open(t, url, models.CheapHashing, models.WithStatements(func(string, []driver.NamedValue) { began() }))
		must(s.Migrate(t.Context()))(t)
		ctx := models.AsSystem(t.Context(), "test")
		check(t, manyFiles(ctx, s, must(newUser(s).Save(ctx))(t).ID, 10))
		for name, list := range map[string]func(context.Context) error{
			"text": func(ctx context.Context) error {
				_, err := s.ListFiles(ctx, models.FileFilter{Filename: "nobody's"}, models.PageRequest{})
				return err
			},
			"size": func(ctx context.Context) error {
				_, err := s.ListFiles(ctx, models.FileFilter{MinSize: 1 << 60}, models.PageRequest{})
				return err
			},
			"flag": func(ctx context.Context) error {
				_, err := s.ListUsers(ctx, models.UserFilter{Active: new(false)}, models.PageRequest{})
				return err
			},
			"time": func(ctx context.Context) error {
				_, err := s.ListUsers(ctx, models.UserFilter{CreatedBefore: time.Unix(0, 0)}, models.PageRequest{})
				return err
			},
			"sort": func(ctx context.Context) error {
				_, err := s.ListUsers(models.AsUser(ctx, &ent.User{ID: 1 << 40}), models.UserFilter{}, models.PageRequest{Sort: models.SortName})
				return err
			},
		} {
			check(t, list(ctx))
			ending, end := context.WithCancel(ctx)
			began = end
			if err := list(ending); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v, want the error of the context", name, err)
			}
			began = func() {}
		}
	})
}

// TestListUsers_Zone: a zone in the URL changes no page.
func TestListUsers_Zone(t *testing.T) {
	t.Parallel()
	address := must(url.Parse(postgresURL(t)))(t)
	for _, zone := range []string{"Asia/Tokyo", "America/New_York"} {
		query := address.Query()
		query.Set("timezone", zone)
		address.RawQuery = query.Encode()
		s := open(t, address.String(), models.CheapHashing)
		ctx := models.AsSystem(t.Context(), "test")
		for range 6 {
			check(t, newUser(s).Exec(ctx))
		}
		check(t, newUser(s).SetLastLoginAt(time.Now()).Exec(ctx))
		for _, order := range []models.Order{models.Ascending, models.Descending} {
			request := models.PageRequest{Sort: models.SortLastLoginAt, Order: order}
			want := sortedUsers(t, ctx, s, models.UserFilter{}, request)
			walkPages(t, seed(t), zone, request, func(r models.PageRequest) (*models.Page[*ent.User], error) {
				r.Limit = 2
				return s.ListUsers(ctx, models.UserFilter{}, r)
			}, want)
		}
	}
}

// TestListUsers_Locale: text is sorted by code points on a server that sorts by the rules of a language, too.
func TestListUsers_Locale(t *testing.T) {
	t.Parallel()
	address := must(url.Parse(dbtest.Postgres(t)))(t)
	admin := must(sql.Open("postgres", address.String()))(t)
	name := strings.TrimPrefix(address.Path, "/") + "_icu"
	if _, err := admin.ExecContext(t.Context(), "CREATE DATABASE "+name+" TEMPLATE template0 ENCODING UTF8 LOCALE_PROVIDER icu ICU_LOCALE 'en' LC_COLLATE 'C' LC_CTYPE 'C'"); err != nil {
		t.Skip("this server has no ICU:", err)
	}
	t.Cleanup(func() {
		_, err := admin.ExecContext(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)")
		check(t, errors.Join(err, admin.Close()))
	})
	address.Path = "/" + name
	s := open(t, address.String(), models.CheapHashing)
	must(s.Migrate(t.Context()))(t)
	ctx := models.AsSystem(t.Context(), "test")
	for _, name := range []string{"b", "A", "a", "B", "_", "é", "e", "f", ""} {
		check(t, newUser(s).SetName(name).Exec(ctx))
	}
	request := models.PageRequest{Sort: models.SortName}
	walkPages(t, seed(t), "by name", request, func(r models.PageRequest) (*models.Page[*ent.User], error) {
		return s.ListUsers(ctx, models.UserFilter{}, r)
	}, sortedUsers(t, ctx, s, models.UserFilter{}, request))
	if p := must(s.ListUsers(ctx, models.UserFilter{Name: "É"}, request))(t); len(p.Items) != 1 {
		t.Errorf("É finds %v", p.Items)
	}
}

// TestListFiles_Orders is TestListUsers_Pages for files.
func TestListFiles_Orders(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		random := seed(t)
		admin, person, other := must(newUser(s).SetIsAdmin(true).Save(ctx))(t), must(newUser(s).Save(ctx))(t), must(newUser(s).Save(ctx))(t)
		for _, n := range []int{1, 20, 60} {
			creates := make([]*ent.FileCreate, n)
			for i := range creates {
				at := few(random)
				creates[i] = newFile(s, []*ent.User{person, other}[random.IntN(2)]).SetCreatedAt(at).SetUpdatedAt(at).SetSize(fileSizes[random.IntN(len(fileSizes))]).
					SetContentType(contentTypes[random.IntN(len(contentTypes))]).SetFilename("b" + randomText(random, 2))
			}
			check(t, s.File.CreateBulk(creates...).Exec(ctx))
			for range 60 {
				as := []context.Context{ctx, models.AsUser(ctx, admin), models.AsUser(ctx, person)}[random.IntN(3)]
				filter, request := randomFileFilter(random, person, other), randomOrder(random, fileOrders)
				want := slices.DeleteFunc(must(s.File.Query().All(as))(t), func(f *ent.File) bool { return !passesFile(filter, f) })
				by := request.Sort
				if v, _ := models.ViewerFrom(as); by == "" {
					if by = models.SortCreatedAt; (v.System || v.Admin) && filter.UserID == 0 {
						by = models.SortID
					}
				}
				descending := request.Order == models.Descending || request.Order == "" && (by == models.SortID || by == models.SortCreatedAt || by == models.SortUpdatedAt)
				inOrder(want, fileOrders[by], func(f *ent.File) int { return f.ID }, descending)
				walkPages(t, random, fmt.Sprintf("%+v %+v", filter, request), request, func(r models.PageRequest) (*models.Page[*ent.File], error) {
					p, err := s.ListFiles(as, filter, r)
					if err == nil && (r.WithTotal != (p.Total != nil) || r.WithTotal && *p.Total != len(want)) {
						t.Errorf("%+v: the total is %v, want %d: %t", filter, p.Total, len(want), r.WithTotal)
					}
					return p, err
				}, want)
			}
		}
	})
}

// TestListUsers_Meanwhile: in each order, what stays is shown once, whatever comes and goes between two pages.
func TestListUsers_Meanwhile(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		random := seed(t)
		for by := range userOrders {
			for _, order := range []models.Order{models.Ascending, models.Descending} {
				for _, back := range []bool{false, true} {
					scatterUsers(t, ctx, s, random, 30)
					stayed := must(s.User.Query().All(ctx))(t)
					seen := map[int]int{}
					request := models.PageRequest{Sort: by, Order: order}
					if back {
						request.Before = endOfUsers(t, ctx, s, request)
						stayed = must(s.User.Query().All(ctx))(t)
					}
					for {
						request.Limit = 3 + random.IntN(20)
						p := must(s.ListUsers(ctx, models.UserFilter{}, request))(t)
						for _, u := range p.Items {
							seen[u.ID]++
						}
						request.After, request.Before = p.Next, ""
						if back {
							request.After, request.Before = "", p.Prev
						}
						if request.After == request.Before {
							break
						}
						scatterUsers(t, ctx, s, random, 2)
						for _, i := range []int{0, random.IntN(len(stayed) - 1)} { // of those on this page, too
							gone := stayed[i]
							if i == 0 && len(p.Items) > 0 {
								gone = p.Items[len(p.Items)-1]
							}
							check(t, ignoreNotFound(s.User.DeleteOneID(gone.ID).Exec(models.HardDelete(ctx))))
							stayed = slices.DeleteFunc(stayed, func(u *ent.User) bool { return u.ID == gone.ID })
						}
					}
					for _, u := range stayed {
						if seen[u.ID] != 1 {
							t.Errorf("by %s %s (back %t): account %d, which stayed, is on %d pages", by, order, back, u.ID, seen[u.ID])
						}
					}
					for id, n := range seen {
						if n > 1 {
							t.Errorf("by %s %s (back %t): account %d is on %d pages", by, order, back, id, n)
						}
					}
				}
			}
		}
	})
}

func ignoreNotFound(err error) error {
	if errors.Is(err, models.ErrNotFound) {
		return nil
	}
	return err
}

// endOfUsers returns a cursor behind the last account of a list.
func endOfUsers(t *testing.T, ctx context.Context, s *models.Store, request models.PageRequest) string {
	t.Helper()
	all := sortedUsers(t, ctx, s, models.UserFilter{}, request)
	request.Limit = len(all) - 1
	next := must(s.ListUsers(ctx, models.UserFilter{}, request))(t).Next
	check(t, s.User.DeleteOne(all[len(all)-1]).Exec(models.HardDelete(ctx)))
	request.After = next
	return must(s.ListUsers(ctx, models.UserFilter{}, request))(t).Prev
}

// TestLists_Refused: what is no request is refused in one line, without its value.
func TestLists_Refused(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		now := time.Now()
		far := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
		refused := func(err error, entity, field string) {
			t.Helper()
			invalid, ok := errors.AsType[*models.ValidationError](err)
			if !ok || invalid.Entity != entity || invalid.Field != field || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v, want a *ValidationError of %s.%s", err, entity, field)
			}
		}
		for field, filters := range map[string][]models.UserFilter{
			"text":           {{Text: "secret\x00"}, {Text: "secret\xff"}, {Text: strings.Repeat("é", 256)}},
			"email":          {{Email: "secret\x00"}},
			"name":           {{Name: "secret\x00"}, {Name: strings.Repeat("x", 256)}},
			"created_from":   {{CreatedFrom: far}, {CreatedFrom: time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)}},
			"deleted":        {{Deleted: new(true)}},
			"created_before": {{CreatedBefore: far}, {CreatedFrom: now, CreatedBefore: now}, {CreatedFrom: now, CreatedBefore: now.Add(-1)}},
		} {
			for _, f := range filters {
				_, err := s.ListUsers(ctx, f, models.PageRequest{})
				refused(err, "UserFilter", field)
			}
		}
		for field, filters := range map[string][]models.FileFilter{
			"user_id":        {{UserID: -1}},
			"filename":       {{Filename: "secret\x00"}},
			"content_type":   {{ContentType: "secret\xff"}},
			"min_size":       {{MinSize: -1}},
			"max_size":       {{MaxSize: new(int64(-1))}, {MinSize: 2, MaxSize: new(int64(1))}},
			"created_before": {{CreatedFrom: now, CreatedBefore: now}},
		} {
			for _, f := range filters {
				_, err := s.ListFiles(ctx, f, models.PageRequest{})
				refused(err, "FileFilter", field)
			}
		}
		must(s.ListUsers(ctx, models.UserFilter{Text: strings.Repeat("é", 255)}, models.PageRequest{}))(t)
		for _, r := range []models.PageRequest{{Sort: "secret"}, {Sort: models.SortFilename}, {Sort: "hashed_password"}, {Sort: "id; --"}} {
			_, err := s.ListUsers(ctx, models.UserFilter{}, r)
			refused(err, "PageRequest", "sort")
		}
		_, err := s.ListFiles(ctx, models.FileFilter{}, models.PageRequest{Sort: models.SortEmail})
		refused(err, "PageRequest", "sort")
		_, err = s.ListFiles(ctx, models.FileFilter{}, models.PageRequest{Order: "secret"})
		refused(err, "PageRequest", "order")
	})
}

// TestLists_ForeignCursors: a cursor is for the list that it came from, and for no other.
func TestLists_ForeignCursors(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		random := seed(t)
		scatterUsers(t, ctx, s, random, 40)
		admin := must(newUser(s).SetIsAdmin(true).Save(ctx))(t)
		check(t, manyFiles(ctx, s, admin.ID, 5))
		type list struct {
			ctx     context.Context
			filter  models.UserFilter
			request models.PageRequest
		}
		now := time.Now()
		lists := []list{{ctx: ctx}, {ctx: models.IncludeDeleted(ctx)}}
		for by := range userOrders {
			for _, order := range []models.Order{models.Ascending, models.Descending} {
				if by != models.SortCreatedAt || order != models.Descending { // which is the first list
					lists = append(lists, list{ctx: ctx, request: models.PageRequest{Sort: by, Order: order}})
				}
			}
		}
		for _, f := range []models.UserFilter{
			{Text: "o"}, {Email: "o"}, {Email: "e"}, {Name: ""}, {Active: new(true)}, {Admin: new(false)}, {Deleted: new(false)},
			{CreatedBefore: now}, {CreatedBefore: now.Add(time.Hour)}, {CreatedFrom: now.AddDate(-3, 0, 0)},
		} {
			if f != (models.UserFilter{}) {
				lists = append(lists, list{ctx: ctx, filter: f})
			}
		}
		cursors := make([]string, len(lists))
		for i, l := range lists {
			l.request.Limit = 1
			if cursors[i] = must(s.ListUsers(l.ctx, l.filter, l.request))(t).Next; cursors[i] == "" {
				t.Fatalf("%+v has one page", l)
			}
		}
		for i, l := range lists {
			for k, cursor := range cursors {
				l.request.After = cursor
				_, err := s.ListUsers(l.ctx, l.filter, l.request)
				if _, refused := errors.AsType[*models.ValidationError](err); refused != (i != k) {
					t.Errorf("%+v with the cursor of %+v: %v", l, lists[k], err)
				}
			}
		}
		_, err := s.ListFiles(ctx, models.FileFilter{}, models.PageRequest{After: cursors[0]})
		if _, ok := errors.AsType[*models.ValidationError](err); !ok {
			t.Errorf("files with the cursor of users: %v", err)
		}
		files := must(s.ListFiles(ctx, models.FileFilter{}, models.PageRequest{Limit: 1}))(t)
		if _, err = s.ListUsers(ctx, models.UserFilter{}, models.PageRequest{After: files.Next, Sort: models.SortID}); err == nil {
			t.Error("users took the cursor of files")
		}
	})
}
