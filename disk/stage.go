// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"fmt"
	"iter"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// source makes what was unpacked the source of an image: everything that the host
// can hold without rights is in the stage then, debugfs adds the rest.
func (u *unpacker) source(stage string) (*source, error) {
	if err := u.root.Chmod(".", 0o700); err != nil {
		return nil, err
	}
	dir, err := u.root.Open(".")
	if err != nil {
		return nil, err
	}
	s := &source{
		dir:    dir,
		remove: func() { dir.Close(); os.RemoveAll(stage) },
		// The stage's attributes are the host's (labels, inherited lists).
		args: []string{"no_copy_xattrs"},
	}
	if err := u.complete(s); err != nil {
		s.remove()
		return nil, err
	}
	return s, nil
}

// complete finishes the stage, adds up what is in it, and keeps what is to repair.
func (u *unpacker) complete(s *source) error {
	info, err := s.dir.Stat()
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s has no owner", info.Name())
	}
	if err := u.stage(s, u.top, ".", map[*entry]bool{}); err != nil {
		return err
	}
	s.repair = func(d *session) error {
		if err := d.do(u.repairs(int(owner.Uid), int(owner.Gid))); err != nil {
			return err
		}
		return u.attributes(d)
	}
	return nil
}

// stage finishes a directory in the stage and adds up what is in it.
func (u *unpacker) stage(s *source, dir *node, at string, seen map[*entry]bool) error {
	bytes, subdirectories := int64(0), 0
	for _, name := range slices.Sorted(maps.Keys(dir.children)) {
		child := dir.children[name]
		bytes += dirent(name)
		if child.is(typeDir) {
			subdirectories++
		}
		if err := u.stageChild(s, child, path.Join(at, name), seen); err != nil {
			return err
		}
	}
	if n := dir.children[lostFoundName]; at == "." && n != nil && !n.is(typeDir) {
		return fmt.Errorf("%w: %w", ErrArchive, errLostFound)
	}
	if subdirectories > mostLinks-2 {
		return fmt.Errorf("%w: %d subdirectories in %q, at most %d", ErrArchive, subdirectories, at, mostLinks-2)
	}
	s.contents.directory(bytes)
	s.xattrs(dir.entry)
	if at == "." {
		return nil
	}
	if err := u.root.Chmod(at, dir.filePerm()); err != nil {
		return err
	}
	return u.root.Chtimes(at, stagedTime(dir.mtime), stagedTime(dir.mtime))
}

func (u *unpacker) stageChild(s *source, child *node, at string, seen map[*entry]bool) error {
	if child.is(typeDir) {
		s.inodes++
		return u.stage(s, child, at, seen)
	}
	first := !seen[child.entry]
	seen[child.entry] = true
	switch {
	case child.is(typeRegular) && !first:
		return nil
	case child.is(typeRegular):
		s.file(child.blocks, child.pieces)
	case child.is(typeSymlink):
		s.symlink(len(child.target))
		if err := u.root.Symlink(child.target, at); err != nil {
			return err
		}
	default:
		s.special()
		s.nodes++
	}
	s.xattrs(child.entry)
	return nil
}

func (c *contents) xattrs(e *entry) {
	if e.xattrs != nil {
		c.attributes()
	}
}

// stagedTime is the nearest time that debugfs can set, which a file of the stage
// gets too: whole seconds of 31 bits, since -1 would be an error to it.
func stagedTime(t time.Time) time.Time {
	return time.Unix(min(max(t.Unix(), 0), 1<<31-1), 0)
}

// all goes through an archive's names, parents first, by paths in the guest.
func (u *unpacker) all() iter.Seq2[string, *node] {
	return func(yield func(string, *node) bool) {
		var walk func(string, *node) bool
		walk = func(at string, n *node) bool {
			if !yield(at, n) {
				return false
			}
			for _, name := range slices.Sorted(maps.Keys(n.children)) {
				if !walk(path.Join(at, name), n.children[name]) {
					return false
				}
			}
			return true
		}
		walk("/", u.top)
	}
}

// repairs are debugfs's commands for devices, and for owners, permissions and
// times that the stage, whose files belong to uid and gid, could not have.
func (u *unpacker) repairs(uid, gid int) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		done := map[*entry]bool{}
		for at, n := range u.all() {
			staged := &entry{mode: n.stagedMode(), uid: uid, gid: gid, mtime: stagedTime(n.mtime)}
			switch {
			case n.special():
				if !yieldNode(at, n, yield) {
					return
				}
				staged.uid, staged.gid, staged.mtime = 0, 0, time.Time{}
			case n.is(typeSymlink):
				staged.mtime = time.Time{}
			case at == "/":
				staged = &entry{}
			case n.is(typeRegular) && done[n.entry]:
				continue
			}
			done[n.entry] = true
			for _, f := range n.fields(staged) {
				if !yield(command("set_inode_field", at, f.name, f.value)) {
					return
				}
			}
		}
	}
}

// yieldNode makes a device or FIFO, which debugfs can only do in the directory
// that it is in.
func yieldNode(at string, n *node, yield func(string, error) bool) bool {
	words := []string{path.Base(at), "p"}
	if !n.is(syscall.S_IFIFO) {
		words = []string{
			path.Base(at), "b",
			strconv.FormatInt(n.major, 10), strconv.FormatInt(n.minor, 10),
		}
		if n.is(syscall.S_IFCHR) {
			words[1] = "c"
		}
	}
	return yield(command("cd", path.Dir(at))) && yield(command("mknod", words...)) && yield(command("cd", "/"))
}

// attributes sets extended attributes. Their values go through memory: they may
// be any bytes.
func (u *unpacker) attributes(d *session) error {
	memory, err := newMemory()
	if err != nil {
		return err
	}
	defer memory.Close()
	done := map[*entry]bool{}
	for at, n := range u.all() {
		if done[n.entry] && n.is(typeRegular) {
			continue
		}
		done[n.entry] = true
		for _, name := range slices.Sorted(maps.Keys(n.xattrs)) {
			if err := setMemory(memory, []byte(n.xattrs[name])); err != nil {
				return err
			}
			if err := d.run("ea_set", "-f", descriptorPath(memory), at, name); err != nil {
				return fmt.Errorf("extended attribute %s: %w", name, err)
			}
		}
	}
	return nil
}
