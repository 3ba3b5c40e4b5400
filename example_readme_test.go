package models_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/reviewpoint/models"
)

// The snippets of the README, in its order.
func Example_readme() {
	if err := readme(context.Background(), "nonce"); err != nil {
		fmt.Println(err)
	}
	// Output:
	// ada@example.org, user, 1 file
	// this link was used before, and she keeps her name
	// not for Ada; she has 1 file
	// the token has been revoked
}

func readme(ctx context.Context, nonce string) error {
	store, err := models.Open(ctx, "sqlite://:memory:")
	if err != nil {
		return err
	}
	defer store.Close()
	if _, err := store.Migrate(ctx); err != nil {
		return err
	}

	ada, err := store.Register(models.AsAnonymous(ctx), " Ada@Example.org ", "a long horse") // ada@example.org
	if err != nil {
		return err
	}
	ctx = models.AsSystem(ctx, "import")
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

	if err := store.ConsumeResetToken(ctx, ada.Email, nonce); err != nil {
		return err
	}
	err = store.InTx(ctx, func(ctx context.Context) error {
		if err := store.User.UpdateOne(ada).SetName("Ada").Exec(ctx); err != nil {
			return err
		}
		return store.ConsumeResetToken(ctx, ada.Email, nonce)
	})
	if errors.Is(err, models.ErrTokenUsed) {
		fmt.Println("this link was used before, and she keeps her name")
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
	return tokens(ctx, store)
}

func tokens(ctx context.Context, store *models.Store) error {
	visitor := models.AsAnonymous(ctx)
	ada, err := store.Authenticate(visitor, "ADA@example.org", "a long horse")
	if err != nil {
		return err
	}
	claims := store.NewClaims(ada, time.Hour) // sign them as a JWT
	if err := store.CheckToken(visitor, claims); err != nil {
		return err
	}
	if err := store.ChangePassword(models.AsUser(ctx, ada), ada.ID, "a long horse", "a longer horse"); err != nil {
		return err
	}
	fmt.Println(store.CheckToken(visitor, claims))
	return nil
}
