// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/shoenig/test/must"
)

// startEcho starts the echo server with a tap of this MTU.
func startEcho(t *testing.T, mtu int, offload bool, config map[string]any) *guest {
	t.Helper()
	runIP(t, fmt.Sprintf("link set tap0 mtu %d", mtu))
	s := guestSpec{kernel: compileGuest(t, "echo.c"), tap: "tap0", config: config}
	if offload {
		s.options = []string{"--net-offload:tap"}
	}
	g := startGuest(t, s)
	g.expectLine(t, "listening")
	return g
}

// 65521 is the largest MTU of a tap.
func TestMTU_CarriesJumboFrames(t *testing.T) {
	if !enterOwnNetwork(t) {
		return
	}
	for _, mtu := range []int{9000, 65521} {
		for _, offload := range []string{"", "1"} {
			g := startEcho(t, mtu, offload == "1", networkWith(map[string]string{"mtu": strconv.Itoa(mtu), "offload": offload}))
			before := countFrames(t)
			for _, address := range []string{"10.0.0.2:7", "[fd00::2]:7"} {
				echoTCP(t, address, 8<<20, 1)
				echoUDP(t, address)
			}
			f := countFrames(t)
			must.Greater(t, 3000, (f.toGuestBytes-before.toGuestBytes)/(f.toGuest-before.toGuest))
			must.Greater(t, 3000, (f.fromGuestBytes-before.fromGuestBytes)/(f.fromGuest-before.fromGuest))
			g.sendControl(t, "stop 9")
			g.waitExit(t)
		}
	}
}

// Networks of one or two addresses, and of one family.
func TestNetwork_HasAnyPrefixLength(t *testing.T) {
	if !enterOwnNetwork(t) {
		return
	}
	for _, args := range []string{
		"addr add 10.2.0.0/31 dev tap0", "addr add 169.254.1.1/32 dev tap0", "route add 10.3.0.2/32 dev tap0",
		"-6 addr add fd02::/127 dev tap0 nodad", "-6 addr add fd03::1/128 dev tap0 nodad", "-6 route add fd04::2/128 dev tap0",
	} {
		runIP(t, args)
	}
	for _, c := range []struct {
		keys, routes map[string]string
		addresses    []string
	}{
		{map[string]string{"ip": "10.2.0.1", "masklen": "31", "ipv6": "fd02::1", "masklen6": "127"}, nil, []string{"10.2.0.1", "fd02::1"}},
		{
			map[string]string{"ip": "10.3.0.2", "masklen": "32", "ipv6": "fd04::2", "masklen6": "128"},
			map[string]string{"gateway": "169.254.1.1", "gateway6": "fd03::1"},
			[]string{"10.3.0.2", "fd04::2"},
		},
		{
			map[string]string{"ip": "10.3.0.2", "masklen": "32", "ifgateway": "169.254.1.1", "ipv6": "fd04::2", "masklen6": "128", "ifgateway6": "fd03::1"},
			nil,
			[]string{"10.3.0.2", "fd04::2"},
		},
		{map[string]string{"ipv6": "fd00::2", "masklen6": "64"}, map[string]string{"gateway6": "fd00::1"}, []string{"fd00::2"}},
		{map[string]string{"ip": "10.0.0.2", "masklen": "24"}, map[string]string{"gateway": "10.0.0.1"}, []string{"10.0.0.2"}},
	} {
		c.keys["name"], c.keys["rename"] = "tap", "eth0"
		config := map[string]any{"interfaces": []map[string]string{c.keys}}
		for key, value := range c.routes {
			config[key] = value
		}
		g := startEcho(t, 1500, false, config)
		for _, address := range c.addresses {
			address = fmt.Sprintf("[%s]:7", address)
			echoTCP(t, address, 1<<16, 1)
			if c.keys["ifgateway"] == "" { // which needs a source address
				echoUDP(t, address)
			}
		}
		g.sendControl(t, "stop 9")
		g.waitExit(t)
	}
}

// A network of one or two addresses has no broadcast address. 192.168.1.255 is that of the class
// of the address.
func TestNetwork_HasNoBroadcastAddressWithoutRoom(t *testing.T) {
	for _, length := range []string{"31", "32"} {
		lines, status := runGuest(t, guestSpec{
			config: networkWith(map[string]string{"ip": "192.168.1.2", "masklen": length}),
			args:   []string{"file", "/proc/net/fib_trie"},
		})
		must.Eq(t, 0, status)
		for _, line := range lines {
			must.StrNotContains(t, line, "192.168.1.255")
		}
	}
}
