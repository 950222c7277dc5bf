// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"fmt"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/network"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

// addNetwork adds the guest's net devices to the configuration of an LKL guest. Devices that
// lead nowhere are not interfaces of the guest.
func (g guest) addNetwork(c *lkl.Config) {
	for i, d := range g.network.connected() {
		n := d.addresses.lklInterface(d.link.Device, d.tap)
		if g.kernel.supports(unikernel.FeatureNetwork) {
			n.Rename = fmt.Sprintf("eth%d", i)
		}
		c.Interfaces = append(c.Interfaces, n)
		if !c.Gateway.IsValid() {
			c.Gateway = n.Gateway
		}
		if !c.Gateway6.IsValid() {
			c.Gateway6 = n.Gateway6
		}
		if g.kernel.supports(unikernel.FeatureConfig) {
			for _, r := range d.addresses.lklRoutes() {
				r.Interface = n.Name
				c.Routes = append(c.Routes, r)
			}
		}
	}
	if shared := g.network.shared(); shared != nil {
		g.shareNetwork(c, *shared)
	}
}

// shareNetwork configures an LKL guest that has the same addresses as its neighbors.
func (g guest) shareNetwork(c *lkl.Config, d netDevice) {
	sysctls := map[string]string{
		// Connections of neighbors arrive at 127.0.0.1.
		sysctlLocalnet: "1",
	}
	if r := d.tap.Ephemeral; r != (network.PortRange{}) {
		sysctls[sysctlPortRange] = fmt.Sprintf("%d %d", r.First, r.Last)
	}
	for name, value := range sysctls {
		if _, set := c.Sysctl[name]; !set {
			c.Sysctl[name] = value
		}
	}
	g.reservePorts(c)
	// The guest looks for its neighbors behind its first interface.
	if !g.kernel.supports(unikernel.FeatureNetwork) || c.Interfaces[0].Name != d.link.Device {
		return
	}
	c.Neighbors.Loopback, c.Neighbors.Loopback6 = network.NeighborLoopback, network.NeighborLoopback6
	if d.addresses.v4.IsValid() {
		c.Neighbors.Address = network.NeighborAddress
	}
	if d.addresses.v6.IsValid() {
		c.Neighbors.Address6 = network.NeighborAddress6
	}
}

// reservePorts keeps the guest from using ports for its own connections that belong to it
// or to its neighbors. A long list may not fit: the guest then takes such a port with the
// probability of its share in the guest's range, and the connection fails.
func (g guest) reservePorts(c *lkl.Config) {
	limit := lkl.MaxSysctlValue
	if !g.kernel.supports(unikernel.FeatureConfig) {
		limit = lkl.MaxLegacySysctl - c.SysctlLength() - len(";"+sysctlReserved+"=")
	}
	ports := reservedPorts(g.job, limit)
	if _, set := c.Sysctl[sysctlReserved]; !set && ports != "" {
		c.Sysctl[sysctlReserved] = ports
	}
}

// reservedPorts returns the ports of the job and of its group as a value of sysctlReserved
// of at most limit bytes, or "". It leaves out the end of a longer list.
func reservedPorts(j job, limit int) string {
	var ranges []network.PortRange
	for _, p := range groupPorts(j.task) {
		ranges = append(ranges, network.PortRange{First: guestPort(p), Last: guestPort(p)})
	}
	for _, p := range j.portClaim().ports {
		ranges = append(ranges, p.guest)
	}
	var b strings.Builder
	for _, r := range mergeRanges(ranges) {
		text := fmt.Sprintf("%d-%d", r.First, r.Last)
		if r.First == r.Last {
			text = fmt.Sprint(r.First)
		}
		if b.Len() > 0 {
			text = "," + text
		}
		if b.Len()+len(text) > limit {
			break
		}
		b.WriteString(text)
	}
	return b.String()
}

// upstreamVariables begin the names of environment variables that contain 127.0.0.1 for a
// sidecar in the alloc's namespace.
var upstreamVariables = []string{"NOMAD_UPSTREAM_ADDR_", "NOMAD_UPSTREAM_IP_"}

// redirectUpstreams replaces 127.0.0.1 in the variables of Consul's upstreams by an address
// that leads out of the guest. Guests with the feature network need no replacement.
func (g guest) redirectUpstreams(env map[string]string) {
	if g.network.shared() == nil || g.kernel.supports(unikernel.FeatureNetwork) {
		return
	}
	for name, value := range env {
		for _, prefix := range upstreamVariables {
			if strings.HasPrefix(name, prefix) {
				env[name] = strings.Replace(value, "127.0.0.1", network.NeighborLoopback.String(), 1)
			}
		}
	}
}
