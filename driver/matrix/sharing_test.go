// SPDX-License-Identifier: MPL-2.0

package matrix

import (
	"fmt"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"
)

// Ports of the processes in the allocation's namespace.
const (
	neighborPort = 9100 // on the loopback and the allocation's address
	anyPort      = 9101 // on all addresses
	latePort     = 9102 // of a process that starts after the guests
)

// A sharingCheck is a check of two guests and a process in the same namespace. to is the
// address at which they reach each other.
type sharingCheck struct {
	name string
	run  func(t *testing.T, first, second *cell, to string, f *family)
}

var sharingChecks = []sharingCheck{
	{"TCP from the process to the guest", streamFromProcess},
	{"UDP from the process to the guest", datagramsFromProcess},
	{"refusals from the guest", refusalToProcess},
	{"200 connections from the process", connectionsFromProcess},
	{"TCP from the guest to the process", streamToProcess},
	{"UDP from the guest to the process", datagramsToProcess},
	{"refusals to the guest", refusalFromProcess},
	{"200 connections to the process", connectionsToProcess},
	{"between the guests", betweenGuests},
	{"within a guest", withinGuest},
	{"late server of the guest", lateServerOfGuest},
	{"late server of a process", lateServerOfProcess},
}

func loopback(f *family) string {
	return map[*family]string{ipv4: "127.0.0.1", ipv6: "::1"}[f]
}

// runSharing carries out the checks for neighbors. Process and guests use the servers of
// each other at the loopback address and at the allocation's.
func runSharing(t *testing.T, first, second *cell) {
	for _, f := range first.families {
		serveEcho(first.alloc, endpoint(f.alloc, neighborPort))
		serveEcho(first.alloc, endpoint(loopback(f), neighborPort))
	}
	serveEcho(first.alloc, fmt.Sprintf(":%d", anyPort))
	for _, f := range first.families {
		second.caller(f).ready(t)
		for where, to := range map[string]string{"loopback": loopback(f), "alloc": f.alloc} {
			for _, row := range sharingChecks {
				t.Run(f.name+"/"+where+"/"+row.name, func(t *testing.T) {
					t.Parallel()
					row.run(t, first, second, to, f)
				})
			}
		}
		t.Run(f.name+"/process to the network", func(t *testing.T) {
			t.Parallel()
			processToNetwork(t, first, f)
		})
	}
}

func streamFromProcess(t *testing.T, c, _ *cell, to string, _ *family) {
	exchangeStream(t, c.alloc.open(t, "tcp", endpoint(to, c.ports.echo)), bulk)
}

func datagramsFromProcess(t *testing.T, c, _ *cell, to string, _ *family) {
	conn := c.alloc.open(t, "udp", endpoint(to, c.ports.echo))
	for _, size := range append(smallSizes, largeSizes...) {
		must.NoError(t, exchangeDatagram(conn, size), must.Sprint(size, " bytes"))
	}
}

func refusalToProcess(t *testing.T, c, _ *cell, to string, _ *family) {
	must.ErrorIs(t, exchangeDatagram(c.alloc.open(t, "udp", endpoint(to, c.ports.closed)), 1), unix.ECONNREFUSED)
	_, err := c.alloc.dial("tcp", endpoint(to, c.ports.closed))
	must.ErrorIs(t, err, unix.ECONNREFUSED)
}

func connectionsFromProcess(t *testing.T, c, _ *cell, to string, _ *family) {
	openMany(t, c.alloc, endpoint(to, c.ports.echo))
}

func streamToProcess(t *testing.T, c, _ *cell, to string, f *family) {
	for _, port := range []int{neighborPort, anyPort} {
		must.StrHasPrefix(t, "done", c.caller(f).run(t, "tcp %s %d %d", to, port, bulk))
	}
}

func datagramsToProcess(t *testing.T, c, _ *cell, to string, f *family) {
	for _, port := range []int{neighborPort, anyPort} {
		for _, size := range append(smallSizes, largeSizes...) {
			must.StrHasPrefix(t, "done", c.caller(f).run(t, "udp %s %d %d", to, port, size),
				must.Sprint(size, " bytes to port ", port))
		}
	}
}

func refusalFromProcess(t *testing.T, c, _ *cell, to string, f *family) {
	for _, protocol := range []string{"udp", "tcp"} {
		must.Eq(t, failed(unix.ECONNREFUSED), c.caller(f).run(t, "%s %s %d 1", protocol, to, 9999))
	}
}

func connectionsToProcess(t *testing.T, c, _ *cell, to string, f *family) {
	must.Eq(t, "done", c.caller(f).run(t, "parallel %s %d 200", to, neighborPort))
}

func betweenGuests(t *testing.T, first, second *cell, to string, f *family) {
	for _, pair := range [][2]*cell{{first, second}, {second, first}} {
		from, port := pair[0].caller(f), pair[1].ports.echo
		must.StrHasPrefix(t, "done", from.run(t, "tcp %s %d %d", to, port, bulk))
		for _, size := range []int{1, 1200, 60 << 10} {
			must.StrHasPrefix(t, "done", from.run(t, "udp %s %d %d", to, port, size), must.Sprint(size, " bytes"))
		}
		must.Eq(t, failed(unix.ECONNREFUSED), from.run(t, "tcp %s %d 1", to, pair[1].ports.closed))
		must.Eq(t, failed(unix.ECONNREFUSED), from.run(t, "udp %s %d 1", to, pair[1].ports.closed))
		must.Eq(t, "done", from.run(t, "parallel %s %d 200", to, port))
	}
}

// A guest still reaches its own programs at its own addresses.
func withinGuest(t *testing.T, c, _ *cell, to string, f *family) {
	must.StrHasPrefix(t, "done", c.caller(f).run(t, "tcp %s %d %d", to, c.ports.echo, bulk))
	must.StrHasPrefix(t, "done", c.caller(f).run(t, "udp %s %d 60000", to, c.ports.echo))
}

// A program of the guest listens only on one address.
func lateServerOfGuest(t *testing.T, c, _ *cell, to string, f *family) {
	must.Eq(t, "done", c.caller(f).run(t, "listen %s %d", to, c.ports.late))
	exchangeStream(t, c.alloc.open(t, "tcp", endpoint(to, c.ports.late)), bulk)
	must.NoError(t, exchangeDatagram(c.alloc.open(t, "udp", endpoint(to, c.ports.late)), 1000))
}

// The group's network has no port for this process.
func lateServerOfProcess(t *testing.T, first, second *cell, to string, f *family) {
	serveEcho(first.alloc, endpoint(to, latePort))
	for _, c := range []*cell{first, second} {
		must.StrHasPrefix(t, "done", c.caller(f).run(t, "tcp %s %d %d", to, latePort, bulk))
		must.StrHasPrefix(t, "done", c.caller(f).run(t, "udp %s %d 1000", to, latePort))
	}
	if to == f.alloc {
		exchangeStream(t, first.near.open(t, "tcp", endpoint(to, latePort)), bulk)
		must.NoError(t, exchangeDatagram(first.far.open(t, "udp", endpoint(to, latePort)), 60<<10))
	}
}

// The process uses the network as if there were no guest.
func processToNetwork(t *testing.T, c *cell, f *family) {
	exchangeStream(t, c.alloc.open(t, "tcp", endpoint(f.far, echoPort)), bulk)
	conn := c.alloc.open(t, "udp", endpoint(f.far, echoPort))
	for _, size := range append(smallSizes, largeSizes...) {
		must.NoError(t, exchangeDatagram(conn, size), must.Sprint(size, " bytes"))
	}
	ping(t, c.alloc, f, f.far, 4000)
	must.ErrorIs(t, exchangeDatagram(c.alloc.open(t, "udp", endpoint(f.near, closedPort)), 1), unix.ECONNREFUSED)
}
