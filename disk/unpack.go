// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"archive/tar"
	"compress/flate"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// unpacker unpacks an archive into an empty staging directory.
//
// The staging directory contains only directories and regular files of this process's
// user, at paths without symlinks, so that nothing in an archive is followed on the host.
// Symlinks, owners, devices and the like are kept in memory, where paths are resolved as
// the guest would.
type unpacker struct {
	ctx       context.Context
	root      *os.Root
	top       *node
	sizeLimit int64 // bytes of data that may be unpacked
	nodes     int64
	steps     int64 // path elements that have been resolved
	textBytes int64 // of names, targets and attributes
	fileBytes int64 // sum of file sizes
	blocks    int64 // with data
}

// unpack unpacks an archive into a staging directory below dir, for mke2fs.
func unpack(ctx context.Context, archive, dir string, o BuildOptions) (*buildInput, error) {
	f, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	stage, err := os.MkdirTemp(dir, ".lkl-stage-")
	if err != nil {
		return nil, err
	}
	in, err := unpackInto(ctx, f, stage, o)
	if err != nil {
		os.RemoveAll(stage)
		return nil, err
	}
	return in, nil
}

func unpackInto(ctx context.Context, f *os.File, stage string, o BuildOptions) (*buildInput, error) {
	root, err := os.OpenRoot(stage)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	u := &unpacker{ctx: ctx, root: root, top: newDirectory(), sizeLimit: o.Size}
	if u.sizeLimit == 0 {
		u.sizeLimit = maxArchiveContent
	}
	archive, err := openTar(f)
	if err != nil {
		return nil, err
	}
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrArchive, explainDamage(err))
		}
		if err := u.unpackEntry(header, archive); err != nil {
			return nil, fmt.Errorf("%q: %w", header.Name, explainDamage(err))
		}
	}
	return u.finish(stage)
}

// explainDamage adds a cause to the errors with which archive/tar, gzip and flate
// report a damaged archive, such as "unexpected EOF".
func explainDamage(err error) error {
	var corrupt flate.CorruptInputError
	if errors.As(err, &corrupt) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, tar.ErrHeader) ||
		errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) {
		return fmt.Errorf("it is damaged or incomplete: %w", err)
	}
	return err
}

// unpackEntry unpacks one entry. It replaces an earlier entry of the same path.
func (u *unpacker) unpackEntry(h *tar.Header, body io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	inode, err := parseHeader(h)
	if err != nil {
		return err
	}
	if err := u.checkLimits(h); err != nil {
		return err
	}
	parent, name, err := u.resolve(h.Name)
	if err != nil {
		return err
	}
	if name == "." {
		if !inode.isType(unix.S_IFDIR) {
			return fmt.Errorf("%w: the root must be a directory", ErrArchive)
		}
		u.top.archiveInode = inode
		return nil
	}
	switch {
	case h.Typeflag == tar.TypeLink:
		return u.addHardLink(parent, name, h.Linkname)
	case inode.isType(unix.S_IFDIR):
		return u.addDirectory(parent, name, inode)
	}
	if err := u.remove(parent, name); err != nil {
		return err
	}
	if inode.isType(unix.S_IFREG) {
		if err := u.writeFile(name, inode, body); err != nil {
			return err
		}
	}
	parent.children[path.Base(name)] = &node{archiveInode: inode}
	return nil
}

// checkLimits bounds the memory and the disk space that an archive takes.
func (u *unpacker) checkLimits(h *tar.Header) error {
	u.textBytes += int64(len(h.Name) + len(h.Linkname))
	for key, value := range h.PAXRecords {
		u.textBytes += int64(len(key) + len(value))
	}
	if h.Typeflag == tar.TypeReg {
		u.fileBytes += min(h.Size, maxArchiveContent+1)
	}
	switch {
	case u.textBytes > maxArchiveText:
		return fmt.Errorf("%w: over %d MiB of names and attributes", ErrArchive, maxArchiveText>>20)
	case u.fileBytes > maxArchiveContent:
		return fmt.Errorf("%w: over %d GiB of files", ErrArchive, maxArchiveContent>>30)
	}
	return u.countNode()
}

func (u *unpacker) countNode() error {
	if u.nodes++; u.nodes > maxEntries {
		return fmt.Errorf("%w: over %d files", ErrArchive, maxEntries)
	}
	return nil
}

// resolve returns the parent directory of a path, and the path below the root without
// symlinks. It creates missing directories. The path of the root is ".".
func (u *unpacker) resolve(name string) (*node, string, error) {
	for element := range strings.SplitSeq(name, "/") {
		if element == ".." || len(element) > maxNameLen {
			return nil, "", fmt.Errorf("%w: the path contains \"..\" or an element of more than %d bytes", ErrArchive, maxNameLen)
		}
	}
	if strings.ContainsAny(name, "\n\r\x00") {
		return nil, "", fmt.Errorf("%w: line break or NUL in a path: %w", ErrArchive, ErrName)
	}
	elements := strings.Split(path.Clean("/" + name)[1:], "/")
	if elements[0] == "" {
		return u.top, ".", nil
	}
	base := elements[len(elements)-1]
	parent, resolved, err := u.walk(elements[:len(elements)-1])
	if err != nil {
		return nil, "", err
	}
	resolved = path.Join(resolved, base)
	if len(resolved) > maxBuildPathLen {
		return nil, "", fmt.Errorf("%w: the path has more than %d bytes", ErrArchive, maxBuildPathLen)
	}
	return parent, resolved, nil
}

// walk resolves a directory from the root, through symlinks, as the guest would.
func (u *unpacker) walk(elements []string) (*node, string, error) {
	trail, names := []*node{u.top}, []string{}
	for symlinks := 0; len(elements) > 0; {
		if u.steps++; u.steps > maxArchiveSteps {
			return nil, "", fmt.Errorf("%w: its paths take more than %d steps to resolve", ErrArchive, maxArchiveSteps)
		}
		element := elements[0]
		elements = elements[1:]
		current := trail[len(trail)-1]
		switch element {
		case "", ".":
			continue
		case "..":
			trail, names = trail[:max(len(trail)-1, 1)], names[:max(len(names)-1, 0)]
			continue
		}
		next := current.children[element]
		if next == nil {
			if err := u.addImpliedDirectory(current, path.Join(path.Join(names...), element)); err != nil {
				return nil, "", err
			}
			next = current.children[element]
		}
		if next.isType(unix.S_IFLNK) {
			if symlinks++; symlinks > maxPathSymlinks {
				return nil, "", fmt.Errorf("%w: the path leads through more than %d symlinks", ErrArchive, maxPathSymlinks)
			}
			if path.IsAbs(next.target) {
				trail, names = trail[:1], names[:0]
			}
			elements = append(strings.Split(next.target, "/"), elements...)
			continue
		}
		if !next.isType(unix.S_IFDIR) {
			return nil, "", fmt.Errorf("%w: %s: %w", ErrArchive, path.Join(append(names, element)...), errNotDirectory)
		}
		trail, names = append(trail, next), append(names, element)
	}
	return trail[len(trail)-1], path.Join(names...), nil
}

// addImpliedDirectory creates a directory that the archive uses but has not listed so far.
func (u *unpacker) addImpliedDirectory(parent *node, name string) error {
	if len(path.Base(name)) > maxNameLen || len(name) > maxBuildPathLen {
		return fmt.Errorf("%w: a path has more than %d bytes, or an element of it more than %d", ErrArchive, maxBuildPathLen, maxNameLen)
	}
	if err := u.countNode(); err != nil {
		return err
	}
	if err := u.root.Mkdir(name, 0o700); err != nil {
		return err
	}
	parent.children[path.Base(name)] = newDirectory()
	return nil
}

// addDirectory creates a directory, or sets the attributes of an existing one.
func (u *unpacker) addDirectory(parent *node, name string, inode *archiveInode) error {
	base := path.Base(name)
	if old := parent.children[base]; old != nil && old.isType(unix.S_IFDIR) {
		old.archiveInode = inode
		return nil
	}
	if err := u.remove(parent, name); err != nil {
		return err
	}
	if err := u.root.Mkdir(name, 0o700); err != nil {
		return err
	}
	parent.children[base] = &node{archiveInode: inode, children: map[string]*node{}}
	return nil
}

// remove removes an earlier entry of a path, with everything below it.
func (u *unpacker) remove(parent *node, name string) error {
	base := path.Base(name)
	old := parent.children[base]
	if old == nil {
		return nil
	}
	delete(parent.children, base)
	if old.links--; old.links == 0 {
		u.blocks -= old.blocks
	}
	if old.isType(unix.S_IFDIR) || old.isType(unix.S_IFREG) {
		return u.root.RemoveAll(name)
	}
	return nil
}

func (u *unpacker) writeFile(name string, inode *archiveInode, body io.Reader) error {
	f, err := u.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	w := &sparseWriter{f: f, limit: u.sizeLimit/BlockSize - u.blocks}
	if _, err := io.Copy(w, &contextReader{u.ctx, body}); err != nil {
		return err
	}
	if err := w.finish(); err != nil {
		return err
	}
	u.blocks += w.blocks
	inode.blocks, inode.extents = w.blocks, w.extents
	if err := f.Chmod(inode.stagedPerm()); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return u.root.Chtimes(name, clampTime(inode.mtime), clampTime(inode.mtime))
}

// addHardLink gives an existing file another name.
func (u *unpacker) addHardLink(parent *node, name, target string) error {
	targetParent, targetName, err := u.resolve(target)
	if err != nil {
		return err
	}
	old := targetParent.children[path.Base(targetName)]
	if old == nil || old.isType(unix.S_IFDIR) {
		return fmt.Errorf("%w: hard link to %q: no such file earlier in the archive", ErrArchive, target)
	}
	if targetName == name {
		return nil
	}
	if err := u.remove(parent, name); err != nil {
		return err
	}
	if old.links++; old.links > maxLinks {
		return fmt.Errorf("%w: more than %d hard links to %q", ErrArchive, maxLinks, target)
	}
	if old.isType(unix.S_IFREG) {
		if err := u.root.Link(targetName, name); err != nil {
			return err
		}
	}
	parent.children[path.Base(name)] = &node{archiveInode: old.archiveInode}
	return nil
}

// contextReader fails when its context has ended.
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
