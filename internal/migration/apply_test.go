package migration_test

import (
	"context"
	"crypto/rand"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"ariga.io/atlas/sql/migrate"
	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/dbtest"
	"github.com/reviewpoint/models/internal/migration"
	"github.com/reviewpoint/models/schema/migrations"
)

// withPending is the module's folder with a file more.
func withPending(t testing.TB) fstest.MapFS {
	t.Helper()
	return withFiles(t, map[string]string{"20990101000000_more.sql": "CREATE TABLE more (id integer PRIMARY KEY);\n"})
}

// withFiles is the module's folder with more files, the same ones for both dialects.
func withFiles(t testing.TB, more map[string]string) fstest.MapFS {
	t.Helper()
	out := fstest.MapFS{}
	for _, name := range []string{"sqlite", "postgres"} {
		sub, err := fs.Sub(migrations.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		entries, err := fs.ReadDir(sub, ".")
		if err != nil {
			t.Fatal(err)
		}
		all := make(map[string]string)
		maps.Copy(all, more)
		for _, entry := range entries {
			content, err := fs.ReadFile(sub, entry.Name())
			if err != nil {
				t.Fatal(err)
			}
			if entry.Name() != "atlas.sum" {
				all[entry.Name()] = string(content)
			}
		}
		addFolder(t, out, name, all)
	}
	return out
}

// addFolder adds a folder with its atlas.sum.
func addFolder(t testing.TB, out fstest.MapFS, name string, files map[string]string) {
	t.Helper()
	dir := &migrate.MemDir{}
	for file, content := range files {
		if err := dir.WriteFile(file, []byte(content)); err != nil {
			t.Fatal(err)
		}
		out[name+"/"+file] = &fstest.MapFile{Data: []byte(content)}
	}
	sum, err := dir.Checksum()
	if err != nil {
		t.Fatal(err)
	}
	text, err := sum.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	out[name+"/atlas.sum"] = &fstest.MapFile{Data: text}
}

func TestApply_To(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		db := open(t, url)
		m := migrator(t, db, steps(t, 4, 2))
		version := func(i int) string { return strings.TrimSuffix(step(i), "_step.sql") }
		for _, to := range []string{"1", "2026", version(0) + "_step", version(9), "latest"} {
			before := dump(t, db)
			applied, err := m.Apply(t.Context(), migration.Options{To: to})
			if err == nil || !strings.Contains(err.Error(), "no migration "+to) || len(applied) > 0 {
				t.Errorf("to %s: %v, %v", to, names(applied), err)
			}
			if _, err := m.Preview(t.Context(), migration.Options{To: to}); err == nil {
				t.Errorf("a preview to %s is not refused", to)
			}
			equal(t, "schema", dump(t, db), before)
		}
		for _, test := range []struct {
			to   string
			want []string
		}{
			{version(1), stepNames(4)[:2]},
			{version(1), nil},
			{version(0), nil},
			{version(2), stepNames(4)[2:3]},
			{"", stepNames(4)[3:]},
		} {
			before := dump(t, db)
			preview, err := m.Preview(t.Context(), migration.Options{To: test.to})
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "schema after a preview", dump(t, db), before)
			var previewed []string
			for _, file := range preview {
				previewed = append(previewed, file.Name)
				want := 2
				if file.Name == step(0) {
					want = 3
				}
				if len(file.Statements) != want || strings.HasSuffix(file.Statements[1], ";") || !strings.HasPrefix(file.Statements[want-1], "INSERT INTO log") {
					t.Errorf("statements of %s: %q", file.Name, file.Statements)
				}
			}
			equal(t, "previewed to "+test.to, previewed, test.want)
			applied, err := m.Apply(t.Context(), migration.Options{To: test.to})
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "applied to "+test.to, names(applied), test.want)
		}
		checkSteps(t, db, 4, 2)
	})
}

// A preview refuses what Apply refuses.
func TestPreview_Refused(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		db := open(t, url)
		apply(t, db, migrations.FS)
		execute(t, db, "CREATE INDEX extra ON files (size)")
		before := dump(t, db)
		_, err := migrator(t, db, withPending(t)).Preview(t.Context(), migration.Options{Dev: openDev(t, db.Dialect())})
		if !errors.Is(err, migration.ErrDrift) || !strings.Contains(err.Error(), "index extra of files should not be there") {
			t.Errorf("error = %v, want ErrDrift", err)
		}
		applied, err := migrator(t, db, withPending(t)).Apply(t.Context(), migration.Options{Dev: openDev(t, db.Dialect())})
		if !errors.Is(err, migration.ErrDrift) || len(applied) > 0 {
			t.Errorf("error = %v, want ErrDrift", err)
		}
		equal(t, "schema and rows", dump(t, db), before)
		equal(t, "applied without a look", apply(t, db, withPending(t)), []string{"20990101000000_more.sql"})
	})
}

// endless statements, which only a bound ends.
var endlessStatements = map[string]string{
	dialect.SQLite:   "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) INSERT INTO log (file, statement) SELECT max(i), 0 FROM n;\n",
	dialect.Postgres: "SELECT pg_sleep(100000);\n",
}

func TestApply_StatementTimeout(t *testing.T) {
	t.Parallel()
	for _, head := range []string{"", "-- atlas:txmode none\n\n"} {
		t.Run(fmt.Sprintf("alone %t", head != ""), func(t *testing.T) {
			t.Parallel()
			onEach(t, func(t *testing.T, url string) {
				db := open(t, url)
				good := steps(t, 3, 2)
				if head != "" {
					good = rewrite(t, good, func(contents map[string]string) { contents[step(1)] = head + contents[step(1)] })
				}
				stuck := rewrite(t, good, func(contents map[string]string) { contents[step(1)] += endlessStatements[db.Dialect()] })
				// No statement of the others may take this long, however slow the machine.
				apply(t, db, without(t, without(t, good, step(1)), step(2)))
				m := migrator(t, db, stuck)
				applied, err := m.Apply(t.Context(), migration.Options{StatementTimeout: 2 * time.Second, Attempts: 5})
				if err == nil || !strings.Contains(err.Error(), "longer than 2s") || !strings.Contains(err.Error(), step(1)+" failed at line") || strings.Contains(err.Error(), "\n") {
					t.Fatalf("error = %v, want the bound and the file in one line", err)
				}
				equal(t, "applied", names(applied), nil)
				status, err := m.Status(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				done := 0
				if head != "" && db.Dialect() == dialect.Postgres {
					done = 2
				}
				if f := status[1]; !f.Pending() || !strings.Contains(f.Failed, "longer than 2s") || f.FailedAt.IsZero() || f.Done != done || f.Total != 3 {
					t.Errorf("status: %+v", f)
				}
				if n := query[int](t, t.Context(), db, "SELECT count(*) FROM log")[0]; n != 2+done {
					t.Errorf("%d rows are there, want %d", n, 2+done)
				}
				if db.Dialect() == dialect.SQLite {
					checkEnforced(t, db)
				}
				if done > 0 {
					good = rewrite(t, good, func(contents map[string]string) { contents[step(1)] += "SELECT 1;\n" })
				}
				equal(t, "applied after mending", apply(t, db, good), stepNames(3)[1:])
				checkSteps(t, db, 3, 2)
			})
		})
	}
}

// A file whose locks are not to be had is tried as often as Attempts says, and then names the lock.
func TestApply_Attempts(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		holder := open(t, url)
		apply(t, holder, steps(t, 1, 2))
		for _, attempts := range []int{1, 2} {
			tried := 0
			db, err := database.Open(t.Context(), url, database.Options{LockTimeout: 100 * time.Millisecond, Before: func(query string, _ []driver.NamedValue) {
				if strings.HasPrefix(query, "INSERT INTO log") || (strings.HasPrefix(query, "BEGIN") && holder.Dialect() == dialect.SQLite) {
					tried++
				}
			}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { db.Close() })
			ctx, release := holder.Rollback(t.Context())
			lock := "DELETE FROM log"
			if holder.Dialect() == dialect.Postgres {
				lock = "LOCK TABLE log"
			}
			if _, err := holder.ExecContext(ctx, lock); err != nil {
				t.Fatal(err)
			}
			before := tried
			applied, err := migrator(t, db, steps(t, 2, 2)).Apply(t.Context(), migration.Options{Attempts: attempts})
			if !errors.Is(err, database.ErrBusy) || len(applied) > 0 || strings.Contains(err.Error(), "\n") {
				t.Errorf("error = %v, want ErrBusy in one line", err)
			}
			if tried -= before; tried != attempts {
				t.Errorf("it was tried %d times, want %d", tried, attempts)
			}
			if err := release(); err != nil {
				t.Fatal(err)
			}
		}
		db := open(t, url)
		equal(t, "applied when the lock is free", apply(t, db, steps(t, 2, 2)), stepNames(2)[1:])
		checkSteps(t, db, 2, 2)
	})
}

// What failed may be mended, renamed or taken away: the account keeps nothing of it.
func TestApply_FailureIsCleared(t *testing.T) {
	t.Parallel()
	const good = "CREATE TABLE second (id integer PRIMARY KEY);\n"
	first := "CREATE TABLE log (step text NOT NULL);\n"
	for _, test := range []struct {
		name  string
		after map[string]string
	}{
		{"mended", map[string]string{"2_second.sql": good}},
		{"renamed", map[string]string{"3_second.sql": good}},
		{"renamed and later ones", map[string]string{"3_second.sql": good, "4_third.sql": "SELECT 1;\n"}},
		{"taken away", map[string]string{}},
		{"replaced", map[string]string{"2_other.sql": "SELECT 1;\n"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			onEach(t, func(t *testing.T, url string) {
				db := open(t, url)
				m := migrator(t, db, folder(t, map[string]string{"1_first.sql": first, "2_second.sql": good + "INSERT INTO absent (id) VALUES (1);\n"}))
				for range 2 {
					if _, err := m.Apply(t.Context(), migration.Options{Dev: openDev(t, db.Dialect())}); err == nil {
						t.Fatal("it has not failed")
					}
					status, err := m.Status(t.Context())
					if err != nil || status[1].Failed == "" || !strings.Contains(status[1].Failed, "absent") {
						t.Fatalf("status: %+v, %v", status, err)
					}
				}
				test.after["1_first.sql"] = first
				mended := folder(t, test.after)
				applied, err := migrator(t, db, mended).Apply(t.Context(), migration.Options{Dev: openDev(t, db.Dialect())})
				if err != nil {
					t.Fatal(err)
				}
				want := slices.Sorted(maps.Keys(test.after))
				equal(t, "applied", names(applied), want[1:])
				checkAccount(t, db, want)
			})
		})
	}
}

// Those that look for drift do not take for one what another has not finished yet.
func TestApply_DriftAtOnce(t *testing.T) {
	t.Parallel()
	goroutines := 6
	if long() {
		goroutines = 24
	}
	onEach(t, func(t *testing.T, url string) {
		files := steps(t, 8, 3)
		files = rewrite(t, files, func(contents map[string]string) {
			for i := 1; i < 8; i++ {
				contents[step(i)] += fmt.Sprintf("CREATE TABLE table%[1]d (id integer PRIMARY KEY);\nALTER TABLE log ADD COLUMN column%[1]d integer NULL;\n", i)
			}
		})
		start := make(chan struct{})
		failed := make([]error, goroutines)
		applied := make([][]migration.File, goroutines)
		var workers sync.WaitGroup
		for i := range goroutines {
			db := open(t, url)
			dev, err := migration.DevOn(t.Context(), db)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { dev.Close() })
			m := migrator(t, db, files)
			workers.Go(func() {
				<-start
				applied[i], failed[i] = m.Apply(t.Context(), migration.Options{Dev: dev})
			})
		}
		close(start)
		workers.Wait()
		if err := errors.Join(failed...); err != nil {
			t.Fatal(err)
		}
		got := names(slices.Concat(applied...))
		slices.Sort(got)
		equal(t, "files that all together applied", got, stepNames(8))
		checkSteps(t, open(t, url), 8, 3)
	})
}

// An index that is being made concurrently, or was when the process was killed, is not valid, and no drift.
func TestApply_DriftWhileConcurrent(t *testing.T) {
	t.Parallel()
	url := dbtest.Postgres(t)
	holder, db, watcher := open(t, url), open(t, url), open(t, url)
	files := folder(t, map[string]string{
		"1_log.sql":   "CREATE TABLE log (step integer NOT NULL);\n",
		"2_index.sql": "-- atlas:txmode none\n\nCREATE INDEX CONCURRENTLY log_step ON log (step);\n",
	})
	apply(t, db, folder(t, map[string]string{"1_log.sql": "CREATE TABLE log (step integer NOT NULL);\n"}))
	held, release := holder.Rollback(t.Context())
	if _, err := holder.ExecContext(held, "INSERT INTO log (step) VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	dev := openDev(t, dialect.Postgres)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done, m := make(chan struct{}), migrator(t, db, files)
	var failed error
	go func() {
		defer close(done)
		_, failed = m.Apply(ctx, migration.Options{Dev: dev})
	}()
	await(t, done, watcher, "SELECT 1 FROM pg_index WHERE NOT indisvalid")
	different, err := migrator(t, watcher, files).Drift(t.Context(), dev)
	if err != nil || len(different) > 0 {
		t.Errorf("while another process makes the index: %q, %v", different, err)
	}
	cancel()
	<-done
	if !errors.Is(failed, context.Canceled) {
		t.Errorf("the one that was stopped: %v", failed)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if len(query[int](t, t.Context(), watcher, "SELECT 1 FROM pg_index WHERE NOT indisvalid")) == 0 {
		t.Fatal("the index is valid, so this tests nothing")
	}
	applied, err := m.Apply(t.Context(), migration.Options{Dev: dev})
	if err != nil {
		t.Fatalf("after it was stopped: %v", err)
	}
	equal(t, "applied", names(applied), []string{"2_index.sql"})
	if len(query[int](t, t.Context(), watcher, "SELECT 1 FROM pg_index WHERE NOT indisvalid")) != 0 {
		t.Error("the index is not valid afterwards")
	}
}

// Who may not make a schema is told so in one line, and may go on without a look.
func TestApply_MayNotCreate(t *testing.T) {
	t.Parallel()
	admin := open(t, dbtest.Postgres(t))
	role := "reviewpoint_limited_" + strings.ToLower(rand.Text())
	execute(t, admin, "CREATE ROLE "+role+" LOGIN PASSWORD 'limited'; GRANT ALL ON SCHEMA public TO "+role)
	t.Cleanup(func() {
		for _, statement := range []string{"DROP OWNED BY " + role, "DROP ROLE " + role} {
			if _, err := admin.ExecContext(context.WithoutCancel(t.Context()), statement); err != nil {
				t.Error(err)
			}
		}
	})
	address, err := url.Parse("postgres://" + admin.Name() + "?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	address.User = url.UserPassword(role, "limited")
	db := open(t, address.String())
	dev, err := migration.DevOn(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	// Nothing is applied yet, so there is nothing to try out.
	m := migrator(t, db, migrations.FS)
	status, err := m.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Apply(t.Context(), migration.Options{Dev: dev, To: status[0].Version}); err != nil {
		t.Fatal(err)
	}
	before := dump(t, db)
	_, err = m.Apply(t.Context(), migration.Options{Dev: dev})
	if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "grant CREATE on the database") || !strings.Contains(err.Error(), "42501") {
		t.Errorf("error = %v, want what to grant in one line", err)
	}
	equal(t, "schema", dump(t, db), before)
	if got := apply(t, db, migrations.FS); len(got) == 0 {
		t.Error("it was not applied without a look")
	}
}

// A rebuild as the Atlas CLI writes it forgets the highest id, and Apply does not.
func TestApply_RebuildKeepsIDs(t *testing.T) {
	t.Parallel()
	for name, rows := range map[string]string{
		"the last is gone": "INSERT INTO users (id, email) VALUES (1, 'a'), (7, 'b');\nDELETE FROM users WHERE id = 7;\n",
		"all are gone":     "INSERT INTO users (id, email) VALUES (1, 'a'), (7, 'b');\nDELETE FROM users;\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := sqliteFile(t)
			const key = "integer PRIMARY KEY AUTOINCREMENT"
			files := map[string]string{"1_users.sql": "CREATE TABLE users (id " + key + ", email text NOT NULL);\n" + rows}
			apply(t, db, folder(t, files))
			files["2_rebuild.sql"] = strings.Replace(rebuild, "integer PRIMARY KEY", key, 1)
			apply(t, db, folder(t, files))
			execute(t, db, "INSERT INTO users (email) VALUES ('c')")
			if ids := query[int](t, t.Context(), db, "SELECT max(id) FROM users"); !slices.Equal(ids, []int{8}) {
				t.Errorf("the next id is %v, want 8", ids)
			}
		})
	}
}

// TestApply_Deletion begins with rows that other hands left before the database looked at deleted_at.
func TestApply_Deletion(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		db := open(t, url)
		m := migrator(t, db, migrations.FS)
		if _, err := m.Apply(t.Context(), migration.Options{To: "20261123160500"}); err != nil {
			t.Fatal(err)
		}
		const early, late = "2026-01-01 00:00:00", "2026-01-02 00:00:00"
		insert := func(id int, deleted bool, at string) {
			execute(t, db, fmt.Sprintf(`INSERT INTO users (id, created_at, updated_at, public_id, email, hashed_password, is_deleted, deleted_at)
				VALUES (%[1]d, '%[2]s', '%[3]s', '00000000-0000-4000-8000-00000000000%[1]d', 'same%[1]d@example.org', 'x', %[4]t, %[5]s)`, id, early, late, deleted, at))
			execute(t, db, fmt.Sprintf(`INSERT INTO files (public_id, filename, content_type, user_id) VALUES ('00000000-0000-4000-8000-00000000001%[1]d', 'f', 'x', %[1]d)`, id))
		}
		insert(1, false, "NULL")
		insert(2, false, "'"+early+"'")
		insert(3, true, "NULL")
		insert(4, true, "'"+early+"'")
		apply(t, db, migrations.FS)
		// The text of a time is not the same on both.
		for text, want := range map[string][]string{
			"SELECT id || '' FROM users WHERE deleted_at IS NULL ORDER BY id":                                           {"1", "2"},
			"SELECT id || '' FROM users WHERE deleted_at = updated_at":                                                  {"3"},
			"SELECT id || '' FROM users WHERE deleted_at = created_at":                                                  {"4"},
			"SELECT id || '' FROM users WHERE updated_at = '" + late + "' AND created_at = '" + early + "' ORDER BY id": {"1", "2", "3", "4"},
			"SELECT user_id || '' FROM files ORDER BY user_id":                                                          {"1", "2", "3", "4"},
		} {
			equal(t, text, query[string](t, t.Context(), db, text), want)
		}
		if _, err := db.ExecContext(t.Context(), "UPDATE users SET is_deleted = true WHERE id = 1"); err == nil {
			t.Error("a row is deleted at no time")
		}
	})
}

// TestApply_KeepsTriggers builds a table anew that has a trigger of other hands.
func TestApply_KeepsTriggers(t *testing.T) {
	t.Parallel()
	db := sqliteFile(t)
	files := map[string]string{"1_users.sql": "CREATE TABLE users (id integer PRIMARY KEY, email text NOT NULL);\n"}
	apply(t, db, folder(t, files))
	const trigger = "CREATE TRIGGER touched AFTER UPDATE ON users BEGIN SELECT 1; END"
	execute(t, db, trigger)
	files["2_rebuild.sql"] = rebuild
	_, err := migrator(t, db, folder(t, files)).Apply(t.Context(), migration.Options{})
	if err == nil || !strings.Contains(err.Error(), `2_rebuild.sql failed and was undone: the trigger "touched" would be lost`) {
		t.Errorf("got %v, want the trigger by its name", err)
	}
	names := func() []string {
		return query[string](t, t.Context(), db, "SELECT name FROM sqlite_master WHERE type = 'trigger'")
	}
	equal(t, "triggers", names(), []string{"touched"})
	files["2_rebuild.sql"] = rebuild + trigger + ";\n"
	apply(t, db, folder(t, files))
	equal(t, "triggers", names(), []string{"touched"})
}
