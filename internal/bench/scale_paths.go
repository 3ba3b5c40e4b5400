package main

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/reviewpoint/models"
)

// path is a method that services call with each request.
type path struct {
	name   string
	writes bool
	// call makes a call with keys of its own, by chance.
	call func(g *ground) func(ctx context.Context) error
}

var errAnswer = errors.New("the answer is not what was written")

// answered is an error where an answer is wrong.
func answered(right bool, err error) error {
	if err == nil && !right {
		err = errAnswer
	}
	return err
}

func (g *ground) someone() int { return 1 + rand.IntN(g.users) }

func revoked(of string, want bool) func(g *ground) func(ctx context.Context) error {
	return func(g *ground) func(ctx context.Context) error {
		jti := identifier(of, 1+rand.IntN(g.rows))
		return func(ctx context.Context) error {
			is, err := g.store.TokenRevoked(ctx, jti)
			return answered(is == want, err)
		}
	}
}

func checkOne(g *ground) func(ctx context.Context) error {
	claims := models.Claims{ID: identifier(noVariant, 1+rand.IntN(g.rows)), UserID: g.someone(), IssuedAt: epoch.AddDate(0, 6, 0), ExpiresAt: epoch.AddDate(100, 0, 0)}
	return func(ctx context.Context) error { return g.store.CheckToken(ctx, claims) }
}

func byID(g *ground) func(ctx context.Context) error {
	id := g.someone()
	return func(ctx context.Context) error {
		u, err := g.store.UserByID(ctx, id)
		return answered(err == nil && u.ID == id, err)
	}
}

// files reads a page of a list; an i that is not 0 must be the id of the first file.
func (g *ground) files(owner int, cursor string, i int) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		page, err := g.store.ListFiles(ctx, models.FileFilter{UserID: owner}, models.PageRequest{After: cursor})
		return answered(err == nil && len(page.Items) == models.DefaultPageLimit && (i == 0 || page.Items[0].ID == i), err)
	}
}

func firstPage(g *ground) func(ctx context.Context) error { return g.files(g.someone(), "", 0) }

// deepPage is somewhere in the list of the first account, who has each tenth file.
func deepPage(g *ground) func(ctx context.Context) error {
	i := 10 * (30 + rand.IntN(g.rows/10-30))
	return g.files(1, cursorAt("files user_id=1 by created_at desc", epoch.Add(time.Duration(i)*time.Second).UnixMicro(), i), i-10)
}

func deepOfAll(g *ground) func(ctx context.Context) error {
	i := 30 + rand.IntN(g.rows-30)
	return g.files(0, cursorAt("files by id desc", 0, i), i-1)
}

// cursorAt is that of a page that ends with a file, without turning all the pages up to it.
func cursorAt(list string, at int64, id int) string {
	raw := []byte{1}
	raw = binary.BigEndian.AppendUint64(raw, uint64(at)) //nolint:gosec // as the store does
	raw = binary.BigEndian.AppendUint64(raw, uint64(id)) //nolint:gosec // as the store does
	check := fnv.New64a()
	_, _ = check.Write(raw)
	_, _ = check.Write([]byte(list))
	return base64.RawURLEncoding.EncodeToString(check.Sum(raw))
}

var hotPaths = []path{
	{name: "TokenRevoked, hit", call: revoked(revokedVariant, true)},
	{name: "TokenRevoked, miss", call: revoked(noVariant, false)},
	{name: "CheckToken", call: checkOne},
	{name: "UserByEmail", call: func(g *ground) func(ctx context.Context) error {
		id := g.someone()
		email := address(id)
		return func(ctx context.Context) error {
			u, err := g.store.UserByEmail(ctx, email)
			return answered(err == nil && u.ID == id, err)
		}
	}},
	{name: "UserByID", call: byID},
	{name: "ListFiles, first page", call: firstPage},
	{name: "ListFiles, deep in one user's", call: deepPage},
	{name: "ListFiles, deep in all", call: deepOfAll},
	{name: "RecordLogin", writes: true, call: func(g *ground) func(ctx context.Context) error {
		id := g.someone()
		return func(ctx context.Context) error { return g.store.RecordLogin(ctx, id, time.Now()) }
	}},
	{name: "CreateFiles of one", writes: true, call: func(g *ground) func(ctx context.Context) error {
		id, file := g.someone(), []models.NewFile{{Filename: "Übersicht.pdf", ContentType: "application/pdf", Size: 1}}
		return func(ctx context.Context) error {
			made, err := g.store.CreateFiles(ctx, id, file)
			return answered(len(made) == 1, err)
		}
	}},
	{name: "RevokeToken", writes: true, call: func(g *ground) func(ctx context.Context) error {
		jti, later := fmt.Sprintf("%08x-%016x", rand.Uint32(), rand.Uint64()), time.Now().Add(time.Hour)
		return func(ctx context.Context) error { return g.store.RevokeToken(ctx, jti, later) }
	}},
}

// pathRow is a method on databases of all sizes.
type pathRow struct {
	Name   string
	Times  []time.Duration // of a call, by size
	Ratios []float64       // to the smallest
	Reads  []float64       // pages of a call
}

// callsAtOnce are timed together.
const callsAtOnce = 8

// warm is how many calls are not timed.
const warm = 40

// paths keeps all databases side by side, and goes over them in another order in each round.
func (r scaleRun) paths(ctx context.Context, out *scaleSection) (err error) {
	ctx, cancel := context.WithCancel(models.AsSystem(ctx, "benchmark")) // as the contexts of requests are
	defer cancel()
	out.Sizes = r.sizes()
	grounds := make([]*ground, len(out.Sizes))
	for i, rows := range out.Sizes {
		if grounds[i], err = r.filled(ctx, rows); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, grounds[i].Close()) }() //nolint:gocritic // They are few, and all in use to the end.
	}
	for _, p := range hotPaths {
		r.progress("%s", p.name)
		for _, g := range grounds {
			if err := g.recall(ctx); err != nil {
				return err
			}
		}
		times, ratios := make([][]time.Duration, len(grounds)), make([][]float64, len(grounds))
		for range r.rounds {
			round := make([]time.Duration, len(grounds))
			for _, i := range rand.Perm(len(grounds)) {
				if round[i], err = r.timeOf(ctx, p, grounds[i]); err != nil {
					return fmt.Errorf("%s with %d rows: %w", p.name, grounds[i].rows, err)
				}
			}
			for i, t := range round {
				times[i], ratios[i] = append(times[i], t), append(ratios[i], float64(t)/float64(round[0]))
			}
		}
		row := &pathRow{Name: p.name}
		for i, g := range grounds {
			reads, err := g.pagesOf(ctx, p)
			if err != nil {
				return fmt.Errorf("%s with %d rows: %w", p.name, g.rows, err)
			}
			row.Times, row.Ratios, row.Reads = append(row.Times, middle(times[i])), append(row.Ratios, middle(ratios[i])), append(row.Reads, reads)
		}
		out.Paths = append(out.Paths, row)
	}
	return nil
}

// recall brings the whole database back to the memory of the machine, from which it may have gone while others
// were measured. With PostgreSQL it needs the extension pg_prewarm, and does nothing without it.
func (g *ground) recall(ctx context.Context) (err error) {
	if g.postgres {
		var blocks sql.NullInt64
		err := g.pool.QueryRowContext(ctx, "SELECT count(*) FROM pg_extension WHERE extname = 'pg_prewarm'").Scan(&blocks)
		if err != nil || blocks.Int64 == 0 {
			return err
		}
		return g.pool.QueryRowContext(ctx, `SELECT sum(pg_prewarm(oid::regclass, 'read'))::bigint FROM pg_class
WHERE relkind IN ('r', 'i') AND relnamespace = 'public'::regnamespace AND pg_relation_size(oid) > 0`).Scan(&blocks)
	}
	f, err := os.Open(g.path())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.Copy(io.Discard, f)
	return err
}

// timeOf is the median time of a call. Of writes it is the mean: some of them bring the database to do what
// all of them have left.
func (r scaleRun) timeOf(ctx context.Context, p path, g *ground) (time.Duration, error) {
	for range warm {
		if err := p.call(g)(ctx); err != nil {
			return 0, err
		}
	}
	var (
		times []time.Duration
		sum   time.Duration
		calls [callsAtOnce]func(context.Context) error
	)
	for (p.writes && len(times)*callsAtOnce < r.writes) || (!p.writes && sum < r.slice) {
		for i := range calls {
			calls[i] = p.call(g)
		}
		began := time.Now()
		for _, call := range calls {
			if err := call(ctx); err != nil {
				return 0, err
			}
		}
		took := time.Since(began)
		times, sum = append(times, took/callsAtOnce), sum+took
	}
	if p.writes {
		return sum / time.Duration(len(times)*callsAtOnce), nil
	}
	return middle(times), nil
}

// countedCalls are made to count what they read.
const countedCalls = 400

// pagesOf is how many pages a call reads: with PostgreSQL those of its tables and indexes, wherever they
// were found; with SQLite those that it had to ask the system for, where the system tells, and else -1.
func (g *ground) pagesOf(ctx context.Context, p path) (pages float64, err error) {
	store, err := models.Open(ctx, g.url, models.WithMaxConns(1))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	alone := *g
	alone.store = store
	for range warm {
		if err := p.call(&alone)(ctx); err != nil {
			return 0, err
		}
	}
	before, err := g.pagesRead(ctx, store)
	if err != nil || before < 0 {
		return -1, err
	}
	for range countedCalls {
		if err := p.call(&alone)(ctx); err != nil {
			return 0, err
		}
	}
	after, err := g.pagesRead(ctx, store)
	return float64(after-before) / countedCalls, err
}

// pagesRead counts the pages up to now.
func (g *ground) pagesRead(ctx context.Context, store *models.Store) (n int, err error) {
	if !g.postgres {
		return readsOfProcess(), nil
	}
	// A connection tells the server of its reads once a second, or when it is asked to; that is the next statement.
	for _, query := range []string{
		"SELECT 1 FROM (SELECT pg_stat_force_next_flush()) AS flush", "SELECT 1",
		"SELECT sum(heap_blks_hit + heap_blks_read + coalesce(idx_blks_hit + idx_blks_read, 0))::bigint FROM pg_statio_user_tables",
	} {
		rows, err := store.QueryContext(ctx, query)
		if err != nil {
			return 0, err
		}
		for rows.Next() {
			err = rows.Scan(&n)
		}
		if err := errors.Join(err, rows.Close(), rows.Err()); err != nil { //nolint:sqlclosecheck // There is another one in each turn.
			return 0, err
		}
	}
	return n, nil
}

// readsOfProcess is how many system calls of this process have read something, or -1 where Linux does not tell.
func readsOfProcess() int {
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return -1
	}
	n := -1
	for line := range strings.Lines(string(text)) {
		if count, found := strings.CutPrefix(line, "syscr: "); found {
			if _, err := fmt.Sscan(count, &n); err != nil {
				return -1
			}
		}
	}
	return n
}
