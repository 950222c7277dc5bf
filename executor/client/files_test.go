// SPDX-License-Identifier: MPL-2.0

package client_test

import (
	"os"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/executor/client"
	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// fileServer returns the process of a task's file server.
func fileServer(t *testing.T, task *testTask) executor.Process {
	t.Helper()
	id, err := executor.ReadIdentity(task.plan.Dir)
	must.NoError(t, err)
	must.Positive(t, id.Files.Pid)
	return id.Files
}

func TestFiles_ServerEndsWithTheGuest(t *testing.T) {
	for name, kill := range map[string]func(id executor.Identity) error{
		"guest killed":        func(id executor.Identity) error { return id.Guest.Signal(unix.SIGKILL) },
		"executor killed":     func(id executor.Identity) error { return id.Executor.Signal(unix.SIGKILL) },
		"executor terminated": func(id executor.Identity) error { return id.Executor.Signal(unix.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			task, _ := newFilesTask(t)
			c := task.start(t)
			server := fileServer(t, task)
			must.True(t, server.Alive())
			must.NoError(t, kill(c.Identity()))
			waitGone(t, c.Identity().Guest, server, c.Identity().Executor)
			if exit, err := client.ReadExit(task.plan.Dir); err == nil {
				must.Eq(t, "", exit.FilesEnded)
			}
			if name == "executor killed" {
				reapOrphan(t, c.Identity().Guest)
				reapOrphan(t, server)
			}
		})
	}
}

func TestFiles_DeathOfTheServerIsReported(t *testing.T) {
	task, _ := newFilesTask(t)
	c := task.start(t)
	must.NoError(t, fileServer(t, task).Signal(unix.SIGKILL))
	const want = "killed by SIGKILL"
	must.Wait(t, testenv.EventuallyTrue(func() bool {
		state, err := c.State(deadline(t))
		must.NoError(t, err)
		return state.FilesEnded == want
	}))
	stats, err := c.Stats(deadline(t))
	must.NoError(t, err)
	must.Eq(t, want, stats.FilesEnded)
	must.True(t, c.Identity().Guest.Alive())
	must.NoError(t, c.Identity().Guest.Signal(unix.SIGKILL))
	must.Eq(t, want, waitExit(t, c).FilesEnded)
	must.StrContains(t, string(task.readStderr(t)), "the file server ended (killed by SIGKILL)")
}

func TestFiles_StartReportsWhyTheServerDoesNotStart(t *testing.T) {
	task, share := newFilesTask(t)
	fifo := share + "/fifo"
	must.NoError(t, unix.Mkfifo(fifo, 0o600))
	task.plan.Files.Server.Shares = []files.Share{{FD: task.addFile(t, fifo, unix.O_PATH)}}
	_, _, err := client.Start(deadline(t), executorBinary, task.plan, task.files)
	must.ErrorContains(t, err, "share 0: neither a directory nor a regular file")

	task, _ = newFilesTask(t)
	task.plan.Files.ProgramFD = task.addFile(t, os.DevNull, unix.O_RDONLY)
	_, _, err = client.Start(deadline(t), executorBinary, task.plan, task.files)
	must.ErrorContains(t, err, "start the file server: permission denied")

	task, _ = newFilesTask(t)
	task.plan.Files.ProgramFD = task.addFile(t, "/bin/false", unix.O_RDONLY)
	_, _, err = client.Start(deadline(t), executorBinary, task.plan, task.files)
	must.ErrorContains(t, err, "start the file server: exited with 1")
}

// hangAsFileServer makes this test binary a file server that is blocked in the kernel: it does
// not notice that the guest has ended.
func hangAsFileServer() {
	_, _ = unix.Write(2, []byte("ready\n"))
	for {
		_ = unix.Pause()
	}
}

func TestFiles_HungServerDelaysTheEndForALimitedTime(t *testing.T) {
	task, _ := newFilesTask(t)
	task.plan.Files.ProgramFD = task.addFile(t, "/proc/self/exe", unix.O_RDONLY)
	c := task.start(t)
	server := fileServer(t, task)
	must.NoError(t, c.Identity().Guest.Signal(unix.SIGKILL))
	must.Eq(t, "", waitExit(t, c).FilesEnded)
	waitGone(t, c.Identity().Executor)
	must.True(t, server.Alive())
	must.StrContains(t, string(task.readStderr(t)), "the file server has not ended")
	destroy(t, task.plan.Dir)
	waitGone(t, server)
	reapOrphan(t, server)
}

// A task that ends by a stop and one that is destroyed leave no process.
func TestFiles_DestroyEndsTheServer(t *testing.T) {
	task, _ := newFilesTask(t)
	c := task.start(t)
	server := fileServer(t, task)
	destroy(t, task.plan.Dir)
	waitGone(t, server, c.Identity().Executor, c.Identity().Guest)
}

func TestFiles_ServerIsInTheTasksCgroup(t *testing.T) {
	for version, place := range map[string]func(*testTask) *testTask{
		"v1": func(task *testTask) *testTask { return task.inV1(t) },
		"v2": func(task *testTask) *testTask { return task.inV2(t) },
	} {
		t.Run(version, func(t *testing.T) {
			task, _ := newFilesTask(t)
			c := place(task).start(t)
			guest, server := c.Identity().Guest.Pid, fileServer(t, task).Pid
			for _, file := range []string{"cgroup", "oom_score_adj"} {
				must.Eq(t, string(readProc(t, guest, file)), string(readProc(t, server, file)))
			}
			must.NoError(t, c.Identity().Guest.Signal(unix.SIGKILL))
			waitExit(t, c)
		})
	}
}
