package models_test

import (
	"context"
	stdsql "database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent/user"
	"github.com/reviewpoint/models/internal/dbtest"
)

// BenchmarkImportUsers imports 1000 accounts, and inserts the same rows by database/sql with one prepared
// statement for each table in one transaction: the accounts alone (x_raw), and with their rows of the
// trail (x_audited). It tells the ratios to both. The three take turns.
//
//	go test -run '^$' -bench ImportUsers -count 6 .
func BenchmarkImportUsers(b *testing.B) {
	const rows = 1000
	accounts := make([]account, rows)
	for i := range accounts {
		accounts[i] = account{
			"email": fmt.Sprintf("person%d@example.org", i), "name": fmt.Sprintf("Person %d", i), "bio": "Reads papers, and writes some.",
			"avatar_url": fmt.Sprintf("https://example.org/avatars/%d.png", i), "is_active": true, "is_admin": false,
			"preferences": map[string]any{"theme": "dark", "page": 20}, "public_id": uuid.NewString(), "created_at": "2026-01-02T03:04:05.678901Z",
			"hashed_password": bcryptHash,
		}
	}
	for name, url := range map[string]func() (store, raw string){
		"sqlite": func() (string, string) {
			path := filepath.Join(b.TempDir(), "bench.db")
			return "sqlite://" + path + "?synchronous=off", "file:" + path + "?_journal_mode=WAL&_synchronous=0&_foreign_keys=1&_txlock=immediate&_busy_timeout=10000"
		},
		"postgres": func() (string, string) {
			url := dbtest.Postgres(b)
			return url, url
		},
	} {
		b.Run(name, func(b *testing.B) {
			storeURL, rawURL := url()
			ctx := models.AsSystem(b.Context(), "bench")
			s := must(models.Open(ctx, storeURL))(b)
			defer s.Close()
			must(s.Migrate(ctx))(b)
			driver := map[string]string{"sqlite": "sqlite3", "postgres": "postgres"}[name]
			db := must(stdsql.Open(driver, rawURL))(b)
			defer db.Close()
			for _, format := range []string{"csv", "json"} {
				b.Run(format, func(b *testing.B) {
					file, options := asCSV(b, importableColumns, accounts...), models.ImportOptions{}
					if format == "json" {
						file, options = asJSONLines(b, accounts...), models.ImportOptions{Format: models.ImportJSONLines}
					}
					var imported, plain, audited time.Duration
					for b.Loop() {
						imported += timed(b, ctx, s, func() {
							if report := must(s.ImportUsers(ctx, strings.NewReader(file), options))(b); report.Imported != rows {
								b.Fatalf("%+v", report)
							}
						})
						plain += timed(b, ctx, s, func() { insertRaw(b, ctx, db, accounts, false) })
						audited += timed(b, ctx, s, func() { insertRaw(b, ctx, db, accounts, true) })
					}
					b.ReportMetric(float64(imported.Microseconds())/float64(b.N)/rows, "µs/row")
					b.ReportMetric(float64(imported)/float64(plain), "x_raw")
					b.ReportMetric(float64(imported)/float64(audited), "x_audited")
					b.ReportMetric(0, "ns/op")
				})
			}
		})
	}
}

// timed takes the time, and clears up.
func timed(b *testing.B, ctx context.Context, s *models.Store, fn func()) time.Duration {
	b.Helper()
	began := time.Now()
	fn()
	took := time.Since(began)
	for _, statement := range []string{"DELETE FROM users", "DELETE FROM audit_logs"} {
		must(s.ExecContext(ctx, statement))(b)
	}
	if s.Dialect() == "postgres" {
		must(s.ExecContext(ctx, "VACUUM users, audit_logs"))(b)
	}
	return took
}

func insertRaw(b *testing.B, ctx context.Context, db *stdsql.DB, accounts []account, audited bool) {
	b.Helper()
	ctx = context.WithoutCancel(ctx) // which costs the driver of SQLite a goroutine for each statement
	tx := must(db.BeginTx(ctx, nil))(b)
	returning := ""
	if audited {
		returning = " RETURNING id"
	}
	insert := must(tx.PrepareContext(ctx, `INSERT INTO users (created_at, updated_at, public_id, email, hashed_password, is_active, is_admin, is_deleted, name, bio, avatar_url, preferences)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`+returning))(b)
	trail := must(tx.PrepareContext(ctx, `INSERT INTO audit_logs (created_at, updated_at, at, actor, action, entity, entity_id, changes) VALUES ($1, $1, $1, $2, $3, $4, $5, $6)`))(b)
	defer insert.Close()
	defer trail.Close()
	now := "2026-11-23 21:00:00.123456+00:00"
	for _, a := range accounts {
		var id int64
		args := []any{
			"2026-01-02 03:04:05.678901+00:00", now, a["public_id"], a["email"], a["hashed_password"], true, false, false,
			a["name"], a["bio"], a["avatar_url"], `{"page":20,"theme":"dark"}`,
		}
		if !audited {
			must(insert.ExecContext(ctx, args...))(b)
			continue
		}
		check(b, insert.QueryRowContext(ctx, args...).Scan(&id))
		changes := `{"avatar_url":[null,"` + a["avatar_url"].(string) + `"],"bio":[null,"` + a["bio"].(string) + `"],"created_at":[null,"2026-01-02T03:04:05.678901Z"],"email":[null,"` +
			a["email"].(string) + `"],"hashed_password":[null,"[redacted]"],"is_active":[null,true],"is_admin":[null,false],"is_deleted":[null,false],"name":[null,"` +
			a["name"].(string) + `"],"preferences":[null,{"page":20,"theme":"dark"}],"public_id":[null,"` + a["public_id"].(string) + `"]}`
		must(trail.ExecContext(ctx, now, "system:bench", "create", user.Label, id, changes))(b)
	}
	check(b, tx.Commit())
}
