// SPDX-License-Identifier: MPL-2.0

package server

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The functions of this file make system calls without an allocation, unlike those of package
// unix. Names are pointers to NUL-terminated strings.

// empty names the file of a descriptor itself, with AT_EMPTY_PATH.
var empty byte

func closeFD(fd int) {
	if fd >= 0 {
		_, _, _ = unix.Syscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
	}
}

func openat(dir int, name *byte, flags int, mode uint32) (int, unix.Errno) {
	for {
		fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, uintptr(dir), uintptr(unsafe.Pointer(name)),
			uintptr(flags|unix.O_CLOEXEC), uintptr(mode), 0, 0)
		if errno != unix.EINTR {
			return int(fd), errno
		}
	}
}

// statMask requests all attributes that the guest sees.
const statMask = unix.STATX_BASIC_STATS | unix.STATX_MNT_ID

// statx returns the attributes of a file in a directory, or with the name "" those of the
// file itself.
func statx(fd int, name *byte, out *unix.Statx_t) unix.Errno {
	_, _, errno := unix.Syscall6(unix.SYS_STATX, uintptr(fd), uintptr(unsafe.Pointer(name)),
		unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW, statMask, uintptr(unsafe.Pointer(out)), 0)
	return errno
}

func pread(fd int, b []byte, offset uint64) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_PREAD64, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))),
		uintptr(len(b)), uintptr(offset), 0, 0)
	return int(n), errno
}

func pwrite(fd int, b []byte, offset uint64) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_PWRITE64, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))),
		uintptr(len(b)), uintptr(offset), 0, 0)
	return int(n), errno
}

func getdents(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.Syscall(unix.SYS_GETDENTS64, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), errno
}

func lseek(fd int, offset uint64, whence int) (uint64, unix.Errno) {
	n, _, errno := unix.Syscall(unix.SYS_LSEEK, uintptr(fd), uintptr(offset), uintptr(whence))
	return uint64(n), errno
}

func readlinkat(fd int, name *byte, b []byte) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_READLINKAT, uintptr(fd), uintptr(unsafe.Pointer(name)),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0, 0)
	return int(n), errno
}

func symlinkat(target *byte, dir int, name *byte) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_SYMLINKAT, uintptr(unsafe.Pointer(target)), uintptr(dir), uintptr(unsafe.Pointer(name)))
	return errno
}

func mknodat(dir int, name *byte, mode uint32) unix.Errno {
	_, _, errno := unix.Syscall6(unix.SYS_MKNODAT, uintptr(dir), uintptr(unsafe.Pointer(name)), uintptr(mode), 0, 0, 0)
	return errno
}

func mkdirat(dir int, name *byte, mode uint32) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_MKDIRAT, uintptr(dir), uintptr(unsafe.Pointer(name)), uintptr(mode))
	return errno
}

func unlinkat(dir int, name *byte, flags int) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_UNLINKAT, uintptr(dir), uintptr(unsafe.Pointer(name)), uintptr(flags))
	return errno
}

func renameat2(oldDir int, oldName *byte, newDir int, newName *byte, flags uint32) unix.Errno {
	_, _, errno := unix.Syscall6(unix.SYS_RENAMEAT2, uintptr(oldDir), uintptr(unsafe.Pointer(oldName)),
		uintptr(newDir), uintptr(unsafe.Pointer(newName)), uintptr(flags), 0)
	return errno
}

// linkFD links the file to which path below procSelfFD leads.
func linkFD(procSelfFD int, path *byte, dir int, name *byte) unix.Errno {
	_, _, errno := unix.Syscall6(unix.SYS_LINKAT, uintptr(procSelfFD), uintptr(unsafe.Pointer(path)),
		uintptr(dir), uintptr(unsafe.Pointer(name)), unix.AT_SYMLINK_FOLLOW, 0)
	return errno
}

func fchmodat(dir int, path *byte, mode uint32) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_FCHMODAT, uintptr(dir), uintptr(unsafe.Pointer(path)), uintptr(mode))
	return errno
}

// keepID leaves an owner or a group as it is.
const keepID = ^uint32(0)

func fchown(fd int, uid, gid uint32) unix.Errno {
	_, _, errno := unix.Syscall6(unix.SYS_FCHOWNAT, uintptr(fd), uintptr(unsafe.Pointer(&empty)),
		uintptr(uid), uintptr(gid), unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW, 0)
	return errno
}

func utimens(fd int, times *[2]unix.Timespec) unix.Errno {
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), uintptr(unsafe.Pointer(&empty)),
		uintptr(unsafe.Pointer(times)), unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW, 0, 0)
	return errno
}

func ftruncate(fd int, size uint64) unix.Errno {
	for {
		_, _, errno := unix.Syscall(unix.SYS_FTRUNCATE, uintptr(fd), uintptr(size), 0)
		if errno != unix.EINTR {
			return errno
		}
	}
}

func fallocate(fd int, mode uint32, offset, length uint64) unix.Errno {
	for {
		_, _, errno := unix.Syscall6(unix.SYS_FALLOCATE, uintptr(fd), uintptr(mode), uintptr(offset), uintptr(length), 0, 0)
		if errno != unix.EINTR {
			return errno
		}
	}
}

func fsync(fd int, dataOnly bool) unix.Errno {
	trap := uintptr(unix.SYS_FSYNC)
	if dataOnly {
		trap = unix.SYS_FDATASYNC
	}
	_, _, errno := unix.Syscall(trap, uintptr(fd), 0, 0)
	return errno
}

// A fileRange is the part of a file that copyRange reads or writes.
type fileRange struct {
	fd     int
	offset int64
}

func copyRange(from, to *fileRange, length int) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_COPY_FILE_RANGE, uintptr(from.fd), uintptr(unsafe.Pointer(&from.offset)),
		uintptr(to.fd), uintptr(unsafe.Pointer(&to.offset)), uintptr(length), 0)
	return int(n), errno
}

func fstatfs(fd int, out *unix.Statfs_t) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_FSTATFS, uintptr(fd), uintptr(unsafe.Pointer(out)), 0)
	return errno
}
