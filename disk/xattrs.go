// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/procfd"
)

// isKeptXattr reports whether an image keeps an extended attribute. It keeps those that
// ext4 has, except for the attributes of overlayfs. The layers of some tools contain them,
// but they have no meaning outside of overlayfs.
func isKeptXattr(name string) bool {
	namespace, rest, _ := strings.Cut(name, ".")
	switch namespace {
	case "user", "trusted":
		return rest != "" && !strings.HasPrefix(rest, "overlay.")
	case "security":
		return rest != ""
	case "system":
		return isACL(name)
	}
	return false
}

func isACL(name string) bool {
	return name == "system.posix_acl_access" || name == "system.posix_acl_default"
}

// checkACL refuses an access control list that debugfs cannot convert to the form of ext4.
// It has a version and entries: linux/posix_acl_xattr.h.
func checkACL(value string) error {
	const version, header, entry = 2, 4, 8 // bytes
	entries := []byte(value)
	if len(entries) < header || (len(entries)-header)%entry != 0 || binary.LittleEndian.Uint32(entries) != version {
		return fmt.Errorf("an access control list of %d bytes is not valid", len(value))
	}
	for entries = entries[header:]; len(entries) > 0; entries = entries[entry:] {
		switch tag := binary.LittleEndian.Uint16(entries); tag {
		case 0x01, 0x02, 0x04, 0x08, 0x10, 0x20:
		default:
			return fmt.Errorf("an access control list has an entry of the unknown type %#x", tag)
		}
	}
	return nil
}

// xattr is an extended attribute.
type xattr struct{ name, value string }

// addXattr sets an extended attribute.
func (i *inode) addXattr(name, value string) error {
	if isACL(name) {
		if err := checkACL(value); err != nil {
			return err
		}
	}
	if strings.ContainsAny(name, "\n\r\x00") {
		return fmt.Errorf("line break or NUL in the name of the extended attribute %q: %w", name, ErrName)
	}
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
		if !isKeptXattr(name) {
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
