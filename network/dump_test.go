// SPDX-License-Identifier: MPL-2.0

package network

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// dump describes the state of the alloc's namespace: links, addresses, routes, rules,
// qdiscs, filters, tables and sysctls.
func (a *alloc) dump(t testing.TB) (lines []string) {
	t.Helper()
	a.in(a.path, func(n *namespace) error {
		links, err := n.LinkList()
		must.NoError(t, err)
		for _, l := range links {
			lines = append(lines, fmt.Sprintf("link %s %s %d %v", l.Attrs().Name, l.Type(), l.Attrs().MTU, l.Attrs().Flags))
			qdiscs, err := n.QdiscList(l)
			must.NoError(t, err)
			for _, q := range qdiscs {
				lines = append(lines, fmt.Sprintf("qdisc %s %s", l.Attrs().Name, q.Type()))
			}
		}
		addresses, err := n.AddrList(nil, netlink.FAMILY_ALL)
		must.NoError(t, err)
		for _, a := range addresses {
			if a.Scope == unix.RT_SCOPE_LINK {
				continue // the kernel adds it some time after the link is up
			}
			lines = append(lines, "address "+a.IPNet.String())
		}
		routes, err := n.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{}, netlink.RT_FILTER_TABLE)
		must.NoError(t, err)
		for _, r := range routes {
			// The kernel adds those of IPv6 some time after the address.
			if r.Table != unix.RT_TABLE_LOCAL || r.Family == unix.AF_INET {
				lines = append(lines, "route "+r.String())
			}
		}
		conn, err := nftables.New()
		must.NoError(t, err)
		tables, err := conn.ListTables()
		must.NoError(t, err)
		for _, table := range tables {
			lines = append(lines, "table "+table.Name)
		}
		lines = append(lines, sysctls(t)...)
		return nil
	})
	slices.Sort(lines)
	return lines
}

// sysctls returns the settings of the calling thread's network namespace.
func sysctls(t testing.TB) (lines []string) {
	t.Helper()
	const root = "/proc/sys/net"
	must.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		value, err := os.ReadFile(path)
		if err == nil && !strings.Contains(path, "nf_conntrack_") {
			lines = append(lines, fmt.Sprintf("%s %q", path, value))
		}
		return nil // some can only be written
	}))
	must.Positive(t, len(lines))
	return lines
}

// moveLink moves an interface of the alloc's namespace to another one.
func (a *alloc) moveLink(t testing.TB, name, path string) {
	t.Helper()
	ns, err := os.Open(path)
	must.NoError(t, err)
	defer ns.Close()
	a.in(a.path, func(n *namespace) error {
		link, err := n.LinkByName(name)
		must.NoError(t, err)
		return n.LinkSetNsFd(link, int(ns.Fd()))
	})
}
