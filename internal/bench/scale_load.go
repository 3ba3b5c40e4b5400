package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reviewpoint/models"
)

// loadRow is what many goroutines got at once.
type loadRow struct {
	Name     string
	Rate     float64 // calls in a second
	P50, P99 time.Duration
	Ratio    float64 // of P99 to P50
	Least    float64 // of all times
	Others   string  // what ran beside
}

// throughputRow is how many calls of a kind a second has, by the processors of Go.
type throughputRow struct {
	Name     string
	One, Two float64
	Ratio    float64
}

// loaders is how many goroutines call at once.
const loaders = 64

// load measures many callers.
func (r scaleRun) load(ctx context.Context, out *scaleSection) (err error) {
	ctx, cancel := context.WithCancel(models.AsSystem(ctx, "benchmark"))
	defer cancel()
	g, err := r.filled(ctx, r.loadRows)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	mixed := func(g *ground) func(ctx context.Context) error {
		switch n := rand.IntN(100); {
		case n < 80:
			return checkOne(g)
		case n < 95:
			return byID(g)
		default:
			return firstPage(g)
		}
	}
	for _, kind := range []struct {
		name string
		call func(g *ground) func(ctx context.Context) error
	}{{"CheckToken", checkOne}, {"80 % CheckToken, 15 % UserByID, 5 % ListFiles", mixed}} {
		row, err := r.throughput(ctx, g, kind.call)
		if err != nil {
			return err
		}
		row.Name = kind.name
		out.Throughput = append(out.Throughput, row)
	}
	return r.latencies(ctx, g, out)
}

// throughput goes from one processor to two and back.
func (r scaleRun) throughput(ctx context.Context, g *ground, call func(*ground) func(context.Context) error) (*throughputRow, error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	var one, two, ratios []float64
	for range r.loadRounds {
		var rates [2]float64
		for _, i := range rand.Perm(2) {
			runtime.GOMAXPROCS(i + 1)
			row, err := r.drive(ctx, g, call, 0)
			if err != nil {
				return nil, err
			}
			rates[i] = row.Rate
		}
		one, two, ratios = append(one, rates[0]), append(two, rates[1]), append(ratios, rates[1]/rates[0])
	}
	return &throughputRow{One: middle(one), Two: middle(two), Ratio: middle(ratios)}, nil
}

// latencies compares CheckToken alone, and beside a purge and an import: as fast as it goes, and at half of that.
func (r scaleRun) latencies(ctx context.Context, g *ground, out *scaleSection) error {
	half := 0.0
	rows := make(map[string][]*loadRow)
	names := []string{"as many as go, alone", "as many as go, beside a purge and an import", "at half of that rate, alone", "at half of that rate, beside a purge and an import"}
	for range r.loadRounds {
		for i, name := range names {
			rate := 0.0
			if i >= 2 {
				rate = half
			}
			r.progress("CheckToken, %s", name)
			drive := r.drive
			if i%2 == 1 {
				drive = r.beside
			}
			row, err := drive(ctx, g, checkOne, rate)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if i == 0 {
				half = row.Rate / 2
			}
			rows[name] = append(rows[name], row)
		}
	}
	for _, name := range names {
		var rates, ratios []float64
		var p50, p99 []time.Duration
		for _, row := range rows[name] {
			rates, ratios, p50, p99 = append(rates, row.Rate), append(ratios, row.Ratio), append(p50, row.P50), append(p99, row.P99)
		}
		out.Loads = append(out.Loads, &loadRow{
			Name: name, Rate: middle(rates), P50: middle(p50), P99: middle(p99), Ratio: middle(ratios), Least: slices.Min(ratios), Others: rows[name][0].Others,
		})
	}
	return nil
}

// drive has many goroutines call: one call after the other, or at that rate in all, whatever the answers take.
func (r scaleRun) drive(ctx context.Context, g *ground, call func(*ground) func(context.Context) error, rate float64) (*loadRow, error) {
	var (
		group   sync.WaitGroup
		errs    [loaders]error
		times   [loaders][]time.Duration
		began   = time.Now()
		until   = began.Add(r.loadTime)
		arrival = func() time.Duration { return time.Duration(rand.ExpFloat64() * loaders / rate * float64(time.Second)) }
	)
	for i := range loaders {
		group.Go(func() {
			next := began
			for {
				start := time.Now()
				if rate > 0 {
					// A caller who has to wait for the one before counts that; when the timer is late, that does not count.
					if next = next.Add(arrival()); next.Before(start) {
						start = next
					} else {
						time.Sleep(next.Sub(start))
						start = time.Now()
					}
				}
				if !start.Before(until) || ctx.Err() != nil {
					return
				}
				if err := call(g)(ctx); err != nil {
					errs[i] = err
					return
				}
				times[i] = append(times[i], time.Since(start))
			}
		})
	}
	group.Wait()
	took := time.Since(began)
	var all []time.Duration
	for i := range times {
		all = append(all, times[i]...)
	}
	if err := errors.Join(errs[:]...); err != nil || len(all) == 0 {
		return nil, errors.Join(err, ctx.Err())
	}
	p50 := middle(all)
	row := &loadRow{Rate: float64(len(all)) / took.Seconds(), P50: p50, P99: all[len(all)*99/100]}
	row.Ratio = float64(row.P99) / float64(row.P50)
	return row, nil
}

// beside is drive while a purge and an import run.
func (r scaleRun) beside(ctx context.Context, g *ground, call func(*ground) func(context.Context) error, rate float64) (row *loadRow, err error) {
	if err := g.insertExpired(ctx, series{1, r.loadRows}); err != nil {
		return nil, err
	}
	var (
		group            sync.WaitGroup
		purged, imported int
		purgeErr, impErr error
		over, stop       = context.WithCancel(ctx)
	)
	defer stop()
	group.Go(func() {
		report, err := g.store.PurgeExpired(over, models.PurgeOptions{})
		if purged = report.Tokens; !errors.Is(err, context.Canceled) {
			purgeErr = err
		}
	})
	group.Go(func() {
		report, err := g.store.ImportUsers(over, newPeople(over), models.ImportOptions{})
		if imported = report.Imported; !errors.Is(err, context.Canceled) {
			impErr = err
		}
	})
	row, err = r.drive(ctx, g, call, rate)
	stop()
	group.Wait()
	if err := errors.Join(err, purgeErr, impErr); err != nil {
		return nil, err
	}
	row.Others = fmt.Sprintf("%d tokens purged, %d accounts imported", purged, imported)
	// What is left is purged before the next one, so that each has the same.
	_, err = g.store.PurgeExpired(ctx, models.PurgeOptions{Pause: -1})
	return row, err
}

// people is a file of accounts that goes on until the context ends.
type people struct {
	ctx  context.Context //nolint:containedctx // An io.Reader has none.
	text string
}

var person atomic.Int64

func newPeople(ctx context.Context) io.Reader { return &people{ctx, "email,name,bio\n"} }

func (p *people) Read(to []byte) (int, error) {
	if p.text == "" {
		if p.ctx.Err() != nil {
			return 0, io.EOF
		}
		n := person.Add(1)
		p.text = fmt.Sprintf("import.%08x.%d@example.org,Zoë Ångström %d,\"Reads papers, and writes some.\"\n", mix(int(n)), n, n)
	}
	n := copy(to, p.text)
	p.text = p.text[n:]
	return n, nil
}
