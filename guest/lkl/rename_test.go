// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"strings"
	"testing"

	"github.com/shoenig/test"
)

// runNamed runs a guest with two network devices, tap and second, to its end.
func runNamed(t *testing.T, config map[string]any, args string) ([]string, int) {
	t.Helper()
	_, cable := socketPair(t)
	defer cable.Close()
	return runGuest(t, guestSpec{
		kernel:  compileGuest(t, "probe.c", "-manifest", "testdata/devices.json"),
		extra:   cable,
		options: []string{"--block:data=" + buildImage(t, 16, nil), "--net:second=@5"},
		config:  config,
		args:    strings.Fields(args),
	})
}

// Programs and sysctls see the new name. Routes use the name in the manifest. Two
// interfaces can exchange their names.
func TestRename_ChangesNamesInTheGuest(t *testing.T) {
	interfaces := func(first, second string) map[string]any {
		return map[string]any{
			"interfaces": []map[string]string{
				{"name": "tap", "rename": first, "ip": "10.0.0.2", "masklen": "24", "mac": "02:00:00:00:00:07", "ipv6": "fd00::2", "masklen6": "64"},
				{"name": "second", "rename": second, "ip": "10.1.0.2", "masklen": "24", "mac": "02:00:00:00:00:08", "ifgateway": "10.1.0.1"},
			},
			"gateway": "10.0.0.1", "gateway6": "fd00::1",
			"routes": []map[string]string{{"to": "10.9.0.0/16", "interface": "second"}},
		}
	}
	for _, names := range [][2]string{{"eth0", "eth1"}, {"second", "tap"}, {"", "eth0"}, {"tap", "second"}} {
		first, second := names[0], names[1]
		config := interfaces(first, second)
		if first == "" {
			first = "tap"
		}
		config["sysctl"] = "net.ipv4.conf." + first + ".forwarding=1"
		mac, forwarding := "/sys/class/net/%/address", "/proc/sys/net/ipv4/conf/"+first+"/forwarding"
		firstMAC, secondMAC := strings.Replace(mac, "%", first, 1), strings.Replace(mac, "%", second, 1)
		lines, status := runNamed(t, config, strings.Join([]string{
			"file", firstMAC, "file", secondMAC, "file", forwarding, "route", "10.9.0.1", "route", "1.1.1.1", "route", "2001:db8::1",
		}, " "))
		test.Eq(t, []string{
			firstMAC + ": 02:00:00:00:00:07", secondMAC + ": 02:00:00:00:00:08", forwarding + ": 1",
			"route 10.9.0.1: from 10.1.0.2", "route 1.1.1.1: from 10.0.0.2", "route 2001:db8::1: from fd00::2",
		}, lines)
		test.Eq(t, 0, status)
	}
}

func TestRename_RefusesUnusableNames(t *testing.T) {
	for _, c := range []struct {
		name, says string
		status     int
	}{
		{strings.Repeat("x", 16), "lkl: --config: not a name for an interface: " + strings.Repeat("x", 16), exitConfig},
		{"eth%d", "lkl: --config: not a name for an interface: eth%d", exitConfig},
		{"a/b", "lkl: --config: not a name for an interface: a/b", exitConfig},
		{"a b", "lkl: --config: not a name for an interface: a b", exitConfig},
		{"..", "lkl: --config: not a name for an interface: ..", exitConfig},
		{"all", "lkl: --config: not a name for an interface: all", exitConfig},
		{"lo", `lkl: network interface "tap": name lo: exists`, exitNetwork},
		{"second", `lkl: network interface "tap": name second: exists`, exitNetwork},
	} {
		lines, status := runNamed(t, map[string]any{"interfaces": []map[string]string{{"name": "tap", "rename": c.name}}}, "")
		test.Eq(t, []string{c.says}, lines)
		test.Eq(t, c.status, status)
	}
}
