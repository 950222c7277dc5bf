// SPDX-License-Identifier: MPL-2.0

package client

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
)

// Known is what a caller knows of a task by itself: its state directory may be
// lost, while its processes run on. Any of it may be zero.
type Known struct {
	Executor, Guest executor.Process
	Cgroup          cgroup.Spec // none: that of the plan
}

// Destroy kills what is left of a task, its executor and its guest, and removes
// its cgroups. The files in the state directory stay; they are the caller's to
// remove. It may be called again, and for a directory that is gone.
//
// Only processes that are known, or wrote themselves down in the directory, are
// killed, never another that has one's pid today.
func Destroy(dir string, known Known) error {
	spec := known.Cgroup
	if spec.Version == cgroup.None {
		if plan, err := executor.ReadPlan(dir); err == nil {
			spec = plan.Cgroup
		}
	}
	written, err := executor.ReadIdentity(dir)
	if unreadable := (*fs.PathError)(nil); errors.As(err, &unreadable) && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// Executors write whole files. What a loss of power has made of one tells
	// nothing, and nobody that it could tell of has outlived that.
	who := []executor.Identity{written, {Executor: known.Executor, Guest: known.Guest}}
	// A frozen guest dies as soon as it is thawed, and a frozen executor writes
	// that down then.
	var errs []error
	for _, id := range who {
		errs = append(errs, signalIfThere(id.Guest, syscall.SIGKILL))
	}
	errs = append(errs, thaw(spec))
	for _, id := range who {
		errs = append(errs,
			end(id.Executor, syscall.SIGTERM, syscall.SIGKILL),
			end(id.Guest, syscall.SIGKILL))
	}
	return errors.Join(append(errs, removeGroup(spec))...)
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
