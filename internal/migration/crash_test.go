package migration_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/dbtest"
	"github.com/reviewpoint/models/internal/migration"
)

// job is what a process of its own does, which the tests below start, several at once, and kill.
type job struct {
	URL    string `json:"url"`
	Folder string `json:"folder"` // of migrations
	Down   string `json:"down"`   // the version to go down to; empty to apply what is pending
	Kill   int64  `json:"kill"`   // before which of its statements it kills itself; 0 for none
}

const jobVariable = "REVIEWPOINT_TEST_MIGRATION_JOB"

func TestMigratingProcess(t *testing.T) {
	t.Parallel()
	text := os.Getenv(jobVariable)
	if text == "" {
		t.Skip("it is a process of other tests")
	}
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		t.Fatal(err)
	}
	fmt.Println("ready")
	// The gate opens when standard input ends.
	if _, err := bufio.NewReader(os.Stdin).ReadByte(); err == nil {
		t.Fatal("standard input holds something")
	}
	var (
		statements atomic.Int64
		counts     atomic.Bool
	)
	db, err := database.Open(t.Context(), j.URL, database.Options{Before: func(string, []driver.NamedValue) {
		if counts.Load() && statements.Add(1) == j.Kill {
			killSelf()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	m := migrator(t, db, os.DirFS(j.Folder))
	if j.Down == "" {
		counts.Store(true)
		applied, err := m.Apply(t.Context(), migration.Options{})
		for _, file := range applied {
			fmt.Println("applied", file.Name)
		}
		if err != nil {
			t.Fatal(err)
		}
	} else {
		plan, err := m.PlanDown(t.Context(), devOn(t, db), j.Down, 0)
		if err != nil {
			t.Fatal(err)
		}
		counts.Store(true)
		if err := m.Down(t.Context(), plan, migration.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Println("statements", statements.Load())
}

// killSelf ends the process as kill -9 does.
func killSelf() {
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		panic(err)
	}
	if err := self.Kill(); err != nil {
		panic(err)
	}
	select {}
}

func devOn(t testing.TB, db *database.DB) *migration.Dev {
	t.Helper()
	dev, err := migration.DevOn(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	return dev
}

type process struct {
	cmd    *exec.Cmd
	output *bufio.Scanner
}

// start starts a process, and returns when it waits at the gate.
func start(t *testing.T, j job, gate *os.File) *process {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^TestMigratingProcess$")
	cmd.Env = append(os.Environ(), jobVariable+"="+string(text))
	cmd.Stdin, cmd.Stderr = gate, os.Stderr
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd, bufio.NewScanner(output)}
	for p.output.Scan() {
		if p.output.Text() == "ready" {
			return p
		}
	}
	t.Fatalf("the process ended before it was ready: %v", cmd.Wait())
	return nil
}

// outcome is what a process said.
type outcome struct {
	applied    []string
	statements int
	killed     bool
}

// wait returns when the process has ended. It fails the test if that was by an error.
func (p *process) wait(t *testing.T) outcome {
	t.Helper()
	var (
		out  outcome
		rest []string
	)
	for p.output.Scan() {
		word, value, _ := strings.Cut(p.output.Text(), " ")
		switch word {
		case "applied":
			out.applied = append(out.applied, value)
		case "statements":
			out.statements, _ = strconv.Atoi(value)
		default:
			rest = append(rest, p.output.Text())
		}
	}
	err := p.cmd.Wait()
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		out.killed = true
	} else if err != nil {
		t.Errorf("%v\n%s", err, strings.Join(rest, "\n"))
	}
	return out
}

func gate(t *testing.T) (waiting *os.File, open func()) {
	t.Helper()
	waiting, opener, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { waiting.Close() })
	t.Cleanup(func() { opener.Close() })
	return waiting, func() { opener.Close() }
}

// run runs a process from its beginning to its end.
func run(t *testing.T, j job) outcome {
	t.Helper()
	waiting, openGate := gate(t)
	p := start(t, j, waiting)
	openGate()
	return p.wait(t)
}

func TestApply_FromManyProcesses(t *testing.T) {
	t.Parallel()
	rounds, count := 1, 12
	if long() {
		rounds, count = 20, 32
	}
	each(t, func(t *testing.T, name string) {
		path := grown(t)
		golden := open(t, empty(t, name))
		apply(t, golden, os.DirFS(path))
		want := contents(t, golden)
		for round := range rounds {
			t.Run(fmt.Sprint(round), func(t *testing.T) {
				j := job{URL: empty(t, name), Folder: path}
				waiting, openGate := gate(t)
				processes := make([]*process, count)
				for i := range processes {
					processes[i] = start(t, j, waiting)
				}
				openGate()
				var all []string
				for _, p := range processes {
					all = append(all, p.wait(t).applied...)
				}
				slices.Sort(all)
				equal(t, "files that all processes together applied", all, filesOf(t, path, name))
				db := open(t, j.URL)
				same(t, "contents", contents(t, db), want)
				checkAccount(t, db, filesOf(t, path, name))
			})
		}
	})
}

// crash is a job to be killed, over and over.
type crash struct {
	dialect string
	job     job
	begin   func(t *testing.T) string // the URL of a database on which the job is to be done
	want    []string                  // the contents of one on which it was done
	files   []string                  // that are applied then
	total   int                       // how many statements it has
	took    time.Duration
}

// newCrash does the job once, undisturbed.
func newCrash(t *testing.T, name string, down bool) *crash {
	t.Helper()
	path := grown(t)
	c := &crash{dialect: name, job: job{Folder: path}, files: filesOf(t, path, name)}
	c.begin = func(t *testing.T) string {
		t.Helper()
		return empty(t, name)
	}
	if down {
		c.begin = migrated(t, name, path)
		c.job.Down = lastOwn(t)
		c.files = slices.DeleteFunc(c.files, func(file string) bool { return versionOf(file) > c.job.Down })
	}
	c.job.URL = c.begin(t)
	began := time.Now()
	done := run(t, c.job)
	c.total, c.took = done.statements, time.Since(began)
	if !down {
		equal(t, "applied undisturbed", done.applied, c.files)
	}
	db := open(t, c.job.URL)
	c.want = contents(t, db)
	checkAccount(t, db, c.files)
	return c
}

// migrated returns a function that gives a new copy of a database to which the folder is applied.
func migrated(t *testing.T, name, path string) func(*testing.T) string {
	t.Helper()
	fill := func(url string) error {
		db, err := database.Open(context.Background(), url, database.Options{})
		if err != nil {
			return err
		}
		defer db.Close()
		m, err := migration.New(db, os.DirFS(path))
		if err == nil {
			_, err = m.Apply(context.Background(), migration.Options{})
		}
		return err
	}
	if name == dialect.Postgres {
		sum, err := os.ReadFile(filepath.Join(path, "postgres", "atlas.sum"))
		if err != nil {
			t.Fatal(err)
		}
		hash := sha256.Sum256(sum)
		return func(t *testing.T) string {
			t.Helper()
			return dbtest.PostgresFrom(t, "grown_"+hex.EncodeToString(hash[:8]), fill)
		}
	}
	first := filepath.Join(t.TempDir(), "first.db")
	if err := fill("sqlite://" + first); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T) string {
		t.Helper()
		copied := filepath.Join(t.TempDir(), "copied.db")
		write(t, copied, string(content))
		return "sqlite://" + copied + "?busy_timeout=2m"
	}
}

// goOn does the rest of what a killed process did, and checks that it ends as if it had never been killed.
func (c *crash) goOn(t *testing.T, url string) (between bool) {
	t.Helper()
	db := open(t, url)
	m := migrator(t, db, os.DirFS(c.job.Folder))
	status, err := m.Status(t.Context())
	if err != nil {
		t.Fatalf("status: %v", err)
	}
	applied := 0
	for _, file := range status {
		if !file.Pending() {
			applied++
		} else if file.Done > 0 && (c.dialect != dialect.Postgres || file.Name != indexesFile) {
			t.Errorf("%s is applied in part: %+v", file.Name, file)
		}
	}
	if c.job.Down == "" {
		between = applied > 0 && applied < len(status)
		equal(t, "applied after the restart", apply(t, db, os.DirFS(c.job.Folder)), c.files[applied:])
	} else if applied > len(c.files) {
		if applied != len(status) {
			t.Errorf("%d of %d files are left of a down in one transaction", applied, len(status))
		}
		plan, err := m.PlanDown(t.Context(), devOn(t, db), c.job.Down, 0)
		if err != nil {
			t.Fatalf("plan down: %v", err)
		}
		if err := m.Down(t.Context(), plan, migration.Options{}); err != nil {
			t.Fatalf("down: %v", err)
		}
	}
	same(t, "contents after the restart", contents(t, db), c.want)
	checkAccount(t, db, c.files)
	return between
}

// eachCrash runs test with applying and undoing, on both databases.
func eachCrash(t *testing.T, test func(t *testing.T, c *crash)) {
	t.Helper()
	for _, what := range []string{"apply", "down"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, name string) { test(t, newCrash(t, name, what == "down")) })
		})
	}
}

// Every statement, BEGIN and COMMIT included, is the last thing that a process lived to see.
func TestKilled_BeforeEachStatement(t *testing.T) {
	t.Parallel()
	eachCrash(t, func(t *testing.T, c *crash) {
		step := 1
		if !long() {
			step = max(1, c.total/10)
		}
		if c.total < 20 {
			t.Fatalf("the job has only %d statements", c.total)
		}
		for i := c.total; i > 0; i -= step {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				j := c.job
				j.URL, j.Kill = c.begin(t), int64(i)
				if !run(t, j).killed {
					t.Fatalf("the process was not killed before statement %d of %d", i, c.total)
				}
				c.goOn(t, j.URL)
			})
		}
	})
}

func TestKilled_AtRandomMoments(t *testing.T) {
	t.Parallel()
	rounds := 5
	if long() {
		rounds = 200
	}
	eachCrash(t, func(t *testing.T, c *crash) {
		// How long a process takes, learned from those before.
		span, killed, between := c.took, 0, 0
		for round := range rounds {
			t.Run(fmt.Sprint(round), func(t *testing.T) {
				j := c.job
				j.URL = c.begin(t)
				waiting, openGate := gate(t)
				p := start(t, j, waiting)
				began, after := time.Now(), rand.N(span)
				kill := time.AfterFunc(after, func() { p.cmd.Process.Kill() })
				openGate()
				out := p.wait(t)
				kill.Stop()
				if out.killed {
					killed++
					span += span / 10
				} else {
					span = time.Since(began)
				}
				t.Logf("killed after %s: %v", after, out.killed)
				if c.goOn(t, j.URL) {
					between++
				}
			})
		}
		t.Logf("%d of %d processes were killed, %d between two files", killed, rounds, between)
	})
}
