package dbtest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/lib/pq"

	"github.com/reviewpoint/models/internal/cluster"
	"github.com/reviewpoint/models/internal/dbtest"
)

func open(t *testing.T, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func execute(t *testing.T, db *sql.DB, query string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func scan[T any](t *testing.T, db *sql.DB, query string, args ...any) T {
	t.Helper()
	var value T
	if err := db.QueryRowContext(t.Context(), query, args...).Scan(&value); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return value
}

func TestPostgres_EmptyAndPrivate(t *testing.T) {
	t.Parallel()
	one, other := open(t, dbtest.Postgres(t)), open(t, dbtest.Postgres(t))
	const tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"

	execute(t, one, "CREATE TABLE notes (id int)")
	if n := scan[int](t, one, tables); n != 1 {
		t.Errorf("tables after CREATE TABLE = %d, want 1", n)
	}
	if n := scan[int](t, other, tables); n != 0 {
		t.Errorf("tables in the other database = %d, want 0", n)
	}
}

func TestPostgres_DroppedWithOpenConnections(t *testing.T) {
	t.Parallel()
	admin := open(t, dbtest.Postgres(t))
	const exists = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)"
	var name string
	outer := t
	t.Run("user", func(t *testing.T) {
		// Closed only after this test.
		db := open(outer, dbtest.Postgres(t))
		name = scan[string](t, db, "SELECT current_database()")
		if !scan[bool](t, admin, exists, name) {
			t.Errorf("%s is not on the server", name)
		}
	})
	if scan[bool](t, admin, exists, name) {
		t.Errorf("%s is still there after its test", name)
	}
}

func TestPostgres_OwnServerIsNotUTC(t *testing.T) {
	t.Parallel()
	if os.Getenv("REVIEWPOINT_TEST_POSTGRES_URL") != "" {
		t.Skip("the server is not ours")
	}
	db := open(t, dbtest.Postgres(t))
	if zone := scan[string](t, db, "SHOW timezone"); zone != "Asia/Tokyo" {
		t.Errorf("timezone = %s, want Asia/Tokyo", zone)
	}
}

// templateName is a new one in each run, because a shared server keeps its
// templates. The template is dropped when the test ends.
func templateName(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("dbtest_%d_%d", os.Getpid(), time.Now().UnixNano())
	db := open(t, dbtest.Postgres(t))
	t.Cleanup(func() {
		if _, err := db.ExecContext(context.Background(), "DROP DATABASE IF EXISTS reviewpoint_template_"+name); err != nil {
			t.Error(err)
		}
	})
	return name
}

// fillNotes leaves its connections open, one of them inside a transaction, as
// careless code would.
func fillNotes(url string) error {
	db, err := sql.Open("postgres", url)
	if err != nil {
		return err
	}
	if _, err := db.Exec("CREATE TABLE notes (id int); INSERT INTO notes VALUES (1), (2)"); err != nil {
		return err
	}
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	_, err = tx.Exec("SELECT FROM notes")
	return err
}

func TestPostgresFrom_CopiesArePrivate(t *testing.T) {
	t.Parallel()
	name := templateName(t)
	one := open(t, dbtest.PostgresFrom(t, name, fillNotes))
	other := open(t, dbtest.PostgresFrom(t, name, fillNotes))

	execute(t, one, "DELETE FROM notes WHERE id = 1")
	if n := scan[int](t, one, "SELECT count(*) FROM notes"); n != 1 {
		t.Errorf("rows after DELETE = %d, want 1", n)
	}
	if n := scan[int](t, other, "SELECT count(*) FROM notes"); n != 2 {
		t.Errorf("rows in the other copy = %d, want 2", n)
	}
}

func TestPostgresFrom_FillsOnce(t *testing.T) {
	t.Parallel()
	name := templateName(t)
	var fills atomic.Int32
	t.Run("copies", func(t *testing.T) {
		for range 8 {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				dbtest.PostgresFrom(t, name, func(url string) error {
					fills.Add(1)
					return fillNotes(url)
				})
			})
		}
	})
	if n := fills.Load(); n != 1 {
		t.Errorf("fill ran %d times, want 1", n)
	}
}

// A process killed inside fill leaves its database behind, and nobody may take
// that for the template.
func TestPostgresFrom_HalfMadeTemplateIsNotUsed(t *testing.T) {
	t.Parallel()
	name := templateName(t)
	admin := open(t, dbtest.Postgres(t))
	execute(t, admin, "CREATE DATABASE reviewpoint_building_"+name)

	db := open(t, dbtest.PostgresFrom(t, name, fillNotes))
	if n := scan[int](t, db, "SELECT count(*) FROM notes"); n != 2 {
		t.Errorf("rows = %d, want 2", n)
	}
	const drafts = "SELECT count(*) FROM pg_database WHERE datname = $1"
	if n := scan[int](t, admin, drafts, "reviewpoint_building_"+name); n != 0 {
		t.Errorf("the half-made database is still there")
	}
}

// failing is a test whose end can be watched from another.
type failing struct {
	testing.TB
	message string
}

func (f *failing) Fatalf(format string, args ...any) {
	f.message = fmt.Sprintf(format, args...)
	panic(f)
}

func TestPostgresFrom_Fails(t *testing.T) {
	t.Parallel()
	for label, test := range map[string]struct {
		name string
		want string
	}{
		"fill":      {name: templateName(t), want: "no such migration"},
		"name":      {name: "Robert'); --", want: "1 to 42 characters"},
		"long name": {name: strings.Repeat("a", 43), want: "1 to 42 characters"},
	} {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			inner := &failing{TB: t}
			defer func() {
				if recover() != inner || !strings.Contains(inner.message, test.want) {
					t.Errorf("message = %q, want %q in it", inner.message, test.want)
				}
			}()
			dbtest.PostgresFrom(inner, test.name, func(string) error { return errors.New("no such migration") })
		})
	}
}

func TestSkips(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		ci   string
		want bool
	}{
		{cluster.ErrNone, "", true},
		{cluster.ErrNone, "false", true},
		{fmt.Errorf("%w here", cluster.ErrNone), "", true},
		{cluster.ErrNone, "true", false},
		{errors.New("broken"), "", false},
		{errors.New("broken"), "true", false},
	} {
		if got := dbtest.Skips(test.err, test.ci); got != test.want {
			t.Errorf("Skips(%q, %q) = %v, want %v", test.err, test.ci, got, test.want)
		}
	}
}

// childVariable makes this test binary the child of TestServer_EndsWithProcess;
// its value is how the child ends.
const childVariable = "DBTEST_CHILD"

func TestServer_EndsWithProcess(t *testing.T) {
	if end := os.Getenv(childVariable); end != "" {
		beChild(t, end)
	}
	t.Parallel()
	if c, err := cluster.Start(); err != nil {
		t.Skip(err)
	} else if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for _, end := range []string{"exit", "panic", "kill", "kill during initdb"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			child, folder := startChild(t, end)
			var pid int
			if end == "kill during initdb" {
				eventually(t, "initdb has begun", func() bool { return found(t, folder, "*", "data") })
			} else if _, err := fmt.Fscanf(child.stdout, "postmaster %d\n", &pid); err != nil {
				t.Fatalf("the child did not get a server: %v", err)
			}
			if strings.HasPrefix(end, "kill") {
				child.Process.Kill()
			}
			// Wait returns only if the server does not hold the child's output.
			if err := child.Wait(); err == nil {
				t.Errorf("the child passed, want it to end by %s", end)
			}
			if pid != 0 {
				eventually(t, "the server has ended", func() bool { return !running(t, pid) })
			}
			eventually(t, "its folder is gone", func() bool { return !found(t, folder, "*") })
		})
	}
}

// beChild starts a server, tells the parent and ends.
func beChild(t *testing.T, end string) {
	t.Helper()
	db := open(t, dbtest.Postgres(t))
	lines, err := os.ReadFile(filepath.Join(scan[string](t, db, "SHOW data_directory"), "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, _, _ := strings.Cut(string(lines), "\n")
	fmt.Println("postmaster", pid)
	switch end {
	case "exit":
		os.Exit(1)
	case "panic":
		panic("as the parent wishes")
	default:
		select {}
	}
}

type childProcess struct {
	*exec.Cmd
	stdout io.Reader
}

// startChild also returns the folder in which the child's server makes its own.
func startChild(t *testing.T, end string) (childProcess, string) {
	t.Helper()
	// Not t.TempDir: the account that runs the server could not enter it.
	folder, err := os.MkdirTemp("", "dbtest-child-") //nolint:usetesting // See above.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	if err := os.Chmod(folder, 0o777); err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestServer_EndsWithProcess$")
	child.Env = append(os.Environ(), childVariable+"="+end, "TMPDIR="+folder, "REVIEWPOINT_TEST_POSTGRES_URL=")
	child.Stderr = new(strings.Builder)
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	return childProcess{child, stdout}, folder
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute in vain until %s", what)
		}
	}
}

func found(t *testing.T, pattern ...string) bool {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(pattern...))
	if err != nil {
		t.Fatal(err)
	}
	return len(paths) > 0
}

func running(t *testing.T, pid int) bool {
	t.Helper()
	process, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer process.Release()
	return !errors.Is(process.Signal(syscall.Signal(0)), os.ErrProcessDone)
}
