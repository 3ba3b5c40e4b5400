package dbtest

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// readyWithin bounds the start of a server, initdb included: one or two seconds
// on an idle machine.
const readyWithin = time.Minute

// errServerEnded is what startServer returns when the server ended before it
// accepted a connection.
var errServerEnded = errors.New("PostgreSQL ended before it was ready")

//go:embed server.sh
var serverScript string

func startServer() (*server, error) {
	bin, err := findBinaries()
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		s, err := start(bin)
		// Another process may have taken the port first.
		if errors.Is(err, errServerEnded) && attempt < 3 {
			continue
		}
		return s, err
	}
}

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
	return "", errNoPostgres
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

// start makes a server with the programs in the folder bin.
func start(bin string) (*server, error) {
	folder, err := os.MkdirTemp("", "reviewpoint-postgres-")
	if err != nil {
		return nil, err
	}
	// With the test's own output, go test would wait for the server to end.
	log, err := os.Create(filepath.Join(folder, "log"))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	defer log.Close()
	s, cmd, err := launch(bin, folder, log)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	// From here on the script sees to the folder.
	if err := s.awaitReady(cmd); err != nil {
		s.lifeline.Close()
		return nil, fmt.Errorf("%w\n%s", err, tail(log))
	}
	return s, nil
}

func launch(bin, folder string, log *os.File) (*server, *exec.Cmd, error) {
	password, passwordFile := rand.Text(), filepath.Join(folder, "password")
	if err := os.WriteFile(passwordFile, []byte(password), 0o600); err != nil {
		return nil, nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command("sh", "-c", serverScript, "sh", bin, folder, port)
	cmd.Dir, cmd.Stdout, cmd.Stderr = folder, log, log
	if err := detach(cmd, folder, passwordFile); err != nil {
		return nil, nil, err
	}
	lifeline, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	return &server{lifeline: lifeline, url: &url.URL{
		Scheme: "postgres", User: url.UserPassword("postgres", password),
		Host: net.JoinHostPort("127.0.0.1", port), Path: "/postgres", RawQuery: "sslmode=disable",
	}}, cmd, cmd.Start()
}

func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return port, errors.Join(err, listener.Close())
}

// awaitReady connects as soon as the server lets it. It gives up when the
// script cmd has ended.
func (s *server) awaitReady(cmd *exec.Cmd) (err error) {
	if s.admin, err = sql.Open("postgres", s.url.String()); err != nil {
		return err
	}
	ctx, ended := context.WithTimeout(context.Background(), readyWithin)
	go func() {
		defer ended()
		cmd.Wait()
	}()
	for {
		// Not only the server's port but also its password: the port can be another's.
		if err = s.admin.PingContext(ctx); err == nil {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
			continue
		case <-ctx.Done():
		}
		s.admin.Close()
		if errors.Is(ctx.Err(), context.Canceled) {
			return errServerEnded
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
