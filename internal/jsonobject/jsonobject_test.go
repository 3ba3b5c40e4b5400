package jsonobject_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
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

type rogue struct{}

func (rogue) MarshalJSON() ([]byte, error) { return nil, errors.New("canary") }

// TestValid_HoldsNoValue refuses what encoding/json would quote.
func TestValid_HoldsNoValue(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]any{
		"infinite":            math.Inf(1),
		"too large":           json.Number("1" + strings.Repeat("0", 400)),
		"no number":           json.Number("canary"),
		"with its own writer": rogue{},
	} {
		err := jsonobject.Valid(map[string]any{"a": value})
		if err == nil || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "00000") || strings.Contains(err.Error(), "Inf") {
			t.Errorf("%s: got %v, want an error without the value", name, err)
		}
	}
}
