package migration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"ariga.io/atlas/sql/migrate"
	"ariga.io/atlas/sql/postgres"
	"ariga.io/atlas/sql/schema"
	"ariga.io/atlas/sql/sqlcheck"
	"ariga.io/atlas/sql/sqlite"

	"github.com/reviewpoint/models/internal/database"
)

// tokens is a statement without its comments and spaces.
type tokens []token

type token struct {
	text   string // of a name in quotes what is between them
	quoted bool   // a name in quotes
}

var lexemes = regexp.MustCompile(`(?s)^(?:\s+|--[^\n]*|/\*.*?\*/)|^[Ee]'(?:[^'\\]|''|\\.)*'|^'(?:[^']|'')*'|^"(?:[^"]|"")*"|^` + "`(?:[^`]|``)*`" + `|^[\pL_][\pL\d_$]*|^\d[\d.]*|^.`)

var dollarQuote = regexp.MustCompile(`^\$(?:[\pL_][\pL\d_]*)?\$`)

func scanSQL(statement string) tokens {
	var found tokens
	for rest := statement; rest != ""; {
		text := lexemes.FindString(rest)
		if tag := dollarQuote.FindString(rest); tag != "" {
			text = rest
			if end := strings.Index(rest[len(tag):], tag); end >= 0 {
				text = rest[:len(tag)+end+len(tag)]
			}
		}
		rest = rest[len(text):]
		switch {
		case strings.TrimSpace(text) == "", strings.HasPrefix(text, "--"), strings.HasPrefix(text, "/*"):
		case len(text) > 1 && (text[0] == '"' || text[0] == '`'):
			quote := text[:1]
			found = append(found, token{strings.ReplaceAll(text[1:len(text)-1], quote+quote, quote), true})
		default:
			found = append(found, token{text, false})
		}
	}
	return found
}

// at reports whether these words or signs stand from i on.
func (sql tokens) at(i int, words ...string) bool {
	if i < 0 || i+len(words) > len(sql) {
		return false
	}
	for j, word := range words {
		if sql[i+j].quoted || !strings.EqualFold(sql[i+j].text, word) {
			return false
		}
	}
	return true
}

// find is the place at which the words stand, or -1.
func (sql tokens) find(words ...string) int {
	for i := range sql {
		if sql.at(i, words...) {
			return i
		}
	}
	return -1
}

func (sql tokens) has(words ...string) bool { return sql.find(words...) >= 0 }

// skip returns the place behind the words, if they stand at i, and else i.
func (sql tokens) skip(i int, words ...string) int {
	if sql.at(i, words...) {
		return i + len(words)
	}
	return i
}

// name reads the name at i, less that of a schema before it, and returns the place behind.
func (sql tokens) name(i int) (name string, next int) {
	for i < len(sql) {
		name = sql[i].text
		i++
		if !sql.at(i, ".") {
			break
		}
		i++
	}
	return name, i
}

func (sql tokens) named(i int, name string) bool {
	found, _ := sql.name(i)
	return strings.EqualFold(found, name)
}

// split returns what stands between commas outside of parentheses, from i on.
func (sql tokens) split(i int) []tokens {
	var (
		parts []tokens
		depth int
	)
	begin := i
	for ; i < len(sql); i++ {
		switch {
		case sql.at(i, "("):
			depth++
		case sql.at(i, ")"):
			depth--
		case depth == 0 && sql.at(i, ","):
			parts = append(parts, sql[begin:i])
			begin = i + 1
		}
	}
	if begin < len(sql) {
		parts = append(parts, sql[begin:])
	}
	return parts
}

// altersTable returns the place behind ALTER TABLE and the table's name.
func (sql tokens) altersTable() (next int, ok bool) {
	if !sql.at(0, "ALTER", "TABLE") {
		return 0, false
	}
	_, next = sql.name(sql.skip(sql.skip(2, "IF", "EXISTS"), "ONLY"))
	return sql.skip(next, "*"), true
}

// createsIndex returns the place behind CREATE INDEX.
func (sql tokens) createsIndex() (next int, ok bool) {
	if !sql.at(0, "CREATE") {
		return 0, false
	}
	i := sql.skip(1, "UNIQUE")
	return i + 1, sql.at(i, "INDEX")
}

// concurrent reports whether the statement is one that PostgreSQL refuses in a transaction.
func (sql tokens) concurrent() bool {
	if i, ok := sql.createsIndex(); ok {
		return sql.at(i, "CONCURRENTLY")
	}
	if sql.at(0, "DROP", "INDEX") {
		return sql.at(2, "CONCURRENTLY")
	}
	return sql.at(0, "REINDEX") && sql.has("CONCURRENTLY") || sql.at(0, "ALTER", "TABLE") && sql.has("DETACH") && sql.has("CONCURRENTLY")
}

// alone reports whether the statement cannot be in a transaction.
func (sql tokens) alone() bool {
	return sql.concurrent() || sql.at(0, "VACUUM") || sql.at(0, "PRAGMA")
}

// repeatable reports whether the statement may run again after it has run.
func (sql tokens) repeatable() bool {
	return sql.has("IF", "EXISTS") || sql.has("IF", "NOT", "EXISTS") || sql.has("OR", "REPLACE") || sql.at(0, "REINDEX") || sql.at(0, "VACUUM") || sql.sets()
}

// sets reports whether the statement changes the session alone.
func (sql tokens) sets() bool { return sql.at(0, "SET") || sql.at(0, "RESET") || sql.at(0, "PRAGMA") }

// retyped returns the columns whose type an ALTER TABLE sets.
func (sql tokens) retyped() []string {
	i, ok := sql.altersTable()
	if !ok {
		return nil
	}
	var columns []string
	for _, action := range sql.split(i) {
		if !action.at(0, "ALTER") {
			continue
		}
		name, next := action.name(action.skip(1, "COLUMN"))
		if action.at(action.skip(next, "SET", "DATA"), "TYPE") {
			columns = append(columns, name)
		}
	}
	return columns
}

// empties reports whether the statement removes every row of the table.
func (sql tokens) empties(table string) bool {
	if sql.at(0, "DELETE", "FROM") {
		return sql.named(sql.skip(2, "ONLY"), table) && !sql.has("WHERE")
	}
	if !sql.at(0, "TRUNCATE") {
		return false
	}
	return slices.ContainsFunc(sql.split(sql.skip(1, "TABLE")), func(part tokens) bool { return part.named(part.skip(0, "ONLY"), table) })
}

// fills reports whether an UPDATE leaves no NULL in the column.
func (sql tokens) fills(table, column string) bool {
	set, where := sql.find("SET"), sql.find("WHERE")
	if !sql.at(0, "UPDATE") || set < 0 || !sql.named(sql.skip(1, "ONLY"), table) {
		return false
	}
	if where < 0 {
		where = len(sql)
	} else if !sql[where:].isNull(column) {
		return false
	}
	return slices.ContainsFunc(sql[:where].split(set+1), func(part tokens) bool { return part.named(0, column) && part.at(1, "=") })
}

// isNull reports whether the condition is that the column is NULL, and no other.
func (sql tokens) isNull(column string) bool {
	_, next := sql.name(1)
	return sql.named(1, column) && sql.at(next, "IS", "NULL") && len(sql.skipEnd(next+2)) == 0
}

// skipEnd returns what stands from i on, less the semicolon.
func (sql tokens) skipEnd(i int) tokens {
	rest := sql[i:]
	if n := len(rest); n > 0 && rest.at(n-1, ";") {
		rest = rest[:n-1]
	}
	return rest
}

// copiesFilled reports whether an INSERT copies the table with something in the place of NULLs of the column.
func (sql tokens) copiesFilled(table, column string) bool {
	from := sql.find("FROM")
	if !sql.at(0, "INSERT") || from < 0 || !sql.named(from+1, table) {
		return false
	}
	for i := range sql[:from] {
		if (sql.at(i, "IFNULL", "(") || sql.at(i, "COALESCE", "(")) && sql.named(i+2, column) {
			return true
		}
	}
	return false
}

func (sql tokens) createsView(name string) bool {
	i := sql.find("VIEW")
	return sql.at(0, "CREATE") && i > 0 && i <= 4 && sql.named(sql.skip(i+1, "IF", "NOT", "EXISTS"), name)
}

// inserts returns the columns that an INSERT into the table names.
func (sql tokens) inserts(table string) (columns []string, ok bool) {
	i := sql.find("INTO")
	if !sql.at(0, "INSERT") && !sql.at(0, "REPLACE") || i < 0 || !sql.named(i+1, table) {
		return nil, false
	}
	_, i = sql.name(i + 1)
	if !sql.at(i, "(") || sql.at(i+1, "SELECT") {
		return nil, true
	}
	for i++; i < len(sql) && !sql.at(i, ")"); i++ {
		if !sql.at(i, ",") {
			columns = append(columns, sql[i].text)
		}
	}
	return columns, true
}

// catalog is what PostgreSQL knows of the tables of the current schema. It tells what a statement did to
// a table better than any rule about statements.
type catalog struct {
	counts      bool // whether scans are counted
	relations   map[int64]relation
	constraints map[int64]constraint
}

// relation is a table or an index.
type relation struct {
	name  string
	table int64 // that of an index; of a table itself
	file  int64 // another one when it was written anew
	scans int64 // in this transaction
}

type constraint struct {
	name         string
	table, index int64
	kind         string
	validated    bool
}

func readCatalog(ctx context.Context, db *database.DB) (read *catalog, err error) {
	read = &catalog{relations: make(map[int64]relation), constraints: make(map[int64]constraint)}
	rows, err := db.QueryContext(ctx, `SELECT c.oid, c.relname, COALESCE(i.indrelid, c.oid), COALESCE(pg_relation_filenode(c.oid), 0),
			COALESCE(pg_stat_get_xact_numscans(c.oid), 0), current_setting('track_counts')::bool
		FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
		WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'm', 'i', 'I')`)
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var (
			oid int64
			r   relation
		)
		if err := rows.Scan(&oid, &r.name, &r.table, &r.file, &r.scans, &read.counts); err != nil {
			return nil, fmt.Errorf("read the catalog: %w", err)
		}
		read.relations[oid] = r
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	return read, read.readConstraints(ctx, db)
}

func (c *catalog) readConstraints(ctx context.Context, db *database.DB) (err error) {
	rows, err := db.QueryContext(ctx, `SELECT oid, conname, conrelid, conindid, contype, convalidated
		FROM pg_constraint WHERE connamespace = current_schema()::regnamespace AND conrelid <> 0`)
	if err != nil {
		return fmt.Errorf("read the catalog: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var (
			oid   int64
			found constraint
		)
		if err := rows.Scan(&oid, &found.name, &found.table, &found.index, &found.kind, &found.validated); err != nil {
			return fmt.Errorf("read the catalog: %w", err)
		}
		c.constraints[oid] = found
	}
	return rows.Err()
}

// has reports whether the table has a constraint of the name.
func (c *catalog) has(table int64, name string) bool {
	for _, found := range c.constraints {
		if found.table == table && found.name == name {
			return true
		}
	}
	return false
}

// of returns the constraint that the index stands for.
func (c *catalog) of(index int64) (constraint, bool) {
	for _, found := range c.constraints {
		if found.index == index && found.kind != "f" {
			return found, true
		}
	}
	return constraint{}, false
}

// master is what SQLite knows and Atlas does not ask.
type master struct {
	triggers  []string
	sequences map[string]int64 // of tables with AUTOINCREMENT
}

func readMaster(ctx context.Context, db *database.DB) (*master, error) {
	triggers, err := scanStrings(ctx, db, "SELECT name FROM sqlite_master WHERE type = 'trigger' ORDER BY name")
	if err != nil {
		return nil, fmt.Errorf("read sqlite_master: %w", err)
	}
	read := &master{triggers: triggers, sequences: make(map[string]int64)}
	exists, err := scanStrings(ctx, db, "SELECT name FROM sqlite_master WHERE name = 'sqlite_sequence'")
	if err != nil {
		return nil, fmt.Errorf("read sqlite_master: %w", err)
	}
	if len(exists) > 0 {
		err = read.readSequences(ctx, db)
	}
	return read, err
}

func (m *master) readSequences(ctx context.Context, db *database.DB) (err error) {
	rows, err := db.QueryContext(ctx, "SELECT name, CAST(COALESCE(seq, 0) AS integer) FROM sqlite_sequence ORDER BY rowid")
	if err != nil {
		return fmt.Errorf("read sqlite_sequence: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var (
			name string
			seq  int64
		)
		if err := rows.Scan(&name, &seq); err != nil {
			return fmt.Errorf("read sqlite_sequence: %w", err)
		}
		if _, ok := m.sequences[name]; !ok { // SQLite heeds the first row of a name alone.
			m.sequences[name] = seq
		}
	}
	return rows.Err()
}

// highest is an id that no migration makes by itself.
const highest = int64(1) << 40

// raiseSequences makes as if a row of the highest id had been deleted from each table with AUTOINCREMENT.
// A rebuild that keeps that in mind is seen by what is left of it.
func (m *master) raiseSequences(ctx context.Context, db *database.DB, tables *schema.Schema) error {
	for _, table := range tables.Tables {
		if !autoIncrements(table) {
			continue
		}
		for _, statement := range []string{"DELETE FROM sqlite_sequence WHERE name = $1", fmt.Sprintf("INSERT INTO sqlite_sequence (name, seq) VALUES ($1, %d)", highest)} {
			if _, err := db.ExecContext(ctx, statement, table.Name); err != nil {
				return fmt.Errorf("prepare to lint: %w", err)
			}
		}
	}
	return nil
}

func autoIncrements(table *schema.Table) bool {
	for _, attribute := range table.Attrs {
		if created, ok := attribute.(*sqlite.CreateStmt); ok {
			return scanSQL(created.S).has("AUTOINCREMENT")
		}
	}
	return false
}

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
	if autoIncrements(rebuilt.from) && last.sequences[name] < highest {
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

// shape is what a type can hold.
type shape struct {
	family      string
	size, scale int // bits, digits or characters; 0 characters or digits are any number
	zone        bool
}

// loses reports whether a value of the one type may not fit into the other. The types of SQLite bind
// nothing, but tell what a program will read.
func loses(from, to schema.Type, anySize bool) bool {
	a, b := shapeOf(from, anySize), shapeOf(to, anySize)
	switch {
	case a.family == b.family:
		switch a.family {
		case "integer", "float", "time", "timestamp":
			return b.size < a.size || a.zone && !b.zone
		case "decimal":
			return b.size != 0 && (a.size == 0 || b.scale < a.scale || b.size-b.scale < a.size-a.scale)
		case "text":
			return b.size != 0 && (a.size == 0 || b.size < a.size)
		default:
			return false
		}
	case b.family == "text":
		width := a.width()
		return b.size != 0 && (width == 0 || b.size < width)
	case a.family == "integer" && b.family == "decimal":
		return b.size != 0 && b.size-b.scale < a.digits()
	case a.family == "integer" && b.family == "float":
		return b.size < a.size
	case a.family == "decimal" && b.family == "integer":
		return a.scale > 0 || a.size == 0 || a.size >= b.digits()
	default:
		return (a.family != "date" || b.family != "timestamp") && (a.family != "bool" || b.family != "integer")
	}
}

// digits is how many an integer may have.
func (s shape) digits() int { return map[int]int{16: 5, 32: 10, 64: 19}[s.size] }

// width is how many characters a value has at most, or 0 if that is not known.
func (s shape) width() int {
	switch s.family {
	case "integer":
		return s.digits() + 1
	case "bool":
		return len("false")
	case "uuid":
		return 36
	case "date":
		return len("2006-01-02")
	default:
		return 0
	}
}

func shapeOf(of schema.Type, anySize bool) shape {
	switch of := of.(type) {
	case *schema.IntegerType:
		return integerShape(of.T, anySize)
	case *postgres.SerialType:
		return integerShape(of.T, anySize)
	case *schema.FloatType:
		if name := strings.ToLower(of.T); !anySize && (name == postgres.TypeReal || name == postgres.TypeFloat4) {
			return shape{family: "float", size: 24}
		}
		return shape{family: "float", size: 53}
	case *schema.DecimalType:
		return shape{family: "decimal", size: of.Precision, scale: of.Scale}
	case *schema.StringType:
		return shape{family: "text", size: of.Size}
	case *schema.TimeType:
		return timeShape(of)
	case *schema.BoolType:
		return shape{family: "bool"}
	case *schema.UUIDType:
		return shape{family: "uuid"}
	case *schema.JSONType:
		return shape{family: "json"}
	case *schema.BinaryType:
		return shape{family: "binary"}
	case *schema.EnumType:
		return shape{family: "enum " + of.T}
	default:
		return shape{family: fmt.Sprintf("%T", of)}
	}
}

func integerShape(name string, anySize bool) shape {
	switch name = strings.ToLower(name); {
	case anySize:
		return shape{family: "integer", size: 64}
	case strings.HasPrefix(name, "small"), name == postgres.TypeInt2:
		return shape{family: "integer", size: 16}
	case strings.HasPrefix(name, "big"), name == postgres.TypeInt8:
		return shape{family: "integer", size: 64}
	default:
		return shape{family: "integer", size: 32}
	}
}

func timeShape(of *schema.TimeType) shape {
	found := shape{family: "timestamp", size: 6}
	if of.Precision != nil {
		found.size = *of.Precision
	}
	switch name := strings.ToLower(of.T); {
	case name == postgres.TypeDate:
		found = shape{family: "date"}
	case strings.HasPrefix(name, "time") && !strings.HasPrefix(name, "timestamp"):
		found.family, found.zone = "time", strings.Contains(name, "tz") || strings.Contains(name, "with time zone")
	default:
		found.zone = strings.Contains(name, "tz") || strings.Contains(name, "with time zone")
	}
	return found
}
