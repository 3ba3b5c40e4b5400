package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reviewpoint/models"
)

// contender is a way to the database. A user or a list is what it makes of rows, in types of its own if it
// has some; canonical renders them.
type contender interface {
	reader
	writer
	Close() error
}

type reader interface {
	TokenRevoked(ctx context.Context, jti string) (bool, error)
	CheckToken(ctx context.Context, claims models.Claims) (verdict string, err error)
	UserByEmail(ctx context.Context, email string) (user any, err error) // nil where there is none
	UserByID(ctx context.Context, id int) (user any, err error)
	Page(ctx context.Context, after place) (files any, err error)         // the 20 files before that place
	UsersWithFiles(ctx context.Context, after int) (users any, err error) // the 50 accounts after that id
}

type writer interface {
	InsertFile(ctx context.Context, userID int, file models.NewFile) (id int, err error) // with its id
	InsertFiles(ctx context.Context, userID int, files []models.NewFile) (lastID int, err error)
	ImportUsers(ctx context.Context, list string) error // lines of e-mail address and name, the first a header
	RecordLogin(ctx context.Context, id int, at time.Time) (found bool, err error)
}

// auditor is a contender that can write a row of the audit trail for each account that it imports.
type auditor interface {
	ImportUsersAudited(ctx context.Context, list string) error
}

const (
	pageSize  = 20
	manyUsers = 50
	batchSize = 1000
)

// place is a row in a user's list of files, newest first.
type place struct {
	userID    int
	createdAt time.Time
	id        int
}

// The rows, for the contenders that have no types of their own.
type (
	// User is an account.
	User struct {
		ID               int `bun:",pk,autoincrement"`
		CreatedAt        time.Time
		UpdatedAt        time.Time
		PublicID         uuid.UUID
		Email            string
		HashedPassword   string
		IsActive         bool
		IsAdmin          bool
		IsDeleted        bool
		DeletedAt        *time.Time
		LastLoginAt      *time.Time
		TokensValidAfter *time.Time
		Name             *string
		Bio              *string
		AvatarURL        *string
		Preferences      map[string]any `bun:"type:jsonb,nullzero"          gorm:"serializer:json"`
		Files            []*File        `bun:"rel:has-many,join:id=user_id"`
	}

	// File is an uploaded paper.
	File struct {
		ID          int `bun:",pk,autoincrement"`
		CreatedAt   time.Time
		UpdatedAt   time.Time
		PublicID    uuid.UUID
		Filename    string
		ContentType string
		Size        int64
		UserID      int
	}

	// BlacklistedToken is a token that is refused.
	BlacklistedToken struct {
		ID        int `bun:",pk,autoincrement"`
		CreatedAt time.Time
		UpdatedAt time.Time
		Jti       string
		ExpiresAt time.Time
	}
)

// now is a time that every contender writes as the schema wants it: the drivers cut zeros off a fraction,
// so there is none at its end.
func now() time.Time {
	return time.Now().UTC().Truncate(10 * time.Microsecond).Add(time.Microsecond)
}

func newFile(userID int, file models.NewFile) *File {
	at := now()
	return &File{
		CreatedAt: at, UpdatedAt: at, PublicID: uuid.New(),
		Filename: file.Filename, ContentType: file.ContentType, Size: file.Size, UserID: userID,
	}
}

func newFiles(userID int, files []models.NewFile) []*File {
	rows := make([]*File, len(files))
	for i, file := range files {
		rows[i] = newFile(userID, file)
	}
	return rows
}

// noPassword is what stands for an account that has none.
const noPassword = "!"

// readUsers reads the list of an import.
func readUsers(list string) ([]*User, error) {
	lines, err := csv.NewReader(strings.NewReader(list)).ReadAll()
	if err != nil {
		return nil, err
	}
	users := make([]*User, len(lines)-1)
	for i, line := range lines[1:] {
		at := now()
		users[i] = &User{
			CreatedAt: at, UpdatedAt: at, PublicID: uuid.New(),
			Email: line[0], HashedPassword: noPassword, IsActive: true, Name: &line[1],
		}
	}
	return users, nil
}

// checkToken answers whether the token is blacklisted, and how the account stands.
const checkToken = `SELECT EXISTS (SELECT 1 FROM blacklisted_tokens WHERE jti = $1), (SELECT CASE
	WHEN is_deleted THEN 'deleted'
	WHEN NOT is_active THEN 'disabled'
	WHEN tokens_valid_after >= $2 THEN 'signed in again since'
	ELSE 'in use' END FROM users WHERE id = $3)`

// checkTokenMarks is the same with question marks, in the same order.
var checkTokenMarks = strings.NewReplacer("$1", "?", "$2", "?", "$3", "?").Replace(checkToken)

// verdict is what the answer of checkToken means.
func verdict(blacklisted bool, account *string) string {
	switch {
	case account != nil && (*account == "deleted" || *account == "disabled"):
		return *account
	case blacklisted, account == nil, *account != "in use":
		return "revoked"
	}
	return "accepted"
}

// standing is the account's part of checkToken, for contenders that read the account.
func standing(deleted, active bool, cutoff *time.Time, issued time.Time) string {
	switch {
	case deleted:
		return "deleted"
	case !active:
		return "disabled"
	case cutoff != nil && !cutoff.Before(issued):
		return "signed in again since"
	}
	return "in use"
}

const (
	userColumns = "id, created_at, updated_at, public_id, email, hashed_password, is_active, is_admin, is_deleted, deleted_at, last_login_at, tokens_valid_after, name, bio, avatar_url, preferences"
	fileColumns = "id, created_at, updated_at, public_id, filename, content_type, size, user_id"

	tokenRevoked = "SELECT EXISTS (SELECT 1 FROM blacklisted_tokens WHERE jti = $1 AND expires_at > $2)"
	userByEmail  = "SELECT " + userColumns + " FROM users WHERE email = $1 AND NOT is_deleted"
	userByID     = "SELECT " + userColumns + " FROM users WHERE id = $1 AND NOT is_deleted"
	page         = "SELECT " + fileColumns + " FROM files WHERE user_id = $1 AND (created_at, id) < ($2, $3) ORDER BY created_at DESC, id DESC LIMIT 20"
	usersAfter   = "SELECT " + userColumns + " FROM users WHERE id > $1 AND NOT is_deleted ORDER BY id LIMIT 50"
	insertFile   = "INSERT INTO files (created_at, updated_at, public_id, filename, content_type, size, user_id) VALUES ($1, $2, $3, $4, $5, $6, $7)"
	insertUser   = "INSERT INTO users (created_at, updated_at, public_id, email, hashed_password, is_active, is_admin, is_deleted, name) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
	recordLogin  = "UPDATE users SET last_login_at = $1, updated_at = $2 WHERE id = $3 AND NOT is_deleted"
	insertAudit  = "INSERT INTO audit_logs (created_at, updated_at, at, actor, action, entity, entity_id, changes) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
	returningID  = " RETURNING id"
)

func (f *File) values() []any {
	return []any{f.CreatedAt, f.UpdatedAt, f.PublicID, f.Filename, f.ContentType, f.Size, f.UserID}
}

func (u *User) values() []any {
	return []any{u.CreatedAt, u.UpdatedAt, u.PublicID, u.Email, u.HashedPassword, u.IsActive, u.IsAdmin, u.IsDeleted, u.Name}
}

// row is one of database/sql or of pgx.
type row interface{ Scan(dest ...any) error }

func scanUser(r row) (*User, error) {
	var (
		u           User
		preferences []byte
	)
	err := r.Scan(&u.ID, &u.CreatedAt, &u.UpdatedAt, &u.PublicID, &u.Email, &u.HashedPassword, &u.IsActive, &u.IsAdmin, &u.IsDeleted,
		&u.DeletedAt, &u.LastLoginAt, &u.TokensValidAfter, &u.Name, &u.Bio, &u.AvatarURL, &preferences)
	if err == nil && preferences != nil {
		err = json.Unmarshal(preferences, &u.Preferences)
	}
	return &u, err
}

func scanFile(r row) (*File, error) {
	var f File
	err := r.Scan(&f.ID, &f.CreatedAt, &f.UpdatedAt, &f.PublicID, &f.Filename, &f.ContentType, &f.Size, &f.UserID)
	return &f, err
}

// cursor is the rows of database/sql or of pgx.
type cursor interface {
	row
	Next() bool
	Err() error
}

func scanAll[T any](rows cursor, scan func(row) (T, error), size int) ([]T, error) {
	all := make([]T, 0, size)
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

// group gives each user the files that are the user's. The users are in the order of their ids.
func group(users []*User, files []*File) {
	for _, f := range files {
		i, _ := slices.BinarySearchFunc(users, f.UserID, func(u *User, id int) int { return u.ID - id })
		users[i].Files = append(users[i].Files, f)
	}
}
