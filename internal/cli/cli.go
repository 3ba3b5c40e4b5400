// Package cli is the reviewpoint command.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/reviewpoint/models"
)

// Exit codes of the command.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2 // the command line is wrong
)

const defaultURL = "sqlite://reviewpoint.db"

// app is one run of the command.
type app struct {
	stdout, stderr io.Writer
	url            string
	json           bool
}

// failure is an error of the work itself; any other is one of the command line.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// Run runs the command with args (without the program's name) and returns its exit code. An error is
// one line on stderr.
func Run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	a := &app{stdout: stdout, stderr: stderr}
	root := a.root(getenv)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(models.AsSystem(ctx, "reviewpoint"))
	if err == nil {
		return exitOK
	}
	if errors.As(err, new(failure)) {
		fmt.Fprintln(stderr, "reviewpoint: "+oneLine(err))
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
		if a.url == "" {
			a.url = url
		}
	}
	root.AddCommand(a.demoCommand(), a.migrateCommand(), a.auditCommand(), a.doctorCommand())
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

func (a *app) printJSON(v any) error {
	encoder := json.NewEncoder(a.stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}
