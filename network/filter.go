// SPDX-License-Identifier: MPL-2.0

package network

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/bpf"
)

// The results of the filter program. See withVerdicts for a program without an action.
const (
	drop = 0
	pass = 1<<32 - 1
)

// Offsets in a frame. The headers of all protocols but ICMP, IGMP and UDP over IPv4,
// which follow the IPv4 options, are at fixed offsets.
const (
	etherSource  = 6
	etherType    = 12
	etherPayload = 14 // the header of ARP, IPv4 or IPv6

	arpFormat    = etherPayload
	arpSizes     = etherPayload + 4
	arpOperation = etherPayload + 6
	arpSenderMAC = etherPayload + 8
	arpSender    = etherPayload + 14
	arpTarget    = etherPayload + 24

	ip4Fragment = etherPayload + 6
	ip4Protocol = etherPayload + 9
	ip4Source   = etherPayload + 12
	ip4Target   = etherPayload + 16
	ip4Payload  = etherPayload + 20 // without options

	ip6Length     = etherPayload + 4
	ip6NextHeader = etherPayload + 6
	ip6Source     = etherPayload + 8
	ip6Target     = etherPayload + 24
	ip6Payload    = etherPayload + 40
)

const udpDestination = 2 // in the UDP header

// Ports on which a client receives the answers of a DHCP server.
const (
	dhcp4Client = 68
	dhcp6Client = 546
)

// owner is the identity that a guest may use in the frames that it sends.
type owner struct {
	mac        net.HardwareAddr
	addresses4 [][]uint32 // in words of 32 bits, as bpf.Program compares them
	addresses6 [][]uint32
}

// ownerOf returns the identity of the guest that takes the place of an interface: its
// MAC, its addresses, and the IPv6 link-local address that follows from the MAC.
func ownerOf(i *Interface) owner {
	o := owner{mac: i.MAC, addresses6: [][]uint32{wordsOf(linkLocal(i.MAC))}}
	for _, p := range i.Addresses {
		if p.Addr().Is4() {
			o.addresses4 = append(o.addresses4, wordsOf(p.Addr()))
		} else {
			o.addresses6 = append(o.addresses6, wordsOf(p.Addr()))
		}
	}
	return o
}

// linkLocal returns the link-local address that IPv6 derives from a MAC (RFC 4291,
// appendix A). Linux and the other guests use it.
func linkLocal(mac net.HardwareAddr) netip.Addr {
	return netip.AddrFrom16([16]byte{
		0: 0xfe, 1: 0x80,
		8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5],
	})
}

func wordsOf(a netip.Addr) (words []uint32) {
	for b := a.AsSlice(); len(b) > 0; b = b[4:] {
		words = append(words, binary.BigEndian.Uint32(b))
	}
	return words
}

// A frameFilter is a program over the frames that a guest sends.
type frameFilter struct {
	bpf.Program
	owner         owner
	blockMetadata bool
	length        uint32 // every frame that reaches this point has so many bytes
}

// filter returns a program that passes ARP, IPv4 and IPv6 from the owner's addresses, and
// drops all other frames.
func (o owner) filter(blockMetadata bool) bpf.Program {
	f := frameFilter{owner: o, blockMetadata: blockMetadata}
	f.need(etherPayload)
	f.LoadVLANTagPresent()
	f.ReturnIf(bpf.NotEqual(0), drop)
	f.requireMAC(etherSource)
	f.LoadHalf(etherType)
	f.when(bpf.Equal(unix.ETH_P_ARP), (*frameFilter).arp)
	f.when(bpf.Equal(unix.ETH_P_IP), (*frameFilter).ip4)
	f.when(bpf.Equal(unix.ETH_P_IPV6), (*frameFilter).ip6)
	f.Return(drop)
	return f.Program
}

// when runs body if c holds. Every path through body ends in a return.
func (f *frameFilter) when(c bpf.Condition, body func(*frameFilter)) {
	f.When(c, func(p *bpf.Program) { *p = f.branch(body) })
}

// branch builds a part of the program that only some frames run.
func (f *frameFilter) branch(body func(*frameFilter)) bpf.Program {
	inner := frameFilter{owner: f.owner, blockMetadata: f.blockMetadata, length: f.length}
	body(&inner)
	return inner.Program
}

// need drops frames of less than a number of bytes. A load beyond the end of a frame would
// end the program with 0, which passes the frame in a program with verdicts.
func (f *frameFilter) need(length uint32) {
	if length <= f.length {
		return
	}
	f.LoadLength()
	f.ReturnIf(bpf.Below(length), drop)
	f.length = length
}

// needAfterX drops frames that have less than a number of bytes in addition to the X bytes of the
// IPv4 header.
func (f *frameFilter) needAfterX(length uint32) {
	const longest = 1 << 20 // no frame is as long: the header is longer than the frame
	f.LoadLength()
	f.SubtractX()
	f.ReturnIf(bpf.Below(length), drop)
	f.ReturnIf(bpf.Above(longest), drop)
}

func (f *frameFilter) requireMAC(offset uint32) {
	f.Load(offset)
	f.ReturnIf(bpf.NotEqual(binary.BigEndian.Uint32(f.owner.mac)), drop)
	f.requireHalf(offset+4, binary.BigEndian.Uint16(f.owner.mac[4:]))
}

func (f *frameFilter) requireHalf(offset uint32, value uint16) {
	f.LoadHalf(offset)
	f.ReturnIf(bpf.NotEqual(uint32(value)), drop)
}

func (f *frameFilter) requireWord(offset, value uint32) {
	f.Load(offset)
	f.ReturnIf(bpf.NotEqual(value), drop)
}

func (f *frameFilter) requireOwn4(offset uint32) {
	f.ReturnUnlessOneOf(offset, f.owner.addresses4, drop)
}

func (f *frameFilter) requireOwn6(offset uint32) {
	f.ReturnUnlessOneOf(offset, f.owner.addresses6, drop)
}

// arp passes requests and replies of an own address. A request without a sender's
// address, which detects duplicates (RFC 5227), must ask for an own address, or else it
// would look like a conflict to another host that is about to take the address.
func (f *frameFilter) arp() {
	f.need(arpTarget + 4)
	f.requireWord(arpFormat, 1<<16|unix.ETH_P_IP) // Ethernet, IPv4
	f.requireHalf(arpSizes, 6<<8|4)
	f.requireMAC(arpSenderMAC)
	f.Load(arpSender)
	f.when(bpf.Equal(0), func(f *frameFilter) {
		f.requireHalf(arpOperation, 1)
		f.requireOwn4(arpTarget)
		f.Return(pass)
	})
	f.requireOwn4(arpSender)
	f.LoadHalf(arpOperation)
	f.ReturnIf(bpf.Above(2), drop) // neither a request nor a reply
	f.Return(pass)
}

// ip4 passes packets of an own address, and IGMP of a host that has no address yet.
func (f *frameFilter) ip4() {
	const igmpQuery = 0x11
	f.need(ip4Payload)
	f.LoadHeaderLength(etherPayload)
	if f.blockMetadata {
		f.dropMetadata4()
	}
	f.Load(ip4Source)
	f.when(bpf.Equal(0), func(f *frameFilter) {
		f.LoadByte(ip4Protocol)
		f.ReturnIf(bpf.NotEqual(unix.IPPROTO_IGMP), drop)
		f.dropTypes4(igmpQuery)
	})
	f.requireOwn4(ip4Source)
	f.payload4(igmpQuery)
}

// payload4 drops messages of routers and DHCP servers, and passes the rest. The first 8
// bytes of the payload, which contain the ports or the type of a message, are always in
// the first fragment.
func (f *frameFilter) payload4(igmpQuery uint32) {
	const icmpRedirect, icmpRouterAdvertisement = 5, 9
	f.LoadHalf(ip4Fragment)
	f.ReturnIf(bpf.AnyBit(0x1fff), pass) // not the first fragment
	f.LoadByte(ip4Protocol)
	f.when(bpf.Equal(unix.IPPROTO_UDP), func(f *frameFilter) {
		f.needAfterX(etherPayload + udpDestination + 2)
		f.LoadHalfAfterX(etherPayload + udpDestination)
		f.ReturnIf(bpf.Equal(dhcp4Client), drop)
		f.Return(pass)
	})
	f.when(bpf.Equal(unix.IPPROTO_ICMP), func(f *frameFilter) {
		f.dropTypes4(icmpRedirect, icmpRouterAdvertisement)
	})
	f.when(bpf.Equal(unix.IPPROTO_IGMP), func(f *frameFilter) { f.dropTypes4(igmpQuery) })
	f.Return(pass)
}

// dropTypes4 drops messages of ICMP or IGMP by their type, and passes the others.
func (f *frameFilter) dropTypes4(types ...uint32) {
	f.needAfterX(etherPayload + 1)
	f.LoadByteAfterX(etherPayload)
	for _, t := range types {
		f.ReturnIf(bpf.Equal(t), drop)
	}
	f.Return(pass)
}
