package database

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/lib/pq"
)

// What a database can answer, told from its SQLSTATE or from SQLite's extended result code.
var (
	ErrUnique        = errors.New("unique constraint violated")
	ErrForeignKey    = errors.New("foreign key constraint violated")
	ErrCheck         = errors.New("check constraint violated")
	ErrNotNull       = errors.New("not-null constraint violated")
	ErrBusy          = errors.New("database is busy")
	ErrSerialization = errors.New("transaction conflicts with another one")
	ErrReadOnly      = errors.New("database is read-only")
)

// What a transaction can answer.
var (
	ErrTxDone        = fmt.Errorf("the transaction of this context has ended, use one from outside of InTx: %w", sql.ErrTxDone)
	ErrTxFailed      = errors.New("a statement of this transaction failed: it can only be rolled back")
	ErrCommitUnknown = errors.New("the connection was lost during the commit: read back whether the change was kept before repeating it")
)

// Error is what a database answered, less every value of a row. It is one of the sentinels above
// by errors.Is, where one fits.
type Error struct {
	Code       string // SQLSTATE, or SQLite's extended result code
	Constraint string // of PostgreSQL; SQLite names columns in the text instead
	sqlite     int    // SQLite's extended result code
	text       string
	kind       error
	outdated   bool // a prepared statement was
}

func (e *Error) Error() string { return e.text + " (" + e.Code + ")" }

// Unwrap returns the sentinel that e is, or nil.
func (e *Error) Unwrap() error { return e.kind }

// translate is what the layer answers for an error of a driver. A cancelled statement is a context
// error, whatever the driver said of it.
func translate(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, driver.ErrBadConn) || errors.Is(err, driver.ErrSkip) || errors.Is(err, io.EOF) {
		return err
	}
	if pqErr, ok := errors.AsType[*pq.Error](err); ok {
		return translatePostgres(ctx, pqErr)
	}
	if code, text, ok := sqliteAnswer(err); ok {
		return translateSQLite(ctx, code, text)
	}
	switch {
	case errors.Is(err, pq.ErrInFailedTransaction):
		return ErrTxFailed
	case ctx.Err() != nil:
		return contextError(ctx)
	}
	return err
}

func contextError(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	// The server's own statement_timeout.
	return context.DeadlineExceeded
}

// translatePostgres composes the text anew: the server's may be in any language, and its details, and
// some of its messages, hold values of the row.
func translatePostgres(ctx context.Context, e *pq.Error) error {
	constraint, column := e.Constraint, e.Column
	if raised(e) {
		constraint, column = "", "" // which may hold anything, too
	}
	out := &Error{Code: string(e.Code), Constraint: constraint}
	switch e.Code {
	case "57014": // query_canceled
		return contextError(ctx)
	case "25P02": // in_failed_sql_transaction
		return ErrTxFailed
	// The phrases that ent's IsConstraintError looks for.
	case "23505":
		out.kind, out.text = ErrUnique, fmt.Sprintf("violates unique constraint %q", constraint)
	case "23503", "23001":
		out.kind, out.text = ErrForeignKey, fmt.Sprintf("violates foreign key constraint %q", constraint)
	case "23514":
		out.kind, out.text = ErrCheck, fmt.Sprintf("violates check constraint %q", constraint)
	case "23502":
		out.kind, out.text = ErrNotNull, fmt.Sprintf("column %q must not be NULL", column)
	case "40001", "40P01":
		out.kind, out.text = ErrSerialization, ErrSerialization.Error()
	case "55P03":
		out.kind, out.text = ErrBusy, "a lock was not to be had in time"
	case "25006":
		out.kind, out.text = ErrReadOnly, ErrReadOnly.Error()
	default:
		if e.Code == "0A000" && e.Routine == "call_bool_check_hook" { // BEGIN READ WRITE, which lib/pq says, on a replica
			out.kind, out.text = ErrReadOnly, ErrReadOnly.Error()
			break
		}
		out.text = e.Message
		if quotesValues(e) {
			out.text = cmp.Or(strings.ReplaceAll(e.Code.Name(), "_", " "), "error raised by the database")
		}
	}
	return out
}

// raised reports whether it is of PL/pgSQL's RAISE, which may take any code and any text.
func raised(e *pq.Error) bool { return e.Routine == "exec_stmt_raise" }

// quotesValues reports whether the message may hold a value: that of a data error, of one that a
// function raises, or of a name that a statement made from a value when it ran. A name that stands in
// the statement itself has a position there.
func quotesValues(e *pq.Error) bool {
	if raised(e) {
		return true
	}
	switch e.Code.Class() {
	case "22", "23", "P0":
		return true
	case "34", "3F", "42": // names of cursors, schemas, and all others
		return e.Position == "" && e.Code != "42501" // insufficient_privilege
	}
	return e.Code == "58P01" /* undefined_file */ || e.Code.Name() == "" // a code of somebody's own
}

// Result codes of SQLite (https://sqlite.org/rescode.html).
const (
	sqliteBusy      = 5
	sqliteLocked    = 6
	sqliteReadOnly  = 8
	sqliteInterrupt = 9
	sqliteCorrupt   = 11
	sqliteCantOpen  = 14
	sqliteNotADB    = 26

	sqliteConstraintCheck      = 275
	sqliteConstraintForeignKey = 787
	sqliteConstraintNotNull    = 1299
	sqliteConstraintPrimaryKey = 1555
	sqliteConstraintTrigger    = 1811
	sqliteConstraintUnique     = 2067
	sqliteConstraintRowID      = 2579
)

// primary is the result code without its extension.
func primary(code int) int { return code & 0xff }

// translateSQLite keeps SQLite's text, which names tables and columns, and less than that where it may quote a
// value of a row: in these two cases. What a statement of the system makes a name or a pattern of itself
// (ATTACH, MATCH of its own tables) may still be quoted.
func translateSQLite(ctx context.Context, code int, text string) error {
	byTrigger := code == sqliteConstraintTrigger && text != "FOREIGN KEY constraint failed" // which SQLite makes a trigger of
	switch {
	case byTrigger: // RAISE takes any expression.
		text = "refused by a trigger"
	case strings.HasPrefix(text, "bad JSON path"):
		text = "bad JSON path"
	}
	out := &Error{Code: fmt.Sprintf("SQLite %d", code), sqlite: code, text: text}
	switch {
	case byTrigger:
	case code == sqliteConstraintUnique, code == sqliteConstraintPrimaryKey, code == sqliteConstraintRowID:
		out.kind = ErrUnique
	case code == sqliteConstraintForeignKey, code == sqliteConstraintTrigger:
		out.kind = ErrForeignKey
	case code == sqliteConstraintCheck:
		out.kind = ErrCheck
	case code == sqliteConstraintNotNull:
		out.kind = ErrNotNull
	}
	switch primary(code) {
	case sqliteInterrupt:
		return contextError(ctx)
	case sqliteBusy, sqliteLocked:
		out.kind, out.text = ErrBusy, "another writer has held the database for too long"
	case sqliteReadOnly:
		out.kind = ErrReadOnly
	}
	return out
}

// retryable reports whether a transaction that ended with err may go better a second time.
func retryable(err error) bool {
	var e *Error
	if again, ok := errors.AsType[interface {
		error
		Retry() bool
	}](err); ok {
		return again.Retry()
	}
	return errors.As(err, &e) && (errors.Is(e, ErrSerialization) || (errors.Is(e, ErrBusy) && e.sqlite != 0))
}

// outdated reports whether a transaction ended with err because of a prepared statement.
func outdated(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.outdated
}

// commitUnknown reports whether err, the answer to a COMMIT, leaves open if the server carried it out.
func commitUnknown(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false // It was not sent, or the server undid it.
	}
	var (
		e      *Error
		netErr net.Error
	)
	if errors.As(err, &e) {
		return strings.HasPrefix(e.Code, "08") || strings.HasPrefix(e.Code, "57P")
	}
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &netErr)
}
