// SPDX-License-Identifier: MPL-2.0

// Package procfd names open files by their descriptors.
package procfd

import (
	"os"
	"strconv"
)

// Path returns the path of an open file below /proc. Opening it reopens the same
// file, even if the file has been renamed or removed. The path is valid in every
// process that may ptrace this one, for as long as f is open.
func Path(f *os.File) string {
	return "/proc/" + strconv.Itoa(os.Getpid()) + "/fd/" + strconv.Itoa(int(f.Fd()))
}

// SelfPath returns a path of an open file that is valid in this process only. It
// also works if /proc belongs to another PID namespace, where the process has
// another ID.
func SelfPath(f *os.File) string {
	return "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
}
