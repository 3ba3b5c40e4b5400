package database_test

import (
	"database/sql"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/text"
)

func TestArguments_Time(t *testing.T) {
	t.Parallel()
	instant := time.Date(2026, 1, 2, 3, 4, 5, 123456789, time.UTC)
	kept := instant.Truncate(time.Microsecond)
	onEach(t, func(t *testing.T, url string) {
		db := open(t, url)
		asText := "to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00:00'"
		kind := "timestamptz"
		if db.Dialect() == dialect.SQLite {
			asText, kind = "CAST(at AS text)", "datetime"
		}
		execute(t, db, "CREATE TABLE moments (id integer PRIMARY KEY, at "+kind+")")
		for i, zone := range []*time.Location{time.UTC, time.Local, time.FixedZone("west", -8*3600), time.FixedZone("east", 9*3600+1800)} {
			given := instant.In(zone)
			execute(t, db, "INSERT INTO moments (id, at) VALUES ($1, $2)", 2*i, given)
			execute(t, db, "INSERT INTO moments (id, at) VALUES ($1, $2)", 2*i+1, &given)
			if n := value[int](t, t.Context(), db, "SELECT count(*) FROM moments WHERE at = $1", given); n != 2*i+2 {
				t.Errorf("%s: equal to %d rows, want %d", zone, n, 2*i+2)
			}
			if n := value[int](t, t.Context(), db, "SELECT count(*) FROM moments WHERE at < $1", given); n != 0 {
				t.Errorf("%s: after %d rows, want none", zone, n)
			}
			if n := value[int](t, t.Context(), db, "SELECT count(*) FROM moments WHERE at < $1", given.Add(time.Microsecond)); n != 2*i+2 {
				t.Errorf("%s: a microsecond later: after %d rows, want %d", zone, n, 2*i+2)
			}
			if got := value[string](t, t.Context(), db, "SELECT "+asText+" FROM moments WHERE id = $1", 2*i); got != "2026-01-02 03:04:05.123456+00:00" {
				t.Errorf("%s: kept as %q", zone, got)
			}
			if got := value[time.Time](t, t.Context(), db, "SELECT at FROM moments WHERE id = $1", 2*i); !got.Equal(kept) {
				t.Errorf("%s: came back as %s, want %s", zone, got, kept)
			}
		}
		for _, year := range []int{-1, 0, 10000} {
			if _, err := db.ExecContext(t.Context(), "INSERT INTO moments (id, at) VALUES (100, $1)", time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC)); err == nil {
				t.Errorf("the year %d was kept", year)
			}
		}
		// The zone decides which year it is.
		last := time.Date(9999, 12, 31, 20, 0, 0, 0, time.FixedZone("west", -8*3600))
		if _, err := db.ExecContext(t.Context(), "INSERT INTO moments (id, at) VALUES (101, $1)", last); err == nil {
			t.Error("the year 10000 in UTC was kept")
		}
	})
}

func TestArguments_Text(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		db := open(t, url)
		execute(t, db, "CREATE TABLE notes (body text)")
		for bad, want := range map[string]error{"a\x00b": text.ErrNUL, "\x00": text.ErrNUL, "a\xffb": text.ErrInvalidUTF8, "\xed\xa0\x80": text.ErrInvalidUTF8} {
			for _, arg := range []any{bad, &bad, sql.NullString{String: bad, Valid: true}} {
				if _, err := db.ExecContext(t.Context(), "INSERT INTO notes (body) VALUES ($1)", arg); !errors.Is(err, want) {
					t.Errorf("%T %q: %v, want %v", arg, bad, err, want)
				}
				if _, err := db.QueryContext(t.Context(), "SELECT body FROM notes WHERE body = $1", arg); !errors.Is(err, want) { //nolint:gocritic,rowserrcheck,sqlclosecheck // There are no rows.
					t.Errorf("query of %T %q: %v, want %v", arg, bad, err, want)
				}
			}
		}
		const good = "naïve 😀 \u0001 \ufffd"
		execute(t, db, "INSERT INTO notes (body) VALUES ($1)", good)
		if got := value[string](t, t.Context(), db, "SELECT body FROM notes"); got != good {
			t.Errorf("came back as %q, want %q", got, good)
		}
	})
}

func TestArguments_JSON(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		db := open(t, url)
		kind := "jsonb"
		if db.Dialect() == dialect.SQLite {
			kind = "json CHECK (typeof(body) = 'text')"
		}
		execute(t, db, "CREATE TABLE documents (body "+kind+")")
		execute(t, db, "INSERT INTO documents (body) VALUES ($1)", json.RawMessage(`{"theme": "dark"}`))
		if got := value[string](t, t.Context(), db, "SELECT body ->> 'theme' FROM documents"); got != "dark" {
			t.Errorf("theme = %q", got)
		}
	})
}
