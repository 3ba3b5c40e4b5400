package models_test

import (
	"context"
	stdsql "database/sql"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"entgo.io/ent/dialect/sql"
	"entgo.io/ent/privacy"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/auditlog"
	"github.com/reviewpoint/models/ent/blacklistedtoken"
	"github.com/reviewpoint/models/ent/file"
	"github.com/reviewpoint/models/ent/migrate"
	"github.com/reviewpoint/models/ent/usedpasswordresettoken"
	"github.com/reviewpoint/models/ent/user"
	"github.com/reviewpoint/models/internal/policy"
)

// rules is who may do what, by the generated client. "own" and "other's" are a signed-in user on the
// own rows and on those of somebody else. It stands in the README and in docs/rules.md, too.
const rules = `
| rows | operation | nobody | anonymous | own | other's | admin | system |
|---|---|---|---|---|---|---|---|
| users | get, list, count, exist, ids, select, group by, aggregate, clone, reverse edge, reverse eager load, reverse edge predicate (from a file to its user) | no viewer | no | yes | hidden | yes | yes |
| users | create, bulk create, upsert | no viewer | no | no | no | no | yes |
| users | update by id, bulk update (name, bio, avatar_url, preferences) | no viewer | no | yes | hidden | yes | yes |
| users | set is_admin, set is_active, set email, set is_deleted, set last_login_at, set tokens_valid_after | no viewer | no | no | no | yes | yes |
| users | clear last_login_at, clear tokens_valid_after | no viewer | no | no | no | no | no |
| users | set hashed_password, modified update | no viewer | no | no | no | no | yes |
| users | add files, remove files | no viewer | no | no | no | not audited | not audited |
| users | delete by id, bulk delete, hard delete | no viewer | no | no | no | yes | yes |
| files | get, list, count, exist, ids, select, group by, aggregate, clone, edge, eager load, edge predicate (from a user to the files) | no viewer | no | yes | hidden | yes | yes |
| files | create, bulk create | no viewer | no | yes | no | yes | yes |
| files | create at a time of one's own | no viewer | no | no | no | no | yes |
| files | update by id, bulk update | no viewer | no | no | no | yes | yes |
| files | delete by id, bulk delete | no viewer | no | yes | hidden | yes | yes |
| files | upsert | no viewer | no | not audited | no | not audited | not audited |
| blacklisted_tokens, used_password_reset_tokens | get, list, count, exist, ids, select, group by, aggregate, clone | no viewer | no | no | no | yes | yes |
| blacklisted_tokens, used_password_reset_tokens | create, bulk create, upsert, update by id, bulk update, delete by id, bulk delete | no viewer | no | no | no | no | yes |
| audit_logs | get, list, count, exist, ids, select, group by, aggregate, clone | no viewer | no | no | no | yes | yes |
| audit_logs | create, bulk create | no viewer | no | no | no | no | yes |
| audit_logs | upsert | no viewer | no | no | no | no | not audited |
| audit_logs | update by id, bulk update, delete by id, bulk delete | no viewer | no | no | no | no | no |
`

func TestRules_InDocs(t *testing.T) {
	t.Parallel()
	for _, page := range []string{"README.md", "docs/rules.md"} {
		if !strings.Contains(read(t, page), rules) {
			t.Errorf("%s does not show this table:\n%s", page, rules)
		}
	}
}

// world is the rows that the rules are tried on: target's, by target, by somebody else, and by others.
type world struct {
	*models.Store

	target, other, admin *ent.User
	file                 *ent.File
	token                *ent.BlacklistedToken
	reset                *ent.UsedPasswordResetToken
	audit                *ent.AuditLog
}

func newWorld(t *testing.T, ctx context.Context, s *models.Store) *world {
	t.Helper()
	w := &world{
		Store:  s,
		target: must(newUser(s).SetTokensValidAfter(time.Now()).Save(ctx))(t),
		other:  must(newUser(s).Save(ctx))(t),
		admin:  must(newUser(s).SetIsAdmin(true).Save(ctx))(t),
		token:  must(newToken(s, "jti", time.Now()).Save(ctx))(t),
		reset:  must(newReset(s, "a@example.org", "nonce").Save(ctx))(t),
		audit:  must(newAudit(s).Save(ctx))(t),
	}
	w.file = must(newFile(s, w.target).Save(ctx))(t)
	check(t, newFile(s, w.other).Exec(ctx))
	return w
}

// viewers are the columns of the table.
func (w *world) viewers(ctx context.Context) []context.Context {
	return []context.Context{
		nobody{ctx},
		models.AsAnonymous(ctx),
		models.AsUser(ctx, w.target),
		models.AsUser(ctx, w.other),
		models.AsUser(ctx, w.admin),
		models.AsSystem(ctx, "test"),
	}
}

// nobody is a context less its viewer.
type nobody struct{ context.Context }

func (n nobody) Value(key any) any {
	value := n.Context.Value(key)
	if _, ok := value.(*models.Viewer); ok {
		return nil
	}
	return value
}

// operation returns how many rows it found or changed.
type operation func(ctx context.Context) (int, error)

func TestRules(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		w := newWorld(t, ctx, s)
		tables := w.operations()
		lines := strings.Split(strings.TrimSpace(rules), "\n")
		columns := cells(lines[0])[2:]
		tried := map[string]bool{}
		for _, line := range lines[2:] {
			row := cells(line)
			names, _, _ := strings.Cut(row[1], " (")
			for table := range strings.SplitSeq(row[0], ", ") {
				for name := range strings.SplitSeq(names, ", ") {
					op, ok := tables[table][name]
					if !ok {
						t.Fatalf("no operation %q on %s", name, table)
					}
					tried[table+" "+name] = true
					for i, want := range row[2:] {
						t.Run(table+"/"+name+"/"+columns[i], func(t *testing.T) {
							w.try(t, i, op, want, isChange(name))
						})
					}
				}
			}
		}
		for _, table := range migrate.Tables {
			if tables[table.Name] == nil {
				t.Errorf("the table does not say who may do what with %s", table.Name)
			}
		}
		for table, operations := range tables {
			for name := range operations {
				if !tried[table+" "+name] {
					t.Errorf("the table does not say who may %s on %s", name, table)
				}
			}
		}
	})
}

func cells(line string) []string {
	all := strings.Split(strings.Trim(line, "| "), "|")
	for i := range all {
		all[i] = strings.TrimSpace(all[i])
	}
	return all
}

func isChange(operation string) bool {
	operation = strings.TrimPrefix(operation, "reverse ")
	return !slices.Contains([]string{
		"get", "list", "count", "exist", "ids", "select", "group by", "aggregate", "clone", "edge", "eager load", "edge predicate",
	}, operation)
}

// try carries out the operation as one viewer, in a transaction that is rolled back.
func (w *world) try(t *testing.T, viewer int, op operation, want string, changes bool) {
	t.Helper()
	ctx := models.RollbackTest(t, w.Store)
	before := w.dump(t, ctx)
	n, err := op(w.viewers(ctx)[viewer])
	if got := outcome(n, err); got != want {
		t.Errorf("%s (%d rows, %v), want %s", got, n, err, want)
	}
	if errors.Is(err, models.ErrForbidden) != errors.Is(err, privacy.Deny) {
		t.Errorf("%v is not for ent what it is for us", err)
	}
	if changed := w.dump(t, ctx) != before; changed != (changes && want == "yes") {
		t.Errorf("something changed: %t", changed)
	}
}

func outcome(n int, err error) string {
	switch {
	case errors.Is(err, models.ErrNoViewer):
		return "no viewer"
	case errors.Is(err, models.ErrForbidden):
		return "no"
	case errors.Is(err, models.ErrNotAudited):
		return "not audited"
	case errors.Is(err, models.ErrNotFound), err == nil && n == 0:
		return "hidden"
	case err == nil:
		return "yes"
	}
	return "failed"
}

// dump is everything in the database.
func (w *world) dump(t *testing.T, ctx context.Context) string {
	t.Helper()
	ctx = models.IncludeDeleted(ctx)
	users := must(w.User.Query().Order(user.ByID()).All(ctx))(t)
	hashes := make([]string, len(users))
	for i, u := range users {
		hashes[i] = u.HashedPassword
	}
	all, err := json.Marshal([]any{
		users, hashes,
		must(w.File.Query().Order(file.ByID()).All(ctx))(t),
		must(w.BlacklistedToken.Query().Order(blacklistedtoken.ByID()).All(ctx))(t),
		must(w.UsedPasswordResetToken.Query().Order(usedpasswordresettoken.ByID()).All(ctx))(t),
		must(w.AuditLog.Query().Order(auditlog.ByID()).All(ctx))(t),
	})
	check(t, err)
	return string(all)
}

func (w *world) operations() map[string]map[string]operation {
	return map[string]map[string]operation{
		"users":                      w.userOperations(),
		"files":                      w.fileOperations(),
		"blacklisted_tokens":         w.tokenOperations(),
		"used_password_reset_tokens": w.resetOperations(),
		"audit_logs":                 w.auditOperations(),
	}
}

func (w *world) userOperations() map[string]operation {
	id := w.target.ID
	query := func() *ent.UserQuery { return w.User.Query().Where(user.ID(id)) }
	set := func(set func(*ent.UserUpdate)) operation {
		return func(ctx context.Context) (int, error) {
			update := w.User.Update().Where(user.ID(id))
			set(update)
			return update.Save(ctx)
		}
	}
	onEmail := []sql.ConflictOption{sql.ConflictColumns(user.FieldEmail), sql.ConflictWhere(sql.ExprP("NOT is_deleted"))}
	return map[string]operation{
		"get":          func(ctx context.Context) (int, error) { return one(w.User.Get(ctx, id)) },
		"list":         func(ctx context.Context) (int, error) { return many(query().All(ctx)) },
		"count":        func(ctx context.Context) (int, error) { return query().Count(ctx) },
		"exist":        func(ctx context.Context) (int, error) { return whether(query().Exist(ctx)) },
		"ids":          func(ctx context.Context) (int, error) { return many(query().IDs(ctx)) },
		"select":       func(ctx context.Context) (int, error) { return many(query().Select(user.FieldEmail).Strings(ctx)) },
		"group by":     func(ctx context.Context) (int, error) { return many(query().GroupBy(user.FieldEmail).Strings(ctx)) },
		"clone":        func(ctx context.Context) (int, error) { return many(query().Clone().All(ctx)) },
		"aggregate":    func(ctx context.Context) (int, error) { return query().Aggregate(ent.Count()).Int(ctx) },
		"reverse edge": func(ctx context.Context) (int, error) { return w.file.QueryUser().Count(ctx) },
		"reverse eager load": func(ctx context.Context) (int, error) {
			files, err := w.File.Query().Where(file.ID(w.file.ID)).WithUser().All(ctx)
			return len(slices.DeleteFunc(files, func(f *ent.File) bool { return f.Edges.User == nil })), err
		},
		"reverse edge predicate": func(ctx context.Context) (int, error) {
			return w.File.Query().Where(file.HasUserWith(user.ID(id))).Count(ctx)
		},
		"create": func(ctx context.Context) (int, error) { return one(newUser(w.Store).Save(ctx)) },
		"bulk create": func(ctx context.Context) (int, error) {
			return many(w.User.CreateBulk(newUser(w.Store), newUser(w.Store)).Save(ctx))
		},
		"upsert": func(ctx context.Context) (int, error) {
			return w.User.Create().SetEmail(w.target.Email).SetHashedPassword("new").OnConflict(onEmail...).UpdateNewValues().ID(ctx)
		},
		"update by id": func(ctx context.Context) (int, error) {
			return one(w.User.UpdateOneID(id).SetName("n").ClearBio().SetAvatarURL("a").SetPreferences(map[string]any{"a": 1}).Save(ctx))
		},
		"bulk update":              set(func(u *ent.UserUpdate) { u.SetName("n").SetBio("b").ClearAvatarURL().ClearPreferences() }),
		"set is_admin":             set(func(u *ent.UserUpdate) { u.SetIsAdmin(true) }),
		"set is_active":            set(func(u *ent.UserUpdate) { u.SetIsActive(false) }),
		"set email":                set(func(u *ent.UserUpdate) { u.SetEmail("new@example.org") }),
		"set is_deleted":           set(func(u *ent.UserUpdate) { u.SetIsDeleted(true) }),
		"set last_login_at":        set(func(u *ent.UserUpdate) { u.SetLastLoginAt(time.Now()) }),
		"set tokens_valid_after":   set(func(u *ent.UserUpdate) { u.SetTokensValidAfter(time.Now()) }),
		"clear last_login_at":      set(func(u *ent.UserUpdate) { u.ClearLastLoginAt() }),
		"clear tokens_valid_after": set(func(u *ent.UserUpdate) { u.ClearTokensValidAfter() }),
		"set hashed_password":      set(func(u *ent.UserUpdate) { u.SetHashedPassword("new") }),
		"modified update": set(func(u *ent.UserUpdate) {
			u.Modify(func(u *sql.UpdateBuilder) { u.Set(user.FieldIsAdmin, true) })
		}),
		"add files":    set(func(u *ent.UserUpdate) { u.AddFileIDs(w.file.ID) }),
		"remove files": set(func(u *ent.UserUpdate) { u.RemoveFileIDs(w.file.ID) }),
		"delete by id": func(ctx context.Context) (int, error) { return 1, w.User.DeleteOneID(id).Exec(ctx) },
		"bulk delete":  func(ctx context.Context) (int, error) { return w.User.Delete().Where(user.ID(id)).Exec(ctx) },
		"hard delete": func(ctx context.Context) (int, error) {
			return 1, w.User.DeleteOneID(id).Exec(models.HardDelete(ctx))
		},
	}
}

func (w *world) fileOperations() map[string]operation {
	id := w.file.ID
	query := func() *ent.FileQuery { return w.File.Query().Where(file.ID(id)) }
	return map[string]operation{
		"get":       func(ctx context.Context) (int, error) { return one(w.File.Get(ctx, id)) },
		"list":      func(ctx context.Context) (int, error) { return many(query().All(ctx)) },
		"count":     func(ctx context.Context) (int, error) { return query().Count(ctx) },
		"exist":     func(ctx context.Context) (int, error) { return whether(query().Exist(ctx)) },
		"ids":       func(ctx context.Context) (int, error) { return many(query().IDs(ctx)) },
		"select":    func(ctx context.Context) (int, error) { return many(query().Select(file.FieldFilename).Strings(ctx)) },
		"group by":  func(ctx context.Context) (int, error) { return many(query().GroupBy(file.FieldFilename).Strings(ctx)) },
		"clone":     func(ctx context.Context) (int, error) { return many(query().Clone().All(ctx)) },
		"aggregate": func(ctx context.Context) (int, error) { return query().Aggregate(ent.Count()).Int(ctx) },
		"edge":      func(ctx context.Context) (int, error) { return w.target.QueryFiles().Count(ctx) },
		"eager load": func(ctx context.Context) (int, error) {
			users, err := w.User.Query().Where(user.ID(w.target.ID)).WithFiles().All(ctx)
			return len(slices.DeleteFunc(users, func(u *ent.User) bool { return len(u.Edges.Files) == 0 })), err
		},
		"edge predicate": func(ctx context.Context) (int, error) {
			return w.User.Query().Where(user.HasFilesWith(file.ID(id))).Count(ctx)
		},
		"create": func(ctx context.Context) (int, error) { return one(newFile(w.Store, w.target).Save(ctx)) },
		"bulk create": func(ctx context.Context) (int, error) {
			return many(w.File.CreateBulk(newFile(w.Store, w.target), newFile(w.Store, w.target)).Save(ctx))
		},
		"create at a time of one's own": func(ctx context.Context) (int, error) {
			return one(newFile(w.Store, w.target).SetCreatedAt(time.Unix(0, 0)).Save(ctx))
		},
		"update by id": func(ctx context.Context) (int, error) {
			return one(w.File.UpdateOneID(id).SetFilename("n").AddSize(1).Save(ctx))
		},
		"bulk update": func(ctx context.Context) (int, error) {
			return w.File.Update().Where(file.ID(id)).SetUserID(w.other.ID).Save(ctx)
		},
		"delete by id": func(ctx context.Context) (int, error) { return 1, w.File.DeleteOneID(id).Exec(ctx) },
		"bulk delete":  func(ctx context.Context) (int, error) { return w.File.Delete().Where(file.ID(id)).Exec(ctx) },
		"upsert": func(ctx context.Context) (int, error) {
			return newFile(w.Store, w.target).SetPublicID(w.file.PublicID).OnConflictColumns(file.FieldPublicID).UpdateNewValues().ID(ctx)
		},
	}
}

func (w *world) tokenOperations() map[string]operation {
	id, later := w.token.ID, time.Now().Add(time.Hour)
	query := func() *ent.BlacklistedTokenQuery { return w.BlacklistedToken.Query().Where(blacklistedtoken.ID(id)) }
	return map[string]operation{
		"get":   func(ctx context.Context) (int, error) { return one(w.BlacklistedToken.Get(ctx, id)) },
		"list":  func(ctx context.Context) (int, error) { return many(query().All(ctx)) },
		"count": func(ctx context.Context) (int, error) { return query().Count(ctx) },
		"exist": func(ctx context.Context) (int, error) { return whether(query().Exist(ctx)) },
		"ids":   func(ctx context.Context) (int, error) { return many(query().IDs(ctx)) },
		"select": func(ctx context.Context) (int, error) {
			return many(query().Select(blacklistedtoken.FieldJti).Strings(ctx))
		},
		"group by": func(ctx context.Context) (int, error) {
			return many(query().GroupBy(blacklistedtoken.FieldJti).Strings(ctx))
		},
		"clone":     func(ctx context.Context) (int, error) { return many(query().Clone().All(ctx)) },
		"aggregate": func(ctx context.Context) (int, error) { return query().Aggregate(ent.Count()).Int(ctx) },
		"create":    func(ctx context.Context) (int, error) { return one(newToken(w.Store, "new", later).Save(ctx)) },
		"bulk create": func(ctx context.Context) (int, error) {
			return many(w.BlacklistedToken.CreateBulk(newToken(w.Store, "new", later), newToken(w.Store, "newer", later)).Save(ctx))
		},
		"upsert": func(ctx context.Context) (int, error) {
			return newToken(w.Store, w.token.Jti, later).OnConflictColumns(blacklistedtoken.FieldJti).UpdateNewValues().ID(ctx)
		},
		"update by id": func(ctx context.Context) (int, error) {
			return one(w.BlacklistedToken.UpdateOneID(id).SetExpiresAt(later).Save(ctx))
		},
		"bulk update": func(ctx context.Context) (int, error) {
			return w.BlacklistedToken.Update().SetExpiresAt(later).Save(ctx)
		},
		"delete by id": func(ctx context.Context) (int, error) { return 1, w.BlacklistedToken.DeleteOneID(id).Exec(ctx) },
		"bulk delete":  func(ctx context.Context) (int, error) { return w.BlacklistedToken.Delete().Exec(ctx) },
	}
}

func (w *world) resetOperations() map[string]operation {
	id := w.reset.ID
	query := func() *ent.UsedPasswordResetTokenQuery {
		return w.UsedPasswordResetToken.Query().Where(usedpasswordresettoken.ID(id))
	}
	return map[string]operation{
		"get":   func(ctx context.Context) (int, error) { return one(w.UsedPasswordResetToken.Get(ctx, id)) },
		"list":  func(ctx context.Context) (int, error) { return many(query().All(ctx)) },
		"count": func(ctx context.Context) (int, error) { return query().Count(ctx) },
		"exist": func(ctx context.Context) (int, error) { return whether(query().Exist(ctx)) },
		"ids":   func(ctx context.Context) (int, error) { return many(query().IDs(ctx)) },
		"select": func(ctx context.Context) (int, error) {
			return many(query().Select(usedpasswordresettoken.FieldNonce).Strings(ctx))
		},
		"group by": func(ctx context.Context) (int, error) {
			return many(query().GroupBy(usedpasswordresettoken.FieldNonce).Strings(ctx))
		},
		"clone":     func(ctx context.Context) (int, error) { return many(query().Clone().All(ctx)) },
		"aggregate": func(ctx context.Context) (int, error) { return query().Aggregate(ent.Count()).Int(ctx) },
		"create":    func(ctx context.Context) (int, error) { return one(newReset(w.Store, "b@example.org", "n").Save(ctx)) },
		"bulk create": func(ctx context.Context) (int, error) {
			return many(w.UsedPasswordResetToken.CreateBulk(newReset(w.Store, "b@example.org", "n"), newReset(w.Store, "c@example.org", "n")).Save(ctx))
		},
		"upsert": func(ctx context.Context) (int, error) {
			return newReset(w.Store, w.reset.Email, w.reset.Nonce).SetUsedAt(time.Now().Add(time.Hour)).
				OnConflictColumns(usedpasswordresettoken.FieldEmail, usedpasswordresettoken.FieldNonce).UpdateNewValues().ID(ctx)
		},
		"update by id": func(ctx context.Context) (int, error) {
			return one(w.UsedPasswordResetToken.UpdateOneID(id).SetNonce("n").Save(ctx))
		},
		"bulk update": func(ctx context.Context) (int, error) {
			return w.UsedPasswordResetToken.Update().SetNonce("n").Save(ctx)
		},
		"delete by id": func(ctx context.Context) (int, error) { return 1, w.UsedPasswordResetToken.DeleteOneID(id).Exec(ctx) },
		"bulk delete":  func(ctx context.Context) (int, error) { return w.UsedPasswordResetToken.Delete().Exec(ctx) },
	}
}

func (w *world) auditOperations() map[string]operation {
	id := w.audit.ID
	query := func() *ent.AuditLogQuery { return w.AuditLog.Query().Where(auditlog.ID(id)) }
	return map[string]operation{
		"get":       func(ctx context.Context) (int, error) { return one(w.AuditLog.Get(ctx, id)) },
		"list":      func(ctx context.Context) (int, error) { return many(query().All(ctx)) },
		"count":     func(ctx context.Context) (int, error) { return query().Count(ctx) },
		"exist":     func(ctx context.Context) (int, error) { return whether(query().Exist(ctx)) },
		"ids":       func(ctx context.Context) (int, error) { return many(query().IDs(ctx)) },
		"select":    func(ctx context.Context) (int, error) { return many(query().Select(auditlog.FieldActor).Strings(ctx)) },
		"group by":  func(ctx context.Context) (int, error) { return many(query().GroupBy(auditlog.FieldActor).Strings(ctx)) },
		"clone":     func(ctx context.Context) (int, error) { return many(query().Clone().All(ctx)) },
		"aggregate": func(ctx context.Context) (int, error) { return query().Aggregate(ent.Count()).Int(ctx) },
		"create":    func(ctx context.Context) (int, error) { return one(newAudit(w.Store).Save(ctx)) },
		"bulk create": func(ctx context.Context) (int, error) {
			return many(w.AuditLog.CreateBulk(newAudit(w.Store), newAudit(w.Store)).Save(ctx))
		},
		"upsert": func(ctx context.Context) (int, error) {
			return newAudit(w.Store).OnConflictColumns(auditlog.FieldID).UpdateNewValues().ID(ctx)
		},
		"update by id": func(ctx context.Context) (int, error) {
			return one(w.AuditLog.UpdateOneID(id).SetUpdatedAt(time.Now()).Save(ctx))
		},
		"bulk update":  func(ctx context.Context) (int, error) { return w.AuditLog.Update().SetUpdatedAt(time.Now()).Save(ctx) },
		"delete by id": func(ctx context.Context) (int, error) { return 1, w.AuditLog.DeleteOneID(id).Exec(ctx) },
		"bulk delete":  func(ctx context.Context) (int, error) { return w.AuditLog.Delete().Exec(ctx) },
	}
}

// one counts 1 for an answer, and 0 for ErrNotFound.
func one[T any](_ T, err error) (int, error) {
	if errors.Is(err, models.ErrNotFound) {
		return 0, nil
	}
	return 1, err
}

func many[T any](rows []T, err error) (int, error) { return len(rows), err }

func whether(exists bool, err error) (int, error) {
	if exists {
		return 1, err
	}
	return 0, err
}

// TestRules_OfAnySchema evaluates rules that no entity has now on mutations as they are: what the rules of
// today refuse twice is here refused by one.
func TestRules_OfAnySchema(t *testing.T) {
	t.Parallel()
	ctx, s := models.AsSystem(t.Context(), "test"), models.OpenTest(t)
	w := newWorld(t, ctx, s)
	person, admin := models.AsUser(ctx, w.other), models.AsUser(ctx, w.admin)
	files := policy.Rules{User: policy.All, Owner: file.FieldUserID}
	sizes := policy.Rules{User: policy.All, Owner: file.FieldUserID, Editable: []string{file.FieldSize}}
	names := policy.Rules{User: policy.All, Owner: file.FieldUserID, Editable: []string{file.FieldFilename}}
	people := policy.Rules{User: policy.All, Owner: user.FieldID, Editable: []string{user.FieldName}}
	system := policy.Rules{Admin: policy.All, SystemOnly: []string{user.FieldBio}}
	for name, tt := range map[string]struct {
		rules   policy.Rules
		as      context.Context
		m       ent.Mutation
		allowed bool
	}{
		"nothing is allowed":                     {policy.Rules{}, admin, newFile(s, w.admin).Mutation(), false},
		"only persons may":                       {files, admin, newFile(s, w.admin).Mutation(), false},
		"a creation sets what no update may":     {sizes, person, newFile(s, w.other).Mutation(), true},
		"an update sets another column":          {sizes, person, s.File.Update().SetFilename("a").Mutation(), false},
		"an update adds to another column":       {names, person, s.File.Update().AddSize(1).Mutation(), false},
		"an update clears another column":        {people, person, s.User.Update().ClearBio().Mutation(), false},
		"an administrator clears the system's":   {system, admin, s.User.Update().ClearBio().Mutation(), false},
		"an update sets the column":              {names, person, s.File.Update().SetFilename("a").Mutation(), true},
		"an administrator clears another column": {system, admin, s.User.Update().ClearName().Mutation(), true},
	} {
		if err := tt.rules.EvalMutation(tt.as, tt.m); (err == nil) != tt.allowed || err != nil && !errors.Is(err, models.ErrForbidden) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for name, rules := range map[string]policy.Rules{"nothing is allowed": {}, "only persons may": files} {
		if _, err := rules.Readable(admin, ent.TypeFile); !errors.Is(err, models.ErrForbidden) {
			t.Errorf("%s: an administrator reads: %v", name, err)
		}
	}
	// The account counts that is in use when the rows are locked, not only the one that was looked up.
	late := s.File.Update()
	check(t, files.EvalMutation(person, late.Mutation()))
	check(t, s.DeactivateUser(ctx, w.other.ID))
	if ids := must(late.Mutation().Lock(ctx))(t); len(ids) != 0 {
		t.Errorf("a person who was disabled meanwhile locks files %v", ids)
	}
	check(t, s.ReactivateUser(ctx, w.other.ID))
	if ids := must(late.Mutation().Lock(ctx))(t); len(ids) != 1 {
		t.Errorf("the person locks files %v, want the own", ids)
	}
	if err := policy.Statement(t.Context()); !errors.Is(err, models.ErrNoViewer) {
		t.Errorf("a statement of nobody: got %v, want ErrNoViewer", err)
	}
	// What a rule cannot get at is refused, not let through.
	if err := files.EvalMutation(person, struct{ ent.Mutation }{newFile(s, w.other).Mutation()}); err == nil {
		t.Error("a mutation that cannot look up the account is let through")
	}
	if err := files.EvalMutation(person, opaque{s.File.Update().Mutation(), s}); err == nil {
		t.Error("a mutation that cannot be narrowed is let through")
	}
}

// TestRules_OfEachColumn asks the rules of users alone, whatever else refuses the change.
func TestRules_OfEachColumn(t *testing.T) {
	t.Parallel()
	ctx, s := models.AsSystem(t.Context(), "test"), models.OpenTest(t)
	w := newWorld(t, ctx, s)
	now := time.Now()
	values := map[string]ent.Value{
		user.FieldName: "a", user.FieldBio: "a", user.FieldAvatarURL: "a", user.FieldPreferences: map[string]any{},
		user.FieldEmail: "a@example.org", user.FieldHashedPassword: "a", user.FieldIsActive: true, user.FieldIsAdmin: true, user.FieldIsDeleted: true,
		user.FieldUpdatedAt: now, user.FieldDeletedAt: now, user.FieldLastLoginAt: now, user.FieldTokensValidAfter: now,
	}
	fixed := []string{user.FieldID, user.FieldPublicID, user.FieldCreatedAt}
	own := []string{user.FieldName, user.FieldBio, user.FieldAvatarURL, user.FieldPreferences}
	for _, column := range user.Columns {
		if slices.Contains(fixed, column) {
			continue
		}
		m := s.User.Update().Mutation()
		check(t, m.SetField(column, values[column]))
		if err := user.Policy.EvalMutation(models.AsUser(ctx, w.other), m); (err == nil) != slices.Contains(own, column) {
			t.Errorf("a person sets %s: %v", column, err)
		}
		m = s.User.Update().Mutation()
		check(t, m.SetField(column, values[column]))
		if err := user.Policy.EvalMutation(models.AsUser(ctx, w.admin), m); (err == nil) != (column != user.FieldHashedPassword) {
			t.Errorf("an administrator sets %s: %v", column, err)
		}
	}
}

// opaque is a mutation of which no more is known than ent's interface says, and a database.
type opaque struct {
	ent.Mutation
	asks
}

type asks interface {
	QueryContext(ctx context.Context, query string, args ...any) (*stdsql.Rows, error)
}
