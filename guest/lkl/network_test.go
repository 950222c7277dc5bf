// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

const inNamespace = "LKL_GUEST_TEST_NAMESPACE"

// network is a guest's side of the tests' network.
var network = map[string]any{
	"interfaces": []map[string]string{{
		"type": "rumpfd", "name": "tap", "ip": "10.0.0.2", "masklen": "24", "ipv6": "fd00::2", "masklen6": "64",
	}},
	"gateway": "10.0.0.1",
}

// namespaced runs the test again, in a program of its own and that in a network
// namespace of its own, which has a tap "tap0" with 10.0.0.1/24 and fd00::1/64.
// It tells whether this is that program.
func namespaced(t *testing.T) bool {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Tun, testenv.Tool("ip"))
	testenv.Guest(t, "lkl-cc")
	testenv.Plugin(t)
	if os.Getenv(inNamespace) != "" {
		for _, args := range []string{
			"link set lo up", "tuntap add tap0 mode tap", "addr add 10.0.0.1/24 dev tap0",
			"-6 addr add fd00::1/64 dev tap0 nodad", "link set tap0 up",
		} {
			ip(t, args)
		}
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("in its own namespace: %v\n%s", err, out)
	}
	return false
}

func ip(t *testing.T, args string) {
	t.Helper()
	out, err := exec.Command("ip", words(args)...).CombinedOutput()
	must.NoError(t, err, must.Sprintf("ip %s: %s", args, out))
}
