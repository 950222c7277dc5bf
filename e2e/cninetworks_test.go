// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/cluster"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/sandbox"
)

// A cniNetwork is a network of the client, which a job uses as "cni/NAME".
type cniNetwork struct {
	name    string
	plugin  string // the CNI plugin and its settings, without addresses, as JSON
	subnets []string
	mtu     int
	hosts   []string // addresses of the host on the guest's link, and beyond
	island  bool     // without a default route
}

// uplink6 is an address of the host on the link of the agents, in addition to
// sandbox.Address.
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
		name: "jumbo", plugin: `"type": "recorded-bridge", "bridge": "jumbo0", "isGateway": true, "mtu": 9000`,
		subnets: []string{"10.201.3.0/24", "fd20:0:0:3::/64"}, mtu: 9000,
		hosts: []string{"10.201.3.1", "fd20:0:0:3::1", sandbox.Address, uplink6},
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

var (
	// noARP is a network whose interface does no ARP, as that of ipvlan in the mode l3.
	noARP = cniNetwork{
		name: "noarp", plugin: `"type": "noarp-bridge", "bridge": "noarp0", "isGateway": true`, subnets: []string{"10.201.9.0/24"},
	}
	// double is a network with two interfaces. The second, net1, leads to the network second.
	double = cniNetwork{
		name: "double", plugin: `"type": "double-bridge", "bridge": "double0", "isGateway": true`, subnets: []string{"10.201.7.0/24"},
	}
	second = cniNetwork{
		name: "second", plugin: `"type": "bridge", "bridge": "second0", "isGateway": true`, subnets: []string{"10.201.8.0/24"},
		mtu: 1500, hosts: []string{"10.201.8.1"}, island: true,
	}
)

// settings returns the settings of the network's CNI plugin as JSON. The first address of
// each subnet is the gateway.
func (n cniNetwork) settings() string {
	var ranges, routes []string
	for _, subnet := range n.subnets {
		begin, gateway, everything := strings.TrimSuffix(subnet, "0/24")+"100", strings.TrimSuffix(subnet, "0/24")+"1", "0.0.0.0/0"
		if strings.Contains(subnet, ":") {
			begin, gateway, everything = strings.TrimSuffix(subnet, "/64")+"100", strings.TrimSuffix(subnet, "/64")+"1", "::/0"
		}
		ranges = append(ranges, fmt.Sprintf(`[{"subnet": %q, "rangeStart": %q, "gateway": %q}]`, subnet, begin, gateway))
		if !n.island {
			routes = append(routes, fmt.Sprintf(`{"dst": %q}`, everything))
		}
	}
	return fmt.Sprintf(`%s, "ipam": {"type": "host-local", "ranges": [%s], "routes": [%s]}`,
		n.plugin, strings.Join(ranges, ","), strings.Join(routes, ","))
}

// conflist returns the network's configuration.
func (n cniNetwork) conflist() string {
	return fmt.Sprintf(`{
		"cniVersion": "1.0.0", "name": %q,
		"plugins": [{%s}, {"type": "portmap", "capabilities": {"portMappings": true}}]
	}`, n.name, n.settings())
}

// cniClient starts a client with all networks. The result contains the directory of the
// special CNI plugins.
func cniClient(t *testing.T) (client *cluster.Nomad, plugins string) {
	t.Helper()
	plugins = filepath.Join(sandbox.Dir(), "cni-plugins")
	installPlugins(t, plugins)
	conflists := []string{`{"cniVersion": "1.0.0", "name": "lo", "plugins": [{"type": "loopback"}]}`}
	for _, network := range append([]cniNetwork{noARP, double}, cniNetworks...) {
		conflists = append(conflists, network.conflist())
	}
	t.Cleanup(func() { removeBridges(t) })
	client, err := cluster.StartNomad(t.Context(), tools, sandbox.Dir(), cluster.Options{
		Name: "cni", Index: 10, Server: nomad, Conflists: conflists, CNIPath: plugins, PluginConfig: registryConfig(),
	})
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, client.Stop()) })
	return client, plugins
}

// installPlugins installs CNI plugins that do more than the usual ones.
func installPlugins(t *testing.T, dir string) {
	t.Helper()
	must.NoError(t, os.MkdirAll(dir, 0o755))
	for _, plugin := range []string{"bridge", "ptp", "macvlan"} {
		record := fmt.Sprintf(`echo "$CNI_COMMAND $CNI_CONTAINERID $status" >>%s`, callsOf(dir))
		installPlugin(t, dir, "recorded-"+plugin, plugin, record)
	}
	installPlugin(t, dir, "noarp-bridge", "bridge",
		`[ "$CNI_COMMAND" != ADD ] || nsenter --net="$CNI_NETNS" ip link set "$CNI_IFNAME" arp off`)
	config := filepath.Join(dir, "second.json")
	content := fmt.Sprintf(`{"cniVersion": "1.0.0", "name": %q, %s}`, second.name, second.settings())
	must.NoError(t, os.WriteFile(config, []byte(content), 0o600))
	installPlugin(t, dir, "double-bridge", "bridge",
		fmt.Sprintf(`[ "$CNI_COMMAND" = CHECK ] || CNI_IFNAME=net1 "$plugin" <%s >/dev/null`, config))
}

// installPlugin installs a CNI plugin that calls another one, and then runs a script.
func installPlugin(t *testing.T, dir, name, plugin, script string) {
	t.Helper()
	content := fmt.Sprintf("#!/bin/sh\nplugin=%s\nresult=$(\"$plugin\")\nstatus=$?\n%s\nprintf %%s \"$result\"\nexit $status\n",
		filepath.Join(tools.CNI, plugin), script)
	must.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755))
}

// callsOf returns the file in which the recording plugins write their calls.
func callsOf(dir string) string { return filepath.Join(dir, "calls") }

// called returns an error unless a recording CNI plugin has been called with a result.
func called(dir, call string) error {
	calls, err := os.ReadFile(callsOf(dir))
	if err == nil && !strings.Contains(string(calls), call+"\n") {
		err = errors.New("no call " + call + " among\n" + string(calls))
	}
	return err
}

// removeBridges removes the bridges of the networks, because CNI keeps them.
func removeBridges(t *testing.T) {
	t.Helper()
	for _, network := range append([]cniNetwork{noARP, double, second}, cniNetworks...) {
		if link, err := netlink.LinkByName(network.name + "0"); err == nil {
			must.NoError(t, netlink.LinkDel(link))
		}
	}
}
