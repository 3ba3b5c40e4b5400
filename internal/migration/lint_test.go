package migration_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"ariga.io/atlas/sql/migrate"
	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/dbtest"
	"github.com/reviewpoint/models/internal/migration"
	"github.com/reviewpoint/models/schema/migrations"
)

// A migration to lint: what was there before, and what is to be found in which line.
type linted struct {
	name   string
	before string
	file   string
	want   string // "LINE CODE", with commas between them
}

// things is a table with rows, as far as anybody knows.
const things = `CREATE TABLE parents (id bigint PRIMARY KEY);
CREATE TABLE things (id bigint PRIMARY KEY, name text NULL, size integer NOT NULL, parent_id bigint NULL, CONSTRAINT things_parent FOREIGN KEY (parent_id) REFERENCES parents (id));
CREATE INDEX things_name ON things (name);
`

func openDev(t testing.TB, name string) *migration.Dev {
	t.Helper()
	url := ""
	if name == dialect.Postgres {
		url = dbtest.Postgres(t)
	}
	dev, err := migration.OpenDev(t.Context(), name, url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	return dev
}

func localFile(name, content string) migrate.File { return migrate.NewLocalFile(name, []byte(content)) }

// folderOf is what the folder of a dialect is called.
func folderOf(name string) string {
	if name == dialect.Postgres {
		return "postgres"
	}
	return "sqlite"
}

// checkLinted lints the files, each on what was before it, and compares what is found.
func checkLinted(t *testing.T, name string, all []linted) {
	t.Helper()
	dev := openDev(t, name)
	for _, test := range all {
		t.Run(test.name, func(t *testing.T) {
			findings, err := migration.LintFrom(dev, t.Context(), []migrate.File{localFile("1_before.sql", test.before), localFile("2_file.sql", test.file)}, 1)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, finding := range findings {
				if finding.Dialect != folderOf(name) || finding.File != "2_file.sql" || finding.Reason == "" || finding.Safer == "" || strings.Contains(finding.Reason+finding.Safer, "\n") {
					t.Errorf("it lacks something: %+v", finding)
				}
				for _, other := range []string{"Try the file on a copy", "Add a pre-migration check"} { // for codes that are not known, and Atlas's
					if strings.HasPrefix(finding.Safer, other) {
						t.Errorf("it says nothing of its own: %+v", finding)
					}
				}
				entry := fmt.Sprintf("%d %s", finding.Line, finding.Code)
				if finding.Allowed != "" {
					entry += " " + finding.Allowed
				}
				got = append(got, entry)
			}
			if got := strings.Join(got, ", "); got != test.want {
				t.Errorf("found %q, want %q in\n%s%+v", got, test.want, test.file, findings)
			}
		})
	}
}

func TestLint_Atlas(t *testing.T) {
	t.Parallel()
	both := []linted{
		{"nothing", things, "CREATE TABLE more (id bigint PRIMARY KEY, name text NOT NULL);\nCREATE UNIQUE INDEX more_name ON more (name);\n", ""},
		{"a nullable column", things, "ALTER TABLE things ADD COLUMN note text NULL;\n", ""},
		{"a column with a default", things, "ALTER TABLE things ADD COLUMN note text NOT NULL DEFAULT 'none';\n", ""},
		{"drop a table", things, "-- It goes.\nDROP TABLE things;\n", "2 DS102"},
		{"drop a table of the file", things, "CREATE TABLE more (id bigint PRIMARY KEY);\nDROP TABLE more;\n", ""},
		{"drop a column", things, "\n\nALTER TABLE things DROP COLUMN size;\n", "3 DS103"},
		{"drop a column of the file", things, "ALTER TABLE things ADD COLUMN note text NULL;\nALTER TABLE things DROP COLUMN note;\n", ""},
		{"NOT NULL without a default", things, "ALTER TABLE things ADD COLUMN note text NOT NULL;\n", "1 MF103"},
		{"rename a table", things, "ALTER TABLE things RENAME TO items;\n", "1 BC101"},
		{"rename a table, with a view", things, "ALTER TABLE things RENAME TO items;\nCREATE VIEW things AS SELECT * FROM items;\n", ""},
		{"rename a table, with another view", things, "ALTER TABLE things RENAME TO items;\nCREATE VIEW stuff AS SELECT id FROM items;\n", "1 BC101"},
		{"rename and drop a table of the file", things, "CREATE TABLE more (id bigint PRIMARY KEY);\nALTER TABLE more RENAME TO most;\nDROP TABLE most;\n", ""},
		{"rename a table of the file", things, "CREATE TABLE more (id bigint PRIMARY KEY, name text);\nALTER TABLE more RENAME TO most;\nCREATE UNIQUE INDEX most_name ON most (name);\n", ""},
		{"rename a column", things, "ALTER TABLE things RENAME COLUMN name TO title;\n", "1 BC102"},
		{"rename a column, without the word", things, "ALTER TABLE \"things\" RENAME \"parent_id\" TO \"owner_id\";\n", "1 BC102"},
		{"change what was renamed", things, "ALTER TABLE things RENAME TO items;\nALTER TABLE items DROP COLUMN size;\n", "1 BC101, 2 DS103"},
		{"two in one file", things, "ALTER TABLE things DROP COLUMN size;\nALTER TABLE things ADD COLUMN note text NOT NULL;\n", "1 DS103, 2 MF103"},
		{"remove all rows", things, "DELETE FROM things;\n", "1 RP108"},
		{"remove some rows", things, "DELETE FROM things WHERE size > 3;\n", ""},
		{"remove what the file has put there", things, "CREATE TABLE more (id bigint PRIMARY KEY);\nDELETE FROM more;\n", ""},
		{"a delimiter of its own", things, "-- atlas:delimiter \\n\\n\n\nSELECT 1\n\nALTER TABLE things DROP COLUMN size\n\nALTER TABLE things ADD COLUMN note text NOT NULL\n", "5 DS103, 7 MF103"},
	}
	sqlite := []linted{
		{"a unique index", things, "CREATE UNIQUE INDEX things_size ON things (size);\n", "1 MF101"},
		{"an index that becomes unique", things, "DROP INDEX things_name;\nCREATE UNIQUE INDEX things_name ON things (name);\n", "2 MF102"},
		{"an index", things, "CREATE INDEX things_size ON things (size);\n", ""},
	}
	postgres := []linted{
		{"a unique index", things, "-- atlas:txmode none\n\nCREATE UNIQUE INDEX CONCURRENTLY things_size ON things (size);\n", "3 MF101"},
		{"an index that becomes unique", things, "-- atlas:txmode none\n\nDROP INDEX CONCURRENTLY IF EXISTS things_name;\nCREATE UNIQUE INDEX CONCURRENTLY things_name ON things (name);\n", "4 MF102"},
		{"drop a foreign key", things, "ALTER TABLE things DROP CONSTRAINT things_parent;\n", "1 CD101"},
		{"rename a constraint", things, "ALTER TABLE things RENAME CONSTRAINT things_parent TO things_owner;\n", ""},
		{"rename an index", things + "CREATE UNIQUE INDEX things_size ON things (size);\n", "ALTER INDEX things_size RENAME TO things_extent;\n", ""},
		{"remove all rows at once", things, "TRUNCATE TABLE ONLY parents, things;\n", "1 RP108, 1 RP108"},
	}
	for name, own := range map[string][]linted{dialect.SQLite: sqlite, dialect.Postgres: postgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checkLinted(t, name, append(append([]linted(nil), both...), own...))
		})
	}
}

// each runs test on both dialects.
func each(t *testing.T, test func(t *testing.T, name string)) {
	t.Helper()
	for _, name := range []string{dialect.SQLite, dialect.Postgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, name)
		})
	}
}

func TestLint_BadFile(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, name string) {
		dev := openDev(t, name)
		for _, from := range []int{0, 1, 2} {
			findings, err := migration.LintFrom(dev, t.Context(), []migrate.File{localFile("1_before.sql", things), localFile("2_bad.sql", "DROP TABLE things;\n\n-- wrong\nALTER TABEL parents ADD COLUMN name text;\n")}, from)
			if err == nil || findings != nil {
				t.Fatalf("found %v without an error", findings)
			}
			for _, want := range []string{"2_bad.sql", "line 4", "TABEL"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not name %q: %v", want, err)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("the error has several lines: %v", err)
			}
		}
	})
}

func TestLint_LeavesNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, name string) {
		db := open(t, empty(t, name))
		apply(t, db, migrations.FS)
		before := dump(t, db)
		dev, err := migration.DevOn(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { dev.Close() })
		for range 2 {
			if _, err := migration.LintFrom(dev, t.Context(), []migrate.File{localFile("1_before.sql", things), localFile("2_file.sql", "DROP TABLE things;\n")}, 0); err != nil {
				t.Fatal(err)
			}
			equal(t, "schema and rows after linting", dump(t, db), before)
		}
	})
}

// landed returns the files of a folder.
func landed(t *testing.T, name string) []migrate.File {
	t.Helper()
	entries, err := migrations.FS.ReadDir(folderOf(name))
	if err != nil {
		t.Fatal(err)
	}
	var files []migrate.File
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), ".sql") {
			continue
		}
		content, err := migrations.FS.ReadFile(folderOf(name) + "/" + entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, localFile(entry.Name(), string(content)))
	}
	return files
}

func TestLint_Landed(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, name string) {
		files := landed(t, name)
		findings, err := migration.LintFrom(openDev(t, name), t.Context(), files, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := migration.Accept(migrations.FS, folderOf(name), files, findings); err != nil {
			t.Error(err)
		}
		for _, finding := range findings {
			if finding.Allowed == "" {
				t.Errorf("it is neither right nor accepted: %+v", finding)
			}
		}
	})
}

func TestLint_Nolint(t *testing.T) {
	t.Parallel()
	const drops = "ALTER TABLE things DROP COLUMN size;\nDROP TABLE things;\n"
	each(t, func(t *testing.T, name string) {
		checkLinted(t, name, []linted{
			{"all of the file", things, "-- atlas:nolint\n\n" + drops, "3 DS103 nolint, 4 DS102 nolint"},
			{"a code", things, "-- atlas:nolint DS103 PG101\n\n" + drops, "3 DS103 nolint, 4 DS102"},
			{"two lines", things, "-- atlas:nolint DS103\n-- atlas:nolint DS102\n\n" + drops, "4 DS103 nolint, 5 DS102 nolint"},
			{"an analyzer", things, "-- atlas:nolint destructive\n\n" + drops, "3 DS103 nolint, 4 DS102 nolint"},
			{"another analyzer", things, "-- atlas:nolint data_depend\n\n" + drops, "3 DS103, 4 DS102"},
			{"a statement", things, "SELECT 1;\n-- Nobody reads it.\n-- atlas:nolint\n" + drops, "4 DS103 nolint, 5 DS102"},
			{"a statement and a code", things, "SELECT 1;\n-- atlas:nolint DS102\n" + drops, "3 DS103, 4 DS102"},
			{"a statement and an analyzer", things, "SELECT 1;\n-- atlas:nolint incompatible destructive\n" + drops, "3 DS103 nolint, 4 DS102"},
			{"no directive", things, "-- Say atlas:nolint where this is right.\n\n-- nolint\n" + drops, "4 DS103, 5 DS102"},
			{"our own rules", things, "SELECT 1;\n-- atlas:nolint reviewpoint\nDELETE FROM things;\n", "3 RP108 nolint"},
		})
	})
}

func TestAccepted(t *testing.T) {
	t.Parallel()
	files := []migrate.File{localFile("1_one.sql", ""), localFile("2_two.sql", "")}
	for _, test := range []struct {
		name, list string
		want       []string // by what the findings PG101, PG101 and DS102 of 1_one.sql and PG101 of 2_two.sql are allowed
		err        string
	}{
		{"empty", "", []string{"", "", "nolint", ""}, ""},
		{"two lines", "# Landed.\n\n  postgres/1_one.sql PG101 it was small\r\npostgres/2_two.sql\tPG101   as well\n", []string{"accepted.txt line 3", "accepted.txt line 3", "nolint", "accepted.txt line 4"}, ""},
		{"allowed already", "postgres/1_one.sql DS102 it was empty\n", []string{"", "", "nolint", ""}, ""},
		{"the other dialect", "sqlite/1_one.sql PG101 it was small\n", []string{"", "", "nolint", ""}, ""},
		{"a file that was not analyzed", "postgres/0_zero.sql PG101 it was small\n", []string{"", "", "nolint", ""}, ""},
		{"no longer found", "\npostgres/2_two.sql DS102 it was empty\n", nil, "accepted.txt line 2: there is no DS102 in postgres/2_two.sql"},
		{"no such file", "postgres/3_three.sql PG101 it was small\n", nil, "accepted.txt line 1: "},
		{"no reason", "\n\npostgres/1_one.sql PG101 \n", nil, "accepted.txt line 3: "},
		{"no code", "postgres/1_one.sql it was small\n", nil, "accepted.txt line 1: "},
		{"no folder", "1_one.sql PG101 it was small\n", nil, "accepted.txt line 1: "},
		{"another folder", "mysql/1_one.sql PG101 it was small\n", nil, "accepted.txt line 1: "},
		{"twice", "postgres/1_one.sql PG101 it was small\npostgres/1_one.sql PG101 it is\n", nil, "accepted.txt line 2 says the same as line 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			list := fstest.MapFS{"accepted.txt": {Data: []byte(test.list)}}
			for _, name := range []string{"postgres/0_zero.sql", "postgres/1_one.sql", "postgres/2_two.sql", "sqlite/1_one.sql"} {
				list[name] = &fstest.MapFile{}
			}
			findings := []migration.Finding{{File: "1_one.sql", Code: "PG101"}, {File: "1_one.sql", Code: "PG101"}, {File: "1_one.sql", Code: "DS102", Allowed: "nolint"}, {File: "2_two.sql", Code: "PG101"}}
			err := migration.Accept(list, "postgres", files, findings)
			if test.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), test.err) {
					t.Errorf("got %v, want %s", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, finding := range findings {
				got = append(got, finding.Allowed)
			}
			equal(t, "allowed by", got, test.want)
		})
	}
	if err := migration.Accept(fstest.MapFS{}, "postgres", files, nil); err != nil {
		t.Errorf("without a list: %v", err)
	}
}
