package diagram_test

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/reviewpoint/models/internal/diagram"
)

func current(t *testing.T) *diagram.Model {
	t.Helper()
	m, err := diagram.Current(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// invented is a model with all that this module's own has not.
func invented() *diagram.Model {
	table := func(name string, columns []string, references ...diagram.Reference) diagram.Table {
		t := diagram.Table{Name: name, Description: `It's <b>"a"</b> & |b| ` + "`c` *d* [e](f)", References: references}
		for _, c := range append([]string{"id"}, columns...) {
			foreign := slices.ContainsFunc(references, func(r diagram.Reference) bool { return slices.Contains(r.Columns, c) })
			t.Columns = append(t.Columns, diagram.Column{
				Name: c, Go: "map[string]any", SQLite: "integer", Postgres: "double precision", Default: "'|`'",
				PrimaryKey: c == "id", ForeignKey: foreign, Null: len(c)%2 == 1, Unique: foreign && len(c) > 9,
				Description: "</td><script>alert(1)</script> | --> ]]> \x00",
			})
		}
		t.Indexes = []diagram.Index{{Name: t.Name + "_<i>", Parts: `lower("a|b")`, Where: "a < 'b'", Description: "x | y"}}
		t.Checks = []diagram.Check{{Name: "a|b", Condition: "a <> '</code>`|'"}}
		return t
	}
	to := func(table string, columns ...string) diagram.Reference {
		return diagram.Reference{Columns: columns, Table: table, Targets: []string{"id"}, OnDelete: "SET NULL", Optional: len(columns[0])%2 == 1, Unique: len(columns[0]) > 9}
	}
	return &diagram.Model{Tables: []diagram.Table{
		table("organisations", []string{"name", "parent_id"}, to("organisations", "parent_id")),
		table("people", []string{"имя", "氏名", "organisation_id", "manager_id", "deputy_id"},
			to("organisations", "organisation_id"), to("people", "manager_id"), to("people", "deputy_id")),
		table("papers", []string{"author_id", "second_author_id", "organisation_id"},
			to("people", "author_id"), to("people", "second_author_id"), to("organisations", "organisation_id")),
		table("reviews", []string{"paper_id", "reviewer_id", "organisation_id"},
			to("papers", "paper_id"), to("people", "reviewer_id"), to("organisations", "organisation_id")),
		table("comments", []string{"review_id", "parent_id", "text"}, to("reviews", "review_id"), to("comments", "parent_id")),
		table("a_table_whose_name_is_longer_than_what_postgresql_would_take_for_one", []string{"id2"}, to("reviews", "id2")),
		table("chicken", []string{"egg_id"}, to("egg", "egg_id")),
		table("egg", []string{"chicken_id"}, to("chicken", "chicken_id")),
		table("both", []string{"tenant_id", "a", "b"}, to("people", "tenant_id", "a"), to("papers", "tenant_id", "b")),
		table("статьи & \"<заметки>\"", []string{"a_column_whose_name_is_longer_than_others_by_far", "\"<&>'|`"}),
		table("空の表", []string{"氏名氏名氏名氏名氏名氏名", "2nd"}),
		table("lonely", nil),
	}}
}

func TestDocumentsAreCurrent(t *testing.T) {
	t.Parallel()
	documents, err := current(t).Documents()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range documents {
		got, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
		if err != nil {
			t.Error(err)
		} else if string(got) != want {
			t.Errorf("docs/%s is not what the schema says: run `go generate ./...`", name)
		}
	}
}

func TestEverythingIsDescribed(t *testing.T) {
	t.Parallel()
	for _, table := range current(t).Tables {
		if table.Description == "" {
			t.Errorf("%s has no description: give its schema the annotation schema.Comment", table.Name)
		}
		if table.Access == "" {
			t.Errorf("%s does not say who may do what: its Policy is to be policy.Rules", table.Name)
		}
		for _, c := range table.Columns {
			if c.Description == "" {
				t.Errorf("%s.%s has no description: give its field a Comment", table.Name, c.Name)
			}
		}
	}
}

// TestCurrent takes a sample of what comes from where.
func TestCurrent(t *testing.T) {
	t.Parallel()
	m := current(t)
	table := func(name string) diagram.Table {
		at := slices.IndexFunc(m.Tables, func(t diagram.Table) bool { return t.Name == name })
		if at < 0 {
			t.Fatalf("no table %s", name)
		}
		return m.Tables[at]
	}
	column := func(table diagram.Table, name string) diagram.Column {
		at := slices.IndexFunc(table.Columns, func(c diagram.Column) bool { return c.Name == name })
		if at < 0 {
			t.Fatalf("no column %s", name)
		}
		c := table.Columns[at]
		c.Description = ""
		return c
	}
	users, files := table("users"), table("files")
	for _, test := range []struct {
		table diagram.Table
		want  diagram.Column
	}{
		{users, diagram.Column{Name: "id", Go: "int", SQLite: "integer", Postgres: "bigint", PrimaryKey: true}},
		{users, diagram.Column{Name: "email", Go: "string", SQLite: "text", Postgres: "varchar(255)", Unique: true, UniqueWhere: "NOT is_deleted"}},
		{users, diagram.Column{Name: "hashed_password", Go: "string", SQLite: "text", Postgres: "varchar(255)", Sensitive: true}},
		{users, diagram.Column{Name: "is_active", Go: "bool", SQLite: "bool", Postgres: "boolean", Default: "true"}},
		{users, diagram.Column{Name: "deleted_at", Go: "*time.Time", SQLite: "datetime", Postgres: "timestamptz", Null: true}},
		{files, diagram.Column{Name: "public_id", Go: "uuid.UUID", SQLite: "uuid", Postgres: "uuid", Unique: true, Immutable: true}},
		{files, diagram.Column{Name: "created_at", Go: "time.Time", SQLite: "datetime", Postgres: "timestamptz", Default: "CURRENT_TIMESTAMP", Immutable: true}},
		{files, diagram.Column{Name: "user_id", Go: "int", SQLite: "integer", Postgres: "bigint", ForeignKey: true}},
	} {
		if got := column(test.table, test.want.Name); got != test.want {
			t.Errorf("%s: got %+v, want %+v", test.table.Name, got, test.want)
		}
	}
	if len(files.References) != 1 || files.References[0].To() != "users.id" || files.References[0].OnDelete != "CASCADE" {
		t.Errorf("the references of files: %+v", files.References)
	}
	if !slices.Contains(files.Checks, diagram.Check{Name: "files_size_not_negative", Condition: "size >= 0"}) {
		t.Errorf("the checks of files: %+v", files.Checks)
	}
	for _, index := range users.Indexes {
		if index.Name == "user_bcrypt" && (index.Description == "" || index.Of() != "id where NOT is_deleted AND hashed_password LIKE '$2%'") {
			t.Errorf("an index of users: %+v", index)
		}
	}
	if users.SoftDelete == "" || users.Audit == "" || files.SoftDelete != "" || files.Audit == "" || table("audit_logs").Audit != "" {
		t.Error("soft delete and audit are not as in the schema")
	}
	if got, want := table("audit_logs").Access, "System: read, create. Administrators: read. Others: nothing."; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// area is a rectangle of the drawing.
type area struct{ x, y, width, height int }

func (a area) overlaps(b area) bool {
	return a.x < b.x+b.width && b.x < a.x+a.width && a.y < b.y+b.height && b.y < a.y+a.height
}

// drawn is what a drawing holds.
type drawn struct {
	width int
	texts []string // one for each box: all in it
	boxes []area
	lines [][]area // one for each straight part
}

// read reads a drawing, and checks that each text fits into its box, and all into the drawing.
func read(t *testing.T, svg string) (d drawn) {
	t.Helper()
	decoder := xml.NewDecoder(strings.NewReader(svg))
	var canvas area
	var class string
	var x, y, lastY, lastEnd int
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return d
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			attribute := func(name string) string {
				at := slices.IndexFunc(token.Attr, func(a xml.Attr) bool { return a.Name.Local == name })
				if at < 0 {
					return ""
				}
				return token.Attr[at].Value
			}
			number := func(name string) int {
				n, _ := strconv.Atoi(attribute(name))
				return n
			}
			class, x, y = token.Name.Local+" "+attribute("class"), number("x"), number("y")
			a := area{x, y, number("width"), number("height")}
			switch class {
			case "svg erd":
				canvas, d.width = a, a.width
			case "rect box":
				d.boxes = append(d.boxes, a)
				d.texts = append(d.texts, "")
				if a.x < 0 || a.y < 0 || a.x+a.width > canvas.width || a.y+a.height > canvas.height {
					t.Errorf("a box %+v is not inside of the drawing %+v", a, canvas)
				}
			case "polyline line":
				d.lines = append(d.lines, lineOf(t, attribute("points")))
			}
		case xml.CharData:
			if !strings.HasPrefix(class, "text ") || len(d.boxes) == 0 || strings.TrimSpace(string(token)) == "" {
				continue
			}
			box := d.boxes[len(d.boxes)-1]
			if end := x + cells(string(token))*13*63/100; x < box.x || end > box.x+box.width {
				t.Errorf("%q reaches from %d to %d, its box from %d to %d", token, x, end, box.x, box.x+box.width)
			}
			if y == lastY && x > box.x && x < lastEnd && d.texts[len(d.texts)-1] != "" {
				t.Errorf("%q begins at %d, the text before it ends at %d", token, x, lastEnd)
			}
			lastY, lastEnd = y, x+cells(string(token))*13*63/100
			d.texts[len(d.texts)-1] += string(token) + "\n"
		case xml.EndElement:
			class = ""
		}
	}
}

// cells counts the characters, those of Chinese and Japanese twice.
func cells(text string) int {
	return len([]rune(text)) + len(regexp.MustCompile(`\p{Han}|\p{Hiragana}`).FindAllString(text, -1))
}

func lineOf(t *testing.T, points string) (parts []area) {
	t.Helper()
	var before []int
	for point := range strings.FieldsSeq(points) {
		a, b, _ := strings.Cut(point, ",")
		x, err := strconv.Atoi(a)
		y, err2 := strconv.Atoi(b)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		if before != nil {
			parts = append(parts, area{min(x, before[0]), min(y, before[1]), max(x, before[0]) - min(x, before[0]), max(y, before[1]) - min(y, before[1])})
		}
		before = []int{x, y}
	}
	return parts
}

func TestSVG(t *testing.T) {
	t.Parallel()
	lonely := &diagram.Model{}
	for range 12 {
		lonely.Tables = append(lonely.Tables, invented().Tables[11])
	}
	for name, m := range map[string]*diagram.Model{"current": current(t), "invented": invented(), "lonely": lonely, "empty": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			svg := m.SVG()
			if svg != m.SVG() {
				t.Error("it is drawn in several ways")
			}
			for _, part := range []string{"<title ", "<desc ", "prefers-color-scheme: dark"} {
				if !strings.Contains(svg, part) {
					t.Errorf("no %s", part)
				}
			}
			d := read(t, svg)
			if len(d.boxes) != len(m.Tables) {
				t.Fatalf("%d boxes of %d tables", len(d.boxes), len(m.Tables))
			}
			references := 0
			for i, table := range m.Tables {
				references += len(table.References)
				if !strings.HasPrefix(d.texts[i], table.Name+"\n") {
					t.Errorf("box %d is not that of %s", i, table.Name)
				}
				for _, c := range table.Columns {
					if !strings.Contains(d.texts[i], "\n"+c.Name+"\n"+c.Postgres) {
						t.Errorf("%s.%s is not in %q", table.Name, c.Name, d.texts[i])
					}
				}
				for j := range i {
					if d.boxes[i].overlaps(d.boxes[j]) {
						t.Errorf("%s lies on %s", table.Name, m.Tables[j].Name)
					}
				}
			}
			if len(d.lines) != references {
				t.Errorf("%d lines for %d references", len(d.lines), references)
			}
			d.checkLines(t, m)
			if name == "lonely" && d.width > 960 {
				t.Errorf("it is %d wide", d.width)
			}
		})
	}
}

// checkLines checks that no line passes through a box, and none runs on another.
func (d drawn) checkLines(t *testing.T, m *diagram.Model) {
	t.Helper()
	for i, line := range d.lines {
		for _, part := range line {
			for j, box := range d.boxes {
				if part.x < box.x+box.width && part.x+part.width > box.x && part.y < box.y+box.height && part.y+part.height > box.y {
					t.Errorf("line %d passes through %s", i, m.Tables[j].Name)
				}
			}
			for j, other := range d.lines[:i] {
				for _, b := range other {
					// One of the sides is 0: lines that cross have a point in common, those that run on each other more.
					across := min(part.x+part.width, b.x+b.width) - max(part.x, b.x)
					down := min(part.y+part.height, b.y+b.height) - max(part.y, b.y)
					if across >= 0 && down >= 0 && across+down > 0 {
						t.Errorf("line %d runs on line %d: %+v, %+v", i, j, part, b)
					}
				}
			}
		}
	}
}

func TestHTML(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]*diagram.Model{"current": current(t), "invented": invented()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			page, err := m.HTML()
			if err != nil {
				t.Fatal(err)
			}
			var open []string
			cells := make(map[string]bool)
			for tokens := html.NewTokenizer(strings.NewReader(page)); ; {
				kind := tokens.Next()
				if kind == html.ErrorToken {
					break
				}
				token := tokens.Token()
				for _, a := range token.Attr {
					outside := slices.Contains([]string{"src", "href", "data", "srcset", "action"}, a.Key) && !strings.HasPrefix(a.Val, "#")
					if outside || strings.HasPrefix(a.Key, "on") {
						t.Errorf("the page loads something: %s", token)
					}
				}
				switch {
				case kind == html.StartTagToken && token.Data == "script":
					t.Error("the page has a script")
				case kind == html.StartTagToken && token.Data != "meta":
					open = append(open, token.Data)
				case kind == html.EndTagToken:
					if len(open) == 0 || open[len(open)-1] != token.Data {
						t.Fatalf("</%s> closes %v", token.Data, open)
					}
					open = open[:len(open)-1]
				case kind == html.TextToken:
					cells[token.Data] = true
				}
			}
			if len(open) > 0 {
				t.Errorf("not closed: %v", open)
			}
			if regexp.MustCompile(`@import|url\(`).MatchString(page) {
				t.Error("the style loads something")
			}
			for _, table := range m.Tables {
				for _, column := range table.Columns {
					if !cells[column.Name] {
						t.Errorf("%s.%s is not there", table.Name, column.Name)
					}
				}
				for _, i := range table.Indexes {
					if !cells[i.Name] {
						t.Errorf("%s is not there", i.Name)
					}
				}
			}
		})
	}
}

// TestMarkdown checks that no text ends a cell or begins a tag.
func TestMarkdown(t *testing.T) {
	t.Parallel()
	code := regexp.MustCompile("(?U)(``` .* ```|`` .* ``|`[^`]+`)")
	for name, m := range map[string]*diagram.Model{"current": current(t), "invented": invented()} {
		_, text, _ := strings.Cut(strings.ReplaceAll(m.Markdown(), `\|`, ""), "\n```\n")
		columns := 0
		for line := range strings.Lines(text) {
			bars := strings.Count(line, "|")
			switch {
			case bars == 0:
				columns = 0
			case columns == 0:
				columns = bars
			case columns != bars:
				t.Errorf("%s: another number of cells: %s", name, line)
			}
			plain := code.ReplaceAllString(line, "")
			if regexp.MustCompile("(^|[^\\\\])[<`]").MatchString(plain) {
				t.Errorf("%s: markup in %s", name, line)
			}
		}
	}
}

func TestMermaid(t *testing.T) {
	t.Parallel()
	line := regexp.MustCompile(`^(erDiagram|    "[^"%\\<>&#;]+" \{|        [\pL_][\w()\[\]\x{C0}-\x{FFFF}-]* [\pL_][\w()\[\]\x{C0}-\x{FFFF}-]*( [PFU]K(, [PFU]K)*)?( "null")?|    \}|    "[^"%\\<>&#;]+" (\|\||\|o)--o[{|] "[^"%\\<>&#;]+" : "[^"%\\<>&#;]+")$`)
	for name, m := range map[string]*diagram.Model{"current": current(t), "invented": invented()} {
		text := m.Mermaid()
		for part := range strings.Lines(text) {
			if !line.MatchString(strings.TrimSuffix(part, "\n")) {
				t.Errorf("%s: %q", name, part)
			}
		}
		want := 1
		for _, table := range m.Tables {
			want += 2 + len(table.Columns) + len(table.References)
		}
		if got := strings.Count(text, "\n"); got != want {
			t.Errorf("%s: %d lines, want %d", name, got, want)
		}
	}
}
