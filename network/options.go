// SPDX-License-Identifier: MPL-2.0

package network

import (
	"cmp"
	"net/netip"
)

// Options are the properties of a guest's tap.
type Options struct {
	Interface     string // of the namespace; "" for that of the default route
	Offload       bool   // only for guests that support it; see SetOffload
	AllowSpoofing bool   // pass frames with any sender
	BlockMetadata bool   // drop the guest's packets to the metadata services of clouds
	MaxMTU        int    // largest MTU that the guest supports, in bytes; 0 for MaxMTU
	Bandwidth     Bandwidth
}

// maxMTU returns the largest MTU of the tap.
func (o Options) maxMTU() int {
	return min(cmp.Or(o.MaxMTU, MaxMTU), MaxTapMTU)
}

// Bandwidth limits a guest, in bits per second. 0 means unlimited.
type Bandwidth struct {
	Ingress uint64 // to the guest
	Egress  uint64 // from the guest
}

// PortRange is a range of TCP and UDP ports. Both ends belong to it.
type PortRange struct{ First, Last uint16 }

// Sharing says which packets to the allocation's address are for a guest that shares
// this address with its neighbors: other guests, and processes in the namespace.
type Sharing struct {
	// TCP and UDP are the ports on which only this guest answers.
	TCP, UDP []PortRange
	// Rest gives the guest every other port that no neighbor uses at the moment.
	Rest bool
	// AnyPort says that the guest may take other ports than those of Tap.Ephemeral for its
	// own connections. It gets the ports that no neighbor uses and no guest with Rest has.
	AnyPort bool
	// LoopbackTarget says that the guest exchanges packets from and to 127.0.0.1 and ::1
	// with the aliases of its neighbors. Other guests use their address instead.
	LoopbackTarget bool
}

// Addresses by which a guest in shared mode reaches its neighbors, and under which it
// sees them. The guest has the allocation's address, so packets to this address would not
// leave it. 192.0.0.0/29 never leaves a host (RFC 7335).
var (
	NeighborLoopback  = netip.MustParseAddr("192.0.0.1") // 127.0.0.1 of the neighbors
	NeighborAddress   = netip.MustParseAddr("192.0.0.2") // the allocation's address
	NeighborLoopback6 = netip.MustParseAddr("fd6c:6b6c:6c6b::1")
	NeighborAddress6  = netip.MustParseAddr("fd6c:6b6c:6c6b::2")
)
