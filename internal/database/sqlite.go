package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"entgo.io/ent/dialect"
	"github.com/google/uuid"
)

// openSQLite opens one writer, which begins every transaction immediately, and a pool of readers,
// which cannot write. The pragmas are part of every connection.
func openSQLite(ctx context.Context, t target, opts Options) (*DB, error) {
	if sqliteDriver() == nil {
		return nil, errors.New("this program was built without SQLite: install a C compiler (apt-get install gcc) and build it with CGO_ENABLED=1")
	}
	if !t.memory {
		if err := prepareFile(t); err != nil {
			return nil, err
		}
	}
	values := t.sqliteOptions()
	file := (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: t.path}).EscapedPath()})
	if t.memory {
		// Connections that name the same file of the memdb VFS share it; a plain :memory: is each connection's own.
		file.Opaque = "/reviewpoint-" + uuid.NewString()
		values.Set("vfs", "memdb")
	}
	if t.readOnly {
		values.Set("_query_only", "1")
		values.Set("_txlock", "deferred") // to begin immediately is to write
		if !t.memory {
			values.Set("mode", "ro")
		}
	}
	journal := "WAL"
	if t.memory || t.readOnly {
		journal = "" // Opening to look must not change the file.
	}
	file.RawQuery = values.Encode()
	writer := sql.OpenDB(sqliteConnector(file.String(), journal, t.busyTimeout, opts))
	writer.SetMaxOpenConns(1)
	values.Set("_query_only", "1")
	file.RawQuery = values.Encode()
	reader := sql.OpenDB(sqliteConnector(file.String(), "", t.busyTimeout, opts))
	readers := opts.MaxConns
	if readers == 0 {
		readers = max(4, 2*runtime.NumCPU())
	}
	reader.SetMaxOpenConns(readers)
	reader.SetMaxIdleConns(readers)
	db := &DB{dialect: dialect.SQLite, name: t.name, writer: writer, reader: reader, wait: t.busyTimeout, turns: make(turns, readers)}
	if err := db.connect(ctx); err != nil {
		return nil, errors.Join(explainSQLite(t, err), db.Close())
	}
	return db, nil
}

// sqliteOptions are those of go-sqlite3 for every connection.
func (t *target) sqliteOptions() url.Values {
	return url.Values{
		"_foreign_keys":    {"1"},
		"_busy_timeout":    {strconv.FormatInt(t.busyTimeout.Milliseconds(), 10)},
		"_synchronous":     {t.synchronous},
		"_txlock":          {"immediate"},
		"_stmt_cache_size": {strconv.Itoa(t.statements)},
	}
}

// connect makes the first connection to the database, and holds one to a database in memory, which
// would go with the last one.
func (db *DB) connect(ctx context.Context) error {
	if err := db.writer.PingContext(ctx); err != nil {
		return err
	}
	// SQLite reads the file only now, so a file that is no database is found here.
	var version int
	return db.writer.QueryRowContext(ctx, "PRAGMA schema_version").Scan(&version)
}

func sqliteConnector(dsn, journal string, wait time.Duration, opts Options) *connector {
	d := sqliteDriver()
	return &connector{dialect: dialect.SQLite, driver: d, before: opts.Before, observer: opts.observer, connect: func(ctx context.Context, _ *conn) (driver.Conn, error) {
		c, err := d.Open(dsn)
		if err != nil || journal == "" {
			return c, err
		}
		if err := setJournal(ctx, c, journal, wait); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		return c, nil
	}}
}

// setJournal switches the journal mode. SQLite does not wait for its busy timeout when several
// processes do so at once, so this does.
func setJournal(ctx context.Context, c driver.Conn, journal string, wait time.Duration) error {
	deadline := time.Now().Add(wait)
	for {
		_, err := c.(driver.ExecerContext).ExecContext(ctx, "PRAGMA journal_mode="+journal, nil)
		code, _, _ := sqliteAnswer(err)
		busy := primary(code) == sqliteBusy || primary(code) == sqliteLocked
		if !busy || time.Now().After(deadline) {
			return err
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
}

// prepareFile makes sure that the file can be a database, and makes a new one readable to its owner
// alone: it will hold password hashes.
func prepareFile(t target) error {
	info, err := os.Stat(t.path)
	switch {
	case err == nil && info.IsDir():
		return fmt.Errorf("%s is a folder: name a file in it, as in sqlite://%s", t.path, filepath.Join(t.path, "reviewpoint.db"))
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file: name another path", t.path)
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("cannot open %s: %w", t.path, errors.Unwrap(err))
	case t.existing:
		return fmt.Errorf("there is no database at %s: make it with `reviewpoint migrate apply`, or check the path: %w", t.path, fs.ErrNotExist)
	}
	folder := filepath.Dir(t.path)
	if _, err := os.Stat(folder); err != nil {
		return fmt.Errorf("the folder %s does not exist: make it first", folder)
	}
	f, err := os.OpenFile(t.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("cannot make %s: %w: choose a folder that this user may write to", t.path, errors.Unwrap(err))
	}
	return f.Close()
}

// explainSQLite says of a failed opening what to do about it.
func explainSQLite(t target, err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return fmt.Errorf("cannot open %s: %w", t.name, err)
	}
	switch primary(e.sqlite) {
	case sqliteNotADB:
		return fmt.Errorf("%s is not a SQLite database: check the path; nothing was changed: %w", t.name, err)
	case sqliteCorrupt:
		return fmt.Errorf("%s is damaged: restore a backup, or save what can be read with `sqlite3 FILE .recover`: %w", t.name, err)
	case sqliteCantOpen, sqliteReadOnly:
		if t.readOnly {
			return fmt.Errorf("%s cannot be read: let this user read it, and write to its folder, where SQLite keeps what readers share: %w", t.name, err)
		}
		return fmt.Errorf("%s cannot be written: let this user write to the file and its folder, or open it with ?mode=ro: %w", t.name, err)
	}
	return fmt.Errorf("cannot open %s: %w", t.name, err)
}
