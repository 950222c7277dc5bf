// SPDX-License-Identifier: MPL-2.0

package image

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
	"github.com/lkl-nomad/nomad-driver-lkl/image/spec"
)

// Image describes an image in the store.
type Image struct {
	// Digest is the digest of the manifest.
	Digest string `json:"digest"`
	// References are the tags and digests of registries that lead to the image, sorted. An
	// image has no reference if it came from a file, or if all its tags have moved.
	References []string `json:"references"`
	// IndexDigests are the digests of the indexes that lead to the image, sorted. An image
	// with an SBOM has an index, and its registry returns the index's digest for a tag.
	IndexDigests []string `json:"index_digests"`
	// LastName is the reference of the last use, also that of a file. It is "" if an
	// earlier version of the driver has used the image last.
	LastName string `json:"last_name"`
	// Kernels are the unikernels of the image that are in the cache.
	Kernels []Kernel `json:"kernels"`
	// Bytes is the space that the image takes on the host's disk.
	Bytes int64 `json:"bytes"`
	// DownloadBytes is the size of the layers as the registry stores them.
	DownloadBytes int64       `json:"download_bytes"`
	LastUsed      time.Time   `json:"last_used"`
	Config        spec.Config `json:"config"`
}

// Kernel describes a unikernel in the store.
type Kernel struct {
	Path string `json:"path"` // in the image
	// KernelFile is the path of the kernel on the host. The file must not be changed.
	KernelFile string `json:"-"`
	SHA256     string `json:"sha256"`
	Target     string `json:"target"` // of Solo5
	ABI        uint32 `json:"abi"`
	// KernelBytes and RootBytes are the sizes of the files. RootBytes is 0 without a root
	// disk. Bytes is the space that both take on the host's disk, without holes.
	KernelBytes int64 `json:"kernel_bytes"`
	RootBytes   int64 `json:"root_bytes"`
	Bytes       int64 `json:"bytes"`
	// Tasks is the number of tasks that have the kernel. Starting reports that a task is
	// about to use it.
	Tasks    int       `json:"tasks"`
	Starting bool      `json:"starting"`
	LastUsed time.Time `json:"last_used"`
}

// InUse reports whether the unikernel cannot be removed.
func (k *Kernel) InUse() bool { return k.Tasks > 0 || k.Starting }

// storedEntry is an entry as it is found in the store.
type storedEntry struct {
	key  string
	info entryInfo
	// broken is the reason for which the entry is unusable, or nil.
	broken error
	// lastName is the reference of the last use.
	lastName string
	Kernel
}

// records are the readable records of a store.
type records struct {
	images  map[string]imageInfo // by digest
	refs    []refInfo
	entries []storedEntry
}

// List returns the images of the store, the last used first. It does not read the kernels
// and root disks.
func (s *Store) List() ([]Image, error) {
	lock, err := s.lockStore(unix.LOCK_EX)
	if err != nil {
		return nil, fmt.Errorf("list the images: %w", err)
	}
	defer lock.release()
	r, err := s.readRecords()
	if err != nil {
		return nil, fmt.Errorf("list the images: %w", err)
	}
	return r.list(), nil
}

// list returns the images that have a usable entry, the last used first.
func (r *records) list() []Image {
	var images []Image
	for digest, info := range r.images {
		image := Image{Digest: digest, DownloadBytes: info.LayerSize, Config: info.Config}
		image.References, image.IndexDigests = r.references(digest)
		for _, e := range r.entries {
			if e.broken != nil || e.info.Digest != digest {
				continue
			}
			image.Kernels = append(image.Kernels, e.Kernel)
			image.Bytes += e.Bytes
			if e.LastUsed.After(image.LastUsed) {
				image.LastUsed, image.LastName = e.LastUsed, e.lastName
			}
		}
		if len(image.Kernels) > 0 {
			slices.SortFunc(image.Kernels, func(a, b Kernel) int { return strings.Compare(a.Path, b.Path) })
			images = append(images, image)
		}
	}
	slices.SortFunc(images, func(a, b Image) int {
		return cmp.Or(b.LastUsed.Compare(a.LastUsed), strings.Compare(a.Digest, b.Digest))
	})
	return images
}

// Inspect returns the image with a reference, the digest of its manifest or of its index, or
// the first digits of such a digest.
// ErrNoImage: it does not exist.
func (s *Store) Inspect(name string) (Image, error) {
	images, err := s.List()
	if err != nil {
		return Image{}, err
	}
	found, _, err := find(images, name)
	return found, err
}

// minDigits is the smallest number of digits that name a digest.
const minDigits = 6

// find returns the image with a name, and its reference if the name is one. The digest in a
// reference finds the image under any name: the content is the same.
func find(images []Image, name string) (Image, string, error) {
	canonical, digest, isLocal := name, name, false
	if ref, err := reference.Parse(name); err == nil {
		canonical, isLocal = ref.String(), ref.IsLocal()
		if ref.Digest() != "" {
			digest = ref.Digest()
		}
	}
	var matches []Image
	for _, image := range images {
		switch {
		case slices.Contains(image.References, canonical):
			return image, canonical, nil
		case image.hasDigest(digest), isLocal && image.LastName == canonical:
			matches = append(matches, image)
		}
	}
	switch {
	case len(matches) == 1:
		return matches[0], "", nil
	case len(matches) == 0:
		return Image{}, "", fmt.Errorf("%w: %s", ErrNoImage, name)
	case isLocal:
		return Image{}, "", fmt.Errorf("%d images came from %s: use the digest", len(matches), name)
	default:
		return Image{}, "", fmt.Errorf("%d images have a digest that begins with %s: use more digits", len(matches), name)
	}
}

// hasDigest reports whether the digest of the manifest or of an index is, or begins with, a
// digest. The prefix "sha256:" may be missing.
func (i *Image) hasDigest(digest string) bool {
	digits := strings.TrimPrefix(digest, "sha256:")
	if len(digits) < minDigits {
		return false
	}
	begins := func(d string) bool { return strings.HasPrefix(strings.TrimPrefix(d, "sha256:"), digits) }
	return begins(i.Digest) || slices.ContainsFunc(i.IndexDigests, begins)
}

// readRecords reads the records of the store. The caller has its exclusive lock: entries are
// locked for a moment, which must not look like a use.
func (s *Store) readRecords() (*records, error) {
	r := &records{images: map[string]imageInfo{}}
	err := s.eachName(imagesDir, func(name string) error {
		info, err := s.image(strings.Replace(name, "-", ":", 1))
		if err == nil {
			r.images[info.Digest] = info
		}
		return unlessUnreadable(err)
	})
	if err != nil {
		return nil, err
	}
	err = s.eachName(refsDir, func(name string) error {
		var ref refInfo
		err := readRecord(s.path(refsDir, name), &ref)
		if err == nil {
			r.refs = append(r.refs, ref)
		}
		return unlessUnreadable(err)
	})
	if err != nil {
		return nil, err
	}
	err = s.eachName(entriesDir, func(name string) error {
		e, err := s.stored(name)
		if err == nil {
			r.entries = append(r.entries, e)
		}
		return unlessUnreadable(err)
	})
	return r, err
}

// unlessUnreadable ignores the errors of records that have been removed or damaged.
func unlessUnreadable(err error) error {
	if errors.Is(err, fs.ErrNotExist) || isBroken(err) {
		return nil
	}
	return err
}

// eachName calls f for each name in a directory of the store.
func (s *Store) eachName(dir string, f func(string) error) error {
	entries, err := os.ReadDir(s.path(dir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := f(e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// references returns the references and the digests of indexes that lead to an image,
// sorted.
func (r *records) references(digest string) (names, indexes []string) {
	names, indexes = []string{}, []string{}
	for _, ref := range r.refs {
		switch {
		case ref.Digest != digest:
		case ref.Reference == ref.Target: // the record of an index
			indexes = append(indexes, ref.Target)
		default:
			names = append(names, ref.Reference)
		}
	}
	slices.Sort(names)
	slices.Sort(indexes)
	return names, indexes
}

// stored returns an entry of the store. fs.ErrNotExist: it has been removed.
func (s *Store) stored(key string) (storedEntry, error) {
	e := storedEntry{key: key}
	dir, err := os.Lstat(s.path(entriesDir, key))
	if err != nil {
		return e, err
	}
	if !dir.IsDir() {
		e.broken = fmt.Errorf("%w: it is not a directory", errDamaged)
		return e, nil
	}
	e.LastUsed = dir.ModTime()
	if err := readRecord(s.path(entriesDir, key, entryRecord), &e.info); err != nil {
		e.broken = err
	} else if entryKey(e.info.Digest, e.info.KernelPath) != key {
		e.broken = fmt.Errorf("%w: %s belongs to another entry", errDamaged, entryRecord)
	}
	e.lastName = readName(s.path(entriesDir, key))
	e.addFile(s.path(entriesDir, key, kernelName), &e.info.Kernel, true)
	if e.info.Root != nil {
		e.addFile(s.path(entriesDir, key, rootName), e.info.Root, false)
		e.RootBytes = e.info.Root.Size
	}
	e.Path, e.SHA256, e.Target, e.ABI = e.info.KernelPath, e.info.Kernel.Digest, e.info.Target, e.info.ABI
	e.KernelFile, e.KernelBytes = s.path(entriesDir, key, kernelName), e.info.Kernel.Size
	e.Starting, err = isPinned(s.path(entriesDir, key))
	return e, err
}

// addFile adds the space and the use of a file to an entry. A file of another size than its
// record says makes the entry unusable.
func (e *storedEntry) addFile(path string, want *fileInfo, isKernel bool) {
	info, err := os.Lstat(path)
	if err != nil {
		if e.broken == nil {
			e.broken = fmt.Errorf("%w: %w", errDamaged, err)
		}
		return
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		e.broken = fmt.Errorf("%w: %s is not a regular file", errDamaged, info.Name())
		return
	}
	const unit = 512 // of Blocks, see stat(2)
	e.Bytes += stat.Blocks * unit
	if info.Size() != want.Size && e.broken == nil {
		e.broken = fmt.Errorf("%w: %s has %d bytes instead of %d", errDamaged, info.Name(), info.Size(), want.Size)
	}
	if isKernel {
		e.Tasks = int(stat.Nlink) - 1
		// Adding or removing the link of a task changes the ctime.
		if changed := time.Unix(stat.Ctim.Unix()); changed.After(e.LastUsed) {
			e.LastUsed = changed
		}
	}
}

// isPinned reports whether a process has a lock on a directory.
func isPinned(path string) (bool, error) {
	dir, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false, err
	}
	defer fileLock{dir}.release()
	free, err := tryFlock(dir, unix.LOCK_EX)
	return !free, err
}
