package main

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/internal/bench/stock"
)

// operation is a column of a table.
type operation struct {
	Name      string
	writes    bool
	inserts   bool
	bulk      bool // its rows are removed after each call
	audited   bool // it leaves rows in the audit trail
	anonymous bool // anybody may ask
	call      func(ctx context.Context, c contender, k *keys, i int) (any, error)
}

// keys is what the operations ask for, in turn.
type keys struct {
	hits, misses []string
	claims       []models.Claims
	emails       []string
	ids          []int
	places       []place
	owner        int
	files        []models.NewFile
	list         string
	at           time.Time // of a login; zero for now
}

func at[T any](list []T, i int) T { return list[i%len(list)] }

var operations = []operation{
	{Name: "check hit", anonymous: true, call: func(ctx context.Context, c contender, k *keys, i int) (any, error) {
		return c.TokenRevoked(ctx, at(k.hits, i))
	}},
	{Name: "check miss", anonymous: true, call: func(ctx context.Context, c contender, k *keys, i int) (any, error) {
		return c.TokenRevoked(ctx, at(k.misses, i))
	}},
	{Name: "check token", anonymous: true, call: func(ctx context.Context, c contender, k *keys, i int) (any, error) {
		return c.CheckToken(ctx, at(k.claims, i))
	}},
	{Name: "by e-mail", call: func(ctx context.Context, c contender, k *keys, i int) (any, error) {
		return c.UserByEmail(ctx, at(k.emails, i))
	}},
	{Name: "by id", call: func(ctx context.Context, c contender, k *keys, i int) (any, error) {
		return c.UserByID(ctx, at(k.ids, i))
	}},
	{Name: "page of 20", call: func(ctx context.Context, c contender, k *keys, i int) (any, error) {
		return c.Page(ctx, at(k.places, i))
	}},
	{Name: "50 users with files", call: func(ctx context.Context, c contender, k *keys, i int) (any, error) {
		return c.UsersWithFiles(ctx, at(k.ids, i))
	}},
	{Name: "insert one", writes: true, inserts: true, call: func(ctx context.Context, c contender, k *keys, i int) (any, error) {
		return c.InsertFile(ctx, k.owner, at(k.files, i))
	}},
	{Name: "insert 1000", writes: true, inserts: true, bulk: true, call: func(ctx context.Context, c contender, k *keys, _ int) (any, error) {
		return c.InsertFiles(ctx, k.owner, k.files)
	}},
	{Name: "import 1000", writes: true, inserts: true, bulk: true, call: func(ctx context.Context, c contender, k *keys, _ int) (any, error) {
		return nil, c.ImportUsers(ctx, k.list)
	}},
	{Name: "import 1000, audited", audited: true, writes: true, inserts: true, bulk: true, call: func(ctx context.Context, c contender, k *keys, _ int) (any, error) {
		a, ok := c.(auditor)
		if !ok {
			return nil, errNotOffered
		}
		return nil, a.ImportUsersAudited(ctx, k.list)
	}},
	{Name: "touch login", writes: true, call: func(ctx context.Context, c contender, k *keys, i int) (any, error) {
		when := k.at
		if when.IsZero() {
			when = now()
		}
		return c.RecordLogin(ctx, at(k.ids, i), when)
	}},
}

// selected is the operations whose names match.
func selected(only *regexp.Regexp, which func(operation) bool) []operation {
	var out []operation
	for _, op := range operations {
		if which(op) && only.MatchString(op.Name) {
			out = append(out, op)
		}
	}
	return out
}

// measured is the keys of what is there, spread over the tables.
func (db *database) measured(places []place) *keys {
	k := &keys{places: places, owner: 1, files: manyFiles(), list: manyAddresses()}
	for i := range 1000 {
		token, id := i*7919%db.tokens/10*10, 1+i*7919%(db.users-100) // neither expired nor, below, deleted
		if r := id % 1000; r >= 5 && r <= 7 {
			id += 3
		}
		k.hits = append(k.hits, jti(token))
		k.misses = append(k.misses, jti(db.tokens+i))
		k.claims = append(k.claims, db.claim(jti(db.tokens+i), id))
		k.emails = append(k.emails, email(id))
		k.ids = append(k.ids, id)
	}
	return k
}

func (db *database) claim(jti string, userID int) models.Claims {
	return models.Claims{ID: jti, UserID: userID, IssuedAt: epoch.AddDate(0, 0, -1).Truncate(time.Second), ExpiresAt: epoch.AddDate(100, 0, 0)}
}

// trial is the keys for which the answers are compared.
func (db *database) trial(places []place) *keys {
	k := &keys{places: places, owner: 1, files: manyFiles(), list: manyAddresses(), at: now()}
	for _, i := range []int{0, 3, 9, 13, 19, db.tokens - 1, db.tokens + 7} { // of which some have expired, and the last is not there
		k.hits = append(k.hits, jti(i))
	}
	k.misses = []string{jti(db.tokens), jti(db.tokens + 3), strings.ToUpper(jti(1)), "'; --", "?"}
	for _, id := range []int{1, 3, 5, 6, 7, 9, db.users, db.users + 9} { // of which one is deleted, one signed out, one disabled, and one not there
		k.claims = append(k.claims, db.claim(jti(db.tokens), id), db.claim(jti(3), id))
		k.emails = append(k.emails, email(id))
		k.ids = append(k.ids, id)
	}
	return k
}

// owned is the keys of the first user alone.
func (db *database) owned(k *keys) *keys {
	own := *k
	own.ids, own.emails = []int{1}, []string{email(1)}
	return &own
}

func manyFiles() []models.NewFile {
	files := make([]models.NewFile, batchSize)
	for i := range files {
		files[i] = models.NewFile{Filename: fmt.Sprintf("Œuvre %d.pdf", i), ContentType: "application/pdf", Size: int64(i)}
	}
	return files
}

func manyAddresses() string {
	var b strings.Builder
	b.WriteString("email,name\n")
	for i := range batchSize {
		fmt.Fprintf(&b, "new.reader.%d@example.net,\"Łukasz Żółć %d\"\n", i, i)
	}
	return b.String()
}

// canonical renders an answer: the same text for the same rows, whoever has read them.
func canonical(answer any) string {
	switch v := answer.(type) {
	case nil:
		return "none"
	case *User:
		return v.canonical()
	case []*User:
		return strings.Join(each(v, (*User).canonical), "\n")
	case []*File:
		return strings.Join(each(v, (*File).canonical), "\n")
	case *stock.User:
		return canonical(fromStockUser(v))
	case []*stock.User:
		return canonical(each(v, fromStockUser))
	case []*stock.File:
		return canonical(each(v, fromStockFile))
	case *ent.User:
		return canonical(fromUser(v))
	case []*ent.User:
		return canonical(each(v, fromUser))
	case []*ent.File:
		return canonical(each(v, fromFile))
	}
	return fmt.Sprint(answer)
}

func each[T, U any](list []T, fn func(T) U) []U {
	out := make([]U, len(list))
	for i, v := range list {
		out[i] = fn(v)
	}
	return out
}

func (u *User) canonical() string {
	preferences, err := json.Marshal(u.Preferences) // sorts the keys
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("user %d %s %s %s %q %q %t %t %t %s %s %s %s %s %s %s files %v", u.ID, instant(&u.CreatedAt), instant(&u.UpdatedAt),
		u.PublicID, u.Email, u.HashedPassword, u.IsActive, u.IsAdmin, u.IsDeleted, instant(u.DeletedAt), instant(u.LastLoginAt), instant(u.TokensValidAfter),
		optional(u.Name), optional(u.Bio), optional(u.AvatarURL), preferences, each(u.Files, (*File).canonical))
}

func (f *File) canonical() string {
	return fmt.Sprintf("file %d %s %s %s %q %q %d %d", f.ID, instant(&f.CreatedAt), instant(&f.UpdatedAt), f.PublicID, f.Filename, f.ContentType, f.Size, f.UserID)
}

func instant(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000")
}

func optional(s *string) string {
	if s == nil {
		return "-"
	}
	return fmt.Sprintf("%q", *s)
}
