// SPDX-License-Identifier: MPL-2.0

package client_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/client"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestWait_ReturnsHowTheGuestEnded(t *testing.T) {
	for _, tc := range []struct {
		how    string
		code   int
		signal syscall.Signal
		reason string
	}{
		{"exit 0", 0, 0, "exited with 0"},
		{"exit 3", 3, 0, "exited with 3"},
		{"abort", 255, 0, "guest aborted (exit code 255)"},
		{"null", 0, unix.SIGSEGV, "guest fault (SIGSEGV)"},
		{"divide", 0, unix.SIGFPE, "guest fault (SIGFPE)"},
		{"syscall", 0, unix.SIGSYS, "forbidden system call (SIGSYS)"},
	} {
		t.Run(tc.how, func(t *testing.T) {
			task := newTask(t, "crash", tc.how)
			c := task.start(t)
			exit := waitExit(t, c)
			must.Eq(t, tc.code, exit.Code)
			must.Eq(t, int(tc.signal), exit.Signal)
			must.Eq(t, tc.reason, exit.Reason)
			must.False(t, exit.OOMKilled)
			onDisk, err := client.ReadExit(task.plan.Dir)
			must.NoError(t, err)
			must.Eq(t, exit.Reason, onDisk.Reason)
			must.True(t, exit.Finished.Equal(onDisk.Finished))
			// The exit status outlives the executor.
			waitGone(t, c.Identity().Executor)
			again := waitExit(t, c)
			must.Eq(t, exit.Reason, again.Reason)
		})
	}
}

func TestWait_AnswersManyClientsAndStillSignals(t *testing.T) {
	c := newTask(t, "idle", "").start(t)
	const clients = 100 // more than maxConns; a signal must still get through
	reasons := make(chan string, clients)
	for range clients {
		go func() {
			exit, err := c.Wait(deadline(t))
			reasons <- fmt.Sprint(exit.Reason, err)
		}()
	}
	must.Wait(t, testenv.EventuallyTrue(func() bool { return len(openFDs(t, c.Identity().Executor.Pid)) > clients }), must.Sprint("waiting for all clients to wait"))
	must.NoError(t, c.Signal(deadline(t), unix.SIGKILL))
	for range clients {
		must.Eq(t, "killed by SIGKILL<nil>", <-reasons)
	}
}

func TestWait_ObeysItsContext(t *testing.T) {
	c := newTask(t, "idle", "").start(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := c.Wait(ctx)
	must.ErrorIs(t, err, context.Canceled)
	_, err = c.State(deadline(t))
	must.NoError(t, err)
}

func TestSignal_GoesToTheProcessWithoutAControlDevice(t *testing.T) {
	c := newTask(t, "idle", "").start(t)
	must.NoError(t, c.Signal(deadline(t), unix.SIGHUP))
	exit := waitExit(t, c)
	must.Eq(t, int(unix.SIGHUP), exit.Signal)
	must.Eq(t, "killed by SIGHUP", exit.Reason)
}

func TestSignal_ReachesTheProgramThroughTheControlDevice(t *testing.T) {
	task := newTask(t, "control", "").withControl()
	c := task.start(t)
	must.NoError(t, c.Signal(deadline(t), unix.SIGUSR1))
	must.StrContains(t, task.awaitLine(t, "signal"), "control: signal 10")
	must.NoError(t, c.Signal(deadline(t), unix.SIGKILL)) // no program can handle it
	must.Eq(t, int(unix.SIGKILL), waitExit(t, c).Signal)
}

func TestSignal_RefusesInvalidNumbers(t *testing.T) {
	c := newTask(t, "idle", "").start(t)
	var refused *client.RefusedError
	must.True(t, errors.As(c.Signal(deadline(t), 65), &refused))
	must.True(t, errors.As(c.Signal(deadline(t), 0), &refused))
	_, err := c.State(deadline(t))
	must.NoError(t, err)
}

func TestSignal_FailsAfterTheEnd(t *testing.T) {
	c := newTask(t, "crash", "exit").start(t)
	waitExit(t, c)
	waitGone(t, c.Identity().Executor)
	must.ErrorIs(t, c.Signal(deadline(t), unix.SIGTERM), client.ErrNotRunning)
	_, err := c.Stats(deadline(t))
	must.ErrorIs(t, err, client.ErrNotRunning)
	_, err = c.State(deadline(t))
	must.ErrorIs(t, err, client.ErrNotRunning)
}

func TestStop_SignalsTheProcessWithoutAControlDevice(t *testing.T) {
	task := newTask(t, "idle", "")
	c := task.start(t)
	must.NoError(t, c.Stop(deadline(t), unix.SIGINT, testenv.Patience))
	exit, err := client.ReadExit(task.plan.Dir)
	must.NoError(t, err)
	must.Eq(t, int(unix.SIGINT), exit.Signal)
	must.Eq(t, "stopped by SIGINT", exit.Reason)
}

func TestStop_WaitsForTheProgramToFinish(t *testing.T) {
	task := newTask(t, "control", "delay=100").withControl()
	c := task.start(t)
	must.NoError(t, c.Stop(deadline(t), unix.SIGTERM, testenv.Patience))
	must.Eq(t, "exited with 0", waitExit(t, c).Reason)
	must.StrContains(t, string(task.readOutput(t)), "control: stop 15\ncontrol: stopping\n")
}

func TestStop_KillsAtTimeout(t *testing.T) {
	c := newTask(t, "control", "ignore=1").withControl().start(t)
	began := time.Now()
	must.NoError(t, c.Stop(deadline(t), unix.SIGTERM, 200*time.Millisecond))
	must.GreaterEq(t, 200*time.Millisecond, time.Since(began))
	exit := waitExit(t, c)
	must.Eq(t, int(unix.SIGKILL), exit.Signal)
	must.Eq(t, "killed: it did not stop in time", exit.Reason)
}

func TestStop_KillsAStoppedProcess(t *testing.T) {
	c := newTask(t, "control", "").withControl().start(t)
	must.NoError(t, c.Identity().Guest.Signal(unix.SIGSTOP))
	must.NoError(t, c.Stop(deadline(t), unix.SIGTERM, 50*time.Millisecond))
	must.Eq(t, int(unix.SIGKILL), waitExit(t, c).Signal)
}

func TestStop_KillsAGuestThatDoesNotReadItsControlDevice(t *testing.T) {
	c := newTask(t, "control", "").withControl().start(t)
	must.NoError(t, c.Identity().Guest.Signal(unix.SIGSTOP))
	var err error
	for range 10_000 {
		if err = c.Signal(deadline(t), unix.SIGUSR1); err != nil {
			break
		}
	}
	must.ErrorContains(t, err, "does not read its control device")
	must.NoError(t, c.Stop(deadline(t), unix.SIGTERM, 50*time.Millisecond))
	must.Eq(t, int(unix.SIGKILL), waitExit(t, c).Signal)
}

func TestStop_UsesTheShortestTimeout(t *testing.T) {
	c := newTask(t, "control", "ignore=1").withControl().start(t)
	long := make(chan error, 1)
	go func() { long <- c.Stop(deadline(t), unix.SIGTERM, time.Hour) }()
	must.NoError(t, c.Stop(deadline(t), unix.SIGTERM, time.Millisecond))
	must.NoError(t, <-long)
}

func TestStop_SucceedsAfterTheEnd(t *testing.T) {
	c := newTask(t, "crash", "exit").start(t)
	waitExit(t, c)
	waitGone(t, c.Identity().Executor)
	must.NoError(t, c.Stop(deadline(t), unix.SIGTERM, time.Second))
}

func TestStop_ObeysItsContext(t *testing.T) {
	c := newTask(t, "control", "ignore=1").withControl().start(t)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	must.ErrorIs(t, c.Stop(ctx, unix.SIGTERM, time.Hour), context.DeadlineExceeded)
	_, err := c.State(deadline(t))
	must.NoError(t, err)
}

func TestReadExit_FailsWhileTheGuestRuns(t *testing.T) {
	task := newTask(t, "idle", "")
	task.start(t)
	_, err := client.ReadExit(task.plan.Dir)
	must.ErrorIs(t, err, fs.ErrNotExist)
}

func TestStats_CountTheGuestsCPUAndMemory(t *testing.T) {
	task := newTask(t, "spin", "")
	c := task.start(t)
	task.awaitLine(t, "spinning")
	first, err := c.Stats(deadline(t))
	must.NoError(t, err)
	must.Positive(t, first.GuestRSS)
	must.Eq(t, first.GuestRSS, first.Memory.RSS, must.Sprint("without a cgroup"))
	must.Positive(t, first.ExecutorNS)
	must.Wait(t, testenv.EventuallyTrue(func() bool {
		now, err := c.Stats(deadline(t))
		must.NoError(t, err)
		must.Eq(t, now.TotalNS, now.UserNS+now.SystemNS)
		return now.TotalNS > first.TotalNS
	}), must.Sprint("a spinning guest uses CPU time"))

	// The CPU time of a stopped process does not change, so it can be compared.
	guest := c.Identity().Guest
	must.NoError(t, guest.Signal(unix.SIGSTOP))
	must.Wait(t, testenv.Eventually(func() error {
		now, err := c.Stats(deadline(t))
		must.NoError(t, err)
		kernel := strings.Fields(string(readProc(t, guest.Pid, "schedstat")))[0]
		if fmt.Sprint(now.TotalNS) != kernel {
			return fmt.Errorf("%d ns of CPU time, and %s in schedstat", now.TotalNS, kernel)
		}
		return nil
	}))
}
