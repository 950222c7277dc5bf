// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"fmt"
)

// contents is how much an image has to hold, in its own terms.
type contents struct {
	inodes int64 // files, directories, links, devices, without the root
	blocks int64
}

// Figures of ext4 with blocks of 4096 bytes, from the kernel's
// Documentation/filesystems/ext4 and mke2fs(8).
const (
	blocksPerGroup   = 8 * BlockSize
	inodesPerGroup   = 8 * BlockSize
	inodesPerBlock   = BlockSize / 256
	groupsPerBlock   = BlockSize / 64 // descriptors of 64 bytes
	extentsInInode   = 4
	extentsPerLeaf   = 340 / 2        // when every leaf is the half of one split
	longestExtent    = 32768          // blocks
	inlineLink       = 60             // bytes of a symlink's target that need no block
	direntHeader     = 8              // bytes before the name, padded to 4
	direntSpace      = BlockSize - 12 // without the checksum
	mostLinks        = 65000          // of one inode
	mostBlocks       = 1<<32 - 1      // 16 TiB
	lostFound        = 4 + 1          // blocks of lost+found and of the root
	bytesPerInode    = 8192           // of free space: half of mke2fs's default, for small files
	ownInodes        = firstInode     // 1 to 11, the last for lost+found
	spareInodes      = 64             // for small files without more space
	growthFactor     = 1024           // resize_inode reserves descriptors for it
	smallestJournal  = 1024           // blocks
	largestJournal   = 16384          // blocks: 64 MiB
	smallestImage    = 4 * smallestJournal
	smallestLeftover = 50 // blocks beyond its tables for which a last group is made
)

// file adds a regular file with so many blocks of data, in so many pieces.
func (c *contents) file(blocks, pieces int64) {
	c.inodes++
	c.data(blocks, pieces+2*(blocks/longestExtent)+1)
}

func (c *contents) data(blocks, extents int64) {
	c.blocks += blocks
	if extents > extentsInInode {
		c.blocks += 1 + extents/extentsPerLeaf
	}
}

func (c *contents) symlink(target int) {
	c.inodes++
	if target >= inlineLink {
		c.blocks++
	}
}

func (c *contents) special() { c.inodes++ }

// attributes adds those extended attributes that may not fit into an inode.
func (c *contents) attributes() { c.blocks++ }

// directory adds one, but for its inode, with names of so many bytes, each with
// its header and padding. An entry never crosses blocks, and each block may lie
// apart.
func (c *contents) directory(bytes int64) {
	bytes += 2 * (direntHeader + 4) // . and ..
	blocks := int64(1)
	if bytes > direntSpace {
		blocks = ceil(bytes, direntSpace-direntHeader-longestName)
	}
	c.data(blocks, blocks)
}

// dirent is the room that a name takes in its directory.
func dirent(name string) int64 { return direntHeader + ceil(int64(len(name)), 4)*4 }

// needs is the size of the smallest image for sure, in bytes.
func (c *contents) needs() int64 {
	g, err := layout(*c, BuildOptions{})
	if err != nil {
		return c.blocks * BlockSize
	}
	return g.blocks * BlockSize
}

// geometry is what mke2fs is told to make; blocks of BlockSize.
type geometry struct {
	blocks, inodes, journal int64
}

// layout plans an image. With a Size it is taken; mke2fs finds out whether the
// content fits, unless it cannot.
func layout(c contents, o BuildOptions) (geometry, error) {
	if o.Size < 0 || o.Room < 0 {
		return geometry{}, fmt.Errorf("size of %d bytes and room of %d: both must be positive", o.Size, o.Room)
	}
	if o.Size > 0 {
		return fixedLayout(c, o.Size/BlockSize)
	}
	room := ceil(o.Room, BlockSize)
	g := geometry{inodes: c.inodes + ownInodes + spareInodes + o.Room/bytesPerInode}
	// More blocks need more tables, whose number settles after a few rounds.
	for need := int64(smallestImage); need > g.blocks; {
		g.blocks = need
		g.journal = journal(g.blocks)
		content := c.blocks + lostFound + room
		need = content + content/512 + 16 + g.journal + g.tables()
		need = max(g.wholeGroups(need), smallestImage)
	}
	if g.blocks > mostBlocks {
		return g, fmt.Errorf("the content takes %d MiB: %w", g.blocks*BlockSize>>20, ErrNoSpace)
	}
	return g, nil
}

func fixedLayout(c contents, blocks int64) (geometry, error) {
	g := geometry{blocks: blocks, journal: journal(blocks)}
	if c.blocks+lostFound >= blocks || blocks > mostBlocks {
		return g, fmt.Errorf("%d MiB for an image whose content takes about %d MiB: %w",
			blocks*BlockSize>>20, c.needs()>>20, ErrNoSpace)
	}
	free := blocks - c.blocks - g.journal
	g.inodes = c.inodes + ownInodes + spareInodes + max(free, 0)*BlockSize/bytesPerInode
	g.inodes = min(g.inodes, ceil(blocks, blocksPerGroup)*inodesPerGroup)
	return g, nil
}

// journal is the blocks of an image's journal: enough for its size, none where
// it would be a large part of a small image.
func journal(blocks int64) int64 {
	if blocks < smallestImage {
		return 0
	}
	return min(max(blocks/32, smallestJournal), largestJournal) &^ 255 // whole MiB
}

// tables is how many blocks the file system takes for itself.
func (g *geometry) tables() int64 {
	groups := ceil(g.blocks, blocksPerGroup)
	descriptors := ceil(groups, groupsPerBlock)
	reserved := ceil(min(g.blocks*growthFactor, mostBlocks)/blocksPerGroup, groupsPerBlock)
	perCopy := 1 + max(descriptors, min(reserved, BlockSize/4))
	return groups*(2+g.inodeBlocks(groups)) + copies(groups)*perCopy + 2 // and two blocks to map the reserved ones
}

func (g *geometry) inodeBlocks(groups int64) int64 {
	return ceil(ceil(g.inodes, groups), inodesPerBlock)
}

// wholeGroups rounds a number of blocks up so that mke2fs does not leave off the
// last group for being too small, and so that there are groups for all inodes.
func (g *geometry) wholeGroups(blocks int64) int64 {
	blocks = max(blocks, (ceil(g.inodes, inodesPerGroup)-1)*blocksPerGroup+1)
	groups := ceil(blocks, blocksPerGroup)
	rest := blocks - (groups-1)*blocksPerGroup
	least := 2 + g.inodeBlocks(groups) + 1 + BlockSize/4 + smallestLeftover
	if groups > 1 && rest < least {
		return blocks + min(least, blocksPerGroup) - rest
	}
	return blocks
}

// copies is how many groups hold the superblock: the first two and those whose
// number is a power of 3, 5 or 7 (sparse_super).
func copies(groups int64) int64 {
	n := min(groups, 2)
	for _, base := range []int64{3, 5, 7} {
		for power := base; power < groups; power *= base {
			n++
		}
	}
	return n
}

func ceil(n, unit int64) int64 { return (n + unit - 1) / unit }
