// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

// lklImage is the manifest of the LKL guests of 2020 and a second interface.
func lklImage() *Image {
	return &Image{Target: TargetSPT, ABI: 1, Manifest: []Device{{"rootfs", Block}, {"tap", Net}, {"tap2", Net}}}
}

func TestCommandLine_IsByteExact(t *testing.T) {
	config := &LKLConfig{Interfaces: []LKLInterface{{Name: "tap", Address: netip.MustParsePrefix("10.0.0.2/24")}}}
	two := &LKLConfig{Interfaces: []LKLInterface{{Name: "tap2"}, {Name: "tap"}}}
	cases := []struct {
		name   string
		flavor Flavor
		in     Invocation
		want   string
	}{
		{"lkl, nothing at all", FlavorLKL, Invocation{}, `--`},
		{"lkl, arguments", FlavorLKL, Invocation{Args: []string{"-c", "/conf", "--", "--config", ""}}, `-- -c /conf -- --config ""`},
		{"lkl, the environment sorted", FlavorLKL, Invocation{Env: map[string]string{"B": "2", "A": "1", "A_": ""}}, `A=1 A_= B=2 --`},
		{
			"lkl, escapes", FlavorLKL,
			Invocation{Env: map[string]string{"E": "a b\t'\"\\"}, Args: []string{"two words", "\n\v\f\r", `\"`}},
			"E=a\\ b\\\t\\'\\\"\\\\ -- two\\ words \\\n\\\v\\\f\\\r \\\\\\\"",
		},
		{"lkl, other bytes as they are", FlavorLKL, Invocation{Args: []string{"ä\xff\x01$`*"}}, "-- ä\xff\x01$`*"},
		{"lkl, an empty configuration", FlavorLKL, Invocation{Config: &LKLConfig{}}, `--config {} --`},
		{
			"lkl, an interface", FlavorLKL,
			Invocation{Env: map[string]string{"HOME": "/"}, Config: config, Args: []string{"x"}},
			`__RUMP_FDINFO_NET_tap=4 HOME=/ --config ` +
				`{\"interfaces\":[{\"type\":\"rumpfd\",\"name\":\"tap\",\"ip\":\"10.0.0.2\",\"masklen\":\"24\"}]} -- x`,
		},
		{
			"lkl, two interfaces", FlavorLKL,
			Invocation{Config: two},
			`__RUMP_FDINFO_NET_tap2=5 __RUMP_FDINFO_NET_tap=4 --config ` +
				`{\"interfaces\":[{\"type\":\"rumpfd\",\"name\":\"tap2\"},{\"type\":\"rumpfd\",\"name\":\"tap\"}]} --`,
		},
		{"solo5, nothing", FlavorSolo5, Invocation{}, ``},
		{"solo5, arguments", FlavorSolo5, Invocation{Env: map[string]string{"A": "1"}, Args: []string{"--solo5:quiet", `a"b\`, "ä"}}, `--solo5:quiet a"b\ ä`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := CommandLine(c.flavor, lklImage(), c.in)
			must.NoError(t, err)
			must.Eq(t, c.want, got)
		})
	}
}

func TestCommandLine_Refuses(t *testing.T) {
	env := func(name, value string) Invocation { return Invocation{Env: map[string]string{name: value}} }
	args := func(words ...string) Invocation { return Invocation{Args: words} }
	cases := []struct {
		name   string
		flavor Flavor
		in     Invocation
		want   error
		says   string
	}{
		{"an unknown flavour", "rumprun", Invocation{}, ErrFlavor, "rumprun"},
		{"lkl, a zero byte in an argument", FlavorLKL, args("a", "b\x00"), ErrWord, `argument 2 ("b\x00")`},
		{"lkl, a zero byte in a value", FlavorLKL, env("A", "\x00"), ErrWord, "variable A"},
		{"lkl, a zero byte in a name", FlavorLKL, env("A\x00", ""), ErrWord, "variable A"},
		{"lkl, no name", FlavorLKL, env("", "x"), ErrWord, "without a name"},
		{"lkl, an equals sign in a name", FlavorLKL, env("A=B", "x"), ErrWord, `"A=B"`},
		{"lkl, an option as a name", FlavorLKL, env("-c", "x"), ErrWord, `"-c"`},
		{"lkl, Solo5's own option as a name", FlavorLKL, env("--solo5:quiet", "x"), ErrWord, `"--solo5:quiet"`},
		{"lkl, a name of the guest's devices", FlavorLKL, env("__RUMP_FDINFO_NET_tap", "9"), ErrWord, "__RUMP_FDINFO_NET_tap"},
		{"lkl, a name of 9P", FlavorLKL, env("9PFS_MNT", "/"), ErrWord, "9PFS_MNT"},
		{"lkl, kernel arguments too long", FlavorLKL, env("LKL_BOOT_CMDLINE", strings.Repeat("x", 258)), ErrTooLong, "258 bytes, 3 more than 255"},
		{"lkl, a wrong configuration", FlavorLKL, Invocation{Config: &LKLConfig{DelayMain: -1}}, ErrConfig, "delay"},
		{"lkl, no such interface", FlavorLKL, Invocation{Config: &LKLConfig{Interfaces: []LKLInterface{{Name: "eth0"}}}}, ErrConfig, "eth0"},
		{"lkl, a disk as interface", FlavorLKL, Invocation{Config: &LKLConfig{Interfaces: []LKLInterface{{Name: "rootfs"}}}}, ErrConfig, "rootfs"},
		{"lkl, too long", FlavorLKL, args("a", strings.Repeat(" ", 4100)), ErrTooLong, "8205 bytes, 14 more than 8191"},
		{"solo5, a configuration", FlavorSolo5, Invocation{Config: &LKLConfig{}}, ErrConfig, "solo5"},
		{"solo5, white space", FlavorSolo5, args("a b"), ErrWord, `argument 1 ("a b")`},
		{"solo5, an empty word", FlavorSolo5, args("a", ""), ErrWord, `argument 2 ("")`},
		{"solo5, a zero byte", FlavorSolo5, args("\x00"), ErrWord, "argument 1"},
		{"solo5, too long", FlavorSolo5, args("a", strings.Repeat("x", 9000)), ErrTooLong, "8968 bytes more"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := CommandLine(c.flavor, lklImage(), c.in)
			must.ErrorIs(t, err, c.want)
			must.StrContains(t, err.Error(), c.says)
		})
	}
}

func TestCommandLine_TellsEveryMistakeAtOnce(t *testing.T) {
	_, err := CommandLine(FlavorLKL, nil, Invocation{
		Env:    map[string]string{"-x": "", "9PFS_FD": "3"},
		Args:   []string{"\x00", strings.Repeat("y", 9000)},
		Config: &LKLConfig{DelayMain: -1, Interfaces: []LKLInterface{{Name: "tap"}}},
	})
	for _, says := range []string{`"-x"`, "9PFS_FD", "argument 1", "argument 2", "delay", `"tap"`} {
		must.ErrorContains(t, err, says)
	}
	must.ErrorIs(t, err, ErrWord)
	must.ErrorIs(t, err, ErrTooLong)
	must.ErrorIs(t, err, ErrConfig)
}

func TestCommandLine_TakesTheLastByteOfItsLimits(t *testing.T) {
	for flavor, overhead := range map[Flavor]int{FlavorLKL: len("-- "), FlavorSolo5: 0} {
		full := strings.Repeat("x", MaxCommandLine-overhead)
		got, err := CommandLine(flavor, nil, Invocation{Args: []string{full}})
		must.NoError(t, err)
		must.Eq(t, MaxCommandLine, len(got))
		_, err = CommandLine(flavor, nil, Invocation{Args: []string{full + "x"}})
		must.ErrorIs(t, err, ErrTooLong)
	}
	_, err := CommandLine(FlavorLKL, nil, Invocation{Env: map[string]string{LKLBootVariable: strings.Repeat("x", 255)}})
	must.NoError(t, err)
}

func TestJoin_IsWhatTheStockTendersDo(t *testing.T) {
	got, err := Join([]string{"a b", "", `"c"`})
	must.NoError(t, err)
	must.Eq(t, `a b  "c"`, got)
	got, err = Join([]string{"", "", "a"})
	must.NoError(t, err)
	must.Eq(t, "  a", got)
	_, err = Join([]string{strings.Repeat("x", MaxCommandLine), ""})
	must.ErrorIs(t, err, ErrTooLong)
	_, err = Join([]string{"\x00"})
	must.ErrorIs(t, err, ErrWord)
}

func TestFlavor_FollowsTheNoteOrTheManifest(t *testing.T) {
	must.Eq(t, FlavorLKL, (&Image{Features: FeatureConfig}).Flavor())
	must.Eq(t, FlavorSolo5, (&Image{Features: FeatureMemory}).Flavor())

	rootfs, tap, control := Device{"rootfs", Block}, Device{"tap", Net}, Device{"control", Net}
	cases := []struct {
		devices []Device
		want    Flavor
		control bool
	}{
		{nil, FlavorSolo5, false},
		{[]Device{rootfs}, FlavorSolo5, false},
		{[]Device{tap}, FlavorSolo5, false},
		{[]Device{rootfs, tap}, FlavorLKL, false},
		{[]Device{control, tap, rootfs}, FlavorLKL, true},
		{[]Device{{"rootfs", Net}, tap}, FlavorSolo5, false},
		{[]Device{rootfs, {"tap", Block}}, FlavorSolo5, false},
		{[]Device{rootfs, tap, {"control", Block}}, FlavorLKL, false},
	}
	for _, c := range cases {
		m := &Image{Manifest: c.devices}
		must.Eq(t, c.want, m.Flavor(), must.Sprint(c.devices))
		must.Eq(t, c.control, m.HasControl(), must.Sprint(c.devices))
	}
}

// FuzzCommandLineLKL checks that the guest gets the words that were given, or
// that they were refused for a reason.
func FuzzCommandLineLKL(f *testing.F) {
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
		in := Invocation{
			Env:  make(map[string]string),
			Args: strings.Split(args, "\x00"),
			Config: &LKLConfig{
				Interfaces: []LKLInterface{{Name: "tap"}},
				Sysctl:     map[string]string{sysctl: value},
			},
		}
		for _, v := range strings.Split(env, "\x00") {
			name, value, _ := strings.Cut(v, "=")
			in.Env[name] = value
		}
		line, err := CommandLine(FlavorLKL, lklImage(), in)
		if err != nil {
			must.True(t, refusable(in), must.Sprintf("refused without a reason: %v", err))
			return
		}
		must.LessEq(t, MaxCommandLine, len(line))
		got, err := startLKL(line)
		must.NoError(t, err)
		must.Eq(t, in.Args, got.args)

		want := []string{"__RUMP_FDINFO_NET_tap=4"}
		for _, name := range slices.Sorted(maps.Keys(in.Env)) {
			want = append(want, name+"="+in.Env[name])
		}
		must.Eq(t, want, got.env)
		config, err := parseConfig(got.config)
		must.NoError(t, err)
		must.Eq(t, map[string]string{"sysctl": sysctl + "=" + value}, config.settings)
	})
}

// refusable tells, more coarsely than the code, whether there is a reason to
// refuse an invocation.
func refusable(in Invocation) bool {
	size := 200 // the configuration but for its sysctl, and all separators
	for name, value := range in.Env {
		if name == "" || strings.ContainsAny(name[:1], "-_9") || name == LKLBootVariable {
			return true
		}
		size += 2*len(name) + 2*len(value) + 2
	}
	for _, w := range in.Args {
		size += 2*len(w) + 3
	}
	return size > MaxCommandLine || in.Config.Validate() != nil
}

// FuzzCommandLineSolo5 checks that a guest that splits at white space gets the
// words that were given.
func FuzzCommandLineSolo5(f *testing.F) {
	for _, s := range []string{"", "a", "a\x00b\x00--c=d", "a b", "a\x00\x00b", "'\x00\"\\", "\v\x00\u00a0\u2003"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, args string) {
		words := strings.Split(args, "\x00")
		line, err := CommandLine(FlavorSolo5, nil, Invocation{Args: words})
		isWhite := func(r rune) bool { return r < 0x80 && strings.ContainsRune(" \t\n\v\f\r", r) }
		if err != nil {
			must.True(t, len(args) > MaxCommandLine || slices.Contains(words, "") || strings.ContainsFunc(args, isWhite))
			return
		}
		must.Eq(t, words, strings.FieldsFunc(line, isWhite))
	})
}
