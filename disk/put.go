// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// File is one thing to put into an image: a regular file, a directory or a
// symlink, by the type in Mode.
type File struct {
	Path     string      // in the guest; absolute
	Mode     fs.FileMode // type, permissions, setuid, setgid, sticky
	UID, GID int
	Content  []byte // of a regular file
	Source   string // host path of a regular file's content, instead of Content
	Link     string // target of a symlink

	tree *tree  // Source is inside of it and is opened there,
	name string // by this name
}

// The longest name in a directory of ext4, and the longest target of a symlink
// in an image with blocks of 4096 bytes; in bytes.
const (
	longestName = 255
	longestLink = BlockSize - 1
	longestPath = 4095 // for debugfs
)

// Put puts files into an image, in their order, in one run of debugfs. What is at
// a path already is replaced, but a directory only by a directory, which keeps
// its content. Directories that are missing above a file are made with mode 0755
// for root; symlinks among them are followed inside the image. A journal that the
// last user of the image left is replayed first.
//
// All names are checked before anything is written: ErrName. After any other
// error the image may hold some of the files and should be thrown away.
func Put(ctx context.Context, image string, files []File) error {
	var errs []error
	for i := range files {
		errs = append(errs, files[i].check())
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	img, err := openImage(image, os.O_RDWR)
	if err != nil {
		return fmt.Errorf("put files into an image: %w", err)
	}
	defer img.Close()
	if err := replay(ctx, img); err != nil {
		return err
	}
	s, err := openSession(ctx, img.File, true)
	if err != nil {
		return fmt.Errorf("put files into %s: %w", image, err)
	}
	defer s.kill()
	p := putter{session: s, directories: map[string]bool{"/": true}}
	defer p.release()
	for i := range files {
		if err := p.put(&files[i]); err != nil {
			return fmt.Errorf("put %s into %s: %w", files[i].Path, image, err)
		}
	}
	if err := s.close(); err != nil {
		return fmt.Errorf("put files into %s: %w", image, err)
	}
	return nil
}

// check refuses what would not become what was asked for.
func (f *File) check() error {
	if !path.IsAbs(f.Path) {
		return fmt.Errorf("put %q: not an absolute path: %w", f.Path, ErrName)
	}
	for part := range strings.SplitSeq(f.Path, "/") {
		if len(part) > longestName || part == ".." {
			return fmt.Errorf("put %q: no element may be \"..\" or longer than %d bytes: %w",
				f.Path, longestName, ErrName)
		}
	}
	if len(f.Path) > longestPath {
		return fmt.Errorf("put %.40q…: over %d bytes: %w", f.Path, longestPath, ErrName)
	}
	// The two longest of the commands that will be given.
	_, err := command("symlink", within(f.Path), f.Link)
	if _, err2 := command("set_inode_field", within(f.Path), "mode", "0177777"); err == nil {
		err = err2
	}
	if err != nil {
		return fmt.Errorf("put %q: %w", f.Path, err)
	}
	if f.UID < 0 || f.GID < 0 || f.UID > 1<<32-2 || f.GID > 1<<32-2 {
		return fmt.Errorf("put %q: no such owner: %d:%d", f.Path, f.UID, f.GID)
	}
	root := path.Clean(f.Path) == "/"
	switch f.Mode.Type() {
	case fs.ModeDir:
	case fs.ModeSymlink:
		if f.Link == "" || len(f.Link) > longestLink || root {
			return fmt.Errorf("put %q: a symlink's target has 1 to %d bytes: %w", f.Path, longestLink, ErrName)
		}
	case 0:
		if root {
			return fmt.Errorf("put a regular file at %q: %w", f.Path, ErrName)
		}
	default:
		return fmt.Errorf("put %q: only regular files, directories and symlinks can be put, not %s", f.Path, f.Mode)
	}
	return nil
}

// putter is one Put under way.
type putter struct {
	*session
	directories map[string]bool // that are known to be in the image
	roots       map[*tree]*os.Root
	memory      *os.File // holds one Content after another for debugfs
}

func (p *putter) release() {
	for _, root := range p.roots {
		root.Close()
	}
	if p.memory != nil {
		p.memory.Close()
	}
}

func (p *putter) put(f *File) error {
	name := path.Clean(f.Path)
	if f.Mode.IsDir() {
		if err := p.directory(name); err != nil {
			return err
		}
		return p.attributes(inDirectory(name), typeDir, f)
	}
	if err := p.directory(path.Dir(name)); err != nil {
		return err
	}
	if err := p.remove(name); err != nil {
		return err
	}
	if f.Mode.Type() == fs.ModeSymlink {
		if err := p.run("symlink", within(name), f.Link); err != nil {
			return err
		}
		return p.attributes(name, typeSymlink, f)
	}
	content, err := p.open(f)
	if err != nil {
		return err
	}
	if content != p.memory {
		defer content.Close()
	}
	// debugfs opens our own descriptor anew, so that it reads what was checked.
	if err := p.run("write", descriptorPath(content), within(name)); err != nil {
		return err
	}
	return p.attributes(name, typeRegular, f)
}

// within makes debugfs, which cuts a path at its last slash and looks at what is
// before it, go through a symlink there.
func within(name string) string {
	dir, base := path.Split(name)
	return dir + "./" + base
}

// inDirectory names a directory itself where name is a symlink to one.
func inDirectory(name string) string { return strings.TrimSuffix(name, "/") + "/." }

// directory makes a directory and those above it where they are missing.
func (p *putter) directory(dir string) error {
	if p.directories[dir] {
		return nil
	}
	if err := p.directory(path.Dir(dir)); err != nil {
		return err
	}
	found, err := p.look(inDirectory(dir))
	if errors.Is(err, fs.ErrNotExist) {
		if found, err = p.look(dir); errors.Is(err, fs.ErrNotExist) {
			err = p.run("mkdir", within(dir))
			found.mode = typeDir
		} else if err == nil && found.is(typeSymlink) {
			err = fmt.Errorf("%s in the image is a symlink that leads nowhere", dir)
		}
	}
	if err != nil {
		return err
	}
	if !found.is(typeDir) {
		return fmt.Errorf("%s in the image: %w", dir, errNotDirectory)
	}
	p.directories[dir] = true
	return nil
}

// remove takes away what is at name, so that something new can be there.
func (p *putter) remove(name string) error {
	found, err := p.look(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case found.is(typeDir):
		return fmt.Errorf("%s in the image is a directory", name)
	}
	return p.run("rm", within(name))
}

// attributes sets type, permissions and owner of what was just made.
func (p *putter) attributes(name string, kind uint16, f *File) error {
	lines := slices.Grow([]string(nil), 3)
	for _, field := range [][2]string{
		{"mode", fmt.Sprintf("0%o", uint32(kind)|permissions(f.Mode))},
		{"uid", strconv.Itoa(f.UID)},
		{"gid", strconv.Itoa(f.GID)},
	} {
		line, err := command("set_inode_field", name, field[0], field[1])
		if err != nil {
			return err
		}
		lines = append(lines, line)
	}
	return p.doBatch(lines)
}

// permissions are the low 12 bits of a mode as the kernel has them.
func permissions(mode fs.FileMode) uint32 {
	bits := uint32(mode.Perm())
	if mode&fs.ModeSymlink != 0 {
		return 0o777
	}
	for bit, flag := range map[uint32]fs.FileMode{
		unix.S_ISUID: fs.ModeSetuid, unix.S_ISGID: fs.ModeSetgid, unix.S_ISVTX: fs.ModeSticky,
	} {
		if mode&flag != 0 {
			bits |= bit
		}
	}
	return bits
}
