package database

import (
	"context"
	stdsql "database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql"
)

const (
	maxAttempts = 5
	// SQLite has waited for its busy timeout each time.
	maxBusyAttempts = 2
	rollbackTo      = "ROLLBACK TO SAVEPOINT "
	statement       = "statement" // the savepoint before the statement that runs
)

// unit is a transaction that begins with its first statement.
type unit struct {
	db   *DB
	ctx  context.Context //nolint:containedctx // When the context that began it ends, the transaction is rolled back.
	opts *stdsql.TxOptions

	mu         sync.Mutex
	conn       *stdsql.Conn
	tx         *stdsql.Tx
	done       bool
	failed     error        // why it can only be rolled back
	schema     bool         // it changes the schema
	plain      bool         // it uses no prepared statements
	session    *stdsql.Conn // then there is no transaction
	savepoints bool         // each statement, and each transaction that joins, can be undone by itself
	depth      int
	part       string // the savepoint of which it is the rest, when it has joined one of savepoints
	changes    int    // statements that changed something
}

type unitKey struct{ db *DB }

func unitFrom(ctx context.Context, db *DB) *unit {
	u, _ := ctx.Value(unitKey{db}).(*unit)
	return u
}

// InTransaction reports whether ctx carries a transaction.
func (db *DB) InTransaction(ctx context.Context) bool { return unitFrom(ctx, db) != nil }

// InTx runs fn in a transaction that fn's context carries. It commits when fn returns nil and rolls
// back when fn returns an error or panics. Under a context that carries one already, it joins that
// one, which can then only be rolled back if fn fails. A transaction that lost against another one is
// tried again, fn included, up to 5 times.
func (db *DB) InTx(ctx context.Context, fn func(context.Context) error) error {
	return db.inTx(ctx, false, fn)
}

// Atomic is InTx for a hook of the client, around one mutation. Where it joins a transaction, that one
// can go on if fn fails without having changed anything.
func (db *DB) Atomic(ctx context.Context, fn func(context.Context) error) error {
	return db.inTx(ctx, true, fn)
}

func (db *DB) inTx(ctx context.Context, byClient bool, fn func(context.Context) error) error {
	outer := unitFrom(ctx, db)
	if outer == nil {
		return db.retry(ctx, func(ctx context.Context) *unit { return &unit{db: db, ctx: ctx} }, fn)
	}
	inner, err := outer.join(ctx)
	if err != nil {
		return err
	}
	inner.byClient = byClient
	if inner.unit != outer {
		ctx = context.WithValue(ctx, unitKey{db}, inner.unit)
	}
	return inner.finish(func() error { return fn(ctx) })
}

// retry runs fn in a new unit, and again in another while it loses against other transactions.
func (db *DB) retry(ctx context.Context, begin func(context.Context) *unit, fn func(context.Context) error) (err error) {
	ctx, again, end := db.observer.transaction(ctx)
	attempt, plain := 1, false
	defer func() { end(attempt, err) }()
	for ; ; attempt++ {
		u := begin(ctx)
		u.plain = plain
		err = errUnfinished
		err = (&tx{unit: u}).finish(func() error { return fn(context.WithValue(ctx, unitKey{db}, u)) })
		if !retryable(err) || attempt == maxAttempts {
			return err
		}
		if errors.Is(err, ErrBusy) && (attempt == maxBusyAttempts || u.schema) { // Who migrates counts for himself.
			return err
		}
		plain = plain || outdated(err) // It may be fn itself that changes the schema.
		backoff := time.Duration(1<<attempt) * time.Millisecond
		if pause(ctx, backoff/2+rand.N(backoff)) != nil { //nolint:gosec // Jitter needs no secrecy.
			return err
		}
		again(attempt, err)
	}
}

// errUnfinished is what telemetry is told of a transaction whose function panicked.
var errUnfinished = errors.New("the function did not return")

// InSchemaTx is InTx for changing the schema. SQLite's foreign keys are off in it, for else a table
// that is rebuilt takes with it what cascades from it; check them before the end. It joins nothing.
func (db *DB) InSchemaTx(ctx context.Context, fn func(context.Context) error) error {
	if unitFrom(ctx, db) != nil {
		return errors.New("the schema cannot be changed inside a transaction: use a context from outside InTx")
	}
	return db.retry(ctx, func(ctx context.Context) *unit { return &unit{db: db, ctx: ctx, schema: true} }, fn)
}

// InSession runs fn with a context whose statements run on one connection, each by itself. What fn has
// set on the connection, locks included, goes with it afterwards. It joins nothing.
func (db *DB) InSession(ctx context.Context, fn func(context.Context) error) error {
	if unitFrom(ctx, db) != nil {
		return errors.New("a session cannot begin inside a transaction: use a context from outside InTx")
	}
	conn, err := db.acquire(ctx)
	if err != nil {
		return err
	}
	defer func() {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
		if db.epoch != nil {
			db.epoch.Add(1) // as after a change of the schema
		}
	}()
	return fn(context.WithValue(ctx, unitKey{db}, &unit{db: db, ctx: ctx, session: conn}))
}

// Rollback returns a context that carries a transaction, and the function that undoes whatever was
// done in it. A statement that fails in it, or a transaction that joins it and fails, is undone alone.
func (db *DB) Rollback(ctx context.Context) (context.Context, func() error) {
	u := &unit{db: db, ctx: ctx, savepoints: true}
	return context.WithValue(ctx, unitKey{db}, u), u.rollback
}

// Tx begins a transaction for ent.Client.Tx.
func (db *DB) Tx(ctx context.Context) (dialect.Tx, error) { return db.BeginTx(ctx, nil) }

// BeginTx begins a transaction for ent.Client.BeginTx. Under a context that carries a transaction it
// joins that one, whose options hold.
func (db *DB) BeginTx(ctx context.Context, opts *sql.TxOptions) (dialect.Tx, error) {
	if outer := unitFrom(ctx, db); outer != nil {
		if opts != nil && *opts != (sql.TxOptions{}) {
			return nil, errors.New("a transaction inside another one cannot have options of its own")
		}
		inner, err := outer.join(ctx)
		if err != nil {
			return nil, err
		}
		inner.byClient = true
		return inner, nil
	}
	if opts != nil && opts.ReadOnly && db.dialect == dialect.SQLite {
		return nil, errors.New("SQLite has no read-only transactions: open the store WithReadOnly, or only read")
	}
	u := &unit{db: db, ctx: ctx, opts: opts}
	if _, err := u.begin(ctx); err != nil {
		return nil, err
	}
	return &tx{unit: u}, nil
}

// begin makes sure that the transaction has begun and may go on.
func (u *unit) begin(ctx context.Context) (*stdsql.Tx, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.done:
		return nil, ErrTxDone
	case u.failed != nil:
		return nil, ErrTxFailed
	case u.session != nil:
		return nil, errors.New("a transaction cannot begin inside a session")
	case u.tx != nil:
		return u.tx, nil
	}
	began := u.db.observer.now()
	conn, err := u.db.acquire(ctx)
	if err != nil {
		return nil, u.db.observer.refused(ctx, "BEGIN", began, err)
	}
	if err := u.setForeignKeys(conn, "OFF"); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	ctx = u.ctx
	if u.schema {
		// Else database/sql rolls back in the background when ctx ends, and the foreign keys could not
		// be switched on again: inside a transaction that does nothing.
		ctx = context.WithoutCancel(ctx)
	}
	if u.schema || u.plain || u.savepoints { // A savepoint is not tried again.
		ctx = plainly(ctx)
	}
	tx, err := conn.BeginTx(ctx, u.opts)
	if err != nil {
		return nil, errors.Join(err, u.release(conn))
	}
	u.conn, u.tx = conn, tx
	return tx, nil
}

// ready is begin, with the savepoint that undoes the next statement alone.
func (u *unit) ready(ctx context.Context) (sql.ExecQuerier, error) {
	if u.session != nil {
		return u.session, nil
	}
	tx, err := u.begin(ctx)
	if err != nil || !u.savepoints {
		return tx, err
	}
	return tx, u.savepoint(ctx, tx, statement)
}

// savepoint sets a savepoint, after going back to the last one if a statement failed since.
func (u *unit) savepoint(ctx context.Context, tx *stdsql.Tx, name string) error {
	_, err := tx.ExecContext(ctx, "SAVEPOINT "+name)
	if !errors.Is(err, ErrTxFailed) {
		return err
	}
	if _, err := tx.ExecContext(ctx, rollbackTo+statement); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "SAVEPOINT "+name)
	return err
}

// ExecContext runs a statement in the transaction.
func (u *unit) ExecContext(ctx context.Context, query string, args ...any) (stdsql.Result, error) {
	tx, err := u.ready(ctx)
	if err != nil {
		return nil, err
	}
	result, err := tx.ExecContext(ctx, query, args...)
	if err == nil && !changedNothing(query, result) {
		u.changed()
	}
	return result, err
}

// changedNothing is true of the UPDATE with which ent finds out that there is no such row.
func changedNothing(query string, result stdsql.Result) bool {
	n, err := result.RowsAffected()
	return n == 0 && err == nil && len(query) > 6 && strings.EqualFold(query[:6], "UPDATE")
}

func (u *unit) changed() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.changes++
}

// QueryContext runs a query in the transaction.
func (u *unit) QueryContext(ctx context.Context, query string, args ...any) (*stdsql.Rows, error) {
	rows, err := asked{u}.QueryContext(ctx, query, args...)
	if err == nil && !isSelect(query) {
		u.changed()
	}
	return rows, err
}

// query is ent's way to run a query. An INSERT has changed something when it answers a row; ON CONFLICT
// DO NOTHING may have not.
func (u *unit) query(ctx context.Context, query string, args, v any) error {
	var first func()
	if !isSelect(query) {
		first = u.changed
	}
	return answer(v, sql.Conn{ExecQuerier: asked{u}}.Query(ctx, query, args, v), first)
}

// asked is a unit that does not count its queries.
type asked struct{ *unit }

// QueryContext runs a query in the transaction.
func (u asked) QueryContext(ctx context.Context, query string, args ...any) (*stdsql.Rows, error) {
	tx, err := u.ready(ctx)
	if err != nil {
		return nil, err
	}
	return tx.QueryContext(ctx, query, args...)
}

// end takes the transaction out of use. It returns nil for one that no statement began.
func (u *unit) end() (*stdsql.Tx, *stdsql.Conn, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.done {
		return nil, nil, ErrTxDone
	}
	u.done = true
	return u.tx, u.conn, nil
}

func (u *unit) commit() error {
	u.mu.Lock()
	failed := u.failed
	u.mu.Unlock()
	tx, conn, err := u.end()
	if err != nil {
		return err
	}
	if failed != nil {
		failed = fmt.Errorf("%w: %w", ErrTxFailed, failed)
	}
	switch {
	case tx == nil:
		return failed
	case u.part != "":
		return u.leave(tx, failed)
	case failed != nil:
		return errors.Join(failed, tx.Rollback(), u.release(conn))
	}
	if ended := u.ctx.Err(); ended != nil { // database/sql may not have heard of it yet
		_ = tx.Rollback()
		return errors.Join(ended, u.release(conn))
	}
	err = tx.Commit()
	if u.ctx.Err() != nil && (errors.Is(err, stdsql.ErrTxDone) || errors.Is(err, context.DeadlineExceeded)) { // the server's 57014
		err = u.ctx.Err()
	}
	if commitUnknown(err) && !errors.Is(err, ErrTxFailed) { // a failed one was never asked to commit
		err = fmt.Errorf("%w: %w", ErrCommitUnknown, err)
	}
	if err == nil && u.schema && u.db.dialect == dialect.Postgres {
		u.db.epoch.Add(1) // What was prepared may take its arguments for other types than the columns have now.
		// A SET of the statements holds on for the session, which is not to be anybody else's.
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
		return nil
	}
	return errors.Join(err, u.release(conn))
}

func (u *unit) rollback() error {
	tx, conn, err := u.end()
	if err != nil || tx == nil {
		return err
	}
	if u.part != "" {
		_, err = tx.ExecContext(u.ctx, rollbackTo+u.part)
		return err
	}
	err = tx.Rollback()
	if u.ctx.Err() != nil && errors.Is(err, stdsql.ErrTxDone) {
		err = nil // It went with its context.
	}
	return errors.Join(err, u.release(conn))
}

// leave keeps what was done since the savepoint, unless it failed.
func (u *unit) leave(tx *stdsql.Tx, failed error) error {
	if failed == nil {
		if _, failed = tx.ExecContext(u.ctx, "RELEASE SAVEPOINT "+u.part); failed == nil {
			return nil
		}
	}
	_, err := tx.ExecContext(u.ctx, rollbackTo+u.part)
	return errors.Join(failed, err)
}

// release gives the connection back as it was.
func (u *unit) release(conn *stdsql.Conn) error {
	if err := u.setForeignKeys(conn, "ON"); err != nil {
		// A connection without foreign keys must not be used again.
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
		return err
	}
	return conn.Close()
}

// setForeignKeys switches SQLite's foreign keys for a change of the schema; inside a transaction it would do nothing.
func (u *unit) setForeignKeys(conn *stdsql.Conn, state string) error {
	if !u.schema || u.db.dialect != dialect.SQLite {
		return nil
	}
	_, err := conn.ExecContext(context.WithoutCancel(u.ctx), "PRAGMA foreign_keys = "+state)
	return err
}

// join returns the transaction as one that somebody else commits.
func (u *unit) join(ctx context.Context) (*tx, error) {
	if !u.savepoints && u.session == nil {
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.done {
			return nil, ErrTxDone
		}
		return &tx{unit: u, joined: true, changes: u.changes}, nil
	}
	began, err := u.begin(ctx)
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	u.depth++
	inner := &unit{db: u.db, ctx: u.ctx, tx: began, part: "joined" + strconv.Itoa(u.depth)}
	u.mu.Unlock()
	if err := u.savepoint(ctx, began, inner.part); err != nil {
		return nil, err
	}
	return &tx{unit: inner}, nil
}

// tx is a unit, or a part in one, as ent's dialect.Tx.
type tx struct {
	unit     *unit
	joined   bool
	byClient bool // begun by ent or a hook around one mutation, which may change nothing
	changes  int  // of the unit, when it joined
	over     bool // committed or rolled back
}

// Exec is ent's way to run a statement.
func (t *tx) Exec(ctx context.Context, query string, args, v any) error {
	return sql.Conn{ExecQuerier: t.unit}.Exec(ctx, query, args, v)
}

// Query is ent's way to run a query.
func (t *tx) Query(ctx context.Context, query string, args, v any) error {
	return t.unit.query(ctx, query, args, v)
}

// ExecContext runs a statement in the transaction.
func (t *tx) ExecContext(ctx context.Context, query string, args ...any) (stdsql.Result, error) {
	return t.unit.ExecContext(ctx, query, args...)
}

// QueryContext runs a query in the transaction.
func (t *tx) QueryContext(ctx context.Context, query string, args ...any) (*stdsql.Rows, error) {
	return t.unit.QueryContext(ctx, query, args...)
}

// Commit commits, unless somebody else will.
func (t *tx) Commit() error {
	if t.over {
		return ErrTxDone
	}
	t.over = true
	if !t.joined {
		return t.unit.commit()
	}
	return nil
}

// Rollback rolls back. Where somebody else would commit, it leaves them only the rollback.
func (t *tx) Rollback() error {
	if t.over { // as by a deferred Rollback
		return ErrTxDone
	}
	t.over = true
	if !t.joined {
		return t.unit.rollback()
	}
	t.unit.mu.Lock()
	defer t.unit.mu.Unlock()
	// An update of ent's that found no row has nothing to undo.
	if !t.byClient || t.unit.changes != t.changes {
		t.unit.failed = errors.Join(t.unit.failed, errors.New("a transaction that joined it was rolled back"))
	}
	return nil
}

// Atomic runs fn, whose statements come through the client of this transaction. If fn fails after it
// changed something, the transaction can only be rolled back.
func (t *tx) Atomic(ctx context.Context, fn func(context.Context) error) error {
	inner, err := t.unit.join(ctx)
	if err != nil {
		return err
	}
	inner.byClient = true
	return inner.finish(func() error { return fn(ctx) })
}

// finish commits after fn, or rolls back when it fails or panics.
func (t *tx) finish(fn func() error) (err error) {
	settled := false
	defer func() {
		if !settled { // fn panicked, or ended its goroutine
			_ = t.Rollback()
		}
	}()
	err = fn()
	settled = true
	if err != nil {
		if undo := t.Rollback(); undo != nil {
			return errors.Join(err, undo)
		}
		return err
	}
	return t.Commit()
}
