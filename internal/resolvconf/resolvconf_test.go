// SPDX-License-Identifier: MPL-2.0

package resolvconf

import (
	"fmt"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want Config
	}{
		"empty": {"", Config{}},
		"plain": {
			"nameserver 192.0.2.1\nnameserver 2001:db8::1\nsearch a.example b.example\noptions ndots:2 edns0\n",
			Config{[]string{"192.0.2.1", "2001:db8::1"}, []string{"a.example", "b.example"}, []string{"ndots:2", "edns0"}},
		},
		"comments": {
			"# nameserver 192.0.2.9\n; search x\n  # nameserver 192.0.2.8\nnameserver 192.0.2.1 # first\n" +
				"nameserver 192.0.2.2;second\nnameserver 192.0.2.3#third\nsearch a # b\noptions ndots:1 ; rotate\n",
			Config{[]string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}, []string{"a"}, []string{"ndots:1"}},
		},
		"white space": {
			"\n\n \t\nnameserver\t192.0.2.1\t \r\n  nameserver   192.0.2.2\r\n\tsearch\ta\t b\r\noptions \v rotate\f",
			Config{[]string{"192.0.2.1", "192.0.2.2"}, []string{"a", "b"}, []string{"rotate"}},
		},
		"no newline at the end":   {"nameserver 192.0.2.1", Config{Servers: []string{"192.0.2.1"}}},
		"the last search counts":  {"search a b\ndomain c d\n", Config{Searches: []string{"c"}}},
		"the last domain counts":  {"domain c\nsearch a b\nsearch\n", Config{Searches: []string{"a", "b"}}},
		"options add up":          {"options a\noptions b c\n", Config{Options: []string{"a", "b", "c"}}},
		"further words":           {"nameserver 192.0.2.1 192.0.2.2\n", Config{Servers: []string{"192.0.2.1"}}},
		"zone":                    {"nameserver fe80::1%eth0\n", Config{Servers: []string{"fe80::1%eth0"}}},
		"not an address":          {"nameserver dns.example\nnameserver 1.2.3\nnameserver 010.0.0.1\n", Config{}},
		"other keywords":          {"sortlist 192.0.2.0\nNAMESERVER 192.0.2.1\nnameservers 192.0.2.1\nlookup file\n", Config{}},
		"keyword without a value": {"nameserver\nsearch\noptions\ndomain\n", Config{}},
		"control characters":      {"search a\x00b \x1b[31m c\noptions \u200b ü d\n", Config{Searches: []string{"c"}, Options: []string{"d"}}},
	} {
		t.Run(name, func(t *testing.T) {
			got := Parse(c.text)
			must.Eq(t, c.want.String(), got.String())
			must.SliceContainsAll(t, c.want.Servers, got.Servers)
		})
	}
}

func TestOverride_ReplacesOnlyGivenFields(t *testing.T) {
	host := Config{[]string{"192.0.2.1"}, []string{"a"}, []string{"rotate"}}
	must.Eq(t, host, host.Override(Config{}))
	must.Eq(t, host, host.Override(Config{Servers: []string{}, Searches: []string{" "}}))
	must.Eq(t, Config{[]string{"192.0.2.2"}, []string{"a"}, []string{"rotate"}}, host.Override(Config{Servers: []string{"192.0.2.2"}}))
	must.Eq(t, Config{[]string{"192.0.2.1"}, []string{"b", "c"}, []string{"rotate"}}, host.Override(Config{Searches: []string{"b c"}}))
	must.Eq(t, Config{[]string{"192.0.2.1"}, []string{"a"}, []string{"ndots:2"}}, host.Override(Config{Options: []string{"ndots:2"}}))
}

func TestFitSearches(t *testing.T) {
	c := Config{Searches: []string{"."}}
	must.Eq(t, 0, c.FitSearches())
	must.Eq(t, "", c.String())

	domain := strings.Repeat("d", 40)
	c = Config{Searches: []string{domain, domain, domain, domain, domain, domain, domain}}
	must.Eq(t, 1, c.FitSearches())
	must.Eq(t, 6, len(c.Searches))
	must.Eq(t, "search"+strings.Repeat(" "+domain, 6)+"\n", c.String())

	c = Config{Searches: []string{strings.Repeat("d", 247)}} // a line of 254 bytes
	must.Eq(t, 0, c.FitSearches())
	c = Config{Searches: []string{strings.Repeat("d", 248)}}
	must.Eq(t, 1, c.FitSearches())
	must.Eq(t, "", c.String())
}

func TestString_SpreadsOptions(t *testing.T) {
	var c Config
	for i := range 100 {
		c.Options = append(c.Options, fmt.Sprint("option-", i))
	}
	for line := range strings.Lines(c.String()) {
		must.LessEq(t, maxLine+1, len(line))
	}
	must.Eq(t, c, Parse(c.String()))
}

func TestCheck(t *testing.T) {
	for _, server := range []string{"192.0.2.1", "::1", "fe80::1%eth0"} {
		must.NoError(t, CheckServer(server))
	}
	for _, server := range []string{"", "dns.example", "192.0.2.1\nnameserver 192.0.2.2", "fe80::1%a b", "fe80::1%a#", "192.0.2.1:53"} {
		must.Error(t, CheckServer(server), must.Sprint(server))
	}
	for _, words := range []string{"a.example", "a b", "ndots:2", ".", ""} {
		must.NoError(t, CheckWords(words))
	}
	for _, words := range []string{"a\nnameserver 192.0.2.2", "a#b", "a;", "a\x00", "é", "a\r"} {
		must.Error(t, CheckWords(words), must.Sprint(words))
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"nameserver 192.0.2.1 # c\nsearch a b\noptions x\n", "nameserver fe80::1%\x00\n", "search " + strings.Repeat("a ", 300),
		"options " + strings.Repeat("x", 1000), "\r\n;\x0b#", "nameserver ::ffff:127.0.0.1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := Parse(text)
		must.Eq(t, c.String(), Parse(c.String()).String())
		for _, server := range c.Servers {
			must.NoError(t, CheckServer(server))
		}
		c.FitSearches()
		for line := range strings.Lines(c.String()) {
			keyword, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			must.SliceContains(t, []string{"nameserver", "search", "options"}, keyword)
			must.NoError(t, CheckWords(value))
			must.False(t, keyword == "search" && len(line) > maxLine+1)
		}
	})
}
