// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"cmp"
	"fmt"
	"net/netip"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
	"github.com/lkl-nomad/nomad-driver-lkl/network"
)

// A HostNetwork is the plugin's block about guests in the host's network.
type HostNetwork struct {
	Enabled bool   `codec:"enabled"`
	Subnet  string `codec:"subnet"`  // "" for the default
	Subnet6 string `codec:"subnet6"` // "" for no IPv6
}

func defaultHostNetwork() HostNetwork {
	return HostNetwork{
		Enabled: true, Subnet: network.DefaultHostSubnet.String(), Subnet6: network.DefaultHostSubnet6.String(),
	}
}

// The subnets hold at least this many links, each with 4 addresses.
const minLinkBits = 8

func (h HostNetwork) validate(list *problems.List) {
	if _, err := h.subnet(); err != nil {
		list.Addf("host_network.subnet", "%w, such as %q", err, network.DefaultHostSubnet)
	}
	if h.Subnet6 == "" {
		return
	}
	if _, err := parseSubnet(h.Subnet6, netip.Addr.Is6); err != nil {
		list.Addf("host_network.subnet6", "%w, such as %q", err, network.DefaultHostSubnet6)
	}
}

func (h HostNetwork) subnet() (netip.Prefix, error) {
	return parseSubnet(cmp.Or(h.Subnet, network.DefaultHostSubnet.String()), netip.Addr.Is4)
}

// parseSubnet parses a network of one address family.
func parseSubnet(text string, family func(netip.Addr) bool) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil || !family(p.Addr()) || p.Addr().Is4In6() || p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%q is not a network of this address family", text)
	}
	const linkBits = 2
	if p.Addr().BitLen()-p.Bits() < minLinkBits+linkBits {
		return netip.Prefix{}, fmt.Errorf("%q is too small for %d guests with 4 addresses each: use a larger network", text, 1<<minLinkBits)
	}
	return p, nil
}

// options returns the valid block in the form of the network package.
func (h HostNetwork) options() network.HostOptions {
	subnet, _ := h.subnet()
	subnet6, _ := parseSubnet(h.Subnet6, netip.Addr.Is6)
	return network.HostOptions{Subnet: subnet, Subnet6: subnet6}
}
