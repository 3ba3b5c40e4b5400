package database_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/dbtest"
)

// ignoredParameters is the line of pgbouncer.ini that the documentation of models.Open names.
const ignoredParameters = "ignore_startup_parameters = statement_timeout,lock_timeout,idle_in_transaction_session_timeout"

// pgbouncer starts a PgBouncer in transaction mode before the database at address, with fewer connections
// than the tests have, and returns the URL that leads through it.
func pgbouncer(t *testing.T, address string, lines ...string) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer"
		_, err = os.Stat(program)
	}
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatal("there is no pgbouncer")
	default:
		t.Skip("there is no pgbouncer: install the package of this name")
	}
	server, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := server.User.Password()
	port := closedPort(t)
	ini := filepath.Join(t.TempDir(), "pgbouncer.ini")
	content := fmt.Sprintf("[databases]\nreviewpoint = host=%s port=%s dbname=%s user=%s password='%s'\n", server.Hostname(), server.Port(), strings.TrimPrefix(server.Path, "/"), server.User.Username(), password) +
		"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = " + port + "\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 3\n" + strings.Join(lines, "\n") + "\n"
	if err := os.WriteFile(ini, []byte(content), 0o644); err != nil { // PgBouncer reads it as another user.
		t.Fatal(err)
	}
	arguments := []string{ini}
	if os.Getuid() == 0 { // PgBouncer refuses to run as root.
		arguments = []string{"-u", "nobody", ini}
	}
	cmd := exec.CommandContext(t.Context(), program, arguments...)
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
		cmd.Wait()
	})
	up := make(chan string, 1)
	go func() {
		defer close(ended)
		lines := bufio.NewScanner(said)
		last := ""
		for lines.Scan() {
			last = lines.Text()
			if strings.Contains(last, "process up") {
				up <- ""
			}
		}
		select {
		case up <- "pgbouncer has ended: " + last:
		default:
		}
	}()
	if problem := <-up; problem != "" {
		t.Fatal(problem)
	}
	return "postgres://somebody@127.0.0.1:" + port + "/reviewpoint?sslmode=disable"
}

// Behind a transaction pool the statements of one client run on several connections of the server, and
// several clients share one.
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	through := pgbouncer(t, dbtest.Postgres(t), ignoredParameters)
	var crowd sync.WaitGroup
	var stores []*database.DB
	for range 4 {
		stores = append(stores, open(t, through+"&statement_cache_size=0"))
	}
	execute(t, stores[0], "CREATE TABLE notes (id integer, body text)")
	for worker := range 32 {
		db := stores[worker%len(stores)]
		crowd.Go(func() {
			for i := range 10 {
				id := worker*100 + i
				err := db.InTx(t.Context(), func(ctx context.Context) error {
					if _, err := db.ExecContext(ctx, "INSERT INTO notes (id, body) VALUES ($1, $2)", id, "x"); err != nil {
						return err
					}
					if n, err := columns(ctx, db, "SELECT id, body FROM notes WHERE id = $1"); err != nil || n != 2 {
						return fmt.Errorf("%d columns: %w", n, err)
					}
					return nil
				})
				if err != nil {
					t.Errorf("a transaction: %v", err)
				}
				if _, err := db.ExecContext(t.Context(), "UPDATE notes SET body = $2 WHERE id = $1", id, "y"); err != nil {
					t.Errorf("a statement: %v", err)
				}
				wrong := errors.New("wrong")
				err = db.InTx(t.Context(), func(ctx context.Context) error {
					_, err := db.ExecContext(ctx, "DELETE FROM notes WHERE id = $1", id)
					return errors.Join(wrong, err)
				})
				if !errors.Is(err, wrong) || errors.Is(err, database.ErrTxFailed) {
					t.Errorf("a transaction that is undone: %v", err)
				}
				if n, err := columns(t.Context(), db, everything); err != nil || n != 2 {
					t.Errorf("a query: %d columns, %v", n, err)
				}
			}
		})
	}
	crowd.Wait()
	if n := value[int](t, t.Context(), stores[0], "SELECT count(*) FROM notes WHERE body = 'y'"); n != 320 {
		t.Errorf("%d rows, want 320", n)
	}
	execute(t, stores[1], "ALTER TABLE notes ADD COLUMN more text")
	for _, db := range stores {
		if n, err := columns(t.Context(), db, everything); err != nil || n != 3 {
			t.Errorf("after the schema has changed: %d columns, %v", n, err)
		}
	}
}

// Without the line of its configuration the line is told.
func TestPgBouncer_StartupParameters(t *testing.T) {
	t.Parallel()
	refused(t, pgbouncer(t, dbtest.Postgres(t))+"&statement_cache_size=0", ignoredParameters)
}

// With prepared statements it is not let in at all: it would run those of other clients.
func TestPgBouncer_StatementCache(t *testing.T) {
	t.Parallel()
	refused(t, pgbouncer(t, dbtest.Postgres(t), ignoredParameters), "add statement_cache_size=0 to the URL")
}

// A store that only reads must not be let in as one that writes.
func TestPgBouncer_ReadOnly(t *testing.T) {
	t.Parallel()
	through := pgbouncer(t, dbtest.Postgres(t), ignoredParameters)
	db, err := database.Open(t.Context(), through+"&statement_cache_size=0", database.Options{ReadOnly: true})
	if err == nil {
		db.Close()
		t.Fatal("it was opened, and the server does not know that it is not to write")
	}
	checkMessage(t, err.Error(), "cannot be told only to read")
}

// A configuration that keeps the mark from the server is refused like one that does not know it.
func TestPgBouncer_MarkIgnored(t *testing.T) {
	t.Parallel()
	refused(t, pgbouncer(t, dbtest.Postgres(t), ignoredParameters+",reviewpoint.statement_cache"), "add statement_cache_size=0 to the URL")
}
