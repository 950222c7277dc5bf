// SPDX-License-Identifier: MPL-2.0

package network

import (
	"net"
	"net/netip"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/netstate"
)

// newHost returns a namespace that stands for the host, and a peer on its link.
func newHost(t testing.TB) *alloc { return newAlloc(t, 1500) }

func hostOptions(ports ...HostPort) HostOptions {
	return HostOptions{Subnet: DefaultHostSubnet, Subnet6: DefaultHostSubnet6, Ports: ports}
}

// dump describes the state of the alloc's namespace.
func (a *alloc) dump(t testing.TB) (lines []string) {
	t.Helper()
	a.in(a.path, func(*namespace) (err error) {
		lines, err = netstate.Describe()
		return err
	})
	return lines
}

// attachHost attaches a guest in host mode.
func (a *alloc) attachHost(t testing.TB, h HostOptions) (*Tap, *Interface) {
	t.Helper()
	tap, iface, err := a.tryHost(Options{}, h)
	must.NoError(t, err)
	t.Cleanup(func() { _ = tap.Close() }) // a test may have closed it
	return tap, iface
}

func (a *alloc) tryHost(o Options, h HostOptions) (tap *Tap, iface *Interface, err error) {
	must.NoError(a.t, inNamespace(a.path, func(*namespace) error {
		tap, iface, err = AttachHost(o, h)
		return nil
	}))
	return tap, iface, err
}

func (a *alloc) detachHost(t testing.TB) {
	t.Helper()
	a.in(a.path, func(*namespace) error { return DetachHost() })
}

// newHostGuest attaches a guest in host mode with a network stack.
func (a *alloc) newHostGuest(t testing.TB, h HostOptions) (*guest, *Tap, *Interface) {
	t.Helper()
	tap, iface := a.attachHost(t, h)
	return runGuest(t, tap, iface), tap, iface
}

// The guest serves a port of the host and connects to the outside. After its end, the host
// is as before.
func TestAttachHost_ConnectsGuest(t *testing.T) {
	a := newHost(t)
	before := a.dump(t)
	g, tap, iface := a.newHostGuest(t, hostOptions(HostPort{Port: 80, Target: 7}))
	must.Eq(t, "198.18.0.2/30", iface.Addresses[0].String())
	must.SliceEmpty(t, tap.Warnings)
	for network, address := range map[string]string{"tcp4": guest4, "tcp6": guest6} {
		go serveEcho(listen(t, g.path, network, ":7"))
		checkEcho(t, dial(t, a.peer, network, net.JoinHostPort(address, "80")))
	}
	for network, address := range map[string]string{"tcp4": peer4 + ":8", "tcp6": "[" + peer6 + "]:8"} {
		l := listen(t, a.peer, network, address)
		go serveEcho(l)
		c := dial(t, g.path, network, address)
		checkEcho(t, c)
	}
	must.NoError(t, tap.Close())
	a.detachHost(t)
	must.Eq(t, before, a.dump(t))
}

func TestAttachHost_PortsAreReachedFromHostAndGuests(t *testing.T) {
	a := newHost(t)
	g, _, iface := a.newHostGuest(t, hostOptions(HostPort{Port: 80, Target: 7}))
	other, _, _ := a.newHostGuest(t, hostOptions())
	for _, c := range []struct{ network, address string }{
		{"tcp4", guest4},
		{"tcp4", "127.0.0.1"},
		{"tcp4", "127.0.0.2"},
		{"tcp4", iface.Gateway4.String()},
		{"tcp6", guest6},
		{"tcp6", iface.Gateway6.String()},
	} {
		l := listen(t, g.path, c.network, ":7")
		go serveEcho(l)
		address := net.JoinHostPort(c.address, "80")
		checkEcho(t, dial(t, a.path, c.network, address)) // from the host
		if ip := netip.MustParseAddr(c.address); !ip.IsLoopback() {
			checkEcho(t, dial(t, other.path, c.network, address))
			checkEcho(t, dial(t, g.path, c.network, address)) // from itself
		}
		must.NoError(t, l.Close())
	}
}

func TestAttachHost_RefusesUsedPorts(t *testing.T) {
	a := newHost(t)
	guestAddress, loopback := netip.MustParseAddr(guest4), netip.MustParseAddr("127.0.0.1")
	l := listen(t, a.path, "tcp4", "127.0.0.1:80")
	for _, address := range []netip.Addr{{}, loopback} {
		_, _, err := a.tryHost(Options{}, hostOptions(HostPort{Address: address, Port: 80, Target: 7}))
		must.ErrorIs(t, err, ErrHostPort)
		must.ErrorContains(t, err, "a process of the host uses")
	}
	must.NoError(t, l.Close())
	_, _ = a.attachHost(t, hostOptions(HostPort{Address: guestAddress, Port: 80, Target: 7}))
	for _, address := range []netip.Addr{{}, guestAddress} {
		_, _, err := a.tryHost(Options{}, hostOptions(HostPort{Address: address, Port: 80, Target: 7}))
		must.ErrorIs(t, err, ErrHostPort)
		must.ErrorContains(t, err, "leads to the guest at lkl0 already")
	}
	_, _, err := a.tryHost(Options{}, hostOptions(HostPort{Address: netip.MustParseAddr("10.77.0.9"), Port: 80, Target: 7}))
	must.ErrorContains(t, err, "not an address of the host")
	_, _, err = a.tryHost(Options{}, hostOptions(HostPort{Address: netip.IPv6Loopback(), Port: 81, Target: 7}))
	must.ErrorContains(t, err, "use 127.0.0.1")
	_, _ = a.attachHost(t, hostOptions(HostPort{Address: loopback, Port: 80, Target: 7}))
	must.Eq(t, []string{"lo", "alloc7", "lkl0", "lkl1"}, a.links())
}

func TestAttachHost_RefusesSubnetsInUse(t *testing.T) {
	a := newHost(t)
	before := a.dump(t)
	h := hostOptions()
	h.Subnet = netip.MustParsePrefix("10.77.0.0/16")
	_, _, err := a.tryHost(Options{}, h)
	must.ErrorIs(t, err, ErrHostSubnet)
	must.Eq(t, before, a.dump(t))
	a.route("198.18.4.0/24", peer4, 0)
	_, _, err = a.tryHost(Options{}, hostOptions())
	must.ErrorIs(t, err, ErrHostSubnet)
	must.ErrorContains(t, err, "overlaps 198.18.4.0/24 of a route")
	h.Subnet = netip.MustParsePrefix("198.19.0.0/30")
	first, _ := a.attachHost(t, h)
	_, _, err = a.tryHost(Options{}, h)
	must.ErrorIs(t, err, ErrHostSubnet)
	must.ErrorContains(t, err, "too small for 2 guests")
	must.NoError(t, first.Close())
	a.attachHost(t, h)
}

func TestAttachNowhere_TapKeepsItsNamespace(t *testing.T) {
	a := newHost(t)
	before := a.dump(t)
	tap, err := AttachNowhere(Options{})
	must.NoError(t, err)
	must.Eq(t, MaxMTU, tap.MTU)
	_, err = tap.File.Write(make([]byte, 64))
	must.NoError(t, err)
	_, err = unix.Read(int(tap.File.Fd()), make([]byte, 2000))
	must.ErrorIs(t, err, unix.EAGAIN)
	must.NoError(t, tap.Close())
	must.Eq(t, before, a.dump(t))
}

func TestReadCounters_CountsPacketsAsTheGuestSeesThem(t *testing.T) {
	a := newHost(t)
	g, tap, _ := a.newHostGuest(t, hostOptions(HostPort{Port: 80, Target: 7}))
	go serveEcho(listen(t, g.path, "tcp4", ":7"))
	before, err := ReadCounters(a.path, tap.Name)
	must.NoError(t, err)
	checkEcho(t, dial(t, a.peer, "tcp4", guest4+":80"))
	after, err := ReadCounters(a.path, tap.Name)
	must.NoError(t, err)
	must.GreaterEq(t, before.ReceivedPackets+3, after.ReceivedPackets)
	must.GreaterEq(t, before.SentPackets+2, after.SentPackets)
	must.Greater(t, before.ReceivedBytes, after.ReceivedBytes)
	must.Greater(t, before.SentBytes, after.SentBytes)
	_, err = ReadCounters(a.path, "lkl9")
	must.Error(t, err)
}
