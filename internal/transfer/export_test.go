package transfer

import (
	"context"
	"errors"

	"github.com/reviewpoint/models/internal/database"
)

// InSnapshot answers a query for one text as the source is read.
func InSnapshot(ctx context.Context, db *database.DB, query string) (string, error) {
	s, err := snapshot(ctx, db)
	if err != nil {
		return "", err
	}
	values, err := list[string](ctx, s, query)
	if err := errors.Join(err, s.close()); err != nil {
		return "", err
	}
	return values[0], nil
}
