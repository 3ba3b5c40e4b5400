package database

import (
	"context"
	"errors"
	"strings"

	"entgo.io/ent/dialect"
)

// Server is what a database says of itself.
type Server struct {
	Version  string
	Replica  bool
	ReadOnly bool // Nothing can be written.
}

// Server asks the database what it is. It joins the transaction that ctx carries.
func (db *DB) Server(ctx context.Context) (s Server, err error) {
	query := "SELECT sqlite_version(), false, false"
	if db.dialect == dialect.Postgres {
		query = "SELECT current_setting('server_version'), pg_is_in_recovery(), current_setting('transaction_read_only')::bool"
	}
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return Server{}, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	if rows.Next() {
		if err := rows.Scan(&s.Version, &s.Replica, &s.ReadOnly); err != nil {
			return Server{}, err
		}
	}
	s.Version, _, _ = strings.Cut(s.Version, " ") // 15.14 (Debian 15.14-0+deb12u1)
	s.ReadOnly = s.ReadOnly || db.readOnly
	return s, rows.Err()
}
