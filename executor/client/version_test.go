// SPDX-License-Identifier: MPL-2.0

package client_test

import (
	"context"
	"encoding/json"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/executor/client"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// dialAs connects to a task's executor as if it had other protocol versions.
func dialAs(t *testing.T, task *testTask, version, minVersion int) *client.Client {
	t.Helper()
	id, err := executor.ReadIdentity(task.plan.Dir)
	must.NoError(t, err)
	id.Version, id.MinVersion = version, minVersion
	rewrite(t, task.plan.Dir, id)
	c, err := client.Dial(deadline(t), task.plan.Dir)
	must.NoError(t, err)
	return c
}

func TestVersion_ClientUsesAVersionThatBothSupport(t *testing.T) {
	task := newTask(t, "idle", "")
	task.start(t)
	for _, minVersion := range []int{0, executor.MinVersion} {
		c := dialAs(t, task, executor.Version+5, minVersion)
		must.NoError(t, c.Compatible())
		_, err := c.State(deadline(t))
		must.NoError(t, err)
	}
}

func TestVersion_ExecutorAnswersInTheVersionOfTheRequest(t *testing.T) {
	task := newTask(t, "idle", "")
	task.start(t)
	for version := executor.MinVersion; version <= executor.Version; version++ {
		r := send(t, task, executor.Request{Version: version, Op: executor.OpState})
		must.Eq(t, "", r.Error)
		must.Eq(t, version, r.Version)
	}
	for _, version := range []int{executor.MinVersion - 1, executor.Version + 1} {
		r := send(t, task, executor.Request{Version: version, Op: executor.OpState})
		must.StrContains(t, r.Error, "this executor supports versions")
	}
}

func send(t *testing.T, task *testTask, request executor.Request) (r executor.Response) {
	t.Helper()
	conn, err := net.Dial("unix", filepath.Join(task.plan.Dir, executor.SocketFile))
	must.NoError(t, err)
	defer func() { _ = conn.Close() }()
	must.NoError(t, conn.SetDeadline(time.Now().Add(testenv.Patience)))
	must.NoError(t, json.NewEncoder(conn).Encode(request))
	must.NoError(t, json.NewDecoder(conn).Decode(&r))
	return r
}

func TestVersion_IncompatibleExecutorKeepsItsTask(t *testing.T) {
	task := newTask(t, "idle", "")
	task.start(t)
	c := dialAs(t, task, executor.Version+5, executor.Version+3)
	must.ErrorIs(t, c.Compatible(), client.ErrIncompatible)
	must.ErrorIs(t, c.Signal(deadline(t), unix.SIGTERM), client.ErrIncompatible)
	_, err := c.State(deadline(t))
	must.ErrorIs(t, err, client.ErrIncompatible)
	_, err = c.Stats(deadline(t))
	must.NoError(t, err)
	must.True(t, c.Identity().Guest.Alive())

	ended := make(chan executor.Exit, 1)
	go func() {
		exit, _ := c.Wait(deadline(t))
		ended <- exit
	}()
	must.NoError(t, c.Stop(deadline(t), unix.SIGTERM, time.Hour))
	exit := <-ended
	must.Eq(t, int(unix.SIGKILL), exit.Signal)
	waitGone(t, c.Identity().Executor, c.Identity().Guest)
}

func TestVersion_ExecutorOlderThanThePluginSupports(t *testing.T) {
	task := newTask(t, "idle", "")
	task.start(t)
	c := dialAs(t, task, executor.MinVersion-1, executor.MinVersion-1)
	must.ErrorIs(t, c.Compatible(), client.ErrIncompatible)
}

// A plugin that ends must not leave processes. TestWaitGone_ReturnsWhenItsContextHasEnded
// checks that it does not wait for them.
func TestDestroy_KillsAlsoWhenItsContextHasEnded(t *testing.T) {
	task := newTask(t, "idle", "")
	c := task.start(t)
	must.NoError(t, c.Identity().Executor.Signal(unix.SIGSTOP)) // ignores SIGTERM
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := client.Destroy(ctx, task.plan.Dir, client.Known{})
	if err != nil {
		must.ErrorIs(t, err, context.Canceled)
	}
	waitGone(t, c.Identity().Executor, c.Identity().Guest)
	destroy(t, task.plan.Dir)
	reapOrphan(t, c.Identity().Guest)
}
