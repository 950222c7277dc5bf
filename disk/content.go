// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// open gives a file's content as something that debugfs can read.
func (p *putter) open(f *File) (*os.File, error) {
	if f.Source == "" {
		return p.remember(f.Content)
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
		err = fmt.Errorf("%s is no longer a regular file", f.Source)
	}
	if err != nil {
		content.Close()
		return nil, err
	}
	return content, nil
}

// openInTree opens a file of Tree below the directory that it was found in, since
// a task may have put a symlink in its place meanwhile.
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

// remember puts content into memory that debugfs can open: secrets are on no disk
// but the image's.
func (p *putter) remember(content []byte) (*os.File, error) {
	if p.memory == nil {
		var err error
		if p.memory, err = newMemory(); err != nil {
			return nil, err
		}
	}
	return p.memory, setMemory(p.memory, content)
}

func newMemory() (*os.File, error) {
	fd, err := unix.MemfdCreate("content", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	return os.NewFile(uintptr(fd), "memory"), nil
}

func setMemory(memory *os.File, content []byte) error {
	if err := memory.Truncate(0); err != nil {
		return err
	}
	_, err := memory.WriteAt(content, 0)
	return err
}

// descriptorPath is where another process of the same user finds an open file.
func descriptorPath(f *os.File) string {
	return "/proc/" + strconv.Itoa(os.Getpid()) + "/fd/" + strconv.Itoa(int(f.Fd()))
}
