// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// unsupportedBytes cannot be in a name, because debugfs reads commands by lines.
const unsupportedBytes = "\n\r\x00"

var errNotRegular = errors.New("not a regular file")

// resolve returns the parent directory of an entry's path, and the path below the root
// without symlinks. The path of the root is ".". With create, it creates missing
// directories; without, it returns fs.ErrNotExist.
func (u *layerUnpacker) resolve(name string, create bool) (*node, string, error) {
	for element := range strings.SplitSeq(name, "/") {
		if element == ".." || len(element) > maxNameLen {
			return nil, "", fmt.Errorf("%w: the path contains \"..\" or an element of more than %d bytes", ErrArchive, maxNameLen)
		}
	}
	if strings.ContainsAny(name, unsupportedBytes) {
		return nil, "", fmt.Errorf("%w: line break or NUL in a path: %w", ErrArchive, ErrName)
	}
	elements := strings.Split(path.Clean("/" + name)[1:], "/")
	if elements[0] == "" {
		return u.top, ".", nil
	}
	base := elements[len(elements)-1]
	trail, names, err := u.walk(elements[:len(elements)-1], create)
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrArchive, err)
	}
	parent, resolved := trail[len(trail)-1], path.Join(path.Join(names...), base)
	if !parent.isType(unix.S_IFDIR) {
		return nil, "", fmt.Errorf("%w: %s: %w", ErrArchive, path.Join(names...), errNotDirectory)
	}
	if len(resolved) > maxPathLen {
		return nil, "", fmt.Errorf("%w: the path has more than %d bytes", ErrArchive, maxPathLen)
	}
	return parent, resolved, nil
}

// walk resolves a path from the root, through symlinks, as the guest would. It returns the
// files along the path, which begin with the root, and their names. With create, it
// creates missing directories.
func (u *layerUnpacker) walk(elements []string, create bool) ([]*node, []string, error) {
	trail, names := []*node{u.top}, []string{}
	for symlinks := 0; len(elements) > 0; {
		if err := u.countStep(); err != nil {
			return nil, nil, err
		}
		element := elements[0]
		elements = elements[1:]
		current := trail[len(trail)-1]
		if !current.isType(unix.S_IFDIR) {
			return nil, nil, fmt.Errorf("%s: %w", path.Join(names...), errNotDirectory)
		}
		switch element {
		case "", ".":
			continue
		case "..":
			trail, names = trail[:max(len(trail)-1, 1)], names[:max(len(names)-1, 0)]
			continue
		}
		next := current.children[element]
		if next == nil && !create {
			return nil, nil, fmt.Errorf("%s: %w", path.Join(append(names, element)...), fs.ErrNotExist)
		}
		if next == nil {
			if err := u.addImpliedDirectory(current, path.Join(path.Join(names...), element)); err != nil {
				return nil, nil, err
			}
			next = current.children[element]
		}
		if next.isType(unix.S_IFLNK) {
			if symlinks++; symlinks > maxPathSymlinks {
				return nil, nil, fmt.Errorf("the path leads through more than %d symlinks", maxPathSymlinks)
			}
			if path.IsAbs(next.target) {
				trail, names = trail[:1], names[:0]
			}
			elements = append(strings.Split(next.target, "/"), elements...)
			continue
		}
		trail, names = append(trail, next), append(names, element)
	}
	return trail, names, nil
}

// addImpliedDirectory creates a directory that a layer uses but has not listed so far.
// Its name may come from the target of a symlink, which can contain any byte.
func (u *layerUnpacker) addImpliedDirectory(parent *node, name string) error {
	if strings.ContainsAny(name, unsupportedBytes) {
		return fmt.Errorf("line break or NUL in the target of a symlink to a missing directory: %w", ErrName)
	}
	if len(path.Base(name)) > maxNameLen || len(name) > maxPathLen {
		return fmt.Errorf("a path has more than %d bytes, or an element of it more than %d", maxPathLen, maxNameLen)
	}
	if err := u.countNode(); err != nil {
		return err
	}
	n := newDirectory()
	n.layer, n.cleared = u.layer, u.layer
	parent.children[path.Base(name)] = n
	return nil
}

func (u *layerUnpacker) countNode() error {
	if u.nodes++; u.nodes > maxEntries {
		return fmt.Errorf("%w: over %d files", ErrArchive, maxEntries)
	}
	return nil
}

func (u *layerUnpacker) countStep() error {
	if u.steps++; u.steps > maxArchiveSteps {
		return fmt.Errorf("%w: its paths take more than %d steps to resolve", ErrArchive, maxArchiveSteps)
	}
	return nil
}
