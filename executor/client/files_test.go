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
