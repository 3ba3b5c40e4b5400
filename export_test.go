package models

import (
	"context"
	stdsql "database/sql"

	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/internal/database"
)

// CheapHashing is how OpenTest hashes passwords.
var CheapHashing Option = cheapHashing

// Recording returns the store with a client that tells of each statement before it is sent. Those of a
// transaction that the client itself begins are not told.
func (s *Store) Recording(tell func(query string, args []any)) *Store {
	recording := *s
	recording.Client = ent.NewClient(ent.Driver(&recorder{s.db, tell}))
	return &recording
}

type recorder struct {
	*database.DB

	tell func(query string, args []any)
}

func (r *recorder) Exec(ctx context.Context, query string, args, v any) error {
	r.tell(query, args.([]any))
	return r.DB.Exec(ctx, query, args, v)
}

func (r *recorder) Query(ctx context.Context, query string, args, v any) error {
	r.tell(query, args.([]any))
	return r.DB.Query(ctx, query, args, v)
}

func (r *recorder) ExecContext(ctx context.Context, query string, args ...any) (stdsql.Result, error) {
	r.tell(query, args)
	return r.DB.ExecContext(ctx, query, args...)
}

func (r *recorder) QueryContext(ctx context.Context, query string, args ...any) (*stdsql.Rows, error) {
	r.tell(query, args)
	return r.DB.QueryContext(ctx, query, args...)
}

// WithTold tells of each statement that the store sends, BEGIN and COMMIT included.
func WithTold(tell func(query string)) Option {
	return func(o *options) error {
		o.database.Before = tell
		return nil
	}
}

// IDsFrom gives nodes the ids that a query answers with their public ids.
func (s *Store) IDsFrom(ctx context.Context, query string, nodes []*ent.File) (int, error) {
	return s.insertReturning(ctx, query, []any{}, nodes)
}
