package models_test

import (
	"context"
	stdsql "database/sql"
	"errors"
	"testing"

	"entgo.io/ent/dialect/sql"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/auditlog"
	"github.com/reviewpoint/models/ent/file"
	"github.com/reviewpoint/models/ent/user"
)

// operations are what somebody may try on what is the victim's, by a name. Each is undone.
func (p *planted) operations() map[string]func(context.Context) error {
	upsert := newUser(p.Store).SetEmail(canaryAddress).SetHashedPassword(canaryHash).OnConflict(
		sql.ConflictColumns(user.FieldEmail), sql.ConflictWhere(sql.ExprP("NOT is_deleted")))
	return map[string]func(context.Context) error{
		"create user":       newUser(p.Store).SetEmail("new-" + canaryAddress).SetHashedPassword(canaryHash).Exec,
		"create users":      p.User.CreateBulk(newUser(p.Store).SetHashedPassword(canaryHash), newUser(p.Store).SetName(canaryName)).Exec,
		"upsert user":       upsert.UpdateNewValues().Exec,
		"update name":       p.User.UpdateOneID(p.victim.ID).SetName(canaryName).SetBio(canaryBio).Exec,
		"update address":    p.User.UpdateOneID(p.victim.ID).SetEmail(canaryAddress).Exec,
		"take address":      p.User.UpdateOneID(p.plain.ID).SetEmail(canaryAddress).Exec,
		"update hash":       p.User.UpdateOneID(p.victim.ID).SetHashedPassword(canaryHash).Exec,
		"update with SQL":   p.User.UpdateOneID(p.victim.ID).SetBio(canaryBio).Modify(func(u *sql.UpdateBuilder) { u.Set("name", canaryName) }).Exec,
		"update own, SQL":   p.User.UpdateOneID(p.plain.ID).SetBio(canaryBio).Modify(func(u *sql.UpdateBuilder) { u.Set("name", canaryName) }).Exec,
		"update deleted_at": p.User.UpdateOneID(p.victim.ID).SetDeletedAt(p.victim.CreatedAt).SetName(canaryName).Exec,
		"delete user":       p.User.DeleteOneID(p.victim.ID).Exec,
		"hard delete":       func(ctx context.Context) error { return p.User.DeleteOneID(p.victim.ID).Exec(models.HardDelete(ctx)) },
		"soft delete":       func(ctx context.Context) error { return p.SoftDeleteUser(ctx, p.victim.ID) },
		"restore":           func(ctx context.Context) error { return p.RestoreUser(ctx, p.victim.ID) },
		"purge": func(ctx context.Context) error {
			_, err := p.PurgeExpired(ctx, models.PurgeOptions{DeletedUsers: 1})
			return err
		},
		"create file":  newFile(p.Store, p.victim).SetFilename(canaryFile).Exec,
		"update file":  p.File.UpdateOneID(p.file.ID).SetFilename(canaryFile).Exec,
		"delete file":  p.File.DeleteOneID(p.file.ID).Exec,
		"create token": newToken(p.Store, canaryJti+"2", p.victim.CreatedAt).Exec,
		"delete token": func(ctx context.Context) error { _, err := p.BlacklistedToken.Delete().Exec(ctx); return err },
		"create reset": newReset(p.Store, canaryAddress, canaryNonce+"2").Exec,
		"create audit": newAudit(p.Store).SetActor(canaryAddress).SetChanges(map[string]any{"email": canaryAddress}).Exec,
		"update audit": p.AuditLog.Update().Where(auditlog.Actor(canaryAddress)).SetUpdatedAt(p.victim.CreatedAt).Exec,
		"delete audit": func(ctx context.Context) error { _, err := p.AuditLog.Delete().Exec(ctx); return err },
		"get user":     func(ctx context.Context) error { _, err := p.User.Get(ctx, p.victim.ID); return err },
		"find user": func(ctx context.Context) error {
			_, err := p.User.Query().Where(user.Email(canaryAddress)).Only(ctx)
			return err
		},
		"all users":      func(ctx context.Context) error { _, err := p.User.Query().WithFiles().All(ctx); return err },
		"get file":       func(ctx context.Context) error { _, err := p.File.Get(ctx, p.file.ID); return err },
		"owner of file":  func(ctx context.Context) error { _, err := p.file.QueryUser().Only(ctx); return err },
		"files of user":  func(ctx context.Context) error { _, err := p.victim.QueryFiles().Only(ctx); return err },
		"files, eagerly": func(ctx context.Context) error { _, err := p.File.Query().WithUser().All(ctx); return err },
		"tokens":         func(ctx context.Context) error { _, err := p.BlacklistedToken.Query().Only(ctx); return err },
		"resets":         func(ctx context.Context) error { _, err := p.UsedPasswordResetToken.Query().Only(ctx); return err },
		"audit":          func(ctx context.Context) error { _, err := p.AuditLog.Query().All(ctx); return err },
		"audit, aggregated": func(ctx context.Context) error {
			_, err := p.AuditLog.Query().Aggregate(ent.Count()).Int(ctx)
			return err
		},
		"tokens, aggregated": func(ctx context.Context) error {
			_, err := p.BlacklistedToken.Query().Aggregate(ent.Max("jti")).String(ctx)
			return err
		},
	}
}

// TestErrors_OfRules lets everybody try everything.
func TestErrors_OfRules(t *testing.T) {
	t.Parallel()
	eachPlanted(t, func(t *testing.T, ctx context.Context, p *planted) {
		idle := must(newUser(p.Store).SetIsActive(false).SetName(canaryName).Save(ctx))(t)
		gone := must(newUser(p.Store).SetName(canaryName).SetIsAdmin(true).Save(ctx))(t)
		check(t, p.SoftDeleteUser(ctx, gone.ID))
		var s seen
		for who, ctx := range map[string]context.Context{
			"nobody":        t.Context(),
			"anonymous":     models.AsAnonymous(t.Context()),
			"user":          models.AsUser(t.Context(), p.plain),
			"admin":         models.AsUser(t.Context(), p.admin),
			"inactive":      models.AsUser(t.Context(), idle),
			"deleted admin": models.AsUser(t.Context(), gone),
			"tool":          models.WithViewer(t.Context(), models.Viewer{Admin: true, Label: "tool"}),
			"unnamed admin": models.WithViewer(t.Context(), models.Viewer{Admin: true}),
			"negative":      models.WithViewer(t.Context(), models.Viewer{UserID: -7}),
		} {
			s.value(who+"'s context", ctx)
			failed := 0
			for what, try := range p.operations() {
				err := p.undone(ctx, try)
				if err != nil {
					failed++
					s.err(t, who+": "+what, err)
				}
			}
			if failed == 0 {
				t.Errorf("%s may do everything", who)
			}
		}
		own := models.AsUser(t.Context(), p.plain)
		s.err(t, "own admin flag", p.plain.Update().SetIsAdmin(true).SetBio(canaryBio).Exec(own))
		s.err(t, "own edge", p.plain.Update().SetBio(canaryBio).ClearFiles().Exec(own))
		s.err(t, "inactive: own name", idle.Update().SetName(canaryName).Exec(models.AsUser(t.Context(), idle)))
		s.wantNone(t, p.secrets...)
		s.wantShown(t, models.ErrNoViewer.Error(), models.ErrForbidden.Error(), "may not read User", "may not read AuditLog", "rows of AuditLog are never changed",
			"may not delete User", "may not update File", "may create only their own", "may not set", "may not set files", "has no account that is in use", "may not modify statements", "user id is -7", "whom nothing names", "goes with")
	})
}

var errUndone = errors.New("to be undone")

// undone runs fn in a transaction of its own that leaves nothing behind.
func (p *planted) undone(ctx context.Context, fn func(context.Context) error) error {
	var err error
	_ = p.InTx(ctx, func(ctx context.Context) error {
		err = fn(ctx)
		return errUndone
	})
	return err
}

// TestErrors_OfTransactions shows what ends transactions and contexts.
func TestErrors_OfTransactions(t *testing.T) {
	t.Parallel()
	eachPlanted(t, func(t *testing.T, ctx context.Context, p *planted) {
		var s seen
		update := func(ctx context.Context) error {
			return p.victim.Update().SetName(canaryName).SetHashedPassword(canaryHash).Exec(ctx)
		}
		read := func(ctx context.Context) error {
			_, err := p.User.Query().Where(user.Email(canaryAddress)).WithFiles().Only(ctx)
			return err
		}
		canceled, cancel := context.WithCancel(ctx)
		cancel()
		late, cancel := context.WithDeadline(ctx, p.victim.CreatedAt.AddDate(-1, 0, 0))
		defer cancel()
		var ended context.Context
		check(t, p.InTx(ctx, func(ctx context.Context) error {
			ended = ctx //nolint:fatcontext // It is used after its transaction.
			return update(ctx)
		}))
		for why, ctx := range map[string]context.Context{"cancelled": canceled, "too late": late, "transaction done": ended} {
			s.err(t, why+", update", update(ctx))
			s.err(t, why+", read", read(ctx))
			s.err(t, why+", raw", p.raw(ctx, "SELECT email FROM users WHERE email = $1", canaryAddress))
			s.err(t, why+", InTx", p.InTx(ctx, update))
			s.value(why+", the context", ctx)
		}
		s.err(t, "transaction failed", p.InTx(ctx, func(ctx context.Context) error {
			s.err(t, "the statement that fails it", newUser(p.Store).SetEmail(canaryAddress).Exec(ctx))
			s.err(t, "the statement after it", update(ctx))
			s.err(t, "the read after it", read(ctx))
			return nil
		}))
		s.err(t, "deferred constraint", p.deferred(ctx))
		taken := must(p.User.Query().Where(user.Email(canaryAddress)).OnlyID(ctx))(t)
		s.err(t, "restored, and the address is taken", p.undone(ctx, func(ctx context.Context) error {
			check(t, p.SoftDeleteUser(ctx, taken))
			check(t, newUser(p.Store).SetEmail(canaryAddress).Exec(ctx))
			return p.RestoreUser(ctx, taken)
		}))
		s.err(t, "migrate in a transaction", p.InTx(ctx, func(ctx context.Context) error {
			_, err := p.Migrate(ctx)
			return errors.Join(err, update(ctx))
		}))
		s.wantNone(t, p.secrets...)
		s.wantShown(t, context.Canceled.Error(), context.DeadlineExceeded.Error(), models.ErrTxDone.Error(), models.ErrTxFailed.Error(), models.ErrEmailTaken.Error())
	})
}

// deferred violates a foreign key that is checked by the commit.
func (p *planted) deferred(ctx context.Context) error {
	defers := "PRAGMA defer_foreign_keys = ON"
	if p.Dialect() == "postgres" {
		defers = "ALTER TABLE files ALTER CONSTRAINT files_users_files DEFERRABLE INITIALLY DEFERRED"
	}
	return p.InTx(ctx, func(ctx context.Context) error {
		if _, err := p.ExecContext(ctx, defers); err != nil {
			return err
		}
		return p.File.Create().SetFilename(canaryFile).SetContentType("application/pdf").SetUserID(424242).Exec(ctx)
	})
}

// TestErrors_OfOthersBeside shows what comes of other connections.
func TestErrors_OfOthersBeside(t *testing.T) {
	t.Parallel()
	eachPlanted(t, func(t *testing.T, ctx context.Context, p *planted) {
		var s seen
		other := open(t, p.url)
		looking := open(t, p.url, models.WithReadOnly())
		rename := func(ctx context.Context, s *models.Store) error {
			return s.User.UpdateOneID(p.victim.ID).SetName(canaryName).SetHashedPassword(canaryHash).Exec(ctx)
		}
		s.err(t, "read-only", rename(ctx, looking))
		s.err(t, "read-only, raw", func() error {
			_, err := looking.ExecContext(ctx, "UPDATE users SET name = $1", canaryName)
			return err
		}())
		s.wantShown(t, models.ErrReadOnly.Error())
		if p.Dialect() == "sqlite3" {
			check(t, p.InTx(ctx, func(in context.Context) error {
				check(t, rename(in, p.Store))
				s.err(t, "busy", rename(ctx, other))
				s.err(t, "busy, the same store", rename(ctx, p.Store))
				s.err(t, "busy, in a transaction", other.InTx(ctx, func(ctx context.Context) error { return rename(ctx, other) }))
				return nil
			}))
			s.wantShown(t, models.ErrBusy.Error())
		} else {
			s.errs(t, p.lostConflicts(t, ctx, rename))
			s.wantShown(t, models.ErrBusy.Error(), models.ErrSerialization.Error())
		}
		check(t, other.Close())
		s.err(t, "closed", rename(ctx, other))
		s.err(t, "closed, ping", other.Ping(ctx))
		s.wantNone(t, p.secrets...)
	})
}

// lostConflicts are what PostgreSQL answers to those who lose against another one.
func (p *planted) lostConflicts(t *testing.T, ctx context.Context, rename func(context.Context, *models.Store) error) map[string]error {
	t.Helper()
	errs := make(map[string]error)
	tx := must(p.BeginTx(ctx, &sql.TxOptions{Isolation: stdsql.LevelRepeatableRead}))(t)
	must(tx.User.Query().Count(ctx))(t)
	check(t, rename(ctx, p.Store))
	errs["serialization"] = tx.User.UpdateOneID(p.victim.ID).SetName(canaryName).Exec(ctx)
	errs["serialization, commit"] = tx.Commit()
	errs["serialization, again"] = tx.User.UpdateOneID(p.victim.ID).SetName(canaryName).Exec(ctx)
	check(t, p.InTx(ctx, func(in context.Context) error {
		check(t, rename(in, p.Store))
		errs["lock"] = p.InTx(ctx, func(ctx context.Context) error {
			must(p.ExecContext(ctx, "SET LOCAL lock_timeout = '10ms'"))(t)
			return rename(ctx, p.Store)
		})
		errs["statement timeout"] = p.InTx(ctx, func(ctx context.Context) error {
			must(p.ExecContext(ctx, "SET LOCAL statement_timeout = '10ms'"))(t)
			return rename(ctx, p.Store)
		})
		return nil
	}))
	errs["lost connection"] = p.InTx(ctx, func(in context.Context) error {
		pid := column[int](t, in, p.Store, "SELECT pg_backend_pid()")[0]
		check(t, rename(in, p.Store))
		must(p.ExecContext(ctx, "SELECT pg_terminate_backend($1)", pid))(t)
		for left := 1; left > 0; { // PostgreSQL 13 cannot wait for it by itself
			left = column[int](t, ctx, p.Store, "SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid)[0]
		}
		errs["lost connection, read"] = p.raw(in, "SELECT email FROM users WHERE email = $1", canaryAddress)
		errs["lost connection, update"] = rename(in, p.Store)
		return nil
	})
	errs["ended by itself"] = p.raw(ctx, "SELECT email, pg_terminate_backend(pg_backend_pid()) FROM users WHERE email = $1", canaryAddress)
	return errs
}

// TestPanics_HoldNoValue shows what the methods panic with whose names end in X.
func TestPanics_HoldNoValue(t *testing.T) {
	t.Parallel()
	eachPlanted(t, func(t *testing.T, ctx context.Context, p *planted) {
		var s seen
		nobody, own := t.Context(), models.AsUser(t.Context(), p.plain)
		taken := func() *ent.UserCreate { return newUser(p.Store).SetEmail(canaryAddress).SetHashedPassword(canaryHash) }
		missing := p.User.Query().Where(user.Email(canaryAddress), user.Name("nobody"))
		all := p.User.Query().Where(user.HashedPassword(canaryHash))
		for name, fn := range map[string]func(){
			"SaveX":             func() { taken().SaveX(ctx) },
			"ExecX":             func() { taken().ExecX(ctx) },
			"bulk SaveX":        func() { p.User.CreateBulk(newUser(p.Store), taken()).SaveX(ctx) },
			"bulk ExecX":        func() { p.User.CreateBulk(newUser(p.Store), taken()).ExecX(ctx) },
			"update SaveX":      func() { p.plain.Update().SetEmail(canaryAddress).SaveX(ctx) },
			"update ExecX":      func() { p.User.UpdateOneID(424242).SetEmail(canaryAddress).ExecX(ctx) },
			"bulk update SaveX": func() { p.User.Update().SetEmail(canaryAddress).SetHashedPassword(canaryHash).SaveX(ctx) },
			"upsert ExecX":      func() { taken().OnConflictColumns(user.FieldName).UpdateNewValues().ExecX(ctx) },
			"upsert IDX":        func() { taken().OnConflictColumns(user.FieldName).UpdateNewValues().IDX(ctx) },
			"delete ExecX":      func() { p.File.Delete().Where(file.Filename(canaryFile)).ExecX(nobody) },
			"delete one ExecX":  func() { p.User.DeleteOneID(p.victim.ID).ExecX(own) },
			"GetX":              func() { p.User.GetX(own, p.victim.ID) },
			"OnlyX, none":       func() { missing.Clone().OnlyX(ctx) },
			"OnlyX, many":       func() { all.Clone().OnlyX(ctx) },
			"FirstX":            func() { missing.Clone().FirstX(nobody) },
			"FirstIDX":          func() { missing.Clone().FirstIDX(nobody) },
			"AllX":              func() { all.Clone().AllX(nobody) },
			"CountX":            func() { all.Clone().CountX(nobody) },
			"ExistX":            func() { all.Clone().ExistX(nobody) },
			"IDsX":              func() { all.Clone().IDsX(nobody) },
			"StringsX":          func() { all.Clone().Select("nosuch").StringsX(ctx) },
			"StringX":           func() { all.Clone().Select(user.FieldEmail).StringX(ctx) },
			"scan by BoolX":     func() { all.Clone().Where(user.ID(p.victim.ID)).Select(user.FieldEmail).BoolX(ctx) },
			"GetX of an audit":  func() { p.AuditLog.GetX(own, 1) },
		} {
			s.panics(t, name, fn)
		}
		s.panics(t, "InTx", func() {
			_ = p.InTx(ctx, func(ctx context.Context) error { taken().ExecX(ctx); return nil })
		})
		s.wantNone(t, p.secrets...)
	})
}
