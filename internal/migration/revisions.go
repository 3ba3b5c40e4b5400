package migration

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"ariga.io/atlas/sql/migrate"
	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/database"
)

// revisionsTable and its columns are those of the Atlas CLI (cmd/atlas/internal/migrate/ent/schema/revision.go).
const revisionsTable = "atlas_schema_revisions"

const revisionColumns = "version, description, type, applied, total, executed_at, execution_time, error, error_stmt, hash, partial_hashes, operator_version"

// revisions is the account of what was applied, as Atlas's executor wants it.
type revisions struct {
	db     *database.DB
	schema string // of PostgreSQL
	table  string
	exists bool
}

// openRevisions finds the table where the Atlas CLI keeps it: in the connection's schema, or, when
// the CLI was not told one, in a schema of the table's own name.
func openRevisions(ctx context.Context, db *database.DB) (*revisions, error) {
	r := &revisions{db: db, table: revisionsTable}
	if db.Dialect() == dialect.SQLite {
		found, err := scanStrings(ctx, db, "SELECT name FROM sqlite_master WHERE type = 'table' AND name = $1", revisionsTable)
		r.exists = len(found) > 0
		return r, err
	}
	found, err := scanStrings(ctx, db, `SELECT nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE relname = $1 AND relkind IN ('r', 'p') AND nspname IN (current_schema(), $1) ORDER BY nspname = current_schema() DESC`, revisionsTable)
	if err != nil || len(found) == 0 {
		return r, err
	}
	r.exists, r.schema = true, found[0]
	r.table = ident(r.schema) + "." + revisionsTable
	return r, nil
}

// create makes the table as the Atlas CLI would.
func (r *revisions) create(ctx context.Context) error {
	if r.exists {
		return nil
	}
	ddl := "CREATE TABLE `atlas_schema_revisions` (`version` text NOT NULL, `description` text NOT NULL, `type` integer NOT NULL DEFAULT 2, " +
		"`applied` integer NOT NULL DEFAULT 0, `total` integer NOT NULL DEFAULT 0, `executed_at` datetime NOT NULL, `execution_time` integer NOT NULL, " +
		"`error` text NULL, `error_stmt` text NULL, `hash` text NOT NULL, `partial_hashes` json NULL, `operator_version` text NOT NULL, PRIMARY KEY (`version`))"
	if r.db.Dialect() == dialect.Postgres {
		ddl = `CREATE TABLE "atlas_schema_revisions" ("version" character varying NOT NULL, "description" character varying NOT NULL, "type" bigint NOT NULL DEFAULT 2, ` +
			`"applied" bigint NOT NULL DEFAULT 0, "total" bigint NOT NULL DEFAULT 0, "executed_at" timestamptz NOT NULL, "execution_time" bigint NOT NULL, ` +
			`"error" text NULL, "error_stmt" text NULL, "hash" character varying NOT NULL, "partial_hashes" jsonb NULL, "operator_version" character varying NOT NULL, PRIMARY KEY ("version"))`
	}
	_, err := r.db.ExecContext(ctx, ddl)
	r.exists = err == nil
	return err
}

// Ident names the table.
func (r *revisions) Ident() *migrate.TableIdent {
	return &migrate.TableIdent{Name: revisionsTable, Schema: r.schema}
}

// ReadRevisions returns the account in the order of versions. A row whose version begins with a
// point is the CLI's own.
func (r *revisions) ReadRevisions(ctx context.Context) ([]*migrate.Revision, error) {
	return r.read(ctx, "SELECT "+revisionColumns+" FROM "+r.table+" WHERE version NOT LIKE '.%' ORDER BY version")
}

// ReadRevision returns one row, or migrate.ErrRevisionNotExist.
func (r *revisions) ReadRevision(ctx context.Context, version string) (*migrate.Revision, error) {
	found, err := r.read(ctx, "SELECT "+revisionColumns+" FROM "+r.table+" WHERE version = $1", version)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, migrate.ErrRevisionNotExist
	}
	return found[0], nil
}

func (r *revisions) read(ctx context.Context, query string, args ...any) (found []*migrate.Revision, err error) {
	rows, err := r.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", revisionsTable, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var (
			rev             migrate.Revision
			text, statement sql.NullString
			hashes          []byte
			took            int64
		)
		if err := rows.Scan(&rev.Version, &rev.Description, &rev.Type, &rev.Applied, &rev.Total, &rev.ExecutedAt, &took, &text, &statement, &rev.Hash, &hashes, &rev.OperatorVersion); err != nil {
			return nil, fmt.Errorf("read %s: %w", revisionsTable, err)
		}
		rev.ExecutionTime, rev.Error, rev.ErrorStmt = time.Duration(took), text.String, statement.String
		if len(hashes) > 0 {
			if err := json.Unmarshal(hashes, &rev.PartialHashes); err != nil {
				return nil, fmt.Errorf("read %s: %w", revisionsTable, err)
			}
		}
		found = append(found, &rev)
	}
	return found, rows.Err()
}

// WriteRevision adds a row or brings it up to date. As long as a file is not complete it may be mended, so
// until then its row holds no hash.
func (r *revisions) WriteRevision(ctx context.Context, rev *migrate.Revision) error {
	hashes, err := json.Marshal(rev.PartialHashes)
	if err != nil {
		return fmt.Errorf("write %s: %w", revisionsTable, err)
	}
	hash := rev.Hash
	if !complete(rev) {
		hash = ""
	}
	columns := strings.Split(revisionColumns, ", ")
	updates := make([]string, 0, len(columns)-1)
	for _, column := range columns[1:] {
		updates = append(updates, column+" = excluded."+column)
	}
	_, err = r.db.ExecContext(ctx, "INSERT INTO "+r.table+" ("+revisionColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (version) DO UPDATE SET "+strings.Join(updates, ", "),
		rev.Version, rev.Description, rev.Type, rev.Applied, rev.Total, rev.ExecutedAt, int64(rev.ExecutionTime), rev.Error, rev.ErrorStmt, hash, json.RawMessage(hashes), rev.OperatorVersion)
	if err != nil {
		return fmt.Errorf("write %s: %w", revisionsTable, err)
	}
	return nil
}

// complete writes the hash of a file that was applied, when and for how long: Atlas's executor counts from
// the last statement.
func (r *revisions) complete(ctx context.Context, version, hash string, began time.Time, took time.Duration) error {
	if _, err := r.db.ExecContext(ctx, "UPDATE "+r.table+" SET hash = $1, executed_at = $2, execution_time = $3 WHERE version = $4", hash, began, int64(took), version); err != nil {
		return fmt.Errorf("write %s: %w", revisionsTable, err)
	}
	return nil
}

// DeleteRevision removes a row.
func (r *revisions) DeleteRevision(ctx context.Context, version string) error {
	if _, err := r.db.ExecContext(ctx, "DELETE FROM "+r.table+" WHERE version = $1", version); err != nil {
		return fmt.Errorf("write %s: %w", revisionsTable, err)
	}
	return nil
}
