// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/disk/internal/e2fsprogs"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/memfd"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/safeopen"
)

const (
	// maxMemoryContent is the largest content of a file on disk that is copied to memory,
	// in bytes. Memory is faster, but a task may have files of many GiB.
	maxMemoryContent = 1 << 20
	// maxTruncations limits the attempts to copy a file that becomes shorter meanwhile.
	maxTruncations = 10
	// contentMode lets the user of debugfs read a file.
	contentMode = 0o444
)

// A contentBuffer passes the contents of files to debugfs, one at a time. debugfs may open
// no file of the host. It inherits the files of the buffer when it starts, and reopens them
// for each content.
type contentBuffer struct {
	memory *os.File
	disk   *os.File // for large files; nil without such a file
}

// newContentBuffer returns a buffer for content in memory. If dir is not empty, the buffer
// keeps large files in a file without a name in this directory.
func newContentBuffer(dir string) (*contentBuffer, error) {
	memory, err := memfd.New("content", nil)
	if err != nil {
		return nil, err
	}
	b := &contentBuffer{memory: memory}
	err = memory.Chmod(contentMode)
	if err == nil && dir != "" {
		b.disk, err = newUnnamedFile(dir)
	}
	if err == nil && b.disk != nil {
		err = b.disk.Chmod(contentMode)
	}
	if err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// files returns the files that debugfs inherits.
func (b *contentBuffer) files() []*os.File {
	if b.disk == nil {
		return []*os.File{b.memory}
	}
	return []*os.File{b.memory, b.disk}
}

func (b *contentBuffer) close() {
	for _, f := range b.files() {
		f.Close() // its content is not needed
	}
}

// setBytes replaces the content, and returns the path at which debugfs reads it.
func (b *contentBuffer) setBytes(content []byte) (string, error) {
	err := b.memory.Truncate(0)
	if err == nil {
		_, err = b.memory.WriteAt(content, 0)
	}
	return e2fsprogs.FilePath(0), err
}

// setFile replaces the content by that of a file, including its holes, and returns the path
// at which debugfs reads it. Content from memory stays in memory, because it may be secret.
func (b *contentBuffer) setFile(ctx context.Context, f *os.File) (string, error) {
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	buffer, index := b.memory, 0
	if b.disk != nil && info.Size() > maxMemoryContent && !isInMemory(f) {
		buffer, index = b.disk, 1
	}
	if err := buffer.Truncate(0); err != nil {
		return "", err
	}
	return e2fsprogs.FilePath(index), copyFile(ctx, f, buffer, info.Size())
}

// clear frees the space of a large content.
func (b *contentBuffer) clear() error {
	if b.disk == nil {
		return b.memory.Truncate(0)
	}
	return errors.Join(b.memory.Truncate(0), b.disk.Truncate(0))
}

// isInMemory reports whether the file system of a file has no disk. Nomad keeps secrets in
// such a file system.
func isInMemory(f *os.File) bool {
	var stat unix.Statfs_t
	return unix.Fstatfs(int(f.Fd()), &stat) == nil && (stat.Type == unix.TMPFS_MAGIC || stat.Type == unix.RAMFS_MAGIC)
}

// setContent passes the content of a regular file to debugfs, and returns the path at which
// debugfs reads it.
func (p *putter) setContent(ctx context.Context, f *File) (string, error) {
	if f.Source == "" {
		return p.content.setBytes(f.Content)
	}
	name, err := p.setSource(ctx, f)
	for range maxTruncations {
		if f.tree == nil || !errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		name, err = p.setSource(ctx, f) // another task has truncated the file
	}
	return name, err
}

func (p *putter) setSource(ctx context.Context, f *File) (string, error) {
	var source *os.File
	var err error
	if f.tree == nil {
		source, err = safeopen.Open(f.Source, os.O_RDONLY, safeopen.Regular)
	} else {
		source, err = p.openInTree(f)
	}
	if err != nil {
		return "", err
	}
	defer source.Close()
	return p.content.setFile(ctx, source)
}

// openInTree opens a file of Tree. It does not leave the directory of that call, because
// another task may have replaced the file by a symlink.
func (p *putter) openInTree(f *File) (*os.File, error) {
	root := p.roots[f.tree]
	if root == nil {
		var err error
		if root, err = safeopen.Open(f.tree.dir, os.O_RDONLY, safeopen.Directory); err != nil {
			return nil, err
		}
		p.roots[f.tree] = root
	}
	return safeopen.OpenBelow(root, f.name, os.O_RDONLY|unix.O_NOFOLLOW, safeopen.Regular)
}
