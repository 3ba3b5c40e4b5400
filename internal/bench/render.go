package main

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"text/tabwriter"
	"text/template"
	"time"
)

// report is all that was measured.
type report struct {
	config
	At        time.Time
	Databases []section
}

// section is what was measured on a database. Its chart goes to a file.
type section struct {
	Name, File, Settings string
	Tables               []*table
}

func (r *report) add(name, file, settings string, tables []*table) {
	r.Databases = append(r.Databases, section{name, file, settings, tables})
}

var (
	//go:embed README.md.tmpl
	markdownText string

	markdown = template.Must(template.New("README.md").Funcs(template.FuncMap{"join": strings.Join}).Parse(markdownText))
	terminal = template.Must(template.New("terminal").Parse(`{{range .Databases}}{{.Name}}: {{.Settings}}
{{range .Tables}}
{{.Title}}
{{range .Operations}}	{{.Name}}{{end}}
{{range .Rows}}{{range $i, $text := .}}{{if $i}}	{{end}}{{$text}}{{end}}
{{end}}	
{{range .Allocations}}{{range $i, $text := .}}{{if $i}}	{{else}}allocations, {{end}}{{$text}}{{end}}
{{end}}{{end}}
{{end}}`))
)

// text writes the tables for a terminal.
func (r *report) text(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	return errors.Join(terminal.Execute(out, r), out.Flush())
}

// write writes the tables and charts to a folder.
func (r *report) write(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // It is to be read by everybody.
		return err
	}
	err := render(filepath.Join(folder, "README.md"), markdown, r)
	for _, s := range r.Databases {
		err = errors.Join(err, render(filepath.Join(folder, s.File), svg, newChart(s)))
	}
	return err
}

func render(path string, t *template.Template, data any) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(t.Execute(f, data), f.Close())
}

// Rows are the ratios, each row with its contender, and how long raw took.
func (t *table) Rows() [][]string {
	rows := make([][]string, 0, len(t.Contenders)+1)
	for i, name := range t.Contenders {
		rows = append(rows, t.row(name, i, cell.ratio))
	}
	return append(rows, t.row("time of raw", 0, cell.time))
}

// Allocations are those of one call.
func (t *table) Allocations() [][]string {
	rows := make([][]string, len(t.Contenders))
	for i, name := range t.Contenders {
		rows[i] = t.row(name, i, func(c cell) string { return fmt.Sprintf("%.0f", c.Allocs) })
	}
	return rows
}

func (t *table) row(name string, contender int, text func(cell) string) []string {
	row := []string{name}
	for _, c := range t.Cells[contender] {
		if c == (cell{}) {
			row = append(row, "-")
		} else {
			row = append(row, text(c))
		}
	}
	return row
}

func (c cell) ratio() string { return fmt.Sprintf("%.2f ± %.0f %%", c.Ratio, 100*c.Spread) }

// time is rounded to three digits.
func (c cell) time() string {
	unit := time.Nanosecond
	for c.Time/unit >= 1000 {
		unit *= 10
	}
	number, unitName := c.Time.Round(unit).String(), "s"
	for _, name := range []string{"ns", "µs", "ms"} {
		if strings.HasSuffix(number, name) {
			unitName = name
		}
	}
	return strings.TrimSuffix(number, unitName) + " " + unitName
}

// Date is that of the measurement.
func (r *report) Date() string { return r.At.UTC().Format(time.DateOnly) }

// Flags are those of the call, less where the results went and where a server is.
func (r *report) Flags() string {
	return fmt.Sprintf("-rounds %d -slice %s -users %d -files %d -tokens %d", r.rounds, r.slice, r.size.users, r.size.files, r.size.tokens)
}

// Rounds is how often each contender was measured.
func (r *report) Rounds() int { return r.rounds }

// Size says how much there was in the tables.
func (r *report) Size() string {
	return fmt.Sprintf("%d users, %d files, %d blacklisted tokens", r.size.users, r.size.files, r.size.tokens)
}

// Machine is what it ran on.
func (r *report) Machine() string {
	model := lineOf("/proc/cpuinfo", "model name", ":")
	if model == "" {
		model = runtime.GOARCH
	}
	system := strings.Trim(lineOf("/etc/os-release", "PRETTY_NAME", "="), `"`)
	if system == "" {
		system = runtime.GOOS
	}
	return fmt.Sprintf("%s, %d processors; %s; %s", model, runtime.NumCPU(), system, runtime.Version())
}

// lineOf is what stands behind a name in a file of the system.
func lineOf(path, name, separator string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // It was only read.
	for lines := bufio.NewScanner(f); lines.Scan(); {
		before, after, _ := strings.Cut(lines.Text(), separator)
		if strings.TrimSpace(before) == name {
			return strings.TrimSpace(after)
		}
	}
	return ""
}

// Versions are those of the contenders and their drivers.
func (r *report) Versions() []string {
	wanted := []string{
		"entgo.io/ent", "gorm.io/gorm", "gorm.io/driver/sqlite", "gorm.io/driver/postgres", "github.com/uptrace/bun", "github.com/uptrace/bun/driver/pgdriver",
		"github.com/jackc/pgx/v5", "github.com/lib/pq", "github.com/mattn/go-sqlite3",
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	have := make(map[string]string, len(info.Deps))
	for _, dep := range info.Deps {
		have[dep.Path] = dep.Version
	}
	out := make([]string, len(wanted))
	for i, path := range wanted {
		out[i] = strings.TrimSpace(path + " " + have[path])
	}
	return out
}
