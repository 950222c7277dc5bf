// SPDX-License-Identifier: MPL-2.0

package image

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

// cached finds a reference in the store. With a digest, it does not use the reference,
// because the same content may have come from another registry. If the store does not know
// the reference, the error is fs.ErrNotExist, or that of a broken record.
func (s *Store) cached(reference, digest string) (resolution, error) {
	if digest != "" {
		if info, err := s.image(digest); err == nil {
			return resolution{image: info, target: digest, known: true}, nil
		}
		reference = digest // of an index, perhaps
	}
	var ref refInfo
	if err := readRecord(s.refPath(reference), &ref); err != nil {
		return resolution{}, err
	}
	if ref.Reference != reference {
		return resolution{}, fmt.Errorf("%w: the record of %s belongs to another reference", errDamaged, reference)
	}
	info, err := s.image(ref.Digest)
	return resolution{image: info, target: ref.Target, asked: ref.Resolved, known: true}, err
}

func (s *Store) refPath(reference string) string { return s.path(refsDir, hexOf(reference)) }

// image reads the record of an image.
func (s *Store) image(digest string) (imageInfo, error) {
	var info imageInfo
	if err := readRecord(s.imagePath(digest), &info); err != nil {
		return imageInfo{}, err
	}
	if info.Digest != digest {
		return imageInfo{}, fmt.Errorf("%w: the record of %s belongs to another image", errDamaged, digest)
	}
	return info, nil
}

// writeImage writes the record of an image, unless it exists. The caller has the store's
// lock.
func (s *Store) writeImage(info imageInfo) error {
	if _, err := s.image(info.Digest); err == nil {
		return nil
	}
	return writeRecord(s.imagePath(info.Digest), info)
}

func (s *Store) imagePath(digest string) string {
	return s.path(imagesDir, strings.ReplaceAll(digest, ":", "-"))
}

// record remembers the source's answer for a reference. It does not record local
// references, because their files belong to allocs.
func (s *Store) record(r Request, found resolution) error {
	ref := refInfo{Version: formatVersion, Target: found.target, Digest: found.image.Digest, Resolved: found.asked}
	var names []string
	if r.Local == nil {
		names = append(names, r.Reference.String())
	}
	if found.target != found.image.Digest {
		names = append(names, found.target)
	}
	s.refs.Lock()
	defer s.refs.Unlock()
	lock, err := s.lockStore(unix.LOCK_SH)
	if err != nil {
		return err
	}
	defer lock.release()
	if err := s.writeImage(found.image); err != nil { // it may be lost while the entry is not
		return fmt.Errorf("record the image: %w", err)
	}
	for _, name := range names {
		ref.Reference = name
		if err := s.writeReference(ref); err != nil {
			return fmt.Errorf("record the reference: %w", err)
		}
	}
	return nil
}

// writeReference writes the record of a reference, unless a later one exists: a pull may
// take longer than the next one of the same tag.
func (s *Store) writeReference(ref refInfo) error {
	var old refInfo
	err := readRecord(s.refPath(ref.Reference), &old)
	switch {
	case err == nil && old.Target == ref.Target && old.Digest == ref.Digest:
		return nil
	case err == nil && old.Resolved.After(ref.Resolved):
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist) && !isBroken(err):
		return err
	}
	return writeRecord(s.refPath(ref.Reference), ref)
}
