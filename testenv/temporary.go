// SPDX-License-Identifier: MPL-2.0

package testenv

import (
	"fmt"
	"os"
	"testing"
)

// Temporary runs a package's tests with a temporary directory of its own and
// removes it: Nomad's driver harness leaves two directories a test in there, and
// go-plugin the sockets of plugins that were killed. The result is the exit status.
func Temporary(m *testing.M) int {
	dir, err := os.MkdirTemp("", "lkl-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Setenv("TMPDIR", dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
