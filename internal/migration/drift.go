package migration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"ariga.io/atlas/sql/migrate"
	"ariga.io/atlas/sql/schema"
	"ariga.io/atlas/sql/sqlite"
	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/database"
)

// ErrDrift is what Apply and Down answer when the database is not what its applied migrations make.
var ErrDrift = errors.New("database has drifted from its migrations")

// snapshot is all that migrations make in a database.
type snapshot struct {
	schema *schema.Schema
	others map[string]string // by kind and name, what Atlas's packages do not look at
}

func inspectState(ctx context.Context, db *database.DB) (snapshot, error) {
	tables, err := inspect(ctx, db)
	if err != nil {
		return snapshot{}, err
	}
	others, err := inspectOthers(ctx, db)
	return snapshot{tables, others}, err
}

const othersSQLite = `SELECT type || ' ' || name || CASE type WHEN 'trigger' THEN ' of ' || tbl_name ELSE '' END, sql, '' FROM sqlite_master WHERE type IN ('trigger', 'view')
	UNION ALL SELECT 'clauses of ' || type || ' ' || name, sql, '' FROM sqlite_master WHERE type IN ('table', 'index') AND sql IS NOT NULL AND name NOT LIKE 'atlas!_%' ESCAPE '!'`

// Those that belong to an extension do not count.
const othersPostgres = `WITH own AS (SELECT pg_catalog.quote_ident(pg_catalog.current_schema())::regnamespace AS schema, pg_catalog.quote_ident(pg_catalog.current_schema()) || '.' AS prefix)
SELECT name, definition, prefix FROM own, LATERAL (
	SELECT 'view ' || relname AS name, pg_get_viewdef(oid) AS definition, 'pg_class'::regclass AS catalog, oid FROM pg_class WHERE relnamespace = schema AND relkind IN ('v', 'm')
	UNION ALL SELECT 'function ' || oid::regprocedure, pg_get_functiondef(oid), 'pg_proc'::regclass, oid FROM pg_proc WHERE pronamespace = schema AND prokind IN ('f', 'p')
	UNION ALL SELECT 'trigger ' || t.tgname || ' of ' || c.relname, pg_get_triggerdef(t.oid, true), 'pg_class'::regclass, c.oid FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = schema AND NOT t.tgisinternal
	UNION ALL SELECT 'rule ' || r.rulename || ' of ' || c.relname, pg_get_ruledef(r.oid), 'pg_class'::regclass, c.oid FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class WHERE c.relnamespace = schema AND r.rulename <> '_RETURN'
	UNION ALL SELECT 'policy ' || p.polname || ' of ' || c.relname, pg_catalog.concat_ws(' ', p.polcmd, pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)), 'pg_class'::regclass, c.oid FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE c.relnamespace = schema
	UNION ALL SELECT 'row security of ' || relname, CASE WHEN relforcerowsecurity THEN 'forced' ELSE 'on' END, 'pg_class'::regclass, oid FROM pg_class WHERE relnamespace = schema AND relrowsecurity
	UNION ALL SELECT 'sequence ' || relname, '', 'pg_class'::regclass, oid FROM pg_class c WHERE relnamespace = schema AND relkind = 'S' AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i'))
	UNION ALL SELECT 'index ' || c.relname, 'not valid', 'pg_class'::regclass, c.oid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relnamespace = schema AND NOT i.indisvalid
	UNION ALL SELECT 'constraint ' || conname || ' of ' || conrelid::regclass, 'not validated', 'pg_constraint'::regclass, oid FROM pg_constraint WHERE connamespace = schema AND NOT convalidated
	UNION ALL SELECT 'foreign key ' || conname || ' of ' || relname, 'deferrable', 'pg_constraint'::regclass, f.oid FROM pg_constraint f JOIN pg_class c ON c.oid = conrelid WHERE relnamespace = schema AND contype = 'f' AND condeferrable
	UNION ALL SELECT DISTINCT 'triggers of ' || relname || ', foreign keys among them,', 'disabled', 'pg_class'::regclass, c.oid FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid WHERE relnamespace = schema AND tgenabled <> 'O'
	UNION ALL SELECT 'unlogged table ' || relname, '', 'pg_class'::regclass, oid FROM pg_class WHERE relnamespace = schema AND relkind = 'r' AND relpersistence = 'u'
	UNION ALL SELECT 'collation of column ' || relname || '.' || attname, collname, 'pg_class'::regclass, c.oid FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid JOIN pg_type t ON t.oid = atttypid JOIN pg_collation l ON l.oid = attcollation WHERE relnamespace = schema AND relkind = 'r' AND attcollation <> typcollation
	UNION ALL SELECT 'collation of index ' || c.relname || ', column ' || a.attname, collname, 'pg_class'::regclass, c.oid FROM pg_index i JOIN pg_class c ON c.oid = indexrelid CROSS JOIN unnest(indkey, indcollation) AS k (number, coll) JOIN pg_attribute a ON a.attrelid = indrelid AND attnum = number JOIN pg_collation l ON l.oid = k.coll WHERE c.relnamespace = schema AND k.coll <> attcollation
	UNION ALL SELECT 'type ' || typname, typtype::text, 'pg_type'::regclass, t.oid FROM pg_type t WHERE typnamespace = schema AND (typtype IN ('e', 'd', 'r') OR typtype = 'c' AND EXISTS (SELECT FROM pg_class c WHERE c.oid = typrelid AND relkind = 'c'))
) AS found WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = found.catalog AND d.objid = found.oid AND d.deptype = 'e')`

// inspectOthers returns the definitions of triggers, views and the like.
func inspectOthers(ctx context.Context, db *database.DB) (others map[string]string, err error) {
	query := othersSQLite
	if db.Dialect() == dialect.Postgres {
		query = othersPostgres
	}
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", db.Name(), err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	others = make(map[string]string)
	for rows.Next() {
		var name, definition, prefix string
		if err := rows.Scan(&name, &definition, &prefix); err != nil {
			return nil, fmt.Errorf("inspect %s: %w", db.Name(), err)
		}
		if strings.HasPrefix(name, "clauses of ") {
			if definition = clauses(definition); definition == "" {
				continue
			}
		}
		others[name] = fold(unqualified(definition, prefix))
	}
	return others, rows.Err()
}

// unqualified is a definition without the name of the schema, which is another one where files are tried out.
func unqualified(definition, prefix string) string {
	if prefix == "" {
		return definition
	}
	return regexp.MustCompile(`(^|[^\pL\d_$"])`+regexp.QuoteMeta(prefix)).ReplaceAllString(definition, "$1")
}

// clauses returns those of a table or index of SQLite that Atlas's packages do not read. The rest of the
// text may be written in several ways.
func clauses(definition string) string {
	definition = literal.ReplaceAllString(definition, "''")
	return strings.ToUpper(strings.Join(clause.FindAllString(definition, -1), ", "))
}

var (
	literal = regexp.MustCompile(`'(?:[^']|'')*'`)
	clause  = regexp.MustCompile(`(?i)\bCOLLATE\s+\S+?\b|\b(?:NOT\s+)?DEFERRABLE(?:\s+INITIALLY\s+\w+)?|\bON\s+CONFLICT\s+\w+`)
)

// Drift names every difference between the database and what its applied migrations make. A file that
// stopped half-way is not looked into: Apply goes on with it.
func (m *Migrator) Drift(ctx context.Context, dev *Dev) ([]string, error) {
	for {
		files, err := m.Status(ctx)
		if err != nil {
			return nil, err
		}
		all, err := m.dir.Files()
		if err != nil {
			return nil, fmt.Errorf("read the migrations: %w", err)
		}
		applied := 0
		for applied < len(files) && !files[applied].Pending() {
			applied++
		}
		if m.halfDone(files) != nil {
			return nil, nil
		}
		should := snapshot{schema: schema.New("")}
		if applied > 0 {
			if should, err = dev.replay(ctx, all[:applied]); err != nil {
				return nil, fmt.Errorf("try out what is applied: %w", err)
			}
		}
		is, err := inspectState(ctx, m.db)
		if err != nil {
			return nil, err
		}
		dev.settleTexts(ctx, all[:applied], is, should)
		different, err := differences(ctx, m.db, is, should)
		if err != nil || len(different) == 0 {
			return nil, err
		}
		// Another process may have migrated while this one looked.
		again, err := m.Status(ctx)
		if err != nil || slices.Equal(again, files) {
			return different, err
		}
	}
}

// settleTexts writes the checks of is that mean what those of should do as they are written there: after a
// dump and its restoration PostgreSQL may write one otherwise.
func (d *Dev) settleTexts(ctx context.Context, files []migrate.File, is, should snapshot) {
	if d.db.Dialect() != dialect.Postgres {
		return
	}
	for _, want := range should.schema.Tables {
		got, ok := is.schema.Table(want.Name)
		if !ok {
			continue
		}
		texts := checkTexts(want)
		for _, attribute := range got.Attrs {
			check, ok := attribute.(*schema.Check)
			if !ok {
				continue
			}
			if text := texts[check.Name]; text != "" && fold(check.Expr) != text && d.sameMeaning(ctx, files, want.Name, check.Expr, text) {
				check.Expr = text
			}
		}
	}
}

// sameMeaning reports whether PostgreSQL understands two conditions alike.
func (d *Dev) sameMeaning(ctx context.Context, files []migrate.File, table, one, other string) (same bool) {
	err := d.try(ctx, func(ctx context.Context) error {
		for _, file := range files {
			if err := runInTx(ctx, d.db, file, nil); err != nil {
				return err
			}
		}
		// The second reading is stable.
		twice := func(condition string) string { return d.understood(ctx, table, d.understood(ctx, table, condition)) }
		same = twice(one) == twice(other)
		return nil
	})
	return same && err == nil
}

// checkDrift refuses a database that is not what its applied migrations make.
func (m *Migrator) checkDrift(ctx context.Context, dev *Dev) error {
	different, err := m.Drift(ctx, dev)
	if err != nil || len(different) == 0 {
		return err
	}
	return fmt.Errorf("%w: %s: undo by hand what was changed by hand, or plan a migration for it", ErrDrift, strings.Join(different, "; "))
}

// differences says in words how a database is not as it should be.
func differences(ctx context.Context, db *database.DB, is, should snapshot) ([]string, error) {
	driver, err := openDriver(ctx, db)
	if err != nil {
		return nil, err
	}
	// It fits the names of one side to those of the other.
	changes, err := driver.SchemaDiff(is.schema, should.schema)
	if err != nil {
		return nil, fmt.Errorf("compare the schemas: %w", err)
	}
	var out []string
	for _, change := range changes {
		out = append(out, describe(change)...)
	}
	out = append(out, looseDifferences(is.schema, should.schema, db.Dialect() == dialect.SQLite, out)...)
	slices.Sort(out)
	out = slices.Compact(out)
	for _, name := range slices.Sorted(maps.Keys(should.others)) {
		if definition, ok := is.others[name]; !ok {
			out = append(out, name+" is missing")
		} else if definition != should.others[name] {
			out = append(out, name+" is defined otherwise")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(is.others)) {
		if _, ok := should.others[name]; !ok {
			out = append(out, surplus(name, is.others[name]))
		}
	}
	for i, line := range out { // Names may hold what a terminal obeys.
		if strings.ContainsFunc(line, unicode.IsControl) {
			out[i] = strconv.Quote(line)
		}
	}
	return out, nil
}

// surplus says that something is there, or is in a state, that no file makes.
func surplus(name, definition string) string {
	switch definition {
	case "not valid", "not validated", "deferrable", "disabled", "on", "forced":
		return name + " is " + definition
	case "":
		return name + " should not be there"
	}
	return name + " should not be there: " + definition
}

// describe says what a change would mend.
func describe(change schema.Change) []string {
	switch c := change.(type) {
	case *schema.AddTable:
		return []string{"table " + c.T.Name + " is missing"}
	case *schema.DropTable:
		return []string{"table " + c.T.Name + " should not be there"}
	case *schema.ModifyTable:
		var out []string
		for _, inner := range c.Changes {
			out = append(out, describePart(c.T.Name, inner))
		}
		return out
	case *schema.AddObject, *schema.DropObject, *schema.ModifyObject:
		return nil // A type, which inspectOthers has found.
	}
	return []string{fmt.Sprintf("%T", change)}
}

func describePart(table string, change schema.Change) string {
	const missing, extra = " is missing", " should not be there"
	switch c := change.(type) {
	case *schema.AddColumn:
		return "column " + table + "." + c.C.Name + missing
	case *schema.DropColumn:
		return "column " + table + "." + c.C.Name + extra
	case *schema.ModifyColumn:
		return "column " + table + "." + c.From.Name + " differs in " + kinds(c.Change)
	case *schema.AddIndex:
		return "index " + c.I.Name + " of " + table + missing
	case *schema.DropIndex:
		return "index " + c.I.Name + " of " + table + extra
	case *schema.ModifyIndex:
		return "index " + c.From.Name + " of " + table + " differs in " + kinds(c.Change)
	case *schema.AddPrimaryKey:
		return "primary key of " + table + missing
	case *schema.DropPrimaryKey:
		return "primary key of " + table + extra
	case *schema.ModifyPrimaryKey:
		return "primary key of " + table + " differs in " + kinds(c.Change)
	case *schema.AddForeignKey:
		return "foreign key " + c.F.Symbol + " of " + table + missing
	case *schema.DropForeignKey:
		return "foreign key " + c.F.Symbol + " of " + table + extra
	case *schema.ModifyForeignKey:
		return "foreign key " + c.From.Symbol + " of " + table + " differs in " + kinds(c.Change)
	case *schema.AddCheck:
		return "check " + cmp.Or(c.C.Name, c.C.Expr) + " of " + table + missing
	case *schema.DropCheck:
		return "check " + cmp.Or(c.C.Name, c.C.Expr) + " of " + table + extra
	case *schema.ModifyCheck:
		return "check " + c.From.Name + " of " + table + ": " + c.From.Expr + " should be " + c.To.Expr
	}
	return fmt.Sprintf("table %s needs %T", table, change)
}

// kinds names what differs.
func kinds(change schema.ChangeKind) string {
	var out []string
	for _, kind := range []struct {
		bit  schema.ChangeKind
		name string
	}{
		{schema.ChangeAttr, "attributes"},
		{schema.ChangeCollate, "collation"},
		{schema.ChangeComment, "comment"},
		{schema.ChangeNull, "nullability"},
		{schema.ChangeType, "type"},
		{schema.ChangeDefault, "default"},
		{schema.ChangeGenerated, "generation"},
		{schema.ChangeUnique, "uniqueness"},
		{schema.ChangeParts, "columns"},
		{schema.ChangeColumn, "columns"},
		{schema.ChangeRefColumn, "referenced columns"},
		{schema.ChangeRefTable, "referenced table"},
		{schema.ChangeUpdateAction, "ON UPDATE"},
		{schema.ChangeDeleteAction, "ON DELETE"},
	} {
		if change.Is(kind.bit) {
			out = append(out, kind.name)
		}
	}
	return strings.Join(out, ", ")
}

// looseDifferences finds what Atlas takes for equal: checks of one name and, in SQLite, types of one
// affinity, and an id that is not AUTOINCREMENT. What is said already is not said again.
func looseDifferences(is, should *schema.Schema, isSQLite bool, said []string) []string {
	var out []string
	for _, want := range should.Tables {
		got, ok := is.Table(want.Name)
		if !ok {
			continue
		}
		if autoIncrement(got) != autoIncrement(want) {
			out = append(out, "primary key of "+want.Name+" differs in AUTOINCREMENT")
		}
		texts := checkTexts(got)
		for name, text := range checkTexts(want) {
			if found, ok := texts[name]; ok && found != text {
				out = append(out, "check "+name+" of "+want.Name+": "+found+" should be "+text)
			}
		}
		for _, column := range want.Columns {
			found, ok := got.Column(column.Name)
			if !ok {
				continue
			}
			line := "column " + want.Name + "." + column.Name + " differs in "
			if isSQLite && !strings.EqualFold(found.Type.Raw, column.Type.Raw) && !slices.ContainsFunc(said, func(s string) bool { return strings.HasPrefix(s, line) }) {
				out = append(out, line+"type")
			}
		}
	}
	return out
}

// fold makes one space of each white space that is not in quotes.
func fold(text string) string {
	parts := strings.Split(text, "'")
	for i := 0; i < len(parts); i += 2 {
		parts[i] = spaces.ReplaceAllString(parts[i], " ")
	}
	return strings.TrimSpace(strings.Join(parts, "'"))
}

var spaces = regexp.MustCompile(`\s+`)

func checkTexts(table *schema.Table) map[string]string {
	out := make(map[string]string)
	for _, attribute := range table.Attrs {
		if check, ok := attribute.(*schema.Check); ok {
			out[check.Name] = fold(check.Expr)
		}
	}
	return out
}

// autoIncrement reports whether SQLite never gives an id of the table a second time.
func autoIncrement(table *schema.Table) bool {
	return table.PrimaryKey != nil && slices.ContainsFunc(table.PrimaryKey.Attrs, func(a schema.Attr) bool { _, ok := a.(*sqlite.AutoIncrement); return ok })
}
