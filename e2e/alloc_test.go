// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/cluster"
)

// An alloc is the one alloc of a test's job.
type alloc struct {
	*api.Allocation
	node *cluster.Nomad
	task string
}

// explain logs what Nomad knows of a failed test's alloc.
func (a *alloc) explain(t *testing.T) {
	if err := a.refresh(); err != nil {
		t.Log(err)
	}
	t.Logf("alloc %s is %s; the agent's log is %s", a.ID, a.ClientStatus, a.node.LogFile())
	for _, event := range a.events() {
		t.Logf("  %s: %s", event.Type, event.DisplayMessage)
	}
	if out, err := a.log("stdout"); err == nil {
		t.Logf("  stdout: %.1000s", out)
	}
	if out, err := a.log("stderr"); err == nil {
		t.Logf("  stderr: %.1000s", out)
	}
}

func (a *alloc) refresh() error {
	now, _, err := nomad.API.Allocations().Info(a.ID, nil)
	if err == nil {
		a.Allocation = now
	}
	return err
}

// await waits for a client status of the alloc. Another one that it cannot
// leave again fails the test at once.
func (a *alloc) await(t *testing.T, status string) {
	t.Helper()
	eventually(t, func() error {
		if err := a.refresh(); err != nil {
			return err
		}
		if a.ClientStatus == status {
			return nil
		}
		err := fmt.Errorf("alloc is %s, not %s", a.ClientStatus, status)
		if a.ClientTerminalStatus() {
			return cluster.Final(err)
		}
		return err
	})
}

// awaitEvent waits for an event of the task and returns it.
func (a *alloc) awaitEvent(t *testing.T, kind string) *api.TaskEvent {
	t.Helper()
	var found *api.TaskEvent
	eventually(t, func() error {
		if err := a.refresh(); err != nil {
			return err
		}
		for _, event := range a.events() {
			if event.Type == kind {
				found = event
				return nil
			}
		}
		return fmt.Errorf("no event %q yet", kind)
	})
	return found
}

func (a *alloc) events() []*api.TaskEvent {
	if state := a.TaskStates[a.task]; state != nil {
		return state.Events
	}
	return nil
}

// log is what the task has written so far.
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

// awaitOutput follows the task's stdout from its start until enough of it is
// there. A stream that breaks, as when an agent ends, is followed again.
func (a *alloc) awaitOutput(t *testing.T, enough func(output string) bool) {
	t.Helper()
	late, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	eventually(t, func() error {
		var seen string
		found := false
		err := a.read("stdout", true, late.Done(), func(output string) bool {
			seen = output
			found = enough(output)
			return found
		})
		if err == nil && !found {
			err = fmt.Errorf("the task's output is not what was waited for: %.300s", seen)
		}
		return err
	})
}

// read calls enough with all of a stream up to now whenever there is more of it,
// until it returns true, the stream ends or it is late.
func (a *alloc) read(stream string, follow bool, late <-chan struct{}, enough func(output string) bool) error {
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
		case <-late:
			return nil
		}
	}
}

// url of the guest's port http as the host maps it.
func (a *alloc) url(t *testing.T) string {
	t.Helper()
	return "http://" + a.address(t, "http") + "/"
}

// address of the host that leads to a port of the guest.
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

// stop stops a job's task as an operator does, and returns how it ended.
func (a *alloc) stop(t *testing.T) *api.TaskEvent {
	t.Helper()
	_, _, err := nomad.API.Jobs().Deregister(a.JobID, false, nil)
	must.NoError(t, err)
	a.await(t, api.AllocClientStatusComplete)
	must.SliceEmpty(t, a.pids(t))
	return a.awaitEvent(t, api.TaskTerminated)
}

// pids are the processes in the alloc's cgroups.
func (a *alloc) pids(t *testing.T) []int {
	t.Helper()
	return processes(t, func(dir string) bool {
		cgroups, err := os.ReadFile(filepath.Join(dir, "cgroup"))
		return err == nil && bytes.Contains(cgroups, []byte(a.ID))
	})
}

// processes are those of the sandbox whose directory in /proc is right, by pid.
func processes(t *testing.T, right func(dir string) bool) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	must.NoError(t, err)
	var pids []int
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil && right(filepath.Join("/proc", entry.Name())) {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}
