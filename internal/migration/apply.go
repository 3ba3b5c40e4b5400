package migration

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"ariga.io/atlas/sql/migrate"
	"ariga.io/atlas/sql/postgres"
	"ariga.io/atlas/sql/sqlite"
	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/clock"
	"github.com/reviewpoint/models/internal/database"
)

// Options of Apply. The zero value is the default.
type Options struct {
	// To is the last version to apply. Defaults to all.
	To string
	// StatementTimeout bounds each statement. Defaults to no bound: the URL's bounds queries.
	StatementTimeout time.Duration
	// Attempts is how often a file is tried whose locks are not to be had in time. Defaults to 3.
	Attempts int
	// Dev is where the files are replayed to see that the database has not drifted from them. Defaults
	// to not looking.
	Dev *Dev
}

func (o Options) attempts() int { return cmp.Or(o.Attempts, 3) }

const (
	lockPause = 20 * time.Millisecond  // before the second look at the lock; it doubles with each, up to some 1.3 s
	busyPause = 125 * time.Millisecond // before the second attempt, times two; it doubles with each
)

// operator is who has applied a migration, in the account.
const operator = "reviewpoint"

// errLocked is what a step ends with while another process migrates.
var errLocked = errors.New("another migration is running")

// Apply applies what is pending, each file in a transaction of its own together with its row in the
// account. Any number of processes may call it at once: each file is applied by one of them, and
// the others wait for it. It returns the files that this call applied, also when a later one fails.
//
// A file marked txmode none runs without a transaction on PostgreSQL, and is continued where a killed
// process stopped.
func (m *Migrator) Apply(ctx context.Context, opts Options) ([]File, error) {
	if _, err := m.upTo(opts.To); err != nil {
		return nil, err
	}
	if opts.Dev != nil {
		_, file, err := m.first(ctx, opts.To)
		if err == nil && file != nil { // With nothing to apply, drift is for Verify to find.
			err = m.checkDrift(ctx, opts.Dev)
		}
		if err != nil {
			return nil, err
		}
	}
	var applied []File
	for attempt, waits := 1, 0; ; {
		next, more, err := m.step(ctx, opts)
		switch {
		case errors.Is(err, errLocked):
			// Waiting in the database would hold a snapshot, for whose end CREATE INDEX CONCURRENTLY waits.
			if err := pause(ctx, lockPause<<min(waits, 6)); err != nil {
				return applied, fmt.Errorf("wait for another migration: %w", err)
			}
			waits++
		case errors.Is(err, database.ErrBusy) && attempt < opts.attempts() && ctx.Err() == nil:
			if err := pause(ctx, busyPause<<attempt); err != nil {
				return applied, err
			}
			attempt++
		case err != nil || !more:
			return applied, err
		default:
			applied, attempt, waits = append(applied, next), 1, 0
		}
	}
}

// pause waits for about d.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d/2 + rand.N(d)) //nolint:gosec // Jitter needs no secrecy.
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// upTo returns the files of the folder up to a version, or all of them.
func (m *Migrator) upTo(version string) ([]migrate.File, error) {
	files, err := m.dir.Files()
	if err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	if version == "" {
		return files, nil
	}
	for i, file := range files {
		if file.Version() == version {
			return files[:i+1], nil
		}
	}
	return nil, fmt.Errorf("there is no migration %s: `reviewpoint migrate status` lists them", version)
}

// Preview is a pending file and what it would run.
type Preview struct {
	Name       string   `json:"name"`
	Statements []string `json:"statements"`
}

// Preview returns what Apply would run with these options, after the same checks. It changes nothing.
func (m *Migrator) Preview(ctx context.Context, opts Options) ([]Preview, error) {
	files, err := m.upTo(opts.To)
	if err != nil {
		return nil, err
	}
	status, err := m.Status(ctx)
	if err != nil {
		return nil, err
	}
	out := []Preview{}
	if !slices.ContainsFunc(status[:len(files)], File.Pending) {
		return out, nil
	}
	if opts.Dev != nil {
		if err := m.checkDrift(ctx, opts.Dev); err != nil {
			return nil, err
		}
	}
	for i, file := range files {
		if !status[i].Pending() {
			continue
		}
		all, err := statements(ctx, m.db, file)
		if err != nil {
			return nil, err
		}
		preview := Preview{Name: file.Name()}
		for _, statement := range all[min(status[i].Done, len(all)):] {
			preview.Statements = append(preview.Statements, strings.TrimSuffix(statement.Text, ";"))
		}
		out = append(out, preview)
	}
	return out, nil
}

// step applies the next pending file, and reports whether there was one.
func (m *Migrator) step(ctx context.Context, opts Options) (next File, more bool, err error) {
	var file migrate.File
	err = m.db.InSchemaTx(ctx, func(txCtx context.Context) (err error) {
		// Usually nothing is pending, which needs no lock; the transaction begins with its first statement.
		var account []*migrate.Revision
		if account, file, err = m.first(ctx, opts.To); err == nil && file == nil && !slices.ContainsFunc(account, nothingDone) {
			return nil
		}
		if err := lock(txCtx, m.db, "xact_"); err != nil {
			return err
		}
		if account, file, err = m.first(txCtx, opts.To); err != nil || file != nil && m.alone(file) {
			return err
		}
		if file == nil {
			return m.clearFailures(txCtx, opts.To, account)
		}
		return m.execute(txCtx, file, account, joined{m.db, txCtx, opts.StatementTimeout, "LOCAL "})
	})
	switch {
	case err == nil && file != nil && m.alone(file):
		err = m.executeAlone(ctx, opts)
	case err != nil && file != nil && errors.As(err, new(*failure)):
		m.recordFailure(ctx, file, err)
	}
	if err != nil || file == nil {
		return File{}, false, err
	}
	return File{Name: file.Name(), Version: file.Version(), AppliedAt: clock.Now(ctx)}, true, nil
}

// first returns the account and the first pending file up to a version, or nil.
func (m *Migrator) first(ctx context.Context, to string) ([]*migrate.Revision, migrate.File, error) {
	revisions, status, err := m.account(ctx)
	if err != nil {
		return nil, nil, err
	}
	files, err := m.upTo(to)
	if err != nil {
		return nil, nil, err
	}
	for i, file := range files {
		if status[i].Pending() {
			return revisions, file, nil
		}
	}
	return revisions, nil, nil
}

// execute runs a file and writes its row in the account. ctx carries a transaction or a session that
// holds the lock: what is pending was read after it was had.
func (m *Migrator) execute(ctx context.Context, file migrate.File, revisions []*migrate.Revision, connection schemaConn) error {
	if _, err := statements(ctx, m.db, file); err != nil { // The executor would take some for good.
		return err
	}
	rrw, err := openRevisions(ctx, m.db)
	if err != nil {
		return err
	}
	if err := rrw.create(ctx); err != nil {
		return fmt.Errorf("make the table %s: %w", revisionsTable, err)
	}
	if err := m.refresh(ctx, rrw, file, revisions); err != nil {
		return err
	}
	sequences, err := readSequences(ctx, m.db)
	if err != nil {
		return err
	}
	triggers, err := readTriggers(ctx, m.db)
	if err != nil {
		return err
	}
	driver, err := openDriverOn(m.db.Dialect(), connection)
	if err != nil {
		return fmt.Errorf("prepare the migrations: %w", err)
	}
	executor, err := migrate.NewExecutor(driver, m.dir, rrw,
		migrate.WithAllowDirty(true), // checkOurs has looked
		migrate.WithOperatorVersion(operator),
	)
	if err != nil {
		return fmt.Errorf("prepare the migrations: %w", err)
	}
	began := clock.Now(ctx)
	if err := executor.Execute(ctx, file); err != nil {
		return explainFailure(file, err, m.alone(file))
	}
	if err := m.complete(ctx, rrw, file, began); err != nil {
		return err
	}
	if err := keepSequences(ctx, m.db, sequences); err != nil {
		return err
	}
	if err := errors.Join(checkForeignKeys(ctx, m.db), checkTriggers(ctx, m.db, triggers, string(file.Bytes()))); err != nil {
		return fmt.Errorf("migration %s failed and was undone: %w", file.Name(), err)
	}
	return nil
}

// complete writes into the account of a file that was applied what Atlas's executor does not know.
func (m *Migrator) complete(ctx context.Context, rrw *revisions, file migrate.File, began time.Time) error {
	sum, err := m.dir.Checksum()
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	hash, err := sum.SumByName(file.Name())
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	return rrw.complete(ctx, file.Version(), hash, began, clock.Now(ctx).Sub(began))
}

// schemaConn is where statements run.
type schemaConn interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func openDriver(ctx context.Context, db *database.DB) (migrate.Driver, error) {
	return openDriverOn(db.Dialect(), joined{db, ctx, 0, ""})
}

func openDriverOn(name string, connection schemaConn) (migrate.Driver, error) {
	if name == dialect.Postgres {
		return postgres.Open(connection)
	}
	return sqlite.Open(connection)
}

// joined runs everything in the transaction of ctx. Atlas's driver for PostgreSQL asks its first
// question with no context, which would wait for a second connection: for ever, once the others of
// the pool wait for the lock that the first one holds.
type joined struct {
	db      *database.DB
	ctx     context.Context //nolint:containedctx // It stands in for the one that is missing.
	timeout time.Duration   // of a statement; 0 for none
	scope   string          // of PostgreSQL's settings: "LOCAL " in a transaction
}

func (j joined) ExecContext(_ context.Context, query string, args ...any) (sql.Result, error) {
	if j.timeout == 0 {
		return j.db.ExecContext(j.ctx, query, args...)
	}
	if j.db.Dialect() == dialect.Postgres {
		return j.execBounded(query, args...)
	}
	ctx, cancel := context.WithTimeout(j.ctx, j.timeout)
	defer cancel()
	result, err := j.db.ExecContext(ctx, query, args...)
	if errors.Is(err, context.DeadlineExceeded) && j.ctx.Err() == nil {
		return nil, fmt.Errorf("it took longer than %s, the bound of a statement: %w", j.timeout, err)
	}
	return result, err
}

// execBounded leaves the bound to the server: a context that ends takes the connection with it, on which
// the failure is still to be put on record.
func (j joined) execBounded(query string, args ...any) (sql.Result, error) {
	bound := func(d time.Duration) error {
		_, err := j.db.ExecContext(j.ctx, fmt.Sprintf("SET %sstatement_timeout = %d", j.scope, d.Milliseconds()))
		return err
	}
	if err := bound(max(j.timeout, time.Millisecond)); err != nil {
		return nil, err
	}
	result, err := j.db.ExecContext(j.ctx, query, args...)
	if errors.Is(err, context.DeadlineExceeded) && j.ctx.Err() == nil {
		err = fmt.Errorf("it took longer than %s, the bound of a statement: %w", j.timeout, err)
	}
	if err == nil || j.scope == "" {
		err = errors.Join(err, bound(0))
	}
	return result, err
}

func (j joined) QueryContext(_ context.Context, query string, args ...any) (*sql.Rows, error) {
	return j.db.QueryContext(j.ctx, query, args...)
}

// lockID is the Atlas CLI's own: FNV-1 of 32 bits of "atlas_migrate_execute".
const lockID = 0xa02049d8

// lock makes sure that no other migration runs, or answers errLocked. SQLite's transaction holds the
// lock since it began. In PostgreSQL the lock is that of the transaction ("xact_"), so a killed process
// or a pooling proxy cannot keep it, or that of the session ("").
func lock(ctx context.Context, db *database.DB, scope string) error {
	if db.Dialect() != dialect.Postgres {
		return nil
	}
	local := "LOCAL "
	if scope == "" {
		local = ""
	}
	for _, setting := range []string{"statement_timeout", "idle_in_transaction_session_timeout"} {
		if _, err := db.ExecContext(ctx, "SET "+local+setting+" = 0"); err != nil {
			return err
		}
	}
	got, err := scanStrings(ctx, db, fmt.Sprintf("SELECT pg_try_advisory_%slock(%d)::text", scope, lockID))
	if err != nil {
		return err
	}
	if !slices.Contains(got, "true") {
		return errLocked
	}
	return nil
}

// Install makes every table anew in the transaction that ctx carries, which must come from InSchemaTx,
// and writes the account of it. The current schema must have no table of these names.
func (m *Migrator) Install(ctx context.Context) error {
	if err := lock(ctx, m.db, "xact_"); err != nil {
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
