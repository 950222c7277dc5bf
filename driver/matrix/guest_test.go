// SPDX-License-Identifier: MPL-2.0

package matrix

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/client/allocdir"
	"github.com/hashicorp/nomad/helper/testlog"
	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/base"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/driver"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// A spec describes a guest to start.
type spec struct {
	name    string // of the task
	alloc   string // its ID; by default a new one
	driver  *driver.Driver
	network *drivers.NetworkIsolationSpec
	ports   structs.AllocatedPorts // of the group
	serves  guestPorts
	job     driver.TaskConfig
	dns     *drivers.DNSConfig
}

// A guest is a running task.
type guest struct {
	driver  *driver.Driver
	task    *drivers.TaskConfig
	handle  *drivers.TaskHandle
	network *drivers.DriverNetwork
}

// start starts a task. The test's end destroys it.
func start(t *testing.T, s spec) *guest {
	t.Helper()
	g := &guest{driver: s.driver, task: newTask(t, s)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("console of %s:\n%s", s.name, g.console())
		}
	})
	t.Cleanup(func() { _ = g.driver.DestroyTask(g.task.ID, true) }) // the task may have ended
	var err error
	g.handle, g.network, err = g.driver.StartTask(g.task)
	must.NoError(t, err)
	return g
}

// newDriver returns a plugin.
func newDriver(t *testing.T, config driver.Config) *driver.Driver {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Tun, testenv.Tool("mke2fs"), testenv.Tool("debugfs"))
	built := filepath.Dir(testenv.Executor(t))
	log := testlog.HCLogger(t)
	log.SetLevel(hclog.Warn)
	ctx, cancel := context.WithCancel(context.Background())
	d := driver.New(ctx, log, func(_, program string) (string, error) { return filepath.Join(built, program), nil })
	t.Cleanup(func() { // after the tasks, whose clean-up needs the plugin
		cancel()
		d.Wait()
	})
	config.StateDir = t.TempDir()
	var data []byte
	must.NoError(t, base.MsgPackEncode(&data, &config))
	must.NoError(t, d.SetConfig(&base.Config{
		PluginConfig: data,
		AgentConfig:  &base.AgentConfig{Driver: &base.ClientDriverConfig{}},
	}))
	return d
}

// newTask prepares a task as a Nomad client does.
func newTask(t *testing.T, s spec) *drivers.TaskConfig {
	t.Helper()
	allocID := cmp.Or(s.alloc, uuid.Generate())
	task := &drivers.TaskConfig{
		ID: allocID + "/" + s.name + "/" + uuid.Short(), AllocID: allocID, Name: s.name,
		Env: map[string]string{
			"ECHO_PORT": strconv.Itoa(int(s.serves.echo)), "COMMAND_PORT": strconv.Itoa(int(s.serves.command)),
		},
		Resources: &drivers.Resources{
			LinuxResources: &drivers.LinuxResources{
				MemoryLimitBytes: 128 << 20, CPUShares: 100,
				CpusetCgroupPath: testenv.TaskCgroup(t, allocID, s.name),
			},
			NomadResources: &structs.AllocatedTaskResources{Memory: structs.AllocatedMemoryResources{MemoryMB: 128}},
			Ports:          &s.ports,
		},
		NetworkIsolation: s.network, DNS: s.dns,
	}
	alloc := allocdir.NewAllocDir(hclog.NewNullLogger(), t.TempDir(), allocID)
	must.NoError(t, alloc.Build())
	t.Cleanup(func() { _ = alloc.Destroy() })
	dir := alloc.NewTaskDir(s.name)
	must.NoError(t, dir.Build(false, nil))
	task.AllocDir = alloc.AllocDir
	must.NoError(t, os.Mkdir(filepath.Join(dir.LocalDir, "root"), 0o755))
	must.NoError(t, os.Link(agentKernel(t), filepath.Join(dir.LocalDir, "kernel")))
	output, err := os.Create(filepath.Join(t.TempDir(), "output"))
	must.NoError(t, err)
	must.NoError(t, output.Close())
	task.StdoutPath, task.StderrPath = output.Name(), output.Name()
	job := s.job
	job.Kernel, job.Rootfs, job.RootfsSize = "local/kernel", "local/root", "16MiB"
	must.NoError(t, task.EncodeConcreteDriverConfig(&job))
	return task
}

func (g *guest) console() string {
	content, err := os.ReadFile(g.task.StdoutPath)
	if err != nil {
		return err.Error()
	}
	return string(content)
}

// waitForLine waits for a line with this prefix on the console, and returns it.
func (g *guest) waitForLine(t *testing.T, prefix string) (line string) {
	t.Helper()
	must.Wait(t, testenv.Eventually(func() error {
		for l := range strings.Lines(g.console()) {
			if strings.HasPrefix(l, prefix) && strings.HasSuffix(l, "\n") {
				line = strings.TrimSuffix(l, "\n")
				return nil
			}
		}
		return fmt.Errorf("no %q on the console: %s", prefix, g.console())
	}))
	return line
}

// A caller sends commands to a guest, from one namespace to one address.
type caller struct {
	from    *namespace
	address string // with the port
}

// longest is the time that a command may take: the largest number of seconds in a command,
// and the guest's own tries.
const longest = 3 * testenv.Patience

// run sends a command to the guest, and returns the answer.
func (c caller) run(t *testing.T, command string, args ...any) string {
	t.Helper()
	return ask(t, c.from.open(t, "tcp", c.address), fmt.Sprintf(command, args...))
}

// ask sends a command on a connection.
func ask(t *testing.T, conn net.Conn, command string) string {
	t.Helper()
	must.NoError(t, conn.SetDeadline(time.Now().Add(longest)))
	_, err := fmt.Fprintln(conn, command)
	must.NoError(t, err)
	answer, err := bufio.NewReader(conn).ReadString('\n')
	must.NoError(t, err, must.Sprint("the answer to ", command))
	return strings.TrimSuffix(answer, "\n")
}

// ready waits until the guest takes commands.
func (c caller) ready(t *testing.T) {
	t.Helper()
	must.Wait(t, testenv.Eventually(func() error {
		return c.from.enter(func() error {
			conn, err := net.DialTimeout("tcp", c.address, time.Second)
			if err == nil {
				err = conn.Close()
			}
			return err
		})
	}))
}
