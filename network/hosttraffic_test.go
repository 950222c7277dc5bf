// SPDX-License-Identifier: MPL-2.0

package network

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// listenUDP opens a UDP socket in a namespace.
func listenUDP(t testing.TB, path, address string) *net.UDPConn {
	t.Helper()
	var c net.PacketConn
	must.NoError(t, inNamespace(path, func(*namespace) (err error) {
		c, err = net.ListenPacket("udp", address)
		return err
	}))
	t.Cleanup(func() { _ = c.Close() })
	must.NoError(t, c.SetDeadline(time.Now().Add(testenv.Patience)))
	return c.(*net.UDPConn)
}

// receive returns the next datagram and its sender.
func receive(t testing.TB, c *net.UDPConn) (string, netip.AddrPort) {
	t.Helper()
	b := make([]byte, 1<<16)
	n, from, err := c.ReadFromUDPAddrPort(b)
	must.NoError(t, err)
	return string(b[:n]), netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// send sends a datagram from a namespace. Errors of earlier datagrams are ignored.
func send(t testing.TB, path, address, data string) {
	t.Helper()
	_, err := dial(t, path, "udp", address).Write([]byte(data))
	must.NoError(t, err)
}

// Datagrams of all sizes pass both ways, also in fragments.
func TestHostTraffic_UDP(t *testing.T) {
	a := newHost(t)
	g, _, _ := a.newHostGuest(t, hostOptions(HostPort{Port: 53, Target: 5353}))
	server := listenUDP(t, g.path, ":5353")
	for _, from := range []string{a.peer, a.path} {
		for _, to := range []string{guest4, guest6} {
			client := dial(t, from, "udp", net.JoinHostPort(to, "53"))
			for _, size := range []int{1, 1400, 1473, 9000, 60000} {
				data := bytes.Repeat([]byte{byte(size)}, size)
				_, err := client.Write(data)
				must.NoError(t, err)
				got, sender := receive(t, server)
				must.True(t, string(data) == got)
				_, err = server.WriteToUDPAddrPort(data, sender)
				must.NoError(t, err)
				back := make([]byte, 1<<16)
				n, err := client.Read(back)
				must.NoError(t, err)
				must.True(t, bytes.Equal(data, back[:n]))
			}
		}
	}
}

// Packets of the guest leave with the host's address.
func TestHostTraffic_LeavesWithTheHostsAddress(t *testing.T) {
	a := newHost(t)
	g, _, _ := a.newHostGuest(t, hostOptions())
	for to, from := range map[string]string{peer4: guest4, peer6: guest6} {
		server := listenUDP(t, a.peer, net.JoinHostPort(to, "99"))
		send(t, g.path, net.JoinHostPort(to, "99"), "hello")
		data, sender := receive(t, server)
		must.Eq(t, "hello", data)
		must.Eq(t, from, sender.Addr().String())
	}
	outside := &alloc{t: t, peer: g.path}
	outside.ping(t, peer4)
	outside.ping(t, guest4)
}

// forbidden sends a datagram that must not arrive, and then one that must.
func forbidden(t *testing.T, server *net.UDPConn, bad, good func()) {
	t.Helper()
	bad()
	good()
	data, _ := receive(t, server)
	must.Eq(t, "good", data)
}

func TestHostTraffic_GuestsAreReachedOnlyAtDeclaredPorts(t *testing.T) {
	a := newHost(t)
	g, _, iface := a.newHostGuest(t, hostOptions(HostPort{Port: 53, Target: 7}))
	other, _, _ := a.newHostGuest(t, hostOptions())
	server := listenUDP(t, g.path, ":7")
	a.in(a.peer, func(n *namespace) error { // other hosts may send anything to the host
		for _, subnet := range []netip.Prefix{DefaultHostSubnet, DefaultHostSubnet6} {
			gateway := map[bool]string{true: guest4, false: guest6}[subnet.Addr().Is4()]
			must.NoError(t, n.RouteAdd(&netlink.Route{Dst: toIPNet(subnet), Gw: net.ParseIP(gateway)}))
		}
		return nil
	})
	for i, to := range []string{guest4, guest6} {
		link := netip.AddrPortFrom(iface.Addresses[i].Addr(), 7).String()
		for _, from := range []string{a.peer, other.path} {
			good := func() { send(t, from, net.JoinHostPort(to, "53"), "good") }
			forbidden(t, server, func() { send(t, from, link, "bad") }, good)
		}
	}
}

// A port at 127.0.0.1 and the processes at 127.0.0.1 are for the host alone, although the
// tap accepts packets to this address.
func TestHostTraffic_LoopbackIsForTheHostAlone(t *testing.T) {
	a := newHost(t)
	g, tap, iface := a.newHostGuest(t, hostOptions(
		HostPort{Port: 53, Target: 7}, HostPort{Address: netip.MustParseAddr("127.0.0.1"), Port: 54, Target: 7}))
	own, gateway := iface.Addresses[0].Addr().String(), iface.Gateway4.String()
	server := listenUDP(t, g.path, ":7")
	send(t, a.path, "127.0.0.1:54", "good")
	data, _ := receive(t, server)
	must.Eq(t, "good", data)
	fromPeer := func(to string, port uint16, data string) {
		frame := etherFrame(a.macOf(a.peer, "peer7"), a.mac, unix.ETH_P_IP,
			ip4Packet(peer4, to, unix.IPPROTO_UDP, 0, udpPacket(1000, port, data)))
		a.in(a.peer, func(n *namespace) error { return sendFrame(n, "peer7", frame) })
	}
	fromGuest := func(to string, port uint16, data string) {
		frame := etherFrame(tap.MAC, a.macOf(a.path, tap.Name), unix.ETH_P_IP,
			ip4Packet(own, to, unix.IPPROTO_UDP, 0, udpPacket(1000, port, data)))
		_, err := tap.File.Write(frame)
		must.NoError(t, err)
	}
	for _, write := range []func(string, uint16, string){fromPeer, fromGuest} {
		forbidden(t, server, func() { write("127.0.0.1", 54, "bad") }, func() { write(guest4, 53, "good") })
	}
	private, public := listenUDP(t, a.path, "127.0.0.1:99"), listenUDP(t, a.path, gateway+":99")
	fromGuest("127.0.0.1", 99, "bad")
	fromGuest(gateway, 99, "good") // arrives after the other one
	data, _ = receive(t, public)
	must.Eq(t, "good", data)
	send(t, a.path, "127.0.0.1:99", "good")
	data, _ = receive(t, private)
	must.Eq(t, "good", data)
}

// Rules of a guest that has ended do not lead to other hosts.
func TestHostTraffic_StaysOnTheHostAfterTheGuestsEnd(t *testing.T) {
	a := newHost(t)
	tap, iface := a.attachHost(t, hostOptions(HostPort{Port: 53, Target: 7}))
	a.address(a.peer, "lo", iface.Addresses[0].Addr().String()+"/32", iface.Addresses[1].Addr().String()+"/128")
	server := listenUDP(t, a.peer, ":7")
	must.NoError(t, tap.Close())
	for own, to := range map[string]string{guest4: peer4, guest6: peer6} {
		good := func() { send(t, a.path, net.JoinHostPort(to, "7"), "good") }
		forbidden(t, server, func() { a.trySend(net.JoinHostPort(own, "53"), "bad") }, good)
	}
}

// trySend sends a datagram from the host that the host may refuse.
func (a *alloc) trySend(address, data string) {
	a.in(a.path, func(*namespace) error {
		c, err := net.Dial("udp", address)
		must.NoError(a.t, err)
		_, _ = c.Write([]byte(data))
		return c.Close()
	})
}

// A neighbor of the host cannot use the host as a router, before, during and after host
// mode. Another program that switches forwarding on is not disturbed.
func TestHostTraffic_ForwardsNothingElse(t *testing.T) {
	a := newHost(t)
	far := newNamespace(t)
	a.joinFar(t, far)
	server := map[string]*net.UDPConn{far4: listenUDP(t, far, far4+":7"), far6: listenUDP(t, far, "["+far6+"]:7")}
	closed := func() {
		t.Helper()
		for to, s := range server {
			own := map[bool]string{true: guest4, false: guest6}[to == far4]
			host := listenUDP(t, a.path, net.JoinHostPort(own, "9"))
			forbidden(t, s, func() { send(t, a.peer, net.JoinHostPort(to, "7"), "bad") }, func() {
				send(t, a.peer, net.JoinHostPort(own, "9"), "mark") // arrives after the other datagram
				data, _ := receive(t, host)
				must.Eq(t, "mark", data)
				send(t, a.path, net.JoinHostPort(to, "7"), "good")
			})
			must.NoError(t, host.Close())
		}
	}
	closed()
	before := a.dump(t)
	g, tap, _ := a.newHostGuest(t, hostOptions(HostPort{Port: 80, Target: 7}))
	closed()
	go serveEcho(listen(t, g.path, "tcp4", ":7"))
	checkEcho(t, dial(t, a.peer, "tcp4", guest4+":80"))
	checkEcho(t, dial(t, far, "tcp4", "10.88.0.1:80"))
	go serveEcho(listen(t, far, "tcp", ":8"))
	checkEcho(t, dial(t, g.path, "tcp", far4+":8"))
	checkEcho(t, dial(t, g.path, "tcp", "["+far6+"]:8"))
	must.NoError(t, tap.Close())
	closed() // the tap's end alone opens nothing
	a.detachHost(t)
	must.Eq(t, before, a.dump(t))
	closed()
}

// Nomad's bridge may start after the first guest in host mode. Its plugins switch
// forwarding on and translate addresses.
func TestHostTraffic_LeavesOtherTranslationAlone(t *testing.T) {
	testenv.Need(t, testenv.Tool("iptables"))
	a := newHost(t)
	a.attachHost(t, hostOptions())
	far := newNamespace(t) // stands for an alloc
	a.joinFar(t, far)
	a.in(a.path, func(*namespace) error {
		for _, rule := range []string{
			"-A PREROUTING -p tcp --dport 90 -j DNAT --to-destination " + far4 + ":7",
			"-A POSTROUTING -s 10.88.0.0/24 ! -d 10.88.0.0/24 -j MASQUERADE",
		} {
			out, err := exec.Command("iptables", append([]string{"-w", "-t", "nat"}, strings.Fields(rule)...)...).CombinedOutput()
			must.NoError(t, err, must.Sprint(string(out)))
		}
		return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
	})
	go serveEcho(listen(t, far, "tcp4", ":7"))
	checkEcho(t, dial(t, a.peer, "tcp4", guest4+":90"))
	go serveEcho(listen(t, a.peer, "tcp4", ":8"))
	checkEcho(t, dial(t, far, "tcp4", peer4+":8"))
}

const far4, far6 = "10.88.0.2", "fd88::2"

// joinFar connects another namespace to the host. The peer sends packets for it to the
// host.
func (a *alloc) joinFar(t *testing.T, far string) {
	t.Helper()
	b := &alloc{t: t, path: far, peer: a.path, name: "far8"}
	ns, err := os.Open(far)
	must.NoError(t, err)
	defer ns.Close()
	a.in(a.path, func(n *namespace) error {
		return n.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "near8"}, PeerName: "far8", PeerNamespace: netlink.NsFd(ns.Fd()),
		})
	})
	b.address(a.path, "near8", "10.88.0.1/24", "fd88::1/64")
	b.address(far, "far8", far4+"/24", far6+"/64")
	b.route("", "10.88.0.1", 0)
	b.route("", "fd88::1", 0)
	a.in(a.peer, func(n *namespace) error {
		for gateway, subnet := range map[string]string{guest4: "10.88.0.0/24", guest6: "fd88::/64"} {
			must.NoError(t, n.RouteAdd(&netlink.Route{Dst: toIPNet(netip.MustParsePrefix(subnet)), Gw: net.ParseIP(gateway)}))
		}
		return nil
	})
}

// Path MTU discovery of the guest learns of a smaller MTU behind the host.
func TestHostTraffic_PathMTU(t *testing.T) {
	a := newHost(t)
	far := newNamespace(t)
	a.joinFar(t, far)
	g, _, _ := a.newHostGuest(t, hostOptions())
	a.in(a.path, func(n *namespace) error {
		link, err := n.LinkByName("near8")
		must.NoError(t, err)
		return n.LinkSetMTU(link, 1300)
	})
	for _, to := range []string{far4, far6} {
		server := listenUDP(t, far, net.JoinHostPort(to, "7"))
		c := dial(t, g.path, "udp", net.JoinHostPort(to, "7")).(*net.UDPConn)
		raw, err := c.SyscallConn()
		must.NoError(t, err)
		must.NoError(t, raw.Control(func(fd uintptr) {
			must.NoError(t, unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO))
			if to == far6 {
				must.NoError(t, unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO))
			}
		}))
		must.Wait(t, testenv.Eventually(func() error {
			if _, err := c.Write(make([]byte, 1400)); err == nil {
				return fmt.Errorf("1400 bytes fit")
			}
			return nil
		}))
		must.Wait(t, testenv.Eventually(func() error { // the socket reports errors of earlier datagrams
			_, err := c.Write(make([]byte, 1200))
			return err
		}))
		data, _ := receive(t, server)
		must.Eq(t, 1200, len(data))
	}
}

// The next guest at an address gets no packets of connections to the guest before it.
func TestHostTraffic_ForgetsConnections(t *testing.T) {
	a := newHost(t)
	local := listenUDP(t, a.path, guest4+":53")
	client := dial(t, a.peer, "udp4", guest4+":53")
	write := func(data string) {
		_, err := client.Write([]byte(data))
		must.NoError(t, err)
	}
	write("to the host")
	data, _ := receive(t, local)
	must.Eq(t, "to the host", data)
	must.NoError(t, local.Close())
	for _, target := range []uint16{7, 8} {
		g, tap, _ := a.newHostGuest(t, hostOptions(HostPort{Port: 53, Target: target}))
		server := listenUDP(t, g.path, fmt.Sprintf(":%d", target))
		write(fmt.Sprint(target))
		data, _ := receive(t, server)
		must.Eq(t, fmt.Sprint(target), data)
		must.NoError(t, tap.Close())
		a.detachHost(t)
	}
}
