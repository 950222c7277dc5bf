// SPDX-License-Identifier: MPL-2.0

package network

import (
	"net"
	"slices"
	"testing"

	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"
	xbpf "golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/bpf"
)

func metadataFrames(own net.HardwareAddr) (cases []frameCase) {
	tcp := func(port byte) []byte { return slices.Concat([]byte{0x90, 0, 0, port}, make([]byte, 16)) }
	for _, to := range []string{
		"169.254.169.254", "169.254.170.2", "169.254.170.23", "168.63.129.16", "100.100.100.200", "192.0.0.192",
	} {
		cases = append(cases,
			ip4Case("TCP to "+to, own, ip4Packet(guest4, to, unix.IPPROTO_TCP, 0, tcp(80))),
			ip4Case("UDP to "+to, own, ip4Packet(guest4, to, unix.IPPROTO_UDP, 0, udpPacket(53, 80, "get"))),
			ip4Case("echo request to "+to, own, ip4Packet(guest4, to, unix.IPPROTO_ICMP, 0, []byte{8, 0, 0, 0, 0, 0, 0, 0})))
	}
	const to4, to6 = "169.254.169.254", "fd00:ec2::254"
	// The same segment behind four bytes of IP options. The port of DNS is where the
	// segment's would be without them.
	plain := ip4Packet(guest4, to4, unix.IPPROTO_TCP, 0, tcp(80))
	withOptions := slices.Concat([]byte{0x46}, plain[1:20], []byte{1, 1, 0, 53}, plain[20:])
	for _, to := range []string{to6, "fd00:ec2::23", "fd20:ce::254", "fe80::a9fe:a9fe"} {
		cases = append(cases,
			ip6Case("TCP to "+to, own, ip6Packet(guest6, to, unix.IPPROTO_TCP, tcp(80))),
			ip6Case("UDP to "+to, own, ip6Packet(guest6, to, unix.IPPROTO_UDP, udpPacket(53, 80, "get"))))
	}
	return append(cases,
		ip4Case("first fragment", own, ip4Packet(guest4, to4, unix.IPPROTO_TCP, moreFragments4, tcp(80))),
		ip4Case("first fragment with the port of DNS", own, ip4Packet(guest4, to4, unix.IPPROTO_TCP, moreFragments4, tcp(53))),
		ip4Case("last fragment", own, ip4Packet(guest4, to4, unix.IPPROTO_TCP, 1, tcp(80))),
		ip4Case("behind options", own, withOptions),
		ip6Case("first fragment", own, ip6Packet(guest6, to6, unix.IPPROTO_FRAGMENT,
			extension(unix.IPPROTO_TCP, moreFragments6, tcp(53)))),
		ip6Case("last fragment", own, ip6Packet(guest6, to6, unix.IPPROTO_FRAGMENT, extension(unix.IPPROTO_TCP, 8, tcp(53)))),
	)
}

func taggedMetadataFrames(own net.HardwareAddr) []frameCase {
	packet := ip4Packet(stranger4, "169.254.169.254", unix.IPPROTO_TCP, 0, make([]byte, 20))
	inner := slices.Concat(half(unix.ETH_P_IP), packet)
	return []frameCase{
		{"foreign sender", etherFrame(foreignMAC, broadcastMAC, unix.ETH_P_IP, packet)},
		{"VLAN tag", etherFrame(own, broadcastMAC, unix.ETH_P_8021Q, slices.Concat(half(5), inner))},
		{"two VLAN tags", etherFrame(own, broadcastMAC, unix.ETH_P_8021AD,
			slices.Concat(half(5), half(unix.ETH_P_8021Q), half(6), inner))},
	}
}

func framesBesideMetadata(own net.HardwareAddr) (cases []frameCase) {
	query := udpPacket(5000, 53, "query")
	return append(ownFrames(own),
		ip4Case("DNS", own, ip4Packet(guest4, "169.254.169.254", unix.IPPROTO_UDP, 0, query)),
		ip4Case("DNS over TCP", own, ip4Packet(guest4, "168.63.129.16", unix.IPPROTO_TCP, 0,
			slices.Concat([]byte{0x90, 0, 0, 53}, make([]byte, 16)))),
		ip4Case("other link-local address", own, ip4Packet(guest4, "169.254.169.123", unix.IPPROTO_UDP, 0, udpPacket(1, 123, ""))),
		ip6Case("DNS", own, ip6Packet(guest6, "fd20:ce::254", unix.IPPROTO_UDP, query)),
		ip6Case("other address", own, ip6Packet(guest6, "fd00:ec2::253", unix.IPPROTO_UDP, udpPacket(1, 80, ""))))
}

func TestMetadata_IsBlocked(t *testing.T) {
	checkFrames(t, Options{BlockMetadata: true}, false, metadataFrames)
	checkFrames(t, Options{BlockMetadata: true}, true, framesBesideMetadata)
}

func TestMetadata_IsBlockedWithSpoofing(t *testing.T) {
	o := Options{BlockMetadata: true, AllowSpoofing: true, Offload: true}
	checkFrames(t, o, false, metadataFrames)
	checkFrames(t, o, false, taggedMetadataFrames)
	checkFrames(t, o, true, framesBesideMetadata)
}

func TestMetadata_PassesByDefault(t *testing.T) {
	checkFrames(t, Options{}, true, metadataFrames)
}

// attachGuarded connects a tap by guardTap and another classifier.
func (a *alloc) attachGuarded(owner owner, o Options) *Tap {
	a.t.Helper()
	tap := &Tap{MAC: a.mac, Offload: o.Offload}
	a.in(a.path, func(n *namespace) error {
		link, err := n.LinkByName(a.name)
		if err != nil {
			return err
		}
		f, device, err := n.createTap(1500, o.Offload)
		if err != nil {
			return err
		}
		a.t.Cleanup(func() { _ = f.Close() })
		tap.File = f
		if err := n.guardTap(device, owner, o); err != nil {
			return err
		}
		var all bpf.Program
		all.Return(pass)
		redirect := []netlink.Action{netlink.NewMirredAction(link.Attrs().Index)}
		return addClassifier(device.Attrs().Index, guestPriority, all, redirect)
	})
	return tap
}

func TestGuard_FiltersBeforeOtherClassifiers(t *testing.T) {
	for _, offload := range []bool{false, true} {
		a := newAlloc(t, 1500)
		found, err := Inspect(a.path, "")
		must.NoError(t, err)
		tap := a.attachGuarded(ownerOf(found), Options{Offload: offload, BlockMetadata: true})
		a.checkFrames(t, tap, true, ownFrames)
		a.checkFrames(t, tap, false, forgedFrames)
		a.checkFrames(t, tap, false, metadataFrames)
	}
}

// A load beyond the end of a frame ends a program with 0. This is TC_ACT_OK in a
// classifier without an action: the namespace's stack would receive the frame.
func TestGuard_ShortFramesHaveVerdict(t *testing.T) {
	own := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	iface := &Interface{MAC: own}
	programs := map[string]bpf.Program{
		"metadata": metadataFilter(), "owner": ownerOf(iface).filter(true),
		"shared": owner{mac: own, addresses4: addressWords(guest4), addresses6: addressWords(guest6)}.filter(true),
	}
	cases := slices.Concat(ownFrames(own), forgedFrames(own), metadataFrames(own), framesBesideMetadata(own))
	for name, program := range programs {
		machine := virtualMachine(t, withVerdicts(program))
		for _, c := range cases {
			for length := range len(c.frame) + 1 {
				for first := range 16 { // of the length of an IPv4 header
					frame := slices.Clone(c.frame[:length])
					if length > etherPayload {
						frame[etherPayload] = frame[etherPayload]&0xf0 | byte(first)
					}
					result, err := machine.Run(frame)
					must.NoError(t, err)
					must.NotEq(t, 0, result, must.Sprintf("%s: %s: %x", name, c.name, frame))
				}
			}
		}
	}
}

// virtualMachine runs a program over frames without a VLAN tag.
func virtualMachine(t *testing.T, program bpf.Program) *xbpf.VM {
	t.Helper()
	var tag bpf.Program
	tag.LoadVLANTagPresent()
	var raw []xbpf.RawInstruction
	for _, i := range program {
		if i == tag[0] {
			i = unix.SockFilter{Code: unix.BPF_LD | unix.BPF_IMM}
		}
		raw = append(raw, xbpf.RawInstruction{Op: i.Code, Jt: i.Jt, Jf: i.Jf, K: i.K})
	}
	instructions, ok := xbpf.Disassemble(raw)
	must.True(t, ok)
	machine, err := xbpf.NewVM(instructions)
	must.NoError(t, err)
	return machine
}

// The peer has the address of a metadata service and of the host's gateway.
func TestHostTraffic_BlocksMetadata(t *testing.T) {
	const metadata = "169.254.169.254"
	for _, block := range []bool{true, false} {
		a := newHost(t)
		a.address(a.peer, "peer7", metadata+"/32")
		tap, iface, err := a.tryHost(Options{BlockMetadata: block}, hostOptions())
		must.NoError(t, err)
		t.Cleanup(func() { _ = tap.Close() })
		g := runGuest(t, tap, iface)
		server := listenUDP(t, a.peer, ":80")
		bad := func() { send(t, g.path, metadata+":80", "bad") }
		good := func() { send(t, g.path, peer4+":80", "good") }
		if block {
			forbidden(t, server, bad, good)
		} else {
			bad()
			data, sender := receive(t, server)
			must.Eq(t, "bad", data)
			must.Eq(t, guest4, sender.Addr().String())
		}
		dns := listenUDP(t, a.peer, ":53")
		send(t, g.path, metadata+":53", "query")
		data, _ := receive(t, dns)
		must.Eq(t, "query", data)
	}
}
