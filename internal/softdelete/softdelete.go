// Package softdelete keeps the rows that are deleted, and hides them.
package softdelete

import (
	"context"
	"fmt"

	"entgo.io/ent"
	"entgo.io/ent/dialect/sql"
	"entgo.io/ent/schema"

	"github.com/reviewpoint/models/internal/clock"
	"github.com/reviewpoint/models/internal/narrow"
	"github.com/reviewpoint/models/internal/policy"
	"github.com/reviewpoint/models/internal/viewer"
)

// Columns are those of an entity whose rows are kept when they are deleted. As an annotation they tell
// the templates which entity that is.
type Columns struct {
	Deleted string // true of a deleted row
	At      string // when it was deleted
}

var _ schema.Annotation = Columns{}

// Name is that of the annotation.
func (Columns) Name() string { return "SoftDelete" }

// Interceptor hides deleted rows from queries.
func (c Columns) Interceptor() ent.Interceptor {
	alive := narrow.Condition(c.alive)
	return ent.TraverseFunc(func(ctx context.Context, q ent.Query) error {
		if viewer.DeletedIncluded(ctx) {
			return nil
		}
		return narrow.Rows(q, alive)
	})
}

// Hook hides deleted rows from updates and deletes, and makes a delete an update. The delete's builder
// carries that out (the template delete/spec/softdelete), so that the hooks run once.
func (c Columns) Hook() ent.Hook {
	return func(next ent.Mutator) ent.Mutator {
		return ent.MutateFunc(func(ctx context.Context, m ent.Mutation) (ent.Value, error) {
			if err := c.apply(ctx, m); err != nil {
				return nil, err
			}
			return next.Mutate(ctx, m)
		})
	}
}

func (c Columns) apply(ctx context.Context, m ent.Mutation) error {
	deletes := m.Op().Is(ent.OpDelete | ent.OpDeleteOne)
	if deletes && viewer.HardDeleted(ctx) {
		return nil
	}
	value, _ := m.Field(c.Deleted)
	again, _ := value.(bool) // A row is deleted once.
	if !m.Op().Is(ent.OpCreate) && (deletes || again || !viewer.DeletedIncluded(ctx)) {
		if err := narrow.Rows(m, c.alive); err != nil {
			return err
		}
	}
	if deletes {
		o, ok := m.(interface{ SetOp(op ent.Op) })
		if !ok {
			return fmt.Errorf("%T cannot be made an update", m)
		}
		o.SetOp(ent.OpUpdate)
		if err := m.SetField(c.Deleted, true); err != nil {
			return err
		}
	}
	return c.stamp(ctx, m)
}

// stamp keeps the columns in step: whoever is deleted was deleted at some time.
func (c Columns) stamp(ctx context.Context, m ent.Mutation) error {
	value, set := m.Field(c.Deleted)
	_, timed := m.Field(c.At)
	deleted, _ := value.(bool)
	switch {
	case deleted && timed:
		return nil
	case deleted:
		return m.SetField(c.At, clock.Now(ctx))
	case timed || m.FieldCleared(c.At) && !set:
		return policy.Deny("%s of %s goes with %s", c.At, m.Type(), c.Deleted)
	case set && !m.Op().Is(ent.OpCreate):
		return m.ClearField(c.At)
	}
	return nil
}

func (c Columns) alive(b *sql.Builder, table string) {
	b.WriteString("NOT " + table + "." + c.Deleted)
}

// Hide hides deleted rows from an edge predicate, whose selector carries the context of its query.
func Hide(s *sql.Selector, deleted string) {
	if viewer.DeletedIncluded(s.Context()) {
		return
	}
	column := s.C(deleted)
	narrow.Selector(s, func(b *sql.Builder, _ string) { b.WriteString("NOT ").Ident(column) })
}

// From hides what hangs on a deleted row from a query that starts at that row.
func From(table, deleted string, id int) func(*sql.Selector) {
	return func(s *sql.Selector) {
		if viewer.DeletedIncluded(s.Context()) {
			return
		}
		narrow.Selector(s, func(b *sql.Builder, _ string) {
			b.WriteString("EXISTS (SELECT 1 FROM ").WriteString(table).WriteString(" WHERE id = ").Arg(id)
			b.WriteString(" AND NOT ").WriteString(deleted).WriteByte(')')
		})
	}
}
