// SPDX-License-Identifier: MPL-2.0

package server

import (
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files/fuse"
)

// An owner is the user who owns a new file.
type owner struct{ uid, gid uint32 }

// newOwner returns the owner of a file that the caller of the request creates. The server of
// an ordinary user owns all files itself, so there is nothing to change.
func (w *worker) newOwner() (wanted owner, change bool, errno unix.Errno) {
	plan := &w.server.config.Plan
	wanted = owner{w.header.UID, w.header.GID}
	if plan.UID != 0 || wanted == (owner{plan.UID, plan.GID}) {
		return wanted, false, 0
	}
	if errno := statx(int(w.node.fd), &empty, &w.attr); errno != 0 {
		return wanted, false, errno
	}
	if w.attr.Mode&unix.S_ISGID != 0 {
		wanted.gid = keepID // the file has the group of its directory
	}
	return wanted, true, 0
}

// newFile creates a regular file that did not exist, and returns it open.
func (w *worker) newFile(name *byte, flags int, mode uint32) (int, unix.Errno) {
	wanted, change, errno := w.newOwner()
	if errno != 0 {
		return -1, errno
	}
	mode = w.server.fileMode(mode, unix.S_IFREG)
	fd, errno := openat(int(w.node.fd), name, flags|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, mode)
	if errno != 0 {
		return -1, errno
	}
	if change {
		if errno := fchown(fd, wanted.uid, wanted.gid); errno != 0 {
			closeFD(fd)
			_ = unlinkat(int(w.node.fd), name, 0)
			return -1, errno
		}
	}
	return fd, 0
}

func (w *worker) create() unix.Errno {
	in, rest := fuse.View[fuse.CreateIn](w.body)
	w.body = rest
	if in == nil || in.Flags&unix.O_ACCMODE == unix.O_ACCMODE {
		return unix.EINVAL
	}
	name, errno := w.name()
	if errno != 0 {
		return errno
	}
	flags := int(in.Flags & openFlags)
	fd, errno := w.newFile(name, flags, in.Mode)
	if errno == unix.EEXIST && in.Flags&unix.O_EXCL == 0 {
		return w.openExisting(name, flags)
	}
	if errno != 0 {
		return errno
	}
	return w.replyCreated(fd, name)
}

// replyCreated answers with the node and a handle of a new file, and takes over its descriptor.
func (w *worker) replyCreated(fd int, name *byte) unix.Errno {
	path, errno := openat(w.server.config.ProcSelfFD, w.pathOf(fd), unix.O_PATH, 0)
	if errno == 0 {
		errno = w.replyFile(path, w.node.share)
	}
	if errno == 0 {
		return w.replyOpened(fd)
	}
	closeFD(fd)
	_ = unlinkat(int(w.node.fd), name, 0)
	return errno
}

// replyOpened adds a handle of fd to the answer, after a node that replyFile has added.
func (w *worker) replyOpened(fd int) unix.Errno {
	errno := w.replyHandle(fd, w.node.share, false)
	if errno != 0 {
		entry, _ := fuse.View[fuse.EntryOut](w.out[fuse.OutHeaderSize:])
		w.server.nodes.forget(entry.NodeID, 1)
	}
	return errno
}

// openExisting opens a file that someone else has created since the guest looked it up.
func (w *worker) openExisting(name *byte, flags int) unix.Errno {
	switch errno := w.replyEntry(name); {
	case errno == unix.ENOENT && w.hiddenName(w.node, name):
		return unix.EPERM
	case errno != 0:
		return errno
	}
	entry, _ := fuse.View[fuse.EntryOut](w.out[fuse.OutHeaderSize:])
	if entry.Attr.Mode&unix.S_IFMT != unix.S_IFREG {
		w.server.nodes.forget(entry.NodeID, 1)
		return unix.ESTALE // the guest looks the name up again
	}
	found, errno := w.server.nodes.get(entry.NodeID)
	if errno != 0 {
		return errno
	}
	defer w.server.nodes.put(found)
	fd, errno := w.open(found, flags)
	if errno != 0 {
		w.server.nodes.forget(entry.NodeID, 1)
		return errno
	}
	return w.replyOpened(fd)
}

func (w *worker) mknod() unix.Errno {
	in, rest := fuse.View[fuse.MknodIn](w.body)
	w.body = rest
	if in == nil {
		return unix.EINVAL
	}
	name, errno := w.name()
	if errno != 0 {
		return errno
	}
	switch kind := in.Mode & unix.S_IFMT; kind {
	case 0, unix.S_IFREG:
		fd, errno := w.newFile(name, unix.O_RDONLY, in.Mode)
		if errno != 0 {
			return errno
		}
		defer closeFD(fd)
		return w.replyEntry(name)
	case unix.S_IFIFO, unix.S_IFSOCK:
		mode := kind | w.server.fileMode(in.Mode, kind)
		return w.make(name, kind, func(dir int) unix.Errno { return mknodat(dir, name, mode) })
	default:
		return unix.EPERM
	}
}

func (w *worker) mkdir() unix.Errno {
	in, rest := fuse.View[fuse.MkdirIn](w.body)
	w.body = rest
	if in == nil {
		return unix.EINVAL
	}
	name, errno := w.name()
	if errno != 0 {
		return errno
	}
	mode := in.Mode & 0o1777
	return w.make(name, unix.S_IFDIR, func(dir int) unix.Errno { return mkdirat(dir, name, mode) })
}

func (w *worker) symlink() unix.Errno {
	name, errno := w.name()
	if errno != 0 {
		return errno
	}
	target, _ := fuse.CutString(w.body)
	if len(target) < 2 || len(target) > unix.PathMax {
		return unix.EINVAL
	}
	return w.make(name, unix.S_IFLNK, func(dir int) unix.Errno { return symlinkat(&target[0], dir, name) })
}

// make creates a file that is not a regular one, gives it to its owner, and answers with it.
func (w *worker) make(name *byte, kind uint32, create func(dir int) unix.Errno) unix.Errno {
	wanted, change, errno := w.newOwner()
	if errno != 0 {
		return errno
	}
	dir := int(w.node.fd)
	if errno := create(dir); errno != 0 {
		return errno
	}
	fd, errno := openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if errno != 0 {
		return errno
	}
	if change {
		if errno := w.giveNew(fd, kind, wanted); errno != 0 {
			closeFD(fd)
			return errno
		}
	}
	return w.replyFile(fd, w.node.share)
}

// giveNew changes the owner of a file that the server has just created. A process of the host
// may have put another file in its place: that one keeps its owner.
func (w *worker) giveNew(fd int, kind uint32, wanted owner) unix.Errno {
	if errno := statx(fd, &empty, &w.attr); errno != 0 {
		return errno
	}
	links := uint32(1)
	if kind == unix.S_IFDIR {
		links = 2 // some file systems count no links of directories, and report 1
	}
	same := uint32(w.attr.Mode)&unix.S_IFMT == kind && w.attr.Nlink <= links && w.attr.Uid == w.server.config.Plan.UID
	if !same {
		return unix.ESTALE
	}
	return fchown(fd, wanted.uid, wanted.gid)
}
