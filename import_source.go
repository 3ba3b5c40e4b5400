package models

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/reviewpoint/models/internal/jsonobject"
	"github.com/reviewpoint/models/internal/text"
	"github.com/reviewpoint/models/internal/validation"
)

func (i *importer) invalidFile(reason string) error {
	return validation.New(i.table.entity, "header", reason)
}

// csvSource reads the header. Its errors do not quote it: without a header it is a row.
func (i *importer) csvSource(limit *io.LimitedReader, r io.Reader) (next importSource, given columnSet, err error) {
	file := csv.NewReader(r)
	file.FieldsPerRecord, file.ReuseRecord = -1, true // A row with another count is refused, and the next ones go on.
	read := func(row *importRow) ([]string, error) {
		limit.N = importLine + importReadAhead
		begin := file.InputOffset()
		record, err := file.Read()
		row.bytes = int(file.InputOffset() - begin)
		if broken, ok := errors.AsType[*csv.ParseError](err); ok {
			row.line = broken.StartLine
		} else if err == nil {
			row.line, _ = file.FieldPos(0)
		}
		if limit.N == 0 || row.bytes > importLine {
			return nil, fmt.Errorf("the row on line %d is longer than 1 MiB, perhaps for a quote that is never closed", row.line)
		}
		return record, err
	}
	header, err := read(&importRow{})
	switch {
	case errors.Is(err, io.EOF):
		return nil, 0, i.invalidFile("is missing: the first line names the columns, of " + i.names())
	case err != nil:
		return nil, 0, fmt.Errorf("read the header: %w", err)
	}
	columns, err := i.header(header)
	if err != nil {
		return nil, 0, err
	}
	for _, n := range columns {
		given = given.with(n)
	}
	return func(row *importRow) (refused *RefusedRow, err error) {
		record, err := read(row)
		switch {
		case err != nil:
			return nil, err
		case len(record) != len(columns):
			return &RefusedRow{row.line, "", fmt.Sprintf("has %d values, and the header %d", len(record), len(columns))}, nil
		}
		for n, column := range columns {
			if record[n] != "" && refused == nil {
				refused = i.give(row, column, unguard(record[n]))
			}
		}
		return refused, nil
	}, given, nil
}

func (i *importer) names() string { return strings.Join(i.table.importable(), ", ") }

// header returns the columns that a header names.
func (i *importer) header(header []string) (columns []int, err error) {
	names := i.table.importable()
	for n := range header {
		header[n] = strings.ToLower(strings.TrimSpace(header[n])) // as spreadsheets like them
	}
	if len(header) == 1 && strings.Contains(header[0], ";") {
		return nil, i.invalidFile("has semicolons: save the file with commas between the values")
	}
	if other := map[*portableTable]*portableTable{portableUsers: portableFiles, portableFiles: portableUsers}[i.table]; isSubset(header, other.importable()) && !isSubset(header, names) {
		return nil, i.invalidFile("is that of " + other.name + ", not of " + i.table.name)
	}
	for n, name := range header {
		column := slices.Index(names, name)
		switch {
		case column < 0:
			return nil, i.invalidFile(fmt.Sprintf("column %d is none of %s", n+1, i.names()))
		case slices.Contains(columns, column):
			return nil, i.invalidFile("names " + name + " twice")
		}
		columns = append(columns, column)
	}
	for _, n := range i.table.must {
		if !slices.Contains(columns, n) && (i.table != portableFiles || n != columnOwner || !slices.Contains(header, ownerByEmail)) {
			return nil, i.invalidFile("does not name " + names[n])
		}
	}
	return columns, nil
}

func isSubset(some, all []string) bool {
	return !slices.ContainsFunc(some, func(one string) bool { return !slices.Contains(all, one) })
}

func (i *importer) jsonSource(r io.Reader) importSource {
	lines, line := bufio.NewScanner(r), 0
	lines.Buffer(nil, importLine)
	return func(row *importRow) (*RefusedRow, error) {
		for lines.Scan() && lines.Err() == nil { // After an error the last line may be half of one.
			line++
			row.line, row.bytes = line, len(lines.Bytes())
			if len(bytes.TrimSpace(lines.Bytes())) > 0 {
				return i.decode(row, lines.Bytes()), nil
			}
		}
		err := cmp.Or(lines.Err(), io.EOF)
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("the row on line %d is longer than 1 MiB", line+1)
		}
		return nil, err
	}
}

func (i *importer) decode(row *importRow, line []byte) *RefusedRow {
	if !utf8.Valid(line) {
		return &RefusedRow{row.line, "", text.ErrInvalidUTF8.Error()}
	}
	object, err := jsonobject.Decode(line)
	if err != nil {
		return &RefusedRow{row.line, "", "is not one JSON object"}
	}
	for n, name := range i.table.importable() {
		given := object[name]
		delete(object, name)
		if given == nil {
			continue
		}
		kind := kindText
		if n < len(i.table.columns) {
			kind = i.table.columns[n].kind
		}
		value, must := plain(given, kind)
		if must != "" {
			return &RefusedRow{row.line, name, must}
		}
		if kind == kindObject { // It is in its normal form.
			if err := storable(value); err != nil {
				return i.refusal(row, n, err.Error())
			}
			row.set(n, value)
		} else if refused := i.give(row, n, value); refused != nil {
			return refused
		}
	}
	if len(object) > 0 {
		return &RefusedRow{row.line, "", "has a field that is none of " + i.names()}
	}
	return nil
}

// plain returns a JSON value as it stands in CSV, or what it must be.
func plain(given any, kind columnKind) (value, must string) {
	switch given := given.(type) {
	case map[string]any:
		if kind == kindObject {
			written, err := json.Marshal(given)
			if err != nil {
				return "", "must be a JSON object"
			}
			return string(written), ""
		}
	case bool:
		if kind == kindFlag {
			return strconv.FormatBool(given), ""
		}
	case float64:
		if kind == kindNumber {
			return strconv.FormatFloat(given, 'f', -1, 64), ""
		}
	case json.Number:
		if kind == kindNumber {
			return given.String(), ""
		}
	case string:
		if kind != kindObject && kind != kindFlag && kind != kindNumber {
			return given, ""
		}
	}
	must, ok := map[columnKind]string{kindObject: "must be a JSON object", kindFlag: errFlag.Error(), kindNumber: "must be a number"}[kind]
	if !ok {
		must = "must be text"
	}
	return "", must
}
