// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// linkKernel links a copy of a file from the cache and returns its digest.
func linkKernel(t *testing.T, c *kernelCache, path, to string) string {
	t.Helper()
	f, err := os.Open(path)
	must.NoError(t, err)
	defer f.Close()
	info, err := f.Stat()
	must.NoError(t, err)
	sum, err := c.link(t.Context(), &jobFile{File: f, info: info, name: path}, to)
	must.NoError(t, err)
	return sum
}

func sameFile(t *testing.T, a, b string) bool {
	t.Helper()
	infoA, err := os.Stat(a)
	must.NoError(t, err)
	infoB, err := os.Stat(b)
	must.NoError(t, err)
	return os.SameFile(infoA, infoB)
}

func TestKernelCache_KeepsOneCopyOfEachContent(t *testing.T) {
	dir := t.TempDir()
	must.NoError(t, makeStateDir(dir))
	in := func(name string) string { return filepath.Join(dir, name) }
	must.NoError(t, os.WriteFile(in("k"), []byte("one"), 0o666))
	must.NoError(t, os.WriteFile(in("other"), []byte("one"), 0o666))
	cache := kernelCache{dir: kernelsDir(dir)}
	one := linkKernel(t, &cache, in("k"), in("1"))
	must.Eq(t, "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed", one) // sha256sum
	must.Eq(t, one, linkKernel(t, &cache, in("other"), in("2")))
	must.True(t, sameFile(t, in("1"), in("2")))
	must.False(t, sameFile(t, in("1"), in("k")))

	// A change that keeps size and time.
	info, err := os.Stat(in("k"))
	must.NoError(t, err)
	must.NoError(t, os.WriteFile(in("k"), []byte("two"), 0o666))
	must.NoError(t, os.Chtimes(in("k"), info.ModTime(), info.ModTime()))
	must.NotEq(t, one, linkKernel(t, &cache, in("k"), in("3")))
	content, err := os.ReadFile(in("1"))
	must.NoError(t, err)
	must.Eq(t, "one", string(content))
}

func TestKernelCache_RestoresASweptCopy(t *testing.T) {
	dir := t.TempDir()
	must.NoError(t, makeStateDir(dir))
	in := func(name string) string { return filepath.Join(dir, name) }
	guest := testenv.Guest(t, "hello.spt") // older than minFileAge
	cache := kernelCache{dir: kernelsDir(dir)}
	sum := linkKernel(t, &cache, guest, in("1"))
	must.MapLen(t, 1, cache.known)
	must.Eq(t, sum, linkKernel(t, &cache, guest, in("2")))
	must.True(t, sameFile(t, in("1"), in("2")))

	must.NoError(t, os.Remove(filepath.Join(kernelsDir(dir), sum)))
	must.Eq(t, sum, linkKernel(t, &cache, guest, in("3")))
	must.FileExists(t, filepath.Join(kernelsDir(dir), sum))
}

func TestKernelCache_SweepsUnusedCopies(t *testing.T) {
	dir := t.TempDir()
	cache := kernelCache{dir: kernelsDir(dir)}
	must.NoError(t, cache.sweep(time.Now())) // the directory is missing
	must.NoError(t, makeStateDir(dir))
	to := filepath.Join(dir, "task")
	shared := filepath.Join(kernelsDir(dir), linkKernel(t, &cache, testenv.Guest(t, "hello.spt"), to))
	later := time.Now().Add(time.Minute)
	must.NoError(t, cache.sweep(later))
	must.FileExists(t, shared) // in use
	must.NoError(t, os.Remove(to))
	must.NoError(t, cache.sweep(time.Now().Add(-time.Minute)))
	must.FileExists(t, shared) // was just in use
	must.NoError(t, cache.sweep(later))
	must.FileNotExists(t, shared)
}

func TestStart_GuestRunsFromAPrivateCopy(t *testing.T) {
	p := newTestPlugin(t)
	task := p.task(t, TaskConfig{Kernel: "spew.spt"}, true)
	kernel := filepath.Join(task.TaskDir().LocalDir, "k")
	content, err := os.ReadFile(testenv.Guest(t, "spew.spt"))
	must.NoError(t, err)
	must.NoError(t, os.WriteFile(kernel, content, 0o777))
	must.NoError(t, task.EncodeConcreteDriverConfig(&TaskConfig{
		Kernel: "local/k", Args: []string{"every=10000000", "width=20"},
	}))
	handle, _, err := p.StartTask(task)
	must.NoError(t, err)

	clear(content)
	must.NoError(t, os.WriteFile(kernel, content, 0o777)) // in place
	lines := strings.Count(console(task), "\n")
	waitFor(t, "ten more lines", func() bool { return strings.Count(console(task), "\n") > lines+10 })

	state := stateOf(t, handle)
	copied := filepath.Join(state.Dir, kernelFile)
	must.True(t, sameFile(t, copied, filepath.Join(kernelsDir(p.config.StateDir), state.KernelDigest)))
	info, err := os.Stat(copied)
	must.NoError(t, err)
	must.Eq(t, 0o600, info.Mode().Perm())
	must.NoError(t, p.DestroyTask(task.ID, true))
	must.FileNotExists(t, copied)
	must.NotNil(t, p.start(task), must.Sprint("the file is no longer a unikernel"))
}

// start starts a task and returns the error.
func (p *testPlugin) start(task *drivers.TaskConfig) error {
	_, _, err := p.StartTask(task)
	return err
}

func TestStart_RefusesAnOversizedKernel(t *testing.T) {
	p := newTestPlugin(t)
	task := p.task(t, TaskConfig{Kernel: "hello.spt"}, false)
	kernel := filepath.Join(task.TaskDir().LocalDir, "kernel.spt")
	content, err := os.ReadFile(testenv.Guest(t, "hello.spt"))
	must.NoError(t, err)
	must.NoError(t, os.WriteFile(kernel, content, 0o644))
	must.NoError(t, os.Truncate(kernel, maxKernelFile+1))
	configure(t, task, TaskConfig{Kernel: filepath.Join("/local", "kernel.spt")})
	_, _, err = p.StartTask(task)
	must.ErrorContains(t, err, "local/kernel.spt")
	must.ErrorContains(t, err, "at most 1024 MiB")
	copies, err := os.ReadDir(p.impl.kernels.dir)
	must.NoError(t, err)
	must.SliceEmpty(t, copies)
}
