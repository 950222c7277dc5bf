// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/network"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

// netnsOf is the path of the alloc's network namespace; "" where the group
// shares the host's network.
func netnsOf(task *drivers.TaskConfig) string {
	n := task.NetworkIsolation
	if n == nil || n.Mode != drivers.NetIsolationModeGroup {
		return ""
	}
	return n.Path
}

// addresses is the alloc's network as one guest sees it. The zero value is a
// guest without a network.
type addresses struct {
	v4, v6             netip.Prefix
	gateway4, gateway6 netip.Addr
	routes             []network.Route // besides the default ones
	mac                string
}

// addressesOf picks the addresses for the guest: the first of each family.
func addressesOf(i *network.Interface) addresses {
	a := addresses{gateway4: i.Gateway4, gateway6: i.Gateway6, routes: i.Routes, mac: i.MAC.String()}
	for _, p := range i.Addresses {
		switch addr := p.Addr(); {
		case addr.Is4() && !a.v4.IsValid():
			a.v4 = p
		case addr.Is6() && !a.v6.IsValid():
			a.v6 = p
		}
	}
	return a
}

// ip is the guest's address, IPv4 before IPv6; "" without any.
func (a addresses) ip() string {
	for _, p := range []netip.Prefix{a.v4, a.v6} {
		if p.IsValid() {
			return p.Addr().String()
		}
	}
	return ""
}

// lklInterface is how an LKL guest is told of it.
func (a addresses) lklInterface(device string, tap *network.Tap) lkl.Interface {
	return lkl.Interface{
		Name: device, Address: a.v4, Address6: a.v6,
		Gateway: a.gateway4, Gateway6: a.gateway6,
		MAC: tap.MAC, MTU: tap.MTU, Offload: tap.Offload,
	}
}

// lklRoutes are the routes besides the default ones that an LKL guest can have with
// these addresses. (A router that no IPv4 address reaches the guest itself makes
// reachable, as the namespace has it.)
func (a addresses) lklRoutes() []lkl.Route {
	var routes []lkl.Route
	for _, r := range a.routes {
		known := a.v4.IsValid()
		if r.Destination.Addr().Is6() {
			known = a.v6.IsValid() && (!r.Gateway.IsValid() || r.Gateway.IsLinkLocalUnicast() || a.v6.Contains(r.Gateway))
		}
		if known {
			routes = append(routes, lkl.Route{To: r.Destination, Via: r.Gateway})
		}
	}
	return routes
}

// words are what the arguments of a guest of flavour solo5 may hold in place of
// addresses that are known only when it starts, and what each stands for.
func (a addresses) words() map[string]string {
	return map[string]string{
		"{{ipv4}}":         prefixText(a.v4),
		"{{ipv4_gateway}}": addrText(a.gateway4),
		"{{ipv6}}":         prefixText(a.v6),
		"{{ipv6_gateway}}": addrText(a.gateway6),
	}
}

func prefixText(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// fill puts the addresses into the arguments. An address that the network
// lacks is an error: the guest would take the rest of the word for it.
func (a addresses) fill(args []string) ([]string, error) {
	filled := slices.Clone(args)
	m := &mistakes{where: "task"}
	for word, value := range a.words() {
		for i, arg := range args {
			switch {
			case !strings.Contains(arg, word):
			case value == "":
				m.add(fmt.Sprintf("args[%d]", i), "the task's network has no %s", strings.Trim(word, "{}"))
			default:
				filled[i] = strings.ReplaceAll(filled[i], word, value)
			}
		}
	}
	slices.Sort(m.list)
	return filled, m.err()
}

// driverNetwork is what Nomad may advertise for services with address_mode
// "driver": the guest's own address and ports, which in a group's network are
// those of the alloc. It is nil without one, as Nomad expects.
func driverNetwork(a addresses, task *drivers.TaskConfig, labels []string) *drivers.DriverNetwork {
	if a.ip() == "" {
		return nil
	}
	n := &drivers.DriverNetwork{IP: a.ip(), PortMap: map[string]int{}}
	if task.Resources.Ports == nil {
		return n
	}
	for _, p := range *task.Resources.Ports {
		if len(labels) > 0 && !slices.Contains(labels, p.Label) {
			continue
		}
		n.PortMap[p.Label] = p.To
		if p.To <= 0 {
			n.PortMap[p.Label] = p.Value
		}
	}
	return n
}
