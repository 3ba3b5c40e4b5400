package models_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/uuid"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/auditlog"
	"github.com/reviewpoint/models/ent/user"
)

// account is a row to import, by the names of the columns. Preferences are an object, times a string.
type account map[string]any

const (
	argonHash  = "$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	bcryptHash = "$2b$12$GhvMmNVjRW29ulnudl.LbuAnUtN/LRfe1JsBm1Xu6LE3059z5Tr8m"
)

// importedAccounts have every column, and text that is hard to carry.
func importedAccounts() []account {
	return []account{
		{"email": "plain@example.org"},
		{
			"email": " Ünïcode@Пример.РФ ", "name": "Ада, \"графиня\" <Lovelace> & Co\\", "bio": "one\rtwo\nthree\tfour\u2028five", "avatar_url": "https://example.org/a?b=c&d={e}",
			"is_active": false, "is_admin": true, "preferences": map[string]any{"theme": "dark", "<b>": []any{1.5, nil, true, "ё\\\"{}"}, "n": 1e21},
			"public_id": "0F8FAD5B-D9CB-469F-A165-70867728950E", "created_at": "2020-02-29T12:30:00.123456789+05:30", "hashed_password": argonHash,
		},
		{"email": "bcrypt@example.org", "hashed_password": bcryptHash, "preferences": map[string]any{}, "created_at": "2021-01-01T00:00:00Z", "is_active": true, "is_admin": false},
		{"email": "none@example.org", "hashed_password": "!", "name": strings.Repeat("ё", 128), "bio": strings.Repeat("я", 512), "avatar_url": strings.Repeat("u", 255)},
	}
}

// asCSV writes accounts with a header of the columns.
func asCSV(t testing.TB, columns []string, accounts ...account) string {
	t.Helper()
	var written bytes.Buffer
	w := csv.NewWriter(&written)
	check(t, w.Write(columns))
	for _, a := range accounts {
		record := make([]string, len(columns))
		for i, column := range columns {
			switch value := a[column].(type) {
			case nil:
			case map[string]any:
				record[i] = string(must(json.Marshal(value))(t))
			default:
				record[i] = fmt.Sprint(value)
			}
		}
		check(t, w.Write(record))
	}
	w.Flush()
	check(t, w.Error())
	return written.String()
}

func asJSONLines(t testing.TB, accounts ...account) string {
	t.Helper()
	var written strings.Builder
	for _, a := range accounts {
		written.Write(must(json.Marshal(a))(t))
		written.WriteByte('\n')
	}
	return written.String()
}

// create makes an account as the client does.
func (a account) create(t testing.TB, s *models.Store) *ent.UserCreate {
	t.Helper()
	create := s.User.Create().SetHashedPassword("!")
	for column, value := range a {
		switch column {
		case user.FieldCreatedAt:
			value = must(time.Parse(time.RFC3339, value.(string)))(t)
		case user.FieldPublicID:
			value = must(uuid.Parse(value.(string)))(t)
		}
		check(t, create.Mutation().SetField(column, value))
	}
	return create
}

// importedColumns are as messages have them.
const importedColumns = "public_id, email, name, bio, avatar_url, preferences, is_active, is_admin, is_deleted, deleted_at, last_login_at, tokens_valid_after, created_at, updated_at, hashed_password"

var importableColumns = []string{"email", "name", "bio", "avatar_url", "is_active", "is_admin", "preferences", "public_id", "created_at", "hashed_password"}

// stored is what the database has of users and the trail, less ids, and public ids unless they were given.
func stored(t *testing.T, ctx context.Context, s *models.Store) []string {
	t.Helper()
	var out []string
	given := map[string]bool{"0f8fad5b-d9cb-469f-a165-70867728950e": true}
	for _, u := range must(s.User.Query().Order(user.ByEmail()).All(ctx))(t) {
		columns := u.ToMap()
		delete(columns, "id")
		if !given[u.PublicID.String()] {
			delete(columns, "public_id")
		}
		out = append(out, string(must(json.Marshal(columns))(t)), u.HashedPassword)
		rows := must(s.AuditLog.Query().Where(auditlog.EntityID(u.ID)).All(ctx))(t)
		for _, row := range rows {
			changes := column[string](t, ctx, s, fmt.Sprintf("SELECT CAST(changes AS text) FROM audit_logs WHERE id = %d", row.ID))[0]
			if !given[u.PublicID.String()] {
				changes = strings.ReplaceAll(changes, u.PublicID.String(), "its own")
			}
			out = append(out, fmt.Sprint(row.Actor, row.Action, row.Entity, row.At, row.CreatedAt, row.UpdatedAt), changes)
		}
		for _, name := range []string{"preferences", "created_at", "updated_at", "is_active", "is_deleted"} { // as they stand there
			raw := column[*string](t, ctx, s, fmt.Sprintf("SELECT CAST(%s AS text) FROM users WHERE id = %d", name, u.ID))[0]
			if raw != nil {
				out = append(out, name+" "+*raw)
			}
		}
	}
	return out
}

// TestImportUsers_AsTheClient imports in each format what the client creates in another store: every
// column, and every row of the trail, is the same.
func TestImportUsers_AsTheClient(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 23, 21, 0, 0, 123456789, time.UTC)
	eachClock(t, start, func(t *testing.T, ctx context.Context, s *models.Store, _ *fakeClock) {
		accounts := importedAccounts()
		builders := make([]*ent.UserCreate, len(accounts))
		for i, a := range accounts {
			builders[i] = a.create(t, s)
		}
		ctx = models.AsSystem(ctx, "migration of 2026")
		check(t, s.User.CreateBulk(builders...).Exec(ctx))
		want := stored(t, ctx, s)
		for format, file := range map[models.ImportFormat]string{
			models.ImportCSV:       asCSV(t, importableColumns, accounts...),
			models.ImportJSONLines: asJSONLines(t, accounts...),
		} {
			for _, batch := range []int{0, 1, 3} {
				must(s.User.Delete().Exec(models.HardDelete(ctx)))(t)
				must(s.ExecContext(ctx, "DELETE FROM audit_logs"))(t)
				report := must(s.ImportUsers(ctx, strings.NewReader(file), models.ImportOptions{Format: format, BatchSize: batch}))(t)
				if report.Imported != len(accounts) || report.Refused != 0 || report.Read != len(accounts) {
					t.Errorf("format %d: %+v", format, report)
				}
				got := stored(t, ctx, s)
				for i := range max(len(got), len(want)) {
					if i >= len(got) || i >= len(want) || got[i] != want[i] {
						t.Fatalf("format %d has\n%s\nand the client\n%s", format, strings.Join(got[min(i, len(got)):], "\n"), strings.Join(want[min(i, len(want)):], "\n"))
					}
				}
			}
		}
	})
}

// badRows are rows that are refused, by format, with the column and the reason.
var badRows = []struct{ csv, json, field, reason string }{
	{`,x,,,,,`, `{"name":"x"}`, "email", "is missing"},
	{`nobody,,,,,,`, `{"email":"nobody"}`, "email", "must be an address such as name@example.org"},
	{"a\x00b@example.org,,,,,,", `{"email":"a\u0000b@example.org"}`, "email", "text holds a NUL character"},
	{"a@example.org," + strings.Repeat("x", 129) + `,,,,,`, `{"email":"a@example.org","name":"` + strings.Repeat("x", 129) + `"}`, "name", "is too long"},
	{"a@example.org,a\x00b,,,,,", `{"email":"a@example.org","name":"a\u0000b"}`, "name", "text holds a NUL character"},
	{`a@example.org,,,maybe,,,`, `{"email":"a@example.org","is_admin":1}`, "is_admin", "must be true or false"},
	{`a@example.org,,,,[1],,`, `{"email":"a@example.org","preferences":[1]}`, "preferences", "must be a JSON object"},
	{`a@example.org,,,,"{""a"":1e999}",,`, ``, "preferences", "must be a JSON object"},
	{`a@example.org,,,,"{""a"":""\u0000""}",,`, `{"email":"a@example.org","preferences":{"a":"\u0000"}}`, "preferences", "text holds a NUL character"},
	{`a@example.org,,,,,7,`, `{"email":"a@example.org","public_id":"7"}`, "public_id", "must be a UUID, not all zeros"},
	{`a@example.org,,,,,00000000-0000-0000-0000-000000000000,`, `{"email":"a@example.org","public_id":"00000000-0000-0000-0000-000000000000"}`, "public_id", "must be a UUID, not all zeros"},
	{`a@example.org,,2020-01-01 00:00:00,,,,`, `{"email":"a@example.org","created_at":"2020-01-01 00:00:00"}`, "created_at", "must be a time with its zone from 1970 on, such as 2026-11-23T21:04:05Z"},
	{`a@example.org,,0001-01-01T00:00:00Z,,,,`, `{"email":"a@example.org","created_at":"0001-01-01T00:00:00Z"}`, "created_at", "must be a time with its zone from 1970 on, such as 2026-11-23T21:04:05Z"},
	{`a@example.org,,9999-01-01T00:00:00Z,,,,`, `{"email":"a@example.org","created_at":"9999-01-01T00:00:00Z"}`, "created_at", "must be a time that is not in the future"},
	{`a@example.org,,,,,,hunter2`, `{"email":"a@example.org","hashed_password":"hunter2"}`, "hashed_password", "must be a hash of Argon2id in PHC form, or of bcrypt"},
	{`TAKEN@Example.org,x,,,,,`, `{"email":"TAKEN@Example.org","name":"x"}`, "email", "is the address of another account or of an earlier row"},
	{`good0@example.org,x,,,,,`, `{"email":"good0@example.org","name":"x"}`, "email", "is the address of another account or of an earlier row"},
	{`a@example.org,,,,,0f8fad5b-d9cb-469f-a165-70867728950e,`, `{"email":"a@example.org","public_id":"0f8fad5b-d9cb-469f-a165-70867728950e"}`, "public_id", "is the public id of another account or of an earlier row"},
	{`taken@example.org,x,,,,0f8fad5b-d9cb-469f-a165-70867728950e,`, `{"email":"taken@example.org","name":"x","public_id":"0f8fad5b-d9cb-469f-a165-70867728950e"}`, "email", "is the address of another account or of an earlier row"},

	{`a@example.org,x`, ``, "", "has 2 values, and the header 7"},
	{`a@example.org,,,,,,,`, ``, "", "has 8 values, and the header 7"},
	{` `, ``, "", "has 1 values, and the header 7"},
	{"a@example.org,\xff,,,,,", ``, "name", "text is not valid UTF-8"},
	{"a@example.org,,,,\"{\"\"a\"\":\"\"\xff\"\"}\",,", ``, "preferences", "text is not valid UTF-8"},

	{``, `{"email":"a@example.org","name":"` + "\xff" + `"}`, "", "text is not valid UTF-8"},
	{``, `{"email":"a@example.org"`, "", "is not one JSON object"},
	{``, `{"email":"a@example.org"}{}`, "", "is not one JSON object"},
	{``, `{"email":"a@example.org","preferences":{"a":1e999}}`, "", "is not one JSON object"},
	{``, `null`, "", "is not one JSON object"},
	{``, `["a@example.org"]`, "", "is not one JSON object"},
	{``, `a@example.org`, "", "is not one JSON object"},
	{``, `{"Email":"a@example.org"}`, "", "has a field that is none of " + importedColumns},
	{``, `{"email":"a@example.org","email":"b"}`, "email", "must be an address such as name@example.org"},
	{``, `{"email":null}`, "email", "is missing"},
	{``, `{}`, "email", "is missing"},
	{``, `{"email":["a@example.org"]}`, "email", "must be text"},
	{``, `{"email":"a@example.org","is_active":"true"}`, "is_active", "must be true or false"},
}

// badFile has the bad rows of a format, with good ones between, empty lines, line breaks in values, and
// both kinds of line ends. It returns what a report says of it, less the count of good rows.
func badFile(format models.ImportFormat) (file string, good int, refused []models.RefusedRow) {
	var (
		b    strings.Builder
		line = 1
		add  = func(text string) {
			b.WriteString(text)
			line += strings.Count(text, "\n")
		}
	)
	add("\uFEFF")
	if format == models.ImportCSV {
		add("email,name,created_at,is_admin,preferences, public_id ,hashed_password\r\n")
	}
	goodRow := func() {
		if format == models.ImportCSV {
			add(fmt.Sprintf("good%d@example.org,\"two\nlines, \"\"quoted\"\"\",,,,,\r\n\r\n", good))
		} else {
			add(fmt.Sprintf("\n \t\n { \"email\" : \"good%d@example.org\" , \"name\":\"two\\nlines, \\u0022quoted\\\"\"}\r\n", good))
		}
		good++
	}
	goodRow()
	for _, row := range badRows {
		text := row.csv
		if format == models.ImportJSONLines {
			text = row.json
		}
		if text == "" {
			continue
		}
		refused = append(refused, models.RefusedRow{Line: line, Field: row.field, Reason: row.reason})
		add(text + "\n")
		goodRow()
	}
	return strings.TrimRight(b.String(), "\r\n"), good, refused
}

func eachFormat(t *testing.T, test func(t *testing.T, format models.ImportFormat)) {
	t.Helper()
	for name, format := range map[string]models.ImportFormat{"csv": models.ImportCSV, "json": models.ImportJSONLines} {
		t.Run(name, func(t *testing.T) { test(t, format) })
	}
}

// TestImportUsers_Refused holds that each bad row is refused with its line and the reason, that all the
// others are imported, in whatever batches, and that a dry run says the same and changes nothing.
func TestImportUsers_Refused(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		taken := must(s.User.Create().SetEmail("taken@example.org").SetHashedPassword("!").
			SetPublicID(uuid.MustParse("0f8fad5b-d9cb-469f-a165-70867728950e")).Save(ctx))(t)
		before := (&world{Store: s}).dump(t, ctx)
		eachFormat(t, func(t *testing.T, format models.ImportFormat) {
			file, good, want := badFile(format)
			for _, batch := range []int{1, 2, 7, 0} {
				for _, dry := range []bool{true, false} {
					var told []models.RefusedRow
					report := must(s.ImportUsers(ctx, iotest.OneByteReader(strings.NewReader(file)), models.ImportOptions{
						Format: format, BatchSize: batch, DryRun: dry,
						Refused: func(row models.RefusedRow) error { told = append(told, row); return nil },
					}))(t)
					if !slices.Equal(told, report.Rows) {
						t.Errorf("batches of %d, dry run %t: told of\n%+v\nreported\n%+v", batch, dry, told, report.Rows)
					}
					for i := range max(len(told), len(want)) {
						if i >= len(told) || i >= len(want) || told[i] != want[i] {
							t.Fatalf("batches of %d, dry run %t: refused\n%+v\nwant\n%+v", batch, dry, told[min(i, len(told)):], want[min(i, len(want)):])
						}
					}
					if report.Imported != good || report.Refused != len(want) || report.Read != good+len(want) || report.Line < want[len(want)-1].Line {
						t.Errorf("batches of %d, dry run %t: %d good, %d bad, but %+v", batch, dry, good, len(want), report)
					}
					if now := (&world{Store: s}).dump(t, ctx); dry && now != before {
						t.Errorf("the dry run has changed\n%s\nto\n%s", before, now)
					}
				}
				made := must(s.User.Query().Where(user.EmailHasPrefix("good"), user.Name("two\nlines, \"quoted\"")).All(ctx))(t)
				if len(made) != good {
					t.Errorf("%d accounts, want %d", len(made), good)
				}
				must(s.User.Delete().Where(user.IDNEQ(taken.ID)).Exec(models.HardDelete(ctx)))(t)
				must(s.ExecContext(ctx, "DELETE FROM audit_logs WHERE entity_id <> $1", taken.ID))(t)
			}
		})
	})
}

// TestImportUsers_ReportIsBounded holds that a report does not grow with the file.
func TestImportUsers_ReportIsBounded(t *testing.T) {
	t.Parallel()
	s, ctx := models.OpenTest(t), models.AsSystem(t.Context(), "test")
	report := must(s.ImportUsers(ctx, strings.NewReader("email\n"+strings.Repeat("x\n", 5000)), models.ImportOptions{}))(t)
	if len(report.Rows) != 100 || report.Refused != 5000 || report.Read != 5000 || report.Line != 5001 || report.Rows[99].Line != 101 {
		t.Errorf("%d rows in %+v", len(report.Rows), report)
	}
}

// TestImportUsers_Header holds that a file whose header is wrong is an error that quotes nothing of it, and
// that nothing is imported.
func TestImportUsers_Header(t *testing.T) {
	t.Parallel()
	s, ctx := models.OpenTest(t), models.AsSystem(t.Context(), "test")
	for header, want := range map[string]string{
		"":                         "User.header: is missing: the first line names the columns, of " + importedColumns,
		"name":                     "User.header: does not name email",
		"email,name,email":         "User.header: names email twice",
		"email,id":                 "User.header: column 2 is none of " + importedColumns,
		"secret@example.org,admin": "User.header: column 1 is none of " + importedColumns,
	} {
		report, err := s.ImportUsers(ctx, strings.NewReader(header+"\nada@example.org,x\n"), models.ImportOptions{})
		if header == "" {
			report, err = s.ImportUsers(ctx, strings.NewReader(header), models.ImportOptions{})
		}
		invalid, ok := errors.AsType[*models.ValidationError](err)
		if !ok || invalid.Error() != want || report.Read != 0 {
			t.Errorf("%q: %v, want %s", header, err, want)
		}
	}
	console := models.WithViewer(ctx, models.Viewer{Admin: true, Label: "console"})
	if _, err := s.ImportUsers(console, strings.NewReader("hashed_password,email\n"), models.ImportOptions{}); !errors.Is(err, models.ErrForbidden) {
		t.Errorf("an administrator may begin with hashes: %v", err)
	}
	if n := must(s.User.Query().Count(ctx))(t); n != 0 {
		t.Errorf("%d accounts", n)
	}
	for _, options := range []models.ImportOptions{{Format: 2}, {BatchSize: -1}} {
		if _, err := s.ImportUsers(ctx, strings.NewReader("email\na@example.org\n"), options); err == nil {
			t.Errorf("%+v is taken", options)
		}
	}
}

// TestImportUsers_Lost holds that an import ends where nobody knows where the next row begins, before it
// makes accounts of lines that may be somebody's bio, or takes all memory. What was before it stays.
func TestImportUsers_Lost(t *testing.T) {
	t.Parallel()
	s, ctx := models.OpenTest(t), models.AsSystem(t.Context(), "test")
	const csvHead, jsonHead = "email,name\na@example.org,\nb@example.org,\n", "\n{\"email\":\"a@example.org\"}\n{\"email\":\"b@example.org\"}\n"
	for _, file := range []struct{ head, row, want string }{
		{csvHead, "\"c@example.org\"\",\nevil@example.org,\n\"x\",", `record on line 4; parse error on line 6, column 1: extraneous or missing " in quoted-field`},
		{csvHead, "c@example.org,\"a \"quoted\" word\nevil@example.org,", `parse error on line 4, column 18: extraneous or missing " in quoted-field`},
		{csvHead, "c@example.org,\"\nevil@example.org,", `record on line 4; parse error on line 5, column 18: extraneous or missing " in quoted-field`},
		{csvHead, "c\"d@example.org,\"evil@example.org,\nevil@example.org\",", `parse error on line 4, column 2: bare " in non-quoted-field`},
		{csvHead, "c@example.org,\"" + strings.Repeat("0", 2<<20), "the row on line 4 is longer than 1 MiB, perhaps for a quote that is never closed"},
		{csvHead, "c@example.org,\"" + strings.Repeat("0\n", 1<<20), "the row on line 4 is longer than 1 MiB, perhaps for a quote that is never closed"},
		{csvHead, "c@example.org," + strings.Repeat("0", 1<<20), "the row on line 4 is longer than 1 MiB, perhaps for a quote that is never closed"},
		{jsonHead, `{"email":"c@example.org","name":"` + strings.Repeat("x", 1<<20) + `"}`, "the row on line 4 is longer than 1 MiB"},
	} {
		options := models.ImportOptions{BatchSize: 1}
		if file.head == jsonHead {
			options.Format = models.ImportJSONLines
		}
		report, err := s.ImportUsers(ctx, strings.NewReader(file.head+file.row), options)
		if err == nil || err.Error() != file.want || report.Imported+report.Skipped != 2 || report.Line != 3 {
			t.Errorf("%.40q: %+v, %v, want %s", file.row, report, err, file.want)
		}
	}
	if n := must(s.User.Query().Count(ctx))(t); n != 2 {
		t.Errorf("%d accounts", n)
	}
	errDisk := errors.New("the disk is gone")
	for format, half := range map[models.ImportFormat]string{
		models.ImportCSV:       "email\nno row is half\nhalf@example.or",
		models.ImportJSONLines: "no row is half\n{\"email\":\"half@example.or",
	} {
		report, err := s.ImportUsers(ctx, io.MultiReader(strings.NewReader(half), iotest.ErrReader(errDisk)), models.ImportOptions{Format: format, BatchSize: 1})
		if !errors.Is(err, errDisk) || report.Read != 1 {
			t.Errorf("format %d: %+v, %v", format, report, err)
		}
	}
	for format, head := range map[models.ImportFormat]string{
		models.ImportCSV:       "email,name\nc@example.org,\n\"d@example.org",
		models.ImportJSONLines: "{\"email\":\"d@example.org\"}\n{\"email\":\"",
	} {
		endless := &counted{r: io.MultiReader(strings.NewReader(head), zeros{})}
		report, err := s.ImportUsers(ctx, endless, models.ImportOptions{Format: format, BatchSize: 1})
		if err == nil || report.Imported != 1 || endless.n > 2<<20 {
			t.Errorf("format %d: %+v after %d bytes, %v", format, report, endless.n, err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

type counted struct {
	r io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// TestImportUsers_Rules holds that each viewer may import what the client lets them create.
func TestImportUsers_Rules(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		w := newWorld(t, ctx, s)
		former := must(newUser(s).SetIsAdmin(true).Save(ctx))(t)
		check(t, s.DeactivateUser(ctx, former.ID))
		viewers := append(w.viewers(ctx), models.AsUser(ctx, former), models.WithViewer(ctx, models.Viewer{Admin: true, Label: "console"}), models.WithViewer(ctx, models.Viewer{Admin: true}))
		allowed := 0
		for i, viewer := range viewers {
			for _, a := range []account{
				{"email": "new@example.org"},
				{"email": "new@example.org", "is_admin": true, "created_at": "2020-01-01T00:00:00Z"},
				{"email": "new@example.org", "hashed_password": argonHash},
			} {
				columns := slices.Sorted(maps.Keys(a))
				builder := s.User.Create()
				for column, value := range a {
					if column == user.FieldCreatedAt {
						value = time.Unix(0, 0)
					}
					check(t, builder.Mutation().SetField(column, value))
				}
				want := s.User.CreateBulk(builder).Exec(viewer)
				must(s.User.Delete().Where(user.Email("new@example.org")).Exec(models.HardDelete(ctx)))(t)
				if ent.IsValidationError(want) { // The rules allow it, and a hash is missing.
					want = nil
				}
				for format, file := range map[models.ImportFormat]string{models.ImportCSV: asCSV(t, columns, a), models.ImportJSONLines: asJSONLines(t, a)} {
					for _, dry := range []bool{false, true} {
						report, err := s.ImportUsers(viewer, strings.NewReader(file), models.ImportOptions{Format: format, DryRun: dry})
						if outcome(1, err) != outcome(1, want) || (err == nil) != (report.Imported == 1) {
							t.Errorf("viewer %d with %v: %+v, %v, but the client answers %v", i, columns, report, err, want)
						}
						n := must(s.User.Delete().Where(user.Email("new@example.org")).Exec(models.HardDelete(ctx)))(t)
						if (n == 1) != (want == nil && !dry) {
							t.Errorf("viewer %d with %v has made %d accounts, dry run %t", i, columns, n, dry)
						}
						allowed += n
					}
				}
			}
		}
		if want := 2 * (3 + 2 + 2); allowed != want { // the system, an administrator, and one without an account
			t.Errorf("%d imports were allowed, want %d", allowed, want)
		}
	})
}

// addresses are n rows of JSON lines.
func addresses(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"email\":\"person%06d@example.org\",\"name\":\"Person %d\"}\n", i, i)
	}
	return b.String()
}

// wantFirst checks that the accounts are those of the first n rows, each with its row in the trail.
func wantFirst(t *testing.T, ctx context.Context, s *models.Store, n int) {
	t.Helper()
	users := must(s.User.Query().Order(user.ByEmail()).All(ctx))(t)
	if len(users) != n {
		t.Errorf("%d accounts, want %d", len(users), n)
	}
	trail := must(s.AuditLog.Query().Where(auditlog.Entity(user.Label), auditlog.Action("create")).All(ctx))(t)
	if len(trail) != len(users) {
		t.Errorf("%d accounts with %d rows of the trail", len(users), len(trail))
	}
	audited := make(map[int]any, len(trail))
	for _, row := range trail {
		audited[row.EntityID] = row.Changes[user.FieldEmail].([]any)[1]
	}
	for i, u := range users {
		if u.Email != fmt.Sprintf("person%06d@example.org", i) || audited[u.ID] != u.Email {
			t.Errorf("account %d is %s, and in the trail %v", i, u.Email, audited[u.ID])
		}
	}
}

// stopping calls stop before it reads what comes after a number of bytes.
type stopping struct {
	r     io.Reader
	after int
	stop  func() error
}

func (s *stopping) Read(p []byte) (int, error) {
	if s.after <= 0 {
		if err := s.stop(); err != nil {
			return 0, err
		}
	}
	n, err := s.r.Read(p[:min(len(p), 100)])
	s.after -= n
	return n, err
}

// TestImportUsers_Interrupted ends the context, fails the file, or fails the caller, in the midst of an
// import. Whole batches are there, as the report says, and the next import makes the rest.
func TestImportUsers_Interrupted(t *testing.T) {
	t.Parallel()
	errDisk := errors.New("the disk is gone")
	const rows, batch = 100, 7
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		file := addresses(rows)
		for name, interrupt := range map[string]func(ctx context.Context, cancel func()) (*models.ImportReport, error){
			"the context ends": func(ctx context.Context, cancel func()) (*models.ImportReport, error) {
				r := &stopping{strings.NewReader(file), len(file) / 2, func() error { cancel(); return nil }}
				return s.ImportUsers(ctx, r, models.ImportOptions{Format: models.ImportJSONLines, BatchSize: batch})
			},
			"the file fails": func(ctx context.Context, _ func()) (*models.ImportReport, error) {
				r := &stopping{strings.NewReader(file), len(file) / 2, func() error { return errDisk }}
				return s.ImportUsers(ctx, r, models.ImportOptions{Format: models.ImportJSONLines, BatchSize: batch})
			},
			"the caller fails": func(ctx context.Context, _ func()) (*models.ImportReport, error) {
				half := strings.Join(strings.SplitAfter(file, "\n")[:rows/2], "")
				return s.ImportUsers(ctx, strings.NewReader(half+"{}\n"+file), models.ImportOptions{
					Format: models.ImportJSONLines, BatchSize: batch, Refused: func(models.RefusedRow) error { return errDisk },
				})
			},
		} {
			t.Run(name, func(t *testing.T) {
				cancelled, cancel := context.WithCancel(ctx)
				defer cancel()
				report, err := interrupt(cancelled, cancel)
				if !errors.Is(err, errDisk) && !errors.Is(err, context.Canceled) {
					t.Errorf("it ended with %v", err)
				}
				if report.Imported < rows/2-batch || report.Imported > rows/2+batch || report.Read%batch != 0 && name != "the file fails" || report.Line != report.Read {
					t.Errorf("it came to %+v", report)
				}
				wantFirst(t, ctx, s, report.Imported)
				again := must(s.ImportUsers(ctx, strings.NewReader(file), models.ImportOptions{Format: models.ImportJSONLines, BatchSize: batch}))(t)
				if again.Imported != rows-report.Imported || again.Skipped != report.Imported {
					t.Errorf("%+v, after %d accounts", again, report.Imported)
				}
				wantFirst(t, ctx, s, rows)
				must(s.User.Delete().Exec(models.HardDelete(ctx)))(t)
				must(s.ExecContext(ctx, "DELETE FROM audit_logs"))(t)
			})
		}
	})
}

// TestImportUsers_InTx holds that an import belongs to the transaction that it runs in, and that a dry run
// leaves that one to go on.
func TestImportUsers_InTx(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		errEnough := errors.New("enough")
		options := models.ImportOptions{Format: models.ImportJSONLines, BatchSize: 10}
		err := s.InTx(ctx, func(ctx context.Context) error {
			if report := must(s.ImportUsers(ctx, strings.NewReader(addresses(25)), options))(t); report.Imported != 25 {
				t.Errorf("%+v", report)
			}
			return errEnough
		})
		if !errors.Is(err, errEnough) {
			t.Error(err)
		}
		wantFirst(t, ctx, s, 0)
		check(t, s.InTx(ctx, func(ctx context.Context) error {
			if report := must(s.ImportUsers(ctx, strings.NewReader(addresses(25)), options))(t); report.Imported != 25 {
				t.Errorf("%+v", report)
			}
			dry := options
			dry.DryRun = true
			if report := must(s.ImportUsers(ctx, strings.NewReader(addresses(35)), dry))(t); report.Imported != 10 || report.Skipped != 25 {
				t.Errorf("%+v", report)
			}
			return nil
		}))
		wantFirst(t, ctx, s, 25)
		dry := options
		dry.DryRun = true
		rollback := models.RollbackTest(t, s)
		if report := must(s.ImportUsers(rollback, strings.NewReader(addresses(35)), dry))(t); report.Imported != 10 {
			t.Errorf("%+v", report)
		}
		wantFirst(t, rollback, s, 25)
	})
}

// TestImportUsers_AtOnce has several import the same accounts. Each is made once.
func TestImportUsers_AtOnce(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		const rows, importers = 300, 4
		reports := make(chan *models.ImportReport, importers)
		var wait sync.WaitGroup
		for range importers {
			wait.Go(func() {
				report, err := s.ImportUsers(ctx, strings.NewReader(addresses(rows)), models.ImportOptions{Format: models.ImportJSONLines, BatchSize: 123})
				if err != nil {
					t.Error(err)
				}
				reports <- report
			})
		}
		wait.Wait()
		imported := 0
		for range importers {
			report := <-reports
			imported += report.Imported
			if report.Read != rows {
				t.Errorf("%+v", report)
			}
		}
		if imported != rows {
			t.Errorf("%d accounts are said to be made, want %d", imported, rows)
		}
		wantFirst(t, ctx, s, rows)
	})
}

const importerURL = "REVIEWPOINT_TEST_IMPORTER_URL"

// killedBatch does not divide what the importer reads at a time.
const killedBatch = 7

// TestImporter is a process of its own that imports its standard input until it is killed.
func TestImporter(t *testing.T) {
	t.Parallel()
	url := os.Getenv(importerURL)
	if url == "" {
		t.Skip("it is a process of TestImportUsers_Killed")
	}
	s := open(t, url)
	input := &stopping{r: os.Stdin, stop: func() error { _, err := os.Stdout.WriteString("\n"); return err }} // a line for each read
	must(s.ImportUsers(models.AsSystem(t.Context(), "importer"), input, models.ImportOptions{Format: models.ImportJSONLines, BatchSize: killedBatch}))(t)
}

// TestImportUsers_Killed kills a process in the midst of an import, again and again. After each kill, whole
// batches are there with their rows of the trail, and the next process goes on where that one was.
func TestImportUsers_Killed(t *testing.T) {
	t.Parallel()
	kills, rows := 4, 4_000
	if os.Getenv("REVIEWPOINT_TEST_LONG") == "1" {
		kills, rows = 40, 40_000
	}
	eachURL(t, func(t *testing.T, url string) {
		s, ctx := open(t, url, models.WithMaxConns(1)), models.AsSystem(t.Context(), "check")
		must(s.Migrate(ctx))(t)
		lines := strings.SplitAfter(addresses(rows), "\n")
		made := 0
		for range kills {
			killImporter(t, url, lines, made+1+rand.N(rows/kills))
			settle(t, ctx, s)
			n := must(s.User.Query().Count(ctx))(t)
			if n < made || n%killedBatch != 0 {
				t.Errorf("%d accounts after %d, in batches of %d", n, made, killedBatch)
			}
			made = n
			wantFirst(t, ctx, s, made)
			sound(t, ctx, s)
		}
		report := must(s.ImportUsers(ctx, strings.NewReader(strings.Join(lines, "")), models.ImportOptions{Format: models.ImportJSONLines}))(t)
		if report.Skipped != made || report.Imported != rows-made {
			t.Errorf("%+v after %d accounts", report, made)
		}
		wantFirst(t, ctx, s, rows)
		if made == 0 {
			t.Error("each was killed before it had made anything")
		}
		t.Logf("%d kills, %d accounts before the last import", kills, made)
	})
}

// killImporter starts an import and kills it after it has read about as many lines.
func killImporter(t *testing.T, url string, lines []string, read int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), must(os.Executable())(t), "-test.run=^TestImporter$")
	cmd.Env, cmd.Stderr = append(os.Environ(), importerURL+"="+url), os.Stderr
	cmd.Stdin = strings.NewReader(strings.Join(lines, ""))
	output := bufio.NewReader(must(cmd.StdoutPipe())(t))
	check(t, cmd.Start())
	var rest strings.Builder
	for left := read * len(lines[0]) / 100; ; left-- {
		line, err := output.ReadString('\n')
		if err != nil {
			break
		}
		rest.WriteString(strings.TrimPrefix(line, "\n"))
		if left == 0 {
			for range rand.N(1 << 14) { // It goes on meanwhile.
				runtime.Gosched()
			}
			cmd.Process.Kill()
		}
	}
	wantKilled(t, cmd, &rest)
}

// manyRows is a file that is made while it is read. It looks at the heap now and then.
type manyRows struct {
	rows, next int
	text       []byte
	most       uint64
}

func (m *manyRows) Read(p []byte) (int, error) {
	if len(m.text) == 0 && m.next == m.rows {
		return 0, io.EOF
	}
	for ; len(m.text) < len(p) && m.next < m.rows; m.next++ {
		if m.next%(m.rows/20) == 0 {
			m.most = max(m.most, liveHeap())
		}
		switch m.next % 3 {
		case 0:
			m.text = fmt.Appendf(m.text, "{\"email\":\"nobody\",\"bio\":%q}\n", strings.Repeat("x", 500)) // refused before
		case 1:
			m.text = fmt.Appendf(m.text, "{\"email\":\"person%d@example.org\",\"bio\":%q}\n", m.next/6, strings.Repeat("x", 500)) // every second is taken
		default:
			m.text = fmt.Appendf(m.text, "{\"email\":\"other%d@example.org\",\"bio\":%q,\"preferences\":{\"a\":%q}}\n", m.next, strings.Repeat("x", 500), strings.Repeat("y", 500))
		}
	}
	n := copy(p, m.text)
	m.text = m.text[:copy(m.text, m.text[n:])]
	return n, nil
}

func liveHeap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// TestImportUsers_Memory holds that what an import keeps in memory does not grow with the file, a few bytes
// of each row in a dry run aside. It is not parallel, since others would allocate meanwhile.
//
//nolint:paralleltest // See above.
func TestImportUsers_Memory(t *testing.T) {
	rows := 20_000 // 14 MB
	if os.Getenv("REVIEWPOINT_TEST_LONG") == "1" {
		rows = 1_000_000
	}
	for name, s := range map[string]*models.Store{"sqlite": models.OpenTest(t), "postgres": open(t, postgresURL(t))} {
		for _, dry := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/dry=%t", name, dry), func(t *testing.T) {
				before := liveHeap()
				file := &manyRows{rows: rows}
				report := must(s.ImportUsers(models.AsSystem(t.Context(), "test"), file, models.ImportOptions{Format: models.ImportJSONLines, BatchSize: 500, DryRun: dry}))(t)
				if report.Read != rows || report.Refused+report.Skipped < rows/2-1 || report.Refused+report.Skipped > rows/2+1 {
					t.Errorf("%+v", report)
				}
				grown, bound := int64(file.most)-int64(before), int64(4<<20)
				if dry {
					bound += 56 * int64(rows) / 2
				}
				t.Logf("%d KiB more", grown>>10)
				if grown > bound {
					t.Errorf("%d KiB more are in use during the import, want at most %d", grown>>10, bound>>10)
				}
			})
		}
	}
}

// TestImportUsers_CSV holds that CSV is read as encoding/csv reads it, whose writer and reader know every
// corner. A CRLF in a value becomes LF.
func TestImportUsers_CSV(t *testing.T) {
	t.Parallel()
	s, ctx := models.OpenTest(t), models.AsSystem(t.Context(), "test")
	random := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"a", "ё", `"`, `""`, ",", "\n", "\r", " ", "x\ny", ",,", "\t"}
	accounts := make([]account, 500)
	for i := range accounts {
		accounts[i] = account{"email": fmt.Sprintf("person%06d@example.org", i)}
		for _, column := range []string{"name", "bio", "avatar_url"} {
			var value strings.Builder
			for range random.IntN(8) {
				value.WriteString(pieces[random.IntN(len(pieces))])
			}
			accounts[i][column] = strings.ReplaceAll(value.String(), "\r\n", "\n")
		}
	}
	file := asCSV(t, []string{"name", "email", "bio", "avatar_url"}, accounts...)
	report := must(s.ImportUsers(ctx, iotest.HalfReader(strings.NewReader(file)), models.ImportOptions{}))(t)
	if report.Imported != len(accounts) {
		t.Errorf("%+v", report)
	}
	text := func(value *string) string {
		if value == nil {
			return ""
		}
		return *value
	}
	for i, u := range must(s.User.Query().Order(user.ByEmail()).All(ctx))(t) {
		got := account{"email": u.Email, "name": text(u.Name), "bio": text(u.Bio), "avatar_url": text(u.AvatarURL)}
		if !maps.Equal(got, accounts[i]) {
			t.Errorf("%q became %q", accounts[i], got)
		}
	}
}

// TestImportUsers_SamePublicID has two rows that share a public id, of which the address of the first is
// taken: the second has it, with its own row of the trail.
func TestImportUsers_SamePublicID(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		check(t, s.User.Create().SetEmail("taken@example.org").SetHashedPassword("!").Exec(ctx))
		id := uuid.New()
		rows := []account{
			{"email": "taken@example.org", "public_id": id, "name": "first"},
			{"email": "b@example.org", "public_id": id, "name": "second"},
			{"email": "c@example.org", "public_id": id, "name": "third"},
			{"email": "b@example.org", "public_id": id, "name": "second again"},
		}
		for _, dry := range []bool{true, false} {
			report := must(s.ImportUsers(ctx, strings.NewReader(asJSONLines(t, rows...)), models.ImportOptions{Format: models.ImportJSONLines, DryRun: dry}))(t)
			want := []models.RefusedRow{
				{Line: 1, Field: "email", Reason: "is the address of another account or of an earlier row"},
				{Line: 3, Field: "public_id", Reason: "is the public id of another account or of an earlier row"},
				{Line: 4, Field: "email", Reason: "is the address of another account or of an earlier row"},
			}
			if !slices.Equal(report.Rows, want) || report.Imported != 1 {
				t.Errorf("dry run %t: %+v", dry, report)
			}
		}
		u := must(s.User.Query().Where(user.PublicID(id)).Only(ctx))(t)
		row := must(s.AuditLog.Query().Where(auditlog.EntityID(u.ID)).Only(ctx))(t)
		if pair := row.Changes["email"].([]any); pair[1] != u.Email || u.Email != "b@example.org" {
			t.Errorf("%s is on record as %v", u.Email, pair)
		}
	})
}

// TestImportUsers_Bytes holds that large rows make a batch smaller, and that each batch is told of.
func TestImportUsers_Bytes(t *testing.T) {
	t.Parallel()
	s, ctx := models.OpenTest(t), models.AsSystem(t.Context(), "test")
	var file strings.Builder
	for i := range 12 {
		fmt.Fprintf(&file, "{\"email\":\"person%06d@example.org\",\"preferences\":{\"a\":%q}}\n", i, strings.Repeat("x", 1_000_000))
	}
	var batches []int
	report := must(s.ImportUsers(ctx, strings.NewReader(file.String()), models.ImportOptions{
		Format: models.ImportJSONLines, Progress: func(report models.ImportReport) { batches = append(batches, report.Imported) },
	}))(t)
	if !slices.Equal(batches, []int{5, 10, 12}) || report.Imported != 12 {
		t.Errorf("%+v after %v", report, batches)
	}
}
