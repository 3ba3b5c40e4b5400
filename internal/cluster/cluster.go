// Package cluster starts a throw-away PostgreSQL server from the machine's own initdb and postgres, to
// try things in.
package cluster

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/lib/pq"
)

// readyWithin bounds the start of a server, initdb included: one or two seconds
// on an idle machine.
const readyWithin = time.Minute

// ErrNone is what Start returns where the machine has no PostgreSQL that it could start.
var ErrNone = errors.New("this machine has no PostgreSQL to start: install one (apt-get install postgresql)")

// errEnded is what start returns when the server ended before it accepted a connection.
var errEnded = errors.New("PostgreSQL ended before it was ready")

//go:embed server.sh
var serverScript string

// Cluster is a server on a loopback port of its own.
type Cluster struct {
	url *url.URL
	// The server ends when the other end of this pipe does, so it goes with the process, too. It is
	// held here because an unreachable one would be closed by the garbage collector.
	lifeline io.Closer
}

// Start starts a server, and returns when it accepts connections. It ends with Close or with this
// process, however that ends, and its files go with it. It is made for speed: it would lose what was
// committed if the machine crashed. Its time zone is not UTC. Start returns ErrNone where there is
// nothing to start.
func Start() (*Cluster, error) {
	bin, err := findBinaries()
	if err != nil {
		return nil, err
	}
	parent := ""
	for attempt := 1; ; attempt++ {
		c, err := start(bin, parent)
		if errors.Is(err, fs.ErrPermission) && parent == "" {
			parent = "/tmp" // The server's account cannot enter the folder for temporary files of this one.
			continue
		}
		// Another process may have taken the port first.
		if errors.Is(err, errEnded) && attempt < 3 {
			continue
		}
		return c, err
	}
}

// URL is that of the database postgres, as its superuser.
func (c *Cluster) URL() string { return c.url.String() }

// Guest makes a role that may make schemas in the database postgres, and nothing to the machine, and returns
// the URL for it: what the superuser runs could start any program.
func (c *Cluster) Guest(ctx context.Context) (guest string, err error) {
	connector, err := pq.NewConnector(c.URL())
	if err != nil {
		return "", err
	}
	db := sql.OpenDB(connector)
	defer func() { err = errors.Join(err, db.Close()) }()
	password := rand.Text()
	for _, statement := range []string{
		"CREATE ROLE guest LOGIN PASSWORD " + pq.QuoteLiteral(password),
		"GRANT CREATE ON DATABASE postgres TO guest",
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return "", err
		}
	}
	u := *c.url
	u.User = url.UserPassword("guest", password)
	return u.String(), nil
}

// Close ends the server. It does not wait for the end.
func (c *Cluster) Close() error { return c.lifeline.Close() }

// findBinaries returns the folder of initdb and postgres. Debian, among others,
// keeps them out of PATH.
func findBinaries() (string, error) {
	folders := filepath.SplitList(os.Getenv("PATH"))
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin",
		"/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return "", err
		}
		folders = append(folders, newestFirst(found)...)
	}
	for _, folder := range folders {
		_, noInitdb := exec.LookPath(filepath.Join(folder, "initdb"))
		_, noPostgres := exec.LookPath(filepath.Join(folder, "postgres"))
		if filepath.IsAbs(folder) && noInitdb == nil && noPostgres == nil {
			return folder, nil
		}
	}
	return "", ErrNone
}

var versionNumber = regexp.MustCompile(`\d+(\.\d+)?`)

// newestFirst sorts folders by the version in their names, as numbers: 9.6 is
// older than 10.
func newestFirst(folders []string) []string {
	version := func(folder string) float64 {
		number, _ := strconv.ParseFloat(versionNumber.FindString(folder), 64)
		return number
	}
	slices.SortStableFunc(folders, func(a, b string) int { return cmp.Compare(version(b), version(a)) })
	return folders
}

// start makes a server with the programs in the folder bin, and its files below the folder parent.
func start(bin, parent string) (*Cluster, error) {
	folder, err := os.MkdirTemp(parent, "reviewpoint-postgres-")
	if err != nil {
		return nil, err
	}
	// With the test's own output, go test would wait for the server to end.
	log, err := os.Create(filepath.Join(folder, "log"))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	defer func() { _ = log.Close() }() // The server has a handle of its own.
	c, cmd, err := launch(bin, folder, log)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	// From here on the script sees to the folder.
	if err := c.awaitReady(cmd); err != nil {
		return nil, errors.Join(fmt.Errorf("%w\n%s", err, tail(log)), c.Close())
	}
	return c, nil
}

func launch(bin, folder string, log *os.File) (*Cluster, *exec.Cmd, error) {
	password, passwordFile := rand.Text(), filepath.Join(folder, "password")
	if err := os.WriteFile(passwordFile, []byte(password), 0o600); err != nil {
		return nil, nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.CommandContext(context.Background(), "sh", "-c", serverScript, "sh", bin, folder, port)
	cmd.Dir, cmd.Stdout, cmd.Stderr = folder, log, log
	if err := detach(cmd, folder, passwordFile); err != nil {
		return nil, nil, err
	}
	lifeline, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	return &Cluster{lifeline: lifeline, url: &url.URL{
		Scheme: "postgres", User: url.UserPassword("postgres", password),
		Host: net.JoinHostPort("127.0.0.1", port), Path: "/postgres", RawQuery: "sslmode=disable",
	}}, cmd, cmd.Start()
}

func freePort() (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return port, errors.Join(err, listener.Close())
}

// awaitReady connects as soon as the server lets it. It gives up when the
// script cmd has ended.
func (c *Cluster) awaitReady(cmd *exec.Cmd) (err error) {
	connector, err := pq.NewConnector(c.URL())
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer func() { _ = db.Close() }()
	ctx, ended := context.WithTimeout(context.Background(), readyWithin)
	go func() {
		defer ended()
		_ = cmd.Wait() // How it ended does not matter.
	}()
	for {
		// Not only the server's port but also its password: the port can be another's.
		if err = db.PingContext(ctx); err == nil {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
			continue
		case <-ctx.Done():
		}
		if errors.Is(ctx.Err(), context.Canceled) {
			return errEnded
		}
		return fmt.Errorf("PostgreSQL was not ready within %v: %w", readyWithin, err)
	}
}

// tail returns the last 4 KiB of log. It reads through the handle: the name is
// gone when the script has cleaned up.
func tail(log *os.File) []byte {
	const most = 4096
	end, _ := log.Seek(0, io.SeekEnd)
	text, _ := io.ReadAll(io.NewSectionReader(log, max(0, end-most), most))
	return text
}
