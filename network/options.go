// SPDX-License-Identifier: MPL-2.0

package network

import (
	"cmp"
	"errors"
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
	// LoopbackTarget says that the guest accepts packets to 127.0.0.1 from its interface
	// (net.ipv4.conf.all.route_localnet). Other guests receive them at their address.
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

var errNotImplemented = errors.New("not implemented")

// HostPort is a port of the host that leads to a guest.
type HostPort struct {
	Address netip.Addr // of the host; the zero Addr for all
	Port    uint16     // of the host
	Target  uint16     // of the guest
}

// HostOptions are the properties of a guest's link in the host's namespace.
type HostOptions struct {
	Subnet, Subnet6 netip.Prefix // networks of the links; the zero Prefix leaves a family out
	Ports           []HostPort
}

// AttachHost creates a tap in the host's network namespace, with an address, and an
// interface's description for the guest at its other end. Packets that the guest sends
// elsewhere leave with the host's address. The caller calls DetachHost when the guest has
// ended.
func AttachHost(o Options, h HostOptions) (*Tap, *Interface, error) {
	return nil, nil, errNotImplemented
}

// DetachHost removes the rules of a tap that AttachHost has created, and of all such taps
// that no longer exist. With the last one, it restores the host's settings.
func DetachHost(tap string) error { return errNotImplemented }

// AttachNowhere creates a tap in a namespace without any other interface. The kernel
// removes both with the tap's last descriptor.
func AttachNowhere(o Options) (*Tap, error) { return nil, errNotImplemented }

// Counters are the packets and bytes that have passed a guest's tap, as the guest sees
// them.
type Counters struct{ ReceivedPackets, ReceivedBytes, SentPackets, SentBytes, DroppedPackets uint64 }

// ReadCounters returns the counters of a tap in a namespace; "" is the host's.
func ReadCounters(netns, tap string) (Counters, error) { return Counters{}, errNotImplemented }
