// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"bytes"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/kernelfile"
)

// forgetStart gives back the memory of those parts of this program's file that
// only the start needed: more than a megabyte, where one stays. What is needed
// again comes back from the page cache. If it fails, nothing is lost but memory.
func forgetStart() {
	maps, err := kernelfile.Read("/proc/self/maps")
	if err != nil {
		return
	}
	for line := range bytes.Lines(maps) {
		f := bytes.Fields(line) // addresses, permissions, offset, device, inode, path
		if len(f) < 6 || f[5][0] != '/' || bytes.IndexByte(f[1], 'w') >= 0 {
			continue
		}
		a, b, _ := bytes.Cut(f[0], []byte{'-'})
		from, errFrom := strconv.ParseUint(string(a), 16, 64)
		to, errTo := strconv.ParseUint(string(b), 16, 64)
		if errFrom != nil || errTo != nil {
			return
		}
		// Not written to, so that the file has it all.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(from), uintptr(to-from), unix.MADV_DONTNEED)
	}
}
