package diagram

import (
	"fmt"
	"regexp"
	"strings"
)

// Mermaid returns the entity diagram in the language of https://mermaid.js.org, which GitHub draws.
func (m *Model) Mermaid() string {
	var b strings.Builder
	b.WriteString("erDiagram\n")
	for _, t := range m.Tables {
		fmt.Fprintf(&b, "    %s {\n", mermaidName(t.Name))
		for _, c := range t.Columns {
			fmt.Fprintf(&b, "        %s %s", mermaidWord(c.Postgres), mermaidWord(c.Name))
			if keys := c.keys(); keys != nil {
				b.WriteString(" " + strings.Join(keys, ", "))
			}
			if c.Null {
				b.WriteString(` "null"`)
			}
			b.WriteString("\n")
		}
		b.WriteString("    }\n")
	}
	for _, t := range m.Tables {
		for _, r := range t.References {
			one, many := "||", "o{"
			if r.Optional {
				one = "|o"
			}
			if r.Unique {
				many = "o|"
			}
			fmt.Fprintf(&b, "    %s %s--%s %s : %s\n", mermaidName(r.Table), one, many, mermaidName(t.Name), mermaidName(strings.Join(r.Columns, ", ")))
		}
	}
	return b.String()
}

// keys are the marks of a column that diagrams have.
func (c Column) keys() []string {
	var keys []string
	if c.PrimaryKey {
		keys = append(keys, "PK")
	}
	if c.ForeignKey {
		keys = append(keys, "FK")
	}
	if c.Unique {
		keys = append(keys, "UK")
	}
	return keys
}

var (
	notInName = regexp.MustCompile(`[\x00-\x1f"%\\<>&#;]`)
	notInWord = regexp.MustCompile(`[^A-Za-z0-9_()\[\]\x{C0}-\x{FFFF}-]`)
	wordStart = regexp.MustCompile(`^[A-Za-z_\x{C0}-\x{FFFF}]`)
)

// mermaidName is a quoted name; the grammar has no escape for what it cannot hold.
func mermaidName(name string) string { return `"` + notInName.ReplaceAllString(name, "_") + `"` }

// mermaidWord is a name or a type of a column, which the grammar does not quote.
func mermaidWord(word string) string {
	word = notInWord.ReplaceAllString(word, "_")
	if !wordStart.MatchString(word) {
		word = "_" + word
	}
	return word
}
