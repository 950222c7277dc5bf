// SPDX-License-Identifier: MPL-2.0

package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/network/programs"
)

// AttachShared creates a tap in an allocation's namespace whose guest shares the address
// of the allocation's interface. The namespace's stack keeps the interface. Tap.Ephemeral
// is the range from which the guest must take the ports of connections that it opens.
//
// The guest reaches its neighbors at NeighborLoopback and NeighborAddress; they reach it
// at 127.0.0.1 and at the interface's address. There is no table of connections: programs
// of traffic control decide about each packet by its ports. Unless the options allow
// spoofing, the guest can send only from its own ports.
//
// The caller closes the tap and calls Detach when the guest has ended. Errors: ErrTaken if
// another guest uses the interface alone, ErrTooMany, ErrForeign, ErrNoSharing,
// ErrNoFilter, ErrNoChecksumCheck, and those of Inspect.
func AttachShared(netns string, o Options, s Sharing) (*Tap, error) {
	attachMutex.Lock()
	defer attachMutex.Unlock()
	var tap *Tap
	err := inNamespace(netns, func(n *namespace) (err error) {
		tap, err = n.attachShared(o, s)
		return err
	})
	return tap, err
}

var (
	// ErrTooMany means that as many guests as possible share the namespace.
	ErrTooMany = fmt.Errorf("%d unikernels share this network already, and no more can", maxSharing)
	// ErrNoSharing means that the kernel cannot run the programs of shared mode.
	ErrNoSharing = errors.New("the kernel cannot share an interface with a guest: " +
		"use a kernel with CONFIG_BPF_SYSCALL and CONFIG_NET_CLS_BPF, or network_mode = \"l2\"")
)

// The filters of guests in shared mode have priorities from sharedPriority on: those of a
// level for all guests, by slot, before those of the next level. The last level has the
// rest of the ports for guests with Sharing.AnyPort.
const (
	sharedPriority = 0x6c80
	levelSize      = 32
	sharedLevels   = programs.Levels + 1
)

// priority returns the priority of the guest's filter of a level.
func (g *sharedGuest) priority(level int) uint16 {
	if level == programs.Rest && !g.Rest {
		level++
	}
	return sharedPriority + uint16(level)*levelSize + g.slot
}

// maxSharing is the number of guests that can share a namespace. The ports of their own
// connections are below those of the namespace's stack, which begin at 32768.
const maxSharing = 13

// ephemeralPorts returns the ports for the connections of the guest in a slot.
func ephemeralPorts(slot uint16) PortRange {
	const first, size = 4096, 1024
	if slot == 0 {
		return PortRange{16384, 32767}
	}
	begin := first + (slot-1)*size
	return PortRange{begin, begin + size - 1}
}

func (n *namespace) attachShared(o Options, s Sharing) (*Tap, error) {
	found, err := n.inspect(o.Interface)
	if err != nil {
		return nil, err
	}
	link, err := n.LinkByName(found.Name)
	if err != nil {
		return nil, err
	}
	lo, err := n.LinkByName("lo")
	if err != nil {
		return nil, err
	}
	mtu := min(found.MTU, o.maxMTU())
	f, tap, err := n.createTap(mtu, o.Offload)
	if err != nil {
		return nil, err
	}
	g := &sharedGuest{tap: tap, link: link, lo: lo, found: found, Options: o, Sharing: s}
	if g.slot, err = n.claimSlot(tap.Attrs().Name, link, lo); err == nil {
		err = n.share(g)
	}
	if err != nil {
		f.Close() // the kernel removes the tap's filters together with the tap
		return nil, errors.Join(err, n.detach(tap.Attrs().Name))
	}
	return &Tap{
		File: f, Name: tap.Attrs().Name, MAC: found.MAC, MTU: mtu, Offload: o.Offload,
		Ephemeral: ephemeralPorts(g.slot),
	}, nil
}

// claimSlot returns the first free slot for a new tap after it has removed the filters of
// guests that have ended. The tap of one of them may have had the new tap's name.
func (n *namespace) claimSlot(tapName string, links ...netlink.Link) (uint16, error) {
	if err := n.detach(tapName); err != nil {
		return 0, err
	}
	var used [levelSize]bool
	for _, link := range links {
		state, err := n.ingressState(link)
		if err != nil {
			return 0, err
		}
		switch {
		case state.foreign:
			return 0, fmt.Errorf("%s: %w", link.Attrs().Name, ErrForeign)
		case state.tapName != "":
			return 0, fmt.Errorf("%s is redirected to %s: %w", link.Attrs().Name, state.tapName, ErrTaken)
		}
		for _, f := range state.sharing {
			used[(f.priority-sharedPriority)%levelSize] = true
		}
	}
	for slot := range uint16(maxSharing) {
		if !used[slot] {
			return slot, nil
		}
	}
	return 0, ErrTooMany
}

// A sharedGuest is a guest that is being attached.
type sharedGuest struct {
	tap, link, lo netlink.Link
	slot          uint16
	found         *Interface
	program       *ebpf.Program
	Options
	Sharing
}

// described returns the guest as the program needs it.
func (g *sharedGuest) described() (*programs.Guest, error) {
	ephemeral := ephemeralPorts(g.slot)
	guest := &programs.Guest{
		Tap: g.tap.Attrs().Index, MAC: g.found.MAC,
		First: ephemeral.First, Last: ephemeral.Last,
		Rest: g.Rest || g.AnyPort, LoopbackTarget: g.LoopbackTarget, AnySourcePort: g.AllowSpoofing,
	}
	for _, p := range g.found.Addresses {
		guest.Addresses = append(guest.Addresses, p.Addr())
	}
	guest.Addresses = append(guest.Addresses, linkLocal(g.found.MAC))
	if len(guest.Addresses) > programs.MaxAddresses {
		return nil, fmt.Errorf("%s has %d addresses, and guests can share at most %d: use network_mode = \"l2\"",
			g.found.Name, len(g.found.Addresses), programs.MaxAddresses-1)
	}
	for _, r := range g.TCP {
		guest.TCP.Add(r.First, r.Last)
	}
	for _, r := range g.UDP {
		guest.UDP.Add(r.First, r.Last)
	}
	return guest, nil
}

// share connects the guest with the interface and with its neighbors.
func (n *namespace) share(g *sharedGuest) error {
	guest, err := g.described()
	if err != nil {
		return err
	}
	program, err := programs.Load(guest)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoSharing, err)
	}
	defer func() { _ = program.Close() }() // the filters keep it
	if err := n.redirectFromGuest(g.tap, g.link, ownerOf(g.found), g.Options); err != nil {
		return err
	}
	if g.Offload && g.AllowSpoofing { // a forged checksum could change an address after its translation
		if err := n.addChecksumCheck(g.tap); err != nil {
			return fmt.Errorf("%w: %w", ErrNoSharing, err)
		}
	}
	g.program = program
	if err := n.addSharedFilter(g, g.tap, sharePriority, programs.FromGuest); err != nil {
		return err
	}
	// The filters come before the settings, so that detach resets the latter with them.
	return errors.Join(
		n.addSharedFilters(g, g.lo, programs.FromLoopback),
		n.addSharedFilters(g, g.link, programs.FromInterface),
		n.openLoopback())
}

// addSharedFilters adds the filters of an interface.
func (n *namespace) addSharedFilters(g *sharedGuest, link netlink.Link, id programs.Filter) error {
	if err := n.QdiscAdd(ingressQdisc(link.Attrs().Index)); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add the ingress qdisc of %s: %w", link.Attrs().Name, classifyRedirectError(err))
	}
	needed := [programs.Levels]bool{
		programs.Declared: len(g.TCP)+len(g.UDP) > 0, programs.Ephemeral: true, programs.Rest: g.Rest || g.AnyPort,
	}
	for level, needed := range needed {
		if !needed {
			continue
		}
		if err := n.addSharedFilter(g, link, g.priority(level), id+programs.Filter(level)); err != nil {
			return err
		}
	}
	return nil
}

func (n *namespace) addSharedFilter(g *sharedGuest, link netlink.Link, priority uint16, id programs.Filter) error {
	err := n.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: link.Attrs().Index, Parent: ingressHandle, Handle: 1, Priority: priority, Protocol: unix.ETH_P_ALL,
		},
		Fd: g.program.FD(), Name: g.tap.Attrs().Name, DirectAction: true, ClassId: uint32(id),
	})
	if err != nil {
		return fmt.Errorf("add the filter of %s to %s: %w", g.tap.Attrs().Name, link.Attrs().Name, classifySharingError(err))
	}
	return nil
}

// classifySharingError adds ErrNoSharing if the kernel has no cls_bpf. Mode l2 may work
// without it.
func classifySharingError(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%w: %w", ErrNoSharing, err)
	}
	return err
}

// These settings let the stack accept packets from the loopback interface that a guest has
// sent from the interface's address or to 127.0.0.1. Those of processes of the namespace
// have been routed already when the stack receives them.
var loopbackSettings = []string{"accept_local", "route_localnet"}

const devicesIPv4 = "/proc/sys/net/ipv4/conf/"

func (n *namespace) openLoopback() error {
	for _, name := range loopbackSettings {
		if err := os.WriteFile(devicesIPv4+"lo/"+name, []byte("1"), 0); err != nil {
			return err
		}
	}
	return nil
}

// restoreLoopback resets the settings if the last guest has left the loopback interface.
func (n *namespace) restoreLoopback(link netlink.Link) error {
	if link.Attrs().Name != "lo" {
		return nil
	}
	state, err := n.ingressState(link)
	if err != nil || len(state.sharing) > 0 {
		return err
	}
	for _, name := range loopbackSettings {
		value, err := os.ReadFile(devicesIPv4 + "default/" + name) // a new lo has this value
		if err == nil {
			err = os.WriteFile(devicesIPv4+"lo/"+name, value, 0)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
