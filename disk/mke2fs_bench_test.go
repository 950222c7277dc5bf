// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"crypto/rand"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/disk/internal/debugfs"
)

// BenchmarkBuildLargeDirectory compares Build with mke2fs -d, which walks the directory
// itself, for 5,000 files of 200 MB in all. Both make one image in each round, in turn. The
// metric "ratio" is the time of Build divided by that of mke2fs -d.
func BenchmarkBuildLargeDirectory(b *testing.B) {
	ctx := toolContext(b)
	dir, image := b.TempDir(), filepath.Join(b.TempDir(), "image")
	fillLargeDirectory(b, dir)
	var now, before time.Duration
	for b.Loop() {
		start := time.Now()
		must.NoError(b, Build(ctx, dir, image, BuildOptions{Size: 400 << 20}))
		now += time.Since(start)
		must.NoError(b, os.Remove(image))

		start = time.Now()
		must.NoError(b, buildByMke2fs(ctx, dir, image, 400<<20))
		before += time.Since(start)
		must.NoError(b, os.Remove(image))
	}
	b.ReportMetric(now.Seconds()*1000/float64(b.N), "build-ms")
	b.ReportMetric(before.Seconds()*1000/float64(b.N), "mke2fs-d-ms")
	b.ReportMetric(now.Seconds()/before.Seconds(), "ratio")
	b.ReportMetric(0, "ns/op") // the sum of both would mislead
}

// fillLargeDirectory creates files whose sizes are distributed exponentially, like those of
// a root file system.
func fillLargeDirectory(b *testing.B, dir string) {
	b.Helper()
	const files, bytes = 5000, 200e6
	content := make([]byte, 1<<20)
	_, err := rand.Read(content)
	must.NoError(b, err)
	for i := range files {
		quantile := (float64(i*7919%files) + 0.5) / files
		size := int(-math.Log(1-quantile) * bytes / files)
		path := filepath.Join(dir, fmt.Sprint(i/500), fmt.Sprint(i/50), fmt.Sprint(i))
		must.NoError(b, os.MkdirAll(filepath.Dir(path), 0o755))
		must.NoError(b, os.WriteFile(path, content[:size], 0o644))
	}
}

// buildByMke2fs makes an image like Build, without its protection from other tasks: mke2fs
// reads the directory, and debugfs makes the image reproducible.
func buildByMke2fs(ctx context.Context, dir, image string, size int64) error {
	cmd := exec.CommandContext(ctx, "mke2fs", "-q", "-F", "-b", strconv.Itoa(BlockSize), "-I", "256", "-m", "0",
		"-U", fixedUUID, "-O", features+",has_journal", "-E", "hash_seed="+fixedSeed+",lazy_itable_init=0,nodiscard",
		"-d", dir, image, strconv.FormatInt(size>>10, 10)+"k")
	cmd.Env = append(os.Environ(), "MKE2FS_CONFIG=/dev/null", fakeTimeEnv)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mke2fs: %w: %s", err, out)
	}
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	sb, err := readSuperblock(f)
	if err != nil {
		return err
	}
	session, err := debugfs.Open(ctx, f, debugfs.Options{})
	if err != nil {
		return err
	}
	defer session.Kill()
	err = session.RunAll(func(yield func(string, error) bool) {
		for i := int64(firstInode); i <= int64(sb.inodes-sb.freeInodes); i++ {
			for _, field := range []string{"atime", "ctime"} {
				if !yield(debugfs.Command("set_inode_field", inodeRef(i), field, debugfsTime(fixedTime))) {
					return
				}
			}
		}
	})
	if err != nil {
		return err
	}
	if err := session.Close(); err != nil {
		return err
	}
	return f.Sync()
}
