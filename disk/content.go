// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/memfd"
)

// openContent opens the content of a regular file. Content given as bytes is kept in
// memory, so that secrets are on no disk but the image.
func (p *putter) openContent(f *File) (*os.File, error) {
	if f.Source == "" {
		return memfd.New("content", f.Content)
	}
	var content *os.File
	var err error
	if f.tree == nil {
		content, err = os.OpenFile(f.Source, os.O_RDONLY|unix.O_NONBLOCK, 0)
	} else {
		content, err = p.openInTree(f)
	}
	if err != nil {
		return nil, err
	}
	info, err := content.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", f.Source)
	}
	if err != nil {
		content.Close()
		return nil, err
	}
	return content, nil
}

// openInTree opens a file of Tree. It does not leave the directory of that call, because
// another task may have replaced the file by a symlink.
func (p *putter) openInTree(f *File) (*os.File, error) {
	root := p.roots[f.tree]
	if root == nil {
		var err error
		if root, err = os.OpenRoot(f.tree.dir); err != nil {
			return nil, err
		}
		if p.roots == nil {
			p.roots = map[*tree]*os.Root{}
		}
		p.roots[f.tree] = root
	}
	return root.OpenFile(f.name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
}
