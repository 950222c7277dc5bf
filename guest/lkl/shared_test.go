// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/network"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// enterSharedNetwork makes the test's namespace that of an allocation, with the interface
// eth0 and these addresses. Processes of the test are the neighbors of a guest that shares
// it.
func enterSharedNetwork(t *testing.T, addresses ...string) bool {
	t.Helper()
	if !enterOwnNetwork(t) {
		return false
	}
	for _, args := range []string{
		"link del tap0", "link add eth0 type veth peer name outside", "link set outside up", "link set eth0 up",
	} {
		runIP(t, args)
	}
	for _, address := range addresses {
		runIP(t, "addr add "+address+" dev eth0 nodad")
	}
	return true
}

// startSharedGuest starts testdata/neighbors.c in shared mode. Its ports are 7 and 800.
func startSharedGuest(t *testing.T, offload bool, words ...string) *guest {
	t.Helper()
	ports := []network.PortRange{{First: 7, Last: 7}, {First: 800, Last: 801}}
	tap, err := network.AttachShared("/proc/self/ns/net", network.Options{Interface: "eth0", Offload: offload, MaxMTU: 65535},
		network.Sharing{TCP: ports, UDP: ports, LoopbackTarget: true})
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, network.Detach("/proc/self/ns/net", tap.Name)) })
	s := guestSpec{kernel: compileGuest(t, "neighbors.c"), tap: "@5", extra: tap.File, args: words}
	keys := map[string]string{"name": "tap", "rename": "eth0", "mac": tap.MAC.String()}
	if offload {
		keys["offload"] = "1"
		s.options = []string{"--net-offload:tap"}
	}
	found, err := network.Inspect("/proc/self/ns/net", "eth0")
	must.NoError(t, err)
	for _, p := range found.Addresses {
		address, length := "ip", "masklen"
		if p.Addr().Is6() {
			address, length = "ipv6", "masklen6"
		}
		keys[address], keys[length] = p.Addr().String(), strconv.Itoa(p.Bits())
	}
	s.config = map[string]any{"interfaces": []map[string]string{keys}}
	s.config["neighbors"] = map[string]string{
		"loopback": network.NeighborLoopback.String(), "address": network.NeighborAddress.String(),
		"loopback6": network.NeighborLoopback6.String(), "address6": network.NeighborAddress6.String(),
	}
	s.config["sysctl"] = fmt.Sprintf("net.ipv4.ip_local_port_range=%d %d", tap.Ephemeral.First, tap.Ephemeral.Last)
	g := startGuest(t, s)
	must.NoError(t, tap.File.Close())
	return g
}

// In shared mode a guest and the processes of its namespace reach each other as if the
// guest were one of them, and over its own network as well.
func TestShared_GuestIsLikeAProcess(t *testing.T) {
	if !enterSharedNetwork(t, "10.0.0.2/24", "fd00::2/64") {
		return
	}
	for _, address := range []string{"127.0.0.1:700", "10.0.0.2:700", "[::1]:700", "[fd00::2]:700"} {
		serveEcho(t, address)
	}
	eachOffload(t, func(t *testing.T, offload bool) {
		g := startSharedGuest(t, offload,
			"tcp,127.0.0.1,700", "tcp,10.0.0.2,700", "tcp,::1,700", "tcp,fd00::2,700", "tcp,::ffff:127.0.0.1,700",
			"udp,127.0.0.1,700", "udp,10.0.0.2,700", "udp,::1,700", "udp,fd00::2,700",
			"tcp,127.0.0.1,701", "tcp,fd00::2,701", "udp-error,127.0.0.1,701", "udp-error,::1,701",
			"listen-tcp,0.0.0.0,7", "listen-tcp,::1,800", "listen-udp,0.0.0.0,7", "listen-udp,::1,801",
		)
		g.expectLine(t, "waiting")
		test.Eq(t, []string{
			"tcp 127.0.0.1 from 127.0.0.1 to 127.0.0.1: all data", "tcp 10.0.0.2 from 10.0.0.2 to 10.0.0.2: all data",
			"tcp ::1 from ::1 to ::1: all data", "tcp fd00::2 from fd00::2 to fd00::2: all data",
			"tcp ::ffff:127.0.0.1 from ::ffff:127.0.0.1 to ::ffff:127.0.0.1: all data",
			"udp 127.0.0.1: answer from 127.0.0.1", "udp 10.0.0.2: answer from 10.0.0.2",
			"udp ::1: answer from ::1", "udp fd00::2: answer from fd00::2",
			"tcp 127.0.0.1: Connection refused", "tcp fd00::2: Connection refused",
			"udp-error 127.0.0.1: Connection refused", "udp-error ::1: Connection refused",
			"listen-tcp 0.0.0.0: done", "listen-tcp ::1: done", "listen-udp 0.0.0.0: done", "listen-udp ::1: done", "waiting",
		}, g.seen)
		for _, c := range []struct{ network, to, seen string }{
			{"tcp", "127.0.0.1:7", "accepted from 127.0.0.1 to 127.0.0.1"},
			{"tcp", "10.0.0.2:7", "accepted from 10.0.0.2 to 10.0.0.2"},
			{"tcp", "[::1]:800", "accepted from ::1 to ::1"},
			{"udp", "127.0.0.1:7", "datagram from 127.0.0.1"},
			{"udp", "10.0.0.2:7", "datagram from 10.0.0.2"},
			{"udp", "[::1]:801", "datagram from ::1"},
		} {
			conn, err := net.DialTimeout(c.network, c.to, testenv.Patience)
			must.NoError(t, err, must.Sprint(c))
			must.NoError(t, conn.SetDeadline(time.Now().Add(testenv.Patience)))
			exchange(t, conn, map[string]int{"tcp": 8 << 20, "udp": 60000}[c.network])
			must.NoError(t, conn.Close())
			g.expectLine(t, c.seen)
		}
		g.sendControl(t, "stop 9")
		g.waitExit(t)
	})
}

// The loopback addresses of both families are shared, even if the interface has addresses
// of one family only.
func TestShared_LoopbackNeedsNoAddress(t *testing.T) {
	for _, c := range []struct{ name, address, loopback string }{
		{"IPv6 only", "fd00::2/64", "127.0.0.1"}, {"IPv4 only", "10.0.0.2/24", "::1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !enterSharedNetwork(t, c.address) {
				return
			}
			serveEcho(t, net.JoinHostPort(c.loopback, "700"))
			g := startSharedGuest(t, true, "tcp,"+c.loopback+",700", "udp,"+c.loopback+",700", "listen-tcp,"+c.loopback+",7")
			g.expectLine(t, "waiting")
			test.Eq(t, []string{
				fmt.Sprintf("tcp %[1]s from %[1]s to %[1]s: all data", c.loopback),
				fmt.Sprintf("udp %[1]s: answer from %[1]s", c.loopback), "listen-tcp " + c.loopback + ": done", "waiting",
			}, g.seen)
			conn, err := net.DialTimeout("tcp", net.JoinHostPort(c.loopback, "7"), testenv.Patience)
			must.NoError(t, err)
			defer conn.Close()
			must.NoError(t, conn.SetDeadline(time.Now().Add(testenv.Patience)))
			exchange(t, conn, 1<<20)
			g.expectLine(t, fmt.Sprintf("accepted from %[1]s to %[1]s", c.loopback))
		})
	}
}
