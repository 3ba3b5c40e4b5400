//go:build unix

package database_test

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Root may write everywhere, so for root another user opens the database, in a process of its own.
func TestOpen_FolderThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	// Other users must be able to get there.
	base := t.TempDir()
	for _, folder := range []string{base, filepath.Dir(base)} {
		if err := os.Chmod(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(base, "program")
	copyFile(t, program, testProgram(t))

	folder := filepath.Join(base, "folder")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	existing := filepath.Join(folder, "existing.db")
	db := open(t, "sqlite://"+existing)
	execute(t, db, "CREATE TABLE notes (body text)")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{existing: 0o444, folder: 0o555} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { os.Chmod(folder, 0o755) }) //nolint:errcheck // for t.TempDir, which tells
	before := listing(t, folder)

	for url, want := range map[string]string{
		"sqlite://" + filepath.Join(folder, "new.db"): "choose a folder that this user may write to",
		"sqlite://" + existing:                        "cannot be written",
		"sqlite://" + existing + "?mode=ro":           "write to its folder",
	} {
		cmd := helper(t, program, "open", url)
		cmd.Dir = base
		if os.Getuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		output, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s", url, err, output)
		}
		_, quoted, _ := strings.Cut(strings.SplitN(string(output), "\n", 2)[0], "answer ")
		answer, err := strconv.Unquote(quoted)
		if err != nil {
			t.Fatalf("%s: %v\n%s", url, err, output)
		}
		checkMessage(t, answer, want)
	}
	if after := listing(t, folder); !slices.Equal(after, before) {
		t.Errorf("the folder holds %q, want %q", after, before)
	}
}

func copyFile(t *testing.T, to, from string) {
	t.Helper()
	source, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(target, source); err != nil {
		t.Fatal(err)
	}
	if err := target.Close(); err != nil {
		t.Fatal(err)
	}
}
