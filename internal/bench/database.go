package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/uuid"
	_ "github.com/lib/pq"           // The driver "postgres".
	_ "github.com/mattn/go-sqlite3" // The driver "sqlite3".

	"github.com/reviewpoint/models"
)

// target is how a contender reaches the database.
type target struct {
	postgres bool
	url      string // for this module
	dsn      string // for the drivers
	conns    int
}

// open opens a pool of one of the drivers of database/sql.
func (t target) open(postgresDriver string) (*sql.DB, error) {
	driver := "sqlite3"
	if t.postgres {
		driver = postgresDriver
	}
	pool, err := sql.Open(driver, t.dsn)
	if err != nil {
		return nil, err
	}
	t.bound(pool)
	return pool, nil
}

// bound keeps every connection that a pool has opened.
func (t target) bound(pool *sql.DB) {
	pool.SetMaxOpenConns(t.conns)
	pool.SetMaxIdleConns(t.conns)
}

// sqliteTarget is a file, with the settings that this module gives its connections.
func sqliteTarget(folder, synchronous string) target {
	path := filepath.ToSlash(filepath.Join(folder, "bench.db"))
	settings := url.Values{
		"_journal_mode": {"WAL"}, "_foreign_keys": {"1"}, "_busy_timeout": {"10000"}, "_txlock": {"immediate"}, "_synchronous": {synchronous},
	}
	return target{
		url:   "sqlite://" + path + "?synchronous=" + strings.ToLower(synchronous),
		dsn:   "file:" + path + "?" + settings.Encode(),
		conns: max(4, 2*runtime.NumCPU()),
	}
}

// postgresTarget is a new database on a server, which drop removes.
func postgresTarget(ctx context.Context, server string) (t target, drop func() error, err error) {
	u, err := url.Parse(server)
	if err != nil {
		return target{}, nil, errors.New("the URL of the server cannot be read")
	}
	pool, err := sql.Open("postgres", server)
	if err != nil {
		return target{}, nil, err
	}
	name := "reviewpoint_bench_" + strings.ToLower(rand.Text()[:8])
	if _, err := pool.ExecContext(ctx, "CREATE DATABASE "+name); err != nil {
		return target{}, nil, errors.Join(err, pool.Close())
	}
	u.Path = "/" + name
	values := u.Query()
	values.Set("timezone", "UTC")
	u.RawQuery = values.Encode()
	drop = func() error {
		_, err := pool.ExecContext(context.WithoutCancel(ctx), "DROP DATABASE "+name+" WITH (FORCE)")
		return errors.Join(err, pool.Close())
	}
	return target{postgres: true, url: u.String(), dsn: u.String(), conns: 10}, drop, nil
}

// size is how much there is in the database. The first user has a hundredth of the files, the next ones 10 each.
type size struct{ users, files, tokens int }

// database is what stands beside the contenders: it fills the tables, looks what was written, and removes it.
type database struct {
	target
	*sql.DB
	size

	lastUser, lastFile, lastAudit int
}

func openDatabase(ctx context.Context, t target, s size) (*database, error) {
	store, err := models.Open(ctx, t.url)
	if err != nil {
		return nil, err
	}
	_, err = store.Migrate(ctx)
	if err := errors.Join(err, store.Close()); err != nil {
		return nil, err
	}
	t.dsn = strings.Replace(t.dsn, "_synchronous=FULL", "_synchronous=NORMAL", 1)
	pool, err := t.open("postgres")
	if err != nil {
		return nil, err
	}
	db := &database{target: t, DB: pool, size: s}
	if err := db.fill(ctx); err != nil {
		return nil, errors.Join(err, pool.Close())
	}
	return db, nil
}

// The start of all times in the tables.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 137_001_000, time.UTC)

func (db *database) fill(ctx context.Context) error {
	users := make([][]any, db.users)
	for i := range users {
		users[i] = db.user(i + 1).row()
	}
	files := make([][]any, db.files)
	for i := range files {
		at := epoch.Add(time.Duration(i/3) * time.Minute) // so that some share their time
		files[i] = []any{at, at, uuid.New(), fmt.Sprintf("Übersicht %d.pdf", i+1), "application/pdf", i, db.owner(i)}
	}
	tokens := make([][]any, db.tokens)
	for i := range tokens {
		tokens[i] = []any{epoch, epoch, jti(i), db.expiry(i)}
	}
	err := errors.Join(
		db.insert(ctx, "users", userColumns[len("id, "):], users),
		db.insert(ctx, "files", fileColumns[len("id, "):], files),
		db.insert(ctx, "blacklisted_tokens", "created_at, updated_at, jti, expires_at", tokens),
	)
	if err != nil {
		return err
	}
	analyze := "ANALYZE"
	if db.postgres {
		analyze = "VACUUM ANALYZE"
	}
	if _, err := db.ExecContext(ctx, analyze); err != nil {
		return err
	}
	return db.QueryRowContext(ctx, "SELECT (SELECT max(id) FROM users), (SELECT max(id) FROM files), (SELECT coalesce(max(id), 0) FROM audit_logs)").
		Scan(&db.lastUser, &db.lastFile, &db.lastAudit)
}

const familyName, language = "山田", "日本語"

// owner is whose the file is.
func (db *database) owner(i int) int {
	many := db.files / 100
	if i < many {
		return 1
	}
	return 2 + (i-many)/10
}

func (db *database) user(id int) *User {
	at := epoch.Add(time.Duration(id) * time.Minute)
	login, name, bio := at.Add(time.Hour), fmt.Sprintf("Zoë Ångström-%d %s", id, familyName), "Reads papers, and writes some."
	u := &User{
		CreatedAt: at, UpdatedAt: at, PublicID: uuid.New(), Email: email(id), HashedPassword: noPassword,
		IsActive: id%1000 != 7, LastLoginAt: &login, Name: &name, Bio: &bio,
	}
	if id%1000 == 5 {
		u.IsDeleted, u.DeletedAt = true, &at
	}
	if id%1000 == 6 {
		u.TokensValidAfter = &login
	}
	if id%3 == 0 {
		u.Preferences = map[string]any{"theme": "dark", "language": language}
	}
	return u
}

// row is the values of all columns but the id.
func (u *User) row() []any {
	var preferences any
	if u.Preferences != nil {
		preferences = `{"language": "` + language + `", "theme": "dark"}`
	}
	return []any{
		u.CreatedAt, u.UpdatedAt, u.PublicID, u.Email, u.HashedPassword, u.IsActive, u.IsAdmin, u.IsDeleted,
		u.DeletedAt, u.LastLoginAt, u.TokensValidAfter, u.Name, u.Bio, u.AvatarURL, preferences,
	}
}

func email(id int) string {
	if id%10 == 3 {
		return fmt.Sprintf("jürgen.%d@example.org", id)
	}
	return fmt.Sprintf("reader.%d@example.org", id)
}

func jti(i int) string {
	if i%10 == 3 {
		return fmt.Sprintf("jeton-n°-%d", i)
	}
	return uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, i)).String()
}

// expiry is in the past for every tenth token.
func (db *database) expiry(i int) time.Time {
	if i%10 == 9 {
		return epoch
	}
	return epoch.AddDate(100, 0, 0)
}

// insert writes all rows in one transaction, 100 a statement.
func (db *database) insert(ctx context.Context, table, columns string, rows [][]any) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var (
		stmt *sql.Stmt
		last int
	)
	for len(rows) > 0 {
		n := min(100, len(rows))
		if n != last {
			if stmt, err = tx.PrepareContext(ctx, fmt.Sprintf("INSERT INTO %s (%s) VALUES %s", table, columns, placeholders(n, len(rows[0])))); err != nil {
				return err
			}
			last = n
		}
		var args []any
		for _, row := range rows[:n] {
			args = append(args, row...)
		}
		if _, err := stmt.ExecContext(ctx, args...); err != nil {
			return fmt.Errorf("fill %s: %w", table, err)
		}
		rows = rows[n:]
	}
	return tx.Commit()
}

// placeholders is ($1, $2), ($3, $4) for 2 rows of 2 columns.
func placeholders(rows, columns int) string {
	var b strings.Builder
	for i := range rows * columns {
		switch {
		case i == 0:
			b.WriteString("(")
		case i%columns == 0:
			b.WriteString("), (")
		default:
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "$%d", i+1)
	}
	return b.String() + ")"
}

// undo removes what a contender has inserted.
func (db *database) undo(ctx context.Context) error {
	_, files := db.ExecContext(ctx, "DELETE FROM files WHERE id > $1", db.lastFile)
	_, users := db.ExecContext(ctx, "DELETE FROM users WHERE id > $1", db.lastUser)
	_, audit := db.ExecContext(ctx, "DELETE FROM audit_logs WHERE id > $1", db.lastAudit)
	return errors.Join(files, users, audit)
}

// forgetLogin makes a user one who signed in long ago.
func (db *database) forgetLogin(ctx context.Context, id int) error {
	_, err := db.ExecContext(ctx, "UPDATE users SET last_login_at = $1, updated_at = $1 WHERE id = $2", epoch, id)
	return err
}

// settle clears away what writing has left, so that the next contender does not have to.
func (db *database) settle(ctx context.Context) error {
	if db.postgres {
		_, err := db.ExecContext(ctx, "VACUUM users, files, audit_logs")
		return err
	}
	_, err := db.ExecContext(ctx, "PRAGMA wal_checkpoint(RESTART)")
	return err
}

// places lists where a page of the first user's files may begin.
func (db *database) places(ctx context.Context) ([]place, error) {
	files, err := selectAll(ctx, db.DB, scanFile, "SELECT "+fileColumns+" FROM files WHERE user_id = 1 ORDER BY created_at DESC, id DESC")
	if err != nil {
		return nil, err
	}
	var out []place
	for i := pageSize; i < len(files); i += max(1, len(files)/5/pageSize) * pageSize {
		f := files[i-1]
		out = append(out, place{1, f.CreatedAt, f.ID})
	}
	return out, nil
}

func selectAll[T any](ctx context.Context, db *sql.DB, scan func(row) (T, error), query string, args ...any) ([]T, error) {
	rows, err := db.QueryContext(ctx, query, args...) //nolint:rowserrcheck // scanAll does.
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	return scanAll(rows, scan, 0)
}

// settings are those of the server that weigh in its times.
func (db *database) settings(ctx context.Context) (string, error) {
	var version, fsync, commit, pages, buffers string
	err := db.QueryRowContext(ctx, "SELECT current_setting('server_version'), current_setting('fsync'), current_setting('synchronous_commit'), current_setting('full_page_writes'), current_setting('shared_buffers')").
		Scan(&version, &fsync, &commit, &pages, &buffers)
	return fmt.Sprintf("Server %s; fsync=%s, synchronous_commit=%s, full_page_writes=%s, shared_buffers=%s.", version, fsync, commit, pages, buffers), err
}
