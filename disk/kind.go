// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"archive/tar"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/safeopen"
)

// Kind is the kind of file that a root disk is made from.
type Kind int

// The kinds.
const (
	Directory Kind = iota + 1
	Tar
	Ext4
)

func (k Kind) String() string {
	switch k {
	case Directory:
		return "directory"
	case Tar:
		return "tar"
	case Ext4:
		return "ext4"
	}
	return "unknown"
}

// KindOf returns the kind of the file at a path. It depends on the file's content, not on
// its name. ErrKind: no root disk can be made from the file.
func KindOf(path string) (Kind, error) {
	f, err := safeopen.Open(path, os.O_RDONLY, safeopen.Regular|safeopen.Directory)
	if errors.Is(err, safeopen.ErrType) {
		return 0, fmt.Errorf("%s is %w", path, ErrKind)
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	switch {
	case info.IsDir():
		return Directory, nil
	case hasExtMagic(f):
		return Ext4, nil
	case isTar(f):
		return Tar, nil
	}
	return 0, fmt.Errorf("%s is %w", path, ErrKind)
}

func hasExtMagic(r io.ReaderAt) bool {
	magic := make([]byte, 2)
	_, err := r.ReadAt(magic, superblockOffset+magicOffset)
	return err == nil && binary.LittleEndian.Uint16(magic) == extMagic
}

// isTar reports whether archive/tar can read a first header. It accepts the formats ustar,
// pax and GNU, and the V7 format, which has no magic, by its checksum.
func isTar(f io.ReadSeeker) bool {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return false
	}
	stream, err := decompress(&sourceReader{r: f}, newSpoolLimits(BuildOptions{}))
	if err != nil {
		return false
	}
	defer stream.Close()
	_, err = tar.NewReader(stream).Next()
	return err == nil
}
