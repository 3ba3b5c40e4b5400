package migration

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/database"
)

// checkForeignKeys looks for rows that a migration left without their parent: SQLite does not
// enforce foreign keys while it migrates.
func checkForeignKeys(ctx context.Context, db *database.DB) error {
	if db.Dialect() != dialect.SQLite {
		return nil
	}
	tables, err := scanStrings(ctx, db, "SELECT DISTINCT \"table\" FROM pragma_foreign_key_check")
	if err != nil {
		return err
	}
	if len(tables) > 0 {
		return fmt.Errorf("it leaves rows of %q that refer to rows which are not there: %w", tables[0], database.ErrForeignKey)
	}
	return nil
}

// readTriggers returns the names of SQLite's triggers.
func readTriggers(ctx context.Context, db *database.DB) ([]string, error) {
	if db.Dialect() != dialect.SQLite {
		return nil, nil
	}
	return scanStrings(ctx, db, "SELECT name FROM sqlite_master WHERE type = 'trigger' ORDER BY name")
}

// checkTriggers looks for triggers of other hands that went with a table which a migration built anew. One
// that the migration names is its own affair.
func checkTriggers(ctx context.Context, db *database.DB, before []string, migration string) error {
	if len(before) == 0 {
		return nil
	}
	after, err := readTriggers(ctx, db)
	if err != nil {
		return err
	}
	for _, name := range before {
		if !slices.Contains(after, name) && !strings.Contains(migration, name) {
			return fmt.Errorf("the trigger %q would be lost with the table that is built anew: drop it, migrate, and make it again", name)
		}
	}
	return nil
}

// readSequences returns where the ids of SQLite's tables go on. A table that is built anew would give
// the ids of deleted rows again.
func readSequences(ctx context.Context, db *database.DB) (map[string]int64, error) {
	if db.Dialect() != dialect.SQLite {
		return nil, nil //nolint:nilnil // PostgreSQL's stay with their columns.
	}
	found, err := scanStrings(ctx, db, "SELECT name FROM sqlite_master WHERE name = 'sqlite_sequence'")
	if err != nil || len(found) == 0 {
		return nil, err
	}
	rows, err := scanStrings(ctx, db, "SELECT seq || ' ' || name FROM sqlite_sequence")
	if err != nil {
		return nil, err
	}
	sequences := make(map[string]int64, len(rows))
	for _, row := range rows {
		number, name, _ := strings.Cut(row, " ")
		if sequences[name], err = strconv.ParseInt(number, 10, 64); err != nil {
			return nil, fmt.Errorf("read sqlite_sequence: %w", err)
		}
	}
	return sequences, nil
}

// keepSequences sets sequences back to where they were, unless they are further or their table has gone.
func keepSequences(ctx context.Context, db *database.DB, sequences map[string]int64) error {
	for name, before := range sequences {
		for _, statement := range []string{
			"UPDATE sqlite_sequence SET seq = max(seq, $1) WHERE name = $2",
			"INSERT INTO sqlite_sequence (seq, name) SELECT $1, $2 WHERE EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $2 AND sql LIKE '%AUTOINCREMENT%') AND NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = $2)",
		} {
			if _, err := db.ExecContext(ctx, statement, before, name); err != nil {
				return fmt.Errorf("keep the sequence of %s: %w", name, err)
			}
		}
	}
	return nil
}
