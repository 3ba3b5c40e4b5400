package cli

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/reviewpoint/models"
)

// finding is what doctor says of one thing that it looked at.
type finding struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Cure   string `json:"cure,omitempty"`
}

// errUnhealthy is what doctor ends with when something needs a cure.
var errUnhealthy = errors.New("something needs attention")

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "doctor",
		Short:   "Look for what is wrong with a database, and say the cure",
		Long:    "Look for what is wrong with a database, and say the cure. Nothing is changed. Exits with 1 when something needs attention.",
		Example: "  reviewpoint doctor --db postgres://app@db.example.org/reviewpoint",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd.Context(), func(s *models.Store) error { return a.doctor(cmd.Context(), s) }, models.WithReadOnly())
		},
	}
}

func (a *app) doctor(ctx context.Context, store *models.Store) error {
	checks := []func(context.Context, *models.Store) (finding, error){checkServer, checkClock, checkMigrations}
	if store.Dialect() == "sqlite3" {
		checks = append(checks, checkJournal, checkForeignKeysOn, checkIntegrity, checkReferences)
	}
	var findings []finding
	sick := false
	for _, check := range checks {
		f, err := check(ctx, store)
		if err != nil {
			return err
		}
		sick = sick || !f.OK
		findings = append(findings, f)
	}
	if err := a.printFindings(findings); err != nil {
		return err
	}
	if sick {
		return errUnhealthy
	}
	return nil
}

func (a *app) printFindings(findings []finding) error {
	if a.json {
		return a.printJSON(findings)
	}
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, f := range findings {
		state := "ok"
		if !f.OK {
			state = "PROBLEM"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", f.Check, state, f.Detail)
		if f.Cure != "" {
			fmt.Fprintf(table, "\t\tcure: %s\n", f.Cure)
		}
	}
	return table.Flush()
}

// ask returns the single value of a query as text.
func ask(ctx context.Context, store *models.Store, query string) (answer string, err error) {
	rows, err := store.QueryContext(ctx, query)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var value sql.NullString
	if rows.Next() {
		if err := rows.Scan(&value); err != nil {
			return "", err
		}
	}
	return value.String, rows.Err()
}

func checkServer(ctx context.Context, store *models.Store) (finding, error) {
	query := "SELECT 'SQLite ' || sqlite_version()"
	if store.Dialect() == "postgres" {
		query = "SELECT 'PostgreSQL ' || current_setting('server_version')"
	}
	version, err := ask(ctx, store, query)
	return finding{Check: "database", OK: true, Detail: store.Name() + ", " + version}, err
}

// maxSkew is how far the server's clock may be from ours before tokens live noticeably too long or too short.
const maxSkew = 5 * time.Second

func checkClock(ctx context.Context, store *models.Store) (finding, error) {
	f := finding{Check: "clock", OK: true, Detail: "this machine's own"}
	if store.Dialect() != "postgres" {
		return f, nil
	}
	text, err := ask(ctx, store, "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
	if err != nil {
		return f, err
	}
	server, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return f, err
	}
	skew := time.Since(server).Abs().Round(time.Millisecond)
	f.Detail = fmt.Sprintf("%s apart from the server's", skew)
	if skew > maxSkew {
		f.OK, f.Cure = false, "set both clocks by NTP: tokens expire by one and are checked by the other"
	}
	return f, nil
}

func checkMigrations(ctx context.Context, store *models.Store) (finding, error) {
	f := finding{Check: "migrations", OK: true}
	migrations, err := store.Migrations(ctx)
	if err != nil {
		if errors.Is(err, models.ErrMigrationEdited) || errors.Is(err, models.ErrMigrationMissing) || errors.Is(err, models.ErrForeignDatabase) {
			f.OK, f.Detail = false, oneLine(err)
			return f, nil
		}
		return f, err
	}
	var pending []string
	for _, migration := range migrations {
		if migration.AppliedAt.IsZero() {
			pending = append(pending, migration.Name)
		}
	}
	f.Detail = fmt.Sprintf("%d applied, %d pending", len(migrations)-len(pending), len(pending))
	if len(pending) > 0 {
		f.OK, f.Cure = false, "run `reviewpoint migrate apply` for "+strings.Join(pending, ", ")
	}
	return f, nil
}

func checkJournal(ctx context.Context, store *models.Store) (finding, error) {
	mode, err := ask(ctx, store, "PRAGMA journal_mode")
	f := finding{Check: "journal", OK: mode == "wal" || mode == "memory", Detail: mode}
	if !f.OK {
		f.Cure = "open it once for writing (`reviewpoint migrate apply`): readers then do not wait for the writer"
	}
	return f, err
}

func checkForeignKeysOn(ctx context.Context, store *models.Store) (finding, error) {
	on, err := ask(ctx, store, "PRAGMA foreign_keys")
	f := finding{Check: "foreign keys", OK: on == "1", Detail: "on"}
	if !f.OK {
		f.Detail, f.Cure = "off", "use a build of SQLite that has them"
	}
	return f, err
}

func checkIntegrity(ctx context.Context, store *models.Store) (finding, error) {
	answer, err := ask(ctx, store, "PRAGMA integrity_check(1)")
	f := finding{Check: "integrity", OK: answer == "ok", Detail: answer}
	if !f.OK {
		f.Cure = "restore a backup, or save what can be read with `sqlite3 FILE .recover`"
	}
	return f, err
}

func checkReferences(ctx context.Context, store *models.Store) (finding, error) {
	table, err := ask(ctx, store, "SELECT \"table\" FROM pragma_foreign_key_check LIMIT 1")
	f := finding{Check: "references", OK: table == "", Detail: "every row's parent is there"}
	if !f.OK {
		f.Detail, f.Cure = "rows of "+table+" have no parent", "list them with `PRAGMA foreign_key_check` and remove or mend them"
	}
	return f, err
}
