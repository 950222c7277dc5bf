// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/ext4"
)

// hostResolvers makes the texts the host's resolver configurations during the test. An
// empty text is a missing file.
func hostResolvers(t *testing.T, texts ...string) {
	t.Helper()
	old := hostResolvConfs
	t.Cleanup(func() { hostResolvConfs = old })
	dir := t.TempDir()
	hostResolvConfs = nil
	for i, text := range texts {
		path := filepath.Join(dir, string(rune('a'+i)))
		if text != "" {
			must.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		}
		hostResolvConfs = append(hostResolvConfs, path)
	}
}

const (
	stubResolver    = "# local\nnameserver 127.0.0.53\noptions edns0\nsearch example.org\n"
	directResolver  = "nameserver 192.0.2.1\nnameserver ::1\nsearch example.org # ours\n"
	onLinkResolver  = "nameserver fe80::1%eth0\nnameserver 0.0.0.0\nnameserver ::ffff:127.0.0.1\n"
	manyServers     = "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n"
	withoutAComment = "nameserver 192.0.2.1\nsearch example.org\n"
)

func TestResolver(t *testing.T) {
	cases := []struct {
		name     string
		host     []string
		dns      *drivers.DNSConfig
		want     string
		warnings []string // parts of them
	}{
		{"the job's", []string{directResolver}, &drivers.DNSConfig{
			Servers: []string{"192.0.2.2", "192.0.2.3"}, Searches: []string{"a", "b"}, Options: []string{"ndots:2"},
		}, "nameserver 192.0.2.2\nnameserver 192.0.2.3\nsearch a b\noptions ndots:2\n", nil},
		{
			"the job's servers",
			[]string{stubResolver},
			&drivers.DNSConfig{Servers: []string{"192.0.2.2"}},
			"nameserver 192.0.2.2\nsearch example.org\noptions edns0\n", nil,
		},
		{
			"the job's search list",
			[]string{directResolver},
			&drivers.DNSConfig{Searches: []string{"a"}},
			"nameserver 192.0.2.1\nsearch a\n", nil,
		},
		{
			"the job's options",
			[]string{directResolver},
			&drivers.DNSConfig{Options: []string{"rotate"}},
			withoutAComment + "options rotate\n", nil,
		},
		{
			"no search list",
			[]string{directResolver},
			&drivers.DNSConfig{Searches: []string{"."}},
			"nameserver 192.0.2.1\n", nil,
		},
		{"an empty block", []string{directResolver}, &drivers.DNSConfig{}, withoutAComment, nil},
		{"the host's without loopback", []string{directResolver}, nil, withoutAComment, nil},
		{"the host's behind a stub", []string{stubResolver, directResolver}, nil, withoutAComment, nil},
		{"the host's behind two stubs", []string{stubResolver, onLinkResolver, directResolver}, nil, withoutAComment, nil},
		{"only a stub", []string{stubResolver, ""}, nil, "search example.org\noptions edns0\n", []string{"host itself: 127.0.0.53."}},
		{
			"only a stub, and the job's search list",
			[]string{stubResolver},
			&drivers.DNSConfig{Searches: []string{"a"}},
			"search a\noptions edns0\n",
			[]string{"host itself: 127.0.0.53."},
		},
		{
			"only on the host's links",
			[]string{onLinkResolver},
			nil, "",
			[]string{"fe80::1%eth0, 0.0.0.0, ::ffff:127.0.0.1"},
		},
		{"none", []string{""}, nil, "", []string{"host has none"}},
		{"many of the host", []string{manyServers}, nil, manyServers, nil},
		{
			"many of the job",
			[]string{""},
			&drivers.DNSConfig{Servers: []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"}},
			manyServers,
			[]string{"last 1 have no effect"},
		},
		{
			"a long search list",
			[]string{directResolver},
			&drivers.DNSConfig{Searches: []string{strings.Repeat("a", 200), strings.Repeat("b", 50), "c"}},
			"nameserver 192.0.2.1\nsearch " + strings.Repeat("a", 200) + "\n",
			[]string{"last 2 domains are left out"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			hostResolvers(t, c.host...)
			r := newGuestResolver(c.dns, addresses{v4: netip.MustParsePrefix("10.0.0.2/24")})
			must.Eq(t, c.want, r.String())
			must.SliceLen(t, len(c.warnings), r.warnings, must.Sprint(r.warnings))
			for i, warning := range c.warnings {
				must.StrContains(t, r.warnings[i], warning)
			}
		})
	}
}

func TestResolver_GuestWithoutNetworkNeedsNoServer(t *testing.T) {
	hostResolvers(t, stubResolver)
	must.SliceEmpty(t, newGuestResolver(nil, addresses{}).warnings)
}

func TestResolver_WarnsAboutServersOfTheOtherFamily(t *testing.T) {
	only4 := addresses{v4: netip.MustParsePrefix("10.0.0.2/24")}
	only6 := addresses{v6: netip.MustParsePrefix("2001:db8::2/64")}
	both := addresses{v4: only4.v4, v6: only6.v6}
	for _, c := range []struct {
		servers   []string
		addresses addresses
		warn      bool
	}{
		{[]string{"192.0.2.1"}, only4, false},
		{[]string{"192.0.2.1"}, only6, true},
		{[]string{"2001:db8::1"}, only4, true},
		{[]string{"192.0.2.1", "2001:db8::1"}, only6, false},
		{[]string{"2001:db8::1"}, both, false},
		{[]string{"192.0.2.1"}, addresses{}, false},
	} {
		hostResolvers(t, "")
		r := newGuestResolver(&drivers.DNSConfig{Servers: c.servers}, c.addresses)
		must.Eq(t, c.warn, len(r.warnings) == 1, must.Sprint(c.servers, r.warnings))
	}
}

func TestValidateDNS(t *testing.T) {
	var list problems.List
	validateDNS(&list, &drivers.DNSConfig{Servers: []string{"192.0.2.1", "fe80::1%eth0"}, Searches: []string{"."}, Options: []string{"ndots:2"}})
	validateDNS(&list, nil)
	must.NoError(t, list.Err())
	validateDNS(&list, &drivers.DNSConfig{
		Servers: []string{"192.0.2.1", "dns"}, Searches: []string{"a\nnameserver 192.0.2.2"}, Options: []string{"#"},
	})
	for _, field := range []string{"dns.servers[1]", "dns.searches[0]", "dns.options[0]"} {
		must.ErrorContains(t, list.Err(), field)
	}
}

func TestResolver_LoopbackOfHostIsAnEvent(t *testing.T) {
	hostResolvers(t, stubResolver)
	p := newTestPlugin(t)
	task := p.linux(t, "signals.c", TaskConfig{})
	events, err := p.TaskEvents(t.Context())
	must.NoError(t, err)
	handle := p.startLinux(t, task)
	for event := range events {
		if strings.Contains(event.Message, "no DNS server") {
			must.StrContains(t, event.Message, "127.0.0.53")
			must.StrContains(t, event.Message, "dns { servers")
			break
		}
	}
	conf, err := ext4.ReadFile(filepath.Join(stateOf(t, handle).Dir, diskFile), "/etc/resolv.conf")
	must.NoError(t, err)
	must.Eq(t, "search example.org\noptions edns0\n", string(conf))
}
