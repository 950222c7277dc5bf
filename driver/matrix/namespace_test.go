// SPDX-License-Identifier: MPL-2.0

package matrix

import (
	"errors"
	"fmt"
	"net"
	"os"
	"testing"

	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/osthread"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// A namespace is a network namespace that exists until the test ends.
type namespace struct {
	t    testing.TB
	file *os.File
}

const threadNamespace = "/proc/thread-self/ns/net"

func newNamespace(t testing.TB) *namespace {
	t.Helper()
	n := &namespace{t: t}
	must.NoError(t, osthread.Run(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			n.file, err = os.Open(threadNamespace)
		}
		return err
	}))
	n.prepare()
	return n
}

// ownNamespace returns the namespace of the process.
func ownNamespace(t testing.TB) *namespace {
	t.Helper()
	f, err := os.Open(threadNamespace)
	must.NoError(t, err)
	n := &namespace{t: t, file: f}
	n.prepare()
	return n
}

func (n *namespace) prepare() {
	n.t.Helper()
	n.t.Cleanup(func() { n.file.Close() })
	n.do(func(h *netlink.Handle) error {
		lo, err := h.LinkByName("lo")
		return errors.Join(err, h.LinkSetUp(lo))
	})
}

// path is valid in other processes, too.
func (n *namespace) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd()) }

// enter calls f on a thread in the namespace.
func (n *namespace) enter(f func() error) error {
	return osthread.Run(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

func (n *namespace) do(f func(*netlink.Handle) error) {
	n.t.Helper()
	must.NoError(n.t, n.enter(func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer h.Close()
		return f(h)
	}))
}

// connect creates a veth pair between two namespaces.
func connect(a *namespace, nameA string, b *namespace, nameB string, mtu int) {
	a.t.Helper()
	a.do(func(h *netlink.Handle) error {
		return h.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: nameA, MTU: mtu},
			PeerName:  nameB, PeerNamespace: netlink.NsFd(b.file.Fd()), PeerMTU: uint32(mtu),
		})
	})
}

// address adds addresses to an interface and brings it up. IPv6 addresses skip duplicate
// address detection, so that they can be used at once.
func (n *namespace) address(name string, addresses ...string) {
	n.t.Helper()
	n.do(func(h *netlink.Handle) error {
		link, err := h.LinkByName(name)
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
			if err := h.AddrAdd(link, addr); err != nil {
				return err
			}
		}
		return h.LinkSetUp(link)
	})
}

// route adds a route through a gateway.
func (n *namespace) route(to, gateway string) {
	n.t.Helper()
	n.routeWith(to, netlink.Route{Gw: net.ParseIP(gateway)})
}

// routeWith adds a route with these properties.
func (n *namespace) routeWith(to string, r netlink.Route) {
	n.t.Helper()
	n.do(func(h *netlink.Handle) (err error) {
		if r.Dst, err = netlink.ParseIPNet(to); err != nil {
			return err
		}
		return h.RouteAdd(&r)
	})
}

// sysctl sets a parameter below net.
func (n *namespace) sysctl(name, value string) {
	n.t.Helper()
	must.NoError(n.t, n.enter(func() error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644) }))
}

// dial connects to an address from the namespace.
func (n *namespace) dial(network, address string) (net.Conn, error) {
	var c net.Conn
	err := n.enter(func() (err error) {
		c, err = net.DialTimeout(network, address, testenv.Patience)
		return err
	})
	return c, err
}

// open is like dial. The connection exists until the test ends.
func (n *namespace) open(t testing.TB, network, address string) net.Conn {
	t.Helper()
	c, err := n.dial(network, address)
	must.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// listen opens a TCP socket in the namespace.
func (n *namespace) listen(address string) net.Listener {
	n.t.Helper()
	var l net.Listener
	must.NoError(n.t, n.enter(func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	}))
	n.t.Cleanup(func() { l.Close() })
	return l
}

// listenPacket opens a socket without connection in the namespace.
func (n *namespace) listenPacket(network, address string) net.PacketConn {
	n.t.Helper()
	var c net.PacketConn
	must.NoError(n.t, n.enter(func() (err error) {
		c, err = net.ListenPacket(network, address)
		return err
	}))
	n.t.Cleanup(func() { _ = c.Close() })
	return c
}
