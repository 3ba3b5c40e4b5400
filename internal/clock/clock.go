// Package clock is the time of the data layer: one clock, carried by the context, in UTC and microseconds.
package clock

import (
	"context"
	"slices"
	"time"

	"entgo.io/ent"
	"entgo.io/ent/dialect/sql"
)

type key struct{}

// NewContext returns a context whose Now asks clock instead of the machine.
func NewContext(ctx context.Context, clock func() time.Time) context.Context {
	return context.WithValue(ctx, key{}, clock)
}

// Carried reports whether ctx carries a clock.
func Carried(ctx context.Context) bool { return ctx.Value(key{}) != nil }

// Now is the time by the clock that ctx carries, or else by the machine's.
func Now(ctx context.Context) time.Time {
	if clock, ok := ctx.Value(key{}).(func() time.Time); ok {
		return Normal(clock())
	}
	return Normal(time.Now())
}

// Normal returns the instant in the form in which every database keeps it: UTC, whole microseconds.
func Normal(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// Timestamps sets the columns created and updated when a row is made, unless the caller gave them,
// and updated with every change, whatever the caller gave. Every other time in the mutation takes
// its Normal form, so that a node answers after Save what the database answers later.
func Timestamps(created, updated string) ent.Hook {
	return func(next ent.Mutator) ent.Mutator {
		return ent.MutateFunc(func(ctx context.Context, m ent.Mutation) (ent.Value, error) {
			now := Now(ctx)
			switch {
			case m.Op().Is(ent.OpCreate):
				if err := setMissing(m, now, created, updated); err != nil {
					return nil, err
				}
			case m.Op().Is(ent.OpUpdate | ent.OpUpdateOne):
				if err := m.SetField(updated, now); err != nil {
					return nil, err
				}
			}
			if err := normalise(m); err != nil {
				return nil, err
			}
			return next.Mutate(ctx, m)
		})
	}
}

// OnCreate sets the columns when a row is made, unless the caller gave them.
func OnCreate(columns ...string) ent.Hook {
	return func(next ent.Mutator) ent.Mutator {
		return ent.MutateFunc(func(ctx context.Context, m ent.Mutation) (ent.Value, error) {
			if m.Op().Is(ent.OpCreate) {
				if err := setMissing(m, Now(ctx), columns...); err != nil {
					return nil, err
				}
			}
			return next.Mutate(ctx, m)
		})
	}
}

func setMissing(m ent.Mutation, now time.Time, columns ...string) error {
	for _, column := range columns {
		if _, set := m.Field(column); set {
			continue
		}
		if err := m.SetField(column, now); err != nil {
			return err
		}
	}
	return nil
}

func normalise(m ent.Mutation) error {
	for _, column := range m.Fields() {
		value, _ := m.Field(column)
		t, ok := value.(time.Time)
		if !ok {
			continue
		}
		if err := m.SetField(column, Normal(t)); err != nil {
			return err
		}
	}
	return nil
}

// Touch moves the column to the time of the row that an upsert proposed, unless the upsert gives every
// column its old value (OnConflict().Ignore()).
func Touch(column string) func(*sql.UpdateSet) {
	return func(u *sql.UpdateSet) {
		given := u.UpdateColumns()
		whole := !slices.ContainsFunc(u.Columns(), func(c string) bool { return !slices.Contains(given, c) })
		if !whole { // else it is Ignore or UpdateNewValues
			u.SetExcluded(column)
		}
	}
}
