// SPDX-License-Identifier: MPL-2.0

package testenv

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/shoenig/test/must"
)

// PrivateMemory returns the memory of a process that it shares with no other
// process, in bytes. Only root can read the maps of a guest.
func PrivateMemory(t testing.TB, pid int) (sum int) {
	t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	must.NoError(t, err)
	for line := range bytes.Lines(content) {
		if fields := bytes.Fields(line); bytes.HasPrefix(line, []byte("Private_")) {
			kib, err := strconv.Atoi(string(fields[1]))
			must.NoError(t, err)
			sum += kib << 10
		}
	}
	return sum
}
