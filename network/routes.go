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

// routes returns the routes of all tables but the kernel's own in the order of
// preference: IPv4 before IPv6, the main table before the others, low metrics first.
func (n *namespace) routes() ([]netlink.Route, error) {
	all := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
	routes, err := n.RouteListFiltered(netlink.FAMILY_ALL, all, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	routes = slices.DeleteFunc(routes, func(r netlink.Route) bool { return r.Table == unix.RT_TABLE_LOCAL })
	rank := func(r netlink.Route) int {
		if r.Table == unix.RT_TABLE_MAIN {
			return 0
		}
		return r.Table
	}
	slices.SortStableFunc(routes, func(a, b netlink.Route) int {
		return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Priority, b.Priority))
	})
	return routes, nil
}

// setRoutes records the routes through the interface. Of several to one destination, it
// takes the most preferred. Of the tables of policy routing, it takes the default routes:
// the CNI plugin sbr moves them there. Routes of a family without an address are useless
// to a guest: a router may advertise itself on a link for which CNI has set no IPv6 address.
func (i *Interface) setRoutes(routes []netlink.Route, index int) {
	seen := map[netip.Prefix]bool{}
	for _, r := range routes {
		to := destination(&r)
		hops := nextHops(&r, index)
		switch {
		case len(hops) == 0 || seen[to] || r.Type != unix.RTN_UNICAST:
		case !slices.ContainsFunc(i.Addresses, func(p netip.Prefix) bool { return p.Addr().Is4() == to.Addr().Is4() }):
		case r.Table != unix.RT_TABLE_MAIN && !isDefault(&r):
		case to.Addr().IsMulticast() || to.Addr().IsLinkLocalUnicast() && to.Addr().Is6():
		default:
			seen[to] = true
			i.addRoute(Route{Destination: to, Gateway: hops[0]})
		}
	}
	// The guest adds the routes in this order, and a gateway must be on the link.
	slices.SortStableFunc(i.Routes, func(a, b Route) int {
		return cmp.Compare(a.Gateway.BitLen(), b.Gateway.BitLen())
	})
}

// addRoute records a route, unless it follows from the addresses.
func (i *Interface) addRoute(r Route) {
	family := r.Destination.Addr().BitLen()
	switch {
	case !r.Gateway.IsValid() && slices.ContainsFunc(i.Addresses, func(p netip.Prefix) bool { return p.Masked() == r.Destination }):
	case r.Destination.Bits() > 0 || r.Gateway.BitLen() != family:
		i.Routes = append(i.Routes, r)
	case r.Gateway.Is4():
		i.Gateway4 = r.Gateway
	default:
		i.Gateway6 = r.Gateway
	}
}

// destination returns the network that a route leads to. The kernel leaves it out for
// default routes.
func destination(r *netlink.Route) netip.Prefix {
	if to := toPrefix(r.Dst); to.IsValid() {
		return to.Masked()
	}
	if r.Family == unix.AF_INET6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

// nextHops returns the next hops of a route through an interface. The zero Addr stands
// for an on-link route.
func nextHops(r *netlink.Route, index int) []netip.Addr {
	var found []netip.Addr
	if r.LinkIndex == index && len(r.MultiPath) == 0 {
		found = append(found, gatewayAddr(r.Gw, r.Via))
	}
	for _, hop := range r.MultiPath {
		if hop.LinkIndex == index {
			found = append(found, gatewayAddr(hop.Gw, hop.Via))
		}
	}
	return found
}

// gatewayAddr returns the address of a next hop. The kernel reports a gateway of another
// family than the route's in via.
func gatewayAddr(ip net.IP, via netlink.Destination) netip.Addr {
	if v, ok := via.(*netlink.Via); ok && ip == nil {
		ip = v.Addr
	}
	gateway, _ := netip.AddrFromSlice(ip)
	return gateway.Unmap()
}

func isDefault(r *netlink.Route) bool {
	return r.Type == unix.RTN_UNICAST && destination(r).Bits() == 0
}
