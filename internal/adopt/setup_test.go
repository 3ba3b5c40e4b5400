package adopt_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/adopt"
	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/dbtest"
	"github.com/reviewpoint/models/internal/migration"
	"github.com/reviewpoint/models/schema/migrations"
)

var dialects = []string{dialect.SQLite, dialect.Postgres}

// onEach runs test on a database of the old application on each dialect.
func onEach(t *testing.T, test func(t *testing.T, db *database.DB, url string)) {
	t.Helper()
	for _, name := range dialects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := fixture(t, name)
			test(t, open(t, url), url)
		})
	}
}

// fixture is the URL of a database as the old application left it.
func fixture(t testing.TB, name string) string {
	t.Helper()
	if name == dialect.Postgres {
		return dbtest.PostgresFrom(t, "adopt_fixture", func(url string) error {
			db, err := database.Open(context.Background(), url, database.Options{})
			if err != nil {
				return err
			}
			defer db.Close()
			return load(db, "postgres.sql")
		})
	}
	url := empty(t, name)
	db, err := database.Open(t.Context(), url, database.Options{})
	check(t, err)
	check(t, load(db, "sqlite.sql"))
	check(t, db.Close())
	return url
}

// lax is a fixture whose tables enforce nothing.
func lax(t *testing.T, name string) *database.DB {
	t.Helper()
	if name == dialect.SQLite {
		db := open(t, empty(t, name))
		check(t, load(db, "sqlite.sql", " NOT NULL", "", "CREATE UNIQUE INDEX", "CREATE INDEX"))
		return db
	}
	db := open(t, fixture(t, name))
	execute(t, db, "ALTER TABLE files DROP CONSTRAINT files_user_id_fkey", "DROP INDEX ix_users_email", "DROP INDEX ix_blacklisted_tokens_jti")
	execute(t, db, query(t, db, `SELECT format('ALTER TABLE %I ALTER %I DROP NOT NULL', table_name, column_name) FROM information_schema.columns
		WHERE table_schema = 'public' AND column_name <> 'id' AND is_nullable = 'NO'`)...)
	execute(t, db, query(t, db, `SELECT format('ALTER TABLE %I ALTER %I TYPE text', table_name, column_name) FROM information_schema.columns
		WHERE table_schema = 'public' AND data_type = 'character varying'`)...)
	return db
}

// empty is the URL of an empty database. SQLite's writers wait for long there: a machine under load
// must not make a test fail.
func empty(t testing.TB, name string) string {
	t.Helper()
	if name == dialect.Postgres {
		return dbtest.Postgres(t)
	}
	return "sqlite://" + filepath.Join(t.TempDir(), "reviewpoint.db") + "?busy_timeout=2m"
}

// load runs a file of statements, in the schema of everybody.
func load(db *database.DB, name string, replacements ...string) error {
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		return err
	}
	// The file takes the schemas off the connection's search path.
	replacements = append(replacements, "SELECT pg_catalog.set_config('search_path', '', false);", "")
	script := strings.NewReplacer(replacements...).Replace(string(content))
	_, err = db.ExecContext(context.Background(), script)
	return err
}

// long reports whether the long variants are asked for.
func long() bool { return os.Getenv("REVIEWPOINT_TEST_LONG") == "1" }

func open(t testing.TB, url string) *database.DB {
	t.Helper()
	return openWith(t, url, database.Options{})
}

func openWith(t testing.TB, url string, opts database.Options) *database.DB {
	t.Helper()
	db, err := database.Open(t.Context(), url, opts)
	check(t, err)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func migrator(t testing.TB, db *database.DB) *migration.Migrator {
	t.Helper()
	m, err := migration.New(db, migrations.FS)
	check(t, err)
	return m
}

func execute(t testing.TB, db *database.DB, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// query returns every row of a query as text.
func query(t testing.TB, db *database.DB, query string, args ...any) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	check(t, err)
	var out []string
	for rows.Next() {
		values, targets := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			targets[i] = &values[i]
		}
		check(t, rows.Scan(targets...))
		words := make([]string, len(values))
		for i, value := range values {
			if b, ok := value.([]byte); ok {
				value = string(b)
			}
			words[i] = fmt.Sprint(value)
		}
		out = append(out, strings.Join(words, "|"))
	}
	check(t, rows.Err())
	return out
}

func inspect(t testing.TB, db *database.DB) *adopt.Report {
	t.Helper()
	report, err := adopt.Inspect(t.Context(), db, adopt.Options{})
	check(t, err)
	return report
}

// take adopts a database of which nothing is wrong.
func take(t testing.TB, db *database.DB) adopt.Result {
	t.Helper()
	report := inspect(t, db)
	result, err := adopt.Run(t.Context(), db, migrator(t, db), report, adopt.Options{})
	if err != nil {
		t.Fatalf("%v; problems: %v", err, report.Problems)
	}
	return result
}
