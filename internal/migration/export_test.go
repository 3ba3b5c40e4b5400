package migration

import (
	"context"
	"io/fs"

	"ariga.io/atlas/sql/migrate"
	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/database"
)

// LintFrom is lint for the tests outside of the package.
var LintFrom = (*Dev).lint

// Accept reads the list of accepted findings, and applies it to findings.
func Accept(list fs.FS, folder string, files []migrate.File, findings []Finding) error {
	all, err := accepted(list)
	if err != nil {
		return err
	}
	return accept(all, folder, files, findings)
}

// DevOn tries migrations out beside the tables of db itself.
func DevOn(ctx context.Context, db *database.DB) (*Dev, error) {
	if db.Dialect() == dialect.SQLite {
		return OpenDev(ctx, dialect.SQLite, "")
	}
	return &Dev{db: db, stop: func() error { return nil }}, nil
}
