package migration_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ariga.io/atlas/sql/schema"
	"entgo.io/ent/dialect"
	entschema "entgo.io/ent/dialect/sql/schema"
	"entgo.io/ent/schema/field"

	entmigrate "github.com/reviewpoint/models/ent/migrate"
	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/dbtest"
	"github.com/reviewpoint/models/internal/migration"
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
		"TMPDIR=" + t.TempDir(), // where its lock of SQLite lies: the same one for all databases
	}}
	if name == dialect.Postgres {
		a.env = "postgres"
		a.variables = append(a.variables, "ATLAS_DEV_URL="+dbtest.Postgres(t)+"&search_path=public")
	}
	return a
}

func (a *atlas) run(t *testing.T, args ...string) string {
	t.Helper()
	output, err := a.try(t, args...)
	if err != nil {
		t.Fatalf("atlas %q: %v\n%s", args, err, output)
	}
	return output
}

func (a *atlas) try(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var output bytes.Buffer
	cmd := exec.CommandContext(t.Context(), a.program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = moduleRoot, &output, &output
	cmd.Env = append(os.Environ(), a.variables...)
	err := cmd.Run()
	return output.String(), err
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

// apply applies the next n files of a folder.
func (a *atlas) apply(t *testing.T, path string, n int) {
	t.Helper()
	a.says(t, "-- ok", "migrate", "apply", strconv.Itoa(n), "--dir", a.dir(path))
}

func (a *atlas) dir(path string) string { return "file://" + filepath.Join(path, a.env) }

// pending checks how many files the CLI takes for pending.
func (a *atlas) pending(t *testing.T, path string, n int) {
	t.Helper()
	a.says(t, fmt.Sprintf("Pending Files: %d", n), "migrate", "status", "--dir", a.dir(path))
}

// applyNext applies the next n files of a folder.
func applyNext(t *testing.T, db *database.DB, path string, n int) {
	t.Helper()
	m := migrator(t, db, os.DirFS(path))
	status, err := m.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next := slices.DeleteFunc(status, func(f migration.File) bool { return !f.Pending() })[:n]
	applied, err := m.Apply(t.Context(), migration.Options{To: next[n-1].Version})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "applied", names(applied), names(next))
}

// settled checks that both tools find the folder applied, and the database as it should be.
func (a *atlas) settled(t *testing.T, db *database.DB, path string, want []string) {
	t.Helper()
	a.pending(t, path, 0)
	a.says(t, "No migration files to execute", "migrate", "apply", "--dir", a.dir(path))
	equal(t, "applied by ours", apply(t, db, os.DirFS(path)), nil)
	got := contents(t, db)
	if slices.Equal(want, withoutHash(want)) {
		got = withoutHash(got)
	}
	same(t, "contents", got, want)
	different, err := migrator(t, db, os.DirFS(path)).Drift(t.Context(), devOn(t, db))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "drift", different, nil)
}

// withoutHash is contents without the hash of the file of broken that failed first.
func withoutHash(contents []string) []string {
	out := slices.Clone(contents)
	for i, line := range out {
		if strings.HasPrefix(line, "20300101000000 things ") {
			out[i] = "20300101000000 things"
		}
	}
	return out
}

func TestAtlasCLI_ContinuesAtEachRevision(t *testing.T) {
	t.Parallel()
	findAtlas(t)
	each(t, func(t *testing.T, name string) {
		path := grown(t)
		golden := open(t, shared(t, name))
		apply(t, golden, os.DirFS(path))
		want, files := contents(t, golden), filesOf(t, path, name)
		newAtlas(t, name, "").says(t, "", "migrate", "validate", "--dir", "file://"+filepath.Join(path, folderOf(name)))
		for k := range len(files) + 1 {
			for _, first := range []string{"ours", "the CLI"} {
				t.Run(fmt.Sprintf("%s applies %d", first, k), func(t *testing.T) {
					t.Parallel()
					url := shared(t, name)
					db, cli := open(t, url), newAtlas(t, name, url)
					byCLI := func(n int) {
						if n > 0 {
							cli.apply(t, path, n)
						}
					}
					byOurs := func(n int) {
						if n > 0 {
							applyNext(t, db, path, n)
						}
					}
					if first == "ours" {
						byOurs(k)
						cli.pending(t, path, len(files)-k)
						byCLI(len(files) - k)
					} else {
						byCLI(k)
						byOurs(len(files) - k)
					}
					cli.settled(t, db, path, want)
				})
			}
		}
		t.Run("by turns", func(t *testing.T) {
			t.Parallel()
			url := shared(t, name)
			db, cli := open(t, url), newAtlas(t, name, url)
			for i := range files {
				cli.pending(t, path, len(files)-i)
				if i%2 == 0 {
					applyNext(t, db, path, 1)
				} else {
					cli.apply(t, path, 1)
				}
			}
			cli.settled(t, db, path, want)
		})
	})
}

func TestAtlasCLI_GoesOnAfterDown(t *testing.T) {
	t.Parallel()
	findAtlas(t)
	each(t, func(t *testing.T, name string) {
		path, url := grown(t), shared(t, name)
		db, cli := open(t, url), newAtlas(t, name, url)
		all := len(filesOf(t, path, name))
		cli.apply(t, path, all)
		want := contents(t, db)
		for _, to := range []string{versionOf(indexesFile), versionOf(rowsFile), "0"} {
			down(t, db, os.DirFS(path), to, 0)
			left := slices.IndexFunc(filesOf(t, path, name), func(file string) bool { return versionOf(file) == to }) + 1
			cli.pending(t, path, all-left)
			cli.apply(t, path, all-left)
			cli.settled(t, db, path, want)
		}
	})
}

// broken is a folder whose last file but one fails at its second statement, and the same one mended.
func broken(t *testing.T, directive string) (bad, good string) {
	t.Helper()
	folders := make([]string, 2)
	for i, second := range []string{"INSERT INTO absent (id) VALUES (1);\n", "INSERT INTO things (id) VALUES (2);\n"} {
		files := map[string]string{
			"20300101000000_things.sql": directive + "CREATE TABLE things (id integer PRIMARY KEY);\n" + second,
			"20300101000001_more.sql":   "INSERT INTO things (id) VALUES (3);\n",
		}
		folders[i] = extended(t, map[string]map[string]string{"sqlite": files, "postgres": files})
	}
	return folders[0], folders[1]
}

func TestAtlasCLI_GoesOnAfterFailure(t *testing.T) {
	t.Parallel()
	findAtlas(t)
	each(t, func(t *testing.T, name string) {
		directives := map[string]string{"in a transaction": ""}
		if name == dialect.Postgres {
			directives["alone"] = "-- atlas:txmode none\n\n"
		}
		for what, directive := range directives {
			bad, good := broken(t, directive)
			golden := open(t, shared(t, name))
			apply(t, golden, os.DirFS(good))
			want := contents(t, golden)
			for _, order := range []string{"ours, CLI", "CLI, ours", "ours, CLI, ours", "CLI, ours, CLI"} {
				t.Run(what+" "+order, func(t *testing.T) {
					t.Parallel()
					url := shared(t, name)
					db, cli := open(t, url), newAtlas(t, name, url)
					tools := strings.Split(order, ", ")
					for _, tool := range tools[:len(tools)-1] {
						if tool == "CLI" {
							if output, err := cli.try(t, "migrate", "apply", "--dir", cli.dir(bad), "--env", cli.env); err == nil {
								t.Fatalf("the CLI applied a file that cannot be:\n%s", output)
							}
						} else if _, err := migrator(t, db, os.DirFS(bad)).Apply(t.Context(), migration.Options{}); err == nil {
							t.Fatal("ours applied a file that cannot be")
						}
						cli.pending(t, bad, 2)
						f := statusOf(t, db, os.DirFS(bad), "20300101000000_things.sql")
						if !f.Pending() || f.Done != min(1, len(directive)) {
							t.Errorf("status after %s: %+v", tool, f)
						}
					}
					cli.pending(t, good, 2)
					want := want
					if tools[len(tools)-1] == "CLI" {
						cli.apply(t, good, 2)
						want = withoutHash(want) // The CLI writes none for a file that it goes on with.
					} else {
						applyNext(t, db, good, 2)
					}
					cli.settled(t, db, good, want)
				})
			}
		}
	})
}

// The cure of a file may be to take a statement out. The CLI keeps the total of the row that it finds, and
// takes the file for half-done until ours looks at it.
func TestAtlasCLI_GoesOnAfterFailureWithFewerStatements(t *testing.T) {
	t.Parallel()
	findAtlas(t)
	each(t, func(t *testing.T, name string) {
		folders := make([]string, 2)
		for i, rest := range []string{"INSERT INTO absent (id) VALUES (1);\n", ""} {
			files := map[string]string{"20300101000000_things.sql": "CREATE TABLE things (id integer PRIMARY KEY);\nINSERT INTO things (id) VALUES (2);\n" + rest}
			folders[i] = extended(t, map[string]map[string]string{"sqlite": files, "postgres": files})
		}
		url := shared(t, name)
		db, cli := open(t, url), newAtlas(t, name, url)
		failing(t, db, os.DirFS(folders[0]))
		cli.apply(t, folders[1], 1)
		cli.pending(t, folders[1], 1) // It keeps the number of statements of the row that it finds.
		equal(t, "applied by ours", apply(t, db, os.DirFS(folders[1])), []string{"20300101000000_things.sql"})
		cli.pending(t, folders[1], 0)
	})
}

// The row of the file that failed must not make the CLI believe that those before it are applied.
func TestAtlasCLI_GoesOnAfterFailureAndDown(t *testing.T) {
	t.Parallel()
	findAtlas(t)
	each(t, func(t *testing.T, name string) {
		bad, good := broken(t, "")
		url := shared(t, name)
		db, cli := open(t, url), newAtlas(t, name, url)
		failing(t, db, os.DirFS(bad))
		down(t, db, os.DirFS(bad), "", 1)
		cli.pending(t, good, 3)
		cli.apply(t, good, 3)
		cli.pending(t, good, 0)
	})
}

func TestAtlasCLI_AcceptsOurPlan(t *testing.T) {
	t.Parallel()
	findAtlas(t)
	path := extended(t, nil)
	changed, err := entschema.CopyTables(entmigrate.Tables)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(changed, func(table *entschema.Table) bool { return table.Name == "users" })
	column := &entschema.Column{Name: "orcid", Type: field.TypeString, Size: 19, Nullable: true, SchemaType: map[string]string{dialect.Postgres: "varchar(19)"}}
	changed[i].Columns = append(changed[i].Columns, column)
	changed[i].Indexes = append(changed[i].Indexes, &entschema.Index{Name: "user_orcid", Unique: true, Columns: []*entschema.Column{column}})
	ours := migration.Folder{Path: path, Devs: []*migration.Dev{openDev(t, dialect.SQLite), openDev(t, dialect.Postgres)}}
	planned, err := ours.Plan(t.Context(), "add_orcid", changed, time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), migration.PlanOptions{Concurrently: true})
	if err != nil {
		t.Fatal(err)
	}
	var planName []string
	for _, file := range planned {
		planName = append(planName, file.Dialect+"/"+file.Name)
	}
	equal(t, "planned", planName, []string{"sqlite/20300101000000_add_orcid.sql", "postgres/20300101000000_add_orcid.sql", "postgres/20300101000001_add_orcid_2.sql"})
	if err := ours.Write(planned); err != nil {
		t.Fatal(err)
	}
	each(t, func(t *testing.T, name string) {
		ddl, err := migration.Desired(t.Context(), name, changed)
		if err != nil {
			t.Fatal(err)
		}
		desired := filepath.Join(t.TempDir(), "schema.sql")
		write(t, desired, ddl)
		url := shared(t, name)
		cli := newAtlas(t, name, url)
		before := listing(t, filepath.Join(path, cli.env))
		cli.says(t, "", "migrate", "validate", "--dir", cli.dir(path))
		cli.says(t, "", "migrate", "lint", "--latest", "2", "--dir", cli.dir(path))
		cli.says(t, "no changes to be made", "migrate", "diff", "check", "--dir", cli.dir(path), "--to", "file://"+desired)
		equal(t, "files after planning", listing(t, filepath.Join(path, cli.env)), before)
		cli.apply(t, path, len(filesOf(t, path, name)))
		golden := open(t, shared(t, name))
		apply(t, golden, os.DirFS(path))
		cli.settled(t, open(t, url), path, contents(t, golden))
	})
}
