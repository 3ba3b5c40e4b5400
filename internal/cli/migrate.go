package cli

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/reviewpoint/models"
)

func (a *app) migrateCommand() *cobra.Command {
	migrate := &cobra.Command{
		Use:   "migrate",
		Short: "Apply and inspect migrations",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	migrate.AddCommand(
		&cobra.Command{
			Use:     "apply",
			Short:   "Apply the pending migrations",
			Example: "  reviewpoint migrate apply --db sqlite://reviewpoint.db",
			Args:    cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return a.withStore(cmd.Context(), func(s *models.Store) error { return a.migrateApply(cmd.Context(), s) })
			},
		},
		&cobra.Command{
			Use:     "status",
			Short:   "List the migrations, applied and pending",
			Example: "  reviewpoint migrate status --json",
			Args:    cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return a.withStore(cmd.Context(), func(s *models.Store) error { return a.migrateStatus(cmd.Context(), s) }, models.WithReadOnly())
			},
		},
		a.adoptCommand(),
	)
	return migrate
}

// upToDate refuses a database that lacks migrations, for what reads the tables.
func upToDate(ctx context.Context, store *models.Store) error {
	migrations, err := store.Migrations(ctx)
	if err != nil {
		return err
	}
	for _, migration := range migrations {
		if migration.AppliedAt.IsZero() {
			return fmt.Errorf("%s lacks migration %s: run `reviewpoint migrate apply`", store.Name(), migration.Name)
		}
	}
	return nil
}

func (a *app) migrateApply(ctx context.Context, store *models.Store) error {
	report, err := store.Migrate(ctx)
	if err != nil && (report == nil || len(report.Applied) == 0) {
		return err
	}
	if a.json {
		if printErr := a.printJSON(report); printErr != nil {
			return printErr
		}
		return err
	}
	for _, migration := range report.Applied {
		fmt.Fprintf(a.stdout, "applied %s\n", migration.Name)
	}
	if len(report.Applied) == 0 {
		fmt.Fprintf(a.stdout, "%s is up to date\n", store.Name())
	}
	return err
}

func (a *app) migrateStatus(ctx context.Context, store *models.Store) error {
	migrations, err := store.Migrations(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(migrations)
	}
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "MIGRATION\tSTATE\tAPPLIED AT")
	pending := 0
	for _, migration := range migrations {
		if migration.AppliedAt.IsZero() {
			pending++
			fmt.Fprintf(table, "%s\tpending\t\n", migration.Name)
			continue
		}
		fmt.Fprintf(table, "%s\tapplied\t%s\n", migration.Name, migration.AppliedAt.Format(time.RFC3339))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if pending > 0 {
		fmt.Fprintf(a.stdout, "\n%d pending: run `reviewpoint migrate apply`\n", pending)
	}
	return nil
}
