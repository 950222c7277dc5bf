// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/image/spec"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// signalTimeout limits how long an executor may take to deliver a signal.
const signalTimeout = 10 * time.Second

// WaitTask sends how the task ended, once, and then closes the channel. The
// channel is also closed when the context or the plugin ends.
func (d *Driver) WaitTask(ctx context.Context, id string) (<-chan *drivers.ExitResult, error) {
	h, err := d.tasks.get(id)
	if err != nil {
		return nil, err
	}
	out := make(chan *drivers.ExitResult, 1) // the receiver may be gone
	go func() {
		defer close(out)
		select {
		case <-h.ended:
			out <- h.exitResult()
		case <-ctx.Done():
		case <-d.ctx.Done():
		}
	}()
	return out, nil
}

// StopTask sends the guest the job's kill_signal, by default the image's StopSignal or
// SIGTERM. If the guest has not ended after the timeout, it is killed. StopTask returns
// when the guest has ended. A start that is under way is canceled; StopTask then returns
// when it has been undone.
func (d *Driver) StopTask(id string, timeout time.Duration, signal string) error {
	if undone, err := d.stopStarting(id); undone || err != nil {
		return err
	}
	h, err := d.tasks.get(id)
	if err != nil {
		return err
	}
	if !h.running() {
		return nil
	}
	h.requestStop()
	if err := h.client.Stop(d.ctx, h.killSignal(signal), timeout); err != nil {
		return fmt.Errorf("stop the unikernel: %w", err)
	}
	return awaitEnded(d.ctx, h)
}

// awaitEnded waits until the end of a guest has been recorded.
func awaitEnded(ctx context.Context, h *handle) error {
	select {
	case <-h.ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// SignalTask sends a signal to the program in the guest if the guest has a
// control device. Otherwise the guest's process receives it, and only
// terminatingSignals are possible.
func (d *Driver) SignalTask(id, signal string) error {
	h, err := d.tasks.get(id)
	if err != nil {
		return err
	}
	sig, err := spec.ParseSignal(signal)
	if err != nil {
		return err
	}
	if !h.running() {
		return errors.New("cannot signal the unikernel: it has ended")
	}
	if !h.state.Control && !slices.Contains(terminatingSignals, sig) {
		return fmt.Errorf("%s cannot reach the program in this unikernel, because it declares no net device %q: "+
			"only SIGTERM, SIGINT, SIGQUIT, SIGHUP and SIGKILL are possible, and each ends the unikernel",
			signal, unikernel.DeviceControl)
	}
	ctx, cancel := context.WithTimeout(d.ctx, signalTimeout)
	defer cancel()
	if err := h.client.Signal(ctx, sig); err != nil {
		return fmt.Errorf("send %s to the unikernel: %w", signal, err)
	}
	return nil
}

// DestroyTask removes a task and everything that it owns. A running task is
// killed if force is set, and is an error otherwise. The same is true of a start that
// is under way, which is canceled and undone.
func (d *Driver) DestroyTask(id string, force bool) error {
	if force {
		if undone, err := d.stopStarting(id); undone || err != nil {
			return err
		}
	}
	h, err := d.tasks.get(id)
	if errors.Is(err, errStarting) {
		return fmt.Errorf("cannot destroy a task without force: %w", err)
	}
	if err != nil {
		return err
	}
	if h.running() && !force {
		return errors.New("cannot destroy a running task without force")
	}
	return d.destroy(d.ctx, h)
}

func (d *Driver) destroy(ctx context.Context, h *handle) error {
	if h.running() {
		h.requestStop()
		if err := h.client.Stop(ctx, syscall.SIGKILL, 0); err != nil {
			h.log.Warn("cannot stop the unikernel through its executor; killing both", "error", err)
		} else if err := awaitEnded(ctx, h); err != nil {
			return err
		}
	}
	if err := removeTask(ctx, h.state.Dir, h.record(), h.state.known()); err != nil {
		return fmt.Errorf("destroy the task: %w", err)
	}
	d.tasks.drop(h.task.ID)
	if h.state.Image != "" {
		d.images.noteUnused()
	}
	return nil
}

// InspectTask returns the state of a task, with the current counters of its network.
func (d *Driver) InspectTask(id string) (*drivers.TaskStatus, error) {
	h, err := d.tasks.get(id)
	if err != nil {
		return nil, err
	}
	status := h.status()
	if status.State == drivers.TaskStateRunning {
		networkAttributes(status.DriverAttributes, h.state.allLinks(), link.counters)
	}
	return status, nil
}
