package models_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"entgo.io/ent"
	"entgo.io/ent/privacy"

	"github.com/reviewpoint/models"
	genent "github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/file"
	"github.com/reviewpoint/models/ent/user"
)

// reads are what a service does most.
func reads(t testing.TB) []struct {
	name string
	read func(testing.TB)
} {
	t.Helper()
	s := models.OpenTest(t)
	ctx := models.AsSystem(t.Context(), "test")
	users := make([]*genent.UserCreate, 100)
	for i := range users {
		users[i] = newUser(s).SetName("Ada")
	}
	made := must(s.User.CreateBulk(users...).Save(ctx))(t)
	files := make([]*genent.FileCreate, 100)
	for i := range files {
		files[i] = newFile(s, made[0]).SetFilename(fmt.Sprintf("%d.pdf", i))
	}
	check(t, s.File.CreateBulk(files...).Exec(ctx))
	u, own := made[0], models.AsUser(ctx, made[0])
	page := func(t testing.TB, ctx context.Context) {
		t.Helper()
		rows := must(s.User.Query().Order(user.ByCreatedAt(), user.ByID()).Limit(20).All(ctx))(t)
		if len(rows) != 20 {
			t.Fatalf("a page of %d", len(rows))
		}
	}
	filePage := func(t testing.TB, ctx context.Context) {
		t.Helper()
		rows := must(s.File.Query().Where(file.UserID(u.ID)).Order(file.ByCreatedAt(), file.ByID()).Limit(20).All(ctx))(t)
		if len(rows) != 20 {
			t.Fatalf("a page of %d", len(rows))
		}
	}
	return []struct {
		name string
		read func(testing.TB)
	}{
		{"by id", func(t testing.TB) { t.Helper(); must(s.User.Get(ctx, u.ID))(t) }},
		{"by id, as the user", func(t testing.TB) { t.Helper(); must(s.User.Get(own, u.ID))(t) }},
		{"by e-mail", func(t testing.TB) { t.Helper(); must(s.User.Query().Where(user.Email(u.Email)).Only(ctx))(t) }},
		{"page of 20 users", func(t testing.TB) { t.Helper(); page(t, ctx) }},
		{"page of 20 files", func(t testing.TB) { t.Helper(); filePage(t, ctx) }},
		{"page of 20 files, as the user", func(t testing.TB) { t.Helper(); filePage(t, own) }},
	}
}

// withoutRules takes policies and soft delete away from the schema, which leaves stock ent, and returns
// what puts them back.
func withoutRules(t testing.TB) func() {
	t.Helper()
	users, files, hidden := user.Policy, file.Policy, user.Interceptors
	user.Policy, file.Policy = privacy.Policy{}, privacy.Policy{}
	user.Interceptors[0] = ent.InterceptFunc(func(next ent.Querier) ent.Querier { return next })
	return func() { user.Policy, file.Policy, user.Interceptors = users, files, hidden }
}

// TestRules_Cost allows the rules 15 % more allocations than the same query of the generated client
// without them. It is not parallel, since it changes the schema for a while.
//
//nolint:paralleltest // See above.
func TestRules_Cost(t *testing.T) {
	for _, r := range reads(t) {
		const runs = 1000 // others allocate meanwhile
		with := testing.AllocsPerRun(runs, func() { r.read(t) })
		restore := withoutRules(t)
		stock := testing.AllocsPerRun(runs, func() { r.read(t) })
		restore()
		t.Logf("%s: %.0f allocations, %.0f without rules (%+.1f %%)", r.name, with, stock, 100*(with/stock-1))
		if with > 1.15*stock {
			t.Errorf("%s allocates %.0f times, %.1f %% more than without rules", r.name, with, 100*(with/stock-1))
		}
	}
}

// BenchmarkReads measures the same reads with the rules and without. Compare by
//
//	go test -run '^$' -bench Reads -count 10 . | benchstat -col /rules -
func BenchmarkReads(b *testing.B) {
	for _, r := range reads(b) {
		for _, rules := range []string{"on", "off"} {
			b.Run(strings.ReplaceAll(r.name, " ", "_")+"/rules="+rules, func(b *testing.B) {
				if rules == "off" {
					defer withoutRules(b)()
				}
				b.ReportAllocs()
				for b.Loop() {
					r.read(b)
				}
			})
		}
	}
}
