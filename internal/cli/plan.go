package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"entgo.io/ent/dialect"
	"github.com/spf13/cobra"

	entmigrate "github.com/reviewpoint/models/ent/migrate"
	"github.com/reviewpoint/models/internal/clock"
	"github.com/reviewpoint/models/internal/cluster"
	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/migration"
)

// sources is the folder of migrations to write to.
func (a *app) sources() (string, error) {
	dir := a.dir
	if dir == "" {
		dir = filepath.Join("schema", "migrations")
	}
	for _, folder := range []string{"sqlite", "postgres"} {
		if info, err := os.Stat(filepath.Join(dir, folder)); err != nil || !info.IsDir() {
			return "", fmt.Errorf("there is no folder %s: run this in the folder of the module, or name it by --dir", filepath.Join(dir, folder))
		}
	}
	return dir, nil
}

// withDevs runs work with a place to try migrations out for each dialect.
func (a *app) withDevs(ctx context.Context, work func([]*migration.Dev) error) error {
	sqlite, err := a.openDev(ctx, dialect.SQLite, "")
	if err != nil {
		return failure{err}
	}
	postgres, err := a.openDev(ctx, dialect.Postgres, "")
	if err != nil {
		return failure{errors.Join(err, sqlite.Close())}
	}
	err = errors.Join(work([]*migration.Dev{sqlite, postgres}), sqlite.Close(), postgres.Close())
	if err != nil {
		return failure{err}
	}
	return nil
}

func (a *app) planCommand() *cobra.Command {
	var opts migration.PlanOptions
	command := &cobra.Command{
		Use:   "plan NAME",
		Short: "Write the next migration of each database from the schema",
		Long: `Write the next migration of each database from the schema, with its atlas.sum, in schema/migrations.

The plan is linted at once. One that loses data, may fail on rows that are there, or locks a big table is shown with the reason and the safer way; it is not written and the command exits with 1, unless --allow names the finding.`,
		Example: "  go generate ./... && go run ./cmd/reviewpoint migrate plan add_orcid\n  reviewpoint migrate plan drop_bio --allow DS103",
		Args:    one("give the migration a name, as in `reviewpoint migrate plan add_orcid`"),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := a.sources()
			if err != nil {
				return failure{err}
			}
			return a.withDevs(cmd.Context(), func(devs []*migration.Dev) error {
				return a.plan(cmd.Context(), migration.Folder{Path: dir, Devs: devs}, args[0], opts)
			})
		},
	}
	command.Flags().StringSliceVar(&opts.Allow, "allow", nil, "`codes` of findings to accept, as in DS103,PG101")
	command.Flags().BoolVar(&opts.Concurrently, "concurrently", false, "make indexes of existing tables on PostgreSQL without locking them, each in a file of its own")
	return command
}

func (a *app) plan(ctx context.Context, folder migration.Folder, name string, opts migration.PlanOptions) error {
	planned, err := folder.Plan(ctx, name, entmigrate.Tables, clock.Now(ctx), opts)
	if err != nil {
		return err
	}
	refused := 0
	for _, file := range planned {
		refused += objections(file.Findings)
	}
	if refused == 0 {
		if err := folder.Write(planned); err != nil {
			return err
		}
	}
	if a.json {
		if planned == nil {
			planned = []migration.Planned{}
		}
		err = a.printJSON(struct {
			Written bool                `json:"written"`
			Planned []migration.Planned `json:"planned"`
		}{refused == 0 && len(planned) > 0, planned})
	} else {
		a.printPlan(folder, planned, refused)
	}
	if refused > 0 {
		return errors.Join(err, fmt.Errorf("nothing was written for %s that nothing allows: change the schema, or accept by --allow CODE", counted(refused, "finding")))
	}
	return err
}

func (a *app) printPlan(folder migration.Folder, planned []migration.Planned, refused int) {
	if len(planned) == 0 {
		fmt.Fprintln(a.stdout, "nothing to plan: the migrations make what the client was generated for; after a change in schema/, run `go generate ./...` first")
		return
	}
	for _, file := range planned {
		path := filepath.Join(folder.Path, file.Dialect, file.Name)
		if refused > 0 {
			fmt.Fprintf(a.stdout, "-- %s, not written\n%s\n", path, file.SQL)
		} else {
			fmt.Fprintf(a.stdout, "wrote %s\n", path)
		}
		a.printLint(file.Findings)
	}
}

// objections counts the findings that nothing allows.
func objections(findings []migration.Finding) int {
	n := 0
	for _, finding := range findings {
		if finding.Allowed == "" {
			n++
		}
	}
	return n
}

// counted is a number of things of one name.
func counted(n int, name string) string {
	if n == 1 {
		return "1 " + name
	}
	return fmt.Sprintf("%d %ss", n, name)
}

func (a *app) printLint(findings []migration.Finding) {
	for _, f := range findings {
		allowed := ""
		if f.Allowed != "" {
			allowed = " (allowed by " + f.Allowed + ")"
		}
		fmt.Fprintf(a.stdout, "%s/%s:%d: %s%s: %s\n", f.Dialect, f.File, f.Line, f.Code, allowed, f.Reason)
		if f.Allowed == "" {
			fmt.Fprintf(a.stdout, "    safer: %s\n", f.Safer)
		}
	}
}

func (a *app) lintCommand() *cobra.Command {
	var allow []string
	command := &cobra.Command{
		Use:     "lint",
		Short:   "Look in all migrations for what loses data, may fail or locks a big table",
		Long:    "Look in all migrations for what loses data, may fail on rows that are there, or locks a big table. Exits with 1 for what neither a nolint in the file, nor accepted.txt, nor --allow names.",
		Example: "  reviewpoint migrate lint",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := a.sources()
			if err != nil {
				return failure{err}
			}
			return a.withDevs(cmd.Context(), func(devs []*migration.Dev) error {
				return a.lint(cmd.Context(), os.DirFS(dir), devs, allow)
			})
		},
	}
	command.Flags().StringSliceVar(&allow, "allow", nil, "`codes` of findings to accept, as in DS103,PG101")
	return command
}

func (a *app) lint(ctx context.Context, files fs.FS, devs []*migration.Dev, allow []string) error {
	findings, err := migration.Lint(ctx, files, devs, allow...)
	if err != nil {
		return err
	}
	if a.json {
		if findings == nil {
			findings = []migration.Finding{}
		}
		err = a.printJSON(findings)
	} else {
		a.printLint(findings)
	}
	n := objections(findings)
	switch {
	case n > 0:
		return errors.Join(err, errors.New(counted(n, "finding")+" that nothing allows"))
	case !a.json:
		fmt.Fprintln(a.stdout, "nothing to object to")
	}
	return err
}

func (a *app) hashCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "hash",
		Short:   "Write atlas.sum anew, after a migration that nobody has applied was edited",
		Example: "  reviewpoint migrate hash",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			dir, err := a.sources()
			if err == nil {
				err = migration.Folder{Path: dir}.Hash()
			}
			if err != nil {
				return failure{err}
			}
			return nil
		},
	}
}

func (a *app) verifyCommand() *cobra.Command {
	var offline bool
	command := &cobra.Command{
		Use:   "verify",
		Short: "Compare migrations, schema and database with each other",
		Long: `Compare the migrations with their atlas.sum, what they make with the schema, SQLite with PostgreSQL, and the database with what its applied migrations make. Every difference is named; nothing is changed. Exits with 1 when there is one.

What PostgreSQL's migrations make is seen on the database itself, on --dev-url, or on a throw-away server of the machine.`,
		Example: "  reviewpoint migrate verify --db postgres://app@db.example.org/reviewpoint\n  reviewpoint migrate verify --no-db --dir schema/migrations",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if offline {
				return a.verify(cmd.Context(), nil)
			}
			return a.withDatabase(cmd.Context(), database.Options{ReadOnly: true}, func(db *database.DB) error { return a.verify(cmd.Context(), db) })
		},
	}
	command.Flags().BoolVar(&offline, "no-db", false, "look at the migrations alone")
	return command
}

// verify looks at a database, too, unless it is nil.
func (a *app) verify(ctx context.Context, db *database.DB) (err error) {
	var devs []*migration.Dev
	defer func() {
		for _, dev := range devs {
			err = errors.Join(err, dev.Close())
		}
		if err != nil {
			err = failure{err}
		}
	}()
	skipped := ""
	for _, name := range []string{"sqlite3", "postgres"} {
		url := ""
		if db != nil && db.Dialect() == name {
			url = a.url
		}
		dev, err := a.openDev(ctx, name, url)
		if errors.Is(err, cluster.ErrNone) {
			skipped = oneLine(err)
			continue
		}
		if err != nil {
			return err
		}
		devs = append(devs, dev)
	}
	found, err := migration.Verify(ctx, a.files(), entmigrate.Tables, devs, db)
	if err != nil {
		return err
	}
	if a.json {
		if found == nil {
			found = []migration.Difference{}
		}
		err = a.printJSON(struct {
			Differences []migration.Difference `json:"differences"`
			Skipped     string                 `json:"skipped,omitempty"`
		}{found, skipped})
	} else {
		for _, difference := range found {
			fmt.Fprintf(a.stdout, "%s: %s\n", difference.Where, difference.What)
		}
		if skipped != "" {
			fmt.Fprintf(a.stdout, "PostgreSQL's migrations were not looked at: %s\n", skipped)
		}
		if len(found) == 0 {
			fmt.Fprintln(a.stdout, "no difference")
		}
	}
	if len(found) > 0 {
		return errors.Join(err, errors.New(counted(len(found), "difference")))
	}
	return err
}
