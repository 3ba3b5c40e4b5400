package models

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"entgo.io/ent/dialect"
	"github.com/google/uuid"

	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/user"
	"github.com/reviewpoint/models/internal/address"
	"github.com/reviewpoint/models/internal/audit"
	"github.com/reviewpoint/models/internal/clock"
	"github.com/reviewpoint/models/internal/jsonobject"
	"github.com/reviewpoint/models/internal/password"
	"github.com/reviewpoint/models/internal/policy"
	"github.com/reviewpoint/models/internal/row"
	"github.com/reviewpoint/models/internal/text"
	"github.com/reviewpoint/models/internal/validation"
	"github.com/reviewpoint/models/schema"
)

// ImportFormat is what a file of accounts looks like.
type ImportFormat int

// The formats, in UTF-8.
const (
	// ImportCSV is RFC 4180: commas, a header that names the columns in any order, quotes around what
	// holds a comma, a quote or a line break; CRLF in a value becomes LF. An empty value is one that is missing.
	ImportCSV ImportFormat = iota
	// ImportJSONLines is one JSON object on each line. null is a value that is missing.
	ImportJSONLines
)

// ImportOptions says how ImportUsers reads a file, and what it does with it. The zero value imports CSV.
type ImportOptions struct {
	Format ImportFormat
	// DryRun does all that an import does, and undoes it, batch by batch.
	DryRun bool
	// BatchSize is how many rows go in one transaction, 1 or more. Defaults to 1000; large rows make it fewer.
	BatchSize int
	// Refused, if it is not nil, is called with each row that was refused, in order, when its batch is done.
	// Its error ends the import after that batch.
	Refused func(RefusedRow) error
}

// ImportReport says what ImportUsers did with the rows that are settled: those of whole batches.
type ImportReport struct {
	Read     int          `json:"read"`     // Imported and Refused together
	Imported int          `json:"imported"` // accounts that were made; by a dry run, that would be
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

// ImportUsers makes an account of each row. Of the columns email, name, bio, avatar_url, is_active (true),
// is_admin (false), preferences (a JSON object), public_id, created_at (RFC 3339) and hashed_password, only
// the first must be there. What a value must be is as by the client, addresses in their normal form
// included. A hash is taken in the forms that Authenticate knows: Argon2id's in PHC form, and bcrypt's. An
// account without one has no password: ResetPassword gives it the first. public_id and created_at are
// taken as they stand, so that links of the other system hold; nothing imported is an id.
//
// A row that cannot be imported is refused with its line and the reason, and the others go on: a value that
// is none, an address that an account or an earlier row has. Accounts are never changed. A column that is not
// known is an error before anything is read; on a line of JSON it refuses the row, and of a name that is there
// twice the last value counts. A row that is longer than 1 MiB ends the import, as does a quote in CSV that is
// not where it belongs, for nobody knows where the next row begins: see csv.ParseError, which has the line.
//
// Each batch is one transaction, with the rows of the audit trail. When it fails, or ctx ends, or the
// process is killed, whole batches are there; the report says how far it came. The same file may be
// imported again: what is there is refused, and the rest made. A dry run keeps 8 to 40 bytes of each row in
// memory, takes locks for one batch at a time, and uses ids up on PostgreSQL; else memory does not grow with
// the file. Hooks that were added to the client do not run.
//
// The system may, and administrators without hashed_password, as by the client; others get ErrForbidden. It
// may run inside InTx, in whose transaction all batches are then.
func (s *Store) ImportUsers(ctx context.Context, r io.Reader, opts ImportOptions) (*ImportReport, error) {
	i := &userImport{Store: s, opts: opts, seed: maphash.MakeSeed(), seen: map[uint64]bool{}, report: ImportReport{Rows: []RefusedRow{}}}
	i.json = json.NewEncoder(&i.texts)
	err := i.run(ctx, r)
	return &i.report, err
}

// userImport is one run of ImportUsers.
type userImport struct {
	*Store

	opts   ImportOptions
	report ImportReport

	rows    []importRow
	given   uint         // the columns that rows of the batch have, by their bits
	refused []RefusedRow // of the batch
	bytes   int
	line    int

	// Of the batch, as JSON.
	tuples  []byte // the values of each row, as the database takes them
	changes []byte // those of each row, for the trail
	texts   bytes.Buffer
	json    *json.Encoder // writes to texts

	seed maphash.Seed
	seen map[uint64]bool // addresses and public ids of a dry run, which the database has forgotten
}

// importRow is an account to be.
type importRow struct {
	line, bytes int
	given       uint                       // columns, by their bits
	values      [len(importColumns)]string // of those that are given, in their normal form
	id          int                        // 0 until it is made
	changes     []byte                     // for the trail
}

// importColumns are what a row may have, in the order of their names, as the trail has them. normal says
// what a value must be; its errors hold nothing of it.
var importColumns = [...]struct {
	name   string
	any    any // a value of the column, for the rules; of one that is JSON, its type
	normal func(value string) (string, error)
}{
	{user.FieldAvatarURL, "", asItIs(user.AvatarURLValidator)},
	{user.FieldBio, "", asItIs(user.BioValidator)},
	{user.FieldCreatedAt, time.Time{}, func(value string) (string, error) {
		at, err := time.Parse(time.RFC3339, value)
		if err != nil || at.UTC().Year() < 1970 {
			return "", errors.New("must be a time with its zone from 1970 on, such as 2026-11-23T21:04:05Z")
		}
		return clock.Normal(at).Format(time.RFC3339Nano), nil
	}},
	{user.FieldEmail, "", func(value string) (string, error) {
		normal, err := address.Normal(value)
		if err != nil {
			return "", err
		}
		return normal, user.EmailValidator(normal)
	}},
	{user.FieldHashedPassword, "", func(value string) (string, error) {
		if value != password.None && !password.Known(value) {
			return "", errors.New("must be a hash of Argon2id in PHC form, or of bcrypt")
		}
		return value, user.HashedPasswordValidator(value)
	}},
	{user.FieldIsActive, true, normalFlag},
	{user.FieldIsAdmin, true, normalFlag},
	{user.FieldName, "", asItIs(user.NameValidator)},
	{user.FieldPreferences, map[string]any{}, normalPreferences},
	{user.FieldPublicID, uuid.UUID{}, func(value string) (string, error) {
		id, err := uuid.Parse(value)
		if err != nil || id == uuid.Nil {
			return "", errors.New("must be a UUID, not all zeros")
		}
		return id.String(), nil
	}},
}

// Their names, and the places of some.
const (
	importNames = "avatar_url, bio, created_at, email, hashed_password, is_active, is_admin, name, preferences, public_id"

	importCreatedAt, importEmail, importHash, importIsActive, importIsAdmin, importPublicID = 2, 3, 4, 5, 6, 9
)

func asItIs(valid func(string) error) func(string) (string, error) {
	return func(value string) (string, error) { return value, valid(value) }
}

var errImportFlag = errors.New("must be true or false")

func normalFlag(value string) (string, error) {
	is, err := strconv.ParseBool(value)
	if err != nil {
		return "", errImportFlag
	}
	return strconv.FormatBool(is), nil
}

// normalPreferences writes them as the client does.
func normalPreferences(value string) (string, error) {
	if err := text.Valid(value); err != nil {
		return "", err
	}
	var object map[string]any
	if err := json.Unmarshal([]byte(value), &object); err != nil {
		return "", errors.New("must be a JSON object")
	}
	if strings.Contains(value, `\u0000`) { // Only so can it hold a NUL.
		if err := jsonobject.Valid(object); err != nil {
			return "", err
		}
	}
	written, err := json.Marshal(object)
	return string(written), err
}

// importColumn returns -1 for a name that is none.
func importColumn(name string) int {
	return slices.Index(strings.Split(importNames, ", "), name)
}

func (row *importRow) gives(column int) bool { return row.given&(1<<column) != 0 }

func (row *importRow) refuse(column int, reason string) *RefusedRow {
	return &RefusedRow{row.line, importColumns[column].name, reason}
}

// set gives the row a value, or returns why it is refused.
func (row *importRow) set(column int, value string) (refused *RefusedRow) {
	normal, err := importColumns[column].normal(value)
	if err != nil {
		return row.refuse(column, strings.TrimPrefix(err.Error(), "ent: "))
	}
	row.given |= 1 << column
	row.values[column] = normal
	return nil
}

// createdAt is zero if it is not given.
func (row *importRow) createdAt() time.Time {
	if row.values[importCreatedAt] == "" {
		return time.Time{}
	}
	at, _ := time.Parse(time.RFC3339Nano, row.values[importCreatedAt])
	return at
}

// importTrail writes the changes as the schema declares them.
var importTrail = func() *audit.Creations {
	columns := append(slices.Insert(strings.Split(importNames, ", "), importIsAdmin+1, user.FieldIsDeleted), user.FieldUpdatedAt)
	for _, mixin := range (schema.User{}).Mixin() {
		if audited, ok := mixin.(schema.Audited); ok {
			return audited.Changes.Creations(columns, []string{user.FieldHashedPassword})
		}
	}
	return nil
}()

// complete gives the row what it has not been given, and writes it for the database and for the trail.
func (i *userImport) complete(row *importRow, now time.Time) error {
	at := row.createdAt()
	if at.IsZero() {
		at = now
	}
	row.values[importCreatedAt] = at.Format(time.RFC3339Nano)
	row.values[importHash] = cmp.Or(row.values[importHash], password.None)
	row.values[importIsActive] = cmp.Or(row.values[importIsActive], "true")
	row.values[importIsAdmin] = cmp.Or(row.values[importIsAdmin], "false")
	if !row.gives(importPublicID) {
		row.values[importPublicID] = user.DefaultPublicID().String()
	}
	values := make([][]byte, 0, len(importColumns)+2)
	i.tuples = append(i.tuples, ",["...)
	for n := range row.values {
		value, err := i.encode(row, n)
		if err != nil {
			return err
		}
		values = append(values, value)
		i.tuples = append(append(i.tuples, value...), ',')
	}
	i.tuples = at.AppendFormat(i.tuples, `"2006-01-02 15:04:05.000000-07:00"]`)
	values = append(slices.Insert(values, importIsAdmin+1, []byte("false")), now.AppendFormat(nil, `"`+time.RFC3339Nano+`"`))
	begin := len(i.changes)
	i.changes = importTrail.Append(i.changes, values)
	row.changes = i.changes[begin:]
	return nil
}

// encode returns a value as JSON, until the end of the batch.
func (i *userImport) encode(row *importRow, n int) ([]byte, error) {
	value := &row.values[n]
	switch importColumns[n].any.(type) {
	case bool, map[string]any:
		return []byte(cmp.Or(*value, "null")), nil
	}
	if *value == "" && !row.gives(n) {
		return []byte("null"), nil
	}
	begin := i.texts.Len()
	err := i.json.Encode(value)
	return bytes.TrimSuffix(i.texts.Bytes()[begin:], []byte{'\n'}), err
}

func (i *userImport) run(ctx context.Context, r io.Reader) error {
	if i.opts.BatchSize < 0 {
		return fmt.Errorf("ImportUsers: a batch cannot have %d rows", i.opts.BatchSize)
	}
	if i.opts.BatchSize == 0 {
		i.opts.BatchSize = importBatch
	}
	if err := i.allowed(ctx, 1<<importEmail); err != nil { // before anything is read
		return err
	}
	limit := &io.LimitedReader{R: r, N: math.MaxInt64}
	file := bufio.NewReaderSize(limit, importReadAhead)
	if begin, _ := file.Peek(3); string(begin) == "\uFEFF" { // What could not be read is told later.
		if _, err := file.Discard(3); err != nil {
			return err
		}
	}
	switch i.opts.Format {
	case ImportCSV:
		source, given, err := csvSource(limit, file)
		if err != nil {
			return err
		}
		if err := i.allowed(ctx, given); err != nil {
			return err
		}
		return i.batches(ctx, source)
	case ImportJSONLines:
		return i.batches(ctx, jsonSource(file))
	}
	return fmt.Errorf("ImportUsers: there is no format %d", i.opts.Format)
}

// allowed asks the rules of the schema, as the client's CreateBulk does, for accounts with these columns.
func (i *userImport) allowed(ctx context.Context, given uint) error {
	m := i.User.Create().Mutation()
	for n, column := range importColumns {
		if given&(1<<n) == 0 {
			continue
		}
		if err := m.SetField(column.name, column.any); err != nil {
			return err
		}
	}
	return user.Policy.EvalMutation(ctx, m)
}

func (i *userImport) batches(ctx context.Context, next importSource) error {
	for {
		var row importRow
		refused, err := next(&row)
		switch {
		case errors.Is(err, io.EOF):
			return i.batch(ctx)
		case err != nil:
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
func (i *userImport) refuse(ctx context.Context, row *importRow) *RefusedRow {
	switch {
	case !row.gives(importEmail):
		return row.refuse(importEmail, "is missing")
	case row.createdAt().After(i.moment(ctx).Add(clockSkew)):
		return row.refuse(importCreatedAt, "must be a time that is not in the future")
	case i.seen[i.hash(row, importEmail)]:
		return row.taken(importEmail)
	case row.gives(importPublicID) && i.seen[i.hash(row, importPublicID)]:
		return row.taken(importPublicID)
	}
	return nil
}

func (i *userImport) hash(row *importRow, column int) uint64 {
	return maphash.String(i.seed, row.values[column])
}

func (row *importRow) taken(column int) *RefusedRow {
	what := "address"
	if column == importPublicID {
		what = "public id"
	}
	return row.refuse(column, "is the "+what+" of another account or of an earlier row")
}

// batch settles the rows that have been read.
func (i *userImport) batch(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	read := len(i.rows) + len(i.refused)
	if err := i.make(ctx); err != nil {
		return err
	}
	slices.SortStableFunc(i.refused, func(a, b RefusedRow) int { return a.Line - b.Line })
	refused := i.refused
	i.report.Read += read
	i.report.Refused += len(refused)
	i.report.Imported += read - len(refused)
	i.report.Line = i.line
	i.report.Rows = append(i.report.Rows, refused[:min(len(refused), importRows-len(i.report.Rows))]...)
	clear(i.rows)
	i.rows, i.refused, i.bytes, i.given = i.rows[:0], i.refused[:0], 0, 0
	if i.opts.Refused == nil {
		return nil
	}
	for _, row := range refused {
		if err := i.opts.Refused(row); err != nil {
			return err
		}
	}
	return nil
}

// make makes the accounts of the batch, and refuses those that the database does not take.
func (i *userImport) make(ctx context.Context) error {
	if len(i.rows) == 0 {
		return nil
	}
	now := i.moment(ctx)
	i.tuples, i.changes = i.tuples[:0], i.changes[:0]
	i.texts.Reset()
	for n := range i.rows {
		if err := i.complete(&i.rows[n], now); err != nil {
			return err
		}
	}
	var taken map[string]bool
	err := i.InTx(ctx, func(ctx context.Context) error {
		if err := i.allowed(ctx, i.given); err != nil {
			return err
		}
		if i.opts.DryRun {
			if _, err := i.ExecContext(ctx, "SAVEPOINT dry_run"); err != nil {
				return err
			}
		}
		err := i.insert(ctx, now)
		if err == nil {
			taken, err = i.takenAddresses(ctx)
		}
		if err == nil && i.opts.DryRun {
			_, err = i.ExecContext(ctx, "ROLLBACK TO SAVEPOINT dry_run")
		}
		return err
	})
	if err != nil {
		return err
	}
	for n := range i.rows {
		switch row := &i.rows[n]; {
		case row.id == 0 && (!row.gives(importPublicID) || taken[row.values[importEmail]]):
			i.refused = append(i.refused, *row.taken(importEmail))
		case row.id == 0:
			i.refused = append(i.refused, *row.taken(importPublicID))
		case i.opts.DryRun:
			i.seen[i.hash(row, importEmail)] = true
			if row.gives(importPublicID) {
				i.seen[i.hash(row, importPublicID)] = true
			}
		}
	}
	return nil
}

const (
	importUsers = "INSERT INTO users (updated_at, is_deleted, avatar_url, bio, email, hashed_password, is_active, is_admin, name, preferences, public_id, created_at) SELECT "
	importTexts = "value ->> 0, value ->> 1, value ->> 3, value ->> 4, "
	importMade  = " ON CONFLICT DO NOTHING RETURNING id, public_id, email"
	importAudit = "INSERT INTO audit_logs (created_at, updated_at, at, actor, action, entity, entity_id, changes) SELECT "
	importWhat  = "'" + audit.Create + "', '" + user.Label + "', "
)

// importStatements make the accounts of a batch, which are tuples of JSON, and the trail of those that were
// made, and tell which addresses are taken. SQLite keeps a whole second without its fraction and zone.
var importStatements = map[string]struct{ users, trail, taken string }{
	dialect.SQLite: {
		users: importUsers + "$1, FALSE, " + importTexts + `value ->> 5, value ->> 6, value ->> 7, value ->> 8, value ->> 9,
			replace(value ->> 10, '.000000+00:00', '') FROM json_each($2) WHERE TRUE` + importMade,
		trail: importAudit + "$1, $1, $1, $2, " + importWhat + "value ->> 0, value ->> 1 FROM json_each($3)",
		taken: "SELECT email FROM users WHERE NOT is_deleted AND email IN (SELECT value FROM json_each($1))",
	},
	dialect.Postgres: {
		users: importUsers + "$1::timestamptz, FALSE, " + importTexts + `(value -> 5)::bool, (value -> 6)::bool, value ->> 7, NULLIF(value -> 8, 'null'), (value ->> 9)::uuid,
			(value ->> 10)::timestamptz FROM jsonb_array_elements($2::jsonb)` + importMade,
		trail: importAudit + "$1::timestamptz, $1, $1, $2, " + importWhat + "(value -> 0)::bigint, value -> 1 FROM jsonb_array_elements($3::jsonb)",
		taken: "SELECT email FROM users WHERE NOT is_deleted AND email IN (SELECT jsonb_array_elements_text($1::jsonb))",
	},
}

// insert makes the accounts with their rows of the trail. They are told apart by both values that are
// unique: of rows that share a public id, a later one is made when the address of the first is taken.
func (i *userImport) insert(ctx context.Context, now time.Time) error {
	v, err := policy.Asking(ctx)
	if err != nil {
		return err
	}
	type key struct{ publicID, email string }
	ids := make(map[key]int, len(i.rows))
	err = i.db.Read(ctx, importStatements[i.Dialect()].users, []any{now, jsonList(i.tuples)}, func(r *row.Row) (err error) {
		id := row.Int(r.Next(), &err)
		ids[key{row.String(r.Next(), &err), row.String(r.Next(), &err)}] = id
		return err
	})
	if err != nil {
		return err
	}
	made := make([]byte, 0, len(i.changes)+24*len(i.rows))
	for n := range i.rows {
		row := &i.rows[n]
		key := key{row.values[importPublicID], row.values[importEmail]}
		row.id = ids[key]
		delete(ids, key) // A row that is the same is another.
		if row.id != 0 {
			made = strconv.AppendInt(append(made, ",["...), int64(row.id), 10)
			made = append(append(append(made, ','), row.changes...), ']')
		}
	}
	_, err = i.ExecContext(ctx, importStatements[i.Dialect()].trail, now, v.String(), jsonList(made))
	return err
}

// jsonList is a list of values, before each of which there is a comma.
func jsonList(values []byte) string {
	if len(values) > 0 {
		values = values[1:]
	}
	return "[" + string(values) + "]"
}

// takenAddresses returns those of rows that were not made, though that may be for their public ids.
func (i *userImport) takenAddresses(ctx context.Context) (map[string]bool, error) {
	var addresses []string
	for _, row := range i.rows {
		if row.id == 0 && row.gives(importPublicID) {
			addresses = append(addresses, row.values[importEmail])
		}
	}
	taken := make(map[string]bool, len(addresses))
	if len(addresses) == 0 {
		return taken, nil
	}
	list, err := json.Marshal(addresses)
	if err != nil {
		return nil, err
	}
	return taken, i.db.Read(ctx, importStatements[i.Dialect()].taken, []any{string(list)}, func(r *row.Row) (err error) {
		taken[row.String(r.Next(), &err)] = true
		return err
	})
}

// importSource fills a row, or says why it is refused; io.EOF after the last.
type importSource func(row *importRow) (*RefusedRow, error)

// csvSource reads the header. Its errors do not quote it: without a header it is a row.
func csvSource(limit *io.LimitedReader, r io.Reader) (next importSource, given uint, err error) {
	file := csv.NewReader(r)
	file.FieldsPerRecord, file.ReuseRecord = -1, true // A row with another count is refused, and the next ones go on.
	read := func(row *importRow) ([]string, error) {
		limit.N = importLine + importReadAhead
		begin := file.InputOffset()
		record, err := file.Read()
		row.bytes = int(file.InputOffset() - begin)
		if broken, ok := errors.AsType[*csv.ParseError](err); ok {
			row.line = broken.StartLine
		} else if err == nil {
			row.line, _ = file.FieldPos(0)
		}
		if limit.N == 0 || row.bytes > importLine {
			return nil, fmt.Errorf("the row on line %d is longer than 1 MiB, perhaps for a quote that is never closed", row.line)
		}
		return record, err
	}
	header, err := read(&importRow{})
	switch {
	case errors.Is(err, io.EOF):
		return nil, 0, validation.New(ent.TypeUser, "header", "is missing: the first line names the columns, of "+importNames)
	case err != nil:
		return nil, 0, fmt.Errorf("read the header: %w", err)
	}
	columns := make([]int, len(header))
	for n, name := range header {
		column := importColumn(strings.TrimSpace(name))
		switch {
		case column < 0:
			return nil, 0, validation.New(ent.TypeUser, "header", fmt.Sprintf("column %d is none of %s", n+1, importNames))
		case given&(1<<column) != 0:
			return nil, 0, validation.New(ent.TypeUser, "header", "names "+importColumns[column].name+" twice")
		}
		given |= 1 << column
		columns[n] = column
	}
	if given&(1<<importEmail) == 0 {
		return nil, 0, validation.New(ent.TypeUser, "header", "does not name email")
	}
	return func(row *importRow) (refused *RefusedRow, err error) {
		record, err := read(row)
		switch {
		case err != nil:
			return nil, err
		case len(record) != len(columns):
			return &RefusedRow{row.line, "", fmt.Sprintf("has %d values, and the header %d", len(record), len(columns))}, nil
		}
		for n, column := range columns {
			if record[n] != "" && refused == nil {
				refused = row.set(column, record[n])
			}
		}
		return refused, nil
	}, given, nil
}

func jsonSource(r io.Reader) importSource {
	lines, line := bufio.NewScanner(r), 0
	lines.Buffer(nil, importLine)
	return func(row *importRow) (*RefusedRow, error) {
		for lines.Scan() && lines.Err() == nil { // After an error the last line may be half of one.
			line++
			row.line, row.bytes = line, len(lines.Bytes())
			if len(bytes.TrimSpace(lines.Bytes())) > 0 {
				return row.decode(lines.Bytes()), nil
			}
		}
		err := cmp.Or(lines.Err(), io.EOF)
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("the row on line %d is longer than 1 MiB", line+1)
		}
		return nil, err
	}
}

func (row *importRow) decode(line []byte) *RefusedRow {
	var object map[string]any
	switch err := json.Unmarshal(line, &object); {
	case !utf8.Valid(line):
		return &RefusedRow{row.line, "", text.ErrInvalidUTF8.Error()}
	case err != nil || object == nil:
		return &RefusedRow{row.line, "", "is not one JSON object"}
	}
	for n, column := range importColumns {
		given := object[column.name]
		delete(object, column.name)
		if given == nil {
			continue
		}
		var (
			value string
			fits  bool
			must  = "must be text"
		)
		switch column.any.(type) {
		case map[string]any:
			written, err := json.Marshal(given)
			value, fits, must = string(written), err == nil, "must be a JSON object"
		case bool:
			_, fits = given.(bool)
			value, must = fmt.Sprint(given), errImportFlag.Error()
		default:
			value, fits = given.(string)
		}
		if !fits {
			return row.refuse(n, must)
		}
		if refused := row.set(n, value); refused != nil {
			return refused
		}
	}
	if len(object) > 0 {
		return &RefusedRow{row.line, "", "has a field that is none of " + importNames}
	}
	return nil
}
