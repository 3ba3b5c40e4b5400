package migration_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ariga.io/atlas/sql/migrate"
	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/schema/migrations"
)

// The files that come after the module's own in a grown folder.
const (
	rowsFile    = "20300101000000_rows.sql"
	orcidFile   = "20300101000001_orcid.sql"
	indexesFile = "20300101000002_indexes.sql" // marked txmode none on PostgreSQL
	labelsFile  = "20300101000003_labels.sql"
)

// Rows in all tables. Those with the last ids are deleted, so that the ids go on behind them.
//
//nolint:dupword // NULL, NULL.
const rowsInAll = `INSERT INTO users (id, created_at, updated_at, public_id, email, hashed_password, is_admin, is_deleted, deleted_at, tokens_valid_after, name, preferences) VALUES
  (1, '2026-01-01 00:00:00', '2026-01-02 00:00:00', '00000000-0000-4000-8000-000000000001', 'ada@example.org', '$2b$12$hash', true, false, NULL, '2026-01-03 00:00:00', 'Ada', '{"theme":"dark"}'),
  (2, '2026-01-01 00:00:00', '2026-01-02 00:00:00', '00000000-0000-4000-8000-000000000002', 'grace@example.org', 'hash', false, false, NULL, NULL, 'Грейс; "--"', NULL),
  (3, '2026-01-01 00:00:00', '2026-01-02 00:00:00', '00000000-0000-4000-8000-000000000003', 'grace@example.org', 'hash', false, true, '2026-01-02 00:00:00', NULL, NULL, NULL),
  (9, '2026-01-01 00:00:00', '2026-01-02 00:00:00', '00000000-0000-4000-8000-000000000009', 'gone@example.org', 'hash', false, false, NULL, NULL, NULL, NULL);
INSERT INTO files (id, created_at, updated_at, public_id, filename, content_type, size, user_id) VALUES
  (1, '2026-01-01 00:00:00', '2026-01-02 00:00:00', '00000000-0000-4000-8000-000000000011', 'статья.pdf', 'application/pdf', 7, 1),
  (2, '2026-01-01 00:00:00', '2026-01-02 00:00:00', '00000000-0000-4000-8000-000000000012', 'b.pdf', 'application/pdf', 8, 1),
  (3, '2026-01-01 00:00:00', '2026-01-02 00:00:00', '00000000-0000-4000-8000-000000000013', 'c.pdf', 'application/pdf', 9, 3),
  (9, '2026-01-01 00:00:00', '2026-01-02 00:00:00', '00000000-0000-4000-8000-000000000019', 'd.pdf', 'application/pdf', 0, 9);
INSERT INTO blacklisted_tokens (id, created_at, updated_at, jti, expires_at) VALUES
  (1, '2026-01-01 00:00:00', '2026-01-02 00:00:00', 'a', '2027-01-01 00:00:00'), (9, '2026-01-01 00:00:00', '2026-01-02 00:00:00', 'b', '2027-01-01 00:00:00');
INSERT INTO used_password_reset_tokens (id, created_at, updated_at, email, nonce, used_at) VALUES
  (1, '2026-01-01 00:00:00', '2026-01-02 00:00:00', 'ada@example.org', 'a', '2026-01-02 00:00:00'), (9, '2026-01-01 00:00:00', '2026-01-02 00:00:00', 'ada@example.org', 'b', '2026-01-02 00:00:00');
INSERT INTO audit_logs (id, created_at, updated_at, at, actor, action, entity, entity_id, changes) VALUES
  (1, '2026-01-01 00:00:00', '2026-01-02 00:00:00', '2026-01-02 00:00:00', 'system', 'update', 'user', 1, '{"name":[null,"Ada"]}'), (9, '2026-01-01 00:00:00', '2026-01-02 00:00:00', '2026-01-02 00:00:00', 'system', 'update', 'user', 1, '{}');
DELETE FROM files WHERE id = 9;
DELETE FROM users WHERE id = 9;
DELETE FROM blacklisted_tokens WHERE id = 9;
DELETE FROM used_password_reset_tokens WHERE id = 9;
DELETE FROM audit_logs WHERE id = 9;
`

var filledTables = []string{"users", "files", "blacklisted_tokens", "used_password_reset_tokens", "audit_logs"}

// grown is a folder on disk: the module's own migrations, rows in all their tables, and on top of them
// a table changed, which SQLite builds anew, indexes made and dropped, and a new table with rows.
func grown(t testing.TB) string {
	t.Helper()
	sequences := ""
	for _, table := range filledTables {
		sequences += fmt.Sprintf("SELECT setval(pg_get_serial_sequence('%s', 'id'), 9);\n", table)
	}
	const labels = "CREATE TABLE labels (id %s, name text NOT NULL, file_id bigint NOT NULL, CONSTRAINT labels_file FOREIGN KEY (file_id) REFERENCES files (id) ON DELETE CASCADE);\n" +
		"CREATE UNIQUE INDEX labels_name ON labels (name);\n" +
		"INSERT INTO labels (name, file_id) SELECT filename, id FROM files ORDER BY id;\n"
	return extended(t, map[string]map[string]string{
		"sqlite": {
			rowsFile:    rowsInAll,
			orcidFile:   rebuiltUsers(t) + "UPDATE users SET orcid = '0000-0002-1825-0097' WHERE id = 1;\n",
			indexesFile: "CREATE UNIQUE INDEX user_orcid ON users (orcid);\nDROP INDEX auditlog_at;\nCREATE INDEX file_size ON files (size);\n",
			labelsFile:  fmt.Sprintf(labels, "integer NOT NULL PRIMARY KEY AUTOINCREMENT"),
		},
		"postgres": {
			rowsFile: inUTC(rowsInAll) + sequences,
			orcidFile: "ALTER TABLE users ADD COLUMN orcid character varying(19) NULL, ADD CONSTRAINT users_orcid_not_empty CHECK (orcid <> '');\n" +
				"UPDATE users SET orcid = '0000-0002-1825-0097' WHERE id = 1;\n",
			indexesFile: "-- atlas:txmode none\n\nCREATE UNIQUE INDEX CONCURRENTLY user_orcid ON users (orcid);\nDROP INDEX CONCURRENTLY auditlog_at;\nCREATE INDEX CONCURRENTLY file_size ON files (size);\n",
			labelsFile:  fmt.Sprintf(labels, "bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY"),
		},
	})
}

// inUTC says the zone of times, which SQLite's text of them leaves out: the CLI's session is in the server's.
func inUTC(rows string) string { return strings.ReplaceAll(rows, ":00:00'", ":00:00+00'") }

// extended is a folder on disk: the module's own migrations and more of each dialect.
func extended(t testing.TB, more map[string]map[string]string) string {
	t.Helper()
	path := t.TempDir()
	if err := os.CopyFS(path, migrations.FS); err != nil {
		t.Fatal(err)
	}
	for dialect, files := range more {
		for name, content := range files {
			write(t, filepath.Join(path, dialect, name), content)
		}
	}
	rehash(t, path)
	return path
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// rehash writes the atlas.sum of both folders.
func rehash(t testing.TB, path string) {
	t.Helper()
	for _, dialect := range []string{"sqlite", "postgres"} {
		dir, err := migrate.NewLocalDir(filepath.Join(path, dialect))
		if err != nil {
			t.Fatal(err)
		}
		sum, err := dir.Checksum()
		if err != nil {
			t.Fatal(err)
		}
		if err := migrate.WriteSumFile(dir, sum); err != nil {
			t.Fatal(err)
		}
	}
}

// filesOf returns the names of a dialect's files, in order.
func filesOf(t testing.TB, path, name string) []string {
	t.Helper()
	found, err := fs.Glob(os.DirFS(filepath.Join(path, folderOf(name))), "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return found
}

func versionOf(file string) string {
	version, _, _ := strings.Cut(file, "_")
	return version
}

// lastOwn is the last version of the module's own files.
func lastOwn(t testing.TB) string {
	t.Helper()
	found, err := fs.Glob(migrations.FS, "sqlite/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	return versionOf(filepath.Base(slices.Max(found)))
}

// rebuiltUsers is how Atlas gives SQLite's table users a column with a check: the table is built anew.
func rebuiltUsers(t testing.TB) string {
	t.Helper()
	db := open(t, "sqlite://:memory:")
	apply(t, db, migrations.FS)
	create := query[string](t, t.Context(), db, "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'users'")[0]
	create = regexp.MustCompile("^CREATE TABLE [`\"]?users[`\"]? ").ReplaceAllString(create, "CREATE TABLE `new_users` ")
	column := "`orcid` text NULL,\n  CONSTRAINT `users_orcid_not_empty` CHECK (orcid <> ''),\n  CONSTRAINT"
	create = strings.Replace(create, "CONSTRAINT", column, 1)
	columns := "`" + strings.Join(query[string](t, t.Context(), db, "SELECT name FROM pragma_table_info('users') ORDER BY cid"), "`, `") + "`"
	indexes := query[string](t, t.Context(), db, "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'users' AND sql IS NOT NULL ORDER BY name")
	return "-- Disable the enforcement of foreign-keys constraints\nPRAGMA foreign_keys = off;\n" + create + ";\n" +
		"INSERT INTO sqlite_sequence (name, seq) SELECT 'new_users', seq FROM sqlite_sequence WHERE name = 'users';\n" +
		"INSERT INTO `new_users` (" + columns + ") SELECT " + columns + " FROM `users`;\n" +
		"DROP TABLE `users`;\nALTER TABLE `new_users` RENAME TO `users`;\n" + strings.Join(indexes, ";\n") + ";\n" +
		"-- Enable back the enforcement of foreign-keys constraints\nPRAGMA foreign_keys = on;\n"
}

var (
	accountLine = regexp.MustCompile(`^\d+ \S+ \d+/\d+ \S+`)
	unquoted    = strings.NewReplacer("`", "", `"`, "", "(CURRENT_TIMESTAMP)", "CURRENT_TIMESTAMP")
)

// contents is everything that a migration could change: the schema, every row, where the ids go on, and
// the account, less who wrote it and when.
func contents(t testing.TB, db *database.DB) []string {
	t.Helper()
	ctx := t.Context()
	var out []string
	for _, line := range dump(t, db) {
		line = strings.Join(strings.Fields(unquoted.Replace(line)), " ")
		if account := accountLine.FindString(line); account != "" {
			line = account
		}
		out = append(out, line)
	}
	if db.Dialect() == dialect.Postgres {
		out = append(out, query[string](t, ctx, db, "SELECT sequencename || ' ' || COALESCE(last_value, 0) FROM pg_sequences WHERE schemaname = 'public' ORDER BY 1")...)
		out = append(out, query[string](t, ctx, db, "SELECT indexrelid::regclass || ' is not valid' FROM pg_index WHERE NOT indisvalid")...)
		for _, table := range query[string](t, ctx, db, "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'atlas_schema_revisions' ORDER BY 1") {
			out = append(out, query[string](t, ctx, db, fmt.Sprintf("SELECT '%[1]s ' || to_jsonb(r)::text FROM %[1]s r ORDER BY 1", table))...)
		}
		return out
	}
	out = append(out, query[string](t, ctx, db, `SELECT "table" || ' has a row without its parent' FROM pragma_foreign_key_check`)...)
	for _, table := range query[string](t, ctx, db, "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'atlas_schema_revisions' ORDER BY 1") {
		columns := query[string](t, ctx, db, "SELECT '''' || name || '='' || quote(`' || name || '`)' FROM pragma_table_info($1) ORDER BY name", table)
		out = append(out, query[string](t, ctx, db, fmt.Sprintf("SELECT '%[1]s ' || %[2]s FROM %[1]s ORDER BY 1", table, strings.Join(columns, " || ' ' || ")))...)
	}
	return out
}

// same compares the contents of two databases, and shows only what differs.
func same(t testing.TB, what string, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	less := func(a, b []string) []string {
		return slices.DeleteFunc(slices.Clone(a), func(line string) bool { return slices.Contains(b, line) })
	}
	t.Fatalf("%s:\n got %q\nwant %q", what, less(got, want), less(want, got))
}
