package diagram

import (
	_ "embed"
	"html/template"
	"strings"
)

//go:embed page.html
var page string

var pageTemplate = template.Must(template.New("page").Parse(page))

// HTML returns one page with the drawing and the data dictionary, which loads nothing else.
func (m *Model) HTML() (string, error) {
	var b strings.Builder
	err := pageTemplate.Execute(&b, map[string]any{
		"Introduction": dictionaryIntroduction,
		"Drawing":      template.HTML(m.SVG()), //nolint:gosec // Its texts are escaped there.
		"Tables":       m.Tables,
	})
	return b.String(), err
}

// Documents are the files in docs, by name.
func (m *Model) Documents() (map[string]string, error) {
	page, err := m.HTML()
	return map[string]string{"schema.md": m.Markdown(), "schema.mmd": m.Mermaid(), "schema.svg": m.SVG(), "schema.html": page}, err
}
