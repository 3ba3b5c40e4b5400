package models

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"entgo.io/ent/dialect"
	"github.com/google/uuid"

	"github.com/reviewpoint/models/ent/file"
	"github.com/reviewpoint/models/ent/user"
	"github.com/reviewpoint/models/internal/policy"
)

// ImportFormat is what a file of rows looks like, one to import and one that is exported.
type ImportFormat int

// The formats, in UTF-8.
const (
	// ImportCSV is RFC 4180: commas, a header that names the columns in any order and case, quotes around what
	// holds a comma, a quote or a line break. The empty cell is a value that is missing.
	//
	// No cell of an export is a formula of a spreadsheet: the empty text, what begins with = + - @, a tab,
	// CR, LF or the full-width form of the first four, whatever number of apostrophes stands before, and
	// what is apostrophes alone have one apostrophe more, which an import takes away (OWASP, CSV Injection).
	// A CRLF in a value has one CR more, for an import takes the one before an LF away, as encoding/csv does.
	ImportCSV ImportFormat = iota
	// ImportJSONLines is one JSON object on each line. null is a value that is missing.
	ImportJSONLines
)

// ImportConflict says what an import does with a row that is there, but with other values.
type ImportConflict int

// What becomes of such a row. One of which nothing differs is always skipped.
const (
	ConflictRefuse ImportConflict = iota // it is refused, with the reason
	ConflictSkip                         // it is skipped
	ConflictUpdate                       // what the file gives is set where it differs, as by the client's update
)

// ImportOptions says how an import reads a file, and what it does with it. The zero value imports CSV.
type ImportOptions struct {
	Format     ImportFormat
	OnConflict ImportConflict
	// DryRun reports what an import would do, and only reads.
	DryRun bool
	// BatchSize is how many rows go in one transaction, 1 or more. Defaults to 1000; large rows make it fewer.
	BatchSize int
	// Refused, if it is not nil, is called with each row that was refused, in order, when its batch is done.
	// Its error ends the import after that batch.
	Refused func(RefusedRow) error
	// Progress, if it is not nil, is called after each batch with what was done until then.
	Progress func(ImportReport)
}

// ImportReport says what an import did with the rows that are settled: those of whole batches.
type ImportReport struct {
	Read     int          `json:"read"`     // the four below together
	Imported int          `json:"imported"` // rows that were made; by a dry run, that would be, as with the next
	Updated  int          `json:"updated"`
	Skipped  int          `json:"skipped"` // rows that are there already, and with ConflictSkip those that differ, too
	Refused  int          `json:"refused"`
	Rows     []RefusedRow `json:"rows"` // of the refused ones, the first 100
	Line     int          `json:"line"` // on which the last one begins
}

// RefusedRow says why a row was not imported. It holds nothing of the row.
type RefusedRow struct {
	Line   int    `json:"line"`  // on which it begins; the first of the file is 1
	Field  string `json:"field"` // the column, or empty when it is the whole row
	Reason string `json:"reason"`
}

const (
	importBatch      = 1000
	importBatchBytes = 4 << 20 // of text, after which a batch is done before it has all its rows
	importLine       = 1 << 20 // the longest row
	importReadAhead  = 4 << 10 // what a csv.Reader may have read of the next row
	importRows       = 100     // refused ones in a report
)

// ImportUsers makes an account of each row. The columns are those of ExportUsers, of which only email must
// be there; is_active is true and is_admin false where they are not given, times are RFC 3339, preferences a JSON
// object of at most 996 levels on SQLite. What a value must be is as by the client, addresses in their
// normal form included. A hash is taken in the forms that Authenticate knows: Argon2id's in PHC form, and
// bcrypt's. An account without one has no password: ResetPassword gives it the first. Values are taken as
// they stand, updated_at included, so that links of the other system hold; nothing imported is an id.
//
// A row meets the account with its public_id, or where it gives none, the one with its address that is not
// deleted. When all that it gives is there, updated_at aside, it is skipped, so the same file may be
// imported again after an interruption: the rest is made. Else OnConflict decides. What a row does not give
// is left as it is; created_at never changes, and last_login_at and tokens_valid_after only move on: the
// row is there when they are later. Rows of a batch that are new are made before others are updated.
//
// A row that cannot be imported is refused with its line and the reason, and the others go on: a value that
// is none, an address that another account has. A column that is not known is an error before anything
// is read; on a line of JSON it refuses the row, and of a name that is there twice the last value counts. A
// row that is longer than 1 MiB ends the import after the rows before it, as does a quote in CSV that is
// not where it belongs, for nobody knows where the next row begins: see csv.ParseError, which has the line.
//
// Each batch is one transaction, with the rows of the audit trail. When it fails, or ctx ends, or the
// process is killed, whole batches are there; the report says how far it came. A dry run takes no lock and
// runs on a store WithReadOnly, too; it keeps 45 to 65 bytes in memory of each row that would be made or
// updated. Of two rows of the file about one account, in different batches, it takes one of 65536
// differences for none, and a last_login_at or tokens_valid_after that is earlier for one. Else memory does not grow with the file. Hooks that were added to the client run for updates alone.
//
// The system may; administrators may, without hashed_password, is_deleted, deleted_at, last_login_at,
// tokens_valid_after and updated_at; others get ErrForbidden. It may run inside InTx, in whose transaction
// all batches are then.
func (s *Store) ImportUsers(ctx context.Context, r io.Reader, opts ImportOptions) (*ImportReport, error) {
	return s.importRows(ctx, "ImportUsers", portableUsers, r, opts)
}

// ImportFiles records a file of each row, as ImportUsers does accounts. The columns are those of
// ExportFiles; user_email may be given in place of user_public_id, and is the address of an account that is
// not deleted. Owner, filename and content_type must be there; size is 0 where it is not given.
//
// A row meets the file with its public_id. One that gives none has one that follows from all that it gives,
// so that it is not made again with the same file: rows that are alike are one.
//
// The system may; administrators may, without updated_at; others get ErrForbidden. It may run inside InTx, in
// whose transaction all batches are then.
func (s *Store) ImportFiles(ctx context.Context, r io.Reader, opts ImportOptions) (*ImportReport, error) {
	return s.importRows(ctx, "ImportFiles", portableFiles, r, opts)
}

func (s *Store) importRows(ctx context.Context, method string, table *portableTable, r io.Reader, opts ImportOptions) (*ImportReport, error) {
	i := &importer{Store: s, table: table, opts: opts, statements: map[columnSet]string{}, report: ImportReport{Rows: []RefusedRow{}}}
	i.json = json.NewEncoder(&i.texts)
	switch {
	case opts.BatchSize < 0:
		return &i.report, fmt.Errorf("%s: a batch cannot have %d rows", method, opts.BatchSize)
	case opts.BatchSize == 0:
		i.opts.BatchSize = importBatch
	}
	if opts.Format != ImportCSV && opts.Format != ImportJSONLines {
		return &i.report, fmt.Errorf("%s: there is no format %d", method, opts.Format)
	}
	if opts.OnConflict < ConflictRefuse || opts.OnConflict > ConflictUpdate {
		return &i.report, fmt.Errorf("%s: there is no way %d with conflicts", method, opts.OnConflict)
	}
	if opts.DryRun {
		i.dry = newDryRows()
	}
	err := i.run(ctx, r)
	return &i.report, err
}

// importer is one run of an import.
type importer struct {
	*Store

	table  *portableTable
	opts   ImportOptions
	report ImportReport

	// Of the batch.
	rows    []importRow
	given   columnSet    // by any of the rows
	refused []RefusedRow // before the database was asked
	bytes   int
	line    int

	statements map[columnSet]string // that make rows which are given these columns
	texts      bytes.Buffer         // values of the rows that are being made, as JSON
	json       *json.Encoder        // writes to texts
	written    []byte               // the tuples of these rows
	changes    []byte               // of these rows, for the trail

	dry *dryRows // nil unless it is a dry run
}

// importRow is a row of the file.
type importRow struct {
	portableRow

	line, bytes int
	owner       string // user_email of a file
	ownerID     int    // of a file
	publicID    string // of a row that is given none
	outcome     outcome
	refused     *RefusedRow
	changes     []byte // for the trail
}

// outcome is what became of a row.
type outcome int

const (
	undecided outcome = iota
	imported
	updated
	skipped
)

func (i *importer) refusal(row *importRow, column int, reason string) *RefusedRow {
	return &RefusedRow{row.line, i.table.columns[column].name, reason}
}

// give gives the row a value of the file, or returns why the row is refused. The column after the last
// is ownerByEmail.
func (i *importer) give(row *importRow, column int, value string) *RefusedRow {
	if column == len(i.table.columns) {
		normal, err := normalEmail(value)
		if err != nil {
			return &RefusedRow{row.line, ownerByEmail, reason(err)}
		}
		row.owner = normal
		return nil
	}
	normal, err := i.table.columns[column].normal(value)
	if err != nil {
		return i.refusal(row, column, reason(err))
	}
	row.set(column, normal)
	return nil
}

func (i *importer) run(ctx context.Context, r io.Reader) error {
	var must columnSet
	must = must.with(i.table.must[0])
	if err := i.allowed(ctx, must); err != nil { // before anything is read
		return err
	}
	limit := &io.LimitedReader{R: r, N: math.MaxInt64}
	file := bufio.NewReaderSize(limit, importReadAhead)
	begin, _ := file.Peek(3) // What could not be read is told later.
	switch {
	case string(begin) == "\uFEFF":
		if _, err := file.Discard(3); err != nil {
			return err
		}
	case bytes.HasPrefix(begin, []byte("\xff\xfe")), bytes.HasPrefix(begin, []byte("\xfe\xff")):
		return i.invalidFile("is UTF-16: save the file as UTF-8")
	}
	if i.opts.Format == ImportJSONLines {
		return i.batches(ctx, i.jsonSource(file))
	}
	source, given, err := i.csvSource(limit, file)
	if err != nil {
		return err
	}
	if err := i.allowed(ctx, given); err != nil {
		return err
	}
	return i.batches(ctx, source)
}

// allowed asks the rules of the schema, as the client does, for rows that are given these columns.
func (i *importer) allowed(ctx context.Context, given columnSet) error {
	v, err := policy.Asking(ctx)
	if err != nil {
		return err
	}
	for n, column := range i.table.columns {
		if given.has(n) && column.system && !v.System {
			return policy.Deny("%s may not set %s of %s", v, column.name, i.table.entity)
		}
	}
	if i.table == portableUsers {
		return user.Policy.EvalMutation(ctx, i.User.Create().Mutation())
	}
	return file.Policy.EvalMutation(ctx, i.File.Create().Mutation()) // A person creates files for nobody else, and this has no owner.
}

// importSource fills a row, or says why it is refused; io.EOF after the last.
type importSource func(row *importRow) (*RefusedRow, error)

func (i *importer) batches(ctx context.Context, next importSource) error {
	for {
		var row importRow
		refused, err := next(&row)
		switch {
		case errors.Is(err, io.EOF):
			return i.batch(ctx)
		case err != nil:
			if failed := i.batch(ctx); failed != nil && !errors.Is(err, failed) {
				err = errors.Join(failed, err)
			}
			return err
		case refused == nil:
			refused = i.refuse(ctx, &row)
		}
		if refused != nil {
			i.refused = append(i.refused, *refused)
		} else {
			i.rows = append(i.rows, row)
			i.given |= row.given
		}
		i.line, i.bytes = row.line, i.bytes+row.bytes
		if len(i.rows)+len(i.refused) < i.opts.BatchSize && i.bytes < importBatchBytes {
			continue
		}
		if err := i.batch(ctx); err != nil {
			return err
		}
	}
}

// refuse says why a row cannot be imported whose values can be.
func (i *importer) refuse(ctx context.Context, row *importRow) *RefusedRow {
	t := i.table
	if t == portableFiles && row.owner != "" {
		if row.given.has(columnOwner) {
			return &RefusedRow{row.line, ownerByEmail, "is given beside user_public_id: give one"}
		}
	}
	for _, n := range t.must {
		if !row.given.has(n) && (n != columnOwner || row.owner == "") {
			return i.refusal(row, n, "is missing")
		}
	}
	latest := i.moment(ctx).Add(clockSkew)
	for _, n := range []int{t.createdAt, t.updatedAt, t.deletedAt} {
		if row.given.has(n) && at(row.values[n]).After(latest) {
			return i.refusal(row, n, "must be a time that is not in the future")
		}
	}
	if t == portableFiles {
		return nil
	}
	preferences := t.column(user.FieldPreferences)
	switch deleted := i.deleted(&row.portableRow); {
	case row.given.has(t.deletedAt) && !deleted:
		return i.refusal(row, t.deletedAt, "goes with is_deleted")
	case deleted && !row.given.has(columnPublicID):
		return i.refusal(row, columnPublicID, "is missing: a deleted account is told by it alone")
	case i.Dialect() == dialect.SQLite && deeper(row.values[preferences], sqliteDepth):
		return i.refusal(row, preferences, fmt.Sprintf("is nested deeper than %d levels", sqliteDepth))
	}
	return nil
}

func (i *importer) deleted(row *portableRow) bool {
	return i.table.isDeleted >= 0 && row.values[i.table.isDeleted] == "true"
}

// at reads a time in its normal form.
func at(value string) time.Time {
	t, _ := time.Parse(time.RFC3339Nano, value)
	return t
}

// batch settles the rows that have been read.
func (i *importer) batch(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := i.settle(ctx); err != nil {
		return err
	}
	refused := i.refused
	i.report.Read += len(i.rows) + len(refused)
	for n := range i.rows {
		switch row := &i.rows[n]; row.outcome {
		case imported:
			i.report.Imported++
		case updated:
			i.report.Updated++
		case skipped:
			i.report.Skipped++
		default:
			refused = append(refused, *row.refused)
		}
	}
	slices.SortStableFunc(refused, func(a, b RefusedRow) int { return a.Line - b.Line })
	i.report.Refused += len(refused)
	i.report.Line = max(i.report.Line, i.line)
	i.report.Rows = append(i.report.Rows, refused[:min(len(refused), importRows-len(i.report.Rows))]...)
	clear(i.rows)
	i.rows, i.refused, i.bytes, i.given = i.rows[:0], refused[:0], 0, 0
	if i.opts.Refused != nil {
		for _, row := range refused {
			if err := i.opts.Refused(row); err != nil {
				return err
			}
		}
	}
	if i.opts.Progress != nil {
		report := i.report
		report.Rows = slices.Clone(report.Rows)
		i.opts.Progress(report)
	}
	return nil
}

// settle decides what becomes of each row of the batch, and does it.
func (i *importer) settle(ctx context.Context) (err error) {
	if len(i.rows) == 0 {
		return nil
	}
	now := i.moment(ctx)
	if i.dry != nil {
		return i.decide(ctx, now)
	}
	for range 5 { // Another one may take a value that is unique between the look and the update.
		err = i.InTx(ctx, func(ctx context.Context) error { return i.decide(ctx, now) })
		if !errors.Is(err, ErrUnique) && !errors.Is(err, ErrNotFound) || i.db.InTransaction(ctx) {
			break
		}
	}
	return err
}

// decide decides and does once. The transaction that it runs in may be tried again.
func (i *importer) decide(ctx context.Context, now time.Time) error {
	if err := i.allowed(ctx, i.given); err != nil {
		return err
	}
	todo := make([]*importRow, 0, len(i.rows))
	for n := range i.rows {
		i.rows[n].outcome, i.rows[n].refused = undecided, nil
		todo = append(todo, &i.rows[n])
	}
	var err error
	if i.table == portableFiles {
		if todo, err = i.findOwners(ctx, todo); err != nil {
			return err
		}
	}
	for _, row := range todo {
		if row.publicID == "" && !row.given.has(columnPublicID) {
			row.publicID = i.newPublicID(row)
		}
	}
	var there *thereRows
	for range 10 { // as long as others make and remove what the rows meet
		if i.dry == nil {
			if todo, err = i.insert(ctx, todo, now); err != nil || len(todo) == 0 {
				return err
			}
		}
		if i.dry == nil || there == nil {
			if there, err = i.look(ctx, todo); err != nil {
				return err
			}
		}
		if i.dry != nil {
			todo = i.tryInsert(todo, there, now)
		}
		if todo, err = i.meet(ctx, todo, there, now); err != nil {
			return err
		}
		if len(todo) == 0 {
			if i.dry != nil {
				i.dry.keep(i.table, there)
			}
			return nil
		}
	}
	return ErrSerialization
}

// newPublicID is random, or for a file follows from what it is given.
func (i *importer) newPublicID(row *importRow) string {
	if i.table == portableUsers {
		return user.DefaultPublicID().String()
	}
	values := fmt.Sprintf("%q", row.values[columnOwner:i.table.updatedAt])
	return uuid.NewSHA1(uuid.MustParse(row.values[columnOwner]), []byte(values)).String()
}

// meet decides what becomes of rows that were not made, for what is there. It returns those that could be
// made now.
func (i *importer) meet(ctx context.Context, rows []*importRow, there *thereRows, now time.Time) (free []*importRow, err error) {
	for _, row := range rows {
		met, rival := there.meets(i, row)
		if met == nil && rival == nil {
			free = append(free, row)
			continue
		}
		if met == nil {
			row.refused = i.taken(row, columnEmail)
			continue
		}
		differs := i.differs(row, met)
		switch {
		case differs == 0, i.opts.OnConflict == ConflictSkip:
			row.outcome = skipped
		case i.opts.OnConflict == ConflictRefuse && !i.deleted(&row.portableRow) && there.byEmail[row.values[columnEmail]] != nil:
			row.refused = i.taken(row, columnEmail)
		case i.opts.OnConflict == ConflictRefuse:
			row.refused = i.taken(row, columnPublicID)
		default:
			if row.refused = i.unchangeable(row, met, differs, there); row.refused != nil {
				continue
			}
			if i.dry == nil {
				if err := i.update(ctx, met.id, row, differs); err != nil {
					return nil, err
				}
			}
			there.update(i, met, row, differs, now)
			row.outcome = updated
		}
	}
	return free, nil
}

func (i *importer) taken(row *importRow, column int) *RefusedRow {
	what := "address"
	if column == columnPublicID {
		what = "public id"
	}
	return i.refusal(row, column, "is the "+what+" of another "+i.table.row+" or of an earlier row")
}

// differs returns the columns of the row that would be set. updated_at follows from the others.
func (i *importer) differs(row *importRow, met *thereRow) (differs columnSet) {
	for n, column := range i.table.columns {
		switch {
		case !row.given.has(n) || n == columnPublicID || n == i.table.updatedAt || met.has(i.table, n, row.values[n]):
		case column.forward && met.given.has(n) && met.mark == nil && !at(row.values[n]).After(at(met.values[n])):
		default:
			differs = differs.with(n)
		}
	}
	return differs
}

// unchangeable says why a row that is there cannot be given what differs.
func (i *importer) unchangeable(row *importRow, met *thereRow, differs columnSet, there *thereRows) *RefusedRow {
	const never = "is another one, and never changes"
	t := i.table
	for n, column := range t.columns {
		if differs.has(n) && column.once {
			return i.refusal(row, n, never)
		}
	}
	if t.email < 0 {
		return nil
	}
	if differs.has(t.deletedAt) && met.is(t, t.isDeleted) {
		return i.refusal(row, t.deletedAt, never)
	}
	deleted := met.is(t, t.isDeleted)
	if differs.has(t.isDeleted) {
		deleted = i.deleted(&row.portableRow)
	}
	if rival := there.byEmail[row.values[columnEmail]]; !deleted && rival != nil && rival != met {
		return i.taken(row, columnEmail)
	}
	return nil
}
