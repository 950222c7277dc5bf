// SPDX-License-Identifier: MPL-2.0

package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
)

// hostLink is the link between the host and a guest in host mode.
type hostLink struct {
	tap  string
	mac  net.HardwareAddr // of the guest
	mtu  int
	ends []linkEnds // one for each address family
}

// linkEnds are the addresses of a link in a family.
type linkEnds struct {
	family      *family
	subnet      netip.Prefix // of all links
	host, guest netip.Prefix
}

// newHostLink chooses the addresses for a tap. The kernel has numbered the tap with the
// first free number, and each number has its own part of the subnets.
func newHostLink(tap string, subnets []netip.Prefix) (*hostLink, error) {
	number, err := strconv.ParseUint(strings.TrimPrefix(tap, "lkl"), 10, 16)
	if err != nil {
		return nil, fmt.Errorf("tap %s: %w", tap, err)
	}
	link := &hostLink{tap: tap, mac: net.HardwareAddr{0x02, 'l', 'k', 'l', byte(number >> 8), byte(number)}}
	for _, subnet := range subnets {
		ends, err := linkOf(subnet, number)
		if err != nil {
			return nil, err
		}
		link.ends = append(link.ends, ends)
	}
	if len(link.ends) == 0 {
		return nil, fmt.Errorf("%w: no subnet is set", ErrHostSubnet)
	}
	return link, nil
}

// linkOf returns the addresses of a numbered link: a /30 or a /126, in which the host has
// the first address and the guest the second one.
func linkOf(subnet netip.Prefix, number uint64) (linkEnds, error) {
	subnet = subnet.Masked()
	const hostBits = 2
	free := subnet.Addr().BitLen() - hostBits - subnet.Bits()
	if free < 0 || free < 64 && number>>free != 0 {
		return linkEnds{}, fmt.Errorf("%w: %s is too small for %d guests", ErrHostSubnet, subnet, number+1)
	}
	at := func(i uint64) netip.Prefix {
		return netip.PrefixFrom(addTo(subnet.Addr(), number<<hostBits+i), subnet.Addr().BitLen()-hostBits)
	}
	return linkEnds{family: familyOf(subnet.Addr()), subnet: subnet, host: at(1), guest: at(2)}, nil
}

// addTo adds a number to an address.
func addTo(a netip.Addr, number uint64) netip.Addr {
	b := a.AsSlice()
	if a.Is4() {
		binary.BigEndian.PutUint32(b, binary.BigEndian.Uint32(b)+uint32(number))
	} else {
		binary.BigEndian.PutUint64(b[8:], binary.BigEndian.Uint64(b[8:])+number)
	}
	sum, _ := netip.AddrFromSlice(b)
	return sum
}

// guestInterface describes the guest's end of the link.
func (l *hostLink) guestInterface() *Interface {
	i := &Interface{Name: l.tap, MAC: l.mac, MTU: l.mtu}
	for _, end := range l.ends {
		i.Addresses = append(i.Addresses, end.guest)
		if end.family == ip4 {
			i.Gateway4 = end.host.Addr()
		} else {
			i.Gateway6 = end.host.Addr()
		}
	}
	return i
}

// end returns the link's addresses in a family, or nil.
func (l *hostLink) end(f *family) *linkEnds {
	for i := range l.ends {
		if l.ends[i].family == f {
			return &l.ends[i]
		}
	}
	return nil
}

// writeSettings sets the sysctls of the tap, which end with it.
func (l *hostLink) writeSettings() error {
	set := func(path, value string) error {
		return os.WriteFile(strings.Replace(path, "TAP", l.tap, 1), []byte(value), 0)
	}
	if l.end(ip4) != nil {
		// A process of the host that connects to a port at 127.0.0.1 sends from 127.0.0.1.
		if err := errors.Join(
			set("/proc/sys/net/ipv4/conf/TAP/route_localnet", "1"),
			set("/proc/sys/net/ipv4/conf/TAP/forwarding", "1"),
		); err != nil {
			return err
		}
	}
	if l.end(ip6) == nil {
		return disableIPv6(l.tap)
	}
	err := errors.Join(
		set("/proc/sys/net/ipv6/conf/TAP/accept_ra", "0"),
		set("/proc/sys/net/ipv6/conf/TAP/accept_dad", "0"),
	)
	if force := set("/proc/sys/net/ipv6/conf/TAP/force_forwarding", "1"); !errors.Is(force, fs.ErrNotExist) {
		err = errors.Join(err, force)
	}
	return err
}

// hostMTU returns the MTU of a guest's link: the smallest of the interfaces with a default
// route, so that a packet of the guest fits all of them.
func (n *hostNamespace) hostMTU(o Options) (int, error) {
	mtu := o.maxMTU()
	routes, err := n.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return 0, fmt.Errorf("list routes: %w", err)
	}
	links, err := n.LinkList()
	if err != nil {
		return 0, fmt.Errorf("list interfaces: %w", err)
	}
	found := false
	for _, r := range routes {
		for _, link := range links {
			if isDefault(&r) && len(nextHops(&r, link.Attrs().Index)) > 0 {
				mtu, found = min(mtu, link.Attrs().MTU), true
			}
		}
	}
	if !found {
		return min(mtu, MaxMTU), nil
	}
	return mtu, nil
}

// checkSubnets refuses subnets of the links that overlap addresses or routes of the host.
func (n *hostNamespace) checkSubnets(link *hostLink) error {
	state, err := n.table.read()
	if err != nil {
		return err
	}
	links, err := n.LinkList()
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	own := map[int]bool{}
	for _, l := range links {
		a := l.Attrs()
		if a.Name == link.tap || state.has(a.Name) {
			own[a.Index] = true
			continue
		}
		addresses, err := n.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			return fmt.Errorf("list the addresses of %s: %w", a.Name, err)
		}
		for _, address := range addresses {
			if err := link.checkOverlap(toPrefix(address.IPNet), a.Name); err != nil {
				return err
			}
		}
	}
	routes, err := n.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		if isDefault(&r) || own[r.LinkIndex] {
			continue
		}
		if err := link.checkOverlap(toPrefix(r.Dst), "a route"); err != nil {
			return err
		}
	}
	return nil
}

func (l *hostLink) checkOverlap(p netip.Prefix, user string) error {
	for _, end := range l.ends {
		if p.IsValid() && p.Overlaps(end.subnet) {
			return fmt.Errorf("%w: %s overlaps %s of %s", ErrHostSubnet, end.subnet, p, user)
		}
	}
	return nil
}

func toIPNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
