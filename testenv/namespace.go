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

// inNamespace is set in the environment of a test that OwnNetwork has started.
const inNamespace = "LKL_TEST_IN_NAMESPACE"

// OwnNetwork runs the test again in a new process, with new namespaces for the
// network and for processes. The network has a tap "tap0" with the addresses
// 10.0.0.1/24 and fd00::1/64. The kernel kills all processes of the namespace at the
// end of the test.
//
// OwnNetwork returns true in the new process. In the original process it waits for
// the new one, fails the test if that has failed, and returns false. limit bounds
// the time of the new process.
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
	must.NoError(t, err, must.Sprintf("the test in the namespace:\n%s", out))
	t.Logf("%s", out)
	return false
}
