package database_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/dbtest"
)

// silentProxy stands between a pool and its server. It can stop passing on what either says, without
// closing a connection, and it can close the connection when the client has spoken.
type silentProxy struct {
	server   string
	listener net.Listener
	conns    sync.WaitGroup

	mu     sync.Mutex
	open   []net.Conn
	mode   int
	heard  chan struct{} // gets one when the client says something that is not passed on as usual
	resume chan struct{} // closed at the end
}

const (
	proxyPasses = iota
	proxyIsSilent
	proxyDropsAnswer // the server hears what the client says, and the connection ends instead of its answer; others pass
)

func newSilentProxy(t *testing.T, address string) (*silentProxy, string) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &silentProxy{server: u.Host, listener: listener, heard: make(chan struct{}, 1), resume: make(chan struct{})}
	t.Cleanup(func() {
		listener.Close()
		close(p.resume)
		p.lose()
		p.conns.Wait()
	})
	p.conns.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			p.conns.Go(func() { p.serve(client) })
		}
	})
	u.Host = listener.Addr().String()
	return p, u.String()
}

// lose closes all connections.
func (p *silentProxy) lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.open {
		conn.Close()
	}
}

func (p *silentProxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		client.Close()
		return
	}
	p.mu.Lock()
	p.open = append(p.open, client, server)
	p.mu.Unlock()
	pass := func(from, to net.Conn, byClient bool) {
		defer from.Close()
		defer to.Close()
		buffer := make([]byte, 64<<10)
		for {
			n, err := from.Read(buffer)
			if err != nil || !p.pass(byClient) {
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
	}
	p.conns.Go(func() { pass(client, server, true) })
	pass(server, client, false)
}

// pass reports whether something is to be passed on. While the proxy is silent, it waits.
func (p *silentProxy) pass(byClient bool) bool {
	p.mu.Lock()
	mode := p.mode
	if mode == proxyDropsAnswer && !byClient {
		p.mode = proxyPasses
	}
	p.mu.Unlock()
	if mode == proxyPasses {
		return true
	}
	if byClient {
		select {
		case p.heard <- struct{}{}:
		default:
		}
	}
	if mode == proxyIsSilent {
		<-p.resume
	}
	return mode == proxyDropsAnswer && byClient
}

// set changes the mode, for what is said from now on.
func (p *silentProxy) set(mode int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = mode
	select {
	case <-p.heard:
	default:
	}
}

func openShort(t *testing.T, url string) *database.DB {
	t.Helper()
	// Without a limit of lib/pq's own, which would end the wait for a server that is to cancel.
	db, err := database.Open(t.Context(), url+"&connect_timeout=0", database.Options{MaxConns: 1}.WithGrace(time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// drain runs a query and reads its rows.
func drain(ctx context.Context, db *database.DB, query string, args ...any) error {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() { // They are not looked at.
	}
	return rows.Err()
}

// A call whose server falls silent ends with its context, and what it began is not begun again.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	const (
		insert = "INSERT INTO notes (body) VALUES ($1)"
		ask    = "SELECT body FROM notes WHERE body = $1"
	)
	direct := dbtest.Postgres(t)
	witness := open(t, direct)
	execute(t, witness, "CREATE TABLE notes (body text)")
	exec := func(ctx context.Context, db *database.DB, text string, args ...any) error {
		_, err := db.ExecContext(ctx, text, args...)
		return err
	}
	type call func(ctx context.Context, db *database.DB, silence func()) error
	for name, test := range map[string]struct {
		uses    int // of insert and ask before
		options string
		call    call
		want    error
	}{
		"query without arguments": {0, "", func(ctx context.Context, db *database.DB, silence func()) error {
			silence()
			return drain(ctx, db, "SELECT 1")
		}, context.Canceled},
		"query": {0, "", func(ctx context.Context, db *database.DB, silence func()) error {
			silence()
			return drain(ctx, db, ask, "x")
		}, context.Canceled},
		"query that prepares": {1, "", func(ctx context.Context, db *database.DB, silence func()) error {
			silence()
			return drain(ctx, db, ask, "x")
		}, context.Canceled},
		"query of a prepared statement": {2, "", func(ctx context.Context, db *database.DB, silence func()) error {
			silence()
			return drain(ctx, db, ask, "x")
		}, context.Canceled},
		"query that returns rows of a change": {2, "", func(ctx context.Context, db *database.DB, silence func()) error {
			silence()
			return drain(ctx, db, insert+" RETURNING body", "x")
		}, context.Canceled},
		"exec without arguments": {0, "", func(ctx context.Context, db *database.DB, silence func()) error {
			silence()
			return exec(ctx, db, "DELETE FROM notes")
		}, context.Canceled},
		"exec": {0, "", func(ctx context.Context, db *database.DB, silence func()) error {
			silence()
			return exec(ctx, db, insert, "x")
		}, context.Canceled},
		"exec that prepares": {1, "", func(ctx context.Context, db *database.DB, silence func()) error {
			silence()
			return exec(ctx, db, insert, "x")
		}, context.Canceled},
		"exec of a prepared statement": {2, "", func(ctx context.Context, db *database.DB, silence func()) error {
			silence()
			return exec(ctx, db, insert, "x")
		}, context.Canceled},
		"exec that drives another statement out": {2, "&statement_cache_size=1", func(ctx context.Context, db *database.DB, silence func()) error {
			if err := exec(ctx, db, "DELETE FROM notes WHERE body = $1", "y"); err != nil {
				return err
			}
			silence()
			return exec(ctx, db, "DELETE FROM notes WHERE body = $1", "y")
		}, context.Canceled},
		"prepare": {0, "", func(ctx context.Context, db *database.DB, silence func()) error {
			pool, _ := db.Pools()
			silence()
			stmt, err := pool.PrepareContext(ctx, insert)
			if err != nil {
				return err
			}
			return stmt.Close() //nolint:sqlclosecheck // It is all that happens to it.
		}, context.Canceled},
		"exec of a caller's statement": {0, "", func(ctx context.Context, db *database.DB, silence func()) error {
			pool, _ := db.Pools()
			stmt, err := pool.PrepareContext(ctx, insert)
			if err != nil {
				return err
			}
			defer stmt.Close()
			silence()
			_, err = stmt.ExecContext(ctx, "x")
			return err
		}, nil}, // as lib/pq says it
		"ping": {0, "", func(ctx context.Context, db *database.DB, silence func()) error {
			silence()
			return db.Ping(ctx)
		}, context.Canceled},
		"connect": {0, "", func(ctx context.Context, db *database.DB, silence func()) error {
			pool, _ := db.Pools()
			pool.SetMaxIdleConns(0) // closes the idle one
			silence()
			return drain(ctx, db, "SELECT 1")
		}, context.Canceled},
		"begin": {0, "", func(ctx context.Context, db *database.DB, silence func()) error {
			silence()
			return db.InTx(ctx, func(ctx context.Context) error { return exec(ctx, db, insert, "x") })
		}, context.Canceled},
		"exec in a transaction": {0, "", func(ctx context.Context, db *database.DB, silence func()) error {
			return db.InTx(ctx, func(ctx context.Context) error {
				if err := exec(ctx, db, insert, "x"); err != nil {
					return err
				}
				silence()
				return exec(ctx, db, insert, "x")
			})
		}, context.Canceled},
		"exec of a prepared statement in a transaction": {2, "", func(ctx context.Context, db *database.DB, silence func()) error {
			return db.InTx(ctx, func(ctx context.Context) error {
				if err := exec(ctx, db, insert, "x"); err != nil {
					return err
				}
				silence()
				return exec(ctx, db, insert, "x")
			})
		}, context.Canceled},
		"rollback": {0, "", func(ctx context.Context, db *database.DB, silence func()) error {
			return db.InTx(ctx, func(ctx context.Context) error {
				if err := exec(ctx, db, insert, "x"); err != nil {
					return err
				}
				silence()
				return context.Canceled
			})
		}, context.Canceled},
		"commit": {0, "", func(ctx context.Context, db *database.DB, silence func()) error {
			return db.InTx(ctx, func(ctx context.Context) error {
				if err := exec(ctx, db, insert, "x"); err != nil {
					return err
				}
				silence()
				return nil
			})
		}, database.ErrCommitUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, url := newSilentProxy(t, direct)
			db := openShort(t, url+test.options)
			for range test.uses {
				if err := errors.Join(exec(t.Context(), db, insert, "warm"), drain(t.Context(), db, ask, "warm")); err != nil {
					t.Fatal(err)
				}
			}
			limit, stop := context.WithTimeout(t.Context(), time.Minute) // else the test would hang
			defer stop()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			answered := make(chan error, 1)
			go func() { answered <- test.call(ctx, db, func() { p.set(proxyIsSilent) }) }()
			select {
			case <-p.heard:
			case err := <-answered:
				t.Fatalf("answered before the server was asked: %v", err)
			}
			cancel()
			select {
			case err := <-answered:
				if err == nil || (test.want != nil && !errors.Is(err, test.want)) {
					t.Errorf("%v, want %v", err, test.want)
				}
				if test.want != nil && errors.Is(test.want, context.Canceled) && errors.Is(err, database.ErrCommitUnknown) {
					t.Errorf("nothing was committed: %v", err)
				}
			case <-limit.Done():
				t.Fatal("it waits for the server")
			}
			p.set(proxyPasses)
			if err := drain(t.Context(), db, "SELECT 1"); err != nil {
				t.Errorf("afterwards: %v", err)
			}
			if n := value[int](t, t.Context(), witness, "SELECT count(*) FROM notes WHERE body = 'x'"); n != 0 {
				t.Errorf("%d rows were written of which the server never heard", n)
			}
		})
	}
}

// The rows of a query end with its context, too, whether or not its statement is prepared.
func TestSilentServer_Rows(t *testing.T) {
	t.Parallel()
	direct := dbtest.Postgres(t)
	for _, option := range []string{"", "&statement_cache_size=0"} {
		t.Run(option, func(t *testing.T) {
			t.Parallel()
			p, url := newSilentProxy(t, direct)
			db := openShort(t, url+option)
			const many = "SELECT repeat('x', 1000) FROM generate_series(1, $1)"
			ask := func(ctx context.Context, n int, first func()) error {
				rows, err := db.QueryContext(ctx, many, n)
				if err != nil {
					return err
				}
				defer rows.Close()
				for rows.Next() {
					if first != nil {
						first()
						first = nil
					}
				}
				return rows.Err()
			}
			for range 2 {
				if err := ask(t.Context(), 1, nil); err != nil {
					t.Fatal(err)
				}
			}
			limit, stop := context.WithTimeout(t.Context(), time.Minute) // else the test would hang
			defer stop()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			answered := make(chan error, 1)
			go func() { answered <- ask(ctx, 30000, func() { p.set(proxyIsSilent); cancel() }) }()
			select {
			case err := <-answered:
				if !errors.Is(err, context.Canceled) {
					t.Errorf("%v, want context.Canceled", err)
				}
			case <-limit.Done():
				t.Fatal("it waits for the server")
			}
			p.set(proxyPasses)
			if n := value[int](t, t.Context(), db, "SELECT 1"); n != 1 {
				t.Errorf("afterwards: %d", n)
			}
		})
	}
}

// A server that lives is asked to cancel, and has time to answer.
func TestCancel_LivingServer(t *testing.T) {
	t.Parallel()
	url := dbtest.Postgres(t)
	watcher := open(t, url)
	const asleep = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid = $1 AND wait_event = 'PgSleep'"
	for name, uses := range map[string]int{"at first": 0, "prepared": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, err := database.Open(t.Context(), url, database.Options{MaxConns: 1}.WithGrace(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			for range uses {
				execute(t, db, "SELECT pg_sleep($1)", 0)
			}
			pid := value[int](t, t.Context(), db, "SELECT pg_backend_pid()")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			answered := make(chan error, 1)
			go func() {
				_, err := db.ExecContext(ctx, "SELECT pg_sleep($1)", 1000)
				answered <- err
			}()
			for value[int](t, t.Context(), watcher, asleep, pid) == 0 { //nolint:revive // It waits for the server.
			}
			cancel()
			if err := <-answered; !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want context.Canceled", err)
			}
			for value[int](t, t.Context(), watcher, asleep, pid) != 0 { //nolint:revive // as above
			}
			// The server may be slow to hear of it, and cancel what comes next.
			if after := value[int](t, t.Context(), db, "SELECT pg_backend_pid()"); after == pid {
				t.Error("the connection is used again")
			}
		})
	}
}

// What a living server says of a commit that is cancelled is known.
func TestCancel_Commit(t *testing.T) {
	t.Parallel()
	url := dbtest.Postgres(t)
	watcher := open(t, url)
	execute(t, watcher, "CREATE TABLE notes (body text)")
	execute(t, watcher, "CREATE FUNCTION doze() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1000); RETURN NULL; END'")
	execute(t, watcher, "CREATE CONSTRAINT TRIGGER doze AFTER INSERT ON notes DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION doze()")
	db, err := database.Open(t.Context(), url, database.Options{MaxConns: 1}.WithGrace(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answered := make(chan error, 1)
	go func() {
		answered <- db.InTx(ctx, func(ctx context.Context) error {
			_, err := db.ExecContext(ctx, "INSERT INTO notes (body) VALUES ($1)", "x")
			return err
		})
	}()
	for value[int](t, t.Context(), watcher, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'") == 0 { //nolint:revive // It waits for the server.
	}
	cancel()
	if err := <-answered; !errors.Is(err, context.Canceled) || errors.Is(err, database.ErrCommitUnknown) {
		t.Errorf("%v, want context.Canceled alone", err)
	}
	if n := value[int](t, t.Context(), watcher, "SELECT count(*) FROM notes"); n != 0 {
		t.Errorf("%d rows were kept", n)
	}
}

// A transaction in which a statement was cancelled cannot be committed, whether or not its end was heard,
// and that is known.
func TestCancel_InTransaction(t *testing.T) {
	t.Parallel()
	url := dbtest.Postgres(t)
	execute(t, open(t, url), "CREATE TABLE notes (body text)")
	const many = "SELECT repeat('x', 1000) FROM generate_series(1, $1)"
	for name, uses := range map[string]int{"at first": 0, "prepared": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := openOne(t, url)
			for range uses {
				if err := drain(t.Context(), db, many, 1); err != nil {
					t.Fatal(err)
				}
			}
			err := db.InTx(t.Context(), func(ctx context.Context) error {
				if _, err := db.ExecContext(ctx, "INSERT INTO notes (body) VALUES ($1)", name); err != nil {
					return err
				}
				short, cancel := context.WithCancel(ctx)
				defer cancel()
				rows, err := db.QueryContext(short, many, 30000)
				if err != nil {
					return err
				}
				defer rows.Close()
				rows.Next()
				cancel()
				for rows.Next() { // They are not looked at.
				}
				if err := rows.Err(); !errors.Is(err, context.Canceled) {
					t.Errorf("the rows: %v, want context.Canceled", err)
				}
				return nil
			})
			if !errors.Is(err, database.ErrTxFailed) || errors.Is(err, database.ErrCommitUnknown) {
				t.Errorf("%v, want ErrTxFailed", err)
			}
			if n := value[int](t, t.Context(), db, "SELECT count(*) FROM notes WHERE body = $1", name); n != 0 {
				t.Errorf("%d rows were kept", n)
			}
		})
	}
}

// The connection of a call that is cancelled may end before the answer.
func TestCancel_LostConnection(t *testing.T) {
	t.Parallel()
	p, url := newSilentProxy(t, dbtest.Postgres(t))
	db, err := database.Open(t.Context(), url, database.Options{MaxConns: 1}.WithGrace(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p.set(proxyIsSilent)
	answered := make(chan error, 1)
	go func() {
		_, err := db.ExecContext(ctx, "SELECT $1::text", "x")
		answered <- err
	}()
	<-p.heard
	cancel()
	p.lose()
	if err := <-answered; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
}

// A connection that ends while the answer is on its way leaves open what the server did: only what
// reads, or what was only prepared, is asked again.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	direct := dbtest.Postgres(t)
	witness := open(t, direct)
	execute(t, witness, "CREATE TABLE notes (body text)")
	const insert = "INSERT INTO notes (body) VALUES ($1) RETURNING body"
	for name, test := range map[string]struct {
		uses int
		args []any
	}{"at first": {0, []any{"x"}}, "prepares": {1, []any{"y"}}, "prepared": {2, []any{"z"}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, url := newSilentProxy(t, direct)
			db := openShort(t, url)
			for range test.uses {
				value[string](t, t.Context(), db, insert, "warm")
			}
			p.set(proxyDropsAnswer)
			err := drain(t.Context(), db, insert, test.args...)
			n := value[int](t, t.Context(), witness, "SELECT count(*) FROM notes WHERE body = $1", test.args...)
			t.Logf("%v, %d rows", err, n)
			if n > 1 {
				t.Errorf("the statement ran %d times", n)
			}
			if err == nil && n != 1 {
				t.Errorf("the statement succeeded and %d rows were written", n)
			}
			if errors.Is(err, io.EOF) {
				t.Errorf("it looks like the end of the rows: %v", err)
			}
		})
	}
}
