// SPDX-License-Identifier: MPL-2.0

package apps

import (
	"testing"

	"github.com/shoenig/test/must"
)

func TestBusyBox_RunsApplets(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-busybox.spt", testLimit) {
		return
	}
	serveUpgrades(t, "10.0.0.1:8001", "page")
	m := machine{"lkl-busybox.spt", buildRoot(t, "lkl-busybox", map[string]string{"words": "b 2\na 1\n"}), "", 32}
	for _, tc := range []struct {
		args   []string
		status int
		output string
	}{
		{[]string{"sort", "/words"}, 0, "a 1\nb 2\n"},
		{[]string{"awk", "{ sum += $2 } END { print sum }", "/words"}, 0, "3\n"},
		{[]string{"sed", "-n", `s/^\(.\) /\1: /p`, "/words"}, 0, "b: 2\na: 1\n"},
		{[]string{"sha256sum", "/words"}, 0, "f7a4bff8f799b965e0e664d98dea436d1ab938b41360de8983069816c851fb1b  /words\n"},
		{[]string{"grep", "-c", "missing", "/words"}, 1, "0\n"},
		{[]string{"tar", "cf", "/words.tar", "words"}, 0, ""},
		{[]string{"gzip", "/words.tar"}, 0, ""},
		{[]string{"gunzip", "/words.tar.gz"}, 0, ""},
		{[]string{"tar", "tf", "/words.tar"}, 0, "words\n"},
		{[]string{"xargs", "-a", "/words", "echo"}, 0, "b 2 a 1\n"},
		{[]string{"wget", "-q", "-O", "-", "http://10.0.0.1:8001/"}, 0, "page"},
		{[]string{"nc", "-z", "10.0.0.1", "8002"}, 1, ""},
		{[]string{"false"}, 1, ""},
		{[]string{"sh", "-c", "ls"}, 127, "sh: applet not found\n"},
		{[]string{"time", "ls"}, 1, "time: vfork: Function not implemented\n"},
	} {
		status, out := m.start(t, tc.args...).output()
		must.Eq(t, tc.output, out, must.Sprint(tc.args))
		must.Eq(t, tc.status, status, must.Sprint(tc.args))
	}
	status, out := m.start(t, "ping", "-q", "-c", "1", "-W", "1", "10.0.0.9").output()
	must.StrContains(t, out, "\n1 packets transmitted, 0 packets received, 100% packet loss\n")
	must.Eq(t, 1, status)
}
