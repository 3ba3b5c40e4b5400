package main

import (
	_ "embed"
	"fmt"
	"strings"
	"text/template"
)

//go:embed chart.svg.tmpl
var svgText string

var svg = template.Must(template.New("chart").Funcs(template.FuncMap{"text": template.HTMLEscapeString}).Parse(svgText))

// The chart, in pixels.
const (
	chartWidth = 860
	axis       = 190 // where the bars begin
	unit       = 110 // a ratio of 1
	limit      = 5   // bars end here
	barHeight  = 11
	groupGap   = 16
	chartTop   = 92
)

// colours are those of the contenders, to be told apart on white and on black.
var colours = map[string]string{
	"pgx": "#0d9488", "ent": "#ea8a1f", "GORM": "#86b34a", "GORM, prepared": "#4d7c0f", "bun": "#a05fd0",
	"this, client": "#6ea8fe", "this": "#1d63ed",
}

// chart is a bar chart: a group for each operation, a bar for each contender.
type chart struct {
	Title                     string
	Width, Height, Axis, Unit int
	Top, Bottom               int
	Ticks                     []tick
	Legend                    []mark
	Groups                    []chartGroup
}

type (
	tick struct {
		X     int
		Label string
	}
	mark struct {
		X, Y         int
		Colour, Name string
	}
	chartGroup struct {
		Y            int
		Label, Small string
		Bars         []bar
	}
	bar struct {
		Y, Width       int
		Colour, Number string
		Cut            bool // at the limit
		Title          string
	}
)

// One is where the line of raw stands.
func (c *chart) One() int { return c.Axis + c.Unit }

// NumberAt is where the number of a bar stands.
func (b bar) NumberAt() int { return axis + b.Width + 5 }

// BreakAt is where a bar that was cut is broken.
func (b bar) BreakAt() int { return axis + b.Width - 16 }

// newChart draws the tables in which all contenders are.
func newChart(s section) *chart {
	c := &chart{
		Title: s.Name + ": time by that of raw database/sql (1.00)",
		Width: chartWidth, Axis: axis, Unit: unit, Top: chartTop,
	}
	for i := range limit + 1 {
		c.Ticks = append(c.Ticks, tick{axis + i*unit, fmt.Sprintf("%d.00", i)})
	}
	y := chartTop + groupGap
	for i, t := range s.Tables {
		if len(t.Contenders) < len(s.Tables[0].Contenders) {
			continue
		}
		if i == 0 {
			c.Legend = legend(t.Contenders)
		}
		_, setting, _ := strings.Cut(t.Title, "synchronous=")
		for column, op := range t.Operations {
			group := chartGroup{Y: y, Label: op.Name, Small: strings.TrimPrefix(setting+", raw "+t.Cells[0][column].time(), ", ")}
			for j, name := range t.Contenders {
				if name == rawName || t.Cells[j][column] == (cell{}) {
					continue
				}
				group.Bars = append(group.Bars, newBar(y, name, t.Cells[j][column]))
				y += barHeight
			}
			y = max(y, group.Y+30) + groupGap
			c.Groups = append(c.Groups, group)
		}
	}
	c.Bottom = y
	c.Height = y + 28
	return c
}

func newBar(y int, name string, value cell) bar {
	b := bar{Y: y, Colour: colours[name], Number: fmt.Sprintf("%.2f", value.Ratio), Title: name + ": " + value.ratio()}
	b.Width = int(value.Ratio * unit)
	if value.Ratio > limit {
		b.Width, b.Cut = limit*unit, true
	}
	return b
}

func legend(names []string) []mark {
	var marks []mark
	x := 20
	for _, name := range names {
		if name == rawName {
			continue
		}
		marks = append(marks, mark{x, 48, colours[name], name})
		x += 36 + 7*len(name)
	}
	return marks
}
