// SPDX-License-Identifier: MPL-2.0

package spt

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// readMost bounds one pread64, well below what Linux reads at once
// (MAX_RW_COUNT, 2 GiB less a page).
const readMost = 1 << 30

const anonymous = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_FIXED

// mapMemory maps the guest's memory, all of it writable for a start.
func (t *table) mapMemory(memory uint64, execHeap bool) {
	prot := uint64(unix.PROT_READ | unix.PROT_WRITE)
	if execHeap {
		prot |= unix.PROT_EXEC
	}
	s := t.call(fmt.Sprintf("mapping %d MiB of guest memory", memory>>20), unix.SYS_MMAP,
		guestBase, memory-guestBase, prot, anonymous, ^uint64(0), 0)
	s.want = guestBase
	s.advice = map[syscall.Errno]string{
		syscall.ENOMEM: "give the guest less memory",
		syscall.EPERM:  "set vm.mmap_min_addr to 65536 or less",
	}
}

// chooseHugePages asks for transparent huge pages or turns them off: where the
// host's setting is "always", as Debian's is, a guest that touches a page in
// each 2 MiB would occupy all of its memory.
func (t *table) chooseHugePages(memory uint64, want bool) {
	if !want {
		t.call("turning huge pages off", unix.SYS_PRCTL, unix.PR_SET_THP_DISABLE, 1, 0, 0, 0)
		return
	}
	t.call("asking for huge pages", unix.SYS_MADVISE, guestBase, memory-guestBase, unix.MADV_HUGEPAGE).
		advice = map[syscall.Errno]string{syscall.EINVAL: "this host's kernel has none: start the guest without"}
}

// load brings the segments into guest memory and sets their permissions. What
// is only read, in whole pages, is mapped from the file and so shared by all
// guests of one image. mayMap tells whether executable pages can be mapped.
func (t *table) load(segments []unikernel.Segment, kernel uint64, mayMapCode bool) {
	for i, s := range segments {
		shared := !s.Write && (mayMapCode || !s.Exec)
		t.fill(fmt.Sprintf("segment %d", i), s, kernel, shared)
		protect := t.call(fmt.Sprintf("protecting segment %d", i), unix.SYS_MPROTECT,
			s.Start, s.End-s.Start, protection(s))
		protect.advice = map[syscall.Errno]string{syscall.EACCES: "a security module refuses executable memory"}
	}
}

// fill reads what the pages hold that the file does not fill to the last byte,
// so that the rest of them stays zero, and maps or reads the pages between.
func (t *table) fill(name string, s unikernel.Segment, kernel uint64, shared bool) {
	end := s.Addr + s.FileSize
	from, to := roundUp(s.Addr), roundDown(end)
	if !shared || from >= to || (s.Addr-s.Offset)%pageSize != 0 {
		t.read(name, kernel, s.Addr, end, s.Offset)
		return
	}
	t.read(name, kernel, s.Addr, from, s.Offset)
	m := t.call("mapping "+name+" from the kernel file", unix.SYS_MMAP,
		from, to-from, protection(s), unix.MAP_PRIVATE|unix.MAP_FIXED, kernel, s.Offset+from-s.Addr)
	m.want = from
	m.advice = map[syscall.Errno]string{syscall.ENODEV: "move the kernel file to a file system that allows mmap"}
	t.read(name, kernel, to, end, s.Offset+to-s.Addr)
}

// read reads [from, to) from the file, nothing if it is empty.
func (t *table) read(name string, fd, from, to, offset uint64) {
	for from < to {
		n := min(to-from, readMost)
		s := t.call("reading "+name+" from the kernel file", unix.SYS_PREAD64, fd, from, n, offset)
		s.want = n
		s.advice = map[syscall.Errno]string{0: "leave the kernel file alone while its guest starts"}
		from, offset = from+n, offset+n
	}
}

func protection(s unikernel.Segment) uint64 {
	var prot uint64
	if s.Read {
		prot |= unix.PROT_READ
	}
	if s.Write {
		prot |= unix.PROT_WRITE
	}
	if s.Exec {
		prot |= unix.PROT_EXEC
	}
	return prot
}

func roundDown(address uint64) uint64 { return address &^ (pageSize - 1) }
func roundUp(address uint64) uint64   { return roundDown(address + pageSize - 1) }
