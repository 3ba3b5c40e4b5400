package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/reviewpoint/models/internal/cli"
)

// TestCompletion_Syntax lets each shell that is there read its script.
func TestCompletion_Syntax(t *testing.T) {
	t.Parallel()
	for shell, only := range map[string]string{"bash": "-n", "zsh": "-n", "fish": "--no-execute"} {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			code, script, stderr := run(t, "completion", shell)
			if code != 0 || !strings.Contains(script, "__complete") || stderr != "" {
				t.Fatalf("exit code %d, stderr %q, script %q", code, stderr, script)
			}
			path, err := exec.LookPath(shell)
			if err != nil {
				t.Skip(err)
			}
			file := filepath.Join(t.TempDir(), "script")
			if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.CommandContext(t.Context(), path, only, file).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%s %s: %v: %s", shell, only, err, out)
			}
		})
	}
}

// What the shell does with the answer, as cobra numbers it.
const (
	files   = ":0"
	nothing = ":4"
	folders = ":16"
)

// TestCompletion asks as the scripts of the shells do.
func TestCompletion(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ args, want, directive string }{
		{"doc", "doctor", nothing},
		{"migrate ver", "verify", nothing},
		{"completion ", "bash zsh fish powershell", nothing},
		{"user show ", "", nothing},
		{"token check ", "", nothing},
		{"token revoke --user ", "", nothing},
		{"audit list --entity ", "user file", nothing},
		{"audit list --action ", "create update soft_delete restore anonymize delete", nothing},
		{"audit list --since ", "", nothing},
		{"user list --limit ", "", nothing},
		{"file list --sort ", "id created_at updated_at filename content_type size", nothing},
		{"file add ", "", nothing},
		{"erd --format ", "mermaid svg html", nothing},
		{"erd --out ", "", files},
		{"user export 1 --out ", "", files},
		{"migrate apply --dir ", "", folders},
		{"migrate apply --to ", "20261123111209 20261123160500 20261124032742", nothing},
		{"migrate down --to ", "20261123111209 20261123160500 20261124032742", nothing},
		{"migrate plan ", "", nothing},
		{"demo --db ", "", nothing},
		{"purge --older", "--older-than", nothing},
		{"doctor --dev-url ", "", nothing},
	} {
		args := append([]string{"__complete"}, strings.Split(tt.args, " ")...)
		code, stdout, _ := run(t, args...)
		lines := strings.Split(strings.TrimSpace(stdout), "\n")
		var words []string
		for _, line := range lines[:len(lines)-1] {
			word, _, _ := strings.Cut(line, "\t")
			words = append(words, word)
		}
		if got := strings.Join(words, " "); code != 0 || got != tt.want || lines[len(lines)-1] != tt.directive {
			t.Errorf("%q: exit code %d, %q and %s, want %q and %s", tt.args, code, got, lines[len(lines)-1], tt.want, tt.directive)
		}
	}
}

// TestCompletion_OpensNothing completes every argument and flag of every command, of a database that cannot
// be opened and of one that is not there.
func TestCompletion_OpensNothing(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for _, url := range []string{"sqlite://" + filepath.Join(folder, "new.db"), "postgres://app:" + canary + "@127.0.0.1:1/db", canary} {
		ask := func(args ...string) {
			args = append([]string{"__complete", "--db", url}, args...)
			code, stdout, stderr := run(t, args...)
			if code != 0 || !strings.HasPrefix(stderr, "Completion ended with directive") {
				t.Errorf("%q: exit code %d, stdout %q, stderr %q", args, code, stdout, stderr)
			}
		}
		cli.EachCommand(cli.Tree(), func(command *cobra.Command) {
			path := strings.Fields(command.CommandPath())[1:]
			ask(append(path, "")...)
			command.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
				if f.NoOptDefVal == "" {
					ask(append(path, "--"+f.Name, "")...)
				}
			})
		})
	}
	if entries, err := os.ReadDir(folder); err != nil || len(entries) != 0 {
		t.Errorf("there is %v (%v) where nothing was", entries, err)
	}
}
