// SPDX-License-Identifier: MPL-2.0

package server

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/files/fuse"
)

func (w *worker) opendir() unix.Errno {
	if w.node.mode != unix.S_IFDIR {
		return unix.ENOTDIR
	}
	if w.node.fd < 0 {
		return w.replyHandle(-1, rootShare, true)
	}
	fd, errno := w.open(w.node, unix.O_RDONLY|unix.O_DIRECTORY)
	if errno != 0 {
		return errno
	}
	return w.replyHandle(fd, w.node.share, true)
}

func (w *worker) releasedir() unix.Errno { return w.releaseHandle(true) }

func (w *worker) readdir() unix.Errno {
	in, _ := fuse.View[fuse.ReadIn](w.body)
	if in == nil {
		return unix.EINVAL
	}
	opened, errno := w.server.handles.get(in.FH, true)
	if errno != 0 {
		return errno
	}
	defer w.server.handles.put(opened)
	opened.mu.Lock()
	defer opened.mu.Unlock()
	list := listing{space: w.space(in.Size)}
	if opened.fd < 0 {
		errno = list.addShares(in.Offset, len(w.server.shares))
	} else {
		errno = w.list(opened, &list, in.Offset)
	}
	w.n += list.n
	return errno
}

// list reads entries from the offset on, at least one unless the directory ends there.
func (w *worker) list(opened *handle, list *listing, offset uint64) unix.Errno {
	// An entry of the guest is at most 4/3 as long as the host's, so that all entries of a block
	// usually fit, and the next request continues where the descriptor stands.
	block := w.dents[:min(max(len(list.space)/4*3, 512), len(w.dents))]
	for list.n == 0 {
		if opened.position != offset {
			if _, errno := lseek(int(opened.fd), offset, unix.SEEK_SET); errno != 0 {
				return errno
			}
			opened.position = offset
		}
		n, errno := getdents(int(opened.fd), block)
		if errno != 0 || n == 0 {
			return errno
		}
		// The descriptor has moved behind the block, whether or not all of it fits.
		end := blockEnd(block[:n])
		opened.position = end
		if !w.addBlock(opened, list, block[:n]) && list.n == 0 {
			opened.position = ^offset
			return unix.EINVAL // not even one entry fits
		}
		offset = end
	}
	return 0
}

// blockEnd returns the offset behind the last entry of a block.
func blockEnd(block []byte) (end uint64) {
	for len(block) > 0 {
		entry := hostEntry(block)
		end, block = entry.off, block[entry.length:]
	}
	return end
}

// addBlock adds the entries of a block that the guest may see. It returns false if there was
// no space for all of them.
func (w *worker) addBlock(opened *handle, list *listing, block []byte) bool {
	share := &w.server.shares[opened.share]
	for len(block) > 0 {
		entry := hostEntry(block)
		block = block[entry.length:]
		if w.hidesEntry(share, int(opened.fd), &entry) {
			continue
		}
		id := identity{dev: share.root.dev, ino: entry.ino, share: opened.share}
		if string(entry.name) == ".." {
			id.ino = share.root.ino // the parent of a share is not the guest's
		}
		if !list.add(&fuse.Dirent{Ino: w.server.inode(&id), Off: entry.off, Type: uint32(entry.kind)}, entry.name) {
			return false
		}
	}
	return true
}

func (w *worker) hidesEntry(share *share, dir int, entry *dirent) bool {
	if !slices.ContainsFunc(share.hidden, func(hidden files.Inode) bool { return hidden.Ino == entry.ino }) {
		return false
	}
	// A name in a block of the kernel ends in NUL.
	return statx(dir, &entry.name[0], &w.attr) == 0 && share.hides(&w.attr)
}

// A dirent is an entry of a directory of the host.
type dirent struct {
	ino, off uint64
	length   int
	kind     byte
	name     []byte
}

// hostEntry decodes struct linux_dirent64.
func hostEntry(b []byte) dirent {
	length := int(binary.NativeEndian.Uint16(b[16:]))
	name := b[19:length]
	return dirent{
		ino: binary.NativeEndian.Uint64(b), off: binary.NativeEndian.Uint64(b[8:]),
		length: length, kind: b[18], name: name[:bytes.IndexByte(name, 0)],
	}
}

// A listing is the answer to Readdir.
type listing struct {
	space []byte
	n     int
}

// add appends an entry. It returns false if the space does not suffice.
func (l *listing) add(entry *fuse.Dirent, name []byte) bool {
	size := fuse.Align(fuse.DirentSize + len(name))
	if size > len(l.space)-l.n {
		return false
	}
	out, rest := fuse.View[fuse.Dirent](l.space[l.n : l.n+size])
	*out = *entry
	out.Namelen = uint32(len(name))
	clear(rest[copy(rest, name):])
	l.n += size
	return true
}

// addShares lists the root directory. The offset of an entry is its number from 1 on.
func (l *listing) addShares(offset uint64, shares int) unix.Errno {
	var buffer [8]byte
	for i := offset; i < uint64(shares)+2; i++ {
		name, id := buffer[:0], uint64(fuse.RootID)
		switch i {
		case 0:
			name = append(name, '.')
		case 1:
			name = append(name, '.', '.')
		default:
			// The kernel of the guest takes the real number from the lookup.
			name, id = strconv.AppendUint(name, i-2, 10), i
		}
		if !l.add(&fuse.Dirent{Ino: id, Off: i + 1, Type: unix.DT_UNKNOWN}, name) {
			if l.n == 0 {
				return unix.EINVAL
			}
			break
		}
	}
	return 0
}
