// SPDX-License-Identifier: MPL-2.0

package client_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"github.com/shoenig/test/wait"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/executor/client"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestStart_RepeatedStartsLeakNothing(t *testing.T) {
	cycles := 500
	if testing.Short() {
		cycles = 50
	}
	task := newTask(t, "idle", "")
	if os.Geteuid() == 0 {
		if _, err := os.Stat("/sys/fs/cgroup/memory/tasks"); err == nil {
			task.inV1(t)
		}
	}
	var before, goroutines int
	for i := range cycles {
		c, _, err := client.Start(deadline(t), executorBinary, task.plan, task.files)
		must.NoError(t, err)
		switch i % 3 {
		case 0:
			must.NoError(t, c.Stop(deadline(t), unix.SIGTERM, time.Second))
		case 1:
			must.NoError(t, c.Identity().Guest.Signal(unix.SIGKILL))
			waitExit(t, c)
		}
		destroy(t, task.plan.Dir)
		must.Wait(t, testenv.EventuallyTrue(childless), must.Sprint("the executor is reaped"))
		if i == 0 { // after the descriptors that the test process opens once
			before, goroutines = len(openFDs(t, os.Getpid())), runtime.NumGoroutine()
		}
	}
	must.Wait(t, testenv.EventuallyTrue(func() bool { return len(openFDs(t, os.Getpid())) <= before }), must.Sprint("descriptors are closed"))
	must.Wait(t, testenv.EventuallyTrue(func() bool { return runtime.NumGoroutine() <= goroutines }), must.Sprint("goroutines end"))
	for _, dir := range []string{task.plan.Cgroup.Memory, task.plan.Cgroup.CPU, task.plan.Cgroup.CPUSet, task.plan.Cgroup.Freezer} {
		if dir != "" {
			must.DirNotExists(t, dir)
		}
	}
	must.Eq(t, []string{"dropped", "executor.json", "exit.json", "plan.json"}, fileNames(t, task.plan.Dir))
}

// Start or Wait fails, and no file and no process is left.
func TestStart_KillingTheExecutorAtAnyMomentLeavesNothing(t *testing.T) {
	task := newTask(t, "idle", "")
	t.Cleanup(func() { destroy(t, task.plan.Dir) })
	failed := 0
	for moment := time.Duration(0); moment < 12*time.Millisecond; moment += 150 * time.Microsecond {
		killed := make(chan struct{})
		go func() {
			var child int
			// A short gap, so that the moments lie within the start of some 5 ms.
			must.Wait(t, wait.InitialSuccess(wait.Timeout(testenv.Patience), wait.Gap(100*time.Microsecond), wait.BoolFunc(func() bool {
				child = firstChild(t)
				return child != 0
			})))
			time.AfterFunc(moment, func() {
				_ = unix.Kill(child, unix.SIGKILL)
				close(killed)
			})
		}()
		c, _, err := client.Start(deadline(t), executorBinary, task.plan, task.files)
		<-killed
		if err != nil {
			failed++
			must.Eq(t, []string{}, fileNames(t, task.plan.Dir))
		} else {
			_, err = c.Wait(deadline(t))
			must.ErrorIs(t, err, client.ErrLost)
			destroy(t, task.plan.Dir)
		}
		// This process inherits guests whose executor was killed.
		must.Wait(t, testenv.EventuallyTrue(func() bool {
			_, _ = unix.Wait4(-1, nil, unix.WNOHANG, nil)
			return childless()
		}), must.Sprint("no process is left"))
	}
	t.Logf("Start failed in %d of 80 cases", failed)
}

// firstChild returns a child of this process, or 0.
func firstChild(t testing.TB) int {
	t.Helper()
	threads, err := os.ReadDir("/proc/self/task")
	must.NoError(t, err)
	for _, thread := range threads {
		b, err := os.ReadFile("/proc/self/task/" + thread.Name() + "/children")
		if f := bytes.Fields(b); err == nil && len(f) > 0 {
			pid, err := strconv.Atoi(string(f[0]))
			must.NoError(t, err)
			return pid
		}
	}
	return 0
}

// The private memory of executor and guest process, without the guest's own
// memory, is budgeted at 4 MiB per task. The program's file is 1 MiB of that.
func TestMemory_StaysWithinItsBudget(t *testing.T) {
	testenv.Need(t, testenv.Root) // to read the guest's smaps
	const budget = 3 << 20        // beyond the pages of the program's file
	// Those pages count as private unless a second executor has used them too.
	other := newTask(t, "idle", "").start(t)
	task := newTask(t, "idle", "")
	c := task.start(t)
	task.awaitLine(t, "idle: waiting")
	id := c.Identity()
	private := func() int { return testenv.PrivateMemory(t, id.Executor.Pid) + testenv.PrivateMemory(t, id.Guest.Pid) }
	fresh := private()
	for range 100 {
		for _, c := range []*client.Client{other, c} {
			_, err := c.State(deadline(t))
			must.NoError(t, err)
		}
	}
	used := private()
	t.Logf("executor and guest: %d KiB private when started, %d KiB after 100 requests", fresh>>10, used>>10)
	must.Less(t, budget, fresh)
	must.Less(t, budget, used)
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", id.Executor.Pid))
	must.NoError(t, err)
	t.Logf("%d threads", len(tasks))
}

func BenchmarkStart(b *testing.B) {
	task := newTask(b, "idle", "")
	for b.Loop() {
		c, _, err := client.Start(deadline(b), executorBinary, task.plan, task.files)
		must.NoError(b, err)
		b.StopTimer()
		destroy(b, task.plan.Dir)
		must.NoError(b, os.RemoveAll(filepath.Join(task.plan.Dir, executor.ExitFile)))
		_ = c
		b.StartTimer()
	}
}
