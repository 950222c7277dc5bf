// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// A spool stores the contents of an archive's files until the image's size is known. It
// is one file without a name, so that nothing in an archive becomes a path of the host, and
// that nothing remains if the plugin is killed. Zeros take no space.
type spool struct {
	*os.File
	end    int64 // offset behind the last file
	blocks int64 // with data
	limits *spoolLimits
	buffer []byte
}

// spoolLimits bound a spool and the layers whose contents it stores.
type spoolLimits struct {
	blocks   int64 // with data at any time
	unpacked int64 // bytes that all layers may still unpack to
	stored   int64 // bytes of contents that may still be stored: sparse entries unpack to more
	err      error // the error for more
}

// Layers may unpack to more than the limit of an image, because it does not count zeros,
// headers, and files that a later layer removes.
const (
	unpackFactor = 4
	unpackExtra  = 256 << 20 // bytes
)

// spoolBuffer is the size in bytes of the parts in which content is read. It is a multiple
// of BlockSize.
const spoolBuffer = 256 << 10

// newSpool returns an empty spool in a directory. It may store as much as the image.
func newSpool(dir string, o BuildOptions) (*spool, error) {
	f, err := newUnnamedFile(dir)
	if err != nil {
		return nil, fmt.Errorf("create a file for the contents of an image: %w", err)
	}
	return &spool{File: f, limits: newSpoolLimits(o), buffer: make([]byte, spoolBuffer)}, nil
}

func newSpoolLimits(o BuildOptions) *spoolLimits {
	l := &spoolLimits{blocks: maxBlocks, err: ErrNoSpace}
	if o.Size > 0 {
		l.blocks = o.Size / BlockSize
	}
	if o.Max > 0 && o.Max/BlockSize < l.blocks {
		l.blocks, l.err = o.Max/BlockSize, fmt.Errorf("%w: its content has over %d MiB", ErrTooLarge, o.Max>>20)
	}
	l.unpacked = unpackFactor*l.blocks*BlockSize + unpackExtra
	l.stored = l.unpacked
	return l
}

// errUnpacked returns the error for layers that unpack to too many bytes.
func (l *spoolLimits) errUnpacked() error {
	return fmt.Errorf("%w (with zeros and replaced files, over %d MiB)",
		l.err, (unpackFactor*l.blocks*BlockSize+unpackExtra)>>20)
}

// store appends a file's content.
func (s *spool) store(body io.Reader) (fileData, error) {
	d := fileData{offset: s.end}
	nextBlock := int64(-1) // the block behind the last one with data
	for {
		n, err := readFull(body, s.buffer)
		if s.limits.stored -= int64(n); s.limits.stored < 0 {
			return d, s.limits.errUnpacked()
		}
		for data := range nonzeroRuns(s.buffer[:n]) {
			first, blocks := (d.size+data.from)/BlockSize, divideUp(data.to-data.from, BlockSize)
			if first != nextBlock {
				d.extents++
			}
			nextBlock = first + blocks
			d.blocks += blocks
			if err := s.write(s.buffer[data.from:data.to], s.end+d.size+data.from, blocks); err != nil {
				return d, err
			}
		}
		d.size += int64(n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return d, err
		}
	}
	s.end += divideUp(d.size, BlockSize) * BlockSize
	return d, nil
}

// readFull is io.ReadFull, which returns the errors of the reader unchanged: archive/tar
// reports a truncated archive as io.ErrUnexpectedEOF.
func readFull(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var read int
		read, err = r.Read(p[n:])
		n += read
	}
	return n, err
}

func (s *spool) write(p []byte, at, blocks int64) error {
	if s.blocks += blocks; s.blocks > s.limits.blocks {
		return s.limits.err
	}
	if err := checkFreeSpace(s.File, int64(len(p))); err != nil {
		return err
	}
	_, err := s.WriteAt(p, at)
	return err
}

// copyTo writes a file's content to an empty file and frees its space in the spool.
func (s *spool) copyTo(ctx context.Context, dst *os.File, _ string, d *fileData) error {
	if err := copyData(ctx, dst, s.File, d); err != nil {
		return err
	}
	s.free(d)
	return nil
}

// free frees a file's space where the file system supports that. Elsewhere, the space is
// free when the spool is closed.
func (s *spool) free(d *fileData) {
	s.blocks -= d.blocks
	if d.blocks > 0 {
		const mode = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
		_ = unix.Fallocate(int(s.Fd()), mode, d.offset, divideUp(d.size, BlockSize)*BlockSize)
	}
}
