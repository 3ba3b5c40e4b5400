package database

import (
	"context"
	stdsql "database/sql"
	"strconv"
	"time"

	"entgo.io/ent/dialect"
)

// Translate is what the layer answers for an error of a driver.
func Translate(ctx context.Context, err error) error { return translate(ctx, err) }

// Parse takes a database URL apart: its name for people, and what lib/pq gets.
func Parse(url string) (name, dsn string, err error) {
	t, err := parseURL(url)
	return t.name, t.dsn, err
}

// ParseStatements takes a database URL apart: how many statements are kept, and what the driver gets.
func ParseStatements(url string) (size int, dsn string, err error) {
	t, err := parseURL(url)
	if err == nil && t.dialect == dialect.SQLite {
		size, err = strconv.Atoi(t.sqliteOptions().Get("_stmt_cache_size"))
		return size, "", err
	}
	return t.statements, t.dsn, err
}

// Turns are for so many readers at once.
func Turns(n int) (take func(context.Context) error, pass func()) {
	t := make(turns, n)
	return t.take, t.pass
}

// Pools are the writer's and the readers' connections.
func (db *DB) Pools() (writer, reader *stdsql.DB) { return db.writer, db.reader }

// StatementCacheSize is how many prepared statements a connection keeps by default.
const StatementCacheSize = statementCacheSize

// WithGrace bounds how long a server may take to cancel a statement.
func (o Options) WithGrace(d time.Duration) Options {
	o.grace = d
	return o
}

// Summarize tells the operation and the table of a statement.
func Summarize(query string, tables map[string]bool) (operation, table string) {
	return summarize(query, tables)
}

// Redact is the text of a statement as it may be shown.
func Redact(query string, sqlite bool) string { return redact(query, sqlite) }
