package diagram

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// style is that of the drawing. A viewer that knows of dark and light chooses; others show the light one.
const style = `
.erd { font-family: ui-monospace, "DejaVu Sans Mono", "Liberation Mono", Menlo, Consolas, monospace; font-size: 13px; }
.erd text { fill: #1f2328; white-space: pre; }
.erd .back { fill: #ffffff; }
.erd .box { fill: #f6f8fa; stroke: #818b98; }
.erd .head { fill: #dbe4f0; stroke: #818b98; }
.erd .table { font-weight: bold; }
.erd .mark { fill: #0a58b0; }
.erd .type { fill: #59636e; }
.erd .line { fill: none; stroke: #59636e; stroke-width: 1.4; }
.erd .ring { fill: #ffffff; stroke: #59636e; stroke-width: 1.4; }
@media (prefers-color-scheme: dark) {
.erd text { fill: #e6edf3; }
.erd .back { fill: #0d1117; }
.erd .box { fill: #161b22; stroke: #6e7681; }
.erd .head { fill: #21304a; stroke: #6e7681; }
.erd .mark { fill: #79b8ff; }
.erd .type { fill: #9da7b3; }
.erd .line { stroke: #9da7b3; }
.erd .ring { fill: #0d1117; stroke: #9da7b3; }
}
`

// SVG returns the entity diagram as a drawing.
func (m *Model) SVG() string {
	d := m.lay()
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" class="erd" width="%[1]d" height="%[2]d" viewBox="0 0 %[1]d %[2]d" role="img" aria-labelledby="erd-title erd-desc">`+"\n", d.width, d.height)
	fmt.Fprintf(&b, "<title id=\"erd-title\">Entity diagram</title>\n<desc id=\"erd-desc\">%s</desc>\n", escape(m.spoken()))
	fmt.Fprintf(&b, "<style>%s</style>\n<rect class=\"back\" width=\"%d\" height=\"%d\"/>\n", style, d.width, d.height)
	for _, box := range d.boxes {
		box.write(&b)
	}
	for _, l := range d.links {
		l.write(&b)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// spoken is the diagram in words.
func (m *Model) spoken() string {
	var references []string
	names := make([]string, len(m.Tables))
	for i, t := range m.Tables {
		names[i] = t.Name
		for _, r := range t.References {
			references = append(references, t.Name+"."+strings.Join(r.Columns, ", ")+" refers to "+r.Table+".")
		}
	}
	return strings.Join(append([]string{"Tables: " + strings.Join(names, ", ") + "."}, references...), " ")
}

func (c Column) markText() string { return strings.Join(c.keys(), " ") }

func (c Column) typeText() string {
	if c.Null {
		return c.Postgres + " null"
	}
	return c.Postgres
}

func (b *box) write(w *strings.Builder) {
	fmt.Fprintf(w, "<g>\n")
	if b.table.Description != "" {
		fmt.Fprintf(w, "<title>%s</title>\n", escape(b.table.Description))
	}
	fmt.Fprintf(w, `<rect class="box" x="%d" y="%d" width="%d" height="%d"/>`+"\n", b.x, b.y, b.width, b.height)
	fmt.Fprintf(w, `<rect class="head" x="%d" y="%d" width="%d" height="%d"/>`+"\n", b.x, b.y, b.width, headHeight)
	text := func(class string, x, y int, text string) {
		if text != "" {
			fmt.Fprintf(w, `<text class="%s" x="%d" y="%d">%s</text>`+"\n", class, b.x+x, b.y+y+fontSize/3+1, escape(text))
		}
	}
	text("table", padding, headHeight/2, b.table.Name)
	for i, c := range b.table.Columns {
		middle := headHeight + i*rowHeight + rowHeight/2
		text("mark", padding, middle, c.markText())
		text("name", b.names, middle, c.Name)
		text("type", b.types, middle, c.typeText())
	}
	fmt.Fprintf(w, "</g>\n")
}

func (l *link) write(w *strings.Builder) {
	r := l.reference
	fmt.Fprintf(w, "<g>\n<title>%s</title>\n", escape(fmt.Sprintf("%s.%s refers to %s.%s, ON DELETE %s",
		l.owner.table.Name, strings.Join(r.Columns, ", "), r.Table, strings.Join(r.Targets, ", "), r.OnDelete)))
	points := make([]string, len(l.path))
	for i, p := range l.path {
		points[i] = fmt.Sprintf("%d,%d", p.x, p.y)
	}
	fmt.Fprintf(w, `<polyline class="line" points="%s"/>`+"\n", strings.Join(points, " "))
	if r.Optional {
		l.toEnd.ring(w)
		l.toEnd.bar(w, 6)
	} else {
		l.toEnd.bar(w, 6)
		l.toEnd.bar(w, 11)
	}
	l.ownerEnd.ring(w)
	if r.Unique {
		l.ownerEnd.bar(w, 6)
	} else {
		l.ownerEnd.foot(w)
	}
	fmt.Fprintf(w, "</g>\n")
}

// bar stands for one.
func (e end) bar(w *strings.Builder, away int) {
	fmt.Fprintf(w, `<path class="line" d="M%d,%d v10"/>`+"\n", e.x+e.outward*away, e.y-5)
}

// ring stands for none.
func (e end) ring(w *strings.Builder) {
	fmt.Fprintf(w, `<circle class="ring" cx="%d" cy="%d" r="4"/>`+"\n", e.x+e.outward*15, e.y)
}

// foot stands for many.
func (e end) foot(w *strings.Builder) {
	fmt.Fprintf(w, `<path class="line" d="M%d,%d L%d,%d L%d,%d"/>`+"\n", e.x, e.y-5, e.x+e.outward*11, e.y, e.x, e.y+5)
}

// escape makes a text one of XML; what that cannot hold becomes U+FFFD.
func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // into memory
	return b.String()
}
