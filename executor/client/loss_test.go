// SPDX-License-Identifier: MPL-2.0

package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/executor/client"
)

func TestExecutorKilled_TheGuestDiesAndWaitTells(t *testing.T) {
	task := newTask(t, "idle", "")
	c := task.start(t)
	lost := make(chan error, 1)
	go func() {
		_, err := c.Wait(deadline(t))
		lost <- err
	}()
	must.NoError(t, c.Identity().Executor.Signal(unix.SIGKILL))
	must.ErrorIs(t, <-lost, client.ErrLost)
	waitGone(t, c.Identity().Guest, c.Identity().Executor)
	reapOrphan(t, c.Identity().Guest)
	_, err := client.Dial(deadline(t), task.plan.Dir)
	must.ErrorIs(t, err, client.ErrNotRunning)
	_, err = c.Wait(deadline(t))
	must.ErrorIs(t, err, client.ErrLost)
	must.NoError(t, c.Stop(deadline(t), unix.SIGTERM, time.Second))
}

func TestExecutorTerminated_KillsTheGuestAndSaysSo(t *testing.T) {
	for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGQUIT} {
		c := newTask(t, "idle", "").start(t)
		must.NoError(t, c.Identity().Executor.Signal(sig))
		exit := waitExit(t, c)
		must.Eq(t, int(unix.SIGKILL), exit.Signal)
		must.Eq(t, "killed: the executor received a terminating signal", exit.Reason)
	}
}

func TestExecutor_IgnoresOtherSignals(t *testing.T) {
	c := newTask(t, "idle", "").start(t)
	for _, sig := range []syscall.Signal{unix.SIGHUP, unix.SIGPIPE, unix.SIGUSR1, unix.SIGUSR2} {
		must.NoError(t, c.Identity().Executor.Signal(sig))
		_, err := c.State(deadline(t))
		must.NoError(t, err)
	}
}

// pluginEnv has this test binary be a plugin that starts a task and hangs.
const pluginEnv = "LKL_TEST_PLUGIN"

type pluginOrder struct {
	Binary string
	Plan   executor.Plan
}

func beAPlugin() error {
	var order pluginOrder
	if err := json.Unmarshal([]byte(os.Getenv(pluginEnv)), &order); err != nil {
		return err
	}
	_, state, err := client.Start(context.Background(), order.Binary, order.Plan, []*os.File{os.NewFile(3, "kernel")})
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(state); err != nil {
		return err
	}
	select {}
}

func TestPluginKilled_EverythingGoesOn(t *testing.T) {
	task := newTask(t, "control", "").withControl()
	order, err := json.Marshal(pluginOrder{executorBinary, task.plan})
	must.NoError(t, err)
	plugin := exec.Command(os.Args[0])
	plugin.Env = append(os.Environ(), pluginEnv+"="+string(order))
	plugin.ExtraFiles = task.files
	plugin.Stderr = os.Stderr
	out, err := plugin.StdoutPipe()
	must.NoError(t, err)
	must.NoError(t, plugin.Start())
	var state executor.State
	must.NoError(t, json.NewDecoder(out).Decode(&state))
	must.NoError(t, plugin.Process.Kill())
	_ = plugin.Wait()

	c, err := client.Dial(deadline(t), task.plan.Dir)
	must.NoError(t, err)
	must.Eq(t, state.Guest, c.Identity().Guest)
	must.Eq(t, state.Executor, c.Identity().Executor)
	must.NoError(t, c.Signal(deadline(t), unix.SIGUSR1))
	task.awaitLine(t, "control: signal 10")
	must.NoError(t, c.Stop(deadline(t), unix.SIGTERM, patience))
	must.Eq(t, "exited with 0", waitExit(t, c).Reason)
	reapOrphan(t, state.Executor)
}

// startByHand does what Start does up to the process, and returns our end of
// the line to it.
func startByHand(t *testing.T, task *testTask) (*exec.Cmd, *net.UnixConn) {
	t.Helper()
	must.NoError(t, executor.WritePlan(task.plan))
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must.NoError(t, err)
	ours, theirs := os.NewFile(uintptr(pair[0]), ""), os.NewFile(uintptr(pair[1]), "")
	line, err := net.FileConn(ours)
	must.NoError(t, err)
	must.NoError(t, ours.Close())
	cmd := exec.Command(executorBinary)
	cmd.ExtraFiles = append([]*os.File{theirs}, task.files...)
	must.NoError(t, cmd.Start())
	must.NoError(t, theirs.Close())
	return cmd, line.(*net.UnixConn)
}

func TestPluginKilled_BeforeThePlan(t *testing.T) {
	for _, half := range []string{"", `{"Files":1,"Plan":{`} {
		task := newTask(t, "idle", "")
		cmd, line := startByHand(t, task)
		_, err := line.Write([]byte(half))
		must.NoError(t, err)
		must.NoError(t, line.Close())
		var exit *exec.ExitError
		must.True(t, errors.As(cmd.Wait(), &exit))
		must.Eq(t, 2, exit.ExitCode())
		must.Eq(t, []string{"plan.json"}, fileNames(t, task.plan.Dir))
	}
}

func TestPluginKilled_BeforeTheAnswer(t *testing.T) {
	task := newTask(t, "idle", "")
	cmd, line := startByHand(t, task)
	task.plan.Version = executor.Version
	must.NoError(t, json.NewEncoder(line).Encode(executor.Order{Files: 1, Plan: task.plan}))
	must.NoError(t, line.Close())
	must.NoError(t, cmd.Wait())
	exit, err := client.ReadExit(task.plan.Dir)
	must.NoError(t, err)
	must.Eq(t, "killed: the plugin ended while it started the task", exit.Reason)
	id, err := executor.ReadIdentity(task.plan.Dir)
	must.NoError(t, err)
	waitGone(t, id.Guest)
}

func TestDial_FindsOnlyItsOwn(t *testing.T) {
	task := newTask(t, "idle", "")
	task.start(t)
	id, err := executor.ReadIdentity(task.plan.Dir)
	must.NoError(t, err)
	_, err = client.Dial(deadline(t), task.plan.Dir)
	must.NoError(t, err)
	for _, tc := range []struct {
		name string
		with func(*executor.Identity)
		want string
	}{
		{"another start time", func(id *executor.Identity) { id.Executor.StartTime++ }, "no executor is running"},
		{"another boot", func(id *executor.Identity) { id.Executor.BootID = "b" }, "no executor is running"},
		{"another task", func(id *executor.Identity) { id.Task = "b" }, `runs task "b"`},
		{"another process", func(id *executor.Identity) { id.Executor = id.Guest }, "listens on the socket"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			changed := id
			tc.with(&changed)
			rewrite(t, task.plan.Dir, changed)
			_, err := client.Dial(deadline(t), task.plan.Dir)
			must.ErrorContains(t, err, tc.want)
		})
	}
	rewrite(t, task.plan.Dir, id)
}

func TestReadExit_OfAnotherRunIsNone(t *testing.T) {
	task := newTask(t, "crash", "exit")
	waitExit(t, task.start(t))
	id, err := executor.ReadIdentity(task.plan.Dir)
	must.NoError(t, err)
	waitGone(t, id.Executor)
	id.Executor.StartTime++
	rewrite(t, task.plan.Dir, id)
	_, err = client.ReadExit(task.plan.Dir)
	must.ErrorIs(t, err, os.ErrNotExist)
}

func rewrite(t *testing.T, dir string, id executor.Identity) {
	t.Helper()
	b, err := json.Marshal(id)
	must.NoError(t, err)
	must.NoError(t, os.WriteFile(filepath.Join(dir, executor.IdentityFile), b, 0o600))
}

func TestDestroy_KillsNoStranger(t *testing.T) {
	stranger := exec.Command("sleep", "1000")
	must.NoError(t, stranger.Start())
	defer func() {
		_ = stranger.Process.Kill()
		_ = stranger.Wait()
	}()
	p, err := executor.FindProcess(stranger.Process.Pid)
	must.NoError(t, err)
	dir := t.TempDir()
	for _, other := range []executor.Process{
		{Pid: p.Pid, StartTime: p.StartTime + 1, BootID: p.BootID},
		{Pid: p.Pid, StartTime: p.StartTime, BootID: "b"},
	} {
		rewrite(t, dir, executor.Identity{Executor: other, Guest: other})
		destroy(t, dir)
		must.True(t, p.Alive())
	}
}

func TestDestroy_AnyNumberOfTimes(t *testing.T) {
	task := newTask(t, "idle", "")
	c := task.start(t)
	destroy(t, task.plan.Dir)
	waitGone(t, c.Identity().Executor, c.Identity().Guest)
	destroy(t, task.plan.Dir)
	must.NoError(t, os.RemoveAll(task.plan.Dir))
	destroy(t, task.plan.Dir)
}

func TestDestroy_KillsAnExecutorThatHangs(t *testing.T) {
	task := newTask(t, "idle", "")
	c := task.start(t)
	must.NoError(t, c.Identity().Executor.Signal(unix.SIGSTOP))
	destroy(t, task.plan.Dir)
	waitGone(t, c.Identity().Executor, c.Identity().Guest)
	reapOrphan(t, c.Identity().Guest)
}

// adopt waits for a process that has lost its parent to become, and end as, a
// child of this one.
func reapOrphan(t *testing.T, p executor.Process) {
	t.Helper()
	waitFor(t, "the orphan is ours", func() bool {
		_, err := unix.Wait4(p.Pid, nil, 0, nil)
		return err == nil
	})
}

func TestProtocol_BadClientsDoNoHarm(t *testing.T) {
	task := newTask(t, "idle", "")
	c := task.start(t)
	socket := filepath.Join(task.plan.Dir, executor.SocketFile)
	for _, tc := range []struct{ say, want string }{
		{"\n", "decode the request"},
		{"state\n", "decode the request"},
		{`{"Version":1,"Op":"dance"}` + "\n", `unknown operation "dance"`},
		{`{"Version":2,"Op":"state"}` + "\n", "this executor supports versions 1 to 1"},
		{string(make([]byte, 5000)), ""},
	} {
		conn, err := net.Dial("unix", socket)
		must.NoError(t, err)
		must.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
		_, _ = conn.Write([]byte(tc.say))
		var r executor.Response
		err = json.NewDecoder(conn).Decode(&r)
		if tc.want == "" {
			must.Error(t, err)
		} else {
			must.StrContains(t, r.Error, tc.want)
		}
		must.NoError(t, conn.Close())
	}
	// Many that say nothing make others wait, and are sent away in the end.
	for {
		conn, err := net.Dial("unix", socket)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		must.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
	}
	_, err := c.State(deadline(t))
	must.NoError(t, err)
}
