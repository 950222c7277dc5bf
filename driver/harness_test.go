// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/helper/testlog"
	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/base"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// A testPlugin is a plugin behind Nomad's gRPC interface.
type testPlugin struct {
	drivers.DriverPlugin
	impl   *Driver
	config Config
	kill   func() // ends the plugin like the end of its process
}

// newTestPlugin needs root, because tasks have control groups and UIDs.
func newTestPlugin(t *testing.T) *testPlugin {
	testenv.Need(t, testenv.Root)
	return newTestPluginWith(t, Config{StateDir: t.TempDir(), ImagePaths: []string{guestDir(t)}})
}

func newTestPluginWith(t *testing.T, config Config) *testPlugin {
	return newLoggedPlugin(t, config, testlog.HCLogger(t))
}

func newLoggedPlugin(t *testing.T, config Config, log hclog.Logger) *testPlugin {
	ctx, cancel := context.WithCancel(context.Background())
	d := New(ctx, log, builtPrograms(t))
	t.Cleanup(func() { // after the tasks, whose clean-up needs the plugin
		cancel()
		d.Wait()
	})
	var data []byte
	must.NoError(t, base.MsgPackEncode(&data, &config))
	must.NoError(t, d.SetConfig(&base.Config{
		PluginConfig: data,
		AgentConfig:  &base.AgentConfig{Driver: &base.ClientDriverConfig{}},
	}))
	return &testPlugin{DriverPlugin: serve(t, d), impl: d, config: config, kill: cancel}
}

// builtPrograms returns an Installer of the programs that make has built.
func builtPrograms(t testing.TB) Installer {
	t.Helper()
	paths := map[string]string{executor.Program: testenv.Executor(t), files.Program: testenv.FileServer(t)}
	return func(_, program string) (string, error) { return paths[program], nil }
}

// useBuiltPrograms makes the plugin run the programs that make has built.
func (p *testPlugin) useBuiltPrograms(t testing.TB) {
	t.Helper()
	install := builtPrograms(t)
	p.impl.installing.Lock()
	defer p.impl.installing.Unlock()
	p.impl.install, p.impl.programs = install, map[string]installedProgram{}
}

func guestDir(t testing.TB) string { return filepath.Dir(testenv.Guest(t, "hello.spt")) }

// restart kills the plugin and returns another one with the same configuration.
func (p *testPlugin) restart(t *testing.T) *testPlugin {
	p.kill()
	return newTestPluginWith(t, p.config)
}

// task prepares a task, with an alloc directory and control groups. With logs, a
// logmon collects its console.
func (p *testPlugin) task(t *testing.T, config TaskConfig, logs bool) *drivers.TaskConfig {
	task := p.taskOf(t, uuid.Generate(), "web", logs)
	configure(t, task, config)
	return task
}

// taskOf is task for a task of an alloc, without a config block. The tasks of an alloc have
// separate alloc directories.
func (p *testPlugin) taskOf(t *testing.T, allocID, name string, logs bool) *drivers.TaskConfig {
	task := &drivers.TaskConfig{
		ID: allocID + "/" + name + "/" + uuid.Short(), AllocID: allocID, Name: name,
		Env: map[string]string{},
		Resources: &drivers.Resources{
			LinuxResources: &drivers.LinuxResources{
				MemoryLimitBytes: 64 << 20, CPUShares: 100,
				CpusetCgroupPath: testenv.TaskCgroup(t, allocID, name),
			},
			NomadResources: &structs.AllocatedTaskResources{Memory: structs.AllocatedMemoryResources{MemoryMB: 64}},
			Ports:          &structs.AllocatedPorts{},
		},
	}
	makeAllocDir(t, task, logs)
	t.Cleanup(func() { _ = p.impl.DestroyTask(task.ID, true) })
	return task
}

// configure sets a task's config block. A relative kernel is a guest of the
// build, except in an image.
func configure(t *testing.T, task *drivers.TaskConfig, config TaskConfig) {
	if config.Image == "" && !filepath.IsAbs(config.Kernel) {
		config.Kernel = testenv.Guest(t, config.Kernel)
	}
	must.NoError(t, task.EncodeConcreteDriverConfig(&config))
}

// run starts a task.
func (p *testPlugin) run(t *testing.T, config TaskConfig) (*drivers.TaskConfig, *drivers.TaskHandle) {
	task := p.task(t, config, true)
	handle, _, err := p.StartTask(task)
	must.NoError(t, err)
	return task, handle
}

// wait returns how a task ends.
func (p *testPlugin) wait(t *testing.T, task *drivers.TaskConfig) *drivers.ExitResult {
	t.Helper()
	ch, err := p.WaitTask(t.Context(), task.ID)
	must.NoError(t, err)
	return testenv.Receive(t, ch)
}

// waitFor waits for a condition. The description completes "waiting for".
func waitFor(t *testing.T, description string, condition func() bool) {
	t.Helper()
	must.Wait(t, testenv.EventuallyTrue(condition), must.Sprint("waiting for ", description))
}

// console returns the standard output that logmon has collected.
func console(task *drivers.TaskConfig) string { return collected(task, "stdout") }

// errorsOf returns the standard error that logmon has collected, which has the messages of
// a Linux guest.
func errorsOf(task *drivers.TaskConfig) string { return collected(task, "stderr") }

func collected(task *drivers.TaskConfig, stream string) string {
	content, _ := os.ReadFile(filepath.Join(task.TaskDir().LogDir, task.Name+"."+stream+".0"))
	return string(content)
}

// waitForLine waits for lines on the task's console.
func waitForLine(t *testing.T, task *drivers.TaskConfig, line string) {
	t.Helper()
	waitFor(t, fmt.Sprintf("%q on the console", line), func() bool {
		return strings.Contains(console(task), line+"\n")
	})
}

// stateOf decodes the driver's part of a handle.
func stateOf(t *testing.T, handle *drivers.TaskHandle) taskState {
	t.Helper()
	state, err := decodeState(handle)
	must.NoError(t, err)
	return state
}

// noTrace checks that a task owns nothing any more.
func noTrace(t *testing.T, handle *drivers.TaskHandle) {
	t.Helper()
	state := stateOf(t, handle)
	waitFor(t, "guest and executor to end", func() bool {
		return !state.Guest.Alive() && !state.Executor.Alive()
	})
	must.DirNotExists(t, state.Dir)
	must.DirNotExists(t, cgroupPath(state.Cgroup))
}
