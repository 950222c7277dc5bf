// SPDX-License-Identifier: MPL-2.0

package sandbox

import (
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
)

// setUpLinks brings up lo and a veth pair. The near end has the address that the
// agents use. Nothing is at the far end.
func setUpLinks() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("bring up lo: %w", err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = Link
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: Link + "peer"}
	if err := netlink.LinkAdd(pair); err != nil {
		return fmt.Errorf("add the veth pair %s: %w", Link, err)
	}
	for _, name := range []string{pair.PeerName, pair.Name} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find %s: %w", name, err)
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return fmt.Errorf("bring up %s: %w", name, err)
		}
	}
	address := &net.IPNet{IP: net.ParseIP(Address), Mask: net.CIDRMask(prefix, 32)}
	if err := netlink.AddrAdd(pair, &netlink.Addr{IPNet: address}); err != nil {
		return fmt.Errorf("give %s the address %s: %w", Link, Address, err)
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
}
