package database_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/dbtest"
)

func TestInSession_EndsItsConnection(t *testing.T) {
	t.Parallel()
	db, err := database.Open(t.Context(), dbtest.Postgres(t), database.Options{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var inside int
	err = db.InSession(t.Context(), func(ctx context.Context) error {
		if _, err := db.ExecContext(ctx, "SET lock_timeout = 1234"); err != nil {
			return err
		}
		if got := value[string](t, ctx, db, "SHOW lock_timeout"); got != "1234ms" {
			t.Errorf("lock_timeout in the session is %s: its statements run on several connections", got)
		}
		if got := value[bool](t, ctx, db, "SELECT pg_try_advisory_lock(7)"); !got {
			t.Error("the lock was not to be had")
		}
		inside = value[int](t, ctx, db, "SELECT pg_backend_pid()")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := value[string](t, t.Context(), db, "SHOW lock_timeout"); got == "1234ms" {
		t.Error("what the session has set is still there")
	}
	if outside := value[int](t, t.Context(), db, "SELECT pg_backend_pid()"); outside == inside {
		t.Error("the connection of the session is used again")
	}
}

func TestInSession_NoTransaction(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		db := open(t, url)
		execute(t, db, "CREATE TABLE notes (body text)")
		wrong := errors.New("wrong")
		err := db.InSession(t.Context(), func(ctx context.Context) error {
			if _, err := db.ExecContext(ctx, "INSERT INTO notes VALUES ('kept')"); err != nil {
				return err
			}
			if err := db.InTx(ctx, func(ctx context.Context) error {
				_, err := db.ExecContext(ctx, "INSERT INTO notes VALUES ('joined')")
				return err
			}); err == nil {
				t.Error("a transaction began inside a session")
			}
			return wrong
		})
		if !errors.Is(err, wrong) {
			t.Fatalf("error = %v", err)
		}
		if n := value[int](t, t.Context(), db, "SELECT count(*) FROM notes"); n != 1 {
			t.Errorf("%d rows, want the one that a statement of its own wrote", n)
		}
		err = db.InTx(t.Context(), func(ctx context.Context) error {
			return db.InSession(ctx, func(context.Context) error { return nil })
		})
		if err == nil {
			t.Error("a session began inside a transaction")
		}
	})
}

func TestOpen_LockTimeout(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{dialect.SQLite: sqliteURL(t) + "?busy_timeout=1h", dialect.Postgres: dbtest.Postgres(t) + "&lock_timeout=3600000"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, err := database.Open(t.Context(), url, database.Options{LockTimeout: 1500 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { db.Close() })
			query, want := "PRAGMA busy_timeout", "1500"
			if name == dialect.Postgres {
				query, want = "SHOW lock_timeout", "1500ms"
			}
			if got := value[string](t, t.Context(), db, query); got != want {
				t.Errorf("%s is %s, want %s", query, got, want)
			}
		})
	}
}

func TestOpen_Existing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mistyped.db")
	if _, err := database.Open(t.Context(), "sqlite://"+path, database.Options{Existing: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error = %v, want fs.ErrNotExist", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file was made: %v", err)
	}
}

func TestOptions_Before(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		var (
			mu   sync.Mutex
			told []string
		)
		db, err := database.Open(t.Context(), url, database.Options{Before: func(query string, _ []driver.NamedValue) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, query)
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		execute(t, db, "CREATE TABLE notes (body text)")
		told = nil
		err = db.InTx(t.Context(), func(ctx context.Context) error {
			_, err := db.ExecContext(ctx, "INSERT INTO notes VALUES ($1)", canary)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"BEGIN", "INSERT INTO notes VALUES ($1)", "COMMIT"}; !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
		if strings.Contains(strings.Join(told, ""), canary) {
			t.Error("an argument was told")
		}
	})
}
