// Package transfer copies all rows of one database into another, of the same kind or the other, and
// compares the two.
//
// Rows go as they are, below the client: ids, times and the audit trail itself are copied, and no hook, policy
// or audit row comes of it. The tables and columns are those of the generated schema. A copy that was
// interrupted goes on after the rows that are there, once these are found to be the source's.
package transfer

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql/schema"

	"github.com/reviewpoint/models/internal/database"
)

// What Copy and Verify answer of databases that are not alike; their errors name the first row.
var (
	ErrDifferent = errors.New("the databases differ")
	ErrRefused   = errors.New("the target does not take a row")
	ErrNotAlone  = errors.New("somebody else writes to the target")
)

// Report says of each table how it stands, in the order in which tables are copied.
type Report struct {
	Tables []Table
}

// Table is what a Report says of one.
type Table struct {
	Name       string
	Rows       int64  // of the source
	Found      int64  // rows of the target: when both were compared, or before anything was copied
	Copied     int64  // by this call
	Sum        string // SHA-256 of the source's rows, in hexadecimal; only when both were compared
	TargetSum  string
	Difference *Difference // the first, or nil
}

// Difference is how a row of the target is not that of the source.
type Difference struct {
	ID   int64  // of the row
	What string // without any value
}

// Progress is told what is done, and how many rows of how many.
type Progress func(verb string, rows, total int64)

// transfer is one call.
type transfer struct {
	from     *state
	to       *database.DB
	tables   []*table
	report   *Report
	progress Progress
	last     map[string]int64 // the highest id that the source ever gave
	total    int64
}

// begin takes the state of the source that is copied or compared.
func begin(ctx context.Context, from, to *database.DB, all []*schema.Table, progress Progress) (*transfer, error) {
	tables, err := order(all)
	if err != nil {
		return nil, err
	}
	source, err := snapshot(ctx, from)
	if err != nil {
		return nil, err
	}
	t := &transfer{from: source, to: to, tables: tables, report: &Report{Tables: make([]Table, len(tables))}, progress: progress, last: make(map[string]int64)}
	for i, table := range tables {
		row := &t.report.Tables[i]
		row.Name = table.name
		row.Rows, err = source.number(ctx, fmt.Sprintf("SELECT count(*) FROM %q", table.name))
		if err == nil {
			t.last[table.name], err = lastID(ctx, source, table)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("read %s of %s: %w", table.name, from.Name(), err), source.close())
		}
		t.total += row.Rows
	}
	return t, nil
}

func (t *transfer) tell(verb string, rows, total int64) {
	if t.progress != nil {
		t.progress(verb, rows, total)
	}
}

// Copy copies what the target lacks, and compares both then. from is open for reading only, and to is up to
// date. Rows of the target must be the source's first ones: they are compared before anything is written, for
// a row that is another one may be somebody else's work. Each batch is a transaction; when it fails,
// the report says what was committed. It returns ErrDifferent, ErrRefused, and ErrNotAlone when there are
// rows at the end of a table that it has not written, as those of another copy.
//
// The source is read in one transaction from beginning to end, so it is one state of it that is copied, whatever
// is written there meanwhile. PostgreSQL cannot vacuum rows that are deleted meanwhile, and SQLite's WAL grows;
// without WAL its writers wait. The target is nobody else's to write to.
func Copy(ctx context.Context, from, to *database.DB, tables []*schema.Table, progress Progress) (report *Report, err error) {
	t, err := begin(ctx, from, to, tables, progress)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.from.close()) }()
	if err := checkEncoding(ctx, to); err != nil {
		return t.report, err
	}
	ends, err := t.check(ctx, now(to))
	if err != nil {
		return t.report, err
	}
	if err := t.raiseSequences(ctx); err != nil {
		return t.report, err
	}
	copied := int64(0)
	for i, table := range t.tables {
		r := newReader(t.from, table, ends[i], kind.settle)
		for {
			after := r.last
			if err := r.fill(ctx); err != nil {
				return t.report, err
			}
			if len(r.batch) == 0 {
				break
			}
			n, err := t.write(ctx, table, after, r.batch)
			copied += int64(n)
			t.report.Tables[i].Copied += int64(n)
			if err != nil {
				return t.report, err
			}
			t.tell("copied", copied, t.total-t.found())
		}
	}
	return t.report, t.compare(ctx, now(to))
}

// Preview finds out what Copy would copy, and changes nothing. to is nil for a database without rows.
func Preview(ctx context.Context, from, to *database.DB, tables []*schema.Table, progress Progress) (report *Report, err error) {
	t, err := begin(ctx, from, to, tables, progress)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.from.close()) }()
	if to != nil {
		_, err = t.check(ctx, now(to))
	}
	return t.report, err
}

// Verify compares all rows of both, which are open for reading only, each as it is at one moment. It returns
// ErrDifferent.
func Verify(ctx context.Context, from, to *database.DB, tables []*schema.Table, progress Progress) (report *Report, err error) {
	t, err := begin(ctx, from, to, tables, progress)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.from.close()) }()
	target, err := snapshot(ctx, to)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, target.close()) }()
	return t.report, t.compare(ctx, target)
}

func (t *transfer) found() (rows int64) {
	for _, table := range t.report.Tables {
		rows += table.Found
	}
	return rows
}

// check compares the rows that the target has with the first ones of the source, and returns the last id of
// each table.
func (t *transfer) check(ctx context.Context, target *state) (ends []int64, err error) {
	ends = make([]int64, len(t.tables))
	done := int64(0)
	for i, table := range t.tables {
		row := &t.report.Tables[i]
		source, there := newReader(t.from, table, first, kind.canonical), newReader(target, table, first, kind.canonical)
		ends[i] = first
		for {
			to, err := there.next(ctx)
			if err != nil {
				return nil, err
			}
			if to == nil {
				break
			}
			from, err := source.next(ctx)
			if err != nil {
				return nil, err
			}
			if what := table.difference(from, to); what != "" {
				row.Difference = &Difference{to.id, what}
				return nil, fmt.Errorf("%w: %s %s of %s %s: nothing was written; name an empty database, or the one that this source was being copied to",
					ErrDifferent, table.name, row.Difference.id(), t.to.Name(), what)
			}
			ends[i], done, row.Found = to.id, done+1, row.Found+1
			t.tell("checked", done, 0)
		}
	}
	return ends, nil
}

func (d *Difference) id() string { return fmt.Sprintf("id %d", d.ID) }

// difference says how a row of the target is not that of the source, or nothing.
func (t *table) difference(from, to *record) string {
	switch {
	case from == nil || from.id > to.id:
		return "is not in the source"
	case from.id < to.id:
		return fmt.Sprintf("comes where id %d is missing", from.id)
	}
	for i, column := range t.columns {
		if from.cells[i] != to.cells[i] {
			return "differs in " + column.name
		}
	}
	return ""
}

// compare compares all rows.
func (t *transfer) compare(ctx context.Context, target *state) error {
	done := int64(0)
	var different []string
	for i, table := range t.tables {
		row := &t.report.Tables[i]
		err := t.compareTable(ctx, table, row, target, func() {
			done++
			t.tell("compared", done, t.total)
		})
		if err != nil {
			return err
		}
		if row.Difference == nil {
			last, err := lastID(ctx, target, table)
			if err != nil {
				return err
			}
			if last < t.last[table.name] {
				row.Difference = &Difference{last + 1, "would be given again: copy to the end first"}
			}
		}
		if d := row.Difference; d != nil {
			different = append(different, table.name+" "+d.id()+" "+d.What)
		}
	}
	if len(different) > 0 {
		return fmt.Errorf("%w: %s", ErrDifferent, strings.Join(different, "; "))
	}
	return nil
}

func (t *transfer) compareTable(ctx context.Context, table *table, out *Table, target *state, tell func()) error {
	source, there := newReader(t.from, table, first, kind.canonical), newReader(target, table, first, kind.canonical)
	fromSum, toSum := newSum(), newSum()
	from, err := source.next(ctx)
	if err != nil {
		return err
	}
	to, err := there.next(ctx)
	if err != nil {
		return err
	}
	differs := func(id int64, what string) {
		if out.Difference == nil {
			out.Difference = &Difference{id, what}
		}
	}
	for from != nil || to != nil {
		isFrom, isTo := to == nil || from != nil && from.id <= to.id, from == nil || to != nil && to.id <= from.id
		switch {
		case !isTo:
			differs(from.id, "is missing in the target")
		case !isFrom:
			differs(to.id, "is not in the source")
		default:
			if what := table.difference(from, to); what != "" {
				differs(from.id, what)
			}
		}
		if isFrom {
			fromSum.add(from.cells)
			tell()
			if from, err = source.next(ctx); err != nil {
				return err
			}
		}
		if isTo {
			toSum.add(to.cells)
			if to, err = there.next(ctx); err != nil {
				return err
			}
		}
	}
	out.Rows, out.Found, out.Sum, out.TargetSum = fromSum.rows, toSum.rows, fromSum.String(), toSum.String()
	return nil
}

// write writes rows after an id in one transaction. If the target does not take one of them, those before it
// are committed, and the error names it.
func (t *transfer) write(ctx context.Context, table *table, after int64, rows []record) (written int, err error) {
	arguments, err := table.arguments(t.to.Dialect(), rows)
	if err != nil {
		return 0, err
	}
	err = t.to.InTx(ctx, func(ctx context.Context) error {
		if err := t.alone(ctx, table, after); err != nil {
			return err
		}
		_, err := t.to.ExecContext(ctx, table.insertion(t.to.Dialect()), arguments...)
		return err
	})
	switch {
	case err == nil:
		return len(rows), nil
	case !isRefusal(err):
		return 0, fmt.Errorf("write %s of %s: %w", table.name, t.to.Name(), err)
	case len(rows) == 1:
		return 0, fmt.Errorf("%w: %s id %d: %w: mend it in the source", ErrRefused, table.name, rows[0].id, err)
	}
	half := len(rows) / 2
	if written, err = t.write(ctx, table, after, rows[:half]); err != nil {
		return written, err
	}
	more, err := t.write(ctx, table, rows[half-1].id, rows[half:])
	return written + more, err
}

// alone refuses a table that does not end with the id. Copies of one target write one after the other.
func (t *transfer) alone(ctx context.Context, table *table, after int64) error {
	if t.to.Dialect() == dialect.Postgres {
		if _, err := t.to.ExecContext(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('reviewpoint copy', 0))"); err != nil {
			return err
		}
	}
	last, err := list[int64](ctx, t.to, fmt.Sprintf("SELECT coalesce(max(%q), $1) FROM %q", table.id(), table.name), int64(first))
	if err == nil && last[0] != after {
		err = fmt.Errorf("%w: let it end, for it has added rows; then run the same again", ErrNotAlone)
	}
	return err
}

// isRefusal reports whether it is a row that a write failed for.
func isRefusal(err error) bool {
	e, ok := errors.AsType[*database.Error](err)
	if !ok {
		return false
	}
	for _, kind := range []error{database.ErrUnique, database.ErrForeignKey, database.ErrCheck, database.ErrNotNull} {
		if errors.Is(e, kind) {
			return true
		}
	}
	return strings.HasPrefix(e.Code, "22") || strings.HasPrefix(e.Code, "54") // data_exception, program_limit_exceeded
}

// lastID is the highest id that a table ever gave or has.
func lastID(ctx context.Context, s *state, t *table) (int64, error) {
	highest, err := s.number(ctx, fmt.Sprintf("SELECT max(%q) FROM %q", t.id(), t.name))
	if err != nil {
		return 0, err
	}
	if s.db.Dialect() == dialect.SQLite {
		given, err := s.number(ctx, "SELECT seq FROM sqlite_sequence WHERE name = $1", t.name)
		return max(highest, given), err
	}
	sequences, err := list[string](ctx, s, "SELECT s FROM pg_get_serial_sequence($1, $2) s WHERE s IS NOT NULL", fmt.Sprintf("%q", t.name), t.id())
	if err != nil || len(sequences) == 0 {
		return highest, err
	}
	given, err := s.number(ctx, "SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM "+sequences[0])
	if e, ok := errors.AsType[*database.Error](err); ok && e.Code == "42501" { // insufficient_privilege
		err = fmt.Errorf("%w: GRANT SELECT ON ALL SEQUENCES to the role, or pg_read_all_data", err)
	}
	return max(highest, given), err
}

// raiseSequences lets the ids of the target go on where the source's would, before the first row is
// written: no id of a row that was deleted in the source is given again, wherever a copy is interrupted.
func (t *transfer) raiseSequences(ctx context.Context) error {
	for _, table := range t.tables {
		want := t.last[table.name]
		is, err := lastID(ctx, now(t.to), table)
		if err == nil && is < want {
			err = t.raiseSequence(ctx, table, want)
		}
		if err != nil {
			return fmt.Errorf("let the ids of %s go on: %w", table.name, err)
		}
	}
	return nil
}

func (t *transfer) raiseSequence(ctx context.Context, table *table, to int64) error {
	if t.to.Dialect() == dialect.Postgres {
		_, err := t.to.ExecContext(ctx, "SELECT setval(pg_get_serial_sequence($1, $2), $3)", fmt.Sprintf("%q", table.name), table.id(), to)
		return err
	}
	return t.to.InTx(ctx, func(ctx context.Context) error {
		_, err := t.to.ExecContext(ctx, "DELETE FROM sqlite_sequence WHERE name = $1", table.name)
		if err == nil {
			_, err = t.to.ExecContext(ctx, "INSERT INTO sqlite_sequence (name, seq) VALUES ($1, $2)", table.name, to)
		}
		return err
	})
}
