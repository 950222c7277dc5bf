// SPDX-License-Identifier: MPL-2.0

package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Remove removes the image with a reference, a digest, or the first digits of a digest, as
// Inspect finds it. If it is given one of several references, it removes only the reference.
//
// ErrNoImage: it does not exist. ErrInUse: tasks use the image; nothing is removed.
func (s *Store) Remove(ctx context.Context, name string) (Removal, error) {
	removal, moved, err := s.take(name)
	for _, m := range moved {
		err = errors.Join(err, m.remove(ctx))
	}
	return removal, err
}

// take moves the entries of an image to builds/, and removes its records.
func (s *Store) take(name string) (Removal, []movedEntry, error) {
	lock, err := s.lockStore(unix.LOCK_EX)
	if err != nil {
		return Removal{}, nil, err
	}
	defer lock.release()
	r, err := s.readRecords()
	if err != nil {
		return Removal{}, nil, err
	}
	found, reference, err := find(r.list(), name)
	if err != nil {
		return Removal{}, nil, err
	}
	if reference != "" && len(found.References) > 1 {
		removal := Removal{Digest: found.Digest, References: []string{reference}, Reason: "the image has other references"}
		return removal, nil, os.Remove(s.refPath(reference))
	}
	if err := found.checkUnused(); err != nil {
		return Removal{}, nil, err
	}
	removal := Removal{Digest: found.Digest, References: found.References, LastName: found.LastName, Bytes: found.Bytes, Reason: "requested"}
	var moved []movedEntry
	var kept []storedEntry
	for _, e := range r.entries {
		if e.info.Digest != found.Digest {
			kept = append(kept, e)
			continue
		}
		m, err := s.takeEntry(e.key)
		switch {
		case err != nil:
			return removal, moved, err
		case m == nil:
			return removal, moved, fmt.Errorf("%w: a task is about to use it", ErrInUse)
		}
		moved = append(moved, *m)
	}
	return removal, moved, s.removeRecords(r, kept, false)
}

// checkUnused returns ErrInUse with the number of the image's users.
func (i *Image) checkUnused() error {
	tasks, starting := 0, 0
	for _, k := range i.Kernels {
		tasks += k.Tasks
		if k.Starting {
			starting++
		}
	}
	var users []string
	if tasks > 0 {
		users = append(users, fmt.Sprintf("%d running", tasks))
	}
	if starting > 0 {
		users = append(users, "at least 1 starting")
	}
	if users == nil {
		return nil
	}
	return fmt.Errorf("%w: tasks that use %s: %s: stop them first", ErrInUse, i.Digest, strings.Join(users, ", "))
}
