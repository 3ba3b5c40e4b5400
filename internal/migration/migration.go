// Package migration applies the versioned migrations of a folder in Atlas's format, and keeps the
// same account of them as the Atlas CLI does: apply with one, continue with the other.
package migration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"ariga.io/atlas/sql/migrate"
	"ariga.io/atlas/sql/postgres"
	"ariga.io/atlas/sql/sqlite"
	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/clock"
	"github.com/reviewpoint/models/internal/database"
)

// What is wrong with a folder or with a database's account of it. The errors name the file.
var (
	ErrEdited  = errors.New("migration file was edited after it was planned or applied")
	ErrMissing = errors.New("migration was applied to the database but its file is missing")
	ErrForeign = errors.New("database has tables but no account of migrations")
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
}

// New reads the folder of the database's dialect ("sqlite" or "postgres") in files, and checks it
// against its atlas.sum.
func New(db *database.DB, files fs.FS) (*Migrator, error) {
	folder := "sqlite"
	if db.Dialect() == dialect.Postgres {
		folder = "postgres"
	}
	dir := &migrate.MemDir{}
	entries, err := fs.ReadDir(files, folder)
	if err != nil {
		return nil, fmt.Errorf("read the migrations of %s: %w", folder, err)
	}
	for _, entry := range entries {
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
	return &Migrator{db: db, dir: dir}, nil
}

// checkSum compares the files with atlas.sum, and names the first that differs.
func checkSum(dir *migrate.MemDir, folder string) error {
	err := migrate.Validate(dir)
	if err == nil {
		return nil
	}
	cure := "take it back from version control, or run `atlas migrate hash --env " + folder + "` if it was never applied anywhere"
	if mismatch, ok := errors.AsType[*migrate.ChecksumError](err); ok {
		return fmt.Errorf("%w: %s does not match atlas.sum: %s", ErrEdited, path.Join(folder, mismatch.File), cure)
	}
	return fmt.Errorf("%w: %s/atlas.sum: %w: %s", ErrEdited, folder, err, cure)
}

// Status lists every file of the folder in order. It changes nothing.
func (m *Migrator) Status(ctx context.Context) ([]File, error) {
	rrw, err := openRevisions(ctx, m.db)
	if err != nil {
		return nil, err
	}
	var revisions []*migrate.Revision
	if rrw.exists {
		if revisions, err = rrw.ReadRevisions(ctx); err != nil {
			return nil, err
		}
	}
	if len(revisions) == 0 {
		if err := m.checkOurs(ctx); err != nil {
			return nil, err
		}
	}
	return m.compare(revisions)
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
	if err := checkOrder(files, revisions); err != nil {
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
			if revision.Type.Has(migrate.RevisionTypeExecute) && revision.Hash != hash {
				return nil, fmt.Errorf("%w: %s differs from what was applied on %s: take the old file back from version control and put the change into a new one",
					ErrEdited, file.Name(), revision.ExecutedAt.UTC().Format(time.DateTime))
			}
			if revision.Applied == revision.Total {
				entry.AppliedAt = revision.ExecutedAt.UTC()
			}
		case len(revisions) > 0 && file.Version() < revisions[0].Version: // checkOrder lets pass only what a baseline covers
			entry.AppliedAt = revisions[0].ExecutedAt.UTC()
		}
		out = append(out, entry)
	}
	return out, nil
}

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
			return fmt.Errorf("migration %s is pending, but %s_%s, which comes after it, was applied: give it a later version and hash the folder again",
				file.Name(), last.Version, last.Description)
		}
	}
	return nil
}

// checkOurs refuses a database that somebody else made: applying to it would fail halfway or mix up two applications.
func (m *Migrator) checkOurs(ctx context.Context) error {
	query := "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!' AND name <> $1 ORDER BY name LIMIT 1"
	if m.db.Dialect() == dialect.Postgres {
		query = "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND relname <> $1 ORDER BY relname LIMIT 1"
	}
	tables, err := scanStrings(ctx, m.db, query, revisionsTable)
	if err != nil {
		return err
	}
	if len(tables) > 0 {
		return fmt.Errorf("%w: found table %q: name an empty database, or one that these migrations made", ErrForeign, tables[0])
	}
	return nil
}

// Apply applies what is pending, each file in a transaction of its own together with its row in the
// account. Any number of processes may call it at once: each file is applied by one of them, and
// the others wait for it. It returns the files that this call applied, also when a later one fails.
func (m *Migrator) Apply(ctx context.Context) ([]File, error) {
	var applied []File
	for {
		var (
			next File
			more bool
		)
		err := m.db.InSchemaTx(ctx, func(txCtx context.Context) (err error) {
			// Usually nothing is pending, which needs no lock; the transaction begins with its first statement.
			if files, err := m.Status(ctx); err == nil && pending(files) == 0 {
				more = false
				return nil
			}
			next, more, err = m.applyNext(txCtx)
			return err
		})
		if err != nil || !more {
			return applied, err
		}
		applied = append(applied, next)
	}
}

func pending(files []File) int {
	n := 0
	for _, file := range files {
		if file.AppliedAt.IsZero() {
			n++
		}
	}
	return n
}

// applyNext applies the first pending file, and reports whether there was one. ctx carries a
// transaction that holds the lock: what is pending is read after it was had.
func (m *Migrator) applyNext(ctx context.Context) (next File, more bool, err error) {
	if err := lock(ctx, m.db); err != nil {
		return File{}, false, err
	}
	if _, err := m.Status(ctx); err != nil {
		return File{}, false, err
	}
	rrw, err := openRevisions(ctx, m.db)
	if err != nil {
		return File{}, false, err
	}
	if err := rrw.create(ctx); err != nil {
		return File{}, false, fmt.Errorf("make the table %s: %w", revisionsTable, err)
	}
	driver, err := openDriver(ctx, m.db)
	if err != nil {
		return File{}, false, fmt.Errorf("prepare the migrations: %w", err)
	}
	executor, err := migrate.NewExecutor(driver, m.dir, rrw,
		migrate.WithAllowDirty(true), // checkOurs has looked
		migrate.WithOperatorVersion(operator),
	)
	if err != nil {
		return File{}, false, fmt.Errorf("prepare the migrations: %w", err)
	}
	files, err := executor.Pending(ctx)
	if errors.Is(err, migrate.ErrNoPendingFiles) {
		return File{}, false, nil
	}
	if err != nil {
		return File{}, false, fmt.Errorf("find the pending migrations: %w", err)
	}
	file := files[0]
	if err := executor.Execute(ctx, file); err != nil {
		return File{}, false, explainFailure(file, err)
	}
	if err := checkForeignKeys(ctx, m.db); err != nil {
		return File{}, false, fmt.Errorf("migration %s failed and was undone: %w", file.Name(), err)
	}
	return File{Name: file.Name(), Version: file.Version(), AppliedAt: clock.Now(ctx)}, true, nil
}

// explainFailure names the statement that failed, without what followed from it.
func explainFailure(file migrate.File, err error) error {
	if failed, ok := errors.AsType[*migrate.StmtExecError](err); ok {
		line := 1
		for _, b := range file.Bytes()[:min(failed.Stmt.Pos, len(file.Bytes()))] {
			if b == '\n' {
				line++
			}
		}
		return fmt.Errorf("migration %s failed at line %d and was undone: %w", file.Name(), line, failed.Err)
	}
	return fmt.Errorf("migration %s failed and was undone: %w", file.Name(), err)
}

func openDriver(ctx context.Context, db *database.DB) (migrate.Driver, error) {
	if db.Dialect() == dialect.Postgres {
		return postgres.Open(joined{db, ctx})
	}
	return sqlite.Open(joined{db, ctx})
}

// joined runs everything in the transaction of ctx. Atlas's driver for PostgreSQL asks its first
// question with no context, which would wait for a second connection: for ever, once the others of
// the pool wait for the lock that the first one holds.
type joined struct {
	db  *database.DB
	ctx context.Context //nolint:containedctx // It stands in for the one that is missing.
}

func (j joined) ExecContext(_ context.Context, query string, args ...any) (sql.Result, error) {
	return j.db.ExecContext(j.ctx, query, args...)
}

func (j joined) QueryContext(_ context.Context, query string, args ...any) (*sql.Rows, error) {
	return j.db.QueryContext(j.ctx, query, args...)
}

// lockID is the Atlas CLI's own: FNV-1 of 32 bits of "atlas_migrate_execute".
const lockID = 0xa02049d8

// lock waits until no other migration runs. SQLite's transaction holds the lock since it began; in
// PostgreSQL the lock ends with the transaction, so a killed process or a pooling proxy cannot keep it.
func lock(ctx context.Context, db *database.DB) error {
	if db.Dialect() != dialect.Postgres {
		return nil
	}
	for _, statement := range []string{
		"SET LOCAL statement_timeout = 0",
		"SET LOCAL lock_timeout = 0", // for as long as ctx allows
		fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", lockID),
		"SET LOCAL lock_timeout = '10s'", // a table in use makes the migration fail, not the service wait
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("wait for another migration: %w", err)
		}
	}
	return nil
}

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

// Install makes every table anew in the transaction that ctx carries, which must come from InSchemaTx,
// and writes the account of it. The current schema must have no table of these names.
func (m *Migrator) Install(ctx context.Context) error {
	if err := lock(ctx, m.db); err != nil {
		return err
	}
	rrw, err := openRevisions(ctx, m.db)
	if err != nil {
		return err
	}
	if err := rrw.create(ctx); err != nil {
		return fmt.Errorf("make the table %s: %w", revisionsTable, err)
	}
	sum, err := m.dir.Checksum()
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	files, err := m.dir.Files()
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	for _, file := range files {
		hash, err := sum.SumByName(file.Name())
		if err != nil {
			return fmt.Errorf("read the migrations: %w", err)
		}
		revision := &migrate.Revision{
			Version: file.Version(), Description: file.Desc(), Type: migrate.RevisionTypeExecute,
			ExecutedAt: clock.Now(ctx), Hash: hash, OperatorVersion: operator,
		}
		if err := runInTx(ctx, m.db, file, func(*migrate.Stmt) error { revision.Applied++; return nil }); err != nil {
			return err
		}
		revision.Total, revision.ExecutionTime = revision.Applied, clock.Now(ctx).Sub(revision.ExecutedAt)
		if err := rrw.WriteRevision(ctx, revision); err != nil {
			return err
		}
	}
	return nil
}

// operator is who has applied a migration, in the account.
const operator = "reviewpoint"
