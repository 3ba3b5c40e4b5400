package models

import (
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"
	"slices"
	"unicode/utf8"

	"github.com/reviewpoint/models/internal/validation"
)

// DefaultPageLimit is how many items a page has unless PageRequest says otherwise, and MaxPageLimit how
// many it may have.
const (
	DefaultPageLimit = 20
	MaxPageLimit     = 1000
)

// PageRequest says which page of a list is wanted. The zero value is the first page of 20.
type PageRequest struct {
	Limit         int    // items, 1 to 1000; 0 for 20
	After, Before string // a page's Next or Prev; both empty for the first page
	Sort          Sort   // empty for the list's own
	Order         Order  // empty for newest first where it is sorted by a time or by id, else smallest first
	WithTotal     bool   // count the whole list too, which takes longer the longer it is
}

// Page is a part of a list. Pages begin where others end by the values of their rows, not by counting
// them, so what is added or removed between two pages makes none of the others be missed or come twice.
//
// Next and Prev are for After and Before of the same list: the same filter, order and kind of viewer.
// Elsewhere, or damaged, they are refused with *ValidationError. They give no right and do not expire: they
// hold the id of the row at which the page ended, which may have been deleted since, and its value in the column
// that the list is sorted by, such as an address, for anybody who decodes them. Next is empty when nothing
// followed, and Prev on the first page; a page on the way may be empty when its items were deleted.
type Page[T any] struct {
	Items      []T
	Next, Prev string
	Total      *int // with WithTotal
}

// place is where an item stands in its list: its value in the column that the list is sorted by, which is a
// number, a time in microseconds or a text, and its id.
type place struct {
	at   int64
	text string
	id   int64
}

// walk is a page request that was understood.
type walk struct {
	list    string // the list, its filter and its order
	limit   int
	from    place
	started bool // else it is the first page, and from no place
	back    bool
	step    int64 // from an id to one that the list has later
}

// walk reads a request for a page of a list.
func (r PageRequest) walk(l *list) (walk, error) {
	w := walk{list: l.name, limit: r.Limit, step: 1}
	if l.descending {
		w.step = -1
	}
	switch {
	case r.Limit == 0:
		w.limit = DefaultPageLimit
	case r.Limit < 0 || r.Limit > MaxPageLimit:
		return w, validation.New("PageRequest", "limit", "must be 1 to 1000, or 0 for 20")
	}
	field, cursor := "after", r.After
	switch {
	case r.After != "" && r.Before != "":
		return w, validation.New("PageRequest", "before", "must be empty when after is given")
	case r.Before != "":
		field, cursor, w.back = "before", r.Before, true
	case r.After == "":
		return w, nil
	}
	from, ok := readCursor(l.name, cursor)
	if !ok || !l.key.takes(from) {
		return w, validation.New("PageRequest", field, "must be the Next or Prev of a page of the same list")
	}
	w.from, w.started = from, true
	return w, nil
}

// pageOf makes a page of the items that were found from the place on, in the direction of the walk; one
// more than the limit tells that there are others.
func pageOf[T any](w walk, items []T, placeOf func(T) place) *Page[T] {
	more := len(items) > w.limit
	items = items[:min(len(items), w.limit)]
	if w.back {
		slices.Reverse(items)
	}
	// What is not there any more had a place still, which the page beside this one begins with.
	first, last := w.from, w.from
	first.id, last.id = first.id+w.step, last.id-w.step
	if len(items) > 0 {
		first, last = placeOf(items[0]), placeOf(items[len(items)-1])
	}
	p := &Page[T]{Items: items}
	if w.back || more {
		p.Next = writeCursor(w.list, last)
	}
	if w.back && more || !w.back && w.started {
		p.Prev = writeCursor(w.list, first)
	}
	return p
}

// A cursor is a version, a place, and a check of both and of the list that they belong to.
const (
	cursorVersion = 1
	numbersSize   = 1 + 8 + 8
	checkSize     = 8
	cursorSize    = numbersSize + longestText*utf8.UTFMax + checkSize // at most
)

func writeCursor(list string, p place) string {
	raw := make([]byte, 0, numbersSize+len(p.text)+checkSize)
	raw = append(raw, cursorVersion)
	raw = binary.BigEndian.AppendUint64(raw, uint64(p.at)) //nolint:gosec // back in readCursor
	raw = binary.BigEndian.AppendUint64(raw, uint64(p.id)) //nolint:gosec // as above
	raw = append(raw, p.text...)
	raw = binary.BigEndian.AppendUint64(raw, cursorCheck(list, raw))
	return base64.RawURLEncoding.EncodeToString(raw)
}

func readCursor(list, cursor string) (place, bool) {
	if len(cursor) > base64.RawURLEncoding.EncodedLen(cursorSize) {
		return place{}, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(raw) < numbersSize+checkSize || raw[0] != cursorVersion {
		return place{}, false
	}
	p := place{
		at:   int64(binary.BigEndian.Uint64(raw[1:])), //nolint:gosec // from writeCursor
		id:   int64(binary.BigEndian.Uint64(raw[9:])), //nolint:gosec // as above
		text: string(raw[numbersSize : len(raw)-checkSize]),
	}
	return p, writeCursor(list, p) == cursor // Base64 has several forms of the same bytes.
}

func cursorCheck(list string, raw []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(raw)
	_, _ = h.Write([]byte(list))
	return h.Sum64()
}
