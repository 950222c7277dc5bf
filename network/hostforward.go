// SPDX-License-Identifier: MPL-2.0

package network

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A family is an address family of host mode.
type family struct {
	digit   string // in the names of sets
	number  byte   // NFPROTO_IPV4 or NFPROTO_IPV6
	netlink int
	size    uint32 // of an address in bytes
	source  uint32 // offset of the sender's address in the packet
	target  uint32
	perLink string // sysctl that allows to forward packets that an interface receives
	global  string // sysctl that allows to forward all packets
	bridges string // sysctl that shows the packets of bridges to the firewall
}

var (
	ip4 = &family{
		digit: "4", number: unix.NFPROTO_IPV4, netlink: unix.AF_INET, size: 4, source: 12, target: 16,
		perLink: "/proc/sys/net/ipv4/conf/LINK/forwarding",
		global:  "/proc/sys/net/ipv4/ip_forward",
		bridges: "/proc/sys/net/bridge/bridge-nf-call-iptables",
	}
	// Since Linux 6.17, force_forwarding forwards without making the host a router,
	// which would no longer accept router advertisements.
	ip6 = &family{
		digit: "6", number: unix.NFPROTO_IPV6, netlink: unix.AF_INET6, size: 16, source: 8, target: 24,
		perLink: "/proc/sys/net/ipv6/conf/LINK/force_forwarding",
		global:  "/proc/sys/net/ipv6/conf/all/forwarding",
		bridges: "/proc/sys/net/bridge/bridge-nf-call-ip6tables",
	}
)

func familyOf(a netip.Addr) *family {
	if a.Is4() {
		return ip4
	}
	return ip6
}

// usableSubnets returns the subnets of the families that the host can forward, and the
// reasons why it cannot forward others.
func usableSubnets(h HostOptions, mtu int) (subnets []netip.Prefix, warnings []string) {
	const leastMTU6 = 1280 // RFC 8200
	if h.Subnet.IsValid() {
		subnets = append(subnets, h.Subnet)
	}
	switch {
	case !h.Subnet6.IsValid() || !hasIPv6():
		return subnets, nil
	case mtu < leastMTU6:
		return subnets, []string{fmt.Sprintf("the guest has no IPv6 address: the MTU of the default route, %d, is less than %d", mtu, leastMTU6)}
	case !ip6.canForward():
		return subnets, []string{"the guest has no IPv6 address: before Linux 6.17, forwarding IPv6 for guests makes the host a router. " +
			"To allow it, set net.ipv6.conf.all.forwarding=1, and accept_ra=2 for interfaces that router advertisements configure"}
	}
	return append(subnets, h.Subnet6), nil
}

// hasIPv6 reports whether new interfaces may have IPv6 addresses.
func hasIPv6() bool {
	for _, name := range []string{"all", "default"} {
		if readSetting("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6") != "0" {
			return false
		}
	}
	return true
}

// canForward reports whether the host can forward packets of single interfaces, or does so
// for all.
func (f *family) canForward() bool {
	return readSetting(f.global) == "1" || readSetting(f.setting("all")) != ""
}

func (f *family) setting(link string) string { return strings.Replace(f.perLink, "LINK", link, 1) }

// readSetting returns the value of a sysctl, or "" if it does not exist.
func readSetting(path string) string {
	value, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(value))
}

// A forwardSwitch is an interface for which host mode switches forwarding on. The table
// of host mode holds it, so that it can be restored by any process.
type forwardSwitch struct {
	family *family
	link   string
	global string // value of the global sysctl before
}

func (s forwardSwitch) write(value string) error {
	if err := os.WriteFile(s.family.setting(s.link), []byte(value), 0); err != nil {
		return fmt.Errorf("switch forwarding: %w", err)
	}
	return nil
}

// adopted reports whether another program has switched forwarding on for all interfaces in
// the meantime. The interface then has the value that this program wants.
func (s forwardSwitch) adopted() bool {
	return s.global == "0" && readSetting(s.family.global) == "1"
}

// restore switches forwarding off, as it was before.
func (s forwardSwitch) restore() error {
	if s.adopted() {
		return nil
	}
	err := s.write("0")
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the interface no longer exists
	}
	return err
}

// missingForwarding returns the interfaces of the host that may receive packets for
// guests and do not forward packets. These are all that have an address, except for
// bridges whose packets between ports the firewall sees: the guard would drop them.
func (n *hostNamespace) missingForwarding(l *hostLink) (missing []forwardSwitch, warnings []string, err error) {
	state, err := n.table.read()
	if err != nil {
		return nil, nil, err
	}
	links, err := n.LinkList()
	if err != nil {
		return nil, nil, fmt.Errorf("list interfaces: %w", err)
	}
	for _, link := range links {
		a := link.Attrs()
		if a.Flags&net.FlagLoopback != 0 || a.Name == l.tap || state.has(a.Name) {
			continue
		}
		for _, end := range l.ends {
			used, err := n.hasAddress(link, end.family)
			switch {
			case err != nil:
				return nil, nil, err
			case !used || !end.family.needsSwitch(a.Name):
			case link.Type() == "bridge" && readSetting(end.family.bridges) == "1":
				warnings = append(warnings, fmt.Sprintf("the guest is not reached through the bridge %s: its packets between other ports "+
					"would be dropped, too. Set net.bridge.%s=0, or switch forwarding on", a.Name, filepath.Base(end.family.bridges)))
			default:
				missing = append(missing, forwardSwitch{end.family, a.Name, readSetting(end.family.global)})
			}
		}
	}
	return missing, warnings, nil
}

// hasAddress reports whether an interface has an address beyond link-local.
func (n *namespace) hasAddress(link netlink.Link, f *family) (bool, error) {
	addresses, err := n.AddrList(link, f.netlink)
	if err != nil {
		return false, fmt.Errorf("list the addresses of %s: %w", link.Attrs().Name, err)
	}
	return slices.ContainsFunc(addresses, func(a netlink.Addr) bool { return a.Scope < unix.RT_SCOPE_LINK }), nil
}

// needsSwitch reports whether the host drops packets that an interface receives for
// others. For IPv6, the global setting is sufficient.
func (f *family) needsSwitch(link string) bool {
	if f == ip6 && readSetting(f.global) == "1" {
		return false
	}
	return readSetting(f.setting(link)) == "0"
}
