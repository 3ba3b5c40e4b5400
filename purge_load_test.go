package models_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
)

// purgeAll is what the purges below are asked for.
var purgeAll = models.PurgeOptions{Resets: oneDay, AuditLogs: oneDay, DeletedUsers: oneDay}

const oneDay = 24 * time.Hour

// purgeRounds is a worker. It purges twice at once with each order, and answers with the reports.
func purgeRounds(t *testing.T, s *models.Store, orders *json.Decoder) error {
	t.Helper()
	for {
		if err := orders.Decode(new(string)); err != nil {
			return err
		}
		reply(t, purgeTogether(t, s, 2))
	}
}

// purgeTogether purges several times at once, and returns the reports.
func purgeTogether(t *testing.T, s *models.Store, purgers int) []models.PurgeReport {
	t.Helper()
	ctx := models.AsSystem(t.Context(), "purge")
	reports, calls := make([]models.PurgeReport, purgers), make([]func() error, purgers)
	for i := range calls {
		calls[i] = func() error {
			report, err := s.PurgeExpired(ctx, purgeAll)
			reports[i] = *report
			return err
		}
	}
	check(t, errors.Join(atOnce(calls...)...))
	return reports
}

func sumOf(reports ...models.PurgeReport) (sum models.PurgeReport) {
	for _, r := range reports {
		sum.Tokens += r.Tokens
		sum.Resets += r.Resets
		sum.AuditLogs += r.AuditLogs
		sum.Users += r.Users
		sum.Files += r.Files
	}
	return sum
}

// rowCounts counts what there is of each kind.
func rowCounts(t *testing.T, ctx context.Context, s *models.Store) models.PurgeReport {
	t.Helper()
	n := func(table string) int { return column[int](t, ctx, s, "SELECT count(*) FROM "+table)[0] }
	return models.PurgeReport{
		Tokens: n("blacklisted_tokens"), Resets: n("used_password_reset_tokens"), AuditLogs: n("audit_logs"), Users: n("users"), Files: n("files"),
	}
}

// buryUsers makes accounts with a file each that were deleted at that time.
func buryUsers(t *testing.T, ctx context.Context, s *models.Store, n int, at time.Time) {
	t.Helper()
	people := make([]*ent.UserCreate, n)
	for i := range people {
		people[i] = newUser(s).SetIsDeleted(true).SetDeletedAt(at)
	}
	files := make([]*ent.FileCreate, n)
	for i, u := range must(s.User.CreateBulk(people...).Save(ctx))(t) {
		files[i] = newFile(s, u)
	}
	check(t, s.File.CreateBulk(files...).Exec(ctx))
}

// TestPurgeExpired_ManyAtOnce lets goroutines and processes purge the same rows. Each is removed once, and
// what is to be kept is.
func TestPurgeExpired_ManyAtOnce(t *testing.T) {
	t.Parallel()
	processes, n, dead := 2, 4000, 400
	if isLong() {
		processes, n, dead = 4, 100_000, 1000
	}
	eachURL(t, func(t *testing.T, url string) {
		ctx, s := models.AsSystem(t.Context(), "test"), open(t, url)
		must(s.Migrate(ctx))(t)
		now := time.Now()
		f := rowFiller{s, t, ctx}
		// To be kept:
		f.tokens(500, "live ", now.Add(time.Minute))
		check(t, newToken(s, "expired just now", now.Add(-4*time.Minute)).Exec(ctx))
		f.resets(100, now.Add(-oneDay).Add(time.Hour))
		check(t, newUser(s).Exec(ctx))
		buryUsers(t, ctx, s, 50, now.Add(-oneDay).Add(time.Hour))
		f.auditLogs(100, now.Add(-oneDay).Add(time.Hour))
		kept := rowCounts(t, ctx, s)
		// To be removed:
		f.tokens(n, "expired ", now.Add(-2*time.Hour))
		f.insert(n/2, "used_password_reset_tokens (email, nonce, used_at)", "'old@example.org', "+f.text("old ")+", "+f.seconds("i % 3600"), now.Add(-oneDay-2*time.Hour))
		f.auditLogs(n/2, now.Add(-oneDay-2*time.Hour))
		trail := rowCounts(t, ctx, s).AuditLogs
		buryUsers(t, ctx, s, dead, now.Add(-oneDay-time.Minute))
		kept.AuditLogs += rowCounts(t, ctx, s).AuditLogs - trail // the creation of those accounts

		workers := startWorkers(t, processes, "purge", url)
		for _, w := range workers {
			w.tell(t, "go")
		}
		sum := sumOf(purgeTogether(t, s, 4)...)
		for _, w := range workers {
			var reports []models.PurgeReport
			w.hear(t, &reports)
			sum = sumOf(append(reports, sum)...)
			w.end(t)
		}
		if want := (models.PurgeReport{Tokens: n, Resets: n / 2, AuditLogs: n / 2, Users: dead, Files: dead}); sum != want {
			t.Errorf("the reports add up to %+v, want %+v", sum, want)
		}
		kept.AuditLogs += 2 * dead // the purge of those accounts and files
		if left := rowCounts(t, ctx, s); left != kept {
			t.Errorf("%+v are left, want %+v", left, kept)
		}
		for i := range 500 {
			if !must(s.TokenRevoked(ctx, textOf("live ", i+1)))(t) {
				t.Errorf("%s is gone", textOf("live ", i+1))
			}
		}
	})
}

// TestPurgeExpired_Bounds purges what is a microsecond older than it must be, and leaves what is as old as
// it may be.
func TestPurgeExpired_Bounds(t *testing.T) {
	t.Parallel()
	eachClock(t, someDay, func(t *testing.T, ctx context.Context, s *models.Store, _ *fakeClock) {
		for name, tt := range map[string]struct{ asked, least time.Duration }{
			"default": {0, 5 * time.Minute}, "less": {time.Minute, 5 * time.Minute}, "more": {time.Hour, time.Hour},
		} {
			cut := someDay.Truncate(time.Microsecond).Add(-tt.least)
			check(t, newToken(s, name+" kept", cut).Exec(ctx))
			check(t, newToken(s, name+" removed", cut.Add(-time.Microsecond)).Exec(ctx))
			check(t, newReset(s, "ada@example.org", name+" kept").SetUsedAt(cut).Exec(ctx))
			check(t, newReset(s, "ada@example.org", name+" removed").SetUsedAt(cut.Add(-time.Microsecond)).Exec(ctx))
			report := must(s.PurgeExpired(ctx, models.PurgeOptions{Tokens: tt.asked, Resets: tt.least}))(t)
			if report.Tokens != 1 || report.Resets != 1 {
				t.Errorf("%s: %+v is reported, want one token and one reset", name, *report)
			}
			left := column[string](t, ctx, s, "SELECT jti FROM blacklisted_tokens UNION ALL SELECT nonce FROM used_password_reset_tokens")
			if !slices.Equal(left, []string{name + " kept", name + " kept"}) {
				t.Errorf("%s: %q are left", name, left)
			}
			must(s.ExecContext(ctx, "DELETE FROM blacklisted_tokens"))(t)
			must(s.ExecContext(ctx, "DELETE FROM used_password_reset_tokens"))(t)
		}
	})
}

// TestPurgeExpired_Reports counts without removing, tells of its progress, and is undone with the
// transaction that it runs in.
func TestPurgeExpired_Reports(t *testing.T) {
	t.Parallel()
	eachCheap(t, someDay, func(t *testing.T, ctx context.Context, s *models.Store, _ *fakeClock) {
		f := rowFiller{s, t, ctx}
		f.tokens(2500, "expired ", someDay.Add(-2*time.Hour))
		f.tokens(10, "live ", someDay)
		f.resets(1000, someDay.Add(-2*oneDay))
		f.auditLogs(10, someDay.Add(-2*oneDay))
		buryUsers(t, ctx, s, 150, someDay.Add(-2*oneDay))
		before := rowCounts(t, ctx, s)
		want := models.PurgeReport{Tokens: 2500, Resets: 1000, AuditLogs: 10, Users: 150, Files: 150}
		options := purgeAll
		options.DryRun = true
		if report := must(s.PurgeExpired(ctx, options))(t); *report != want {
			t.Errorf("the dry run reports %+v, want %+v", *report, want)
		}
		if left := rowCounts(t, ctx, s); left != before {
			t.Errorf("the dry run leaves %+v of %+v", left, before)
		}
		var seen []models.PurgeReport
		options = purgeAll
		options.Progress = func(r models.PurgeReport) { seen = append(seen, r) }
		err := s.InTx(ctx, func(ctx context.Context) error {
			if report := must(s.PurgeExpired(ctx, options))(t); *report != want {
				t.Errorf("in a transaction %+v is reported, want %+v", *report, want)
			}
			return errOnPurpose
		})
		if left := rowCounts(t, ctx, s); !errors.Is(err, errOnPurpose) || left != before {
			t.Errorf("%v: a transaction that was rolled back leaves %+v of %+v", err, left, before)
		}
		inTx := seen
		seen = nil
		if report := must(s.PurgeExpired(ctx, options))(t); *report != want {
			t.Errorf("%+v is reported, want %+v", *report, want)
		}
		steps := []models.PurgeReport{
			{Tokens: 1000}, {Tokens: 2000}, {Tokens: 2500},
			{Tokens: 2500, Resets: 1000}, {Tokens: 2500, Resets: 1000}, // which is not known to be the last until there are no more
			{Tokens: 2500, Resets: 1000, AuditLogs: 10},
			{Tokens: 2500, Resets: 1000, AuditLogs: 10, Users: 100, Files: 100}, want,
		}
		if !slices.Equal(seen, steps) || !slices.Equal(inTx, steps) {
			t.Errorf("the progress was %+v, and in a transaction %+v, want %+v", seen, inTx, steps)
		}
		if again := must(s.PurgeExpired(ctx, purgeAll))(t); *again != (models.PurgeReport{}) {
			t.Errorf("the second purge reports %+v, want nothing", *again)
		}
	})
}

// TestPurgeExpired_Interrupted ends the context between two batches, and in the middle of some. The report
// says what was removed.
func TestPurgeExpired_Interrupted(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		f, n := rowFiller{s, t, ctx}, 12_000
		f.tokens(n, "expired ", time.Now().Add(-2*time.Hour))
		left := func() int { return rowCounts(t, ctx, s).Tokens }
		for _, batches := range []int{1, 3} {
			short, cancel := context.WithCancel(ctx)
			options, seen := models.PurgeOptions{Pause: -1}, 0
			if batches == 1 {
				options.Pause = time.Hour // which ends with the context
			}
			options.Progress = func(models.PurgeReport) {
				if seen++; seen == batches {
					cancel()
				}
			}
			report, err := s.PurgeExpired(short, options)
			n -= batches * 1000
			if !errors.Is(err, context.Canceled) || report.Tokens != batches*1000 || left() != n {
				t.Errorf("%v: %+v is reported, and %d are left; want %d removed and %d left", err, *report, left(), batches*1000, n)
			}
		}
		for round := range rounds() {
			f.tokens(4000, fmt.Sprintf("round %d ", round), time.Now().Add(-2*time.Hour))
			short, cancel := context.WithCancel(ctx)
			ended := make(chan struct{})
			go func() { // at some moment of a batch
				defer close(ended)
				for range rand.N(1 << 20) {
					_ = short.Err()
				}
				cancel()
			}()
			before := left()
			report, err := s.PurgeExpired(short, models.PurgeOptions{Pause: -1})
			<-ended
			if removed := before - left(); removed != report.Tokens || err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("%v: %+v is reported, and %d were removed", err, *report, removed)
			}
		}
	})
}

// TestPurgeExpired_BesideRevocations lengthens the life of tokens that a purge is about to take. What
// RevokeToken has acknowledged is there.
func TestPurgeExpired_BesideRevocations(t *testing.T) {
	t.Parallel()
	n := 3000
	if isLong() {
		n = 50_000
	}
	eachURL(t, func(t *testing.T, url string) {
		if strings.HasPrefix(url, "sqlite") {
			url += "?synchronous=off"
		}
		ctx, s := models.AsSystem(t.Context(), "test"), open(t, url)
		must(s.Migrate(ctx))(t)
		(rowFiller{s, t, ctx}).tokens(n, "expired ", time.Now().Add(-2*time.Hour))
		later := time.Now().Add(time.Hour)
		var (
			busy  atomic.Int32
			calls []func() error
		)
		for caller := range 4 {
			busy.Add(1)
			calls = append(calls, func() error {
				defer busy.Add(-1)
				for i := caller; i < n; i += 40 { // all over what is purged
					tokens := []models.Token{{ID: textOf("expired ", i+1), ExpiresAt: later}}
					for range rand.N(3) {
						tokens = append(tokens, models.Token{ID: textOf("expired ", (rand.N(n)/20*20+caller)%n+1), ExpiresAt: later})
					}
					if _, err := s.RevokeTokens(ctx, tokens); err != nil {
						return err
					}
					for _, token := range tokens {
						if revoked, err := s.TokenRevoked(ctx, token.ID); err != nil || !revoked {
							return fmt.Errorf("%s was revoked, and answers %t: %w", token.ID, revoked, err)
						}
					}
				}
				return nil
			})
		}
		var removed atomic.Int64
		for range 2 {
			calls = append(calls, func() error {
				for busy.Load() > 0 {
					report, err := s.PurgeExpired(ctx, models.PurgeOptions{Pause: time.Millisecond})
					if err != nil {
						return err
					}
					removed.Add(int64(report.Tokens))
				}
				return nil
			})
		}
		check(t, errors.Join(atOnce(calls...)...))
		removed.Add(int64(must(s.PurgeExpired(ctx, models.PurgeOptions{}))(t).Tokens))
		live := must(s.BlacklistedToken.Query().All(ctx))(t)
		there := make(map[string]bool)
		for _, row := range live {
			there[row.Jti] = true
			if row.ExpiresAt.Before(later.Truncate(time.Microsecond)) {
				t.Errorf("%s of %s is left", row.Jti, row.ExpiresAt)
			}
		}
		for caller := range 4 {
			for i := caller; i < n; i += 40 {
				if !there[textOf("expired ", i+1)] {
					t.Errorf("%s was revoked for longer, and is gone", textOf("expired ", i+1))
				}
			}
		}
		// A token that was removed before it was revoked again counts twice.
		if total := int(removed.Load()) + len(live); total < n || removed.Load() > int64(n) {
			t.Errorf("%d of %d tokens were removed, and %d are there", removed.Load(), n, len(live))
		}
	})
}

// TestPurgeExpired_RevokedMeanwhile lengthens the life of a token in a transaction that is open while a
// purge runs, and the other way round. The revocation holds, whoever comes first.
func TestPurgeExpired_RevokedMeanwhile(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		later := time.Now().Add(time.Hour)
		revoke := func(ctx context.Context, jti string) error { return s.RevokeToken(ctx, jti, later) }
		purge := func(ctx context.Context, _ string) error {
			_, err := s.PurgeExpired(ctx, models.PurgeOptions{})
			return err
		}
		for name, tt := range map[string]struct {
			first, second func(ctx context.Context, jti string) error
			end           error // of the transaction of the first
			want          bool
		}{
			"revoked":                    {revoke, purge, nil, true},
			"revoked, rolled back":       {revoke, purge, errOnPurpose, false},
			"purged":                     {purge, revoke, nil, true},
			"purged, rolled back":        {purge, revoke, errOnPurpose, true},
			"revoked by two":             {revoke, revoke, nil, true},
			"revoked by two, one undone": {revoke, revoke, errOnPurpose, true},
		} {
			check(t, newToken(s, name, time.Now().Add(-time.Hour)).Exec(ctx))
			second := make(chan error, 1)
			err := s.InTx(ctx, func(in context.Context) error {
				if err := tt.first(in, name); err != nil {
					return err
				}
				go func() { second <- tt.second(ctx, name) }()
				awaitLock(t, ctx, s, second)
				return tt.end
			})
			if !errors.Is(err, tt.end) {
				t.Errorf("%s: %v, want %v", name, err, tt.end)
			}
			check(t, <-second)
			if got := must(s.TokenRevoked(ctx, name))(t); got != tt.want {
				t.Errorf("%s: revoked is %t, want %t", name, got, tt.want)
			}
			check(t, purge(ctx, name))
			if n := must(s.BlacklistedToken.Query().Count(ctx))(t); n > 1 || (n == 1) != tt.want {
				t.Errorf("%s: %d tokens are left, want it there: %t", name, n, tt.want)
			}
			must(s.ExecContext(ctx, "DELETE FROM blacklisted_tokens"))(t)
		}
	})
}

// TestPurgeExpired_RestoredMeanwhile restores an account in a transaction that is open while a purge runs.
// It keeps its file.
func TestPurgeExpired_RestoredMeanwhile(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		buryUsers(t, ctx, s, 3, time.Now().Add(-2*oneDay))
		u := must(s.User.Query().First(models.IncludeDeleted(ctx)))(t)
		purged := make(chan error, 1)
		check(t, s.InTx(ctx, func(in context.Context) error {
			if err := s.RestoreUser(in, u.ID); err != nil {
				return err
			}
			go func() {
				_, err := s.PurgeExpired(ctx, purgeAll)
				purged <- err
			}()
			awaitLock(t, ctx, s, purged)
			return nil
		}))
		check(t, <-purged)
		if left := rowCounts(t, ctx, s); left.Users != 1 || left.Files != 1 || must(s.UserByID(ctx, u.ID))(t).Email != u.Email {
			t.Errorf("%d accounts and %d files are left, want the restored one with its file", left.Users, left.Files)
		}
	})
}

// tokenTraffic is what services ask while a purge runs: tokens that are good, and tokens that were revoked.
type tokenTraffic struct {
	store   *models.Store
	good    []models.Claims
	revoked []models.Claims
}

func newTokenTraffic(t *testing.T, ctx context.Context, s *models.Store, people, tokens int) *tokenTraffic {
	t.Helper()
	(rowFiller{s, t, ctx}).users(people, time.Now().Add(-time.Hour))
	(rowFiller{s, t, ctx}).tokens(tokens, "live ", time.Now().Add(time.Hour))
	w := &tokenTraffic{store: s}
	for _, u := range must(s.User.Query().All(ctx))(t) {
		w.good = append(w.good, s.NewClaims(u, time.Hour))
	}
	for i := range tokens {
		claims := w.good[i%len(w.good)]
		claims.ID = textOf("live ", i+1)
		w.revoked = append(w.revoked, claims)
	}
	return w
}

// ask checks n tokens, several at a time, and returns how long each took.
func (w *tokenTraffic) ask(t *testing.T, ctx context.Context, n int) []time.Duration {
	t.Helper()
	ctx = models.AsAnonymous(ctx)
	var (
		took  [2][]time.Duration
		calls []func() error
	)
	for i := range took {
		took[i] = make([]time.Duration, 0, n/len(took))
		calls = append(calls, func() error {
			for k := range n / len(took) {
				token, want := w.good[rand.N(len(w.good))], error(nil)
				if k%2 == 1 {
					token, want = w.revoked[rand.N(len(w.revoked))], models.ErrTokenRevoked
				}
				start := time.Now()
				err := w.store.CheckToken(ctx, token)
				took[i] = append(took[i], time.Since(start))
				if !errors.Is(err, want) {
					return fmt.Errorf("%s answers %w, want %w", token.ID, err, want)
				}
			}
			return nil
		})
	}
	check(t, errors.Join(atOnce(calls...)...))
	return slices.Concat(took[:]...)
}

// percentile sorts the times.
func percentile(times []time.Duration, p int) time.Duration {
	slices.Sort(times)
	return times[min(len(times)*p/100, len(times)-1)]
}

// TestPurgeExpired_BesideTraffic purges very many expired tokens while others ask for live ones, which all
// get the right answer. It tells how long they waited, with a purge beside them and without, in turns.
func TestPurgeExpired_BesideTraffic(t *testing.T) {
	t.Parallel()
	n, live, turns, asked := 20_000, 1000, 2, 500
	if isLong() {
		n, live, turns, asked = 1_000_000, 10_000, 8, 8000
	}
	eachURL(t, func(t *testing.T, url string) {
		ctx, s := models.AsSystem(t.Context(), "test"), open(t, url)
		must(s.Migrate(ctx))(t)
		asked := asked
		if s.Dialect() != "postgres" {
			asked *= 25 // which takes as long
		}
		w := newTokenTraffic(t, ctx, s, live/10, live)
		(rowFiller{s, t, ctx}).tokens(n, "expired ", time.Now().Add(-2*time.Hour))
		rowFiller{s, t, ctx}.analyze()
		w.ask(t, ctx, asked) // so that all is warm
		var (
			removed       int
			quiet, beside []time.Duration
			began         time.Time
		)
		for turn := range turns + 1 { // in the last one it comes to its end
			if turn < turns {
				quiet = append(quiet, w.ask(t, ctx, asked)...)
			}
			purging, cancel := context.WithCancel(ctx)
			var (
				purge      sync.WaitGroup
				begun, one = context.WithCancel(ctx)
			)
			began = time.Now()
			purge.Go(func() {
				defer one()
				report, err := s.PurgeExpired(purging, models.PurgeOptions{Progress: func(models.PurgeReport) { one() }})
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				removed += report.Tokens
				if turn == turns {
					t.Logf("%d tokens were purged in %s by itself", report.Tokens, time.Since(began))
				}
			})
			<-begun.Done()
			if turn < turns {
				beside = append(beside, w.ask(t, ctx, asked)...)
				cancel()
			}
			purge.Wait()
			cancel()
			if t.Failed() {
				return
			}
		}
		if removed != n {
			t.Errorf("%d were removed, want %d", removed, n)
		}
		if left := rowCounts(t, ctx, s).Tokens; left != live {
			t.Errorf("%d are left, want the %d live ones", left, live)
		}
		for _, token := range w.revoked {
			if err := s.CheckToken(ctx, token); !errors.Is(err, models.ErrTokenRevoked) {
				t.Fatalf("%s answers %v, want ErrTokenRevoked", token.ID, err)
			}
		}
		t.Logf("CheckToken without a purge: p50 %s, p99 %s; beside one: p50 %s, p99 %s; %d each",
			percentile(quiet, 50), percentile(quiet, 99), percentile(beside, 50), percentile(beside, 99), len(quiet))
	})
}
