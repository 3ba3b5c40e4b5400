package migration_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ariga.io/atlas/sql/migrate"
	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/cluster"
	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/dbtest"
	"github.com/reviewpoint/models/internal/migration"
	"github.com/reviewpoint/models/schema/migrations"
)

// A file that names a schema would be tried out on the real tables.
func TestApply_RefusesToLeaveTheSchema(t *testing.T) {
	t.Parallel()
	db := open(t, dbtest.Postgres(t))
	first := map[string]string{"1_log.sql": "CREATE TABLE log (id bigint PRIMARY KEY);\n"}
	apply(t, db, folder(t, first))
	before := dump(t, db)
	for statement, want := range map[string]string{
		"ALTER TABLE public.log ADD COLUMN more text":                     "the schema public",
		`ALTER TABLE "public"."log" ADD COLUMN more text`:                 "the schema public",
		"SELECT setval('public.log_id_seq', 1000)":                        "the schema public",
		"SET search_path = public":                                        "the search_path",
		"SELECT pg_catalog.set_config('search_path', '', false)":          "the search_path",
		"ALTER TABLE log ADD COLUMN more text; COMMIT; DROP TABLE log":    "COMMIT",
		"CREATE TABLE more (id bigint);\nEND;\nDROP TABLE log":            "END",
		"/* why */ rollback":                                              "ROLLBACK",
		"-- atlas:delimiter \\n\\n\n\nSELECT 1; COMMIT; DROP TABLE log\n": "COMMIT",
	} {
		t.Run(statement, func(t *testing.T) {
			files := folder(t, map[string]string{"1_log.sql": first["1_log.sql"], "2_more.sql": statement + ";\n"})
			for name, dev := range map[string]*migration.Dev{"with a look at drift": devOn(t, db), "without": nil} {
				_, err := migrator(t, db, files).Apply(t.Context(), migration.Options{Dev: dev})
				if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "2_more.sql") {
					t.Errorf("%s: error = %v, want one that names %s and the file", name, err, want)
				}
			}
			found, err := migration.Verify(t.Context(), files, nil, []*migration.Dev{devOn(t, db)}, nil)
			if err != nil || len(found) != 1 || !strings.Contains(found[0].What, want) {
				t.Errorf("verify: %v, %v", found, err)
			}
			equal(t, "schema and account", dump(t, db), before)
		})
	}
	// What only looks like it.
	files := folder(t, map[string]string{"1_log.sql": first["1_log.sql"], "2_more.sql": "CREATE VIEW recent AS SELECT l.id, 'made public.' AS publication FROM log l;\n" +
		"CREATE FUNCTION one() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; END;\n"})
	if _, err := migrator(t, db, files).Apply(t.Context(), migration.Options{}); err != nil {
		t.Error(err)
	}
}

// Rows that come between the plan and the lock are not lost without a question.
func TestDown_RowsInBetween(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		db, files := open(t, url), folder(t, map[string]string{"1_log.sql": "CREATE TABLE log (id integer PRIMARY KEY);\n", "2_notes.sql": "CREATE TABLE notes (id integer PRIMARY KEY);\n"})
		apply(t, db, files)
		m := migrator(t, db, files)
		plan, err := m.PlanDown(t.Context(), devOn(t, db), "", 1)
		if err != nil || len(plan.Destroys) != 0 {
			t.Fatalf("plan: %+v, %v", plan, err)
		}
		execute(t, db, "INSERT INTO notes (id) VALUES (1)")
		if err := m.Down(t.Context(), plan, migration.Options{}); err == nil || !strings.Contains(err.Error(), "since it was shown") {
			t.Errorf("error = %v, want that something else is lost now", err)
		}
		if n := query[int](t, t.Context(), db, "SELECT count(*) FROM notes")[0]; n != 1 {
			t.Errorf("%d rows, want the one that was written", n)
		}
	})
}

// Linting the files of somebody else on a throw-away server runs nothing on the machine.
func TestOpenDev_RunsNoPrograms(t *testing.T) {
	t.Parallel()
	dev, err := migration.OpenDev(t.Context(), dialect.Postgres, "")
	if errors.Is(err, cluster.ErrNone) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	if _, err := migration.LintFrom(dev, t.Context(), landed(t, dialect.Postgres), 0); err != nil {
		t.Error(err)
	}
	program := migrate.NewLocalFile("1_program.sql", []byte("COPY (SELECT 1) TO PROGRAM 'true';\n"))
	if _, err := migration.LintFrom(dev, t.Context(), []migrate.File{program}, 0); err == nil || !strings.Contains(err.Error(), "42501") {
		t.Errorf("COPY TO PROGRAM: %v, want insufficient privilege (42501)", err)
	}
}

// PostgreSQL writes some conditions otherwise once they went through a dump: that is no drift.
func TestDrift_AfterARestore(t *testing.T) {
	t.Parallel()
	db := open(t, dbtest.Postgres(t))
	files := folder(t, map[string]string{"1_log.sql": "CREATE TABLE log (id bigint PRIMARY KEY, kind varchar(9), CONSTRAINT log_kind CHECK (kind IN ('a', 'b')));\n"})
	apply(t, db, files)
	definition := query[string](t, t.Context(), db, "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'log_kind'")[0]
	execute(t, db, "ALTER TABLE log DROP CONSTRAINT log_kind, ADD CONSTRAINT log_kind "+definition)
	if again := query[string](t, t.Context(), db, "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'log_kind'")[0]; again == definition {
		t.Skip("this PostgreSQL writes it the same way again")
	}
	different, err := migrator(t, db, files).Drift(t.Context(), devOn(t, db))
	if err != nil || len(different) > 0 {
		t.Errorf("different: %q, %v", different, err)
	}
	execute(t, db, "ALTER TABLE log DROP CONSTRAINT log_kind, ADD CONSTRAINT log_kind CHECK (kind IN ('a', 'b', 'c'))")
	different, err = migrator(t, db, files).Drift(t.Context(), devOn(t, db))
	if err != nil || len(different) != 1 || !strings.Contains(different[0], "log_kind") {
		t.Errorf("different: %q, %v, want the check", different, err)
	}
}

func TestVerify_HalfDone(t *testing.T) {
	t.Parallel()
	db := open(t, dbtest.Postgres(t))
	files := folder(t, map[string]string{
		"1_log.sql":   "CREATE TABLE log (id bigint, kind text);\nINSERT INTO log VALUES (1, 'a'), (1, 'b');\n",
		"2_index.sql": "-- atlas:txmode none\n\nCREATE UNIQUE INDEX CONCURRENTLY log_id ON log (id);\n",
	})
	if _, err := migrator(t, db, files).Apply(t.Context(), migration.Options{}); err == nil {
		t.Fatal("it has not failed")
	}
	found, err := migration.Verify(t.Context(), files, nil, []*migration.Dev{devOn(t, db)}, db)
	if err != nil {
		t.Fatal(err)
	}
	for _, difference := range found {
		if strings.HasPrefix(difference.Where, "database") && strings.Contains(difference.What, "2_index.sql stopped half-way") {
			return
		}
	}
	t.Errorf("verify says nothing of it: %+v", found)
}

// What lies beside the files is not looked at, and a link in the place of atlas.sum is not followed.
func TestFolder_Beside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.CopyFS(dir, migrations.FS); err != nil {
		t.Fatal(err)
	}
	sum, victim := filepath.Join(dir, "sqlite", "atlas.sum"), filepath.Join(t.TempDir(), "victim")
	for _, err := range []error{
		os.Mkdir(filepath.Join(dir, "sqlite", "old"), 0o755), os.WriteFile(filepath.Join(dir, "sqlite", ".x.swp"), []byte("x"), 0o600),
		os.WriteFile(victim, []byte("mine"), 0o600), os.Remove(sum), os.Symlink(victim, sum),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := (migration.Folder{Path: dir}).Hash(); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(victim); err != nil || string(text) != "mine" {
		t.Errorf("the file behind the link: %q, %v", text, err)
	}
	apply(t, sqliteFile(t), os.DirFS(dir))
}

// Another application's index of the name, in a schema that the search_path goes on to, is left alone.
func TestTxmodeNone_IndexOfAnotherSchema(t *testing.T) {
	t.Parallel()
	url := dbtest.Postgres(t)
	admin := open(t, url)
	execute(t, admin, "CREATE SCHEMA ours; CREATE TABLE other (id bigint); INSERT INTO other VALUES (1), (1)")
	if _, err := admin.ExecContext(t.Context(), "CREATE UNIQUE INDEX CONCURRENTLY log_id ON other (id)"); err == nil {
		t.Fatal("it is not invalid")
	}
	db := open(t, withParameter(t, url, "search_path", "ours,public"))
	apply(t, db, folder(t, map[string]string{
		"1_log.sql":   "CREATE TABLE log (id bigint);\n",
		"2_index.sql": "-- atlas:txmode none\n\nCREATE INDEX CONCURRENTLY log_id ON log (id);\n",
	}))
	equal(t, "indexes", query[string](t, t.Context(), admin, "SELECT schemaname || '.' || indexname FROM pg_indexes WHERE indexname = 'log_id' ORDER BY 1"), []string{"ours.log_id", "public.log_id"})
	_, err := migrator(t, db, folder(t, map[string]string{
		"1_log.sql":   "CREATE TABLE log (id bigint);\n",
		"2_index.sql": "-- atlas:txmode none\n\nCREATE INDEX CONCURRENTLY log_id ON log (id);\n",
		"3_index.sql": "-- atlas:txmode none\n\nCREATE INDEX CONCURRENTLY ON log (id);\n",
	})).Apply(t.Context(), migration.Options{})
	if err == nil || !strings.Contains(err.Error(), "give the index a name") {
		t.Errorf("error = %v, want that it has no name", err)
	}
}

// A plan that cannot be written in one folder leaves none in the other.
func TestFolder_WriteFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.CopyFS(dir, migrations.FS); err != nil {
		t.Fatal(err)
	}
	before := listing(t, filepath.Join(dir, "sqlite"))
	taken := filepath.Join(dir, "postgres", "20300101000000_more.sql")
	if err := os.Mkdir(taken, 0o755); err != nil {
		t.Fatal(err)
	}
	more := []migration.Planned{{Dialect: "sqlite", Name: "20300101000000_more.sql", SQL: "SELECT 1;\n"}, {Dialect: "postgres", Name: "20300101000000_more.sql", SQL: "SELECT 1;\n"}}
	if err := (migration.Folder{Path: dir}).Write(more); err == nil {
		t.Fatal("it was written")
	}
	equal(t, "the other folder", listing(t, filepath.Join(dir, "sqlite")), before)
}

// What a file sets for its session does not stay on a connection that others get.
func TestApply_SetsNothingForOthers(t *testing.T) {
	t.Parallel()
	db, err := database.Open(t.Context(), dbtest.Postgres(t), database.Options{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	apply(t, db, folder(t, map[string]string{"1_log.sql": "SET default_transaction_read_only = on;\nSET timezone = 'Asia/Tokyo';\nCREATE TABLE log (id bigint);\n"}))
	if got := query[string](t, t.Context(), db, "SHOW default_transaction_read_only")[0]; got != "off" {
		t.Errorf("default_transaction_read_only is %s", got)
	}
	if got := query[string](t, t.Context(), db, "SHOW timezone")[0]; got != "UTC" {
		t.Errorf("timezone is %s", got)
	}
}

func TestNew_TwoFilesOfOneVersion(t *testing.T) {
	t.Parallel()
	db := sqliteFile(t)
	_, err := migration.New(db, folder(t, map[string]string{"1_log.sql": "CREATE TABLE log (id integer);\n", "1_more.sql": "CREATE TABLE more (id integer);\n"}))
	if err == nil || !strings.Contains(err.Error(), "1_more.sql has the version of 1_log.sql") {
		t.Errorf("error = %v, want both names", err)
	}
}
