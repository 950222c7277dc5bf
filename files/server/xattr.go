// SPDX-License-Identifier: MPL-2.0

package server

import (
	"bytes"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/files/fuse"
)

// xattrPrefix is the only namespace of extended attributes that the guest sees. The others
// give privileges on the host (security, trusted), or change who may use a file without the
// guest's kernel knowing it (POSIX ACLs in system).
const xattrPrefix = "user."

// openXattr opens the file of a node for a system call on its extended attributes, which only
// regular files and directories have.
func (w *worker) openXattr() (int, unix.Errno) {
	if w.node.fd < 0 || w.node.mode != unix.S_IFREG && w.node.mode != unix.S_IFDIR {
		return -1, unix.EOPNOTSUPP
	}
	fd, errno := w.open(w.node, unix.O_RDONLY)
	if errno == unix.EACCES && w.node.mode == unix.S_IFREG {
		return w.open(w.node, unix.O_WRONLY)
	}
	return fd, errno
}

// xattrName cuts the name of an extended attribute from the request's body.
func (w *worker) xattrName() (*byte, unix.Errno) {
	name, rest := fuse.CutString(w.body)
	switch {
	case len(name) < 2:
		return nil, unix.EINVAL
	case !bytes.HasPrefix(name, []byte(xattrPrefix)):
		return nil, unix.EOPNOTSUPP
	}
	w.body = rest
	return &name[0], 0
}

func (w *worker) setxattr() unix.Errno {
	in, rest := fuse.View[fuse.SetxattrIn](w.body)
	w.body = rest
	if in == nil || in.Flags&^(unix.XATTR_CREATE|unix.XATTR_REPLACE) != 0 {
		return unix.EINVAL
	}
	name, errno := w.xattrName()
	if errno != 0 {
		return errno
	}
	if uint64(in.Size) > uint64(len(w.body)) {
		return unix.EINVAL
	}
	fd, errno := w.openXattr()
	if errno != 0 {
		return errno
	}
	defer closeFD(fd)
	_, _, errno = unix.Syscall6(unix.SYS_FSETXATTR, uintptr(fd), uintptr(unsafe.Pointer(name)),
		uintptr(unsafe.Pointer(unsafe.SliceData(w.body))), uintptr(in.Size), uintptr(in.Flags), 0)
	return errno
}

func (w *worker) removexattr() unix.Errno {
	name, errno := w.xattrName()
	if errno != 0 {
		return errno
	}
	fd, errno := w.openXattr()
	if errno != 0 {
		return errno
	}
	defer closeFD(fd)
	_, _, errno = unix.Syscall(unix.SYS_FREMOVEXATTR, uintptr(fd), uintptr(unsafe.Pointer(name)), 0)
	return errno
}

func (w *worker) getxattr() unix.Errno {
	in, rest := fuse.View[fuse.GetxattrIn](w.body)
	w.body = rest
	if in == nil {
		return unix.EINVAL
	}
	name, errno := w.xattrName()
	if errno != 0 {
		return errno
	}
	fd, errno := w.openXattr()
	if errno != 0 {
		return errno
	}
	defer closeFD(fd)
	space := w.space(in.Size)
	n, _, errno := unix.Syscall6(unix.SYS_FGETXATTR, uintptr(fd), uintptr(unsafe.Pointer(name)),
		uintptr(unsafe.Pointer(unsafe.SliceData(space))), uintptr(len(space)), 0, 0)
	if errno != 0 {
		return errno
	}
	w.replyXattr(in.Size, int(n))
	return 0
}

func (w *worker) listxattr() unix.Errno {
	in, _ := fuse.View[fuse.GetxattrIn](w.body)
	if in == nil {
		return unix.EINVAL
	}
	fd, errno := w.openXattr()
	if errno == unix.EOPNOTSUPP {
		w.replyXattr(in.Size, 0)
		return 0
	}
	if errno != 0 {
		return errno
	}
	defer closeFD(fd)
	// The host's list may be longer than the guest's.
	space := w.space(files.MaxWrite)
	n, _, errno := unix.Syscall(unix.SYS_FLISTXATTR, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(space))), uintptr(len(space)))
	if errno != 0 {
		return errno
	}
	visible := visibleXattrs(space[:n])
	if in.Size != 0 && visible > int(in.Size) {
		return unix.ERANGE
	}
	w.replyXattr(in.Size, visible)
	return 0
}

// replyXattr answers with the n bytes in the answer's space, or with n if the guest asked for
// the size only.
func (w *worker) replyXattr(size uint32, n int) {
	if size != 0 {
		w.n += n
		return
	}
	reply[fuse.GetxattrOut](w).Size = uint32(n)
}

// visibleXattrs moves the names that the guest sees to the start of a list, and returns
// their length.
func visibleXattrs(list []byte) int {
	n := 0
	for rest := list; ; {
		name, others := fuse.CutString(rest)
		if name == nil {
			return n
		}
		if bytes.HasPrefix(name, []byte(xattrPrefix)) {
			n += copy(list[n:], name)
		}
		rest = others
	}
}
