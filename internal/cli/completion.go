package cli

import (
	"errors"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (a *app) completionCommand() *cobra.Command {
	write := map[string]func(*cobra.Command) error{
		"bash":       func(root *cobra.Command) error { return root.GenBashCompletionV2(a.stdout, true) },
		"zsh":        func(root *cobra.Command) error { return root.GenZshCompletion(a.stdout) },
		"fish":       func(root *cobra.Command) error { return root.GenFishCompletion(a.stdout, true) },
		"powershell": func(root *cobra.Command) error { return root.GenPowerShellCompletionWithDesc(a.stdout) },
	}
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion " + strings.Join(shells, "|"),
		Short: "Write the script that lets a shell complete commands and flags",
		Long: "Write the script that lets a shell complete commands and flags. Write it where the shell looks for such scripts, and begin a new shell. " +
			"bash needs the package bash-completion, zsh the line `autoload -U compinit; compinit` in ~/.zshrc, and PowerShell the output in its $PROFILE.",
		Example: "  reviewpoint completion bash > ~/.local/share/bash-completion/completions/reviewpoint\n" +
			"  reviewpoint completion zsh > \"${fpath[1]}/_reviewpoint\"\n" +
			"  reviewpoint completion fish > ~/.config/fish/completions/reviewpoint.fish\n" +
			"  reviewpoint completion powershell >> $PROFILE",
		ValidArgs: shells,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(shells, args[0]) {
				return errors.New("name one shell: " + strings.Join(shells, ", "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := write[args[0]](cmd.Root()); err != nil {
				return failure{err}
			}
			return nil
		},
	}
}

// oneOf lets a shell complete a flag by the values that it takes.
func oneOf(command *cobra.Command, flag string, values ...string) {
	complete(command, flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

func complete(command *cobra.Command, flag string, f cobra.CompletionFunc) {
	if err := command.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err) // There is no such flag, or it was done before.
	}
}

// completeVersions lets a shell complete a flag by the versions of the migrations.
func (a *app) completeVersions(command *cobra.Command, flag string) {
	complete(command, flag, func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		names, _ := fs.Glob(a.files(), "sqlite/*.sql") // Where there are none, there is nothing to complete.
		versions := make([]cobra.Completion, len(names))
		for i, name := range names {
			version, description, _ := strings.Cut(strings.TrimSuffix(path.Base(name), ".sql"), "_")
			versions[i] = cobra.CompletionWithDesc(version, description)
		}
		return versions, cobra.ShellCompDirectiveNoFileComp
	})
}

var fileArgument = regexp.MustCompile(`\bFILE\b`)

// completeNothingElse keeps the shell from completing files where none belong: for an argument that is no
// FILE, and for a flag whose value is neither a file nor a folder.
func completeNothingElse(command *cobra.Command) {
	if command.ValidArgs == nil && command.ValidArgsFunction == nil && !fileArgument.MatchString(command.Use) {
		command.ValidArgsFunction = cobra.NoFileCompletions
	}
	command.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
		if _, done := command.GetFlagCompletionFunc(f.Name); done || f.NoOptDefVal != "" {
			return
		}
		switch value, _ := pflag.UnquoteUsage(f); value {
		case "file":
		case "folder":
			complete(command, f.Name, cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs))
		default:
			complete(command, f.Name, cobra.NoFileCompletions)
		}
	})
}
