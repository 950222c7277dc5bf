// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/disk/internal/debugfs"
)

// firstInode is the inode of lost+found. mke2fs reserves the numbers below it, except for
// the root. debugfs numbers further inodes consecutively. See debugfs(8), ext4(5).
const (
	rootInode  = 2
	firstInode = 11
)

// flushInterval is the number of bytes of content after which writing them to the disk of
// the host begins.
const flushInterval = 32 << 20

// populator turns the content of an image into batches of debugfs commands. The files of
// one batch are read while debugfs runs the other batch.
type populator struct {
	content *rootContent
	ctx     context.Context
	next    int64 // number of the next inode
	shared  map[*inode]*sharedInode
	links   []hardLink
	batch   *batch
	free    chan *batch
	ready   chan *batch
}

// sharedInode is an inode with several names.
type sharedInode struct{ number, names int64 }

// A hardLink is a further name of an inode.
type hardLink struct {
	directory int64
	name      string
	target    *sharedInode
}

// populate writes the content into an image without files, and returns the number of its
// inodes.
func (c *rootContent) populate(ctx context.Context, session *debugfs.Session, image *os.File, batches []*batch) (int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := &populator{
		content: c, ctx: ctx, next: firstInode + 1, shared: map[*inode]*sharedInode{},
		free: make(chan *batch, len(batches)), ready: make(chan *batch),
	}
	for _, b := range batches {
		p.free <- b
	}
	produced := make(chan error, 1)
	go func() {
		defer close(p.ready)
		produced <- p.produce()
	}()
	var failed error
	var unflushed int64
	for b := range p.ready {
		if failed == nil {
			failed = b.run(session, image)
		}
		if unflushed += b.bytes; unflushed >= flushInterval {
			// Begin to write to the disk now, so that the sync at the end is short.
			_ = unix.SyncFileRange(int(image.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
			unflushed = 0
		}
		if failed != nil {
			cancel()
		}
		p.free <- b
	}
	if err := <-produced; failed == nil {
		failed = err
	}
	if failed != nil {
		return 0, failed
	}
	return p.next - 1, p.addLinks(session)
}

// produce sends the batches for the whole content.
func (p *populator) produce() error {
	p.batch = <-p.free
	top := p.content.top
	if err := p.setFields(top.inode, rootInode, &inode{}); err != nil {
		return err
	}
	if err := p.addEntries(top, rootInode, "."); err != nil {
		return err
	}
	return p.flush()
}

// flush sends the batch and waits for an empty one.
func (p *populator) flush() error {
	select {
	case p.ready <- p.batch:
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
	select {
	case p.batch = <-p.free:
		return p.batch.reset()
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
}

// command adds a command to the batch.
func (p *populator) command(verb string, args ...string) error {
	line, err := debugfs.Command(verb, args...)
	if err != nil {
		return err
	}
	if p.batch.add(line); p.batch.isFull() {
		return p.flush()
	}
	return nil
}

// inodeRef names an inode in a debugfs command.
func inodeRef(number int64) string { return "<" + strconv.FormatInt(number, 10) + ">" }

// addEntries adds the entries of a directory, then those of its subdirectories: debugfs
// finds a name faster in its current directory.
func (p *populator) addEntries(dir *node, number int64, dirPath string) error {
	if len(dir.children) == 0 {
		return nil
	}
	if err := p.command("cd", inodeRef(number)); err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(dir.children))
	numbers := make(map[string]int64)
	for _, name := range names {
		child := dir.children[name]
		if child.children != nil {
			numbers[name] = p.next
			if number == rootInode && name == lostFoundName {
				numbers[name] = firstInode
			}
		}
		if err := p.addEntry(child, number, path.Join(dirPath, name)); err != nil {
			return fmt.Errorf("%q: %w", path.Join(dirPath, name), err)
		}
	}
	for _, name := range names {
		if number, ok := numbers[name]; ok {
			if err := p.addEntries(dir.children[name], number, path.Join(dirPath, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// addEntry adds a file to the current directory, whose inode has the number dir.
func (p *populator) addEntry(n *node, dir int64, name string) error {
	if name == lostFoundName {
		return p.setFields(n.inode, firstInode, &inode{})
	}
	if shared := p.shared[n.inode]; shared != nil {
		shared.names++
		p.links = append(p.links, hardLink{dir, path.Base(name), shared})
		return nil
	}
	if n.links > 1 && n.children == nil {
		p.shared[n.inode] = &sharedInode{number: p.next, names: 1}
	}
	number := p.next
	p.next++
	created, err := p.create(n, name)
	if err != nil {
		return err
	}
	return p.setFields(n.inode, number, created)
}

// create creates a file and returns the fields that it gets by that.
func (p *populator) create(n *node, name string) (*inode, error) {
	created := &inode{mode: n.mode & unix.S_IFMT, mtime: fixedTime}
	base := path.Base(name)
	switch n.mode & unix.S_IFMT {
	case unix.S_IFDIR:
		created.mode |= 0o755
		return created, p.command("mkdir", base)
	case unix.S_IFLNK:
		created.mode |= 0o777
		return created, p.command("symlink", base, n.target)
	case unix.S_IFIFO:
		return created, p.command("mknod", base, "p")
	case unix.S_IFREG:
		slot, err := p.slot(n.data.blocks * BlockSize)
		if err != nil {
			return nil, err
		}
		if err := p.content.files.copyTo(p.ctx, slot.File, name, &n.data); err != nil {
			return nil, err
		}
		// debugfs copies the permissions of the file that it reads.
		perm := n.mode&0o777 | slotMode
		created.mode |= perm
		if err := slot.setMode(perm); err != nil {
			return nil, err
		}
		return created, p.command("write", slot.path, base)
	}
	kind := "b"
	if n.isType(unix.S_IFCHR) {
		kind = "c"
	}
	return created, p.command("mknod", base, kind, strconv.FormatInt(n.major, 10), strconv.FormatInt(n.minor, 10))
}

// slot returns a file for content that debugfs is to read. The next command must use it.
func (p *populator) slot(size int64) (*slot, error) {
	if !p.batch.hasSlot(size) {
		if err := p.flush(); err != nil {
			return nil, err
		}
	}
	s := p.batch.takeSlot(size)
	if s == p.batch.disk {
		return s, checkFreeSpace(s.File, size)
	}
	return s, nil
}

// setFields sets the fields and extended attributes of an inode that differ from created.
func (p *populator) setFields(i *inode, number int64, created *inode) error {
	for _, f := range i.changedFields(created) {
		if err := p.command("sif", inodeRef(number), f.name, f.value); err != nil {
			return err
		}
	}
	for _, x := range i.xattrs {
		// The value may be any bytes, so debugfs reads it from a file.
		slot, err := p.slot(BlockSize)
		if err == nil {
			err = slot.setContent(x.value)
		}
		if err == nil {
			err = p.command("ea_set", "-f", slot.path, inodeRef(number), x.name)
		}
		if err != nil {
			return fmt.Errorf("extended attribute %s: %w", x.name, err)
		}
	}
	return nil
}

// addLinks adds the further names of inodes. debugfs's ln neither enlarges a full
// directory nor counts the links.
func (p *populator) addLinks(session *debugfs.Session) error {
	for _, l := range p.links {
		if err := session.Run("cd", inodeRef(l.directory)); err != nil {
			return err
		}
		err := session.Run("ln", inodeRef(l.target.number), l.name)
		if errors.Is(err, debugfs.ErrDirectoryFull) {
			if err = session.Run("expand_dir", inodeRef(l.directory)); err == nil {
				err = session.Run("ln", inodeRef(l.target.number), l.name)
			}
		}
		if err != nil {
			return err
		}
	}
	return session.RunAll(func(yield func(string, error) bool) {
		for _, shared := range p.shared {
			if !yield(debugfs.Command("sif", inodeRef(shared.number), "links_count", strconv.FormatInt(shared.names, 10))) {
				return
			}
		}
	})
}
