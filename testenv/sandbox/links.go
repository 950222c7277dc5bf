// SPDX-License-Identifier: MPL-2.0

package sandbox

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
)

// setUpLinks brings up lo and two veth pairs. The near ends have the addresses that the
// agents use. Nothing is at the far ends.
func setUpLinks() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("bring up lo: %w", err)
	}
	if err := errors.Join(addPair(Link, Address), addPair(SecondLink, SecondAddress)); err != nil {
		return err
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
}

// addPair adds a veth pair and brings it up. The near end has the name and the address.
func addPair(name, ip string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: name + "peer"}
	if err := netlink.LinkAdd(pair); err != nil {
		return fmt.Errorf("add the veth pair %s: %w", name, err)
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
	address := &net.IPNet{IP: net.ParseIP(ip), Mask: net.CIDRMask(prefix, 32)}
	if err := netlink.AddrAdd(pair, &netlink.Addr{IPNet: address}); err != nil {
		return fmt.Errorf("give %s the address %s: %w", name, ip, err)
	}
	return nil
}
