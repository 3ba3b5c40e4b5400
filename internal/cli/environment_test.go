package cli_test

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/reviewpoint/models/internal/cli"
)

// runIn runs the command in an environment.
func runIn(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = cli.Run(t.Context(), args, func(name string) string { return env[name] }, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// TestEnvironment_Precedence asks a database that is there and one that is not, by flag and by variable.
func TestEnvironment_Precedence(t *testing.T) {
	t.Parallel()
	there := "sqlite://" + filepath.Join(t.TempDir(), "there.db")
	if code, _, stderr := run(t, "migrate", "apply", "--db", there); code != 0 {
		t.Fatal(stderr)
	}
	missing := "sqlite://" + filepath.Join(t.TempDir(), "missing.db")
	for _, tt := range []struct {
		env  map[string]string
		args []string
		code int
		json bool
	}{
		{map[string]string{"REVIEWPOINT_DB_URL": there}, nil, 0, false},
		{map[string]string{"REVIEWPOINT_DB_URL": missing}, []string{"--db", there}, 0, false},
		{map[string]string{"REVIEWPOINT_DB_URL": there}, []string{"--db", missing}, 1, false},
		{map[string]string{"REVIEWPOINT_DB_URL": there}, []string{"--db", ""}, 0, false},
		{nil, []string{"--db", ""}, 2, false},
		{map[string]string{"REVIEWPOINT_JSON": "1"}, []string{"--db", there}, 0, true},
		{map[string]string{"REVIEWPOINT_JSON": "true"}, []string{"--db", there, "--json=false"}, 0, false},
		{map[string]string{"REVIEWPOINT_JSON": "0"}, []string{"--db", there, "--json"}, 0, true},
		{map[string]string{"REVIEWPOINT_JSON": ""}, []string{"--db", there}, 0, false},
		{map[string]string{"REVIEWPOINT_MIGRATIONS_DIR": "no-such-folder"}, []string{"--db", there}, 1, false},
		{map[string]string{"REVIEWPOINT_MIGRATIONS_DIR": "no-such-folder"}, []string{"--db", there, "--dir", "../../schema/migrations"}, 0, false},
	} {
		code, stdout, stderr := runIn(t, tt.env, append([]string{"migrate", "status"}, tt.args...)...)
		if code != tt.code || strings.HasPrefix(stdout, "[") != tt.json {
			t.Errorf("%v %v: exit code %d, stdout %q, stderr %q; want %d, JSON %t", tt.env, tt.args, code, stdout, stderr, tt.code, tt.json)
		}
	}
}

// TestEnvironment_Wrong sets variables to what they cannot be: one line that names the variable alone.
func TestEnvironment_Wrong(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		variable, value, want string
		args                  []string
	}{
		{"REVIEWPOINT_JSON", "postgres://app:" + canary + "@h/db", "REVIEWPOINT_JSON must be true or false, as of --json", []string{"migrate", "status"}},
		{"REVIEWPOINT_DB_URL", canary, "REVIEWPOINT_DB_URL: the database URL has no scheme: use sqlite://", []string{"migrate", "status"}},
		{"REVIEWPOINT_DB_URL", "mysql://app:" + canary + "@h/db", "REVIEWPOINT_DB_URL: unknown database scheme", []string{"user", "list"}},
		{"REVIEWPOINT_DB_URL", "postgres://app:" + canary + "%zz@h/db", "REVIEWPOINT_DB_URL: the PostgreSQL URL cannot be read", []string{"demo"}},
		{"ATLAS_DEV_URL", "docker://" + canary, "ATLAS_DEV_URL: unknown database scheme", []string{"migrate", "lint", "--dir", "../../schema/migrations"}},
	} {
		code, stdout, stderr := runIn(t, map[string]string{tt.variable: tt.value}, tt.args...)
		if code != 2 || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, tt.want) {
			t.Errorf("%s=%s: exit code %d, stdout %q, stderr %q, want 2 and one line that says %q", tt.variable, tt.value, code, stdout, stderr, tt.want)
		}
		wantNoSecret(t, tt.variable, stdout+stderr, canary)
	}
}

// TestNoFileMade runs what writes on a file that is not there.
func TestNoFileMade(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"user", "add", "ada@example.org", "--no-password"}, {"user", "list"}, {"user", "show", "1"}, {"user", "passwd", "1"}, {"user", "delete", "1"},
		{"user", "restore", "1"}, {"token", "revoke", "jti", "--expires", "1h"}, {"token", "revoke", "--user", "1"}, {"token", "check", "jti"},
		{"audit", "list"}, {"purge", "--older-than", "1h"}, {"migrate", "status"}, {"migrate", "verify"}, {"migrate", "adopt"},
		{"migrate", "down"}, {"migrate", "apply", "--dry-run"}, {"doctor"},
	} {
		file := filepath.Join(t.TempDir(), "mistyped.db")
		code, stdout, stderr := run(t, append(args, "--db", "sqlite://"+file)...)
		if said := stdout + stderr; code != 1 || !strings.Contains(said, "there is no database at "+file) || !strings.Contains(said, "`reviewpoint migrate apply`") {
			t.Errorf("%v: exit code %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
		if left, err := filepath.Glob(file + "*"); err != nil || len(left) > 0 {
			t.Errorf("%v made %v (%v)", args, left, err)
		}
	}
}
