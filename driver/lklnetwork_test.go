// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"fmt"
	"maps"
	"net/netip"
	"testing"

	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/network"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

// sharedGuest returns a guest in shared mode, in a group with many ports.
func sharedGuest(features unikernel.Features, a addresses) guest {
	task := changedTask(func(task *drivers.TaskConfig) {
		var ports structs.AllocatedPorts
		for i := range 60 {
			ports = append(ports, structs.AllocatedPortMapping{Label: fmt.Sprint("p", i), Value: 20000 + 2*i})
		}
		task.Resources.Ports = &ports
	})
	elf := &unikernel.Info{Features: features, Manifest: []unikernel.Device{netEntry("tap")}}
	return guest{
		job:    job{task: task, config: TaskConfig{Ports: []string{"p0", "9000-9010"}}},
		kernel: &kernel{kernelInfo: kernelInfo{flavor: unikernel.FlavorLKL, elf: elf}},
		network: netDevices{{
			link: link{Device: "tap", Mode: modeShared}, addresses: a,
			tap: &network.Tap{MTU: 1500, Ephemeral: network.PortRange{First: 16384, Last: 32767}},
		}},
	}
}

func TestLKLNetwork_SharingFitsEveryGuest(t *testing.T) {
	a := addresses{v4: netip.MustParsePrefix("172.26.64.5/20"), gateway4: netip.MustParseAddr("172.26.64.1")}
	const modern = unikernel.FeatureConfig | unikernel.FeatureNetwork
	for _, features := range []unikernel.Features{0, unikernel.FeatureConfig, modern} {
		c := &lkl.Config{Sysctl: map[string]string{"net.ipv4.ip_unprivileged_port_start": "0"}}
		sharedGuest(features, a).addNetwork(c)
		must.NoError(t, c.Validate(features))
		must.Eq(t, "16384 32767", c.Sysctl[sysctlPortRange])
		must.StrHasPrefix(t, "9000-9010,20000,20002,", c.Sysctl[sysctlReserved])
		if features == modern {
			must.Eq(t, lkl.Neighbors{
				Loopback: network.NeighborLoopback, Loopback6: network.NeighborLoopback6, Address: network.NeighborAddress,
			}, c.Neighbors)
			must.Eq(t, "eth0", c.Interfaces[0].Rename)
		} else {
			must.Eq(t, lkl.Neighbors{}, c.Neighbors)
			must.Eq(t, "", c.Interfaces[0].Rename)
		}
	}
}

// The loopback addresses of both families work without an address of the family.
func TestLKLNetwork_NeighborsHaveTheGuestsAddresses(t *testing.T) {
	c := &lkl.Config{Sysctl: map[string]string{}}
	sharedGuest(unikernel.FeatureConfig|unikernel.FeatureNetwork, addresses{v6: netip.MustParsePrefix("fd00::5/64")}).addNetwork(c)
	must.Eq(t, lkl.Neighbors{
		Loopback: network.NeighborLoopback, Loopback6: network.NeighborLoopback6, Address6: network.NeighborAddress6,
	}, c.Neighbors)
}

func TestRedirectUpstreams_ReplacesOnlyLoopbackOfUpstreams(t *testing.T) {
	env := map[string]string{
		"NOMAD_UPSTREAM_ADDR_db": "127.0.0.1:7000", "NOMAD_UPSTREAM_IP_db": "127.0.0.1", "NOMAD_UPSTREAM_PORT_db": "7000",
		"NOMAD_UPSTREAM_ADDR_other": "10.0.0.1:7000", "DB": "127.0.0.1:7000",
	}
	legacy := maps.Clone(env)
	sharedGuest(unikernel.FeatureConfig, addresses{}).redirectUpstreams(legacy)
	must.Eq(t, map[string]string{
		"NOMAD_UPSTREAM_ADDR_db": "192.0.0.1:7000", "NOMAD_UPSTREAM_IP_db": "192.0.0.1", "NOMAD_UPSTREAM_PORT_db": "7000",
		"NOMAD_UPSTREAM_ADDR_other": "10.0.0.1:7000", "DB": "127.0.0.1:7000",
	}, legacy)

	same := maps.Clone(env)
	sharedGuest(unikernel.FeatureConfig|unikernel.FeatureNetwork, addresses{}).redirectUpstreams(same)
	must.Eq(t, env, same)
	alone := sharedGuest(unikernel.FeatureConfig, addresses{})
	alone.network[0].link.Mode = modeL2
	alone.redirectUpstreams(same)
	must.Eq(t, env, same)
}
