package models_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent/auditlog"
	"github.com/reviewpoint/models/ent/file"
	"github.com/reviewpoint/models/ent/user"
)

// portable is one of the two tables that are imported and exported.
type portable struct {
	name        string
	importRows  func(*models.Store, context.Context, io.Reader, models.ImportOptions) (*models.ImportReport, error)
	exportRows  func(*models.Store, context.Context, io.Writer, models.ExportOptions) error
	withSecrets bool
}

var portables = []portable{
	{"users", (*models.Store).ImportUsers, (*models.Store).ExportUsers, true},
	{"files", (*models.Store).ImportFiles, (*models.Store).ExportFiles, false},
}

func (p portable) export(t *testing.T, ctx context.Context, s *models.Store, format models.ImportFormat) string {
	t.Helper()
	var out bytes.Buffer
	check(t, p.exportRows(s, ctx, &out, models.ExportOptions{Format: format, WithPasswordHashes: p.withSecrets}))
	return out.String()
}

// hardText is text that is easily lost on the way.
func hardText(random *rand.Rand, most int) string {
	pieces := []string{
		"", "a", "ё", "'", "''", "=1+1", "+", "-", "@", "\t", "\r", "\n", "\r\n", "＝", "＠x", `"`, `""`, ",", ";", " ", "\u2028", "😀", "null", "{}", "\\", "\x01", "\uFEFF", "<&>", "e\u0301",
	}
	var text strings.Builder
	for range random.IntN(6) {
		text.WriteString(pieces[random.IntN(len(pieces))])
	}
	runes := []rune(text.String())
	return string(runes[:min(len(runes), most)])
}

// fillHard makes accounts of every kind with files.
func fillHard(t *testing.T, ctx context.Context, s *models.Store, n int) {
	t.Helper()
	random := rand.New(rand.NewPCG(3, 4))
	var deep any = map[string]any{}
	for range 990 {
		deep = map[string]any{"a": deep}
	}
	for i := range n {
		create := newUser(s).SetHashedPassword([]string{"!", argonHash, bcryptHash}[i%3]).SetIsAdmin(i%5 == 0)
		if i%2 == 0 {
			create.SetName(hardText(random, 128)).SetBio(hardText(random, 512)).SetAvatarURL(hardText(random, 255))
		}
		switch i % 6 {
		case 0:
			create.SetPreferences(map[string]any{"z": json.Number("9007199254740993"), "b": []any{1.5, json.Number("1e21"), json.Number("0.10"), -3, json.Number("12345678901234567890.5")}, hardText(random, 9): hardText(random, 99)})
		case 1:
			create.SetPreferences(deep.(map[string]any))
		case 2:
			create.SetPreferences(map[string]any{})
		}
		if i%7 == 0 {
			create.SetCreatedAt(time.Date(2020, 1, 2, 3, 4, 5, random.IntN(3)*500_000_000+random.IntN(2)*1000, time.UTC)).SetLastLoginAt(time.Date(2020, 5, 1, 0, 0, 0, 120_000, time.FixedZone("", 3600)))
		}
		u := must(create.Save(ctx))(t)
		for range random.IntN(3) {
			check(t, newFile(s, u).SetFilename(hardText(random, 200)+"x").SetContentType("=a/"+hardText(random, 50)).SetSize(random.Int64()).Exec(ctx))
		}
		switch i % 11 {
		case 1:
			check(t, s.DeactivateUser(ctx, u.ID))
		case 2:
			check(t, s.SoftDeleteUser(ctx, u.ID))
			check(t, newUser(s).SetEmail(u.Email).Exec(ctx)) // who has the address of a deleted one
			must(s.User.Update().Where(user.Email(u.Email)).SetHashedPassword("!").Save(ctx))(t)
		case 3:
			check(t, s.AnonymizeUser(ctx, u.ID))
		case 4:
			check(t, s.SoftDeleteUser(ctx, u.ID))
			check(t, s.RestoreUser(ctx, u.ID))
		}
	}
}

// TestExport_RoundTrip exports hard rows from each database, imports them into an empty one of each kind in
// each format, and exports them again as the same bytes. Imported again, nothing changes, whichever mode.
func TestExport_RoundTrip(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, from *models.Store) {
		ctx = models.IncludeDeleted(ctx)
		fillHard(t, ctx, from, 66)
		check(t, fillRest(ctx, from))
		for name, to := range map[string]*models.Store{"to sqlite": models.OpenTest(t), "to postgres": open(t, postgresURL(t))} {
			t.Run(name, func(t *testing.T) {
				for format := range 2 {
					for _, p := range portables {
						format := models.ImportFormat(format)
						exported := p.export(t, ctx, from, format)
						for _, batch := range []int{7, 0} {
							for _, dry := range []bool{true, false} {
								report := must(p.importRows(to, ctx, strings.NewReader(exported), models.ImportOptions{Format: format, BatchSize: batch, DryRun: dry}))(t)
								if len(report.Rows) > 0 || batch == 7 && report.Imported != report.Read || batch == 0 && report.Skipped != report.Read || report.Read < 50 {
									t.Fatalf("%s %d: %+v", p.name, format, report)
								}
							}
						}
						for mode := range 3 {
							again := must(p.importRows(to, ctx, strings.NewReader(exported), models.ImportOptions{Format: format, OnConflict: models.ImportConflict(mode)}))(t)
							if again.Skipped != again.Read {
								t.Errorf("%s again, mode %d: %+v", p.name, mode, again)
							}
						}
						if got := p.export(t, ctx, to, format); got != exported {
							t.Errorf("%s, format %d: %s", p.name, format, firstDifference(got, exported))
						}
						if other := p.export(t, ctx, to, 1-format); other != p.export(t, ctx, from, 1-format) {
							t.Errorf("%s, format %d, differ in the other one", p.name, format)
						}
					}
					must(to.User.Delete().Exec(models.HardDelete(ctx)))(t)
				}
			})
		}
	})
}

// fillRest sets what no client sets: numbers as PostgreSQL keeps them.
func fillRest(ctx context.Context, s *models.Store) error {
	_, err := s.ExecContext(ctx, `UPDATE users SET preferences = '{"b" : 1.50, "a":-0,"n":[1E3,1e-10, 12345678901234567890123],"k":{"<":"é\u00e9"}}' WHERE id % 10 = 9`)
	return err
}

func firstDifference(got, want string) string {
	for n, line := range strings.Split(want, "\n") {
		other := strings.Split(got, "\n")
		if n >= len(other) || other[n] != line {
			return fmt.Sprintf("line %d is\n%.600q\nwant\n%.600q", n+1, append(other, "")[min(n, len(other))], line)
		}
	}
	return "it is longer"
}

// TestExport_Plain holds what an export looks like, that it has no secret unless it is asked for, and that no
// cell is a formula.
func TestExport_Plain(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 23, 21, 0, 0, 123456789, time.UTC)
	eachClock(t, start, func(t *testing.T, ctx context.Context, s *models.Store, _ *fakeClock) {
		id := uuid.MustParse("0f8fad5b-d9cb-469f-a165-70867728950e")
		ada := must(s.User.Create().SetEmail("ada@example.org").SetHashedPassword(argonHash).SetPublicID(id).
			SetName("=cmd|' /C calc'!A0").SetBio("").SetAvatarURL("'s Gravenhage").SetPreferences(map[string]any{"b": 1, "a": nil}).Save(ctx))(t)
		gone := must(newUser(s).Save(ctx))(t)
		check(t, s.File.Create().SetFilename("-1.pdf").SetContentType("application/pdf").SetSize(7).SetUserID(ada.ID).SetPublicID(id).Exec(ctx))
		check(t, newFile(s, gone).Exec(ctx))
		check(t, s.SoftDeleteUser(ctx, gone.ID))
		for want, got := range map[string]func(io.Writer) error{
			"public_id,email,name,bio,avatar_url,preferences,is_active,is_admin,is_deleted,deleted_at,last_login_at,tokens_valid_after,created_at,updated_at\n" +
				`0f8fad5b-d9cb-469f-a165-70867728950e,ada@example.org,'=cmd|' /C calc'!A0,','s Gravenhage,"{""a"":null,""b"":1}",true,false,false,,,,2026-11-23T21:00:00.123456Z,2026-11-23T21:00:00.123456Z` + "\n": func(w io.Writer) error {
				return s.ExportUsers(ctx, w, models.ExportOptions{})
			},
			`{"public_id":"0f8fad5b-d9cb-469f-a165-70867728950e","email":"ada@example.org","name":"=cmd|' /C calc'!A0","bio":"","avatar_url":"'s Gravenhage","preferences":{"a":null,"b":1},"is_active":true,"is_admin":false,"is_deleted":false,"deleted_at":null,"last_login_at":null,"tokens_valid_after":null,"created_at":"2026-11-23T21:00:00.123456Z","updated_at":"2026-11-23T21:00:00.123456Z","hashed_password":"` + argonHash + "\"}\n": func(w io.Writer) error {
				return s.ExportUsers(ctx, w, models.ExportOptions{Format: models.ImportJSONLines, WithPasswordHashes: true})
			},
			"public_id,user_public_id,filename,content_type,size,created_at,updated_at\n" +
				"0f8fad5b-d9cb-469f-a165-70867728950e,0f8fad5b-d9cb-469f-a165-70867728950e,'-1.pdf,application/pdf,7,2026-11-23T21:00:00.123456Z,2026-11-23T21:00:00.123456Z\n": func(w io.Writer) error {
				return s.ExportFiles(ctx, w, models.ExportOptions{})
			},
		} {
			var written bytes.Buffer
			check(t, got(&written))
			if written.String() != want {
				t.Errorf("%s, want\n%s", written.String(), want)
			}
		}
		// Deleted accounts are asked for; but a person whose own is deleted gets nothing.
		all := models.IncludeDeleted(ctx)
		for _, export := range []func(context.Context, io.Writer, models.ExportOptions) error{s.ExportUsers, s.ExportFiles} {
			for _, tt := range []struct {
				as   context.Context
				rows int
			}{{all, 2}, {models.AsUser(all, gone), 0}} {
				var written bytes.Buffer
				check(t, export(tt.as, &written, models.ExportOptions{Format: models.ImportJSONLines}))
				if n := bytes.Count(written.Bytes(), []byte("\n")); n != tt.rows {
					t.Errorf("%d rows, want %d: %s", n, tt.rows, written.String())
				}
			}
		}
		console := models.WithViewer(ctx, models.Viewer{Admin: true, Label: "console"})
		for _, err := range []error{
			s.ExportUsers(console, io.Discard, models.ExportOptions{WithPasswordHashes: true}),
			s.ExportUsers(models.AsUser(ctx, ada), io.Discard, models.ExportOptions{WithPasswordHashes: true}),
			s.ExportFiles(models.AsAnonymous(ctx), io.Discard, models.ExportOptions{}),
		} {
			if !errors.Is(err, models.ErrForbidden) {
				t.Errorf("got %v, want ErrForbidden", err)
			}
		}
		if s.ExportFiles(ctx, io.Discard, models.ExportOptions{WithPasswordHashes: true}) == nil || s.ExportFiles(ctx, io.Discard, models.ExportOptions{Format: 2}) == nil {
			t.Error("options that make no sense are taken")
		}
		errDisk := errors.New("the disk is gone")
		if err := s.ExportUsers(ctx, failing{errDisk}, models.ExportOptions{Format: models.ImportJSONLines}); !errors.Is(err, errDisk) {
			t.Errorf("got %v", err)
		}
	})
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// TestExport_Snapshot changes accounts while they are written: the export shows none of it.
func TestExport_Snapshot(t *testing.T) {
	t.Parallel()
	eachURL(t, func(t *testing.T, url string) {
		s, ctx := open(t, url), models.AsSystem(t.Context(), "test")
		must(s.Migrate(ctx))(t)
		must(s.ImportUsers(ctx, strings.NewReader(addresses(1200)), models.ImportOptions{Format: models.ImportJSONLines}))(t)
		p := portables[0]
		before := p.export(t, ctx, s, models.ImportCSV)
		var written bytes.Buffer
		var told []int
		check(t, s.ExportUsers(ctx, &written, models.ExportOptions{WithPasswordHashes: true, Progress: func(rows int) {
			told = append(told, rows)
			must(s.User.Update().SetName("changed").Save(ctx))(t)
			check(t, newUser(s).Exec(ctx))
		}}))
		if written.String() != before {
			t.Error("the export shows changes that were made meanwhile")
		}
		if !reflect.DeepEqual(told, []int{500, 1000, 1200}) {
			t.Errorf("told of %v rows", told)
		}
		check(t, s.InTx(ctx, func(ctx context.Context) error {
			check(t, newUser(s).SetName("inside").Exec(ctx))
			if !strings.Contains(p.export(t, ctx, s, models.ImportCSV), "inside") {
				t.Error("an export inside InTx does not see what was done there")
			}
			return nil
		}))
	})
}

// step is a row and what an import says of it in each mode: I(mported), U(pdated), S(kipped), or the
// column for which it is refused.
type step struct{ row, refuse, skip, update string }

const (
	firstID  = "11111111-1111-4111-8111-111111111111"
	secondID = "22222222-2222-4222-8222-222222222222"
	thirdID  = "33333333-3333-4333-8333-333333333333"
)

// TestImportUsers_Conflicts walks through rows that meet others, in each mode. In batches of one and
// in a dry run, and with the rows before them in the database or in the file, they fare alike.
func TestImportUsers_Conflicts(t *testing.T) {
	t.Parallel()
	for name, steps := range map[string][]step{
		"by address": {
			{`{"email":"a@x.org","name":"A"}`, "I", "I", "I"},
			{`{"email":"A@X.org","name":"A"}`, "S", "S", "S"},
			{`{"email":"a@x.org"}`, "S", "S", "S"},
			{`{"email":"a@x.org","name":"B"}`, "email", "S", "U"},
			{`{"email":"a@x.org","name":"B"}`, "email", "S", "S"},
			{`{"email":"a@x.org","bio":""}`, "email", "S", "U"},
			{`{"email":"a@x.org","bio":"","preferences":{"b":1.50,"a":2}}`, "email", "S", "U"},
			{`{"email":"a@x.org","preferences":{"a":2e0,"b":1.5}}`, "email", "S", "S"},
			{`{"email":"a@x.org","is_active":true,"is_admin":false,"is_deleted":false}`, "S", "S", "S"},
		},
		"by public id": {
			{`{"email":"a@x.org","public_id":"` + firstID + `"}`, "I", "I", "I"},
			{`{"email":"b@x.org","public_id":"` + firstID + `"}`, "public_id", "S", "U"},
			{`{"email":"a@x.org","public_id":"` + secondID + `"}`, "email", "email", "I"},
			{`{"email":"a@x.org","public_id":"` + firstID + `"}`, "S", "S", "email"},
			{`{"email":"b@x.org","public_id":"` + thirdID + `"}`, "I", "I", "email"},
		},
		"deleted": {
			{`{"email":"a@x.org","public_id":"` + firstID + `","is_deleted":true,"deleted_at":"2020-01-01T00:00:00Z"}`, "I", "I", "I"},
			{`{"email":"a@x.org","public_id":"` + secondID + `"}`, "I", "I", "I"},
			{`{"email":"a@x.org","public_id":"` + firstID + `"}`, "S", "S", "S"},
			{`{"email":"a@x.org","public_id":"` + firstID + `","is_deleted":false}`, "email", "S", "email"},
			{`{"email":"a@x.org","public_id":"` + firstID + `","is_deleted":true,"deleted_at":"2021-01-01T00:00:00Z"}`, "public_id", "S", "deleted_at"},
			{`{"email":"a@x.org","public_id":"` + secondID + `","is_deleted":true}`, "public_id", "S", "U"},
			{`{"email":"a@x.org","public_id":"` + firstID + `","is_deleted":false}`, "email", "S", "U"},
			{`{"email":"a@x.org","is_deleted":true}`, "public_id", "public_id", "public_id"},
			{`{"email":"c@x.org","deleted_at":"2020-01-01T00:00:00Z"}`, "deleted_at", "deleted_at", "deleted_at"},
		},
		"times": {
			{`{"email":"a@x.org","created_at":"2020-01-01T00:00:00Z","updated_at":"2020-01-02T00:00:00Z","last_login_at":"2020-01-03T00:00:00Z"}`, "I", "I", "I"},
			{`{"email":"a@x.org","created_at":"2020-01-01T01:00:00+01:00","updated_at":"2021-01-02T00:00:00Z"}`, "S", "S", "S"},
			{`{"email":"a@x.org","created_at":"2020-01-01T00:00:01Z"}`, "email", "S", "created_at"},
			{`{"email":"a@x.org","last_login_at":"2020-01-04T00:00:00Z"}`, "email", "S", "U"},
			{`{"email":"b@x.org","updated_at":"9999-01-01T00:00:00Z"}`, "updated_at", "updated_at", "updated_at"},
			{`{"email":"b@x.org","tokens_valid_after":"9999-01-01T00:00:00Z"}`, "I", "I", "I"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
				rows, want := make([]string, len(steps)), [3]string{}
				for n, step := range steps {
					rows[n] = step.row
					for mode, outcome := range []string{step.refuse, step.skip, step.update} {
						want[mode] += outcome + " "
					}
				}
				for mode := range want {
					for _, dry := range []bool{true, false} {
						if got := fates(t, ctx, s, rows, models.ImportOptions{OnConflict: models.ImportConflict(mode), BatchSize: 1, DryRun: dry}); got != want[mode] {
							t.Errorf("mode %d, dry run %t: %s\nwant %s", mode, dry, got, want[mode])
						}
					}
					must(s.User.Delete().Exec(models.HardDelete(ctx)))(t)
				}
			})
		})
	}
}

// fates imports rows and tells what became of each.
func fates(t *testing.T, ctx context.Context, s *models.Store, rows []string, options models.ImportOptions) string {
	t.Helper()
	var out strings.Builder
	before := models.ImportReport{}
	options.Format = models.ImportJSONLines
	options.Progress = func(now models.ImportReport) {
		switch {
		case now.Imported > before.Imported:
			out.WriteString("I ")
		case now.Updated > before.Updated:
			out.WriteString("U ")
		case now.Skipped > before.Skipped:
			out.WriteString("S ")
		case now.Refused > before.Refused:
			out.WriteString(now.Rows[len(now.Rows)-1].Field + " ")
		}
		before = now
	}
	must(s.ImportUsers(ctx, strings.NewReader(strings.Join(rows, "\n")), options))(t)
	return out.String()
}

// TestImportUsers_DryRunAgrees imports random rows that meet each other, each time dry before: both say the
// same, in each mode and whatever batches, and what an update leaves is what the last rows gave.
func TestImportUsers_DryRunAgrees(t *testing.T) {
	t.Parallel()
	rounds := 60
	if os.Getenv("REVIEWPOINT_TEST_LONG") == "1" {
		rounds = 3000
	}
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		for round := range rounds {
			seed := rand.Uint64()
			random := rand.New(rand.NewPCG(seed, 0))
			var file strings.Builder
			for range 2 + random.IntN(30) {
				row := map[string]any{"email": fmt.Sprintf("p%d@x.org", random.IntN(5))}
				for _, of := range []struct {
					column string
					values []any
				}{
					{"public_id", []any{firstID, secondID, thirdID}}, {"name", []any{"A", "B", ""}}, {"bio", []any{"x", "y"}}, {"is_active", []any{true, false}}, {"is_deleted", []any{true, false}},
					{"preferences", []any{map[string]any{"a": 1}, map[string]any{}}}, {"created_at", []any{"2020-01-01T00:00:00Z"}}, {"hashed_password", []any{argonHash, bcryptHash}},
				} {
					if random.IntN(3) == 0 {
						row[of.column] = of.values[random.IntN(len(of.values))]
					}
				}
				file.Write(must(json.Marshal(row))(t))
				file.WriteByte('\n')
			}
			options := models.ImportOptions{Format: models.ImportJSONLines, OnConflict: models.ImportConflict(random.IntN(3)), BatchSize: 1 + random.IntN(12)}
			dry := options
			dry.DryRun = true
			tried := must(s.ImportUsers(ctx, strings.NewReader(file.String()), dry))(t)
			if again := must(s.ImportUsers(ctx, strings.NewReader(file.String()), dry))(t); !reflect.DeepEqual(again, tried) { // One of the two took a difference for none.
				tried = must(s.ImportUsers(ctx, strings.NewReader(file.String()), dry))(t)
			}
			report := must(s.ImportUsers(ctx, strings.NewReader(file.String()), options))(t)
			if !reflect.DeepEqual(tried, report) {
				t.Fatalf("round %d, seed %d, %+v\n%s\nthe dry run said %+v\nand the real one  %+v", round, seed, options, file.String(), tried, report)
			}
			if round%3 == 2 {
				must(s.User.Delete().Exec(models.HardDelete(ctx)))(t)
			}
		}
	})
}

// TestImportUsers_Update holds that an update goes through the client: audited, with the cutoff of
// tokens, and what is not given stays.
func TestImportUsers_Update(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := must(newUser(s).SetName("A").SetBio("stays").Save(ctx))(t)
		row := fmt.Sprintf("public_id,email,name,is_active,bio\n%s,new@example.org,',false,\n", u.PublicID)
		report := must(s.ImportUsers(models.AsSystem(ctx, "mover"), strings.NewReader(row), models.ImportOptions{OnConflict: models.ConflictUpdate}))(t)
		now := must(s.User.Get(ctx, u.ID))(t)
		if report.Updated != 1 || now.Email != "new@example.org" || now.Name == nil || *now.Name != "" || now.IsActive || *now.Bio != "stays" || now.TokensValidAfter == nil {
			t.Errorf("%+v, %v", report, now)
		}
		trail := must(s.AuditLog.Query().Where(auditlog.Action("update"), auditlog.Actor("system:mover")).Only(ctx))(t)
		if len(trail.Changes) != 4 { // email, name, is_active, tokens_valid_after
			t.Errorf("the trail has %v", trail.Changes)
		}
		cut := must(newUser(s).Save(ctx))(t) // The first row moves the cutoff past that of the second.
		two := fmt.Sprintf("{\"email\":%q,\"is_active\":false}\n{\"email\":%q,\"tokens_valid_after\":\"2020-01-01T00:00:00Z\"}\n", cut.Email, cut.Email)
		for _, dry := range []bool{true, false} {
			report := must(s.ImportUsers(ctx, strings.NewReader(two), models.ImportOptions{Format: models.ImportJSONLines, OnConflict: models.ConflictUpdate, DryRun: dry}))(t)
			if report.Updated != 1 || report.Skipped != 1 {
				t.Errorf("dry run %t: %+v", dry, report)
			}
		}
		console := models.WithViewer(ctx, models.Viewer{Admin: true, Label: "console"})
		for column, value := range map[string]string{
			"is_deleted": "true", "deleted_at": "2020-01-01T00:00:00Z", "last_login_at": "2020-01-01T00:00:00Z",
			"tokens_valid_after": "2020-01-01T00:00:00Z", "updated_at": "2020-01-01T00:00:00Z", "hashed_password": "!",
		} {
			_, err := s.ImportUsers(console, strings.NewReader("email,"+column+"\na@example.org,"+value+"\n"), models.ImportOptions{})
			line := map[string]any{"email": "a@example.org", column: value}
			if strings.HasSuffix(column, "deleted") || column == "deleted_at" {
				line["public_id"], line["is_deleted"] = firstID, true
			}
			_, inLine := s.ImportUsers(console, bytes.NewReader(must(json.Marshal(line))(t)), models.ImportOptions{Format: models.ImportJSONLines})
			if !errors.Is(err, models.ErrForbidden) || !errors.Is(inLine, models.ErrForbidden) {
				t.Errorf("an administrator may give %s: %v, %v", column, err, inLine)
			}
		}
	})
}

// TestImportUsers_Deep holds that an object nested too deep for SQLite refuses its row alone.
func TestImportUsers_Deep(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		deepest := 996
		var file strings.Builder
		for n, depth := range []int{1, deepest, deepest + 1, 1001, 5000, 2} {
			fmt.Fprintf(&file, "{\"email\":\"p%d@example.org\",\"preferences\":%s{}%s}\n", n, strings.Repeat(`{"a":`, depth-1), strings.Repeat("}", depth-1))
		}
		for _, dry := range []bool{true, false} {
			report := must(s.ImportUsers(ctx, strings.NewReader(file.String()), models.ImportOptions{Format: models.ImportJSONLines, DryRun: dry}))(t)
			want := 3
			if s.Dialect() == "postgres" {
				want = 6
			}
			if report.Imported != want || report.Refused != 6-want {
				t.Errorf("%+v", report)
			}
		}
	})
}

// TestImportUsers_ParseError holds that what stands before a fault of the file is settled, in a batch that
// is not full.
func TestImportUsers_ParseError(t *testing.T) {
	t.Parallel()
	s, ctx := models.OpenTest(t), models.AsSystem(t.Context(), "test")
	report, err := s.ImportUsers(ctx, strings.NewReader("email\na@example.org\nnobody\n\"b\"x\n"), models.ImportOptions{})
	if err == nil || report.Imported != 1 || report.Refused != 1 || report.Line != 3 {
		t.Errorf("%+v, %v", report, err)
	}
}

// TestImportFiles imports files by either name of their owners, twice, and refuses what cannot be.
func TestImportFiles(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		ada := must(newUser(s).Save(ctx))(t)
		gone := must(newUser(s).Save(ctx))(t)
		check(t, s.SoftDeleteUser(ctx, gone.ID))
		lines := "user_email,user_public_id,public_id,filename,content_type,size,created_at\n" +
			strings.ToUpper(ada.Email) + ",,,a.pdf,application/pdf,9007199254740993,2020-01-01T00:00:00Z\n" +
			"," + ada.PublicID.String() + ",,'=b.pdf,application/pdf,,\n" +
			"," + ada.PublicID.String() + ",,'=b.pdf,application/pdf,,\n" + // one file
			"," + gone.PublicID.String() + ",,c.pdf,application/pdf,1,\n" +
			gone.Email + ",,,c.pdf,application/pdf,1,\n" +
			"," + firstID + ",,c.pdf,application/pdf,1,\n" +
			ada.Email + "," + ada.PublicID.String() + ",,c.pdf,application/pdf,1,\n" +
			",,,c.pdf,application/pdf,1,\n" +
			ada.Email + ",,,,application/pdf,1,\n" +
			ada.Email + ",,,d.pdf,application/pdf,-1,\n" +
			ada.Email + ",,,d.pdf,application/pdf,9223372036854775808,\n" +
			ada.Email + ",," + thirdID + ",e.pdf,application/pdf,1,\n"
		want := "user_email is of no account; user_public_id is of no account; user_email is given beside user_public_id: give one; user_public_id is missing; filename is missing; " +
			"size must be a whole number of bytes, from 0 to 9223372036854775807; size must be a whole number of bytes, from 0 to 9223372036854775807"
		for _, made := range []int{0, 4, 0} { // by a dry run, by an import, and by another
			report := must(s.ImportFiles(ctx, strings.NewReader(lines), models.ImportOptions{DryRun: made == 0}))(t)
			reasons := make([]string, len(report.Rows))
			for n, row := range report.Rows {
				reasons[n] = row.Field + " " + row.Reason
			}
			if got := strings.Join(reasons, "; "); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
		files := must(s.File.Query().Order(file.ByID()).All(ctx))(t)
		if len(files) != 4 || files[0].Size != 9007199254740993 || files[0].UserID != ada.ID || files[1].Filename != "=b.pdf" || files[2].UserID != gone.ID || files[3].PublicID.String() != thirdID {
			t.Errorf("made %v", files)
		}
		moved := `{"public_id":"` + thirdID + `","user_public_id":"` + gone.PublicID.String() + `","filename":"f.pdf","content_type":"application/pdf","size":2}`
		for mode, want := range map[models.ImportConflict]string{models.ConflictRefuse: "public_id", models.ConflictSkip: "", models.ConflictUpdate: ""} {
			options := models.ImportOptions{Format: models.ImportJSONLines, OnConflict: mode, DryRun: true}
			report := must(s.ImportFiles(ctx, strings.NewReader(moved), options))(t)
			if mode != models.ConflictUpdate && (report.Updated != 0 || (want == "") != (len(report.Rows) == 0)) {
				t.Errorf("mode %d: %+v", mode, report)
			}
		}
		report := must(s.ImportFiles(ctx, strings.NewReader(moved), models.ImportOptions{Format: models.ImportJSONLines, OnConflict: models.ConflictUpdate}))(t)
		now := must(s.File.Get(ctx, files[3].ID))(t)
		if report.Updated != 1 || now.UserID != gone.ID || now.Filename != "f.pdf" || now.Size != 2 {
			t.Errorf("%+v, %v", report, now)
		}
		console := models.WithViewer(ctx, models.Viewer{Admin: true, Label: "console"})
		if report := must(s.ImportFiles(console, strings.NewReader(lines), models.ImportOptions{}))(t); report.Skipped != 4 { // The moved one differs.
			t.Errorf("%+v", report)
		}
		if _, err := s.ImportFiles(console, strings.NewReader("user_email,filename,content_type,updated_at\n"), models.ImportOptions{}); !errors.Is(err, models.ErrForbidden) {
			t.Errorf("an administrator gives updated_at: %v, want ErrForbidden", err)
		}
		if _, err := s.ImportFiles(models.AsUser(ctx, ada), strings.NewReader(lines), models.ImportOptions{}); !errors.Is(err, models.ErrForbidden) {
			t.Errorf("a person may import files: %v", err)
		}
		for header, want := range map[string]string{
			"filename,content_type\n": "File.header: does not name user_public_id", "user_email,filename\n": "File.header: does not name content_type",
			"email,name\n": "File.header: is that of users, not of files", "filename;size\n": "File.header: has semicolons: save the file with commas between the values",
			"\xff\xfef\x00": "File.header: is UTF-16: save the file as UTF-8",
		} {
			if _, err := s.ImportFiles(ctx, strings.NewReader(header), models.ImportOptions{}); err == nil || err.Error() != want {
				t.Errorf("%q: %v, want %s", header, err, want)
			}
		}
	})
}

// FuzzCSV holds that whatever is exported as CSV comes back as it was, and that no cell begins as a formula.
func FuzzCSV(f *testing.F) {
	random := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		f.Add(hardText(random, 100))
	}
	f.Fuzz(func(t *testing.T, value string) {
		written, read := models.ThroughCSV(t, value)
		if read != value {
			t.Errorf("%q was written as %q and read as %q", value, written, read)
		}
		if written == "" || strings.ContainsAny(written[:1], "=+-@\t\r\n") {
			t.Errorf("%q was written as %q", value, written)
		}
	})
}

// sampled looks at the heap twenty times while bytes go through it.
type sampled struct {
	every, left int
	most        uint64
}

func (s *sampled) pass(n int) {
	if s.left -= n; s.left <= 0 {
		s.left = s.every
		s.most = max(s.most, liveHeap())
	}
}

func (s *sampled) Write(p []byte) (int, error) {
	s.pass(len(p))
	return len(p), nil
}

// portableRows is a file as an export writes it, which is made while it is read.
type portableRows struct {
	*sampled

	row        func(n int) string
	rows, next int
	text       []byte
}

func (r *portableRows) Read(p []byte) (int, error) {
	for len(r.text) < len(p) && r.next < r.rows {
		r.text = append(r.text, r.row(r.next)...)
		r.next++
	}
	if len(r.text) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.text)
	r.text = append(r.text[:0], r.text[n:]...)
	r.pass(n)
	return n, nil
}

// TestPortable_Memory holds that a million users, and a million files, are tried, imported and exported with
// less than 64 MiB in use in all. The short form has fewer, and what goes with their number alone. It is not
// parallel, since others would allocate meanwhile.
//
//nolint:paralleltest // See above.
func TestPortable_Memory(t *testing.T) {
	rows, bound := 6_000, uint64(6_000*65+3<<20)
	long := os.Getenv("REVIEWPOINT_TEST_LONG") == "1"
	if long {
		rows, bound = 1_000_000, 64<<20
	}
	id := func(n int) string { return fmt.Sprintf("%08x-1111-4111-8111-111111111111", n) }
	makers := []func(n int) string{
		func(n int) string {
			return fmt.Sprintf("{\"public_id\":%q,\"email\":\"person%d@example.org\",\"name\":\"Person %d\",\"bio\":\"Reads papers, and writes some.\",\"preferences\":{\"page\":%d},"+
				"\"is_active\":true,\"is_admin\":false,\"is_deleted\":false,\"last_login_at\":\"2026-01-02T03:04:05Z\",\"created_at\":\"2026-01-02T03:04:05.678901Z\"}\n", id(n), n, n, n)
		},
		func(n int) string {
			return fmt.Sprintf("{\"public_id\":%q,\"user_public_id\":%q,\"filename\":\"paper %d.pdf\",\"content_type\":\"application/pdf\",\"size\":%d}\n", id(n), id(n/3), n, n)
		},
	}
	for name, s := range map[string]*models.Store{"sqlite": open(t, "sqlite://"+t.TempDir()+"/memory.db?synchronous=off"), "postgres": open(t, postgresURL(t))} {
		ctx := models.AsSystem(t.Context(), "test")
		must(s.Migrate(ctx))(t)
		for n, p := range portables {
			for _, do := range []string{"dry run", "import", "dry run again", "export"} {
				t.Run(name+"/"+p.name+"/"+do, func(t *testing.T) {
					before := liveHeap()
					heap := &sampled{every: rows * 5} // bytes: a row has more than 100
					began := time.Now()
					if do == "export" {
						check(t, p.exportRows(s, ctx, heap, models.ExportOptions{Format: models.ImportJSONLines}))
					} else {
						file := &portableRows{sampled: heap, row: makers[n], rows: rows}
						report := must(p.importRows(s, ctx, file, models.ImportOptions{Format: models.ImportJSONLines, DryRun: do != "import"}))(t)
						if report.Read != rows || report.Imported+report.Skipped != rows || (report.Skipped > 0) != (do == "dry run again") {
							t.Errorf("%+v", report)
						}
					}
					used := heap.most
					if !long {
						used -= min(used, before)
					}
					t.Logf("%d KiB in use, %d before, %s", heap.most>>10, before>>10, time.Since(began).Round(time.Millisecond))
					if used > bound || heap.most == 0 {
						t.Errorf("%d KiB, want at most %d", used>>10, bound>>10)
					}
				})
			}
		}
	}
}
