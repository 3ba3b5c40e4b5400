package adopt_test

import (
	"bufio"
	"bytes"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/adopt"
	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/migration"
)

// A process of its own that adopts, and kills itself before a statement. The tests below start it.
const (
	helperURL  = "REVIEWPOINT_TEST_ADOPT_URL"
	helperKill = "REVIEWPOINT_TEST_ADOPT_KILL" // which statement; 0 for none
)

func TestHelperProcess(t *testing.T) {
	t.Parallel()
	url := os.Getenv(helperURL)
	if url == "" {
		t.Skip("it is a process of other tests")
	}
	kill, err := strconv.ParseInt(os.Getenv(helperKill), 10, 64)
	check(t, err)
	var n atomic.Int64
	db := openWith(t, url, database.Options{Before: func(string, []driver.NamedValue) {
		if n.Add(1) == kill {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}})
	m, report := migrator(t, db), inspect(t, db)
	fmt.Println("ready")
	_, err = adopt.Run(t.Context(), db, m, report, adopt.Options{})
	check(t, err)
	fmt.Println("statements", n.Load())
}

// helper is the process, not started yet.
func helper(t *testing.T, url string, kill int64) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	check(t, err)
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^TestHelperProcess$")
	cmd.Env = append(os.Environ(), helperURL+"="+url, helperKill+"="+strconv.FormatInt(kill, 10))
	return cmd
}

// killed reports whether a process was, and fails the test if it failed otherwise.
func killed(t *testing.T, cmd *exec.Cmd, err error, output fmt.Stringer) bool {
	t.Helper()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
		return true
	}
	if err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	return false
}

// state is what a database of the old application is before and after.
type state struct {
	url           string
	before, fresh []string
	rows          map[string][]string
}

// remember takes down a database before somebody adopts it. files are added to those of the fixture.
func remember(t *testing.T, name string, files int, fresh []string) *state {
	t.Helper()
	s := &state{url: fixture(t, name), fresh: fresh, rows: make(map[string][]string)}
	db, err := database.Open(t.Context(), s.url, database.Options{})
	check(t, err)
	defer db.Close()
	addFiles(t, db, files)
	s.before = dump(t, db)
	for table := range expected {
		s.rows[table] = expect(t, db, table)
	}
	return s
}

// check holds that it is as before, or adopted completely, and that adopting again leads there. It reports
// whether it was adopted.
func (s *state) check(t *testing.T, what string) bool {
	t.Helper()
	db, err := database.Open(t.Context(), s.url, database.Options{})
	check(t, err)
	defer db.Close()
	report, err := adopt.Inspect(t.Context(), db, adopt.Options{})
	switch {
	case err == nil:
		equal(t, what+": the old database", dump(t, db), s.before)
		_, err := adopt.Run(t.Context(), db, migrator(t, db), report, adopt.Options{})
		check(t, err)
	case !errors.Is(err, adopt.ErrAdopted):
		t.Fatalf("%s: %v", what, err)
	}
	adopted := err != nil
	equal(t, what+": the schema", schemaOf(t, db), s.fresh)
	for table := range expected {
		equal(t, what+": "+table, actual(t, db, table), s.rows[table])
	}
	return adopted
}

// freshSchema is that of a database which the migrations made.
func freshSchema(t *testing.T, name string) []string {
	t.Helper()
	db := open(t, empty(t, name))
	_, err := migrator(t, db).Apply(t.Context(), migration.Options{})
	check(t, err)
	return schemaOf(t, db)
}

// TestRun_KilledAtStatement kills before every statement, from the opening of the database on; the short
// form before some.
func TestRun_KilledAtStatement(t *testing.T) {
	t.Parallel()
	for _, name := range dialects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fresh := freshSchema(t, name)
			whole := remember(t, name, 0, fresh)
			output, err := helper(t, whole.url, 0).Output()
			check(t, err)
			if !whole.check(t, "not killed") {
				t.Fatal("it was not adopted")
			}
			_, count, _ := strings.Cut(string(output), "statements ")
			count, _, _ = strings.Cut(count, "\n")
			statements, err := strconv.ParseInt(count, 10, 64)
			check(t, err)
			step := statements / 8
			if long() {
				step = 1
			}
			before, after := 0, 0
			for kill := statements; kill > 0; kill -= step {
				t.Run(fmt.Sprint(kill), func(t *testing.T) {
					s := remember(t, name, 0, fresh)
					cmd := helper(t, s.url, kill)
					var output bytes.Buffer
					cmd.Stdout, cmd.Stderr = &output, &output
					err := cmd.Run()
					if !killed(t, cmd, err, &output) {
						t.Fatalf("it was not killed: %s", output.String())
					}
					if s.check(t, "killed before statement "+fmt.Sprint(kill)) {
						after++
					} else {
						before++
					}
				})
			}
			t.Logf("%d statements; killed %d times before the commit and %d times after", statements, before, after)
			if before == 0 || after == 0 {
				t.Error("one side of the commit was never tried")
			}
		})
	}
}

// TestRun_KilledAtRandom kills at any moment.
func TestRun_KilledAtRandom(t *testing.T) {
	t.Parallel()
	rounds := 4
	if long() {
		rounds = 200
	}
	for _, name := range dialects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fresh := freshSchema(t, name)
			// How long a process takes, learned from those before.
			span, before, after, whole := 200*time.Millisecond, 0, 0, 0
			for round := range rounds {
				t.Run(fmt.Sprint(round), func(t *testing.T) {
					s := remember(t, name, 5000, fresh)
					cmd := helper(t, s.url, 0)
					var errs bytes.Buffer
					cmd.Stderr = &errs
					output, err := cmd.StdoutPipe()
					check(t, err)
					check(t, cmd.Start())
					lines := bufio.NewScanner(output)
					for lines.Scan() && lines.Text() != "ready" { // What the test prints comes first.
						continue
					}
					began, moment := time.Now(), rand.N(span)
					kill := time.AfterFunc(moment, func() { _ = cmd.Process.Kill() })
					for lines.Scan() { // It ends with the process.
						continue
					}
					err = cmd.Wait()
					kill.Stop()
					if !killed(t, cmd, err, &errs) {
						whole++
						span = time.Since(began)
					} else {
						span += span / 20
					}
					if s.check(t, "killed after "+moment.String()) {
						after++
					} else {
						before++
					}
				})
			}
			t.Logf("%d rounds: %d left the old database, %d the new one; %d were not killed", rounds, before, after, whole)
		})
	}
}

// addFiles adds so many files to those of the fixture.
func addFiles(t testing.TB, db *database.DB, files int) {
	t.Helper()
	if files == 0 {
		return
	}
	if db.Dialect() == dialect.SQLite {
		execute(t, db, fmt.Sprintf(`WITH RECURSIVE n (i) AS (SELECT 31 UNION ALL SELECT i + 1 FROM n WHERE i < %d + 30)
			INSERT INTO files SELECT i, '2025-01-02 03:04:05', '2025-01-02 03:04:05.678901', 'статья ' || i || '.pdf', 'application/pdf', CASE WHEN i %% 10 > 0 THEN i * 1000 END, 1 + i %% 6 FROM n`, files))
		return
	}
	execute(t, db, fmt.Sprintf(`INSERT INTO files SELECT i, '2025-01-02 03:04:05Z', '2025-01-02 03:04:05.678901Z', 'статья ' || i || '.pdf', 'application/pdf', CASE WHEN i %% 10 > 0 THEN i * 1000::bigint END, 1 + i %% 6
		FROM generate_series(31, %d + 30) i`, files), fmt.Sprintf("SELECT setval('files_id_seq', %d + 30)", files))
}
