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

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/disk/internal/debugfs"
)

// finish turns the staging directory into the input of mke2fs. The staging directory gets
// everything that an unprivileged process can create; debugfs adds the rest.
func (u *unpacker) finish(stage string) (*buildInput, error) {
	if err := u.root.Chmod(".", 0o700); err != nil {
		return nil, err
	}
	dir, err := u.root.Open(".")
	if err != nil {
		return nil, err
	}
	in := &buildInput{
		dir:   dir,
		close: func() { dir.Close(); os.RemoveAll(stage) },
		// The extended attributes of the staging directory belong to the host, such
		// as labels and inherited ACLs.
		options: []string{"no_copy_xattrs"},
	}
	if err := u.fill(in); err != nil {
		in.close()
		return nil, err
	}
	return in, nil
}

// fill completes the staging directory and sets the usage and the fixup of in.
func (u *unpacker) fill(in *buildInput) error {
	info, err := in.dir.Stat()
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: owner unknown", info.Name())
	}
	if err := u.stageDirectory(in, u.top, ".", map[*archiveInode]bool{}); err != nil {
		return err
	}
	in.fixup = func(session *debugfs.Session, content *contentBuffer) error {
		if err := session.RunAll(u.fixups(int(owner.Uid), int(owner.Gid))); err != nil {
			return err
		}
		return u.setXattrs(session, content)
	}
	return nil
}

// stageDirectory completes a directory of the staging directory and adds up its usage.
func (u *unpacker) stageDirectory(in *buildInput, dir *node, name string, seen map[*archiveInode]bool) error {
	entryBytes, subdirectories := int64(0), 0
	for _, childName := range slices.Sorted(maps.Keys(dir.children)) {
		child := dir.children[childName]
		entryBytes += direntSize(childName)
		if child.isType(unix.S_IFDIR) {
			subdirectories++
		}
		if err := u.stageChild(in, child, path.Join(name, childName), seen); err != nil {
			return err
		}
	}
	if n := dir.children[lostFoundName]; name == "." && n != nil && !n.isType(unix.S_IFDIR) {
		return fmt.Errorf("%w: %w", ErrArchive, errLostFound)
	}
	if subdirectories > maxLinks-2 {
		return fmt.Errorf("%w: %q has %d subdirectories; ext4 allows %d", ErrArchive, name, subdirectories, maxLinks-2)
	}
	in.addDirectory(entryBytes)
	in.addXattrsOf(dir.archiveInode)
	if name == "." {
		return nil
	}
	if err := u.root.Chmod(name, dir.stagedPerm()); err != nil {
		return err
	}
	return u.root.Chtimes(name, clampTime(dir.mtime), clampTime(dir.mtime))
}

func (u *unpacker) stageChild(in *buildInput, child *node, name string, seen map[*archiveInode]bool) error {
	if child.isType(unix.S_IFDIR) {
		in.inodes++
		return u.stageDirectory(in, child, name, seen)
	}
	firstName := !seen[child.archiveInode]
	seen[child.archiveInode] = true
	switch {
	case child.isType(unix.S_IFREG) && !firstName:
		return nil
	case child.isType(unix.S_IFREG):
		in.addFile(child.blocks, child.extents)
	case child.isType(unix.S_IFLNK):
		in.addSymlink(len(child.target))
		if err := u.root.Symlink(child.target, name); err != nil {
			return err
		}
	default:
		in.addSpecial()
		in.fixupInodes++
	}
	in.addXattrsOf(child.archiveInode)
	return nil
}

func (u *usage) addXattrsOf(i *archiveInode) {
	if i.xattrs != nil {
		u.addXattrs()
	}
}

// nodesByPath returns the nodes by their paths in the guest, parents first.
func (u *unpacker) nodesByPath() iter.Seq2[string, *node] {
	return func(yield func(string, *node) bool) {
		var walk func(string, *node) bool
		walk = func(name string, n *node) bool {
			if !yield(name, n) {
				return false
			}
			for _, child := range slices.Sorted(maps.Keys(n.children)) {
				if !walk(path.Join(name, child), n.children[child]) {
					return false
				}
			}
			return true
		}
		walk("/", u.top)
	}
}

// fixups returns commands of debugfs that create devices, and that set the owners,
// permissions and times that the staged files do not have. Those belong to uid and gid.
func (u *unpacker) fixups(uid, gid int) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		done := map[*archiveInode]bool{}
		for name, n := range u.nodesByPath() {
			staged := &archiveInode{mode: n.stagedMode(), uid: uid, gid: gid, mtime: clampTime(n.mtime)}
			switch {
			case n.isSpecial():
				if !yieldMknod(name, n, yield) {
					return
				}
				staged.uid, staged.gid, staged.mtime = 0, 0, time.Time{}
			case n.isType(unix.S_IFLNK):
				staged.mtime = time.Time{}
			case name == "/":
				staged = &archiveInode{}
			case n.isType(unix.S_IFREG) && done[n.archiveInode]:
				continue
			}
			done[n.archiveInode] = true
			for _, f := range n.changedFields(staged) {
				if !yield(debugfs.Command("set_inode_field", name, f.name, f.value)) {
					return
				}
			}
		}
	}
}

// yieldMknod yields the commands that create a device or FIFO. mknod of debugfs works only
// in the current directory.
func yieldMknod(name string, n *node, yield func(string, error) bool) bool {
	args := []string{path.Base(name), "p"}
	if !n.isType(unix.S_IFIFO) {
		args = []string{
			path.Base(name), "b",
			strconv.FormatInt(n.major, 10), strconv.FormatInt(n.minor, 10),
		}
		if n.isType(unix.S_IFCHR) {
			args[1] = "c"
		}
	}
	return yield(debugfs.Command("cd", path.Dir(name))) && yield(debugfs.Command("mknod", args...)) &&
		yield(debugfs.Command("cd", "/"))
}

// setXattrs sets extended attributes.
func (u *unpacker) setXattrs(session *debugfs.Session, content *contentBuffer) error {
	done := map[*archiveInode]bool{}
	for path, n := range u.nodesByPath() {
		if done[n.archiveInode] && n.isType(unix.S_IFREG) {
			continue
		}
		done[n.archiveInode] = true
		for _, name := range slices.Sorted(maps.Keys(n.xattrs)) {
			if err := setXattr(session, content, path, name, n.xattrs[name]); err != nil {
				return fmt.Errorf("extended attribute %s: %w", name, err)
			}
		}
	}
	return nil
}

// setXattr sets one extended attribute. Its value may be any bytes, so debugfs reads it
// from a file.
func setXattr(session *debugfs.Session, content *contentBuffer, path, name, value string) error {
	file, err := content.setBytes([]byte(value))
	if err != nil {
		return err
	}
	return session.Run("ea_set", "-f", file, path, name)
}
