// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/atomicfile"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestExitRecord_IsWrittenToAFullDisk(t *testing.T) {
	identity := Identity{Executor: Process{Pid: 1, StartTime: 2, BootID: "b"}}
	record := ExitRecord{Executor: identity.Executor, Exit: Exit{Code: 3, Reason: strings.Repeat("x", 2000)}}
	must.NoError(t, testenv.OnSmallDisk(t, func(path string) error {
		dir, err := openDir(path)
		if err != nil {
			return err
		}
		defer dir.close()
		reserved, err := atomicfile.ReserveAt(dir.fd, ExitFile, exitReserve)
		if err := errors.Join(err, dir.write(IdentityFile, identity), testenv.FillDisk(path)); err != nil {
			return err
		}
		if err := dir.write("other.json", identity); !errors.Is(err, unix.ENOSPC) {
			return errors.Join(errors.New("the disk is not full"), err)
		}
		task := &task{exitFile: reserved}
		if err := task.writeExit(record); err != nil {
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

// The executor's user may replace these files.
func TestReadFiles_RefuseOtherFilesThanAnExecutorWrites(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	must.NoError(t, os.WriteFile(secret, []byte("1"), 0o600))
	for name, plant := range map[string]func(path string) error{
		"symlink":   func(path string) error { return os.Symlink(secret, path) },
		"FIFO":      func(path string) error { return unix.Mkfifo(path, 0o600) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"huge file": func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<40))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, file := range []string{ExitFile, DroppedFile} {
				must.NoError(t, plant(filepath.Join(dir, file)))
			}
			_, err := ReadExit(dir)
			must.ErrorContains(t, err, ExitFile)
			_, err = readDropped(dir)
			must.ErrorContains(t, err, DroppedFile)
		})
	}
}
