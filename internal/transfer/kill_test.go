package transfer_test

import (
	"bufio"
	"bytes"
	"database/sql/driver"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/reviewpoint/models/ent/migrate"
	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/transfer"
)

// A process of its own that copies, and kills itself before a statement that changes the target. The test below starts it.
const (
	helperFrom = "REVIEWPOINT_TEST_COPY_FROM"
	helperTo   = "REVIEWPOINT_TEST_COPY_TO"
	helperKill = "REVIEWPOINT_TEST_COPY_KILL" // which statement; 0 for none
)

func TestHelperProcess(t *testing.T) {
	t.Parallel()
	from := os.Getenv(helperFrom)
	if from == "" {
		t.Skip("it is a process of other tests")
	}
	kill, err := strconv.ParseInt(os.Getenv(helperKill), 10, 64)
	check(t, err)
	var n atomic.Int64
	target := open(t, os.Getenv(helperTo), database.Options{Before: func(statement string, _ []driver.NamedValue) {
		if !strings.HasPrefix(statement, "SELECT") && n.Add(1) == kill {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}})
	source := open(t, from, readOnly)
	fmt.Println("ready")
	_, err = transfer.Copy(t.Context(), source, target, migrate.Tables, nil)
	check(t, err)
	fmt.Println("statements", n.Load())
}

// helper runs the process, and kills it after a while if that is not zero. It reports whether it was killed.
func helper(t *testing.T, from, to string, statement int64, after time.Duration) (killed bool, output string) {
	t.Helper()
	program, err := os.Executable()
	check(t, err)
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^TestHelperProcess$")
	cmd.Env = append(os.Environ(), helperFrom+"="+from, helperTo+"="+to, fmt.Sprint(helperKill, "=", statement))
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	kill := time.NewTimer(0)
	defer func() { kill.Stop() }()
	var all strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		all.WriteString(lines.Text() + "\n")
		if after > 0 && lines.Text() == "ready" { // What the test prints comes first.
			kill = time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		}
	}
	err = cmd.Wait()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
		return true, all.String()
	}
	if err != nil {
		t.Fatalf("%v: %s%s", err, errs.String(), all.String())
	}
	return false, all.String()
}

// TestCopy_Killed kills a copy again and again, before a statement or at any moment, and lets the next one go on.
func TestCopy_Killed(t *testing.T) {
	t.Parallel()
	rounds, rows := 4, 8000
	if long() {
		rounds, rows = 50, 60_000
	}
	across(t, func(t *testing.T, from, to string) {
		source, whole := newURL(t, from), newURL(t, to)
		addRows(t, open(t, source, database.Options{}), rows)
		began := time.Now()
		_, output := helper(t, source, whole, 0, 0)
		span := time.Since(began)
		_, count, _ := strings.Cut(output, "statements ")
		count, _, _ = strings.Cut(count, "\n")
		statements, err := strconv.ParseInt(count, 10, 64)
		check(t, err)
		want := mustCopy(t, source, whole)

		target := newURL(t, to)
		deaths := 0
		states := make(map[string]bool)
		for round := range rounds {
			var killed bool
			if round%2 == 0 {
				killed, _ = helper(t, source, target, 1+rand.Int64N(max(7, statements/8)), 0)
			} else {
				killed, _ = helper(t, source, target, 0, rand.N(span))
			}
			if killed {
				deaths++
			}
			last := there(t, target)
			states[last] = true
			if last == there(t, whole) { // Another one from the beginning.
				target = newURL(t, to)
			}
		}
		if got := mustCopy(t, source, target); !maps.Equal(got, want) {
			t.Errorf("checksums are %v after %d kills, want %v", got, deaths, want)
		}
		t.Logf("%d statements; killed %d times, with %d different states", statements, deaths, len(states))
		if deaths == 0 {
			t.Error("it was never killed")
		}
	})
}

// there says how many rows a target has.
func there(t *testing.T, url string) string {
	t.Helper()
	db, err := database.Open(t.Context(), url, readOnly)
	check(t, err)
	defer db.Close()
	return query(t, db, "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM files)")[0]
}
