package database_test

import (
	"strings"
	"testing"

	"github.com/reviewpoint/models/internal/database"
)

var tables = map[string]bool{"users": true, "files": true}

func TestSummarize(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"SELECT * FROM users":                                                                  "SELECT users",
		"select `users`.`id` from `users` join files on 1":                                     "SELECT users",
		`INSERT INTO "files" ("filename") VALUES ($1)`:                                         "INSERT files",
		"INSERT OR IGNORE INTO files DEFAULT VALUES":                                           "INSERT files",
		"UPDATE ONLY public.users SET name = $1":                                               "UPDATE users",
		`UPDATE "public"."users" SET name = $1`:                                                "UPDATE users",
		"\n\t DELETE  FROM\n users":                                                            "DELETE users",
		"SELECT EXISTS (SELECT 1 FROM (SELECT id FROM users) u)":                               "SELECT users",
		"SELECT extract(year FROM created_at) FROM files":                                      "SELECT files",
		"WITH gone AS (DELETE FROM files WHERE id < 9 RETURNING id) SELECT count(*) FROM gone": "DELETE files",
		"WITH n AS (SELECT 1) SELECT * FROM n, users":                                          "SELECT",
		"WITH n AS (SELECT id FROM users) SELECT * FROM n":                                     "SELECT users",
		"-- why\n/* more */ SELECT 1 FROM users":                                               "SELECT users",
		"SELECT 'x FROM files' FROM users":                                                     "SELECT users",
		"CREATE TABLE IF NOT EXISTS users (id int)":                                            "CREATE users",
		"SELECT * FROM secrets":                                                                "SELECT",
		"SELECT users FROM secrets":                                                            "SELECT",
		"SAVEPOINT users":                                                                      "SAVEPOINT",
		"ROLLBACK TO SAVEPOINT statement":                                                      "ROLLBACK",
		"hunter2":                                                                              "OTHER",
		"'hunter2'":                                                                            "OTHER",
		"":                                                                                     "OTHER",
		"(SELECT id FROM users)":                                                               "SELECT users",
		"BEGIN":                                                                                "BEGIN",
		"SELECT " + strings.Repeat("x, ", 10000) + " FROM users":                               "SELECT",
	} {
		operation, table := database.Summarize(query, tables)
		if got := strings.TrimSpace(operation + " " + table); got != want {
			t.Errorf("%.80s: %s, want %s", query, got, want)
		}
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	const both, sqlite, postgres = "both", "sqlite", "postgres"
	for _, tt := range []struct{ where, query, want string }{
		{both, "SELECT id, name2 FROM users WHERE id = $1 AND x = ?", "SELECT id, name2 FROM users WHERE id = $1 AND x = ?"},
		{both, "SELECT  id\n\tFROM users -- of ada", "SELECT id FROM users ..."},
		{both, "SELECT /* ada */ id", "SELECT ..."},
		{both, "SELECT 'it''s', 12, 1.5e10, .5, -7, x'00ff' FROM a1", "SELECT ?, ?, ?, .?, -?, x? FROM a1"},
		{both, `SELECT 'a\' FROM users WHERE x = 'secret'`, "SELECT ..."},
		{both, "SELECT $$secret$$", "SELECT ..."},
		{both, "SELECT $a$secret$a$", "SELECT ..."},
		{both, "SELECT 'secret", "SELECT ?"},
		{both, `SELECT "secret`, "SELECT ?"},
		{both, `SELECT "a b", "it's"`, "SELECT ?, ?"},
		{both, "SELECT 1; SET x TO secret", "SELECT ?..."},
		{both, "SET application_name TO secret", ""},
		{both, "NOTIFY ada", ""},
		{both, "secret", ""},
		{both, "SELECT x::text, :name", "SELECT x::text, :name"},
		{postgres, `SELECT "users"."id" FROM "users"`, `SELECT "users"."id" FROM "users"`},
		{sqlite, `SELECT id FROM users WHERE email = "ada"`, "SELECT id FROM users WHERE email = ?"},
		{sqlite, "SELECT `users`.`id` FROM `users`", "SELECT `users`.`id` FROM `users`"},
		{sqlite, "SELECT [it's] , 'secret'", "SELECT ..."},
		{postgres, "SELECT a[1], b ` 'x ` secret'", "SELECT a[?], b ..."},
	} {
		for dialect, isSQLite := range map[string]bool{sqlite: true, postgres: false} {
			if tt.where != both && tt.where != dialect {
				continue
			}
			if got := database.Redact(tt.query, isSQLite); got != tt.want {
				t.Errorf("%s, %s: %q, want %q", tt.query, dialect, got, tt.want)
			}
		}
	}
	long := "SELECT " + strings.Repeat("a, ", 5000) + "b"
	if got := database.Redact(long, true); len(got) > 2100 || !strings.HasSuffix(got, "...") {
		t.Errorf("a long text becomes %d bytes", len(got))
	}
}

// FuzzSummary looks for texts that panic, and for values in what is shown.
func FuzzSummary(f *testing.F) {
	for _, seed := range []string{"SELECT 'x' FROM users", `SELECT "a`, "SELECT $1, $", "WITH `", "SELECT [", "INSERT INTO files VALUES (1)", "SELECT --", "SELECT /*"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		operation, table := database.Summarize(query, tables)
		if strings.ToUpper(operation) != operation || len(operation) > len("SAVEPOINT") || table != "" && !tables[table] {
			t.Errorf("it tells %q, %q", operation, table)
		}
		for _, sqlite := range []bool{true, false} {
			// A string is not shown wherever it stands, once the text before it has been taken apart.
			for _, text := range []string{query, "SELECT " + query} {
				database.Redact(text, sqlite)
			}
			if got := database.Redact("SELECT 'hunter2' "+query, sqlite); strings.Contains(got, "hunter2") && !strings.Contains(query, "hunter2") {
				t.Errorf("it shows %q", got)
			}
		}
	})
}
