// SPDX-License-Identifier: MPL-2.0

package network

import (
	"errors"
	"net"
	"os"
	"testing"

	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"
)

// Addresses of the peer that no interface's network contains.
const (
	outside4 = "198.51.100.1"
	outside6 = "2001:db8::1"
)

// A cniNetwork sets up an alloc and its peer as a CNI plugin does.
type cniNetwork struct {
	name      string
	setUp     func(a *alloc)
	addresses []string // of the alloc's interface
	gateways  []string // addresses of the peer's interface
	routes    []netlink.Route
	back      []string // the peer's on-link routes to the alloc
	only4     bool     // there is no proxy for IPv6 neighbors
}

func cniNetworks() []cniNetwork {
	gw := net.ParseIP
	return []cniNetwork{
		{
			name: "bridge", setUp: (*alloc).bridged,
			addresses: []string{"10.1.0.2/24", "fd01::2/64"},
			gateways:  []string{"10.1.0.1/24", "fd01::1/64"},
			routes:    []netlink.Route{{Gw: gw("10.1.0.1")}, {Gw: gw("fd01::1")}},
		},
		{
			name: "macvlan", setUp: (*alloc).macvlan,
			addresses: []string{"10.1.0.2/24", "fd01::2/64"},
			gateways:  []string{"10.1.0.1/24", "fd01::1/64"},
			routes:    []netlink.Route{{Gw: gw("10.1.0.1")}, {Gw: gw("fd01::1")}},
		},
		{
			name: "ptp", setUp: (*alloc).direct,
			addresses: []string{"10.1.0.2/24", "fd01::2/64"},
			gateways:  []string{"10.1.0.1/32", "fd01::1/128"},
			routes: []netlink.Route{
				{Dst: ipNet("10.1.0.1/32"), Scope: netlink.SCOPE_LINK},
				{Dst: ipNet("10.1.0.0/24"), Gw: gw("10.1.0.1"), Priority: -1},
				{Gw: gw("10.1.0.1")},
				{Dst: ipNet("fd01::1/128")},
				{Dst: ipNet("fd01::/64"), Gw: gw("fd01::1"), Priority: -1},
				{Gw: gw("fd01::1")},
			},
			back: []string{"10.1.0.2/32", "fd01::2/128"},
		},
		{
			name: "single hosts with a gateway outside", setUp: (*alloc).direct,
			addresses: []string{"10.1.0.2/32", "fd01::2/128"},
			gateways:  []string{"169.254.1.1/32", "fe80::1/64"},
			routes: []netlink.Route{
				{Gw: gw("169.254.1.1"), Flags: int(netlink.FLAG_ONLINK)},
				{Gw: gw("fe80::1")},
			},
			back: []string{"10.1.0.2/32", "fd01::2/128"},
		},
		{
			name: "/31 and /127", setUp: (*alloc).direct,
			addresses: []string{"10.1.0.2/31", "fd01::2/127"},
			gateways:  []string{"10.1.0.3/31", "fd01::3/127"},
			routes:    []netlink.Route{{Gw: gw("10.1.0.3")}, {Gw: gw("fd01::3")}},
		},
		{
			name: "no gateway", setUp: (*alloc).direct,
			addresses: []string{"10.1.0.2/32", "fd01::2/128"},
			gateways:  []string{"10.1.0.1/32", "fd01::1/64"},
			routes:    []netlink.Route{{Dst: ipNet("0.0.0.0/0"), Scope: netlink.SCOPE_LINK}, {Dst: ipNet("::/0")}},
			back:      []string{"10.1.0.2/32"},
			only4:     true,
		},
	}
}

// make sets up the namespaces. The peer answers at outside4 and outside6, too.
func (c cniNetwork) make(t *testing.T) *alloc {
	t.Helper()
	a := &alloc{t: t, path: newNamespace(t), peer: newNamespace(t), name: "eth0"}
	c.setUp(a)
	a.address(a.peer, "lo", outside4+"/32", outside6+"/128")
	a.address(a.peer, "peer7", c.gateways...)
	a.address(a.path, a.name, c.addresses...)
	for _, r := range c.routes {
		if r.Priority < 0 { // in the place of the kernel's route
			a.in(a.path, func(n *namespace) error { return n.deleteConnected(r.Dst) })
			r.Priority = 0
		}
		a.addRoute(a.name, r)
	}
	a.in(a.peer, func(n *namespace) error {
		link, err := n.LinkByName("peer7")
		for _, to := range c.back {
			err = errors.Join(err, n.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(to), Scope: netlink.SCOPE_LINK}))
		}
		// For an alloc without a gateway, the peer answers for every address.
		return errors.Join(err, os.WriteFile("/proc/sys/net/ipv4/conf/peer7/proxy_arp", []byte("1"), 0))
	})
	return a
}

// direct connects the alloc and its peer by a veth pair.
func (a *alloc) direct() { a.vethTo(a.peer, "peer7") }

// vethTo adds the alloc's interface, a veth whose other end is in another namespace.
func (a *alloc) vethTo(path, name string) {
	ns, err := os.Open(path)
	must.NoError(a.t, err)
	defer ns.Close()
	a.in(a.path, func(n *namespace) error {
		return n.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: a.name}, PeerName: name, PeerNamespace: netlink.NsFd(ns.Fd()),
		})
	})
}

// bridged connects the alloc to a bridge, which is the peer's interface.
func (a *alloc) bridged() {
	a.vethTo(a.peer, "port7")
	a.in(a.peer, func(n *namespace) error {
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "peer7"}}
		if err := n.LinkAdd(bridge); err != nil {
			return err
		}
		port, err := n.LinkByName("port7")
		return errors.Join(err, n.LinkSetMaster(port, bridge), n.LinkSetUp(port))
	})
}

// macvlan gives the alloc a macvlan of an interface that leads to the peer. The host, a
// third namespace, has this interface.
func (a *alloc) macvlan() {
	host := &alloc{t: a.t, path: newNamespace(a.t), name: "uplink"}
	host.vethTo(a.peer, "peer7")
	host.address(host.path, host.name)
	ns, err := os.Open(a.path)
	must.NoError(a.t, err)
	defer ns.Close()
	host.in(host.path, func(n *namespace) error {
		parent, err := n.LinkByName(host.name)
		if err != nil {
			return err
		}
		return n.LinkAdd(&netlink.Macvlan{
			LinkAttrs: netlink.LinkAttrs{
				Name: a.name, ParentIndex: parent.Attrs().Index, Namespace: netlink.NsFd(ns.Fd()),
			},
			Mode: netlink.MACVLAN_MODE_BRIDGE,
		})
	})
}

func TestAttachL2_ConnectsGuestToCNINetworks(t *testing.T) {
	for _, c := range cniNetworks() {
		t.Run(c.name, func(t *testing.T) {
			a := c.make(t)
			g := newGuest(t, a, a.attach())
			for network, address := range map[string]string{"tcp4": "10.1.0.2", "tcp6": "fd01::2"} {
				go serveEcho(listen(t, g.path, network, net.JoinHostPort(address, "7")))
				a.echo(t, network, address)
			}
			for network, address := range map[string]string{"tcp4": outside4, "tcp6": outside6} {
				if c.only4 && network == "tcp6" {
					continue
				}
				go serveEcho(listen(t, a.peer, network, net.JoinHostPort(address, "8")))
				checkEcho(t, dial(t, g.path, network, net.JoinHostPort(address, "8")))
			}
		})
	}
}

func TestAttachShared_WorksInCNINetworks(t *testing.T) {
	for _, c := range cniNetworks() {
		t.Run(c.name, func(t *testing.T) {
			a := c.make(t)
			g := a.share(t, Options{}, declared(guestPort))
			for _, address := range []string{"10.1.0.2", "fd01::2"} {
				serve(t, g.path, address, guestPort)
				serve(t, a.path, address, neighborPort)
				reaches(t, a.peer, address, guestPort)
				reaches(t, a.peer, address, neighborPort)
				reaches(t, a.path, address, guestPort)
			}
			for _, address := range []string{outside4, outside6} {
				if c.only4 && address == outside6 {
					continue
				}
				serve(t, a.peer, address, peerPort)
				reaches(t, g.path, address, peerPort)
				reaches(t, a.path, address, peerPort)
			}
		})
	}
}
