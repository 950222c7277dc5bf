// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// rootContent is the content of an image that is to be built.
type rootContent struct {
	top     *node
	files   fileSource
	spooled int64 // bytes of the host that become free while the image is written
}

// A fileSource contains the contents of regular files.
type fileSource interface {
	// copyTo writes the content of the file at a path to dst, without its holes.
	copyTo(ctx context.Context, dst *os.File, path string, d *fileData) error
	Close() error
}

// lostFoundName is a directory that mke2fs creates in every root.
const lostFoundName = "lost+found"

var errLostFound = errors.New("lost+found at the root must be a directory")

// measure returns the space that the content takes in an image. It refuses content that an
// image cannot hold.
func (c *rootContent) measure() (usage, error) {
	var u usage
	if n := c.top.children[lostFoundName]; n != nil && n.children == nil {
		return u, errLostFound
	}
	return u, u.addTree(c.top, ".", map[*inode]bool{})
}

// addTree adds a directory and everything in it.
func (u *usage) addTree(dir *node, name string, seen map[*inode]bool) error {
	u.names += int64(len(dir.children))
	entryBytes, subdirectories := int64(0), 0
	for name, child := range dir.children {
		entryBytes += direntSize(name)
		if child.children != nil {
			u.inodes++
			subdirectories++
			if err := u.addTree(child, name, seen); err != nil {
				return err
			}
			continue
		}
		if !seen[child.inode] {
			u.addInode(child.inode)
			seen[child.inode] = child.links > 1
		}
	}
	if subdirectories > maxLinks-2 {
		return fmt.Errorf("%q has %d subdirectories; ext4 allows %d", name, subdirectories, maxLinks-2)
	}
	u.addDirectory(entryBytes)
	u.addXattrs(dir.inode)
	return nil
}
