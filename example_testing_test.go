package models_test

import (
	"errors"
	"testing"
	"time"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/internal/dbtest"
)

// The snippets of docs/test-against-it.md, in its order.

func TestExample_testing(t *testing.T) {
	t.Parallel()
	store := models.OpenTest(t)          // migrated, the test's own, gone when it ends
	ctx := models.RollbackTest(t, store) // its changes are undone when the test ends

	if _, err := store.Register(ctx, "ada@example.org", "a long horse"); err != nil {
		t.Error(err)
	}
}

func TestExample_testingClock(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, time.November, 23, 12, 0, 0, 0, time.UTC)
	store := models.OpenTest(t, models.WithClock(func() time.Time { return now }))
	visitor := models.AsAnonymous(t.Context())
	ada, err := store.Register(visitor, "ada@example.org", "a long horse")
	if err != nil {
		t.Fatal(err)
	}
	claims := store.NewClaims(ada, time.Hour)
	if err := store.CheckToken(visitor, claims); err != nil {
		t.Error(err)
	}
	now = now.Add(2 * time.Hour)
	if err := store.CheckToken(visitor, claims); !errors.Is(err, models.ErrTokenExpired) {
		t.Errorf("got %v, want the token to have expired", err)
	}
}

func TestExample_testingPostgres(t *testing.T) {
	t.Parallel()
	url := dbtest.Postgres(t)
	store, err := models.Open(t.Context(), url) // of a database for tests alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	if _, err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx := models.RollbackTest(t, store)

	if _, err := store.Register(ctx, "ada@example.org", "a long horse"); err != nil {
		t.Error(err)
	}
}
