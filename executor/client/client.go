// SPDX-License-Identifier: MPL-2.0

// Package client starts executors, finds them again and talks to them.
package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
)

var (
	// ErrNotRunning says that no executor works for a state directory. If the
	// guest's end was seen, ReadExit tells of it.
	ErrNotRunning = errors.New("no executor is running")
	// ErrLost says that an executor ended without leaving word how its guest
	// did: it was killed, or the machine went down. The guest is gone too.
	ErrLost = errors.New("the executor was lost, and the guest with it")
)

const (
	dialTimeout = 5 * time.Second        // for an executor to answer at once
	retryPause  = 100 * time.Millisecond // between attempts to reach a live executor
	killTimeout = 5 * time.Second        // for killed processes to be gone
)

// A Client talks to the executor of one task. It holds nothing open; its
// methods may be called at the same time.
type Client struct {
	dir    string
	id     executor.Identity
	cgroup cgroup.Spec
	group  cgroup.Group
}

// Dial finds the running executor of a state directory: the very process that
// wrote itself down there, at work for the task of the plan. It returns
// ErrNotRunning if there is none.
func Dial(dir string) (*Client, error) {
	plan, id, err := identify(dir)
	if err != nil {
		return nil, err
	}
	group, err := plan.Cgroup.Open()
	if err != nil {
		return nil, err
	}
	c := &Client{dir: dir, id: id, cgroup: plan.Cgroup, group: group}
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	if _, err := c.State(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// identify reads who works for a state directory, and checks that it lives.
func identify(dir string) (executor.Plan, executor.Identity, error) {
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
		return plan, id, fmt.Errorf("%s: the plan is of task %q, the executor of task %q", dir, plan.Task, id.Task)
	}
	if !id.Executor.Alive() {
		return plan, id, fmt.Errorf("%s: process %d: %w", dir, id.Executor.Pid, ErrNotRunning)
	}
	return plan, id, nil
}

// ReadExit reads the durable exit status of a state directory. It returns
// fs.ErrNotExist if there is none.
func ReadExit(dir string) (executor.Exit, error) { return executor.ReadExit(dir) }

// Identity tells who the executor and its guest are.
func (c *Client) Identity() executor.Identity { return c.id }

// State asks the executor what it is doing.
func (c *Client) State(ctx context.Context) (executor.State, error) {
	r, err := c.ask(ctx, executor.Request{Op: executor.OpState})
	if err != nil {
		return executor.State{}, err
	}
	if r.State == nil || r.State.Executor != c.id.Executor {
		return executor.State{}, fmt.Errorf("%s: another than process %d answers: %w", c.dir, c.id.Executor.Pid, ErrNotRunning)
	}
	return *r.State, nil
}

// Stats reads what the task has used. The executor is not asked for it. It
// returns ErrNotRunning when the guest has ended.
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

// Signal sends the guest a signal: through its control device if it has one,
// else to its process.
func (c *Client) Signal(ctx context.Context, sig syscall.Signal) error {
	_, err := c.ask(ctx, executor.Request{Op: executor.OpSignal, Signal: int(sig)})
	return err
}

// Wait waits until the guest has ended. It returns ErrLost if the executor is
// gone and has left no exit status.
func (c *Client) Wait(ctx context.Context) (executor.Exit, error) {
	return c.untilEnd(ctx, executor.Request{Op: executor.OpWait})
}

// untilEnd sends a request that is answered when the guest has ended, and
// falls back on the exit status on disk if the executor goes first.
func (c *Client) untilEnd(ctx context.Context, req executor.Request) (executor.Exit, error) {
	for {
		r, err := c.ask(ctx, req)
		if err == nil && r.Exit != nil {
			return *r.Exit, nil
		}
		if err == nil {
			err = fmt.Errorf("executor %d: answer to %q without exit status", c.id.Executor.Pid, req.Op)
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
		// It lives, but is on its way out.
		if err := pause(ctx); err != nil {
			return executor.Exit{}, err
		}
	}
}

// Stop sends the guest a signal, as Signal does, has it killed after the
// timeout, and returns when it has ended. A guest that has ended already is no
// error.
func (c *Client) Stop(ctx context.Context, sig syscall.Signal, timeout time.Duration) error {
	bounded, cancel := context.WithTimeout(ctx, timeout+killTimeout)
	defer cancel()
	_, err := c.untilEnd(bounded, executor.Request{
		Op: executor.OpStop, Signal: int(sig), TimeoutMS: timeout.Milliseconds(),
	})
	switch {
	case errors.Is(err, ErrLost):
		return nil
	case err != nil && ctx.Err() == nil && bounded.Err() != nil:
		// The executor does not do it: it hangs, is frozen, or has lost its socket.
		return Destroy(c.dir, Known{Executor: c.id.Executor, Guest: c.id.Guest, Cgroup: c.cgroup})
	default:
		return err
	}
}

// socket is a path to the executor's socket that is short enough for an
// address (108 bytes), however long the directory's is. The directory must be
// kept open meanwhile.
func socket(dir *os.File) string {
	return filepath.Join("/proc/self/fd", fmt.Sprint(dir.Fd()), executor.SocketFile)
}
