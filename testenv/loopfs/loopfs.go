// SPDX-License-Identifier: MPL-2.0

// Package loopfs makes file systems in files, for tests and benchmarks that depend on the
// kind of file system. It needs root and loop devices.
package loopfs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// A FileSystem is mounted at no path. It vanishes with the descriptors of the process that
// made it.
type FileSystem struct {
	root, device *os.File
}

// Formats are the commands that make a file system in a file.
var (
	XFS  = []string{"mkfs.xfs", "-q", "-m", "reflink=1"} // files can share blocks
	Ext4 = []string{"mke2fs", "-q", "-F", "-t", "ext4"}  // files cannot share blocks
)

// kinds are the names that the kernel has for the file systems.
var kinds = map[string]string{"mkfs.xfs": "xfs", "mke2fs": "ext4"}

// New makes a file system of a format in a new sparse file.
func New(format []string, file string, size int64) (_ *FileSystem, err error) {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return nil, err
	}
	cmd := exec.Command(format[0], append(format[1:len(format):len(format)], file)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", format[0], err, out)
	}
	device, err := attach(f)
	if err != nil {
		return nil, fmt.Errorf("attach a loop device: %w", err)
	}
	root, err := Mount(kinds[format[0]], [2]string{"source", device.Name()})
	if err != nil {
		device.Close()
		return nil, fmt.Errorf("mount %s: %w", device.Name(), err)
	}
	return &FileSystem{root: root, device: device}, nil
}

// Path returns a path of the root directory, which all processes can use while this
// process runs.
func (f *FileSystem) Path() string { return Path(f.root) }

// Path returns a path of an open directory, which all processes can use while this process
// runs.
func Path(dir *os.File) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), dir.Fd()) }

// Close removes the file system.
func (f *FileSystem) Close() error { return errors.Join(f.root.Close(), f.device.Close()) }

// attach makes a file a block device until the last user closes the device.
func attach(backing *os.File) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	for {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, err
		}
		device, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		err = unix.IoctlLoopConfigure(int(device.Fd()), &unix.LoopConfig{
			Fd: uint32(backing.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR},
		})
		if err == nil {
			return device, nil
		}
		device.Close()
		if !errors.Is(err, unix.EBUSY) { // another process took the device
			return nil, err
		}
	}
}

// Mount creates a file system with options, and mounts it at no path. It returns the root.
func Mount(kind string, options ...[2]string) (*os.File, error) {
	fs, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fs)
	for _, option := range options {
		if err := unix.FsconfigSetString(fs, option[0], option[1]); err != nil {
			return nil, err
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, err
	}
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(mount), "/"), nil
}
