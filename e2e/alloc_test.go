// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/cluster"
)

// An alloc is the only alloc of a group of a test's job. The methods are about one of its
// tasks, by default the first.
type alloc struct {
	*api.Allocation
	node *cluster.Nomad
	task string
}

// of returns the alloc with another one of its tasks.
func (a *alloc) of(task string) *alloc { return &alloc{a.Allocation, a.node, task} }

// explain logs the state, the events and the output of all tasks of a failed test's
// alloc.
func (a *alloc) explain(t *testing.T) {
	if err := a.refresh(); err != nil {
		t.Log(err)
	}
	t.Logf("alloc %s is %s; the agent's log is %s", a.ID, a.ClientStatus, a.node.LogFile())
	for _, task := range slices.Sorted(maps.Keys(a.TaskStates)) {
		t.Logf(" task %s is %s", task, a.TaskStates[task].State)
		for _, event := range a.of(task).events() {
			t.Logf("  %s: %s", event.Type, event.DisplayMessage)
		}
		for _, stream := range []string{"stdout", "stderr"} {
			if out, err := a.of(task).log(stream); err == nil {
				t.Logf("  %s: %.1000s", stream, out)
			}
		}
	}
}

// removed returns nil when the client has removed the alloc.
func (a *alloc) removed() error {
	// The API package returns an error for the empty answer. The server may also have
	// removed the alloc before.
	_ = nomad.API.Allocations().GC(a.Allocation, nil)
	if left, _ := filepath.Glob(filepath.Join(a.node.Dir, "*", "*", a.ID)); len(left) > 0 {
		return fmt.Errorf("%s still exists", left[0])
	}
	return nil
}

func (a *alloc) refresh() error {
	now, _, err := nomad.API.Allocations().Info(a.ID, nil)
	if err == nil {
		a.Allocation = now
	}
	return err
}

// await waits for a client status of the alloc. It fails the test immediately if the
// alloc has ended with another status.
func (a *alloc) await(t *testing.T, status string) {
	t.Helper()
	must.Wait(t, testenv.Eventually(func() error {
		if err := a.refresh(); err != nil {
			return err
		}
		if a.ClientStatus == status {
			return nil
		}
		must.False(t, a.ClientTerminalStatus(), must.Sprintf("the alloc is %s, not %s", a.ClientStatus, status))
		return fmt.Errorf("the alloc is %s, not %s", a.ClientStatus, status)
	}))
}

// awaitEvent waits for an event of the task and returns it.
func (a *alloc) awaitEvent(t *testing.T, kind string) *api.TaskEvent {
	t.Helper()
	return a.findEvent(t, kind, "")
}

// awaitMessage waits for an event of the driver that contains the text.
func (a *alloc) awaitMessage(t *testing.T, text string) {
	t.Helper()
	a.findEvent(t, api.TaskDriverMessage, text)
}

// findEvent waits for an event of a kind that contains the text.
func (a *alloc) findEvent(t *testing.T, kind, text string) *api.TaskEvent {
	t.Helper()
	var found *api.TaskEvent
	must.Wait(t, testenv.Eventually(func() error {
		if err := a.refresh(); err != nil {
			return err
		}
		for _, event := range a.events() {
			if event.Type == kind && strings.Contains(event.DisplayMessage, text) {
				found = event
				return nil
			}
		}
		return fmt.Errorf("no event %q of the task %s contains %q", kind, a.task, text)
	}))
	return found
}

func (a *alloc) events() []*api.TaskEvent {
	if state := a.TaskStates[a.task]; state != nil {
		return state.Events
	}
	return nil
}

// awaitRestarts waits until the task has been restarted a number of times and runs.
func (a *alloc) awaitRestarts(t *testing.T, number uint64) {
	t.Helper()
	must.Wait(t, testenv.Eventually(func() error {
		if err := a.refresh(); err != nil {
			return err
		}
		state := a.TaskStates[a.task]
		if state == nil || state.Restarts < number || state.State != "running" {
			return fmt.Errorf("task %s has not been restarted: %+v", a.task, state)
		}
		return nil
	}))
}

// log returns the output of the task up to now.
func (a *alloc) log(stream string) (string, error) {
	var out string
	err := a.read(stream, false, nil, func(output string) bool {
		out = output
		return false
	})
	return out, err
}

// awaitLog waits until the task has written a text to its stdout.
func (a *alloc) awaitLog(t *testing.T, text string) {
	t.Helper()
	a.awaitOutput(t, func(output string) bool { return strings.Contains(output, text) })
}

// awaitErrorLog waits until the task has written a text to its stderr.
func (a *alloc) awaitErrorLog(t *testing.T, text string) {
	t.Helper()
	a.follow(t, "stderr", func(output string) bool { return strings.Contains(output, text) })
}

// awaitOutput follows the task's stdout from its start until enough returns true.
func (a *alloc) awaitOutput(t *testing.T, enough func(output string) bool) {
	t.Helper()
	a.follow(t, "stdout", enough)
}

// follow follows a stream of the task from its start until enough returns true. It
// starts again if the stream breaks, for example because an agent has ended.
func (a *alloc) follow(t *testing.T, stream string, enough func(output string) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Patience)
	defer cancel()
	must.Wait(t, testenv.Eventually(func() error {
		var seen string
		found := false
		err := a.read(stream, true, ctx.Done(), func(output string) bool {
			seen = output
			found = enough(output)
			return found
		})
		if err == nil && !found {
			err = fmt.Errorf("the output of the task is incomplete: %.300s", seen)
		}
		return err
	}))
}

// read calls enough with the complete output of a stream whenever it grows. It ends
// when enough returns true, when the stream ends, or when stop is closed.
func (a *alloc) read(stream string, follow bool, stop <-chan struct{}, enough func(output string) bool) error {
	cancel := make(chan struct{})
	defer close(cancel)
	frames, errs := nomad.API.AllocFS().Logs(a.Allocation, follow, a.task, stream, api.OriginStart, 0, cancel, nil)
	var b bytes.Buffer
	for {
		select {
		case frame, ok := <-frames:
			if !ok {
				return nil
			}
			b.Write(frame.Data)
			if enough(b.String()) {
				return nil
			}
		case err := <-errs:
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return err
		case <-stop:
			return nil
		}
	}
}

// url returns the URL of the host's port that is mapped to the guest's port http.
func (a *alloc) url(t *testing.T) string {
	t.Helper()
	return "http://" + a.address(t, "http") + "/"
}

// address returns the host's address that is mapped to a port of the guest.
func (a *alloc) address(t *testing.T, label string) string {
	t.Helper()
	for _, port := range a.AllocatedResources.Shared.Ports {
		if port.Label == label {
			return net.JoinHostPort(port.HostIP, strconv.Itoa(port.Value))
		}
	}
	t.Fatalf("the alloc has no port %s", label)
	return ""
}

// stop stops the job as an operator does, and returns the event of the task's end.
func (a *alloc) stop(t *testing.T) *api.TaskEvent {
	t.Helper()
	_, _, err := nomad.API.Jobs().Deregister(a.JobID, false, nil)
	must.NoError(t, err)
	a.await(t, api.AllocClientStatusComplete)
	must.SliceEmpty(t, a.pids(t))
	return a.awaitEvent(t, api.TaskTerminated)
}

// pids returns the processes in the alloc's cgroups.
func (a *alloc) pids(t *testing.T) []int {
	t.Helper()
	return processes(t, func(dir string) bool {
		cgroups, err := os.ReadFile(filepath.Join(dir, "cgroup"))
		return err == nil && bytes.Contains(cgroups, []byte(a.ID))
	})
}

// processes returns the processes of the sandbox that match. The function receives
// the directory of a process in /proc.
func processes(t *testing.T, match func(dir string) bool) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	must.NoError(t, err)
	var pids []int
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil && match(filepath.Join("/proc", entry.Name())) {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}
