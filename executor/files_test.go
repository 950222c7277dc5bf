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

	"github.com/lkl-nomad/nomad-driver-lkl/internal/atomicfile"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// onSmallDisk calls f with an empty file system of 64 KiB, which only the calling
// thread sees.
func onSmallDisk(t *testing.T, f func(dir string) error) error {
	t.Helper()
	testenv.Need(t, testenv.Root)
	dir := t.TempDir()
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread and its mounts end with the goroutine
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

func TestExitRecord_IsWrittenToAFullDisk(t *testing.T) {
	identity := Identity{Executor: Process{Pid: 1, StartTime: 2, BootID: "b"}}
	record := ExitRecord{Executor: identity.Executor, Exit: Exit{Code: 3, Reason: strings.Repeat("x", 2000)}}
	must.NoError(t, onSmallDisk(t, func(path string) error {
		dir, err := openDir(path)
		if err != nil {
			return err
		}
		defer dir.close()
		reserved := atomicfile.ReserveAt(dir.fd, ExitFile, exitReserve)
		if err := errors.Join(reserved, dir.write(IdentityFile, identity), fill(path)); err != nil {
			return err
		}
		if err := dir.writeDurable("other.json", identity); !errors.Is(err, unix.ENOSPC) {
			return errors.Join(errors.New("the disk is not full"), err)
		}
		if err := dir.writeDurable(ExitFile, record); err != nil {
			return err
		}
		exit, err := ReadExit(path)
		if err == nil && exit != record.Exit {
			err = errors.New("the exit status read differs from the one written")
		}
		return err
	}))
}

func TestReadExit_NamesTheDamagedFile(t *testing.T) {
	dir := t.TempDir()
	_, err := ReadExit(dir)
	must.ErrorIs(t, err, os.ErrNotExist)
	must.NoError(t, os.WriteFile(filepath.Join(dir, ExitFile), []byte("{"), 0o600))
	_, err = ReadExit(dir)
	must.ErrorContains(t, err, ExitFile)
}
