// Package diagram draws the tables and describes them, from the schema alone.
package diagram

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"entgo.io/ent"
	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql/schema"
	entschema "entgo.io/ent/schema"

	"github.com/reviewpoint/models/ent/migrate"
	"github.com/reviewpoint/models/ent/runtime"
	"github.com/reviewpoint/models/internal/audit"
	"github.com/reviewpoint/models/internal/migration"
	"github.com/reviewpoint/models/internal/policy"
	"github.com/reviewpoint/models/internal/softdelete"
)

// Model is what the diagrams and the dictionary show.
type Model struct{ Tables []Table }

// Table is a table, and what its schema says of the rows. Of the texts, only those of columns are there always.
type Table struct {
	Name, Description string
	Columns           []Column
	Indexes           []Index
	Checks            []Check
	References        []Reference
	Access            string // who may do what
	SoftDelete        string // how rows are deleted that are kept
	Audit             string // which changes are recorded
}

// Column is a column of a table.
type Column struct {
	Name, Description    string
	Go, SQLite, Postgres string // types
	Null                 bool
	Default              string // of the database, as SQL
	PrimaryKey           bool
	ForeignKey           bool
	Unique               bool   // by itself, among the rows that UniqueWhere holds for
	UniqueWhere          string // empty for all rows
	Sensitive, Immutable bool
}

// Index is an index of a table; its parts are columns or expressions.
type Index struct {
	Name, Parts, Where, Description string
	Unique                          bool
}

// Check is a condition that every row meets.
type Check struct{ Name, Condition string }

// Reference is a foreign key.
type Reference struct {
	Columns  []string
	Table    string // that is referred to
	Targets  []string
	OnDelete string
	Optional bool // a row may refer to none
	Unique   bool // a row is referred to by one at most
}

// Current returns the model of the tables that this module makes.
func Current(ctx context.Context) (*Model, error) {
	sqlite, err := migration.Desired(ctx, dialect.SQLite, migrate.Tables)
	if err != nil {
		return nil, err
	}
	postgres, err := migration.Desired(ctx, dialect.Postgres, migrate.Tables)
	if err != nil {
		return nil, err
	}
	return New(migrate.Tables, sqlite, postgres, runtime.Schemas)
}

// New returns the model of tables, of the SQL that makes them, and of their schemas by the tables' names.
func New(tables []*schema.Table, sqlite, postgres string, schemas map[string]ent.Interface) (*Model, error) {
	inSQLite, inPostgres := columnsOf(sqlite), columnsOf(postgres)
	indexes := indexesOf(postgres)
	m := &Model{}
	for _, t := range tables {
		source, ok := schemas[t.Name]
		if !ok {
			return nil, fmt.Errorf("the table %s has no schema", t.Name)
		}
		table := Table{Name: t.Name, Indexes: indexes[t.Name]}
		for _, c := range t.Columns {
			key := [2]string{t.Name, c.Name}
			column := Column{
				Name: c.Name, Null: c.Nullable,
				SQLite: inSQLite[key].kind, Postgres: inPostgres[key].kind, Default: inPostgres[key].value,
				PrimaryKey: slices.Contains(t.PrimaryKey, c),
			}
			if column.SQLite == "" || column.Postgres == "" {
				return nil, fmt.Errorf("the SQL of %s.%s is not understood", t.Name, c.Name)
			}
			for _, index := range table.Indexes {
				if index.Unique && index.Parts == c.Name {
					column.Unique, column.UniqueWhere = true, index.Where
				}
			}
			if c.Increment {
				column.Go = "int"
				column.Description = "The number of the row in this table. Set by the database."
			}
			table.Columns = append(table.Columns, column)
		}
		for _, key := range t.ForeignKeys {
			table.References = append(table.References, referenceOf(key, table.Columns))
		}
		if t.Annotation != nil {
			for _, name := range slices.Sorted(maps.Keys(t.Annotation.Checks)) {
				table.Checks = append(table.Checks, Check{name, t.Annotation.Checks[name]})
			}
		}
		table.describe(source)
		m.Tables = append(m.Tables, table)
	}
	return m, nil
}

func referenceOf(key *schema.ForeignKey, columns []Column) Reference {
	r := Reference{Table: key.RefTable.Name, OnDelete: cmp.Or(string(key.OnDelete), string(schema.NoAction))}
	for i, c := range key.Columns {
		r.Columns = append(r.Columns, c.Name)
		r.Targets = append(r.Targets, key.RefColumns[i].Name)
		r.Optional = r.Optional || c.Nullable
		at := slices.IndexFunc(columns, func(column Column) bool { return column.Name == c.Name })
		columns[at].ForeignKey = true
		r.Unique = r.Unique || columns[at].Unique && columns[at].UniqueWhere == ""
	}
	return r
}

// describe adds what only the schema knows.
func (t *Table) describe(source ent.Interface) {
	var annotations []entschema.Annotation
	for _, mixin := range source.Mixin() {
		t.describeColumns(mixin.Fields())
		t.describeIndexes(mixin.Indexes())
		annotations = append(annotations, mixin.Annotations()...)
	}
	t.describeColumns(source.Fields())
	t.describeIndexes(source.Indexes())
	for _, annotation := range append(annotations, source.Annotations()...) {
		switch a := annotation.(type) {
		case *entschema.CommentAnnotation:
			t.Description = a.Text
		case softdelete.Columns:
			t.SoftDelete = fmt.Sprintf("A delete sets %s and %s, and hides the row.", a.Deleted, a.At)
		case audit.Changes:
			t.Audit = auditText(a)
		}
	}
	if rules, ok := source.Policy().(policy.Rules); ok {
		t.Access = access(rules)
	}
}

func (t *Table) describeColumns(fields []ent.Field) {
	for _, f := range fields {
		d := f.Descriptor()
		at := slices.IndexFunc(t.Columns, func(c Column) bool { return c.Name == cmp.Or(d.StorageKey, d.Name) })
		if at < 0 {
			continue
		}
		c := &t.Columns[at]
		c.Description, c.Sensitive, c.Immutable = d.Comment, d.Sensitive, d.Immutable
		c.Go = strings.ReplaceAll(d.Info.String(), "interface {}", "any")
		if d.Nillable {
			c.Go = "*" + c.Go
		}
	}
}

func (t *Table) describeIndexes(indexes []ent.Index) {
	for _, i := range indexes {
		d := i.Descriptor()
		for at, index := range t.Indexes {
			named := index.Name == d.StorageKey || d.StorageKey == "" && index.Parts == strings.Join(d.Fields, ", ")
			for _, annotation := range d.Annotations {
				if comment, ok := annotation.(*entschema.CommentAnnotation); ok && named {
					t.Indexes[at].Description = comment.Text
				}
			}
		}
	}
}

func auditText(c audit.Changes) string {
	text := "Updates and deletes are recorded in the audit trail"
	if c.Creates {
		text = "Creations, updates and deletes are recorded in the audit trail"
	}
	if len(c.Except) > 0 {
		text += ", but for changes of " + strings.Join(c.Except, ", ") + " alone"
	}
	return text + "."
}

// access says rules in a line.
func access(r policy.Rules) string {
	of := func(operations policy.Operations, editable []string) string {
		var verbs []string
		for _, o := range []policy.Operations{policy.Read, policy.Create, policy.Update, policy.Delete} {
			if operations&o == 0 || r.AppendOnly && o&(policy.Update|policy.Delete) != 0 {
				continue
			}
			verb := o.String()
			if o == policy.Update && editable != nil {
				verb += " (" + strings.Join(editable, ", ") + ")"
			}
			verbs = append(verbs, verb)
		}
		return strings.Join(verbs, ", ")
	}
	text := "System: " + of(policy.All, nil) + "."
	if r.Admin != 0 {
		text += " Administrators: " + of(r.Admin, nil) + "."
	}
	if r.User != 0 {
		text += " People, where " + r.Owner + " is their id: " + of(r.User, r.Editable) + "."
	}
	text += " Others: nothing."
	if r.SystemOnly != nil {
		text += " Only the system sets " + strings.Join(r.SystemOnly, ", ") + "."
	}
	return text
}

type columnSQL struct{ kind, value string }

var (
	tableSQL  = regexp.MustCompile("(?s)CREATE TABLE [\"`]([^\"`]+)[\"`] \\(\n(.*?)\n\\)")
	columnRow = regexp.MustCompile("(?m)^  [\"`]([^\"`]+)[\"`] (.+?) (?:NOT )?NULL(?: DEFAULT (.+?))?(?: GENERATED .*| PRIMARY KEY.*)?,?$")
	indexSQL  = regexp.MustCompile(`(?m)^CREATE (UNIQUE )?INDEX "([^"]+)" ON "([^"]+)" (?:USING \w+ )?\((.+?)\)(?: WHERE (.+))?;$`)
)

// columnsOf reads the types and defaults of columns, by table and column.
func columnsOf(ddl string) map[[2]string]columnSQL {
	out := make(map[[2]string]columnSQL)
	for _, table := range tableSQL.FindAllStringSubmatch(ddl, -1) {
		for _, c := range columnRow.FindAllStringSubmatch(table[2], -1) {
			value := c[3]
			if strings.HasPrefix(value, "(") && strings.HasSuffix(value, ")") {
				value = value[1 : len(value)-1]
			}
			out[[2]string{table[1], c[1]}] = columnSQL{strings.Replace(c[2], "character varying", "varchar", 1), value}
		}
	}
	return out
}

// indexesOf reads the indexes by table. Both dialects have the same ones.
func indexesOf(postgres string) map[string][]Index {
	out := make(map[string][]Index)
	for _, i := range indexSQL.FindAllStringSubmatch(postgres, -1) {
		out[i[3]] = append(out[i[3]], Index{Name: i[2], Unique: i[1] != "", Parts: strings.ReplaceAll(i[4], `"`, ""), Where: i[5]})
	}
	return out
}
