package migration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

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

const othersSQLite = `SELECT type || ' ' || name, sql FROM sqlite_master WHERE type IN ('trigger', 'view')`

// Those that belong to an extension do not count.
const othersPostgres = `WITH own AS (SELECT current_schema()::regnamespace AS schema, quote_ident(current_schema()) || '.' AS prefix)
SELECT name, replace(definition, prefix, '') FROM own, LATERAL (
	SELECT 'view ' || relname AS name, pg_get_viewdef(oid) AS definition, 'pg_class'::regclass AS catalog, oid FROM pg_class WHERE relnamespace = schema AND relkind IN ('v', 'm')
	UNION ALL SELECT 'function ' || oid::regprocedure, pg_get_functiondef(oid), 'pg_proc'::regclass, oid FROM pg_proc WHERE pronamespace = schema AND prokind IN ('f', 'p')
	UNION ALL SELECT 'trigger ' || t.tgname || ' of ' || c.relname, pg_get_triggerdef(t.oid, true), 'pg_class'::regclass, c.oid FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = schema AND NOT t.tgisinternal
	UNION ALL SELECT 'rule ' || r.rulename || ' of ' || c.relname, pg_get_ruledef(r.oid), 'pg_class'::regclass, c.oid FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class WHERE c.relnamespace = schema AND r.rulename <> '_RETURN'
	UNION ALL SELECT 'policy ' || p.polname || ' of ' || c.relname, concat_ws(' ', p.polcmd, pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)), 'pg_class'::regclass, c.oid FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE c.relnamespace = schema
	UNION ALL SELECT 'row security of ' || relname, 'on', 'pg_class'::regclass, oid FROM pg_class WHERE relnamespace = schema AND relrowsecurity
	UNION ALL SELECT 'sequence ' || relname, '', 'pg_class'::regclass, oid FROM pg_class c WHERE relnamespace = schema AND relkind = 'S' AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i'))
	UNION ALL SELECT 'index ' || c.relname, 'not valid', 'pg_class'::regclass, c.oid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relnamespace = schema AND NOT i.indisvalid
	UNION ALL SELECT 'constraint ' || conname || ' of ' || conrelid::regclass, 'not validated', 'pg_constraint'::regclass, oid FROM pg_constraint WHERE connamespace = schema AND NOT convalidated
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
		var name, definition string
		if err := rows.Scan(&name, &definition); err != nil {
			return nil, fmt.Errorf("inspect %s: %w", db.Name(), err)
		}
		others[name] = strings.Join(strings.Fields(definition), " ")
	}
	return others, rows.Err()
}

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
		should, err := dev.replay(ctx, all[:applied])
		if err != nil {
			return nil, err
		}
		is, err := inspectState(ctx, m.db)
		if err != nil {
			return nil, err
		}
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
	if db.Dialect() == dialect.SQLite {
		out = append(out, looseDifferences(is.schema, should.schema)...)
	}
	for _, name := range slices.Sorted(maps.Keys(should.others)) {
		if definition, ok := is.others[name]; !ok {
			out = append(out, name+" is missing")
		} else if definition != should.others[name] {
			out = append(out, name+" is defined otherwise")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(is.others)) {
		if _, ok := should.others[name]; !ok {
			out = append(out, strings.TrimSuffix(name+" should not be there: "+is.others[name], ": "))
		}
	}
	return out, nil
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
		return "check " + c.C.Name + " of " + table + missing
	case *schema.DropCheck:
		return "check " + c.C.Name + " of " + table + extra
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

// looseDifferences finds what Atlas takes for equal in SQLite: checks of one name, types of one
// affinity, and an id that is not AUTOINCREMENT.
func looseDifferences(is, should *schema.Schema) []string {
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
			if !strings.EqualFold(found.Type.Raw, column.Type.Raw) {
				out = append(out, "column "+want.Name+"."+column.Name+" differs in type")
			}
		}
	}
	slices.Sort(out)
	return out
}

func checkTexts(table *schema.Table) map[string]string {
	out := make(map[string]string)
	for _, attribute := range table.Attrs {
		if check, ok := attribute.(*schema.Check); ok {
			out[check.Name] = strings.Join(strings.Fields(check.Expr), " ")
		}
	}
	return out
}

// autoIncrement reports whether SQLite never gives an id of the table a second time.
func autoIncrement(table *schema.Table) bool {
	return table.PrimaryKey != nil && slices.ContainsFunc(table.PrimaryKey.Attrs, func(a schema.Attr) bool { _, ok := a.(*sqlite.AutoIncrement); return ok })
}
