package main

import (
	"context"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/internal/bench/stock"
	"github.com/reviewpoint/models/internal/bench/stock/blacklistedtoken"
	"github.com/reviewpoint/models/internal/bench/stock/file"
	"github.com/reviewpoint/models/internal/bench/stock/user"
)

// stockEnt is a client of ent as it comes.
type stockEnt struct{ *stock.Client }

func newStock(_ context.Context, t target) (contender, error) {
	pool, err := t.open("postgres")
	if err != nil {
		return nil, err
	}
	name := dialect.SQLite
	if t.postgres {
		name = dialect.Postgres
	}
	return &stockEnt{stock.NewClient(stock.Driver(entsql.OpenDB(name, pool)))}, nil
}

func (s *stockEnt) TokenRevoked(ctx context.Context, jti string) (bool, error) {
	return s.BlacklistedToken.Query().Where(blacklistedtoken.Jti(jti), blacklistedtoken.ExpiresAtGT(now())).Exist(ctx)
}

// CheckToken is two queries, for a client without features has no way to send SQL of one's own.
func (s *stockEnt) CheckToken(ctx context.Context, claims models.Claims) (string, error) {
	blacklisted, err := s.BlacklistedToken.Query().Where(blacklistedtoken.Jti(claims.ID)).Exist(ctx)
	if err != nil {
		return "", err
	}
	u, err := s.User.Query().Where(user.ID(claims.UserID)).
		Select(user.FieldIsDeleted, user.FieldIsActive, user.FieldTokensValidAfter).Only(ctx)
	if stock.IsNotFound(err) {
		return verdict(blacklisted, nil), nil
	}
	if err != nil {
		return "", err
	}
	account := standing(u.IsDeleted, u.IsActive, u.TokensValidAfter, claims.IssuedAt)
	return verdict(blacklisted, &account), nil
}

func (s *stockEnt) UserByEmail(ctx context.Context, email string) (any, error) {
	return oneStock(s.User.Query().Where(user.Email(email), user.IsDeleted(false)).Only(ctx))
}

func (s *stockEnt) UserByID(ctx context.Context, id int) (any, error) {
	return oneStock(s.User.Query().Where(user.ID(id), user.IsDeleted(false)).Only(ctx))
}

func oneStock(u *stock.User, err error) (any, error) {
	if stock.IsNotFound(err) {
		return nil, nil //nolint:nilnil // It is an answer here.
	}
	return u, err
}

func (s *stockEnt) Page(ctx context.Context, after place) (any, error) {
	return s.File.Query().Where(file.UserID(after.userID), func(query *entsql.Selector) {
		query.Where(entsql.CompositeLT([]string{query.C(file.FieldCreatedAt), query.C(file.FieldID)}, after.createdAt, after.id))
	}).Order(file.ByCreatedAt(entsql.OrderDesc()), file.ByID(entsql.OrderDesc())).Limit(pageSize).All(ctx)
}

func (s *stockEnt) UsersWithFiles(ctx context.Context, after int) (any, error) {
	return s.User.Query().Where(user.IDGT(after), user.IsDeleted(false)).Order(user.ByID()).Limit(manyUsers).
		WithFiles(func(query *stock.FileQuery) { query.Order(file.ByID()) }).All(ctx)
}

func (s *stockEnt) create(userID int, f models.NewFile) *stock.FileCreate {
	at := now()
	return s.File.Create().SetCreatedAt(at).SetUpdatedAt(at).
		SetFilename(f.Filename).SetContentType(f.ContentType).SetSize(f.Size).SetUserID(userID)
}

func (s *stockEnt) InsertFile(ctx context.Context, userID int, f models.NewFile) (int, error) {
	node, err := s.create(userID, f).Save(ctx)
	if err != nil {
		return 0, err
	}
	return node.ID, nil
}

// InsertFiles is one statement, and so one transaction.
func (s *stockEnt) InsertFiles(ctx context.Context, userID int, files []models.NewFile) (int, error) {
	nodes, err := s.File.MapCreateBulk(files, func(c *stock.FileCreate, i int) {
		at := now()
		c.SetCreatedAt(at).SetUpdatedAt(at).
			SetFilename(files[i].Filename).SetContentType(files[i].ContentType).SetSize(files[i].Size).SetUserID(userID)
	}).Save(ctx)
	if err != nil {
		return 0, err
	}
	return nodes[len(nodes)-1].ID, nil
}

func (s *stockEnt) ImportUsers(ctx context.Context, list string) error {
	users, err := readUsers(list)
	if err != nil {
		return err
	}
	return s.User.MapCreateBulk(users, func(c *stock.UserCreate, i int) {
		u := users[i]
		c.SetCreatedAt(u.CreatedAt).SetUpdatedAt(u.UpdatedAt).SetPublicID(u.PublicID).
			SetEmail(u.Email).SetHashedPassword(u.HashedPassword).SetNillableName(u.Name)
	}).Exec(ctx)
}

// RecordLogin does without UpdateOneID, which reads the row back.
func (s *stockEnt) RecordLogin(ctx context.Context, id int, at time.Time) (bool, error) {
	n, err := s.User.Update().Where(user.ID(id), user.IsDeleted(false)).SetLastLoginAt(at).SetUpdatedAt(now()).Save(ctx)
	return n > 0, err
}

func fromStockUser(u *stock.User) *User {
	return &User{
		ID: u.ID, CreatedAt: u.CreatedAt, UpdatedAt: u.UpdatedAt, PublicID: u.PublicID, Email: u.Email, HashedPassword: u.HashedPassword,
		IsActive: u.IsActive, IsAdmin: u.IsAdmin, IsDeleted: u.IsDeleted,
		DeletedAt: u.DeletedAt, LastLoginAt: u.LastLoginAt, TokensValidAfter: u.TokensValidAfter,
		Name: u.Name, Bio: u.Bio, AvatarURL: u.AvatarURL, Preferences: u.Preferences, Files: each(u.Edges.Files, fromStockFile),
	}
}

func fromStockFile(f *stock.File) *File {
	return &File{
		ID: f.ID, CreatedAt: f.CreatedAt, UpdatedAt: f.UpdatedAt, PublicID: f.PublicID,
		Filename: f.Filename, ContentType: f.ContentType, Size: f.Size, UserID: f.UserID,
	}
}
