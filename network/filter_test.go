// SPDX-License-Identifier: MPL-2.0

package network

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// A frameCase is a frame that a guest with the addresses of newAlloc and the MAC own
// sends.
type frameCase struct {
	name  string
	frame []byte
}

const stranger4, stranger6 = "10.77.0.9", "fd77::9"

var foreignMAC = net.HardwareAddr{2, 0, 0, 0, 0xbe, 0xef}

func arpCase(name string, from net.HardwareAddr, packet []byte) frameCase {
	return frameCase{"ARP: " + name, etherFrame(from, broadcastMAC, unix.ETH_P_ARP, packet)}
}

func ip4Case(name string, own net.HardwareAddr, packet []byte) frameCase {
	return frameCase{"IPv4: " + name, etherFrame(own, broadcastMAC, unix.ETH_P_IP, packet)}
}

func ip6Case(name string, own net.HardwareAddr, packet []byte) frameCase {
	return frameCase{"IPv6: " + name, etherFrame(own, broadcastMAC, unix.ETH_P_IPV6, packet)}
}

// icmp6Case is an ICMPv6 message without extension headers.
func icmp6Case(name string, own net.HardwareAddr, from string, message []byte) frameCase {
	return ip6Case(name, own, ip6Packet(from, "ff02::1", unix.IPPROTO_ICMPV6, message))
}

// extension is an extension header of 8 bytes. Its content is padding, or for a fragment
// header the offset and the flag for more fragments.
func extension(next byte, content uint16, payload []byte) []byte {
	return slices.Concat([]byte{next, 0}, half(content), make([]byte, 4), payload)
}

const (
	moreFragments4, moreFragments6 = 0x2000, 1
	padding6                       = 0x0104 // a PadN option of 6 bytes
)

func ownFrames(own net.HardwareAddr) []frameCase {
	local := linkLocal(own).String()
	report := []byte{143, 0, 0, 0, 0, 0, 0, 0}
	udp := udpPacket(5000, 5001, "hello")
	return []frameCase{
		arpCase("request", own, arpPacket(1, own, guest4, peer4)),
		arpCase("reply", own, arpPacket(2, own, guest4, peer4)),
		arpCase("announcement", own, arpPacket(1, own, guest4, guest4)),
		arpCase("probe", own, arpPacket(1, own, "0.0.0.0", guest4)),
		ip4Case("UDP", own, ip4Packet(guest4, peer4, unix.IPPROTO_UDP, 0, udp)),
		ip4Case("TCP", own, ip4Packet(guest4, peer4, unix.IPPROTO_TCP, 0, make([]byte, 20))),
		ip4Case("renewal of a DHCP client", own, ip4Packet(guest4, peer4, unix.IPPROTO_UDP, 0, udpPacket(68, 67, ""))),
		ip4Case("first fragment", own, ip4Packet(guest4, peer4, unix.IPPROTO_UDP, moreFragments4, udp[:8])),
		ip4Case("last fragment", own, ip4Packet(guest4, peer4, unix.IPPROTO_UDP, 1, udpPacket(68, 68, ""))),
		ip4Case("echo request", own, ip4Packet(guest4, peer4, unix.IPPROTO_ICMP, 0, []byte{8, 0, 0, 0, 0, 0, 0, 0})),
		ip4Case("ICMP error", own, ip4Packet(guest4, peer4, unix.IPPROTO_ICMP, 0, make([]byte, 36))),
		ip4Case("IGMP report", own, ip4Packet(guest4, "224.0.0.22", unix.IPPROTO_IGMP, 0, []byte{0x22, 0, 0, 0, 0, 0, 0, 0})),
		ip4Case("IGMP report without an address", own,
			ip4Packet("0.0.0.0", "224.0.0.22", unix.IPPROTO_IGMP, 0, []byte{0x22, 0, 0, 0, 0, 0, 0, 0})),
		ip4Case("broadcast", own, ip4Packet(guest4, "255.255.255.255", unix.IPPROTO_UDP, 0, udp)),
		ip4Case("IP in IP", own, ip4Packet(guest4, peer4, unix.IPPROTO_IPIP, 0, ip4Packet(stranger4, peer4, unix.IPPROTO_UDP, 0, udp))),
		ip6Case("UDP", own, ip6Packet(guest6, peer6, unix.IPPROTO_UDP, udp)),
		ip6Case("UDP from the link-local address", own, ip6Packet(local, "ff02::fb", unix.IPPROTO_UDP, udp)),
		ip6Case("TCP", own, ip6Packet(guest6, peer6, unix.IPPROTO_TCP, make([]byte, 20))),
		ip6Case("first fragment", own, ip6Packet(guest6, peer6, unix.IPPROTO_FRAGMENT,
			extension(unix.IPPROTO_UDP, moreFragments6, udp[:8]))),
		ip6Case("last fragment", own, ip6Packet(guest6, peer6, unix.IPPROTO_FRAGMENT,
			extension(unix.IPPROTO_UDP, 8, udp[8:]))),
		ip6Case("fragment of an echo request", own, ip6Packet(guest6, peer6, unix.IPPROTO_FRAGMENT,
			extension(unix.IPPROTO_ICMPV6, moreFragments6, []byte{128, 0, 0, 0, 0, 0, 0, 0}))),
		ip6Case("listener report", own, ip6Packet(local, "ff02::16", unix.IPPROTO_HOPOPTS,
			extension(unix.IPPROTO_ICMPV6, 0x0502, report))),
		ip6Case("listener report without an address", own, ip6Packet("::", "ff02::16", unix.IPPROTO_HOPOPTS,
			extension(unix.IPPROTO_ICMPV6, 0x0502, report))),
		icmp6Case("echo request", own, guest6, []byte{128, 0, 0, 0, 0, 0, 0, 0}),
		icmp6Case("packet too big", own, guest6, make([]byte, 48)),
		icmp6Case("solicitation", own, guest6, neighborMessage(135, 0, peer6, macOption(1, own))),
		icmp6Case("solicitation without an option", own, local, neighborMessage(135, 0, peer6, nil)),
		icmp6Case("advertisement", own, guest6, neighborMessage(136, 0x60, guest6, macOption(2, own))),
		icmp6Case("advertisement of the link-local address", own, local, neighborMessage(136, 0x60, local, macOption(2, own))),
		icmp6Case("advertisement without an option", own, guest6, neighborMessage(136, 0x60, guest6, nil)),
		icmp6Case("detection of duplicates", own, "::", neighborMessage(135, 0, guest6, nil)),
		icmp6Case("detection of duplicates with a nonce", own, "::", neighborMessage(135, 0, local, []byte{14, 1, 1, 2, 3, 4, 5, 6})),
		icmp6Case("router solicitation", own, local, slices.Concat([]byte{133, 0, 0, 0, 0, 0, 0, 0}, macOption(1, own))),
		icmp6Case("router solicitation without an address", own, "::", []byte{133, 0, 0, 0, 0, 0, 0, 0}),
	}
}

func forgedARP(own net.HardwareAddr) []frameCase {
	short := arpPacket(2, own, guest4, peer4)
	return []frameCase{
		arpCase("reply with a foreign address", own, arpPacket(2, own, peer4, stranger4)),
		arpCase("announcement of a foreign address", own, arpPacket(1, own, peer4, peer4)),
		arpCase("foreign sender MAC", own, arpPacket(2, foreignMAC, guest4, peer4)),
		arpCase("foreign source MAC", foreignMAC, arpPacket(2, own, guest4, peer4)),
		arpCase("probe of a foreign address", own, arpPacket(1, own, "0.0.0.0", peer4)),
		arpCase("reply without a sender's address", own, arpPacket(2, own, "0.0.0.0", guest4)),
		arpCase("inverse request", own, arpPacket(8, own, guest4, peer4)),
		arpCase("other hardware", own, slices.Concat([]byte{0, 6}, short[2:])),
		arpCase("other lengths", own, slices.Concat(short[:4], []byte{8, 4}, short[6:])),
		arpCase("truncated", own, short[:14]),
		{"RARP", etherFrame(own, broadcastMAC, unix.ETH_P_RARP, short)},
	}
}

func forgedIP4(own net.HardwareAddr) []frameCase {
	udp := udpPacket(5000, 5001, "hello")
	offer := udpPacket(67, 68, "offer")
	redirect := []byte{5, 1, 0, 0, 10, 77, 0, 2, 0x45, 0, 0, 0}
	plain := ip4Packet(guest4, peer4, unix.IPPROTO_UDP, 0, offer)
	// The same datagram behind four bytes of IP options.
	withOptions := slices.Concat([]byte{0x46}, plain[1:20], []byte{1, 1, 1, 0}, plain[20:])
	return []frameCase{
		ip4Case("foreign source", own, ip4Packet(peer4, stranger4, unix.IPPROTO_UDP, 0, udp)),
		ip4Case("fragment with a foreign source", own, ip4Packet(peer4, stranger4, unix.IPPROTO_UDP, 1, udp)),
		ip4Case("no source", own, ip4Packet("0.0.0.0", peer4, unix.IPPROTO_UDP, 0, udp)),
		ip4Case("foreign source MAC", foreignMAC, ip4Packet(guest4, peer4, unix.IPPROTO_UDP, 0, udp)),
		ip4Case("DHCP server", own, ip4Packet(guest4, "255.255.255.255", unix.IPPROTO_UDP, 0, offer)),
		ip4Case("DHCP server in a fragment", own, ip4Packet(guest4, peer4, unix.IPPROTO_UDP, moreFragments4, offer[:8])),
		ip4Case("DHCP server behind options", own, withOptions),
		ip4Case("redirect", own, ip4Packet(guest4, peer4, unix.IPPROTO_ICMP, 0, redirect)),
		ip4Case("router advertisement", own, ip4Packet(guest4, "224.0.0.1", unix.IPPROTO_ICMP, 0, []byte{9, 0, 0, 0, 0, 0, 0, 0})),
		ip4Case("IGMP query", own, ip4Packet(guest4, "224.0.0.1", unix.IPPROTO_IGMP, 0, []byte{0x11, 0, 0, 0, 0, 0, 0, 0})),
		ip4Case("IGMP query without an address", own,
			ip4Packet("0.0.0.0", "224.0.0.1", unix.IPPROTO_IGMP, 0, []byte{0x11, 0, 0, 0, 0, 0, 0, 0})),
		ip4Case("truncated", own, plain[:14]),
	}
}

func forgedIP6(own net.HardwareAddr) []frameCase {
	local := linkLocal(own).String()
	udp, offer := udpPacket(5000, 5001, "hello"), udpPacket(547, 546, "offer")
	advert := routerAdvert("fdbd::", own)
	return []frameCase{
		ip6Case("foreign source", own, ip6Packet(peer6, stranger6, unix.IPPROTO_UDP, udp)),
		ip6Case("foreign link-local source", own, ip6Packet(linkLocal(foreignMAC).String(), peer6, unix.IPPROTO_UDP, udp)),
		ip6Case("fragment with a foreign source", own, ip6Packet(peer6, stranger6, unix.IPPROTO_FRAGMENT,
			extension(unix.IPPROTO_UDP, 8, udp))),
		ip6Case("no source", own, ip6Packet("::", peer6, unix.IPPROTO_UDP, udp)),
		ip6Case("IPv4 source", own, ip6Packet("::10.77.0.2", peer6, unix.IPPROTO_UDP, udp)),
		ip6Case("foreign source MAC", foreignMAC, ip6Packet(guest6, peer6, unix.IPPROTO_UDP, udp)),
		ip6Case("DHCP server", own, ip6Packet(local, "ff02::1", unix.IPPROTO_UDP, offer)),
		ip6Case("DHCP server in a fragment", own, ip6Packet(local, "ff02::1", unix.IPPROTO_FRAGMENT,
			extension(unix.IPPROTO_UDP, moreFragments6, offer[:8]))),
		icmp6Case("router advertisement", own, local, advert),
		ip6Case("router advertisement in a fragment", own, ip6Packet(local, "ff02::1", unix.IPPROTO_FRAGMENT,
			extension(unix.IPPROTO_ICMPV6, 0, advert))),
		ip6Case("router advertisement behind hop-by-hop options", own, ip6Packet(local, "ff02::1", unix.IPPROTO_HOPOPTS,
			extension(unix.IPPROTO_ICMPV6, padding6, advert))),
		ip6Case("router advertisement behind destination options", own, ip6Packet(local, "ff02::1", unix.IPPROTO_DSTOPTS,
			extension(unix.IPPROTO_ICMPV6, padding6, advert))),
		ip6Case("router advertisement behind a routing header", own, ip6Packet(local, "ff02::1", unix.IPPROTO_ROUTING,
			extension(unix.IPPROTO_ICMPV6, 0, advert))),
		ip6Case("router advertisement behind two headers", own, ip6Packet(local, "ff02::1", unix.IPPROTO_FRAGMENT,
			extension(unix.IPPROTO_DSTOPTS, moreFragments6, extension(unix.IPPROTO_ICMPV6, padding6, advert)))),
		icmp6Case("redirect", own, local, neighborMessage(137, 0, guest6, bytesOf(stranger6))),
		icmp6Case("listener query", own, local, neighborMessage(130, 0, "::", nil)),
		ip6Case("listener query behind hop-by-hop options", own, ip6Packet(local, "ff02::1", unix.IPPROTO_HOPOPTS,
			extension(unix.IPPROTO_ICMPV6, 0x0502, neighborMessage(130, 0, "::", nil)))),
		icmp6Case("advertisement of a foreign address", own, local, neighborMessage(136, 0x60, peer6, macOption(2, own))),
		icmp6Case("advertisement with a foreign MAC", own, guest6, neighborMessage(136, 0x60, guest6, macOption(2, foreignMAC))),
		icmp6Case("advertisement with two options", own, guest6,
			neighborMessage(136, 0x60, guest6, slices.Concat(macOption(2, own), macOption(2, foreignMAC)))),
		icmp6Case("advertisement without an address", own, "::", neighborMessage(136, 0, guest6, macOption(2, own))),
		icmp6Case("solicitation with a foreign source", own, peer6, neighborMessage(135, 0, stranger6, macOption(1, own))),
		icmp6Case("solicitation with a foreign MAC", own, guest6, neighborMessage(135, 0, peer6, macOption(1, foreignMAC))),
		icmp6Case("detection of duplicates of a foreign address", own, "::", neighborMessage(135, 0, peer6, nil)),
		icmp6Case("detection of duplicates with a MAC", own, "::", neighborMessage(135, 0, guest6, macOption(1, own))),
		icmp6Case("router solicitation with a foreign MAC", own, local,
			slices.Concat([]byte{133, 0, 0, 0, 0, 0, 0, 0}, macOption(1, foreignMAC))),
		ip6Case("truncated", own, ip6Packet(guest6, peer6, unix.IPPROTO_UDP, nil)),
	}
}

func otherFrames(own net.HardwareAddr) []frameCase {
	inner := slices.Concat(half(unix.ETH_P_IP), ip4Packet(guest4, peer4, unix.IPPROTO_UDP, 0, udpPacket(1, 2, "")))
	var cases []frameCase
	for _, protocol := range []uint16{0x88cc, 0x88b5, 0x8847, 0x8863, 38} { // LLDP, experiments, MPLS, PPPoE, LLC
		cases = append(cases, frameCase{fmt.Sprintf("protocol %#x", protocol), etherFrame(own, broadcastMAC, protocol, inner)})
	}
	return append(cases,
		frameCase{"VLAN tag", etherFrame(own, broadcastMAC, unix.ETH_P_8021Q, slices.Concat(half(5), inner))},
		frameCase{"priority tag", etherFrame(own, broadcastMAC, unix.ETH_P_8021Q, slices.Concat(half(0), inner))},
		frameCase{"provider's VLAN tag", etherFrame(own, broadcastMAC, unix.ETH_P_8021AD, slices.Concat(half(5), inner))},
		frameCase{"two VLAN tags", etherFrame(own, broadcastMAC, unix.ETH_P_8021AD,
			slices.Concat(half(5), half(unix.ETH_P_8021Q), half(6), inner))},
	)
}

// checkFrames sends each frame from the guest's tap, and checks whether the peer
// receives it.
func checkFrames(t *testing.T, o Options, want bool, cases func(own net.HardwareAddr) []frameCase) {
	t.Helper()
	a := newAlloc(t, 1500)
	a.checkFrames(t, a.attachWith(o), want, cases)
}

func (a *alloc) checkFrames(t *testing.T, tap *Tap, want bool, cases func(own net.HardwareAddr) []frameCase) {
	t.Helper()
	peer := newSniffer(t, a.peer, "peer7")
	for i, c := range cases(a.mac) {
		t.Run(c.name, func(t *testing.T) {
			mark := etherFrame(a.mac, broadcastMAC, unix.ETH_P_IP,
				ip4Packet(guest4, peer4, unix.IPPROTO_UDP, 0, udpPacket(1, 1, fmt.Sprint("mark ", i))))
			sendAll(t, tap, c.frame, mark)
			must.Eq(t, want, peer.receivesBefore(c.frame, mark))
		})
	}
}

func TestFilter_PassesFramesOfOwnAddresses(t *testing.T) {
	checkFrames(t, Options{}, true, ownFrames)
	checkFrames(t, Options{Offload: true}, true, ownFrames)
}

func forgedFrames(own net.HardwareAddr) []frameCase {
	return slices.Concat(forgedARP(own), forgedIP4(own), forgedIP6(own), otherFrames(own))
}

func TestFilter_DropsForgedFrames(t *testing.T) {
	checkFrames(t, Options{}, false, forgedFrames)
	checkFrames(t, Options{Offload: true}, false, forgedFrames)
}

func TestFilter_PassesForgedFramesIfAllowed(t *testing.T) {
	checkFrames(t, Options{AllowSpoofing: true}, true, forgedFrames)
}

// The namespace's own stack would answer a request for the alloc's address.
func TestFilter_DroppedFramesDoNotReachNamespace(t *testing.T) {
	a := newAlloc(t, 1500)
	tap := a.attach()
	sendAll(t, tap, etherFrame(a.mac, broadcastMAC, unix.ETH_P_ARP, arpPacket(1, a.mac, peer4, guest4)))
	mark := etherFrame(foreignMAC, broadcastMAC, unix.ETH_P_ARP, arpPacket(1, foreignMAC, stranger4, guest4))
	a.in(a.peer, func(n *namespace) error { return sendFrame(n, "peer7", mark) })
	must.NoError(t, tap.File.SetReadDeadline(time.Now().Add(testenv.Patience)))
	frame := make([]byte, 2000)
	for {
		n, err := tap.File.Read(frame)
		must.NoError(t, err)
		if bytes.Equal(frame[:n], mark) {
			return
		}
		isARP := bytes.Equal(frame[etherType:etherPayload], half(unix.ETH_P_ARP))
		must.False(t, isARP && bytes.Equal(frame[arpSender:arpSender+4], bytesOf(guest4)), must.Sprintf("%x", frame[:n]))
	}
}

// The kernel's own stack behind the tap can use all of IP.
func TestFilter_PassesFragmentsAndMulticastOfRealStack(t *testing.T) {
	a := newAlloc(t, 1500)
	g := newGuest(t, a, a.attach())
	for network, address := range map[string]string{"udp4": peer4 + ":7", "udp6": "[" + peer6 + "]:7"} {
		var receiver net.PacketConn
		a.in(a.peer, func(*namespace) (err error) {
			receiver, err = net.ListenPacket(network, address)
			return err
		})
		t.Cleanup(func() { _ = receiver.Close() })
		must.NoError(t, receiver.SetDeadline(time.Now().Add(testenv.Patience)))
		datagram := bytes.Repeat([]byte("0123456789"), 2000)
		_, err := dial(t, g.path, network, address).Write(datagram)
		must.NoError(t, err)
		received := make([]byte, 1<<16)
		n, _, err := receiver.ReadFrom(received)
		must.NoError(t, err)
		must.Eq(t, datagram, received[:n])
	}
	peer := newSniffer(t, a.peer, "peer7")
	for network, group := range map[string]string{"udp4": "224.1.2.3", "udp6": "ff02::1234"} {
		must.NoError(t, inNamespace(g.path, func(*namespace) error {
			iface, err := net.InterfaceByName("g0")
			if err != nil {
				return err
			}
			conn, err := net.ListenMulticastUDP(network, iface, &net.UDPAddr{IP: net.ParseIP(group), Port: 7})
			if err == nil {
				t.Cleanup(func() { _ = conn.Close() })
			}
			return err
		}))
		peer.awaitContent(bytesOf(group)) // a report of IGMP or MLD
	}
}

func TestFilter_LimitsNumberOfAddresses(t *testing.T) {
	a := newAlloc(t, 1500)
	addresses := func(first, end int) (texts []string) {
		for i := first; i < end; i++ {
			texts = append(texts, fmt.Sprintf("fd77::1:%x/64", i))
		}
		return texts
	}
	a.address(a.path, a.name, addresses(0, 100)...)
	tap := a.attach()
	peer := newSniffer(t, a.peer, "peer7")
	for _, from := range []string{"fd77::1:0", "fd77::1:63", guest6} {
		frame := etherFrame(a.mac, broadcastMAC, unix.ETH_P_IPV6, ip6Packet(from, peer6, unix.IPPROTO_UDP, udpPacket(1, 2, from)))
		sendAll(t, tap, frame)
		peer.awaitContent(frame)
	}
	must.NoError(t, tap.Close())
	a.address(a.path, a.name, addresses(100, 200)...)
	_, err := AttachL2(a.path, Options{})
	must.ErrorContains(t, err, "too many addresses")
	must.Eq(t, []string{"lo", "alloc7"}, a.links())
}
