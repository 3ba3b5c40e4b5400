package database_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/dbtest"
)

func TestPostgres_StatementTimeout(t *testing.T) {
	t.Parallel()
	db := open(t, dbtest.Postgres(t)+"&statement_timeout=20")
	_, err := db.ExecContext(t.Context(), "SELECT pg_sleep(1000)")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a statement: %v, want context.DeadlineExceeded", err)
	}
	calls := 0
	err = db.InTx(t.Context(), func(ctx context.Context) error {
		calls++
		_, err := db.ExecContext(ctx, "SELECT pg_sleep(1000)")
		return err
	})
	if !errors.Is(err, context.DeadlineExceeded) || calls != 1 {
		t.Errorf("InTx after %d calls: %v, want context.DeadlineExceeded after 1", calls, err)
	}
}

func TestPostgres_LockTimeout(t *testing.T) {
	t.Parallel()
	url := dbtest.Postgres(t)
	holder, db := open(t, url), open(t, url+"&lock_timeout=20")
	execute(t, holder, "CREATE TABLE notes (body text)")
	err := holder.InTx(t.Context(), func(ctx context.Context) error {
		if _, err := holder.ExecContext(ctx, "LOCK TABLE notes"); err != nil {
			return err
		}
		if _, err := db.ExecContext(t.Context(), "INSERT INTO notes (body) VALUES ('x')"); !errors.Is(err, database.ErrBusy) {
			t.Errorf("%v, want ErrBusy", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	execute(t, db, "INSERT INTO notes (body) VALUES ('x')")
}

func TestPostgres_ReadOnly(t *testing.T) {
	t.Parallel()
	url := dbtest.Postgres(t)
	execute(t, open(t, url), "CREATE TABLE notes (body text)")
	db, err := database.Open(t.Context(), url, database.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if n := value[int](t, t.Context(), db, "SELECT count(*) FROM notes"); n != 0 {
		t.Errorf("%d rows, want none", n)
	}
	if _, err := db.ExecContext(t.Context(), "INSERT INTO notes (body) VALUES ('x')"); !errors.Is(err, database.ErrReadOnly) {
		t.Errorf("%v, want ErrReadOnly", err)
	}
}

// killer ends server processes of one database from a connection of its own.
type killer struct{ db *sql.DB }

func newKiller(t *testing.T, url string) killer {
	t.Helper()
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	return killer{db}
}

// kill ends the processes that the condition names, and returns when they are gone.
func (k killer) kill(t *testing.T, condition string, args ...any) (killed int) {
	t.Helper()
	others := " FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND " + condition
	if err := k.db.QueryRowContext(t.Context(), "SELECT count(pg_terminate_backend(pid))"+others, args...).Scan(&killed); err != nil {
		t.Fatal(err)
	}
	for left := killed; left > 0; {
		if err := k.db.QueryRowContext(t.Context(), "SELECT count(*)"+others, args...).Scan(&left); err != nil {
			t.Fatal(err)
		}
	}
	return killed
}

func TestPostgres_LostConnections(t *testing.T) {
	t.Parallel()
	url := dbtest.Postgres(t)
	db, killer := open(t, url), newKiller(t, url)
	execute(t, db, "CREATE TABLE notes (body text)")
	for _, test := range []struct {
		name string
		use  func() error
	}{
		{"a query", func() error { return db.Ping(t.Context()) }},
		{"a statement", func() error {
			_, err := db.ExecContext(t.Context(), "INSERT INTO notes (body) VALUES ($1)", "x")
			return err
		}},
		{"a transaction", func() error {
			return db.InTx(t.Context(), func(ctx context.Context) error {
				_, err := db.ExecContext(ctx, "INSERT INTO notes (body) VALUES ($1)", "x")
				return err
			})
		}},
	} {
		writer, _ := db.Pools()
		settle(t, writer, 4) // leaves this many idle connections
		if n := killer.kill(t, "true"); n < 4 {
			t.Fatalf("%d connections were killed, want at least 4", n)
		}
		if err := test.use(); err != nil {
			t.Errorf("%s after the connections were lost: %v", test.name, err)
		}
	}
	if n := value[int](t, t.Context(), db, "SELECT count(*) FROM notes"); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
}

// settle opens this many connections at once, and gives them back.
func settle(t *testing.T, pool *sql.DB, conns int) {
	t.Helper()
	for range conns {
		conn, err := pool.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close() //nolint:gocritic // All of them are held until the last one is there.
	}
}

func TestPostgres_LostInTransaction(t *testing.T) {
	t.Parallel()
	url := dbtest.Postgres(t)
	db, killer := open(t, url), newKiller(t, url)
	execute(t, db, "CREATE TABLE notes (body text)")
	insert := func(ctx context.Context) error {
		_, err := db.ExecContext(ctx, "INSERT INTO notes (body) VALUES ($1)", "x")
		return err
	}
	for _, test := range []struct {
		name  string
		after func(ctx context.Context) error // what fn does once its connection is lost
		want  error
	}{
		{"before a statement", insert, nil},
		{"before a statement whose error is overlooked", func(ctx context.Context) error { insert(ctx); return nil }, nil}, //nolint:errcheck // as a careless service does
		{"before a rollback", func(context.Context) error { return errors.New("changed my mind") }, nil},
		{"before the commit", func(context.Context) error { return nil }, database.ErrCommitUnknown},
	} {
		calls := 0
		err := db.InTx(t.Context(), func(ctx context.Context) error {
			calls++
			if err := insert(ctx); err != nil {
				return err
			}
			pid := value[int](t, ctx, db, "SELECT pg_backend_pid()")
			if n := killer.kill(t, "pid = $1", pid); n != 1 {
				t.Errorf("%s: %d connections were killed", test.name, n)
			}
			return test.after(ctx)
		})
		if err == nil || (test.want != nil && !errors.Is(err, test.want)) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
		if test.want == nil && errors.Is(err, database.ErrCommitUnknown) {
			t.Errorf("%s: it was never committed: %v", test.name, err)
		}
		if calls != 1 {
			t.Errorf("%s: called %d times", test.name, calls)
		}
		if n := value[int](t, t.Context(), db, "SELECT count(*) FROM notes"); n != 0 {
			t.Errorf("%s: %d rows were kept", test.name, n)
		}
	}
}
