package main

import (
	"context"
	"errors"
	"strings"
	"time"

	entsql "entgo.io/ent/dialect/sql"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/blacklistedtoken"
	"github.com/reviewpoint/models/ent/file"
	"github.com/reviewpoint/models/ent/predicate"
	"github.com/reviewpoint/models/ent/user"
)

// client is the generated client of this module.
type client struct{ store *models.Store }

func newClient(ctx context.Context, t target) (contender, error) {
	store, err := models.Open(ctx, t.url, models.WithMaxConns(t.conns))
	return &client{store}, err
}

func (c *client) Close() error { return c.store.Close() }

func (c *client) TokenRevoked(ctx context.Context, jti string) (bool, error) {
	return c.store.BlacklistedToken.Query().Where(blacklistedtoken.Jti(jti), blacklistedtoken.ExpiresAtGT(now())).Exist(ctx)
}

// CheckToken is two queries, as it is of stock ent.
func (c *client) CheckToken(ctx context.Context, claims models.Claims) (string, error) {
	blacklisted, err := c.store.BlacklistedToken.Query().Where(blacklistedtoken.Jti(claims.ID)).Exist(ctx)
	if err != nil {
		return "", err
	}
	u, err := c.store.User.Query().Where(user.ID(claims.UserID)).
		Select(user.FieldIsDeleted, user.FieldIsActive, user.FieldTokensValidAfter).Only(models.IncludeDeleted(ctx))
	if ent.IsNotFound(err) {
		return verdict(blacklisted, nil), nil
	}
	if err != nil {
		return "", err
	}
	account := standing(u.IsDeleted, u.IsActive, u.TokensValidAfter, claims.IssuedAt)
	return verdict(blacklisted, &account), nil
}

func (c *client) UserByEmail(ctx context.Context, email string) (any, error) {
	return oneEnt(c.store.User.Query().Where(user.Email(email), user.IsDeleted(false)).Only(ctx))
}

func (c *client) UserByID(ctx context.Context, id int) (any, error) {
	return oneEnt(c.store.User.Get(ctx, id))
}

func oneEnt(u *ent.User, err error) (any, error) {
	if ent.IsNotFound(err) {
		return nil, nil //nolint:nilnil // It is an answer here.
	}
	return u, err
}

func (c *client) Page(ctx context.Context, after place) (any, error) {
	return c.store.File.Query().Where(file.UserID(after.userID), beyond(after)).
		Order(file.ByCreatedAt(entsql.OrderDesc()), file.ByID(entsql.OrderDesc())).Limit(pageSize).All(ctx)
}

func beyond(after place) predicate.File {
	return func(query *entsql.Selector) {
		query.Where(entsql.CompositeLT([]string{query.C(file.FieldCreatedAt), query.C(file.FieldID)}, after.createdAt, after.id))
	}
}

func (c *client) UsersWithFiles(ctx context.Context, after int) (any, error) {
	return c.store.User.Query().Where(user.IDGT(after)).Order(user.ByID()).Limit(manyUsers).
		WithFiles(func(query *ent.FileQuery) { query.Order(file.ByID()) }).All(ctx)
}

func (c *client) InsertFile(ctx context.Context, userID int, f models.NewFile) (int, error) {
	return idOf(c.store.File.Create().SetFilename(f.Filename).SetContentType(f.ContentType).SetSize(f.Size).SetUserID(userID).Save(ctx))
}

func idOf(f *ent.File, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	return f.ID, nil
}

func lastOf(files []*ent.File, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	return files[len(files)-1].ID, nil
}

func (c *client) InsertFiles(ctx context.Context, userID int, files []models.NewFile) (int, error) {
	return lastOf(c.store.File.MapCreateBulk(files, func(create *ent.FileCreate, i int) {
		create.SetFilename(files[i].Filename).SetContentType(files[i].ContentType).SetSize(files[i].Size).SetUserID(userID)
	}).Save(ctx))
}

func (c *client) ImportUsers(ctx context.Context, list string) error {
	return importByClient(ctx, c.store, list)
}

// ImportUsersAudited is ImportUsers, which always writes to the audit trail.
func (c *client) ImportUsersAudited(ctx context.Context, list string) error {
	return c.ImportUsers(ctx, list)
}

func importByClient(ctx context.Context, store *models.Store, list string) error {
	users, err := readUsers(list)
	if err != nil {
		return err
	}
	return store.User.MapCreateBulk(users, func(create *ent.UserCreate, i int) {
		create.SetEmail(users[i].Email).SetHashedPassword(users[i].HashedPassword).SetNillableName(users[i].Name)
	}).Exec(ctx)
}

func (c *client) RecordLogin(ctx context.Context, id int, at time.Time) (bool, error) {
	n, err := c.store.User.Update().Where(user.ID(id)).SetLastLoginAt(at).Save(ctx)
	return n > 0, err
}

// methods is the store's own methods; what it has none for goes through the client.
type methods struct {
	client
	store   *models.Store
	cursors map[int]string // of ListFiles
}

func newMethods(ctx context.Context, t target) (contender, error) {
	store, err := models.Open(ctx, t.url, models.WithMaxConns(t.conns))
	return &methods{client: client{store}, store: store, cursors: make(map[int]string)}, err
}

func (m *methods) TokenRevoked(ctx context.Context, jti string) (bool, error) {
	return m.store.TokenRevoked(ctx, jti)
}

func (m *methods) CheckToken(ctx context.Context, claims models.Claims) (string, error) {
	switch err := m.store.CheckToken(ctx, claims); {
	case errors.Is(err, models.ErrDeleted):
		return "deleted", nil
	case errors.Is(err, models.ErrAccountDisabled):
		return "disabled", nil
	case errors.Is(err, models.ErrTokenRevoked):
		return "revoked", nil
	default:
		return "accepted", err
	}
}

func (m *methods) UserByEmail(ctx context.Context, email string) (any, error) {
	return found(m.store.UserByEmail(ctx, email))
}

func (m *methods) UserByID(ctx context.Context, id int) (any, error) {
	return found(m.store.UserByID(ctx, id))
}

func found(u *ent.User, err error) (any, error) {
	if errors.Is(err, models.ErrNotFound) {
		return nil, nil //nolint:nilnil // It is an answer here.
	}
	return u, err
}

func (m *methods) Page(ctx context.Context, after place) (any, error) {
	cursor, known := m.cursors[after.id]
	if !known { // Only when the answers are compared, before anything is measured.
		var err error
		if cursor, err = m.turnTo(ctx, after); err != nil {
			return nil, err
		}
		m.cursors[after.id] = cursor
	}
	list, err := m.store.ListFiles(ctx, models.FileFilter{UserID: after.userID}, models.PageRequest{Limit: pageSize, After: cursor})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// turnTo turns the pages up to the place.
func (m *methods) turnTo(ctx context.Context, after place) (cursor string, err error) {
	for {
		list, err := m.store.ListFiles(ctx, models.FileFilter{UserID: after.userID}, models.PageRequest{Limit: pageSize, After: cursor})
		if err != nil {
			return "", err
		}
		if n := len(list.Items); n > 0 && list.Items[n-1].ID == after.id {
			return list.Next, nil
		}
		if list.Next == "" {
			return "", errors.New("the list of files ends before the place")
		}
		cursor = list.Next
	}
}

func (m *methods) InsertFile(ctx context.Context, userID int, f models.NewFile) (int, error) {
	return lastOf(m.store.CreateFiles(ctx, userID, []models.NewFile{f}))
}

func (m *methods) InsertFiles(ctx context.Context, userID int, files []models.NewFile) (int, error) {
	return lastOf(m.store.CreateFiles(ctx, userID, files))
}

func (m *methods) ImportUsers(ctx context.Context, list string) error {
	_, err := m.store.ImportUsers(ctx, strings.NewReader(list), models.ImportOptions{})
	return err
}

// ImportUsersAudited is ImportUsers, which always writes to the audit trail.
func (m *methods) ImportUsersAudited(ctx context.Context, list string) error {
	return m.ImportUsers(ctx, list)
}

func (m *methods) RecordLogin(ctx context.Context, id int, at time.Time) (bool, error) {
	err := m.store.RecordLogin(ctx, id, at)
	if errors.Is(err, models.ErrNotFound) {
		return false, nil
	}
	return true, err
}

func fromUser(u *ent.User) *User {
	return &User{
		ID: u.ID, CreatedAt: u.CreatedAt, UpdatedAt: u.UpdatedAt, PublicID: u.PublicID, Email: u.Email, HashedPassword: u.HashedPassword,
		IsActive: u.IsActive, IsAdmin: u.IsAdmin, IsDeleted: u.IsDeleted,
		DeletedAt: u.DeletedAt, LastLoginAt: u.LastLoginAt, TokensValidAfter: u.TokensValidAfter,
		Name: u.Name, Bio: u.Bio, AvatarURL: u.AvatarURL, Preferences: u.Preferences, Files: each(u.Edges.Files, fromFile),
	}
}

func fromFile(f *ent.File) *File {
	return &File{
		ID: f.ID, CreatedAt: f.CreatedAt, UpdatedAt: f.UpdatedAt, PublicID: f.PublicID,
		Filename: f.Filename, ContentType: f.ContentType, Size: f.Size, UserID: f.UserID,
	}
}
