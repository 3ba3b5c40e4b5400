package transfer_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/ent/migrate"
	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/dbtest"
	"github.com/reviewpoint/models/internal/migration"
	"github.com/reviewpoint/models/internal/transfer"
	"github.com/reviewpoint/models/schema/migrations"
)

// eachWay runs a test between databases of each kind, whose URLs it makes; all are migrated and empty.
func eachWay(t *testing.T, test func(t *testing.T, from, to string)) {
	t.Helper()
	for _, from := range []string{dialect.SQLite, dialect.Postgres} {
		for _, to := range []string{dialect.SQLite, dialect.Postgres} {
			t.Run(from+"_to_"+to, func(t *testing.T) {
				t.Parallel()
				test(t, from, to)
			})
		}
	}
}

// across is eachWay between databases of different kinds.
func across(t *testing.T, test func(t *testing.T, from, to string)) {
	t.Helper()
	for from, to := range map[string]string{dialect.SQLite: dialect.Postgres, dialect.Postgres: dialect.SQLite} {
		t.Run(from+"_to_"+to, func(t *testing.T) {
			t.Parallel()
			test(t, from, to)
		})
	}
}

// long reports whether the long variants are asked for.
func long() bool { return os.Getenv("REVIEWPOINT_TEST_LONG") == "1" }

// newURL is that of a migrated database of the test's own.
func newURL(t testing.TB, name string) string {
	t.Helper()
	if name == dialect.Postgres {
		sum, err := migrations.FS.ReadFile("postgres/atlas.sum")
		check(t, err)
		hash := sha256.Sum256(sum)
		return dbtest.PostgresFrom(t, hex.EncodeToString(hash[:8]), apply) // as the tests of the client
	}
	url := "sqlite://" + filepath.Join(t.TempDir(), "test.db") + "?busy_timeout=2m&synchronous=normal"
	check(t, apply(url))
	return url
}

func apply(url string) error {
	db, err := database.Open(context.Background(), url, database.Options{})
	if err != nil {
		return err
	}
	defer db.Close()
	m, err := migration.New(db, migrations.FS)
	if err != nil {
		return err
	}
	_, err = m.Apply(context.Background(), migration.Options{})
	return err
}

func open(t testing.TB, url string, opts database.Options) *database.DB {
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

// readOnly are the options of a source.
var readOnly = database.Options{ReadOnly: true}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func execute(t testing.TB, db *database.DB, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%.300s: %v", statement, err)
		}
	}
}

// query returns every row of a query as text.
func query(t testing.TB, db *database.DB, query string) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
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

// mustCopy copies, and returns the checksum of each table.
func mustCopy(t testing.TB, from, to string) map[string]string {
	t.Helper()
	report, err := transfer.Copy(t.Context(), open(t, from, readOnly), open(t, to, database.Options{}), migrate.Tables, nil)
	check(t, err)
	return sums(t, report)
}

func sums(t testing.TB, report *transfer.Report) map[string]string {
	t.Helper()
	out := make(map[string]string)
	for _, table := range report.Tables {
		if table.Sum == "" || table.Sum != table.TargetSum || table.Difference != nil || table.Rows < table.Found {
			t.Errorf("%+v, want equal checksums", table)
		}
		out[table.Name] = table.Sum
	}
	return out
}

// addRows adds so many users with a file each, after the rows that are there.
func addRows(t testing.TB, db *database.DB, n int) {
	t.Helper()
	series := fmt.Sprintf("WITH RECURSIVE n (i) AS (SELECT (SELECT COALESCE(max(id), 0) + 1 FROM users) UNION ALL SELECT i + 1 FROM n WHERE i < (SELECT COALESCE(max(id), 0) FROM users) + %d) ", n)
	id := "printf('00000000-0000-4000-8000-%012d', i)"
	json := `'{"n":' || i || '}'`
	if db.Dialect() == dialect.Postgres {
		series = fmt.Sprintf("WITH n AS (SELECT generate_series((SELECT COALESCE(max(id), 0) + 1 FROM users), (SELECT COALESCE(max(id), 0) FROM users) + %d) AS i) ", n)
		id = "('00000000-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid"
		json = "(" + json + ")::jsonb"
	}
	check(t, db.InTx(t.Context(), func(ctx context.Context) error {
		for _, statement := range []string{
			series + "INSERT INTO users (public_id, email, hashed_password, name, preferences, created_at) SELECT " + id + ", 'person' || i || '@example.org', 'hash', 'Персона', " + json + ", '2026-01-02 03:04:05.678901+00:00' FROM n",
			"INSERT INTO files (public_id, filename, content_type, size, user_id, created_at) SELECT public_id, 'статья.pdf', 'application/pdf', 9007199254740993, id, created_at FROM users WHERE id > (SELECT COALESCE(max(user_id), 0) FROM files)",
		} {
			if _, err := db.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	}))
}
