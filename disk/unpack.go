// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Limits on an archive, so that a small file cannot fill the host.
const (
	mostContent  = 64 << 30 // bytes of all files together
	mostText     = 64 << 20 // bytes of all names, targets and attributes together
	mostSymlinks = 40       // that one path leads through, as in the kernel
	mostSteps    = 32 << 20 // from one directory to the next, for all names together
	mostXattrs   = 3500     // bytes of a file's attributes: one block has to hold them
)

// unpacker puts an archive into an empty directory.
//
// That holds regular files and directories of ours alone, at paths without
// symlinks: whatever an archive says, nothing in it is followed on the host.
// Symlinks, owners, devices and the like are kept in memory and resolved there as
// a guest would.
type unpacker struct {
	ctx    context.Context
	root   *os.Root
	top    *node
	limit  int64 // bytes of data that fit at all
	nodes  int64
	steps  int64
	text   int64
	bytes  int64 // apparent
	blocks int64 // not zero
}

// unpack makes an archive the source of an image, unpacked below dir.
func unpack(ctx context.Context, archive, dir string, o BuildOptions) (*source, error) {
	f, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	stage, err := os.MkdirTemp(dir, ".lkl-stage-")
	if err != nil {
		return nil, err
	}
	s, err := unpackInto(ctx, f, stage, o)
	if err != nil {
		os.RemoveAll(stage)
		return nil, err
	}
	return s, nil
}

func unpackInto(ctx context.Context, f *os.File, stage string, o BuildOptions) (*source, error) {
	root, err := os.OpenRoot(stage)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	u := &unpacker{ctx: ctx, root: root, top: newDirectory(), limit: o.Size}
	if u.limit == 0 {
		u.limit = mostContent
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
			return nil, fmt.Errorf("%w: %w", ErrArchive, err)
		}
		if err := u.add(header, archive); err != nil {
			return nil, fmt.Errorf("%q: %w", header.Name, err)
		}
	}
	return u.source(stage)
}

// add takes one entry of the archive. A later one takes the place of an earlier.
func (u *unpacker) add(h *tar.Header, body io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	e, err := newEntry(h)
	if err != nil {
		return err
	}
	if err := u.count(h); err != nil {
		return err
	}
	dir, name, err := u.place(h.Name)
	if err != nil {
		return err
	}
	if name == "." { // the root itself
		if !e.is(typeDir) {
			return fmt.Errorf("%w: the root must be a directory", ErrArchive)
		}
		u.top.entry = e
		return nil
	}
	switch {
	case h.Typeflag == tar.TypeLink:
		return u.link(dir, name, h.Linkname)
	case e.is(typeDir):
		return u.directory(dir, name, e)
	}
	if err := u.clear(dir, name); err != nil {
		return err
	}
	if e.is(typeRegular) {
		if err := u.regular(name, e, body); err != nil {
			return err
		}
	}
	dir.children[path.Base(name)] = &node{entry: e}
	return nil
}

// count keeps the memory and the disk that an archive takes bounded.
func (u *unpacker) count(h *tar.Header) error {
	u.text += int64(len(h.Name) + len(h.Linkname))
	for key, value := range h.PAXRecords {
		u.text += int64(len(key) + len(value))
	}
	if h.Typeflag == tar.TypeReg {
		u.bytes += min(h.Size, mostContent+1)
	}
	switch {
	case u.text > mostText:
		return fmt.Errorf("%w: over %d MiB of names", ErrArchive, mostText>>20)
	case u.bytes > mostContent:
		return fmt.Errorf("%w: over %d GiB of files", ErrArchive, mostContent>>30)
	}
	return u.countNode()
}

func (u *unpacker) countNode() error {
	if u.nodes++; u.nodes > mostEntries {
		return fmt.Errorf("%w: over %d files", ErrArchive, mostEntries)
	}
	return nil
}

// place finds the directory of a path, making those that are missing, and the
// path from the root without symlinks: "." is the root.
func (u *unpacker) place(name string) (*node, string, error) {
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." || len(part) > longestName {
			return nil, "", fmt.Errorf("%w: a name is \"..\" or longer than %d bytes", ErrArchive, longestName)
		}
	}
	if strings.ContainsAny(name, "\n\r\x00") {
		return nil, "", fmt.Errorf("%w: line breaks in names: %w", ErrArchive, ErrName)
	}
	parts := strings.Split(path.Clean("/" + name)[1:], "/")
	if parts[0] == "" {
		return u.top, ".", nil
	}
	base := parts[len(parts)-1]
	dir, at, err := u.walk(parts[:len(parts)-1])
	if err != nil {
		return nil, "", err
	}
	at = path.Join(at, base)
	if len(at) > longestBuilt {
		return nil, "", fmt.Errorf("%w: path of over %d bytes", ErrArchive, longestBuilt)
	}
	return dir, at, nil
}

// walk goes down from the root as a guest would, through symlinks.
func (u *unpacker) walk(parts []string) (*node, string, error) {
	trail, names := []*node{u.top}, []string{}
	for symlinks := 0; len(parts) > 0; {
		if u.steps++; u.steps > mostSteps {
			return nil, "", fmt.Errorf("%w: over %d steps along its paths", ErrArchive, mostSteps)
		}
		part := parts[0]
		parts = parts[1:]
		at := trail[len(trail)-1]
		switch part {
		case "", ".":
			continue
		case "..":
			trail, names = trail[:max(len(trail)-1, 1)], names[:max(len(names)-1, 0)]
			continue
		}
		next := at.children[part]
		if next == nil {
			if err := u.implied(at, path.Join(path.Join(names...), part)); err != nil {
				return nil, "", err
			}
			next = at.children[part]
		}
		if next.is(typeSymlink) {
			if symlinks++; symlinks > mostSymlinks {
				return nil, "", fmt.Errorf("%w: over %d symlinks", ErrArchive, mostSymlinks)
			}
			if path.IsAbs(next.target) {
				trail, names = trail[:1], names[:0]
			}
			parts = append(strings.Split(next.target, "/"), parts...)
			continue
		}
		if !next.is(typeDir) {
			return nil, "", fmt.Errorf("%w: %s: %w", ErrArchive, path.Join(append(names, part)...), errNotDirectory)
		}
		trail, names = append(trail, next), append(names, part)
	}
	return trail[len(trail)-1], path.Join(names...), nil
}

// implied makes a directory that the archive uses before, or without, listing it.
func (u *unpacker) implied(parent *node, name string) error {
	if len(path.Base(name)) > longestName || len(name) > longestBuilt {
		return fmt.Errorf("%w: path too long", ErrArchive)
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

// directory lists one: its own attributes over those of one that is there.
func (u *unpacker) directory(parent *node, name string, e *entry) error {
	base := path.Base(name)
	if old := parent.children[base]; old != nil && old.is(typeDir) {
		old.entry = e
		return nil
	}
	if err := u.clear(parent, name); err != nil {
		return err
	}
	if err := u.root.Mkdir(name, 0o700); err != nil {
		return err
	}
	parent.children[base] = &node{entry: e, children: map[string]*node{}}
	return nil
}

// clear removes what an earlier entry put at a name, with all below it.
func (u *unpacker) clear(parent *node, name string) error {
	base := path.Base(name)
	old := parent.children[base]
	if old == nil {
		return nil
	}
	delete(parent.children, base)
	if old.links--; old.links == 0 {
		u.blocks -= old.blocks
	}
	if old.is(typeDir) || old.is(typeRegular) {
		return u.root.RemoveAll(name)
	}
	return nil
}

func (u *unpacker) regular(name string, e *entry, body io.Reader) error {
	f, err := u.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	w := &sparseWriter{f: f, limit: u.limit/BlockSize - u.blocks}
	if _, err := io.Copy(w, &contextReader{u.ctx, body}); err != nil {
		return err
	}
	if err := w.finish(); err != nil {
		return err
	}
	u.blocks += w.blocks
	e.blocks, e.pieces = w.blocks, w.pieces
	if err := f.Chmod(e.filePerm()); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return u.root.Chtimes(name, stagedTime(e.mtime), stagedTime(e.mtime))
}

// link gives a file that is there another name.
func (u *unpacker) link(parent *node, name, target string) error {
	dir, from, err := u.place(target)
	if err != nil {
		return err
	}
	old := dir.children[path.Base(from)]
	if old == nil || old.is(typeDir) {
		return fmt.Errorf("%w: hard link to %q, which is no file before it", ErrArchive, target)
	}
	if from == name {
		return nil
	}
	if err := u.clear(parent, name); err != nil {
		return err
	}
	if old.links++; old.links > mostLinks {
		return fmt.Errorf("%w: over %d links to %q", ErrArchive, mostLinks, target)
	}
	if old.is(typeRegular) {
		if err := u.root.Link(from, name); err != nil {
			return err
		}
	}
	parent.children[path.Base(name)] = &node{entry: old.entry}
	return nil
}
