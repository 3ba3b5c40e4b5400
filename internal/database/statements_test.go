package database_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/dbtest"
)

// openOne opens a database with one connection, so that all statements meet there.
func openOne(t testing.TB, url string) *database.DB {
	t.Helper()
	db, err := database.Open(t.Context(), url, database.Options{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// kept returns how many statements the server keeps prepared for the connection of ctx. It is no use
// of a prepared statement itself.
func kept(t testing.TB, ctx context.Context, db *database.DB) int {
	t.Helper()
	return value[int](t, ctx, db, "SELECT count(*) FROM pg_prepared_statements")
}

func TestStatements_PreparedTheSecondTime(t *testing.T) {
	t.Parallel()
	db := openOne(t, dbtest.Postgres(t))
	execute(t, db, "CREATE TABLE notes (id integer, body text)")
	for use, want := range []int{0, 1, 1, 1} {
		execute(t, db, "INSERT INTO notes (id, body) VALUES ($1, $2)", use, "x")
		if n := kept(t, t.Context(), db); n != want {
			t.Errorf("after %d uses %d statements are prepared, want %d", use+1, n, want)
		}
	}
	for use, want := range []int{1, 2, 2, 2} {
		if n := value[int](t, t.Context(), db, "SELECT id FROM notes WHERE id = $1", use); n != use {
			t.Errorf("read %d, want %d", n, use)
		}
		if n := kept(t, t.Context(), db); n != want {
			t.Errorf("after %d queries %d statements are prepared, want %d", use+1, n, want)
		}
	}
	if n := value[int](t, t.Context(), db, "SELECT count(*) FROM notes"); n != 4 {
		t.Errorf("%d rows, want 4", n)
	}
}

func TestStatements_Bound(t *testing.T) {
	t.Parallel()
	url := dbtest.Postgres(t)
	for option, bound := range map[string]int{"&statement_cache_size=0": 0, "&statement_cache_size=1": 1, "&statement_cache_size=3": 3, "": database.StatementCacheSize} {
		t.Run(option, func(t *testing.T) {
			t.Parallel()
			db := openOne(t, url+option)
			most := 0
			for i := range bound + 20 {
				for range 3 {
					if n := value[int](t, t.Context(), db, fmt.Sprintf("SELECT %d + $1", i), 1); n != i+1 {
						t.Fatalf("%d + 1 = %d", i, n)
					}
				}
				most = max(most, kept(t, t.Context(), db))
			}
			if most != bound {
				t.Errorf("up to %d statements were prepared, want %d", most, bound)
			}
		})
	}
}
