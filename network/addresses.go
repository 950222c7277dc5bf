// SPDX-License-Identifier: MPL-2.0

package network

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// An addressList holds the addresses of an interface beyond link-local.
type addressList struct {
	usable     []netip.Prefix // in the order of preference
	duplicates []netip.Addr   // which another host of the link uses
}

// missing explains why the interface of a name has no usable address.
func (l addressList) missing(name string) string {
	if len(l.duplicates) == 0 {
		return name + " has no address beyond link-local"
	}
	return fmt.Sprintf("%s has no address, because another host on the link uses %s (duplicate address detection failed)",
		name, l.duplicates[0])
}

// addresses lists an interface's addresses without those of link or host scope, and
// without temporary and duplicate IPv6 addresses. An address has the length of a single
// host, 32 or 128, unless its network is on the link: the CNI plugin ptp replaces the
// route to it by one through the gateway.
func (n *namespace) addresses(link netlink.Link, routes []netlink.Route) (addressList, error) {
	list, err := n.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return addressList{}, fmt.Errorf("list the addresses of %s: %w", link.Attrs().Name, err)
	}
	var found addressList
	for _, a := range inPreference(list) {
		p := toPrefix(a.IPNet)
		if !p.IsValid() || a.Scope >= unix.RT_SCOPE_LINK {
			continue
		}
		// For IPv4, the same bits are IFA_F_SECONDARY, which is kept, and unused.
		if p.Addr().Is6() && a.Flags&unix.IFA_F_TEMPORARY != 0 {
			continue
		}
		if p.Addr().Is6() && a.Flags&unix.IFA_F_DADFAILED != 0 {
			found.duplicates = append(found.duplicates, p.Addr())
			continue
		}
		if !isOnLink(p, routes, link.Attrs().Index) {
			p = netip.PrefixFrom(p.Addr(), p.Addr().BitLen())
		}
		found.usable = append(found.usable, p)
	}
	return found, nil
}

// inPreference sorts addresses: IPv4 first, in the kernel's order; then IPv6 addresses
// that an administrator has set before those that a router has advertised, and these
// before deprecated ones. The kernel lists IPv6 addresses with the newest first, but a
// CNI plugin sets the most important one first.
func inPreference(list []netlink.Addr) []netlink.Addr {
	var v4, v6 []netlink.Addr
	for _, a := range list {
		if a.IP.To4() != nil {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	slices.Reverse(v6)
	rank := func(a netlink.Addr) int {
		switch {
		case a.Flags&unix.IFA_F_DEPRECATED != 0:
			return 2
		case a.Flags&unix.IFA_F_PERMANENT == 0:
			return 1
		}
		return 0
	}
	slices.SortStableFunc(v6, func(a, b netlink.Addr) int { return cmp.Compare(rank(a), rank(b)) })
	return append(v4, v6...)
}

// isOnLink reports whether a route without a gateway leads to the whole network of an
// address.
func isOnLink(p netip.Prefix, routes []netlink.Route, index int) bool {
	return slices.ContainsFunc(routes, func(r netlink.Route) bool {
		to := destination(&r)
		return r.Table == unix.RT_TABLE_MAIN && r.Type == unix.RTN_UNICAST &&
			to.Bits() <= p.Bits() && to.Contains(p.Addr()) &&
			slices.Contains(nextHops(&r, index), netip.Addr{})
	})
}

// toPrefix converts an address with its mask. net.IPNet may hold an IPv4 address in 4 or
// in 16 bytes.
func toPrefix(a *net.IPNet) netip.Prefix {
	if a == nil {
		return netip.Prefix{}
	}
	addr, ok := netip.AddrFromSlice(a.IP)
	if !ok {
		return netip.Prefix{}
	}
	ones, _ := a.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones)
}
