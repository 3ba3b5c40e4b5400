package database

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"entgo.io/ent/dialect"
)

// target is what a database URL says, taken apart.
type target struct {
	dialect string
	name    string // for people: a path, or host:port/database; never a password

	statements int // kept prepared on each connection

	// SQLite.
	path        string
	memory      bool
	readOnly    bool
	existing    bool // it must be there
	synchronous string
	busyTimeout time.Duration

	// PostgreSQL: an URL that lib/pq reads.
	dsn string
}

const urlForms = "use sqlite://path/to/file.db, sqlite://:memory: or postgres://user:password@host:5432/database"

// parseURL takes an URL apart. No error holds any part of it that may be a password.
func parseURL(raw string) (target, error) {
	scheme, rest, ok := strings.Cut(strings.TrimSpace(raw), "://")
	if !ok {
		return target{}, errors.New("the database URL has no scheme: " + urlForms)
	}
	// SQLAlchemy's form names the Python driver too: sqlite+aiosqlite, postgresql+asyncpg.
	name, _, python := strings.Cut(strings.ToLower(scheme), "+")
	switch name {
	case "sqlite", "sqlite3":
		return parseSQLite(rest, python)
	case "postgres", "postgresql":
		return parsePostgres(rest)
	}
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" { // then it is the head of something else, such as a password
		return target{}, errors.New("the database URL has no scheme: " + urlForms)
	}
	return target{}, fmt.Errorf("unknown database scheme %q: %s", printable(name), urlForms)
}

// printable keeps what is shown of an URL to a short word, should something else stand there.
func printable(s string) string {
	if len(s) > 20 {
		return s[:20] + "..."
	}
	return s
}

func parseSQLite(rest string, python bool) (target, error) {
	t := target{dialect: dialect.SQLite, statements: statementCacheSize, synchronous: "FULL", busyTimeout: 10 * time.Second}
	path, query, _ := strings.Cut(rest, "?")
	path, err := url.PathUnescape(path)
	if err != nil {
		return target{}, errors.New("the path of the SQLite URL has a bad %-escape")
	}
	if strings.HasPrefix(path, "//") && !python { // more slashes than it takes
		path = "/" + strings.TrimLeft(path, "/")
	}
	if python { // sqlite+aiosqlite:///relative.db, sqlite+aiosqlite:////absolute.db
		path = strings.TrimPrefix(path, "/")
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return target{}, errors.New("the options of the SQLite URL cannot be read: write them as ?name=value&name=value")
	}
	for key := range values {
		if err := t.setSQLite(key, values.Get(key)); err != nil {
			return target{}, err
		}
	}
	t.memory = t.memory || path == ":memory:" || (python && path == "")
	if path == "" && !t.memory {
		return target{}, errors.New("the SQLite URL names no file: " + urlForms)
	}
	t.path, t.name = path, path
	if t.memory {
		t.name = "memory"
	}
	return t, nil
}

func (t *target) setSQLite(key, value string) error {
	switch key {
	case "synchronous":
		t.synchronous = strings.ToUpper(value)
		switch t.synchronous {
		case "OFF", "NORMAL", "FULL", "EXTRA":
			return nil
		}
		return errors.New("synchronous must be off, normal, full or extra")
	case "busy_timeout":
		d, err := time.ParseDuration(value)
		if err != nil || d < time.Millisecond {
			return errors.New("busy_timeout must be a duration of 1ms or more, such as 5s")
		}
		t.busyTimeout = d
		return nil
	case statementsOption:
		return t.setStatements(value)
	case "mode":
		switch value {
		case "memory":
			t.memory = true
		case "ro":
			t.readOnly = true
		case "rwc":
		default:
			return errors.New("mode must be rwc, ro or memory")
		}
		return nil
	case "_fk", "_foreign_keys": // As in an URL for the Atlas CLI.
		if value == "1" || value == "true" || value == "on" {
			return nil
		}
		return errors.New("foreign keys are always on: remove " + key + " from the URL")
	}
	return fmt.Errorf("unknown SQLite option %q: there are synchronous, busy_timeout, mode and "+statementsOption, printable(key))
}

func parsePostgres(rest string) (target, error) {
	rest, several := cutHosts(rest)
	u, err := url.Parse("postgres://" + rest)
	if err != nil || hasUserBehindHost(u) {
		// url.Parse quotes the URL, and so the password.
		return target{}, errors.New("the PostgreSQL URL cannot be read: escape special characters of the password (@ is %40, / is %2F, : is %3A, % is %25), and write the port in digits")
	}
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return target{}, errors.New("the options of the PostgreSQL URL cannot be read: write them as ?name=value&name=value")
	}
	t := target{dialect: dialect.Postgres, statements: statementCacheSize}
	if values.Has(statementsOption) {
		if len(values[statementsOption]) > 1 {
			return target{}, errStatements
		}
		if err := t.setStatements(values.Get(statementsOption)); err != nil {
			return target{}, err
		}
		values.Del(statementsOption)
	}
	if mode := values.Get("ssl"); mode != "" { // asyncpg's name
		values.Del("ssl")
		setDefault(values, "sslmode", mode)
	}
	host := u.Host
	if several != "" {
		host = several
		names, ports := splitHosts(several)
		values.Set("host", names)
		values.Set("port", ports)
	}
	if socket := values.Get("host"); socket != "" && several == "" {
		host = socket
	}
	// lib/pq would take "require", which encrypts but lets anybody be the server.
	if staysLocal(host, values) {
		setDefault(values, "sslmode", "disable")
	} else {
		setDefault(values, "sslmode", "verify-full")
	}
	setDefault(values, "binary_parameters", "yes") // A statement with arguments is one round trip instead of two.
	if t.statements > 0 {
		// PgBouncer refuses what it does not know, and must: where clients share a connection, lib/pq's
		// names of statements (1, 2, 3) are those of others, too, and the wrong one would run.
		values.Set(statementsMark, "on")
	}
	setDefault(values, "timezone", "UTC")
	setDefault(values, "application_name", "reviewpoint")
	setDefault(values, "connect_timeout", "10")
	setDefault(values, "statement_timeout", "60000")
	setDefault(values, "lock_timeout", "10000")
	setDefault(values, "idle_in_transaction_session_timeout", "300000")
	u.RawQuery = values.Encode()
	t.name, t.dsn = host+u.Path, u.String()
	return t, nil
}

const (
	statementsOption = "statement_cache_size"
	statementsMark   = "reviewpoint.statement_cache" // a setting that means nothing to the server
)

var errStatements = fmt.Errorf("%s must be a number from 0 (off) to %d", statementsOption, maxStatementCache)

func (t *target) setStatements(value string) error {
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 || n > maxStatementCache {
		return errStatements
	}
	t.statements = n
	return nil
}

// hasUserBehindHost reports whether a /, ? or # in the password has ended the host too early, so that
// the rest of the password would be shown as the name of the database.
func hasUserBehindHost(u *url.URL) bool {
	return strings.Contains(u.EscapedPath(), "@") || u.Fragment != "" || strings.Contains(u.RawQuery, "@")
}

// cutHosts takes a list of several hosts out of an URL without its scheme: net/url reads only one,
// and lib/pq reads several from the options alone.
func cutHosts(rest string) (without, several string) {
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	start := strings.LastIndexByte(rest[:end], '@') + 1
	if !strings.Contains(rest[start:end], ",") {
		return rest, ""
	}
	return rest[:start] + rest[end:], rest[start:end]
}

// splitHosts takes host1:port1,host2:port2 apart into host1,host2 and port1,port2.
func splitHosts(list string) (hosts, ports string) {
	var names, numbers []string
	for host := range strings.SplitSeq(list, ",") {
		name, port, err := net.SplitHostPort(host)
		if err != nil {
			name, port = strings.Trim(host, "[]"), "5432"
		}
		names, numbers = append(names, name), append(numbers, port)
	}
	return strings.Join(names, ","), strings.Join(numbers, ",")
}

func setDefault(values url.Values, key, value string) {
	if !values.Has(key) {
		values.Set(key, value)
	}
}

// staysLocal reports whether the connection stays on this machine, wherever lib/pq takes the address from.
func staysLocal(host string, values url.Values) bool {
	if host == "" {
		host = os.Getenv("PGHOST")
	}
	address := cmp.Or(values.Get("hostaddr"), os.Getenv("PGHOSTADDR"))
	service := cmp.Or(values.Get("service"), os.Getenv("PGSERVICE"))
	return isLocal(host) && isLocal(address) && service == ""
}

// isLocal reports whether every host is this machine: a loopback address or a Unix socket.
func isLocal(hosts string) bool {
	for host := range strings.SplitSeq(hosts, ",") {
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		ip := net.ParseIP(strings.Trim(host, "[]"))
		if host != "" && host != "localhost" && !strings.HasPrefix(host, "/") && !ip.IsLoopback() {
			return false
		}
	}
	return true
}
