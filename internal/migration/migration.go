// Package migration applies the versioned migrations of a folder in Atlas's format, and keeps the
// same account of them as the Atlas CLI does: apply with one, continue with the other.
package migration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"ariga.io/atlas/sql/migrate"
	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/database"
)

// What is wrong with a folder or with a database's account of it. The errors name the file.
var (
	ErrEdited  = errors.New("migration file was edited after it was planned or applied")
	ErrMissing = errors.New("migration was applied to the database but its file is missing")
	ErrForeign = errors.New("database has tables but no account of migrations")
	ErrOrder   = errors.New("migration comes before one that was applied")
)

// Migrator applies the migrations of one folder to one database.
type Migrator struct {
	db  *database.DB
	dir *migrate.MemDir
}

// File is a migration and where it stands.
type File struct {
	Name      string    // 20261123111209_initial.sql
	Version   string    // 20261123111209
	AppliedAt time.Time // zero while it is pending
	Took      time.Duration

	// Of a file whose last attempt failed or was killed, while it is pending. Only one that is marked
	// txmode none may have statements that are done.
	Failed      string
	FailedAt    time.Time
	Done, Total int
}

// Pending reports whether the file is still to be applied, in whole or in part.
func (f File) Pending() bool { return f.AppliedAt.IsZero() }

// halfDone returns the pending file that may have left something in the database, or nil.
func (m *Migrator) halfDone(status []File) *File {
	files, _ := m.dir.Files() // Status has read them.
	for i, file := range status {
		if file.Pending() && (file.Done > 0 || file.Total > 0 && m.alone(files[i])) {
			return &status[i]
		}
	}
	return nil
}

// New reads the folder of the database's dialect ("sqlite" or "postgres") in files, and checks it
// against its atlas.sum.
func New(db *database.DB, files fs.FS) (*Migrator, error) {
	dir, err := readDir(files, folderOf(db.Dialect()))
	if err != nil {
		return nil, err
	}
	return &Migrator{db: db, dir: dir}, nil
}

// folderOf is the name of a dialect's folder.
func folderOf(name string) string {
	if name == dialect.Postgres {
		return "postgres"
	}
	return "sqlite"
}

// readDir reads a folder and checks it against its atlas.sum.
func readDir(files fs.FS, folder string) (*migrate.MemDir, error) {
	dir := &migrate.MemDir{}
	entries, err := fs.ReadDir(files, folder)
	if err != nil {
		return nil, fmt.Errorf("read the migrations of %s: %w", folder, err)
	}
	for _, entry := range entries {
		if entry.IsDir() || path.Ext(entry.Name()) != ".sql" && entry.Name() != migrate.HashFileName {
			continue // Atlas does not look at it either.
		}
		content, err := fs.ReadFile(files, path.Join(folder, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("read the migrations of %s: %w", folder, err)
		}
		if err := dir.WriteFile(entry.Name(), content); err != nil {
			return nil, fmt.Errorf("read the migrations of %s: %w", folder, err)
		}
	}
	if err := checkSum(dir, folder); err != nil {
		return nil, err
	}
	return dir, checkVersions(dir, folder)
}

// checkVersions refuses two files of one version: the account has one row for both.
func checkVersions(dir *migrate.MemDir, folder string) error {
	files, err := dir.Files()
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	for i, file := range files {
		if i > 0 && file.Version() == files[i-1].Version() {
			return fmt.Errorf("%s/%s has the version of %s: give it a later one, and run `reviewpoint migrate hash`", folder, file.Name(), files[i-1].Name())
		}
	}
	return nil
}

// checkSum compares the files with atlas.sum, and names the first that differs.
func checkSum(dir *migrate.MemDir, folder string) error {
	err := migrate.Validate(dir)
	if err == nil {
		return nil
	}
	cure := "take it back from version control, or run `reviewpoint migrate hash` if it was never applied anywhere"
	if mismatch, ok := errors.AsType[*migrate.ChecksumError](err); ok {
		return fmt.Errorf("%w: %s does not match atlas.sum: %s", ErrEdited, path.Join(folder, mismatch.File), cure)
	}
	return fmt.Errorf("%w: %s/atlas.sum: %w: %s", ErrEdited, folder, err, cure)
}

// Status lists every file of the folder in order. It changes nothing.
func (m *Migrator) Status(ctx context.Context) ([]File, error) {
	_, files, err := m.account(ctx)
	return files, err
}

// account returns the rows of the database's account, and every file of the folder with where it stands.
func (m *Migrator) account(ctx context.Context) (account []*migrate.Revision, files []File, err error) {
	if account, err = m.revisions(ctx); err == nil && !begun(account) {
		// Another process may have made the tables since, and their account with them.
		if err = m.checkOurs(ctx); errors.Is(err, ErrForeign) {
			var again error
			if account, again = m.revisions(ctx); again != nil || begun(account) {
				err = again
			}
		}
	}
	if err != nil {
		return nil, nil, err
	}
	files, err = m.compare(account)
	return account, files, err
}

// revisions returns the rows of the database's account, none if it has no account.
func (m *Migrator) revisions(ctx context.Context) ([]*migrate.Revision, error) {
	rrw, err := openRevisions(ctx, m.db)
	if err != nil || !rrw.exists {
		return nil, err
	}
	return rrw.ReadRevisions(ctx)
}

// begun reports whether anything is on record as applied.
func begun(account []*migrate.Revision) bool {
	return slices.ContainsFunc(account, func(r *migrate.Revision) bool { return !nothingDone(r) })
}

// compare holds the database's account against the folder.
func (m *Migrator) compare(revisions []*migrate.Revision) ([]File, error) {
	sum, err := m.dir.Checksum()
	if err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	files, err := m.dir.Files()
	if err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	done := slices.DeleteFunc(slices.Clone(revisions), nothingDone)
	if err := checkOrder(files, done); err != nil {
		return nil, err
	}
	applied := make(map[string]*migrate.Revision, len(revisions))
	for _, revision := range revisions {
		applied[revision.Version] = revision
	}
	var out []File
	for _, file := range files {
		entry := File{Name: file.Name(), Version: file.Version()}
		revision, ok := applied[file.Version()]
		switch {
		case ok:
			hash, err := sum.SumByName(file.Name())
			if err != nil {
				return nil, fmt.Errorf("read the migrations: %w", err)
			}
			if revision.Type.Has(migrate.RevisionTypeExecute) && complete(revision) && revision.Hash != "" && revision.Hash != hash { // The Atlas CLI may leave it out.
				return nil, fmt.Errorf("%w: %s differs from what was applied on %s: take the old file back from version control and put the change into a new one",
					ErrEdited, file.Name(), revision.ExecutedAt.UTC().Format(time.DateTime))
			}
			if complete(revision) {
				entry.AppliedAt, entry.Took = revision.ExecutedAt.UTC(), revision.ExecutionTime
			} else {
				entry.Failed = cmp.Or(revision.Error, "it was interrupted")
				entry.FailedAt, entry.Done, entry.Total = revision.ExecutedAt.UTC(), revision.Applied, revision.Total
			}
		case len(done) > 0 && file.Version() < done[0].Version: // checkOrder lets pass only what a baseline covers
			entry.AppliedAt = done[0].ExecutedAt.UTC()
		}
		out = append(out, entry)
	}
	return out, nil
}

// complete reports whether every statement of the file was run.
func complete(revision *migrate.Revision) bool { return revision.Applied == revision.Total }

// nothingDone reports whether the row only says that a file failed, which was undone.
func nothingDone(revision *migrate.Revision) bool { return revision.Applied == 0 && revision.Total > 0 }

// checkOrder refuses an applied file that is missing, and a pending one that comes before an applied
// one. It goes before the hashes, for that of each file in atlas.sum covers those before it.
func checkOrder(files []migrate.File, revisions []*migrate.Revision) error {
	present, applied := make(map[string]bool, len(files)), make(map[string]bool, len(revisions))
	for _, file := range files {
		present[file.Version()] = true
	}
	for _, revision := range revisions {
		if !present[revision.Version] {
			return fmt.Errorf("%w: %s_%s: use the release of this program that has it, or take the file back from version control",
				ErrMissing, revision.Version, revision.Description)
		}
		applied[revision.Version] = true
	}
	if len(revisions) == 0 {
		return nil
	}
	first, last := revisions[0], revisions[len(revisions)-1]
	for _, file := range files {
		covered := file.Version() < first.Version && first.Type.Has(migrate.RevisionTypeBaseline)
		if !applied[file.Version()] && !covered && file.Version() < last.Version {
			return fmt.Errorf("%w: %s is pending, but %s_%s, which comes after it, was applied: give it a later version and hash the folder again",
				ErrOrder, file.Name(), last.Version, last.Description)
		}
	}
	return nil
}

// checkOurs refuses a database that somebody else made: applying to it would fail halfway or mix up two applications.
func (m *Migrator) checkOurs(ctx context.Context) error {
	query := "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!' AND name <> $1 ORDER BY name LIMIT 1"
	if m.db.Dialect() == dialect.Postgres {
		query = "SELECT relname FROM pg_class c WHERE relnamespace = pg_catalog.quote_ident(pg_catalog.current_schema())::regnamespace AND relkind IN ('r', 'p') AND relname <> $1 AND NOT " + extension + " ORDER BY relname LIMIT 1"
	}
	tables, err := scanStrings(ctx, m.db, query, revisionsTable)
	if err != nil {
		return err
	}
	if len(tables) > 0 {
		return fmt.Errorf("%w: found table %q: name an empty database, or one that these migrations made; `reviewpoint migrate adopt` takes over one of the Python application", ErrForeign, tables[0])
	}
	return nil
}

// ident is a name as it stands in SQL.
func ident(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func scanStrings(ctx context.Context, db *database.DB, query string, args ...any) (values []string, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var value string
		if err := rows.Scan(&value); err != nil {
			return nil, err
		}
		values = append(values, value)
	}
	return values, rows.Err()
}
