package models_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/user"
)

// TestInTx_Deadlock locks two rows in opposite orders. On PostgreSQL the server ends one of the two,
// which is tried again; on SQLite they take turns.
func TestInTx_Deadlock(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		one, two := must(newUser(s).Save(ctx))(t), must(newUser(s).Save(ctx))(t)
		var (
			met      sync.WaitGroup
			attempts [2]int
			errs     = make(chan error, 2)
		)
		met.Add(2)
		for i, pair := range [][2]*ent.User{{one, two}, {two, one}} {
			go func() {
				errs <- s.InTx(ctx, func(ctx context.Context) error {
					attempts[i]++
					if err := s.User.UpdateOneID(pair[0].ID).SetName("first").Exec(ctx); err != nil {
						return err
					}
					if s.Dialect() == "postgres" && attempts[i] == 1 {
						met.Done()
						met.Wait()
					}
					return s.User.UpdateOneID(pair[1].ID).SetBio("second").Exec(ctx)
				})
			}()
		}
		check(t, <-errs)
		check(t, <-errs)
		if n := must(s.User.Query().Where(user.Name("first"), user.Bio("second")).Count(ctx))(t); n != 2 {
			t.Errorf("%d users were changed by both transactions, want 2", n)
		}
		if s.Dialect() == "postgres" && attempts[0]+attempts[1] < 3 {
			t.Errorf("%v attempts, want the one that was ended to have been tried again", attempts)
		}
	})
}

// TestErrBusy writes while another one does, in the same process and as another process would.
func TestErrBusy(t *testing.T) {
	t.Parallel()
	ctx := models.AsSystem(t.Context(), "test")
	url := "sqlite://" + t.TempDir() + "/test.db?busy_timeout=10ms"
	s, other := open(t, url), open(t, url)
	must(s.Migrate(ctx))(t)
	check(t, s.InTx(ctx, func(in context.Context) error {
		check(t, newUser(s).Exec(in))
		for name, err := range map[string]error{
			"the same store":                   newUser(s).Exec(ctx),
			"another store":                    newUser(other).Exec(ctx),
			"another store, in a transaction":  other.InTx(ctx, func(ctx context.Context) error { return newUser(other).Exec(ctx) }),
			"the same store, in a transaction": s.InTx(ctx, func(ctx context.Context) error { return newUser(s).Exec(ctx) }),
		} {
			if !errors.Is(err, models.ErrBusy) {
				t.Errorf("a write of %s answers %v, want ErrBusy", name, err)
			}
		}
		return nil
	}))
	check(t, newUser(other).Exec(ctx))
	if n := countUsers(t, ctx, s); n != 2 {
		t.Errorf("%d users, want 2", n)
	}
}

// TestCanceledStatement ends a context while a statement runs that would not end by itself.
func TestCanceledStatement(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		endless := "SELECT count(*) FROM (WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c) AS c"
		if s.Dialect() == "postgres" {
			endless = "SELECT pg_sleep(600)"
		}
		run := func(ctx context.Context) error {
			rows, err := s.QueryContext(ctx, endless)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
			}
			return rows.Err()
		}
		for name, use := range map[string]func(context.Context) error{
			"alone": run,
			"in a transaction": func(ctx context.Context) error {
				return s.InTx(ctx, func(ctx context.Context) error {
					return errors.Join(newUser(s).Exec(ctx), run(ctx))
				})
			},
		} {
			short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			if err := use(short); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: the statement answers %v, want context.DeadlineExceeded", name, err)
			}
			cancel()
		}
		check(t, newUser(s).Exec(ctx)) // the connections are free and sound
		if n := countUsers(t, ctx, s); n != 1 {
			t.Errorf("%d users, want the 1 made afterwards", n)
		}
	})
}

// TestInTx_OfOneStore carries the transaction of one store through another.
func TestInTx_OfOneStore(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		other := models.OpenTest(t)
		err := s.InTx(ctx, func(ctx context.Context) error {
			check(t, newUser(s).Exec(ctx))
			check(t, newUser(other).Exec(ctx))
			return errOnPurpose
		})
		if !errors.Is(err, errOnPurpose) {
			t.Errorf("got %v, want the function's error", err)
		}
		if here, there := countUsers(t, ctx, s), countUsers(t, ctx, other); here != 0 || there != 1 {
			t.Errorf("%d users in the store and %d in the other, want 0 and 1", here, there)
		}
	})
}

// TestQueryContext_WaitsForTheWriterNoLonger: a raw read that does not begin with SELECT goes to the writer, and must not wait for it for ever.
func TestQueryContext_WaitsForTheWriterNoLonger(t *testing.T) {
	t.Parallel()
	ctx := models.AsSystem(t.Context(), "test")
	s := open(t, "sqlite://"+t.TempDir()+"/test.db?busy_timeout=10ms")
	must(s.Migrate(ctx))(t)
	check(t, s.InTx(ctx, func(in context.Context) error {
		check(t, newUser(s).Exec(in))
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		//nolint:gocritic,rowserrcheck,sqlclosecheck // There are no rows.
		if _, err := s.QueryContext(ctx, "WITH one AS (SELECT 1 AS n) SELECT n FROM one"); !errors.Is(err, models.ErrBusy) {
			t.Errorf("got %v, want ErrBusy", err)
		}
		return nil
	}))
}
