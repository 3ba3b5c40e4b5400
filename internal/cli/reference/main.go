// Command reference writes the page about the command. It is run by go generate in the folder of the module.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/reviewpoint/models/internal/cli"
)

func main() {
	//nolint:gosec // A source file, as readable as the others.
	if err := os.WriteFile(filepath.Join("docs", "reference.md"), cli.Reference(), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
}
