// Package database is the layer under ent: it opens SQLite and PostgreSQL by URL, sends reads and
// writes where they belong, carries transactions in the context, and gives arguments and errors one
// form on both.
package database

import (
	"context"
	stdsql "database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql"
)

// Options of Open. The zero value is the default.
type Options struct {
	// MaxConns bounds the connections: SQLite's readers beside its one writer, or PostgreSQL's pool.
	// Defaults to twice the processors but at least 4, and to 10.
	MaxConns int
	// ReadOnly opens a database only to look: nothing can be written, and a missing file is not made.
	ReadOnly bool
	// Existing refuses a file of SQLite that is not there, instead of making it.
	Existing bool
	// LockTimeout bounds the wait for a lock: lock_timeout, or busy_timeout on SQLite. Defaults to the URL's.
	LockTimeout time.Duration
	// Before is called with each statement that goes to the database, and with BEGIN and COMMIT. Its
	// arguments are not to be shown to anybody. It must be safe for use by several goroutines. Defaults to
	// nothing.
	Before func(query string, args []driver.NamedValue)

	grace time.Duration // of tests: how long a server may take to cancel a statement
}

// DB is a database as a dialect.Driver of ent. It is safe for use by several goroutines.
type DB struct {
	dialect        string
	name           string
	writer, reader *stdsql.DB    // the same pool on PostgreSQL
	wait           time.Duration // how long a writer of SQLite waits for its turn
	turns          turns         // of those who read
	epoch          *atomic.Int64 // of PostgreSQL's prepared statements
}

// Open opens the database at url and connects to it once. Its errors say what to do, in one line and
// without the password.
func Open(ctx context.Context, url string, opts Options) (*DB, error) {
	t, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	if opts.MaxConns < 0 {
		return nil, fmt.Errorf("the number of connections must be positive, not %d", opts.MaxConns)
	}
	if t.dialect == dialect.Postgres {
		if opts.ReadOnly {
			t.readOnly = true
		}
		return openPostgres(ctx, t, opts)
	}
	t.readOnly = t.readOnly || opts.ReadOnly
	t.existing = opts.Existing || t.readOnly
	if opts.LockTimeout > 0 {
		t.busyTimeout = opts.LockTimeout
	}
	return openSQLite(ctx, t, opts)
}

// CheckURL returns what Open says of an url that it cannot read, and opens nothing.
func CheckURL(url string) error {
	_, err := parseURL(url)
	return err
}

// CheckExisting returns what Open with the option Existing says of an url that it cannot read, or of a file
// of SQLite that is not there, and opens nothing.
func CheckExisting(url string) error {
	t, err := parseURL(url)
	if err != nil || t.dialect != dialect.SQLite || t.memory {
		return err
	}
	t.existing = true
	return prepareFile(t)
}

// HasSQLite reports whether this program was built with SQLite, which takes a C compiler.
func HasSQLite() bool { return sqliteDriver() != nil }

// Close closes every connection. It waits for running queries to end.
func (db *DB) Close() error {
	if db.reader == db.writer {
		return db.writer.Close()
	}
	return errors.Join(db.reader.Close(), db.writer.Close())
}

// Ping reports whether the database answers.
func (db *DB) Ping(ctx context.Context) error {
	var one int
	return db.reader.QueryRowContext(ctx, "SELECT 1").Scan(&one)
}

// Dialect is "sqlite3" or "postgres".
func (db *DB) Dialect() string { return db.dialect }

// Name says which database it is, for people: a path, or host:port/database.
func (db *DB) Name() string { return db.name }

// Exec is ent's way to run a statement. Like Query, it joins the transaction that ctx carries.
func (db *DB) Exec(ctx context.Context, query string, args, v any) error {
	return sql.Conn{ExecQuerier: db}.Exec(ctx, query, args, v)
}

// Query is ent's way to run a query.
func (db *DB) Query(ctx context.Context, query string, args, v any) error {
	if u := unitFrom(ctx, db); u != nil {
		return u.query(ctx, query, args, v)
	}
	acquire, turns := db.acquire, turns(nil) // for INSERT ... RETURNING, too
	if db.isRead(query) {
		acquire, turns = db.reader.Conn, db.turns
	}
	if err := turns.take(ctx); err != nil {
		return err
	}
	err := db.lease(ctx, acquire, func(conn *stdsql.Conn) error {
		if err := (sql.Conn{ExecQuerier: conn}).Query(watched{ctx}, query, args, v); err != nil {
			_ = conn.Close() // A broken one is closed already.
			return err
		}
		rows := v.(*sql.Rows) // which give the connection back when they are closed
		rows.ColumnScanner = &leasedRows{rows.ColumnScanner, conn, turns}
		return answer(v, nil, nil)
	})
	if err != nil {
		turns.pass()
	}
	return err
}

// turns lets as many read at once as there are connections, in the order in which they came: database/sql
// gives a connection to any of those who wait, so that some would wait many times as long as others. One
// that is nil lets everybody.
type turns chan struct{}

func (t turns) take(ctx context.Context) error {
	if t == nil {
		return nil
	}
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t turns) pass() {
	if t != nil {
		<-t
	}
}

// lease calls use with a connection, and with another one if that was broken before anything ran, until
// none is left that was made before: after a failover all that wait in the pool may be broken.
func (db *DB) lease(ctx context.Context, acquire func(context.Context) (*stdsql.Conn, error), use func(*stdsql.Conn) error) error {
	for left := cap(db.turns); ; left-- {
		conn, err := acquire(ctx)
		if err != nil {
			return err
		}
		if err = use(conn); !errors.Is(err, driver.ErrBadConn) || left == 0 {
			return err
		}
	}
}

// watched is a context that the driver alone watches: it interrupts the statement when the context ends.
// database/sql would do so once more, by a goroutine for each query. Rows of such a query must be closed.
type watched struct{ context.Context } //nolint:containedctx // It is a context.

func (watched) Done() <-chan struct{} { return nil }

// answer makes the rows of a query, unless it has failed, say nothing of values that cannot be scanned,
// and call first with the first row.
func answer(v any, err error, first func()) error {
	if rows, ok := v.(*sql.Rows); ok && err == nil {
		rows.ColumnScanner = &answerRows{rows.ColumnScanner, first}
	}
	return err
}

type answerRows struct {
	sql.ColumnScanner
	first func()
}

func (r *answerRows) Next() bool {
	next := r.ColumnScanner.Next()
	if next && r.first != nil {
		r.first()
		r.first = nil
	}
	return next
}

func (r *answerRows) Scan(dest ...any) error {
	err := r.ColumnScanner.Scan(dest...)
	if cause := errors.Unwrap(err); cause != nil && strings.HasPrefix(err.Error(), "sql: Scan error") {
		return errors.New(strings.TrimSuffix(err.Error(), cause.Error()) + "it does not fit the type that it is read into")
	}
	return err
}

// ExecContext runs a statement in the transaction that ctx carries, or else on the writer.
func (db *DB) ExecContext(ctx context.Context, query string, args ...any) (stdsql.Result, error) {
	if u := unitFrom(ctx, db); u != nil {
		return u.ExecContext(ctx, query, args...)
	}
	conn, err := db.acquire(ctx)
	if err != nil {
		return nil, err
	}
	result, err := conn.ExecContext(ctx, query, args...)
	return result, errors.Join(err, conn.Close())
}

// QueryContext runs a query in the transaction that ctx carries, or else on a reader if it is one.
func (db *DB) QueryContext(ctx context.Context, query string, args ...any) (*stdsql.Rows, error) {
	if u := unitFrom(ctx, db); u != nil {
		return u.QueryContext(ctx, query, args...)
	}
	if db.isRead(query) {
		return db.reader.QueryContext(ctx, query, args...)
	}
	conn, err := db.acquire(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := conn.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	go conn.Close() // It waits for the rows to be closed, and so cannot fail.
	return rows, nil
}

// isRead reports whether a query may go to a reader. Whatever it does not know goes to the writer,
// and a reader refuses what writes, so a mistake costs time but never a change.
func (db *DB) isRead(query string) bool {
	return db.reader == db.writer || isSelect(query)
}

func isSelect(query string) bool { return len(query) > 6 && strings.EqualFold(query[:6], "SELECT") }

// acquire takes a connection for writing. In SQLite there is one, and waiting for it ends like
// waiting for another process does: with ErrBusy.
func (db *DB) acquire(ctx context.Context) (*stdsql.Conn, error) {
	if db.dialect != dialect.SQLite {
		return db.writer.Conn(ctx)
	}
	waiting, stop := context.WithTimeout(ctx, db.wait)
	defer stop()
	conn, err := db.writer.Conn(waiting)
	if err != nil && ctx.Err() == nil && waiting.Err() != nil {
		return nil, fmt.Errorf("%w: the writer was not free within %s; inside InTx, use the context that InTx gives", ErrBusy, db.wait)
	}
	return conn, err
}

// leasedRows gives the connection back with the rows, and the turn to the next.
type leasedRows struct {
	sql.ColumnScanner

	conn  *stdsql.Conn // nil once it is given back
	turns turns
}

func (r *leasedRows) Close() error {
	err := r.ColumnScanner.Close()
	if r.conn != nil {
		err = errors.Join(err, r.conn.Close())
		r.conn = nil
		r.turns.pass()
	}
	return err
}

// pause waits, or answers the error of ctx when that ends first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
