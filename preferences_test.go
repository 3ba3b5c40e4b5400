package models_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/internal/text"
)

// TestPreferences_InvalidTextInAnyType hides it in other Go types than those that encoding/json gives back.
func TestPreferences_InvalidTextInAnyType(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		for value, want := range map[string]error{"a\x00b": text.ErrNUL, "a\xffb": text.ErrInvalidUTF8} {
			for name, v := range map[string]any{
				"map[string]string": map[string]string{"k": value},
				"a key":             map[string]int{value: 1},
				"a type of one's":   customText(value),
				"a pointer":         &value,
				"a struct":          struct{ A string }{value},
				"maps in a slice":   []map[string]any{{"k": value}},
				"raw JSON":          json.RawMessage(strings.ReplaceAll(`"`+value+`"`, "\x00", `\u0000`)),
			} {
				if err := newUser(s).SetPreferences(map[string]any{"k": v}).Exec(ctx); !errors.Is(err, want) {
					t.Errorf("%q in %s answers %v, want %v", value, name, err, want)
				}
			}
		}
		fine := map[string]any{"a": `\u0000`, "b": "\ufffd\u2028<&>", "c": nil}
		u := must(newUser(s).SetPreferences(fine).Save(ctx))(t)
		if got := must(s.User.Get(ctx, u.ID))(t).Preferences; fmt.Sprint(got) != fmt.Sprint(fine) {
			t.Errorf("read %q, want %q", got, fine)
		}
	})
}
