// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/ctxreader"
)

// A kernelCache keeps one private copy of each kernel that tasks run. A guest's
// code is mapped from its file, so a user who could write to the file could
// control the guest. All tasks with the same kernel share one copy, and its
// memory.
//
// A copy is a file in dir, named by its digest. Each task has a hard link to it
// in its own directory, so the link count shows whether the copy is in use.
type kernelCache struct {
	dir string

	mu    sync.Mutex
	known map[fileVersion]string // digests of files that have a copy
}

const (
	// unusedKernelTTL is the minimum time that a copy outlives the last task that
	// used it.
	unusedKernelTTL = time.Hour
	// maxKnown limits the digests in memory. When it is reached, the cache forgets
	// all of them and reads files again.
	maxKnown = 1024
	// minFileAge is the age of a file's last change from which the cache relies
	// on its timestamps. A second change within the same tick of the file
	// system's clock would not be visible. Ticks are at most 10 ms, and up to 1 s
	// on network file systems.
	minFileAge = 2 * time.Second
)

// A fileVersion identifies a file's content: each write changes the ctime, as
// far as the resolution of the file system's clock allows.
type fileVersion struct {
	dev, ino     uint64
	size         int64
	mtime, ctime syscall.Timespec
}

// link creates path, which must not exist, as a link to the private copy of a
// kernel. It returns the digest.
func (c *kernelCache) link(ctx context.Context, src *jobFile, path string) (string, error) {
	version, reliable := versionOf(src.info)
	if sum := c.digest(version); sum != "" {
		err := os.Link(filepath.Join(c.dir, sum), path)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return sum, err
		}
	}
	sum, err := c.copy(ctx, src, path)
	if err == nil && reliable {
		c.remember(version, sum)
	}
	return sum, err
}

// copy copies a kernel to path. If the cache already has this content, path
// becomes a link to that copy instead.
func (c *kernelCache) copy(ctx context.Context, src *jobFile, path string) (string, error) {
	if err := disk.Copy(ctx, src.path(), path); err != nil {
		return "", err
	}
	sum, err := syncedDigest(ctx, path)
	if err != nil {
		return "", err
	}
	shared := filepath.Join(c.dir, sum)
	err = os.Link(path, shared)
	if !errors.Is(err, fs.ErrExist) {
		return sum, err
	}
	if err := os.Remove(path); err != nil {
		return "", err
	}
	err = os.Link(shared, path)
	if errors.Is(err, fs.ErrNotExist) { // the sweep has just removed it
		return c.copy(ctx, src, path)
	}
	return sum, err
}

func (c *kernelCache) digest(v fileVersion) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[v]
}

func (c *kernelCache) remember(v fileVersion, sum string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || len(c.known) >= maxKnown {
		c.known = map[fileVersion]string{}
	}
	c.known[v] = sum
}

// versionOf returns the version of a file, and whether every later change of
// the file will change its version.
func versionOf(info fs.FileInfo) (fileVersion, bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fileVersion{}, false
	}
	v := fileVersion{stat.Dev, stat.Ino, stat.Size, stat.Mtim, stat.Ctim}
	return v, time.Since(time.Unix(stat.Ctim.Unix())) > minFileAge
}

// syncedDigest returns the SHA-256 of a copy and flushes the copy to disk. After
// a power loss, a file in the cache must still match its name.
func syncedDigest(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, ctxreader.New(ctx, f)); err != nil {
		return "", fmt.Errorf("read the kernel: %w", withoutPath(err))
	}
	if err := f.Sync(); err != nil {
		return "", fmt.Errorf("flush the kernel to disk: %w", withoutPath(err))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// sweep removes the copies that no task has used since the given time. A task
// that is just starting has its own link, so it keeps the file.
func (c *kernelCache) sweep(unusedSince time.Time) error {
	entries, err := os.ReadDir(c.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list the kernels: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // removed by another plugin
		}
		// Adding or removing a link changes the ctime.
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok || stat.Nlink > 1 || time.Unix(stat.Ctim.Unix()).After(unusedSince) {
			continue
		}
		if err := os.Remove(filepath.Join(c.dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove an unused kernel: %w", err)
		}
	}
	return nil
}
