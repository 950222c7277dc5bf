// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/network"
)

// driverNetwork returns the address and ports that Nomad advertises for services
// with address_mode "driver". Group networks map the same ports for the guest
// as for the alloc. Nomad combines this address with a port's number in the guest, so it
// must be the guest's address in host mode, too. Without an address the result is nil, as
// Nomad expects.
func driverNetwork(j job, devices netDevices) *drivers.DriverNetwork {
	connected := devices.connected()
	if len(connected) == 0 || connected[0].addresses.ip() == "" {
		return nil
	}
	n := &drivers.DriverNetwork{IP: connected[0].addresses.ip(), PortMap: map[string]int{}}
	claim := j.portClaim()
	for _, p := range groupPorts(j.task) {
		if claim.serves(p.Label) {
			n.PortMap[p.Label] = int(guestPort(p))
		}
	}
	return n
}

// reportNetwork emits events with the addresses of a guest: Nomad shows no other
// information of an external driver about a task's network.
func (d *Driver) reportNetwork(task *drivers.TaskConfig, links []link, ports portClaim) {
	for _, l := range links {
		d.events.emit(task, l.describe()+ports.describe(l.Mode), l.attributes())
	}
}

// describe returns the end of the event about a device: the task's ports, if not all packets
// are for it.
func (c portClaim) describe(mode networkMode) string {
	if mode != modeShared && mode != modeHost {
		return ""
	}
	var names []string
	for _, p := range c.ports {
		names = append(names, p.text)
	}
	switch {
	case c.all && mode == modeShared:
		return ", every port that no neighbor uses"
	case c.all:
		return ", all ports of the group"
	case len(names) == 0:
		return ", no ports"
	}
	return ", ports " + strings.Join(names, ", ")
}

// describe returns the text of the event about a device.
func (l link) describe() string {
	if l.Mode == modeNone {
		return fmt.Sprintf("Network: the device %s leads nowhere (mode %s)", l.Device, l.Mode)
	}
	addresses := l.IP
	switch {
	case l.IP == "" && l.IPv6 == "":
		addresses = "no address"
	case l.IP == "":
		addresses = l.IPv6
	case l.IPv6 != "":
		addresses += " and " + l.IPv6
	}
	text := fmt.Sprintf("Network: the device %s has %s (mode %s", l.Device, addresses, l.Mode)
	if l.Interface != "" {
		text += ", interface " + l.Interface
	}
	return text + ")"
}

// attributes returns the properties of a link that InspectTask and the event show.
func (l link) attributes() map[string]string {
	all := map[string]string{
		"network_mode": string(l.Mode), "ip": cmp.Or(l.IP, l.IPv6), "ipv6": l.IPv6, "mac": l.MAC,
		"interface": l.Interface, "tap": l.Tap, "netns": l.Netns,
	}
	maps.DeleteFunc(all, func(_, value string) bool { return value == "" })
	return all
}

// counters returns the packets and bytes of a link of a running guest.
func (l link) counters() map[string]string {
	if l.Mode == modeNone || l.Tap == "" {
		return nil
	}
	c, err := network.ReadCounters(l.Netns, l.Tap)
	if err != nil {
		return nil // the guest has just ended
	}
	return map[string]string{
		"received_packets": strconv.FormatUint(c.ReceivedPackets, 10),
		"received_bytes":   strconv.FormatUint(c.ReceivedBytes, 10),
		"sent_packets":     strconv.FormatUint(c.SentPackets, 10),
		"sent_bytes":       strconv.FormatUint(c.SentBytes, 10),
		"dropped_packets":  strconv.FormatUint(c.DroppedPackets, 10),
	}
}

// networkAttributes adds the attributes of all links. Those of the first link that leads
// somewhere have their plain names, and those of the others begin with the device.
func networkAttributes(all map[string]string, links []link, of func(link) map[string]string) {
	first := slices.IndexFunc(links, func(l link) bool { return l.Mode != modeNone })
	for i, l := range links {
		prefix := l.Device + "."
		if i == max(first, 0) {
			prefix = ""
		}
		for name, value := range of(l) {
			all[prefix+name] = value
		}
	}
}
