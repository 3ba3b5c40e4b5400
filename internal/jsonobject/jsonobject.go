// Package jsonobject keeps JSON columns to objects that every database stores alike.
package jsonobject

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"unicode/utf8"

	"entgo.io/ent"

	"github.com/reviewpoint/models/internal/text"
	"github.com/reviewpoint/models/internal/validation"
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
				return nil, validation.Because(m.Type(), column, err.Error(), err)
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

var errUnwritable = errors.New("cannot be written as JSON") // encoding/json would quote values

// Valid returns text.ErrInvalidUTF8 or text.ErrNUL when a key or a string in value cannot be stored, and an
// error that holds no value when something else cannot.
func Valid(value any) error {
	encoded, err := json.Marshal(value) // refuses what refers to itself, which valid would not leave
	if err != nil {
		return errUnwritable
	}
	// What writes its own JSON is seen only in that; bytes that are not UTF-8 are lost in it.
	if !utf8.Valid(encoded) {
		return text.ErrInvalidUTF8
	}
	var decoded any
	if json.Unmarshal(encoded, &decoded) != nil {
		return errNumber
	}
	return cmp.Or(valid(reflect.ValueOf(value)), valid(reflect.ValueOf(decoded)))
}

var marshaler = reflect.TypeFor[json.Marshaler]()

func valid(v reflect.Value) error {
	if v.IsValid() && v.Kind() != reflect.Interface && v.Type().Implements(marshaler) {
		return nil
	}
	switch v.Kind() { //nolint:exhaustive // The other kinds hold no text.
	case reflect.String:
		return text.Valid(v.String())
	case reflect.Interface, reflect.Pointer:
		return valid(v.Elem())
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if err := valid(v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Map:
		for key, item := range v.Seq2() {
			if err := cmp.Or(valid(key), valid(item)); err != nil {
				return err
			}
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			if err := valid(field); err != nil {
				return err
			}
		}
	}
	return nil
}
