// SPDX-License-Identifier: MPL-2.0

// Package kernelfile reads and writes small files of /proc and of cgroups. Unlike
// package os, it does not start the runtime's poller, and allocates little more
// than the content. That saves memory in the executor.
package kernelfile

import (
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/eintr"
)

// maxSize is the size limit of a file in bytes.
const maxSize = 64 << 10

// Read reads a whole file. Its errors are those of os.ReadFile.
func Read(path string) ([]byte, error) {
	fd, err := eintr.Retry(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	content, err := ReadOpen(fd)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return content, nil
}

// ReadOpen reads a whole open file from its beginning.
func ReadOpen(fd int) ([]byte, error) {
	content := make([]byte, 0, 1024)
	for {
		n, err := eintr.Retry(func() (int, error) {
			return unix.Pread(fd, content[len(content):cap(content)], int64(len(content)))
		})
		if err != nil {
			return nil, err
		}
		content = content[:len(content)+n]
		switch {
		case n == 0:
			return content, nil
		case len(content) >= maxSize:
			return nil, unix.EFBIG
		case len(content) == cap(content):
			content = append(content, 0)[:len(content)]
		}
	}
}

// Write writes to an existing file in a single call, as the kernel requires.
func Write(path, value string) error {
	fd, err := eintr.Retry(func() (int, error) { return unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	_, err = eintr.Retry(func() (int, error) { return unix.Write(fd, []byte(value)) })
	_ = unix.Close(fd)
	if err != nil {
		return &fs.PathError{Op: "write " + value + " to", Path: path, Err: err}
	}
	return nil
}
