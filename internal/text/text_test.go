package text_test

import (
	"errors"
	"testing"

	"github.com/reviewpoint/models/internal/text"
)

func TestValid(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]error{
		"":                     nil,
		"plain":                nil,
		"naïve 😀 \u0001\u007f": nil,
		"\ufffd":               nil,
		"\U0010ffff":           nil,
		"\x00":                 text.ErrNUL,
		"a\x00":                text.ErrNUL,
		"\xff":                 text.ErrInvalidUTF8,
		"\xc0\x80":             text.ErrInvalidUTF8, // an overlong NUL
		"\xed\xa0\x80":         text.ErrInvalidUTF8, // half of a surrogate pair
		"a\xe2\x82":            text.ErrInvalidUTF8, // cut short
		"\xff\x00":             text.ErrInvalidUTF8,
	} {
		if err := text.Valid(s); !errors.Is(err, want) {
			t.Errorf("Valid(%q) = %v, want %v", s, err, want)
		}
	}
}
