package database

import (
	"cmp"
	"context"
	stdsql "database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"

	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/row"
)

// Read runs a query that answers few rows, by an index, and calls scan with each. Like Query it joins the
// transaction that ctx carries. Outside of one it goes round what costs most of a read in SQLite, the
// goroutine that database/sql starts for a context that may end: ctx is looked at before the query and
// after each row, and SQLite is not interrupted between. What a connection was lost over is asked again on
// another one, so query must change nothing outside of a transaction.
func (db *DB) Read(ctx context.Context, query string, args []any, scan func(*row.Row) error) error {
	if unitFrom(ctx, db) != nil {
		return db.readRows(ctx, query, args, scan)
	}
	if err := db.take(ctx, db.turns, query); err != nil {
		return err
	}
	defer db.turns.pass()
	return db.lease(ctx, query, db.acquireReader, func(leased *stdsql.Conn) error {
		defer leased.Close() // of a broken one, Raw has done it
		return leased.Raw(func(inner any) error { return inner.(*conn).read(ctx, query, args, scan) })
	})
}

// Search is Read for a query that may look at many rows: SQLite is interrupted when ctx ends, and an answer that
// comes after that is none.
func (db *DB) Search(ctx context.Context, query string, args []any, scan func(*row.Row) error) error {
	if unitFrom(ctx, db) == nil {
		if err := db.take(ctx, db.turns, query); err != nil {
			return err
		}
		defer db.turns.pass()
	}
	return cmp.Or(db.readRows(ctx, query, args, scan), ctx.Err())
}

// readRows reads by database/sql, in the transaction that ctx carries or outside of one.
func (db *DB) readRows(ctx context.Context, query string, args []any, scan func(*row.Row) error) (err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	r, dest := row.New(len(columns)), make([]any, len(columns))
	for rows.Next() {
		values := r.Values()
		for i := range dest {
			dest[i] = (*any)(&values[i])
		}
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		if err := scan(r); err != nil {
			return err
		}
	}
	return rows.Err()
}

// lost reports whether a query was not answered because its connection broke or the server ended it.
func lost(err error) bool {
	_, broken := errors.AsType[*net.OpError](err)
	e, answered := errors.AsType[*Error](err)
	return broken || errors.Is(err, io.EOF) || answered && e.Code == "57P01" // admin_shutdown
}

var errRowsLost = fmt.Errorf("the connection was lost while rows were read: %w", io.ErrUnexpectedEOF)

// read is Read on a connection that nobody else uses meanwhile.
func (c *conn) read(ctx context.Context, query string, args []any, scan func(*row.Row) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	named := make([]driver.NamedValue, len(args))
	for i, arg := range args {
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: arg}
		if err := c.CheckNamedValue(&named[i]); err != nil {
			return fmt.Errorf("argument $%d: %w", i+1, err)
		}
	}
	running := ctx
	if c.dialect == dialect.SQLite {
		running = context.WithoutCancel(ctx)
	}
	answer, err := c.QueryContext(running, query, named)
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case lost(err):
		return driver.ErrBadConn // Another connection may answer: a read may run twice.
	case err != nil:
		return err
	}
	inner := answer.(*rows)
	defer func() {
		if err = errors.Join(err, inner.Close()); errors.Is(err, driver.ErrBadConn) {
			err = errRowsLost // Else all rows were read again, those besides that scan has seen.
		}
	}()
	r := row.New(len(inner.Columns()))
	for {
		switch err := inner.Next(r.Values()); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := scan(r); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			inner.seen.fail(err)
			return err
		}
	}
}
