package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/reviewpoint/models"
)

func (a *app) purgeCommand() *cobra.Command {
	var (
		older, auditOlder string
		dryRun            bool
	)
	command := &cobra.Command{
		Use:   "purge",
		Short: "Remove for good what has been kept for long enough",
		Long: "Remove for good tokens that have been expired, password resets that have been used, and accounts with their files that have been deleted for longer than --older-than; " +
			"and the changes of the audit trail that are older than --audit-older-than, if that is given. " +
			"A link to reset a password counts again when its row is gone: --older-than must be longer than links are valid.",
		Example: "  reviewpoint purge --older-than 30d --dry-run\n  reviewpoint purge --older-than 720h --audit-older-than 365d",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if older == "" {
				return errors.New("--older-than is missing: say for how long to keep things, such as 720h or 30d")
			}
			age, err := parseAge("--older-than", older)
			if err != nil {
				return err
			}
			options := models.PurgeOptions{Tokens: age, Resets: age, DeletedUsers: age, DryRun: dryRun}
			if cmd.Flags().Changed("audit-older-than") {
				if options.AuditLogs, err = parseAge("--audit-older-than", auditOlder); err != nil {
					return err
				}
			}
			var opts []models.Option
			if dryRun {
				opts = append(opts, models.WithReadOnly())
			}
			return a.withTables(cmd.Context(), func(s *models.Store) error { return a.purge(cmd.Context(), s, options) }, opts...)
		},
	}
	command.Flags().StringVar(&older, "older-than", "", "for how `long` to keep tokens that have expired, used password resets and deleted accounts: 720h, 30d")
	command.Flags().StringVar(&auditOlder, "audit-older-than", "", "for how `long` to keep the audit trail (default forever)")
	command.Flags().BoolVar(&dryRun, "dry-run", false, "count what would go, and remove nothing")
	return command
}

func parseAge(flag, value string) (time.Duration, error) {
	age, err := parseDuration(value)
	if err != nil || age <= 0 {
		return 0, fmt.Errorf("%s is %q: give a time above zero, such as 720h or 30d", flag, value)
	}
	return age, nil
}

func (a *app) purge(ctx context.Context, s *models.Store, options models.PurgeOptions) error {
	line := a.progress(ctx)
	options.Progress = func(r models.PurgeReport) {
		rows := int64(r.Tokens + r.Resets + r.AuditLogs + r.Users + r.Files)
		line.show("removed", rows, rows, 0)
	}
	report, err := s.PurgeExpired(ctx, options)
	line.wipe()
	if err != nil {
		err = fmt.Errorf("stopped before the end: %w", cmp.Or(context.Cause(ctx), err))
	}
	return errors.Join(a.printPurge(*report, options.DryRun), err)
}

func (a *app) printPurge(report models.PurgeReport, dryRun bool) error {
	if a.json {
		return a.printJSON(struct {
			models.PurgeReport

			DryRun bool `json:"dry_run"`
		}{report, dryRun})
	}
	heading := "REMOVED"
	if dryRun {
		heading = "WOULD GO"
	}
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "KIND\t%s\n", heading)
	fmt.Fprintf(table, "tokens\t%d\npassword resets\t%d\naudit rows\t%d\naccounts\t%d\nfiles\t%d\n",
		report.Tokens, report.Resets, report.AuditLogs, report.Users, report.Files)
	return table.Flush()
}
