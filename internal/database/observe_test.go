package database_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/row"
)

// TestTelemetry_ReadThatEnds: SQLite is not interrupted while Read runs, and yet its outcome is that the
// context has ended.
func TestTelemetry_ReadThatEnds(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		var log bytes.Buffer
		db, err := database.Open(t.Context(), url, database.Options{Telemetry: database.Telemetry{
			Logger: slog.New(slog.NewTextHandler(&log, nil)), Slow: 1, Tables: []string{"notes"},
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		execute(t, db, "CREATE TABLE notes (id int)")
		execute(t, db, "INSERT INTO notes VALUES (1), (2), (3)")
		for name, tt := range map[string]struct {
			scan func(end func()) error
			want string
		}{
			"all":           {func(func()) error { return nil }, "outcome=ok rows=3"},
			"the scan ends": {func(func()) error { return errors.New("enough") }, "outcome=ok rows=1"},
			"context ends":  {func(end func()) error { end(); return nil }, "outcome=canceled statement"},
		} {
			log.Reset()
			ctx, end := context.WithCancel(t.Context())
			err := db.Read(ctx, "SELECT id FROM notes WHERE id < $1", []any{9}, func(*row.Row) error { return tt.scan(end) })
			if (err == nil) != (name == "all") {
				t.Errorf("%s: %v", name, err)
			}
			if !strings.Contains(log.String(), "operation=SELECT table=notes") || !strings.Contains(log.String(), tt.want) {
				t.Errorf("%s: the log has %q, want %s", name, log.String(), tt.want)
			}
			end()
		}
	})
}
