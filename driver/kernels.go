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
)

// kernels keeps private copies of the unikernels that tasks run, one of each
// content. A guest's code is mapped from its file: whoever could write to it
// would own the guest. One copy for all tasks lets them share its memory too.
//
// A copy is a file of the state directory, and each task has a link to it in
// its own directory, so that the link count tells whether any task needs it.
type kernels struct {
	mu    sync.Mutex
	known map[fileVersion]string // digests of the sources of copies
}

const (
	// keepKernel is how long a copy outlives the last task that used it.
	keepKernel = time.Hour
	// maxKnown bounds the digests that are remembered; beyond it, files are
	// read again.
	maxKnown = 1024
	// settled is how old the last change of a file has to be for its digest to
	// be remembered: another one in the same tick of the file system's clock
	// would go unnoticed. Ticks are at most 10 ms, on a network's file systems
	// up to 1 s.
	settled = 2 * time.Second
)

// fileVersion tells a file's content from any other, as far as the file
// system's clock allows: whoever writes to a file changes its ctime.
type fileVersion struct {
	dev, ino     uint64
	size         int64
	mtime, ctime syscall.Timespec
}

// kernelsDir holds the copies, each under its digest.
func kernelsDir(stateDir string) string { return filepath.Join(stateDir, "kernels") }

// link makes path, which must not exist, a private copy of a kernel, and
// returns its digest.
func (k *kernels) link(ctx context.Context, stateDir string, src *source, path string) (string, error) {
	version, sure := versionOf(src.info)
	if sum := k.digest(version); sum != "" {
		err := os.Link(filepath.Join(kernelsDir(stateDir), sum), path)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return sum, err
		}
	}
	sum, err := k.copy(ctx, stateDir, src, path)
	if err == nil && sure {
		k.remember(version, sum)
	}
	return sum, err
}

// copy makes the copy from the content, if none of this content is there yet.
func (k *kernels) copy(ctx context.Context, stateDir string, src *source, path string) (string, error) {
	if err := disk.Copy(ctx, src.path(), path); err != nil {
		return "", err
	}
	sum, err := digestOf(path)
	if err != nil {
		return "", err
	}
	shared := filepath.Join(kernelsDir(stateDir), sum)
	err = os.Link(path, shared)
	if !errors.Is(err, fs.ErrExist) {
		return sum, err
	}
	if err := os.Remove(path); err != nil {
		return "", err
	}
	err = os.Link(shared, path)
	if errors.Is(err, fs.ErrNotExist) { // swept away this very moment
		return k.copy(ctx, stateDir, src, path)
	}
	return sum, err
}

func (k *kernels) digest(v fileVersion) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.known[v]
}

func (k *kernels) remember(v fileVersion, sum string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.known == nil || len(k.known) >= maxKnown {
		k.known = map[fileVersion]string{}
	}
	k.known[v] = sum
}

// versionOf tells the version of a file, and whether a later one is sure to
// differ from it.
func versionOf(info fs.FileInfo) (fileVersion, bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fileVersion{}, false
	}
	v := fileVersion{stat.Dev, stat.Ino, stat.Size, stat.Mtim, stat.Ctim}
	return v, time.Since(time.Unix(stat.Ctim.Unix())) > settled
}

// digestOf is the sha256 of a copy, which is on the disk then: its name is a
// promise that a crash must not break.
func digestOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read the kernel: %w", plain(err))
	}
	if err := f.Sync(); err != nil {
		return "", fmt.Errorf("store the kernel: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// sweepKernels removes the copies that no task has used for some time. (The
// link of a task that starts just now keeps the file, if not its name.)
func sweepKernels(stateDir string, unusedSince time.Time) error {
	entries, err := os.ReadDir(kernelsDir(stateDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list the kernels: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // another plugin was faster
		}
		// The time of the last change is that of the last link that came or went.
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok || stat.Nlink > 1 || time.Unix(stat.Ctim.Unix()).After(unusedSince) {
			continue
		}
		if err := os.Remove(filepath.Join(kernelsDir(stateDir), e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove an unused kernel: %w", err)
		}
	}
	return nil
}

// sweepKernelsForever does so as long as the plugin lives.
func (d *Driver) sweepKernelsForever(stateDir string) {
	tick := time.NewTicker(keepKernel)
	defer tick.Stop()
	for {
		if err := sweepKernels(stateDir, time.Now().Add(-keepKernel)); err != nil {
			d.log.Error("cannot clear away unused kernels", "error", err)
		}
		select {
		case <-tick.C:
		case <-d.ctx.Done():
			return
		}
	}
}
