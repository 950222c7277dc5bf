// SPDX-License-Identifier: MPL-2.0

package server

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files/fuse"
)

// openFlags are the flags of open that mean something to the host. Others concern the guest
// alone, or would let the server follow links, create files or need aligned buffers. A program
// may clear O_APPEND later, so each write says whether it appends.
const openFlags = unix.O_ACCMODE | unix.O_TRUNC | unix.O_SYNC | unix.O_DSYNC

// maxCopy limits the bytes of one CopyFileRange, so that the guest can interrupt its program.
const maxCopy = 16 << 20

func (w *worker) openFile() unix.Errno {
	in, _ := fuse.View[fuse.OpenIn](w.body)
	if in == nil || in.Flags&unix.O_ACCMODE == unix.O_ACCMODE {
		return unix.EINVAL
	}
	if w.node.mode == unix.S_IFDIR {
		return unix.EISDIR
	}
	fd, errno := w.open(w.node, int(in.Flags&openFlags))
	if errno != 0 {
		return errno
	}
	return w.replyHandle(fd, w.node.share, false)
}

// replyHandle answers with a handle of fd, and takes fd over.
func (w *worker) replyHandle(fd int, share int32, directory bool) unix.Errno {
	number, errno := w.server.handles.add(fd, share, directory)
	if errno != 0 {
		return errno
	}
	reply[fuse.OpenOut](w).FH = number
	return 0
}

func (w *worker) release() unix.Errno { return w.releaseHandle(false) }

func (w *worker) releaseHandle(directory bool) unix.Errno {
	in, _ := fuse.View[fuse.ReleaseIn](w.body)
	if in == nil {
		return unix.EINVAL
	}
	return w.server.handles.release(in.FH, directory)
}

func (w *worker) read() unix.Errno {
	in, _ := fuse.View[fuse.ReadIn](w.body)
	if in == nil {
		return unix.EINVAL
	}
	opened, errno := w.server.handles.get(in.FH, false)
	if errno != 0 {
		return errno
	}
	defer w.server.handles.put(opened)
	n, errno := pread(int(opened.fd), w.space(in.Size), in.Offset)
	if errno == 0 {
		w.n += n
	}
	return errno
}

func (w *worker) write() unix.Errno {
	in, data := fuse.View[fuse.WriteIn](w.body)
	if in == nil || uint64(in.Size) > uint64(len(data)) {
		return unix.EINVAL
	}
	opened, errno := w.server.handles.get(in.FH, false)
	if errno != 0 {
		return errno
	}
	defer w.server.handles.put(opened)
	if in.Flags&(unix.O_SYNC|unix.O_DSYNC) != 0 {
		w.pass()
	}
	var n int
	if in.Flags&unix.O_APPEND != 0 {
		n, errno = w.append(int(opened.fd), data[:in.Size])
	} else {
		n, errno = pwrite(int(opened.fd), data[:in.Size], in.Offset)
	}
	if errno != 0 {
		return errno
	}
	reply[fuse.WriteOut](w).Size = uint32(n)
	return 0
}

// append writes at the end of the file, wherever other writers have moved it.
func (w *worker) append(fd int, data []byte) (int, unix.Errno) {
	w.vector = unix.Iovec{Base: unsafe.SliceData(data), Len: uint64(len(data))}
	n, _, errno := unix.Syscall6(unix.SYS_PWRITEV2, uintptr(fd), uintptr(unsafe.Pointer(&w.vector)), 1, 0, 0, unix.RWF_APPEND)
	return int(n), errno
}

func (w *worker) fsync() unix.Errno { return w.syncHandle(false) }

func (w *worker) fsyncdir() unix.Errno { return w.syncHandle(true) }

func (w *worker) syncHandle(directory bool) unix.Errno {
	in, _ := fuse.View[fuse.FsyncIn](w.body)
	if in == nil {
		return unix.EINVAL
	}
	opened, errno := w.server.handles.get(in.FH, directory)
	if errno != 0 {
		return errno
	}
	defer w.server.handles.put(opened)
	if opened.fd < 0 {
		return 0
	}
	return fsync(int(opened.fd), in.FsyncFlags&fuse.FsyncFdatasync != 0)
}

func (w *worker) fallocate() unix.Errno {
	in, _ := fuse.View[fuse.FallocateIn](w.body)
	if in == nil {
		return unix.EINVAL
	}
	const known = unix.FALLOC_FL_KEEP_SIZE | unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_ZERO_RANGE
	if in.Mode&^known != 0 {
		return unix.EOPNOTSUPP
	}
	opened, errno := w.server.handles.get(in.FH, false)
	if errno != 0 {
		return errno
	}
	defer w.server.handles.put(opened)
	return fallocate(int(opened.fd), in.Mode, in.Offset, in.Length)
}

func (w *worker) lseek() unix.Errno {
	in, _ := fuse.View[fuse.LseekIn](w.body)
	if in == nil || in.Whence != unix.SEEK_DATA && in.Whence != unix.SEEK_HOLE {
		return unix.EINVAL
	}
	opened, errno := w.server.handles.get(in.FH, false)
	if errno != 0 {
		return errno
	}
	defer w.server.handles.put(opened)
	offset, errno := lseek(int(opened.fd), in.Offset, int(in.Whence))
	if errno != 0 {
		return errno
	}
	reply[fuse.LseekOut](w).Offset = offset
	return 0
}

func (w *worker) copyFileRange() unix.Errno {
	in, _ := fuse.View[fuse.CopyFileRangeIn](w.body)
	if in == nil || in.Flags != 0 {
		return unix.EINVAL
	}
	from, errno := w.server.handles.get(in.FHIn, false)
	if errno != 0 {
		return errno
	}
	defer w.server.handles.put(from)
	to, errno := w.server.handles.get(in.FHOut, false)
	if errno != 0 {
		return errno
	}
	defer w.server.handles.put(to)
	w.from = fileRange{fd: int(from.fd), offset: int64(in.OffIn)}
	w.to = fileRange{fd: int(to.fd), offset: int64(in.OffOut)}
	n, errno := copyRange(&w.from, &w.to, int(min(in.Len, maxCopy)))
	if errno != 0 {
		return errno
	}
	reply[fuse.WriteOut](w).Size = uint32(n)
	return 0
}
