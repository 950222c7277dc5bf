// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/kernelfile"
)

const (
	// oomGuest makes the guest an ordinary candidate when memory is short,
	// whatever the agent is.
	oomGuest = 0
	// oomExecutor makes the executor the last one: it has to report.
	oomExecutor = -999
)

// harden sets what the guest inherits: no core dumps, which would put its
// memory on a disk, and no protection from the out-of-memory killer.
func harden() error {
	none := unix.Rlimit{}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &none); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	return setOOMScore(oomGuest)
}

// drop gives up what the executor needs no more. It keeps the capability to
// signal a guest of another user.
func drop() error {
	// Without CAP_SYS_RESOURCE it stays an ordinary candidate beside a guest
	// that is larger.
	if err := setOOMScore(oomExecutor); err != nil && !errors.Is(err, os.ErrPermission) {
		return err
	}
	if err := forbidNewPrivileges(); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	if err := keepOnly(1 << unix.CAP_KILL); err != nil {
		return fmt.Errorf("drop the capabilities: %w", err)
	}
	return nil
}

// The kernel keeps privileges by thread, so all threads drop theirs at once.
// Only in a program with C in it, as tests with the race detector are, can
// just this one.

func forbidNewPrivileges() error {
	_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	if errno == syscall.ENOTSUP {
		return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
	return asError(errno)
}

// keepOnly drops all capabilities but those of the mask that it has.
func keepOnly(mask uint32) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	mask &= data[0].Permitted
	data = [2]unix.CapUserData{{Effective: mask, Permitted: mask}}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET,
		uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
	if errno == syscall.ENOTSUP {
		return unix.Capset(&header, &data[0])
	}
	return asError(errno)
}

func asError(errno syscall.Errno) error {
	if errno != 0 {
		return errno
	}
	return nil
}

func setOOMScore(score int) error {
	return kernelfile.Write("/proc/self/oom_score_adj", strconv.Itoa(score))
}

// catchSignals returns a descriptor that becomes readable when the executor is
// told to end. Other signals that would end it have no effect; those that the
// guest gets are its own.
func catchSignals() (int, error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return -1, fmt.Errorf("make a pipe for signals: %w", err)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals,
		unix.SIGTERM, unix.SIGINT, unix.SIGQUIT, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2)
	go func() { // for the life of the process
		for s := range signals {
			switch s {
			case unix.SIGTERM, unix.SIGINT, unix.SIGQUIT:
				_, _ = unix.Write(pipe[1], []byte{0})
			}
		}
	}()
	return pipe[0], nil
}
