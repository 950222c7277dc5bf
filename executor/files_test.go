// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// onSmallDisk runs a function with a file system of 64 KiB that nobody else sees.
func onSmallDisk(t *testing.T, f func(dir string) error) error {
	t.Helper()
	testenv.Need(t, testenv.Root)
	dir := t.TempDir()
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends, and its mounts with it
		result <- func() error {
			err := errors.Join(
				unix.Unshare(unix.CLONE_NEWNS|unix.CLONE_FS),
				unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
				unix.Mount("none", dir, "tmpfs", 0, "size=64k"),
			)
			if err != nil {
				return err
			}
			return f(dir)
		}()
	}()
	return <-result
}

func fill(dir string) error {
	f, err := os.Create(filepath.Join(dir, "full"))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if errors.Is(err, unix.ENOSPC) {
		return nil
	}
	return err
}

func TestExit_IsWrittenToAFullDisk(t *testing.T) {
	identity := Identity{Executor: Process{Pid: 1, StartTime: 2, BootID: "b"}}
	record := ExitRecord{Executor: identity.Executor, Exit: Exit{Code: 3, Reason: strings.Repeat("x", 2000)}}
	must.NoError(t, onSmallDisk(t, func(path string) error {
		dir, err := openDir(path)
		if err != nil {
			return err
		}
		defer dir.close()
		dir.reserve(ExitFile, exitReserve)
		if err := errors.Join(dir.write(IdentityFile, identity, false), fill(path)); err != nil {
			return err
		}
		if err := dir.write("other.json", identity, true); !errors.Is(err, unix.ENOSPC) {
			return errors.Join(errors.New("the disk is not full"), err)
		}
		if err := dir.write(ExitFile, record, true); err != nil {
			return err
		}
		exit, err := ReadExit(path)
		if err == nil && exit != record.Exit {
			err = errors.New("another exit was read than was written")
		}
		return err
	}))
}

func TestWrite_ReplacesWholeFiles(t *testing.T) {
	path := t.TempDir()
	dir, err := openDir(path)
	must.NoError(t, err)
	defer dir.close()
	dir.reserve("a", 4096)
	must.NoError(t, dir.write("a", strings.Repeat("x", 5000), true))
	must.NoError(t, dir.write("a", "y", false))
	content, err := os.ReadFile(filepath.Join(path, "a"))
	must.NoError(t, err)
	must.Eq(t, "\"y\"\n", string(content))
	entries, err := os.ReadDir(path)
	must.NoError(t, err)
	must.Len(t, 1, entries)
}

func TestWrite_FollowsNoLink(t *testing.T) {
	path := t.TempDir()
	target := filepath.Join(path, "target")
	must.NoError(t, os.WriteFile(target, []byte("precious"), 0o600))
	must.NoError(t, os.Symlink(target, filepath.Join(path, "a.new")))
	dir, err := openDir(path)
	must.NoError(t, err)
	defer dir.close()
	must.ErrorIs(t, dir.write("a", 1, false), unix.ELOOP)
	content, err := os.ReadFile(target)
	must.NoError(t, err)
	must.Eq(t, "precious", string(content))
}

func TestReadExit_Garbage(t *testing.T) {
	dir := t.TempDir()
	_, err := ReadExit(dir)
	must.ErrorIs(t, err, os.ErrNotExist)
	must.NoError(t, os.WriteFile(filepath.Join(dir, ExitFile), []byte("{"), 0o600))
	_, err = ReadExit(dir)
	must.ErrorContains(t, err, ExitFile)
}
