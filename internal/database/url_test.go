package database_test

import (
	"errors"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/dbtest"
)

func TestParse_Names(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"sqlite://relative.db":                               "relative.db",
		"sqlite://folder/relative.db?synchronous=normal":     "folder/relative.db",
		"sqlite:///absolute.db":                              "/absolute.db",
		"sqlite:////absolute.db":                             "/absolute.db",
		"sqlite3:///absolute.db":                             "/absolute.db",
		"SQLite:///absolute.db":                              "/absolute.db",
		" sqlite:///absolute.db\n":                           "/absolute.db", //nolint:gocritic // As people paste it.
		"sqlite:///with%20blank%3F%23%25.db?mode=ro":         "/with blank?#%.db",
		"sqlite://:memory:":                                  "memory",
		"sqlite://dev?mode=memory&_fk=1":                     "memory",
		"sqlite+aiosqlite:///relative.db":                    "relative.db",
		"sqlite+aiosqlite:////absolute.db":                   "/absolute.db",
		"sqlite+pysqlite:///:memory:":                        "memory",
		"sqlite+aiosqlite://":                                "memory",
		"postgres://u:" + canary + "@db.example/name":        "db.example/name",
		"postgresql://u:" + canary + "@db.example:5433/name": "db.example:5433/name",
		"postgresql+asyncpg://u:" + canary + "@[::1]/name":   "[::1]/name",
		"postgres://u@db.example/a%40b":                      "db.example/a@b",
		"postgres:///name?host=/run/postgresql":              "/run/postgresql/name",
		"postgres://u@one:5433,two,[::1]:5434/name":          "one:5433,two,[::1]:5434/name",
	} {
		name, _, err := database.Parse(raw)
		if err != nil || name != want {
			t.Errorf("%s: %q, %v, want %q", raw, name, err, want)
		}
	}
}

func TestParse_SSLMode(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"postgres://u@db.example/name":                      "verify-full",
		"postgres://u@10.0.0.7/name":                        "verify-full",
		"postgres://u@localhost.example/name":               "verify-full",
		"postgres://u@localhost,db.example/name":            "verify-full",
		"postgres:///name?host=db.example":                  "verify-full",
		"postgres://u@localhost/name?hostaddr=10.0.0.7":     "verify-full",
		"postgres:///name?hostaddr=10.0.0.7":                "verify-full",
		"postgres:///name?service=reviewpoint":              "verify-full",
		"postgres:///name":                                  "disable",
		"postgres://u@localhost/name":                       "disable",
		"postgres://u@127.0.0.1:5433/name":                  "disable",
		"postgres://u@[::1]:5433/name":                      "disable",
		"postgres:///name?host=/run/postgresql":             "disable",
		"postgres://u@db.example/name?sslmode=require":      "require",
		"postgresql+asyncpg://u@db.example/n?ssl=verify-ca": "verify-ca",
	} {
		_, dsn, err := database.Parse(raw)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		u, err := url.Parse(dsn)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		if got := u.Query().Get("sslmode"); got != want {
			t.Errorf("%s: sslmode=%s, want %s", raw, got, want)
		}
	}
}

// The server does not know the option, and would refuse it.
func TestParse_StatementCacheSize(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{"sqlite://a.db", "postgres://u@db.example/name"} {
		for option, want := range map[string]int{"": database.StatementCacheSize, "?statement_cache_size=0": 0, "?statement_cache_size=1": 1, "?statement_cache_size=10000": 10000} {
			size, dsn, err := database.ParseStatements(raw + option)
			if err != nil || size != want {
				t.Errorf("%s%s: %d, %v, want %d", raw, option, size, err, want)
			}
			if strings.Contains(dsn, "statement_cache_size") {
				t.Errorf("%s%s: lib/pq gets %s", raw, option, dsn)
			}
		}
	}
}

// lib/pq takes from the environment what the URL does not say.
func TestParse_SSLModeByEnvironment(t *testing.T) {
	t.Setenv("PGHOST", "db.example")
	if _, dsn, err := database.Parse("postgres:///name"); err != nil || !strings.Contains(dsn, "sslmode=verify-full") {
		t.Errorf("PGHOST is elsewhere: %s, %v", dsn, err)
	}
	if _, dsn, err := database.Parse("postgres://localhost/name"); err != nil || !strings.Contains(dsn, "sslmode=disable") {
		t.Errorf("PGHOST is not heeded: %s, %v", dsn, err)
	}
	t.Setenv("PGHOSTADDR", "10.0.0.7")
	if _, dsn, err := database.Parse("postgres://localhost/name"); err != nil || !strings.Contains(dsn, "sslmode=verify-full") {
		t.Errorf("PGHOSTADDR is elsewhere: %s, %v", dsn, err)
	}
}

func TestOpen_Forms(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a file #1.db")
	escaped := (&url.URL{Path: path}).EscapedPath()
	server := strings.TrimPrefix(dbtest.Postgres(t), "postgres")
	for raw, want := range map[string]string{
		"sqlite://" + escaped:                                                       "sqlite3",
		"sqlite://" + escaped + "?synchronous=extra":                                "sqlite3",
		"sqlite+aiosqlite:///" + escaped:                                            "sqlite3",
		"sqlite://" + escaped + "?mode=rwc&_foreign_keys=on":                        "sqlite3",
		"sqlite://:memory:":                                                         "sqlite3",
		"sqlite://dev?mode=memory&_fk=1":                                            "sqlite3",
		"postgres" + server:                                                         "postgres",
		"postgresql" + server:                                                       "postgres",
		"postgresql+asyncpg" + server:                                               "postgres",
		strings.Replace("postgres"+server, "sslmode=", "ssl=", 1):                   "postgres",
		strings.Replace("postgres"+server, "@", "@127.0.0.1:"+closedPort(t)+",", 1): "postgres",
	} {
		db, err := database.Open(t.Context(), raw, database.Options{})
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		if err := db.Ping(t.Context()); err != nil || db.Dialect() != want {
			t.Errorf("%s: dialect %q, ping %v", raw, db.Dialect(), err)
		}
		db.Close()
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestOpen_BadURLs(t *testing.T) {
	t.Parallel()
	const (
		forms  = "use sqlite://"
		escape = "escape special characters of the password"
	)
	for _, test := range []struct{ url, want string }{
		{"", "no scheme"},
		{"reviewpoint.db", forms},
		{"u:" + canary + "@127.0.0.1/name", forms},
		{"postgres:u:" + canary + "@127.0.0.1/name", "no scheme"},
		{"//u:" + canary + "@127.0.0.1/name", "no scheme"},
		{"u:" + canary + "@127.0.0.1/name?next=https://example.org", forms},
		{canary + "@127.0.0.1?next=https://example.org", forms},
		{"mysql://u:" + canary + "@127.0.0.1/name", `unknown database scheme "mysql"`},
		{"mysql+pymysql://u:" + canary + "@127.0.0.1/name", `unknown database scheme "mysql"`},
		{"://u:" + canary + "@127.0.0.1/name", forms},
		{"postgres://u:" + canary + "%@127.0.0.1/name", escape},
		{"postgres://u:" + canary + "%zz@127.0.0.1/name", escape},
		{"postgres://u:p@" + canary + "@127.0.0.1:1/name", "cannot be reached"},
		{"postgres://u:" + canary + "@p@127.0.0.1:1/name", "cannot be reached"},
		{"postgres://u:" + canary + "/p@127.0.0.1/name", escape},
		{"postgres://u:p/" + canary + "@127.0.0.1/name", escape},
		{"postgres://u:12/" + canary + "@127.0.0.1/name", escape},
		{"postgres://u:12?" + canary + "@127.0.0.1/name", escape},
		{"postgres://u:12#" + canary + "@127.0.0.1/name", escape},
		{"postgres://u:" + canary + "#p@127.0.0.1/name", escape},
		{"postgres://u:" + canary + " p@127.0.0.1/name", escape},
		{"postgres://u:" + canary + "[@127.0.0.1/name", escape},
		{"postgres://u:" + canary + "@127.0.0.1:port/name", escape},
		{"postgres://u:" + canary + "@127.0.0.1/name?a=%zz", "options of the PostgreSQL URL"},
		{"postgres://u:" + canary + "@127.0.0.1/name?sslmode=maybe", "sslmode"},
		{"sqlite://", "names no file"},
		{"sqlite://?mode=rwc", "names no file"},
		{"sqlite://%zz.db", "%-escape"},
		{"sqlite://a.db?a=%zz", "options of the SQLite URL"},
		{"sqlite://a.db?cache=shared", `unknown SQLite option "cache"`},
		{"sqlite://a.db?_fk=0", "foreign keys are always on"},
		{"sqlite://a.db?_foreign_keys=off", "foreign keys are always on"},
		{"sqlite://a.db?mode=rw", "mode must be"},
		{"sqlite://a.db?synchronous=sometimes", "synchronous must be"},
		{"sqlite://a.db?busy_timeout=5", "busy_timeout must be"},
		{"sqlite://a.db?busy_timeout=-5s", "busy_timeout must be"},
		{"sqlite://a.db?statement_cache_size=-1", "statement_cache_size must be a number from 0 (off) to 10000"},
		{"sqlite://a.db?statement_cache_size=", "statement_cache_size must be"},
		{"postgres://u:" + canary + "@127.0.0.1/name?statement_cache_size=10001", "statement_cache_size must be"},
		{"postgres://u:" + canary + "@127.0.0.1/name?statement_cache_size=many", "statement_cache_size must be"},
		{"postgres://u:" + canary + "@127.0.0.1/name?statement_cache_size=1&statement_cache_size=0", "statement_cache_size must be"},
	} {
		t.Run(test.url, func(t *testing.T) {
			t.Parallel()
			refused(t, test.url, test.want)
		})
	}
}

func TestOpen_SQLiteFiles(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	refused(t, "sqlite://"+folder, "is a folder")
	refused(t, "sqlite://"+filepath.Join(folder, "absent", "a.db"), "does not exist")
	refused(t, "sqlite://"+filepath.Join(folder, "absent.db")+"?mode=ro", "no database at")
	refused(t, "sqlite:///dev/null", "not a regular file")

	text := filepath.Join(folder, "notes.txt")
	content := strings.Repeat("this is no database\n", 500)
	if err := os.WriteFile(text, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, "sqlite://"+text, "is not a SQLite database")
	refused(t, "sqlite://"+text+"?mode=ro", "is not a SQLite database")
	refused(t, "sqlite://"+filepath.Join(text, "a.db"), "cannot open")
	if after, err := os.ReadFile(text); err != nil || string(after) != content {
		t.Errorf("the file was changed: %v", err)
	}
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v, %v; want the text alone", entries, err)
	}

	_, err = database.Open(t.Context(), "sqlite://"+filepath.Join(folder, "absent.db"), database.Options{ReadOnly: true})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening an absent file to look: %v, want fs.ErrNotExist", err)
	}
}

func TestOpen_PostgresRefusals(t *testing.T) {
	t.Parallel()
	good, err := url.Parse(dbtest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, want string
		change     func(u *url.URL)
	}{
		{"closed port", "cannot be reached", func(u *url.URL) { u.Host = "127.0.0.1:" + closedPort(t) }},
		{"wrong password", "refuses this user or password", func(*url.URL) {}},
		{"unknown user", "refuses this user or password", func(u *url.URL) { u.User = url.UserPassword("nobody_"+"here", canary) }},
		{"unknown database", "no database of the name", func(u *url.URL) { u.Path, u.User = "/absent", good.User }},
		{"unknown option", "does not know an option of the URL", func(u *url.URL) { u.RawQuery, u.User = u.RawQuery+"&sslmod=disable", good.User }},
		{"no TLS", "does not speak TLS", func(u *url.URL) { u.RawQuery, u.User = "sslmode=verify-full", good.User }},
		{"unknown host", "is not known", func(u *url.URL) { u.Host = "host.invalid" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			u := *good
			u.User = url.UserPassword(good.User.Username(), canary)
			test.change(&u)
			refused(t, u.String(), test.want)
			password, _ := good.User.Password()
			if _, err := database.Open(t.Context(), u.String(), database.Options{}); strings.Contains(err.Error(), password) {
				t.Errorf("the error holds the server's password: %v", err)
			}
		})
	}
}
