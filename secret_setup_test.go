package models_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
)

// The canaries: what is searched for in all that is shown.
const (
	canaryHash       = "canary-hash-0f3a"
	canaryJti        = "canary-jti-7b21"
	canaryNonce      = "canary-nonce-c95d"
	canaryAddress    = "canary-address@example.org" // of the victim, as all that follow
	canaryName       = "canary-name-18e4"
	canaryBio        = "canary-bio-a6f0"
	canaryPreference = "canary-preference-4d77"
	canaryFile       = "canary-file-93bc.pdf"
)

var (
	tokenCanaries = []string{canaryHash, canaryJti, canaryNonce}
	otherCanaries = []string{canaryAddress, canaryName, canaryBio, canaryPreference, canaryFile}
)

// outOfReach are channels that show what they are given, whatever the package does, each with the
// reason. One that is listed and does not leak fails the test.
var outOfReach = map[string]string{
	"scan by *sql.Rows": "QueryContext gives the caller database/sql's own rows",
	"value, hidden":     "fmt asks no method of what an unexported field holds",
	"pointer, hidden":   "as above, by a verb that does not fit a pointer, such as %s",
	"type of its own":   "it has none of the methods",
}

// planted is a store full of canaries.
type planted struct {
	*models.Store

	url                  string
	secrets              []string // all canaries, and the database's own password
	plain, admin, victim *ent.User
	file                 *ent.File // the victim's
	ownFile              *ent.File // of plain
}

// eachPlanted runs a test on a planted store of its own on each database.
func eachPlanted(t *testing.T, test func(t *testing.T, ctx context.Context, p *planted)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		ctx := models.AsSystem(t.Context(), "test")
		test(t, ctx, plantSQLite(t, ctx))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		ctx := models.AsSystem(t.Context(), "test")
		test(t, ctx, plant(t, ctx, postgresURL(t)))
	})
}

func plantSQLite(t *testing.T, ctx context.Context) *planted {
	t.Helper()
	return plant(t, ctx, "sqlite://"+filepath.ToSlash(t.TempDir())+"/test.db?synchronous=off&busy_timeout=10ms")
}

func plant(t *testing.T, ctx context.Context, url string) *planted {
	t.Helper()
	s := open(t, url)
	must(s.Migrate(ctx))(t)
	p := &planted{Store: s, url: url, secrets: append(append(passwordOf(t, url), tokenCanaries...), otherCanaries...)}
	p.plain = must(newUser(s).SetHashedPassword(canaryHash).SetName("Plain").Save(ctx))(t)
	p.admin = must(newUser(s).SetHashedPassword(canaryHash).SetIsAdmin(true).Save(ctx))(t)
	p.victim = must(newUser(s).SetEmail(canaryAddress).SetHashedPassword(canaryHash).SetName(canaryName).SetBio(canaryBio).
		SetPreferences(map[string]any{"note": canaryPreference}).Save(ctx))(t)
	p.file = must(newFile(s, p.victim).SetFilename(canaryFile).Save(ctx))(t)
	p.ownFile = must(newFile(s, p.plain).SetFilename("own.pdf").Save(ctx))(t)
	check(t, newToken(s, canaryJti, time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)).Exec(ctx))
	check(t, newReset(s, canaryAddress, canaryNonce).Exec(ctx))
	return p
}

// passwordOf returns the password in the URL, unless it is one of the short ones that people give to
// a server for tests, which stand in many a text.
func passwordOf(t *testing.T, raw string) []string {
	t.Helper()
	password, _ := must(url.Parse(raw))(t).User.Password()
	if len(password) < 12 {
		return nil
	}
	return []string{password}
}

// raw runs a statement that is not the client's, and reads all rows of its answer.
func (p *planted) raw(ctx context.Context, query string, args ...any) error {
	rows, err := p.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
	}
	return rows.Err()
}

// seen is all that somebody was shown, each with the channel that showed it.
type seen struct{ shown []shown }

type shown struct{ channel, how, text string }

func (s *seen) text(channel, how, text string) {
	s.shown = append(s.shown, shown{channel, how, text})
}

var verbs = []string{"%v", "%+v", "%#v", "%s", "%q", "%#q", "%x", "%X", "% x", "%d", "%t", "%c", "%40.300v", "%-+v"}

// value shows v in every way in which it may come to paper.
func (s *seen) value(channel string, v any) {
	for _, verb := range verbs {
		s.text(channel, verb, fmt.Sprintf(verb, v))
	}
	s.text(channel, "an error", fmt.Errorf("it was %v", v).Error())
	encoded, err := json.Marshal(v)
	s.text(channel, "JSON", fmt.Sprint(string(encoded), err))
	for how, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"slog's text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"slog's JSON": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var log bytes.Buffer
		slog.New(handler(&log)).Info("shown", slog.Any("value", v), slog.Group("group", slog.Any("value", v)))
		s.text(channel, how, log.String())
	}
}

// err shows an error and all that it wraps. There must be one.
func (s *seen) err(t *testing.T, channel string, err error) {
	t.Helper()
	if err == nil {
		t.Errorf("%s is accepted, want an error", channel)
		return
	}
	for err := range chain(err) {
		s.text(channel, "Error", err.Error())
		s.value(channel, err)
	}
}

func (s *seen) errs(t *testing.T, errs map[string]error) {
	t.Helper()
	for channel, err := range errs {
		s.err(t, channel, err)
	}
}

// panics shows what fn panics with.
func (s *seen) panics(t *testing.T, channel string, fn func()) {
	t.Helper()
	defer func() {
		t.Helper()
		value := recover()
		err, _ := value.(error)
		s.value(channel, value)
		s.err(t, channel, err)
	}()
	fn()
}

// holds reports whether the text holds the secret, plainly or as verbs and encoders write it.
func holds(text, secret string) bool {
	for _, form := range []string{secret, hex.EncodeToString([]byte(secret)), fmt.Sprintf("% x", secret)} {
		if strings.Contains(strings.ToLower(text), strings.ToLower(form)) {
			return true
		}
	}
	whole := secret[:len(secret)/3*3] // the rest depends on what follows
	return strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(whole)))
}

// find returns what holds one of the secrets.
func (s *seen) find(secrets ...string) (leaks []shown) {
	for _, shown := range s.shown {
		for _, secret := range secrets {
			if holds(shown.text, secret) {
				leaks = append(leaks, shown)
				break
			}
		}
	}
	return leaks
}

// wantNone fails the test for each channel that shows one of the secrets.
func (s *seen) wantNone(t *testing.T, secrets ...string) {
	t.Helper()
	if len(s.shown) == 0 || len(secrets) == 0 {
		t.Fatal("nothing was searched")
	}
	leaky := make(map[string]bool)
	for _, leak := range s.find(secrets...) {
		leaky[leak.channel] = true
		if outOfReach[leak.channel] == "" {
			t.Errorf("%s, by %s, shows a secret: %.600s", leak.channel, leak.how, leak.text)
		}
	}
	for _, shown := range s.shown {
		if outOfReach[shown.channel] != "" && !leaky[shown.channel] {
			t.Errorf("%s leaks no more: take it from outOfReach", shown.channel)
			leaky[shown.channel] = true
		}
	}
}

// wantShown fails the test when a text that must be among what is searched is not.
func (s *seen) wantShown(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if len(s.find(text)) == 0 {
			t.Errorf("nothing shows %q, so the search proves nothing of it", text)
		}
	}
}

// TestSeen_Finds leaks each canary on purpose, in each way.
func TestSeen_Finds(t *testing.T) {
	t.Parallel()
	eachPlanted(t, func(t *testing.T, ctx context.Context, p *planted) {
		var rows []string
		for _, query := range []string{
			"SELECT email || hashed_password || name || bio || CAST(preferences AS text) FROM users WHERE name IS NOT NULL AND bio IS NOT NULL",
			"SELECT jti FROM blacklisted_tokens", "SELECT nonce FROM used_password_reset_tokens", "SELECT filename FROM files",
		} {
			rows = append(rows, column[string](t, ctx, p.Store, query)...)
		}
		rows = append(rows, p.url)
		for _, secret := range p.secrets {
			var row seen
			row.text("row", "plain", strings.Join(rows, " "))
			row.wantShown(t, secret)
			leaks := make(map[string]any)
			leaks["an error"] = fmt.Errorf("outside: %w", fmt.Errorf("inside: %s", secret))
			leaks["a struct"] = struct{ Value, More string }{secret, "more"}
			leaks["bytes"] = struct{ Value []byte }{[]byte(secret)}
			for name, leak := range leaks {
				var s seen
				s.value(name, leak)
				if err, ok := leak.(error); ok {
					s.err(t, name, err)
				}
				found := s.find(secret)
				if len(found) < 2 {
					t.Errorf("%s that holds %q is found in %v", name, secret, found)
				}
				for _, f := range found {
					if f.channel != name {
						t.Errorf("found in the channel %q, want %q", f.channel, name)
					}
				}
			}
		}
	})
}
