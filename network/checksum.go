// SPDX-License-Identifier: MPL-2.0

package network

import (
	"encoding/binary"
	"errors"
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
	if f.state%8 == 7 {
		return f, errors.New("ip_summed of struct sk_buff is in two bytes")
	}
	return f, nil
})

// Variables on the program's stack.
const (
	field   = -8
	headers = -24 // headersSize bytes of the frame, from headersAt on

	headersAt   = etherType
	headersSize = ip4Protocol + 1 - headersAt
)

// checksumCheck returns the program. r6 is the packet. r7 and r8 are the start of the sum
// in the frame and the place of the checksum after it.
func checksumCheck(f checksumFields) []byte {
	const partial = 3 // CHECKSUM_PARTIAL: the kernel has yet to compute the checksum
	p := newEBPF()
	p.move(r6, r1)
	p.readField(f.state, 1)
	p.load(unix.BPF_B, r1, field)
	p.compute(unix.BPF_AND, r1, partial<<(f.state%8))
	p.jump(unix.BPF_JNE, r1, partial<<(f.state%8), "pass")
	p.readField(f.header, 2)
	p.load(unix.BPF_H, r8, field)
	p.readField(f.start, 2)
	p.load(unix.BPF_H, r7, field)
	p.subtract(r7, r8)
	p.readField(f.place, 2)
	p.load(unix.BPF_H, r8, field)
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

// readField reads a field of the packet's struct sk_buff, of a size in bytes.
func (p *ebpf) readField(bit uint32, size int32) {
	p.pointTo(r1, field)
	p.set(r2, size)
	p.move(r3, r6)
	p.compute(unix.BPF_ADD, r3, int32(bit/8))
	p.call(probeReadKernel, "drop")
}

func networkOrder(v uint16) int32 {
	return int32(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v)))
}
