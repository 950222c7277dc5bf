// SPDX-License-Identifier: MPL-2.0

package server

import (
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/files/fuse"
)

func (w *worker) initialize() unix.Errno {
	in, _ := fuse.View[fuse.InitIn](w.body)
	if in == nil || in.Major < fuse.Major {
		return unix.EPROTO
	}
	out := reply[fuse.InitOut](w)
	out.Major, out.Minor = fuse.Major, fuse.Minor
	if in.Major > fuse.Major {
		return 0 // the guest asks again with this version
	}
	const wanted = fuse.AsyncRead | fuse.AtomicOTrunc | fuse.BigWrites | fuse.AutoInvalData |
		fuse.AsyncDIO | fuse.ParallelDirops | fuse.MaxPages | fuse.HandleKillprivV2
	out.Minor = min(in.Minor, fuse.Minor)
	out.Flags = in.Flags & wanted
	out.MaxReadahead = in.MaxReadahead
	out.MaxBackground, out.CongestionThreshold = 16, 12
	out.MaxWrite, out.MaxPages = files.MaxWrite, files.MaxWrite/4096
	out.TimeGran = 1
	return 0
}

func (w *worker) lookup() unix.Errno {
	name, errno := w.name()
	if errno != 0 {
		return errno
	}
	if w.node.fd < 0 {
		return w.lookupShare()
	}
	return w.replyEntry(name)
}

// lookupShare looks up the index of a share in the root directory.
func (w *worker) lookupShare() unix.Errno {
	name, _ := fuse.CutString(w.in[fuse.InHeaderSize:])
	index := shareIndex(name[:len(name)-1])
	if index < 0 || index >= len(w.server.shares) {
		return unix.ENOENT
	}
	fd, err := unix.FcntlInt(uintptr(w.server.shares[index].fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return unix.ENFILE
	}
	return w.replyFile(fd, int32(index))
}

// shareIndex returns the index that a name in the root directory means, or -1.
func shareIndex(name []byte) int {
	if len(name) > 3 || len(name) > 1 && name[0] == '0' {
		return -1
	}
	index := 0
	for _, digit := range name {
		if digit < '0' || digit > '9' {
			return -1
		}
		index = index*10 + int(digit-'0')
	}
	return index
}

// replyEntry answers with the file of a name in the directory of the request.
func (w *worker) replyEntry(name *byte) unix.Errno {
	fd, errno := openat(int(w.node.fd), name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if errno != 0 {
		return errno
	}
	return w.replyFile(fd, w.node.share)
}

// replyFile answers with a node for a file, and takes over its O_PATH descriptor.
func (w *worker) replyFile(fd int, share int32) unix.Errno {
	if errno := statx(fd, &empty, &w.attr); errno != 0 {
		closeFD(fd)
		return errno
	}
	if w.server.shares[share].hides(&w.attr) {
		closeFD(fd)
		return unix.ENOENT
	}
	id := identityOf(&w.attr, share)
	number, errno := w.server.nodes.add(id, fd, uint32(w.attr.Mode))
	if errno != 0 {
		return errno
	}
	out := reply[fuse.EntryOut](w)
	out.NodeID, out.AttrValidNsec = number, attrValidNsec
	w.server.setAttr(&out.Attr, &w.attr, &id)
	return 0
}

func (w *worker) forget() unix.Errno {
	if in, _ := fuse.View[fuse.ForgetIn](w.body); in != nil {
		w.server.nodes.forget(w.header.NodeID, in.Nlookup)
	}
	return 0
}

func (w *worker) batchForget() unix.Errno {
	in, rest := fuse.View[fuse.BatchForgetIn](w.body)
	if in == nil {
		return 0
	}
	for range in.Count {
		one, others := fuse.View[fuse.ForgetOne](rest)
		if one == nil {
			return 0 // the count is larger than the message
		}
		w.server.nodes.forget(one.NodeID, one.Nlookup)
		rest = others
	}
	return 0
}

func (w *worker) readlink() unix.Errno {
	if w.node.mode != unix.S_IFLNK {
		return unix.EINVAL
	}
	target := w.space(unix.PathMax)
	n, errno := readlinkat(int(w.node.fd), &empty, target)
	w.n += n
	return errno
}
