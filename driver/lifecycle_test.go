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
	p := newTestPlugin(t)
	task, handle := p.run(t, TaskConfig{Kernel: "hello.spt", Args: []string{"one", "two"}})
	must.Eq(t, drivers.ExitResult{}, *p.wait(t, task))
	waitFor(t, "the console in the logs", func() bool {
		return strings.Contains(console(task), "command line: one two\n")
	})

	status, err := p.InspectTask(task.ID)
	must.NoError(t, err)
	must.Eq(t, drivers.TaskStateExited, status.State)
	must.True(t, status.ExitResult.Successful())
	must.False(t, status.CompletedAt.Before(status.StartedAt))

	must.NoError(t, p.DestroyTask(task.ID, false))
	noTrace(t, handle)
	_, err = p.InspectTask(task.ID)
	must.ErrorContains(t, err, drivers.ErrTaskNotFound.Error())
}

func TestTask_RunsAKernelInTheTaskDirectory(t *testing.T) {
	p := newTestPlugin(t)
	task := p.task(t, TaskConfig{Kernel: "hello.spt"}, true)
	content, err := os.ReadFile(testenv.Guest(t, "hello.spt"))
	must.NoError(t, err)
	must.NoError(t, os.WriteFile(filepath.Join(task.TaskDir().LocalDir, "k"), content, 0o644))
	must.NoError(t, task.EncodeConcreteDriverConfig(&TaskConfig{Kernel: "local/k"}))
	_, _, err = p.StartTask(task)
	must.NoError(t, err)
	must.True(t, p.wait(t, task).Successful())
}

func TestTask_RunsWithoutLogs(t *testing.T) {
	p := newTestPlugin(t)
	task := p.task(t, TaskConfig{Kernel: "spew.spt", Args: []string{"lines=10000"}}, false)
	task.StdoutPath, task.StderrPath = os.DevNull, os.DevNull // as Nomad sets them with logs disabled
	_, _, err := p.StartTask(task)
	must.NoError(t, err)
	must.True(t, p.wait(t, task).Successful())
}

func TestTask_ReportsEachKindOfEnd(t *testing.T) {
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
			p := newTestPlugin(t)
			task, _ := p.run(t, TaskConfig{Kernel: "crash.spt", Args: strings.Fields(c.args)})
			result := p.wait(t, task)
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

func TestWait_WorksAfterTheEnd(t *testing.T) {
	p := newTestPlugin(t)
	task, _ := p.run(t, TaskConfig{Kernel: "crash.spt", Args: []string{"exit", "7"}})
	must.Eq(t, 7, p.wait(t, task).ExitCode)
	must.Eq(t, 7, p.wait(t, task).ExitCode)
}

func TestWait_EndsWithItsContext(t *testing.T) {
	p := newTestPlugin(t)
	task, _ := p.run(t, TaskConfig{Kernel: "idle.spt"})
	ctx, cancel := context.WithCancel(t.Context())
	ch, err := p.impl.WaitTask(ctx, task.ID)
	must.NoError(t, err)
	cancel()
	must.Nil(t, testenv.Receive(t, ch)) // closed
}

func TestStop_ReturnsWhenTheGuestHasEnded(t *testing.T) {
	// Nomad accepts SIGNULL in a job, and SIGIOT, which is SIGABRT.
	for signal, number := range map[string]int{"": 15, "SIGINT": 2, "quit": 3, "SIGIOT": 6, "SIGNULL": 15} {
		t.Run("signal "+signal, func(t *testing.T) {
			p := newTestPlugin(t)
			task, handle := p.run(t, TaskConfig{Kernel: "idle.spt"})
			must.NoError(t, p.StopTask(task.ID, time.Minute, signal))
			must.False(t, stateOf(t, handle).Guest.Alive())
			must.Eq(t, number, p.wait(t, task).Signal)
			must.NoError(t, p.StopTask(task.ID, time.Minute, signal)) // again
		})
	}
}

func TestStop_KillsAfterTimeout(t *testing.T) {
	p := newTestPlugin(t)
	task, _ := p.run(t, TaskConfig{Kernel: "control.spt", Args: []string{"ignore=1"}})
	waitFor(t, "the guest to listen", func() bool { return strings.Contains(console(task), "waiting") })
	const timeout = 300 * time.Millisecond
	begin := time.Now()
	must.NoError(t, p.StopTask(task.ID, timeout, "SIGTERM"))
	must.GreaterEq(t, timeout, time.Since(begin))
	result := p.wait(t, task)
	must.Eq(t, int(syscall.SIGKILL), result.Signal)
	must.False(t, result.OOMKilled)
	must.StrContains(t, console(task), "stop 15")
}

func TestStop_IsGracefulWithAControlDevice(t *testing.T) {
	p := newTestPlugin(t)
	task, _ := p.run(t, TaskConfig{Kernel: "control.spt"})
	waitFor(t, "the guest to listen", func() bool { return strings.Contains(console(task), "waiting") })
	must.NoError(t, p.StopTask(task.ID, time.Minute, "SIGUSR1"))
	must.True(t, p.wait(t, task).Successful())
	waitFor(t, "the guest's last output", func() bool {
		return strings.Contains(console(task), "stop 10") && strings.Contains(console(task), "stopping")
	})
}

func TestSignal_ReachesTheProgramOrFails(t *testing.T) {
	p := newTestPlugin(t)
	task, _ := p.run(t, TaskConfig{Kernel: "control.spt"})
	must.NoError(t, p.SignalTask(task.ID, "SIGHUP"))
	waitFor(t, "the signal", func() bool { return strings.Contains(console(task), "signal 1\n") })
	must.Error(t, p.SignalTask(task.ID, "SIGNONSENSE"))

	uncontrolled, handle := p.run(t, TaskConfig{Kernel: "idle.spt"})
	must.ErrorContains(t, p.SignalTask(uncontrolled.ID, "SIGUSR1"), "control")
	must.True(t, stateOf(t, handle).Guest.Alive())
	must.NoError(t, p.SignalTask(uncontrolled.ID, "SIGTERM"))
	must.Eq(t, int(syscall.SIGTERM), p.wait(t, uncontrolled).Signal)
	must.Error(t, p.SignalTask(uncontrolled.ID, "SIGTERM"))
}

func TestDestroy_NeedsForceForARunningTask(t *testing.T) {
	p := newTestPlugin(t)
	task, handle := p.run(t, TaskConfig{Kernel: "idle.spt"})
	must.Error(t, p.DestroyTask(task.ID, false))
	must.True(t, stateOf(t, handle).Guest.Alive())
	waiting, err := p.WaitTask(t.Context(), task.ID)
	must.NoError(t, err)
	must.NoError(t, p.DestroyTask(task.ID, true))
	noTrace(t, handle)
	must.False(t, (<-waiting).Successful())
	must.ErrorContains(t, p.DestroyTask(task.ID, true), drivers.ErrTaskNotFound.Error())
}

func TestInspect_ShowsTheAttributes(t *testing.T) {
	p := newTestPlugin(t)
	task, handle := p.run(t, TaskConfig{Kernel: "idle.spt"})
	status, err := p.InspectTask(task.ID)
	must.NoError(t, err)
	must.Eq(t, drivers.TaskStateRunning, status.State)
	must.Eq(t, stateOf(t, handle).attributes(), status.DriverAttributes)
	for _, name := range []string{"tender", "flavor", "pid", "executor_pid", "kernel", "kernel_sha256", "guest_memory", "cgroup"} {
		must.NotEq(t, "", status.DriverAttributes[name], must.Sprint(name))
	}
	must.MapNotContainsKey(t, status.DriverAttributes, "ip")
}

func TestStart_HugePagesAreOffByDefault(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
		t.Skip("needs a kernel with transparent huge pages: ", err)
	}
	p := newTestPlugin(t)
	for _, huge := range []bool{false, true} {
		_, handle := p.run(t, TaskConfig{Kernel: "idle.spt", HugePages: huge})
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", stateOf(t, handle).Guest.Pid))
		must.NoError(t, err)
		must.Eq(t, huge, strings.Contains(string(status), "THP_enabled:\t1\n"), must.Sprintf("%s", status))
	}
}

func TestStats_ReportCPUAndMemory(t *testing.T) {
	p := newTestPlugin(t)
	task, _ := p.run(t, TaskConfig{Kernel: "spin.spt"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ch, err := p.TaskStats(ctx, task.ID, time.Second)
	must.NoError(t, err)
	must.Eq(t, 0, testenv.Receive(t, ch).ResourceUsage.CpuStats.Percent)
	second := testenv.Receive(t, ch).ResourceUsage
	cpu, memory := second.CpuStats, second.MemoryStats
	must.Positive(t, cpu.Percent)
	must.Positive(t, cpu.TotalTicks)
	must.Positive(t, memory.RSS)
	must.Positive(t, memory.Usage)
	must.GreaterEq(t, memory.Usage, memory.MaxUsage)
	must.Eq(t, measuredCPU, cpu.Measured)
	must.Eq(t, measuredMemory, memory.Measured)

	must.NoError(t, p.StopTask(task.ID, time.Minute, ""))
	waitFor(t, "the end of the stream", func() bool { _, ok := <-ch; return !ok })
	ended, err := p.TaskStats(ctx, task.ID, time.Second)
	if err == nil { // gRPC reports the error with the stream
		_, ok := <-ended
		must.False(t, ok)
	}
}

func TestStart_FailureLeavesNoTrace(t *testing.T) {
	for _, c := range []struct {
		name, message string
		job           TaskConfig
		change        func(*drivers.TaskConfig)
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
			p := newTestPlugin(t)
			task := p.task(t, c.job, false)
			must.NoError(t, os.WriteFile(filepath.Join(task.TaskDir().LocalDir, "text"), []byte("text"), 0o644))
			if c.change != nil {
				c.change(task)
			}
			_, _, err := p.StartTask(task)
			must.ErrorContains(t, err, c.message)
			records, err := readRecords(p.config.StateDir)
			must.NoError(t, err)
			must.MapEmpty(t, records)
		})
	}
}

func TestStart_ErrorsOfTheHostAreRecoverable(t *testing.T) {
	p := newTestPlugin(t)
	task := p.task(t, TaskConfig{Kernel: "hello.spt"}, false)
	must.NoError(t, os.RemoveAll(tasksDir(p.config.StateDir)))
	must.NoError(t, os.WriteFile(tasksDir(p.config.StateDir), nil, 0o600)) // an obstacle
	_, _, err := p.StartTask(task)
	must.Error(t, err)
	must.True(t, structs.IsRecoverable(err))

	must.NoError(t, os.Remove(tasksDir(p.config.StateDir)))
	configure(t, task, TaskConfig{Kernel: "hello.hvt"})
	_, _, err = p.StartTask(task)
	must.Error(t, err)
	must.False(t, structs.IsRecoverable(err))
}

func TestStart_RefusesARunningTask(t *testing.T) {
	p := newTestPlugin(t)
	task, _ := p.run(t, TaskConfig{Kernel: "idle.spt"})
	_, _, err := p.StartTask(task)
	must.ErrorContains(t, err, "has already been started")
}

func TestStart_WorksWithALongStateDir(t *testing.T) {
	testenv.Need(t, testenv.Root)
	p := newTestPluginWith(t, Config{
		StateDir:   filepath.Join(t.TempDir(), strings.Repeat("long/", 40)),
		ImagePaths: []string{guestDir(t)},
	})
	task, _ := p.run(t, TaskConfig{Kernel: "idle.spt"})
	must.NoError(t, p.StopTask(task.ID, time.Minute, ""))
}
