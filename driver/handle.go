// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/client"
)

// A handle is a task that this plugin manages.
type handle struct {
	task  *drivers.TaskConfig
	state taskState
	log   hclog.Logger
	// client talks to the executor. It is nil if the task had already ended when
	// it was recovered.
	client *client.Client

	ended chan struct{} // closed when the end of the guest has been recorded

	mu              sync.Mutex
	exit            *drivers.ExitResult // nil while the guest runs
	stopRequested   bool                // the plugin was asked to end the guest
	completed       time.Time
	reportedDropped uint64 // bytes of console output already reported as lost
	reportedFiles   bool   // the end of the file server has been reported
}

func (d *Driver) newHandle(task *drivers.TaskConfig, state taskState, c *client.Client) *handle {
	return &handle{task: task, state: state, log: d.taskLog(task), client: c, ended: make(chan struct{})}
}

// exitResult returns how the task ended, or nil while it runs.
func (h *handle) exitResult() *drivers.ExitResult {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.exit.Copy()
}

func (h *handle) running() bool { return h.exitResult() == nil }

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

// requestStop records that the plugin was asked to end the guest, so that its end
// is not reported as a failure.
func (h *handle) requestStop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopRequested = true
}

func (h *handle) isStopRequested() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stopRequested
}

// setExit records the end of the guest. Only the first call counts.
func (h *handle) setExit(result *drivers.ExitResult, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.exit != nil {
		return
	}
	h.exit, h.completed = result, at
	close(h.ended)
}

// recordDropped records the number of lost bytes of console output, and reports
// whether it has grown.
func (h *handle) recordDropped(dropped uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if dropped <= h.reportedDropped {
		return false
	}
	h.reportedDropped = dropped
	return true
}

// recordFilesEnded records the end of the file server, and reports whether it is the first
// call.
func (h *handle) recordFilesEnded() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	first := !h.reportedFiles
	h.reportedFiles = true
	return first
}

// record returns the record of the task's resources.
func (h *handle) record() record {
	return record{
		Task: h.task.ID, AllocID: h.task.AllocID, Name: h.task.Name, AllocDir: h.task.AllocDir,
		Netns: h.state.Netns, Cgroup: h.state.Cgroup, Links: h.state.allLinks(),
	}
}
