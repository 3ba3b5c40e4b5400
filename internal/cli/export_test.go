package cli

import (
	"io"

	"github.com/spf13/cobra"
)

// Tree returns the command as it is before anything is parsed.
func Tree() *cobra.Command {
	return (&app{stdout: io.Discard, stderr: io.Discard, getenv: func(string) string { return "" }}).root()
}

// EachCommand visits a command and all below it.
var EachCommand = eachCommand

// ProgramFinding is what doctor says of how the program was built.
func ProgramFinding(sqlite bool, compiler, url string) (ok bool, detail, cure string) {
	f := programFinding(sqlite, compiler, url)
	return f.OK, f.Detail, f.Cure
}

// PrintStates prints a table of states, in colours or without.
func PrintStates(to io.Writer, colour bool, rows [][]string) error {
	return (&app{stdout: to, colour: colour}).printStates(rows)
}

// ToNewFile makes a file by what write writes.
var ToNewFile = toNewFile

// HashKinds is how doctor asks for password hashes.
const HashKinds = hashKinds
