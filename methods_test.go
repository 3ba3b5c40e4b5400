package models_test

import (
	"bytes"
	"context"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
)

// methods is who may call the methods of Store for an account. "own" and "other's" are as in rules. It
// stands in docs/rules.md, too.
const methods = `
| method | nobody | anonymous | own | other's | admin | system |
|---|---|---|---|---|---|---|
| Register, Authenticate, ResetPassword, ConsumeResetToken, CheckToken, TokenRevoked | no viewer | yes | yes | yes | yes | yes |
| Register an administrator | no viewer | no | no | no | yes | yes |
| RevokeToken, RevokeTokens | no viewer | no | yes | yes | yes | yes |
| UserByID, UserByEmail | no viewer | no | yes | hidden | yes | yes |
| SignupsPerMonth (of whom the viewer may see) | no viewer | no | yes | yes | yes | yes |
| ChangePassword | no viewer | no | yes | no | no | yes |
| CreateFiles | no viewer | no | yes | no | yes | yes |
| ListUsers, ListFiles, DeleteFiles (to others there are none) | no viewer | no | yes | hidden | yes | yes |
| RevokeAllTokens, ExportSubject | no viewer | no | yes | no | yes | yes |
| SetPassword, DeactivateUser, ReactivateUser, SoftDeleteUser, RestoreUser, AnonymizeUser, RecordLogin | no viewer | no | no | no | yes | yes |
| ImportUsers, ImportFiles | no viewer | no | no | no | yes | yes |
| ExportUsers, ExportFiles (of what the viewer may see) | no viewer | no | yes | hidden | yes | yes |
| UpsertUser (of an account that is there) | no viewer | no | yes | no | yes | yes |
| UpsertUser of a new account, ImportUsers with hashed_password, ExportUsers with hashed_password, PurgeExpired | no viewer | no | no | no | no | yes |
`

func TestMethods_InDocs(t *testing.T) {
	t.Parallel()
	if !strings.Contains(read(t, "docs/rules.md"), methods) {
		t.Errorf("docs/rules.md does not show this table:\n%s", methods)
	}
}

// TestMethods_All: each method that reads or changes rows stands in the table.
func TestMethods_All(t *testing.T) {
	t.Parallel()
	exempt := []string{
		"Close", "Dialect", "Health", "IDsFrom", "InTx", "Name", "NewClaims", "Ping", // no rows
		"Migrate", "Migrations", // for whoever runs the program
	}
	store, client := reflect.TypeFor[*models.Store](), reflect.TypeFor[*ent.Client]()
	for method := range store.Methods() {
		name := method.Name
		_, inherited := client.MethodByName(name)
		if !inherited && !slices.Contains(exempt, name) && !regexp.MustCompile(`\b`+name+`\b`).MatchString(methods) {
			t.Errorf("the table does not say who may call %s", name)
		}
	}
}

const goodPassword = "правильный конь"

func TestMethods(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		w := newWorld(t, ctx, s)
		check(t, s.SetPassword(ctx, w.target.ID, goodPassword))
		w.target = must(s.Authenticate(ctx, w.target.Email, goodPassword))(t)
		lines := strings.Split(strings.TrimSpace(methods), "\n")
		columns := cells(lines[0])[1:]
		calls := w.calls(t, ctx)
		for _, line := range lines[2:] {
			row := cells(line)
			names, _, _ := strings.Cut(row[0], " (")
			for name := range strings.SplitSeq(names, ", ") {
				call, ok := calls[name]
				if !ok {
					t.Fatalf("no call of %q", name)
				}
				delete(calls, name)
				for i, want := range row[1:] {
					t.Run(name+"/"+columns[i], func(t *testing.T) { w.try(t, i, call.operation, want, !call.reads) })
				}
			}
		}
		for name := range calls {
			t.Errorf("the table does not say who may call %s", name)
		}
	})
}

type call struct {
	operation

	reads bool
}

// everything is all operations of the client and all methods, by their names in the tables.
func (w *world) everything(t *testing.T, ctx context.Context) map[string]call {
	t.Helper()
	check(t, w.SetPassword(ctx, w.target.ID, goodPassword))
	w.target = must(w.Authenticate(ctx, w.target.Email, goodPassword))(t)
	all := w.calls(t, ctx)
	for table, operations := range w.operations() {
		for name, op := range operations {
			all[table+" "+name] = call{op, !isChange(name)}
		}
	}
	return all
}

func (w *world) calls(t *testing.T, ctx context.Context) map[string]call {
	t.Helper()
	id, email := w.target.ID, w.target.Email
	claims := w.NewClaims(w.target, time.Hour)
	changes := func(do func(ctx context.Context) error) call {
		return call{operation: func(ctx context.Context) (int, error) { return 1, do(ctx) }}
	}
	reads := func(do func(ctx context.Context) (int, error)) call { return call{do, true} }
	gone := must(newUser(w.Store).Save(ctx))(t)
	check(t, w.SoftDeleteUser(ctx, gone.ID))
	disabled := must(newUser(w.Store).SetIsActive(false).Save(ctx))(t)
	check(t, newToken(w.Store, "expired", time.Now().Add(-time.Hour)).Exec(ctx))
	return map[string]call{
		"Register": changes(func(ctx context.Context) error {
			_, err := w.Register(ctx, "new@example.org", goodPassword, func(m *ent.UserMutation) { m.SetName("New") })
			return err
		}),
		"Register an administrator": changes(func(ctx context.Context) error {
			_, err := w.Register(ctx, "new@example.org", goodPassword, func(m *ent.UserMutation) { m.SetIsAdmin(true) })
			return err
		}),
		"Authenticate": changes(func(ctx context.Context) error {
			_, err := w.Authenticate(ctx, email, goodPassword)
			return err
		}),
		"ResetPassword":     changes(func(ctx context.Context) error { return w.ResetPassword(ctx, email, "fresh", "another horse") }),
		"ConsumeResetToken": changes(func(ctx context.Context) error { return w.ConsumeResetToken(ctx, email, "fresh") }),
		"ChangePassword":    changes(func(ctx context.Context) error { return w.ChangePassword(ctx, id, goodPassword, "another horse") }),
		"SetPassword":       changes(func(ctx context.Context) error { return w.SetPassword(ctx, id, "another horse") }),
		"RevokeToken":       changes(func(ctx context.Context) error { return w.RevokeToken(ctx, claims.ID, claims.ExpiresAt) }),
		"RevokeTokens": changes(func(ctx context.Context) error {
			_, err := w.RevokeTokens(ctx, []models.Token{{ID: claims.ID, ExpiresAt: claims.ExpiresAt}})
			return err
		}),
		"RevokeAllTokens": changes(func(ctx context.Context) error { return w.RevokeAllTokens(ctx, id) }),
		"DeactivateUser":  changes(func(ctx context.Context) error { return w.DeactivateUser(ctx, id) }),
		"ReactivateUser":  changes(func(ctx context.Context) error { return w.ReactivateUser(ctx, disabled.ID) }),
		"SoftDeleteUser":  changes(func(ctx context.Context) error { return w.SoftDeleteUser(ctx, id) }),
		"RestoreUser":     changes(func(ctx context.Context) error { return w.RestoreUser(ctx, gone.ID) }),
		"AnonymizeUser":   changes(func(ctx context.Context) error { return w.AnonymizeUser(ctx, id) }),
		"RecordLogin":     changes(func(ctx context.Context) error { return w.RecordLogin(ctx, id, time.Now().Add(time.Second)) }),
		"UpsertUser": changes(func(ctx context.Context) error {
			_, err := w.UpsertUser(ctx, email, func(m *ent.UserMutation) { m.SetName("New") })
			return err
		}),
		"UpsertUser of a new account": changes(func(ctx context.Context) error {
			_, err := w.UpsertUser(ctx, "new@example.org", func(m *ent.UserMutation) { m.SetName("New") })
			return err
		}),
		"ImportUsers": changes(func(ctx context.Context) error {
			_, err := w.ImportUsers(ctx, strings.NewReader("email\nnew@example.org\n"), models.ImportOptions{})
			return err
		}),
		"ImportUsers with hashed_password": changes(func(ctx context.Context) error {
			_, err := w.ImportUsers(ctx, strings.NewReader("email,hashed_password\nnew@example.org,!\n"), models.ImportOptions{})
			return err
		}),
		"ImportFiles": changes(func(ctx context.Context) error {
			row := "user_public_id,filename,content_type\n" + w.target.PublicID.String() + ",a.pdf,application/pdf\n"
			_, err := w.ImportFiles(ctx, strings.NewReader(row), models.ImportOptions{})
			return err
		}),
		"ExportUsers": reads(func(ctx context.Context) (int, error) {
			var written bytes.Buffer
			err := w.ExportUsers(ctx, &written, models.ExportOptions{})
			return strings.Count(written.String(), "\n"+w.target.PublicID.String()), err
		}),
		"ExportUsers with hashed_password": reads(func(ctx context.Context) (int, error) {
			var written bytes.Buffer
			err := w.ExportUsers(ctx, &written, models.ExportOptions{WithPasswordHashes: true})
			return strings.Count(written.String(), "\n"+w.target.PublicID.String()), err
		}),
		"ExportFiles": reads(func(ctx context.Context) (int, error) {
			var written bytes.Buffer
			err := w.ExportFiles(ctx, &written, models.ExportOptions{})
			return strings.Count(written.String(), ","+w.target.PublicID.String()+","), err
		}),
		"PurgeExpired": changes(func(ctx context.Context) error {
			_, err := w.PurgeExpired(ctx, models.PurgeOptions{})
			return err
		}),
		"CheckToken": reads(func(ctx context.Context) (int, error) { return 1, w.CheckToken(ctx, claims) }),
		"TokenRevoked": reads(func(ctx context.Context) (int, error) {
			_, err := w.TokenRevoked(ctx, "jti")
			return 1, err
		}),
		"UserByID":    reads(func(ctx context.Context) (int, error) { return one(w.UserByID(ctx, id)) }),
		"UserByEmail": reads(func(ctx context.Context) (int, error) { return one(w.UserByEmail(ctx, strings.ToUpper(email))) }),
		"SignupsPerMonth": reads(func(ctx context.Context) (int, error) {
			n, err := w.SignupsPerMonth(ctx, w.target.CreatedAt.Year())
			return n[w.target.CreatedAt.Month()-1], err
		}),
		"CreateFiles": changes(func(ctx context.Context) error { return manyFiles(ctx, w.Store, id, 2) }),
		"DeleteFiles": {operation: func(ctx context.Context) (int, error) {
			deleted, _, err := w.DeleteFiles(ctx, id, []string{w.file.Filename})
			return len(deleted), err
		}},
		"ListUsers": reads(func(ctx context.Context) (int, error) {
			p, err := w.ListUsers(ctx, models.UserFilter{Email: email}, models.PageRequest{WithTotal: true})
			if err != nil {
				return 0, err
			}
			return *p.Total, nil
		}),
		"ListFiles": reads(func(ctx context.Context) (int, error) {
			p, err := w.ListFiles(ctx, models.FileFilter{UserID: id}, models.PageRequest{})
			if err != nil {
				return 0, err
			}
			return len(p.Items), nil
		}),
		"ExportSubject": reads(func(ctx context.Context) (int, error) {
			var written bytes.Buffer
			return 1, w.ExportSubject(ctx, id, &written)
		}),
	}
}
