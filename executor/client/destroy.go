// SPDX-License-Identifier: MPL-2.0

package client

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
)

// Destroy kills what is left of a task, its executor and its guest, and
// removes its cgroups: those given, or else those of the plan. The files in
// the state directory stay; they are the caller's to remove. It may be called
// again, and for a directory that is gone.
//
// Only processes that wrote themselves down in the directory are killed, never
// another that has one's pid today.
func Destroy(dir string, groups ...cgroup.Spec) error {
	if len(groups) == 0 {
		plan, err := executor.ReadPlan(dir)
		if err == nil {
			groups = append(groups, plan.Cgroup)
		}
	}
	id, err := executor.ReadIdentity(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	// A frozen guest dies as soon as it is thawed, and a frozen executor writes
	// that down then.
	errs := []error{signalIfThere(id.Guest, syscall.SIGKILL)}
	for _, spec := range groups {
		errs = append(errs, thaw(spec))
	}
	errs = append(errs,
		end(id.Executor, syscall.SIGTERM, syscall.SIGKILL),
		end(id.Guest, syscall.SIGKILL))
	for _, spec := range groups {
		errs = append(errs, removeGroup(spec))
	}
	return errors.Join(errs...)
}

func thaw(spec cgroup.Spec) error {
	group, err := spec.Open()
	if err != nil {
		return err
	}
	return group.Thaw()
}

func removeGroup(spec cgroup.Spec) error {
	group, err := spec.Open()
	if err != nil {
		return err
	}
	return group.Remove()
}

func signalIfThere(p executor.Process, sig syscall.Signal) error {
	err := p.Signal(sig)
	if errors.Is(err, executor.ErrGone) {
		return nil
	}
	return err
}

// end sends a process one signal after the other, each killTimeout after the one
// before, until it is gone.
func end(p executor.Process, signals ...syscall.Signal) error {
	fd, err := p.Open()
	if errors.Is(err, executor.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	for _, sig := range signals {
		err := unix.PidfdSendSignal(fd, sig, nil, 0)
		if errors.Is(err, unix.ESRCH) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("send signal %d to process %d: %w", int(sig), p.Pid, err)
		}
		gone, err := wait(fd, killTimeout)
		if gone || err != nil {
			return err
		}
	}
	return fmt.Errorf("process %d does not end by SIGKILL either: /proc/%d/stack tells what it waits for", p.Pid, p.Pid)
}

// wait waits until the process of a pidfd has ended.
func wait(pidfd int, timeout time.Duration) (bool, error) {
	deadline := time.Now().Add(timeout)
	for {
		left := max(time.Until(deadline), 0)
		fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(left.Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("wait for a process: %w", err)
		}
		return n > 0, nil
	}
}
