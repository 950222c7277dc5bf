// SPDX-License-Identifier: MPL-2.0

package tender

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// SignalNotStarted is the signal by which a launcher ends that could not hand
// over to the guest. No guest can raise it: the filter has no kill, and the
// processor has no such fault.
const SignalNotStarted = syscall.SIGSTKFLT

// An Exit is how a guest ended: Signal when one killed it, else Code.
type Exit struct {
	Code   int // 0 to 255
	Signal syscall.Signal
}

// ExitOf reads the wait status of a process that has ended.
func ExitOf(status syscall.WaitStatus) Exit {
	if status.Signaled() {
		return Exit{Signal: status.Signal()}
	}
	return Exit{Code: status.ExitStatus()}
}

// Status is the exit status in a shell's way: 128 and the signal's number when
// one killed the guest.
func (e Exit) Status() int {
	if e.Signal != 0 {
		return 128 + int(e.Signal)
	}
	return e.Code
}

// Reason says in a few words how the guest ended.
func (e Exit) Reason() string {
	switch e.Signal {
	case 0:
		// Solo5's bindings exit with 255 from abort and failed assertions.
		if e.Code == 255 {
			return "guest aborted (exit code 255)"
		}
		return fmt.Sprintf("exited with %d", e.Code)
	case syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGILL, syscall.SIGFPE, syscall.SIGTRAP:
		return fmt.Sprintf("guest fault (%s)", signalName(e.Signal))
	case syscall.SIGSYS:
		return "forbidden system call (SIGSYS)"
	case syscall.SIGPIPE:
		return "console closed (SIGPIPE)"
	case SignalNotStarted:
		return "the system call filter could not be installed"
	default:
		return fmt.Sprintf("killed by %s", signalName(e.Signal))
	}
}

func signalName(s syscall.Signal) string {
	if name := unix.SignalName(s); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", int(s))
}
