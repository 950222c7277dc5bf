// SPDX-License-Identifier: MPL-2.0

package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var (
	// ErrHostSubnet means that the host already uses addresses of the links' subnet.
	ErrHostSubnet = errors.New("the subnet for guests in host mode cannot be used: " +
		"set another one in the block host_network of the plugin's configuration")
	// ErrHostPort means that a port of the host is in use.
	ErrHostPort = errors.New("the port cannot lead to a guest")
	// ErrNoTables means that the kernel cannot translate addresses.
	ErrNoTables = errors.New("the kernel cannot translate addresses for host mode: " +
		"load the modules nf_tables, nft_nat, nft_masq, nft_ct and nft_fib_inet")
)

// Default subnets of the links between the host and its guests. 198.18.0.0/15 belongs to
// test networks (RFC 2544), so hosts rarely use it. The other one is a unique local
// network.
var (
	DefaultHostSubnet  = netip.MustParsePrefix("198.18.0.0/16")
	DefaultHostSubnet6 = netip.MustParsePrefix("fd6c:6b6c:6c6b:1::/64")
)

// HostPort is a port of the host that leads to a guest, for TCP and UDP.
type HostPort struct {
	Address netip.Addr // of the host; the zero Addr for all
	Port    uint16     // of the host
	Target  uint16     // of the guest
}

// HostOptions are the properties of a guest's link in the host's namespace.
type HostOptions struct {
	Subnet, Subnet6 netip.Prefix // networks of the links; the zero Prefix leaves a family out
	Ports           []HostPort
}

// AttachHost creates a tap in the calling thread's network namespace, which is the host's.
// The host has an address at this end, and the Interface describes the guest's end.
// Packets that the guest sends elsewhere leave with the host's address. The ports lead to
// the guest, also from the host itself and from other guests.
//
// The kernel keeps all state, so the process may end at any time. The caller closes the
// tap and calls DetachHost when the guest has ended. Errors: ErrHostSubnet, ErrHostPort,
// ErrNoTables, ErrNoFilter, ErrNoChecksumCheck.
func AttachHost(o Options, h HostOptions) (*Tap, *Interface, error) {
	var tap *Tap
	var iface *Interface
	err := onHost(func(n *hostNamespace) (err error) {
		tap, iface, err = n.attachHost(o, h)
		return err
	})
	return tap, iface, err
}

// DetachHost removes the rules of all taps of AttachHost that no longer exist. With the
// last one, it restores the host's settings.
func DetachHost() error {
	return onHost(func(n *hostNamespace) error { return n.sweep("") })
}

// hostNamespace is the calling thread's network namespace, locked against other users
// of host mode.
type hostNamespace struct {
	*namespace
	table *hostTable
}

// onHost calls do on the calling thread.
func onHost(do func(*hostNamespace) error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	lock, err := lockNamespace()
	if err != nil {
		return err
	}
	defer lock.Close()
	return withNetlink(func(n *namespace) error {
		table, err := openHostTable()
		if err != nil {
			return err
		}
		defer table.close()
		return do(&hostNamespace{namespace: n, table: table})
	})
}

// namespaceLock is a file that each network namespace has, and that only root can open. Any
// process can open /proc/self/ns/net, and could block host mode by a lock.
const namespaceLock = "/proc/sys/net/ipv4/route/flush"

// lockNamespace locks the calling thread's network namespace against other threads and
// processes that do so. The lock ends with the file.
func lockNamespace() (*os.File, error) {
	f, err := os.OpenFile(namespaceLock, os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open the lock of the network namespace: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock the network namespace: %w", err)
	}
	return f, nil
}

// attachHost creates the tap, then the rules, and then brings the tap up.
func (n *hostNamespace) attachHost(o Options, h HostOptions) (_ *Tap, _ *Interface, err error) {
	f, name, err := openTun(tapPattern, unix.IFF_TUN_EXCL, o.Offload)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
			err = errors.Join(err, n.sweep(name))
		}
	}()
	if err := n.sweep(name); err != nil { // rules of an earlier tap with this name
		return nil, nil, err
	}
	mtu, err := n.hostMTU(o)
	if err != nil {
		return nil, nil, err
	}
	subnets, warnings := usableSubnets(h, mtu)
	link, err := newHostLink(name, subnets)
	if err != nil {
		return nil, nil, err
	}
	link.mtu = mtu
	if err := n.checkSubnets(link); err != nil {
		return nil, nil, err
	}
	ports, err := n.table.portsFor(link, h.Ports)
	if err != nil {
		return nil, nil, err
	}
	bridges, err := n.connectHost(link, ports, o)
	if err != nil {
		return nil, nil, fmt.Errorf("tap %s: %w", name, err)
	}
	tap := &Tap{
		File: f, Name: name, MAC: link.mac, MTU: link.mtu, Offload: o.Offload,
		Warnings: slices.Concat(warnings, bridges, n.table.firewalls()),
	}
	return tap, link.guestInterface(), nil
}

// connectHost adds rules, then forwarding, and then brings the tap up.
func (n *hostNamespace) connectHost(link *hostLink, ports []portRule, o Options) (warnings []string, err error) {
	tap, err := n.configureHostTap(link, o)
	if err != nil {
		return nil, err
	}
	switches, warnings, err := n.missingForwarding(link)
	if err != nil {
		return nil, err
	}
	if err := n.table.add(link, ports, switches); err != nil {
		return nil, err
	}
	for _, s := range switches {
		if err := s.write("1"); err != nil {
			return nil, err
		}
	}
	forgetPorts(ports)
	if err := n.LinkSetUp(tap); err != nil {
		return nil, fmt.Errorf("bring it up: %w", err)
	}
	return warnings, nil
}

// configureHostTap prepares a tap that is still down.
func (n *hostNamespace) configureHostTap(link *hostLink, o Options) (netlink.Link, error) {
	if err := link.writeSettings(); err != nil {
		return nil, err
	}
	tap, err := n.LinkByName(link.tap)
	if err != nil {
		return nil, err
	}
	if err := n.LinkSetMTU(tap, link.mtu); err != nil {
		return nil, fmt.Errorf("set the MTU to %d: %w", link.mtu, err)
	}
	if o.Offload {
		if err := n.LinkSetTxQLen(tap, offloadQueueLen); err != nil {
			return nil, fmt.Errorf("set its queue length to %d: %w", offloadQueueLen, err)
		}
	}
	if err := n.guardTap(tap, ownerOf(link.guestInterface()), o); err != nil {
		return nil, err
	}
	for _, end := range link.ends {
		address := &netlink.Addr{IPNet: toIPNet(end.host)}
		if end.family == ip6 {
			address.Flags = unix.IFA_F_NODAD
		}
		if err := n.AddrAdd(tap, address); err != nil {
			return nil, fmt.Errorf("add the address %s: %w", end.host, err)
		}
	}
	return tap, nil
}

// sweep removes the rules of taps that no longer exist, and of the named tap. Without
// another tap, it restores the host's settings and removes the table.
func (n *hostNamespace) sweep(name string) error {
	state, err := n.table.read()
	if err != nil || state == nil {
		return err
	}
	links, err := n.LinkList()
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	exists := make(map[string]bool)
	for _, link := range links {
		exists[link.Attrs().Name] = link.Attrs().Name != name
	}
	var gone []string
	for _, tap := range state.taps {
		if !exists[tap] {
			gone = append(gone, tap)
		}
	}
	if len(gone) > 0 {
		defer state.forgetGuests(gone)
	}
	if len(gone) < len(state.taps) {
		return n.table.remove(state, gone)
	}
	for _, s := range state.switches {
		if err := s.restore(); err != nil {
			return err
		}
	}
	return n.table.delete()
}
