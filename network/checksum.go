// SPDX-License-Identifier: MPL-2.0

package network

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/btf"
)

// loadChecksumCheck loads a program over the frames of a guest with offloads.
//
// Such a guest leaves checksums to the kernel, and names the place of each in the virtio
// header. The kernel may store the checksum only when the frame leaves for a device
// without offloads, which is after the filter. With a place and a sum of its choice, a
// guest could thus replace half of the sender's address that the filter has compared.
// Classic BPF cannot read the place. The program drops frames with a checksum at another
// place than that of TCP or UDP.
func loadChecksumCheck() (*os.File, error) {
	fields, err := hostChecksumFields()
	if err != nil {
		return nil, err
	}
	return loadClassifier(checksumCheck(fields))
}

// checksumFields are the offsets in bits of the fields of the kernel's struct sk_buff
// that describe the checksum.
type checksumFields struct {
	state  uint32 // ip_summed, 2 bits
	start  uint32 // csum_start: begin of the sum, from the buffer's head on
	place  uint32 // csum_offset: of the checksum, from start on
	header uint32 // mac_header: begin of the frame, from the buffer's head on
}

// hostChecksumFields reads the types of the running kernel once.
var hostChecksumFields = sync.OnceValues(func() (f checksumFields, err error) {
	types, err := btf.Read(btf.Kernel)
	if err != nil {
		return f, err
	}
	for name, to := range map[string]*uint32{
		"ip_summed": &f.state, "csum_start": &f.start, "csum_offset": &f.place, "mac_header": &f.header,
	} {
		if *to, err = types.BitOffset("sk_buff", name); err != nil {
			return f, fmt.Errorf("%s: %w", btf.Kernel, err)
		}
	}
	if f.state%8 == 7 || f.size() > maxFieldsSize {
		return f, fmt.Errorf("%s: the layout of struct sk_buff is not supported: %+v", btf.Kernel, f)
	}
	return f, nil
})

// first returns the offset in bytes of the first field.
func (f checksumFields) first() int32 { return int32(min(f.state, f.start, f.place, f.header) / 8) }

// size returns the size in bytes of the part of the structure that has all fields.
func (f checksumFields) size() int32 {
	const longest = 2
	return int32(max(f.state, f.start, f.place, f.header)/8) + longest - f.first()
}

// Variables on the program's stack.
const (
	headers = -16                     // headersSize bytes of the frame, from headersAt on
	fields  = headers - maxFieldsSize // the part of struct sk_buff that has the fields

	headersAt     = etherType
	headersSize   = ip4Protocol + 1 - headersAt
	maxFieldsSize = 256
)

// checksumCheck returns the program. r6 is the packet. r7 and r8 are the start of the sum
// in the frame and the place of the checksum after it.
func checksumCheck(f checksumFields) []byte {
	const partial = 3 // CHECKSUM_PARTIAL: the kernel has yet to compute the checksum
	p := newEBPF()
	p.move(r6, r1)
	p.pointTo(r1, fields)
	p.set(r2, f.size())
	p.move(r3, r6)
	p.compute(unix.BPF_ADD, r3, f.first())
	p.call(probeReadKernel, "drop")
	onStack := func(bit uint32) int16 { return fields + int16(int32(bit/8)-f.first()) }
	p.load(unix.BPF_B, r1, onStack(f.state))
	p.compute(unix.BPF_AND, r1, partial<<(f.state%8))
	p.jump(unix.BPF_JNE, r1, partial<<(f.state%8), "pass")
	p.load(unix.BPF_H, r7, onStack(f.start))
	p.load(unix.BPF_H, r8, onStack(f.header))
	p.subtract(r7, r8)
	p.load(unix.BPF_H, r8, onStack(f.place))
	p.loadProtocol()
	p.jump(unix.BPF_JNE, r7, 0, "drop")

	const placeInTCP, placeInUDP = 16, 6
	p.jump(unix.BPF_JEQ, r2, unix.IPPROTO_TCP, "TCP")
	p.jump(unix.BPF_JNE, r2, unix.IPPROTO_UDP, "drop")
	p.jump(unix.BPF_JEQ, r8, placeInUDP, "pass")
	p.jumpAlways("drop")
	p.label("TCP")
	p.jump(unix.BPF_JNE, r8, placeInTCP, "drop")
	p.label("pass")
	p.exit(netlink.TC_ACT_UNSPEC) // the next classifier decides
	p.label("drop")
	p.exit(netlink.TC_ACT_SHOT)
	return p.link()
}

// loadProtocol loads the protocol of an IP packet into r2, and subtracts the end of the IP
// header from r7.
func (p *ebpf) loadProtocol() {
	p.move(r1, r6)
	p.set(r2, headersAt)
	p.pointTo(r3, headers)
	p.set(r4, headersSize)
	p.call(skbLoadBytes, "drop")
	p.load(unix.BPF_H, r1, headers)
	p.jump(unix.BPF_JEQ, r1, networkOrder(unix.ETH_P_IP), "IPv4")
	p.jump(unix.BPF_JNE, r1, networkOrder(unix.ETH_P_IPV6), "drop")
	p.load(unix.BPF_B, r2, headers+ip6NextHeader-headersAt)
	p.compute(unix.BPF_SUB, r7, ip6Payload)
	p.jumpAlways("protocol")
	p.label("IPv4")
	p.load(unix.BPF_B, r2, headers+etherPayload-headersAt)
	p.compute(unix.BPF_AND, r2, 15) // the header's length in words of 4 bytes
	p.compute(unix.BPF_LSH, r2, 2)
	p.subtract(r7, r2)
	p.compute(unix.BPF_SUB, r7, etherPayload)
	p.load(unix.BPF_B, r2, headers+ip4Protocol-headersAt)
	p.label("protocol")
}

func networkOrder(v uint16) int32 {
	return int32(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v)))
}
