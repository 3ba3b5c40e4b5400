package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/reviewpoint/models/ent/migrate"
	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/migration"
	"github.com/reviewpoint/models/internal/transfer"
	"github.com/reviewpoint/models/schema/migrations"
)

// The variables for the URLs.
const (
	copyFrom = "REVIEWPOINT_COPY_FROM"
	copyTo   = "REVIEWPOINT_COPY_TO"
)

func (a *app) copyCommand() *cobra.Command {
	var (
		from, to       string
		dryRun, verify bool
	)
	command := &cobra.Command{
		Use:   "copy",
		Short: "Copy all rows of a database into another, and compare the two",
		Long: `Copy all rows of a database into another, of the same kind or the other, with their ids and times, and the audit trail as it is; then compare all of them. Exits with 1 when something differs.

An empty target is migrated first. What was interrupted goes on when the same is run again: the rows that are there are compared with the source's, and the others are copied. Nothing of the target is ever changed or removed. The source is only read, in one state of it from beginning to end; nobody else may write to the target meanwhile. --db and REVIEWPOINT_DB_URL do not count here.

Other users of the machine can see the arguments of a command: give a URL with a password by the environment, or leave the password to ~/.pgpass, or to another file that PGPASSFILE names.`,
		Example: "  reviewpoint copy --from sqlite://reviewpoint.db --to postgres://app@db.example.org/reviewpoint\n" +
			"  reviewpoint copy --from postgres://app@db.example.org/reviewpoint --to sqlite://copy.db --verify",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 { // which may hold passwords
				return errors.New("copy takes no arguments: give --from URL --to URL")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case cmd.Flags().Changed("db"):
				return errors.New("copy takes no --db: give --from URL and --to URL")
			case from == "" || to == "":
				return errors.New("say from where and to where: give --from URL and --to URL")
			case dryRun && verify:
				return errors.New("give --dry-run or --verify, not both")
			}
			return a.copy(cmd.Context(), from, to, dryRun, verify)
		},
	}
	command.Flags().StringVar(&from, "from", "", "`URL` of the database to copy")
	command.Flags().StringVar(&to, "to", "", "`URL` of the database to copy it to")
	fromEnvironment(command.Flags(), "from", copyFrom)
	fromEnvironment(command.Flags(), "to", copyTo)
	command.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be copied, and change nothing")
	command.Flags().BoolVar(&verify, "verify", false, "only compare the two, and change nothing")
	return command
}

// on runs work on the database at url, as withDatabase does. The variable may have it, too.
func (a *app) on(ctx context.Context, url, variable string, opts database.Options, work func(*database.DB) error) error {
	there := *a
	there.url, there.urlVariable = url, variable
	return there.withDatabase(ctx, opts, work)
}

func (a *app) copy(ctx context.Context, from, to string, dryRun, verify bool) error {
	return a.on(ctx, from, copyFrom, database.Options{ReadOnly: true}, func(source *database.DB) error {
		if err := transfer.Ready(ctx, source, migrate.Tables); err != nil {
			return err
		}
		err := a.on(ctx, to, copyTo, database.Options{ReadOnly: dryRun || verify}, func(target *database.DB) error {
			return a.copyTo(ctx, source, target, dryRun, verify)
		})
		if dryRun && errors.Is(err, fs.ErrNotExist) { // a file that would be made
			return a.previewCopy(ctx, source, nil, "")
		}
		return err
	})
}

func (a *app) copyTo(ctx context.Context, source, target *database.DB, dryRun, verify bool) error {
	if err := transfer.Distinct(ctx, source, target); err != nil {
		return err
	}
	if !verify {
		empty, err := transfer.Empty(ctx, target, migrate.Tables)
		switch {
		case err != nil:
			return err
		case empty && dryRun:
			return a.previewCopy(ctx, source, nil, target.Name())
		case empty:
			m, err := migration.New(target, migrations.FS)
			if err != nil {
				return err
			}
			if _, err := m.Apply(ctx, migration.Options{}); err != nil {
				return err
			}
		}
	}
	if err := transfer.Ready(ctx, target, migrate.Tables); err != nil {
		return err
	}
	if dryRun {
		return a.previewCopy(ctx, source, target, target.Name())
	}
	run, work := transfer.Copy, "copied"
	if verify {
		run, work = transfer.Verify, "verified"
	}
	show, wipe := a.copyProgress(ctx)
	report, err := run(ctx, source, target, migrate.Tables, show)
	wipe()
	if report == nil {
		return err
	}
	var copied int64
	compared := true
	for _, table := range report.Tables {
		copied += table.Copied
		compared = compared && table.Sum != ""
	}
	if compared {
		return errors.Join(a.printCopy(source, target, report), err)
	}
	if errors.Is(err, transfer.ErrDifferent) { // before anything was done
		return err
	}
	err = cmp.Or(context.Cause(ctx), err)
	if verify {
		return fmt.Errorf("stopped before the end: %w", err)
	}
	return fmt.Errorf("stopped after %d rows were %s and committed; run the same again to go on: %w", copied, work, err)
}

// copyProgress shows how far it is; each verb has its own rate.
func (a *app) copyProgress(ctx context.Context) (show transfer.Progress, wipe func()) {
	line, doing := a.progress(ctx), ""
	return func(verb string, rows, total int64) {
		if verb != doing {
			line, doing = a.progress(ctx), verb
		}
		line.show(verb, rows, rows, total)
	}, func() { line.wipe() }
}

// copiedTable is a table in JSON.
type copiedTable struct {
	Table  string `json:"table"`
	Rows   int64  `json:"rows"`
	Target int64  `json:"target_rows"`
	Copied int64  `json:"copied"`
	Sum    string `json:"checksum"`
	Other  string `json:"target_checksum"`
	Equal  bool   `json:"equal"`
	ID     *int64 `json:"first_difference,omitempty"`
	What   string `json:"difference,omitempty"`
}

// printCopy prints how the databases compare.
func (a *app) printCopy(from, to *database.DB, report *transfer.Report) error {
	if a.json {
		tables := make([]copiedTable, len(report.Tables))
		for i, t := range report.Tables {
			tables[i] = copiedTable{Table: t.Name, Rows: t.Rows, Target: t.Found, Copied: t.Copied, Sum: t.Sum, Other: t.TargetSum, Equal: t.Difference == nil}
			if t.Difference != nil {
				tables[i].ID, tables[i].What = &t.Difference.ID, t.Difference.What
			}
		}
		return a.printJSON(struct {
			From   string        `json:"from"`
			To     string        `json:"to"`
			Tables []copiedTable `json:"tables"`
		}{from.Name(), to.Name(), tables})
	}
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TABLE\tROWS\tCHECKSUM\tRESULT")
	for _, t := range report.Tables {
		result := "equal"
		if t.Difference != nil {
			result = fmt.Sprintf("differs at id %d", t.Difference.ID)
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\n", t.Name, t.Rows, t.Sum, result)
	}
	return table.Flush()
}

// previewCopy prints what would be copied; target is nil for one that would be migrated first.
func (a *app) previewCopy(ctx context.Context, source, target *database.DB, name string) error {
	show, wipe := a.copyProgress(ctx)
	report, err := transfer.Preview(ctx, source, target, migrate.Tables, show)
	wipe()
	if err != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	type row struct {
		Table string `json:"table"`
		Rows  int64  `json:"rows"`
		There int64  `json:"target_rows"`
		Copy  int64  `json:"to_copy"`
	}
	rows := make([]row, len(report.Tables))
	for i, t := range report.Tables {
		rows[i] = row{t.Name, t.Rows, t.Found, t.Rows - t.Found}
	}
	if a.json {
		return a.printJSON(struct {
			From    string `json:"from"`
			To      string `json:"to"`
			Migrate bool   `json:"migrate"`
			DryRun  bool   `json:"dry_run"`
			Tables  []row  `json:"tables"`
		}{source.Name(), name, target == nil, true, rows})
	}
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TABLE\tROWS\tTHERE\tTO COPY")
	for _, r := range rows {
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\n", r.Table, r.Rows, r.There, r.Copy)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if target == nil {
		fmt.Fprintln(a.stdout, "\nThe target would be migrated first.")
	}
	_, err = fmt.Fprintln(a.stdout, "\nNothing was changed.")
	return err
}
