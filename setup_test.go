package models_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/internal/dbtest"
	"github.com/reviewpoint/models/schema/migrations"
)

// eachDialect runs a test of the conformance suite on a migrated store of its own on each database.
func eachDialect(t *testing.T, test func(t *testing.T, ctx context.Context, s *models.Store)) {
	t.Helper()
	eachClock(t, time.Time{}, func(t *testing.T, ctx context.Context, s *models.Store, _ *fakeClock) {
		t.Helper()
		test(t, ctx, s)
	})
}

// eachClock is eachDialect on stores whose clock stands at start, or goes on by itself if that is zero.
func eachClock(t *testing.T, start time.Time, test func(t *testing.T, ctx context.Context, s *models.Store, c *fakeClock)) {
	t.Helper()
	for name, openStore := range map[string]func(*testing.T, ...models.Option) *models.Store{
		"sqlite": func(t *testing.T, opts ...models.Option) *models.Store {
			t.Helper()
			return models.OpenTest(t, opts...)
		},
		"postgres": func(t *testing.T, opts ...models.Option) *models.Store {
			t.Helper()
			return open(t, postgresURL(t), append([]models.Option{models.CheapHashing}, opts...)...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var (
				c    *fakeClock
				opts []models.Option
			)
			if !start.IsZero() {
				c = newFakeClock(start)
				opts = append(opts, models.WithClock(c.Now))
			}
			test(t, models.AsSystem(t.Context(), "test"), openStore(t, opts...), c)
		})
	}
}

// eachURL runs a test that opens stores of its own on a database of its own of each kind.
func eachURL(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, "sqlite://"+t.TempDir()+"/test.db")
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, postgresURL(t))
	})
}

// postgresURL names a migrated database of the test's own.
func postgresURL(t testing.TB) string {
	t.Helper()
	sum, err := migrations.FS.ReadFile("postgres/atlas.sum")
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256(sum)
	return dbtest.PostgresFrom(t, hex.EncodeToString(hash[:8]), func(url string) error {
		store, err := models.Open(context.Background(), url)
		if err != nil {
			return err
		}
		defer store.Close()
		_, err = store.Migrate(context.Background())
		return err
	})
}

func open(t *testing.T, url string, opts ...models.Option) *models.Store {
	t.Helper()
	store, err := models.Open(t.Context(), url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

// must returns the value of a call that is not what the test is about.
func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var people atomic.Int64

// newUser is a user nobody else has.
func newUser(s *models.Store) *ent.UserCreate {
	return s.User.Create().SetEmail(fmt.Sprintf("person%d@example.org", people.Add(1))).SetHashedPassword("hash")
}

func newFile(s *models.Store, owner *ent.User) *ent.FileCreate {
	return s.File.Create().SetFilename("статья.pdf").SetContentType("application/pdf").SetUserID(owner.ID)
}

func newToken(s *models.Store, jti string, expires time.Time) *ent.BlacklistedTokenCreate {
	return s.BlacklistedToken.Create().SetJti(jti).SetExpiresAt(expires)
}

func newReset(s *models.Store, email, nonce string) *ent.UsedPasswordResetTokenCreate {
	return s.UsedPasswordResetToken.Create().SetEmail(email).SetNonce(nonce)
}

func newAudit(s *models.Store) *ent.AuditLogCreate {
	return s.AuditLog.Create().SetActor("system").SetAction("update").SetEntity("user").SetEntityID(1).SetChanges(map[string]any{"name": []any{nil, "Ada"}})
}

// fakeClock is a clock that moves when it is told to.
type fakeClock struct{ now atomic.Pointer[time.Time] }

func newFakeClock(start time.Time) *fakeClock {
	c := &fakeClock{}
	c.set(start)
	return c
}

func (c *fakeClock) set(t time.Time) { c.now.Store(&t) }

func (c *fakeClock) Now() time.Time { return *c.now.Load() }
