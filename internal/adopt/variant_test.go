package adopt_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/internal/adopt"
	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/dbtest"
	"github.com/reviewpoint/models/internal/migration"
)

// changes are those of a report that have a column, or all of one kind, as text.
func changes(report *adopt.Report, table, column string) (out []string) {
	for _, c := range report.Changes {
		if c.Table == table && c.Column == column {
			out = append(out, fmt.Sprintf("%s %d %v", c.What, c.Rows, c.IDs))
		}
	}
	return out
}

func TestRun_Alembic(t *testing.T) {
	t.Parallel()
	for what, revisions := range map[string][]string{"none": {}, "one": {"abc123"}, "two": {"abc123", "zyx987"}} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			onEach(t, func(t *testing.T, db *database.DB, _ string) {
				execute(t, db, "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))")
				for _, revision := range revisions {
					execute(t, db, "INSERT INTO alembic_version VALUES ('"+revision+"')")
				}
				report := inspect(t, db)
				if report.Alembic == nil || !slices.Equal(report.Alembic, revisions) {
					t.Errorf("the revisions are %q, want %q", report.Alembic, revisions)
				}
				take(t, db)
				checkFresh(t, db)
			})
		})
	}
}

// TestRun_Times has each form of a time become the same instant.
func TestRun_Times(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db *database.DB, url string) {
		if db.Dialect() == dialect.Postgres {
			execute(t, db,
				"ALTER TABLE used_password_reset_tokens ALTER used_at TYPE timestamp USING used_at AT TIME ZONE 'UTC'",
				"ALTER TABLE users ALTER last_login_at TYPE timestamptz USING last_login_at AT TIME ZONE 'UTC'",
				"ALTER TABLE files ALTER created_at TYPE timestamp, ALTER updated_at TYPE timestamp")
		}
		want := map[int]string{}
		for i, form := range []string{
			"2025-03-30 01:30:00", "2025-03-30 01:30:00.000000", "2025-03-30T01:30:00", "2025-03-30 01:30:00+00:00", "2025-03-30T01:30:00Z", "2025-03-30 03:30:00+02:00",
			"2025-03-30 03:30:00.000000+0200", "2025-03-29 20:30:00-05", "2025-03-30 01:30:00 +00:00", "2025-03-30T01:30:00.0000009Z",
			"2025-03-30 01:30:00.5", "2025-03-30 01:30:00.123456", "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999", "2024-02-29 23:59:59", "1900-01-01 00:00:00",
		} {
			id := 100 + i
			column, table, rest := "expires_at", "blacklisted_tokens", form
			if db.Dialect() == dialect.Postgres && !strings.ContainsAny(form[10:], "Z+-") { // PostgreSQL ignores the zone of a naive time
				column, table, rest = "used_at", "used_password_reset_tokens", form
			}
			if db.Dialect() == dialect.Postgres && strings.Contains(form, ".0000009") {
				continue // which it rounds
			}
			execute(t, db, newRow(table, id, map[string]string{column: "'" + rest + "'"}))
			want[id] = "2025-03-30T01:30:00Z"
			if i >= 10 {
				parsed, err := time.Parse(time.DateTime, form)
				check(t, err)
				want[id] = parsed.Format(time.RFC3339Nano)
			}
		}
		naive := "time without a zone taken for UTC"
		report := inspect(t, db)
		wantNaive := map[string]string{"used_password_reset_tokens.used_at": fmt.Sprintf("%s %d []", naive, 7), "blacklisted_tokens.expires_at": fmt.Sprintf("%s %d []", naive, 12+9)}
		if db.Dialect() == dialect.Postgres {
			wantNaive = map[string]string{"used_password_reset_tokens.used_at": fmt.Sprintf("%s %d []", naive, 7+9), "files.created_at": naive + " 30 []", "users.last_login_at": ""}
		}
		for name, line := range wantNaive {
			table, column, _ := strings.Cut(name, ".")
			if got := strings.Join(changes(report, table, column), ""); got != line {
				t.Errorf("%s: %q, want %q", name, got, line)
			}
		}
		take(t, db)
		checkFresh(t, db)

		ctx := models.AsSystem(t.Context(), "test")
		store, err := models.Open(ctx, url)
		check(t, err)
		defer store.Close()
		for id, instant := range want {
			var got time.Time
			if b, err := store.BlacklistedToken.Get(ctx, id); err == nil {
				got = b.ExpiresAt
			} else {
				r, err := store.UsedPasswordResetToken.Get(ctx, id)
				check(t, err)
				got = r.UsedAt
			}
			if got.Format(time.RFC3339Nano) != instant {
				t.Errorf("row %d has %s, want %s", id, got.Format(time.RFC3339Nano), instant)
			}
		}
	})
}

func TestRun_ResetsWithoutTimes(t *testing.T) {
	t.Parallel()
	for what, columns := range map[string][]string{"neither": {"created_at", "updated_at"}, "one": {"updated_at"}} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			onEach(t, func(t *testing.T, db *database.DB, _ string) {
				for _, column := range columns {
					execute(t, db, "ALTER TABLE used_password_reset_tokens DROP COLUMN "+column)
				}
				if got := changes(inspect(t, db), "used_password_reset_tokens", "updated_at"); !slices.Equal(got, []string{"set to used_at 7 []"}) {
					t.Errorf("the report says %q", got)
				}
				take(t, db)
				checkFresh(t, db)
				for _, column := range columns {
					if n := query(t, db, "SELECT count(*) FROM used_password_reset_tokens WHERE used_at = "+column)[0]; n != "6" {
						t.Errorf("%s of 6 have used_at for %s", n, column)
					}
				}
			})
		})
	}
}

// TestRun_Duplicates keeps the earliest, and of those the first.
func TestRun_Duplicates(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db *database.DB, _ string) {
		for i, row := range [][3]string{
			{"ada@example.org", "a", "2025-01-01 00:00:02"},
			{"ADA@example.org", "a", "2025-01-01 00:00:01"},
			{"ada@Example.org", "a", "2025-01-01 00:00:01"},
			{"ada@example.org", "a", "2025-01-01 00:00:03"},
			{"ada@example.org", "A", "2025-01-01 00:00:09"}, // another nonce
			{"bob@example.org", "a", "2025-01-01 00:00:09"}, // another address
			{"bob@example.org", "a", "2025-01-01 00:00:08.9"},
			{"bob@example.org", "a", "2025-01-01 00:00:08.900001"},
		} {
			execute(t, db, newRow("used_password_reset_tokens", 100+i, map[string]string{
				"email": "'" + row[0] + "'", "nonce": "'" + row[1] + "'", "used_at": "'" + row[2] + "+00:00'",
			}))
		}
		want := []string{"removed: the same address and nonce was used earlier 6 [7 100 102 103 105 107]"}
		if got := changes(inspect(t, db), "used_password_reset_tokens", ""); !slices.Equal(got, want) {
			t.Errorf("the report says %q, want %q", got, want)
		}
		take(t, db)
		equal(t, "what is kept", query(t, db, "SELECT id FROM used_password_reset_tokens ORDER BY id"), []string{"1", "2", "3", "4", "5", "6", "101", "104", "106"})
	})
}

func TestRun_Values(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db *database.DB, url string) {
		deep := `{"a":` + strings.Repeat("[", 999) + strings.Repeat("]", 999) + `}`
		for id, preferences := range map[int]string{
			100: ` null `, 101: "{ }", 102: `{"n": 123456789012345678901234567890, "f": 0.10000000000000000000000001, "e": 1.5e300}`,
			103: `{"a": "é \\u0000 \ud83d\ude00 \" { [ 1e999"}`, 104: deep,
		} {
			execute(t, db, newRow("users", id, map[string]string{"preferences": "'" + preferences + "'"}))
		}
		execute(t, db,
			newRow("users", 105, map[string]string{"name": "''", "bio": text(512), "avatar_url": "''"}),
			newRow("users", 106, map[string]string{"hashed_password": "'!'", "email": "'  Ada@Example.ORG '"}),
			newRow("users", 107, map[string]string{"hashed_password": "'$2b$12$short'"}),
			newRow("users", 108, map[string]string{"is_active": "false", "last_login_at": "'2999-01-01 00:00:00'"}),
			newRow("users", 109, map[string]string{"is_deleted": "true", "updated_at": "'2024-05-06 07:08:09+00:00'"}),
			newRow("users", 110, map[string]string{"is_active": "false", "created_at": "'2998-01-01 00:00:00'"}),
			newRow("users", -5, nil),
			newRow("files", 100, map[string]string{"size": "NULL"}),
			newRow("files", 101, map[string]string{"size": "9223372036854775807", "filename": text(255), "user_id": "-5"}),
		)
		report := inspect(t, db)
		for what, want := range map[string][]string{
			"users.preferences": {"JSON null becomes NULL 4 []"},
			"users.email":       {"address put into its normal form 2 []"},
			"files.size":        {"NULL becomes 0 1 []"},
			"users.deleted_at":  {"set to updated_at, for the account is deleted 2 []"},
			"users.public_id":   {"given 18 []"},
		} {
			table, column, _ := strings.Cut(what, ".")
			if got := changes(report, table, column); !slices.Equal(got, want) {
				t.Errorf("the report says %q of %s, want %q", got, what, want)
			}
		}
		if len(report.Notes) != 1 || !slices.Equal(report.Notes[0].IDs, []int64{106, 107}) {
			t.Errorf("the notes are %+v, want one of 106 and 107", report.Notes)
		}
		take(t, db)
		checkFresh(t, db)
		compact := "replace(CAST(preferences AS text), ' ', '')"
		equal(t, "preferences", query(t, db, "SELECT id, "+compact+" FROM users WHERE id IN (100, 101, 104) ORDER BY id"), []string{"100|<nil>", "101|{}", "104|" + deep})
		number := query(t, db, "SELECT "+compact+" FROM users WHERE id = 102")[0]
		if !strings.Contains(number, `"n":123456789012345678901234567890`) || !strings.Contains(number, `"f":0.10000000000000000000000001`) {
			t.Errorf("the numbers have become %s", number)
		}
		equal(t, "sizes", query(t, db, "SELECT id, size FROM files WHERE id >= 100 ORDER BY id"), []string{"100|0", "101|9223372036854775807"})

		ctx := models.IncludeDeleted(models.AsSystem(t.Context(), "test"))
		store, err := models.Open(ctx, url)
		check(t, err)
		defer store.Close()
		users, err := store.User.Query().All(ctx)
		check(t, err)
		for _, u := range users {
			switch u.ID {
			case 103:
				if got := u.Preferences["a"]; got != `é \u0000 😀 " { [ 1e999` {
					t.Errorf("the text has become %q", got)
				}
			case 105:
				if u.Name == nil || *u.Name != "" || u.AvatarURL == nil || u.Bio == nil || len([]rune(*u.Bio)) != 512 {
					t.Errorf("the texts have become %v, %v, %v", u.Name, u.Bio, u.AvatarURL)
				}
			case 108:
				if got := u.TokensValidAfter; got == nil || got.Year() != 2999 {
					t.Errorf("the tokens are refused up to %v, want the last login", got)
				}
			case 110:
				if got := u.TokensValidAfter; got == nil || got.Year() != 2998 {
					t.Errorf("the tokens are refused up to %v, want no time before the creation", got)
				}
			case 109:
				if got := u.DeletedAt; got == nil || got.Format(time.DateTime) != "2024-05-06 07:08:09" {
					t.Errorf("deleted at %v, want updated_at", got)
				}
			}
		}
	})
}

// TestRun_Sequences goes on where the old ids ended, though the last rows are gone.
func TestRun_Sequences(t *testing.T) {
	t.Parallel()
	next := func(t *testing.T, url string) string {
		t.Helper()
		ctx := models.AsSystem(t.Context(), "test")
		store, err := models.Open(ctx, url)
		check(t, err)
		defer store.Close()
		u, err := store.User.Create().SetEmail("next@example.org").SetHashedPassword("!").Save(ctx)
		check(t, err)
		b, err := store.BlacklistedToken.Create().SetJti("next").SetExpiresAt(time.Now()).Save(ctx)
		check(t, err)
		return fmt.Sprint(u.ID, b.ID)
	}
	for what, test := range map[string]struct {
		sqlite, postgres []string
		want             string
	}{
		"ahead": {
			[]string{"CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT)", "INSERT INTO sqlite_sequence VALUES ('users', 99), ('blacklisted_tokens', 1)", "DROP TABLE t"},
			[]string{"SELECT setval('users_id_seq', 99)", "SELECT setval('blacklisted_tokens_id_seq', 1)"},
			"100 13",
		},
		"empty": {
			[]string{"DELETE FROM files", "DELETE FROM users", "DELETE FROM blacklisted_tokens"},
			[]string{"TRUNCATE users, files, blacklisted_tokens RESTART IDENTITY"},
			"1 1",
		},
		"identity": {
			nil,
			[]string{"ALTER TABLE users ALTER id DROP DEFAULT", "DROP SEQUENCE users_id_seq", "ALTER TABLE users ALTER id ADD GENERATED BY DEFAULT AS IDENTITY (START 50)"},
			"50 13",
		},
		"not owned": {
			nil,
			[]string{"ALTER SEQUENCE users_id_seq OWNED BY NONE", "SELECT setval('users_id_seq', 70)"},
			"71 13",
		},
		"none": {
			nil,
			[]string{"ALTER TABLE users ALTER id DROP DEFAULT", "DROP SEQUENCE users_id_seq", "ALTER TABLE users ALTER id TYPE bigint"},
			"7 13",
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			onEach(t, func(t *testing.T, db *database.DB, url string) {
				statements := test.sqlite
				if db.Dialect() == dialect.Postgres {
					statements = test.postgres
				}
				if statements == nil {
					t.Skip("SQLite knows no such thing")
				}
				execute(t, db, statements...)
				take(t, db)
				checkFresh(t, db)
				if got := next(t, url); got != test.want {
					t.Errorf("the next ids are %s, want %s", got, test.want)
				}
			})
		})
	}
}

// TestRun_TakenNames has the old database use names that ours has as well.
func TestRun_TakenNames(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db *database.DB, _ string) {
		execute(t, db, "CREATE INDEX user_email ON users (email)", "CREATE INDEX audit_logs_pkey ON users (id)", `CREATE INDEX "odd ""name" ON files (size)`)
		if db.Dialect() == dialect.Postgres {
			execute(t, db, "ALTER SEQUENCE users_id_seq RENAME TO audit_logs_id_seq", "ALTER INDEX files_pkey RENAME TO users_public_id_key")
		}
		take(t, db)
		checkFresh(t, db)
	})
}

func TestInspect_Refuses(t *testing.T) {
	t.Parallel()
	server := open(t, dbtest.Postgres(t))
	again := map[string]func(t *testing.T) *database.DB{
		dialect.SQLite: func(t *testing.T) *database.DB {
			t.Helper()
			return open(t, fixture(t, dialect.SQLite))
		},
		dialect.Postgres: func(t *testing.T) *database.DB { // which is faster than another database
			t.Helper()
			execute(t, server, "DROP SCHEMA IF EXISTS other CASCADE", "DROP FOREIGN DATA WRAPPER IF EXISTS w CASCADE", "DROP PUBLICATION IF EXISTS p",
				"DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
			check(t, load(server, "postgres.sql"))
			return server
		},
	}
	for what, test := range map[string]struct {
		sqlite, postgres []string // nil where there is no such thing
		want             error
		says             string
	}{
		"table":     {[]string{"CREATE TABLE invoices (id INTEGER)"}, []string{"CREATE TABLE invoices (id int)"}, adopt.ErrUnknown, "table invoices"},
		"audit":     {[]string{"CREATE TABLE audit_logs (id INTEGER)"}, []string{"CREATE TABLE audit_logs (id int)"}, adopt.ErrUnknown, "table audit_logs"},
		"view":      {[]string{"CREATE VIEW v AS SELECT id FROM users"}, []string{"CREATE VIEW v AS SELECT id FROM users"}, adopt.ErrUnknown, "view v"},
		"column":    {[]string{"ALTER TABLE users ADD COLUMN phone TEXT"}, []string{"ALTER TABLE users ADD COLUMN phone text"}, adopt.ErrUnknown, "column users.phone"},
		"generated": {[]string{"ALTER TABLE users ADD COLUMN twice INTEGER AS (id * 2)"}, nil, adopt.ErrUnknown, "column users.twice"},
		"trigger": {
			[]string{"CREATE TRIGGER tr AFTER INSERT ON users BEGIN DELETE FROM files; END"},
			[]string{"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'", "CREATE TRIGGER tr AFTER INSERT ON users EXECUTE FUNCTION f()"},
			adopt.ErrUnknown, "trigger tr of users",
		},
		"foreign key": {
			[]string{"CREATE TABLE reviews (id INTEGER, file_id INTEGER REFERENCES files (id))"},
			[]string{"CREATE SCHEMA other", "CREATE TABLE other.reviews (id int, file_id int CONSTRAINT to_files REFERENCES files (id))"},
			adopt.ErrUnknown, "reviews",
		},
		"view elsewhere":    {nil, []string{"CREATE SCHEMA other", "CREATE VIEW other.v AS SELECT email FROM users"}, adopt.ErrUnknown, "view other.v"},
		"materialized view": {nil, []string{"CREATE MATERIALIZED VIEW mv AS SELECT email FROM users"}, adopt.ErrUnknown, ": materialized view mv"},
		"rule":              {nil, []string{"CREATE RULE r AS ON DELETE TO users DO INSTEAD NOTHING"}, adopt.ErrUnknown, "rule r of users"},
		"policy":            {nil, []string{"CREATE POLICY p ON users USING (true)"}, adopt.ErrUnknown, "policy p of users"},
		"row security":      {nil, []string{"ALTER TABLE files ENABLE ROW LEVEL SECURITY"}, adopt.ErrUnknown, "row security of files"},
		"inheritance":       {nil, []string{"CREATE SCHEMA other", "CREATE TABLE other.child () INHERITS (files)"}, adopt.ErrUnknown, "inheritance of other.child and files"},
		"publication":       {nil, []string{"CREATE PUBLICATION p FOR TABLE users"}, adopt.ErrUnknown, "publication p of users"},
		"statistics":        {nil, []string{"CREATE STATISTICS st ON filename, size FROM files"}, adopt.ErrUnknown, "statistics st of files"},
		"sequence":          {nil, []string{"CREATE SEQUENCE invoice_numbers"}, adopt.ErrUnknown, "sequence invoice_numbers"},
		"foreign table": {
			nil,
			[]string{"CREATE FOREIGN DATA WRAPPER w", "CREATE SERVER s FOREIGN DATA WRAPPER w", "CREATE FOREIGN TABLE ft (id int) SERVER s"},
			adopt.ErrUnknown, "foreign table ft",
		},
		"partitioned": {nil, []string{"CREATE TABLE parts (id int) PARTITION BY LIST (id)"}, adopt.ErrUnknown, "partitioned table parts"},
		"odd alembic": {
			[]string{"CREATE TABLE alembic_version (version_num TEXT, who TEXT)"},
			[]string{"CREATE TABLE alembic_version (version_num text, who text)"},
			adopt.ErrUnknown, "table alembic_version",
		},
		"no table":  {[]string{"DROP TABLE blacklisted_tokens"}, []string{"DROP TABLE blacklisted_tokens"}, adopt.ErrUnrecognised, "it lacks table blacklisted_tokens"},
		"no column": {[]string{"ALTER TABLE users DROP COLUMN bio"}, []string{"ALTER TABLE users DROP COLUMN bio"}, adopt.ErrUnrecognised, "it lacks column users.bio"},
		"other type": {
			[]string{"DROP TABLE files", "CREATE TABLE files (id TEXT PRIMARY KEY, created_at, updated_at, filename, content_type, size, user_id)"},
			[]string{"ALTER TABLE files ALTER size TYPE numeric"},
			adopt.ErrUnrecognised, "of a type that is known",
		},
		"a view for a table": {
			[]string{"ALTER TABLE blacklisted_tokens RENAME TO t", "CREATE VIEW blacklisted_tokens AS SELECT * FROM t"},
			[]string{"ALTER TABLE blacklisted_tokens RENAME TO t", "CREATE VIEW blacklisted_tokens AS SELECT * FROM t"},
			adopt.ErrUnrecognised, "it lacks table blacklisted_tokens",
		},
		"two keys": {
			[]string{"DROP TABLE files", "CREATE TABLE files (id INTEGER, created_at, updated_at, filename, content_type, size, user_id, PRIMARY KEY (id, user_id))"}, nil,
			adopt.ErrUnrecognised, "it lacks column files.id of a type",
		},
		"nothing but alembic": {
			[]string{"DROP TABLE files", "DROP TABLE users", "DROP TABLE blacklisted_tokens", "DROP TABLE used_password_reset_tokens", "CREATE TABLE alembic_version (version_num TEXT)"},
			[]string{"DROP TABLE files, users, blacklisted_tokens, used_password_reset_tokens", "CREATE TABLE alembic_version (version_num text)"},
			adopt.ErrUnrecognised, "it holds nothing but alembic_version",
		},
		"empty": {
			[]string{"DROP TABLE files", "DROP TABLE users", "DROP TABLE blacklisted_tokens", "DROP TABLE used_password_reset_tokens"},
			[]string{"DROP TABLE files, users, blacklisted_tokens, used_password_reset_tokens"},
			adopt.ErrEmpty, "migrate apply",
		},
	} {
		for name, statements := range map[string][]string{dialect.SQLite: test.sqlite, dialect.Postgres: test.postgres} {
			if statements == nil {
				continue
			}
			t.Run(what+"/"+name, func(t *testing.T) {
				db := again[name](t)
				report := inspect(t, db)
				execute(t, db, statements...)
				before := dump(t, db)
				_, err := adopt.Inspect(t.Context(), db, adopt.Options{})
				if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
					t.Errorf("the answer is %v, want %q", err, test.says)
				}
				if _, err := adopt.Run(t.Context(), db, migrator(t, db), report, adopt.Options{}); err == nil {
					t.Error("it is adopted all the same")
				}
				equal(t, "the database afterwards", dump(t, db), before)
			})
		}
	}
}

// TestRun_Extension leaves alone what extensions have made.
func TestRun_Extension(t *testing.T) {
	t.Parallel()
	db := open(t, fixture(t, dialect.Postgres))
	execute(t, db, "CREATE VIEW of_extension AS SELECT 1 AS one", "CREATE TABLE of_extension_too (id serial)")
	// What CREATE EXTENSION writes; the test's server may have no extension to create.
	execute(t, db, `INSERT INTO pg_depend SELECT 'pg_class'::regclass, oid, 0, 'pg_extension'::regclass, (SELECT min(oid::text)::oid FROM pg_extension), 0, 'e'
		FROM pg_class WHERE relname LIKE 'of_extension%' AND relkind IN ('v', 'r', 'S')`)
	take(t, db)
	if got := query(t, db, "SELECT one FROM of_extension"); len(got) != 1 {
		t.Errorf("the view answers %v", got)
	}
}

// TestRun_Roles gives the new tables to those who had the old ones.
func TestRun_Roles(t *testing.T) {
	t.Parallel()
	db := open(t, fixture(t, dialect.Postgres))
	suffix := fmt.Sprint(os.Getpid())
	owner, reader, writer := `"Owner `+suffix+`"`, "reader_"+suffix, "writer_"+suffix
	execute(t, db, "CREATE ROLE "+owner, "CREATE ROLE "+reader, "CREATE ROLE "+writer)
	t.Cleanup(func() {
		for _, role := range []string{owner, reader, writer} {
			_, err := db.ExecContext(context.Background(), "DROP OWNED BY "+role+"; DROP ROLE "+role)
			check(t, err)
		}
	})
	for _, table := range []string{"users", "files", "used_password_reset_tokens", "blacklisted_tokens"} {
		execute(t, db, "ALTER TABLE "+table+" OWNER TO "+owner, "GRANT SELECT ON "+table+" TO PUBLIC")
	}
	execute(t, db, "GRANT INSERT, UPDATE ON users TO "+writer+" WITH GRANT OPTION", "GRANT UPDATE (size) ON files TO "+reader, "GRANT DELETE ON files TO "+writer)
	rights := `SELECT c.relname::text, pg_get_userbyid(relowner)::text, x.* FROM pg_class c LEFT JOIN LATERAL (
			SELECT '' AS col, pg_get_userbyid(grantee)::text, privilege_type, is_grantable FROM aclexplode(relacl)
			UNION ALL SELECT attname, pg_get_userbyid(grantee), privilege_type, is_grantable FROM pg_attribute, aclexplode(attacl) WHERE attrelid = c.oid) x ON true
		WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname IN ('users', 'files', 'used_password_reset_tokens', 'blacklisted_tokens') ORDER BY 1, 2, 3, 4, 5`
	before := query(t, db, rights)
	take(t, db)
	equal(t, "owners and grants", query(t, db, rights), before)
	others := query(t, db, "SELECT DISTINCT pg_get_userbyid(relowner)::text FROM pg_class WHERE relkind IN ('r', 'S') AND relnamespace = 'public'::regnamespace")
	equal(t, "owners", others, []string{strings.Trim(owner, `"`)})
	audit := query(t, db, "SELECT count(*) FROM pg_class, aclexplode(relacl) WHERE relname IN ('audit_logs', 'atlas_schema_revisions') AND pg_get_userbyid(grantee) = $1 AND privilege_type = 'INSERT'", writer)
	equal(t, "grants on the tables that are new: the account of migrations is only read by others", audit, []string{"1"})
}

// TestRun_Schema adopts tables in a schema of another name.
func TestRun_Schema(t *testing.T) {
	t.Parallel()
	address := fixture(t, dialect.Postgres)
	db := open(t, address)
	execute(t, db, `ALTER SCHEMA public RENAME TO "Old App"`, "CREATE SCHEMA public", "CREATE TABLE public.users (id int)")
	u, err := url.Parse(address)
	check(t, err)
	values := u.Query()
	values.Set("search_path", `"Old App"`)
	u.RawQuery = values.Encode()
	old := open(t, u.String())
	take(t, old)
	equal(t, "the other table", query(t, db, "SELECT count(*) FROM public.users"), []string{"0"})
	equal(t, "users", query(t, old, "SELECT count(*) FROM users WHERE public_id IS NOT NULL"), []string{"6"})
}

// TestInspect_Encoding refuses a database that cannot hold every text.
func TestInspect_Encoding(t *testing.T) {
	t.Parallel()
	address := dbtest.Postgres(t)
	admin := open(t, address)
	u, err := url.Parse(address)
	check(t, err)
	name := strings.TrimPrefix(u.Path, "/") + "_ascii"
	execute(t, admin, "CREATE DATABASE "+name+" ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
	t.Cleanup(func() {
		_, err := admin.ExecContext(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)")
		check(t, err)
	})
	u.Path = "/" + name
	db, err := database.Open(t.Context(), u.String(), database.Options{})
	check(t, err)
	defer db.Close()
	check(t, load(db, "postgres.sql"))
	if _, err := adopt.Inspect(t.Context(), db, adopt.Options{}); err == nil || !strings.Contains(err.Error(), "SQL_ASCII") {
		t.Errorf("the answer is %v, want the encoding", err)
	}
}

// TestRun_EmptyAccount has a table for the account of migrations, as after a first one that failed.
func TestRun_EmptyAccount(t *testing.T) {
	t.Parallel()
	fresh := open(t, empty(t, dialect.SQLite))
	_, err := migrator(t, fresh).Apply(t.Context(), migration.Options{})
	check(t, err)
	db := open(t, fixture(t, dialect.SQLite))
	execute(t, db, query(t, fresh, "SELECT sql FROM sqlite_master WHERE name = 'atlas_schema_revisions'")...)
	take(t, db)
	checkFresh(t, db)
}
