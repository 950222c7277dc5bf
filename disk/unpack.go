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

	"github.com/lkl-nomad/nomad-driver-lkl/internal/ctxreader"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/safeopen"
)

// unpacker reads an archive. The entries become a tree in memory, where paths are resolved
// as the guest would, and the contents of files go to a spool. So nothing in an archive
// becomes a path of the host, and nothing is followed there.
type unpacker struct {
	ctx       context.Context
	spool     *spool
	top       *node
	nodes     int64
	steps     int64 // path elements that have been resolved
	textBytes int64 // of names, targets and attributes
}

// unpack reads an archive. The contents of its files are stored in dir for the time being.
func unpack(ctx context.Context, archive, dir string, o BuildOptions) (*rootContent, error) {
	f, err := safeopen.Open(archive, os.O_RDONLY, safeopen.Regular)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	spool, err := newSpool(dir, o)
	if err != nil {
		return nil, err
	}
	u := &unpacker{ctx: ctx, spool: spool, top: newDirectory()}
	if err := u.unpackAll(f); err != nil {
		spool.Close()
		return nil, err
	}
	return &rootContent{top: u.top, files: spool, spooled: spool.blocks * BlockSize}, nil
}

func (u *unpacker) unpackAll(f *os.File) error {
	archive, err := openTar(f)
	if err != nil {
		return err
	}
	for {
		if u.ctx.Err() != nil {
			return context.Cause(u.ctx)
		}
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrArchive, explainDamage(err))
		}
		if err := u.unpackEntry(header, archive); err != nil {
			return fmt.Errorf("%q: %w", header.Name, explainDamage(err))
		}
	}
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
		u.top.inode = inode
		return nil
	}
	switch {
	case h.Typeflag == tar.TypeLink:
		return u.addHardLink(parent, name, h.Linkname)
	case inode.isType(unix.S_IFDIR):
		u.addDirectory(parent, name, inode)
		return nil
	}
	u.remove(parent, name)
	if inode.isType(unix.S_IFREG) {
		if inode.data, err = u.spool.store(ctxreader.New(u.ctx, body)); err != nil {
			return err
		}
	}
	parent.children[path.Base(name)] = &node{inode: inode}
	return nil
}

// checkLimits bounds the memory that an archive takes. The spool bounds the disk space.
func (u *unpacker) checkLimits(h *tar.Header) error {
	u.textBytes += int64(len(h.Name) + len(h.Linkname))
	for key, value := range h.PAXRecords {
		u.textBytes += int64(len(key) + len(value))
	}
	if u.textBytes > maxArchiveText {
		return fmt.Errorf("%w: over %d MiB of names and attributes", ErrArchive, maxArchiveText>>20)
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
	if len(resolved) > maxPathLen {
		return nil, "", fmt.Errorf("%w: the path has more than %d bytes", ErrArchive, maxPathLen)
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
	if len(path.Base(name)) > maxNameLen || len(name) > maxPathLen {
		return fmt.Errorf("%w: a path has more than %d bytes, or an element of it more than %d", ErrArchive, maxPathLen, maxNameLen)
	}
	if err := u.countNode(); err != nil {
		return err
	}
	parent.children[path.Base(name)] = newDirectory()
	return nil
}

// addDirectory creates a directory, or sets the attributes of an existing one.
func (u *unpacker) addDirectory(parent *node, name string, inode *inode) {
	base := path.Base(name)
	if old := parent.children[base]; old != nil && old.isType(unix.S_IFDIR) {
		old.inode = inode
		return
	}
	u.remove(parent, name)
	parent.children[base] = &node{inode: inode, children: map[string]*node{}}
}

// remove removes an earlier entry of a path, with everything below it.
func (u *unpacker) remove(parent *node, name string) {
	base := path.Base(name)
	if old := parent.children[base]; old != nil {
		delete(parent.children, base)
		u.release(old)
	}
}

// release frees the contents of removed files that have no other name.
func (u *unpacker) release(n *node) {
	for _, child := range n.children {
		u.release(child)
	}
	if n.links--; n.links == 0 {
		u.spool.free(&n.data)
	}
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
	if old.links++; old.links > maxLinks {
		return fmt.Errorf("%w: more than %d hard links to %q", ErrArchive, maxLinks, target)
	}
	u.remove(parent, name)
	parent.children[path.Base(name)] = &node{inode: old.inode}
	return nil
}
