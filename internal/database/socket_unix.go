//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package database

import (
	"net"
	"syscall"
)

// closedByServer reports whether an idle socket has ended, or holds the server's farewell: a server
// says nothing of itself that is worth keeping a connection for.
func closedByServer(socket net.Conn) bool {
	conn, ok := socket.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return true
	}
	closed := false
	err = raw.Read(func(fd uintptr) bool {
		var next [1]byte
		_, _, err := syscall.Recvfrom(int(fd), next[:], syscall.MSG_PEEK)
		closed = err != syscall.EAGAIN && err != syscall.EINTR
		return true
	})
	return closed || err != nil
}
