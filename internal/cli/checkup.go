package cli

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"time"

	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models"
	entmigrate "github.com/reviewpoint/models/ent/migrate"
	"github.com/reviewpoint/models/internal/adopt"
	"github.com/reviewpoint/models/internal/clock"
	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/migration"
	"github.com/reviewpoint/models/internal/password"
	"github.com/reviewpoint/models/schema/migrations"
)

// checkup is a look at an open database. What it says holds no value of any row.
type checkup struct {
	*app

	db       *database.DB
	store    *models.Store
	findings []finding
	current  bool // no migration is pending, so that the tables are those of this program
	python   bool // the Python application has made it
	report   *adopt.Report
	besides  string // what the Python application has not made, if there is no report
}

// check is one thing that is looked at.
type check struct {
	name string
	look func(context.Context) (finding, error)
}

func (c *checkup) all(ctx context.Context) ([]finding, error) {
	checks := []check{{"database", c.server}, {"clock", c.clock}, {"migrations", c.migrations}}
	if err := c.run(ctx, checks); err != nil {
		return nil, err
	}
	if c.db.Dialect() == dialect.SQLite {
		checks = []check{{"journal", c.journal}, {"integrity", c.integrity}}
		if !c.current { // Migrating or adopting sets the journal.
			checks = checks[1:]
		}
		if err := c.run(ctx, checks); err != nil {
			return nil, err
		}
	}
	switch {
	case c.python:
		checks = []check{{"python application", c.oldApplication}}
	case c.current:
		checks = []check{
			{"drift", c.drift},
			{"indexes", c.indexes},
			{"foreign keys", c.foreignKeys},
			{"addresses", c.addresses},
			{"password hashes", c.hashes},
			{"expired rows", c.expired},
		}
	default:
		return c.findings, nil
	}
	return c.findings, c.run(ctx, checks)
}

func (c *checkup) run(ctx context.Context, checks []check) error {
	for _, check := range checks {
		f, err := check.look(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			f = unread(check.name, err)
		}
		f.Check = check.name
		c.findings = append(c.findings, f)
	}
	return nil
}

// scan reads the columns of each row of a query.
func scan(ctx context.Context, db *database.DB, query string, row func() error, columns ...any) (err error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := rows.Scan(columns...); err != nil {
			return err
		}
		if err := row(); err != nil {
			return err
		}
	}
	return rows.Err()
}

// texts returns the one column of a query.
func (c *checkup) texts(ctx context.Context, query string) (all []string, err error) {
	var text sql.NullString
	err = scan(ctx, c.db, query, func() error { all = append(all, text.String); return nil }, &text)
	return all, err
}

// text returns the one value of a query.
func (c *checkup) text(ctx context.Context, query string) (string, error) {
	all, err := c.texts(ctx, query)
	return strings.Join(all, ""), err
}

// count returns the one number of a query.
func (c *checkup) count(ctx context.Context, query string) (n int, err error) {
	err = scan(ctx, c.db, query, func() error { return nil }, &n)
	return n, err
}

func (c *checkup) isPostgres() bool { return c.db.Dialect() == dialect.Postgres }

func (c *checkup) server(ctx context.Context) (finding, error) {
	query := "SELECT 'SQLite ' || sqlite_version()"
	if c.isPostgres() {
		query = "SELECT 'PostgreSQL ' || current_setting('server_version')"
	}
	version, err := c.text(ctx, query)
	return finding{OK: true, Detail: c.db.Name() + ", " + version}, err
}

// maxSkew is how far the server's clock may be from ours before tokens live noticeably too long or too short.
const maxSkew = 5 * time.Second

func (c *checkup) clock(ctx context.Context) (finding, error) {
	f := finding{OK: true, Detail: "this machine's own"}
	if !c.isPostgres() {
		return f, nil
	}
	text, err := c.text(ctx, "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
	if err != nil {
		return f, err
	}
	server, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return f, err
	}
	skew := clock.Now(ctx).Sub(server).Abs().Round(time.Millisecond)
	f.Detail = fmt.Sprintf("%s apart from the server's", skew)
	if skew > maxSkew {
		f.OK, f.Cure = false, "set both clocks by NTP: tokens expire by one and are checked by the other"
	}
	return f, nil
}

func (c *checkup) migrations(ctx context.Context) (finding, error) {
	m, err := migration.New(c.db, migrations.FS)
	if err != nil {
		return finding{}, err
	}
	files, err := m.Status(ctx)
	if errors.Is(err, migration.ErrForeign) {
		report, err := adopt.Inspect(ctx, c.db, adopt.Options{})
		if errors.Is(err, adopt.ErrUnknown) {
			c.besides = oneLine(err)
		}
		c.report, c.python = report, err == nil || c.besides != ""
	}
	switch {
	case c.python:
		return finding{Detail: "none is applied", Cure: "see below"}, nil
	case errors.Is(err, migration.ErrForeign), errors.Is(err, migration.ErrEdited), errors.Is(err, migration.ErrMissing), errors.Is(err, migration.ErrOrder):
		text := oneLine(err) // What is wrong, and behind it what to do.
		end := strings.LastIndex(text, ": ")
		return finding{Detail: text[:end], Cure: text[end+2:]}, nil
	case err != nil:
		return finding{}, err
	}
	var pending, failed []string
	for _, file := range files {
		if file.Pending() {
			pending = append(pending, file.Name)
		}
		if file.Failed != "" {
			failed = append(failed, file.Name+" failed")
		}
	}
	f := finding{OK: true, Detail: strings.Join(append([]string{fmt.Sprintf("%d applied, %d pending", len(files)-len(pending), len(pending))}, failed...), ", ")}
	if len(pending) > 0 {
		f.OK, f.Cure = false, "run `reviewpoint migrate apply` for "+strings.Join(pending, ", ")
	}
	c.current = f.OK
	return f, nil
}

// oldApplication looks at a database that the Python application made, and nobody has adopted.
func (c *checkup) oldApplication(context.Context) (finding, error) {
	const look = "run `reviewpoint migrate adopt --dry-run`, which says what adopting would change"
	if c.besides != "" {
		return finding{Detail: c.besides, Cure: "then " + look}, nil
	}
	same := len(slices.DeleteFunc(slices.Clone(c.report.Problems), func(p adopt.Problem) bool { return !p.SameAddress() }))
	f := finding{Check: "addresses", OK: same == 0, Detail: "no two accounts have the same, in its one form"}
	if same > 0 {
		f.Detail = counted(same, "account") + " have addresses that are the same in their one form, as those are that differ by case alone"
		f.Cure = "run `reviewpoint migrate adopt --dry-run`, which lists them by id, and change all but one of each by the old application"
	}
	c.findings = append(c.findings, f)
	detail := "it has made this database, which was not adopted: " + rowsOf(c.report.Tables)
	if others := len(c.report.Problems) - same; others > 0 {
		detail += "; " + counted(others, "other value") + " will not fit"
	}
	return finding{Detail: detail, Cure: look + ", and then without --dry-run"}, nil
}

func rowsOf(tables []adopt.Table) string {
	words := make([]string, len(tables))
	for i, table := range tables {
		words[i] = fmt.Sprintf("%s of %s", counted(table.Rows, "row"), table.Name)
	}
	return strings.Join(words, ", ")
}

// undo is the cure of drift.
const undo = "undo by hand what was changed by hand, or plan a migration for it"

// shown is how many of a list are named.
const shown = 5

func (c *checkup) drift(ctx context.Context) (finding, error) {
	m, err := migration.New(c.db, migrations.FS)
	if err != nil {
		return finding{}, err
	}
	var different []string
	dev, err := c.openDev(ctx, c.db.Dialect(), c.url)
	if err == nil {
		different, err = m.Drift(ctx, dev)
		err = errors.Join(err, dev.Close())
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return finding{}, err
	}
	if err != nil { // as for want of rights, or on a standby
		return finding{OK: true, Skipped: true, Detail: "not looked at: " + oneLine(err)}, nil
	}
	different = slices.DeleteFunc(different, isOfIndex)
	if len(different) == 0 {
		return finding{OK: true, Detail: "the tables are what the migrations make"}, nil
	}
	named := strings.Join(different[:min(len(different), shown)], "; ")
	if more := len(different) - shown; more > 0 {
		named += fmt.Sprintf("; and %d more: see `reviewpoint migrate verify`", more)
	}
	return finding{Detail: named, Cure: undo}, nil
}

// isOfIndex reports whether a difference is one that indexes names.
func isOfIndex(difference string) bool {
	return strings.HasPrefix(difference, "index ") && (strings.HasSuffix(difference, " is missing") || strings.HasSuffix(difference, " is not valid"))
}

// indexes finds what a killed CREATE INDEX CONCURRENTLY has left, and what nobody has made.
func (c *checkup) indexes(ctx context.Context) (finding, error) {
	query := "SELECT name FROM sqlite_master WHERE type = 'index'"
	var invalid []string
	if c.isPostgres() {
		const here = "pg_catalog.quote_ident(pg_catalog.current_schema())::regnamespace"
		query = "SELECT relname::text FROM pg_class WHERE relkind = 'i' AND relnamespace = " + here
		var err error
		invalid, err = c.texts(ctx, "SELECT relname::text FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE NOT indisvalid AND relnamespace = "+here+" ORDER BY 1")
		if err != nil {
			return finding{}, err
		}
	}
	there, err := c.texts(ctx, query)
	if err != nil {
		return finding{}, err
	}
	var details, cures []string
	for _, name := range invalid {
		details = append(details, name+" is not valid, so no query uses it")
		cures = append(cures, "REINDEX INDEX CONCURRENTLY "+quoted(name))
		if strings.Contains(name, "_ccnew") || strings.Contains(name, "_ccold") { // which REINDEX itself has left
			cures[len(cures)-1] = "DROP INDEX CONCURRENTLY " + quoted(name)
		}
	}
	for _, name := range ownIndexes() {
		if !slices.Contains(there, name) {
			details, cures = append(details, name+" is missing"), append(cures, c.creation(name))
		}
	}
	if len(details) == 0 {
		return finding{OK: true, Detail: "all are there"}, nil
	}
	return finding{Detail: strings.Join(details, "; "), Cure: "run " + strings.Join(cures, "; ")}, nil
}

// quoted is a name of the database as SQL has it.
func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// ownIndexes are the indexes of the tables, those for unique columns among them.
func ownIndexes() []string {
	var names []string
	for _, table := range entmigrate.Tables {
		for _, index := range table.Indexes {
			names = append(names, index.Name)
		}
		for _, column := range table.Columns {
			if column.Unique {
				names = append(names, table.Name+"_"+column.Name+"_key")
			}
		}
	}
	return names
}

// creation is the statement of the migrations that makes the index.
func (c *checkup) creation(index string) string {
	folder := "sqlite"
	if c.isPostgres() {
		folder = "postgres"
	}
	statement := regexp.MustCompile("(?m)^CREATE (?:UNIQUE )?INDEX [^;]*?[`\"]" + regexp.QuoteMeta(index) + "[`\"] ON [^;]*")
	found := "the statement of the migrations that makes " + index
	names, _ := fs.Glob(migrations.FS, folder+"/*.sql")
	for _, name := range names { // The last one counts.
		text, _ := fs.ReadFile(migrations.FS, name)
		if all := statement.FindAllString(string(text), -1); len(all) > 0 {
			found = all[len(all)-1]
		}
	}
	return found
}

// foreignKeys finds those that are gone, and rows without a parent, which somebody wrote while foreign keys
// were off.
func (c *checkup) foreignKeys(ctx context.Context) (finding, error) {
	if off, err := c.foreignKeysOff(ctx); off.Detail != "" || err != nil {
		return off, err
	}
	var details, cures, lacking []string
	for _, table := range entmigrate.Tables {
		for _, key := range table.ForeignKeys {
			child, column, parent, id := table.Name, key.Columns[0].Name, key.RefTable.Name, key.RefColumns[0].Name
			lack, err := c.lack(ctx, child, column, parent, id)
			if err != nil {
				return finding{}, err
			}
			if lack != "" {
				lacking = append(lacking, fmt.Sprintf("%s of %s %s", key.Symbol, child, lack))
			}
			condition := fmt.Sprintf("%[2]s IS NOT NULL AND NOT EXISTS (SELECT 1 FROM %[3]s WHERE %[3]s.%[4]s = %[1]s.%[2]s)", child, column, parent, id)
			n, err := c.count(ctx, "SELECT count(*) FROM "+child+" WHERE "+condition)
			if err != nil {
				return finding{}, err
			}
			if n > 0 {
				details = append(details, fmt.Sprintf("%s of %s without the row of %s that they belong to", counted(n, "row"), child, parent))
				cures = append(cures, "DELETE FROM "+child+" WHERE "+condition)
			}
		}
	}
	if len(details)+len(lacking) == 0 {
		return finding{OK: true, Detail: "on, and every row's parent is there"}, nil
	}
	var cure []string
	if len(details) > 0 {
		cure = append(cure, "give them to somebody, or run "+strings.Join(cures, "; "))
		if !c.isPostgres() {
			cure = append(cure, "other programs must write with PRAGMA foreign_keys = ON, as this one does")
		}
	}
	if len(lacking) > 0 {
		cure = append(cure, undo)
	}
	return finding{Detail: strings.Join(append(details, lacking...), "; "), Cure: strings.Join(cure, "; ")}, nil
}

// lack says what is wrong with a foreign key: nothing, or that it is not there. Its name does not count, which
// SQLite does not tell.
func (c *checkup) lack(ctx context.Context, child, column, parent, id string) (string, error) {
	if !c.isPostgres() {
		n, err := c.count(ctx, fmt.Sprintf(`SELECT count(*) FROM pragma_foreign_key_list('%s') WHERE "from" = '%s' AND "table" = '%s' AND coalesce("to", 'id') = '%s'`, child, column, parent, id))
		if n == 0 {
			return "is missing", err
		}
		return "", err
	}
	validated, err := c.texts(ctx, fmt.Sprintf(`SELECT convalidated::text FROM pg_constraint
		WHERE contype = 'f' AND conrelid = '%[1]s'::regclass AND confrelid = '%[3]s'::regclass
		AND conkey = (SELECT array_agg(attnum) FROM pg_attribute WHERE attrelid = conrelid AND attname = '%[2]s')
		AND confkey = (SELECT array_agg(attnum) FROM pg_attribute WHERE attrelid = confrelid AND attname = '%[4]s')`, child, column, parent, id))
	switch {
	case len(validated) == 0:
		return "is missing", err
	case !slices.Contains(validated, "true"):
		return "is not validated", err
	}
	return "", err
}

// foreignKeysOff finds where the database does not look at foreign keys; its detail is empty if it does.
func (c *checkup) foreignKeysOff(ctx context.Context) (f finding, err error) {
	if !c.isPostgres() {
		on, err := c.text(ctx, "PRAGMA foreign_keys")
		if on != "1" {
			f.Detail, f.Cure = "off", "use a build of SQLite that has them"
		}
		return f, err
	}
	role, err := c.text(ctx, "SELECT current_setting('session_replication_role')")
	if err != nil {
		return f, err
	}
	if role == "replica" {
		f.Detail, f.Cure = "off, because session_replication_role is replica", "run ALTER ROLE or ALTER DATABASE ... RESET session_replication_role, whichever has set it"
		return f, nil
	}
	tables, err := c.texts(ctx, `SELECT DISTINCT relname::text FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid
		WHERE tgisinternal AND tgenabled NOT IN ('O', 'A') AND relnamespace = pg_catalog.quote_ident(pg_catalog.current_schema())::regnamespace ORDER BY 1`)
	if len(tables) > 0 {
		f.Detail = "off in " + strings.Join(tables, ", ")
		for i, table := range tables {
			tables[i] = "ALTER TABLE " + quoted(table) + " ENABLE TRIGGER ALL"
		}
		f.Cure = "run " + strings.Join(tables, "; ")
	}
	return f, err
}

// addresses finds accounts that share one, which the index would not have let in.
func (c *checkup) addresses(ctx context.Context) (finding, error) {
	n, err := c.count(ctx, "SELECT count(*) FROM (SELECT email FROM users WHERE NOT is_deleted GROUP BY email HAVING count(*) > 1) AS twice")
	if n == 0 {
		return finding{OK: true, Detail: "no two accounts have the same"}, err
	}
	return finding{
		Detail: fmt.Sprintf("of %d addresses there are several accounts each", n),
		Cure:   "find them by SELECT email, min(id), max(id) FROM users WHERE NOT is_deleted GROUP BY email HAVING count(*) > 1, and run `reviewpoint user delete ID` for all but one",
	}, err
}

// hashKinds counts the hashes of each kind: the parameters, and the lengths of the salt and of the digest, for
// neither needs to leave the database. What has another form is of no kind; what does not begin as one is clear, but for an account without a password.
const hashKinds = `SELECT
	CASE WHEN whole LIKE '$2%' THEN '$2' WHEN whole NOT LIKE '$%' AND whole <> '` + password.None + `' THEN 'clear' WHEN formed THEN parameters ELSE '' END AS kind,
	CASE WHEN formed THEN length(salted) - length(parameters) ELSE 0 END AS salt,
	CASE WHEN formed THEN length(whole) - length(keyless) ELSE 0 END AS digest,
	count(*)
FROM (
	SELECT whole, keyless, salted, parameters, parameters LIKE '$argon2id$v=%$m=%,t=%,p=%$' AND keyless = salted || '$'
		AND length(parameters) - length(replace(parameters, '$', '')) = 4 AS formed
	FROM (
		SELECT whole, keyless, salted, rtrim(salted, '` + base64Digits + `') AS parameters FROM (
			SELECT whole, keyless, rtrim(keyless, '$') AS salted FROM (
				SELECT hashed_password AS whole, rtrim(hashed_password, '` + base64Digits + `') AS keyless FROM users WHERE NOT is_deleted
			) AS first
		) AS second
	) AS third
) AS fourth GROUP BY 1, 2, 3`

const base64Digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// hashes counts the passwords that cost an attacker less than they should.
func (c *checkup) hashes(ctx context.Context) (finding, error) {
	var (
		kind               string
		salt, digest, n    int
		accounts           int
		bcrypt, old, plain int
	)
	err := scan(ctx, c.db, hashKinds, func() error {
		accounts += n
		like := kind
		if salt+digest > 0 {
			like += strings.Repeat("A", salt) + "$" + strings.Repeat("A", digest)
		}
		switch weak := password.Weak(like, password.Default); {
		case kind == "clear":
			plain += n
		case weak && strings.HasPrefix(kind, "$2"):
			bcrypt += n
		case weak:
			old += n
		}
		return nil
	}, &kind, &salt, &digest, &n)
	if bcrypt+old+plain == 0 {
		return finding{OK: true, Detail: "none is weak, of " + counted(accounts, "account")}, err
	}
	f := finding{
		Detail: fmt.Sprintf("%d of %s have bcrypt's, %d Argon2id's with less than today's cost", bcrypt, counted(accounts, "account"), old),
		Cure:   "a good login replaces each; give those who do not come another one by `reviewpoint user passwd`, or run `reviewpoint user delete`",
	}
	if plain > 0 {
		f.Detail += fmt.Sprintf(", %d none at all: perhaps a password in clear, with which nobody signs in", plain)
		f.Cure += "; those without a hash are SELECT id FROM users WHERE NOT is_deleted AND hashed_password NOT LIKE '$%' AND hashed_password <> '" + password.None + "'"
	}
	return f, err
}

// kept is for how long things may wait for the purge.
const kept = 30 * 24 * time.Hour

func (c *checkup) expired(ctx context.Context) (finding, error) {
	report, err := c.store.PurgeExpired(ctx, models.PurgeOptions{Tokens: kept, Resets: kept, DeletedUsers: kept, DryRun: true})
	if err != nil {
		return finding{}, err
	}
	if report.Tokens+report.Resets+report.Users == 0 {
		return finding{OK: true, Detail: "none is older than 30 days"}, nil
	}
	return finding{
		Detail: fmt.Sprintf("older than 30 days: %s, %s, %s", counted(report.Tokens, "expired token"), counted(report.Resets, "used password reset"), counted(report.Users, "deleted account")),
		Cure:   "run `reviewpoint purge --older-than 30d --dry-run`, and every day without --dry-run",
	}, nil
}

func (c *checkup) journal(ctx context.Context) (finding, error) {
	mode, err := c.text(ctx, "PRAGMA journal_mode")
	f := finding{OK: mode == "wal" || mode == "memory", Detail: mode}
	if !f.OK {
		f.Cure = "open it once for writing (`reviewpoint migrate apply`): readers then do not wait for the writer"
	}
	return f, err
}

func (c *checkup) integrity(ctx context.Context) (finding, error) {
	answer, err := c.text(ctx, "PRAGMA integrity_check(1)")
	f := finding{OK: answer == "ok", Detail: answer}
	if !f.OK {
		f.Cure = "restore a backup, or save what can be read with `sqlite3 FILE .recover`"
	}
	return f, err
}
