// Package schema is the tables as somebody writes them who uses ent as it comes: the same columns as the
// package models, and none of its rules.
package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/edge"
	"entgo.io/ent/schema/field"
	"github.com/google/uuid"
)

// User is an account.
type User struct{ ent.Schema }

// Fields of the User.
func (User) Fields() []ent.Field {
	return []ent.Field{
		field.Time("created_at"),
		field.Time("updated_at"),
		field.UUID("public_id", uuid.UUID{}).Default(uuid.New),
		field.String("email"),
		field.String("hashed_password").Sensitive(),
		field.Bool("is_active").Default(true),
		field.Bool("is_admin").Default(false),
		field.Bool("is_deleted").Default(false),
		field.Time("deleted_at").Optional().Nillable(),
		field.Time("last_login_at").Optional().Nillable(),
		field.Time("tokens_valid_after").Optional().Nillable(),
		field.String("name").Optional().Nillable(),
		field.String("bio").Optional().Nillable(),
		field.String("avatar_url").Optional().Nillable(),
		field.JSON("preferences", map[string]any{}).Optional(),
	}
}

// Edges of the User.
func (User) Edges() []ent.Edge { return []ent.Edge{edge.To("files", File.Type)} }

// File is an uploaded paper.
type File struct{ ent.Schema }

// Fields of the File.
func (File) Fields() []ent.Field {
	return []ent.Field{
		field.Time("created_at"),
		field.Time("updated_at"),
		field.UUID("public_id", uuid.UUID{}).Default(uuid.New),
		field.String("filename"),
		field.String("content_type"),
		field.Int64("size"),
		field.Int("user_id"),
	}
}

// Edges of the File.
func (File) Edges() []ent.Edge {
	return []ent.Edge{edge.From("user", User.Type).Ref("files").Field("user_id").Unique().Required()}
}

// BlacklistedToken is a token that is refused.
type BlacklistedToken struct{ ent.Schema }

// Fields of the BlacklistedToken.
func (BlacklistedToken) Fields() []ent.Field {
	return []ent.Field{
		field.Time("created_at"),
		field.Time("updated_at"),
		field.String("jti"),
		field.Time("expires_at"),
	}
}
