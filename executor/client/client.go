// SPDX-License-Identifier: MPL-2.0

// Package client starts executors, finds them again and communicates with them.
package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
)

var (
	// ErrNotRunning reports that a state directory has no running executor. If
	// the executor recorded the guest's end, ReadExit returns it.
	ErrNotRunning = errors.New("no executor is running")
	// ErrLost reports that an executor ended without recording the end of its
	// guest: it was killed, or the machine went down. The guest is gone too.
	ErrLost = errors.New("the executor was lost, and the guest with it")
)

const (
	dialTimeout = 5 * time.Second        // for the first response of an executor
	retryPause  = 100 * time.Millisecond // between attempts to reach a live executor
	killTimeout = 5 * time.Second        // for a process to end after a signal
)

// A Client communicates with the executor of one task. It keeps nothing open. Its
// methods may be called concurrently.
type Client struct {
	dir          string
	id           executor.Identity
	version      int   // of the protocol
	incompatible error // ErrIncompatible, or nil
	cgroup       cgroup.Spec
	group        cgroup.Group
}

// Dial finds the running executor of a state directory. It returns ErrNotRunning
// if the executor has ended, and context.DeadlineExceeded if it does not answer
// in time. An incompatible executor is no error; see Client.Compatible.
func Dial(ctx context.Context, dir string) (*Client, error) {
	plan, id, err := liveExecutor(dir)
	if err != nil {
		return nil, err
	}
	group, err := plan.Cgroup.Group()
	if err != nil {
		return nil, err
	}
	c := newClient(dir, id, plan.Cgroup, group)
	if c.incompatible != nil {
		return c, nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if _, err := c.State(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

func newClient(dir string, id executor.Identity, spec cgroup.Spec, group cgroup.Group) *Client {
	version, incompatible := negotiate(id)
	return &Client{dir: dir, id: id, version: version, incompatible: incompatible, cgroup: spec, group: group}
}

// liveExecutor reads the plan and the identity of a running executor from its
// state directory.
func liveExecutor(dir string) (executor.Plan, executor.Identity, error) {
	id, err := executor.ReadIdentity(dir)
	if errors.Is(err, os.ErrNotExist) {
		return executor.Plan{}, id, fmt.Errorf("%s: %w", dir, ErrNotRunning)
	}
	if err != nil {
		return executor.Plan{}, id, err
	}
	plan, err := executor.ReadPlan(dir)
	if err != nil {
		return plan, id, err
	}
	if plan.Task != id.Task {
		return plan, id, fmt.Errorf("%s: the plan is for task %q, but the executor runs task %q", dir, plan.Task, id.Task)
	}
	if !id.Executor.Alive() {
		return plan, id, fmt.Errorf("%s: process %d: %w", dir, id.Executor.Pid, ErrNotRunning)
	}
	return plan, id, nil
}

// ReadExit reads the exit status on disk. It returns fs.ErrNotExist if it is
// missing.
func ReadExit(dir string) (executor.Exit, error) { return executor.ReadExit(dir) }

// Identity returns the processes of the executor and its guest.
func (c *Client) Identity() executor.Identity { return c.id }

// Compatible returns ErrIncompatible if the executor supports no protocol version
// of this plugin. The task runs on even then: Wait and Stats work, Stop kills
// the guest at once, Signal and State return ErrIncompatible.
func (c *Client) Compatible() error { return c.incompatible }

// State requests the state of the executor and its guest.
func (c *Client) State(ctx context.Context) (executor.State, error) {
	r, err := c.request(ctx, executor.Request{Op: executor.OpState})
	if err != nil {
		return executor.State{}, err
	}
	if r.State == nil || r.State.Executor != c.id.Executor {
		return executor.State{}, fmt.Errorf("%s: the response is not from process %d: %w", c.dir, c.id.Executor.Pid, ErrNotRunning)
	}
	return *r.State, nil
}

// Stats reads the resource usage of the task without a request to the executor.
// It returns ErrNotRunning when the guest has ended.
func (c *Client) Stats(ctx context.Context) (executor.Stats, error) {
	if err := ctx.Err(); err != nil {
		return executor.Stats{}, err
	}
	s, err := executor.ReadStats(c.dir, c.id, c.group)
	if errors.Is(err, executor.ErrGone) {
		err = fmt.Errorf("%w: %w", ErrNotRunning, err)
	}
	return s, err
}

// Signal sends a signal to the guest: through its control device if it has one,
// otherwise to its process.
func (c *Client) Signal(ctx context.Context, sig syscall.Signal) error {
	_, err := c.request(ctx, executor.Request{Op: executor.OpSignal, Signal: int(sig)})
	return err
}

// Wait waits for the guest's end. It returns ErrLost if the executor is gone and
// has left no exit status.
func (c *Client) Wait(ctx context.Context) (executor.Exit, error) {
	return c.requestExit(ctx, executor.Request{Op: executor.OpWait})
}

// requestExit sends a request that is answered when the guest has ended. It reads
// the exit status from disk if the executor ends before it has answered.
func (c *Client) requestExit(ctx context.Context, req executor.Request) (executor.Exit, error) {
	for {
		r, err := c.request(ctx, req)
		if err == nil && r.Exit != nil {
			return *r.Exit, nil
		}
		if err == nil {
			err = fmt.Errorf("executor %d: the response to %q contains no exit status", c.id.Executor.Pid, req.Op)
		}
		var refused *RefusedError
		if errors.As(err, &refused) || ctx.Err() != nil {
			return executor.Exit{}, err
		}
		if !c.id.Executor.Alive() {
			exit, exitErr := ReadExit(c.dir)
			if exitErr == nil {
				return exit, nil
			}
			return executor.Exit{}, fmt.Errorf("executor %d of %s: %w (%w)", c.id.Executor.Pid, c.dir, ErrLost, exitErr)
		}
		// The executor is about to end, or is incompatible.
		if err := pause(ctx); err != nil {
			return executor.Exit{}, err
		}
	}
}

// Stop sends a signal to the guest, as Signal does, kills the guest after the
// timeout, and returns when it has ended. Stopping an ended guest is no error.
func (c *Client) Stop(ctx context.Context, sig syscall.Signal, timeout time.Duration) error {
	if c.incompatible != nil {
		return c.destroy(ctx)
	}
	bounded, cancel := context.WithTimeout(ctx, timeout+killTimeout)
	defer cancel()
	_, err := c.requestExit(bounded, executor.Request{
		Op: executor.OpStop, Signal: int(sig), TimeoutMS: timeout.Milliseconds(),
	})
	switch {
	case errors.Is(err, ErrLost):
		return nil
	case err != nil && ctx.Err() == nil && bounded.Err() != nil:
		// The executor hangs, is frozen, or has lost its socket.
		return c.destroy(ctx)
	default:
		return err
	}
}

func (c *Client) destroy(ctx context.Context) error {
	return Destroy(ctx, c.dir, Known{Executor: c.id.Executor, Guest: c.id.Guest, Cgroup: c.cgroup})
}
