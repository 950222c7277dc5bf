// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	_ "embed"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
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
	group.Tasks[0].Resources.MemoryMB = ptr(96) // it holds 4 MiB several times
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
		requireStation(t, address, n, port)
	}
}

// requireStation requires that the guest at an address serves it, and reaches the host.
func requireStation(t *testing.T, address string, n cniNetwork, port string) {
	t.Helper()
	at := "http://" + net.JoinHostPort(address, "8000")
	must.Wait(t, testenv.Eventually(func() error {
		got, err := get(at + "/mtu")
		if err == nil && got != fmt.Sprintf("eth0 %d", n.mtu) {
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

// secondAddress matches the event about a guest whose device leads to net1.
var secondAddress = regexp.MustCompile(`has ([0-9.]+) \(mode l2, interface net1\)`)

func TestCNI(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	client, plugins := cniClient(t)
	t.Run("every network", func(t *testing.T) { requireEveryNetwork(t, client, plugins) })
	t.Run("loopback only", func(t *testing.T) {
		job := lkl(t, "lkl-hello.nomad.hcl", "cni-loopback")
		job.TaskGroups[0].Networks = []*api.NetworkResource{{Mode: "cni/lo"}}
		a := start(t, client, job)
		a.await(t, api.AllocClientStatusComplete)
		must.Eq(t, 0, a.awaitEvent(t, api.TaskTerminated).ExitCode)
	})
	t.Run("second interface", func(t *testing.T) {
		job := station(t, "double", "l2")
		set(job, "interface", map[string]any{"tap": map[string]any{"name": "net1"}})
		a := run(t, client, job)
		message := a.findEvent(t, api.TaskDriverMessage, "interface net1").DisplayMessage
		found := secondAddress.FindStringSubmatch(message)
		must.SliceLen(t, 2, found, must.Sprint(message))
		requireStation(t, found[1], second, serveHost(t, "from the host"))
	})
	failures := map[string]struct {
		job  *api.Job
		want []string
	}{
		"no ARP":            {station(t, "noarp", "auto"), []string{"eth0 does no ARP", "use ipvlan's mode l2"}},
		"missing interface": {station(t, "double", "auto"), []string{"interface.tap.name", `the network has no interface "eth7"; it has eth0, net1`}},
		"missing device":    {station(t, "double", "shared"), []string{"interface.tap9", "is not a net device of the kernel, which declares tap"}},
	}
	set(failures["missing interface"].job, "interface", map[string]any{"tap": map[string]any{"name": "eth7"}})
	set(failures["missing device"].job, "interface", map[string]any{"tap9": map[string]any{"name": "eth0"}})
	for name, failure := range failures {
		t.Run(name, func(t *testing.T) {
			a := start(t, client, failure.job)
			a.await(t, api.AllocClientStatusFailed)
			message := a.awaitEvent(t, api.TaskDriverFailure).DisplayMessage
			for _, want := range failure.want {
				must.StrContains(t, message, want)
			}
		})
	}
}

// requireEveryNetwork runs a guest in every network and mode. The guests continue while
// the agent restarts. Nomad then calls CHECK of the CNI plugins. If it fails, Nomad
// replaces the namespace of the alloc, and the guest loses its network.
func requireEveryNetwork(t *testing.T, client *cluster.Nomad, plugins string) {
	addUplink6(t)
	port := serveHost(t, "from the host")
	type guest struct {
		*alloc
		network cniNetwork
		mode    string
		pids    []int
	}
	guests := map[string]*guest{}
	for _, network := range cniNetworks {
		for _, mode := range []string{"l2", "shared"} {
			guests[network.name+" "+mode] = &guest{start(t, client, station(t, network.name, mode)), network, mode, nil}
		}
	}
	for name, g := range guests {
		g.await(t, api.AllocClientStatusRunning)
		t.Run(name, func(t *testing.T) { g.requireNetwork(t, g.network, port) })
		g.awaitMessage(t, "mode "+g.mode+", interface eth0")
		g.pids = g.alloc.pids(t)
	}
	must.NoError(t, client.Stop())
	must.NoError(t, client.Start(t.Context()))
	for name, g := range guests {
		t.Run(name+" after a restart of the agent", func(t *testing.T) {
			must.Wait(t, testenv.Eventually(func() error { return called(plugins, "CHECK "+g.ID+" 0") }))
			g.requireNetwork(t, g.network, port)
			must.Eq(t, g.pids, g.alloc.pids(t))
			must.NoError(t, g.refresh())
			must.Eq(t, 0, int(g.TaskStates[g.task].Restarts))
			// Another guest takes the place of the first.
			must.NoError(t, nomad.API.Allocations().Restart(g.Allocation, g.task, nil))
			g.awaitRestarts(t, 1)
			g.requireNetwork(t, g.network, port)
			g.stop(t)
		})
	}
}
