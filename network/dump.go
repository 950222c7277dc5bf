// SPDX-License-Identifier: MPL-2.0

package network

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// maxDumps limits the attempts to list something that changes at the same time, for
// example because another task starts, or because a router advertises a prefix.
const maxDumps = 20

// dump repeats a list that the kernel reports as interrupted: it may be incomplete.
func dump[T any](list func() ([]T, error)) (all []T, err error) {
	for range maxDumps {
		all, err = list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}

// The methods below replace those of netlink.Handle.

// LinkList returns the interfaces.
func (n *namespace) LinkList() ([]netlink.Link, error) {
	return dump(n.Handle.LinkList)
}

// AddrList returns the addresses of an interface.
func (n *namespace) AddrList(link netlink.Link, family int) ([]netlink.Addr, error) {
	return dump(func() ([]netlink.Addr, error) { return n.Handle.AddrList(link, family) })
}

// RouteList returns the routes of the main table.
func (n *namespace) RouteList(link netlink.Link, family int) ([]netlink.Route, error) {
	return dump(func() ([]netlink.Route, error) { return n.Handle.RouteList(link, family) })
}

// RouteListFiltered returns the routes that match.
func (n *namespace) RouteListFiltered(family int, filter *netlink.Route, mask uint64) ([]netlink.Route, error) {
	return dump(func() ([]netlink.Route, error) { return n.Handle.RouteListFiltered(family, filter, mask) })
}

// QdiscList returns the queueing disciplines of an interface.
func (n *namespace) QdiscList(link netlink.Link) ([]netlink.Qdisc, error) {
	return dump(func() ([]netlink.Qdisc, error) { return n.Handle.QdiscList(link) })
}

// FilterList returns the filters of a parent.
func (n *namespace) FilterList(link netlink.Link, parent uint32) ([]netlink.Filter, error) {
	return dump(func() ([]netlink.Filter, error) { return n.Handle.FilterList(link, parent) })
}
