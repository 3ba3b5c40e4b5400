package database_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	entsql "entgo.io/ent/dialect/sql"

	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/dbtest"
)

// openOne opens a database with one connection, so that all statements meet there.
func openOne(t testing.TB, url string) *database.DB {
	t.Helper()
	db, err := database.Open(t.Context(), url, database.Options{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// kept returns how many statements the server keeps prepared for the connection of ctx. It is no use
// of a prepared statement itself.
func kept(t testing.TB, ctx context.Context, db *database.DB) int {
	t.Helper()
	return value[int](t, ctx, db, "SELECT count(*) FROM pg_prepared_statements")
}

func TestStatements_PreparedTheSecondTime(t *testing.T) {
	t.Parallel()
	db := openOne(t, dbtest.Postgres(t))
	execute(t, db, "CREATE TABLE notes (id integer, body text)")
	for use, want := range []int{0, 1, 1, 1} {
		execute(t, db, "INSERT INTO notes (id, body) VALUES ($1, $2)", use, "x")
		if n := kept(t, t.Context(), db); n != want {
			t.Errorf("after %d uses %d statements are prepared, want %d", use+1, n, want)
		}
	}
	for use, want := range []int{1, 2, 2, 2} {
		if n := value[int](t, t.Context(), db, "SELECT id FROM notes WHERE id = $1", use); n != use {
			t.Errorf("read %d, want %d", n, use)
		}
		if n := kept(t, t.Context(), db); n != want {
			t.Errorf("after %d queries %d statements are prepared, want %d", use+1, n, want)
		}
	}
	if n := value[int](t, t.Context(), db, "SELECT count(*) FROM notes"); n != 4 {
		t.Errorf("%d rows, want 4", n)
	}
}

func TestStatements_Bound(t *testing.T) {
	t.Parallel()
	url := dbtest.Postgres(t)
	for option, bound := range map[string]int{"&statement_cache_size=0": 0, "&statement_cache_size=1": 1, "&statement_cache_size=3": 3, "": database.StatementCacheSize} {
		t.Run(option, func(t *testing.T) {
			t.Parallel()
			db := openOne(t, url+option)
			most := 0
			for i := range bound + 20 {
				for range 3 {
					if n := value[int](t, t.Context(), db, fmt.Sprintf("SELECT %d + $1", i), 1); n != i+1 {
						t.Fatalf("%d + 1 = %d", i, n)
					}
				}
				most = max(most, kept(t, t.Context(), db))
			}
			if most != bound {
				t.Errorf("up to %d statements were prepared, want %d", most, bound)
			}
		})
	}
}

// What is kept is what comes again as a whole, and can be kept.
func TestStatements_NotPrepared(t *testing.T) {
	t.Parallel()
	db := openOne(t, dbtest.Postgres(t))
	execute(t, db, "CREATE TABLE notes (body text)")
	for name, query := range map[string]string{
		"a copy":         "COPY notes FROM STDIN",
		"a long text":    "SELECT $1::text" + strings.Repeat(" ", 10000),
		"a procedure":    "CALL absent($1)",
		"a syntax error": "SELECT FROM WHERE $1",
		"a wrong type":   "SELECT 1 + $1::uuid",
	} {
		var first string
		for use := range 4 {
			message := "none"
			if _, err := db.ExecContext(t.Context(), query, "x"); err != nil {
				message = err.Error()
			}
			if use == 0 {
				first = message
			}
			if message != first {
				t.Errorf("%s: use %d answers %q, and the first one %q", name, use+1, message, first)
			}
			if n := kept(t, t.Context(), db); n != 0 {
				t.Errorf("%s is prepared", name)
			}
		}
	}
}

// The server says what is wrong with the number of arguments, prepared or not.
func TestStatements_WrongNumberOfArguments(t *testing.T) {
	t.Parallel()
	db := openOne(t, dbtest.Postgres(t))
	const query = "SELECT $1::integer"
	_, before := db.ExecContext(t.Context(), query, 1, 2)
	execute(t, db, query, 1)
	execute(t, db, query, 1)
	_, after := db.ExecContext(t.Context(), query, 1, 2)
	if before == nil || after == nil || before.Error() != after.Error() {
		t.Errorf("prepared: %v, and before: %v", after, before)
	}
	if n := value[int](t, t.Context(), db, query, 7); n != 7 {
		t.Errorf("afterwards %d, want 7", n)
	}
}

// warm uses a query until it is prepared.
func warm(t *testing.T, db *database.DB, queries ...string) {
	t.Helper()
	before := kept(t, t.Context(), db)
	for _, query := range queries {
		for range 2 {
			if _, err := columns(t.Context(), db, query); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := kept(t, t.Context(), db); n != before+len(queries) {
		t.Fatalf("%d statements are prepared, want %d", n, before+len(queries))
	}
}

// columns returns how many columns a query with the argument 1 has.
func columns(ctx context.Context, db *database.DB, query string) (int, error) {
	rows, err := db.QueryContext(ctx, query, 1)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	for rows.Next() { // They are not looked at.
	}
	return len(names), errors.Join(err, rows.Err())
}

const everything = "SELECT * FROM notes WHERE id = $1" //nolint:unqueryvet // Its result changes with the table.

// Both ways in which the server can refuse what it had prepared.
var outdating = map[string]struct {
	query string
	adds  int // columns
}{
	"another type of result": {"ALTER TABLE notes ADD COLUMN body text", 1},
	"not there":              {"DEALLOCATE ALL", 0},
	"session discarded":      {"DISCARD ALL", 0},
}

func TestStatements_Outdated(t *testing.T) {
	t.Parallel()
	for name, change := range outdating {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := openOne(t, dbtest.Postgres(t))
			execute(t, db, "CREATE TABLE notes (id integer)")
			execute(t, db, "INSERT INTO notes VALUES (1)")
			const update = "UPDATE notes SET id = id WHERE id = $1 RETURNING *"
			warm(t, db, everything, update)
			execute(t, db, change.query)
			for use := range 4 {
				for _, query := range []string{everything, update} {
					if n, err := columns(t.Context(), db, query); err != nil || n != 1+change.adds {
						t.Errorf("use %d of %s: %d columns, %v, want %d", use+1, query, n, err, 1+change.adds)
					}
				}
			}
			if n := kept(t, t.Context(), db); n != 2 {
				t.Errorf("%d statements are prepared, want 2", n)
			}
		})
	}
}

func TestStatements_OutdatedExec(t *testing.T) {
	t.Parallel()
	db := openOne(t, dbtest.Postgres(t))
	execute(t, db, "CREATE TABLE notes (id integer)")
	for i := range 6 {
		execute(t, db, "INSERT INTO notes (id) VALUES ($1) RETURNING *", i)
		if i == 2 {
			execute(t, db, "ALTER TABLE notes ADD COLUMN body text")
		}
		if i == 4 {
			execute(t, db, "DISCARD ALL")
		}
	}
	if n := value[int](t, t.Context(), db, "SELECT count(*) FROM notes"); n != 6 {
		t.Errorf("%d rows, want 6", n)
	}
}

// A transaction is lost with its outdated statement, and tried again, once, however many statements
// and connections there are.
func TestStatements_OutdatedInTransaction(t *testing.T) {
	t.Parallel()
	for name, change := range outdating {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := openOne(t, dbtest.Postgres(t))
			execute(t, db, "CREATE TABLE notes (id integer)")
			var queries []string
			for i := range 8 {
				queries = append(queries, everything+fmt.Sprintf(" OR id = %d", i)) //nolint:unqueryvet // as above
			}
			warm(t, db, queries...)
			execute(t, db, change.query)
			calls := 0
			err := db.InTx(t.Context(), func(ctx context.Context) error {
				calls++
				if _, err := db.ExecContext(ctx, "INSERT INTO notes (id) VALUES (9)"); err != nil {
					return err
				}
				for _, query := range queries {
					if n, err := columns(ctx, db, query); err != nil || n != 1+change.adds {
						return fmt.Errorf("%d columns: %w", n, err)
					}
				}
				return nil
			})
			if err != nil || calls != 2 {
				t.Errorf("%v after %d calls, want none after 2", err, calls)
			}
			if n := value[int](t, t.Context(), db, "SELECT count(*) FROM notes"); n != 1 {
				t.Errorf("%d rows, want 1", n)
			}
			warmed := false
			err = db.InTx(t.Context(), func(ctx context.Context) error {
				for range 2 {
					for _, query := range queries {
						if _, err := columns(ctx, db, query); err != nil {
							return err
						}
					}
				}
				warmed = kept(t, ctx, db) == len(queries)
				return nil
			})
			if err != nil || !warmed {
				t.Errorf("the next transaction: %v; prepared anew: %t", err, warmed)
			}
		})
	}
}

func TestStatements_OutdatedEverywhere(t *testing.T) {
	t.Parallel()
	const conns = 10
	db, err := database.Open(t.Context(), dbtest.Postgres(t), database.Options{MaxConns: conns})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	execute(t, db, "CREATE TABLE notes (id integer)")
	// together is what every connection does at once, in a transaction of its own.
	together := func(fn func(ctx context.Context) error) (calls int) {
		var (
			mu   sync.Mutex
			all  sync.WaitGroup
			gate sync.WaitGroup
		)
		gate.Add(conns)
		for range conns {
			all.Go(func() {
				first := true
				err := db.InTx(t.Context(), func(ctx context.Context) error {
					mu.Lock()
					calls++
					mu.Unlock()
					if _, err := db.ExecContext(ctx, "SELECT 1"); err != nil {
						return err
					}
					if first {
						first = false
						gate.Done()
						gate.Wait() // Now each of them has a connection.
					}
					return fn(ctx)
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		return calls
	}
	read := func(ctx context.Context) error {
		_, err := columns(ctx, db, everything)
		return err
	}
	together(func(ctx context.Context) error { return errors.Join(read(ctx), read(ctx)) })
	execute(t, db, "ALTER TABLE notes ADD COLUMN body text")
	calls := 0
	for range 2 * conns {
		err := db.InTx(t.Context(), func(ctx context.Context) error { calls++; return read(ctx) })
		if err != nil {
			t.Fatal(err)
		}
	}
	if calls != 2*conns+1 {
		t.Errorf("%d transactions took %d calls, want one more", 2*conns, calls)
	}
	if calls := together(read); calls != conns {
		t.Errorf("%d transactions at once took %d calls: not every connection has heard of it", conns, calls)
	}
}

// A transaction that changes the schema itself does not lose against itself.
func TestStatements_OutdatedByItself(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change string
		calls  int
	}{
		"a statement": {"ALTER TABLE notes ADD COLUMN body text", 1},
		"a block":     {"/* of somebody */ DO $$ BEGIN ALTER TABLE notes ADD COLUMN body text; END $$", 1},
		"a function":  {"SELECT change()", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := openOne(t, dbtest.Postgres(t))
			execute(t, db, "CREATE TABLE notes (id integer)")
			execute(t, db, "CREATE FUNCTION change() RETURNS void LANGUAGE SQL AS 'ALTER TABLE notes ADD COLUMN body text'")
			warm(t, db, everything)
			calls := 0
			err := db.InTx(t.Context(), func(ctx context.Context) error {
				calls++
				if _, err := columns(ctx, db, everything); err != nil {
					return err
				}
				if _, err := db.ExecContext(ctx, test.change); err != nil {
					return err
				}
				if n, err := columns(ctx, db, everything); err != nil || n != 2 {
					return fmt.Errorf("%d columns: %w", n, err)
				}
				return nil
			})
			if err != nil || calls != test.calls {
				t.Errorf("%v after %d calls, want none after %d", err, calls, test.calls)
			}
			for range 3 {
				if n, err := columns(t.Context(), db, everything); err != nil || n != 2 {
					t.Errorf("afterwards %d columns, %v, want 2", n, err)
				}
			}
		})
	}
}

// A transaction that nobody tries again says that it conflicts.
func TestStatements_OutdatedInBeginTx(t *testing.T) {
	t.Parallel()
	db := openOne(t, dbtest.Postgres(t))
	execute(t, db, "CREATE TABLE notes (id integer)")
	warm(t, db, everything)
	execute(t, db, "ALTER TABLE notes ADD COLUMN body text")
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var rows entsql.Rows
	err = tx.Query(t.Context(), everything, []any{1}, &rows)
	if !errors.Is(err, database.ErrSerialization) {
		t.Errorf("%v, want ErrSerialization", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	if n, err := columns(t.Context(), db, everything); err != nil || n != 2 {
		t.Errorf("afterwards %d columns, %v, want 2", n, err)
	}
}

// Neither a migration nor what is undone by savepoints uses prepared statements, or leaves any.
func TestStatements_NotInSchemaTx(t *testing.T) {
	t.Parallel()
	db := openOne(t, dbtest.Postgres(t))
	execute(t, db, "CREATE TABLE notes (id integer)")
	use := func(ctx context.Context) error {
		for range 3 {
			if _, err := columns(ctx, db, everything); err != nil {
				return err
			}
		}
		if n := kept(t, ctx, db); n != 0 {
			t.Errorf("%d statements are prepared", n)
		}
		return nil
	}
	if err := db.InSchemaTx(t.Context(), use); err != nil {
		t.Error(err)
	}
	ctx, rollback := db.Rollback(t.Context())
	if err := errors.Join(use(ctx), rollback()); err != nil {
		t.Error(err)
	}
	warm(t, db, everything) // They are used again afterwards.
}

// lib/pq reads one query at a time. What it says to a second one is said of prepared statements, too.
func TestStatements_RowsStillOpen(t *testing.T) {
	t.Parallel()
	const (
		numbers = "SELECT n FROM generate_series(1, $1) n"
		want    = "pq: there is already a query being processed on this connection"
	)
	url := dbtest.Postgres(t)
	for _, option := range []string{"", "&statement_cache_size=0"} {
		for name, second := range map[string]string{"the same": numbers, "another": numbers + " WHERE n > 0", "a third": "SELECT $1 + 1"} {
			t.Run(option+name, func(t *testing.T) {
				t.Parallel()
				db := openOne(t, url+option)
				for range 3 {
					for _, query := range []string{numbers, numbers + " WHERE n > 0"} {
						if _, err := columns(t.Context(), db, query); err != nil {
							t.Fatal(err)
						}
					}
				}
				err := db.InTx(t.Context(), func(ctx context.Context) error {
					rows, err := db.QueryContext(ctx, numbers, 3)
					if err != nil {
						return err
					}
					defer rows.Close()
					if !rows.Next() {
						t.Error("no row")
					}
					if _, err := columns(ctx, db, second); err == nil || err.Error() != want {
						t.Errorf("while rows are open: %v, want %q", err, want)
					}
					for n := 1; rows.Next(); n++ {
						var got int
						if err := rows.Scan(&got); err != nil || got != n+1 {
							t.Errorf("%d, %v, want %d", got, err, n+1)
						}
					}
					return rows.Err()
				})
				if !errors.Is(err, database.ErrTxFailed) {
					t.Errorf("%v, want ErrTxFailed", err)
				}
				err = db.InTx(t.Context(), func(ctx context.Context) error {
					_, first := columns(ctx, db, numbers)
					_, then := columns(ctx, db, second)
					return errors.Join(first, then)
				})
				if err != nil {
					t.Errorf("one after the other: %v", err)
				}
			})
		}
	}
}

// What is read is of the same type and value, however the server sends it.
func TestStatements_Types(t *testing.T) {
	t.Parallel()
	const query = `SELECT (-9223372036854775808)::bigint, 7::bigint, (-3)::integer, (-2)::smallint, true, false, 'é'::varchar(10), 'text'::text, 'c'::char(3),
		'6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid, '2026-01-02 03:04:05.123456+02'::timestamptz, '0001-01-01 00:00:00+00'::timestamptz, '2026-01-02 03:04:05'::timestamp, '2026-01-02'::date,
		'{"a": [1, 2.50, "x"]}'::jsonb, '{"a":  1}'::json, '\x00ff'::bytea, ''::bytea, '{1,2,NULL}'::integer[], '{a,"b c"}'::text[], 1.5::float8, 0.1::float4, 'NaN'::float8,
		12.340::numeric, '1 day'::interval, 'x'::name, 5::oid, NULL::bigint, NULL::uuid, NULL::bytea, NULL::text, $1::bigint, $2::text, $3::uuid, $4::timestamptz, $5::bytea, $6::boolean, $7::float8, $8::integer[], $9::jsonb`
	args := []any{int64(1) << 62, "naïve", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), []byte{0, 255}, true, -0.1, []int64{1, 2}, json.RawMessage(`{"b": null}`)}
	url := dbtest.Postgres(t)
	for _, options := range []string{"", "&binary_parameters=no"} {
		read := func(db *database.DB) []any {
			rows, err := db.QueryContext(t.Context(), query, args...)
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			types, err := rows.ColumnTypes()
			if err != nil || !rows.Next() {
				t.Fatal(err, rows.Err())
			}
			out := make([]any, len(types))
			places := make([]any, len(types))
			for i := range places {
				places[i] = &out[i]
			}
			if err := rows.Scan(places...); err != nil {
				t.Fatal(err)
			}
			for _, kind := range types {
				out = append(out, kind.DatabaseTypeName(), kind.Name()) //nolint:makezero // after the values
			}
			return out
		}
		off, on := openOne(t, url+options+"&statement_cache_size=0"), openOne(t, url+options)
		want := read(off)
		for use := range 3 {
			for i, got := range read(on) {
				if f, ok := got.(float64); ok && math.IsNaN(f) {
					continue
				}
				if !reflect.DeepEqual(got, want[i]) {
					t.Errorf("%q: use %d: column %d is %T %v, want %T %v", options, use+1, i+1, got, got, want[i], want[i])
				}
			}
		}
		if n := kept(t, t.Context(), on); n != 1 {
			t.Errorf("%q: %d statements are prepared, want 1", options, n)
		}
	}
}

// Many at once, with few statements kept, while the schema changes under them.
func TestStatements_Crowd(t *testing.T) {
	t.Parallel()
	url := dbtest.Postgres(t)
	db, err := database.Open(t.Context(), url+"&statement_cache_size=5", database.Options{MaxConns: 6})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	migrator := open(t, url)
	execute(t, migrator, "CREATE TABLE notes (id integer)")
	var crowd sync.WaitGroup
	for worker := range 64 {
		crowd.Go(func() {
			for i := range 20 {
				read := func(ctx context.Context) error {
					_, err := columns(ctx, db, fmt.Sprintf("%s OR id = %d", everything, (worker+i)%9))
					return err
				}
				short, cancel := context.WithCancel(t.Context())
				if i%10 == 9 {
					cancel()
				}
				err := read(short)
				cancel()
				if err != nil && (i%10 != 9 || !errors.Is(err, context.Canceled)) {
					t.Errorf("a query: %v", err)
				}
				err = db.InTx(t.Context(), func(ctx context.Context) error {
					_, err := db.ExecContext(ctx, "INSERT INTO notes (id) VALUES ($1)", 100+worker)
					return errors.Join(err, read(ctx))
				})
				if err != nil {
					t.Errorf("a transaction: %v", err)
				}
			}
		})
	}
	for i := range 8 {
		execute(t, migrator, fmt.Sprintf("ALTER TABLE notes ADD COLUMN body%d text", i))
	}
	crowd.Wait()
	if n := value[int](t, t.Context(), db, "SELECT count(*) FROM notes"); n != 64*20 {
		t.Errorf("%d rows, want %d", n, 64*20)
	}
	if n := kept(t, t.Context(), db); n > 5 {
		t.Errorf("%d statements are prepared on a connection, want 5 at most", n)
	}
}

// TestStatements_ArgumentType changes the type of a column for which a prepared statement has an argument.
func TestStatements_ArgumentType(t *testing.T) {
	t.Parallel()
	const insert, read = "INSERT INTO notes (id, code) VALUES ($1, $2)", "SELECT id FROM notes WHERE code = $1"
	for name, alter := range map[string]func(db, other *database.DB) error{
		"by this store": func(db, _ *database.DB) error {
			return db.InSchemaTx(t.Context(), func(ctx context.Context) error {
				_, err := db.ExecContext(ctx, "ALTER TABLE notes ALTER code TYPE text")
				return err
			})
		},
		"by another one": func(_, other *database.DB) error {
			_, err := other.ExecContext(t.Context(), "ALTER TABLE notes ALTER code TYPE text")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := dbtest.Postgres(t)
			db, other := openOne(t, url), openOne(t, url)
			execute(t, db, "CREATE TABLE notes (id integer, code integer)")
			for i := range 2 {
				execute(t, db, insert, i, "7")
				if _, err := readInts(t.Context(), db, read, "7"); err != nil {
					t.Fatal(err)
				}
			}
			if err := alter(db, other); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if _, err := readInts(t.Context(), db, read, "x"); err != nil {
					t.Errorf("the query answers %v", err)
				}
			}
			execute(t, db, insert, 2, "007")
			if got := value[string](t, t.Context(), db, "SELECT code FROM notes WHERE id = 2"); got != "007" {
				t.Errorf("007 was kept as %s", got)
			}
		})
	}
}

// TestStatements_LastUsedStays keeps what was used last, and forgets texts that came once.
func TestStatements_LastUsedStays(t *testing.T) {
	t.Parallel()
	db := openOne(t, dbtest.Postgres(t)+"&statement_cache_size=2")
	use := func(text string) {
		t.Helper()
		if got := value[string](t, t.Context(), db, "SELECT '"+text+"' || $1", "!"); got != text+"!" {
			t.Fatalf("%s is %s", text, got)
		}
	}
	list := func() string {
		t.Helper()
		return value[string](t, t.Context(), db, "SELECT string_agg(substr(statement, 9, 1), '' ORDER BY statement) FROM pg_prepared_statements")
	}
	for _, text := range []string{"a", "a", "b", "b", "a", "c", "c"} {
		use(text)
	}
	if got := list(); got != "ac" {
		t.Errorf("the statements %s are prepared, want a and c: b was not used for the longest", got)
	}
	for _, text := range []string{"d", "e", "f", "g", "d"} { // Of more texts than are kept the first uses are forgotten.
		use(text)
	}
	if got := list(); got != "ac" {
		t.Errorf("the statements %s are prepared, want a and c alone", got)
	}
}
