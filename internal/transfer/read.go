package transfer

import (
	"context"
	"crypto/sha256"
	stdsql "database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"math"
	"strconv"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql"

	"github.com/reviewpoint/models/internal/database"
)

const (
	batchRows  = 2000
	batchBytes = 1 << 20
)

// record is a row as text.
type record struct {
	id    int64
	cells []stdsql.NullString
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*stdsql.Rows, error)
}

// state is one state of a database, which others may go on to change.
type state struct {
	querier

	db    *database.DB
	close func() error
}

// now is the database itself, whose state may change.
func now(db *database.DB) *state {
	return &state{db, db, func() error { return nil }}
}

// snapshot is a state that stays: a transaction that only reads. db must be open for reading only.
func snapshot(ctx context.Context, db *database.DB) (*state, error) {
	var opts *sql.TxOptions // of a deferred transaction in SQLite
	if db.Dialect() == dialect.Postgres {
		opts = &sql.TxOptions{Isolation: stdsql.LevelRepeatableRead, ReadOnly: true}
	}
	tx, err := db.BeginTx(ctx, opts)
	if err != nil {
		return nil, err
	}
	on, ok := tx.(querier)
	if !ok {
		return nil, errors.Join(errors.New("a transaction answers no queries"), tx.Rollback())
	}
	s := &state{on, db, tx.Rollback}
	if db.Dialect() == dialect.Postgres { // A large table takes its time to count.
		if _, err := list[string](ctx, s, "SELECT set_config('statement_timeout', '0', true)"); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	return s, nil
}

// number answers a query for one number, NULL being 0.
func (s *state) number(ctx context.Context, query string, args ...any) (int64, error) {
	found, err := list[stdsql.NullInt64](ctx, s, query, args...)
	if err != nil || len(found) == 0 {
		return 0, err
	}
	return found[0].Int64, nil
}

// list answers a query for one column.
func list[T any](ctx context.Context, on querier, query string, args ...any) (values []T, err error) {
	rows, err := on.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var value T
		if err := rows.Scan(&value); err != nil {
			return nil, err
		}
		values = append(values, value)
	}
	return values, rows.Err()
}

// reader reads a table in the order of its ids, a batch at a time.
type reader struct {
	state *state
	table *table
	form  func(kind, string) (string, error)
	query string
	last  int64 // id
	limit int   // rows of the next batch
	batch []record
	rest  []record // of batch
}

// newReader reads the rows after an id, with cells in a form, kind.settle or kind.canonical.
func newReader(s *state, t *table, after int64, form func(kind, string) (string, error)) *reader {
	return &reader{state: s, table: t, form: form, query: t.selection(s.db.Dialect()), last: after, limit: batchRows}
}

// first is before every id.
const first = math.MinInt64

// next returns the next row, or nil after the last.
func (r *reader) next(ctx context.Context) (*record, error) {
	if len(r.rest) == 0 {
		if err := r.fill(ctx); err != nil || len(r.batch) == 0 {
			return nil, err
		}
		r.rest = r.batch
	}
	row := &r.rest[0]
	r.rest = r.rest[1:]
	return row, nil
}

// fill reads the next batch; after the last one it is empty.
func (r *reader) fill(ctx context.Context) error {
	err := r.read(ctx)
	if err != nil {
		return fmt.Errorf("read %s of %s: %w", r.table.name, r.state.db.Name(), err)
	}
	return nil
}

func (r *reader) read(ctx context.Context) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	running := ctx
	if r.state.db.Dialect() == dialect.SQLite {
		running = context.WithoutCancel(ctx) // The driver would start a goroutine for each row.
	}
	rows, err := r.state.QueryContext(running, r.query, r.last, r.limit)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	clear(r.batch)
	r.batch = r.batch[:0]
	bytes, width := 0, len(r.table.columns)
	targets := make([]any, width)
	for bytes < batchBytes && rows.Next() {
		row := record{cells: make([]stdsql.NullString, width)}
		for i := range row.cells {
			targets[i] = &row.cells[i]
		}
		if err := rows.Scan(targets...); err != nil {
			return err
		}
		if err := r.settle(&row); err != nil {
			return err
		}
		for _, cell := range row.cells {
			bytes += len(cell.String)
		}
		r.batch, r.last = append(r.batch, row), row.id
	}
	if n := len(r.batch); n > 0 { // so that few rows are asked for that do not fit into the next batch
		r.limit = max(1, min(batchRows, batchBytes/(bytes/n+1)))
	}
	return rows.Err()
}

func (r *reader) settle(row *record) (err error) {
	if row.id, err = strconv.ParseInt(row.cells[0].String, 10, 64); err != nil {
		return errNumber
	}
	for i := range row.cells {
		cell, column := &row.cells[i], r.table.columns[i]
		if !cell.Valid {
			continue
		}
		if cell.String, err = r.form(column.kind, cell.String); err != nil {
			return fmt.Errorf("%s of id %d %w", column.name, row.id, err)
		}
	}
	return nil
}

// sum is the checksum of a table: the SHA-256 of its rows in the order of their ids. Of each cell, in the
// order of the schema, it takes the length in bytes, a colon and the canonical text, or - for NULL.
type sum struct {
	hash hash.Hash
	rows int64
	head []byte
}

func newSum() *sum { return &sum{hash: sha256.New()} }

func (s *sum) add(cells []stdsql.NullString) {
	for i := range cells {
		if !cells[i].Valid {
			s.head = append(s.head, '-')
			continue
		}
		s.head = append(append(strconv.AppendInt(s.head, int64(len(cells[i].String)), 10), ':'), cells[i].String...)
	}
	s.hash.Write(s.head)
	s.head = s.head[:0]
	s.rows++
}

func (s *sum) String() string { return hex.EncodeToString(s.hash.Sum(nil)) }
