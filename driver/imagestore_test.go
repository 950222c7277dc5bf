// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/loopfs"
)

// cachedImages returns the number of entries in a plugin's cache.
func (p *testPlugin) cachedImages(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(imagesDir(p.config.StateDir), "entries"))
	must.NoError(t, err)
	return len(entries)
}

func TestImageGC_RemovesUnusedImagesAfterTheTask(t *testing.T) {
	testenv.Need(t, testenv.Root)
	s := newImageServer(t)
	config := s.config(t)
	config.ImageGC = ImageGC{Enabled: true, MaxSize: "1KiB"}
	p := newTestPluginWith(t, config)
	tag := s.push(t, "idle:1.0", guestImage(t, "idle.spt", "", v1.Config{}))
	first, handle := p.runImage(t, TaskConfig{Image: tag})
	second, _ := p.runImage(t, TaskConfig{Image: tag})
	must.NoError(t, p.DestroyTask(second.ID, true))
	must.NoError(t, p.impl.collectImages())
	must.Eq(t, 1, p.cachedImages(t)) // the first task uses it

	next := p.restart(t)
	must.NoError(t, next.impl.collectImages())
	must.Eq(t, 1, next.cachedImages(t)) // before the recovery, too
	must.NoError(t, next.RecoverTask(handle))
	must.NoError(t, next.DestroyTask(first.ID, true))
	waitFor(t, "the garbage collection", func() bool { return next.cachedImages(t) == 0 })
}

func TestImageGC_CanBeDisabled(t *testing.T) {
	p, s := newImagePlugin(t)
	p.impl.config.ImageGC = ImageGC{Enabled: false, MaxAge: "1ns", MaxSize: "1KiB"}
	tag := s.push(t, "hello:1.0", guestImage(t, "hello.spt", "", v1.Config{}))
	task, _ := p.runImage(t, TaskConfig{Image: tag})
	must.NoError(t, p.DestroyTask(task.ID, true))
	must.NoError(t, p.impl.collectImages())
	must.Eq(t, 1, p.cachedImages(t))
}

func TestImage_TasksShareTheKernelsFile(t *testing.T) {
	p, s := newImagePlugin(t)
	tag := s.push(t, "idle:1.0", guestImage(t, "idle.spt", "", v1.Config{}))
	_, first := p.runImage(t, TaskConfig{Image: tag})
	_, second := p.runImage(t, TaskConfig{Image: tag})
	kernels, err := filepath.Glob(filepath.Join(imagesDir(p.config.StateDir), "entries", "*", "kernel"))
	must.NoError(t, err)
	must.Len(t, 1, kernels)
	for _, h := range []string{stateOf(t, first).Dir, stateOf(t, second).Dir} {
		must.True(t, sameFile(t, filepath.Join(h, kernelFile), kernels[0]))
	}
}

// A copy is used if the kernel cannot have another link.
func TestImage_CopiesTheKernelToAnotherFileSystem(t *testing.T) {
	p, s := newImagePlugin(t)
	tag := s.push(t, "idle:1.0", guestImage(t, "idle.spt", "", v1.Config{}))
	_, handle := p.runImage(t, TaskConfig{Image: tag})
	memory, err := loopfs.Mount("tmpfs")
	must.NoError(t, err)
	defer memory.Close()
	j, err := readJob(p.task(t, TaskConfig{Image: tag}, false), &p.config)
	must.NoError(t, err)
	_, timer, cancel := p.impl.startContext()
	defer cancel()
	j, err = p.impl.addImage(t.Context(), j, timer)
	must.NoError(t, err)
	defer j.image.Close()
	k, err := p.impl.imageKernel(t.Context(), j, filepath.Join(loopfs.Path(memory), kernelFile))
	must.NoError(t, err)
	defer k.Close()
	must.Eq(t, stateOf(t, handle).KernelDigest, k.digest)
	copied, err := os.ReadFile(filepath.Join(loopfs.Path(memory), kernelFile))
	must.NoError(t, err)
	original, err := os.ReadFile(testenv.Guest(t, "idle.spt"))
	must.NoError(t, err)
	must.True(t, bytes.Equal(original, copied))
}
