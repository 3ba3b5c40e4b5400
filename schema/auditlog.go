package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"

	"github.com/reviewpoint/models/internal/audit"
	"github.com/reviewpoint/models/internal/clock"
	"github.com/reviewpoint/models/internal/jsonobject"
	"github.com/reviewpoint/models/internal/policy"
	"github.com/reviewpoint/models/internal/text"
)

// AuditLog is one change of one row: who made it, when, and what it was. Rows are only ever added.
type AuditLog struct{ ent.Schema }

// Mixin of the AuditLog.
func (AuditLog) Mixin() []ent.Mixin { return []ent.Mixin{Timestamps{}} }

// Fields of the AuditLog.
func (AuditLog) Fields() []ent.Field {
	return []ent.Field{
		field.Time("at").Immutable().Annotations(now()),
		field.String("actor").Immutable().NotEmpty().MaxRuneLen(255).Validate(text.Valid).SchemaType(varchar(255)),
		field.String("action").Immutable().NotEmpty().MaxRuneLen(32).Validate(text.Valid).SchemaType(varchar(32)),
		field.String("entity").Immutable().NotEmpty().MaxRuneLen(64).Validate(text.Valid).SchemaType(varchar(64)),
		field.Int("entity_id").Immutable(),
		field.JSON("changes", map[string]any{}).Immutable(),
	}
}

// Indexes of the AuditLog.
func (AuditLog) Indexes() []ent.Index {
	return []ent.Index{
		index.Fields("entity", "entity_id", "id"),
		index.Fields("at"),
	}
}

// Hooks of the AuditLog.
func (AuditLog) Hooks() []ent.Hook {
	return []ent.Hook{clock.OnCreate("at"), jsonobject.Hook("changes")}
}

// Policy of the AuditLog.
func (AuditLog) Policy() ent.Policy {
	return policy.Rules{Admin: policy.Read, AppendOnly: true}
}

// Annotations of the AuditLog.
func (AuditLog) Annotations() []schema.Annotation {
	return []schema.Annotation{audit.Trail{AppendOnly: true}, entsql.Checks(map[string]string{
		"audit_logs_actor_not_empty":  "actor <> ''",
		"audit_logs_action_not_empty": "action <> ''",
		"audit_logs_entity_not_empty": "entity <> ''",
		"audit_logs_changes_object":   "CAST(changes AS text) LIKE '{%'",
	})}
}
