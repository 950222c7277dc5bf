// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// openOutput opens the destination of output: a FIFO, or a file to append to. It
// opens a FIFO for reading too, so that the FIFO always has a reader and writing
// survives a restart of Nomad.
//
// Other tasks of the group may write in the directory of Nomad's FIFOs, while
// this process may be root. So it follows no symbolic link and creates no file.
// See Plan.OutputRoot for root.
func openOutput(root, path string) (int, error) {
	if path == "" {
		path = "/dev/null"
	}
	fd, err := openWithoutLinks(root, path)
	if err != nil {
		return -1, fmt.Errorf("open %s for the guest's output: %w", path, err)
	}
	return fd, nil
}

func openWithoutLinks(root, path string) (int, error) {
	located, err := locate(root, path)
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(located) }()
	var st unix.Stat_t
	if err := unix.Fstat(located, &st); err != nil {
		return -1, err
	}
	flags := unix.O_WRONLY | unix.O_APPEND
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		return -1, unix.ELOOP
	case unix.S_IFIFO:
		flags = unix.O_RDWR
	}
	// Opening the descriptor, not the path, opens the file that was checked.
	return unix.Open("/proc/self/fd/"+strconv.Itoa(located), flags|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
}

// locate opens a path with O_PATH. Below root it follows no symbolic link at all;
// outside root it follows one except in the last component.
func locate(root, path string) (int, error) {
	const flags = unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
	rel, below := strings.CutPrefix(path, strings.TrimSuffix(root, "/")+"/")
	if root == "" || !below {
		return unix.Open(path, flags, 0)
	}
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(dir) }()
	return unix.Openat2(dir, rel, &unix.OpenHow{Flags: flags, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS})
}
