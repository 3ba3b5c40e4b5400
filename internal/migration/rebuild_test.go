package migration_test

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/migration"
)

// Two tables as the module has them, with rows. SQLite changes most of a table by building it anew,
// and dropping the old one deletes whatever cascades from it unless foreign keys are off.
const twoTables = "CREATE TABLE users (id integer PRIMARY KEY, email text NOT NULL);\n" +
	"CREATE TABLE files (id integer PRIMARY KEY, user_id integer NOT NULL REFERENCES users (id) ON DELETE CASCADE);\n" +
	"INSERT INTO users (id, email) VALUES (1, 'ada@example.org'), (2, 'grace@example.org');\n" +
	"INSERT INTO files (id, user_id) VALUES (10, 1), (11, 1), (12, 2);\n"

// As Atlas writes it.
const rebuild = "-- Disable the enforcement of foreign-keys constraints\n" +
	"PRAGMA foreign_keys = off;\n" +
	"CREATE TABLE `new_users` (`id` integer PRIMARY KEY, `email` text NOT NULL, `name` text NULL);\n" +
	"INSERT INTO `new_users` (`id`, `email`) SELECT `id`, `email` FROM `users`;\n" +
	"DROP TABLE `users`;\n" +
	"ALTER TABLE `new_users` RENAME TO `users`;\n" +
	"-- Enable back the enforcement of foreign-keys constraints\n" +
	"PRAGMA foreign_keys = on;\n"

func sqliteFile(t *testing.T) *database.DB {
	t.Helper()
	return open(t, "sqlite://"+filepath.Join(t.TempDir(), "reviewpoint.db"))
}

// checkEnforced checks that foreign keys are on, by what SQLite says and on every connection.
func checkEnforced(t *testing.T, db *database.DB) {
	t.Helper()
	if on := query[int](t, t.Context(), db, "PRAGMA foreign_keys")[0]; on != 1 {
		t.Error("foreign keys are off on the writer")
	}
}

func TestApply_RebuildKeepsWhatCascades(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"with the pragmas":    rebuild,
		"without the pragmas": strings.NewReplacer("PRAGMA foreign_keys = off;\n", "", "PRAGMA foreign_keys = on;\n", "").Replace(rebuild),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := sqliteFile(t)
			apply(t, db, folder(t, map[string]string{"1_two.sql": twoTables}))
			apply(t, db, folder(t, map[string]string{"1_two.sql": twoTables, "2_rebuild.sql": content}))
			if ids := query[int](t, t.Context(), db, "SELECT id FROM files ORDER BY id"); !slices.Equal(ids, []int{10, 11, 12}) {
				t.Errorf("files after the rebuild: %v", ids)
			}
			if ids := query[int](t, t.Context(), db, "SELECT id FROM users WHERE name IS NULL ORDER BY id"); !slices.Equal(ids, []int{1, 2}) {
				t.Errorf("users after the rebuild: %v", ids)
			}
			checkEnforced(t, db)
			execute(t, db, "DELETE FROM users WHERE id = 1")
			if ids := query[int](t, t.Context(), db, "SELECT id FROM files"); !slices.Equal(ids, []int{12}) {
				t.Errorf("files after their owner is deleted: %v", ids)
			}
			if _, err := db.ExecContext(t.Context(), "INSERT INTO files (user_id) VALUES (99)"); !errors.Is(err, database.ErrForeignKey) {
				t.Errorf("a file of nobody: %v, want ErrForeignKey", err)
			}
		})
	}
}

func TestApply_OrphansAreRefused(t *testing.T) {
	t.Parallel()
	db := sqliteFile(t)
	apply(t, db, folder(t, map[string]string{"1_two.sql": twoTables}))
	before := dump(t, db)
	orphaning := strings.Replace(rebuild, "FROM `users`;", "FROM `users` WHERE `id` > 1;", 1)
	applied, err := migrator(t, db, folder(t, map[string]string{"1_two.sql": twoTables, "2_rebuild.sql": orphaning})).Apply(t.Context(), migration.Options{})
	if !errors.Is(err, database.ErrForeignKey) {
		t.Fatalf("error = %v, want ErrForeignKey", err)
	}
	for _, want := range []string{"2_rebuild.sql", `"files"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
	equal(t, "applied", names(applied), nil)
	equal(t, "schema and rows", dump(t, db), before)
	checkEnforced(t, db)
	equal(t, "applied after mending", apply(t, db, folder(t, map[string]string{"1_two.sql": twoTables, "2_rebuild.sql": rebuild})), []string{"2_rebuild.sql"})
}
