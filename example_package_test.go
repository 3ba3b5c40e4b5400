package models_test

import (
	"context"
	"fmt"
	"os"

	"github.com/reviewpoint/models"
)

// The snippet of the package's documentation.
func Example_package() {
	folder, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(folder)
	if err := examplePackage(context.Background(), "sqlite://"+folder+"/reviewpoint.db", "a long horse"); err != nil {
		fmt.Println(err)
	}
	// Output: 0 files
}

func examplePackage(ctx context.Context, url, password string) error {
	store, err := models.Open(ctx, url) // sqlite://reviewpoint.db, for one
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
	if err != nil {
		return err
	}
	fmt.Println(len(files), "files")
	return nil
}
