// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// openOutput opens the destination of output: a FIFO, or outside root a file or a
// character device to append to. It opens a FIFO for reading too, so that the FIFO
// always has a reader and writing survives a restart of Nomad.
//
// Other tasks of the group may write in the directory of Nomad's FIFOs, while
// this process may be root. So it follows no symbolic link, creates no file, and
// opens nothing but a FIFO below root. See Plan.OutputRoot for root.
func openOutput(root, path string) (int, error) {
	if path == "" {
		path = "/dev/null"
	}
	fd, err := openChecked(root, path)
	if err != nil {
		return -1, fmt.Errorf("open %s for the guest's output: %w", path, err)
	}
	return fd, nil
}

// openChecked checks the type of a file before it opens the file: the mere open of
// a device can have effects.
func openChecked(root, path string) (int, error) {
	located, shared, err := locate(root, path)
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(located) }()
	var st unix.Stat_t
	if err := unix.Fstat(located, &st); err != nil {
		return -1, err
	}
	flags := unix.O_WRONLY | unix.O_APPEND
	switch kind := st.Mode & unix.S_IFMT; {
	case kind == unix.S_IFIFO:
		flags = unix.O_RDWR
	case shared:
		return -1, errNotFIFO
	case kind == unix.S_IFLNK:
		return -1, unix.ELOOP
	case kind == unix.S_IFREG && st.Nlink != 1:
		return -1, errHardLinks
	case kind != unix.S_IFREG && kind != unix.S_IFCHR:
		return -1, errNotOutput
	}
	// Opening the descriptor, not the path, opens the file that was checked.
	return unix.Open("/proc/self/fd/"+strconv.Itoa(located), flags|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
}

var (
	errNotFIFO   = errors.New("not a FIFO: another task of the group may have replaced Nomad's; restart the allocation")
	errHardLinks = errors.New("a file with several hard links: name another file for the output")
	errNotOutput = errors.New("neither a FIFO, a regular file nor a character device")
)

// locate opens a path with O_PATH. Below root it follows no symbolic link at all;
// outside root it follows one except in the last component. It also returns whether
// the path is below root.
func locate(root, path string) (fd int, below bool, err error) {
	const flags = unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
	rel, below := strings.CutPrefix(path, strings.TrimSuffix(root, "/")+"/")
	if root == "" || !below {
		fd, err = unix.Open(path, flags, 0)
		return fd, false, err
	}
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, true, err
	}
	defer func() { _ = unix.Close(dir) }()
	fd, err = unix.Openat2(dir, rel, &unix.OpenHow{Flags: flags, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS})
	return fd, true, err
}
