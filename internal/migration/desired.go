package migration

import (
	"context"
	"fmt"
	"maps"
	"regexp"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/dialect/sql/schema"
	"entgo.io/ent/schema/field"
)

// serverVersion is the oldest PostgreSQL that the desired state is written for.
const serverVersion = "15"

// Desired is the SQL that makes the tables on an empty database of the dialect.
func Desired(ctx context.Context, name string, tables []*schema.Table) (string, error) {
	for _, table := range tables {
		for _, column := range table.Columns {
			if column.Type == field.TypeString && length(column) == "" {
				return "", fmt.Errorf("%s.%s has no length: give the field SchemaType(varchar(n)) beside MaxRuneLen(n)", table.Name, column.Name)
			}
		}
	}
	if name == dialect.SQLite {
		checked := make([]*schema.Table, len(tables))
		for i, table := range tables {
			checked[i] = withTypeChecks(table)
		}
		tables = checked
	}
	ddl, err := schema.DDL(ctx, schema.DDLArgs{Dialect: name, Version: serverVersion, Tables: tables})
	if err != nil {
		return "", fmt.Errorf("write the %s schema: %w", name, err)
	}
	// They hold absolute paths of the machine.
	return positions.ReplaceAllString(ddl, ""), nil
}

var positions = regexp.MustCompile(`(?m)^-- atlas:pos .*\n+`)

// withTypeChecks returns the table with one more CHECK for each column, which refuses what
// PostgreSQL refuses by the column's type and SQLite would keep: SQLite heeds no varchar(n), and
// knows neither booleans, times, UUIDs nor JSON.
func withTypeChecks(table *schema.Table) *schema.Table {
	checks := make(map[string]string)
	if table.Annotation != nil {
		maps.Copy(checks, table.Annotation.Checks)
	}
	for _, column := range table.Columns {
		if name, check := typeCheck(column); check != "" && !column.Increment {
			checks[table.Name+"_"+column.Name+"_"+name] = check
		}
	}
	copied := *table
	annotation := entsql.Annotation{}
	if table.Annotation != nil {
		annotation = *table.Annotation
	}
	annotation.Checks = checks
	copied.Annotation = &annotation
	return &copied
}

// typeCheck is the CHECK for a column, and what ends its name. A bound is part of the name: Atlas
// compares the checks of SQLite by name, and would not plan a change of the text alone.
func typeCheck(column *schema.Column) (name, check string) {
	switch column.Type {
	case field.TypeBool:
		name, check = "bool", "%[1]s IN (0, 1)"
	case field.TypeInt, field.TypeInt64:
		name, check = "int", "typeof(%[1]s) = 'integer'"
	case field.TypeTime: // One text for each instant, that of CURRENT_TIMESTAMP included.
		name, check = "time", "datetime(%[1]s) IS NOT NULL AND (%[1]s GLOB '????-??-?? ??:??:??' OR (%[1]s GLOB '????-??-?? ??:??:??.??????+00:00' AND %[1]s NOT GLOB '*.000000+00:00'))"
	case field.TypeUUID:
		name, check = "uuid", "%[1]s GLOB '????????-????-????-????-????????????' AND %[1]s NOT GLOB '*[^0-9a-f-]*'"
	case field.TypeJSON:
		name, check = "json", "typeof(%[1]s) = 'text' AND json_valid(%[1]s)"
	case field.TypeString:
		n := length(column)
		name, check = "text_"+n, "typeof(%[1]s) = 'text' AND instr(%[1]s, char(0)) = 0 AND length(%[1]s) <= "+n
	default:
		return "", ""
	}
	check = fmt.Sprintf(check, column.Name)
	if column.Nullable {
		check = fmt.Sprintf("%s IS NULL OR (%s)", column.Name, check)
	}
	return name, check
}

// length is the n of varchar(n).
func length(column *schema.Column) string {
	return varchar.FindString(column.SchemaType[dialect.Postgres])
}

var varchar = regexp.MustCompile(`\d+`)
