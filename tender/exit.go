// SPDX-License-Identifier: MPL-2.0

package tender

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// SignalNotStarted ends a launcher that could not install the filter and start the
// guest. No guest can raise this signal: the filter does not allow kill(2), and no
// fault of an x86-64 processor raises it.
const SignalNotStarted = syscall.SIGSTKFLT

// An Exit is the end of a guest: Signal if a signal killed it, otherwise Code.
type Exit struct {
	Code   int // 0 to 255
	Signal syscall.Signal
}

// ExitOf converts the wait status of an ended process.
func ExitOf(status syscall.WaitStatus) Exit {
	if status.Signaled() {
		return Exit{Signal: status.Signal()}
	}
	return Exit{Code: status.ExitStatus()}
}

// Status returns the exit status as a shell reports it: 128 plus the number of the
// signal that killed the guest, otherwise the code.
func (e Exit) Status() int {
	if e.Signal != 0 {
		return 128 + int(e.Signal)
	}
	return e.Code
}

// Reason describes the end of the guest in a few words.
func (e Exit) Reason() string {
	switch e.Signal {
	case 0:
		// Solo5's bindings exit with 255 after an abort or failed assertion.
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
