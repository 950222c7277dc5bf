// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/eintr"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/safeopen"
)

// Each version of the plugin has its own executor, bin/<digest>/lkl-executor, and its own
// file server, bin/<digest>/lkl-files. Other plugins, of other versions, may use the same
// state directory. A plugin holds a shared lock on the files of its programs while it lives.
// A sweep removes a file only with an exclusive lock. An installation locks the directory;
// see package atomicfile.
//
// A running program does not need its file: the kernel keeps the file's content, and
// RecoverTask connects to the executor's socket. The sweep keeps the file nevertheless, so
// that /proc/PID/exe names it. Plugins from before the locks install their executor again
// when it is missing.

// unusedExecutorTTL is the minimum age of a program's file that a sweep removes. It
// keeps plugins from before the locks from installing theirs after each sweep.
const unusedExecutorTTL = time.Hour

// executorDigest is the name of a program's directory.
var executorDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)

// An installedProgram is a program that a plugin has installed and uses.
type installedProgram struct {
	path string
	pin  *os.File // keeps other plugins from removing it
}

// installedProgram returns the path of a program. It installs the program if it is not
// there.
func (d *Driver) installedProgram(name string) (string, error) {
	d.installing.Lock()
	defer d.installing.Unlock()
	old, ok := d.programs[name]
	if ok && isSameFile(old.pin, old.path) {
		return old.path, nil
	}
	if err := makeStateDir(d.config.StateDir); err != nil {
		return "", err
	}
	p, err := installPinned(d.config.StateDir, name, d.install)
	if err != nil {
		return "", err
	}
	if ok {
		old.pin.Close()
	}
	d.programs[name] = p
	return p.path, nil
}

// openFileServer opens the program of the file server, for executor.FilesPlan.
func (d *Driver) openFileServer() (*os.File, error) {
	path, err := d.installedProgram(files.Program)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the file server: %w", err)
	}
	return f, nil
}

// installPinned installs a program and pins it. It repeats that if the sweep of another
// plugin removes the old file at the same time. The new file is too young for a sweep.
func installPinned(stateDir, name string, install Installer) (p installedProgram, err error) {
	const attempts = 3
	for range attempts {
		if p.path, err = install(stateDir, name); err == nil {
			p.path = filepath.Clean(p.path)
			p.pin, err = pinProgram(p.path)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return p, err
}

// pinProgram keeps the sweeps of other plugins from removing a program, until the
// returned file is closed. It returns fs.ErrNotExist if the program has been removed.
func pinProgram(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err == nil {
		err = lock(f, unix.LOCK_SH)
	}
	if err == nil && !isSameFile(f, path) {
		err = &fs.PathError{Op: "find", Path: path, Err: fs.ErrNotExist}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("pin %s: %w", filepath.Base(path), err)
	}
	return f, nil
}

// isSameFile reports whether the path still leads to an open file.
func isSameFile(f *os.File, path string) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	current, err := os.Stat(path)
	return err == nil && os.SameFile(opened, current)
}

// lock locks a file by flock(2).
func lock(f *os.File, how int) error {
	_, err := eintr.Retry(func() (int, error) { return 0, unix.Flock(int(f.Fd()), how) })
	if err != nil {
		return &fs.PathError{Op: "flock", Path: f.Name(), Err: err}
	}
	return nil
}

// sweepExecutors removes the executors and file servers that no plugin has pinned, that no process runs and
// whose files are older than the given time.
func sweepExecutors(stateDir string, olderThan time.Time) error {
	entries, err := os.ReadDir(executorsDir(stateDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list the installed programs: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if !e.IsDir() || !executorDigest.MatchString(e.Name()) {
			continue // not made by a plugin
		}
		err := sweepExecutor(filepath.Join(executorsDir(stateDir), e.Name()), olderThan)
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove an unused program: %w", err))
		}
	}
	return errors.Join(errs...)
}

// sweepExecutor removes the directory of one program if nothing uses it. It returns
// unix.EWOULDBLOCK if a plugin has locked it.
func sweepExecutor(path string, olderThan time.Time) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := lock(dir, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return err
	}
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := removeUnused(filepath.Join(path, name), olderThan); err != nil {
			return err
		}
	}
	if info, err := dir.Stat(); err != nil || len(names) == 0 && info.ModTime().After(olderThan) {
		return err // an installation is about to lock the directory
	}
	return os.Remove(path)
}

// removeUnused removes a file of a program's directory: the program, or the incomplete
// file of an installation. It returns unix.EWOULDBLOCK if the file is in use or new.
func removeUnused(path string, olderThan time.Time) error {
	f, err := safeopen.Open(path, os.O_RDONLY, safeopen.Regular)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := lock(f, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.ModTime().After(olderThan) || isRunning(info) {
		return unix.EWOULDBLOCK
	}
	return os.Remove(path)
}

// isRunning reports whether a process runs the program.
func isRunning(program fs.FileInfo) bool {
	running, _ := filepath.Glob("/proc/[0-9]*/exe") // the pattern is valid
	return slices.ContainsFunc(running, func(path string) bool {
		info, err := os.Stat(path)
		return err == nil && os.SameFile(info, program)
	})
}
