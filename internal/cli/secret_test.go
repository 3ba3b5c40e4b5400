package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/internal/cli"
)

// What the database is full of before the commands run.
var planted = []string{"canary-hash-0f3a", "canary-address@example.org", "canary-name-18e4", "canary-file.pdf", "canary-jti-7b21", "canary-nonce-c95d"}

// commands are all that work on a database; what they change is not searched for by another.
var commands = [][]string{
	{"demo"}, {"doctor"}, {"audit", "list"}, {"purge", "--older-than", "30d", "--dry-run"},
	{"migrate", "status"}, {"migrate", "apply"}, {"migrate", "verify"}, {"migrate", "down", "--dry-run"}, {"migrate", "adopt", "--dry-run"},
	{"user", "list"}, {"user", "show", "1"}, {"user", "export", "1"}, {"user", "passwd", "1"}, {"user", "add", planted[1]},
	{"user", "deactivate", "1"}, {"user", "reactivate", "1"}, {"user", "delete", "1"}, {"user", "restore", "1"}, {"user", "anonymize", "424242", "--yes"},
	{"file", "list"}, {"file", "add", "a.pdf", "--user", "1"}, {"file", "delete", "a.pdf", "--user", "1", "--yes"},
	{"token", "check", "jti", "--user", "1", "--issued-at", "1h"}, {"token", "revoke", "jti", "--expires", "1h"},
	{"import", "users"}, {"import", "files", "--format", "jsonl"}, {"export", "users"}, {"export", "files"}, {"copy"},
}

// TestSecrets_OfAll: every command stands above, but for those that look at no rows.
func TestSecrets_OfAll(t *testing.T) {
	t.Parallel()
	exempt := []string{"completion", "erd", "help", "migrate hash", "migrate lint", "migrate plan"}
	var walk func(path ...string)
	walk = func(path ...string) {
		name := strings.Join(path, " ")
		listed := show(t, "", append(append([]string{"__completeNoDesc"}, path...), "")...)
		listed, _, _ = strings.Cut(listed, ":")
		below := strings.Fields(listed)
		switch {
		case slices.Contains(exempt, name):
		case len(below) > 0:
			for _, child := range below {
				walk(append(slices.Clone(path), child)...)
			}
		case !slices.ContainsFunc(commands, func(c []string) bool { return strings.HasPrefix(strings.Join(c, " ")+" ", name+" ") }):
			t.Errorf("what %q writes is not searched", name)
		}
	}
	walk()
}

// shownBy are those that a command is for: what has changed of a person, or what is held.
var shownBy = map[string][]string{"audit": planted[1:3], "user": planted[1:4], "file": planted[3:4], "export": planted[1:4]}

// typed is what people give to a command that asks for a password, or by mistake to another one.
const typed = "canary-password-41c0"

// show returns all that a command writes, whichever way it is given the URL.
func show(t *testing.T, env string, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	getenv := func(name string) string {
		if slices.Contains([]string{"REVIEWPOINT_DB_URL", "REVIEWPOINT_COPY_FROM", "REVIEWPOINT_COPY_TO", "ATLAS_DEV_URL"}, name) {
			return env
		}
		return ""
	}
	code := cli.Run(t.Context(), args, getenv, strings.NewReader(typed+"\n"), &out, &out)
	if out.Len() == 0 {
		t.Errorf("%v exits with %d and writes nothing, so there is nothing to search", args, code)
	}
	return out.String()
}

func wantNoSecret(t *testing.T, what, text string, secrets ...string) {
	t.Helper()
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			t.Errorf("%s shows %q: %s", what, secret, text)
		}
	}
}

// TestSecrets_OfRows runs every command on a database with rows of people.
func TestSecrets_OfRows(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string, store *models.Store) {
		ctx := models.AsSystem(t.Context(), "test")
		if _, err := store.Migrate(ctx); err != nil {
			t.Fatal(err)
		}
		if err := plant(t, store); err != nil {
			t.Fatal(err)
		}
		secrets := append(append(passwordOf(t, url), planted...), typed, "$argon2id$")
		for _, edit := range []string{"", "UPDATE atlas_schema_revisions SET hash = 'of another text'", "DELETE FROM atlas_schema_revisions"} {
			if edit != "" {
				if _, err := store.ExecContext(ctx, edit); err != nil {
					t.Fatal(err)
				}
			}
			for _, command := range commands {
				secrets := slices.DeleteFunc(slices.Clone(secrets), func(s string) bool { return slices.Contains(shownBy[command[0]], s) })
				wantNoSecret(t, fmt.Sprint(command), show(t, "", append(slices.Clone(command), "--db", url)...), secrets...)
				wantNoSecret(t, fmt.Sprint(command, " by JSON"), show(t, url, append([]string{"--json"}, command...)...), secrets...)
			}
		}
	})
}

// TestSecrets_OfDemo signs in as the administrator that a demo leaves, by what its address tells of the run.
func TestSecrets_OfDemo(t *testing.T) {
	t.Parallel()
	url := "sqlite://" + filepath.ToSlash(t.TempDir()) + "/demo.db"
	show(t, url, "demo")
	store, err := models.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	page, err := store.ListUsers(models.AsSystem(t.Context(), "test"), models.UserFilter{Admin: new(true)}, models.PageRequest{})
	if err != nil || len(page.Items) != 1 {
		t.Fatalf("the demo leaves the administrators %v (%v), want one", page, err)
	}
	address := page.Items[0].Email
	run := strings.TrimSuffix(strings.TrimPrefix(address, "ada-"), "@example.org")
	if _, err := store.Authenticate(models.AsAnonymous(t.Context()), address, "Ada rides a horse "+run); !errors.Is(err, models.ErrInvalidCredentials) {
		t.Errorf("%s is let in by a password that follows from the address: %v", address, err)
	}
}

func plant(t *testing.T, store *models.Store) error {
	t.Helper()
	ctx := models.AsSystem(t.Context(), "test")
	return store.InTx(ctx, func(ctx context.Context) error {
		u, err := store.User.Create().SetHashedPassword(planted[0]).SetEmail(planted[1]).SetName(planted[2]).Save(ctx)
		if err != nil {
			return err
		}
		return errors.Join(
			store.File.Create().SetUser(u).SetFilename(planted[3]).SetContentType("application/pdf").Exec(ctx),
			store.BlacklistedToken.Create().SetJti(planted[4]).SetExpiresAt(u.CreatedAt).Exec(ctx),
			store.UsedPasswordResetToken.Create().SetEmail(planted[1]).SetNonce(planted[5]).Exec(ctx),
		)
	})
}

// passwordOf returns the password in the URL, unless it is a short one, which stands in many a text.
func passwordOf(t *testing.T, raw string) []string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	if password, _ := u.User.Password(); len(password) >= 12 {
		return []string{password}
	}
	return nil
}

// TestSecrets_OfBadURLs gives every command URLs that it cannot use.
func TestSecrets_OfBadURLs(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"postgres://app:" + canary + "@127.0.0.1:1/db", "postgres://app:" + canary + "@127.0.0.1:1,127.0.0.1:2/db",
		"postgres://app@127.0.0.1:1/db?password=" + canary, "postgres://app:" + canary + "@127.0.0.1:1/db?sslmode=nosuch",
		"postgres://app:" + canary + "@127.0.0.1:1/db?connect_timeout=soon", "postgres://app:" + canary + "@127.0.0.1:port/db",
		"postgres://app:" + canary + "%zz@127.0.0.1:1/db", "postgres://app:x/" + canary + "@127.0.0.1:1/db", "postgres://app:x#" + canary + "@127.0.0.1:1/db",
		"postgres://app:" + canary + "?x@127.0.0.1:1/db", "postgresql+asyncpg://app:" + canary + "@127.0.0.1:1/db",
		"mysql://app:" + canary + "@127.0.0.1/db", "app:" + canary + "@127.0.0.1/db", "app:" + canary + "@127.0.0.1://db", canary, "=" + canary,
	} {
		t.Run(strings.ReplaceAll(strings.ReplaceAll(bad, canary, "CANARY"), "/", "|"), func(t *testing.T) {
			t.Parallel()
			for _, command := range commands {
				for _, args := range [][]string{command, append([]string{"--json"}, command...)} {
					wantNoSecret(t, fmt.Sprint(args), show(t, "", append(slices.Clone(args), "--db", bad)...), canary)
					wantNoSecret(t, fmt.Sprint(args), show(t, "", append(slices.Clone(args), "--db="+bad)...), canary)
					wantNoSecret(t, fmt.Sprint(args), show(t, bad, args...), canary)
				}
			}
		})
	}
}

// TestSecrets_OfWrongUse puts the URL where it does not belong.
func TestSecrets_OfWrongUse(t *testing.T) {
	t.Parallel()
	const bad = "postgres://app:" + canary + "@127.0.0.1:1/db"
	file := "sqlite://" + filepath.ToSlash(t.TempDir()) + "/test.db"
	for name, args := range map[string][]string{
		"an argument":                  {bad},
		"an argument of demo":          {"demo", bad},
		"an argument of doctor":        {"doctor", "--db", file, bad},
		"an argument of migrate":       {"migrate", bad},
		"an argument of migrate apply": {"migrate", "apply", bad},
		"an argument of help":          {"help", bad},
		"an argument of completion":    {"completion", "bash", bad},
		"-d":                           {"demo", "-d" + bad},
		"-db":                          {"demo", "-db", bad},
		"-db=":                         {"demo", "-db=" + bad},
		"--json=":                      {"doctor", "--json=" + bad},
		"--URL":                        {"--" + bad},
		"--database=":                  {"demo", "--database=" + bad},
		"--database":                   {"demo", "--database", bad},
		"no URL":                       {"demo", "--db"},
		"two URLs":                     {"migrate", "status", "--db", file, "--db", bad, bad},
		"help":                         {"demo", "--help", "--db", bad},
		"completion of the URL":        {"__complete", "demo", "--db", bad, ""},
		"usage of migrate":             {"migrate", "--db", bad},
		"copy from":                    {"copy", "--from", bad, "--to", file},
		"copy to":                      {"copy", "--from", file, "--to", bad},
		"copy to, no form":             {"copy", "--from", file, "--to", "postgres://app:" + canary + "%zz@127.0.0.1:1/db"},
		"migrations tried on":          {"migrate", "lint", "--dev-url", bad},
		"migrations tried on, no form": {"migrate", "lint", "--dev-url", "postgres://app:" + canary + "%zz@127.0.0.1:1/db"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantNoSecret(t, fmt.Sprint(args), show(t, bad, args...), canary)
		})
	}
}
