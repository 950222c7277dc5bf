// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/nomad/helper/testlog"
	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/base"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// patience is how long a test waits for what takes milliseconds.
const patience = 20 * time.Second

// A bed is a plugin behind Nomad's gRPC, and the state directory of it and of
// those that come after it.
type bed struct {
	drivers.DriverPlugin
	impl   *Driver
	config Config
	kill   func() // ends the plugin as its process's end would
}

// newBed needs root: tasks run in control groups, as users of their own.
func newBed(t *testing.T) *bed {
	testenv.Need(t, testenv.Root)
	return bedWith(t, Config{StateDir: t.TempDir(), ImagePaths: []string{guestDir(t)}})
}

func bedWith(t *testing.T, config Config) *bed {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel) // after the tasks, which end with the test's own context
	d := New(ctx, testlog.HCLogger(t), builtExecutor(t))
	var data []byte
	must.NoError(t, base.MsgPackEncode(&data, &config))
	must.NoError(t, d.SetConfig(&base.Config{
		PluginConfig: data,
		AgentConfig:  &base.AgentConfig{Driver: &base.ClientDriverConfig{}},
	}))
	return &bed{DriverPlugin: serve(t, d), impl: d, config: config, kill: cancel}
}

// builtExecutor is an Installer for the executor that make has built.
func builtExecutor(t testing.TB) Installer {
	t.Helper()
	path := testenv.Executor(t)
	return func(string) (string, error) { return path, nil }
}

func guestDir(t testing.TB) string { return filepath.Dir(testenv.Guest(t, "hello.spt")) }

// again is a plugin that comes after b was killed.
func (b *bed) again(t *testing.T) *bed {
	b.kill()
	return bedWith(t, b.config)
}

// task makes a task of a guest, with an alloc directory and control groups.
// With logs, a logmon collects its console.
func (b *bed) task(t *testing.T, job TaskConfig, logs bool) *drivers.TaskConfig {
	allocID := uuid.Generate()
	const name = "web"
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
	t.Cleanup(func() { _ = b.impl.DestroyTask(task.ID, true) })
	b.configure(t, task, job)
	return task
}

// configure sets what the job says of a task.
func (b *bed) configure(t *testing.T, task *drivers.TaskConfig, job TaskConfig) {
	if !filepath.IsAbs(job.Kernel) {
		job.Kernel = testenv.Guest(t, job.Kernel)
	}
	must.NoError(t, task.EncodeConcreteDriverConfig(&job))
}

// run starts a guest.
func (b *bed) run(t *testing.T, job TaskConfig) (*drivers.TaskConfig, *drivers.TaskHandle) {
	task := b.task(t, job, true)
	handle, _, err := b.StartTask(task)
	must.NoError(t, err)
	return task, handle
}

// wait is how a task ends.
func (b *bed) wait(t *testing.T, task *drivers.TaskConfig) *drivers.ExitResult {
	t.Helper()
	ch, err := b.WaitTask(t.Context(), task.ID)
	must.NoError(t, err)
	select {
	case result := <-ch:
		return result
	case <-time.After(patience):
		t.Fatal("the task does not end")
		return nil
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// console is what logmon has collected of a task's console.
func console(task *drivers.TaskConfig) string {
	content, _ := os.ReadFile(filepath.Join(task.TaskDir().LogDir, task.Name+".stdout.0"))
	return string(content)
}

// stateOf reads the driver's part of a handle.
func stateOf(t *testing.T, handle *drivers.TaskHandle) taskState {
	t.Helper()
	state, err := decodeState(handle)
	must.NoError(t, err)
	return state
}

// nothingLeft checks that a task owns nothing any more.
func nothingLeft(t *testing.T, handle *drivers.TaskHandle) {
	t.Helper()
	state := stateOf(t, handle)
	eventually(t, "guest and executor gone", func() bool {
		return !state.Guest.Alive() && !state.Executor.Alive()
	})
	must.DirNotExists(t, state.Dir)
	must.DirNotExists(t, cgroupPath(state.Cgroup))
}
