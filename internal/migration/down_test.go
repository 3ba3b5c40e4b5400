package migration_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/migration"
)

func planDown(t *testing.T, db *database.DB, files fs.FS, to string, n int) *migration.Down {
	t.Helper()
	plan, err := migrator(t, db, files).PlanDown(t.Context(), devOn(t, db), to, n)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func down(t *testing.T, db *database.DB, files fs.FS, to string, n int) {
	t.Helper()
	if err := migrator(t, db, files).Down(t.Context(), planDown(t, db, files, to, n), migration.Options{}); err != nil {
		t.Fatal(err)
	}
}

// downFails carries out a plan that must fail and change nothing.
func downFails(t *testing.T, db *database.DB, files fs.FS, plan *migration.Down, want string, kinds ...error) {
	t.Helper()
	before := dump(t, db)
	rows := contents(t, db)
	err := migrator(t, db, files).Down(t.Context(), plan, migration.Options{})
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("error = %v, want one that says %q", err, want)
	}
	for _, kind := range kinds {
		if !errors.Is(err, kind) {
			t.Errorf("error = %v, want %v", err, kind)
		}
	}
	equal(t, "schema and account after a down that failed", dump(t, db), before)
	same(t, "contents after a down that failed", contents(t, db), rows)
	if db.Dialect() == dialect.SQLite {
		checkEnforced(t, db)
	}
}

// changing applies the files of a folder that come after the first, and returns the database and the folder.
func changing(t *testing.T, name string, first string, more ...string) (*database.DB, fstest.MapFS) {
	t.Helper()
	files := map[string]string{"1_first.sql": first}
	for i, content := range more {
		files[fmt.Sprintf("%d_more.sql", i+2)] = content
	}
	db, all := open(t, empty(t, name)), folder(t, files)
	apply(t, db, all)
	return db, all
}

// tables is a folder of n files that make a table each, with a row.
func tables(t testing.TB, n int) fstest.MapFS {
	t.Helper()
	files := make(map[string]string)
	for i := range n {
		files[step(i)] = fmt.Sprintf("CREATE TABLE table%[1]d (id integer PRIMARY KEY);\nINSERT INTO table%[1]d (id) VALUES (1);\n", i)
	}
	return folder(t, files)
}

func TestDown_HowFar(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		to   string
		n    int
		left int
	}{
		"the last":     {"", 1, 3},
		"the last two": {"", 2, 2},
		"all by count": {"", 4, 0},
		"to a version": {versionOf(step(0)), 0, 1},
		"to nothing":   {"0", 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onEach(t, func(t *testing.T, url string) {
				db, files := open(t, url), tables(t, 4)
				if test.left > 0 {
					if _, err := migrator(t, db, files).Apply(t.Context(), migration.Options{To: versionOf(step(test.left - 1))}); err != nil {
						t.Fatal(err)
					}
				}
				want := contents(t, db)
				apply(t, db, files)
				all := contents(t, db)
				undone := stepNames(4)[test.left:]
				slices.Reverse(undone)

				plan := planDown(t, db, files, test.to, test.n)
				equal(t, "files", names(plan.Files), undone)
				same(t, "contents after planning", contents(t, db), all)
				if err := migrator(t, db, files).Down(t.Context(), plan, migration.Options{}); err != nil {
					t.Fatal(err)
				}
				if test.left == 0 { // The account stays, without a row.
					want = contents(t, open(t, afterAccount(t, db.Dialect())))
				}
				same(t, "contents after down", contents(t, db), want)
				checkAccount(t, db, stepNames(test.left))
				slices.Reverse(undone)
				equal(t, "applied again", apply(t, db, files), undone)
				same(t, "contents after up, down, up", contents(t, db), all)
			})
		})
	}
}

// afterAccount is the URL of a database that has an account of migrations and nothing else.
func afterAccount(t *testing.T, name string) string {
	t.Helper()
	url := empty(t, name)
	db := open(t, url)
	apply(t, db, tables(t, 1))
	execute(t, db, "DROP TABLE table0")
	execute(t, db, "DELETE FROM atlas_schema_revisions")
	return url
}

func TestPlanDown_Refused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		applied int
		to      string
		n       int
		before  string
		want    string
	}{
		"nothing is applied":    {0, "", 1, "", "no migration is applied"},
		"nothing to go down to": {0, "0", 0, "", "no migration is applied"},
		"too many":              {2, "", 3, "", "only 2 migrations are applied"},
		"unknown version":       {2, "19990101000000", 0, "", "migration 19990101000000 is not applied"},
		"a pending version":     {2, versionOf(step(2)), 0, "", "is not applied"},
		"the last version":      {2, versionOf(step(1)), 0, "", "nothing after it to undo"},
		"drift in what stays":   {2, "", 1, "ALTER TABLE table0 ADD COLUMN by_hand integer", "by_hand"},
		"drift in what goes":    {2, "", 1, "DROP TABLE table1", "table1"},
		"a table by hand":       {2, "", 1, "CREATE TABLE by_hand (id integer)", "by_hand"},
		"a view by hand":        {2, "", 1, "CREATE VIEW by_hand AS SELECT id FROM table0", "by_hand"},
		"half-done":             {3, "", 1, "UPDATE atlas_schema_revisions SET applied = 1 WHERE version = '" + versionOf(step(2)) + "'", "stopped half-way"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onEach(t, func(t *testing.T, url string) {
				db, files := open(t, url), tables(t, 3)
				if test.applied > 0 {
					if _, err := migrator(t, db, files).Apply(t.Context(), migration.Options{To: versionOf(step(test.applied - 1))}); err != nil {
						t.Fatal(err)
					}
				}
				if test.before != "" {
					execute(t, db, test.before)
				}
				before := dump(t, db)
				plan, err := migrator(t, db, files).PlanDown(t.Context(), devOn(t, db), test.to, test.n)
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Fatalf("plan %+v, error = %v, want one that says %q", plan, err, test.want)
				}
				if drift := strings.HasPrefix(name, "drift") || strings.HasSuffix(name, "by hand"); errors.Is(err, migration.ErrDrift) != drift {
					t.Errorf("error = %v, ErrDrift: %v, want %v", err, !drift, drift)
				}
				equal(t, "schema and account", dump(t, db), before)
			})
		})
	}
}

func TestDown_MigratedSince(t *testing.T) {
	t.Parallel()
	for name, since := range map[string]func(t *testing.T, db *database.DB, files fs.FS){
		"applied more": func(t *testing.T, db *database.DB, _ fs.FS) {
			t.Helper()
			apply(t, db, tables(t, 3))
		},
		"undone": func(t *testing.T, db *database.DB, files fs.FS) {
			t.Helper()
			down(t, db, files, "", 1)
		},
		"undone and applied again": func(t *testing.T, db *database.DB, files fs.FS) {
			t.Helper()
			down(t, db, files, "", 1)
			apply(t, db, files)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onEach(t, func(t *testing.T, url string) {
				db, files := open(t, url), tables(t, 2)
				apply(t, db, files)
				plan := planDown(t, db, files, "", 1)
				since(t, open(t, url), files)
				downFails(t, db, tables(t, 3), plan, "another process has migrated")
			})
		})
	}
}

// A file marked txmode none is begun, and stops half-way, after the plan is made.
func TestDown_HalfDoneSince(t *testing.T) {
	t.Parallel()
	db := open(t, empty(t, dialect.Postgres))
	files := alone(t, "UPDATE things SET size = 4 WHERE id = 1;\nCREATE INDEX CONCURRENTLY things_absent ON things (absent);\n")
	if _, err := migrator(t, db, files).Apply(t.Context(), migration.Options{To: "1"}); err != nil {
		t.Fatal(err)
	}
	plan := planDown(t, db, files, "", 1)
	failing(t, db, files)
	downFails(t, db, files, plan, "another process has migrated")
}

// Nothing is destroyed by undoing a column that nobody filled, although SQLite builds its table anew.
func TestDown_RowsStay(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, name string) {
		path := extended(t, map[string]map[string]string{
			"sqlite":   {orcidFile: rebuiltUsers(t)},
			"postgres": {orcidFile: "ALTER TABLE users ADD COLUMN orcid character varying(19) NULL, ADD CONSTRAINT users_orcid_not_empty CHECK (orcid <> '');\n"},
		})
		db, files := open(t, empty(t, name)), os.DirFS(path)
		if _, err := migrator(t, db, files).Apply(t.Context(), migration.Options{To: lastOwn(t)}); err != nil {
			t.Fatal(err)
		}
		for statement := range strings.SplitSeq(strings.TrimSpace(rowsInAll), ";\n") {
			execute(t, db, statement)
		}
		if name == dialect.Postgres {
			for _, table := range filledTables {
				query[int](t, t.Context(), db, fmt.Sprintf("SELECT setval(pg_get_serial_sequence('%s', 'id'), 9)", table))
			}
		}
		first := contents(t, db)
		apply(t, db, files)
		second := contents(t, db)
		for range 2 {
			plan := planDown(t, db, files, "", 1)
			equal(t, "destroys", plan.Destroys, nil)
			equal(t, "keeps", plan.Keeps, nil)
			if err := migrator(t, db, files).Down(t.Context(), plan, migration.Options{}); err != nil {
				t.Fatal(err)
			}
			same(t, "contents after down", contents(t, db), first)
			equal(t, "applied again", apply(t, db, files), []string{orcidFile})
			same(t, "contents after up, down, up", contents(t, db), second)
		}
		down(t, db, files, "", 1)
		if name == dialect.SQLite {
			checkEnforced(t, db)
		}
		execute(t, db, "INSERT INTO users (public_id, email, hashed_password) VALUES ('00000000-0000-4000-8000-000000000010', 'new@example.org', 'hash')")
		if ids := query[int](t, t.Context(), db, "SELECT id FROM users WHERE email = 'new@example.org'"); !slices.Equal(ids, []int{10}) {
			t.Errorf("the next id is %v, want 10", ids)
		}
		if _, err := db.ExecContext(t.Context(), "INSERT INTO users (public_id, email, hashed_password) VALUES ('00000000-0000-4000-8000-000000000011', 'new@example.org', 'hash')"); !errors.Is(err, database.ErrUnique) {
			t.Errorf("the same address again: %v, want ErrUnique", err)
		}
		execute(t, db, "DELETE FROM users WHERE id = 1")
		if ids := query[int](t, t.Context(), db, "SELECT id FROM files"); !slices.Equal(ids, []int{3}) {
			t.Errorf("files after their owner is deleted: %v, want 3 alone", ids)
		}
	})
}

func TestDown_UpDownUp(t *testing.T) {
	t.Parallel()
	for _, to := range []string{"0", versionOf(rowsFile), versionOf(orcidFile), versionOf(indexesFile)} {
		t.Run(to, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, name string) {
				path := grown(t)
				db, files := open(t, empty(t, name)), os.DirFS(path)
				apply(t, db, files)
				want := contents(t, db)
				down(t, db, files, to, 0)
				apply(t, db, files)
				same(t, "contents after up, down, up", contents(t, db), want)
				checkAccount(t, db, filesOf(t, path, name))
				different, err := migrator(t, db, files).Drift(t.Context(), devOn(t, db))
				if err != nil {
					t.Fatal(err)
				}
				equal(t, "drift", different, nil)
			})
		})
	}
}

func TestPlanDown_SaysWhatIsLost(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, name string) {
		db, files := changing(t, name,
			"CREATE TABLE things (id integer PRIMARY KEY, name text NOT NULL);\nINSERT INTO things (id, name) VALUES (1, 'a'), (2, 'b');\n",
			"ALTER TABLE things ADD COLUMN filled integer NULL;\nALTER TABLE things ADD COLUMN vacant integer NULL;\nALTER TABLE things ADD COLUMN kind integer NOT NULL DEFAULT 1;\n"+
				"CREATE TABLE vacant (id integer PRIMARY KEY);\nCREATE TABLE filled (id integer PRIMARY KEY);\n",
			"UPDATE things SET filled = 1 WHERE id = 2;\n",
			"CREATE INDEX things_name ON things (name);\n",
		)
		execute(t, db, "INSERT INTO filled (id) VALUES (1)")
		plan := planDown(t, db, files, "1", 0)
		destroys := slices.Sorted(slices.Values(plan.Destroys))
		equal(t, "destroys", destroys, []string{"the rows of table filled", "the values of column things.filled", "the values of column things.kind"})
		equal(t, "keeps", plan.Keeps, []string{"3_more.sql"})
		if err := migrator(t, db, files).Down(t.Context(), plan, migration.Options{}); err != nil {
			t.Fatal(err)
		}
		equal(t, "rows", query[string](t, t.Context(), db, "SELECT name FROM things ORDER BY id"), []string{"a", "b"})
	})
}

func TestPlanDown_SaysWhatIsConverted(t *testing.T) {
	t.Parallel()
	db, files := changing(t, dialect.Postgres, "CREATE TABLE things (id integer PRIMARY KEY, size integer, name varchar(10));\nINSERT INTO things VALUES (1, 1);\n",
		"ALTER TABLE things ALTER COLUMN size TYPE bigint, ALTER COLUMN name TYPE varchar(20);\n")
	equal(t, "destroys", planDown(t, db, files, "", 1).Destroys, []string{"the values of column things.size"})
}

func TestPlanDown_SaysWhatIsKept(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, name string) {
		statements := []struct {
			text string
			kept bool
		}{
			{"INSERT INTO things (id) VALUES (2)", true},
			{"update things set id = 3 where id = 2", true},
			{"DELETE FROM things WHERE id = 3", true},
			{"-- why\nDELETE FROM things WHERE id = 3", true},
			{"/* why */ DELETE FROM things WHERE id = 3", true},
			{"WITH two AS (SELECT 4 AS id) INSERT INTO things SELECT id FROM two", true},
			{"CREATE INDEX things_id ON things (id)", false},
			{"CREATE TABLE more AS SELECT id FROM things", false},
		}
		if name == dialect.Postgres {
			statements = append(statements, []struct {
				text string
				kept bool
			}{
				{"DO $$ BEGIN DELETE FROM things; END $$", true},
				{"TRUNCATE things", true},
			}...)
		}
		all := map[string]string{"00_first.sql": "CREATE TABLE things (id integer PRIMARY KEY);\n"}
		var want []string
		for i, statement := range statements {
			all[fmt.Sprintf("%02d_more.sql", i+1)] = statement.text + ";\n"
			if statement.kept {
				want = append(want, fmt.Sprintf("%02d_more.sql", i+1))
			}
		}
		db := open(t, empty(t, name))
		apply(t, db, folder(t, all))
		equal(t, "keeps", planDown(t, db, folder(t, all), "00", 0).Keeps, want)
	})
}

func TestPlanDown_SaysWhatIsKeptBesidesCopies(t *testing.T) {
	t.Parallel()
	for _, statement := range []string{"INSERT INTO new_things (id) VALUES (2);\n", "REPLACE INTO new_things (id) VALUES (2);\n"} {
		db, files := changing(t, dialect.SQLite, "CREATE TABLE new_things (id integer PRIMARY KEY);\n", statement)
		equal(t, "keeps "+statement, planDown(t, db, files, "", 1).Keeps, []string{"2_more.sql"})
	}
}

// What Atlas's packages do not look at cannot be undone, and is not left behind in silence.
func TestDown_CannotBeComputed(t *testing.T) {
	t.Parallel()
	const (
		things   = "CREATE TABLE things (id integer PRIMARY KEY, name text);\n"
		view     = "CREATE VIEW names AS SELECT name FROM things;\n"
		function = "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';\n"
	)
	trigger := map[string]string{
		dialect.SQLite:   "CREATE TRIGGER named AFTER INSERT ON things BEGIN UPDATE things SET name = 'a'; END;\n",
		dialect.Postgres: "CREATE TRIGGER named AFTER INSERT ON things FOR EACH ROW EXECUTE FUNCTION nothing();\n",
	}
	each(t, func(t *testing.T, name string) {
		before := things
		if name == dialect.Postgres {
			before += function
		}
		for what, test := range map[string]struct{ first, second, want string }{
			"a view is made":            {before, view, "view names"},
			"a view is dropped":         {before + view, "DROP VIEW names;\n", "view names"},
			"a trigger is made":         {before, trigger[name], "trigger named"},
			"a trigger is dropped":      {before + trigger[name], map[string]string{dialect.SQLite: "DROP TRIGGER named;\n", dialect.Postgres: "DROP TRIGGER named ON things;\n"}[name], "trigger named"},
			"a view on its table":       {before, "CREATE TABLE more (id integer);\nCREATE VIEW names AS SELECT id FROM more;\n", ""},
			"a column, a trigger stays": {before + trigger[name], "ALTER TABLE things ADD COLUMN size integer;\n", map[string]string{dialect.SQLite: "trigger named"}[name]},
		} {
			t.Run(what, func(t *testing.T) {
				t.Parallel()
				db, files := changing(t, name, test.first, test.second)
				execute(t, db, "INSERT INTO things (id, name) VALUES (1, 'b')")
				plan := planDown(t, db, files, "", 1)
				if name == dialect.Postgres && what == "a column, a trigger stays" {
					down(t, db, files, "", 1) // It need not build the table anew.
					return
				}
				downFails(t, db, files, plan, test.want)
			})
		}
	})
}

// The last statement of the plan fails on the rows that are there.
func TestDown_OneTransaction(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, name string) {
		db, files := changing(t, name, "CREATE TABLE more (id integer PRIMARY KEY, size integer);\nCREATE TABLE things (id integer PRIMARY KEY, name text);\nCREATE UNIQUE INDEX things_name ON things (name);\n",
			"CREATE INDEX more_size ON more (size);\nDROP INDEX things_name;\n")
		execute(t, db, "INSERT INTO things (id, name) VALUES (1, 'a'), (2, 'a')")
		plan := planDown(t, db, files, "", 1)
		last := len(plan.Statements)
		if last < 2 || !strings.HasPrefix(plan.Statements[last-1], "CREATE UNIQUE INDEX") {
			t.Fatalf("the last of several statements should make the index: %q", plan.Statements)
		}
		downFails(t, db, files, plan, fmt.Sprintf("statement %d of %d failed, and nothing was changed", last, last), database.ErrUnique)
		execute(t, db, "DELETE FROM things WHERE id = 2")
		down(t, db, files, "", 1)
		checkAccount(t, db, []string{"1_first.sql"})
	})
}

// What a file allowed cannot be forbidden again where somebody has done it.
func TestDown_StricterThanTheRows(t *testing.T) {
	t.Parallel()
	const parents = "CREATE TABLE parents (id integer PRIMARY KEY);\n"
	rebuilt := func(columns, table string) map[string]string {
		return map[string]string{dialect.SQLite: "CREATE TABLE `new_things` (" + table + ");\nINSERT INTO `new_things` (" + columns + ") SELECT " + columns + " FROM `things`;\nDROP TABLE `things`;\nALTER TABLE `new_things` RENAME TO `things`;\n"}
	}
	for what, test := range map[string]struct {
		first  string
		second map[string]string
		row    string
		want   error
	}{
		"a foreign key": {
			parents + "CREATE TABLE things (id integer PRIMARY KEY, parent_id integer, CONSTRAINT things_parent FOREIGN KEY (parent_id) REFERENCES parents (id));\n",
			with(rebuilt("id, parent_id", "id integer PRIMARY KEY, parent_id integer"), "ALTER TABLE things DROP CONSTRAINT things_parent;\n"),
			"INSERT INTO things (id, parent_id) VALUES (1, 7)", database.ErrForeignKey,
		},
		"a check": {
			"CREATE TABLE things (id integer PRIMARY KEY, size integer, CONSTRAINT things_size CHECK (size > 0));\n",
			with(rebuilt("id, size", "id integer PRIMARY KEY, size integer"), "ALTER TABLE things DROP CONSTRAINT things_size;\n"),
			"INSERT INTO things (id, size) VALUES (1, 0)", database.ErrCheck,
		},
		"not null": {
			"CREATE TABLE things (id integer PRIMARY KEY, size integer NOT NULL);\n",
			with(rebuilt("id, size", "id integer PRIMARY KEY, size integer"), "ALTER TABLE things ALTER COLUMN size DROP NOT NULL;\n"),
			"INSERT INTO things (id, size) VALUES (1, NULL)", database.ErrNotNull,
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, name string) {
				db, files := changing(t, name, test.first, test.second[name])
				execute(t, db, test.row)
				downFails(t, db, files, planDown(t, db, files, "", 1), "nothing was changed", test.want)
			})
		})
	}
}

// What SQLite builds anew takes the default for a NULL, where PostgreSQL refuses. It must be said.
func TestDown_NullsBecomeTheDefault(t *testing.T) {
	t.Parallel()
	db, files := changing(t, dialect.SQLite, "CREATE TABLE things (id integer PRIMARY KEY, size integer NOT NULL DEFAULT 5);\n",
		"CREATE TABLE `new_things` (id integer PRIMARY KEY, size integer DEFAULT 5);\nINSERT INTO `new_things` (id, size) SELECT id, size FROM `things`;\nDROP TABLE `things`;\nALTER TABLE `new_things` RENAME TO `things`;\n")
	equal(t, "destroys without rows", planDown(t, db, files, "", 1).Destroys, nil)
	execute(t, db, "INSERT INTO things (id, size) VALUES (1, NULL)")
	if plan := planDown(t, db, files, "", 1); len(plan.Destroys) != 1 || !strings.Contains(plan.Destroys[0], "things.size") {
		t.Errorf("destroys %q", plan.Destroys)
	}
}

// A table that is built anew keeps what Atlas's packages do not look at, or is left as it was.
func TestDown_SQLiteClauses(t *testing.T) {
	t.Parallel()
	for clause, first := range map[string]string{
		"COLLATE NOCASE":                "CREATE TABLE things (id integer PRIMARY KEY, name text COLLATE NOCASE NOT NULL);\n",
		"name COLLATE NOCASE":           "CREATE TABLE things (id integer PRIMARY KEY, name text NOT NULL);\nCREATE INDEX things_name ON things (name COLLATE NOCASE);\n",
		"DEFERRABLE INITIALLY DEFERRED": "CREATE TABLE things (id integer PRIMARY KEY, parent_id integer CONSTRAINT things_parent REFERENCES things (id) DEFERRABLE INITIALLY DEFERRED);\n",
		"ON CONFLICT IGNORE":            "CREATE TABLE things (id integer PRIMARY KEY, name text NOT NULL ON CONFLICT IGNORE);\n",
		"STRICT":                        "CREATE TABLE things (id integer PRIMARY KEY, name text NOT NULL) STRICT;\n",
		"WITHOUT ROWID":                 "CREATE TABLE things (id integer PRIMARY KEY, name text NOT NULL) WITHOUT ROWID;\n",
		"(lower(name)) DESC":            "CREATE TABLE things (id integer PRIMARY KEY, name text NOT NULL);\nCREATE INDEX things_name ON things ((lower(name)) DESC, id) WHERE id > 1;\n",
		"AS (lower(name)) STORED":       "CREATE TABLE things (id integer PRIMARY KEY, name text, small text AS (lower(name)) STORED);\n",
		"CHECK (name <> '')":            "CREATE TABLE things (id integer PRIMARY KEY, name text, CHECK (name <> ''));\n",
		"AUTOINCREMENT":                 "CREATE TABLE things (id integer PRIMARY KEY AUTOINCREMENT, name text);\n",
	} {
		t.Run(clause, func(t *testing.T) {
			t.Parallel()
			db, files := changing(t, dialect.SQLite, first, "ALTER TABLE things ADD COLUMN size integer;\n")
			before := dump(t, db)
			if err := migrator(t, db, files).Down(t.Context(), planDown(t, db, files, "", 1), migration.Options{}); err != nil {
				equal(t, "schema after "+err.Error(), dump(t, db), before)
				return
			}
			sql := strings.Join(query[string](t, t.Context(), db, "SELECT replace(sql, '`', '') FROM sqlite_master WHERE tbl_name = 'things' AND sql IS NOT NULL"), "\n")
			if !strings.Contains(sql, clause) || strings.Contains(sql, "size") {
				t.Errorf("it has no %s any more, or not only that:\n%s", clause, sql)
			}
		})
	}
}

func TestDrift_InlineUnique(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, name string) {
		db, files := changing(t, name, "CREATE TABLE things (id integer PRIMARY KEY, name text UNIQUE, size integer, UNIQUE (name, size));\n", "ALTER TABLE things ADD COLUMN kind integer;\n")
		different, err := migrator(t, db, files).Drift(t.Context(), devOn(t, db))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "drift", different, nil)
		down(t, db, files, "", 1)
		if _, err := db.ExecContext(t.Context(), "INSERT INTO things (id, name) VALUES (1, 'a'), (2, 'a')"); !errors.Is(err, database.ErrUnique) {
			t.Errorf("error = %v, want ErrUnique", err)
		}
	})
}

func with(all map[string]string, postgres string) map[string]string {
	out := maps.Clone(all)
	out[dialect.Postgres] = postgres
	return out
}

func TestDown_WaitsForAnother(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		files := tables(t, 2)
		apply(t, open(t, url), files)
		var (
			asked, counts atomic.Int32
			waits         = make(chan struct{})
		)
		db, err := database.Open(t.Context(), url, database.Options{Before: func(query string, _ []driver.NamedValue) {
			if counts.Load() == 0 {
				return
			}
			if (strings.Contains(query, "advisory") && asked.Add(1) == 3) || (query == "BEGIN" && strings.HasPrefix(url, "sqlite") && asked.Add(1) == 1) {
				close(waits)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		plan := planDown(t, db, files, "", 1)
		counts.Store(1)
		release := holdLock(t, url)
		failed := make(chan error, 1)
		m := migrator(t, db, files)
		go func() { failed <- m.Down(t.Context(), plan, migration.Options{}) }()
		select {
		case err := <-failed:
			t.Fatalf("it did not wait: %v", err)
		case <-waits:
		}
		checkAccount(t, open(t, url), stepNames(2))
		release()
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
		checkAccount(t, db, stepNames(1))
	})
}

// holdLock holds the lock of migrations as another process does.
func holdLock(t *testing.T, url string) (release func()) {
	t.Helper()
	if strings.HasPrefix(url, "sqlite") {
		other := open(t, url)
		held, released, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		go func() {
			done <- other.InSchemaTx(t.Context(), func(ctx context.Context) error {
				_, err := other.ExecContext(ctx, "DELETE FROM table0 WHERE id = 99")
				close(held)
				<-released
				return err
			})
		}()
		<-held
		return func() {
			t.Helper()
			close(released)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	}
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	held, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := held.ExecContext(t.Context(), "SELECT pg_advisory_lock($1)", int64(cliLock())); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := held.Close(); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A file that failed has a row in the account, which must not outlive those before it.
func TestDown_AfterAFailure(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, name string) {
		db, files := changing(t, name, "CREATE TABLE things (id integer PRIMARY KEY);\n", "CREATE TABLE more (id integer PRIMARY KEY);\n")
		bad := rewrite(t, files, func(contents map[string]string) { contents["3_more.sql"] = "INSERT INTO absent (id) VALUES (1);\n" })
		failing(t, db, bad)
		down(t, db, bad, "", 1)
		equal(t, "account", query[string](t, t.Context(), db, "SELECT version FROM atlas_schema_revisions ORDER BY version"), []string{"1"})
		equal(t, "applied again", apply(t, db, files), []string{"2_more.sql"})
	})
}

// The account begins with a baseline, as the CLI makes it of a database that was there before. Nobody
// knows what its tables were before that.
func TestDown_IntoABaseline(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		db, files := open(t, url), tables(t, 3)
		apply(t, db, files)
		execute(t, db, "DELETE FROM atlas_schema_revisions WHERE version = '"+versionOf(step(0))+"'")
		execute(t, db, "UPDATE atlas_schema_revisions SET type = 1, applied = 0, total = 0, hash = '' WHERE version = '"+versionOf(step(1))+"'")
		before := dump(t, db)
		for _, to := range []string{versionOf(step(0)), "0"} {
			if _, err := migrator(t, db, files).PlanDown(t.Context(), devOn(t, db), to, 0); err == nil || !strings.Contains(err.Error(), "baseline") {
				t.Errorf("down to %s: %v", to, err)
			}
		}
		equal(t, "schema and account", dump(t, db), before)
		down(t, db, files, versionOf(step(1)), 0)
		equal(t, "applied again", apply(t, db, files), []string{step(2)})
	})
}
