// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"encoding/binary"
	"fmt"
	"os"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/safeopen"
)

// Offsets and flags of the superblock, as in Documentation/filesystems/ext4/super.rst of
// Linux.
const (
	superblockOffset = 1024
	superblockSize   = 1024
	magicOffset      = 0x38
	extMagic         = 0xEF53

	compatJournal   = 0x4
	incompatRecover = 0x4  // the journal has to be replayed
	incompat64Bit   = 0x80 // the upper halves of the counts are valid
	stateClean      = 0x1
	stateErrors     = 0x2
	maxLogBlockSize = 6 // 64 KiB; the unit is 1 KiB to the power of two
)

// superblock holds the fields that this package uses.
type superblock struct {
	inodes, freeInodes uint32
	blocks             uint64
	blockSize          int64 // bytes
	needsRecovery      bool
	clean              bool
}

func (s *superblock) size() int64 { return int64(s.blocks) * s.blockSize }

// ext4File is an open ext4 image with a valid superblock.
type ext4File struct {
	*os.File
	superblock
}

// openExt4 opens an image with os.O_RDONLY or os.O_RDWR. It refuses other and truncated
// files, so that no tool is run on them.
func openExt4(path string, flag int) (*ext4File, error) {
	f, err := safeopen.Open(path, flag, safeopen.Regular)
	if err != nil {
		return nil, err
	}
	sb, err := readSuperblock(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &ext4File{f, sb}, nil
}

func readSuperblock(f *os.File) (superblock, error) {
	var s superblock
	info, err := f.Stat()
	if err != nil {
		return s, err
	}
	raw := make([]byte, superblockSize)
	if _, err := f.ReadAt(raw, superblockOffset); err != nil || !hasExtMagic(f) {
		return s, fmt.Errorf("%s is not an ext4 image: %w", f.Name(), ErrKind)
	}
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(raw[at:]) }
	if u32(0x18) > maxLogBlockSize {
		return s, fmt.Errorf("%s: invalid block size of 2^%d KiB: %w", f.Name(), u32(0x18), ErrDamaged)
	}
	s = superblock{
		inodes: u32(0x0), blocks: uint64(u32(0x4)),
		freeInodes:    u32(0x10),
		blockSize:     1024 << u32(0x18),
		needsRecovery: u32(0x60)&incompatRecover != 0,
	}
	if u32(0x60)&incompat64Bit != 0 {
		s.blocks |= uint64(u32(0x150)) << 32
	}
	state := binary.LittleEndian.Uint16(raw[0x3a:])
	s.clean = state&stateClean != 0 && state&stateErrors == 0 && !s.needsRecovery
	if u32(0xe0) == 0 && (u32(0x5c)&compatJournal != 0 || s.needsRecovery || !isZero(raw[0xd0:0xe8])) {
		// e2fsck would open that device of the host and write to it.
		return s, fmt.Errorf("%s: its journal is on another device, which is not supported: %w", f.Name(), ErrDamaged)
	}
	if blocks := uint64(info.Size() / s.blockSize); s.blocks > blocks {
		return s, fmt.Errorf("%s: truncated: the file system has %d blocks, the file only %d: %w",
			f.Name(), s.blocks, blocks, ErrDamaged)
	}
	return s, nil
}
