// Package cli is the reviewpoint command.
package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/internal/database"
)

// Exit codes of the command.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2 // the command line is wrong
	exitBehind = 3 // migrations are pending
)

const defaultURL = "sqlite://reviewpoint.db"

// app is one run of the command.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	url            string
	json           bool
	dir, devURL    string // of migrations
}

// failure is an error of the work itself; any other is one of the command line.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// Run runs the command with args (without the program's name) and returns its exit code. An error is
// one line on stderr.
func Run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	root := a.root(getenv)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(models.AsSystem(ctx, "reviewpoint"))
	if err == nil {
		return exitOK
	}
	if errors.Is(err, errBehind) {
		return exitBehind
	}
	if errors.As(err, new(failure)) {
		fmt.Fprintln(stderr, "reviewpoint: "+printable(oneLine(err)))
		return exitFailed
	}
	text := oneLine(err)
	if strings.Contains(text, "://") { // whose password is not to be repeated
		text = "there is a database URL where none belongs: give it as --db URL"
	}
	fmt.Fprintln(stderr, "reviewpoint: "+text)
	return exitUsage
}

// oneLine puts joined errors on one line.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

func (a *app) root(getenv func(string) string) *cobra.Command {
	url := getenv("REVIEWPOINT_DB_URL")
	if url == "" {
		url = defaultURL
	}
	root := &cobra.Command{
		Use:           "reviewpoint",
		Short:         "Look after a ReviewPoint database",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().StringVar(&a.url, "db", "", "database `URL`: sqlite://file.db or postgres://user:password@host/name (default $REVIEWPOINT_DB_URL, or "+defaultURL+")")
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print JSON, for programs")
	root.PersistentPreRun = func(*cobra.Command, []string) {
		a.url, a.devURL = cmp.Or(a.url, url), cmp.Or(a.devURL, getenv("ATLAS_DEV_URL")) // whose passwords are no defaults to show
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		text, _, _ := strings.Cut(err.Error(), " in -") // which repeats what follows, as the password of -pPASSWORD
		return fmt.Errorf("%s: see `%s --help`", text, cmd.CommandPath())
	})
	root.AddCommand(
		a.demoCommand(), a.migrateCommand(), a.userCommand(), a.tokenCommand(), a.auditCommand(), a.purgeCommand(), a.doctorCommand(),
		a.importCommand(), a.exportCommand(),
	)
	return root
}

// withStore runs work on the open database.
func (a *app) withStore(ctx context.Context, work func(*models.Store) error, opts ...models.Option) (err error) {
	store, err := models.Open(ctx, a.url, opts...)
	if err != nil {
		return failure{err}
	}
	defer func() {
		if closed := store.Close(); closed != nil && err == nil {
			err = failure{closed}
		}
	}()
	if err := work(store); err != nil {
		return failure{err}
	}
	return nil
}

// withDatabase runs work on the open database below the client, for what changes its tables.
func (a *app) withDatabase(ctx context.Context, opts database.Options, work func(*database.DB) error) (err error) {
	db, err := database.Open(ctx, a.url, opts)
	if err != nil {
		return failure{err}
	}
	defer func() {
		if closed := db.Close(); closed != nil && err == nil {
			err = failure{closed}
		}
	}()
	if err := work(db); err != nil {
		return failure{err}
	}
	return nil
}

// withTables is withStore on a database that is up to date.
func (a *app) withTables(ctx context.Context, work func(*models.Store) error, opts ...models.Option) error {
	return a.withStore(ctx, func(s *models.Store) error {
		if err := upToDate(ctx, s); err != nil {
			return err
		}
		return work(s)
	}, opts...)
}

// one takes a single argument, or says what to give.
func one(advice string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return errors.New(advice)
		}
		return nil
	}
}

func (a *app) printJSON(v any) error {
	encoder := json.NewEncoder(a.stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// page is how many rows are read at a time.
const page = 500

// list prints rows as they are read, so that a long list is not held in memory: limit of them, or all for
// 0. read returns the next n at most, line the cells of one, none is what people read if there are none.
func list[T any](a *app, limit int, headings, none string, read func(n int) ([]T, error), line func(T) string) error {
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for printed := 0; ; {
		n := page
		if limit > 0 {
			n = min(page, limit-printed)
		}
		rows, err := read(n)
		if err != nil {
			return err
		}
		for _, row := range rows {
			printed++
			if a.json {
				err = a.printItem(row, printed == 1)
			} else {
				if printed == 1 {
					fmt.Fprintln(table, headings)
				}
				_, err = fmt.Fprintln(table, line(row))
			}
			if err != nil {
				return err
			}
		}
		if err := table.Flush(); err != nil {
			return err
		}
		if len(rows) == n && printed != limit {
			continue
		}
		end := ""
		switch {
		case a.json && printed == 0:
			end = "[]\n"
		case a.json:
			end = "\n]\n"
		case printed == 0:
			end = none + "\n"
		}
		_, err = io.WriteString(a.stdout, end)
		return err
	}
}

// printItem prints a row of an array.
func (a *app) printItem(row any, first bool) error {
	before := ",\n  "
	if first {
		before = "[\n  "
	}
	text, err := json.Marshal(row)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "%s%s", before, text)
	return err
}
