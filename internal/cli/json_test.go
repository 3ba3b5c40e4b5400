package cli_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/reviewpoint/models"
)

// TestJSON_Escapes prints what a terminal would obey: it is escaped, and means the same.
func TestJSON_Escapes(t *testing.T) {
	t.Parallel()
	const raw = "\u009b\u007f\u0085\u202a\u202e\u2066\u2069\u200b\ufeff\u00ad\U000e0041"
	name := strings.Repeat("ДОМ é 文 😀", 12) + raw + "31m"
	onEach(t, func(t *testing.T, url string, store *models.Store) {
		ctx := models.AsSystem(t.Context(), "test")
		if _, err := store.Migrate(ctx); err != nil {
			t.Fatal(err)
		}
		if err := store.User.Create().SetEmail("ada@example.org").SetHashedPassword("!").Exec(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := store.ExecContext(ctx, "UPDATE users SET name = $1 WHERE id = 1", name); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"user", "show", "1", "--json"}, {"user", "list", "--json"}, {"user", "export", "1"}} {
			code, stdout, stderr := run(t, append(args, "--db", url)...)
			if code != 0 || strings.ContainsAny(stdout, raw) || !strings.Contains(stdout, "ДОМ é 文 😀") {
				t.Errorf("%v: exit code %d, stdout %q, stderr %q", args, code, stdout, stderr)
			}
			var value any
			if err := json.Unmarshal([]byte(stdout), &value); err != nil {
				t.Errorf("%v: %v", args, err)
			}
			if !has(value, name) {
				t.Errorf("%v: the name is not in %q", args, stdout)
			}
		}
	})
}

// has reports whether a string is somewhere in a value of JSON.
func has(value any, wanted string) bool {
	switch v := value.(type) {
	case string:
		return v == wanted
	case []any:
		for _, item := range v {
			if has(item, wanted) {
				return true
			}
		}
	case map[string]any:
		for _, item := range v {
			if has(item, wanted) {
				return true
			}
		}
	}
	return false
}
