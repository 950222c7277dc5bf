// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
	"github.com/lkl-nomad/nomad-driver-lkl/network"
)

// A servedPort is an element of the task's option ports.
type servedPort struct {
	text     string
	label    string            // of the group's port, or "" for numbers
	guest    network.PortRange // in the alloc's namespace, and of the guest
	tcp, udp bool
}

// overlaps reports whether two elements have a port in common.
func (p servedPort) overlaps(o servedPort) bool {
	return (p.tcp && o.tcp || p.udp && o.udp) && p.guest.First <= o.guest.Last && o.guest.First <= p.guest.Last
}

// groupPorts returns the ports of the group's network.
func groupPorts(task *drivers.TaskConfig) []structs.AllocatedPortMapping {
	if task.Resources == nil || task.Resources.Ports == nil {
		return nil
	}
	return *task.Resources.Ports
}

// guestPort returns the number that a port of the group has in the alloc's namespace.
func guestPort(p structs.AllocatedPortMapping) uint16 {
	if p.To > 0 {
		return uint16(p.To)
	}
	return uint16(p.Value)
}

// servesAll reports whether the task has no option ports. With an empty list, in contrast,
// the task serves no port.
func (t *TaskConfig) servesAll() bool { return t.Ports == nil }

// servedPorts parses the option ports, without the elements that are mistakes.
func (t *TaskConfig) servedPorts(list *problems.List, task *drivers.TaskConfig) []servedPort {
	var served []servedPort
	for i, text := range t.Ports {
		field := fmt.Sprintf("ports[%d]", i)
		p, err := parsePort(text, groupPorts(task))
		if err != nil && t.mode(task) == modeHost {
			err = unknownLabel(text, groupPorts(task)) // numbers are refused, too
		}
		if err != nil {
			list.Addf(field, "%w", err)
			continue
		}
		double := slices.IndexFunc(served, func(o servedPort) bool { return o.label == p.label && o.overlaps(p) })
		switch {
		case double >= 0 && served[double].text == text:
			list.Addf(field, "%q is listed twice", text)
			continue
		case double >= 0:
			list.Addf(field, "%q overlaps with %q", text, served[double].text)
			continue
		}
		served = append(served, p)
	}
	return served
}

// parsePort parses an element of ports: a label of the group's ports, a number or a range of
// numbers, with an optional protocol. A label precedes a number, because labels may consist
// of digits.
func parsePort(text string, ports []structs.AllocatedPortMapping) (servedPort, error) {
	p := servedPort{text: text, tcp: true, udp: true}
	name, protocol, limited := strings.Cut(text, "/")
	if limited {
		p.tcp, p.udp = protocol == "tcp", protocol == "udp"
		if !p.tcp && !p.udp {
			return p, fmt.Errorf("%q has the protocol %q, which is not tcp or udp", text, protocol)
		}
	}
	for _, o := range ports {
		if o.Label == name {
			p.label, p.guest = name, network.PortRange{First: guestPort(o), Last: guestPort(o)}
			return p, nil
		}
	}
	if name == "" || strings.Trim(name, "0123456789-") != "" {
		return p, fmt.Errorf("%w, and not a number such as %q, %q or %q", unknownLabel(text, ports), "9001", "9000-9010", "53/udp")
	}
	first, last, isRange := strings.Cut(name, "-")
	if !isRange {
		last = first
	}
	var err error
	if p.guest.First, err = portNumber(first); err == nil {
		p.guest.Last, err = portNumber(last)
	}
	if err != nil || p.guest.First > p.guest.Last {
		return p, fmt.Errorf("%q is not a port from 1 to 65535 or a range of them, such as %q or %q", text, "9001", "9000-9010")
	}
	return p, nil
}

func portNumber(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err == nil && n == 0 {
		err = errors.New("not a port")
	}
	return uint16(n), err
}

func unknownLabel(text string, ports []structs.AllocatedPortMapping) error {
	known := "which has no ports"
	var labels []string
	for _, p := range ports {
		labels = append(labels, p.Label)
	}
	if len(labels) > 0 {
		known = "which has " + strings.Join(labels, ", ")
	}
	return fmt.Errorf("%q is not a port of the group's network, %s", text, known)
}

// A portClaim says which ports of an alloc a task serves.
type portClaim struct {
	ports []servedPort
	all   bool // the task has no option ports
}

// portClaim returns the ports that a valid job serves.
func (j job) portClaim() portClaim {
	var mistakes problems.List
	return portClaim{ports: j.config.servedPorts(&mistakes, j.task), all: j.config.servesAll()}
}

// sharing returns the packets that are for a guest in shared mode.
func (c portClaim) sharing() network.Sharing {
	s := network.Sharing{Rest: c.all}
	for _, p := range c.ports {
		if p.tcp {
			s.TCP = append(s.TCP, p.guest)
		}
		if p.udp {
			s.UDP = append(s.UDP, p.guest)
		}
	}
	s.TCP, s.UDP = mergeRanges(s.TCP), mergeRanges(s.UDP)
	return s
}

// mergeRanges returns the ranges in order, with those joined that overlap or are adjacent.
func mergeRanges(ranges []network.PortRange) []network.PortRange {
	slices.SortFunc(ranges, func(a, b network.PortRange) int { return int(a.First) - int(b.First) })
	var merged []network.PortRange
	for _, r := range ranges {
		if n := len(merged) - 1; n >= 0 && int(r.First) <= int(merged[n].Last)+1 {
			merged[n].Last = max(merged[n].Last, r.Last)
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

// serves reports whether a port of the group leads to the task.
func (c portClaim) serves(label string) bool {
	return c.all || slices.ContainsFunc(c.ports, func(p servedPort) bool { return p.label == label })
}

// hostPorts returns the ports of the host that lead to a guest in host mode.
func (c portClaim) hostPorts(ports []structs.AllocatedPortMapping) ([]network.HostPort, error) {
	var found []network.HostPort
	for _, p := range ports {
		if !c.serves(p.Label) {
			continue
		}
		var address netip.Addr
		if p.HostIP != "" {
			parsed, err := netip.ParseAddr(p.HostIP)
			if err != nil {
				return nil, fmt.Errorf("port %s: the host's address %q: %w", p.Label, p.HostIP, err)
			}
			if !parsed.IsUnspecified() {
				address = parsed.Unmap()
			}
		}
		found = append(found, network.HostPort{Address: address, Port: uint16(p.Value), Target: guestPort(p)})
	}
	return found, nil
}
