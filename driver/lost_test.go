// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// No guest survives if its state is removed, or emptied by a power loss.

func TestStop_WorksWithoutTheStateDirectory(t *testing.T) {
	p := newTestPlugin(t)
	task, handle := p.run(t, TaskConfig{Kernel: "idle.spt"})
	must.NoError(t, os.RemoveAll(p.config.StateDir))
	stopped := make(chan error, 1)
	go func() { stopped <- p.StopTask(task.ID, time.Second, "") }()
	must.NoError(t, testenv.Receive(t, stopped))
	must.False(t, p.wait(t, task).Successful())
	must.NoError(t, p.DestroyTask(task.ID, false))
	noTrace(t, handle)
}

func TestRecover_WorksWithoutTheStateDirectory(t *testing.T) {
	for name, lose := range map[string]func(*testing.T, string){
		"all of it": func(t *testing.T, dir string) { must.NoError(t, os.RemoveAll(dir)) },
		// As on ext4 or XFS after a power loss right after they were written.
		"files emptied": func(t *testing.T, dir string) {
			for _, file := range []string{executor.IdentityFile, executor.PlanFile, recordFile} {
				must.NoError(t, os.Truncate(filepath.Join(dir, file), 0))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			first := newTestPlugin(t)
			_, handle := first.run(t, TaskConfig{Kernel: "idle.spt"})
			first.kill()
			lose(t, stateOf(t, handle).Dir)
			must.Error(t, first.restart(t).RecoverTask(handle))
			noTrace(t, handle)
		})
	}
}

func TestRecover_KillsNoOtherProcessAfterAReboot(t *testing.T) {
	first := newTestPlugin(t)
	task, handle := first.run(t, TaskConfig{Kernel: "idle.spt"})
	must.NoError(t, first.StopTask(task.ID, time.Minute, "SIGKILL"))
	state := stateOf(t, handle)
	first.kill()
	waitFor(t, "the end of the task", func() bool { return !state.Executor.Alive() })
	// There is no exit status, and other processes have the same PIDs now.
	must.NoError(t, os.Remove(filepath.Join(state.Dir, executor.ExitFile)))
	self, err := executor.FindProcess(os.Getpid())
	must.NoError(t, err)
	self.BootID = "an earlier boot"
	state.Executor, state.Guest = self, self
	must.NoError(t, handle.SetDriverState(&state))
	must.NoError(t, os.Truncate(filepath.Join(state.Dir, executor.IdentityFile), 0))

	second := first.restart(t)
	must.Error(t, second.RecoverTask(handle))
	noTrace(t, handle)
	must.ErrorContains(t, second.DestroyTask(task.ID, true), drivers.ErrTaskNotFound.Error())
}
