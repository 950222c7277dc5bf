// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"syscall"
	"testing"

	"github.com/shoenig/test/must"
)

func TestParseSignal(t *testing.T) {
	for name, want := range map[string]syscall.Signal{
		"SIGTERM": syscall.SIGTERM, "sigint": syscall.SIGINT, "HUP": syscall.SIGHUP, "9": syscall.SIGKILL,
		"": 0, "SIG": 0, "SIGNONE": 0, "0": 0, "-1": 0, "999": 0,
	} {
		got, err := parseSignal(name)
		must.Eq(t, want, got, must.Sprint(name))
		must.Eq(t, want == 0, err != nil, must.Sprint(name))
	}
}
