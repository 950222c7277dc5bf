// SPDX-License-Identifier: MPL-2.0

package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestInspect_ChoosesInterfaceOfDefaultRoute(t *testing.T) {
	a := newAlloc(t, 1500)
	a.in(a.path, func(n *namespace) error {
		return n.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "other"})
	})
	a.address(a.path, "eth0", "10.99.0.1/24")
	a.address(a.path, "other")
	found, err := Inspect(a.path, "")
	must.NoError(t, err)
	must.Eq(t, "alloc7", found.Name)

	// The other interface gets a default route with a better metric.
	a.in(a.path, func(n *namespace) error {
		return n.RouteDel(&netlink.Route{Gw: net.ParseIP(peer4)})
	})
	a.route("", peer4, 200)
	a.in(a.path, func(n *namespace) error {
		link, err := n.LinkByName("eth0")
		return errors.Join(err, n.RouteAdd(&netlink.Route{
			LinkIndex: link.Attrs().Index, Gw: net.ParseIP("10.99.0.2"), Priority: 100,
		}))
	})
	found, err = Inspect(a.path, "")
	must.NoError(t, err)
	must.Eq(t, "eth0", found.Name)
	must.Eq(t, "10.99.0.2", found.Gateway4.String())
	must.False(t, found.Gateway6.IsValid())
}

func TestInspect_WithoutDefaultRouteChoosesOnlyInterfaceWithAddress(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Tun)
	a := &alloc{t: t, path: newNamespace(t)}
	_, err := Inspect(a.path, "")
	must.ErrorIs(t, err, ErrNoInterface)
	for i, name := range []string{"one", "two"} {
		a.in(a.path, func(n *namespace) error {
			return n.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "peer-" + name})
		})
		a.address(a.path, "peer-"+name)
		a.address(a.path, name, fmt.Sprintf("10.77.%d.2/24", i))
		found, err := Inspect(a.path, "")
		if i > 0 {
			must.ErrorIs(t, err, ErrNoInterface)
			must.ErrorContains(t, err, "one, two have addresses")
			continue
		}
		must.NoError(t, err)
		must.Eq(t, name, found.Name)
		must.False(t, found.Gateway4.IsValid())
	}
}

func TestInspect_ChoosesNamedInterface(t *testing.T) {
	a := newAlloc(t, 1500)
	long := "fifteen.bytes@x" // the most that the kernel allows
	a.veth("net1")
	a.in(a.path, func(n *namespace) error {
		return n.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: long}, PeerName: "other"})
	})
	a.address(a.path, "net1", "10.5.0.2/24")
	a.address(a.path, long)
	a.addRoute("net1", netlink.Route{Gw: net.ParseIP("10.5.0.1"), Priority: 50})
	for name, want := range map[string][]string{
		"":       {"10.77.0.2/24", "fd77::2/64", "default via 10.77.0.1", "default via fd77::1"},
		"alloc7": {"10.77.0.2/24", "fd77::2/64", "default via 10.77.0.1", "default via fd77::1"},
		"net1":   {"10.5.0.2/24", "default via 10.5.0.1"},
		long:     nil, // an interface without an address, for a guest that needs none
	} {
		found, err := Inspect(a.path, name)
		must.NoError(t, err)
		must.Eq(t, want, texts(found))
	}
	for name, message := range map[string]string{
		"eth1": `the network has no interface "eth1"; it has`,
		"lo":   `the network has no interface "lo"; it has`,
	} {
		_, err := Inspect(a.path, name)
		must.ErrorIs(t, err, ErrNoInterface)
		must.ErrorContains(t, err, message)
	}
	a.attachWith(Options{Interface: long})
	a.attachWith(Options{Interface: "net1"})
	a.attach()
}

func TestAttachShared_AcceptsEveryNameOfAnInterface(t *testing.T) {
	a := newEmptyAlloc(t)
	for i, name := range []string{"fifteen.bytes@x", "a", "eth0.100"} {
		a.in(a.path, func(n *namespace) error {
			return n.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: fmt.Sprintf("other%d", i)})
		})
		a.address(a.path, name, fmt.Sprintf("10.%d.0.2/24", i))
		tap, err := AttachShared(a.path, Options{Interface: name}, Sharing{})
		must.NoError(t, err)
		must.NoError(t, tap.Close())
		must.NoError(t, Detach(a.path, ""))
	}
}

func TestInspect_SaysWhyAnInterfaceIsUnusable(t *testing.T) {
	flag := func(set func(*namespace, netlink.Link) error) func(*testing.T, *alloc) {
		return func(_ *testing.T, a *alloc) {
			a.address(a.path, a.name, "10.1.0.2/24")
			a.in(a.path, func(n *namespace) error {
				link, err := n.LinkByName(a.name)
				return errors.Join(err, set(n, link))
			})
		}
	}
	noARP := func(n *namespace, l netlink.Link) error { return n.LinkSetARPOff(l) }
	down := func(n *namespace, l netlink.Link) error { return n.LinkSetDown(l) }
	for name, c := range map[string]struct {
		setUp func(*testing.T, *alloc)
		want  string
	}{
		"no ARP":     {flag(noARP), "eth0 does no ARP (NOARP), as ipvlan in the modes l3 and l3s"},
		"down":       {flag(down), "eth0 is down"},
		"no address": {func(*testing.T, *alloc) {}, "eth0 has no address beyond link-local"},
		"no Ethernet": {func(t *testing.T, a *alloc) {
			a.in(a.path, func(n *namespace) error {
				tun := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tun0"}, Mode: netlink.TUNTAP_MODE_TUN}
				return errors.Join(n.LinkAdd(tun))
			})
			a.address(a.path, "tun0", "10.1.0.2/24")
		}, "tun0 carries no Ethernet frames (link type none)"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newEmptyAlloc(t)
			c.setUp(t, a)
			_, err := Inspect(a.path, "")
			must.ErrorIs(t, err, ErrNoInterface)
			must.ErrorContains(t, err, c.want)
			must.False(t, errors.Is(err, ErrOnlyLoopback))
			_, err = AttachL2(a.path, Options{})
			must.ErrorIs(t, err, ErrNoInterface)
		})
	}
}

// The kernels of the tests have no ipvlan. It sets NOARP in the modes l3 and l3s.
func TestUnusable_DependsOnTheModeOfIPVLAN(t *testing.T) {
	for mode, flags := range map[netlink.IPVlanMode]uint32{
		netlink.IPVLAN_MODE_L2: unix.IFF_UP, netlink.IPVLAN_MODE_L3: unix.IFF_UP | unix.IFF_NOARP, netlink.IPVLAN_MODE_L3S: unix.IFF_UP | unix.IFF_NOARP,
	} {
		link := &netlink.IPVlan{Mode: mode, LinkAttrs: netlink.LinkAttrs{
			Name: "eth0", Flags: net.FlagUp, RawFlags: flags, EncapType: "ether", HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1},
		}}
		must.Eq(t, mode == netlink.IPVLAN_MODE_L2, unusable(link) == "")
	}
}

func TestInspect_RefusesDefaultRouteWithoutARP(t *testing.T) {
	a := newAlloc(t, 1500)
	a.veth("other")
	a.address(a.path, "other", "10.5.0.2/24")
	a.in(a.path, func(n *namespace) error {
		link, err := n.LinkByName(a.name)
		return errors.Join(err, n.LinkSetARPOff(link))
	})
	for _, name := range []string{"", a.name} {
		_, err := Inspect(a.path, name)
		must.ErrorIs(t, err, ErrNoInterface)
		must.ErrorContains(t, err, "use ipvlan's mode l2")
	}
}

func TestInspect_ReportsNamespaceWithoutInterface(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Tun)
	path := newNamespace(t)
	_, err := Inspect(path, "")
	must.ErrorIs(t, err, ErrNoInterface)
	must.ErrorIs(t, err, ErrOnlyLoopback)
	_, err = Inspect(path, "eth0")
	must.ErrorIs(t, err, ErrNoInterface)
	must.ErrorContains(t, err, "it has only lo")
	must.NoError(t, inNamespace(path, func(n *namespace) error {
		f, _, err := n.createTap(1500, false)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = n.inspect("")
		must.ErrorIs(t, err, ErrOnlyLoopback, must.Sprint("a guest's tap is no interface for another guest"))
		return nil
	}))
}

func TestInspect_PrefersPermanentIPv6Addresses(t *testing.T) {
	a := newEmptyAlloc(t)
	a.address(a.path, a.name, "fd01::2/64", "fd01::3/64", "fe80::77/64")
	a.in(a.path, func(n *namespace) error {
		link, err := n.LinkByName(a.name)
		if err != nil {
			return err
		}
		for text, lifetimes := range map[string][2]int{ // preferred, valid: in seconds
			"fd01::4/64": {0, 3600},    // deprecated
			"fd01::5/64": {3600, 3600}, // as from a router
		} {
			addr, parseErr := netlink.ParseAddr(text)
			must.NoError(t, parseErr)
			addr.Flags, addr.PreferedLft, addr.ValidLft = unix.IFA_F_NODAD, lifetimes[0], lifetimes[1]
			err = errors.Join(err, n.AddrAdd(link, addr))
		}
		return err
	})
	found, err := Inspect(a.path, "")
	must.NoError(t, err)
	must.Eq(t, []string{"fd01::2/64", "fd01::3/64", "fd01::5/64", "fd01::4/64"}, texts(found))
}

func TestInspect_LeavesOutDuplicateAddress(t *testing.T) {
	a := newEmptyAlloc(t)
	a.veth("eth1")
	a.address(a.path, "eth0x", "fd01::2/64")
	a.in(a.path, func(n *namespace) error {
		link, err := n.LinkByName("eth0")
		if err != nil {
			return err
		}
		addr, err := netlink.ParseAddr("fd01::2/64")
		return errors.Join(err, n.LinkSetUp(link), n.AddrAdd(link, addr))
	})
	must.Wait(t, testenv.Eventually(func() error {
		found, err := Inspect(a.path, "eth0")
		must.NoError(t, err)
		if len(found.Addresses) > 0 {
			return fmt.Errorf("%s is not yet known to be a duplicate", found.Addresses[0])
		}
		return nil
	}))
	a.address(a.path, "eth0x")
	a.in(a.path, func(n *namespace) error {
		link, err := n.LinkByName("eth0x")
		if err != nil {
			return err
		}
		addr, err := netlink.ParseAddr("fd01::2/64")
		return errors.Join(err, n.AddrDel(link, addr))
	})
	_, err := Inspect(a.path, "")
	must.ErrorIs(t, err, ErrNoInterface)
	must.ErrorContains(t, err, "another host on the link uses fd01::2")
}

func TestInspect_ReadsAdvertisedRouter(t *testing.T) {
	a := newEmptyAlloc(t)
	a.address(a.path, "eth0", "10.1.0.2/24", "fd01::2/64")
	router := net.HardwareAddr{2, 0, 0, 0, 0, 0x77}
	advert := ip6Packet("fe80::77", "ff02::1", unix.IPPROTO_ICMPV6, routerAdvert("fdbd::", router))
	must.Wait(t, testenv.Eventually(func() error {
		a.send("eth0x", etherFrame(router, net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, unix.ETH_P_IPV6, advert))
		found, err := Inspect(a.path, "")
		must.NoError(t, err)
		if !found.Gateway6.IsValid() || len(found.Addresses) < 3 {
			return fmt.Errorf("the router is not known yet: %q", texts(found))
		}
		own := linkLocal(found.MAC).As16()
		copy(own[:8], bytesOf("fdbd::"))
		must.Eq(t, []string{
			"10.1.0.2/24", "fd01::2/64", netip.AddrFrom16(own).String() + "/64", "default via fe80::77",
		}, texts(found))
		return nil
	}))
}

// send sends a frame from an interface of the alloc.
func (a *alloc) send(name string, frame []byte) {
	a.t.Helper()
	a.in(a.path, func(n *namespace) error {
		link, err := n.LinkByName(name)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index})
	})
}
