// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/loopfs"
)

// BenchmarkStartTask measures StartTask, and the time from its call to the first
// byte on the console (first-ms/op). The module bench measures the same with the
// built plugin, and compares it with raw_exec.
func BenchmarkStartTask(b *testing.B) {
	testenv.Need(b, testenv.Root, testenv.Tool("mke2fs"), testenv.Tool("debugfs"))
	dir := b.TempDir()
	image := filepath.Join(dir, "image.ext4")
	must.NoError(b, disk.Build(context.Background(), b.TempDir(), image, disk.BuildOptions{Size: 64 << 20}))
	for _, c := range []struct {
		name string
		job  TaskConfig
	}{
		{"no disk", TaskConfig{Kernel: testenv.Guest(b, "hello.spt")}},
		{"ext4 image", TaskConfig{
			Kernel: testenv.Guest(b, "disk-lkl.spt"), Rootfs: image, Flavor: "lkl", Args: []string{"mode=check", "bytes=512"},
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			d := New(ctx, hclog.NewNullLogger(), builtPrograms(b))
			d.use(Config{StateDir: filepath.Join(dir, "state"), ImagePaths: []string{dir, guestDir(b)}})
			var first time.Duration
			for b.Loop() {
				b.StopTimer()
				task, firstByte := benchTask(b, dir, c.job)
				b.StartTimer()
				begun := time.Now()
				_, _, err := d.StartTask(task)
				b.StopTimer()
				must.NoError(b, err)
				first += (<-firstByte).Sub(begun)
				must.NoError(b, d.DestroyTask(task.ID, true))
				b.StartTimer()
			}
			b.ReportMetric(float64(first.Microseconds())/1000/float64(b.N), "first-ms/op")
		})
	}
}

// benchTask prepares a task and reads its console. The channel receives the time
// of the first byte.
func benchTask(b *testing.B, dir string, job TaskConfig) (*drivers.TaskConfig, <-chan time.Time) {
	allocID := uuid.Generate()
	task := plainTask()
	task.ID, task.AllocID, task.AllocDir = allocID+"/task/1", allocID, filepath.Join(dir, "allocs", allocID)
	task.StdoutPath = filepath.Join(task.AllocDir, "stdout")
	for _, d := range []string{task.TaskDir().LocalDir, task.TaskDir().SecretsDir} {
		must.NoError(b, os.MkdirAll(d, 0o755))
	}
	must.NoError(b, unix.Mkfifo(task.StdoutPath, 0o600))
	must.NoError(b, task.EncodeConcreteDriverConfig(&job))
	console, err := os.OpenFile(task.StdoutPath, os.O_RDWR, 0)
	must.NoError(b, err)
	firstByte := make(chan time.Time, 1)
	go func() {
		defer console.Close()
		_, _ = console.Read(make([]byte, 1)) // fails if the guest prints nothing
		firstByte <- time.Now()
	}()
	return task, firstByte
}

// BenchmarkCachedImage measures the steps of a start that an image makes longer or shorter,
// from the reference to the root disk with the task's files. The image is cached, and its
// root has 64 MiB of content.
func BenchmarkCachedImage(b *testing.B) {
	testenv.Need(b, testenv.Root, testenv.Loop, testenv.Tool("mkfs.xfs"), testenv.Tool("debugfs"))
	s := newImageServer(b)
	root := b.TempDir()
	content := make([]byte, 64<<20)
	_, err := rand.Read(content)
	must.NoError(b, err)
	must.NoError(b, os.WriteFile(filepath.Join(root, "file"), content, 0o644))
	tag := s.push(b, "disk:1.0", guestImage(b, "disk-lkl.spt", root, v1.Config{}))
	for _, c := range []struct {
		name   string
		format []string
	}{{"ext4", loopfs.Ext4}, {"xfs", loopfs.XFS}} {
		b.Run(c.name, func(b *testing.B) {
			fs, err := loopfs.New(c.format, filepath.Join(b.TempDir(), "fs"), 2<<30)
			must.NoError(b, err)
			b.Cleanup(func() { must.NoError(b, fs.Close()) })
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			d := New(ctx, hclog.NewNullLogger(), builtPrograms(b))
			config := s.config(b)
			config.StateDir = filepath.Join(fs.Path(), "state")
			d.use(config)
			start := func() time.Duration {
				j := benchJob(b, b.TempDir(), TaskConfig{Image: tag, Flavor: "lkl"})
				var undo undo
				dir, err := d.claimTaskDir(ctx, j.task, &undo)
				must.NoError(b, err)
				begun := time.Now()
				must.NoError(b, makeFromImage(ctx, d, j, dir))
				elapsed := time.Since(begun)
				must.NoError(b, undo.run())
				return elapsed
			}
			start() // pulls the image
			var all []time.Duration
			for b.Loop() {
				all = append(all, start())
			}
			slices.Sort(all)
			b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "median-ms")
		})
	}
}

func benchJob(b *testing.B, dir string, config TaskConfig) job {
	task, _ := benchTask(b, dir, config)
	j, err := readJob(task, &Config{})
	must.NoError(b, err)
	return j
}

// makeFromImage runs the steps image, kernel and root disk.
func makeFromImage(ctx context.Context, d *Driver, j job, dir taskDir) error {
	_, timer, cancel := d.startContext()
	defer cancel()
	j, err := d.addImage(ctx, j, timer)
	if err != nil {
		return err
	}
	defer j.image.Close()
	k, err := d.readKernel(ctx, j, dir.path)
	if err != nil {
		return err
	}
	defer k.Close()
	root, err := d.makeRootDisk(ctx, j, dir, k, addresses{})
	root.Close()
	return err
}
