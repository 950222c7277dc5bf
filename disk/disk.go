// SPDX-License-Identifier: MPL-2.0

// Package disk makes, fills, reads and grows the ext4 images that guests have
// for a root file system. All of it is the work of e2fsprogs on plain files: no
// mount, no loop device, no root.
//
// An image that came from somewhere else is untrusted: only e2fsprogs parses it,
// in processes of their own with a clean environment, with bounded output, and
// for as long as the context lets them.
package disk

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

var (
	// ErrKind: the path is none of the kinds that a root file system comes from.
	ErrKind = errors.New("neither a directory, a tar archive (plain or gzip) nor an ext4 image")
	// ErrNoSpace: the content does not fit in the image. If it is the file system of
	// the host that is full, the error is syscall.ENOSPC or EDQUOT instead.
	ErrNoSpace = errors.New("no space left in the image")
	// ErrName: debugfs cannot be given such a path or link.
	ErrName = errors.New("name cannot be put into an image")
	// ErrDamaged: the image is not a sound ext4 file system.
	ErrDamaged = errors.New("the ext4 image is damaged")
	// ErrArchive: the tar archive holds something that no image can or may hold.
	ErrArchive = errors.New("tar archive refused")
)

// BlockSize is that of every image made here, in bytes. mke2fs's own choice for
// small images, 1024, cannot be mounted by a guest whose disk has sectors of
// 4096 bytes; blocks of 4096 work with sectors of 512 and of 4096.
const BlockSize = 4096

// Source is what a path holds, judged by its content.
type Source int

// The sources of a root file system.
const (
	Directory Source = iota + 1
	Tar
	Ext4
)

func (s Source) String() string {
	switch s {
	case Directory:
		return "directory"
	case Tar:
		return "tar"
	case Ext4:
		return "ext4"
	}
	return "unknown"
}

// Kind says what path holds. The error is ErrKind where that is nothing that an
// image can be made of; a file's name does not matter.
func Kind(path string) (Source, error) {
	f, err := os.Open(path)
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
	case !info.Mode().IsRegular():
		return 0, fmt.Errorf("%s is %w", path, ErrKind)
	}
	if isExt(f) {
		return Ext4, nil
	}
	if isTar(f) {
		return Tar, nil
	}
	return 0, fmt.Errorf("%s is %w", path, ErrKind)
}

func isExt(r io.ReaderAt) bool {
	magic := make([]byte, 2)
	_, err := r.ReadAt(magic, superblockOffset+magicOffset)
	return err == nil && binary.LittleEndian.Uint16(magic) == extMagic
}

// An archive is what archive/tar finds a first header in: that covers ustar, pax,
// GNU and, by its checksum, the format before them.
func isTar(f io.ReadSeeker) bool {
	archive, err := openTar(f)
	if err != nil {
		return false
	}
	_, err = archive.Next()
	return err == nil
}

func openTar(f io.ReadSeeker) (*tar.Reader, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	buffered := bufio.NewReaderSize(f, 1<<16)
	if magic, _ := buffered.Peek(2); len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		plain, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, err
		}
		return tar.NewReader(plain), nil
	}
	return tar.NewReader(buffered), nil
}
