// SPDX-License-Identifier: MPL-2.0

package network

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestInspect_ReadsAddressesAndRoutes(t *testing.T) {
	a := newAlloc(t, 1450)
	a.address(a.path, a.name, "10.77.0.3/24", "192.0.2.9/32", "fd77::3/64")
	a.route("198.51.100.0/24", "10.77.0.254", 0)
	a.route("2001:db8::/32", "fd77::fe", 0)
	found, err := Inspect(a.path, "")
	must.NoError(t, err)
	must.Eq(t, &Interface{
		Name: "alloc7", MAC: a.mac, MTU: 1450,
		Addresses: []netip.Prefix{
			netip.MustParsePrefix("10.77.0.2/24"), netip.MustParsePrefix("192.0.2.9/32"),
			netip.MustParsePrefix("10.77.0.3/24"),
			netip.MustParsePrefix("fd77::2/64"), netip.MustParsePrefix("fd77::3/64"),
		},
		Gateway4: netip.MustParseAddr(peer4), Gateway6: netip.MustParseAddr(peer6),
		Routes: []Route{
			{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParseAddr("10.77.0.254")},
			{netip.MustParsePrefix("2001:db8::/32"), netip.MustParseAddr("fd77::fe")},
		},
	}, found)
	must.Eq(t, 6, len(found.MAC))
}

// An emptyAlloc has a veth pair like newAlloc, without addresses and routes.
func newEmptyAlloc(t *testing.T) *alloc {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Tun)
	a := &alloc{t: t, path: newNamespace(t), name: "eth0"}
	a.veth(a.name)
	return a
}

// veth adds a veth pair with both ends in the alloc. The far end is down, has no address,
// and is called as the near one with an x.
func (a *alloc) veth(name string) {
	a.t.Helper()
	a.in(a.path, func(n *namespace) error {
		return n.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "x"})
	})
	a.address(a.path, name+"x")
}

// addRoute adds a route of any kind by an interface.
func (a *alloc) addRoute(name string, r netlink.Route) {
	a.t.Helper()
	a.in(a.path, func(n *namespace) error {
		link, err := n.LinkByName(name)
		if err != nil {
			return err
		}
		for _, hop := range r.MultiPath {
			hop.LinkIndex = link.Attrs().Index
		}
		if r.MultiPath == nil && r.Type != unix.RTN_BLACKHOLE {
			r.LinkIndex = link.Attrs().Index
		}
		return n.RouteAdd(&r)
	})
}

func ipNet(text string) *net.IPNet {
	p := netip.MustParsePrefix(text)
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// texts renders an interface's addresses, gateways and routes.
func texts(i *Interface) (out []string) {
	for _, p := range i.Addresses {
		out = append(out, p.String())
	}
	for _, gateway := range []netip.Addr{i.Gateway4, i.Gateway6} {
		if gateway.IsValid() {
			out = append(out, "default via "+gateway.String())
		}
	}
	for _, r := range i.Routes {
		text := r.Destination.String()
		if r.Gateway.IsValid() {
			text += " via " + r.Gateway.String()
		}
		out = append(out, text)
	}
	return out
}

func TestInspect_ReadsEveryShapeOfNetwork(t *testing.T) {
	gw := net.ParseIP
	onlink := int(netlink.FLAG_ONLINK)
	for name, c := range map[string]struct {
		addresses []string
		routes    []netlink.Route
		want      []string
	}{
		"IPv4 only": {
			addresses: []string{"10.1.0.2/24"},
			routes:    []netlink.Route{{Gw: gw("10.1.0.1")}},
			want:      []string{"10.1.0.2/24", "default via 10.1.0.1"},
		},
		"IPv6 only": {
			addresses: []string{"fd01::2/64"},
			routes:    []netlink.Route{{Gw: gw("fd01::1")}},
			want:      []string{"fd01::2/64", "default via fd01::1"},
		},
		"/31 and /127": {
			addresses: []string{"10.1.0.2/31", "fd01::2/127"},
			routes:    []netlink.Route{{Gw: gw("10.1.0.3")}, {Gw: gw("fd01::3")}},
			want:      []string{"10.1.0.2/31", "fd01::2/127", "default via 10.1.0.3", "default via fd01::3"},
		},
		"single host with a gateway outside": {
			addresses: []string{"10.1.0.2/32", "fd01::2/128"},
			routes: []netlink.Route{
				{Gw: gw("169.254.1.1"), Flags: onlink},
				{Gw: gw("fe80::1")},
			},
			want: []string{"10.1.0.2/32", "fd01::2/128", "default via 169.254.1.1", "default via fe80::1"},
		},
		"ptp": {
			addresses: []string{"10.1.0.2/24", "fd01::2/64"},
			routes: []netlink.Route{
				{Dst: ipNet("10.1.0.1/32"), Scope: netlink.SCOPE_LINK},
				{Dst: ipNet("10.1.0.0/24"), Gw: gw("10.1.0.1"), Priority: -1},
				{Gw: gw("10.1.0.1")},
				{Dst: ipNet("fd01::1/128"), Scope: netlink.SCOPE_LINK},
				{Dst: ipNet("fd01::/64"), Gw: gw("fd01::1"), Priority: -1},
				{Gw: gw("fd01::1")},
			},
			want: []string{
				"10.1.0.2/32", "fd01::2/128", "default via 10.1.0.1", "default via fd01::1",
				"10.1.0.1/32", "fd01::1/128", "10.1.0.0/24 via 10.1.0.1", "fd01::/64 via fd01::1",
			},
		},
		"default route without a gateway": {
			addresses: []string{"10.1.0.2/24", "fd01::2/64"},
			routes:    []netlink.Route{{Dst: ipNet("0.0.0.0/0"), Scope: netlink.SCOPE_LINK}, {Dst: ipNet("::/0")}},
			want:      []string{"10.1.0.2/24", "fd01::2/64", "0.0.0.0/0", "::/0"},
		},
		"lowest metric of several routes": {
			addresses: []string{"10.1.0.2/24", "fd01::2/64"},
			routes: []netlink.Route{
				{Gw: gw("10.1.0.9"), Priority: 20},
				{Gw: gw("10.1.0.1"), Priority: 10},
				{Gw: gw("fd01::9"), Priority: 20},
				{Gw: gw("fd01::1"), Priority: 10},
				{Dst: ipNet("10.2.0.0/16"), Gw: gw("10.1.0.8"), Priority: 7},
				{Dst: ipNet("10.2.0.0/16"), Gw: gw("10.1.0.7"), Priority: 3},
			},
			want: []string{"10.1.0.2/24", "fd01::2/64", "default via 10.1.0.1", "default via fd01::1", "10.2.0.0/16 via 10.1.0.7"},
		},
		"on-link routes first": {
			addresses: []string{"10.1.0.2/32", "fd01::2/128"},
			routes: []netlink.Route{
				{Dst: ipNet("10.5.0.0/24"), Scope: netlink.SCOPE_LINK},
				{Dst: ipNet("10.4.0.0/24"), Gw: gw("10.5.0.1")},
				{Dst: ipNet("fd05::/64")},
				{Dst: ipNet("fd04::/64"), Gw: gw("fd05::1")},
			},
			want: []string{
				"10.1.0.2/32", "fd01::2/128", "10.5.0.0/24", "fd05::/64",
				"10.4.0.0/24 via 10.5.0.1", "fd04::/64 via fd05::1",
			},
		},
		"one of several next hops": {
			addresses: []string{"10.1.0.2/24"},
			routes: []netlink.Route{
				{Dst: ipNet("10.2.0.0/16"), MultiPath: []*netlink.NexthopInfo{{Gw: gw("10.1.0.7")}, {Gw: gw("10.1.0.8")}}},
				{Type: unix.RTN_BLACKHOLE, Dst: ipNet("10.3.0.0/16")},
			},
			want: []string{"10.1.0.2/24", "10.2.0.0/16 via 10.1.0.7"},
		},
		"gateway of the other family": {
			addresses: []string{"10.1.0.2/24", "fd01::2/64"},
			routes:    []netlink.Route{{Via: &netlink.Via{AddrFamily: unix.AF_INET6, Addr: gw("fd01::1")}, Dst: ipNet("0.0.0.0/0")}},
			want:      []string{"10.1.0.2/24", "fd01::2/64", "0.0.0.0/0 via fd01::1"},
		},
		"router of a family without an address": {
			addresses: []string{"10.1.0.2/24"},
			routes:    []netlink.Route{{Gw: gw("10.1.0.1")}, {Gw: gw("fe80::1")}, {Dst: ipNet("fd04::/64"), Gw: gw("fe80::1")}},
			want:      []string{"10.1.0.2/24", "default via 10.1.0.1"},
		},
		"source-based routing": {
			addresses: []string{"10.1.0.2/24"},
			routes: []netlink.Route{
				{Table: 100, Gw: gw("10.1.0.1"), Flags: onlink},
				{Table: 100, Dst: ipNet("10.2.0.0/16"), Gw: gw("10.1.0.1"), Flags: onlink},
			},
			want: []string{"10.1.0.2/24", "default via 10.1.0.1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newEmptyAlloc(t)
			a.address(a.path, a.name, c.addresses...)
			for _, r := range c.routes {
				if r.Priority < 0 { // in the place of the kernel's route
					a.in(a.path, func(n *namespace) error { return n.deleteConnected(r.Dst) })
					r.Priority = 0
				}
				a.addRoute(a.name, r)
			}
			found, err := Inspect(a.path, "")
			must.NoError(t, err)
			must.Eq(t, c.want, texts(found))
		})
	}
}

// deleteConnected removes the route that the kernel has added for an address.
func (n *namespace) deleteConnected(to *net.IPNet) error {
	routes, err := n.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Dst: to}, netlink.RT_FILTER_DST)
	if err == nil && len(routes) != 1 {
		err = fmt.Errorf("%d routes to %s", len(routes), to)
	}
	if err != nil {
		return err
	}
	return n.RouteDel(&routes[0])
}
