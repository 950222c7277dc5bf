// SPDX-License-Identifier: MPL-2.0

package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestWrite_ReplacesTheWholeFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, content := range []string{strings.Repeat("x", 5000), "y", ""} {
		must.NoError(t, Write(path, []byte(content), 0o640))
		got, err := os.ReadFile(path)
		must.NoError(t, err)
		must.Eq(t, content, string(got))
		must.Eq(t, []string{"file"}, names(t, filepath.Dir(path)))
	}
}

func TestWrite_SetsThePermissionsWhateverTheUmask(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	must.NoError(t, os.WriteFile(path+TemporarySuffix, []byte("left by a killed writer"), 0o600))
	must.NoError(t, Write(path, []byte("a"), 0o777))
	info, err := os.Stat(path)
	must.NoError(t, err)
	must.Eq(t, fs.FileMode(0o777), info.Mode())
}

func TestWrite_FollowsNoSymbolicLink(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "target")
	must.NoError(t, os.WriteFile(target, []byte("precious"), 0o600))
	must.NoError(t, os.Symlink(target, filepath.Join(dir, "file.new")))
	must.ErrorIs(t, Write(filepath.Join(dir, "file"), []byte("a"), 0o600), unix.ELOOP)
	content, err := os.ReadFile(target)
	must.NoError(t, err)
	must.Eq(t, "precious", string(content))
}

func TestWrite_ReplacesASymbolicLinkItself(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	must.NoError(t, os.WriteFile(target, []byte("precious"), 0o600))
	must.NoError(t, os.Symlink(target, link))
	must.NoError(t, Write(link, []byte("a"), 0o600))
	info, err := os.Lstat(link)
	must.NoError(t, err)
	must.True(t, info.Mode().IsRegular())
	content, err := os.ReadFile(target)
	must.NoError(t, err)
	must.Eq(t, "precious", string(content))
}

func TestWrite_ConcurrentWritersAllSucceed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	var writers sync.WaitGroup
	errs := make([]error, 20)
	for i := range errs {
		writers.Go(func() { errs[i] = Write(path, make([]byte, 1000*i), 0o600) })
	}
	writers.Wait()
	must.NoError(t, errors.Join(errs...))
	must.Eq(t, []string{"file"}, names(t, filepath.Dir(path)))
}

func TestWrite_NamesTheMissingDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "file")
	err := Write(path, nil, 0o600)
	must.ErrorIs(t, err, fs.ErrNotExist)
	must.ErrorContains(t, err, filepath.Dir(path))
}

func TestWriteAt_KeepsTheOldContentWhenTheDiskIsFull(t *testing.T) {
	must.NoError(t, onSmallDisk(t, func(dir string, dirFD int) error {
		err := errors.Join(WriteAt(dirFD, "file", []byte("old"), 0o600), testenv.FillDisk(dir))
		if err != nil {
			return err
		}
		if err := WriteAt(dirFD, "file", make([]byte, 8192), 0o600); !errors.Is(err, unix.ENOSPC) {
			return errors.Join(errors.New("the disk is not full"), err)
		}
		content, err := os.ReadFile(filepath.Join(dir, "file"))
		if string(content) != "old" {
			return errors.Join(errors.New("the old content is lost"), err)
		}
		if _, err := os.Lstat(filepath.Join(dir, "file.new")); !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(errors.New("the temporary file was left behind"), err)
		}
		return nil
	}))
}

func TestReserveAt_LetsAWriteSucceedOnAFullDisk(t *testing.T) {
	must.NoError(t, onSmallDisk(t, func(dir string, dirFD int) error {
		r, err := ReserveAt(dirFD, "file", 4096)
		if err := errors.Join(err, testenv.FillDisk(dir)); err != nil {
			return err
		}
		return r.Write(make([]byte, 3000))
	}))
}

func TestReservation_ReplacesTheFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	must.NoError(t, Write(path, []byte("old"), 0o644))
	dirFD, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must.NoError(t, err)
	defer func() { must.NoError(t, unix.Close(dirFD)) }()
	r, err := ReserveAt(dirFD, "file", 4096)
	must.NoError(t, err)
	must.Eq(t, []string{"file", "file.new"}, names(t, dir))
	must.NoError(t, r.Write([]byte("new")))
	must.Eq(t, []string{"file"}, names(t, dir))
	content, err := os.ReadFile(path)
	must.NoError(t, err)
	must.Eq(t, "new", string(content))
	info, err := os.Stat(path)
	must.NoError(t, err)
	must.Eq(t, fs.FileMode(0o600), info.Mode())
}

// onSmallDisk calls f with an empty file system of 64 KiB and its open directory.
func onSmallDisk(t *testing.T, f func(dir string, dirFD int) error) error {
	t.Helper()
	return testenv.OnSmallDisk(t, func(dir string) error {
		dirFD, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(dirFD) }()
		return f(dir, dirFD)
	})
}

func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must.NoError(t, err)
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}
