package models_test

import (
	"context"
	"database/sql"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/user"
)

var errOnPurpose = errors.New("on purpose")

func countUsers(t *testing.T, ctx context.Context, s *models.Store) int {
	t.Helper()
	return must(s.User.Query().Count(ctx))(t)
}

func TestInTx_Commit(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		check(t, s.InTx(ctx, func(in context.Context) error {
			u := must(newUser(s).Save(in))(t)
			check(t, s.File.CreateBulk(newFile(s, u), newFile(s, u)).Exec(in))
			check(t, u.Update().SetName("Ada").Exec(in))
			// Its own writes are seen, by eager loads and edges too; outside they are not.
			seen := must(s.User.Query().WithFiles().Only(in))(t)
			if len(seen.Edges.Files) != 2 || must(u.QueryFiles().Count(in))(t) != 2 {
				t.Errorf("sees %d files of its own, want 2", len(seen.Edges.Files))
			}
			if n := countUsers(t, ctx, s); n != 0 {
				t.Errorf("%d users are seen outside, want 0", n)
			}
			return nil
		}))
		if n := countUsers(t, ctx, s); n != 1 {
			t.Errorf("%d users after the commit, want 1", n)
		}
		check(t, s.InTx(ctx, func(context.Context) error { return nil })) // nothing to commit
	})
}

// TestInTx_Rollback ends a transaction in every way but one.
func TestInTx_Rollback(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(context.CancelFunc) error{
		"error":  func(context.CancelFunc) error { return errOnPurpose },
		"panic":  func(context.CancelFunc) error { panic(errOnPurpose) },
		"goexit": func(context.CancelFunc) error { runtime.Goexit(); return nil },
		"cancel": func(cancel context.CancelFunc) error { cancel(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
				outer := ctx
				ctx, cancel := context.WithCancel(ctx)
				defer cancel()
				var (
					err      error
					panicked any
					done     = make(chan struct{})
				)
				go func() {
					defer close(done)
					defer func() { panicked = recover() }()
					err = s.InTx(ctx, func(ctx context.Context) error {
						u, err := newUser(s).Save(ctx)
						if err != nil {
							return err
						}
						if err := s.File.CreateBulk(newFile(s, u), newFile(s, u)).Exec(ctx); err != nil {
							return err
						}
						if err := u.Update().SetName("x").Exec(ctx); err != nil {
							return err
						}
						return end(cancel)
					})
				}()
				<-done
				switch {
				case name == "error" && !errors.Is(err, errOnPurpose):
					t.Errorf("got %v, want the function's error", err)
				case name == "panic" && panicked != errOnPurpose: //nolint:errorlint // The very value must come through.
					t.Errorf("the panic is %v, want the function's", panicked)
				case name == "cancel" && !errors.Is(err, context.Canceled):
					t.Errorf("got %v, want context.Canceled", err)
				}
				if n := countUsers(t, outer, s) + must(s.File.Query().Count(outer))(t); n != 0 {
					t.Errorf("%d rows were kept", n)
				}
				check(t, newUser(s).Exec(outer)) // the connection is free and sound
			})
		})
	}
}

func TestInTx_Joined(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		check(t, s.InTx(ctx, func(ctx context.Context) error {
			if err := newUser(s).Exec(ctx); err != nil {
				return err
			}
			return s.InTx(ctx, func(ctx context.Context) error { return newUser(s).Exec(ctx) })
		}))
		if n := countUsers(t, ctx, s); n != 2 {
			t.Errorf("%d users, want 2", n)
		}
		err := s.InTx(ctx, func(ctx context.Context) error {
			check(t, s.InTx(ctx, func(ctx context.Context) error { return newUser(s).Exec(ctx) }))
			return errOnPurpose
		})
		if n := countUsers(t, ctx, s); !errors.Is(err, errOnPurpose) || n != 2 {
			t.Errorf("%v and %d users: the inner transaction committed by itself", err, n)
		}
		// An inner failure that the outer one swallows.
		err = s.InTx(ctx, func(ctx context.Context) error {
			check(t, newUser(s).Exec(ctx))
			inner := s.InTx(ctx, func(ctx context.Context) error {
				check(t, newUser(s).Exec(ctx))
				return errOnPurpose
			})
			if !errors.Is(inner, errOnPurpose) {
				t.Errorf("the inner one answers %v, want its function's error", inner)
			}
			if err := newUser(s).Exec(ctx); !errors.Is(err, models.ErrTxFailed) {
				t.Errorf("a statement after it answers %v, want ErrTxFailed", err)
			}
			return nil
		})
		if n := countUsers(t, ctx, s); !errors.Is(err, models.ErrTxFailed) || n != 2 {
			t.Errorf("got %v and %d users, want ErrTxFailed and 2", err, n)
		}
	})
}

// TestInTx_FailedStatement holds SQLite to what PostgreSQL does.
func TestInTx_FailedStatement(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		taken := must(newUser(s).Save(ctx))(t)
		err := s.InTx(ctx, func(ctx context.Context) error {
			check(t, newUser(s).Exec(ctx))
			if err := newUser(s).SetEmail(taken.Email).Exec(ctx); !errors.Is(err, models.ErrUnique) {
				t.Errorf("got %v, want ErrUnique", err)
			}
			if _, err := s.User.Query().Count(ctx); !errors.Is(err, models.ErrTxFailed) {
				t.Errorf("a query after it answers %v, want ErrTxFailed", err)
			}
			return nil
		})
		if n := countUsers(t, ctx, s); !errors.Is(err, models.ErrTxFailed) || n != 1 {
			t.Errorf("got %v and %d users, want ErrTxFailed and 1", err, n)
		}
	})
}

func TestInTx_ContextOfEndedTransaction(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		for _, end := range []error{nil, errOnPurpose} {
			var stale context.Context
			_ = s.InTx(ctx, func(ctx context.Context) error {
				stale = ctx //nolint:fatcontext // To be used too late is what it is for.
				check(t, newUser(s).Exec(ctx))
				return end
			})
			_, queried := s.User.Query().All(stale)
			for what, err := range map[string]error{
				"create": newUser(s).Exec(stale),
				"query":  queried,
				"InTx":   s.InTx(stale, func(context.Context) error { return nil }),
			} {
				if !errors.Is(err, models.ErrTxDone) || !errors.Is(err, sql.ErrTxDone) {
					t.Errorf("%s with the context of an ended transaction answers %v, want ErrTxDone", what, err)
				}
			}
		}
		if n := countUsers(t, ctx, s); n != 1 {
			t.Errorf("%d users, want the 1 of the transaction that committed", n)
		}
	})
}

func TestClientTx(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		tx := must(s.Tx(ctx))(t)
		u := must(tx.User.Create().SetEmail("a@example.org").SetHashedPassword("x").Save(ctx))(t)
		check(t, u.Update().SetName("Ada").Exec(ctx))
		if n := countUsers(t, ctx, s); n != 0 {
			t.Errorf("%d users are seen outside, want 0", n)
		}
		check(t, tx.Commit())
		if err := tx.Rollback(); !errors.Is(err, sql.ErrTxDone) {
			t.Errorf("a deferred rollback answers %v, want ErrTxDone", err)
		}
		tx = must(s.Tx(ctx))(t)
		check(t, tx.User.Create().SetEmail("b@example.org").SetHashedPassword("x").Exec(ctx))
		check(t, tx.Rollback())
		if n := countUsers(t, ctx, s); n != 1 {
			t.Errorf("%d users, want 1", n)
		}
	})
}

func TestClientTx_InsideInTx(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		use := func(ctx context.Context, end func(*ent.Tx) error) error {
			tx, err := s.Tx(ctx)
			if err != nil {
				return err
			}
			defer tx.Rollback() //nolint:errcheck // It follows a commit, as people write it.
			if err := tx.User.Create().SetEmail("a@example.org").SetHashedPassword("x").Exec(ctx); err != nil {
				return err
			}
			return end(tx)
		}
		commit := (*ent.Tx).Commit
		if err := s.InTx(ctx, func(ctx context.Context) error {
			check(t, use(ctx, commit))
			return errOnPurpose
		}); !errors.Is(err, errOnPurpose) || countUsers(t, ctx, s) != 0 {
			t.Errorf("%v: the inner transaction committed by itself", err)
		}
		if err := s.InTx(ctx, func(ctx context.Context) error { return use(ctx, (*ent.Tx).Rollback) }); !errors.Is(err, models.ErrTxFailed) || countUsers(t, ctx, s) != 0 {
			t.Errorf("got %v after the inner rollback, want ErrTxFailed", err)
		}
		check(t, s.InTx(ctx, func(ctx context.Context) error { return use(ctx, commit) }))
		if n := countUsers(t, ctx, s); n != 1 {
			t.Errorf("%d users, want 1", n)
		}
	})
}

// TestReaderDuringWrite reads while a transaction has written and not committed.
func TestReaderDuringWrite(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := must(newUser(s).SetName("old").Save(ctx))(t)
		check(t, s.InTx(ctx, func(in context.Context) error {
			check(t, s.User.Update().SetName("new").Exec(in))
			check(t, newUser(s).Exec(in))
			if read := must(s.User.Query().All(ctx))(t); len(read) != 1 || *read[0].Name != "old" {
				t.Errorf("outside, %v is seen before the commit", read)
			}
			return nil
		}))
		if read := must(s.User.Get(ctx, u.ID))(t); *read.Name != "new" || countUsers(t, ctx, s) != 2 {
			t.Errorf("%v is seen after the commit", read)
		}
	})
}

// TestInTx_Retry lets two transactions each read what the other writes. On SQLite they take turns;
// on PostgreSQL one loses and is tried again.
func TestInTx_Retry(t *testing.T) {
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
					if s.Dialect() == "postgres" {
						if _, err := s.ExecContext(ctx, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"); err != nil {
							return err
						}
					}
					admins, err := s.User.Query().Where(user.IsAdmin(true)).Count(ctx)
					if err != nil {
						return err
					}
					if s.Dialect() == "postgres" && attempts[i] == 1 {
						met.Done()
						met.Wait() // both have read before either writes
					}
					if admins > 0 {
						return nil // there is one: no need for another
					}
					return s.User.UpdateOneID(pair[0].ID).SetIsAdmin(true).Exec(ctx)
				})
			}()
		}
		check(t, <-errs)
		check(t, <-errs)
		if n := must(s.User.Query().Where(user.IsAdmin(true)).Count(ctx))(t); n != 1 {
			t.Errorf("%d admins, want 1: the transactions did not see each other", n)
		}
		if s.Dialect() == "postgres" && attempts[0]+attempts[1] < 3 {
			t.Errorf("%v attempts, want one transaction to have been tried again", attempts)
		}
	})
}

func TestInTx_GivesUp(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		attempts := 0
		err := s.InTx(ctx, func(ctx context.Context) error {
			attempts++
			if s.Dialect() != "postgres" {
				return errOnPurpose
			}
			_, err := s.ExecContext(ctx, "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$")
			return err
		})
		if s.Dialect() == "postgres" && (!errors.Is(err, models.ErrSerialization) || attempts != 5) {
			t.Errorf("got %v after %d attempts, want ErrSerialization after 5", err, attempts)
		}
		if s.Dialect() != "postgres" && (!errors.Is(err, errOnPurpose) || attempts != 1) {
			t.Errorf("got %v after %d attempts: an error of the function was tried again", err, attempts)
		}
	})
}

func TestRollbackTest(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		kept := must(newUser(s).Save(ctx))(t)
		t.Run("changes", func(t *testing.T) {
			ctx := models.RollbackTest(t, s)
			if v, ok := models.ViewerFrom(ctx); !ok || !v.System {
				t.Errorf("%v asks, want the system", v)
			}
			check(t, newUser(s).Exec(ctx))
			check(t, kept.Update().SetName("x").Exec(ctx))
			// What fails is undone alone.
			for range 2 {
				if err := newUser(s).SetEmail(kept.Email).Exec(ctx); !errors.Is(err, models.ErrUnique) {
					t.Errorf("got %v, want ErrUnique", err)
				}
			}
			err := s.InTx(ctx, func(ctx context.Context) error {
				check(t, newUser(s).Exec(ctx))
				return newUser(s).SetEmail(kept.Email).Exec(ctx)
			})
			if !errors.Is(err, models.ErrUnique) {
				t.Errorf("got %v, want ErrUnique", err)
			}
			check(t, s.InTx(ctx, func(ctx context.Context) error { return newUser(s).Exec(ctx) }))
			if n := countUsers(t, ctx, s); n != 3 {
				t.Errorf("%d users in the test, want 3", n)
			}
		})
		if n := countUsers(t, ctx, s); n != 1 || must(s.User.Get(ctx, kept.ID))(t).Name != nil {
			t.Errorf("%d users after the test, want the 1 of before, as it was", n)
		}
	})
}

func TestContextErrors(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		canceled, cancel := context.WithCancel(ctx)
		cancel()
		late, stop := context.WithDeadline(ctx, time.Now().Add(-time.Second))
		defer stop()
		for want, ctx := range map[error]context.Context{context.Canceled: canceled, context.DeadlineExceeded: late} {
			_, read := s.User.Query().All(ctx)
			for what, err := range map[string]error{"read": read, "write": newUser(s).Exec(ctx), "ping": s.Ping(ctx)} {
				if !errors.Is(err, want) {
					t.Errorf("%s answers %v, want %v", what, err, want)
				}
			}
		}
	})
}

// TestInTx_GoesOnAfterNotFound: ent wraps UpdateOne in a transaction of its own, which it rolls back when there is no such row.
func TestInTx_GoesOnAfterNotFound(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		check(t, s.InTx(ctx, func(ctx context.Context) error {
			if err := s.User.UpdateOneID(424242).SetName("x").Exec(ctx); !ent.IsNotFound(err) {
				t.Errorf("got %v, want not found", err)
			}
			return newUser(s).Exec(ctx)
		}))
		if n := countUsers(t, ctx, s); n != 1 {
			t.Errorf("%d users, want the 1 made after the update found none", n)
		}
	})
}

// TestInTx_InnerFailsBeforeAnyStatement leaves the outer transaction nothing to roll back.
func TestInTx_InnerFailsBeforeAnyStatement(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		err := s.InTx(ctx, func(ctx context.Context) error {
			_ = s.InTx(ctx, func(context.Context) error { return errOnPurpose })
			return nil
		})
		if !errors.Is(err, models.ErrTxFailed) {
			t.Errorf("got %v, want ErrTxFailed", err)
		}
	})
}

// TestRollbackTest_InTxIsAsOutside: inside RollbackTest, an InTx answers what it answers outside.
func TestRollbackTest_InTxIsAsOutside(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		kept := must(newUser(s).Save(ctx))(t)
		taken := func(ctx context.Context) error { return newUser(s).SetEmail(kept.Email).Exec(ctx) }
		for name, fn := range map[string]func(context.Context) error{
			"a failure swallowed":              func(ctx context.Context) error { _ = taken(ctx); return nil },
			"a failure swallowed, and went on": func(ctx context.Context) error { _ = taken(ctx); return newUser(s).Exec(ctx) },
			"an inner failure swallowed": func(ctx context.Context) error {
				_ = s.InTx(ctx, func(ctx context.Context) error { check(t, newUser(s).Exec(ctx)); return errOnPurpose })
				return nil
			},
		} {
			t.Run(name, func(t *testing.T) {
				ctx := models.RollbackTest(t, s)
				var stale context.Context
				err := s.InTx(ctx, func(ctx context.Context) error {
					stale = ctx //nolint:fatcontext // To be used too late is what it is for.
					check(t, newUser(s).Exec(ctx))
					return fn(ctx)
				})
				if !errors.Is(err, models.ErrTxFailed) {
					t.Errorf("got %v, want ErrTxFailed", err)
				}
				if n := countUsers(t, ctx, s); n != 1 {
					t.Errorf("%d users, want 1: the transaction failed", n)
				}
				if err := newUser(s).Exec(stale); !errors.Is(err, models.ErrTxDone) {
					t.Errorf("its context answers %v afterwards, want ErrTxDone", err)
				}
				tx := must(s.Tx(ctx))(t)
				check(t, tx.User.Create().SetEmail("tx@example.org").SetHashedPassword("x").Exec(ctx))
				check(t, tx.Rollback())
				tx = must(s.Tx(ctx))(t)
				check(t, tx.User.Create().SetEmail("tx@example.org").SetHashedPassword("x").Exec(ctx))
				check(t, tx.Commit())
				if n := countUsers(t, ctx, s); n != 2 {
					t.Errorf("%d users, want 2: one more was committed", n)
				}
			})
		}
		if n := countUsers(t, ctx, s); n != 1 {
			t.Errorf("%d users after the tests, want 1", n)
		}
	})
}

// TestInTx_DeadlineBeforeCommit is no lost commit: none was sent.
func TestInTx_DeadlineBeforeCommit(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		late, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		err := s.InTx(late, func(ctx context.Context) error {
			if err := newUser(s).Exec(ctx); err != nil {
				return err
			}
			<-ctx.Done()
			return nil
		})
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, models.ErrCommitUnknown) {
			t.Errorf("got %v, want context.DeadlineExceeded and not ErrCommitUnknown", err)
		}
		if n := countUsers(t, ctx, s); n != 0 {
			t.Errorf("%d users were kept", n)
		}
	})
}

func TestBeginTx_OptionsThatCannotHold(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		if err := s.InTx(ctx, func(ctx context.Context) error {
			if _, err := s.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable}); err == nil {
				t.Error("options inside another transaction are accepted")
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		tx, err := s.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
		if s.Dialect() == "sqlite3" {
			if err == nil {
				t.Error("SQLite accepts a read-only transaction that it cannot give")
			}
			return
		}
		check(t, err)
		if err := tx.User.Create().SetEmail("a@example.org").SetHashedPassword("x").Exec(ctx); !errors.Is(err, models.ErrReadOnly) {
			t.Errorf("got %v, want ErrReadOnly", err)
		}
		check(t, tx.Rollback())
	})
}
