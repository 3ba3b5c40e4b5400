package migration

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"ariga.io/atlas/sql/migrate"
	"entgo.io/ent/dialect"
	entschema "entgo.io/ent/dialect/sql/schema"

	"github.com/reviewpoint/models/internal/database"
)

// Difference is something that Verify found not to be as it should.
type Difference struct {
	Where string `json:"where"`
	What  string `json:"what"`
}

// Verify compares the folders of migrations with their atlas.sum, what their files make with the
// schema, that of one dialect with that of the other, and the database, if there is one, with what its
// applied files make. It names every difference, and changes nothing. A dialect without a Dev is left out.
func Verify(ctx context.Context, files fs.FS, tables []*entschema.Table, devs []*Dev, db *database.DB) ([]Difference, error) {
	var out []Difference
	made := make(map[string]snapshot)
	dirs := make(map[string][]migrate.File)
	for _, dev := range devs {
		found, files, is, err := verifyFolder(ctx, files, tables, dev)
		if err != nil {
			return nil, err
		}
		for _, what := range found {
			out = append(out, Difference{"folder " + folderOf(dev.db.Dialect()), what})
		}
		if is.schema != nil {
			made[dev.db.Dialect()], dirs[dev.db.Dialect()] = is, files
		}
	}
	for _, dev := range devs {
		if dev.db.Dialect() != dialect.Postgres || len(made) < 2 {
			continue
		}
		found, err := dev.compareDialects(ctx, dirs[dialect.Postgres], made[dialect.SQLite], made[dialect.Postgres])
		if err != nil {
			return nil, err
		}
		for _, what := range found {
			out = append(out, Difference{"dialects", what})
		}
	}
	if db == nil {
		return out, nil
	}
	found, err := verifyDatabase(ctx, files, devs, db)
	return append(out, found...), err
}

// verifyFolder compares what the files of one dialect make with the schema. It returns no snapshot of files
// that cannot be run.
func verifyFolder(ctx context.Context, files fs.FS, tables []*entschema.Table, dev *Dev) (found []string, all []migrate.File, is snapshot, err error) {
	dir, err := readDir(files, folderOf(dev.db.Dialect()))
	if errors.Is(err, ErrEdited) {
		return []string{err.Error()}, nil, is, nil
	}
	if err != nil {
		return nil, nil, is, err
	}
	if all, err = dir.Files(); err != nil {
		return nil, nil, is, err
	}
	is, err = dev.replay(ctx, all)
	if errors.As(err, new(*failure)) || errors.Is(err, errUnusable) {
		return []string{err.Error()}, nil, snapshot{}, nil
	}
	if err != nil {
		return nil, nil, is, err
	}
	should, err := dev.desired(ctx, tables)
	if err != nil {
		return nil, nil, is, err
	}
	should.others = is.others // The schema has none; what files add by hand is theirs.
	found, err = differences(ctx, dev.db, is, should)
	return found, all, is, err
}

// compareDialects compares what the files of both dialects make. Conditions are compared as PostgreSQL
// understands them, so the tables that its files make must be there.
func (d *Dev) compareDialects(ctx context.Context, files []migrate.File, sqlite, postgres snapshot) (found []string, err error) {
	err = d.try(ctx, func(ctx context.Context) error {
		for _, file := range files {
			if err := runInTx(ctx, d.db, file, nil); err != nil {
				return err
			}
		}
		normal := func(table, condition string) string { return d.understood(ctx, table, condition) }
		found = compareModels(modelOf(sqlite.schema, normal), modelOf(postgres.schema, normal))
		return nil
	})
	return found, err
}

// understood is a condition as PostgreSQL gives it back, or as it is if it does not understand it.
func (d *Dev) understood(ctx context.Context, table, condition string) string {
	for _, statement := range []string{
		"SAVEPOINT condition",
		fmt.Sprintf("ALTER TABLE %s ADD CONSTRAINT reviewpoint_condition CHECK (%s)", ident(table), condition),
	} {
		if _, err := d.db.ExecContext(ctx, statement); err != nil {
			_, _ = d.db.ExecContext(ctx, "ROLLBACK TO SAVEPOINT condition")
			return fold(condition)
		}
	}
	texts, err := scanStrings(ctx, d.db, "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'reviewpoint_condition' AND connamespace = pg_catalog.quote_ident(pg_catalog.current_schema())::regnamespace")
	if _, undo := d.db.ExecContext(ctx, "ROLLBACK TO SAVEPOINT condition"); err != nil || undo != nil || len(texts) == 0 {
		return fold(condition)
	}
	return bare(strings.TrimPrefix(texts[0], "CHECK "))
}

// bare is a condition without the parentheses around all of it.
func bare(condition string) string {
	for strings.HasPrefix(condition, "(") {
		depth, quoted := 0, false
		for i, r := range condition {
			switch {
			case r == '\'':
				quoted = !quoted
			case quoted:
			case r == '(':
				depth++
			case r == ')':
				depth--
			}
			if depth == 0 && i < len(condition)-1 { // The first one ends before the end.
				return condition
			}
		}
		condition = condition[1 : len(condition)-1]
	}
	return condition
}

// verifyDatabase compares a database with what its applied files make.
func verifyDatabase(ctx context.Context, files fs.FS, devs []*Dev, db *database.DB) ([]Difference, error) {
	where := "database " + db.Name()
	m, err := New(db, files)
	if errors.Is(err, ErrEdited) {
		return nil, nil // It was named with its folder.
	}
	if err != nil {
		return nil, err
	}
	var out []Difference
	for _, dev := range devs {
		if dev.db.Dialect() != db.Dialect() {
			continue
		}
		found, err := m.Drift(ctx, dev)
		switch {
		case errors.Is(err, ErrEdited), errors.Is(err, ErrMissing), errors.Is(err, ErrForeign), errors.Is(err, ErrOrder):
			return append(out, Difference{where, err.Error()}), nil
		case err != nil:
			return nil, err
		}
		for _, what := range found {
			out = append(out, Difference{where, what})
		}
		status, err := m.Status(ctx)
		if err != nil {
			return nil, err
		}
		if file := m.halfDone(status); file != nil {
			out = append(out, Difference{where, fmt.Sprintf("migration %s stopped half-way, with %d of %d statements done: run `reviewpoint migrate apply`, and then this again", file.Name, file.Done, file.Total)})
		}
	}
	return out, nil
}
