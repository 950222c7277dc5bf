// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/kernelfile"
	"github.com/lkl-nomad/nomad-driver-lkl/files/jail"
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

// guestCapabilities are those that a guest's process needs before its first instruction.
const guestCapabilities = 1<<unix.CAP_SYS_CHROOT | 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID

// limitChildren removes the capabilities that neither the guest nor the file server needs from
// the bounding set of this thread, so that programs that it executes never have them. Without
// root, nothing has to be removed.
func limitChildren() error {
	const keep = guestCapabilities | jail.SetupCapabilities
	for c := range uintptr(64) {
		if c < 32 && keep&(1<<c) != 0 {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) {
			return nil // there are no further capabilities, or this process is not root
		}
		if err != nil {
			return fmt.Errorf("remove capability %d from the bounding set: %w", c, err)
		}
	}
	return nil
}

// protectFromOOM makes this process the last victim of the out-of-memory killer. Without
// CAP_SYS_RESOURCE it stays an ordinary victim. The guest is larger, so the kernel
// prefers the guest.
func protectFromOOM() error {
	if err := setOOMScore(executorOOMScore); err != nil && !errors.Is(err, os.ErrPermission) {
		return err
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
