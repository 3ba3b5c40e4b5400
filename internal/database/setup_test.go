package database_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/dbtest"
)

// onEach runs test on both databases, each time with the URL of an empty one.
func onEach(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run(dialect.SQLite, func(t *testing.T) {
		t.Parallel()
		test(t, sqliteURL(t)+"?synchronous=off")
	})
	t.Run(dialect.Postgres, func(t *testing.T) {
		t.Parallel()
		test(t, dbtest.Postgres(t))
	})
}

func sqliteURL(t testing.TB) string {
	t.Helper()
	return "sqlite://" + filepath.Join(t.TempDir(), "reviewpoint.db")
}

func open(t testing.TB, url string) *database.DB {
	t.Helper()
	db, err := database.Open(t.Context(), url, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func execute(t testing.TB, db *database.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// value returns the only column of the only row. It joins the transaction that ctx carries.
func value[T any](t testing.TB, ctx context.Context, db *database.DB, query string, args ...any) T {
	t.Helper()
	var out T
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	if !rows.Next() {
		t.Fatalf("%s: no row: %v", query, rows.Err())
	}
	if err := rows.Scan(&out); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return out
}

// refused checks that an URL is refused in one line that says want and does not hold the password.
func refused(t *testing.T, url, want string) {
	t.Helper()
	db, err := database.Open(t.Context(), url, database.Options{})
	if err == nil {
		db.Close()
		t.Fatal("it was opened")
	}
	checkMessage(t, err.Error(), want)
}

const canary = "c4n4ry"

func checkMessage(t *testing.T, message, want string) {
	t.Helper()
	if !strings.Contains(message, want) {
		t.Errorf("the error does not say %q: %s", want, message)
	}
	if strings.Contains(message, "\n") {
		t.Errorf("the error has several lines: %s", message)
	}
	if strings.Contains(message, canary) {
		t.Errorf("the error holds the password: %s", message)
	}
}

// The tests start their own program again, for what takes several processes, or another user.
const (
	helperTask = "REVIEWPOINT_TEST_HELPER"
	helperURL  = "REVIEWPOINT_TEST_HELPER_URL"
)

func TestHelperProcess(t *testing.T) {
	t.Parallel()
	task, url := os.Getenv(helperTask), os.Getenv(helperURL)
	switch task {
	case "":
		t.Skip("it is a process of other tests")
	case "open":
		db, err := database.Open(t.Context(), url, database.Options{})
		if err == nil {
			err = errors.Join(errors.New("it was opened"), db.Close())
		}
		fmt.Printf("answer %q\n", err.Error())
	case "count":
		fmt.Println("ready")
		// The gate opens when standard input ends.
		if _, err := bufio.NewReader(os.Stdin).ReadByte(); err == nil {
			t.Fatal("standard input holds something")
		}
		db := open(t, url)
		for range countsPerProcess {
			if err := count(t, db); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// helper is the command that runs a task in a process of its own.
func helper(t *testing.T, program, task, url string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^TestHelperProcess$")
	cmd.Env = append(os.Environ(), helperTask+"="+task, helperURL+"="+url)
	cmd.Stderr = os.Stderr
	return cmd
}

func testProgram(t *testing.T) string {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return program
}
