// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
	"github.com/lkl-nomad/nomad-driver-lkl/executor/client"
)

// taskState is what Nomad keeps of a task for RecoverTask: enough to find all
// of it again. A change of meaning takes another handleVersion.
type taskState struct {
	Dir             string // the task's state directory
	Tender          string
	Executor, Guest executor.Process
	UID             int
	Control         bool // signals reach the program in the guest

	Kernel       string // in the job's words
	KernelDigest string // sha256
	Flavor       string
	GuestMemory  uint64 // bytes

	IP, MAC, Netns, Tap string // "" without a network

	Cgroup    cgroup.Spec
	StartedAt int64 // nanoseconds since 1970
}

// known is what the handle tells of a task whose state directory is lost.
func (s taskState) known() client.Known {
	return client.Known{Executor: s.Executor, Guest: s.Guest, Cgroup: s.Cgroup}
}

// attributes are what InspectTask shows of it.
func (s taskState) attributes() map[string]string {
	all := map[string]string{
		"tender":        s.Tender,
		"flavor":        s.Flavor,
		"pid":           strconv.Itoa(s.Guest.Pid),
		"executor_pid":  strconv.Itoa(s.Executor.Pid),
		"kernel":        s.Kernel,
		"kernel_sha256": s.KernelDigest,
		"guest_memory":  strconv.FormatUint(s.GuestMemory, 10),
		"cgroup":        cgroupPath(s.Cgroup),
		"ip":            s.IP,
		"mac":           s.MAC,
		"tap":           s.Tap,
		"netns":         s.Netns,
	}
	for name, value := range all {
		if value == "" {
			delete(all, name)
		}
	}
	return all
}

// handle is a task that the plugin knows.
type handle struct {
	task  *drivers.TaskConfig
	state taskState
	log   hclog.Logger
	// client talks to the executor; nil if the task had ended when it was
	// recovered.
	client *client.Client

	done chan struct{} // closed when the guest has ended

	mu        sync.Mutex
	exit      *drivers.ExitResult // nil while it runs
	stopping  bool                // its end is no surprise
	completed time.Time
	dropped   uint64 // bytes of console that were told of
}

// result is how the task ended; nil while it runs.
func (h *handle) result() *drivers.ExitResult {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.exit.Copy()
}

func (h *handle) running() bool { return h.result() == nil }

func (h *handle) status() *drivers.TaskStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	status := &drivers.TaskStatus{
		ID: h.task.ID, Name: h.task.Name, State: drivers.TaskStateRunning,
		StartedAt: time.Unix(0, h.state.StartedAt), CompletedAt: h.completed,
		ExitResult: h.exit.Copy(), DriverAttributes: h.state.attributes(),
	}
	if h.exit != nil {
		status.State = drivers.TaskStateExited
	}
	return status
}

// stop notes that the guest is about to be stopped.
func (h *handle) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopping = true
}

func (h *handle) isStopping() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stopping
}

// finish notes the end of the guest, once.
func (h *handle) finish(result *drivers.ExitResult, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.exit != nil {
		return
	}
	h.exit, h.completed = result, at
	close(h.done)
}

// follow waits for the end of the guest, as long as the plugin lives.
func (d *Driver) follow(h *handle) {
	exit, err := h.client.Wait(d.ctx)
	switch {
	case err == nil:
		d.ended(h, exit)
	case d.ctx.Err() != nil:
		// The plugin ends, the task does not.
	default:
		d.lost(h, err)
	}
}

// ended takes note of a guest's end, and tells the task's owner what there is
// to tell about it.
func (d *Driver) ended(h *handle, exit executor.Exit) {
	d.reportDropped(h, exit.Dropped)
	result := exitResult(exit)
	switch {
	case exit.OOMKilled:
		limit := memoryLimit(h.task)
		d.events.tell(h.task, fmt.Sprintf("Out of memory: the task needed more than its %d MiB", limit>>20),
			map[string]string{"limit_bytes": strconv.FormatUint(limit, 10)})
	case result.Err != nil && !h.isStopping():
		d.events.tell(h.task, "Unikernel "+exit.Reason, map[string]string{
			"exit_code": strconv.Itoa(exit.Code), "signal": strconv.Itoa(exit.Signal),
		})
	}
	h.log.Info("unikernel ended", "reason", exit.Reason, "exit_code", exit.Code, "signal", exit.Signal)
	h.finish(result, exit.Finished)
}

// lost takes note that nobody knows how the guest ended: its executor was
// killed. That is never a success.
func (d *Driver) lost(h *handle, err error) {
	err = errors.Join(err, client.Destroy(d.ctx, h.state.Dir, h.state.known()))
	if !h.isStopping() {
		h.log.Error("lost the task's executor", "error", err)
		d.events.tell(h.task, "The task's executor is gone, and the unikernel with it", nil)
	}
	h.finish(&drivers.ExitResult{ExitCode: -1, Err: err}, time.Now())
}

// exitResult is the executor's word in Nomad's terms: an end by a signal has
// an exit code too, as a shell makes it. The reason goes along where the end is
// not a success.
func exitResult(exit executor.Exit) *drivers.ExitResult {
	result := &drivers.ExitResult{ExitCode: exit.Code, Signal: exit.Signal, OOMKilled: exit.OOMKilled}
	if exit.Signal != 0 {
		result.ExitCode = 128 + exit.Signal
	}
	if exit.Code != 0 || exit.Signal != 0 || exit.OOMKilled {
		result.Err = errors.New(exit.Reason)
	}
	return result
}

// reportDropped tells of console output that was lost because nobody read it,
// each time that there is more of it.
func (d *Driver) reportDropped(h *handle, dropped uint64) {
	h.mu.Lock()
	more := dropped > h.dropped
	h.dropped = max(dropped, h.dropped)
	h.mu.Unlock()
	if more {
		d.events.tell(h.task, fmt.Sprintf("Console output was lost because its reader was too slow: %d bytes since the start", dropped),
			map[string]string{"dropped_bytes": strconv.FormatUint(dropped, 10)})
	}
}

// adopt makes a running task known and follows it.
func (d *Driver) adopt(task *drivers.TaskConfig, state taskState, c *client.Client) {
	h := d.newHandle(task, state)
	h.client = c
	d.tasks.put(h)
	go d.follow(h)
}

func (d *Driver) newHandle(task *drivers.TaskConfig, state taskState) *handle {
	return &handle{task: task, state: state, log: d.taskLog(task), done: make(chan struct{})}
}
