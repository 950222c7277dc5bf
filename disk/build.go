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

	"github.com/lkl-nomad/nomad-driver-lkl/disk/internal/debugfs"
	"github.com/lkl-nomad/nomad-driver-lkl/disk/internal/e2fsprogs"
)

// lostFoundName is a directory that mke2fs creates in every root. If the content has a
// directory of that name, mke2fs adds its files to this one. For any other type of file,
// mke2fs would create a second entry of the same name, which damages the image.
const lostFoundName = "lost+found"

var errLostFound = errors.New("lost+found at the root must be a directory")

// BuildOptions control the size of an image and the confinement of mke2fs.
type BuildOptions struct {
	Size int64 // of the image, in bytes, rounded down to blocks; 0 means content plus Room
	Room int64 // free space in bytes if Size is 0
	// Shared means that other users may change the directory during the build. Build
	// then returns ErrConfine instead of running mke2fs unconfined.
	Shared bool
	// Sandbox confines the tools.
	Sandbox Sandbox
}

// features are the ext4 features that mke2fs 1.47 enables by default and that Linux 5.3
// supports. They are listed one by one because other versions of mke2fs and
// /etc/mke2fs.conf may enable more. For example, kernels before 5.15 refuse images with
// orphan_file after a crash.
const features = "none,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg," +
	"sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum"

// Fixed values replace random ones and the current time, so that builds are reproducible.
const (
	fixedUUID = "6c6b6c2d-726f-4f74-8673-000000000001"
	fixedSeed = "6c6b6c2d-726f-4f74-8673-000000000002"
	fixedTime = "946684800" // 2000-01-01, seconds since 1970
)

// fakeTimeEnv sets the current time for e2fsprogs.
const fakeTimeEnv = "E2FSPROGS_FAKE_TIME=" + fixedTime

// Build creates dst, which must not exist, as an ext4 image with the content of src: a
// directory, or a tar archive, plain or compressed by gzip. Owners, permissions,
// modification times, links, devices and extended attributes are preserved. Build does
// not need root, but it must be able to read the files of a directory.
//
// A symbolic link that replaces a file during the build cannot make mke2fs read files
// outside of the directory, if the kernel has Landlock; see BuildOptions.Shared.
//
// dst appears when it is complete and synced to disk, as a sparse file of mode 0600. While
// an archive is unpacked, dst's directory contains one whose name begins with
// ".lkl-stage-".
//
// ErrNoSpace: the content does not fit in o.Size. ErrArchive: the archive has an entry
// that is not allowed, such as a path with "..".
func Build(ctx context.Context, src, dst string, o BuildOptions) error {
	kind, err := KindOf(src)
	if err != nil {
		return fmt.Errorf("build an image: %w", err)
	}
	var in *buildInput
	switch kind {
	case Directory:
		in, err = survey(ctx, src)
	case Tar:
		in, err = unpack(ctx, src, filepath.Dir(dst), o)
	default:
		return fmt.Errorf("build an image: %s is already an ext4 image: copy it", src)
	}
	if err != nil {
		return fmt.Errorf("build an image from %s: %w", src, err)
	}
	defer in.close()
	if err := in.writeImage(ctx, dst, o); err != nil {
		return fmt.Errorf("build an image from %s: %w", src, err)
	}
	return nil
}

// buildInput is a directory for mke2fs and the changes that debugfs makes afterwards.
type buildInput struct {
	usage
	dir         *os.File
	close       func()                                       // closes dir, and removes it if it is temporary
	options     []string                                     // extended options of mke2fs
	fixup       func(*debugfs.Session, *contentBuffer) error // sets the attributes that mke2fs cannot set
	fixupInodes int64                                        // inodes that fixup creates
}

func (in *buildInput) writeImage(ctx context.Context, dst string, o BuildOptions) error {
	g, err := planGeometry(in.usage, o)
	if err != nil {
		return err
	}
	out, err := newPendingFile(dst)
	if err != nil {
		return err
	}
	defer out.discard()
	if err := out.Truncate(g.blocks * BlockSize); err != nil {
		return err
	}
	if err := in.format(ctx, out.File, g, o); err != nil {
		return fmt.Errorf("%w (the image has %d MiB; its content takes about %d MiB)",
			err, g.blocks*BlockSize>>20, in.imageSize()>>20)
	}
	if err := in.applyFixups(ctx, out.File, o.Sandbox); err != nil {
		return err
	}
	if err := out.Sync(); err != nil {
		return err
	}
	return out.commit()
}

// format creates the file system with the files of the directory.
func (in *buildInput) format(ctx context.Context, image *os.File, g geometry, o BuildOptions) error {
	args := []string{
		"-q", "-F", "-b", strconv.Itoa(BlockSize), "-I", "256", "-m", "0",
		"-N", strconv.FormatInt(g.inodes, 10), "-U", fixedUUID,
		// The holes of the new file read as zeros, so initializing the inode tables
		// now writes nothing, and the guest's kernel does not have to do it later.
		"-E", strings.Join(append([]string{
			"hash_seed=" + fixedSeed, "lazy_itable_init=0", "lazy_journal_init=1",
			"nodiscard", "root_owner=0:0",
		}, in.options...), ","),
	}
	if g.journal == 0 {
		args = append(args, "-O", features)
	} else {
		args = append(args, "-O", features+",has_journal", "-J",
			"size="+strconv.FormatInt(g.journal*BlockSize>>20, 10))
	}
	args = append(args, "-d", e2fsprogs.DirectoryPath, e2fsprogs.ImagePath, strconv.FormatInt(g.blocks, 10))
	cmd, err := e2fsprogs.Command(ctx, o.Sandbox, e2fsprogs.Mke2fs, image, args...)
	if err != nil {
		return err
	}
	cmd.Env = []string{fakeTimeEnv}
	cmd.Directory, cmd.RequireConfinement = in.dir, o.Shared
	return cmd.Run()
}

// applyFixups sets the attributes that mke2fs cannot set, and resets the times of access
// and change of every inode.
func (in *buildInput) applyFixups(ctx context.Context, image *os.File, sandbox Sandbox) error {
	sb, err := readSuperblock(image)
	if err != nil {
		return err
	}
	content, err := newContentBuffer("")
	if err != nil {
		return err
	}
	defer content.close()
	inodes := int64(sb.inodes-sb.freeInodes) + in.fixupInodes
	session, err := debugfs.Open(ctx, image, debugfs.Options{
		Sandbox: sandbox, Env: []string{fakeTimeEnv}, Files: content.files(), FileCount: inodes,
	})
	if err != nil {
		return err
	}
	defer session.Kill()
	if err := in.fixup(session, content); err != nil {
		return err
	}
	if err := session.RunAll(resetTimes(inodes)); err != nil {
		return err
	}
	return session.Close()
}

// Inodes below firstInode are reserved for the file system, except for the root. mke2fs
// and debugfs number further inodes consecutively. See debugfs(8), ext4(5).
const (
	rootInode  = 2
	firstInode = 11
)

// resetTimes returns commands that set atime and ctime of the inodes up to last.
func resetTimes(last int64) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for i := int64(rootInode); i <= last; i++ {
			if i > rootInode && i < firstInode {
				continue
			}
			for _, field := range []string{"atime", "ctime"} {
				if !yield(debugfs.Command("set_inode_field", fmt.Sprintf("<%d>", i), field, "@"+fixedTime)) {
					return
				}
			}
		}
	}
}
