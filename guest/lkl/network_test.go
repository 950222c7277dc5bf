// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// defaultNetwork configures the guest for the network of testenv.OwnNetwork.
var defaultNetwork = map[string]any{
	"interfaces": []map[string]string{{
		"type": "rumpfd", "name": "tap", "ip": "10.0.0.2", "masklen": "24", "ipv6": "fd00::2", "masklen6": "64",
	}},
	"gateway": "10.0.0.1",
}

// enterOwnNetwork runs the test again in a private network namespace. It returns
// true there, and false in the original process: see testenv.OwnNetwork.
func enterOwnNetwork(t *testing.T) bool {
	t.Helper()
	testenv.Guest(t, "lkl-cc")
	testenv.Plugin(t)
	return testenv.OwnNetwork(t, 5*testenv.Patience)
}

// resolvedNeighbors reads the frames that the guest has sent and returns the
// targets of its ARP requests and neighbor solicitations. They are the next hops
// that the guest's routes select.
func resolvedNeighbors(t *testing.T, cable *os.File) map[string]bool {
	t.Helper()
	targets := map[string]bool{}
	frame := make([]byte, 2048)
	for {
		must.NoError(t, cable.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
		n, err := cable.Read(frame)
		if err != nil {
			must.ErrorIs(t, err, os.ErrDeadlineExceeded)
			return targets
		}
		switch f := frame[:n]; {
		case n >= 42 && f[12] == 0x08 && f[13] == 0x06: // ARP
			targets[net.IP(f[38:42]).String()] = true
		case n >= 78 && f[12] == 0x86 && f[13] == 0xdd && f[20] == 58 && f[54] == 135: // ICMPv6 neighbor solicitation
			targets[net.IP(f[62:78]).String()] = true
		}
	}
}

// Packets from an interface's own address go through the gateway of that
// interface, even if the default route uses another one. More specific routes
// still take precedence.
func TestConfig_UsesGatewayOfSourceInterface(t *testing.T) {
	ours, cable := socketPair(t)
	defer cable.Close()
	lines, status := runGuest(t, guestSpec{
		kernel:  compileGuest(t, "probe.c", "-manifest", "testdata/devices.json"),
		extra:   cable,
		options: []string{"--block:data=" + buildImage(t, 16, nil), "--net:second=@5"},
		config: map[string]any{
			"interfaces": []map[string]string{
				{"name": "tap", "ip": "10.0.0.2", "masklen": "24", "ipv6": "fd00::2", "masklen6": "64", "ifgateway": "10.0.0.1"},
				{
					"name": "second", "ip": "10.1.0.2", "masklen": "24", "ifgateway": "10.1.0.1",
					"ipv6": "fd01::2", "masklen6": "64", "ifgateway6": "fd01::1",
				},
			},
			"gateway": "10.0.0.1", "gateway6": "fd00::1",
			"routes": []map[string]string{{"to": "10.9.0.0/16", "via": "10.1.0.9", "interface": "second"}},
		},
		args: strings.Fields("route 1.1.1.1 route 2001:db8::1 send 10.1.0.2,1.1.1.1 send 10.1.0.2,10.9.0.1 " +
			"send 10.1.0.2,10.1.0.7 send fd01::2,2001:db8::1 send fd01::2,fd01::7"),
	})
	test.Eq(t, []string{"route 1.1.1.1: from 10.0.0.2", "route 2001:db8::1: from fd00::2"}, lines)
	test.Eq(t, 0, status)
	got := resolvedNeighbors(t, ours)
	for _, router := range []string{"10.1.0.1", "10.1.0.9", "10.1.0.7", "fd01::1", "fd01::7"} {
		test.True(t, got[router], test.Sprintf("%s in %v", router, got))
	}
}

// The networks of some CNI plugins have addresses of single hosts, gateways outside of
// the address's network, or a default route without a gateway.
func TestConfig_RoutesOfCNINetworks(t *testing.T) {
	single := map[string]string{"name": "second", "ip": "10.1.0.2", "masklen": "32", "ipv6": "fd01::2", "masklen6": "128"}
	sends := "send 10.1.0.2,10.1.0.7 send 10.1.0.2,1.1.1.1 send fd01::2,fd01::7 send fd01::2,2001:db8::1"
	for _, c := range []struct {
		name     string
		config   map[string]any
		nextHops []string // of all packets
	}{
		{"ptp", map[string]any{
			"gateway": "10.1.0.1", "gateway6": "fd01::1",
			"routes": []map[string]string{
				{"to": "10.1.0.1/32"},
				{"to": "fd01::1/128"},
				{"to": "10.1.0.0/24", "via": "10.1.0.1"},
				{"to": "fd01::/64", "via": "fd01::1"},
			},
		}, []string{"10.1.0.1", "fd01::1"}},
		{"gateway outside", map[string]any{"gateway": "169.254.1.1", "gateway6": "fd09::1"}, []string{"169.254.1.1", "fd09::1"}},
		{"link-local gateway", map[string]any{"gateway": "169.254.1.1", "gateway6": "fe80::1"}, []string{"169.254.1.1", "fe80::1"}},
		{"no gateway", map[string]any{
			"routes": []map[string]string{{"to": "0.0.0.0/0"}, {"to": "::/0"}},
		}, []string{"10.1.0.7", "1.1.1.1", "fd01::7", "2001:db8::1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ours, cable := socketPair(t)
			defer cable.Close()
			c.config["interfaces"] = []map[string]string{single}
			_, status := runGuest(t, guestSpec{
				kernel:  compileGuest(t, "probe.c", "-manifest", "testdata/devices.json"),
				extra:   cable,
				options: []string{"--block:data=" + buildImage(t, 16, nil), "--net:second=@5"},
				config:  c.config,
				args:    strings.Fields(sends),
			})
			test.Eq(t, 0, status)
			want := map[string]bool{}
			for _, hop := range c.nextHops {
				want[hop] = true
			}
			got := resolvedNeighbors(t, ours)
			delete(got, "fd01::2") // the guest announces itself
			test.Eq(t, want, got)
		})
	}
}

func runIP(t *testing.T, args string) {
	t.Helper()
	out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
	must.NoError(t, err, must.Sprintf("ip %s: %s", args, out))
}
