package models_test

import (
	"context"
	"fmt"

	"github.com/reviewpoint/models"
)

// Files in bulk, a list of them page by page and back, and their end.
func Example_files() {
	if err := exampleFiles(context.Background(), "a long horse"); err != nil {
		fmt.Println(err)
	}
	// Output:
	// 5 files
	// [e.pdf d.pdf]
	// [c.pdf b.pdf]
	// [a.pdf]
	// and back: c.pdf b.pdf
	// deleted [a.pdf], missing [z.pdf]
}

func exampleFiles(ctx context.Context, password string) error {
	store, err := models.Open(ctx, "sqlite://:memory:")
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
	ctx = models.AsUser(ctx, ada)

	var papers []models.NewFile
	for _, name := range []string{"a.pdf", "b.pdf", "c.pdf", "d.pdf", "e.pdf"} {
		papers = append(papers, models.NewFile{Filename: name, ContentType: "application/pdf", Size: 2048})
	}
	if _, err := store.CreateFiles(ctx, ada.ID, papers); err != nil {
		return err
	}

	request := models.PageRequest{Limit: 2, WithTotal: true}
	for {
		page, err := store.ListFiles(ctx, models.FileFilter{}, request)
		if err != nil {
			return err
		}
		if page.Total != nil {
			fmt.Println(*page.Total, "files")
		}
		var names []string
		for _, f := range page.Items {
			names = append(names, f.Filename)
		}
		fmt.Println(names)
		if page.Next == "" {
			request = models.PageRequest{Limit: 2, Before: page.Prev}
			break
		}
		request = models.PageRequest{Limit: 2, After: page.Next}
	}
	page, err := store.ListFiles(ctx, models.FileFilter{}, request)
	if err != nil {
		return err
	}
	fmt.Println("and back:", page.Items[0].Filename, page.Items[1].Filename)

	deleted, missing, err := store.DeleteFiles(ctx, ada.ID, []string{"a.pdf", "z.pdf"})
	if err != nil {
		return err
	}
	fmt.Printf("deleted %v, missing %v\n", deleted, missing)
	return nil
}
