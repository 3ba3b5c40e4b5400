package adopt

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/reviewpoint/models/internal/address"
	"github.com/reviewpoint/models/internal/clock"
	"github.com/reviewpoint/models/internal/text"
)

type kind int

const (
	whole kind = iota
	chars
	moment
	flag
	object
)

// types of PostgreSQL in which a column of the old application may be kept.
var types = map[kind][]string{
	whole:  {"smallint", "integer", "bigint"},
	chars:  {"character varying", "text"},
	moment: {"timestamp with time zone", naive},
	flag:   {"boolean"},
	object: {"json", "jsonb"},
}

const naive = "timestamp without time zone"

// column is one of the old application.
type column struct {
	name     string
	kind     kind
	optional bool   // older versions did not have it
	found    string // its type, or nothing if it is not there
}

// table is one of the old application, and what becomes of its rows.
type table struct {
	name    string
	columns []column
	into    []string // columns of ours, in the order of what convert returns
	convert func(*row) []any
	rows    int
	last    int64 // the greatest id
}

// oldTables are those of the old application, in the order in which rows refer to each other.
func oldTables() []*table {
	return []*table{
		{
			name: "users",
			columns: []column{
				{name: "id"}, {name: "created_at", kind: moment}, {name: "updated_at", kind: moment}, {name: "email", kind: chars}, {name: "hashed_password", kind: chars},
				{name: "is_active", kind: flag}, {name: "is_deleted", kind: flag}, {name: "last_login_at", kind: moment}, {name: "name", kind: chars}, {name: "bio", kind: chars},
				{name: "avatar_url", kind: chars}, {name: "preferences", kind: object}, {name: "is_admin", kind: flag},
			},
			into: []string{
				"id", "created_at", "updated_at", "public_id", "email", "hashed_password", "is_active", "is_admin", "is_deleted", "deleted_at",
				"last_login_at", "tokens_valid_after", "name", "bio", "avatar_url", "preferences",
			},
			convert: (*row).user,
		},
		{
			name: "files",
			columns: []column{
				{name: "id"}, {name: "created_at", kind: moment}, {name: "updated_at", kind: moment}, {name: "filename", kind: chars}, {name: "content_type", kind: chars},
				{name: "size"}, {name: "user_id"},
			},
			into:    []string{"id", "created_at", "updated_at", "public_id", "filename", "content_type", "size", "user_id"},
			convert: (*row).file,
		},
		{
			name: "used_password_reset_tokens",
			columns: []column{
				{name: "id"}, {name: "created_at", kind: moment, optional: true}, {name: "updated_at", kind: moment, optional: true},
				{name: "email", kind: chars}, {name: "nonce", kind: chars}, {name: "used_at", kind: moment},
			},
			into:    []string{"id", "created_at", "updated_at", "email", "nonce", "used_at"},
			convert: (*row).reset,
		},
		{
			name: "blacklisted_tokens",
			columns: []column{
				{name: "id"}, {name: "created_at", kind: moment}, {name: "updated_at", kind: moment}, {name: "jti", kind: chars}, {name: "expires_at", kind: moment},
			},
			into:    []string{"id", "created_at", "updated_at", "jti", "expires_at"},
			convert: (*row).token,
		},
	}
}

// pass is one reading of all rows, and what it has found.
type pass struct {
	now      time.Time
	changes  map[subject]*Change
	notes    map[subject]*Change
	problems []Problem

	users    map[int64]bool
	accounts map[key][]account
	tokens   map[key]int64
	resets   map[key]reset
	removed  map[int64]bool // resets that are not copied; nil while they are being found
}

// key stands for a text of any length.
type key [16]byte

type account struct {
	id      int64
	deleted bool
}

type reset struct{ used, id int64 }

func newPass(now time.Time) *pass {
	return &pass{
		now: now, problems: []Problem{}, changes: map[subject]*Change{}, notes: map[subject]*Change{},
		users: map[int64]bool{}, accounts: map[key][]account{}, tokens: map[key]int64{}, resets: map[key]reset{},
	}
}

func keyOf(parts ...string) key {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00"))) // which no text holds
	return key(sum[:16])
}

// row is one row on its way.
type row struct {
	*pass

	table  *table
	id     int64
	values []any // as the table's columns
	failed bool
}

// column reports the place of a column.
func (r *row) column(name string) int {
	return slices.IndexFunc(r.table.columns, func(c column) bool { return c.name == name })
}

func (r *row) value(name string) any { return r.values[r.column(name)] }

func (r *row) refuse(name, reason string) {
	r.failed = true
	r.problems = append(r.problems, Problem{Table: r.table.name, ID: r.id, Column: name, Reason: reason})
}

func (r *row) changed(name, what string) {
	count(r.changes, subject{r.table.name, name, what})
}

// subject is what a Change is about.
type subject struct{ table, column, what string }

func count(in map[subject]*Change, which subject, ids ...int64) {
	found, ok := in[which]
	if !ok {
		found = &Change{Table: which.table, Column: which.column, What: which.what}
		in[which] = found
	}
	found.Rows += max(1, len(ids))
	found.IDs = append(found.IDs, ids...)
}

// text is text of at most so many characters, and not empty.
func (r *row) text(name string, most int) string {
	s, ok := r.raw(name, r.value(name))
	switch {
	case !ok:
	case s == "":
		r.refuse(name, "is empty")
	case utf8.RuneCountInString(s) > most:
		r.refuse(name, fmt.Sprintf("has more than %d characters", most))
	}
	return s
}

// textOrNull is nil, or text of at most so many characters, which may be none.
func (r *row) textOrNull(name string, most int) any {
	if value := r.value(name); value == nil || value == "" {
		return value
	}
	return r.text(name, most)
}

// raw is text of any length.
func (r *row) raw(name string, value any) (s string, ok bool) {
	s, ok = value.(string)
	switch err := text.Valid(s); {
	case value == nil:
		r.refuse(name, "is NULL")
	case !ok:
		r.refuse(name, "is not stored as text")
	case err != nil:
		r.refuse(name, err.Error())
	default:
		return s, true
	}
	return "", false
}

// address is that of the row in its normal form.
func (r *row) address() string {
	given, ok := r.raw("email", r.value("email"))
	if !ok {
		return ""
	}
	normal, err := address.Normal(given)
	if err != nil {
		r.refuse("email", err.Error())
	} else if normal != given {
		r.changed("email", "address put into its normal form")
	}
	return normal
}

// clocks are the forms in which SQLite may hold a time, with any fraction of a second.
var clocks = []string{time.DateTime, time.DateTime + "Z07:00", time.DateTime + "Z0700", time.DateTime + "Z07", time.DateTime + " Z07:00"}

// time is the instant in a column; without a zone it is UTC.
func (r *row) time(name string) time.Time {
	place := r.column(name)
	var t time.Time
	switch value := r.values[place].(type) {
	case nil:
		r.refuse(name, "is NULL")
		return t
	case time.Time:
		t = value
		if r.table.columns[place].found == naive {
			r.changed(name, withoutZone)
		}
	case string:
		var ok bool
		if t, ok = r.parse(name, value); !ok {
			r.refuse(name, "is no time")
			return t
		}
	default:
		r.refuse(name, "is no time")
		return t
	}
	if t = clock.Normal(t); t.Year() < 1 || t.Year() > 9999 {
		r.refuse(name, "is outside the years 1 to 9999")
	}
	return t
}

const withoutZone = "time without a zone taken for UTC"

func (r *row) parse(name, value string) (time.Time, bool) {
	if len(value) > 10 && value[10] == 'T' {
		value = value[:10] + " " + value[11:]
	}
	for i, layout := range clocks {
		if t, err := time.Parse(layout, value); err == nil {
			if i == 0 {
				r.changed(name, withoutZone)
			}
			return t, true
		}
	}
	return time.Time{}, false
}

func (r *row) flag(name string) bool {
	switch value := r.value(name).(type) {
	case bool:
		return value
	case int64:
		if value == 0 || value == 1 {
			return value == 1
		}
	case nil:
		r.refuse(name, "is NULL")
		return false
	}
	r.refuse(name, "is neither true nor false")
	return false
}

// object is nil, or the text of a JSON object.
func (r *row) object(name string) any {
	value := r.value(name)
	if value == nil {
		return nil
	}
	s, ok := r.raw(name, value)
	if !ok {
		return nil
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(s)); err != nil {
		r.refuse(name, "is no JSON")
		return nil
	}
	s = compact.String()
	switch reason := objection(s); {
	case s == "null":
		r.changed(name, "JSON null becomes NULL")
		return nil
	case s[0] != '{':
		r.refuse(name, "is no JSON object")
	case reason != "":
		r.refuse(name, reason)
	}
	return s
}

// maxDepth is SQLite's (JSON_MAX_DEPTH).
const maxDepth = 1000

// objection says what keeps valid JSON from being stored and read on both databases.
func objection(s string) string {
	depth, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
			if s[i] != 'u' {
				continue
			}
			r := escaped(s[i-1:])
			i += 4
			if r == 0 {
				return "holds a NUL character"
			}
			if utf16.IsSurrogate(r) {
				if utf16.DecodeRune(r, escaped(s[i+1:])) == utf8.RuneError {
					return "holds half a character (\\ud800 to \\udfff)"
				}
				i += 6
			}
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return fmt.Sprintf("is nested more than %d levels deep", maxDepth)
			}
		case c == '}' || c == ']':
			depth--
		case c == '-' || '0' <= c && c <= '9':
			end := i + len(s[i:]) - len(strings.TrimLeft(s[i:], "+-.eE0123456789"))
			if !storable(s[i:end]) {
				return "holds a number that is too large, or has too many digits"
			}
			i = end - 1
		}
	}
	return ""
}

// escaped is the character of \uXXXX at the beginning of s, or -1.
func escaped(s string) rune {
	if len(s) < 6 || s[:2] != `\u` {
		return -1
	}
	n, err := strconv.ParseUint(s[2:6], 16, 16)
	if err != nil {
		return -1
	}
	return rune(n)
}

// storable reports whether PostgreSQL can store the number and this program read it.
func storable(number string) bool {
	const digits = 16383 // after the point, of PostgreSQL's numeric
	mantissa, exponent, _ := strings.Cut(strings.ToLower(number), "e")
	_, fraction, _ := strings.Cut(mantissa, ".")
	power, err := strconv.Atoi(cmp.Or(exponent, "0"))
	if err != nil || power > digits || len(fraction)-power > digits {
		return false
	}
	_, err = strconv.ParseFloat(number, 64)
	return err == nil
}

// hashes are those that the old application made, and that a password can match.
var hashes = regexp.MustCompile(`^\$2[abxy]?\$(0[4-9]|1[0-6])\$[./A-Za-z0-9]{53}$|^\$argon2id\$`)

func (r *row) user() []any {
	r.users[r.id] = true
	created, updated := r.time("created_at"), r.time("updated_at")
	latest := later(r.now, created)
	var login any
	if r.value("last_login_at") != nil {
		t := r.time("last_login_at")
		login, latest = t, later(latest, t)
	}
	email, hash := r.address(), r.text("hashed_password", 255)
	active, admin, deleted := r.flag("is_active"), r.flag("is_admin"), r.flag("is_deleted")
	name, bio, avatar := r.textOrNull("name", 128), r.textOrNull("bio", 512), r.textOrNull("avatar_url", 255)
	preferences := r.object("preferences")
	if r.failed {
		return nil
	}
	k := keyOf(email)
	r.accounts[k] = append(r.accounts[k], account{r.id, deleted})
	r.changed("public_id", "given")
	if !hashes.MatchString(hash) {
		count(r.notes, subject{"users", "hashed_password", "no password will ever match it: the person needs a reset"}, r.id)
	}
	var deletedAt, cutoff any
	if deleted {
		deletedAt = updated
		r.changed("deleted_at", "set to updated_at, for the account is deleted")
	}
	if deleted || !active {
		cutoff = latest
		r.changed("tokens_valid_after", "set to now, for the account is deleted or disabled")
	}
	return []any{r.id, created, updated, uuid.New(), email, hash, active, admin, deleted, deletedAt, login, cutoff, name, bio, avatar, preferences}
}

func later(t, other time.Time) time.Time {
	if other.After(t) {
		return other
	}
	return t
}

func (r *row) file() []any {
	created, updated := r.time("created_at"), r.time("updated_at")
	filename, contentType := r.text("filename", 255), r.text("content_type", 128)
	size, ok := r.value("size").(int64)
	switch {
	case r.value("size") == nil:
		r.changed("size", "NULL becomes 0")
	case !ok:
		r.refuse("size", "is no whole number")
	case size < 0:
		r.refuse("size", "is negative")
	}
	owner, ok := r.value("user_id").(int64)
	switch {
	case r.value("user_id") == nil:
		r.refuse("user_id", "is NULL")
	case !ok || !r.users[owner]:
		r.refuse("user_id", "is no user that there is")
	}
	r.changed("public_id", "given")
	return []any{r.id, created, updated, uuid.New(), filename, contentType, size, owner}
}

// reset returns nothing for a row that another one makes superfluous.
func (r *row) reset() []any {
	used := r.time("used_at")
	email, nonce := r.address(), r.text("nonce", 64)
	stamp := func(name string) time.Time {
		if r.table.columns[r.column(name)].found != "" {
			return r.time(name)
		}
		r.changed(name, "set to used_at")
		return used
	}
	created, updated := stamp("created_at"), stamp("updated_at")
	if r.failed || r.removed[r.id] {
		return nil
	}
	if r.removed == nil {
		r.single(keyOf(email, nonce), used)
	}
	return []any{r.id, created, updated, email, nonce, used}
}

// single keeps the earliest of the resets that are alike.
func (r *row) single(k key, used time.Time) {
	this := reset{used.UnixMicro(), r.id}
	kept, ok := r.resets[k]
	if !ok {
		r.resets[k] = this
		return
	}
	if this.used < kept.used { // ids come in order
		r.resets[k], this = this, kept
	}
	count(r.changes, subject{r.table.name, "", removed}, this.id)
}

const removed = "removed: the same address and nonce was used earlier"

func (r *row) token() []any {
	created, updated, expires := r.time("created_at"), r.time("updated_at"), r.time("expires_at")
	jti := r.text("jti", 255)
	if !r.failed {
		k := keyOf(jti)
		if first, ok := r.tokens[k]; ok {
			r.refuse("jti", fmt.Sprintf("is that of row %d, too", first))
		} else {
			r.tokens[k] = r.id
		}
	}
	return []any{r.id, created, updated, jti, expires}
}

const sameAddress = "is, in its normal form, the address of the accounts "

// SameAddress reports whether the problem is an address that other accounts have, too.
func (p Problem) SameAddress() bool { return strings.HasPrefix(p.Reason, sameAddress) }

// compare finds the accounts that have one address.
func (p *pass) compare() {
	for _, all := range p.accounts {
		if len(all) == 1 {
			continue
		}
		var alive, deleted []int64
		for _, a := range all {
			if a.deleted {
				deleted = append(deleted, a.id)
			} else {
				alive = append(alive, a.id)
			}
		}
		if len(alive) > 1 {
			reason := sameAddress + Join(alive)
			for _, id := range alive {
				p.problems = append(p.problems, Problem{Table: "users", ID: id, Column: "email", Reason: reason})
			}
		}
		if len(deleted) > 0 && len(alive) > 0 {
			count(p.notes, subject{"users", "email", "deleted account whose address another one uses: it cannot be restored with it"}, deleted...)
		}
	}
}

// Join lists ids.
func Join(ids []int64) string {
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = strconv.FormatInt(id, 10)
	}
	return strings.Join(words, ", ")
}

// row converts the values of one, or returns nothing if there is no place for it.
func (p *pass) row(t *table, values []any) []any {
	id, ok := values[0].(int64)
	r := &row{pass: p, table: t, id: id, values: values}
	if !ok || id == math.MaxInt64 {
		r.refuse("id", "is no whole number, or the last one there is")
	}
	out := t.convert(r)
	if r.failed {
		return nil
	}
	return out
}
