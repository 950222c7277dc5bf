// SPDX-License-Identifier: MPL-2.0

package matrix

import (
	"fmt"
	"net"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"
)

// A cell of the matrix is a guest in one mode, with one or both families.
type cell struct {
	*topology
	guest *guest
	ports guestPorts
	// address is the guest's in a family, as the other namespaces use it.
	address func(*family) string
}

func (c *cell) caller(f *family) caller {
	return caller{from: c.near, address: endpoint(c.address(f), c.ports.command)}
}

// A check is a row of the matrix.
type check struct {
	name string
	run  func(*testing.T, *cell, *family)
}

var checks = []check{
	{"TCP from the guest", tcpFromGuest},
	{"TCP to the guest", tcpToGuest},
	{"UDP from the guest", udpFromGuest},
	{"UDP to the guest", udpToGuest},
	{"fragments from the guest", fragmentsFromGuest},
	{"fragments to the guest", fragmentsToGuest},
	{"echo requests from the guest", pingFromGuest},
	{"echo requests to the guest", pingToGuest},
	{"port unreachable to the guest", refusalToGuest},
	{"port unreachable from the guest", refusalFromGuest},
	{"host unreachable to the guest", unreachableToGuest},
	{"path MTU for TCP from the guest", pathMTUForTCP},
	{"path MTU for TCP to the guest", tcpToGuestFromAfar},
	{"path MTU for UDP from the guest", pathMTUForUDP},
	{"DNS", resolveNames},
	{"200 connections from the guest", connectionsFromGuest},
	{"200 connections to the guest", connectionsToGuest},
	{"idle TCP connection from the guest", idleTCPFromGuest},
	{"idle UDP flow from the guest", idleUDPFromGuest},
	{"idle connections to the guest", idleToGuest},
}

// Ports of the servers near and far.
const (
	echoPort   = 7
	closedPort = 9 // no program listens there
)

// run starts the servers, and carries out all checks at the same time.
func (c *cell) run(t *testing.T) {
	for _, f := range c.families {
		serveEcho(c.near, endpoint(f.near, echoPort))
		serveEcho(c.far, endpoint(f.far, echoPort))
		serveNames(c.far, endpoint(f.far, 53))
	}
	for _, f := range c.families {
		c.caller(f).ready(t)
		for _, row := range checks {
			t.Run(f.name+"/"+row.name, func(t *testing.T) {
				t.Parallel()
				row.run(t, c, f)
			})
		}
	}
}

// sizes of datagrams, in bytes.
var (
	smallSizes = []int{1, 100, 1200}
	largeSizes = []int{8 << 10, 32 << 10, 60 << 10}
)

const bulk = 1 << 20 // bytes

func tcpFromGuest(t *testing.T, c *cell, f *family) {
	must.Eq(t, "done mtu 1500", c.caller(f).run(t, "tcp %s %d %d", f.near, echoPort, bulk))
}

func tcpToGuest(t *testing.T, c *cell, f *family) { tcpToGuestFrom(t, c, c.near, f) }

func tcpToGuestFromAfar(t *testing.T, c *cell, f *family) { tcpToGuestFrom(t, c, c.far, f) }

func tcpToGuestFrom(t *testing.T, c *cell, from *namespace, f *family) {
	t.Helper()
	conn := from.open(t, "tcp", endpoint(c.address(f), c.ports.echo))
	exchangeStream(t, conn, bulk)
}

func datagramsFromGuest(t *testing.T, c *cell, f *family, sizes []int) {
	t.Helper()
	for _, to := range []string{f.near, f.far} {
		for _, size := range sizes {
			must.StrHasPrefix(t, "done", c.caller(f).run(t, "udp %s %d %d", to, echoPort, size), must.Sprint(size, " bytes to ", to))
		}
	}
}

func datagramsToGuest(t *testing.T, c *cell, f *family, sizes []int) {
	t.Helper()
	for _, from := range []*namespace{c.near, c.far} {
		conn := from.open(t, "udp", endpoint(c.address(f), c.ports.echo))
		for _, size := range sizes {
			must.NoError(t, exchangeDatagram(conn, size), must.Sprint(size, " bytes"))
		}
	}
}

func udpFromGuest(t *testing.T, c *cell, f *family) { datagramsFromGuest(t, c, f, smallSizes) }

func udpToGuest(t *testing.T, c *cell, f *family) { datagramsToGuest(t, c, f, smallSizes) }

func fragmentsFromGuest(t *testing.T, c *cell, f *family) { datagramsFromGuest(t, c, f, largeSizes) }

func fragmentsToGuest(t *testing.T, c *cell, f *family) { datagramsToGuest(t, c, f, largeSizes) }

func pingFromGuest(t *testing.T, c *cell, f *family) {
	for _, size := range []int{56, 4000} {
		must.Eq(t, "done", c.caller(f).run(t, "ping %s %d", f.near, size))
		must.Eq(t, "done", c.caller(f).run(t, "ping %s %d", f.far, size))
	}
}

func pingToGuest(t *testing.T, c *cell, f *family) {
	for _, size := range []int{56, 4000} {
		ping(t, c.near, f, c.address(f), size)
		ping(t, c.far, f, c.address(f), size)
	}
}

// failed is the agent's answer if a system call fails.
func failed(errno syscall.Errno) string { return fmt.Sprintf("errno %d", errno) }

func refusalToGuest(t *testing.T, c *cell, f *family) {
	must.Eq(t, failed(unix.ECONNREFUSED), c.caller(f).run(t, "udp %s %d 1", f.near, closedPort))
	must.Eq(t, failed(unix.ECONNREFUSED), c.caller(f).run(t, "tcp %s %d 1", f.near, closedPort))
	must.Eq(t, failed(unix.ECONNREFUSED), c.caller(f).run(t, "udp %s %d 1", f.far, closedPort))
}

func refusalFromGuest(t *testing.T, c *cell, f *family) {
	for _, from := range []*namespace{c.near, c.far} {
		conn := from.open(t, "udp", endpoint(c.address(f), c.ports.closed))
		must.ErrorIs(t, exchangeDatagram(conn, 1), unix.ECONNREFUSED)
	}
	_, err := c.near.dial("tcp", endpoint(c.address(f), c.ports.closed))
	must.ErrorIs(t, err, unix.ECONNREFUSED)
}

func unreachableToGuest(t *testing.T, c *cell, f *family) {
	want := map[*family]syscall.Errno{ipv4: unix.EHOSTUNREACH, ipv6: unix.ENETUNREACH}[f]
	must.Eq(t, failed(want), c.caller(f).run(t, "tcp %s 80 1", f.lost))
}

// The guest learns the MTU from an error of the router.
func pathMTUForTCP(t *testing.T, c *cell, f *family) {
	want := fmt.Sprintf("done mtu %d", narrow)
	must.Eq(t, want, c.caller(f).run(t, "tcp %s %d %d", f.far, echoPort, bulk))
}

func pathMTUForUDP(t *testing.T, c *cell, f *family) {
	want := fmt.Sprintf("done mtu %d, learned", narrow)
	must.Eq(t, want, c.caller(f).run(t, "unfragmented %s %d %d", f.farOther, echoPort, 1500-f.ipHeader-8))
}

func resolveNames(t *testing.T, c *cell, f *family) {
	answer := c.caller(f).run(t, "resolve web.test")
	for _, address := range knownNames["web.test"] {
		must.StrContains(t, answer, address)
	}
	must.Eq(t, "done nothing: Name does not resolve", c.caller(f).run(t, "resolve missing.test"))
}

func connectionsFromGuest(t *testing.T, c *cell, f *family) {
	must.Eq(t, "done", c.caller(f).run(t, "parallel %s %d 200", f.near, echoPort))
}

func connectionsToGuest(t *testing.T, c *cell, f *family) {
	openMany(t, c.near, endpoint(c.address(f), c.ports.echo))
}

// openMany uses 200 connections at the same time.
func openMany(t *testing.T, from *namespace, to string) {
	t.Helper()
	var all []net.Conn
	for range 200 {
		all = append(all, from.open(t, "tcp", to))
	}
	for _, conn := range all {
		exchangeStream(t, conn, 1000)
	}
}

// idle is a time in seconds that exceeds the timeouts of connection tracking for UDP.
const idle = 130

func idleTCPFromGuest(t *testing.T, c *cell, f *family) {
	must.StrHasPrefix(t, "done", c.caller(f).run(t, "tcp %s %d 1000 %d", f.far, echoPort, idle))
}

func idleUDPFromGuest(t *testing.T, c *cell, f *family) {
	must.StrHasPrefix(t, "done", c.caller(f).run(t, "udp %s %d 1000 %d", f.far, echoPort, idle))
}

// The guest has the timer.
func idleToGuest(t *testing.T, c *cell, f *family) {
	stream := c.far.open(t, "tcp", endpoint(c.address(f), c.ports.echo))
	datagrams := c.far.open(t, "udp", endpoint(c.address(f), c.ports.echo))
	exchangeStream(t, stream, 1000)
	must.NoError(t, exchangeDatagram(datagrams, 1000))
	must.Eq(t, "done", c.caller(f).run(t, "wait %d", idle))
	exchangeStream(t, stream, 1000)
	must.NoError(t, exchangeDatagram(datagrams, 1000))
}
