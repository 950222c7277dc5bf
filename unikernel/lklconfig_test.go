// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"
)

// fullConfig sets everything that can be set.
func fullConfig() LKLConfig {
	return LKLConfig{
		Interfaces: []LKLInterface{{
			Name:     "tap",
			Address:  netip.MustParsePrefix("10.0.0.2/24"),
			Address6: netip.MustParsePrefix("2001:db8::2/64"),
			Gateway:  netip.MustParseAddr("10.0.0.1"),
			Gateway6: netip.MustParseAddr("fe80::1"),
			MAC:      net.HardwareAddr{0x02, 0, 0x5e, 0xab, 0xcd, 0xef},
			MTU:      1400,
		}},
		Gateway:   netip.MustParseAddr("10.0.0.254"),
		Gateway6:  netip.MustParseAddr("2001:db8::1"),
		Sysctl:    map[string]string{"net.ipv4.tcp_wmem": "4096 87380 2147483647", "kernel.panic": "1"},
		Debug:     true,
		SingleCPU: true,
		DelayMain: 50 * time.Millisecond,
	}
}

func TestLKLConfig_IsByteExact(t *testing.T) {
	got, err := fullConfig().MarshalJSON()
	must.NoError(t, err)
	must.Eq(t, `{"interfaces":[{"type":"rumpfd","name":"tap","ip":"10.0.0.2","masklen":"24",`+
		`"ipv6":"2001:db8::2","masklen6":"64","mac":"02:00:5e:ab:cd:ef","mtu":"1400",`+
		`"ifgateway":"10.0.0.1","ifgateway6":"fe80::1"}],`+
		`"gateway":"10.0.0.254","gateway6":"2001:db8::1",`+
		`"sysctl":"kernel.panic=1;net.ipv4.tcp_wmem=4096 87380 2147483647",`+
		`"debug":"1","singlecpu":"1","delay_main":"50000"}`, string(got))

	got, err = LKLConfig{}.MarshalJSON()
	must.NoError(t, err)
	must.Eq(t, "{}", string(got))
}

func TestLKLConfig_TellsOfOffloads(t *testing.T) {
	got, err := LKLConfig{Interfaces: []LKLInterface{{Name: "tap", Offload: true}}}.MarshalJSON()
	must.NoError(t, err)
	must.Eq(t, `{"interfaces":[{"type":"rumpfd","name":"tap","offload":"1"}]}`, string(got))
}

func TestLKLConfig_TellsWhereTheRootIs(t *testing.T) {
	got, err := LKLConfig{Root: "storage"}.MarshalJSON()
	must.NoError(t, err)
	must.Eq(t, `{"root":"storage"}`, string(got))
}

func TestLKLConfig_TellsHowToStartTheProgram(t *testing.T) {
	got, err := LKLConfig{Program: LKLProgram{Directory: "/srv/my data", UID: 1000, GID: 100}}.MarshalJSON()
	must.NoError(t, err)
	must.Eq(t, `{"workdir":"/srv/my data","uid":"1000","gid":"100"}`, string(got))
	for _, directory := range []string{"srv", `/s"rv`, `/a\b`, "/ü", "/" + strings.Repeat("x", 4095)} {
		_, err := LKLConfig{Program: LKLProgram{Directory: directory}}.MarshalJSON()
		must.ErrorIs(t, err, ErrConfig, must.Sprint(directory))
	}
}

func TestLKLConfig_TellsWhatDisksCanDo(t *testing.T) {
	got, err := LKLConfig{Disks: []LKLDisk{{Name: "rootfs", Transfer: 1 << 20, Flush: true}, {Name: "data"}}}.MarshalJSON()
	must.NoError(t, err)
	must.Eq(t, `{"disks":[{"name":"rootfs","transfer":"1048576","flush":"1"},{"name":"data"}]}`, string(got))
	for _, disks := range [][]LKLDisk{{{}}, {{Name: `a"b`}}, {{Name: "data"}, {Name: "data"}}} {
		_, err := LKLConfig{Disks: disks}.MarshalJSON()
		must.ErrorIs(t, err, ErrConfig, must.Sprint(disks))
	}
}

func TestLKLConfig_TellsAGuestItsRoutes(t *testing.T) {
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	tap := []LKLInterface{{Name: "tap"}}
	got, err := LKLConfig{Interfaces: tap, Routes: []LKLRoute{
		{To: prefix("10.9.0.0/16"), Via: addr("10.0.0.7")}, {To: prefix("fd01::/64")},
	}}.MarshalJSON()
	must.NoError(t, err)
	must.Eq(t, `{"interfaces":[{"type":"rumpfd","name":"tap"}],"routes":[{"to":"10.9.0.0/16","via":"10.0.0.7"},{"to":"fd01::/64"}]}`, string(got))
	for name, routes := range map[string][]LKLRoute{
		"to nothing":           {{}},
		"to a station":         {{To: prefix("10.9.0.1/16")}},
		"of the other family":  {{To: prefix("10.9.0.0/16"), Via: addr("fe80::1")}},
		"through another zone": {{To: prefix("fd01::/64"), Via: addr("fe80::1%eth0")}},
		"too many":             slices.Repeat([]LKLRoute{{To: prefix("10.9.0.0/16")}}, 65),
	} {
		_, err := LKLConfig{Interfaces: tap, Routes: routes}.MarshalJSON()
		must.ErrorIs(t, err, ErrConfig, must.Sprint(name))
	}
	_, err = LKLConfig{Routes: []LKLRoute{{To: prefix("10.9.0.0/16")}}}.MarshalJSON()
	must.ErrorIs(t, err, ErrConfig)
}

func TestLKLConfig_TellsOfTheFSBaseRegister(t *testing.T) {
	got, err := LKLConfig{FSGSBase: true}.MarshalJSON()
	must.NoError(t, err)
	must.Eq(t, `{"fsgsbase":"1"}`, string(got))
}

func TestLKLConfig_IsTheSameThroughEncodingJSON(t *testing.T) {
	config := fullConfig()
	want, err := config.MarshalJSON()
	must.NoError(t, err)
	for _, v := range []any{config, &config} {
		got, err := json.Marshal(v)
		must.NoError(t, err)
		must.Eq(t, string(want), string(got))
	}
	config.DelayMain = -1
	_, err = json.Marshal(config)
	must.ErrorIs(t, err, ErrConfig)
}

func TestLKLConfig_Refuses(t *testing.T) {
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	first := func(c *LKLConfig) *LKLInterface { return &c.Interfaces[0] }
	cases := []struct {
		name   string
		change func(*LKLConfig)
		says   string
	}{
		{"an interface without a name", func(c *LKLConfig) { first(c).Name = "" }, "letters and digits"},
		{"a name that needs an escape", func(c *LKLConfig) { first(c).Name = `t"p` }, "letters and digits"},
		{"a name twice", func(c *LKLConfig) { c.Interfaces = append(c.Interfaces, LKLInterface{Name: "tap"}) }, `interface 2 ("tap"): its name is there twice`},
		{"an IPv6 address for IPv4", func(c *LKLConfig) { first(c).Address = prefix("2001:db8::2/24") }, "IPv4 address of a station"},
		{"an IPv4 address for IPv6", func(c *LKLConfig) { first(c).Address6 = prefix("10.0.0.2/24") }, "IPv6 address of a station"},
		{"a mapped address for IPv6", func(c *LKLConfig) { first(c).Address6 = netip.PrefixFrom(addr("::ffff:10.0.0.2"), 100) }, "IPv6 address of a station"},
		{"the unspecified address", func(c *LKLConfig) { first(c).Address = prefix("0.0.0.0/24") }, "IPv4 address of a station"},
		{"the unspecified address 6", func(c *LKLConfig) { first(c).Address6 = prefix("::/64") }, "IPv6 address of a station"},
		{"a multicast address", func(c *LKLConfig) { first(c).Address = prefix("224.0.0.1/24") }, "IPv4 address of a station"},
		{"a multicast address 6", func(c *LKLConfig) { first(c).Address6 = prefix("ff02::1/64") }, "IPv6 address of a station"},
		{"the broadcast address", func(c *LKLConfig) { first(c).Address = prefix("255.255.255.255/1") }, "IPv4 address of a station"},
		{"an address without length", func(c *LKLConfig) { first(c).Address = netip.PrefixFrom(addr("10.0.0.2"), -1) }, "prefix length"},
		{"an address 6 without length", func(c *LKLConfig) { first(c).Address6 = netip.PrefixFrom(addr("2001:db8::2"), 129) }, "prefix length"},
		{"a length of 0", func(c *LKLConfig) { first(c).Address = prefix("10.0.0.2/0") }, "1 to 32"},
		{"a length of 32", func(c *LKLConfig) { first(c).Address = prefix("10.0.0.2/32") }, "1 to 31"},
		{"a length of 0 for IPv6", func(c *LKLConfig) { first(c).Address6 = prefix("2001:db8::2/0") }, "1 to 128"},
		{"an interface's gateway elsewhere", func(c *LKLConfig) { first(c).Gateway = addr("10.0.1.1") }, "10.0.1.1"},
		{"an interface's gateway of the other kind", func(c *LKLConfig) { first(c).Gateway = addr("fe80::1") }, "fe80::1"},
		{"an interface as its own gateway", func(c *LKLConfig) { first(c).Gateway = addr("10.0.0.2") }, "10.0.0.2"},
		{"an interface's gateway 6 elsewhere", func(c *LKLConfig) { first(c).Gateway6 = addr("2001:db9::1") }, "2001:db9::1"},
		{"an interface's gateway 6 with a zone", func(c *LKLConfig) { first(c).Gateway6 = addr("fe80::1%eth0") }, "eth0"},
		{"an interface's gateway without an address", func(c *LKLConfig) { first(c).Address = netip.Prefix{} }, "its gateway 10.0.0.1"},
		{"a MAC of 8 bytes", func(c *LKLConfig) { first(c).MAC = make(net.HardwareAddr, 8) }, "MAC"},
		{"a MAC of none", func(c *LKLConfig) { first(c).MAC = net.HardwareAddr{} }, "MAC"},
		{"a MAC of zeroes", func(c *LKLConfig) { first(c).MAC = make(net.HardwareAddr, 6) }, "MAC"},
		{"a multicast MAC", func(c *LKLConfig) { first(c).MAC = net.HardwareAddr{1, 0, 0x5e, 0, 0, 1} }, "MAC"},
		{"a negative MTU", func(c *LKLConfig) { first(c).MTU = -1 }, "-1"},
		{"an MTU below IPv4's", func(c *LKLConfig) { first(c).MTU = 67 }, "67"},
		{"an MTU below IPv6's", func(c *LKLConfig) { first(c).MTU = 1279 }, "least for IPv6"},
		{"an MTU above Ethernet's", func(c *LKLConfig) { first(c).MTU = 1501 }, "1501"},
		{"a gateway elsewhere", func(c *LKLConfig) { c.Gateway = addr("192.0.2.1") }, "192.0.2.1"},
		{"a gateway 6 elsewhere", func(c *LKLConfig) { c.Gateway6 = addr("2001:db9::1") }, "2001:db9::1"},
		{"a gateway 6 with a zone", func(c *LKLConfig) { c.Gateway6 = addr("fe80::1%eth0") }, "eth0"},
		{"a root that is no device", func(c *LKLConfig) { c.Root = "/dev/rootfs" }, "/dev/rootfs"},
		{"a gateway without an interface", func(c *LKLConfig) { c.Interfaces = nil }, "10.0.0.254"},
		{"a sysctl without a name", func(c *LKLConfig) { c.Sysctl = map[string]string{"": "1"} }, "name"},
		{"a sysctl name with a blank", func(c *LKLConfig) { c.Sysctl = map[string]string{"a b": "1"} }, "name"},
		{"a sysctl name with an equals sign", func(c *LKLConfig) { c.Sysctl = map[string]string{"a=b": "1"} }, "name"},
		{"a sysctl name that is too long", func(c *LKLConfig) { c.Sysctl = map[string]string{strings.Repeat("n", 246): "1"} }, "246 bytes, 1 more than 245"},
		{"a sysctl without a value", func(c *LKLConfig) { c.Sysctl = map[string]string{"a": ""} }, "value"},
		{"a sysctl value with a quote", func(c *LKLConfig) { c.Sysctl = map[string]string{"a": `"`} }, "value"},
		{"a sysctl value with a backslash", func(c *LKLConfig) { c.Sysctl = map[string]string{"a": `\`} }, "value"},
		{"a sysctl value with a semicolon", func(c *LKLConfig) { c.Sysctl = map[string]string{"a": "1;b=2"} }, "value"},
		{"a sysctl value with a tab", func(c *LKLConfig) { c.Sysctl = map[string]string{"a": "1\t2"} }, "value"},
		{"a sysctl value that is not ASCII", func(c *LKLConfig) { c.Sysctl = map[string]string{"a": "ä"} }, "value"},
		{"sysctls that are too long", func(c *LKLConfig) {
			c.Sysctl = map[string]string{"a": strings.Repeat("1", 126), "b": strings.Repeat("2", 126)}
		}, "257 bytes, 2 more"},
		{"a negative delay", func(c *LKLConfig) { c.DelayMain = -time.Second }, "-1s"},
		{"a delay of hours", func(c *LKLConfig) { c.DelayMain = 2 * time.Hour }, "2h0m0s"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			config := fullConfig()
			c.change(&config)
			must.ErrorIs(t, config.Validate(), ErrConfig)
			must.ErrorContains(t, config.Validate(), c.says)
			_, err := config.MarshalJSON()
			must.ErrorIs(t, err, ErrConfig)
		})
	}
}

func TestLKLConfig_TakesTheEndsOfItsRanges(t *testing.T) {
	cases := map[string]func(*LKLConfig){
		"shortest lengths": func(c *LKLConfig) {
			c.Interfaces[0].Address, c.Interfaces[0].Address6 = netip.MustParsePrefix("10.0.0.2/1"), netip.MustParsePrefix("2001:db8::2/1")
		},
		"longest lengths": func(c *LKLConfig) {
			c.Interfaces[0].Address, c.Interfaces[0].Address6 = netip.MustParsePrefix("10.0.0.0/31"), netip.MustParsePrefix("2001:db8::2/128")
			c.Gateway, c.Gateway6 = netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fe80::1")
		},
		"today's guest, a network of one address": func(c *LKLConfig) {
			c.Features = FeatureConfig
			c.Interfaces[0].Address = netip.MustParsePrefix("10.0.0.2/32")
			c.Gateway, c.Interfaces[0].Gateway = netip.MustParseAddr("169.254.1.1"), netip.MustParseAddr("169.254.1.1")
		},
		"MTU 1500":         func(c *LKLConfig) { c.Interfaces[0].MTU = 1500 },
		"MTU 1280":         func(c *LKLConfig) { c.Interfaces[0].MTU = 1280 },
		"MTU 68, no IPv6":  func(c *LKLConfig) { *c = LKLConfig{Interfaces: []LKLInterface{{Name: "tap", MTU: 68}}} },
		"255 bytes sysctl": func(c *LKLConfig) { c.Sysctl = map[string]string{strings.Repeat("n", 245): strings.Repeat("1", 9)} },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			config := fullConfig()
			change(&config)
			must.NoError(t, config.Validate())
		})
	}
}

// The guest's table holds 300 tokens: 13 interfaces with everything set, not 14.
func TestLKLConfig_CountsTheGuestsTokens(t *testing.T) {
	config := fullConfig()
	for len(config.Interfaces) < 13 {
		next := config.Interfaces[0]
		next.Name = fmt.Sprintf("tap%d", len(config.Interfaces))
		config.Interfaces = append(config.Interfaces, next)
	}
	text, err := config.MarshalJSON()
	must.NoError(t, err)
	parsed, err := parseConfig(string(text))
	must.NoError(t, err)
	must.Eq(t, parsed.tokens, config.tokens())

	config.Interfaces = append(config.Interfaces, LKLInterface{Name: "a", MTU: 1400}, LKLInterface{Name: "b", MTU: 1400})
	must.ErrorContains(t, config.Validate(), "tokens")
}

// FuzzLKLConfig checks that the guest's parser reads back what was set, or
// that it was refused.
func FuzzLKLConfig(f *testing.F) {
	f.Add("tap", "10.0.0.2/24", "2001:db8::2/64", "10.0.0.1", "2001:db8::1", "kernel.panic", "1", []byte{2, 0, 0, 0, 0, 1}, 1500, int64(50000))
	f.Add("tap0", "10.0.0.2/31", "", "10.0.0.3", "", "net.ipv4.tcp_wmem", "4096 87380 4194304", []byte(nil), 0, int64(0))
	f.Add(`"`, "10.0.0.2/32", "::1%eth0/64", "::ffff:1.2.3.4", "fe80::1%a\"b", "a=b", "c;d", []byte{1}, 9000, int64(-1))
	f.Fuzz(func(t *testing.T, name, address, address6, gateway, gateway6, sysctl, value string, mac []byte, mtu int, delay int64) {
		n := LKLInterface{Name: name, MTU: mtu}
		if len(mac) > 0 {
			n.MAC = mac
		}
		n.Address, _ = netip.ParsePrefix(address)
		n.Address6, _ = netip.ParsePrefix(address6)
		n.Gateway, _ = netip.ParseAddr(gateway)
		n.Gateway6, _ = netip.ParseAddr(gateway6)
		config := LKLConfig{
			Interfaces: []LKLInterface{n},
			Gateway:    n.Gateway, Gateway6: n.Gateway6,
			Sysctl:    map[string]string{sysctl: value},
			DelayMain: time.Duration(delay),
		}
		text, err := json.Marshal(config)
		if err != nil {
			must.ErrorIs(t, err, ErrConfig)
			return
		}
		got, err := parseConfig(string(text))
		must.NoError(t, err)
		must.Eq(t, got.tokens, config.tokens())

		want := map[string]string{"sysctl": sysctl + "=" + value}
		inner := map[string]string{"type": "rumpfd", "name": name}
		set := func(m map[string]string, key string, there bool, value string) {
			if there {
				m[key] = value
			}
		}
		set(want, "gateway", n.Gateway.IsValid(), n.Gateway.String())
		set(want, "gateway6", n.Gateway6.IsValid(), n.Gateway6.String())
		set(want, "delay_main", delay >= 1000, strconv.FormatInt(delay/1000, 10))
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
