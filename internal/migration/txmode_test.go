package migration_test

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/dbtest"
	"github.com/reviewpoint/models/internal/migration"
)

const (
	thingsFile = "1_things.sql"
	aloneFile  = "2_alone.sql"

	// Its second statement fails: two things have one name.
	threeIndexes = "CREATE INDEX CONCURRENTLY things_size ON things (size);\n" +
		"CREATE UNIQUE INDEX CONCURRENTLY \"things_name\" ON things (name);\n" +
		"CREATE INDEX CONCURRENTLY IF NOT EXISTS things_both ON things (name, size);\n"

	threeNames = "SELECT relname FROM pg_class JOIN pg_index ON indexrelid = oid WHERE indisvalid AND relname LIKE 'things!_%' ESCAPE '!' AND NOT indisprimary ORDER BY 1"
	notValid   = "SELECT relname FROM pg_class JOIN pg_index ON indexrelid = oid WHERE NOT indisvalid"
)

// alone is a folder of a table with rows, and of a file marked txmode none.
func alone(t testing.TB, statements string) fstest.MapFS {
	t.Helper()
	return folder(t, map[string]string{
		thingsFile: "CREATE TABLE things (id bigint PRIMARY KEY, name text NOT NULL, size bigint NOT NULL);\n" +
			"INSERT INTO things (id, name, size) VALUES (1, 'a', 1), (2, 'a', 2);\nCREATE INDEX things_old ON things (size);\n",
		aloneFile: "-- atlas:txmode none\n\n" + statements,
	})
}

// recorder notes the statements that change indexes.
type recorder struct {
	mu   sync.Mutex
	said []string
	asks int // for the lock
}

func (r *recorder) before(query string, _ []driver.NamedValue) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if strings.Contains(query, " INDEX CONCURRENTLY ") {
		r.said = append(r.said, strings.TrimSuffix(query, ";"))
	}
	if strings.Contains(query, "advisory") {
		r.asks++
	}
}

func (r *recorder) asked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asks
}

func recorded(t testing.TB, url string) (*database.DB, *recorder) {
	t.Helper()
	r := &recorder{}
	db, err := database.Open(t.Context(), url, database.Options{Before: r.before})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db, r
}

// failing applies a folder, and returns the text of the error that it must end with.
func failing(t testing.TB, db *database.DB, files fs.FS) string {
	t.Helper()
	_, err := migrator(t, db, files).Apply(t.Context(), migration.Options{})
	if err == nil {
		t.Fatal("it was applied, and should have failed")
	}
	return err.Error()
}

// statusOf is where a file stands.
func statusOf(t testing.TB, db *database.DB, files fs.FS, name string) migration.File {
	t.Helper()
	status, err := migrator(t, db, files).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range status {
		if file.Name == name {
			return file
		}
	}
	t.Fatalf("there is no file %s", name)
	return migration.File{}
}

func TestTxmodeNone_Applied(t *testing.T) {
	t.Parallel()
	db := open(t, dbtest.Postgres(t))
	files := alone(t, "CREATE INDEX CONCURRENTLY things_size ON things (size);\nDROP INDEX CONCURRENTLY things_old;\nVACUUM things;\n")
	equal(t, "applied", apply(t, db, files), []string{thingsFile, aloneFile})
	equal(t, "indexes", query[string](t, t.Context(), db, threeNames), []string{"things_size"})
	checkAccount(t, db, []string{thingsFile, aloneFile})
	equal(t, "applied again", apply(t, db, files), nil)
}

// SQLite has no statement that needs it.
func TestTxmodeNone_SQLite(t *testing.T) {
	t.Parallel()
	db := sqliteFile(t)
	const good = "INSERT INTO things (id, name, size) VALUES (3, 'c', 3);\n"
	failing(t, db, alone(t, good+"INSERT INTO absent (id) VALUES (1);\n"))
	equal(t, "rows of the file that failed", query[string](t, t.Context(), db, "SELECT name FROM things WHERE id = 3"), nil)
	equal(t, "applied after mending", apply(t, db, alone(t, good)), []string{aloneFile})
	equal(t, "rows", query[string](t, t.Context(), db, "SELECT name FROM things WHERE id = 3"), []string{"c"})
	checkAccount(t, db, []string{thingsFile, aloneFile})
}

func TestTxmodeNone_FailsHalfway(t *testing.T) {
	t.Parallel()
	db, said := recorded(t, dbtest.Postgres(t))
	files := alone(t, threeIndexes)
	err := failing(t, db, files)
	for _, want := range []string{aloneFile, "line 4", "what it did before is kept"} {
		if !strings.Contains(err, want) {
			t.Errorf("the error does not say %q: %s", want, err)
		}
	}
	if f := statusOf(t, db, files, aloneFile); !f.Pending() || f.Failed == "" || f.FailedAt.IsZero() || f.Done != 1 || f.Total != 3 {
		t.Errorf("status: %+v", f)
	}
	equal(t, "indexes that are not valid", query[string](t, t.Context(), db, notValid), []string{"things_name"})
	failing(t, db, files)
	if f := statusOf(t, db, files, aloneFile); f.Done != 1 {
		t.Errorf("status after another attempt: %+v", f)
	}

	execute(t, db, "UPDATE things SET name = 'b' WHERE id = 2")
	said.said = nil
	equal(t, "applied after mending", apply(t, db, files), []string{aloneFile})
	equal(t, "statements", said.said, []string{
		"DROP INDEX CONCURRENTLY \"things_name\"",
		"CREATE UNIQUE INDEX CONCURRENTLY \"things_name\" ON things (name)",
		"CREATE INDEX CONCURRENTLY IF NOT EXISTS things_both ON things (name, size)",
	})
	equal(t, "indexes", query[string](t, t.Context(), db, threeNames), []string{"things_both", "things_name", "things_old", "things_size"})
	equal(t, "indexes that are not valid", query[string](t, t.Context(), db, notValid), nil)
	checkAccount(t, db, []string{thingsFile, aloneFile})
}

// A process was killed after a statement was done and before the account said so.
func TestTxmodeNone_DoneButNotAccountedFor(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ statements, byHand string }{
		"made":    {"CREATE UNIQUE INDEX CONCURRENTLY things_name ON things (name);\n", "CREATE UNIQUE INDEX things_name ON things (name)"},
		"dropped": {"DROP INDEX CONCURRENTLY things_old;\n", "DROP INDEX things_old"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := dbtest.Postgres(t)
			db, said := recorded(t, url)
			files := alone(t, test.statements+"CREATE INDEX CONCURRENTLY things_size ON things (size);\n")
			begun(t, url, files)
			execute(t, db, "UPDATE things SET name = 'b' WHERE id = 2")
			execute(t, db, test.byHand)
			said.said = nil
			equal(t, "applied", apply(t, db, files), []string{aloneFile})
			equal(t, "statements", said.said, []string{"CREATE INDEX CONCURRENTLY things_size ON things (size)"})
			checkAccount(t, db, []string{thingsFile, aloneFile})
		})
	}
}

// begun leaves a file as a process does that is killed before it has done any of its statements.
func begun(t *testing.T, url string, files fstest.MapFS) {
	t.Helper()
	db := open(t, url)
	if _, err := migrator(t, db, files).Apply(t.Context(), migration.Options{To: "1"}); err != nil {
		t.Fatal(err)
	}
	execute(t, db, `INSERT INTO atlas_schema_revisions (version, description, type, applied, total, executed_at, execution_time, hash, partial_hashes, operator_version)
		VALUES ('2', 'alone', 2, 0, 2, CURRENT_TIMESTAMP, 0, '', 'null', 'reviewpoint')`)
	if f := statusOf(t, db, files, aloneFile); !f.Pending() || f.Failed == "" || f.Done != 0 || f.Total == 0 {
		t.Fatalf("status of a file that has only begun: %+v", f)
	}
}

// What has begun may have been done; what comes behind it was not.
func TestTxmodeNone_OnlyTheNextMayBeDone(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		statements, want string
	}{
		"an index of the name of another one":          {"CREATE INDEX CONCURRENTLY things_size ON things (size);\nCREATE INDEX CONCURRENTLY things_old ON things (name);\n", "things_old"},
		"an index that is not there cannot be dropped": {"CREATE INDEX CONCURRENTLY things_size ON things (size);\nDROP INDEX CONCURRENTLY things_absent;\n", "things_absent"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := dbtest.Postgres(t)
			db, files := open(t, url), alone(t, test.statements)
			begun(t, url, files)
			_, err := migrator(t, db, files).Apply(t.Context(), migration.Options{})
			switch {
			case test.want == "" && err != nil:
				t.Fatal(err)
			case test.want == "":
				equal(t, "indexes", query[string](t, t.Context(), db, threeNames), []string{"things_size"})
			case err == nil:
				t.Fatalf("%s was passed over", test.want)
			}
		})
	}
}

// Nobody has begun it, so what is there is somebody else's.
func TestTxmodeNone_NotBegun(t *testing.T) {
	t.Parallel()
	db := open(t, dbtest.Postgres(t))
	files := alone(t, "CREATE INDEX CONCURRENTLY things_old ON things (name);\n")
	failing(t, db, files)
	if f := statusOf(t, db, files, aloneFile); f.Done != 0 || f.Total != 1 || f.Failed == "" {
		t.Errorf("status: %+v", f)
	}
}

func refusedAsEdited(t *testing.T, db *database.DB, files fstest.MapFS) {
	t.Helper()
	for range 2 {
		if _, err := migrator(t, db, files).Apply(t.Context(), migration.Options{}); !errors.Is(err, migration.ErrEdited) {
			t.Errorf("error = %v, want ErrEdited", err)
		}
	}
}

// It has as many statements now as were done.
func TestTxmodeNone_EditedToFewer(t *testing.T) {
	t.Parallel()
	db := open(t, dbtest.Postgres(t))
	failing(t, db, alone(t, threeIndexes))
	before := dump(t, db)
	refusedAsEdited(t, db, alone(t, "CREATE INDEX CONCURRENTLY things_id ON things (id);\n"))
	equal(t, "contents", dump(t, db), before)
}

func TestTxmodeNone_EditedHalfway(t *testing.T) {
	t.Parallel()
	url := dbtest.Postgres(t)
	db := open(t, url)
	failing(t, db, alone(t, threeIndexes))
	for name, edited := range map[string]string{
		"another statement":     strings.Replace(threeIndexes, "(size)", "(size, id)", 1),
		"one statement before":  "CREATE INDEX CONCURRENTLY things_id ON things (id);\n" + threeIndexes,
		"without what was done": "",
	} {
		refusedAsEdited(t, db, alone(t, edited))
		if f := statusOf(t, db, alone(t, threeIndexes), aloneFile); !f.Pending() || f.Done != 1 {
			t.Errorf("status after %s: %+v", name, f)
		}
	}
	edited := strings.Replace(threeIndexes, "UNIQUE ", "", 1) + "CREATE INDEX CONCURRENTLY things_more ON things (id, size);\n"
	equal(t, "applied", apply(t, db, alone(t, edited)), []string{aloneFile})
	equal(t, "indexes", query[string](t, t.Context(), db, threeNames), []string{"things_both", "things_more", "things_name", "things_old", "things_size"})
	equal(t, "definition", query[string](t, t.Context(), db, "SELECT indisunique::text FROM pg_index WHERE indexrelid = 'things_name'::regclass"), []string{"false"})
	checkAccount(t, db, []string{thingsFile, aloneFile})
}

const (
	oneIndex = "CREATE INDEX CONCURRENTLY things_size ON things (size);\n"
	building = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'CREATE INDEX CONCURRENTLY%' AND state = 'active' AND wait_event_type = 'Lock'"
)

// writing is a transaction that has changed a row of things, and goes on until end is called.
func writing(t *testing.T, url string) (end func()) {
	t.Helper()
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), "UPDATE things SET size = 3 WHERE id = 2"); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
}

// It waits for a transaction for as long as that takes, whatever the limits of the URL, and those that
// wait for it are not in its way.
func TestTxmodeNone_WaitsForTransactions(t *testing.T) {
	t.Parallel()
	url := dbtest.Postgres(t)
	files, watcher := alone(t, oneIndex), open(t, url)
	if _, err := migrator(t, watcher, files).Apply(t.Context(), migration.Options{To: "1"}); err != nil {
		t.Fatal(err)
	}
	end := writing(t, url)
	var (
		applied   [3][]migration.File
		failed    [3]error
		recorders [3]*recorder
		workers   sync.WaitGroup
		done      = make(chan struct{})
	)
	for i := range applied {
		var db *database.DB
		db, recorders[i] = recorded(t, url+"&lock_timeout=1&statement_timeout=10000")
		m := migrator(t, db, files)
		workers.Go(func() { applied[i], failed[i] = m.Apply(t.Context(), migration.Options{}) })
	}
	go func() {
		defer close(done)
		workers.Wait()
	}()
	await(t, done, watcher, building)
	// The two others have asked often since, one of them at least 20 times.
	for asked, enough := 0, recorders[0].asked()+recorders[1].asked()+recorders[2].asked()+40; asked < enough; {
		asked = recorders[0].asked() + recorders[1].asked() + recorders[2].asked()
		await(t, done, watcher, building)
	}
	end()
	<-done
	if err := errors.Join(failed[:]...); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, files := range applied {
		all = append(all, names(files)...)
	}
	equal(t, "applied by all together", all, []string{aloneFile})
	equal(t, "indexes", query[string](t, t.Context(), watcher, threeNames), []string{"things_old", "things_size"})
	checkAccount(t, watcher, []string{thingsFile, aloneFile})
}

// The server goes on with a statement for a while after its client was killed, and may stop it at last.
func TestTxmodeNone_KilledWhileItWaits(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"the statement ends", "the statement is stopped"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			url, path, files := dbtest.Postgres(t), t.TempDir(), alone(t, oneIndex)
			if err := os.CopyFS(path, files); err != nil {
				t.Fatal(err)
			}
			watcher := open(t, url)
			if _, err := migrator(t, watcher, files).Apply(t.Context(), migration.Options{To: "1"}); err != nil {
				t.Fatal(err)
			}
			end := writing(t, url)
			waiting, openGate := gate(t)
			p := start(t, job{URL: url, Folder: path}, waiting)
			openGate()
			await(t, nil, watcher, building)
			if err := p.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			p.wait(t)
			if f := statusOf(t, watcher, files, aloneFile); !f.Pending() || f.Done != 0 || f.Total != 1 {
				t.Errorf("status: %+v", f)
			}

			if how == "the statement is stopped" {
				query[bool](t, t.Context(), watcher, strings.Replace(building, "SELECT pid", "SELECT pg_terminate_backend(pid, 60000)", 1))
				equal(t, "indexes that are not valid", query[string](t, t.Context(), watcher, notValid), []string{"things_size"})
				end()
			}
			db, said := recorded(t, url)
			var (
				applied []migration.File
				failed  error
				done    = make(chan struct{})
				m       = migrator(t, db, files)
			)
			go func() {
				defer close(done)
				applied, failed = m.Apply(t.Context(), migration.Options{})
			}()
			if how == "the statement ends" {
				for enough := 3; said.asked() < enough; {
					await(t, done, watcher, building)
				}
				end()
			}
			<-done
			if failed != nil {
				t.Fatal(failed)
			}
			equal(t, "applied", names(applied), []string{aloneFile})
			want := []string{"DROP INDEX CONCURRENTLY things_size", strings.TrimSuffix(oneIndex, ";\n")}
			if how == "the statement ends" {
				want = nil
			}
			equal(t, "statements", said.said, want)
			equal(t, "indexes", query[string](t, t.Context(), watcher, threeNames), []string{"things_old", "things_size"})
			equal(t, "indexes that are not valid", query[string](t, t.Context(), watcher, notValid), nil)
			checkAccount(t, watcher, []string{thingsFile, aloneFile})
		})
	}
}

// The cure of a file that stopped half-way may be to do the rest in a transaction.
func TestTxmodeNone_RestInTransaction(t *testing.T) {
	t.Parallel()
	db := open(t, dbtest.Postgres(t))
	failing(t, db, alone(t, threeIndexes))
	rest := "CREATE INDEX CONCURRENTLY things_size ON things (size);\n" +
		"DROP INDEX things_name;\nCREATE UNIQUE INDEX things_name ON things (name);\n"
	files := rewrite(t, alone(t, rest), func(contents map[string]string) { contents[aloneFile] = rest })
	failing(t, db, files)
	if f := statusOf(t, db, files, aloneFile); !f.Pending() || f.Failed == "" || f.Done != 1 || f.Total != 3 {
		t.Errorf("status after the rest has failed: %+v", f)
	}
	execute(t, db, "UPDATE things SET name = 'b' WHERE id = 2")
	equal(t, "applied after mending", apply(t, db, files), []string{aloneFile})
	equal(t, "indexes", query[string](t, t.Context(), db, threeNames), []string{"things_name", "things_old", "things_size"})
	checkAccount(t, db, []string{thingsFile, aloneFile})
}
