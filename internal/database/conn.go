package database

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/clock"
	"github.com/reviewpoint/models/internal/text"
)

// The one text of an instant in SQLite, so that text sorts, and is equal, as instants are. A whole
// second is written as CURRENT_TIMESTAMP writes it, and sorts before those with a fraction.
const (
	sqliteSecond = "2006-01-02 15:04:05"
	sqliteTime   = "2006-01-02 15:04:05.000000-07:00"
)

// connector makes connections whose arguments and errors follow the rules of the layer. It stands
// below database/sql, so there is no way around it.
type connector struct {
	dialect string
	// lib/pq begins every transaction READ WRITE, whatever default_transaction_read_only says, unless it is told otherwise.
	readOnly bool
	before   func(query string, args []driver.NamedValue) // may be nil
	observer *observer
	connect  func(context.Context, *conn) (driver.Conn, error)
	driver   driver.Driver

	// Of PostgreSQL.
	statements int // kept prepared on each connection
	epoch      atomic.Int64
	grace      time.Duration
}

func (c *connector) Driver() driver.Driver { return c.driver }

func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	out := &conn{dialect: c.dialect, readOnly: c.readOnly, before: c.before, observer: c.observer, grace: c.grace, statements: newStatements(c.statements, &c.epoch)}
	var err error
	if out.Conn, err = c.connect(ctx, out); err != nil {
		return nil, translate(ctx, err)
	}
	return out, nil
}

// conn is a connection of a driver. Once a statement of a transaction has failed, the rest of the
// transaction is refused on both dialects, as PostgreSQL does, and so is its commit.
type conn struct {
	driver.Conn
	dialect string
	socket  net.Conn // of PostgreSQL
	inTx    bool
	failed  bool
	// Whether every transaction is begun READ ONLY.
	readOnly bool
	before   func(query string, args []driver.NamedValue)
	observer *observer

	// Of PostgreSQL.
	statements *statements // nil where none are kept
	cancelled  atomic.Bool // The context of a call has ended before its answer; the server may yet cancel another one.
	grace      time.Duration
}

func (c *conn) tell(query string, args []driver.NamedValue) {
	if c.before != nil {
		c.before(query, args)
	}
}

// ready refuses a statement when the transaction has failed; going back to a savepoint mends it.
func (c *conn) ready(query string) error {
	cancelled := c.cancelled.Load()
	switch {
	case c.failed && cancelled:
		return ErrTxFailed
	case cancelled:
		return driver.ErrBadConn // as lib/pq has it
	case !c.failed && c.statements != nil && c.statements.open:
		c.failed = c.inTx
		return errInProgress
	case !c.failed:
		return nil
	}
	if len(query) >= len(rollbackTo) && query[:len(rollbackTo)] == rollbackTo {
		c.failed = false
		return nil
	}
	return ErrTxFailed
}

func (c *conn) answer(ctx context.Context, err error) error {
	if err != nil && !errors.Is(err, driver.ErrSkip) {
		c.failed = c.inTx
	}
	if errors.Is(err, driver.ErrBadConn) && ctx.Err() != nil {
		return contextError(ctx)
	}
	return translate(ctx, err)
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if err := c.ready(query); err != nil {
		return nil, err
	}
	c.tell(query, args)
	seen := c.observer.begin(ctx, query)
	result, err := c.exec(ctx, query, args)
	err = c.answer(ctx, err)
	seen.changed(result, err)
	return result, err
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if err := c.ready(query); err != nil {
		return nil, err
	}
	if w, ok := ctx.(watched); ok {
		ctx = w.Context
	}
	c.tell(query, args)
	seen := c.observer.begin(ctx, query)
	inner, err := c.query(ctx, query, args)
	if err != nil {
		err = c.answer(ctx, err)
		seen.end(err)
		return nil, err
	}
	return &rows{Rows: inner, conn: c, ctx: ctx, seen: seen}, nil
}

func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if err := c.ready(query); err != nil {
		return nil, err
	}
	stmt, err := c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
	return stmt, c.answer(ctx, err)
}

func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	opts.ReadOnly = opts.ReadOnly || c.readOnly
	c.tell("BEGIN", nil)
	seen := c.observer.begin(ctx, "BEGIN")
	var inner driver.Tx
	err := c.within(ctx, func() (err error) {
		inner, err = c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
		return err
	})
	err = translate(ctx, err)
	seen.changed(nil, err)
	if err != nil {
		return nil, err
	}
	c.beginStatements(ctx)
	c.inTx, c.failed = true, false
	return &connTx{conn: c, inner: inner, ctx: ctx}, nil
}

func (c *conn) Ping(ctx context.Context) error {
	return translate(ctx, c.Conn.(driver.Pinger).Ping(ctx))
}

// ResetSession lets the driver refuse a connection that is broken before it is used again.
func (c *conn) ResetSession(ctx context.Context) error {
	c.inTx, c.failed = false, false
	c.endStatements()
	if c.cancelled.Load() {
		return driver.ErrBadConn
	}
	if c.socket != nil && closedByServer(c.socket) {
		return driver.ErrBadConn
	}
	if inner, ok := c.Conn.(driver.SessionResetter); ok {
		return inner.ResetSession(ctx)
	}
	return nil
}

// IsValid lets the driver drop a connection that is broken.
func (c *conn) IsValid() bool {
	inner, ok := c.Conn.(driver.Validator)
	return !c.cancelled.Load() && (!ok || inner.IsValid())
}

// CheckNamedValue gives every argument the form that both databases keep alike.
func (c *conn) CheckNamedValue(nv *driver.NamedValue) error {
	if raw, ok := nv.Value.(json.RawMessage); ok {
		nv.Value = string(raw) // SQLite would keep bytes as a BLOB, and PostgreSQL take them for its own binary form.
	}
	err := driver.ErrSkip
	if inner, ok := c.Conn.(driver.NamedValueChecker); ok {
		err = inner.CheckNamedValue(nv)
	}
	if errors.Is(err, driver.ErrSkip) {
		nv.Value, err = driver.DefaultParameterConverter.ConvertValue(nv.Value)
	}
	if err != nil {
		return err
	}
	switch value := nv.Value.(type) {
	case string:
		return text.Valid(value)
	case time.Time:
		nv.Value, err = c.timeArgument(value)
		return err
	}
	return nil
}

func (c *conn) timeArgument(t time.Time) (driver.Value, error) {
	t = clock.Normal(t)
	if t.Year() < 1 || t.Year() > 9999 {
		return nil, fmt.Errorf("the year %d is outside 1 to 9999", t.Year())
	}
	switch {
	case c.dialect == dialect.SQLite && t.Nanosecond() == 0:
		return t.Format(sqliteSecond), nil
	case c.dialect == dialect.SQLite:
		return t.Format(sqliteTime), nil
	}
	return t, nil
}

type rows struct {
	driver.Rows
	conn *conn
	ctx  context.Context //nolint:containedctx // The error of a later row is told by the context of the query.
	seen *observation
}

func (r *rows) Next(dest []driver.Value) error {
	err := r.Rows.Next(dest)
	if err != nil {
		r.conn.endRows()
	}
	switch {
	case err == nil:
		r.seen.row()
		return nil
	case errors.Is(err, io.EOF):
		r.seen.complete()
		return err
	}
	err = r.conn.answer(r.ctx, err)
	r.seen.fail(err)
	return err
}

func (r *rows) Close() error {
	err := r.Rows.Close()
	r.conn.endRows()
	r.seen.closed()
	return err
}

func (r *rows) ColumnTypeDatabaseTypeName(index int) string {
	if inner, ok := r.Rows.(driver.RowsColumnTypeDatabaseTypeName); ok {
		return inner.ColumnTypeDatabaseTypeName(index)
	}
	return ""
}

type connTx struct {
	conn  *conn
	inner driver.Tx
	ctx   context.Context //nolint:containedctx // that of the transaction, for telemetry
}

func (t *connTx) Commit() error {
	failed := t.conn.failed || !t.conn.IsValid() // Then the server is not asked to commit.
	t.conn.inTx, t.conn.failed = false, false
	t.conn.endStatements()
	if failed {
		return errors.Join(ErrTxFailed, t.end("ROLLBACK", t.inner.Rollback))
	}
	t.conn.tell("COMMIT", nil)
	return t.end("COMMIT", t.inner.Commit)
}

func (t *connTx) Rollback() error {
	failed := t.conn.failed
	t.conn.inTx, t.conn.failed = false, false
	t.conn.endStatements()
	err := t.end("ROLLBACK", t.inner.Rollback)
	if failed && t.conn.dialect == dialect.SQLite {
		// After some failures (a full disk, an interrupt) SQLite has rolled back by itself.
		return nil
	}
	return err
}

func (t *connTx) end(operation string, run func() error) error {
	seen := t.conn.observer.begin(t.ctx, operation)
	err := translate(context.Background(), run())
	seen.changed(nil, err)
	return err
}
