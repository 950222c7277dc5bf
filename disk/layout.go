// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Figures of ext4 with blocks of 4096 bytes, from Documentation/filesystems/ext4 of Linux
// and mke2fs(8).
const (
	blocksPerGroup      = 8 * BlockSize
	inodesPerGroup      = 8 * BlockSize
	inodesPerBlock      = BlockSize / 256
	descriptorsPerBlock = BlockSize / 64
	extentsInInode      = 4
	extentsPerLeaf      = 340 / 2        // if every leaf is half full, as after a split
	maxExtentLen        = 32768          // blocks
	inlineSymlinkLen    = 60             // bytes of a target from which on it needs a block
	direntHeader        = 8              // bytes before the name, which is padded to 4
	direntSpace         = BlockSize - 12 // bytes of a directory block, without its checksum
	rootBlocks          = 4 + 1          // blocks of lost+found and of the root
	bytesPerInode       = 8192           // of free space: half of mke2fs's default, for small files
	reservedInodes      = firstInode     // 1 to 11, the last one for lost+found
	spareInodes         = 64             // for small files in images without more space
	resizeFactor        = 1024           // resize_inode reserves descriptors for this growth
	minJournal          = 1024           // blocks
	maxJournal          = 16384          // blocks: 64 MiB
	minImage            = 4 * minJournal // blocks
	minLastGroup        = 50             // blocks beyond its tables without which mke2fs omits the last group
)

// usage is the space that the content of an image takes.
type usage struct {
	names  int64 // of all files, which may have several
	inodes int64 // of files, directories, symlinks and devices, without the root
	blocks int64
}

// addInode adds a file of another type than a directory.
func (u *usage) addInode(i *inode) {
	u.inodes++
	u.addXattrs(i)
	switch i.mode & unix.S_IFMT {
	case unix.S_IFREG:
		u.addData(i.data.blocks, i.data.extents+2*(i.data.blocks/maxExtentLen)+1)
	case unix.S_IFLNK:
		if len(i.target) >= inlineSymlinkLen {
			u.blocks++
		}
	}
}

func (u *usage) addData(blocks, extents int64) {
	u.blocks += blocks
	if extents > extentsInInode {
		u.blocks += 1 + extents/extentsPerLeaf
	}
}

// addXattrs adds the extended attributes of a file, which may not fit into its inode.
func (u *usage) addXattrs(i *inode) {
	if i.xattrs != nil {
		u.blocks++
	}
}

// addDirectory adds the blocks of a directory whose entries have entryBytes in all; see
// direntSize. An entry never crosses a block boundary, and each block may be an extent.
func (u *usage) addDirectory(entryBytes int64) {
	entryBytes += 2 * (direntHeader + 4) // . and ..
	blocks := int64(1)
	if entryBytes > direntSpace {
		blocks = divideUp(entryBytes, direntSpace-direntHeader-maxNameLen)
	}
	u.addData(blocks, blocks)
}

// direntSize returns the size of a directory entry in bytes.
func direntSize(name string) int64 { return direntHeader + divideUp(int64(len(name)), 4)*4 }

// imageSize returns the size in bytes of an image that is certain to hold the content.
func (u *usage) imageSize() int64 {
	g, err := planGeometry(*u, BuildOptions{})
	if err != nil {
		return u.blocks * BlockSize
	}
	return g.blocks * BlockSize
}

// geometry contains the sizes that mke2fs is called with. Blocks have BlockSize bytes.
type geometry struct {
	blocks, inodes int64
	journal        int64 // blocks
}

// planGeometry chooses the geometry of an image. With a fixed size, it returns ErrNoSpace
// only if the content certainly does not fit; mke2fs finds out otherwise.
func planGeometry(u usage, o BuildOptions) (geometry, error) {
	if o.Size < 0 || o.Room < 0 {
		return geometry{}, fmt.Errorf("size of %d bytes, room of %d bytes: neither may be negative", o.Size, o.Room)
	}
	switch {
	case o.Max > 0 && o.Size > o.Max:
		return geometry{}, fmt.Errorf("%w: its size is %d MiB, and may be %d MiB", ErrTooLarge, o.Size>>20, o.Max>>20)
	case o.Size > 0:
		return planFixedSize(u, o.Size/BlockSize)
	}
	room := divideUp(o.Room, BlockSize)
	g := geometry{inodes: u.inodes + reservedInodes + spareInodes + o.Room/bytesPerInode}
	// More blocks need larger tables. The sum converges within a few rounds.
	for need := int64(minImage); need > g.blocks; {
		g.blocks = need
		g.journal = journalBlocks(g.blocks)
		content := u.blocks + rootBlocks + room
		need = content + content/512 + 16 + g.journal + g.tableBlocks()
		need = max(g.completeLastGroup(need), minImage)
	}
	if g.blocks > maxBlocks {
		return g, fmt.Errorf("the content takes %d MiB: %w", g.blocks*BlockSize>>20, ErrNoSpace)
	}
	if o.Max > 0 && g.blocks > o.Max/BlockSize {
		return planLargestSize(u, o)
	}
	return g, nil
}

// planLargestSize plans an image of o.Max, for which o.Room is too large.
func planLargestSize(u usage, o BuildOptions) (geometry, error) {
	g, err := planFixedSize(u, o.Max/BlockSize)
	if err != nil {
		return g, fmt.Errorf("%w: its content takes about %d MiB, and it may have %d MiB", ErrTooLarge, u.blocks*BlockSize>>20, o.Max>>20)
	}
	return g, nil
}

func planFixedSize(u usage, blocks int64) (geometry, error) {
	g := geometry{blocks: blocks, journal: journalBlocks(blocks)}
	if u.blocks+rootBlocks >= blocks || blocks > maxBlocks {
		return g, fmt.Errorf("the image may have %d MiB, but its content takes about %d MiB: %w",
			blocks*BlockSize>>20, u.imageSize()>>20, ErrNoSpace)
	}
	free := blocks - u.blocks - g.journal
	g.inodes = u.inodes + reservedInodes + spareInodes + max(free, 0)*BlockSize/bytesPerInode
	g.inodes = min(g.inodes, divideUp(blocks, blocksPerGroup)*inodesPerGroup)
	return g, nil
}

// journalBlocks returns the size of the journal, in whole MiB. An image in which it would
// take too large a part has no journal.
func journalBlocks(blocks int64) int64 {
	if blocks < minImage {
		return 0
	}
	const mib = 1 << 20 / BlockSize
	return min(max(blocks/32, minJournal), maxJournal) / mib * mib
}

// tableBlocks returns the number of blocks for the file system's own tables.
func (g *geometry) tableBlocks() int64 {
	groups := divideUp(g.blocks, blocksPerGroup)
	descriptors := divideUp(groups, descriptorsPerBlock)
	reserved := divideUp(min(g.blocks*resizeFactor, maxBlocks)/blocksPerGroup, descriptorsPerBlock)
	perCopy := 1 + max(descriptors, min(reserved, BlockSize/4))
	const reservedMap = 2 // blocks that map the reserved descriptors
	return groups*(2+g.inodeTableBlocks(groups)) + superblockCopies(groups)*perCopy + reservedMap
}

func (g *geometry) inodeTableBlocks(groups int64) int64 {
	return divideUp(divideUp(g.inodes, groups), inodesPerBlock)
}

// completeLastGroup rounds a number of blocks up. mke2fs would omit a last group that is too
// small, and there must be enough groups for all inodes.
func (g *geometry) completeLastGroup(blocks int64) int64 {
	blocks = max(blocks, (divideUp(g.inodes, inodesPerGroup)-1)*blocksPerGroup+1)
	groups := divideUp(blocks, blocksPerGroup)
	last := blocks - (groups-1)*blocksPerGroup
	least := 2 + g.inodeTableBlocks(groups) + 1 + BlockSize/4 + minLastGroup
	if groups > 1 && last < least {
		return blocks + min(least, blocksPerGroup) - last
	}
	return blocks
}

// superblockCopies returns the number of groups that contain a superblock: the first two
// and those whose number is a power of 3, 5 or 7 (sparse_super).
func superblockCopies(groups int64) int64 {
	n := min(groups, 2)
	for _, base := range []int64{3, 5, 7} {
		for power := base; power < groups; power *= base {
			n++
		}
	}
	return n
}

func divideUp(n, unit int64) int64 { return (n + unit - 1) / unit }
