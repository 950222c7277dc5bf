// SPDX-License-Identifier: MPL-2.0

// Package safeopen opens files at paths that untrusted parties can change. Opening a
// device node can reset a device or start a watchdog, and opening a FIFO can wake a
// writer. The functions therefore locate a file first (O_PATH), check its type, and only
// then open it, through the same descriptor.
package safeopen

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/eintr"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/procfd"
)

// ErrType is returned for a file of a type that the caller does not accept. The file has
// not been opened.
var ErrType = errors.New("unsupported file type")

// Types is a set of file types that a caller accepts.
type Types uint

// The types of a set.
const (
	Regular Types = 1 << iota
	Directory
	BlockDevice
)

// maxRetries limits the attempts to locate a file below a directory while directories on
// its path are renamed.
const maxRetries = 32

// Open opens a file of an accepted type. Its flag is that of os.OpenFile, without
// os.O_CREATE. With unix.O_NOFOLLOW, a symlink as the last element of the path is ErrType.
func Open(path string, flag int, accept Types) (*os.File, error) {
	located, err := Locate(path, flag)
	if err != nil {
		return nil, err
	}
	defer located.Close()
	return Reopen(located, flag, accept)
}

// OpenBelow is Open for a path below a directory. It follows no absolute symlink, and no
// symlink that leads out of the directory. dir may be an O_PATH descriptor.
func OpenBelow(dir *os.File, name string, flag int, accept Types) (*os.File, error) {
	located, err := LocateBelow(dir, name, flag)
	if err != nil {
		return nil, err
	}
	defer located.Close()
	return Reopen(located, flag, accept)
}

// Locate returns a descriptor (O_PATH) of a file of any type, without opening the file.
// Of the flag only unix.O_NOFOLLOW counts: it locates a symlink itself.
func Locate(path string, flag int) (*os.File, error) {
	fd, err := eintr.Retry(func() (int, error) {
		return unix.Open(path, unix.O_PATH|unix.O_CLOEXEC|flag&unix.O_NOFOLLOW, 0)
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// LocateBelow is Locate for a path below a directory, with the rules of OpenBelow.
func LocateBelow(dir *os.File, name string, flag int) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   uint64(unix.O_PATH | unix.O_CLOEXEC | flag&unix.O_NOFOLLOW),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	}
	path := filepath.Join(dir.Name(), name)
	for range maxRetries {
		fd, err := unix.Openat2(int(dir.Fd()), name, &how)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), path), nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			// EAGAIN: a rename raced with a ".." of a symlink.
		case errors.Is(err, unix.EXDEV):
			return nil, &fs.PathError{Op: "open", Path: path, Err: errors.New("a symbolic link or .. in the path leads out of the directory")}
		case errors.Is(err, unix.ENOSYS):
			return nil, &fs.PathError{Op: "open", Path: path, Err: fmt.Errorf("openat2: %w: Linux 5.6 or later is required", err)}
		default:
			return nil, &fs.PathError{Op: "open", Path: path, Err: err}
		}
	}
	return nil, &fs.PathError{Op: "open", Path: path, Err: errors.New("a directory on the path was renamed again and again")}
}

// Reopen opens the file of a descriptor, usually of Locate, if it is of an accepted type.
// The new file has the same name as the located one.
func Reopen(located *os.File, flag int, accept Types) (*os.File, error) {
	if err := accept.Check(located); err != nil {
		return nil, err
	}
	// Without O_NONBLOCK, the open would wait for a process that has a lease on the file.
	flag = flag&^unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC | unix.O_NOCTTY
	fd, err := eintr.Retry(func() (int, error) { return unix.Open(procfd.SelfPath(located), flag, 0) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: located.Name(), Err: err}
	}
	return os.NewFile(uintptr(fd), located.Name()), nil
}

// Check returns ErrType for the descriptor of a file of another type.
func (t Types) Check(located *os.File) error {
	info, err := located.Stat()
	if err != nil {
		return err
	}
	if t.has(info.Mode()) {
		return nil
	}
	return &fs.PathError{
		Op: "open", Path: located.Name(),
		Err: fmt.Errorf("%w: it is a %s, not a %s", ErrType, typeName(info.Mode()), t),
	}
}

func (t Types) has(mode fs.FileMode) bool {
	return t&Regular != 0 && mode.IsRegular() || t&Directory != 0 && mode.IsDir() ||
		t&BlockDevice != 0 && mode.Type() == fs.ModeDevice
}

// String returns the types as in "regular file or directory".
func (t Types) String() string {
	var names []string
	if t&Regular != 0 {
		names = append(names, typeName(0))
	}
	if t&Directory != 0 {
		names = append(names, typeName(fs.ModeDir))
	}
	if t&BlockDevice != 0 {
		names = append(names, typeName(fs.ModeDevice))
	}
	return strings.Join(names, " or ")
}

func typeName(mode fs.FileMode) string {
	switch mode.Type() {
	case 0:
		return "regular file"
	case fs.ModeDir:
		return "directory"
	case fs.ModeSymlink:
		return "symbolic link"
	case fs.ModeNamedPipe:
		return "FIFO"
	case fs.ModeSocket:
		return "socket"
	case fs.ModeDevice:
		return "block device"
	case fs.ModeDevice | fs.ModeCharDevice:
		return "character device"
	}
	return "file of type " + mode.Type().String()
}
