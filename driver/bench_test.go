// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
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
			d := New(ctx, hclog.NewNullLogger(), builtExecutor(b))
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
