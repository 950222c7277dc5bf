// SPDX-License-Identifier: MPL-2.0

package network

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// share attaches a guest in shared mode and configures it as the driver does.
func (a *alloc) share(t testing.TB, o Options, s Sharing) *guest {
	t.Helper()
	tap, err := AttachShared(a.path, o, s)
	must.NoError(t, err)
	t.Cleanup(func() { _ = tap.Close() })
	g := newGuest(t, a, tap)
	g.tap = tap
	must.NoError(t, inNamespace(g.path, func(n *namespace) error {
		ports := fmt.Sprintf("%d %d", tap.Ephemeral.First, tap.Ephemeral.Last)
		link, err := n.LinkByName("g0")
		err = errors.Join(err, os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte(ports), 0))
		if s.LoopbackTarget {
			err = errors.Join(err, os.WriteFile("/proc/sys/net/ipv4/conf/all/route_localnet", []byte("1"), 0))
		}
		for _, text := range []string{"192.0.0.0/29", "fd6c:6b6c:6c6b::/64"} {
			to, parseErr := netlink.ParseIPNet(text)
			err = errors.Join(err, parseErr, n.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: to}))
		}
		return err
	}))
	g.awaitAddresses(t)
	return g
}

// awaitAddresses waits until the guest's stack accepts packets to its addresses. Linux
// begins to do so for IPv6 some time after the interface is up.
func (g *guest) awaitAddresses(t testing.TB) {
	t.Helper()
	must.Wait(t, testenv.Eventually(func() error {
		return inNamespace(g.path, func(n *namespace) error {
			link, err := n.LinkByName("g0")
			if err != nil {
				return err
			}
			addresses, err := n.AddrList(link, netlink.FAMILY_ALL)
			for _, a := range addresses {
				if a.IP.IsLinkLocalUnicast() {
					continue // checked for duplicates for a second
				}
				routes, routeErr := n.RouteGet(a.IP)
				if routeErr == nil && (len(routes) != 1 || routes[0].Type != unix.RTN_LOCAL) {
					routeErr = fmt.Errorf("%s is not local yet: %v", a.IP, routes)
				}
				err = errors.Join(err, routeErr)
			}
			return err
		})
	}))
}

// serve starts an echo service for TCP and one for UDP in a namespace.
func serve(t testing.TB, path, address string, port int) {
	t.Helper()
	target := net.JoinHostPort(address, fmt.Sprint(port))
	go serveEcho(listen(t, path, "tcp", target))
	must.NoError(t, inNamespace(path, func(*namespace) error {
		socket, err := net.ListenPacket("udp", target)
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = socket.Close() })
		go func() {
			buffer := make([]byte, 1<<16)
			for {
				size, from, err := socket.ReadFrom(buffer)
				if errors.Is(err, net.ErrClosed) {
					return
				}
				if err == nil {
					_, _ = socket.WriteTo(buffer[:size], from) // the test expects the answer
				}
			}
		}()
		return nil
	}))
}

// reaches connects by TCP and UDP from a namespace and expects echoes.
func reaches(t testing.TB, path, address string, port int) {
	t.Helper()
	for _, network := range []string{"tcp", "udp"} {
		t.Logf("%s %s %d", network, address, port)
		checkEcho(t, dial(t, path, network, net.JoinHostPort(address, fmt.Sprint(port))))
	}
}

const (
	guestPort    = 80
	neighborPort = 5000
	peerPort     = 6000
)

// Addresses of a family. The last ones are those of the neighbors for the guest.
type sharedFamily struct{ any, loopback, peer, own, neighborLoopback, neighborAddress string }

var sharedFamilies = []sharedFamily{
	{"0.0.0.0", "127.0.0.1", peer4, guest4, NeighborLoopback.String(), NeighborAddress.String()},
	{"::", "::1", peer6, guest6, NeighborLoopback6.String(), NeighborAddress6.String()},
}

func declared(port uint16) Sharing {
	ports := []PortRange{{port, port}}
	return Sharing{TCP: ports, UDP: ports}
}

func TestAttachShared_ConnectsGuestNeighborAndWire(t *testing.T) {
	for _, o := range []Options{{}, {Offload: true}, {AllowSpoofing: true, Offload: true}, {BlockMetadata: true}} {
		for _, f := range sharedFamilies {
			t.Run(fmt.Sprintf("%+v %s", o, f.any), func(t *testing.T) {
				a := newAlloc(t, 1500)
				g := a.share(t, o, declared(guestPort))
				serve(t, g.path, f.any, guestPort)
				serve(t, a.path, f.any, neighborPort)
				serve(t, a.peer, f.any, peerPort)
				reaches(t, a.peer, f.own, guestPort)
				reaches(t, a.peer, f.own, neighborPort)
				reaches(t, g.path, f.peer, peerPort)
				reaches(t, a.path, f.peer, peerPort)
				reaches(t, a.path, f.loopback, guestPort)
				reaches(t, a.path, f.own, guestPort)
				reaches(t, g.path, f.neighborLoopback, neighborPort)
				reaches(t, g.path, f.neighborAddress, neighborPort)
				reaches(t, a.path, f.loopback, neighborPort)
				reaches(t, a.path, f.own, neighborPort)
			})
		}
	}
}

// A guest that accepts packets to 127.0.0.1 from its interface is reached by programs that
// listen only there.
func TestAttachShared_ReachesLoopbackOfGuest(t *testing.T) {
	a := newAlloc(t, 1500)
	s := declared(guestPort)
	s.LoopbackTarget = true
	g := a.share(t, Options{}, s)
	serve(t, g.path, "127.0.0.1", guestPort)
	serve(t, a.path, "127.0.0.1", neighborPort)
	reaches(t, a.path, "127.0.0.1", guestPort)
	reaches(t, g.path, NeighborLoopback.String(), neighborPort)
}

func TestAttachShared_ConnectsGuests(t *testing.T) {
	for _, f := range sharedFamilies {
		t.Run(f.any, func(t *testing.T) {
			a := newAlloc(t, 1500)
			first := a.share(t, Options{}, declared(guestPort))
			second := a.share(t, Options{Offload: true}, declared(guestPort+1))
			serve(t, first.path, f.any, guestPort)
			serve(t, second.path, f.any, guestPort+1)
			for _, alias := range []string{f.neighborLoopback, f.neighborAddress} {
				reaches(t, first.path, alias, guestPort+1)
				reaches(t, second.path, alias, guestPort)
			}
			reaches(t, a.peer, f.own, guestPort)
			reaches(t, a.peer, f.own, guestPort+1)
			reaches(t, a.path, f.loopback, guestPort)
			reaches(t, a.path, f.loopback, guestPort+1)
		})
	}
}

// The rest of the ports belongs to the guest as long as no neighbor uses them.
func TestAttachShared_RestExcludesPortsOfNeighbors(t *testing.T) {
	for _, f := range sharedFamilies {
		t.Run(f.any, func(t *testing.T) {
			a := newAlloc(t, 1500)
			g := a.share(t, Options{}, Sharing{Rest: true})
			other := a.share(t, Options{}, declared(guestPort+1))
			serve(t, a.path, f.any, neighborPort)
			serve(t, other.path, f.any, guestPort+1)
			serve(t, g.path, f.any, guestPort)
			serve(t, a.peer, f.any, peerPort)
			for _, path := range []string{a.peer, a.path} {
				reaches(t, path, f.own, guestPort)
				reaches(t, path, f.own, guestPort+1)
				reaches(t, path, f.own, neighborPort)
			}
			reaches(t, g.path, f.neighborLoopback, neighborPort)
			reaches(t, g.path, f.neighborLoopback, guestPort+1)
			for _, path := range []string{a.path, g.path, other.path} {
				reaches(t, path, f.peer, peerPort)
			}
		})
	}
}

// A guest that chooses the ports of its connections itself must not get those on which a
// guest with the rest of the ports listens. The order of the starts does not matter.
func TestAttachShared_AnyPortComesAfterRest(t *testing.T) {
	for _, f := range sharedFamilies {
		t.Run(f.any, func(t *testing.T) {
			a := newAlloc(t, 1500)
			sharing := declared(guestPort + 1)
			sharing.AnyPort = true
			first := a.share(t, Options{}, sharing)
			serve(t, first.path, f.any, guestPort+1)
			serve(t, first.path, f.any, guestPort+2)
			reaches(t, a.peer, f.own, guestPort+2)
			g := a.share(t, Options{}, Sharing{Rest: true})
			serve(t, g.path, f.any, guestPort)
			for _, path := range []string{a.peer, a.path} {
				reaches(t, path, f.own, guestPort)
				reaches(t, path, f.own, guestPort+1)
			}
		})
	}
}

func TestDetach_LeavesNamespaceAsBeforeSharing(t *testing.T) {
	a := newAlloc(t, 1500)
	first, err := AttachShared(a.path, Options{}, declared(guestPort))
	must.NoError(t, err)
	second, err := AttachShared(a.path, Options{}, Sharing{Rest: true})
	must.NoError(t, err)
	must.Eq(t, PortRange{16384, 32767}, first.Ephemeral)
	must.Eq(t, PortRange{4096, 5119}, second.Ephemeral)
	must.NoError(t, first.Close())
	must.NoError(t, Detach(a.path, first.Name))
	must.Eq(t, 2, len(a.ingressState().sharing))
	must.NoError(t, second.Close())
	must.NoError(t, Detach(a.path, second.Name))
	must.NoError(t, Detach(a.path, second.Name))
	must.Eq(t, ingressState{}, a.ingressState())
	must.Eq(t, []string{"lo", "alloc7"}, a.links())
	must.Eq(t, ingressState{}, a.ingressOf("lo"))
	a.in(a.path, func(*namespace) error {
		for _, name := range loopbackSettings {
			value, err := os.ReadFile(devicesIPv4 + "lo/" + name)
			must.NoError(t, err)
			must.Eq(t, "0\n", string(value))
		}
		return nil
	})
}

func TestAttachShared_RefusesInterfaceOfL2Guest(t *testing.T) {
	a := newAlloc(t, 1500)
	alone := a.attach()
	_, err := AttachShared(a.path, Options{}, Sharing{Rest: true})
	must.ErrorIs(t, err, ErrTaken)
	must.NoError(t, alone.Close())
	tap, err := AttachShared(a.path, Options{}, Sharing{Rest: true})
	must.NoError(t, err, must.Sprint("the redirection of a guest that has ended must be replaced"))
	_, err = AttachL2(a.path, Options{})
	must.ErrorIs(t, err, ErrTaken)
	must.ErrorContains(t, err, tap.Name)
	must.NoError(t, tap.Close())
	a.attach()
	must.Eq(t, ingressState{}, a.ingressOf("lo"))
}

func TestAttachShared_RefusesForeignTrafficControl(t *testing.T) {
	for _, name := range []string{"lo", "alloc7"} {
		a := newAlloc(t, 1500)
		a.in(a.path, func(n *namespace) error {
			link, err := n.LinkByName(name)
			must.NoError(t, err)
			return n.QdiscAdd(&netlink.GenericQdisc{QdiscType: "clsact", QdiscAttrs: netlink.QdiscAttrs{
				LinkIndex: link.Attrs().Index, Handle: ingressHandle, Parent: netlink.HANDLE_INGRESS,
			}})
		})
		_, err := AttachShared(a.path, Options{}, Sharing{Rest: true})
		must.ErrorIs(t, err, ErrForeign)
		must.ErrorContains(t, err, name)
		must.Eq(t, []string{"lo", "alloc7"}, a.links())
		must.Eq(t, name == "lo", a.ingressOf("lo").exists)
	}
}

// A guest that is killed leaves filters, which the next one replaces. Its slot is free.
func TestAttachShared_ReplacesFiltersOfEndedGuests(t *testing.T) {
	a := newAlloc(t, 1500)
	var taps []*Tap
	for range 3 {
		tap, err := AttachShared(a.path, Options{}, declared(guestPort))
		must.NoError(t, err)
		taps = append(taps, tap)
	}
	filters := len(a.ingressState().sharing)
	must.NoError(t, taps[1].Close())
	g := a.share(t, Options{}, declared(guestPort+1))
	must.Eq(t, taps[1].Ephemeral, g.tap.Ephemeral)
	must.Eq(t, filters, len(a.ingressState().sharing))
	must.Eq(t, filters, len(a.ingressOf("lo").sharing))
	serve(t, g.path, "0.0.0.0", guestPort+1)
	reaches(t, a.peer, guest4, guestPort+1)
	reaches(t, a.path, "127.0.0.1", guestPort+1)
	for _, tap := range taps {
		_ = tap.Close() // one is closed already
	}
	must.NoError(t, Detach(a.path, g.tap.Name))
	must.Eq(t, ingressState{}, a.ingressState())
	must.Eq(t, ingressState{}, a.ingressOf("lo"))
}

// A guest may end after the tap of the next one has been named. The filters must not seem to
// belong to the new tap.
func TestClaimSlot_RemovesFiltersOfATapOfTheSameName(t *testing.T) {
	a := newAlloc(t, 1500)
	ended, err := AttachShared(a.path, Options{}, declared(guestPort))
	must.NoError(t, err)
	must.NoError(t, ended.Close())
	a.in(a.path, func(n *namespace) error {
		f, tap, err := n.createTap(MaxMTU, false)
		must.NoError(t, err)
		defer f.Close()
		must.Eq(t, ended.Name, tap.Attrs().Name)
		link, err := n.LinkByName(a.name)
		must.NoError(t, err)
		slot, err := n.claimSlot(ended.Name, link)
		must.Eq(t, 0, slot)
		return err
	})
	must.Eq(t, ingressState{}, a.ingressState())
	must.Eq(t, ingressState{}, a.ingressOf("lo"))
}

func TestAttachShared_LimitsGuests(t *testing.T) {
	a := newAlloc(t, 1500)
	ranges := map[PortRange]bool{}
	for range maxSharing {
		tap, err := AttachShared(a.path, Options{}, Sharing{Rest: true})
		must.NoError(t, err)
		t.Cleanup(func() { _ = tap.Close() })
		ranges[tap.Ephemeral] = true
		must.GreaterEq(t, 1023, int(tap.Ephemeral.Last)-int(tap.Ephemeral.First))
		must.Less(t, 32768, tap.Ephemeral.Last)
	}
	must.Eq(t, maxSharing, len(ranges))
	_, err := AttachShared(a.path, Options{}, Sharing{Rest: true})
	must.ErrorIs(t, err, ErrTooMany)
}

// Failed attempts leave nothing.
func TestAttachShared_LimitsAddresses(t *testing.T) {
	a := newAlloc(t, 1500)
	for i := range 20 {
		a.address(a.path, a.name, fmt.Sprintf("10.77.1.%d/24", i+1))
	}
	_, err := AttachShared(a.path, Options{}, Sharing{Rest: true})
	must.ErrorContains(t, err, "addresses")
	must.Eq(t, []string{"lo", "alloc7"}, a.links())
	must.Eq(t, ingressState{}, a.ingressState())
	must.Eq(t, ingressState{}, a.ingressOf("lo"))
}

// A guest asks for the aliases' MACs, without an IPv4 address or from a link-local address
// if the alloc has no address of the family. The namespace's stack and the wire do not see
// these requests.
func TestAttachShared_ResolvesAliases(t *testing.T) {
	a := newAlloc(t, 1500)
	tap, err := AttachShared(a.path, Options{}, Sharing{Rest: true})
	must.NoError(t, err)
	defer func() { _ = tap.Close() }()
	must.NoError(t, tap.File.SetReadDeadline(time.Now().Add(testenv.Patience)))
	aliasMAC := net.HardwareAddr{2, 'l', 'k', 'l', 0, 1}
	ask := func(question, answer []byte) {
		t.Helper()
		sendAll(t, tap, question)
		frame := make([]byte, 2000)
		for {
			n, err := tap.File.Read(frame)
			must.NoError(t, err)
			if slices.Equal(frame[6:12], aliasMAC) {
				must.Eq(t, answer, frame[:n])
				return
			}
		}
	}
	for _, sender := range []string{guest4, "0.0.0.0", "127.0.0.1"} {
		answer := arpPacket(2, aliasMAC, "192.0.0.1", sender)
		copy(answer[18:], a.mac)
		ask(etherFrame(a.mac, broadcastMAC, unix.ETH_P_ARP, arpPacket(1, a.mac, sender, "192.0.0.1")),
			etherFrame(aliasMAC, a.mac, unix.ETH_P_ARP, answer))
	}
	const alias = "fd6c:6b6c:6c6b::2"
	for _, sender := range []string{guest6, linkLocal(a.mac).String()} {
		question := neighborMessage(135, 0, alias, macOption(1, a.mac))
		answer := neighborMessage(136, 0x60, alias, macOption(2, aliasMAC))
		ask(etherFrame(a.mac, broadcastMAC, unix.ETH_P_IPV6, ip6Packet(sender, "ff02::1:ff00:2", unix.IPPROTO_ICMPV6, question)),
			etherFrame(aliasMAC, a.mac, unix.ETH_P_IPV6, ip6Packet(alias, sender, unix.IPPROTO_ICMPV6, answer)))
	}
}
