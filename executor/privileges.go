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
	// guestOOMScore makes the guest an ordinary victim of the out-of-memory
	// killer, regardless of the agent's score.
	guestOOMScore = 0
	// executorOOMScore makes the executor the last victim, because it has to
	// report the guest's end.
	executorOOMScore = -999
)

// restrictGuest sets the limits that the guest inherits. It disables core dumps,
// which would write the guest's memory to disk, and removes any protection from
// the out-of-memory killer.
func restrictGuest() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("disable core dumps: %w", err)
	}
	return setOOMScore(guestOOMScore)
}

// dropPrivileges drops all privileges that the executor no longer needs. It keeps
// CAP_KILL, to signal a guest of another user.
func dropPrivileges() error {
	// Without CAP_SYS_RESOURCE, the executor stays an ordinary victim. The guest
	// is larger, so the kernel prefers the guest.
	if err := setOOMScore(executorOOMScore); err != nil && !errors.Is(err, os.ErrPermission) {
		return err
	}
	if err := forbidNewPrivileges(); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	if err := keepCapabilities(1 << unix.CAP_KILL); err != nil {
		return fmt.Errorf("drop the capabilities: %w", err)
	}
	return nil
}

// Privileges belong to threads, so all threads have to drop them. Programs that
// use cgo, such as tests with the race detector, can only do it for the calling
// thread.

func forbidNewPrivileges() error {
	_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	if errno == syscall.ENOTSUP {
		return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
	return asError(errno)
}

// keepCapabilities drops all capabilities except those in the mask.
func keepCapabilities(mask uint32) error {
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

// catchSignals returns a descriptor that becomes readable when the executor
// receives SIGTERM, SIGINT or SIGQUIT. It makes SIGHUP, SIGUSR1 and SIGUSR2
// harmless.
func catchSignals() (int, error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return -1, fmt.Errorf("create a pipe for signals: %w", err)
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
