package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/transform"
)

func (a *app) printJSON(v any) error {
	return escaped(a.stdout, func(w io.Writer) error {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(v)
	})
}

// printItem prints a row of an array.
func (a *app) printItem(row any, first bool) error {
	before := ",\n  "
	if first {
		before = "[\n  "
	}
	text, err := json.Marshal(row)
	if err == nil {
		text, _, err = transform.Bytes(escapes{}, text)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "%s%s", before, text)
	return err
}

// escaped lets write JSON to w, with escapes in place of what a terminal obeys or does not show. The values
// remain the same.
func escaped(w io.Writer, write func(io.Writer) error) error {
	out := transform.NewWriter(w, escapes{})
	return errors.Join(write(out), out.Close())
}

// escapes writes \u in place of control and format characters, as of those that turn the direction of a text.
// Below U+007F there are none in JSON but those that lay it out.
type escapes struct{ transform.NopResetter }

func (escapes) Transform(dst, src []byte, atEOF bool) (written, read int, err error) {
	for read < len(src) {
		if !atEOF && !utf8.FullRune(src[read:]) {
			return written, read, transform.ErrShortSrc
		}
		r, size := utf8.DecodeRune(src[read:])
		text := src[read : read+size]
		if r >= 0x7f && unicode.In(r, unicode.Cc, unicode.Cf) {
			text = nil
			for _, unit := range utf16.Encode([]rune{r}) {
				text = fmt.Appendf(text, `\u%04x`, unit)
			}
		}
		if len(dst)-written < len(text) {
			return written, read, transform.ErrShortDst
		}
		written += copy(dst[written:], text)
		read += size
	}
	return written, read, nil
}
