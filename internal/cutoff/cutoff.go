// Package cutoff keeps a time of which nothing before is accepted any more, such as the tokens of an
// account, where no later change lets pass what an earlier one has refused.
package cutoff

import (
	"context"
	"fmt"
	"slices"
	"time"

	"entgo.io/ent"
	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql"
	"entgo.io/ent/schema"

	"github.com/reviewpoint/models/internal/audit"
	"github.com/reviewpoint/models/internal/clock"
	"github.com/reviewpoint/models/internal/policy"
)

// Forward annotates a time that no update moves back, nor clears. The template cutoff makes it so.
type Forward struct {
	After       []string // columns of the row before which it never lies
	ClearedWith string   // it may be cleared by an update that sets this column
}

var _ schema.Annotation = Forward{}

// Name is that of the annotation.
func (Forward) Name() string { return "Forward" }

// When says which update of a row moves its cutoff to now, unless it sets the cutoff itself: one that gives
// a column this value, or any for nil.
type When map[string]any

// Hook moves the cutoff in a column.
func Hook(column string, when When) ent.Hook {
	return func(next ent.Mutator) ent.Mutator {
		return ent.MutateFunc(func(ctx context.Context, m ent.Mutation) (ent.Value, error) {
			if _, set := m.Field(column); m.Op().Is(ent.OpUpdate|ent.OpUpdateOne) && !set && !kept(ctx) && when.is(m) {
				if err := m.SetField(column, clock.Now(ctx)); err != nil {
					return nil, err
				}
			}
			return next.Mutate(ctx, m)
		})
	}
}

func (w When) is(m ent.Mutation) bool {
	for column, wanted := range w {
		if value, set := m.Field(column); set && (wanted == nil || value == wanted) {
			return true
		}
	}
	return false
}

// Upserted is Hook for a row of the table that an upsert has changed, whose update no hook sees. The cutoff
// never lies before the times in floor, which are columns of the row.
func (w When) Upserted(table, column string, floor ...string) func(context.Context, audit.Execer, audit.Row, audit.Row) error {
	return func(ctx context.Context, db audit.Execer, before, after audit.Row) error {
		was, _ := before.Columns[column].(time.Time)
		is, _ := after.Columns[column].(time.Time)
		if !was.Equal(is) || !w.changed(before, after) { // The upsert has set the cutoff itself, or needs none.
			return nil
		}
		latest := clock.Now(ctx)
		for _, name := range append(floor, column) {
			if t, ok := after.Columns[name].(time.Time); ok && t.After(latest) {
				latest = t
			}
		}
		after.Columns[column] = latest
		_, err := db.ExecContext(ctx, fmt.Sprintf("UPDATE %s SET %s = $1 WHERE id = $2", table, column), latest, after.ID)
		return err
	}
}

func (w When) changed(before, after audit.Row) bool {
	for column, wanted := range w {
		was, is := before.Value(column), after.Value(column)
		if was != is && (wanted == nil || is == wanted) {
			return true
		}
	}
	return false
}

type keepKey struct{}

// Keep returns a context in which updates leave cutoffs where they are.
func Keep(ctx context.Context) context.Context { return context.WithValue(ctx, keepKey{}, true) }

func kept(ctx context.Context) bool { return ctx.Value(keepKey{}) != nil }

// Cleared refuses an update that clears a column, unless it sets the one that it may be cleared with.
func Cleared(m ent.Mutation, column, with string) error {
	if _, set := m.Field(with); m.FieldCleared(column) && (with == "" || !set) {
		return policy.Deny("%s of %s is never cleared", column, m.Type())
	}
	return nil
}

// MoveOn sets the column to t, or to the latest of what it is and of the others, if that is later.
func MoveOn(column string, t time.Time, after ...string) func(*sql.UpdateBuilder) {
	return func(u *sql.UpdateBuilder) {
		u.Set(column, latest(u.Dialect(), func(b *sql.Builder) { b.Arg(t) }, append(after, column)))
	}
}

// OnConflict is MoveOn for an upsert that sets the column.
func OnConflict(column string, after ...string) func(*sql.UpdateSet) {
	return func(u *sql.UpdateSet) {
		if !slices.Contains(u.UpdateColumns(), column) {
			return
		}
		columns := make([]string, 0, len(after)+1)
		for _, name := range append(after, column) {
			columns = append(columns, u.Table().C(name))
		}
		u.Set(column, latest(u.Dialect(), func(b *sql.Builder) { b.WriteString("excluded." + column) }, columns))
	}
}

// latest is the latest of a time and of columns that may be NULL.
func latest(name string, t func(*sql.Builder), columns []string) *sql.Predicate {
	return sql.P(func(b *sql.Builder) {
		if name == dialect.Postgres {
			b.WriteString("GREATEST(CAST(")
			t(b)
			b.WriteString(" AS timestamptz)")
			for _, column := range columns {
				b.WriteString(", " + column)
			}
		} else { // where the latest of times and a NULL is NULL, and times are text
			b.WriteString("nullif(max(ifnull(")
			t(b)
			b.WriteString(", '')")
			for _, column := range columns {
				b.WriteString(", ifnull(" + column + ", '')")
			}
			b.WriteString("), ''")
		}
		b.WriteByte(')')
	})
}
