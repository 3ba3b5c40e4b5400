package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/reviewpoint/models"
)

// ground is a database that has so many tokens and files, and a hundredth of that as accounts. The first
// account has a tenth of the files.
type ground struct {
	target

	rows, users int
	store       *models.Store
	pool        *sql.DB // beside the store
	drop        func() error
}

// ground makes a database, empty but for its tables.
func (r scaleRun) ground(ctx context.Context, rows int) (g *ground, err error) {
	g = &ground{rows: rows, users: rows / 100}
	if r.postgres {
		if g.target, g.drop, err = postgresTarget(ctx, r.server); err != nil {
			return nil, err
		}
	} else {
		folder, err := os.MkdirTemp(r.folder, "")
		if err != nil {
			return nil, err
		}
		g.target, g.drop = sqliteTarget(folder, "OFF"), func() error { return os.RemoveAll(folder) }
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.Close())
		}
	}()
	store, err := models.Open(ctx, g.url)
	if err != nil {
		return nil, err
	}
	_, err = store.Migrate(ctx)
	if err := errors.Join(err, store.Close()); err != nil {
		return nil, err
	}
	g.pool, err = g.open("postgres")
	if err != nil {
		return nil, err
	}
	// What is set for filling holds for one connection.
	g.pool.SetMaxOpenConns(1)
	return g, nil
}

// Close removes the database.
func (g *ground) Close() (err error) {
	if g.store != nil {
		err = g.store.Close()
	}
	if g.pool != nil {
		err = errors.Join(err, g.pool.Close())
	}
	return errors.Join(err, g.drop())
}

// filled makes a database with rows, and opens its store.
func (r scaleRun) filled(ctx context.Context, rows int) (g *ground, err error) {
	r.progress("fill %d tokens and files", rows)
	if g, err = r.ground(ctx, rows); err != nil {
		return nil, err
	}
	if err := errors.Join(g.quick(ctx), g.fill(ctx)); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	if g.store, err = models.Open(ctx, g.url); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

// quick makes the connection of the pool fill tables fast.
func (g *ground) quick(ctx context.Context) error {
	if g.postgres {
		return g.exec(ctx, "SET maintenance_work_mem = '1GB'", "SET synchronous_commit = off", "SET statement_timeout = 0")
	}
	return g.exec(ctx, "PRAGMA journal_mode = OFF", "PRAGMA cache_size = -3000000", "PRAGMA foreign_keys = OFF", "PRAGMA ignore_check_constraints = ON")
}

func (g *ground) exec(ctx context.Context, statements ...string) error {
	for _, statement := range statements {
		if _, err := g.pool.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%.60s: %w", statement, err)
		}
	}
	return nil
}

func (g *ground) fill(ctx context.Context) (err error) {
	if err := g.insertUsers(ctx, series{1, g.users}); err != nil {
		return err
	}
	most := g.rows - g.rows/20
	for table, insert := range map[string]func(context.Context, series) error{"blacklisted_tokens": g.insertTokens, "files": g.insertFiles} {
		if err := g.withoutIndexes(ctx, table, func() error { return insert(ctx, series{1, most}) }); err != nil {
			return err
		}
		if err := insert(ctx, series{most + 1, g.rows}); err != nil {
			return err
		}
	}
	return g.settle(ctx)
}

// settle clears away what filling has left.
func (g *ground) settle(ctx context.Context) error {
	if g.postgres {
		// Not every server has the extension, nor lets everybody install it or write out what has changed.
		_ = errors.Join(g.exec(ctx, "CREATE EXTENSION pg_prewarm"), g.exec(ctx, "CHECKPOINT"))
		return g.exec(ctx, "VACUUM ANALYZE")
	}
	// The settings for filling end with their connection.
	if err := errors.Join(g.exec(ctx, "ANALYZE"), g.pool.Close()); err != nil {
		return err
	}
	pool, err := g.open("postgres")
	if err != nil {
		return err
	}
	pool.SetMaxOpenConns(1)
	g.pool = pool
	return nil
}

// withoutIndexes makes the indexes of a table anew when it has been filled, which is faster. Their pages are
// full then, and would be split by each insertion: those after it bring them to what they are as a table grows.
func (g *ground) withoutIndexes(ctx context.Context, table string, fill func() error) error {
	indexes, err := g.indexes(ctx, table)
	if err != nil {
		return err
	}
	foreign := "ALTER TABLE files ADD CONSTRAINT files_users_files FOREIGN KEY (user_id) REFERENCES users (id) ON UPDATE NO ACTION ON DELETE CASCADE"
	after := []string{}
	if table == "files" && g.postgres {
		if err := g.exec(ctx, "ALTER TABLE files DROP CONSTRAINT files_users_files"); err != nil {
			return err
		}
		after = append(after, foreign)
	}
	for _, index := range indexes {
		if err := g.exec(ctx, "DROP INDEX "+index.name); err != nil {
			return err
		}
		after = append(after, index.statement)
	}
	if err := fill(); err != nil {
		return err
	}
	return g.exec(ctx, after...)
}

type tableIndex struct{ name, statement string }

// indexes are those of a table, but for the primary key.
func (g *ground) indexes(ctx context.Context, table string) ([]tableIndex, error) {
	query := "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name = $1"
	if g.postgres {
		query = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = $1 AND indexname NOT LIKE '%_pkey'"
	}
	return selectAll(ctx, g.pool, func(row row) (i tableIndex, err error) {
		return i, row.Scan(&i.name, &i.statement)
	}, query, table)
}

// series is the numbers of rows, the last one included.
type series struct{ first, last int }

// insert makes rows of a SELECT in which i counts them.
func (g *ground) insert(ctx context.Context, n series, into string, values ...string) error {
	from := fmt.Sprintf("generate_series(%d::bigint, %d::bigint) AS n(i)", n.first, n.last)
	if !g.postgres {
		from = fmt.Sprintf("(WITH RECURSIVE n(i) AS (SELECT %d UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT i FROM n)", n.first, n.last)
	}
	return g.exec(ctx, "INSERT INTO "+into+" SELECT "+strings.Join(values, ", ")+" FROM "+from)
}

// mixed is the expression of a number that jumps about as i counts.
const mixed = "((i * 2654435761) % 4294967296)"

func mix(i int) uint32 { return uint32(i * 2654435761) } //nolint:gosec // The remainder is what is wanted.

// identifier is the expression of a UUID that is another one for each i, in an order of its own.
func (g *ground) identifier(variant string) string {
	if g.postgres {
		return "(lpad(to_hex(" + mixed + "), 8, '0') || '-0000-4000-" + variant + "-' || lpad(to_hex(i), 12, '0'))"
	}
	return "printf('%08x-0000-4000-" + variant + "-%012x', " + mixed + ", i)"
}

func identifier(variant string, i int) string {
	return fmt.Sprintf("%08x-0000-4000-%s-%012x", mix(i), variant, i)
}

// The variants tell what is identified.
const (
	revokedVariant = "8000"
	expiredVariant = "8001"
	publicVariant  = "8002"
	noVariant      = "9000" // which nothing has
)

func (g *ground) address() string {
	if g.postgres {
		return "'reader.' || lpad(to_hex(" + mixed + "), 8, '0') || '.' || i || '@example.org'"
	}
	return "printf('reader.%08x.%d@example.org', " + mixed + ", i)"
}

func address(i int) string { return fmt.Sprintf("reader.%08x.%d@example.org", mix(i), i) }

// seconds is the expression of the time that is as many seconds after the epoch.
func (g *ground) seconds(seconds string) string {
	if g.postgres {
		return "timestamptz '2026-01-01 00:00:00.137001+00' + (" + seconds + ") * interval '1 second'"
	}
	return fmt.Sprintf("datetime(%d + (%s), 'unixepoch') || '.137001+00:00'", epoch.Unix(), seconds)
}

func (g *ground) insertUsers(ctx context.Context, n series) error {
	id, preferences := g.identifier(publicVariant), `'{"theme": "dark", "language": "日本語"}'`
	if g.postgres {
		id, preferences = id+"::uuid", preferences+"::jsonb"
	}
	hash := "'$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$' || substr(" + g.identifier(publicVariant) + ", 1, 36) || '1234567'"
	return g.insert(ctx, n, "users (created_at, updated_at, public_id, email, hashed_password, last_login_at, name, bio, preferences)",
		g.seconds("i"), g.seconds("i"), id, g.address(), hash, g.seconds("i + 3600"), "'Zoë Ångström 山田 ' || i", "'Reads papers, and writes some.'",
		"CASE WHEN i % 3 = 0 THEN "+preferences+" END")
}

func (g *ground) insertTokens(ctx context.Context, n series) error {
	return g.insert(ctx, n, "blacklisted_tokens (created_at, updated_at, jti, expires_at)",
		g.seconds("i"), g.seconds("i"), g.identifier(revokedVariant), g.seconds("63072000 + "+mixed+" % 2592000"))
}

// insertExpired makes tokens that a purge removes.
func (g *ground) insertExpired(ctx context.Context, n series) error {
	return g.insert(ctx, n, "blacklisted_tokens (created_at, updated_at, jti, expires_at)",
		g.seconds("0"), g.seconds("0"), g.identifier(expiredVariant), g.seconds(mixed+" % 2592000"))
}

// owner is the expression of the first account for each tenth file, and of another one for each other.
func (g *ground) owner() string {
	return "CASE WHEN i % 10 = 0 THEN 1 ELSE 2 + " + mixed + " % " + strconv.Itoa(g.users-1) + " END"
}

func (g *ground) insertFiles(ctx context.Context, n series) error {
	id := g.identifier(publicVariant)
	if g.postgres {
		id += "::uuid"
	}
	return g.insert(ctx, n, "files (created_at, updated_at, public_id, filename, content_type, size, user_id)",
		g.seconds("i"), g.seconds("i"), id, "'Übersicht ' || i || '.pdf'", "'application/pdf'", "i", g.owner())
}

func (g *ground) insertResets(ctx context.Context, n series) error {
	return g.insert(ctx, n, "used_password_reset_tokens (created_at, updated_at, email, nonce, used_at)",
		g.seconds("i"), g.seconds("i"), g.address(), g.identifier(publicVariant), g.seconds("i"))
}

func (g *ground) insertAudits(ctx context.Context, n series) error {
	changes := `'{"name": ["Ada", "Ada Lovelace"], "is_active": [true, false]}'`
	if g.postgres {
		changes += "::jsonb"
	}
	return g.insert(ctx, n, "audit_logs (created_at, updated_at, at, actor, action, entity, entity_id, changes)",
		g.seconds("i"), g.seconds("i"), g.seconds("i"), "'user:' || i % 1000", "'update'", "'user'", mixed, changes)
}

// path is the file of SQLite.
func (g *ground) path() string {
	path, _, _ := strings.Cut(strings.TrimPrefix(g.url, "sqlite://"), "?")
	return filepath.FromSlash(path)
}
