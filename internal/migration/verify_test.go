package migration_test

import (
	"io/fs"
	"net/url"
	"strings"
	"testing"
	"testing/fstest"

	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/migration"
	"github.com/reviewpoint/models/schema/migrations"
)

// devs has a dev of each dialect.
func devs(t testing.TB) []*migration.Dev {
	t.Helper()
	return []*migration.Dev{openDev(t, dialect.SQLite), openDev(t, dialect.Postgres)}
}

// found is what Verify says of the module's schema, as WHERE: WHAT.
func found(t testing.TB, files fs.FS, devs []*migration.Dev, db *database.DB) []string {
	t.Helper()
	all, err := migration.Verify(t.Context(), files, tablesOf(), devs, db)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, difference := range all {
		out = append(out, difference.Where+": "+difference.What)
	}
	return out
}

func TestVerify_NoDifference(t *testing.T) {
	t.Parallel()
	both := devs(t)
	equal(t, "folders", found(t, migrations.FS, both, nil), nil)
	onEach(t, func(t *testing.T, url string) {
		db := open(t, url)
		equal(t, "empty database", found(t, migrations.FS, both, db), nil)
		before := dump(t, db)
		equal(t, "empty database, still", dump(t, db), before)
		apply(t, db, migrations.FS)
		equal(t, "fresh database", found(t, migrations.FS, both, db), nil)
		seed(t, db)
		before = dump(t, db)
		equal(t, "database with rows", found(t, migrations.FS, both, db), nil)
		equal(t, "schema and rows", dump(t, db), before)
		own, err := migration.DevOn(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		defer own.Close()
		equal(t, "on itself", found(t, migrations.FS, []*migration.Dev{own}, db), nil)
		equal(t, "schema and rows, after it was tried on itself", dump(t, db), before)
	})
}

// with adds a parameter to a URL.
func withParameter(t testing.TB, text, name, value string) string {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	values := u.Query()
	values.Set(name, value)
	u.RawQuery = values.Encode()
	return u.String()
}

func TestVerify_NoDifferencePostgres(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		prepare string
		options map[string]string
	}{
		"another schema":          {"CREATE SCHEMA app", map[string]string{"search_path": "app"}},
		"a schema of odd letters": {`CREATE SCHEMA "My app"`, map[string]string{"search_path": `"My app"`}},
		"another schema first":    {"CREATE SCHEMA app; CREATE TABLE public.other (id integer)", map[string]string{"search_path": "app,public"}},
		"another zone":            {"", map[string]string{"timezone": "Asia/Kathmandu"}},
		"a zone of the database":  {"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = %L', current_database(), 'America/St_Johns'); END $$", nil},
		"an extension":            {"CREATE EXTENSION pg_trgm", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := empty(t, dialect.Postgres)
			if test.prepare != "" {
				admin := open(t, address)
				if _, err := admin.ExecContext(t.Context(), test.prepare); err != nil {
					if strings.Contains(test.prepare, "EXTENSION") {
						t.Skip("the server has no such extension: ", err)
					}
					t.Fatal(err)
				}
			}
			for name, value := range test.options {
				address = withParameter(t, address, name, value)
			}
			db := open(t, address)
			apply(t, db, migrations.FS)
			seed(t, db)
			own, err := migration.DevOn(t.Context(), db)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "on itself", found(t, migrations.FS, []*migration.Dev{own}, db), nil)
			other := []*migration.Dev{openDev(t, dialect.Postgres)}
			equal(t, "on another server's database", found(t, migrations.FS, other, db), nil)
			execute(t, db, "DROP INDEX file_user_id_filename")
			equal(t, "what differs", found(t, migrations.FS, other, db), []string{"database " + db.Name() + ": index file_user_id_filename of files is missing"})
		})
	}
}

// in adds a file to the module's folder of one dialect.
func in(t testing.TB, name, content string) fstest.MapFS {
	t.Helper()
	out := withFiles(t, nil)
	files := map[string]string{"20990101000000_more.sql": content}
	for path, file := range out {
		if base, ok := strings.CutPrefix(path, name+"/"); ok && base != "atlas.sum" {
			files[base] = string(file.Data)
		}
	}
	addFolder(t, out, name, files)
	return out
}

func TestVerify_Folders(t *testing.T) {
	t.Parallel()
	both := devs(t)
	edited := withFiles(t, nil)
	edited["sqlite/20261123160500_bcrypt.sql"] = &fstest.MapFile{Data: []byte("-- edited\n")}
	for _, test := range []struct {
		name  string
		files fs.FS
		want  []string // the beginnings
	}{
		{"edited", edited, []string{"folder sqlite: migration file was edited after it was planned or applied: sqlite/20261123160500_bcrypt.sql does not match atlas.sum"}},
		{"does not run", in(t, "postgres", "SELECT 1;\nDROP TABLE absent;\n"), []string{"folder postgres: migration 20990101000000_more.sql failed at line 2"}},
		{"cannot be read", in(t, "sqlite", "CREATE TABLE more (id integer CHECK (id <> '));\n"), []string{"folder sqlite: "}},
		{"more than the schema", in(t, "sqlite", "CREATE TABLE more (id integer PRIMARY KEY);\n"), []string{"folder sqlite: table more should not be there", "dialects: column more.id", "dialects: primary key of more", "dialects: table more is there on SQLite alone"}},
		{"less than the schema", in(t, "postgres", "ALTER TABLE users DROP COLUMN bio;\n"), []string{"folder postgres: column users.bio is missing", `dialects: column users.bio is there on SQLite alone`}},
		{"written by hand", in(t, "postgres", "CREATE VIEW people AS SELECT id FROM users;\n"), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			checkBeginnings(t, found(t, test.files, both, nil), test.want)
		})
	}
}

func checkBeginnings(t testing.TB, got, want []string) {
	t.Helper()
	matches := len(got) == len(want)
	for i := range got {
		matches = matches && strings.HasPrefix(got[i], want[i]) && !strings.Contains(got[i], "\n")
	}
	if !matches {
		t.Errorf("found\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// of keeps what is said of the dialects.
func ofDialects(all []string) []string {
	var out []string
	for _, line := range all {
		if what, ok := strings.CutPrefix(line, "dialects: "); ok {
			out = append(out, what)
		}
	}
	return out
}

func TestVerify_Dialects(t *testing.T) {
	t.Parallel()
	both := devs(t)
	for _, test := range []struct{ name, dialect, sql, want string }{
		{"nullable", "postgres", "ALTER TABLE users ALTER COLUMN email DROP NOT NULL;\n", `column users.email is "text_255" on SQLite and "text_255, nullable" on PostgreSQL`},
		{"not nullable", "postgres", "ALTER TABLE users ALTER COLUMN bio SET NOT NULL;\n", `column users.bio is "text_512, nullable" on SQLite and "text_512" on PostgreSQL`},
		{"length", "postgres", "ALTER TABLE users ALTER COLUMN bio TYPE varchar(511);\n", `column users.bio is "text_512, nullable" on SQLite and "text_511, nullable" on PostgreSQL`},
		{"default", "postgres", "ALTER TABLE users ALTER COLUMN is_active SET DEFAULT false;\n", `column users.is_active is "bool, default true" on SQLite and "bool, default false" on PostgreSQL`},
		{"four bytes", "postgres", "ALTER TABLE files ALTER COLUMN size TYPE integer;\n", `column files.size is "int, default 0" on SQLite and "int of 4 bytes, default 0" on PostgreSQL`},
		{"no zone", "postgres", "ALTER TABLE users ALTER COLUMN deleted_at TYPE timestamp;\n", `column users.deleted_at is "time, nullable" on SQLite and "time without zone, nullable" on PostgreSQL`},
		{"identity", "postgres", "ALTER TABLE files ALTER COLUMN id DROP IDENTITY;\n", `column files.id is "int, identity" on SQLite and "int" on PostgreSQL`},
		{"not unique", "postgres", "DROP INDEX user_email;\nCREATE INDEX user_email ON users (email) WHERE NOT is_deleted;\n", `index user_email of users is "unique email where NOT is_deleted" on SQLite and "email where NOT is_deleted" on PostgreSQL`},
		{"not unique on SQLite", "sqlite", "DROP INDEX user_email;\nCREATE INDEX user_email ON users (email) WHERE NOT is_deleted;\n", `index user_email of users is "email where NOT is_deleted" on SQLite and "unique email where NOT is_deleted" on PostgreSQL`},
		{"predicate", "sqlite", "DROP INDEX user_email;\nCREATE UNIQUE INDEX user_email ON users (email);\n", `index user_email of users is "unique email" on SQLite and "unique email where NOT is_deleted" on PostgreSQL`},
		{"order", "sqlite", "DROP INDEX file_user_id_filename;\nCREATE INDEX file_user_id_filename ON files (filename, user_id DESC);\n", `index file_user_id_filename of files is "filename, user_id desc" on SQLite and "user_id, filename" on PostgreSQL`},
		{"index missing", "sqlite", "DROP INDEX file_user_id_filename;\n", `index file_user_id_filename of files is there on PostgreSQL alone`},
		{"check", "postgres", "ALTER TABLE files DROP CONSTRAINT files_size_not_negative;\nALTER TABLE files ADD CONSTRAINT files_size_not_negative CHECK (size > 0);\n", `check files_size_not_negative of files is "size >= 0" on SQLite and "size > 0" on PostgreSQL`},
		{"check missing", "postgres", "ALTER TABLE files DROP CONSTRAINT files_size_not_negative;\n", `check files_size_not_negative of files is there on SQLite alone`},
		{"cascade", "postgres", "ALTER TABLE files DROP CONSTRAINT files_users_files;\nALTER TABLE files ADD CONSTRAINT files_users_files FOREIGN KEY (user_id) REFERENCES users (id);\n", `foreign key of files (user_id) is "to users (id), on delete CASCADE, on update NO ACTION" on SQLite and "to users (id), on delete NO ACTION, on update NO ACTION" on PostgreSQL`},
		{"foreign key missing", "postgres", "ALTER TABLE files DROP CONSTRAINT files_users_files;\n", `foreign key of files (user_id) is there on SQLite alone`},
		{"primary key", "postgres", "ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_pkey;\n", `primary key of audit_logs is there on SQLite alone`},
		{"column", "sqlite", "ALTER TABLE files ADD COLUMN more integer NULL;\n", `column files.more is there on SQLite alone`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			equal(t, "differences of the dialects", ofDialects(found(t, in(t, test.dialect, test.sql), both, nil)), []string{test.want})
		})
	}
}

// PostgreSQL writes an expression anew; that alone is no difference.
func TestVerify_Expressions(t *testing.T) {
	t.Parallel()
	both := devs(t)
	for _, test := range []struct{ sqlite, postgres string }{
		{"a > 1 AND b <> ''", ""},
		{"b LIKE 'Ab%'", ""},
		{"a IS NOT NULL OR b IS NULL", ""},
		{"length(b) > 1", ""},
		{"coalesce(a, 0) > 1", ""},
		{"a > -1", ""},
		{"a <= 10000000000", ""},
		{"b IN ('x', 'y')", ""},
		{"a IN (1, 2)", ""},
		{"a BETWEEN 1 AND 5", ""},
		{"a != 3", ""},
		{"b <> 'a''b'", ""},
		{"b <> '(X)::text'", ""},
		{"b <> 'x'", "b <> 'X'"},
		{"b <> 'x y'", "b <> 'x  y'"},
		{"a > 1", "a > 2"},
		{"(a > 1 OR a < 0) AND b <> 'x'", "a > 1 OR (a < 0 AND b <> 'x')"},
	} {
		t.Run(test.sqlite+" "+test.postgres, func(t *testing.T) {
			t.Parallel()
			out := fstest.MapFS{}
			for name, check := range map[string]string{"sqlite": test.sqlite, "postgres": test.postgres} {
				if check == "" {
					check = test.sqlite
				}
				content := "CREATE TABLE things (id bigint NOT NULL PRIMARY KEY, a bigint NULL, b text NULL, CONSTRAINT things_check CHECK (" + check + "));\n"
				addFolder(t, out, name, map[string]string{"1_things.sql": content})
			}
			var got []string
			for _, line := range ofDialects(found(t, out, both, nil)) {
				if strings.Contains(line, "check") {
					got = append(got, line)
				}
			}
			if differs := test.postgres != ""; differs != (len(got) == 1) || len(got) > 1 {
				t.Errorf("found %q; they differ: %t", got, differs)
			}
		})
	}
}

// What is wrong with the account of a database is said of the database.
func TestVerify_Account(t *testing.T) {
	t.Parallel()
	both := devs(t)
	onEach(t, func(t *testing.T, url string) {
		db := open(t, url)
		apply(t, db, withPending(t))
		checkBeginnings(t, found(t, migrations.FS, both, db), []string{"database " + db.Name() + ": " + migration.ErrMissing.Error() + ": 20990101000000_more"})
		execute(t, db, "DELETE FROM atlas_schema_revisions")
		checkBeginnings(t, found(t, migrations.FS, both, db), []string{"database " + db.Name() + ": " + migration.ErrForeign.Error()})
	})
}
