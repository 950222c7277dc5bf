// SPDX-License-Identifier: MPL-2.0

package hostcheck

import (
	"testing"

	"github.com/shoenig/test/must"
)

func TestJudgeKernel_RefusesOldVersions(t *testing.T) {
	for release, want := range map[string]Status{
		"6.1.0-44-amd64": OK, "6.18.44": OK, "5.9-rc1": OK, "10.0.0": OK,
		"5.8.18": Failed, "4.19.0-27-amd64": Failed, "2.6.32": Failed, "unknown": Failed,
	} {
		must.Eq(t, want, judgeKernel(release).Status, must.Sprint(release))
	}
}

func TestNamesInRange_FindsOverlaps(t *testing.T) {
	const passwd = "root:x:0:0::/root:/bin/sh\nin:x:1879048192:1::/:/bin/sh\nlast:x:1891631103:1::/:/x\n" +
		"below:x:1879048191:1::/:/x\nabove:x:1891631104:1::/:/x\nshort\nnumber:x:y\n"
	must.Eq(t, []string{"in", "last"}, namesInRange(passwd, 2, 0))
	const subuid = "small:100000:65536\nlarge:100000:1879000000\ninside:1880000000:1\nempty:1880000000:0\nabove:1891631104:9\n"
	must.Eq(t, []string{"large", "inside"}, namesInRange(subuid, 1, 2))
}

func TestParseMount_DecodesOptionalFieldsAndEscapes(t *testing.T) {
	const line = `36 35 98:0 /root /mnt/a\040b rw,noexec shared:1 master:2 - ext3 /dev/my\134disk rw,errors=continue`
	m, found := parseMount(line, "36")
	must.True(t, found)
	must.Eq(t, "/mnt/a b", m.point)
	must.Eq(t, []string{"rw", "noexec"}, m.options)
	must.Eq(t, "ext3", m.fsType)
	must.Eq(t, `/dev/my\disk`, m.source)
	for _, wrong := range []string{"", "36", "36 35 98:0 / /mnt rw - ext3", "36 35 98:0 - a b c"} {
		_, found := parseMount(wrong, "36")
		must.False(t, found, must.Sprint(wrong))
	}
	_, found = parseMount(line, "3")
	must.False(t, found)
}

func TestRedact_HidesPasswords(t *testing.T) {
	for value, want := range map[string]string{
		"http://proxy:3128":             "http://proxy:3128",
		"http://user:secret@proxy:3128": "http://xxxxx@proxy:3128",
		"http://secret@proxy":           "http://xxxxx@proxy",
		"user:secret@proxy:3128":        "(not shown, because it contains a password)",
		"http://u:se%cret@proxy":        "(not shown, because it contains a password)",
		"localhost,.example.com":        "localhost,.example.com",
	} {
		must.Eq(t, want, redact(value), must.Sprint(value))
	}
}

func TestWorst_PrefersFaults(t *testing.T) {
	must.Eq(t, Failed, Worst(Failed, Warning))
	must.Eq(t, Warning, Worst(OK, Warning))
	must.Eq(t, Info, Worst("", Info))
	must.Eq(t, OK, Worst("", OK))
}
