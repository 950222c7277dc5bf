// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// node is a name in the archive; several may share an entry (hard links).
type node struct {
	*entry
	children map[string]*node // of a directory
}

// entry is an inode of the archive.
type entry struct {
	mode           uint32 // type and permissions as the kernel has them
	uid, gid       int
	mtime          time.Time
	target         string // of a symlink
	major, minor   int64  // of a device
	xattrs         map[string]string
	blocks, pieces int64 // of data
	links          int
}

func (e *entry) is(kind uint32) bool { return e.mode&typeMask == kind }

// special: neither a file, a directory nor a symlink.
func (e *entry) special() bool {
	return !e.is(typeRegular) && !e.is(typeDir) && !e.is(typeSymlink)
}

// newDirectory is one that the archive does not list itself.
func newDirectory() *node {
	return &node{
		entry:    &entry{mode: typeDir | 0o755, mtime: time.Unix(0, 0), links: 1},
		children: map[string]*node{},
	}
}

var typeOfFlag = map[byte]uint32{
	tar.TypeReg: unix.S_IFREG, tar.TypeLink: unix.S_IFREG, tar.TypeDir: unix.S_IFDIR,
	tar.TypeSymlink: unix.S_IFLNK, tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK,
	tar.TypeFifo: unix.S_IFIFO, tar.TypeCont: unix.S_IFREG, tar.TypeGNUSparse: unix.S_IFREG,
}

// The largest device numbers that debugfs makes and the kernel takes.
const (
	largestMajor = 1<<12 - 1
	largestMinor = 1<<16 - 1
)

// newEntry checks a header and takes over what an inode holds.
func newEntry(h *tar.Header) (*entry, error) {
	kind, ok := typeOfFlag[h.Typeflag]
	if !ok {
		return nil, fmt.Errorf("%w: type %q", ErrArchive, h.Typeflag)
	}
	e := &entry{
		mode: kind | uint32(h.Mode)&0o7777, uid: h.Uid, gid: h.Gid, mtime: h.ModTime,
		target: h.Linkname, major: h.Devmajor, minor: h.Devminor, links: 1,
	}
	if e.uid < 0 || e.gid < 0 || e.uid > 1<<32-2 || e.gid > 1<<32-2 {
		return nil, fmt.Errorf("%w: owner %d:%d", ErrArchive, e.uid, e.gid)
	}
	if kind == unix.S_IFLNK {
		e.mode = kind | 0o777 // of a symlink nobody asks
	}
	switch {
	case kind == unix.S_IFLNK && (e.target == "" || len(e.target) > longestLink || strings.Contains(e.target, "\x00")):
		return nil, fmt.Errorf("%w: symlink to %d bytes, must be 1 to %d", ErrArchive, len(e.target), longestLink)
	case kind != unix.S_IFCHR && kind != unix.S_IFBLK:
		e.major, e.minor = 0, 0
	case e.major < 0 || e.major > largestMajor || e.minor < 0 || e.minor > largestMinor:
		return nil, fmt.Errorf("%w: device %d:%d", ErrArchive, e.major, e.minor)
	}
	return e, e.attributes(h)
}

// attributes takes over extended attributes, which archives hold as PAX records.
func (e *entry) attributes(h *tar.Header) error {
	size := 0
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if !ok {
			continue
		}
		space, _, _ := strings.Cut(name, ".")
		switch space {
		case "user", "security", "trusted", "system":
		default:
			return fmt.Errorf("%w: extended attribute %q", ErrArchive, name)
		}
		size += len(name) + len(value) + 16
		if len(name) > longestName || size > mostXattrs {
			return fmt.Errorf("%w: over %d bytes of extended attributes", ErrArchive, mostXattrs)
		}
		if e.xattrs == nil {
			e.xattrs = map[string]string{}
		}
		e.xattrs[name] = value
	}
	return nil
}

// field is one value of an inode as debugfs takes it.
type field struct{ name, value string }

// fields are those of an entry that differ from what is staged; a zero time there
// is one that is not known.
func (e *entry) fields(staged *entry) []field {
	var f []field
	if e.mode != staged.mode {
		f = append(f, field{"mode", "0" + strconv.FormatUint(uint64(e.mode), 8)})
	}
	if e.uid != staged.uid {
		f = append(f, field{"uid", strconv.Itoa(e.uid)})
	}
	if e.gid != staged.gid {
		f = append(f, field{"gid", strconv.Itoa(e.gid)})
	}
	if staged.mtime.IsZero() || debugfsTime(staged.mtime) != debugfsTime(e.mtime) {
		f = append(f, field{"mtime", debugfsTime(e.mtime)})
	}
	return f
}

// debugfsTime is a time as debugfs takes it.
func debugfsTime(t time.Time) string {
	return "@" + strconv.FormatInt(stagedTime(t).Unix(), 10)
}

// stagedMode is what an entry's own file on the host has: nothing that runs with
// somebody's rights, and readable for mke2fs.
func (e *entry) stagedMode() uint32 {
	switch {
	case e.is(typeDir):
		return typeDir | e.mode&0o777 | 0o700
	case e.is(typeRegular):
		return typeRegular | e.mode&0o777 | 0o600
	case e.is(typeSymlink):
		return typeSymlink | 0o777
	}
	return e.mode & typeMask // as debugfs makes devices and FIFOs
}

func (e *entry) filePerm() fs.FileMode { return fs.FileMode(e.stagedMode() & 0o777) }

// contextReader ends reading when the context does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
