package transfer_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql/schema"
	"entgo.io/ent/schema/field"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent/migrate"
	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/migration"
	"github.com/reviewpoint/models/internal/transfer"
	"github.com/reviewpoint/models/schema/migrations"
)

// addEverything fills a database by the store and by raw hands, with all that a row may be.
func addEverything(t *testing.T, url string) {
	t.Helper()
	ctx := models.AsSystem(t.Context(), "test")
	store, err := models.Open(ctx, url)
	check(t, err)
	defer store.Close()
	ada, err := store.Register(ctx, "ada@example.org", "a long horse")
	check(t, err)
	for range 2 { // twice there, once deleted
		twice, err := store.Register(ctx, "twice@example.org", "a long horse")
		check(t, err)
		check(t, store.SoftDeleteUser(ctx, twice.ID))
	}
	_, err = store.Register(ctx, "twice@example.org", "a long horse")
	check(t, err)
	check(t, store.User.UpdateOne(ada).SetName("").SetBio(strings.Repeat("😀", 512)).SetPreferences(map[string]any{"text": "\"\\{},NULL\u2028<&>", "deep": []any{nil, true, map[string]any{"é": 1}}}).Exec(ctx))
	check(t, store.File.Create().SetFilename("a\r\nb\\\"'{},\t").SetContentType("NULL").SetSize(1<<63-1).SetUser(ada).Exec(ctx))
	check(t, store.UsedPasswordResetToken.Create().SetEmail("ada@example.org").SetNonce("n").Exec(ctx))
	bare := `INSERT INTO users (id, public_id, email, hashed_password, created_at, updated_at, is_active, is_admin, name, preferences) VALUES `
	row := func(id int, at, preferences string) string {
		return fmt.Sprintf("(%[1]d, '00000000-0000-4000-8000-%012[1]d', 'raw%[1]d@example.org', 'hash', '%[2]s', '%[2]s', FALSE, TRUE, NULL, %[3]s)", id, at, preferences)
	}
	db := open(t, url, database.Options{})
	execute(t, db, bare+strings.Join([]string{
		row(100, "0001-01-01 00:00:00", "NULL"),
		row(101, "9999-12-31 23:59:59.999999+00:00", `'{ "b": 9007199254740993, "a": 1e400, "c": -0.10, "c": 1e-7, "\u0061": 12345678901234567890.5 }'`),
		row(102, "2026-03-29 01:30:00.000001+00:00", `'{}'`),
	}, ", "))
	execute(t, db, "INSERT INTO files (id, public_id, filename, content_type, size, user_id) VALUES (-5, 'ffffffff-ffff-ffff-ffff-ffffffffffff', ' ', ' ', 0, 102)")
	// An id that was given and is free again.
	execute(t, db, "INSERT INTO users (id, public_id, email, hashed_password) VALUES (777, '00000000-0000-4000-8000-000000000777', 'gone@example.org', 'hash')", "DELETE FROM users WHERE id = 777")
	if db.Dialect() == dialect.Postgres {
		execute(t, db, "SELECT setval('users_id_seq', 777)")
	}
}

// inZone is an URL whose sessions have another time zone.
func inZone(t *testing.T, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	check(t, err)
	if u.Scheme == "sqlite" {
		return raw
	}
	values := u.Query()
	values.Set("timezone", "Asia/Kolkata")
	u.RawQuery = values.Encode()
	return u.String()
}

func TestCopy(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, from, to string) {
		source, target, back := newURL(t, from), newURL(t, to), newURL(t, from)
		addEverything(t, source)
		there := mustCopy(t, source, inZone(t, target))
		if again := mustCopy(t, inZone(t, target), back); !maps.Equal(again, there) {
			t.Errorf("there and back the checksums are %v, want %v", again, there)
		}

		was, is := open(t, source, database.Options{}), open(t, target, database.Options{})
		for _, rows := range []string{
			"SELECT id, email, public_id, CASE WHEN is_deleted THEN 1 ELSE 0 END, CASE WHEN is_active THEN 1 ELSE 0 END, CASE WHEN is_admin THEN 1 ELSE 0 END, bio, COALESCE(name, 'is NULL') FROM users ORDER BY id",
			"SELECT id, filename, content_type, size, user_id, public_id FROM files ORDER BY id",
			"SELECT id, actor, action, entity, entity_id FROM audit_logs ORDER BY id",
			"SELECT id, email, nonce FROM used_password_reset_tokens",
			"SELECT count(*) FROM blacklisted_tokens",
		} {
			if want, got := query(t, was, rows), query(t, is, rows); !slices.Equal(got, want) {
				t.Errorf("%s gives %q, want %q", rows, got, want)
			}
		}
		times := "SELECT created_at, updated_at, tokens_valid_after, deleted_at FROM users ORDER BY id"
		if want, got := query(t, was, times), query(t, is, times); !slices.Equal(clean(got), clean(want)) {
			t.Errorf("times are %q, want %q", got, want)
		}
		documents := "SELECT CAST(preferences AS text) FROM users ORDER BY id"
		if want, got := query(t, was, documents), query(t, is, documents); from == to && !slices.Equal(got, want) {
			t.Errorf("documents are %q, want them as they were written: %q", got, want)
		}
		for _, want := range []string{"9007199254740993", "12345678901234567890.5"} {
			if got := query(t, is, "SELECT CAST(preferences AS text) FROM users WHERE id = 101"); !strings.Contains(got[0], want) {
				t.Errorf("preferences are %s, want them to hold %s", got[0], want)
			}
		}
		checkUsable(t, target, is)
	})
}

// clean takes away how the driver names UTC.
func clean(rows []string) []string {
	out := make([]string, len(rows))
	for i, row := range rows {
		out[i] = strings.ReplaceAll(row, "+0000 UTC", "+0000 +0000")
	}
	return out
}

// checkUsable checks that the store goes on with what addEverything made.
func checkUsable(t *testing.T, url string, db *database.DB) {
	t.Helper()
	ctx := models.AsSystem(t.Context(), "test")
	store, err := models.Open(ctx, url)
	check(t, err)
	defer store.Close()
	if _, err := store.Authenticate(ctx, "ADA@example.org", "a long horse"); err != nil {
		t.Errorf("the copied account cannot sign in: %v", err)
	}
	next, err := store.Register(ctx, "next@example.org", "a long horse")
	check(t, err)
	if next.ID != 778 {
		t.Errorf("the next account has id %d, want 778: 777 was given before", next.ID)
	}
	m, err := migration.New(db, migrations.FS)
	check(t, err)
	dev, err := migration.OpenDev(ctx, db.Dialect(), url)
	check(t, err)
	defer dev.Close()
	if drift, err := m.Drift(ctx, dev); err != nil || len(drift) > 0 {
		t.Errorf("drift: %v, %v", drift, err)
	}
}

// TestCopy_LiveSource writes to the source while it is copied: what is copied is one state of it.
func TestCopy_LiveSource(t *testing.T) {
	t.Parallel()
	across(t, func(t *testing.T, from, to string) {
		source, target := newURL(t, from), newURL(t, to)
		writer := open(t, source, database.Options{})
		addRows(t, writer, 3000)
		said := make(map[string]bool)
		_, err := transfer.Copy(t.Context(), open(t, source, readOnly), open(t, target, database.Options{}), migrate.Tables, func(verb string, rows, _ int64) {
			if !said[verb] && rows > 0 {
				said[verb] = true
				addRows(t, writer, 10)
				execute(t, writer, "UPDATE users SET name = '"+verb+"'", "DELETE FROM files WHERE id % 7 = 0")
			}
		})
		check(t, err)
		if got := query(t, open(t, target, readOnly), "SELECT count(*), count(DISTINCT name), (SELECT count(*) FROM files) FROM users"); got[0] != "3000|1|3000" || !said["copied"] || !said["compared"] {
			t.Errorf("copied %v, want the state of before", got)
		}
	})
}

func TestCopy_Interrupted(t *testing.T) {
	t.Parallel()
	across(t, func(t *testing.T, from, to string) {
		source, target := newURL(t, from), newURL(t, to)
		addRows(t, open(t, source, database.Options{}), 5000)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		db := open(t, target, database.Options{})
		report, err := transfer.Copy(ctx, open(t, source, readOnly), db, migrate.Tables, func(verb string, rows, total int64) {
			if verb == "copied" && total != 10000 {
				t.Errorf("told %d of %d", rows, total)
			}
			if verb == "copied" && rows > 5000 {
				stop()
			}
		})
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("interrupted: %v", err)
		}
		if got := query(t, db, "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM files)"); got[0] != fmt.Sprintf("%d|%d", report.Tables[2].Copied, report.Tables[3].Copied) || report.Tables[3].Copied == 0 {
			t.Errorf("there is %v, and the report says %+v", got, report.Tables)
		}
		preview, err := transfer.Preview(t.Context(), open(t, source, readOnly), db, migrate.Tables, nil)
		check(t, err)
		if files := preview.Tables[3]; files.Found != report.Tables[3].Copied || files.Rows != 5000 {
			t.Errorf("the preview says %+v after %+v", files, report.Tables[3])
		}
		mustCopy(t, source, target)
	})
}

// TestCopy_NotAlone stops at rows that somebody else adds to the target meanwhile.
func TestCopy_NotAlone(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, from, to string) {
		source, target := newURL(t, from), newURL(t, to)
		addRows(t, open(t, source, database.Options{}), 5000)
		is, other := open(t, target, database.Options{}), false
		_, err := transfer.Copy(t.Context(), open(t, source, readOnly), is, migrate.Tables, func(verb string, _, _ int64) {
			if verb == "copied" && !other {
				other = true
				execute(t, is, "INSERT INTO users (id, public_id, email, hashed_password) VALUES (1000001, '00000000-0000-4000-8000-00000000000a', 'x', 'x')")
			}
		})
		if !errors.Is(err, transfer.ErrNotAlone) {
			t.Errorf("%v, want ErrNotAlone", err)
		}
		if got := query(t, is, "SELECT (SELECT count(*) FROM users) < 5000, (SELECT count(*) FROM files)"); got[0] != "true|0" && got[0] != "1|0" {
			t.Errorf("written after it: %v", got)
		}
	})
}

// TestCopy_LargeTable: a table may take longer to count than a statement of a service may.
func TestCopy_LargeTable(t *testing.T) {
	t.Parallel()
	db := open(t, newURL(t, dialect.Postgres), readOnly)
	if limit, err := transfer.InSnapshot(t.Context(), db, "SHOW statement_timeout"); err != nil || limit != "0" {
		t.Errorf("statement_timeout is %q, %v", limit, err)
	}
	if limit := query(t, db, "SHOW statement_timeout")[0]; limit != "1min" {
		t.Errorf("statement_timeout of others is %q", limit)
	}
}

// TestCopy_LostConnection loses the connections of the target.
func TestCopy_LostConnection(t *testing.T) {
	t.Parallel()
	source, target := newURL(t, dialect.SQLite), newURL(t, dialect.Postgres)
	addRows(t, open(t, source, database.Options{}), 5000)
	killer, lost := open(t, target, database.Options{}), false
	_, err := transfer.Copy(t.Context(), open(t, source, readOnly), open(t, target, database.Options{}), migrate.Tables, func(verb string, rows, _ int64) {
		if verb == "copied" && rows > 5000 && !lost {
			lost = true
			query(t, killer, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
		}
	})
	t.Logf("after the loss: %v", err) // The pool may have found it out in time.
	if !lost {
		t.Error("no connection was lost")
	}
	mustCopy(t, source, target)
}

// TestCopy_OtherRows refuses a target with rows that are not the source's, and writes nothing. Each change comes
// before those that were made already.
func TestCopy_OtherRows(t *testing.T) {
	t.Parallel()
	across(t, func(t *testing.T, from, to string) {
		source, target := newURL(t, from), newURL(t, to)
		was, is := open(t, source, database.Options{}), open(t, target, database.Options{})
		addRows(t, was, 10)
		execute(t, was, `UPDATE users SET preferences = '{"n": 9007199254740993}' WHERE id = 10`)
		mustCopy(t, source, target)
		execute(t, is, "DELETE FROM files")
		execute(t, was, "INSERT INTO blacklisted_tokens (jti, expires_at) VALUES ('a', '2026-01-02 03:04:05')")
		for _, c := range []struct{ change, want string }{
			{"INSERT INTO used_password_reset_tokens (email, nonce) VALUES ('a', 'b')", "used_password_reset_tokens id 1 of %s is not in the source"},
			{"INSERT INTO users (id, public_id, email, hashed_password) VALUES (50, '00000000-0000-4000-8000-00000000000a', 'x', 'x')", "users id 50 of %s is not in the source"},
			{`UPDATE users SET preferences = '{"n": 9007199254740992}' WHERE id = 10`, "users id 10 of %s differs in preferences"},
			{"UPDATE users SET bio = '' WHERE id = 9", "users id 9 of %s differs in bio"},
			{"UPDATE users SET created_at = '2026-01-02 03:04:05.678902+00:00' WHERE id = 8", "users id 8 of %s differs in created_at"},
			{"UPDATE users SET name = 'x' WHERE id = 7", "users id 7 of %s differs in name"},
			{"DELETE FROM users WHERE id = 6", "users id 7 of %s comes where id 6 is missing"},
		} {
			execute(t, is, c.change)
			_, err := transfer.Copy(t.Context(), open(t, source, readOnly), is, migrate.Tables, nil)
			if want := fmt.Sprintf(c.want, is.Name()); !errors.Is(err, transfer.ErrDifferent) || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
			if got := query(t, is, "SELECT (SELECT count(*) FROM files) + (SELECT count(*) FROM blacklisted_tokens)"); got[0] != "0" {
				t.Errorf("after %q %v rows were written", c.change, got)
			}
		}
	})
}

// TestVerify names the first row of each table that differs.
func TestVerify(t *testing.T) {
	t.Parallel()
	across(t, func(t *testing.T, from, to string) {
		source, target := newURL(t, from), newURL(t, to)
		addRows(t, open(t, source, database.Options{}), 10)
		mustCopy(t, source, target)
		is := open(t, target, database.Options{})
		for _, c := range []struct{ change, want string }{
			{"UPDATE files SET filename = filename || 'a', content_type = 'pplication/pdf' WHERE id = 10", "files id 10 differs in filename"},
			{"DELETE FROM files WHERE id = 10", "files id 10 is missing in the target"},
			{"UPDATE files SET size = size - 1 WHERE id = 3", "files id 3 differs in size"},
			{"INSERT INTO files (id, public_id, filename, content_type, user_id) VALUES (0, '00000000-0000-4000-8000-00000000000f', 'x', 'x', 1)", "files id 0 is not in the source"},
			{"UPDATE users SET bio = '' WHERE id = 9", "users id 9 differs in bio; files id 0 is not in the source"},
			{"UPDATE users SET hashed_password = 'canary' WHERE id >= 7", "users id 7 differs in hashed_password; files id 0 is not in the source"},
		} {
			execute(t, is, c.change)
			report, err := transfer.Verify(t.Context(), open(t, source, readOnly), open(t, target, readOnly), migrate.Tables, nil)
			if !errors.Is(err, transfer.ErrDifferent) || !strings.HasSuffix(err.Error(), "differ: "+c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			for _, table := range report.Tables {
				if differs := strings.Contains(c.want, table.Name+" "); differs != (table.Sum != table.TargetSum) || differs != (table.Difference != nil) {
					t.Errorf("%+v after %q", table, c.change)
				}
			}
		}
	})
}

// TestVerify_NextID finds that an id would be given again.
func TestVerify_NextID(t *testing.T) {
	t.Parallel()
	across(t, func(t *testing.T, from, to string) {
		source, target := newURL(t, from), newURL(t, to)
		db := open(t, source, database.Options{})
		addRows(t, db, 10)
		execute(t, db, "DELETE FROM files WHERE id > 8")
		mustCopy(t, source, target)
		is := open(t, target, database.Options{})
		if is.Dialect() == dialect.Postgres {
			execute(t, is, "SELECT setval('files_id_seq', 8)")
		} else {
			execute(t, is, "UPDATE sqlite_sequence SET seq = 8 WHERE name = 'files'")
		}
		const want = "files id 9 would be given again"
		if from == dialect.Postgres {
			execute(t, db, "SELECT setval('files_id_seq', 10)") // which raw ids do not move
		}
		_, err := transfer.Verify(t.Context(), open(t, source, readOnly), open(t, target, readOnly), migrate.Tables, nil)
		if !errors.Is(err, transfer.ErrDifferent) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		mustCopy(t, source, target)
		if _, err := transfer.Verify(t.Context(), open(t, source, readOnly), open(t, target, readOnly), migrate.Tables, nil); err != nil {
			t.Error(err)
		}
	})
}

// TestVerify_JSON compares documents as values.
func TestVerify_JSON(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		one, other string
		same       bool
	}{
		{`{"a":1,"b":[1,2]}`, ` { "b" : [ 1 , 2 ] , "a" : 1 } `, true},
		{`{"a":1.0}`, `{"a":1}`, true},
		{`{"a":1e2}`, `{"a":100}`, true},
		{`{"a":-0.10e-1}`, `{"a":-0.01}`, true},
		{`{"a":0e9}`, `{"a":-0.0}`, true},
		{`{"a":1,"a":2}`, `{"a":2}`, true},
		{`{"\u0061":"\u00e9\/"}`, `{"a":"é/"}`, true},
		{`{"a":1,"a":2}`, `{"a":1}`, false},
		{`{"a":9007199254740993}`, `{"a":9007199254740992}`, false},
		{`{"a":1e400}`, `{"a":1e401}`, false},
		{`{"a":10}`, `{"a":1}`, false},
		{`{"a":"1"}`, `{"a":1}`, false},
		{`{"a":null}`, `{}`, false},
		{`{"a":[1,2]}`, `{"a":[2,1]}`, false},
		{`{"a":"é"}`, "{\"a\":\"e\u0301\"}", false},
	} {
		t.Run(c.one, func(t *testing.T) {
			t.Parallel()
			source, target := newURL(t, dialect.SQLite), newURL(t, dialect.SQLite)
			was, is := open(t, source, database.Options{}), open(t, target, database.Options{})
			addRows(t, was, 1)
			mustCopy(t, source, target)
			for db, text := range map[*database.DB]string{was: c.one, is: strings.TrimSpace(c.other)} {
				_, err := db.ExecContext(t.Context(), "UPDATE users SET preferences = $1", text)
				check(t, err)
			}
			_, err := transfer.Verify(t.Context(), open(t, source, readOnly), open(t, target, readOnly), migrate.Tables, nil)
			if errors.Is(err, transfer.ErrDifferent) == c.same {
				t.Errorf("%s and %s: %v", c.one, c.other, err)
			}
		})
	}
}

// TestCopy_Refused stops at a row that the target or the copy cannot take, and names it without its values.
func TestCopy_Refused(t *testing.T) {
	t.Parallel()
	ignoring := func(statement string) []string {
		return []string{"PRAGMA ignore_check_constraints = 1", statement, "PRAGMA ignore_check_constraints = 0"}
	}
	for name, c := range map[string]struct {
		from, to string
		change   []string
		want     string
		copied   int
	}{
		"nul":            {dialect.SQLite, dialect.Postgres, []string{`UPDATE users SET preferences = '{"canary":"\u0000"}' WHERE id = 1234`}, "users id 1234: untranslatable character", 1233},
		"surrogate":      {dialect.SQLite, dialect.Postgres, []string{`UPDATE users SET preferences = '{"canary":"\ud800"}' WHERE id = 1`}, "users id 1: ", 0},
		"number":         {dialect.SQLite, dialect.Postgres, []string{`UPDATE users SET preferences = '{"canary":1e200000}' WHERE id = 3000`}, "users id 3000: ", 2999},
		"utf-8":          {dialect.SQLite, dialect.Postgres, []string{`UPDATE users SET name = CAST(x'63616e617279ff' AS text) WHERE id = 2500`}, "name of id 2500 cannot be kept: ", 2000},
		"date":           {dialect.SQLite, dialect.SQLite, []string{`UPDATE users SET last_login_at = '2026-02-30 00:00:00' WHERE id = 5`}, "last_login_at of id 5 is no time", 0},
		"null time":      {dialect.SQLite, dialect.Postgres, ignoring(`UPDATE users SET deleted_at = 'canary' WHERE id = 5`), "deleted_at of id 5 is no time", 0},
		"number of text": {dialect.SQLite, dialect.Postgres, ignoring(`UPDATE files SET size = 'canary' WHERE id = 5`), "size of id 5 is no whole number", 3000},
		"uuid":           {dialect.SQLite, dialect.Postgres, []string{`UPDATE users SET public_id = '--------------------------------0000' WHERE FALSE`, `UPDATE users SET public_id = '0000000-0000-0000-0000-000000000canary' WHERE FALSE`, `UPDATE users SET public_id = '-0000000-0000-0000-0000-000000000000' WHERE id = 7`}, "public_id of id 7 is no UUID", 0},
		"nanoseconds":    {dialect.SQLite, dialect.Postgres, ignoring(`UPDATE users SET deleted_at = '2026-01-02 03:04:05.1234567+00:00' WHERE id = 5`), "deleted_at of id 5 is no time", 0},
		"year 0":         {dialect.SQLite, dialect.Postgres, []string{`UPDATE users SET last_login_at = '0000-01-02 03:04:05' WHERE id = 5`}, "last_login_at of id 5 is no time", 0},
		"infinity":       {dialect.Postgres, dialect.SQLite, []string{`UPDATE users SET last_login_at = 'infinity' WHERE id = 5`}, "last_login_at of id 5 is no time", 0},
		"before Christ":  {dialect.Postgres, dialect.SQLite, []string{`UPDATE users SET last_login_at = '0044-03-15 12:00:00 BC' WHERE id = 5`}, "last_login_at of id 5 is no time", 0},
		"year 10000":     {dialect.Postgres, dialect.SQLite, []string{`UPDATE users SET last_login_at = '10000-01-01' WHERE id = 5`}, "last_login_at of id 5 is no time", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source, target := newURL(t, c.from), newURL(t, c.to)
			db := open(t, source, database.Options{MaxConns: 1})
			addRows(t, db, 3000)
			execute(t, db, c.change...)
			to := open(t, target, database.Options{})
			_, err := transfer.Copy(t.Context(), open(t, source, readOnly), to, migrate.Tables, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want %q", err, c.want)
			}
			if got := query(t, to, "SELECT count(*) FROM users"); got[0] != fmt.Sprint(c.copied) {
				t.Errorf("%s rows are there, want %d", got[0], c.copied)
			}
		})
	}
}

// TestCopy_OtherTimes gives times that raw hands wrote past the checks of SQLite their one form.
func TestCopy_OtherTimes(t *testing.T) {
	t.Parallel()
	for _, to := range []string{dialect.SQLite, dialect.Postgres} {
		source, target := newURL(t, dialect.SQLite), newURL(t, to)
		db := open(t, source, database.Options{})
		addRows(t, db, 4)
		execute(t, db, "PRAGMA ignore_check_constraints = 1",
			"UPDATE users SET created_at = '2026-01-02 08:34:05.500000+05:30' WHERE id = 1", "UPDATE users SET created_at = '2026-01-02T03:04:05.5Z' WHERE id = 2",
			"UPDATE users SET created_at = '2026-01-02T08:34:05.5+05:30' WHERE id = 3", "UPDATE users SET created_at = '2026-01-02 03:04:05.5' WHERE id = 4",
			"PRAGMA ignore_check_constraints = 0")
		mustCopy(t, source, target)
		if got := query(t, open(t, target, readOnly), "SELECT count(*) FROM users WHERE created_at = '2026-01-02 03:04:05.500000+00:00'"); got[0] != "4" {
			t.Errorf("%s: %s times are right, want 4", to, got[0])
		}
	}
}

// TestCopy_LargeRows copies documents of which few fit into a batch.
func TestCopy_LargeRows(t *testing.T) {
	t.Parallel()
	across(t, func(t *testing.T, from, to string) {
		source, target := newURL(t, from), newURL(t, to)
		db := open(t, source, database.Options{})
		addRows(t, db, 12)
		_, err := db.ExecContext(t.Context(), "UPDATE users SET preferences = $1 WHERE id > 2", `{"long":"`+strings.Repeat("ü", 400_000)+`"}`)
		check(t, err)
		asked, batches := int64(0), 0 // rows beyond the first batch
		counting := database.Options{ReadOnly: true, Before: func(statement string, args []driver.NamedValue) {
			if after, ok := firstID(statement, args); ok && after > 2 {
				asked = max(asked, args[1].Value.(int64))
			}
		}}
		_, err = transfer.Copy(t.Context(), open(t, source, counting), open(t, target, database.Options{}), migrate.Tables, func(verb string, _, _ int64) {
			if verb == "copied" {
				batches++
			}
		})
		check(t, err)
		if batches < 6 || asked > 2 {
			t.Errorf("%d batches for ten rows of 800 kB, and %d rows asked for at once; want two in each at most", batches, asked)
		}
	})
}

// firstID is the id after which a statement reads users.
func firstID(statement string, args []driver.NamedValue) (id int64, ok bool) {
	if !strings.Contains(statement, `FROM "users"`) || len(args) != 2 {
		return 0, false
	}
	id, ok = args[0].Value.(int64)
	return id, ok
}

// TestCopy_RollbackJournal copies a file that is not in WAL mode.
func TestCopy_RollbackJournal(t *testing.T) {
	t.Parallel()
	source, target := newURL(t, dialect.SQLite), newURL(t, dialect.Postgres)
	db, err := database.Open(t.Context(), source, database.Options{})
	check(t, err)
	addRows(t, db, 10)
	check(t, db.InSession(t.Context(), func(ctx context.Context) error {
		_, err := db.ExecContext(ctx, "PRAGMA journal_mode = DELETE")
		return err
	}))
	check(t, db.Close())
	mustCopy(t, source, target)
	if got := query(t, open(t, source, readOnly), "PRAGMA journal_mode"); got[0] != "delete" {
		t.Errorf("the journal mode of the source is %s now", got[0])
	}
}

// TestCopy_Encoding copies from a server's database of another encoding, and not into one.
func TestCopy_Encoding(t *testing.T) {
	t.Parallel()
	source, target := newURL(t, dialect.Postgres), newURL(t, dialect.SQLite)
	admin := open(t, source, database.Options{})
	u, err := url.Parse(source)
	check(t, err)
	u.Path += "_latin1"
	name := strings.TrimPrefix(u.Path, "/")
	execute(t, admin, "CREATE DATABASE "+name+" ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
	t.Cleanup(func() {
		if _, err := admin.ExecContext(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	latin := u.String()
	check(t, apply(latin))
	db, err := database.Open(t.Context(), latin, database.Options{})
	check(t, err)
	defer db.Close()
	if _, err := transfer.Copy(t.Context(), open(t, source, readOnly), db, migrate.Tables, nil); err == nil || !strings.Contains(err.Error(), "LATIN1: make it with `createdb --encoding UTF8") {
		t.Errorf("into LATIN1: %v", err)
	}
	execute(t, db, "INSERT INTO users (public_id, email, hashed_password, name) VALUES ('00000000-0000-4000-8000-000000000001', 'x', 'x', 'Zoë')")
	mustCopy(t, latin, target)
	if got := query(t, open(t, target, readOnly), "SELECT name FROM users"); got[0] != "Zoë" {
		t.Errorf("the name is %q", got[0])
	}
}

// TestCopy_ReadingRole copies as somebody who may only read.
func TestCopy_ReadingRole(t *testing.T) {
	t.Parallel()
	source, target := newURL(t, dialect.Postgres), newURL(t, dialect.SQLite)
	admin := open(t, source, database.Options{})
	addRows(t, admin, 3)
	u, err := url.Parse(source)
	check(t, err)
	role := "reader_" + strings.TrimPrefix(u.Path, "/")
	execute(t, admin, "CREATE ROLE "+role+" LOGIN PASSWORD 'reader'", "GRANT USAGE ON SCHEMA public TO "+role, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO "+role)
	t.Cleanup(func() {
		for _, statement := range []string{"DROP OWNED BY " + role, "DROP ROLE " + role} {
			if _, err := admin.ExecContext(context.Background(), statement); err != nil {
				t.Error(err)
			}
		}
	})
	u.User = url.UserPassword(role, "reader")
	db := open(t, u.String(), readOnly)
	to := open(t, target, database.Options{})
	if _, err := transfer.Copy(t.Context(), db, to, migrate.Tables, nil); err == nil || !strings.Contains(err.Error(), "audit_logs_id_seq") || !strings.Contains(err.Error(), "GRANT SELECT ON ALL SEQUENCES") {
		t.Errorf("without its sequences: %v", err)
	}
	execute(t, admin, "GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO "+role)
	check(t, transfer.Ready(t.Context(), db, migrate.Tables))
	if err := transfer.Distinct(t.Context(), db, admin); !errors.Is(err, transfer.ErrSame) {
		t.Errorf("%v, want ErrSame", err)
	}
	if _, err := transfer.Copy(t.Context(), db, to, migrate.Tables, nil); err != nil {
		t.Error(err)
	}
}

// TestCopy_NewTable copies tables and columns that the schema may get, and refuses what it does not know.
func TestCopy_NewTable(t *testing.T) {
	t.Parallel()
	id := &schema.Column{Name: "id", Type: field.TypeInt, Increment: true}
	owner := &schema.Column{Name: "owner", Type: field.TypeInt}
	a := &schema.Table{Name: "a_notes", Columns: []*schema.Column{id, owner, {Name: "state", Type: field.TypeEnum}, {Name: "tags", Type: field.TypeJSON, Nullable: true}}, PrimaryKey: []*schema.Column{id}}
	a.ForeignKeys = []*schema.ForeignKey{{Columns: []*schema.Column{owner}, RefTable: migrate.FilesTable, RefColumns: []*schema.Column{id}}}
	all := append([]*schema.Table{a}, migrate.Tables...)
	with := map[string]string{
		dialect.SQLite:   "CREATE TABLE a_notes (id integer PRIMARY KEY AUTOINCREMENT, owner integer NOT NULL REFERENCES files (id), state text NOT NULL, tags json)",
		dialect.Postgres: "CREATE TABLE a_notes (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, owner bigint NOT NULL REFERENCES files (id), state varchar NOT NULL, tags jsonb)",
	}
	across(t, func(t *testing.T, from, to string) {
		source, target := open(t, newURL(t, from), database.Options{}), open(t, newURL(t, to), database.Options{})
		execute(t, source, with[from])
		execute(t, target, with[to])
		addRows(t, source, 5)
		execute(t, source, `INSERT INTO a_notes (owner, state, tags) VALUES (5, 'new', '[1, "a"]'), (1, 'old', NULL)`)
		if _, err := transfer.Copy(t.Context(), source, target, all, nil); err != nil {
			t.Error(err)
		}
		if got := query(t, target, "SELECT id, owner, state FROM a_notes ORDER BY id"); !slices.Equal(got, []string{"1|5|new", "2|1|old"}) {
			t.Errorf("copied %v", got)
		}
	})
	db := open(t, newURL(t, dialect.SQLite), database.Options{})
	loop := &schema.Table{Name: "loop", Columns: []*schema.Column{id}, PrimaryKey: []*schema.Column{id}}
	other := &schema.Table{Name: "other", Columns: []*schema.Column{id}, PrimaryKey: []*schema.Column{id}, ForeignKeys: []*schema.ForeignKey{{RefTable: loop}}}
	loop.ForeignKeys = []*schema.ForeignKey{{RefTable: other}}
	ratio := &schema.Column{Name: "ratio", Type: field.TypeFloat64}
	for want, table := range map[string]*schema.Table{
		"column t.ratio has a type that cannot be copied yet":  {Name: "t", Columns: []*schema.Column{id, ratio}, PrimaryKey: []*schema.Column{id}},
		"table t does not begin with an id":                    {Name: "t", Columns: []*schema.Column{id, owner}, PrimaryKey: []*schema.Column{id, owner}},
		"the tables refer to each other in a circle with loop": loop,
		"column t.day has a type that cannot be copied yet":    {Name: "t", Columns: []*schema.Column{id, {Name: "day", Type: field.TypeTime, SchemaType: map[string]string{"postgres": "date"}}}, PrimaryKey: []*schema.Column{id}},
	} {
		if _, err := transfer.Copy(t.Context(), db, db, []*schema.Table{table}, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestReady(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ change, want string }{
		"nothing": {"SELECT 1", ""},
		"column":  {"ALTER TABLE files ADD COLUMN pages int", `the columns of "files" in %s are content_type, created_at, filename, id, pages`},
		"table":   {"CREATE TABLE invoices (id int)", `%s has a table "invoices" that no migration makes`},
		"dropped": {"DROP TABLE audit_logs", `%s has no table "audit_logs"`},
		"behind":  {"DELETE FROM atlas_schema_revisions WHERE version = '20261124032742'", "%s lacks migration 20261124032742_deletion.sql: run `reviewpoint migrate apply` on it"},
		"ahead":   {"UPDATE atlas_schema_revisions SET version = '20991123160500' WHERE version = '20261123160500'", "use the version of this command that knows it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, kind := range []string{dialect.SQLite, dialect.Postgres} {
				url := newURL(t, kind)
				db := open(t, url, database.Options{})
				execute(t, db, c.change)
				err := transfer.Ready(t.Context(), open(t, url, readOnly), migrate.Tables)
				want := c.want
				if strings.Contains(want, "%s") {
					want = fmt.Sprintf(want, db.Name())
				}
				if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %v, want %q", kind, err, want)
				}
			}
		})
	}
}

func TestDistinct(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{dialect.SQLite, dialect.Postgres} {
		one, other := newURL(t, kind), newURL(t, kind)
		if err := transfer.Distinct(t.Context(), open(t, one, readOnly), open(t, inZone(t, one), database.Options{})); !errors.Is(err, transfer.ErrSame) {
			t.Errorf("%s: %v, want ErrSame", kind, err)
		}
		check(t, transfer.Distinct(t.Context(), open(t, one, readOnly), open(t, other, database.Options{})))
	}
}
