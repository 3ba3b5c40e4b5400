package models_test

import (
	"context"
	"testing"
	"time"

	"entgo.io/ent/dialect/sql"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/blacklistedtoken"
	"github.com/reviewpoint/models/ent/usedpasswordresettoken"
	"github.com/reviewpoint/models/ent/user"
)

var (
	tokyo = time.FixedZone("", 9*3600)
	la    = time.FixedZone("", -8*3600)
)

// wantTime checks the instant, and that it is in UTC and whole microseconds.
func wantTime(t *testing.T, what string, got, want time.Time) {
	t.Helper()
	if !got.Equal(want.Truncate(time.Microsecond)) {
		t.Errorf("%s is %s, want %s", what, got, want)
	}
	if got.Location() != time.UTC || got.Nanosecond()%1000 != 0 {
		t.Errorf("%s is %s, want UTC and whole microseconds", what, got)
	}
}

func TestTimestamps(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 29, 1, 59, 59, 123456789, tokyo)
	for _, tt := range []struct {
		name   string
		change func(ctx context.Context, s *models.Store, u *ent.User) error
		moves  bool
	}{
		{"update one", func(ctx context.Context, _ *models.Store, u *ent.User) error {
			return u.Update().SetName("n").Exec(ctx)
		}, true},
		{"update by id", func(ctx context.Context, s *models.Store, u *ent.User) error {
			return s.User.UpdateOneID(u.ID).SetName("n").Exec(ctx)
		}, true},
		{"bulk update", func(ctx context.Context, s *models.Store, _ *ent.User) error {
			return s.User.Update().Where(user.IsActive(true)).SetName("n").Exec(ctx)
		}, true},
		{"update to a time by hand", func(ctx context.Context, _ *models.Store, u *ent.User) error {
			return u.Update().SetUpdatedAt(time.Unix(0, 0)).Exec(ctx)
		}, true},
		{"upsert of some columns", func(ctx context.Context, s *models.Store, u *ent.User) error {
			return upsert(s, u).Update(func(set *ent.UserUpsert) { set.SetName("n") }).Exec(ctx)
		}, true},
		{"upsert of new values", func(ctx context.Context, s *models.Store, u *ent.User) error {
			return upsert(s, u).UpdateNewValues().Exec(ctx)
		}, true},
		{"bulk upsert", func(ctx context.Context, s *models.Store, u *ent.User) error {
			return s.User.CreateBulk(s.User.Create().SetEmail(u.Email).SetHashedPassword("x")).
				OnConflict(emailConflict()...).Update(func(set *ent.UserUpsert) { set.SetName("n") }).Exec(ctx)
		}, true},
		{"upsert that ignores", func(ctx context.Context, s *models.Store, u *ent.User) error {
			return upsert(s, u).Ignore().Exec(ctx)
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			eachClock(t, start, func(t *testing.T, ctx context.Context, s *models.Store, c *fakeClock) {
				made := must(newUser(s).Save(ctx))(t)
				wantTime(t, "created_at of the node", made.CreatedAt, start)
				wantTime(t, "updated_at of the node", made.UpdatedAt, start)
				c.set(start.Add(time.Minute))
				check(t, tt.change(ctx, s, made))
				read := must(s.User.Get(ctx, made.ID))(t)
				wantTime(t, "created_at", read.CreatedAt, start)
				want := start
				if tt.moves {
					want = start.Add(time.Minute)
				}
				wantTime(t, "updated_at", read.UpdatedAt, want)
			})
		})
	}
}

func emailConflict() []sql.ConflictOption {
	return []sql.ConflictOption{sql.ConflictColumns(user.FieldEmail), sql.ConflictWhere(sql.ExprP("NOT is_deleted"))}
}

func upsert(s *models.Store, u *ent.User) *ent.UserUpsertOne {
	return s.User.Create().SetEmail(u.Email).SetHashedPassword("x").OnConflict(emailConflict()...)
}

func TestTimestamps_OfRowsByOtherHands(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		before := time.Now().Add(-2 * time.Second) // SQLite's own default has whole seconds
		must(s.ExecContext(ctx, "INSERT INTO used_password_reset_tokens (email, nonce) VALUES ('a@example.org', 'n')"))(t)
		read := must(s.UsedPasswordResetToken.Query().Only(ctx))(t)
		for name, got := range map[string]time.Time{"created_at": read.CreatedAt, "updated_at": read.UpdatedAt, "used_at": read.UsedAt} {
			if got.Before(before) || got.After(time.Now().Add(time.Minute)) || got.Location() != time.UTC {
				t.Errorf("%s is %s, want now, in UTC", name, got)
			}
		}
		if n := must(s.UsedPasswordResetToken.Query().Where(usedpasswordresettoken.UsedAtGT(before), usedpasswordresettoken.UsedAtLT(time.Now().Add(time.Minute))).Count(ctx))(t); n != 1 {
			t.Error("the row is not found by its time")
		}
	})
}

// TestTimeZones writes in one zone and asks in another.
func TestTimeZones(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		noon := time.Date(2026, 11, 23, 12, 0, 0, 1000, time.UTC)
		zones := []*time.Location{time.UTC, tokyo, la}
		for i, zone := range zones {
			token := must(newToken(s, zone.String()+string(rune('a'+i)), noon.In(zone)).Save(ctx))(t)
			wantTime(t, "expires_at of the node", token.ExpiresAt, noon)
		}
		for _, zone := range zones {
			at := func(d time.Duration) time.Time { return noon.Add(d).In(zone) }
			for _, tt := range []struct {
				name string
				got  int
				want int
			}{
				{"after a moment before", must(s.BlacklistedToken.Query().Where(blacklistedtoken.ExpiresAtGT(at(-time.Microsecond))).Count(ctx))(t), 3},
				{"after the moment", must(s.BlacklistedToken.Query().Where(blacklistedtoken.ExpiresAtGT(at(0))).Count(ctx))(t), 0},
				{"at the moment", must(s.BlacklistedToken.Query().Where(blacklistedtoken.ExpiresAt(at(0))).Count(ctx))(t), 3},
				{"in the list", must(s.BlacklistedToken.Query().Where(blacklistedtoken.ExpiresAtIn(at(0))).Count(ctx))(t), 3},
				{"before a moment after", must(s.BlacklistedToken.Query().Where(blacklistedtoken.ExpiresAtLT(at(time.Microsecond))).Count(ctx))(t), 3},
				{"before the moment", must(s.BlacklistedToken.Query().Where(blacklistedtoken.ExpiresAtLT(at(0))).Count(ctx))(t), 0},
				{"raw", column[int](t, ctx, s, "SELECT count(*) FROM blacklisted_tokens WHERE expires_at = $1", at(0))[0], 3},
			} {
				if tt.got != tt.want {
					t.Errorf("%s, in %s: found %d, want %d", tt.name, zone, tt.got, tt.want)
				}
			}
		}
		for _, token := range must(s.BlacklistedToken.Query().All(ctx))(t) {
			wantTime(t, "expires_at", token.ExpiresAt, noon)
		}
		// An update, a pointer and a bulk create go the same way.
		check(t, s.BlacklistedToken.Update().SetExpiresAt(noon.Add(time.Hour).In(la)).Exec(ctx))
		if n := must(s.BlacklistedToken.Query().Where(blacklistedtoken.ExpiresAt(noon.Add(time.Hour).In(tokyo))).Count(ctx))(t); n != 3 {
			t.Errorf("found %d rows after the bulk update, want 3", n)
		}
		login := noon.In(tokyo)
		u := must(newUser(s).SetNillableLastLoginAt(&login).Save(ctx))(t)
		wantTime(t, "last_login_at of the node", *u.LastLoginAt, noon)
		wantTime(t, "last_login_at", *must(s.User.Get(ctx, u.ID))(t).LastLoginAt, noon)
	})
}

func TestTime_OutOfRange(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		for _, year := range []int{1, 9999} {
			at := time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC)
			token := must(newToken(s, at.String(), at).Save(ctx))(t)
			wantTime(t, "expires_at", must(s.BlacklistedToken.Get(ctx, token.ID))(t).ExpiresAt, at)
		}
		for _, year := range []int{-1, 10000} {
			if err := newToken(s, "j", time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC)).Exec(ctx); err == nil {
				t.Errorf("the year %d was accepted", year)
			}
		}
	})
}

// TestUpsert_TimeByHandIsNotHeeded sets updated_at in the upsert itself.
func TestUpsert_TimeByHandIsNotHeeded(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 29, 1, 59, 59, 0, tokyo)
	eachClock(t, start, func(t *testing.T, ctx context.Context, s *models.Store, c *fakeClock) {
		token := must(newToken(s, "jti", start).Save(ctx))(t)
		c.set(start.Add(time.Minute))
		check(t, newToken(s, "jti", start).OnConflictColumns(blacklistedtoken.FieldJti).
			Update(func(u *ent.BlacklistedTokenUpsert) { u.SetUpdatedAt(time.Unix(0, 0)) }).Exec(ctx))
		wantTime(t, "updated_at", must(s.BlacklistedToken.Get(ctx, token.ID))(t).UpdatedAt, start.Add(time.Minute))
	})
}

// TestDefaultTime_ComparesWithItself holds the default of the database against arguments.
func TestDefaultTime_ComparesWithItself(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		must(s.ExecContext(ctx, "INSERT INTO used_password_reset_tokens (email, nonce) VALUES ('a@example.org', 'n')"))(t)
		at := must(s.UsedPasswordResetToken.Query().Only(ctx))(t).UsedAt
		query := s.UsedPasswordResetToken.Query()
		for name, tt := range map[string]struct{ got, want int }{
			"=":  {must(query.Clone().Where(usedpasswordresettoken.UsedAt(at)).Count(ctx))(t), 1},
			">=": {must(query.Clone().Where(usedpasswordresettoken.UsedAtGTE(at)).Count(ctx))(t), 1},
			"<=": {must(query.Clone().Where(usedpasswordresettoken.UsedAtLTE(at)).Count(ctx))(t), 1},
			">":  {must(query.Clone().Where(usedpasswordresettoken.UsedAtGT(at)).Count(ctx))(t), 0},
			"<":  {must(query.Clone().Where(usedpasswordresettoken.UsedAtLT(at)).Count(ctx))(t), 0},
		} {
			if tt.got != tt.want {
				t.Errorf("used_at %s its own value finds %d rows, want %d", name, tt.got, tt.want)
			}
		}
	})
}
