// SPDX-License-Identifier: MPL-2.0

package server

import (
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files/fuse"
)

// hiddenName reports whether a name in a directory is that of a hidden file.
func (w *worker) hiddenName(dir *node, name *byte) bool {
	share := &w.server.shares[dir.share]
	return len(share.hidden) > 0 && statx(int(dir.fd), name, &w.attr) == 0 && share.hides(&w.attr)
}

func (w *worker) unlink() unix.Errno { return w.remove(0) }

func (w *worker) rmdir() unix.Errno { return w.remove(unix.AT_REMOVEDIR) }

func (w *worker) remove(flags int) unix.Errno {
	name, errno := w.name()
	if errno != 0 {
		return errno
	}
	if w.hiddenName(w.node, name) {
		return unix.ENOENT
	}
	return unlinkat(int(w.node.fd), name, flags)
}

func (w *worker) rename() unix.Errno {
	in, rest := fuse.View[fuse.RenameIn](w.body)
	w.body = rest
	if in == nil {
		return unix.EINVAL
	}
	return w.renameTo(in.NewDir, 0)
}

func (w *worker) rename2() unix.Errno {
	in, rest := fuse.View[fuse.Rename2In](w.body)
	w.body = rest
	// Whiteouts are device nodes.
	if in == nil || in.Flags&^(unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE) != 0 {
		return unix.EINVAL
	}
	return w.renameTo(in.NewDir, in.Flags)
}

func (w *worker) renameTo(newDir uint64, flags uint32) unix.Errno {
	oldName, errno := w.name()
	if errno != 0 {
		return errno
	}
	newName, errno := w.name()
	if errno != 0 {
		return errno
	}
	dir, errno := w.server.nodes.get(newDir)
	if errno != 0 {
		return errno
	}
	defer w.server.nodes.put(dir)
	if dir.share != w.node.share {
		return unix.EXDEV
	}
	if w.hiddenName(w.node, oldName) {
		return unix.ENOENT
	}
	if w.hiddenName(dir, newName) {
		return unix.EPERM
	}
	return renameat2(int(w.node.fd), oldName, int(dir.fd), newName, flags)
}

func (w *worker) link() unix.Errno {
	in, rest := fuse.View[fuse.LinkIn](w.body)
	w.body = rest
	if in == nil {
		return unix.EINVAL
	}
	name, errno := w.name()
	if errno != 0 {
		return errno
	}
	old, errno := w.server.nodes.get(in.OldNodeID)
	if errno != 0 {
		return errno
	}
	defer w.server.nodes.put(old)
	if old.share != w.node.share {
		return unix.EXDEV
	}
	if old.mode == unix.S_IFDIR {
		return unix.EPERM
	}
	// The entry in /proc/self/fd leads to the file itself, even if it is a symbolic link.
	if errno := linkFD(w.server.config.ProcSelfFD, w.pathOf(int(old.fd)), int(w.node.fd), name); errno != 0 {
		return errno
	}
	return w.replyEntry(name)
}
