package main

import (
	"context"
	"errors"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/reviewpoint/models/internal/cluster"
)

// TestAllocations allows a read of the client, with the rules of the schema, 15 % more allocations than the
// same read of stock ent, and a method of the store none more than raw database/sql, or 5 % for a person on
// PostgreSQL. It is not parallel, since what others allocate would count.
//
//nolint:paralleltest // See above.
func TestAllocations(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { allocations(t, sqliteTarget(t.TempDir(), "NORMAL"), 1) })
	t.Run("postgres", func(t *testing.T) {
		server, err := cluster.Start()
		if errors.Is(err, cluster.ErrNone) && os.Getenv("CI") != "true" {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { server.Close() })
		to, _, err := postgresTarget(t.Context(), server.URL())
		if err != nil {
			t.Fatal(err)
		}
		allocations(t, to, 1.05) // The rule sends an argument more.
	})
}

func allocations(t *testing.T, to target, mostOfPerson float64) {
	t.Helper()
	// database/sql allocates for a context that can be cancelled, which this module has SQLite alone spare.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	db, err := openDatabase(ctx, to, size{users: 1200, files: 4000, tokens: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	places, err := db.places(ctx)
	if err != nil {
		t.Fatal(err)
	}
	count := func(e *entry, op operation) (allocations float64, answer string) {
		opened, err := e.open(ctx, to)
		if err != nil {
			t.Fatal(err)
		}
		defer opened.Close()
		i, k := 0, db.owned(db.measured(places))
		call := func() any {
			answer, err := op.call(e.asking(ctx, op), opened, k, i)
			if err != nil {
				t.Fatal(err)
			}
			return answer
		}
		answer = canonical(call())
		return testing.AllocsPerRun(300, func() {
			call()
			i++
		}), answer
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
		{"^(by e-mail|by id|page of 20)$", "a method for a person", named(signedIn(), "this"), mostOfPerson, named(all, rawName)},
	} {
		for _, op := range selected(regexp.MustCompile(tt.operations), func(operation) bool { return true }) {
			got, answer := count(tt.who, op)
			base, want := count(tt.of, op)
			if answer != want {
				t.Errorf("%s answers %q to %q, and %s %q", tt.name, answer, op.Name, tt.of.name, want)
			}
			t.Logf("%s, %s: %.0f allocations, %.0f of %s", tt.name, op.Name, got, base, tt.of.name)
			if got > tt.most*base {
				t.Errorf("%s allocates %.0f times for %q, more than %.2f times the %.0f of %s", tt.name, got, op.Name, tt.most, base, tt.of.name)
			}
		}
	}
}
