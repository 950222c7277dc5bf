// SPDX-License-Identifier: MPL-2.0

package matrix

import (
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// narrow is the MTU of the link between near and middle.
const narrow = 1300

// A family is IPv4 or IPv6, with the addresses of the network.
type family struct {
	name                   string
	alloc, near            string // on one link; near is the alloc's router
	nearMiddle, middleNear string
	middleFar              string
	far, farOther          string
	unreachable, lost      string // a network that near reports as unreachable, and an address in it
	any, allocNet, farNet  string
	ipHeader               int // bytes
}

var ipv4 = &family{
	name: "IPv4", alloc: "10.78.0.5", near: "10.78.0.1", nearMiddle: "10.79.0.1", middleNear: "10.79.0.2",
	middleFar: "10.80.0.1", far: "10.80.0.2", farOther: "10.80.0.3",
	unreachable: "10.81.0.0/24", lost: "10.81.0.9",
	any: "0.0.0.0/0", allocNet: "10.78.0.0/24", farNet: "10.80.0.0/24", ipHeader: 20,
}

var ipv6 = &family{
	name: "IPv6", alloc: "fd78::5", near: "fd78::1", nearMiddle: "fd79::1", middleNear: "fd79::2",
	middleFar: "fd80::1", far: "fd80::2", farOther: "fd80::3",
	unreachable: "fd81::/64", lost: "fd81::9",
	any: "::/0", allocNet: "fd78::/64", farNet: "fd80::/64", ipHeader: 40,
}

// prefix appends the length of a link's network to an address.
func (f *family) prefix(address string) string {
	if f == ipv4 {
		return address + "/24"
	}
	return address + "/64"
}

// endpoint joins an address and a port.
func endpoint(address string, port uint16) string {
	return netip.AddrPortFrom(netip.MustParseAddr(address), port).String()
}

// A topology is the network around an allocation. Near and middle are routers.
type topology struct {
	alloc, near, middle, far *namespace
	families                 []*family
}

// newTopology creates the network. alloc is the namespace of the allocation, or the host's.
func newTopology(t *testing.T, alloc *namespace, families []*family) *topology {
	t.Helper()
	n := &topology{
		alloc: alloc, near: newNamespace(t), middle: newNamespace(t), far: newNamespace(t), families: families,
	}
	connect(n.near, "alloc", n.alloc, "eth9", 1500)
	connect(n.near, "middle", n.middle, "near", narrow)
	connect(n.middle, "far", n.far, "eth9", 1500)
	for _, router := range []*namespace{n.near, n.middle} {
		router.sysctl("ipv4/ip_forward", "1")
		router.sysctl("ipv6/conf/all/forwarding", "1")
	}
	for _, f := range families {
		n.alloc.address("eth9", f.prefix(f.alloc))
		n.near.address("alloc", f.prefix(f.near))
		n.near.address("middle", f.prefix(f.nearMiddle))
		n.middle.address("near", f.prefix(f.middleNear))
		n.middle.address("far", f.prefix(f.middleFar))
		// The far host sends from the first IPv4 address, and from the last IPv6 address.
		if f == ipv4 {
			n.far.address("eth9", f.prefix(f.far), f.prefix(f.farOther))
		} else {
			n.far.address("eth9", f.prefix(f.farOther), f.prefix(f.far))
		}
		n.alloc.route(f.any, f.near)
		n.near.route(f.farNet, f.middleNear)
		n.near.routeWith(f.unreachable, netlink.Route{Type: unix.RTN_UNREACHABLE})
		n.middle.route(f.allocNet, f.nearMiddle)
		// The far host offers large segments even after it has learned the path's MTU.
		// Otherwise the guest would not have to learn it.
		n.far.routeWith(f.any, netlink.Route{Gw: net.ParseIP(f.middleFar), AdvMSS: 1500 - f.ipHeader - 20})
	}
	return n
}
