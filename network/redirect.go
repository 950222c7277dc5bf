// SPDX-License-Identifier: MPL-2.0

package network

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The ingress qdisc, to which the filters of what an interface receives belong,
// has this handle always (linux/pkt_sched.h).
const ingressHandle = 0xffff0000

// How our filters are told from others: u32 takes the lower 12 bits as given.
const (
	filterHandle   = 0x80000c1c
	filterPriority = 0x6c6b // "lk"
)

func (n *namespace) attach(offload bool) (_ *Tap, err error) {
	found, err := n.inspect()
	if err != nil {
		return nil, err
	}
	link, err := n.LinkByName(found.Name)
	if err != nil {
		return nil, err
	}
	if err := n.claim(link); err != nil {
		return nil, err
	}
	mtu := min(found.MTU, MaxMTU)
	f, tap, err := n.newTap(mtu, offload)
	if err != nil {
		return nil, err
	}
	if err := n.join(link, tap); err != nil {
		f.Close()
		return nil, err
	}
	return &Tap{File: f, Name: tap.Attrs().Name, MAC: found.MAC, MTU: mtu, Offload: offload, Interface: found}, nil
}

// claim makes sure that nothing redirects what the interface receives, removing
// what a guest that is gone has left.
func (n *namespace) claim(link netlink.Link) error {
	j, err := n.joint(link)
	if err != nil {
		return err
	}
	name := link.Attrs().Name
	switch {
	case !j.there:
		return nil
	case j.foreign:
		return fmt.Errorf("%s: %w", name, ErrForeign)
	case j.tap != "":
		return fmt.Errorf("%s is joined to %s: %w", name, j.tap, ErrTaken)
	}
	return n.part(link)
}

// join redirects what either interface receives to the other one. The tap's own
// part of it goes with the tap.
func (n *namespace) join(link, tap netlink.Link) error {
	if err := n.redirect(tap, link); err != nil {
		return err
	}
	err := n.redirect(link, tap)
	if err != nil && !errors.Is(err, ErrTaken) {
		err = errors.Join(err, n.part(link))
	}
	return err
}

// redirect sends out on one interface all that another one receives.
func (n *namespace) redirect(from, to netlink.Link) error {
	index, name := from.Attrs().Index, from.Attrs().Name
	qdisc := &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: index, Handle: ingressHandle, Parent: netlink.HANDLE_INGRESS,
	}}
	if err := n.QdiscAdd(qdisc); err != nil {
		return fmt.Errorf("ingress qdisc of %s: %w", name, redirectError(err))
	}
	filter := &netlink.U32{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: index, Parent: ingressHandle,
			Handle: filterHandle, Priority: filterPriority, Protocol: unix.ETH_P_ALL,
		},
		Actions: []netlink.Action{netlink.NewMirredAction(to.Attrs().Index)},
	}
	if err := n.FilterAdd(filter); err != nil {
		return fmt.Errorf("redirect %s to %s: %w", name, to.Attrs().Name, redirectError(err))
	}
	return nil
}

// redirectError names what a kernel lacks that does not know a qdisc, filter or
// action.
func redirectError(err error) error {
	switch {
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%w: %w", ErrTaken, err)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w: %w", ErrNoRedirect, err)
	}
	return err
}

// part undoes join on the allocation's interface.
func (n *namespace) part(link netlink.Link) error {
	err := n.QdiscDel(&netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: link.Attrs().Index, Handle: ingressHandle, Parent: netlink.HANDLE_INGRESS,
	}})
	// Gone with the interface, or never made.
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove the ingress qdisc of %s: %w", link.Attrs().Name, err)
	}
	return nil
}

// joint is what the traffic control of an interface does with what it receives.
type joint struct {
	there   bool   // there is any
	foreign bool   // it is not ours
	tap     string // that ours redirects to; "": one that is gone
}

func (n *namespace) joint(link netlink.Link) (joint, error) {
	qdiscs, err := n.QdiscList(link)
	if err != nil {
		return joint{}, fmt.Errorf("list the qdiscs of %s: %w", link.Attrs().Name, err)
	}
	var j joint
	for _, q := range qdiscs {
		if q.Attrs().Parent == netlink.HANDLE_INGRESS {
			j.there = true
			j.foreign = q.Type() != "ingress"
		}
	}
	if !j.there || j.foreign {
		return j, nil
	}
	filters, err := n.FilterList(link, ingressHandle)
	if err != nil {
		return joint{}, fmt.Errorf("list the filters of %s: %w", link.Attrs().Name, err)
	}
	for _, f := range filters {
		target, ours := redirectOf(f)
		if !ours {
			j.foreign = true
			return j, nil
		}
		if tap, err := n.LinkByIndex(target); err == nil && target != 0 {
			j.tap = tap.Attrs().Name
		}
	}
	return j, nil
}

// redirectOf is the index of the interface that a filter of ours redirects to: 0
// once that is gone.
func redirectOf(f netlink.Filter) (int, bool) {
	u, ok := f.(*netlink.U32)
	if !ok || u.Priority != filterPriority || len(u.Actions) != 1 {
		return 0, false
	}
	mirred, ok := u.Actions[0].(*netlink.MirredAction)
	if !ok {
		return 0, false
	}
	return mirred.Ifindex, true
}

func (n *namespace) detach(tap string) error {
	links, err := n.LinkList()
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	for _, link := range links {
		if link.Attrs().Name == tap {
			continue // its own half goes with it
		}
		j, err := n.joint(link)
		if err != nil {
			return err
		}
		if j.there && !j.foreign && (j.tap == tap || j.tap == "") {
			if err := n.part(link); err != nil {
				return err
			}
		}
	}
	return nil
}
