//go:build unix

package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"syscall"
)

// detach keeps a Ctrl-C from cmd, which has to clean up after
// them. PostgreSQL refuses to run as root: for root, cmd runs as the account
// postgres, and that gets the paths. It returns ErrNone where there is no
// such account.
func detach(cmd *exec.Cmd, paths ...string) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Geteuid() != 0 {
		return nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		return fmt.Errorf("%w; the one here does not run as root: %w", ErrNone, err)
	}
	var uid, gid uint32
	if _, err := fmt.Sscan(account.Uid, &uid); err != nil {
		return err
	}
	if _, err := fmt.Sscan(account.Gid, &gid); err != nil {
		return err
	}
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: gid}
	for _, path := range paths {
		if err := os.Chown(path, int(uid), int(gid)); err != nil {
			return err
		}
	}
	return nil
}
