// SPDX-License-Identifier: MPL-2.0

package e2fsprogs

import (
	"errors"
	"strings"
	"syscall"
)

// ErrNoSpace means that the image is full. If the file system of the host is full, the
// error is syscall.ENOSPC or syscall.EDQUOT instead.
var ErrNoSpace = errors.New("no space left in the image")

// ErrDirectoryFull means that a directory has no room for a name and has to be enlarged.
var ErrDirectoryFull = errors.New("no space left in the directory")

// FindSpaceError searches a tool's output for a message about a full file system. It
// returns syscall.ENOSPC or syscall.EDQUOT for the host's, ErrNoSpace for the image's,
// ErrDirectoryFull for a directory, and nil if there is no such message.
func FindSpaceError(output string) error {
	for _, message := range []struct {
		text string
		err  error
	}{
		// strerror of a failed write to the image. A full image has other messages.
		{"No space left on device", syscall.ENOSPC},
		{"Disk quota exceeded", syscall.EDQUOT},
		// lib/ext2fs/ext2_err.et of e2fsprogs.
		{"Could not allocate block in ext2 filesystem", ErrNoSpace},
		{"Could not allocate inode in ext2 filesystem", ErrNoSpace},
		{"No free space in the directory", ErrDirectoryFull},
	} {
		if strings.Contains(output, message.text) {
			return message.err
		}
	}
	return nil
}
