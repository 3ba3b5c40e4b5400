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
	"reflect"
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
	"github.com/reviewpoint/models/internal/text"
	"github.com/reviewpoint/models/internal/validation"
	"github.com/reviewpoint/models/schema"
)

// ImportFormat is what a file of accounts looks like.
type ImportFormat int

// The formats, in UTF-8.
const (
	// ImportCSV is RFC 4180: commas, a header that names the columns in any order, quotes around what
	// holds a comma, a quote or a line break. An empty value is one that is missing.
	ImportCSV ImportFormat = iota
	// ImportJSONLines is one JSON object on each line. null is a value that is missing.
	ImportJSONLines
)

// ImportOptions says how ImportUsers reads a file, and what it does with it. The zero value imports CSV.
type ImportOptions struct {
	Format ImportFormat
	// DryRun does all that an import does, and undoes it, batch by batch.
	DryRun bool
	// BatchSize is how many rows go in one transaction. Defaults to 1000; large rows make it fewer.
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
// A row that cannot be imported is refused with its line and the reason, and the others go on: a value
// that is none, a row longer than 1 MiB, an address that an account or an earlier row has. Accounts are never
// changed. A column that is not known is an error before anything is read; on a line of JSON it refuses the
// row. So is a row of CSV that is longer than 1 MiB, or has a quote within quotes that is not doubled, or one
// that is never closed: nobody knows where the next row begins.
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
	i := &userImport{Store: s, opts: opts, seed: maphash.MakeSeed(), report: ImportReport{Rows: []RefusedRow{}}}
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
	refused []RefusedRow // of the batch, before the database was asked
	bytes   int
	line    int

	seed maphash.Seed
	seen map[uint64]struct{} // addresses and public ids of a dry run, which the database has forgotten
}

// importRow is an account to be. nil is missing.
type importRow struct {
	Email          *string         `json:"email"`
	Name           *string         `json:"name"`
	Bio            *string         `json:"bio"`
	AvatarURL      *string         `json:"avatar_url"`
	IsActive       *bool           `json:"is_active"`
	IsAdmin        *bool           `json:"is_admin"`
	Preferences    json.RawMessage `json:"preferences"`
	PublicID       *string         `json:"public_id"`
	CreatedAt      *string         `json:"created_at"`
	HashedPassword *string         `json:"hashed_password"`

	line, bytes int
	given       uint      // columns, by their bits
	at          time.Time // of CreatedAt
	values      string    // for the database, as JSON
	changes     []byte    // for the trail
}

// importColumns are what a row may have. normal returns a text in its normal form; its errors say what it
// must be, and hold nothing of it.
var importColumns = []struct {
	name   string
	any    any // a value of the column, for the rules
	field  func(row *importRow) any
	normal func(row *importRow, value string) (string, error)
}{
	{user.FieldEmail, "", func(row *importRow) any { return &row.Email }, func(_ *importRow, value string) (string, error) {
		normal, err := address.Normal(value)
		return normal, cmp.Or(err, user.EmailValidator(normal))
	}},
	{user.FieldName, "", func(row *importRow) any { return &row.Name }, asItIs(user.NameValidator)},
	{user.FieldBio, "", func(row *importRow) any { return &row.Bio }, asItIs(user.BioValidator)},
	{user.FieldAvatarURL, "", func(row *importRow) any { return &row.AvatarURL }, asItIs(user.AvatarURLValidator)},
	{user.FieldIsActive, true, func(row *importRow) any { return &row.IsActive }, nil},
	{user.FieldIsAdmin, true, func(row *importRow) any { return &row.IsAdmin }, nil},
	{user.FieldPreferences, map[string]any{}, func(row *importRow) any { return &row.Preferences }, nil},
	{user.FieldPublicID, uuid.UUID{}, func(row *importRow) any { return &row.PublicID }, func(_ *importRow, value string) (string, error) {
		id, err := uuid.Parse(value)
		if err != nil || id == uuid.Nil {
			return "", errors.New("must be a UUID, not all zeros")
		}
		return id.String(), nil
	}},
	{user.FieldCreatedAt, time.Time{}, func(row *importRow) any { return &row.CreatedAt }, func(row *importRow, value string) (string, error) {
		at, err := time.Parse(time.RFC3339, value)
		if err != nil || at.UTC().Year() < 1970 {
			return "", errors.New("must be a time with its zone from 1970 on, such as 2026-11-23T21:04:05Z")
		}
		row.at = clock.Normal(at)
		return value, nil
	}},
	{user.FieldHashedPassword, "", func(row *importRow) any { return &row.HashedPassword }, func(_ *importRow, value string) (string, error) {
		if value != password.None && !password.Known(value) {
			return "", errors.New("must be a hash of Argon2id in PHC form, or of bcrypt")
		}
		return value, user.HashedPasswordValidator(value)
	}},
}

func asItIs(valid func(string) error) func(*importRow, string) (string, error) {
	return func(_ *importRow, value string) (string, error) { return value, valid(value) }
}

var importNames = func() string {
	names := make([]string, len(importColumns))
	for i, column := range importColumns {
		names[i] = column.name
	}
	return strings.Join(names, ", ")
}()

// importColumn returns the place of a column, or -1.
func importColumn(name string) int {
	for i := range importColumns {
		if importColumns[i].name == name {
			return i
		}
	}
	return -1
}

func (row *importRow) gives(column string) bool { return row.given&(1<<importColumn(column)) != 0 }

const mustBeFlag = "must be true or false"

// check brings the values into their normal form, or returns why the row is refused.
func (row *importRow) check(now time.Time) *RefusedRow {
	for n, column := range importColumns {
		var err error
		switch field := column.field(row).(type) {
		case **string:
			if *field == nil {
				continue
			}
			**field, err = column.normal(row, **field)
		case **bool:
			if *field == nil {
				continue
			}
		case *json.RawMessage:
			if len(*field) == 0 {
				continue
			}
			*field, err = normalPreferences(*field)
		}
		if err != nil {
			return &RefusedRow{row.line, column.name, strings.TrimPrefix(err.Error(), "ent: ")}
		}
		row.given |= 1 << n
	}
	switch {
	case row.Email == nil:
		return &RefusedRow{row.line, user.FieldEmail, "is missing"}
	case row.at.After(now.Add(clockSkew)):
		return &RefusedRow{row.line, user.FieldCreatedAt, "must be a time that is not in the future"}
	}
	return nil
}

// normalPreferences writes them as the client does.
func normalPreferences(value json.RawMessage) (json.RawMessage, error) {
	if err := text.Valid(string(value)); err != nil {
		return nil, err
	}
	var object map[string]any
	if err := json.Unmarshal(value, &object); err != nil {
		return nil, errors.New("must be a JSON object")
	}
	if object == nil {
		return nil, nil
	}
	if bytes.Contains(value, []byte(`\u0000`)) { // Only so can it hold a NUL.
		if err := jsonobject.Valid(object); err != nil {
			return nil, err
		}
	}
	return json.Marshal(object)
}

// complete gives the row what it has not been given, and writes it.
func (row *importRow) complete(now time.Time) error {
	if row.at.IsZero() {
		row.at = now
	}
	if row.PublicID == nil {
		row.PublicID = new(user.DefaultPublicID().String())
	}
	hash := cmp.Or(row.HashedPassword, new(password.None))
	values := make([][]byte, 0, 1+len(importedColumns))
	for _, value := range []any{
		row.AvatarURL, row.Bio, row.at, row.Email, hash, cmp.Or(row.IsActive, new(true)), cmp.Or(row.IsAdmin, new(false)), false,
		row.Name, row.Preferences, row.PublicID, now, row.at.Format("2006-01-02 15:04:05.000000-07:00"),
	} {
		written, err := json.Marshal(value)
		if err != nil {
			return err
		}
		values = append(values, written)
	}
	row.values = "[" + string(bytes.Join(values, []byte{','})) + "]"
	row.changes = importTrail.Append(nil, values[:len(importedColumns)])
	return nil
}

func (i *userImport) run(ctx context.Context, r io.Reader) error {
	if i.opts.BatchSize < 0 {
		return fmt.Errorf("ImportUsers: a batch cannot have %d rows", i.opts.BatchSize)
	}
	if i.opts.BatchSize == 0 {
		i.opts.BatchSize = importBatch
	}
	if err := i.allowed(ctx, 1<<importColumn(user.FieldEmail)); err != nil { // before anything is read
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
			refused = row.check(i.moment(ctx))
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

// batch settles the rows that have been read.
func (i *userImport) batch(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	read := len(i.rows) + len(i.refused)
	if i.opts.DryRun {
		i.refuseSeen()
	}
	var taken []RefusedRow
	if len(i.rows) > 0 {
		now := i.moment(ctx)
		for n := range i.rows {
			if err := i.rows[n].complete(now); err != nil {
				return err
			}
		}
		err := i.InTx(ctx, func(ctx context.Context) (err error) {
			if err := i.allowed(ctx, i.given); err != nil {
				return err
			}
			if !i.opts.DryRun {
				taken, err = i.insert(ctx, now)
				return err
			}
			if _, err := i.ExecContext(ctx, "SAVEPOINT dry_run"); err != nil {
				return err
			}
			if taken, err = i.insert(ctx, now); err != nil {
				return err
			}
			_, err = i.ExecContext(ctx, "ROLLBACK TO SAVEPOINT dry_run")
			return err
		})
		if err != nil {
			return err
		}
	}
	if i.opts.DryRun {
		i.remember(taken)
	}
	refused := slices.Concat(i.refused, taken)
	slices.SortStableFunc(refused, func(a, b RefusedRow) int { return a.Line - b.Line })
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

const (
	addressTaken  = "is the address of another account or of an earlier row"
	publicIDTaken = "is the public id of another account or of an earlier row"
)

// refuseSeen takes from the batch of a dry run what the batches before it would have made.
func (i *userImport) refuseSeen() {
	if i.seen == nil {
		i.seen = make(map[uint64]struct{})
	}
	i.rows = slices.DeleteFunc(i.rows, func(row importRow) bool {
		_, address := i.seen[maphash.String(i.seed, *row.Email)]
		publicID := false
		if row.PublicID != nil {
			_, publicID = i.seen[maphash.String(i.seed, *row.PublicID)]
		}
		if address || publicID {
			i.refused = append(i.refused, row.taken(address))
		}
		return address || publicID
	})
}

func (row *importRow) taken(address bool) RefusedRow {
	if address {
		return RefusedRow{row.line, user.FieldEmail, addressTaken}
	}
	return RefusedRow{row.line, user.FieldPublicID, publicIDTaken}
}

func (i *userImport) remember(taken []RefusedRow) {
	for _, row := range i.rows {
		if len(taken) > 0 && taken[0].Line == row.line {
			taken = taken[1:]
			continue
		}
		i.seen[maphash.String(i.seed, *row.Email)] = struct{}{}
		if row.gives(user.FieldPublicID) {
			i.seen[maphash.String(i.seed, *row.PublicID)] = struct{}{}
		}
	}
}

// importedColumns are those that a new account has a value in, in the order of their names.
var importedColumns = []string{
	user.FieldAvatarURL, user.FieldBio, user.FieldCreatedAt, user.FieldEmail, user.FieldHashedPassword,
	user.FieldIsActive, user.FieldIsAdmin, user.FieldIsDeleted, user.FieldName, user.FieldPreferences, user.FieldPublicID, user.FieldUpdatedAt,
}

// importTrail writes the changes as the schema declares them.
var importTrail = func() *audit.Creations {
	var (
		changes audit.Changes
		secrets []string
	)
	for _, mixin := range (schema.User{}).Mixin() {
		if audited, ok := mixin.(schema.Audited); ok {
			changes = audited.Changes
		}
	}
	for _, field := range (schema.User{}).Fields() {
		if column := field.Descriptor(); column.Sensitive {
			secrets = append(secrets, column.Name)
		}
	}
	return changes.Creations(importedColumns, secrets)
}()

const (
	importUsers = "INSERT INTO users (updated_at, is_deleted, avatar_url, bio, email, hashed_password, is_active, is_admin, name, preferences, public_id, created_at) SELECT "
	importMade  = " ON CONFLICT DO NOTHING RETURNING id, public_id, email"
	importTexts = "value ->> 0, value ->> 1, value ->> 3, value ->> 4, "
	importAudit = "INSERT INTO audit_logs (created_at, updated_at, at, actor, action, entity, entity_id, changes) SELECT "
	importWhat  = "'" + audit.Create + "', '" + user.Label + "', "
)

// importStatements make the accounts of a batch, which are the values of JSON text, and the trail of those
// that were made, and tell which addresses are taken. SQLite keeps a whole second without its fraction and zone.
var importStatements = map[string]struct{ users, trail, taken string }{
	dialect.SQLite: {
		users: importUsers + "$1, FALSE, " + importTexts + `value ->> 5, value ->> 6, value ->> 8, value ->> 9, value ->> 10,
			replace(value ->> 12, '.000000+00:00', '') FROM json_each($2) WHERE TRUE` + importMade,
		trail: importAudit + "$1, $1, $1, $2, " + importWhat + "value ->> 0, value ->> 1 FROM json_each($3)",
		taken: "SELECT email FROM users WHERE NOT is_deleted AND email IN (SELECT value FROM json_each($1))",
	},
	dialect.Postgres: {
		users: importUsers + "$1::timestamptz, FALSE, " + importTexts + `(value -> 5)::bool, (value -> 6)::bool, value ->> 8, NULLIF(value -> 9, 'null'), (value ->> 10)::uuid,
			(value ->> 12)::timestamptz FROM jsonb_array_elements($2::jsonb)` + importMade,
		trail: importAudit + "$1::timestamptz, $1, $1, $2, " + importWhat + "(value -> 0)::bigint, value -> 1 FROM jsonb_array_elements($3::jsonb)",
		taken: "SELECT email FROM users WHERE NOT is_deleted AND email IN (SELECT jsonb_array_elements_text($1::jsonb))",
	},
}

// insert makes the accounts with their rows of the trail, and returns those that it could not make.
func (i *userImport) insert(ctx context.Context, now time.Time) ([]RefusedRow, error) {
	v, err := policy.Asking(ctx)
	if err != nil {
		return nil, err
	}
	ids, err := i.insertUsers(ctx, now)
	if err != nil {
		return nil, err
	}
	var (
		made []string
		left []*importRow
	)
	for n := range i.rows {
		row := &i.rows[n]
		key := [2]string{*row.PublicID, *row.Email}
		id, ok := ids[key]
		if !ok {
			left = append(left, row)
			continue
		}
		delete(ids, key) // A row that is the same is another.
		made = append(made, fmt.Sprintf("[%d,%s]", id, row.changes))
	}
	if _, err := i.ExecContext(ctx, importStatements[i.Dialect()].trail, now, v.String(), jsonList(made)); err != nil {
		return nil, err
	}
	return i.reasons(ctx, left)
}

// insertUsers returns the ids by what tells the rows of a batch apart: of those that share a public id, a
// later one is made when the address of the first is taken.
func (i *userImport) insertUsers(ctx context.Context, now time.Time) (map[[2]string]int, error) {
	rows := make([]string, len(i.rows))
	for n := range i.rows {
		rows[n] = i.rows[n].values
	}
	answer, err := i.QueryContext(ctx, importStatements[i.Dialect()].users, now, jsonList(rows))
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	ids := make(map[[2]string]int, len(i.rows))
	for answer.Next() {
		var (
			id  int
			key [2]string
		)
		if err := answer.Scan(&id, &key[0], &key[1]); err != nil {
			return nil, err
		}
		ids[key] = id
	}
	return ids, answer.Err()
}

func jsonList(values []string) string { return "[" + strings.Join(values, ",") + "]" }

// reasons says which value of rows is taken.
func (i *userImport) reasons(ctx context.Context, rows []*importRow) (refused []RefusedRow, err error) {
	var addresses []string
	for _, row := range rows {
		if row.gives(user.FieldPublicID) {
			addresses = append(addresses, *row.Email)
		}
	}
	taken := make(map[string]bool, len(addresses))
	if len(addresses) > 0 {
		list, err := json.Marshal(addresses)
		if err != nil {
			return nil, err
		}
		answer, err := i.QueryContext(ctx, importStatements[i.Dialect()].taken, string(list))
		if err != nil {
			return nil, err
		}
		defer answer.Close()
		for answer.Next() {
			var address string
			if err := answer.Scan(&address); err != nil {
				return nil, err
			}
			taken[address] = true
		}
		if err := answer.Err(); err != nil {
			return nil, err
		}
	}
	for _, row := range rows {
		refused = append(refused, row.taken(!row.gives(user.FieldPublicID) || taken[*row.Email]))
	}
	return refused, nil
}

// importSource fills a row, or says why it is refused; io.EOF after the last.
type importSource func(row *importRow) (*RefusedRow, error)

// csvSource reads the header. Its errors do not quote it: without a header it is a row.
func csvSource(limit *io.LimitedReader, r io.Reader) (next importSource, given uint, err error) {
	file := csv.NewReader(r)
	file.FieldsPerRecord = -1 // A row with another count is refused, and the next ones go on.
	read := func(row *importRow) ([]string, error) {
		limit.N = importLine + importReadAhead
		begin := file.InputOffset()
		record, err := file.Read()
		row.bytes = int(file.InputOffset() - begin)
		broken, ok := errors.AsType[*csv.ParseError](err)
		switch {
		case ok:
			row.line = broken.StartLine
		case err == nil:
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
	if given&(1<<importColumn(user.FieldEmail)) == 0 {
		return nil, 0, validation.New(ent.TypeUser, "header", "does not name email")
	}
	return func(row *importRow) (*RefusedRow, error) {
		record, err := read(row)
		if err != nil {
			return nil, err
		}
		if len(record) != len(columns) {
			return &RefusedRow{row.line, "", fmt.Sprintf("has %d values, and the header %d", len(record), len(columns))}, nil
		}
		for n, column := range columns {
			if record[n] == "" {
				continue
			}
			switch field := importColumns[column].field(row).(type) {
			case **string:
				*field = &record[n]
			case **bool:
				switch is, err := strconv.ParseBool(record[n]); {
				case err != nil:
					return &RefusedRow{row.line, importColumns[column].name, mustBeFlag}, nil
				default:
					*field = &is
				}
			case *json.RawMessage:
				*field = json.RawMessage(record[n])
			}
		}
		return nil, nil
	}, given, nil
}

func jsonSource(r io.Reader) importSource {
	lines, line := bufio.NewScanner(r), 0
	lines.Buffer(nil, importLine)
	return func(row *importRow) (*RefusedRow, error) {
		for lines.Scan() && lines.Err() == nil { // After an error the last line may be half of one.
			line++
			row.line, row.bytes = line, len(lines.Bytes())
			switch {
			case !utf8.Valid(lines.Bytes()):
				return &RefusedRow{line, "", text.ErrInvalidUTF8.Error()}, nil
			case len(bytes.TrimSpace(lines.Bytes())) > 0:
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
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(row)
	if err == nil {
		if _, err = decoder.Token(); errors.Is(err, io.EOF) {
			return nil
		}
	}
	mistyped, ok := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case ok && mistyped.Field != "" && mistyped.Type.Kind() == reflect.Bool:
		return &RefusedRow{row.line, mistyped.Field, mustBeFlag}
	case ok && mistyped.Field != "":
		return &RefusedRow{row.line, mistyped.Field, "must be text"}
	case err != nil && strings.HasPrefix(err.Error(), "json: unknown field "):
		return &RefusedRow{row.line, "", "has a field that is none of " + importNames}
	}
	return &RefusedRow{row.line, "", "is not one JSON object"}
}
