package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"

	"github.com/reviewpoint/models/internal/policy"
	"github.com/reviewpoint/models/internal/text"
)

// BlacklistedToken is a JWT that is refused before it expires, known by its jti (RFC 7519, 4.1.7).
type BlacklistedToken struct{ ent.Schema }

// Mixin of the BlacklistedToken.
func (BlacklistedToken) Mixin() []ent.Mixin { return []ent.Mixin{Timestamps{}} }

// Fields of the BlacklistedToken.
func (BlacklistedToken) Fields() []ent.Field {
	return []ent.Field{
		field.String("jti").NotEmpty().MaxRuneLen(255).Validate(text.Valid).SchemaType(varchar(255)).Unique().
			Comment("The token's identifier (claim jti), upper and lower case told apart."),
		field.Time("expires_at").
			Comment("When the token expires by itself. The row is of no use after that, and purged."),
	}
}

// Indexes of the BlacklistedToken.
func (BlacklistedToken) Indexes() []ent.Index {
	return []ent.Index{index.Fields("expires_at").Annotations(schema.Comment("The purge of expired tokens."))}
}

// Policy of the BlacklistedToken.
func (BlacklistedToken) Policy() ent.Policy { return policy.Rules{Admin: policy.Read} }

// Annotations of the BlacklistedToken.
func (BlacklistedToken) Annotations() []schema.Annotation {
	return []schema.Annotation{
		schema.Comment("BlacklistedToken is a JWT that is refused before it expires, known by its jti (RFC 7519, 4.1.7)."),
		entsql.Checks(map[string]string{
			"blacklisted_tokens_jti_not_empty": "jti <> ''",
		}),
	}
}
