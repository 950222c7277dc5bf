// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"os/exec"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// network is a guest's side of the tests' network.
var network = map[string]any{
	"interfaces": []map[string]string{{
		"type": "rumpfd", "name": "tap", "ip": "10.0.0.2", "masklen": "24", "ipv6": "fd00::2", "masklen6": "64",
	}},
	"gateway": "10.0.0.1",
}

// namespaced has the test run in a network of its own: see testenv.OwnNetwork.
func namespaced(t *testing.T) bool {
	t.Helper()
	testenv.Guest(t, "lkl-cc")
	testenv.Plugin(t)
	return testenv.OwnNetwork(t, 5*patience)
}

func ip(t *testing.T, args string) {
	t.Helper()
	out, err := exec.Command("ip", words(args)...).CombinedOutput()
	must.NoError(t, err, must.Sprintf("ip %s: %s", args, out))
}
