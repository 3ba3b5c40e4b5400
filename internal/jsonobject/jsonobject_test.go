package jsonobject_test

import (
	"errors"
	"testing"

	"github.com/reviewpoint/models/internal/jsonobject"
	"github.com/reviewpoint/models/internal/text"
)

func TestValid(t *testing.T) {
	t.Parallel()
	type object = map[string]any
	for _, test := range []struct {
		name  string
		value any
		want  error
	}{
		{"nothing", nil, nil},
		{"empty", object{}, nil},
		{"plain", object{"theme": "dark", "size": 12.5, "beta": true, "none": nil, "list": []any{"a", object{"b": "c"}}}, nil},
		{"value", object{"a": "\x00"}, text.ErrNUL},
		{"key", object{"\x00": 1}, text.ErrNUL},
		{"bad UTF-8", object{"a": "\xff"}, text.ErrInvalidUTF8},
		{"key of an inner object", object{"a": object{"\xff": 1}}, text.ErrInvalidUTF8},
		{"in a list", object{"a": []any{1, "\x00"}}, text.ErrNUL},
		{"in a list of strings", object{"a": []string{"b", "\x00"}}, text.ErrNUL},
		{"deep", object{"a": []any{[]any{object{"b": []any{"\x00"}}}}}, text.ErrNUL},
	} {
		if err := jsonobject.Valid(test.value); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}
