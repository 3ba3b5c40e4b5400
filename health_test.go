package models_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/internal/cluster"
	"github.com/reviewpoint/models/internal/dbtest"
)

func TestHealth(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]func(t *testing.T) string{
		"sqlite":   func(t *testing.T) string { return "sqlite://" + t.TempDir() + "/test.db" },
		"postgres": func(t *testing.T) string { return dbtest.Postgres(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := url(t)
			s := open(t, url)
			ctx := t.Context() // Nobody asks.
			all := must(s.Migrations(ctx))(t)
			last := all[len(all)-1]

			h := must(s.Health(ctx))(t)
			if !regexp.MustCompile(`^\d+(\.\d+)+$`).MatchString(h.Version) || h.Dialect != s.Dialect() || h.Role != "primary" || h.ReadOnly {
				t.Errorf("an empty database: %+v", h)
			}
			if h.Schema != "pending" || h.Migration != "" || len(h.Pending) != len(all) || h.Pending[0] != all[0].Name {
				t.Errorf("an empty database: %+v", h)
			}
			if again := must(s.Migrations(ctx))(t); !slices.Equal(again, all) {
				t.Errorf("to look has changed something: %v", again)
			}

			must(s.Migrate(ctx))(t)
			check(t, s.InTx(ctx, func(ctx context.Context) error { h = must(s.Health(ctx))(t); return nil }))
			if h.Schema != "current" || h.Migration != last.Version || len(h.Pending) != 0 || h.Problem != "" {
				t.Errorf("a migrated database: %+v", h)
			}
			if text := string(must(json.Marshal(h))(t)); !strings.Contains(text, `"schema":"current"`) || !strings.Contains(text, `"pending":[]`) || !strings.Contains(text, `"read_only":false`) {
				t.Errorf("the JSON is %s", text)
			}
			if h := must(open(t, url, models.WithReadOnly()).Health(ctx))(t); !h.ReadOnly || h.Role != "primary" || h.Schema != "current" {
				t.Errorf("a store opened to read: %+v", h)
			}

			ended, end := context.WithCancel(ctx)
			end()
			if _, err := s.Health(ended); !errors.Is(err, context.Canceled) {
				t.Errorf("the context has ended: %v", err)
			}

			insert := "INSERT INTO atlas_schema_revisions (version, description, type, applied, total, executed_at, execution_time, hash, operator_version) VALUES ('99990101000000', 'later', 2, 1, 1, CURRENT_TIMESTAMP, 1, 'h', 'v')"
			must(s.ExecContext(ctx, insert))(t)
			if h := must(s.Health(ctx))(t); h.Schema != "newer" || !strings.Contains(h.Problem, "99990101000000_later") {
				t.Errorf("a newer database: %+v", h)
			}
			must(s.ExecContext(ctx, "DELETE FROM atlas_schema_revisions WHERE version = '99990101000000' OR version = $1", last.Version))(t)
			if h := must(s.Health(ctx))(t); h.Schema != "pending" || !slices.Equal(h.Pending, []string{last.Name}) {
				t.Errorf("an older database: %+v", h)
			}
			must(s.ExecContext(ctx, "UPDATE atlas_schema_revisions SET hash = 'other'"))(t)
			if h := must(s.Health(ctx))(t); h.Schema != "unknown" || !strings.Contains(h.Problem, all[0].Name) {
				t.Errorf("an edited migration: %+v", h)
			}
			must(s.ExecContext(ctx, "DROP TABLE atlas_schema_revisions"))(t)
			if h := must(s.Health(ctx))(t); h.Schema != "unknown" || !strings.Contains(h.Problem, "found table") {
				t.Errorf("a foreign database: %+v", h)
			}
			check(t, s.Close())
			if h, err := s.Health(ctx); err == nil || h.Dialect != s.Dialect() {
				t.Errorf("a closed store: %+v, %v", h, err)
			}
		})
	}
}

// TestHealth_Replica asks a server that follows another one, and again when it follows no more.
func TestHealth_Replica(t *testing.T) {
	t.Parallel()
	c, err := cluster.Start()
	if errors.Is(err, cluster.ErrNone) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	check(t, err)
	t.Cleanup(func() { c.Close() })
	primary := open(t, c.URL())
	ctx := t.Context()
	must(primary.Migrate(ctx))(t)

	url := replicaOf(t, primary, c.URL())
	replica := open(t, url)
	h := must(replica.Health(ctx))(t)
	if h.Role != "replica" || !h.ReadOnly || h.Schema != "current" || h.Version == "" {
		t.Errorf("the replica: %+v", h)
	}
	if err := newUser(replica).Exec(models.AsSystem(ctx, "test")); !errors.Is(err, models.ErrReadOnly) {
		t.Errorf("a write there: %v, want ErrReadOnly", err)
	}
	looking := open(t, url, models.WithReadOnly())
	check(t, looking.InTx(ctx, func(ctx context.Context) error { h, err = looking.Health(ctx); return err }))
	if h.Role != "replica" || !h.ReadOnly || h.Schema != "current" {
		t.Errorf("in a transaction there: %+v", h)
	}
	if h := must(primary.Health(ctx))(t); h.Role != "primary" || h.ReadOnly {
		t.Errorf("the primary: %+v", h)
	}
	if promoted := column[bool](t, ctx, replica, "SELECT pg_promote()"); !promoted[0] {
		t.Fatal("the replica was not promoted")
	}
	if h := must(replica.Health(ctx))(t); h.Role != "primary" || h.ReadOnly {
		t.Errorf("the replica, promoted: %+v", h)
	}
}

// replicaOf starts a server that follows the one of s, with its programs, account and folder, and returns
// its URL. Should the test be killed, it ends by itself when that folder is gone.
func replicaOf(t *testing.T, s *models.Store, address string) string {
	t.Helper()
	listener := must((&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0"))(t)
	u := must(url.Parse(address))(t)
	u.Host = listener.Addr().String()
	check(t, listener.Close())
	bin := column[string](t, t.Context(), s, "SELECT setting FROM pg_config WHERE name = 'BINDIR'")[0]
	folder := filepath.Join(filepath.Dir(column[string](t, t.Context(), s, "SELECT current_setting('data_directory')")[0]), "replica")
	run := func(ctx context.Context, format string, args ...any) {
		t.Helper()
		program := fmt.Sprintf(format, args...) + " </dev/null >>" + folder + ".log 2>&1"
		if _, err := s.ExecContext(ctx, "COPY (SELECT 1) TO PROGRAM '"+strings.ReplaceAll(program, "'", "''")+"'"); err != nil {
			log, _ := os.ReadFile(folder + ".log")
			t.Fatalf("%v: %s", err, log)
		}
	}
	run(t.Context(), "%s/pg_basebackup -d '%s' -D %s -R -X stream -c fast --no-sync", bin, address, folder)
	run(t.Context(), "%s/pg_ctl start -w -D %s -o '-p %s -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=300 -c fsync=off'", bin, folder, u.Port())
	t.Cleanup(func() { run(context.Background(), "%s/pg_ctl stop -m immediate -D %s", bin, folder) })
	return u.String()
}

// TestHealth_Forbidden: a role that may not look at the migrations is answered all the same.
func TestHealth_Forbidden(t *testing.T) {
	t.Parallel()
	address := must(url.Parse(postgresURL(t)))(t)
	admin := open(t, address.String())
	role := "nobody_" + strings.TrimPrefix(address.Path, "/")
	must(admin.ExecContext(t.Context(), "CREATE ROLE "+role+" LOGIN PASSWORD 'nobody'"))(t)
	t.Cleanup(func() { must(admin.ExecContext(context.Background(), "DROP ROLE "+role))(t) })
	address.User = url.UserPassword(role, "nobody")
	h := must(open(t, address.String()).Health(t.Context()))(t)
	if h.Schema != "unknown" || h.Version == "" || !strings.Contains(h.Problem, "grant SELECT on atlas_schema_revisions") {
		t.Errorf("%+v", h)
	}
}
