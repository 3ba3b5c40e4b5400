package schema

import (
	"fmt"

	"entgo.io/ent"
	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/mixin"
	"github.com/google/uuid"

	"github.com/reviewpoint/models/internal/address"
	"github.com/reviewpoint/models/internal/audit"
	"github.com/reviewpoint/models/internal/clock"
	"github.com/reviewpoint/models/internal/cutoff"
	"github.com/reviewpoint/models/internal/softdelete"
)

// Timestamps gives an entity created_at and updated_at: UTC, microseconds, set
// from the clock that the context carries. created_at is fixed at creation,
// updated_at moves with every update, bulk updates and upserts included, whatever
// the caller gives for it.
type Timestamps struct{ mixin.Schema }

// Fields of the mixin.
func (Timestamps) Fields() []ent.Field {
	return []ent.Field{
		field.Time("created_at").Immutable().Annotations(now()).
			Comment("When the row was made. Set by the clock of the store, and by the database for rows of other hands."),
		field.Time("updated_at").Annotations(now()).
			Comment("When the row was last changed. Set by the clock of the store at every change."),
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
		field.UUID("public_id", uuid.UUID{}).Unique().Immutable().Default(uuid.New).
			Comment("The identifier that leaves the system. Random (UUID version 4), set by the client."),
	}
}

// Address stores the e-mail address in a column in its normal form, so that it is found and unique
// however it was written.
type Address struct {
	mixin.Schema
	Column string
}

// Hooks of the mixin.
func (a Address) Hooks() []ent.Hook { return []ent.Hook{address.Hook(a.Column)} }

// Annotations of the mixin.
func (a Address) Annotations() []schema.Annotation {
	return []schema.Annotation{address.Column{Column: a.Column}}
}

// SoftDelete keeps the rows that are deleted, and hides them from whoever does not ask for them. The
// entity has the columns is_deleted and deleted_at.
type SoftDelete struct{ mixin.Schema }

var deletion = softdelete.Columns{Deleted: "is_deleted", At: "deleted_at"}

// Hooks of the mixin.
func (SoftDelete) Hooks() []ent.Hook { return []ent.Hook{deletion.Hook()} }

// Interceptors of the mixin.
func (SoftDelete) Interceptors() []ent.Interceptor { return []ent.Interceptor{deletion.Interceptor()} }

// Annotations of the mixin.
func (SoftDelete) Annotations() []schema.Annotation { return []schema.Annotation{deletion} }

// Cutoff moves the time in a column to now with certain updates of the row.
type Cutoff struct {
	mixin.Schema
	Column string
	When   cutoff.When
}

// Hooks of the mixin.
func (c Cutoff) Hooks() []ent.Hook { return []ent.Hook{cutoff.Hook(c.Column, c.When)} }

// Audited records the changes of each row in audit_logs, in the same transaction.
type Audited struct {
	mixin.Schema
	audit.Changes
}

// Hooks of the mixin.
func (a Audited) Hooks() []ent.Hook { return []ent.Hook{a.Changes.Hook()} }

// Annotations of the mixin.
func (a Audited) Annotations() []schema.Annotation { return []schema.Annotation{a.Changes} }

// varchar is a text column of at most n characters. SQLite knows no such type: there the desired
// state adds a CHECK instead.
func varchar(n int) map[string]string {
	return map[string]string{dialect.Postgres: fmt.Sprintf("varchar(%d)", n)}
}

// now is the default of a time column for rows written by other hands.
func now() *entsql.Annotation { return entsql.DefaultExpr("CURRENT_TIMESTAMP") }
