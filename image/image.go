// SPDX-License-Identifier: MPL-2.0

// Package image brings in unikernels from OCI images, and keeps them in a cache on the
// host's disk.
//
// # Files
//
// A Store is a directory. Several processes may use it at the same time.
//
//	lock            serializes publishing and garbage collection
//	refs/NAME       reference → digest of the manifest
//	images/DIGEST   config of the image with this manifest
//	entries/KEY/    kernel, rootfs, entry.json, verified.json and name.json, for a
//	                manifest and a kernel path
//	builds/         entries that are being built or removed
//	locks/KEY       held by the process that builds the entry
//
// An entry is complete from the moment that it is in entries/: it is built in builds/,
// flushed to disk and then renamed. All JSON files begin with a checksum.
//
// A task has a hard link to the kernel of its entry. More than one link shows that tasks use
// the entry, after any crash and without bookkeeping. Before a task has its link, a shared
// lock (flock) on the entry's directory pins the entry.
//
// A process holds an exclusive lock on each directory in builds/ that it works on. The
// garbage collection removes a directory without a lock: its process has ended.
//
// # Access
//
// As in Docker, a cached image is available to all jobs of the host, also to those whose
// credentials the registry would refuse. With PolicyAlways, the registry checks the
// credentials of each start.
package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/image/registry"
)

// The kinds of errors by which callers decide. The packages source, spec, unikernel and disk
// define others.
var (
	// ErrNotCached: the policy forbids to pull the image, and the store does not have it.
	ErrNotCached = errors.New("not cached")
	// ErrInUse: tasks use the image.
	ErrInUse = errors.New("in use")
	// ErrNoImage: the store has no such image.
	ErrNoImage = errors.New("no such image")
	// ErrClosed: the store has been closed.
	ErrClosed = errors.New("the image store is closed")
)

// Config configures a Store.
type Config struct {
	// Dir is created if it does not exist. Only its owner may write to it.
	Dir string
	// Client reaches registries. nil: only local images can be brought in.
	Client *registry.Client
	// MaxUnpacked limits the content of an image, and its root disk, in bytes. 0 means no
	// limit but that of package disk.
	MaxUnpacked int64
	// Sandbox confines the tools that build root disks.
	Sandbox disk.Sandbox
}

// A Store is a cache of images. Its methods may be called by several goroutines.
type Store struct {
	config   Config
	verified verifiedFiles
	resolves flights[resolution]
	pulls    flights[*os.File]
	// slots has a value for each image that is being brought in.
	slots chan struct{}

	// refs serializes the writers of references in this process, so that concurrent
	// starts do not write the same reference again and again.
	refs sync.Mutex
}

// Open returns the store of a directory.
func Open(c Config) (*Store, error) {
	s := &Store{
		config: c, verified: verifiedFiles{reading: make(chan struct{}, 1)},
		slots: make(chan struct{}, maxPulls),
	}
	for _, dir := range []string{"", refsDir, imagesDir, entriesDir, buildsDir, locksDir} {
		if err := os.MkdirAll(s.path(dir), privateDir); err != nil {
			return nil, fmt.Errorf("create the image store: %w", err)
		}
	}
	info, err := os.Stat(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("open the image store: %w", err)
	}
	const othersMayWrite = 0o022
	if info.Mode().Perm()&othersMayWrite != 0 {
		return nil, fmt.Errorf("open the image store: other users may write to %s: run chmod go-w %s", c.Dir, c.Dir)
	}
	lock, err := s.lockStore(unix.LOCK_SH)
	if err != nil {
		return nil, fmt.Errorf("open the image store: %w: its file system must support flock(2)", err)
	}
	lock.release()
	return s, nil
}

// Close cancels all pulls and waits for their end. Entries stay valid until they are closed.
func (s *Store) Close() error {
	s.resolves.close()
	s.pulls.close()
	return nil
}

// maxPulls is the largest number of images that a process brings in at a time. A hostile
// image with the largest number of files takes hundreds of megabytes of memory.
const maxPulls = 8

// The names in a store.
const (
	refsDir     = "refs"
	imagesDir   = "images"
	entriesDir  = "entries"
	buildsDir   = "builds"
	locksDir    = "locks"
	lockName    = "lock"
	kernelName  = "kernel"
	rootName    = "rootfs"
	entryRecord = "entry.json"
	// verifiedRecord is written again after each boot, see verifiedInfo.
	verifiedRecord = "verified.json"
	// nameRecord is written when a start uses another reference, see nameInfo.
	nameRecord = "name.json"
)

// Permissions. The files are readable for the guests' users, but the directory is not.
const (
	privateDir = 0o700
	readOnly   = 0o444
)

func (s *Store) path(elements ...string) string {
	return filepath.Join(append([]string{s.config.Dir}, elements...)...)
}

// syncDir flushes the names in a directory to disk.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// causeOf returns the reason for which a context ended, or the error.
func causeOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
