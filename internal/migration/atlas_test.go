package migration_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ariga.io/atlas/sql/schema"
	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/dbtest"
	"github.com/reviewpoint/models/schema/migrations"
)

var moduleRoot = filepath.Join("..", "..")

// findAtlas returns the Atlas CLI that the environment names: to build the pinned one takes minutes.
func findAtlas(t *testing.T) string {
	t.Helper()
	program := os.Getenv("REVIEWPOINT_TEST_ATLAS")
	const reason = "no Atlas CLI to test with: build the pinned one by `go build -modfile=internal/tools/atlas/go.mod -o FILE ariga.io/atlas/cmd/atlas`, and name the file in REVIEWPOINT_TEST_ATLAS"
	switch {
	case program != "":
	case os.Getenv("CI") == "true":
		t.Fatal(reason)
	default:
		t.Skip(reason)
	}
	return program
}

// atlas runs the CLI in the folder of the module, where its project file is, and returns what it says.
type atlas struct {
	program, env string
	variables    []string
}

func newAtlas(t *testing.T, name, url string) *atlas {
	t.Helper()
	a := &atlas{program: findAtlas(t), env: "sqlite", variables: []string{
		"REVIEWPOINT_DB_URL=" + url, "ATLAS_NO_UPDATE_NOTIFIER=1", "ATLAS_NO_ANON_TELEMETRY=1",
	}}
	if name == dialect.Postgres {
		a.env = "postgres"
		a.variables = append(a.variables, "ATLAS_DEV_URL="+dbtest.Postgres(t)+"&search_path=public")
	}
	return a
}

func (a *atlas) run(t *testing.T, args ...string) string {
	t.Helper()
	var output bytes.Buffer
	cmd := exec.CommandContext(t.Context(), a.program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = moduleRoot, &output, &output
	cmd.Env = append(os.Environ(), a.variables...)
	if err := cmd.Run(); err != nil {
		t.Fatalf("atlas %q: %v\n%s", args, err, &output)
	}
	return output.String()
}

// says runs the CLI with the environment of the dialect, and checks what it says.
func (a *atlas) says(t *testing.T, want string, args ...string) {
	t.Helper()
	if got := strings.Join(strings.Fields(a.run(t, append(args, "--env", a.env)...)), " "); !strings.Contains(got, want) {
		t.Errorf("atlas %q does not say %q:\n%s", args, want, got)
	}
}

// shared is the URL of an empty database that both read alike.
func shared(t *testing.T, name string) string {
	t.Helper()
	if name == dialect.Postgres {
		return dbtest.Postgres(t) + "&search_path=public"
	}
	return "sqlite://" + filepath.Join(t.TempDir(), "reviewpoint.db") + "?_fk=1"
}

func TestAtlasCLI_EitherContinuesForTheOther(t *testing.T) {
	t.Parallel()
	for _, name := range []string{dialect.SQLite, dialect.Postgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ourURL, cliURL := shared(t, name), shared(t, name)

			ours := open(t, ourURL)
			applied := apply(t, ours, migrations.FS)
			cli := newAtlas(t, name, ourURL)
			cli.says(t, "Pending Files: 0", "migrate", "status")
			cli.says(t, "No migration files to execute", "migrate", "apply")

			cli = newAtlas(t, name, cliURL)
			cli.says(t, "-- ok", "migrate", "apply")
			theirs := open(t, cliURL)
			before := dump(t, theirs)
			status, err := migrator(t, theirs, migrations.FS).Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range status {
				if file.AppliedAt.IsZero() {
					t.Errorf("%s is pending after the CLI applied it", file.Name)
				}
			}
			equal(t, "applied after the CLI", apply(t, theirs, migrations.FS), nil)
			equal(t, "schema after both", dump(t, theirs), before)
			equal(t, "files", names(status), applied)
			checkSameAccount(t, ours, theirs)
		})
	}
}

// checkSameAccount compares the table and its rows, less times and the name of the program.
func checkSameAccount(t *testing.T, ours, theirs *database.DB) {
	t.Helper()
	const rows = "SELECT version || '|' || description || '|' || type || '|' || applied || '|' || total || '|' || COALESCE(error, '') || '|' || COALESCE(error_stmt, '') || '|' || hash FROM atlas_schema_revisions ORDER BY version"
	equal(t, "rows of the account", query[string](t, t.Context(), ours, rows), query[string](t, t.Context(), theirs, rows))
	driver, ourSchema := inspectAll(t, ours)
	_, theirSchema := inspectAll(t, theirs)
	changes, err := driver.SchemaDiff(ourSchema, theirSchema)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range changes {
		if modified, ok := change.(*schema.ModifyTable); ok {
			for _, part := range modified.Changes {
				t.Errorf("table %s differs from the CLI's by %T", modified.T.Name, part)
			}
			continue
		}
		t.Errorf("the schema differs from the CLI's by %T", change)
	}
}

// Without a search_path and without the project file the CLI keeps its account in a schema of its own.
func TestAtlasCLI_AccountInItsOwnSchema(t *testing.T) {
	t.Parallel()
	url := dbtest.Postgres(t)
	cli := newAtlas(t, dialect.Postgres, url)
	cli.run(t, "migrate", "apply", "--url", url, "--dir", "file://schema/migrations/postgres")
	db := open(t, url)
	equal(t, "where the CLI keeps its account", query[string](t, t.Context(), db, "SELECT table_schema FROM information_schema.tables WHERE table_name = 'atlas_schema_revisions'"), []string{"atlas_schema_revisions"})
	before := dump(t, db)
	equal(t, "applied after the CLI", apply(t, db, migrations.FS), nil)
	equal(t, "schema after both", dump(t, db), before)
}

func TestAtlasCLI_FindsNothingToPlan(t *testing.T) {
	t.Parallel()
	for _, name := range []string{dialect.SQLite, dialect.Postgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cli := newAtlas(t, name, "")
			dir := filepath.Join(t.TempDir(), cli.env)
			if err := os.CopyFS(dir, os.DirFS(filepath.Join(moduleRoot, "schema", "migrations", cli.env))); err != nil {
				t.Fatal(err)
			}
			before := listing(t, dir)
			cli.says(t, "no changes to be made", "migrate", "diff", "check", "--dir", "file://"+dir)
			equal(t, "files after planning", listing(t, dir), before)
			cli.says(t, "", "migrate", "validate")
		})
	}
}

func listing(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, entry.Name()+"\n"+string(content))
	}
	slices.Sort(out)
	return out
}
