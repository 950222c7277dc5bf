// SPDX-License-Identifier: MPL-2.0

package lkl

import "net/netip"

// Neighbors are addresses beyond the first interface. Packets to them reach tasks that
// have the same addresses as the guest. If the guest has no socket for a packet to
// 127.0.0.1, ::1 or the first interface's addresses, its kernel sends the packet to the
// neighbors instead. Programs in the guest and neighbors do not see these addresses. The
// zero Addr leaves an address out.
type Neighbors struct {
	// Loopback and Loopback6 stand for the neighbors' 127.0.0.1 and ::1.
	Loopback, Loopback6 netip.Addr
	// Address and Address6 stand for the first interface's addresses.
	Address, Address6 netip.Addr
}

func (v *validation) checkNeighbors(c Config) {
	n := c.Neighbors
	if n == (Neighbors{}) {
		return
	}
	if len(c.Interfaces) == 0 {
		v.addf("neighbors need an interface")
		return
	}
	own := c.Interfaces[0]
	v.checkNeighbor("loopback", n.Loopback, n.Loopback.Is4(), own.Address)
	v.checkNeighbor("loopback6", n.Loopback6, n.Loopback6.Is6(), own.Address6)
	v.checkNeighbor("address", n.Address, n.Address.Is4(), own.Address)
	v.checkNeighbor("address6", n.Address6, n.Address6.Is6(), own.Address6)
	if n.Address.IsValid() && !own.Address.IsValid() || n.Address6.IsValid() && !own.Address6.IsValid() {
		v.addf("neighbors: address and address6 need an address of their family on the first interface")
	}
	if n.Loopback.IsValid() && n.Loopback == n.Address || n.Loopback6.IsValid() && n.Loopback6 == n.Address6 {
		v.addf("neighbors: the two addresses of a family must differ")
	}
}

func (v *validation) checkNeighbor(key string, a netip.Addr, family bool, own netip.Prefix) {
	switch {
	case !a.IsValid():
	case !family || !isUnicast(a) || a.IsLoopback() || a.Is4In6() || a.Zone() != "":
		v.addf("neighbors: %s %s is not a unicast address of its family", key, a)
	case a == own.Addr():
		v.addf("neighbors: %s %s is the guest's address", key, a)
	}
}
