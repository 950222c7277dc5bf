// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/client"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestRecover_FindsTheRunningGuest(t *testing.T) {
	first := newTestPlugin(t)
	task, handle := first.run(t, TaskConfig{Kernel: "control.spt"})
	second := first.restart(t)
	must.NoError(t, second.RecoverTask(handle))
	must.NoError(t, second.RecoverTask(handle)) // again

	status, err := second.InspectTask(task.ID)
	must.NoError(t, err)
	must.Eq(t, drivers.TaskStateRunning, status.State)
	must.Eq(t, stateOf(t, handle).attributes(), status.DriverAttributes)
	must.True(t, stateOf(t, handle).Guest.Alive())

	waitFor(t, "the guest to listen", func() bool { return strings.Contains(console(task), "waiting") })
	must.NoError(t, second.SignalTask(task.ID, "SIGHUP"))
	must.NoError(t, second.StopTask(task.ID, time.Minute, ""))
	must.True(t, second.wait(t, task).Successful())
	waitFor(t, "console output after the recovery", func() bool { return strings.Contains(console(task), "stopping") })
	must.NoError(t, second.DestroyTask(task.ID, false))
	noTrace(t, handle)
}

func TestRecover_ReportsTheExitStatus(t *testing.T) {
	first := newTestPlugin(t)
	task, handle := first.run(t, TaskConfig{Kernel: "crash.spt", Args: []string{"exit", "5"}})
	state := stateOf(t, handle)
	first.kill()
	waitFor(t, "the end of the task", func() bool { return !state.Executor.Alive() })

	second := first.restart(t)
	must.NoError(t, second.RecoverTask(handle))
	must.Eq(t, 5, second.wait(t, task).ExitCode)
	must.NoError(t, second.StopTask(task.ID, time.Minute, ""))
	must.NoError(t, second.DestroyTask(task.ID, false))
	noTrace(t, handle)
}

func TestRecover_RemovesTasksThatItCannotRecover(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, handle *drivers.TaskHandle)
	}{
		{"executor killed", func(t *testing.T, handle *drivers.TaskHandle) {
			must.NoError(t, stateOf(t, handle).Executor.Signal(syscall.SIGKILL))
			waitFor(t, "the end of the executor", func() bool { return !stateOf(t, handle).Executor.Alive() })
		}},
		{"handle without a state", func(_ *testing.T, handle *drivers.TaskHandle) { handle.DriverState = nil }},
		{"handle of another executor", func(t *testing.T, handle *drivers.TaskHandle) {
			state := stateOf(t, handle)
			state.Executor.StartTime++
			must.NoError(t, handle.SetDriverState(&state))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			first := newTestPlugin(t)
			task, handle := first.run(t, TaskConfig{Kernel: "idle.spt"})
			whole := handle.Copy()
			first.kill()
			c.spoil(t, handle)
			second := first.restart(t)
			must.Error(t, second.RecoverTask(handle))
			noTrace(t, whole)
			must.ErrorContains(t, second.DestroyTask(task.ID, true), drivers.ErrTaskNotFound.Error())
		})
	}
}

// A handle of a newer plugin has at least the fields of this one's.
func TestRecover_FindsAGuestOfANewerPlugin(t *testing.T) {
	first := newTestPlugin(t)
	task, handle := first.run(t, TaskConfig{Kernel: "idle.spt"})
	state := stateOf(t, handle)
	handle.Version++
	must.NoError(t, handle.SetDriverState(&struct {
		taskState
		Novelty string
	}{state, "unknown to this plugin"}))
	second := first.restart(t)
	must.NoError(t, second.RecoverTask(handle))
	must.True(t, state.Guest.Alive())
	must.NoError(t, second.DestroyTask(task.ID, true))
	noTrace(t, handle)
}

func TestRecover_SparesAGuestOfANewerPluginThatItCannotReach(t *testing.T) {
	first := newTestPlugin(t)
	task, handle := first.run(t, TaskConfig{Kernel: "idle.spt"})
	state := stateOf(t, handle)
	newer := handle.Copy()
	newer.Version++
	newer.DriverState = []byte{0x80} // an empty map: all fields have other names
	second := first.restart(t)
	must.Error(t, second.RecoverTask(newer))
	must.True(t, state.Guest.Alive())

	// The next start of the task replaces it.
	again := task.Copy()
	again.ID += "x"
	t.Cleanup(func() { _ = second.impl.DestroyTask(again.ID, true) })
	_, _, err := second.StartTask(again)
	must.NoError(t, err)
	must.False(t, state.Guest.Alive())
	must.DirNotExists(t, state.Dir)
}

// A plugin that ends during a recovery leaves the task to the next one.
func TestRecover_EndsWithThePlugin(t *testing.T) {
	first := newTestPlugin(t)
	task, handle := first.run(t, TaskConfig{Kernel: "idle.spt"})
	state := stateOf(t, handle)
	must.NoError(t, state.Executor.Signal(syscall.SIGSTOP)) // so it does not answer
	second := first.restart(t)
	recovered := make(chan error, 1)
	go func() { recovered <- second.impl.RecoverTask(handle) }()
	waitFor(t, "the recovery to begin", func() bool {
		return second.impl.tasks.reservation(task.ID) != nil
	})
	second.kill()
	must.ErrorIs(t, testenv.Receive(t, recovered), context.Canceled) // and not at dialTimeout
	must.True(t, state.Guest.Alive())

	must.NoError(t, state.Executor.Signal(syscall.SIGCONT))
	third := second.restart(t)
	must.NoError(t, third.RecoverTask(handle))
	must.NoError(t, third.DestroyTask(task.ID, true))
	noTrace(t, handle)
}

func TestRecover_FailsForADestroyedTask(t *testing.T) {
	p := newTestPlugin(t)
	task, handle := p.run(t, TaskConfig{Kernel: "idle.spt"})
	must.NoError(t, p.DestroyTask(task.ID, true))
	must.Error(t, p.restart(t).RecoverTask(handle))
}

func TestWait_KilledExecutorIsAFailure(t *testing.T) {
	p := newTestPlugin(t)
	task, handle := p.run(t, TaskConfig{Kernel: "idle.spt"})
	state := stateOf(t, handle)
	must.NoError(t, state.Executor.Signal(syscall.SIGKILL))
	result := p.wait(t, task)
	must.False(t, result.Successful())
	must.ErrorContains(t, result.Err, client.ErrLost.Error())
	must.NoError(t, p.DestroyTask(task.ID, false))
	noTrace(t, handle)
}

func TestSweep_KillsAGuestWhoseAllocIsGone(t *testing.T) {
	first := newTestPlugin(t)
	_, handle := first.run(t, TaskConfig{Kernel: "idle.spt"})
	second := first.restart(t)
	second.impl.sweepStrays()
	must.True(t, stateOf(t, handle).Guest.Alive()) // its alloc exists

	r, err := readRecord(stateOf(t, handle).Dir)
	must.NoError(t, err)
	r.AllocDir = filepath.Join(t.TempDir(), "gone")
	must.NoError(t, os.Remove(filepath.Join(stateOf(t, handle).Dir, recordFile)))
	must.NoError(t, r.write(stateOf(t, handle).Dir))
	second.restart(t).impl.sweepStrays()
	noTrace(t, handle)
}

func TestStart_ReplacesAGuestUnknownToNomad(t *testing.T) {
	for name, next := range map[string]func(*testPlugin, *testing.T) *testPlugin{
		"plugin killed": (*testPlugin).restart,
		// The same plugin serves the next agent.
		"agent killed": func(p *testPlugin, _ *testing.T) *testPlugin { return p },
	} {
		t.Run(name, func(t *testing.T) {
			first := newTestPlugin(t)
			task, handle := first.run(t, TaskConfig{Kernel: "idle.spt"})
			second := next(first, t) // and Nomad has no handle
			again := task.Copy()
			again.ID += "x"
			t.Cleanup(func() { _ = second.impl.DestroyTask(again.ID, true) })
			_, _, err := second.StartTask(again)
			must.NoError(t, err)
			must.False(t, stateOf(t, handle).Guest.Alive())
			must.DirNotExists(t, stateOf(t, handle).Dir)
		})
	}
}
