// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/procfd"
)

// hasXattrNamespace reports whether ext4 has the namespace of an extended attribute.
func hasXattrNamespace(name string) bool {
	namespace, _, _ := strings.Cut(name, ".")
	switch namespace {
	case "user", "security", "trusted", "system":
		return true
	}
	return false
}

// isOverlayXattr reports whether an extended attribute belongs to overlayfs. The layers of
// some tools contain such attributes, which have no meaning outside of overlayfs.
func isOverlayXattr(name string) bool {
	return strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.")
}

// xattr is an extended attribute.
type xattr struct{ name, value string }

// addXattr sets an extended attribute.
func (i *inode) addXattr(name, value string) error {
	at, found := slices.BinarySearchFunc(i.xattrs, name, func(x xattr, name string) int { return strings.Compare(x.name, name) })
	if !found {
		i.xattrs = slices.Insert(i.xattrs, at, xattr{name: name})
	}
	i.xattrs[at].value = value
	size := 0
	for _, x := range i.xattrs {
		size += len(x.name) + len(x.value) + 16
	}
	if len(name) > maxNameLen || size > maxXattrsSize {
		return fmt.Errorf("over %d bytes of extended attributes", maxXattrsSize)
	}
	return nil
}

// maxXattrLen is the maximum of Linux for a value, and for the list of names: xattr(7).
const maxXattrLen = 64 << 10

// readXattrs reads the extended attributes of a file, whose descriptor may be O_PATH. It
// leaves out those of other file systems than ext4.
func (i *inode) readXattrs(f *os.File) error {
	path := procfd.SelfPath(f)
	n, err := unix.Listxattr(path, nil) // most files have no attribute
	if n == 0 && err == nil || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	names := make([]byte, maxXattrLen)
	if n, err = unix.Listxattr(path, names); err != nil {
		return fmt.Errorf("list the extended attributes: %w", err)
	}
	value := make([]byte, maxXattrLen)
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		if !hasXattrNamespace(name) {
			continue
		}
		size, err := unix.Getxattr(path, name, value)
		if errors.Is(err, unix.ENODATA) {
			continue // it has just been removed
		}
		if err != nil {
			return fmt.Errorf("read the extended attribute %s: %w", name, err)
		}
		if err := i.addXattr(name, string(value[:size])); err != nil {
			return err
		}
	}
	return nil
}
