// Package adopt takes over a database that the Python application made: it brings the rows into the
// tables that the migrations make, under their ids, or changes nothing.
package adopt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/clock"
	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/migration"
)

// Why a database is not adopted.
var (
	ErrAdopted      = errors.New("there is nothing to adopt: the migrations of this program have made these tables")
	ErrEmpty        = errors.New("there is nothing to adopt: the database is empty; make its tables with `reviewpoint migrate apply`")
	ErrUnrecognised = errors.New("this is not a database of the Python application")
	ErrUnknown      = errors.New("the database holds what adopting would lose; drop it, or move it to another place, and run this again")
	ErrProblems     = errors.New("there are rows that do not fit: change them with the old application, and run this again")
	ErrChanged      = errors.New("somebody has written to the database since it was looked at, so nothing was changed: stop the old application, and run this again")
	ErrInUse        = errors.New("the tables are in use, so nothing was changed: stop the old application, and run this again")
)

// Report says what a database of the Python application holds, and what adopting it changes.
type Report struct {
	Database  string     `json:"database"`
	Dialect   string     `json:"dialect"`
	Alembic   []string   `json:"alembic_revisions"` // nil without the table alembic_version
	Tables    []Table    `json:"tables"`
	Changes   []Change   `json:"changes"`
	Sequences []Sequence `json:"sequences"`
	Notes     []Change   `json:"notes"` // what to know, and stays as it is
	Problems  []Problem  `json:"problems"`
}

// Table is one of the four.
type Table struct {
	Name string `json:"name"`
	Rows int    `json:"rows"`
}

// Change is what happens to rows of a table.
type Change struct {
	Table  string  `json:"table"`
	Column string  `json:"column,omitempty"`
	What   string  `json:"what"`
	Rows   int     `json:"rows"`
	IDs    []int64 `json:"ids,omitempty"`
}

// Sequence is where the ids of a table go on.
type Sequence struct {
	Table string `json:"table"`
	Next  int64  `json:"next"`
}

// Problem is a value for which there is no place. It is not shown.
type Problem struct {
	Table  string `json:"table"`
	ID     int64  `json:"id"`
	Column string `json:"column"`
	Reason string `json:"reason"`
}

// Options of Inspect and Run. The zero value is the default.
type Options struct {
	Progress func(Progress) // called after each page of rows. Defaults to nothing.
}

// Progress is how many of the rows were read or written.
type Progress struct {
	Written bool
	Rows    int
	Of      int
}

// Result says what Run did.
type Result struct {
	Backup string `json:"backup,omitempty"` // of SQLite: a file with the database as it was
}

// Inspect says what Run would do. It changes nothing. Its errors are those above, with what was found.
func Inspect(ctx context.Context, db *database.DB, opts Options) (report *Report, err error) {
	err = db.InTx(ctx, func(ctx context.Context) error {
		if db.Dialect() == dialect.Postgres {
			if err := execute(ctx, db, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"); err != nil {
				return err
			}
		}
		a := &adoption{db: db, opts: opts}
		report, err = a.inspect(ctx)
		return err
	})
	return report, err
}

// adoption is the work on one database.
type adoption struct {
	db      *database.DB
	opts    Options
	tables  []*table
	shape   shape
	removed map[int64]bool
}

func (a *adoption) inspect(ctx context.Context) (*Report, error) {
	if err := a.recognise(ctx); err != nil {
		return nil, err
	}
	report := &Report{Database: a.db.Name(), Dialect: a.db.Dialect(), Sequences: []Sequence{}}
	if a.shape.alembic {
		revisions, err := list[string](ctx, a.db, "SELECT version_num FROM "+alembicTable+" ORDER BY 1")
		if err != nil {
			return nil, err
		}
		report.Alembic = append([]string{}, revisions...)
	}
	total := 0
	for _, t := range a.tables {
		rows, err := one[int](ctx, a.db, "SELECT count(*) FROM "+t.name)
		if err != nil {
			return nil, err
		}
		t.rows = rows
		total += rows
		report.Tables = append(report.Tables, Table{t.name, rows})
	}
	p, done := newPass(clock.Now(ctx)), 0
	for _, t := range a.tables {
		err := a.pages(ctx, t, t.name, func(rows [][]any) error {
			for _, values := range rows {
				p.row(t, values)
			}
			done += len(rows)
			a.progress(Progress{Rows: done, Of: total})
			return nil
		})
		if err != nil {
			return nil, err
		}
		next, err := a.next(ctx, t)
		if err != nil {
			return nil, err
		}
		if next > 1 {
			report.Sequences = append(report.Sequences, Sequence{t.name, next})
		}
	}
	p.compare()
	a.removed = map[int64]bool{}
	if c := p.changes[subject{"used_password_reset_tokens", "", removed}]; c != nil {
		for _, id := range c.IDs {
			a.removed[id] = true
		}
	}
	report.Changes, report.Notes, report.Problems = sorted(p.changes), sorted(p.notes), p.problems
	if err := a.noteExtras(ctx, report); err != nil {
		return nil, err
	}
	slices.SortStableFunc(report.Problems, func(x, y Problem) int {
		return cmp.Or(cmp.Compare(x.Table, y.Table), cmp.Compare(x.Column, y.Column), cmp.Compare(x.Reason, y.Reason), cmp.Compare(x.ID, y.ID))
	})
	return report, nil
}

func sorted(found map[subject]*Change) []Change {
	out := make([]Change, 0, len(found))
	for _, c := range found {
		slices.Sort(c.IDs)
		out = append(out, *c)
	}
	slices.SortFunc(out, func(x, y Change) int {
		return cmp.Or(cmp.Compare(x.Table, y.Table), cmp.Compare(x.Column, y.Column), cmp.Compare(x.What, y.What))
	})
	return out
}

func (a *adoption) progress(p Progress) {
	if a.opts.Progress != nil {
		a.opts.Progress(p)
	}
}

// pageSize keeps the parameters of an INSERT below SQLite's 32766.
const pageSize = 2000

// pages reads the rows of a table in the order of their ids.
func (a *adoption) pages(ctx context.Context, t *table, from string, visit func(rows [][]any) error) error {
	columns := make([]string, len(t.columns))
	for i, c := range t.columns {
		switch {
		case c.found == "":
			columns[i] = "NULL"
		case a.db.Dialect() == dialect.SQLite:
			columns[i] = "+" + c.name // Without a declared type, the driver gives each value as it is stored.
		case c.kind == object:
			columns[i] = c.name + "::text"
		default:
			columns[i] = c.name
		}
	}
	query := "SELECT " + strings.Join(columns, ", ") + " FROM " + from
	order := fmt.Sprintf(" ORDER BY id LIMIT %d", pageSize)
	rows, err := page(ctx, a.db, len(columns), query+order)
	for err == nil && len(rows) > 0 {
		last, ok := rows[len(rows)-1][0].(int64)
		if !ok {
			return fmt.Errorf("%w: %s.id is no whole number", ErrUnrecognised, t.name)
		}
		t.last = last
		if err := visit(rows); err != nil {
			return err
		}
		if len(rows) < pageSize {
			return nil
		}
		rows, err = page(ctx, a.db, len(columns), query+" WHERE id > CAST($1 AS bigint)"+order, last)
	}
	return err
}

// Run adopts the database that the report is about. It stops when it finds anything else than the report says.
func Run(ctx context.Context, db *database.DB, m *migration.Migrator, report *Report, opts Options) (result Result, err error) {
	if len(report.Problems) > 0 {
		return Result{}, ErrProblems
	}
	saved, err := backUp(ctx, db)
	if err != nil {
		return Result{}, err
	}
	committing := false
	err = db.InSchemaTx(ctx, func(ctx context.Context) error {
		committing = false
		a := &adoption{db: db, opts: opts}
		if err := a.lock(ctx, report); err != nil {
			return err
		}
		found, err := a.inspect(ctx)
		if err != nil {
			return err
		}
		if err := saved.check(ctx, db); err != nil {
			return err
		}
		if !reflect.DeepEqual(found, report) {
			return ErrChanged
		}
		if err := a.replace(ctx, m, found); err != nil {
			return err
		}
		committing = true
		return nil
	})
	if err != nil {
		if errors.Is(err, database.ErrCommitUnknown) {
			return Result{Backup: saved.path}, err
		}
		if committing { // and was told that it failed, as on a full disk
			err = fmt.Errorf("nothing was changed: %w", err)
		}
		return Result{}, errors.Join(err, saved.remove())
	}
	// The planner knows nothing of the new tables yet. Without this it learns in time.
	if db.Dialect() == dialect.Postgres {
		_ = execute(ctx, db, "ANALYZE users, files, used_password_reset_tokens, blacklisted_tokens")
	} else {
		_ = execute(ctx, db, "ANALYZE")
	}
	return Result{Backup: saved.path}, nil
}

// lock keeps everybody else from the tables, and waits for them only so long.
func (a *adoption) lock(ctx context.Context, report *Report) error {
	if a.db.Dialect() != dialect.Postgres {
		return nil // The transaction has begun as a writer's.
	}
	tables := make([]string, 0, len(report.Tables))
	for _, t := range report.Tables {
		tables = append(tables, t.Name)
	}
	err := execute(ctx, a.db,
		"SET TRANSACTION ISOLATION LEVEL READ COMMITTED", // to see what was committed while it waited
		"SET LOCAL statement_timeout = 0",
		"SET LOCAL idle_in_transaction_session_timeout = 0",
		"SET LOCAL lock_timeout = '10s'",
		"LOCK TABLE "+strings.Join(tables, ", ")+" IN ACCESS EXCLUSIVE MODE",
	)
	const undefinedTable = "42P01"
	if e, ok := errors.AsType[*database.Error](err); ok && e.Code == undefinedTable {
		return ErrChanged
	}
	if errors.Is(err, database.ErrBusy) {
		return fmt.Errorf("%w: %w", ErrInUse, err)
	}
	return err
}

// prefix is that of the old tables while the new ones are filled.
const prefix = "adopt_old_"

// replace puts our tables in the place of the old ones.
func (a *adoption) replace(ctx context.Context, m *migration.Migrator, report *Report) error {
	away, err := a.away(ctx)
	if err != nil {
		return err
	}
	for _, t := range a.tables {
		away = append(away, "ALTER TABLE "+t.name+" RENAME TO "+prefix+t.name)
	}
	if err := execute(ctx, a.db, away...); err != nil {
		return fmt.Errorf("move the old tables out of the way: %w", err)
	}
	if err := m.Install(ctx); err != nil {
		return err
	}
	if err := a.copy(ctx); err != nil {
		return err
	}
	for _, s := range report.Sequences {
		if err := a.proceed(ctx, s); err != nil {
			return fmt.Errorf("set where the ids of %s go on: %w", s.Table, err)
		}
	}
	if err := a.check(ctx); err != nil {
		return err
	}
	if err := a.grant(ctx); err != nil {
		return fmt.Errorf("give the new tables the owner and the grants of the old ones: %w", err)
	}
	var drops []string
	for _, t := range slices.Backward(a.tables) { // what refers to others goes first
		drops = append(drops, "DROP TABLE "+prefix+t.name)
	}
	drops = append(drops, a.shape.leftover...)
	if a.shape.alembic {
		drops = append(drops, "DROP TABLE "+alembicTable)
	}
	if err := execute(ctx, a.db, drops...); err != nil {
		return fmt.Errorf("drop the old tables: %w", err)
	}
	return nil
}

// copy writes every row into its new table.
func (a *adoption) copy(ctx context.Context) error {
	p, done, total := newPass(clock.Now(ctx)), 0, 0
	p.removed = a.removed
	for _, t := range a.tables {
		total += t.rows
	}
	for _, t := range a.tables {
		err := a.pages(ctx, t, prefix+t.name, func(rows [][]any) error {
			args, n := make([]any, 0, len(rows)*len(t.into)), 0
			for _, values := range rows {
				if converted := p.row(t, values); converted != nil {
					args = append(args, converted...)
					n++
				}
			}
			if n > 0 {
				if err := execute1(ctx, a.db, insert(a.db.Dialect(), t, n), args...); err != nil {
					return fmt.Errorf("copy %s: %w", t.name, err)
				}
			}
			done += len(rows)
			a.progress(Progress{Written: true, Rows: done, Of: total})
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func insert(name string, t *table, rows int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "INSERT INTO %s (%s) VALUES ", t.name, strings.Join(t.into, ", "))
	for i := range rows * len(t.into) {
		switch {
		case i == 0:
			b.WriteByte('(')
		case i%len(t.into) == 0:
			b.WriteString("), (")
		default:
			b.WriteString(", ")
		}
		if name == dialect.Postgres {
			fmt.Fprintf(&b, "$%d", i+1)
		} else {
			b.WriteByte('?') // SQLite would look for each number among those before.
		}
	}
	b.WriteByte(')')
	return b.String()
}

// check makes sure that every row has arrived.
func (a *adoption) check(ctx context.Context) error {
	for _, t := range a.tables {
		got, err := one[int](ctx, a.db, "SELECT count(*) FROM "+t.name)
		if err != nil {
			return err
		}
		want := t.rows
		if t.name == "used_password_reset_tokens" {
			want -= len(a.removed)
		}
		if got != want {
			return fmt.Errorf("%d rows of %s were to be copied, and there are %d: nothing was changed", want, t.name, got)
		}
	}
	if a.db.Dialect() == dialect.Postgres {
		return nil
	}
	lost, err := one[int](ctx, a.db, "SELECT count(*) FROM pragma_foreign_key_check")
	if err == nil && lost > 0 {
		err = fmt.Errorf("%d rows refer to others that are not there: %w", lost, database.ErrForeignKey)
	}
	return err
}

func execute(ctx context.Context, db *database.DB, statements ...string) error {
	for _, statement := range statements {
		if err := execute1(ctx, db, statement); err != nil {
			return err
		}
	}
	return nil
}

func execute1(ctx context.Context, db *database.DB, statement string, args ...any) error {
	_, err := db.ExecContext(ctx, statement, args...)
	return err
}

// page reads all rows of a query.
func page(ctx context.Context, db *database.DB, columns int, query string, args ...any) (all [][]any, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		values, targets := make([]any, columns), make([]any, columns)
		for i := range values {
			targets[i] = &values[i]
		}
		if err := rows.Scan(targets...); err != nil {
			return nil, err
		}
		all = append(all, values)
	}
	return all, rows.Err()
}

// list reads the first column of a query.
func list[T any](ctx context.Context, db *database.DB, query string, args ...any) (values []T, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
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

// one reads the one value of a query.
func one[T any](ctx context.Context, db *database.DB, query string, args ...any) (value T, err error) {
	values, err := list[T](ctx, db, query, args...)
	if err == nil && len(values) != 1 {
		err = fmt.Errorf("%d rows in place of one", len(values))
	}
	if err != nil {
		return value, err
	}
	return values[0], nil
}
