package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/lib/pq"

	"github.com/reviewpoint/models"
)

// raw is database/sql and long-lived prepared statements: what the others are measured by.
type raw struct {
	db       *sql.DB
	postgres bool

	tokenRevoked, checkToken, userByEmail, userByID, page, usersAfter, filesOf, insertFile, insertUser, insertAudit, recordLogin *sql.Stmt
}

// filesOf50 has a place for each of 50 ids, as SQLite has no arrays.
var filesOf50 = "SELECT " + fileColumns + " FROM files WHERE user_id IN (?" + strings.Repeat(", ?", manyUsers-1) + ") ORDER BY id"

const filesOfAny = "SELECT " + fileColumns + " FROM files WHERE user_id = ANY($1) ORDER BY id"

func newRaw(ctx context.Context, t target) (contender, error) {
	db, err := t.open("postgres")
	if err != nil {
		return nil, err
	}
	r := &raw{db: db, postgres: t.postgres}
	filesOf, returning := filesOf50, ""
	if t.postgres {
		filesOf, returning = filesOfAny, returningID
	}
	for query, stmt := range map[string]**sql.Stmt{
		tokenRevoked: &r.tokenRevoked, checkToken: &r.checkToken, userByEmail: &r.userByEmail, userByID: &r.userByID,
		page: &r.page, usersAfter: &r.usersAfter, filesOf: &r.filesOf, recordLogin: &r.recordLogin,
		insertFile + returning: &r.insertFile, insertUser + returning: &r.insertUser, insertAudit: &r.insertAudit,
	} {
		if *stmt, err = db.PrepareContext(ctx, query); err != nil { //nolint:sqlclosecheck // They close with the pool.
			return nil, errors.Join(err, db.Close())
		}
	}
	return r, nil
}

func (r *raw) Close() error { return r.db.Close() }

func (r *raw) TokenRevoked(ctx context.Context, jti string) (revoked bool, err error) {
	err = r.tokenRevoked.QueryRowContext(ctx, jti, now()).Scan(&revoked)
	return revoked, err
}

func (r *raw) CheckToken(ctx context.Context, claims models.Claims) (string, error) {
	var (
		blacklisted bool
		account     *string
	)
	err := r.checkToken.QueryRowContext(ctx, claims.ID, claims.IssuedAt, claims.UserID).Scan(&blacklisted, &account)
	return verdict(blacklisted, account), err
}

func (r *raw) UserByEmail(ctx context.Context, email string) (any, error) {
	return one(scanUser(r.userByEmail.QueryRowContext(ctx, email)))
}

func (r *raw) UserByID(ctx context.Context, id int) (any, error) {
	return one(scanUser(r.userByID.QueryRowContext(ctx, id)))
}

// one makes nil of a user who is not there.
func one(u *User, err error) (any, error) {
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // It is an answer here.
	}
	return u, err
}

func (r *raw) Page(ctx context.Context, after place) (any, error) {
	return query(ctx, r.page, scanFile, pageSize, after.userID, after.createdAt, after.id)
}

func (r *raw) UsersWithFiles(ctx context.Context, after int) (any, error) {
	users, err := query(ctx, r.usersAfter, scanUser, manyUsers, after)
	if err != nil {
		return nil, err
	}
	ids := make([]int64, len(users), manyUsers)
	for i, u := range users {
		ids[i] = int64(u.ID)
	}
	args := []any{pq.Array(ids)}
	if !r.postgres {
		args = make([]any, manyUsers) // NULL is nobody's.
		for i, id := range ids {
			args[i] = id
		}
	}
	files, err := query(ctx, r.filesOf, scanFile, 10*manyUsers, args...)
	if err != nil {
		return nil, err
	}
	group(users, files)
	return users, nil
}

func query[T any](ctx context.Context, stmt *sql.Stmt, scan func(row) (T, error), size int, args ...any) ([]T, error) {
	rows, err := stmt.QueryContext(ctx, args...) //nolint:rowserrcheck // scanAll does.
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	return scanAll(rows, scan, size)
}

// insert runs an insertion, and returns the id of the row.
func (r *raw) insert(ctx context.Context, stmt *sql.Stmt, values ...any) (int, error) {
	if r.postgres {
		var id int
		err := stmt.QueryRowContext(ctx, values...).Scan(&id)
		return id, err
	}
	result, err := stmt.ExecContext(ctx, values...)
	if err != nil {
		return 0, err
	}
	id, err := result.LastInsertId()
	return int(id), err
}

func (r *raw) InsertFile(ctx context.Context, userID int, file models.NewFile) (int, error) {
	return r.insert(ctx, r.insertFile, newFile(userID, file).values()...)
}

func (r *raw) InsertFiles(ctx context.Context, userID int, files []models.NewFile) (id int, err error) {
	err = r.inTx(ctx, func(tx *sql.Tx) error {
		stmt := tx.StmtContext(ctx, r.insertFile)
		for _, f := range newFiles(userID, files) {
			if id, err = r.insert(ctx, stmt, f.values()...); err != nil {
				return err
			}
		}
		return nil
	})
	return id, err
}

func (r *raw) ImportUsers(ctx context.Context, list string) error {
	users, err := readUsers(list)
	if err != nil {
		return err
	}
	return r.inTx(ctx, func(tx *sql.Tx) error {
		stmt := tx.StmtContext(ctx, r.insertUser)
		for _, u := range users {
			if _, err := r.insert(ctx, stmt, u.values()...); err != nil {
				return err
			}
		}
		return nil
	})
}

// ImportUsersAudited also writes a row of the audit trail for each account.
func (r *raw) ImportUsersAudited(ctx context.Context, list string) error {
	users, err := readUsers(list)
	if err != nil {
		return err
	}
	return r.inTx(ctx, func(tx *sql.Tx) error {
		stmt, audit := tx.StmtContext(ctx, r.insertUser), tx.StmtContext(ctx, r.insertAudit) //nolint:sqlclosecheck // They close with the transaction.
		for _, u := range users {
			id, err := r.insert(ctx, stmt, u.values()...)
			if err != nil {
				return err
			}
			changes, err := created(u)
			if err != nil {
				return err
			}
			_, err = audit.ExecContext(ctx, u.CreatedAt, u.CreatedAt, u.CreatedAt, "system:benchmark", "create", "User", id, changes)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *raw) inTx(ctx context.Context, fn func(tx *sql.Tx) error) error {
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := fn(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func (r *raw) RecordLogin(ctx context.Context, id int, at time.Time) (bool, error) {
	result, err := r.recordLogin.ExecContext(ctx, at, now(), id)
	return affected(result, err)
}

func affected(result sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// created is what the audit trail of this module says of a new account.
func created(u *User) (string, error) {
	type value [2]any // before, and after
	changes, err := json.Marshal(struct {
		Email          value `json:"email"`
		HashedPassword value `json:"hashed_password"`
		IsActive       value `json:"is_active"`
		IsAdmin        value `json:"is_admin"`
		IsDeleted      value `json:"is_deleted"`
		Name           value `json:"name"`
		PublicID       value `json:"public_id"`
	}{
		value{nil, u.Email}, value{nil, "[redacted]"}, value{nil, u.IsActive}, value{nil, u.IsAdmin}, value{nil, u.IsDeleted},
		value{nil, u.Name}, value{nil, u.PublicID},
	})
	return string(changes), err
}
