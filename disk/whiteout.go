// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Names with which a layer removes files of lower layers, from the OCI image specification.
const (
	whiteoutPrefix = ".wh."
	opaqueWhiteout = ".wh..wh..opq"
	// whiteoutMetaPrefix is the beginning of the names of AUFS's own files, which old
	// versions of Docker stored in layers. They have no meaning in an image.
	whiteoutMetaPrefix = ".wh..wh."
)

// applyWhiteout applies an entry whose name is that of a whiteout. The result is false for
// another entry.
func (u *layerUnpacker) applyWhiteout(name string) (bool, error) {
	if slices.Contains(strings.Split(name, "/"), "..") {
		return false, nil // no path with ".." is valid
	}
	dir, base := path.Split(path.Clean("/" + name)[1:])
	for element := range strings.SplitSeq(dir, "/") {
		if strings.HasPrefix(element, whiteoutMetaPrefix) {
			return true, nil
		}
		if strings.HasPrefix(element, whiteoutPrefix) {
			return true, fmt.Errorf("%w: an entry below the whiteout %q", ErrArchive, element)
		}
	}
	hidden, ok := strings.CutPrefix(base, whiteoutPrefix)
	switch {
	case !ok:
		return false, nil
	case base == opaqueWhiteout:
		return true, u.hide(dir, "")
	case strings.HasPrefix(base, whiteoutMetaPrefix):
		return true, nil
	case hidden == "" || hidden == "." || hidden == "..":
		return true, fmt.Errorf("%w: a whiteout must name a file", ErrArchive)
	}
	return true, u.hide(dir, hidden)
}

// hide removes the file of lower layers with a name in a directory, or all of them without
// a name. It is not an error if the file does not exist.
func (u *layerUnpacker) hide(dir, name string) error {
	// The path's last element is checked, but not looked up.
	parent, _, err := u.resolve(path.Join(dir, cmp.Or(name, opaqueWhiteout)), false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if name == "" {
		return u.clearLower(parent)
	}
	if n := parent.children[name]; n != nil {
		return u.removeLower(parent, name, n)
	}
	return nil
}

// removeLower removes a file, with everything in it that is not of the current layer.
func (u *layerUnpacker) removeLower(parent *node, name string, n *node) error {
	if n.isType(unix.S_IFDIR) {
		if err := u.clearLower(n); err != nil {
			return err
		}
	}
	switch {
	case n.layer == u.layer:
	case len(n.children) == 0:
		u.remove(parent, name)
	default:
		// The layer has files in the directory, but does not list the directory. If
		// the whiteout stood before them, the directory would be a new one.
		n.inode, n.layer = newDirectory().inode, u.layer
	}
	return nil
}

// clearLower removes everything in a directory that is not of the current layer. A
// directory is cleared once in a layer, because everything that appears in it later
// is of this layer.
func (u *layerUnpacker) clearLower(dir *node) error {
	if dir.cleared == u.layer {
		return nil
	}
	dir.cleared = u.layer
	for name, n := range dir.children {
		if err := u.countStep(); err != nil {
			return err
		}
		if err := u.removeLower(dir, name, n); err != nil {
			return err
		}
	}
	return nil
}
