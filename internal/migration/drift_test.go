package migration_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/migration"
	"github.com/reviewpoint/models/schema/migrations"
)

// byHand is something that somebody does to a database, and what is to be said of it.
type byHand struct {
	name string
	sql  string
	want []string // each is said once, and nothing else
}

// rebuiltAs is the SQL that builds a table of SQLite anew with another text.
func rebuiltAs(table, old, replacement string) string {
	return table + "\x00" + old + "\x00" + replacement
}

// runByHand runs the SQL of a case.
func runByHand(t *testing.T, ctx context.Context, db *database.DB, text string) {
	t.Helper()
	run := func(statement string) {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	table, change, rebuilds := strings.Cut(text, "\x00")
	if !rebuilds {
		run(text)
		return
	}
	old, replacement, _ := strings.Cut(change, "\x00")
	made := query[string](t, ctx, db, "SELECT sql FROM sqlite_master WHERE name = $1", table)[0]
	if !strings.Contains(made, old) {
		t.Fatalf("%s has no %q", made, old)
	}
	indexes := query[string](t, ctx, db, "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = $1 AND sql IS NOT NULL", table)
	run("DROP TABLE " + table)
	run(strings.Replace(made, old, replacement, 1))
	for _, index := range indexes {
		run(index)
	}
}

// checkDrift runs the cases one after the other on one database, and undoes each.
func checkDriftCases(t *testing.T, name string, cases []byHand) {
	t.Helper()
	dev, db := openDev(t, name), open(t, empty(t, name))
	apply(t, db, migrations.FS)
	seed(t, db)
	if different := drift(t, t.Context(), db, dev); len(different) > 0 {
		t.Fatalf("without a change: %q", different)
	}
	m := migrator(t, db, withPending(t))
	for i, test := range cases {
		if name == dialect.Postgres && i%6 != 0 && !long() {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			ctx, undo := db.Rollback(t.Context())
			defer func() {
				if err := undo(); err != nil {
					t.Error(err)
				}
			}()
			runByHand(t, ctx, db, test.sql)
			different := drift(t, ctx, db, dev)
			slices.Sort(different)
			slices.Sort(test.want)
			if !slices.Equal(different, test.want) {
				t.Errorf("named:\n  %s\nwant:\n  %s", strings.Join(different, "\n  "), strings.Join(test.want, "\n  "))
			}
			applied, err := m.Apply(ctx, migration.Options{Dev: dev})
			if len(test.want) == 0 || len(different) == 0 {
				return
			}
			if !errors.Is(err, migration.ErrDrift) || len(applied) > 0 || strings.Contains(err.Error(), "\n") {
				t.Errorf("Apply = %v, %v; want ErrDrift in one line", applied, err)
			}
			for _, want := range different {
				if err != nil && !strings.Contains(err.Error(), want) {
					t.Errorf("Apply does not name %q: %v", want, err)
				}
			}
		})
	}
}

func drift(t testing.TB, ctx context.Context, db *database.DB, dev *migration.Dev) []string {
	t.Helper()
	different, err := migrator(t, db, migrations.FS).Drift(ctx, dev)
	if err != nil {
		t.Fatal(err)
	}
	return different
}

func TestDrift_Postgres(t *testing.T) {
	t.Parallel()
	const trigger = "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
	checkDriftCases(t, dialect.Postgres, []byHand{
		{name: "column added", sql: "ALTER TABLE users ADD COLUMN extra text", want: []string{"column users.extra should not be there"}},
		{name: "column dropped", sql: "ALTER TABLE users DROP COLUMN bio", want: []string{"column users.bio is missing"}},
		{name: "column renamed", sql: "ALTER TABLE users RENAME COLUMN bio TO about", want: []string{"column users.bio is missing", "column users.about should not be there"}},
		{name: "longer varchar", sql: "ALTER TABLE users ALTER COLUMN name TYPE varchar(129)", want: []string{"column users.name differs in type"}},
		{name: "shorter varchar", sql: "ALTER TABLE users ALTER COLUMN name TYPE varchar(127)", want: []string{"column users.name differs in type"}},
		{name: "text", sql: "ALTER TABLE users ALTER COLUMN name TYPE text", want: []string{"column users.name differs in type"}},
		{name: "integer", sql: "UPDATE files SET size = 1; ALTER TABLE files ALTER COLUMN size TYPE integer", want: []string{"column files.size differs in type"}},
		{name: "time without zone", sql: "ALTER TABLE users ALTER COLUMN last_login_at TYPE timestamp", want: []string{"column users.last_login_at differs in type"}},
		{name: "time of milliseconds", sql: "ALTER TABLE users ALTER COLUMN last_login_at TYPE timestamptz(3)", want: []string{"column users.last_login_at differs in type"}},
		{name: "json", sql: "ALTER TABLE users DROP CONSTRAINT users_preferences_object; ALTER TABLE users ALTER COLUMN preferences TYPE json; ALTER TABLE users ADD CONSTRAINT users_preferences_object CHECK ((preferences)::text ~~ '{%'::text)", want: []string{"column users.preferences differs in type"}},
		{name: "not null", sql: "UPDATE users SET bio = ''; ALTER TABLE users ALTER COLUMN bio SET NOT NULL", want: []string{"column users.bio differs in nullability"}},
		{name: "null", sql: "ALTER TABLE files ALTER COLUMN content_type DROP NOT NULL", want: []string{"column files.content_type differs in nullability"}},
		{name: "other default", sql: "ALTER TABLE users ALTER COLUMN is_active SET DEFAULT false", want: []string{"column users.is_active differs in default"}},
		{name: "new default", sql: "ALTER TABLE users ALTER COLUMN name SET DEFAULT 'nobody'", want: []string{"column users.name differs in default"}},
		{name: "no default", sql: "ALTER TABLE files ALTER COLUMN size DROP DEFAULT", want: []string{"column files.size differs in default"}},
		{name: "no identity", sql: "ALTER TABLE files ALTER COLUMN id DROP IDENTITY", want: []string{"column files.id differs in attributes"}},
		{name: "identity always", sql: "ALTER TABLE files ALTER COLUMN id SET GENERATED ALWAYS", want: []string{"column files.id differs in attributes"}},
		{name: "identity by two", sql: "ALTER TABLE files ALTER COLUMN id SET INCREMENT 2", want: []string{"column files.id differs in attributes"}},
		{name: "collation", sql: `ALTER TABLE users ALTER COLUMN email TYPE varchar(255) COLLATE "C"`, want: []string{"collation of column users.email should not be there: C"}},
		{name: "primary key dropped", sql: "ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_pkey", want: []string{"primary key of audit_logs is missing"}},
		{name: "index dropped", sql: "DROP INDEX file_user_id_filename", want: []string{"index file_user_id_filename of files is missing"}},
		{name: "index added", sql: "CREATE INDEX extra ON files (size)", want: []string{"index extra of files should not be there"}},
		{name: "index renamed", sql: "ALTER INDEX file_user_id_filename RENAME TO other", want: []string{"index file_user_id_filename of files is missing", "index other of files should not be there"}},
		{name: "index made unique", sql: "DROP INDEX file_user_id_filename; CREATE UNIQUE INDEX file_user_id_filename ON files (user_id, filename)", want: []string{"index file_user_id_filename of files differs in uniqueness"}},
		{name: "index no longer unique", sql: "DROP INDEX user_email; CREATE INDEX user_email ON users (email) WHERE NOT is_deleted", want: []string{"index user_email of users differs in uniqueness"}},
		{name: "index of other columns", sql: "DROP INDEX file_user_id_filename; CREATE INDEX file_user_id_filename ON files (filename, user_id)", want: []string{"index file_user_id_filename of files differs in columns"}},
		{name: "index downwards", sql: "DROP INDEX file_user_id_filename; CREATE INDEX file_user_id_filename ON files (user_id, filename DESC)", want: []string{"index file_user_id_filename of files differs in columns"}},
		{name: "index of an expression", sql: "DROP INDEX user_email; CREATE UNIQUE INDEX user_email ON users (lower(email)) WHERE NOT is_deleted", want: []string{"index user_email of users differs in columns"}},
		{name: "index without predicate", sql: "UPDATE users SET email = id::text; DROP INDEX user_email; CREATE UNIQUE INDEX user_email ON users (email)", want: []string{"index user_email of users differs in attributes"}},
		{name: "index of other predicate", sql: "UPDATE users SET email = id::text; DROP INDEX user_email; CREATE UNIQUE INDEX user_email ON users (email) WHERE is_active", want: []string{"index user_email of users differs in attributes"}},
		{name: "index of another kind", sql: "DROP INDEX file_user_id_filename; CREATE INDEX file_user_id_filename ON files USING brin (user_id, filename)", want: []string{"index file_user_id_filename of files differs in attributes"}},
		{name: "index that includes", sql: "DROP INDEX file_user_id_filename; CREATE INDEX file_user_id_filename ON files (user_id, filename) INCLUDE (size)", want: []string{"index file_user_id_filename of files differs in attributes"}},
		{name: "index of an operator class", sql: "DROP INDEX file_user_id_filename; CREATE INDEX file_user_id_filename ON files (user_id, filename varchar_pattern_ops)", want: []string{"index file_user_id_filename of files differs in columns"}},
		{name: "index of a collation", sql: `DROP INDEX file_user_id_filename; CREATE INDEX file_user_id_filename ON files (user_id, filename COLLATE "C")`, want: []string{"collation of index file_user_id_filename, column filename should not be there: C"}},
		{name: "unique index of nulls", sql: "DROP INDEX users_public_id_key; CREATE UNIQUE INDEX users_public_id_key ON users (public_id) NULLS NOT DISTINCT", want: []string{"index users_public_id_key of users differs in attributes"}},
		{name: "index that is not valid", sql: "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'user_email'::regclass", want: []string{"index user_email should not be there: not valid"}},
		{name: "check dropped", sql: "ALTER TABLE files DROP CONSTRAINT files_size_not_negative", want: []string{"check files_size_not_negative of files is missing"}},
		{name: "check added", sql: "ALTER TABLE files ADD CONSTRAINT extra CHECK (size < 9000000001)", want: []string{"check extra of files should not be there"}},
		{name: "check of another text", sql: "ALTER TABLE files DROP CONSTRAINT files_size_not_negative, ADD CONSTRAINT files_size_not_negative CHECK (size >= -1)", want: []string{"check files_size_not_negative of files: (size >= '-1'::integer) should be (size >= 0)"}},
		{name: "check not validated", sql: "ALTER TABLE files DROP CONSTRAINT files_size_not_negative, ADD CONSTRAINT files_size_not_negative CHECK (size >= 0) NOT VALID", want: []string{"constraint files_size_not_negative of files should not be there: not validated"}},
		{name: "check not inherited", sql: "ALTER TABLE files DROP CONSTRAINT files_size_not_negative, ADD CONSTRAINT files_size_not_negative CHECK (size >= 0) NO INHERIT", want: []string{"check files_size_not_negative of files: (size >= 0) should be (size >= 0)"}},
		{name: "foreign key dropped", sql: "ALTER TABLE files DROP CONSTRAINT files_users_files", want: []string{"foreign key files_users_files of files is missing"}},
		{name: "foreign key that restricts", sql: "ALTER TABLE files DROP CONSTRAINT files_users_files, ADD CONSTRAINT files_users_files FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE RESTRICT", want: []string{"foreign key files_users_files of files differs in ON DELETE"}},
		{name: "foreign key that follows", sql: "ALTER TABLE files DROP CONSTRAINT files_users_files, ADD CONSTRAINT files_users_files FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE ON UPDATE CASCADE", want: []string{"foreign key files_users_files of files differs in ON UPDATE"}},
		{name: "foreign key not validated", sql: "ALTER TABLE files DROP CONSTRAINT files_users_files, ADD CONSTRAINT files_users_files FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE NOT VALID", want: []string{"constraint files_users_files of files should not be there: not validated"}},
		{name: "foreign key that is deferred", sql: "ALTER TABLE files ALTER CONSTRAINT files_users_files DEFERRABLE INITIALLY DEFERRED", want: []string{"foreign key files_users_files of files should not be there: deferrable"}},
		{name: "foreign key not enforced", sql: "ALTER TABLE files DISABLE TRIGGER ALL", want: []string{"triggers of files, foreign keys among them, should not be there: disabled"}},
		{name: "table added", sql: "CREATE TABLE extra (id bigint PRIMARY KEY)", want: []string{"table extra should not be there"}},
		{name: "table dropped", sql: "DROP TABLE audit_logs", want: []string{"table audit_logs is missing"}},
		{name: "table unlogged", sql: "ALTER TABLE blacklisted_tokens SET UNLOGGED", want: []string{"unlogged blacklisted_tokens should not be there"}},
		{name: "view", sql: "CREATE VIEW people AS SELECT id FROM users", want: []string{"view people should not be there: SELECT users.id FROM users;"}},
		{name: "materialized view", sql: "CREATE MATERIALIZED VIEW people AS SELECT id FROM users", want: []string{"view people should not be there: SELECT users.id FROM users;"}},
		{name: "function", sql: "CREATE FUNCTION one() RETURNS integer LANGUAGE sql AS 'SELECT 1'", want: []string{"function one() should not be there: CREATE OR REPLACE FUNCTION one() RETURNS integer LANGUAGE sql AS $function$SELECT 1$function$"}},
		{name: "trigger", sql: trigger + "CREATE TRIGGER touched BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch()", want: []string{
			"function touch() should not be there: CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $function$BEGIN RETURN NEW; END$function$",
			"trigger touched of users should not be there: CREATE TRIGGER touched BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch()",
		}},
		{name: "rule", sql: "CREATE RULE nothing AS ON DELETE TO users DO INSTEAD NOTHING", want: []string{"rule nothing of users should not be there: CREATE RULE nothing AS ON DELETE TO users DO INSTEAD NOTHING;"}},
		{name: "policy", sql: "CREATE POLICY own ON files USING (user_id = 1)", want: []string{"policy own of files should not be there: * (user_id = 1)"}},
		{name: "row security", sql: "ALTER TABLE files ENABLE ROW LEVEL SECURITY", want: []string{"row security of files should not be there: on"}},
		{name: "sequence", sql: "CREATE SEQUENCE extra", want: []string{"sequence extra should not be there"}},
		{name: "sequence of a column", sql: "ALTER TABLE files ADD COLUMN extra bigserial", want: []string{"column files.extra should not be there"}},
		{name: "type", sql: "CREATE TYPE mood AS ENUM ('good', 'bad')", want: []string{"type mood should not be there: e"}},
		{name: "partitioned table", sql: "CREATE TABLE extra (id bigint) PARTITION BY RANGE (id)", want: []string{"table extra should not be there"}},
		{name: "rows", sql: "DELETE FROM users", want: nil},
		{name: "statistics", sql: "ANALYZE; ALTER TABLE files SET (fillfactor = 70); COMMENT ON TABLE files IS NULL", want: nil},
	})
}

func TestDrift_SQLite(t *testing.T) {
	t.Parallel()
	const bio = "  `bio` text NULL,\n"
	const bioCheck = "  CONSTRAINT `users_bio_text_512` CHECK (bio IS NULL OR (typeof(bio) = 'text' AND instr(bio, char(0)) = 0 AND length(bio) <= 512)),\n"
	const moment, micro = "'????-??-?? ??:??:??'", "'????-??-?? ??:??:??.??????+00:00'"
	const key = "CONSTRAINT `files_users_files` FOREIGN KEY (`user_id`) REFERENCES `users` (`id`) ON UPDATE NO ACTION ON DELETE CASCADE,\n"
	checkDriftCases(t, dialect.SQLite, []byHand{
		{name: "column added", sql: "ALTER TABLE users ADD COLUMN extra text", want: []string{"column users.extra should not be there"}},
		{name: "column generated", sql: rebuiltAs("files", "`size` integer NOT NULL DEFAULT 0,", "`extent` integer NOT NULL DEFAULT 0, size GENERATED ALWAYS AS (extent) STORED,"), want: []string{"column files.extent should not be there", "column files.size differs in nullability, type, default, generation"}},
		{name: "column dropped", sql: "DROP INDEX usedpasswordresettoken_used_at; " + "ALTER TABLE used_password_reset_tokens RENAME COLUMN used_at TO at", want: []string{"column used_password_reset_tokens.used_at is missing", "column used_password_reset_tokens.at should not be there", "index usedpasswordresettoken_used_at of used_password_reset_tokens is missing", "check used_password_reset_tokens_used_at_time of used_password_reset_tokens: (datetime(at) IS NOT NULL AND (at GLOB " + moment + " OR (at GLOB " + micro + " AND at NOT GLOB '*.000000+00:00'))) should be (datetime(used_at) IS NOT NULL AND (used_at GLOB " + moment + " OR (used_at GLOB " + micro + " AND used_at NOT GLOB '*.000000+00:00')))"}},
		{name: "column and check dropped", sql: rebuiltAs("users", bioCheck, ""), want: []string{"check users_bio_text_512 of users is missing"}},
		{name: "column without AUTOINCREMENT", sql: rebuiltAs("audit_logs", " AUTOINCREMENT", ""), want: []string{"primary key of audit_logs differs in AUTOINCREMENT"}},
		{name: "other type", sql: rebuiltAs("users", bio, "  `bio` blob NULL,\n"), want: []string{"column users.bio differs in type"}},
		{name: "type of the same affinity", sql: rebuiltAs("users", bio, "  `bio` varchar NULL,\n"), want: []string{"column users.bio differs in type"}},
		{name: "not null", sql: rebuiltAs("users", bio, "  `bio` text NOT NULL,\n"), want: []string{"column users.bio differs in nullability"}},
		{name: "null", sql: rebuiltAs("users", "`email` text NOT NULL", "`email` text NULL"), want: []string{"column users.email differs in nullability"}},
		{name: "other default", sql: rebuiltAs("users", "`is_active` bool NOT NULL DEFAULT true", "`is_active` bool NOT NULL DEFAULT false"), want: []string{"column users.is_active differs in default"}},
		{name: "no default", sql: rebuiltAs("files", "`size` integer NOT NULL DEFAULT 0", "`size` integer NOT NULL"), want: []string{"column files.size differs in default"}},
		{name: "collation", sql: rebuiltAs("users", "`email` text NOT NULL", "`email` text NOT NULL COLLATE NOCASE"), want: []string{"clauses of table users should not be there: COLLATE NOCASE"}},
		{name: "index dropped", sql: "DROP INDEX file_user_id_filename", want: []string{"index file_user_id_filename of files is missing"}},
		{name: "index added", sql: "CREATE INDEX extra ON files (size)", want: []string{"index extra of files should not be there"}},
		{name: "index made unique", sql: "DROP INDEX file_user_id_filename; CREATE UNIQUE INDEX file_user_id_filename ON files (user_id, filename)", want: []string{"index file_user_id_filename of files differs in uniqueness"}},
		{name: "index of other columns", sql: "DROP INDEX file_user_id_filename; CREATE INDEX file_user_id_filename ON files (filename, user_id)", want: []string{"index file_user_id_filename of files differs in columns"}},
		{name: "index downwards", sql: "DROP INDEX file_user_id_filename; CREATE INDEX file_user_id_filename ON files (user_id, filename DESC)", want: []string{"index file_user_id_filename of files differs in columns"}},
		{name: "index of a collation", sql: "DROP INDEX user_email; CREATE UNIQUE INDEX user_email ON users (email COLLATE NOCASE) WHERE NOT is_deleted", want: []string{"clauses of index user_email should not be there: COLLATE NOCASE"}},
		{name: "index of an expression", sql: "DROP INDEX user_email; CREATE UNIQUE INDEX user_email ON users (lower(email)) WHERE NOT is_deleted", want: []string{"index user_email of users differs in columns"}},
		{name: "index without predicate", sql: "DELETE FROM users; DROP INDEX user_email; CREATE UNIQUE INDEX user_email ON users (email)", want: []string{"index user_email of users differs in attributes"}},
		{name: "index of other predicate", sql: "DELETE FROM users; DROP INDEX user_email; CREATE UNIQUE INDEX user_email ON users (email) WHERE is_active", want: []string{"index user_email of users differs in attributes"}},
		{name: "check dropped", sql: rebuiltAs("files", "  CONSTRAINT `files_size_not_negative` CHECK (size >= 0),\n", ""), want: []string{"check files_size_not_negative of files is missing"}},
		{name: "check added", sql: rebuiltAs("files", "  CONSTRAINT `files_size_not_negative`", "  CONSTRAINT `extra` CHECK (size > 1),\n  CONSTRAINT `files_size_not_negative`"), want: []string{"check extra of files should not be there"}},
		{name: "check without a name", sql: rebuiltAs("files", "  CONSTRAINT `files_size_not_negative`", "  CHECK (size > 1),\n  CONSTRAINT `files_size_not_negative`"), want: []string{"check (size > 1) of files should not be there"}},
		{name: "check of another text", sql: rebuiltAs("files", "CHECK (size >= 0)", "CHECK (size >= -1)"), want: []string{"check files_size_not_negative of files: (size >= -1) should be (size >= 0)"}},
		{name: "foreign key dropped", sql: rebuiltAs("files", key, ""), want: []string{"foreign key files_users_files of files is missing"}},
		{name: "foreign key that restricts", sql: rebuiltAs("files", "ON DELETE CASCADE", "ON DELETE RESTRICT"), want: []string{"foreign key files_users_files of files differs in ON DELETE"}},
		{name: "foreign key that follows", sql: rebuiltAs("files", "ON UPDATE NO ACTION", "ON UPDATE CASCADE"), want: []string{"foreign key files_users_files of files differs in ON UPDATE"}},
		{name: "foreign key that is deferred", sql: rebuiltAs("files", "ON DELETE CASCADE", "ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED"), want: []string{"clauses of table files should not be there: DEFERRABLE INITIALLY DEFERRED"}},
		{name: "unique constraint", sql: rebuiltAs("files", key, key+"  UNIQUE (`filename`, `user_id`),\n"), want: []string{"index files_filename_user_id of files should not be there"}},
		{name: "table added", sql: "CREATE TABLE extra (id integer PRIMARY KEY)", want: []string{"table extra should not be there"}},
		{name: "table dropped", sql: "DROP TABLE audit_logs", want: []string{"table audit_logs is missing"}},
		{name: "virtual table", sql: "CREATE VIRTUAL TABLE extra USING rtree (id, low, high)", want: []string{"table extra should not be there", "table extra_node should not be there", "table extra_parent should not be there", "table extra_rowid should not be there"}},
		{name: "view", sql: "CREATE VIEW people AS SELECT id FROM users", want: []string{"view people should not be there: CREATE VIEW people AS SELECT id FROM users"}},
		{name: "trigger", sql: "CREATE TRIGGER touched AFTER UPDATE ON users BEGIN SELECT 1; END", want: []string{"trigger touched of users should not be there: CREATE TRIGGER touched AFTER UPDATE ON users BEGIN SELECT 1; END"}},
		{name: "rows", sql: "DELETE FROM users", want: nil},
		{name: "statistics", sql: "ANALYZE", want: nil},
	})
}

// A COMMIT in a file must not leave what was tried out on a server that others use.
func TestDev_Commit(t *testing.T) {
	t.Parallel()
	db := open(t, empty(t, dialect.Postgres))
	dev, err := migration.DevOn(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	before := dump(t, db)
	files := folder(t, map[string]string{"1_one.sql": "CREATE TABLE one (id integer);\nCOMMIT;\nCREATE TABLE two (id integer);\n"})
	if _, err := migration.Verify(t.Context(), files, tablesOf(), []*migration.Dev{dev}, nil); err != nil && !strings.Contains(err.Error(), "COMMIT") {
		t.Error(err)
	}
	equal(t, "schema", dump(t, db), before)
}

// A schema whose name ends another one's is no reason to see what is not there.
func TestDrift_SchemaOfSimilarName(t *testing.T) {
	t.Parallel()
	address := empty(t, dialect.Postgres)
	execute(t, open(t, address), "CREATE SCHEMA app; CREATE SCHEMA myapp; CREATE TABLE myapp.things (id integer)")
	db := open(t, withParameter(t, address, "search_path", "app"))
	dev, err := migration.DevOn(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	files := folder(t, map[string]string{"1_view.sql": "CREATE VIEW all_things AS SELECT id FROM myapp.things;\n"})
	apply(t, db, files)
	different, err := migrator(t, db, files).Drift(t.Context(), dev)
	if err != nil || len(different) > 0 {
		t.Errorf("different: %q, %v", different, err)
	}
}

// Names in a database are anybody's, and must not write on the terminal of who reads about them.
func TestDrift_NamesOfControlCharacters(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		db := open(t, url)
		apply(t, db, migrations.FS)
		execute(t, db, "CREATE TABLE \"extra\x1b[2J\nno difference\" (id integer)")
		for _, what := range drift(t, t.Context(), db, openDev(t, db.Dialect())) {
			if strings.ContainsAny(what, "\x1b\n") {
				t.Errorf("it is shown as it is: %q", what)
			}
		}
	})
}

// Where nothing is pending, there is nothing that a drift could spoil.
func TestApply_DriftWithNothingPending(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		db := open(t, url)
		apply(t, db, migrations.FS)
		execute(t, db, "CREATE INDEX extra ON files (size)")
		applied, err := migrator(t, db, migrations.FS).Apply(t.Context(), migration.Options{Dev: openDev(t, db.Dialect())})
		if err != nil || len(applied) > 0 {
			t.Errorf("Apply = %v, %v; want nothing", applied, err)
		}
	})
}
