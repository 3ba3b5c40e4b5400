package models_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/internal/text"
)

type customText string

// TestArguments_OfRawSQL gives times and text in the forms that database/sql takes.
func TestArguments_OfRawSQL(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		at := time.Date(2030, 1, 2, 3, 4, 5, 678901234, la)
		must(newToken(s, "jti", at).Save(ctx))(t)
		elsewhere := at.In(tokyo)
		for name, arg := range map[string]any{
			"a time":           elsewhere,
			"a pointer":        &elsewhere,
			"sql.NullTime":     sql.NullTime{Time: elsewhere, Valid: true},
			"sql.Null of time": sql.Null[time.Time]{V: elsewhere, Valid: true},
		} {
			if n := column[int](t, ctx, s, "SELECT count(*) FROM blacklisted_tokens WHERE expires_at = $1", arg)[0]; n != 1 {
				t.Errorf("%s finds %d rows, want 1", name, n)
			}
		}
		refused := "a\x00b"
		for name, arg := range map[string]any{
			"a pointer":       &refused,
			"sql.NullString":  sql.NullString{String: refused, Valid: true},
			"a type of one's": customText(refused),
		} {
			if _, err := s.ExecContext(ctx, "UPDATE blacklisted_tokens SET jti = $1", arg); !errors.Is(err, text.ErrNUL) {
				t.Errorf("NUL in %s answers %v, want %v", name, err, text.ErrNUL)
			}
		}
	})
}

// TestQueryContext_ThatWrites gives the writer back each time.
func TestQueryContext_ThatWrites(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		for i := range 20 {
			ids := column[int](t, ctx, s, "INSERT INTO used_password_reset_tokens (email, nonce) VALUES ('a', $1) RETURNING id", fmt.Sprint(i))
			if len(ids) != 1 {
				t.Fatalf("INSERT ... RETURNING answers %d rows, want 1", len(ids))
			}
		}
		ids := column[int](t, ctx, s, "DELETE FROM used_password_reset_tokens WHERE nonce <> $1 RETURNING id", "0")
		if n := must(s.UsedPasswordResetToken.Query().Count(ctx))(t); len(ids) != 19 || n != 1 {
			t.Errorf("DELETE ... RETURNING answers %d rows and leaves %d, want 19 and 1", len(ids), n)
		}
	})
}
