// Package jsonobject keeps JSON columns to objects that every database stores alike.
package jsonobject

import (
	"context"
	"fmt"
	"slices"

	"entgo.io/ent"

	"github.com/reviewpoint/models/internal/text"
)

// Hook makes a nil object in the column mean NULL rather than the JSON null, and refuses one that
// holds text which PostgreSQL cannot store, in its keys and values, however deep.
func Hook(column string) ent.Hook {
	return func(next ent.Mutator) ent.Mutator {
		return ent.MutateFunc(func(ctx context.Context, m ent.Mutation) (ent.Value, error) {
			value, set := m.Field(column)
			object, ok := value.(map[string]any)
			if !set || !ok {
				return next.Mutate(ctx, m)
			}
			if object == nil {
				return clearField(ctx, m, next, column)
			}
			if err := Valid(object); err != nil {
				return nil, fmt.Errorf("%s.%s: %w", m.Type(), column, err)
			}
			return next.Mutate(ctx, m)
		})
	}
}

func clearField(ctx context.Context, m ent.Mutation, next ent.Mutator, column string) (ent.Value, error) {
	if err := m.ResetField(column); err != nil {
		return nil, err
	}
	// At creation a column that is not set is NULL already; clearing it is for updates.
	if !m.Op().Is(ent.OpCreate) {
		if err := m.ClearField(column); err != nil {
			return nil, err
		}
	}
	return next.Mutate(ctx, m)
}

// Valid returns text.ErrInvalidUTF8 or text.ErrNUL when a key or a string in value cannot be stored.
func Valid(value any) error {
	switch value := value.(type) {
	case string:
		return text.Valid(value)
	case []any:
		for _, item := range value {
			if err := Valid(item); err != nil {
				return err
			}
		}
	case []string:
		if i := slices.IndexFunc(value, func(s string) bool { return text.Valid(s) != nil }); i >= 0 {
			return text.Valid(value[i])
		}
	case map[string]any:
		for key, item := range value {
			if err := text.Valid(key); err != nil {
				return err
			}
			if err := Valid(item); err != nil {
				return err
			}
		}
	}
	return nil
}
