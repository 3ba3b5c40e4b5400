package migration

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ariga.io/atlas/sql/migrate"
	"ariga.io/atlas/sql/postgres"
	"ariga.io/atlas/sql/schema"
	"ariga.io/atlas/sql/sqlcheck"
	"ariga.io/atlas/sql/sqlite"
)

const ownRulesName = "reviewpoint"

// ownRules is what Atlas has no analyzer for, or none in its public packages.
type ownRules struct{ *script }

// Name is what a nolint may call it.
func (ownRules) Name() string { return ownRulesName }

// Analyze implements sqlcheck.Analyzer.
func (o ownRules) Analyze(_ context.Context, pass *sqlcheck.Pass) error {
	r := &diagnostics{}
	o.checkProblems(r)
	o.checkEmptied(r)
	o.checkOutside(r)
	if o.start.catalog != nil {
		for _, step := range o.steps {
			o.checkTypes(r, step)
			o.checkIndexes(r, step)
			o.checkWritten(r, step)
			o.checkConstraints(r, step)
			o.checkNotNull(r, step)
		}
	}
	for _, rebuilt := range o.rebuilds {
		o.checkRebuild(r, rebuilt)
	}
	if len(r.found) > 0 {
		pass.Reporter.WriteReport(sqlcheck.Report{Text: "reviewpoint's own rules", Diagnostics: r.found})
	}
	return nil
}

type diagnostics struct{ found []sqlcheck.Diagnostic }

func (r *diagnostics) add(step *performed, code, reason string, args ...any) {
	r.found = append(r.found, sqlcheck.Diagnostic{Pos: step.statement.Pos, Code: code, Text: fmt.Sprintf(reason, args...)})
}

// safer says what to do instead of what was added last, where the code alone does not tell.
func (r *diagnostics) safer(way string) { r.found[len(r.found)-1].SuggestFix(way, nil) }

// older returns the tables that are older than the file and were there before and after the statement, by name.
func (s *script) older(step *performed) []int64 {
	var found []int64
	for oid, start := range s.start.catalog.relations {
		_, before := step.before.catalog.relations[oid]
		_, after := step.after.catalog.relations[oid]
		if start.table == oid && before && after {
			found = append(found, oid)
		}
	}
	slices.SortFunc(found, func(a, b int64) int {
		return strings.Compare(step.after.catalog.relations[a].name, step.after.catalog.relations[b].name)
	})
	return found
}

// rewrites reports whether the statement wrote the table anew.
func (step *performed) rewrites(table int64) bool {
	return step.before.catalog.relations[table].file != step.after.catalog.relations[table].file
}

// scansTable reports whether the statement read the table, by an index of it or without.
func (step *performed) scansTable(table int64) bool {
	if !step.after.catalog.counts {
		return true
	}
	for oid, before := range step.before.catalog.relations {
		if after, ok := step.after.catalog.relations[oid]; ok && before.table == table && after.scans > before.scans {
			return true
		}
	}
	return false
}

// scans reports whether the statement read any table.
func (step *performed) scans() bool {
	for oid := range step.after.catalog.relations {
		if step.scansTable(oid) {
			return true
		}
	}
	return false
}

// modified returns what the statement changed of the table.
func (step *performed) modified(name string) schema.Changes {
	for _, change := range step.changes {
		if change, ok := change.(*schema.ModifyTable); ok && change.T.Name == name {
			return change.Changes
		}
	}
	return nil
}

func (o ownRules) checkProblems(r *diagnostics) {
	for _, step := range o.steps {
		if step.problem != nil {
			r.add(step, "RP107", "It cannot be told what this changes: %v", step.problem)
		}
	}
}

// checkTypes looks for types that do not hold what the old ones did.
func (o ownRules) checkTypes(r *diagnostics, step *performed) {
	for _, change := range step.changes {
		modified, ok := change.(*schema.ModifyTable)
		if !ok {
			continue
		}
		for _, change := range modified.Changes {
			if column, ok := change.(*schema.ModifyColumn); ok && column.Change.Is(schema.ChangeType) {
				o.checkType(r, step, modified.T.Name, column.From, column.To)
			}
		}
	}
}

func (o ownRules) checkType(r *diagnostics, step *performed, table string, from, to *schema.Column) {
	if loses(from.Type.Type, to.Type.Type, o.dialect == "sqlite") {
		r.add(step, "RP102", "Changing column %q of table %q from %s to %s fails or loses something where a value does not fit", to.Name, table, o.typeName(from), o.typeName(to))
	}
}

func (s *script) typeName(column *schema.Column) string {
	format := postgres.FormatType
	if s.dialect == "sqlite" {
		format = sqlite.FormatType
	}
	if name, err := format(column.Type.Type); err == nil {
		return name
	}
	return column.Type.Raw
}

// checkEmptied looks for statements that remove all rows of a table.
func (o ownRules) checkEmptied(r *diagnostics) {
	for _, step := range o.steps {
		for _, table := range o.start.tables.Tables {
			if step.sql.empties(table.Name) {
				r.add(step, "RP108", "Every row of table %q is removed", table.Name)
			}
		}
	}
}

// checkOutside looks at what is done outside of a transaction, and at what ought to be.
func (o ownRules) checkOutside(r *diagnostics) {
	outside := o.outside()
	once := 0
	for _, step := range o.steps {
		if !outside {
			if step.sql.concurrent() {
				r.add(step, "PG103", "PostgreSQL refuses CONCURRENTLY in a transaction, and the file does not say -- atlas:txmode none in its head")
			}
			continue
		}
		if !step.sql.repeatable() {
			once++
		}
		switch {
		case len(o.steps) == 1, step.sql.sets():
		case !step.sql.alone():
			r.add(step, "RP101", "This could be in a transaction, and stays behind when another statement of the file fails")
		case !step.sql.repeatable() && once > 1:
			r.add(step, "RP101", "When this fails, the file cannot be applied again, for a statement before it has run and cannot run twice")
		}
	}
}

// outside reports whether the file asks for no transaction.
func (s *script) outside() bool {
	return slices.Contains(directives(s.file, "txmode"), "none")
}

func directives(file migrate.File, name string) []string {
	if commented, ok := file.(interface{ Directive(name string) []string }); ok {
		return commented.Directive(name)
	}
	return nil
}

// checkIndexes looks for indexes that are built or dropped while nobody can write.
func (o ownRules) checkIndexes(r *diagnostics, step *performed) {
	var (
		before, after = step.before.catalog, step.after.catalog
		files         = make(map[int64]bool)
		_, creates    = step.sql.createsIndex()
		retyped       = step.sql.retyped()
	)
	for _, found := range before.relations {
		files[found.file] = true
	}
	for _, table := range o.older(step) {
		name := after.relations[table].name
		for _, oid := range slices.Sorted(maps.Keys(after.relations)) {
			index := after.relations[oid]
			if index.table != table || oid == table || files[index.file] {
				continue
			}
			made, _ := after.of(oid)
			added := made.name != "" && (len(retyped) == 0 || !before.has(table, made.name) || step.sql.has("ADD"))
			switch {
			case creates && !step.sql.concurrent():
				r.add(step, "PG101", "Building the index %q blocks writes to table %q until it is done", index.name, name)
			case creates, step.rewrites(table):
			case added && made.kind == "p":
				r.add(step, "PG104", "Building the index of the primary key blocks reads and writes of table %q until it is done", name)
			case added:
				r.add(step, "PG105", "Building the index of the constraint %q blocks reads and writes of table %q until it is done", made.name, name)
			case len(retyped) > 0:
				r.add(step, "PG301", "Changing the type of %s of table %q builds the index %q anew, and blocks reads and writes until it is done", quoteColumns(retyped), name, index.name)
				r.safer("DROP INDEX CONCURRENTLY before, and CREATE INDEX CONCURRENTLY after, each" + ownFile + "; or leave the type, and bound it by a CHECK.")
			}
		}
		for oid, index := range before.relations {
			if _, kept := after.relations[oid]; !kept && index.table == table && step.sql.at(0, "DROP", "INDEX") && !step.sql.concurrent() {
				r.add(step, "PG102", "Dropping the index %q waits for everybody who uses table %q, and blocks its reads and writes meanwhile", index.name, name)
			}
		}
	}
}

// checkWritten looks for tables that are written anew.
func (o ownRules) checkWritten(r *diagnostics, step *performed) {
	for _, table := range o.older(step) {
		name := step.after.catalog.relations[table].name
		if !step.rewrites(table) {
			continue
		}
		retyped, computed := step.sql.retyped(), step.computed(name)
		if len(retyped) > 0 {
			r.add(step, "PG301", "Changing the type of %s writes table %q and its indexes anew, and blocks reads and writes until it is done", quoteColumns(retyped), name)
		}
		if len(computed) > 0 {
			r.add(step, "PG302", "Each row gets a value of its own in %s: that writes table %q and its indexes anew, and blocks reads and writes until it is done", quoteColumns(computed), name)
		}
		if len(retyped)+len(computed) == 0 {
			r.add(step, "RP106", "This writes table %q and its indexes anew, and blocks reads and writes until it is done", name)
		}
	}
}

// computed returns the new columns of the table that may need a value in each row.
func (step *performed) computed(table string) []string {
	var columns []string
	for _, change := range step.modified(table) {
		add, ok := change.(*schema.AddColumn)
		if !ok {
			continue
		}
		_, expression := add.C.Default.(*schema.RawExpr)
		_, domain := add.C.Type.Type.(*postgres.UserDefinedType) // so Atlas sees it
		if expression || domain || computed(add.C) {
			columns = append(columns, add.C.Name)
		}
	}
	return columns
}

// computed reports whether the database fills the column without a DEFAULT.
func computed(column *schema.Column) bool {
	if _, ok := column.Type.Type.(*postgres.SerialType); ok {
		return true
	}
	return slices.ContainsFunc(column.Attrs, func(attribute schema.Attr) bool {
		switch attribute.(type) {
		case *postgres.Identity, *schema.GeneratedExpr:
			return true
		default:
			return false
		}
	})
}

// checkConstraints looks for constraints that are tried on all rows while nobody can write.
func (o ownRules) checkConstraints(r *diagnostics, step *performed) {
	codes := map[string]string{"c": "PG305", "f": "PG306"}
	blocked := map[string]string{"c": "reads and writes", "f": "writes"}
	before, after := step.before.catalog, step.after.catalog
	for _, table := range o.older(step) {
		name := after.relations[table].name
		if !step.scansTable(table) {
			continue
		}
		for _, oid := range slices.Sorted(maps.Keys(after.constraints)) {
			added := after.constraints[oid]
			old, known := before.constraints[oid]
			if added.table != table || codes[added.kind] == "" || !added.validated || known && old.validated {
				continue
			}
			retyped := step.sql.retyped()
			again := !known && len(retyped) > 0 && before.has(table, added.name) && !step.sql.has("ADD")
			_, older := o.start.catalog.constraints[oid]
			switch {
			case known && (older || o.outside()): // what NOT VALID is for
			case known:
				r.add(step, codes[added.kind], "The constraint %q is tried on all rows in the transaction that has added it, which blocks reads and writes of table %q until it is done", added.name, name)
			case again && step.rewrites(table), again && added.kind == "f":
			case again:
				r.add(step, "PG305", "Changing the type of %s tries the constraint %q on all rows again, and blocks reads and writes of table %q until it is done", quoteColumns(retyped), added.name, name)
				r.safer("Drop the constraint in the same statement, ADD it again NOT VALID, and VALIDATE CONSTRAINT in a later file.")
			default:
				r.add(step, codes[added.kind], "The constraint %q is tried on all rows, which blocks %s of table %q until it is done", added.name, blocked[added.kind], name)
			}
		}
	}
}

// checkNotNull looks for columns that become NOT NULL by a look at all rows.
func (o ownRules) checkNotNull(r *diagnostics, step *performed) {
	for _, table := range o.older(step) {
		name := step.after.catalog.relations[table].name
		if !step.scansTable(table) {
			continue
		}
		for _, change := range step.modified(name) {
			column, ok := change.(*schema.ModifyColumn)
			if !ok || !column.From.Type.Null || column.To.Type.Null {
				continue
			}
			switch {
			case step.sql.has("PRIMARY", "KEY", "USING", "INDEX"):
				r.add(step, "PG304", "The primary key makes column %q NOT NULL, which reads all of table %q and blocks reads and writes until it is done", column.To.Name, name)
			case !step.sql.has("PRIMARY", "KEY"): // else PG104 says it
				r.add(step, "PG303", "Making column %q NOT NULL reads all of table %q, and blocks reads and writes until it is done", column.To.Name, name)
			}
		}
	}
}

func quoteColumns(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = fmt.Sprintf("%q", name)
	}
	return "column " + strings.Join(quoted, " and ")
}

// copied returns the columns that a rebuild fills, and whether it copies any rows at all.
func (s *script) copied(r *rebuild) (columns []string, rows bool) {
	for _, step := range s.steps[r.create:r.drop] {
		named, ok := step.sql.inserts(r.temporary)
		if !ok {
			continue
		}
		rows = true
		if named == nil {
			for _, column := range r.to.Columns {
				named = append(named, column.Name)
			}
		}
		columns = append(columns, named...)
	}
	return columns, rows
}

// checkRebuild looks for what a rebuild forgets.
func (o ownRules) checkRebuild(r *diagnostics, rebuilt *rebuild) {
	if !slices.ContainsFunc(o.start.tables.Tables, func(table *schema.Table) bool { return table.Name == rebuilt.to.Name }) {
		return
	}
	var (
		create, name = o.steps[rebuilt.create], rebuilt.to.Name
		last         = o.steps[len(o.steps)-1].after.master
	)
	if autoIncrement(rebuilt.from) && last.sequences[name] < highest {
		r.add(create, "RP103", "The rebuild of table %q forgets its highest id, so that ids of deleted rows are given again", name)
		r.safer(fmt.Sprintf("Before the CREATE: INSERT INTO sqlite_sequence (name, seq) SELECT '%s', seq FROM sqlite_sequence WHERE name = '%s';", rebuilt.temporary, name))
	}
	drop := o.steps[rebuilt.drop]
	for _, trigger := range drop.before.master.triggers {
		if !slices.Contains(drop.after.master.triggers, trigger) && !slices.Contains(last.triggers, trigger) {
			r.add(create, "RP104", "The rebuild of table %q drops its trigger %q, and does not make it again", name, trigger)
		}
	}
	columns, rows := o.copied(rebuilt)
	if !rows {
		r.add(create, "RP105", "The rebuild of table %q copies no rows", name)
		return
	}
	for _, column := range rebuilt.to.Columns {
		old, both := rebuilt.from.Column(column.Name)
		if both { // Atlas sees no length in a type of SQLite.
			o.checkType(r, create, name, old, column)
		}
		if both && !computed(column) && !slices.ContainsFunc(columns, func(name string) bool { return strings.EqualFold(name, column.Name) }) {
			r.add(create, "RP105", "The rebuild of table %q does not copy column %q", name, column.Name)
		}
	}
}
