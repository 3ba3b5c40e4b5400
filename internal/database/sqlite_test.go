package database_test

import (
	"bufio"
	"context"
	stdsql "database/sql"
	"database/sql/driver"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/reviewpoint/models/internal/database"
)

const pragmas = "SELECT (SELECT foreign_keys FROM pragma_foreign_keys), (SELECT query_only FROM pragma_query_only), " +
	"(SELECT timeout FROM pragma_busy_timeout), (SELECT synchronous FROM pragma_synchronous), (SELECT journal_mode FROM pragma_journal_mode)"

type settings struct {
	foreignKeys, queryOnly, busyTimeout, synchronous int
	journal                                          string
}

// settingsOf asks every connection of the pool, all at the same time.
func settingsOf(t *testing.T, pool *stdsql.DB, conns int) []settings {
	t.Helper()
	var (
		all     = make([]settings, conns)
		failed  = make([]error, conns)
		holding sync.WaitGroup
		done    sync.WaitGroup
	)
	holding.Add(conns)
	for i := range conns {
		done.Go(func() {
			conn, err := pool.Conn(t.Context())
			holding.Done()
			if err != nil {
				failed[i] = err
				return
			}
			defer conn.Close()
			holding.Wait() // so that nobody gets a connection that somebody else has given back
			s := &all[i]
			failed[i] = conn.QueryRowContext(t.Context(), pragmas).Scan(&s.foreignKeys, &s.queryOnly, &s.busyTimeout, &s.synchronous, &s.journal)
		})
	}
	done.Wait()
	if err := errors.Join(failed...); err != nil {
		t.Fatal(err)
	}
	return all
}

// drop makes the pool throw away this many connections.
func drop(t *testing.T, pool *stdsql.DB, conns int) {
	t.Helper()
	held := make([]*stdsql.Conn, conns)
	for i := range held {
		conn, err := pool.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		held[i] = conn
	}
	for _, conn := range held {
		if err := conn.Raw(func(any) error { return driver.ErrBadConn }); !errors.Is(err, driver.ErrBadConn) {
			t.Fatal(err)
		}
	}
	if n := pool.Stats().OpenConnections; n != 0 {
		t.Fatalf("%d connections are left", n)
	}
}

func TestSQLite_PragmasOfEveryConnection(t *testing.T) {
	t.Parallel()
	const readers = 12
	for _, test := range []struct {
		options string
		reader  settings
	}{
		{"", settings{1, 1, 10000, 2, "wal"}},
		{"?synchronous=full", settings{1, 1, 10000, 2, "wal"}},
		{"?synchronous=normal&busy_timeout=2500ms", settings{1, 1, 2500, 1, "wal"}},
		{"?mode=memory", settings{1, 1, 10000, 2, "memory"}},
	} {
		t.Run(test.options, func(t *testing.T) {
			t.Parallel()
			db, err := database.Open(t.Context(), sqliteURL(t)+test.options, database.Options{MaxConns: readers})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			writerWants := test.reader
			writerWants.queryOnly = 0
			writer, reader := db.Pools()
			rounds := 2
			if test.reader.journal == "memory" {
				rounds = 1 // Without a connection it would be gone.
			}
			for round := range rounds {
				if got := settingsOf(t, writer, 1)[0]; got != writerWants {
					t.Errorf("round %d: the writer has %+v, want %+v", round, got, writerWants)
				}
				for _, got := range settingsOf(t, reader, readers) {
					if got != test.reader {
						t.Errorf("round %d: a reader has %+v, want %+v", round, got, test.reader)
					}
				}
				if n := writer.Stats().MaxOpenConnections; n != 1 {
					t.Errorf("there are %d writers", n)
				}
				if round+1 < rounds {
					drop(t, writer, 1)
					drop(t, reader, readers)
				}
			}
		})
	}
}

func TestSQLite_ReadersCannotWrite(t *testing.T) {
	t.Parallel()
	for _, options := range []string{"", "?mode=memory"} {
		db := open(t, sqliteURL(t)+options)
		execute(t, db, "CREATE TABLE notes (body text)")
		execute(t, db, "INSERT INTO notes (body) VALUES ('first')")
		_, reader := db.Pools()
		for _, query := range []string{"INSERT INTO notes (body) VALUES ('second')", "DELETE FROM notes", "DROP TABLE notes", "CREATE TABLE others (id integer)"} {
			if _, err := reader.ExecContext(t.Context(), query); !errors.Is(err, database.ErrReadOnly) {
				t.Errorf("%s: %v, want ErrReadOnly", query, err)
			}
		}
		if n := value[int](t, t.Context(), db, "SELECT count(*) FROM notes"); n != 1 {
			t.Errorf("%d rows, want 1", n)
		}
	}
}

func TestSQLite_ReadOnly(t *testing.T) {
	t.Parallel()
	url := sqliteURL(t)
	execute(t, open(t, url), "CREATE TABLE notes (body text)")
	asked, err := database.Open(t.Context(), url, database.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer asked.Close()
	for _, db := range []*database.DB{asked, open(t, url+"?mode=ro")} {
		if n := value[int](t, t.Context(), db, "SELECT count(*) FROM notes"); n != 0 {
			t.Errorf("%d rows, want none", n)
		}
		if _, err := db.ExecContext(t.Context(), "INSERT INTO notes (body) VALUES ('first')"); !errors.Is(err, database.ErrReadOnly) {
			t.Errorf("%v, want ErrReadOnly", err)
		}
		if _, err := db.ExecContext(t.Context(), "PRAGMA query_only = 0; INSERT INTO notes (body) VALUES ('first')"); !errors.Is(err, database.ErrReadOnly) {
			t.Errorf("after switching query_only off: %v, want ErrReadOnly", err)
		}
	}
}

func TestSQLite_NewFileIsTheOwnersAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "reviewpoint.db")
	db := open(t, "sqlite://"+path)
	execute(t, db, "CREATE TABLE notes (body text)")
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("%s has mode %o, want 600", filepath.Base(name), mode)
		}
	}
}

// The one writer is busy with the very transaction that waits for it.
func TestSQLite_WriterInsideInTx(t *testing.T) {
	t.Parallel()
	db := open(t, sqliteURL(t)+"?busy_timeout=50ms")
	execute(t, db, "CREATE TABLE notes (body text)")
	insert := func(ctx context.Context) error {
		_, err := db.ExecContext(ctx, "INSERT INTO notes (body) VALUES ('x')")
		return err
	}
	calls := 0
	for name, outside := range map[string]func() error{
		"a statement": func() error { return insert(t.Context()) },
		"InTx":        func() error { return db.InTx(t.Context(), insert) },
		"BeginTx":     func() error { _, err := db.BeginTx(t.Context(), nil); return err },
	} {
		var inside error
		err := db.InTx(t.Context(), func(ctx context.Context) error {
			calls++
			if err := insert(ctx); err != nil {
				return err
			}
			inside = outside()
			return nil
		})
		if err != nil {
			t.Errorf("%s: the transaction itself: %v", name, err)
		}
		if !errors.Is(inside, database.ErrBusy) || !strings.Contains(inside.Error(), "use the context that InTx gives") {
			t.Errorf("%s: %v, want ErrBusy and what to do", name, inside)
		}
	}
	if n := value[int](t, t.Context(), db, "SELECT count(*) FROM notes"); n != 3 || calls != 3 {
		t.Errorf("%d rows from %d calls, want 3 from 3", n, calls)
	}
}

// Another process holds the database for longer than a writer waits.
func TestSQLite_BusyElsewhere(t *testing.T) {
	t.Parallel()
	url := sqliteURL(t)
	holder, db := open(t, url), open(t, url+"?busy_timeout=1ms")
	execute(t, holder, "CREATE TABLE notes (body text)")
	err := holder.InTx(t.Context(), func(ctx context.Context) error {
		// A query is enough: a transaction that began to write only later could find its reading outdated.
		value[int](t, ctx, holder, "SELECT count(*) FROM notes")
		if _, err := db.ExecContext(t.Context(), "INSERT INTO notes (body) VALUES ('x')"); !errors.Is(err, database.ErrBusy) {
			t.Errorf("after a query: %v, want ErrBusy", err)
		}
		if _, err := holder.ExecContext(ctx, "INSERT INTO notes (body) VALUES ('held')"); err != nil {
			return err
		}
		if n := value[int](t, t.Context(), db, "SELECT count(*) FROM notes"); n != 0 {
			t.Errorf("a reader sees %d rows that are not committed", n)
		}
		_, err := db.ExecContext(t.Context(), "INSERT INTO notes (body) VALUES ('x')")
		if !errors.Is(err, database.ErrBusy) {
			t.Errorf("a statement: %v, want ErrBusy", err)
		}
		calls := 0
		err = db.InTx(t.Context(), func(ctx context.Context) error {
			calls++
			_, err := db.ExecContext(ctx, "INSERT INTO notes (body) VALUES ('x')")
			return err
		})
		if !errors.Is(err, database.ErrBusy) || calls < 2 {
			t.Errorf("InTx after %d attempts: %v, want ErrBusy after several", calls, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	execute(t, db, "INSERT INTO notes (body) VALUES ('x')")
	if n := value[int](t, t.Context(), db, "SELECT count(*) FROM notes"); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
}

const countsPerProcess = 100

// count reads a number and writes the next one.
func count(t testing.TB, db *database.DB) error {
	t.Helper()
	return db.InTx(t.Context(), func(ctx context.Context) error {
		n := value[int](t, ctx, db, "SELECT n FROM counter")
		_, err := db.ExecContext(ctx, "UPDATE counter SET n = $1", n+1)
		return err
	})
}

func TestSQLite_TwoProcesses(t *testing.T) {
	t.Parallel()
	url := sqliteURL(t) + "?synchronous=off&busy_timeout=2m"
	db := open(t, url)
	execute(t, db, "CREATE TABLE counter (n integer NOT NULL)")
	execute(t, db, "INSERT INTO counter (n) VALUES (0)")
	waiting, opener, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	defer opener.Close()

	const processes = 3
	var (
		outputs [processes]*bufio.Scanner
		wait    [processes]func() error
	)
	for i := range processes {
		cmd := helper(t, testProgram(t), "count", url)
		cmd.Stdin = waiting
		output, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		outputs[i], wait[i] = bufio.NewScanner(output), cmd.Wait
		if !outputs[i].Scan() || outputs[i].Text() != "ready" {
			t.Fatalf("process %d is not ready: %q", i, outputs[i].Text())
		}
	}
	opener.Close()
	for i := range processes {
		var said []string
		for outputs[i].Scan() {
			said = append(said, outputs[i].Text())
		}
		if err := wait[i](); err != nil {
			t.Errorf("process %d: %v\n%s", i, err, strings.Join(said, "\n"))
		}
	}
	if n := value[int](t, t.Context(), db, "SELECT n FROM counter"); n != processes*countsPerProcess {
		t.Errorf("counted to %d, want %d", n, processes*countsPerProcess)
	}
}

func TestSQLite_FullDisk(t *testing.T) {
	t.Parallel()
	db := open(t, sqliteURL(t))
	execute(t, db, "CREATE TABLE notes (body text NOT NULL)")
	execute(t, db, "INSERT INTO notes (body) VALUES ('first')")
	// The pragma holds on its connection, the only writer.
	limit := func(pages string) {
		if got := value[int](t, t.Context(), db, "PRAGMA max_page_count = "+pages); got == 0 {
			t.Fatal("no limit was set")
		}
	}
	page := strings.Repeat("x", 4000)
	limit("10")
	for _, fill := range map[string]func(ctx context.Context) error{
		"InTx": func(ctx context.Context) error {
			for range 100 {
				if _, err := db.ExecContext(ctx, "INSERT INTO notes (body) VALUES ($1)", page); err != nil {
					return err
				}
			}
			return nil
		},
		"InTx that overlooks the error": func(ctx context.Context) error {
			for range 100 {
				db.ExecContext(ctx, "INSERT INTO notes (body) VALUES ($1)", page) //nolint:errcheck // as a careless service does
			}
			return nil
		},
	} {
		if err := db.InTx(t.Context(), fill); err == nil {
			t.Error("a transaction that did not fit was committed")
		}
		if n := value[int](t, t.Context(), db, "SELECT count(*) FROM notes"); n != 1 {
			t.Errorf("%d rows, want 1", n)
		}
	}
	_, err := db.ExecContext(t.Context(), "INSERT INTO notes (body) VALUES ($1)", strings.Repeat(page, 20))
	if err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("a statement that does not fit: %v", err)
	}
	limit("1000000")
	execute(t, db, "INSERT INTO notes (body) VALUES ($1)", strings.Repeat(page, 20))
	if n := value[int](t, t.Context(), db, "SELECT count(*) FROM notes"); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
	if got := value[string](t, t.Context(), db, "PRAGMA integrity_check"); got != "ok" {
		t.Errorf("integrity: %s", got)
	}
}

func listing(t *testing.T, folder string) []string {
	t.Helper()
	var names []string
	err := fs.WalkDir(os.DirFS(folder), ".", func(path string, _ fs.DirEntry, err error) error {
		names = append(names, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// TestSQLite_ForeignKeysAfterCancelledSchemaTx ends the context in the middle, from many goroutines:
// database/sql then rolls back in the background, and a connection given back too early would stay
// without foreign keys.
func TestSQLite_ForeignKeysAfterCancelledSchemaTx(t *testing.T) {
	t.Parallel()
	db := open(t, sqliteURL(t)+"?synchronous=off")
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 50 {
				ctx, cancel := context.WithCancel(t.Context())
				_ = db.InSchemaTx(ctx, func(ctx context.Context) error {
					if _, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS notes (body text)"); err != nil {
						return err
					}
					cancel()
					return ctx.Err()
				})
				cancel()
				var on int
				writer, _ := db.Pools()
				if err := writer.QueryRowContext(t.Context(), "PRAGMA foreign_keys").Scan(&on); err != nil || on != 1 {
					t.Errorf("foreign keys are %d on the writer (%v), want 1", on, err)
				}
			}
		})
	}
	all.Wait()
}
