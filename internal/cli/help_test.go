package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/reviewpoint/models/internal/cli"
)

// TestHelp looks at the help of every command.
func TestHelp(t *testing.T) {
	t.Parallel()
	cli.EachCommand(cli.Tree(), func(command *cobra.Command) {
		path := command.CommandPath()
		if command.Short == "" || strings.HasSuffix(command.Short, ".") {
			t.Errorf("%s: Short is %q, want a line without a full stop", path, command.Short)
		}
		if command.HasParent() && command.Parent().Name() == "reviewpoint" && command.GroupID == "" {
			t.Errorf("%s is in no group of the help: put it into one in cli.go", path)
		}
		calls := examples(command.Example)
		if len(calls) == 0 {
			t.Errorf("%s: Example shows no call of reviewpoint", path)
		}
		for _, args := range calls {
			if err := parse(args); err != nil {
				t.Errorf("%s: the example %q is refused: %v", path, args, err)
			}
		}
		if !slices.ContainsFunc(calls, func(args []string) bool { return strings.HasPrefix(strings.Join(args, " ")+" ", rest(path)) }) {
			t.Errorf("%s: Example does not show the command itself", path)
		}
		command.NonInheritedFlags().VisitAll(func(f *pflag.Flag) { lookAtFlag(t, path, f) })
	})
}

// rest is the path of a command below the program.
func rest(path string) string {
	return strings.TrimPrefix(strings.TrimPrefix(path, "reviewpoint")+" ", " ")
}

func lookAtFlag(t *testing.T, path string, f *pflag.Flag) {
	t.Helper()
	quoted := strings.Count(f.Usage, "`")
	switch {
	case f.Usage == "":
		t.Errorf("%s: --%s has no description", path, f.Name)
	case f.Value.Type() == "bool" && quoted != 0:
		t.Errorf("%s: --%s takes no value, and has the name %q for it", path, f.Name, f.Usage)
	case f.Value.Type() != "bool" && quoted != 2:
		t.Errorf("%s: --%s has no name for its value in backquotes: %q", path, f.Name, f.Usage)
	case slices.Contains([]string{"int", "int64", "duration"}, f.Value.Type()) && (f.DefValue == "0" || f.DefValue == "0s") && !strings.Contains(f.Usage, "default"):
		t.Errorf("%s: --%s does not say its default: %q", path, f.Name, f.Usage)
	}
}

// examples are the calls of reviewpoint that a text shows, each as its arguments.
func examples(text string) (calls [][]string) {
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.SplitSeq(text, "\n") {
		for _, call := range regexp.MustCompile(`&&|\|\|?|;`).Split(line, -1) {
			words := regexp.MustCompile(`"[^"]*"|'[^']*'|\S+`).FindAllString(call, -1)
			if len(words) > 2 && words[0] == "go" && words[1] == "run" {
				words = words[2:]
			}
			if len(words) == 0 || words[0] != "reviewpoint" && words[0] != "./cmd/reviewpoint" {
				continue
			}
			end := slices.IndexFunc(words, func(w string) bool {
				return strings.HasPrefix(w, ">") || strings.HasPrefix(w, "<") || w == "#" || strings.HasPrefix(w, "2>")
			})
			if end < 0 {
				end = len(words)
			}
			args := words[1:end]
			for i, word := range args {
				args[i] = strings.Trim(word, `"'`)
			}
			calls = append(calls, args)
		}
	}
	return calls
}

// parse does with args what the command does before it runs.
func parse(args []string) error {
	command, rest, err := cli.Tree().Find(args)
	if err == nil {
		err = command.ParseFlags(rest)
	}
	if err == nil {
		err = command.ValidateArgs(command.Flags().Args())
	}
	if err == nil {
		err = command.ValidateRequiredFlags()
	}
	if err == nil {
		err = command.ValidateFlagGroups()
	}
	return err
}

// TestExamples makes sure that the examples are seen through.
func TestExamples(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"  reviewpoint user show 7\n":                              true,
		"  reviewpoint user add a@example.org --name \"A B\" < x":  true,
		"  go generate && go run ./cmd/reviewpoint migrate plan x": true,
		"  reviewpoint doctor --json | reviewpoint user list":      true,
		"  reviewpoint user shwo 7":                                false,
		"  reviewpoint user show":                                  false,
		"  reviewpoint user show 7 --loud":                         false,
		"  reviewpoint user list --limit many":                     false,
		"  reviewpoint doctor --json | reviewpoint user lsit":      false,
	} {
		ok := true
		calls := examples(text)
		for _, args := range calls {
			ok = ok && parse(args) == nil
		}
		if ok != want || len(calls) == 0 {
			t.Errorf("%q: accepted %t, want %t (%q)", text, ok, want, calls)
		}
	}
}

// TestReference compares docs/reference.md with the commands.
func TestReference(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "reference.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(page, cli.Reference()) {
		t.Error("docs/reference.md is not current: run `go generate .`, or `go run ./internal/cli/reference`, in the folder of the module")
	}
}

func TestRun_MistypedCommand(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"docter"}, "reviewpoint: unknown command \"docter\": did you mean `reviewpoint doctor`?\n"},
		{[]string{"migrate", "aply"}, "reviewpoint: unknown command \"aply\": did you mean `reviewpoint migrate apply`?\n"},
		{[]string{"user", "xyz"}, "reviewpoint: unknown command \"xyz\": see `reviewpoint user --help`\n"},
	} {
		if code, _, stderr := run(t, tt.args...); code != 2 || stderr != tt.want {
			t.Errorf("%q: exit code %d, stderr %q, want 2 and %q", tt.args, code, stderr, tt.want)
		}
	}
}

// TestPrintStates compares a table with colours with the same without them.
func TestPrintStates(t *testing.T) {
	t.Parallel()
	rows := [][]string{{"CHECK", "STATE", "DETAIL"}, {"файл", "PROBLEM", "PROBLEM ok"}, {"a longer one", "ok", "fine"}, {"", "", "cure: ok"}, {"x", "skipped", ""}}
	var plain, coloured bytes.Buffer
	if err := cli.PrintStates(&plain, false, rows); err != nil {
		t.Fatal(err)
	}
	if err := cli.PrintStates(&coloured, true, rows); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(plain.String(), "\x1b") {
		t.Errorf("there are colours where none are wanted: %q", plain.String())
	}
	for _, want := range []string{"файл          \x1b[31mPROBLEM\x1b[0m  PROBLEM ok\n", "\x1b[32mok\x1b[0m       fine", "\x1b[33mskipped\x1b[0m"} {
		if !strings.Contains(coloured.String(), want) {
			t.Errorf("the table is %q, want %q in it", coloured.String(), want)
		}
	}
	if bare := regexp.MustCompile(`\x1b\[\d+m`).ReplaceAllString(coloured.String(), ""); bare != plain.String() {
		t.Errorf("without its colours the table is\n%swant\n%s", bare, plain.String())
	}
}
