package main

import (
	"context"
	"errors"
	"fmt"
)

// diskRow is what the rows of a table take.
type diskRow struct {
	Table         string
	Rows, Indexes float64 // bytes of a row, and of its entries in all indexes
}

// disk fills each table through its indexes, in an order of the values that jumps about, as they would grow.
func (r scaleRun) disk(ctx context.Context, out *scaleSection) (err error) {
	g, err := r.ground(ctx, r.diskRows)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	if err := g.quick(ctx); err != nil {
		return err
	}
	g.users = r.diskRows
	for _, table := range []struct {
		name   string
		insert func(context.Context, series) error
	}{
		{"users", g.insertUsers},
		{"files", g.insertFiles},
		{"blacklisted_tokens", g.insertTokens},
		{"used_password_reset_tokens", g.insertResets},
		{"audit_logs", g.insertAudits},
	} {
		r.progress("%d rows of %s", r.diskRows, table.name)
		if err := table.insert(ctx, series{1, r.diskRows}); err != nil {
			return err
		}
		bytes := g.bytesOfSQLite
		if g.postgres {
			bytes = g.bytesOfPostgreSQL
		}
		row, err := bytes(ctx, table.name)
		if err != nil {
			return err
		}
		out.Disk = append(out.Disk, row)
	}
	return nil
}

func (g *ground) bytesOfPostgreSQL(ctx context.Context, table string) (*diskRow, error) {
	if err := g.exec(ctx, "VACUUM "+table); err != nil {
		return nil, err
	}
	row, n := &diskRow{Table: table}, float64(g.rows)
	err := g.pool.QueryRowContext(ctx, "SELECT pg_table_size($1::regclass), pg_indexes_size($1::regclass)", table).Scan(&row.Rows, &row.Indexes)
	row.Rows, row.Indexes = row.Rows/n, row.Indexes/n
	return row, err
}

// bytesOfSQLite counts the pages that become free when an index is removed. The rest of what the file has
// grown by are the rows.
func (g *ground) bytesOfSQLite(ctx context.Context, table string) (*diskRow, error) {
	free := func() (bytes float64) {
		var pages, size float64
		row := g.pool.QueryRowContext(ctx, "SELECT (SELECT freelist_count FROM pragma_freelist_count), (SELECT page_size FROM pragma_page_size)")
		if row.Scan(&pages, &size) != nil {
			return 0
		}
		return pages * size
	}
	indexes, err := g.indexes(ctx, table)
	if err != nil {
		return nil, err
	}
	row, n, before := &diskRow{Table: table}, float64(g.rows), free()
	for _, index := range indexes {
		if err := g.exec(ctx, "DROP INDEX "+index.name); err != nil {
			return nil, err
		}
	}
	row.Indexes = (free() - before) / n
	before = free()
	if err := g.exec(ctx, "DELETE FROM "+table); err != nil { // which empties a table without looking at its rows
		return nil, err
	}
	row.Rows = (free() - before) / n
	if row.Rows <= 0 || row.Indexes <= 0 {
		return nil, fmt.Errorf("%s has %.0f bytes a row, and %.0f in indexes", table, row.Rows, row.Indexes)
	}
	return row, nil
}

// Sum is what a row takes with its indexes.
func (r *diskRow) Sum() float64 { return r.Rows + r.Indexes }
