package models_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql"
	"entgo.io/ent/privacy"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/file"
	"github.com/reviewpoint/models/ent/user"
	"github.com/reviewpoint/models/internal/database"
)

// TestRules_SurviveInterceptors lets a service's interceptors do to queries what they please.
func TestRules_SurviveInterceptors(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		w := newWorld(t, ctx, s)
		s.User.Intercept(ent.InterceptFunc(func(next ent.Querier) ent.Querier {
			return ent.QuerierFunc(func(ctx context.Context, q ent.Query) (ent.Value, error) {
				if users, ok := q.(*ent.UserQuery); ok {
					q = users.Clone().Limit(1000)
				}
				return next.Query(ctx, q)
			})
		}))
		if rows := must(s.User.Query().All(models.AsUser(ctx, w.other)))(t); len(rows) != 1 || rows[0].ID != w.other.ID {
			t.Errorf("a cloned query sees %v, want the own row", rows)
		}
		// A default limit must not keep rows from the trail, nor from the change.
		limit := ent.TraverseFunc(func(_ context.Context, q ent.Query) error {
			switch q := q.(type) {
			case *ent.UserQuery:
				q.Limit(1)
			case *ent.FileQuery:
				q.Limit(1)
			}
			return nil
		})
		s.User.Intercept(limit)
		s.File.Intercept(limit)
		check(t, s.File.CreateBulk(newFile(s, w.target), newFile(s, w.target)).Exec(ctx))
		if n := must(s.User.Update().SetName("new").Save(ctx))(t); n != 3 {
			t.Errorf("changed %d users, want 3", n)
		}
		check(t, s.User.DeleteOne(w.target).Exec(models.HardDelete(ctx)))
		for action, want := range map[string]int{"user update": 3, "file delete": 3, "user delete": 1} {
			entity, action, _ := strings.Cut(action, " ")
			got := column[int](t, ctx, s, "SELECT count(*) FROM audit_logs WHERE entity = $1 AND action = $2 AND actor = 'system:test'", entity, action)[0]
			if got != want {
				t.Errorf("%d rows of %s %s, want %d", got, entity, action, want)
			}
		}
	})
}

// TestRules_OfWholeTables: whoever has rows reads and changes these alone where nothing is said of whose.
func TestRules_OfWholeTables(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		w := newWorld(t, ctx, s)
		check(t, s.File.Update().Where(file.UserID(w.target.ID)).SetSize(7).Exec(ctx))
		target := must(s.User.Get(ctx, w.target.ID))(t)
		as := models.AsUser(ctx, w.other)
		for name, n := range map[string]int{
			"list of users":   len(must(s.User.Query().All(as))(t)),
			"list of files":   len(must(s.File.Query().All(as))(t)),
			"count":           must(s.File.Query().Count(as))(t),
			"size and one":    must(s.File.Query().Aggregate(ent.Sum(file.FieldSize)).Int(as))(t) + 1,
			"groups":          len(must(s.File.Query().GroupBy(file.FieldUserID).Ints(as))(t)),
			"files of users":  must(s.User.Query().QueryFiles().Count(as))(t),
			"users of files":  must(s.File.Query().QueryUser().Count(as))(t),
			"users by a file": must(s.User.Query().Where(user.HasFiles()).Count(as))(t),
			"bulk update":     must(s.User.Update().SetName("n").Save(as))(t),
			"bulk delete":     must(s.File.Delete().Exec(as))(t),
		} {
			if n != 1 {
				t.Errorf("%s: %d, want the own row alone", name, n)
			}
		}
		after := must(s.User.Get(ctx, w.target.ID))(t)
		if left := must(s.File.Query().All(ctx))(t); !after.UpdatedAt.Equal(target.UpdatedAt) || len(left) != 1 || left[0].UserID != w.target.ID {
			t.Errorf("the files left are %v, and the other user is %v", left, after)
		}
	})
}

// TestRules_StockDriver walks the matrix for whoever is no administrator, by a client on ent's own driver.
func TestRules_StockDriver(t *testing.T) {
	t.Parallel()
	eachURL(t, func(t *testing.T, url string) {
		ctx, s := models.AsSystem(t.Context(), "test"), open(t, url)
		must(s.Migrate(ctx))(t)
		w := newWorld(t, ctx, s)
		w.Store = &models.Store{Client: stock(t, url)}
		w.target, w.file = must(w.User.Get(ctx, w.target.ID))(t), must(w.File.Get(ctx, w.file.ID))(t)
		tables := w.operations()
		for _, line := range strings.Split(strings.TrimSpace(rules), "\n")[2:] {
			row := cells(line)
			names, _, _ := strings.Cut(row[1], " (")
			for table := range strings.SplitSeq(row[0], ", ") {
				for name := range strings.SplitSeq(names, ", ") {
					for i, want := range row[2:6] {
						creates := strings.Contains(name, "create")
						if creates && want == "yes" { // SQLite may refuse a time in the form of that driver.
							continue
						}
						n, err := tables[table][name](w.viewers(ctx)[i])
						got := outcome(n, err)
						if got != want && (got != "not audited" || !isChange(name) || creates || want == "no viewer" || want == "no" && name != "modified update") {
							t.Errorf("%s of %s by viewer %d: %s (%v), want %s", name, table, i, got, err, want)
						}
					}
				}
			}
		}
		if n := must(s.File.Query().Count(ctx))(t); n != 2 {
			t.Errorf("there are %d files, want those two that there were", n)
		}
	})
}

// TestRules_OfMutations uses what a mutation exports for the audit trail.
func TestRules_OfMutations(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		w := newWorld(t, ctx, s)
		m := s.User.Update().Mutation()
		for name, as := range map[string]context.Context{"anonymous": models.AsAnonymous(ctx), "nobody": nobody{ctx}} {
			_, lock := m.Lock(as)
			_, rows := m.Rows(as, []int{w.target.ID})
			for what, err := range map[string]error{"Lock": lock, "Rows": rows, "DeleteDependents": m.DeleteDependents(as, []int{w.target.ID})} {
				if !errors.Is(err, models.ErrForbidden) && !errors.Is(err, models.ErrNoViewer) {
					t.Errorf("%s as %s: got %v, want a refusal", what, name, err)
				}
			}
		}
		as := models.AsUser(ctx, w.other)
		if ids := must(m.Lock(as))(t); len(ids) != 1 || ids[0] != w.other.ID {
			t.Errorf("a user locks %v", ids)
		}
		if rows := must(m.Rows(as, []int{w.target.ID, w.other.ID}))(t); len(rows) != 1 {
			t.Errorf("a user reads %d rows", len(rows))
		}
		check(t, s.User.UpdateOne(w.target).SetName("moved").Exec(ctx)) // which PostgreSQL then finds last
		if ids := must(m.Lock(ctx))(t); len(ids) != 3 || !slices.IsSorted(ids) {
			t.Errorf("the system locks %v, want all in order, or two could wait for each other", ids)
		}
	})
}

// TestRules_OfOperations makes mutations other operations than their builders'.
func TestRules_OfOperations(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		w := newWorld(t, ctx, s)
		own := must(newFile(s, w.other).Save(ctx))(t)
		before := w.dump(t, ctx)
		as := models.AsUser(ctx, w.other)
		for name, change := range map[string]func(op ent.Op) error{
			"update": func(op ent.Op) error {
				u := s.File.Update().SetUserID(w.other.ID)
				u.Mutation().SetOp(op)
				return u.Exec(as)
			},
			"update one": func(op ent.Op) error {
				u := s.File.UpdateOne(own).SetFilename("new").SetUserID(w.target.ID)
				u.Mutation().SetOp(op)
				return u.Exec(as)
			},
			"create": func(op ent.Op) error {
				c := newFile(s, w.target)
				c.Mutation().SetOp(op)
				return c.Exec(as)
			},
			"bulk create": func(op ent.Op) error {
				c := newFile(s, w.target)
				c.Mutation().SetOp(op)
				return s.File.CreateBulk(c, newFile(s, w.other)).Exec(as)
			},
			"trail": func(op ent.Op) error {
				u := s.AuditLog.Update().SetUpdatedAt(time.Now())
				u.Mutation().SetOp(op)
				return u.Exec(ctx)
			},
			"user": func(op ent.Op) error {
				u := s.User.UpdateOne(w.target).SetName("new")
				u.Mutation().SetOp(op)
				return u.Exec(models.AsUser(ctx, w.admin))
			},
		} {
			for _, op := range []ent.Op{
				ent.OpCreate, ent.OpDelete, ent.OpDeleteOne,
				ent.OpCreate | ent.OpUpdate, ent.OpCreate | ent.OpDelete, ent.OpUpdate | ent.OpDelete, ent.OpUpdate | ent.OpUpdateOne,
			} {
				if strings.Contains(name, "create") && op == ent.OpCreate || name == "user" && op != ent.OpCreate {
					continue // its own, or a soft delete, which an administrator may
				}
				if err := change(op); !errors.Is(err, models.ErrForbidden) {
					t.Errorf("%s as %s: got %v, want ErrForbidden", name, op, err)
				}
			}
		}
		// A hook of the service's that does so to a delete.
		var pretended ent.Op
		s.AuditLog.Use(func(next ent.Mutator) ent.Mutator {
			return ent.MutateFunc(func(ctx context.Context, m ent.Mutation) (ent.Value, error) {
				m.(*ent.AuditLogMutation).SetOp(pretended)
				return next.Mutate(ctx, m)
			})
		})
		for _, pretended = range []ent.Op{ent.OpCreate, ent.OpCreate | ent.OpDelete} {
			if _, err := s.AuditLog.Delete().Exec(ctx); !errors.Is(err, models.ErrForbidden) {
				t.Errorf("delete of the trail as %s: got %v, want ErrForbidden", pretended, err)
			}
		}
		if w.dump(t, ctx) != before {
			t.Error("something changed")
		}
	})
}

// TestRules_HeedNoDecision gives the context what ent's privacy package takes for a decision.
func TestRules_HeedNoDecision(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		w := newWorld(t, ctx, s)
		for table, operations := range w.operations() {
			for name, op := range operations {
				var asked, decided [6]string
				for i := range asked {
					_ = s.InTx(ctx, func(ctx context.Context) error { asked[i] = outcome(op(w.viewers(ctx)[i])); return errUndone })
					_ = s.InTx(ctx, func(ctx context.Context) error {
						decided[i] = outcome(op(privacy.DecisionContext(w.viewers(ctx)[i], privacy.Allow)))
						return errUndone
					})
				}
				if decided != asked {
					t.Errorf("%s of %s: %v, want %v", name, table, decided, asked)
				}
			}
		}
	})
}

// TestDoNothing_InTx does nothing, and so spoils nothing.
func TestDoNothing_InTx(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		w := newWorld(t, ctx, s)
		check(t, s.InTx(ctx, func(ctx context.Context) error {
			err := upsert(s, w.target).DoNothing().Exec(ctx)
			if err == nil || strings.Contains(err.Error(), "transaction") {
				t.Errorf("got %v, want that no row was answered", err)
			}
			return s.User.UpdateOne(w.target).SetName("after").Exec(ctx)
		}))
		if u := must(s.User.Get(ctx, w.target.ID))(t); u.Name == nil || *u.Name != "after" {
			t.Errorf("the user is %v", u)
		}
	})
}

// TestUpdate_BesideUpload changes a user while a transaction creates a file of theirs: PostgreSQL locks
// the user's key for that, which an update does not touch.
func TestUpdate_BesideUpload(t *testing.T) {
	t.Parallel()
	ctx, s := models.AsSystem(t.Context(), "test"), open(t, postgresURL(t)+"&lock_timeout=1")
	u := must(newUser(s).Save(ctx))(t)
	check(t, s.InTx(ctx, func(in context.Context) error {
		check(t, newFile(s, u).Exec(in))
		check(t, s.User.UpdateOneID(u.ID).SetName("beside").Exec(ctx))
		if err := s.User.DeleteOneID(u.ID).Exec(models.HardDelete(ctx)); !errors.Is(err, models.ErrBusy) {
			t.Errorf("a hard delete beside it: got %v, want ErrBusy", err)
		}
		return s.User.DeleteOneID(u.ID).Exec(ctx) // softly
	}))
}

// TestHardDelete_KeepsUploadsOut creates a file between the deletion of a user's files and that of the
// user: the database would delete it along, unseen by the trail.
func TestHardDelete_KeepsUploadsOut(t *testing.T) {
	t.Parallel()
	ctx, s := models.AsSystem(t.Context(), "test"), open(t, postgresURL(t)+"&lock_timeout=1")
	u := must(newUser(s).Save(ctx))(t)
	s.File.Use(func(next ent.Mutator) ent.Mutator {
		return ent.MutateFunc(func(in context.Context, m ent.Mutation) (ent.Value, error) {
			value, err := next.Mutate(in, m)
			if m.Op().Is(ent.OpDelete) {
				if err := newFile(s, u).Exec(ctx); !errors.Is(err, models.ErrBusy) {
					t.Errorf("an upload meanwhile: got %v, want ErrBusy", err)
				}
			}
			return value, err
		})
	})
	for _, remove := range []func(ctx context.Context) error{
		func(ctx context.Context) error { return s.User.DeleteOne(u).Exec(ctx) },
		func(ctx context.Context) error { return must2(s.User.Delete().Exec(ctx)) },
	} {
		u = must(newUser(s).Save(ctx))(t)
		check(t, newFile(s, u).Exec(ctx))
		check(t, remove(models.HardDelete(ctx)))
	}
}

// statements returns a client that keeps what it sends.
func statements(t *testing.T, ctx context.Context, url string) (*ent.Client, *[]string) {
	t.Helper()
	db := must(database.Open(ctx, url, database.Options{}))(t)
	t.Cleanup(func() { db.Close() })
	sent := &[]string{}
	return ent.NewClient(ent.Driver(dialect.DebugWithContext(db, func(_ context.Context, line ...any) {
		*sent = append(*sent, fmt.Sprint(line...))
	}))), sent
}

// TestBulkCreate_LooksUpOnce counts the statements of an upload of many files by a user.
func TestBulkCreate_LooksUpOnce(t *testing.T) {
	t.Parallel()
	eachURL(t, func(t *testing.T, url string) {
		ctx, s := models.AsSystem(t.Context(), "test"), open(t, url)
		must(s.Migrate(ctx))(t)
		u := must(newUser(s).Save(ctx))(t)
		client, sent := statements(t, ctx, url)
		files := make([]*ent.FileCreate, 100)
		for i := range files {
			files[i] = client.File.Create().SetFilename("a").SetContentType("b").SetUserID(u.ID)
		}
		check(t, client.File.CreateBulk(files...).Exec(models.AsUser(ctx, u)))
		if len(*sent) != 2 {
			t.Errorf("%d statements, want the look-up and the insert: %.300s", len(*sent), *sent)
		}
	})
}

// TestCreate_UsesIndexes asks SQLite how it looks for the rows that a new user could be in the way of.
func TestCreate_UsesIndexes(t *testing.T) {
	t.Parallel()
	url := "sqlite://" + t.TempDir() + "/test.db"
	ctx, s := models.AsSystem(t.Context(), "test"), open(t, url)
	must(s.Migrate(ctx))(t)
	client, sent := statements(t, ctx, url)
	check(t, client.User.Create().SetEmail("a@example.org").SetHashedPassword("x").Exec(ctx))
	query := regexp.MustCompile("query=(SELECT .*) args=").FindStringSubmatch((*sent)[0])
	if query == nil {
		t.Fatalf("the first statement is %s", (*sent)[0])
	}
	rows := must(s.QueryContext(ctx, "EXPLAIN QUERY PLAN "+query[1], "p", "a@example.org"))(t)
	defer rows.Close()
	var plan []string
	for rows.Next() {
		var id, parent, unused int
		var step string
		check(t, rows.Scan(&id, &parent, &unused, &step))
		plan = append(plan, step)
	}
	check(t, rows.Err())
	if text := strings.Join(plan, "; "); strings.Contains(text, "SCAN") || strings.Count(text, "USING INDEX") != 2 {
		t.Errorf("the plan is %s, want two searches by index", text)
	}
}

// TestQueries_OfBothOrders: what orders a query cannot widen it, whichever way it is read.
func TestQueries_OfBothOrders(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		w := newWorld(t, ctx, s)
		as := models.AsUser(ctx, w.other)
		everything := func(q *sql.Selector) { q.Or().Where(sql.NotNull(q.C("id"))) }
		ordered := func() *ent.UserQuery { return s.User.Query().Order(everything, user.ByID()) }
		all, ids := must(ordered().All(as))(t), must(ordered().IDs(as))(t)
		names := must(ordered().Select(user.FieldEmail).Strings(as))(t)
		if len(all) != 1 || len(ids) != 1 || len(names) != 1 || ids[0] != w.other.ID {
			t.Errorf("a user sees %d rows, ids %v and %d addresses, want the own", len(all), ids, len(names))
		}
		query := s.File.Query().Order(file.ByID(sql.OrderDesc()))
		ids = must(query.IDs(ctx))(t)
		files := must(query.Clone().All(ctx))(t) // once it was read, a query still has its order
		if len(ids) != 2 || ids[0] < ids[1] || len(files) != 2 || files[0].ID < files[1].ID {
			t.Errorf("in descending order the files are %v and then %v", ids, files)
		}
		if files = must(s.File.Query().Modify(func(q *sql.Selector) { q.Limit(1) }).All(ctx))(t); len(files) != 1 {
			t.Errorf("a modified query without a condition finds %v", files)
		}
	})
}
