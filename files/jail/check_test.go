// SPDX-License-Identifier: MPL-2.0

package jail

import (
	"os"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestCheck_LeavesTheRootOfThisProcess(t *testing.T) {
	testenv.Need(t, testenv.Root)
	before, err := os.Readlink("/proc/self/ns/mnt")
	must.NoError(t, err)
	for range 20 { // on several threads
		must.NoError(t, Check())
	}
	after, err := os.Readlink("/proc/self/ns/mnt")
	must.NoError(t, err)
	must.Eq(t, before, after)
	must.FileExists(t, "/etc/passwd")
}
