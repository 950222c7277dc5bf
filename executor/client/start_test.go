// SPDX-License-Identifier: MPL-2.0

package client_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/executor/client"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

func TestStart_RunsTheGuest(t *testing.T) {
	task := newTask(t, "hello", "from here")
	before := time.Now()
	c, state, err := client.Start(deadline(t), executorBinary, task.plan, task.files)
	must.NoError(t, err)
	must.Eq(t, t.Name(), state.Task)
	must.Eq(t, executor.TenderSPT, state.Tender)
	must.Eq(t, executor.Version, state.Version)
	must.Between(t, before.UnixNano(), state.Started.UnixNano(), time.Now().UnixNano())
	must.Eq(t, state.Guest, c.Identity().Guest)
	exit := waitExit(t, c)
	must.Eq(t, executor.Exit{Reason: "exited with 0", Finished: exit.Finished}, exit)
	must.StrContains(t, string(task.readOutput(t)), "command line: from here\n")
	waitGone(t, state.Executor, state.Guest)
}

func TestStart_GivesBlockDevicesTheirSize(t *testing.T) {
	task := newTask(t, "disk", "")
	disk, err := os.CreateTemp(t.TempDir(), "")
	must.NoError(t, err)
	must.NoError(t, disk.Truncate(1<<20+100)) // not a multiple of the block size
	task.files = append(task.files, disk)
	task.plan.Devices = []executor.Device{{Name: "disk", Type: unikernel.Block, FD: 1}}
	exit := waitExit(t, task.start(t))
	must.Eq(t, 0, exit.Code, must.Sprint(string(task.readOutput(t)), exit.Reason))
}

func TestStart_ConfinesTheGuest(t *testing.T) {
	testenv.Need(t, testenv.Root)
	task := newTask(t, "idle", "")
	c := task.start(t)
	task.awaitLine(t, "idle: waiting")
	id := c.Identity()
	uid := strconv.Itoa(task.plan.UIDBase + id.Executor.Pid)
	must.Eq(t, uid, strconv.Itoa(id.UID))

	s := procStatus(t, id.Guest.Pid)
	must.Eq(t, strings.Repeat(" "+uid, 4), " "+s["Uid"])
	must.Eq(t, strings.Repeat(" "+uid, 4), " "+s["Gid"])
	must.Eq(t, "", s["Groups"])
	must.Eq(t, strings.Repeat("0", 16), s["CapPrm"])
	must.Eq(t, "1", s["NoNewPrivs"])
	must.Eq(t, "2", s["Seccomp"])
	must.Eq(t, strconv.Itoa(id.Guest.Pid), s["NSsid"])
	must.Eq(t, "", string(readProc(t, id.Guest.Pid, "environ")))
	must.Eq(t, "0\n", string(readProc(t, id.Guest.Pid, "oom_score_adj")))
	root, err := os.Readlink(fmt.Sprintf("/proc/%d/root", id.Guest.Pid))
	must.NoError(t, err)
	must.Eq(t, task.plan.Root, root)
	must.StrContains(t, string(readProc(t, id.Guest.Pid, "limits")), "Max core file size        0                    0")
}

func TestStart_ExecutorClosesForeignDescriptors(t *testing.T) {
	testenv.Need(t, testenv.Root)
	// A descriptor that the plugin inherited and does not know.
	foreign, err := unix.FcntlInt(0, unix.F_DUPFD, 200)
	must.NoError(t, err)
	defer func() { _ = unix.Close(foreign) }()
	c := newTask(t, "control", "").withControl().start(t)
	pid := c.Identity().Executor.Pid
	must.Eq(t, strconv.Itoa(pid), procStatus(t, pid)["NSsid"], must.Sprint("a new session"))
	for fd, to := range openFDs(t, pid) {
		must.NotEq(t, strconv.Itoa(foreign), fd)
		must.StrNotContains(t, to, ".spt", must.Sprint("the executor has closed the kernel"))
	}
	must.MapContainsKeys(t, openFDs(t, c.Identity().Guest.Pid), []string{"1", "3", "4", "5"})
	must.MapLen(t, 4, openFDs(t, c.Identity().Guest.Pid))
}

func TestStart_ProtectsTheExecutorFromTheOOMKiller(t *testing.T) {
	caps, err := strconv.ParseUint(procStatus(t, os.Getpid())["CapEff"], 16, 64)
	must.NoError(t, err)
	if caps&(1<<unix.CAP_SYS_RESOURCE) == 0 {
		t.Skip("needs the capability CAP_SYS_RESOURCE")
	}
	c := newTask(t, "idle", "").start(t)
	must.Eq(t, "-999\n", string(readProc(t, c.Identity().Executor.Pid, "oom_score_adj")))
	must.Eq(t, "0\n", string(readProc(t, c.Identity().Guest.Pid, "oom_score_adj")))
}

// The executor does not read a long command line, and keeps no file with it.
func TestStart_RefusesALongCommandLineForOtherGuests(t *testing.T) {
	task := newTask(t, "idle", strings.Repeat("secret-of-the-task ", 100_000))
	_, _, err := client.Start(deadline(t), executorBinary, task.plan, task.files)
	must.ErrorContains(t, err, "command line of 1900000 bytes in a file, but the unikernel lacks the feature commandline")
	must.StrNotContains(t, err.Error(), "secret-of-the-task")
	must.Eq(t, []string{}, fileNames(t, task.plan.Dir))
}

func TestStart_WritesNoSecretToDisk(t *testing.T) {
	task := newTask(t, "idle", "PASSWORD=secret-of-the-task")
	c := task.start(t)
	must.NoError(t, c.Stop(deadline(t), unix.SIGTERM, 0))
	waitGone(t, c.Identity().Executor)
	must.SliceContainsAll(t, fileNames(t, task.plan.Dir), []string{"dropped", "executor.json", "exit.json", "plan.json"})
	for _, name := range fileNames(t, task.plan.Dir) {
		path := filepath.Join(task.plan.Dir, name)
		content, err := os.ReadFile(path)
		must.NoError(t, err)
		must.StrNotContains(t, string(content), "secret-of-the-task")
		info, err := os.Stat(path)
		must.NoError(t, err)
		must.Eq(t, 0o600, info.Mode())
	}
}

func TestStart_ReportsMistakesAndLeavesNothing(t *testing.T) {
	for _, tc := range []struct {
		name string
		with func(*testTask)
		want string
	}{
		{"no such directory", func(task *testTask) { task.plan.Dir += "/none" }, "open state directory"},
		{"relative directory", func(task *testTask) { task.plan.Dir = "task" }, "not absolute"},
		{"no task", func(task *testTask) { task.plan.Task = "" }, "no task ID"},
		{"another tender", func(task *testTask) { task.plan.Tender = "hvt" }, `unknown tender "hvt"`},
		{"no kernel", func(task *testTask) { task.plan.KernelFD = 1 }, "the kernel is the inherited file with index 1, but there are 1"},
		{"not a kernel", func(task *testTask) { task.files[0] = openNull(t) }, "read the kernel"},
		{"undeclared device", func(task *testTask) { task.withControl() }, `device "control"`},
		{"not enough memory", func(task *testTask) { task.plan.Memory = 1 << 20 }, "memory"},
		{"no output", func(task *testTask) { task.plan.Stdout += "/none" }, "stdout.fifo/none"},
		{"no root", func(task *testTask) { task.plan.Root = "/nonexistent" }, "/nonexistent"},
		{"unknown cgroup", func(task *testTask) { task.plan.Cgroup.Version = 3 }, "unknown cgroup version: 3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			awaitChildless(t)
			task := newTask(t, "idle", "")
			dir := task.plan.Dir
			tc.with(task)
			c, _, err := client.Start(deadline(t), executorBinary, task.plan, task.files)
			must.ErrorContains(t, err, tc.want)
			must.Nil(t, c)
			must.Eq(t, []string{}, fileNames(t, dir), must.Sprint("nothing is left"))
			must.True(t, childless())
		})
	}
}

func TestStart_FailsWithoutTheBinary(t *testing.T) {
	task := newTask(t, "idle", "")
	_, _, err := client.Start(deadline(t), "/nonexistent/lkl-executor", task.plan, task.files)
	must.ErrorIs(t, err, os.ErrNotExist)
	must.Eq(t, []string{}, fileNames(t, task.plan.Dir))
}

func TestStart_GivesUpOnAnExecutorThatHangs(t *testing.T) {
	awaitChildless(t)
	task := newTask(t, "idle", "")
	hanging := filepath.Join(t.TempDir(), "hanging")
	must.NoError(t, os.WriteFile(hanging, []byte("#!/bin/sh\nexec sleep 1000\n"), 0o755))
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, _, err := client.Start(ctx, hanging, task.plan, task.files)
	must.ErrorIs(t, err, context.DeadlineExceeded)
	must.True(t, childless())
	must.Eq(t, []string{}, fileNames(t, task.plan.Dir))
}

func TestStart_RefusesADirectoryInUse(t *testing.T) {
	task := newTask(t, "idle", "")
	c := task.start(t)
	_, _, err := client.Start(deadline(t), executorBinary, task.plan, task.files)
	must.ErrorIs(t, err, client.ErrRunning)
	_, err = c.State(deadline(t))
	must.NoError(t, err)
}

func TestStart_WorksAgainAfterTheEnd(t *testing.T) {
	task := newTask(t, "crash", "exit 7")
	must.Eq(t, 7, waitExit(t, task.start(t)).Code)
	first, err := executor.ReadIdentity(task.plan.Dir)
	must.NoError(t, err)
	waitGone(t, first.Executor)

	task.plan.CommandLine = "exit 8"
	c := task.start(t)
	must.Eq(t, 8, waitExit(t, c).Code)
	must.NotEq(t, first.Executor, c.Identity().Executor)
}

func openNull(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Open(os.DevNull)
	must.NoError(t, err)
	return f
}

// awaitChildless waits until the executors of earlier tests are reaped.
func awaitChildless(t *testing.T) {
	t.Helper()
	must.Wait(t, testenv.EventuallyTrue(childless), must.Sprint("waiting for processes of earlier tests"))
}

// childless reports whether this process has no children, not even zombies.
func childless() bool {
	return errors.Is(unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil), unix.ECHILD)
}
