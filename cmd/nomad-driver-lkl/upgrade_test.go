// SPDX-License-Identifier: MPL-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/nomad/plugins/base"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// A task outlives any number of upgrades and downgrades of the plugin, whichever
// version started it.
func TestPlugin_TasksSurviveUpgradeAndDowngrade(t *testing.T) {
	testenv.Need(t, testenv.Root)
	current := testenv.Plugin(t)
	higher := buildPlugin(t, executor.Version+1, executor.MinVersion)
	for _, tc := range []struct {
		name, starts, continues string
		version                 int // of the executor
	}{
		{"upgrade", current, higher, executor.Version},
		{"downgrade", higher, current, executor.Version + 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			task := startUpgradeTask(t, tc.starts)
			must.Eq(t, tc.version, task.identity(t).Version)
			for _, path := range []string{tc.continues, tc.starts, tc.continues} {
				task.replacePlugin(t, path)
				task.signal(t)
				task.requireStats(t)
			}
			result := task.stop(t)
			must.True(t, result.Successful(), must.Sprint(result))
		})
	}
}

// A plugin that shares no protocol version with an executor neither kills nor
// loses the task.
func TestPlugin_TasksSurviveAnIncompatiblePlugin(t *testing.T) {
	testenv.Need(t, testenv.Root)
	incompatible := buildPlugin(t, executor.Version+2, executor.Version+2)
	task := startUpgradeTask(t, incompatible)
	task.replacePlugin(t, testenv.Plugin(t))
	task.requireStats(t)
	err := task.plugin.driver.SignalTask(task.config.ID, "SIGUSR1")
	must.ErrorContains(t, err, "install")

	task.replacePlugin(t, incompatible)
	task.signal(t)
	task.replacePlugin(t, testenv.Plugin(t))
	must.Eq(t, 9, task.stop(t).Signal)
}

// An upgrade removes the executor of the old plugin, but not while a task runs it.
func TestPlugin_UpgradeRemovesTheOldExecutor(t *testing.T) {
	testenv.Need(t, testenv.Root)
	old := testenv.Plugin(t)
	higher := buildPlugin(t, executor.Version+1, executor.MinVersion)
	task := startUpgradeTask(t, old)
	program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", task.identity(t).Executor.Pid))
	must.NoError(t, err)
	dayAgo := time.Now().Add(-24 * time.Hour) // the sweep removes old files only
	must.NoError(t, os.Chtimes(program, dayAgo, dayAgo))

	unused := filepath.Join(filepath.Dir(filepath.Dir(program)), strings.Repeat("f", 64)) // the sweep comes to it last
	must.NoError(t, os.Mkdir(unused, 0o755))
	must.NoError(t, os.WriteFile(filepath.Join(unused, "lkl-executor"), nil, 0o755))
	must.NoError(t, os.Chtimes(filepath.Join(unused, "lkl-executor"), dayAgo, dayAgo))

	task.replacePlugin(t, higher)
	waitUntilGone(t, unused)
	must.FileExists(t, program)

	// The task does not need the file.
	must.NoError(t, os.RemoveAll(filepath.Dir(program)))
	for _, path := range []string{higher, old} {
		task.replacePlugin(t, path)
		task.signal(t)
		task.requireStats(t)
	}
	task.runAnother(t) // the old plugin installs its executor again
	must.NoError(t, os.Chtimes(program, dayAgo, dayAgo))
	task.replacePlugin(t, higher)
	waitUntilGone(t, filepath.Dir(program))
	must.True(t, task.stop(t).Successful())
}

func waitUntilGone(t *testing.T, path string) {
	t.Helper()
	must.Wait(t, testenv.EventuallyTrue(func() bool {
		_, err := os.Stat(path)
		return errors.Is(err, fs.ErrNotExist)
	}), must.Sprintf("waiting for the removal of %s", path))
}

// buildPlugin builds the plugin and its executor with other protocol versions.
func buildPlugin(t *testing.T, version, minVersion int) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	must.NoError(t, err)
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }

	versionFile := filepath.Join(root, "executor", "version.go")
	source, err := os.ReadFile(versionFile)
	must.NoError(t, err)
	for name, value := range map[string]int{"Version": version, "MinVersion": minVersion} {
		constant := regexp.MustCompile(`(?m)^\t` + name + ` = \d+$`)
		must.Len(t, 1, constant.FindAll(source, -1), must.Sprintf("%s declares %s", versionFile, name))
		source = constant.ReplaceAll(source, fmt.Appendf(nil, "\t%s = %d", name, value))
	}
	must.NoError(t, os.WriteFile(path("version.go"), source, 0o644))

	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
		versionFile: path("version.go"),
		filepath.Join(root, "executor", "bundle", "run-make-build", "lkl-executor"): path("lkl-executor"),
	}})
	must.NoError(t, err)
	must.NoError(t, os.WriteFile(path("overlay.json"), overlay, 0o644))
	// The plugin embeds the executor, which therefore comes first.
	for _, name := range []string{"lkl-executor", "nomad-driver-lkl"} {
		build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w",
			"-overlay", path("overlay.json"), "-o", path(name), "./cmd/"+name)
		build.Dir = root
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		output, err := build.CombinedOutput()
		must.NoError(t, err, must.Sprint(string(output)))
	}
	return path("nomad-driver-lkl")
}

// An upgradeTask is a task of guest/control, which prints the signals that it
// receives, under a plugin that is replaced while the task runs.
type upgradeTask struct {
	plugin   *process
	stateDir string
	config   *drivers.TaskConfig
	handle   *drivers.TaskHandle
	console  *console
	pid      string
	signals  int
}

func startUpgradeTask(t *testing.T, path string) *upgradeTask {
	t.Helper()
	config, console := newTask(t, "control.spt")
	task := &upgradeTask{stateDir: t.TempDir(), config: config, console: console}
	task.startPlugin(t, path)
	var err error
	task.handle, _, err = task.plugin.driver.StartTask(config)
	must.NoError(t, err)
	task.pid = task.guestPID(t)
	task.signal(t)
	return task
}

func (task *upgradeTask) startPlugin(t *testing.T, path string) {
	t.Helper()
	cmd := exec.Command(path)
	client := plugin.NewClient(clientConfig(t, func(c *plugin.ClientConfig) { c.Cmd = cmd }))
	t.Cleanup(client.Kill)
	task.plugin = &process{
		client: client, cmd: cmd,
		driver: dispense[drivers.DriverPlugin](t, client, base.PluginTypeDriver),
	}
	task.plugin.configure(t, task.stateDir)
}

// replacePlugin kills the plugin and recovers the task with another one.
func (task *upgradeTask) replacePlugin(t *testing.T, path string) {
	t.Helper()
	must.NoError(t, task.plugin.cmd.Process.Kill())
	task.plugin.client.Kill() // waits for its end
	task.startPlugin(t, path)
	must.NoError(t, task.plugin.driver.RecoverTask(task.handle))
	must.Eq(t, task.pid, task.guestPID(t))
	must.True(t, alive(t, task.pid))
}

// identity returns the executor's identity file.
func (task *upgradeTask) identity(t *testing.T) executor.Identity {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(task.stateDir, "tasks", "*", executor.IdentityFile))
	must.NoError(t, err)
	must.Len(t, 1, files)
	id, err := executor.ReadIdentity(filepath.Dir(files[0]))
	must.NoError(t, err)
	return id
}

func (task *upgradeTask) guestPID(t *testing.T) string {
	t.Helper()
	status, err := task.plugin.driver.InspectTask(task.config.ID)
	must.NoError(t, err)
	must.Eq(t, drivers.TaskStateRunning, status.State)
	return status.DriverAttributes["pid"]
}

// signal sends SIGUSR1 and waits until the program in the guest has received it.
func (task *upgradeTask) signal(t *testing.T) {
	t.Helper()
	must.NoError(t, task.plugin.driver.SignalTask(task.config.ID, "SIGUSR1"))
	task.signals++
	must.Wait(t, testenv.EventuallyTrue(func() bool {
		task.console.mu.Lock()
		defer task.console.mu.Unlock()
		return strings.Count(task.console.text.String(), "signal 10\n") == task.signals
	}), must.Sprint("waiting for the guest to report the signal"))
}

// runAnother runs another task to its end.
func (task *upgradeTask) runAnother(t *testing.T) {
	t.Helper()
	config, _ := newTask(t, "hello.spt")
	_, _, err := task.plugin.driver.StartTask(config)
	must.NoError(t, err)
	ended, err := task.plugin.driver.WaitTask(t.Context(), config.ID)
	must.NoError(t, err)
	must.True(t, testenv.Receive(t, ended).Successful())
	must.NoError(t, task.plugin.driver.DestroyTask(config.ID, false))
}

func (task *upgradeTask) requireStats(t *testing.T) {
	t.Helper()
	stats, err := task.plugin.driver.TaskStats(t.Context(), task.config.ID, time.Second)
	must.NoError(t, err)
	must.Positive(t, testenv.Receive(t, stats).ResourceUsage.MemoryStats.RSS)
}

// stop stops and destroys the task, and returns how it ended.
func (task *upgradeTask) stop(t *testing.T) *drivers.ExitResult {
	t.Helper()
	ended, err := task.plugin.driver.WaitTask(t.Context(), task.config.ID)
	must.NoError(t, err)
	must.NoError(t, task.plugin.driver.StopTask(task.config.ID, testenv.Patience, ""))
	result := testenv.Receive(t, ended)
	must.NoError(t, task.plugin.driver.DestroyTask(task.config.ID, false))
	must.False(t, alive(t, task.pid))
	return result
}
