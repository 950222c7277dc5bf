// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/disk/internal/debugfs"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/procfd"
)

// surveyor adds up the space that a directory of the host takes in an image.
type surveyor struct {
	usage
	ctx   context.Context
	root  *os.Root
	dir   *os.File // the same directory
	names map[fileID]int
}

// fileID identifies a file that has several names.
type fileID struct{ device, inode uint64 }

// survey prepares a directory for mke2fs. The directory is opened once, so replacing its
// path later has no effect.
func survey(ctx context.Context, path string) (_ *buildInput, err error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	dir, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			dir.Close()
		}
	}()
	info, err := dir.Stat()
	if err != nil {
		return nil, err
	}
	s := surveyor{ctx: ctx, root: root, dir: dir, names: map[fileID]int{}}
	if err := s.surveyDirectory("."); err != nil {
		return nil, err
	}
	return &buildInput{
		usage: s.usage,
		dir:   dir,
		close: func() { dir.Close() },
		fixup: func(session *debugfs.Session, _ *contentBuffer) error { return session.RunAll(rootAttributes(info)) },
	}, nil
}

// rootAttributes returns commands that set the attributes of the root, which mke2fs does
// not copy.
func rootAttributes(info fs.FileInfo) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			yield("", fmt.Errorf("%s: owner unknown", info.Name()))
			return
		}
		for _, field := range []inodeField{
			{"mode", "0" + strconv.FormatUint(uint64(stat.Mode), 8)},
			{"uid", strconv.FormatUint(uint64(stat.Uid), 10)},
			{"gid", strconv.FormatUint(uint64(stat.Gid), 10)},
			{"mtime", debugfsTime(info.ModTime())},
		} {
			if !yield(debugfs.Command("set_inode_field", "/", field.name, field.value)) {
				return
			}
		}
	}
}

// surveyDirectory adds a directory, by its path below the root, and its content.
func (s *surveyor) surveyDirectory(dir string) error {
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	entries, err := readDir(s.root, dir)
	if err != nil {
		return err
	}
	entryBytes, subdirectories := int64(0), 0
	for _, entry := range entries {
		entryBytes += direntSize(entry.Name())
		if entry.IsDir() {
			subdirectories++
		} else if dir == "." && entry.Name() == lostFoundName {
			return errLostFound
		}
	}
	s.addDirectory(entryBytes)
	if subdirectories > maxLinks-2 {
		return fmt.Errorf("%s has %d subdirectories; ext4 allows %d", dir, subdirectories, maxLinks-2)
	}
	for _, entry := range entries {
		if err := s.surveyEntry(path.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (s *surveyor) surveyEntry(name string) error {
	if len(name) > maxBuildPathLen {
		return fmt.Errorf("%.40q…: the path has more than %d bytes", name, maxBuildPathLen)
	}
	info, err := s.root.Lstat(name)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: inode unknown", name)
	}
	if s.inodes >= maxEntries {
		return fmt.Errorf("more than %d files", maxEntries)
	}
	if !info.IsDir() && stat.Nlink > 1 {
		id := fileID{stat.Dev, stat.Ino}
		if s.names[id]++; s.names[id] > 1 && info.Mode().Type() != fs.ModeSymlink {
			if s.names[id] > maxLinks {
				return fmt.Errorf("%s: the file has more than %d names, the maximum of ext4", name, maxLinks)
			}
			return nil
		}
	}
	if n, err := unix.Llistxattr(procfd.SelfPath(s.dir)+"/"+name, nil); err == nil && n > 0 {
		s.addXattrs()
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		s.inodes++
		return s.surveyDirectory(name)
	case fs.ModeSymlink:
		s.addSymlink(int(info.Size()))
	case 0:
		return s.surveyFile(name, info.Size(), stat.Blocks*512)
	default:
		s.addSpecial()
	}
	return nil
}

// surveyFile adds a regular file without its holes, which mke2fs preserves.
func (s *surveyor) surveyFile(name string, size, allocated int64) error {
	if allocated >= size {
		s.addFile(divideUp(size, BlockSize), 1)
		return nil
	}
	f, err := s.root.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var blocks, ranges int64
	for r, err := range dataRanges(f, size) {
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		blocks, ranges = blocks+divideUp(r.to, BlockSize)-r.from/BlockSize, ranges+1
	}
	s.addFile(blocks, ranges)
	return nil
}

// readDir lists a directory sorted by name. Unlike fs.ReadDir, it accepts names that are
// not valid UTF-8.
func readDir(root *os.Root, name string) ([]fs.DirEntry, error) {
	dir, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, err
}
