// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"

	"github.com/lkl-nomad/nomad-driver-lkl/network"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// A plugin dies right after it has started an executor, which still has the tap. The next
// plugin cannot know this process. The guest's successor must serve all the same.
func TestShared_WaitsForTheTapOfAnUnknownExecutor(t *testing.T) {
	g := newTestGroup(t)
	before, _ := g.network.links(t)
	task := g.task(t, "web", httpPort, TaskConfig{Ports: []string{"http"}})
	ports := []network.PortRange{{First: 8080, Last: 8080}}
	tap, err := network.AttachShared(g.network.spec().Path, network.Options{}, network.Sharing{TCP: ports})
	must.NoError(t, err)
	r, err := newRecord(task)
	must.NoError(t, err)
	r.Links = []link{{Device: "tap", Mode: modeShared, Netns: r.Netns, Interface: "eth9", Tap: tap.Name}}
	dir, err := createTaskDir(g.plugin.config.StateDir, r)
	must.NoError(t, err)

	next := g.plugin.restart(t)
	removed := make(chan error, 1)
	go func() { removed <- next.impl.removeStrays(t.Context(), r) }()
	waitFor(t, "the removal of the first start", func() bool {
		next.impl.strays.mu.Lock()
		defer next.impl.strays.mu.Unlock()
		stray := next.impl.strays.byDir[dir]
		return stray == nil || stray.removing
	})
	must.NoError(t, tap.Close()) // the executor has ended
	must.NoError(t, <-removed)
	after, ingress := g.network.links(t)
	must.Eq(t, before, after)
	must.Eq(t, 0, ingress)

	_, _, err = next.StartTask(task)
	must.NoError(t, err)
	t.Cleanup(func() { _ = next.impl.DestroyTask(task.ID, true) })
	g.waitForService(t, httpPort, "web")
}

// The previous version of the plugin has started a guest, which had the interface for
// itself.
func TestShared_GuestsOfThePreviousVersionKeepTheirInterface(t *testing.T) {
	g := newTestGroup(t)
	before, _ := g.network.links(t)
	task := g.task(t, "web", httpPort, TaskConfig{NetworkMode: string(modeL2)})
	handle := g.plugin.startLinux(t, task)
	state := stateOf(t, handle)
	g.plugin.kill()
	must.NoError(t, os.WriteFile(filepath.Join(state.Dir, recordFile), previousRecord(t, state), 0o600))
	state.Links, handle.Version = nil, 2
	must.NoError(t, handle.SetDriverState(&state))
	must.NoError(t, task.EncodeConcreteDriverConfig(map[string]string{"kernel": "local/kernel", "rootfs": "local/root"}))
	handle.Config = task

	next := newTestPluginWith(t, g.plugin.config)
	g.plugin = next
	must.NoError(t, next.RecoverTask(handle))
	g.waitForAnswer(t, g.network.peer, allocIP, httpPort, "web")
	status, err := next.InspectTask(task.ID)
	must.NoError(t, err)
	must.Eq(t, allocIP, status.DriverAttributes["ip"])
	must.Eq(t, "l2", status.DriverAttributes["network_mode"])
	_, _, err = next.StartTask(g.task(t, "api", apiPort, TaskConfig{Ports: []string{apiPort}}))
	must.ErrorContains(t, err, `network_mode: this task has "shared" and the task "web" of this group has "l2"`)
	g.waitForAnswer(t, g.network.peer, allocIP, httpPort, "web")
	must.NoError(t, next.DestroyTask(task.ID, true))
	noTrace(t, handle)
	after, ingress := g.network.links(t)
	must.Eq(t, before, after)
	must.Eq(t, 0, ingress)
}

// previousRecord returns the record of a task as version 1 of the record had it.
func previousRecord(t *testing.T, state taskState) []byte {
	t.Helper()
	r, err := readRecord(state.Dir)
	must.NoError(t, err)
	r.Version, r.Tap, r.Links = 1, state.Tap, nil
	content, err := json.Marshal(r)
	must.NoError(t, err)
	var fields map[string]any
	must.NoError(t, json.Unmarshal(content, &fields))
	delete(fields, "Links")
	content, err = json.Marshal(fields)
	must.NoError(t, err)
	return content
}

// A process without rights on the host, but on its namespaces, cannot load programs that
// share an interface. The guest then takes the interface over.
func TestShared_TakesTheInterfaceOverIfTheKernelCannotShare(t *testing.T) {
	if !inOwnUser(t) {
		return
	}
	n := newTestNetwork(t)
	d := testDriver(t)
	d.config.StateDir = t.TempDir()
	task := plainTask()
	task.NetworkIsolation = n.spec()
	k := &kernel{kernelInfo: kernelInfo{flavor: unikernel.FlavorSolo5, elf: &unikernel.Info{Manifest: []unikernel.Device{netEntry("tap")}}}}
	for mode, want := range map[string]networkMode{auto: modeL2, string(modeL2): modeL2, string(modeShared): ""} {
		r := record{Task: task.ID, AllocID: task.AllocID, Name: task.Name, Netns: n.spec().Path}
		path, err := createTaskDir(d.config.StateDir, r)
		must.NoError(t, err)
		var undo undo
		devices, err := d.connect(t.Context(), job{task: task, config: TaskConfig{NetworkMode: mode}}, taskDir{path: path, record: r}, k, &undo)
		if want == "" {
			must.ErrorIs(t, err, network.ErrNoSharing)
		} else {
			must.NoError(t, err)
			must.Eq(t, want, devices[0].link.Mode)
			written, err := readRecord(path)
			must.NoError(t, err)
			must.Eq(t, devices.links(), written.Links)
		}
		devices.Close()
		must.NoError(t, undo.run())
		must.NoError(t, os.RemoveAll(path))
		_, ingress := n.links(t)
		must.Eq(t, 0, ingress)
	}
}

// inOwnUser runs the test in another process with its own users and network. The result is
// false in the first process, which must return.
func inOwnUser(t *testing.T) bool {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Tun)
	const mark = "LKL_TEST_USER"
	if os.Getenv(mark) == t.Name() {
		return true
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), mark+"="+t.Name())
	all := []syscall.SysProcIDMap{{Size: 1 << 16}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET, UidMappings: all, GidMappings: all,
		GidMappingsEnableSetgroups: true, Pdeathsig: syscall.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s\n%v", out, err)
	}
	must.StrContains(t, string(out), "--- PASS: "+t.Name())
	return false
}

// As many guests as a network can have start at the same time. The next one is refused.
func TestShared_ManyGuestsStartAtOnce(t *testing.T) {
	g := newTestGroup(t)
	before, _ := g.network.links(t)
	const guests = 13
	prepare := func(i int) *drivers.TaskConfig {
		task := g.plugin.taskOf(t, g.allocID, fmt.Sprint("web", i), true)
		task.NetworkIsolation = g.network.spec()
		port := fmt.Sprint(8080 + i)
		configure(t, task, TaskConfig{Kernel: "httpd.spt", Args: []string{"ip={{ipv4}}", "gw={{ipv4_gateway}}", "port=" + port}, Ports: []string{port}})
		return task
	}
	var tasks []*drivers.TaskConfig
	results := make(chan error, guests)
	for i := range guests {
		task := prepare(i)
		tasks = append(tasks, task)
		go func() {
			_, _, err := g.plugin.StartTask(task)
			results <- err
		}()
	}
	for range guests {
		must.NoError(t, <-results)
	}
	_, _, err := g.plugin.StartTask(prepare(guests))
	must.ErrorContains(t, err, network.ErrTooMany.Error()) // from another process
	for i := range guests {
		waitFor(t, fmt.Sprintf("guest %d", i), func() (answered bool) {
			within(t, g.network.peer, func(*netlink.Handle) {
				conn, err := net.DialTimeout("tcp", fmt.Sprintf("%s:%d", allocIP, 8080+i), time.Second)
				if answered = err == nil; answered {
					conn.Close()
				}
			})
			return answered
		})
	}
	for _, task := range tasks {
		must.NoError(t, g.plugin.DestroyTask(task.ID, true))
	}
	after, ingress := g.network.links(t)
	must.Eq(t, before, after)
	must.Eq(t, 0, ingress)
}
