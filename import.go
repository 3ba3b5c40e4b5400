package models

import (
	"bufio"
	"bytes"
	"context"
	stdsql "database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
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
	text []byte
}

// importRow is an account to be.
type importRow struct {
	line, bytes          int
	given                uint // columns, by their bits
	email, hash          string
	name, bio, avatarURL stdsql.NullString
	inactive, admin      bool
	preferences          stdsql.NullString
	publicID             string
	createdAt            time.Time // zero for now
	changes              string
}

// importColumns are what a row may have. A value is text; true or false; or, of preferences, JSON. Errors
// say what a value must be, and hold nothing of it.
var importColumns = []struct {
	name string
	kind importKind
	any  any // a value of the column, for the rules
	set  func(row *importRow, value string) error
}{
	{user.FieldEmail, importText, "", func(row *importRow, value string) (err error) {
		if row.email, err = address.Normal(value); err != nil {
			return err
		}
		return user.EmailValidator(row.email)
	}},
	{user.FieldName, importText, "", func(row *importRow, value string) error {
		row.name = stdsql.NullString{String: value, Valid: true}
		return user.NameValidator(value)
	}},
	{user.FieldBio, importText, "", func(row *importRow, value string) error {
		row.bio = stdsql.NullString{String: value, Valid: true}
		return user.BioValidator(value)
	}},
	{user.FieldAvatarURL, importText, "", func(row *importRow, value string) error {
		row.avatarURL = stdsql.NullString{String: value, Valid: true}
		return user.AvatarURLValidator(value)
	}},
	{user.FieldIsActive, importFlag, true, func(row *importRow, value string) error {
		active, err := importBool(value)
		row.inactive = !active
		return err
	}},
	{user.FieldIsAdmin, importFlag, true, func(row *importRow, value string) (err error) {
		row.admin, err = importBool(value)
		return err
	}},
	{user.FieldPreferences, importJSON, map[string]any{}, (*importRow).setPreferences},
	{user.FieldPublicID, importText, uuid.UUID{}, func(row *importRow, value string) error {
		id, err := uuid.Parse(value)
		if err != nil || id == uuid.Nil {
			return errors.New("must be a UUID, not all zeros")
		}
		row.publicID = id.String()
		return nil
	}},
	{user.FieldCreatedAt, importText, time.Time{}, func(row *importRow, value string) error {
		at, err := time.Parse(time.RFC3339, value)
		if err != nil || at.UTC().Year() < 1970 {
			return errors.New("must be a time with its zone from 1970 on, such as 2026-11-23T21:04:05Z")
		}
		row.createdAt = clock.Normal(at)
		return nil
	}},
	{user.FieldHashedPassword, importText, "", func(row *importRow, value string) error {
		if row.hash = value; value != password.None && !password.Known(value) {
			return errors.New("must be a hash of Argon2id in PHC form, or of bcrypt")
		}
		return user.HashedPasswordValidator(value)
	}},
}

type importKind int

const (
	importText importKind = iota
	importFlag
	importJSON
)

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

func importBool(value string) (bool, error) {
	is, err := strconv.ParseBool(value)
	if err != nil {
		return false, errors.New("must be true or false")
	}
	return is, nil
}

// setPreferences writes them as the client does.
func (row *importRow) setPreferences(value string) error {
	if err := text.Valid(value); err != nil {
		return err
	}
	var object map[string]any
	if err := json.Unmarshal([]byte(value), &object); err != nil {
		return errors.New("must be a JSON object")
	}
	if object == nil {
		return nil
	}
	if strings.Contains(value, `\u0000`) { // Only so can it hold a NUL.
		if err := jsonobject.Valid(object); err != nil {
			return err
		}
	}
	written, err := json.Marshal(object)
	row.preferences = stdsql.NullString{String: string(written), Valid: true}
	return err
}

// set gives the row a value, or returns why it is refused.
func (row *importRow) set(column int, value string) *RefusedRow {
	row.given |= 1 << column
	row.bytes += len(value)
	if err := importColumns[column].set(row, value); err != nil {
		return &RefusedRow{row.line, importColumns[column].name, strings.TrimPrefix(err.Error(), "ent: ")}
	}
	return nil
}

// complete gives the row what it has not been given, or returns why it is refused.
func (row *importRow) complete(now time.Time) *RefusedRow {
	if row.email == "" {
		return &RefusedRow{row.line, user.FieldEmail, "is missing"}
	}
	if row.createdAt.After(now.Add(clockSkew)) {
		return &RefusedRow{row.line, user.FieldCreatedAt, "must be a time that is not in the future"}
	}
	if row.publicID == "" {
		row.publicID = user.DefaultPublicID().String()
	}
	if row.hash == "" {
		row.hash = password.None
	}
	return nil
}

// importSource is a file.
type importSource interface {
	// next fills row, or says why it is refused; io.EOF after the last.
	next(row *importRow) (*RefusedRow, error)
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
	lines := bufio.NewReaderSize(r, 64<<10)
	var source importSource
	switch i.opts.Format {
	case ImportCSV:
		rows, err := newCSVRows(lines)
		if err != nil {
			return err
		}
		if err := i.allowed(ctx, rows.given); err != nil {
			return err
		}
		source = rows
	case ImportJSONLines:
		source = &jsonRows{importLines{r: lines}}
	default:
		return fmt.Errorf("ImportUsers: there is no format %d", i.opts.Format)
	}
	return i.batches(ctx, source)
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

func (i *userImport) batches(ctx context.Context, source importSource) error {
	now := i.moment(ctx)
	for {
		i.rows = append(i.rows, importRow{})
		row := &i.rows[len(i.rows)-1]
		refused, err := source.next(row)
		if err == nil && refused == nil {
			refused = row.complete(now)
		}
		i.bytes += row.bytes
		switch {
		case errors.Is(err, io.EOF):
			i.rows = i.rows[:len(i.rows)-1]
			return i.batch(ctx)
		case err != nil:
			return err
		case refused != nil:
			i.line = refused.Line
			i.rows = i.rows[:len(i.rows)-1]
			i.refused = append(i.refused, *refused)
		default:
			i.line = row.line
			i.given |= row.given
		}
		if len(i.rows)+len(i.refused) < i.opts.BatchSize && i.bytes < importBatchBytes {
			continue
		}
		if err := i.batch(ctx); err != nil {
			return err
		}
		now = i.moment(ctx)
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
			i.describe(&i.rows[n], now)
		}
		err := i.InTx(ctx, func(ctx context.Context) (err error) {
			if err := i.allowed(ctx, i.given); err != nil {
				return err
			}
			if !i.opts.DryRun {
				taken, err = i.insert(ctx, now, i.rows)
				return err
			}
			if _, err := i.ExecContext(ctx, "SAVEPOINT dry_run"); err != nil {
				return err
			}
			if taken, err = i.insert(ctx, now, i.rows); err != nil {
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
		_, address := i.seen[maphash.String(i.seed, row.email)]
		_, publicID := i.seen[maphash.String(i.seed, row.publicID)]
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
		i.seen[maphash.String(i.seed, row.email)] = struct{}{}
		if row.gives(user.FieldPublicID) {
			i.seen[maphash.String(i.seed, row.publicID)] = struct{}{}
		}
	}
}

func (row *importRow) gives(column string) bool { return row.given&(1<<importColumn(column)) != 0 }

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

// describe settles when the account is made, and writes its changes.
func (i *userImport) describe(row *importRow, now time.Time) {
	if row.createdAt.IsZero() {
		row.createdAt = now
	}
	var (
		values [12][]byte
		b      = i.text[:0]
		begin  int
	)
	end := func() []byte {
		value := b[begin:len(b):len(b)]
		begin = len(b)
		return value
	}
	optional := func(value stdsql.NullString) []byte {
		if value.Valid {
			b = appendJSON(b, value.String)
		}
		return end()
	}
	flag := func(is bool) []byte {
		b = strconv.AppendBool(b, is)
		return end()
	}
	values[0] = optional(row.avatarURL)
	values[1] = optional(row.bio)
	moment := func(t time.Time) []byte {
		b = append(t.AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
		return end()
	}
	values[2] = moment(row.createdAt)
	b = appendJSON(b, row.email)
	values[3] = end()
	b = append(b, '0') // not shown
	values[4] = end()
	values[5], values[6], values[7] = flag(!row.inactive), flag(row.admin), flag(false)
	values[8] = optional(row.name)
	b = append(b, row.preferences.String...)
	values[9] = end()
	b = append(append(append(b, '"'), row.publicID...), '"')
	values[10] = end()
	values[11] = moment(now)
	size := len(b)
	b = importTrail.Append(b, values[:])
	row.changes = string(b[size:])
	i.text = b
}

// appendJSON writes text as encoding/json does.
func appendJSON(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			written, err := json.Marshal(s)
			if err != nil { // which text does not
				panic(err)
			}
			return append(b, written...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// insert makes the accounts with their rows of the trail, and returns those that it could not make.
func (i *userImport) insert(ctx context.Context, now time.Time, rows []importRow) ([]RefusedRow, error) {
	v, err := policy.Asking(ctx)
	if err != nil {
		return nil, err
	}
	insert := i.insertSQLite
	if i.Dialect() == dialect.Postgres {
		insert = i.insertPostgres
	}
	var left []*importRow
	for len(rows) > 0 {
		part := rows[:i.distinct(rows)]
		rows = rows[len(part):]
		refused, err := insert(ctx, now, v.String(), part)
		if err != nil {
			return nil, err
		}
		for _, n := range refused {
			left = append(left, &part[n])
		}
	}
	return i.reasons(ctx, left)
}

// distinct returns how many of the first rows have public ids of their own, by which they are found again.
func (i *userImport) distinct(rows []importRow) int {
	if i.given&(1<<importColumn(user.FieldPublicID)) == 0 {
		return len(rows)
	}
	ids := make(map[string]struct{}, len(rows))
	for n := range rows {
		if _, twice := ids[rows[n].publicID]; twice {
			return n
		}
		ids[rows[n].publicID] = struct{}{}
	}
	return len(rows)
}

// reasons says which value of rows is taken.
func (i *userImport) reasons(ctx context.Context, rows []*importRow) (refused []RefusedRow, err error) {
	var addresses []string
	for _, row := range rows {
		if row.gives(user.FieldPublicID) {
			addresses = append(addresses, row.email)
		}
	}
	taken := make(map[string]bool, len(addresses))
	if len(addresses) > 0 {
		list, err := json.Marshal(addresses)
		if err != nil {
			return nil, err
		}
		query := "SELECT email FROM users WHERE NOT is_deleted AND email IN (SELECT value FROM json_each($1))"
		if i.Dialect() == dialect.Postgres {
			query = "SELECT email FROM users WHERE NOT is_deleted AND email IN (SELECT jsonb_array_elements_text($1::jsonb))"
		}
		rows, err := i.QueryContext(ctx, query, string(list))
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		for rows.Next() {
			var address string
			if err := rows.Scan(&address); err != nil {
				return nil, err
			}
			taken[address] = true
		}
		if err := rows.Err(); err != nil {
			return nil, err
		}
	}
	for _, row := range rows {
		refused = append(refused, row.taken(!row.gives(user.FieldPublicID) || taken[row.email]))
	}
	return refused, nil
}

// importChunks are how many rows go in one statement of SQLite, so that there are few texts.
var importChunks = []struct {
	rows         int
	users, trail string
}{importChunk(100), importChunk(10), importChunk(1)}

func importChunk(n int) (chunk struct {
	rows         int
	users, trail string
}) {
	chunk.rows = n
	chunk.users = "INSERT INTO users (updated_at, is_deleted, created_at, public_id, email, hashed_password, is_active, is_admin, name, bio, avatar_url, preferences) VALUES " +
		strings.Repeat(", (?1, FALSE, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", n)[2:] + " ON CONFLICT DO NOTHING RETURNING id, public_id"
	chunk.trail = "INSERT INTO audit_logs (created_at, updated_at, at, actor, action, entity, entity_id, changes) VALUES " +
		strings.Repeat(", (?1, ?1, ?1, ?2, ?3, ?4, ?, ?)", n)[2:]
	return chunk
}

func (i *userImport) insertSQLite(ctx context.Context, now time.Time, actor string, rows []importRow) (refused []int, err error) {
	var (
		ids  = make([]int64, len(rows))
		args = make([]any, 0, 1+10*importChunks[0].rows)
	)
	for begin := 0; begin < len(rows); {
		chunk := importChunks[importChunkFor(len(rows)-begin)]
		args = append(args[:0], now)
		for n := begin; n < begin+chunk.rows; n++ {
			row := &rows[n]
			args = append(args, row.createdAt, row.publicID, row.email, row.hash, !row.inactive, row.admin, row.name, row.bio, row.avatarURL, row.preferences)
		}
		if err := i.inserted(ctx, chunk.users, args, rows[begin:begin+chunk.rows], ids[begin:]); err != nil {
			return nil, err
		}
		begin += chunk.rows
	}
	made := make([]int, 0, len(rows))
	for n, id := range ids {
		if id == 0 {
			refused = append(refused, n)
		} else {
			made = append(made, n)
		}
	}
	for len(made) > 0 {
		chunk := importChunks[importChunkFor(len(made))]
		args = append(args[:0], now, actor, audit.Create, user.Label)
		for _, n := range made[:chunk.rows] {
			args = append(args, ids[n], rows[n].changes)
		}
		if _, err := i.ExecContext(ctx, chunk.trail, args...); err != nil {
			return nil, err
		}
		made = made[chunk.rows:]
	}
	return refused, nil
}

func importChunkFor(rows int) int {
	for n := range importChunks {
		if importChunks[n].rows <= rows {
			return n
		}
	}
	return len(importChunks) - 1
}

// inserted runs a statement that makes rows, and gives ids to those that it made.
func (i *userImport) inserted(ctx context.Context, query string, args []any, rows []importRow, ids []int64) error {
	answer, err := i.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer answer.Close()
	var (
		id       int64
		publicID stdsql.RawBytes
		next     int
	)
	for answer.Next() {
		if err := answer.Scan(&id, &publicID); err != nil {
			return err
		}
		n := next
		if n >= len(rows) || rows[n].publicID != string(publicID) { // The order is not promised.
			n = slices.IndexFunc(rows, func(row importRow) bool { return row.publicID == string(publicID) })
		}
		ids[n], next = id, n+1
	}
	return answer.Err()
}

const importPostgres = `WITH given AS (
	SELECT created_at, public_id, email, hashed_password, is_active, is_admin, name, bio, avatar_url, preferences, changes, place FROM unnest($3::timestamptz[], $4::uuid[], $5::text[], $6::text[], $7::bool[], $8::bool[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[])
		WITH ORDINALITY AS given (created_at, public_id, email, hashed_password, is_active, is_admin, name, bio, avatar_url, preferences, changes, place)
), made AS (
	INSERT INTO users (created_at, updated_at, public_id, email, hashed_password, is_active, is_admin, is_deleted, name, bio, avatar_url, preferences)
	SELECT created_at, $1, public_id, email, hashed_password, is_active, is_admin, FALSE, name, bio, avatar_url, preferences::jsonb FROM given ORDER BY place
	ON CONFLICT DO NOTHING RETURNING id, public_id
), trail AS (
	INSERT INTO audit_logs (created_at, updated_at, at, actor, action, entity, entity_id, changes)
	SELECT $1, $1, $1, $2, '` + audit.Create + `', '` + user.Label + `', made.id, given.changes::jsonb FROM made JOIN given USING (public_id) ORDER BY made.id
)
SELECT place FROM given LEFT JOIN made USING (public_id) WHERE made.id IS NULL ORDER BY place`

func (i *userImport) insertPostgres(ctx context.Context, now time.Time, actor string, rows []importRow) (refused []int, err error) {
	var arrays [11]pgArray
	for n := range rows {
		row := &rows[n]
		arrays[0].time(row.createdAt)
		arrays[1].plain(row.publicID)
		arrays[2].text(row.email)
		arrays[3].text(row.hash)
		arrays[4].plain(strconv.FormatBool(!row.inactive))
		arrays[5].plain(strconv.FormatBool(row.admin))
		arrays[6].optional(row.name)
		arrays[7].optional(row.bio)
		arrays[8].optional(row.avatarURL)
		arrays[9].optional(row.preferences)
		arrays[10].text(row.changes)
	}
	args := append(make([]any, 0, 2+len(arrays)), now, actor)
	for n := range arrays {
		args = append(args, arrays[n].String())
	}
	answer, err := i.QueryContext(ctx, importPostgres, args...)
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	for answer.Next() {
		var place int
		if err := answer.Scan(&place); err != nil {
			return nil, err
		}
		refused = append(refused, place-1)
	}
	return refused, answer.Err()
}

// pgArray is the text of an array of PostgreSQL.
type pgArray []byte

func (a *pgArray) plain(value string) {
	if len(*a) == 0 {
		*a = append(*a, '{')
	} else {
		*a = append(*a, ',')
	}
	*a = append(*a, value...)
}

func (a *pgArray) time(t time.Time) {
	a.plain(`"`)
	*a = append(t.AppendFormat(*a, "2006-01-02 15:04:05.999999Z07:00"), '"')
}

func (a *pgArray) text(value string) {
	a.plain(`"`)
	for {
		n := strings.IndexAny(value, `"\\`)
		if n < 0 {
			break
		}
		*a = append(append(append(*a, value[:n]...), '\\'), value[n])
		value = value[n+1:]
	}
	*a = append(append(*a, value...), '"')
}

func (a *pgArray) optional(value stdsql.NullString) {
	if !value.Valid {
		a.plain("NULL")
		return
	}
	a.text(value.String)
}

func (a *pgArray) String() string { return string(*a) + "}" }

// importLines reads lines, with what ends them.
type importLines struct {
	r    *bufio.Reader
	line int
	text []byte
	cut  bool // the line goes on
}

// read reads a line, and reports whether it is whole. Of one that is too long it reads no more than that.
func (l *importLines) read() (whole bool, err error) {
	if l.line == 0 {
		if begin, _ := l.r.Peek(3); string(begin) == "\uFEFF" { // What could not be read is told later.
			if _, err := l.r.Discard(3); err != nil {
				return false, err
			}
		}
	}
	l.line++
	l.text = l.text[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		l.text = append(l.text, part...)
		switch {
		case len(l.text) > importLine:
			l.cut = errors.Is(err, bufio.ErrBufferFull)
			return false, nil
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && (!errors.Is(err, io.EOF) || len(l.text) == 0):
			return false, err
		}
		return true, nil
	}
}

// skip skips the rest of a line that is too long.
func (l *importLines) skip() error {
	for l.cut {
		_, err := l.r.ReadSlice('\n')
		l.cut = errors.Is(err, bufio.ErrBufferFull)
		if err != nil && !l.cut && !errors.Is(err, io.EOF) {
			return err
		}
	}
	return nil
}

// csvRows reads CSV. encoding/csv makes LF of a CRLF in a value, and goes on in the midst of a row after
// one with a stray quote, which might make an account of the lines in somebody's bio.
type csvRows struct {
	importLines

	begin   int // line of the row
	size    int
	value   []byte // all values of the row, less the quotes around them
	ends    []int
	columns []int
	given   uint
}

// After these nobody knows where the next row begins.
var (
	errImportLine    = errors.New("a row is longer than 1 MiB, perhaps for a quote that is never closed")
	errImportQuote   = errors.New("a quote within quotes is not doubled")
	errImportNoQuote = errors.New("a quote is never closed")
)

// newCSVRows reads the header. Its errors do not quote it: without a header it is a row.
func newCSVRows(r *bufio.Reader) (*csvRows, error) {
	rows := &csvRows{importLines: importLines{r: r}}
	_, err := rows.row()
	switch {
	case errors.Is(err, io.EOF):
		return nil, validation.New(ent.TypeUser, "header", "is missing: the first line names the columns, of "+importNames)
	case err != nil:
		return nil, fmt.Errorf("read the header: %w", err)
	}
	names := string(rows.value)
	for n := range rows.ends {
		column := importColumn(strings.TrimSpace(rows.cell(names, n)))
		switch {
		case column < 0:
			return nil, validation.New(ent.TypeUser, "header", fmt.Sprintf("column %d is none of %s", n+1, importNames))
		case rows.given&(1<<column) != 0:
			return nil, validation.New(ent.TypeUser, "header", "names "+importColumns[column].name+" twice")
		}
		rows.given |= 1 << column
		rows.columns = append(rows.columns, column)
	}
	if rows.given&(1<<importColumn(user.FieldEmail)) == 0 {
		return nil, validation.New(ent.TypeUser, "header", "does not name email")
	}
	return rows, nil
}

// cell is the nth of the values of a row.
func (c *csvRows) cell(values string, n int) string {
	if n == 0 {
		return values[:c.ends[0]]
	}
	return values[c.ends[n-1]:c.ends[n]]
}

func (c *csvRows) next(row *importRow) (*RefusedRow, error) {
	strayQuote, err := c.row()
	row.line = c.begin
	switch {
	case errors.Is(err, errImportLine), errors.Is(err, errImportQuote), errors.Is(err, errImportNoQuote):
		return nil, fmt.Errorf("the row on line %d: %w", c.begin, err)
	case err != nil:
		return nil, err
	case strayQuote:
		return &RefusedRow{c.begin, "", "has a quote in a value without quotes around it"}, nil
	case len(c.ends) != len(c.columns):
		return &RefusedRow{c.begin, "", fmt.Sprintf("has %d values, and the header %d", len(c.ends), len(c.columns))}, nil
	}
	values := string(c.value)
	for n, column := range c.columns {
		value := c.cell(values, n)
		if value == "" {
			continue
		}
		if refused := row.set(column, value); refused != nil {
			return refused, nil
		}
	}
	return nil, nil //nolint:nilnil // The row is fine.
}

// row reads the values of a row, and reports whether there is a quote where none belongs.
func (c *csvRows) row() (strayQuote bool, err error) {
	c.value, c.ends, c.size = c.value[:0], c.ends[:0], 0
	for {
		err := c.more()
		c.begin = c.line
		if err != nil {
			return false, err
		}
		if len(withoutLineEnd(c.text)) > 0 {
			break
		}
		c.size = 0
	}
	for rest := c.text; ; rest = rest[1:] {
		if len(rest) > 0 && rest[0] == '"' {
			if rest, err = c.quoted(rest[1:]); err != nil {
				return false, err
			}
		} else {
			value := withoutLineEnd(rest)
			if comma := bytes.IndexByte(value, ','); comma >= 0 {
				value = value[:comma]
			}
			strayQuote = strayQuote || bytes.IndexByte(value, '"') >= 0
			c.value = append(c.value, value...)
			rest = rest[len(value):]
		}
		c.ends = append(c.ends, len(c.value))
		if len(withoutLineEnd(rest)) == 0 {
			return strayQuote, nil
		}
		if rest[0] != ',' {
			return false, errImportQuote
		}
	}
}

// quoted reads a value up to the quote that closes it, and returns the rest of the line.
func (c *csvRows) quoted(rest []byte) ([]byte, error) {
	for {
		quote := bytes.IndexByte(rest, '"')
		if quote < 0 {
			c.value = append(c.value, rest...)
			err := c.more()
			if errors.Is(err, io.EOF) {
				err = errImportNoQuote
			}
			if err != nil {
				return nil, err
			}
			rest = c.text
			continue
		}
		c.value = append(c.value, rest[:quote]...)
		rest = rest[quote+1:]
		if len(rest) == 0 || rest[0] != '"' {
			return rest, nil
		}
		c.value = append(c.value, '"')
		rest = rest[1:]
	}
}

// more reads another line of the row.
func (c *csvRows) more() error {
	whole, err := c.read()
	c.size += len(c.text)
	if err == nil && (!whole || c.size > importLine) {
		return errImportLine
	}
	return err
}

func withoutLineEnd(line []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
}

// jsonRows reads JSON lines.
type jsonRows struct{ importLines }

func (j *jsonRows) next(row *importRow) (*RefusedRow, error) {
	for {
		if err := j.skip(); err != nil {
			return nil, err
		}
		whole, err := j.read()
		if err != nil {
			return nil, err
		}
		row.line = j.line
		switch {
		case !whole:
			return &RefusedRow{j.line, "", "is longer than 1 MiB"}, nil
		case !utf8.Valid(j.text):
			return &RefusedRow{j.line, "", text.ErrInvalidUTF8.Error()}, nil
		case len(bytes.TrimSpace(j.text)) > 0:
			return j.object(row), nil
		}
	}
}

func (j *jsonRows) object(row *importRow) *RefusedRow {
	rest := bytes.TrimSpace(j.text)
	if rest[0] != '{' || !json.Valid(rest) {
		return &RefusedRow{j.line, "", "is not one JSON object"}
	}
	seen := uint(0)
	for {
		rest = bytes.TrimLeft(rest[1:], " \t\r\n") // after the brace or a comma
		if rest[0] == '}' {
			return nil
		}
		var name, value []byte
		name, rest = cutJSON(rest)
		value, rest = cutJSON(bytes.TrimLeft(rest, ": \t\r\n"))
		rest = bytes.TrimLeft(rest, " \t\r\n")
		column := importColumn(jsonText(name))
		switch {
		case column < 0:
			return &RefusedRow{j.line, "", "has a field that is none of " + importNames}
		case seen&(1<<column) != 0:
			return &RefusedRow{j.line, importColumns[column].name, "is there twice"}
		}
		seen |= 1 << column
		if string(value) != "null" {
			decoded, err := importValue(importColumns[column].kind, value)
			if err != nil {
				return &RefusedRow{j.line, importColumns[column].name, err.Error()}
			}
			if refused := row.set(column, decoded); refused != nil {
				return refused
			}
		}
		if rest[0] == '}' {
			return nil
		}
	}
}

// cutJSON cuts the first value from what is known to be JSON.
func cutJSON(b []byte) (value, rest []byte) {
	depth := 0
	for n := 0; ; n++ {
		switch b[n] {
		case '"':
			for n++; b[n] != '"'; n++ {
				if b[n] == '\\' {
					n++
				}
			}
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		case ',', ':', ' ', '\t', '\r', '\n':
			continue
		default: // a number or a word
			for strings.IndexByte(",]} \t\r\n", b[n+1]) < 0 {
				n++
			}
		}
		if depth == 0 {
			return b[:n+1], b[n+1:]
		}
	}
}

// jsonText is the text of a string of JSON.
func jsonText(value []byte) (decoded string) {
	if bytes.IndexByte(value, '\\') < 0 {
		return string(value[1 : len(value)-1])
	}
	_ = json.Unmarshal(value, &decoded) // It is known to be a string.
	return decoded
}

// importValue is a value of JSON as one of a row.
func importValue(kind importKind, value json.RawMessage) (decoded string, err error) {
	switch {
	case kind == importText && value[0] != '"':
		return "", errors.New("must be text")
	case kind == importText:
		return jsonText(value), nil
	case kind == importFlag && string(value) != "true" && string(value) != "false":
		return "", errors.New("must be true or false")
	}
	return string(value), nil
}
