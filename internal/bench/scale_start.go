package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/reviewpoint/models"
)

// startRow is how long it takes until a store is ready on a database that is up to date.
type startRow struct {
	Open, Migrate, Both time.Duration // medians
	Most                time.Duration
	// Of a process of its own, once: all of it, and what Open and Migrate take in it.
	Process, Cold time.Duration
}

// openVariable makes this program do nothing but open the database that it names, and say how long it took.
const openVariable = "REVIEWPOINT_BENCH_OPEN"

func (r scaleRun) start(ctx context.Context, out *scaleSection) (err error) {
	r.progress("start")
	g, err := r.ground(ctx, leastRows)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	url := g.url
	if !g.postgres {
		url = "sqlite://" + g.path() // as it is by default
	}
	var opens, migrates, both []time.Duration
	for range r.starts {
		open, migrate, err := openOnce(ctx, url)
		if err != nil {
			return err
		}
		opens, migrates, both = append(opens, open), append(migrates, migrate), append(both, open+migrate)
	}
	row := &startRow{Open: middle(opens), Migrate: middle(migrates), Both: middle(both)}
	row.Most = both[len(both)-1]
	program, err := os.Executable()
	if err != nil {
		return err
	}
	command := exec.CommandContext(ctx, program)
	command.Env = append(os.Environ(), openVariable+"="+url)
	began := time.Now()
	answer, err := command.Output()
	if err != nil {
		return err
	}
	row.Process = time.Since(began)
	if row.Cold, err = time.ParseDuration(string(answer)); err != nil {
		return err
	}
	out.Start = row
	return nil
}

func openOnce(ctx context.Context, url string) (open, migrate time.Duration, err error) {
	began := time.Now()
	store, err := models.Open(ctx, url)
	if err != nil {
		return 0, 0, err
	}
	opened := time.Now()
	report, err := store.Migrate(ctx)
	open, migrate = opened.Sub(began), time.Since(opened)
	if err == nil && len(report.Applied) > 0 {
		err = errors.New("something was pending")
	}
	return open, migrate, errors.Join(err, store.Close())
}

// openAlone is what the process does that startRow speaks of.
func openAlone(ctx context.Context, url string) error {
	open, migrate, err := openOnce(ctx, url)
	if err == nil {
		_, err = fmt.Fprint(os.Stdout, open+migrate) //nolint:forbidigo // It is all of the process.
	}
	return err
}
