// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

func BenchmarkBuild(b *testing.B) {
	ctx := toolContext(b)
	dir := b.TempDir()
	for i := range 1000 {
		writeFile(b, filepath.Join(dir, fmt.Sprint(i/50), fmt.Sprint(i)), strings.Repeat("content ", 500))
	}
	var entries []tarEntry
	for i := range 1000 {
		entries = append(entries, tarRegular(fmt.Sprint(i/50, "/", i), strings.Repeat("content ", 500)))
	}
	for name, src := range map[string]string{"directory": dir, "tar": tarFile(b, entries...)} {
		b.Run(name, func(b *testing.B) {
			image := filepath.Join(b.TempDir(), "image")
			for b.Loop() {
				must.NoError(b, Build(ctx, src, image, BuildOptions{Room: 16 << 20}))
				must.NoError(b, os.Remove(image))
			}
		})
	}
}

// A task's start copies an image that the job names as rootfs.
func BenchmarkCopy(b *testing.B) {
	ctx := toolContext(b)
	for _, size := range []int{1 << 20, 64 << 20} {
		b.Run(fmt.Sprint(size>>20, "MiB"), func(b *testing.B) {
			image := buildChecked(b, tarFile(b, tarRegular("a", strings.Repeat("x", size))), BuildOptions{Room: 64 << 20})
			for b.Loop() {
				must.NoError(b, Copy(ctx, image, image+"-copy"))
				must.NoError(b, os.Remove(image+"-copy"))
			}
		})
	}
}

func BenchmarkPut(b *testing.B) {
	ctx := toolContext(b)
	image := sampleImage(b)
	for _, n := range []int{4, 100} {
		b.Run(fmt.Sprint(n, "files"), func(b *testing.B) {
			var files []File
			for i := range n {
				files = append(files, textFile(fmt.Sprint("/local/", i), "content"))
			}
			for b.Loop() {
				must.NoError(b, Put(ctx, Sandbox{}, image, files))
			}
		})
	}
}
