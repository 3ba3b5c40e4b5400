// Command generate writes the diagrams and the dictionary of the tables into docs. It is run by go
// generate in the folder of the module.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/reviewpoint/models/internal/diagram"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "diagram:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	model, err := diagram.Current(ctx)
	if err != nil {
		return err
	}
	documents, err := model.Documents()
	if err != nil {
		return err
	}
	for file, text := range documents {
		//nolint:gosec // A document, as readable as the others.
		if err := os.WriteFile(filepath.Join("docs", file), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
