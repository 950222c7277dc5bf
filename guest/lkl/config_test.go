// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"strings"
	"testing"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"
)

func TestCommandLine_PreservesArgumentsAndEnvironment(t *testing.T) {
	odd := []string{"", " ", "two words", `back\slash`, `"quotes"`, "it's", "tab\there", "ümlaut", "-x", "--config", "a=b"}
	env := []string{"PLAIN=x", "EMPTY=", `ODD=a "b" \c 'd'`, "DEBUG=debug 1"}
	args := []string{"environment"}
	for _, w := range odd {
		args = append(args, "say", w)
	}
	lines, status := runGuest(t, guestSpec{env: env, config: map[string]any{}, args: args})
	var want []string
	for _, e := range env {
		want = append(want, "environment "+e)
	}
	test.Eq(t, append(want, odd...), lines)
	test.Eq(t, 0, status)
}

func TestConfig_SetsProgramIdentity(t *testing.T) {
	lines, _ := runGuest(t, guestSpec{args: strings.Fields("identity")})
	test.Eq(t, []string{"uid 0 gid 0 groups 0 directory / host lkl"}, lines)

	root := buildImage(t, 16, map[string]string{"etc/hostname": "from-file\n"})
	lines, _ = runGuest(t, guestSpec{root: root, args: strings.Fields("identity")})
	test.Eq(t, []string{"uid 0 gid 0 groups 0 directory / host from-file"}, lines)

	lines, _ = runGuest(t, guestSpec{
		root:   root,
		config: map[string]any{"uid": "1000", "gid": 100, "workdir": "/tmp", "hostname": "b\u00f6x\"1"},
		args:   strings.Fields("identity write /file write /tmp/file"),
	})
	test.Eq(t, []string{
		"uid 1000 gid 100 groups 1 directory /tmp host b\u00f6x\"1", "write: Permission denied", "write: done",
	}, lines)
}

func TestConfig_WarnsAboutUnknownKeys(t *testing.T) {
	lines, status := runGuest(t, guestSpec{
		config: map[string]any{
			"a": "x", "b": 1, "c": []any{1, map[string]any{"d": "]}"}}, "e": map[string]any{"f": []int{}}, "hostname": "h",
		},
		args: strings.Fields("identity"),
	})
	test.Eq(t, []string{
		"lkl: --config: unknown key ignored: a", "lkl: --config: unknown key ignored: b",
		"lkl: --config: unknown key ignored: c", "lkl: --config: unknown key ignored: e",
		"uid 0 gid 0 groups 0 directory / host h",
	}, lines)
	test.Eq(t, 0, status)
}

func TestConfig_AcceptsLegacyKeys(t *testing.T) {
	lines, status := runGuest(t, guestSpec{
		config: map[string]any{
			"interfaces": []map[string]string{{
				"type": "rumpfd", "name": "tap", "param": "", "mtu": "1400", "ip": "10.0.0.2", "masklen": "24",
				"mac": "02:00:00:00:00:09", "neigh": "", "qdisc": "", "offload": "",
			}},
			"gateway": "10.0.0.1", "debug": "0", "singlecpu": "1", "sysctl": "net.core.somaxconn=77", "delay_main": "1000",
		},
		args: strings.Fields("file /proc/sys/net/core/somaxconn file /sys/class/net/tap/address file /sys/class/net/tap/mtu"),
	})
	test.Eq(t, []string{
		"/proc/sys/net/core/somaxconn: 77", "/sys/class/net/tap/address: 02:00:00:00:00:09", "/sys/class/net/tap/mtu: 1400",
	}, lines)
	test.Eq(t, 0, status)
}

func TestConfig_InvalidValueEndsGuest(t *testing.T) {
	with := func(key string, value any) map[string]any {
		return map[string]any{"interfaces": []map[string]string{{"name": "tap"}}, key: value}
	}
	list := func(pairs ...string) any {
		record := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			record[pairs[i]] = pairs[i+1]
		}
		return []any{record}
	}
	long := strings.Repeat("x", 300)
	for _, c := range []struct {
		config map[string]any
		line   string
		status int
	}{
		{with("interfaces", list("name", "eth9")), `lkl: the guest has no network device "eth9"`, exitNetwork},
		{with("interfaces", list("name", "tap", "mac", "x")), "lkl: --config: not a MAC address: x", exitConfig},
		{with("interfaces", list("name", "tap", "mac", "02:x0:00:00:00:00:01")), "lkl: --config: not a MAC address: 02:x0:00:00:00:00:01", exitConfig},
		{with("interfaces", list("name", "tap", "ip", "1.2.3")), "lkl: --config: not an IPv4 address: 1.2.3", exitConfig},
		{with("interfaces", list("name", "tap", "ipv6", "1")), "lkl: --config: not an IPv6 address: 1", exitConfig},
		{with("interfaces", list("name", "tap", "ip", "1.2.3.4", "masklen", "33")), "lkl: --config: not a masklen: 33", exitConfig},
		{with("interfaces", list("name", "tap", "ip", "1.2.3.4", "masklen", "x")), "lkl: --config: not a masklen: x", exitConfig},
		{with("interfaces", list("name", "tap", "ipv6", "fd00::2", "masklen6", "129")), "lkl: --config: not a masklen6: 129", exitConfig},
		{with("interfaces", list("name", "tap", "mtu", "x")), "lkl: --config: not a mtu: x", exitConfig},
		{map[string]any{"gateway": "10.0.0.1"}, "lkl: --config: no interface for the gateway: 10.0.0.1", exitConfig},
		{with("interfaces", list("name", "tap", "mtu", "9001")), `lkl: network interface "tap": MTU 9001: invalid`, exitNetwork},
		{map[string]any{"neighbors": map[string]string{"loopback": "192.0.0.1"}}, "lkl: --config: no interface leads to: neighbors", exitConfig},
		{with("neighbors", map[string]string{"address": "x"}), "lkl: --config: not an IPv4 address: x", exitConfig},
		{with("neighbors", map[string]string{"loopback6": "192.0.0.1"}), "lkl: --config: not an IPv6 address: 192.0.0.1", exitConfig},
		{with("routes", list("to", "10.0.0.0/33")), "lkl: --config: not a network: 10.0.0.0/33", exitConfig},
		{with("routes", list("via", "10.0.0.1")), "lkl: --config: a route needs the network it leads to and an interface that exists", exitConfig},
		{with("mounts", list("path", "/x")), "lkl: --config: a mount needs a device and an absolute path", exitConfig},
		{with("mounts", list("device", "no", "path", "/x")), `lkl: cannot mount block device "no" on /x: there is no such file or device`, exitRoot},
		{with("root", "no"), `lkl: the guest has no block device "no" for its root file system`, exitRoot},
		{with("root_options", long), "lkl: --config: the mount options are too long: " + long, exitConfig},
		{with("workdir", "/no"), "lkl: working directory /no: there is no such file or device", exitStart},
		{with("stack", "1000000000"), "lkl: no memory for the program's stack", exitStart},
		{with("stack", "8M"), "lkl: --config: not a stack: 8M", exitConfig},
		{with("uid", "nobody"), "lkl: --config: not a uid: nobody", exitConfig}, // not root instead
		{with("uid", "-1"), "lkl: --config: not a uid: -1", exitConfig},
		{with("uid", "4294967296"), "lkl: --config: not a uid: 4294967296", exitConfig}, // nor the root of 32 bits
		{with("gid", "4294967295"), "lkl: --config: not a gid: 4294967295", exitConfig},
	} {
		lines, status := runGuest(t, guestSpec{config: c.config, args: strings.Fields("say started")})
		test.Eq(t, c.line, lastLine(lines))
		test.Eq(t, c.status, status, test.Sprint(c.line))
	}
}

func TestConfig_IgnoresTooLongHostname(t *testing.T) {
	long := strings.Repeat("x", 65)
	lines, status := runGuest(t, guestSpec{config: map[string]any{"hostname": long, "workdir": "."}, args: strings.Fields("identity")})
	test.Eq(t, []string{"lkl: not a valid host name: " + long, "uid 0 gid 0 groups 0 directory / host lkl"}, lines)
	test.Eq(t, 0, status)
}

func TestConfig_RunsProgramOnReadOnlyRoot(t *testing.T) {
	lines, status := runGuest(t, guestSpec{config: map[string]any{"root_options": "ro"}, args: strings.Fields("input write /x")})
	must.Len(t, 8, lines)
	test.Eq(t, "lkl: cannot mount /proc: read only", lines[0])
	test.Eq(t, []string{"input: done", "write: Read-only file system"}, lines[6:])
	test.Eq(t, 0, status)
}

func TestConfig_ReachesOffLinkIPv6Gateway(t *testing.T) {
	lines, status := runGuest(t, guestSpec{
		config: map[string]any{
			"interfaces": []map[string]string{{"name": "tap", "ipv6": "fd00::2", "masklen6": "128"}}, "gateway6": "fd99::1",
		},
		args: strings.Fields("route 2001:db8::1"),
	})
	test.Eq(t, []string{"route 2001:db8::1: from fd00::2"}, lines)
	test.Eq(t, 0, status)
}

func TestConfig_InvalidJSONEndsGuest(t *testing.T) {
	for _, text := range []string{
		"", "x", "{", "[]", `{"a"`, `{"a":}`, `{"a":"\x"}`, `{"a":"\ud800"}`, `{"a":"b" "c":"d"}`, `{"interfaces":[1]}`,
		`{"a":"b"}}`, `{"a":"b",}`, `{"interfaces":[{"name":"tap"},]}`, `{"interfaces":[{"name":"tap"}{}]}`,
		`{"interfaces":[{]}`, `{"a":[`, `{"a":"unfinished}`,
	} {
		s := guestSpec{args: strings.Fields("say started")}
		s.env = []string{"--config", text}
		lines, status := runGuest(t, s)
		test.StrHasPrefix(t, "lkl: --config: ", lastLine(lines), test.Sprint(text))
		test.Eq(t, exitConfig, status, test.Sprint(text))
	}
}

func TestConfig_WarnsAboutUnknownSysctl(t *testing.T) {
	lines, status := runGuest(t, guestSpec{
		config: map[string]any{"sysctl": "no.such=1;net.ipv4.tcp_rmem=4096 8192 16384"},
		args:   strings.Fields("file /proc/sys/net/ipv4/tcp_rmem"),
	})
	test.Eq(t, []string{
		"lkl: sysctl no/such = 1: there is no such file or device", "/proc/sys/net/ipv4/tcp_rmem: 4096\t8192\t16384",
	}, lines)
	test.Eq(t, 0, status)
}

func TestConfig_UsesAllDevicesOfManifest(t *testing.T) {
	data := buildImage(t, 16, map[string]string{"inside": "data\n"})
	root := buildImage(t, 16, map[string]string{"inside": "root\n"})
	_, cable := socketPair(t)
	defer cable.Close()
	g := startGuest(t, guestSpec{
		kernel: compileGuest(t, "probe.c", "-manifest", "testdata/devices.json"),
		root:   root,
		extra:  cable,
		options: []string{
			"--block:data=" + data, "--net:second=@5", "--net-mac:second=02:00:00:00:00:05", "--block-sector-size:data=4096",
		},
		config: map[string]any{
			"interfaces": []map[string]string{
				{"name": "tap", "ip": "10.0.0.2", "masklen": "24", "ipv6": "fd00::2", "masklen6": "64"},
				{"name": "second", "ip": "10.1.0.2", "masklen": "16"},
			},
			"gateway": "10.0.0.1", "gateway6": "fd00::1",
			"routes": []map[string]string{
				{"to": "10.9.0.0/16", "via": "10.1.0.7", "interface": "second"}, {"to": "fd01::/64", "via": "fd00::7"},
			},
			"mounts": []map[string]string{{"device": "data", "path": "/data", "options": "noatime"}},
		},
		args: strings.Fields("file /inside file /data/inside file /sys/class/net/second/address write /data/new " +
			"route 10.9.1.1 route 10.1.1.1 route 1.1.1.1 route fd01::1 route 2001:db8::1"),
	})
	lines, status := g.waitExit(t)
	test.Eq(t, []string{
		"/inside: root", "/data/inside: data", "/sys/class/net/second/address: 02:00:00:00:00:05", "write: done",
		"route 10.9.1.1: from 10.1.0.2", "route 10.1.1.1: from 10.1.0.2", "route 1.1.1.1: from 10.0.0.2",
		"route fd01::1: from fd00::2", "route 2001:db8::1: from fd00::2",
	}, lines)
	test.Eq(t, 0, status)
	requireCleanDisk(t, root)
	requireCleanDisk(t, data)
}

func TestConfig_DebugShowsKernelMessages(t *testing.T) {
	lines, _ := runGuest(t, guestSpec{config: map[string]any{"debug": "1"}, args: strings.Fields("say x")})
	must.SliceNotEmpty(t, lines)
	test.StrHasPrefix(t, "Linux version 6.1.", lines[0])
}

func TestEntropy_DiffersBetweenBootsOfSameImage(t *testing.T) {
	seen := map[string]bool{}
	for range 3 {
		root := buildImage(t, 16, map[string]string{"etc/random-seed": strings.Repeat("same", 128)})
		lines, _ := runGuest(t, guestSpec{root: root, config: map[string]any{"entropy": "00ff00ff"}, args: strings.Fields("random file /etc/random-seed")})
		must.SliceLen(t, 2, lines)
		test.False(t, seen[lines[0]])
		seen[lines[0]] = true
		test.Eq(t, "/etc/random-seed: No such file or directory", lines[1])
	}
}

func TestKernel_ReportsItsVersion(t *testing.T) {
	lines, _ := runGuest(t, guestSpec{args: strings.Fields("file /proc/version uname")})
	test.StrHasPrefix(t, "/proc/version: Linux version 6.1.", lines[0])
	test.StrHasPrefix(t, "uname Linux 6.1.", lines[1])
}

func TestKernel_RunsIn12MB(t *testing.T) {
	lines, status := runGuest(t, guestSpec{memory: "12", config: defaultNetwork, args: strings.Fields("write /file say x")})
	test.Eq(t, []string{"write: done", "x"}, lines)
	test.Eq(t, 0, status)
}

func TestKernel_RejectsNewProcesses(t *testing.T) {
	lines, status := runGuest(t, guestSpec{args: strings.Fields("fork")})
	test.SliceLen(t, 6, lines)
	for _, line := range lines {
		test.StrHasSuffix(t, ": Function not implemented", line)
	}
	test.Eq(t, 0, status)
}

func TestKernel_BusyThreadLetsOthersRun(t *testing.T) {
	lines, status := runGuest(t, guestSpec{args: strings.Fields("busy spinlock")})
	test.Eq(t, []string{"busy: others ran", "spinlock: done"}, lines)
	test.Eq(t, 0, status)
}

// A Nomad client gives its tasks at least this limit. One that grows with the guest's
// memory would depend on the job.
func TestProgram_MayOpenManyFiles(t *testing.T) {
	lines, status := runGuest(t, guestSpec{
		config: map[string]any{"uid": "1000"}, args: []string{"file", "/proc/self/limits", "file", "/proc/sys/fs/file-max"},
	})
	must.Eq(t, 0, status)
	limits := strings.Join(strings.Fields(strings.Join(lines, "\n")), " ")
	test.StrContains(t, limits, "Max open files 65536 65536 files")
	test.StrContains(t, limits, "/proc/sys/fs/file-max: 1048576")
}
