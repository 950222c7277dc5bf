// SPDX-License-Identifier: MPL-2.0

package jail

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
)

// cloneShares copies the mounts of the shares, with the mounts below them. The copies belong
// to no namespace yet, so that a process of another mount namespace can attach them.
// The caller closes the descriptors, also after an error.
func cloneShares(shares []files.Share, fds []int) (mounts []int, _ error) {
	if len(shares) != len(fds) {
		return nil, fmt.Errorf("%d open shares, but the plan has %d", len(fds), len(shares))
	}
	for i := range shares {
		fd, err := unix.OpenTree(fds[i], "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE)
		if errors.Is(err, unix.EPERM) {
			err = fmt.Errorf("%w (%w)", ErrPrivileges, err)
		}
		if err != nil {
			return mounts, fmt.Errorf("share %d: copy its mount: %w", i, err)
		}
		mounts = append(mounts, fd)
		if _, err := kindOf(fd); err != nil {
			return mounts, fmt.Errorf("share %d: %w", i, err)
		}
	}
	return mounts, nil
}

// kindOf returns S_IFDIR or S_IFREG, or an error for other types of files.
func kindOf(fd int) (uint32, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return 0, err
	}
	kind := stat.Mode & unix.S_IFMT
	if kind != unix.S_IFDIR && kind != unix.S_IFREG {
		return 0, errors.New("neither a directory nor a regular file")
	}
	return kind, nil
}
