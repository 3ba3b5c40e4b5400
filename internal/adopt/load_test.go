package adopt_test

import (
	"testing"
	"time"

	"github.com/reviewpoint/models/internal/adopt"
	"github.com/reviewpoint/models/internal/database"
)

// TestRun_ManyFiles adopts a million files, or a few thousand in the short form, and tells how far it is.
func TestRun_ManyFiles(t *testing.T) {
	t.Parallel()
	files := 5000
	if long() {
		files = 1_000_000
	}
	onEach(t, func(t *testing.T, db *database.DB, _ string) {
		addFiles(t, db, files)
		want := make(map[string][]string)
		for table := range expected {
			want[table] = expect(t, db, table)
		}
		total := files + 6 + 30 + 7 + 12
		told := map[bool]int{}
		opts := adopt.Options{Progress: func(p adopt.Progress) {
			if p.Of != total || p.Rows <= told[p.Written] && p.Rows != 6 || p.Rows > p.Of {
				t.Errorf("told %+v after %v", p, told)
			}
			told[p.Written] = p.Rows
		}}
		began := time.Now()
		report, err := adopt.Inspect(t.Context(), db, opts)
		check(t, err)
		inspected := time.Since(began)
		_, err = adopt.Run(t.Context(), db, migrator(t, db), report, opts)
		check(t, err)
		t.Logf("%d files: looked at in %s, adopted in %s", files, inspected.Round(time.Millisecond), (time.Since(began) - inspected).Round(time.Millisecond))
		if told[false] != total || told[true] != total {
			t.Errorf("told %v at the end, want %d", told, total)
		}
		for table := range expected {
			equal(t, table, actual(t, db, table), want[table])
		}
		checkFresh(t, db)
	})
}
