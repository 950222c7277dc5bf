// SPDX-License-Identifier: MPL-2.0

// Package kernelfile reads and writes the small files by which the kernel is
// asked and told things, those of /proc and of cgroups. Unlike package os it
// makes no event poll and leaves no garbage but the content, which counts in a
// process that lives as long as a task.
package kernelfile

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// maxSize bounds what is read of a file, in bytes.
const maxSize = 64 << 10

// Read reads a whole file. Its errors are those of os.ReadFile.
func Read(path string) ([]byte, error) {
	fd, err := retry(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	content := make([]byte, 0, 1024)
	for {
		n, err := retry(func() (int, error) { return unix.Read(fd, content[len(content):cap(content)]) })
		if err != nil {
			return nil, &fs.PathError{Op: "read", Path: path, Err: err}
		}
		content = content[:len(content)+n]
		switch {
		case n == 0:
			return content, nil
		case len(content) >= maxSize:
			return nil, &fs.PathError{Op: "read", Path: path, Err: unix.EFBIG}
		case len(content) == cap(content):
			content = append(content, 0)[:len(content)]
		}
	}
}

// Write writes to a file that exists, in one call, as the kernel wants it.
func Write(path, value string) error {
	fd, err := retry(func() (int, error) { return unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	_, err = retry(func() (int, error) { return unix.Write(fd, []byte(value)) })
	_ = unix.Close(fd)
	if err != nil {
		return &fs.PathError{Op: "write " + value + " to", Path: path, Err: err}
	}
	return nil
}

func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
