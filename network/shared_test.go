// SPDX-License-Identifier: MPL-2.0

package network

import (
	"errors"
	"fmt"
	"net"
	"os"
	"testing"

	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"
)

// shared attaches a guest in shared mode that accepts packets to 127.0.0.1.
func (a *alloc) shared(t testing.TB, o Options, s Sharing) *guest {
	t.Helper()
	s.LoopbackTarget = true
	return a.sharedWith(t, o, s)
}

// sharedWith attaches a guest in shared mode and configures it as the driver does.
func (a *alloc) sharedWith(t testing.TB, o Options, s Sharing) *guest {
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
	return g
}

func onPort(port uint16) []PortRange { return []PortRange{{port, port}} }

// serve starts an echo service in a namespace.
func serve(t testing.TB, path, network, address string, port int) {
	t.Helper()
	go serveEcho(listen(t, path, network, net.JoinHostPort(address, fmt.Sprint(port))))
}

// checkDial connects from a namespace and expects an echo.
func checkDial(t testing.TB, path, network, address string, port int) {
	t.Helper()
	t.Logf("%s %s %d", network, address, port)
	checkEcho(t, dial(t, path, network, net.JoinHostPort(address, fmt.Sprint(port))))
}

const (
	guestPort    = 80
	neighborPort = 5000
	peerPort     = 6000
)

func TestAttachShared_ConnectsGuestNeighborAndWire(t *testing.T) {
	for _, offload := range []bool{false, true} {
		t.Run(fmt.Sprint(offload), func(t *testing.T) {
			a := newAlloc(t, 1500)
			g := a.shared(t, Options{Offload: offload}, Sharing{TCP: onPort(guestPort)})
			serve(t, g.path, "tcp4", "0.0.0.0", guestPort)
			serve(t, a.path, "tcp4", "0.0.0.0", neighborPort)
			serve(t, a.peer, "tcp4", "0.0.0.0", peerPort)
			checkDial(t, a.peer, "tcp4", guest4, guestPort)
			checkDial(t, a.peer, "tcp4", guest4, neighborPort)
			checkDial(t, g.path, "tcp4", peer4, peerPort)
			checkDial(t, a.path, "tcp4", peer4, peerPort)
			checkDial(t, a.path, "tcp4", "127.0.0.1", guestPort)
			checkDial(t, a.path, "tcp4", guest4, guestPort)
			checkDial(t, g.path, "tcp4", "192.0.0.1", neighborPort)
			checkDial(t, g.path, "tcp4", "192.0.0.2", neighborPort)
			checkDial(t, a.path, "tcp4", "127.0.0.1", neighborPort)
		})
	}
}

func TestAttachShared_ConnectsByIPv6(t *testing.T) {
	for _, offload := range []bool{false, true} {
		t.Run(fmt.Sprint(offload), func(t *testing.T) {
			a := newAlloc(t, 1500)
			g := a.shared(t, Options{Offload: offload}, Sharing{TCP: onPort(guestPort)})
			serve(t, g.path, "tcp6", "::", guestPort)
			serve(t, a.path, "tcp6", "::", neighborPort)
			serve(t, a.peer, "tcp6", "::", peerPort)
			checkDial(t, a.peer, "tcp6", guest6, guestPort)
			checkDial(t, a.peer, "tcp6", guest6, neighborPort)
			checkDial(t, g.path, "tcp6", peer6, peerPort)
			checkDial(t, a.path, "tcp6", peer6, peerPort)
			checkDial(t, a.path, "tcp6", "::1", guestPort)
			checkDial(t, a.path, "tcp6", guest6, guestPort)
			checkDial(t, g.path, "tcp6", "fd6c:6b6c:6c6b::1", neighborPort)
			checkDial(t, g.path, "tcp6", "fd6c:6b6c:6c6b::2", neighborPort)
			checkDial(t, a.path, "tcp6", "::1", neighborPort)
		})
	}
}

func TestDetach_LeavesNamespaceAsBeforeSharing(t *testing.T) {
	a := newAlloc(t, 1500)
	first, err := AttachShared(a.path, Options{}, Sharing{TCP: onPort(guestPort)})
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
	a.in(a.path, func(n *namespace) error {
		lo, err := n.LinkByName("lo")
		must.NoError(t, err)
		state, err := n.ingressState(lo)
		must.NoError(t, err)
		must.Eq(t, ingressState{}, state)
		for _, name := range loopbackSettings {
			value, err := os.ReadFile(devicesIPv4 + "lo/" + name)
			must.NoError(t, err)
			must.Eq(t, "0\n", string(value))
		}
		return nil
	})
}
