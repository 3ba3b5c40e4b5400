package models

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/user"
	"github.com/reviewpoint/models/internal/policy"
	"github.com/reviewpoint/models/internal/row"
	"github.com/reviewpoint/models/internal/viewer"
)

// ExportOptions says how an export writes rows. The zero value writes CSV, without any secret.
type ExportOptions struct {
	Format ImportFormat
	// WithPasswordHashes adds the column hashed_password, for accounts to be moved: the system alone may.
	WithPasswordHashes bool
	// Progress, if it is not nil, is called now and then with the number of rows that are written.
	Progress func(rows int)
}

// ExportUsers writes all accounts, in the order in which they were made, as ImportUsers reads them. The
// columns are public_id, email, name, bio, avatar_url, preferences, is_active, is_admin, is_deleted,
// deleted_at, last_login_at, tokens_valid_after, created_at and updated_at. Those that are deleted are
// left out unless ctx is from IncludeDeleted.
//
// Imported into an empty database of either kind, an export is exported again as the same bytes. For that,
// preferences are written in one form, whatever that of the database: keys in order, no spaces, and
// numbers with all their digits, as encoding/json would write them (1.50 as 1.5). Passwords go along
// WithPasswordHashes alone.
//
// It writes what the database was at the beginning, whatever changes meanwhile, in little memory however
// many rows there are. No writer waits for it, but that of a SQLite database in memory.
//
// The system and administrators may; a person gets the own row; others get ErrForbidden. It returns the
// errors of w. It may run inside InTx, and then writes what that sees.
func (s *Store) ExportUsers(ctx context.Context, w io.Writer, opts ExportOptions) error {
	return s.exportRows(ctx, "ExportUsers", portableUsers, w, opts)
}

// ExportFiles writes the records of all files as ImportFiles reads them, as ExportUsers does accounts. The
// columns are public_id, user_public_id (the owner's), filename, content_type, size (bytes), created_at and
// updated_at. Files of deleted accounts are left out unless ctx is from IncludeDeleted. A person gets the
// own files; others get ErrForbidden. It may run inside InTx, as ExportUsers does.
func (s *Store) ExportFiles(ctx context.Context, w io.Writer, opts ExportOptions) error {
	return s.exportRows(ctx, "ExportFiles", portableFiles, w, opts)
}

func (s *Store) exportRows(ctx context.Context, method string, table *portableTable, w io.Writer, opts ExportOptions) error {
	v, err := policy.Asking(ctx)
	if err != nil {
		return err
	}
	owner, err := table.rules.Readable(ctx, table.entity)
	switch {
	case err != nil:
		return err
	case opts.WithPasswordHashes && table != portableUsers:
		return fmt.Errorf("%s: WithPasswordHashes is for accounts", method)
	case opts.WithPasswordHashes && !v.System:
		return policy.Deny("%s may not export %s of %s", v, user.FieldHashedPassword, ent.TypeUser)
	case opts.Format != ImportCSV && opts.Format != ImportJSONLines:
		return fmt.Errorf("%s: there is no format %d", method, opts.Format)
	}
	columns := len(table.columns)
	if table == portableUsers && !opts.WithPasswordHashes {
		columns-- // It is the last.
	}
	out := newRowWriter(w, opts.Format, table, columns)
	if err := out.begin(); err != nil {
		return err
	}
	where, args := exported(table, owner, viewer.DeletedIncluded(ctx))
	written := 0
	return s.db.Snapshot(ctx, func(ctx context.Context) error {
		for last := 0; ; {
			rows := 0
			err := s.db.Read(ctx, table.read+where, append([]any{last}, args...), func(r *row.Row) (err error) {
				var one portableRow
				last = row.Int(r.Next(), &err)
				if err := errors.Join(err, one.scan(table, r)); err != nil {
					return err
				}
				rows++
				return out.write(&one)
			})
			if err := errors.Join(err, out.flush()); err != nil {
				return err
			}
			written += rows
			if opts.Progress != nil {
				opts.Progress(written)
			}
			if rows < page {
				return nil
			}
		}
	})
}

// exported are the rows after an id, up to a page, and the arguments after the id.
func exported(table *portableTable, owner int, deleted bool) (where string, args []any) {
	where = "WHERE t.id > $1"
	account, id := "u", "t.user_id"
	if table == portableUsers {
		account, id = "t", "t.id"
	}
	if owner != 0 {
		where += " AND " + id + " = $2"
		args = append(args, owner)
	}
	if !deleted || owner != 0 {
		where += " AND NOT " + account + ".is_deleted"
	}
	return where + fmt.Sprintf(" ORDER BY t.id LIMIT %d", page), args
}

// rowWriter writes rows in a format.
type rowWriter struct {
	w       io.Writer
	csv     *csv.Writer // nil for JSON lines
	columns []portableColumn
	cells   []string
	line    []byte
}

func newRowWriter(w io.Writer, format ImportFormat, table *portableTable, columns int) *rowWriter {
	out := &rowWriter{w: w, columns: table.columns[:columns], cells: make([]string, columns)}
	if format == ImportCSV {
		out.csv = csv.NewWriter(w)
	}
	return out
}

// begin writes the header.
func (w *rowWriter) begin() error {
	if w.csv == nil {
		return nil
	}
	for n, column := range w.columns {
		w.cells[n] = column.name
	}
	return errors.Join(w.csv.Write(w.cells), w.flush())
}

func (w *rowWriter) write(row *portableRow) error {
	if w.csv != nil {
		for n := range w.columns {
			w.cells[n] = ""
			if row.given.has(n) {
				w.cells[n] = guard(row.values[n])
			}
		}
		return w.csv.Write(w.cells)
	}
	for n, column := range w.columns {
		w.line = append(append(append(w.line, `,"`...), column.name...), `":`...)
		if n == 0 {
			w.line[len(w.line)-len(column.name)-4] = '{'
		}
		switch {
		case !row.given.has(n):
			w.line = append(w.line, "null"...)
		case column.kind == kindFlag, column.kind == kindNumber, column.kind == kindObject:
			w.line = append(w.line, row.values[n]...)
		default:
			text, err := json.Marshal(row.values[n])
			if err != nil {
				return err
			}
			w.line = append(w.line, text...)
		}
	}
	w.line = append(w.line, "}\n"...)
	if len(w.line) < 1<<16 {
		return nil
	}
	return w.flush()
}

// flush writes what has been put together.
func (w *rowWriter) flush() error {
	if w.csv != nil {
		w.csv.Flush()
		return w.csv.Error()
	}
	_, err := w.w.Write(w.line)
	w.line = w.line[:0]
	return err
}
