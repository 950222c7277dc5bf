// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/cluster"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/sandbox"
)

// clientWithoutExecutor starts a client whose executors never answer, so that no start
// of a task ends by itself.
func clientWithoutExecutor(t *testing.T, index int, name, timeout string) *cluster.Nomad {
	t.Helper()
	n, err := cluster.StartNomad(t.Context(), tools, sandbox.Dir(), cluster.Options{
		Name: name, Index: index, Server: nomad, PluginConfig: fmt.Sprintf("start_timeout = %q", timeout),
	})
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, n.Stop()) })
	installed, err := filepath.Glob(filepath.Join(n.StateDir, "bin", "*", "lkl-executor"))
	must.NoError(t, err)
	must.SliceLen(t, 1, installed)
	script := fmt.Sprintf("#!/bin/sh\ncd %s\nexec sleep 1000\n", n.Dir)
	// In place: the plugin would replace another file.
	must.NoError(t, os.WriteFile(installed[0], []byte(script), 0o755))
	return n
}

// awaitExecutors waits until a number of executors run that do not answer, other ones
// than the given ones, and returns them.
func awaitExecutors(t *testing.T, n *cluster.Nomad, wanted int, other []int) (pids []int) {
	t.Helper()
	must.Wait(t, testenv.Eventually(func() error {
		pids = processes(t, func(dir string) bool {
			workDir, _ := os.Readlink(filepath.Join(dir, "cwd")) // "" after its end
			program, _ := os.Readlink(filepath.Join(dir, "exe"))
			return workDir == n.Dir && strings.HasSuffix(program, "sleep")
		})
		if len(pids) != wanted || slices.ContainsFunc(pids, func(pid int) bool { return slices.Contains(other, pid) }) {
			return fmt.Errorf("want %d executors in addition to %v, there are %v", wanted, other, pids)
		}
		return nil
	}))
	return pids
}

// restartable returns the job with a policy that lets Nomad restart it.
func restartable(job *api.Job) *api.Job {
	job.TaskGroups[0].RestartPolicy = &api.RestartPolicy{
		Attempts: ptr(1), Delay: ptr(time.Minute), Interval: ptr(time.Hour), Mode: ptr("fail"),
	}
	return job
}

// Nomad does not interrupt a start, so start_timeout bounds the stop of a job.
func TestStart_StoppedJobEndsAtTheDeadline(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	n := clientWithoutExecutor(t, 4, "start-stopped", "5s")
	a := start(t, n, restartable(guestJob(t, "hello")))
	awaitExecutors(t, n, 1, nil)
	_, _, err := nomad.API.Jobs().Deregister(a.JobID, false, nil)
	must.NoError(t, err)
	a.await(t, api.AllocClientStatusComplete) // neither failed nor restarted
	event := a.awaitEvent(t, api.TaskDriverFailure)
	must.StrContains(t, event.DisplayMessage, "executor: ")
	must.StrContains(t, event.DisplayMessage, "the start took longer than start_timeout (5s)")
	awaitExecutors(t, n, 0, nil)
	left, err := os.ReadDir(filepath.Join(n.StateDir, "tasks"))
	must.NoError(t, err)
	must.SliceEmpty(t, left)
}

// The plugin outlives a killed agent. The next agent starts the task again, and the
// unfinished start must not stand in its way.
func TestStart_NextAgentReplacesTheStartOfAKilledOne(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	n := clientWithoutExecutor(t, 5, "start-killed", "1h")
	a := start(t, n, restartable(guestJob(t, "hello")))
	first := awaitExecutors(t, n, 1, nil)
	n.Kill()
	must.NoError(t, n.Start(t.Context()))
	second := awaitExecutors(t, n, 1, first)

	_, _, err := nomad.API.Jobs().Deregister(a.JobID, false, nil)
	must.NoError(t, err)
	must.NoError(t, syscall.Kill(second[0], syscall.SIGKILL)) // ends the start
	a.await(t, api.AllocClientStatusComplete)
}
