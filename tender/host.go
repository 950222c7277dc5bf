// SPDX-License-Identifier: MPL-2.0

package tender

import (
	"slices"

	"golang.org/x/sys/unix"
)

// HostHasFSGSBase tells whether programs of this host, guests of the spt tender
// among them, may set the FS base register themselves: HWCAP2_FSGSBASE of
// asm/hwcap2.h. Elsewhere the instruction is a fault.
func HostHasFSGSBase() bool {
	const hwcap2, fsgsbase = 26, 1 << 1 // AT_HWCAP2 of linux/auxvec.h
	vector, err := unix.Auxv()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(vector, func(v [2]uintptr) bool { return v[0] == hwcap2 && v[1]&fsgsbase != 0 })
}
