// SPDX-License-Identifier: MPL-2.0

package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/procfd"
)

// WriteWith is Write for a file that write creates piece by piece. If write fails, the old
// file stays. Until the content is complete, the new file has no name where the file system
// supports that, so that a killed process leaves nothing behind. Elsewhere it has a
// temporary name that begins with ".lkl-".
func WriteWith(path string, perm fs.FileMode, write func(io.Writer) error) (err error) {
	f, temporary, err := newUnnamed(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		f.Close()
		if temporary != "" {
			os.Remove(temporary)
		}
	}()
	err = write(f)
	if err == nil {
		err = errors.Join(f.Chmod(perm.Perm()), f.Sync())
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	dirFD, err := LockDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(dirFD) }()
	name := filepath.Base(path)
	if err := unix.Unlinkat(dirFD, name+TemporarySuffix, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("write %s: remove %s: %w", path, name+TemporarySuffix, err)
	}
	source := procfd.SelfPath(f)
	if err := unix.Linkat(unix.AT_FDCWD, source, dirFD, name+TemporarySuffix, unix.AT_SYMLINK_FOLLOW); err != nil {
		return fmt.Errorf("write %s: link: %w", path, err)
	}
	return rename(dirFD, name, true)
}

// newUnnamed creates a file in a directory. The temporary name is "" if the file has no
// name.
func newUnnamed(dir string) (f *os.File, temporary string, err error) {
	if fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600); err == nil {
		return os.NewFile(uintptr(fd), filepath.Join(dir, "unnamed")), "", nil
	}
	f, err = os.CreateTemp(dir, ".lkl-*")
	if err != nil {
		return nil, "", err
	}
	return f, f.Name(), nil
}
