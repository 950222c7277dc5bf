// SPDX-License-Identifier: MPL-2.0

package testenv

import (
	"fmt"
	"os"
	"testing"
)

// Temporary runs the tests of a package in a new temporary directory, and removes
// the directory afterwards: go-plugin leaves the sockets of killed plugins in it.
// It returns the exit status.
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
