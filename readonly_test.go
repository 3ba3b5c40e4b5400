package models_test

import (
	"context"
	"errors"
	"testing"

	"github.com/reviewpoint/models"
)

// TestReadOnly writes in every way; in a transaction lib/pq, unless it is told otherwise, begins READ WRITE.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	eachURL(t, func(t *testing.T, url string) {
		ctx := models.AsSystem(t.Context(), "test")
		s := open(t, url)
		must(s.Migrate(ctx))(t)
		u := must(newUser(s).Save(ctx))(t)
		looking := open(t, url, models.WithReadOnly())
		check(t, looking.InTx(ctx, func(ctx context.Context) error {
			_, err := looking.User.Query().WithFiles().Only(ctx)
			return err
		}))
		_, raw := looking.ExecContext(ctx, "DELETE FROM users")
		_, bulk := looking.User.Delete().Exec(ctx)
		for way, err := range map[string]error{
			"InTx":        looking.InTx(ctx, func(ctx context.Context) error { return newUser(looking).Exec(ctx) }),
			"UpdateOne":   looking.User.UpdateOneID(u.ID).SetName("x").Exec(ctx),
			"raw delete":  raw,
			"bulk delete": bulk,
			"create":      newUser(looking).Exec(ctx),
		} {
			if !errors.Is(err, models.ErrReadOnly) {
				t.Errorf("%s answers %v, want ErrReadOnly", way, err)
			}
		}
		if n := countUsers(t, ctx, s); n != 1 || must(s.User.Get(ctx, u.ID))(t).Name != nil {
			t.Errorf("a store opened WithReadOnly has changed the database: %d users", n)
		}
	})
}

// TestReadOnly_WhateverTheURLSays opens with options that would allow writing.
func TestReadOnly_WhateverTheURLSays(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{"memory": "sqlite://:memory:", "memory by mode": "sqlite://x?mode=memory", "postgres": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if url == "" {
				url = postgresURL(t) + "&default_transaction_read_only=off"
			}
			looking := open(t, url, models.WithReadOnly())
			if _, err := looking.ExecContext(t.Context(), "CREATE TABLE notes (body text)"); !errors.Is(err, models.ErrReadOnly) {
				t.Errorf("got %v, want ErrReadOnly", err)
			}
		})
	}
}
