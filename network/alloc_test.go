// SPDX-License-Identifier: MPL-2.0

package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"

	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/osthread"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// alloc is an allocation's namespace as CNI makes it, and a second one for its peer. A
// veth pair connects them.
type alloc struct {
	t          testing.TB
	path, peer string // of the namespaces
	name       string // of the allocation's interface
	mac        net.HardwareAddr
}

const (
	peer4  = "10.77.0.1"
	guest4 = "10.77.0.2"
	peer6  = "fd77::1"
	guest6 = "fd77::2"
)

// newAlloc creates both namespaces. Each end has an IPv4 and an IPv6 address, and the
// peer is the gateway.
func newAlloc(t testing.TB, mtu int) *alloc {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Tun)
	a := &alloc{t: t, path: newNamespace(t), peer: newNamespace(t), name: "alloc7"}
	ns, err := os.Open(a.path)
	must.NoError(t, err)
	defer ns.Close()
	a.in(a.peer, func(n *namespace) error {
		return n.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "peer7", MTU: mtu},
			PeerName:  a.name, PeerNamespace: netlink.NsFd(ns.Fd()), PeerMTU: uint32(mtu),
		})
	})
	a.address(a.peer, "peer7", peer4+"/24", peer6+"/64")
	a.address(a.path, a.name, guest4+"/24", guest6+"/64")
	a.route("", peer4, 0)
	a.route("", peer6, 0)
	found, err := Inspect(a.path, "")
	must.NoError(t, err)
	a.mac = found.MAC
	return a
}

// newNamespace creates a network namespace that exists until the test ends.
func newNamespace(t testing.TB) string {
	t.Helper()
	var f *os.File
	must.NoError(t, osthread.Run(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			f, err = os.Open("/proc/thread-self/ns/net")
		}
		return err
	}))
	t.Cleanup(func() { f.Close() })
	path := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	must.NoError(t, inNamespace(path, func(n *namespace) error {
		lo, err := n.LinkByName("lo")
		return errors.Join(err, n.LinkSetUp(lo))
	}))
	return path
}

func (a *alloc) in(path string, do func(*namespace) error) {
	a.t.Helper()
	must.NoError(a.t, inNamespace(path, do))
}

// address adds addresses to an interface and brings it up. IPv6 addresses skip duplicate
// address detection, so that they can be used at once.
func (a *alloc) address(path, name string, addresses ...string) {
	a.t.Helper()
	a.in(path, func(n *namespace) error {
		link, err := n.LinkByName(name)
		if err != nil {
			return err
		}
		for _, text := range addresses {
			addr, err := netlink.ParseAddr(text)
			if err != nil {
				return err
			}
			if addr.IP.To4() == nil {
				addr.Flags = unix.IFA_F_NODAD
			}
			if err := n.AddrAdd(link, addr); err != nil {
				return err
			}
		}
		return n.LinkSetUp(link)
	})
}

// route adds a route in the alloc. An empty destination is the default route.
func (a *alloc) route(to, gateway string, metric int) {
	a.t.Helper()
	a.in(a.path, func(n *namespace) error {
		link, err := n.LinkByName(a.name)
		if err != nil {
			return err
		}
		r := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(gateway), Priority: metric}
		if to != "" {
			if r.Dst, err = netlink.ParseIPNet(to); err != nil {
				return err
			}
		}
		return n.RouteAdd(r)
	})
}

func (a *alloc) attach() *Tap {
	a.t.Helper()
	return a.attachWith(Options{})
}

func (a *alloc) attachWith(o Options) *Tap {
	a.t.Helper()
	tap, err := AttachL2(a.path, o)
	must.NoError(a.t, err)
	a.t.Cleanup(func() { _ = tap.Close() }) // a test may have closed it
	return tap
}

// links returns the names of the interfaces in the alloc's namespace.
func (a *alloc) links() (names []string) {
	a.t.Helper()
	a.in(a.path, func(n *namespace) error {
		links, err := n.LinkList()
		for _, l := range links {
			names = append(names, l.Attrs().Name)
		}
		return err
	})
	return names
}

func (a *alloc) ingressState() ingressState {
	a.t.Helper()
	return a.ingressOf(a.name)
}

func (a *alloc) ingressOf(name string) (state ingressState) {
	a.t.Helper()
	a.in(a.path, func(n *namespace) error {
		link, err := n.LinkByName(name)
		if err != nil {
			return err
		}
		state, err = n.ingressState(link)
		return err
	})
	return state
}

// guest is a real network stack behind the tap: a third namespace with a tap in it.
// Two goroutines copy the frames between both taps.
type guest struct {
	tap             *Tap
	path            string
	longestReceived atomic.Int64 // in bytes
	longestSent     atomic.Int64
}

func newGuest(t testing.TB, a *alloc, tap *Tap) *guest {
	t.Helper()
	found, err := Inspect(a.path, "")
	must.NoError(t, err)
	return runGuest(t, tap, found)
}

// runGuest runs a network stack with the addresses of an interface behind a tap.
func runGuest(t testing.TB, tap *Tap, found *Interface) *guest {
	t.Helper()
	g := &guest{path: newNamespace(t)}
	var own *os.File
	must.NoError(t, inNamespace(g.path, func(n *namespace) error {
		f, name, err := openTun("g%d", unix.IFF_TUN_EXCL, tap.Offload)
		if err != nil {
			return err
		}
		own = f
		return configureGuest(n, name, tap, found)
	}))
	t.Cleanup(func() { own.Close() })
	go copyFrames(own, tap.File, &g.longestSent)
	go copyFrames(tap.File, own, &g.longestReceived)
	return g
}

// configureGuest sets the addresses and routes that a guest gets in its command line.
func configureGuest(n *namespace, name string, tap *Tap, iface *Interface) error {
	link, err := n.LinkByName(name)
	if err != nil {
		return err
	}
	err = errors.Join(n.LinkSetHardwareAddr(link, tap.MAC), n.LinkSetMTU(link, tap.MTU))
	for _, p := range iface.Addresses {
		addr, parseErr := netlink.ParseAddr(p.String())
		if parseErr == nil && p.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		err = errors.Join(err, parseErr, n.AddrAdd(link, addr))
	}
	err = errors.Join(err, n.LinkSetUp(link))
	for _, r := range iface.Routes {
		route := netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(r.Destination.String()), Gw: r.Gateway.AsSlice()}
		if !r.Gateway.IsValid() {
			route.Scope = netlink.SCOPE_LINK
		}
		err = errors.Join(err, n.RouteAdd(&route))
	}
	for _, gateway := range []netip.Addr{iface.Gateway4, iface.Gateway6} {
		if gateway.IsValid() {
			err = errors.Join(err, n.RouteAdd(&netlink.Route{
				LinkIndex: link.Attrs().Index, Gw: gateway.AsSlice(), Flags: int(netlink.FLAG_ONLINK),
			}))
		}
	}
	return err
}

// copyFrames copies frames until a tap is closed, and records the longest.
func copyFrames(from, to *os.File, longest *atomic.Int64) {
	frame := make([]byte, 1<<17)
	for {
		n, err := from.Read(frame)
		if err != nil {
			return
		}
		longest.Store(max(longest.Load(), int64(n)))
		if _, err := to.Write(frame[:n]); err != nil && !errors.Is(err, unix.EIO) {
			return // EIO means that the interface is down
		}
	}
}
