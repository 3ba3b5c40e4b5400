package models_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// needed are the modules that a service compiles when it imports this one. Each of them costs every
// service its download, its size and its weaknesses, so a new one has a reason.
var needed = []string{
	"github.com/reviewpoint/models",

	"entgo.io/ent",                // the client
	"github.com/google/uuid",      // public ids
	"github.com/lib/pq",           // PostgreSQL
	"github.com/mattn/go-sqlite3", // SQLite
	"golang.org/x/crypto",         // Argon2id, bcrypt
	"golang.org/x/net",            // the domain of an address
	"golang.org/x/sync",           // bounds for what is computed at once
	"golang.org/x/sys",            // of x/crypto
	"golang.org/x/text",           // the normal form of text

	// The interfaces of OpenTelemetry, and what they are made of; the SDK is for tests alone.
	"go.opentelemetry.io/otel",
	"go.opentelemetry.io/otel/metric",
	"go.opentelemetry.io/otel/trace",
	"github.com/cespare/xxhash/v2",

	// Atlas, and what it is made of.
	"ariga.io/atlas",
	"github.com/agext/levenshtein",
	"github.com/apparentlymart/go-textseg/v15",
	"github.com/bmatcuk/doublestar",
	"github.com/go-openapi/inflect",
	"github.com/google/go-cmp",
	"github.com/hashicorp/hcl/v2",
	"github.com/mitchellh/go-wordwrap",
	"github.com/zclconf/go-cty",
	"github.com/zclconf/go-cty-yaml",
	"golang.org/x/mod",
	"gopkg.in/yaml.v3",
}

// goCommand runs the go command without the network, and returns what it prints.
func goCommand(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Env = append(os.Environ(), "GOPROXY=off", "GOFLAGS=-mod=readonly", "GOWORK=off")
	var errs strings.Builder
	cmd.Stderr = &errs
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return output
}

type module struct {
	Go        string
	Require   []requirement
	Exclude   []any
	Replace   []any
	Tool      []struct{ Path string }
	Toolchain string
}

type requirement struct {
	Path     string
	Indirect bool
}

func parseModule(t *testing.T, path string) module {
	t.Helper()
	_ = read(t, path) // so that the cache of tests knows on what this one depends
	var m module
	check(t, json.Unmarshal(goCommand(t, "mod", "edit", "-json", path), &m)) //nolint:musttag // the names are the go command's
	return m
}

func (m module) tools() []string {
	var paths []string
	for _, tool := range m.Tool {
		paths = append(paths, tool.Path)
	}
	return paths
}

// TestModule_Files looks at go.mod as services and `go install` see it, where a replace would not count.
func TestModule_Files(t *testing.T) {
	t.Parallel()
	main := parseModule(t, "go.mod")
	if got := main.tools(); !slices.Equal(got, []string{"entgo.io/ent/cmd/ent"}) {
		t.Errorf("go.mod has the tools %v; any but ent belong in a module of their own, in internal/tools", got)
	}
	paths, err := filepath.Glob(filepath.Join("internal", "tools", "*", "go.mod"))
	check(t, err)
	if len(paths) == 0 {
		t.Error("internal/tools has no modules")
	}
	for _, path := range append(paths, "go.mod") {
		m := parseModule(t, path)
		if len(m.Replace)+len(m.Exclude) > 0 {
			t.Errorf("%s replaces %v and excludes %v: neither counts for those who use it", path, m.Replace, m.Exclude)
		}
		if m.Go != main.Go || m.Toolchain != "" {
			t.Errorf("%s wants Go %s and toolchain %q, and go.mod Go %s", path, m.Go, m.Toolchain, main.Go)
		}
		if path != "go.mod" && len(m.Tool) != 1 {
			t.Errorf("%s has the tools %v, want one", path, m.tools())
		}
	}
	if !strings.Contains(read(t, "README.md"), "Go "+main.Go+" or newer") {
		t.Errorf("README.md does not say that one needs Go %s", main.Go)
	}
}

// imported returns the modules of these packages and of all that they import.
func imported(t *testing.T, packages ...string) map[string]bool {
	t.Helper()
	args := append([]string{"list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}"}, packages...)
	modules := make(map[string]bool)
	for path := range strings.FieldsSeq(string(goCommand(t, args...))) {
		modules[path] = true
	}
	return modules
}

// TestModule_Services keeps tools, the command and what tests use out of services.
func TestModule_Services(t *testing.T) {
	t.Parallel()
	got := imported(t, ".", "./ent/...", "./schema/...")
	for path := range got {
		if !slices.Contains(needed, path) {
			t.Errorf("services would have to compile %s: is it worth that?", path)
		}
	}
	for _, path := range needed {
		if !got[path] {
			t.Errorf("nothing that services import needs %s any more", path)
		}
	}
	packages := strings.Fields(string(goCommand(t, "list", "-deps", ".", "./ent/...", "./schema/...")))
	for _, path := range []string{"testing", "github.com/reviewpoint/models/internal/cli", "github.com/reviewpoint/models/internal/dbtest", "github.com/reviewpoint/models/internal/adopt"} {
		if slices.Contains(packages, path) {
			t.Errorf("services would have to compile %s", path)
		}
	}
}

// TestModule_Requirements finds what go.mod asks for and no package of this module imports.
func TestModule_Requirements(t *testing.T) {
	t.Parallel()
	imports := `{{range .Imports}}{{.}} {{end}}{{range .TestImports}}{{.}} {{end}}{{range .XTestImports}}{{.}} {{end}}`
	used := strings.Fields(string(goCommand(t, "list", "-f", imports, "./...")))
	main := parseModule(t, "go.mod")
	used = append(used, main.tools()...)
	for _, r := range main.Require {
		if !r.Indirect && !slices.ContainsFunc(used, func(path string) bool { return strings.HasPrefix(path+"/", r.Path+"/") }) {
			t.Errorf("go.mod requires %s, which nothing imports: run go mod tidy", r.Path)
		}
	}
}
