// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/ext4"
)

func TestHosts_Validate(t *testing.T) {
	var list problems.List
	valid := TaskConfig{Hostname: "web-1.example.org", ExtraHosts: []string{
		"db:10.0.0.5", "db.example.org:[2001:db8::5]", "v6:2001:db8::6", "a_b=10.0.0.6", "host.docker.internal:host-gateway",
	}}
	valid.validateHosts(&list)
	must.NoError(t, list.Err())
	for _, name := range []string{"-web", "web-", "web..x", "web_1", "web ", "web\n10.0.0.1 other", "ü", ".", strings.Repeat("x", 65)} {
		var list problems.List
		(&TaskConfig{Hostname: name}).validateHosts(&list)
		must.ErrorContains(t, list.Err(), "hostname", must.Sprint(name))
	}
	for _, entry := range []string{
		"", "db", "db:", ":10.0.0.5", "db:10.0.0", "db:[10.0.0.5", "db:fe80::1%eth0", "d b:10.0.0.5", "db:10.0.0.5\n", "db:gateway", "#:10.0.0.5",
	} {
		var list problems.List
		(&TaskConfig{ExtraHosts: []string{"ok:10.0.0.5", entry}}).validateHosts(&list)
		must.ErrorContains(t, list.Err(), "extra_hosts[1]", must.Sprint(entry))
	}
}

const commonHosts = `127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
fe00::0 ip6-localnet
ff00::0 ip6-mcastprefix
ff02::1 ip6-allnodes
ff02::2 ip6-allrouters
`

func TestHosts_File(t *testing.T) {
	both := addresses{
		v4: netip.MustParsePrefix("10.0.0.2/24"), v6: netip.MustParsePrefix("2001:db8::2/64"),
		gateway4: netip.MustParseAddr("10.0.0.1"), gateway6: netip.MustParseAddr("2001:db8::1"),
	}
	onlyV6 := addresses{v6: both.v6, gateway6: netip.MustParseAddr("fe80::1")}
	group := func(ip string) *drivers.NetworkIsolationSpec {
		return &drivers.NetworkIsolationSpec{HostsConfig: &drivers.HostsConfig{Hostname: "group", Address: ip}}
	}
	invalid := group("10.0.0.2")
	invalid.HostsConfig.Hostname = "x\n10.6.6.6 db"
	cases := []struct {
		name      string
		config    TaskConfig
		isolation *drivers.NetworkIsolationSpec
		addresses addresses
		want      string
		wrong     string // part of the error
	}{
		{"both families", TaskConfig{}, nil, both, "10.0.0.2 web-0a1b2c3d\n2001:db8::2 web-0a1b2c3d\n", ""},
		{"one family", TaskConfig{}, nil, onlyV6, "2001:db8::2 web-0a1b2c3d\n", ""},
		{"no network", TaskConfig{}, nil, addresses{}, "127.0.1.1 web-0a1b2c3d\n", ""},
		{"hostname", TaskConfig{Hostname: "x"}, nil, onlyV6, "2001:db8::2 x\n", ""},
		{"qualified hostname", TaskConfig{Hostname: "x.example.org"}, nil, onlyV6, "2001:db8::2 x.example.org x\n", ""},
		{"the group's hostname", TaskConfig{}, group("10.0.0.2"), both, "10.0.0.2 group\n2001:db8::2 group\n", ""},
		{"the group's hostname elsewhere", TaskConfig{}, group("10.9.9.9"), onlyV6, "10.9.9.9 group\n2001:db8::2 group\n", ""},
		{"no hostname of the group", TaskConfig{}, invalid, onlyV6, "2001:db8::2 web-0a1b2c3d\n", ""},
		{"hostname and the group's", TaskConfig{Hostname: "x"}, group("10.0.0.2"), both, "10.0.0.2 x group\n2001:db8::2 x group\n", ""},
		{
			"extra hosts",
			TaskConfig{ExtraHosts: []string{"db:10.0.0.5", "db:[2001:db8::5]"}},
			nil, onlyV6,
			"10.0.0.5 db\n2001:db8::5 db\n2001:db8::2 web-0a1b2c3d\n", "",
		},
		{
			"the gateway",
			TaskConfig{ExtraHosts: []string{"host:host-gateway"}},
			nil, both,
			"10.0.0.1 host\n2001:db8::1 host\n10.0.0.2 web-0a1b2c3d\n2001:db8::2 web-0a1b2c3d\n", "",
		},
		{"no usable gateway", TaskConfig{ExtraHosts: []string{"host:host-gateway"}}, nil, onlyV6, "", "has no gateway"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			task := &drivers.TaskConfig{Name: "web", AllocID: "0a1b2c3d-1111", NetworkIsolation: c.isolation}
			got, err := job{task: task, config: c.config}.etcHosts(c.addresses)
			if c.wrong != "" {
				must.ErrorContains(t, err, c.wrong)
				return
			}
			must.NoError(t, err)
			must.Eq(t, commonHosts+c.want, got)
		})
	}
}

func TestLinux_ResolvesItsNames(t *testing.T) {
	p := newTestPlugin(t)
	n := newTestNetwork(t)
	within(t, n.alloc, func(h *netlink.Handle) { addAddress(t, h, "eth9", "fd00:78::5/64") })
	task := p.linuxIn(t, n, "names.c", TaskConfig{
		Hostname: "web.example.org", ExtraHosts: []string{"db:192.0.2.5", "db:[2001:db8::5]", "host:host-gateway"},
		Args: []string{"web.example.org", "web", "db", "host"},
	})
	handle, _, err := p.StartTask(task)
	must.NoError(t, err)
	must.Eq(t, 0, p.wait(t, task).ExitCode, must.Sprint(console(task)))
	waitForLine(t, task, "hostname: web.example.org")
	waitForLine(t, task, "web.example.org: "+allocIP+" fd00:78::5")
	waitForLine(t, task, "web: "+allocIP+" fd00:78::5")
	waitForLine(t, task, "db: 192.0.2.5 2001:db8::5")
	waitForLine(t, task, "host: "+peerIP)
	name, err := ext4.ReadFile(filepath.Join(stateOf(t, handle).Dir, diskFile), "/etc/hostname")
	must.NoError(t, err)
	must.Eq(t, "web.example.org\n", string(name))
}
