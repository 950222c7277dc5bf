// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

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
		list.Addf("host_network.subnet", "%w", err)
	}
	if h.Subnet6 == "" {
		return
	}
	if _, err := parseSubnet(h.Subnet6, network.DefaultHostSubnet6); err != nil {
		list.Addf("host_network.subnet6", "%w", err)
	}
}

func (h HostNetwork) subnet() (netip.Prefix, error) {
	return parseSubnet(cmp.Or(h.Subnet, network.DefaultHostSubnet.String()), network.DefaultHostSubnet)
}

// unroutable are networks whose addresses the kernel does not forward.
var unroutable = map[string]netip.Prefix{
	"unspecified addresses": netip.MustParsePrefix("0.0.0.0/8"),
	"loopback addresses":    netip.MustParsePrefix("127.0.0.0/8"),
	"link-local addresses":  netip.MustParsePrefix("169.254.0.0/16"),
	"multicast addresses":   netip.MustParsePrefix("224.0.0.0/4"),
	"the broadcast address": netip.MustParsePrefix("255.255.255.255/32"),

	"the unspecified or the loopback address": netip.MustParsePrefix("::/127"),
	"link-local IPv6 addresses":               netip.MustParsePrefix("fe80::/10"),
	"multicast IPv6 addresses":                netip.MustParsePrefix("ff00::/8"),
}

// parseSubnet parses a network of the same address family as the default.
func parseSubnet(text string, byDefault netip.Prefix) (netip.Prefix, error) {
	const linkBits = 2
	smallest := byDefault.Addr().BitLen() - minLinkBits - linkBits
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil || p.Addr().BitLen() != byDefault.Addr().BitLen() || p.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%q is not a network of this address family, such as %q", text, byDefault)
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("%q has bits beyond its prefix: write %q", text, p.Masked())
	case p.Bits() > smallest:
		return netip.Prefix{}, fmt.Errorf("%q is too small for %d guests with 4 addresses each: use a network from /%d on, such as %q",
			text, 1<<minLinkBits, smallest, byDefault)
	}
	for _, name := range slices.Sorted(maps.Keys(unroutable)) {
		if p.Overlaps(unroutable[name]) {
			return netip.Prefix{}, fmt.Errorf("%q contains %s, which cannot belong to guests: use another network, such as %q",
				text, name, byDefault)
		}
	}
	return p, nil
}

// options returns the valid block in the form of the network package.
func (h HostNetwork) options() network.HostOptions {
	subnet, _ := h.subnet()
	subnet6, _ := parseSubnet(h.Subnet6, network.DefaultHostSubnet6)
	return network.HostOptions{Subnet: subnet, Subnet6: subnet6}
}
