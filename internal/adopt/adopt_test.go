package adopt_test

import (
	"testing"

	"github.com/reviewpoint/models/internal/database"
)

func TestRun(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db *database.DB, _ string) {
		t.Logf("%+v", inspect(t, db))
		t.Logf("%+v", take(t, db))
	})
}
