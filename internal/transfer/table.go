package transfer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql/schema"
	"entgo.io/ent/schema/field"
	"github.com/google/uuid"

	"github.com/reviewpoint/models/internal/text"
)

// kind is what a column holds, whatever a database calls its type.
type kind int

const (
	number kind = iota
	truth
	words
	instant
	identifier
	document
)

// types are those of PostgreSQL into which the text of a cell is cast.
var types = map[kind]string{number: "bigint", truth: "boolean", words: "text", instant: "timestamptz", identifier: "uuid", document: "jsonb"}

type column struct {
	name string
	kind kind
}

// table is one of the schema, whose first column is its id.
type table struct {
	name    string
	columns []column
}

// order returns the tables, those before that others refer to.
func order(all []*schema.Table) ([]*table, error) {
	var (
		out   []*table
		begun = make(map[*schema.Table]bool)
		done  = make(map[*schema.Table]bool)
		add   func(*schema.Table) error
	)
	add = func(from *schema.Table) error {
		switch {
		case done[from]:
			return nil
		case begun[from]:
			return fmt.Errorf("the tables refer to each other in a circle with %s in it: they cannot be copied one after the other", from.Name)
		}
		begun[from] = true
		for _, key := range from.ForeignKeys {
			if key.RefTable == from {
				continue // Its rows go in the order of their ids.
			}
			if err := add(key.RefTable); err != nil {
				return err
			}
		}
		done[from] = true
		t, err := newTable(from)
		out = append(out, t)
		return err
	}
	for _, t := range all {
		if err := add(t); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func newTable(from *schema.Table) (*table, error) {
	t := &table{name: from.Name}
	for _, c := range from.Columns {
		kind, ok := kindOf(c)
		if !ok {
			return nil, fmt.Errorf("column %s.%s has a type that cannot be copied yet", from.Name, c.Name)
		}
		t.columns = append(t.columns, column{c.Name, kind})
	}
	if len(from.PrimaryKey) != 1 || from.PrimaryKey[0] != from.Columns[0] || t.columns[0].kind != number {
		return nil, fmt.Errorf("table %s does not begin with an id: it cannot be copied yet", from.Name)
	}
	return t, nil
}

func kindOf(c *schema.Column) (kind, bool) {
	if len(c.SchemaType) > 0 && c.Type != field.TypeString { // It may mean something else.
		return 0, false
	}
	switch {
	case c.Type.Integer():
		return number, true
	case c.Type == field.TypeBool:
		return truth, true
	case c.Type == field.TypeString, c.Type == field.TypeEnum:
		return words, true
	case c.Type == field.TypeTime:
		return instant, true
	case c.Type == field.TypeUUID:
		return identifier, true
	case c.Type == field.TypeJSON:
		return document, true
	}
	return 0, false
}

func (t *table) id() string { return t.columns[0].name }

// names are the columns as each is written by write.
func (t *table) names(write func(i int, c column) string) string {
	out := make([]string, len(t.columns))
	for i, c := range t.columns {
		out[i] = write(i, c)
	}
	return strings.Join(out, ", ")
}

// selection reads so many rows after an id, with every column as text: what the drivers make of some
// values is not what they were.
func (t *table) selection(on string) string {
	columns := t.names(func(_ int, c column) string {
		switch {
		case on == dialect.SQLite:
			return fmt.Sprintf(`CAST(%q AS text)`, c.name)
		case c.kind == truth:
			return fmt.Sprintf(`%q::int::text`, c.name)
		case c.kind == instant: // in UTC, whatever the zone of the session
			return fmt.Sprintf(`(%q AT TIME ZONE 'UTC')::text`, c.name)
		}
		return fmt.Sprintf(`%q::text`, c.name)
	})
	return fmt.Sprintf(`SELECT %s FROM %q WHERE %[2]q.%[3]q > $1 ORDER BY %[2]q.%[3]q LIMIT $2`, columns, t.name, t.id())
}

// insertion writes a batch, as arguments has it.
func (t *table) insertion(on string) string {
	head := fmt.Sprintf("INSERT INTO %q (%s) SELECT ", t.name, t.names(func(_ int, c column) string { return strconv.Quote(c.name) }))
	if on == dialect.Postgres {
		return head + "* FROM unnest(" + t.names(func(i int, c column) string { return fmt.Sprintf("$%d::%s[]", i+1, types[c.kind]) }) + ")"
	}
	return head + t.names(func(i int, c column) string {
		if c.kind == instant { // A whole second is written without its fraction and zone.
			return fmt.Sprintf("replace(value ->> %d, '.000000+00:00', '')", i)
		}
		return fmt.Sprintf("value ->> %d", i)
	}) + " FROM json_each($1)"
}

// arguments are those of insertion: an array for each column in PostgreSQL, one JSON array of rows in SQLite.
func (t *table) arguments(on string, rows []record) ([]any, error) {
	if on == dialect.Postgres {
		out := make([]any, len(t.columns))
		for i := range t.columns {
			out[i] = array(rows, i)
		}
		return out, nil
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	between := "[["
	for _, row := range rows {
		for i, c := range row.cells {
			out.WriteString(between)
			between = ","
			switch kind := t.columns[i].kind; {
			case !c.Valid:
				out.WriteString("null")
			case kind == number || kind == truth:
				out.WriteString(c.String)
			default:
				if err := encoder.Encode(c.String); err != nil {
					return nil, err
				}
			}
		}
		between = "],["
	}
	out.WriteString("]]")
	return []any{out.String()}, nil
}

var escaped = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// array is a column of rows as PostgreSQL writes an array.
func array(rows []record, column int) string {
	var out strings.Builder
	for n, row := range rows {
		if n > 0 {
			out.WriteByte(',')
		} else {
			out.WriteByte('{')
		}
		cell := row.cells[column]
		if !cell.Valid {
			out.WriteString("NULL")
			continue
		}
		out.WriteByte('"')
		_, _ = escaped.WriteString(&out, cell.String)
		out.WriteByte('"')
	}
	out.WriteByte('}')
	return out.String()
}

// instants are the forms in which the databases give a time of UTC: PostgreSQL's and SQLite's own, and
// those that others may have written. A fraction may follow the seconds.
var instants = []string{"2006-01-02 15:04:05", "2006-01-02 15:04:05-07:00", time.RFC3339}

// canonicalInstant is the form in which a time is moved and summed.
const canonicalInstant = "2006-01-02 15:04:05.000000-07:00"

var (
	errInstant = errors.New("is no time from the year 1 to 9999 in microseconds")
	errNumber  = errors.New("is no whole number")
	errTruth   = errors.New("is neither true nor false")
	errUUID    = errors.New("is no UUID")
	errJSON    = errors.New("is no JSON document")
)

// settle gives a cell the form that it has on both databases. A JSON document stays as it is written. The
// error holds no value.
func (k kind) settle(value string) (string, error) {
	switch k {
	case number:
		if _, err := strconv.ParseInt(value, 10, 64); err != nil {
			return "", errNumber
		}
	case truth:
		if value != "0" && value != "1" {
			return "", errTruth
		}
	case identifier:
		id, err := uuid.Parse(value)
		if err != nil || len(value) != 36 {
			return "", errUUID
		}
		return id.String(), nil
	case instant:
		for _, form := range instants {
			at, err := time.Parse(form, value)
			if err == nil && at.UTC().Year() >= 1 && at.UTC().Year() <= 9999 && at.Nanosecond()%1000 == 0 {
				return at.UTC().Format(canonicalInstant), nil
			}
		}
		return "", errInstant
	case words, document:
		if err := text.Valid(value); err != nil {
			return "", fmt.Errorf("cannot be kept: %w", err)
		}
	}
	return value, nil
}

// canonical is what of a cell is compared and goes into the checksum.
func (k kind) canonical(value string) (string, error) {
	value, err := k.settle(value)
	if k != document || err != nil {
		return value, err
	}
	decoder := json.NewDecoder(strings.NewReader(value))
	decoder.UseNumber()
	var document any
	if err := decoder.Decode(&document); err != nil {
		return "", errJSON
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return "", errJSON
	}
	out, err := appendDocument(nil, document)
	return string(out), err
}

// appendDocument writes JSON without white space, the keys of objects sorted, of those that are there twice
// the last, and numbers as decimalOf has them. The halves of surrogate pairs, which SQLite alone keeps, are
// moved as they are but compared as one character.
func appendDocument(out []byte, value any) ([]byte, error) {
	var err error
	switch value := value.(type) {
	case map[string]any:
		out = append(out, '{')
		for n, key := range slices.Sorted(maps.Keys(value)) {
			if n > 0 {
				out = append(out, ',')
			}
			if out, err = appendDocument(out, key); err != nil {
				return nil, err
			}
			if out, err = appendDocument(append(out, ':'), value[key]); err != nil {
				return nil, err
			}
		}
		return append(out, '}'), nil
	case []any:
		out = append(out, '[')
		for n, item := range value {
			if n > 0 {
				out = append(out, ',')
			}
			if out, err = appendDocument(out, item); err != nil {
				return nil, err
			}
		}
		return append(out, ']'), nil
	case json.Number:
		return append(out, decimalOf(value.String())...), nil
	}
	encoded, err := json.Marshal(value)
	return append(out, encoded...), err
}

// decimalOf is a number by its exact value: its digits without zeros around them, and a power of ten.
// So 1.0, 1 and 10e-1 are one, and 9007199254740993 and 1e400 stay what they are.
func decimalOf(text string) string {
	mantissa, sign := strings.CutPrefix(text, "-")
	exponent := 0
	if at := strings.IndexAny(mantissa, "eE"); at >= 0 {
		power, err := strconv.Atoi(mantissa[at+1:])
		if err != nil { // too large for any database to compute with
			return text
		}
		mantissa, exponent = mantissa[:at], power
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	exponent -= len(fraction)
	digits := strings.TrimLeft(whole+fraction, "0")
	short := strings.TrimRight(digits, "0")
	if short == "" {
		return "0"
	}
	exponent += len(digits) - len(short)
	if exponent != 0 {
		short += "e" + strconv.Itoa(exponent)
	}
	if sign {
		short = "-" + short
	}
	return short
}
