// Package row reads the values of a row as the drivers of both databases give them, column by column.
package row

import (
	"database/sql/driver"
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"
)

// ErrType is the answer of a row that holds something else than what is read.
var ErrType = errors.New("a column does not fit the type that it is read into")

// Row is one row of an answer. Its columns are read from first to last; the first that does not fit is
// the error of the row, and what is read then is zero.
type Row struct {
	values []driver.Value
	next   int
	err    error
}

// New returns a row with room for so many columns.
func New(columns int) *Row { return &Row{values: make([]driver.Value, columns)} }

// Values is where the values of the next row go. They are read again from the first one on.
func (r *Row) Values() []driver.Value {
	r.next, r.err = 0, nil
	return r.values
}

// Err is ErrType if a column did not fit, or if there were more or fewer of them.
func (r *Row) Err() error {
	if r.err == nil && r.next != len(r.values) {
		return ErrType
	}
	return r.err
}

func (r *Row) value() driver.Value {
	if r.next >= len(r.values) {
		r.err = ErrType
		return nil
	}
	r.next++
	return r.values[r.next-1]
}

// read is the next column, of a type that the driver gives as it is.
func read[T any](r *Row) T {
	value, ok := r.value().(T)
	if !ok {
		r.err = ErrType
	}
	return value
}

// Int64 reads an integer.
func (r *Row) Int64() int64 { return read[int64](r) }

// Int reads an integer, such as an id.
func (r *Row) Int() int { return int(r.Int64()) }

// Time reads an instant.
func (r *Row) Time() time.Time { return read[time.Time](r) }

// Bool reads a truth value, which SQLite keeps as a number.
func (r *Row) Bool() bool {
	switch value := r.value().(type) {
	case bool:
		return value
	case int64:
		return value != 0
	}
	r.err = ErrType
	return false
}

// String reads text.
func (r *Row) String() string {
	switch value := r.value().(type) {
	case string:
		return value
	case []byte:
		return string(value)
	}
	r.err = ErrType
	return ""
}

// UUID reads a UUID, which PostgreSQL gives as bytes or as text, and SQLite as text.
func (r *Row) UUID() uuid.UUID {
	var id uuid.UUID
	if err := id.Scan(r.value()); err != nil {
		r.err = ErrType
	}
	return id
}

// JSON reads a document.
func JSON[T any](r *Row) T {
	var (
		document T
		err      error
	)
	switch value := r.value().(type) {
	case string:
		err = json.Unmarshal([]byte(value), &document)
	case []byte:
		err = json.Unmarshal(value, &document)
	default:
		err = ErrType
	}
	if err != nil {
		r.err = ErrType
	}
	return document
}

// Null is true of a NULL, and has read it then.
func (r *Row) Null() bool {
	null := r.next < len(r.values) && r.values[r.next] == nil
	if null {
		r.next++
	}
	return null
}
