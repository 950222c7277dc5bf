// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/e2e/cluster"
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
	cancel := make(chan struct{})
	defer close(cancel)
	frames, errs := nomad.API.AllocFS().Logs(a.Allocation, false, a.task, stream, api.OriginStart, 0, cancel, nil)
	var b bytes.Buffer
	for {
		select {
		case frame, ok := <-frames:
			if !ok {
				return b.String(), nil
			}
			b.Write(frame.Data)
		case err := <-errs:
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return b.String(), err
		}
	}
}

// awaitLog waits until the task has written a text.
func (a *alloc) awaitLog(t *testing.T, text string) {
	t.Helper()
	eventually(t, func() error {
		out, err := a.log("stdout")
		if err == nil && !strings.Contains(out, text) {
			err = fmt.Errorf("the log has no %q yet: %.300s", text, out)
		}
		return err
	})
}

// url of the guest's port http as the host maps it.
func (a *alloc) url(t *testing.T) string {
	t.Helper()
	for _, port := range a.AllocatedResources.Shared.Ports {
		if port.Label == "http" {
			return fmt.Sprintf("http://%s:%d/", port.HostIP, port.Value)
		}
	}
	t.Fatal("the alloc has no port http")
	return ""
}

// pids are the processes in the alloc's cgroups.
func (a *alloc) pids(t *testing.T) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	must.NoError(t, err)
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		cgroups, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "cgroup"))
		if err == nil && bytes.Contains(cgroups, []byte(a.ID)) {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}
