package adopt_test

import (
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
