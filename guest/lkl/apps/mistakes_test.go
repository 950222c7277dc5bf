// SPDX-License-Identifier: MPL-2.0

package apps

import (
	"testing"

	"github.com/shoenig/test/must"
)

// A mistake in a configuration ends the program with a message in the task's log.
func TestServers_ReportMistakes(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-haproxy.spt", testLimit) {
		return
	}
	for _, tc := range []struct {
		app, config string
		args        []string
		status      int
		message     string
	}{
		{"haproxy", "global\n\twrong\n", []string{"-f", "/config"}, 1, "parsing [/config:2] : unknown keyword 'wrong' in 'global' section"},
		{"haproxy", "global\n\tmaster-worker\n", []string{"-f", "/config"}, 1, "Cannot fork."},
		{"lighttpd", "server.port = {\n", []string{"-D", "-f", "/config"}, 255, "source: /config line: 2"},
		{"lighttpd", "server.document-root = \"/\"\nserver.modules = (\"mod_cgi\")\n", []string{"-D", "-f", "/config"}, 255, "mod_cgi plugin not found"},
		{"mosquitto", "listener 1883\nwrong\n", []string{"-c", "/config"}, 3, "Error found at /config:2."},
		{"memcached", "", []string{"-u", "root", "-l", "10.9.9.9"}, 71, "10.9.9.9: Address not available"},
		{"redis", "daemonize yes\n", []string{"/config"}, 1, `Remove "daemonize yes".`},
		{"memcached", "", nil, 64, "can't run as root without the -u switch"},
	} {
		root := buildRoot(t, "lkl-"+tc.app, map[string]string{"config": tc.config})
		status, out := machine{"lkl-" + tc.app + ".spt", root, "", 32}.start(t, tc.args...).output()
		must.StrContains(t, out, tc.message)
		must.Eq(t, tc.status, status, must.Sprint(tc))
	}
}
