//go:build !unix

package dbtest

import (
	"fmt"
	"os/exec"
)

// detach returns errNoPostgres: the script that runs the server needs a Unix.
func detach(*exec.Cmd, ...string) error {
	return fmt.Errorf("%w; a server of the tests' own needs a Unix", errNoPostgres)
}
