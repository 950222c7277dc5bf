// SPDX-License-Identifier: MPL-2.0

package spt

import (
	"slices"

	"golang.org/x/sys/unix"
)

// HostHasFSGSBase reports whether user programs of this host, guests included, may
// use WRFSBASE and related instructions (HWCAP2_FSGSBASE of asm/hwcap2.h). On other
// hosts these instructions fault.
func HostHasFSGSBase() bool {
	const hwcap2, fsgsbase = 26, 1 << 1 // AT_HWCAP2 of linux/auxvec.h
	vector, err := unix.Auxv()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(vector, func(v [2]uintptr) bool { return v[0] == hwcap2 && v[1]&fsgsbase != 0 })
}
