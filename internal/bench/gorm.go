package main

import (
	"context"
	"errors"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/reviewpoint/models"
)

// gormDB is GORM with its own defaults, which wrap every change in a transaction.
type gormDB struct{ *gorm.DB }

func newGORM(prepared bool) func(ctx context.Context, t target) (contender, error) {
	return func(_ context.Context, t target) (contender, error) {
		dialector := sqlite.Open(t.dsn)
		if t.postgres {
			dialector = postgres.Open(t.dsn)
		}
		db, err := gorm.Open(dialector, &gorm.Config{Logger: logger.Discard, PrepareStmt: prepared, NowFunc: now})
		if err != nil {
			return nil, err
		}
		pool, err := db.DB()
		if err != nil {
			return nil, err
		}
		t.bound(pool)
		return &gormDB{db}, nil
	}
}

func (g *gormDB) Close() error {
	pool, err := g.DB.DB()
	if err != nil {
		return err
	}
	return pool.Close()
}

func (g *gormDB) TokenRevoked(ctx context.Context, jti string) (revoked bool, err error) {
	err = g.WithContext(ctx).Raw("SELECT EXISTS (SELECT 1 FROM blacklisted_tokens WHERE jti = ? AND expires_at > ?)", jti, now()).Scan(&revoked).Error
	return revoked, err
}

func (g *gormDB) CheckToken(ctx context.Context, claims models.Claims) (string, error) {
	var (
		blacklisted bool
		account     *string
	)
	err := g.WithContext(ctx).Raw(checkTokenMarks, claims.ID, claims.IssuedAt, claims.UserID).Row().Scan(&blacklisted, &account)
	return verdict(blacklisted, account), err
}

func (g *gormDB) UserByEmail(ctx context.Context, email string) (any, error) {
	return g.user(ctx, "email = ? AND NOT is_deleted", email)
}

func (g *gormDB) UserByID(ctx context.Context, id int) (any, error) {
	return g.user(ctx, "id = ? AND NOT is_deleted", id)
}

func (g *gormDB) user(ctx context.Context, where string, arg any) (any, error) {
	var u User
	err := g.WithContext(ctx).Where(where, arg).Take(&u).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return nil, nil //nolint:nilnil // It is an answer here.
	}
	return &u, err
}

func (g *gormDB) Page(ctx context.Context, after place) (any, error) {
	var files []*File
	err := g.WithContext(ctx).Where("user_id = ? AND (created_at, id) < (?, ?)", after.userID, after.createdAt, after.id).
		Order("created_at DESC, id DESC").Limit(pageSize).Find(&files).Error
	return files, err
}

func (g *gormDB) UsersWithFiles(ctx context.Context, after int) (any, error) {
	var users []*User
	err := g.WithContext(ctx).Preload("Files", func(db *gorm.DB) *gorm.DB { return db.Order("id") }).
		Where("id > ? AND NOT is_deleted", after).Order("id").Limit(manyUsers).Find(&users).Error
	return users, err
}

func (g *gormDB) InsertFile(ctx context.Context, userID int, file models.NewFile) (int, error) {
	f := newFile(userID, file)
	err := g.WithContext(ctx).Create(f).Error
	return f.ID, err
}

// The batch that GORM's documentation shows.
const gormBatch = 100

func (g *gormDB) InsertFiles(ctx context.Context, userID int, files []models.NewFile) (int, error) {
	rows := newFiles(userID, files)
	err := g.WithContext(ctx).CreateInBatches(rows, gormBatch).Error
	return rows[len(rows)-1].ID, err
}

func (g *gormDB) ImportUsers(ctx context.Context, list string) error {
	users, err := readUsers(list)
	if err != nil {
		return err
	}
	return g.WithContext(ctx).CreateInBatches(users, gormBatch).Error
}

func (g *gormDB) RecordLogin(ctx context.Context, id int, at time.Time) (bool, error) {
	result := g.WithContext(ctx).Model(&User{}).Where("id = ? AND NOT is_deleted", id).Update("last_login_at", at) // and updated_at
	return result.RowsAffected > 0, result.Error
}
