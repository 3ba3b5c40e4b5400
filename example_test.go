package models_test

import (
	"context"
	"fmt"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/file"
)

// A store, two files in one transaction, and a query.
func Example() {
	if err := example(context.Background(), "a long horse"); err != nil {
		fmt.Println(err)
	}
	// Output:
	// ada@example.org has 2 files
	// статья.pdf: 2048 bytes
}

func example(ctx context.Context, password string) error {
	store, err := models.Open(ctx, "sqlite://:memory:")
	if err != nil {
		return err
	}
	defer store.Close()
	if _, err := store.Migrate(ctx); err != nil {
		return err
	}
	user, err := store.Register(models.AsAnonymous(ctx), "ada@example.org", password)
	if err != nil {
		return err
	}
	ctx = models.AsUser(ctx, user)

	err = store.InTx(ctx, func(ctx context.Context) error {
		for name, size := range map[string]int64{"статья.pdf": 2048, "data.csv": 512} {
			err := store.File.Create().SetFilename(name).SetContentType("application/octet-stream").SetSize(size).SetUser(user).Exec(ctx)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}

	n, err := user.QueryFiles().Count(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%s has %d files\n", user.Email, n)
	largest, err := user.QueryFiles().Order(ent.Desc(file.FieldSize)).First(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d bytes\n", largest.Filename, largest.Size)
	return nil
}
