// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"archive/tar"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// node is a name in an image that is to be built. Hard links are nodes that share an inode.
type node struct {
	*inode
	children map[string]*node // of a directory
	layer    int32            // that set the file last
	cleared  int32            // since this layer, a directory has only files of it and of later layers
}

// inode is a file of an image that is to be built.
type inode struct {
	mode         uint32 // st_mode: file type and permissions
	uid, gid     int
	mtime        time.Time
	target       string  // of a symlink
	major, minor int64   // of a device
	xattrs       []xattr // sorted by name
	links        int
	data         fileData // of a regular file
}

// fileData describes the content of a regular file. It may have holes.
type fileData struct {
	size            int64
	blocks, extents int64 // without the holes
	offset          int64 // in the spool
	id              fileID
}

// isSparse reports whether the content has holes.
func (d *fileData) isSparse() bool { return d.blocks < divideUp(d.size, BlockSize) }

// isType compares the file type with one such as unix.S_IFREG.
func (i *inode) isType(kind uint32) bool { return i.mode&unix.S_IFMT == kind }

// newDirectory returns a directory with the attributes of one that the archive does not
// list.
func newDirectory() *node {
	return &node{
		inode:    &inode{mode: unix.S_IFDIR | 0o755, mtime: time.Unix(0, 0), links: 1},
		children: map[string]*node{},
	}
}

var fileTypes = map[byte]uint32{
	tar.TypeReg: unix.S_IFREG, tar.TypeLink: unix.S_IFREG, tar.TypeDir: unix.S_IFDIR,
	tar.TypeSymlink: unix.S_IFLNK, tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK,
	tar.TypeFifo: unix.S_IFIFO, tar.TypeCont: unix.S_IFREG, tar.TypeGNUSparse: unix.S_IFREG,
}

// parseHeader validates the header of an entry and converts it.
func parseHeader(h *tar.Header) (*inode, error) {
	kind, ok := fileTypes[h.Typeflag]
	if !ok {
		return nil, fmt.Errorf("%w: unsupported type %q", ErrArchive, h.Typeflag)
	}
	i := &inode{
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
	default:
		if err := checkDevice(i.major, i.minor); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrArchive, err)
		}
	}
	return i, i.parseXattrs(h)
}

func checkDevice(major, minor int64) error {
	if major < 0 || major > maxDeviceMajor || minor < 0 || minor > maxDeviceMinor {
		return fmt.Errorf("device number %d:%d: the largest is %d:%d", major, minor, maxDeviceMajor, maxDeviceMinor)
	}
	return nil
}

// parseXattrs reads extended attributes from PAX records. It leaves out those that ext4 does
// not have, such as com.apple.provenance in images that were made with macOS.
func (i *inode) parseXattrs(h *tar.Header) error {
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if !ok {
			continue
		}
		if !isKeptXattr(name) {
			continue
		}
		if err := i.addXattr(name, value); err != nil {
			return fmt.Errorf("%w: %w", ErrArchive, err)
		}
	}
	return nil
}

// inodeField is an argument pair of debugfs's set_inode_field.
type inodeField struct{ name, value string }

// changedFields returns the fields in which the inode differs from created, the state in
// which a tool has created it.
func (i *inode) changedFields(created *inode) []inodeField {
	var fields []inodeField
	if i.mode != created.mode {
		fields = append(fields, inodeField{"mode", "0" + strconv.FormatUint(uint64(i.mode), 8)})
	}
	if i.uid != created.uid {
		fields = append(fields, inodeField{"uid", strconv.Itoa(i.uid)})
	}
	if i.gid != created.gid {
		fields = append(fields, inodeField{"gid", strconv.Itoa(i.gid)})
	}
	if mtime := debugfsTime(i.mtime); mtime != debugfsTime(created.mtime) {
		fields = append(fields, inodeField{"mtime", mtime})
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
