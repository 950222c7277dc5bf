// SPDX-License-Identifier: MPL-2.0

package network

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inspect describes the interface of a name, or the allocation's if the name is "".
func (n *namespace) inspect(name string) (*Interface, error) {
	routes, err := n.routes()
	if err != nil {
		return nil, err
	}
	link, err := n.chooseInterface(name, routes)
	if err != nil {
		return nil, err
	}
	attrs := link.Attrs()
	found := &Interface{Name: attrs.Name, MAC: attrs.HardwareAddr, MTU: attrs.MTU}
	addresses, err := n.addresses(link, routes)
	if err != nil {
		return nil, err
	}
	found.Addresses = addresses.usable
	if len(found.Addresses) == 0 && name == "" {
		return nil, fmt.Errorf("%w: %s", ErrNoInterface, addresses.missing(attrs.Name))
	}
	found.setRoutes(routes, attrs.Index)
	return found, nil
}

// chooseInterface returns the interface of a name. Without a name, it returns that of the
// default route, or else the only one with an address.
func (n *namespace) chooseInterface(name string, routes []netlink.Route) (netlink.Link, error) {
	all, err := n.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	links := slices.DeleteFunc(all, leadsNowhere)
	if name != "" {
		return byName(links, name)
	}
	if len(links) == 0 {
		return nil, fmt.Errorf("%w: %w", ErrNoInterface, ErrOnlyLoopback)
	}
	if link := byDefaultRoute(links, routes); link != nil {
		if problem := unusable(link); problem != "" {
			return nil, fmt.Errorf("%w: the default route leads through %s, but %s", ErrNoInterface, link.Attrs().Name, problem)
		}
		return link, nil
	}
	return n.byAddress(links, routes)
}

// leadsNowhere reports whether a link is the loopback interface or the tap of a guest.
func leadsNowhere(link netlink.Link) bool {
	tap, ok := link.(*netlink.Tuntap)
	return link.Attrs().Flags&net.FlagLoopback != 0 || ok && tap.Mode == netlink.TUNTAP_MODE_TAP && tap.NonPersist
}

func byName(links []netlink.Link, name string) (netlink.Link, error) {
	i := slices.IndexFunc(links, func(l netlink.Link) bool { return l.Attrs().Name == name || slices.Contains(l.Attrs().AltNames, name) })
	if i < 0 {
		return nil, fmt.Errorf("%w: the network has no interface %q; it has %s", ErrNoInterface, name, namesOf(links))
	}
	if problem := unusable(links[i]); problem != "" {
		return nil, fmt.Errorf("%w: %s", ErrNoInterface, problem)
	}
	return links[i], nil
}

func namesOf(links []netlink.Link) string {
	if len(links) == 0 {
		return "only lo"
	}
	var names []string
	for _, l := range links {
		names = append(names, l.Attrs().Name)
	}
	return strings.Join(names, ", ")
}

// byDefaultRoute returns the interface of the best default route of the main table, or
// nil. The routes are in the order of preference.
func byDefaultRoute(links []netlink.Link, routes []netlink.Route) netlink.Link {
	for _, r := range routes {
		if r.Table != unix.RT_TABLE_MAIN || !isDefault(&r) {
			continue
		}
		for _, link := range links {
			if len(nextHops(&r, link.Attrs().Index)) > 0 {
				return link
			}
		}
	}
	return nil
}

// byAddress returns the only usable interface that has an address.
func (n *namespace) byAddress(links []netlink.Link, routes []netlink.Route) (netlink.Link, error) {
	var candidates []netlink.Link
	var problems []string
	for _, link := range links {
		addresses, err := n.addresses(link, routes)
		if err != nil {
			return nil, err
		}
		problem := unusable(link)
		switch {
		case len(addresses.usable) == 0:
			problems = append(problems, addresses.missing(link.Attrs().Name))
		case problem != "":
			problems = append(problems, problem)
		default:
			candidates = append(candidates, link)
		}
	}
	switch len(candidates) {
	case 1:
		return candidates[0], nil
	case 0:
		return nil, fmt.Errorf("%w: %s", ErrNoInterface, strings.Join(problems, "; "))
	}
	return nil, fmt.Errorf("%w: %s have addresses, and there is no default route to choose one of them: "+
		"choose one by interface \"DEVICE\" { name = \"NAME\" } in the task's config", ErrNoInterface, namesOf(candidates))
}

// unusable returns the reason why a guest cannot send Ethernet frames over an interface,
// beginning with its name. It returns "" for a usable one.
func unusable(link netlink.Link) string {
	a := link.Attrs()
	switch {
	case a.Flags&net.FlagUp == 0:
		return a.Name + " is down: the CNI configuration must bring it up"
	case a.EncapType != "ether" || len(a.HardwareAddr) != 6:
		return fmt.Sprintf("%s carries no Ethernet frames (link type %s), which a guest needs: "+
			"use a network of CNI's plugin bridge, ptp or macvlan", a.Name, a.EncapType)
	case a.RawFlags&unix.IFF_NOARP != 0:
		return a.Name + " does no ARP (NOARP), as ipvlan in the modes l3 and l3s, so a guest behind it finds no neighbor: " +
			"use ipvlan's mode l2, or CNI's plugin bridge, ptp or macvlan"
	}
	return ""
}
