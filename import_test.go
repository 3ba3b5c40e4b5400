package models_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
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
			"email": " Ünïcode@Пример.РФ ", "name": "Ада, \"графиня\" <Lovelace> & Co\\", "bio": "one\ntwo\tthree\u2028four", "avatar_url": "https://example.org/a?b=c&d={e}",
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
