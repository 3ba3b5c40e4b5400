package models

import (
	"context"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"entgo.io/ent/dialect"
	"golang.org/x/text/unicode/norm"

	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/file"
	"github.com/reviewpoint/models/ent/user"
	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/policy"
	"github.com/reviewpoint/models/internal/row"
	"github.com/reviewpoint/models/internal/text"
	"github.com/reviewpoint/models/internal/validation"
	"github.com/reviewpoint/models/internal/viewer"
)

// Sort is the column that a list is sorted by. Rows that are equal in it are in the order of their ids, in
// the same direction. Text is sorted by code points on both databases: upper case comes before lower case,
// and both before letters with accents.
type Sort string

// The columns. A list that has no such column refuses it with *ValidationError.
const (
	SortID        Sort = "id" // the order in which rows were put on record
	SortCreatedAt Sort = "created_at"
	SortUpdatedAt Sort = "updated_at"

	SortEmail       Sort = "email"         // of users
	SortName        Sort = "name"          // of users; one without a name comes as one whose name is empty
	SortLastLoginAt Sort = "last_login_at" // of users; one who never signed in comes before the first who did

	SortFilename    Sort = "filename"     // of files
	SortContentType Sort = "content_type" // of files
	SortSize        Sort = "size"         // of files
)

// Order is the direction of a list. The zero value is newest first where it is sorted by a time or by id,
// and otherwise the smallest first.
type Order string

// The directions.
const (
	Ascending  Order = "asc"
	Descending Order = "desc"
)

// UserFilter says which accounts a list has: those that all its fields let through. The zero value lets
// through all that the viewer may see. Texts have at most 255 characters; case does not count, letter by letter
// as in Unicode's simple case folding, and no character has a meaning of its own.
type UserFilter struct {
	Text          string    // in the address or in the name
	Email         string    // in the address
	Name          string    // in the name
	Active        *bool     // new(false) for the disabled ones
	Admin         *bool     // new(true) for administrators
	Deleted       *bool     // new(true) for the deleted ones, which only a context from IncludeDeleted shows
	CreatedFrom   time.Time // made at this time or later; zero for any
	CreatedBefore time.Time // made earlier than this; zero for any
}

// FileFilter says which files a list has: those that all its fields let through. The zero value lets through
// all that the viewer may see. Texts are as in UserFilter.
type FileFilter struct {
	UserID        int       // of this user alone; 0 for any
	Filename      string    // in the name
	ContentType   string    // the whole of it, or all that begin alike: image/*
	MinSize       int64     // bytes, at least; 0 for any
	MaxSize       *int64    // bytes, at most; nil for any
	CreatedFrom   time.Time // made at this time or later; zero for any
	CreatedBefore time.Time // made earlier than this; zero for any
}

// ListUsers returns a page of accounts, newest first unless request says otherwise. Deleted ones are among
// them in a context from IncludeDeleted of administrators and the system.
//
// A page is one statement, and the total one more, which is not of the same moment. By created_at or id
// (and on SQLite by email) a page costs the same however deep it lies; by other columns it reads all rows
// that the filter lets through, and a text in the filter is compared with every row on the way.
//
// It shows what the viewer may see: all accounts for administrators and the system, the own one for a person;
// others get ErrForbidden. It returns *ValidationError for a request that cannot be: a limit out of bounds, a
// column that accounts are not sorted by, a filter that no account can pass, or a cursor that is damaged or
// from another list. It may run inside InTx. Interceptors that a service has added to the client do not run.
func (s *Store) ListUsers(ctx context.Context, filter UserFilter, request PageRequest) (*Page[*ent.User], error) {
	owner, err := userRules.Readable(ctx, ent.TypeUser)
	if err != nil {
		return nil, err
	}
	l := newList(s, "users", "UserFilter")
	l.indexed = true
	if owner != 0 {
		l.where("id", "id = ", strconv.Itoa(owner), owner)
	}
	if owner == 0 && viewer.DeletedIncluded(ctx) {
		l.name += " and deleted"
	} else {
		l.conditions = append(l.conditions, "NOT is_deleted")
	}
	l.contains("text", filter.Text, user.FieldEmail, user.FieldName)
	l.contains("email", filter.Email, user.FieldEmail)
	l.contains("name", filter.Name, user.FieldName)
	l.is(user.FieldIsActive, filter.Active)
	l.is(user.FieldIsAdmin, filter.Admin)
	l.is(user.FieldIsDeleted, filter.Deleted)
	if filter.Deleted != nil && *filter.Deleted && !viewer.DeletedIncluded(ctx) {
		l.refuse("deleted", "needs a context from IncludeDeleted")
	}
	l.between(filter.CreatedFrom, filter.CreatedBefore)
	if err := l.sortBy(request, SortCreatedAt, userSorts); err != nil {
		return nil, err
	}
	return listPage(ctx, s.db, l, request, user.Table, ent.SelectUser, s.User.Nodes, placeOfUser)
}

// ListFiles returns a page of files. Those of one user are sorted by created_at and those of all users by id,
// which is the order in which they were put on record, newest first, unless request says otherwise.
//
// A page is one statement, and the total one more, which is not of the same moment. One user's files by
// created_at (and on SQLite by filename), and all files by id, cost the same however deep the page lies; by
// other columns a page reads all rows that the filter lets through, and a text in the filter is compared with
// every row on the way.
//
// It shows what the viewer may see: the own files for a person, all for administrators and the system;
// others get ErrForbidden. It returns *ValidationError for a request that cannot be: a limit out of bounds, a
// column that files are not sorted by, a filter that no file can pass, or a cursor that is damaged or from
// another list. It may run inside InTx. Interceptors that a service has added to the client do not run.
func (s *Store) ListFiles(ctx context.Context, filter FileFilter, request PageRequest) (*Page[*ent.File], error) {
	v, err := policy.Asking(ctx)
	all := v.System || v.Admin
	switch {
	case err != nil:
		return nil, err
	case !all && v.UserID == 0:
		return nil, policy.Deny("%s may not read %s", v, ent.TypeFile)
	case filter.UserID < 0:
		return nil, validation.New("FileFilter", "user_id", "must be the id of an account, or 0 for any")
	}
	l := newList(s, "files", "FileFilter")
	sort := SortCreatedAt
	switch {
	case all && filter.UserID == 0:
		sort = SortID
	case all, filter.UserID == v.UserID, filter.UserID == 0:
		owner := filter.UserID
		if !all {
			owner = v.UserID
		}
		l.where("user_id", "user_id = ", strconv.Itoa(owner), owner)
		l.indexed, l.owned = true, true
	default: // Those of others are not there.
		l.where("user_id", "FALSE AND user_id = ", strconv.Itoa(filter.UserID), filter.UserID)
	}
	if !all {
		l.conditions = append(l.conditions, "EXISTS (SELECT 1 FROM users WHERE id = $1 AND NOT is_deleted)")
	}
	l.contains("filename", filter.Filename, file.FieldFilename)
	l.kindOf(file.FieldContentType, filter.ContentType)
	l.sizes(filter.MinSize, filter.MaxSize)
	l.between(filter.CreatedFrom, filter.CreatedBefore)
	if err := l.sortBy(request, sort, fileSorts); err != nil {
		return nil, err
	}
	return listPage(ctx, s.db, l, request, file.Table, ent.SelectFile, s.File.Nodes, placeOfFile)
}

// list is a list as it is composed for a statement. Its arguments are numbered in the order in which they
// first stand in the text, which is how SQLite counts them.
type list struct {
	dialect    string
	entity     string // the filter, for errors
	name       string // which list it is, for its cursors
	conditions []string
	args       []any
	by         Sort
	key        sortKey
	descending bool
	indexed    bool  // there is an index by created_at
	owned      bool  // its rows are found by their owner
	search     bool  // rows may be looked at that are not shown
	err        error // the first of the filter
}

func newList(s *Store, name, filter string) *list {
	return &list{dialect: s.Dialect(), name: name, entity: filter, conditions: make([]string, 0, 4), args: make([]any, 0, 4)}
}

// sortKey is what a list is sorted by, before the id.
type sortKey struct {
	expression string // empty for the id alone
	holds      keyKind
}

type keyKind int

const (
	number keyKind = iota
	instant
	words
)

// takes reports whether a place can be one in the order: who knows how can write a cursor of any.
func (k sortKey) takes(p place) bool {
	if k.holds == instant && !possible(time.UnixMicro(p.at)) {
		return false
	}
	return text.Valid(p.text) == nil
}

// A missing value is the smallest, so that there is none to compare.
var (
	userSorts = map[Sort]sortKey{
		SortID:          {},
		SortCreatedAt:   {"created_at", instant},
		SortUpdatedAt:   {"updated_at", instant},
		SortEmail:       {"email", words},
		SortName:        {"coalesce(name, '')", words},
		SortLastLoginAt: {"coalesce(last_login_at, " + never + ")", instant},
	}
	fileSorts = map[Sort]sortKey{
		SortID:          {},
		SortCreatedAt:   {"created_at", instant},
		SortUpdatedAt:   {"updated_at", instant},
		SortFilename:    {"filename", words},
		SortContentType: {"content_type", words},
		SortSize:        {"size", number},
	}
)

// never stands for a time that is missing, in the form of the database: PostgreSQL would read one without a
// zone in that of the session.
const never = "'0001-01-01 00:00:00'"

func placeOfUser(sort Sort, u *ent.User) place {
	p := place{id: int64(u.ID)}
	switch sort {
	case SortCreatedAt:
		p.at = u.CreatedAt.UnixMicro()
	case SortUpdatedAt:
		p.at = u.UpdatedAt.UnixMicro()
	case SortEmail:
		p.text = u.Email
	case SortName:
		if u.Name != nil {
			p.text = *u.Name
		}
	case SortLastLoginAt:
		p.at = time.Time{}.UnixMicro()
		if u.LastLoginAt != nil {
			p.at = u.LastLoginAt.UnixMicro()
		}
	default: // the id alone
	}
	return p
}

func placeOfFile(sort Sort, f *ent.File) place {
	p := place{id: int64(f.ID)}
	switch sort {
	case SortCreatedAt:
		p.at = f.CreatedAt.UnixMicro()
	case SortUpdatedAt:
		p.at = f.UpdatedAt.UnixMicro()
	case SortFilename:
		p.text = f.Filename
	case SortContentType:
		p.text = f.ContentType
	case SortSize:
		p.at = f.Size
	default: // the id alone
	}
	return p
}

func (l *list) arg(value any) string {
	l.args = append(l.args, value)
	return "$" + strconv.Itoa(len(l.args))
}

// where adds a condition that ends with a value, which text tells from others.
func (l *list) where(field, condition, text string, value any) {
	l.name += " " + field + "=" + text
	l.conditions = append(l.conditions, condition+l.arg(value))
}

func (l *list) refuse(field, reason string) {
	if l.err == nil {
		l.err = validation.New(l.entity, field, reason)
	}
}

func (l *list) is(column string, value *bool) {
	if value == nil {
		return
	}
	l.search = true
	if *value {
		l.name += " " + column
		l.conditions = append(l.conditions, column)
		return
	}
	l.name += " not " + column
	l.conditions = append(l.conditions, "NOT "+column)
}

func (l *list) between(from, before time.Time) {
	if !from.IsZero() {
		l.since("created_from", "created_at >= ", from)
	}
	if !before.IsZero() {
		l.since("created_before", "created_at < ", before)
	}
	if !from.IsZero() && !before.IsZero() && !from.Before(before) {
		l.refuse("created_before", "must be later than created_from")
	}
}

func (l *list) since(field, condition string, at time.Time) {
	if !possible(at) {
		l.refuse(field, "must be a time in the years 1 to 9999")
		return
	}
	l.search = true
	l.where(field, condition, strconv.FormatInt(at.UnixMicro(), 10), at)
}

// possible reports whether the databases take a time.
func possible(at time.Time) bool {
	year := at.UTC().Year()
	return year >= 1 && year <= 9999
}

func (l *list) sizes(least int64, most *int64) {
	switch {
	case least < 0:
		l.refuse("min_size", "must be 0 or more bytes")
	case most != nil && *most < least:
		l.refuse("max_size", "must not be below 0, or below the least size")
	}
	l.search = l.search || least > 0 || most != nil
	if least > 0 {
		l.where("min_size", "size >= ", strconv.FormatInt(least, 10), least)
	}
	if most != nil {
		l.where("max_size", "size <= ", strconv.FormatInt(*most, 10), *most)
	}
}

// contains lets through what has the text in one of the columns. Both forms of a letter with an accent are
// looked for, composed and not: some systems take their file names apart.
func (l *list) contains(field, wanted string, columns ...string) {
	if wanted == "" || !l.searchable(field, wanted) {
		return
	}
	l.name += " " + field + "=" + strconv.Quote(wanted)
	patterns := []string{l.arg(pattern(l.dialect, norm.NFC.String(wanted), false, false))}
	if apart := norm.NFD.String(wanted); !norm.NFC.IsNormalString(apart) {
		patterns = append(patterns, l.arg(pattern(l.dialect, apart, false, false)))
	}
	var either []string
	for _, column := range columns {
		for _, p := range patterns {
			either = append(either, column+l.matches()+p)
		}
	}
	l.conditions = append(l.conditions, "("+strings.Join(either, " OR ")+")")
}

// kindOf lets through what is the text in a column, or begins with it if that ends in a star.
func (l *list) kindOf(column, wanted string) {
	if wanted == "" || !l.searchable(column, wanted) {
		return
	}
	l.name += " " + column + "=" + strconv.Quote(wanted)
	whole, begins := strings.CutSuffix(wanted, "*")
	l.conditions = append(l.conditions, column+l.matches()+l.arg(pattern(l.dialect, whole, true, !begins)))
}

// longestText is how many characters a filter's text has at most, as the longest column that it is for.
const longestText = 255

func (l *list) searchable(field, wanted string) bool {
	l.search = true
	err := text.Valid(wanted)
	switch {
	case err != nil:
		l.refuse(field, err.Error())
	case utf8.RuneCountInString(wanted) > longestText:
		l.refuse(field, "must have at most 255 characters")
	default:
		return true
	}
	return false
}

func (l *list) matches() string {
	if l.dialect == dialect.SQLite {
		return " GLOB "
	}
	return " ~ "
}

// pattern is a text as a pattern of SQLite's GLOB or PostgreSQL's ~, which find it in either case: LIKE in
// SQLite knows the case of ASCII alone, and that in PostgreSQL depends on the locale.
func pattern(name, wanted string, begins, ends bool) string {
	sqlite := name == dialect.SQLite
	var b strings.Builder
	switch {
	case sqlite && !begins:
		b.WriteByte('*')
	case !sqlite && begins:
		b.WriteByte('^')
	}
	for _, r := range wanted {
		switch other := unicode.SimpleFold(r); {
		case other != r:
			b.WriteByte('[')
			b.WriteRune(r)
			for ; other != r; other = unicode.SimpleFold(other) {
				b.WriteRune(other)
			}
			b.WriteByte(']')
		case sqlite && strings.ContainsRune("*?[", r):
			b.WriteByte('[')
			b.WriteRune(r)
			b.WriteByte(']')
		case !sqlite && strings.ContainsRune(`.^$*+?()[]{}|\`, r):
			b.WriteByte('\\')
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	switch {
	case sqlite && !ends:
		b.WriteByte('*')
	case !sqlite && ends:
		b.WriteByte('$')
	}
	return b.String()
}

// sortBy takes the order from the request, after the filter.
func (l *list) sortBy(request PageRequest, by Sort, keys map[Sort]sortKey) error {
	if l.err != nil {
		return l.err
	}
	if l.by = by; request.Sort != "" {
		l.by = request.Sort
	}
	key, known := keys[l.by]
	if !known {
		return validation.New("PageRequest", "sort", "must be a column that the list can be sorted by, or empty")
	}
	l.key = key
	l.search = l.search || l.by != by
	switch request.Order {
	case "":
		l.descending = key.expression == "" || key.holds == instant
	case Ascending, Descending:
		l.descending = request.Order == Descending
	default:
		return validation.New("PageRequest", "order", "must be asc or desc, or empty")
	}
	l.name += " by " + string(l.by)
	if l.descending {
		l.name += " desc"
	}
	if l.dialect == dialect.Postgres {
		l.key.expression = strings.Replace(l.key.expression, never, "timestamptz '0001-01-01 00:00:00+00'", 1)
		if l.key.holds == words {
			l.key.expression += ` COLLATE "C"`
		}
	}
	return nil
}

// statement selects the rows of a page, and one more if there is one, in the direction of the walk.
func (l *list) statement(selects string, w walk) string {
	than, order := " > ", ""
	if l.descending != w.back {
		than, order = " < ", " DESC"
	}
	var (
		b     strings.Builder
		key   = l.key.expression
		write = func(parts ...string) {
			for _, part := range parts {
				b.WriteString(part)
			}
		}
		begin = func() {
			write(selects, " WHERE ", strings.Join(l.conditions, " AND "))
		}
	)
	b.Grow(1024)
	begin()
	switch {
	case !w.started:
	case key == "":
		write(" AND ", l.id(), than, l.arg(w.from.id))
	case l.dialect == dialect.SQLite && l.by == SortCreatedAt && l.indexed:
		// SQLite would search the index for the times of a row value alone, and read all rows that were made at
		// the time of the place, which may be all that a CreateFiles made.
		at := l.arg(l.value(w.from))
		write(" AND ", key, " = ", at, " AND id", than, l.arg(w.from.id), " UNION ALL ")
		begin()
		write(" AND ", key, than, at)
	default:
		write(" AND (", key, ", id)", than, "(", l.arg(l.value(w.from)), ", ", l.arg(w.from.id), ")")
	}
	write(" ORDER BY ")
	if key != "" {
		write(key, order, ", ")
	}
	write(l.id(), order, " LIMIT ", l.arg(w.limit+1))
	return b.String()
}

// id is what a list is sorted by in the end. The databases would look for one user's files by id among all files.
func (l *list) id() string {
	if l.key.expression == "" && l.owned {
		return "id + 0"
	}
	return "id"
}

// value is a place's as an argument.
func (l *list) value(p place) any {
	switch l.key.holds {
	case instant:
		return time.UnixMicro(p.at)
	case words:
		return p.text
	case number:
	}
	return p.at
}

// listPage reads a page.
func listPage[T any, N interface {
	*T
	Scan(r *row.Row) error
}](ctx context.Context, db *database.DB, l *list, request PageRequest, table, selects string, nodes func(n int) []T, placeOf func(Sort, N) place) (*Page[N], error) {
	w, err := request.walk(l)
	if err != nil {
		return nil, err
	}
	if len(l.conditions) == 0 {
		l.conditions = []string{"TRUE"}
	}
	var (
		filter = l.args
		query  = l.statement(selects, w)
		made   []T // by the page, which costs less than one by one
		items  = make([]N, 0, min(w.limit, DefaultPageLimit)+1)
	)
	read := db.Read
	if l.search {
		read = db.Search
	}
	err = read(ctx, query, l.args, func(r *row.Row) error {
		if len(made) == 0 {
			made = nodes(min(w.limit-len(items), DefaultPageLimit) + 1)
		}
		items, made = append(items, &made[0]), made[1:]
		return items[len(items)-1].Scan(r)
	})
	if err != nil {
		return nil, err
	}
	p := pageOf(w, items, func(item N) place { return placeOf(l.by, item) })
	if request.WithTotal {
		p.Total = new(int)
		count := "SELECT count(*) FROM " + table + " WHERE " + strings.Join(l.conditions, " AND ")
		err = db.Search(ctx, count, filter, func(r *row.Row) (err error) {
			*p.Total = row.Int(r.Next(), &err)
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}
