// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"encoding/binary"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"
)

const virtioHeaderSize = 10

// An aliasWire connects a guest with neighbors to the namespace's tap. It replaces
// addresses on the way, since the namespace's stack has no packet from its own address:
// "from" maps those that the guest sends to those of the namespace, "to" is the opposite.
type aliasWire struct {
	from, to map[netip.Addr]netip.Addr
	offload  bool // the frames have virtio headers
}

func newAliasWire(offload bool, pairs ...string) *aliasWire {
	w := &aliasWire{from: map[netip.Addr]netip.Addr{}, to: map[netip.Addr]netip.Addr{}, offload: offload}
	for i := 0; i < len(pairs); i += 2 {
		guest, host := netip.MustParseAddr(pairs[i]), netip.MustParseAddr(pairs[i+1])
		w.from[guest], w.to[host] = host, guest
	}
	return w
}

// openTap opens the tap with or without virtio headers.
func openTap(t *testing.T, name string, offload bool) *os.File {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	must.NoError(t, err)
	request, err := unix.NewIfreq(name)
	must.NoError(t, err)
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if offload {
		flags |= unix.IFF_VNET_HDR
	}
	request.SetUint16(flags)
	must.NoError(t, unix.IoctlIfreq(fd, unix.TUNSETIFF, request))
	if offload {
		must.NoError(t, unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4|unix.TUN_F_TSO6))
	}
	tap := os.NewFile(uintptr(fd), name)
	t.Cleanup(func() { _ = tap.Close() })
	return tap
}

// carry passes frames from one end to the other until an end is closed.
func (w *aliasWire) carry(from, to *os.File, addresses map[netip.Addr]netip.Addr) {
	buffer := make([]byte, 1<<17)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		frame := slices.Clone(buffer[:n])
		w.rewrite(frame, addresses)
		_, _ = to.Write(frame) // an error is a lost frame
	}
}

// rewrite replaces the addresses of a frame, and those of a packet inside an ICMP error.
func (w *aliasWire) rewrite(frame []byte, addresses map[netip.Addr]netip.Addr) {
	partial := false
	if w.offload {
		partial = frame[0]&1 != 0 // VIRTIO_NET_HDR_F_NEEDS_CSUM
		frame = frame[virtioHeaderSize:]
	}
	const header = 14
	switch binary.BigEndian.Uint16(frame[12:]) {
	case 0x0806: // ARP
		replace(frame[header+14:header+18], addresses)
		replace(frame[header+24:header+28], addresses)
	case 0x0800:
		w.rewrite4(frame[header:], addresses, partial)
	case 0x86dd:
		w.rewrite6(frame[header:], addresses, partial)
	}
}

// replace replaces an address and returns the change for a checksum.
func replace(at []byte, addresses map[netip.Addr]netip.Addr) (sum uint32) {
	a, _ := netip.AddrFromSlice(at)
	b, ok := addresses[a]
	if !ok {
		return 0
	}
	for i := 0; i < len(at); i += 2 {
		sum += uint32(^binary.BigEndian.Uint16(at[i:]))
	}
	copy(at, b.AsSlice())
	for i := 0; i < len(at); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(at[i:]))
	}
	return sum
}

// adjust changes a checksum. A partial one is not yet inverted.
func adjust(at []byte, change uint32, partial bool) {
	sum := binary.BigEndian.Uint16(at)
	if !partial {
		sum = ^sum
	}
	change += uint32(sum)
	for change > 0xffff {
		change = change>>16 + change&0xffff
	}
	sum = uint16(change)
	if !partial {
		sum = ^sum
	}
	binary.BigEndian.PutUint16(at, sum)
}

func (w *aliasWire) rewrite4(packet []byte, addresses map[netip.Addr]netip.Addr, partial bool) {
	change := replace(packet[12:16], addresses) + replace(packet[16:20], addresses)
	adjust(packet[10:], change, false)
	payload := packet[int(packet[0]&15)*4:]
	if binary.BigEndian.Uint16(packet[6:])&0x1fff != 0 {
		return
	}
	switch packet[9] {
	case unix.IPPROTO_TCP:
		adjust(payload[16:], change, partial)
	case unix.IPPROTO_UDP:
		if partial || payload[6] != 0 || payload[7] != 0 {
			adjust(payload[6:], change, partial)
		}
	case unix.IPPROTO_ICMP:
		if payload[0] == 3 { // destination unreachable
			inner := payload[8:]
			adjust(inner[10:], replace(inner[12:16], addresses)+replace(inner[16:20], addresses), false)
		}
	}
}

func (w *aliasWire) rewrite6(packet []byte, addresses map[netip.Addr]netip.Addr, partial bool) {
	change := replace(packet[8:24], addresses) + replace(packet[24:40], addresses)
	payload, protocol := packet[40:], packet[6]
	if protocol == unix.IPPROTO_FRAGMENT {
		if binary.BigEndian.Uint16(payload[2:])&^7 != 0 {
			return
		}
		payload, protocol = payload[8:], payload[0]
	}
	switch protocol {
	case unix.IPPROTO_TCP:
		adjust(payload[16:], change, partial)
	case unix.IPPROTO_UDP:
		adjust(payload[6:], change, partial)
	case unix.IPPROTO_ICMPV6:
		switch payload[0] {
		case 1: // destination unreachable
			change += replace(payload[16:32], addresses) + replace(payload[32:48], addresses)
		case 135, 136: // neighbor solicitation and advertisement
			change += replace(payload[8:24], addresses)
		}
		adjust(payload[2:], change, partial)
	}
}
