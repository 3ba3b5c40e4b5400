package migration

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"ariga.io/atlas/sql/migrate"
	"ariga.io/atlas/sql/schema"
	"entgo.io/ent/dialect"
	entschema "entgo.io/ent/dialect/sql/schema"

	"github.com/reviewpoint/models/internal/cluster"
	"github.com/reviewpoint/models/internal/database"
)

// Dev is where migrations are tried out: SQLite in memory, or a schema of its own on a PostgreSQL
// server, in a transaction that is always undone. So nothing stays there, also when the process is
// killed, and any database will do whose user may make a schema, the one to migrate included.
type Dev struct {
	db   *database.DB
	stop func() error
}

// errUndo makes a transaction roll back that has not failed.
var errUndo = errors.New("undo")

// OpenDev opens a place to try out migrations of the dialect. url names a PostgreSQL server; without
// one a throw-away server is started, or the error says what to do.
func OpenDev(ctx context.Context, name, url string) (*Dev, error) {
	stop := func() error { return nil }
	switch {
	case name == dialect.SQLite:
		url = "sqlite://:memory:"
	case url == "":
		own, err := cluster.Start()
		if err != nil {
			return nil, fmt.Errorf("migrations for PostgreSQL are tried out on a server: name one by --dev-url or ATLAS_DEV_URL: %w", err)
		}
		stop = own.Close
		if url, err = own.Guest(ctx); err != nil {
			return nil, errors.Join(err, stop())
		}
	}
	db, err := database.Open(ctx, url, database.Options{})
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	if db.Dialect() != name {
		return nil, errors.Join(errors.New("the dev database must be PostgreSQL: name one by --dev-url or ATLAS_DEV_URL"), db.Close(), stop())
	}
	return &Dev{db: db, stop: func() error { return errors.Join(db.Close(), stop()) }}, nil
}

// Close closes what OpenDev has opened.
func (d *Dev) Close() error { return d.stop() }

// try runs fn on an empty schema, in a transaction that fn's context carries, and undoes what it did.
func (d *Dev) try(ctx context.Context, fn func(ctx context.Context) error) error {
	err := d.db.InSchemaTx(ctx, func(ctx context.Context) error {
		if d.db.Dialect() == dialect.Postgres {
			name := "reviewpoint_dev_" + strings.ToLower(rand.Text())
			for _, statement := range []string{
				"CREATE SCHEMA " + name,
				"SET LOCAL search_path = " + name,
				"SET LOCAL statement_timeout = 0",
			} {
				_, err := d.db.ExecContext(ctx, statement)
				if e, ok := errors.AsType[*database.Error](err); ok && e.Code == "42501" {
					return fmt.Errorf("make a schema to try migrations in on %s: %w: grant CREATE on the database, or name another server by --dev-url", d.db.Name(), err)
				}
				if err != nil {
					return fmt.Errorf("make a schema to try migrations in on %s: %w: name another server by --dev-url", d.db.Name(), err)
				}
			}
		}
		if err := fn(ctx); err != nil {
			return err
		}
		return errUndo
	})
	if errors.Is(err, errUndo) {
		return nil
	}
	return err
}

// replay runs the files, and returns what they make.
func (d *Dev) replay(ctx context.Context, files []migrate.File) (made snapshot, err error) {
	err = d.try(ctx, func(ctx context.Context) error {
		for _, file := range files {
			if err := runInTx(ctx, d.db, file, nil); err != nil {
				return err
			}
		}
		made, err = inspectState(ctx, d.db)
		return err
	})
	return made, err
}

// extension is the condition that a table c belongs to an extension.
const extension = "EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')"

// inspect returns the tables of the current schema, those of Atlas itself and of extensions left out. Its
// name is left empty, for the place to try things in has another.
func inspect(ctx context.Context, db *database.DB) (*schema.Schema, error) {
	driver, err := openDriver(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", db.Name(), err)
	}
	exclude := []string{revisionsTable}
	if db.Dialect() == dialect.Postgres {
		const ofExtensions = "SELECT relname FROM pg_class c WHERE relnamespace = pg_catalog.quote_ident(pg_catalog.current_schema())::regnamespace AND relkind IN ('r', 'p') AND " + extension
		found, err := scanStrings(ctx, db, ofExtensions)
		if err != nil {
			return nil, fmt.Errorf("inspect %s: %w", db.Name(), err)
		}
		exclude = append(exclude, found...)
	}
	found, err := driver.InspectSchema(ctx, "", &schema.InspectOptions{Exclude: exclude})
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", db.Name(), err)
	}
	found.Name = ""
	for _, table := range found.Tables {
		nameIndexes(table)
	}
	return found, nil
}

// nameIndexes names the indexes that SQLite has made for UNIQUE in a CREATE TABLE: Atlas would do so on
// one side of a comparison alone.
func nameIndexes(table *schema.Table) {
	for _, index := range table.Indexes {
		if !strings.HasPrefix(index.Name, "sqlite_autoindex_") {
			continue
		}
		index.Name = table.Name
		for _, part := range index.Parts {
			if part.C != nil {
				index.Name += "_" + part.C.Name
			}
		}
	}
}

// errUnusable is the error of a file that is refused before anything of it runs.
var errUnusable = errors.New("migration cannot be used")

// homes are the schemas in which migrations live: that of this connection, those with an account, and public.
const homes = "SELECT nspname::text FROM pg_namespace n WHERE nspname IN ('public', pg_catalog.current_schema()) OR EXISTS (SELECT FROM pg_class WHERE relnamespace = n.oid AND relname = $1)"

// statements takes a file apart as Atlas does for the dialect.
func statements(ctx context.Context, db *database.DB, file migrate.File) ([]*migrate.Stmt, error) {
	driver, err := openDriver(ctx, db)
	if err != nil {
		return nil, err
	}
	found, err := migrate.FileStmtDecls(driver, file)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errUnusable, file.Name(), err)
	}
	schemas := []string{}
	if db.Dialect() == dialect.Postgres {
		if schemas, err = scanStrings(ctx, db, homes, revisionsTable); err != nil {
			return nil, err
		}
	}
	for _, statement := range found {
		sql, objection := scanSQL(statement.Text), ""
		if word := sql.control(); word != "" {
			objection = word + " has no place in a file: leave it out"
		} else if name := sql.elsewhere(schemas); name != "" {
			objection = "it names " + name + ", but its tables are those of the connection's schema, wherever that is: leave the name out"
		}
		if objection != "" {
			return nil, fmt.Errorf("%w: %s line %d: %s", errUnusable, file.Name(), lineOf(file, statement), objection)
		}
	}
	return found, nil
}

// runInTx runs a file in the transaction that ctx carries, whatever its txmode. done, which may be
// nil, is called after each statement.
func runInTx(ctx context.Context, db *database.DB, file migrate.File, done func(*migrate.Stmt) error) error {
	all, err := statements(ctx, db, file)
	if err != nil {
		return err
	}
	for _, statement := range all {
		if _, err := db.ExecContext(ctx, inTx(statement.Text)); err != nil {
			return &failure{file, statement, false, err}
		}
		if done == nil {
			continue
		}
		if err := done(statement); err != nil {
			return err
		}
	}
	return nil
}

// inTx is the statement in the form that a transaction accepts: with nobody else there, it does the same.
func inTx(statement string) string { return concurrently.ReplaceAllString(statement, "$1") }

var concurrently = regexp.MustCompile(`(?is)^(CREATE\s+(?:UNIQUE\s+)?INDEX|DROP\s+INDEX|REINDEX\s+(?:TABLE|INDEX|SCHEMA))\s+CONCURRENTLY\b`)

// desired returns what the SQL of the schema makes.
func (d *Dev) desired(ctx context.Context, tables []*entschema.Table) (snapshot, error) {
	ddl, err := Desired(ctx, d.db.Dialect(), tables)
	if err != nil {
		return snapshot{}, err
	}
	return d.replay(ctx, []migrate.File{migrate.NewLocalFile("schema.sql", []byte(ddl))})
}
