package main

import (
	"context"
	"regexp"
	"slices"
	"testing"
)

// TestAllocations allows a read of the client, with the rules of the schema, 15 % more allocations than the
// same read of stock ent, and a method of the store none more than raw database/sql. It is not parallel,
// since what others allocate would count.
//
//nolint:paralleltest // See above.
func TestAllocations(t *testing.T) {
	// database/sql allocates for a context that can be cancelled, which this module has SQLite alone spare.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	file := sqliteTarget(t.TempDir(), "NORMAL")
	db, err := openDatabase(ctx, file, size{users: 1200, files: 4000, tokens: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	places, err := db.places(ctx)
	if err != nil {
		t.Fatal(err)
	}
	count := func(e *entry, op operation) float64 {
		opened, err := e.open(ctx, file)
		if err != nil {
			t.Fatal(err)
		}
		defer opened.Close()
		i, k := 0, db.owned(db.measured(places))
		return testing.AllocsPerRun(1000, func() {
			if _, err := op.call(e.asking(ctx, op), opened, k, i); err != nil {
				t.Fatal(err)
			}
			i++
		})
	}
	all := contenders()
	named := func(entries []*entry, name string) *entry {
		return entries[slices.IndexFunc(entries, func(e *entry) bool { return e.name == name })]
	}
	for _, tt := range []struct {
		operations, name string
		who              *entry
		most             float64
		of               *entry
	}{
		{"^(check hit|check miss|by e-mail|by id|page of 20)$", "the client", named(all, "this, client"), 1.15, named(all, "ent")},
		{"^(by e-mail|by id|page of 20)$", "the client of a person", named(signedIn(), "this, client"), 1.15, named(all, "ent")},
		{"^(check hit|check miss|check token|by e-mail|by id|page of 20)$", "a method", named(all, "this"), 1, named(all, rawName)},
		{"^(by e-mail|by id|page of 20)$", "a method for a person", named(signedIn(), "this"), 1, named(all, rawName)},
	} {
		for _, op := range selected(regexp.MustCompile(tt.operations), func(operation) bool { return true }) {
			got, base := count(tt.who, op), count(tt.of, op)
			t.Logf("%s, %s: %.0f allocations, %.0f of %s", tt.name, op.Name, got, base, tt.of.name)
			if got > tt.most*base {
				t.Errorf("%s allocates %.0f times for %q, more than %.2f times the %.0f of %s", tt.name, got, op.Name, tt.most, base, tt.of.name)
			}
		}
	}
}
