// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/network"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// A hangingStart is a start whose executor never answers.
type hangingStart struct {
	plugin   *testPlugin
	network  *testNetwork
	task     *drivers.TaskConfig
	started  chan int // receives the PID of the executor
	executor int      // PID, or 0
	links    []string
	result   chan error // of StartTask
}

// hang starts a task with a network, and returns when its executor hangs.
func hang(t *testing.T, config Config) *hangingStart {
	s := beginHanging(t, config)
	s.executor = testenv.Receive(t, s.started)
	return s
}

func beginHanging(t *testing.T, config Config) *hangingStart {
	testenv.Need(t, testenv.Root)
	config.StateDir, config.ImagePaths = t.TempDir(), []string{guestDir(t)}
	s := &hangingStart{
		plugin: newTestPluginWith(t, config), network: newTestNetwork(t),
		started: make(chan int, 1), result: make(chan error, 1),
	}
	fifo := filepath.Join(t.TempDir(), "pid")
	must.NoError(t, unix.Mkfifo(fifo, 0o600))
	program := filepath.Join(t.TempDir(), "executor")
	script := fmt.Sprintf("#!/bin/sh\necho $$ >%s\nexec sleep 1000\n", fifo)
	must.NoError(t, os.WriteFile(program, []byte(script), 0o700))
	s.plugin.impl.install = func(string, string) (string, error) { return program, nil }
	s.task = s.plugin.bridged(t, s.network, TaskConfig{Kernel: "httpd.spt", Args: []string{"ip={{ipv4}}", "port=8080"}})
	s.links, _ = s.network.links(t)
	go func() {
		_, _, err := s.plugin.StartTask(s.task)
		s.result <- err
	}()
	go func() {
		content, err := os.ReadFile(fifo) // waits for the executor
		if err != nil {
			t.Error(err)
			return
		}
		var n int
		if _, err := fmt.Sscan(string(content), &n); err != nil {
			t.Error(err)
		}
		s.started <- n
	}()
	return s
}

// checkUndone checks that nothing of the start is left.
func (s *hangingStart) checkUndone(t *testing.T) {
	t.Helper()
	if s.executor != 0 {
		must.ErrorIs(t, unix.Kill(s.executor, 0), unix.ESRCH)
	}
	must.DirNotExists(t, taskDirPath(s.plugin.config.StateDir, s.task.ID))
	entries, err := os.ReadDir(incompleteDir(s.plugin.config.StateDir))
	must.NoError(t, err)
	must.SliceEmpty(t, entries)
	spec, err := taskCgroup(s.task)
	must.NoError(t, err)
	must.DirNotExists(t, cgroupPath(spec))
	links, ingress := s.network.links(t)
	must.Eq(t, s.links, links)
	must.Eq(t, 0, ingress)
	_, err = s.plugin.InspectTask(s.task.ID)
	must.ErrorContains(t, err, drivers.ErrTaskNotFound.Error())
}

func TestStart_EndsAtItsDeadline(t *testing.T) {
	s := beginHanging(t, Config{StartTimeout: "2s"})
	err := testenv.Receive(t, s.result)
	select {
	case s.executor = <-s.started:
		must.ErrorContains(t, err, "executor: ") // the step
	default: // a slow machine has not reached the step
	}
	must.ErrorContains(t, err, "the start took longer than start_timeout (2s)")
	must.True(t, structs.IsRecoverable(err))
	s.checkUndone(t)
}

func TestStop_CancelsAStart(t *testing.T) {
	for name, stop := range map[string]func(p *testPlugin, id string) error{
		"stop":    func(p *testPlugin, id string) error { return p.StopTask(id, time.Minute, "") },
		"destroy": func(p *testPlugin, id string) error { return p.DestroyTask(id, true) },
	} {
		t.Run(name, func(t *testing.T) {
			s := hang(t, Config{})
			must.NoError(t, stop(s.plugin, s.task.ID))
			s.checkUndone(t)
			err := testenv.Receive(t, s.result)
			must.ErrorContains(t, err, errStopped.Error())
			must.True(t, structs.IsRecoverable(err))
		})
	}
}

func TestStart_OtherCallsReportThatTheTaskStarts(t *testing.T) {
	s := hang(t, Config{})
	id := s.task.ID
	_, inspectErr := s.plugin.impl.InspectTask(id)
	_, statsErr := s.plugin.impl.TaskStats(t.Context(), id, time.Second)
	_, waitErr := s.plugin.impl.WaitTask(t.Context(), id)
	for name, err := range map[string]error{
		"inspect":               inspectErr,
		"stats":                 statsErr,
		"wait":                  waitErr,
		"signal":                s.plugin.SignalTask(id, "SIGHUP"),
		"destroy without force": s.plugin.DestroyTask(id, false),
	} {
		must.ErrorContains(t, err, "is still being started", must.Sprint(name))
	}
	must.NoError(t, unix.Kill(s.executor, 0)) // the start goes on
	must.NoError(t, s.plugin.StopTask(id, time.Minute, ""))
}

// An agent that was killed during a start requests another one from the same plugin.
func TestStart_ReplacesAnUnfinishedStartOfTheTask(t *testing.T) {
	s := hang(t, Config{})
	s.plugin.useBuiltPrograms(t)
	again := s.task.Copy()
	again.ID += "x"
	t.Cleanup(func() { _ = s.plugin.impl.DestroyTask(again.ID, true) })
	_, _, err := s.plugin.StartTask(again)
	must.NoError(t, err)
	must.ErrorContains(t, testenv.Receive(t, s.result), errReplaced.Error())
	must.ErrorIs(t, unix.Kill(s.executor, 0), unix.ESRCH)
	must.DirNotExists(t, taskDirPath(s.plugin.config.StateDir, s.task.ID))
	must.NoError(t, s.plugin.StopTask(again.ID, time.Minute, ""))
}

// A stop that arrives when a start can no longer be canceled stops the guest.
func TestStop_EndsAGuestWhoseStartHasSucceeded(t *testing.T) {
	p := newTestPlugin(t)
	task, handle := p.run(t, TaskConfig{Kernel: "idle.spt"})
	r := &reservation{cancel: func(error) {}, ended: make(chan struct{})}
	close(r.ended)
	p.impl.tasks.mu.Lock()
	p.impl.tasks.reserved = map[string]*reservation{task.ID: r}
	p.impl.tasks.mu.Unlock()
	must.NoError(t, p.StopTask(task.ID, time.Minute, ""))
	must.False(t, stateOf(t, handle).Guest.Alive())
}

func TestStart_StepsReportWhyTheyWereCanceled(t *testing.T) {
	p := newTestPlugin(t)
	task := p.task(t, TaskConfig{Kernel: "disk.spt", Rootfs: "local/raw"}, false)
	must.NoError(t, os.WriteFile(filepath.Join(task.TaskDir().LocalDir, "raw"), make([]byte, 1<<20), 0o600))
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errStopped)
	var undo undo
	_, err := p.impl.start(ctx, task, nil, &undo)
	must.ErrorIs(t, err, errStopped)
	must.NoError(t, undo.run())
}

func TestCanceledError_ContainsTheCauseOnce(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errStopped)
	for text, err := range map[string]error{
		errStopped.Error():              nil, // the start succeeded at the same moment
		"disk: " + errStopped.Error():   fmt.Errorf("disk: %w", errStopped),
		"no tap: " + errStopped.Error(): errors.New("no tap"),
	} {
		err := canceledError(ctx, err)
		must.EqError(t, err, text)
		must.True(t, structs.IsRecoverable(err))
	}
}

// The tap of a killed plugin's executor exists until that executor notices it.
func TestStart_WaitsForTheInterface(t *testing.T) {
	n := newTestNetwork(t)
	path := n.spec().Path
	first, err := network.AttachL2(path, network.Options{})
	must.NoError(t, err)
	attempts := 0
	second, err := awaitInterface(t.Context(), func() (*network.Tap, error) {
		if attempts++; attempts == 3 {
			must.NoError(t, first.Close()) // removes the tap
		}
		return network.AttachL2(path, network.Options{})
	})
	must.NoError(t, err)
	must.Greater(t, 2, attempts)
	t.Cleanup(func() { _ = second.Close() })

	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = awaitInterface(canceled, func() (*network.Tap, error) { return network.AttachL2(path, network.Options{}) })
	must.ErrorIs(t, err, network.ErrTaken)
	other := errors.New("no tap")
	_, err = awaitInterface(t.Context(), func() (*network.Tap, error) { return nil, other })
	must.ErrorIs(t, err, other)
}
