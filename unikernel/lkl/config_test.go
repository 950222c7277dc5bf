// SPDX-License-Identifier: MPL-2.0

package lkl_test

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

var prefix, addr = netip.MustParsePrefix, netip.MustParseAddr

// fullConfig uses everything that a legacy guest supports.
func fullConfig() lkl.Config {
	return lkl.Config{
		Interfaces: []lkl.Interface{{
			Name:     "tap",
			Address:  prefix("10.0.0.2/24"),
			Address6: prefix("2001:db8::2/64"),
			Gateway:  addr("10.0.0.1"),
			Gateway6: addr("fe80::1"),
			MAC:      net.HardwareAddr{0x02, 0, 0x5e, 0xab, 0xcd, 0xef},
			MTU:      1400,
		}},
		Gateway:   addr("10.0.0.254"),
		Gateway6:  addr("2001:db8::1"),
		Sysctl:    map[string]string{"net.ipv4.tcp_wmem": "4096 87380 2147483647", "kernel.panic": "1"},
		KernelLog: true,
	}
}

func TestConfig_IsByteExact(t *testing.T) {
	got, err := fullConfig().Encode(0)
	must.NoError(t, err)
	must.Eq(t, `{"interfaces":[{"type":"rumpfd","name":"tap","ip":"10.0.0.2","masklen":"24",`+
		`"ipv6":"2001:db8::2","masklen6":"64","mac":"02:00:5e:ab:cd:ef","mtu":"1400",`+
		`"ifgateway":"10.0.0.1","ifgateway6":"fe80::1"}],`+
		`"gateway":"10.0.0.254","gateway6":"2001:db8::1",`+
		`"sysctl":"kernel.panic=1;net.ipv4.tcp_wmem=4096 87380 2147483647",`+
		`"debug":"1"}`, got)

	got, err = lkl.Config{}.Encode(0)
	must.NoError(t, err)
	must.Eq(t, "{}", got)
}

func TestConfig_EncodesStackAndRootOptions(t *testing.T) {
	c := lkl.Config{RootOptions: "noatime,errors=panic", Program: lkl.Program{Stack: 1 << 33}}
	got, err := c.Encode(unikernel.FeatureConfig)
	must.NoError(t, err)
	must.Eq(t, `{"root_options":"noatime,errors=panic","stack":"8589934592"}`, got)
	_, err = c.Encode(0)
	must.ErrorContains(t, err, "need the feature config")
	for _, options := range []string{`a"b`, `a\b`, "a b", "a\nb", strings.Repeat("x", 255)} {
		_, err = lkl.Config{RootOptions: options}.Encode(unikernel.FeatureConfig)
		must.ErrorContains(t, err, "mount options of the root")
	}
}

func TestConfig_EncodesHostnameAndEntropy(t *testing.T) {
	c := lkl.Config{Hostname: "web-1", Entropy: []byte{0x0a, 0xff}}
	got, err := c.Encode(unikernel.FeatureConfig)
	must.NoError(t, err)
	must.Eq(t, `{"hostname":"web-1","entropy":"0aff"}`, got)
	_, err = c.Encode(0)
	must.ErrorContains(t, err, "need the feature config")
}

func TestConfig_EncodesOutput(t *testing.T) {
	c := lkl.Config{Program: lkl.Program{Name: `a"b`}, Output: lkl.Output{Stderr: true, StdoutTTY: true, StderrTTY: true}}
	got, err := c.Encode(unikernel.FeatureConfig | unikernel.FeatureOutput)
	must.NoError(t, err)
	must.Eq(t, `{"argv0":"a\"b","stderr":"1","stdout_tty":"1","stderr_tty":"1"}`, got)
	_, err = c.Encode(unikernel.FeatureConfig)
	must.ErrorContains(t, err, "need the feature output")
	for _, name := range []string{"a\nb", "\xff", strings.Repeat("x", 256)} {
		c.Program.Name = name
		must.ErrorIs(t, c.Validate(unikernel.FeatureConfig|unikernel.FeatureOutput), lkl.ErrConfig, must.Sprint(name))
	}
}

func TestConfig_EncodesOffload(t *testing.T) {
	got, err := lkl.Config{Interfaces: []lkl.Interface{{Name: "tap", Offload: true}}}.Encode(0)
	must.NoError(t, err)
	must.Eq(t, `{"interfaces":[{"type":"rumpfd","name":"tap","offload":"1"}]}`, got)
}

func TestConfig_EncodesRename(t *testing.T) {
	rename := func(names ...string) lkl.Config {
		var c lkl.Config
		for i, name := range names {
			c.Interfaces = append(c.Interfaces, lkl.Interface{Name: fmt.Sprintf("tap%d", i), Rename: name})
		}
		return c
	}
	got, err := rename("eth0", "", "a.b-c_d").Encode(unikernel.FeatureConfig | unikernel.FeatureNetwork)
	must.NoError(t, err)
	must.Eq(t, `{"interfaces":[{"type":"rumpfd","name":"tap0","rename":"eth0"},{"type":"rumpfd","name":"tap1"},`+
		`{"type":"rumpfd","name":"tap2","rename":"a.b-c_d"}]}`, got)
	must.NoError(t, rename("tap1", "tap0").Validate(unikernel.FeatureConfig))
	for _, names := range [][]string{{"lo"}, {"all"}, {"default"}, {"."}, {".."}, {"a/b"}, {"a b"}, {"a:b"}, {"eth%d"}, {`"`}, {"ü"}, {strings.Repeat("x", 16)}, {"eth0", "eth0"}, {"tap1", ""}} {
		must.ErrorIs(t, rename(names...).Validate(unikernel.FeatureConfig), lkl.ErrConfig, must.Sprint(names))
	}
}

func TestConfig_EncodesNeighbors(t *testing.T) {
	const features = unikernel.FeatureConfig | unikernel.FeatureNetwork
	config := fullConfig()
	config = lkl.Config{Interfaces: []lkl.Interface{{Name: "tap", Address: config.Interfaces[0].Address, Address6: config.Interfaces[0].Address6}}}
	config.Neighbors = lkl.Neighbors{
		Loopback: addr("192.0.0.1"), Address: addr("192.0.0.2"), Loopback6: addr("fd6c:6b6c:6c6b::1"), Address6: addr("fd6c:6b6c:6c6b::2"),
	}
	got, err := config.Encode(features)
	must.NoError(t, err)
	must.StrContains(t, got, `"neighbors":{"loopback":"192.0.0.1","loopback6":"fd6c:6b6c:6c6b::1","address":"192.0.0.2","address6":"fd6c:6b6c:6c6b::2"}`)
	for says, change := range map[string]func(*lkl.Config){
		"need an interface":               func(c *lkl.Config) { c.Interfaces = nil },
		"loopback fd00::1 is not":         func(c *lkl.Config) { c.Neighbors.Loopback = addr("fd00::1") },
		"loopback6 192.0.0.1 is not":      func(c *lkl.Config) { c.Neighbors.Loopback6 = addr("192.0.0.1") },
		"address 127.0.0.1 is not":        func(c *lkl.Config) { c.Neighbors.Address = addr("127.0.0.1") },
		"address6 ff02::1 is not":         func(c *lkl.Config) { c.Neighbors.Address6 = addr("ff02::1") },
		"address 10.0.0.2 is the guest's": func(c *lkl.Config) { c.Neighbors.Address = addr("10.0.0.2") },
		"must differ":                     func(c *lkl.Config) { c.Neighbors.Address = addr("192.0.0.1") },
		"address and address6 need":       func(c *lkl.Config) { c.Interfaces = []lkl.Interface{{Name: "tap", Address: prefix("10.0.0.2/24")}} },
	} {
		c := config
		change(&c)
		must.ErrorIs(t, c.Validate(features), lkl.ErrConfig)
		must.ErrorContains(t, c.Validate(features), says)
	}
	config.Interfaces[0].Address, config.Neighbors.Address = netip.Prefix{}, netip.Addr{}
	must.NoError(t, config.Validate(features), must.Sprint("127.0.0.1 needs no other IPv4 address"))
}

func TestConfig_MTUDependsOnTheGuest(t *testing.T) {
	config := func(mtu int) lkl.Config { return lkl.Config{Interfaces: []lkl.Interface{{Name: "tap", MTU: mtu}}} }
	const features = unikernel.FeatureConfig | unikernel.FeatureNetwork
	must.NoError(t, config(65535).Validate(features))
	must.ErrorContains(t, config(65536).Validate(features), "between 68 and 65535")
	must.ErrorContains(t, config(9000).Validate(unikernel.FeatureConfig), "between 68 and 1500")
}

func TestConfig_EncodesTheRoot(t *testing.T) {
	got, err := lkl.Config{Root: "storage"}.Encode(0)
	must.NoError(t, err)
	must.Eq(t, `{"root":"storage"}`, got)
}

func TestConfig_EncodesTheProgram(t *testing.T) {
	got, err := lkl.Config{Program: lkl.Program{Directory: "/srv/R&D <a=b; c>", UID: 1000, GID: 100}}.Encode(0)
	must.NoError(t, err)
	must.Eq(t, `{"workdir":"/srv/R&D <a=b; c>","uid":"1000","gid":"100"}`, got)
	for _, directory := range []string{"srv", `/s"rv`, `/a\b`, "/ü", "/" + strings.Repeat("x", 4095)} {
		_, err := lkl.Config{Program: lkl.Program{Directory: directory}}.Encode(0)
		must.ErrorIs(t, err, lkl.ErrConfig, must.Sprint(directory))
	}
}

func TestConfig_EncodesDisks(t *testing.T) {
	got, err := lkl.Config{Disks: []lkl.Disk{{Name: "rootfs", Transfer: 1 << 20, Flush: true}, {Name: "data"}}}.Encode(0)
	must.NoError(t, err)
	must.Eq(t, `{"disks":[{"name":"rootfs","transfer":"1048576","flush":"1"},{"name":"data"}]}`, got)
	for _, disks := range [][]lkl.Disk{{{}}, {{Name: `a"b`}}, {{Name: "data"}, {Name: "data"}}} {
		_, err := lkl.Config{Disks: disks}.Encode(0)
		must.ErrorIs(t, err, lkl.ErrConfig, must.Sprint(disks))
	}
}

func TestConfig_EncodesRoutes(t *testing.T) {
	tap := []lkl.Interface{{Name: "tap"}}
	got, err := lkl.Config{Interfaces: tap, Routes: []lkl.Route{
		{To: prefix("10.9.0.0/16"), Via: addr("10.0.0.7")}, {To: prefix("fd01::/64")},
	}}.Encode(0)
	must.NoError(t, err)
	must.Eq(t, `{"interfaces":[{"type":"rumpfd","name":"tap"}],"routes":[{"to":"10.9.0.0/16","via":"10.0.0.7"},{"to":"fd01::/64"}]}`, got)
	for name, routes := range map[string][]lkl.Route{
		"without a destination":             {{}},
		"to a single address":               {{To: prefix("10.9.0.1/16")}},
		"with a router of the other family": {{To: prefix("10.9.0.0/16"), Via: addr("fe80::1")}},
		"with a router in a zone":           {{To: prefix("fd01::/64"), Via: addr("fe80::1%eth0")}},
		"too many":                          slices.Repeat([]lkl.Route{{To: prefix("10.9.0.0/16")}}, 65),
	} {
		_, err := lkl.Config{Interfaces: tap, Routes: routes}.Encode(0)
		must.ErrorIs(t, err, lkl.ErrConfig, must.Sprint(name))
	}
	_, err = lkl.Config{Routes: []lkl.Route{{To: prefix("10.9.0.0/16")}}}.Encode(0)
	must.ErrorIs(t, err, lkl.ErrConfig)
}

func TestConfig_EncodesFSGSBase(t *testing.T) {
	got, err := lkl.Config{FSGSBase: true}.Encode(0)
	must.NoError(t, err)
	must.Eq(t, `{"fsgsbase":"1"}`, got)
}

func TestConfig_KeepsTheOrderOfTheKeys(t *testing.T) {
	got, err := lkl.Config{
		Interfaces: []lkl.Interface{{Name: "tap", Address: prefix("10.0.0.2/24")}},
		Routes:     []lkl.Route{{To: prefix("10.9.0.0/16")}},
		Disks:      []lkl.Disk{{Name: "rootfs", Flush: true}},
		Gateway:    addr("10.0.0.1"),
		Sysctl:     map[string]string{"a": "1"},
		KernelLog:  true,
		Root:       "rootfs",
		Program:    lkl.Program{Directory: "/srv", UID: 1, GID: 2},
		FSGSBase:   true,
	}.Encode(unikernel.FeatureConfig)
	must.NoError(t, err)
	must.Eq(t, `{"interfaces":[{"type":"rumpfd","name":"tap","ip":"10.0.0.2","masklen":"24"}],`+
		`"routes":[{"to":"10.9.0.0/16"}],"disks":[{"name":"rootfs","flush":"1"}],"gateway":"10.0.0.1","sysctl":"a=1","debug":"1",`+
		`"root":"rootfs","workdir":"/srv","uid":"1","gid":"2","fsgsbase":"1"}`, got)
}

func firstInterface(c *lkl.Config) *lkl.Interface { return &c.Interfaces[0] }

var invalidSettings = []struct {
	name   string
	change func(*lkl.Config)
	says   string
}{
	{"an interface without a name", func(c *lkl.Config) { firstInterface(c).Name = "" }, "letters and digits"},
	{"a name that needs an escape", func(c *lkl.Config) { firstInterface(c).Name = `t"p` }, "letters and digits"},
	{"a duplicate name", func(c *lkl.Config) { c.Interfaces = append(c.Interfaces, lkl.Interface{Name: "tap"}) }, `interface 2 ("tap"): duplicate device name`},
	{"an IPv6 address for IPv4", func(c *lkl.Config) { firstInterface(c).Address = prefix("2001:db8::2/24") }, "unicast IPv4 address"},
	{"an IPv4 address for IPv6", func(c *lkl.Config) { firstInterface(c).Address6 = prefix("10.0.0.2/24") }, "unicast IPv6 address"},
	{"an IPv4-mapped IPv6 address", func(c *lkl.Config) { firstInterface(c).Address6 = netip.PrefixFrom(addr("::ffff:10.0.0.2"), 100) }, "unicast IPv6 address"},
	{"the unspecified address", func(c *lkl.Config) { firstInterface(c).Address = prefix("0.0.0.0/24") }, "unicast IPv4 address"},
	{"the unspecified IPv6 address", func(c *lkl.Config) { firstInterface(c).Address6 = prefix("::/64") }, "unicast IPv6 address"},
	{"a multicast address", func(c *lkl.Config) { firstInterface(c).Address = prefix("224.0.0.1/24") }, "unicast IPv4 address"},
	{"a multicast IPv6 address", func(c *lkl.Config) { firstInterface(c).Address6 = prefix("ff02::1/64") }, "unicast IPv6 address"},
	{"the broadcast address", func(c *lkl.Config) { firstInterface(c).Address = prefix("255.255.255.255/1") }, "unicast IPv4 address"},
	{"an address without a prefix length", func(c *lkl.Config) { firstInterface(c).Address = netip.PrefixFrom(addr("10.0.0.2"), -1) }, "prefix length"},
	{"an IPv6 address without a prefix length", func(c *lkl.Config) { firstInterface(c).Address6 = netip.PrefixFrom(addr("2001:db8::2"), 129) }, "prefix length"},
	{"a prefix length of 0", func(c *lkl.Config) { firstInterface(c).Address = prefix("10.0.0.2/0") }, "1 to 32"},
	{"a prefix length of 32", func(c *lkl.Config) { firstInterface(c).Address = prefix("10.0.0.2/32") }, "1 to 31"},
	{"a prefix length of 0 for IPv6", func(c *lkl.Config) { firstInterface(c).Address6 = prefix("2001:db8::2/0") }, "1 to 128"},
	{"an interface's gateway outside its network", func(c *lkl.Config) { firstInterface(c).Gateway = addr("10.0.1.1") }, "10.0.1.1"},
	{"an interface's IPv4 gateway with an IPv6 address", func(c *lkl.Config) { firstInterface(c).Gateway = addr("fe80::1") }, "fe80::1"},
	{"an interface as its own gateway", func(c *lkl.Config) { firstInterface(c).Gateway = addr("10.0.0.2") }, "10.0.0.2"},
	{"an interface's IPv6 gateway outside its network", func(c *lkl.Config) { firstInterface(c).Gateway6 = addr("2001:db9::1") }, "2001:db9::1"},
	{"an interface's IPv6 gateway with a zone", func(c *lkl.Config) { firstInterface(c).Gateway6 = addr("fe80::1%eth0") }, "eth0"},
	{"an interface's gateway without an address", func(c *lkl.Config) { firstInterface(c).Address = netip.Prefix{} }, "gateway 10.0.0.1"},
	{"a MAC of 8 bytes", func(c *lkl.Config) { firstInterface(c).MAC = make(net.HardwareAddr, 8) }, "MAC"},
	{"a MAC of 0 bytes", func(c *lkl.Config) { firstInterface(c).MAC = net.HardwareAddr{} }, "MAC"},
	{"a MAC of zeroes", func(c *lkl.Config) { firstInterface(c).MAC = make(net.HardwareAddr, 6) }, "MAC"},
	{"a multicast MAC", func(c *lkl.Config) { firstInterface(c).MAC = net.HardwareAddr{1, 0, 0x5e, 0, 0, 1} }, "MAC"},
	{"a negative MTU", func(c *lkl.Config) { firstInterface(c).MTU = -1 }, "-1"},
	{"an MTU below IPv4's", func(c *lkl.Config) { firstInterface(c).MTU = 67 }, "67"},
	{"an MTU below IPv6's", func(c *lkl.Config) { firstInterface(c).MTU = 1279 }, "minimum for IPv6"},
	{"an MTU above Ethernet's", func(c *lkl.Config) { firstInterface(c).MTU = 1501 }, "1501"},
	{"a gateway outside all networks", func(c *lkl.Config) { c.Gateway = addr("192.0.2.1") }, "192.0.2.1"},
	{"an IPv6 gateway outside all networks", func(c *lkl.Config) { c.Gateway6 = addr("2001:db9::1") }, "2001:db9::1"},
	{"an IPv6 gateway with a zone", func(c *lkl.Config) { c.Gateway6 = addr("fe80::1%eth0") }, "eth0"},
	{"a root that is a path", func(c *lkl.Config) { c.Root = "/dev/rootfs" }, "/dev/rootfs"},
	{"a gateway without an interface", func(c *lkl.Config) { c.Interfaces = nil }, "10.0.0.254"},
	{"a sysctl without a name", func(c *lkl.Config) { c.Sysctl = map[string]string{"": "1"} }, "name"},
	{"a sysctl name with a blank", func(c *lkl.Config) { c.Sysctl = map[string]string{"a b": "1"} }, "name"},
	{"a sysctl name with an equals sign", func(c *lkl.Config) { c.Sysctl = map[string]string{"a=b": "1"} }, "name"},
	{"a sysctl name that is too long", func(c *lkl.Config) { c.Sysctl = map[string]string{strings.Repeat("n", 246): "1"} }, "246 bytes, 1 more than 245"},
	{"a sysctl without a value", func(c *lkl.Config) { c.Sysctl = map[string]string{"a": ""} }, "value"},
	{"a sysctl value with a quote", func(c *lkl.Config) { c.Sysctl = map[string]string{"a": `"`} }, "value"},
	{"a sysctl value with a backslash", func(c *lkl.Config) { c.Sysctl = map[string]string{"a": `\`} }, "value"},
	{"a sysctl value with a semicolon", func(c *lkl.Config) { c.Sysctl = map[string]string{"a": "1;b=2"} }, "value"},
	{"a sysctl value with a tab", func(c *lkl.Config) { c.Sysctl = map[string]string{"a": "1\t2"} }, "value"},
	{"a sysctl value that is not ASCII", func(c *lkl.Config) { c.Sysctl = map[string]string{"a": "ä"} }, "value"},
	{"sysctls that are too long", func(c *lkl.Config) {
		c.Sysctl = map[string]string{"a": strings.Repeat("1", 126), "b": strings.Repeat("2", 126)}
	}, "257 bytes, 2 more"},
}

func TestConfig_RefusesInvalidSettings(t *testing.T) {
	for _, c := range invalidSettings {
		t.Run(c.name, func(t *testing.T) {
			config := fullConfig()
			c.change(&config)
			must.ErrorIs(t, config.Validate(0), lkl.ErrConfig)
			must.ErrorContains(t, config.Validate(0), c.says)
			_, err := config.Encode(0)
			must.ErrorIs(t, err, lkl.ErrConfig)
		})
	}
}

func TestConfig_AcceptsTheLimits(t *testing.T) {
	cases := map[string]func(*lkl.Config){
		"shortest prefixes": func(c *lkl.Config) {
			c.Interfaces[0].Address, c.Interfaces[0].Address6 = prefix("10.0.0.2/1"), prefix("2001:db8::2/1")
		},
		"longest prefixes": func(c *lkl.Config) {
			c.Interfaces[0].Address, c.Interfaces[0].Address6 = prefix("10.0.0.0/31"), prefix("2001:db8::2/128")
			c.Gateway, c.Gateway6 = addr("10.0.0.1"), addr("fe80::1")
		},
		"MTU 1500":         func(c *lkl.Config) { c.Interfaces[0].MTU = 1500 },
		"MTU 1280":         func(c *lkl.Config) { c.Interfaces[0].MTU = 1280 },
		"MTU 68, no IPv6":  func(c *lkl.Config) { *c = lkl.Config{Interfaces: []lkl.Interface{{Name: "tap", MTU: 68}}} },
		"255 bytes sysctl": func(c *lkl.Config) { c.Sysctl = map[string]string{strings.Repeat("n", 245): strings.Repeat("1", 9)} },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			config := fullConfig()
			change(&config)
			must.NoError(t, config.Validate(0))
		})
	}
}

func TestConfig_GatewayOutsideTheNetworkNeedsAFeature(t *testing.T) {
	config := fullConfig()
	config.Interfaces[0].Address = prefix("10.0.0.2/32")
	config.Gateway, config.Interfaces[0].Gateway = addr("169.254.1.1"), addr("169.254.1.1")
	must.NoError(t, config.Validate(unikernel.FeatureConfig))
	must.ErrorContains(t, config.Validate(0), "169.254.1.1")

	config = fullConfig()
	config.Interfaces[0].Address6 = prefix("2001:db8::2/128")
	config.Gateway6, config.Interfaces[0].Gateway6 = addr("2001:db9::1"), addr("2001:db9::1")
	must.NoError(t, config.Validate(unikernel.FeatureConfig))
	must.ErrorContains(t, config.Validate(0), "2001:db9::1")
}

func TestConfig_SysctlLimitsDependOnTheGuest(t *testing.T) {
	long := func(name, value int) lkl.Config {
		return lkl.Config{Sysctl: map[string]string{strings.Repeat("n", name): strings.Repeat("1", value), "other": strings.Repeat("2", 250)}}
	}
	must.NoError(t, long(127, 254).Validate(unikernel.FeatureConfig))
	must.ErrorContains(t, long(128, 1).Validate(unikernel.FeatureConfig), "1 more than 127")
	must.ErrorContains(t, long(1, 255).Validate(unikernel.FeatureConfig), "1 more than 254")
	must.ErrorContains(t, long(1, 1).Validate(0), "sysctl: the settings have")
}

func TestConfig_CountsTokensLikeTheGuest(t *testing.T) {
	config := fullConfig()
	add := func() {
		config.Interfaces = append(config.Interfaces, lkl.Interface{Name: fmt.Sprintf("tap%d", len(config.Interfaces))})
	}
	accepted := func() bool { return config.Validate(0) == nil }
	for accepted() {
		add()
	}
	must.ErrorContains(t, config.Validate(0), "tokens")
	config.Interfaces = config.Interfaces[:len(config.Interfaces)-1]

	tokens := 0
	for i := 1; accepted(); i++ { // each MTU adds two tokens
		text, err := config.Encode(0)
		must.NoError(t, err)
		parsed, err := parseConfig(text)
		must.NoError(t, err)
		tokens = parsed.tokens
		config.Interfaces[i].MTU = 1400
	}
	must.Between(t, 299, tokens, 300)
}

// FuzzConfig checks that the guest's parser reads the settings back, or that they
// are refused.
func FuzzConfig(f *testing.F) {
	f.Add("tap", "10.0.0.2/24", "2001:db8::2/64", "10.0.0.1", "2001:db8::1", "kernel.panic", "1", []byte{2, 0, 0, 0, 0, 1}, 1500)
	f.Add("tap0", "10.0.0.2/31", "", "10.0.0.3", "", "net.ipv4.tcp_wmem", "4096 87380 4194304", []byte(nil), 0)
	f.Add(`"`, "10.0.0.2/32", "::1%eth0/64", "::ffff:1.2.3.4", "fe80::1%a\"b", "a=b", "c;d", []byte{1}, 9000)
	f.Fuzz(func(t *testing.T, name, address, address6, gateway, gateway6, sysctl, value string, mac []byte, mtu int) {
		n := lkl.Interface{Name: name, MTU: mtu}
		if len(mac) > 0 {
			n.MAC = mac
		}
		n.Address, _ = netip.ParsePrefix(address)
		n.Address6, _ = netip.ParsePrefix(address6)
		n.Gateway, _ = netip.ParseAddr(gateway)
		n.Gateway6, _ = netip.ParseAddr(gateway6)
		config := lkl.Config{
			Interfaces: []lkl.Interface{n},
			Gateway:    n.Gateway, Gateway6: n.Gateway6,
			Sysctl: map[string]string{sysctl: value},
		}
		text, err := config.Encode(0)
		if err != nil {
			must.ErrorIs(t, err, lkl.ErrConfig)
			return
		}
		got, err := parseConfig(text)
		must.NoError(t, err)

		want := map[string]string{"sysctl": sysctl + "=" + value}
		inner := map[string]string{"type": "rumpfd", "name": name}
		set := func(m map[string]string, key string, present bool, value string) {
			if present {
				m[key] = value
			}
		}
		set(want, "gateway", n.Gateway.IsValid(), n.Gateway.String())
		set(want, "gateway6", n.Gateway6.IsValid(), n.Gateway6.String())
		set(inner, "ip", n.Address.IsValid(), n.Address.Addr().String())
		set(inner, "masklen", n.Address.IsValid(), strconv.Itoa(n.Address.Bits()))
		set(inner, "ipv6", n.Address6.IsValid(), n.Address6.Addr().String())
		set(inner, "masklen6", n.Address6.IsValid(), strconv.Itoa(n.Address6.Bits()))
		set(inner, "ifgateway", n.Gateway.IsValid(), n.Gateway.String())
		set(inner, "ifgateway6", n.Gateway6.IsValid(), n.Gateway6.String())
		set(inner, "mac", len(mac) > 0, n.MAC.String())
		set(inner, "mtu", mtu != 0, strconv.Itoa(mtu))
		must.Eq(t, want, got.settings)
		must.Eq(t, []map[string]string{inner}, got.interfaces)
	})
}
