// Package row reads the columns of a row as the drivers of both databases give them.
package row

import (
	"database/sql/driver"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql"
	"github.com/google/uuid"

	"github.com/reviewpoint/models/internal/jsonobject"
)

// ErrType is the answer of a column that holds something else than what is read.
var ErrType = errors.New("a column does not fit the type that it is read into")

// A Row is one row of an answer, whose columns are read from first to last.
type Row struct {
	values []driver.Value
	next   int
}

// New returns a row with so many columns.
func New(columns int) *Row { return &Row{values: make([]driver.Value, columns)} }

// Values is where the values of the next row go. They are then read from the first one on.
func (r *Row) Values() []driver.Value {
	r.next = 0
	return r.values
}

// Next is the next column; nil is NULL.
func (r *Row) Next() any {
	r.next++
	return r.values[r.next-1]
}

// read returns a value of a type that drivers give as it is. Like the functions below it takes a NULL for
// zero, and sets err to ErrType for what does not fit.
func read[T any](value any, err *error) T {
	out, ok := value.(T)
	if !ok && value != nil {
		*err = ErrType
	}
	return out
}

// Int64 reads an integer.
func Int64(value any, err *error) int64 { return read[int64](value, err) }

// Int reads an integer, such as an id.
func Int(value any, err *error) int { return int(Int64(value, err)) }

// Time reads an instant.
func Time(value any, err *error) time.Time { return read[time.Time](value, err) }

// Bool reads a truth value, which SQLite keeps as a number.
func Bool(value any, err *error) bool {
	if number, ok := value.(int64); ok {
		return number != 0
	}
	return read[bool](value, err)
}

// String reads text.
func String(value any, err *error) string {
	if text, ok := value.([]byte); ok {
		return string(text)
	}
	return read[string](value, err)
}

// UUID reads a UUID, which a driver gives as text or as bytes.
func UUID(value any, err *error) uuid.UUID {
	var id uuid.UUID
	if id.Scan(value) != nil {
		*err = ErrType
	}
	return id
}

// JSON reads a document. The numbers of an object are float64, or json.Number where that would lose digits:
// whoever writes it again changes none, and the audit trail sees each change.
func JSON[T any](value any, err *error) T {
	var document T
	text := []byte(String(value, err))
	if len(text) == 0 {
		return document
	}
	if object, ok := any(&document).(*map[string]any); ok {
		var failed error
		if *object, failed = jsonobject.Decode(text); failed == nil {
			return document
		}
	}
	if json.Unmarshal(text, &document) != nil {
		*err = ErrType
	}
	return document
}

// A Cell is a column that database/sql scans.
type Cell struct{ Value any }

// Scan takes the value as it is.
func (c *Cell) Scan(value any) error {
	c.Value = value // Bytes are the driver's until the next row; all that read a cell copy them.
	return nil
}

// Cells are what the columns of an answer are scanned into: a Cell for each of those that are known, and
// what ent has for the others.
func Cells(columns, known []string) []any {
	cells, out := make([]Cell, len(columns)), make([]any, len(columns))
	for i, column := range columns {
		out[i] = &cells[i]
		if !slices.Contains(known, column) {
			out[i] = new(sql.UnknownType)
		}
	}
	return out
}

// Once scans all rows of a query into the same cells; nodes copy what they keep.
func Once(scan func(columns []string) ([]any, error)) func(columns []string) ([]any, error) {
	var cells []any
	return func(columns []string) ([]any, error) {
		if cells != nil {
			return cells, nil
		}
		var err error
		cells, err = scan(columns)
		return cells, err
	}
}

// Names are the columns of a table as they stand in a statement, which saves to compose them for each.
type Names struct{ quoted, backquoted []string }

// NewNames returns those of a table.
func NewNames(table string, columns []string) Names {
	var n Names
	for _, column := range columns {
		n.quoted = append(n.quoted, `"`+table+`"."`+column+`"`)
		n.backquoted = append(n.backquoted, "`"+table+"`.`"+column+"`")
	}
	return n
}

// Of is as the dialect writes them.
func (n Names) Of(name string) []string {
	if name == dialect.Postgres {
		return slices.Clip(n.quoted)
	}
	return slices.Clip(n.backquoted)
}
