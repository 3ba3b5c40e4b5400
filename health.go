package models

import (
	"context"
	"errors"

	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/migration"
	"github.com/reviewpoint/models/schema/migrations"
)

// Health says what Store.Health found.
type Health struct {
	Dialect  string `json:"dialect"`   // "sqlite3" or "postgres"
	Version  string `json:"version"`   // of SQLite or of the server: "15.14"
	Role     string `json:"role"`      // "primary", or "replica" of a PostgreSQL that follows another one
	ReadOnly bool   `json:"read_only"` // The store was opened to read, or the server takes no writes.

	// Schema is "current", "pending" when Migrate has something to do, "newer" when migrations were applied
	// that this program has not, or "unknown" when the tables are not what its migrations made, or may not be
	// looked at.
	Schema    string   `json:"schema"`
	Migration string   `json:"migration,omitempty"` // the version of the last one applied, of "current" and "pending"
	Pending   []string `json:"pending"`             // the names of the migrations that are pending, in order
	Problem   string   `json:"problem,omitempty"`   // what is wrong, and what to do, of "newer" and "unknown"
}

// Health asks the database what it is, what it may do, and where its schema stands. It is for a probe: it
// needs no viewer, tells nothing of any row, changes nothing, works on an empty database and on a replica, and
// takes as long as ctx allows. An error means that the database did not answer; a schema that does not fit is
// no error but in Schema, so that a service may go on beside a newer release; so is one that the role may not
// read. Inside InTx it joins.
func (s *Store) Health(ctx context.Context) (Health, error) {
	h := Health{Dialect: s.Dialect(), Role: "primary", Pending: []string{}}
	server, err := s.db.Server(ctx)
	if err != nil {
		return h, err
	}
	h.Version, h.ReadOnly = server.Version, server.ReadOnly
	if server.Replica {
		h.Role = "replica"
	}
	m, err := migration.New(s.db, migrations.FS)
	if err != nil {
		return h, err
	}
	files, err := m.Status(ctx)
	switch {
	case errors.Is(err, migration.ErrMissing):
		h.Schema, h.Problem = "newer", err.Error()
		return h, nil
	case errors.Is(err, migration.ErrEdited), errors.Is(err, migration.ErrForeign), errors.Is(err, migration.ErrOrder):
		h.Schema, h.Problem = "unknown", err.Error()
		return h, nil
	case forbidden(err):
		h.Schema, h.Problem = "unknown", err.Error()+": grant SELECT on atlas_schema_revisions"
		return h, nil
	case err != nil:
		return h, err
	}
	h.Schema = "current"
	for _, file := range files {
		if file.Pending() {
			h.Schema, h.Pending = "pending", append(h.Pending, file.Name)
		} else {
			h.Migration = file.Version
		}
	}
	return h, nil
}

// forbidden reports whether the server refused the role, SQLSTATE 42501.
func forbidden(err error) bool {
	e, ok := errors.AsType[*database.Error](err)
	return ok && e.Code == "42501"
}
