package adopt_test

import (
	"strings"
	"testing"

	"entgo.io/ent/dialect"

	entmigrate "github.com/reviewpoint/models/ent/migrate"
	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/dbtest"
	"github.com/reviewpoint/models/internal/migration"
	"github.com/reviewpoint/models/schema/migrations"
)

// What was adopted is what the migrations make, undone and applied again as well.
func TestRun_Verified(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db *database.DB, _ string) {
		take(t, db)
		devs := make([]*migration.Dev, 0, 2)
		for name, url := range map[string]string{dialect.SQLite: "", dialect.Postgres: dbtest.Postgres(t)} {
			dev, err := migration.OpenDev(t.Context(), name, url)
			check(t, err)
			t.Cleanup(func() { check(t, dev.Close()) })
			devs = append(devs, dev)
		}
		verify := func() {
			t.Helper()
			found, err := migration.Verify(t.Context(), migrations.FS, entmigrate.Tables, devs, db)
			check(t, err)
			for _, difference := range found {
				t.Errorf("%s: %s", difference.Where, difference.What)
			}
		}
		verify()
		m := migrator(t, db)
		for _, dev := range devs {
			plan, err := m.PlanDown(t.Context(), dev, "20261123111209", 0)
			if err != nil { // the other dialect's
				continue
			}
			check(t, m.Down(t.Context(), plan, migration.Options{}))
			applied, err := m.Apply(t.Context(), migration.Options{Dev: dev})
			check(t, err)
			if len(applied) != len(plan.Files) {
				t.Errorf("applied %d files again, want %d", len(applied), len(plan.Files))
			}
		}
		verify()
	})
}

// What somebody has added to the old tables, and what holds nothing, is said to go.
func TestInspect_NotesExtras(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db *database.DB, _ string) {
		if notes := inspect(t, db).Notes; len(notes) != 0 {
			t.Errorf("notes of the fixture: %+v", notes)
		}
		execute(t, db, "CREATE INDEX files_by_type ON files (content_type)")
		want := []string{"index files_by_type"}
		if db.Dialect() == dialect.Postgres {
			execute(t, db, "ALTER TABLE files ADD CONSTRAINT small CHECK (size < 10000000000)", "COMMENT ON TABLE files IS 'papers'", "ALTER TABLE files SET (fillfactor = 80)")
			want = []string{"comments", "constraint small", "index files_by_type", "storage parameters"}
		}
		var got []string
		for _, note := range inspect(t, db).Notes {
			what, _, _ := strings.Cut(note.What, " goes with")
			got = append(got, what)
		}
		equal(t, "notes", got, want)
	})
}

// Whoever may make functions in the schema cannot have them called by the one who adopts.
func TestInspect_PlantedFunctions(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db *database.DB, _ string) {
		if db.Dialect() != dialect.Postgres {
			t.Skip("SQLite has no functions of its own")
		}
		for _, signature := range []string{"format(text, name, name)", "format(text, name, text)", "format(text, text, text)", "quote_ident(name)", "concat_ws(text, text, text)"} {
			execute(t, db, "CREATE FUNCTION "+signature+" RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''planted''; END'")
		}
		take(t, db)
	})
}
