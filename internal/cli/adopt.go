package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"entgo.io/ent/dialect"
	"github.com/spf13/cobra"

	"github.com/reviewpoint/models/internal/adopt"
	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/migration"
	"github.com/reviewpoint/models/schema/migrations"
)

func (a *app) adoptCommand() *cobra.Command {
	var dryRun, yes bool
	command := &cobra.Command{
		Use:   "adopt",
		Short: "Take over a database that the Python application made",
		Long: "Take over a database that the Python application made, with every row under its id: say what was found and would change, ask, and do all of it or nothing. " +
			"SQLite is backed up to a file beside it before; back PostgreSQL up yourself, by pg_dump. Stop the old application first.",
		Example: "  reviewpoint migrate adopt --dry-run\n  reviewpoint migrate adopt --yes --db postgres://user:password@host/name",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.json && !dryRun && !yes {
				return errors.New("--json asks nobody: add --dry-run or --yes")
			}
			return a.adopt(cmd.Context(), dryRun, yes)
		},
	}
	command.Flags().BoolVar(&dryRun, "dry-run", false, "say what would change, and change nothing")
	command.Flags().BoolVar(&yes, "yes", false, "do not ask, for scripts")
	return command
}

// adopted is what a program reads.
type adopted struct {
	*adopt.Report

	Adopted bool   `json:"adopted"`
	Backup  string `json:"backup,omitempty"`
}

func (a *app) adopt(ctx context.Context, dryRun, yes bool) error {
	var report *adopt.Report
	// Looking changes nothing, not even how SQLite keeps its journal.
	err := a.withDatabase(ctx, database.Options{ReadOnly: true}, func(db *database.DB) (err error) {
		show, wipe := a.adoptProgress(ctx)
		defer wipe()
		report, err = adopt.Inspect(ctx, db, adopt.Options{Progress: show})
		if errors.Is(err, adopt.ErrAdopted) {
			report = nil
			return a.nothingToAdopt(db, err)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", db.Name(), err)
		}
		return nil
	})
	if err != nil || report == nil {
		return err
	}
	if len(report.Problems) > 0 || dryRun {
		return a.printAdoption(adopted{Report: report})
	}
	if !a.json {
		if err := a.printReport(report); err != nil {
			return failure{err}
		}
	}
	if !yes {
		if err := a.agree(ctx, "\nStop the old application first."); err != nil {
			return failure{err}
		}
	}
	return a.withDatabase(ctx, database.Options{Existing: true}, func(db *database.DB) error { return a.runAdopt(ctx, db, report) })
}

// nothingToAdopt is no failure, so that a script can adopt wherever it runs.
func (a *app) nothingToAdopt(db *database.DB, why error) error {
	if a.json {
		return a.printJSON(map[string]any{"database": db.Name(), "dialect": db.Dialect(), "adopted": false})
	}
	_, err := fmt.Fprintf(a.stdout, "%s: %v\n", db.Name(), why)
	return err
}

// printAdoption prints what would be done, and fails if it cannot be.
func (a *app) printAdoption(what adopted) error {
	var err error
	if a.json {
		err = a.printJSON(what)
	} else if err = a.printReport(what.Report); err == nil && len(what.Problems) == 0 {
		_, err = fmt.Fprintln(a.stdout, "\nNothing was changed.")
	}
	if err == nil && len(what.Problems) > 0 {
		err = adopt.ErrProblems
	}
	if err != nil {
		return failure{err}
	}
	return nil
}

func (a *app) runAdopt(ctx context.Context, db *database.DB, report *adopt.Report) error {
	m, err := migration.New(db, migrations.FS)
	if err != nil {
		return err
	}
	show, wipe := a.adoptProgress(ctx)
	result, err := adopt.Run(ctx, db, m, report, adopt.Options{Progress: show})
	wipe()
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(adopted{report, true, result.Backup})
	}
	fmt.Fprintf(a.stdout, "\nadopted %s: people sign in with the passwords they had\n", report.Database)
	if result.Backup != "" {
		_, err = fmt.Fprintf(a.stdout, "the database as it was: %s\nto go back, stop what uses %s, remove it with its -wal and -shm files, and move the backup to its place\n", result.Backup, report.Database)
	} else if report.Dialect == dialect.Postgres {
		_, err = fmt.Fprintln(a.stdout, "to go back, restore the dump that you made before")
	}
	return err
}

func (a *app) printReport(r *adopt.Report) error {
	fmt.Fprintf(a.stdout, "%s is a database of the Python application (%s, %s)\n\n", r.Database, r.Dialect, alembic(r.Alembic))
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TABLE\tROWS\tNEXT ID")
	for _, t := range r.Tables {
		next := int64(1)
		if i := slices.IndexFunc(r.Sequences, func(s adopt.Sequence) bool { return s.Table == t.Name }); i >= 0 {
			next = r.Sequences[i].Next
		}
		fmt.Fprintf(table, "%s\t%d\t%d\n", t.Name, t.Rows, next)
	}
	printChanges(table, "WOULD CHANGE", r.Changes)
	if r.Alembic != nil {
		fmt.Fprintln(table, "alembic_version\t\tdropped")
	}
	printChanges(table, "NOTE", r.Notes)
	if len(r.Problems) > 0 {
		fmt.Fprintln(table, "\nDOES NOT FIT\tROWS\tWHY")
	}
	for rest := r.Problems; len(rest) > 0; {
		first := rest[0]
		n := slices.IndexFunc(rest, func(p adopt.Problem) bool {
			return p.Table != first.Table || p.Column != first.Column || p.Reason != first.Reason
		})
		if n < 0 {
			n = len(rest)
		}
		ids := make([]int64, n)
		for i, p := range rest[:n] {
			ids[i] = p.ID
		}
		fmt.Fprintf(table, "%s.%s\t%d\t%s: id %s\n", first.Table, first.Column, n, first.Reason, adopt.Join(ids))
		rest = rest[n:]
	}
	return table.Flush()
}

func alembic(revisions []string) string {
	switch {
	case revisions == nil:
		return "no alembic_version"
	case len(revisions) == 0:
		return "alembic_version without a revision"
	}
	return "Alembic revision " + printable(strings.Join(revisions, ", "))
}

func printChanges(to io.Writer, heading string, changes []adopt.Change) {
	if len(changes) > 0 {
		fmt.Fprintf(to, "\n%s\tROWS\tHOW\n", heading)
	}
	for _, c := range changes {
		name, how := c.Table, c.What
		if c.Column != "" {
			name += "." + c.Column
		}
		if len(c.IDs) > 0 {
			how += ": id " + adopt.Join(c.IDs)
		}
		fmt.Fprintf(to, "%s\t%d\t%s\n", name, c.Rows, how)
	}
}

// adoptProgress shows on a terminal how far it is.
func (a *app) adoptProgress(ctx context.Context) (show func(adopt.Progress), wipe func()) {
	line := a.progress(ctx)
	return func(p adopt.Progress) {
		verb := "read"
		if p.Written {
			verb = "copied"
		}
		line.show(verb, int64(p.Rows), int64(p.Rows), int64(p.Of))
	}, line.wipe
}
