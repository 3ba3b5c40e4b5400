package main

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/reviewpoint/models"
)

// native is pgx without database/sql. It prepares and keeps every statement by default.
type native struct{ pool *pgxpool.Pool }

func newPgx(ctx context.Context, t target) (contender, error) {
	config, err := pgxpool.ParseConfig(t.dsn)
	if err != nil {
		return nil, err
	}
	config.MaxConns = int32(t.conns) //nolint:gosec // It is 10.
	pool, err := pgxpool.NewWithConfig(ctx, config)
	return &native{pool}, err
}

func (n *native) Close() error {
	n.pool.Close()
	return nil
}

func (n *native) TokenRevoked(ctx context.Context, jti string) (revoked bool, err error) {
	err = n.pool.QueryRow(ctx, tokenRevoked, jti, now()).Scan(&revoked)
	return revoked, err
}

func (n *native) CheckToken(ctx context.Context, claims models.Claims) (string, error) {
	var (
		blacklisted bool
		account     *string
	)
	err := n.pool.QueryRow(ctx, checkToken, claims.ID, claims.IssuedAt, claims.UserID).Scan(&blacklisted, &account)
	return verdict(blacklisted, account), err
}

func (n *native) UserByEmail(ctx context.Context, email string) (any, error) {
	return one(scanUser(n.pool.QueryRow(ctx, userByEmail, email)))
}

func (n *native) UserByID(ctx context.Context, id int) (any, error) {
	return one(scanUser(n.pool.QueryRow(ctx, userByID, id)))
}

func (n *native) Page(ctx context.Context, after place) (any, error) {
	rows, err := n.pool.Query(ctx, page, after.userID, after.createdAt, after.id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	return scanAll(rows, scanFile, pageSize)
}

func (n *native) UsersWithFiles(ctx context.Context, after int) (any, error) {
	rows, err := n.pool.Query(ctx, usersAfter, after)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	users, err := scanAll(rows, scanUser, manyUsers)
	if err != nil {
		return nil, err
	}
	ids := make([]int, len(users))
	for i, u := range users {
		ids[i] = u.ID
	}
	rows, err = n.pool.Query(ctx, filesOfAny, ids)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	files, err := scanAll(rows, scanFile, 10*manyUsers)
	if err != nil {
		return nil, err
	}
	group(users, files)
	return users, nil
}

func (n *native) InsertFile(ctx context.Context, userID int, file models.NewFile) (id int, err error) {
	err = n.pool.QueryRow(ctx, insertFile+returningID, newFile(userID, file).values()...).Scan(&id)
	return id, err
}

// InsertFiles sends all rows in one go. COPY would not answer their ids.
func (n *native) InsertFiles(ctx context.Context, userID int, files []models.NewFile) (id int, err error) {
	var batch pgx.Batch
	for _, f := range newFiles(userID, files) {
		batch.Queue(insertFile+returningID, f.values()...)
	}
	err = n.send(ctx, &batch, &id)
	return id, err
}

func (n *native) ImportUsers(ctx context.Context, list string) error {
	users, err := readUsers(list)
	if err != nil {
		return err
	}
	var (
		batch pgx.Batch
		id    int
	)
	for _, u := range users {
		batch.Queue(insertUser+returningID, u.values()...)
	}
	return n.send(ctx, &batch, &id)
}

// send runs a batch, which is a transaction, and reads the id that each statement answers.
func (n *native) send(ctx context.Context, batch *pgx.Batch, id *int) (err error) {
	results := n.pool.SendBatch(ctx, batch)
	defer func() { err = errors.Join(err, results.Close()) }()
	for range batch.Len() {
		if err := results.QueryRow().Scan(id); err != nil {
			return err
		}
	}
	return nil
}

func (n *native) RecordLogin(ctx context.Context, id int, at time.Time) (bool, error) {
	tag, err := n.pool.Exec(ctx, recordLogin, at, now(), id)
	return tag.RowsAffected() > 0, err
}
