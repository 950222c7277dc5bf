// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/executor/client"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// track adds a running task to the plugin's tasks and waits for its end in the
// background.
func (d *Driver) track(task *drivers.TaskConfig, state taskState, c *client.Client) {
	h := d.newHandle(task, state, c)
	d.tasks.put(h)
	go d.awaitExit(h)
}

// trackEnded adds a task that ended while no plugin was running.
func (d *Driver) trackEnded(task *drivers.TaskConfig, state taskState, exit executor.Exit) {
	h := d.newHandle(task, state, nil)
	d.recordExit(h, exit)
	d.tasks.put(h)
}

// awaitExit waits for the end of the guest and records it. It returns early if
// the plugin ends, which does not end the task.
func (d *Driver) awaitExit(h *handle) {
	exit, err := h.client.Wait(d.ctx)
	switch {
	case err == nil:
		d.recordExit(h, exit)
	case d.ctx.Err() == nil:
		d.recordLoss(h, err)
	}
}

// recordExit records the end of a guest and sends events about its cause.
func (d *Driver) recordExit(h *handle, exit executor.Exit) {
	d.reportDropped(h, exit.Dropped)
	d.reportFilesEnded(h, exit.FilesEnded)
	exit.Reason = explainExit(h.state.Flavor, exit)
	result := nomadExit(exit)
	switch {
	case exit.OOMKilled:
		limit := memoryLimit(h.task)
		d.events.emit(h.task, fmt.Sprintf("Out of memory: the task exceeded its limit of %d MiB", limit>>20),
			map[string]string{"limit_bytes": strconv.FormatUint(limit, 10)})
	case result.Err != nil && !h.isStopRequested():
		d.events.emit(h.task, "Unikernel "+exit.Reason, map[string]string{
			"exit_code": strconv.Itoa(exit.Code), "signal": strconv.Itoa(exit.Signal),
		})
	}
	h.log.Info("unikernel ended", "reason", exit.Reason, "exit_code", exit.Code, "signal", exit.Signal)
	h.setExit(result, exit.Finished)
}

// recordLoss records that the executor was killed and its guest's exit status
// is unknown. Such an end is always a failure.
func (d *Driver) recordLoss(h *handle, err error) {
	err = errors.Join(err, client.Destroy(d.ctx, h.state.Dir, h.state.known()))
	if !h.isStopRequested() {
		h.log.Error("the task's executor was killed", "error", err)
		d.events.emit(h.task, "The task's executor was killed; the unikernel was killed with it", nil)
	}
	h.setExit(&drivers.ExitResult{ExitCode: -1, Err: err}, time.Now())
}

// nomadExit converts an exit status of the executor to Nomad's. As in a shell,
// an end by a signal has the exit code 128 plus the signal's number. A failure
// includes the reason.
func nomadExit(exit executor.Exit) *drivers.ExitResult {
	result := &drivers.ExitResult{ExitCode: exit.Code, Signal: exit.Signal, OOMKilled: exit.OOMKilled}
	if exit.Signal != 0 {
		result.ExitCode = 128 + exit.Signal
	}
	if exit.Code != 0 || exit.Signal != 0 || exit.OOMKilled {
		result.Err = errors.New(exit.Reason)
	}
	return result
}

// linuxStatuses are the exit statuses with which a Linux guest ends for a reason other
// than its program; see docs/guest-reference.md.
var linuxStatuses = map[int]string{
	121: "its configuration or command line is invalid",
	122: "it cannot mount a file system",
	123: "it cannot configure a network device, or the device is gone",
	124: "it cannot start its program",
	125: "its program called reboot",
}

// explainExit returns the reason of an exit. For a Linux guest it adds the meaning of the
// status, and the guest's own message. A program may use the same status, so without a message
// the explanation is not certain.
func explainExit(flavor string, exit executor.Exit) string {
	meaning, found := linuxStatuses[exit.Code]
	byItself := exit.Code < 128 && !found // 128 and more are signals and panics
	if flavor != string(unikernel.FlavorLKL) || exit.Signal != 0 || byItself {
		return exit.Reason
	}
	message := strings.TrimPrefix(exit.Message, "lkl: ")
	switch {
	case message != "" && found:
		return fmt.Sprintf("%s: %s: %s", exit.Reason, meaning, message)
	case message != "":
		return fmt.Sprintf("%s: %s", exit.Reason, message)
	case !found:
		return exit.Reason
	}
	return fmt.Sprintf("%s: %s, unless this is the program's own status (see the last line of its log)", exit.Reason, meaning)
}

// reportDropped sends an event when more console output has been lost because
// its reader was too slow.
func (d *Driver) reportDropped(h *handle, dropped uint64) {
	if h.recordDropped(dropped) {
		d.events.emit(h.task, fmt.Sprintf("%d bytes of console output were lost since the start: the log reader is too slow", dropped),
			map[string]string{"dropped_bytes": strconv.FormatUint(dropped, 10)})
	}
}

// reportFilesEnded sends an event when the task's file server has ended before its guest.
func (d *Driver) reportFilesEnded(h *handle, how string) {
	if how == "" || !h.recordFilesEnded() {
		return
	}
	h.log.Error("the task's file server ended", "reason", how)
	d.events.emit(h.task, fmt.Sprintf("The file server ended (%s): "+
		"files in live directories and volumes return EIO until the task restarts", how), map[string]string{"file_server": how})
}
