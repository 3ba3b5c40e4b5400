package schema

import (
	"fmt"

	"entgo.io/ent"
	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/mixin"
	"github.com/google/uuid"

	"github.com/reviewpoint/models/internal/clock"
)

// Timestamps gives an entity created_at and updated_at: UTC, microseconds, set
// from the clock that the context carries. created_at is fixed at creation,
// updated_at moves with every update, bulk updates and upserts included, whatever
// the caller gives for it.
type Timestamps struct{ mixin.Schema }

// Fields of the mixin.
func (Timestamps) Fields() []ent.Field {
	return []ent.Field{
		field.Time("created_at").Immutable().Annotations(now()),
		field.Time("updated_at").Annotations(now()),
	}
}

// Hooks of the mixin.
func (Timestamps) Hooks() []ent.Hook {
	return []ent.Hook{clock.Timestamps("created_at", "updated_at")}
}

// PublicID gives an entity the identifier that leaves the system. It is random
// (version 4), so it tells neither how many rows there are nor when one was made.
type PublicID struct{ mixin.Schema }

// Fields of the mixin.
func (PublicID) Fields() []ent.Field {
	return []ent.Field{
		field.UUID("public_id", uuid.UUID{}).Unique().Immutable().Default(uuid.New),
	}
}

// varchar is a text column of at most n characters. SQLite knows no such type: there the desired
// state adds a CHECK instead.
func varchar(n int) map[string]string {
	return map[string]string{dialect.Postgres: fmt.Sprintf("varchar(%d)", n)}
}

// now is the default of a time column for rows written by other hands.
func now() *entsql.Annotation { return entsql.DefaultExpr("CURRENT_TIMESTAMP") }
