// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/network"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// A legacy LKL guest needs its gateway in the network of its address. These limit how far
// forLegacy widens this network, in bits of the prefix.
const (
	minLegacyBits4 = 16
	minLegacyBits6 = 48
)

// fitNetwork changes the addresses and routes of a guest to those that it can use. Events
// name the others.
func (d *Driver) fitNetwork(j job, k *kernel, devices netDevices) error {
	for i := range devices {
		device := &devices[i]
		notes := mtuNotes(device.mtu, device.tap)
		for _, other := range device.addresses.others {
			notes = append(notes, fmt.Sprintf("The guest has the address %s. It does not answer at %s, another address of the interface %s",
				device.link.IP, other, device.link.Interface))
		}
		if k.flavor == unikernel.FlavorLKL && !k.supports(unikernel.FeatureConfig) {
			a, more, err := device.addresses.forLegacy()
			if err != nil {
				return fmt.Errorf("device %q: %w", device.link.Device, err)
			}
			device.addresses = a
			notes = append(notes, more...)
		}
		for _, note := range notes {
			d.events.emit(j.task, note, nil)
		}
	}
	return nil
}

// forLegacy returns the addresses as a legacy LKL guest can use them. It supports no IPv4
// network of a single host, no gateway outside of its network, and no routes but the
// default route. The notes name the destinations that the guest cannot reach. An error
// means that the network has no form for such a guest.
func (a addresses) forLegacy() (_ addresses, notes []string, err error) {
	if a.v4, err = legacyNetwork(a.v4, a.gateway4, minLegacyBits4, 31, &notes); err != nil {
		return a, nil, err
	}
	if a.v6, err = legacyNetwork(a.v6, a.gateway6, minLegacyBits6, 128, &notes); err != nil {
		return a, nil, err
	}
	var unreachable []string
	for _, r := range a.routes {
		switch {
		case r.Destination.Bits() == 0:
			return a, nil, fmt.Errorf("the default route to %s has no gateway of its address family: %s. "+
				"Give the CNI network a gateway, or link the guest with lkl-cc", r.Destination, needsLKLCC)
		case !a.followsDefault(r):
			unreachable = append(unreachable, r.Destination.String())
		}
	}
	a.routes = nil
	if len(unreachable) > 0 {
		notes = append(notes, fmt.Sprintf("The guest has no route to %s, as the network has: %s", strings.Join(unreachable, ", "), needsLKLCC))
	}
	return a, notes, nil
}

const needsLKLCC = "only a guest that lkl-cc links can use it"

// followsDefault reports whether the guest reaches the destination of a route without it.
func (a addresses) followsDefault(r network.Route) bool {
	own, gateway := a.v4, a.gateway4
	if r.Destination.Addr().Is6() {
		own, gateway = a.v6, a.gateway6
	}
	if !r.Gateway.IsValid() {
		return own.Contains(r.Destination.Addr()) && own.Bits() <= r.Destination.Bits()
	}
	return r.Gateway == gateway
}

// legacyNetwork returns an address with a network that contains the gateway.
func legacyNetwork(own netip.Prefix, gateway netip.Addr, minBits, maxBits int, notes *[]string) (netip.Prefix, error) {
	if !own.IsValid() {
		return own, nil
	}
	bits := min(own.Bits(), maxBits)
	inNetwork := !gateway.IsValid() || own.Contains(gateway) || gateway.Is6() && gateway.IsLinkLocalUnicast()
	if inNetwork {
		return netip.PrefixFrom(own.Addr(), bits), nil
	}
	bits = min(bits, commonBits(own.Addr(), gateway))
	if bits < minBits {
		return own, fmt.Errorf("the gateway %s is far from the address %s: %s. "+
			"Give the CNI network a gateway in the network of its addresses, or link the guest with lkl-cc", gateway, own, needsLKLCC)
	}
	wide := netip.PrefixFrom(own.Addr(), bits)
	*notes = append(*notes, fmt.Sprintf("The guest reaches no host but its gateway in %s, because the gateway is outside "+
		"of the network of the address %s", wide.Masked(), own))
	return wide, nil
}

// commonBits returns the length of the common prefix of two addresses of one family.
func commonBits(a, b netip.Addr) int {
	for bits := a.BitLen(); bits > 0; bits-- {
		if netip.PrefixFrom(a, bits).Contains(b) {
			return bits
		}
	}
	return 0
}

// mtuNotes warns about a network with a larger MTU than the guest's. A guest with offloads
// has buffers for any frame.
func mtuNotes(networkMTU int, tap *network.Tap) []string {
	if networkMTU <= tap.MTU || tap.Offload {
		return nil
	}
	return []string{fmt.Sprintf("The guest's MTU is %d bytes, and the network's is %d: larger datagrams from hosts on the link get lost. "+
		"Set the network's MTU to %d, or link the guest with lkl-cc", tap.MTU, networkMTU, tap.MTU)}
}
