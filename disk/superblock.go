// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"encoding/binary"
	"fmt"
	"os"
)

// Offsets and bits of the superblock: the kernel's
// Documentation/filesystems/ext4/super.rst.
const (
	superblockOffset = 1024
	superblockSize   = 1024
	magicOffset      = 0x38
	extMagic         = 0xEF53

	compatJournal   = 0x4
	incompatRecover = 0x4  // the journal holds changes not yet made
	incompat64Bit   = 0x80 // the high halves of the counts are valid
	stateClean      = 0x1
	stateErrors     = 0x2
	largestLogBlock = 6 // 64 KiB, in powers of two above 1 KiB
)

// superblock is the little of it that decides what to do with an image.
type superblock struct {
	inodes, freeInodes uint32
	blocks, freeBlocks uint64
	blockSize          int64 // bytes
	recover            bool
	clean              bool
}

func (s *superblock) size() int64 { return int64(s.blocks) * s.blockSize }

// image is an open ext4 image whose superblock has been looked at.
type image struct {
	*os.File
	superblock
}

// openImage opens an image for a tool and refuses what is not one, or is cut
// short, before a tool sees it. Flag is os.O_RDONLY or os.O_RDWR.
func openImage(path string, flag int) (*image, error) {
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, err
	}
	sb, err := readSuperblock(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &image{f, sb}, nil
}

func readSuperblock(f *os.File) (superblock, error) {
	var s superblock
	info, err := f.Stat()
	if err != nil {
		return s, err
	}
	if !info.Mode().IsRegular() {
		return s, fmt.Errorf("%s is not a regular file", f.Name())
	}
	raw := make([]byte, superblockSize)
	if _, err := f.ReadAt(raw, superblockOffset); err != nil || !isExt(f) {
		return s, fmt.Errorf("%s is not an ext4 image: %w", f.Name(), ErrKind)
	}
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(raw[at:]) }
	if u32(0x18) > largestLogBlock {
		return s, fmt.Errorf("%s: block size of 2^%d KiB: %w", f.Name(), u32(0x18), ErrDamaged)
	}
	s = superblock{
		inodes: u32(0x0), blocks: uint64(u32(0x4)),
		freeBlocks: uint64(u32(0xc)), freeInodes: u32(0x10),
		blockSize: 1024 << u32(0x18),
		recover:   u32(0x60)&incompatRecover != 0,
	}
	if u32(0x60)&incompat64Bit != 0 {
		s.blocks |= uint64(u32(0x150)) << 32
		s.freeBlocks |= uint64(u32(0x158)) << 32
	}
	state := binary.LittleEndian.Uint16(raw[0x3a:])
	s.clean = state&stateClean != 0 && state&stateErrors == 0 && !s.recover
	if u32(0xe0) == 0 && (u32(0x5c)&compatJournal != 0 || s.recover || !isZero(raw[0xd0:0xe8])) {
		// e2fsck would open that device, whatever it is on this host, to write to it.
		return s, fmt.Errorf("%s: its journal is on another device: %w", f.Name(), ErrDamaged)
	}
	if most := uint64(info.Size() / s.blockSize); s.blocks > most {
		return s, fmt.Errorf("%s: file system of %d blocks in a file of %d, cut short: %w",
			f.Name(), s.blocks, most, ErrDamaged)
	}
	return s, nil
}
