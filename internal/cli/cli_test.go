package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/internal/cli"
	"github.com/reviewpoint/models/internal/dbtest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"reviewpoint": func() {
			os.Exit(cli.Run(context.Background(), os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr))
		},
		// What the scripts do besides, on the same database: sign in, and break it.
		"signin": func() {
			inScript(func(ctx context.Context, store *models.Store) error {
				_, err := store.Authenticate(ctx, os.Args[1], os.Args[2])
				return err
			})
		},
		"sql": func() {
			inScript(func(ctx context.Context, store *models.Store) error {
				_, err := store.ExecContext(ctx, os.Args[1])
				return err
			})
		},
	})
}

func inScript(work func(context.Context, *models.Store) error) {
	ctx := models.AsSystem(context.Background(), "script")
	store, err := models.Open(ctx, os.Getenv("DB"))
	if err == nil {
		err = errors.Join(work(ctx, store), store.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// TestScripts runs one set of commands on each dialect.
func TestScripts(t *testing.T) {
	t.Parallel()
	urls := map[string]func(testing.TB) string{
		"sqlite":   func(testing.TB) string { return "sqlite://test.db" },
		"postgres": dbtest.Postgres,
	}
	for dialect, url := range urls {
		for _, folder := range []string{"both", dialect} {
			scripts, err := filepath.Glob(filepath.Join("testdata", folder, "*.txtar"))
			if err != nil {
				t.Fatal(err)
			}
			for _, script := range scripts {
				t.Run(dialect+"/"+filepath.Base(script), func(t *testing.T) {
					t.Parallel()
					db := url(t)
					testscript.Run(t, testscript.Params{
						Files: []string{script},
						Setup: func(env *testscript.Env) error {
							env.Setenv("DB", db)
							return nil
						},
					})
				})
			}
		}
	}
}

// run returns the exit code and what was written.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = cli.Run(t.Context(), args, func(string) string { return "" }, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// wantOneLine checks an error as a person sees it.
func wantOneLine(t *testing.T, code int, stderr, want string) {
	t.Helper()
	if code != 1 {
		t.Errorf("exit code is %d, want 1", code)
	}
	if !strings.HasPrefix(stderr, "reviewpoint: ") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("want one line, got %q", stderr)
	}
	if !strings.Contains(stderr, want) {
		t.Errorf("stderr is %q, want it to say %q", stderr, want)
	}
	if strings.Contains(stderr, canary) {
		t.Errorf("stderr shows the password: %q", stderr)
	}
}

const canary = "s3cret-canary"

func TestRun_BadURL(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, url, want string }{
		{"no scheme", "reviewpoint.db", "use sqlite://"},
		{"unknown scheme", "mysql://app:" + canary + "@localhost/db", `unknown database scheme "mysql": use sqlite://`},
		{"bad escape", "postgres://app:" + canary + "%zz@localhost/db", "escape special characters of the password"},
		{"bad port", "postgres://app:" + canary + "@localhost:port/db", "write the port in digits"},
		{"unknown option", "sqlite://x.db?journal=off", `unknown SQLite option "journal"`},
		{"no folder", "sqlite://no/such/folder/x.db", "the folder no/such/folder does not exist"},
		{"folder", "sqlite://.", "is a folder"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			code, _, stderr := run(t, "migrate", "apply", "--db", tt.url)
			wantOneLine(t, code, stderr, tt.want)
		})
	}
}

func TestRun_UnreachableHost(t *testing.T) {
	t.Parallel()
	// A port that was free a moment ago.
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := run(t, "migrate", "apply", "--db", "postgres://app:"+canary+"@"+address+"/db")
	wantOneLine(t, code, stderr, address+"/db cannot be reached: check host and port, and that it runs")
}

func TestRun_WrongPassword(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(dbtest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(u.User.Username(), canary)
	code, _, stderr := run(t, "migrate", "apply", "--db", u.String())
	wantOneLine(t, code, stderr, "refuses this user or password: check both in the URL")
}

func TestRun_UnknownDatabase(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(dbtest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/no_such_database"
	code, _, stderr := run(t, "migrate", "status", "--db", u.String())
	wantOneLine(t, code, stderr, "make it with createdb")
}

func TestRun_NotADatabase(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "paper.pdf")
	content := []byte(strings.Repeat("%PDF-1.7 this is no database\n", 100))
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"migrate", "apply"}, {"migrate", "status"}, {"user", "list"}, {"demo"}} {
		code, _, stderr := run(t, append(args, "--db", "sqlite://"+path)...)
		wantOneLine(t, code, stderr, "paper.pdf is not a SQLite database: check the path")
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, content) {
		t.Errorf("the file was changed (%v)", err)
	}
}

// onEach runs test on an empty database of each kind, which is open.
func onEach(t *testing.T, test func(t *testing.T, url string, store *models.Store)) {
	t.Helper()
	for name, url := range map[string]string{
		"sqlite":   "sqlite://" + filepath.Join(t.TempDir(), "test.db"),
		"postgres": dbtest.Postgres(t),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, err := models.Open(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			test(t, url, store)
		})
	}
}

func TestRun_EditedMigration(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string, store *models.Store) {
		ctx := models.AsSystem(t.Context(), "test")
		if _, err := store.Migrate(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := store.ExecContext(ctx, "UPDATE atlas_schema_revisions SET hash = 'of another text'"); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"migrate", "apply"}, {"migrate", "status"}, {"demo"}} {
			code, _, stderr := run(t, append(args, "--db", url)...)
			wantOneLine(t, code, stderr, "20261123111209_initial.sql differs from what was applied")
		}
		code, stdout, _ := run(t, "doctor", "--db", url)
		if code != 1 || !strings.Contains(stdout, "20261123111209_initial.sql differs") {
			t.Errorf("doctor exits with %d and says %q, want 1 and the name of the file", code, stdout)
		}
	})
}

func TestRun_ForeignDatabase(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string, store *models.Store) {
		if _, err := store.ExecContext(t.Context(), "CREATE TABLE invoices (id int)"); err != nil {
			t.Fatal(err)
		}
		code, _, stderr := run(t, "demo", "--db", url)
		wantOneLine(t, code, stderr, `found table "invoices"`)
	})
}

// TestRun_LongList lists more rows than are read at a time.
func TestRun_LongList(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string, store *models.Store) {
		ctx := models.AsSystem(t.Context(), "test")
		if _, err := store.Migrate(ctx); err != nil {
			t.Fatal(err)
		}
		people := make([]*ent.UserCreate, 501)
		for i := range people {
			people[i] = store.User.Create().SetEmail(fmt.Sprintf("person%d@example.org", i)).SetHashedPassword("hash")
		}
		if err := store.User.CreateBulk(people...).Exec(ctx); err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"user", "audit"} {
			for limit, want := range map[string]int{"0": 501, "500": 500, "501": 501, "3": 3} {
				code, stdout, stderr := run(t, command, "list", "--json", "--limit", limit, "--db", url)
				var rows []struct {
					ID int `json:"id"`
				}
				if err := json.Unmarshal([]byte(stdout), &rows); err != nil || code != 0 {
					t.Fatalf("%s list exits with %d (%v) and says %q", command, code, err, stderr)
				}
				seen := make(map[int]bool)
				for _, row := range rows {
					seen[row.ID] = true
				}
				if len(rows) != want || len(seen) != want {
					t.Errorf("%s list --limit %s: %d rows, %d different, want %d", command, limit, len(rows), len(seen), want)
				}
			}
		}
	})
}

func TestRun_WrongUse(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"dmeo"}, {"demo", "twice"}, {"demo", "--database", "x"}, {"migrate", "up"}, {"migrate", "apply", "now"}, {"demo", "--db"},
		{"user", "add"}, {"user", "show", "x"}, {"user", "delete", "1", "--hard"}, {"user", "anonymize", "1"}, {"user", "list", "--limit", "-1"},
		{"token", "revoke"}, {"token", "check", "jti", "--user", "1"}, {"purge"}, {"purge", "--older-than", "0"},
	} {
		code, stdout, stderr := run(t, args...)
		if code != 2 || stdout != "" || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v: exit code %d, stdout %q, stderr %q; want 2 and one line on stderr", args, code, stdout, stderr)
		}
	}
}

// TestRun_ReadOnlyFolder runs the command as somebody who may not write to the folder; root may always.
func TestRun_ReadOnlyFolder(t *testing.T) {
	t.Parallel()
	folder, err := os.MkdirTemp("", "reviewpoint") //nolint:usetesting // Nobody but its owner may enter a t.TempDir.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	command := filepath.Join(folder, "reviewpoint")
	if err := copyFile(command, os.Args[0]); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(folder, 0o555); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), command, "demo")
	cmd.Dir = folder
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	} else {
		t.Cleanup(func() { _ = os.Chmod(folder, 0o700) })
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) {
		t.Fatalf("the command ended with %v, want a failure; it said %q", err, stdout.String())
	}
	wantOneLine(t, exit.ExitCode(), stderr.String(), "choose a folder that this user may write to")
	if entries, err := os.ReadDir(folder); err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v (%v), want the command alone", entries, err)
	}
}

func copyFile(to, from string) (err error) {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	_, err = io.Copy(target, source)
	return err
}
