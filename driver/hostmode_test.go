// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"

	"github.com/lkl-nomad/nomad-driver-lkl/network"
)

const (
	hostIP, hostPeerIP = "10.80.0.2", "10.80.0.1"
	webPort, adminPort = "20080", "20081" // of the host
)

// A testHost is an alloc in the network of a host, which a peer can reach.
type testHost struct {
	plugin  *testPlugin
	peer    *os.File
	allocID string
}

// newTestHost makes a host of the process's own namespace.
func newTestHost(t *testing.T) *testHost {
	config := Config{
		StateDir: t.TempDir(), ImagePaths: []string{guestDir(t)},
		HostNetwork: HostNetwork{Enabled: true, Subnet6: network.DefaultHostSubnet6.String()},
	}
	host := &testHost{plugin: newTestPluginWith(t, config), peer: newNamespace(t), allocID: uuid.Generate()}
	h := new(netlink.Handle)
	must.NoError(t, h.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "uplink"}, PeerName: "peer", PeerNamespace: netlink.NsFd(host.peer.Fd()),
	}))
	link := addAddress(t, h, "uplink", hostIP+"/24")
	addAddress(t, h, "lo", "127.0.0.1/8")
	within(t, host.peer, func(h *netlink.Handle) { addAddress(t, h, "peer", hostPeerIP+"/24") })
	must.NoError(t, h.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(hostPeerIP)}))
	return host
}

// task prepares a task that runs testdata/neighbor.c.
func (h *testHost) task(t *testing.T, name string, job TaskConfig, args ...string) *drivers.TaskConfig {
	t.Helper()
	task := h.plugin.taskOf(t, h.allocID, name, true)
	task.Resources.Ports = &structs.AllocatedPorts{
		{Label: "http", Value: 20080, To: 8080, HostIP: hostIP}, {Label: "admin", Value: 20081, HostIP: hostIP},
	}
	job.Args = append([]string{name}, args...)
	compileLinux(t, task, "neighbor.c", job)
	return task
}

// waitForService waits until a task answers at a port of the host.
func (h *testHost) waitForService(t *testing.T, port, name string) {
	t.Helper()
	waitFor(t, name+" at port "+port, func() bool { return ask(t, h.peer, hostIP, port) == name })
}

// taps returns the number of the host's links to guests.
func taps(t *testing.T) (n int) {
	links, err := new(netlink.Handle).LinkList()
	must.NoError(t, err)
	for _, l := range links {
		if l.Type() == "tuntap" {
			n++
		}
	}
	return n
}

func TestHost_GuestsServeAtTheHostsAddress(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	h := newTestHost(t)
	within(t, h.peer, func(*netlink.Handle) { // a server outside
		listener, err := net.Listen("tcp", hostPeerIP+":"+nativePort)
		must.NoError(t, err)
		t.Cleanup(func() { listener.Close() })
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
				_, _ = io.WriteString(conn, "to "+host)
				conn.Close()
			}
		}()
	})
	web := h.task(t, "web", TaskConfig{Ports: []string{"http"}}, httpPort, hostPeerIP, nativePort)
	admin := h.task(t, "admin", TaskConfig{Ports: []string{"admin"}}, adminPort)
	handle, advertised, err := h.plugin.StartTask(web)
	must.NoError(t, err)
	must.Eq(t, &drivers.DriverNetwork{IP: stateOf(t, handle).IP, PortMap: map[string]int{"http": 8080}}, advertised)
	adminHandle, _, err := h.plugin.StartTask(admin)
	must.NoError(t, err)
	h.waitForService(t, webPort, "web")
	h.waitForService(t, adminPort, "admin")
	waitForLine(t, web, hostPeerIP+" port "+nativePort+": to "+hostIP) // the guest has the host's address outside

	status, err := h.plugin.InspectTask(web.ID)
	must.NoError(t, err)
	must.Eq(t, "host", status.DriverAttributes["network_mode"])
	must.NotEq(t, hostIP, status.DriverAttributes["ip"])
	must.NotEq(t, "", status.DriverAttributes["received_packets"])

	_, _, err = h.plugin.StartTask(h.task(t, "third", TaskConfig{Ports: []string{"http"}}, httpPort))
	must.ErrorContains(t, err, `ports[0]: "http" belongs to the task "web"`)

	next := h.plugin.restart(t)
	must.NoError(t, next.RecoverTask(handle))
	must.NoError(t, next.RecoverTask(adminHandle))
	h.waitForService(t, webPort, "web")
	must.NoError(t, next.StopTask(web.ID, time.Minute, "SIGKILL"))
	must.NoError(t, next.DestroyTask(web.ID, false))
	h.waitForService(t, adminPort, "admin")
	must.Eq(t, 1, taps(t))
	must.NoError(t, next.DestroyTask(admin.ID, true))
	must.Eq(t, 0, taps(t))
}

// The next plugin starts a task whose guest an earlier plugin has left.
func TestHost_ReplacesAGuestUnknownToNomad(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	h := newTestHost(t)
	task := h.task(t, "web", TaskConfig{}, httpPort)
	h.plugin.startLinux(t, task)
	h.waitForService(t, webPort, "web")
	next := h.plugin.restart(t)
	second := again(task)
	t.Cleanup(func() { _ = next.impl.DestroyTask(second.ID, true) })
	_, _, err := next.StartTask(second)
	must.NoError(t, err)
	h.waitForService(t, webPort, "web")
	must.Eq(t, 1, taps(t))
}
