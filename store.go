package models

import (
	"context"
	"errors"
	"time"

	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/migrate"
	_ "github.com/reviewpoint/models/ent/runtime" // The rules of the schema.
	"github.com/reviewpoint/models/internal/audit"
	"github.com/reviewpoint/models/internal/clock"
	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/migration"
	"github.com/reviewpoint/models/internal/password"
	"github.com/reviewpoint/models/schema/migrations"
)

// Store is an open database and the client for it: store.User, store.File, store.BlacklistedToken,
// store.UsedPasswordResetToken and store.AuditLog. It is safe for use by several goroutines.
type Store struct {
	*ent.Client

	db          *database.DB
	now         func() time.Time // nil for the machine's
	passwords   *password.Hasher
	maxPassword int // characters
}

// Option changes how Open opens a store.
type Option func(*options) error

type options struct {
	database    database.Options
	now         func() time.Time
	hashing     PasswordHashing
	maxPassword int
}

// WithMaxConns bounds the open connections: the readers of SQLite, which has one writer beside them,
// or the whole pool of PostgreSQL. Defaults to twice the processors but at least 4, and to 10.
func WithMaxConns(n int) Option {
	return func(o *options) error {
		if n < 1 {
			return errors.New("WithMaxConns: a store needs at least one connection")
		}
		o.database.MaxConns = n
		return nil
	}
}

// WithReadOnly opens a database only to look at it: a write is refused with ErrReadOnly, and a file
// that is not there is not made. Defaults to reading and writing.
func WithReadOnly() Option {
	return func(o *options) error {
		o.database.ReadOnly = true
		return nil
	}
}

// WithClock gives the store its clock, whose time goes into created_at, updated_at and the like. Defaults to time.Now.
func WithClock(now func() time.Time) Option {
	return func(o *options) error {
		if now == nil {
			return errors.New("WithClock: the clock is nil")
		}
		o.now = now
		return nil
	}
}

// Open opens the database that url names, and connects to it once:
//
//	sqlite://path/to/file.db      a path from the current folder; it is made if need be, readable to its owner alone
//	sqlite:///var/lib/file.db     a path from the root
//	sqlite://:memory:             this store's own, gone when it closes; its readers wait for its writer
//	postgres://user:password@host:5432/database
//
// Both take the option ?statement_cache_size=128: how many prepared statements each connection keeps, up
// to 10000; 0 keeps none. SQLite takes synchronous=full (or extra, normal, off), busy_timeout=10s and
// mode=rwc (or ro, memory). PostgreSQL takes those of libpq; sslmode defaults to verify-full, and to disable on
// this very machine; statement_timeout to 60000, lock_timeout to 10000 and
// idle_in_transaction_session_timeout to 300000 milliseconds; several hosts are tried in turn.
//
// A proxy that pools transactions, such as PgBouncer, needs statement_cache_size=0 here, or Open is refused, and there
//
//	ignore_startup_parameters = statement_timeout,lock_timeout,idle_in_transaction_session_timeout
//
// The three timeouts then hold only where the server has them (ALTER ROLE ... SET statement_timeout = '60s').
// Statements kept prepared behind such a proxy could run in place of those of another client.
// A store WithReadOnly is refused there; migrate over a connection of your own to the server.
//
// The URLs of SQLAlchemy (sqlite+aiosqlite:///, postgresql+asyncpg://) mean what they mean there.
//
// An error says in one line what to do, and holds no password; one of an option names it. ctx bounds the
// first connection alone. Open does not migrate.
func Open(ctx context.Context, url string, opts ...Option) (*Store, error) {
	o := options{maxPassword: password.MaxLength}
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return nil, err
		}
	}
	hasher, err := o.hashing.hasher()
	if err != nil {
		return nil, err
	}
	if o.database.Telemetry, err = o.telemetry(); err != nil {
		return nil, err
	}
	db, err := database.Open(ctx, url, o.database)
	if err != nil {
		return nil, err
	}
	s := &Store{
		Client: ent.NewClient(ent.Driver(db), ent.Log(logStatement(o.database.Telemetry.Logger))),
		db:     db, now: o.now, passwords: hasher, maxPassword: o.maxPassword,
	}
	s.Schema = migrate.NewSchema(audit.Refuse(db, errAutoMigration))
	s.Use(func(next ent.Mutator) ent.Mutator {
		return ent.MutateFunc(func(ctx context.Context, m ent.Mutation) (ent.Value, error) {
			value, err := next.Mutate(s.withClock(ctx), m)
			return value, invalid(m, err)
		})
	})
	return s, nil
}

// errAutoMigration is what ent's migration without files answers, which knows no CHECKs.
var errAutoMigration = errors.New("the tables are not made by Schema.Create: call Store.Migrate, or run `reviewpoint migrate apply`")

// withClock returns a context whose time is the store's. The contexts of a bulk creation nest, so it
// is put there once.
func (s *Store) withClock(ctx context.Context) context.Context {
	if s.now == nil || clock.Carried(ctx) {
		return ctx
	}
	return clock.NewContext(ctx, s.now)
}

// moment is the store's time.
func (s *Store) moment(ctx context.Context) time.Time { return clock.Now(s.withClock(ctx)) }

// Close closes every connection, after the queries that are running. The store is of no use afterwards.
// It returns the first error of a connection.
func (s *Store) Close() error { return s.db.Close() }

// Ping reports whether the database answers: nil, or the error of the attempt, at the end of ctx at the
// latest. Nobody need ask in ctx. It may run inside InTx.
func (s *Store) Ping(ctx context.Context) error { return s.db.Ping(ctx) }

// Dialect is "sqlite3" or "postgres".
func (s *Store) Dialect() string { return s.db.Dialect() }

// Name says which database it is, for people: the path of a file, or host:port/database. It holds no password.
func (s *Store) Name() string { return s.db.Name() }

// InTx runs fn in a transaction that fn's context carries: every use of the store with that context
// joins it, the client, its hooks, eager loads and the methods of Store alike. It commits when fn
// returns nil, and rolls back when fn returns an error or panics.
//
// Inside another InTx, fn joins that transaction; if fn fails there, the outer one can only be rolled
// back too, whatever its own function answers. Once a statement has failed, the rest of the
// transaction is refused with ErrTxFailed on either database. fn must not use its context from
// several goroutines at once, nor after it has returned, which answers ErrTxDone.
//
// A transaction that lost against another one (a serialization failure, a deadlock, a busy database)
// is tried again, fn included, up to 5 times in all (2 for a busy SQLite, which waits each time):
// what fn does besides the database must bear that. A transaction whose commit may have happened is
// never repeated, and answers ErrCommitUnknown. On SQLite there is one writer: while fn runs, other
// writers wait, each attempt for busy_timeout at most.
func (s *Store) InTx(ctx context.Context, fn func(ctx context.Context) error) error {
	return s.db.InTx(ctx, fn)
}

// Migration is a versioned change of the schema and where it stands.
type Migration struct {
	Name      string    `json:"name"`                // of the file: 20261123111209_initial.sql
	Version   string    `json:"version"`             // what the name begins with, in order
	AppliedAt time.Time `json:"applied_at,omitzero"` // in UTC; zero while it is pending
}

// MigrateReport says what Migrate did.
type MigrateReport struct {
	Applied []Migration `json:"applied"` // by this call, in order; none when the database was up to date
}

// Migrate applies the embedded migrations that are pending, each in a transaction of its own. Any
// number of processes may call it at once: each migration is applied once, and a killed one leaves
// nothing half done. One marked txmode none, such as for CREATE INDEX CONCURRENTLY, runs without a
// transaction on PostgreSQL; the next call goes on where it stopped. When one fails, the report says
// what was applied before it.
//
// It waits for a migration of another process as long as ctx allows. A statement waits for a lock as
// the URL says (lock_timeout, busy_timeout), its migration is tried 3 times, and it may take any time.
// Whether somebody has changed the database by hand is for `reviewpoint migrate verify`.
//
// It returns ErrMigrationEdited, ErrMigrationMissing or ErrForeignDatabase when the database is not
// what these migrations made, and changes nothing then. It must not run inside InTx.
func (s *Store) Migrate(ctx context.Context) (*MigrateReport, error) {
	m, err := migration.New(s.db, migrations.FS)
	if err != nil {
		return nil, err
	}
	applied, err := m.Apply(ctx, migration.Options{})
	return &MigrateReport{Applied: asMigrations(applied)}, err
}

// Migrations lists every embedded migration in order, pending ones with a zero AppliedAt. It changes
// nothing, and returns the errors of Migrate. It may run inside InTx.
func (s *Store) Migrations(ctx context.Context) ([]Migration, error) {
	m, err := migration.New(s.db, migrations.FS)
	if err != nil {
		return nil, err
	}
	files, err := m.Status(ctx)
	return asMigrations(files), err
}

func asMigrations(files []migration.File) []Migration {
	out := make([]Migration, len(files))
	for i, file := range files {
		out[i] = Migration{Name: file.Name, Version: file.Version, AppliedAt: file.AppliedAt}
	}
	return out
}
