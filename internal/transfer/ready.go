package transfer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql/schema"

	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/migration"
	"github.com/reviewpoint/models/schema/migrations"
)

// ErrSame is the answer of Distinct.
var ErrSame = errors.New("source and target are the same database")

// Distinct refuses a database that would be copied onto itself: the same file, or the same database of one
// server.
func Distinct(ctx context.Context, from, to *database.DB) error {
	if from.Dialect() != to.Dialect() {
		return nil
	}
	if from.Dialect() == dialect.SQLite {
		one, err := os.Stat(from.Name())
		other, otherErr := os.Stat(to.Name())
		if err == nil && otherErr == nil && os.SameFile(one, other) {
			return fmt.Errorf("%w: %s", ErrSame, to.Name())
		}
		return nil // One in memory is its own.
	}
	// The address of a server may be written in many ways.
	const identity = "SELECT oid || ' ' || extract(epoch FROM pg_postmaster_start_time()) FROM pg_database WHERE datname = current_database()"
	one, err := list[string](ctx, from, identity)
	if err != nil {
		return err
	}
	other, err := list[string](ctx, to, identity)
	if err == nil && slices.Equal(one, other) {
		err = fmt.Errorf("%w: %s", ErrSame, to.Name())
	}
	return err
}

// Ready refuses a database that is not up to date, or whose tables and columns are not those of the
// schema: rows would be left behind.
func Ready(ctx context.Context, db *database.DB, tables []*schema.Table) error {
	files, err := status(ctx, db)
	if err != nil {
		return err
	}
	for _, file := range files {
		if file.Pending() {
			return fmt.Errorf("%s lacks migration %s: run `reviewpoint migrate apply` on it", db.Name(), file.Name)
		}
	}
	return checkTables(ctx, db, tables)
}

func status(ctx context.Context, db *database.DB) ([]migration.File, error) {
	m, err := migration.New(db, migrations.FS)
	if err != nil {
		return nil, err
	}
	files, err := m.Status(ctx)
	switch {
	case errors.Is(err, migration.ErrMissing):
		err = fmt.Errorf("%s: %w: use the version of this command that knows it", db.Name(), err)
	case err != nil:
		err = fmt.Errorf("%s: %w", db.Name(), err)
	}
	return files, err
}

// Empty reports whether a database lacks migrations and has no rows, so that it may be migrated.
func Empty(ctx context.Context, db *database.DB, tables []*schema.Table) (bool, error) {
	files, err := status(ctx, db)
	if err != nil || !slices.ContainsFunc(files, migration.File.Pending) {
		return false, err
	}
	there, err := list[string](ctx, db, tableNames[db.Dialect()])
	if err != nil {
		return false, err
	}
	for _, table := range tables {
		if !slices.Contains(there, table.Name) {
			continue
		}
		found, err := list[int](ctx, db, fmt.Sprintf("SELECT 1 FROM %q LIMIT 1", table.Name))
		if err != nil || len(found) > 0 {
			return false, err
		}
	}
	return true, nil
}

const revisions = "atlas_schema_revisions"

// tableNames lists the tables, less those of extensions.
var tableNames = map[string]string{
	dialect.SQLite: "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!' AND name <> '" + revisions + "' ORDER BY name",
	dialect.Postgres: "SELECT relname::text FROM pg_class c WHERE relnamespace = pg_catalog.quote_ident(pg_catalog.current_schema())::regnamespace AND relkind IN ('r', 'p', 'f') AND relname <> '" + revisions + `'
		AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') ORDER BY relname`,
}

func checkTables(ctx context.Context, db *database.DB, tables []*schema.Table) error {
	const cure = "`reviewpoint migrate verify` names all that is not as it should"
	there, err := list[string](ctx, db, tableNames[db.Dialect()])
	if err != nil {
		return err
	}
	for _, name := range there {
		if !slices.ContainsFunc(tables, func(t *schema.Table) bool { return t.Name == name }) {
			return fmt.Errorf("%s has a table %q that no migration makes and copy would leave behind: move it to another database; %s", db.Name(), name, cure)
		}
	}
	for _, table := range tables {
		if !slices.Contains(there, table.Name) {
			return fmt.Errorf("%s has no table %q: %s", db.Name(), table.Name, cure)
		}
		is, err := columns(ctx, db, table.Name)
		if err != nil {
			return err
		}
		var should []string
		for _, column := range table.Columns {
			should = append(should, column.Name)
		}
		slices.Sort(is)
		slices.Sort(should)
		if !slices.Equal(is, should) {
			return fmt.Errorf("the columns of %q in %s are %s and should be %s: %s", table.Name, db.Name(), strings.Join(is, ", "), strings.Join(should, ", "), cure)
		}
	}
	return nil
}

func columns(ctx context.Context, db *database.DB, table string) (names []string, err error) {
	rows, err := db.QueryContext(ctx, fmt.Sprintf("SELECT * FROM %q LIMIT 0", table)) //nolint:unqueryvet // It is asked which there are.
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Err(), rows.Close()) }()
	return rows.Columns()
}

// checkEncoding refuses a database that cannot keep all text.
func checkEncoding(ctx context.Context, db *database.DB) error {
	if db.Dialect() == dialect.SQLite {
		return nil
	}
	encoding, err := list[string](ctx, db, "SHOW server_encoding")
	if err == nil && encoding[0] != "UTF8" {
		err = fmt.Errorf("the encoding of %s is %s: make it with `createdb --encoding UTF8 --template template0`", db.Name(), encoding[0])
	}
	return err
}
