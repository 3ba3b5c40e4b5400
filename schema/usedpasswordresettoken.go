package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"

	"github.com/reviewpoint/models/internal/clock"
	"github.com/reviewpoint/models/internal/policy"
	"github.com/reviewpoint/models/internal/text"
)

// UsedPasswordResetToken is a password reset that has been made: its nonce counts once for its address.
type UsedPasswordResetToken struct{ ent.Schema }

// Mixin of the UsedPasswordResetToken.
func (UsedPasswordResetToken) Mixin() []ent.Mixin {
	return []ent.Mixin{Timestamps{}, Address{Column: "email"}}
}

// Fields of the UsedPasswordResetToken.
func (UsedPasswordResetToken) Fields() []ent.Field {
	return []ent.Field{
		field.String("email").NotEmpty().MaxRuneLen(255).Validate(text.Valid).SchemaType(varchar(255)).
			Comment("The address that the link was sent to, in its normal form."),
		field.String("nonce").NotEmpty().MaxRuneLen(64).Validate(text.Valid).SchemaType(varchar(64)).
			Comment("The number in the link that is used once. Set by the service that sends the link."),
		field.Time("used_at").Annotations(now()).
			Comment("When the password was reset. Set by the clock of the store."),
	}
}

// Indexes of the UsedPasswordResetToken.
func (UsedPasswordResetToken) Indexes() []ent.Index {
	return []ent.Index{
		index.Fields("email", "nonce").Unique().Annotations(schema.Comment("A link counts once.")),
		index.Fields("used_at").Annotations(schema.Comment("The purge of old resets.")),
	}
}

// Hooks of the UsedPasswordResetToken.
func (UsedPasswordResetToken) Hooks() []ent.Hook { return []ent.Hook{clock.OnCreate("used_at")} }

// Policy of the UsedPasswordResetToken.
func (UsedPasswordResetToken) Policy() ent.Policy { return policy.Rules{Admin: policy.Read} }

// Annotations of the UsedPasswordResetToken.
func (UsedPasswordResetToken) Annotations() []schema.Annotation {
	return []schema.Annotation{
		schema.Comment("UsedPasswordResetToken is a password reset that has been made: its nonce counts once for its address."),
		entsql.Checks(map[string]string{
			"used_password_reset_tokens_email_not_empty": "email <> ''",
			"used_password_reset_tokens_nonce_not_empty": "nonce <> ''",
		}),
	}
}
