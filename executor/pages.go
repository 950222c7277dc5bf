// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"bytes"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/kernelfile"
)

// openMaps opens the list of this process's mappings for dropStartupPages, because a
// confined process cannot open it. It returns -1 on failure.
func openMaps() int {
	fd, err := unix.Open("/proc/self/maps", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return fd
}

// dropStartupPages drops the pages of this program's file that only startup used;
// it saves more than 1 MiB per task. The kernel reads pages from the page cache
// when they are needed again. Errors cost nothing but memory. It closes mapsFD.
func dropStartupPages(mapsFD int) {
	maps, err := kernelfile.ReadOpen(mapsFD)
	_ = unix.Close(mapsFD)
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
