// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/resolvconf"
)

// hostResolvConfs are the host's resolver configurations. The driver uses the
// first one with a server that a guest can reach. systemd-resolved and NetworkManager
// write a loopback address to the first and the upstream servers to another one.
var hostResolvConfs = []string{
	"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf",
}

// A guestResolver is a guest's DNS configuration, and the problems that the guest will have
// with it.
type guestResolver struct {
	resolvconf.Config
	warnings []string
}

// newGuestResolver returns the DNS configuration of a guest with these addresses. As in
// docker, each field that the job lacks comes from the host.
func newGuestResolver(dns *drivers.DNSConfig, a addresses) guestResolver {
	var job resolvconf.Config
	if dns != nil {
		job = resolvconf.Config{Servers: dns.Servers, Searches: dns.Searches, Options: dns.Options}
	}
	host, unreachable := hostResolver()
	r := guestResolver{Config: host.Override(job)}
	switch {
	case a.ip() == "":
	case len(r.Servers) == 0:
		r.warnings = append(r.warnings, noServer(unreachable))
	case !slices.ContainsFunc(r.Servers, a.sharesFamily):
		r.warn("The guest reaches none of its DNS servers (%s), because it has no address of their IP version. "+
			`Set dns { servers = ["ADDRESS"] } in the group's network block to a server that the guest reaches`,
			strings.Join(r.Servers, ", "))
	}
	if extra := len(job.Servers) - resolvconf.MaxServers; extra > 0 {
		r.warn("The guest uses only the first %d of the DNS servers in the job's dns block, so the last %d have no effect",
			resolvconf.MaxServers, extra)
	}
	if omitted := r.FitSearches(); omitted > 0 {
		r.warn("The DNS search list is too long for the guest's resolver: the last %d domains are left out", omitted)
	}
	return r
}

func (r *guestResolver) warn(format string, args ...any) {
	r.warnings = append(r.warnings, fmt.Sprintf(format, args...))
}

// noServer explains why a guest has no DNS server.
func noServer(unreachable []string) string {
	cause := "the host has none in " + hostResolvConfs[0]
	if len(unreachable) > 0 {
		cause = "those of the host are only reachable from the host itself: " + strings.Join(unreachable, ", ")
	}
	return "The guest has no DNS server, because " + cause +
		`. Set dns { servers = ["ADDRESS"] } in the group's network block to a server that the guest reaches`
}

// hostResolver returns the host's DNS configuration without servers that a guest cannot
// reach. If no other is left, it also returns these servers.
func hostResolver() (resolvconf.Config, []string) {
	var first resolvconf.Config
	var unreachable []string
	for i, path := range hostResolvConfs {
		c, err := readResolvConf(path)
		if err != nil {
			continue
		}
		all := c.Servers
		c.Servers = slices.DeleteFunc(slices.Clone(all), isHostOnly)
		if len(c.Servers) > 0 {
			return c, nil
		}
		if i == 0 {
			first, unreachable = c, all
		}
	}
	return first, unreachable
}

// sharesFamily reports whether the guest has an address of a server's IP version.
func (a addresses) sharesFamily(server string) bool {
	addr, err := netip.ParseAddr(server)
	if err == nil && addr.Unmap().Is4() {
		return a.v4.IsValid()
	}
	return a.v6.IsValid()
}

func readResolvConf(path string) (resolvconf.Config, error) {
	const limit = 1 << 16 // bytes: many times the size of any real one
	f, err := os.Open(path)
	if err != nil {
		return resolvconf.Config{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit))
	return resolvconf.Parse(string(text)), err
}

// isHostOnly reports whether only the host reaches a DNS server: one on its loopback, which
// 0.0.0.0 also means, or one with a link-local IPv6 address, which is valid only on a link of
// the host.
func isHostOnly(server string) bool {
	addr, err := netip.ParseAddr(server)
	if err != nil {
		return true
	}
	addr = addr.Unmap()
	return addr.IsLoopback() || addr.IsUnspecified() || addr.Is6() && addr.IsLinkLocalUnicast()
}

// validateDNS reports values of the job's dns block that would damage the guest's
// configuration.
func validateDNS(list *problems.List, dns *drivers.DNSConfig) {
	if dns == nil {
		return
	}
	check := func(field string, values []string, check func(string) error) {
		for i, value := range values {
			if err := check(value); err != nil {
				list.Addf(fmt.Sprintf("dns.%s[%d]", field, i), "%w", err)
			}
		}
	}
	check("servers", dns.Servers, resolvconf.CheckServer)
	check("searches", dns.Searches, resolvconf.CheckWords)
	check("options", dns.Options, resolvconf.CheckWords)
}
