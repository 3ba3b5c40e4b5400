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
		if check := typeCheck(column); check != "" && !column.Increment {
			checks[table.Name+"_"+column.Name+"_type"] = check
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

// typeCheck is the CHECK for a column.
func typeCheck(column *schema.Column) string {
	var (
		name  = column.Name
		check string
	)
	switch column.Type { //nolint:exhaustive // The other types are those that no table here has.
	case field.TypeBool:
		check = name + " IN (0, 1)"
	case field.TypeInt, field.TypeInt64:
		check = fmt.Sprintf("typeof(%s) = 'integer'", name)
	case field.TypeTime: // As this module writes it, or as CURRENT_TIMESTAMP does; both sort as instants do.
		check = fmt.Sprintf("%[1]s GLOB '????-??-?? ??:??:??.??????+00:00' OR %[1]s GLOB '????-??-?? ??:??:??'", name)
	case field.TypeUUID:
		check = name + " GLOB '????????-????-????-????-????????????'"
	case field.TypeJSON:
		check = fmt.Sprintf("json_valid(%s)", name)
	case field.TypeString:
		check = fmt.Sprintf("typeof(%[1]s) = 'text' AND instr(%[1]s, char(0)) = 0 AND length(%[1]s) <= %[2]s", name, varchar.FindString(column.SchemaType[dialect.Postgres]))
	}
	if check != "" && column.Nullable {
		check = fmt.Sprintf("%s IS NULL OR (%s)", name, check)
	}
	return check
}

// varchar finds the n of varchar(n).
var varchar = regexp.MustCompile(`\d+`)
