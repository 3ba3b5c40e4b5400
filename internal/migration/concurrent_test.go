package migration_test

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/migration"
	"github.com/reviewpoint/models/schema/migrations"
)

func TestApply_FromManyGoroutines(t *testing.T) {
	t.Parallel()
	const goroutines = 32
	for _, folder := range []struct {
		name  string
		files fs.FS
	}{
		{"embedded", migrations.FS},
		{"five files", steps(t, 5, 4)},
	} {
		for _, handles := range []int{1, 12} {
			t.Run(fmt.Sprintf("%s, %d handles", folder.name, handles), func(t *testing.T) {
				t.Parallel()
				onEach(t, func(t *testing.T, url string) {
					dbs := make([]*database.DB, handles)
					for i := range dbs {
						dbs[i] = open(t, url)
					}
					var (
						start   = make(chan struct{})
						applied = make([][]migration.File, goroutines)
						failed  = make([]error, goroutines)
						workers sync.WaitGroup
					)
					for i := range goroutines {
						workers.Go(func() {
							<-start
							m, err := migration.New(dbs[i%handles], folder.files)
							if err == nil {
								applied[i], err = m.Apply(t.Context(), migration.Options{})
							}
							failed[i] = err
						})
					}
					close(start)
					workers.Wait()
					if err := errors.Join(failed...); err != nil {
						t.Fatal(err)
					}
					got := names(slices.Concat(applied...))
					slices.Sort(got)
					status, err := migrator(t, dbs[0], folder.files).Status(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					equal(t, "files that all calls together applied", got, names(status))
					checkAccount(t, dbs[0], names(status))
					if folder.name == "five files" {
						checkSteps(t, dbs[0], 5, 4)
					}
				})
			})
		}
	}
}

// A process of its own that migrates. The tests below start it, several at once, and kill it.
const (
	helperURL        = "REVIEWPOINT_TEST_HELPER_URL"
	helperStatements = 40
)

func TestHelperProcess(t *testing.T) {
	t.Parallel()
	url := os.Getenv(helperURL)
	if url == "" {
		t.Skip("it is a process of other tests")
	}
	files := steps(t, 5, helperStatements)
	fmt.Println("ready")
	// The gate opens when standard input ends.
	if _, err := bufio.NewReader(os.Stdin).ReadByte(); err == nil {
		t.Fatal("standard input holds something")
	}
	db := open(t, url)
	applied, err := migrator(t, db, files).Apply(t.Context(), migration.Options{})
	for _, file := range applied {
		fmt.Println("applied", file.Name)
	}
	if err != nil {
		t.Fatal(err)
	}
}

type process struct {
	cmd    *exec.Cmd
	output *bufio.Scanner
}

// start starts the helper, and returns when it waits at the gate.
func start(t *testing.T, url string, gate *os.File) *process {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^TestHelperProcess$")
	cmd.Env = append(os.Environ(), helperURL+"="+url)
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

// wait returns the files that the process says it applied.
func (p *process) wait() (applied []string, err error) {
	var rest []string
	for p.output.Scan() {
		if name, ok := strings.CutPrefix(p.output.Text(), "applied "); ok {
			applied = append(applied, name)
			continue
		}
		rest = append(rest, p.output.Text())
	}
	if err := p.cmd.Wait(); err != nil {
		return applied, fmt.Errorf("%w\n%s", err, strings.Join(rest, "\n"))
	}
	return applied, nil
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

func TestApply_FromManyProcesses(t *testing.T) {
	t.Parallel()
	rounds := 3
	if long() {
		rounds = 20
	}
	for round := range rounds {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			t.Parallel()
			onEach(t, func(t *testing.T, url string) {
				waiting, open := gate(t)
				processes := make([]*process, 8)
				for i := range processes {
					processes[i] = start(t, url, waiting)
				}
				open()
				var all []string
				for _, p := range processes {
					applied, err := p.wait()
					if err != nil {
						t.Error(err)
					}
					all = append(all, applied...)
				}
				slices.Sort(all)
				equal(t, "files that all processes together applied", all, stepNames(5))
				checkComplete(t, url)
			})
		})
	}
}

func checkComplete(t *testing.T, url string) {
	t.Helper()
	checkSteps(t, open(t, url), 5, helperStatements)
}

func TestApply_Killed(t *testing.T) {
	t.Parallel()
	rounds := 5
	if long() {
		rounds = 100
	}
	for _, name := range []string{dialect.SQLite, dialect.Postgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			killRounds(t, name, rounds)
		})
	}
}

func killRounds(t *testing.T, name string, rounds int) {
	t.Helper()
	// How long a process takes, learned from those before.
	span, killed, between := 100*time.Millisecond, 0, 0
	for round := range rounds {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			url := empty(t, name)
			waiting, openGate := gate(t)
			p := start(t, url, waiting)
			began, after := time.Now(), rand.N(span)
			kill := time.AfterFunc(after, func() { p.cmd.Process.Kill() })
			openGate()
			_, err := p.wait()
			kill.Stop()
			if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
				killed++
				span += span / 10
			} else if err != nil {
				t.Fatal(err)
			} else {
				span = time.Since(began)
			}

			db := open(t, url)
			files := steps(t, 5, helperStatements)
			status, err := migrator(t, db, files).Status(t.Context())
			if err != nil {
				t.Fatalf("killed after %s: %v", after, err)
			}
			var before []string
			for _, file := range status {
				if !file.AppliedAt.IsZero() {
					before = append(before, file.Name)
				}
			}
			if n := len(before); n > 0 && n < 5 {
				between++
			}
			equal(t, "files of both", append(before, apply(t, db, files)...), stepNames(5))
			checkSteps(t, db, 5, helperStatements)
		})
	}
	t.Logf("%d of %d processes were killed, %d between two files", killed, rounds, between)
}
