package migration

import (
	"context"
	"errors"
	"io/fs"

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
	models := make(map[string]model)
	for _, dev := range devs {
		folder := folderOf(dev.db.Dialect())
		note := func(found []string) {
			for _, what := range found {
				out = append(out, Difference{"folder " + folder, what})
			}
		}
		dir, err := readDir(files, folder)
		if errors.Is(err, ErrEdited) {
			note([]string{err.Error()})
			continue
		}
		if err != nil {
			return nil, err
		}
		all, err := dir.Files()
		if err != nil {
			return nil, err
		}
		is, err := dev.replay(ctx, all)
		if errors.As(err, new(*failure)) || errors.Is(err, errUnreadable) {
			note([]string{err.Error()})
			continue
		}
		if err != nil {
			return nil, err
		}
		should, err := dev.desired(ctx, tables)
		if err != nil {
			return nil, err
		}
		should.others = is.others // The schema has none; what files add by hand is theirs.
		found, err := differences(ctx, dev.db, is, should)
		if err != nil {
			return nil, err
		}
		note(found)
		models[dev.db.Dialect()] = modelOf(is.schema)
	}
	if len(models) == 2 {
		for _, what := range compareModels(models[dialect.SQLite], models[dialect.Postgres]) {
			out = append(out, Difference{"dialects", what})
		}
	}
	if db == nil {
		return out, nil
	}
	found, err := verifyDatabase(ctx, files, devs, db)
	return append(out, found...), err
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
	}
	return out, nil
}
