package models_test

import (
	"bytes"
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

// Accounts move to another database with all that they have, and then the file changes one of them.
func ExampleStore_ExportUsers() {
	if err := exampleExport(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// 1 imported, then 1 skipped, then 1 updated
}

func exampleExport(ctx context.Context) error {
	ctx = models.AsSystem(ctx, "moving house")
	from, err := models.Open(ctx, "sqlite://:memory:")
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := models.Open(ctx, "sqlite://:memory:")
	if err != nil {
		return err
	}
	defer to.Close()
	for _, store := range []*models.Store{from, to} {
		if _, err := store.Migrate(ctx); err != nil {
			return err
		}
	}
	if _, err := from.Register(ctx, "ada@example.org", "a long horse"); err != nil {
		return err
	}
	var file bytes.Buffer
	if err := from.ExportUsers(models.IncludeDeleted(ctx), &file, models.ExportOptions{WithPasswordHashes: true}); err != nil {
		return err
	}
	first, err := to.ImportUsers(ctx, bytes.NewReader(file.Bytes()), models.ImportOptions{})
	if err != nil {
		return err
	}
	again, err := to.ImportUsers(ctx, bytes.NewReader(file.Bytes()), models.ImportOptions{})
	if err != nil {
		return err
	}
	named := strings.NewReader("email,name\nada@example.org,Ada\n")
	changed, err := to.ImportUsers(ctx, named, models.ImportOptions{OnConflict: models.ConflictUpdate})
	if err != nil {
		return err
	}
	fmt.Printf("%d imported, then %d skipped, then %d updated\n", first.Imported, again.Skipped, changed.Updated)
	return nil
}
