// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"bytes"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/kernelfile"
)

// dropStartupPages drops the pages of this program's file that only startup used;
// it saves more than 1 MiB per task. The kernel reads pages from the page cache
// when they are needed again. Errors cost nothing but memory.
func dropStartupPages() {
	maps, err := kernelfile.Read("/proc/self/maps")
	if err != nil {
		return
	}
	for line := range bytes.Lines(maps) {
		f := bytes.Fields(line) // addresses, permissions, offset, device, inode, path
		writable := len(f) > 1 && bytes.IndexByte(f[1], 'w') >= 0
		if len(f) < 6 || f[5][0] != '/' || writable {
			continue
		}
		a, b, _ := bytes.Cut(f[0], []byte{'-'})
		from, errFrom := strconv.ParseUint(string(a), 16, 64)
		to, errTo := strconv.ParseUint(string(b), 16, 64)
		if errFrom != nil || errTo != nil {
			return
		}
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(from), uintptr(to-from), unix.MADV_DONTNEED)
	}
}
