// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/cluster"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/sandbox"
)

// stationProgram is a server that makes requests when it is asked to.
//
//go:embed testdata/station.py
var stationProgram string

// A cniNetwork is a network of the client, which a job uses as "cni/NAME".
type cniNetwork struct {
	name    string
	plugin  string // the CNI plugin and its settings, without addresses, as JSON
	subnets []string
	mtu     int
	hosts   []string // addresses of the host on the guest's link, and beyond
}

// uplink6 is an address of the host on the link of the agents, beside sandbox.Address.
const uplink6 = "fd20:0:0:ff::1"

var cniNetworks = []cniNetwork{
	{
		name: "dual", plugin: `"type": "recorded-bridge", "bridge": "dual0", "isGateway": true`,
		subnets: []string{"10.201.1.0/24", "fd20:0:0:1::/64"}, mtu: 1500,
		hosts: []string{"10.201.1.1", "fd20:0:0:1::1", sandbox.Address, uplink6},
	},
	{
		name: "six", plugin: `"type": "recorded-bridge", "bridge": "six0", "isGateway": true`,
		subnets: []string{"fd20:0:0:2::/64"}, mtu: 1500,
		hosts: []string{"fd20:0:0:2::1", uplink6},
	},
	{
		name: "ptp", plugin: `"type": "recorded-ptp"`,
		subnets: []string{"10.201.4.0/24", "fd20:0:0:4::/64"}, mtu: 1500,
		hosts: []string{"10.201.4.1", "fd20:0:0:4::1", sandbox.Address, uplink6},
	},
	{
		name: "macvlan", plugin: fmt.Sprintf(`"type": "recorded-macvlan", "master": %q`, sandbox.Link+"peer"),
		subnets: []string{"10.111.0.0/24", "fd20:0:0:ff::/64"}, mtu: 1500,
		hosts: []string{sandbox.Address, uplink6},
	},
}

// conflist returns the network's configuration. The first address of each subnet is the
// gateway.
func (n cniNetwork) conflist() string {
	var ranges, routes []string
	for _, subnet := range n.subnets {
		start := strings.NewReplacer(".0/24", ".100", "::/64", "::100").Replace(subnet)
		gateway := strings.NewReplacer(".0/24", ".1", "::/64", "::1").Replace(subnet)
		ranges = append(ranges, fmt.Sprintf(`[{"subnet": %q, "rangeStart": %q, "gateway": %q}]`, subnet, start, gateway))
		routes = append(routes, map[bool]string{false: `{"dst": "0.0.0.0/0"}`, true: `{"dst": "::/0"}`}[strings.Contains(subnet, ":")])
	}
	return fmt.Sprintf(`{
		"cniVersion": "1.0.0", "name": %q,
		"plugins": [
			{%s, "ipam": {"type": "host-local", "ranges": [%s], "routes": [%s]}},
			{"type": "portmap", "capabilities": {"portMappings": true}}
		]
	}`, n.name, n.plugin, strings.Join(ranges, ","), strings.Join(routes, ","))
}

// recordCNI installs CNI plugins in a directory that call the usual ones, and record each
// call with its exit status in the file "calls". The plugin noarp-bridge disables ARP.
func recordCNI(t *testing.T, dir string, plugins ...string) {
	t.Helper()
	must.NoError(t, os.MkdirAll(dir, 0o755))
	for _, plugin := range plugins {
		script := fmt.Sprintf("#!/bin/sh\n%s\nstatus=$?\necho \"$CNI_COMMAND $CNI_CONTAINERID $status\" >>%s\nexit $status\n",
			filepath.Join(tools.CNI, plugin), filepath.Join(dir, "calls"))
		must.NoError(t, os.WriteFile(filepath.Join(dir, "recorded-"+plugin), []byte(script), 0o755))
	}
	script := fmt.Sprintf(`#!/bin/sh
result=$(%s)
status=$?
if [ $status = 0 ] && [ "$CNI_COMMAND" = ADD ]; then
	nsenter --net="$CNI_NETNS" ip link set "$CNI_IFNAME" arp off
fi
printf %%s "$result"
exit $status
`, filepath.Join(tools.CNI, "bridge"))
	must.NoError(t, os.WriteFile(filepath.Join(dir, "noarp-bridge"), []byte(script), 0o755))
}

// cniClient starts a client with all networks. The result contains the directory of the
// recording plugins.
func cniClient(t *testing.T) (client *cluster.Nomad, recorded string) {
	t.Helper()
	removeBridges(t)
	recorded = filepath.Join(sandbox.Dir(), "recorded")
	recordCNI(t, recorded, "bridge", "ptp", "macvlan")
	conflists := []string{
		`{"cniVersion": "1.0.0", "name": "lo", "plugins": [{"type": "loopback"}]}`,
		noARP.conflist(),
	}
	for _, network := range cniNetworks {
		conflists = append(conflists, network.conflist())
	}
	client, err := cluster.StartNomad(t.Context(), tools, sandbox.Dir(), cluster.Options{
		Name: "cni", Index: 10, Server: nomad, Conflists: conflists, CNIPath: recorded, PluginConfig: registryConfig(),
	})
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, client.Stop()) })
	return client, recorded
}

// removeBridges removes the bridges of the networks at the end of the test, because CNI
// keeps them.
func removeBridges(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		for _, network := range append([]cniNetwork{noARP}, cniNetworks...) {
			if link, err := netlink.LinkByName(network.name + "0"); err == nil {
				must.NoError(t, netlink.LinkDel(link))
			}
		}
	})
}

// station returns a job whose guest runs stationProgram in a network.
func station(t *testing.T, network, mode string) *api.Job {
	t.Helper()
	job := lkl(t, "python3.nomad.hcl", "station-"+network+"-"+mode)
	job.Name = job.ID
	set(job, "network_mode", mode)
	group := job.TaskGroups[0]
	group.Networks = []*api.NetworkResource{{Mode: "cni/" + network, DynamicPorts: []api.Port{{Label: "http", To: 8000}}}}
	group.RestartPolicy = &api.RestartPolicy{Attempts: ptr(0), Mode: ptr("fail")}
	group.ReschedulePolicy = &api.ReschedulePolicy{Attempts: ptr(0), Unlimited: ptr(false)}
	group.Tasks[0].Resources.MemoryMB = ptr(64)
	group.Tasks[0].Templates[0].EmbeddedTmpl = &stationProgram
	return job
}

// serveHost serves a text on a port of all addresses of the host, and returns the port.
func serveHost(t *testing.T, text string) string {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	must.NoError(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(text))
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	_, port, err := net.SplitHostPort(l.Addr().String())
	must.NoError(t, err)
	return port
}

// addUplink6 gives the host an IPv6 address during the test.
func addUplink6(t *testing.T) {
	t.Helper()
	link, err := netlink.LinkByName(sandbox.Link)
	must.NoError(t, err)
	address, err := netlink.ParseAddr(uplink6 + "/64")
	must.NoError(t, err)
	address.Flags = 2 // IFA_F_NODAD
	must.NoError(t, netlink.AddrAdd(link, address))
	t.Cleanup(func() { must.NoError(t, netlink.AddrDel(link, address)) })
}

// requireNetwork requires that the guest serves all its addresses, and reaches the host.
func (a *alloc) requireNetwork(t *testing.T, n cniNetwork, port string) {
	t.Helper()
	own := map[string]bool{a.NetworkStatus.Address: true, a.NetworkStatus.AddressIPv6: true}
	delete(own, "")
	must.Eq(t, len(n.subnets), len(own))
	for address := range own {
		at := "http://" + net.JoinHostPort(address, "8000")
		must.Wait(t, testenv.Eventually(func() error {
			got, err := get(at + "/mtu")
			if err == nil && !strings.HasSuffix(got, fmt.Sprintf(" %d", n.mtu)) {
				err = fmt.Errorf("the guest at %s has the interface and MTU %q", address, got)
			}
			return err
		}))
		large, err := get(at + "/large")
		must.NoError(t, err)
		must.Eq(t, 4<<20, len(large))
		for _, host := range n.hosts {
			got, err := get(at + "/fetch?url=" + url.QueryEscape("http://"+net.JoinHostPort(host, port)+"/"))
			must.NoError(t, err, must.Sprintf("the guest in %s fetches from %s: %s", n.name, host, got))
			must.Eq(t, "from the host", got)
		}
	}
}

// noARP is a network whose interface does no ARP, as that of ipvlan in the mode l3.
var noARP = cniNetwork{
	name: "noarp", plugin: `"type": "noarp-bridge", "bridge": "noarp0", "isGateway": true`, subnets: []string{"10.201.9.0/24"},
}

func TestCNI(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	client, recorded := cniClient(t)
	t.Run("every network", func(t *testing.T) { requireEveryNetwork(t, client, recorded) })
	t.Run("loopback only", func(t *testing.T) {
		job := lkl(t, "lkl-hello.nomad.hcl", "cni-loopback")
		job.TaskGroups[0].Networks = []*api.NetworkResource{{Mode: "cni/lo"}}
		a := start(t, client, job)
		a.await(t, api.AllocClientStatusComplete)
		must.Eq(t, 0, a.awaitEvent(t, api.TaskTerminated).ExitCode)
	})
	t.Run("no ARP", func(t *testing.T) {
		a := start(t, client, station(t, "noarp", "auto"))
		a.await(t, api.AllocClientStatusFailed)
		failure := a.awaitEvent(t, api.TaskDriverFailure)
		must.StrContains(t, failure.DisplayMessage, "eth0 does no ARP")
		must.StrContains(t, failure.DisplayMessage, "use ipvlan's mode l2")
	})
}

// requireEveryNetwork runs a guest in every network and mode. The guests continue while
// the agent restarts. Nomad then calls CHECK of the CNI plugins. If it fails, Nomad
// replaces the namespace of the alloc, and the guest loses its network.
func requireEveryNetwork(t *testing.T, client *cluster.Nomad, recorded string) {
	addUplink6(t)
	port := serveHost(t, "from the host")
	type guest struct {
		*alloc
		network cniNetwork
		pids    []int
	}
	guests := map[string]*guest{}
	for _, network := range cniNetworks {
		for _, mode := range []string{"l2", "shared"} {
			guests[network.name+" "+mode] = &guest{start(t, client, station(t, network.name, mode)), network, nil}
		}
	}
	for name, g := range guests {
		g.await(t, api.AllocClientStatusRunning)
		t.Run(name, func(t *testing.T) { g.requireNetwork(t, g.network, port) })
		g.pids = g.alloc.pids(t)
	}
	must.NoError(t, client.Stop())
	must.NoError(t, client.Start(t.Context()))
	for name, g := range guests {
		t.Run(name+" after a restart of the agent", func(t *testing.T) {
			must.Wait(t, testenv.Eventually(func() error { return called(recorded, "CHECK "+g.ID+" 0") }))
			g.requireNetwork(t, g.network, port)
			must.Eq(t, g.pids, g.alloc.pids(t))
			must.NoError(t, g.refresh())
			must.Eq(t, 0, int(g.TaskStates[g.task].Restarts))
			g.stop(t)
		})
	}
}

// called returns an error unless a recording CNI plugin has been called with a result.
func called(dir, call string) error {
	calls, err := os.ReadFile(filepath.Join(dir, "calls"))
	if err == nil && !strings.Contains(string(calls), call+"\n") {
		err = errors.New("no call " + call + " among\n" + string(calls))
	}
	return err
}
