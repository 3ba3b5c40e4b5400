package cli

import (
	"bytes"
	"io"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

// wantsColour reports whether stdout is a terminal that shows colours, and the person wants them
// (https://no-color.org).
func wantsColour(stdout io.Writer, getenv func(string) string) bool {
	_, ok := terminal(stdout)
	return ok && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
}

// colours of the states that commands print.
var colours = map[string]string{
	"ok": "\x1b[32m", "applied": "\x1b[32m", // green
	"pending": "\x1b[33m", "skipped": "\x1b[33m", // yellow
	"PROBLEM": "\x1b[31m", "failed": "\x1b[31m", // red
}

// printStates prints a table whose second column holds states. They are coloured when everything has its
// place, for an escape sequence has no width.
func (a *app) printStates(rows [][]string) error {
	var laidOut bytes.Buffer
	table := tabwriter.NewWriter(&laidOut, 0, 0, 2, ' ', 0)
	before := 0
	for _, row := range rows {
		before = max(before, utf8.RuneCountInString(row[0])+2)
		if _, err := io.WriteString(table, strings.Join(row, "\t")+"\n"); err != nil {
			return err
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	i := 0
	for line := range strings.Lines(laidOut.String()) {
		state := rows[i][1]
		if colour, ok := colours[state]; ok && a.colour {
			start := len(string([]rune(line)[:before]))
			line = line[:start] + colour + state + "\x1b[0m" + line[start+len(state):]
		}
		if _, err := io.WriteString(a.stdout, line); err != nil {
			return err
		}
		i++
	}
	return nil
}
