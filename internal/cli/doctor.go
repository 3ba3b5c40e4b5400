package cli

import (
	"context"
	"errors"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/internal/database"
)

// finding is what doctor says of one thing that it looked at.
type finding struct {
	Check   string `json:"check"`
	OK      bool   `json:"ok"`
	Skipped bool   `json:"skipped,omitempty"` // it could not be looked at, which need not be a problem
	Detail  string `json:"detail"`
	Cure    string `json:"cure,omitempty"`
}

// errUnhealthy is what doctor ends with when something needs a cure.
var errUnhealthy = errors.New("something needs attention")

func (a *app) doctorCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong with a database, and say the cure",
		Long: "Look for what is wrong with a database, and say the cure. Exits with 1 when something needs attention. Nothing is changed, and a file that is not there is not made.\n\n" +
			"It looks at the URL and the server, pending and edited migrations, drift, missing and invalid indexes, foreign keys, clocks, addresses that are there twice, " +
			"weak password hashes, and what has expired and was not purged; on SQLite at the journal and the file, too. A database of the Python application is recognised.\n\n" +
			"On PostgreSQL drift is found by building the tables once more, in a schema that exists within one transaction alone, which is undone. That takes the right to make a schema; " +
			"--dev-url names another server for it.",
		Example: "  reviewpoint doctor --db postgres://app@db.example.org/reviewpoint\n  reviewpoint doctor --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := a.doctor(cmd.Context())
			if err != nil {
				return failure{err}
			}
			return nil
		},
	}
	a.addDevURL(command.Flags())
	return command
}

func (a *app) doctor(ctx context.Context) error {
	findings, err := a.examine(ctx)
	if err != nil {
		return err
	}
	if err := a.printFindings(findings); err != nil {
		return err
	}
	for _, f := range findings {
		if !f.OK {
			return errUnhealthy
		}
	}
	return nil
}

// examine looks at all that can be looked at.
func (a *app) examine(ctx context.Context) (findings []finding, err error) {
	findings = []finding{programFinding(database.HasSQLite(), compiler(exec.LookPath), a.url)}
	if !findings[0].OK {
		return findings, nil
	}
	db, err := database.Open(ctx, a.url, database.Options{ReadOnly: true})
	if err != nil {
		return append(findings, unopened(err)), ctx.Err()
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	store, err := models.Open(ctx, a.url, models.WithReadOnly())
	if err != nil {
		return append(findings, unopened(err)), ctx.Err()
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	c := &checkup{app: a, db: db, store: store, findings: findings}
	return c.all(ctx)
}

func (a *app) printFindings(findings []finding) error {
	if a.json {
		return a.printJSON(findings)
	}
	var rows [][]string
	for _, f := range findings {
		state := "ok"
		switch {
		case !f.OK:
			state = "PROBLEM"
		case f.Skipped:
			state = "skipped"
		}
		rows = append(rows, []string{f.Check, state, printable(f.Detail)})
		if f.Cure != "" {
			rows = append(rows, []string{"", "", "cure: " + printable(f.Cure)})
		}
	}
	return a.printStates(rows)
}

// compiler is the C compiler that `go build` would find, or empty.
func compiler(lookPath func(string) (string, error)) string {
	for _, name := range []string{"gcc", "clang", "cc"} {
		if _, err := lookPath(name); err == nil {
			return name
		}
	}
	return ""
}

// programFinding says whether the program was built with what the URL needs.
func programFinding(sqlite bool, compiler, url string) finding {
	f := finding{Check: "program", OK: true, Detail: "built with SQLite and PostgreSQL"}
	if sqlite {
		if compiler == "" {
			f.Detail += "; no gcc or clang is on the PATH, with which to build it again"
		}
		return f
	}
	f.Detail = "built without a C compiler (CGO_ENABLED=0), and so without SQLite"
	f.OK = !strings.HasPrefix(strings.ToLower(strings.TrimSpace(url)), "sqlite")
	switch {
	case f.OK:
	case compiler == "":
		f.Cure = "no gcc or clang is on the PATH: install one (apt-get install gcc, or Xcode's command line tools), and build again with CGO_ENABLED=1; or use PostgreSQL"
	default:
		f.Cure = "build again with CGO_ENABLED=1: " + compiler + " is on the PATH"
	}
	return f
}

// unopened says why a database cannot be opened.
func unopened(err error) finding {
	if joined := interface {
		error
		Unwrap() []error
	}(nil); errors.As(err, &joined) && len(joined.Unwrap()) == 1 {
		err = joined.Unwrap()[0]
	}
	text := oneLine(err)
	if cause := errors.Unwrap(err); cause != nil { // The advice stands before it.
		if head := strings.TrimSuffix(text, ": "+oneLine(cause)); strings.Contains(head, ": ") {
			text = head
		}
	}
	detail, cure, _ := strings.Cut(text, ": ")
	if cure == "" {
		cure = "name another database by --db or REVIEWPOINT_DB_URL"
	}
	return finding{Check: "database", Detail: detail, Cure: cure}
}

// unread says that a check has failed itself. That alone is no problem where somebody may not look, or not for
// so long; but without the migrations nothing else is looked at.
func unread(check string, err error) finding {
	f := finding{Check: check, OK: check != "migrations", Skipped: true}
	answer, _ := errors.AsType[*database.Error](err)
	switch {
	case errors.Is(err, context.DeadlineExceeded): // The run's own context has not ended.
		f.Detail, f.Cure = "not looked at: the server's statement_timeout has ended it", "add ?statement_timeout=0 to the URL, or &statement_timeout=0 after other options"
	case answer != nil && answer.Code == "42501": // insufficient_privilege
		f.Detail, f.Cure = "not looked at: "+oneLine(err), "grant SELECT on all tables to this user: GRANT SELECT ON ALL TABLES IN SCHEMA ... TO ..."
	default:
		f = finding{Check: check, Detail: "could not be looked at: " + oneLine(err), Cure: "follow the other cures, and run this again"}
	}
	return f
}
