// Package text says which text can be stored alike on every database.
package text

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// Text that PostgreSQL refuses (SQLSTATE 22021) and that SQLite would keep.
var (
	ErrInvalidUTF8 = errors.New("text is not valid UTF-8")
	ErrNUL         = errors.New("text holds a NUL character")
)

// Valid returns ErrInvalidUTF8 or ErrNUL when s cannot be stored as text.
func Valid(s string) error {
	switch {
	case !utf8.ValidString(s):
		return ErrInvalidUTF8
	case strings.IndexByte(s, 0) >= 0:
		return ErrNUL
	}
	return nil
}
