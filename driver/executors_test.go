// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/atomicfile"
)

// makeExecutor installs a copy of a program as an old executor. Its digest consists of one
// digit. It returns its path.
func makeExecutor(t *testing.T, stateDir, digit, program string) string {
	t.Helper()
	content, err := os.ReadFile(program)
	must.NoError(t, err)
	dir := filepath.Join(executorsDir(stateDir), strings.Repeat(digit, 64))
	must.NoError(t, os.MkdirAll(dir, 0o755))
	path := filepath.Join(dir, "lkl-executor")
	must.NoError(t, atomicfile.Write(path, content, 0o755))
	makeOld(t, path, dir)
	return path
}

// makeOld sets the times of files to two days ago.
func makeOld(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		old := time.Now().Add(-48 * time.Hour)
		must.NoError(t, os.Chtimes(path, old, old))
	}
}

// startCat runs a program, a copy of cat, until its standard input is closed.
func startCat(t *testing.T, program string) (stop func()) {
	t.Helper()
	cmd := exec.Command(program)
	in, err := cmd.StdinPipe()
	must.NoError(t, err)
	must.NoError(t, cmd.Start())
	return sync.OnceFunc(func() {
		must.NoError(t, in.Close())
		must.NoError(t, cmd.Wait())
	})
}

func yesterday() time.Time { return time.Now().Add(-24 * time.Hour) }

func TestSweepExecutors_RemovesUnusedOnes(t *testing.T) {
	state := t.TempDir()
	unused := makeExecutor(t, state, "0", "/bin/true")
	incomplete := filepath.Join(filepath.Dir(unused), "lkl-executor"+atomicfile.TemporarySuffix)
	must.NoError(t, os.WriteFile(incomplete, nil, 0o755))
	makeOld(t, incomplete)
	empty := filepath.Join(executorsDir(state), strings.Repeat("1", 64))
	must.NoError(t, os.Mkdir(empty, 0o755))
	makeOld(t, empty)

	must.NoError(t, sweepExecutors(state, yesterday()))
	entries, err := os.ReadDir(executorsDir(state))
	must.NoError(t, err)
	must.SliceEmpty(t, entries)
	must.NoError(t, sweepExecutors(state, yesterday()))
	must.NoError(t, sweepExecutors(filepath.Join(state, "missing"), yesterday()))
}

func TestSweepExecutors_KeepsUsedOnes(t *testing.T) {
	state := t.TempDir()
	running := makeExecutor(t, state, "0", "/bin/cat")
	stop := startCat(t, running)
	t.Cleanup(stop)
	pinned := makeExecutor(t, state, "1", "/bin/true")
	pin, err := pinProgram(pinned)
	must.NoError(t, err)
	defer pin.Close()
	recent := makeExecutor(t, state, "2", "/bin/true")
	must.NoError(t, os.Chtimes(recent, time.Now(), time.Now()))
	installing := filepath.Join(executorsDir(state), strings.Repeat("3", 64))
	must.NoError(t, os.Mkdir(installing, 0o755))
	foreign := filepath.Join(executorsDir(state), "tools", "lkl-executor")
	must.NoError(t, os.Mkdir(filepath.Dir(foreign), 0o755))
	must.NoError(t, os.WriteFile(foreign, nil, 0o755))
	makeOld(t, foreign, filepath.Dir(foreign))

	must.NoError(t, sweepExecutors(state, yesterday()))
	for _, path := range []string{running, pinned, recent, installing, foreign} {
		_, err := os.Stat(path)
		must.NoError(t, err)
	}
	stop()
	must.NoError(t, pin.Close())
	must.NoError(t, sweepExecutors(state, yesterday()))
	must.DirNotExists(t, filepath.Dir(running))
	must.DirNotExists(t, filepath.Dir(pinned))
	must.FileExists(t, recent)
}

func TestSweepExecutors_FollowsNoLink(t *testing.T) {
	state, outside := t.TempDir(), t.TempDir()
	file := filepath.Join(outside, "lkl-executor")
	must.NoError(t, os.WriteFile(file, nil, 0o755))
	makeOld(t, file, outside)
	must.NoError(t, os.MkdirAll(executorsDir(state), 0o755))
	must.NoError(t, os.Symlink(outside, filepath.Join(executorsDir(state), strings.Repeat("0", 64))))
	must.NoError(t, sweepExecutors(state, yesterday()))
	must.FileExists(t, file)
}

func TestPinProgram_ReportsARemovedOne(t *testing.T) {
	_, err := pinProgram(filepath.Join(t.TempDir(), "lkl-executor"))
	must.ErrorIs(t, err, os.ErrNotExist)
}

// Plugins that start and sweep at the same time always find their executor.
func TestSweepExecutors_DoesNotDisturbInstallations(t *testing.T) {
	state := t.TempDir()
	program, err := os.ReadFile("/bin/true")
	must.NoError(t, err)
	path := filepath.Join(executorsDir(state), strings.Repeat("0", 64), "lkl-executor")
	// install works as bundle.Install does, but its file is old at once. It replaces no file,
	// because a new one that replaces a pinned one is not pinned until the next start.
	var installing sync.Mutex
	install := func(string, string) (string, error) {
		installing.Lock()
		defer installing.Unlock()
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", err
		}
		if err := atomicfile.Write(path, program, 0o755); err != nil {
			return "", err
		}
		return path, os.Chtimes(path, time.Time{}, yesterday())
	}
	const plugins, starts = 4, 50
	errs := make([]error, plugins)
	var all sync.WaitGroup
	for i := range plugins {
		all.Go(func() {
			for range starts {
				errs[i] = errors.Join(errs[i], startAndSweep(state, install))
			}
		})
	}
	all.Wait()
	must.NoError(t, errors.Join(errs...))
}

// startAndSweep pins an executor, and sweeps as other plugins would, before and after the
// pin is closed.
func startAndSweep(state string, install Installer) error {
	p, err := installPinned(state, "lkl-executor", install)
	if errors.Is(err, os.ErrNotExist) {
		return nil // only because install makes old files
	}
	if err != nil {
		return err
	}
	err = sweepExecutors(state, time.Now().Add(-time.Hour))
	if !isSameFile(p.pin, p.path) {
		err = errors.Join(err, errors.New("a pinned executor was removed"))
	}
	return errors.Join(err, p.pin.Close(), sweepExecutors(state, time.Now().Add(-time.Hour)))
}

func TestInstalledProgram_IsPinnedUntilItIsReplaced(t *testing.T) {
	d := testDriver(t)
	d.use(Config{StateDir: filepath.Join(t.TempDir(), "state")})
	first, second := makeExecutor(t, d.config.StateDir, "0", "/bin/true"), makeExecutor(t, d.config.StateDir, "1", "/bin/true")
	current := first
	d.install = func(string, string) (string, error) { return current, nil }
	isPinned := func(path string) bool {
		f, err := os.Open(path)
		must.NoError(t, err)
		defer f.Close()
		return errors.Is(lock(f, unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
	}

	path, err := d.installedProgram("lkl-executor")
	must.NoError(t, err)
	must.Eq(t, first, path)
	must.True(t, isPinned(first))

	current = second
	path, err = d.installedProgram("lkl-executor")
	must.NoError(t, err)
	must.Eq(t, first, path)

	must.NoError(t, os.Rename(first, first+"x"))
	path, err = d.installedProgram("lkl-executor")
	must.NoError(t, err)
	must.Eq(t, second, path)
	must.True(t, isPinned(second))
	must.False(t, isPinned(first+"x"))
}
