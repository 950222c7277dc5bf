// SPDX-License-Identifier: MPL-2.0

package jail

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// socketBuffer is the buffer size in bytes that each end of the socket between guest and
// file server requests. The kernel doubles it for its own overhead.
const socketBuffer = 2 << 20

// SocketPair makes the socket between a guest and its file server. Both ends are
// close-on-exec.
func SocketPair() (guest, server int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("create the files device: %w", err)
	}
	for _, fd := range pair {
		if err := setSendBuffer(fd); err != nil {
			closeAll(pair[:])
			return -1, -1, fmt.Errorf("set the buffer of the files device: %w", err)
		}
	}
	return pair[0], pair[1], nil
}

// setSendBuffer lets a socket queue several packets of the largest size. Without
// CAP_NET_ADMIN, the sysctl net.core.wmem_max limits the buffer.
func setSendBuffer(fd int) error {
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBuffer)
	if errors.Is(err, unix.EPERM) {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, socketBuffer)
	}
	return err
}
