// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// The namespace stands for the neighbors. It knows the guest's 127.0.0.1 and ::1 by
// other addresses, too, because its own ones would not leave it. The last three bytes of
// an IPv6 alias are those of the namespace's address: they select the multicast address
// of neighbor discovery.
var neighborAddresses = []string{
	"127.0.0.1", "10.0.0.3", "::1", "fd00::3",
	"192.0.0.1", "10.0.0.11", "192.0.0.2", "10.0.0.12",
	"fd6c:6b6c:6c6b::1", "fd00::a:0:1", "fd6c:6b6c:6c6b::2", "fd00::a:0:2",
}

// enterNeighborNetwork is enterOwnNetwork with the neighbors' addresses.
func enterNeighborNetwork(t *testing.T) bool {
	t.Helper()
	if !enterOwnNetwork(t) {
		return false
	}
	for _, args := range []string{
		"addr add 10.0.0.11/24 dev tap0", "addr add 10.0.0.12/24 dev tap0",
		"-6 addr add fd00::a:0:1/64 dev tap0 nodad", "-6 addr add fd00::a:0:2/64 dev tap0 nodad",
		// The guest answers no requests for 127.0.0.1 and ::1.
		"neigh add 10.0.0.3 lladdr 02:00:00:00:00:09 dev tap0", "neigh add fd00::3 lladdr 02:00:00:00:00:09 dev tap0",
	} {
		runIP(t, args)
	}
	return true
}

// startNeighborGuest starts testdata/neighbors.c, connected to the namespace.
func startNeighborGuest(t *testing.T, offload bool, words ...string) *guest {
	t.Helper()
	ours, theirs := socketPair(t)
	keys := map[string]string{"rename": "eth0", "mac": "02:00:00:00:00:09"}
	s := guestSpec{kernel: compileGuest(t, "neighbors.c"), tap: "@5", extra: theirs, args: words}
	if offload {
		keys["offload"] = "1"
	}
	s.config = networkWith(keys)
	s.config["neighbors"] = map[string]string{
		"loopback": "192.0.0.1", "address": "192.0.0.2", "loopback6": "fd6c:6b6c:6c6b::1", "address6": "fd6c:6b6c:6c6b::2",
	}
	w := newAliasWire(offload, neighborAddresses...)
	tap := openTap(t, "tap0", offload)
	go w.carry(ours, tap, w.from)
	go w.carry(tap, ours, w.to)
	g := startGuest(t, s)
	must.NoError(t, theirs.Close())
	return g
}

// serveEcho answers on a port of an address of the namespace, for TCP and UDP.
func serveEcho(t *testing.T, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	must.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	u, err := net.ListenPacket("udp", address)
	must.NoError(t, err)
	t.Cleanup(func() { _ = u.Close() })
	go func() {
		buffer := make([]byte, 1<<16)
		for {
			n, from, err := u.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = u.WriteTo(buffer[:n], from)
		}
	}()
}

func eachOffload(t *testing.T, run func(t *testing.T, offload bool)) {
	t.Helper()
	for _, offload := range []bool{false, true} {
		t.Run(fmt.Sprintf("offload %v", offload), func(t *testing.T) { run(t, offload) })
	}
}

// A program reaches neighbors at the addresses that it would use in a shared network
// namespace, and sees no others.
func TestNeighbors_AreReachedAtNativeAddresses(t *testing.T) {
	if !enterNeighborNetwork(t) {
		return
	}
	for _, address := range []string{"10.0.0.11:700", "10.0.0.12:700", "[fd00::a:0:1]:700", "[fd00::a:0:2]:700"} {
		serveEcho(t, address)
	}
	eachOffload(t, func(t *testing.T, offload bool) {
		g := startNeighborGuest(t, offload,
			"tcp,127.0.0.1,700", "tcp,10.0.0.2,700", "tcp,::1,700", "tcp,fd00::2,700", "tcp,::ffff:127.0.0.1,700",
			"udp,127.0.0.1,700", "udp,10.0.0.2,700", "udp,::1,700", "udp,fd00::2,700", "udp,::ffff:10.0.0.2,700",
			"tcp,127.0.0.1,701", "tcp,fd00::2,701", "tcp,127.0.0.2,700", "udp-error,127.0.0.1,701", "udp-error,::1,701",
			"listen-tcp,127.0.0.1,800", "listen-tcp,fd00::2,800", "listen-udp,0.0.0.0,800", "listen-udp,::1,801",
			"tcp,127.0.0.1,800", "tcp,fd00::2,800", "udp,10.0.0.2,800", "udp,::1,801",
		)
		g.expectLine(t, "waiting")
		var own []string
		for _, line := range g.seen {
			if !strings.HasPrefix(line, "accepted") && !strings.HasPrefix(line, "datagram") {
				own = append(own, line)
			}
		}
		test.Eq(t, []string{
			"tcp 127.0.0.1 from 127.0.0.1 to 127.0.0.1: all data", "tcp 10.0.0.2 from 10.0.0.2 to 10.0.0.2: all data",
			"tcp ::1 from ::1 to ::1: all data", "tcp fd00::2 from fd00::2 to fd00::2: all data",
			"tcp ::ffff:127.0.0.1 from ::ffff:127.0.0.1 to ::ffff:127.0.0.1: all data",
			"udp 127.0.0.1: answer from 127.0.0.1", "udp 10.0.0.2: answer from 10.0.0.2",
			"udp ::1: answer from ::1", "udp fd00::2: answer from fd00::2", "udp ::ffff:10.0.0.2: answer from ::ffff:10.0.0.2",
			"tcp 127.0.0.1: Connection refused", "tcp fd00::2: Connection refused", "tcp 127.0.0.2: Connection refused",
			"udp-error 127.0.0.1: Connection refused", "udp-error ::1: Connection refused",
			"listen-tcp 127.0.0.1: done", "listen-tcp fd00::2: done", "listen-udp 0.0.0.0: done", "listen-udp ::1: done",
			"tcp 127.0.0.1 from 127.0.0.1 to 127.0.0.1: all data", "tcp fd00::2 from fd00::2 to fd00::2: all data",
			"udp 10.0.0.2: answer from 10.0.0.2", "udp ::1: answer from ::1",
			"waiting",
		}, own)
		g.sendControl(t, "stop 9")
		g.waitExit(t)
	})
}

// A server in the guest sees its neighbors at the addresses that they use.
func TestNeighbors_ReachTheGuest(t *testing.T) {
	if !enterNeighborNetwork(t) {
		return
	}
	eachOffload(t, func(t *testing.T, offload bool) {
		g := startNeighborGuest(t, offload, "listen-tcp,127.0.0.1,7", "listen-tcp,10.0.0.2,7", "listen-tcp,::1,7",
			"listen-tcp,fd00::2,7", "listen-udp,::,7")
		g.expectLine(t, "waiting")
		for _, c := range []struct{ from, to, seen, at string }{
			{"10.0.0.11", "10.0.0.3", "127.0.0.1", "127.0.0.1"},
			{"10.0.0.12", "10.0.0.2", "10.0.0.2", "10.0.0.2"},
			{"10.0.0.12", "10.0.0.3", "10.0.0.2", "127.0.0.1"},
			{"10.0.0.11", "10.0.0.2", "127.0.0.1", "10.0.0.2"},
			{"10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.2"},
			{"fd00::a:0:1", "fd00::3", "::1", "::1"},
			{"fd00::a:0:2", "fd00::2", "fd00::2", "fd00::2"},
			{"fd00::1", "fd00::2", "fd00::1", "fd00::2"},
		} {
			to := net.JoinHostPort(c.to, "7")
			dialFrom(t, c.from, "tcp", to, func(conn net.Conn) {
				g.expectLine(t, fmt.Sprintf("accepted from %s to %s", c.at, c.seen))
				exchange(t, conn, 1<<20)
			})
			if (c.seen == "127.0.0.1") != (c.at == "127.0.0.1") {
				continue // a server that is bound to :: answers from another address, as on lo
			}
			dialFrom(t, c.from, "udp", to, func(conn net.Conn) { exchange(t, conn, 60000) })
			seen := c.seen
			if netip.MustParseAddr(seen).Is4() {
				seen = "::ffff:" + seen
			}
			g.expectLine(t, "datagram from "+seen)
		}
		for _, from := range []string{"10.0.0.11", "fd00::a:0:1"} { // ICMP errors reach the neighbors
			to := net.JoinHostPort(map[string]string{"10.0.0.11": "10.0.0.3", "fd00::a:0:1": "fd00::3"}[from], "9")
			dialFrom(t, from, "udp", to, func(conn net.Conn) {
				_, err := conn.Write([]byte("x"))
				must.NoError(t, err)
				_, err = conn.Read(make([]byte, 1))
				must.ErrorContains(t, err, "connection refused")
			})
			d := net.Dialer{Timeout: testenv.Patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
			_, err := d.Dial("tcp", to)
			must.ErrorContains(t, err, "connection refused")
		}
		g.sendControl(t, "stop 9")
		g.waitExit(t)
	})
}

func dialFrom(t *testing.T, from, network, to string, use func(net.Conn)) {
	t.Helper()
	d := net.Dialer{Timeout: testenv.Patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	if network == "udp" {
		d.LocalAddr = &net.UDPAddr{IP: net.ParseIP(from)}
	}
	c, err := d.Dial(network, to)
	must.NoError(t, err, must.Sprintf("%s from %s to %s", network, from, to))
	defer c.Close()
	must.NoError(t, c.SetDeadline(time.Now().Add(testenv.Patience)))
	use(c)
}

// exchange sends bytes and requires the same back.
func exchange(t *testing.T, c net.Conn, size int) {
	t.Helper()
	sent, back := []byte(strings.Repeat("0123456789", size/10+1)[:size]), make([]byte, size)
	failed := make(chan error, 1)
	go func() {
		_, err := c.Write(sent)
		failed <- err
	}()
	_, err := io.ReadFull(c, back)
	must.NoError(t, errors.Join(err, <-failed))
	must.True(t, bytes.Equal(sent, back), must.Sprint("the bytes differ"))
}
