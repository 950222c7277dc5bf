// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"archive/tar"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// node is a name in an archive. Hard links are nodes that share an inode.
type node struct {
	*archiveInode
	children map[string]*node // of a directory
}

// archiveInode is a file of an archive.
type archiveInode struct {
	mode            uint32 // st_mode: file type and permissions
	uid, gid        int
	mtime           time.Time
	target          string // of a symlink
	major, minor    int64  // of a device
	xattrs          map[string]string
	blocks, extents int64 // of its data
	links           int
}

// isType compares the file type with one such as unix.S_IFREG.
func (i *archiveInode) isType(kind uint32) bool { return i.mode&unix.S_IFMT == kind }

// isSpecial reports whether the inode is a device or FIFO.
func (i *archiveInode) isSpecial() bool {
	return !i.isType(unix.S_IFREG) && !i.isType(unix.S_IFDIR) && !i.isType(unix.S_IFLNK)
}

// newDirectory returns a directory with the attributes of one that the archive does not
// list.
func newDirectory() *node {
	return &node{
		archiveInode: &archiveInode{mode: unix.S_IFDIR | 0o755, mtime: time.Unix(0, 0), links: 1},
		children:     map[string]*node{},
	}
}

var fileTypes = map[byte]uint32{
	tar.TypeReg: unix.S_IFREG, tar.TypeLink: unix.S_IFREG, tar.TypeDir: unix.S_IFDIR,
	tar.TypeSymlink: unix.S_IFLNK, tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK,
	tar.TypeFifo: unix.S_IFIFO, tar.TypeCont: unix.S_IFREG, tar.TypeGNUSparse: unix.S_IFREG,
}

// parseHeader validates the header of an entry and converts it.
func parseHeader(h *tar.Header) (*archiveInode, error) {
	kind, ok := fileTypes[h.Typeflag]
	if !ok {
		return nil, fmt.Errorf("%w: unsupported type %q", ErrArchive, h.Typeflag)
	}
	i := &archiveInode{
		mode: kind | uint32(h.Mode)&0o7777, uid: h.Uid, gid: h.Gid, mtime: h.ModTime,
		target: h.Linkname, major: h.Devmajor, minor: h.Devminor, links: 1,
	}
	if i.uid < 0 || i.gid < 0 || i.uid > maxID || i.gid > maxID {
		return nil, fmt.Errorf("%w: invalid owner %d:%d", ErrArchive, i.uid, i.gid)
	}
	if kind == unix.S_IFLNK {
		i.mode = kind | 0o777 // Linux ignores the permissions of symlinks
	}
	switch {
	case kind == unix.S_IFLNK && (i.target == "" || len(i.target) > maxSymlinkTargetLen || strings.Contains(i.target, "\x00")):
		return nil, fmt.Errorf("%w: symlink target of %d bytes: it must have 1 to %d bytes and no NUL",
			ErrArchive, len(i.target), maxSymlinkTargetLen)
	case kind != unix.S_IFCHR && kind != unix.S_IFBLK:
		i.major, i.minor = 0, 0
	case i.major < 0 || i.major > maxDeviceMajor || i.minor < 0 || i.minor > maxDeviceMinor:
		return nil, fmt.Errorf("%w: device number %d:%d: the largest is %d:%d",
			ErrArchive, i.major, i.minor, maxDeviceMajor, maxDeviceMinor)
	}
	return i, i.parseXattrs(h)
}

// parseXattrs reads extended attributes from PAX records.
func (i *archiveInode) parseXattrs(h *tar.Header) error {
	size := 0
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if !ok {
			continue
		}
		namespace, _, _ := strings.Cut(name, ".")
		switch namespace {
		case "user", "security", "trusted", "system":
		default:
			return fmt.Errorf("%w: extended attribute %q", ErrArchive, name)
		}
		size += len(name) + len(value) + 16
		if len(name) > maxNameLen || size > maxXattrsSize {
			return fmt.Errorf("%w: over %d bytes of extended attributes", ErrArchive, maxXattrsSize)
		}
		if i.xattrs == nil {
			i.xattrs = map[string]string{}
		}
		i.xattrs[name] = value
	}
	return nil
}

// inodeField is an argument pair of debugfs's set_inode_field.
type inodeField struct{ name, value string }

// changedFields returns the fields in which the inode differs from its staged copy. A
// zero mtime of the copy is unknown.
func (i *archiveInode) changedFields(staged *archiveInode) []inodeField {
	var fields []inodeField
	if i.mode != staged.mode {
		fields = append(fields, inodeField{"mode", "0" + strconv.FormatUint(uint64(i.mode), 8)})
	}
	if i.uid != staged.uid {
		fields = append(fields, inodeField{"uid", strconv.Itoa(i.uid)})
	}
	if i.gid != staged.gid {
		fields = append(fields, inodeField{"gid", strconv.Itoa(i.gid)})
	}
	if staged.mtime.IsZero() || debugfsTime(staged.mtime) != debugfsTime(i.mtime) {
		fields = append(fields, inodeField{"mtime", debugfsTime(i.mtime)})
	}
	return fields
}

// debugfsTime formats a time for debugfs.
func debugfsTime(t time.Time) string {
	return "@" + strconv.FormatInt(clampTime(t).Unix(), 10)
}

// clampTime returns the nearest time that debugfs can set: whole seconds of 31 bits.
// debugfs takes -1 for an error.
func clampTime(t time.Time) time.Time {
	return time.Unix(min(max(t.Unix(), 0), 1<<31-1), 0)
}

// stagedMode returns the mode of the inode's file on the host. It has no setuid or
// similar bit, and its owner can read it for mke2fs.
func (i *archiveInode) stagedMode() uint32 {
	switch {
	case i.isType(unix.S_IFDIR):
		return unix.S_IFDIR | i.mode&0o777 | 0o700
	case i.isType(unix.S_IFREG):
		return unix.S_IFREG | i.mode&0o777 | 0o600
	case i.isType(unix.S_IFLNK):
		return unix.S_IFLNK | 0o777
	}
	return i.mode & unix.S_IFMT // debugfs creates devices and FIFOs without permissions
}

func (i *archiveInode) stagedPerm() fs.FileMode { return fs.FileMode(i.stagedMode() & 0o777) }
