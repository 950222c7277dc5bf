// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/client"
	"github.com/lkl-nomad/nomad-driver-lkl/network"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// signalTimeout bounds the time for an executor to deliver a signal.
const signalTimeout = 10 * time.Second

// WaitTask sends how the task ended, once, as soon as it has. The channel is
// closed then, or when the context or the plugin ends.
func (d *Driver) WaitTask(ctx context.Context, id string) (<-chan *drivers.ExitResult, error) {
	h, err := d.tasks.get(id)
	if err != nil {
		return nil, err
	}
	out := make(chan *drivers.ExitResult, 1) // so that nobody has to take it
	go func() {
		defer close(out)
		select {
		case <-h.done:
			out <- h.result()
		case <-ctx.Done():
		case <-d.ctx.Done():
		}
	}()
	return out, nil
}

// StopTask sends the guest the job's kill_signal, SIGTERM without one or with
// one that is no signal, and kills it if it has not ended by the timeout. It
// returns when it has ended.
func (d *Driver) StopTask(id string, timeout time.Duration, name string) error {
	h, err := d.tasks.get(id)
	if err != nil {
		return err
	}
	sig := syscall.SIGTERM
	if name != "" {
		if sig, err = parseSignal(name); err != nil {
			// An error would leave the job with a task that nobody can stop.
			h.log.Warn("kill_signal is none, stopping by SIGTERM", "error", err)
			sig = syscall.SIGTERM
		}
	}
	if !h.running() {
		return nil
	}
	h.stop()
	if err := h.client.Stop(d.ctx, sig, timeout); err != nil {
		return fmt.Errorf("stop the unikernel: %w", err)
	}
	return d.awaitEnd(h)
}

// awaitEnd waits until the plugin has taken note of a guest's end.
func (d *Driver) awaitEnd(h *handle) error {
	select {
	case <-h.done:
		return nil
	case <-d.ctx.Done():
		return d.ctx.Err()
	}
}

// SignalTask sends the guest a signal: to the program in it, if it has a control
// device, else to its process, which takes none but those that end it.
func (d *Driver) SignalTask(id, name string) error {
	h, err := d.tasks.get(id)
	if err != nil {
		return err
	}
	sig, err := parseSignal(name)
	if err != nil {
		return err
	}
	if !h.running() {
		return errors.New("the unikernel has ended: there is nothing to signal")
	}
	if !h.state.Control && !slices.Contains(ending, sig) {
		return fmt.Errorf("%s cannot reach the program in this unikernel, which declares no net device %q: "+
			"only SIGTERM, SIGINT, SIGQUIT, SIGHUP and SIGKILL do anything, and each ends it", name, unikernel.DeviceControl)
	}
	ctx, cancel := context.WithTimeout(d.ctx, signalTimeout)
	defer cancel()
	if err := h.client.Signal(ctx, sig); err != nil {
		return fmt.Errorf("send %s to the unikernel: %w", unix.SignalName(sig), err)
	}
	return nil
}

// ending are the signals that one sends to end a program. A guest without a
// control device ends by any of them; others would too, or do nothing, and
// whoever sends them means something else.
var ending = []syscall.Signal{
	syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGKILL,
}

// otherNames are the second names that some signals have (signal(7)).
var otherNames = map[string]syscall.Signal{
	"SIGIOT": syscall.SIGABRT, "SIGCLD": syscall.SIGCHLD, "SIGPOLL": syscall.SIGIO,
}

// parseSignal reads a signal's name, with or without SIG, or its number.
func parseSignal(name string) (syscall.Signal, error) {
	upper := strings.ToUpper(name)
	for _, try := range []string{upper, "SIG" + upper} {
		if sig := unix.SignalNum(try); sig != 0 {
			return sig, nil
		}
		if sig, ok := otherNames[try]; ok {
			return sig, nil
		}
	}
	if n, err := strconv.Atoi(name); err == nil && unix.SignalName(syscall.Signal(n)) != "" {
		return syscall.Signal(n), nil
	}
	return 0, fmt.Errorf("%q is not a signal of Linux, such as SIGTERM", name)
}

// DestroyTask forgets a task and removes all that it owned. A running one is
// killed if force is set, and refused otherwise.
func (d *Driver) DestroyTask(id string, force bool) error {
	h, err := d.tasks.get(id)
	if err != nil {
		return err
	}
	if h.running() && !force {
		return errors.New("cannot destroy a running task without force")
	}
	return d.destroy(h)
}

func (d *Driver) destroy(h *handle) error {
	if h.running() {
		h.stop()
		if err := h.client.Stop(d.ctx, syscall.SIGKILL, 0); err != nil {
			h.log.Warn("cannot stop the unikernel in order to destroy it", "error", err)
		} else if err := d.awaitEnd(h); err != nil {
			return err
		}
	}
	if err := clearAway(d.ctx, h.state.Dir, h.record(), h.state.known()); err != nil {
		return fmt.Errorf("destroy the task: %w", err)
	}
	d.tasks.drop(h.task.ID)
	return nil
}

// InspectTask tells the state of a task.
func (d *Driver) InspectTask(id string) (*drivers.TaskStatus, error) {
	h, err := d.tasks.get(id)
	if err != nil {
		return nil, err
	}
	return h.status(), nil
}

// record is what clearAway needs to know of a task.
func (h *handle) record() record {
	return record{
		Task: h.task.ID, AllocID: h.task.AllocID, Name: h.task.Name, AllocDir: h.task.AllocDir,
		Netns: h.state.Netns, Tap: h.state.Tap, Cgroup: h.state.Cgroup,
	}
}

// clearAway removes everything that a task owned: its processes and control
// groups, the traffic that was led to its tap, and its directory, last, so
// that it can be tried again. What is known of its processes counts besides what
// the directory tells.
func clearAway(ctx context.Context, dir string, r record, known client.Known) error {
	known.Cgroup = r.Cgroup
	if err := client.Destroy(ctx, dir, known); err != nil {
		return fmt.Errorf("end what is left of it: %w", err)
	}
	if r.Tap != "" {
		if err := network.Detach(r.Netns, r.Tap); err != nil {
			return fmt.Errorf("detach tap %s: %w", r.Tap, err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove its directory: %w", err)
	}
	return nil
}
