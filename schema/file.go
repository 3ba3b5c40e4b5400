package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema"
	"entgo.io/ent/schema/edge"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"

	"github.com/reviewpoint/models/internal/audit"
	"github.com/reviewpoint/models/internal/policy"
	"github.com/reviewpoint/models/internal/text"
)

// File is the record of an uploaded paper; its bytes are kept elsewhere.
type File struct{ ent.Schema }

// Mixin of the File.
func (File) Mixin() []ent.Mixin {
	return []ent.Mixin{
		Timestamps{},
		PublicID{},
		Audited{Changes: audit.Changes{Except: []string{"updated_at"}}}, // a creation is on the row itself
	}
}

// Fields of the File.
func (File) Fields() []ent.Field {
	return []ent.Field{
		field.String("filename").NotEmpty().MaxRuneLen(255).Validate(text.Valid).SchemaType(varchar(255)).
			Comment("The name that it was uploaded under, at most 255 characters."),
		field.String("content_type").NotEmpty().MaxRuneLen(128).Validate(text.Valid).SchemaType(varchar(128)).
			Comment("The media type, as application/pdf, at most 128 characters."),
		field.Int64("size").NonNegative().Default(0).
			Comment("The length in bytes."),
		field.Int("user_id").
			Comment("Whose file it is."),
	}
}

// Edges of the File.
func (File) Edges() []ent.Edge {
	return []ent.Edge{
		edge.From("user", User.Type).Ref("files").Field("user_id").Unique().Required(),
	}
}

// Indexes of the File.
func (File) Indexes() []ent.Index {
	return []ent.Index{
		index.Fields("user_id", "created_at", "id").Annotations(schema.Comment("The files of a person by time, in pages.")),
		index.Fields("user_id", "filename").Annotations(schema.Comment("The files of a person by name.")),
	}
}

// Policy of the File.
func (File) Policy() ent.Policy {
	return policy.Rules{
		Admin:      policy.All,
		User:       policy.Read | policy.Create | policy.Delete,
		Owner:      "user_id",
		SystemOnly: []string{"created_at"},
	}
}

// Annotations of the File.
func (File) Annotations() []schema.Annotation {
	return []schema.Annotation{
		schema.Comment("File is the record of an uploaded paper; its bytes are kept elsewhere."),
		entsql.Checks(map[string]string{
			"files_filename_not_empty":     "filename <> ''",
			"files_content_type_not_empty": "content_type <> ''",
			"files_size_not_negative":      "size >= 0",
		}),
	}
}
