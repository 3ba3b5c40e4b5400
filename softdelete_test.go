package models_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"entgo.io/ent/dialect/sql"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/auditlog"
	"github.com/reviewpoint/models/ent/file"
	"github.com/reviewpoint/models/ent/predicate"
	"github.com/reviewpoint/models/ent/user"
	"github.com/reviewpoint/models/internal/audit"
	"github.com/reviewpoint/models/internal/softdelete"
)

// graveyard is a deleted user with two files and a living one with one, and nobody else.
type graveyard struct {
	dead, live         *ent.User
	deadFile, liveFile *ent.File
}

func newGraveyard(t *testing.T, ctx context.Context, c *ent.Client) graveyard {
	t.Helper()
	s := &models.Store{Client: c}
	g := graveyard{dead: must(newUser(s).SetName("old").Save(ctx))(t), live: must(newUser(s).SetName("old").Save(ctx))(t)}
	g.deadFile, g.liveFile = must(newFile(s, g.dead).Save(ctx))(t), must(newFile(s, g.live).Save(ctx))(t)
	check(t, newFile(s, g.dead).Exec(ctx))
	check(t, c.User.DeleteOne(g.dead).Exec(ctx))
	return g
}

// eachWay runs a test on an empty database by each way to the client: itself, with Debug, and in transactions.
func eachWay(t *testing.T, test func(t *testing.T, ctx context.Context, c *ent.Client)) {
	t.Helper()
	inTx := func(t *testing.T, ctx context.Context, c *ent.Client) {
		t.Helper()
		tx := must(c.Tx(ctx))(t)
		test(t, ctx, tx.Client())
		check(t, tx.Commit())
	}
	for name, run := range map[string]func(t *testing.T, ctx context.Context, s *models.Store){
		"client":      func(t *testing.T, ctx context.Context, s *models.Store) { test(t, ctx, s.Client) },
		"Debug":       func(t *testing.T, ctx context.Context, s *models.Store) { test(t, ctx, s.Debug()) },
		"Tx":          func(t *testing.T, ctx context.Context, s *models.Store) { inTx(t, ctx, s.Client) },
		"Tx of Debug": func(t *testing.T, ctx context.Context, s *models.Store) { inTx(t, ctx, s.Debug()) },
		"InTx": func(t *testing.T, ctx context.Context, s *models.Store) {
			check(t, s.InTx(ctx, func(ctx context.Context) error { test(t, ctx, s.Client); return nil }))
		},
		"RollbackTest": func(t *testing.T, _ context.Context, s *models.Store) { test(t, models.RollbackTest(t, s), s.Client) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachDialect(t, run)
		})
	}
}

// sight is one way to look for users. It counts what it sees.
type sight struct {
	name   string
	hidden int // what it counts
	shown  int // what it counts with IncludeDeleted
	look   func(ctx context.Context, c *ent.Client, g graveyard) (int, error)
}

// groups sums the counts of groups.
func groups(scan func(v any) error) (sum int, err error) {
	var rows []struct {
		IsDeleted bool `json:"is_deleted"`
		UserID    int  `json:"user_id"`
		Count     int  `json:"count"`
	}
	err = scan(&rows)
	for _, row := range rows {
		sum += row.Count
	}
	return sum, err
}

// sightsOfUsers ask for users themselves.
func sightsOfUsers() []sight {
	dead := func(c *ent.Client, g graveyard) *ent.UserQuery { return c.User.Query().Where(user.ID(g.dead.ID)) }
	return []sight{
		{"Get", 0, 1, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return one(c.User.Get(ctx, g.dead.ID))
		}},
		{"All", 1, 2, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			return many(c.User.Query().All(ctx))
		}},
		{"First", 0, 1, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) { return one(dead(c, g).First(ctx)) }},
		{"FirstID", 0, 1, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return one(dead(c, g).FirstID(ctx))
		}},
		{"Only", 0, 1, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) { return one(dead(c, g).Only(ctx)) }},
		{"OnlyID", 0, 1, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) { return one(dead(c, g).OnlyID(ctx)) }},
		{"IDs", 1, 2, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			return many(c.User.Query().IDs(ctx))
		}},
		{"Count", 1, 2, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) { return c.User.Query().Count(ctx) }},
		{"Exist", 0, 1, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return whether(dead(c, g).Exist(ctx))
		}},
		{"Limit", 1, 2, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			return many(c.User.Query().Order(user.ByID()).Limit(2).All(ctx))
		}},
		{"Unique", 1, 2, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			return c.User.Query().Unique(true).Count(ctx)
		}},
		{"Select.Scan", 1, 2, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			var rows []struct{ Email string }
			err := c.User.Query().Select(user.FieldEmail).Scan(ctx, &rows)
			return len(rows), err
		}},
		{"Select.Strings", 1, 2, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			return many(c.User.Query().Select(user.FieldEmail).Strings(ctx))
		}},
		{"Aggregate", 1, 2, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			return c.User.Query().Aggregate(ent.Count()).Int(ctx)
		}},
		{"GroupBy", 1, 2, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			return groups(func(v any) error {
				return c.User.Query().GroupBy(user.FieldIsDeleted).Aggregate(ent.Count()).Scan(ctx, v)
			})
		}},
		{"by address", 0, 1, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return c.User.Query().Where(user.Email(g.dead.Email)).Count(ctx)
		}},
		{"by is_deleted", 0, 1, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			return c.User.Query().Where(user.IsDeleted(true)).Count(ctx)
		}},
		{"Or", 1, 2, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return c.User.Query().Where(user.Or(user.ID(g.live.ID), user.ID(g.dead.ID))).Count(ctx)
		}},
		{"Not", 0, 1, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return c.User.Query().Where(user.Not(user.ID(g.live.ID))).Count(ctx)
		}},
	}
}

// sightsByEdges go from files to users, and back.
func sightsByEdges() []sight {
	return []sight{
		{"file.QueryUser", 0, 1, func(ctx context.Context, _ *ent.Client, g graveyard) (int, error) {
			return g.deadFile.QueryUser().Count(ctx)
		}},
		{"client.QueryUser", 0, 1, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return one(c.File.QueryUser(g.deadFile).Only(ctx))
		}},
		{"user.QueryFiles", 0, 2, func(ctx context.Context, _ *ent.Client, g graveyard) (int, error) {
			return g.dead.QueryFiles().Count(ctx)
		}},
		{"user.QueryFiles.All", 0, 2, func(ctx context.Context, _ *ent.Client, g graveyard) (int, error) {
			return many(g.dead.QueryFiles().All(ctx))
		}},
		{"user.QueryFiles.IDs", 0, 2, func(ctx context.Context, _ *ent.Client, g graveyard) (int, error) {
			return many(g.dead.QueryFiles().IDs(ctx))
		}},
		{"user.QueryFiles.Aggregate", 0, 2, func(ctx context.Context, _ *ent.Client, g graveyard) (int, error) {
			return g.dead.QueryFiles().Aggregate(ent.Count()).Int(ctx)
		}},
		{"client.QueryFiles", 0, 2, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return c.User.QueryFiles(g.dead).Count(ctx)
		}},
		{"user.QueryFiles.QueryUser", 0, 1, func(ctx context.Context, _ *ent.Client, g graveyard) (int, error) {
			return g.dead.QueryFiles().QueryUser().Count(ctx)
		}},
		{"file.QueryUser.QueryFiles", 0, 2, func(ctx context.Context, _ *ent.Client, g graveyard) (int, error) {
			return g.deadFile.QueryUser().QueryFiles().Count(ctx)
		}},
		{"QueryUser", 1, 2, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			return c.File.Query().QueryUser().Count(ctx)
		}},
		{"QueryUser.All", 1, 2, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			return many(c.File.Query().QueryUser().All(ctx))
		}},
		{"QueryFiles", 1, 3, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			return c.User.Query().QueryFiles().Count(ctx)
		}},
		{"QueryFiles.QueryUser.QueryFiles", 1, 3, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			return c.User.Query().QueryFiles().QueryUser().QueryFiles().Count(ctx)
		}},
		{"WithUser", 1, 3, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			files, err := c.File.Query().WithUser().All(ctx)
			return len(slices.DeleteFunc(files, func(f *ent.File) bool { return f.Edges.User == nil })), err
		}},
		{"WithFiles", 1, 3, func(ctx context.Context, c *ent.Client, _ graveyard) (n int, err error) {
			users, err := c.User.Query().WithFiles().All(ctx)
			for _, u := range users {
				n += len(u.Edges.Files)
			}
			return n, err
		}},
		{"WithFiles.WithUser", 1, 3, func(ctx context.Context, c *ent.Client, _ graveyard) (n int, err error) {
			files, err := c.File.Query().WithUser(func(q *ent.UserQuery) { q.WithFiles() }).All(ctx)
			for _, f := range files {
				if f.Edges.User != nil {
					n++
				}
			}
			return n, err
		}},
	}
}

// sightsOfFiles are the edge predicates.
func sightsOfFiles() []sight {
	count := func(name string, hidden, shown int, where func(g graveyard) predicate.File) sight {
		return sight{name, hidden, shown, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return c.File.Query().Where(where(g)).Count(ctx)
		}}
	}
	ofDead := func(g graveyard) predicate.File { return file.HasUserWith(user.ID(g.dead.ID)) }
	hasUser := func(graveyard) predicate.File { return file.HasUser() }
	return []sight{
		count("HasUser", 1, 3, hasUser),
		count("HasUserWith", 0, 2, ofDead),
		count("HasUserWith of nothing", 1, 3, func(graveyard) predicate.File { return file.HasUserWith() }),
		count("Not HasUser", 2, 0, func(graveyard) predicate.File { return file.Not(file.HasUser()) }),
		count("Not HasUserWith", 3, 1, func(g graveyard) predicate.File { return file.Not(ofDead(g)) }),
		count("Or", 1, 3, func(g graveyard) predicate.File { return file.Or(ofDead(g), file.HasUserWith(user.ID(g.live.ID))) }),
		count("And", 0, 2, func(g graveyard) predicate.File { return file.And(ofDead(g), file.HasUser()) }),
		count("nested", 0, 2, func(g graveyard) predicate.File { return file.HasUserWith(user.HasFilesWith(ofDead(g))) }),
		count("nested Not", 1, 1, func(g graveyard) predicate.File { return file.HasUserWith(user.Not(user.HasFilesWith(ofDead(g)))) }),
		count("nested in Or of users", 1, 3, func(g graveyard) predicate.File {
			return file.HasUserWith(user.Or(user.ID(g.live.ID), user.HasFilesWith(ofDead(g))))
		}),
		{"HasFilesWith", 1, 2, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			return c.User.Query().Where(user.HasFilesWith(file.HasUser())).Count(ctx)
		}},
		{"All", 1, 3, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			return many(c.File.Query().Where(file.HasUser()).All(ctx))
		}},
		{"First", 0, 1, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return one(c.File.Query().Where(ofDead(g)).First(ctx))
		}},
		{"Exist", 0, 1, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return whether(c.File.Query().Where(ofDead(g)).Exist(ctx))
		}},
		{"IDs", 1, 3, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			return many(c.File.Query().Where(file.HasUser()).IDs(ctx))
		}},
		{"Select", 1, 3, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			return many(c.File.Query().Where(file.HasUser()).Select(file.FieldFilename).Strings(ctx))
		}},
		{"Aggregate", 1, 3, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			return c.File.Query().Where(file.HasUser()).Aggregate(ent.Count()).Int(ctx)
		}},
		{"GroupBy", 1, 3, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			return groups(func(v any) error {
				return c.File.Query().Where(file.HasUser()).GroupBy(file.FieldUserID).Aggregate(ent.Count()).Scan(ctx, v)
			})
		}},
		{"QueryUser after it", 1, 2, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			return c.File.Query().Where(file.HasUser()).QueryUser().Count(ctx)
		}},
		{"user.QueryFiles with it", 0, 2, func(ctx context.Context, _ *ent.Client, g graveyard) (int, error) {
			return g.dead.QueryFiles().Where(ofDead(g)).Count(ctx)
		}},
	}
}

// wideners try to see more by taking back what was asked before them.
func wideners() []sight {
	or := func(id int) func(*sql.Selector) {
		return func(s *sql.Selector) { s.Or().Where(sql.EQ(s.C("id"), id)) }
	}
	all := func(s *sql.Selector) { s.Or().Where(sql.ExprP("1 = 1")) }
	dangling := func(s *sql.Selector) { s.Or() }
	return []sight{
		{"Where", 1, 2, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return c.User.Query().Where(user.ID(g.live.ID), or(g.dead.ID)).Count(ctx)
		}},
		{"Where.All", 1, 2, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return many(c.User.Query().Where(user.ID(g.live.ID), or(g.dead.ID)).All(ctx))
		}},
		{"Where.IDs", 1, 2, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return many(c.User.Query().Where(user.ID(g.live.ID), or(g.dead.ID)).IDs(ctx))
		}},
		{"an Or without its second half", 1, 2, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return c.User.Query().Where(user.IDIn(g.live.ID, g.dead.ID), dangling).Count(ctx)
		}},
		{"a Not without its predicate", 1, 2, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			return c.User.Query().Where(func(s *sql.Selector) { s.Not() }).Count(ctx)
		}},
		{"Modify", 1, 2, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			return c.User.Query().Modify(all).Count(ctx)
		}},
		{"Modify.All", 1, 2, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return many(c.User.Query().Where(user.ID(g.live.ID)).Modify(or(g.dead.ID)).All(ctx))
		}},
		{"Modify.Scan", 1, 2, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			var rows []struct{ Email string }
			err := c.User.Query().Modify(all, dangling).Select(user.FieldEmail).Scan(ctx, &rows)
			return len(rows), err
		}},
		{"Modify.Aggregate", 1, 2, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			return c.User.Query().Modify(dangling).Modify(all).Aggregate(ent.Count()).Int(ctx)
		}},
		{"Order.All", 0, 1, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return many(c.User.Query().Where(user.ID(g.dead.ID)).Order(or(g.dead.ID)).All(ctx))
		}},
		{"Order.IDs", 0, 1, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return many(c.User.Query().Where(user.ID(g.dead.ID)).Order(or(g.dead.ID)).IDs(ctx))
		}},
		{"HasUserWith", 1, 3, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			return c.File.Query().Where(file.HasUserWith(func(s *sql.Selector) { s.Or().Where(sql.ColumnsEQ(s.C("id"), s.C("id"))) })).
				Where(file.HasUser()).Count(ctx)
		}},
		{"HasUserWith, of the deleted alone", 0, 3, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return c.File.Query().Where(file.HasUserWith(func(s *sql.Selector) { s.SetP(sql.EQ(s.C("id"), g.dead.ID)).Or() })).Count(ctx)
		}},
		{"user.QueryFiles", 0, 3, func(ctx context.Context, _ *ent.Client, g graveyard) (int, error) {
			return g.dead.QueryFiles().Where(all).Count(ctx)
		}},
		{"user.QueryFiles.Modify", 0, 3, func(ctx context.Context, _ *ent.Client, g graveyard) (int, error) {
			return g.dead.QueryFiles().Modify(all).Count(ctx)
		}},
		{"QueryUser", 1, 2, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			return c.File.Query().QueryUser().Where(user.NameNEQ("old"), all).Count(ctx)
		}},
		{"QueryFiles", 1, 3, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return c.User.Query().Where(user.ID(g.live.ID), or(g.dead.ID)).QueryFiles().Count(ctx)
		}},
	}
}

// TestSoftDelete_Hides looks for a deleted user on every path, without IncludeDeleted and with it.
func TestSoftDelete_Hides(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, ctx context.Context, c *ent.Client) {
		g := newGraveyard(t, ctx, c)
		for name, sights := range map[string][]sight{
			"users": sightsOfUsers(), "edges": sightsByEdges(), "edge predicates": sightsOfFiles(), "widened": wideners(),
		} {
			for _, s := range sights {
				if n, err := s.look(ctx, c, g); err != nil || n != s.hidden {
					t.Errorf("%s: %s sees %d, want %d: %v", name, s.name, n, s.hidden, err)
				}
				if n, err := s.look(models.IncludeDeleted(ctx), c, g); err != nil || n != s.shown {
					t.Errorf("%s: %s with IncludeDeleted sees %d, want %d: %v", name, s.name, n, s.shown, err)
				}
			}
		}
	})
}

// TestSoftDelete_OfTheViewer asks as a person who is deleted: there is no such person, whatever is included.
func TestSoftDelete_OfTheViewer(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := must(newUser(s).Save(ctx))(t)
		f := must(newFile(s, u).Save(ctx))(t)
		check(t, s.SoftDeleteUser(ctx, u.ID))
		as := models.IncludeDeleted(models.AsUser(ctx, u))
		if page := must(s.ListUsers(as, models.UserFilter{}, models.PageRequest{WithTotal: true}))(t); len(page.Items) != 0 || *page.Total != 0 {
			t.Errorf("ListUsers shows %d of %d", len(page.Items), *page.Total)
		}
		if page := must(s.ListFiles(as, models.FileFilter{UserID: u.ID}, models.PageRequest{}))(t); len(page.Items) != 0 {
			t.Errorf("ListFiles shows %d", len(page.Items))
		}
		var out strings.Builder
		check(t, s.ExportUsers(as, &out, models.ExportOptions{Format: models.ImportJSONLines}))
		if out.Len() != 0 {
			t.Errorf("ExportUsers writes %q", out.String())
		}
		for name, look := range map[string]func() (int, error){
			"UserByID":       func() (int, error) { return one(s.UserByID(as, u.ID)) },
			"get":            func() (int, error) { return one(s.User.Get(as, u.ID)) },
			"list":           func() (int, error) { return many(s.User.Query().All(as)) },
			"edge":           func() (int, error) { return u.QueryFiles().Count(as) },
			"reverse edge":   func() (int, error) { return f.QueryUser().Count(as) },
			"files":          func() (int, error) { return s.File.Query().Count(as) },
			"edge predicate": func() (int, error) { return s.File.Query().Where(file.HasUser()).Count(as) },
			"update":         func() (int, error) { return s.User.Update().SetName("n").Save(as) },
		} {
			if n, err := look(); n != 0 || err != nil && !errors.Is(err, models.ErrForbidden) {
				t.Errorf("%s: %d, %v", name, n, err)
			}
		}
	})
}

// TestSoftDelete_QueriesAgain executes a query twice, and its clones.
func TestSoftDelete_QueriesAgain(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, ctx context.Context, c *ent.Client) {
		g := newGraveyard(t, ctx, c)
		all := models.IncludeDeleted(ctx)
		users, files, edge := c.User.Query(), c.File.Query().Where(file.HasUser()), g.dead.QueryFiles()
		clone := users.Clone()
		for range 2 {
			for name, tt := range map[string]struct{ got, want int }{
				"users":             {must(users.Count(ctx))(t), 1},
				"users, cloned":     {len(must(users.Clone().All(ctx))(t)), 1},
				"users, all":        {must(users.Clone().Where(user.IsDeleted(true)).Count(ctx))(t), 0},
				"files":             {must(files.Count(ctx))(t), 1},
				"files, cloned":     {must(files.Clone().Count(ctx))(t), 1},
				"of a user":         {must(edge.Count(ctx))(t), 0},
				"of a user, cloned": {len(must(edge.Clone().All(ctx))(t)), 0},
			} {
				if tt.got != tt.want {
					t.Errorf("%s: sees %d, want %d", name, tt.got, tt.want)
				}
			}
		}
		// A clone from before the first execution is as new, and what one saw the next does not have to see.
		if n := must(clone.Clone().Count(all))(t); n != 2 {
			t.Errorf("a clone with IncludeDeleted sees %d users, want 2", n)
		}
		if n := must(clone.Count(all))(t); n != 2 {
			t.Errorf("with IncludeDeleted %d users are seen, want 2", n)
		}
		if n := must(clone.Count(ctx))(t); n != 1 {
			t.Errorf("the same query without IncludeDeleted sees %d users, want 1", n)
		}
		edge = g.dead.QueryFiles()
		if with, without := must(edge.Count(all))(t), must(edge.Count(ctx))(t); with != 2 || without != 0 {
			t.Errorf("the files of the deleted are %d with IncludeDeleted and %d without, want 2 and 0", with, without)
		}
	})
}

// act is one way to change users or their files. It counts what it changed.
type act struct {
	name   string
	hidden int // what it changes
	shown  int // what it changes with IncludeDeleted
	do     func(ctx context.Context, c *ent.Client, g graveyard) (int, error)
}

func done(err error) (int, error) { return one(0, err) }

func updatesOfUsers() []act {
	or := func(g graveyard) predicate.User {
		return func(s *sql.Selector) { s.Or().Where(sql.EQ(s.C("id"), g.dead.ID)) }
	}
	return []act{
		{"UpdateOneID", 0, 1, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return done(c.User.UpdateOneID(g.dead.ID).SetName("new").Exec(ctx))
		}},
		{"UpdateOne", 0, 1, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return done(c.User.UpdateOne(g.dead).SetName("new").Exec(ctx))
		}},
		{"user.Update", 0, 1, func(ctx context.Context, _ *ent.Client, g graveyard) (int, error) {
			return one(g.dead.Update().SetName("new").Save(ctx))
		}},
		{"UpdateOneID.Where", 0, 1, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return done(c.User.UpdateOneID(g.dead.ID).Where(user.IsDeleted(true)).SetName("new").Exec(ctx))
		}},
		{"UpdateOneID.Where, widened", 0, 1, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return done(c.User.UpdateOneID(g.dead.ID).Where(user.Name("nobody"), or(g)).SetName("new").Exec(ctx))
		}},
		{"UpdateOneID.Where, widened to another", 0, 0, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return done(c.User.UpdateOneID(g.dead.ID).Where(user.ID(g.live.ID), func(s *sql.Selector) { s.Or() }).SetName("new").Exec(ctx))
		}},
		{"Update.Where", 0, 1, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return c.User.Update().Where(user.ID(g.dead.ID)).SetName("new").Save(ctx)
		}},
		{"Update.Where, widened", 0, 1, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return c.User.Update().Where(user.Name("nobody"), or(g)).SetName("new").Save(ctx)
		}},
		{"Update", 1, 2, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			return c.User.Update().SetName("new").Save(ctx)
		}},
		{"Update, modified", 1, 2, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			return c.User.Update().Modify(func(u *sql.UpdateBuilder) { u.Set("name", "new") }).Save(ctx)
		}},
		{"Update.Where of an edge", 0, 1, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return c.User.Update().Where(user.HasFilesWith(file.HasUserWith(user.ID(g.dead.ID)))).SetName("new").Save(ctx)
		}},
	}
}

// TestSoftDelete_UpdatesPassBy updates a deleted user in every way.
func TestSoftDelete_UpdatesPassBy(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, ctx context.Context, c *ent.Client) {
		all := models.IncludeDeleted(ctx)
		for _, d := range updatesOfUsers() {
			for _, tt := range []struct {
				ctx  context.Context
				want int
				name string
			}{{ctx, d.hidden, "old"}, {all, d.shown, "new"}} {
				must(c.User.Delete().Exec(models.HardDelete(ctx)))(t)
				g := newGraveyard(t, ctx, c)
				if n, err := d.do(tt.ctx, c, g); err != nil || n != tt.want {
					t.Errorf("%s changes %d users, want %d: %v", d.name, n, tt.want, err)
				}
				if name := *must(c.User.Get(all, g.dead.ID))(t).Name; d.hidden != d.shown && name != tt.name {
					t.Errorf("after %s the deleted user's name is %q, want %q", d.name, name, tt.name)
				}
			}
		}
	})
}

func changesOfFiles() []act {
	hasDead := func(g graveyard) predicate.File { return file.HasUserWith(user.ID(g.dead.ID)) }
	return []act{
		{"Update.Where(HasUser)", 1, 3, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			return c.File.Update().Where(file.HasUser()).SetSize(9).Save(ctx)
		}},
		{"Update.Where(HasUserWith)", 0, 2, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return c.File.Update().Where(hasDead(g)).SetSize(9).Save(ctx)
		}},
		{"Update.Where(Not HasUser)", 2, 0, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			return c.File.Update().Where(file.Not(file.HasUser())).SetSize(9).Save(ctx)
		}},
		{"UpdateOne.Where(HasUser)", 0, 1, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return done(c.File.UpdateOne(g.deadFile).Where(file.HasUser()).SetSize(9).Exec(ctx))
		}},
		{"UpdateOneID.Where(HasUserWith)", 0, 1, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return done(c.File.UpdateOneID(g.deadFile.ID).Where(hasDead(g)).SetSize(9).Exec(ctx))
		}},
		{"Delete.Where(HasUser)", 1, 3, func(ctx context.Context, c *ent.Client, _ graveyard) (int, error) {
			return c.File.Delete().Where(file.HasUser()).Exec(ctx)
		}},
		{"Delete.Where(HasUserWith)", 0, 2, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return c.File.Delete().Where(hasDead(g)).Exec(ctx)
		}},
		{"DeleteOneID.Where(HasUser)", 0, 1, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return done(c.File.DeleteOneID(g.deadFile.ID).Where(file.HasUser()).Exec(ctx))
		}},
		{"DeleteOne.Where(Not HasUser)", 1, 0, func(ctx context.Context, c *ent.Client, g graveyard) (int, error) {
			return done(c.File.DeleteOne(g.deadFile).Where(file.Not(file.HasUser())).Exec(ctx))
		}},
	}
}

// TestSoftDelete_EdgePredicatesOfChanges changes files by the user whom they have, or no longer have.
func TestSoftDelete_EdgePredicatesOfChanges(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, ctx context.Context, c *ent.Client) {
		all := models.IncludeDeleted(ctx)
		for _, d := range changesOfFiles() {
			for _, tt := range []struct {
				ctx  context.Context
				want int
			}{{ctx, d.hidden}, {all, d.shown}} {
				must(c.File.Delete().Exec(ctx))(t)
				g := newGraveyard(t, ctx, c)
				if n, err := d.do(tt.ctx, c, g); err != nil || n != tt.want {
					t.Errorf("%s changes %d files, want %d: %v", d.name, n, tt.want, err)
				}
				if left := must(c.File.Query().Where(file.Size(0)).Count(ctx))(t); left != 3-tt.want {
					t.Errorf("%s left %d files as they were, want %d", d.name, left, 3-tt.want)
				}
				// What it left belongs to a graveyard that the next count must not see.
				must(c.User.Delete().Exec(models.HardDelete(all)))(t)
			}
		}
	})
}

// TestSoftDelete_DeletesOnce deletes what is deleted, with IncludeDeleted too: a row is deleted once.
func TestSoftDelete_DeletesOnce(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, ctx context.Context, c *ent.Client) {
		g := newGraveyard(t, ctx, c)
		all := models.IncludeDeleted(ctx)
		before := must(c.User.Get(all, g.dead.ID))(t)
		if before.DeletedAt == nil {
			t.Fatal("the deleted has no deleted_at")
		}
		for _, ctx := range []context.Context{ctx, all} {
			for name, err := range map[string]error{
				"DeleteOneID":        c.User.DeleteOneID(g.dead.ID).Exec(ctx),
				"DeleteOne":          c.User.DeleteOne(g.dead).Exec(ctx),
				"DeleteOneID.Where":  c.User.DeleteOneID(g.dead.ID).Where(user.IsDeleted(true)).Exec(ctx),
				"DeleteOneID, wider": c.User.DeleteOneID(g.dead.ID).Where(func(s *sql.Selector) { s.Or() }).Exec(ctx),
				"of nobody":          c.User.DeleteOneID(424242).Exec(ctx),
				"SetIsDeleted":       c.User.UpdateOneID(g.dead.ID).SetIsDeleted(true).Exec(ctx),
			} {
				if !errors.Is(err, models.ErrNotFound) || !ent.IsNotFound(err) {
					t.Errorf("%s answers %v, want ErrNotFound", name, err)
				}
			}
			for name, p := range map[string]predicate.User{
				"by id":         user.ID(g.dead.ID),
				"by is_deleted": user.IsDeleted(true),
				"by an edge":    user.HasFilesWith(file.UserID(g.dead.ID)),
				"widened":       func(s *sql.Selector) { s.Where(sql.ExprP("1 = 0")).Or().Where(sql.EQ(s.C("id"), g.dead.ID)) },
			} {
				if n, err := c.User.Delete().Where(p).Exec(ctx); err != nil || n != 0 {
					t.Errorf("a bulk delete %s deletes %d, want 0: %v", name, n, err)
				}
			}
		}
		after := must(c.User.Get(all, g.dead.ID))(t)
		wantTime(t, "deleted_at", *after.DeletedAt, *before.DeletedAt)
		wantTime(t, "updated_at", after.UpdatedAt, before.UpdatedAt)
		if n := must(c.User.Delete().Exec(ctx))(t); n != 1 {
			t.Errorf("a bulk delete of all deletes %d, want the 1 that lives", n)
		}
		if n := must(c.User.Query().Count(ctx))(t); n != 0 {
			t.Errorf("%d users are left, want 0", n)
		}
	})
}

var someDay = time.Date(2026, 3, 29, 1, 59, 59, 123456789, tokyo)

func TestSoftDelete_Stamps(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]func(ctx context.Context, s *models.Store, u *ent.User) error{
		"DeleteOne": func(ctx context.Context, s *models.Store, u *ent.User) error { return s.User.DeleteOne(u).Exec(ctx) },
		"DeleteOneID": func(ctx context.Context, s *models.Store, u *ent.User) error {
			return s.User.DeleteOneID(u.ID).Exec(ctx)
		},
		"SoftDeleteUser": func(ctx context.Context, s *models.Store, u *ent.User) error { return s.SoftDeleteUser(ctx, u.ID) },
		"SoftDeleteUser, whatever other deletes do": func(ctx context.Context, s *models.Store, u *ent.User) error {
			return s.SoftDeleteUser(models.HardDelete(ctx), u.ID)
		},
		"SetIsDeleted": func(ctx context.Context, _ *models.Store, u *ent.User) error {
			return u.Update().SetIsDeleted(true).Exec(ctx)
		},
		"bulk": func(ctx context.Context, s *models.Store, u *ent.User) error {
			_, err := s.User.Delete().Where(user.ID(u.ID)).Exec(ctx)
			return err
		},
		"bulk SetIsDeleted": func(ctx context.Context, s *models.Store, u *ent.User) error {
			return s.User.Update().Where(user.ID(u.ID)).SetIsDeleted(true).Exec(ctx)
		},
		"InTx": func(ctx context.Context, s *models.Store, u *ent.User) error {
			return s.InTx(ctx, func(ctx context.Context) error { return s.SoftDeleteUser(ctx, u.ID) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachClock(t, someDay, func(t *testing.T, ctx context.Context, s *models.Store, c *fakeClock) {
				u, other := must(newUser(s).Save(ctx))(t), must(newUser(s).Save(ctx))(t)
				check(t, s.File.CreateBulk(newFile(s, u), newFile(s, u)).Exec(ctx))
				later := someDay.Add(time.Hour)
				c.set(later)
				check(t, remove(ctx, s, u))
				read := must(s.User.Get(models.IncludeDeleted(ctx), u.ID))(t)
				if !read.IsDeleted || read.DeletedAt == nil || read.TokensValidAfter == nil {
					t.Fatalf("the deleted user is %v, want is_deleted, deleted_at and tokens_valid_after", read)
				}
				wantTime(t, "deleted_at", *read.DeletedAt, later)
				wantTime(t, "tokens_valid_after", *read.TokensValidAfter, later)
				wantTime(t, "updated_at", read.UpdatedAt, later)
				wantTime(t, "created_at", read.CreatedAt, someDay)
				if n := must(s.File.Query().Where(file.UserID(u.ID)).Count(ctx))(t); n != 2 {
					t.Errorf("the deleted user has %d files, want the 2 of before", n)
				}
				wantSame(t, ctx, s, other)
				// The address is free, and another has it.
				check(t, newUser(s).SetEmail(u.Email).Exec(ctx))
			})
		})
	}
}

// wantSame checks that a user is as it was read before.
func wantSame(t *testing.T, ctx context.Context, s *models.Store, before *ent.User) {
	t.Helper()
	after := must(s.User.Get(models.IncludeDeleted(ctx), before.ID))(t)
	if got, want := encode(t, after), encode(t, before); got != want || after.HashedPassword != before.HashedPassword {
		t.Errorf("the user is %s, want %s as before", got, want)
	}
}

func TestSoftDelete_Bulk(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		check(t, s.User.CreateBulk(newUser(s).SetName("a"), newUser(s).SetName("a"), newUser(s).SetName("b")).Exec(ctx))
		for _, want := range []int{2, 0} {
			if n := must(s.User.Delete().Where(user.Name("a")).Exec(ctx))(t); n != want {
				t.Errorf("deleted %d, want %d", n, want)
			}
		}
		if n := countUsers(t, ctx, s); n != 1 {
			t.Errorf("%d users, want 1", n)
		}
	})
}

// TestSoftDelete_HardDeleteIsOfDeletes: updates in its context pass the deleted by, and keep the columns in step.
func TestSoftDelete_HardDeleteIsOfDeletes(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		hard := models.HardDelete(ctx)
		dead := must(newUser(s).Save(ctx))(t)
		check(t, dead.Update().SetIsDeleted(true).Exec(hard))
		dead = must(s.User.Get(models.IncludeDeleted(ctx), dead.ID))(t)
		if dead.DeletedAt == nil {
			t.Error("the deleted user has no deleted_at")
		}
		if n := must(s.User.Update().SetName("new").Save(hard))(t); n != 0 {
			t.Errorf("changed %d users, want none", n)
		}
		wantSame(t, ctx, s, dead)
	})
}

// TestSoftDelete_OpaqueMutations: what the hooks cannot get at is refused, not let through.
func TestSoftDelete_OpaqueMutations(t *testing.T) {
	t.Parallel()
	s := models.OpenTest(t)
	columns := softdelete.Columns{Deleted: user.FieldIsDeleted, At: user.FieldDeletedAt}
	deletion := s.User.Update().Mutation()
	deletion.SetOp(ent.OpDelete)
	for name, tt := range map[string]struct {
		hook ent.Hook
		m    ent.Mutation
	}{
		"it cannot be narrowed":        {columns.Hook(), struct{ ent.Mutation }{deletion}},
		"it cannot be made an update":  {columns.Hook(), narrowed{deletion, deletion}},
		"it is not made for the trail": {audit.Changes{}.Hook(), struct{ ent.Mutation }{deletion}},
	} {
		_, err := tt.hook(ent.MutateFunc(func(context.Context, ent.Mutation) (ent.Value, error) {
			t.Errorf("%s: it is carried out", name)
			return 0, nil
		})).Mutate(models.AsSystem(t.Context(), "test"), tt.m)
		if err == nil {
			t.Errorf("%s: there is no error", name)
		}
	}
}

// narrowed is a mutation that can be narrowed, and no more.
type narrowed struct {
	ent.Mutation
	where
}

type where interface {
	WhereP(ps ...func(*sql.Selector))
}

// TestSoftDelete_KeepsColumnsInStep: whoever is deleted was deleted at some time, and nobody else was.
func TestSoftDelete_KeepsColumnsInStep(t *testing.T) {
	t.Parallel()
	eachClock(t, someDay, func(t *testing.T, ctx context.Context, s *models.Store, _ *fakeClock) {
		all := models.IncludeDeleted(ctx)
		live, dead := must(newUser(s).Save(ctx))(t), must(newUser(s).Save(ctx))(t)
		check(t, s.SoftDeleteUser(ctx, dead.ID))
		dead = must(s.User.Get(all, dead.ID))(t)
		before := len(must(s.AuditLog.Query().IDs(ctx))(t))
		for name, err := range map[string]error{
			"SetDeletedAt":                  live.Update().SetDeletedAt(someDay).Exec(ctx),
			"SetDeletedAt, not deleted":     live.Update().SetDeletedAt(someDay).SetIsDeleted(false).Exec(ctx),
			"SetDeletedAt, in bulk":         s.User.Update().SetDeletedAt(someDay).Exec(all),
			"SetDeletedAt, of the deleted":  dead.Update().SetDeletedAt(someDay.Add(time.Hour)).Exec(all),
			"ClearDeletedAt":                dead.Update().ClearDeletedAt().Exec(all),
			"ClearDeletedAt, of the living": live.Update().ClearDeletedAt().Exec(ctx),
			"of a new user":                 newUser(s).SetDeletedAt(someDay).Exec(ctx),
			"of a new user, not deleted":    newUser(s).SetDeletedAt(someDay).SetIsDeleted(false).Exec(ctx),
		} {
			if !errors.Is(err, models.ErrForbidden) {
				t.Errorf("%s answers %v, want ErrForbidden", name, err)
			}
		}
		wantSame(t, ctx, s, live)
		wantSame(t, ctx, s, dead)
		if n := len(must(s.AuditLog.Query().IDs(ctx))(t)); n != before {
			t.Errorf("%d changes are in the trail, want %d as before", n, before)
		}
		// Another change leaves them as they are, and an explicit restore may say what it clears.
		check(t, dead.Update().SetName("new").Exec(all))
		if read := must(s.User.Get(all, dead.ID))(t); !read.IsDeleted || read.DeletedAt == nil {
			t.Errorf("after an update the deleted user is %v, want deleted_at as before", read)
		}
		check(t, dead.Update().SetIsDeleted(false).ClearDeletedAt().Exec(all))
		check(t, s.SoftDeleteUser(ctx, dead.ID))
		// A time by hand goes with is_deleted, also of a new row.
		hour := someDay.Add(-time.Hour)
		check(t, live.Update().SetIsDeleted(true).SetDeletedAt(hour).Exec(ctx))
		made := must(newUser(s).SetIsDeleted(true).Save(ctx))(t)
		for id, want := range map[int]time.Time{live.ID: hour, made.ID: someDay} {
			read := must(s.User.Get(all, id))(t)
			wantTime(t, "deleted_at", *read.DeletedAt, want)
		}
	})
}

// TestSoftDelete_Upserts: an upsert sees no deleted row, and neither deletes nor restores one.
func TestSoftDelete_Upserts(t *testing.T) {
	t.Parallel()
	eachClock(t, someDay, func(t *testing.T, ctx context.Context, s *models.Store, c *fakeClock) {
		live, dead := must(newUser(s).Save(ctx))(t), must(newUser(s).SetName("Ada").Save(ctx))(t)
		check(t, s.SoftDeleteUser(ctx, dead.ID))
		all := models.IncludeDeleted(ctx)
		dead = must(s.User.Get(all, dead.ID))(t)
		c.set(someDay.Add(time.Hour))
		put := func(u *ent.User) *ent.UserUpsertOne {
			return s.User.Create().SetEmail(u.Email).SetHashedPassword("x").SetPublicID(u.PublicID).OnConflictColumns(user.FieldPublicID)
		}
		for name, change := range map[string]func(ctx context.Context) error{
			"a deleted row":           put(dead).Update(func(set *ent.UserUpsert) { set.SetName("x") }).Exec,
			"a deleted row, anew":     put(dead).UpdateNewValues().Exec,
			"a deleted row, as it is": put(dead).Ignore().Exec,
			"delete":                  put(live).Update(func(set *ent.UserUpsert) { set.SetIsDeleted(true) }).Exec,
			"delete by address":       upsert(s, live).Update(func(set *ent.UserUpsert) { set.SetIsDeleted(true).SetDeletedAt(someDay) }).Exec,
			"deleted_at":              put(live).Update(func(set *ent.UserUpsert) { set.SetDeletedAt(someDay) }).Exec,
			"restore": func(context.Context) error {
				return put(dead).Update(func(set *ent.UserUpsert) { set.SetIsDeleted(false).ClearDeletedAt() }).Exec(all)
			},
			"restore anew": func(context.Context) error { return put(dead).UpdateNewValues().Exec(all) },
		} {
			// The database refuses what sets one of the two columns alone.
			if err := change(ctx); !errors.Is(err, models.ErrForbidden) && !errors.Is(err, models.ErrCheck) {
				t.Errorf("%s answers %v, want ErrForbidden or ErrCheck", name, err)
			}
			wantSame(t, ctx, s, live)
			wantSame(t, ctx, s, dead)
		}
		check(t, put(dead).Update(func(set *ent.UserUpsert) { set.SetName("Lovelace") }).Exec(all))
		if got := actions(t, ctx, s, "user", dead.ID); !slices.Equal(got, []string{"create", "soft_delete", "update"}) {
			t.Errorf("the trail of the deleted is %v, want an update with IncludeDeleted alone", got)
		}
		wantLength(t, ctx, s, 4)
	})
}

func TestRestoreUser(t *testing.T) {
	t.Parallel()
	eachClock(t, someDay, func(t *testing.T, ctx context.Context, s *models.Store, c *fakeClock) {
		u := must(newUser(s).SetName("Ada").Save(ctx))(t)
		check(t, newFile(s, u).Exec(ctx))
		check(t, s.SoftDeleteUser(ctx, u.ID))
		c.set(someDay.Add(time.Hour))
		check(t, s.RestoreUser(ctx, u.ID))
		read := must(s.User.Get(ctx, u.ID))(t)
		if read.IsDeleted || read.DeletedAt != nil || read.Email != u.Email || *read.Name != "Ada" {
			t.Errorf("the restored user is %v, want what it was", read)
		}
		wantTime(t, "tokens_valid_after", *read.TokensValidAfter, someDay) // those of before stay refused
		wantTime(t, "updated_at", read.UpdatedAt, someDay.Add(time.Hour))
		if n := must(read.QueryFiles().Count(ctx))(t); n != 1 {
			t.Errorf("the restored user has %d files, want 1", n)
		}
		for name, id := range map[string]int{"not deleted": u.ID, "unknown": 424242, "zero": 0, "negative": -1} {
			for _, ctx := range []context.Context{ctx, models.IncludeDeleted(ctx)} {
				if err := s.RestoreUser(ctx, id); !errors.Is(err, models.ErrNotFound) {
					t.Errorf("%s: got %v, want ErrNotFound", name, err)
				}
			}
		}
		wantSame(t, ctx, s, read)
		// It can be deleted again, at another time.
		c.set(someDay.Add(2 * time.Hour))
		check(t, s.SoftDeleteUser(ctx, u.ID))
		again := must(s.User.Get(models.IncludeDeleted(ctx), u.ID))(t)
		wantTime(t, "deleted_at", *again.DeletedAt, someDay.Add(2*time.Hour))
		wantTime(t, "tokens_valid_after", *again.TokensValidAfter, someDay.Add(2*time.Hour))
	})
}

func TestRestoreUser_EmailTaken(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		old := must(newUser(s).Save(ctx))(t)
		check(t, s.SoftDeleteUser(ctx, old.ID))
		now := must(newUser(s).SetEmail(old.Email).Save(ctx))(t)
		old = must(s.User.Get(models.IncludeDeleted(ctx), old.ID))(t)
		before := len(must(s.AuditLog.Query().IDs(ctx))(t))
		inTx := s.InTx(ctx, func(ctx context.Context) error { return s.RestoreUser(ctx, old.ID) })
		for name, err := range map[string]error{"alone": s.RestoreUser(ctx, old.ID), "in a transaction": inTx} {
			if !errors.Is(err, models.ErrEmailTaken) {
				t.Errorf("%s: got %v, want ErrEmailTaken", name, err)
			}
		}
		wantSame(t, ctx, s, old)
		wantSame(t, ctx, s, now)
		if n := len(must(s.AuditLog.Query().IDs(ctx))(t)); n != before {
			t.Errorf("%d changes are in the trail, want %d as before", n, before)
		}
		// Once the other one is gone as well, either can come back, but not both.
		check(t, s.SoftDeleteUser(ctx, now.ID))
		check(t, s.RestoreUser(ctx, old.ID))
		if err := s.RestoreUser(ctx, now.ID); !errors.Is(err, models.ErrEmailTaken) {
			t.Errorf("the second one: got %v, want ErrEmailTaken", err)
		}
	})
}

func TestRestoreUser_InTx(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := must(newUser(s).Save(ctx))(t)
		check(t, s.SoftDeleteUser(ctx, u.ID))
		dead := must(s.User.Get(models.IncludeDeleted(ctx), u.ID))(t)
		before := len(must(s.AuditLog.Query().IDs(ctx))(t))
		err := s.InTx(ctx, func(ctx context.Context) error {
			check(t, s.RestoreUser(ctx, u.ID))
			if n := countUsers(t, ctx, s); n != 1 {
				t.Errorf("%d users are seen inside, want the restored one", n)
			}
			return errOnPurpose
		})
		if !errors.Is(err, errOnPurpose) {
			t.Errorf("got %v, want the function's error", err)
		}
		wantSame(t, ctx, s, dead)
		if n := len(must(s.AuditLog.Query().IDs(ctx))(t)); n != before {
			t.Errorf("%d changes are in the trail, want %d as before", n, before)
		}
		// Nobody to restore is nothing done: the transaction goes on.
		check(t, s.InTx(ctx, func(ctx context.Context) error {
			if err := s.RestoreUser(ctx, 424242); !errors.Is(err, models.ErrNotFound) {
				t.Errorf("got %v, want ErrNotFound", err)
			}
			return s.RestoreUser(ctx, u.ID)
		}))
		if n := countUsers(t, ctx, s); n != 1 {
			t.Errorf("%d users, want the restored one", n)
		}
	})
}

// atOnce runs the functions at the same time and returns their answers.
func atOnce(fns ...func() error) []error {
	var (
		all   sync.WaitGroup
		start = make(chan struct{})
		errs  = make([]error, len(fns))
	)
	for i, fn := range fns {
		all.Go(func() {
			<-start
			errs[i] = fn()
		})
	}
	close(start)
	all.Wait()
	return errs
}

// actions are those of a row in the trail, in order.
func actions(t *testing.T, ctx context.Context, s *models.Store, entity string, id int) []string {
	t.Helper()
	return must(s.AuditLog.Query().Where(auditlog.Entity(entity), auditlog.EntityID(id)).Order(auditlog.ByID()).
		Select(auditlog.FieldAction).Strings(ctx))(t)
}

// TestSoftDelete_AtOnce lets many delete the same user, through one store and through two.
func TestSoftDelete_AtOnce(t *testing.T) {
	t.Parallel()
	eachURL(t, func(t *testing.T, url string) {
		one, two := open(t, url), open(t, url)
		ctx := models.AsSystem(t.Context(), "test")
		must(one.Migrate(ctx))(t)
		for _, n := range []int{2, 16} {
			for name, stores := range map[string][]*models.Store{"one store": {one}, "two stores": {one, two}} {
				for way := range 3 {
					u := must(newUser(one).Save(ctx))(t)
					fns := make([]func() error, n)
					for i := range fns {
						s := stores[i%len(stores)]
						fns[i] = func() error {
							switch way {
							case 0:
								return s.SoftDeleteUser(ctx, u.ID)
							case 1:
								return s.InTx(ctx, func(ctx context.Context) error { return s.SoftDeleteUser(ctx, u.ID) })
							}
							deleted, err := s.User.Delete().Where(user.ID(u.ID)).Exec(ctx)
							if err == nil && deleted == 0 {
								return models.ErrNotFound
							}
							return err
						}
					}
					deleted := 0
					for _, err := range atOnce(fns...) {
						if err == nil {
							deleted++
						} else if !errors.Is(err, models.ErrNotFound) {
							t.Errorf("%s, %d at once: got %v, want nil or ErrNotFound", name, n, err)
						}
					}
					if got := actions(t, ctx, one, "user", u.ID); deleted != 1 || !slices.Equal(got, []string{"create", "soft_delete"}) {
						t.Errorf("%s, %d at once: %d deleted it and the trail has %v, want 1 and one soft_delete", name, n, deleted, got)
					}
				}
			}
		}
	})
}

// TestSoftDelete_RacesRestore lets deletes and restores of one user follow on each other in whatever order.
func TestSoftDelete_RacesRestore(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		for range rounds() {
			u := must(newUser(s).Save(ctx))(t)
			fns := make([]func() error, 12)
			for i := range fns {
				fns[i] = func() error { return s.SoftDeleteUser(ctx, u.ID) }
				if i%2 == 1 {
					fns[i] = func() error { return s.RestoreUser(ctx, u.ID) }
				}
			}
			done := map[string]int{}
			for i, err := range atOnce(fns...) {
				switch {
				case err == nil:
					done[[]string{"soft_delete", "restore"}[i%2]]++
				case !errors.Is(err, models.ErrNotFound):
					t.Errorf("got %v, want nil or ErrNotFound", err)
				}
			}
			trail := actions(t, ctx, s, "user", u.ID)
			for i, action := range trail[1:] {
				done[action]--
				if want := []string{"soft_delete", "restore"}[i%2]; action != want {
					t.Errorf("the trail is %v: its row %d is no %s", trail, i+1, want)
				}
			}
			if done["soft_delete"] != 0 || done["restore"] != 0 {
				t.Errorf("the trail %v has not what was done: %v", trail, done)
			}
			u = must(s.User.Get(models.IncludeDeleted(ctx), u.ID))(t)
			if last := trail[len(trail)-1]; u.IsDeleted != (last == "soft_delete") || u.IsDeleted != (u.DeletedAt != nil) {
				t.Errorf("the user is %v after %s", u, last)
			}
		}
	})
}

// TestSoftDelete_RacesUpdate updates a user while it is deleted: nothing is updated after that.
func TestSoftDelete_RacesUpdate(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		for range rounds() {
			u := must(newUser(s).Save(ctx))(t)
			fns := []func() error{func() error { return s.SoftDeleteUser(ctx, u.ID) }}
			for i := range 8 {
				fns = append(fns, func() error {
					if i%2 == 0 {
						return s.User.UpdateOneID(u.ID).SetName(fmt.Sprint(i)).Exec(ctx)
					}
					n, err := s.User.Update().Where(user.ID(u.ID)).SetName(fmt.Sprint(i)).Save(ctx)
					if err == nil && n == 0 {
						return models.ErrNotFound
					}
					return err
				})
			}
			updated := 0
			for i, err := range atOnce(fns...) {
				switch {
				case err == nil && i > 0:
					updated++
				case err != nil && (i == 0 || !errors.Is(err, models.ErrNotFound)):
					t.Errorf("the function %d answers %v", i, err)
				}
			}
			want := append(append([]string{"create"}, slices.Repeat([]string{"update"}, updated)...), "soft_delete")
			if got := actions(t, ctx, s, "user", u.ID); !slices.Equal(got, want) {
				t.Errorf("the trail is %v, want %v", got, want)
			}
			wantChain(t, ctx, s, u.ID)
		}
	})
}

// wantChain checks that each new name in the trail is the old one of the next row, and the last that of the user.
func wantChain(t *testing.T, ctx context.Context, s *models.Store, id int) {
	t.Helper()
	var name any
	for _, row := range must(s.AuditLog.Query().Where(auditlog.Entity("user"), auditlog.EntityID(id)).Order(auditlog.ByID()).All(ctx))(t) {
		if change, ok := row.Changes["name"].([]any); ok {
			if change[0] != name {
				t.Errorf("the trail goes on from the name %v, want %v", change[0], name)
			}
			name = change[1]
		}
	}
	if got := must(s.User.Get(models.IncludeDeleted(ctx), id))(t).ToMap()["name"]; got != name {
		t.Errorf("the name is %v, want %v as in the trail", got, name)
	}
}

func TestHardDelete(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]func(ctx context.Context, c *ent.Client, u *ent.User) error{
		"DeleteOne":   func(ctx context.Context, c *ent.Client, u *ent.User) error { return c.User.DeleteOne(u).Exec(ctx) },
		"DeleteOneID": func(ctx context.Context, c *ent.Client, u *ent.User) error { return c.User.DeleteOneID(u.ID).Exec(ctx) },
		"bulk": func(ctx context.Context, c *ent.Client, u *ent.User) error {
			n, err := c.User.Delete().Where(user.ID(u.ID)).Exec(ctx)
			if err == nil && n != 1 {
				return fmt.Errorf("deleted %d rows, want 1", n)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachWay(t, func(t *testing.T, ctx context.Context, c *ent.Client) {
				g := newGraveyard(t, ctx, c)
				hard := models.HardDelete(ctx)
				deadFiles := must(c.File.Query().Where(file.UserID(g.dead.ID)).IDs(ctx))(t)
				check(t, remove(hard, c, g.dead)) // that it is deleted already does not matter
				if n := must(c.User.Query().Count(models.IncludeDeleted(ctx)))(t); n != 1 {
					t.Errorf("%d users are left, want 1", n)
				}
				if id := must(c.File.Query().OnlyID(ctx))(t); id != g.liveFile.ID {
					t.Errorf("the file %d is left, want that of the living", id)
				}
				s := &models.Store{Client: c}
				for _, id := range deadFiles {
					if got := actions(t, ctx, s, "file", id); !slices.Equal(got, []string{"delete"}) {
						t.Errorf("the trail of a file is %v, want its delete", got)
					}
				}
				if got := actions(t, ctx, s, "user", g.dead.ID); !slices.Equal(got, []string{"create", "soft_delete", "delete"}) {
					t.Errorf("the trail of the user is %v, want create, soft_delete and delete", got)
				}
				if err := c.User.DeleteOne(g.dead).Exec(hard); !errors.Is(err, models.ErrNotFound) {
					t.Errorf("the second time: got %v, want ErrNotFound", err)
				}
				check(t, remove(hard, c, g.live))
				if n := must(c.User.Query().Count(models.IncludeDeleted(ctx)))(t) + must(c.File.Query().Count(ctx))(t); n != 0 {
					t.Errorf("%d rows are left, want 0", n)
				}
			})
		})
	}
}

// TestDelete_ByWhom is what a viewer may delete, and restore.
func TestDelete_ByWhom(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		dead, live := must(newUser(s).Save(ctx))(t), must(newUser(s).Save(ctx))(t)
		check(t, newFile(s, live).Exec(ctx))
		check(t, s.SoftDeleteUser(ctx, dead.ID))
		for name, tt := range map[string]struct {
			viewer context.Context
			want   error
		}{
			"the user":  {models.AsUser(ctx, live), models.ErrForbidden},
			"deleted":   {models.AsUser(ctx, dead), models.ErrForbidden},
			"a visitor": {models.AsAnonymous(ctx), models.ErrForbidden},
			"nobody":    {t.Context(), models.ErrNoViewer},
		} {
			hard := models.HardDelete(models.IncludeDeleted(tt.viewer))
			_, bulk := s.User.Delete().Exec(hard)
			for what, err := range map[string]error{
				"soft": s.SoftDeleteUser(tt.viewer, live.ID), "hard": s.User.DeleteOne(live).Exec(hard),
				"hard, of the deleted": s.User.DeleteOneID(dead.ID).Exec(hard), "in bulk": bulk,
				"restore": s.RestoreUser(tt.viewer, dead.ID), "by column": live.Update().SetIsDeleted(true).Exec(tt.viewer),
			} {
				if !errors.Is(err, tt.want) {
					t.Errorf("%s, %s: got %v, want %v", name, what, err, tt.want)
				}
			}
		}
		if n := must(s.User.Query().Count(models.IncludeDeleted(ctx)))(t) + must(s.File.Query().Count(ctx))(t); n != 3 {
			t.Errorf("%d rows are left, want 3", n)
		}
		wantSame(t, ctx, s, live)
		admin := models.AsUser(ctx, must(newUser(s).SetIsAdmin(true).Save(ctx))(t))
		check(t, s.RestoreUser(admin, dead.ID))
		check(t, s.SoftDeleteUser(admin, dead.ID))
		check(t, s.User.DeleteOneID(dead.ID).Exec(models.HardDelete(admin)))
	})
}

const retention = 30 * 24 * time.Hour

// deletedAt makes a user with a file who was deleted at that time. The clock stays there.
func deletedAt(t *testing.T, ctx context.Context, s *models.Store, c *fakeClock, at time.Time) *ent.User {
	t.Helper()
	c.set(at)
	u := must(newUser(s).Save(ctx))(t)
	check(t, newFile(s, u).Exec(ctx))
	check(t, s.SoftDeleteUser(ctx, u.ID))
	return u
}

func TestPurgeExpired(t *testing.T) {
	t.Parallel()
	eachClock(t, someDay, func(t *testing.T, ctx context.Context, s *models.Store, c *fakeClock) {
		cutoff := someDay.Add(-retention)
		gone := []*ent.User{
			deletedAt(t, ctx, s, c, cutoff.Add(-time.Hour)),
			deletedAt(t, ctx, s, c, cutoff.Add(-time.Microsecond)),
			deletedAt(t, ctx, s, c, cutoff),
		}
		kept := []*ent.User{
			deletedAt(t, ctx, s, c, cutoff.Add(time.Microsecond)),
			deletedAt(t, ctx, s, c, someDay),
		}
		restored := deletedAt(t, ctx, s, c, cutoff.Add(-time.Hour))
		check(t, s.RestoreUser(ctx, restored.ID))
		c.set(cutoff.Add(-time.Hour))
		kept = append(kept, restored, must(newUser(s).Save(ctx))(t))
		extra := must(newFile(s, gone[0]).Save(ctx))(t)
		c.set(someDay)
		report := must(s.PurgeExpired(ctx, models.PurgeOptions{DeletedUsers: retention}))(t)
		if want := (models.PurgeReport{Users: 3, Files: 4}); *report != want {
			t.Errorf("the report is %+v, want %+v", *report, want)
		}
		all := models.IncludeDeleted(ctx)
		if left := must(s.User.Query().Order(user.ByID()).IDs(all))(t); !slices.Equal(left, ids(kept)) {
			t.Errorf("the users %v are left, want %v", left, ids(kept))
		}
		if n := must(s.File.Query().Count(ctx))(t); n != 3 {
			t.Errorf("%d files are left, want the 3 of those who are", n)
		}
		for _, u := range gone {
			if got := actions(t, ctx, s, "user", u.ID); !slices.Equal(got, []string{"create", "soft_delete", "delete"}) {
				t.Errorf("the trail of a purged user is %v", got)
			}
		}
		if got := actions(t, ctx, s, "file", extra.ID); !slices.Equal(got, []string{"delete"}) {
			t.Errorf("the trail of a purged file is %v, want its delete", got)
		}
		if again := must(s.PurgeExpired(ctx, models.PurgeOptions{DeletedUsers: retention}))(t); *again != (models.PurgeReport{}) {
			t.Errorf("the second purge reports %+v, want nothing", *again)
		}
		c.set(someDay.Add(time.Microsecond))
		if next := must(s.PurgeExpired(ctx, models.PurgeOptions{DeletedUsers: retention}))(t); *next != (models.PurgeReport{Users: 1, Files: 1}) {
			t.Errorf("a microsecond later %+v is reported, want 1 user and 1 file", *next)
		}
	})
}

func ids(users []*ent.User) (ids []int) {
	for _, u := range users {
		ids = append(ids, u.ID)
	}
	slices.Sort(ids)
	return ids
}

// TestPurgeExpired_Refuses is whom and what it refuses; nothing is removed.
func TestPurgeExpired_Refuses(t *testing.T) {
	t.Parallel()
	eachClock(t, someDay, func(t *testing.T, ctx context.Context, s *models.Store, c *fakeClock) {
		u := deletedAt(t, ctx, s, c, someDay.Add(-2*retention))
		c.set(someDay)
		admin := must(newUser(s).SetIsAdmin(true).Save(ctx))(t)
		for name, tt := range map[string]struct {
			ctx    context.Context
			d      time.Duration
			refuse bool
			want   error
		}{
			"zero":                 {ctx, 0, false, nil},
			"longer ago":           {ctx, 3 * retention, false, nil},
			"negative":             {ctx, -1, true, nil},
			"an admin":             {models.AsUser(ctx, admin), retention, true, models.ErrForbidden},
			"an admin of no row":   {models.WithViewer(ctx, models.Viewer{Admin: true, Label: "job"}), retention, true, models.ErrForbidden},
			"a user":               {models.AsUser(ctx, u), retention, true, models.ErrForbidden},
			"a visitor":            {models.AsAnonymous(ctx), retention, true, models.ErrForbidden},
			"a visitor, of zero":   {models.AsAnonymous(ctx), 0, true, models.ErrForbidden},
			"nobody":               {t.Context(), retention, true, models.ErrNoViewer},
			"nobody, negative":     {t.Context(), -1, true, models.ErrNoViewer},
			"what the flags allow": {models.HardDelete(models.IncludeDeleted(models.AsUser(ctx, admin))), retention, true, models.ErrForbidden},
		} {
			report, err := s.PurgeExpired(tt.ctx, models.PurgeOptions{DeletedUsers: tt.d})
			if (err != nil) != tt.refuse || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("%s: got %v, want %v", name, err, tt.want)
			}
			if *report != (models.PurgeReport{}) {
				t.Errorf("%s: %+v is reported, want nothing", name, *report)
			}
		}
		if n := must(s.User.Query().Count(models.IncludeDeleted(ctx)))(t) + must(s.File.Query().Count(ctx))(t); n != 3 {
			t.Errorf("%d rows are left, want 3", n)
		}
	})
}

// dig makes n users with a file each who are deleted, and returns their ids.
func dig(t *testing.T, ctx context.Context, s *models.Store, n int) []int {
	t.Helper()
	users := make([]*ent.UserCreate, n)
	for i := range users {
		users[i] = newUser(s).SetIsDeleted(true)
	}
	made := must(s.User.CreateBulk(users...).Save(ctx))(t)
	files := make([]*ent.FileCreate, n)
	for i := range files {
		files[i] = newFile(s, made[i])
	}
	check(t, s.File.CreateBulk(files...).Exec(ctx))
	return ids(made)
}

// TestPurgeExpired_Batches purges more than a batch, alone and with others at the same time.
func TestPurgeExpired_Batches(t *testing.T) {
	t.Parallel()
	for _, purgers := range []int{1, 2, 4} {
		t.Run(fmt.Sprint(purgers), func(t *testing.T) {
			t.Parallel()
			eachURL(t, func(t *testing.T, url string) {
				c := newFakeClock(someDay)
				stores := []*models.Store{open(t, url, models.WithClock(c.Now)), open(t, url, models.WithClock(c.Now))}
				ctx := models.AsSystem(t.Context(), "test")
				must(stores[0].Migrate(ctx))(t)
				purged := dig(t, ctx, stores[0], 250)
				live := must(newUser(stores[0]).Save(ctx))(t)
				c.set(someDay.Add(retention))
				var (
					reports = make([]models.PurgeReport, purgers)
					fns     = make([]func() error, purgers)
					sum     models.PurgeReport
				)
				for i := range fns {
					fns[i] = func() error {
						report, err := stores[i%2].PurgeExpired(ctx, models.PurgeOptions{DeletedUsers: retention})
						reports[i] = *report
						return err
					}
				}
				check(t, errors.Join(atOnce(fns...)...))
				for _, report := range reports {
					sum.Users += report.Users
					sum.Files += report.Files
				}
				if want := (models.PurgeReport{Users: 250, Files: 250}); sum != want {
					t.Errorf("the reports %+v add up to %+v, want %+v", reports, sum, want)
				}
				if left := must(stores[0].User.Query().IDs(models.IncludeDeleted(ctx)))(t); !slices.Equal(left, []int{live.ID}) {
					t.Errorf("the users %v are left, want the living one", left)
				}
				deletes := must(stores[0].AuditLog.Query().Where(auditlog.Action("delete"), auditlog.Entity("user")).
					Order(auditlog.ByEntityID()).Select(auditlog.FieldEntityID).Ints(ctx))(t)
				if !slices.Equal(deletes, purged) {
					t.Errorf("the trail has the deletes of %v, want each of %v once", deletes, purged)
				}
				if n := must(stores[0].AuditLog.Query().Where(auditlog.Action("delete"), auditlog.Entity("file")).Count(ctx))(t); n != 250 {
					t.Errorf("the trail has %d deletes of files, want 250", n)
				}
			})
		})
	}
}

// TestPurgeExpired_Restored restores what a purge is about to take: one of the two wins.
func TestPurgeExpired_Restored(t *testing.T) {
	t.Parallel()
	eachClock(t, someDay, func(t *testing.T, ctx context.Context, s *models.Store, c *fakeClock) {
		for range rounds() {
			u := deletedAt(t, ctx, s, c, someDay)
			c.set(someDay.Add(retention))
			var report *models.PurgeReport
			errs := atOnce(
				func() error { return s.RestoreUser(ctx, u.ID) },
				func() (err error) {
					report, err = s.PurgeExpired(ctx, models.PurgeOptions{DeletedUsers: retention})
					return err
				},
			)
			check(t, errs[1])
			trail := actions(t, ctx, s, "user", u.ID)
			if errs[0] == nil {
				if last := trail[len(trail)-1]; report.Users != 0 || last != "restore" || must(s.User.Query().Where(user.ID(u.ID)).Count(ctx))(t) != 1 {
					t.Errorf("it was restored, and then %v: %+v", trail, *report)
				}
			} else if last := trail[len(trail)-1]; !errors.Is(errs[0], models.ErrNotFound) || report.Users != 1 || last != "delete" {
				t.Errorf("it was not restored: %v: %v: %+v", errs[0], trail, *report)
			}
		}
	})
}

// TestPurgeExpired_InTx joins the transaction, and goes with it.
func TestPurgeExpired_InTx(t *testing.T) {
	t.Parallel()
	eachClock(t, someDay, func(t *testing.T, ctx context.Context, s *models.Store, c *fakeClock) {
		dig(t, ctx, s, 120)
		before := len(must(s.AuditLog.Query().IDs(ctx))(t))
		c.set(someDay.Add(retention))
		for _, end := range []error{errOnPurpose, nil} {
			err := s.InTx(ctx, func(ctx context.Context) error {
				report, err := s.PurgeExpired(ctx, models.PurgeOptions{DeletedUsers: retention})
				if want := (models.PurgeReport{Users: 120, Files: 120}); err != nil || *report != want {
					t.Errorf("the report is %+v, want %+v: %v", *report, want, err)
				}
				return end
			})
			wantUsers, wantRows := 120, before
			if end == nil {
				wantUsers, wantRows = 0, before+240
			}
			users := must(s.User.Query().Count(models.IncludeDeleted(ctx)))(t)
			rows := len(must(s.AuditLog.Query().IDs(ctx))(t))
			if !errors.Is(err, end) || users != wantUsers || rows != wantRows {
				t.Errorf("%v: %d users and %d rows in the trail, want %d and %d", err, users, rows, wantUsers, wantRows)
			}
		}
	})
}

// rounds is how often a race is run.
func rounds() int {
	if os.Getenv("REVIEWPOINT_TEST_LONG") == "1" {
		return 50
	}
	return 5
}

// encode writes a value as JSON, keys in order.
func encode(t testing.TB, v any) string {
	t.Helper()
	return string(must(json.Marshal(v))(t))
}
