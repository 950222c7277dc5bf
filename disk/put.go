// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/disk/internal/debugfs"
)

// File is a regular file, a directory or a symlink to put into an image. The type in Mode
// determines which.
type File struct {
	Path     string      // in the guest; absolute
	Mode     fs.FileMode // type, permissions, setuid, setgid, sticky
	UID, GID int
	Content  []byte // of a regular file
	Source   string // path on the host of a regular file's content; replaces Content
	Link     string // target of a symlink

	tree *tree  // if set, Source is opened below its directory,
	name string // by this path
}

// Put puts files into an image, in order, in one run of debugfs. A file replaces an
// existing file; a directory keeps the content of an existing directory; neither replaces
// the other. Missing parent directories are created for root, with mode 0755. Symlinks in
// a path are followed inside the image. If the image was not unmounted cleanly, its
// journal is replayed first.
//
// All names are checked before anything is written: ErrName. After any other error, the
// image may contain some of the files and should be discarded.
func Put(ctx context.Context, sandbox Sandbox, path string, files []File) error {
	if err := validateFiles(files); err != nil {
		return err
	}
	image, err := openExt4(path, os.O_RDWR)
	if err != nil {
		return fmt.Errorf("put files into an image: %w", err)
	}
	defer image.Close()
	if err := image.put(ctx, sandbox, filepath.Dir(path), files); err != nil {
		return fmt.Errorf("put files into %s: %w", path, err)
	}
	return nil
}

// PutOpen is Put for an open image. dir is a directory for large files without a name.
func PutOpen(ctx context.Context, sandbox Sandbox, f *os.File, dir string, files []File) error {
	if err := validateFiles(files); err != nil {
		return err
	}
	image, err := ext4Of(f)
	if err == nil {
		err = image.put(ctx, sandbox, dir, files)
	}
	if err != nil {
		return fmt.Errorf("put files into an image: %w", err)
	}
	return nil
}

func (f *ext4File) put(ctx context.Context, sandbox Sandbox, dir string, files []File) error {
	if err := f.replayJournal(ctx, sandbox); err != nil {
		return err
	}
	bufferDir := ""
	if slices.ContainsFunc(files, func(f File) bool { return f.Source != "" }) {
		bufferDir = dir
	}
	content, err := newContentBuffer(bufferDir)
	if err != nil {
		return err
	}
	defer content.close()
	session, err := debugfs.Open(ctx, f.File, debugfs.Options{
		Sandbox: sandbox, Files: content.files(), FileCount: int64(len(files)),
	})
	if err != nil {
		return err
	}
	defer session.Kill()
	p := putter{
		session: session, content: content,
		directories: map[string]bool{"/": true}, roots: map[*tree]*os.File{},
	}
	defer p.close()
	for i := range files {
		if err := p.put(ctx, &files[i]); err != nil {
			return fmt.Errorf("%s: %w", files[i].Path, err)
		}
	}
	return session.Close()
}

func validateFiles(files []File) error {
	var errs []error
	for i := range files {
		errs = append(errs, files[i].validate())
	}
	return errors.Join(errs...)
}

// Usable returns the files that Put accepts, in order, and the errors about the others, whose
// names contain a line break, for example. These wrap ErrName.
func Usable(files []File) (usable []File, refused []error) {
	for i := range files {
		if err := files[i].validate(); err != nil {
			refused = append(refused, err)
			continue
		}
		usable = append(usable, files[i])
	}
	return usable, refused
}

// validate refuses files that cannot be put as described.
func (f *File) validate() error {
	if err := f.validatePath(); err != nil {
		return err
	}
	if f.UID < 0 || f.GID < 0 || f.UID > maxID || f.GID > maxID {
		return fmt.Errorf("put %q: invalid owner %d:%d", f.Path, f.UID, f.GID)
	}
	isRoot := path.Clean(f.Path) == "/"
	switch f.Mode.Type() {
	case fs.ModeDir:
	case fs.ModeSymlink:
		if f.Link == "" || len(f.Link) > maxSymlinkTargetLen || isRoot {
			return fmt.Errorf("put %q: a symlink's target must have 1 to %d bytes: %w", f.Path, maxSymlinkTargetLen, ErrName)
		}
	case 0:
		if isRoot {
			return fmt.Errorf("put a regular file at %q: %w", f.Path, ErrName)
		}
	default:
		return fmt.Errorf("put %q: unsupported file type %s: only regular files, directories and symlinks can be put", f.Path, f.Mode)
	}
	return nil
}

func (f *File) validatePath() error {
	if !path.IsAbs(f.Path) {
		return fmt.Errorf("put %q: the path is not absolute: %w", f.Path, ErrName)
	}
	for element := range strings.SplitSeq(f.Path, "/") {
		if len(element) > maxNameLen || element == ".." {
			return fmt.Errorf("put %q: the path contains \"..\" or an element of more than %d bytes: %w", f.Path, maxNameLen, ErrName)
		}
	}
	if len(f.Path) > maxPutPathLen {
		return fmt.Errorf("put %.40q…: the path has more than %d bytes: %w", f.Path, maxPutPathLen, ErrName)
	}
	// These are the longest commands that putting the file may take.
	_, err := debugfs.Command("symlink", throughSymlinks(f.Path), f.Link)
	if err == nil {
		_, err = debugfs.Command("set_inode_field", throughSymlinks(f.Path), "mode", "0177777")
	}
	if err != nil {
		return fmt.Errorf("put %q: %w", f.Path, err)
	}
	return nil
}

// putter is the state of a call of Put.
type putter struct {
	session     *debugfs.Session
	content     *contentBuffer
	directories map[string]bool // known to exist in the image
	roots       map[*tree]*os.File
}

func (p *putter) close() {
	for _, root := range p.roots {
		root.Close()
	}
}

func (p *putter) put(ctx context.Context, f *File) error {
	name := path.Clean(f.Path)
	if f.Mode.IsDir() {
		if err := p.makeDirectory(name); err != nil {
			return err
		}
		lines, err := setAttributes(followSymlink(name), unix.S_IFDIR, f)
		if err != nil {
			return err
		}
		return p.session.RunBatch(lines)
	}
	if err := p.makeDirectory(path.Dir(name)); err != nil {
		return err
	}
	if err := p.remove(name); err != nil {
		return err
	}
	if f.Mode.Type() == fs.ModeSymlink {
		return p.create(name, unix.S_IFLNK, f, "symlink", throughSymlinks(name), f.Link)
	}
	content, err := p.setContent(ctx, f)
	if f.tree != nil && errors.Is(err, fs.ErrNotExist) {
		return nil // another task has removed the file since Tree listed it
	}
	if err != nil {
		return err
	}
	if err := p.create(name, unix.S_IFREG, f, "write", content, throughSymlinks(name)); err != nil {
		return err
	}
	return p.content.clear()
}

// throughSymlinks returns a path whose parent debugfs resolves through symlinks. debugfs
// splits a path at its last slash, and would take a parent that is a symlink itself for
// the directory.
func throughSymlinks(name string) string {
	dir, base := path.Split(name)
	return dir + "./" + base
}

// followSymlink returns a path that names the target if the directory is a symlink.
func followSymlink(name string) string { return strings.TrimSuffix(name, "/") + "/." }

// makeDirectory creates a directory and its parents where they are missing.
func (p *putter) makeDirectory(dir string) error {
	if p.directories[dir] {
		return nil
	}
	if err := p.makeDirectory(path.Dir(dir)); err != nil {
		return err
	}
	err := p.session.CheckDirectory(followSymlink(dir))
	if errors.Is(err, fs.ErrNotExist) {
		err = p.makeMissingDirectory(dir)
	}
	if err != nil {
		return err
	}
	p.directories[dir] = true
	return nil
}

// makeMissingDirectory creates a directory whose parent exists, or finds a symlink in its
// place that leads nowhere.
func (p *putter) makeMissingDirectory(dir string) error {
	found, err := p.session.FileType(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return p.session.Run("mkdir", throughSymlinks(dir))
	case err == nil && found == unix.S_IFLNK:
		return fmt.Errorf("%s in the image is a dangling symlink", dir)
	case err == nil:
		return fmt.Errorf("%s in the image: %w", dir, errNotDirectory)
	}
	return err
}

// remove removes an existing file or symlink.
func (p *putter) remove(name string) error {
	err := p.session.Remove(throughSymlinks(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, debugfs.ErrIsDirectory):
		return fmt.Errorf("%s in the image is a directory, which a file or symlink cannot replace", name)
	}
	return err
}

// create runs the command that creates a file, and sets the file's attributes.
func (p *putter) create(name string, fileType uint32, f *File, verb string, args ...string) error {
	command, err := debugfs.Command(verb, args...)
	if err != nil {
		return err
	}
	lines, err := setAttributes(name, fileType, f)
	if err != nil {
		return err
	}
	return p.session.RunBatch(append([]string{command}, lines...))
}

// setAttributes returns the commands that set type, permissions and owner of a new inode.
func setAttributes(name string, fileType uint32, f *File) ([]string, error) {
	lines := slices.Grow([]string(nil), 3)
	for _, field := range []inodeField{
		{"mode", fmt.Sprintf("0%o", fileType|permissionBits(f.Mode))},
		{"uid", strconv.Itoa(f.UID)},
		{"gid", strconv.Itoa(f.GID)},
	} {
		line, err := debugfs.Command("set_inode_field", name, field.name, field.value)
		if err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// permissionBits returns the lower 12 bits of st_mode.
func permissionBits(mode fs.FileMode) uint32 {
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
