package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"time"

	"github.com/reviewpoint/models/internal/cluster"
)

// scaleConfig is what the flags of `bench scale` say.
type scaleConfig struct {
	rows         int
	rounds       int
	slice        time.Duration
	writes       int
	diskRows     int
	loadRows     int
	loadTime     time.Duration
	loadRounds   int
	starts       int
	only         *regexp.Regexp
	db, postgres string
	out          string
	command      string
}

func parseScale(args []string, stderr io.Writer) (c scaleConfig, err error) {
	flags := flag.NewFlagSet("bench scale", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&c.rows, "rows", 1_000_000, "the tokens and files of the largest database; the smaller ones have a tenth each, down to 10 thousand")
	flags.IntVar(&c.rounds, "rounds", 9, "how often each call is measured on each database")
	flags.DurationVar(&c.slice, "slice", 50*time.Millisecond, "how long reads are measured in a round")
	flags.IntVar(&c.writes, "writes", 200, "how many writes are measured in a round")
	flags.IntVar(&c.diskRows, "disk-rows", 1_000_000, "how many rows each table has when its bytes are counted")
	flags.IntVar(&c.loadRows, "load-rows", 100_000, "how many tokens and files there are under load, and how many expired tokens are purged meanwhile")
	flags.DurationVar(&c.loadTime, "load-time", 3*time.Second, "how long each load lasts")
	flags.IntVar(&c.loadRounds, "load-rounds", 5, "how often each load is measured")
	flags.IntVar(&c.starts, "starts", 50, "how often a store is opened")
	only := flags.String("only", "", "a regular expression; only the parts whose names match, of paths, disk, load and start")
	flags.StringVar(&c.db, "db", "both", "sqlite, postgres or both")
	flags.StringVar(&c.postgres, "postgres", "", "the `URL` of a PostgreSQL server, to make databases on; default a throw-away server of this machine")
	flags.StringVar(&c.out, "out", "", "the `folder` to write scale.md to")
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	if c.only, err = regexp.Compile(*only); err != nil {
		return c, err
	}
	switch {
	case flags.NArg() > 0:
		return c, fmt.Errorf("unknown argument %q", flags.Arg(0))
	case c.db != "sqlite" && c.db != "postgres" && c.db != "both":
		return c, fmt.Errorf("-db is sqlite, postgres or both, not %q", c.db)
	case min(c.rows, c.diskRows, c.loadRows) < leastRows:
		return c, fmt.Errorf("-rows, -disk-rows and -load-rows are at least %d", leastRows)
	case min(c.rounds, c.writes, c.loadRounds, c.starts) < 1, min(c.slice, c.loadTime) <= 0:
		return c, errors.New("-rounds, -slice, -writes, -load-time, -load-rounds and -starts must be positive")
	}
	flags.Visit(func(f *flag.Flag) {
		if f.Name != "out" && f.Name != "postgres" {
			c.command += fmt.Sprintf(" -%s %s", f.Name, f.Value)
		}
	})
	return c, nil
}

// leastRows is of how many the first user has enough files for pages in the middle.
const leastRows = 1000

// sizes are those of the databases, the smallest first.
func (c scaleConfig) sizes() []int {
	sizes := []int{c.rows}
	for n := c.rows / 10; n >= 10_000; n /= 10 {
		sizes = append(sizes, n)
	}
	if len(sizes) == 1 {
		sizes = append(sizes, max(leastRows, c.rows/4))
	}
	slices.Reverse(sizes)
	return slices.Compact(sizes)
}

// scaleRun measures on one kind of database.
type scaleRun struct {
	scaleConfig

	postgres bool
	folder   string // for SQLite's files
	server   string // of PostgreSQL
	progress func(format string, args ...any)
}

// start runs what the arguments name.
func start(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if url := os.Getenv(openVariable); url != "" {
		return openAlone(ctx, url)
	}
	if len(args) > 0 && args[0] == "scale" {
		return scale(ctx, args[1:], stdout, stderr)
	}
	return run(ctx, args, stdout, stderr)
}

func scale(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c, err := parseScale(args, stderr)
	if err != nil {
		return err
	}
	report := &scaleReport{report: report{At: time.Now()}, scaleConfig: c}
	progress := func(format string, args ...any) {
		fmt.Fprintf(stderr, time.Now().Format(time.TimeOnly)+" "+format+"\n", args...) //nolint:errcheck // It is progress.
	}
	for _, name := range []string{"sqlite", "postgres"} {
		if c.db != name && c.db != "both" {
			continue
		}
		run := scaleRun{scaleConfig: c, postgres: name == "postgres", progress: progress}
		section, err := run.section(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		report.Databases = append(report.Databases, section)
	}
	if err := report.text(stdout); err != nil || c.out == "" {
		return err
	}
	if err := os.MkdirAll(c.out, 0o755); err != nil { //nolint:gosec // It is to be read by everybody.
		return err
	}
	return render(filepath.Join(c.out, "scale.md"), scaleMarkdown, report)
}

func (r scaleRun) section(ctx context.Context) (out *scaleSection, err error) {
	if r.postgres {
		if r.server = r.scaleConfig.postgres; r.server == "" {
			throwaway, err := cluster.Start()
			if err != nil {
				return nil, err
			}
			defer func() { err = errors.Join(err, throwaway.Close()) }()
			r.server = throwaway.URL()
		}
	} else {
		if r.folder, err = os.MkdirTemp("", "reviewpoint-scale-"); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(r.folder)) }()
	}
	out = &scaleSection{Name: "SQLite", Settings: "WAL; synchronous=off where calls are measured, as the PostgreSQL server does not wait for the disk either."}
	if r.postgres {
		out.Name = "PostgreSQL"
		pool, err := target{dsn: r.server, postgres: true, conns: 1}.open("postgres")
		if err != nil {
			return nil, err
		}
		db := database{DB: pool}
		out.Settings, err = db.settings(ctx)
		if err := errors.Join(err, pool.Close()); err != nil {
			return nil, err
		}
	}
	for _, part := range []struct {
		name string
		do   func(context.Context, *scaleSection) error
	}{
		{"paths", r.paths}, {"disk", r.disk}, {"load", r.load}, {"start", r.start},
	} {
		if !r.only.MatchString(part.name) {
			continue
		}
		if err := part.do(ctx, out); err != nil {
			return nil, fmt.Errorf("%s: %w", part.name, err)
		}
		runtime.GC()
	}
	return out, nil
}

// middle is the middle of the values, which it sorts.
func middle[T int | float64 | time.Duration](values []T) T {
	slices.Sort(values)
	return values[len(values)/2]
}
