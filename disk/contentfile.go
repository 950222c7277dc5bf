// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// ContentFile is a regular file of a Content. It is valid until the Content changes.
type ContentFile struct {
	spool *spool
	inode *inode
	path  string
}

// Open returns the regular file at a path of the content, with or without a slash at its
// beginning. Symlinks are followed as the guest would. fs.ErrNotExist: there is no file at
// the path.
func (c *Content) Open(name string) (*ContentFile, error) {
	_, n, resolved, err := c.find(name)
	if err != nil {
		return nil, err
	}
	return &ContentFile{spool: c.spool, inode: n.inode, path: "/" + resolved}, nil
}

// ReadFile returns the content of the file that Open returns for a path. It refuses a file
// of more than limit bytes.
func (c *Content) ReadFile(name string, limit int64) ([]byte, error) {
	f, err := c.Open(name)
	if err != nil {
		return nil, err
	}
	if f.Size() > limit {
		return nil, fmt.Errorf("%s of the image has %d bytes, and may have %d", f.path, f.Size(), limit)
	}
	content := make([]byte, f.Size())
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, f.Size()), content); err != nil {
		return nil, fmt.Errorf("read %s of the image: %w", f.path, err)
	}
	return content, nil
}

// Remove removes the file that Open returns for a path. Other names of the file remain:
// hard links, and symlinks, which then lead nowhere.
func (c *Content) Remove(name string) error {
	parent, _, resolved, err := c.find(name)
	if err != nil {
		return err
	}
	c.remove(parent, resolved)
	return nil
}

// find returns the regular file at a path with its directory, and its path without
// symlinks.
func (c *Content) find(name string) (parent, n *node, resolved string, err error) {
	if c.failed != nil {
		return nil, nil, "", c.failed
	}
	trail, names, err := c.walk(strings.Split(name, "/"), false)
	resolved = path.Join(names...)
	if err == nil {
		n = trail[len(trail)-1]
		if !n.isType(unix.S_IFREG) {
			err = errNotRegular
		}
	}
	if err != nil {
		return nil, nil, "", &fs.PathError{Op: "open in the image", Path: name, Err: err}
	}
	return trail[len(trail)-2], n, resolved, nil
}

// Path returns the absolute path of the file in the content, without symlinks.
func (f *ContentFile) Path() string { return f.path }

// Size returns the size in bytes.
func (f *ContentFile) Size() int64 { return f.inode.data.size }

// ReadAt implements io.ReaderAt.
func (f *ContentFile) ReadAt(p []byte, off int64) (int, error) {
	size := f.Size()
	if off < 0 || off >= size {
		return 0, io.EOF
	}
	var short error
	if size-off < int64(len(p)) {
		p, short = p[:size-off], io.EOF
	}
	n, err := f.spool.ReadAt(p, f.inode.data.offset+off)
	if err == io.EOF { //nolint:errorlint // ReadAt returns it unwrapped
		clear(p[n:]) // zeros behind the spool's last data
		n, err = len(p), nil
	}
	if err == nil {
		err = short
	}
	return n, err
}

// CopyTo replaces the content of a file of the host by that of f, without its holes. It
// shares the blocks where the file system supports that.
func (f *ContentFile) CopyTo(ctx context.Context, dst *os.File) error {
	d := &f.inode.data
	if err := dst.Truncate(0); err != nil {
		return err
	}
	if err := dst.Truncate(d.size); err != nil {
		return err
	}
	for r, err := range dataRanges(f.spool.File, byteRange{d.offset, d.offset + d.size}) {
		if err == nil {
			err = copyRange(ctx, f.spool.File, dst, r, r.from-d.offset)
		}
		if err != nil {
			return fmt.Errorf("copy %s of the image to %s: %w", f.path, dst.Name(), err)
		}
	}
	return nil
}
