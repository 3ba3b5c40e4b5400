package migration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"ariga.io/atlas/sql/migrate"
	"entgo.io/ent/dialect"
)

// alone reports whether a file runs outside of a transaction. SQLite has no statement that needs it.
func (m *Migrator) alone(file migrate.File) bool {
	local, ok := file.(*migrate.LocalFile)
	return ok && m.db.Dialect() == dialect.Postgres && slices.Contains(local.Directive("txmode"), "none")
}

// executeAlone runs the next pending file, which is marked txmode none, on a session that holds the lock.
func (m *Migrator) executeAlone(ctx context.Context, opts Options) error {
	return m.db.InSession(ctx, func(ctx context.Context) error {
		if err := lock(ctx, m.db, ""); err != nil {
			return err
		}
		defer func() { // It would end with the connection, but only soon.
			_, _ = m.db.ExecContext(context.WithoutCancel(ctx), fmt.Sprintf("SELECT pg_advisory_unlock(%d)", lockID))
		}()
		revisions, file, err := m.first(ctx, opts.To)
		if err != nil || file == nil || !m.alone(file) {
			return err
		}
		return m.execute(ctx, file, revisions, &resumed{joined{m.db, ctx, opts.StatementTimeout, ""}, len(revisions) > 0 && revisions[len(revisions)-1].Version == file.Version()})
	})
}

// resumed runs the statements of a file marked txmode none. One that was killed may be done without
// being accounted for, or may have left an index that is not valid.
type resumed struct {
	joined

	again bool // an earlier attempt may have done the next statement
}

var indexConcurrently = regexp.MustCompile(`(?is)^(CREATE|DROP)\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+(?:IF\s+(?:NOT\s+)?EXISTS\s+)?((?:(?:"(?:[^"]|"")+"|\w+)\s*\.\s*)?(?:"(?:[^"]|"")+"|\w+))`)

func (r *resumed) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	again := r.again
	r.again = false
	match := indexConcurrently.FindStringSubmatch(query)
	if match == nil {
		return r.joined.ExecContext(ctx, query, args...)
	}
	if strings.EqualFold(match[2], "ON") {
		return nil, errors.New("give the index a name: without one it cannot be told whether an earlier attempt has made it")
	}
	// to_regclass goes along the search_path, where others have indexes of the name.
	found, err := scanStrings(ctx, r.db, `SELECT CASE WHEN indisvalid THEN 'valid' ELSE 'invalid' END FROM pg_index JOIN pg_class c ON c.oid = indexrelid
		WHERE indexrelid = to_regclass($1) AND relnamespace = pg_catalog.quote_ident(pg_catalog.current_schema())::regnamespace`, match[2])
	if err != nil {
		return nil, err
	}
	create := strings.EqualFold(match[1], "CREATE")
	switch {
	case !create && len(found) == 0 && again, create && again && slices.Contains(found, "valid"):
		return nil, nil //nolint:nilnil // Atlas does not look at it.
	case create && slices.Contains(found, "invalid"):
		if _, err := r.joined.ExecContext(ctx, "DROP INDEX CONCURRENTLY "+match[2]); err != nil {
			return nil, err
		}
	}
	// It waits for transactions, and nobody waits for it.
	if _, err := r.joined.ExecContext(ctx, "SET lock_timeout = 0"); err != nil {
		return nil, err
	}
	defer func() { _, _ = r.joined.ExecContext(context.WithoutCancel(ctx), "SET lock_timeout TO DEFAULT") }() // it goes with the session, too
	return r.joined.ExecContext(ctx, query, args...)
}
