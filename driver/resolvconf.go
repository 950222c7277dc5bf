// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"net/netip"
	"os"
	"strings"

	"github.com/hashicorp/nomad/plugins/drivers"
)

// hostResolvConfs are the host's resolver configurations. The driver uses the
// first one with a server that a guest can reach. systemd-resolved writes its
// own loopback address to the first and its upstream servers to the second.
var hostResolvConfs = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}

// resolvConf returns the guest's /etc/resolv.conf: the job's DNS configuration,
// or the host's without servers on the host's loopback.
func resolvConf(dns *drivers.DNSConfig) []byte {
	if dns != nil {
		return []byte(resolvText(dns))
	}
	var text string
	for _, path := range hostResolvConfs {
		content, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		kept, reachable := withoutLoopback(string(content))
		text = kept
		if reachable {
			break
		}
	}
	return []byte(text)
}

func resolvText(dns *drivers.DNSConfig) string {
	var b strings.Builder
	for _, s := range dns.Servers {
		b.WriteString("nameserver " + s + "\n")
	}
	if len(dns.Searches) > 0 {
		b.WriteString("search " + strings.Join(dns.Searches, " ") + "\n")
	}
	if len(dns.Options) > 0 {
		b.WriteString("options " + strings.Join(dns.Options, " ") + "\n")
	}
	return b.String()
}

// withoutLoopback removes the servers that a guest cannot reach. It reports
// whether any other server is left.
func withoutLoopback(text string) (string, bool) {
	var kept strings.Builder
	reachable := false
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 2 && fields[0] == "nameserver" {
			if addr, err := netip.ParseAddr(fields[1]); err == nil && addr.IsLoopback() {
				continue
			}
			reachable = true
		}
		kept.WriteString(line)
	}
	return kept.String(), reachable
}
