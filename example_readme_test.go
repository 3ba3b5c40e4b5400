package models_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/reviewpoint/models"
)

// The snippets of the README, in its order.
func Example_readme() {
	if err := readme(context.Background(), "!", "nonce"); err != nil {
		fmt.Println(err)
	}
	// Output:
	// ada@example.org, user, 1 file
	// this link was used before
	// not for Ada; she has 1 file
}

func readme(ctx context.Context, hash, nonce string) error {
	store, err := models.Open(ctx, "sqlite://:memory:")
	if err != nil {
		return err
	}
	defer store.Close()
	if _, err := store.Migrate(ctx); err != nil {
		return err
	}

	ctx = models.AsSystem(ctx, "signup")
	ada, err := store.User.Create().
		SetEmail("ada@example.org").
		SetHashedPassword(hash).
		SetPreferences(map[string]any{"theme": "dark"}).
		Save(ctx)
	if err != nil {
		return err
	}
	err = store.File.Create().SetFilename("статья.pdf").SetContentType("application/pdf").SetUser(ada).Exec(ctx)
	if err != nil {
		return err
	}
	people, err := store.User.Query().WithFiles().All(ctx) // two queries, however many people
	if err != nil {
		return err
	}
	for _, u := range people {
		fmt.Printf("%s, %s, %d file\n", u.Email, u.Role(), len(u.Edges.Files))
	}

	if err := store.UsedPasswordResetToken.Create().SetEmail(ada.Email).SetNonce(nonce).Exec(ctx); err != nil {
		return err
	}
	err = store.InTx(ctx, func(ctx context.Context) error {
		if err := store.User.UpdateOne(ada).SetName("Ada").Exec(ctx); err != nil {
			return err
		}
		return store.UsedPasswordResetToken.Create().SetEmail(ada.Email).SetNonce(nonce).Exec(ctx)
	})
	if errors.Is(err, models.ErrUnique) {
		fmt.Println("this link was used before")
	}

	asAda := models.AsUser(ctx, ada)
	mine, err := store.File.Query().All(asAda) // Ada's files alone
	if err != nil {
		return err
	}
	err = store.User.UpdateOne(ada).SetIsAdmin(true).Exec(asAda)
	if errors.Is(err, models.ErrForbidden) {
		fmt.Println("not for Ada; she has", len(mine), "file")
	}
	return nil
}
