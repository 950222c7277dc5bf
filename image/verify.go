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

// verifiedFiles remembers the digests of files.
type verifiedFiles struct {
	mu    sync.Mutex
	known map[fileVersion]string

	// reading has room for one value, which is there while a file is read: concurrent
	// starts must not all read it.
	reading chan struct{}
}

// fileVersion identifies the content of a file. The ctime is left out: it changes with each
// link of a task.
type fileVersion struct {
	Dev   uint64           `json:"dev"`
	Ino   uint64           `json:"ino"`
	Size  int64            `json:"size"`
	Mtime syscall.Timespec `json:"mtime"`
}

// verifiedInfo is the record of the files of an entry that have been read since the host
// was booted. Reading a large root disk takes longer than starting from it.
type verifiedInfo struct {
	Version int    `json:"version"`
	BootID  string `json:"boot_id"`
	// Files are the versions of the files, and Digests their digests, by name.
	Files   map[string]fileVersion `json:"files"`
	Digests map[string]string      `json:"digests"`
}

func (v *verifiedInfo) version() int { return v.Version }

// verify compares the files of an entry with its record. It reads each file once after a
// boot: a power loss can damage files that no process has written to since. errDamaged: a
// file differs.
func (s *Store) verify(ctx context.Context, key string, want map[string]fileInfo) error {
	versions := map[string]fileVersion{}
	for name, w := range want {
		version, err := versionOf(s.path(entriesDir, key, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("%w: %s is missing", errDamaged, name)
		case err != nil:
			return err
		case version.Size != w.Size:
			return fmt.Errorf("%w: %s has %d bytes instead of %d", errDamaged, name, version.Size, w.Size)
		}
		versions[name] = version
	}
	sums, missing := s.verified.digests(versions)
	if missing {
		var err error
		if sums, err = s.readFiles(ctx, key, versions); err != nil {
			return err
		}
	}
	for name, w := range want {
		if sums[name] != w.Digest {
			return fmt.Errorf("%w: the digest of %s is %s instead of %s", errDamaged, name, sums[name], w.Digest)
		}
	}
	return nil
}

// readFiles returns the digests of an entry's files by name, and makes them known.
func (s *Store) readFiles(ctx context.Context, key string, versions map[string]fileVersion) (map[string]string, error) {
	select {
	case s.verified.reading <- struct{}{}:
		defer func() { <-s.verified.reading }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	s.loadVerified(key)
	sums, missing := s.verified.digests(versions)
	if !missing {
		return sums, nil
	}
	for name, version := range versions {
		if sums[name] != "" {
			continue
		}
		sum, err := fileDigest(ctx, s.path(entriesDir, key, name))
		if err != nil {
			return nil, err
		}
		sums[name] = sum
		s.verified.put(version, sum)
	}
	// Without the record, the next process reads the files again. It cannot be written on a
	// full disk, or while another process writes it.
	_ = saveVerified(s.path(entriesDir, key), versions, sums)
	return sums, nil
}

// loadVerified takes over the digests that another process has computed since the boot.
func (s *Store) loadVerified(key string) {
	var info verifiedInfo
	err := readRecord(s.path(entriesDir, key, verifiedRecord), &info)
	if err != nil || info.BootID == "" || info.BootID != bootID() {
		return // the files are read again
	}
	for name, version := range info.Files {
		s.verified.put(version, info.Digests[name])
	}
}

// saveVerified records the digests of files in the directory of an entry. It does not wait
// for the disk: after a power loss, the record is not needed.
func saveVerified(dir string, versions map[string]fileVersion, digests map[string]string) error {
	info := verifiedInfo{Version: formatVersion, BootID: bootID(), Files: versions, Digests: digests}
	return writeRecordNoSync(filepath.Join(dir, verifiedRecord), info)
}

// bootID identifies the time since the host was booted. It is "" if it cannot be read.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return string(id)
}

// digests returns the known digests by name, and whether any is missing.
func (v *verifiedFiles) digests(versions map[string]fileVersion) (sums map[string]string, missing bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	sums = map[string]string{}
	for name, version := range versions {
		if sums[name] = v.known[version]; sums[name] == "" {
			missing = true
		}
	}
	return sums, missing
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
