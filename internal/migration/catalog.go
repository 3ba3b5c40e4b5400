package migration

import (
	"context"
	"errors"
	"fmt"

	"ariga.io/atlas/sql/schema"

	"github.com/reviewpoint/models/internal/database"
)

// catalog is what PostgreSQL knows of the tables of the current schema. It tells what a statement did to
// a table better than any rule about statements.
type catalog struct {
	counts      bool // whether scans are counted
	relations   map[int64]relation
	constraints map[int64]constraint
}

// relation is a table or an index.
type relation struct {
	name  string
	table int64 // that of an index; of a table itself
	file  int64 // another one when it was written anew
	scans int64 // in this transaction
}

type constraint struct {
	name         string
	table, index int64
	kind         string
	validated    bool
}

func readCatalog(ctx context.Context, db *database.DB) (read *catalog, err error) {
	read = &catalog{relations: make(map[int64]relation), constraints: make(map[int64]constraint)}
	rows, err := db.QueryContext(ctx, `SELECT c.oid, c.relname, COALESCE(i.indrelid, c.oid), COALESCE(pg_relation_filenode(c.oid), 0),
			COALESCE(pg_stat_get_xact_numscans(c.oid), 0), current_setting('track_counts')::bool
		FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
		WHERE c.relnamespace = pg_catalog.quote_ident(pg_catalog.current_schema())::regnamespace AND c.relkind IN ('r', 'p', 'm', 'i', 'I')`)
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var (
			oid int64
			r   relation
		)
		if err := rows.Scan(&oid, &r.name, &r.table, &r.file, &r.scans, &read.counts); err != nil {
			return nil, fmt.Errorf("read the catalog: %w", err)
		}
		read.relations[oid] = r
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	return read, read.readConstraints(ctx, db)
}

func (c *catalog) readConstraints(ctx context.Context, db *database.DB) (err error) {
	rows, err := db.QueryContext(ctx, `SELECT oid, conname, conrelid, conindid, contype, convalidated
		FROM pg_constraint WHERE connamespace = pg_catalog.quote_ident(pg_catalog.current_schema())::regnamespace AND conrelid <> 0`)
	if err != nil {
		return fmt.Errorf("read the catalog: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var (
			oid   int64
			found constraint
		)
		if err := rows.Scan(&oid, &found.name, &found.table, &found.index, &found.kind, &found.validated); err != nil {
			return fmt.Errorf("read the catalog: %w", err)
		}
		c.constraints[oid] = found
	}
	return rows.Err()
}

// has reports whether the table has a constraint of the name.
func (c *catalog) has(table int64, name string) bool {
	for _, found := range c.constraints {
		if found.table == table && found.name == name {
			return true
		}
	}
	return false
}

// of returns the constraint that the index stands for.
func (c *catalog) of(index int64) (constraint, bool) {
	for _, found := range c.constraints {
		if found.index == index && found.kind != "f" {
			return found, true
		}
	}
	return constraint{}, false
}

// master is what SQLite knows and Atlas does not ask.
type master struct {
	triggers  []string
	sequences map[string]int64 // of tables with AUTOINCREMENT
}

func readMaster(ctx context.Context, db *database.DB) (*master, error) {
	triggers, err := scanStrings(ctx, db, "SELECT name FROM sqlite_master WHERE type = 'trigger' ORDER BY name")
	if err != nil {
		return nil, fmt.Errorf("read sqlite_master: %w", err)
	}
	read := &master{triggers: triggers, sequences: make(map[string]int64)}
	exists, err := scanStrings(ctx, db, "SELECT name FROM sqlite_master WHERE name = 'sqlite_sequence'")
	if err != nil {
		return nil, fmt.Errorf("read sqlite_master: %w", err)
	}
	if len(exists) > 0 {
		err = read.readSequences(ctx, db)
	}
	return read, err
}

func (m *master) readSequences(ctx context.Context, db *database.DB) (err error) {
	rows, err := db.QueryContext(ctx, "SELECT name, CAST(COALESCE(seq, 0) AS integer) FROM sqlite_sequence ORDER BY rowid")
	if err != nil {
		return fmt.Errorf("read sqlite_sequence: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var (
			name string
			seq  int64
		)
		if err := rows.Scan(&name, &seq); err != nil {
			return fmt.Errorf("read sqlite_sequence: %w", err)
		}
		if _, ok := m.sequences[name]; !ok { // SQLite heeds the first row of a name alone.
			m.sequences[name] = seq
		}
	}
	return rows.Err()
}

// highest is an id that no migration makes by itself.
const highest = int64(1) << 40

// raiseSequences makes as if a row of the highest id had been deleted from each table with AUTOINCREMENT.
// A rebuild that keeps that in mind is seen by what is left of it.
func (m *master) raiseSequences(ctx context.Context, db *database.DB, tables *schema.Schema) error {
	for _, table := range tables.Tables {
		if !autoIncrement(table) {
			continue
		}
		for _, statement := range []string{"DELETE FROM sqlite_sequence WHERE name = $1", fmt.Sprintf("INSERT INTO sqlite_sequence (name, seq) VALUES ($1, %d)", highest)} {
			if _, err := db.ExecContext(ctx, statement, table.Name); err != nil {
				return fmt.Errorf("prepare to lint: %w", err)
			}
		}
	}
	return nil
}
