// SPDX-License-Identifier: MPL-2.0

package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
	"github.com/lkl-nomad/nomad-driver-lkl/image/spec"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// maxKernelSize is the largest kernel in bytes.
const maxKernelSize = 1 << 30

// entryBuild describes an entry to build.
type entryBuild struct {
	image      imageInfo
	documents  *imageDocuments
	kernelPath string
	report     func(Progress)
}

// buildEntry builds an entry and returns its pinned directory. On an error, nothing remains.
func (s *Store) buildEntry(ctx context.Context, src source.Source, key string, b entryBuild) (_ *os.File, err error) {
	dir, err := s.newBuildDir(key)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			dir.remove()
		}
	}()
	content, err := disk.NewContent(dir.path, disk.ContentOptions{Max: s.config.MaxUnpacked})
	if err != nil {
		return nil, err
	}
	defer func() { _ = content.Close() }() // nothing in it is needed any more
	if err := b.addLayers(ctx, src, content, dir.path); err != nil {
		return nil, causeOf(ctx, err)
	}
	info, err := s.writeFiles(ctx, content, dir.path, b)
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	record, err := encodeRecord(info)
	if err == nil {
		err = writeSynced(filepath.Join(dir.path, entryRecord), record)
	}
	if err == nil {
		err = saveVersions(dir.path, info)
	}
	if err == nil {
		err = syncDir(dir.path)
	}
	if err == nil {
		err = s.publish(key, dir, b.image)
	}
	if err != nil {
		return nil, fmt.Errorf("store the image: %w", err)
	}
	return dir.file, nil
}

// addLayers downloads and unpacks the layers. Each must match two digests: that of the
// manifest, as it is stored, and that of the config, uncompressed.
func (b *entryBuild) addLayers(ctx context.Context, src source.Source, content *disk.Content, dir string) error {
	progress := Progress{Stage: StageDownloading, Total: b.documents.layerSize()}
	// The content is rarely smaller than the layers. A later check covers all of it.
	if err := disk.CheckFreeSpace(dir, progress.Total); err != nil {
		return fmt.Errorf("download the layers: %w", err)
	}
	b.report(progress)
	for i, layer := range b.documents.manifest.Layers {
		blob, err := src.Blob(ctx, layer)
		if err != nil {
			return err
		}
		unpacked, err := content.AddLayerWithDigest(ctx, &progressReader{blob, &progress, b.report})
		blob.Close()
		if err != nil {
			return fmt.Errorf("layer %s: %w", layer.Digest, err)
		}
		got := v1.Hash{Algorithm: "sha256", Hex: unpacked}
		if want := b.documents.config.DiffIDs[i]; got != want {
			return fmt.Errorf("%w: the layer %s unpacks to the digest %s, but the config says %s",
				source.ErrInvalid, layer.Digest, got, want)
		}
	}
	return nil
}

// progressReader reports the bytes that are read.
type progressReader struct {
	io.Reader
	progress *Progress
	report   func(Progress)
}

func (r *progressReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.progress.Done += int64(n)
		r.report(*r.progress)
	}
	return n, err
}

// writeFiles creates the kernel and the root disk. It checks the kernel first.
func (s *Store) writeFiles(ctx context.Context, content *disk.Content, dir string, b entryBuild) (*entryInfo, error) {
	info := &entryInfo{Version: formatVersion, Digest: b.image.Digest, KernelPath: b.kernelPath}
	kernel, err := content.Open(b.kernelPath)
	if err != nil {
		return nil, missingKernel(b.kernelPath, err)
	}
	elf, err := checkKernel(kernel)
	if err != nil {
		return nil, fmt.Errorf("the kernel %q: %w", b.kernelPath, err)
	}
	info.Target, info.ABI = elf.Target.String(), elf.ABI
	b.report(Progress{Stage: StageBuilding})
	kernelFile := filepath.Join(dir, kernelName)
	if err := writeKernel(ctx, kernel, kernelFile); err != nil {
		return nil, fmt.Errorf("store the kernel: %w", err)
	}
	if info.Kernel, err = s.describe(ctx, kernelFile); err != nil {
		return nil, err
	}
	if info.Accounts, err = readAccounts(content); err != nil {
		return nil, err
	}
	if !hasBlockDevice(elf) {
		return info, nil
	}
	if err := content.Remove(b.kernelPath); err != nil {
		return nil, err
	}
	root := filepath.Join(dir, rootName)
	options := disk.BuildOptions{Room: RootRoom, Max: s.config.MaxUnpacked, Sandbox: s.config.Sandbox}
	if err := content.WriteImage(ctx, root, options); err != nil {
		return nil, err
	}
	if err := os.Chmod(root, readOnly); err != nil {
		return nil, err
	}
	described, err := s.describe(ctx, root)
	info.Root = &described
	return info, err
}

// missingKernel explains why an image has no kernel at a path.
func missingKernel(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: the image has no file %q, the path in its ENTRYPOINT or CMD, or in the job: set kernel to the path of a unikernel in the image", spec.ErrNoKernel, path)
	}
	var inner *fs.PathError // its path is not quoted
	if errors.As(err, &inner) {
		err = inner.Err
	}
	return fmt.Errorf("%w: open %q in the image: %w", spec.ErrNoKernel, path, err)
}

// checkKernel refuses a file that the driver cannot run.
func checkKernel(f *disk.ContentFile) (*unikernel.Info, error) {
	if f.Size() > maxKernelSize {
		return nil, fmt.Errorf("%w: the file has %d MiB, but a kernel may have at most %d MiB: remove its debug information with strip",
			unikernel.ErrInvalid, f.Size()>>20, maxKernelSize>>20)
	}
	elf, err := unikernel.Read(f, f.Size())
	if errors.Is(err, unikernel.ErrNotSolo5) {
		return nil, fmt.Errorf("%w: the driver does not run images for containers: build an image with \"lkl image build\", or set kernel to the path of a unikernel in the image", err)
	}
	if err != nil {
		return nil, err
	}
	if elf.Target != unikernel.TargetSPT {
		return nil, fmt.Errorf("%w: it is linked for the target %s, but the driver only runs spt: link it with the spt bindings",
			spec.ErrTarget, elf.Target)
	}
	return elf, nil
}

func hasBlockDevice(elf *unikernel.Info) bool {
	for _, device := range elf.Manifest {
		if device.Type == unikernel.Block {
			return true
		}
	}
	return false
}

// readAccounts reads the files that name users. A file of unusual size or type counts as
// missing, because numeric users do not need it.
func readAccounts(content *disk.Content) (spec.Accounts, error) {
	var accounts spec.Accounts
	for path, into := range map[string]*string{"/etc/passwd": &accounts.Passwd, "/etc/group": &accounts.Group} {
		if f, err := content.Open(path); err != nil || f.Size() > spec.MaxAccountsSize {
			continue
		}
		text, err := content.ReadFile(path, spec.MaxAccountsSize)
		if err != nil {
			return spec.Accounts{}, err
		}
		*into = string(text)
	}
	return accounts, nil
}

// writeKernel writes a file that only links can be made to.
func writeKernel(ctx context.Context, from *disk.ContentFile, path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = from.CopyTo(ctx, f)
	if err == nil {
		err = f.Chmod(readOnly)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// describe returns the size and the digest of a file of an entry, and remembers that the
// file matches.
func (s *Store) describe(ctx context.Context, path string) (fileInfo, error) {
	version, err := versionOf(path)
	if err != nil {
		return fileInfo{}, err
	}
	sum, err := fileDigest(ctx, path)
	if err != nil {
		return fileInfo{}, err
	}
	s.verified.put(version, sum)
	return fileInfo{Size: version.Size, Digest: sum}, nil
}

// saveVersions records that the files of a new entry match its record.
func saveVersions(dir string, info *entryInfo) error {
	versions, digests := map[string]fileVersion{}, map[string]string{}
	for name, file := range info.files() {
		digests[name] = file.Digest
		var err error
		if versions[name], err = versionOf(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return saveVerified(dir, versions, digests)
}

// writeSynced creates a file and flushes it to disk.
func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// buildDir is a directory in builds/ that this process works on.
type buildDir struct {
	path string
	file *os.File // has an exclusive lock
}

// newBuildDir creates a directory. The store's lock makes creating and locking it one step
// for the garbage collection.
func (s *Store) newBuildDir(key string) (*buildDir, error) {
	lock, err := s.lockStore(unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	defer lock.release()
	path, err := os.MkdirTemp(s.path(buildsDir), key+".")
	if err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err == nil {
		err = flock(file, unix.LOCK_EX)
	}
	if err != nil {
		os.Remove(path)
		return nil, err
	}
	return &buildDir{path, file}, nil
}

func (d *buildDir) remove() {
	os.RemoveAll(d.path)
	fileLock{d.file}.release()
}

// publish makes a complete entry available, together with the record of its image. The lock
// on the entry's directory becomes a shared one, which pins it.
func (s *Store) publish(key string, dir *buildDir, image imageInfo) error {
	lock, err := s.lockStore(unix.LOCK_SH)
	if err != nil {
		return err
	}
	defer lock.release()
	// The store's lock keeps the garbage collection from taking the entry between the
	// exclusive and the shared lock.
	if err := flock(dir.file, unix.LOCK_SH); err != nil {
		return err
	}
	if err := s.writeImage(image); err != nil {
		return err
	}
	path := s.path(entriesDir, key)
	err = os.Rename(dir.path, path)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.ENOTDIR) {
		// This process has the entry's lock, and has not found a usable entry.
		if err = os.Rename(path, dir.path+".replaced"); err == nil {
			err = os.Rename(dir.path, path)
		}
	}
	if err != nil {
		return err
	}
	dir.path = path
	return syncDir(s.path(entriesDir))
}
