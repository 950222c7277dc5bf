// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/nomad/helper/pluginutils/hclspecutils"
	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/base"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/driver"
	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/version"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// A process is a running plugin, started as a Nomad client starts it.
type process struct {
	client *plugin.Client
	driver drivers.DriverPlugin
	cmd    *exec.Cmd
}

func startPlugin(t *testing.T) *process {
	cmd := exec.Command(testenv.Plugin(t))
	client := plugin.NewClient(clientConfig(t, func(c *plugin.ClientConfig) { c.Cmd = cmd }))
	t.Cleanup(client.Kill)
	return &process{client: client, cmd: cmd, driver: dispense[drivers.DriverPlugin](t, client, base.PluginTypeDriver)}
}

// clientConfig returns the configuration of go-plugin that a Nomad client uses. The
// function adds how to start the plugin, or how to attach to it.
func clientConfig(t *testing.T, connect func(*plugin.ClientConfig)) *plugin.ClientConfig {
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: &testWriter{t: t}})
	c := &plugin.ClientConfig{
		HandshakeConfig: base.Handshake,
		Plugins: map[string]plugin.Plugin{
			base.PluginTypeBase:   &base.PluginBase{},
			base.PluginTypeDriver: drivers.NewDriverPlugin(nil, log),
		},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Logger:           log,
	}
	connect(c)
	return c
}

func dispense[T any](t *testing.T, client *plugin.Client, kind string) T {
	protocol, err := client.Client()
	must.NoError(t, err)
	raw, err := protocol.Dispense(kind)
	must.NoError(t, err)
	return raw.(T)
}

// testWriter writes the log of the plugin to the log of the test.
type testWriter struct {
	t  *testing.T
	mu sync.Mutex
}

func (w *testWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t.Context().Err() == nil { // after the test, Log panics
		w.t.Log(strings.TrimSpace(string(b)))
	}
	return len(b), nil
}

// configure configures the plugin as a client does before it runs tasks.
func (p *process) configure(t *testing.T, stateDir string) {
	p.configureWith(t, driver.Config{
		StateDir: stateDir, ImagePaths: []string{filepath.Dir(testenv.Guest(t, "hello.spt"))},
	})
}

func (p *process) configureWith(t *testing.T, config driver.Config) {
	var data []byte
	must.NoError(t, base.MsgPackEncode(&data, &config))
	must.NoError(t, p.driver.SetConfig(&base.Config{
		ApiVersion: drivers.ApiVersion010, PluginConfig: data,
		AgentConfig: &base.AgentConfig{Driver: &base.ClientDriverConfig{}},
	}))
}

func TestPlugin_InfoAndSchemas(t *testing.T) {
	p := startPlugin(t)
	b := dispense[base.BasePlugin](t, p.client, base.PluginTypeBase)
	info, err := b.PluginInfo()
	must.NoError(t, err)
	must.Eq(t, "lkl", info.Name)
	must.Eq(t, base.PluginTypeDriver, info.Type)
	must.Eq(t, version.Version, info.PluginVersion)

	config, err := b.ConfigSchema()
	must.NoError(t, err)
	_, diagnostics := hclspecutils.Convert(config)
	must.False(t, diagnostics.HasErrors())
	task, err := p.driver.TaskConfigSchema()
	must.NoError(t, err)
	_, diagnostics = hclspecutils.Convert(task)
	must.False(t, diagnostics.HasErrors())

	// A client first checks the configuration, without that of the agent.
	must.NoError(t, b.SetConfig(&base.Config{}))
	var wrong []byte
	must.NoError(t, base.MsgPackEncode(&wrong, &driver.Config{StateDir: "relative"}))
	must.ErrorContains(t, b.SetConfig(&base.Config{PluginConfig: wrong}), "state_dir")
}

func TestPlugin_FingerprintsTheHost(t *testing.T) {
	testenv.Need(t, testenv.Root)
	p := startPlugin(t)
	p.configure(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ch, err := p.driver.Fingerprint(ctx)
	must.NoError(t, err)
	f := testenv.Receive(t, ch)
	must.NoError(t, f.Err)
	must.Eq(t, drivers.HealthStateHealthy, f.Health, must.Sprint(f.HealthDescription))
	must.Eq(t, "true", f.Attributes["driver.lkl.spt"].GoString())
	must.Eq(t, version.Version, f.Attributes["driver.lkl.version"].GoString())
}

// The guest and its console survive the death of the plugin, and the next plugin
// recovers the task without a difference.
func TestPlugin_KilledDuringATask(t *testing.T) {
	testenv.Need(t, testenv.Root)
	stateDir := t.TempDir()
	task, lines := newTask(t, "spew.spt", "every=20000000", "width=32")
	first := startPlugin(t)
	first.configure(t, stateDir)
	handle, _, err := first.driver.StartTask(task)
	must.NoError(t, err)
	before, err := first.driver.InspectTask(task.ID)
	must.NoError(t, err)
	must.Eq(t, drivers.TaskStateRunning, before.State)
	pid := before.DriverAttributes["pid"]
	waiting, err := first.driver.WaitTask(t.Context(), task.ID)
	must.NoError(t, err)

	must.NoError(t, first.cmd.Process.Kill())
	must.Error(t, testenv.Receive(t, waiting).Err) // the client then starts another plugin
	lines.requireMore(t)
	must.True(t, alive(t, pid))

	second := startPlugin(t)
	second.configure(t, stateDir)
	must.NoError(t, second.driver.RecoverTask(handle))
	after, err := second.driver.InspectTask(task.ID)
	must.NoError(t, err)
	must.Eq(t, drivers.TaskStateRunning, after.State)
	must.Eq(t, before.DriverAttributes, after.DriverAttributes)
	must.Eq(t, before.StartedAt.UnixNano(), after.StartedAt.UnixNano())
	lines.requireMore(t)

	waiting, err = second.driver.WaitTask(t.Context(), task.ID)
	must.NoError(t, err)
	must.NoError(t, second.driver.StopTask(task.ID, time.Minute, "SIGINT"))
	must.Eq(t, int(syscall.SIGINT), testenv.Receive(t, waiting).Signal)
	must.NoError(t, second.driver.DestroyTask(task.ID, false))
	must.False(t, alive(t, pid))
	must.False(t, alive(t, before.DriverAttributes["executor_pid"]))
	must.DirNotExists(t, before.DriverAttributes["cgroup"])
	left, err := os.ReadDir(filepath.Join(stateDir, "tasks"))
	must.NoError(t, err)
	must.SliceEmpty(t, left)
}

func TestPlugin_EndsWithItsClientAndTasksRunOn(t *testing.T) {
	testenv.Need(t, testenv.Root)
	stateDir := t.TempDir()
	task, _ := newTask(t, "idle.spt")
	first := startPlugin(t)
	first.configure(t, stateDir)
	handle, _, err := first.driver.StartTask(task)
	must.NoError(t, err)
	status, err := first.driver.InspectTask(task.ID)
	must.NoError(t, err)
	first.client.Kill() // as an agent does when it stops
	must.True(t, first.client.Exited())
	must.True(t, alive(t, status.DriverAttributes["pid"]))

	second := startPlugin(t)
	second.configure(t, stateDir)
	must.NoError(t, second.driver.RecoverTask(handle))
	must.NoError(t, second.driver.DestroyTask(task.ID, true))
	must.False(t, alive(t, status.DriverAttributes["pid"]))
}

// newTask makes a task as a client does: directories, control groups, and FIFOs for
// the console. It reads the FIFO of stdout.
func newTask(t *testing.T, guest string, args ...string) (*drivers.TaskConfig, *console) {
	allocID, name := uuid.Generate(), "web"
	task := &drivers.TaskConfig{
		ID: allocID + "/" + name + "/" + uuid.Short(), AllocID: allocID, Name: name, AllocDir: t.TempDir(),
		Resources: &drivers.Resources{
			LinuxResources: &drivers.LinuxResources{
				MemoryLimitBytes: 64 << 20, CPUShares: 100,
				CpusetCgroupPath: testenv.TaskCgroup(t, allocID, name),
			},
			NomadResources: &structs.AllocatedTaskResources{Memory: structs.AllocatedMemoryResources{MemoryMB: 64}},
			Ports:          &structs.AllocatedPorts{},
		},
	}
	for _, dir := range []string{task.TaskDir().LocalDir, task.TaskDir().SecretsDir, task.TaskDir().LogDir} {
		must.NoError(t, os.MkdirAll(dir, 0o755))
	}
	task.StdoutPath = filepath.Join(task.TaskDir().LogDir, ".web.stdout.fifo")
	task.StderrPath = filepath.Join(task.TaskDir().LogDir, ".web.stderr.fifo")
	for _, path := range []string{task.StdoutPath, task.StderrPath} {
		must.NoError(t, unix.Mkfifo(path, 0o600))
	}
	must.NoError(t, task.EncodeConcreteDriverConfig(&driver.TaskConfig{Kernel: testenv.Guest(t, guest), Args: args}))
	return task, readConsole(t, task.StdoutPath)
}

// A console collects the output of a guest.
type console struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func readConsole(t *testing.T, path string) *console {
	f, err := os.OpenFile(path, os.O_RDWR, 0) // O_RDWR does not wait for a writer
	must.NoError(t, err)
	c := &console{}
	go func() { _, _ = io.Copy(c, f) }()
	t.Cleanup(func() { f.Close() })
	return c
}

func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(b)
}

func (c *console) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Len()
}

// requireMore waits for new output.
func (c *console) requireMore(t *testing.T) {
	t.Helper()
	before := c.size()
	must.Wait(t, testenv.EventuallyTrue(func() bool { return c.size() > before }))
}

func alive(t *testing.T, pid string) bool {
	t.Helper()
	n, err := strconv.Atoi(pid)
	must.NoError(t, err)
	_, err = executor.FindProcess(n)
	return err == nil
}
