// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/executor"
)

// inUseError returns the error for a disk that another process has locked. It names the task
// if the task's guest runs and has the same state directory.
func (d *Driver) inUseError(f *os.File) error {
	const advice = "stop that task, or set read_only in the disk blocks of both"
	if r, ok := d.diskUser(f); ok {
		return fmt.Errorf("%w by the task %q of the alloc %s: %s", disk.ErrInUse, r.Name, r.AllocID, advice)
	}
	return fmt.Errorf("%w by another process (lslocks on the client lists it): %s", disk.ErrInUse, advice)
}

// diskUser returns the record of the task whose guest has a file open.
func (d *Driver) diskUser(f *os.File) (record, bool) {
	info, err := f.Stat()
	if err != nil {
		return record{}, false
	}
	records, err := readRecords(d.config.StateDir)
	if err != nil {
		return record{}, false
	}
	for dir, r := range records {
		if id, err := executor.ReadIdentity(dir); err == nil && id.Guest.Alive() && hasOpen(id.Guest.Pid, info) {
			return r, true
		}
	}
	return record{}, false
}

// hasOpen reports whether a process has a file open.
func hasOpen(pid int, file os.FileInfo) bool {
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return false
	}
	for _, link := range links {
		if info, err := os.Stat(link); err == nil && os.SameFile(info, file) {
			return true
		}
	}
	return false
}

// diskAdvice adds the remedy to an error of package disk about a disk that outlives its task.
func diskAdvice(err error, name string) error {
	switch {
	case errors.Is(err, disk.ErrReserve):
		return fmt.Errorf("%w: remove files from the file system of the disk, or use a smaller size", err)
	case errors.Is(err, disk.ErrNoSpace):
		return fmt.Errorf("%w: set a larger size", err)
	case errors.Is(err, disk.ErrDamaged), errors.Is(err, disk.ErrErrors):
		return fmt.Errorf("%w: repair %s on the client with e2fsck -f, preferably on a copy", err, name)
	}
	return withDiskAdvice(err, name)
}
