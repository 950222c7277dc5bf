// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/ctxreader"
)

// TarOptions control WriteTar.
type TarOptions struct {
	// Newest replaces modification times that are later, so that the result does not
	// depend on the time at which the files were made.
	Newest time.Time
	// KeepOwners writes the owners of the files instead of root.
	KeepOwners bool
}

// WriteTar writes the content of a directory as a tar archive, sorted by path: the same
// files give the same bytes. It keeps what Build keeps of a directory, reads it with the
// same care, and leaves out its sockets.
func WriteTar(ctx context.Context, dirPath string, w io.Writer, o TarOptions) error {
	content, err := scanDirectory(ctx, dirPath)
	if err != nil {
		return fmt.Errorf("archive %s: %w", dirPath, err)
	}
	dir, ok := content.files.(hostDir)
	if !ok {
		return fmt.Errorf("archive %s: not a directory", dirPath)
	}
	defer dir.Close()
	t := tarWriter{Writer: tar.NewWriter(w), ctx: ctx, dir: dir, options: o, names: map[*inode]string{}}
	err = t.add(content.top, ".")
	if err == nil {
		err = t.Close()
	}
	if err != nil {
		return fmt.Errorf("archive %s: %w", dirPath, err)
	}
	return nil
}

// tarWriter is the state of a call of WriteTar.
type tarWriter struct {
	*tar.Writer
	ctx     context.Context
	dir     hostDir
	options TarOptions
	names   map[*inode]string // the first name of each file with several names
}

// add writes a file, and everything in it if it is a directory.
func (t *tarWriter) add(n *node, name string) error {
	if t.ctx.Err() != nil {
		return context.Cause(t.ctx)
	}
	h, err := t.header(n.inode, name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := t.WriteHeader(h); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if h.Typeflag == tar.TypeReg {
		if err := t.copyContent(name, &n.data); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, child := range slices.Sorted(maps.Keys(n.children)) {
		if err := t.add(n.children[child], path.Join(name, child)); err != nil {
			return err
		}
	}
	return nil
}

var tarTypes = map[uint32]byte{
	unix.S_IFREG: tar.TypeReg, unix.S_IFDIR: tar.TypeDir, unix.S_IFLNK: tar.TypeSymlink,
	unix.S_IFCHR: tar.TypeChar, unix.S_IFBLK: tar.TypeBlock, unix.S_IFIFO: tar.TypeFifo,
}

// header returns the header of a file, which is that of a hard link for further names.
func (t *tarWriter) header(i *inode, name string) (*tar.Header, error) {
	kind, ok := tarTypes[i.mode&unix.S_IFMT]
	if !ok {
		return nil, fmt.Errorf("unsupported file type %#o", i.mode&unix.S_IFMT)
	}
	h := &tar.Header{
		Typeflag: kind, Name: name, Linkname: i.target, Mode: int64(i.mode & 0o7777), Format: tar.FormatPAX,
		ModTime: i.mtime.Truncate(time.Second), Devmajor: i.major, Devminor: i.minor,
	}
	if h.ModTime.After(t.options.Newest) {
		h.ModTime = t.options.Newest.Truncate(time.Second)
	}
	if t.options.KeepOwners {
		h.Uid, h.Gid = i.uid, i.gid
	}
	switch {
	case kind == tar.TypeDir:
		h.Name = strings.TrimPrefix(name+"/", "./")
		if name == "." {
			h.Name = "./"
		}
	case i.links > 1 && t.names[i] != "":
		return &tar.Header{
			Typeflag: tar.TypeLink, Name: name, Linkname: t.names[i], Mode: h.Mode, Format: h.Format,
			ModTime: h.ModTime, Uid: h.Uid, Gid: h.Gid,
		}, nil
	case i.links > 1:
		t.names[i] = name
	}
	if kind == tar.TypeReg {
		h.Size = i.data.size
	}
	for _, x := range i.xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+x.name] = x.value
	}
	return h, nil
}

// copyContent writes the content of a file that has been scanned.
func (t *tarWriter) copyContent(name string, data *fileData) error {
	f, err := t.dir.reopen(name, data.id)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.Copy(t, io.LimitReader(ctxreader.New(t.ctx, f), data.size))
	if err == nil && n < data.size {
		err = errChanged
	}
	return err
}
