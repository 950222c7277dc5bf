// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/disk/internal/iso9660"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/safeopen"
)

// BuildISO creates dst as an ISO 9660 image, with Rock Ridge, of the content of src, a directory
// or a tar archive, and of further files with Content. It is Build for a file system that
// cannot be changed: it preserves everything but extended attributes, and the further files
// replace those of src. o.Size and o.Room have no meaning.
func BuildISO(ctx context.Context, src, dst string, o BuildOptions, files []File) error {
	kind, err := KindOf(src)
	if err != nil {
		return fmt.Errorf("build an ISO 9660 image: %w", err)
	}
	switch kind {
	case Directory:
		err = isoFromDirectory(ctx, src, dst, o, files)
	case Tar:
		err = isoFromTar(ctx, src, dst, o, files)
	default:
		return fmt.Errorf("build an ISO 9660 image: %s is an ext4 image: use a directory or a tar archive", src)
	}
	if err != nil {
		return fmt.Errorf("build an ISO 9660 image from %s: %w", src, err)
	}
	return nil
}

func isoFromDirectory(ctx context.Context, src, dst string, o BuildOptions, files []File) error {
	content, err := scanDirectory(ctx, src)
	if err != nil {
		return err
	}
	defer func() { _ = content.files.Close() }() // it was only read
	return content.writeISO(ctx, dst, o, files)
}

func isoFromTar(ctx context.Context, src, dst string, o BuildOptions, files []File) error {
	f, err := safeopen.Open(src, os.O_RDONLY, safeopen.Regular)
	if err != nil {
		return err
	}
	defer f.Close()
	content, err := newContent(filepath.Dir(dst), o)
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }() // nothing in it is needed any more
	if err := content.addArchive(ctx, f); err != nil {
		return err
	}
	root := rootContent{top: content.top, files: content.spool, spooled: content.spool.blocks * BlockSize}
	return root.writeISO(ctx, dst, o, files)
}

// isoWriter writes the contents of files.
type isoWriter struct {
	content *rootContent
	added   map[*inode][]byte // contents of further files
	paths   map[*inode]string // of regular files in the content
}

func (c *rootContent) writeISO(ctx context.Context, dst string, o BuildOptions, files []File) error {
	w := &isoWriter{content: c, added: map[*inode][]byte{}, paths: map[*inode]string{}}
	for i := range files {
		if err := files[i].validate(); err != nil {
			return err
		}
		if err := w.add(&files[i]); err != nil {
			return fmt.Errorf("add %s: %w", files[i].Path, err)
		}
	}
	root := w.entry("", c.top, ".")
	image, err := iso9660.Layout(root, fixedTime)
	if err != nil {
		return err
	}
	size := image.Sectors * iso9660.SectorSize
	if o.Max > 0 && size > o.Max {
		return fmt.Errorf("%w: its content takes about %d MiB, and it may have %d MiB", ErrTooLarge, size>>20, o.Max>>20)
	}
	out, err := newPendingFile(dst)
	if err != nil {
		return err
	}
	defer out.discard()
	if err := checkFreeSpace(out.File, size-c.spooled); err != nil {
		return err
	}
	if err := out.Truncate(size); err != nil {
		return err
	}
	if _, err := out.WriteAt(image.Header, 0); err != nil {
		return err
	}
	if err := w.writeContents(ctx, out.File, image); err != nil {
		return err
	}
	return out.commit()
}

// add adds a further file. It follows no symbolic link of the content.
func (w *isoWriter) add(f *File) error {
	if f.Source != "" {
		return errors.New("only files with a content can be added")
	}
	dir, names := w.content.top, strings.Split(strings.Trim(path.Clean(f.Path), "/"), "/")
	for _, name := range names[:len(names)-1] {
		child := dir.children[name]
		if child == nil {
			child = newDirectory()
			dir.children[name] = child
		}
		if child.children == nil {
			return fmt.Errorf("%s is not a directory", name)
		}
		dir = child
	}
	name := names[len(names)-1]
	switch old := dir.children[name]; {
	case old == nil, old.children == nil && !f.Mode.IsDir():
	case f.Mode.IsDir() && (old.children != nil || old.isType(unix.S_IFLNK)):
		return nil // an existing directory, or a link to one
	default:
		return errNotDirectory
	}
	n := &node{inode: &inode{mode: uint32(f.Mode.Perm()) | unix.S_IFREG, uid: f.UID, gid: f.GID, mtime: fixedTime, links: 1}}
	switch f.Mode.Type() {
	case fs.ModeDir:
		n.mode, n.children = uint32(f.Mode.Perm())|unix.S_IFDIR, map[string]*node{}
	case fs.ModeSymlink:
		n.mode, n.target = 0o777|unix.S_IFLNK, f.Link
	default:
		n.data.size = int64(len(f.Content))
		w.added[n.inode] = f.Content
	}
	dir.children[name] = n
	return nil
}

// entry returns the entry of a file, and of everything below it.
func (w *isoWriter) entry(name string, n *node, at string) *iso9660.Entry {
	e := &iso9660.Entry{
		Name: name, Mode: n.mode, Links: uint32(n.links), UID: uint32(n.uid), GID: uint32(n.gid), ModTime: n.mtime,
		Target: n.target, Major: uint32(n.major), Minor: uint32(n.minor), Dir: n.children != nil,
	}
	if n.isType(unix.S_IFREG) {
		e.Size, e.Content = n.data.size, n.inode
		if _, known := w.paths[n.inode]; !known {
			w.paths[n.inode] = at
		}
	}
	for _, child := range slices.Sorted(maps.Keys(n.children)) {
		e.Children = append(e.Children, w.entry(child, n.children[child], path.Join(at, child)))
	}
	return e
}

// writeContents writes the contents of all regular files.
func (w *isoWriter) writeContents(ctx context.Context, out *os.File, image *iso9660.Image) error {
	buffer, err := newUnnamedFile(filepath.Dir(out.Name()))
	if err != nil {
		return err
	}
	defer buffer.Close()
	for i, name := range w.paths {
		offset := image.Offset(i)
		if content, added := w.added[i]; added {
			if _, err := io.Copy(io.NewOffsetWriter(out, offset), bytes.NewReader(content)); err != nil {
				return err
			}
			continue
		}
		if i.data.size == 0 {
			continue
		}
		if err := w.writeContent(ctx, buffer, io.NewOffsetWriter(out, offset), name, i); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	return nil
}

// writeContent copies a file through a buffer, because others may change it meanwhile.
func (w *isoWriter) writeContent(ctx context.Context, buffer *os.File, out io.WriterAt, name string, i *inode) error {
	if err := errors.Join(buffer.Truncate(0), buffer.Truncate(i.data.size)); err != nil {
		return err
	}
	if err := w.content.files.copyTo(ctx, buffer, name, &i.data); err != nil {
		return err
	}
	for r, err := range dataRanges(buffer, byteRange{0, i.data.size}) {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		part := io.NewSectionReader(buffer, r.from, r.to-r.from)
		if _, err := io.Copy(&offsetWriter{out, r.from}, part); err != nil {
			return err
		}
	}
	return nil
}

// offsetWriter writes at increasing offsets.
type offsetWriter struct {
	to io.WriterAt
	at int64
}

func (w *offsetWriter) Write(p []byte) (int, error) {
	n, err := w.to.WriteAt(p, w.at)
	w.at += int64(n)
	return n, err
}
