package models_test

import (
	"context"
	"errors"
	"testing"

	"github.com/reviewpoint/models"
)

// The snippet of the package's documentation.
func TestExample_package(t *testing.T) { // it changes the folder, so not beside others
	t.Chdir(t.TempDir())
	check(t, examplePackage(t.Context(), "a long horse"))
}

func examplePackage(ctx context.Context, password string) error {
	store, err := models.Open(ctx, "sqlite://reviewpoint.db")
	if err != nil {
		return err
	}
	defer store.Close()
	if _, err := store.Migrate(ctx); err != nil {
		return err
	}
	ada, err := store.Register(models.AsAnonymous(ctx), "ada@example.org", password)
	if err != nil {
		return err
	}
	files, err := store.File.Query().All(models.AsUser(ctx, ada)) // her own
	if err == nil && len(files) > 0 {
		return errors.New("she has none")
	}
	return err
}
