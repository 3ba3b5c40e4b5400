package database

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"entgo.io/ent/dialect"
	"github.com/lib/pq"

	"github.com/reviewpoint/models/internal/row"
)

// openPostgres opens a bounded pool. Reads and writes go through the same one.
func openPostgres(ctx context.Context, t target, opts Options) (*DB, error) {
	overrides := make(map[string]string) // whatever the URL says
	if t.readOnly {
		overrides["default_transaction_read_only"] = "on"
	}
	if opts.LockTimeout > 0 {
		overrides["lock_timeout"] = strconv.FormatInt(max(1, opts.LockTimeout.Milliseconds()), 10)
	}
	dsn, err := override(t.dsn, overrides)
	if err != nil {
		return nil, err
	}
	config, err := pq.NewConfig(dsn)
	if err != nil {
		// lib/pq names the option that is wrong; the URL does not stand in its errors.
		return nil, fmt.Errorf("the PostgreSQL URL cannot be used: %w", err)
	}
	c := &connector{
		dialect: dialect.Postgres, readOnly: t.readOnly, before: opts.Before, observer: opts.observer, driver: &pq.Driver{},
		statements: t.statements, grace: cmp.Or(opts.grace, cancelGrace),
		connect: func(ctx context.Context, out *conn) (driver.Conn, error) { return connectPostgres(ctx, config, out) },
	}
	pool := sql.OpenDB(c)
	conns := opts.MaxConns
	if conns == 0 {
		conns = 10
	}
	pool.SetMaxOpenConns(conns)
	pool.SetMaxIdleConns(conns)
	pool.SetConnMaxLifetime(30 * time.Minute)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	db := &DB{dialect: dialect.Postgres, name: t.name, writer: pool, reader: pool, epoch: &c.epoch, turns: make(turns, conns)}
	if err := pool.PingContext(ctx); err != nil {
		return nil, errors.Join(explainPostgres(t, err), db.Close())
	}
	return db, nil
}

func connectPostgres(ctx context.Context, config pq.Config, out *conn) (driver.Conn, error) {
	c, err := pq.NewConnectorConfig(config)
	if err != nil {
		return nil, err
	}
	d := &dialer{conn: out}
	c.Dialer(d)
	inner, err := c.Connect(context.WithValue(ctx, socketKey{}, ctx))
	if err == nil && out.statements != nil {
		if err = hasMark(ctx, inner); err != nil {
			_ = inner.Close()
		}
	}
	if !d.forgo() && err == nil {
		return nil, errors.Join(contextError(ctx), inner.Close())
	}
	return inner, err
}

// hasMark refuses a proxy that has kept the mark to itself, as PgBouncer does with what its
// ignore_startup_parameters name: it would run prepared statements of other clients.
func hasMark(ctx context.Context, c driver.Conn) error {
	rows, err := c.(driver.QueryerContext).QueryContext(ctx, "SELECT current_setting('"+statementsMark+"', true)", nil)
	if err != nil {
		return err
	}
	value := make([]driver.Value, 1)
	err = rows.Next(value)
	if err := errors.Join(err, rows.Close()); err != nil {
		return err
	}
	if row.String(value[0], &err) != "on" {
		return &pq.Error{Code: "08P01", Message: "unsupported startup parameter: " + statementsMark}
	}
	return err
}

// override sets options of an URL.
func override(dsn string, options map[string]string) (string, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return "", errors.New("the PostgreSQL URL cannot be read")
	}
	values := u.Query()
	for name, value := range options {
		values.Set(name, value)
	}
	u.RawQuery = values.Encode()
	return u.String(), nil
}

// explainPostgres says of a failed connection what to do about it.
func explainPostgres(t target, err error) error {
	var (
		e      *Error
		netErr net.Error
		dnsErr *net.DNSError
	)
	switch {
	case errors.As(err, &e):
		switch e.Code {
		case "28P01", "28000":
			return fmt.Errorf("the server at %s refuses this user or password: check both in the URL: %w", t.name, &Error{Code: e.Code, text: "invalid authorization"})
		case "3D000":
			return fmt.Errorf("the server has no database of the name in %s: make it with createdb: %w", t.name, &Error{Code: e.Code, text: "invalid catalog name"})
		case "42704":
			return fmt.Errorf("the server at %s does not know an option of the URL: check their names behind the ?: %w", t.name, err)
		case "08P01":
			switch {
			case !strings.HasPrefix(e.text, "unsupported startup parameter"):
			case t.readOnly:
				return fmt.Errorf("there is a pooling proxy at %s, and it cannot be told only to read: connect to the server itself: %w", t.name, err)
			default:
				return fmt.Errorf("there is a pooling proxy at %s: add %s=0 to the URL, and "+
					"ignore_startup_parameters = statement_timeout,lock_timeout,idle_in_transaction_session_timeout to its settings: %w", t.name, statementsOption, err)
			}
		case "53300":
			return fmt.Errorf("the server at %s has no connection left: close some, or raise its max_connections: %w", t.name, err)
		}
	case errors.Is(err, pq.ErrSSLNotSupported):
		return fmt.Errorf("the server at %s does not speak TLS: add sslmode=disable to the URL if the network between is private: %w", t.name, err)
	case errors.As(err, &dnsErr):
		return fmt.Errorf("the host of %s is not known: check the name in the URL", t.name)
	case errors.As(err, &netErr):
		return fmt.Errorf("the server at %s cannot be reached: check host and port, and that it runs: %w", t.name, err)
	}
	return fmt.Errorf("cannot connect to %s: %w", t.name, err)
}
