// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/executor/client"
)

// RecoverTask finds a task again that an earlier plugin started: the running
// guest, or how it ended meanwhile. If there is neither, it removes what is
// left before it returns the error, since Nomad will start the task anew, and
// what it then asks this plugin to destroy the plugin does not know.
func (d *Driver) RecoverTask(h *drivers.TaskHandle) error {
	if h == nil || h.Config == nil {
		return errors.New("cannot recover a task without a handle")
	}
	release, err := d.tasks.reserve(h.Config)
	if errors.Is(err, errStarted) {
		return nil
	}
	if err != nil {
		return err
	}
	defer release()
	d.strays.claim(taskDir(d.config.StateDir, h.Config.ID))
	state, err := decodeState(h)
	if err == nil {
		err = d.find(h.Config, state)
	}
	if err == nil {
		return nil
	}
	d.taskLog(h.Config).Warn("cannot recover the task, removing what is left of it", "error", err)
	return errors.Join(fmt.Errorf("recover task %s: %w", h.Config.ID, err), d.clearUnknown(h.Config, state))
}

// decodeState reads a handle. Where it is of a version that this plugin does
// not know, the state is empty.
func decodeState(h *drivers.TaskHandle) (taskState, error) {
	var state taskState
	if h.Version != handleVersion {
		return state, fmt.Errorf("its handle has version %d, and this plugin knows version %d", h.Version, handleVersion)
	}
	if err := h.GetDriverState(&state); err != nil {
		return taskState{}, fmt.Errorf("decode the state of the driver: %w", err)
	}
	return state, nil
}

// find reaches the executor of a task, or reads what it left.
func (d *Driver) find(task *drivers.TaskConfig, state taskState) error {
	c, dialErr := d.dial(state.Dir)
	if dialErr == nil {
		if c.Identity().Executor != state.Executor {
			return fmt.Errorf("process %d holds the task, not %d", c.Identity().Executor.Pid, state.Executor.Pid)
		}
		d.adopt(task, state, c)
		return nil
	}
	exit, err := client.ReadExit(state.Dir)
	switch {
	case err == nil:
		d.adoptEnded(task, state, exit)
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return dialErr
	}
	return errors.Join(dialErr, err)
}

// dialPatience is how long a live executor may keep a new plugin waiting: on a
// host that has just come under load with all of its tasks, no answer yet is no
// reason to end one.
const dialPatience = 30 * time.Second

// dial reaches an executor, or finds that it is gone.
func (d *Driver) dial(dir string) (*client.Client, error) {
	for deadline := time.Now().Add(dialPatience); ; {
		c, err := client.Dial(d.ctx, dir)
		busy := errors.Is(err, context.DeadlineExceeded)
		if !busy || time.Now().After(deadline) || d.ctx.Err() != nil {
			return c, err
		}
	}
}

// adoptEnded makes a task known that ended while no plugin was there.
func (d *Driver) adoptEnded(task *drivers.TaskConfig, state taskState, exit executor.Exit) {
	h := d.newHandle(task, state)
	d.ended(h, exit)
	d.tasks.put(h)
}

// clearUnknown removes what is left of a task whose state may be empty: then
// the record in its directory tells what it owned.
func (d *Driver) clearUnknown(task *drivers.TaskConfig, state taskState) error {
	dir := taskDir(d.config.StateDir, task.ID)
	if state.Dir != "" {
		dir = state.Dir
	}
	r, err := readRecord(dir)
	if err != nil {
		r = record{Netns: state.Netns, Tap: state.Tap, Cgroup: state.Cgroup}
	}
	if err := clearAway(d.ctx, dir, r, state.known()); err != nil {
		return fmt.Errorf("clear it away: %w", err)
	}
	return nil
}
