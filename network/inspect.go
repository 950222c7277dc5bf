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
	link, err := n.findInterface(routes)
	if err != nil {
		return nil, err
	}
	attrs := link.Attrs()
	found := &Interface{Name: attrs.Name, MAC: attrs.HardwareAddr, MTU: attrs.MTU}
	if found.Addresses, err = n.addresses(link); err != nil {
		return nil, err
	}
	for _, r := range routes {
		for _, gateway := range nextHops(&r, attrs.Index) {
			found.addRoute(&r, gateway)
		}
	}
	return found, nil
}

// findInterface chooses the allocation's interface.
func (n *namespace) findInterface(routes []netlink.Route) (netlink.Link, error) {
	links, err := n.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	if link := byDefaultRoute(links, routes); link != nil {
		if !isUsable(link) {
			return nil, fmt.Errorf("%w: the default route is through %s, which is down or not an Ethernet interface",
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
		if isUsable(link) && len(addresses) > 0 {
			candidates = append(candidates, link)
			names = append(names, link.Attrs().Name)
		}
	}
	switch len(candidates) {
	case 1:
		return candidates[0], nil
	case 0:
		return nil, fmt.Errorf("%w: no interface has an address", ErrNoInterface)
	}
	return nil, fmt.Errorf("%w: %s have addresses, and there is no default route to choose one of them",
		ErrNoInterface, strings.Join(names, ", "))
}

// byDefaultRoute returns the interface of the best default route, or nil. IPv4 is
// preferred to IPv6, then the lowest metric.
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
			if link.Attrs().Flags&net.FlagLoopback == 0 && len(nextHops(&r, link.Attrs().Index)) > 0 {
				return link
			}
		}
	}
	return nil
}

// isUsable reports whether a guest can send Ethernet frames over an interface.
func isUsable(link netlink.Link) bool {
	a := link.Attrs()
	return a.Flags&net.FlagLoopback == 0 && a.Flags&net.FlagUp != 0 && len(a.HardwareAddr) == 6
}

// addresses returns an interface's addresses without those of link or host scope, and
// without temporary IPv6 addresses.
func (n *namespace) addresses(link netlink.Link) ([]netip.Prefix, error) {
	list, err := n.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list the addresses of %s: %w", link.Attrs().Name, err)
	}
	var addresses []netip.Prefix
	for _, a := range list {
		p := toPrefix(a.IPNet)
		// For IPv4, the same bit is IFA_F_SECONDARY; secondary addresses are kept.
		temporary := p.Addr().Is6() && a.Flags&unix.IFA_F_TEMPORARY != 0
		if p.IsValid() && a.Scope < unix.RT_SCOPE_LINK && !temporary {
			addresses = append(addresses, p)
		}
	}
	return addresses, nil
}

// addRoute records a route of the main table through the interface.
func (i *Interface) addRoute(r *netlink.Route, gateway netip.Addr) {
	switch {
	case r.Type != unix.RTN_UNICAST || r.Protocol == unix.RTPROT_KERNEL:
		return // to the interface's own subnets, which follow from its addresses
	case !isDefault(r):
		if to := toPrefix(r.Dst); to.IsValid() && !to.Addr().IsMulticast() {
			i.Routes = append(i.Routes, Route{Destination: to.Masked(), Gateway: gateway})
		}
	case gateway.Is4() && !i.Gateway4.IsValid():
		i.Gateway4 = gateway
	case gateway.Is6() && !i.Gateway6.IsValid():
		i.Gateway6 = gateway
	}
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
	if r.Type != unix.RTN_UNICAST {
		return false
	}
	if r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0 && r.Dst.IP.IsUnspecified()
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
