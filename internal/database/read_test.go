package database_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"entgo.io/ent/dialect/sql"

	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/dbtest"
	"github.com/reviewpoint/models/internal/row"
)

// three answers three rows.
const three = "SELECT n FROM (SELECT 1 AS n UNION ALL SELECT 2 UNION ALL SELECT 3) AS numbers ORDER BY n"

func readInts(ctx context.Context, db *database.DB, query string, args ...any) (numbers []int, err error) {
	err = db.Read(ctx, query, args, func(r *row.Row) (err error) {
		numbers = append(numbers, row.Int(r.Next(), &err))
		return err
	})
	return numbers, err
}

// TestRead_Values reads what a table holds inside a transaction and outside, which are two ways.
func TestRead_Values(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		db := open(t, url)
		types := "a bigint, b varchar(9), c uuid, d bool, e bool, f timestamptz, g jsonb, h bigint"
		if db.Dialect() == "sqlite3" {
			types = "a integer, b text, c uuid, d bool, e bool, f datetime, g json, h integer"
		}
		execute(t, db, "CREATE TABLE things ("+types+")")
		at := time.Date(2026, 3, 29, 1, 59, 59, 123456000, time.FixedZone("", 9*60*60))
		execute(t, db, "INSERT INTO things VALUES ($1, $2, $3, $4, $5, $6, $7, NULL)", 1<<60, "☃'\"", "0e4f5a0c-6a1b-4c66-8f0a-0123456789ab", true, false, at, `{"a": [1, null]}`)
		read := func(ctx context.Context) (text string) {
			err := db.Read(ctx, "SELECT a, b, c, d, e, f, g, h FROM things WHERE a = $1", []any{1 << 60}, func(r *row.Row) (err error) {
				text = fmt.Sprintln(row.Int64(r.Next(), &err), row.String(r.Next(), &err), row.UUID(r.Next(), &err), row.Bool(r.Next(), &err), row.Bool(r.Next(), &err),
					row.Time(r.Next(), &err).UTC(), row.JSON[map[string]any](r.Next(), &err), r.Next())
				return err
			})
			if err != nil {
				t.Error(err)
			}
			return text
		}
		want := "1152921504606846976 ☃'\" 0e4f5a0c-6a1b-4c66-8f0a-0123456789ab true false 2026-03-28 16:59:59.123456 +0000 UTC map[a:[1 <nil>]] <nil>\n"
		for range 3 { // parsed, prepared and kept
			if got := read(t.Context()); got != want {
				t.Errorf("outside a transaction it is %s, want %s", got, want)
			}
		}
		err := db.InTx(t.Context(), func(ctx context.Context) error {
			if got := read(ctx); got != want {
				t.Errorf("inside a transaction it is %s, want %s", got, want)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// TestRead_Misfit answers an error, without the value, for what does not fit.
func TestRead_Misfit(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		db := open(t, url)
		for name, read := range map[string]func(r *row.Row, err *error){
			"an int":    func(r *row.Row, err *error) { row.Int(r.Next(), err) },
			"a time":    func(r *row.Row, err *error) { row.Time(r.Next(), err) },
			"a bool":    func(r *row.Row, err *error) { row.Bool(r.Next(), err) },
			"a uuid":    func(r *row.Row, err *error) { row.UUID(r.Next(), err) },
			"an object": func(r *row.Row, err *error) { row.JSON[map[string]any](r.Next(), err) },
		} {
			err := db.Read(t.Context(), "SELECT '"+canary+"'", nil, func(r *row.Row) (err error) {
				read(r, &err)
				return err
			})
			if !errors.Is(err, row.ErrType) || strings.Contains(err.Error(), canary) {
				t.Errorf("%s answers %v, want ErrType", name, err)
			}
		}
		if err := db.Read(t.Context(), "SELECT 1", nil, func(r *row.Row) (err error) {
			row.String(r.Next(), &err)
			return err
		}); !errors.Is(err, row.ErrType) {
			t.Errorf("text answers %v, want ErrType", err)
		}
		if _, err := readInts(t.Context(), db, "SELECT $1", "NUL\x00"+canary); err == nil || !strings.HasPrefix(err.Error(), "argument $1: ") || strings.Contains(err.Error(), canary) {
			t.Errorf("a NUL answers %v", err)
		}
		var e *database.Error
		if _, err := readInts(t.Context(), db, "SELECT nothing FROM nowhere"); !errors.As(err, &e) {
			t.Errorf("an unknown table answers %v", err)
		}
		if got, err := readInts(t.Context(), db, three); fmt.Sprint(got) != "[1 2 3]" || err != nil {
			t.Errorf("afterwards it reads %v, %v", got, err)
		}
	})
}

// TestRead_Ended stops when the context ends or the reader has enough, and leaves the connection in use.
func TestRead_Ended(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		db := open(t, url)
		enough := errors.New("enough")
		for range 30 { // more than there are connections
			ctx, stop := context.WithCancel(t.Context())
			var seen int
			err := db.Read(ctx, three, nil, func(*row.Row) error {
				seen++
				stop()
				return nil
			})
			if seen != 1 || !errors.Is(err, context.Canceled) {
				t.Fatalf("%d rows and %v, want one and context.Canceled", seen, err)
			}
			if got, err := readInts(ctx, db, three); len(got) > 0 || !errors.Is(err, context.Canceled) {
				t.Fatalf("after its end it reads %v, %v", got, err)
			}
			if err := db.Read(t.Context(), three, nil, func(*row.Row) error { return enough }); !errors.Is(err, enough) {
				t.Fatalf("a reader that has enough gets %v", err)
			}
		}
		if got, err := readInts(t.Context(), db, three); fmt.Sprint(got) != "[1 2 3]" || err != nil {
			t.Errorf("afterwards it reads %v, %v", got, err)
		}
	})
}

// TestRead_Lost reads on another connection when the server has closed the one, and each row once.
func TestRead_Lost(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		db := open(t, url)
		if db.Dialect() == "sqlite3" {
			t.Skip("there is no server")
		}
		end := "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
		for range 3 {
			if _, err := readInts(t.Context(), open(t, url), end); err != nil {
				t.Fatal(err)
			}
			got, err := readInts(t.Context(), db, three)
			if fmt.Sprint(got) != "[1 2 3]" || err != nil {
				t.Errorf("after the server has closed the connections it reads %v, %v", got, err)
			}
		}
		// Enough text that the server sends rows before it ends.
		seen := make(map[int]int)
		err := db.Read(t.Context(), "SELECT i, repeat('x', 10000), CASE WHEN i = 50 THEN pg_terminate_backend(pg_backend_pid()) END FROM generate_series(1, 60) AS i", nil, func(r *row.Row) (err error) {
			seen[row.Int(r.Next(), &err)]++
			return err
		})
		if err == nil || len(seen) == 0 {
			t.Errorf("a connection that is lost on the way answers %v after %d rows", err, len(seen))
		}
		for i, n := range seen {
			if n != 1 {
				t.Errorf("row %d is read %d times", i, n)
			}
		}
		if got, err := readInts(t.Context(), db, three); fmt.Sprint(got) != "[1 2 3]" || err != nil {
			t.Errorf("afterwards it reads %v, %v", got, err)
		}
	})
}

// TestQuery_Interrupted ends a query of the client that would run for ever, when its context ends.
func TestQuery_Interrupted(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		sent := make(chan struct{}, 10)
		db, err := database.Open(t.Context(), url, database.Options{Before: func(string, []driver.NamedValue) { sent <- struct{}{} }})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		for len(sent) > 0 {
			<-sent
		}
		ctx, stop := context.WithCancel(t.Context())
		go func() {
			<-sent
			stop()
		}()
		forever := "SELECT count(*) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n) AS numbers"
		var rows sql.Rows
		err = db.Query(ctx, forever, []any{}, &rows)
		if err == nil { // The first row is read by Next.
			rows.Next()
			err = errors.Join(rows.Err(), rows.Close())
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error = %v, want context.Canceled", err)
		}
		if got, err := readInts(t.Context(), db, three); fmt.Sprint(got) != "[1 2 3]" || err != nil {
			t.Errorf("afterwards it reads %v, %v", got, err)
		}
	})
}

// TestRead_Turn gives the turn back with the rows, once, and to who ends waiting none.
func TestRead_Turn(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		db, err := database.Open(t.Context(), url, database.Options{MaxConns: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		for range 3 {
			var rows sql.Rows
			if err := db.Query(t.Context(), three, []any{}, &rows); err != nil {
				t.Fatal(err)
			}
			waiting, end := context.WithCancel(t.Context())
			answers := make(chan error)
			go func() {
				_, err := readInts(waiting, db, three)
				answers <- err
			}()
			end()
			if err := <-answers; !errors.Is(err, context.Canceled) {
				t.Errorf("who does not wait any more gets %v, want context.Canceled", err)
			}
			if err := errors.Join(rows.Close(), rows.Close()); err != nil {
				t.Error(err)
			}
			if err := db.Query(t.Context(), "SELECT nothing FROM nowhere", []any{}, &rows); err == nil {
				t.Error("a table is known that is not there")
			}
			if _, err := readInts(t.Context(), db, "SELECT nothing FROM nowhere"); err == nil {
				t.Error("a table is known that is not there")
			}
			if got, err := readInts(t.Context(), db, three); fmt.Sprint(got) != "[1 2 3]" || err != nil {
				t.Errorf("afterwards it reads %v, %v", got, err)
			}
		}
	})
}

// TestTurns_Order lets those who wait go in the order in which they came.
func TestTurns_Order(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		take, pass := database.Turns(2)
		var order []int
		for i := range 52 {
			go func() {
				if err := take(t.Context()); err != nil {
					t.Error(err)
				}
				order = append(order, i)
			}()
			synctest.Wait() // until it has its turn, or waits
		}
		if len(order) != 2 {
			t.Errorf("%d have a turn at once, want 2", len(order))
		}
		for range 52 {
			pass()
			synctest.Wait()
		}
		if len(order) != 52 || !slices.IsSorted(order) {
			t.Errorf("the order is %v", order)
		}
	})
}

// TestRead_StalePool reads after a failover: all connections of the pool look sound until they are written to.
func TestRead_StalePool(t *testing.T) {
	t.Parallel()
	address, err := url.Parse(dbtest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var failovers atomic.Int64
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go passOn(client, address.Host, failovers.Load(), &failovers)
		}
	}()
	through := *address
	through.Host = listener.Addr().String()
	db := open(t, through.String())
	var held []*sql.Rows
	for range 10 { // which the pool has at most
		rows := &sql.Rows{}
		if err := db.Query(t.Context(), three, []any{}, rows); err != nil {
			t.Fatal(err)
		}
		held = append(held, rows)
	}
	for _, rows := range held {
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
	}
	failovers.Add(1)
	for range 3 {
		if got, err := readInts(t.Context(), db, three); fmt.Sprint(got) != "[1 2 3]" || err != nil {
			t.Errorf("after a failover it reads %v, %v", got, err)
		}
	}
}

// passOn passes on what client says, until there has been a failover since it came.
func passOn(client net.Conn, server string, came int64, failovers *atomic.Int64) {
	defer client.Close()
	upstream, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer upstream.Close()
	go io.Copy(client, upstream) //nolint:errcheck // It ends with either of them.
	buffer := make([]byte, 4096)
	for {
		n, err := client.Read(buffer)
		if err != nil || failovers.Load() != came {
			return
		}
		if _, err := upstream.Write(buffer[:n]); err != nil {
			return
		}
	}
}
