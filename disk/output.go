// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// output is a file that gets its name when it is complete, so that nobody sees
// half of one. Until then it has none where the file system can do that, and is
// gone with its last descriptor; elsewhere its name begins with ".lkl-".
type output struct {
	*os.File
	dst       string
	temporary string // its name until then; "" where it has none
}

// newOutput begins a file that becomes dst; fs.ErrExist when there is one.
func newOutput(dst string) (*output, error) {
	if _, err := os.Lstat(dst); err == nil {
		return nil, &fs.PathError{Op: "create", Path: dst, Err: fs.ErrExist}
	}
	dir := filepath.Dir(dst)
	if fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600); err == nil {
		return &output{File: os.NewFile(uintptr(fd), dst), dst: dst}, nil
	}
	f, err := os.CreateTemp(dir, ".lkl-*")
	if err != nil {
		return nil, err
	}
	return &output{File: f, dst: dst, temporary: f.Name()}, nil
}

// commit gives the file its name; fs.ErrExist when something has it by now.
func (o *output) commit() error {
	defer o.discard()
	if o.temporary != "" {
		return os.Link(o.temporary, o.dst)
	}
	from := "/proc/self/fd/" + strconv.Itoa(int(o.Fd()))
	if err := unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, o.dst, unix.AT_SYMLINK_FOLLOW); err != nil {
		return fmt.Errorf("link %s: %w", o.dst, err)
	}
	return nil
}

// discard closes the file; without commit nothing of it is left.
func (o *output) discard() {
	o.Close()
	if o.temporary != "" {
		os.Remove(o.temporary)
	}
}
