// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// openControl creates the control device: a pair of datagram sockets. The guest
// uses its end like a network device, with one frame in each datagram.
func (t *task) openControl() (*os.File, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("create the control device: %w", err)
	}
	t.control = pair[0]
	return t.giveToGuest(pair[1], "control"), nil
}

// sendControl sends the frame "signal N" or "stop N".
func (t *task) sendControl(verb string, sig syscall.Signal) error {
	frame := fmt.Sprintf("%s %d", verb, int(sig))
	err := unix.Sendto(t.control, []byte(frame), unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, nil)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return fmt.Errorf("%s: the guest does not read its control device", frame)
	case err != nil:
		return fmt.Errorf("%s: write to the control device: %w", frame, err)
	}
	return nil
}

// readControl discards frames from the guest. They have no meaning yet.
func (t *task) readControl() {
	var frame [64]byte
	n, _, err := unix.Recvfrom(t.control, frame[:], unix.MSG_DONTWAIT)
	if n >= 0 && err == nil || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return
	}
	_ = unix.Close(t.control)
	t.control = -1
}
