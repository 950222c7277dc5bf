// SPDX-License-Identifier: MPL-2.0

package testenv

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoenig/test/must"
)

// inNamespace is set for a test that OwnNetwork has started anew.
const inNamespace = "LKL_TEST_IN_NAMESPACE"

// OwnNetwork runs the test again, for so long at most, in a program of its own
// that has a network namespace of its own, with a tap "tap0" that has 10.0.0.1/24
// and fd00::1/64. What the test starts there ends with it: the program has a
// namespace of processes too. The result tells whether this is that program; if it
// is not, the test has ended as it did there.
func OwnNetwork(t *testing.T, limit time.Duration) bool {
	t.Helper()
	Need(t, Root, Tun, Tool("ip"))
	if os.Getenv(inNamespace) != "" {
		for _, args := range []string{
			"link set lo up", "tuntap add tap0 mode tap", "addr add 10.0.0.1/24 dev tap0",
			"-6 addr add fd00::1/64 dev tap0 nodad", "link set tap0 up",
		} {
			out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
			must.NoError(t, err, must.Sprintf("ip %s: %s", args, out))
		}
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout="+limit.String())
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID}
	out, err := cmd.CombinedOutput()
	must.NoError(t, err, must.Sprintf("in its own namespace:\n%s", out))
	t.Logf("%s", out)
	return false
}
