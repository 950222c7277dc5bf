// SPDX-License-Identifier: MPL-2.0

package network

import (
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The kernel translates the addresses of a connection as it did for the first packet. It
// must forget the connections of a guest that has ended, because the next guest may get
// the same address, and UDP flows to a port that did not lead to a guest before.

// flowFilter selects tracked connections.
type flowFilter func(*netlink.ConntrackFlow) bool

func (f flowFilter) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool { return f(flow) }

// forgetFlows deletes tracked connections. Kernels without the module
// nf_conntrack_netlink keep them until they expire.
func forgetFlows(filter flowFilter) {
	h, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil {
		return
	}
	defer h.Close()
	for _, f := range []*family{ip4, ip6} {
		_, _ = h.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.InetFamily(f.netlink), filter)
	}
}

// ofGuests selects the connections of the taps' guests.
func (s *hostState) ofGuests(taps []string) flowFilter {
	gone := make(map[string]bool)
	for _, tap := range taps {
		gone[tap] = true
	}
	owned := func(ip net.IP) bool { return gone[s.owners[string(shortest(ip))]] }
	return func(flow *netlink.ConntrackFlow) bool { return owned(flow.Forward.SrcIP) || owned(flow.Reverse.SrcIP) }
}

// shortest returns an IPv4 address as 4 bytes.
func shortest(ip net.IP) net.IP {
	if short := ip.To4(); short != nil {
		return short
	}
	return ip
}

// toPorts selects the UDP flows to ports of the host that are not translated.
func toPorts(rules []portRule) flowFilter {
	return func(flow *netlink.ConntrackFlow) bool {
		if flow.Forward.Protocol != unix.IPPROTO_UDP || !flow.Forward.DstIP.Equal(flow.Reverse.SrcIP) {
			return false
		}
		for _, r := range rules {
			if r.port == flow.Forward.DstPort && (!r.address.IsValid() || flow.Forward.DstIP.Equal(r.address.AsSlice())) {
				return true
			}
		}
		return false
	}
}
