package models_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/migrate"
)

// chance makes values that can be stored, of all sizes, the same from the same seed.
type chance struct{ *rand.Rand }

func newChance(seed uint64) chance { return chance{rand.New(rand.NewPCG(seed, 0))} }

// text is of least to most characters, from all of Unicode, and from those that need care.
func (c chance) text(least, most int) string {
	special := []rune("\"\\/<>&'%\n\r\t\v\x01\x1b\x7f \u00a0\u00ad\u0301\u034f\u200b\u200d\u2028\u2029\u202e\ufeff\ufffd\ufffe\uffff🦉яé한\U0010ffff")
	n := least + c.IntN(min(most-least, 20)+1)
	if c.IntN(20) == 0 {
		n = most
	}
	var b strings.Builder
	for range n {
		r := special[c.IntN(len(special))]
		if c.IntN(3) == 0 {
			r = 1 + c.Int32N(utf8.MaxRune)
		}
		if !utf8.ValidRune(r) {
			r = 'x'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// time is in whole microseconds, in UTC, of the years that JSON has.
func (c chance) time() time.Time {
	first, last := time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC).Unix(), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Unix()
	at := time.Unix(first+c.Int64N(last-first+1), 0)
	if c.IntN(3) > 0 { // not a whole second
		at = at.Add(time.Duration(c.IntN(1_000_000)) * time.Microsecond)
	}
	return at.UTC()
}

// value is what encoding/json reads, less numbers that databases round.
func (c chance) value(depth int) any {
	kinds := 8
	if depth == 0 {
		kinds = 6
	}
	switch c.IntN(kinds) {
	case 0:
		return nil
	case 1:
		return c.IntN(2) == 0
	case 2:
		return float64(c.IntN(1<<53+1) - 1<<52)
	case 3:
		number := math.Float64frombits(c.Uint64())
		if math.IsNaN(number) || math.IsInf(number, 0) || number == 0 {
			return 0.1
		}
		return number
	case 4, 5:
		return c.text(0, 40)
	case 6:
		list := make([]any, c.IntN(4))
		for i := range list {
			list[i] = c.value(depth - 1)
		}
		return list
	default:
		return c.object(depth - 1)
	}
}

func (c chance) object(depth int) map[string]any {
	object := map[string]any{}
	for range c.IntN(5) {
		object[c.text(0, 10)] = c.value(depth)
	}
	return object
}

// maybe is a value, or none.
func maybe[T any](c chance, value T) *T {
	if c.IntN(3) == 0 {
		return nil
	}
	return &value
}

func (c chance) uuid() uuid.UUID {
	var id uuid.UUID
	for i := range id {
		id[i] = byte(c.Uint32())
	}
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}

// email is an address in its normal form.
func (c chance) email() string { return c.uuid().String() + "@пример.рф" }

func (c chance) user() *ent.User {
	u := &ent.User{
		ID: int(c.Int64()), CreatedAt: c.time(), UpdatedAt: c.time(), PublicID: c.uuid(), Email: c.email(),
		HashedPassword: "canary-" + c.uuid().String(), IsActive: c.IntN(2) == 0, IsAdmin: c.IntN(2) == 0,
		LastLoginAt: maybe(c, c.time()), TokensValidAfter: maybe(c, c.time()),
		Name: maybe(c, c.text(0, 128)), Bio: maybe(c, c.text(0, 512)), AvatarURL: maybe(c, c.text(0, 255)),
	}
	if c.IntN(3) > 0 {
		u.Preferences = c.object(4)
	}
	return u
}

func (c chance) file() *ent.File {
	return &ent.File{
		ID: int(c.Int64()), CreatedAt: c.time(), UpdatedAt: c.time(), PublicID: c.uuid(),
		Filename: c.text(1, 255), ContentType: c.text(1, 128), Size: c.Int64(), UserID: int(c.Int64()),
	}
}

func (c chance) token() *ent.BlacklistedToken {
	return &ent.BlacklistedToken{ID: int(c.Int64()), CreatedAt: c.time(), UpdatedAt: c.time(), Jti: c.text(0, 219) + c.uuid().String(), ExpiresAt: c.time()}
}

func (c chance) reset() *ent.UsedPasswordResetToken {
	return &ent.UsedPasswordResetToken{
		ID: int(c.Int64()), CreatedAt: c.time(), UpdatedAt: c.time(), Email: c.email(), Nonce: c.text(1, 64), UsedAt: c.time(),
	}
}

func (c chance) audit() *ent.AuditLog {
	return &ent.AuditLog{
		ID: int(c.Int64()), CreatedAt: c.time(), UpdatedAt: c.time(), At: c.time(), Actor: c.text(1, 255), Action: c.text(1, 32),
		Entity: c.text(1, 64), EntityID: int(c.Int64()), Changes: c.object(4),
	}
}

// entities are one of each kind, by table, made of what the functions give.
func entities(c chance) map[string]mapped {
	return map[string]mapped{
		"users": c.user(), "files": c.file(), "blacklisted_tokens": c.token(),
		"used_password_reset_tokens": c.reset(), "audit_logs": c.audit(),
	}
}

type mapped interface{ ToMap() map[string]any }

// shownColumns are the columns of a table that may be shown.
func shownColumns(t *testing.T, table string) []string {
	t.Helper()
	for _, known := range migrate.Tables {
		if known.Name != table {
			continue
		}
		var names []string
		for _, column := range known.Columns {
			if column.Name != "hashed_password" {
				names = append(names, column.Name)
			}
		}
		slices.Sort(names)
		return names
	}
	t.Fatalf("there is no table %s", table)
	return nil
}

// wantRoundTrip holds that the JSON of an entity is that of its map, has its columns, and can be read again.
func wantRoundTrip(t *testing.T, table string, entity mapped) {
	t.Helper()
	text := must(json.Marshal(entity))(t)
	byValue := reflect.ValueOf(entity).Elem().Interface()
	for how, other := range map[string]any{
		"of its map": entity.ToMap(), "of its value": byValue, "in an any": &byValue,
	} {
		if got := must(json.Marshal(other))(t); !bytes.Equal(got, text) {
			t.Errorf("JSON %s is %s, want %s", how, got, text)
		}
	}
	list := must(json.Marshal(map[string]any{"list": []any{entity, byValue}}))(t)
	if want := fmt.Sprintf(`{"list":[%s,%[1]s]}`, text); string(list) != want {
		t.Errorf("JSON in a list is %s, want %s", list, want)
	}
	if bytes.Contains(text, []byte("canary")) {
		t.Errorf("JSON shows what is sensitive: %s", text)
	}
	var columns map[string]any
	check(t, json.Unmarshal(text, &columns))
	if got, want := slices.Sorted(maps.Keys(columns)), shownColumns(t, table); !slices.Equal(got, want) {
		t.Errorf("JSON has %v, want %v", got, want)
	}
	if got, want := slices.Sorted(maps.Keys(entity.ToMap())), shownColumns(t, table); !slices.Equal(got, want) {
		t.Errorf("ToMap has %v, want %v", got, want)
	}
	again := reflect.New(reflect.TypeOf(byValue)).Interface().(mapped)
	check(t, json.Unmarshal(text, again))
	if got := must(json.Marshal(again))(t); !bytes.Equal(got, text) {
		t.Errorf("read and written again, JSON is %s, want %s", got, text)
	}
	if got, want := again.ToMap(), entity.ToMap(); !reflect.DeepEqual(got, want) {
		t.Errorf("read again, ToMap is %v, want %v", got, want)
	}
}

// TestRoundTrip_JSON has random entities, and those of zero values.
func TestRoundTrip_JSON(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		for table, entity := range entities(newChance(seed)) {
			wantRoundTrip(t, table, entity)
			if t.Failed() {
				t.Fatalf("%s of seed %d", table, seed)
			}
		}
	}
	for table, entity := range map[string]mapped{
		"users": &ent.User{}, "files": &ent.File{}, "blacklisted_tokens": &ent.BlacklistedToken{},
		"used_password_reset_tokens": &ent.UsedPasswordResetToken{}, "audit_logs": &ent.AuditLog{},
	} {
		wantRoundTrip(t, table, entity)
	}
	// What is there and empty is not what is missing.
	wantRoundTrip(t, "users", &ent.User{Name: new(""), LastLoginAt: new(time.Time{}), Preferences: map[string]any{}})
}

// TestRoundTrip_ToMap holds the values of the map against the fields, whose names are those of the columns.
func TestRoundTrip_ToMap(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		for table, entity := range entities(newChance(seed)) {
			columns := entity.ToMap()
			fields := reflect.ValueOf(entity).Elem()
			for i := range fields.NumField() {
				tag, _, _ := strings.Cut(fields.Type().Field(i).Tag.Get("json"), ",")
				want, known := columns[tag]
				if !known {
					continue
				}
				delete(columns, tag)
				field := fields.Field(i)
				if (field.Kind() == reflect.Pointer || field.Kind() == reflect.Map) && field.IsNil() {
					if want != nil && !reflect.DeepEqual(want, field.Interface()) {
						t.Errorf("seed %d: %s of %s is %v, want nil", seed, tag, table, want)
					}
					continue
				}
				if got := reflect.Indirect(field).Interface(); !reflect.DeepEqual(got, want) {
					t.Errorf("seed %d: %s of %s is %v, want %v", seed, tag, table, want, got)
				}
			}
			if len(columns) > 0 {
				t.Errorf("ToMap of %s has %v, which no field has", table, columns)
			}
		}
	}
}

// storeAll stores random rows, and returns what Save answers and what is read.
func storeAll(t *testing.T, ctx context.Context, s *models.Store, c chance) (saved, read map[string]mapped) {
	t.Helper()
	u := c.user()
	created := s.User.Create().SetEmail(u.Email).SetHashedPassword(u.HashedPassword).SetPublicID(u.PublicID).SetIsActive(u.IsActive).
		SetIsAdmin(u.IsAdmin).SetNillableLastLoginAt(u.LastLoginAt).SetNillableTokensValidAfter(u.TokensValidAfter).
		SetNillableName(u.Name).SetNillableBio(u.Bio).SetNillableAvatarURL(u.AvatarURL).SetCreatedAt(u.CreatedAt).SetUpdatedAt(u.UpdatedAt)
	if u.Preferences != nil {
		created.SetPreferences(u.Preferences)
	}
	savedUser := must(created.Save(ctx))(t)
	u.ID = savedUser.ID

	f := c.file()
	savedFile := must(s.File.Create().SetPublicID(f.PublicID).SetFilename(f.Filename).SetContentType(f.ContentType).SetSize(f.Size).
		SetUserID(u.ID).SetCreatedAt(f.CreatedAt).SetUpdatedAt(f.UpdatedAt).Save(ctx))(t)
	f.ID, f.UserID = savedFile.ID, u.ID

	token := c.token()
	savedToken := must(newToken(s, token.Jti, token.ExpiresAt).SetCreatedAt(token.CreatedAt).SetUpdatedAt(token.UpdatedAt).Save(ctx))(t)
	token.ID = savedToken.ID

	reset := c.reset()
	savedReset := must(newReset(s, reset.Email, reset.Nonce).SetUsedAt(reset.UsedAt).SetCreatedAt(reset.CreatedAt).SetUpdatedAt(reset.UpdatedAt).Save(ctx))(t)
	reset.ID = savedReset.ID

	row := c.audit()
	savedRow := must(s.AuditLog.Create().SetAt(row.At).SetActor(row.Actor).SetAction(row.Action).SetEntity(row.Entity).SetEntityID(row.EntityID).
		SetChanges(row.Changes).SetCreatedAt(row.CreatedAt).SetUpdatedAt(row.UpdatedAt).Save(ctx))(t)
	row.ID = savedRow.ID

	for table, want := range map[string]mapped{
		"users": u, "files": f, "blacklisted_tokens": token, "used_password_reset_tokens": reset, "audit_logs": row,
	} {
		got := map[string]mapped{
			"users": savedUser, "files": savedFile, "blacklisted_tokens": savedToken, "used_password_reset_tokens": savedReset, "audit_logs": savedRow,
		}[table]
		if !reflect.DeepEqual(got.ToMap(), want.ToMap()) {
			t.Errorf("a row of %s is saved as %#v, want %#v", table, got.ToMap(), want.ToMap())
		}
	}
	return map[string]mapped{
			"users": savedUser, "files": savedFile, "blacklisted_tokens": savedToken, "used_password_reset_tokens": savedReset, "audit_logs": savedRow,
		}, map[string]mapped{
			"users":                      must(s.User.Get(ctx, u.ID))(t),
			"files":                      must(s.File.Get(ctx, f.ID))(t),
			"blacklisted_tokens":         must(s.BlacklistedToken.Get(ctx, token.ID))(t),
			"used_password_reset_tokens": must(s.UsedPasswordResetToken.Get(ctx, reset.ID))(t),
			"audit_logs":                 must(s.AuditLog.Get(ctx, row.ID))(t),
		}
}

// TestRoundTrip_Stored holds that what was stored is what ToMap and JSON answer, on both databases alike.
func TestRoundTrip_Stored(t *testing.T) {
	t.Parallel()
	rounds := uint64(25)
	if os.Getenv("REVIEWPOINT_TEST_LONG") == "1" {
		rounds = 3000
	}
	first := rand.Uint64()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		for seed := first; seed != first+rounds; seed++ {
			saved, read := storeAll(t, ctx, s, newChance(seed))
			for table, entity := range read {
				if got, want := entity.ToMap(), saved[table].ToMap(); !reflect.DeepEqual(got, want) {
					t.Errorf("read from %s: %#v, want %#v", table, got, want)
				}
				wantRoundTrip(t, table, entity)
			}
			if t.Failed() {
				t.Fatalf("with seed %d", seed)
			}
		}
	})
}
