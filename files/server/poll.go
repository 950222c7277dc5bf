// SPDX-License-Identifier: MPL-2.0

package server

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// maxWindow limits the time of polling. The guest of an idle server costs no more.
	maxWindow = 50 * time.Microsecond
	minWindow = 10 * time.Microsecond
)

// A poller receives packets. It polls the socket for a short time before it sleeps, because
// waking a thread takes longer than most requests. The window adapts as that of KVM's halt
// polling does: it grows if a little more time would have sufficed, and shrinks after a long
// sleep.
type poller struct {
	enabled bool
	window  time.Duration
}

// init disables polling on a host with one CPU, where it only delays the guest.
func (p *poller) init(cpus int) { p.enabled = cpus > 1 }

// receive reads a packet into b and returns its length, which is larger than b if the
// packet was cut. The length is 0 at the end.
func (p *poller) receive(socket int, b []byte) (int, unix.Errno) {
	if !p.enabled {
		return recv(socket, b)
	}
	start := time.Now()
	if n, errno := p.spin(socket, b, start); errno != unix.EAGAIN {
		return n, errno
	}
	n, errno := recv(socket, b)
	p.adapt(time.Since(start))
	return n, errno
}

// spin returns EAGAIN if no packet came in the window.
func (p *poller) spin(socket int, b []byte, start time.Time) (int, unix.Errno) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(socket), uintptr(unsafe.Pointer(unsafe.SliceData(b))),
			uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
		if errno != unix.EAGAIN && errno != unix.EINTR {
			return int(n), errno
		}
		if time.Since(start) >= p.window {
			return 0, unix.EAGAIN
		}
	}
}

func (p *poller) adapt(waited time.Duration) {
	switch {
	case waited > 2*maxWindow:
		p.window /= 2
		if p.window < minWindow {
			p.window = 0
		}
	case p.window < maxWindow:
		p.window = min(max(2*p.window, minWindow), maxWindow)
	}
}

func recv(socket int, b []byte) (int, unix.Errno) {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(socket), uintptr(unsafe.Pointer(unsafe.SliceData(b))),
			uintptr(len(b)), unix.MSG_TRUNC, 0, 0)
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}

func send(socket int, b []byte) unix.Errno {
	for {
		_, _, errno := unix.Syscall6(unix.SYS_SENDTO, uintptr(socket), uintptr(unsafe.Pointer(unsafe.SliceData(b))),
			uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
		if errno != unix.EINTR {
			return errno
		}
	}
}
