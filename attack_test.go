package models_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	entgo "entgo.io/ent"
	"entgo.io/ent/dialect/sql"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/text/unicode/norm"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/internal/privilege"
)

// TestRaisedRights_AreOfOneEntity asks for other rows in a context in which the rules of users are off:
// along edges, and in an interceptor that Authenticate runs.
func TestRaisedRights_AreOfOneEntity(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := must(newUser(s).Save(ctx))(t)
		check(t, newFile(s, u).Exec(ctx))
		raised := privilege.Raise(models.AsAnonymous(ctx), ent.TypeUser)
		must(s.User.Get(raised, u.ID))(t)
		_, eager := s.User.Query().WithFiles().All(raised)
		_, edge := u.QueryFiles().Count(raised)
		var counted error
		s.User.Intercept(entgo.InterceptFunc(func(next entgo.Querier) entgo.Querier {
			return entgo.QuerierFunc(func(ctx context.Context, q entgo.Query) (entgo.Value, error) {
				_, counted = s.File.Query().Count(ctx)
				return next.Query(ctx, q)
			})
		}))
		_, unknown := s.Authenticate(models.AsAnonymous(ctx), "nobody@example.org", goodPassword)
		if !errors.Is(unknown, models.ErrInvalidCredentials) {
			t.Errorf("Authenticate answers %v", unknown)
		}
		for name, err := range map[string]error{"eager load": eager, "edge": edge, "interceptor": counted} {
			if !errors.Is(err, models.ErrForbidden) {
				t.Errorf("%s: got %v, want ErrForbidden", name, err)
			}
		}
	})
}

// TestRaisedRights_AreOfOneViewer names another viewer in a hook of the service's that Register runs, where
// the rules of users are off for the visitor.
func TestRaisedRights_AreOfOneViewer(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		target, other := must(newUser(s).Save(ctx))(t), must(newUser(s).Save(ctx))(t)
		s.User.Use(func(next entgo.Mutator) entgo.Mutator {
			return entgo.MutateFunc(func(ctx context.Context, m entgo.Mutation) (entgo.Value, error) {
				if !m.Op().Is(entgo.OpCreate) {
					return next.Mutate(ctx, m)
				}
				if _, err := s.User.Query().Count(models.AsAnonymous(ctx)); !errors.Is(err, models.ErrForbidden) {
					t.Errorf("the same visitor, named again: got %v, want ErrForbidden", err)
				}
				as := models.AsUser(ctx, other)
				if ids := must(s.User.Query().IDs(as))(t); len(ids) != 1 || ids[0] != other.ID {
					t.Errorf("a user sees %v, want the own row", ids)
				}
				if _, err := s.UserByID(as, target.ID); !errors.Is(err, models.ErrNotFound) {
					t.Errorf("UserByID: got %v, want ErrNotFound", err)
				}
				if err := s.User.UpdateOne(other).SetIsAdmin(true).Exec(as); !errors.Is(err, models.ErrForbidden) {
					t.Errorf("is_admin on the own row: got %v, want ErrForbidden", err)
				}
				return next.Mutate(ctx, m)
			})
		})
		must(s.Register(models.AsAnonymous(ctx), "ada@example.org", goodPassword))(t)
	})
}

// withToken is an account with a token.
func withToken(t *testing.T, ctx context.Context, s *models.Store, email string) (*ent.User, models.Claims) {
	t.Helper()
	must(s.Register(ctx, email, goodPassword))(t)
	u := must(s.Authenticate(ctx, email, goodPassword))(t)
	claims := s.NewClaims(u, time.Hour)
	check(t, s.CheckToken(ctx, claims))
	return u, claims
}

// TestCutoff_OnEveryPath changes accounts by the client, so that their tokens are refused, also after what
// would make good for it.
func TestCutoff_OnEveryPath(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		byID := func(set func(*ent.UserUpdateOne)) func(int) error {
			return func(id int) error {
				update := s.User.UpdateOneID(id)
				set(update)
				return update.Exec(models.IncludeDeleted(ctx))
			}
		}
		active := byID(func(u *ent.UserUpdateOne) { u.SetIsActive(true).SetIsDeleted(false) })
		put := func(id int) *ent.UserUpsertOne {
			return upsert(s, must(s.User.Get(ctx, id))(t))
		}
		for name, change := range map[string]func(id int) error{
			"password":       byID(func(u *ent.UserUpdateOne) { u.SetHashedPassword("x") }),
			"disabled":       byID(func(u *ent.UserUpdateOne) { u.SetIsActive(false) }),
			"deleted by set": byID(func(u *ent.UserUpdateOne) { u.SetIsDeleted(true) }),
			"deleted":        func(id int) error { return s.User.DeleteOneID(id).Exec(ctx) },
			"upsert": func(id int) error {
				u := must(s.User.Get(ctx, id))(t)
				return must2(s.UpsertUser(ctx, u.Email, func(m *ent.UserMutation) { m.SetHashedPassword("x") }))
			},
			"upsert by the client": func(id int) error {
				return put(id).Update(func(u *ent.UserUpsert) { u.SetHashedPassword("x") }).Exec(ctx)
			},
			"disabled by upsert": func(id int) error {
				return put(id).Update(func(u *ent.UserUpsert) { u.SetIsActive(false) }).Exec(ctx)
			},
			"new values by upsert": func(id int) error { return put(id).UpdateNewValues().Exec(ctx) },
		} {
			u, claims := withToken(t, ctx, s, strings.ReplaceAll(name, " ", "-")+"@example.org")
			check(t, change(u.ID))
			check(t, active(u.ID))
			if err := s.CheckToken(ctx, claims); !errors.Is(err, models.ErrTokenRevoked) {
				t.Errorf("%s: got %v, want ErrTokenRevoked", name, err)
			}
		}
		u, claims := withToken(t, ctx, s, "kept@example.org")
		check(t, s.User.UpdateOne(u).SetName("Ada").SetIsActive(true).SetIsDeleted(false).SetEmail("new@example.org").Exec(ctx))
		check(t, put(u.ID).Ignore().Exec(ctx))
		check(t, put(u.ID).Update(func(u *ent.UserUpsert) { u.SetName("Lovelace").SetIsActive(true) }).Exec(ctx))
		check(t, s.CheckToken(ctx, claims))
		later := time.Now().Add(time.Hour) // A cutoff that is given is the one that counts.
		check(t, s.User.UpdateOne(u).SetHashedPassword("x").SetTokensValidAfter(later).Exec(ctx))
		wantTime(t, "tokens_valid_after", *must(s.User.Get(ctx, u.ID))(t).TokensValidAfter, later)
	})
}

// must2 is the error of a call whose value is of no interest.
func must2[T any](_ T, err error) error { return err }

// TestCutoff_NeverBack tries to move it, and the last login that it comes after.
func TestCutoff_NeverBack(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u, claims := withToken(t, ctx, s, "ada@example.org")
		check(t, s.RecordLogin(ctx, u.ID, time.Now().Add(4*time.Minute))) // on a machine whose clock is ahead
		ahead := s.NewClaims(must(s.UserByID(ctx, u.ID))(t), time.Hour)
		old := time.Unix(1000, 0)
		login := *must(s.UserByID(ctx, u.ID))(t).LastLoginAt
		check(t, s.User.UpdateOneID(u.ID).SetLastLoginAt(old).Exec(ctx))
		check(t, s.User.Update().SetLastLoginAt(old).Exec(ctx))
		wantTime(t, "last_login_at", *must(s.UserByID(ctx, u.ID))(t).LastLoginAt, login)
		check(t, s.RevokeAllTokens(ctx, u.ID))
		upsert := func(set func(*ent.UserUpsert)) error {
			return s.User.Create().SetEmail(u.Email).SetHashedPassword("x").SetTokensValidAfter(old).SetLastLoginAt(old).
				OnConflict(sql.ConflictColumns("email"), sql.ConflictWhere(sql.ExprP("NOT is_deleted"))).Update(set).Exec(ctx)
		}
		check(t, s.User.UpdateOneID(u.ID).SetTokensValidAfter(old).Exec(ctx))
		check(t, s.User.Update().SetTokensValidAfter(old).SetLastLoginAt(old).Exec(ctx))
		check(t, upsert(func(up *ent.UserUpsert) { up.UpdateTokensValidAfter().UpdateLastLoginAt() }))
		check(t, upsert(func(up *ent.UserUpsert) { up.SetTokensValidAfter(old) }))
		// PostgreSQL refuses to clear and to set the column; SQLite sets it.
		if err := upsert(func(up *ent.UserUpsert) { up.ClearTokensValidAfter() }); (err == nil) != (s.Dialect() == "sqlite3") {
			t.Errorf("an upsert that clears it answers %v", err)
		}
		for name, err := range map[string]error{
			"clear":                  s.User.UpdateOneID(u.ID).ClearTokensValidAfter().Exec(ctx),
			"clear in bulk":          s.User.Update().ClearTokensValidAfter().Exec(ctx),
			"clear the login":        s.User.UpdateOneID(u.ID).ClearLastLoginAt().Exec(ctx),
			"a login in the future":  s.RecordLogin(ctx, u.ID, time.Now().Add(6*time.Minute)),
			"a login at no time":     s.RecordLogin(ctx, u.ID, time.Time{}),
			"a login without a user": s.RecordLogin(ctx, 424242, time.Now()),
		} {
			if err == nil {
				t.Errorf("%s is accepted", name)
			}
		}
		for _, claims := range []models.Claims{claims, ahead} {
			if err := s.CheckToken(ctx, claims); !errors.Is(err, models.ErrTokenRevoked) {
				t.Errorf("got %v, want ErrTokenRevoked", err)
			}
		}
		wantTime(t, "last_login_at", *must(s.UserByID(ctx, u.ID))(t).LastLoginAt, login)
	})
}

// TestCheckToken_DatedByTheService is of a token whose iat has a fraction, in the second of a cutoff.
func TestCheckToken_DatedByTheService(t *testing.T) {
	t.Parallel()
	eachClock(t, someDay.Truncate(time.Second), func(t *testing.T, ctx context.Context, s *models.Store, c *fakeClock) {
		u := must(newUser(s).Save(ctx))(t)
		second := someDay.Truncate(time.Second).Add(time.Minute)
		c.set(second.Add(200 * time.Millisecond))
		check(t, s.RevokeAllTokens(ctx, u.ID))
		for after, want := range map[time.Duration]error{0: models.ErrTokenRevoked, 999 * time.Millisecond: models.ErrTokenRevoked, time.Second: nil} {
			err := s.CheckToken(ctx, models.Claims{ID: "own", UserID: u.ID, IssuedAt: second.Add(after), ExpiresAt: second.Add(time.Hour)})
			if !errors.Is(err, want) {
				t.Errorf("issued %s into the second: got %v, want %v", after, err, want)
			}
		}
	})
}

func TestAuthenticate_AfterBcrypt(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		long := strings.Repeat("я", 36) + "right end" // bcrypt looks at 72 bytes
		hash := string(must(bcrypt.GenerateFromPassword([]byte(long)[:72], 4))(t))
		check(t, newUser(s).SetEmail("old@example.org").SetHashedPassword(hash).Exec(ctx))
		for _, typed := range []string{strings.Repeat("я", 36) + "wrong end", long} {
			if u := must(s.Authenticate(ctx, "old@example.org", typed))(t); u.HashedPassword != hash {
				t.Error("what bcrypt did not look at has become the password")
			}
		}
	})
}

// TestAuthenticate_AsRegistered signs in with the very text that was registered.
func TestAuthenticate_AsRegistered(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		decomposed := norm.NFD.String(strings.Repeat("é", 128))
		u := must(s.Register(ctx, "ada@example.org", decomposed))(t)
		must(s.Authenticate(ctx, "ada@example.org", decomposed))(t)
		must(s.Authenticate(ctx, "ada@example.org", norm.NFC.String(decomposed)))(t)
		check(t, s.ChangePassword(ctx, u.ID, decomposed, goodPassword))
	})
}

// TestAuthenticate_StrongerHash is of a service that hashes at less cost than another on the same database.
func TestAuthenticate_StrongerHash(t *testing.T) {
	t.Parallel()
	eachURL(t, func(t *testing.T, url string) {
		ctx := models.AsSystem(t.Context(), "test")
		strong := open(t, url, models.WithPasswordHashing(models.PasswordHashing{Memory: 20_000, Time: 3}))
		must(strong.Migrate(ctx))(t)
		weak := open(t, url)
		must(weak.Register(ctx, "ada@example.org", goodPassword))(t)
		before := must(strong.Authenticate(ctx, "ada@example.org", goodPassword))(t).HashedPassword
		if !strings.Contains(before, "m=20000,t=3,") {
			t.Errorf("the weaker hash was not replaced: %s", before)
		}
		if after := must(weak.Authenticate(ctx, "ada@example.org", goodPassword))(t).HashedPassword; after != before {
			t.Errorf("the stronger hash was replaced: %s", after)
		}
	})
}

// TestDeletedAccounts_AreUnknown asks in a context that sees them.
func TestDeletedAccounts_AreUnknown(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		gone := must(s.Register(ctx, "ada@example.org", goodPassword))(t)
		check(t, s.SoftDeleteUser(ctx, gone.ID))
		all := models.IncludeDeleted(ctx)
		_, right := s.Authenticate(all, "ada@example.org", goodPassword)
		_, wrong := s.Authenticate(all, "ada@example.org", "another horse")
		_, found := s.UserByEmail(all, "ada@example.org")
		reset := s.ResetPassword(all, "ada@example.org", "nonce", goodPassword)
		if !errors.Is(right, models.ErrInvalidCredentials) || !errors.Is(wrong, models.ErrInvalidCredentials) ||
			!errors.Is(found, models.ErrNotFound) || !errors.Is(reset, models.ErrNotFound) {
			t.Errorf("got %v, %v, %v and %v", right, wrong, found, reset)
		}
		put := must(s.UpsertUser(all, "ada@example.org", func(m *ent.UserMutation) { m.SetName("new") }))(t)
		if put.ID == gone.ID {
			t.Error("UpsertUser updates the deleted account")
		}
		check(t, s.User.DeleteOne(put).Exec(models.HardDelete(ctx)))
		again := must(s.Register(ctx, "ada@example.org", goodPassword))(t)
		if u := must(s.Authenticate(all, "ada@example.org", goodPassword))(t); u.ID != again.ID {
			t.Errorf("user %d signs in, want %d", u.ID, again.ID)
		}
		check(t, s.ResetPassword(all, "ada@example.org", "nonce", "another horse"))
	})
}

// TestUpsertUser_InTx is of an address that is taken, where there is no second try.
func TestUpsertUser_InTx(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		a, b := must(newUser(s).Save(ctx))(t), must(newUser(s).Save(ctx))(t)
		err := s.InTx(ctx, func(ctx context.Context) error {
			return must2(s.UpsertUser(ctx, a.Email, func(m *ent.UserMutation) { m.SetEmail(b.Email) }))
		})
		if !errors.Is(err, models.ErrEmailTaken) {
			t.Errorf("got %v, want ErrEmailTaken", err)
		}
	})
}

// TestPurgeExpired_LeavesNothingPersonal looks for an account everywhere after it has been purged.
func TestPurgeExpired_LeavesNothingPersonal(t *testing.T) {
	t.Parallel()
	eachClock(t, someDay, func(t *testing.T, ctx context.Context, s *models.Store, c *fakeClock) {
		u := must(s.Register(ctx, "canary-first@example.org", goodPassword, func(m *ent.UserMutation) { m.SetName("canary-name") }))(t)
		other := must(s.Register(ctx, "other@example.org", goodPassword, func(m *ent.UserMutation) { m.SetName("other-name") }))(t)
		check(t, s.ConsumeResetToken(ctx, u.Email, "nonce"))
		check(t, s.User.UpdateOne(u).SetEmail("canary-second@example.org").SetBio("canary-bio").Exec(ctx))
		check(t, s.ConsumeResetToken(ctx, "canary-second@example.org", "nonce")) // the same one
		check(t, s.ConsumeResetToken(ctx, other.Email, "nonce"))
		check(t, s.SoftDeleteUser(ctx, u.ID))
		c.set(someDay.Add(time.Hour))
		if report := must(s.PurgeExpired(ctx, models.PurgeOptions{DeletedUsers: time.Hour}))(t); report.Users != 1 {
			t.Errorf("the report is %+v", report)
		}
		left := strings.Join(append(
			column[string](t, ctx, s, "SELECT action || CAST(changes AS text) FROM audit_logs ORDER BY id"),
			column[string](t, ctx, s, "SELECT email FROM used_password_reset_tokens")...), "\n")
		if strings.Contains(left, "canary") || !strings.Contains(left, "delete{") || strings.Contains(left, "anonymize{") {
			t.Errorf("what is left is\n%s", left)
		}
		if strings.Count(left, "other@example.org") != 2 || !strings.Contains(left, "other-name") {
			t.Errorf("of somebody else, there is left\n%s", left)
		}
	})
}

// TestExportSubject_NothingOfOthers is of an address and of a file that were somebody else's for a time.
func TestExportSubject_NothingOfOthers(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		ada := must(s.Register(ctx, "shared@example.org", goodPassword))(t)
		check(t, s.ConsumeResetToken(ctx, ada.Email, "hers"))
		check(t, s.SoftDeleteUser(ctx, ada.ID))
		bob := must(s.Register(ctx, "shared@example.org", goodPassword))(t)
		check(t, s.ConsumeResetToken(ctx, bob.Email, "his"))
		check(t, s.User.UpdateOne(bob).SetEmail("bob@example.org").Exec(ctx))
		check(t, s.RestoreUser(ctx, ada.ID))
		f := must(newFile(s, bob).SetFilename("canary-one.pdf").Save(ctx))(t)
		check(t, s.File.UpdateOne(f).SetFilename("canary-two.pdf").Exec(ctx))
		check(t, s.File.UpdateOne(f).SetFilename("given.pdf").Exec(ctx))
		check(t, s.File.UpdateOne(f).SetUserID(ada.ID).Exec(ctx))
		check(t, s.File.UpdateOne(f).SetFilename("hers.pdf").Exec(ctx))
		var written bytes.Buffer
		check(t, s.ExportSubject(models.AsUser(ctx, ada), ada.ID, &written))
		export := written.String()
		if strings.Contains(export, "canary") || !strings.Contains(export, "hers.pdf") || strings.Count(export, `"used_at"`) != 1 {
			t.Errorf("the export is %s", export)
		}
		both := must(newFile(s, bob).SetFilename("canary-old.pdf").Save(ctx))(t)
		check(t, s.File.UpdateOne(both).SetFilename("renamed.pdf").SetUserID(ada.ID).Exec(ctx))
		for _, tt := range []struct {
			of           *ent.User
			shown, other string
		}{{ada, "renamed.pdf", "canary-old.pdf"}, {bob, "canary-old.pdf", "renamed.pdf"}} {
			var written bytes.Buffer
			check(t, s.ExportSubject(models.AsUser(ctx, tt.of), tt.of.ID, &written))
			if got := written.String(); !strings.Contains(got, tt.shown) || strings.Contains(got, tt.other) {
				t.Errorf("of %s in one change of name and owner: %s", tt.of.Email, got)
			}
		}
		check(t, s.AnonymizeUser(ctx, ada.ID))
		check(t, s.ConsumeResetToken(ctx, "shared@example.org", "hers")) // it is hers no more
		if err := s.ConsumeResetToken(ctx, "shared@example.org", "his"); !errors.Is(err, models.ErrTokenUsed) {
			t.Errorf("somebody else's reset: got %v, want ErrTokenUsed", err)
		}
	})
}

// TestAnonymizeUser_Oneself is an administrator who goes.
func TestAnonymizeUser_Oneself(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		admin := must(newUser(s).SetIsAdmin(true).Save(ctx))(t)
		check(t, s.ConsumeResetToken(ctx, admin.Email, "nonce"))
		check(t, s.AnonymizeUser(models.AsUser(ctx, admin), admin.ID))
		if err := s.AnonymizeUser(models.AsUser(ctx, admin), admin.ID); !errors.Is(err, models.ErrForbidden) {
			t.Errorf("afterwards: got %v, want ErrForbidden", err)
		}
	})
}

func TestResetTokens_BadNonces(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := must(s.Register(ctx, "ada@example.org", goodPassword))(t)
		for _, nonce := range []string{"", "a\x00b", "\xff", strings.Repeat("я", 65)} {
			refusal(t, s.ResetPassword(ctx, u.Email, nonce, "another horse"), ent.TypeUsedPasswordResetToken, "nonce")
			refusal(t, s.ConsumeResetToken(ctx, u.Email, nonce), ent.TypeUsedPasswordResetToken, "nonce")
		}
	})
}

// TestChangePassword_BesideSignIn changes passwords while a login replaces the hash of the old application.
func TestChangePassword_BesideSignIn(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		for range 20 {
			u := must(newUser(s).SetHashedPassword(bcryptOf(t, goodPassword)).Save(ctx))(t)
			changed := make(chan error, 1)
			go func() { changed <- s.ChangePassword(ctx, u.ID, goodPassword, "another horse") }()
			_, err := s.Authenticate(ctx, u.Email, goodPassword)
			if err != nil && !errors.Is(err, models.ErrInvalidCredentials) {
				t.Errorf("Authenticate answers %v", err)
			}
			if err := <-changed; err != nil {
				t.Errorf("ChangePassword by the right password answers %v", err)
			}
		}
	})
}
