package models_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"entgo.io/ent/dialect/sql"
	"entgo.io/ent/dialect/sql/sqljson"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/auditlog"
	"github.com/reviewpoint/models/ent/blacklistedtoken"
	"github.com/reviewpoint/models/ent/file"
	"github.com/reviewpoint/models/ent/usedpasswordresettoken"
	"github.com/reviewpoint/models/ent/user"
	"github.com/reviewpoint/models/internal/audit"
	"github.com/reviewpoint/models/internal/dbtest"
)

// TestValues_ShowNoSecret shows what the client gives out: rows, in whatever they stand, and builders.
func TestValues_ShowNoSecret(t *testing.T) {
	t.Parallel()
	type person ent.User
	eachPlanted(t, func(t *testing.T, ctx context.Context, p *planted) {
		u := must(p.User.Query().Where(user.ID(p.victim.ID)).WithFiles(func(q *ent.FileQuery) { q.WithUser() }).Only(ctx))(t)
		f := must(p.File.Query().Where(file.ID(p.file.ID)).WithUser().Only(ctx))(t)
		selected := must(p.User.Query().Modify(func(s *sql.Selector) { s.AppendSelectAs("hashed_password", "again") }).First(ctx))(t)
		if value, err := selected.Value("again"); err != nil || fmt.Sprint(value) != canaryHash {
			t.Fatalf("selected %v (%v), want the hash: it is not searched for where it is not", value, err)
		}
		var s seen
		for name, v := range map[string]any{
			"pointer": u, "value": *u, "pointers": []*ent.User{u}, "values": []ent.User{*u}, "ents": ent.Users{u},
			"pointer to pointer": &u, "map": map[string]*ent.User{"u": u}, "map of values": map[int]ent.User{1: *u}, "any": []any{u, *u},
			"edges": f.Edges, "file": f, "file's value": *f, "edges of user": u.Edges, "more columns": selected,
			"in a struct":       struct{ U ent.User }{*u},
			"pointer in struct": struct{ U *ent.User }{u},
			"pointer, hidden":   struct{ u *ent.User }{u},
			"value, hidden":     struct{ u ent.User }{*u},
			"type of its own":   person(*u),
			"embedded":          struct{ ent.User }{*u},
			"pointer embedded":  struct{ *ent.User }{u},
			"embedded with more": struct {
				ent.User

				More string
			}{*u, "more"},
			"embedded twice": struct {
				ent.User
				*ent.File
			}{*u, f},
			"unwrapped": u.Edges.Files[0].Edges.User, "ToMap": u.ToMap(), "String": u.String(), "ToMap of file": f.ToMap(),
			"create": newUser(p.Store).SetHashedPassword(canaryHash), "create's value": *newUser(p.Store).SetHashedPassword(canaryHash),
			"bulk create": p.User.CreateBulk(newUser(p.Store).SetHashedPassword(canaryHash)),
			"upsert":      newUser(p.Store).SetHashedPassword(canaryHash).OnConflict(sql.ResolveWithNewValues()),
			"update":      u.Update().SetHashedPassword(canaryHash), "update's value": *u.Update().SetHashedPassword(canaryHash),
			"bulk update": p.User.Update().Where(user.HashedPassword(canaryHash)).SetHashedPassword(canaryHash),
			"mutation":    newUser(p.Store).SetHashedPassword(canaryHash).Mutation(), "mutation of update": u.Update().SetHashedPassword(canaryHash).Mutation(),
			"mutation's value": *newUser(p.Store).SetHashedPassword(canaryHash).Mutation(),
			"delete":           p.User.Delete().Where(user.HashedPassword(canaryHash)),
			"query":            p.User.Query().Where(user.HashedPassword(canaryHash)), "group": p.User.Query().GroupBy(user.FieldHashedPassword),
			"token": newToken(p.Store, canaryJti, time.Time{}), "reset": newReset(p.Store, canaryAddress, canaryNonce),
			"token's mutation": newToken(p.Store, canaryJti, time.Time{}).Mutation(), "reset's mutation": newReset(p.Store, canaryAddress, canaryNonce).Mutation(),
			"store": p.Store, "store's value": *p.Store, "client": p.Client, "client's value": *p.Client, "debug client": p.Debug(), "viewer": ctx,
		} {
			s.value(name, v)
		}
		for _, row := range must(p.AuditLog.Query().All(ctx))(t) {
			s.value("audit row", row)
			s.value("audit row's value", *row)
			s.value("audit row's map", row.ToMap())
		}
		s.wantNone(t, append(passwordOf(t, p.url), tokenCanaries...)...)
		s.wantShown(t, canaryAddress, "<sensitive>", audit.Redacted)
		if got, want := must(json.Marshal(*u))(t), must(json.Marshal(u))(t); !bytes.Equal(got, want) {
			t.Errorf("the JSON of the value is %s, want that of the pointer: %s", got, want)
		}
	})
}

// TestDebug_ShowsNoArgument runs every kind of statement with a client that logs them.
func TestDebug_ShowsNoArgument(t *testing.T) { //nolint:paralleltest // The logger is the process's.
	for _, dialect := range []string{"sqlite", "postgres"} {
		t.Run(dialect, func(t *testing.T) {
			ctx := models.AsSystem(t.Context(), "test")
			var p *planted
			if dialect == "sqlite" {
				p = plantSQLite(t, ctx)
			} else {
				p = plant(t, ctx, postgresURL(t))
			}
			var (
				s   seen
				log bytes.Buffer
			)
			before := slog.Default()
			defer slog.SetDefault(before)
			slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
			for _, way := range p.ways() {
				for _, st := range p.statements() {
					log.Reset()
					err := way.run(ctx, st.run)
					if failing := strings.HasPrefix(st.name, "failing"); (err != nil) != failing {
						t.Errorf("%s by %s answers %v", st.name, way.name, err)
					}
					if !strings.Contains(log.String(), "query=") {
						t.Errorf("%s by %s writes %q, want its statements", st.name, way.name, log.String())
					}
					s.text(st.name+", by "+way.name, "log", log.String())
				}
			}
			s.wantNone(t, p.secrets...)
			s.wantShown(t, "INSERT INTO", "UPDATE", "DELETE", "GROUP BY", "ON CONFLICT", "audit_logs", "Tx(", "driver.")
		})
	}
}

// way is one of using a client that logs.
type way struct {
	name string
	run  func(context.Context, func(context.Context, *ent.Client) error) error
}

// ways of using a client that logs. The last one keeps what was changed.
func (p *planted) ways() []way {
	type fn = func(context.Context, *ent.Client) error
	return []way{
		{"InTx", func(ctx context.Context, run fn) error {
			return p.undone(ctx, func(ctx context.Context) error { return run(ctx, p.Debug()) })
		}},
		{"Tx", func(ctx context.Context, run fn) error {
			tx, err := p.Debug().Tx(ctx)
			if err != nil {
				return err
			}
			err = run(ctx, tx.Client())
			_ = tx.Rollback() // of what has failed by itself, too
			return err
		}},
		{"the client", func(ctx context.Context, run fn) error { return run(ctx, p.Debug()) }},
	}
}

type statement struct {
	name string
	run  func(context.Context, *ent.Client) error
}

// statements are of every kind, and bear canaries. They can run in this order.
func (p *planted) statements() []statement {
	return slices.Concat(p.writes(), p.reads(), p.failures(), p.deletes())
}

func (p *planted) writes() []statement {
	byCanary := user.And(user.Email(canaryAddress), user.HashedPassword(canaryHash))
	return []statement{
		{"create", func(ctx context.Context, c *ent.Client) error {
			return c.User.Create().SetEmail("1-" + canaryAddress).SetHashedPassword(canaryHash).SetName(canaryName).SetBio(canaryBio).
				SetPreferences(map[string]any{"note": canaryPreference}).Exec(ctx)
		}},
		{"bulk create", func(ctx context.Context, c *ent.Client) error {
			return c.User.CreateBulk(
				c.User.Create().SetEmail("2-"+canaryAddress).SetHashedPassword(canaryHash),
				c.User.Create().SetEmail("3-"+canaryAddress).SetHashedPassword(canaryHash).SetName(canaryName),
			).Exec(ctx)
		}},
		{"create others", func(ctx context.Context, c *ent.Client) error {
			return errors.Join(
				c.File.Create().SetFilename(canaryFile).SetContentType("application/pdf").SetUser(p.victim).Exec(ctx),
				c.BlacklistedToken.Create().SetJti("1-"+canaryJti).SetExpiresAt(p.victim.CreatedAt).Exec(ctx),
				c.UsedPasswordResetToken.Create().SetEmail(canaryAddress).SetNonce("1-"+canaryNonce).Exec(ctx),
			)
		}},
		{"upsert", func(ctx context.Context, c *ent.Client) error {
			return c.User.Create().SetEmail(canaryAddress).SetHashedPassword(canaryHash).SetName(canaryName).
				OnConflict(sql.ConflictColumns(user.FieldEmail), sql.ConflictWhere(sql.ExprP("NOT is_deleted"))).
				Update(func(u *ent.UserUpsert) { u.UpdateHashedPassword().SetBio(canaryBio) }).Exec(ctx)
		}},
		{"upsert token", func(ctx context.Context, c *ent.Client) error {
			return c.BlacklistedToken.Create().SetJti(canaryJti).SetExpiresAt(p.victim.CreatedAt).
				OnConflictColumns("jti").UpdateNewValues().Exec(ctx)
		}},
		{"update", func(ctx context.Context, c *ent.Client) error {
			return c.User.UpdateOneID(p.victim.ID).SetName(canaryName).SetHashedPassword(canaryHash + "2").Exec(ctx)
		}},
		{"update with SQL", func(ctx context.Context, c *ent.Client) error {
			return c.User.UpdateOneID(p.victim.ID).Modify(func(u *sql.UpdateBuilder) { u.Set("hashed_password", canaryHash) }).Exec(ctx)
		}},
		{"bulk update", func(ctx context.Context, c *ent.Client) error {
			return c.User.Update().Where(byCanary).SetBio(canaryBio).SetPreferences(map[string]any{canaryPreference: canaryPreference}).Exec(ctx)
		}},
		{"raw update", func(ctx context.Context, c *ent.Client) error {
			_, err := c.ExecContext(ctx, "UPDATE users SET bio = $1 WHERE email = $2", canaryBio, canaryAddress)
			return err
		}},
	}
}

func (p *planted) reads() []statement {
	read := func(name string, run func(context.Context, *ent.UserQuery) error) statement {
		return statement{name, func(ctx context.Context, c *ent.Client) error {
			return run(ctx, c.User.Query().Where(user.Or(user.EmailContains(canaryAddress), user.BioHasPrefix(canaryBio), user.NameEqualFold(canaryName), user.HashedPasswordIn(canaryHash, canaryJti))))
		}}
	}
	return []statement{
		read("query", func(ctx context.Context, q *ent.UserQuery) error {
			_, err := q.WithFiles(func(q *ent.FileQuery) { q.Where(file.Filename(canaryFile)) }).All(ctx)
			return err
		}),
		read("object", func(ctx context.Context, q *ent.UserQuery) error {
			_, err := q.Where(func(s *sql.Selector) {
				s.Where(sql.Or(
					sqljson.ValueEQ(user.FieldPreferences, canaryPreference, sqljson.Path("note")),
					sqljson.StringContains(user.FieldPreferences, canaryPreference, sqljson.Path("note")),
				))
			}).All(ctx)
			return err
		}),
		read("count", func(ctx context.Context, q *ent.UserQuery) error { _, err := q.Count(ctx); return err }),
		read("exist", func(ctx context.Context, q *ent.UserQuery) error { _, err := q.Exist(ctx); return err }),
		read("aggregate", func(ctx context.Context, q *ent.UserQuery) error {
			_, err := q.Aggregate(ent.Max(user.FieldEmail)).String(ctx)
			return err
		}),
		read("group", func(ctx context.Context, q *ent.UserQuery) error {
			_, err := q.GroupBy(user.FieldEmail).Strings(ctx)
			return err
		}),
		read("edge", func(ctx context.Context, q *ent.UserQuery) error {
			_, err := q.Where(user.HasFilesWith(file.Filename(canaryFile))).QueryFiles().Where(file.HasUserWith(user.Name(canaryName))).All(ctx)
			return err
		}),
		{"tokens", func(ctx context.Context, c *ent.Client) error {
			_, err := c.BlacklistedToken.Query().Where(blacklistedtoken.Jti(canaryJti)).Exist(ctx)
			return err
		}},
		{"resets", func(ctx context.Context, c *ent.Client) error {
			_, err := c.UsedPasswordResetToken.Query().Where(usedpasswordresettoken.Nonce(canaryNonce)).All(ctx)
			return err
		}},
		{"audit", func(ctx context.Context, c *ent.Client) error {
			_, err := c.AuditLog.Query().Where(auditlog.Or(auditlog.Actor(canaryAddress), auditlog.EntityID(p.victim.ID))).All(ctx)
			return err
		}},
		{"raw query", func(ctx context.Context, c *ent.Client) error {
			rows, err := c.QueryContext(ctx, "SELECT email FROM users WHERE hashed_password = $1", canaryHash)
			if err != nil {
				return err
			}
			defer rows.Close()
			return rows.Err()
		}},
	}
}

func (p *planted) failures() []statement {
	return []statement{
		{"failing create", func(ctx context.Context, c *ent.Client) error {
			return c.User.Create().SetEmail(canaryAddress).SetHashedPassword(canaryHash).Exec(ctx)
		}},
		{"failing update", func(ctx context.Context, c *ent.Client) error {
			return c.User.UpdateOneID(p.plain.ID).SetEmail(canaryAddress).SetHashedPassword(canaryHash).Exec(ctx)
		}},
		{"failing update of nobody", func(ctx context.Context, c *ent.Client) error {
			return c.User.UpdateOneID(424242).SetEmail(canaryAddress).SetHashedPassword(canaryHash).Exec(ctx)
		}},
		{"failing upsert", func(ctx context.Context, c *ent.Client) error {
			return c.User.Create().SetEmail(canaryAddress).SetHashedPassword(canaryHash).OnConflictColumns(user.FieldName).UpdateNewValues().Exec(ctx)
		}},
		{"failing token", func(ctx context.Context, c *ent.Client) error {
			return c.BlacklistedToken.Create().SetJti(canaryJti).SetExpiresAt(p.victim.CreatedAt).Exec(ctx)
		}},
		{"failing statement", func(ctx context.Context, c *ent.Client) error {
			_, err := c.ExecContext(ctx, "UPDATE users SET nosuch = $1, args= $2", canaryBio, canaryHash)
			return err
		}},
	}
}

func (p *planted) deletes() []statement {
	return []statement{
		{"soft delete", func(ctx context.Context, c *ent.Client) error {
			_, err := c.User.Delete().Where(user.Email(canaryAddress)).Exec(ctx)
			return err
		}},
		{"restore", func(ctx context.Context, c *ent.Client) error {
			return c.User.Update().Where(user.Email(canaryAddress)).SetIsDeleted(false).Exec(models.IncludeDeleted(ctx))
		}},
		{"delete file", func(ctx context.Context, c *ent.Client) error {
			_, err := c.File.Delete().Where(file.Filename(canaryFile)).Exec(ctx)
			return err
		}},
		{"delete token", func(ctx context.Context, c *ent.Client) error {
			_, err := c.BlacklistedToken.Delete().Where(blacklistedtoken.JtiContains(canaryJti)).Exec(ctx)
			return err
		}},
		{"hard delete", func(ctx context.Context, c *ent.Client) error {
			_, err := c.User.Delete().Where(user.Name(canaryName)).Exec(models.HardDelete(ctx))
			return err
		}},
	}
}

// TestAudit_HoldsNoSecret reads what the trail keeps of every kind of change.
func TestAudit_HoldsNoSecret(t *testing.T) {
	t.Parallel()
	eachPlanted(t, func(t *testing.T, ctx context.Context, p *planted) {
		for _, st := range slices.Concat(p.writes(), p.deletes()) {
			check(t, st.run(ctx, p.Client))
		}
		for _, ctx := range []context.Context{ctx, models.AsUser(t.Context(), p.admin)} {
			other := must(p.User.UpdateOneID(p.plain.ID).SetName("Other").SetIsActive(true).Save(ctx))(t)
			check(t, p.SoftDeleteUser(ctx, other.ID))
			check(t, p.RestoreUser(ctx, other.ID))
		}
		check(t, p.User.UpdateOneID(p.plain.ID).SetHashedPassword(canaryHash+"3").SetEmail("plain@example.org").Exec(ctx))
		check(t, p.User.DeleteOneID(p.plain.ID).Exec(models.HardDelete(ctx)))
		var all, ofOthers seen
		var changes, entity, actor string
		rows := must(p.QueryContext(ctx, "SELECT entity, entity_id, actor || action, CAST(changes AS text) FROM audit_logs"))(t)
		defer rows.Close()
		for rows.Next() {
			var id int
			check(t, rows.Scan(&entity, &id, &actor, &changes))
			row := fmt.Sprintf("%s %d by %s", entity, id, actor)
			all.text(row, "raw", actor+changes)
			if entity == user.Label && (id == p.plain.ID || id == p.admin.ID) || entity == file.Label && id == p.ownFile.ID {
				ofOthers.text(row, "raw", actor+changes)
			}
		}
		check(t, rows.Err())
		for _, row := range must(p.AuditLog.Query().All(ctx))(t) {
			all.value("row by the client", row)
			all.value("changes by the client", row.Changes)
		}
		all.wantNone(t, append(passwordOf(t, p.url), tokenCanaries...)...)
		all.wantShown(t, canaryAddress, canaryName, audit.Redacted, audit.SoftDelete, audit.Restore, audit.Delete, audit.Create, audit.Update)
		ofOthers.wantNone(t, p.secrets...)
		ofOthers.wantShown(t, "plain@example.org", audit.Redacted, audit.Delete)
	})
}

// TestUser_SeesNobodyElse shows a signed-in person all that can be had.
func TestUser_SeesNobodyElse(t *testing.T) {
	t.Parallel()
	eachPlanted(t, func(t *testing.T, _ context.Context, p *planted) {
		own := models.AsUser(t.Context(), p.plain)
		var s seen
		for how, ctx := range map[string]context.Context{"": own, ", deleted ones too": models.IncludeDeleted(own), ", to be deleted": models.HardDelete(own)} {
			for name, look := range p.looks() {
				err := p.undone(ctx, func(ctx context.Context) error {
					got, err := look(ctx)
					s.value(name+how, got)
					return err
				})
				if err != nil {
					s.err(t, name+how, err)
				}
			}
			for name, try := range p.operations() {
				if err := p.undone(ctx, try); err != nil {
					s.err(t, name+how, err)
				}
			}
		}
		s.wantNone(t, p.secrets...)
		s.wantShown(t, p.plain.Email, "own.pdf", models.ErrForbidden.Error(), models.ErrNotFound.Error())
	})
}

type look = func(context.Context) (any, error)

// found makes a look of a method of a query.
func found[T any](method func(context.Context) (T, error)) look {
	return func(ctx context.Context) (any, error) { return method(ctx) }
}

// looks are the ways of a person to see something, those included that would widen what the rules allow.
func (p *planted) looks() map[string]look {
	users, files := p.User.Query, p.File.Query
	widen := func(s *sql.Selector) { s.SetP(nil).Or().Where(sql.ExprP("1 = 1")).Or() }
	everybody := user.Or(user.IDGT(0), user.Not(user.IDGT(0)))
	return map[string]look{
		"users":                 found(users().All),
		"users, everybody":      found(users().Where(everybody).All),
		"users, widened":        found(users().Where(func(s *sql.Selector) { widen(s) }).All),
		"users, modified":       found(users().Modify(widen).All),
		"users, ordered":        found(users().Order(ent.Desc(user.FieldEmail)).Limit(9).Offset(0).All),
		"users, eagerly":        found(users().WithFiles(func(q *ent.FileQuery) { q.Where(widen).WithUser() }).All),
		"users of files":        found(files().Where(widen).QueryUser().Where(widen).QueryFiles().QueryUser().All),
		"users with files":      found(users().Where(user.Or(user.HasFiles(), user.HasFilesWith(file.Filename(canaryFile)))).All),
		"user, by id":           func(ctx context.Context) (any, error) { return p.User.Get(ctx, p.victim.ID) },
		"user, by address":      found(users().Where(user.Email(canaryAddress)).Only),
		"names":                 found(users().Select(user.FieldName).Strings),
		"addresses, grouped":    found(users().Modify(widen).GroupBy(user.FieldEmail).Strings),
		"addresses, the last":   found(users().Where(widen).Aggregate(ent.Max(user.FieldEmail)).String),
		"addresses, the first":  found(users().Aggregate(ent.Min(user.FieldEmail)).Strings),
		"files":                 found(files().All),
		"files, everybody's":    found(files().Where(file.Or(file.UserIDNEQ(0), file.HasUser())).All),
		"files, widened":        found(files().Where(widen).All),
		"files, modified":       found(files().Modify(widen).WithUser().All),
		"files, eagerly":        found(files().WithUser(func(q *ent.UserQuery) { q.Where(widen).WithFiles() }).All),
		"files of another":      found(p.victim.QueryFiles().Where(widen).All),
		"file, by id":           func(ctx context.Context) (any, error) { return p.File.Get(ctx, p.file.ID) },
		"owner of another file": found(p.file.QueryUser().Where(widen).All),
		"file names, grouped":   found(files().Modify(widen).GroupBy(file.FieldFilename).Strings),
		"file names, the first": found(files().Aggregate(ent.Min(file.FieldFilename)).String),
		"tokens":                found(p.BlacklistedToken.Query().Modify(widen).All),
		"jtis":                  found(p.BlacklistedToken.Query().Select(blacklistedtoken.FieldJti).Strings),
		"resets":                found(p.UsedPasswordResetToken.Query().Modify(widen).All),
		"nonces":                found(p.UsedPasswordResetToken.Query().GroupBy(usedpasswordresettoken.FieldNonce).Strings),
		"audit":                 found(p.AuditLog.Query().Modify(widen).All),
		"changes":               found(p.AuditLog.Query().Select(auditlog.FieldChanges).Strings),
		"own, changed":          found(p.User.UpdateOneID(p.plain.ID).SetBio("own").Save),
		"another, changed":      found(p.User.UpdateOneID(p.victim.ID).SetAvatarURL("https://example.org/").Save),
		"another, emptied":      found(p.User.UpdateOne(p.victim).ClearAvatarURL().Save),
		"everybody, changed":    found(p.User.Update().Where(everybody).SetBio("own").Save),
		"own file, made":        found(newFile(p.Store, p.plain).SetFilename("own.pdf").Save),
		"own file, deleted":     found(p.File.Delete().Where(widen).Exec),
		"list of users": func(ctx context.Context) (any, error) {
			return p.ListUsers(ctx, models.UserFilter{Text: "canary"}, models.PageRequest{WithTotal: true})
		},
		"page of users": func(ctx context.Context) (any, error) {
			return cursors(p.ListUsers(ctx, models.UserFilter{}, models.PageRequest{Limit: 1, Sort: models.SortEmail}))
		},
		"page of files": func(ctx context.Context) (any, error) {
			return cursors(p.ListFiles(ctx, models.FileFilter{}, models.PageRequest{Limit: 1, Sort: models.SortFilename}))
		},
		"files of another, listed": func(ctx context.Context) (any, error) {
			return p.ListFiles(ctx, models.FileFilter{UserID: p.victim.ID}, models.PageRequest{WithTotal: true})
		},
		"another, by the store":             func(ctx context.Context) (any, error) { return p.UserByID(ctx, p.victim.ID) },
		"another, by the store and address": func(ctx context.Context) (any, error) { return p.UserByEmail(ctx, canaryAddress) },
		"users, exported": func(ctx context.Context) (any, error) {
			return written(func(w io.Writer) error { return p.ExportUsers(ctx, w, models.ExportOptions{}) })
		},
		"files, exported": func(ctx context.Context) (any, error) {
			return written(func(w io.Writer) error { return p.ExportFiles(ctx, w, models.ExportOptions{}) })
		},
		"own account, exported": func(ctx context.Context) (any, error) {
			return written(func(w io.Writer) error { return p.ExportSubject(ctx, p.plain.ID, w) })
		},
	}
}

// cursors are a page with its cursors as anybody can decode them.
func cursors[T any](page *models.Page[T], err error) (any, error) {
	if err != nil {
		return nil, err
	}
	next, err := base64.RawURLEncoding.DecodeString(page.Next + page.Prev) // The first page has one.
	return []any{page, string(next)}, err
}

func written(write func(io.Writer) error) (any, error) {
	var b strings.Builder
	err := write(&b)
	return b.String(), err
}

// TestOpen_ErrorsHoldNoPassword opens URLs whose password holds what is special in an URL, unescaped.
func TestOpen_ErrorsHoldNoPassword(t *testing.T) {
	t.Parallel()
	const left, digits, middle, right = "canaryleft", "4242424242", "canaryx", "canaryright"
	ended, cancel := context.WithCancel(t.Context()) // so that what is taken for a host is looked up nowhere
	cancel()
	var s seen
	for _, special := range []string{
		"", "/", "?", "#", "@", ":", "%", "%zz", "%40", ",", " ", "&", "=", "[", "]", "<", "\\", "\"", "\x00", "\n", "\xff", "é", "+", ";", "|",
		"?a=", "," + middle + "?a=", "@" + middle + "?a=", "@" + middle + "/", "@" + middle + "#", "/" + middle + "?a=", ":1/", ":1?a=", ",/", "@[::1]", "?host=", "?password=", "&password=",
	} {
		for _, start := range []string{left, digits} {
			password := start + special + right
			for _, form := range []string{
				"postgres://app:%s@127.0.0.1:1/db", "postgresql+asyncpg://app:%s@127.0.0.1:1/db?sslmode=require", "postgres://%s@127.0.0.1:1/db",
				"postgres://app:%s@127.0.0.1:1,127.0.0.1:2/db", "mysql://app:%s@127.0.0.1/db", "app:%s@127.0.0.1://db", "app:%s@127.0.0.1/db",
				"postgres:app:%s@127.0.0.1", "postgres://app@127.0.0.1:1/db?password=%s", "postgres://app@127.0.0.1:1/db?sslpassword=%s",
				"postgres://app:%s@127.0.0.1:no/db", "postgres://app:%s@127.0.0.1:1/db?%%zz",
			} {
				_, err := models.Open(ended, fmt.Sprintf(form, password))
				s.err(t, fmt.Sprintf("URL with %q", special), err)
			}
		}
	}
	s.wantNone(t, left, digits, middle, right)
	s.wantShown(t, "cannot connect to 127.0.0.1:1/db", "escape special characters", "has no scheme", "unknown database scheme")
}

// TestOpen_ErrorsOfServers shows what servers and files answer.
func TestOpen_ErrorsOfServers(t *testing.T) {
	t.Parallel()
	const canary = "canary-password-5e1d"
	server := dbtest.Postgres(t)
	var s seen
	for name, change := range map[string]func(u *url.URL, options url.Values){
		"wrong password": func(u *url.URL, _ url.Values) { u.User = url.UserPassword(u.User.Username(), canary) },
		"wrong user":     func(u *url.URL, _ url.Values) { u.User = url.UserPassword("nobody", canary) },
		"wrong database": func(u *url.URL, _ url.Values) { u.Path = "/nosuch" },
		"wrong port":     func(u *url.URL, _ url.Values) { u.Host, u.User = "127.0.0.1:1", url.UserPassword("app", canary) },
		"no TLS":         func(_ *url.URL, o url.Values) { o.Set("sslmode", "require") },
		"unknown mode":   func(_ *url.URL, o url.Values) { o.Set("sslmode", "nosuch") },
		"unknown option": func(_ *url.URL, o url.Values) { o.Set("nosuch", "1") },
		"wrong option":   func(_ *url.URL, o url.Values) { o.Set("statement_timeout", "soon") },
		"wrong number":   func(_ *url.URL, o url.Values) { o.Set("connect_timeout", "soon") },
		"no certificate": func(_ *url.URL, o url.Values) { o.Set("sslmode", "verify-full"); o.Set("sslrootcert", "/nosuch") },
		"two wrong hosts": func(u *url.URL, _ url.Values) {
			u.Host, u.User = "127.0.0.1:1,127.0.0.1:2", url.UserPassword("app", canary)
		},
		"password, option": func(u *url.URL, o url.Values) { u.User = url.User(u.User.Username()); o.Set("password", canary) },
	} {
		u := must(url.Parse(server))(t)
		options := u.Query()
		change(u, options)
		u.RawQuery = options.Encode()
		_, err := models.Open(t.Context(), u.String())
		s.err(t, name, err)
		_, err = models.Open(t.Context(), u.String(), models.WithReadOnly())
		s.err(t, name+", read-only", err)
	}
	s.wantNone(t, append(passwordOf(t, server), canary)...)
}

// TestMigrate_ErrorsHoldNoValue migrates databases that are not ours, or not what they were.
func TestMigrate_ErrorsHoldNoValue(t *testing.T) {
	t.Parallel()
	t.Run("foreign", func(t *testing.T) {
		t.Parallel()
		for _, url := range []string{"sqlite://" + filepath.ToSlash(t.TempDir()) + "/foreign.db", dbtest.Postgres(t)} {
			ctx := models.AsSystem(t.Context(), "test")
			store := open(t, url)
			must(store.ExecContext(ctx, "CREATE TABLE people (email text)"))(t)
			must(store.ExecContext(ctx, "INSERT INTO people VALUES ($1)", canaryAddress))(t)
			wantMigrateHoldsNone(t, ctx, store, models.ErrForeignDatabase, append(passwordOf(t, url), canaryAddress)...)
		}
	})
	for name, statement := range map[string]string{
		"edited":  "UPDATE atlas_schema_revisions SET hash = 'of another text'",
		"missing": "UPDATE atlas_schema_revisions SET version = '20990101000000' WHERE version = (SELECT max(version) FROM atlas_schema_revisions)",
		"failing": "DELETE FROM atlas_schema_revisions",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachPlanted(t, func(t *testing.T, ctx context.Context, p *planted) {
				must(p.ExecContext(ctx, statement))(t)
				kind := map[string]error{"edited": models.ErrMigrationEdited, "missing": models.ErrMigrationMissing}[name]
				wantMigrateHoldsNone(t, ctx, p.Store, kind, p.secrets...)
			})
		})
	}
}

func wantMigrateHoldsNone(t *testing.T, ctx context.Context, store *models.Store, kind error, secrets ...string) {
	t.Helper()
	var s seen
	report, err := store.Migrate(ctx)
	s.err(t, "Migrate", err)
	s.value("the report", report)
	if kind != nil && !errors.Is(err, kind) {
		t.Errorf("got %v, want %v", err, kind)
	}
	listed, err := store.Migrations(ctx)
	s.value("the list", listed)
	if err != nil {
		s.err(t, "Migrations", err)
	}
	s.wantNone(t, secrets...)
}
