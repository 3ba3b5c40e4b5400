package models

import (
	"context"
	"net/url"
	"path/filepath"
)

// TestingT is what OpenTest and RollbackTest ask of a *testing.T or *testing.B.
type TestingT interface {
	Helper()
	Cleanup(fn func())
	TempDir() string
	Fatalf(format string, args ...any)
}

// OpenTest returns a migrated store of the test's own: SQLite in a temporary file, closed and removed
// when the test ends. It does not wait for the disk, and hashes passwords at next to no cost, unless an
// option says otherwise; it is otherwise what Open gives.
func OpenTest(t TestingT, opts ...Option) *Store {
	t.Helper()
	path := filepath.ToSlash(filepath.Join(t.TempDir(), "reviewpoint.db"))
	ctx := context.Background()
	store, err := Open(ctx, "sqlite://"+(&url.URL{Path: path}).EscapedPath()+"?synchronous=off", append([]Option{cheapHashing}, opts...)...)
	if err != nil {
		t.Fatalf("open a store for the test: %v", err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Fatalf("close the store of the test: %v", err)
		}
	})
	if _, err := store.Migrate(ctx); err != nil {
		t.Fatalf("migrate the store of the test: %v", err)
	}
	return store
}

// RollbackTest returns a context whose changes are undone when the test ends, whatever happens in it,
// so that many tests can share a store. The system asks in it. A statement or an InTx that fails
// is undone alone, so a test may go on after an error that it expects. On SQLite the store has one
// such context at a time.
func RollbackTest(t TestingT, store *Store) context.Context {
	t.Helper()
	ctx, rollback := store.db.Rollback(AsSystem(context.Background(), "test"))
	t.Cleanup(func() {
		if err := rollback(); err != nil {
			t.Fatalf("undo the changes of the test: %v", err)
		}
	})
	return ctx
}

func cheapHashing(o *options) error {
	o.hashing.cheap = true
	return nil
}
