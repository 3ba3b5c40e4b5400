package models_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
)

// TestAccounts_HoldNoSecret has each method for accounts and tokens fail in each way, and looks for what it
// was given, and for the rows, in what it answers.
func TestAccounts_HoldNoSecret(t *testing.T) {
	t.Parallel()
	const canaryPassword = "canary-password-e2d9"
	eachPlanted(t, func(t *testing.T, ctx context.Context, p *planted) {
		ended, end := context.WithCancel(models.AsSystem(ctx, "test"))
		end()
		disabled := must(newUser(p.Store).SetEmail("canary-disabled@example.org").SetIsActive(false).Save(ctx))(t)
		var s seen
		later := time.Now().Add(time.Hour)
		claims := models.Claims{ID: canaryJti, UserID: p.victim.ID, IssuedAt: time.Now(), ExpiresAt: later}
		methods := func(name string, ctx context.Context) {
			_, register := p.Register(ctx, canaryAddress, canaryPassword)
			_, wrong := p.Authenticate(ctx, canaryAddress, canaryPassword)
			_, unknown := p.Authenticate(ctx, "canary-unknown@example.org", canaryPassword)
			_, upsert := p.UpsertUser(ctx, canaryAddress, func(m *ent.UserMutation) { m.SetEmail(p.plain.Email) })
			_, revoke := p.RevokeTokens(ctx, []models.Token{{ID: canaryJti}})
			_, noAddress := p.UserByEmail(ctx, canaryName)
			s.errs(t, map[string]error{
				name + "Register": register, name + "Authenticate": wrong, name + "Authenticate, unknown": unknown,
				name + "ChangePassword":             p.ChangePassword(ctx, p.victim.ID, canaryPassword, canaryPassword+"x"),
				name + "SetPassword, short":         p.SetPassword(ctx, p.victim.ID, canaryNonce[:7]),
				name + "SetPassword, the address":   p.SetPassword(ctx, p.victim.ID, canaryAddress),
				name + "SetPassword, endless":       p.SetPassword(ctx, p.victim.ID, strings.Repeat(canaryPassword, 10)),
				name + "ResetPassword":              p.ResetPassword(ctx, canaryAddress, canaryNonce, canaryPassword),
				name + "ResetPassword, disabled":    p.ResetPassword(ctx, disabled.Email, canaryNonce, canaryPassword),
				name + "ResetPassword, long nonce":  p.ResetPassword(ctx, canaryAddress, strings.Repeat(canaryNonce, 10), canaryPassword),
				name + "ConsumeResetToken":          p.ConsumeResetToken(ctx, canaryAddress, canaryNonce),
				name + "ConsumeResetToken, no form": p.ConsumeResetToken(ctx, canaryName, canaryNonce),
				name + "CheckToken":                 p.CheckToken(ctx, claims),
				name + "CheckToken, incomplete":     p.CheckToken(ctx, models.Claims{ID: canaryJti, UserID: p.victim.ID}),
				name + "RevokeToken, NUL":           p.RevokeToken(ctx, canaryJti+"\x00", later),
				name + "RevokeTokens":               revoke, name + "UpsertUser": upsert, name + "UserByEmail": noAddress,
				name + "AnonymizeUser": p.AnonymizeUser(ctx, 424242), name + "ExportSubject": p.ExportSubject(ctx, 424242, &bytes.Buffer{}),
			})
		}
		methods("", ctx)
		methods("cancelled, ", ended)
		methods("nobody, ", nobody{ctx})
		for _, table := range []string{"users", "blacklisted_tokens", "used_password_reset_tokens", "audit_logs"} {
			must(p.ExecContext(ctx, "ALTER TABLE "+table+" RENAME TO gone_"+table))(t)
			methods("without "+table+", ", ctx)
			must(p.ExecContext(ctx, "ALTER TABLE gone_"+table+" RENAME TO "+table))(t)
		}
		must(p.ExecContext(ctx, "ALTER TABLE users RENAME TO gone_users"))(t)
		_, query := p.UserByEmail(ctx, canaryAddress)
		_, revoked := p.TokenRevoked(ended, canaryJti)
		s.errs(t, map[string]error{"UserByEmail": query, "TokenRevoked": revoked, "UpsertUser": errors.Join(query, revoked)})
		s.wantNone(t, append(p.secrets, canaryPassword, "canary-unknown", "canary-disabled")...)
		s.wantShown(t, "unknown address or wrong password", "the password reset has been used", "the account is disabled", "context canceled")
	})
}
