package migration

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"ariga.io/atlas/sql/postgres"
	"ariga.io/atlas/sql/schema"
	"ariga.io/atlas/sql/sqlite"
)

// model is what a schema means, whichever the dialect: a text for each table, column, key, index and check.
type model map[string]string

// modelOf describes the tables of a schema as inspected. normal brings a condition on a table's columns
// into one form for both dialects.
func modelOf(s *schema.Schema, normal func(table, condition string) string) model {
	out := make(model)
	for _, table := range s.Tables {
		name := table.Name
		out["table "+name] = "there"
		kinds := kindsByCheck(table)
		for _, column := range table.Columns {
			out["column "+name+"."+column.Name] = columnText(table, column, kinds[column.Name])
		}
		if table.PrimaryKey != nil {
			out["primary key of "+name] = columnNames(partColumns(table.PrimaryKey.Parts))
		}
		for _, index := range table.Indexes {
			out["index "+index.Name+" of "+name] = indexText(index, func(condition string) string { return normal(name, condition) })
		}
		for _, key := range table.ForeignKeys {
			out["foreign key of "+name+" ("+columnNames(key.Columns)+")"] = fmt.Sprintf("to %s (%s), on delete %s, on update %s",
				key.RefTable.Name, columnNames(key.RefColumns), action(key.OnDelete), action(key.OnUpdate))
		}
		for check, text := range checkTexts(table) {
			if typeOfCheck.FindStringSubmatch(check) == nil || !strings.HasPrefix(check, name+"_") || kinds[columnOfCheck(name, check)] == "" {
				out["check "+check+" of "+name] = normal(name, text)
			}
		}
	}
	return out
}

// typeOfCheck is how the names of the checks end that SQLite has in place of types.
var typeOfCheck = regexp.MustCompile(`_(bool|int|time|uuid|json|text_\d+)$`)

func columnOfCheck(table, check string) string {
	return strings.TrimPrefix(typeOfCheck.ReplaceAllString(check, ""), table+"_")
}

// kindsByCheck returns the kind of each column that a check of SQLite stands for.
func kindsByCheck(table *schema.Table) map[string]string {
	out := make(map[string]string)
	for check := range checkTexts(table) {
		match := typeOfCheck.FindStringSubmatch(check)
		if match == nil {
			continue
		}
		column, ok := table.Column(columnOfCheck(table.Name, check))
		if _, isSQLite := typeNames[strings.ToLower(columnType(column, ok))]; isSQLite {
			out[column.Name] = match[1]
		}
	}
	return out
}

func columnType(column *schema.Column, ok bool) string {
	if !ok {
		return ""
	}
	return column.Type.Raw
}

// typeNames are the types that columns of SQLite are declared with.
var typeNames = map[string]string{"bool": "bool", "integer": "int", "datetime": "time", "uuid": "uuid", "json": "json", "text": "text"}

// columnText is the type, nullability and default of a column. That of SQLite is told by its check, kind.
func columnText(table *schema.Table, column *schema.Column, kind string) string {
	if kind == "" {
		kind = kindOf(column.Type.Type, column.Type.Raw)
	}
	text := kind
	if column.Type.Null {
		text += ", nullable"
	}
	if autoIncrement(table) && table.PrimaryKey.Parts[0].C == column || identity(column) {
		text += ", identity"
	}
	if column.Default != nil {
		text += ", default " + defaultText(column.Default)
	}
	return text
}

func kindOf(t schema.Type, raw string) string {
	switch t := t.(type) {
	case *schema.BoolType:
		return "bool"
	case *schema.IntegerType:
		if t.T == postgres.TypeInteger && raw == postgres.TypeInteger {
			return "int of 4 bytes"
		}
		return "int"
	case *schema.TimeType:
		if t.T == postgres.TypeTimestamp || t.T == postgres.TypeTimestampWOTZ {
			return "time without zone"
		}
		return "time"
	case *schema.JSONType:
		return "json"
	case *schema.UUIDType:
		return "uuid"
	case *schema.StringType:
		if t.Size > 0 {
			return fmt.Sprintf("text_%d", t.Size)
		}
		return "text"
	case *sqlite.UserDefinedType:
		return t.T
	}
	return raw
}

func identity(column *schema.Column) bool {
	return slices.ContainsFunc(column.Attrs, func(a schema.Attr) bool { _, ok := a.(*postgres.Identity); return ok })
}

// defaultText is that of a default, without the cast and the parentheses that PostgreSQL and SQLite add.
func defaultText(value schema.Expr) string {
	var text string
	switch d := value.(type) {
	case *schema.Literal:
		text = d.V
	case *schema.RawExpr:
		text = d.X
	}
	for strings.HasPrefix(text, "(") && strings.HasSuffix(text, ")") {
		text = text[1 : len(text)-1]
	}
	return cast.ReplaceAllString(text, "")
}

var cast = regexp.MustCompile(`::[a-z ]+(?:\(\d+\))?$`)

func indexText(index *schema.Index, normal func(condition string) string) string {
	parts := make([]string, 0, len(index.Parts))
	for _, part := range index.Parts {
		var text string
		switch x := part.X.(type) {
		case *schema.RawExpr:
			text = fold(x.X)
		default:
			text = part.C.Name
		}
		if part.Desc {
			text += " desc"
		}
		parts = append(parts, text)
	}
	text := strings.Join(parts, ", ")
	if index.Unique {
		text = "unique " + text
	}
	for _, attribute := range index.Attrs {
		switch a := attribute.(type) {
		case *postgres.IndexPredicate:
			text += " where " + normal(a.P)
		case *sqlite.IndexPredicate:
			text += " where " + normal(a.P)
		}
	}
	return text
}

func partColumns(parts []*schema.IndexPart) []*schema.Column {
	out := make([]*schema.Column, len(parts))
	for i, part := range parts {
		out[i] = part.C
	}
	return out
}

func columnNames(columns []*schema.Column) string {
	names := make([]string, len(columns))
	for i, column := range columns {
		names[i] = column.Name
	}
	return strings.Join(names, ", ")
}

func action(option schema.ReferenceOption) string {
	if option == "" {
		return string(schema.NoAction)
	}
	return string(option)
}

// compareModels names what the two dialects do not have alike.
func compareModels(sqlite, postgres model) []string {
	var out []string
	for _, what := range slices.Sorted(maps.Keys(sqlite)) {
		if other, ok := postgres[what]; !ok {
			out = append(out, what+" is there on SQLite alone")
		} else if other != sqlite[what] {
			out = append(out, fmt.Sprintf("%s is %q on SQLite and %q on PostgreSQL", what, sqlite[what], other))
		}
	}
	for _, what := range slices.Sorted(maps.Keys(postgres)) {
		if _, ok := sqlite[what]; !ok {
			out = append(out, what+" is there on PostgreSQL alone")
		}
	}
	return out
}
