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
	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
	"github.com/lkl-nomad/nomad-driver-lkl/executor/client"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestExecutorKilled_KillsTheGuestAndWaitReturnsErrLost(t *testing.T) {
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

func TestExecutorTerminated_KillsTheGuestAndRecordsTheReason(t *testing.T) {
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

// pluginEnv makes this test binary act as a plugin: it starts a task and hangs.
const pluginEnv = "LKL_TEST_PLUGIN"

type pluginArgs struct {
	Binary string
	Plan   executor.Plan
}

func runAsPlugin() error {
	var args pluginArgs
	if err := json.Unmarshal([]byte(os.Getenv(pluginEnv)), &args); err != nil {
		return err
	}
	_, state, err := client.Start(context.Background(), args.Binary, args.Plan, []*os.File{os.NewFile(3, "kernel")})
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(state); err != nil {
		return err
	}
	select {}
}

func TestPluginKilled_LeavesTheTaskRunning(t *testing.T) {
	task := newTask(t, "control", "").withControl()
	args, err := json.Marshal(pluginArgs{executorBinary, task.plan})
	must.NoError(t, err)
	plugin := exec.Command(os.Args[0])
	plugin.Env = append(os.Environ(), pluginEnv+"="+string(args))
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
	must.NoError(t, c.Stop(deadline(t), unix.SIGTERM, testenv.Patience))
	must.Eq(t, "exited with 0", waitExit(t, c).Reason)
	reapOrphan(t, state.Executor)
}

// startByHand starts the executor as Start does, but sends no plan. It returns the
// test's end of the socket pair.
func startByHand(t *testing.T, task *testTask) (*exec.Cmd, *net.UnixConn) {
	t.Helper()
	must.NoError(t, executor.WritePlan(task.plan))
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must.NoError(t, err)
	local, remote := os.NewFile(uintptr(pair[0]), ""), os.NewFile(uintptr(pair[1]), "")
	conn, err := net.FileConn(local)
	must.NoError(t, err)
	must.NoError(t, local.Close())
	cmd := exec.Command(executorBinary)
	cmd.ExtraFiles = append([]*os.File{remote}, task.files...)
	must.NoError(t, cmd.Start())
	must.NoError(t, remote.Close())
	return cmd, conn.(*net.UnixConn)
}

func TestPluginKilled_BeforeThePlanEndsTheExecutor(t *testing.T) {
	for _, part := range []string{"", `{"Files":1,"Plan":{`} {
		task := newTask(t, "idle", "")
		cmd, conn := startByHand(t, task)
		_, err := conn.Write([]byte(part))
		must.NoError(t, err)
		must.NoError(t, conn.Close())
		var exit *exec.ExitError
		must.True(t, errors.As(cmd.Wait(), &exit))
		must.Eq(t, 2, exit.ExitCode())
		must.Eq(t, []string{"plan.json"}, fileNames(t, task.plan.Dir))
	}
}

func TestPluginKilled_BeforeTheResponseKillsTheGuest(t *testing.T) {
	task := newTask(t, "idle", "")
	cmd, conn := startByHand(t, task)
	task.plan.Version = executor.Version
	must.NoError(t, json.NewEncoder(conn).Encode(executor.Order{Files: 1, Plan: task.plan}))
	must.NoError(t, conn.Close())
	must.NoError(t, cmd.Wait())
	exit, err := client.ReadExit(task.plan.Dir)
	must.NoError(t, err)
	must.Eq(t, "killed: the plugin ended while it started the task", exit.Reason)
	id, err := executor.ReadIdentity(task.plan.Dir)
	must.NoError(t, err)
	waitGone(t, id.Guest)
}

func TestDial_RejectsOtherProcesses(t *testing.T) {
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

func TestReadExit_IgnoresAnEarlierRun(t *testing.T) {
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

func TestDestroy_SparesOtherProcessesWithTheSamePID(t *testing.T) {
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

func TestDestroy_CanBeRepeated(t *testing.T) {
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

func TestDestroy_KillsATaskWithCgroupsOfAnUnknownVersion(t *testing.T) {
	task := newTask(t, "idle", "")
	c := task.start(t)
	err := client.Destroy(deadline(t), task.plan.Dir, client.Known{Cgroup: cgroup.Spec{Version: cgroup.V2 + 1}})
	must.ErrorIs(t, err, cgroup.ErrVersion)
	waitGone(t, c.Identity().Executor, c.Identity().Guest)
}

// reapOrphan reaps a process that became a child of this one when its parent
// ended.
func reapOrphan(t *testing.T, p executor.Process) {
	t.Helper()
	must.Wait(t, testenv.EventuallyTrue(func() bool {
		_, err := unix.Wait4(p.Pid, nil, 0, nil)
		return err == nil
	}), must.Sprint("the orphan becomes a child"))
}

func TestProtocol_SurvivesBadClients(t *testing.T) {
	task := newTask(t, "idle", "")
	c := task.start(t)
	socket := filepath.Join(task.plan.Dir, executor.SocketFile)
	for _, tc := range []struct{ request, want string }{
		{"\n", "decode the request"},
		{"state\n", "decode the request"},
		{`{"Version":1,"Op":"dance"}` + "\n", `unknown operation "dance"`},
		{`{"Version":9,"Op":"state"}` + "\n", "this executor supports versions 1 to "},
		{string(make([]byte, 5000)), ""},
	} {
		conn, err := net.Dial("unix", socket)
		must.NoError(t, err)
		must.NoError(t, conn.SetDeadline(time.Now().Add(testenv.Patience)))
		_, _ = conn.Write([]byte(tc.request))
		var r executor.Response
		err = json.NewDecoder(conn).Decode(&r)
		if tc.want == "" {
			must.Error(t, err)
		} else {
			must.StrContains(t, r.Error, tc.want)
		}
		must.NoError(t, conn.Close())
	}
	// Silent clients fill the queue until their requests time out.
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
