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
)

// surveyor adds up a directory of the host.
type surveyor struct {
	contents
	ctx   context.Context
	root  *os.Root
	dir   *os.File       // the same
	links map[fileID]int // of files with several names
}

type fileID struct{ dev, ino uint64 }

// survey makes a directory the source of an image as it is. It is opened once:
// what is at its path later does not matter.
func survey(ctx context.Context, path string) (_ *source, err error) {
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
	s := surveyor{ctx: ctx, root: root, dir: dir, links: map[fileID]int{}}
	if err := s.directory("."); err != nil {
		return nil, err
	}
	return &source{
		contents: s.contents,
		dir:      dir,
		remove:   func() { dir.Close() },
		repair:   func(d *session) error { return d.do(rootAttributes(info)) },
	}, nil
}

// rootAttributes sets those of the root, which mke2fs leaves alone.
func rootAttributes(info fs.FileInfo) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			yield("", fmt.Errorf("%s has no owner", info.Name()))
			return
		}
		for _, field := range [][2]string{
			{"mode", "0" + strconv.FormatUint(uint64(stat.Mode), 8)},
			{"uid", strconv.FormatUint(uint64(stat.Uid), 10)},
			{"gid", strconv.FormatUint(uint64(stat.Gid), 10)},
			{"mtime", debugfsTime(info.ModTime())},
		} {
			if !yield(command("set_inode_field", "/", field[0], field[1])) {
				return
			}
		}
	}
}

// directory adds one by its path below the root, and all that is in it.
func (s *surveyor) directory(dir string) error {
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	entries, err := readDir(s.root, dir)
	if err != nil {
		return err
	}
	bytes, subdirectories := int64(0), 0
	for _, entry := range entries {
		bytes += dirent(entry.Name())
		if entry.IsDir() {
			subdirectories++
		} else if dir == "." && entry.Name() == lostFoundName {
			return errLostFound
		}
	}
	s.contents.directory(bytes)
	if subdirectories > mostLinks-2 {
		return fmt.Errorf("%s has %d subdirectories; a directory of ext4 has at most %d", dir, subdirectories, mostLinks-2)
	}
	for _, entry := range entries {
		if err := s.entry(path.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (s *surveyor) entry(name string) error {
	if len(name) > longestBuilt {
		return fmt.Errorf("%.40q…: path of over %d bytes", name, longestBuilt)
	}
	info, err := s.root.Lstat(name)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s has no inode", name)
	}
	if s.inodes >= mostEntries {
		return fmt.Errorf("more than %d files", mostEntries)
	}
	if !info.IsDir() && stat.Nlink > 1 {
		id := fileID{stat.Dev, stat.Ino}
		if s.links[id]++; s.links[id] > 1 && info.Mode().Type() != fs.ModeSymlink {
			if s.links[id] > mostLinks {
				return fmt.Errorf("%s has more than the %d names that a file of ext4 can have", name, mostLinks)
			}
			return nil
		}
	}
	if n, err := unix.Llistxattr(descriptorPath(s.dir)+"/"+name, nil); err == nil && n > 0 {
		s.attributes()
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		s.inodes++
		return s.directory(name)
	case fs.ModeSymlink:
		s.symlink(int(info.Size()))
	case 0:
		return s.regular(name, info.Size(), stat.Blocks*512)
	default:
		s.special()
	}
	return nil
}

// regular adds a file by the data that it has, since mke2fs keeps holes.
func (s *surveyor) regular(name string, size, allocated int64) error {
	if allocated >= size {
		s.file(ceil(size, BlockSize), 1)
		return nil
	}
	f, err := s.root.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var blocks, pieces int64
	for r, err := range dataOf(f, size) {
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		blocks, pieces = blocks+ceil(r.to, BlockSize)-r.from/BlockSize, pieces+1
	}
	s.file(blocks, pieces)
	return nil
}

// readDir lists a directory by names, which, unlike those of an fs.FS, may be any
// bytes.
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
