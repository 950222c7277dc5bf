// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"bytes"
	"io"
)

// HasExt4 reports whether a file or block device contains ext2, ext3 or ext4.
func HasExt4(r io.ReaderAt) bool { return hasExtMagic(r) }

const isoOffset = 0x8001 // of the first volume descriptor: ECMA-119

// HasISO9660 reports whether a file or block device contains an ISO 9660 file system.
func HasISO9660(r io.ReaderAt) bool { return hasMagic(r, isoOffset, "CD001") }

func hasMagic(r io.ReaderAt, offset int64, magic string) bool {
	b := make([]byte, len(magic))
	_, err := r.ReadAt(b, offset)
	return err == nil && string(b) == magic
}

// contents are descriptions of files by their magic numbers, as in the magic of file(1).
var contents = []struct {
	offset      int64
	magic, name string
}{
	{isoOffset, "CD001", "an ISO 9660 file system"},
	{0, "XFSB", "an XFS file system"},
	{0x10040, "_BHRfS_M", "a Btrfs file system"},
	{0, "hsqs", "a SquashFS file system"},
	{0, "LUKS\xba\xbe", "an encrypted volume (LUKS)"},
	{0, "QFI\xfb", "an image in the format qcow2, not a raw one"},
	{4086, "SWAPSPACE2", "swap space"},
	{0x218, "LVM2 001", "a physical volume of LVM"},
	{0, "\x1f\x8b", "data compressed by gzip"},
	{0, "\x28\xb5\x2f\xfd", "data compressed by zstd"},
	{257, "ustar", "a tar archive"},
	{510, "\x55\xaa", "a partition table"},
}

// Describe returns a phrase for the content of a file or block device, for an error.
func Describe(r io.ReaderAt) string {
	if hasExtMagic(r) {
		return "an ext4 file system"
	}
	for _, c := range contents {
		if hasMagic(r, c.offset, c.magic) {
			return c.name
		}
	}
	start := make([]byte, BlockSize)
	n, _ := r.ReadAt(start, 0)
	if n > 0 && bytes.Count(start[:n], []byte{0}) == n {
		return "zeros at its start"
	}
	return "unknown data"
}
