// SPDX-License-Identifier: MPL-2.0

package network

import (
	"errors"
	"net"
	"os"
	"slices"
	"testing"

	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// A neighborhood is a bridge with two allocs, as Nomad and CNI make it. The bridge is the
// gateway. The attacker is a guest. The victim is a process.
type neighborhood struct {
	attacker, victim *alloc
	tap              *Tap
}

const (
	victim4, victim6 = "10.77.0.3", "fd77::3"
	victimPort       = "to-victim" // of the bridge
)

func newNeighborhood(t *testing.T, o Options) *neighborhood {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Tun)
	host := newNamespace(t)
	h := &neighborhood{
		attacker: &alloc{t: t, path: newNamespace(t), peer: host, name: "eth0"},
		victim:   &alloc{t: t, path: newNamespace(t), peer: host, name: "eth0"},
	}
	h.attacker.in(host, func(n *namespace) error {
		return n.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "bridge"}})
	})
	h.attacker.joinBridge("to-attacker")
	h.victim.joinBridge(victimPort)
	h.attacker.address(host, "bridge", peer4+"/24", peer6+"/64")
	h.attacker.address(h.attacker.path, "eth0", guest4+"/24", guest6+"/64")
	h.victim.address(h.victim.path, "eth0", victim4+"/24", victim6+"/64")
	h.attacker.route("", peer4, 0)
	h.victim.in(h.victim.path, func(*namespace) error { // the kernel else keeps a neighbor's MAC for a second
		return os.WriteFile("/proc/sys/net/ipv4/neigh/eth0/locktime", []byte("0"), 0)
	})
	h.attacker.mac = h.attacker.macOf(h.attacker.path, "eth0")
	h.victim.mac = h.victim.macOf(h.victim.path, "eth0")
	// The victim has the gateway in its neighbor tables from here on.
	for network, address := range map[string]string{"tcp4": peer4 + ":7", "tcp6": "[" + peer6 + "]:7"} {
		go serveEcho(listen(t, host, network, address))
		checkEcho(t, dial(t, h.victim.path, network, address))
	}
	h.tap = h.attacker.attachWith(o)
	return h
}

// joinBridge connects the alloc to the bridge of its peer.
func (a *alloc) joinBridge(port string) {
	a.t.Helper()
	ns, err := os.Open(a.path)
	must.NoError(a.t, err)
	defer ns.Close()
	a.in(a.peer, func(n *namespace) error {
		err := n.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: port}, PeerName: a.name, PeerNamespace: netlink.NsFd(ns.Fd()),
		})
		link, linkErr := n.LinkByName(port)
		bridge, bridgeErr := n.LinkByName("bridge")
		return errors.Join(err, linkErr, bridgeErr, n.LinkSetMaster(link, bridge), n.LinkSetUp(link))
	})
}

func (a *alloc) macOf(path, name string) (mac net.HardwareAddr) {
	a.t.Helper()
	a.in(path, func(n *namespace) error {
		link, err := n.LinkByName(name)
		mac = link.Attrs().HardwareAddr
		return err
	})
	return mac
}

// neighbor observes the MAC that the victim has stored for an address.
func (h *neighborhood) neighbor(address string) func() string {
	return func() (mac string) {
		h.victim.t.Helper()
		h.victim.in(h.victim.path, func(n *namespace) error {
			link, err := n.LinkByName("eth0")
			if err != nil {
				return err
			}
			neighbors, err := n.NeighList(link.Attrs().Index, netlink.FAMILY_ALL)
			for _, entry := range neighbors {
				if entry.IP.Equal(net.ParseIP(address)) {
					mac = entry.HardwareAddr.String()
				}
			}
			return err
		})
		return mac
	}
}

// portOfVictim returns the name of the bridge's port that has the victim's MAC.
func (h *neighborhood) portOfVictim() (name string) {
	h.victim.t.Helper()
	h.victim.in(h.victim.peer, func(n *namespace) error {
		entries, err := n.NeighList(0, unix.AF_BRIDGE)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if slices.Equal(entry.HardwareAddr, h.victim.mac) {
				port, err := n.LinkByIndex(entry.LinkIndex)
				if err != nil {
					return err
				}
				name = port.Attrs().Name
			}
		}
		return nil
	})
	return name
}

// defaultRouter returns the victim's IPv6 router, which it learns from advertisements.
func (h *neighborhood) defaultRouter() string {
	h.victim.t.Helper()
	found, err := Inspect(h.victim.path, "")
	must.NoError(h.victim.t, err)
	return found.Gateway6.String()
}

// An attack is a frame with a forged sender. If observe is set, it returns a state of the
// victim or of the bridge that changes to success if the frame arrives.
type attack struct {
	frame   []byte
	observe func() string
	success string
}

var attacks = []struct {
	name  string
	build func(h *neighborhood) attack
}{
	{"announcement of the gateway's address", func(h *neighborhood) attack {
		forged := arpPacket(1, h.own(), peer4, peer4)
		return attack{etherFrame(h.own(), broadcastMAC, unix.ETH_P_ARP, forged), h.neighbor(peer4), h.own().String()}
	}},
	{"ARP reply with the gateway's address", func(h *neighborhood) attack {
		forged := arpPacket(2, h.own(), peer4, victim4)
		return attack{etherFrame(h.own(), h.victim.mac, unix.ETH_P_ARP, forged), h.neighbor(peer4), h.own().String()}
	}},
	{"ARP reply with a foreign MAC", func(h *neighborhood) attack {
		forged := arpPacket(2, foreignMAC, peer4, victim4)
		return attack{etherFrame(h.own(), h.victim.mac, unix.ETH_P_ARP, forged), h.neighbor(peer4), foreignMAC.String()}
	}},
	{"advertisement of the gateway's IPv6 address", func(h *neighborhood) attack {
		forged := neighborMessage(136, 0x20, peer6, macOption(2, h.own()))
		return attack{h.icmp6(h.local(), victim6, forged), h.neighbor(peer6), h.own().String()}
	}},
	{"solicitation from the gateway's IPv6 address", func(h *neighborhood) attack {
		forged := neighborMessage(135, 0, victim6, macOption(1, h.own()))
		return attack{h.icmp6(peer6, victim6, forged), h.neighbor(peer6), h.own().String()}
	}},
	{"router advertisement", func(h *neighborhood) attack {
		return attack{h.icmp6(h.local(), "ff02::1", routerAdvert("fdbd::", h.own())), h.defaultRouter, h.local()}
	}},
	{"source MAC of the victim", func(h *neighborhood) attack {
		forged := arpPacket(1, h.own(), guest4, stranger4) // the victim does not answer
		return attack{etherFrame(h.victim.mac, broadcastMAC, unix.ETH_P_ARP, forged), h.portOfVictim, "to-attacker"}
	}},
	{"DHCP offer", func(h *neighborhood) attack {
		offer := ip4Packet(guest4, "255.255.255.255", unix.IPPROTO_UDP, 0, udpPacket(67, 68, "offer"))
		return attack{frame: etherFrame(h.own(), broadcastMAC, unix.ETH_P_IP, offer)}
	}},
	{"datagram from the gateway's address", func(h *neighborhood) attack {
		forged := ip4Packet(peer4, victim4, unix.IPPROTO_UDP, 0, udpPacket(7, 7, "forged"))
		return attack{frame: etherFrame(h.own(), h.victim.mac, unix.ETH_P_IP, forged)}
	}},
	{"datagram from the gateway's IPv6 address", func(h *neighborhood) attack {
		forged := ip6Packet(peer6, victim6, unix.IPPROTO_UDP, udpPacket(7, 7, "forged"))
		return attack{frame: etherFrame(h.own(), h.victim.mac, unix.ETH_P_IPV6, forged)}
	}},
}

func (h *neighborhood) own() net.HardwareAddr { return h.attacker.mac }

func (h *neighborhood) local() string { return linkLocal(h.own()).String() }

// icmp6 is a message to the victim, or to all hosts.
func (h *neighborhood) icmp6(from, to string, message []byte) []byte {
	return etherFrame(h.own(), h.victim.mac, unix.ETH_P_IPV6, ip6Packet(from, to, unix.IPPROTO_ICMPV6, message))
}

// run sends the attack's frame, waits until the victim has processed it, and returns
// whether the victim received it.
func (h *neighborhood) run(t *testing.T, a attack) bool {
	t.Helper()
	sniffer := newSniffer(t, h.victim.path, "eth0")
	// The mark is a broadcast: the attack may keep other frames from the victim.
	mark := etherFrame(h.own(), broadcastMAC, unix.ETH_P_IP,
		ip4Packet(guest4, victim4, unix.IPPROTO_UDP, 0, udpPacket(1, 1, "mark")))
	sendAll(t, h.tap, a.frame, mark)
	return sniffer.receivesBefore(a.frame, mark)
}

func TestSpoofing_DoesNotReachNeighbors(t *testing.T) {
	for _, c := range attacks {
		t.Run(c.name, func(t *testing.T) {
			h := newNeighborhood(t, Options{Offload: true})
			a := c.build(h)
			received := h.run(t, a)
			must.False(t, received)
			if a.observe != nil {
				must.NotEq(t, a.success, a.observe())
			}
		})
	}
}

// The attacks of the test above do harm if spoofing is allowed.
func TestSpoofing_SucceedsIfAllowed(t *testing.T) {
	for _, c := range attacks {
		t.Run(c.name, func(t *testing.T) {
			h := newNeighborhood(t, Options{Offload: true, AllowSpoofing: true})
			a := c.build(h)
			if a.observe != nil {
				must.NotEq(t, a.success, a.observe())
			}
			must.True(t, h.run(t, a))
			if a.observe != nil {
				must.Wait(t, testenv.EventuallyTrue(func() bool {
					h.run(t, a) // the victim itself may have sent a frame meanwhile
					return a.observe() == a.success
				}))
			}
		})
	}
}
