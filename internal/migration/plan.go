package migration

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
	"time"

	"ariga.io/atlas/sql/migrate"
	"ariga.io/atlas/sql/postgres"
	"ariga.io/atlas/sql/schema"
	"entgo.io/ent/dialect"
	entschema "entgo.io/ent/dialect/sql/schema"
)

// PlanOptions of Plan.
type PlanOptions struct {
	// Allow holds the codes of findings to accept. They are written into the file, so that lint accepts them, too.
	Allow []string
	// Concurrently makes indexes of tables that are there without locking them, each in a file of its own
	// on PostgreSQL. Defaults to false: lint then objects to them.
	Concurrently bool
}

// Planned is a file that Plan has made, or would make.
type Planned struct {
	Dialect  string    `json:"dialect"` // the name of its folder
	Name     string    `json:"file"`
	SQL      string    `json:"sql"`
	Findings []Finding `json:"findings,omitempty"`
}

// Folder is a folder of migrations on disk, with one of a dialect in it for each Dev.
type Folder struct {
	Path string
	Devs []*Dev
}

var planName = regexp.MustCompile(`^[a-z0-9_]{1,100}$`)

// Plan computes from what the files make and what the schema wants the next file of each dialect, all of
// one version, later than moment and than every file. It returns none if there is nothing to plan.
// Nothing is written: see Write. A plan with findings that are not allowed is not to be written.
func (f Folder) Plan(ctx context.Context, name string, tables []*entschema.Table, moment time.Time, opts PlanOptions) ([]Planned, error) {
	for _, code := range opts.Allow {
		if _, known := saferWays[code]; !known {
			return nil, fmt.Errorf("there is no finding with the code %q: `reviewpoint migrate lint` and the plan name those that there are", code)
		}
	}
	if !planName.MatchString(name) {
		return nil, fmt.Errorf("the name %q must have 1 to 100 of a-z, 0-9 and _, as in add_orcid", name)
	}
	if err := f.checkCurrent(ctx, tables); err != nil {
		return nil, err
	}
	version, err := f.nextVersion(moment)
	if err != nil {
		return nil, err
	}
	var out []Planned
	for _, dev := range f.Devs {
		planned, err := f.plan(ctx, dev, version, name, tables, opts)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", folderOf(dev.db.Dialect()), err)
		}
		out = append(out, planned...)
	}
	return out, nil
}

// checkCurrent makes sure that tables are those of the schema that lies beside the folder: the command
// may have been built before the schema changed.
func (f Folder) checkCurrent(ctx context.Context, tables []*entschema.Table) error {
	for _, dev := range f.Devs {
		file := filepath.Join(f.Path, "..", "..", "ent", "migrate", folderOf(dev.db.Dialect())+".sql")
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue // It stands alone.
		}
		if err != nil {
			return err
		}
		ddl, err := Desired(ctx, dev.db.Dialect(), tables)
		if err != nil {
			return err
		}
		if !strings.HasSuffix(string(text), ddl) {
			return fmt.Errorf("%s is not of the schema that this command was built with: run `go generate ./...`, and then this command by `go run ./cmd/reviewpoint`", filepath.Clean(file))
		}
	}
	return nil
}

func (f Folder) dir(dev *Dev) (*migrate.MemDir, error) {
	return readDir(os.DirFS(f.Path), folderOf(dev.db.Dialect()))
}

// nextVersion is the version of files planned at a moment: later than those of all dialects.
func (f Folder) nextVersion(moment time.Time) (string, error) {
	const layout = "20060102150405"
	for _, dev := range f.Devs {
		dir, err := f.dir(dev)
		if err != nil {
			return "", err
		}
		files, err := dir.Files()
		if err != nil {
			return "", err
		}
		if len(files) == 0 {
			continue
		}
		last, err := time.Parse(layout, files[len(files)-1].Version())
		if err != nil {
			return "", fmt.Errorf("the version of %s is not a time like %s: rename it", files[len(files)-1].Name(), layout)
		}
		if !moment.After(last.Add(time.Second)) {
			moment = last.Add(time.Second)
		}
	}
	return moment.UTC().Format(layout), nil
}

func (f Folder) plan(ctx context.Context, dev *Dev, version, name string, tables []*entschema.Table, opts PlanOptions) ([]Planned, error) {
	dir, err := f.dir(dev)
	if err != nil {
		return nil, err
	}
	files, err := dir.Files()
	if err != nil {
		return nil, err
	}
	is, err := dev.replay(ctx, files)
	if err != nil {
		return nil, err
	}
	should, err := dev.desired(ctx, tables)
	if err != nil {
		return nil, err
	}
	should.others = is.others
	driver, err := openDriver(ctx, dev.db)
	if err != nil {
		return nil, err
	}
	changes, err := driver.SchemaDiff(is.schema, should.schema)
	if err != nil {
		return nil, fmt.Errorf("compare the schemas: %w", err)
	}
	parts := [][]schema.Change{changes}
	if opts.Concurrently && dev.db.Dialect() == dialect.Postgres {
		parts = splitIndexes(changes)
	}
	var out []Planned
	for _, part := range parts {
		if len(part) == 0 {
			continue
		}
		plan, err := planChanges(ctx, driver, name, part)
		if err != nil {
			return nil, err
		}
		plan.Version = version
		if len(out) > 0 {
			version = afterwards(version)
			plan.Version, plan.Name = version, fmt.Sprintf("%s_%d", name, len(out)+1)
		}
		if isConcurrent(plan) {
			plan.Directives = append(plan.Directives, "-- atlas:txmode none")
		}
		carrySequences(plan, is.schema)
		formatted, err := migrate.DefaultFormatter.FormatFile(plan)
		if err != nil {
			return nil, err
		}
		file := migrate.NewLocalFile(formatted.Name(), formatted.Bytes())
		findings, err := dev.lint(ctx, append(slices.Clone(files), migrate.File(file)), len(files))
		if err != nil {
			return nil, fmt.Errorf("the plan that can be computed does not run, so write this file by hand: %w", err)
		}
		if allowed := allow(findings, opts.Allow); len(allowed) > 0 {
			file.AddDirective("nolint", allowed...)
		}
		files = append(files, file)
		out = append(out, Planned{folderOf(dev.db.Dialect()), file.Name(), string(file.Bytes()), findings})
	}
	return out, f.converges(ctx, dev, files, should)
}

// planChanges is the SQL of changes, the same for every schema.
func planChanges(ctx context.Context, driver migrate.Driver, name string, changes []schema.Change) (*migrate.Plan, error) {
	unqualified := ""
	plan, err := driver.PlanChanges(ctx, name, changes, func(o *migrate.PlanOptions) {
		o.SchemaQualifier, o.Indent, o.Mode = &unqualified, "  ", migrate.PlanModeDeferred
	})
	if err != nil {
		return nil, fmt.Errorf("plan the changes: %w", err)
	}
	return plan, nil
}

// converges makes sure that the files with the planned ones make what the schema wants, with all that
// was there besides.
func (f Folder) converges(ctx context.Context, dev *Dev, files []migrate.File, should snapshot) error {
	made, err := dev.replay(ctx, files)
	if err != nil {
		return err
	}
	different, err := differences(ctx, dev.db, made, should)
	if err != nil || len(different) == 0 {
		return err
	}
	return fmt.Errorf("no plan can be made that gives what the schema wants: %s: a check that changes needs a new name, the rest a file written by hand", strings.Join(different, "; "))
}

// allow marks the findings whose codes are allowed, and returns those codes.
func allow(findings []Finding, codes []string) []string {
	used := make(map[string]bool)
	for i := range findings {
		if f := &findings[i]; f.Allowed == "" && slices.Contains(codes, f.Code) {
			f.Allowed, used[f.Code] = "--allow", true
		}
	}
	return slices.Sorted(maps.Keys(used))
}

// splitIndexes takes the indexes of tables that are there out of the changes, each to be made concurrently in a
// file of its own: one that fails after another cannot be applied again.
func splitIndexes(changes []schema.Change) [][]schema.Change {
	var (
		rest    []schema.Change
		indexes [][]schema.Change
	)
	for _, change := range changes {
		modify, ok := change.(*schema.ModifyTable)
		if !ok {
			rest = append(rest, change)
			continue
		}
		kept := &schema.ModifyTable{T: modify.T}
		take := func(part schema.Change) {
			indexes = append(indexes, []schema.Change{&schema.ModifyTable{T: modify.T, Changes: []schema.Change{part}}})
		}
		for _, part := range modify.Changes {
			switch part := part.(type) {
			case *schema.AddIndex:
				part.Extra = append(part.Extra, &postgres.Concurrently{})
				take(part)
			case *schema.ModifyIndex:
				take(&schema.DropIndex{I: part.From, Extra: []schema.Clause{&postgres.Concurrently{}}})
				take(&schema.AddIndex{I: part.To, Extra: []schema.Clause{&postgres.Concurrently{}}})
			case *schema.DropIndex:
				if dropsColumnOf(modify, part.I) {
					continue // The column takes it along.
				}
				part.Extra = append(part.Extra, &postgres.Concurrently{})
				take(part)
			default:
				kept.Changes = append(kept.Changes, part)
			}
		}
		if len(kept.Changes) > 0 {
			rest = append(rest, kept)
		}
	}
	return append([][]schema.Change{rest}, indexes...)
}

func dropsColumnOf(modify *schema.ModifyTable, index *schema.Index) bool {
	return slices.ContainsFunc(modify.Changes, func(change schema.Change) bool {
		drop, ok := change.(*schema.DropColumn)
		return ok && slices.ContainsFunc(index.Parts, func(p *schema.IndexPart) bool { return p.C != nil && p.C.Name == drop.C.Name })
	})
}

func isConcurrent(plan *migrate.Plan) bool {
	return slices.ContainsFunc(plan.Changes, func(c *migrate.Change) bool { return indexConcurrently.MatchString(c.Cmd) })
}

// afterwards is the next version.
func afterwards(version string) string {
	const layout = "20060102150405"
	moment, err := time.Parse(layout, version)
	if err != nil {
		return version + "1"
	}
	return moment.Add(time.Second).Format(layout)
}

// carrySequences makes the tables that are built anew on SQLite go on with their ids where the old ones
// stopped: Atlas's plan would give the ids of deleted rows again.
func carrySequences(plan *migrate.Plan, before *schema.Schema) {
	var out []*migrate.Change
	for _, change := range plan.Changes {
		if match := newTable.FindStringSubmatch(change.Cmd); match != nil {
			if table, ok := before.Table(match[1]); ok && autoIncrement(table) {
				out = append(out, &migrate.Change{
					Comment: "carry on the ids of \"" + match[1] + "\"",
					Cmd:     fmt.Sprintf("INSERT INTO sqlite_sequence (name, seq) SELECT 'new_%[1]s', seq FROM sqlite_sequence WHERE name = '%[1]s'", match[1]),
				})
			}
		}
		out = append(out, change)
	}
	plan.Changes = out
}

var newTable = regexp.MustCompile("^CREATE TABLE `new_(\\w+)`")

// Write writes planned files, each with the atlas.sum of its folder. If it fails, none of them stays.
func (f Folder) Write(planned []Planned) (err error) {
	var written []string
	defer func() {
		if err == nil {
			return
		}
		for _, path := range written {
			err = errors.Join(err, os.Remove(path))
		}
		if len(written) > 0 {
			err = errors.Join(err, f.Hash())
		}
	}()
	for _, file := range planned {
		path := filepath.Join(f.Path, file.Dialect, file.Name)
		if err := writeNew(path, file.SQL); err != nil {
			return err
		}
		written = append(written, path)
	}
	return f.Hash()
}

// writeNew writes a file that must not be there yet.
func writeNew(path, content string) error {
	//nolint:gosec // A source file, as readable as the others.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// Hash writes the atlas.sum of each folder anew.
func (f Folder) Hash() error {
	for _, name := range []string{"sqlite", "postgres"} {
		folder := filepath.Join(f.Path, name)
		dir, err := migrate.NewLocalDir(folder)
		if err != nil {
			return err
		}
		sum, err := dir.Checksum()
		if err != nil {
			return err
		}
		text, err := sum.MarshalText()
		if err != nil {
			return err
		}
		// Whole or not at all, and not through a link.
		draft := filepath.Join(folder, migrate.HashFileName+".draft")
		if err := errors.Join(os.RemoveAll(draft), writeNew(draft, string(text))); err != nil {
			return err
		}
		if err := os.Rename(draft, filepath.Join(folder, migrate.HashFileName)); err != nil {
			return err
		}
	}
	return nil
}
