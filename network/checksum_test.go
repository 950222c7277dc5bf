// SPDX-License-Identifier: MPL-2.0

package network

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// withChecksum puts a virtio header before a frame. The kernel is to compute the checksum
// from start on, and to store it at start+offset.
func withChecksum(frame []byte, start, offset uint16) []byte {
	header := make([]byte, vnetHeaderSize)
	header[0] = unix.VIRTIO_NET_HDR_F_NEEDS_CSUM
	binary.LittleEndian.PutUint16(header[6:], start)
	binary.LittleEndian.PutUint16(header[8:], offset)
	return append(header, frame...)
}

// forgeByChecksum returns a frame that has an honest sender until the kernel stores the
// checksum at an offset, which makes it the forged frame. The 16 bits at free may have any
// value.
func forgeByChecksum(forged []byte, at, free int, honest uint16) []byte {
	const start = 20
	frame := slices.Clone(forged)
	want := binary.BigEndian.Uint16(forged[at:])
	binary.BigEndian.PutUint16(frame[at:], honest)
	binary.BigEndian.PutUint16(frame[free:], 0)
	rest := checksum(frame[start:]) // with 0 at free
	// The sum of the frame and of the value at free must be the complement of want.
	value := uint32(^want) + uint32(rest)
	binary.BigEndian.PutUint16(frame[free:], uint16(value>>16+value&0xffff))
	return withChecksum(frame, start, uint16(at-start))
}

// receivedForgery reports whether a guest without offloads receives a forged ARP reply. The
// kernel stores the checksum when it hands the frame to that guest's tap.
func receivedForgery(t *testing.T, o Options) bool {
	t.Helper()
	h := newNeighborhood(t, o)
	victim := h.victim.attachWith(Options{})
	forged := etherFrame(h.own(), h.victim.mac, unix.ETH_P_ARP, arpPacket(2, h.own(), peer4, victim4))
	own := binary.BigEndian.Uint16(bytesOf(guest4)[2:])
	mark := etherFrame(h.own(), broadcastMAC, unix.ETH_P_ARP, arpPacket(1, h.own(), guest4, stranger4))
	attack := forgeByChecksum(forged, etherPayload+16, etherPayload+20, own)
	must.NoError(t, victim.File.SetReadDeadline(time.Now().Add(testenv.Patience)))
	sendWithHeaders(t, h.tap, attack, append(make([]byte, vnetHeaderSize), mark...))
	found := false
	frame := make([]byte, 2000)
	for {
		n, err := victim.File.Read(frame)
		must.NoError(t, err)
		switch f := frame[:n]; {
		case slices.Equal(f[:32], forged[:32]):
			found = true
		case slices.Equal(f, mark):
			return found
		}
	}
}

func TestChecksum_CannotForgeSender(t *testing.T) {
	must.False(t, receivedForgery(t, Options{Offload: true}))
}

// The attack of the test above works if spoofing is allowed.
func TestChecksum_ForgesSenderIfAllowed(t *testing.T) {
	must.True(t, receivedForgery(t, Options{Offload: true, AllowSpoofing: true}))
}

// Guests with offloads send TCP and UDP with checksums at the protocols' own places.
func TestChecksum_IsOnlyAtPlaceOfTCPAndUDP(t *testing.T) {
	a := newAlloc(t, 1500)
	tap := a.attachOffload()
	peer := newSniffer(t, a.peer, "peer7")
	segment, datagram := make([]byte, 40), udpPacket(1, 2, strings.Repeat("x", 32))
	tcp4, udp4 := ip4Packet(guest4, peer4, unix.IPPROTO_TCP, 0, segment), ip4Packet(guest4, peer4, unix.IPPROTO_UDP, 0, datagram)
	tcp6, udp6 := ip6Packet(guest6, peer6, unix.IPPROTO_TCP, segment), ip6Packet(guest6, peer6, unix.IPPROTO_UDP, datagram)
	options := slices.Concat([]byte{0x46}, tcp4[1:20], []byte{1, 1, 1, 0}, tcp4[20:])
	echo := ip4Packet(guest4, peer4, unix.IPPROTO_ICMP, 0, make([]byte, 40))
	for i, c := range []struct {
		protocol      uint16
		packet        []byte
		start, offset uint16
		pass          bool
	}{
		{unix.ETH_P_IP, tcp4, 34, 16, true},
		{unix.ETH_P_IP, udp4, 34, 6, true},
		{unix.ETH_P_IP, options, 38, 16, true},
		{unix.ETH_P_IPV6, tcp6, 54, 16, true},
		{unix.ETH_P_IPV6, udp6, 54, 6, true},
		{unix.ETH_P_IP, tcp4, 34, 6, false},
		{unix.ETH_P_IP, udp4, 34, 2, false},
		{unix.ETH_P_IP, options, 34, 16, false},
		{unix.ETH_P_IP, tcp4, 20, 6, false},
		{unix.ETH_P_IP, tcp4, 20, 30, false},
		{unix.ETH_P_IP, echo, 34, 2, false},
		{unix.ETH_P_IPV6, tcp6, 22, 0, false},
		{unix.ETH_P_IPV6, udp6, 54, 16, false},
		{unix.ETH_P_IPV6, tcp6, 34, 36, false},
		{unix.ETH_P_ARP, arpPacket(1, a.mac, guest4, peer4), 22, 6, false},
	} {
		frame := etherFrame(a.mac, broadcastMAC, c.protocol, c.packet)
		mark := etherFrame(a.mac, broadcastMAC, unix.ETH_P_IP,
			ip4Packet(guest4, peer4, unix.IPPROTO_UDP, 0, udpPacket(1, 1, fmt.Sprint("mark ", i))))
		sendWithHeaders(t, tap, withChecksum(frame, c.start, c.offset), append(make([]byte, vnetHeaderSize), mark...))
		must.Eq(t, c.pass, peer.receivesBefore(frame, mark), must.Sprint(i))
	}
}
