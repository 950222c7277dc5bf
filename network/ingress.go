// SPDX-License-Identifier: MPL-2.0

package network

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ingressState describes the traffic control of the frames that an interface receives.
type ingressState struct {
	exists  bool
	foreign bool           // another program made it, or a part of it
	tapName string         // the redirection's target; "" if that tap no longer exists
	sharing []sharedFilter // of guests in shared mode
}

// A sharedFilter is a filter of a guest in shared mode.
type sharedFilter struct {
	tapName  string
	priority uint16
	stale    bool // the tap no longer exists
}

func (n *namespace) ingressState(link netlink.Link) (ingressState, error) {
	qdiscs, err := n.QdiscList(link)
	if err != nil {
		return ingressState{}, fmt.Errorf("list the qdiscs of %s: %w", link.Attrs().Name, err)
	}
	var state ingressState
	for _, q := range qdiscs {
		if q.Attrs().Parent == netlink.HANDLE_INGRESS {
			state.exists = true
			state.foreign = q.Type() != "ingress"
		}
	}
	if !state.exists || state.foreign {
		return state, nil
	}
	filters, err := n.FilterList(link, ingressHandle)
	if err != nil {
		return ingressState{}, fmt.Errorf("list the filters of %s: %w", link.Attrs().Name, err)
	}
	for _, f := range filters {
		if shared, ok := n.sharedFilterOf(f); ok {
			state.sharing = append(state.sharing, shared)
			continue
		}
		target, ok := redirectTarget(f)
		if !ok {
			state.foreign = true
			continue
		}
		if tap, err := n.LinkByIndex(target); err == nil && target != 0 {
			state.tapName = tap.Attrs().Name
		}
	}
	return state, nil
}

// redirectTarget returns the index of the interface that a filter of this package
// redirects to, or 0 if that interface no longer exists. The result is false for
// filters of other programs.
func redirectTarget(f netlink.Filter) (int, bool) {
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

// sharedFilterOf describes a filter of a guest in shared mode. The result is false for
// other filters.
func (n *namespace) sharedFilterOf(f netlink.Filter) (sharedFilter, bool) {
	b, ok := f.(*netlink.BpfFilter)
	if !ok || b.Priority < sharedPriority || b.Priority >= sharedPriority+sharedLevels*levelSize {
		return sharedFilter{}, false
	}
	_, err := n.LinkByName(b.Name)
	return sharedFilter{
		tapName: b.Name, priority: b.Priority, stale: errors.As(err, new(netlink.LinkNotFoundError)),
	}, true
}

// claimAlone removes the redirections and filters of ended guests, and requires that no
// others exist. Errors: ErrTaken if a guest is running, ErrForeign.
func (n *namespace) claimAlone(link netlink.Link) error {
	if err := n.detach(""); err != nil {
		return err
	}
	state, err := n.ingressState(link)
	if err != nil {
		return err
	}
	name := link.Attrs().Name
	switch {
	case !state.exists:
		return nil
	case state.foreign:
		return fmt.Errorf("%s: %w", name, ErrForeign)
	case len(state.sharing) > 0:
		return fmt.Errorf("%s is shared with %s: %w", name, state.sharing[0].tapName, ErrTaken)
	}
	return fmt.Errorf("%s is redirected to %s: %w", name, state.tapName, ErrTaken)
}

// detach removes the redirections and filters of a tap, and of all taps that no longer
// exist. With "", it removes only the latter.
func (n *namespace) detach(tapName string) error {
	links, err := n.LinkList()
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	for _, link := range links {
		if link.Attrs().Name == tapName {
			continue // the kernel removes the tap's own ingress with the tap
		}
		if err := n.detachFrom(link, tapName); err != nil {
			return err
		}
	}
	return nil
}

func (n *namespace) detachFrom(link netlink.Link, tapName string) error {
	state, err := n.ingressState(link)
	if err != nil || !state.exists {
		return err
	}
	used := state.foreign || (state.tapName != "" && state.tapName != tapName)
	ended := func(f sharedFilter) bool { return f.stale || f.tapName == tapName }
	for _, f := range state.sharing {
		if !ended(f) {
			used = true
		} else if err := n.removeSharedFilter(link, f); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(state.sharing, ended) {
		if err := n.restoreLoopback(link); err != nil {
			return err
		}
	}
	if used {
		return nil
	}
	return n.removeIngress(link)
}

func (n *namespace) removeSharedFilter(link netlink.Link, f sharedFilter) error {
	err := n.FilterDel(&netlink.BpfFilter{FilterAttrs: netlink.FilterAttrs{
		LinkIndex: link.Attrs().Index, Parent: ingressHandle, Priority: f.priority, Protocol: unix.ETH_P_ALL,
	}})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove a filter of %s from %s: %w", f.tapName, link.Attrs().Name, err)
	}
	return nil
}
