package adopt_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/adopt"
	"github.com/reviewpoint/models/internal/clock"
	"github.com/reviewpoint/models/internal/database"
)

// backups are the files beside a database of SQLite.
func backups(t *testing.T, url string) []string {
	t.Helper()
	_, path, _ := strings.Cut(strings.TrimSuffix(url, "?busy_timeout=2m"), "://")
	found, err := filepath.Glob(path + ".backup-*")
	check(t, err)
	return found
}

func TestRun_ChangedSince(t *testing.T) {
	t.Parallel()
	for what, statement := range map[string]string{
		"row":      newRow("blacklisted_tokens", 100, nil),
		"deletion": "DELETE FROM blacklisted_tokens WHERE id = 3",
		"account":  "UPDATE users SET is_active = false WHERE id = 2",
		"problem":  "UPDATE users SET email = 'somebody' WHERE id = 2",
		"alembic":  "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
		"column":   "ALTER TABLE users ADD COLUMN phone VARCHAR(255)",
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			onEach(t, func(t *testing.T, db *database.DB, url string) {
				report := inspect(t, db)
				execute(t, db, statement)
				before := dump(t, db)
				want := adopt.ErrChanged
				if what == "column" {
					want = adopt.ErrUnknown
				}
				if _, err := adopt.Run(t.Context(), db, migrator(t, db), report, adopt.Options{}); !errors.Is(err, want) {
					t.Errorf("the answer is %v, want %v", err, want)
				}
				equal(t, "the database afterwards", dump(t, db), before)
				if found := backups(t, url); len(found) > 0 {
					t.Errorf("it left %q", found)
				}
			})
		})
	}
}

// TestInspect_Snapshot holds that what is written meanwhile is not seen in part.
func TestInspect_Snapshot(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, other *database.DB, url string) {
		want := inspect(t, other)
		var written atomic.Bool
		db := openWith(t, url, database.Options{ReadOnly: true, Before: func(query string, _ []driver.NamedValue) {
			if strings.Contains(query, "filename") && !written.Swap(true) {
				execute(t, other, newRow("users", 100, nil), newRow("files", 100, map[string]string{"user_id": "100"}))
			}
		}})
		if got := inspect(t, db); !reflect.DeepEqual(got, want) || !written.Load() {
			t.Errorf("the report is %+v, want %+v", got, want)
		}
	})
}

// TestRun_WrittenAfterBackup writes what the report does not show when the backup has been made.
func TestRun_WrittenAfterBackup(t *testing.T) {
	t.Parallel()
	url := fixture(t, dialect.SQLite)
	other := open(t, url)
	var saved, written atomic.Bool
	db := openWith(t, url, database.Options{Before: func(query string, _ []driver.NamedValue) {
		saved.CompareAndSwap(false, strings.HasPrefix(query, "VACUUM"))
		if query == "BEGIN" && saved.Load() && !written.Swap(true) {
			execute(t, other, "UPDATE users SET bio = 'new' WHERE id = 2")
		}
	}})
	if _, err := adopt.Run(t.Context(), db, migrator(t, db), inspect(t, other), adopt.Options{}); !errors.Is(err, adopt.ErrChanged) {
		t.Errorf("the answer is %v, want ErrChanged", err)
	}
	if found := backups(t, url); !written.Load() || len(found) > 0 {
		t.Errorf("it left %q", found)
	}
	take(t, db)
	equal(t, "what was written", query(t, db, "SELECT bio FROM users WHERE id = 2"), []string{"new"})
}

// TestRun_BackupTaken makes another file where there is one of the name.
func TestRun_BackupTaken(t *testing.T) {
	t.Parallel()
	url := fixture(t, dialect.SQLite)
	db := open(t, url)
	_, path, _ := strings.Cut(strings.TrimSuffix(url, "?busy_timeout=2m"), "://")
	path += ".backup-20300101T000000Z"
	check(t, os.WriteFile(path, []byte("mine"), 0o600))
	ctx := clock.NewContext(t.Context(), func() time.Time { return time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC) })
	result, err := adopt.Run(ctx, db, migrator(t, db), inspect(t, db), adopt.Options{})
	check(t, err)
	if result.Backup != path+"-2" {
		t.Errorf("the backup is %s, want %s-2", result.Backup, path)
	}
	if content, err := os.ReadFile(path); err != nil || string(content) != "mine" {
		t.Errorf("the file has become %q (%v)", content, err)
	}
}

// TestRun_Twice has several adopt one database at once.
func TestRun_Twice(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db *database.DB, url string) {
		const runs = 4
		execute(t, db, "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
		want := make(map[string][]string)
		for table := range expected {
			want[table] = expect(t, db, table)
		}
		report := inspect(t, db)
		var (
			failed  = make([]error, runs)
			workers sync.WaitGroup
			start   = make(chan struct{})
		)
		for i := range runs {
			other := open(t, url)
			m := migrator(t, other)
			workers.Go(func() {
				<-start
				_, failed[i] = adopt.Run(t.Context(), other, m, report, adopt.Options{})
			})
		}
		close(start)
		workers.Wait()
		done := 0
		for _, err := range failed {
			switch {
			case err == nil:
				done++
			case !errors.Is(err, adopt.ErrAdopted):
				t.Errorf("one says %v, want ErrAdopted", err)
			}
		}
		if done != 1 {
			t.Errorf("%d of %d have adopted it, want one: %v", done, runs, failed)
		}
		checkFresh(t, db)
		for table := range expected {
			equal(t, table, actual(t, db, table), want[table])
		}
		if n := len(backups(t, url)); db.Dialect() == dialect.SQLite && n != 1 {
			t.Errorf("there are %d backups, want one", n)
		}
	})
}

// TestRun_InUse waits for those who use the tables, but not for ever.
func TestRun_InUse(t *testing.T) {
	t.Parallel()
	if !long() {
		t.Skip("it waits for ten seconds: set REVIEWPOINT_TEST_LONG=1")
	}
	url := fixture(t, dialect.Postgres)
	db, other := open(t, url), open(t, url)
	report, before := inspect(t, db), dump(t, db)
	check(t, other.InTx(t.Context(), func(ctx context.Context) error {
		if _, err := other.ExecContext(ctx, "UPDATE users SET bio = 'new' WHERE id = 2"); err != nil {
			return err
		}
		_, err := adopt.Run(t.Context(), db, migrator(t, db), report, adopt.Options{})
		if !errors.Is(err, adopt.ErrInUse) || strings.Contains(err.Error(), "\n") {
			t.Errorf("the answer is %v, want ErrInUse", err)
		}
		_, err = other.ExecContext(ctx, "UPDATE users SET bio = $1 WHERE id = 2", strings.Repeat("x", 512))
		return err
	}))
	equal(t, "the database afterwards", dump(t, db), before)
	take(t, db)
}

// TestRun_Cancelled ends the context before each statement in turn.
func TestRun_Cancelled(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, plain *database.DB, url string) {
		var n, last atomic.Int64
		var cancel atomic.Value
		db := openWith(t, url, database.Options{Before: func(string, []driver.NamedValue) {
			if n.Add(1) == last.Load() {
				cancel.Load().(context.CancelFunc)()
			}
		}})
		before := dump(t, plain)
		step := int64(1)
		if !long() {
			step = map[string]int64{dialect.SQLite: 4, dialect.Postgres: 12}[db.Dialect()]
		}
		for last.Store(1); ; last.Add(step) {
			ctx, stop := context.WithCancel(t.Context())
			cancel.Store(stop)
			n.Store(0)
			err := adoptWhole(ctx, t, db)
			stop()
			if err == nil && n.Load() < last.Load() {
				break // It was not cancelled any more.
			}
			if _, inspected := adopt.Inspect(t.Context(), plain, adopt.Options{}); errors.Is(inspected, adopt.ErrAdopted) {
				if err != nil {
					t.Errorf("it was adopted, and says %v", err)
				}
				break // It was cancelled after the commit.
			}
			if err == nil {
				t.Errorf("cancelled before statement %d, it says nothing", last.Load())
			}
			equal(t, fmt.Sprintf("cancelled before statement %d", last.Load()), dump(t, plain), before)
			if found := backups(t, url); len(found) > 0 {
				t.Errorf("cancelled before statement %d, it left %q", last.Load(), found)
			}
		}
		if last.Load() < 60 {
			t.Errorf("it ended at statement %d", last.Load())
		}
		checkFresh(t, plain)
	})
}

// adoptWhole is the whole of it, with an error for a context that has ended.
func adoptWhole(ctx context.Context, t *testing.T, db *database.DB) error {
	t.Helper()
	m := migrator(t, db)
	report, err := adopt.Inspect(ctx, db, adopt.Options{})
	if err != nil {
		return err
	}
	_, err = adopt.Run(ctx, db, m, report, adopt.Options{})
	return err
}

// TestRun_BackupFails leaves neither a change nor a file.
func TestRun_BackupFails(t *testing.T) {
	t.Parallel()
	url := fixture(t, dialect.SQLite)
	db := openWith(t, url, database.Options{Before: func(query string, _ []driver.NamedValue) {
		if !strings.HasPrefix(query, "VACUUM") {
			return
		}
		for _, path := range backups(t, url) {
			check(t, os.WriteFile(path, []byte("SQLite does not overwrite this"), 0o600))
		}
	}})
	before := dump(t, db)
	if _, err := adopt.Run(t.Context(), db, migrator(t, db), inspect(t, db), adopt.Options{}); err == nil || !strings.Contains(err.Error(), "so nothing was changed") {
		t.Errorf("the answer is %v, want that the backup failed", err)
	}
	equal(t, "the database afterwards", dump(t, db), before)
	if found := backups(t, url); len(found) > 0 {
		t.Errorf("it left %q", found)
	}
}
