package adopt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/clock"
	"github.com/reviewpoint/models/internal/database"
)

func (a *adoption) sqliteRelations(ctx context.Context) (found []relation, unknown []string, err error) {
	all, err := page(ctx, a.db, 3, "SELECT type, name, tbl_name FROM sqlite_master WHERE name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY name")
	if err != nil {
		return nil, nil, err
	}
	for _, r := range all {
		kind, name := fmt.Sprint(r[0]), fmt.Sprint(r[1])
		switch kind {
		case "index": // goes with its table
			continue
		case "trigger":
			unknown = append(unknown, fmt.Sprintf("trigger %s of %s", name, r[2]))
			continue
		}
		columns, err := page(ctx, a.db, 3, "SELECT name, lower(type), pk FROM pragma_table_xinfo($1)", name)
		if err != nil {
			return nil, nil, err
		}
		types, keys := map[string]string{}, int64(0)
		for _, c := range columns {
			kind, _ := c[1].(string)
			pk, _ := c[2].(int64)
			keys = max(keys, pk)
			if pk == 1 {
				kind += " primary key"
			}
			types[fmt.Sprint(c[0])] = kind
		}
		if keys > 1 { // then id alone is no number of the row
			types["id"] = "part of a key"
		}
		found = append(found, relation{kind, name, types})
	}
	return found, unknown, nil
}

// sqliteAway drops the indexes: nothing looks for old rows but by their ids.
func (a *adoption) sqliteAway(ctx context.Context) ([]string, error) {
	return list[string](ctx, a.db, `SELECT 'DROP INDEX "' || replace(name, '"', '""') || '"' FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name`)
}

func (a *adoption) sqliteNext(ctx context.Context, name string) (int64, error) {
	exists, err := one[bool](ctx, a.db, "SELECT count(*) > 0 FROM sqlite_master WHERE name = 'sqlite_sequence'")
	if err != nil || !exists {
		return 1, err
	}
	return one[int64](ctx, a.db, "SELECT COALESCE(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = $1", name)
}

// backup is a file with an SQLite database as it was.
type backup struct {
	path    string // nothing if none is needed
	version int64  // of the data
}

// backUp copies an SQLite database into a file beside it. PostgreSQL has means of its own.
func backUp(ctx context.Context, db *database.DB) (saved backup, err error) {
	if db.Dialect() != dialect.SQLite {
		return backup{}, nil
	}
	source, err := one[string](ctx, db, "SELECT file FROM pragma_database_list WHERE name = 'main'")
	if err != nil {
		return backup{}, fmt.Errorf("back the database up: %w", err)
	}
	if _, err := os.Stat(source); errors.Is(err, fs.ErrNotExist) {
		return backup{}, nil // It is in memory.
	}
	if saved.version, err = dataVersion(ctx, db); err != nil {
		return backup{}, fmt.Errorf("back the database up: %w", err)
	}
	name := source + ".backup-" + clock.Now(ctx).Format("20060102T150405Z")
	saved.path = name
	err = reserve(name)
	for n := 2; errors.Is(err, fs.ErrExist); n++ {
		saved.path = fmt.Sprintf("%s-%d", name, n)
		err = reserve(saved.path)
	}
	if err == nil {
		err = saved.write(ctx, db)
	}
	if err != nil {
		return backup{}, fmt.Errorf("back the database up to %s, so nothing was changed: %w", saved.path, err)
	}
	return saved, nil
}

// write fills a file of another name first, so that a backup is whole or empty.
func (b backup) write(ctx context.Context, db *database.DB) error {
	partial := b.path + ".partial"
	err := reserve(partial)
	if err == nil {
		if err = execute1(ctx, db, "VACUUM INTO $1", partial); err == nil {
			err = settle(partial)
		}
		if err == nil {
			err = os.Rename(partial, b.path)
		}
		if err != nil {
			err = errors.Join(err, os.Remove(partial))
		}
	}
	if err != nil {
		return errors.Join(err, os.Remove(b.path))
	}
	_ = settle(filepath.Dir(b.path)) // which not every system can
	return nil
}

// reserve makes an empty file that nobody else can read, as it will hold password hashes.
func reserve(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// settle waits until a file is on the disk. SQLite does not, for such a copy.
func settle(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// dataVersion changes with everything that others write. It is the connection's own: SQLite has one writer.
func dataVersion(ctx context.Context, db *database.DB) (int64, error) {
	return one[int64](ctx, db, "PRAGMA data_version")
}

// check reports ErrChanged when the backup lacks something.
func (b backup) check(ctx context.Context, db *database.DB) error {
	if b.path == "" {
		return nil
	}
	version, err := dataVersion(ctx, db)
	if err == nil && version != b.version {
		err = ErrChanged
	}
	return err
}

func (b backup) remove() error {
	if b.path == "" {
		return nil
	}
	return os.Remove(b.path)
}
