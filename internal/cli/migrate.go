package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"entgo.io/ent/dialect"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/migration"
	"github.com/reviewpoint/models/schema/migrations"
)

// errBehind is what status ends with when migrations are pending.
var errBehind = errors.New("migrations are pending")

func (a *app) migrateCommand() *cobra.Command {
	migrate := &cobra.Command{
		Use:     "migrate",
		Short:   "Plan, check, apply, undo and verify migrations",
		Example: "  reviewpoint migrate status\n  reviewpoint migrate apply",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	migrate.PersistentFlags().StringVar(&a.dir, "dir", "", "`folder` of the migrations, with sqlite and postgres in it (default what this command was built with; schema/migrations for plan, lint and hash)")
	fromEnvironment(migrate.PersistentFlags(), "dir", "REVIEWPOINT_MIGRATIONS_DIR")
	a.addDevURL(migrate.PersistentFlags())
	migrate.AddCommand(
		a.planCommand(), a.lintCommand(), a.hashCommand(),
		a.applyCommand(), a.statusCommand(), a.downCommand(), a.verifyCommand(), a.adoptCommand(),
	)
	inGroups(migrate, []group{
		{"run", "Run migrations:", []string{"apply", "status", "down", "verify", "adopt"}},
		{"write", "Write migrations:", []string{"plan", "lint", "hash"}},
	})
	return migrate
}

func (a *app) addDevURL(flags *pflag.FlagSet) {
	flags.StringVar(&a.devURL, "dev-url", "", "`URL` of a PostgreSQL database to try migrations on; nothing stays there (default the database itself, or a throw-away server)")
	fromEnvironment(flags, "dev-url", "ATLAS_DEV_URL")
}

// openDev opens a place to try out migrations of the dialect: that of --dev-url, or else that of url.
func (a *app) openDev(ctx context.Context, name, url string) (*migration.Dev, error) {
	if a.devURL != "" && name == dialect.Postgres {
		if err := database.CheckURL(a.devURL); err != nil {
			return nil, misuse{fmt.Errorf("--dev-url, or ATLAS_DEV_URL: %w", err)}
		}
		url = a.devURL
	}
	return migration.OpenDev(ctx, name, url)
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

// files are the migrations that --dir names, or else those inside the command.
func (a *app) files() fs.FS {
	if a.dir == "" {
		return migrations.FS
	}
	return os.DirFS(a.dir)
}

// withMigrator runs work on the open database and the migrations for it.
func (a *app) withMigrator(ctx context.Context, opts database.Options, work func(*database.DB, *migration.Migrator) error) error {
	return a.withDatabase(ctx, opts, func(db *database.DB) error {
		m, err := migration.New(db, a.files())
		if err != nil {
			return err
		}
		return work(db, m)
	})
}

// withDev runs work with a place to try migrations out that are meant for db.
func (a *app) withDev(ctx context.Context, db *database.DB, work func(*migration.Dev) error) (err error) {
	dev, err := a.openDev(ctx, db.Dialect(), a.url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dev.Close()) }()
	return work(dev)
}

// limits are the flags of what changes tables in use.
type limits struct {
	lock, statement time.Duration
	attempts        int
}

func (l *limits) add(command *cobra.Command) {
	command.Flags().DurationVar(&l.lock, "lock-timeout", 10*time.Second, "for how `long` a statement may wait for a lock, while whoever comes later waits for it; 1ms or more")
	command.Flags().DurationVar(&l.statement, "statement-timeout", 0, "for how `long` a statement may run (default without bound)")
	command.Flags().IntVar(&l.attempts, "attempts", 3, "try `N` times when a lock is not to be had in time; 1 or more")
}

func (l *limits) check() error {
	if l.lock < time.Millisecond || l.statement < 0 || l.attempts < 1 {
		return errors.New("--lock-timeout must be 1ms or more, --statement-timeout not negative, and --attempts 1 or more")
	}
	return nil
}

func (l *limits) options() migration.Options {
	return migration.Options{StatementTimeout: l.statement, Attempts: l.attempts}
}

func (a *app) applyCommand() *cobra.Command {
	var (
		limits        limits
		to            string
		dryRun, blind bool
	)
	command := &cobra.Command{
		Use:   "apply",
		Short: "Apply the pending migrations",
		Long: `Apply the pending migrations, each in a transaction of its own. Any number of processes may do so at once.

Before anything is applied, a database that is not what its applied migrations make is refused, and so are migrations that were edited after they were applied.`,
		Example: "  reviewpoint migrate apply --db sqlite://reviewpoint.db\n  reviewpoint migrate apply --dry-run --to 20261123160500",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := limits.check(); err != nil {
				return err
			}
			return a.withMigrator(cmd.Context(), database.Options{LockTimeout: limits.lock, ReadOnly: dryRun}, func(db *database.DB, m *migration.Migrator) error {
				opts := limits.options()
				opts.To = to
				work := func(dev *migration.Dev) error {
					opts.Dev = dev
					if dryRun {
						return a.previewApply(cmd.Context(), m, opts)
					}
					return a.apply(cmd.Context(), db, m, opts)
				}
				if blind {
					return work(nil)
				}
				return a.withDev(cmd.Context(), db, work)
			})
		},
	}
	limits.add(command)
	command.Flags().StringVar(&to, "to", "", "the last `version` to apply (default all)")
	a.completeVersions(command, "to")
	command.Flags().BoolVar(&dryRun, "dry-run", false, "show the statements, and run none")
	command.Flags().BoolVar(&blind, "skip-drift-check", false, "do not compare the database with what its applied migrations make")
	return command
}

// applied is a migration in JSON.
type applied struct {
	Name      string    `json:"name"`
	Version   string    `json:"version"`
	State     string    `json:"state"` // applied, pending or failed
	AppliedAt time.Time `json:"applied_at,omitzero"`
	Took      string    `json:"took,omitempty"`
	Error     string    `json:"error,omitempty"`
	FailedAt  time.Time `json:"failed_at,omitzero"`
	Done      int       `json:"statements_done,omitempty"`
}

func asApplied(file migration.File) applied {
	out := applied{Name: file.Name, Version: file.Version, State: "applied", AppliedAt: file.AppliedAt}
	if file.Took > 0 {
		out.Took = file.Took.Round(time.Microsecond).String()
	}
	switch {
	case file.Failed != "":
		out.State, out.Error, out.FailedAt, out.Done = "failed", file.Failed, file.FailedAt, file.Done
	case file.Pending():
		out.State = "pending"
	}
	return out
}

func asAppliedAll(files []migration.File) []applied {
	out := make([]applied, len(files))
	for i, file := range files {
		out[i] = asApplied(file)
	}
	return out
}

func (a *app) apply(ctx context.Context, db *database.DB, m *migration.Migrator, opts migration.Options) error {
	files, err := m.Apply(ctx, opts)
	if a.json && (err == nil || len(files) > 0) {
		report := struct {
			Applied []applied `json:"applied"`
		}{asAppliedAll(files)}
		return errors.Join(a.printJSON(report), err)
	}
	for _, file := range files {
		fmt.Fprintf(a.stdout, "applied %s\n", file.Name)
	}
	if err == nil && len(files) == 0 {
		fmt.Fprintf(a.stdout, "%s is up to date\n", db.Name())
	}
	return err
}

// previewApply shows what Apply would run.
func (a *app) previewApply(ctx context.Context, m *migration.Migrator, opts migration.Options) error {
	files, err := m.Preview(ctx, opts)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(struct {
			Pending []migration.Preview `json:"pending"`
		}{files})
	}
	for _, file := range files {
		fmt.Fprintf(a.stdout, "-- %s\n%s\n\n", file.Name, strings.Join(file.Statements, ";\n")+";")
	}
	if len(files) == 0 {
		fmt.Fprintln(a.stdout, "nothing is pending")
	}
	return nil
}

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "List the migrations: applied, pending, failed",
		Long:    "List the migrations: applied, pending, failed. Exits with 3 when some are still to be applied.",
		Example: "  reviewpoint migrate status --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withMigrator(cmd.Context(), database.Options{ReadOnly: true}, func(_ *database.DB, m *migration.Migrator) error {
				files, err := m.Status(cmd.Context())
				if err != nil {
					return err
				}
				return a.printStatus(files)
			})
		},
	}
}

func (a *app) printStatus(files []migration.File) error {
	pending := 0
	for _, file := range files {
		if file.Pending() {
			pending++
		}
	}
	var behind error
	if pending > 0 {
		behind = errBehind
	}
	if a.json {
		return errors.Join(a.printJSON(asAppliedAll(files)), behind)
	}
	rows := [][]string{{"MIGRATION", "STATE", "AT", "TOOK"}}
	for _, file := range files {
		line := asApplied(file)
		at := ""
		if when := latest(file.AppliedAt, file.FailedAt); !when.IsZero() {
			at = when.Format(time.RFC3339)
		}
		rows = append(rows, []string{line.Name, line.State, at, line.Took})
	}
	if err := a.printStates(rows); err != nil {
		return err
	}
	for _, file := range files {
		if file.Failed != "" {
			fmt.Fprintf(a.stdout, "\n%s failed: %s\n", file.Name, printable(file.Failed))
			if file.Done > 0 {
				fmt.Fprintf(a.stdout, "%d of its %d statements are done and kept; `reviewpoint migrate apply` goes on from there\n", file.Done, file.Total)
			}
		}
	}
	if pending > 0 {
		fmt.Fprintf(a.stdout, "\n%d pending: run `reviewpoint migrate apply`\n", pending)
	}
	return behind
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (a *app) downCommand() *cobra.Command {
	var (
		limits      limits
		to          string
		dryRun, yes bool
	)
	command := &cobra.Command{
		Use:   "down [N]",
		Short: "Undo the last migration, the last N, or those after a version",
		Long: `Undo the last migration, the last N, or those after a version, in one transaction.

What it does is computed from what the migrations make, with and without those to undo, and is shown first. It asks before rows or values go for good.`,
		Example: "  reviewpoint migrate down --dry-run\n  reviewpoint migrate down --to 20261123111209",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return errors.New("give one number of migrations to undo")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := downCount(args, to)
			if err == nil {
				err = limits.check()
			}
			if err != nil {
				return err
			}
			return a.withMigrator(cmd.Context(), database.Options{LockTimeout: limits.lock, Existing: true}, func(db *database.DB, m *migration.Migrator) error {
				return a.withDev(cmd.Context(), db, func(dev *migration.Dev) error {
					plan, err := m.PlanDown(cmd.Context(), dev, to, n)
					if err != nil {
						return err
					}
					return a.down(cmd.Context(), m, plan, limits.options(), dryRun, yes)
				})
			})
		},
	}
	limits.add(command)
	command.Flags().StringVar(&to, "to", "", "the `version` after which to undo everything; 0 is before the first")
	a.completeVersions(command, "to")
	command.Flags().BoolVar(&dryRun, "dry-run", false, "show the statements, and run none")
	command.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return command
}

// downCount is the number of migrations to undo, or 0 where a version says it.
func downCount(args []string, to string) (int, error) {
	switch {
	case to != "" && len(args) > 0:
		return 0, errors.New("give a number of migrations or --to VERSION, not both")
	case to != "":
		return 0, nil
	case len(args) == 0:
		return 1, nil
	}
	n, err := strconv.Atoi(args[0])
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q is no number of migrations to undo: give 1 or more, or --to VERSION", args[0])
	}
	return n, nil
}

func (a *app) down(ctx context.Context, m *migration.Migrator, plan *migration.Down, opts migration.Options, dryRun, yes bool) error {
	out := a.stdout
	if a.json {
		out = a.stderr
	}
	for _, file := range plan.Files {
		fmt.Fprintf(out, "to undo: %s\n", file.Name)
	}
	for _, statement := range plan.Statements {
		fmt.Fprintf(out, "%s;\n", statement)
	}
	for _, name := range plan.Keeps {
		fmt.Fprintf(out, "not undone: the changes of rows in %s\n", name)
	}
	for _, what := range plan.Destroys {
		fmt.Fprintf(out, "lost for good: %s\n", what)
	}
	if !dryRun {
		if len(plan.Destroys) > 0 && !yes {
			if err := a.agree(ctx, "This destroys data."); err != nil {
				return err
			}
		}
		if err := m.Down(ctx, plan, opts); err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(struct {
			Undone     []applied `json:"undone"`
			Statements []string  `json:"statements"`
			Destroys   []string  `json:"destroys"`
			DryRun     bool      `json:"dry_run"`
		}{asAppliedAll(plan.Files), plan.Statements, plan.Destroys, dryRun})
	}
	if !dryRun {
		fmt.Fprintf(out, "undone: %d\n", len(plan.Files))
	}
	return nil
}

// agree asks for a yes.
func (a *app) agree(ctx context.Context, warning string) error {
	fmt.Fprint(a.stderr, warning+" Type yes to go on: ")
	typed, err := a.readLine(ctx)
	if err != nil { // and no end of the line
		fmt.Fprintln(a.stderr)
	}
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return err
	case strings.TrimSpace(typed) != "yes":
		return errors.New("nobody said yes, so nothing was changed; scripts say --yes")
	}
	return nil
}
