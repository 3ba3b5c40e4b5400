package models_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
)

// Who has this in the address or in the name: active accounts by name, two at a time. What a person types
// needs no escaping, and a cursor that has come back damaged is told from other errors.
func ExampleStore_ListUsers() {
	if err := exampleListUsers(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// [Ada 100%_real Grace 100%_]
	// [Zoé 100%_]
	// PageRequest.after: must be the Next or Prev of a page of the same list
}

func exampleListUsers(ctx context.Context) error {
	store, err := models.Open(ctx, "sqlite://:memory:")
	if err != nil {
		return err
	}
	defer store.Close()
	if _, err := store.Migrate(ctx); err != nil {
		return err
	}
	ctx = models.AsSystem(ctx, "example")
	for email, name := range map[string]string{
		"grace@example.org": "Grace 100%_", "ada@example.org": "Ada 100%_real", "zoe@example.org": "Zoé 100%_", "bob@example.org": "Bob 1000",
	} {
		_, err := store.UpsertUser(ctx, email, func(m *ent.UserMutation) { m.SetName(name) })
		if err != nil {
			return err
		}
	}

	filter := models.UserFilter{Text: "100%_", Active: new(true)}
	request := models.PageRequest{Limit: 2, Sort: models.SortName}
	for {
		page, err := store.ListUsers(ctx, filter, request)
		if err != nil {
			return err
		}
		var names []string
		for _, u := range page.Items {
			names = append(names, *u.Name)
		}
		fmt.Println(names)
		if page.Next == "" {
			break
		}
		request.After = page.Next
	}

	request.After = "damaged"
	_, err = store.ListUsers(ctx, filter, request)
	if invalid, ok := errors.AsType[*models.ValidationError](err); ok {
		fmt.Println(invalid)
		return nil
	}
	return err
}
