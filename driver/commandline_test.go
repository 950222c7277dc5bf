// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// The program prints a digest of its arguments and its environment.
const probe = "../../guest/lkl/testdata/probe.c"

// digest is the output of the program above.
func digest(task *drivers.TaskConfig, args []string) string {
	sum := fnv.New64a()
	add := func(word string) { _, _ = sum.Write(append([]byte(word), 0)) } // never fails
	for _, a := range args {
		add(a)
	}
	for _, name := range slices.Sorted(maps.Keys(task.Env)) {
		add(name + "=" + task.Env[name])
	}
	return fmt.Sprintf("digest of %d arguments and %d variables: %016x", len(args), len(task.Env), sum.Sum64())
}

// longTask has an environment of a megabyte and an argument of 128 KiB.
func longTask(t *testing.T, p *testPlugin) (*drivers.TaskConfig, []string) {
	t.Helper()
	const awkward = "it's \"quoted\" \\ and\na line\tor two, ä€😀 $HOME `*` secret-of-the-task "
	repeat := func(size int) string { return strings.Repeat(awkward, size/len(awkward)+1)[:size] }
	args := []string{"digest", repeat(128 << 10), "-c", "last words"}
	task := p.linux(t, probe, TaskConfig{Args: args})
	task.Env["LARGE"] = repeat(128 << 10)
	for i := range 896 {
		task.Env[fmt.Sprintf("VARIABLE_%03d", i)] = repeat(1 << 10)
	}
	return task, args
}

func TestCommandLine_AMegabyteReachesTheProgram(t *testing.T) {
	var log lockedBuffer
	testenv.Need(t, testenv.Root)
	p := newLoggedPlugin(t, Config{StateDir: t.TempDir()}, hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Trace}))
	task, args := longTask(t, p)
	handle, _, err := p.StartTask(task)
	must.NoError(t, err)
	state := stateOf(t, handle)
	waitForLine(t, task, digest(task, args))
	must.Zero(t, p.wait(t, task).ExitCode)

	const secret = "secret-of-the-task"
	must.StrNotContains(t, log.String(), secret)
	err = filepath.WalkDir(p.config.StateDir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		must.False(t, bytes.Contains(content, []byte(secret)), must.Sprint(path))
		return err
	})
	must.NoError(t, err)
	must.NotEq(t, "", state.Dir)
}

// Neither the executor nor the guest's process shows the environment, and no descriptor
// of it stays open.
func TestCommandLine_LeavesNoTraceInProcesses(t *testing.T) {
	testenv.Need(t, testenv.Root)
	p := newTestPlugin(t)
	task, args := longTask(t, p)
	var config TaskConfig
	must.NoError(t, task.DecodeDriverConfig(&config))
	config.Args = []string{"say", args[1], "say", "ready", "sleep", "1000000"}
	must.NoError(t, task.EncodeConcreteDriverConfig(&config))
	state := stateOf(t, p.startLinux(t, task))
	for _, pid := range []int{state.Executor.Pid, state.Guest.Pid, os.Getpid()} {
		dir := fmt.Sprintf("/proc/%d", pid)
		for _, name := range []string{"cmdline", "environ"} {
			content, err := os.ReadFile(filepath.Join(dir, name))
			must.NoError(t, err)
			must.StrNotContains(t, string(content), "secret-of-the-task")
		}
		links, err := os.ReadDir(filepath.Join(dir, "fd"))
		must.NoError(t, err)
		for _, l := range links {
			to, _ := os.Readlink(filepath.Join(dir, "fd", l.Name())) // may be closed by now
			must.StrNotContains(t, to, "command-line")
		}
	}
	// An executor and the launcher's page take at most 4 MiB.
	private := testenv.PrivateMemory(t, state.Executor.Pid)
	t.Logf("private memory of the executor: %d KiB", private>>10)
	must.Less(t, 4<<20, private)
}

func TestCommandLine_ErrorsNameTheLimitAndTheWayRound(t *testing.T) {
	p := newTestPlugin(t)
	task, _ := longTask(t, p)
	for i := range 3 {
		task.Env[fmt.Sprint("BLANKS", i)] = strings.Repeat(" ", 512<<10)
	}
	_, _, err := p.StartTask(task)
	must.ErrorContains(t, err, "more than 4194304")
	must.ErrorContains(t, err, "put long values into files")
	must.StrNotContains(t, err.Error(), "secret-of-the-task")
	must.StrNotContains(t, err.Error(), "feature commandline")

	task, _ = longTask(t, p)
	task.Resources.LinuxResources.MemoryLimitBytes = 22 << 20
	for i := range 2 {
		task.Env[fmt.Sprint("BLANKS", i)] = strings.Repeat(" ", 512<<10)
	}
	_, _, err = p.StartTask(task)
	must.ErrorContains(t, err, "raise resources.memory")
	must.StrNotContains(t, err.Error(), "secret-of-the-task")
}

func TestCommandLine_LegacyGuestsKeepTheirLimit(t *testing.T) {
	p := newTestPlugin(t)
	task := p.task(t, TaskConfig{Kernel: "hello.spt", Args: []string{strings.Repeat("x", 8192)}}, false)
	_, _, err := p.StartTask(task)
	must.ErrorContains(t, err, "1 more than 8191")
	must.ErrorContains(t, err, "put long values into files")
	must.StrNotContains(t, err.Error(), "feature commandline")

	task = p.task(t, TaskConfig{Kernel: "hello.spt", Flavor: "lkl"}, false)
	task.Env = map[string]string{"PASSWORD": strings.Repeat("secret-of-the-task", 1000)}
	_, _, err = p.StartTask(task)
	must.ErrorContains(t, err, "link the kernel with a current lkl-cc")
	must.ErrorContains(t, err, `variable "PASSWORD"`)
	must.StrNotContains(t, err.Error(), "secret-of-the-task")
}
