// SPDX-License-Identifier: MPL-2.0

package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/atomicfile"
)

// GCOptions select the entries that a garbage collection removes. It always removes damaged
// entries and the remains of ended processes, and never an entry that a task uses.
type GCOptions struct {
	// MaxAge removes entries that have not been used for longer. The end of a task is a
	// use. 0 means no limit.
	MaxAge time.Duration
	// MaxBytes removes the least recently used entries until the others take at most this
	// space on the host's disk. 0 means no limit.
	MaxBytes int64
	// All removes all unused entries.
	All bool
	// DryRun removes nothing, and reports what would be removed.
	DryRun bool
}

// A Removal is an entry that has been removed.
type Removal struct {
	Digest     string   `json:"digest"` // of the manifest; "" for a damaged entry
	Kernel     string   `json:"kernel"` // path in the image
	References []string `json:"references"`
	LastName   string   `json:"last_name"` // see Image
	Bytes      int64    `json:"bytes"`     // on the host's disk
	Reason     string   `json:"reason"`
}

// A GCReport is the result of a garbage collection.
type GCReport struct {
	Removed    []Removal `json:"removed"`
	FreedBytes int64     `json:"freed_bytes"` // on the host's disk
	// KeptBytes is the space of the remaining entries, and UsedBytes of those among them
	// that tasks use.
	KeptBytes int64 `json:"kept_bytes"`
	UsedBytes int64 `json:"used_bytes"`
}

// otherVersionTTL is the time for which an entry that another version of the driver has
// written is kept after its last use. Both versions may share the store.
const otherVersionTTL = 24 * time.Hour

// GC removes images that are not in use. It may run at any time, in several processes.
func (s *Store) GC(ctx context.Context, o GCOptions) (GCReport, error) {
	report, moved, err := s.collect(o)
	for _, m := range moved {
		err = errors.Join(err, m.remove(ctx))
	}
	if !o.DryRun {
		err = errors.Join(err, s.sweepBuilds(ctx), s.sweepLocks())
	}
	if err != nil {
		return report, fmt.Errorf("collect unused images: %w", err)
	}
	return report, nil
}

// movedEntry is an entry that has been moved to builds/, or a directory that was left
// there. This process has its lock.
type movedEntry struct {
	path string
	dir  *os.File
}

// remove deletes the files. If the context ends, a later collection deletes the rest.
func (m movedEntry) remove(ctx context.Context) error {
	if m.dir == nil {
		return nil // it was a file
	}
	defer fileLock{m.dir}.release()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return os.RemoveAll(m.path)
}

// collect moves the unused entries out of entries/, and removes the records without an
// entry. It holds the store's lock, and therefore deletes no large file.
func (s *Store) collect(o GCOptions) (report GCReport, moved []movedEntry, err error) {
	lock, err := s.lockStore(unix.LOCK_EX)
	if err != nil {
		return report, nil, err
	}
	defer lock.release()
	r, err := s.readRecords()
	if err != nil {
		return report, nil, err
	}
	reasons := r.unused(o, time.Now())
	var kept []storedEntry
	for _, e := range r.entries {
		reason, remove := reasons[e.key]
		if remove && !o.DryRun {
			m, err := s.takeEntry(e.key)
			if err != nil {
				return report, moved, err
			}
			if remove = m != nil; remove {
				moved = append(moved, *m)
			}
		}
		if !remove {
			kept = append(kept, e)
			report.keep(e)
			continue
		}
		references, _ := r.references(e.info.Digest)
		report.Removed = append(report.Removed, Removal{
			Digest: e.info.Digest, Kernel: e.Path, References: references, LastName: e.lastName, Bytes: e.Bytes, Reason: reason,
		})
		report.FreedBytes += e.Bytes
	}
	if o.DryRun {
		return report, nil, nil
	}
	return report, moved, s.removeRecords(r, kept, o.All)
}

func (r *GCReport) keep(e storedEntry) {
	r.KeptBytes += e.Bytes
	if e.InUse() {
		r.UsedBytes += e.Bytes
	}
}

// unused returns the entries to remove, with the reason.
func (r *records) unused(o GCOptions, now time.Time) map[string]string {
	reasons := map[string]string{}
	var total int64
	oldestFirst := slices.SortedFunc(slices.Values(r.entries), func(a, b storedEntry) int { return a.LastUsed.Compare(b.LastUsed) })
	for _, e := range oldestFirst {
		total += e.Bytes
		age := now.Sub(e.LastUsed)
		switch {
		case e.InUse():
			continue
		case errors.Is(e.broken, errVersion):
			if o.All || age > otherVersionTTL {
				reasons[e.key] = e.broken.Error()
			}
		case e.broken != nil:
			reasons[e.key] = e.broken.Error()
		case o.All:
			reasons[e.key] = "unused"
		case o.MaxAge > 0 && age > o.MaxAge:
			reasons[e.key] = fmt.Sprintf("unused for %v", age.Round(time.Second))
		}
		if reasons[e.key] != "" {
			total -= e.Bytes
		}
	}
	for _, e := range oldestFirst {
		if o.MaxBytes <= 0 || total <= o.MaxBytes {
			break
		}
		if reasons[e.key] == "" && !e.InUse() {
			reasons[e.key] = fmt.Sprintf("the images exceed %d MiB", o.MaxBytes>>20)
			total -= e.Bytes
		}
	}
	return reasons
}

// takeEntry moves an entry to builds/ and locks it. It returns nil if a start or a task uses
// it. The caller has the store's exclusive lock, which starts do not need.
func (s *Store) takeEntry(key string) (*movedEntry, error) {
	path := s.path(entriesDir, key)
	dir, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if isNoDirectory(err) {
		return &movedEntry{}, os.Remove(path)
	}
	if err != nil {
		return nil, err
	}
	unused, err := tryFlock(dir, unix.LOCK_EX)
	if err != nil || !unused || hasLinks(filepath.Join(path, kernelName)) {
		fileLock{dir}.release()
		return nil, err
	}
	place, err := s.moveToBuilds(key)
	if err != nil {
		fileLock{dir}.release()
		return nil, err
	}
	return &movedEntry{path: place, dir: dir}, nil
}

// hasLinks reports whether a task has a link to a kernel.
func hasLinks(path string) bool {
	info, err := os.Lstat(path)
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode().IsRegular() && stat.Nlink > 1
}

// removeRecords removes the records of images without an entry, of references without an
// image, and records that cannot be read. With all, it also removes new records of another
// version of the driver. The caller has the store's exclusive lock.
func (s *Store) removeRecords(r *records, entries []storedEntry, all bool) error {
	keep := map[string]bool{}
	digests := map[string]bool{}
	for _, e := range entries {
		if info, ok := r.images[e.info.Digest]; ok {
			digests[info.Digest] = true
			keep[s.imagePath(info.Digest)] = true
		}
	}
	for _, ref := range r.refs {
		if digests[ref.Digest] {
			keep[s.refPath(ref.Reference)] = true
		}
	}
	for _, dir := range []string{imagesDir, refsDir} {
		err := s.eachName(dir, func(name string) error {
			path := s.path(dir, name)
			if keep[path] || !all && isOtherVersion(path) {
				return nil
			}
			return os.RemoveAll(path)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// isOtherVersion reports whether another version of the driver has lately written a record.
func isOtherVersion(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || strings.HasSuffix(path, atomicfile.TemporarySuffix) || time.Since(info.ModTime()) > otherVersionTTL {
		return false
	}
	return errors.Is(readRecord(path, &anyInfo{}), errVersion)
}

// sweepBuilds removes the directories of processes that have ended.
func (s *Store) sweepBuilds(ctx context.Context) error {
	abandoned, err := s.abandonedBuilds()
	for _, m := range abandoned {
		err = errors.Join(err, m.remove(ctx))
	}
	return err
}

// abandonedBuilds locks the directories in builds/ that have no lock.
func (s *Store) abandonedBuilds() ([]movedEntry, error) {
	lock, err := s.lockStore(unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer lock.release()
	var abandoned []movedEntry
	err = s.eachName(buildsDir, func(name string) error {
		path := s.path(buildsDir, name)
		dir, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		switch {
		case errors.Is(err, fs.ErrNotExist): // another collection has removed it
			return nil
		case isNoDirectory(err):
			return os.Remove(path)
		case err != nil:
			return err
		}
		unused, err := tryFlock(dir, unix.LOCK_EX)
		if err != nil || !unused {
			dir.Close()
			return err
		}
		abandoned = append(abandoned, movedEntry{path, dir})
		return nil
	})
	return abandoned, err
}

// sweepLocks removes the files of locks whose holders have ended.
func (s *Store) sweepLocks() error {
	return s.eachName(locksDir, func(name string) error {
		path := s.path(locksDir, name)
		lock, err := tryLockPath(path)
		if err != nil || lock == nil {
			return err
		}
		defer lock.release()
		return os.Remove(path)
	})
}
