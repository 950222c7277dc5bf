// SPDX-License-Identifier: MPL-2.0

// Package memfd creates anonymous files in memory (memfd_create(2)). Such a file is
// on no disk, so that it can hold secrets, and disappears with its last descriptor.
package memfd

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// New returns a file in memory with this content. Its descriptor is close-on-exec,
// and its offset is at the end. The name is visible in /proc/PID/fd only.
func New(name string, content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	return fill(fd, err, name, content)
}

// NewExecutable is New for a file that can be executed or mapped as code.
func NewExecutable(name string, content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // Linux before 6.3: every memfd is executable
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	}
	if errors.Is(err, unix.EACCES) {
		err = fmt.Errorf("%w: set the sysctl vm.memfd_noexec to 0 or 1", err)
	}
	return fill(fd, err, name, content)
}

func fill(fd int, err error, name string, content []byte) (*os.File, error) {
	if err != nil {
		return nil, fmt.Errorf("create memory file %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(content); err != nil {
		f.Close()
		return nil, fmt.Errorf("write memory file %s: %w", name, err)
	}
	return f, nil
}
