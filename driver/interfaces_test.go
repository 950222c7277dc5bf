// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

const secondIP = "10.79.0.5"

// addInterface connects the alloc and the peer by a second link, eth8 in the alloc. It is
// the way to 192.0.2.0/24.
func (n *testNetwork) addInterface(t *testing.T) {
	within(t, n.peer, func(h *netlink.Handle) {
		must.NoError(t, h.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "peer2"}, PeerName: "eth8", PeerNamespace: netlink.NsFd(n.alloc.Fd()),
		}))
		addAddress(t, h, "peer2", "10.79.0.1/24")
	})
	within(t, n.alloc, func(h *netlink.Handle) {
		link := addAddress(t, h, "eth8", secondIP+"/24")
		_, dst, err := net.ParseCIDR("192.0.2.0/24")
		must.NoError(t, err)
		must.NoError(t, h.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: dst, Gw: net.ParseIP("10.79.0.1")}))
	})
}

func twoInterfaces(second string) map[string]InterfaceConfig {
	return map[string]InterfaceConfig{"second": {Name: second}}
}

// The third device has no block, so it leads nowhere.
func TestInterfaces_EachDeviceHasItsOwn(t *testing.T) {
	t.Setenv("LKL_MANIFEST", "testdata/two-nets.json")
	g := newTestGroup(t)
	g.network.addInterface(t)
	before, _ := g.network.links(t)
	task := g.task(t, "web", httpPort, TaskConfig{Interfaces: twoInterfaces("eth8")})
	handle := g.plugin.startLinux(t, task)
	g.waitForAnswer(t, g.network.peer, allocIP, httpPort, "web")
	g.waitForAnswer(t, g.network.peer, secondIP, httpPort, "web")
	status, err := g.plugin.InspectTask(task.ID)
	must.NoError(t, err)
	for name, want := range map[string]string{
		"network_mode": "shared", "interface": "eth9", "ip": allocIP,
		"second.network_mode": "l2", "second.interface": "eth8", "second.ip": secondIP,
		"third.network_mode": "none",
	} {
		must.Eq(t, want, status.DriverAttributes[name], must.Sprint(name))
	}

	must.NoError(t, g.plugin.StopTask(task.ID, time.Minute, ""))
	must.NoError(t, g.plugin.DestroyTask(task.ID, false))
	noTrace(t, handle)
	after, ingress := g.network.links(t)
	must.Eq(t, before, after)
	must.Eq(t, 0, ingress)
}

// Each interface has its routes, and the default route leads through the first one.
func TestInterfaces_EachHasItsRoutes(t *testing.T) {
	t.Setenv("LKL_MANIFEST", "testdata/two-nets.json")
	p := newTestPlugin(t)
	n := newTestNetwork(t)
	n.addInterface(t)
	for _, c := range []struct {
		interfaces               map[string]InterfaceConfig
		local, routed, elsewhere string
	}{
		{twoInterfaces("eth8"), secondIP, secondIP, allocIP},
		{map[string]InterfaceConfig{"first": {Name: "eth8"}, "third": {Name: "eth9"}}, secondIP, secondIP, allocIP},
		{map[string]InterfaceConfig{"first": {Name: "none"}, "second": {Name: "eth9"}}, allocIP, allocIP, allocIP},
	} {
		task := p.linuxIn(t, n, "../../guest/lkl/testdata/probe.c", TaskConfig{
			Interfaces: c.interfaces, Args: strings.Fields("route 10.79.0.9 route 192.0.2.9 route 198.51.100.9 exit 4"),
		})
		_, _, err := p.StartTask(task)
		must.NoError(t, err)
		must.Eq(t, 4, p.wait(t, task).ExitCode, must.Sprint(console(task)))
		waitForLine(t, task, "route 10.79.0.9: from "+c.local)
		waitForLine(t, task, "route 192.0.2.9: from "+c.routed)
		waitForLine(t, task, "route 198.51.100.9: from "+c.elsewhere)
		must.NoError(t, p.DestroyTask(task.ID, false))
	}
}

func TestInterfaces_StartReportsMistakes(t *testing.T) {
	t.Setenv("LKL_MANIFEST", "testdata/two-nets.json")
	p := newTestPlugin(t)
	n := newTestNetwork(t)
	n.addInterface(t)
	before, _ := n.links(t)
	for _, c := range []struct {
		interfaces map[string]InterfaceConfig
		says       string
	}{
		{twoInterfaces("eth7"), `the network has no interface "eth7"; it has eth9, eth8`},
		{map[string]InterfaceConfig{"second": {Name: "eth7"}, "third": {Name: "eth9"}}, `interface.third.name: "eth9" is already the interface of the device "first"`},
		{map[string]InterfaceConfig{"control": {Name: "eth8"}}, `interface.control: the device "control" is for signals`},
		{map[string]InterfaceConfig{"tap": {Name: "eth8"}}, `interface.tap: is not a net device of the kernel, which declares first, second, third`},
	} {
		_, _, err := p.StartTask(p.linuxIn(t, n, "signals.c", TaskConfig{Interfaces: c.interfaces}))
		must.ErrorContains(t, err, c.says)
		must.False(t, structs.IsRecoverable(err))
	}
	after, ingress := n.links(t)
	must.Eq(t, before, after)
	must.Eq(t, 0, ingress)
}

// A guest with a net device starts without a network.
func TestNone_DeviceLeadsNowhere(t *testing.T) {
	onlyLoopback := func(t *testing.T) *testNetwork { return &testNetwork{alloc: newNamespace(t), peer: newNamespace(t)} }
	var p *testPlugin
	for name, prepare := range map[string]func(*testing.T, *drivers.TaskConfig, *TaskConfig){
		"by the job": func(t *testing.T, task *drivers.TaskConfig, job *TaskConfig) {
			task.NetworkIsolation, job.NetworkMode = newTestNetwork(t).spec(), "none"
		},
		"by the job, in the host's namespace": func(_ *testing.T, _ *drivers.TaskConfig, job *TaskConfig) { job.NetworkMode = "none" },
		"by Nomad": func(_ *testing.T, task *drivers.TaskConfig, _ *TaskConfig) {
			task.NetworkIsolation = &drivers.NetworkIsolationSpec{Mode: drivers.NetIsolationModeNone}
		},
		"in cni/lo": func(t *testing.T, task *drivers.TaskConfig, _ *TaskConfig) {
			task.NetworkIsolation = onlyLoopback(t).spec()
			mistaken := again(task)
			must.NoError(t, mistaken.EncodeConcreteDriverConfig(&TaskConfig{Kernel: testenv.Guest(t, "httpd.spt"), Ports: []string{"80"}}))
			_, _, err := p.StartTask(mistaken)
			must.ErrorContains(t, err, "ports: cannot be reached, because the group's network has no interface but lo")
		},
		"by an interface": func(t *testing.T, task *drivers.TaskConfig, job *TaskConfig) {
			task.NetworkIsolation, job.Interfaces = newTestNetwork(t).spec(), map[string]InterfaceConfig{"tap": {Name: "none"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			testenv.Need(t, testenv.Root, testenv.Tun)
			p = newTestPlugin(t)
			task := p.task(t, TaskConfig{Kernel: "hello.spt"}, true)
			job := TaskConfig{}
			prepare(t, task, &job)
			compileLinux(t, task, "signals.c", job)
			handle, advertised, err := p.StartTask(task)
			must.NoError(t, err)
			must.Nil(t, advertised)
			waitForLine(t, task, "ready")
			status, err := p.InspectTask(task.ID)
			must.NoError(t, err)
			must.Eq(t, "none", status.DriverAttributes["network_mode"])
			must.MapNotContainsKey(t, status.DriverAttributes, "ip")
			must.NoError(t, p.StopTask(task.ID, time.Minute, ""))
			must.Eq(t, 7, p.wait(t, task).ExitCode)
			must.NoError(t, p.DestroyTask(task.ID, false))
			noTrace(t, handle)
		})
	}
}
