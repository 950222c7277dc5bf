// SPDX-License-Identifier: MPL-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
)

// Known is the caller's own knowledge of a task, for a task that runs on although
// its state directory is lost. Any field may be zero.
type Known struct {
	Executor, Guest executor.Process
	Cgroup          cgroup.Spec // zero: the one in the plan
}

// Destroy kills the executor, the guest and the file server of a task, and removes its cgroups. It
// leaves the files in the state directory to the caller. It may be called again,
// and for a missing directory.
//
// It kills only the processes in known and in the directory's identity file,
// never another process that has the same PID today.
//
// When ctx ends, Destroy still sends all signals, but no longer waits for their
// effect. It then returns ctx.Err(); another call completes the work.
func Destroy(ctx context.Context, dir string, known Known) error {
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
	// An identity that cannot be decoded was damaged by a power loss, because
	// executors replace the file as a whole. No process outlives a power loss.
	group, err := spec.Group()
	if err != nil { // cgroups of an unknown kind keep no process alive
		group, _ = cgroup.Spec{}.Group()
	}
	errs := []error{err}
	ids := []executor.Identity{written, {Executor: known.Executor, Guest: known.Guest}}
	// Killing the guest before thawing it lets a frozen executor record its end.
	for _, id := range ids {
		errs = append(errs, signalUnlessGone(id.Guest, syscall.SIGKILL))
	}
	errs = append(errs, group.Thaw())
	for _, id := range ids {
		errs = append(errs,
			terminate(ctx, id.Executor, syscall.SIGTERM, syscall.SIGKILL),
			terminate(ctx, id.Guest, syscall.SIGKILL),
			terminate(ctx, id.Files, syscall.SIGKILL))
	}
	return errors.Join(append(errs, group.Remove(ctx))...)
}

func signalUnlessGone(p executor.Process, sig syscall.Signal) error {
	err := p.Signal(sig)
	if errors.Is(err, executor.ErrGone) {
		return nil
	}
	return err
}

// terminate sends signals to a process until it is gone, each killTimeout after
// the previous one. When ctx ends, it sends the remaining signals at once.
func terminate(ctx context.Context, p executor.Process, signals ...syscall.Signal) error {
	pidfd, err := p.Pidfd()
	if errors.Is(err, executor.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(pidfd) }()
	for _, sig := range signals {
		err := unix.PidfdSendSignal(pidfd, sig, nil, 0)
		if errors.Is(err, unix.ESRCH) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("send signal %d to process %d: %w", int(sig), p.Pid, err)
		}
		gone, err := waitGone(ctx, pidfd, killTimeout)
		if gone || err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("wait for the end of process %d: %w", p.Pid, ctx.Err())
	}
	return fmt.Errorf("process %d survives SIGKILL: see /proc/%d/stack for the kernel function that blocks it", p.Pid, p.Pid)
}

// waitGone reports whether the process of a pidfd ends before the timeout and
// before the end of ctx.
func waitGone(ctx context.Context, pidfd int, timeout time.Duration) (bool, error) {
	for deadline := time.Now().Add(timeout); ; {
		left := max(time.Until(deadline), 0)
		if ctx.Err() != nil {
			left = 0
		}
		// Waiting for at most retryPause at a time notices the end of ctx.
		fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(min(left, retryPause).Milliseconds()))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return false, fmt.Errorf("wait for the end of a process: %w", err)
		case n > 0 || left == 0:
			return n > 0, nil
		}
	}
}
