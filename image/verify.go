// SPDX-License-Identifier: MPL-2.0

package image

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

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/ctxreader"
)

// maxVerified limits the files in memory. When it is reached, all are forgotten and read
// again.
const maxVerified = 1024

// verifiedFiles remembers the digests of files, so that a process reads a file once. It
// finds damage that happened while no process used the store, such as a file that a power
// loss or a full disk has truncated. The zero value is ready for use.
type verifiedFiles struct {
	mu    sync.Mutex
	known map[fileVersion]string

	// reading is held while a file is read, so that concurrent starts do not all read it.
	reading sync.Mutex
}

// fileVersion identifies the content of a file. The ctime is left out: it changes with each
// link of a task.
type fileVersion struct {
	dev, ino uint64
	size     int64
	mtime    syscall.Timespec
}

// check compares a file with its record. errDamaged: they differ.
func (v *verifiedFiles) check(ctx context.Context, path string, want fileInfo) error {
	version, err := versionOf(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s is missing", errDamaged, filepath.Base(path))
	case err != nil:
		return err
	case version.size != want.Size:
		return fmt.Errorf("%w: %s has %d bytes instead of %d", errDamaged, filepath.Base(path), version.size, want.Size)
	}
	sum := v.get(version)
	if sum == "" {
		if sum, err = v.read(ctx, path, version); err != nil {
			return err
		}
	}
	if sum != want.Digest {
		return fmt.Errorf("%w: the digest of %s is %s instead of %s", errDamaged, filepath.Base(path), sum, want.Digest)
	}
	return nil
}

// read returns the digest of a file, which another goroutine may have read meanwhile.
func (v *verifiedFiles) read(ctx context.Context, path string, version fileVersion) (string, error) {
	v.reading.Lock()
	defer v.reading.Unlock()
	if sum := v.get(version); sum != "" {
		return sum, nil
	}
	sum, err := fileDigest(ctx, path)
	if err == nil {
		v.put(version, sum)
	}
	return sum, err
}

func (v *verifiedFiles) get(version fileVersion) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.known[version]
}

func (v *verifiedFiles) put(version fileVersion, sum string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.known == nil || len(v.known) >= maxVerified {
		v.known = map[fileVersion]string{}
	}
	v.known[version] = sum
}

// versionOf returns the version of a regular file.
func versionOf(path string) (fileVersion, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return fileVersion{}, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return fileVersion{}, fmt.Errorf("%w: %s is not a regular file", errDamaged, filepath.Base(path))
	}
	return fileVersion{stat.Dev, stat.Ino, stat.Size, stat.Mtim}, nil
}

// fileDigest returns the digest of a file of an entry. That of a kernel is its SHA-256. A
// root disk is mostly empty: its digest covers its data only.
func fileDigest(ctx context.Context, path string) (string, error) {
	if filepath.Base(path) == rootName {
		return disk.Digest(ctx, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, ctxreader.New(ctx, f)); err != nil {
		return "", fmt.Errorf("read the kernel: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
