// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// lostFoundName is in the root of every ext4. What a source has there is put into
// it; another kind of file would become a second entry of that name, which damages
// the image.
const lostFoundName = "lost+found"

// longestBuilt is the longest path below a source, in bytes. mke2fs 1.47 writes one
// byte behind its buffer for a path, with the slash before it, of 255 times a power
// of two; at 2040 that is no longer slack, and it is aborted, or worse.
const longestBuilt = 2000

var errLostFound = errors.New("lost+found at the root must be a directory")

// BuildOptions say how large an image becomes.
type BuildOptions struct {
	Size int64 // of the whole image, in bytes, rounded down to blocks; 0: content plus Room
	Room int64 // bytes that stay free for more files when Size is 0
	// Shared says that others may change the directory meanwhile. Then mke2fs is
	// confined to it, or not run at all: ErrConfine.
	Shared bool
}

// The features of an image: those that mke2fs 1.47 gives an ext4 of its own accord
// and that Linux 5.3 and 6.1 both know. They are named one by one because
// another version of mke2fs or /etc/mke2fs.conf may have others; orphan_file,
// for one, is refused by kernels before 5.15 after a kill.
const features = "none,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg," +
	"sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum"

// What is random or the present otherwise, so that one source makes one image.
const (
	fixedUUID = "6c6b6c2d-726f-4f74-8673-000000000001"
	fixedSeed = "6c6b6c2d-726f-4f74-8673-000000000002"
	fixedTime = "946684800" // 2000-01-01, seconds since 1970
)

const fakeTime = "E2FSPROGS_FAKE_TIME=" + fixedTime

// Build makes dst, which must not exist, an ext4 image that holds what src does: a
// directory, or a tar archive, plain or compressed by gzip. Owners, permissions,
// modification times, links, devices and extended attributes stay as they are in
// src; nobody has to be root for it, but a directory's files must be readable.
// What is read for a directory is inside it: a symbolic link that somebody puts in
// the place of a file which mke2fs is about to read leads nowhere else, where the
// kernel has Landlock (see BuildOptions.Shared).
// dst appears when it is complete and on the disk, as a sparse file of mode 0600.
//
// ErrNoSpace: the content does not fit in o.Size. ErrArchive: an archive holds
// what has no place in a file system, such as a path with "..".
//
// While an archive is unpacked, the directory of dst holds one whose name begins
// with ".lkl-stage-".
func Build(ctx context.Context, src, dst string, o BuildOptions) error {
	kind, err := Kind(src)
	if err != nil {
		return fmt.Errorf("build an image: %w", err)
	}
	var s *source
	switch kind {
	case Directory:
		s, err = survey(ctx, src)
	case Tar:
		s, err = unpack(ctx, src, filepath.Dir(dst), o)
	default:
		return fmt.Errorf("build an image: %s is an ext4 image already: copy it", src)
	}
	if err != nil {
		return fmt.Errorf("build an image from %s: %w", src, err)
	}
	defer s.remove()
	if err := s.build(ctx, dst, o); err != nil {
		return fmt.Errorf("build an image from %s: %w", src, err)
	}
	return nil
}

// source is a directory for mke2fs and what is to know and to do beside it.
type source struct {
	contents
	dir    *os.File
	remove func()               // closes it; nothing else may be done then
	args   []string             // more extended options for mke2fs
	nodes  int64                // inodes that repair makes
	repair func(*session) error // sets what mke2fs cannot
}

func (s *source) build(ctx context.Context, dst string, o BuildOptions) error {
	g, err := layout(s.contents, o)
	if err != nil {
		return err
	}
	out, err := newOutput(dst)
	if err != nil {
		return err
	}
	defer out.discard()
	if err := out.Truncate(g.blocks * BlockSize); err != nil {
		return err
	}
	if err := s.format(ctx, out.File, g, o.Shared); err != nil {
		return fmt.Errorf("%w (the image has %d MiB; its content takes about %d MiB)",
			err, g.blocks*BlockSize>>20, s.needs()>>20)
	}
	if err := s.complete(ctx, out.File); err != nil {
		return err
	}
	if err := out.Sync(); err != nil {
		return err
	}
	return out.commit()
}

// format makes the file system with the files in it.
func (s *source) format(ctx context.Context, image *os.File, g geometry, shared bool) error {
	args := []string{
		"-q", "-F", "-b", strconv.Itoa(BlockSize), "-I", "256", "-m", "0",
		"-N", strconv.FormatInt(g.inodes, 10), "-U", fixedUUID,
		// The tables of a sparse file are zero: written now, which leaves it
		// sparse, the guest's kernel has nothing to initialise later.
		"-E", strings.Join(append([]string{
			"hash_seed=" + fixedSeed, "lazy_itable_init=0", "lazy_journal_init=1",
			"nodiscard", "root_owner=0:0",
		}, s.args...), ","),
	}
	if g.journal == 0 {
		args = append(args, "-O", features)
	} else {
		args = append(args, "-O", features+",has_journal", "-J",
			"size="+strconv.FormatInt(g.journal*BlockSize>>20, 10))
	}
	args = append(args, "-d", secondPath, imagePath, strconv.FormatInt(g.blocks, 10))
	cmd, err := newTool(ctx, mke2fs, image, args...)
	if err != nil {
		return err
	}
	cmd.Env = append(cmd.Env, fakeTime)
	cmd.ExtraFiles = append(cmd.ExtraFiles, s.dir)
	return runToolBy(ctx, cmd, startConfined(shared))
}

// complete sets what mke2fs cannot, and gives every inode the same times of
// access and change.
func (s *source) complete(ctx context.Context, image *os.File) error {
	sb, err := readSuperblock(image)
	if err != nil {
		return err
	}
	d, err := openSession(ctx, image, true, fakeTime)
	if err != nil {
		return err
	}
	defer d.kill()
	if err := s.repair(d); err != nil {
		return err
	}
	if err := d.do(times(int64(sb.inodes-sb.freeInodes) + s.nodes)); err != nil {
		return err
	}
	return d.close()
}

// The inodes in use: those below firstInode are the file system's own but for the
// root; mke2fs and debugfs then number in succession. debugfs(8), ext4(5).
const (
	rootInode  = 2
	firstInode = 11
)

func times(last int64) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for i := int64(rootInode); i <= last; i++ {
			if i > rootInode && i < firstInode {
				continue
			}
			for _, field := range []string{"atime", "ctime"} {
				if !yield(command("set_inode_field", fmt.Sprintf("<%d>", i), field, "@"+fixedTime)) {
					return
				}
			}
		}
	}
}
