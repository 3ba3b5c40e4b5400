package main

import (
	"context"
	"database/sql"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"github.com/uptrace/bun/driver/pgdriver"

	"github.com/reviewpoint/models"
)

// bunDB is bun, on PostgreSQL with its own driver. It writes arguments into the text of its queries.
type bunDB struct{ *bun.DB }

func newBun(_ context.Context, t target) (contender, error) {
	if t.postgres {
		pool := sql.OpenDB(pgdriver.NewConnector(pgdriver.WithDSN(t.dsn)))
		t.bound(pool)
		return &bunDB{bun.NewDB(pool, pgdialect.New())}, nil
	}
	pool, err := t.open("")
	if err != nil {
		return nil, err
	}
	return &bunDB{bun.NewDB(pool, sqlitedialect.New())}, nil
}

func (b *bunDB) TokenRevoked(ctx context.Context, jti string) (bool, error) {
	return b.NewSelect().Model((*BlacklistedToken)(nil)).Where("jti = ?", jti).Where("expires_at > ?", now()).Exists(ctx)
}

func (b *bunDB) CheckToken(ctx context.Context, claims models.Claims) (string, error) {
	var (
		blacklisted bool
		account     *string
	)
	err := b.NewRaw(checkTokenMarks, claims.ID, claims.IssuedAt, claims.UserID).Scan(ctx, &blacklisted, &account)
	return verdict(blacklisted, account), err
}

func (b *bunDB) UserByEmail(ctx context.Context, email string) (any, error) {
	var u User
	return one(&u, b.NewSelect().Model(&u).Where("email = ?", email).Where("NOT is_deleted").Scan(ctx))
}

func (b *bunDB) UserByID(ctx context.Context, id int) (any, error) {
	var u User
	return one(&u, b.NewSelect().Model(&u).Where("id = ?", id).Where("NOT is_deleted").Scan(ctx))
}

func (b *bunDB) Page(ctx context.Context, after place) (any, error) {
	var files []*File
	err := b.NewSelect().Model(&files).Where("user_id = ?", after.userID).Where("(created_at, id) < (?, ?)", after.createdAt, after.id).
		Order("created_at DESC", "id DESC").Limit(pageSize).Scan(ctx)
	return files, err
}

func (b *bunDB) UsersWithFiles(ctx context.Context, after int) (any, error) {
	var users []*User
	err := b.NewSelect().Model(&users).Relation("Files", func(q *bun.SelectQuery) *bun.SelectQuery { return q.Order("id") }).
		Where("id > ?", after).Where("NOT is_deleted").Order("id").Limit(manyUsers).Scan(ctx)
	return users, err
}

func (b *bunDB) InsertFile(ctx context.Context, userID int, file models.NewFile) (int, error) {
	f := newFile(userID, file)
	_, err := b.NewInsert().Model(f).Exec(ctx)
	return f.ID, err
}

// InsertFiles is one statement, and so one transaction.
func (b *bunDB) InsertFiles(ctx context.Context, userID int, files []models.NewFile) (int, error) {
	rows := newFiles(userID, files)
	_, err := b.NewInsert().Model(&rows).Exec(ctx)
	return rows[len(rows)-1].ID, err
}

func (b *bunDB) ImportUsers(ctx context.Context, list string) error {
	users, err := readUsers(list)
	if err != nil {
		return err
	}
	_, err = b.NewInsert().Model(&users).Exec(ctx)
	return err
}

func (b *bunDB) RecordLogin(ctx context.Context, id int, at time.Time) (bool, error) {
	return affected(b.NewUpdate().Model((*User)(nil)).Set("last_login_at = ?", at).Set("updated_at = ?", now()).
		Where("id = ?", id).Where("NOT is_deleted").Exec(ctx))
}
