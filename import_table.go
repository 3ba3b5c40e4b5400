package models

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/file"
	"github.com/reviewpoint/models/ent/user"
	"github.com/reviewpoint/models/internal/address"
	"github.com/reviewpoint/models/internal/audit"
	"github.com/reviewpoint/models/internal/clock"
	"github.com/reviewpoint/models/internal/jsonobject"
	"github.com/reviewpoint/models/internal/password"
	"github.com/reviewpoint/models/internal/policy"
	"github.com/reviewpoint/models/internal/row"
	"github.com/reviewpoint/models/internal/text"
	"github.com/reviewpoint/models/schema"
)

// portableTable is a table whose rows are imported and exported.
type portableTable struct {
	entity  string
	name    string // in the database
	row     string // what a row is, for people
	columns []portableColumn
	rules   policy.Rules
	must    []int // columns that each row gives

	// Places of columns; -1 for one that the table has not.
	email, isDeleted, deletedAt, createdAt, updatedAt int

	// read selects the id and the columns, in their order, of rows t, whose owners are u.
	read  string
	trail *audit.Creations // of rows that are made; nil if that is not audited
	order []int            // of the columns in the trail
}

// portableColumn is a column of a file. In a row of such a file a value is text in its normal form: a flag
// is true or false, a time RFC 3339 in UTC, an object canonical.
type portableColumn struct {
	name    string
	kind    columnKind
	normal  func(value string) (string, error) // its errors hold nothing of the value
	absent  string                             // what a new row has that is not given one; none is NULL
	system  bool                               // the system alone gives it
	once    bool                               // it is never changed
	forward bool                               // it is only moved on
	mark    int                                // its place in a dryRow; -1 for one that is not compared
}

type columnKind int

const (
	kindText columnKind = iota
	kindFlag
	kindTime
	kindObject
	kindUUID
	kindNumber
	kindOwner // the public id of an account, which stands for its id
)

// maxColumns is how many columns a table may have.
const maxColumns = 15

// Places of columns of every table, and of users.
const (
	columnPublicID = 0
	columnOwner    = 1 // of files
	columnEmail    = 1 // of users
)

var portableUsers = newPortable(portableTable{
	entity: ent.TypeUser, name: user.Table, row: "account", rules: userRules, must: []int{columnEmail},
	read: "SELECT t.id, t.public_id, t.email, t.name, t.bio, t.avatar_url, t.preferences, t.is_active, t.is_admin, t.is_deleted, t.deleted_at, " +
		"t.last_login_at, t.tokens_valid_after, t.created_at, t.updated_at, t.hashed_password FROM users AS t ",
	columns: []portableColumn{
		{name: user.FieldPublicID, kind: kindUUID, normal: normalUUID, mark: -1},
		{name: user.FieldEmail, normal: normalEmail, mark: -1},
		{name: user.FieldName, normal: asItIs(user.NameValidator)},
		{name: user.FieldBio, normal: asItIs(user.BioValidator)},
		{name: user.FieldAvatarURL, normal: asItIs(user.AvatarURLValidator)},
		{name: user.FieldPreferences, kind: kindObject, normal: normalPreferences},
		{name: user.FieldIsActive, kind: kindFlag, normal: normalFlag, absent: "true"},
		{name: user.FieldIsAdmin, kind: kindFlag, normal: normalFlag, absent: "false"},
		{name: user.FieldIsDeleted, kind: kindFlag, normal: normalFlag, absent: "false", system: true},
		{name: user.FieldDeletedAt, kind: kindTime, normal: normalTime, system: true},
		{name: user.FieldLastLoginAt, kind: kindTime, normal: normalTime, system: true, forward: true},
		{name: user.FieldTokensValidAfter, kind: kindTime, normal: normalTime, system: true, forward: true},
		{name: user.FieldCreatedAt, kind: kindTime, normal: normalTime, once: true},
		{name: user.FieldUpdatedAt, kind: kindTime, normal: normalTime, system: true, mark: -1},
		{name: user.FieldHashedPassword, normal: normalHash, absent: password.None, system: true},
	},
})

var portableFiles = newPortable(portableTable{
	entity: ent.TypeFile, name: file.Table, row: "file", rules: fileRules, must: []int{columnOwner, 2, 3},
	read: "SELECT t.id, t.public_id, u.public_id, t.filename, t.content_type, t.size, t.created_at, t.updated_at FROM files AS t JOIN users AS u ON u.id = t.user_id ",
	columns: []portableColumn{
		{name: file.FieldPublicID, kind: kindUUID, normal: normalUUID, mark: -1},
		{name: "user_public_id", kind: kindOwner, normal: normalUUID},
		{name: file.FieldFilename, normal: asItIs(file.FilenameValidator)},
		{name: file.FieldContentType, normal: asItIs(file.ContentTypeValidator)},
		{name: file.FieldSize, kind: kindNumber, normal: normalSize, absent: "0"},
		{name: file.FieldCreatedAt, kind: kindTime, normal: normalTime, once: true},
		{name: file.FieldUpdatedAt, kind: kindTime, normal: normalTime, system: true, mark: -1},
	},
})

var fileRules = schema.File{}.Policy().(policy.Rules) //nolint:forcetypeassert // Else no program starts.

// ownerByEmail is a column of files that are imported, in place of user_public_id. It comes after the others.
const ownerByEmail = "user_email"

func newPortable(t portableTable) *portableTable {
	marks := 0
	for n := range t.columns {
		if t.columns[n].mark == 0 {
			t.columns[n].mark = marks
			marks++
		}
	}
	t.email, t.isDeleted, t.deletedAt = t.column(user.FieldEmail), t.column(user.FieldIsDeleted), t.column(user.FieldDeletedAt)
	t.createdAt, t.updatedAt = t.column(user.FieldCreatedAt), t.column(user.FieldUpdatedAt)
	if t.email < 0 {
		return &t
	}
	sorted := slices.Sorted(slices.Values(t.names()))
	for _, name := range sorted {
		t.order = append(t.order, t.column(name))
	}
	for _, mixin := range (schema.User{}).Mixin() {
		if audited, ok := mixin.(schema.Audited); ok {
			t.trail = audited.Changes.Creations(sorted, []string{user.FieldHashedPassword})
		}
	}
	return &t
}

// column returns -1 for a name that is none.
func (t *portableTable) column(name string) int {
	return slices.IndexFunc(t.columns, func(c portableColumn) bool { return c.name == name })
}

// names are those of the columns, in their order.
func (t *portableTable) names() []string {
	names := make([]string, len(t.columns))
	for n := range t.columns {
		names[n] = t.columns[n].name
	}
	return names
}

// importable are the names that a file to import may have.
func (t *portableTable) importable() []string {
	if t.email < 0 {
		return append(t.names(), ownerByEmail)
	}
	return t.names()
}

// columnSet is a set of columns, by their places.
type columnSet uint32

func (s columnSet) has(n int) bool       { return n >= 0 && s&(1<<n) != 0 }
func (s columnSet) with(n int) columnSet { return s | 1<<n }

// portableRow is a row in its normal form.
type portableRow struct {
	given  columnSet // the columns that are not NULL
	values [maxColumns]string
}

func (r *portableRow) set(n int, value string) {
	r.given = r.given.with(n)
	r.values[n] = value
}

// scan reads what portableTable.read selects, after the id.
func (r *portableRow) scan(t *portableTable, from *row.Row) (err error) {
	for n := range t.columns {
		value := from.Next()
		if value == nil {
			continue
		}
		var normal string
		switch t.columns[n].kind {
		case kindFlag:
			normal = strconv.FormatBool(row.Bool(value, &err))
		case kindTime:
			normal = row.Time(value, &err).UTC().Format(time.RFC3339Nano)
		case kindUUID, kindOwner:
			normal = row.UUID(value, &err).String()
		case kindNumber:
			normal = strconv.FormatInt(row.Int64(value, &err), 10)
		case kindObject:
			document := row.String(value, &err)
			if normal, err = jsonobject.Canonical(document); err != nil {
				return err
			}
		default:
			normal = row.String(value, &err)
		}
		if err != nil {
			return err
		}
		r.set(n, normal)
	}
	return nil
}

func asItIs(valid func(string) error) func(string) (string, error) {
	return func(value string) (string, error) { return value, valid(value) }
}

func normalEmail(value string) (string, error) {
	normal, err := address.Normal(value)
	if err != nil {
		return "", err
	}
	return normal, user.EmailValidator(normal)
}

func normalHash(value string) (string, error) {
	if value != password.None && !password.Known(value) {
		return "", errors.New("must be a hash of Argon2id in PHC form, or of bcrypt")
	}
	return value, user.HashedPasswordValidator(value)
}

func normalUUID(value string) (string, error) {
	id, err := uuid.Parse(value)
	if err != nil || id == uuid.Nil {
		return "", errors.New("must be a UUID, not all zeros")
	}
	return id.String(), nil
}

func normalTime(value string) (string, error) {
	at, err := time.Parse(time.RFC3339, value)
	if err != nil || at.UTC().Year() < 1970 || at.UTC().Year() > 9999 {
		return "", errors.New("must be a time with its zone from 1970 on, such as 2026-11-23T21:04:05Z")
	}
	return clock.Normal(at).Format(time.RFC3339Nano), nil
}

var errFlag = errors.New("must be true or false")

func normalFlag(value string) (string, error) {
	is, err := strconv.ParseBool(value)
	if err != nil {
		return "", errFlag
	}
	return strconv.FormatBool(is), nil
}

func normalSize(value string) (string, error) {
	bytes, err := strconv.ParseInt(value, 10, 64)
	if err != nil || bytes < 0 {
		return "", errors.New("must be a whole number of bytes, from 0 to 9223372036854775807")
	}
	return strconv.FormatInt(bytes, 10), nil
}

// normalPreferences writes them as the client does, with all the digits of their numbers.
func normalPreferences(value string) (string, error) {
	if err := text.Valid(value); err != nil {
		return "", err
	}
	canonical, err := jsonobject.Canonical(value)
	if err != nil {
		return "", err
	}
	return canonical, storable(canonical)
}

// storable refuses canonical JSON that holds a NUL.
func storable(canonical string) error {
	if !strings.Contains(canonical, `\u0000`) { // Only so can it.
		return nil
	}
	object, err := jsonobject.Decode([]byte(canonical))
	if err != nil {
		return err
	}
	return jsonobject.Valid(object)
}

// Deeper nests no object that SQLite takes with the rows of a batch, and with its row of the trail.
const sqliteDepth = 996

// deeper reports whether canonical JSON nests deeper than so many levels.
func deeper(document string, levels int) bool {
	if strings.Count(document, "{")+strings.Count(document, "[") <= levels {
		return false
	}
	depth, quoted := 0, false
	for i := 0; i < len(document); i++ {
		switch c := document[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{', c == '[':
			if depth++; depth > levels {
				return true
			}
		case c == '}', c == ']':
			depth--
		}
	}
	return false
}

// CSV has no NULL and no types, and spreadsheets run what looks like a formula (OWASP, CSV Injection). So
// the empty cell is NULL, and these values have one apostrophe more before them: the empty one, those that
// begin as a formula does after any number of apostrophes, and those of apostrophes alone. No two values
// are written alike.

// guard writes a value for a cell. For readers of CSV, who take the CR of a CRLF away, it has one more.
func guard(value string) string {
	if guarded(value) {
		value = "'" + value
	}
	return strings.ReplaceAll(value, "\r\n", "\r\r\n")
}

// unguard undoes guard for what csv.Reader reads.
func unguard(cell string) string {
	if value, ok := strings.CutPrefix(cell, "'"); ok && guarded(value) {
		return value
	}
	return cell
}

func guarded(value string) bool {
	value = strings.TrimLeft(value, "'")
	return value == "" || strings.ContainsAny(value[:1], "=+-@\t\r\n") ||
		strings.HasPrefix(value, "＝") || strings.HasPrefix(value, "＋") || strings.HasPrefix(value, "－") || strings.HasPrefix(value, "＠")
}
