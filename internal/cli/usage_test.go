package cli_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/reviewpoint/models/internal/cli"
)

// TestRun_WrongValue gives flags values that they cannot have: one line that names the flag and says what
// to give.
func TestRun_WrongValue(t *testing.T) {
	t.Parallel()
	url := "sqlite://" + filepath.Join(t.TempDir(), "usage.db")
	if code, _, stderr := run(t, "migrate", "apply", "--db", url); code != 0 {
		t.Fatal(stderr)
	}
	for _, tt := range []struct{ args, want string }{
		{"user list --limit many", `--limit is "many": give a whole number`},
		{"file list --min-size 1k", `--min-size is "1k": give a whole number`},
		{"migrate apply --lock-timeout 10", `--lock-timeout is "10": give how long, such as 10s or 1m`},
		{"user list --json=maybe", `--json is "maybe": give true or false`},
		{"user list --search \xff", "--search: text is not valid UTF-8"},
		{"file list --name \xff", "--name: text is not valid UTF-8"},
		{"file list --type \xff", "--type: text is not valid UTF-8"},
		{"file list --min-size -1", "--min-size: must be 0 or more bytes"},
		{"file list --min-size 9 --max-size 5", "--max-size: must not be below 0, or below the least size"},
	} {
		code, _, stderr := run(t, append(strings.Split(tt.args, " "), "--db", url)...)
		if want := "reviewpoint: " + tt.want + "\n"; code != 2 || stderr != want {
			t.Errorf("%q: exit code %d, stderr %q, want 2 and %q", tt.args, code, stderr, want)
		}
	}
}

// TestErd_FormatByName draws into files whose names say the format.
func TestErd_FormatByName(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, format, begins string }{
		{"a.svg", "", "<svg"},
		{"a.HTML", "", "<!DOCTYPE html>"},
		{"a.mmd", "", "erDiagram"},
		{"b.svg", "mermaid", "erDiagram"},
	} {
		path := filepath.Join(t.TempDir(), tt.name)
		args := []string{"erd", "--out", path}
		if tt.format != "" {
			args = append(args, "--format", tt.format)
		}
		if code, _, stderr := run(t, args...); code != 0 {
			t.Fatal(stderr)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(text, []byte(tt.begins)) {
			t.Errorf("%s begins with %.40q, want %q", tt.name, text, tt.begins)
		}
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left") }

// TestExport_FullDisk exports more than a buffer holds, so that writing fails before the end.
func TestExport_FullDisk(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	url := "sqlite://" + filepath.Join(folder, "full.db")
	if code, _, stderr := run(t, "migrate", "apply", "--db", url); code != 0 {
		t.Fatal(stderr)
	}
	var people strings.Builder
	people.WriteString("email,bio\n")
	for i := range 200 {
		people.WriteString("a" + strings.Repeat("b", i%50) + string(rune('a'+i/50)) + "@example.org," + strings.Repeat("x", 500) + "\n")
	}
	path := filepath.Join(folder, "people.csv")
	if err := os.WriteFile(path, []byte(people.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := run(t, "import", "users", path, "--db", url); code != 0 {
		t.Fatal(stderr)
	}
	var errs bytes.Buffer
	code := cli.Run(t.Context(), []string{"export", "users", "--db", url}, func(string) string { return "" }, strings.NewReader(""), fullDisk{}, &errs)
	if got := errs.String(); code != 1 || strings.Count(got, "no space left") != 1 {
		t.Errorf("exit code %d, stderr %q, want 1 and the reason once", code, got)
	}
}

// TestDoctor_JournalOfPending has doctor look at a database without tables: migrating or adopting sets the
// journal, so that it is not a problem of its own.
func TestDoctor_JournalOfPending(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "empty.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	found := diagnose(t.Context(), t, "sqlite://"+path)
	if _, looked := found["journal"]; looked || found["migrations"].OK || !found["integrity"].OK {
		t.Errorf("got %+v, want migrations alone to be a problem", found)
	}
}

// TestToNewFile_NoPart looks while a file is written: whoever kills the process then leaves no part of it
// under its name. It goes when writing fails, and one that came meanwhile is left as it is.
func TestToNewFile_NoPart(t *testing.T) {
	t.Parallel()
	full := errors.New("no space left")
	for _, tt := range []struct {
		name   string
		during func(path string) error
		fails  bool
		want   string // in the file afterwards
	}{
		{"written", func(string) error { return nil }, false, "whole"},
		{"disk full", func(string) error { return full }, true, ""},
		{"taken meanwhile", func(path string) error { return os.WriteFile(path, []byte("mine"), 0o600) }, true, "mine"},
	} {
		folder := t.TempDir()
		path := filepath.Join(folder, "people.csv")
		err := cli.ToNewFile(path, func(w io.Writer) error {
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: a part stands under the name of the whole: %v", tt.name, err)
			}
			_, err := io.WriteString(w, "whole")
			return errors.Join(err, tt.during(path))
		})
		if (err != nil) != tt.fails {
			t.Errorf("%s: %v", tt.name, err)
		}
		if text, err := os.ReadFile(path); string(text) != tt.want {
			t.Errorf("%s: the file holds %q (%v), want %q", tt.name, text, err, tt.want)
		}
		entries, err := os.ReadDir(folder)
		if left := len(entries); err != nil || left > 1 || left == 1 && tt.want == "" {
			t.Errorf("%s: %v is left (%v)", tt.name, entries, err)
		}
	}
}

// TestFileAdd_Reasons gives a file values that its columns do not take, and wants reasons for people.
func TestFileAdd_Reasons(t *testing.T) {
	t.Parallel()
	url := "sqlite://" + filepath.Join(t.TempDir(), "reasons.db")
	for _, args := range [][]string{{"migrate", "apply"}, {"user", "add", "ada@example.org", "--no-password"}} {
		if code, _, stderr := run(t, append(args, "--db", url)...); code != 0 {
			t.Fatal(stderr)
		}
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"paper.pdf", "--size", "-1"}, "File.size: must be 0 or more"},
		{[]string{"paper.pdf", "--type", ""}, "File.content_type: must not be empty"},
		{[]string{strings.Repeat("x", 256)}, "File.filename: is too long"},
	} {
		code, _, stderr := run(t, append(append([]string{"file", "add"}, tt.args...), "--user", "ada@example.org", "--db", url)...)
		wantOneLine(t, code, stderr, tt.want+"\n")
	}
}
