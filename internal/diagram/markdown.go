package diagram

import (
	"fmt"
	"strings"
	"unicode"
)

const dictionaryIntroduction = "Derived from the folder schema by go generate; not to be edited. Types of PostgreSQL and SQLite are those of the desired state. In SQLite each column but the number of the row also has a CHECK that refuses what PostgreSQL refuses by its type; those are not listed. Times are UTC, in microseconds; lengths are in characters."

// Markdown returns the data dictionary, with the Mermaid diagram on top.
func (m *Model) Markdown() string {
	var b strings.Builder
	b.WriteString("# Data dictionary\n\n" + dictionaryIntroduction + "\n\n```mermaid\n" + m.Mermaid() + "```\n")
	for i := range m.Tables {
		m.Tables[i].markdown(&b)
	}
	return b.String()
}

func (t *Table) markdown(b *strings.Builder) {
	fmt.Fprintf(b, "\n## %s\n", prose(t.Name))
	for _, text := range []string{t.Description, t.SoftDelete, t.Audit, t.Access} {
		if text != "" {
			fmt.Fprintf(b, "\n%s\n", prose(text))
		}
	}
	b.WriteString("\n| column | Go | PostgreSQL | SQLite | null | default | what it is |\n|---|---|---|---|---|---|---|\n")
	for _, c := range t.Columns {
		null := ""
		if c.Null {
			null = "yes"
		}
		what := prose(c.Description)
		if marks := c.Marks(); marks != "" {
			what += " *" + prose(marks) + "*"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s |\n", code(c.Name), code(c.Go), code(c.Postgres), code(c.SQLite), null, code(c.Default), strings.TrimSpace(what))
	}
	if len(t.Indexes) > 0 {
		b.WriteString("\n| index | of | what it is for |\n|---|---|---|\n")
		for _, i := range t.Indexes {
			fmt.Fprintf(b, "| %s | %s | %s |\n", code(i.Name), code(i.Of()), prose(i.Description))
		}
	}
	if len(t.Checks) > 0 {
		b.WriteString("\n| check | condition |\n|---|---|\n")
		for _, c := range t.Checks {
			fmt.Fprintf(b, "| %s | %s |\n", code(c.Name), code(c.Condition))
		}
	}
	if len(t.References) > 0 {
		b.WriteString("\n| reference | to | on delete |\n|---|---|---|\n")
		for _, r := range t.References {
			fmt.Fprintf(b, "| %s | %s | %s |\n", code(r.From()), code(r.To()), prose(r.OnDelete))
		}
	}
}

// Marks are what a column is besides its type, in words.
func (c Column) Marks() string {
	var marks []string
	for _, mark := range []struct {
		is   bool
		text string
	}{
		{c.PrimaryKey, "primary key"},
		{c.Unique && c.UniqueWhere == "", "unique"},
		{c.UniqueWhere != "", "unique where " + c.UniqueWhere},
		{c.Sensitive, "sensitive: left out of output and logs"},
		{c.Immutable, "immutable"},
	} {
		if mark.is {
			marks = append(marks, mark.text)
		}
	}
	if len(marks) == 0 {
		return ""
	}
	return "(" + strings.Join(marks, "; ") + ")"
}

// Of is what the index is of, as SQL says it.
func (i Index) Of() string {
	text := i.Parts
	if i.Unique {
		text = "unique " + text
	}
	if i.Where != "" {
		text += " where " + i.Where
	}
	return text
}

// From names the columns that refer.
func (r Reference) From() string { return strings.Join(r.Columns, ", ") }

// To names the table and the columns that are referred to.
func (r Reference) To() string { return r.Table + "." + strings.Join(r.Targets, ", ") }

// prose makes a text one line of Markdown that says nothing but the text.
func prose(text string) string {
	var b strings.Builder
	before := ' '
	runes := []rune(strings.Join(strings.Fields(text), " "))
	for i, r := range runes {
		inWord := r == '_' && alphanumeric(before) && i+1 < len(runes) && alphanumeric(runes[i+1])
		if strings.ContainsRune("\\`*_[]<>#|~&!$", r) && !inWord {
			b.WriteRune('\\')
		}
		b.WriteRune(r)
		before = r
	}
	return b.String()
}

func alphanumeric(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }

// code makes a text a code span in a table.
func code(text string) string {
	text = strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
	if text == "" {
		return ""
	}
	fence := "`"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	if len(fence) > 1 {
		text = " " + text + " "
	}
	return fence + text + fence
}
