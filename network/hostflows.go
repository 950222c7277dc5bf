// SPDX-License-Identifier: MPL-2.0

package network

import (
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The kernel translates the addresses of a connection as it did for the first packet. It
// must forget the connections of a guest that has ended, because the next guest may get
// the same address, and UDP flows to a port that did not lead to a guest before.

// flowFilter selects tracked connections.
type flowFilter func(*netlink.ConntrackFlow) bool

func (f flowFilter) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool { return f(flow) }

// forgetFlows deletes tracked connections of address families. Each family costs a walk
// through the kernel's table. Kernels without the module nf_conntrack_netlink keep the
// connections until they expire.
func forgetFlows(families map[*family]bool, filter flowFilter) {
	h, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil {
		return
	}
	defer h.Close()
	for f := range families {
		_, _ = h.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.InetFamily(f.netlink), filter)
	}
}

// forgetGuests deletes the connections of the taps' guests.
func (s *hostState) forgetGuests(taps []string) {
	gone, families := make(map[string]bool), make(map[*family]bool)
	for address, tap := range s.owners {
		if slices.Contains(taps, tap) {
			gone[address] = true
			a, _ := netip.AddrFromSlice([]byte(address))
			families[familyOf(a)] = true
		}
	}
	owned := func(ip net.IP) bool { return gone[string(shortest(ip))] }
	forgetFlows(families, func(flow *netlink.ConntrackFlow) bool {
		return owned(flow.Forward.SrcIP) || owned(flow.Reverse.SrcIP)
	})
}

// shortest returns an IPv4 address as 4 bytes.
func shortest(ip net.IP) net.IP {
	if short := ip.To4(); short != nil {
		return short
	}
	return ip
}

// forgetPorts deletes the UDP flows to ports of the host that are not translated.
func forgetPorts(rules []portRule) {
	families := make(map[*family]bool)
	for _, r := range rules {
		families[r.family] = true
	}
	forgetFlows(families, func(flow *netlink.ConntrackFlow) bool {
		translated := !flow.Forward.DstIP.Equal(flow.Reverse.SrcIP) || !flow.Forward.SrcIP.Equal(flow.Reverse.DstIP)
		if flow.Forward.Protocol != unix.IPPROTO_UDP || translated {
			return false
		}
		return slices.ContainsFunc(rules, func(r portRule) bool {
			return r.port == flow.Forward.DstPort && (!r.address.IsValid() || flow.Forward.DstIP.Equal(r.address.AsSlice()))
		})
	})
}
