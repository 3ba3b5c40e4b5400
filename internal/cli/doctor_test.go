package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/internal/cli"
	"github.com/reviewpoint/models/internal/clock"
	"github.com/reviewpoint/models/internal/dbtest"
	"github.com/reviewpoint/models/internal/password"
)

// found is what doctor says of one thing.
type found struct {
	Check   string `json:"check"`
	OK      bool   `json:"ok"`
	Skipped bool   `json:"skipped"`
	Detail  string `json:"detail"`
	Cure    string `json:"cure"`
}

// diagnose returns what doctor says of each thing, and checks its exit code.
func diagnose(ctx context.Context, t *testing.T, url string) map[string]found {
	t.Helper()
	var out, errs bytes.Buffer
	code := cli.Run(ctx, []string{"doctor", "--json", "--db", url}, func(string) string { return "" }, strings.NewReader(""), &out, &errs)
	var all []found
	if err := json.Unmarshal(out.Bytes(), &all); err != nil {
		t.Fatalf("%v: stdout %q, stderr %q", err, out.String(), errs.String())
	}
	findings, want := make(map[string]found), 0
	for _, f := range all {
		findings[f.Check] = f
		if !f.OK {
			want = 1
			if f.Cure == "" {
				t.Errorf("%s: %q has no cure", f.Check, f.Detail)
			}
		}
	}
	if code != want {
		t.Errorf("exit code is %d, want %d: %s", code, want, out.String())
	}
	wantNoSecret(t, "doctor", out.String()+errs.String(), canary)
	return findings
}

// TestDoctor_Unopened gives doctor what cannot be opened: it says so, and what to do.
func TestDoctor_Unopened(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	paper := filepath.Join(folder, "paper.pdf")
	if err := os.WriteFile(paper, []byte(strings.Repeat("%PDF-1.7 this is no database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	server := func(change func(*url.URL)) string {
		u, err := url.Parse(dbtest.Postgres(t))
		if err != nil {
			t.Fatal(err)
		}
		change(u)
		return u.String()
	}
	damaged := filepath.Join(folder, "damaged.db")
	if code, _, stderr := run(t, "migrate", "apply", "--db", "sqlite://"+damaged); code != 0 {
		t.Fatal(stderr)
	}
	if err := os.Truncate(damaged, 30_000); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(folder, "missing.db")
	for _, tt := range []struct{ name, url, detail, cure string }{
		{"no scheme", "reviewpoint.db", "the database URL has no scheme", "use sqlite://path/to/file.db"},
		{"unknown scheme", "mysql://app:" + canary + "@localhost/db", `unknown database scheme "mysql"`, "use sqlite://"},
		{"bad escape", "postgres://app:" + canary + "%zz@localhost/db", "the PostgreSQL URL cannot be read", "escape special characters of the password (@ is %40"},
		{"unknown option", "sqlite://x.db?journal=off", `unknown SQLite option "journal"`, "there are synchronous"},
		{"no file", "sqlite://" + missing, "there is no database at " + missing, "make it with `reviewpoint migrate apply`, or check the path"},
		{"no folder", "sqlite://" + missing + "/x.db", "there is no database at " + missing, "make it with"},
		{"folder", "sqlite://" + folder, folder + " is a folder", "name a file in it"},
		{"no database", "sqlite://" + paper, "is not a SQLite database", "check the path"},
		{"damaged", "sqlite://" + damaged, damaged + " is damaged", "restore a backup"},
		{"no server", "postgres://app:" + canary + "@127.0.0.1:1/db", "the server at 127.0.0.1:1/db cannot be reached", "check host and port, and that it runs"},
		{"wrong password", server(func(u *url.URL) { u.User = url.UserPassword(u.User.Username(), canary) }), "refuses this user or password", "check both in the URL"},
		{"no such database", server(func(u *url.URL) { u.Path = "/no_such_database" }), "has no database of the name", "make it with createdb"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := diagnose(t.Context(), t, tt.url)["database"]
			if f.OK || !strings.Contains(f.Detail, tt.detail) || !strings.HasPrefix(f.Cure, tt.cure) {
				t.Errorf("doctor says %q, cure %q; want %q, cure %q", f.Detail, f.Cure, tt.detail, tt.cure)
			}
		})
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("doctor made a file")
	}
}

// TestDoctor_Clock asks with a clock that is wrong, and with the right one.
func TestDoctor_Clock(t *testing.T) {
	t.Parallel()
	db := dbtest.Postgres(t)
	ahead := clock.NewContext(t.Context(), func() time.Time { return time.Now().Add(time.Hour) })
	if f := diagnose(ahead, t, db)["clock"]; f.OK || !strings.HasPrefix(f.Detail, "1h0m") || !strings.HasPrefix(f.Cure, "set both clocks by NTP") {
		t.Errorf("doctor says %+v of a clock that is an hour ahead", f)
	}
	if f := diagnose(t.Context(), t, db)["clock"]; !f.OK {
		t.Errorf("doctor says %+v of the server's own clock", f)
	}
}

// TestDoctor_WithoutRights asks as somebody who may not make a schema, in which drift is seen.
func TestDoctor_WithoutRights(t *testing.T) {
	t.Parallel()
	db := dbtest.Postgres(t)
	store, err := models.Open(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	reader, role := readerOf(t, db, store)
	f := diagnose(t.Context(), t, reader)["drift"]
	if !f.OK || !f.Skipped || !strings.HasPrefix(f.Detail, "not looked at: ") || !strings.Contains(f.Detail, "grant CREATE on the database, or name another server by --dev-url") {
		t.Errorf("doctor says %+v", f)
	}
	if _, err := store.ExecContext(t.Context(), "GRANT CREATE ON DATABASE "+strings.TrimSuffix(role, "_reader")+" TO "+role); err != nil {
		t.Fatal(err)
	}
	if f := diagnose(t.Context(), t, reader)["drift"]; !f.OK || f.Skipped {
		t.Errorf("doctor says %+v of somebody who may make a schema", f)
	}
	if _, err := store.ExecContext(t.Context(), "REVOKE SELECT ON atlas_schema_revisions FROM "+role); err != nil {
		t.Fatal(err)
	}
	if f := diagnose(t.Context(), t, reader)["migrations"]; f.OK || !strings.Contains(f.Cure, "GRANT SELECT") {
		t.Errorf("doctor says %+v of somebody who may not read the account of migrations", f)
	}
}

// TestDoctor_NoCompiler says what a program without SQLite says; the long variant builds one.
func TestDoctor_NoCompiler(t *testing.T) {
	t.Parallel()
	const detail, built = "built without a C compiler (CGO_ENABLED=0), and so without SQLite", "no gcc or clang is on the PATH: install one"
	for _, tt := range []struct {
		sqlite        bool
		compiler, url string
		ok            bool
		detail, cure  string
	}{
		{true, "gcc", "sqlite://x.db", true, "built with SQLite and PostgreSQL", ""},
		{true, "", "sqlite://x.db", true, "built with SQLite and PostgreSQL; no gcc or clang is on the PATH, with which to build it again", ""},
		{false, "gcc", "postgres://x/y", true, detail, ""},
		{false, "", "SQLite+aiosqlite:///x.db", false, detail, built},
		{false, "clang", "sqlite://x.db", false, detail, "build again with CGO_ENABLED=1: clang is on the PATH"},
	} {
		if ok, detail, cure := cli.ProgramFinding(tt.sqlite, tt.compiler, tt.url); ok != tt.ok || detail != tt.detail || !strings.HasPrefix(cure, tt.cure) {
			t.Errorf("%+v: %t, %q, cure %q", tt, ok, detail, cure)
		}
	}
	if os.Getenv("REVIEWPOINT_TEST_LONG") != "1" {
		return
	}
	program := filepath.Join(t.TempDir(), "reviewpoint")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../cmd/reviewpoint")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	doctor := exec.CommandContext(t.Context(), program, "doctor", "--db", "sqlite://x.db")
	doctor.Env = []string{"PATH=" + t.TempDir()}
	out, err := doctor.CombinedOutput()
	if err == nil || !strings.Contains(string(out), detail) || !strings.Contains(string(out), "cure: "+built) {
		t.Errorf("%v: %s", err, out)
	}
}

// TestDoctor_ForeignKeyGone takes the foreign key away, as seen by somebody who may only read.
func TestDoctor_ForeignKeyGone(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db string, store *models.Store) {
		ctx := models.AsSystem(t.Context(), "test")
		if _, err := store.Migrate(ctx); err != nil {
			t.Fatal(err)
		}
		run := func(statement string) {
			t.Helper()
			if _, err := store.ExecContext(ctx, statement); err != nil {
				t.Fatal(err)
			}
		}
		want := func(url, detail string) {
			t.Helper()
			f := diagnose(t.Context(), t, url)["foreign keys"]
			if f.OK || f.Detail != detail || f.Cure != "undo by hand what was changed by hand, or plan a migration for it" {
				t.Errorf("doctor says %+v, want %q", f, detail)
			}
		}
		if strings.HasPrefix(db, "sqlite:") {
			run("PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = replace(sql, 'REFERENCES `users`', 'REFERENCES `other`') WHERE name = 'files'; PRAGMA writable_schema = RESET")
			want(db, "files_users_files of files is missing")
			return
		}
		reader, _ := readerOf(t, db, store)
		if f := diagnose(t.Context(), t, reader)["foreign keys"]; !f.OK {
			t.Errorf("doctor says %+v", f)
		}
		run("ALTER TABLE files DROP CONSTRAINT files_users_files")
		want(reader, "files_users_files of files is missing")
		run("ALTER TABLE files ADD CONSTRAINT files_users_files FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE NOT VALID")
		want(reader, "files_users_files of files is not validated")
	})
}

// readerOf makes a role that may read the tables alone, and returns the URL for it.
func readerOf(t *testing.T, db string, store *models.Store) (reader, role string) {
	t.Helper()
	u, err := url.Parse(db)
	if err != nil {
		t.Fatal(err)
	}
	role = strings.TrimPrefix(u.Path, "/") + "_reader"
	if _, err := store.ExecContext(t.Context(), "CREATE ROLE "+role+" LOGIN PASSWORD '"+canary+"'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO "+role); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		other, err := models.Open(context.WithoutCancel(t.Context()), db)
		if err == nil {
			_, err = other.ExecContext(context.WithoutCancel(t.Context()), "DROP OWNED BY "+role+"; DROP ROLE "+role)
			err = errors.Join(err, other.Close())
		}
		if err != nil {
			t.Error(err)
		}
	})
	u.User = url.UserPassword(role, canary)
	return u.String(), role
}

// TestDoctor_Skipped looks as somebody who may not look at everything, or not for so long.
func TestDoctor_Skipped(t *testing.T) {
	t.Parallel()
	db := dbtest.Postgres(t)
	ctx := models.AsSystem(t.Context(), "test")
	store, err := models.Open(ctx, db)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := store.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	want := func(f found, ok bool, detail, cure string) {
		t.Helper()
		if f.OK != ok || !f.Skipped || !strings.HasPrefix(f.Detail, "not looked at: "+detail) || !strings.HasPrefix(f.Cure, cure) {
			t.Errorf("doctor says %+v, want it skipped, ok %t, %q, cure %q", f, ok, detail, cure)
		}
	}
	err = store.InTx(ctx, func(ctx context.Context) error {
		_, err := store.ExecContext(ctx, "LOCK TABLE blacklisted_tokens")
		if err == nil {
			want(diagnose(t.Context(), t, db+"&statement_timeout=1000")["expired rows"], true, "the server's statement_timeout has ended it", "add ?statement_timeout=0 to the URL")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	reader, role := readerOf(t, db, store)
	for _, tt := range []struct {
		table, check string
		ok           bool
	}{{"users", "password hashes", true}, {"atlas_schema_revisions", "migrations", false}} {
		if _, err := store.ExecContext(ctx, "REVOKE SELECT ON "+tt.table+" FROM "+role); err != nil {
			t.Fatal(err)
		}
		want(diagnose(t.Context(), t, reader)[tt.check], tt.ok, "", "grant SELECT on all tables to this user")
	}
}

// TestDoctor_Hashes compares what the database counts with what each hash is, and sees that it answers none.
func TestDoctor_Hashes(t *testing.T) {
	t.Parallel()
	salt, digest := "c29tZXNhbHRzYWx0c2FsdA"[:22], strings.Repeat("canary", 7)+"A"
	hashes := []string{
		"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + digest, "$argon2id$v=19$m=4096,t=2,p=1$" + salt + "$" + digest,
		"$argon2id$v=19$m=19456,t=2,p=1$" + salt[:20] + "$" + digest, "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + digest[:22] + "A",
		"$argon2id$v=19$m=4096,t=2,p=1$" + salt + "$" + digest[:20] + "-" + digest[:20], "$argon2id$v=19$m=4096,t=2,p=1$" + salt[:10] + "-" + salt[:10] + "$" + digest,
		"$argon2id$v=19$m=4096,t=2,p=1$" + salt + "$$" + digest, "$argon2id$v=19$m=4096,t=2,p=1$" + salt, "$ARGON2ID$v=19$m=4096,t=2,p=1$" + salt + "$" + digest,
		"$argon2i$v=19$m=4096,t=2,p=1$" + salt + "$" + digest, "$2b$12$" + digest, "$2", "!", "", digest, "$" + digest + "$", "$argon2id$v=19$m=4096,t=2,p=1$$",
	}
	onEach(t, func(t *testing.T, url string, store *models.Store) {
		ctx := models.AsSystem(t.Context(), "test")
		if _, err := store.Migrate(ctx); err != nil {
			t.Fatal(err)
		}
		var weak, bcrypt, plain int
		for i, hash := range hashes {
			if err := store.User.Create().SetEmail(fmt.Sprintf("u%d@example.org", i)).SetHashedPassword("!").Exec(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := store.ExecContext(ctx, "UPDATE users SET hashed_password = $1 WHERE id = $2", hash, i+1); err != nil {
				if hash != "" { // which a check refuses
					t.Fatal(err)
				}
			}
			switch {
			case hash != "" && hash != password.None && !strings.HasPrefix(hash, "$"):
				plain++
			case !password.Weak(hash, password.Default):
			case strings.HasPrefix(hash, "$2"):
				bcrypt++
			default:
				weak++
			}
		}
		detail := fmt.Sprintf("%d of %d accounts have bcrypt's, %d Argon2id's with less than today's cost, %d none at all: perhaps a password in clear, with which nobody signs in", bcrypt, len(hashes), weak, plain)
		if f := diagnose(t.Context(), t, url)["password hashes"]; f.Detail != detail || weak < 3 || bcrypt != 2 || plain != 1 {
			t.Errorf("doctor says %q, want %q", f.Detail, detail)
		}
		rows, err := store.QueryContext(ctx, cli.HashKinds)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var kind string
			var salted, digested, n int
			if err := rows.Scan(&kind, &salted, &digested, &n); err != nil {
				t.Fatal(err)
			}
			wantNoSecret(t, "the database", kind, "canary", salt[:8])
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	})
}
