// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// surveyor adds up a directory of the host.
type surveyor struct {
	contents
	ctx   context.Context
	links map[fileID]int // of files with several names
}

type fileID struct{ dev, ino uint64 }

// survey makes a directory the source of an image as it is.
func survey(ctx context.Context, dir string) (*source, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return nil, err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return nil, err
	}
	s := surveyor{ctx: ctx, links: map[fileID]int{}}
	if err := s.directory(dir); err != nil {
		return nil, err
	}
	return &source{
		contents: s.contents,
		dir:      dir,
		remove:   func() {},
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

func (s *surveyor) directory(dir string) error {
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	bytes, subdirectories := int64(0), 0
	for _, entry := range entries {
		bytes += dirent(entry.Name())
		if entry.IsDir() {
			subdirectories++
		}
	}
	s.contents.directory(bytes)
	if subdirectories > mostLinks-2 {
		return fmt.Errorf("%s has %d subdirectories, at most %d fit: %w", dir, subdirectories, mostLinks-2, ErrNoSpace)
	}
	for _, entry := range entries {
		if err := s.entry(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (s *surveyor) entry(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s has no inode", path)
	}
	if s.inodes >= mostEntries {
		return fmt.Errorf("more than %d files", mostEntries)
	}
	if !info.IsDir() && stat.Nlink > 1 {
		id := fileID{stat.Dev, stat.Ino}
		if s.links[id]++; s.links[id] > 1 && info.Mode().Type() != fs.ModeSymlink {
			if s.links[id] > mostLinks {
				return fmt.Errorf("%s has over %d names: %w", path, mostLinks, ErrNoSpace)
			}
			return nil
		}
	}
	if n, err := unix.Llistxattr(path, nil); err == nil && n > 0 {
		s.attributes()
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		s.inodes++
		return s.directory(path)
	case fs.ModeSymlink:
		s.symlink(int(info.Size()))
	case 0:
		return s.regular(path, info.Size(), stat.Blocks*512)
	default:
		s.special()
	}
	return nil
}

// regular adds a file by the data that it has, since mke2fs keeps holes.
func (s *surveyor) regular(path string, size, allocated int64) error {
	if allocated >= size {
		s.file(ceil(size, BlockSize), 1)
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var blocks, pieces int64
	for r, err := range dataOf(f, size) {
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		blocks, pieces = blocks+ceil(r.to, BlockSize)-r.from/BlockSize, pieces+1
	}
	s.file(blocks, pieces)
	return nil
}
