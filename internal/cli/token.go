package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/internal/clock"
)

func (a *app) tokenCommand() *cobra.Command {
	command := &cobra.Command{
		Use:     "token",
		Short:   "Revoke and check tokens",
		Example: "  reviewpoint token revoke --user ada@example.org",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	command.AddCommand(a.tokenRevokeCommand(), a.tokenCheckCommand())
	return command
}

func (a *app) tokenRevokeCommand() *cobra.Command {
	var expires, who string
	command := &cobra.Command{
		Use:     "revoke [JTI]",
		Short:   "Put a token on the blacklist, or refuse all tokens of an account",
		Example: "  reviewpoint token revoke 0f8fad5b-d9cb-469f-a165-70867728950e --expires 24h\n  reviewpoint token revoke --user ada@example.org",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return errors.New("give one JTI and --expires, or --user alone")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			switch {
			case len(args) == 0 && who != "" && expires == "":
				return a.changeUser(ctx, who, userChange{
					verb: "revoke_tokens", done: "the tokens issued before are refused", do: (*models.Store).RevokeAllTokens,
				}, false)
			case len(args) == 0 || who != "" || expires == "":
				return errors.New("give a JTI and --expires, or --user alone")
			}
			until, err := parseTime("--expires", expires, clock.Now(ctx), fromNow)
			if err != nil {
				return err
			}
			return a.withTables(ctx, func(s *models.Store) error { return a.revokeToken(ctx, s, args[0], until) })
		},
	}
	command.Flags().StringVar(&expires, "expires", "", "the `time` when the token expires: 2026-11-23, 2026-11-23T15:04:05Z, or 24h for a day from now; in UTC")
	command.Flags().StringVar(&who, "user", "", "all tokens of this `USER`, an id or an address")
	return command
}

func (a *app) revokeToken(ctx context.Context, s *models.Store, jti string, until time.Time) error {
	if err := s.RevokeToken(ctx, jti, until); err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]any{"jti": jti, "expires_at": until.UTC()})
	}
	_, err := fmt.Fprintf(a.stdout, "%s: revoked; it expires at %s\n", printable(jti), until.UTC().Format(time.RFC3339))
	return err
}

// errRefused is what check ends with when the token is not to be accepted.
var errRefused = errors.New("the token is not to be accepted")

func (a *app) tokenCheckCommand() *cobra.Command {
	var who, issued, expires string
	command := &cobra.Command{
		Use:   "check JTI",
		Short: "Say whether a token is on the blacklist, or whether it would be accepted",
		Long: "Say whether a token is on the blacklist and has not expired, which ends with 0 either way. " +
			"With --user and --issued-at, say whether the token would be accepted, and end with 1 if not.",
		Example: "  reviewpoint token check 0f8fad5b-d9cb-469f-a165-70867728950e\n  reviewpoint token check 0f8fad5b-d9cb-469f-a165-70867728950e --user 7 --issued-at 2026-11-23T15:04:05Z",
		Args:    one("give one JTI"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, now := cmd.Context(), clock.Now(cmd.Context())
			if who == "" {
				if issued != "" || expires != "" {
					return errors.New("--issued-at and --expires need --user")
				}
				return a.withTables(ctx, func(s *models.Store) error { return a.checkBlacklist(ctx, s, args[0]) }, models.WithReadOnly())
			}
			if issued == "" {
				return errors.New("--user needs --issued-at, the time when the token was issued")
			}
			name, err := parseUser(who)
			if err != nil {
				return err
			}
			claims := models.Claims{ID: args[0], UserID: name.id, ExpiresAt: now.Add(time.Hour)}
			if claims.IssuedAt, err = parseTime("--issued-at", issued, now, ago); err != nil {
				return err
			}
			if expires != "" {
				if claims.ExpiresAt, err = parseTime("--expires", expires, now, fromNow); err != nil {
					return err
				}
			}
			return a.withTables(ctx, func(s *models.Store) error {
				if name.id == 0 { // An id may be that of an account that is not there any more.
					u, err := name.find(ctx, s)
					if err != nil {
						return err
					}
					claims.UserID = u.ID
				}
				return a.checkClaims(ctx, s, claims)
			}, models.WithReadOnly())
		},
	}
	command.Flags().StringVar(&who, "user", "", "the `USER` whose token it is, an id or an address")
	command.Flags().StringVar(&issued, "issued-at", "", "the `time` when it was issued: 2026-11-23, 2026-11-23T15:04:05Z, or 24h for a day ago; in UTC")
	command.Flags().StringVar(&expires, "expires", "", "the `time` when it expires, or 24h for a day from now (default not yet)")
	return command
}

func (a *app) checkBlacklist(ctx context.Context, s *models.Store, jti string) error {
	revoked, err := s.TokenRevoked(ctx, jti)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]any{"jti": jti, "revoked": revoked})
	}
	words := "not on the blacklist, or expired"
	if revoked {
		words = "revoked"
	}
	_, err = fmt.Fprintf(a.stdout, "%s: %s\n", printable(jti), words)
	return err
}

func (a *app) checkClaims(ctx context.Context, s *models.Store, claims models.Claims) error {
	refused := s.CheckToken(ctx, claims)
	if refused != nil && !errors.Is(refused, models.ErrTokenRevoked) && !errors.Is(refused, models.ErrTokenExpired) {
		return refused // which says nothing of the token
	}
	answer := map[string]any{"jti": claims.ID, "user_id": claims.UserID, "accepted": refused == nil}
	words := "accepted"
	if refused != nil {
		answer["reason"] = refused.Error()
		words = "refused: " + refused.Error()
	}
	if a.json {
		if err := a.printJSON(answer); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(a.stdout, "%s: %s\n", printable(claims.ID), words)
	}
	if refused != nil {
		return errRefused
	}
	return nil
}
