package migration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"ariga.io/atlas/sql/migrate"
	"ariga.io/atlas/sql/schema"
	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/database"
)

// Down is a plan to undo applied files.
type Down struct {
	Files      []File   // to undo, the last one first
	Statements []string // that do it
	Destroys   []string // what is lost, in words; none if no data goes
	Keeps      []string // files whose changes of rows are not undone
	target     snapshot
	changes    []schema.Change
	status     []File // when it was planned
}

// errNothingApplied is the error of PlanDown where there is nothing to undo.
var errNothingApplied = errors.New("no migration is applied: there is nothing to undo")

// PlanDown plans to undo the last n applied files or, if n is 0, those after the version to ("0" for all
// of them). What it does is computed from what the files make with and without those to undo. It
// changes nothing, and returns ErrDrift if the database is not what the files make.
func (m *Migrator) PlanDown(ctx context.Context, dev *Dev, to string, n int) (*Down, error) {
	account, status, err := m.account(ctx)
	if err != nil {
		return nil, err
	}
	applied := 0
	for applied < len(status) && !status[applied].Pending() {
		applied++
	}
	if file := m.halfDone(status); file != nil {
		return nil, fmt.Errorf("migration %s stopped half-way: run `reviewpoint migrate apply` first, which goes on with it", file.Name)
	}
	left := applied - n
	if n == 0 {
		left = slices.IndexFunc(status[:applied], func(f File) bool { return f.Version == to }) + 1
		if left == 0 && to != "0" {
			return nil, fmt.Errorf("migration %s is not applied: `reviewpoint migrate status` lists those that are, and 0 stands for the time before the first", to)
		}
	}
	switch {
	case applied == 0:
		return nil, errNothingApplied
	case left < 0 || n < 0:
		return nil, fmt.Errorf("only %d migrations are applied: give a number up to that", applied)
	case account[0].Type.Has(migrate.RevisionTypeBaseline) && (left == 0 || status[left-1].Version < account[0].Version):
		return nil, fmt.Errorf("migration %s is the baseline that the account of this database begins with: what is before it cannot be undone", account[0].Version)
	case left == applied:
		return nil, fmt.Errorf("migration %s is the last that is applied: there is nothing after it to undo", to)
	}
	if err := m.checkDrift(ctx, dev); err != nil {
		return nil, err
	}
	down, err := m.computeDown(ctx, dev, left, applied)
	if err != nil {
		return nil, err
	}
	down.status, down.Files = status, slices.Clone(status[left:applied])
	slices.Reverse(down.Files)
	return down, nil
}

func (m *Migrator) computeDown(ctx context.Context, dev *Dev, left, applied int) (*Down, error) {
	files, err := m.dir.Files()
	if err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	from, err := dev.replay(ctx, files[:applied])
	if err != nil {
		return nil, err
	}
	down := &Down{}
	if down.target, err = dev.replay(ctx, files[:left]); err != nil {
		return nil, err
	}
	driver, err := openDriver(ctx, m.db)
	if err != nil {
		return nil, err
	}
	changes, err := driver.SchemaDiff(from.schema, down.target.schema)
	if err != nil {
		return nil, fmt.Errorf("compare the schemas: %w", err)
	}
	plan, err := planChanges(ctx, driver, "down", changes)
	if err != nil {
		return nil, err
	}
	for _, change := range plan.Changes {
		down.Statements = append(down.Statements, change.Cmd)
	}
	for _, file := range files[left:applied] {
		all, err := statements(ctx, m.db, file)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(all, func(s *migrate.Stmt) bool { return changesRows(s.Text, file) }) {
			down.Keeps = append(down.Keeps, file.Name())
		}
	}
	down.changes = changes
	down.Destroys, err = m.destroys(ctx, changes)
	return down, err
}

// changesRows reports whether a statement of a file changes rows, other than by copying a table that the
// file builds anew.
func changesRows(statement string, file migrate.File) bool {
	if copied := tableCopy.FindStringSubmatch(statement); copied != nil {
		again := regexp.MustCompile("(?i)\\bALTER\\s+TABLE\\s+[`\"]?new_" + cmp.Or(copied[1], copied[2]) + "[`\"]?\\s+RENAME\\s+TO\\b")
		return !again.Match(file.Bytes())
	}
	return rowChange.MatchString(statement)
}

var (
	rowChange = regexp.MustCompile(`(?i)^(INSERT|REPLACE|UPDATE|DELETE|TRUNCATE|COPY|MERGE|WITH|DO|CALL|SELECT)\b`)
	tableCopy = regexp.MustCompile("(?i)^INSERT\\s+INTO\\s+(?:sqlite_sequence\\s.*'new_(\\w+)'|[`\"]?new_(\\w+))")
)

// destroys says what rows and values go with the changes.
func (m *Migrator) destroys(ctx context.Context, changes []schema.Change) ([]string, error) {
	var out []string
	note := func(what, query string) error {
		found, err := scanStrings(ctx, m.db, query)
		if len(found) > 0 {
			out = append(out, what)
		}
		return err
	}
	for _, change := range changes {
		switch c := change.(type) {
		case *schema.DropTable:
			if err := note("the rows of table "+c.T.Name, fmt.Sprintf("SELECT '1' FROM %s LIMIT 1", ident(c.T.Name))); err != nil {
				return nil, err
			}
		case *schema.ModifyTable:
			for _, part := range c.Changes {
				var column *schema.Column
				switch p := part.(type) {
				case *schema.DropColumn:
					column = p.C
				case *schema.ModifyColumn:
					if p.Change.Is(schema.ChangeType) {
						column = p.From
					}
					if err := m.fillsNulls(c.T, p, note); err != nil {
						return nil, err
					}
				}
				if column == nil {
					continue
				}
				if err := note("the values of column "+c.T.Name+"."+column.Name, fmt.Sprintf("SELECT '1' FROM %s WHERE %s IS NOT NULL LIMIT 1", ident(c.T.Name), ident(column.Name))); err != nil {
					return nil, err
				}
			}
		}
	}
	return out, nil
}

// fillsNulls notes a column that becomes NOT NULL: where SQLite builds the table anew, its default takes
// the place of every NULL. PostgreSQL refuses instead.
func (m *Migrator) fillsNulls(table *schema.Table, change *schema.ModifyColumn, note func(what, query string) error) error {
	if m.db.Dialect() != dialect.SQLite || change.To.Type.Null || !change.From.Type.Null {
		return nil
	}
	return note("which values of column "+table.Name+"."+change.To.Name+" were NULL", fmt.Sprintf("SELECT '1' FROM %s WHERE %s IS NULL LIMIT 1", ident(table.Name), ident(change.To.Name)))
}

// Down undoes what PlanDown has planned, in one transaction together with the rows of the account. It
// ends with exactly the tables that the remaining files make, or changes nothing.
func (m *Migrator) Down(ctx context.Context, plan *Down, opts Options) error {
	for attempt, waits := 1, 0; ; {
		err := m.down(ctx, plan, opts)
		switch {
		case errors.Is(err, errLocked):
			err = pause(ctx, lockPause<<min(waits, 6))
			waits++
		case errors.Is(err, database.ErrBusy) && attempt < opts.attempts() && ctx.Err() == nil:
			err = pause(ctx, busyPause<<attempt)
			attempt++
		default:
			return err
		}
		if err != nil {
			return fmt.Errorf("wait for another migration: %w", err)
		}
	}
}

func (m *Migrator) down(ctx context.Context, plan *Down, opts Options) error {
	return m.db.InSchemaTx(ctx, func(ctx context.Context) error {
		if err := lock(ctx, m.db, "xact_"); err != nil {
			return err
		}
		if err := m.stillLast(ctx, plan); err != nil {
			return err
		}
		if err := m.stillLoses(ctx, plan); err != nil {
			return err
		}
		sequences, err := readSequences(ctx, m.db)
		if err != nil {
			return err
		}
		connection := joined{m.db, ctx, opts.StatementTimeout, "LOCAL "}
		for i, statement := range plan.Statements {
			if _, err := connection.ExecContext(ctx, inTx(statement)); err != nil {
				return fmt.Errorf("statement %d of %d failed, and nothing was changed: %w", i+1, len(plan.Statements), err)
			}
		}
		if err := keepSequences(ctx, m.db, sequences); err != nil {
			return err
		}
		if err := checkForeignKeys(ctx, m.db); err != nil {
			return fmt.Errorf("nothing was changed: %w", err)
		}
		is, err := inspectState(ctx, m.db)
		if err != nil {
			return err
		}
		different, err := differences(ctx, m.db, is, plan.target)
		if err != nil {
			return err
		}
		if len(different) > 0 {
			return fmt.Errorf("it cannot be undone by what can be computed, and nothing was changed: %s: plan a new migration that takes it back", different[0])
		}
		return m.forget(ctx, plan)
	})
}

// forget deletes the rows of the files that were undone, and those that say that a later one failed.
func (m *Migrator) forget(ctx context.Context, plan *Down) error {
	rrw, err := openRevisions(ctx, m.db)
	if err != nil {
		return err
	}
	account, err := rrw.ReadRevisions(ctx)
	if err != nil {
		return err
	}
	for _, revision := range account {
		if !nothingDone(revision) && !slices.ContainsFunc(plan.Files, func(f File) bool { return f.Version == revision.Version }) {
			continue
		}
		if err := rrw.DeleteRevision(ctx, revision.Version); err != nil {
			return err
		}
	}
	return nil
}

// stillLoses makes sure that nothing else is lost than what was shown: with traffic, rows come in between.
func (m *Migrator) stillLoses(ctx context.Context, plan *Down) error {
	if m.db.Dialect() == dialect.Postgres { // SQLite's transaction keeps other writers out.
		for _, change := range plan.changes {
			var name string
			switch c := change.(type) {
			case *schema.DropTable:
				name = c.T.Name
			case *schema.ModifyTable:
				name = c.T.Name
			default:
				continue
			}
			if _, err := m.db.ExecContext(ctx, "LOCK TABLE "+ident(name)+" IN ACCESS EXCLUSIVE MODE"); err != nil {
				return fmt.Errorf("lock table %s: %w", name, err)
			}
		}
	}
	now, err := m.destroys(ctx, plan.changes)
	if err != nil {
		return err
	}
	if !slices.Equal(now, plan.Destroys) {
		return errors.New("what would be lost has changed since it was shown, and nothing was changed: run it again")
	}
	return nil
}

// stillLast makes sure that nobody has migrated since the plan was made. ctx carries a transaction
// that holds the lock.
func (m *Migrator) stillLast(ctx context.Context, plan *Down) error {
	status, err := m.Status(ctx)
	if err != nil {
		return err
	}
	same := func(a, b File) bool {
		return a.Version == b.Version && a.AppliedAt.Equal(b.AppliedAt) && a.Done == b.Done
	}
	if !slices.EqualFunc(status, plan.status, same) || m.halfDone(status) != nil {
		return errors.New("another process has migrated since this was planned, and nothing was changed: run it again")
	}
	return nil
}
