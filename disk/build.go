// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/disk/internal/debugfs"
	"github.com/lkl-nomad/nomad-driver-lkl/disk/internal/e2fsprogs"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/safeopen"
)

// BuildOptions control the size of an image and the confinement of the tools.
type BuildOptions struct {
	Size int64 // of the image, in bytes, rounded down to blocks; 0 means content plus Room
	Room int64 // free space in bytes if Size is 0
	// Max limits the size in bytes: of the image, and of the contents that an archive is
	// unpacked to. 0 means no limit.
	Max int64
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
	fixedUUID    = "6c6b6c2d-726f-4f74-8673-000000000001"
	fixedSeed    = "6c6b6c2d-726f-4f74-8673-000000000002"
	fixedSeconds = 946684800 // 2000-01-01, since 1970
)

var (
	fixedTime = time.Unix(fixedSeconds, 0)
	// fakeTimeEnv sets the current time for e2fsprogs.
	fakeTimeEnv = "E2FSPROGS_FAKE_TIME=" + strconv.FormatInt(fixedSeconds, 10)
)

// Build creates dst, which must not exist, as an ext4 image with the content of src. src is
// a directory, or a tar archive, plain or compressed by gzip or zstd. Build preserves owners,
// permissions, modification times, links, devices and extended attributes. It leaves out the
// sockets of a directory. Build does not need root, but it must be able to read the files of
// a directory.
//
// Other tasks may change the directory during the build. The image then contains only files
// that were in the directory, or Build fails. No tool reads the directory.
//
// dst appears when it is complete and synced to disk, as a sparse file of mode 0600. Until
// then, all files that Build creates in dst's directory have no name. Where the file system
// does not support that, their names begin with ".lkl-".
//
// ErrNoSpace: the content does not fit in o.Size. ErrTooLarge: the image exceeds o.Max.
// ErrReserve: the file system of dst has too little space. ErrArchive: the archive has an
// entry that is not allowed, such as a path with "..". ErrName: a name or a symlink's target
// contains a line break.
func Build(ctx context.Context, src, dst string, o BuildOptions) error {
	kind, err := KindOf(src)
	if err != nil {
		return fmt.Errorf("build an image: %w", err)
	}
	switch kind {
	case Directory:
		err = buildFromDirectory(ctx, src, dst, o)
	case Tar:
		err = buildFromTar(ctx, src, dst, o)
	default:
		return fmt.Errorf("build an image: %s is already an ext4 image: copy it", src)
	}
	if err != nil {
		return fmt.Errorf("build an image from %s: %w", src, err)
	}
	return nil
}

func buildFromDirectory(ctx context.Context, src, dst string, o BuildOptions) error {
	content, err := scanDirectory(ctx, src)
	if err != nil {
		return err
	}
	defer func() { _ = content.files.Close() }() // it was only read
	return content.writeImage(ctx, dst, o)
}

func buildFromTar(ctx context.Context, src, dst string, o BuildOptions) error {
	f, err := safeopen.Open(src, os.O_RDONLY, safeopen.Regular)
	if err != nil {
		return err
	}
	defer f.Close()
	content, err := newContent(filepath.Dir(dst), o)
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }() // nothing in it is needed any more
	if err := content.addArchive(ctx, f); err != nil {
		return err
	}
	return content.writeImage(ctx, dst, o)
}

func (c *rootContent) writeImage(ctx context.Context, dst string, o BuildOptions) error {
	use, err := c.measure()
	if err != nil {
		return err
	}
	g, err := planGeometry(use, o)
	if err != nil {
		return err
	}
	out, err := newPendingFile(dst)
	if err != nil {
		return err
	}
	defer out.discard()
	if err := checkFreeSpace(out.File, use.blocks*BlockSize-c.spooled); err != nil {
		return err
	}
	if err := out.Truncate(g.blocks * BlockSize); err != nil {
		return err
	}
	if err := format(ctx, out.File, g, reproducible, o.Sandbox); err != nil {
		return err
	}
	err = c.writeFiles(ctx, out.File, use.names, o.Sandbox)
	if errors.Is(err, ErrNoSpace) {
		err = fmt.Errorf("%w (the image has %d MiB; its content takes about %d MiB)",
			err, g.blocks*BlockSize>>20, use.imageSize()>>20)
	}
	if err != nil {
		return err
	}
	if err := out.Sync(); err != nil {
		return err
	}
	return out.commit()
}

// writeFiles writes the content, with this number of names, into an empty file system.
func (c *rootContent) writeFiles(ctx context.Context, image *os.File, names int64, sandbox Sandbox) error {
	batches, err := newBatches(2, filepath.Dir(image.Name()))
	defer closeBatches(batches)
	if err != nil {
		return err
	}
	session, err := debugfs.Open(ctx, image, debugfs.Options{
		Sandbox: sandbox, Env: []string{fakeTimeEnv}, Files: slotFiles(batches), FileCount: names,
	})
	if err != nil {
		return err
	}
	defer session.Kill()
	last, err := c.populate(ctx, session, image, batches)
	if err != nil {
		return err
	}
	if err := session.Close(); err != nil {
		return err
	}
	sb, err := readSuperblock(image)
	if err != nil {
		return err
	}
	if used := int64(sb.inodes - sb.freeInodes); used != last {
		return fmt.Errorf("debugfs did not number the inodes in order: %d are in use, and the last one is %d", used, last)
	}
	return nil
}

// identity contains the properties of a file system that do not depend on its size.
type identity struct {
	args  []string // of mke2fs
	owner string   // UID:GID of the root directory
	seed  string   // extended option with the hash seed, or ""
	env   []string
}

// reproducible is the identity of images that are built from sources.
var reproducible = identity{
	args: []string{"-U", fixedUUID}, owner: "0:0", seed: "hash_seed=" + fixedSeed + ",",
	env: []string{fakeTimeEnv},
}

// format creates an empty file system.
func format(ctx context.Context, image *os.File, g geometry, id identity, sandbox Sandbox) error {
	args := append([]string{
		"-q", "-F", "-b", strconv.Itoa(BlockSize), "-I", "256", "-m", "0",
		"-N", strconv.FormatInt(g.inodes, 10),
		// The holes of the new file read as zeros, so initializing the inode tables
		// now writes nothing, and the guest's kernel does not have to do it later.
		"-E", id.seed + "lazy_itable_init=0,lazy_journal_init=1,nodiscard,root_owner=" + id.owner,
	}, id.args...)
	if g.journal == 0 {
		args = append(args, "-O", features)
	} else {
		args = append(args, "-O", features+",has_journal", "-J",
			"size="+strconv.FormatInt(g.journal*BlockSize>>20, 10))
	}
	args = append(args, e2fsprogs.ImagePath, strconv.FormatInt(g.blocks, 10))
	cmd, err := e2fsprogs.Command(ctx, sandbox, e2fsprogs.Mke2fs, image, args...)
	if err != nil {
		return err
	}
	cmd.Env = id.env
	return cmd.Run()
}
