package migration_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/dialect/sql/schema"
	"entgo.io/ent/schema/field"

	entmigrate "github.com/reviewpoint/models/ent/migrate"
	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/migration"
	"github.com/reviewpoint/models/schema/migrations"
)

// planned is the moment of the plans: later than the files that have landed.
var planned = time.Date(2027, 3, 4, 5, 6, 7, 0, time.UTC)

const plannedVersion = "20270304050607"

// tablesOf is the module's schema.
func tablesOf() []*schema.Table { return entmigrate.Tables }

// changed is the module's schema as change leaves it.
func changed(change func(s *wanted)) []*schema.Table {
	s := &wanted{}
	copies := make(map[*schema.Table]*schema.Table)
	for _, table := range tablesOf() {
		copies[table] = copyTable(table)
		s.tables = append(s.tables, copies[table])
	}
	for _, table := range s.tables {
		for _, key := range table.ForeignKeys {
			key.RefTable = copies[key.RefTable]
			for i, column := range key.RefColumns {
				key.RefColumns[i] = columnOf(key.RefTable, column.Name)
			}
		}
	}
	change(s)
	return s.tables
}

func copyTable(from *schema.Table) *schema.Table {
	to := *from
	columns := func(names []*schema.Column) []*schema.Column {
		out := make([]*schema.Column, len(names))
		for i, column := range names {
			out[i] = columnOf(&to, column.Name)
		}
		return out
	}
	to.Columns = make([]*schema.Column, len(from.Columns))
	for i, column := range from.Columns {
		copied := *column
		to.Columns[i] = &copied
	}
	to.PrimaryKey = columns(from.PrimaryKey)
	to.Indexes = make([]*schema.Index, len(from.Indexes))
	for i, index := range from.Indexes {
		copied := *index
		copied.Columns = columns(index.Columns)
		to.Indexes[i] = &copied
	}
	to.ForeignKeys = make([]*schema.ForeignKey, len(from.ForeignKeys))
	for i, key := range from.ForeignKeys {
		copied := *key
		copied.Columns, copied.RefColumns = columns(key.Columns), slices.Clone(key.RefColumns)
		to.ForeignKeys[i] = &copied
	}
	annotation := *from.Annotation
	annotation.Checks = maps.Clone(annotation.Checks)
	to.Annotation = &annotation
	return &to
}

func columnOf(table *schema.Table, name string) *schema.Column {
	for _, column := range table.Columns {
		if column.Name == name {
			return column
		}
	}
	panic("no column " + table.Name + "." + name)
}

// wanted is a schema to change.
type wanted struct{ tables []*schema.Table }

func (s *wanted) table(name string) *schema.Table {
	for _, table := range s.tables {
		if table.Name == name {
			return table
		}
	}
	panic("no table " + name)
}

func (s *wanted) column(table, name string) *schema.Column { return columnOf(s.table(table), name) }

func (s *wanted) add(table string, column *schema.Column) {
	t := s.table(table)
	t.Columns = append(t.Columns, column)
}

func (s *wanted) drop(table, column string) {
	t := s.table(table)
	t.Columns = slices.DeleteFunc(slices.Clone(t.Columns), func(c *schema.Column) bool { return c.Name == column })
}

func (s *wanted) index(table, name string, unique bool, columns ...string) {
	t := s.table(table)
	index := &schema.Index{Name: name, Unique: unique}
	for _, column := range columns {
		index.Columns = append(index.Columns, columnOf(t, column))
	}
	t.Indexes = append(t.Indexes, index)
}

// text is a column of varchar(n).
func text(name string, n int64) *schema.Column {
	return &schema.Column{Name: name, Type: field.TypeString, Size: n, SchemaType: map[string]string{dialect.Postgres: fmt.Sprintf("varchar(%d)", n)}}
}

func nullable(column *schema.Column) *schema.Column {
	column.Nullable = true
	return column
}

// planFolder copies the module's migrations to disk, with a dev of each dialect. Those who pass the
// same postgres share a server.
func planFolder(t testing.TB, postgres *migration.Dev) migration.Folder {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "schema", "migrations")
	if err := os.CopyFS(dir, migrations.FS); err != nil {
		t.Fatal(err)
	}
	return migration.Folder{Path: dir, Devs: []*migration.Dev{openDev(t, dialect.SQLite), postgres}}
}

// contents are all files below the folder.
func textsOf(t testing.TB, folder migration.Folder) map[string]string {
	t.Helper()
	out := make(map[string]string)
	err := filepath.WalkDir(folder.Path, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(folder.Path, path)
		out[filepath.ToSlash(name)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func plan(t testing.TB, folder migration.Folder, name string, tables []*schema.Table, opts migration.PlanOptions) []migration.Planned {
	t.Helper()
	out, err := folder.Plan(t.Context(), name, tables, planned, opts)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// codes of the findings of each dialect, each once.
func codes(all []migration.Planned) map[string]string {
	found := make(map[string][]string)
	for _, file := range all {
		for _, finding := range file.Findings {
			if !slices.Contains(found[file.Dialect], finding.Code) {
				found[file.Dialect] = append(found[file.Dialect], finding.Code)
			}
		}
	}
	out := make(map[string]string)
	for name, codes := range found {
		slices.Sort(codes)
		out[name] = strings.Join(codes, " ")
	}
	return out
}

// seed puts rows into every table, and takes the last of each away again: its id must not come back.
func seed(t testing.TB, db *database.DB) {
	t.Helper()
	for _, statement := range []string{
		`INSERT INTO users (public_id, email, hashed_password, name, preferences, bio, deleted_at, is_deleted) VALUES
			('00000000-0000-4000-8000-000000000001', 'ada@example.org', 'hash', 'Ada ''the'' first', '{"theme": "dark"}', 'Bio', NULL, false),
			('00000000-0000-4000-8000-000000000002', 'grace@example.org', '$2b$12$x', 'Grace', '{}', 'Г', NULL, false),
			('00000000-0000-4000-8000-000000000003', 'ada@example.org', 'hash', 'статья', NULL, '', CURRENT_TIMESTAMP, true),
			('00000000-0000-4000-8000-000000000004', 'last@example.org', 'hash', 'x', NULL, 'x', NULL, false)`,
		`INSERT INTO files (public_id, filename, content_type, size, user_id) VALUES
			('00000000-0000-4000-8000-000000000011', 'a.pdf', 'application/pdf', 10, 1),
			('00000000-0000-4000-8000-000000000012', 'b.pdf', 'application/pdf', 0, 1),
			('00000000-0000-4000-8000-000000000013', 'статья.pdf', 'text/plain', 9000000000, 2),
			('00000000-0000-4000-8000-000000000014', 'last', 'text/plain', 1, 4)`,
		"INSERT INTO blacklisted_tokens (jti, expires_at) VALUES ('one', CURRENT_TIMESTAMP), ('two', CURRENT_TIMESTAMP), ('last', CURRENT_TIMESTAMP)",
		"INSERT INTO used_password_reset_tokens (email, nonce) VALUES ('ada@example.org', 'one'), ('ada@example.org', 'two'), ('last@example.org', 'last')",
		`INSERT INTO audit_logs (actor, action, entity, entity_id, changes) VALUES ('system', 'create', 'User', 1, '{"email": [null, "…"]}'), ('user 1', 'create', 'File', 1, '{}'), ('x', 'x', 'x', 1, '{}')`,
	} {
		execute(t, db, statement)
	}
	for _, table := range tablesOf() {
		execute(t, db, "DELETE FROM "+table.Name+" WHERE id = (SELECT max(id) FROM "+table.Name+")")
	}
}

// rowsOf are the rows of each table, as texts by table, id and column.
func rowsOf(t testing.TB, db *database.DB) map[string]string {
	t.Helper()
	list := "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'atlas_%'"
	if db.Dialect() == dialect.Postgres {
		list = "SELECT relname::text FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND relname NOT LIKE 'atlas_%'"
	}
	out := make(map[string]string)
	for _, table := range query[string](t, t.Context(), db, list) {
		readTable(t, db, table, out)
	}
	return out
}

func readTable(t testing.TB, db *database.DB, table string, out map[string]string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SELECT * FROM "+table) //nolint:unqueryvet // All that there is, is to be kept.
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		values, targets := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := rows.Scan(targets...); err != nil {
			t.Fatal(err)
		}
		for i, column := range columns {
			value := fmt.Sprint(values[i])
			if bytes, ok := values[i].([]byte); ok {
				value = string(bytes)
			}
			out[fmt.Sprintf("%s %v %s", table, values[slices.Index(columns, "id")], column)] = value
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// indexesOf are the indexes, by name.
func indexesOf(t testing.TB, db *database.DB) []string {
	t.Helper()
	if db.Dialect() == dialect.Postgres {
		return query[string](t, t.Context(), db, "SELECT indexname::text FROM pg_indexes WHERE schemaname = current_schema() AND tablename NOT LIKE 'atlas_%' ORDER BY 1")
	}
	return query[string](t, t.Context(), db, "SELECT name FROM sqlite_master WHERE type = 'index' AND name NOT LIKE 'sqlite_%' ORDER BY 1")
}

// checkKept checks that a database has all the rows and indexes of before, less those of the columns
// and tables that were dropped, and that references and ids go on.
func checkKept(t *testing.T, db *database.DB, rows map[string]string, indexes []string, dropped ...string) {
	t.Helper()
	gone := func(name string) bool {
		return slices.ContainsFunc(dropped, func(d string) bool {
			return name == d || strings.HasPrefix(name, d+" ") || strings.HasSuffix(name, " "+d)
		})
	}
	after := rowsOf(t, db)
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		if value, ok := after[key]; !gone(key) && (!ok || value != rows[key]) {
			t.Errorf("%s was %q and is %q (%t)", key, rows[key], value, ok)
		}
	}
	now := indexesOf(t, db)
	for _, index := range indexes {
		if !slices.Contains(now, index) && !gone(index) {
			t.Errorf("the index %s is gone", index)
		}
	}
	if db.Dialect() == dialect.SQLite {
		equal(t, "triggers, and tables of the rebuild that were left", query[string](t, t.Context(), db, "SELECT name FROM sqlite_master WHERE type = 'trigger' OR name LIKE 'new_%'"), nil)
		checkEnforced(t, db)
	}
	if _, err := db.ExecContext(t.Context(), "UPDATE files SET user_id = 99 WHERE id = 1"); !errors.Is(err, database.ErrForeignKey) {
		t.Errorf("a file of nobody: %v, want ErrForeignKey", err)
	}
	execute(t, db, "DELETE FROM users WHERE id = 1")
	if ids := query[int](t, t.Context(), db, "SELECT id FROM files ORDER BY id"); !slices.Equal(ids, []int{3}) {
		t.Errorf("files after their owner is deleted: %v, want [3]", ids)
	}
}

// checkIDs checks that the ids of the rows that seed took away do not come back.
func checkIDs(t *testing.T, db *database.DB) {
	t.Helper()
	for table, sequence := range map[string]int{"users": 4, "files": 4, "blacklisted_tokens": 3, "used_password_reset_tokens": 3, "audit_logs": 3} {
		ask := "SELECT seq FROM sqlite_sequence WHERE name = '" + table + "'"
		if db.Dialect() == dialect.Postgres {
			ask = "SELECT last_value FROM " + table + "_id_seq"
		}
		if got := query[int](t, t.Context(), db, ask); !slices.Equal(got, []int{sequence}) {
			t.Errorf("the ids of %s go on from %v, want %d", table, got, sequence)
		}
	}
}

// both is the same for both dialects.
func bothCodes(codes string) map[string]string {
	if codes == "" {
		return map[string]string{}
	}
	return map[string]string{"sqlite": codes, "postgres": codes}
}

type planCase struct {
	name    string
	change  func(s *wanted)
	codes   map[string]string
	dropped []string // tables, columns and indexes whose rows go
	fails   error    // what applying it to rows answers
}

func planCases() []planCase {
	const users, files = "users", "files"
	return []planCase{
		{name: "nullable_column", codes: bothCodes(""), change: func(s *wanted) { s.add(users, nullable(text("orcid", 19))) }},
		{name: "required_column", codes: bothCodes("MF103"), fails: database.ErrNotNull, change: func(s *wanted) { s.add(files, text("checksum", 64)) }},
		{name: "column_with_default", codes: bothCodes(""), change: func(s *wanted) {
			s.add(files, &schema.Column{Name: "revision", Type: field.TypeInt, Default: 1})
		}},
		{name: "drop_column", codes: bothCodes("DS103"), dropped: []string{"bio"}, change: func(s *wanted) { s.drop(users, "bio") }},
		{name: "drop_table", codes: bothCodes("DS102"), dropped: []string{"blacklisted_tokens", "blacklistedtoken_expires_at", "blacklisted_tokens_jti_key", "blacklisted_tokens_pkey"}, change: func(s *wanted) {
			s.tables = slices.DeleteFunc(s.tables, func(t *schema.Table) bool { return t.Name == "blacklisted_tokens" })
		}},
		{name: "table", codes: bothCodes(""), change: func(s *wanted) {
			id := &schema.Column{Name: "id", Type: field.TypeInt, Increment: true}
			owner := &schema.Column{Name: "user_id", Type: field.TypeInt}
			s.tables = append(s.tables, &schema.Table{
				Name: "reviews", Columns: []*schema.Column{id, text("title", 100), owner}, PrimaryKey: []*schema.Column{id},
				ForeignKeys: []*schema.ForeignKey{{Symbol: "reviews_users_reviews", Columns: []*schema.Column{owner}, RefTable: s.table(users), RefColumns: []*schema.Column{s.column(users, "id")}, OnDelete: schema.Cascade}},
				Indexes:     []*schema.Index{{Name: "review_user_id", Columns: []*schema.Column{owner}}},
				Annotation:  &entsql.Annotation{Checks: map[string]string{"reviews_title_not_empty": "title <> ''"}},
			})
		}},
		{name: "index", codes: map[string]string{"postgres": "PG101"}, change: func(s *wanted) { s.index(files, "file_size", false, "size") }},
		{name: "unique_index", codes: map[string]string{"sqlite": "MF101", "postgres": "MF101 PG101"}, change: func(s *wanted) { s.index("audit_logs", "auditlog_entity_action", true, "entity", "action") }},
		{name: "drop_index", codes: map[string]string{"postgres": "PG102"}, dropped: []string{"file_user_id_filename"}, change: func(s *wanted) { s.table(files).Indexes = s.table(files).Indexes[:1] }},
		{name: "check", codes: map[string]string{"postgres": "PG305"}, change: func(s *wanted) {
			s.table(files).Annotation.Checks["files_size_at_most"] = "size <= 1000000 OR size > 2000000"
		}},
		{name: "wider", codes: bothCodes(""), change: func(s *wanted) {
			name := s.column(users, "name")
			name.Size, name.SchemaType = 256, text("", 256).SchemaType
		}},
		{name: "not_null", codes: map[string]string{"sqlite": "LT101", "postgres": "MF104 PG303"}, change: func(s *wanted) { s.column(users, "name").Nullable = false }},
		{name: "null", codes: bothCodes(""), change: func(s *wanted) { nullable(s.column(files, "content_type")) }},
		{name: "rename_column", codes: bothCodes("DS103"), dropped: []string{"bio"}, change: func(s *wanted) { s.column(users, "bio").Name = "about" }},
		{name: "three_rebuilds", codes: bothCodes(""), change: func(s *wanted) {
			for _, table := range s.tables {
				s.add(table.Name, nullable(text("note", 40)))
			}
		}},
	}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	postgres := openDev(t, dialect.Postgres)
	for i, test := range planCases() {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			folder, tables := planFolder(t, postgres), changed(test.change)
			before := textsOf(t, folder)
			refused := plan(t, folder, test.name, tables, migration.PlanOptions{})
			if got := codes(refused); !maps.Equal(got, test.codes) {
				t.Errorf("found %v, want %v in\n%s\n%s", got, test.codes, refused[0].SQL, refused[1].SQL)
			}
			for _, file := range refused {
				for _, finding := range file.Findings {
					if finding.Allowed != "" || finding.Reason == "" || finding.Safer == "" || finding.File != file.Name || finding.Dialect != file.Dialect {
						t.Errorf("it lacks something: %+v", finding)
					}
				}
			}
			if !maps.Equal(textsOf(t, folder), before) {
				t.Fatal("Plan has written something")
			}
			var allow []string
			for _, found := range test.codes {
				allow = append(allow, strings.Fields(found)...)
			}
			allowed := plan(t, folder, test.name, tables, migration.PlanOptions{Allow: allow})
			checkPlanned(t, folder, allowed, before, test)
			checkAgain(t, folder, tables)
			for _, name := range []string{dialect.SQLite, dialect.Postgres} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					if name == dialect.Postgres && i%4 != 0 && !long() {
						t.Skip("REVIEWPOINT_TEST_LONG=1 applies all")
					}
					checkPlanApplied(t, empty(t, name), folder, tables, test)
				})
			}
		})
	}
}

// checkPlanned writes what was planned and checks what was written.
func checkPlanned(t *testing.T, folder migration.Folder, all []migration.Planned, before map[string]string, test planCase) {
	t.Helper()
	if err := folder.Write(all); err != nil {
		t.Fatal(err)
	}
	after := textsOf(t, folder)
	for _, name := range []string{"sqlite", "postgres"} {
		file := name + "/" + plannedVersion + "_" + test.name + ".sql"
		text, ok := after[file]
		if !ok {
			continue
		}
		delete(after, file)
		directive, _, _ := strings.Cut(text, "\n")
		if want := "-- atlas:nolint " + test.codes[name]; test.codes[name] != "" && directive != want {
			t.Errorf("%s begins with %q, want %q", file, directive, want)
		}
		if test.codes[name] == "" && strings.Contains(text, "nolint") {
			t.Errorf("%s has a directive that nobody asked for:\n%s", file, text)
		}
		if after[name+"/atlas.sum"] == before[name+"/atlas.sum"] {
			t.Errorf("atlas.sum of %s does not know the file", name)
		}
	}
	for _, name := range []string{"sqlite", "postgres"} {
		after[name+"/atlas.sum"] = before[name+"/atlas.sum"]
	}
	if !maps.Equal(after, before) {
		t.Errorf("files there are besides: %v, want those of before: %v", slices.Sorted(maps.Keys(after)), slices.Sorted(maps.Keys(before)))
	}
	findings, err := migration.Lint(t.Context(), os.DirFS(folder.Path), folder.Devs)
	if err != nil {
		t.Fatal(err)
	}
	for _, finding := range findings {
		if finding.Allowed == "" {
			t.Errorf("lint of the folder: %+v", finding)
		}
	}
}

// checkAgain checks that there is nothing left to plan.
func checkAgain(t *testing.T, folder migration.Folder, tables []*schema.Table) {
	t.Helper()
	before := textsOf(t, folder)
	again := plan(t, folder, "again", tables, migration.PlanOptions{})
	if len(again) != 0 {
		t.Errorf("planned again: %+v", again)
	}
	if err := folder.Write(again); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(textsOf(t, folder), before) {
		t.Error("writing nothing has changed the folder")
	}
}

// checkPlanApplied applies the folder to a database with rows.
func checkPlanApplied(t *testing.T, url string, folder migration.Folder, tables []*schema.Table, test planCase) {
	t.Helper()
	db := open(t, url)
	apply(t, db, migrations.FS)
	seed(t, db)
	rows, indexes := rowsOf(t, db), indexesOf(t, db)
	if len(rows) < 60 {
		t.Fatalf("there are few rows: %v", rows)
	}
	m := migrator(t, db, os.DirFS(folder.Path))
	if test.fails != nil {
		before := dump(t, db)
		if _, err := m.Apply(t.Context(), migration.Options{}); !errors.Is(err, test.fails) {
			t.Errorf("error = %v, want %v", err, test.fails)
		}
		equal(t, "schema", withoutAccount(dump(t, db)), withoutAccount(before))
	} else {
		if _, err := m.Apply(t.Context(), migration.Options{}); err != nil {
			t.Fatal(err)
		}
		for _, difference := range verify(t, folder, tables, db) {
			t.Errorf("verify afterwards: %+v", difference)
		}
		if test.name != "drop_table" {
			checkIDs(t, db)
		}
	}
	checkKept(t, db, rows, indexes, test.dropped...)
}

func withoutAccount(all []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(line string) bool {
		return strings.Contains(line, plannedVersion) || strings.Contains(line, "atlas_schema_revisions: ")
	})
}

// verify verifies the folder and a database, which may be nil.
func verify(t testing.TB, folder migration.Folder, tables []*schema.Table, db *database.DB) []migration.Difference {
	t.Helper()
	found, err := migration.Verify(t.Context(), os.DirFS(folder.Path), tables, folder.Devs, db)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// What another program runs, such as the Atlas CLI, must carry the ids on, too: the file itself does.
func TestPlan_RebuildCarriesIDs(t *testing.T) {
	t.Parallel()
	folder := planFolder(t, openDev(t, dialect.Postgres))
	tables := changed(func(s *wanted) {
		for _, table := range s.tables {
			s.add(table.Name, nullable(text("note", 40)))
		}
	})
	for _, emptied := range []bool{false, true} {
		t.Run(fmt.Sprintf("emptied %t", emptied), func(t *testing.T) {
			t.Parallel()
			db := sqliteFile(t)
			apply(t, db, migrations.FS)
			seed(t, db)
			if emptied {
				for _, table := range tablesOf() {
					execute(t, db, "DELETE FROM "+table.Name)
				}
			}
			file := plan(t, folder, "notes", tables, migration.PlanOptions{})[0]
			err := db.InSchemaTx(t.Context(), func(ctx context.Context) error {
				_, err := db.ExecContext(ctx, file.SQL)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			checkIDs(t, db)
		})
	}
}

func TestPlan_Nothing(t *testing.T) {
	t.Parallel()
	folder := planFolder(t, openDev(t, dialect.Postgres))
	checkAgain(t, folder, tablesOf())
}

// planError is what Plan answers, which must not have written anything.
func planError(t *testing.T, folder migration.Folder, name string, tables []*schema.Table) error {
	t.Helper()
	before := textsOf(t, folder)
	out, err := folder.Plan(t.Context(), name, tables, planned, migration.PlanOptions{})
	if len(out) > 0 && err != nil {
		t.Errorf("Plan answers both %+v and %v", out, err)
	}
	if !maps.Equal(textsOf(t, folder), before) {
		t.Error("Plan has written something")
	}
	return err
}

func withOrcid(s *wanted) { s.add("users", nullable(text("orcid", 19))) }

func TestPlan_Refused(t *testing.T) {
	t.Parallel()
	postgres := openDev(t, dialect.Postgres)
	for _, name := range []string{"", "Add", "add-orcid", "../add", "add orcid", "größe", "add\n", "add.sql", strings.Repeat("a", 101)} {
		if err := planError(t, planFolder(t, postgres), name, tablesOf()); err == nil || !strings.Contains(err.Error(), "a-z, 0-9 and _") {
			t.Errorf("name %q: %v", name, err)
		}
	}
	for _, test := range []struct {
		name   string
		change func(t *testing.T, dir string)
		want   []string
		is     error
	}{
		{"stale command", func(t *testing.T, dir string) {
			t.Helper()
			other := filepath.Join(dir, "..", "..", "ent", "migrate")
			if err := os.CopyFS(other, os.DirFS(filepath.Join("..", "..", "ent", "migrate"))); err != nil {
				t.Fatal(err)
			}
		}, []string{"ent/migrate/sqlite.sql", "go generate ./...", "go run ./cmd/reviewpoint"}, nil},
		{"edited", func(t *testing.T, dir string) {
			t.Helper()
			appendTo(t, filepath.Join(dir, "postgres", "20261123160500_bcrypt.sql"), "\n-- edited\n")
		}, []string{"postgres/20261123160500_bcrypt.sql", "migrate hash"}, migration.ErrEdited},
		{"no sum", func(t *testing.T, dir string) {
			t.Helper()
			if err := os.Remove(filepath.Join(dir, "sqlite", "atlas.sum")); err != nil {
				t.Fatal(err)
			}
		}, []string{"sqlite/atlas.sum"}, migration.ErrEdited},
		{"a version that is no time", func(t *testing.T, dir string) {
			t.Helper()
			appendTo(t, filepath.Join(dir, "postgres", "9_nine.sql"), "SELECT 1;\n")
			if err := (migration.Folder{Path: dir}).Hash(); err != nil {
				t.Fatal(err)
			}
		}, []string{"9_nine.sql", "rename it"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			folder := planFolder(t, postgres)
			test.change(t, folder.Path)
			err := planError(t, folder, "add_orcid", changed(withOrcid))
			if err == nil || (test.is != nil && !errors.Is(err, test.is)) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("error = %v, want %v in one line", err, test.is)
			}
			for _, want := range test.want {
				if !strings.Contains(filepath.ToSlash(err.Error()), want) {
					t.Errorf("%q does not say %s", err, want)
				}
			}
		})
	}
}

// A folder beside the schema that the command was built with is none to refuse.
func TestPlan_Current(t *testing.T) {
	t.Parallel()
	folder := planFolder(t, openDev(t, dialect.Postgres))
	if err := os.CopyFS(filepath.Join(folder.Path, "..", "..", "ent", "migrate"), os.DirFS(filepath.Join("..", "..", "ent", "migrate"))); err != nil {
		t.Fatal(err)
	}
	if err := planError(t, folder, "nothing", tablesOf()); err != nil {
		t.Error(err)
	}
}

func appendTo(t testing.TB, path, text string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = file.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestPlan_Version(t *testing.T) {
	t.Parallel()
	folder := planFolder(t, openDev(t, dialect.Postgres))
	appendTo(t, filepath.Join(folder.Path, "postgres", "20300101000000_later.sql"), "SELECT 1;\n")
	if err := folder.Hash(); err != nil {
		t.Fatal(err)
	}
	zone := time.FixedZone("", -11*60*60)
	for _, test := range []struct {
		moment time.Time
		want   string
	}{
		{planned, "20300101000001"},
		{time.Date(2030, 1, 1, 0, 0, 0, 999, time.UTC), "20300101000001"},
		{time.Date(2030, 1, 1, 0, 0, 1, 0, time.UTC), "20300101000001"},
		{time.Date(2029, 12, 31, 13, 0, 2, 0, zone), "20300101000002"},
	} {
		all, err := folder.Plan(t.Context(), "add_orcid", changed(withOrcid), test.moment, migration.PlanOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, file := range all {
			got = append(got, file.Dialect+"/"+file.Name)
		}
		equal(t, "files at "+test.moment.String(), got, []string{"sqlite/" + test.want + "_add_orcid.sql", "postgres/" + test.want + "_add_orcid.sql"})
	}
}

// A crash after each step of Write is mended by Hash, and Plan makes what is still missing.
func TestPlan_Crash(t *testing.T) {
	t.Parallel()
	postgres := openDev(t, dialect.Postgres)
	tables := changed(withOrcid)
	for written := range 3 {
		t.Run(fmt.Sprintf("%d files", written), func(t *testing.T) {
			t.Parallel()
			folder := planFolder(t, postgres)
			all := plan(t, folder, "add_orcid", tables, migration.PlanOptions{})
			for i, file := range all {
				path := filepath.Join(folder.Path, file.Dialect, file.Name)
				if i < written {
					appendTo(t, path, file.SQL)
				} else if i == written {
					appendTo(t, path+".draft", file.SQL[:len(file.SQL)/2])
				}
			}
			if written > 0 {
				if err := planError(t, folder, "add_orcid", tables); !errors.Is(err, migration.ErrEdited) || !strings.Contains(err.Error(), "migrate hash") {
					t.Errorf("before Hash: %v, want ErrEdited and what to do", err)
				}
				if found := verify(t, folder, tables, nil); len(found) == 0 || !strings.Contains(found[0].What, "atlas.sum") {
					t.Errorf("before Hash, verify finds %+v", found)
				}
			}
			if err := folder.Hash(); err != nil {
				t.Fatal(err)
			}
			rest := plan(t, folder, "add_orcid", tables, migration.PlanOptions{})
			if len(rest) != 2-written {
				t.Errorf("planned after a crash: %d files, want %d", len(rest), 2-written)
			}
			if err := folder.Write(rest); err != nil {
				t.Fatal(err)
			}
			for _, difference := range verify(t, folder, tables, nil) {
				t.Errorf("%+v", difference)
			}
		})
	}
}

// Write replaces no file.
func TestPlan_WriteTwice(t *testing.T) {
	t.Parallel()
	folder := planFolder(t, openDev(t, dialect.Postgres))
	all := plan(t, folder, "add_orcid", changed(withOrcid), migration.PlanOptions{})
	if err := folder.Write(all); err != nil {
		t.Fatal(err)
	}
	before := textsOf(t, folder)
	all[0].SQL = "-- another\n"
	if err := folder.Write(all); !errors.Is(err, os.ErrExist) {
		t.Errorf("error = %v, want ErrExist", err)
	}
	if !maps.Equal(textsOf(t, folder), before) {
		t.Error("a file was replaced, or a draft is left")
	}
}

func TestPlan_Concurrently(t *testing.T) {
	t.Parallel()
	postgres := openDev(t, dialect.Postgres)
	concurrently := migration.PlanOptions{Concurrently: true, Allow: []string{"MF101", "DS103"}}
	for _, test := range []struct {
		name    string
		change  func(s *wanted)
		files   []string // of PostgreSQL: what each does, and what its directive allows
		dropped []string
	}{
		{name: "add", files: []string{"CREATE"}, change: func(s *wanted) { s.index("files", "file_size", false, "size") }},
		{name: "unique", files: []string{"CREATE MF101"}, change: func(s *wanted) { s.index("audit_logs", "auditlog_entity_action", true, "entity", "action") }},
		{name: "drop", files: []string{"DROP"}, dropped: []string{"file_user_id_filename"}, change: func(s *wanted) { s.table("files").Indexes = s.table("files").Indexes[:1] }},
		{name: "of_a_new_column", files: []string{"", "CREATE"}, change: func(s *wanted) {
			withOrcid(s)
			s.index("users", "user_orcid", false, "orcid")
		}},
		{name: "of_a_dropped_column", files: []string{" DS103"}, dropped: []string{"used_at", "usedpasswordresettoken_used_at"}, change: func(s *wanted) {
			s.drop("used_password_reset_tokens", "used_at")
			s.table("used_password_reset_tokens").Indexes = s.table("used_password_reset_tokens").Indexes[:1]
		}},
		{name: "other_columns", files: []string{"DROP", "CREATE"}, change: func(s *wanted) {
			index := s.table("files").Indexes[1]
			index.Columns = append(index.Columns, s.column("files", "size"))
		}},
		{name: "two", files: []string{"CREATE", "CREATE"}, change: func(s *wanted) {
			s.index("files", "file_size", false, "size")
			s.index("users", "user_name", false, "name")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			folder, tables := planFolder(t, postgres), changed(test.change)
			all := plan(t, folder, test.name, tables, concurrently)
			var got []string
			for i, file := range all {
				for _, finding := range file.Findings {
					if finding.Allowed == "" {
						t.Errorf("%+v in\n%s", finding, file.SQL)
					}
				}
				if file.Dialect == "sqlite" {
					continue
				}
				if version := fmt.Sprint(20270304050607 + i - 1); !strings.HasPrefix(file.Name, version+"_"+test.name) {
					t.Errorf("the name is %s, want that of version %s", file.Name, version)
				}
				what := ""
				if match := concurrentStatement.FindStringSubmatch(file.SQL); match != nil {
					what = match[1]
				}
				if alone := strings.Contains(file.SQL, "-- atlas:txmode none\n"); alone != (what != "") || alone && strings.Contains(file.SQL, "ALTER") {
					t.Errorf("a transaction or none, where the other is needed:\n%s", file.SQL)
				}
				if match := nolint.FindStringSubmatch(file.SQL); match != nil {
					what += " " + match[1]
				}
				got = append(got, what)
			}
			equal(t, "files of PostgreSQL", got, test.files)
			if err := folder.Write(all); err != nil {
				t.Fatal(err)
			}
			findings, err := migration.Lint(t.Context(), os.DirFS(folder.Path), folder.Devs)
			if err != nil {
				t.Fatal(err)
			}
			for _, finding := range findings {
				if finding.Allowed == "" {
					t.Errorf("lint of the folder: %+v", finding)
				}
			}
			checkAgain(t, folder, tables)
			db := open(t, empty(t, dialect.Postgres))
			checkPlanOn(t, db, folder, tables, test.dropped)
		})
	}
}

var (
	concurrentStatement = regexp.MustCompile(`(?m)^(CREATE|DROP) (?:UNIQUE )?INDEX CONCURRENTLY`)
	nolint              = regexp.MustCompile(`(?m)^-- atlas:nolint (.*)$`)
)

func checkPlanOn(t *testing.T, db *database.DB, folder migration.Folder, tables []*schema.Table, dropped []string) {
	t.Helper()
	apply(t, db, migrations.FS)
	seed(t, db)
	rows, indexes := rowsOf(t, db), indexesOf(t, db)
	apply(t, db, os.DirFS(folder.Path))
	for _, difference := range verify(t, folder, tables, db) {
		t.Errorf("verify afterwards: %+v", difference)
	}
	checkKept(t, db, rows, indexes, dropped...)
}

// A CHECK of the same name and another text cannot be seen by a plan of SQLite, so it is refused.
func TestPlan_CheckOfTheSameName(t *testing.T) {
	t.Parallel()
	folder := planFolder(t, openDev(t, dialect.Postgres))
	err := planError(t, folder, "check", changed(func(s *wanted) { s.table("files").Annotation.Checks["files_size_not_negative"] = "size > 0" }))
	if err == nil || !strings.Contains(err.Error(), "files_size_not_negative") || !strings.Contains(err.Error(), "new name") {
		t.Errorf("error = %v, want the check and what to do", err)
	}
}

// A rebuild on SQLite drops the table's triggers, and cannot be done under a view: both plans are refused, by name.
func TestPlan_ByHand(t *testing.T) {
	t.Parallel()
	postgres := openDev(t, dialect.Postgres)
	for name, sql := range map[string]string{
		"touched": "CREATE TRIGGER touched AFTER UPDATE ON users BEGIN SELECT 1; END;\n",
		"people":  "CREATE VIEW people AS SELECT id FROM users;\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := planFolder(t, postgres)
			appendTo(t, filepath.Join(folder.Path, "sqlite", "20270101000000_by_hand.sql"), sql)
			if err := folder.Hash(); err != nil {
				t.Fatal(err)
			}
			checkAgain(t, folder, tablesOf())
			err := planError(t, folder, "add_orcid", changed(withOrcid))
			if err == nil || !strings.Contains(err.Error(), "by hand") || !strings.Contains(err.Error(), name) {
				t.Errorf("error = %v, want its name and what to do", err)
			}
		})
	}
}
