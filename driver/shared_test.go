// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"

	"github.com/lkl-nomad/nomad-driver-lkl/network"
)

// A testGroup is an alloc with several tasks in a shared network.
type testGroup struct {
	plugin  *testPlugin
	network *testNetwork
	allocID string
}

// The ports of a testGroup: http is a label, the others are numbers.
const (
	httpPort, apiPort, nativePort = "8080", "9001", "7000"
)

func newTestGroup(t *testing.T) *testGroup {
	g := &testGroup{plugin: newTestPlugin(t), network: newTestNetwork(t), allocID: uuid.Generate()}
	within(t, g.network.alloc, func(h *netlink.Handle) {
		lo, err := h.LinkByName("lo")
		must.NoError(t, err)
		must.NoError(t, h.LinkSetUp(lo))
	})
	return g
}

// task prepares a task that runs testdata/neighbor.c. It serves a port and connects to other
// addresses.
func (g *testGroup) task(t *testing.T, name, port string, job TaskConfig, connects ...string) *drivers.TaskConfig {
	t.Helper()
	task := g.plugin.taskOf(t, g.allocID, name, true)
	task.NetworkIsolation = g.network.spec()
	task.Resources.Ports = &structs.AllocatedPorts{{Label: "http", Value: 23456, To: 8080}}
	task.Env["NOMAD_UPSTREAM_ADDR_db"], task.Env["NOMAD_UPSTREAM_IP_db"] = "127.0.0.1:"+nativePort, "127.0.0.1"
	job.Args = append([]string{name, port}, connects...)
	compileLinux(t, task, "neighbor.c", job)
	return task
}

// again returns the next start of a task.
func again(task *drivers.TaskConfig) *drivers.TaskConfig {
	next := task.Copy()
	next.ID += "x"
	return next
}

// serveNative answers connections in the alloc's namespace, as a task of another driver.
func (g *testGroup) serveNative(t *testing.T) {
	within(t, g.network.alloc, func(*netlink.Handle) {
		listener, err := net.Listen("tcp", "127.0.0.1:"+nativePort)
		must.NoError(t, err)
		t.Cleanup(func() { listener.Close() })
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(conn, "native")
				conn.Close()
			}
		}()
	})
}

// ask returns the answer of an address, from a namespace.
func ask(t *testing.T, from *os.File, ip, port string) (answer string) {
	within(t, from, func(*netlink.Handle) {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(ip, port), time.Second)
		if err != nil {
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		data, _ := io.ReadAll(conn)
		answer = string(data)
	})
	return answer
}

// waitForAnswer waits until a task answers an address.
func (g *testGroup) waitForAnswer(t *testing.T, from *os.File, ip, port, name string) {
	t.Helper()
	waitFor(t, name+" at "+ip+" port "+port, func() bool { return ask(t, from, ip, port) == name })
}

// waitForService waits until a task answers its neighbors and other hosts.
func (g *testGroup) waitForService(t *testing.T, port, name string) {
	t.Helper()
	g.waitForAnswer(t, g.network.peer, allocIP, port, name)
	g.waitForAnswer(t, g.network.alloc, allocIP, port, name)
	g.waitForAnswer(t, g.network.alloc, "127.0.0.1", port, name)
}

// withoutFeatures makes a guest one of legacy LKL, which has no features.
func withoutFeatures(t *testing.T, task *drivers.TaskConfig) {
	t.Helper()
	kernel := filepath.Join(task.TaskDir().LocalDir, "kernel")
	content, err := os.ReadFile(kernel)
	must.NoError(t, err)
	changed := strings.Replace(string(content), "nomad-driver-lkl\x00", "another-owner-xx\x00", 1)
	must.NotEq(t, string(content), changed)
	must.NoError(t, os.WriteFile(kernel, []byte(changed), 0o644))
}

func TestShared_LegacyGuestsReachTheirNeighbors(t *testing.T) {
	g := newTestGroup(t)
	g.serveNative(t)
	before, _ := g.network.links(t)
	loopback, own := network.NeighborLoopback.String(), network.NeighborAddress.String()
	web := g.task(t, "web", httpPort, TaskConfig{Ports: []string{"http"}}, loopback, nativePort, loopback, apiPort, own, apiPort)
	api := g.task(t, "api", apiPort, TaskConfig{Ports: []string{apiPort + "/tcp"}}, loopback, httpPort, peerIP, nativePort)
	within(t, g.network.peer, func(*netlink.Handle) { // a server outside
		listener, err := net.Listen("tcp", peerIP+":"+nativePort)
		must.NoError(t, err)
		t.Cleanup(func() { listener.Close() })
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(conn, "outside")
				conn.Close()
			}
		}()
	})
	for _, task := range []*drivers.TaskConfig{web, api} {
		withoutFeatures(t, task)
		g.plugin.startLinux(t, task)
	}
	waitForLine(t, web, "NOMAD_UPSTREAM_ADDR_db="+loopback+":"+nativePort+"\nNOMAD_UPSTREAM_IP_db="+loopback)
	waitForLine(t, web, loopback+" port "+nativePort+": native")
	waitForLine(t, web, loopback+" port "+apiPort+": api")
	waitForLine(t, web, own+" port "+apiPort+": api")
	waitForLine(t, api, loopback+" port "+httpPort+": web")
	waitForLine(t, api, peerIP+" port "+nativePort+": outside")
	g.waitForService(t, httpPort, "web")
	g.waitForService(t, apiPort, "api")
	g.waitForAnswer(t, g.network.alloc, "127.0.0.1", nativePort, "native")

	for _, task := range []*drivers.TaskConfig{web, api} {
		must.NoError(t, g.plugin.DestroyTask(task.ID, true))
	}
	after, ingress := g.network.links(t)
	must.Eq(t, before, after)
	must.Eq(t, 0, ingress)
}

// A task ends in several ways, and Nomad starts it again while its neighbor serves.
func TestShared_RestartOfOneTaskLeavesTheOther(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *testPlugin, *drivers.TaskHandle) *testPlugin{
		"stopped": func(t *testing.T, p *testPlugin, api *drivers.TaskHandle) *testPlugin {
			must.NoError(t, p.StopTask(api.Config.ID, time.Minute, ""))
			must.NoError(t, p.DestroyTask(api.Config.ID, false))
			return p
		},
		"executor killed": func(t *testing.T, p *testPlugin, api *drivers.TaskHandle) *testPlugin {
			must.NoError(t, stateOf(t, api).Executor.Signal(syscall.SIGKILL))
			p.wait(t, api.Config)
			return p
		},
		"unknown to Nomad": func(t *testing.T, p *testPlugin, _ *drivers.TaskHandle) *testPlugin { return p.restart(t) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newTestGroup(t)
			before, _ := g.network.links(t)
			web := g.task(t, "web", httpPort, TaskConfig{Ports: []string{"http"}})
			api := g.task(t, "api", apiPort, TaskConfig{Ports: []string{apiPort}})
			apiHandle, webHandle := g.plugin.startLinux(t, api), g.plugin.startLinux(t, web)
			next := end(t, g.plugin, apiHandle)
			if next != g.plugin {
				must.NoError(t, next.RecoverTask(webHandle))
			}
			g.waitForService(t, httpPort, "web")
			second := again(api)
			t.Cleanup(func() { _ = next.impl.DestroyTask(second.ID, true) })
			_, _, err := next.StartTask(second)
			must.NoError(t, err)
			g.waitForService(t, apiPort, "api")
			g.waitForService(t, httpPort, "web")
			must.DirNotExists(t, stateOf(t, apiHandle).Dir)

			must.NoError(t, next.DestroyTask(web.ID, true))
			g.waitForService(t, apiPort, "api")
			must.NoError(t, next.DestroyTask(second.ID, true))
			after, ingress := g.network.links(t)
			must.Eq(t, before, after)
			must.Eq(t, 0, ingress)
		})
	}
}

func TestShared_ReportsTheNetwork(t *testing.T) {
	g := newTestGroup(t)
	task := g.task(t, "web", httpPort, TaskConfig{})
	events, err := g.plugin.TaskEvents(t.Context())
	must.NoError(t, err)
	g.plugin.startLinux(t, task)
	waitFor(t, "the event about the network", func() bool {
		event := <-events
		return event.Message == "Network: the device tap has "+allocIP+" (mode shared, interface eth9), every port that no neighbor uses" &&
			event.Annotations["ip"] == allocIP
	})
	g.waitForAnswer(t, g.network.peer, allocIP, httpPort, "web")
	status, err := g.plugin.InspectTask(task.ID)
	must.NoError(t, err)
	for name, want := range map[string]string{"network_mode": "shared", "ip": allocIP, "interface": "eth9", "netns": g.network.spec().Path} {
		must.Eq(t, want, status.DriverAttributes[name], must.Sprint(name))
	}
	for _, name := range []string{"received_packets", "received_bytes", "sent_packets", "sent_bytes"} {
		n, err := strconv.Atoi(status.DriverAttributes[name])
		must.NoError(t, err)
		must.Positive(t, n, must.Sprint(name))
	}
}

func TestShared_RefusesConflictsWithinTheGroup(t *testing.T) {
	g := newTestGroup(t)
	g.plugin.startLinux(t, g.task(t, "web", httpPort, TaskConfig{Ports: []string{"http"}}))
	for _, c := range []struct {
		job  TaskConfig
		says string
	}{
		{TaskConfig{Ports: []string{apiPort, "http"}}, `ports[1]: "http" belongs to the task "web"`},
		{TaskConfig{Ports: []string{"8000-8100"}}, `ports[0]: "8000-8100" belongs to the task "web"`},
		{TaskConfig{NetworkMode: string(modeL2)}, `network_mode: this task has "l2" and the task "web" of this group has "shared"`},
	} {
		_, _, err := g.plugin.StartTask(g.task(t, "api", apiPort, c.job))
		must.ErrorContains(t, err, c.says)
		must.False(t, structs.IsRecoverable(err))
	}
	g.waitForAnswer(t, g.network.peer, allocIP, httpPort, "web")
}

// Guests with the feature network see their neighbors at 127.0.0.1 and at the alloc's
// addresses, as processes do.
func TestShared_GuestsReachTheirNeighborsAtNativeAddresses(t *testing.T) {
	g := newTestGroup(t)
	g.serveNative(t)
	web := g.task(t, "web", httpPort, TaskConfig{Ports: []string{"http"}}, "127.0.0.1", nativePort, "127.0.0.1", apiPort, allocIP, apiPort,
		"127.0.0.1", httpPort, allocIP, httpPort)
	api := g.task(t, "api", apiPort, TaskConfig{}, "127.0.0.1", httpPort, allocIP, httpPort)
	g.plugin.startLinux(t, web)
	g.plugin.startLinux(t, api) // at once, although the other guest runs
	waitForLine(t, web, "interface eth0")
	waitForLine(t, web, "NOMAD_UPSTREAM_ADDR_db=127.0.0.1:"+nativePort+"\nNOMAD_UPSTREAM_IP_db=127.0.0.1")
	for _, line := range []string{
		"127.0.0.1 port " + nativePort + ": native", "127.0.0.1 port " + apiPort + ": api", allocIP + " port " + apiPort + ": api",
		"127.0.0.1 port " + httpPort + ": web", allocIP + " port " + httpPort + ": web",
	} {
		waitForLine(t, web, line)
	}
	waitForLine(t, api, "127.0.0.1 port "+httpPort+": web")
	waitForLine(t, api, allocIP+" port "+httpPort+": web")
	g.waitForService(t, httpPort, "web")
	g.waitForService(t, apiPort, "api")
}
