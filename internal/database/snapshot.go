package database

import (
	"context"
	stdsql "database/sql"
	"database/sql/driver"
	"errors"

	"entgo.io/ent/dialect"
)

// Snapshot runs fn, which only reads, with a context whose queries all see the database as it was at the
// first of them. It holds one connection, and keeps no writer waiting but that of a database in memory. Under
// a context that carries a transaction already, fn reads in that one.
func (db *DB) Snapshot(ctx context.Context, fn func(context.Context) error) error {
	switch {
	case unitFrom(ctx, db) != nil:
		return fn(ctx)
	case db.dialect == dialect.Postgres:
		u := &unit{db: db, ctx: ctx, opts: &stdsql.TxOptions{Isolation: stdsql.LevelRepeatableRead, ReadOnly: true}}
		return (&tx{unit: u}).finish(func() error { return fn(context.WithValue(ctx, unitKey{db}, u)) })
	}
	if err := db.turns.take(ctx); err != nil {
		return err
	}
	defer db.turns.pass()
	conn, err := db.reader.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	// BeginTx of the driver begins immediately, as a writer does.
	if _, err := conn.ExecContext(ctx, "BEGIN DEFERRED"); err != nil {
		return err
	}
	defer func() {
		if _, err := conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK"); err != nil {
			_ = conn.Raw(func(any) error { return driver.ErrBadConn })
		}
	}()
	err = fn(context.WithValue(ctx, unitKey{db}, &unit{db: db, ctx: ctx, session: conn}))
	if err != nil && ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		err = errors.Join(ctx.Err(), err)
	}
	return err
}
