//go:build unix

package api

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// acceptQueueEmpty reports whether no connection waits to be accepted.
func acceptQueueEmpty(l net.Listener, _ bool) bool {
	conn, ok := l.(syscall.Conn)
	if !ok {
		return true // no queue in the kernel
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return true // it is closed
	}
	var waiting int
	var failed error // interrupted: the next look tells
	err = raw.Control(func(fd uintptr) {
		listener := unix.PollFd{Fd: int32(fd), Events: unix.POLLIN} //nolint:gosec // A descriptor is an int.
		waiting, failed = unix.Poll([]unix.PollFd{listener}, 0)
	})
	return err != nil || failed == nil && waiting == 0
}
