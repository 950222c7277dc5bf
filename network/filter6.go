// SPDX-License-Identifier: MPL-2.0

package network

import (
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/bpf"
)

// Types of ICMPv6. Those below icmp6Informational are errors, echo requests and echo
// replies, which pass.
const (
	icmp6Query           = 130 // of multicast listeners, by a router
	icmp6Report          = 131
	icmp6Done            = 132
	routerSolicitation   = 133
	neighborSolicitation = 135
	neighborAdvert       = 136
	icmp6Report2         = 143
	icmp6Informational   = icmp6Query
)

// Offsets in neighbor discovery messages. Each may have one option of 8 bytes after its
// fixed part.
const (
	ndTarget         = ip6Payload + 8
	ndOption         = ip6Payload + 24 // of solicitations and advertisements of neighbors
	ndOptionOfRouter = ip6Payload + 8  // of router solicitations
)

// The first two bytes of an option of neighbor discovery: its type and a length of 8 bytes.
const (
	ndSourceMAC = 1<<8 | 1
	ndTargetMAC = 2<<8 | 1
	ndNonce     = 14<<8 | 1
)

const fragmentSize = 8 // of the fragment header

// ip6 passes packets of an own address. Of the extension headers, it passes a fragment
// header, and the hop-by-hop options of multicast listener reports: a message that must
// not pass could hide behind all others.
func (f *frameFilter) ip6() {
	f.need(ip6Payload)
	if f.blockMetadata {
		f.dropMetadata6()
	}
	f.Load(ip6Source)
	f.when(bpf.Equal(0), (*frameFilter).unspecified6)
	f.requireOwn6(ip6Source)
	f.LoadByte(ip6NextHeader)
	f.when(bpf.Equal(unix.IPPROTO_ICMPV6), (*frameFilter).icmp6)
	f.when(bpf.Equal(unix.IPPROTO_HOPOPTS), (*frameFilter).listenerReport)
	f.when(bpf.Equal(unix.IPPROTO_FRAGMENT), (*frameFilter).fragment6)
	f.payload6(ip6Payload)
}

// payload6 passes any protocol but an extension header, and but ICMPv6, which the caller
// examines. The accumulator has the protocol's number. No protocol has a number above
// those of extension headers for mobility, HIP and shim6, except for experiments.
func (f *frameFilter) payload6(offset uint32) {
	f.when(bpf.Equal(unix.IPPROTO_UDP), func(f *frameFilter) {
		f.need(offset + udpDestination + 2)
		f.LoadHalf(offset + udpDestination)
		f.ReturnIf(bpf.Equal(dhcp6Client), drop)
		f.Return(pass)
	})
	for _, extension := range []uint32{
		unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_FRAGMENT, unix.IPPROTO_AH,
		unix.IPPROTO_DSTOPTS, unix.IPPROTO_MH, hostIdentity, shim6, experiment1, experiment2,
	} {
		f.ReturnIf(bpf.Equal(extension), drop)
	}
	f.Return(pass)
}

// Extension headers of IPv6 without a name in package unix (RFC 7401, 5533 and 3692).
const (
	hostIdentity = 139
	shim6        = 140
	experiment1  = 253
	experiment2  = 254
)

// unspecified6 passes the messages of a host that has no address yet: the detection of
// duplicates of an own address, with or without a nonce (RFC 7527), router solicitations
// and multicast listener reports.
func (f *frameFilter) unspecified6() {
	for offset := uint32(ip6Source + 4); offset < ip6Source+16; offset += 4 {
		f.requireWord(offset, 0)
	}
	f.LoadByte(ip6NextHeader)
	f.when(bpf.Equal(unix.IPPROTO_HOPOPTS), (*frameFilter).listenerReport)
	f.ReturnIf(bpf.NotEqual(unix.IPPROTO_ICMPV6), drop)
	f.need(ip6Payload + 1)
	f.LoadByte(ip6Payload)
	f.when(bpf.Equal(neighborSolicitation), func(f *frameFilter) {
		f.need(ndOption)
		f.requireOwn6(ndTarget)
		f.passWithoutOption(ndOption)
		f.need(ndOption + 2)
		f.requireHalf(ndOption, ndNonce)
		f.Return(pass)
	})
	f.when(bpf.Equal(routerSolicitation), func(f *frameFilter) {
		f.passWithoutOption(ndOptionOfRouter)
		f.Return(drop)
	})
	f.Return(drop)
}

// passWithoutOption passes a message of neighbor discovery that ends at an offset, and
// drops it if anything but one option follows.
func (f *frameFilter) passWithoutOption(end uint32) {
	const option = 8
	f.LoadHalf(ip6Length)
	f.ReturnIf(bpf.Equal(end-ip6Payload), pass)
	f.ReturnIf(bpf.NotEqual(end-ip6Payload+option), drop)
}

// icmp6 passes the messages of hosts, and drops those of routers. Neighbor discovery
// must be about an own address and the own MAC.
func (f *frameFilter) icmp6() {
	f.need(ip6Payload + 1)
	f.LoadByte(ip6Payload)
	f.when(bpf.Equal(neighborSolicitation), func(f *frameFilter) { f.ownOption(ndOption, ndSourceMAC) })
	f.when(bpf.Equal(neighborAdvert), func(f *frameFilter) {
		f.need(ndOption)
		f.requireOwn6(ndTarget)
		f.ownOption(ndOption, ndTargetMAC)
	})
	f.when(bpf.Equal(routerSolicitation), func(f *frameFilter) { f.ownOption(ndOptionOfRouter, ndSourceMAC) })
	f.ReturnIf(bpf.AtLeast(icmp6Informational), drop)
	f.Return(pass)
}

// ownOption passes a message of neighbor discovery without an option, or with an option
// that has the own MAC.
func (f *frameFilter) ownOption(offset uint32, option uint16) {
	f.passWithoutOption(offset)
	f.need(offset + 8)
	f.requireHalf(offset, option)
	f.requireMAC(offset + 2)
	f.Return(pass)
}

// listenerReport passes reports of multicast listeners, which have hop-by-hop options of
// 8 bytes (RFC 2710).
func (f *frameFilter) listenerReport() {
	const options = 8
	f.need(ip6Payload + options + 1)
	f.requireHalf(ip6Payload, unix.IPPROTO_ICMPV6<<8)
	f.LoadByte(ip6Payload + options)
	for _, report := range []uint32{icmp6Report, icmp6Report2, icmp6Done} {
		f.ReturnIf(bpf.Equal(report), pass)
	}
	f.Return(drop)
}

// fragment6 passes fragments, but no first fragment of neighbor discovery (RFC 6980) or
// of further extension headers. The payload's first 8 bytes are in the first fragment.
func (f *frameFilter) fragment6() {
	f.need(ip6Payload + fragmentSize)
	f.LoadHalf(ip6Payload + 2)
	f.ReturnIf(bpf.AnyBit(0xfff8), pass) // not the first fragment
	f.LoadByte(ip6Payload)
	f.when(bpf.Equal(unix.IPPROTO_ICMPV6), func(f *frameFilter) {
		f.need(ip6Payload + fragmentSize + 1)
		f.LoadByte(ip6Payload + fragmentSize)
		f.ReturnIf(bpf.AtLeast(icmp6Informational), drop)
		f.Return(pass)
	})
	f.payload6(ip6Payload + fragmentSize)
}
