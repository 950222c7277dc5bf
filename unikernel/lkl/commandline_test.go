// SPDX-License-Identifier: MPL-2.0

package lkl_test

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/cmdline"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

// legacyGuest has the manifest of a legacy guest and a second interface.
func legacyGuest() *unikernel.Info {
	return &unikernel.Info{Target: unikernel.TargetSPT, ABI: 1, Manifest: []unikernel.Device{
		{Name: "rootfs", Type: unikernel.Block}, {Name: "tap", Type: unikernel.Net}, {Name: "tap2", Type: unikernel.Net},
	}}
}

type invocation struct {
	env    map[string]string
	args   []string
	config *lkl.Config
}

func (in invocation) commandLine() (string, error) {
	return lkl.CommandLine(legacyGuest(), in.config, in.env, in.args)
}

func TestCommandLine_IsByteExact(t *testing.T) {
	config := &lkl.Config{Interfaces: []lkl.Interface{{Name: "tap", Address: netip.MustParsePrefix("10.0.0.2/24")}}}
	two := &lkl.Config{Interfaces: []lkl.Interface{{Name: "tap2"}, {Name: "tap"}}}
	cases := []struct {
		name string
		in   invocation
		want string
	}{
		{"nothing", invocation{}, `--`},
		{"arguments", invocation{args: []string{"-c", "/conf", "--", "--config", ""}}, `-- -c /conf -- --config ""`},
		{"sorted environment", invocation{env: map[string]string{"B": "2", "A": "1", "A_": ""}}, `A=1 A_= B=2 --`},
		{
			"escapes",
			invocation{env: map[string]string{"E": "a b\t'\"\\"}, args: []string{"two words", "\n\v\f\r", `\"`}},
			"E=a\\ b\\\t\\'\\\"\\\\ -- two\\ words \\\n\\\v\\\f\\\r \\\\\\\"",
		},
		{"other bytes unchanged", invocation{args: []string{"ä\xff\x01$`*"}}, "-- ä\xff\x01$`*"},
		{"an empty configuration", invocation{config: &lkl.Config{}}, `--config {} --`},
		{
			"an interface",
			invocation{env: map[string]string{"HOME": "/"}, config: config, args: []string{"x"}},
			`__RUMP_FDINFO_NET_tap=4 HOME=/ --config ` +
				`{\"interfaces\":[{\"type\":\"rumpfd\",\"name\":\"tap\",\"ip\":\"10.0.0.2\",\"masklen\":\"24\"}]} -- x`,
		},
		{
			"two interfaces",
			invocation{config: two},
			`__RUMP_FDINFO_NET_tap2=5 __RUMP_FDINFO_NET_tap=4 --config ` +
				`{\"interfaces\":[{\"type\":\"rumpfd\",\"name\":\"tap2\"},{\"type\":\"rumpfd\",\"name\":\"tap\"}]} --`,
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.in.commandLine()
			must.NoError(t, err)
			must.Eq(t, c.want, got)
		})
	}
}

func TestCommandLine_RefusesInvalidInput(t *testing.T) {
	env := func(name, value string) invocation { return invocation{env: map[string]string{name: value}} }
	args := func(words ...string) invocation { return invocation{args: words} }
	cases := []struct {
		name string
		in   invocation
		want error
		says string
	}{
		{"a NUL in an argument", args("a", "b\x00"), cmdline.ErrWord, `argument 2 (2 bytes)`},
		{"a NUL in a value", env("A", "\x00"), cmdline.ErrWord, `variable "A`},
		{"a NUL in a name", env("A\x00", ""), cmdline.ErrWord, `variable "A`},
		{"no name", env("", "x"), cmdline.ErrWord, "no name"},
		{"an equals sign in a name", env("A=B", "x"), cmdline.ErrWord, `"A=B"`},
		{"an option as a name", env("-c", "x"), cmdline.ErrWord, `"-c"`},
		{"Solo5's own option as a name", env("--solo5:quiet", "x"), cmdline.ErrWord, `"--solo5:quiet"`},
		{"a name of the guest's devices", env("__RUMP_FDINFO_NET_tap", "9"), cmdline.ErrWord, "__RUMP_FDINFO_NET_tap"},
		{"a name of 9P", env("9PFS_MNT", "/"), cmdline.ErrWord, "9PFS_MNT"},
		{"kernel arguments too long", env("LKL_BOOT_CMDLINE", strings.Repeat("x", 258)), cmdline.ErrTooLong, "258 bytes, 3 more than 255"},
		{"an invalid configuration", invocation{config: &lkl.Config{Root: "/"}}, lkl.ErrConfig, "root"},
		{"an unknown interface", invocation{config: &lkl.Config{Interfaces: []lkl.Interface{{Name: "eth0"}}}}, lkl.ErrConfig, "eth0"},
		{"a disk as interface", invocation{config: &lkl.Config{Interfaces: []lkl.Interface{{Name: "rootfs"}}}}, lkl.ErrConfig, "rootfs"},
		{"too long", args("a", strings.Repeat(" ", 4100)), cmdline.ErrTooLong, "8205 bytes, 14 more than 8191"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.in.commandLine()
			must.ErrorIs(t, err, c.want)
			must.StrContains(t, err.Error(), c.says)
		})
	}
}

func TestCommandLine_ReportsEveryMistake(t *testing.T) {
	_, err := invocation{
		env:    map[string]string{"-x": "", "9PFS_FD": "3"},
		args:   []string{"\x00", strings.Repeat("y", 9000)},
		config: &lkl.Config{Root: "/", Interfaces: []lkl.Interface{{Name: "eth0"}}},
	}.commandLine()
	for _, says := range []string{`"-x"`, "9PFS_FD", "argument 1", "argument 2", "root", `"eth0"`} {
		must.ErrorContains(t, err, says)
	}
	must.ErrorIs(t, err, cmdline.ErrWord)
	must.ErrorIs(t, err, cmdline.ErrTooLong)
	must.ErrorIs(t, err, lkl.ErrConfig)
}

func TestCommandLine_AcceptsTheLimits(t *testing.T) {
	full := strings.Repeat("x", cmdline.MaxLength-len("-- "))
	got, err := invocation{args: []string{full}}.commandLine()
	must.NoError(t, err)
	must.Eq(t, cmdline.MaxLength, len(got))
	_, err = invocation{args: []string{full + "x"}}.commandLine()
	must.ErrorIs(t, err, cmdline.ErrTooLong)
	_, err = invocation{env: map[string]string{lkl.BootVariable: strings.Repeat("x", 255)}}.commandLine()
	must.NoError(t, err)
}

func TestCommandLine_IsLongForGuestsThatAcceptIt(t *testing.T) {
	env := map[string]string{"A": strings.Repeat(" ", 2<<20-10)}
	for _, c := range []struct {
		target   unikernel.Target
		features unikernel.Features
		long     bool
	}{
		{unikernel.TargetSPT, unikernel.FeatureConfig | unikernel.FeatureCommandLine, true},
		{unikernel.TargetSPT, ^unikernel.FeatureCommandLine, false},
		{unikernel.TargetHVT, unikernel.FeatureConfig | unikernel.FeatureCommandLine, false},
	} {
		guest := &unikernel.Info{Target: c.target, Features: c.features}
		line, err := lkl.CommandLine(guest, nil, env, nil)
		if c.long {
			must.NoError(t, err)
			got, err := parseLine(line)
			must.NoError(t, err)
			must.Eq(t, []string{"A=" + env["A"]}, got.env)
			_, err = lkl.CommandLine(guest, nil, env, []string{strings.Repeat("x", 20)})
			must.ErrorIs(t, err, cmdline.ErrTooLong)
			must.ErrorContains(t, err, "more than 4194304")
			must.ErrorContains(t, err, `variable "A"`)
			continue
		}
		must.ErrorIs(t, err, cmdline.ErrTooLong)
	}
}

// FuzzCommandLine checks that the guest reads the given words, or that there is a
// reason to refuse them.
func FuzzCommandLine(f *testing.F) {
	for _, s := range [][2]string{
		{"", ""},
		{"HOME=/\x00PATH=/bin:/usr/bin", "serve\x00--port\x0080"},
		{"A=a b\x00B='\"\\\x00=\x00-c=x\x00__RUMP_=", "\x00\x00 \x00\\\x00'it''s\"\x00--config\x00-c\x00--"},
		{"LKL_BOOT_CMDLINE=mem=32M debug", "\t\n\v\f\r\x00ä\xff"},
		{"9PFS_FD=1", strings.Repeat("\"", 5000)},
	} {
		f.Add(s[0], s[1], "net.ipv4.tcp_wmem", "4096 87380 2147483647")
	}
	f.Fuzz(func(t *testing.T, env, args, sysctl, value string) {
		in := invocation{
			env:  make(map[string]string),
			args: strings.Split(args, "\x00"),
			config: &lkl.Config{
				Interfaces: []lkl.Interface{{Name: "tap"}},
				Sysctl:     map[string]string{sysctl: value},
			},
		}
		for _, v := range strings.Split(env, "\x00") {
			name, value, _ := strings.Cut(v, "=")
			in.env[name] = value
		}
		line, err := in.commandLine()
		if err != nil {
			must.True(t, refusable(in), must.Sprintf("refused without a reason: %v", err))
			return
		}
		must.LessEq(t, cmdline.MaxLength, len(line))
		got, err := parseLine(line)
		must.NoError(t, err)
		must.Eq(t, in.args, got.args)

		want := []string{"__RUMP_FDINFO_NET_tap=4"}
		for _, name := range slices.Sorted(maps.Keys(in.env)) {
			want = append(want, name+"="+in.env[name])
		}
		must.Eq(t, want, got.env)
		config, err := parseConfig(got.config)
		must.NoError(t, err)
		must.Eq(t, map[string]string{"sysctl": sysctl + "=" + value}, config.settings)
	})
}

// refusable reports, more coarsely than the code, whether there is a reason to
// refuse an invocation.
func refusable(in invocation) bool {
	size := 200 // the configuration without sysctl, and all separators
	for name, value := range in.env {
		if name == "" || strings.ContainsAny(name[:1], "-_9") || name == lkl.BootVariable {
			return true
		}
		size += 2*len(name) + 2*len(value) + 2
	}
	for _, w := range in.args {
		size += 2*len(w) + 3
	}
	return size > cmdline.MaxLength || in.config.Validate(0) != nil
}
