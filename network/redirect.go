// SPDX-License-Identifier: MPL-2.0

package network

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ingressHandle is the fixed handle of every ingress qdisc (linux/pkt_sched.h). The
// filters for received frames are attached to it.
const ingressHandle = 0xffff0000

// The handle and the priority mark the filters that this package creates. In u32 handles,
// the lower 12 bits are free to choose.
const (
	filterHandle   = 0x80000c1c
	filterPriority = 0x6c6b // "lk"
)

func (n *namespace) attach(o Options) (_ *Tap, err error) {
	found, err := n.inspect(o.Interface)
	if err != nil {
		return nil, err
	}
	link, err := n.LinkByName(found.Name)
	if err != nil {
		return nil, err
	}
	if err := n.claimAlone(link); err != nil {
		return nil, err
	}
	mtu := min(found.MTU, o.maxMTU())
	f, tap, err := n.createTap(mtu, o.Offload)
	if err != nil {
		return nil, err
	}
	err = n.redirectFromGuest(tap, link, ownerOf(found), o)
	if err == nil {
		err = n.redirectToGuest(link, tap)
	}
	if err != nil {
		f.Close() // the kernel removes the tap's redirection together with the tap
		return nil, err
	}
	return &Tap{File: f, Name: tap.Attrs().Name, MAC: found.MAC, MTU: mtu, Offload: o.Offload}, nil
}

// redirectFromGuest redirects the frames of the guest to the alloc's interface, except for
// those that the options forbid.
func (n *namespace) redirectFromGuest(tap, link netlink.Link, owner owner, o Options) error {
	var err error
	if filter := o.filter(owner); filter == nil {
		err = n.redirect(tap, link)
	} else {
		err = n.redirectFiltered(tap, link, filter)
	}
	if err != nil {
		return err
	}
	return n.checkAndLimit(tap, o)
}

// redirectToGuest redirects the frames that the alloc's interface receives to the tap. If
// this fails, the interface is as before.
func (n *namespace) redirectToGuest(link, tap netlink.Link) error {
	err := n.redirect(link, tap)
	if err != nil && !errors.Is(err, ErrTaken) {
		err = errors.Join(err, n.removeIngress(link))
	}
	return err
}

// redirect sends every frame that one interface receives out of another one.
func (n *namespace) redirect(from, to netlink.Link) error {
	index, name := from.Attrs().Index, from.Attrs().Name
	if err := n.QdiscAdd(ingressQdisc(index)); err != nil {
		return fmt.Errorf("add the ingress qdisc of %s: %w", name, classifyRedirectError(err))
	}
	filter := &netlink.U32{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: index, Parent: ingressHandle,
			Handle: filterHandle, Priority: filterPriority, Protocol: unix.ETH_P_ALL,
		},
		Actions: []netlink.Action{netlink.NewMirredAction(to.Attrs().Index)},
	}
	if err := n.FilterAdd(filter); err != nil {
		return fmt.Errorf("redirect %s to %s: %w", name, to.Attrs().Name, classifyRedirectError(err))
	}
	return nil
}

func ingressQdisc(linkIndex int) *netlink.Ingress {
	return &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: linkIndex, Handle: ingressHandle, Parent: netlink.HANDLE_INGRESS,
	}}
}

// classifyRedirectError adds the sentinel error that fits an errno of the kernel's
// traffic control.
func classifyRedirectError(err error) error {
	switch {
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%w: %w", ErrTaken, err)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w: %w", ErrNoRedirect, err)
	}
	return err
}

// classifyFilterError adds ErrNoFilter if the kernel has no cls_bpf.
func classifyFilterError(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%w: %w", ErrNoFilter, err)
	}
	return err
}

// removeIngress removes an interface's ingress qdisc with its filters, if there is one.
func (n *namespace) removeIngress(link netlink.Link) error {
	err := n.QdiscDel(ingressQdisc(link.Attrs().Index))
	// The interface or its qdisc is gone already.
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove the ingress qdisc of %s: %w", link.Attrs().Name, err)
	}
	return nil
}
