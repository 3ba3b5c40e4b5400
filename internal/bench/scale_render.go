package main

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"text/template"
	"time"
)

// scaleReport is all that `bench scale` has measured.
type scaleReport struct {
	report
	scaleConfig

	Databases []*scaleSection
}

// scaleSection is what was measured on one kind of database. Parts that were not selected are empty.
type scaleSection struct {
	Name, Settings string
	Sizes          []int
	Paths          []*pathRow
	Disk           []*diskRow
	Throughput     []*throughputRow
	Loads          []*loadRow
	Start          *startRow
}

var (
	//go:embed scale.md.tmpl
	scaleText string

	scaleFunctions = template.FuncMap{
		"time": func(t time.Duration) string { return cell{Time: t}.time() },
		"rows": func(n int) string {
			switch {
			case n%1_000_000 == 0:
				return fmt.Sprintf("%d million", n/1_000_000)
			case n%1000 == 0:
				return fmt.Sprintf("%d thousand", n/1000)
			}
			return strconv.Itoa(n)
		},
		"half": func(n int) int { return n / 2 },
	}
	scaleMarkdown = template.Must(template.New("scale.md").Funcs(scaleFunctions).Parse(scaleText))
	scaleTerminal = template.Must(template.New("terminal").Funcs(scaleFunctions).Parse(`{{range .Databases}}{{.Name}}: {{.Settings}}
{{if .Paths}}
time of a call by rows{{range .Sizes}}	{{rows .}}	ratio	pages{{end}}
{{range .Paths}}{{$row := .}}{{.Name}}{{range $i, $time := .Times}}	{{time $time}}	{{printf "%.2f" (index $row.Ratios $i)}}	{{printf "%.1f" (index $row.Reads $i)}}{{end}}
{{end}}{{end}}{{if .Disk}}
bytes of a row	table	indexes
{{range .Disk}}{{.Table}}	{{printf "%.0f" .Rows}}	{{printf "%.0f" .Indexes}}
{{end}}{{end}}{{if .Throughput}}
calls a second	1 processor	2 processors	ratio
{{range .Throughput}}{{.Name}}	{{printf "%.0f" .One}}	{{printf "%.0f" .Two}}	{{printf "%.2f" .Ratio}}
{{end}}
CheckToken	calls a second	p50	p99	ratio	least
{{range .Loads}}{{.Name}}	{{printf "%.0f" .Rate}}	{{time .P50}}	{{time .P99}}	{{printf "%.1f" .Ratio}}	{{printf "%.1f" .Least}}	{{.Others}}
{{end}}{{end}}{{with .Start}}
Open	Migrate	both	most	in a new process	all of that process
{{time .Open}}	{{time .Migrate}}	{{time .Both}}	{{time .Most}}	{{time .Cold}}	{{time .Process}}
{{end}}
{{end}}`))
)

// text writes the tables for a terminal.
func (r *scaleReport) text(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	return errors.Join(scaleTerminal.Execute(out, r), out.Flush())
}

// Command is what was called, less where the results went and where a server is.
func (r *scaleReport) Command() string { return "go -C internal/bench run . scale" + r.command }

// Rounds is how often each call was measured.
func (r *scaleReport) Rounds() int { return r.scaleConfig.rounds }

// DiskRows is how many rows there were in a table whose bytes were counted.
func (r *scaleReport) DiskRows() int { return r.diskRows }

// LoadRows is how many tokens and files there were under load.
func (r *scaleReport) LoadRows() int { return r.loadRows }

// LoadRounds is how often each load was measured.
func (r *scaleReport) LoadRounds() int { return r.loadRounds }

// LoadTime is how long each load lasted.
func (r *scaleReport) LoadTime() time.Duration { return r.loadTime }

// Starts is how often a store was opened.
func (r *scaleReport) Starts() int { return r.starts }
