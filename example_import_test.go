package models_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/reviewpoint/models"
)

// Accounts of another system, of which one is refused.
func ExampleStore_ImportUsers() {
	if err := exampleImport(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// 2 of 3 accounts, as the dry run said
	// line 3, email: must be an address such as name@example.org
}

func exampleImport(ctx context.Context) error {
	store, err := models.Open(ctx, "sqlite://:memory:")
	if err != nil {
		return err
	}
	defer store.Close()
	if _, err := store.Migrate(ctx); err != nil {
		return err
	}
	ctx = models.AsSystem(ctx, "moving house")
	const accounts = `email,name,is_admin
ada@example.org,"Lovelace, Ada",true
nobody,,
грейс@example.org,,false
`
	tried, err := store.ImportUsers(ctx, strings.NewReader(accounts), models.ImportOptions{DryRun: true})
	if err != nil {
		return err
	}
	report, err := store.ImportUsers(ctx, strings.NewReader(accounts), models.ImportOptions{})
	if err != nil {
		return err
	}
	if report.Imported == tried.Imported {
		fmt.Printf("%d of %d accounts, as the dry run said\n", report.Imported, report.Read)
	}
	for _, row := range report.Rows {
		fmt.Printf("line %d, %s: %s\n", row.Line, row.Field, row.Reason)
	}
	return nil
}
