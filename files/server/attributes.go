// SPDX-License-Identifier: MPL-2.0

package server

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/files/fuse"
)

// attrValidNsec is the time for which the guest may use attributes without asking again. It is
// one tick of the guest's clock. Names are valid for no time, so that the guest sees a rename
// by the host at once.
const attrValidNsec = 4_000_000

// inode returns the guest's number of an inode. The highest byte is the share. The next one
// distinguishes the file systems that are mounted in a share.
func (s *Server) inode(id *identity) uint64 {
	if id.share == rootShare {
		return fuse.RootID
	}
	number := id.ino&(1<<56-1) | uint64(id.share)<<56
	if root := s.shares[id.share].root.dev; id.dev != root {
		mixed := id.dev * 0x9e3779b97f4a7c15
		number ^= uint64(byte(mixed>>56)|1) << 48
	}
	return number
}

func (s *Server) setAttr(out *fuse.Attr, attributes *unix.Statx_t, id *identity) {
	*out = fuse.Attr{
		Ino: s.inode(id), Size: attributes.Size, Blocks: attributes.Blocks,
		Atime: uint64(attributes.Atime.Sec), Atimensec: attributes.Atime.Nsec,
		Mtime: uint64(attributes.Mtime.Sec), Mtimensec: attributes.Mtime.Nsec,
		Ctime: uint64(attributes.Ctime.Sec), Ctimensec: attributes.Ctime.Nsec,
		Mode: uint32(attributes.Mode), Nlink: attributes.Nlink, UID: attributes.Uid, GID: attributes.Gid,
		Rdev:    uint32(unix.Mkdev(attributes.Rdev_major, attributes.Rdev_minor)),
		Blksize: attributes.Blksize,
	}
}

// setRootAttr sets the attributes of the root directory.
func (s *Server) setRootAttr(out *fuse.Attr) {
	*out = fuse.Attr{Ino: fuse.RootID, Mode: unix.S_IFDIR | 0o555, Nlink: 2 + uint32(len(s.shares)), Blksize: 4096}
}

func (w *worker) getattr() unix.Errno {
	return w.replyAttr(w.node)
}

// replyAttr answers with the current attributes of a node.
func (w *worker) replyAttr(n *node) unix.Errno {
	out := reply[fuse.AttrOut](w)
	out.AttrValidNsec = attrValidNsec
	if n.fd < 0 {
		w.server.setRootAttr(&out.Attr)
		return 0
	}
	if errno := statx(int(n.fd), &empty, &w.attr); errno != 0 {
		return errno
	}
	w.server.setAttr(&out.Attr, &w.attr, &n.identity)
	return 0
}

func (w *worker) setattr() unix.Errno {
	in, _ := fuse.View[fuse.SetattrIn](w.body)
	if in == nil {
		return unix.EINVAL
	}
	if in.Valid&(fuse.AttrUID|fuse.AttrGID) != 0 {
		if errno := w.setOwner(in); errno != 0 {
			return errno
		}
	}
	if in.Valid&fuse.AttrMode != 0 {
		if errno := w.setMode(in.Mode); errno != 0 {
			return errno
		}
	}
	if in.Valid&fuse.AttrSize != 0 {
		if errno := w.setSize(in); errno != 0 {
			return errno
		}
	}
	if in.Valid&(fuse.AttrAtime|fuse.AttrMtime) != 0 {
		if errno := w.setTimes(in); errno != 0 {
			return errno
		}
	}
	return w.replyAttr(w.node)
}

func (w *worker) setOwner(in *fuse.SetattrIn) unix.Errno {
	uid, gid := keepID, keepID
	if in.Valid&fuse.AttrUID != 0 {
		uid = in.UID
	}
	if in.Valid&fuse.AttrGID != 0 {
		gid = in.GID
	}
	// The kernel of the host removes the set-user-ID and set-group-ID bits of a regular file.
	return fchown(int(w.node.fd), uid, gid)
}

// fileMode returns the permissions that a file of the host gets. A guest of root must not make
// a program that changes the user of a process of the host: it could be executed outside of
// the guest.
func (s *Server) fileMode(mode, kind uint32) uint32 {
	mode &= 0o7777
	if s.config.Plan.UID == 0 && kind != unix.S_IFDIR {
		mode &^= unix.S_ISUID | unix.S_ISGID
	}
	return mode
}

func (w *worker) setMode(mode uint32) unix.Errno {
	if w.node.mode == unix.S_IFLNK {
		return unix.EOPNOTSUPP
	}
	mode = w.server.fileMode(mode, w.node.mode)
	if mode&unix.S_ISGID != 0 {
		// Without CAP_FSETID the kernel removes the bit if the group is another one.
		if errno := w.capabilities.raise(); errno != 0 {
			return errno
		}
		defer w.capabilities.drop()
	}
	return fchmodat(w.server.config.ProcSelfFD, w.pathOf(int(w.node.fd)), mode)
}

func (w *worker) setSize(in *fuse.SetattrIn) unix.Errno {
	if in.Valid&fuse.AttrFH != 0 {
		opened, errno := w.server.handles.get(in.FH, false)
		if errno != 0 {
			return errno
		}
		defer w.server.handles.put(opened)
		return ftruncate(int(opened.fd), in.Size)
	}
	if w.node.mode != unix.S_IFREG {
		return unix.EINVAL
	}
	fd, errno := w.open(w.node, unix.O_WRONLY)
	if errno != 0 {
		return errno
	}
	defer closeFD(fd)
	return ftruncate(fd, in.Size)
}

func (w *worker) setTimes(in *fuse.SetattrIn) unix.Errno {
	w.times[0] = timeOf(in.Valid, [2]uint32{fuse.AttrAtime, fuse.AttrAtimeNow}, in.Atime, in.Atimensec)
	w.times[1] = timeOf(in.Valid, [2]uint32{fuse.AttrMtime, fuse.AttrMtimeNow}, in.Mtime, in.Mtimensec)
	return utimens(int(w.node.fd), &w.times)
}

// timeOf returns a time for utimensat. flags are the bits of valid that mean that the time
// is set, and that it is set to the current time.
func timeOf(valid uint32, flags [2]uint32, sec uint64, nsec uint32) unix.Timespec {
	switch {
	case valid&flags[0] == 0:
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	case valid&flags[1] != 0:
		return unix.Timespec{Nsec: unix.UTIME_NOW}
	default:
		return unix.Timespec{Sec: int64(sec), Nsec: int64(min(nsec, 999_999_999))}
	}
}

func (w *worker) statFS() unix.Errno {
	out := reply[fuse.StatfsOut](w)
	out.Namelen = fuse.NameMax
	if w.node.fd < 0 {
		out.Bsize, out.Frsize = 4096, 4096
		return 0
	}
	st := &w.statfs
	if errno := fstatfs(int(w.node.fd), st); errno != 0 {
		return errno
	}
	*out = fuse.StatfsOut{
		Blocks: st.Blocks, Bfree: st.Bfree, Bavail: st.Bavail, Files: st.Files, Ffree: st.Ffree,
		Bsize: uint32(st.Bsize), Namelen: uint32(st.Namelen), Frsize: uint32(st.Frsize),
	}
	return 0
}

// hides reports whether a file is absent from the guest's view of its share.
func (s *share) hides(attributes *unix.Statx_t) bool {
	return len(s.hidden) > 0 && slices.Contains(s.hidden, files.Inode{
		Dev: unix.Mkdev(attributes.Dev_major, attributes.Dev_minor), Ino: attributes.Ino,
	})
}
