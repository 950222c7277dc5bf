// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
	"github.com/lkl-nomad/nomad-driver-lkl/network"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

// addresses are the addresses and routes of a guest: those of its alloc. The
// zero value is a guest without a network.
type addresses struct {
	v4, v6             netip.Prefix
	gateway4, gateway6 netip.Addr
	others             []netip.Addr    // IPv4 addresses of the interface that the guest does not have
	routes             []network.Route // except for the default routes
	mac                string
}

// addressesOf chooses the guest's addresses: the first of each family.
func addressesOf(i *network.Interface) addresses {
	a := addresses{gateway4: i.Gateway4, gateway6: i.Gateway6, routes: i.Routes, mac: i.MAC.String()}
	for _, p := range i.Addresses {
		switch addr := p.Addr(); {
		case addr.Is4() && !a.v4.IsValid():
			a.v4 = p
		case addr.Is4():
			a.others = append(a.others, addr)
		case addr.Is6() && !a.v6.IsValid():
			a.v6 = p
		}
	}
	return a
}

// ip returns the guest's IPv4 address, or else its IPv6 address, or "".
func (a addresses) ip() string { return cmp.Or(a.ipv4(), a.ipv6()) }

// ipv4 returns the guest's IPv4 address, or "".
func (a addresses) ipv4() string { return addrText(a.v4.Addr()) }

// ipv6 returns the guest's IPv6 address, or "".
func (a addresses) ipv6() string { return addrText(a.v6.Addr()) }

// lklInterface returns an LKL guest's configuration of its net device.
func (a addresses) lklInterface(device string, tap *network.Tap) lkl.Interface {
	return lkl.Interface{
		Name: device, Address: a.v4, Address6: a.v6,
		Gateway: a.gateway4, Gateway6: a.gateway6,
		MAC: tap.MAC, MTU: tap.MTU, Offload: tap.Offload,
	}
}

// lklRoutes returns the routes, except for the default routes by a gateway. Any gateway
// works: like the namespace, the guest adds a host route for one that is not on the link.
func (a addresses) lklRoutes() []lkl.Route {
	var routes []lkl.Route
	for _, r := range a.routes {
		own := a.v4
		if r.Destination.Addr().Is6() {
			own = a.v6
		}
		if own.IsValid() {
			routes = append(routes, lkl.Route{To: r.Destination, Via: r.Gateway})
		}
	}
	return routes
}

// placeholders returns the placeholders in the arguments of a Solo5 guest, and
// their values. The addresses are unknown when the job is written. A suffix such as ":tap"
// names the device.
func (a addresses) placeholders(suffix string) map[string]string {
	return map[string]string{
		"{{ipv4" + suffix + "}}":         prefixText(a.v4),
		"{{ipv4_gateway" + suffix + "}}": addrText(a.gateway4),
		"{{ipv6" + suffix + "}}":         prefixText(a.v6),
		"{{ipv6_gateway" + suffix + "}}": addrText(a.gateway6),
	}
}

// placeholders returns all placeholders of a guest and their values.
func (all netDevices) placeholders() map[string]string {
	values := all.addresses().placeholders("")
	values["{{neighbors}}"] = ""
	if all.shared() != nil {
		values["{{neighbors}}"] = network.NeighborLoopback.String()
	}
	for _, d := range all {
		maps.Copy(values, d.addresses.placeholders(":"+d.link.Device))
	}
	return values
}

// missingValue explains why a placeholder has no value, and what to do.
func missingValue(placeholder string) error {
	name, device, ofDevice := strings.Cut(strings.Trim(placeholder, "{}"), ":")
	if name == "neighbors" {
		return fmt.Errorf("%s has a value only in the network mode %s: remove it, or use this mode", placeholder, modeShared)
	}
	owner := "the task's network"
	if ofDevice {
		owner = "the network of the device " + device
	}
	version, gateway := strings.CutSuffix(name, "_gateway")
	missing := map[string]string{"ipv4": "IPv4", "ipv6": "IPv6"}[version]
	if gateway {
		missing += " gateway"
	} else {
		missing += " address"
	}
	return fmt.Errorf("%s has no value, because %s has no %s: remove it from args, or add one to the network", placeholder, owner, missing)
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

// expand replaces the placeholders in the arguments. A missing address is an
// error, because the guest would misread the rest of the argument.
func (all netDevices) expand(args []string) ([]string, error) {
	expanded := slices.Clone(args)
	values := all.placeholders()
	names := slices.Sorted(maps.Keys(values))
	var list problems.List
	for i, arg := range args {
		for _, name := range names {
			switch {
			case !strings.Contains(arg, name):
			case values[name] == "":
				list.Addf(fmt.Sprintf("args[%d]", i), "%w", missingValue(name))
			default:
				expanded[i] = strings.ReplaceAll(expanded[i], name, values[name])
			}
		}
	}
	return expanded, taskConfigError(&list)
}
