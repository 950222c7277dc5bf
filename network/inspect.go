// SPDX-License-Identifier: MPL-2.0

package network

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func (n *namespace) inspect() (*Interface, error) {
	routes, err := n.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	link, err := n.find(routes)
	if err != nil {
		return nil, err
	}
	attrs := link.Attrs()
	found := &Interface{Name: attrs.Name, MAC: attrs.HardwareAddr, MTU: attrs.MTU}
	if found.Addresses, err = n.addresses(link); err != nil {
		return nil, err
	}
	for _, r := range routes {
		for _, gateway := range hops(&r, attrs.Index) {
			found.route(&r, gateway)
		}
	}
	return found, nil
}

// find chooses the allocation's interface.
func (n *namespace) find(routes []netlink.Route) (netlink.Link, error) {
	links, err := n.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	if link := byDefaultRoute(links, routes); link != nil {
		if !takeable(link) {
			return nil, fmt.Errorf("%w: the default route is through %s, which is no Ethernet interface that is up",
				ErrNoInterface, link.Attrs().Name)
		}
		return link, nil
	}
	var candidates []netlink.Link
	var names []string
	for _, link := range links {
		addresses, err := n.addresses(link)
		if err != nil {
			return nil, err
		}
		if takeable(link) && len(addresses) > 0 {
			candidates = append(candidates, link)
			names = append(names, link.Attrs().Name)
		}
	}
	switch len(candidates) {
	case 1:
		return candidates[0], nil
	case 0:
		return nil, fmt.Errorf("%w: there is none with an address", ErrNoInterface)
	}
	return nil, fmt.Errorf("%w: %s all have addresses and none the default route",
		ErrNoInterface, strings.Join(names, ", "))
}

// byDefaultRoute is the interface of the best default route: IPv4 before IPv6, then
// the lowest metric.
func byDefaultRoute(links []netlink.Link, routes []netlink.Route) netlink.Link {
	var defaults []netlink.Route
	for _, r := range routes {
		if isDefault(&r) {
			defaults = append(defaults, r)
		}
	}
	slices.SortStableFunc(defaults, func(a, b netlink.Route) int {
		return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Priority, b.Priority))
	})
	for _, r := range defaults {
		for _, link := range links {
			if link.Attrs().Flags&net.FlagLoopback == 0 && len(hops(&r, link.Attrs().Index)) > 0 {
				return link
			}
		}
	}
	return nil
}

// takeable: a guest can send Ethernet frames over it.
func takeable(link netlink.Link) bool {
	a := link.Attrs()
	return a.Flags&net.FlagLoopback == 0 && a.Flags&net.FlagUp != 0 && len(a.HardwareAddr) == 6
}

// addresses are those of an interface that others than its link can reach.
func (n *namespace) addresses(link netlink.Link) ([]netip.Prefix, error) {
	list, err := n.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list the addresses of %s: %w", link.Attrs().Name, err)
	}
	var addresses []netip.Prefix
	for _, a := range list {
		p := prefix(a.IPNet)
		// The same bit is IFA_F_SECONDARY of an IPv4 address, which is as good.
		passing := p.Addr().Is6() && a.Flags&unix.IFA_F_TEMPORARY != 0
		if p.IsValid() && a.Scope < unix.RT_SCOPE_LINK && !passing {
			addresses = append(addresses, p)
		}
	}
	return addresses, nil
}

// route takes over a route of the main table through the interface.
func (i *Interface) route(r *netlink.Route, gateway netip.Addr) {
	switch {
	case r.Type != unix.RTN_UNICAST || r.Protocol == unix.RTPROT_KERNEL:
		return // the interface's own subnets, which its addresses tell
	case !isDefault(r):
		if to := prefix(r.Dst); to.IsValid() && !to.Addr().IsMulticast() {
			i.Routes = append(i.Routes, Route{Destination: to.Masked(), Gateway: gateway})
		}
	case gateway.Is4() && !i.Gateway4.IsValid():
		i.Gateway4 = gateway
	case gateway.Is6() && !i.Gateway6.IsValid():
		i.Gateway6 = gateway
	}
}

// hops are the next hops of a route through an interface; the zero Addr is one on
// the link.
func hops(r *netlink.Route, index int) []netip.Addr {
	var found []netip.Addr
	if r.LinkIndex == index && len(r.MultiPath) == 0 {
		found = append(found, gatewayOf(r.Gw, r.Via))
	}
	for _, hop := range r.MultiPath {
		if hop.LinkIndex == index {
			found = append(found, gatewayOf(hop.Gw, hop.Via))
		}
	}
	return found
}

// gatewayOf is the address of a next hop, of either family.
func gatewayOf(ip net.IP, other netlink.Destination) netip.Addr {
	if via, ok := other.(*netlink.Via); ok && ip == nil {
		ip = via.Addr
	}
	gateway, _ := netip.AddrFromSlice(ip)
	return gateway.Unmap()
}

func isDefault(r *netlink.Route) bool {
	if r.Type != unix.RTN_UNICAST {
		return false
	}
	if r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0 && r.Dst.IP.IsUnspecified()
}

// prefix keeps the address of a, which net.IPNet may hold in either length.
func prefix(a *net.IPNet) netip.Prefix {
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
