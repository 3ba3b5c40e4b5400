package models

import (
	"bytes"
	"context"
	"database/sql/driver"
	"encoding/csv"
	"errors"
	"testing"

	"github.com/reviewpoint/models/ent"
)

// CheapHashing is how OpenTest hashes passwords.
var CheapHashing Option = cheapHashing

// WithStatements tells of each statement before it is sent, BEGIN and COMMIT included.
func WithStatements(tell func(query string, args []driver.NamedValue)) Option {
	return func(o *options) error {
		o.database.Before = tell
		return nil
	}
}

// IDsFrom gives nodes the ids that a query answers with their public ids.
func (s *Store) IDsFrom(ctx context.Context, query string, nodes []*ent.File) (int, error) {
	return s.insertReturning(ctx, query, []any{}, nodes)
}

// ThroughCSV returns a value as it stands in a cell, and as it is read from one.
func ThroughCSV(t testing.TB, value string) (written, read string) {
	t.Helper()
	var file bytes.Buffer
	w := csv.NewWriter(&file)
	if err := errors.Join(w.Write([]string{guard(value), "x"}), func() error { w.Flush(); return w.Error() }()); err != nil {
		t.Fatal(err)
	}
	record, err := csv.NewReader(bytes.NewReader(file.Bytes())).Read()
	if err != nil {
		t.Fatal(err)
	}
	return guard(value), unguard(record[0])
}
