package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"entgo.io/ent/dialect/sql"
	"github.com/spf13/cobra"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/auditlog"
	"github.com/reviewpoint/models/ent/file"
	"github.com/reviewpoint/models/ent/user"
	"github.com/reviewpoint/models/internal/audit"
	"github.com/reviewpoint/models/internal/clock"
)

func (a *app) auditCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "audit",
		Short: "Read the audit trail",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var trail trail
	list := &cobra.Command{
		Use:   "list",
		Short: "List the changes of users and files, newest first",
		Example: "  reviewpoint audit list --entity user --id 7\n" +
			"  reviewpoint audit list --actor user:7 --since 24h --json\n" +
			"  reviewpoint audit list --action delete --since 2026-11-01 --until 2026-12-01T00:00:00Z",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if cmd.Flags().Changed("id") && trail.id <= 0 {
				return fmt.Errorf("--id is %d: ids are positive", trail.id)
			}
			if err := trail.parse(clock.Now(ctx)); err != nil {
				return err
			}
			return a.withStore(ctx, func(s *models.Store) error {
				if err := upToDate(ctx, s); err != nil {
					return err
				}
				return a.auditList(ctx, s, &trail)
			}, models.WithReadOnly())
		},
	}
	list.Flags().StringVar(&trail.entity, "entity", "", "changes of this entity alone: "+strings.Join(entities, " or "))
	list.Flags().IntVar(&trail.id, "id", 0, "changes of the row with this id alone; needs --entity")
	list.Flags().StringVar(&trail.actor, "actor", "", "changes by this `actor` alone, such as user:7 or system:purge")
	list.Flags().StringVar(&trail.action, "action", "", "this `action` alone: "+strings.Join(actions, ", "))
	list.Flags().StringVar(&trail.since, "since", "", "changes at or after this `time`: 2026-11-23, 2026-11-23T15:04:05Z, or 24h for a day ago; in UTC")
	list.Flags().StringVar(&trail.until, "until", "", "changes before this `time`")
	list.Flags().IntVar(&trail.limit, "limit", 50, "at most `N` changes; 0 for all")
	command.AddCommand(list)
	return command
}

var (
	entities = []string{user.Label, file.Label}
	actions  = []string{audit.Create, audit.Update, audit.SoftDelete, audit.Restore, audit.Delete}
)

// trail is which part of the audit trail is asked for.
type trail struct {
	entity, actor, action string
	id, limit             int
	since, until          string
	from, to              time.Time // since and until
}

// parse finds what is wrong with the flags.
func (t *trail) parse(now time.Time) (err error) {
	switch {
	case t.entity != "" && !slices.Contains(entities, t.entity):
		return fmt.Errorf("--entity is %q: give %s", t.entity, strings.Join(entities, " or "))
	case t.action != "" && !slices.Contains(actions, t.action):
		return fmt.Errorf("--action is %q: give one of %s", t.action, strings.Join(actions, ", "))
	case t.id > 0 && t.entity == "":
		return fmt.Errorf("--id %d needs --entity: ids are counted by entity", t.id)
	case t.limit < 0:
		return fmt.Errorf("--limit is %d: give 0 for all", t.limit)
	}
	if t.from, err = parseTime("--since", t.since, now); err != nil {
		return err
	}
	if t.to, err = parseTime("--until", t.until, now); err != nil {
		return err
	}
	if !t.to.IsZero() && !t.from.Before(t.to) {
		return fmt.Errorf("--since %s is not before --until %s", t.since, t.until)
	}
	return nil
}

// parseTime reads a date, a time of RFC 3339, or how long ago.
func parseTime(flag, value string, now time.Time) (time.Time, error) {
	if value == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(value); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, value); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%s is %q: give a date (2026-11-23), a time (2026-11-23T15:04:05Z), or how long ago (24h)", flag, value)
}

func (t *trail) query(s *models.Store) *ent.AuditLogQuery {
	query := s.AuditLog.Query().Order(auditlog.ByID(sql.OrderDesc()))
	if t.entity != "" {
		query.Where(auditlog.Entity(t.entity))
	}
	if t.id != 0 {
		query.Where(auditlog.EntityID(t.id))
	}
	if t.actor != "" {
		query.Where(auditlog.Actor(t.actor))
	}
	if t.action != "" {
		query.Where(auditlog.Action(t.action))
	}
	if !t.from.IsZero() {
		query.Where(auditlog.AtGTE(t.from))
	}
	if !t.to.IsZero() {
		query.Where(auditlog.AtLT(t.to))
	}
	return query
}

// auditPage is how many rows are read at a time.
const auditPage = 500

func (a *app) auditList(ctx context.Context, s *models.Store, t *trail) error {
	printer := a.auditPrinter()
	left := t.limit
	for last := 0; ; {
		query := t.query(s)
		if last != 0 {
			query.Where(auditlog.IDLT(last))
		}
		page := auditPage
		if t.limit > 0 {
			page = min(page, left)
		}
		rows, err := query.Limit(page).All(ctx)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if err := printer.print(row); err != nil {
				return err
			}
			last = row.ID
		}
		if err := printer.table.Flush(); err != nil { // so that a long trail is not held in memory
			return err
		}
		left -= len(rows)
		if len(rows) < page || t.limit > 0 && left == 0 {
			return printer.end()
		}
	}
}

// auditPrinter prints rows as they are read.
type auditPrinter struct {
	app   *app
	table *tabwriter.Writer
	n     int
}

func (a *app) auditPrinter() *auditPrinter {
	return &auditPrinter{app: a, table: tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)}
}

func (p *auditPrinter) print(row *ent.AuditLog) error {
	p.n++
	if p.app.json {
		separator := ",\n  "
		if p.n == 1 {
			separator = "[\n  "
		}
		text, err := json.Marshal(row)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(p.app.stdout, "%s%s", separator, text)
		return err
	}
	if p.n == 1 {
		fmt.Fprintln(p.table, "ID\tAT\tACTOR\tACTION\tENTITY\tCHANGES")
	}
	_, err := fmt.Fprintf(p.table, "%d\t%s\t%s\t%s\t%s %d\t%s\n", row.ID, row.At.Format(time.RFC3339), printable(row.Actor), row.Action, row.Entity, row.EntityID, changes(row))
	return err
}

func (p *auditPrinter) end() error {
	switch {
	case !p.app.json && p.n == 0:
		_, err := fmt.Fprintln(p.app.stdout, "no such changes")
		return err
	case !p.app.json:
		return nil
	case p.n == 0:
		_, err := fmt.Fprintln(p.app.stdout, "[]")
		return err
	}
	_, err := fmt.Fprintln(p.app.stdout, "\n]")
	return err
}

// changes is a line for people: name: "Ada" -> "Lovelace".
func changes(row *ent.AuditLog) string {
	lines := make([]string, 0, len(row.Changes))
	for _, column := range slices.Sorted(maps.Keys(row.Changes)) {
		line := column
		if pair, ok := row.Changes[column].([]any); ok && len(pair) == 2 {
			line += ": " + value(pair[0]) + " -> " + value(pair[1])
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "; ")
}

func value(v any) string {
	if v == nil {
		return "-"
	}
	text, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return printable(string(text))
}

// printable shows what a terminal would obey, or what would break the table, as escapes.
func printable(s string) string {
	quoted := strings.Builder{}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			fmt.Fprintf(&quoted, `\u%04x`, r)
			continue
		}
		quoted.WriteRune(r)
	}
	return quoted.String()
}
