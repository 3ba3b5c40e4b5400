// Package docs_test holds the pages against the code: each Go snippet is compiled, each command is run.
package docs_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/internal/cli"
	"github.com/reviewpoint/models/internal/dbtest"
)

const root = ".."

// notRun are the lines of commands that the tests leave out, each with the reason.
var notRun = map[string]string{
	"git clone https://github.com/reviewpoint/models && cd models": "needs the network",
	"go get github.com/reviewpoint/models":                         "needs the network",
	"git push origin v0.1.0":                                       "needs the network",
	"git tag --annotate v0.1.0 --message v0.1.0":                   "is somebody's to sign",
	"go test ./...": "would start itself",
	".ci/run":       "would start itself",
	"go tool -modfile=internal/tools/lint/go.mod golangci-lint run":                "takes minutes to compile; .ci/run runs it",
	"go -C internal/bench run . --out ../../docs/benchmarks":                       "takes minutes; the tests of internal/bench run a short one",
	"go -C internal/bench run . scale --rows 10000000 --out ../../docs/benchmarks": "takes hours; the tests of internal/bench run a short one",
}

// inModule are the pages whose commands work on the module itself. They share a copy of it, in this order,
// and compile that, which takes too long for every day: they run where CI is true.
var inModule = []string{"README.md", "CONTRIBUTING.md", "docs/change-the-schema.md", "docs/release.md", "docs/benchmarks/README.md", "docs/benchmarks/scale.md"}

// generated are the pages that a program writes and another test holds against it.
var generated = []string{"docs/reference.md", "docs/schema.md"}

// prose are the kinds of blocks that are only read. A text block right after commands must be what they print.
var prose = []string{"ini", "mermaid", "sql", "text", "yaml"}

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"reviewpoint": func() {
			os.Exit(cli.Run(context.Background(), os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr))
		},
	})
}

// block is what stands between two fences.
type block struct {
	page, kind, only string // only is the dialect that it is for, or empty
	line             int
	text             string
}

func (b block) String() string { return fmt.Sprintf("%s:%d", b.page, b.line) }

var fence = regexp.MustCompile("^```([a-z]*) ?([a-z]*)$")

// pages returns the names of all pages, from the root of the module.
func pages(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/benchmarks/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			name, err := filepath.Rel(root, path)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, filepath.ToSlash(name))
		}
	}
	return all
}

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func blocks(t *testing.T, page string) []block {
	t.Helper()
	var all []block
	open := false
	for i, line := range strings.Split(read(t, page), "\n") {
		trimmed := strings.TrimSpace(line)
		switch found := fence.FindStringSubmatch(trimmed); {
		case open && trimmed == "```":
			open = false
		case open:
			all[len(all)-1].text += line + "\n"
		case found != nil:
			open = true
			all = append(all, block{page: page, kind: found[1], only: found[2], line: i + 1})
		case strings.HasPrefix(trimmed, "```"):
			t.Errorf("%s:%d: this fence is not understood: %s", page, i+1, line)
		}
	}
	if open {
		t.Errorf("%s: a block has no end", page)
	}
	return all
}

// TestBlocks finds no block that nothing looks at, and each Go snippet in a compiled example.
func TestBlocks(t *testing.T) {
	t.Parallel()
	var examples string
	files, err := filepath.Glob(filepath.Join(root, "example_*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		examples += flat(read(t, filepath.Base(file))) + "\n"
	}
	left := make(map[string]bool)
	for _, page := range pages(t) {
		if slices.Contains(generated, page) {
			continue
		}
		for _, b := range blocks(t, page) {
			switch {
			case b.kind == "go":
				if !strings.Contains(examples, flat(b.text)) {
					t.Errorf("%s: this snippet is in no example_*_test.go:\n%s", b, b.text)
				}
			case b.kind == "sh" && slices.Contains([]string{"", "sqlite", "postgres"}, b.only):
				for line := range strings.Lines(b.text) {
					left[command(line)] = true
				}
			case b.kind == "diff" && slices.Contains(inModule, page), b.only == "" && slices.Contains(prose, b.kind):
			default:
				t.Errorf("%s: nothing runs or compiles a block of the kind %q %s", b, b.kind, b.only)
			}
		}
	}
	for line := range notRun {
		if !left[line] {
			t.Errorf("no page has the command that is not run: %s", line)
		}
	}
}

// flat leaves out the indentation, which differs.
func flat(code string) string {
	lines := strings.Split(strings.TrimSpace(code), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	return strings.Join(lines, "\n")
}

// command is a line of a block less its comment.
func command(line string) string {
	line, _, _ = strings.Cut(line, "  #")
	return strings.TrimSpace(line)
}

// TestCommands runs the commands of each page, top to bottom, on each dialect: in an empty folder, with
// reviewpoint in PATH and REVIEWPOINT_DB_URL set.
func TestCommands(t *testing.T) {
	t.Parallel()
	for _, page := range pages(t) {
		if slices.Contains(generated, page) || slices.Contains(inModule, page) {
			continue
		}
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			for dialect, url := range map[string]func(testing.TB) string{
				"sqlite":   func(testing.TB) string { return "sqlite://reviewpoint.db" },
				"postgres": dbtest.Postgres,
			} {
				if !slices.ContainsFunc(blocks(t, page), func(b block) bool { return b.kind == "sh" }) {
					continue
				}
				t.Run(dialect, func(t *testing.T) {
					t.Parallel()
					r := reader{page: page, dialect: dialect, url: url(t), folder: t.TempDir()}
					if page == "docs/adopt.md" {
						r.makeOldDatabase(t)
					}
					r.follow(t)
				})
			}
		})
	}
}

// TestCommands_InModule runs the commands of those pages that are about the module itself.
func TestCommands_InModule(t *testing.T) {
	t.Parallel()
	if os.Getenv("CI") != "true" {
		t.Skip("compiles a copy of the module: set CI=true")
	}
	folder := t.TempDir()
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.Name() == ".git" {
			continue
		}
		if entry.IsDir() {
			err = os.CopyFS(filepath.Join(folder, entry.Name()), os.DirFS(filepath.Join(root, entry.Name())))
		} else {
			err = os.WriteFile(filepath.Join(folder, entry.Name()), []byte(read(t, entry.Name())), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, page := range inModule {
		reader{page: page, dialect: "sqlite", url: "sqlite://reviewpoint.db", folder: folder}.follow(t)
	}
}

// reader is somebody who does what a page says, word for word.
type reader struct{ page, dialect, url, folder string }

func (r reader) follow(t *testing.T) {
	t.Helper()
	var printed string
	for _, b := range blocks(t, r.page) {
		before := printed
		printed = ""
		if b.only != "" && b.only != r.dialect {
			continue
		}
		switch b.kind {
		case "diff":
			r.execute(t, b, b.text, "git", "apply", "-")
		case "sh":
			printed = r.execute(t, b, "a long horse\n", "sh", "-euc", script(b)) // the password that they ask for
		case "text":
			if before != "" {
				wantPrinted(t, b, before)
			}
		}
		if t.Failed() {
			return
		}
	}
}

// script is what is run of a block.
func script(b block) string {
	var run strings.Builder
	for line := range strings.Lines(b.text) {
		if _, left := notRun[command(line)]; !left {
			run.WriteString(line)
		}
	}
	return run.String()
}

// execute returns what a command prints.
func (r reader) execute(t *testing.T, b block, stdin, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = r.folder
	cmd.Env = append(os.Environ(), "REVIEWPOINT_DB_URL="+r.url)
	cmd.Stdin = strings.NewReader(stdin)
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s\n%s", b, err, b.text, output)
	}
	return string(output)
}

// wantPrinted checks that the lines of a text block are what commands print, or the beginning of it. A
// line of three dots stands for any lines, and three dots in a line for any text.
func wantPrinted(t *testing.T, b block, printed string) {
	t.Helper()
	pattern := "(?m)^"
	for line := range strings.Lines(b.text) {
		line = strings.TrimSpace(line)
		if line == "..." {
			pattern += `(?:.*\n)*?`
			continue
		}
		words := strings.Fields(line)
		for i, word := range words {
			words[i] = strings.ReplaceAll(regexp.QuoteMeta(word), `\.\.\.`, ".*")
		}
		pattern += `[ \t]*` + strings.Join(words, `[ \t]+`) + `[ \t]*\n`
	}
	if !regexp.MustCompile(pattern).MatchString(printed) {
		t.Errorf("%s: the page says\n%s\nand the commands print\n%s", b, b.text, printed)
	}
}

// makeOldDatabase makes one of the Python application.
func (r reader) makeOldDatabase(t *testing.T) {
	t.Helper()
	archive, err := txtar.ParseFile(filepath.Join(root, "internal", "cli", "testdata", "both", "adopt.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == "old.sql" })
	url := r.url
	if path, ok := strings.CutPrefix(url, "sqlite://"); ok {
		url = "sqlite://" + filepath.ToSlash(filepath.Join(r.folder, path))
	}
	store, err := models.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := store.ExecContext(t.Context(), string(archive.Files[i].Data)); err != nil {
		t.Fatal(err)
	}
}

var message = regexp.MustCompile("\\*\\*\"([^\"]+?)\\.?\"\\.?\\*\\*")

// TestMessages finds each message that a page explains in the code that says it.
func TestMessages(t *testing.T) {
	t.Parallel()
	var code strings.Builder
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := os.ReadFile(path)
		code.Write(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range pages(t) {
		for _, quoted := range message.FindAllStringSubmatch(read(t, page), -1) {
			found++
			for part := range strings.SplitSeq(quoted[1], " ... ") {
				if !strings.Contains(code.String(), part) {
					t.Errorf("%s explains %q, which no code says", page, part)
				}
			}
		}
	}
	if found == 0 {
		t.Error("no page explains a message")
	}
}
