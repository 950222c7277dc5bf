// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/ctxreader"
)

// layerUnpacker reads layers. The entries become a tree in memory, where paths are resolved
// as the guest would, and the contents of files go to a spool. So nothing in a layer
// becomes a path of the host, and nothing is followed there.
type layerUnpacker struct {
	ctx       context.Context // of the current layer
	spool     *spool
	top       *node
	layer     int32     // number of the current layer, from 1 on
	whiteouts bool      // the current layer may have whiteouts
	digest    hash.Hash // of the current layer, uncompressed; may be nil
	nodes     int64
	steps     int64 // path elements that have been resolved
	textBytes int64 // of names, targets and attributes
}

// unpackLayer adds a layer. It reads r to its end, so that the caller can verify a digest,
// and that gzip and zstd verify their checksums.
func (u *layerUnpacker) unpackLayer(ctx context.Context, r io.Reader) error {
	u.ctx = ctx
	u.layer++
	in := &sourceReader{r: ctxreader.New(ctx, r)}
	err := u.unpackStream(in)
	if err != nil && in.err != nil && errors.Is(err, in.err) {
		return in.err // the layer is not at fault
	}
	return err
}

func (u *layerUnpacker) unpackStream(in *sourceReader) error {
	stream, err := decompress(in, u.spool.limits)
	if err != nil {
		return u.readError(err)
	}
	defer stream.Close()
	content := io.Reader(stream)
	if u.digest != nil {
		content = io.TeeReader(stream, u.digest)
	}
	if err := u.unpackEntries(tar.NewReader(content)); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, content); err != nil {
		return u.readError(err)
	}
	return nil
}

func (u *layerUnpacker) unpackEntries(archive *tar.Reader) error {
	for {
		if u.ctx.Err() != nil {
			return context.Cause(u.ctx)
		}
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return u.readError(err)
		}
		if err := u.unpackEntry(header, archive); err != nil {
			return fmt.Errorf("%q: %w", header.Name, err)
		}
	}
}

// readError returns the error for one of reading a layer.
func (u *layerUnpacker) readError(err error) error {
	switch {
	case u.ctx.Err() != nil:
		return context.Cause(u.ctx)
	case errors.Is(err, u.spool.limits.err):
		return err
	case errors.Is(err, tar.ErrHeader), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: %w: %w", ErrArchive, errDamaged, err)
	}
	return fmt.Errorf("%w: %w", ErrArchive, err)
}

// bodyReader reads the content of a file.
type bodyReader struct {
	*layerUnpacker
	body io.Reader
}

func (b bodyReader) Read(p []byte) (int, error) {
	if b.ctx.Err() != nil {
		return 0, context.Cause(b.ctx)
	}
	n, err := b.body.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.readError(err)
	}
	return n, err
}

// unpackEntry unpacks one entry. It replaces an earlier entry of the same path.
func (u *layerUnpacker) unpackEntry(h *tar.Header, body io.Reader) error {
	if err := u.checkLimits(h); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if u.whiteouts {
		if done, err := u.applyWhiteout(h.Name); done || err != nil {
			return err
		}
	}
	inode, err := parseHeader(h)
	if err != nil {
		return err
	}
	parent, name, err := u.resolve(h.Name, true)
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
		if inode.data, err = u.spool.store(bodyReader{u, body}); err != nil {
			return err
		}
	}
	parent.children[path.Base(name)] = &node{inode: inode, layer: u.layer}
	return nil
}

// checkLimits bounds the memory that an archive takes. The spool bounds the disk space.
func (u *layerUnpacker) checkLimits(h *tar.Header) error {
	u.textBytes += int64(len(h.Name) + len(h.Linkname))
	for key, value := range h.PAXRecords {
		u.textBytes += int64(len(key) + len(value))
	}
	if u.textBytes > maxArchiveText {
		return fmt.Errorf("%w: over %d MiB of names and attributes", ErrArchive, maxArchiveText>>20)
	}
	return u.countNode()
}

// addDirectory creates a directory, or sets the attributes of an existing one.
func (u *layerUnpacker) addDirectory(parent *node, name string, inode *inode) {
	base := path.Base(name)
	if old := parent.children[base]; old != nil && old.isType(unix.S_IFDIR) {
		old.inode, old.layer = inode, u.layer
		return
	}
	u.remove(parent, name)
	parent.children[base] = &node{inode: inode, children: map[string]*node{}, layer: u.layer, cleared: u.layer}
}

// remove removes an earlier entry of a path, with everything below it.
func (u *layerUnpacker) remove(parent *node, name string) {
	base := path.Base(name)
	if old := parent.children[base]; old != nil {
		delete(parent.children, base)
		u.release(old)
	}
}

// release frees the contents of removed files that have no other name.
func (u *layerUnpacker) release(n *node) {
	for _, child := range n.children {
		u.release(child)
	}
	if n.links--; n.links == 0 {
		u.spool.free(&n.data)
	}
}

// addHardLink gives an existing file another name.
func (u *layerUnpacker) addHardLink(parent *node, name, target string) error {
	targetParent, targetName, err := u.resolve(target, false)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", target, err)
	}
	old := targetParent.children[path.Base(targetName)]
	if old == nil || old.isType(unix.S_IFDIR) {
		return fmt.Errorf("%w: hard link to %q: no such file earlier in the archive", ErrArchive, target)
	}
	if targetName == name {
		old.layer = u.layer
		return nil
	}
	if old.links++; old.links > maxLinks {
		return fmt.Errorf("%w: more than %d hard links to %q", ErrArchive, maxLinks, target)
	}
	u.remove(parent, name)
	parent.children[path.Base(name)] = &node{inode: old.inode, layer: u.layer}
	return nil
}
