package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
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
		Use:     "audit",
		Short:   "Read the audit trail",
		Example: "  reviewpoint audit list --since 24h",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
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
			for _, name := range []string{"entity", "actor", "action", "since", "until"} {
				if f := cmd.Flags().Lookup(name); f.Changed && f.Value.String() == "" {
					return fmt.Errorf("--%s is empty: leave it out for all", name)
				}
			}
			if err := trail.parse(clock.Now(ctx)); err != nil {
				return err
			}
			return a.withTables(ctx, func(s *models.Store) error { return a.auditList(ctx, s, &trail) }, models.WithReadOnly())
		},
	}
	list.Flags().StringVar(&trail.entity, "entity", "", "changes of this `entity` alone: "+strings.Join(entities, " or "))
	list.Flags().IntVar(&trail.id, "id", 0, "changes of the row with this `id` alone; needs --entity (default all)")
	list.Flags().StringVar(&trail.actor, "actor", "", "changes by this `actor` alone, such as user:7 or system:purge")
	list.Flags().StringVar(&trail.action, "action", "", "this `action` alone: "+strings.Join(actions, ", "))
	list.Flags().StringVar(&trail.since, "since", "", "changes at or after this `time`: 2026-11-23, 2026-11-23T15:04:05Z, or 24h for a day ago; in UTC")
	list.Flags().StringVar(&trail.until, "until", "", "changes before this `time`")
	list.Flags().IntVar(&trail.limit, "limit", 50, "at most `N` changes; 0 for all")
	oneOf(list, "entity", entities...)
	oneOf(list, "action", actions...)
	command.AddCommand(list)
	return command
}

var (
	entities = []string{user.Label, file.Label}
	actions  = []string{audit.Create, audit.Update, audit.SoftDelete, audit.Restore, audit.Anonymize, audit.Delete}
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
	case t.entity == file.Label && t.action == audit.Create:
		return errors.New("creations of files are not on record: created_at of the file says when, user_id whose it is (`reviewpoint file list`)")
	case t.actor != "" && !actorForm.MatchString(t.actor):
		return fmt.Errorf("--actor is %q: give user:ID, system:LABEL, admin:LABEL or anonymous", t.actor)
	case t.limit < 0:
		return fmt.Errorf("--limit is %d: give 0 for all", t.limit)
	}
	if t.from, err = parseTime("--since", t.since, now, ago); err != nil {
		return err
	}
	if t.to, err = parseTime("--until", t.until, now, ago); err != nil {
		return err
	}
	if !t.to.IsZero() && !t.from.Before(t.to) {
		return fmt.Errorf("--since %s is not before --until %s", t.since, t.until)
	}
	return nil
}

// actorForm is what models.Viewer.String answers.
var actorForm = regexp.MustCompile(`^(user:[1-9][0-9]*|(system|admin)(:.+)?|anonymous)$`)

// direction is where a duration leads to, in words.
type direction string

const (
	ago     direction = "how long ago"
	fromNow direction = "how long from now"
)

// parseTime reads a date, a time of RFC 3339, or how far it is from now.
func parseTime(flag, value string, now time.Time, direction direction) (time.Time, error) {
	if value == "" {
		return time.Time{}, nil
	}
	if distance, err := parseDuration(value); err == nil && distance >= 0 {
		if direction == ago {
			distance = -distance
		}
		return now.Add(distance), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, value); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%s is %q: give a date (2026-11-23), a time with seconds and zone (2026-11-23T15:04:05Z), or %s (24h, 30d)", flag, value, direction)
}

// parseDuration also reads whole days: 30d.
func parseDuration(value string) (time.Duration, error) {
	if number, ok := strings.CutSuffix(value, "d"); ok {
		days, err := strconv.ParseUint(number, 10, 16) // 179 years, which a Duration holds
		return time.Duration(days) * 24 * time.Hour, err
	}
	return time.ParseDuration(value)
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

func (a *app) auditList(ctx context.Context, s *models.Store, t *trail) error {
	last := 0
	read := func(n int) ([]*ent.AuditLog, error) {
		query := t.query(s)
		if last != 0 {
			query.Where(auditlog.IDLT(last))
		}
		rows, err := query.Limit(n).All(ctx)
		if len(rows) > 0 {
			last = rows[len(rows)-1].ID
		}
		return rows, err
	}
	return list(a, t.limit, "ID\tAT\tACTOR\tACTION\tENTITY\tCHANGES", "no such changes", read, func(row *ent.AuditLog) string {
		return fmt.Sprintf("%d\t%s\t%s\t%s\t%s %d\t%s", row.ID, row.At.Format(time.RFC3339), printable(row.Actor), row.Action, row.Entity, row.EntityID, changes(row))
	})
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
