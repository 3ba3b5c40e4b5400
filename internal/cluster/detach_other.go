//go:build !unix

package cluster

import (
	"fmt"
	"os/exec"
)

// detach returns ErrNone: the script that runs the server needs a Unix.
func detach(*exec.Cmd, ...string) error {
	return fmt.Errorf("%w; a throw-away server needs a Unix", ErrNone)
}
