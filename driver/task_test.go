// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestTask_RunsToItsEnd(t *testing.T) {
	b := newBed(t)
	task, handle := b.run(t, TaskConfig{Kernel: "hello.spt", Args: []string{"one", "two"}})
	must.Eq(t, drivers.ExitResult{}, *b.wait(t, task))
	eventually(t, "the console in the logs", func() bool {
		return strings.Contains(console(task), "command line: one two\n")
	})

	status, err := b.InspectTask(task.ID)
	must.NoError(t, err)
	must.Eq(t, drivers.TaskStateExited, status.State)
	must.True(t, status.ExitResult.Successful())
	must.False(t, status.CompletedAt.Before(status.StartedAt))

	must.NoError(t, b.DestroyTask(task.ID, false))
	nothingLeft(t, handle)
	_, err = b.InspectTask(task.ID)
	must.ErrorContains(t, err, drivers.ErrTaskNotFound.Error())
}

func TestTask_FromTheTaskDirectory(t *testing.T) {
	b := newBed(t)
	task := b.task(t, TaskConfig{Kernel: "hello.spt"}, true)
	content, err := os.ReadFile(testenv.Guest(t, "hello.spt"))
	must.NoError(t, err)
	must.NoError(t, os.WriteFile(filepath.Join(task.TaskDir().LocalDir, "k"), content, 0o644))
	must.NoError(t, task.EncodeConcreteDriverConfig(&TaskConfig{Kernel: "local/k"}))
	_, _, err = b.StartTask(task)
	must.NoError(t, err)
	must.True(t, b.wait(t, task).Successful())
}

func TestTask_RunsWithoutAnyLogs(t *testing.T) {
	b := newBed(t)
	task := b.task(t, TaskConfig{Kernel: "spew.spt", Args: []string{"lines=10000"}}, false)
	task.StdoutPath, task.StderrPath = os.DevNull, os.DevNull // as Nomad has it with logs disabled
	_, _, err := b.StartTask(task)
	must.NoError(t, err)
	must.True(t, b.wait(t, task).Successful())
}

func TestTask_EndsAreToldApart(t *testing.T) {
	for _, c := range []struct {
		args   string
		code   int
		signal syscall.Signal
		reason string
	}{
		{"exit 0", 0, 0, ""},
		{"exit 3", 3, 0, "exited with 3"},
		{"abort", 255, 0, "aborted"},
		{"null", 128 + 11, syscall.SIGSEGV, "guest fault"},
		{"syscall", 128 + 31, syscall.SIGSYS, "forbidden system call"},
	} {
		t.Run(c.args, func(t *testing.T) {
			b := newBed(t)
			task, _ := b.run(t, TaskConfig{Kernel: "crash.spt", Args: strings.Fields(c.args)})
			result := b.wait(t, task)
			must.Eq(t, c.code, result.ExitCode)
			must.Eq(t, int(c.signal), result.Signal)
			must.False(t, result.OOMKilled)
			must.Eq(t, c.reason == "", result.Successful())
			if c.reason != "" {
				must.ErrorContains(t, result.Err, c.reason)
			}
		})
	}
}

func TestWait_AfterTheEndAndTwice(t *testing.T) {
	b := newBed(t)
	task, _ := b.run(t, TaskConfig{Kernel: "crash.spt", Args: []string{"exit", "7"}})
	must.Eq(t, 7, b.wait(t, task).ExitCode)
	must.Eq(t, 7, b.wait(t, task).ExitCode)
}

func TestWait_EndsWithItsContext(t *testing.T) {
	b := newBed(t)
	task, _ := b.run(t, TaskConfig{Kernel: "idle.spt"})
	ctx, cancel := context.WithCancel(t.Context())
	ch, err := b.impl.WaitTask(ctx, task.ID)
	must.NoError(t, err)
	cancel()
	select {
	case _, ok := <-ch:
		must.False(t, ok)
	case <-time.After(patience):
		t.Fatal("the channel stays open")
	}
}

func TestStop_ReturnsWhenTheGuestHasEnded(t *testing.T) {
	// Nomad takes SIGNULL from a job, and SIGIOT, which is SIGABRT.
	for signal, number := range map[string]int{"": 15, "SIGINT": 2, "quit": 3, "SIGIOT": 6, "SIGNULL": 15} {
		t.Run("signal "+signal, func(t *testing.T) {
			b := newBed(t)
			task, handle := b.run(t, TaskConfig{Kernel: "idle.spt"})
			begin := time.Now()
			must.NoError(t, b.StopTask(task.ID, time.Minute, signal))
			must.Less(t, patience, time.Since(begin))
			must.False(t, stateOf(t, handle).Guest.Alive())
			must.Eq(t, number, b.wait(t, task).Signal)
			must.NoError(t, b.StopTask(task.ID, time.Minute, signal)) // again
		})
	}
}

func TestStop_KillsAtTheTimeout(t *testing.T) {
	b := newBed(t)
	task, _ := b.run(t, TaskConfig{Kernel: "control.spt", Args: []string{"ignore=1"}})
	eventually(t, "the guest to listen", func() bool { return strings.Contains(console(task), "waiting") })
	const timeout = 300 * time.Millisecond
	begin := time.Now()
	must.NoError(t, b.StopTask(task.ID, timeout, "SIGTERM"))
	must.GreaterEq(t, timeout, time.Since(begin))
	result := b.wait(t, task)
	must.Eq(t, int(syscall.SIGKILL), result.Signal)
	must.False(t, result.OOMKilled)
	must.StrContains(t, console(task), "stop 15")
}

func TestStop_IsGracefulThroughTheControlDevice(t *testing.T) {
	b := newBed(t)
	task, _ := b.run(t, TaskConfig{Kernel: "control.spt"})
	eventually(t, "the guest to listen", func() bool { return strings.Contains(console(task), "waiting") })
	must.NoError(t, b.StopTask(task.ID, time.Minute, "SIGUSR1"))
	must.True(t, b.wait(t, task).Successful())
	eventually(t, "the guest's last word", func() bool {
		return strings.Contains(console(task), "stop 10") && strings.Contains(console(task), "stopping")
	})
}

func TestSignal_ReachesTheProgramOrIsRefused(t *testing.T) {
	b := newBed(t)
	task, _ := b.run(t, TaskConfig{Kernel: "control.spt"})
	must.NoError(t, b.SignalTask(task.ID, "SIGHUP"))
	eventually(t, "the frame", func() bool { return strings.Contains(console(task), "signal 1\n") })
	must.Error(t, b.SignalTask(task.ID, "SIGNONSENSE"))

	plain, handle := b.run(t, TaskConfig{Kernel: "idle.spt"})
	must.ErrorContains(t, b.SignalTask(plain.ID, "SIGUSR1"), "control")
	must.True(t, stateOf(t, handle).Guest.Alive())
	must.NoError(t, b.SignalTask(plain.ID, "SIGTERM"))
	must.Eq(t, int(syscall.SIGTERM), b.wait(t, plain).Signal)
	must.Error(t, b.SignalTask(plain.ID, "SIGTERM"))
}

func TestDestroy_NeedsForceWhileItRuns(t *testing.T) {
	b := newBed(t)
	task, handle := b.run(t, TaskConfig{Kernel: "idle.spt"})
	must.Error(t, b.DestroyTask(task.ID, false))
	must.True(t, stateOf(t, handle).Guest.Alive())
	waiting, err := b.WaitTask(t.Context(), task.ID)
	must.NoError(t, err)
	must.NoError(t, b.DestroyTask(task.ID, true))
	nothingLeft(t, handle)
	must.False(t, (<-waiting).Successful())
	must.ErrorContains(t, b.DestroyTask(task.ID, true), drivers.ErrTaskNotFound.Error())
}

func TestInspect_TellsWhereTheTaskIs(t *testing.T) {
	b := newBed(t)
	task, handle := b.run(t, TaskConfig{Kernel: "idle.spt"})
	status, err := b.InspectTask(task.ID)
	must.NoError(t, err)
	must.Eq(t, drivers.TaskStateRunning, status.State)
	must.Eq(t, stateOf(t, handle).attributes(), status.DriverAttributes)
	for _, name := range []string{"tender", "flavor", "pid", "executor_pid", "kernel", "kernel_sha256", "guest_memory", "cgroup"} {
		must.NotEq(t, "", status.DriverAttributes[name], must.Sprint(name))
	}
	must.MapNotContainsKey(t, status.DriverAttributes, "ip")
}

func TestStart_HugePagesOnlyWhereTheJobAsksForThem(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
		t.Skip("needs a kernel with transparent huge pages: ", err)
	}
	b := newBed(t)
	for _, huge := range []bool{false, true} {
		_, handle := b.run(t, TaskConfig{Kernel: "idle.spt", HugePages: huge})
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", stateOf(t, handle).Guest.Pid))
		must.NoError(t, err)
		must.Eq(t, huge, strings.Contains(string(status), "THP_enabled:\t1\n"), must.Sprintf("%s", status))
	}
}

func TestStats_TellCPUAndMemory(t *testing.T) {
	b := newBed(t)
	task, handle := b.run(t, TaskConfig{Kernel: "spin.spt"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ch, err := b.TaskStats(ctx, task.ID, time.Second)
	must.NoError(t, err)
	pid := stateOf(t, handle).Guest.Pid
	first, before := <-ch, processorTime(t, pid)
	second, after := <-ch, processorTime(t, pid)
	must.Eq(t, 0, first.ResourceUsage.CpuStats.Percent)
	cpu, memory := second.ResourceUsage.CpuStats, second.ResourceUsage.MemoryStats
	// Others may leave it little: it is the kernel that knows how much.
	interval := second.Timestamp - first.Timestamp
	want := 100 * float64(after-before) / float64(interval)
	must.Between(t, want/2, cpu.Percent, 2*want, must.Sprintf("in %v", time.Duration(interval)))
	must.Positive(t, cpu.TotalTicks)
	must.Positive(t, memory.RSS)
	must.Positive(t, memory.Usage)
	must.GreaterEq(t, memory.Usage, memory.MaxUsage)
	must.Eq(t, measuredCPU, cpu.Measured)
	must.Eq(t, measuredMemory, memory.Measured)

	must.NoError(t, b.StopTask(task.ID, time.Minute, ""))
	eventually(t, "the end of the stream", func() bool { _, ok := <-ch; return !ok })
	ended, err := b.TaskStats(ctx, task.ID, time.Second)
	if err == nil { // over gRPC the error comes with the stream
		_, ok := <-ended
		must.False(t, ok)
	}
}

// processorTime is what the kernel says that a process has had of processors.
func processorTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
	must.NoError(t, err)
	var ns int64
	_, err = fmt.Sscan(string(line), &ns)
	must.NoError(t, err)
	return time.Duration(ns)
}

func TestStart_UndoesItselfOnAnError(t *testing.T) {
	for _, c := range []struct {
		name, wrong string
		job         TaskConfig
		change      func(*drivers.TaskConfig)
	}{
		{"no file", "kernel", TaskConfig{Kernel: filepath.Join(guestDir(t), "none")}, nil},
		{"no unikernel", "not a Solo5 unikernel", TaskConfig{Kernel: "/local/text"}, nil},
		{"not allowed", "image_paths", TaskConfig{Kernel: "/bin/true"}, nil},
		{"another target", "hvt", TaskConfig{Kernel: "hello.hvt"}, nil},
		{"no rootfs", "rootfs", TaskConfig{Kernel: "disk.spt"}, nil},
		{"no network", `mode = "bridge"`, TaskConfig{Kernel: "httpd.spt"}, nil},
		{"an argument with blanks", "argument 1", TaskConfig{Kernel: "hello.spt", Args: []string{"a b"}}, nil},
		{"too small", "set memory to at least", TaskConfig{Kernel: "hello.spt"}, func(c *drivers.TaskConfig) {
			c.Resources.LinuxResources.MemoryLimitBytes = 4 << 20
		}},
		{"no console", "stdout", TaskConfig{Kernel: "hello.spt"}, func(c *drivers.TaskConfig) {
			c.StdoutPath = "/missing/stdout"
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t)
			task := b.task(t, c.job, false)
			must.NoError(t, os.WriteFile(filepath.Join(task.TaskDir().LocalDir, "text"), []byte("text"), 0o644))
			if c.change != nil {
				c.change(task)
			}
			_, _, err := b.StartTask(task)
			must.ErrorContains(t, err, c.wrong)
			records, err := readRecords(b.config.StateDir)
			must.NoError(t, err)
			must.MapEmpty(t, records)
		})
	}
}

func TestStart_HostsWantIsWorthARestart(t *testing.T) {
	b := newBed(t)
	task := b.task(t, TaskConfig{Kernel: "hello.spt"}, false)
	must.NoError(t, os.RemoveAll(tasksDir(b.config.StateDir)))
	must.NoError(t, os.WriteFile(tasksDir(b.config.StateDir), nil, 0o600)) // in the way
	_, _, err := b.StartTask(task)
	must.Error(t, err)
	must.True(t, structs.IsRecoverable(err))

	must.NoError(t, os.Remove(tasksDir(b.config.StateDir)))
	b.configure(t, task, TaskConfig{Kernel: "hello.hvt"})
	_, _, err = b.StartTask(task)
	must.Error(t, err)
	must.False(t, structs.IsRecoverable(err))
}

func TestStart_OnceAtATime(t *testing.T) {
	b := newBed(t)
	task, _ := b.run(t, TaskConfig{Kernel: "idle.spt"})
	_, _, err := b.StartTask(task)
	must.ErrorContains(t, err, "has already been started")
}

func TestStart_StateDirMayBeLong(t *testing.T) {
	testenv.Need(t, testenv.Root)
	b := bedWith(t, Config{
		StateDir:   filepath.Join(t.TempDir(), strings.Repeat("long/", 40)),
		ImagePaths: []string{guestDir(t)},
	})
	task, _ := b.run(t, TaskConfig{Kernel: "idle.spt"})
	must.NoError(t, b.StopTask(task.ID, time.Minute, ""))
}
