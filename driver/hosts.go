// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
)

// hostGateway is the address in extra_hosts that means the gateway of the guest's network.
const hostGateway = "host-gateway"

const (
	maxHostname = 64  // bytes: the limit of Linux
	maxHost     = 253 // bytes: the limit of DNS
)

// hostPattern matches the name of a host in extra_hosts. As with docker, it may contain
// underscores.
var hostPattern = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*$`)

// validateHosts checks hostname and extra_hosts.
func (t *TaskConfig) validateHosts(list *problems.List) {
	switch {
	case t.Hostname == "":
	case len(t.Hostname) > maxHostname:
		list.Addf("hostname", "has %d bytes, but Linux allows %d", len(t.Hostname), maxHostname)
	case !hostPattern.MatchString(t.Hostname) || strings.Contains(t.Hostname, "_"):
		list.Addf("hostname", "%q is not a host name, such as %q: use letters, digits, hyphens and dots", t.Hostname, "web-1")
	}
	for i, entry := range t.ExtraHosts {
		if _, err := parseExtraHost(entry); err != nil {
			list.Addf(fmt.Sprintf("extra_hosts[%d]", i), "%w", err)
		}
	}
}

// An extraHost is an entry of extra_hosts. The zero Addr is that of the gateway.
type extraHost struct {
	name string
	ip   netip.Addr
}

// parseExtraHost parses NAME:IP, also with an IPv6 address in brackets. Docker allows = instead
// of the colon.
func parseExtraHost(entry string) (extraHost, error) {
	separator := strings.IndexAny(entry, ":=")
	if separator < 0 {
		return extraHost{}, fmt.Errorf("%q must be NAME:IP, such as %q", entry, "db:10.0.0.5")
	}
	name, address := entry[:separator], entry[separator+1:]
	if len(name) > maxHost || !hostPattern.MatchString(name) {
		return extraHost{}, fmt.Errorf("%q: %q is not a host name", entry, name)
	}
	if address == hostGateway {
		return extraHost{name: name}, nil
	}
	if inner, ok := strings.CutPrefix(address, "["); ok && strings.HasSuffix(inner, "]") {
		address = strings.TrimSuffix(inner, "]")
	}
	ip, err := netip.ParseAddr(address)
	if err != nil || ip.Zone() != "" {
		return extraHost{}, fmt.Errorf("%q: %q is not an IP address, such as %q or %q, and not %q",
			entry, address, "10.0.0.5", "[2001:db8::5]", hostGateway)
	}
	return extraHost{name, ip}, nil
}

// hostname returns the task's host name: that of the job's config, or that of the group's
// network. Otherwise it joins the names of task and alloc, within the limit for a DNS label
// (RFC 1035: 63 bytes).
func (j job) hostname() string {
	if j.config.Hostname != "" {
		return j.config.Hostname
	}
	if group := groupHost(j.task); group != nil {
		return group.Hostname
	}
	return defaultHostname(j.task)
}

// groupHost returns the host name and address of the group's network, or nil. Nomad has them
// only if a task of another driver has created the network, and does not check the name.
func groupHost(task *drivers.TaskConfig) *drivers.HostsConfig {
	n := task.NetworkIsolation
	if n == nil || n.HostsConfig == nil || !hostPattern.MatchString(n.HostsConfig.Hostname) {
		return nil
	}
	return n.HostsConfig
}

func defaultHostname(task *drivers.TaskConfig) string {
	const maxLabel, shortID = 63, 8
	alloc := task.AllocID[:min(shortID, len(task.AllocID))]
	label := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, task.Name)
	label = label[:min(maxLabel-shortID-1, len(label))]
	return strings.Trim(label+"-"+alloc, "-")
}

// etcHosts returns the content of /etc/hosts. The guest's names lead to its addresses of
// both families.
func (j job) etcHosts(a addresses) (string, error) {
	var b strings.Builder
	b.WriteString(`127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
fe00::0 ip6-localnet
ff00::0 ip6-mcastprefix
ff02::1 ip6-allnodes
ff02::2 ip6-allrouters
`)
	for _, h := range j.config.ExtraHosts {
		lines, err := extraHostLines(h, a)
		if err != nil {
			return "", err
		}
		b.WriteString(lines)
	}
	names := []string{j.hostname()}
	if short, _, qualified := strings.Cut(names[0], "."); qualified {
		names = append(names, short)
	}
	own := slices.DeleteFunc([]string{a.ipv4(), a.ipv6()}, func(ip string) bool { return ip == "" })
	if len(own) == 0 {
		own = []string{"127.0.1.1"}
	}
	if group := groupHost(j.task); group != nil {
		if !slices.Contains(names, group.Hostname) {
			names = append(names, group.Hostname)
		}
		if _, err := netip.ParseAddr(group.Address); err == nil && !slices.Contains(own, group.Address) {
			b.WriteString(group.Address + " " + group.Hostname + "\n")
		}
	}
	for _, ip := range own {
		b.WriteString(ip + " " + strings.Join(names, " ") + "\n")
	}
	return b.String(), nil
}

// extraHostLines returns the lines of /etc/hosts for an entry of extra_hosts.
func extraHostLines(entry string, a addresses) (string, error) {
	h, err := parseExtraHost(entry)
	if err != nil {
		return "", err
	}
	ips := []netip.Addr{h.ip}
	if !h.ip.IsValid() {
		ips = slices.DeleteFunc([]netip.Addr{a.gateway4, a.gateway6}, func(ip netip.Addr) bool {
			return !ip.IsValid() || ip.IsLinkLocalUnicast() // without a zone, no program can use it
		})
		if len(ips) == 0 {
			return "", fmt.Errorf("extra_hosts: %q: the guest's network has no gateway: use an IP address", entry)
		}
	}
	var lines string
	for _, ip := range ips {
		lines += ip.String() + " " + h.name + "\n"
	}
	return lines, nil
}
