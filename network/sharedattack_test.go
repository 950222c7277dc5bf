// SPDX-License-Identifier: MPL-2.0

package network

import (
	"bytes"
	"math/rand/v2"
	"net"
	"slices"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"
)

// A neighbor has this port, the guest has guestPort and its ephemeral ports.
const foreignPort = 40000

const attackData = "data of the attack"

// markOf is the data of a frame that follows an attack. Answers may contain it, too.
func markOf(attack string) string { return "mark after " + attack }

// seesBefore reports whether a frame with data arrives before one with the mark.
func (s *sniffer) seesBefore(data, mark string) bool {
	s.t.Helper()
	found := false
	b := make([]byte, 1<<16)
	for {
		n, err := unix.Read(s.fd, b)
		must.NoError(s.t, err)
		if bytes.Contains(b[:n], []byte(mark)) {
			return found
		}
		found = found || bytes.Contains(b[:n], []byte(data))
	}
}

// datagram is a packet of UDP with its Ethernet header, from a guest or from the wire.
func datagram(mac net.HardwareAddr, from, to string, udp []byte) []byte {
	if net.ParseIP(from).To4() != nil {
		return etherFrame(mac, mac, unix.ETH_P_IP, ip4Packet(from, to, unix.IPPROTO_UDP, 0, udp))
	}
	return etherFrame(mac, mac, unix.ETH_P_IPV6, ip6Packet(from, to, unix.IPPROTO_UDP, udp))
}

// icmpError says that a port is unreachable.
func icmpError(mac net.HardwareAddr, from, to string, innerFrom, innerTo uint16) []byte {
	inner := ip4Packet(to, from, unix.IPPROTO_UDP, 0, udpPacket(innerFrom, innerTo, attackData))
	message := slices.Concat([]byte{3, 3, 0, 0, 0, 0, 0, 0}, inner)
	checked := checksum(message)
	copy(message[2:], half(checked))
	return etherFrame(mac, mac, unix.ETH_P_IP, ip4Packet(from, to, unix.IPPROTO_ICMP, 0, message))
}

// icmpErrors are errors about a neighbor's connection in forms that hide its ports.
func icmpErrors(own net.HardwareAddr, to, to6 string) []frameCase {
	udp := udpPacket(neighborPort, foreignPort, attackData)
	about4 := func(inner []byte, fragment uint16) []byte {
		message := slices.Concat([]byte{3, 3, 0, 0, 0, 0, 0, 0}, inner)
		copy(message[2:], half(checksum(message)))
		return etherFrame(own, own, unix.ETH_P_IP, ip4Packet(guest4, to, unix.IPPROTO_ICMP, fragment, message))
	}
	about6 := func(next byte, inner []byte) []byte {
		message := slices.Concat([]byte{1, 4, 0, 0, 0, 0, 0, 0}, ip6Packet(to6, guest6, next, inner))
		return etherFrame(own, own, unix.ETH_P_IPV6, ip6Packet(guest6, to6, unix.IPPROTO_ICMPV6, message))
	}
	inner := ip4Packet(to, guest4, unix.IPPROTO_UDP, 0, udp)
	otherVersion := slices.Clone(inner)
	otherVersion[0] = 0x55
	return []frameCase{
		{"ICMP error about a fragment", about4(ip4Packet(to, guest4, unix.IPPROTO_UDP, 1, udp), 0)},
		{"ICMP error about another version", about4(otherVersion, 0)},
		{"ICMP error in fragments", about4(inner, moreFragments4)},
		{"ICMP error about an echo request", about4(ip4Packet(to, guest4, unix.IPPROTO_ICMP, 0, udp), 0)},
		{"ICMPv6 error about an extension", about6(unix.IPPROTO_DSTOPTS, extension(unix.IPPROTO_UDP, padding6, udp))},
		{"ICMPv6 error about a fragment", about6(unix.IPPROTO_FRAGMENT, extension(unix.IPPROTO_UDP, 0, udp))},
	}
}

// toNeighbors are frames of a guest that neighbors must not receive.
func toNeighbors(own net.HardwareAddr) []frameCase {
	const alias = "192.0.0.1"
	attack := func(from, to string, port uint16) []byte {
		return datagram(own, from, to, udpPacket(port, neighborPort, attackData))
	}
	packet := udpPacket(guestPort, neighborPort, attackData)
	discovery := func(from string, message []byte) []byte {
		return etherFrame(own, own, unix.ETH_P_IPV6, ip6Packet(from, "fd6c:6b6c:6c6b::1", unix.IPPROTO_ICMPV6,
			append(message, attackData...)))
	}
	return append(icmpErrors(own, alias, "fd6c:6b6c:6c6b::1"), []frameCase{
		{"router advertisement", discovery(linkLocal(own).String(), routerAdvert("2001:db8:666::", own))},
		{"neighbor advertisement", discovery(guest6, neighborMessage(136, 0x20, guest6, macOption(2, own)))},
		{"from an IPv4 address by IPv6", attackOver6(own, guest4, alias, packet)},
		{"from a neighbor's port", attack(guest4, alias, foreignPort)},
		{"from a neighbor's port by IPv6", attack(guest6, "fd6c:6b6c:6c6b::1", foreignPort)},
		{"from another guest's ephemeral port", attack(guest4, alias, 4096)},
		{"from a stranger", attack(stranger4, alias, guestPort)},
		{"from an alias", attack("192.0.0.2", alias, guestPort)},
		{"from 127.0.0.2", attack("127.0.0.2", alias, guestPort)},
		{"from 127.0.0.1 to 127.0.0.1", attack("127.0.0.1", "127.0.0.1", guestPort)},
		{"to 127.0.0.1", attack(guest4, "127.0.0.1", guestPort)},
		{"to the alloc's address", attack(guest4, guest4, guestPort)},
		{"to ::1", attack(guest6, "::1", guestPort)},
		{"to no alias", attack(guest4, "192.0.0.5", guestPort)},
		{"to no alias by IPv6", attack(guest6, "fd6c:6b6c:6c6b::1:1", guestPort)},
		{"of SCTP", etherFrame(own, own, unix.ETH_P_IP, ip4Packet(guest4, alias, unix.IPPROTO_SCTP, 0, packet))},
		{"in IP", etherFrame(own, own, unix.ETH_P_IP, ip4Packet(guest4, alias, unix.IPPROTO_IPIP, 0,
			ip4Packet(guest4, guest4, unix.IPPROTO_UDP, 0, packet)))},
		{"ICMP error about a neighbor's connection", icmpError(own, guest4, alias, neighborPort, foreignPort)},
		{"behind a routing header", etherFrame(own, own, unix.ETH_P_IPV6, ip6Packet(guest6, "fd6c:6b6c:6c6b::1",
			unix.IPPROTO_ROUTING, extension(unix.IPPROTO_UDP, 0, packet)))},
		{"first fragment from a neighbor's port", etherFrame(own, own, unix.ETH_P_IP, ip4Packet(guest4, alias,
			unix.IPPROTO_UDP, moreFragments4, udpPacket(foreignPort, neighborPort, attackData)))},
	}...)
}

// attackOver6 is a packet of IPv6 between IPv4 addresses.
func attackOver6(mac net.HardwareAddr, from, to string, udp []byte) []byte {
	return etherFrame(mac, mac, unix.ETH_P_IPV6, ip6Packet("::ffff:"+from, "::ffff:"+to, unix.IPPROTO_UDP, udp))
}

func TestShared_GuestReachesNeighborsOnlyByAliasesAndOwnPorts(t *testing.T) {
	for _, o := range []Options{{}, {AllowSpoofing: true}} {
		a := newAlloc(t, 1500)
		s := declared(guestPort)
		tap, err := AttachShared(a.path, o, s)
		must.NoError(t, err)
		t.Cleanup(func() { _ = tap.Close() })
		lo := newSniffer(t, a.path, "lo")
		to := func(alias, data string) []byte {
			return datagram(a.mac, guest4, alias, udpPacket(guestPort, neighborPort, data))
		}
		for _, c := range append(toNeighbors(a.mac), frameCase{valid, to("192.0.0.1", attackData)}) {
			t.Run(c.name, func(t *testing.T) {
				sendAll(t, tap, c.frame, to("192.0.0.2", markOf(c.name)))
				must.Eq(t, c.name == valid, lo.seesBefore(attackData, markOf(c.name)))
			})
		}
	}
}

// fromWire are frames that a guest must not receive from the interface.
func fromWire(own net.HardwareAddr) []frameCase {
	attack := func(from, to string, port uint16) []byte {
		return datagram(own, from, to, udpPacket(foreignPort, port, attackData))
	}
	wireError := func(about string) []byte {
		inner := ip4Packet(guest4, about, unix.IPPROTO_UDP, 0, udpPacket(guestPort, foreignPort, attackData))
		message := slices.Concat([]byte{3, 3, 0, 0, 0, 0, 0, 0}, inner)
		copy(message[2:], half(checksum(message)))
		return etherFrame(own, own, unix.ETH_P_IP, ip4Packet(peer4, guest4, unix.IPPROTO_ICMP, 0, message))
	}
	return []frameCase{
		{"from the neighbors' alias", attack("192.0.0.1", guest4, guestPort)},
		{"from the neighbors' alias by IPv6", attack("fd6c:6b6c:6c6b::1", guest6, guestPort)},
		{"from 127.0.0.1", attack("127.0.0.1", guest4, guestPort)},
		{"from ::1", attack("::1", guest6, guestPort)},
		{"to 127.0.0.1", attack(peer4, "127.0.0.1", guestPort)},
		{"to ::1", attack(peer6, "::1", guestPort)},
		{"to a stranger", attack(peer4, stranger4, guestPort)},
		{"to a neighbor's port", attack(peer4, guest4, foreignPort)},
		{"to another guest's ephemeral port", attack(peer4, guest4, 4096)},
		{"from an IPv4 address by IPv6", attackOver6(own, peer4, guest4, udpPacket(foreignPort, guestPort, attackData))},
		{"ICMP error about a connection with a neighbor's alias", wireError("192.0.0.1")},
		{"ICMP error about a connection with 127.0.0.1", wireError("127.0.0.1")},
		{"ICMP error about a connection with a neighbor", wireError(guest4)},
		{"multicast from an alias", attack("192.0.0.1", "224.0.0.1", guestPort)},
		{"to another MAC", etherFrame(own, foreignMAC, unix.ETH_P_IP,
			ip4Packet(peer4, guest4, unix.IPPROTO_UDP, 0, udpPacket(foreignPort, guestPort, attackData)))},
	}
}

func TestShared_GuestReceivesOnlyItsPackets(t *testing.T) {
	a := newAlloc(t, 1500)
	tap, err := AttachShared(a.path, Options{}, declared(guestPort))
	must.NoError(t, err)
	defer func() { _ = tap.Close() }()
	guest := newSniffer(t, a.path, tap.Name)
	from := func(data string) []byte {
		return datagram(a.mac, peer4, guest4, udpPacket(foreignPort, guestPort, data))
	}
	send := newSender(t, a.peer, "peer7")
	for _, c := range append(fromWire(a.mac), frameCase{valid, from(attackData)}) {
		t.Run(c.name, func(t *testing.T) {
			send(c.frame)
			send(from(markOf(c.name)))
			must.Eq(t, c.name == valid, guest.seesBefore(attackData, markOf(c.name)))
		})
	}
}

// valid is the name of a frame that passes.
const valid = "no attack"

// newSender returns a function that sends frames out of an interface.
func newSender(t testing.TB, path, name string) func(frame []byte) {
	t.Helper()
	s := newSniffer(t, path, name)
	return func(frame []byte) {
		_, err := unix.Write(s.fd, frame)
		must.NoError(t, err)
	}
}

func TestShared_GuestSendsOnlyAsItself(t *testing.T) {
	attach := func(o Options, s Sharing) (*alloc, *Tap) {
		a := newAlloc(t, 1500)
		tap, err := AttachShared(a.path, o, s)
		must.NoError(t, err)
		t.Cleanup(func() { _ = tap.Close() })
		return a, tap
	}
	fromLoopback := func(own net.HardwareAddr) []frameCase {
		return []frameCase{
			ip4Case("from 127.0.0.1", own, ip4Packet("127.0.0.1", peer4, unix.IPPROTO_UDP, 0, udpPacket(guestPort, 1, ""))),
			ip6Case("from ::1", own, ip6Packet("::1", peer6, unix.IPPROTO_UDP, udpPacket(guestPort, 1, ""))),
		}
	}
	for _, offload := range []bool{false, true} {
		a, tap := attach(Options{Offload: offload}, Sharing{Rest: true, LoopbackTarget: true})
		a.checkFrames(t, tap, true, ownFrames)
		a.checkFrames(t, tap, false, forgedFrames)
		a.checkFrames(t, tap, false, fromLoopback)
	}
	foreign := func(own net.HardwareAddr) []frameCase {
		return append(icmpErrors(own, peer4, peer6), []frameCase{
			{"ICMP error about a neighbor's connection", icmpError(own, guest4, peer4, neighborPort, foreignPort)},
			ip4Case("UDP from a neighbor's port", own,
				ip4Packet(guest4, peer4, unix.IPPROTO_UDP, 0, udpPacket(foreignPort, 53, "data"))),
			ip6Case("UDP from a neighbor's port", own,
				ip6Packet(guest6, peer6, unix.IPPROTO_UDP, udpPacket(foreignPort, 53, "data"))),
		}...)
	}
	a, tap := attach(Options{}, Sharing{UDP: []PortRange{{1, 1}}})
	a.checkFrames(t, tap, false, foreign)
	a.checkFrames(t, tap, true, func(own net.HardwareAddr) []frameCase {
		return []frameCase{{"ICMP error about an own connection", icmpError(own, guest4, peer4, foreignPort, 1)}}
	})
	a, tap = attach(Options{AllowSpoofing: true}, Sharing{UDP: []PortRange{{1, 1}}})
	a.checkFrames(t, tap, true, foreign)
}

// Truncated, damaged and random frames of the guest and of the wire do no harm.
func TestShared_SurvivesMalformedFrames(t *testing.T) {
	a := newAlloc(t, 1500)
	g := a.share(t, Options{}, Sharing{Rest: true})
	random := rand.New(rand.NewPCG(1, 2))
	var frames [][]byte
	for _, c := range slices.Concat(toNeighbors(a.mac), fromWire(a.mac), ownFrames(a.mac), forgedFrames(a.mac)) {
		for length := etherPayload + 1; length < len(c.frame); length += 1 + length/10 {
			frames = append(frames, c.frame[:length])
		}
		for range 5 {
			damaged := slices.Clone(c.frame)
			damaged[etherPayload+random.IntN(len(damaged)-etherPayload)] = byte(random.Uint32())
			frames = append(frames, damaged)
		}
	}
	send := newSender(t, a.peer, "peer7")
	for _, frame := range frames {
		send(frame)
		_, _ = g.tap.File.Write(frame) // the kernel may refuse it
	}
	serve(t, g.path, "0.0.0.0", guestPort)
	serve(t, a.path, "0.0.0.0", neighborPort)
	reaches(t, a.peer, guest4, guestPort)
	reaches(t, a.path, "127.0.0.1", guestPort)
	reaches(t, g.path, "192.0.0.1", neighborPort)
}
