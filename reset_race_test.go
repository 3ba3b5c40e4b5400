package models_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent/usedpasswordresettoken"
)

// The tests of races start their own program again. Such a worker is told by lines of JSON on standard
// input what to do next, and answers each with one on standard output.
const (
	workerTask = "REVIEWPOINT_TEST_WORKER"
	workerURL  = "REVIEWPOINT_TEST_WORKER_URL"
)

// TestWorkerProcess is a process of other tests.
func TestWorkerProcess(t *testing.T) {
	t.Parallel()
	task := os.Getenv(workerTask)
	if task == "" {
		t.Skip("it is a process of other tests")
	}
	s := openCheap(t, os.Getenv(workerURL))
	pipe, feed := io.Pipe()
	go func() {
		_, _ = io.Copy(feed, os.Stdin)
		_ = s.Close() // Whatever it was doing, the test has gone.
		_ = feed.Close()
	}()
	orders := json.NewDecoder(pipe)
	work := map[string]func(*testing.T, *models.Store, *json.Decoder) error{
		"race": raceResets, "reset": resetForEver, "sign in": signInRounds, "purge": purgeRounds,
	}[task]
	if err := work(t, s, orders); !errors.Is(err, io.EOF) { // EOF is the end of the orders.
		t.Fatal(err)
	}
}

const replyPrefix = "answer "

// reply writes a line at once. When the test has gone, nobody reads it, which ends the worker.
func reply(t *testing.T, v any) {
	t.Helper()
	must(fmt.Fprintf(os.Stdout, "%s%s\n", replyPrefix, must(json.Marshal(v))(t)))(t)
}

// worker is another process, seen from the test.
type worker struct {
	cmd    *exec.Cmd
	orders io.WriteCloser
	output *bufio.Reader
	rest   strings.Builder // what it wrote besides its answers
}

func startWorker(t *testing.T, task, url string) *worker {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), must(os.Executable())(t), "-test.run=^TestWorkerProcess$")
	cmd.Env, cmd.Stderr = append(os.Environ(), workerTask+"="+task, workerURL+"="+url), os.Stderr
	w := &worker{cmd: cmd, orders: must(cmd.StdinPipe())(t), output: bufio.NewReader(must(cmd.StdoutPipe())(t))}
	check(t, cmd.Start())
	return w
}

func startWorkers(t *testing.T, n int, task, url string) []*worker {
	t.Helper()
	workers := make([]*worker, n)
	for i := range workers {
		workers[i] = startWorker(t, task, url)
	}
	return workers
}

func (w *worker) tell(t *testing.T, v any) {
	t.Helper()
	must(fmt.Fprintf(w.orders, "%s\n", must(json.Marshal(v))(t)))(t)
}

// next returns its next answer, or io.EOF after the last one.
func (w *worker) next() (string, error) {
	for {
		line, err := w.output.ReadString('\n')
		if err != nil {
			return "", err
		}
		if text, ok := strings.CutPrefix(line, replyPrefix); ok {
			return text, nil
		}
		w.rest.WriteString(line)
	}
}

func (w *worker) hear(t *testing.T, v any) {
	t.Helper()
	text, err := w.next()
	if err != nil {
		t.Fatalf("a worker ended: %v: %v\n%s", err, w.cmd.Wait(), &w.rest)
	}
	check(t, json.Unmarshal([]byte(text), v))
}

// end lets it end by itself.
func (w *worker) end(t *testing.T) {
	t.Helper()
	check(t, w.orders.Close())
	if _, err := w.next(); !errors.Is(err, io.EOF) {
		t.Errorf("a worker goes on answering: %v", err)
	}
	if err := w.cmd.Wait(); err != nil {
		t.Errorf("a worker failed: %v\n%s", err, &w.rest)
	}
}

// openCheap opens a store whose passwords cost next to nothing.
func openCheap(t *testing.T, url string, opts ...models.Option) *models.Store {
	t.Helper()
	return open(t, url, append([]models.Option{models.CheapHashing}, opts...)...)
}

// eachCheap is eachClock on stores whose passwords cost next to nothing on PostgreSQL, too.
func eachCheap(t *testing.T, start time.Time, test func(t *testing.T, ctx context.Context, s *models.Store, c *fakeClock)) {
	t.Helper()
	eachURL(t, func(t *testing.T, url string) {
		var (
			c    *fakeClock
			opts []models.Option
		)
		if !start.IsZero() {
			c = newFakeClock(start)
			opts = append(opts, models.WithClock(c.Now))
		}
		if strings.HasPrefix(url, "sqlite") {
			url += "?synchronous=off"
		}
		ctx, s := models.AsSystem(t.Context(), "test"), openCheap(t, url, opts...)
		must(s.Migrate(ctx))(t)
		test(t, ctx, s, c)
	})
}

// isLong reports whether what is random is to run for long.
func isLong() bool { return os.Getenv("REVIEWPOINT_TEST_LONG") == "1" }

// raceOrder is one round: this process's part of the callers of one nonce.
type raceOrder struct {
	Email    string `json:"email"`
	Nonce    string `json:"nonce"`
	First    int    `json:"first"` // the number of its first caller
	Callers  int    `json:"callers"`
	Password bool   `json:"password"` // by ResetPassword
}

// raceAnswer is what the callers got.
type raceAnswer struct {
	Won   []int    `json:"won"` // the numbers of those with nil
	Used  int      `json:"used"`
	Other []string `json:"other"`
}

// spelled writes an address in some way that means the same.
func spelled(email string, caller int) string {
	local, domain, _ := strings.Cut(email, "@")
	return []string{
		email, strings.ToUpper(email), " " + email, email + "\t", "\r\n " + strings.ToUpper(local) + "@" + domain + " ",
		local + "@" + strings.ToUpper(domain), strings.ToUpper(email[:1]) + email[1:],
	}[caller%7]
}

// newPasswordOf is what a caller wants the password to be.
func newPasswordOf(nonce string, caller int) string {
	return fmt.Sprintf("%s of caller %d", nonce, caller)
}

// raceResets is a worker. It says when its callers wait, and what they got after the next order, which is empty.
func raceResets(t *testing.T, s *models.Store, orders *json.Decoder) error {
	t.Helper()
	ctx := models.AsAnonymous(t.Context())
	for {
		var order raceOrder
		if err := orders.Decode(&order); err != nil {
			return err
		}
		calls := make([]func() error, order.Callers)
		for i := range calls {
			caller := order.First + i
			email := spelled(order.Email, caller)
			calls[i] = func() error {
				if order.Password {
					return s.ResetPassword(ctx, email, order.Nonce, newPasswordOf(order.Nonce, caller))
				}
				return s.ConsumeResetToken(ctx, email, order.Nonce)
			}
		}
		reply(t, "ready")
		if err := orders.Decode(new(string)); err != nil {
			return err
		}
		var got raceAnswer
		for i, err := range atOnce(calls...) {
			switch {
			case err == nil:
				got.Won = append(got.Won, order.First+i)
			case errors.Is(err, models.ErrTokenUsed):
				got.Used++
			default:
				got.Other = append(got.Other, err.Error())
			}
		}
		reply(t, got)
	}
}

const racers = 64

// runRace is one round with all workers. It returns the number of the caller who won.
func runRace(t *testing.T, workers []*worker, order raceOrder) int {
	t.Helper()
	order.Callers = racers / len(workers)
	for i, w := range workers {
		order.First = i * order.Callers
		w.tell(t, order)
	}
	for _, w := range workers {
		w.hear(t, new(string))
	}
	for _, w := range workers {
		w.tell(t, "go")
	}
	var all raceAnswer
	for _, w := range workers {
		var got raceAnswer
		w.hear(t, &got)
		all = raceAnswer{append(all.Won, got.Won...), all.Used + got.Used, append(all.Other, got.Other...)}
	}
	if len(all.Won) != 1 || all.Used != racers-1 {
		t.Fatalf("%d callers succeeded (%v), %d got ErrTokenUsed, and the others %q; want 1 and %d", len(all.Won), all.Won, all.Used, all.Other, racers-1)
	}
	return all.Won[0]
}

// TestConsumeResetToken_Race lets 64 callers in several processes use one nonce at once, again and again.
func TestConsumeResetToken_Race(t *testing.T) {
	t.Parallel()
	processes, races := 2, 8
	if isLong() {
		processes, races = 4, 200
	}
	eachURL(t, func(t *testing.T, url string) {
		ctx, s := models.AsSystem(t.Context(), "test"), open(t, url)
		must(s.Migrate(ctx))(t)
		workers := startWorkers(t, processes, "race", url)
		won := make(map[int]int) // by process
		for round := range races {
			email := fmt.Sprintf("person%d@example.org", round)
			winner := runRace(t, workers, raceOrder{Email: email, Nonce: uuid.NewString()})
			won[winner*processes/racers]++
		}
		for _, w := range workers {
			w.end(t)
		}
		if n := must(s.UsedPasswordResetToken.Query().Count(ctx))(t); n != races {
			t.Errorf("%d resets are on record, want %d", n, races)
		}
		t.Logf("the winners of %d rounds, by process: %v", races, won)
	})
}

// TestResetPassword_Race is the same with the password that each caller wants: it is the winner's.
func TestResetPassword_Race(t *testing.T) {
	t.Parallel()
	processes, races := 2, 4
	if isLong() {
		processes, races = 4, 60
	}
	eachURL(t, func(t *testing.T, url string) {
		ctx, s := models.AsSystem(t.Context(), "test"), openCheap(t, url)
		must(s.Migrate(ctx))(t)
		workers := startWorkers(t, processes, "race", url)
		for round := range races {
			email, nonce := fmt.Sprintf("person%d@example.org", round), uuid.NewString()
			u := must(s.Register(ctx, email, "the password before"))(t)
			winner := runRace(t, workers, raceOrder{Email: email, Nonce: nonce, Password: true})
			must(s.Authenticate(ctx, email, newPasswordOf(nonce, winner)))(t)
			for _, wrong := range []string{"the password before", newPasswordOf(nonce, (winner+1)%racers)} {
				if _, err := s.Authenticate(ctx, email, wrong); !errors.Is(err, models.ErrInvalidCredentials) {
					t.Errorf("%q answers %v, want ErrInvalidCredentials", wrong, err)
				}
			}
			if got := actions(t, ctx, s, "user", u.ID); !slices.Equal(got, []string{"create", "update"}) {
				t.Errorf("the trail is %v, want the creation and one update", got)
			}
			if n := usesOf(t, ctx, s, email, nonce); n != 1 {
				t.Errorf("%d resets are on record, want 1", n)
			}
		}
		for _, w := range workers {
			w.end(t)
		}
	})
}

// usesOf counts how often a reset is on record.
func usesOf(t *testing.T, ctx context.Context, s *models.Store, email, nonce string) int {
	t.Helper()
	return must(s.UsedPasswordResetToken.Query().
		Where(usedpasswordresettoken.Email(email), usedpasswordresettoken.Nonce(nonce)).Count(ctx))(t)
}

// TestConsumeResetToken_InTx loses in a transaction, which can go on, and wins in one that is rolled back,
// which leaves the nonce as it was.
func TestConsumeResetToken_InTx(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		visitor := models.AsAnonymous(ctx)
		use := func(ctx context.Context, end error) error {
			return s.InTx(ctx, func(ctx context.Context) error {
				if err := s.ConsumeResetToken(ctx, "ada@example.org", "nonce"); err != nil {
					return err
				}
				return end
			})
		}
		for range 2 {
			if err := use(visitor, errOnPurpose); !errors.Is(err, errOnPurpose) {
				t.Errorf("a nonce that was given back answers %v, want the function's error", err)
			}
		}
		check(t, use(visitor, nil))
		check(t, s.InTx(ctx, func(ctx context.Context) error {
			check(t, newUser(s).Exec(ctx))
			for range 2 {
				if err := s.ConsumeResetToken(ctx, " ADA@example.org", "nonce"); !errors.Is(err, models.ErrTokenUsed) {
					t.Errorf("a used nonce answers %v, want ErrTokenUsed", err)
				}
			}
			check(t, s.ConsumeResetToken(ctx, "ada@example.org", "another nonce"))
			return newUser(s).Exec(ctx)
		}))
		if n := countUsers(t, ctx, s); n != 2 {
			t.Errorf("%d users, want the 2 of the transaction that went on", n)
		}
		if n := must(s.UsedPasswordResetToken.Query().Count(ctx))(t); n != 2 {
			t.Errorf("%d resets are on record, want 2", n)
		}
	})
}

// TestConsumeResetToken_Waits begins while a transaction holds the nonce: its end decides.
func TestConsumeResetToken_Waits(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		for name, end := range map[string]error{"rolled back": errOnPurpose, "committed": nil} {
			nonce, second := uuid.NewString(), make(chan error, 1)
			err := s.InTx(ctx, func(in context.Context) error {
				check(t, s.ConsumeResetToken(in, "ada@example.org", nonce))
				go func() {
					second <- s.InTx(ctx, func(ctx context.Context) error {
						err := s.ConsumeResetToken(ctx, "Ada@Example.org", nonce)
						if errors.Is(err, models.ErrTokenUsed) {
							return errors.Join(newUser(s).SetName(nonce).Exec(ctx), err)
						}
						return err
					})
				}()
				awaitLock(t, ctx, s, second)
				return end
			})
			if !errors.Is(err, end) {
				t.Errorf("%s: the first answers %v, want %v", name, err, end)
			}
			var want error
			if end == nil {
				want = models.ErrTokenUsed
			}
			if err := <-second; !errors.Is(err, want) {
				t.Errorf("%s: the second answers %v, want %v", name, err, want)
			}
			if n := usesOf(t, ctx, s, "ada@example.org", nonce); n != 1 {
				t.Errorf("%s: %d resets are on record, want 1", name, n)
			}
		}
	})
}

// awaitLock returns when somebody waits for a lock, or has answered without. SQLite cannot be asked; there the
// other one may as well come later.
func awaitLock(t *testing.T, ctx context.Context, s *models.Store, answered chan error) {
	t.Helper()
	if s.Dialect() != "postgres" {
		return
	}
	for len(answered) == 0 && column[int](t, ctx, s, "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())")[0] == 0 {
		runtime.Gosched()
	}
}

// TestResetPassword_FailureLeavesNonce refuses a reset for each reason that there is. Then the nonce still counts, once.
func TestResetPassword_FailureLeavesNonce(t *testing.T) {
	t.Parallel()
	const email, old, good = "ada@example.org", "the password before", "a password nobody guesses"
	eachCheap(t, time.Time{}, func(t *testing.T, ctx context.Context, s *models.Store, _ *fakeClock) {
		visitor := models.AsAnonymous(ctx)
		u := must(s.Register(ctx, email, old))(t)
		ended, cancel := context.WithCancel(visitor)
		cancel()
		reset := func(ctx context.Context, email, password string) func(nonce string) error {
			return func(nonce string) error { return s.ResetPassword(ctx, email, nonce, password) }
		}
		between := func(before, after func(ctx context.Context, userID int) error) func(nonce string) error {
			return func(nonce string) error {
				check(t, before(ctx, u.ID))
				err := s.ResetPassword(visitor, email, nonce, good)
				check(t, after(ctx, u.ID))
				return err
			}
		}
		for name, tt := range map[string]struct {
			refused func(nonce string) error
			want    error // or else *ValidationError
		}{
			"too short":     {reset(visitor, email, "2short"), nil},
			"too long":      {reset(visitor, email, strings.Repeat("x", 129)), nil},
			"common":        {reset(visitor, email, "Password123"), nil},
			"the address":   {reset(visitor, " ADA@example.org", email), nil},
			"not UTF-8":     {reset(visitor, email, "a password \xff of bytes"), nil},
			"no address":    {reset(visitor, "ada", good), nil},
			"unknown":       {reset(visitor, "bob@example.org", good), models.ErrNotFound},
			"nobody asks":   {reset(t.Context(), email, good), models.ErrNoViewer},
			"ended context": {reset(ended, email, good), context.Canceled},
			"disabled":      {between(s.DeactivateUser, s.ReactivateUser), models.ErrAccountDisabled},
			"deleted":       {between(s.SoftDeleteUser, s.RestoreUser), models.ErrNotFound},
			"rolled back": {func(nonce string) error {
				return s.InTx(visitor, func(ctx context.Context) error {
					check(t, s.ResetPassword(ctx, email, nonce, good))
					return errOnPurpose
				})
			}, errOnPurpose},
			"disabled meanwhile": {func(nonce string) error {
				answered := make(chan error, 1)
				check(t, s.InTx(ctx, func(in context.Context) error {
					if err := s.DeactivateUser(in, u.ID); err != nil {
						return err
					}
					go func() { answered <- s.ResetPassword(visitor, email, nonce, good) }()
					awaitLock(t, ctx, s, answered)
					return nil
				}))
				err := <-answered
				check(t, s.ReactivateUser(ctx, u.ID))
				return err
			}, models.ErrAccountDisabled},
		} {
			nonce := uuid.NewString()
			err := tt.refused(nonce)
			if invalid := new(models.ValidationError); tt.want == nil && !errors.As(err, &invalid) || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("%s: got %v, want %v", name, err, tt.want)
			}
			must(s.Authenticate(ctx, email, old))(t)
			if n := must(s.UsedPasswordResetToken.Query().Where(usedpasswordresettoken.Nonce(nonce)).Count(ctx))(t); n != 0 {
				t.Errorf("%s: the nonce is on record", name)
			}
			check(t, s.ResetPassword(visitor, email, nonce, good))
			must(s.Authenticate(ctx, email, good))(t)
			if err := s.ResetPassword(visitor, email, nonce, good); !errors.Is(err, models.ErrTokenUsed) {
				t.Errorf("%s: the nonce answers %v the second time, want ErrTokenUsed", name, err)
			}
			check(t, s.SetPassword(ctx, u.ID, old))
		}
	})
}
