package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
)

// entry is a contender that takes part.
type entry struct {
	contender
	name     string
	open     func(ctx context.Context, t target) (contender, error)
	as       func(ctx context.Context, anonymous bool) context.Context // who asks; nil for whom it does not matter
	postgres bool                                                      // it knows PostgreSQL alone
}

const rawName = "raw"

func contenders() []*entry {
	return []*entry{
		{name: rawName, open: newRaw},
		{name: "pgx", open: newPgx, postgres: true},
		{name: "ent", open: newStock},
		{name: "GORM", open: newGORM(false)},
		{name: "GORM, prepared", open: newGORM(true)},
		{name: "bun", open: newBun},
		{name: "this, client", open: newClient, as: asSystem},
		{name: "this", open: newMethods, as: asSystemOrAnybody},
	}
}

func asSystem(ctx context.Context, _ bool) context.Context {
	return models.AsSystem(ctx, "benchmark")
}

func asSystemOrAnybody(ctx context.Context, anonymous bool) context.Context {
	if anonymous {
		return models.AsAnonymous(ctx)
	}
	return asSystem(ctx, false)
}

// signedIn is this module when the first user asks.
func signedIn() []*entry {
	as := func(ctx context.Context, _ bool) context.Context { return models.AsUser(ctx, &ent.User{ID: 1}) }
	return []*entry{
		{name: rawName, open: newRaw},
		{name: "this, client", open: newClient, as: as},
		{name: "this", open: newMethods, as: as},
	}
}

// errNotOffered is the answer of a contender that does not have the operation.
var errNotOffered = errors.New("not offered")

// table is what was measured of some operations.
type table struct {
	Title      string
	Operations []operation
	Contenders []string
	Cells      [][]cell // by contender and operation
}

// cell is a contender at an operation. It is zero where it does not have that.
type cell struct {
	Ratio  float64 // the median of the time by raw's in the same round
	Spread float64 // half of what lies between the highest and the lowest ratio, by the median
	Time   time.Duration
	Allocs float64
}

// trials measures on one database.
type trials struct {
	*database
	rounds   int
	slice    time.Duration
	progress func(format string, args ...any)
}

// measure opens the contenders, compares their answers, and takes the time.
func (r *trials) measure(ctx context.Context, title string, t target, entries []*entry, ops []operation, trial, measured *keys) (out *table, err error) {
	if len(ops) == 0 {
		return nil, nil //nolint:nilnil // Nothing was selected.
	}
	entries = slices.DeleteFunc(entries, func(e *entry) bool { return e.postgres && !t.postgres })
	defer func() {
		for _, e := range entries {
			if e.contender != nil {
				err = errors.Join(err, e.Close())
			}
		}
	}()
	for _, e := range entries {
		opened, err := e.open(ctx, t)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.name, err)
		}
		e.contender = opened
	}
	for _, op := range ops {
		if err := r.compare(ctx, entries, op, trial); err != nil {
			return nil, err
		}
	}
	out = &table{Title: title, Operations: ops, Cells: make([][]cell, len(entries))}
	for i, e := range entries {
		out.Contenders = append(out.Contenders, e.name)
		out.Cells[i] = make([]cell, len(ops))
	}
	for column, op := range ops {
		r.progress("%s: %s", title, op.Name)
		cells, err := r.column(ctx, entries, op, measured)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", op.Name, err)
		}
		for i, c := range cells {
			out.Cells[i][column] = c
		}
	}
	return out, nil
}

// compare has each contender answer, and answers an error where one of them differs from raw.
func (r *trials) compare(ctx context.Context, entries []*entry, op operation, k *keys) error {
	calls := max(len(k.hits), len(k.misses), len(k.claims), len(k.ids), len(k.places))
	if op.inserts {
		calls = 1
	}
	for i := range calls {
		var first string
		for _, e := range entries {
			answer, err := r.answer(ctx, e, op, k, i)
			switch {
			case errors.Is(err, errNotOffered):
			case err != nil:
				return fmt.Errorf("%s, %s: %w", e.name, op.Name, err)
			case e == entries[0]:
				first = answer
			case answer != first:
				return fmt.Errorf("%s, %s, call %d: the answer differs\n%s: %s\nraw: %s", e.name, op.Name, i, e.name, answer, first)
			}
		}
	}
	return nil
}

func (r *trials) answer(ctx context.Context, e *entry, op operation, k *keys, i int) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if op.writes && !op.inserts { // so that the login of the contender before does not stand there
		if err := r.forgetLogin(ctx, at(k.ids, i)); err != nil {
			return "", err
		}
	}
	answer, err := op.call(e.asking(ctx, op), e.contender, k, i)
	if err != nil || !op.writes {
		return canonical(answer), err
	}
	stored, err := r.written(ctx, op, answer, at(k.ids, i))
	return stored, errors.Join(err, r.undo(ctx))
}

// written renders what a contender has written, without what differs from call to call: the new ids, the
// random public ids, the times. Those it only looks at.
func (r *trials) written(ctx context.Context, op operation, answer any, id int) (string, error) {
	if done, ok := answer.(bool); ok { // a login
		users, err := selectAll(ctx, r.DB, scanUser, "SELECT "+userColumns+" FROM users WHERE id = $1", id)
		logins := each(users, func(u *User) string {
			return fmt.Sprintf("%s, touched now %t", instant(u.LastLoginAt), time.Since(u.UpdatedAt).Abs() < time.Minute)
		})
		return fmt.Sprint(done, logins), err
	}
	files, err := selectAll(ctx, r.DB, scanFile, "SELECT "+fileColumns+" FROM files WHERE id > $1 ORDER BY id", r.lastFile)
	if err != nil {
		return "", err
	}
	users, err := selectAll(ctx, r.DB, scanUser, "SELECT "+userColumns+" FROM users WHERE id > $1 ORDER BY id", r.lastUser)
	if err != nil {
		return "", err
	}
	var audited int
	if err := r.QueryRowContext(ctx, "SELECT count(*) FROM audit_logs WHERE id > $1 AND action = 'create'", r.lastAudit).Scan(&audited); err != nil {
		return "", err
	}
	var b strings.Builder
	if op.audited {
		fmt.Fprintf(&b, "%d on record\n", audited)
	}
	for _, f := range files {
		fmt.Fprintf(&b, "%q %q %d of %d, %s\n", f.Filename, f.ContentType, f.Size, f.UserID, made(f.CreatedAt, f.UpdatedAt, f.PublicID))
	}
	for _, u := range users {
		fmt.Fprintf(&b, "%q %s %t %t %t, %s\n", u.Email, optional(u.Name), u.IsActive, u.IsAdmin, u.IsDeleted, made(u.CreatedAt, u.UpdatedAt, u.PublicID))
	}
	if id, ok := answer.(int); ok && (len(files) == 0 || files[len(files)-1].ID != id) {
		fmt.Fprintf(&b, "which did not get the id %d", id)
	}
	return b.String(), nil
}

// made says whether a row is as a new one is.
func made(createdAt, updatedAt time.Time, publicID uuid.UUID) string {
	fresh := time.Since(createdAt).Abs() < time.Minute && updatedAt.Sub(createdAt).Abs() < time.Second
	return fmt.Sprintf("made now %t, random %t", fresh, publicID.Version() == 4)
}

// asking is the context of an operation, less its cancelling.
func (e *entry) asking(ctx context.Context, op operation) context.Context {
	if e.as == nil {
		return ctx
	}
	return e.as(ctx, op.anonymous)
}

// column measures an operation: in each round, every contender in a new order.
func (r *trials) column(ctx context.Context, entries []*entry, op operation, k *keys) ([]cell, error) {
	calls, times, allocs := make([]int, len(entries)), make([][]float64, len(entries)), make([]float64, len(entries))
	for i, e := range entries {
		n, err := r.calibrate(ctx, e, op, k)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.name, err)
		}
		calls[i] = n
	}
	for range r.rounds {
		for _, i := range rand.Perm(len(entries)) {
			if calls[i] == 0 {
				continue
			}
			took, allocated, err := r.run(ctx, entries[i], op, k, calls[i])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", entries[i].name, err)
			}
			times[i], allocs[i] = append(times[i], took), allocated
		}
	}
	cells := make([]cell, len(entries))
	for i := range entries {
		if calls[i] == 0 {
			continue
		}
		ratios := make([]float64, r.rounds)
		for round := range ratios {
			ratios[round] = times[i][round] / times[0][round]
		}
		cells[i] = cell{Ratio: median(ratios), Time: time.Duration(median(times[i])), Allocs: allocs[i]}
		cells[i].Spread = (slices.Max(ratios) - slices.Min(ratios)) / 2 / cells[i].Ratio
	}
	return cells, nil
}

// calibrate finds how many calls take about a slice, and 0 for a contender that does not have the operation.
func (r *trials) calibrate(ctx context.Context, e *entry, op operation, k *keys) (int, error) {
	for n := 1; ; n *= 4 {
		took, _, err := r.run(ctx, e, op, k, n)
		if errors.Is(err, errNotOffered) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		if n > 1 && took*float64(n) > float64(r.slice)/5 || took > float64(r.slice) {
			return max(1, int(float64(r.slice)/took)), nil
		}
	}
}

// run makes n calls, and answers the nanoseconds and the allocations of one. A request of a service has a
// context that can be cancelled, so these calls have.
func (r *trials) run(ctx context.Context, e *entry, op operation, k *keys, n int) (took, allocs float64, err error) {
	request, cancel := context.WithCancel(e.asking(ctx, op))
	defer cancel()
	var (
		elapsed time.Duration
		mallocs uint64
		i       int
	)
	runtime.GC()
	for i < n {
		turn := n
		if op.bulk {
			turn = 1
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		for range turn {
			if _, err := op.call(request, e.contender, k, i); err != nil {
				return 0, 0, err
			}
			i++
		}
		elapsed += time.Since(start)
		runtime.ReadMemStats(&after)
		mallocs += after.Mallocs - before.Mallocs
		if op.inserts {
			if err := r.undo(ctx); err != nil {
				return 0, 0, err
			}
		}
	}
	if op.writes {
		err = r.settle(ctx)
	}
	return float64(elapsed.Nanoseconds()) / float64(n), float64(mallocs) / float64(n), err
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// all measures every table of a database: its reads, its writes, and a few as a signed-in person. SQLite's
// writes are measured both ways to wait for the disk.
func (r *trials) all(ctx context.Context, name string, targets map[string]target, which func(func(operation) bool) []operation) ([]*table, error) {
	places, err := r.places(ctx)
	if err != nil {
		return nil, err
	}
	trial, measured := r.trial(places), r.measured(places)
	reads := which(func(op operation) bool { return !op.writes })
	writes := which(func(op operation) bool { return op.writes })
	own := which(func(op operation) bool {
		return slices.Contains([]string{"by id", "page of 20", "insert one"}, op.Name)
	})
	steps := []struct {
		title, setting string
		entries        []*entry
		ops            []operation
		trial, keys    *keys
	}{
		{"reads", "", contenders(), reads, trial, measured},
		{"writes", "", contenders(), writes, trial, measured},
		{"writes, synchronous=NORMAL", "NORMAL", contenders(), writes, trial, measured},
		{"as a signed-in person", "", signedIn(), own, r.owned(trial), r.owned(measured)},
	}
	var out []*table
	for _, step := range steps {
		t, ok := targets[step.setting]
		if !ok {
			continue
		}
		title := name + ", " + step.title
		if len(targets) > 1 && step.title == "writes" {
			title += ", synchronous=FULL"
		}
		got, err := r.measure(ctx, title, t, step.entries, step.ops, step.trial, step.keys)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", title, err)
		}
		if got != nil {
			out = append(out, got)
		}
	}
	return out, nil
}
