// Package dbtest gives each test a PostgreSQL database of its own, on a real
// server. Mocks agree with whatever they are told; only a server knows its
// locks, time zones, types and error codes.
//
//	func TestOrders(t *testing.T) {
//		t.Parallel()
//		db, err := sql.Open("postgres", dbtest.Postgres(t))
//		...
//	}
//
// The server is the one that the environment variable
// REVIEWPOINT_TEST_POSTGRES_URL names. Without it, the first test of a process
// that asks starts a throw-away server from the machine's own initdb and
// postgres; it ends with the process, however that ends. Its time zone is not
// UTC, so that code which takes the server's zone for UTC fails here. Its files
// are below TMPDIR. A database is some 300 of them, so a TMPDIR in memory, such
// as /dev/shm where that is large enough, makes new databases several times
// faster.
//
// Without either, tests are skipped; where CI=true they fail instead, so that
// a broken pipeline does not pass for a green one. A server that is there and
// does not work always fails the test. PostgreSQL must be 13 or newer.
package dbtest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lib/pq"

	"github.com/reviewpoint/models/internal/cluster"
)

const serverVariable = "REVIEWPOINT_TEST_POSTGRES_URL"

// sharedServer finds the server once for the whole process: starting one costs
// more than most tests.
var sharedServer = sync.OnceValues(findServer)

// templateKey keeps names within PostgreSQL's 63 bytes, prefix included. Longer
// ones it would cut short without an error, and two templates could become one.
var templateKey = regexp.MustCompile(`^[a-z0-9_]{1,42}$`)

// Postgres returns the URL of a new and empty database
// (postgres://user:password@host:port/name?...), for this test alone. It is
// dropped when the test and its subtests have ended, open connections or not.
//
// Without PostgreSQL it skips the test, or fails it where CI=true.
func Postgres(t testing.TB) string {
	t.Helper()
	return useServer(t).create(t, "template0")
}

// PostgresFrom is Postgres with contents: the new database is a copy of one
// that fill has prepared, which costs far less than to prepare each.
//
// The name, 1 to 42 characters of [a-z0-9_], stands for everything that fill
// writes, such as a hash of the migrations: fill runs once for each name and
// server, even where several test processes share the server, and not again
// while its template, the database reviewpoint_template_<name>, exists. On a
// shared server that is until someone drops it.
//
// fill gets the URL of an empty database. Connections that it leaves open are
// closed by the server. What ALTER DATABASE ... SET has set is not copied.
func PostgresFrom(t testing.TB, name string, fill func(url string) error) string {
	t.Helper()
	if !templateKey.MatchString(name) {
		t.Fatalf("dbtest: template name %q is not 1 to 42 characters of a-z, 0-9 and _", name)
	}
	s := useServer(t)
	template := "reviewpoint_template_" + name
	if err := s.prepare(t.Context(), template, "reviewpoint_building_"+name, fill); err != nil {
		t.Fatalf("dbtest: template %s: %v", template, err)
	}
	return s.create(t, template)
}

func useServer(t testing.TB) *server {
	t.Helper()
	s, err := sharedServer()
	switch {
	case err == nil:
		return s
	case skips(err, os.Getenv("CI")):
		t.Skip("dbtest:", err)
	default:
		t.Fatal("dbtest:", err)
	}
	return nil
}

// skips tells whether err, from findServer, is a reason to skip a test, where
// the environment variable CI is ci. Otherwise it is a failure.
func skips(err error, ci string) bool {
	return errors.Is(err, cluster.ErrNone) && ci != "true"
}

func findServer() (*server, error) {
	address := os.Getenv(serverVariable)
	if address != "" {
		return connect(address)
	}
	own, err := cluster.Start()
	if err != nil {
		return nil, fmt.Errorf("%w, or set %s", err, serverVariable)
	}
	s, err := connect(own.URL())
	if err != nil {
		return nil, errors.Join(err, own.Close())
	}
	s.own = own
	return s, nil
}

func connect(address string) (*server, error) {
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		// The parser's own error would show the password.
		return nil, errors.New(serverVariable + " is not a postgres:// URL")
	}
	s := &server{url: u}
	if s.admin, err = sql.Open("postgres", address); err != nil {
		return nil, fmt.Errorf("%s: %w", serverVariable, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.admin.PingContext(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", serverVariable, err)
	}
	return s, nil
}

// server is where databases are made; admin is connected to the one that url
// names.
type server struct {
	url   *url.URL
	admin *sql.DB
	// own is held here because an unreachable one would be closed by the garbage collector.
	own *cluster.Cluster
}

func (s *server) database(name string) string {
	u := *s.url
	u.Path, u.RawPath = "/"+name, ""
	return u.String()
}

func (s *server) create(t testing.TB, template string) string {
	t.Helper()
	name := fmt.Sprintf("reviewpoint_test_%d_%s", os.Getpid(), strings.ToLower(rand.Text()))
	if err := createDatabase(t.Context(), s.admin, name, template); err != nil {
		t.Fatalf("dbtest: create a database: %v", err)
	}
	t.Cleanup(func() {
		// t.Context has ended by now.
		if err := dropDatabase(context.Background(), s.admin, name); err != nil {
			t.Errorf("dbtest: drop the database: %v", err)
		}
	})
	return s.database(name)
}

// prepare makes the template unless it exists. It does so under another name,
// draft, and renames it when it is complete: a process killed halfway leaves a
// draft, which the next one removes.
func (s *server) prepare(ctx context.Context, template, draft string, fill func(url string) error) error {
	conn, err := s.admin.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	const key = "(hashtextextended($1, 0))"
	if _, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock"+key, template); err != nil {
		return err
	}
	defer func() { _, _ = conn.ExecContext(ctx, "SELECT pg_advisory_unlock"+key, template) }() // closing conn frees it too

	var exists bool
	err = conn.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", template).Scan(&exists)
	if err != nil || exists {
		return err
	}
	if err := dropDatabase(ctx, conn, draft); err != nil {
		return err
	}
	if err := createDatabase(ctx, conn, draft, "template0"); err != nil {
		return err
	}
	// Finds nothing once the draft has its final name.
	defer func() { _ = dropDatabase(ctx, conn, draft) }()
	if err := fill(s.database(draft)); err != nil {
		return err
	}
	return publish(ctx, conn, draft, template)
}

// publish gives draft its final name. A database in use can neither be renamed
// nor copied, so it first shuts out everyone, for good. The rename waits up to
// five seconds for those that are on their way out.
func publish(ctx context.Context, conn execer, draft, template string) error {
	quoted := pq.QuoteIdentifier(draft)
	if _, err := conn.ExecContext(ctx, "ALTER DATABASE "+quoted+" WITH ALLOW_CONNECTIONS false"); err != nil {
		return err
	}
	const terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"
	if _, err := conn.ExecContext(ctx, terminate, draft); err != nil {
		return err
	}
	_, err := conn.ExecContext(ctx, "ALTER DATABASE "+quoted+" RENAME TO "+pq.QuoteIdentifier(template))
	return err
}

// execer is what *sql.DB and *sql.Conn have in common.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// createDatabase copies template. The empty one is template0: unlike template1
// nobody can have changed it, or be connected to it.
func createDatabase(ctx context.Context, on execer, name, template string) error {
	_, err := on.ExecContext(ctx, "CREATE DATABASE "+pq.QuoteIdentifier(name)+" TEMPLATE "+pq.QuoteIdentifier(template))
	return err
}

func dropDatabase(ctx context.Context, on execer, name string) error {
	_, err := on.ExecContext(ctx, "DROP DATABASE IF EXISTS "+pq.QuoteIdentifier(name)+" WITH (FORCE)")
	return err
}
