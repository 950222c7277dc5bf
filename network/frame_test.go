// SPDX-License-Identifier: MPL-2.0

package network

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/osthread"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// Builders of frames. Each takes the payload of its protocol.

var broadcastMAC = net.HardwareAddr{255, 255, 255, 255, 255, 255}

func etherFrame(from, to net.HardwareAddr, protocol uint16, payload []byte) []byte {
	return slices.Concat(to, from, half(protocol), payload)
}

func half(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }

func bytesOf(address string) []byte { return netip.MustParseAddr(address).AsSlice() }

func arpPacket(operation uint16, senderMAC net.HardwareAddr, sender, target string) []byte {
	return slices.Concat([]byte{0, 1, 8, 0, 6, 4}, half(operation), senderMAC, bytesOf(sender),
		make([]byte, 6), bytesOf(target))
}

// ip4Packet has no options. fragment holds the flags and the offset of a fragment.
func ip4Packet(from, to string, protocol byte, fragment uint16, payload []byte) []byte {
	h := slices.Concat([]byte{0x45, 0}, half(uint16(20+len(payload))), half(1), half(fragment),
		[]byte{64, protocol, 0, 0}, bytesOf(from), bytesOf(to))
	binary.BigEndian.PutUint16(h[10:], checksum(h))
	return append(h, payload...)
}

// ip6Packet sets the checksum of UDP and ICMPv6 in the payload.
func ip6Packet(from, to string, next byte, payload []byte) []byte {
	h := slices.Concat([]byte{0x60, 0, 0, 0}, half(uint16(len(payload))), []byte{next, 255}, bytesOf(from), bytesOf(to))
	if at, ok := map[byte]int{unix.IPPROTO_UDP: 6, unix.IPPROTO_ICMPV6: 2}[next]; ok && len(payload) >= at+2 {
		payload = slices.Clone(payload)
		pseudo := slices.Concat(h[8:40], half(0), half(uint16(len(payload))), half(0), half(uint16(next)), payload)
		binary.BigEndian.PutUint16(payload[at:], checksum(pseudo))
	}
	return append(h, payload...)
}

func udpPacket(from, to uint16, data string) []byte {
	return slices.Concat(half(from), half(to), half(uint16(8+len(data))), half(0), []byte(data))
}

// neighborMessage is a neighbor solicitation (135) or advertisement (136) with an option.
func neighborMessage(kind, flags byte, target string, option []byte) []byte {
	return slices.Concat([]byte{kind, 0, 0, 0, flags, 0, 0, 0}, bytesOf(target), option)
}

func macOption(kind byte, mac net.HardwareAddr) []byte { return slices.Concat([]byte{kind, 1}, mac) }

// routerAdvert advertises a default router and a prefix for addresses.
func routerAdvert(prefix string, mac net.HardwareAddr) []byte {
	return slices.Concat([]byte{134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0},
		[]byte{3, 4, 64, 0xc0, 0, 0, 7, 8, 0, 0, 7, 8, 0, 0, 0, 0}, bytesOf(prefix), macOption(1, mac))
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// A sniffer receives the frames of an interface.
type sniffer struct {
	t  testing.TB
	fd int
}

func newSniffer(t testing.TB, path, name string) *sniffer {
	t.Helper()
	s := &sniffer{t: t}
	must.NoError(t, inNamespace(path, func(n *namespace) error {
		link, err := n.LinkByName(name)
		if err != nil {
			return err
		}
		all := binary.NativeEndian.Uint16(half(unix.ETH_P_ALL))
		if s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all)); err != nil {
			return err
		}
		return unix.Bind(s.fd, &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index, Protocol: all})
	}))
	t.Cleanup(func() { unix.Close(s.fd) })
	patience := unix.NsecToTimeval(testenv.Patience.Nanoseconds())
	must.NoError(t, unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience))
	return s
}

// receivesBefore reports whether a frame arrives before the mark does. The kernel hands
// out frames without their outer VLAN tag.
func (s *sniffer) receivesBefore(frame, mark []byte) bool {
	s.t.Helper()
	switch binary.BigEndian.Uint16(frame[12:]) {
	case unix.ETH_P_8021Q, unix.ETH_P_8021AD:
		frame = slices.Concat(frame[:12], frame[16:])
	}
	found := false
	b := make([]byte, 1<<16)
	for {
		n, err := unix.Read(s.fd, b)
		must.NoError(s.t, err)
		if slices.Equal(b[:n], mark) {
			return found
		}
		found = found || slices.Equal(b[:n], frame)
	}
}

// awaitContent waits for a frame that contains b.
func (s *sniffer) awaitContent(b []byte) {
	s.t.Helper()
	frame := make([]byte, 1<<16)
	for {
		n, err := unix.Read(s.fd, frame)
		must.NoError(s.t, err)
		if bytes.Contains(frame[:n], b) {
			return
		}
	}
}

// sendAll sends frames from a tap in this order.
func sendAll(t testing.TB, tap *Tap, frames ...[]byte) {
	t.Helper()
	if tap.Offload {
		for i, frame := range frames {
			frames[i] = append(make([]byte, vnetHeaderSize), frame...)
		}
	}
	sendWithHeaders(t, tap, frames...)
}

// sendWithHeaders writes frames to a tap. Each has a virtio header if the tap has
// offloads. The thread stays on one processor, so that the kernel delivers the frames in
// this order.
func sendWithHeaders(t testing.TB, tap *Tap, frames ...[]byte) {
	t.Helper()
	must.NoError(t, osthread.Run(func() error {
		var one unix.CPUSet
		if err := unix.SchedGetaffinity(0, &one); err != nil {
			return err
		}
		for cpu := range 1024 {
			if one.IsSet(cpu) {
				one.Zero()
				one.Set(cpu)
				break
			}
		}
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			return err
		}
		for _, frame := range frames {
			if _, err := unix.Write(int(tap.File.Fd()), frame); err != nil {
				return err
			}
		}
		return nil
	}))
}
