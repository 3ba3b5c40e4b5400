package migration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"ariga.io/atlas/schemahcl"
	"ariga.io/atlas/sql/migrate"
	"ariga.io/atlas/sql/postgres"
	_ "ariga.io/atlas/sql/postgres/postgrescheck" // registers the analyzers
	"ariga.io/atlas/sql/schema"
	"ariga.io/atlas/sql/sqlcheck"
	"ariga.io/atlas/sql/sqlclient"
	"ariga.io/atlas/sql/sqlite"
	_ "ariga.io/atlas/sql/sqlite/sqlitecheck" // registers the analyzers
	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/database"
)

// Finding is what lint objects to in a migration.
type Finding struct {
	Dialect string `json:"dialect"` // "sqlite" or "postgres", as the folders are named
	File    string `json:"file"`
	Line    int    `json:"line"`
	Code    string `json:"code"`              // Atlas's where it has one
	Reason  string `json:"reason"`            // one line
	Safer   string `json:"safer"`             // one line: the safer way
	Allowed string `json:"allowed,omitempty"` // by what it is allowed: "nolint" or a line of the list of accepted findings; empty if it is not
}

// Lint analyzes every file of the folders that there is a Dev for. What a nolint in the file or the list
// of accepted findings names, or whose code is among allowed, is marked as allowed.
func Lint(ctx context.Context, files fs.FS, devs []*Dev, allowed ...string) ([]Finding, error) {
	list, err := accepted(files)
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, dev := range devs {
		folder := folderOf(dev.db.Dialect())
		dir, err := readDir(files, folder)
		if err != nil {
			return nil, err
		}
		all, err := dir.Files()
		if err != nil {
			return nil, err
		}
		findings, err := dev.lint(ctx, all, 0)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", folder, err)
		}
		if err := accept(list, folder, all, findings); err != nil {
			return nil, err
		}
		out = append(out, findings...)
	}
	allow(out, allowed)
	return out, nil
}

// lint replays files, and analyzes those from the index from on.
func (d *Dev) lint(ctx context.Context, files []migrate.File, from int) ([]Finding, error) {
	var found []Finding
	err := d.try(ctx, func(ctx context.Context) error {
		found = nil
		l, err := newLinter(ctx, d.db)
		if err != nil {
			return err
		}
		for i, file := range files {
			if i < from {
				if err := runInTx(ctx, d.db, file, nil); err != nil {
					return err
				}
				continue
			}
			more, err := l.lint(ctx, file)
			if err != nil {
				return err
			}
			found = append(found, more...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// linter analyzes one file after the other, in the transaction of the context.
type linter struct {
	db        *database.DB
	dev       *sqlclient.Client
	analyzers []sqlcheck.NamedAnalyzer
}

func newLinter(ctx context.Context, db *database.DB) (*linter, error) {
	driver, err := openDriver(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("prepare to lint: %w", err)
	}
	name := sqlite.DriverName
	if db.Dialect() == dialect.Postgres {
		name = postgres.DriverName
		// In UTC, of all zones, timestamp becomes timestamptz without a rewrite. Who applies a file may be elsewhere.
		if _, err := db.ExecContext(ctx, "SET LOCAL TIME ZONE 1"); err != nil {
			return nil, fmt.Errorf("prepare to lint: %w", err)
		}
	}
	// A finding is no failure of the analyzer.
	all, err := sqlcheck.AnalyzerFor(name, &schemahcl.Resource{Children: []*schemahcl.Resource{
		{Type: "destructive", Attrs: []*schemahcl.Attr{schemahcl.BoolAttr("error", false)}},
	}})
	if err != nil {
		return nil, fmt.Errorf("prepare to lint: %w", err)
	}
	l := &linter{db: db, dev: &sqlclient.Client{Name: name, Driver: driver}}
	for _, analyzer := range all {
		// The one without a name joins the statements that rebuild a table of SQLite, if they follow each other
		// exactly as Atlas writes them; script.join has done it for all.
		if named, ok := analyzer.(sqlcheck.NamedAnalyzer); ok {
			l.analyzers = append(l.analyzers, named)
		}
	}
	return l, nil
}

func (l *linter) lint(ctx context.Context, file migrate.File) ([]Finding, error) {
	s, err := l.run(ctx, file)
	if err != nil {
		return nil, err
	}
	s.join(l.dev.Driver)
	s.forgetNew()
	checked := &sqlcheck.File{File: file, Parser: parser{}}
	for _, step := range s.steps {
		checked.Changes = append(checked.Changes, &sqlcheck.Change{Changes: step.changes, Stmt: step.statement})
	}
	var found []Finding
	for _, analyzer := range append(slices.Clone(l.analyzers), sqlcheck.NamedAnalyzer(ownRules{s})) {
		err := analyzer.Analyze(ctx, &sqlcheck.Pass{File: checked, Dev: l.dev, Reporter: sqlcheck.ReportWriterFunc(func(report sqlcheck.Report) {
			for _, diagnostic := range report.Diagnostics {
				if finding, ok := s.finding(analyzer.Name(), diagnostic); ok {
					found = append(found, finding)
				}
			}
		})})
		if err != nil {
			return nil, fmt.Errorf("lint %s: %w", file.Name(), err)
		}
	}
	slices.SortStableFunc(found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Code, b.Code))
	})
	return found, nil
}

// script is a file, and what each of its statements did.
type script struct {
	dialect  string
	file     migrate.File
	start    *lookedAt
	steps    []*performed
	rebuilds []*rebuild
}

// performed is a statement that was run.
type performed struct {
	statement     *migrate.Stmt
	sql           tokens
	before, after *lookedAt
	changes       schema.Changes
	problem       error // why Atlas cannot tell what changed
}

// lookedAt is what a statement found or left.
type lookedAt struct {
	tables  *schema.Schema
	catalog *catalog // of PostgreSQL
	master  *master  // of SQLite
}

// rebuild is how SQLite changes a table: a new one is made and filled, takes the name of the old one,
// and the old one goes. The indexes are those of its statements.
type rebuild struct {
	create, drop, rename int
	from, to             *schema.Table
	temporary            string // the name that the new table had at first
}

func (l *linter) look(ctx context.Context) (*lookedAt, error) {
	tables, err := inspect(ctx, l.db)
	if err != nil {
		return nil, err
	}
	seen := &lookedAt{tables: tables}
	if l.db.Dialect() == dialect.Postgres {
		seen.catalog, err = readCatalog(ctx, l.db)
	} else {
		seen.master, err = readMaster(ctx, l.db)
	}
	return seen, err
}

// run runs the file, and looks after each statement what it did.
func (l *linter) run(ctx context.Context, file migrate.File) (*script, error) {
	s := &script{dialect: "sqlite", file: file}
	if l.db.Dialect() == dialect.Postgres {
		s.dialect = "postgres"
	}
	before, err := l.look(ctx)
	if err != nil {
		return nil, err
	}
	if before.master != nil {
		if err := before.master.raiseSequences(ctx, l.db, before.tables); err != nil {
			return nil, err
		}
	}
	s.start = before
	err = runInTx(ctx, l.db, file, func(statement *migrate.Stmt) error {
		after, err := l.look(ctx)
		if err != nil {
			return fmt.Errorf("lint %s at line %d: %w", file.Name(), lineOf(file, statement), err)
		}
		next := &performed{statement: statement, sql: scanSQL(statement.Text), before: before, after: after}
		if next.changes, next.problem = l.dev.SchemaDiff(before.tables, after.tables); next.problem == nil {
			next.changes = renamed(next.sql, next.changes)
		}
		s.steps, before = append(s.steps, next), after
		return nil
	})
	return s, err
}

// renamed makes of what looks like a thing dropped and another one added what it is. A statement that
// renames does nothing else.
func renamed(sql tokens, changes schema.Changes) schema.Changes {
	i, ok := sql.altersTable()
	if !ok || !sql.at(i, "RENAME") {
		return changes
	}
	var (
		drop *schema.DropTable
		add  *schema.AddTable
	)
	for _, change := range changes {
		switch change := change.(type) {
		case *schema.DropTable:
			drop = change
		case *schema.AddTable:
			add = change
		case *schema.ModifyTable:
			if column := renamedColumn(change); column != nil {
				return schema.Changes{column}
			}
		}
	}
	if drop != nil && add != nil {
		return schema.Changes{&schema.RenameTable{From: drop.T, To: add.T}}
	}
	return nil
}

func renamedColumn(modified *schema.ModifyTable) schema.Change {
	var (
		drop *schema.DropColumn
		add  *schema.AddColumn
	)
	for _, change := range modified.Changes {
		switch change := change.(type) {
		case *schema.DropColumn:
			drop = change
		case *schema.AddColumn:
			add = change
		}
	}
	if drop == nil || add == nil {
		return nil
	}
	return &schema.ModifyTable{T: modified.T, Changes: schema.Changes{&schema.RenameColumn{From: drop.C, To: add.C}}}
}

// join finds the rebuilds, and makes one change of each, at the statement that makes the new table.
func (s *script) join(driver migrate.Driver) {
	made, dropped := make(map[string]int), make(map[string]int)
	for i, step := range s.steps {
		for _, change := range step.changes {
			switch change := change.(type) {
			case *schema.AddTable:
				made[change.T.Name] = i
			case *schema.DropTable:
				dropped[change.T.Name] = i
			case *schema.RenameTable:
				create, isNew := made[change.From.Name]
				drop, isOld := dropped[change.To.Name]
				if isNew && isOld && create < drop {
					s.rebuilds = append(s.rebuilds, &rebuild{create: create, drop: drop, rename: i, to: change.To, temporary: change.From.Name})
					delete(made, change.From.Name)
					delete(dropped, change.To.Name)
				}
			}
		}
	}
	for _, r := range s.rebuilds {
		s.steps[r.drop].changes = slices.DeleteFunc(s.steps[r.drop].changes, func(change schema.Change) bool {
			drop, ok := change.(*schema.DropTable)
			if ok && drop.T.Name == r.to.Name {
				r.from = drop.T
				return true
			}
			return false
		})
		s.steps[r.rename].changes = nil
		difference, err := driver.TableDiff(r.from, r.to)
		if err != nil {
			s.steps[r.create].problem = err
			continue
		}
		for i, change := range s.steps[r.create].changes {
			if add, ok := change.(*schema.AddTable); ok && add.T.Name == r.temporary {
				s.steps[r.create].changes[i] = &schema.ModifyTable{T: r.to, Changes: difference}
			}
		}
	}
}

// forgetNew leaves only changes of tables that are older than the file, and tells the analyzers what
// they would not see by themselves.
func (s *script) forgetNew() {
	older, dropped := make(map[string]bool), make(map[string]*schema.Index)
	for _, table := range s.start.tables.Tables {
		older[table.Name] = true
	}
	for i, step := range s.steps {
		kept := make(schema.Changes, 0, len(step.changes))
		for _, change := range step.changes {
			switch change := change.(type) {
			case *schema.DropTable:
				if !older[change.T.Name] {
					continue
				}
				delete(older, change.T.Name)
			case *schema.RenameTable:
				if !older[change.From.Name] {
					continue
				}
				delete(older, change.From.Name)
				older[change.To.Name] = true
			case *schema.ModifyTable:
				if !older[change.T.Name] {
					continue
				}
				s.complete(i, change, dropped)
			}
			kept = append(kept, change)
		}
		step.changes = kept
	}
}

// complete makes an index that is dropped and made again unique one that is modified, and a column that
// is filled one with a default.
func (s *script) complete(i int, modified *schema.ModifyTable, dropped map[string]*schema.Index) {
	for j, change := range modified.Changes {
		switch change := change.(type) {
		case *schema.DropIndex:
			dropped[modified.T.Name+"."+change.I.Name] = change.I
		case *schema.AddIndex:
			if old := dropped[modified.T.Name+"."+change.I.Name]; old != nil && !old.Unique && change.I.Unique {
				modified.Changes[j] = &schema.ModifyIndex{From: old, To: change.I, Change: schema.ChangeUnique}
			}
		case *schema.AddColumn:
			if change.C.Default == nil && (computed(change.C) || s.copies(i, change.C.Name)) {
				column := *change.C
				column.Default = &schema.RawExpr{X: "filled"}
				modified.Changes[j] = &schema.AddColumn{C: &column}
			}
		}
	}
}

// copies reports whether the rebuild that begins with the statement puts something into the column.
func (s *script) copies(create int, column string) bool {
	for _, r := range s.rebuilds {
		if r.create != create {
			continue
		}
		columns, _ := s.copied(r)
		return slices.ContainsFunc(columns, func(name string) bool { return strings.EqualFold(name, column) })
	}
	return false
}

// finding is what a diagnostic says, in one line each.
func (s *script) finding(analyzer string, diagnostic sqlcheck.Diagnostic) (Finding, bool) {
	i := slices.IndexFunc(s.steps, func(step *performed) bool { return step.statement.Pos == diagnostic.Pos })
	if i == -1 {
		return Finding{}, false
	}
	step := s.steps[i]
	if diagnostic.Code == "MF104" && step.after.catalog != nil && !step.scans() {
		return Finding{}, false // PostgreSQL knows by a CHECK that no row has a NULL there.
	}
	safer := saferWay(diagnostic.Code)
	if analyzer == ownRulesName && len(diagnostic.SuggestedFixes) > 0 {
		safer = diagnostic.SuggestedFixes[0].Message
	}
	allowed := ""
	if s.allowed(step, analyzer, diagnostic.Code) {
		allowed = "nolint"
	}
	return Finding{
		Dialect: s.dialect, File: s.file.Name(), Line: lineOf(s.file, step.statement),
		Code: diagnostic.Code, Reason: diagnostic.Text, Safer: safer, Allowed: allowed,
	}, true
}

// allowed reports whether the head of the file or the comment before the statement allows the code.
func (s *script) allowed(step *performed, analyzer, code string) bool {
	return slices.ContainsFunc(append(directives(s.file, "nolint"), step.statement.Directive("nolint")...), func(directive string) bool {
		names := strings.Fields(directive)
		return len(names) == 0 || slices.Contains(names, code) || slices.Contains(names, analyzer) ||
			strings.HasPrefix(code, "PG1") && slices.Contains(names, "concurrent_index") // as Atlas calls them
	})
}

// acceptedFile lists findings in files that have landed, which nobody can mend any more.
const acceptedFile = "accepted.txt"

// acceptance is a line of it.
type acceptance struct {
	line         int
	folder, file string
	code         string
}

var acceptanceLine = regexp.MustCompile(`^(sqlite|postgres)/(\S+\.sql)\s+([A-Z]+\d+)\s+\S`)

// accepted reads the list, which need not be there. A line is of the form
//
//	postgres/20261123160500_bcrypt.sql PG101 the reason in words
func accepted(files fs.FS) ([]acceptance, error) {
	content, err := fs.ReadFile(files, acceptedFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", acceptedFile, err)
	}
	var all []acceptance
	for i, text := range strings.Split(string(content), "\n") {
		text = strings.TrimSpace(text)
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		parts := acceptanceLine.FindStringSubmatch(text)
		if parts == nil {
			return nil, fmt.Errorf("%s line %d: %q is not of the form `postgres/20261123160500_name.sql PG101 the reason in words`", acceptedFile, i+1, text)
		}
		next := acceptance{line: i + 1, folder: parts[1], file: parts[2], code: parts[3]}
		for _, other := range all {
			if other.folder == next.folder && other.file == next.file && other.code == next.code {
				return nil, fmt.Errorf("%s line %d says the same as line %d", acceptedFile, next.line, other.line)
			}
		}
		if _, err := fs.Stat(files, path.Join(next.folder, next.file)); err != nil {
			return nil, fmt.Errorf("%s line %d: %w", acceptedFile, next.line, err)
		}
		all = append(all, next)
	}
	return all, nil
}

// accept allows what the list names among the findings in the files of one dialect, which are all that
// was analyzed. What is not found any more must leave the list.
func accept(all []acceptance, folder string, files []migrate.File, findings []Finding) error {
	for _, line := range all {
		if line.folder != folder || !slices.ContainsFunc(files, func(file migrate.File) bool { return file.Name() == line.file }) {
			continue
		}
		found := false
		for i, finding := range findings {
			if finding.File != line.file || finding.Code != line.code {
				continue
			}
			found = true
			if finding.Allowed == "" {
				findings[i].Allowed = fmt.Sprintf("%s line %d", acceptedFile, line.line)
			}
		}
		if !found {
			return fmt.Errorf("%s line %d: there is no %s in %s/%s: remove the line", acceptedFile, line.line, line.code, line.folder, line.file)
		}
	}
	return nil
}

// lineOf is the line of a statement. Its position does not count a first line that names the delimiter.
func lineOf(file migrate.File, statement *migrate.Stmt) int {
	content := string(file.Bytes())
	pos := min(statement.Pos, len(content))
	if i := strings.Index(content[pos:], statement.Text); i > 0 {
		pos += i
	}
	return 1 + strings.Count(content[:pos], "\n")
}

// saferWay says for each code what to do instead.
func saferWay(code string) string {
	if safer := saferWays[code]; safer != "" {
		return safer
	}
	return "Try the file on a copy of the production database, or split it into steps that running programs and full tables bear."
}

const ownFile = " in a file of its own that begins with -- atlas:txmode none"

var saferWays = map[string]string{
	"DS101": "Keep a dump of the schema, and drop it once no running program uses it.",
	"DS102": "Release a program that does not use the table, keep a dump of it, and drop it in a later file.",
	"DS103": "Release a program that does not use the column, keep a dump of it, and drop it in a later file.",
	"MF101": "Look for duplicates in production and resolve them in an earlier file, for with one of them the migration fails.",
	"MF102": "Look for duplicates in production and resolve them in an earlier file, and make the unique index under a new name before the old one goes.",
	"MF103": "Give the column a DEFAULT, or add it nullable, fill it, and make it NOT NULL in a later file.",
	"MF104": "Fill the column first: UPDATE the rows in which it IS NULL.",
	"LT101": "Give the column a DEFAULT, or first UPDATE the rows in which it IS NULL.",
	"BC101": "Leave a view of the old name until no running program uses it, or keep the name and change that of the Go type alone.",
	"BC102": "Add the new column beside the old one, write both, and drop the old one when no running program uses it; or keep it and change the Go field alone by StorageKey.",
	"CD101": "Make sure that the program keeps up the reference, and drop the constraint once nothing else relies on it.",
	"PG101": "CREATE INDEX CONCURRENTLY" + ownFile + ", as `migrate plan --concurrently` writes it.",
	"PG102": "DROP INDEX CONCURRENTLY" + ownFile + ".",
	"PG103": "Put the statement" + ownFile + ".",
	"PG104": "CREATE UNIQUE INDEX CONCURRENTLY" + ownFile + ", and then ADD PRIMARY KEY USING INDEX.",
	"PG105": "CREATE UNIQUE INDEX CONCURRENTLY" + ownFile + ", and then ADD CONSTRAINT ... UNIQUE USING INDEX.",
	"PG301": "Add a column of the new type, write both, fill it in batches, and change over when it is full.",
	"PG302": "Add the column without a default, SET DEFAULT in the next statement, and fill the old rows in batches.",
	"PG303": "ADD CONSTRAINT ... CHECK (column IS NOT NULL) NOT VALID, VALIDATE CONSTRAINT in a later file, and then SET NOT NULL, which need not look.",
	"PG304": "ADD CONSTRAINT ... CHECK (column IS NOT NULL) NOT VALID, VALIDATE CONSTRAINT in a later file, and then ADD PRIMARY KEY USING INDEX.",
	"PG305": "ADD CONSTRAINT ... CHECK ... NOT VALID, and VALIDATE CONSTRAINT in a later file.",
	"PG306": "ADD CONSTRAINT ... FOREIGN KEY ... NOT VALID, and VALIDATE CONSTRAINT in a later file.",
	"RP101": "Give each statement a file of its own, and say -- atlas:txmode none only where a statement needs it.",
	"RP102": "Look in production for values that do not fit, or add a column of the new type beside the old one, and keep the old one until the copy is checked.",
	"RP103": "Copy the table's row of sqlite_sequence to the new name before the CREATE.",
	"RP104": "CREATE the TRIGGER again after the RENAME.",
	"RP105": "Name every column that both tables have in the INSERT ... SELECT.",
	"RP106": "Do it while nobody uses the table, or copy the rows in batches into a new table.",
	"RP107": "Look at the statement yourself, and allow it by -- atlas:nolint RP107 if it is right.",
	"RP108": "Keep a dump of the rows, and say in a WHERE which ones may go.",
}

// parser is what Atlas's analyzers ask about the statements of a file.
type parser struct{}

// ColumnFilledBefore reports whether a statement before the position leaves no NULL in the column, or
// one that copies the rows of a rebuild.
func (parser) ColumnFilledBefore(all []*migrate.Stmt, table *schema.Table, column *schema.Column, pos int) (bool, error) {
	for _, statement := range all {
		sql := scanSQL(statement.Text)
		if statement.Pos < pos && sql.fills(table.Name, column.Name) || statement.Pos > pos && sql.copiesFilled(table.Name, column.Name) {
			return true, nil
		}
	}
	return false, nil
}

// CreateViewAfter reports whether a statement after the position makes a view of the old name.
func (parser) CreateViewAfter(all []*migrate.Stmt, old, _ string, pos int) (bool, error) {
	for _, statement := range all {
		if statement.Pos > pos && scanSQL(statement.Text).createsView(old) {
			return true, nil
		}
	}
	return false, nil
}
