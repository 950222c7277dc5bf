// SPDX-License-Identifier: MPL-2.0

package client_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/executor/client"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestConfine_EveryThreadIsConfinedWhileTheGuestRuns(t *testing.T) {
	testenv.Need(t, testenv.Root)
	c := newTask(t, "control", "").withControl().start(t)
	id := c.Identity()
	// Requests make the runtime collect garbage, which starts threads.
	for range 2000 {
		_, err := c.State(deadline(t))
		must.NoError(t, err)
	}
	guest, own := strconv.Itoa(id.UID), executorUser(t, c)
	must.NotEq(t, "0", own)
	must.NotEq(t, guest, own)
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", id.Executor.Pid))
	must.NoError(t, err)
	must.Greater(t, 1, len(threads))
	for _, thread := range threads {
		tid, err := strconv.Atoi(thread.Name())
		must.NoError(t, err)
		s := procStatus(t, tid)
		must.Eq(t, strings.Join([]string{guest, own, own, own}, " "), s["Uid"])
		must.Eq(t, strings.Join([]string{own, own, own, own}, " "), s["Gid"])
		must.Eq(t, "", s["Groups"])
		must.Eq(t, "1", s["NoNewPrivs"])
		must.Eq(t, "2", s["Seccomp"])
		for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
			must.Eq(t, strings.Repeat("0", 16), s[set], must.Sprint(set))
		}
	}
}

// executorUser returns the effective UID of a task's executor, once it is confined.
func executorUser(t *testing.T, c *client.Client) string {
	t.Helper()
	_, err := c.State(deadline(t)) // an executor confines itself before it reads requests
	must.NoError(t, err)
	return strings.Fields(procStatus(t, c.Identity().Executor.Pid)["Uid"])[1]
}

func TestConfine_TwoExecutorsHaveDifferentUsers(t *testing.T) {
	testenv.Need(t, testenv.Root)
	must.NotEq(t, executorUser(t, newTask(t, "idle", "").start(t)), executorUser(t, newTask(t, "idle", "").start(t)))
}

// Plugins trust the files of root in a task's directory.
func TestConfine_LeavesTheOtherFilesToRoot(t *testing.T) {
	testenv.Need(t, testenv.Root)
	task := newTask(t, "idle", "")
	c := task.start(t)
	own := executorUser(t, c)
	stat := func(path string) (st unix.Stat_t) {
		must.NoError(t, unix.Lstat(path, &st))
		return st
	}
	dir := stat(task.plan.Dir)
	must.Eq(t, 0, dir.Uid)
	must.Eq(t, own, fmt.Sprint(dir.Gid))
	must.Eq(t, unix.S_ISVTX|0o770, dir.Mode&^unix.S_IFMT)
	owners := map[string]string{}
	for _, name := range fileNames(t, task.plan.Dir) {
		st := stat(filepath.Join(task.plan.Dir, name))
		owners[name] = fmt.Sprint(st.Uid)
		must.Zero(t, st.Mode&0o077, must.Sprint(name))
	}
	must.Eq(t, map[string]string{
		executor.PlanFile: "0", executor.IdentityFile: "0",
		executor.SocketFile: own, executor.DroppedFile: own, executor.ExitFile + ".new": own,
	}, owners)
}

func TestConfine_OpensNothingElse(t *testing.T) {
	testenv.Need(t, testenv.Root)
	task := newTask(t, "control", "").withControl().inV1(t)
	c := task.start(t)
	_, err := c.State(deadline(t)) // is answered after the work that follows the start
	must.NoError(t, err)
	allowed := []string{
		"pipe:", "socket:", "anon_inode:[pidfd]",
		"anon_inode:[eventpoll]", "anon_inode:[eventfd]", // timers of Go's runtime
		"/dev/null", task.plan.Dir, task.plan.Stdout, task.plan.Stderr,
		filepath.Join(task.plan.Cgroup.Memory, "memory.oom_control"), filepath.Join(task.plan.Cgroup.Memory, "memory.stat"),
		filepath.Join(task.plan.Cgroup.Freezer, "freezer.state"),
		filepath.Join(task.plan.Dir, executor.ExitFile+".new"), filepath.Join(task.plan.Dir, executor.DroppedFile),
	}
	for fd, to := range openFDs(t, c.Identity().Executor.Pid) {
		kind, _, _ := strings.Cut(to, "[")
		if kind != "anon_inode:" {
			to = kind
		}
		must.SliceContains(t, allowed, to, must.Sprint("descriptor ", fd))
	}
}
