package migration_test

import (
	"fmt"
	"strings"
	"testing"

	"ariga.io/atlas/sql/migrate"
	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/dbtest"
	"github.com/reviewpoint/models/internal/migration"
)

// outside is the head of a file that runs in no transaction.
const outside = "-- atlas:txmode none\n\n"

func TestLint_Indexes(t *testing.T) {
	t.Parallel()
	checkLinted(t, dialect.Postgres, []linted{
		{"create", things, "CREATE INDEX things_size ON things (size);\n", "1 PG101"},
		{"create a unique one", things, "CREATE UNIQUE INDEX IF NOT EXISTS things_size ON things (size);\n", "1 MF101, 1 PG101"},
		{"create concurrently", things, outside + "CREATE INDEX CONCURRENTLY things_size ON things (size);\n", ""},
		{"create concurrently in a transaction", things, "CREATE INDEX concurrently things_size ON things (size);\n", "1 PG103"},
		{"create on a table of the file", things, "CREATE TABLE more (id bigint);\nCREATE INDEX more_id ON more (id);\nDROP INDEX more_id;\n", ""},
		{"create what is there", things, "CREATE INDEX IF NOT EXISTS things_name ON things (name);\n", ""},
		{"create on a table renamed", things, "-- atlas:nolint BC101\nALTER TABLE things RENAME TO items;\nCREATE INDEX items_size ON items (size);\n", "2 BC101 nolint, 3 PG101"},
		{"drop", things, "DROP INDEX IF EXISTS things_name;\n", "1 PG102"},
		{"drop concurrently", things, outside + "DROP INDEX CONCURRENTLY things_name;\n", ""},
		{"drop concurrently in a transaction", things, "DROP INDEX CONCURRENTLY things_name;\n", "1 PG103"},
		{"drop with its table", things, "-- atlas:nolint DS102\nDROP TABLE things;\n", "2 DS102 nolint"},
		{"primary key", "CREATE TABLE bare (id bigint NOT NULL);\n", "ALTER TABLE bare ADD PRIMARY KEY (id);\n", "1 PG104"},
		{"primary key of a column that may be NULL", "CREATE TABLE bare (id bigint);\n", "ALTER TABLE bare ADD PRIMARY KEY (id);\n", "1 MF104, 1 PG104"},
		{"primary key of an index", "CREATE TABLE bare (id bigint NOT NULL);\nCREATE UNIQUE INDEX bare_id ON bare (id);\n", "ALTER TABLE bare ADD CONSTRAINT bare_key PRIMARY KEY USING INDEX bare_id;\n", ""},
		{"primary key of an index that may be NULL", "CREATE TABLE bare (id bigint);\nCREATE UNIQUE INDEX bare_id ON bare (id);\n", "ALTER TABLE bare ADD PRIMARY KEY USING INDEX bare_id;\n", "1 MF104, 1 PG304"},
		{"primary key of an index that is checked", "CREATE TABLE bare (id bigint CHECK (id IS NOT NULL));\nCREATE UNIQUE INDEX bare_id ON bare (id);\n", "ALTER TABLE bare ADD PRIMARY KEY USING INDEX bare_id;\n", ""},
		{"unique", things, "ALTER TABLE things ADD CONSTRAINT things_size UNIQUE (size);\n", "1 MF101, 1 PG105"},
		{"unique of an index", things + "CREATE UNIQUE INDEX things_size ON things (size);\n", "ALTER TABLE things ADD CONSTRAINT things_size_key UNIQUE USING INDEX things_size;\n", ""},
		{"unique column", things, "ALTER TABLE things ADD COLUMN code text UNIQUE;\n", "1 PG105"},
		{"unique of a table of the file", things, "CREATE TABLE more (id bigint NOT NULL, code text);\nALTER TABLE more ADD PRIMARY KEY (id), ADD UNIQUE (code);\n", ""},
		{"allowed as Atlas calls it", things, "-- atlas:nolint concurrent_index\n\nCREATE UNIQUE INDEX things_size ON things (size);\n", "3 MF101, 3 PG101 nolint"},
		{"a comment between the words", things, "CREATE /* big */ INDEX things_size ON things (size);\nDROP -- big\nINDEX things_name;\n", "1 PG101, 2 PG102"},
		{"the words in a comment", things, "ALTER TABLE things /* CONCURRENTLY */ ADD COLUMN note text; -- CREATE INDEX x ON things (size)\n", ""},
	})
}

func TestLint_Constraints(t *testing.T) {
	t.Parallel()
	checkLinted(t, dialect.Postgres, []linted{
		{"check", things, "ALTER TABLE things ADD CONSTRAINT things_big CHECK (size > 0);\n", "1 PG305"},
		{"check not valid", things, "ALTER TABLE things ADD CONSTRAINT things_big CHECK (size > 0) NOT VALID;\n", ""},
		{"check not valid beside something else", things, "ALTER TABLE things ADD CONSTRAINT things_big CHECK (size > 0) NOT VALID, ALTER name SET NOT NULL;\n", "1 MF104, 1 PG303"},
		{"validate", things + "ALTER TABLE things ADD CONSTRAINT things_big CHECK (size > 0) NOT VALID;\n", "ALTER TABLE things VALIDATE CONSTRAINT things_big;\n", ""},
		{"validate at once, but outside", things, outside + "ALTER TABLE things ADD CONSTRAINT things_big CHECK (size > 0) NOT VALID;\nALTER TABLE things VALIDATE CONSTRAINT things_big;\n", "3 RP101, 4 RP101"},
		{"check, and then something else", things, "ALTER TABLE things ADD CHECK (size > 0);\nALTER TABLE things ALTER name SET NOT NULL;\n", "1 PG305, 2 MF104, 2 PG303"},
		{"validate at once", things, "ALTER TABLE things ADD CONSTRAINT things_big CHECK (size > 0) NOT VALID;\nALTER TABLE things VALIDATE CONSTRAINT things_big;\n", "2 PG305"},
		{"check on a new column", things, "ALTER TABLE things ADD COLUMN code text CHECK (code <> '');\n", "1 PG305"},
		{"check on a table of the file", things, "CREATE TABLE more (id bigint);\nALTER TABLE more ADD CHECK (id > 0);\n", ""},
		{"change a check", things + "ALTER TABLE things ADD CONSTRAINT things_big CHECK (size > 0);\n", "ALTER TABLE things DROP CONSTRAINT things_big, ADD CONSTRAINT things_big CHECK (size > 1);\n", "1 PG305"},
		{"rename a checked column", things + "ALTER TABLE things ADD CONSTRAINT things_big CHECK (size > 0);\n", "ALTER TABLE things RENAME COLUMN size TO extent;\n", "1 BC102"},
		{"foreign key", things, "ALTER TABLE things ADD CONSTRAINT things_self FOREIGN KEY (parent_id) REFERENCES things (id);\n", "1 PG306"},
		{"foreign key not valid", things, "ALTER TABLE things ADD CONSTRAINT things_self FOREIGN KEY (parent_id) REFERENCES things (id) NOT VALID;\n", ""},
		{"foreign key validated at once", things, "ALTER TABLE things ADD CONSTRAINT things_self FOREIGN KEY (parent_id) REFERENCES things (id) NOT VALID;\nALTER TABLE things VALIDATE CONSTRAINT things_self;\n", "2 PG306"},
		{"foreign key of an empty column", things, "ALTER TABLE things ADD COLUMN self_id bigint REFERENCES things (id);\n", ""},
		{"foreign key of a filled column", things, "ALTER TABLE things ADD COLUMN self_id bigint DEFAULT 1 REFERENCES things (id);\n", "1 PG306"},
		{"foreign key of a table of the file", things, "CREATE TABLE more (id bigint, thing_id bigint);\nALTER TABLE more ADD FOREIGN KEY (thing_id) REFERENCES things (id);\n", ""},
		{"change a foreign key", things, "ALTER TABLE things DROP CONSTRAINT things_parent, ADD CONSTRAINT things_parent FOREIGN KEY (parent_id) REFERENCES parents (id) ON DELETE CASCADE;\n", "1 PG306"},
		{"not null", things, "ALTER TABLE things ALTER COLUMN name SET NOT NULL;\n", "1 MF104, 1 PG303"},
		{"not null after filling", things, "UPDATE things SET size = 1, name = '' WHERE name IS NULL;\nALTER TABLE things ALTER COLUMN name SET NOT NULL;\n", "2 PG303"},
		{"not null after filling some", things, "UPDATE things SET name = '' WHERE name IS NULL AND size > 0;\nALTER TABLE things ALTER COLUMN name SET NOT NULL;\n", "2 MF104, 2 PG303"},
		{"not null where it is checked", things + "ALTER TABLE things ADD CHECK (length(name) > 1 AND name IS NOT NULL);\n", "ALTER TABLE things ALTER COLUMN name SET NOT NULL;\n", ""},
		{"not null where it is checked, but not validated", things + "ALTER TABLE things ADD CHECK (name IS NOT NULL) NOT VALID;\n", "ALTER TABLE things ALTER COLUMN name SET NOT NULL;\n", "1 MF104, 1 PG303"},
		{"not null that was so", things, "ALTER TABLE things ALTER COLUMN size SET NOT NULL;\n", ""},
		{"not null in a table of the file", things, "CREATE TABLE more (id bigint);\nALTER TABLE more ALTER COLUMN id SET NOT NULL;\n", ""},
	})
}

func TestLint_Defaults(t *testing.T) {
	t.Parallel()
	checkLinted(t, dialect.Postgres, []linted{
		{"constant", things, "ALTER TABLE things ADD COLUMN code text NOT NULL DEFAULT lower('X');\n", ""},
		{"the transaction's time", things, "ALTER TABLE things ADD COLUMN made_at timestamptz NOT NULL DEFAULT now();\n", ""},
		{"the clock's time", things, "ALTER TABLE things ADD COLUMN made_at timestamptz NOT NULL DEFAULT clock_timestamp();\n", "1 PG302"},
		{"random", things, "ALTER TABLE things ADD COLUMN public_id uuid NOT NULL DEFAULT gen_random_uuid();\n", "1 PG302"},
		{"default set afterwards", things, "ALTER TABLE things ADD COLUMN public_id uuid NULL;\nALTER TABLE things ALTER COLUMN public_id SET DEFAULT gen_random_uuid();\n", ""},
		{"identity", things, "ALTER TABLE things ADD COLUMN number bigint GENERATED BY DEFAULT AS IDENTITY;\n", "1 PG302"},
		{"serial", things, "ALTER TABLE things ADD COLUMN number bigserial;\n", "1 PG302"},
		{"generated", things, "ALTER TABLE things ADD COLUMN twice integer GENERATED ALWAYS AS (size * 2) STORED;\n", "1 PG302"},
		{"domain", things + "CREATE DOMAIN positive AS integer DEFAULT random() CHECK (VALUE > 0);\n", "ALTER TABLE things ADD COLUMN code positive;\n", "1 PG302"},
		{"to a table of the file", things, "CREATE TABLE more (id bigint);\nALTER TABLE more ADD COLUMN public_id uuid NOT NULL DEFAULT gen_random_uuid();\n", ""},
		{"unlogged", things, "ALTER TABLE parents SET LOGGED;\nALTER TABLE things SET UNLOGGED;\n", "2 RP106"},
	})
}

func TestLint_Outside(t *testing.T) {
	t.Parallel()
	const (
		one = "CREATE INDEX CONCURRENTLY things_size ON things (size);\n"
		two = "CREATE INDEX CONCURRENTLY things_both ON things (size, name);\n"
	)
	checkLinted(t, dialect.SQLite, []linted{
		{"pragmas and one statement", things, outside + "PRAGMA foreign_keys = off;\nALTER TABLE things ADD COLUMN note text;\n", "4 RP101"},
	})
	checkLinted(t, dialect.Postgres, []linted{
		{"one that could be inside", things, outside + "ALTER TABLE things ADD COLUMN note text;\n", ""},
		{"two", things, outside + one + two, "4 RP101"},
		{"drop what failed, and create", things, outside + "DROP INDEX CONCURRENTLY IF EXISTS things_size;\n" + one, ""},
		{"two, and one that may run again", things, outside + one + two + "DROP INDEX CONCURRENTLY IF EXISTS things_name;\n", "4 RP101"},
		{"create if it is not there, twice", things, outside + strings.ReplaceAll(one+two, "CONCURRENTLY", "CONCURRENTLY IF NOT EXISTS"), ""},
		{"one of them could be inside", things, outside + "ALTER TABLE things ADD COLUMN IF NOT EXISTS note text;\n" + one, "3 RP101"},
		{"a setting", things, outside + "SET lock_timeout = '5s';\n" + one, ""},
		{"inside", things, "ALTER TABLE things ADD COLUMN note text;\nALTER TABLE things ADD COLUMN more text;\n", ""},
	})
}

// retyped is a change of a column's type, what PostgreSQL's documentation of ALTER TABLE says of it,
// and whether values may not fit.
var retyped = []struct {
	from, to        string
	rewrites, loses bool
}{
	// "Adding or removing the length restriction does not need it", nor does a wider one.
	{"varchar(10)", "varchar(20)", false, false},
	{"varchar(10)", "varchar", false, false},
	{"varchar(10)", "text", false, false},
	{"text", "varchar", false, false},
	{"varchar(20)", "varchar(10)", true, true},
	{"text", "varchar(10)", true, true},
	{"char(10)", "varchar(10)", true, false},
	{"numeric(10,2)", "numeric(12,2)", false, false},
	{"numeric(10,2)", "numeric", false, false},
	{"numeric(10,2)", "numeric(12,4)", true, false},
	{"numeric(10,2)", "numeric(11,4)", true, true},
	{"numeric(12,2)", "numeric(10,2)", true, true},
	{"numeric(10,4)", "numeric(12,2)", true, true},
	{"numeric", "numeric(10,2)", true, true},
	{"timestamptz(3)", "timestamptz(6)", false, false},
	{"timestamptz(3)", "timestamptz", false, false},
	{"timestamptz", "timestamptz(3)", true, true},
	{"timestamp(3)", "timestamp", false, false},
	{"timestamp", "timestamptz", true, false},
	{"timestamptz", "timestamp", true, true},
	{"timestamptz", "date", true, true},
	{"timestamp", "date", true, true},
	{"date", "timestamptz", true, false},
	{"time", "time(3)", true, true},
	{"smallint", "integer", true, false},
	{"integer", "bigint", true, false},
	{"bigint", "integer", true, true},
	{"integer", "numeric", true, false},
	{"integer", "numeric(12,2)", true, false},
	{"integer", "numeric(10,2)", true, true},
	{"numeric(9,0)", "integer", true, false},
	{"numeric(10,0)", "integer", true, true},
	{"numeric(9,2)", "integer", true, true},
	{"integer", "double precision", true, false},
	{"bigint", "double precision", true, true},
	{"integer", "real", true, true},
	{"double precision", "integer", true, true},
	{"double precision", "real", true, true},
	{"real", "double precision", true, false},
	{"double precision", "numeric", true, true},
	{"numeric", "double precision", true, true},
	{"integer", "text", true, false},
	{"integer", "varchar(11)", true, false},
	{"bigint", "varchar(11)", true, true},
	{"uuid", "text", true, false},
	{"uuid", "varchar(36)", true, false},
	{"uuid", "varchar(35)", true, true},
	{"boolean", "integer", true, false},
	{"integer", "boolean", true, true},
	{"json", "jsonb", true, false},
	{"jsonb", "text", true, false},
	{"text", "jsonb", true, true},
	{"inet", "cidr", true, false},
	{"cidr", "inet", false, false},
	{"bytea", "text", true, false},
}

// setType is the statement that changes the type of a column.
func setType(table, column, to string) string {
	using := ""
	if to == "boolean" || to == "jsonb" || to == "integer" {
		using = fmt.Sprintf(" USING %s::%s", column, to)
	}
	return fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s SET DATA TYPE %s%s;\n", table, column, to, using)
}

func TestLint_Types(t *testing.T) {
	t.Parallel()
	columns, file, codes := make([]string, len(retyped)), "", []string(nil)
	for i, change := range retyped {
		column := fmt.Sprintf("value_%d", i)
		columns[i] = column + " " + change.from
		file += setType("typed", column, change.to)
		if change.rewrites {
			codes = append(codes, fmt.Sprintf("%d PG301", i+1))
		}
		if change.loses {
			codes = append(codes, fmt.Sprintf("%d RP102", i+1))
		}
	}
	checkLinted(t, dialect.Postgres, []linted{
		{"all", "CREATE TABLE typed (" + strings.Join(columns, ", ") + ");\n", file, strings.Join(codes, ", ")},
		{"a table of the file", things, "CREATE TABLE more (id bigint);\nALTER TABLE more ALTER id TYPE integer;\n", ""},
		{"a column that is NOT NULL", things, "ALTER TABLE things ALTER size TYPE bigint;\n", "1 PG301"},
		{"a column called type", "CREATE TABLE typed (type integer);\n", "ALTER TABLE typed ALTER type SET DEFAULT 1, ADD COLUMN public_id uuid DEFAULT gen_random_uuid();\n", "1 PG302"},
		{"an index is built anew", things, "ALTER TABLE things ALTER name TYPE text COLLATE \"C\";\n", "1 PG301"},
		{"the index of a constraint is built anew", "CREATE TABLE typed (value text UNIQUE);\n", "ALTER TABLE typed ALTER value TYPE text COLLATE \"C\";\n", "1 PG301"},
		{"an index is kept", "CREATE TABLE typed (value varchar(10) UNIQUE);\n", "ALTER TABLE typed ALTER value TYPE varchar(20);\n", ""},
		{"a check is tried again", "CREATE TABLE typed (value varchar(10) CHECK (value <> ''));\n", "ALTER TABLE typed ALTER value TYPE varchar(20);\n", "1 PG305"},
		{"a check is tried later", "CREATE TABLE typed (value varchar(10) CONSTRAINT filled CHECK (value <> ''));\n", "ALTER TABLE typed DROP CONSTRAINT filled, ALTER value TYPE varchar(20), ADD CONSTRAINT filled CHECK (value <> '') NOT VALID;\n", ""},
		{"a partial index is built anew", "CREATE TABLE typed (value varchar(10), old boolean);\nCREATE INDEX typed_value ON typed (value) WHERE NOT old;\n", "ALTER TABLE typed ALTER value TYPE varchar(20);\n", "1 PG301"},
		{"a check is tried while writing", "CREATE TABLE typed (value integer CHECK (value > 0) UNIQUE);\n", "ALTER TABLE typed ALTER value TYPE bigint;\n", "1 PG301"},
		{"a check is added as well", "CREATE TABLE typed (value integer CONSTRAINT positive CHECK (value > 0));\n", "ALTER TABLE typed ALTER value TYPE bigint, DROP CONSTRAINT positive, ADD CONSTRAINT positive CHECK (value > 1);\n", "1 PG301, 1 PG305"},
		{"a default as well", "CREATE TABLE typed (value integer);\n", "ALTER TABLE typed ALTER value TYPE bigint, ADD COLUMN public_id uuid DEFAULT gen_random_uuid();\n", "1 PG301, 1 PG302"},
	})
}

// The rules rest on what PostgreSQL does in the transaction that lints. This asks it elsewhere: on a
// table that is there and has a row, and by the locks that others would wait for.
func TestLint_RulesAreTrue(t *testing.T) {
	t.Parallel()
	db := open(t, dbtest.Postgres(t)+"&timezone=Europe/Berlin")
	execute(t, db, things)
	for i, change := range retyped {
		name := fmt.Sprintf("typed_%d", i)
		execute(t, db, fmt.Sprintf("CREATE TABLE %s (value %s); INSERT INTO %s (value) VALUES (NULL)", name, change.from, name))
		node := func() string {
			return query[string](t, t.Context(), db, "SELECT pg_relation_filenode($1)::text", name)[0]
		}
		before := node()
		execute(t, db, setType(name, "value", change.to))
		if rewritten := node() != before; rewritten != change.rewrites {
			t.Errorf("from %s to %s: written anew is %t, want %t", change.from, change.to, rewritten, change.rewrites)
		}
	}
	for _, test := range []struct{ statement, lock string }{
		{"CREATE INDEX things_size ON things (size)", "ShareLock"},
		{"DROP INDEX things_name", "AccessExclusiveLock"},
		{"ALTER TABLE things ADD UNIQUE (size)", "AccessExclusiveLock"},
		{"ALTER TABLE things DROP CONSTRAINT things_pkey, ADD PRIMARY KEY (id)", "AccessExclusiveLock"},
		{"ALTER TABLE things ALTER size TYPE bigint", "AccessExclusiveLock"},
		{"ALTER TABLE things ADD COLUMN public_id uuid DEFAULT gen_random_uuid()", "AccessExclusiveLock"},
		{"ALTER TABLE things ALTER name SET NOT NULL", "AccessExclusiveLock"},
		{"ALTER TABLE things ADD CHECK (size > 0)", "AccessExclusiveLock"},
		{"ALTER TABLE things ADD FOREIGN KEY (parent_id) REFERENCES parents (id)", "ShareRowExclusiveLock"},
		{"ALTER TABLE things VALIDATE CONSTRAINT things_parent", "ShareUpdateExclusiveLock"}, // reads and writes go on
	} {
		ctx, undo := db.Rollback(t.Context())
		if _, err := db.ExecContext(ctx, test.statement); err != nil {
			t.Fatalf("%s: %v", test.statement, err)
		}
		locks := strings.Join(query[string](t, ctx, db, "SELECT mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'things'::regclass"), " ")
		if !strings.Contains(" "+locks+" ", " "+test.lock+" ") {
			t.Errorf("%s takes %s, not %s", test.statement, locks, test.lock)
		}
		if err := undo(); err != nil {
			t.Fatal(err)
		}
	}
}

// rebuilt is a table of SQLite with ids that count, and a file that makes it anew.
const (
	rebuilt = "CREATE TABLE `things` (`id` integer NOT NULL PRIMARY KEY AUTOINCREMENT, `name` text NULL, `size` real NOT NULL);\n"
	carry   = "INSERT INTO sqlite_sequence (name, seq) SELECT 'new_things', seq FROM sqlite_sequence WHERE name = 'things';\n"
	remade  = "CREATE TABLE `new_things` (`id` integer NOT NULL PRIMARY KEY AUTOINCREMENT, `name` text NULL, `size` real NOT NULL, `note` text NULL);\n"
	copied  = "INSERT INTO `new_things` (`id`, `name`, `size`) SELECT `id`, `name`, `size` FROM `things`;\n"
	replace = "DROP TABLE `things`;\nALTER TABLE `new_things` RENAME TO `things`;\n"
)

func TestLint_Rebuild(t *testing.T) {
	t.Parallel()
	const (
		trigger = "CREATE TRIGGER things_kept BEFORE DELETE ON things WHEN OLD.id = 1 BEGIN SELECT RAISE(ABORT, 'kept'); END;\n"
		off     = "PRAGMA foreign_keys = off;\n"
	)
	checkLinted(t, dialect.SQLite, []linted{
		{"right", rebuilt, off + carry + remade + copied + replace, ""},
		{"the highest id is forgotten", rebuilt, off + remade + copied + replace, "2 RP103"},
		{"the highest id is carried too late", rebuilt, remade + copied + carry + replace, "1 RP103"},
		{"no id counts", strings.ReplaceAll(rebuilt, "AUTOINCREMENT", ""), strings.ReplaceAll(remade+copied+replace, "AUTOINCREMENT", ""), ""},
		{"another name", rebuilt, strings.ReplaceAll(carry+remade+copied+replace, "new_things", "things_2"), ""},
		{"a table of the file", "SELECT 1;\n", rebuilt + remade + "DROP TABLE things;\nALTER TABLE new_things RENAME TO things;\n", ""},
		{"the trigger is forgotten", rebuilt + trigger, carry + remade + copied + replace, "2 RP104"},
		{"the trigger is made again", rebuilt + trigger, carry + remade + copied + replace + trigger, ""},
		{"the trigger goes on purpose", rebuilt + trigger, "DROP TRIGGER things_kept;\n" + carry + remade + copied + replace, ""},
		{"the trigger of another table", rebuilt + "CREATE TABLE others (id integer);\n" + strings.ReplaceAll(trigger, "things", "others"), carry + remade + copied + replace, ""},
		{"the trigger of another table goes", rebuilt + "CREATE TABLE others (id integer);\n" + strings.ReplaceAll(trigger, "things", "others"), carry + remade + copied + replace + "DROP TRIGGER others_kept;\n", ""},
		{"a column is not copied", rebuilt, carry + remade + "INSERT INTO new_things (id, size) SELECT id, size FROM things;\n" + replace, "2 RP105"},
		{"nothing is copied", rebuilt, carry + remade + replace, "2 RP105"},
		{"all is copied", rebuilt, carry + remade + "INSERT INTO new_things SELECT *, NULL FROM things;\n" + replace, ""}, //nolint:unqueryvet // The star is what is tried.
		{"in two parts", rebuilt, carry + remade + "INSERT INTO new_things (\"id\", `size`, [name]) SELECT id, size, name FROM things WHERE id < 5;\nREPLACE INTO new_things (id, size, name) SELECT id, size, name FROM things;\n" + replace, ""},
		{"a column is dropped", rebuilt, carry + strings.Replace(remade, "`name` text NULL, ", "", 1) + "INSERT INTO new_things (id, size) SELECT id, size FROM things;\n" + replace, "2 DS103"},
		{"a column becomes NOT NULL", rebuilt, carry + strings.Replace(remade, "`name` text NULL", "`name` text NOT NULL", 1) + copied + replace, "2 LT101"},
		{"a column becomes NOT NULL after filling", rebuilt, "UPDATE things SET name = '' WHERE name IS NULL;\n" + carry + strings.Replace(remade, "`name` text NULL", "`name` text NOT NULL", 1) + copied + replace, ""},
		{"a column becomes NOT NULL while copying", rebuilt, carry + strings.Replace(remade, "`name` text NULL", "`name` text NOT NULL", 1) + strings.Replace(copied, "SELECT `id`, `name`", "SELECT `id`, IFNULL(`name`, '')", 1) + replace, ""},
		{"a new column is NOT NULL", rebuilt, carry + strings.Replace(remade, "`note` text NULL", "`note` text NOT NULL", 1) + copied + replace, "2 MF103"},
		{"a new column is filled", rebuilt, carry + strings.Replace(remade, "`note` text NULL", "`note` text NOT NULL", 1) + strings.NewReplacer("`size`) SELECT", "`size`, `note`) SELECT", "`size` FROM", "`size`, '' FROM").Replace(copied) + replace, ""},
		{"a type that loses", rebuilt, carry + strings.Replace(remade, "`size` real", "`size` integer", 1) + copied + replace, "2 RP102"},
		{"a length that loses", rebuilt, carry + strings.Replace(remade, "`name` text", "`name` varchar(10)", 1) + copied + replace, "2 RP102"},
		{"a type that is the same by another name", strings.Replace(rebuilt, "`size` real", "`size` double", 1), carry + remade + copied + replace, ""},
		{"a type that does not", rebuilt, carry + strings.Replace(remade, "`size` real", "`size` double", 1) + copied + replace, ""},
		{"an index that is made again", rebuilt + "CREATE UNIQUE INDEX things_name ON things (name);\n", carry + remade + copied + replace + "CREATE UNIQUE INDEX things_name ON things (name);\n", ""},
		{"an index that becomes unique", rebuilt + "CREATE INDEX things_name ON things (name);\n", carry + remade + copied + replace + "CREATE UNIQUE INDEX things_name ON things (name);\n", "6 MF102"},
		{"a new table whose name begins alike", rebuilt, "CREATE TABLE new_parts (id integer, name text);\nCREATE UNIQUE INDEX parts_name ON new_parts (name);\nSELECT 1;\nSELECT 2;\nSELECT 3;\n", ""},
		{"allowed", rebuilt, "-- atlas:nolint RP103 DS103\n" + strings.Replace(remade, "`name` text NULL, ", "", 1) + "INSERT INTO new_things (id, size) SELECT id, size FROM things;\n" + replace, "2 DS103 nolint, 2 RP103 nolint"},
	})
}

// The safer way that RP103 tells keeps ids of deleted rows from being given again, and the other does not.
func TestLint_SaferRebuild(t *testing.T) {
	t.Parallel()
	before := rebuilt + "INSERT INTO things (name, size) VALUES ('a', 1), ('b', 2), ('c', 3);\nDELETE FROM things WHERE id > 1;\n"
	findings, err := migration.LintFrom(openDev(t, dialect.SQLite), t.Context(), []migrate.File{localFile("1_before.sql", before), localFile("2_rebuild.sql", remade+copied+replace)}, 1)
	if err != nil || len(findings) != 1 || findings[0].Code != "RP103" {
		t.Fatalf("found %+v, %v", findings, err)
	}
	_, safer, _ := strings.Cut(findings[0].Safer, ": ")
	for _, test := range []struct {
		name, file string
		want       int
	}{{"as it was", remade + copied + replace, 2}, {"the safer way", safer + "\n" + remade + copied + replace, 4}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			db := sqliteFile(t)
			execute(t, db, before)
			execute(t, db, test.file) // as it stands: Apply would carry the ids on by itself
			execute(t, db, "INSERT INTO things (name, size) VALUES ('d', 4)")
			if got := query[int](t, t.Context(), db, "SELECT max(id) FROM things")[0]; got != test.want {
				t.Errorf("the next id is %d, want %d", got, test.want)
			}
		})
	}
}

// What Atlas cannot compare is said, and the rest is looked at all the same.
func TestLint_Incomparable(t *testing.T) {
	t.Parallel()
	checkLinted(t, dialect.Postgres, []linted{
		{"a column becomes generated", things, "ALTER TABLE things DROP COLUMN size, ADD COLUMN size integer GENERATED ALWAYS AS (1) STORED, ADD CHECK (id > 0);\n", "1 PG305, 1 RP106, 1 RP107"},
	})
}

// A server that counts no scans makes lint say more, not less.
func TestLint_Uncounted(t *testing.T) {
	t.Parallel()
	db := open(t, dbtest.Postgres(t)+"&options=-c%20track_counts%3Doff")
	dev, err := migration.DevOn(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	findings, err := migration.LintFrom(dev, t.Context(), []migrate.File{localFile("1_before.sql", things), localFile("2_file.sql", "ALTER TABLE things ALTER name SET NOT NULL, ADD CHECK (size > 0);\n")}, 1)
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	for _, finding := range findings {
		codes = append(codes, finding.Code)
	}
	equal(t, "codes", codes, []string{"MF104", "PG303", "PG305"})
}
