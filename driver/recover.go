// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/client"
)

// RecoverTask finds a task that an earlier plugin started: its running guest, or
// its exit status. If there is neither, RecoverTask removes the rest of the task
// before it returns the error. Nomad then starts the task again, and this plugin
// cannot destroy a task that it does not know.
func (d *Driver) RecoverTask(h *drivers.TaskHandle) error {
	if h == nil || h.Config == nil {
		return errors.New("cannot recover a task without a handle")
	}
	_, err := d.tasks.reserve(d.ctx, h.Config)
	if errors.Is(err, errStarted) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.tasks.release(h.Config.ID, nil)
	dir := taskDirPath(d.config.StateDir, h.Config.ID)
	if err := d.strays.forget(dir); err != nil {
		return fmt.Errorf("recover task %s: %w", h.Config.ID, err)
	}
	state, err := decodeState(h)
	if err == nil {
		err = d.reattach(h.Config, state)
	}
	if err == nil {
		return nil
	}
	if d.ctx.Err() != nil { // the next plugin recovers the task
		return fmt.Errorf("recover task %s: %w", h.Config.ID, errors.Join(err, d.ctx.Err()))
	}
	return errors.Join(fmt.Errorf("recover task %s: %w", h.Config.ID, err), d.removeLost(h, state, err))
}

// reattach connects to the executor of a task, or reads the exit status that it
// left.
func (d *Driver) reattach(task *drivers.TaskConfig, state taskState) error {
	c, dialErr := d.dial(state.Dir)
	if dialErr == nil {
		if c.Identity().Executor != state.Executor {
			return fmt.Errorf("the task's executor is process %d, but its handle names process %d",
				c.Identity().Executor.Pid, state.Executor.Pid)
		}
		if err := c.Compatible(); err != nil {
			d.taskLog(task).Warn("recovered a task whose executor is of an incompatible version", "error", err)
			d.events.emit(task, "The plugin cannot fully control the task: "+err.Error(), nil)
		}
		d.track(task, state, c)
		return nil
	}
	exit, err := client.ReadExit(state.Dir)
	switch {
	case err == nil:
		d.trackEnded(task, state, exit)
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return dialErr
	}
	return errors.Join(dialErr, err)
}

// dialTimeout limits how long a live executor may take to answer a new plugin.
// A host that has just come under load with all of its tasks is slow.
const dialTimeout = 30 * time.Second

// dial connects to an executor. It tries again for as long as a live executor is
// too busy to answer.
func (d *Driver) dial(dir string) (*client.Client, error) {
	for deadline := time.Now().Add(dialTimeout); ; {
		c, err := client.Dial(d.ctx, dir)
		busy := errors.Is(err, context.DeadlineExceeded)
		if !busy || time.Now().After(deadline) || d.ctx.Err() != nil {
			return c, err
		}
	}
}

// removeLost removes a task that could not be recovered, for the given reason. A
// guest that a newer plugin started is spared: it becomes a stray, which the
// next start of the task replaces.
func (d *Driver) removeLost(h *drivers.TaskHandle, state taskState, reason error) error {
	log := d.taskLog(h.Config)
	dir := state.Dir
	if dir == "" {
		dir = taskDirPath(d.config.StateDir, h.Config.ID)
	}
	r, err := readRecord(dir)
	if err != nil {
		r = record{
			Task: h.Config.ID, AllocID: h.Config.AllocID, Name: h.Config.Name, AllocDir: h.Config.AllocDir,
			Netns: state.Netns, Cgroup: state.Cgroup, Links: state.allLinks(),
		}
	}
	if h.Version > handleVersion && !errors.Is(reason, client.ErrNotRunning) {
		log.Error("cannot recover a task of a newer plugin; leaving it alone until it is started again", "error", reason)
		d.strays.add(dir, r)
		return nil
	}
	log.Warn("cannot recover the task; removing what is left of it", "error", reason)
	if err := removeTask(d.ctx, dir, r, state.known()); err != nil {
		d.strays.add(dir, r)
		return fmt.Errorf("remove the task: %w", err)
	}
	return nil
}
