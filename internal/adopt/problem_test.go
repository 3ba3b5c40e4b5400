package adopt_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/adopt"
	"github.com/reviewpoint/models/internal/database"
)

const goodHash = "'$2b$12$pA1IBqFEY2Iky0k6haFJAeUe0YVZTdQBItSVZgQsUC25WsvcEZd4W'"

// newRow is a statement that adds a row; what is not given is right.
func newRow(table string, id int, given map[string]string) string {
	values := map[string]string{"id": fmt.Sprint(id), "created_at": "'2025-01-02 03:04:05'", "updated_at": "'2025-01-02 03:04:05.678'"}
	switch table {
	case "users":
		maps.Copy(values, map[string]string{
			"email": fmt.Sprintf("'person%d@example.org'", id), "hashed_password": goodHash, "is_active": "true", "is_deleted": "false", "is_admin": "false",
		})
	case "files":
		maps.Copy(values, map[string]string{"filename": "'a'", "content_type": "'b'", "user_id": "1"})
	case "used_password_reset_tokens":
		maps.Copy(values, map[string]string{"email": "'a@example.org'", "nonce": fmt.Sprintf("'nonce%d'", id), "used_at": "'2025-01-02 03:04:05'"})
	case "blacklisted_tokens":
		maps.Copy(values, map[string]string{"jti": fmt.Sprintf("'jti%d'", id), "expires_at": "'2025-01-02 03:04:05'"})
	}
	maps.Copy(values, given)
	columns := slices.Sorted(maps.Keys(values))
	out := make([]string, len(columns))
	for i, column := range columns {
		out[i] = values[column]
	}
	return fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", table, strings.Join(columns, ", "), strings.Join(out, ", "))
}

type bad struct{ table, column, value, reason string }

func text(n int) string { return "'" + strings.Repeat("я", n) + "'" }

// badRows have one value each for which there is no place.
func badRows(name string) []bad {
	const (
		users, files, resets, tokens = "users", "files", "used_password_reset_tokens", "blacklisted_tokens"
		address                      = "must be an address such as name@example.org"
	)
	rows := []bad{
		{users, "email", "''", address},
		{users, "email", "NULL", "is NULL"},
		{users, "email", "'somebody'", address},
		{users, "email", "'a b@example.org'", "must have letters, digits and any of !#$%&'*+-/=?^_`{|}~ before the @, with single dots between them"},
		{users, "email", "'" + strings.Repeat("x", 64) + "@" + strings.Repeat("y.", 95) + "org'", "must have at most 254 bytes"},
		{users, "hashed_password", "''", "is empty"},
		{users, "hashed_password", text(256), "has more than 255 characters"},
		{users, "hashed_password", "NULL", "is NULL"},
		{users, "is_active", "NULL", "is NULL"},
		{users, "is_admin", "NULL", "is NULL"},
		{users, "is_deleted", "NULL", "is NULL"},
		{users, "created_at", "NULL", "is NULL"},
		{users, "updated_at", "NULL", "is NULL"},
		{users, "name", text(129), "has more than 128 characters"},
		{users, "bio", text(513), "has more than 512 characters"},
		{users, "avatar_url", text(256), "has more than 255 characters"},
		{users, "preferences", `'[1]'`, "is no JSON object"},
		{users, "preferences", `'"text"'`, "is no JSON object"},
		{users, "preferences", `'7'`, "is no JSON object"},
		{users, "preferences", `'{"a": "x\u0000"}'`, "holds a NUL character"},
		{users, "preferences", `'{"\u0000": 1}'`, "holds a NUL character"},
		{users, "preferences", `'{"a": "\ud800"}'`, "holds half a character (\\ud800 to \\udfff)"},
		{users, "preferences", `'{"a": "\udc00\ud800"}'`, "holds half a character (\\ud800 to \\udfff)"},
		{users, "preferences", `'{"a": 1e309}'`, "holds a number that is too large, or has too many digits"},
		{users, "preferences", `'{"a": -1` + strings.Repeat("0", 309) + `}'`, "holds a number that is too large, or has too many digits"},
		{users, "preferences", `'{"a": 1e-17000}'`, "holds a number that is too large, or has too many digits"},
		{users, "preferences", `'{"a": 0e99999999999999999999}'`, "holds a number that is too large, or has too many digits"},
		{users, "preferences", `'{"a": 0.` + strings.Repeat("1", 16384) + `}'`, "holds a number that is too large, or has too many digits"},
		{users, "preferences", `'{"a": ` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}'`, "is nested more than 1000 levels deep"},
		{files, "filename", "''", "is empty"},
		{files, "filename", text(256), "has more than 255 characters"},
		{files, "filename", "NULL", "is NULL"},
		{files, "content_type", "''", "is empty"},
		{files, "content_type", text(129), "has more than 128 characters"},
		{files, "content_type", "NULL", "is NULL"},
		{files, "size", "-1", "is negative"},
		{files, "user_id", "NULL", "is NULL"},
		{files, "user_id", "4711", "is no user that there is"},
		{files, "created_at", "NULL", "is NULL"},
		{files, "updated_at", "NULL", "is NULL"},
		{resets, "email", "''", address},
		{resets, "email", "NULL", "is NULL"},
		{resets, "nonce", "''", "is empty"},
		{resets, "nonce", text(65), "has more than 64 characters"},
		{resets, "nonce", "NULL", "is NULL"},
		{resets, "used_at", "NULL", "is NULL"},
		{resets, "created_at", "NULL", "is NULL"},
		{resets, "updated_at", "NULL", "is NULL"},
		{tokens, "jti", "''", "is empty"},
		{tokens, "jti", text(256), "has more than 255 characters"},
		{tokens, "jti", "NULL", "is NULL"},
		{tokens, "jti", "'00000000-0000-0000-0000-000000000001'", "is that of row 1, too"},
		{tokens, "expires_at", "NULL", "is NULL"},
		{tokens, "created_at", "NULL", "is NULL"},
		{tokens, "updated_at", "NULL", "is NULL"},
	}
	if name == dialect.Postgres {
		return append(rows,
			bad{tokens, "expires_at", "'infinity'", "is no time"},
			bad{tokens, "expires_at", "'-infinity'", "is no time"},
			bad{tokens, "expires_at", "'10000-01-01 00:00:00+00'", "is outside the years 1 to 9999"},
			bad{tokens, "expires_at", "'0001-12-31 23:59:59+00 BC'", "is outside the years 1 to 9999"},
			bad{users, "last_login_at", "'10000-01-01 00:00:00'", "is outside the years 1 to 9999"},
		)
	}
	for _, column := range []struct{ table, name string }{
		{users, "email"}, {users, "hashed_password"}, {users, "name"}, {users, "bio"}, {users, "avatar_url"}, {users, "preferences"},
		{files, "filename"}, {files, "content_type"}, {resets, "email"}, {resets, "nonce"}, {tokens, "jti"},
	} {
		rows = append(rows,
			bad{column.table, column.name, "CAST(x'61ff' AS text)", "text is not valid UTF-8"},
			bad{column.table, column.name, "'a' || char(0) || 'b'", "text holds a NUL character"},
			bad{column.table, column.name, "x'7b7d'", "is not stored as text"},
		)
	}
	for _, value := range []string{"''", "'yesterday'", "'2025-02-30 00:00:00'", "'2025-01-01'", "'2025-01-01 24:00:00'", "1735689600", "1735689600.5", "x'00'"} {
		rows = append(rows, bad{users, "created_at", value, "is no time"}, bad{tokens, "expires_at", value, "is no time"})
	}
	return append(rows,
		bad{users, "last_login_at", "'0000-01-01 00:00:00'", "is outside the years 1 to 9999"},
		bad{users, "last_login_at", "'0001-01-01 00:00:00+01:00'", "is outside the years 1 to 9999"},
		bad{users, "last_login_at", "'9999-12-31 23:00:00-01:00'", "is outside the years 1 to 9999"},
		bad{users, "is_active", "2", "is neither true nor false"},
		bad{users, "is_active", "'yes'", "is neither true nor false"},
		bad{users, "preferences", "'{'", "is no JSON"},
		bad{users, "preferences", "''", "is no JSON"},
		bad{users, "preferences", `'{"a": NaN}'`, "is no JSON"},
		bad{users, "preferences", "5", "is not stored as text"},
		bad{users, "name", "x''", "is not stored as text"},
		bad{files, "size", "1.5", "is no whole number"},
		bad{files, "size", "'much'", "is no whole number"},
		bad{files, "user_id", "'x'", "is no user that there is"},
	)
}

func TestInspect_Problems(t *testing.T) {
	t.Parallel()
	for _, name := range dialects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := lax(t, name)
			var want []string
			for i, row := range badRows(name) {
				id := 1000 + i
				execute(t, db, newRow(row.table, id, map[string]string{row.column: row.value}))
				if name == dialect.SQLite && row.column == "preferences" && row.value == "'7'" {
					row.reason = "is not stored as text" // The column's type makes it a number.
				}
				want = append(want, fmt.Sprintf("%s %d %s %s", row.table, id, row.column, row.reason))
			}
			checkProblems(t, db, want)
		})
	}
}

// checkProblems holds that these are found, and that nothing is done about them.
func checkProblems(t *testing.T, db *database.DB, want []string) {
	t.Helper()
	before := dump(t, db)
	report := inspect(t, db)
	var got []string
	for _, p := range report.Problems {
		got = append(got, fmt.Sprintf("%s %d %s %s", p.Table, p.ID, p.Column, p.Reason))
	}
	slices.Sort(got)
	slices.Sort(want)
	equal(t, "problems", got, want)
	if _, err := adopt.Run(t.Context(), db, migrator(t, db), report, adopt.Options{}); !errors.Is(err, adopt.ErrProblems) {
		t.Errorf("adopting all the same: %v, want ErrProblems", err)
	}
	equal(t, "the database afterwards", dump(t, db), before)
}

func TestInspect_Collisions(t *testing.T) {
	t.Parallel()
	for _, name := range dialects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := lax(t, name)
			for id, email := range map[int]string{
				100: "Ada@Example.org", 101: "ada@example.org", 102: " ADA@example.org", 103: "bob@example.org", 104: "user2@EXAMPLE.com",
				105: "юзер0@xn--e1afmkfd.xn--p1ai",
			} {
				execute(t, db, newRow("users", id, map[string]string{"email": "'" + email + "'"}))
			}
			// Those who are deleted may share the address of others, and of each other.
			execute(t, db,
				newRow("users", 110, map[string]string{"email": "'ADA@EXAMPLE.ORG'", "is_deleted": "true"}),
				newRow("users", 111, map[string]string{"email": "'BOB@EXAMPLE.ORG'", "is_deleted": "true"}),
				newRow("users", 112, map[string]string{"email": "'gone@example.org'", "is_deleted": "true"}),
				newRow("users", 113, map[string]string{"email": "'Gone@example.org'", "is_deleted": "true"}))
			const reason = "email is, in its normal form, the address of the accounts"
			checkProblems(t, db, []string{
				"users 100 " + reason + " 100, 101, 102", "users 101 " + reason + " 100, 101, 102", "users 102 " + reason + " 100, 101, 102",
				"users 3 " + reason + " 3, 104", "users 104 " + reason + " 3, 104",
				"users 1 " + reason + " 1, 105", "users 105 " + reason + " 1, 105",
			})
			notes := inspect(t, db).Notes
			if len(notes) != 1 || !slices.Equal(notes[0].IDs, []int64{110, 111}) {
				t.Errorf("the notes are %+v, want one of 110 and 111", notes)
			}

			execute(t, db, "DELETE FROM users WHERE id IN (100, 102, 104, 105)")
			take(t, db)
			checkFresh(t, db)
			got := query(t, db, "SELECT id, email FROM users WHERE id >= 100 ORDER BY id")
			equal(t, "addresses", got, []string{
				"101|ada@example.org", "103|bob@example.org", "110|ada@example.org", "111|bob@example.org", "112|gone@example.org", "113|gone@example.org",
			})
		})
	}
}

// TestReport_Silent holds that nothing of a row is said but its id.
func TestReport_Silent(t *testing.T) {
	t.Parallel()
	for _, name := range dialects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := lax(t, name)
			for i, row := range badRows(name) {
				given := map[string]string{row.column: row.value}
				for _, column := range []string{"email", "hashed_password", "name"} {
					if row.table == "users" && column != row.column {
						given[column] = fmt.Sprintf("'canary%d@'", i)
					}
				}
				execute(t, db, newRow(row.table, 1000+i, given))
			}
			if said := fmt.Sprintf("%+v", inspect(t, db)); strings.Contains(said, "canary") || strings.Contains(said, "$2b$") || strings.Contains(said, "nonce-") {
				t.Error("the report shows an address, a hash or a nonce")
			}
		})
	}
}
