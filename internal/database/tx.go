package database

import (
	"context"
	stdsql "database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql"
)

const (
	maxAttempts = 5
	rollbackTo  = "ROLLBACK TO SAVEPOINT "
	statement   = "statement" // the savepoint before the statement that runs
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
	failed     error // why it can only be rolled back
	schema     bool  // it changes the schema
	savepoints bool  // each statement, and each transaction that joins, can be undone by itself
	depth      int
}

type unitKey struct{ db *DB }

func unitFrom(ctx context.Context, db *DB) *unit {
	u, _ := ctx.Value(unitKey{db}).(*unit)
	return u
}

// InTx runs fn in a transaction that fn's context carries. It commits when fn returns nil and rolls
// back when fn returns an error or panics. Under a context that carries one already, it joins that
// one, which can then only be rolled back if fn fails. A transaction that lost against another one is
// tried again, fn included, up to 5 times.
func (db *DB) InTx(ctx context.Context, fn func(context.Context) error) error {
	if outer := unitFrom(ctx, db); outer != nil {
		inner, err := outer.join(ctx)
		if err != nil {
			return err
		}
		return inner.finish(func() error { return fn(ctx) })
	}
	return db.retry(ctx, func() *unit { return &unit{db: db, ctx: ctx} }, fn)
}

// retry runs fn in a new unit, and again in another while it loses against other transactions.
func (db *DB) retry(ctx context.Context, begin func() *unit, fn func(context.Context) error) error {
	for attempt := 1; ; attempt++ {
		u := begin()
		err := (&tx{unit: u}).finish(func() error { return fn(context.WithValue(ctx, unitKey{db}, u)) })
		if !retryable(err) || attempt == maxAttempts {
			return err
		}
		backoff := time.Duration(1<<attempt) * time.Millisecond
		if pause(ctx, backoff/2+rand.N(backoff)) != nil { //nolint:gosec // Jitter needs no secrecy.
			return err
		}
	}
}

// InSchemaTx is InTx for changing the schema. SQLite's foreign keys are off in it, for else a table
// that is rebuilt takes with it what cascades from it; check them before the end. It joins nothing.
func (db *DB) InSchemaTx(ctx context.Context, fn func(context.Context) error) error {
	if unitFrom(ctx, db) != nil {
		return errors.New("the schema cannot be changed inside a transaction: use a context from outside InTx")
	}
	return db.retry(ctx, func() *unit { return &unit{db: db, ctx: ctx, schema: true} }, fn)
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
		return outer.join(ctx)
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
	case u.tx != nil:
		return u.tx, nil
	}
	conn, err := u.db.acquire(ctx)
	if err != nil {
		return nil, err
	}
	if err := u.setForeignKeys(conn, "OFF"); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	tx, err := conn.BeginTx(u.ctx, u.opts)
	if err != nil {
		return nil, errors.Join(err, u.release(conn))
	}
	u.conn, u.tx = conn, tx
	return tx, nil
}

// ready is begin, with the savepoint that undoes the next statement alone.
func (u *unit) ready(ctx context.Context) (*stdsql.Tx, error) {
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
	return tx.ExecContext(ctx, query, args...)
}

// QueryContext runs a query in the transaction.
func (u *unit) QueryContext(ctx context.Context, query string, args ...any) (*stdsql.Rows, error) {
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
	failed := u.failed
	tx, conn, err := u.end()
	if err != nil || tx == nil {
		return err
	}
	if failed != nil {
		return errors.Join(fmt.Errorf("%w: %w", ErrTxFailed, failed), tx.Rollback(), u.release(conn))
	}
	err = tx.Commit()
	if u.ctx.Err() != nil && errors.Is(err, stdsql.ErrTxDone) {
		err = u.ctx.Err()
	}
	if commitUnknown(err) && !errors.Is(err, ErrTxFailed) { // a failed one was never asked to commit
		err = fmt.Errorf("%w: %w", ErrCommitUnknown, err)
	}
	return errors.Join(err, u.release(conn))
}

func (u *unit) rollback() error {
	tx, conn, err := u.end()
	if err != nil || tx == nil {
		return err
	}
	err = tx.Rollback()
	if u.ctx.Err() != nil && errors.Is(err, stdsql.ErrTxDone) {
		err = nil // It went with its context.
	}
	return errors.Join(err, u.release(conn))
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
	if !u.savepoints {
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.done {
			return nil, ErrTxDone
		}
		return &tx{unit: u, joined: true}, nil
	}
	began, err := u.begin(ctx)
	if err != nil {
		return nil, err
	}
	u.depth++
	inner := &tx{unit: u, joined: true, savepoint: "joined" + strconv.Itoa(u.depth)}
	return inner, u.savepoint(ctx, began, inner.savepoint)
}

// tx is a unit, or a part in one, as ent's dialect.Tx.
type tx struct {
	unit      *unit
	joined    bool
	savepoint string
	over      bool // committed or rolled back
}

// Exec is ent's way to run a statement.
func (t *tx) Exec(ctx context.Context, query string, args, v any) error {
	return sql.Conn{ExecQuerier: t.unit}.Exec(ctx, query, args, v)
}

// Query is ent's way to run a query.
func (t *tx) Query(ctx context.Context, query string, args, v any) error {
	return sql.Conn{ExecQuerier: t.unit}.Query(ctx, query, args, v)
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
	switch {
	case !t.joined:
		return t.unit.commit()
	case t.savepoint != "":
		return t.leave("RELEASE SAVEPOINT " + t.savepoint)
	}
	return nil
}

// Rollback rolls back. Where somebody else would commit, it leaves them only the rollback.
func (t *tx) Rollback() error {
	if t.over { // as by a deferred Rollback
		return ErrTxDone
	}
	t.over = true
	switch {
	case !t.joined:
		return t.unit.rollback()
	case t.savepoint != "":
		return t.leave(rollbackTo + t.savepoint)
	}
	t.fail(errors.New("a transaction that joined it was rolled back"))
	return nil
}

func (t *tx) leave(query string) error {
	began, err := t.unit.begin(t.unit.ctx)
	if err != nil {
		return err
	}
	_, err = began.ExecContext(t.unit.ctx, query)
	return err
}

func (t *tx) fail(err error) {
	t.unit.mu.Lock()
	defer t.unit.mu.Unlock()
	t.unit.failed = errors.Join(t.unit.failed, err)
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
