package adopt

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"entgo.io/ent/dialect"
)

// shape is what there is besides the four tables.
type shape struct {
	alembic  bool
	leftover []string // statements that drop what does not go with a table
}

// relation is what a schema holds: a table, a view, a sequence.
type relation struct {
	kind, name string
	columns    map[string]string // with their types; SQLite's types promise nothing
}

const (
	alembicTable   = "alembic_version"
	revisionsTable = "atlas_schema_revisions"
)

// recognise finds the tables of the old application by their shape, and nothing besides them.
func (a *adoption) recognise(ctx context.Context) error {
	a.tables, a.shape = oldTables(), shape{}
	adopted, err := a.adopted(ctx)
	if err != nil {
		return err
	}
	if adopted {
		return ErrAdopted
	}
	read := a.sqliteRelations
	if a.db.Dialect() == dialect.Postgres {
		read = a.postgresRelations
	}
	found, unknown, err := read(ctx)
	if err != nil {
		return fmt.Errorf("look at the tables: %w", err)
	}
	found = slices.DeleteFunc(found, func(r relation) bool { return r.name == revisionsTable })
	if len(found) == 0 {
		return ErrEmpty
	}
	var lacks []string
	for _, t := range a.tables {
		i := slices.IndexFunc(found, func(r relation) bool { return r.kind == "table" && r.name == t.name })
		if i < 0 {
			lacks = append(lacks, "table "+t.name)
			continue
		}
		missing, besides := a.match(t, found[i])
		lacks, unknown = append(lacks, missing...), append(unknown, besides...)
		found = slices.Delete(found, i, i+1)
	}
	for _, r := range found {
		if _, ok := r.columns["version_num"]; ok && r.kind == "table" && r.name == alembicTable && len(r.columns) == 1 {
			a.shape.alembic = true
			continue
		}
		unknown = append(unknown, r.kind+" "+r.name)
	}
	switch {
	case len(lacks) == len(a.tables) && len(unknown) == 0:
		return fmt.Errorf("%w: it holds nothing but %s, for Alembic made no tables; drop that one, and run `reviewpoint migrate apply`", ErrUnrecognised, alembicTable)
	case len(lacks) > 0:
		return fmt.Errorf("%w: it lacks %s", ErrUnrecognised, strings.Join(lacks, ", "))
	case len(unknown) > 0:
		slices.Sort(unknown)
		return fmt.Errorf("%w: %s", ErrUnknown, strings.Join(slices.Compact(unknown), ", "))
	}
	return nil
}

// match compares the columns of a table, and remembers their types.
func (a *adoption) match(t *table, r relation) (lacks, besides []string) {
	for i, c := range t.columns {
		kind, ok := r.columns[c.name]
		delete(r.columns, c.name)
		switch {
		case !ok && c.optional:
		case !ok:
			lacks = append(lacks, "column "+t.name+"."+c.name)
		case a.db.Dialect() == dialect.Postgres && !slices.Contains(types[c.kind], kind),
			a.db.Dialect() == dialect.SQLite && c.name == "id" && kind != "integer primary key":
			lacks = append(lacks, fmt.Sprintf("column %s.%s of a type that is known, for it is %s", t.name, c.name, kind))
		default:
			t.columns[i].found = kind
		}
	}
	for name := range r.columns {
		besides = append(besides, "column "+t.name+"."+name)
	}
	return lacks, besides
}

// adopted reports whether there is an account of migrations, where the Atlas CLI or this program keeps it.
func (a *adoption) adopted(ctx context.Context) (bool, error) {
	query := "SELECT name FROM sqlite_master WHERE type = 'table' AND name = $1"
	if a.db.Dialect() == dialect.Postgres {
		query = `SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE c.relname = $1 AND c.relkind = 'r' AND n.nspname IN (pg_catalog.current_schema(), $1::text)`
	}
	accounts, err := list[string](ctx, a.db, query, revisionsTable)
	if err != nil {
		return false, err
	}
	for _, account := range accounts {
		if rows, err := one[int](ctx, a.db, "SELECT count(*) FROM "+account); err != nil || rows > 0 {
			return err == nil, err
		}
	}
	return false, nil
}

// away returns the statements that make the names of indexes and sequences free.
func (a *adoption) away(ctx context.Context) ([]string, error) {
	if a.db.Dialect() == dialect.Postgres {
		return a.postgresAway(ctx)
	}
	return a.sqliteAway(ctx)
}

// next is the id that the next row of a table would have had.
func (a *adoption) next(ctx context.Context, t *table) (int64, error) {
	read := a.sqliteNext
	if a.db.Dialect() == dialect.Postgres {
		read = a.postgresNext
	}
	next, err := read(ctx, t.name)
	return max(next, t.last+1), err
}

// proceed lets the ids of a new table go on where those of the old one ended.
func (a *adoption) proceed(ctx context.Context, s Sequence) error {
	if a.db.Dialect() == dialect.Postgres {
		_, err := one[int64](ctx, a.db, "SELECT setval(pg_get_serial_sequence($1, 'id'), $2, false)", s.Table, s.Next)
		return err
	}
	if err := execute1(ctx, a.db, "DELETE FROM sqlite_sequence WHERE name = $1", s.Table); err != nil {
		return err
	}
	return execute1(ctx, a.db, "INSERT INTO sqlite_sequence (name, seq) VALUES ($1, $2)", s.Table, s.Next-1)
}

// theirs are the indexes that the old application made.
const theirs = "('ix_users_email', 'ix_blacklisted_tokens_jti', 'ix_used_password_reset_tokens_email', 'ix_used_password_reset_tokens_nonce', 'ix_files_user_id')"

// noteExtras notes what somebody has added to the old tables and what goes with them: it speeds things up
// or guards them, but holds nothing.
func (a *adoption) noteExtras(ctx context.Context, report *Report) error {
	query := "SELECT tbl_name, 'index ' || name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND name NOT IN " + theirs + " ORDER BY 1, 2"
	if a.db.Dialect() == dialect.Postgres {
		query = `SELECT t.relname::text, 'index ' || i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
				WHERE NOT x.indisprimary AND i.relname NOT IN ` + theirs + " AND " + ours + `
			UNION SELECT t.relname::text, 'constraint ' || conname FROM pg_constraint JOIN pg_class t ON t.oid = conrelid WHERE contype = 'c' AND ` + ours + `
			UNION SELECT t.relname::text, 'comments' FROM pg_description JOIN pg_class t ON t.oid = objoid WHERE classoid = 'pg_class'::regclass AND ` + ours + `
			UNION SELECT t.relname::text, 'storage parameters' FROM pg_class t WHERE reloptions IS NOT NULL AND ` + ours + " ORDER BY 1, 2"
	}
	extras, err := page(ctx, a.db, 2, query)
	if err != nil {
		return fmt.Errorf("look at the tables: %w", err)
	}
	for _, extra := range extras {
		report.Notes = append(report.Notes, Change{Table: fmt.Sprint(extra[0]), What: fmt.Sprintf("%s goes with the old table: plan a migration for it if it is needed", extra[1])})
	}
	return nil
}
