package models

import (
	"context"
	"database/sql/driver"

	"github.com/reviewpoint/models/ent"
)

// CheapHashing is how OpenTest hashes passwords.
var CheapHashing Option = cheapHashing

// WithStatements tells of each statement before it is sent, BEGIN and COMMIT included.
func WithStatements(tell func(query string, args []driver.NamedValue)) Option {
	return func(o *options) error {
		o.database.Before = tell
		return nil
	}
}

// IDsFrom gives nodes the ids that a query answers with their public ids.
func (s *Store) IDsFrom(ctx context.Context, query string, nodes []*ent.File) (int, error) {
	return s.insertReturning(ctx, query, []any{}, nodes)
}
