// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/eintr"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/safeopen"
)

// errChanged means that another process changed a directory while an image was built from
// it.
var errChanged = errors.New("it changed while the image was built: nothing may write to the directory of a root disk during the start of the task")

// A hostDir is a directory of the host that an image is built from. Other tasks may be able
// to change the directory. Every access therefore starts at the directory's descriptor, and
// follows no symlink and no "..".
type hostDir struct{ *os.File }

// fileID identifies a file of the host.
type fileID struct{ device, inode uint64 }

// scanner lists a directory of the host.
type scanner struct {
	ctx    context.Context
	dir    hostDir
	inodes map[fileID]*inode // with several names
	count  int64
}

// scanDirectory lists a directory and everything in it except for sockets. The contents of
// files are read later.
func scanDirectory(ctx context.Context, dirPath string) (_ *rootContent, err error) {
	f, err := safeopen.Open(dirPath, os.O_RDONLY, safeopen.Directory)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	s := scanner{ctx: ctx, dir: hostDir{f}, inodes: map[fileID]*inode{}}
	top, err := s.scanFile(".")
	if err != nil {
		return nil, err
	}
	return &rootContent{top: top, files: s.dir}, nil
}

// locate returns a descriptor (O_PATH) and the status of a file by its path below the
// directory.
func (d hostDir) locate(name string) (*os.File, *unix.Stat_t, error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	fd, err := eintr.Retry(func() (int, error) { return unix.Openat2(int(d.Fd()), name, &how) })
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
		return nil, nil, errChanged // the caller has listed it before
	case err != nil:
		return nil, nil, fmt.Errorf("open: %w", err)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		unix.Close(fd)
		return nil, nil, fmt.Errorf("stat: %w", err)
	}
	return os.NewFile(uintptr(fd), name), &stat, nil
}

// scanFile returns the file at a path below the directory, with everything in it. It
// returns nil for a socket, which no guest could use.
func (s *scanner) scanFile(name string) (*node, error) {
	if s.ctx.Err() != nil {
		return nil, context.Cause(s.ctx)
	}
	if len(name) > maxPathLen {
		return nil, fmt.Errorf("%.40q…: the path has more than %d bytes", name, maxPathLen)
	}
	if s.count++; s.count > maxEntries {
		return nil, fmt.Errorf("more than %d files", maxEntries)
	}
	f, stat, err := s.dir.locate(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer f.Close()
	id := fileID{stat.Dev, stat.Ino}
	if known := s.inodes[id]; known != nil {
		if known.links++; known.links > maxLinks {
			return nil, fmt.Errorf("%s: the file has more than %d names, the maximum of ext4", name, maxLinks)
		}
		return &node{inode: known}, nil
	}
	if stat.Mode&unix.S_IFMT == unix.S_IFSOCK {
		return nil, nil
	}
	n := &node{inode: inodeOf(stat)}
	if err := s.complete(n, f, stat.Blocks*512); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if n.isType(unix.S_IFDIR) {
		return n, s.scanEntries(n, f)
	}
	if stat.Nlink > 1 {
		s.inodes[id] = n.inode
	}
	return n, nil
}

// inodeOf converts the status of a file.
func inodeOf(stat *unix.Stat_t) *inode {
	return &inode{
		mode: stat.Mode, uid: int(stat.Uid), gid: int(stat.Gid), links: 1,
		mtime: time.Unix(stat.Mtim.Sec, stat.Mtim.Nsec),
		data:  fileData{size: stat.Size, id: fileID{stat.Dev, stat.Ino}},
		major: int64(unix.Major(stat.Rdev)), minor: int64(unix.Minor(stat.Rdev)),
	}
}

// complete adds the properties of a file that its status does not contain.
func (s *scanner) complete(n *node, f *os.File, allocated int64) error {
	if err := n.readXattrs(f); err != nil {
		return err
	}
	switch n.mode & unix.S_IFMT {
	case unix.S_IFREG:
		return n.data.findHoles(f, allocated)
	case unix.S_IFLNK:
		target := make([]byte, BlockSize)
		length, err := unix.Readlinkat(int(f.Fd()), "", target)
		if err != nil {
			return fmt.Errorf("readlink: %w", err)
		}
		if n.target = string(target[:length]); length > maxSymlinkTargetLen {
			return fmt.Errorf("the symlink's target has more than %d bytes", maxSymlinkTargetLen)
		}
	case unix.S_IFBLK, unix.S_IFCHR:
		return checkDevice(n.major, n.minor)
	}
	return nil
}

// findHoles counts the blocks of a file without its holes.
func (d *fileData) findHoles(located *os.File, allocated int64) error {
	d.blocks, d.extents = divideUp(d.size, BlockSize), 1
	if allocated >= d.size {
		return nil
	}
	f, err := safeopen.Reopen(located, os.O_RDONLY, safeopen.Regular)
	if err != nil {
		return err
	}
	defer f.Close()
	d.blocks, d.extents = 0, 0
	for r, err := range dataRanges(f, byteRange{0, d.size}) {
		if err != nil {
			return err
		}
		d.blocks += divideUp(r.to, BlockSize) - r.from/BlockSize
		d.extents++
	}
	return nil
}

// scanEntries adds the entries of a directory.
func (s *scanner) scanEntries(n *node, located *os.File) error {
	dir, err := safeopen.Reopen(located, os.O_RDONLY, safeopen.Directory)
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	n.children = make(map[string]*node, len(names))
	for _, name := range names {
		child, err := s.scanFile(path.Join(located.Name(), name))
		if err != nil {
			return err
		}
		if child != nil {
			n.children[name] = child
		}
	}
	return nil
}

// copyTo writes the content of a file that has been scanned.
func (d hostDir) copyTo(ctx context.Context, dst *os.File, name string, data *fileData) error {
	f, err := d.reopen(name, data.id)
	if err != nil {
		return err
	}
	defer f.Close()
	return copyData(ctx, dst, f, data)
}

// reopen opens a regular file that has been scanned. errChanged: the path leads to another
// file now.
func (d hostDir) reopen(name string, id fileID) (*os.File, error) {
	located, stat, err := d.locate(name)
	if err != nil {
		return nil, err
	}
	defer located.Close()
	if (fileID{stat.Dev, stat.Ino}) != id {
		return nil, errChanged
	}
	return safeopen.Reopen(located, os.O_RDONLY, safeopen.Regular)
}
