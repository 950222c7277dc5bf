// SPDX-License-Identifier: MPL-2.0

package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/files"
)

var script = []byte("#!/bin/sh\nexit 7\n")

func TestInstall_InstallsAProgramThatRuns(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	path, err := install(state, executor.Program, script)
	must.NoError(t, err)
	sum := sha256.Sum256(script)
	must.Eq(t, filepath.Join(state, "bin", hex.EncodeToString(sum[:]), executor.Program), path)
	var exit *exec.ExitError
	must.True(t, errors.As(exec.Command(path).Run(), &exit))
	must.Eq(t, 7, exit.ExitCode())
	info, err := os.Stat(path)
	must.NoError(t, err)
	must.Eq(t, 0o755, info.Mode())
}

func TestInstall_KeepsAnIdenticalFile(t *testing.T) {
	state := t.TempDir()
	path, err := install(state, executor.Program, script)
	must.NoError(t, err)
	before, err := os.Stat(path)
	must.NoError(t, err)
	again, err := install(state, executor.Program, script)
	must.NoError(t, err)
	must.Eq(t, path, again)
	after, err := os.Stat(path)
	must.NoError(t, err)
	must.True(t, os.SameFile(before, after))
}

func TestInstall_ReplacesAModifiedFile(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"shorter":        func(p string) error { return os.Truncate(p, 3) },
		"changed":        func(p string) error { return os.WriteFile(p, []byte("#!/bin/sh\nexit 8\n"), 0o755) },
		"not executable": func(p string) error { return os.Chmod(p, 0o644) },
		"writable":       func(p string) error { return os.Chmod(p, 0o777) },
		"a link":         func(p string) error { return errors.Join(os.Remove(p), os.Symlink("/bin/sh", p)) },
		"removed":        os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			state := t.TempDir()
			path, err := install(state, executor.Program, script)
			must.NoError(t, err)
			must.NoError(t, spoil(path))
			_, err = install(state, executor.Program, script)
			must.NoError(t, err)
			got, err := os.ReadFile(path)
			must.NoError(t, err)
			must.Eq(t, string(script), string(got))
			info, err := os.Lstat(path)
			must.NoError(t, err)
			must.Eq(t, 0o755, info.Mode())
			entries, err := os.ReadDir(filepath.Dir(path))
			must.NoError(t, err)
			must.Len(t, 1, entries)
		})
	}
}

func TestInstall_SucceedsConcurrently(t *testing.T) {
	state := t.TempDir()
	var all sync.WaitGroup
	errs := make([]error, 20)
	for i := range errs {
		all.Go(func() { _, errs[i] = install(state, executor.Program, script) })
	}
	all.Wait()
	must.NoError(t, errors.Join(errs...))
}

func TestInstall_KeepsOtherVersions(t *testing.T) {
	state := t.TempDir()
	first, err := install(state, executor.Program, script)
	must.NoError(t, err)
	second, err := install(state, executor.Program, append([]byte(nil), "#!/bin/sh\nexit 8\n"...))
	must.NoError(t, err)
	must.NotEq(t, first, second)
	must.FileExists(t, first)
}

func TestInstall_InstallsThePrograms(t *testing.T) {
	state := t.TempDir()
	for program, starter := range map[string]string{
		executor.Program: "nomad-driver-lkl starts this program",
		files.Program:    "lkl-executor starts this program",
	} {
		path, err := Install(state, program)
		must.NoError(t, err)
		must.Eq(t, program, filepath.Base(path))
		output, err := exec.Command(path).CombinedOutput()
		must.Error(t, err)
		must.StrContains(t, string(output), starter)
	}
	_, err := Install(state, "lkl-other")
	must.ErrorIs(t, err, fs.ErrNotExist)
}
