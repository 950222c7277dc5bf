// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"testing"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// taskCount returns the number of concurrent tasks: LKL_TEST_TASKS, or a number
// that takes a few seconds.
func taskCount(t *testing.T) int {
	t.Helper()
	text := os.Getenv("LKL_TEST_TASKS")
	if text == "" {
		return 60
	}
	n, err := strconv.Atoi(text)
	must.NoError(t, err)
	return n
}

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	must.NoError(t, err)
	return len(files)
}

// Guests, executors and the plugin are killed in any order while many tasks run.
// Nomad can still destroy the rest.
func TestMany_KilledProcessesLeaveNoTrace(t *testing.T) {
	p := newTestPlugin(t)
	var handles []*drivers.TaskHandle
	before := openFiles(t)
	for range taskCount(t) {
		task := p.task(t, TaskConfig{Kernel: testenv.Guest(t, "idle.spt")}, false)
		task.StdoutPath, task.StderrPath = os.DevNull, os.DevNull
		handle, _, err := p.StartTask(task)
		must.NoError(t, err)
		handles = append(handles, handle)
	}
	sum := 0
	for _, h := range handles {
		state := stateOf(t, h)
		sum += testenv.PrivateMemory(t, state.Executor.Pid) + testenv.PrivateMemory(t, state.Guest.Pid)
	}
	t.Logf("%d tasks, %d KiB of private memory each", len(handles), sum/len(handles)>>10)
	must.Less(t, 4<<20, sum/len(handles))

	next := p
	for i, h := range handles {
		state := stateOf(t, h)
		switch rand.IntN(4) {
		case 0:
			_ = state.Guest.Signal(syscall.SIGKILL)
		case 1:
			_ = state.Executor.Signal(syscall.SIGKILL)
		}
		if i == len(handles)/2 {
			next = p.restart(t)
		}
	}
	for _, h := range handles {
		_ = next.RecoverTask(h) // removes a task whose executor was killed
	}
	for _, h := range handles {
		if err := next.DestroyTask(h.Config.ID, true); err != nil {
			must.ErrorContains(t, err, drivers.ErrTaskNotFound.Error())
		}
		noTrace(t, h)
	}
	left, err := os.ReadDir(tasksDir(p.config.StateDir))
	must.NoError(t, err)
	must.SliceEmpty(t, left)
	waitFor(t, "descriptors to be closed", func() bool { return openFiles(t) <= before+20 }) // some belong to the second plugin
}
