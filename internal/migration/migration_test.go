package migration_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"maps"
	"strings"
	"testing"
	"testing/fstest"

	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/dbtest"
	"github.com/reviewpoint/models/internal/migration"
	"github.com/reviewpoint/models/schema/migrations"
)

func TestApply_Embedded(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		db := open(t, url)
		m := migrator(t, db, migrations.FS)
		before, err := m.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range before {
			if !file.AppliedAt.IsZero() {
				t.Errorf("%s is applied before Apply", file.Name)
			}
		}
		equal(t, "applied", apply(t, db, migrations.FS), names(before))
		after, err := m.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range after {
			if file.AppliedAt.IsZero() {
				t.Errorf("%s is pending after Apply", file.Name)
			}
		}
		checkAccount(t, db, names(before))
		done := dump(t, db)
		equal(t, "applied again", apply(t, db, migrations.FS), nil)
		equal(t, "schema after applying again", dump(t, db), done)
	})
}

func TestStatus_ChangesNothing(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		db := open(t, url)
		before := dump(t, db)
		if _, err := migrator(t, db, migrations.FS).Status(t.Context()); err != nil {
			t.Fatal(err)
		}
		equal(t, "schema", dump(t, db), before)
	})
}

// One connection must do, or a pool whose connections all wait for the lock would wait for ever.
func TestApply_OneConnection(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		db, err := database.Open(t.Context(), url, database.Options{MaxConns: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		equal(t, "applied", apply(t, db, steps(t, 3, 2)), stepNames(3))
		checkSteps(t, db, 3, 2)
	})
}

func TestApply_Failing(t *testing.T) {
	t.Parallel()
	const good = "CREATE TABLE second (id integer PRIMARY KEY);\nINSERT INTO log (step) VALUES ('second');\n"
	files := map[string]string{
		"1_first.sql":  "CREATE TABLE log (step text NOT NULL);\nINSERT INTO log (step) VALUES ('first');\n",
		"2_second.sql": good + "-- the next line is wrong\nINSERT INTO absent (step) VALUES ('second');\n",
		"3_third.sql":  "INSERT INTO log (step) VALUES ('third');\n",
	}
	onEach(t, func(t *testing.T, url string) {
		db := open(t, url)
		broken := folder(t, files)
		applied, err := migrator(t, db, broken).Apply(t.Context(), migration.Options{})
		if err == nil {
			t.Fatal("a failing migration was applied")
		}
		equal(t, "applied before the failing file", names(applied), []string{"1_first.sql"})
		for _, want := range []string{"2_second.sql", "line 4", "absent"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("the error does not name %q: %v", want, err)
			}
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("the error has several lines: %v", err)
		}
		equal(t, "log", query[string](t, t.Context(), db, "SELECT step FROM log"), []string{"first"})
		equal(t, "tables", query[string](t, t.Context(), db, "SELECT 'second' FROM log WHERE step = 'second'"), nil)
		status, err := migrator(t, db, broken).Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if f := status[1]; !f.Pending() || f.Failed == "" || f.FailedAt.IsZero() || f.Done != 0 || f.Total != 3 {
			t.Errorf("status of the failing file: %+v", f)
		}
		if f := status[2]; !f.Pending() || f.Failed != "" {
			t.Errorf("status of the file behind it: %+v", f)
		}

		mended := maps.Clone(files)
		mended["2_second.sql"] = good
		equal(t, "applied after mending", apply(t, db, folder(t, mended)), []string{"2_second.sql", "3_third.sql"})
		equal(t, "log", query[string](t, t.Context(), db, "SELECT step FROM log ORDER BY step"), []string{"first", "second", "third"})
		checkAccount(t, db, []string{"1_first.sql", "2_second.sql", "3_third.sql"})
	})
}

// without is files less one, in both folders, with the atlas.sum of what is left.
func without(t *testing.T, files fstest.MapFS, name string) fstest.MapFS {
	t.Helper()
	return rewrite(t, files, func(contents map[string]string) { delete(contents, name) })
}

func rewrite(t *testing.T, files fstest.MapFS, change func(map[string]string)) fstest.MapFS {
	t.Helper()
	contents := make(map[string]string)
	for path, file := range files {
		if name, ok := strings.CutPrefix(path, "sqlite/"); ok && name != "atlas.sum" {
			contents[name] = string(file.Data)
		}
	}
	change(contents)
	return folder(t, contents)
}

func TestApply_Refused(t *testing.T) {
	t.Parallel()
	three := steps(t, 3, 2)
	unhashed := maps.Clone(three)
	for _, dir := range []string{"sqlite/", "postgres/"} {
		unhashed[dir+step(1)] = &fstest.MapFile{Data: append([]byte("-- edited\n"), three[dir+step(1)].Data...)}
	}
	for _, test := range []struct {
		name    string
		prepare func(t *testing.T, db *database.DB)
		files   fs.FS
		want    error
		names   string
	}{
		{
			name: "edited without a new sum", files: unhashed, want: migration.ErrEdited, names: step(1),
			prepare: func(t *testing.T, db *database.DB) { t.Helper(); apply(t, db, without(t, three, step(2))) },
		},
		{
			name: "edited after it was applied", want: migration.ErrEdited, names: step(1),
			files:   rewrite(t, three, func(contents map[string]string) { contents[step(1)] += "-- edited\n" }),
			prepare: func(t *testing.T, db *database.DB) { t.Helper(); apply(t, db, without(t, three, step(2))) },
		},
		{
			name: "missing the first", files: without(t, three, step(0)), want: migration.ErrMissing, names: strings.TrimSuffix(step(0), ".sql"),
			prepare: func(t *testing.T, db *database.DB) { t.Helper(); apply(t, db, without(t, three, step(2))) },
		},
		{
			name: "missing the last", files: without(t, three, step(2)), want: migration.ErrMissing, names: strings.TrimSuffix(step(2), ".sql"),
			prepare: func(t *testing.T, db *database.DB) { t.Helper(); apply(t, db, three) },
		},
		{
			name: "pending before an applied one", files: three, names: step(1),
			prepare: func(t *testing.T, db *database.DB) { t.Helper(); apply(t, db, without(t, three, step(1))) },
		},
		{
			name: "foreign", files: three, want: migration.ErrForeign, names: `"theirs"`,
			prepare: func(t *testing.T, db *database.DB) { t.Helper(); execute(t, db, "CREATE TABLE theirs (id integer)") },
		},
		{
			name: "foreign, with an empty account", files: three, want: migration.ErrForeign, names: `"theirs"`,
			prepare: func(t *testing.T, db *database.DB) {
				t.Helper()
				apply(t, db, without(t, three, step(2)))
				execute(t, db, "DELETE FROM atlas_schema_revisions")
				execute(t, db, "ALTER TABLE log RENAME TO theirs")
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			onEach(t, func(t *testing.T, url string) {
				db := open(t, url)
				test.prepare(t, db)
				before := dump(t, db)
				m, err := migration.New(db, test.files)
				var applied []migration.File
				if err == nil {
					applied, err = m.Apply(t.Context(), migration.Options{})
				}
				if err == nil || (test.want != nil && !errors.Is(err, test.want)) {
					t.Fatalf("error = %v, want %v", err, test.want)
				}
				if !strings.Contains(err.Error(), test.names) {
					t.Errorf("the error does not name %s: %v", test.names, err)
				}
				if strings.Contains(err.Error(), "\n") {
					t.Errorf("the error has several lines: %v", err)
				}
				equal(t, "applied", names(applied), nil)
				equal(t, "schema", dump(t, db), before)
			})
		})
	}
}

func TestApply_InTx(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		db := open(t, url)
		m := migrator(t, db, steps(t, 1, 1))
		for _, state := range []string{"pending", "up to date"} {
			err := db.InTx(t.Context(), func(ctx context.Context) error {
				_, err := m.Apply(ctx, migration.Options{})
				return err
			})
			if err == nil || !strings.Contains(err.Error(), "transaction") {
				t.Errorf("%s: Apply inside InTx = %v, want a refusal", state, err)
			}
			if state == "pending" {
				equal(t, "schema", query[string](t, t.Context(), db, "SELECT 'log' WHERE EXISTS ("+tableExists(db, "log")+")"), nil)
				apply(t, db, steps(t, 1, 1))
			}
		}
	})
}

func tableExists(db *database.DB, name string) string {
	if db.Dialect() == dialect.SQLite {
		return "SELECT 1 FROM sqlite_master WHERE name = '" + name + "'"
	}
	return "SELECT 1 FROM pg_class WHERE relname = '" + name + "'"
}

func TestApply_Cancelled(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		db := open(t, url)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		before := dump(t, db)
		applied, err := migrator(t, db, steps(t, 2, 2)).Apply(ctx, migration.Options{})
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("error = %v, want context.Canceled", err)
		}
		equal(t, "applied", names(applied), nil)
		equal(t, "schema", dump(t, db), before)
		equal(t, "applied afterwards", apply(t, db, steps(t, 2, 2)), stepNames(2))
	})
}

// The second file never ends, so it runs, or is about to, whenever the first one is seen.
func TestApply_CancelledHalfway(t *testing.T) {
	t.Parallel()
	endless := map[string]string{
		dialect.SQLite:   "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) INSERT INTO log (file, statement) SELECT max(i), 0 FROM n;\n",
		dialect.Postgres: "SELECT pg_sleep(100000);\n",
	}
	onEach(t, func(t *testing.T, url string) {
		db, watcher := open(t, url), open(t, url)
		good := steps(t, 2, 2)
		stuck := rewrite(t, good, func(contents map[string]string) {
			contents[step(1)] += "CREATE TABLE second (id integer);\n" + endless[db.Dialect()]
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var (
			applied []migration.File
			failed  error
			done    = make(chan struct{})
			m       = migrator(t, db, stuck)
		)
		go func() {
			defer close(done)
			applied, failed = m.Apply(ctx, migration.Options{})
		}()
		await(t, done, watcher, "SELECT 1 WHERE EXISTS ("+tableExists(watcher, "log")+")")
		cancel()
		<-done
		if !errors.Is(failed, context.Canceled) {
			t.Fatalf("error = %v, want context.Canceled", failed)
		}
		equal(t, "applied", names(applied), []string{step(0)})
		checkSteps(t, watcher, 1, 2)
		equal(t, "applied afterwards", apply(t, db, good), []string{step(1)})
		checkSteps(t, watcher, 2, 2)
		if db.Dialect() == dialect.SQLite {
			checkEnforced(t, db)
		}
	})
}

// await asks until the answer has a row. It fails when what it waits beside ends first.
func await(t *testing.T, done <-chan struct{}, db *database.DB, question string) {
	t.Helper()
	for len(query[int](t, t.Context(), db, question)) == 0 {
		select {
		case <-done:
			if len(query[int](t, t.Context(), db, question)) == 0 {
				t.Fatalf("it ended before there was an answer to %s", question)
			}
		default:
		}
	}
}

// The Atlas CLI takes a lock of this number, so that the two wait for each other.
func cliLock() uint32 {
	h := fnv.New32()
	h.Write([]byte("atlas_migrate_execute"))
	return h.Sum32()
}

func TestApply_WaitsForTheCLI(t *testing.T) {
	t.Parallel()
	for _, cancelled := range []bool{false, true} {
		t.Run(fmt.Sprintf("cancelled=%v", cancelled), func(t *testing.T) {
			t.Parallel()
			url := dbtest.Postgres(t)
			asked, waits := 0, make(chan struct{})
			// The server's limits must not end the wait.
			db, err := database.Open(t.Context(), url+"&lock_timeout=1&statement_timeout=10000", database.Options{Before: func(query string, _ []driver.NamedValue) {
				if strings.Contains(query, "advisory") {
					if asked++; asked == 3 {
						close(waits)
					}
				}
			}})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			cli, err := sql.Open("postgres", url)
			if err != nil {
				t.Fatal(err)
			}
			defer cli.Close()
			held, err := cli.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer held.Close()
			if _, err := held.ExecContext(t.Context(), "SELECT pg_advisory_lock($1)", int64(cliLock())); err != nil {
				t.Fatal(err)
			}

			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var (
				applied []migration.File
				failed  error
				done    = make(chan struct{})
				m       = migrator(t, db, steps(t, 2, 2))
				watcher = open(t, url)
			)
			go func() {
				defer close(done)
				applied, failed = m.Apply(ctx, migration.Options{})
			}()
			<-waits
			if cancelled {
				cancel()
				<-done
				if !errors.Is(failed, context.Canceled) {
					t.Fatalf("error = %v, want context.Canceled", failed)
				}
				equal(t, "applied", names(applied), nil)
				return
			}
			if _, err := held.ExecContext(t.Context(), "SELECT pg_advisory_unlock($1)", int64(cliLock())); err != nil {
				t.Fatal(err)
			}
			<-done
			if failed != nil {
				t.Fatal(failed)
			}
			equal(t, "applied", names(applied), stepNames(2))
			checkSteps(t, watcher, 2, 2)
			if n := query[int](t, t.Context(), watcher, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")[0]; n != 0 {
				t.Errorf("%d advisory locks are held afterwards", n)
			}
		})
	}
}

func TestApply_RowsOfTheCLI(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		db := open(t, url)
		apply(t, db, steps(t, 1, 2))
		execute(t, db, `INSERT INTO atlas_schema_revisions (version, description, type, applied, total, executed_at, execution_time, hash, operator_version)
			VALUES ('.atlas_cloud_identifier', 'c6ffb3b7-7ae6-4b8b-a6a7-4b3bcb1d2b64', 2, 0, 0, CURRENT_TIMESTAMP, 0, '', 'Atlas CLI')`)
		equal(t, "applied", apply(t, db, steps(t, 2, 2)), []string{step(1)})
		status, err := migrator(t, db, steps(t, 2, 2)).Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "files", names(status), stepNames(2))
	})
}

// The CLI keeps its account in a schema of its own when the URL names no search_path.
func TestApply_AccountInItsOwnSchema(t *testing.T) {
	t.Parallel()
	db := open(t, dbtest.Postgres(t))
	apply(t, db, steps(t, 1, 2))
	execute(t, db, "CREATE SCHEMA atlas_schema_revisions")
	execute(t, db, "ALTER TABLE atlas_schema_revisions SET SCHEMA atlas_schema_revisions")
	equal(t, "applied", apply(t, db, steps(t, 3, 2)), []string{step(1), step(2)})
	equal(t, "schemas that hold an account", query[string](t, t.Context(), db, "SELECT table_schema FROM information_schema.tables WHERE table_name = 'atlas_schema_revisions'"), []string{"atlas_schema_revisions"})
	equal(t, "account", query[string](t, t.Context(), db, "SELECT version FROM atlas_schema_revisions.atlas_schema_revisions ORDER BY 1"), []string{"20260101000000", "20260101000001", "20260101000002"})
}
