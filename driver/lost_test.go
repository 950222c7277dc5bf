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
)

// What somebody removed, or a loss of power emptied, leaves no guest behind.

func TestStop_WithoutItsStateDirectory(t *testing.T) {
	b := newBed(t)
	task, handle := b.run(t, TaskConfig{Kernel: "idle.spt"})
	must.NoError(t, os.RemoveAll(b.config.StateDir))
	stopped := make(chan error, 1)
	go func() { stopped <- b.StopTask(task.ID, time.Second, "") }()
	select {
	case err := <-stopped:
		must.NoError(t, err)
	case <-time.After(patience):
		t.Fatal("the stop does not end")
	}
	must.False(t, b.wait(t, task).Successful())
	must.NoError(t, b.DestroyTask(task.ID, false))
	nothingLeft(t, handle)
}

func TestRecover_WithoutItsStateDirectory(t *testing.T) {
	for name, lose := range map[string]func(*testing.T, string){
		"all of it": func(t *testing.T, dir string) { must.NoError(t, os.RemoveAll(dir)) },
		// As an ext4 or XFS has them that lost power right after they were made.
		"files emptied": func(t *testing.T, dir string) {
			for _, file := range []string{executor.IdentityFile, executor.PlanFile, recordFile} {
				must.NoError(t, os.Truncate(filepath.Join(dir, file), 0))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			first := newBed(t)
			_, handle := first.run(t, TaskConfig{Kernel: "idle.spt"})
			first.kill()
			lose(t, stateOf(t, handle).Dir)
			must.Error(t, first.again(t).RecoverTask(handle))
			nothingLeft(t, handle)
		})
	}
}

func TestRecover_AfterAReboot(t *testing.T) {
	first := newBed(t)
	task, handle := first.run(t, TaskConfig{Kernel: "idle.spt"})
	must.NoError(t, first.StopTask(task.ID, time.Minute, "SIGKILL"))
	state := stateOf(t, handle)
	first.kill()
	eventually(t, "the end of the task", func() bool { return !state.Executor.Alive() })
	// Nobody wrote down how it ended, and other processes have its numbers now.
	must.NoError(t, os.Remove(filepath.Join(state.Dir, executor.ExitFile)))
	self, err := executor.FindProcess(os.Getpid())
	must.NoError(t, err)
	self.BootID = "an earlier boot"
	state.Executor, state.Guest = self, self
	must.NoError(t, handle.SetDriverState(&state))
	must.NoError(t, os.Truncate(filepath.Join(state.Dir, executor.IdentityFile), 0))

	second := first.again(t)
	must.Error(t, second.RecoverTask(handle))
	nothingLeft(t, handle)
	must.ErrorContains(t, second.DestroyTask(task.ID, true), drivers.ErrTaskNotFound.Error())
}
