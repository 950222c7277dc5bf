// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/ext4"
)

const (
	allocIP = "10.78.0.5"
	peerIP  = "10.78.0.1"
)

// A testNetwork consists of an alloc's network namespace, as CNI creates it, and a
// peer namespace that is connected to it.
type testNetwork struct{ alloc, peer *os.File }

func newTestNetwork(t testing.TB) *testNetwork {
	testenv.Need(t, testenv.Root, testenv.Tun)
	n := &testNetwork{alloc: newNamespace(t), peer: newNamespace(t)}
	within(t, n.peer, func(h *netlink.Handle) {
		must.NoError(t, h.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "peer"}, PeerNamespace: netlink.NsFd(n.alloc.Fd()),
			PeerName: "eth9", PeerTxQLen: 1000, // the default; the kernel changes 0 for a filter
		}))
		addAddress(t, h, "peer", peerIP+"/24")
	})
	within(t, n.alloc, func(h *netlink.Handle) {
		link := addAddress(t, h, "eth9", allocIP+"/24")
		must.NoError(t, h.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(peerIP)}))
	})
	return n
}

func addAddress(t testing.TB, h *netlink.Handle, name, address string) netlink.Link {
	link, err := h.LinkByName(name)
	must.NoError(t, err)
	addr, err := netlink.ParseAddr(address)
	must.NoError(t, err)
	must.NoError(t, h.AddrAdd(link, addr))
	must.NoError(t, h.LinkSetUp(link))
	return link
}

// newNamespace returns a network namespace that exists until the test ends.
func newNamespace(t testing.TB) *os.File {
	made := make(chan *os.File)
	go func() {
		defer close(made)
		runtime.LockOSThread() // without an unlock, so that the thread ends
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		f, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		if err != nil {
			t.Error(err)
		}
		made <- f
	}()
	f := <-made
	must.NotNil(t, f)
	t.Cleanup(func() { f.Close() })
	return f
}

// within calls do on a thread in a network namespace.
func within(t testing.TB, ns *os.File, do func(*netlink.Handle)) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // without an unlock, so that the thread ends
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			t.Error(err)
			return
		}
		defer h.Close()
		do(h)
	}()
	<-done
}

// spec returns the network as Nomad describes it to a task.
func (n *testNetwork) spec() *drivers.NetworkIsolationSpec {
	return &drivers.NetworkIsolationSpec{
		Mode: drivers.NetIsolationModeGroup, Path: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.alloc.Fd()),
	}
}

// links returns the names of the alloc's interfaces, and the number of their
// ingress qdiscs.
func (n *testNetwork) links(t *testing.T) (names []string, ingress int) {
	within(t, n.alloc, func(h *netlink.Handle) {
		links, err := h.LinkList()
		must.NoError(t, err)
		for _, l := range links {
			names = append(names, l.Attrs().Name)
			qdiscs, err := h.QdiscList(l)
			must.NoError(t, err)
			for _, q := range qdiscs {
				if q.Type() == "ingress" || q.Type() == "clsact" {
					ingress++
				}
			}
		}
	})
	return names, ingress
}

// get sends a request from the peer to the guest's web server.
func (n *testNetwork) get(t *testing.T, path string) (string, error) {
	return n.getFrom(t, allocIP, path)
}

func (n *testNetwork) getFrom(t *testing.T, ip, path string) (string, error) {
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		var conn net.Conn
		var err error
		within(t, n.peer, func(*netlink.Handle) {
			conn, err = net.DialTimeout("tcp", net.JoinHostPort(ip, "8080"), time.Second)
		})
		return conn, err
	}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: testenv.Patience}
	response, err := client.Get("http://" + ip + path)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// bridged prepares a task in a network namespace, with a port.
func (p *testPlugin) bridged(t *testing.T, n *testNetwork, job TaskConfig) *drivers.TaskConfig {
	task := p.task(t, job, true)
	task.NetworkIsolation = n.spec()
	task.Resources.Ports = &structs.AllocatedPorts{{Label: "http", Value: 23456, To: 8080}}
	return task
}

func TestBridge_GuestAnswersAtTheAllocsAddress(t *testing.T) {
	for name, job := range map[string]TaskConfig{
		"by arguments":     {Args: []string{"ip={{ipv4}}", "gw={{ipv4_gateway}}", "port=8080"}},
		"by configuration": {Args: []string{"port=8080"}, Flavor: "lkl"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newTestPlugin(t)
			n := newTestNetwork(t)
			job.Kernel, job.Ports = "httpd.spt", []string{"http"}
			task := p.bridged(t, n, job)
			before, _ := n.links(t)
			handle, advertised, err := p.StartTask(task)
			must.NoError(t, err)
			must.Eq(t, &drivers.DriverNetwork{IP: allocIP, PortMap: map[string]int{"http": 8080}}, advertised)
			waitFor(t, "an answer", func() bool {
				_, err := n.get(t, "/")
				return err == nil
			})
			status, err := p.InspectTask(task.ID)
			must.NoError(t, err)
			must.Eq(t, allocIP, status.DriverAttributes["ip"])
			for _, name := range []string{"mac", "tap", "netns"} {
				must.NotEq(t, "", status.DriverAttributes[name])
			}

			must.NoError(t, p.StopTask(task.ID, time.Minute, ""))
			must.NoError(t, p.DestroyTask(task.ID, false))
			noTrace(t, handle)
			after, ingress := n.links(t)
			must.Eq(t, before, after)
			must.Eq(t, 0, ingress)
		})
	}
}

func TestBridge_GuestUsesAnotherAddressOnlyIfAllowed(t *testing.T) {
	const other = "10.78.0.6"
	for _, allow := range []bool{false, true} {
		p := newTestPluginWith(t, Config{StateDir: t.TempDir(), ImagePaths: []string{guestDir(t)}, AllowSpoofing: allow})
		n := newTestNetwork(t)
		handle, _, err := p.StartTask(p.bridged(t, n, TaskConfig{
			Kernel: "httpd.spt", Args: []string{"ip=" + other + "/24", "port=8080"}, NetworkMode: string(modeL2),
		}))
		must.NoError(t, err)
		filtered := false
		within(t, n.alloc, func(h *netlink.Handle) {
			tap, err := h.LinkByName(stateOf(t, handle).Tap)
			must.NoError(t, err)
			filters, err := h.FilterList(tap, netlink.MakeHandle(0xffff, 0))
			must.NoError(t, err)
			filtered = slices.ContainsFunc(filters, func(f netlink.Filter) bool { return f.Type() == "bpf" })
		})
		must.Eq(t, !allow, filtered)
		if allow {
			waitFor(t, "an answer", func() bool { _, err := n.getFrom(t, other, "/"); return err == nil })
		}
	}
}

func TestBridge_RecoveredGuestStillAnswers(t *testing.T) {
	first := newTestPlugin(t)
	n := newTestNetwork(t)
	task := first.bridged(t, n, TaskConfig{Kernel: "httpd.spt", Args: []string{"ip={{ipv4}}", "port=8080"}})
	handle, _, err := first.StartTask(task)
	must.NoError(t, err)
	second := first.restart(t)
	must.NoError(t, second.RecoverTask(handle))
	waitFor(t, "an answer", func() bool { _, err := n.get(t, "/"); return err == nil })
	must.NoError(t, second.DestroyTask(task.ID, true))
	links, ingress := n.links(t)
	must.SliceLen(t, 2, links) // lo and eth9
	must.Eq(t, 0, ingress)
}

func TestBridge_KilledProcessesLeaveNoTrace(t *testing.T) {
	kill := func(t *testing.T, processes ...executor.Process) {
		for _, p := range processes {
			must.NoError(t, p.Signal(syscall.SIGKILL))
		}
		for _, p := range processes {
			waitFor(t, "the end of a process", func() bool { return !p.Alive() })
		}
	}
	for name, spoil := range map[string]func(*testing.T, *testPlugin, taskState) *testPlugin{
		"guest": func(t *testing.T, p *testPlugin, s taskState) *testPlugin { kill(t, s.Guest); return p },
		"executor": func(t *testing.T, p *testPlugin, s taskState) *testPlugin {
			kill(t, s.Executor)
			waitFor(t, "the end of the guest", func() bool { return !s.Guest.Alive() })
			return p
		},
		"plugin, then guest": func(t *testing.T, p *testPlugin, s taskState) *testPlugin {
			p.kill()
			kill(t, s.Guest)
			return p.restart(t)
		},
		"plugin, then executor": func(t *testing.T, p *testPlugin, s taskState) *testPlugin {
			p.kill()
			kill(t, s.Executor)
			return p.restart(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newTestPlugin(t)
			n := newTestNetwork(t)
			before, _ := n.links(t)
			task := p.bridged(t, n, TaskConfig{Kernel: "httpd.spt", Args: []string{"ip={{ipv4}}", "port=8080"}})
			handle, _, err := p.StartTask(task)
			must.NoError(t, err)
			next := spoil(t, p, stateOf(t, handle))
			if next != p {
				_ = next.RecoverTask(handle) // removes the task if it has no exit status
			}
			if err := next.DestroyTask(task.ID, true); err != nil {
				must.ErrorContains(t, err, drivers.ErrTaskNotFound.Error())
			}
			noTrace(t, handle)
			after, ingress := n.links(t)
			must.Eq(t, before, after)
			must.Eq(t, 0, ingress)
		})
	}
}

func TestBridge_ReplacesAGuestUnknownToNomad(t *testing.T) {
	first := newTestPlugin(t)
	n := newTestNetwork(t)
	before, _ := n.links(t)
	task := first.bridged(t, n, TaskConfig{Kernel: "httpd.spt", Args: []string{"ip={{ipv4}}", "port=8080"}})
	_, _, err := first.StartTask(task)
	must.NoError(t, err)
	second := first.restart(t)
	again := task.Copy()
	again.ID += "x"
	t.Cleanup(func() { _ = second.impl.DestroyTask(again.ID, true) })
	_, _, err = second.StartTask(again)
	must.NoError(t, err)
	waitFor(t, "an answer", func() bool { _, err := n.get(t, "/"); return err == nil })

	// The removal of a stray also removes its redirection.
	third := second.restart(t)
	must.NoError(t, third.impl.removeStrays(t.Context(), record{AllocID: task.AllocID, Name: task.Name}))
	after, ingress := n.links(t)
	must.Eq(t, before, after)
	must.Eq(t, 0, ingress)
}

// A plugin that knows nothing of the other guest refuses, too.
func TestBridge_RefusesASecondGuestOfAnInterface(t *testing.T) {
	n := newTestNetwork(t)
	job := TaskConfig{Kernel: "httpd.spt", Args: []string{"ip={{ipv4}}", "port=8080"}, NetworkMode: string(modeL2)}
	first, second := newTestPlugin(t), newTestPlugin(t)
	_, _, err := first.StartTask(first.bridged(t, n, job))
	must.NoError(t, err)
	_, _, err = second.StartTask(second.bridged(t, n, job))
	must.ErrorContains(t, err, "into a separate group")
	waitFor(t, "an answer of the first guest", func() bool { _, err := n.get(t, "/"); return err == nil })
}

func TestBridge_FailedStartRemovesTheTap(t *testing.T) {
	p := newTestPlugin(t)
	n := newTestNetwork(t)
	task := p.bridged(t, n, TaskConfig{Kernel: "httpd.spt", Args: []string{"{{ipv6}}"}}) // a missing address
	before, _ := n.links(t)
	_, _, err := p.StartTask(task)
	must.ErrorContains(t, err, "no IPv6 address")
	after, ingress := n.links(t)
	must.Eq(t, before, after)
	must.Eq(t, 0, ingress)
}

func TestBridge_CommandLineConfiguresLinux(t *testing.T) {
	testenv.Need(t, testenv.Tool("mke2fs"), testenv.Tool("debugfs"))
	p := newTestPlugin(t)
	n := newTestNetwork(t)
	task := p.bridged(t, n, TaskConfig{Kernel: "hello-lkl.spt", Rootfs: "local", Args: []string{"a b", `"quoted"`}})
	task.Env["GREETING"] = "two words"
	handle, _, err := p.StartTask(task)
	must.NoError(t, err)
	must.True(t, p.wait(t, task).Successful())
	var output string
	waitFor(t, "the console", func() bool {
		output = console(task)
		return strings.Contains(output, "net tap")
	})
	for _, want := range []string{
		`GREETING=two\ words`, "NOMAD_TASK_DIR=/local", `\"ip\":\"10.78.0.5\"`, `\"masklen\":\"24\"`,
		`\"gateway\":\"10.78.0.1\"`, "LKL_BOOT_CMDLINE=mem=", `-- a\ b \"quoted\"`,
		"net tap: " + stateOf(t, handle).MAC + ", mtu 1500",
	} {
		must.StrContains(t, output, want)
	}
	must.StrNotContains(t, output, "offload") // has another meaning for legacy LKL guests
	hosts, err := ext4.ReadFile(stateOf(t, handle).Dir+"/"+diskFile, "/etc/hosts")
	must.NoError(t, err)
	must.StrContains(t, string(hosts), allocIP+" "+defaultHostname(task))
}
