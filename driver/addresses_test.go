// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"net"
	"net/netip"
	"testing"

	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/network"
)

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestAddressesOf_UsesTheFirstOfEachFamily(t *testing.T) {
	a := addressesOf(&network.Interface{
		MAC:       net.HardwareAddr{2, 0, 0, 0, 0, 1},
		Addresses: prefixes("fd00::5/64", "172.26.64.5/20", "172.26.64.6/20", "fd00::6/64"),
		Gateway4:  netip.MustParseAddr("172.26.64.1"),
	})
	must.Eq(t, "172.26.64.5/20", a.v4.String())
	must.Eq(t, "fd00::5/64", a.v6.String())
	must.Eq(t, "172.26.64.5", a.ip())
	must.Eq(t, "02:00:00:00:00:01", a.mac)
	must.Eq(t, "fd00::5", addressesOf(&network.Interface{Addresses: prefixes("fd00::5/64")}).ip())
	must.Eq(t, "", addressesOf(&network.Interface{}).ip())
}

func TestLKLRoutes_LeavesOutRoutesOfMissingFamilies(t *testing.T) {
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	route4 := network.Route{Destination: prefix("10.9.0.0/16"), Gateway: addr("169.254.1.1")}
	link6 := network.Route{Destination: prefix("fd01::/64")}
	local6 := network.Route{Destination: prefix("fd02::/64"), Gateway: addr("fe80::1")}
	near6 := network.Route{Destination: prefix("fd03::/64"), Gateway: addr("fd00::1")}
	far6 := network.Route{Destination: prefix("fd04::/64"), Gateway: addr("fd09::1")}
	all := []network.Route{route4, link6, local6, near6, far6}
	for _, c := range []struct {
		a    addresses
		want []network.Route
	}{
		{addresses{v4: prefix("10.0.0.2/24"), v6: prefix("fd00::2/64")}, []network.Route{route4, link6, local6, near6, far6}},
		{addresses{v4: prefix("10.0.0.2/24")}, []network.Route{route4}},
		{addresses{}, nil},
	} {
		c.a.routes = all
		var got []network.Route
		for _, r := range c.a.lklRoutes() {
			got = append(got, network.Route{Destination: r.To, Gateway: r.Via})
		}
		must.Eq(t, c.want, got)
	}
}

func TestExpand_ReplacesPlaceholders(t *testing.T) {
	a := addresses{v4: netip.MustParsePrefix("172.26.64.5/20"), gateway4: netip.MustParseAddr("172.26.64.1")}
	args := []string{"--ipv4={{ipv4}}", "--ipv4-gateway={{ipv4_gateway}}", "{{other}}", "{{ipv4}},{{ipv4}}"}
	got, err := connectedTo(a).expand(args)
	must.NoError(t, err)
	must.Eq(t, []string{"--ipv4=172.26.64.5/20", "--ipv4-gateway=172.26.64.1", "{{other}}", "172.26.64.5/20,172.26.64.5/20"}, got)
	must.Eq(t, "--ipv4={{ipv4}}", args[0]) // untouched

	_, err = connectedTo(addresses{}).expand([]string{"{{ipv6}}", "x", "{{ipv4}}"})
	must.Eq(t, []string{"args[0]", "args[2]"}, fields(err))
}

// connectedTo returns the devices of a guest with one device.
func connectedTo(a addresses) netDevices {
	return netDevices{{link: link{Device: "tap", Mode: modeL2}, addresses: a}}
}

func TestExpand_NamesTheDevice(t *testing.T) {
	devices := netDevices{
		{link: link{Device: "none", Mode: modeNone}},
		{link: link{Device: "tap", Mode: modeShared}, addresses: addresses{v4: netip.MustParsePrefix("172.26.64.5/20")}},
		{link: link{Device: "tap2", Mode: modeShared}, addresses: addresses{v6: netip.MustParsePrefix("fd00::5/64")}},
	}
	got, err := devices.expand([]string{"{{ipv4}} {{ipv4:tap}} {{ipv6:tap2}} {{neighbors}}"})
	must.NoError(t, err)
	must.Eq(t, []string{"172.26.64.5/20 172.26.64.5/20 fd00::5/64 192.0.0.1"}, got)
	_, err = devices.expand([]string{"{{ipv4:none}}", "{{ipv6}}", "{{ipv6:tap}}", "{{ipv6:tap3}}"})
	must.Eq(t, []string{"args[0]", "args[1]", "args[2]"}, fields(err))
	_, err = connectedTo(addresses{}).expand([]string{"{{neighbors}}"})
	must.Eq(t, []string{"args[0]"}, fields(err))
}

func TestExpand_ExplainsMissingValues(t *testing.T) {
	for placeholder, says := range map[string]string{
		"{{ipv6}}":             "{{ipv6}} has no value, because the task's network has no IPv6 address: remove it from args",
		"{{ipv4_gateway}}":     "the task's network has no IPv4 gateway",
		"{{ipv6_gateway:tap}}": "the network of the device tap has no IPv6 gateway",
		"{{neighbors}}":        "only in the network mode shared",
	} {
		_, err := connectedTo(addresses{}).expand([]string{placeholder})
		must.ErrorContains(t, err, says)
	}
}

func TestPortClaim_DescribesPorts(t *testing.T) {
	listed := portClaim{ports: []servedPort{{text: "http"}, {text: "53/udp"}}}
	for _, c := range []struct {
		claim portClaim
		mode  networkMode
		want  string
	}{
		{listed, modeShared, ", ports http, 53/udp"},
		{listed, modeHost, ", ports http, 53/udp"},
		{listed, modeL2, ""},
		{portClaim{all: true}, modeShared, ", every port that no neighbor uses"},
		{portClaim{all: true}, modeHost, ", all ports of the group"},
		{portClaim{}, modeShared, ", no ports"},
		{portClaim{all: true}, modeNone, ""},
	} {
		must.Eq(t, c.want, c.claim.describe(c.mode))
	}
}

func TestDriverNetwork_AdvertisesTheJobsPorts(t *testing.T) {
	a := connectedTo(addresses{v4: netip.MustParsePrefix("172.26.64.5/20")})
	task := &drivers.TaskConfig{Resources: &drivers.Resources{Ports: &structs.AllocatedPorts{
		{Label: "http", Value: 23456, To: 8080, HostIP: "192.0.2.1"},
		{Label: "admin", Value: 23457, HostIP: "192.0.2.1"},
		{Label: "other", Value: 23458, HostIP: "192.0.2.2"},
	}}}
	ports := func(ports ...string) job { return job{task: task, config: TaskConfig{Ports: ports}} }
	must.Eq(t, &drivers.DriverNetwork{
		IP: "172.26.64.5", PortMap: map[string]int{"http": 8080, "admin": 23457, "other": 23458},
	}, driverNetwork(ports(), a))
	must.Eq(t, &drivers.DriverNetwork{IP: "172.26.64.5", PortMap: map[string]int{"http": 8080}}, driverNetwork(ports("http"), a))
	must.Nil(t, driverNetwork(job{task: task}, nil))
	must.Nil(t, driverNetwork(job{task: task}, connectedTo(addresses{})))
	must.False(t, driverNetwork(ports(), a).Advertise())

	a[0].link.Mode = modeNone
	must.Nil(t, driverNetwork(ports(), a))
}

func TestNetnsOf_IsEmptyForTheHostsNetwork(t *testing.T) {
	for _, c := range []struct {
		spec *drivers.NetworkIsolationSpec
		want string
	}{
		{nil, ""},
		{&drivers.NetworkIsolationSpec{Mode: drivers.NetIsolationModeHost}, ""},
		{&drivers.NetworkIsolationSpec{Mode: drivers.NetIsolationModeGroup, Path: "/run/netns/a"}, "/run/netns/a"},
	} {
		must.Eq(t, c.want, netnsOf(&drivers.TaskConfig{NetworkIsolation: c.spec}))
	}
}
