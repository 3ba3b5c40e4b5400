package migration_test

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"testing"

	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/migration"
	"github.com/reviewpoint/models/schema/migrations"
)

func TestApply_FromManyGoroutines(t *testing.T) {
	t.Parallel()
	const goroutines = 32
	for _, folder := range []struct {
		name  string
		files fs.FS
	}{
		{"embedded", migrations.FS},
		{"five files", steps(t, 5, 4)},
	} {
		for _, handles := range []int{1, 12} {
			t.Run(fmt.Sprintf("%s, %d handles", folder.name, handles), func(t *testing.T) {
				t.Parallel()
				onEach(t, func(t *testing.T, url string) {
					dbs := make([]*database.DB, handles)
					for i := range dbs {
						dbs[i] = open(t, url)
					}
					var (
						start   = make(chan struct{})
						applied = make([][]migration.File, goroutines)
						failed  = make([]error, goroutines)
						workers sync.WaitGroup
					)
					for i := range goroutines {
						workers.Go(func() {
							<-start
							m, err := migration.New(dbs[i%handles], folder.files)
							if err == nil {
								applied[i], err = m.Apply(t.Context(), migration.Options{})
							}
							failed[i] = err
						})
					}
					close(start)
					workers.Wait()
					if err := errors.Join(failed...); err != nil {
						t.Fatal(err)
					}
					got := names(slices.Concat(applied...))
					slices.Sort(got)
					status, err := migrator(t, dbs[0], folder.files).Status(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					equal(t, "files that all calls together applied", got, names(status))
					checkAccount(t, dbs[0], names(status))
					if folder.name == "five files" {
						checkSteps(t, dbs[0], 5, 4)
					}
				})
			})
		}
	}
}

// TestStatus_WhileAnotherMigrates has another apply all files before each statement of one that looks.
func TestStatus_WhileAnotherMigrates(t *testing.T) {
	t.Parallel()
	for _, name := range []string{dialect.SQLite, dialect.Postgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for statement := 1; ; statement++ {
				url, seen := empty(t, name), 0
				db, err := database.Open(t.Context(), url, database.Options{Before: func(string, []driver.NamedValue) {
					if seen++; seen == statement {
						apply(t, open(t, url), migrations.FS)
					}
				}})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { db.Close() })
				if _, err := migrator(t, db, migrations.FS).Status(t.Context()); err != nil {
					t.Errorf("applied before statement %d: %v", statement, err)
				}
				if seen < statement {
					return
				}
			}
		})
	}
}
