package migration_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"ariga.io/atlas/sql/migrate"
	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/dbtest"
	"github.com/reviewpoint/models/internal/migration"
)

// onEach runs test on both databases, each time with the URL of an empty one.
func onEach(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	for _, name := range []string{dialect.SQLite, dialect.Postgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, empty(t, name))
		})
	}
}

// empty is the URL of an empty database of the dialect. SQLite's writers wait for long there: a
// machine under load must not make a test fail.
func empty(t testing.TB, name string) string {
	t.Helper()
	if name == dialect.Postgres {
		return dbtest.Postgres(t)
	}
	return "sqlite://" + filepath.Join(t.TempDir(), "reviewpoint.db") + "?busy_timeout=2m"
}

// long reports whether the long variants are asked for.
func long() bool { return os.Getenv("REVIEWPOINT_TEST_LONG") == "1" }

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

func migrator(t testing.TB, db *database.DB, files fs.FS) *migration.Migrator {
	t.Helper()
	m, err := migration.New(db, files)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// apply applies what is pending, and returns the names of the files.
func apply(t testing.TB, db *database.DB, files fs.FS) []string {
	t.Helper()
	applied, err := migrator(t, db, files).Apply(t.Context(), migration.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return names(applied)
}

func names(files []migration.File) []string {
	out := make([]string, 0, len(files))
	for _, file := range files {
		out = append(out, file.Name)
	}
	return out
}

func equal(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s:\n got %q\nwant %q", what, got, want)
	}
}

// query returns the first column of every row.
func query[T any](t testing.TB, ctx context.Context, db *database.DB, query string, args ...any) []T {
	t.Helper()
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	var values []T
	for rows.Next() {
		var value T
		if err := rows.Scan(&value); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		values = append(values, value)
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return values
}

func execute(t testing.TB, db *database.DB, query string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// folder is a file system of migrations, the same ones for both dialects, each folder with its atlas.sum.
func folder(t testing.TB, files map[string]string) fstest.MapFS {
	t.Helper()
	dir := &migrate.MemDir{}
	for name, content := range files {
		if err := dir.WriteFile(name, []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	sum, err := dir.Checksum()
	if err != nil {
		t.Fatal(err)
	}
	text, err := sum.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	out := fstest.MapFS{}
	for _, name := range []string{"sqlite", "postgres"} {
		for file, content := range files {
			out[name+"/"+file] = &fstest.MapFile{Data: []byte(content)}
		}
		out[name+"/atlas.sum"] = &fstest.MapFile{Data: text}
	}
	return out
}

// steps is a folder of n files of as many statements each, whose rows tell what was run how often.
func steps(t testing.TB, n, statements int) fstest.MapFS {
	t.Helper()
	files := make(map[string]string, n)
	for i := range n {
		var content strings.Builder
		if i == 0 {
			content.WriteString("CREATE TABLE log (file integer NOT NULL, statement integer NOT NULL);\n")
		}
		for j := range statements {
			fmt.Fprintf(&content, "INSERT INTO log (file, statement) VALUES (%d, %d);\n", i, j)
		}
		files[step(i)] = content.String()
	}
	return folder(t, files)
}

func step(i int) string { return fmt.Sprintf("202601010000%02d_step.sql", i) }

func stepNames(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = step(i)
	}
	return out
}

// checkSteps checks that every statement of steps was run once, and that the account says so.
func checkSteps(t testing.TB, db *database.DB, n, statements int) {
	t.Helper()
	var want []int
	for i := range n {
		for j := range statements {
			want = append(want, 1000*i+j)
		}
	}
	if got := query[int](t, t.Context(), db, "SELECT 1000 * file + statement FROM log ORDER BY 1"); !slices.Equal(got, want) {
		t.Fatalf("statements that were run:\n got %v\nwant %v", got, want)
	}
	checkAccount(t, db, stepNames(n))
}

// checkAccount checks that exactly these files are accounted for as applied, completely and once.
func checkAccount(t testing.TB, db *database.DB, files []string) {
	t.Helper()
	got := query[string](t, t.Context(), db, `SELECT version || '_' || description || '.sql' FROM atlas_schema_revisions
		WHERE applied = total AND COALESCE(error, '') = '' AND type = 2 ORDER BY version`)
	equal(t, "account of applied files", got, files)
	if n := query[int](t, t.Context(), db, "SELECT count(*) FROM atlas_schema_revisions")[0]; n != len(files) {
		t.Fatalf("the account has %d rows, want %d", n, len(files))
	}
}

// dump is everything that a migration could change: the schema, how many rows each table has, and
// the account of migrations.
func dump(t testing.TB, db *database.DB) []string {
	t.Helper()
	ctx := t.Context()
	var out, tables []string
	if db.Dialect() == dialect.SQLite {
		out = query[string](t, ctx, db, "SELECT type || ' ' || name || ': ' || COALESCE(sql, '') FROM sqlite_master ORDER BY 1")
		tables = query[string](t, ctx, db, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1")
	} else {
		const own = "NOT IN ('information_schema', 'pg_catalog', 'pg_toast')"
		out = slices.Concat(
			query[string](t, ctx, db, "SELECT nspname FROM pg_namespace WHERE nspname "+own+" ORDER BY 1"),
			query[string](t, ctx, db, `SELECT concat_ws(' ', table_schema, table_name, column_name, data_type, character_maximum_length, is_nullable, column_default)
				FROM information_schema.columns WHERE table_schema `+own+" ORDER BY 1"),
			query[string](t, ctx, db, "SELECT indexdef FROM pg_indexes WHERE schemaname "+own+" ORDER BY 1"),
			query[string](t, ctx, db, "SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid <> 0 ORDER BY 1"),
		)
		tables = query[string](t, ctx, db, "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables WHERE table_schema "+own+" ORDER BY 1")
	}
	for _, table := range tables {
		out = append(out, fmt.Sprintf("%s: %d rows", table, query[int](t, ctx, db, "SELECT count(*) FROM "+table)[0]))
		if strings.HasSuffix(table, "atlas_schema_revisions") {
			out = append(out, query[string](t, ctx, db, `SELECT version || ' ' || description || ' ' || applied || '/' || total || ' ' || hash || ' ' || operator_version || ' ' || executed_at
				FROM `+table+" ORDER BY 1")...)
		}
	}
	return out
}
