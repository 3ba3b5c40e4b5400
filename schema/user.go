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
		Cutoff{Column: "tokens_valid_after", When: signsOut},
		Audited{Changes: audit.Changes{
			Creates:  true,
			Except:   []string{"updated_at", "last_login_at"},
			Upserted: signsOut.Upserted("users", "tokens_valid_after", "created_at", "last_login_at"),
		}},
	}
}

// signsOut is what refuses the tokens of before.
var signsOut = cutoff.When{"hashed_password": nil, "is_active": false, "is_deleted": true}

// Fields of the User.
func (User) Fields() []ent.Field {
	return []ent.Field{
		field.String("email").NotEmpty().MaxRuneLen(255).Validate(text.Valid).SchemaType(varchar(255)).
			Comment("The e-mail address in its normal form: trimmed, lower case, NFC, the domain in letters. Unique among accounts that are not deleted."),
		field.String("hashed_password").NotEmpty().MaxRuneLen(255).Validate(text.Valid).SchemaType(varchar(255)).Sensitive().
			Comment("The password as a PHC string of Argon2id, or the bcrypt hash of the old application until the next login. Set by the system alone."),
		field.Bool("is_active").Default(true).
			Comment("Whether the account is in use. Set by administrators."),
		field.Bool("is_admin").Default(false).
			Comment("Whether the person is an administrator. Set by administrators."),
		field.Bool("is_deleted").Default(false).
			Comment("Whether the account is deleted. Its row is kept and hidden until it is restored or purged."),
		field.Time("deleted_at").Optional().Nillable().
			Comment("When the account was deleted. Null while it is not."),
		field.Time("last_login_at").Optional().Nillable().Annotations(cutoff.Forward{ClearedWith: "tokens_valid_after"}).
			Comment("When the person last logged in. Null before the first login; it never moves back."),
		field.Time("tokens_valid_after").Optional().Nillable().Annotations(cutoff.Forward{After: []string{"created_at", "last_login_at"}}).
			Comment("The cutoff: tokens issued before are refused. Null while there was none; it never moves back."),
		field.String("name").MaxRuneLen(128).Validate(text.Valid).SchemaType(varchar(128)).Optional().Nillable().
			Comment("The name that is shown, at most 128 characters. Set by the person."),
		field.String("bio").MaxRuneLen(512).Validate(text.Valid).SchemaType(varchar(512)).Optional().Nillable().
			Comment("A few words about the person, at most 512 characters. Set by the person."),
		field.String("avatar_url").MaxRuneLen(255).Validate(text.Valid).SchemaType(varchar(255)).Optional().Nillable().
			Comment("Where the picture of the person is. Set by the person."),
		field.JSON("preferences", map[string]any{}).Optional().
			Comment("A JSON object that the applications of the person keep their settings in."),
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
		index.Fields("id").StorageKey("user_bcrypt").Annotations(
			schema.Comment("Whether there are hashes of the old application left, which logins ask."),
			entsql.IndexWhere("NOT is_deleted AND hashed_password LIKE '$2%'"),
		),
		// Written as the generated client writes it in a query, or SQLite's planner does not see the match.
		index.Fields("email").Unique().Annotations(
			schema.Comment("An address belongs to one account; that of a deleted one is free."),
			entsql.IndexWhere("NOT is_deleted"),
		),
		index.Fields("created_at", "id").Annotations(schema.Comment("All accounts by time, in pages.")),
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
	return []schema.Annotation{
		schema.Comment("User is an account of a person."),
		entsql.Checks(map[string]string{
			"users_email_not_empty":           "email <> ''",
			"users_hashed_password_not_empty": "hashed_password <> ''",
			"users_preferences_object":        "CAST(preferences AS text) LIKE '{%'",
			"users_deleted_at_when_deleted":   "is_deleted = (deleted_at IS NOT NULL)",
		}),
	}
}
