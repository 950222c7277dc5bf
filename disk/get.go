// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// The largest file that Get takes out of an image, in bytes.
const largestGet = 64 << 20

// Get takes a regular file out of an image; a symlink at the end of path is not
// followed. fs.ErrNotExist: there is none. Files over 64 MiB are refused.
func Get(ctx context.Context, image, path string) ([]byte, error) {
	img, err := openImage(image, os.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("get %s from an image: %w", path, err)
	}
	defer img.Close()
	s, err := openSession(ctx, img.File, false)
	if err != nil {
		return nil, fmt.Errorf("get %s from %s: %w", path, image, err)
	}
	defer s.kill()
	content, err := s.get(path)
	if err != nil {
		return nil, fmt.Errorf("get %s from %s: %w", path, image, err)
	}
	return content, nil
}

// get reads what debugfs dumps into a pipe, as much as the inode announces and no
// more, since a damaged file may be endless.
func (s *session) get(path string) ([]byte, error) {
	found, err := s.look(path)
	if err != nil {
		return nil, err
	}
	if !found.is(typeRegular) {
		return nil, errors.New("not a regular file")
	}
	if found.size < 0 || found.size > largestGet {
		return nil, fmt.Errorf("%d bytes are too many, at most %d", found.size, largestGet)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	defer w.Close()
	type result struct {
		content []byte
		err     error
	}
	read := make(chan result, 1)
	go func() {
		content, err := io.ReadAll(io.LimitReader(r, found.size+1))
		if int64(len(content)) > found.size {
			r.Close() // ends debugfs by SIGPIPE
		}
		read <- result{content, err}
	}()
	err = s.run("dump", path, descriptorPath(w))
	w.Close()
	got := <-read
	if err = errors.Join(err, got.err); err != nil {
		return nil, err
	}
	if int64(len(got.content)) != found.size {
		return nil, fmt.Errorf("%d bytes instead of %d: %w", len(got.content), found.size, ErrDamaged)
	}
	return got.content, s.close()
}
