// SPDX-License-Identifier: MPL-2.0

package network

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// A plugin that is killed does not call DetachHost. The next guest gets the same tap.
func TestAttachHost_ReplacesRulesOfEndedGuests(t *testing.T) {
	a := newHost(t)
	before := a.dump(t)
	for i := range 3 {
		g, tap, _ := a.newHostGuest(t, hostOptions(HostPort{Port: 80, Target: uint16(7 + i)}))
		must.Eq(t, "lkl0", tap.Name)
		go serveEcho(listen(t, g.path, "tcp4", fmt.Sprintf(":%d", 7+i)))
		checkEcho(t, dial(t, a.peer, "tcp4", guest4+":80"))
		must.NoError(t, tap.Close())
	}
	a.detachHost(t)
	must.Eq(t, before, a.dump(t))
	a.detachHost(t) // without a table
}

// An operator sees with nft which interfaces belong to guests.
func TestAttachHost_NamesInterfacesForNft(t *testing.T) {
	testenv.Need(t, testenv.Tool("nft"))
	a := newHost(t)
	a.newHostGuest(t, hostOptions())
	a.in(a.path, func(*namespace) error {
		list, err := exec.Command("nft", "list", "set", "inet", hostTableName, setTaps).Output()
		must.StrContains(t, string(list), `elements = { "lkl0" }`)
		return err
	})
}

func TestDetachHost_KeepsOtherGuests(t *testing.T) {
	a := newHost(t)
	before := a.dump(t)
	_, first, _ := a.newHostGuest(t, hostOptions(HostPort{Port: 80, Target: 7}))
	g, second, _ := a.newHostGuest(t, hostOptions(HostPort{Port: 81, Target: 7}))
	go serveEcho(listen(t, g.path, "tcp4", ":7"))
	must.NoError(t, first.Close())
	a.detachHost(t)
	checkEcho(t, dial(t, a.peer, "tcp4", guest4+":81"))
	_, third, _ := a.newHostGuest(t, hostOptions(HostPort{Port: 80, Target: 7}))
	must.Eq(t, first.Name, third.Name)
	a.detachHost(t)
	checkEcho(t, dial(t, a.peer, "tcp4", guest4+":81"))
	for _, tap := range []*Tap{second, third} {
		must.NotEq(t, before, a.dump(t))
		must.NoError(t, tap.Close())
		a.detachHost(t)
	}
	must.Eq(t, before, a.dump(t))
}

// Guests start and end at once.
func TestAttachHost_IsAtomic(t *testing.T) {
	a := newHost(t)
	before := a.dump(t)
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for range 10 {
				tap, _, err := a.tryHost(Options{}, hostOptions(HostPort{Port: uint16(80 + i), Target: 7}))
				must.NoError(t, err)
				must.NoError(t, tap.Close())
				if i > 0 { // the last one of these is swept by another
					a.detachHost(t)
				}
			}
		})
	}
	group.Wait()
	a.detachHost(t)
	must.Eq(t, before, a.dump(t))
}

// Nomad's bridge and docker switch forwarding on when they start.
func TestDetachHost_KeepsForwardingOfOthers(t *testing.T) {
	a := newHost(t)
	setting := func(path, value string) string {
		if value != "" {
			a.in(a.path, func(*namespace) error { return os.WriteFile("/proc/sys/net/ipv4/"+path, []byte(value), 0) })
		}
		var found string
		a.in(a.path, func(*namespace) error { found = readSetting("/proc/sys/net/ipv4/" + path); return nil })
		return found
	}
	const own = "conf/alloc7/forwarding"
	for _, c := range []struct{ before, during, after string }{{"0", "", "0"}, {"0", "1", "1"}, {"1", "", "1"}, {"1", "0", "0"}} {
		setting("ip_forward", c.before)
		tap, _ := a.attachHost(t, hostOptions())
		must.Eq(t, "1", setting(own, ""))
		setting("ip_forward", c.during)
		must.NoError(t, tap.Close())
		a.detachHost(t)
		must.Eq(t, c.after, setting(own, ""), must.Sprintf("%+v", c))
	}
	// An interface that may not forward, on a host that forwards.
	setting("ip_forward", "1")
	setting(own, "0")
	tap, _ := a.attachHost(t, hostOptions())
	must.Eq(t, "1", setting(own, ""))
	must.NoError(t, tap.Close())
	a.detachHost(t)
	must.Eq(t, "0", setting(own, ""))
}

// The remedy in the warning works.
func TestAttachHost_WarnsOfFirewalls(t *testing.T) {
	testenv.Need(t, testenv.Tool("iptables"))
	a := newHost(t)
	iptables := func(args ...string) {
		a.in(a.path, func(*namespace) error { // a process has the namespace of its parent's thread
			out, err := exec.Command("iptables", append([]string{"-w"}, args...)...).CombinedOutput()
			must.NoError(t, err, must.Sprint(string(out)))
			return nil
		})
	}
	iptables("-P", "FORWARD", "DROP")
	tap, _ := a.attachHost(t, hostOptions())
	must.SliceLen(t, 1, tap.Warnings)
	must.StrContains(t, tap.Warnings[0], "run iptables -I FORWARD -i lkl+ -j ACCEPT")
	for _, side := range []string{"-i", "-o"} {
		iptables("-I", "FORWARD", side, "lkl+", "-j", "ACCEPT")
	}
	g, tap, _ := a.newHostGuest(t, hostOptions(HostPort{Port: 80, Target: 7}))
	must.SliceEmpty(t, tap.Warnings)
	go serveEcho(listen(t, g.path, "tcp4", ":7"))
	checkEcho(t, dial(t, a.peer, "tcp4", guest4+":80"))
}

// The packets of other machines on a bridge are not the host's to forward.
func TestAttachHost_LeavesBridgesAloneThatTheFirewallSees(t *testing.T) {
	a := newHost(t)
	const seen = "/proc/sys/net/bridge/bridge-nf-call-iptables"
	if _, err := os.Stat(seen); err != nil {
		t.Skip("the kernel does not filter the packets of bridges")
	}
	a.in(a.path, func(n *namespace) error {
		return n.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}})
	})
	a.address(a.path, "br0", "10.99.0.1/24")
	for _, value := range []string{"1", "0"} {
		var forwarding string
		a.in(a.path, func(*namespace) error { return os.WriteFile(seen, []byte(value), 0) })
		tap, _ := a.attachHost(t, hostOptions())
		a.in(a.path, func(*namespace) error { forwarding = readSetting("/proc/sys/net/ipv4/conf/br0/forwarding"); return nil })
		must.Eq(t, map[string]string{"1": "0", "0": "1"}[value], forwarding)
		must.Eq(t, value == "1", len(tap.Warnings) == 1)
	}
}

// Two processes do not change the rules at once, and another user cannot block them.
func TestLockNamespace_ExcludesOtherProcessesOfRoot(t *testing.T) {
	testenv.Need(t, testenv.Tool("flock"))
	a := newHost(t)
	const nobody = 65534
	try := func(uid uint32) error {
		cmd := exec.Command("sh", "-c", `exec 9>>"$1" && flock -n 9`, "sh", namespaceLock)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		return cmd.Run()
	}
	a.in(a.path, func(*namespace) error {
		lock, err := lockNamespace()
		must.NoError(t, err)
		must.Error(t, try(0))
		must.NoError(t, lock.Close())
		must.Error(t, try(nobody))
		return try(0)
	})
}

func TestAttachHost_LeavesIPv6OutWhereItIsDisabled(t *testing.T) {
	a := newHost(t)
	a.in(a.path, func(*namespace) error {
		return os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
	})
	_, _, iface := a.newHostGuest(t, hostOptions())
	must.SliceLen(t, 1, iface.Addresses)
	must.False(t, iface.Gateway6.IsValid())
	_, _, err := a.tryHost(Options{}, hostOptions(HostPort{Address: netip.MustParseAddr(guest6), Port: 80, Target: 7}))
	must.ErrorIs(t, err, ErrHostPort)
}

// The guest cannot send with another address.
func TestAttachHost_DropsOtherSenders(t *testing.T) {
	for _, allow := range []bool{false, true} {
		a := newHost(t)
		tap, iface, err := a.tryHost(Options{AllowSpoofing: allow}, hostOptions())
		must.NoError(t, err)
		t.Cleanup(func() { _ = tap.Close() })
		server := listenUDP(t, a.path, ":99")
		write := func(from, data string) {
			frame := etherFrame(tap.MAC, a.macOf(a.path, tap.Name), 0x0800,
				ip4Packet(from, guest4, 17, 0, udpPacket(1000, 99, data)))
			_, err := tap.File.Write(frame)
			must.NoError(t, err)
		}
		a.in(a.path, func(*namespace) error { // the kernel's own check of senders
			return os.WriteFile("/proc/sys/net/ipv4/conf/"+tap.Name+"/rp_filter", []byte("0"), 0)
		})
		write("198.18.0.6", "other")
		write(iface.Addresses[0].Addr().String(), "own")
		data, _ := receive(t, server)
		must.Eq(t, map[bool]string{true: "other", false: "own"}[allow], data)
	}
}

// Each packet up to the MTU of the default route fits.
func TestAttachHost_HasTheMTUOfTheDefaultRoute(t *testing.T) {
	for mtu, want := range map[int]int{1280: 1280, 1400: 1400, 1500: 1500, 9000: 1500} {
		a := newAlloc(t, mtu)
		tap, iface := a.attachHost(t, hostOptions())
		must.Eq(t, want, tap.MTU)
		must.Eq(t, want, iface.MTU)
	}
	a := newAlloc(t, 9000)
	tap, _, err := a.tryHost(Options{MaxMTU: 65535}, hostOptions())
	must.NoError(t, err)
	t.Cleanup(func() { _ = tap.Close() })
	must.Eq(t, 9000, tap.MTU)
}

func TestAttachHost_ConnectsGuestWithOffloads(t *testing.T) {
	a := newHost(t)
	tap, iface, err := a.tryHost(Options{Offload: true, BlockMetadata: true}, hostOptions(HostPort{Port: 80, Target: 7}))
	must.NoError(t, err)
	t.Cleanup(func() { _ = tap.Close() })
	g := runGuest(t, tap, iface)
	for network, address := range map[string]string{"tcp4": guest4, "tcp6": guest6} {
		go serveEcho(listen(t, g.path, network, ":7"))
		a.echoDigest(t, network, net.JoinHostPort(address, "80"))
	}
	must.Greater(t, int64(10000), g.longestReceived.Load(), must.Sprint("frames should be large"))
}
