package models_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reviewpoint/models"
)

// tokenPair is a pair of tokens of one account: one that is to be accepted, and one that has been revoked.
type tokenPair struct{ good, revoked models.Claims }

func newTokenPair(t *testing.T, ctx context.Context, s *models.Store) tokenPair {
	t.Helper()
	u := must(newUser(s).Save(ctx))(t)
	b := tokenPair{s.NewClaims(u, time.Hour), s.NewClaims(u, time.Hour)}
	check(t, s.RevokeToken(ctx, b.revoked.ID, b.revoked.ExpiresAt))
	b.wantSound(t, ctx, s, "before")
	return b
}

// wantSound checks that both get the answer that is right.
func (b tokenPair) wantSound(t *testing.T, ctx context.Context, s *models.Store, when string) {
	t.Helper()
	if err := s.CheckToken(ctx, b.good); err != nil {
		t.Errorf("%s: a good token answers %v", when, err)
	}
	if err := s.CheckToken(ctx, b.revoked); !errors.Is(err, models.ErrTokenRevoked) {
		t.Errorf("%s: a revoked token answers %v, want ErrTokenRevoked", when, err)
	}
	for token, want := range map[string]bool{b.good.ID: false, b.revoked.ID: true} {
		if got := must(s.TokenRevoked(ctx, token))(t); got != want {
			t.Errorf("%s: TokenRevoked answers %t, want %t", when, got, want)
		}
	}
}

// wantClosed checks that nothing is let pass while the database cannot tell.
func (b tokenPair) wantClosed(t *testing.T, ctx context.Context, s *models.Store, why string, want error) {
	t.Helper()
	for name, token := range map[string]models.Claims{"good": b.good, "revoked": b.revoked} {
		err := s.CheckToken(ctx, token)
		if err == nil || errors.Is(err, models.ErrTokenRevoked) || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: the %s token answers %v, want the error of the database (%v)", why, name, err, want)
		}
		revoked, err := s.TokenRevoked(ctx, token.ID)
		if err == nil || revoked || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: TokenRevoked of the %s token answers %t and %v, want an error (%v)", why, name, revoked, err, want)
		}
	}
}

// TestCheckToken_Claims gives claims of which none is to be accepted.
func TestCheckToken_Claims(t *testing.T) {
	t.Parallel()
	eachClock(t, someDay, func(t *testing.T, ctx context.Context, s *models.Store, _ *fakeClock) {
		b := newTokenPair(t, ctx, s)
		other := must(newUser(s).Save(ctx))(t)
		check(t, s.User.DeleteOneID(other.ID).Exec(models.HardDelete(ctx)))
		deleted, disabled := must(newUser(s).Save(ctx))(t), must(newUser(s).SetIsActive(false).Save(ctx))(t)
		check(t, s.SoftDeleteUser(ctx, deleted.ID))
		for name, tt := range map[string]struct {
			spoil func(*models.Claims)
			want  error // or else whatever error
		}{
			"none":                   {func(c *models.Claims) { *c = models.Claims{} }, nil},
			"no id":                  {func(c *models.Claims) { c.ID = "" }, nil},
			"a long id":              {func(c *models.Claims) { c.ID = strings.Repeat("x", 256) }, nil},
			"an id with NUL":         {func(c *models.Claims) { c.ID += "\x00" }, nil},
			"an id of bytes":         {func(c *models.Claims) { c.ID += "\xff" }, nil},
			"no account":             {func(c *models.Claims) { c.UserID = 0 }, nil},
			"a negative account":     {func(c *models.Claims) { c.UserID = -c.UserID }, nil},
			"one that never was":     {func(c *models.Claims) { c.UserID = other.ID + 1 }, models.ErrTokenRevoked},
			"one that is no more":    {func(c *models.Claims) { c.UserID = other.ID }, models.ErrTokenRevoked},
			"a deleted one":          {func(c *models.Claims) { c.UserID = deleted.ID }, models.ErrDeleted},
			"a disabled one":         {func(c *models.Claims) { c.UserID = disabled.ID }, models.ErrAccountDisabled},
			"the largest":            {func(c *models.Claims) { c.UserID = math.MaxInt }, models.ErrTokenRevoked},
			"no time":                {func(c *models.Claims) { c.IssuedAt = time.Time{} }, nil},
			"a time that cannot be":  {func(c *models.Claims) { c.IssuedAt = c.IssuedAt.AddDate(10000, 0, 0) }, nil},
			"no expiry":              {func(c *models.Claims) { c.ExpiresAt = time.Time{} }, nil},
			"the zero Unix time":     {func(c *models.Claims) { c.ExpiresAt = time.Unix(0, 0) }, models.ErrTokenExpired},
			"no end":                 {func(c *models.Claims) { c.ExpiresAt = c.ExpiresAt.AddDate(10000, 0, 0) }, nil},
			"expired now":            {func(c *models.Claims) { c.ExpiresAt = someDay.Truncate(time.Microsecond) }, models.ErrTokenExpired},
			"expired before":         {func(c *models.Claims) { c.ExpiresAt = someDay.Add(-time.Microsecond) }, models.ErrTokenExpired},
			"expired, other zone":    {func(c *models.Claims) { c.ExpiresAt = someDay.Add(-time.Second).In(time.FixedZone("west", -8*3600)) }, models.ErrTokenExpired},
			"the id of another's":    {func(c *models.Claims) { c.ID = b.revoked.ID }, models.ErrTokenRevoked},
			"revoked, expired":       {func(c *models.Claims) { c.ID, c.ExpiresAt = b.revoked.ID, someDay.Add(-time.Hour) }, models.ErrTokenExpired},
			"revoked, issued later":  {func(c *models.Claims) { c.ID, c.IssuedAt = b.revoked.ID, someDay.Add(time.Hour) }, models.ErrTokenRevoked},
			"revoked, lives longer":  {func(c *models.Claims) { c.ID, c.ExpiresAt = b.revoked.ID, someDay.AddDate(1, 0, 0) }, models.ErrTokenRevoked},
			"revoked, no account of": {func(c *models.Claims) { c.ID, c.UserID = b.revoked.ID, other.ID }, models.ErrTokenRevoked},
		} {
			claims := b.good
			tt.spoil(&claims)
			err := s.CheckToken(ctx, claims)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("%s: got %v, want %v", name, err, tt.want)
			}
		}
		b.wantSound(t, ctx, s, "afterwards")
		// A token that has expired is not revoked, though its row is kept.
		for jti, left := range map[string]time.Duration{"expires now": 0, "expires later": time.Microsecond} {
			check(t, s.RevokeToken(ctx, jti, someDay.Truncate(time.Microsecond).Add(left)))
			if got := must(s.TokenRevoked(ctx, jti))(t); got != (left > 0) {
				t.Errorf("%s: revoked is %t", jti, got)
			}
		}
	})
}

// TestCheckToken_FailsClosed asks when there can be no answer.
func TestCheckToken_FailsClosed(t *testing.T) {
	t.Parallel()
	eachURL(t, func(t *testing.T, url string) {
		ctx, s := models.AsSystem(t.Context(), "test"), open(t, url)
		must(s.Migrate(ctx))(t)
		b := newTokenPair(t, ctx, s)
		canceled, cancel := context.WithCancel(ctx)
		cancel()
		b.wantClosed(t, canceled, s, "canceled", context.Canceled)
		expired, cancel := context.WithDeadline(ctx, time.Now().Add(-time.Second))
		defer cancel()
		b.wantClosed(t, expired, s, "expired", context.DeadlineExceeded)
		b.wantClosed(t, t.Context(), s, "nobody asks", models.ErrNoViewer)
		for _, table := range []string{"blacklisted_tokens", "users"} {
			must(s.ExecContext(ctx, "ALTER TABLE "+table+" RENAME TO away"))(t)
			if table == "users" { // of which TokenRevoked knows nothing
				for _, token := range []models.Claims{b.good, b.revoked} {
					if err := s.CheckToken(ctx, token); err == nil || errors.Is(err, models.ErrTokenRevoked) {
						t.Errorf("without users: got %v, want the error of the database", err)
					}
				}
			} else {
				b.wantClosed(t, ctx, s, "without "+table, nil)
			}
			must(s.ExecContext(ctx, "ALTER TABLE away RENAME TO "+table))(t)
			b.wantSound(t, ctx, s, table+" is back")
		}
		err := s.InTx(ctx, func(ctx context.Context) error {
			b.wantSound(t, ctx, s, "in a transaction")
			_, err := s.ExecContext(ctx, "nonsense")
			b.wantClosed(t, ctx, s, "in a failed transaction", models.ErrTxFailed)
			return err
		})
		if err == nil {
			t.Error("nonsense was carried out")
		}
		var ended context.Context
		check(t, s.InTx(ctx, func(ctx context.Context) error {
			ended = ctx //nolint:fatcontext // To be used too late is what it is for.
			return nil
		}))
		b.wantClosed(t, ended, s, "in a transaction that has ended", models.ErrTxDone)
		b.wantSound(t, ctx, s, "afterwards")

		closed := must(models.Open(ctx, url))(t)
		check(t, closed.Close())
		b.wantClosed(t, ctx, closed, "closed", nil)
	})
}

// TestCheckToken_LockedFile asks while another process would have SQLite's file for itself alone.
func TestCheckToken_LockedFile(t *testing.T) {
	t.Parallel()
	ctx, path := models.AsSystem(t.Context(), "test"), filepath.Join(t.TempDir(), "test.db")
	s := must(models.Open(ctx, "sqlite://"+path))(t)
	must(s.Migrate(ctx))(t)
	b := newTokenPair(t, ctx, s)
	check(t, s.Close())
	other := must(sql.Open("sqlite3", path))(t)
	defer other.Close()
	other.SetMaxOpenConns(1)
	must(other.ExecContext(ctx, "PRAGMA journal_mode = DELETE"))(t) // in which a writer keeps readers out
	s = open(t, "sqlite://"+path+"?busy_timeout=10ms", models.WithReadOnly())
	b.wantSound(t, ctx, s, "before")
	must(other.ExecContext(ctx, "BEGIN EXCLUSIVE"))(t)
	b.wantClosed(t, ctx, s, "locked", models.ErrBusy)
	must(other.ExecContext(ctx, "ROLLBACK"))(t)
	b.wantSound(t, ctx, s, "afterwards")
}

// TestCheckToken_MemoryInUse asks a database in memory while its writer keeps the readers waiting.
func TestCheckToken_MemoryInUse(t *testing.T) {
	t.Parallel()
	ctx, s := models.AsSystem(t.Context(), "test"), open(t, "sqlite://:memory:?busy_timeout=10ms")
	must(s.Migrate(ctx))(t)
	b := newTokenPair(t, ctx, s)
	check(t, s.InTx(ctx, func(in context.Context) error {
		check(t, newUser(s).Exec(in))
		b.wantClosed(t, ctx, s, "in use", models.ErrBusy)
		b.wantSound(t, in, s, "by the writer itself")
		return nil
	}))
	b.wantSound(t, ctx, s, "afterwards")
}

// TestCheckToken_CorruptFile destroys the pages that an answer needs.
func TestCheckToken_CorruptFile(t *testing.T) {
	t.Parallel()
	for name, garbage := range map[string]byte{"zeros": 0, "ones": 0xff, "text": 'x'} {
		for _, what := range []string{"blacklisted_tokens_jti_key", "users", "the rest of the file"} {
			t.Run(name+" in "+what, func(t *testing.T) {
				t.Parallel()
				ctx, path := models.AsSystem(t.Context(), "test"), filepath.Join(t.TempDir(), "test.db")
				s := must(models.Open(ctx, "sqlite://"+path+"?synchronous=off"))(t)
				must(s.Migrate(ctx))(t)
				b := newTokenPair(t, ctx, s)
				page := column[int64](t, ctx, s, "SELECT page_size FROM pragma_page_size")[0]
				root := append(column[int64](t, ctx, s, "SELECT rootpage FROM sqlite_schema WHERE name = $1", what), 0)[0]
				check(t, s.Close()) // so that all of it is in the file
				whole := must(os.ReadFile(path))(t)
				from, to := (root-1)*page, root*page
				if root == 0 {
					from, to = 100, int64(len(whole)) // all but the header, by which it is a database
				}
				copy(whole[from:to], bytes.Repeat([]byte{garbage}, int(to-from)))
				check(t, os.WriteFile(path, whole, 0o600))
				s, err := models.Open(ctx, "sqlite://"+path)
				if err != nil {
					return // which fails closed, too
				}
				defer s.Close()
				for name, token := range map[string]models.Claims{"good": b.good, "revoked": b.revoked} {
					if err := s.CheckToken(ctx, token); err == nil {
						t.Errorf("the %s token is accepted", name)
					}
					revoked, err := s.TokenRevoked(ctx, token.ID)
					if what != "users" && err == nil {
						t.Errorf("TokenRevoked of the %s token answers %t", name, revoked)
					}
				}
			})
		}
	}
}

// TestCheckToken_TruncatedFile cuts off the file before the pages that an answer needs.
func TestCheckToken_TruncatedFile(t *testing.T) {
	t.Parallel()
	ctx, path := models.AsSystem(t.Context(), "test"), filepath.Join(t.TempDir(), "test.db")
	s := must(models.Open(ctx, "sqlite://"+path+"?synchronous=off"))(t)
	must(s.Migrate(ctx))(t)
	b := newTokenPair(t, ctx, s)
	check(t, s.Close())
	whole := must(os.ReadFile(path))(t)
	for size := len(whole) - 4096; size >= 0; size -= 4096 {
		check(t, os.WriteFile(path, whole[:size], 0o600))
		s, err := models.Open(ctx, "sqlite://"+path)
		if err != nil {
			continue
		}
		b.wantClosed(t, ctx, s, fmt.Sprintf("%d of %d bytes", size, len(whole)), nil)
		s.Close()
	}
}

// wireProxy stands between a store and its PostgreSQL server. It reads what the client says, and can lose
// what the server answers.
type wireProxy struct {
	server   string
	listener net.Listener
	conns    sync.WaitGroup

	mu       sync.Mutex
	open     map[net.Conn]bool
	messages map[byte]int // of clients, by type (https://www.postgresql.org/docs/current/protocol-message-formats.html)
	queries  []string
	down     bool          // new connections are refused
	answered int           // bytes of the server since the last look
	budget   int           // how many bytes of the server pass before the connection is lost; below zero, all
	heard    chan struct{} // if not nil, is told of the next Sync, of which the server hears nothing
}

// newWireProxy returns the proxy and the URL that leads through it.
func newWireProxy(t *testing.T, address string) (*wireProxy, string) {
	t.Helper()
	u := must(url.Parse(address))(t)
	p := &wireProxy{
		server: u.Host, listener: must(net.Listen("tcp", "127.0.0.1:0"))(t),
		open: make(map[net.Conn]bool), messages: make(map[byte]int), budget: -1,
	}
	t.Cleanup(func() {
		p.listener.Close()
		p.lose()
		p.conns.Wait()
	})
	p.conns.Go(func() {
		for {
			client, err := p.listener.Accept()
			if err != nil {
				return
			}
			p.conns.Go(func() { p.serve(client) })
		}
	})
	u.Host = p.listener.Addr().String()
	return p, u.String()
}

// lose closes all connections.
func (p *wireProxy) lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.open {
		conn.Close()
	}
}

func (p *wireProxy) serve(client net.Conn) {
	defer client.Close()
	p.mu.Lock()
	down := p.down
	p.mu.Unlock()
	if down {
		return
	}
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	defer server.Close()
	p.mu.Lock()
	p.open[client], p.open[server] = true, true
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() {
		defer server.Close()
		defer client.Close()
		p.listen(client, server)
	})
	both.Go(func() {
		defer server.Close()
		defer client.Close()
		p.answer(server, client)
	})
	both.Wait()
	p.mu.Lock()
	delete(p.open, client)
	delete(p.open, server)
	p.mu.Unlock()
}

// listen passes on what the client says, message by message. The first one has no type.
func (p *wireProxy) listen(client io.Reader, server io.Writer) {
	for header := 4; ; header = 5 {
		message := make([]byte, header)
		if _, err := io.ReadFull(client, message); err != nil {
			return
		}
		rest := make([]byte, binary.BigEndian.Uint32(message[header-4:])-4)
		if _, err := io.ReadFull(client, rest); err != nil {
			return
		}
		if header == 5 && !p.hear(message[0], rest) {
			continue
		}
		if _, err := server.Write(slices.Concat(message, rest)); err != nil {
			return
		}
	}
}

// hear notes a message, and reports whether the server is to hear it.
func (p *wireProxy) hear(kind byte, body []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.messages[kind]++
	if kind == 'P' { // Parse: the name of the statement, and the statement
		_, query, _ := bytes.Cut(body, []byte{0})
		query, _, _ = bytes.Cut(query, []byte{0})
		p.queries = append(p.queries, string(query))
	}
	if kind == 'S' && p.heard != nil {
		p.heard <- struct{}{}
		return false
	}
	return true
}

// answer passes on what the server says, as far as the budget goes.
func (p *wireProxy) answer(server io.Reader, client io.Writer) {
	buffer := make([]byte, 4096)
	for {
		n, err := server.Read(buffer)
		p.mu.Lock()
		p.answered += n
		cut := p.budget >= 0 && n >= p.budget
		if cut {
			n = p.budget
			p.budget, p.down = 0, true
		} else if p.budget >= 0 {
			p.budget -= n
		}
		p.mu.Unlock()
		if _, failed := client.Write(buffer[:n]); failed != nil || err != nil || cut {
			return
		}
	}
}

// look returns what has been said since the last time.
func (p *wireProxy) look() (messages map[byte]int, queries []string, answered int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	messages, queries, answered = p.messages, p.queries, p.answered
	p.messages, p.queries, p.answered = make(map[byte]int), nil, 0
	return messages, queries, answered
}

// loseAfter loses the connection after so many bytes of the server, and refuses others; below zero, it
// passes all on again.
func (p *wireProxy) loseAfter(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.budget, p.down = n, false
}

// TestCheckToken_RoundTrips counts what goes over the wire: the client waits once, for one statement, which
// the server has parsed before where statements are kept prepared.
func TestCheckToken_RoundTrips(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		options string
		warm    int // The second use prepares.
		want    map[byte]int
	}{
		// Parse, Bind, Describe and Execute go out with the Sync, for whose answer the client waits.
		"not prepared": {"&statement_cache_size=0", 0, map[byte]int{'P': 1, 'B': 1, 'D': 1, 'E': 1, 'S': 1}},
		"prepared":     {"", 2, map[byte]int{'B': 1, 'E': 1, 'S': 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, url := newWireProxy(t, postgresURL(t))
			wantRoundTrips(t, p, url+tt.options, tt.warm, tt.want)
		})
	}
}

func wantRoundTrips(t *testing.T, p *wireProxy, url string, warm int, want map[byte]int) {
	t.Helper()
	ctx, s := models.AsSystem(t.Context(), "test"), open(t, url, models.WithMaxConns(1))
	b := newTokenPair(t, ctx, s)
	for name, ask := range map[string]func() error{
		"CheckToken":              func() error { return s.CheckToken(models.AsAnonymous(ctx), b.good) },
		"CheckToken of a revoked": func() error { return unless(s.CheckToken(ctx, b.revoked), models.ErrTokenRevoked) },
		"TokenRevoked":            func() error { return errorOf(s.TokenRevoked(ctx, b.good.ID)) },
	} {
		for range warm {
			check(t, ask())
		}
		for range 10 {
			p.look()
			check(t, ask())
			if messages, queries, _ := p.look(); !maps.Equal(messages, want) {
				t.Errorf("%s sends so many messages of each type: %v, want %v; statements %q", name, messages, want, queries)
			}
		}
	}
	err := s.InTx(ctx, func(ctx context.Context) error {
		p.look()
		check(t, s.CheckToken(ctx, b.good))
		check(t, s.CheckToken(ctx, b.good))
		messages, _, _ := p.look()
		if messages['S'] != 2 || messages['Q'] > 1 { // one is the BEGIN
			t.Errorf("two checks in a transaction send the messages %v, want 2 of S", messages)
		}
		return nil
	})
	check(t, err)
}

// unless is nil for the error that is wanted.
func unless(err, want error) error {
	if errors.Is(err, want) {
		return nil
	}
	return err
}

func errorOf(_ bool, err error) error { return err }

// TestCheckToken_LostConnection loses the connection after each byte that the server answers.
func TestCheckToken_LostConnection(t *testing.T) {
	t.Parallel()
	p, url := newWireProxy(t, postgresURL(t))
	ctx, s := models.AsSystem(t.Context(), "test"), open(t, url, models.WithMaxConns(1))
	b := newTokenPair(t, ctx, s)
	p.look()
	check(t, s.CheckToken(ctx, b.good))
	_, _, whole := p.look()
	step := 7
	if isLong() {
		step = 1
	}
	complete := 0
	for n := 0; n < whole; n += step {
		for name, token := range map[string]models.Claims{"good": b.good, "revoked": b.revoked} {
			p.loseAfter(-1)
			check(t, s.Ping(ctx)) // so that there is a connection
			p.loseAfter(n)
			err := s.CheckToken(ctx, token)
			switch {
			case name == "revoked" && err == nil, name == "good" && err == nil && n < whole-readyForQuery:
				t.Errorf("the %s token is accepted after %d of %d bytes", name, n, whole)
			case name == "good" && err == nil:
				complete++
			case errors.Is(err, models.ErrTokenRevoked) && name == "good":
				t.Errorf("the good token is revoked after %d of %d bytes", n, whole)
			}
			p.loseAfter(-1)
			check(t, s.Ping(ctx))
			p.loseAfter(n)
			if revoked, err := s.TokenRevoked(ctx, token.ID); err == nil && revoked != (name == "revoked") {
				t.Errorf("TokenRevoked of the %s token answers %t after %d bytes", name, revoked, n)
			}
		}
	}
	p.loseAfter(-1)
	b.wantSound(t, ctx, s, "afterwards")
	t.Logf("an answer has %d bytes; %d good tokens were accepted by a whole answer whose end was lost", whole, complete)
}

// readyForQuery is the size of the message that ends an answer.
const readyForQuery = 6

// TestCheckToken_LostServer asks after the server has ended the connections, and while it is away.
func TestCheckToken_LostServer(t *testing.T) {
	t.Parallel()
	direct := postgresURL(t)
	p, url := newWireProxy(t, direct)
	ctx, s, killer := models.AsSystem(t.Context(), "test"), open(t, url), open(t, direct)
	b := newTokenPair(t, ctx, s)
	others := "FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
	terminate := func() { column[bool](t, ctx, killer, "SELECT pg_terminate_backend(pid) "+others) }
	terminate()
	b.wantSound(t, ctx, s, "with new connections")
	err := s.InTx(ctx, func(in context.Context) error {
		check(t, s.CheckToken(in, b.good))
		terminate()
		b.wantClosed(t, in, s, "terminated in a transaction", nil)
		return nil
	})
	if err == nil {
		t.Error("a transaction whose connection is lost was committed")
	}
	p.loseAfter(0)
	p.lose()
	b.wantClosed(t, ctx, s, "away", nil)
	p.loseAfter(-1)
	b.wantSound(t, ctx, s, "back again")
}

// TestCheckToken_SilentServer asks a server that has stopped answering, until the context ends and then
// the connection does.
func TestCheckToken_SilentServer(t *testing.T) {
	t.Parallel()
	p, url := newWireProxy(t, postgresURL(t))
	ctx, s := models.AsSystem(t.Context(), "test"), open(t, url, models.WithMaxConns(1))
	b := newTokenPair(t, ctx, s)
	for name, token := range map[string]models.Claims{"good": b.good, "revoked": b.revoked} {
		p.mu.Lock()
		heard := make(chan struct{}, 1)
		p.heard = heard
		p.mu.Unlock()
		short, cancel := context.WithCancel(ctx)
		answered := make(chan error, 1)
		go func() { answered <- s.CheckToken(short, token) }()
		<-heard
		cancel()
		p.mu.Lock()
		p.heard = nil
		p.mu.Unlock()
		p.lose()
		if err := <-answered; !errors.Is(err, context.Canceled) {
			t.Errorf("the %s token answers %v, want context.Canceled", name, err)
		}
		b.wantSound(t, ctx, s, "afterwards")
	}
}
