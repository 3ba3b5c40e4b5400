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
		field.Time("at").Immutable().Annotations(now()).
			Comment("When the change was made. Set by the clock of the store."),
		field.String("actor").Immutable().NotEmpty().MaxRuneLen(255).Validate(text.Valid).SchemaType(varchar(255)).
			Comment("Who made it: user:ID, admin:LABEL, system:LABEL or anonymous."),
		field.String("action").Immutable().NotEmpty().MaxRuneLen(32).Validate(text.Valid).SchemaType(varchar(32)).
			Comment("What was done: create, update, soft_delete, restore, anonymize or delete."),
		field.String("entity").Immutable().NotEmpty().MaxRuneLen(64).Validate(text.Valid).SchemaType(varchar(64)).
			Comment("Which entity the row is of, as user or file."),
		field.Int("entity_id").Immutable().
			Comment("The id of the row that was changed. No foreign key: the trail outlives the row."),
		field.JSON("changes", map[string]any{}).Immutable().
			Comment(`What it was: {"column": [old, new]}, with [redacted] for the values of sensitive columns.`),
	}
}

// Indexes of the AuditLog.
func (AuditLog) Indexes() []ent.Index {
	return []ent.Index{
		index.Fields("entity", "entity_id", "id").Annotations(schema.Comment("The history of a row, by pages.")),
		index.Fields("at").Annotations(schema.Comment("The trail of a time.")),
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
	return []schema.Annotation{
		schema.Comment("AuditLog is one change of one row: who made it, when, and what it was. Rows are only ever added."),
		audit.Trail{AppendOnly: true},
		entsql.Checks(map[string]string{
			"audit_logs_actor_not_empty":  "actor <> ''",
			"audit_logs_action_not_empty": "action <> ''",
			"audit_logs_entity_not_empty": "entity <> ''",
			"audit_logs_changes_object":   "CAST(changes AS text) LIKE '{%'",
		}),
	}
}
