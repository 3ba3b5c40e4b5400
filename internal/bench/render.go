package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// report is all that was measured.
type report struct {
	config
	at        time.Time
	Databases []section
}

type section struct {
	Name, File, Settings string
	Tables               []*table
}

func (r *report) add(name, file, settings string, tables []*table) {
	r.Databases = append(r.Databases, section{name, file, settings, tables})
}

// text writes the tables for a terminal.
func (r *report) text(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, db := range r.Databases {
		fmt.Fprintf(out, "\n%s. %s\n", db.Name, db.Settings)
		for _, t := range db.Tables {
			fmt.Fprintf(out, "\n%s\n", t.Title)
			for _, op := range t.Operations {
				fmt.Fprintf(out, "\t%s", op.name)
			}
			fmt.Fprintln(out)
			for _, row := range t.Rows() {
				for i, text := range row {
					if i > 0 {
						fmt.Fprint(out, "\t")
					}
					fmt.Fprint(out, text)
				}
				fmt.Fprintln(out)
			}
		}
	}
	return out.Flush()
}

// Rows are those of the table, each with its name: the ratios, raw's time, and the allocations.
func (t *table) Rows() [][]string {
	var rows [][]string
	add := func(name string, cells []cell, text func(cell) string) {
		row := []string{name}
		for _, c := range cells {
			if c == (cell{}) {
				row = append(row, "-")
				continue
			}
			row = append(row, text(c))
		}
		rows = append(rows, row)
	}
	for i, name := range t.Contenders {
		add(name, t.Cells[i], func(c cell) string { return fmt.Sprintf("%.2f ±%.0f%%", c.Ratio, 100*c.Spread) })
	}
	add("raw, time", t.Cells[0], func(c cell) string { return c.Time.Round(100 * time.Nanosecond).String() })
	for i, name := range t.Contenders {
		add(name+", allocations", t.Cells[i], func(c cell) string { return fmt.Sprintf("%.0f", c.Allocs) })
	}
	return rows
}

func (r *report) write(folder string) error { return nil }
