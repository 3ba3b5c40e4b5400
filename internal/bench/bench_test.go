package main

import (
	"context"
	"database/sql"
	"encoding/xml"
	"errors"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/internal/cluster"
)

// short is a run that measures next to nothing, but goes all the way.
var short = []string{"-rounds", "1", "-slice", "1ms", "-users", "1200", "-files", "4000", "-tokens", "1000"}

// Every contender answers alike, or run fails; and what it writes can be read.
func TestReport(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"sqlite": "SQLite", "postgres": "PostgreSQL"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := filepath.Join(t.TempDir(), "new", "folder")
			var stdout strings.Builder
			err := run(t.Context(), append([]string{"-db", name, "-out", folder}, short...), &stdout, io.Discard)
			if errors.Is(err, cluster.ErrNone) && os.Getenv("CI") != "true" {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			markdown := read(t, filepath.Join(folder, "README.md"))
			for _, op := range operations {
				if !strings.Contains(stdout.String(), op.Name) || !strings.Contains(markdown, " "+op.Name+" |") {
					t.Errorf("%q is missing", op.Name)
				}
			}
			for _, e := range contenders() {
				if e.postgres && name == "sqlite" {
					continue
				}
				if !strings.Contains(stdout.String(), "\n"+e.name+" ") || !strings.Contains(markdown, "\n| "+e.name+" |") {
					t.Errorf("%q is missing", e.name)
				}
			}
			for _, wrong := range []string{"<no value>", "NaN", "Inf", "%!"} {
				if strings.Contains(markdown, wrong) || strings.Contains(stdout.String(), wrong) {
					t.Errorf("there is a %s", wrong)
				}
			}
			checkTables(t, markdown)
			chart := read(t, filepath.Join(folder, name+".svg"))
			checkXML(t, chart)
			if !strings.Contains(chart, text) || !strings.Contains(markdown, "]("+name+".svg)") {
				t.Error("the chart does not say whose it is, or is not shown")
			}
		})
	}
}

// The benchmark leaves nothing on a server that was there, and tells nobody how to get in.
func TestServerThatIsThere(t *testing.T) {
	t.Parallel()
	server, err := cluster.Start()
	if errors.Is(err, cluster.ErrNone) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	u, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	folder := t.TempDir()
	var output strings.Builder
	args := append([]string{"-db", "postgres", "-postgres", server.URL(), "-only", "check hit", "-out", folder}, short...)
	if err := run(t.Context(), args, &output, &output); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(output.String()+read(t, filepath.Join(folder, "README.md")), password) {
		t.Error("the password is shown")
	}
	if strings.Contains(output.String(), "by id") {
		t.Error("what was not selected was measured")
	}
	db, err := sql.Open("postgres", server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	var left int
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM pg_database WHERE datname LIKE 'reviewpoint%'").Scan(&left); err != nil || left != 0 {
		t.Errorf("there are %d databases left, %v", left, err)
	}
}

// checkTables looks that every row of a table has as many cells as the one above.
func checkTables(t *testing.T, markdown string) {
	t.Helper()
	tables, columns := 0, 0
	for line := range strings.Lines(markdown) {
		if !strings.HasPrefix(line, "|") {
			columns = 0
			continue
		}
		n := strings.Count(line, "|")
		if columns == 0 {
			tables++
		} else if n != columns {
			t.Errorf("%d cells, not %d: %s", n-1, columns-1, line)
		}
		columns = n
	}
	if tables < 6 {
		t.Errorf("there are %d tables", tables)
	}
}

func checkXML(t *testing.T, text string) {
	t.Helper()
	decoder := xml.NewDecoder(strings.NewReader(text))
	for bars := 0; ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			if bars < 50 {
				t.Errorf("there are %d bars", bars)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if start, ok := token.(xml.StartElement); ok {
			switch start.Name.Local {
			case "rect":
				bars++
			case "script":
				t.Error("there is a script")
			}
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// wrong is raw but for some mistakes.
type wrong struct{ contender }

func (w wrong) Page(ctx context.Context, after place) (any, error) {
	answer, err := w.contender.Page(ctx, after)
	if files, ok := answer.([]*File); ok && len(files) > 1 {
		files[0], files[1] = files[1], files[0]
	}
	return answer, err
}

// RecordLogin only looks whether there is such a user.
func (w wrong) RecordLogin(ctx context.Context, id int, _ time.Time) (bool, error) {
	u, err := w.UserByID(ctx, id)
	return u != nil, err
}

func (w wrong) InsertFile(ctx context.Context, userID int, file models.NewFile) (int, error) {
	file.Size++
	return w.contender.InsertFile(ctx, userID, file)
}

func TestAnotherAnswerEndsTheRun(t *testing.T) {
	t.Parallel()
	file := sqliteTarget(t.TempDir(), "OFF")
	c, err := parse(short, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	trials, err := c.trials(t.Context(), file, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := trials.Close(); err != nil {
			t.Error(err)
		}
	})
	places, err := trials.places(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, answer := range map[string]string{"page of 20": "Übersicht", "touch login": "touched now", "insert one": "Œuvre"} {
		entries := []*entry{{name: rawName, open: newRaw}, {name: "other", open: func(ctx context.Context, t target) (contender, error) {
			inner, err := newRaw(ctx, t)
			return wrong{inner}, err
		}}}
		ops := selected(regexp.MustCompile(name), func(operation) bool { return true })
		_, err = trials.measure(t.Context(), "a table", file, entries, ops, trials.trial(places), trials.measured(places))
		if err == nil || !strings.Contains(err.Error(), "other, "+name) || strings.Count(err.Error(), answer) < 2 {
			t.Errorf("a wrong %s gives %v", name, err)
		}
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"-db mysql", "-only (", "-only nothing", "-rounds 0", "-slice 0s", "more", "-users 10"} {
		if err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard); err == nil {
			t.Errorf("%s: no error", args)
		}
	}
}

func TestMedianAndTime(t *testing.T) {
	t.Parallel()
	if got := median([]float64{9, 1, 2, 4}); got != 3 {
		t.Errorf("the median of four is %v", got)
	}
	if got := median([]float64{9, 1, 2}); got != 2 {
		t.Errorf("the median of three is %v", got)
	}
	for took, want := range map[time.Duration]string{
		999: "999 ns", 12345 * time.Nanosecond: "12.3 µs", 1999500 * time.Nanosecond: "2 ms", 1234 * time.Millisecond: "1.23 s",
	} {
		if got := (cell{Time: took}).time(); got != want {
			t.Errorf("%d ns are %q, not %q", took, got, want)
		}
	}
}
