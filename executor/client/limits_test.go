// SPDX-License-Identifier: MPL-2.0

package client_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
	"github.com/lkl-nomad/nomad-driver-lkl/executor/client"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// inV1 places the task in real cgroups of version 1 with Nomad's layout, below a
// parent for this test. The executor creates the task's directories.
func (task *testTask) inV1(t testing.TB) *testTask {
	t.Helper()
	testenv.Need(t, testenv.Root)
	if _, err := os.Stat("/sys/fs/cgroup/memory/tasks"); err != nil {
		t.Skip("needs cgroup v1: ", err)
	}
	name := fmt.Sprintf("lkl-executor-test-%d", os.Getpid())
	parent := func(controller string) string {
		dir := filepath.Join("/sys/fs/cgroup", controller, name)
		must.NoError(t, os.MkdirAll(dir, 0o755))
		t.Cleanup(func() { removeTree(t, dir) })
		return dir
	}
	const scope = "0000.task"
	cpuset := filepath.Join(parent("cpuset"), "reserve")
	for _, dir := range []string{filepath.Dir(cpuset), cpuset} {
		must.NoError(t, os.MkdirAll(dir, 0o755))
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			all, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
			must.NoError(t, err)
			must.NoError(t, os.WriteFile(filepath.Join(dir, file), all, 0))
		}
	}
	task.plan.Cgroup = cgroup.Spec{
		Version: cgroup.V1,
		Freezer: filepath.Join(parent("freezer"), scope),
		Memory:  filepath.Join(parent("memory"), scope),
		CPU:     filepath.Join(parent("cpu"), scope),
		CPUSet:  filepath.Join(cpuset, scope),
		Limits:  cgroup.Limits{MemoryBytes: 32 << 20, MemoryLow: 16 << 20, CPUShares: 512, CPUs: "0"},
	}
	return task
}

// inV2 places the task in a real cgroup of version 2. On hosts with cgroup v1, it
// has no controllers.
func (task *testTask) inV2(t testing.TB) *testTask {
	t.Helper()
	testenv.Need(t, testenv.Root)
	var st unix.Statfs_t
	root := "/sys/fs/cgroup/unified"
	if unix.Statfs(root, &st) != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
		root = "/sys/fs/cgroup"
	}
	if unix.Statfs(root, &st) != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
		t.Skip("needs cgroup v2")
	}
	dir := filepath.Join(root, fmt.Sprintf("lkl-executor-test-%d", os.Getpid()))
	must.NoError(t, os.MkdirAll(dir, 0o755))
	t.Cleanup(func() { removeTree(t, dir) })
	task.plan.Cgroup = cgroup.Spec{Version: cgroup.V2, Unified: filepath.Join(dir, "0000.task.scope")}
	return task
}

// removeTree removes a cgroup and those below it.
func removeTree(t testing.TB, dir string) {
	t.Helper()
	for _, name := range fileNames(t, dir) {
		path := filepath.Join(dir, name)
		if info, err := os.Lstat(path); err == nil && info.IsDir() {
			removeTree(t, path)
		}
	}
	must.NoError(t, os.Remove(dir))
}

func readTrimmed(t testing.TB, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	must.NoError(t, err)
	return strings.TrimSpace(string(b))
}

func TestV1_LimitsTheTask(t *testing.T) {
	task := newTask(t, "idle", "").inV1(t)
	c := task.start(t)
	spec := task.plan.Cgroup
	must.Eq(t, "33554432", readTrimmed(t, spec.Memory, "memory.limit_in_bytes"))
	must.Eq(t, "33554432", readTrimmed(t, spec.Memory, "memory.memsw.limit_in_bytes"))
	must.Eq(t, "16777216", readTrimmed(t, spec.Memory, "memory.soft_limit_in_bytes"))
	must.Eq(t, "512", readTrimmed(t, spec.CPU, "cpu.shares"))
	must.Eq(t, "0", readTrimmed(t, spec.CPUSet, "cpuset.cpus"))
	must.Eq(t, "0", procStatus(t, c.Identity().Guest.Pid)["Cpus_allowed_list"])

	guestPid, executorPid := fmt.Sprint(c.Identity().Guest.Pid), fmt.Sprint(c.Identity().Executor.Pid)
	for _, dir := range []string{spec.Memory, spec.CPU, spec.CPUSet} {
		must.SliceContainsAll(t, strings.Fields(readTrimmed(t, dir, "tasks")), []string{guestPid, executorPid}, must.Sprint(dir))
	}
	must.Eq(t, guestPid, readTrimmed(t, spec.Freezer, "tasks"), must.Sprint("the executor is not to be frozen"))

	stats, err := c.Stats(deadline(t))
	must.NoError(t, err)
	must.Eq(t, 32<<20, stats.Memory.Limit)
	must.Positive(t, stats.Memory.Usage)
	must.Positive(t, stats.Memory.Peak)
	must.Positive(t, stats.Memory.RSS)

	destroy(t, task.plan.Dir)
	for _, dir := range []string{spec.Memory, spec.CPU, spec.CPUSet, spec.Freezer} {
		must.DirNotExists(t, dir)
	}
}

func TestV1_AcceptsOtherLimitsInTheNextRun(t *testing.T) {
	task := newTask(t, "crash", "exit").inV1(t)
	for _, limit := range []uint64{32 << 20, 64 << 20, 16 << 20} {
		task.plan.Cgroup.Limits.MemoryBytes = limit
		c, _, err := client.Start(deadline(t), executorBinary, task.plan, task.files)
		must.NoError(t, err)
		waitExit(t, c)
		waitGone(t, c.Identity().Executor)
		must.Eq(t, fmt.Sprint(limit), readTrimmed(t, task.plan.Cgroup.Memory, "memory.limit_in_bytes"))
		must.Eq(t, fmt.Sprint(limit), readTrimmed(t, task.plan.Cgroup.Memory, "memory.memsw.limit_in_bytes"))
	}
	destroy(t, task.plan.Dir)
}

func TestV1_JoinsTheSharedCPUSet(t *testing.T) {
	task := newTask(t, "idle", "").inV1(t)
	task.plan.Cgroup.Limits.CPUs = ""
	task.plan.Cgroup.CPUSet = filepath.Dir(task.plan.Cgroup.CPUSet) // in place of Nomad's "share"
	c := task.start(t)
	must.SliceContains(t, strings.Fields(readTrimmed(t, task.plan.Cgroup.CPUSet, "tasks")), fmt.Sprint(c.Identity().Guest.Pid))
	destroy(t, task.plan.Dir)
	must.DirExists(t, task.plan.Cgroup.CPUSet)
}

func TestExit_ReportsOutOfMemoryOnlyIfTheKernelCountedIt(t *testing.T) {
	task := newTaskWithKernel(t, hogKernel(t), "").inV1(t)
	task.plan.Memory = 64 << 20 // twice its limit
	for range 2 {               // the second run must not use the counter of the first
		c, _, err := client.Start(deadline(t), executorBinary, task.plan, task.files)
		must.NoError(t, err)
		exit := waitExit(t, c)
		must.True(t, exit.OOMKilled, must.Sprint(exit.Reason))
		must.Eq(t, int(unix.SIGKILL), exit.Signal)
		must.Eq(t, "out of memory: the task may use 32 MiB", exit.Reason)
		waitGone(t, c.Identity().Executor)
	}
	// Another kill in the same group is no out-of-memory kill.
	idle := newTask(t, "idle", "")
	idle.plan.Cgroup = task.plan.Cgroup
	c := idle.start(t)
	must.NoError(t, c.Signal(deadline(t), unix.SIGKILL))
	must.False(t, waitExit(t, c).OOMKilled)
}

func TestStop_ThawsAFrozenGuest(t *testing.T) {
	for _, tc := range []struct {
		name   string
		in     func(*testTask, testing.TB) *testTask
		freeze func(*testTask) (file, value string)
	}{
		{"v1", (*testTask).inV1, func(task *testTask) (string, string) {
			return filepath.Join(task.plan.Cgroup.Freezer, "freezer.state"), "FROZEN"
		}},
		// The executor is frozen too, so the client has to thaw both.
		{"v2", (*testTask).inV2, func(task *testTask) (string, string) {
			return filepath.Join(task.plan.Cgroup.Unified, "cgroup.freeze"), "1"
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			task := tc.in(newTask(t, "control", "").withControl(), t)
			c := task.start(t)
			file, value := tc.freeze(task)
			must.NoError(t, os.WriteFile(file, []byte(value), 0))
			must.NoError(t, c.Stop(deadline(t), unix.SIGTERM, 50*time.Millisecond))
			waitGone(t, c.Identity().Guest)
			must.Eq(t, int(unix.SIGKILL), waitExit(t, c).Signal)
		})
	}
}

func TestV2_StartsTheTaskInItsGroup(t *testing.T) {
	task := newTask(t, "idle", "").inV2(t)
	c := task.start(t)
	procs := strings.Fields(readTrimmed(t, task.plan.Cgroup.Unified, "cgroup.procs"))
	must.SliceContainsAll(t, procs, []string{
		fmt.Sprint(c.Identity().Executor.Pid), fmt.Sprint(c.Identity().Guest.Pid),
	})
	destroy(t, task.plan.Dir)
	must.DirNotExists(t, task.plan.Cgroup.Unified)
}

func TestStart_FailsIfALimitCannotBeWritten(t *testing.T) {
	task := newTask(t, "idle", "").inV2(t) // has no memory controller on hosts with cgroup v1
	if _, err := os.Stat(filepath.Dir(task.plan.Cgroup.Unified) + "/memory.max"); err == nil {
		t.Skip("needs a cgroup v2 without memory controller")
	}
	task.plan.Cgroup.Limits.MemoryBytes = 32 << 20
	_, _, err := client.Start(deadline(t), executorBinary, task.plan, task.files)
	must.ErrorContains(t, err, "set the task's limits")
	must.ErrorContains(t, err, "memory.max")
	must.NoError(t, client.Destroy(deadline(t), task.plan.Dir, client.Known{Cgroup: task.plan.Cgroup}))
}
