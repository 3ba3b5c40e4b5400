// Package cli is the reviewpoint command.
package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

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
	getenv         func(string) string
	url            string
	urlVariable    string // where the URL comes from, if not from --db
	json           bool
	colour         bool
	dir, devURL    string // of migrations
}

// failure is an error of the work itself; any other is one of the command line.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// misuse is an error of the command line or of the environment, wherever it was found. It repeats nothing
// that was given.
type misuse struct{ error }

func (m misuse) Unwrap() error { return m.error }

// Run runs the command with args (without the program's name) and returns its exit code. An error is
// one line on stderr.
func Run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, getenv: getenv, colour: wantsColour(stdout, getenv)}
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(models.AsSystem(ctx, "reviewpoint"))
	if err == nil {
		return exitOK
	}
	if errors.Is(err, errBehind) {
		return exitBehind
	}
	if wrong, ok := errors.AsType[misuse](err); ok {
		fmt.Fprintln(stderr, "reviewpoint: "+printable(oneLine(wrong)))
		return exitUsage
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

// kinds says what the value of a flag must be, by its type.
var kinds = map[string]string{
	"bool": "true or false", "int": "a whole number", "int64": "a whole number", "duration": "how long, such as 10s or 1m",
}

// What people do with the command, in the order in which they do it.
var groups = []group{
	{"start", "Begin:", []string{"demo", "doctor"}},
	{"accounts", "Look after accounts, files and tokens:", []string{"user", "file", "token", "audit", "purge"}},
	{"bulk", "Move rows in bulk:", []string{"import", "export", "copy"}},
	{"schema", "Look after the tables:", []string{"migrate", "erd"}},
	{"shell", "Besides:", []string{"completion", "help"}},
}

// group is a heading of the help, and the commands below it.
type group struct {
	id, title string
	commands  []string
}

func inGroups(parent *cobra.Command, groups []group) {
	for _, g := range groups {
		for _, command := range parent.Commands() {
			if slices.Contains(g.commands, command.Name()) {
				command.GroupID = g.id
			}
			if command.GroupID == g.id && !parent.ContainsGroup(g.id) { // An empty one would be shown, too.
				parent.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
			}
		}
	}
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "reviewpoint",
		Short: "Look after a ReviewPoint database",
		Long: "Look after a ReviewPoint database: that of --db, or of the environment variable REVIEWPOINT_DB_URL, or " + defaultURL + " in the current folder. " +
			"A flag counts more than the environment variable that stands beside it in brackets.",
		Version:       version(),
		Example:       "  reviewpoint demo\n  reviewpoint doctor --db postgres://app@db.example.org/reviewpoint",
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.PersistentFlags().StringVar(&a.url, "db", "", "database `URL`: sqlite://file.db or postgres://user:password@host/name (default "+defaultURL+")")
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print JSON, for programs")
	fromEnvironment(root.PersistentFlags(), "db", "REVIEWPOINT_DB_URL")
	fromEnvironment(root.PersistentFlags(), "json", "REVIEWPOINT_JSON")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		used, err := readEnvironment(cmd.Flags(), a.getenv)
		if err != nil {
			return err
		}
		a.urlVariable = used["db"]
		if a.url == "" && cmd.Flags().Changed("db") { // such as that of a variable of a script which is not set
			return misuse{errors.New("--db is empty: give a URL, or leave --db out for " + defaultURL)}
		}
		a.url = cmp.Or(a.url, defaultURL) // A flag's default is shown, and so may be no URL of the environment.
		return nil
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if wrong, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
			if kind, known := kinds[wrong.GetFlag().Value.Type()]; known {
				return fmt.Errorf("--%s is %q: give %s", wrong.GetFlag().Name, wrong.GetValue(), kind)
			}
		}
		text, _, _ := strings.Cut(err.Error(), " in -") // which repeats what follows, as the password of -pPASSWORD
		return fmt.Errorf("%s: see `%s --help`", text, cmd.CommandPath())
	})
	root.AddCommand(
		a.demoCommand(), a.migrateCommand(), a.userCommand(), a.fileCommand(), a.tokenCommand(), a.auditCommand(), a.purgeCommand(), a.doctorCommand(),
		a.erdCommand(), a.copyCommand(), a.importCommand(), a.exportCommand(),
	)
	root.AddCommand(a.completionCommand())
	inGroups(root, groups)
	root.SetHelpCommandGroupID(groups[len(groups)-1].id)
	finish(root)
	return root
}

// version is that of the module which the program was built from.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return cmp.Or(info.Main.Version, "(devel)")
	}
	return "(unknown)"
}

// finish gives all commands what they have in common: a wrong word after one with others below it gets the
// nearest of those, and a shell completes files where a FILE or folder belongs alone.
func finish(command *cobra.Command) {
	if command.HasSubCommands() {
		command.Args, command.SuggestionsMinimumDistance = knownCommand, 2
	}
	completeNothingElse(command)
	for _, child := range command.Commands() {
		finish(child)
	}
}

// knownCommand refuses a word that is none of the commands below.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("unknown command %q: did you mean `%s %s`?", args[0], cmd.CommandPath(), near[0])
	}
	return fmt.Errorf("unknown command %q: see `%s --help`", args[0], cmd.CommandPath())
}

// checkURL refuses what is no URL of the environment, by the name of the variable.
func (a *app) checkURL() error {
	if a.urlVariable == "" || a.url != a.getenv(a.urlVariable) { // A command may have URLs of its own.
		return nil
	}
	if err := database.CheckURL(a.url); err != nil {
		return misuse{fmt.Errorf("%s: %w", a.urlVariable, err)}
	}
	return nil
}

// withStore runs work on the open database.
func (a *app) withStore(ctx context.Context, work func(*models.Store) error, opts ...models.Option) (err error) {
	if err := a.checkURL(); err != nil {
		return err
	}
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
	if err := a.checkURL(); err != nil {
		return err
	}
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

// withTables is withStore on a database that is there, and up to date.
func (a *app) withTables(ctx context.Context, work func(*models.Store) error, opts ...models.Option) error {
	if err := a.checkURL(); err != nil {
		return err
	}
	if err := database.CheckExisting(a.url); err != nil {
		return failure{err}
	}
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
		if _, err = io.WriteString(a.stdout, end); err != nil || limit == 0 || printed < limit {
			return err
		}
		if more, err := read(1); err != nil || len(more) == 0 {
			return err
		}
		_, err = fmt.Fprintf(a.stderr, "these are the first %d: --limit 0 shows all\n", limit)
		return err
	}
}
