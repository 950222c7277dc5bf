// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/safeopen"
)

// Offsets of the superblock, as in Documentation/filesystems/ext4/super.rst of Linux, and
// limits of its fields.
const (
	superblockOffset = 1024
	superblockSize   = 1024
	magicOffset      = 0x38
	checksumOffset   = 0x3fc
	extMagic         = 0xEF53

	stateClean      = 0x1
	stateErrors     = 0x2
	maxLogBlockSize = 6 // 64 KiB; the unit is 1 KiB to the power of two
	checksumCRC32C  = 1
)

// superblock holds the fields of a superblock that this package uses.
type superblock struct {
	magic                      uint16
	compat, incompat, roCompat uint32
	revision                   uint32

	inodes, freeInodes             uint32
	blocks, freeBlocks             uint64
	logBlockSize, logClusterSize   uint32
	firstDataBlock                 uint32
	blocksPerGroup, inodesPerGroup uint32
	clustersPerGroup               uint32
	logGroupsPerFlex               uint8
	inodeSize, descriptorSize      uint16 // bytes
	firstInode                     uint32
	reservedDescriptorBlocks       uint16
	firstMetaGroup                 uint32

	journalInode, journalDevice uint32
	journalUUID                 [16]byte

	blockSize     int64 // bytes
	needsRecovery bool
	hasErrors     bool
	clean         bool
}

func (s *superblock) size() int64 { return int64(s.blocks) * s.blockSize }

// ext4File is an open ext4 image with a valid superblock.
type ext4File struct {
	*os.File
	superblock
}

// openExt4 opens an image with os.O_RDONLY or os.O_RDWR. No tool should see another file:
// openExt4 refuses truncated images, invalid superblocks, and features that a guest's
// kernel lacks or that lead the tools to other files.
func openExt4(path string, flag int) (*ext4File, error) {
	f, err := safeopen.Open(path, flag, safeopen.Regular)
	if err != nil {
		return nil, err
	}
	image, err := ext4Of(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return image, nil
}

// ext4Of is openExt4 for an open file.
func ext4Of(f *os.File) (*ext4File, error) {
	sb, err := readSuperblock(f)
	if err != nil {
		return nil, err
	}
	return &ext4File{f, sb}, nil
}

// CheckImage returns an error if Put and Grow would refuse an image for its superblock or
// its group descriptors: ErrKind, ErrFeature, ErrDamaged.
func CheckImage(path string) error {
	image, err := openExt4(path, os.O_RDONLY)
	if err != nil {
		return err
	}
	return image.Close()
}

// readSuperblock reads and checks the primary superblock and the group descriptors.
func readSuperblock(f *os.File) (superblock, error) {
	size, err := f.Seek(0, io.SeekEnd) // works for block devices, too
	if err != nil {
		return superblock{}, err
	}
	return readImage(f, size)
}

// readImage is readSuperblock for an image in a file of this size.
func readImage(r io.ReaderAt, size int64) (superblock, error) {
	raw := make([]byte, superblockSize)
	if _, err := r.ReadAt(raw, superblockOffset); err != nil {
		return superblock{}, fmt.Errorf("the file is %w", ErrKind)
	}
	s := parseSuperblock(raw)
	if s.magic != extMagic {
		return superblock{}, fmt.Errorf("the file is %w", ErrKind)
	}
	for _, check := range []func() error{
		func() error { return s.checkSum(raw) },
		s.checkFeatures,
		s.checkJournal,
		func() error { return s.checkGeometry(size) },
		func() error { return s.checkDescriptors(r) },
	} {
		if err := check(); err != nil {
			return superblock{}, err
		}
	}
	return s, nil
}

// parseSuperblock returns the fields of a superblock without any check.
func parseSuperblock(raw []byte) superblock {
	u16 := func(at int) uint16 { return binary.LittleEndian.Uint16(raw[at:]) }
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(raw[at:]) }
	s := superblock{
		magic:  u16(magicOffset),
		compat: u32(0x5c), incompat: u32(0x60), roCompat: u32(0x64), revision: u32(0x4c),
		inodes: u32(0x0), freeInodes: u32(0x10),
		blocks: uint64(u32(0x4)), freeBlocks: uint64(u32(0xc)),
		logBlockSize: u32(0x18), logClusterSize: u32(0x1c),
		firstDataBlock: u32(0x14),
		blocksPerGroup: u32(0x20), clustersPerGroup: u32(0x24), inodesPerGroup: u32(0x28),
		logGroupsPerFlex: raw[0x174],
		inodeSize:        u16(0x58), descriptorSize: 32, firstInode: u32(0x54),
		reservedDescriptorBlocks: u16(0xce), firstMetaGroup: u32(0x104),
		journalInode: u32(0xe0), journalDevice: u32(0xe4), journalUUID: [16]byte(raw[0xd0:0xe0]),
	}
	if s.revision == 0 {
		s.inodeSize, s.firstInode = goodOldInodeSize, goodOldFirstInode
	}
	if s.incompat&incompat64Bit != 0 {
		s.blocks |= uint64(u32(0x150)) << 32
		s.freeBlocks |= uint64(u32(0x158)) << 32
		s.descriptorSize = u16(0xfe)
	}
	s.blockSize = 1024 << min(s.logBlockSize, maxLogBlockSize)
	s.needsRecovery = s.incompat&incompatRecover != 0
	state := u16(0x3a)
	s.hasErrors = state&stateErrors != 0
	s.clean = state&stateClean != 0 && !s.hasErrors && !s.needsRecovery
	return s
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checkSum compares the checksum of a superblock. If the primary superblock's checksum is
// wrong, e2fsck can use the backup superblocks, which this package does not check.
func (s *superblock) checkSum(raw []byte) error {
	if s.roCompat&roCompatMetadataChecksums == 0 {
		return nil
	}
	if kind := raw[0x175]; kind != checksumCRC32C {
		return fmt.Errorf("unknown checksum type %d of the superblock: %w", kind, ErrDamaged)
	}
	// ext4 does not invert the result of CRC-32C.
	want, got := binary.LittleEndian.Uint32(raw[checksumOffset:]), ^crc32.Checksum(raw[:checksumOffset], castagnoli)
	if got != want {
		return fmt.Errorf("the checksum of the superblock is %08x instead of %08x: %w", want, got, ErrDamaged)
	}
	return nil
}

// checkJournal refuses an image whose journal is on another device. The tools would open
// the device that the superblock names, and e2fsck would write to it. A UUID or number
// is enough for that: e2fsck then ignores the inode of an internal journal.
func (s *superblock) checkJournal() error {
	journal := s.compat&compatJournal != 0 || s.needsRecovery
	if s.journalUUID != [16]byte{} || s.journalDevice != 0 || journal && s.journalInode == 0 {
		return fmt.Errorf("its journal is on another device: %w: "+
			"move the journal into the image with `tune2fs -O ^has_journal` and then `tune2fs -j`", ErrFeature)
	}
	if journal && s.journalInode > s.inodes {
		return fmt.Errorf("the journal is inode %d of %d: %w", s.journalInode, s.inodes, ErrDamaged)
	}
	return nil
}
