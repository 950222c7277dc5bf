// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// Limits of the fields that describe an image's groups, as in e2fsprogs and Linux.
const (
	goodOldInodeSize   = 128 // bytes; revision 0 has no other
	goodOldFirstInode  = 11
	maxBlocksPerGroup  = 1<<16 - 8
	minBlocksPerGroup  = 8
	minDescriptorSize  = 64 // bytes; with the feature 64bit
	maxDescriptorSize  = 1024
	maxLogGroupsOfFlex = 31
	// maxGroups limits the time to read the descriptors: 128 TiB in blocks of 4096 bytes.
	maxGroups = 1 << 20
)

// checkGeometry refuses fields that contradict each other or a file of this size. The
// tools compute with these fields, and resize2fs crashes for some values.
func (s *superblock) checkGeometry(fileSize int64) error {
	if s.logBlockSize > maxLogBlockSize {
		return fmt.Errorf("invalid block size of 2^%d KiB: %w", s.logBlockSize, ErrDamaged)
	}
	if blocks := uint64(fileSize / s.blockSize); s.blocks > blocks {
		return fmt.Errorf("truncated: the file system has %d blocks, the file only %d: %w", s.blocks, blocks, ErrDamaged)
	}
	firstBlock := superblockOffset / s.blockSize // of the superblock
	inodeSize, inodeBytes := int64(s.inodeSize), int64(s.inodesPerGroup)*int64(s.inodeSize)
	for _, field := range []struct {
		name  string
		value any
		valid bool
	}{
		{"cluster size (log2)", s.logClusterSize, s.logClusterSize == s.logBlockSize},
		{"blocks per group", s.blocksPerGroup, s.hasValidGroups()},
		{"first data block", s.firstDataBlock, int64(s.firstDataBlock) == firstBlock && uint64(firstBlock) < s.blocks},
		{"inode size", s.inodeSize, inodeSize >= goodOldInodeSize && inodeSize <= s.blockSize && isPowerOfTwo(inodeSize)},
		{"first inode", s.firstInode, s.firstInode >= goodOldFirstInode && s.firstInode < s.inodes},
		{"inodes per group", s.inodesPerGroup, s.inodesPerGroup > 0 && int64(s.inodesPerGroup) <= 8*s.blockSize &&
			inodeBytes < int64(s.blocksPerGroup)*s.blockSize},
		{"descriptor size", s.descriptorSize, s.hasValidDescriptorSize()},
		{"number of groups per flexible group (log2)", s.logGroupsPerFlex, s.logGroupsPerFlex <= maxLogGroupsOfFlex},
		{"number of reserved descriptor blocks", s.reservedDescriptorBlocks, int64(s.reservedDescriptorBlocks) <= s.blockSize/4},
		{"number of free blocks", s.freeBlocks, s.freeBlocks <= s.blocks},
		{"number of free inodes", s.freeInodes, s.freeInodes <= s.inodes},
	} {
		if !field.valid {
			return fmt.Errorf("invalid %s %d in the superblock: %w", field.name, field.value, ErrDamaged)
		}
	}
	// The blocks per group are valid here.
	if groups := s.groups(); groups > maxGroups || groups*uint64(s.inodesPerGroup) != uint64(s.inodes) {
		return fmt.Errorf("%d inodes in %d groups of %d: %w", s.inodes, groups, s.inodesPerGroup, ErrDamaged)
	}
	if s.incompat&incompatMetaGroups != 0 && uint64(s.firstMetaGroup) > s.descriptorBlocks() {
		return fmt.Errorf("invalid first meta group %d in the superblock: %w", s.firstMetaGroup, ErrDamaged)
	}
	return nil
}

// hasValidGroups reports whether the blocks of a group fit in its bitmap.
func (s *superblock) hasValidGroups() bool {
	blocks := int64(s.blocksPerGroup)
	return blocks >= minBlocksPerGroup && blocks <= min(maxBlocksPerGroup, 8*s.blockSize) &&
		s.clustersPerGroup == s.blocksPerGroup
}

func (s *superblock) hasValidDescriptorSize() bool {
	if s.incompat&incompat64Bit == 0 {
		return true
	}
	n := int64(s.descriptorSize)
	return n >= minDescriptorSize && n <= maxDescriptorSize && isPowerOfTwo(n)
}

func isPowerOfTwo(n int64) bool { return n > 0 && n&(n-1) == 0 }

func (s *superblock) groups() uint64 {
	return (s.blocks - uint64(s.firstDataBlock) + uint64(s.blocksPerGroup) - 1) / uint64(s.blocksPerGroup)
}

func (s *superblock) descriptorBlocks() uint64 {
	perBlock := uint64(s.blockSize) / uint64(s.descriptorSize)
	return (s.groups() + perBlock - 1) / perBlock
}

// checkDescriptors refuses images with a bitmap or inode table outside of the file
// system or above the primary superblock and the descriptors. A tool that writes an
// inode there would change the superblock.
func (s *superblock) checkDescriptors(image io.ReaderAt) error {
	groups, blocks := s.groups(), s.descriptorBlocks()
	if s.incompat&incompatMetaGroups != 0 { // the other descriptors lie in their groups
		blocks = uint64(s.firstMetaGroup)
		groups = min(groups, blocks*uint64(s.blockSize)/uint64(s.descriptorSize))
	}
	start := superblockOffset/uint64(s.blockSize) + 1
	r := bufio.NewReader(io.NewSectionReader(image, int64(start)*s.blockSize, int64(blocks)*s.blockSize))
	raw := make([]byte, s.descriptorSize)
	for group := range groups {
		if _, err := io.ReadFull(r, raw); err != nil {
			return fmt.Errorf("read descriptor %d: %w: %w", group, err, ErrDamaged)
		}
		first, end := start+blocks, s.blocks
		if s.incompat&incompatFlexGroups == 0 {
			first = max(first, uint64(s.firstDataBlock)+group*uint64(s.blocksPerGroup))
			end = min(end, uint64(s.firstDataBlock)+(group+1)*uint64(s.blocksPerGroup))
		}
		if err := s.checkDescriptor(raw, first, end); err != nil {
			return fmt.Errorf("group %d has its %w: %w", group, err, ErrDamaged)
		}
	}
	return nil
}

// checkDescriptor returns an error that names the first area of a group that is not
// between two blocks.
func (s *superblock) checkDescriptor(raw []byte, first, end uint64) error {
	tableBlocks := (uint64(s.inodesPerGroup)*uint64(s.inodeSize) + uint64(s.blockSize) - 1) / uint64(s.blockSize)
	for _, area := range []struct {
		name      string
		low, high int // offsets of the halves of the block number
		length    uint64
	}{
		{"block bitmap", 0x0, 0x20, 1},
		{"inode bitmap", 0x4, 0x24, 1},
		{"inode table", 0x8, 0x28, tableBlocks},
	} {
		at := uint64(binary.LittleEndian.Uint32(raw[area.low:]))
		if s.incompat&incompat64Bit != 0 {
			at |= uint64(binary.LittleEndian.Uint32(raw[area.high:])) << 32
		}
		if at < first || at >= end || area.length > end-at {
			return fmt.Errorf("%s at block %d", area.name, at)
		}
	}
	return nil
}
