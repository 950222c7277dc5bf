// SPDX-License-Identifier: MPL-2.0

package cgroup

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// hostMount is the path at which hosts mount the cgroup file system.
const hostMount = "/sys/fs/cgroup"

// HostVersion returns V1, V2, or None if the host has mounted no cgroup file system.
// It decides by the file system's type, as Nomad's client does.
func HostVersion() (int, error) {
	var stat unix.Statfs_t
	switch err := unix.Statfs(hostMount, &stat); {
	case errors.Is(err, unix.ENOENT):
		return None, nil
	case err != nil:
		return None, fmt.Errorf("find the cgroup version: statfs %s: %w", hostMount, err)
	}
	switch stat.Type {
	case unix.CGROUP2_SUPER_MAGIC:
		return V2, nil
	case unix.TMPFS_MAGIC:
		return V1, nil
	}
	return None, nil
}
