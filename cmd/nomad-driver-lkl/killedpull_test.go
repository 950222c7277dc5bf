// SPDX-License-Identifier: MPL-2.0

package main

import (
	"crypto/rand"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/driver"
	"github.com/lkl-nomad/nomad-driver-lkl/image/build"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// The death of a plugin leaves a part of a download, of a layer's content or of a root disk.
// The next plugin starts the same task, and a garbage collection removes everything.
func TestPlugin_PullsAgainAfterAKillDuringAPull(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Tool("mke2fs"), testenv.Tool("debugfs"))
	const moments = 30
	config, task := pullTask(t)
	pull := func(kill time.Duration) (elapsed time.Duration, err error) {
		p := startPlugin(t)
		p.configureWith(t, config)
		begun := time.Now()
		timer := time.AfterFunc(kill, func() { _ = p.cmd.Process.Kill() })
		_, _, err = p.driver.StartTask(task)
		elapsed = time.Since(begun)
		// A kill right after the start leaves a task that the next start removes.
		if alive := timer.Stop(); alive && err == nil {
			must.NoError(t, p.driver.DestroyTask(task.ID, true))
		}
		_ = p.cmd.Process.Kill() // unless it was already
		p.client.Kill()          // which waits for it
		return elapsed, err
	}
	whole, err := pull(time.Hour)
	must.NoError(t, err)
	failed := 0
	id := task.ID
	for i := range moments {
		collectImages(t, config.StateDir)
		task.ID = id
		if _, err := pull(whole * time.Duration(i) / moments); err != nil {
			failed++
		}
		task.ID = id + "x"
		_, err := pull(time.Hour)
		must.NoError(t, err, must.Sprint("after moment ", i))
	}
	collectImages(t, config.StateDir)
	left, err := os.ReadDir(filepath.Join(config.StateDir, "tasks"))
	must.NoError(t, err)
	must.SliceEmpty(t, left)
	t.Logf("%d of %d starts failed", failed, moments)
	must.Positive(t, failed)
}

// pullTask returns a task with an image of a few MiB, and the configuration of a plugin that
// can pull it.
func pullTask(t *testing.T) (driver.Config, *drivers.TaskConfig) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	root := t.TempDir()
	content := make([]byte, 8<<20)
	_, err := rand.Read(content) // which gzip cannot compress
	must.NoError(t, err)
	must.NoError(t, os.WriteFile(filepath.Join(root, "file"), content, 0o644))
	args := []string{"mode=check", "bytes=512"}
	result, err := build.Build(t.Context(), build.Options{
		Kernel: testenv.Guest(t, "disk.spt"), Root: root, Config: v1.Config{Cmd: args},
	})
	must.NoError(t, err)
	defer result.Close()
	reference := host + "/disk:1.0"
	ref, err := name.ParseReference(reference, name.Insecure)
	must.NoError(t, err)
	must.NoError(t, remote.Write(ref, result.Image))
	task, _ := newTask(t, "disk.spt")
	must.NoError(t, task.EncodeConcreteDriverConfig(&driver.TaskConfig{Image: reference}))
	return driver.Config{StateDir: t.TempDir(), Registries: []driver.Registry{{Host: host, PlainHTTP: true}}}, task
}

// collectImages removes all images, and checks that no file is left of them.
func collectImages(t *testing.T, stateDir string) {
	t.Helper()
	out, err := exec.Command(testenv.Plugin(t), "image", "gc", "--all", "--state-dir", stateDir).CombinedOutput()
	must.NoError(t, err, must.Sprint(string(out)))
	for _, dir := range []string{"entries", "builds", "refs", "images", "locks"} {
		left, err := os.ReadDir(filepath.Join(stateDir, "images", dir))
		must.NoError(t, err)
		must.SliceEmpty(t, left, must.Sprint(dir))
	}
}
