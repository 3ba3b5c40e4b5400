package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema"
	"entgo.io/ent/schema/edge"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"

	"github.com/reviewpoint/models/internal/audit"
	"github.com/reviewpoint/models/internal/cutoff"
	"github.com/reviewpoint/models/internal/jsonobject"
	"github.com/reviewpoint/models/internal/policy"
	"github.com/reviewpoint/models/internal/text"
)

// User is an account of a person.
type User struct{ ent.Schema }

// Mixin of the User.
func (User) Mixin() []ent.Mixin {
	return []ent.Mixin{
		SoftDelete{},
		Timestamps{},
		PublicID{},
		Address{Column: "email"},
		Cutoff{Column: "tokens_valid_after", When: cutoff.When{"hashed_password": nil, "is_active": false, "is_deleted": true}},
		Audited{Changes: audit.Changes{
			Creates: true,
			Except:  []string{"updated_at", "last_login_at"},
		}},
	}
}

// Fields of the User.
func (User) Fields() []ent.Field {
	return []ent.Field{
		field.String("email").NotEmpty().MaxRuneLen(255).Validate(text.Valid).SchemaType(varchar(255)),
		field.String("hashed_password").NotEmpty().MaxRuneLen(255).Validate(text.Valid).SchemaType(varchar(255)).Sensitive(),
		field.Bool("is_active").Default(true),
		field.Bool("is_admin").Default(false),
		field.Bool("is_deleted").Default(false),
		field.Time("deleted_at").Optional().Nillable(),
		field.Time("last_login_at").Optional().Nillable().Annotations(cutoff.Forward{ClearedWith: "tokens_valid_after"}),
		field.Time("tokens_valid_after").Optional().Nillable().Annotations(cutoff.Forward{After: []string{"created_at", "last_login_at"}}),
		field.String("name").MaxRuneLen(128).Validate(text.Valid).SchemaType(varchar(128)).Optional().Nillable(),
		field.String("bio").MaxRuneLen(512).Validate(text.Valid).SchemaType(varchar(512)).Optional().Nillable(),
		field.String("avatar_url").MaxRuneLen(255).Validate(text.Valid).SchemaType(varchar(255)).Optional().Nillable(),
		field.JSON("preferences", map[string]any{}).Optional(),
	}
}

// Edges of the User.
func (User) Edges() []ent.Edge {
	return []ent.Edge{
		edge.To("files", File.Type).Annotations(entsql.OnDelete(entsql.Cascade)),
	}
}

// Indexes of the User.
func (User) Indexes() []ent.Index {
	return []ent.Index{
		// The hashes of the old application, as long as there are any: see Authenticate.
		index.Fields("id").StorageKey("user_bcrypt").Annotations(entsql.IndexWhere("NOT is_deleted AND hashed_password LIKE '$2%'")),
		// Written as the generated client writes it in a query, or SQLite's planner does not see the match.
		index.Fields("email").Unique().Annotations(entsql.IndexWhere("NOT is_deleted")),
		index.Fields("created_at", "id"),
	}
}

// Hooks of the User.
func (User) Hooks() []ent.Hook { return []ent.Hook{jsonobject.Hook("preferences")} }

// Policy of the User.
func (User) Policy() ent.Policy {
	return policy.Rules{
		Admin:      policy.All,
		User:       policy.Read | policy.Update,
		Owner:      "id",
		Editable:   []string{"name", "bio", "avatar_url", "preferences"},
		SystemOnly: []string{"hashed_password"},
	}
}

// Annotations of the User.
func (User) Annotations() []schema.Annotation {
	return []schema.Annotation{entsql.Checks(map[string]string{
		"users_email_not_empty":           "email <> ''",
		"users_hashed_password_not_empty": "hashed_password <> ''",
		"users_preferences_object":        "CAST(preferences AS text) LIKE '{%'",
	})}
}
