// Command bench measures this module beside other ways to the same database.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"github.com/reviewpoint/models/internal/cluster"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := start(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// config is what the flags say.
type config struct {
	rounds   int
	slice    time.Duration
	only     *regexp.Regexp
	db       string
	postgres string
	out      string
	size     size
	args     []string
}

func parse(args []string, stderr io.Writer) (c config, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&c.rounds, "rounds", 6, "how often each contender is measured")
	flags.DurationVar(&c.slice, "slice", 150*time.Millisecond, "how long a contender is measured in a round")
	only := flags.String("only", "", "a regular expression; only the operations whose names match")
	flags.StringVar(&c.db, "db", "both", "sqlite, postgres or both")
	flags.StringVar(&c.postgres, "postgres", "", "the `URL` of a PostgreSQL server, to make a database on; default a throw-away server of this machine")
	flags.StringVar(&c.out, "out", "", "the `folder` to write README.md, sqlite.svg and postgres.svg to")
	flags.IntVar(&c.size.users, "users", 10_000, "how many accounts there are")
	flags.IntVar(&c.size.files, "files", 100_000, "how many files there are")
	flags.IntVar(&c.size.tokens, "tokens", 100_000, "how many blacklisted tokens there are")
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
	case c.rounds < 1 || c.slice <= 0:
		return c, errors.New("-rounds and -slice must be positive")
	case len(selected(c.only, func(operation) bool { return true })) == 0:
		return c, fmt.Errorf("no operation is called like %q", *only)
	case c.size.users < 1000 || c.size.files < 2000 || c.size.tokens < 1000:
		return c, errors.New("there must be 1000 users, 2000 files and 1000 tokens at least")
	case c.size.files > 10*c.size.users:
		return c, errors.New("there must not be more than 10 files for each user")
	}
	c.args = args
	return c, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c, err := parse(args, stderr)
	if err != nil {
		return err
	}
	r := &report{config: c, At: time.Now()}
	if c.db != "postgres" {
		tables, err := c.sqlite(ctx, stderr)
		if err != nil {
			return err
		}
		r.add("SQLite", "sqlite.svg", "A file of its own; WAL, foreign keys on.", tables)
	}
	if c.db != "sqlite" {
		tables, settings, err := c.postgreSQL(ctx, stderr)
		if err != nil {
			return err
		}
		r.add("PostgreSQL", "postgres.svg", settings, tables)
	}
	if err := r.text(stdout); err != nil || c.out == "" {
		return err
	}
	return r.write(c.out)
}

func (c config) trials(ctx context.Context, t target, stderr io.Writer) (*trials, error) {
	db, err := openDatabase(ctx, t, c.size)
	return &trials{database: db, rounds: c.rounds, slice: c.slice, progress: func(format string, args ...any) {
		fmt.Fprintf(stderr, format+"\n", args...) //nolint:errcheck // It is progress.
	}}, err
}

func (c config) selected(which func(operation) bool) []operation { return selected(c.only, which) }

func (c config) sqlite(ctx context.Context, stderr io.Writer) (tables []*table, err error) {
	folder, err := os.MkdirTemp("", "reviewpoint-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	full := sqliteTarget(folder, "FULL")
	trials, err := c.trials(ctx, full, stderr)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, trials.Close()) }()
	return trials.all(ctx, "SQLite", map[string]target{"": full, "NORMAL": sqliteTarget(folder, "NORMAL")}, c.selected)
}

func (c config) postgreSQL(ctx context.Context, stderr io.Writer) (tables []*table, settings string, err error) {
	server := c.postgres
	if server == "" {
		throwaway, noServer := cluster.Start()
		if noServer != nil {
			return nil, "", noServer
		}
		defer func() { err = errors.Join(err, throwaway.Close()) }()
		server = throwaway.URL()
	}
	t, drop, err := postgresTarget(ctx, server)
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, drop()) }()
	trials, err := c.trials(ctx, t, stderr)
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, trials.Close()) }()
	if settings, err = trials.settings(ctx); err != nil {
		return nil, "", err
	}
	tables, err = trials.all(ctx, "PostgreSQL", map[string]target{"": t}, c.selected)
	return tables, settings, err
}
