package models_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/google/uuid"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/auditlog"
	"github.com/reviewpoint/models/ent/user"
	"github.com/reviewpoint/models/internal/audit"
)

const passwordBefore = "the password before the reset"

// resetPlan is one reset that a worker is about to do, or has done.
type resetPlan struct {
	Actor    string `json:"actor"` // a name of its own, by which its row in the trail is found
	UserID   int    `json:"user_id"`
	Email    string `json:"email"`
	Hash     string `json:"hash"` // of passwordBefore
	Nonce    string `json:"nonce"`
	Password string `json:"password"` // the new one
}

type resetLine struct {
	Done bool      `json:"done"` // or else it begins
	Plan resetPlan `json:"plan"`
}

// resetForEver is a worker that resets passwords until it is killed.
func resetForEver(t *testing.T, s *models.Store, _ *json.Decoder) error {
	t.Helper()
	ctx := models.AsSystem(t.Context(), "test")
	hash := must(s.Register(ctx, uuid.NewString()+"@example.org", passwordBefore))(t).HashedPassword
	for {
		people := make([]*ent.UserCreate, 32)
		for i := range people {
			people[i] = s.User.Create().SetEmail(uuid.NewString() + "@example.org").SetHashedPassword(hash)
		}
		for _, u := range must(s.User.CreateBulk(people...).Save(ctx))(t) {
			ctx := models.AsSystem(t.Context(), "reset "+uuid.NewString())
			v, _ := models.ViewerFrom(ctx)
			plan := resetPlan{v.String(), u.ID, u.Email, hash, uuid.NewString(), "the password " + uuid.NewString()}
			reply(t, resetLine{false, plan})
			if err := s.ResetPassword(ctx, u.Email, plan.Nonce, plan.Password); err != nil {
				return err
			}
			reply(t, resetLine{true, plan})
		}
	}
}

// resetCrashes is what one database has been through.
type resetCrashes struct {
	url    string
	killed int // workers, while they lived
	done   int // resets that were acknowledged
	undone int // resets of which nothing was left
	kept   int // resets that were whole, though the worker did not come to say so
}

// TestResetPassword_Killed kills a process while it resets passwords, again and again. After each kill
// every reset has happened as a whole or not at all, and those that it said were done have.
func TestResetPassword_Killed(t *testing.T) {
	t.Parallel()
	kills := 10
	if isLong() {
		kills = 200
	}
	eachURL(t, func(t *testing.T, url string) {
		c := &resetCrashes{url: url}
		t.Run("migrate", func(t *testing.T) { must(open(t, url).Migrate(t.Context()))(t) })
		for round := range kills {
			if !t.Run(fmt.Sprint(round), c.round) { // What one kill spoiled would be found after each of the others too.
				break
			}
		}
		t.Logf("%d live processes were killed: %d before or in a reset that left nothing, %d after its commit, %d between two; %d resets were acknowledged",
			c.killed, c.undone, c.kept, c.killed-c.undone-c.kept, c.done)
	})
}

// round kills one worker, and looks at what it left.
func (c *resetCrashes) round(t *testing.T) {
	done, begun := c.kill(t)
	ctx, s := models.AsSystem(t.Context(), "check"), openCheap(t, c.url, models.WithMaxConns(1))
	settle(t, ctx, s)
	for _, plan := range done {
		if !wantWholeReset(t, ctx, s, plan) {
			t.Errorf("the reset %+v was acknowledged, and has not happened", plan)
		}
	}
	c.done += len(done)
	if begun != nil {
		if wantWholeReset(t, ctx, s, *begun) {
			c.kept++
		} else {
			c.undone++
		}
	}
	sound(t, ctx, s)
}

// kill starts a worker and kills it at some moment after its first reset has begun. It returns what it
// said it did, and what it was about to do.
func (c *resetCrashes) kill(t *testing.T) (done []resetPlan, begun *resetPlan) {
	t.Helper()
	w := startWorker(t, "reset", c.url)
	for last := 1 + rand.N(24); ; last-- {
		text, err := w.next()
		if err != nil {
			break // The line is not whole, so the worker did not go on after it.
		}
		var line resetLine
		check(t, json.Unmarshal([]byte(text), &line))
		if line.Done {
			done, begun = append(done, line.Plan), nil
		} else {
			begun = &line.Plan
		}
		if last == 1 {
			// The worker goes on meanwhile, for a shorter time or a longer one than a reset takes.
			for range rand.N(1 << 17) {
				runtime.Gosched()
			}
			w.cmd.Process.Kill()
		}
	}
	wantKilled(t, w.cmd, &w.rest)
	c.killed++
	return done, begun
}

// wantWholeReset checks that all of a reset has happened or nothing, and reports which.
func wantWholeReset(t *testing.T, ctx context.Context, s *models.Store, plan resetPlan) bool {
	t.Helper()
	u := must(s.UserByID(ctx, plan.UserID))(t)
	rows := must(s.AuditLog.Query().Where(auditlog.Actor(plan.Actor)).All(ctx))(t)
	uses := usesOf(t, ctx, s, plan.Email, plan.Nonce)
	whole := uses == 1
	if changed := u.HashedPassword != plan.Hash; changed != whole || (u.TokensValidAfter != nil) != whole || len(rows) != uses || uses > 1 {
		t.Errorf("%+v: %d uses of the nonce, another hash: %t, cutoff %v, %d rows in the trail", plan, uses, changed, u.TokensValidAfter, len(rows))
		return whole
	}
	for _, row := range rows {
		_, hash := row.Changes[user.FieldHashedPassword]
		_, cutoff := row.Changes[user.FieldTokensValidAfter]
		if row.Entity != user.Label || row.EntityID != u.ID || row.Action != audit.Update || !hash || !cutoff {
			t.Errorf("%+v has left the row %v in the trail", plan, row)
		}
	}
	password := passwordBefore
	if whole {
		password = plan.Password
	}
	if _, err := s.Authenticate(ctx, plan.Email, password); err != nil {
		t.Errorf("%+v: signing in by %q answers %v", plan, password, err)
	}
	return whole
}
