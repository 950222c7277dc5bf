// SPDX-License-Identifier: MPL-2.0

// Package netstate describes network namespaces for tests that check that something
// leaves no trace.
package netstate

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Describe lists the state of the calling thread's network namespace in sorted lines:
// interfaces, addresses, routes, rules of policy routing, traffic control, nftables and
// sysctls. Neighbor tables, link-local addresses and the flag RUNNING are left out,
// because the kernel changes them by itself.
func Describe() ([]string, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	var lines []string
	for _, part := range []func(*netlink.Handle) ([]string, error){links, addresses, routes, rules, tables, settings} {
		found, err := part(h)
		if err != nil {
			return nil, err
		}
		lines = append(lines, found...)
	}
	slices.Sort(lines)
	return lines, nil
}

// links lists the interfaces with their queueing disciplines and filters.
func links(h *netlink.Handle) (lines []string, err error) {
	list, err := h.LinkList()
	if err != nil {
		return nil, err
	}
	for _, link := range list {
		a := link.Attrs()
		lines = append(lines, fmt.Sprintf("link %s %s %s mtu %d queue %d flags %v",
			a.Name, link.Type(), a.HardwareAddr, a.MTU, a.TxQLen, a.Flags&^net.FlagRunning))
		qdiscs, err := h.QdiscList(link)
		if err != nil {
			return nil, err
		}
		for _, q := range qdiscs {
			lines = append(lines, fmt.Sprintf("qdisc %s %s %x %x", a.Name, q.Type(), q.Attrs().Handle, q.Attrs().Parent))
		}
		for _, parent := range []uint32{netlink.HANDLE_ROOT, netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
			filters, err := h.FilterList(link, parent)
			if err != nil {
				return nil, err
			}
			for _, f := range filters {
				lines = append(lines, fmt.Sprintf("filter %s %x %s %d", a.Name, parent, f.Type(), f.Attrs().Priority))
			}
		}
	}
	return lines, nil
}

func addresses(h *netlink.Handle) (lines []string, err error) {
	list, err := h.AddrList(nil, netlink.FAMILY_ALL)
	for _, a := range list {
		if a.Scope != unix.RT_SCOPE_LINK {
			lines = append(lines, fmt.Sprintf("address %d %s scope %d flags %x", a.LinkIndex, a.IPNet, a.Scope, a.Flags))
		}
	}
	return lines, err
}

// routes leaves out the local and link-local routes of IPv6, which the kernel adds some
// time after the address.
func routes(h *netlink.Handle) (lines []string, err error) {
	list, err := h.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{}, netlink.RT_FILTER_TABLE)
	for _, r := range list {
		late := r.Table == unix.RT_TABLE_LOCAL || r.Dst != nil && r.Dst.IP.IsLinkLocalUnicast()
		if r.Family == unix.AF_INET || !late {
			lines = append(lines, "route "+r.String())
		}
	}
	return lines, err
}

func rules(h *netlink.Handle) (lines []string, err error) {
	list, err := h.RuleList(netlink.FAMILY_ALL)
	for _, r := range list {
		lines = append(lines, "rule "+r.String())
	}
	return lines, err
}

// tables lists nftables: tables, chains with the number of their rules, and sets with the
// number of their elements.
func tables(*netlink.Handle) (lines []string, err error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, err
	}
	chains, err := conn.ListChains()
	if err != nil {
		return nil, err
	}
	for _, c := range chains {
		list, err := conn.GetRules(c.Table, c)
		if err != nil {
			return nil, err
		}
		lines = append(lines, fmt.Sprintf("chain %d %s %s: %d rules", c.Table.Family, c.Table.Name, c.Name, len(list)))
	}
	all, err := conn.ListTables()
	if err != nil {
		return nil, err
	}
	for _, t := range all {
		lines = append(lines, fmt.Sprintf("table %d %s", t.Family, t.Name))
		sets, err := conn.GetSets(t)
		if err != nil {
			return nil, err
		}
		for _, s := range sets {
			elements, err := conn.GetSetElements(s)
			if err != nil {
				return nil, err
			}
			lines = append(lines, fmt.Sprintf("set %d %s %s: %d elements", t.Family, t.Name, s.Name, len(elements)))
		}
	}
	return lines, nil
}

// settings lists the sysctls. Those that can only be written are left out.
func settings(*netlink.Handle) (lines []string, err error) {
	err = filepath.WalkDir("/proc/sys/net", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "nf_conntrack_count" {
			return err
		}
		if value, err := os.ReadFile(path); err == nil {
			lines = append(lines, fmt.Sprintf("%s %q", path, value))
		}
		return nil
	})
	return lines, err
}
