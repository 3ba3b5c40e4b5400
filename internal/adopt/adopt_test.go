package adopt_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/internal/adopt"
	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/migration"
)

// expected is what each column becomes, as an expression on the old table. $time stands for a time of
// SQLite's text or of PostgreSQL.
var expected = map[string]map[string]string{
	"users": {
		"id": "id", "created_at": "$time(created_at)", "updated_at": "$time(updated_at)",
		"email":           "CASE id WHEN 1 THEN 'юзер0@пример.рф' ELSE email END",
		"hashed_password": "hashed_password", "is_active": "is_active", "is_admin": "is_admin", "is_deleted": "is_deleted",
		"deleted_at":    "CASE id WHEN 4 THEN $time(updated_at) END",
		"last_login_at": "$naive(last_login_at)",
		"name":          "name", "bio": "bio", "avatar_url": "avatar_url", "preferences": "$json(preferences)",
	},
	"files": {
		"id": "id", "created_at": "$time(created_at)", "updated_at": "$time(updated_at)",
		"filename": "filename", "content_type": "content_type", "size": "COALESCE(size, 0)", "user_id": "user_id",
	},
	"used_password_reset_tokens": {
		"id": "id", "created_at": "$time(created_at)", "updated_at": "$time(updated_at)",
		"email": "lower(email)", "nonce": "nonce", "used_at": "$time(used_at)",
	},
	"blacklisted_tokens": {
		"id": "id", "created_at": "$time(created_at)", "updated_at": "$time(updated_at)", "jti": "jti", "expires_at": "$time(expires_at)",
	},
}

var macro = regexp.MustCompile(`\$(time|naive|json)\((\w+)\)`)

// expect reads the rows of a table as they are to be, by SQL alone.
func expect(t *testing.T, db *database.DB, table string) []string {
	t.Helper()
	columns := make([]string, 0, len(expected[table]))
	for _, name := range sortedKeys(expected[table]) {
		columns = append(columns, macro.ReplaceAllStringFunc(expected[table][name], func(call string) string {
			parts := macro.FindStringSubmatch(call)
			kind, column := parts[1], parts[2]
			switch {
			case db.Dialect() == dialect.SQLite && kind == "json":
				return "CASE preferences WHEN 'null' THEN NULL ELSE replace(preferences, ' ', '') END"
			case db.Dialect() == dialect.SQLite:
				return strings.ReplaceAll("CASE WHEN $ LIKE '%.000000' OR $ NOT LIKE '%.%' THEN substr($, 1, 19) ELSE $ || '+00:00' END", "$", column)
			case kind == "json":
				return "CASE preferences::text WHEN 'null' THEN NULL ELSE preferences::jsonb END"
			case kind == "naive":
				return column + " AT TIME ZONE 'UTC'"
			default:
				return column
			}
		}))
	}
	rows := query(t, db, "SELECT "+quoted(db, columns)+" FROM "+table+" ORDER BY id")
	if table == "used_password_reset_tokens" {
		rows = slices.DeleteFunc(rows, func(row string) bool { return strings.Contains(row, "11:00:00") }) // the later of two
	}
	return rows
}

// actual reads the same columns from ours.
func actual(t *testing.T, db *database.DB, table string) []string {
	t.Helper()
	return query(t, db, "SELECT "+quoted(db, sortedKeys(expected[table]))+" FROM "+table+" ORDER BY id")
}

func quoted(db *database.DB, columns []string) string {
	out := make([]string, len(columns))
	for i, column := range columns {
		out[i] = "quote(" + column + ")" // which tells text from a number
		if db.Dialect() == dialect.Postgres {
			out[i] = "quote_nullable((" + column + ")::text)"
		}
	}
	return strings.Join(out, ", ")
}

func sortedKeys(m map[string]string) []string {
	var out []string
	for key := range m {
		out = append(out, key)
	}
	slices.Sort(out)
	return out
}

func equal(t testing.TB, what string, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("%s: %d lines, want %d; the first that differs:\n got %s\nwant %s", what, len(got), len(want), at(got, i), at(want, i))
		}
	}
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "nothing"
}

func TestRun(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db *database.DB, url string) {
		ctx := models.AsSystem(t.Context(), "test")
		want := make(map[string][]string)
		for table := range expected {
			want[table] = expect(t, db, table)
		}
		before := time.Now().Add(-time.Second)
		take(t, db)

		for table := range expected {
			equal(t, table, actual(t, db, table), want[table])
		}
		checkFresh(t, db)
		known := "SELECT count(*) FROM sqlite_stat1 WHERE tbl = 'files' AND stat LIKE '30 %' AND idx = 'file_user_id_filename'"
		if db.Dialect() == dialect.Postgres {
			known = "SELECT count(*) FROM pg_class WHERE relname = 'files' AND reltuples = 30"
		}
		equal(t, "what the planner knows", query(t, db, known), []string{"1"})
		for _, table := range []string{"users", "files"} {
			ids := query(t, db, "SELECT CAST(public_id AS text) FROM "+table)
			for _, id := range ids {
				if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(id) {
					t.Errorf("%s has the public id %s", table, id)
				}
			}
			slices.Sort(ids)
			if n := len(slices.Compact(ids)); n != len(want[table]) {
				t.Errorf("%d different public ids of %d %s", n, len(want[table]), table)
			}
		}

		store, err := models.Open(ctx, url)
		check(t, err)
		defer store.Close()
		checkTokens(t, store, before)
		checkSequences(t, store)
		status, err := store.Migrations(ctx)
		check(t, err)
		for _, m := range status {
			if m.AppliedAt.IsZero() {
				t.Errorf("%s is pending", m.Name)
			}
		}
		report, err := store.Migrate(ctx)
		check(t, err)
		if len(report.Applied) != 0 {
			t.Errorf("migrating afterwards applied %v", report.Applied)
		}
		u, err := store.Authenticate(ctx, "User1@Example.com", "CorrectHorse9")
		if err != nil || u.ID != 2 {
			t.Errorf("an old user signs in: %v, %v", u, err)
		}
		if _, err := store.Authenticate(ctx, "user1@example.com", "CorrectHorse8"); err == nil {
			t.Error("a wrong password signs in")
		}
		if _, err := adopt.Inspect(ctx, db, adopt.Options{}); !errors.Is(err, adopt.ErrAdopted) {
			t.Errorf("the second time: %v, want ErrAdopted", err)
		}
	})
}

// checkTokens holds that the tokens of those who are deleted or disabled are refused, and no others.
func checkTokens(t *testing.T, store *models.Store, before time.Time) {
	t.Helper()
	ctx := models.IncludeDeleted(models.AsSystem(t.Context(), "test"))
	users, err := store.User.Query().All(ctx)
	check(t, err)
	for _, u := range users {
		cut := u.TokensValidAfter
		switch ended := u.ID == 1 || u.ID == 4 || u.ID == 6; {
		case !ended && cut != nil:
			t.Errorf("the tokens of user %d are refused", u.ID)
		case ended && (cut == nil || cut.Before(before) || cut.After(time.Now())):
			t.Errorf("the tokens of user %d are refused up to %v, want now", u.ID, cut)
		}
	}
}

// checkSequences makes one more row of each.
func checkSequences(t *testing.T, store *models.Store) {
	t.Helper()
	ctx := models.AsSystem(t.Context(), "test")
	u, err := store.User.Create().SetEmail("next@example.org").SetHashedPassword("!").Save(ctx)
	check(t, err)
	f, err := store.File.Create().SetFilename("a").SetContentType("b").SetUserID(u.ID).Save(ctx)
	check(t, err)
	r, err := store.UsedPasswordResetToken.Create().SetEmail("next@example.org").SetNonce("n").Save(ctx)
	check(t, err)
	b, err := store.BlacklistedToken.Create().SetJti("next").SetExpiresAt(time.Now()).Save(ctx)
	check(t, err)
	if got, want := [4]int{u.ID, f.ID, r.ID, b.ID}, [4]int{7, 31, 8, 13}; got != want {
		t.Errorf("the next ids are %v, want %v", got, want)
	}
}

// checkFresh compares the schema with that of a database which the migrations made.
func checkFresh(t testing.TB, db *database.DB) {
	t.Helper()
	fresh := open(t, empty(t, db.Dialect()))
	_, err := migrator(t, fresh).Apply(t.Context(), migration.Options{})
	check(t, err)
	equal(t, "schema", schemaOf(t, db), schemaOf(t, fresh))
	account := "SELECT version, description, type, applied, total, hash, operator_version, error, error_stmt FROM atlas_schema_revisions ORDER BY version"
	equal(t, "account of migrations", query(t, db, account), query(t, fresh, account))
}

// schemaOf is everything in a schema, by its name and definition.
func schemaOf(t testing.TB, db *database.DB) []string {
	t.Helper()
	if db.Dialect() == dialect.SQLite {
		return query(t, db, "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_stat%' ORDER BY type, name")
	}
	const here = "(SELECT oid FROM pg_namespace WHERE nspname = current_schema())"
	return slices.Concat(
		query(t, db, "SELECT 'relation', relname::text, relkind::text, relpersistence::text, relowner::regrole::text, relacl::text FROM pg_class WHERE relnamespace = "+here+" ORDER BY relname"),
		query(t, db, `SELECT 'column', c.relname::text, attname::text, format_type(atttypid, atttypmod), attnotnull, attidentity::text, pg_get_expr(adbin, adrelid)
			FROM pg_attribute JOIN pg_class c ON c.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
			WHERE relnamespace = `+here+` AND attnum > 0 ORDER BY c.relname, attnum`),
		query(t, db, "SELECT 'constraint', conrelid::regclass::text, conname::text, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = "+here+" ORDER BY conrelid::regclass::text, conname"),
		query(t, db, "SELECT 'index', indexname::text, indexdef FROM pg_indexes WHERE schemaname = current_schema() ORDER BY indexname"),
		query(t, db, `SELECT 'sequence', s.relname::text, format_type(seqtypid, NULL), seqstart, seqincrement, seqmax, seqmin, seqcache, seqcycle, d.deptype::text, d.refobjid::regclass::text, d.refobjsubid
			FROM pg_sequence JOIN pg_class s ON s.oid = seqrelid JOIN pg_depend d ON d.objid = s.oid AND d.refclassid = 'pg_class'::regclass ORDER BY s.relname`),
		query(t, db, "SELECT 'trigger', tgrelid::regclass::text, count(*) FROM pg_trigger GROUP BY 2 ORDER BY 2"),
		query(t, db, "SELECT 'type', typname::text FROM pg_type WHERE typnamespace = "+here+" ORDER BY typname"),
	)
}

// dump is all that a database holds.
func dump(t testing.TB, db *database.DB) []string {
	t.Helper()
	out := schemaOf(t, db)
	tables := "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1"
	if db.Dialect() == dialect.Postgres {
		out = append(out, query(t, db, "SELECT oid, relname::text FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) ORDER BY 1")...)
		tables = "SELECT relname::text FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) AND relkind = 'r' ORDER BY 1"
		out = append(out, query(t, db, "SELECT sequencename::text, last_value FROM pg_sequences ORDER BY 1")...)
	}
	for _, table := range query(t, db, tables) {
		row := "x::text"
		if db.Dialect() == dialect.SQLite {
			row = strings.Join(query(t, db, "SELECT 'quote(\"' || name || '\")' FROM pragma_table_info($1)", table), ", ")
		}
		for _, line := range query(t, db, fmt.Sprintf("SELECT %s FROM %q AS x ORDER BY 1", row, table)) {
			out = append(out, table+": "+line)
		}
	}
	return out
}

// TestRun_Backup holds that the backup is the database as it was.
func TestRun_Backup(t *testing.T) {
	t.Parallel()
	url := fixture(t, dialect.SQLite)
	db := open(t, url)
	before := dump(t, db)
	path := take(t, db).Backup
	info, err := os.Stat(path)
	check(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("others can read the backup: %s", info.Mode())
	}
	equal(t, "the backup", dump(t, openWith(t, "sqlite://"+path, database.Options{ReadOnly: true})), before)
	_, file, _ := strings.Cut(strings.TrimSuffix(url, "?busy_timeout=2m"), "://")
	if !regexp.MustCompile(`^` + regexp.QuoteMeta(file) + `\.backup-\d{8}T\d{6}Z$`).MatchString(path) {
		t.Errorf("the backup is %s, want one beside %s", path, file)
	}
	if _, err := os.Stat(path + ".partial"); err == nil {
		t.Error("the partial backup was left")
	}
}
