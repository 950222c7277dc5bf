// SPDX-License-Identifier: MPL-2.0

package network

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/bpf"
)

// The addresses of metadata services, from which a process gets its machine's credentials.
// The DNS servers of some clouds have the same addresses, so DNS passes.
var (
	metadata4 = addressWords(
		"169.254.169.254", // AWS, Azure, Google, OpenStack and most others
		"169.254.170.2",   // credentials of tasks in AWS ECS
		"169.254.170.23",  // credentials of pods in AWS EKS
		"168.63.129.16",   // the host of a machine in Azure
		"100.100.100.200", // Alibaba
		"192.0.0.192",     // Oracle
	)
	metadata6 = addressWords(
		"fd00:ec2::254",   // AWS
		"fd00:ec2::23",    // credentials of pods in AWS EKS
		"fd20:ce::254",    // Google
		"fe80::a9fe:a9fe", // OpenStack
	)
)

func addressWords(addresses ...string) (words [][]uint32) {
	for _, a := range addresses {
		words = append(words, wordsOf(netip.MustParseAddr(a)))
	}
	return words
}

const dnsPort = 53

// metadataFilter returns a program that drops packets to metadata services, and passes all
// other frames, with any sender. The kernel has removed the outer VLAN tag of a frame. A
// frame with another tag is dropped, because the addresses are elsewhere in it.
func metadataFilter() bpf.Program {
	var f frameFilter
	f.need(etherPayload)
	f.LoadHalf(etherType)
	f.when(bpf.Equal(unix.ETH_P_IP), func(f *frameFilter) {
		f.need(ip4Payload)
		f.LoadHeaderLength(etherPayload)
		f.dropMetadata4()
		f.Return(pass)
	})
	f.when(bpf.Equal(unix.ETH_P_IPV6), func(f *frameFilter) {
		f.need(ip6Payload)
		f.dropMetadata6()
		f.Return(pass)
	})
	f.ReturnIf(bpf.Equal(unix.ETH_P_8021Q), drop)
	f.ReturnIf(bpf.Equal(unix.ETH_P_8021AD), drop)
	f.Return(pass)
	return f.Program
}

// dropMetadata4 drops packets to metadata services, except for DNS in one piece. X has the
// length of the header.
func (f *frameFilter) dropMetadata4() {
	f.WhenOneOf(ip4Target, metadata4, func(p *bpf.Program) {
		*p = f.branch(func(f *frameFilter) {
			f.LoadHalf(ip4Fragment)
			f.ReturnIf(bpf.AnyBit(0x3fff), drop) // a fragment
			f.LoadByte(ip4Protocol)
			f.requireTransport()
			f.needAfterX(etherPayload + udpDestination + 2)
			f.LoadHalfAfterX(etherPayload + udpDestination)
			f.ReturnIf(bpf.NotEqual(dnsPort), drop)
		})
	})
}

// dropMetadata6 drops packets to metadata services, except for DNS without extension
// headers.
func (f *frameFilter) dropMetadata6() {
	f.WhenOneOf(ip6Target, metadata6, func(p *bpf.Program) {
		*p = f.branch(func(f *frameFilter) {
			f.LoadByte(ip6NextHeader)
			f.requireTransport()
			f.need(ip6Payload + udpDestination + 2)
			f.LoadHalf(ip6Payload + udpDestination)
			f.ReturnIf(bpf.NotEqual(dnsPort), drop)
		})
	})
}

// requireTransport drops packets of another protocol than UDP and TCP. The accumulator has
// the protocol's number. UDP and TCP have their ports at the same place.
func (f *frameFilter) requireTransport() {
	f.When(bpf.NotEqual(unix.IPPROTO_UDP), func(p *bpf.Program) {
		p.ReturnIf(bpf.NotEqual(unix.IPPROTO_TCP), drop)
	})
}
