// SPDX-License-Identifier: MPL-2.0

package matrix

import (
	"testing"

	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/drivers"
)

// combinations are the columns of the matrix.
var combinations = []struct {
	name     string
	families []*family
}{
	{"IPv4 only", []*family{ipv4}},
	{"IPv6 only", []*family{ipv6}},
	{"both", []*family{ipv4, ipv6}},
}

// group is the network of a group with a namespace.
func group(n *namespace) *drivers.NetworkIsolationSpec {
	return &drivers.NetworkIsolationSpec{Mode: drivers.NetIsolationModeGroup, Path: n.path()}
}

// ports are the group's ports that belong to the guest.
func ports(host string) structs.AllocatedPorts {
	return structs.AllocatedPorts{
		{Label: "echo", Value: echoPort, HostIP: host},
		{Label: "closed", Value: closedPort, HostIP: host},
		{Label: "command", Value: commandPort, HostIP: host},
	}
}

// resolvers are the name servers of a task.
func resolvers(families []*family) *drivers.DNSConfig {
	dns := &drivers.DNSConfig{}
	for _, f := range families {
		dns.Servers = append(dns.Servers, f.far)
	}
	return dns
}

func TestL2(t *testing.T) {
	for _, columns := range combinations {
		t.Run(columns.name, func(t *testing.T) {
			t.Parallel()
			n := newTopology(t, newNamespace(t), columns.families)
			g := start(t, spec{
				name: "l2", network: group(n.alloc), ports: ports(""), dns: resolvers(columns.families),
			})
			c := &cell{topology: n, guest: g, address: func(f *family) string { return f.alloc }}
			c.run(t)
		})
	}
}
