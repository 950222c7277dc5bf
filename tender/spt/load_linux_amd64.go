// SPDX-License-Identifier: MPL-2.0

package spt

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// maxRead is the largest read of one pread64, in bytes. Linux reads at most
// MAX_RW_COUNT, 2 GiB minus a page.
const maxRead = 1 << 30

const mapAnonymous = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_FIXED

// mapMemory maps the guest's memory. All of it is writable until the segments are
// loaded.
func (t *table) mapMemory(memory uint64, execHeap bool) {
	prot := uint64(unix.PROT_READ | unix.PROT_WRITE)
	if execHeap {
		prot |= unix.PROT_EXEC
	}
	t.add(step{
		name: fmt.Sprintf("map %d MiB of guest memory", memory>>20), number: unix.SYS_MMAP,
		args: args{guestBase, memory - guestBase, prot, mapAnonymous, ^uint64(0), 0},
		want: guestBase,
		advice: advice{
			syscall.ENOMEM: "give the guest less memory",
			syscall.EPERM:  "set the sysctl vm.mmap_min_addr to 65536 or less",
		},
	})
}

// setHugePages turns transparent huge pages on or off. If the host's setting is
// "always", as on Debian, a guest that touches a page in each 2 MiB would occupy
// all of its memory.
func (t *table) setHugePages(memory uint64, on bool) {
	if !on {
		t.call("turn huge pages off", unix.SYS_PRCTL, unix.PR_SET_THP_DISABLE, 1, 0, 0, 0)
		return
	}
	t.add(step{
		name: "request huge pages", number: unix.SYS_MADVISE,
		args:   args{guestBase, memory - guestBase, unix.MADV_HUGEPAGE},
		advice: advice{syscall.EINVAL: "this host's kernel does not support them: turn huge_pages off"},
	})
}

// loadSegments loads the segments into the guest's memory and sets their
// permissions. It maps whole pages of read-only segments from the file, so that
// all guests with this kernel share them.
func (t *table) loadSegments(segments []unikernel.Segment, kernelFD uint64, canMapCode bool) {
	for i, s := range segments {
		shared := !s.Write && (canMapCode || !s.Exec)
		t.loadSegment(fmt.Sprintf("segment %d", i), s, kernelFD, shared)
		t.add(step{
			name: fmt.Sprintf("protect segment %d", i), number: unix.SYS_MPROTECT,
			args:   args{s.Start, s.End - s.Start, protection(s)},
			advice: advice{syscall.EACCES: "a security module refuses executable memory"},
		})
	}
}

// loadSegment maps or reads the pages that the file fills completely. It always
// reads into the other pages, so that their remaining bytes stay zero.
func (t *table) loadSegment(name string, s unikernel.Segment, kernelFD uint64, shared bool) {
	end := s.Addr + s.FileSize
	from, to := roundUp(s.Addr), roundDown(end)
	if !shared || from >= to || (s.Addr-s.Offset)%pageSize != 0 {
		t.readFile(name, kernelFD, s.Addr, end, s.Offset)
		return
	}
	t.readFile(name, kernelFD, s.Addr, from, s.Offset)
	t.add(step{
		name: "map " + name + " from the kernel file", number: unix.SYS_MMAP,
		args:   args{from, to - from, protection(s), unix.MAP_PRIVATE | unix.MAP_FIXED, kernelFD, s.Offset + from - s.Addr},
		want:   from,
		advice: advice{syscall.ENODEV: "move the kernel file to a file system that supports mmap"},
	})
	t.readFile(name, kernelFD, to, end, s.Offset+to-s.Addr)
}

// readFile reads the addresses from..to from the file. The range may be empty.
func (t *table) readFile(name string, fd, from, to, offset uint64) {
	for from < to {
		n := min(to-from, maxRead)
		t.add(step{
			name: "read " + name + " from the kernel file", number: unix.SYS_PREAD64,
			args:   args{fd, from, n, offset},
			want:   n,
			advice: advice{unexpectedResult: "do not change the kernel file while its guest starts"},
		})
		from, offset = from+n, offset+n
	}
}

// readCommandLine reads a long command line to the end of the guest's memory. The NUL
// after it is there already, because unused memory is zero.
func (t *table) readCommandLine(g *tender.Guest, fd uint64) {
	t.add(step{
		name: "read the command line", number: unix.SYS_PREAD64,
		args: args{fd, g.HeapEnd(), g.CommandLineSize, 0},
		want: g.CommandLineSize,
	})
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
