// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/ext4"
)

// layoutCases are directories of very different content.
var layoutCases = map[string]struct {
	fill func(t *testing.T, dir string, random *rand.Rand)
	room int64
}{
	"nothing": {func(*testing.T, string, *rand.Rand) {}, 0},
	"small files": {func(t *testing.T, dir string, random *rand.Rand) {
		writeFiles(t, dir, 4000, func() int { return random.IntN(300) })
	}, 0},
	"empty files": {func(t *testing.T, dir string, _ *rand.Rand) { writeFiles(t, dir, 6000, func() int { return 0 }) }, 1 << 20},
	"mixed": {func(t *testing.T, dir string, random *rand.Rand) {
		writeFiles(t, dir, 400, func() int { return random.IntN(200_000) })
	}, 10 << 20},
	"one large": {func(t *testing.T, dir string, _ *rand.Rand) {
		writeFiles(t, dir, 1, func() int { return 150 << 20 })
	}, 0},
	"long names": {func(t *testing.T, dir string, _ *rand.Rand) {
		for i := range 1500 {
			writeFile(t, filepath.Join(dir, fmt.Sprintf("%0250d", i)), "")
		}
	}, 0},
	"long links": {func(t *testing.T, dir string, _ *rand.Rand) {
		for i := range 1500 {
			must.NoError(t, os.Symlink(strings.Repeat("t", 61), filepath.Join(dir, fmt.Sprint(i))))
		}
	}, 0},
	"directories": {func(t *testing.T, dir string, _ *rand.Rand) {
		for i := range 1500 {
			must.NoError(t, os.MkdirAll(filepath.Join(dir, fmt.Sprint(i/40), fmt.Sprint(i), "x"), 0o755))
		}
	}, 100 << 20},
	"holes": {func(t *testing.T, dir string, _ *rand.Rand) {
		f, err := os.Create(filepath.Join(dir, "holes"))
		must.NoError(t, err)
		for i := range int64(2000) {
			_, err := f.WriteAt([]byte("x"), i*8192)
			must.NoError(t, err)
		}
		must.NoError(t, f.Close())
	}, 0},
	"room": {func(*testing.T, string, *rand.Rand) {}, 1 << 30},
}

// Images of very different content are large enough, have the room, and waste little.
func TestBuild_SizesImageForContentAndRoom(t *testing.T) {
	t.Parallel()
	toolContext(t)
	random := rand.New(rand.NewPCG(1, 2))
	for name, c := range layoutCases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c.fill(t, dir, random)
			image := buildChecked(t, dir, BuildOptions{Room: c.room})
			f, err := openExt4(image, os.O_RDONLY)
			must.NoError(t, err)
			defer f.Close()
			free, size := freeBytes(t, image), f.size()
			test.GreaterEq(t, c.room, free)
			test.GreaterEq(t, 60, int(f.freeInodes))
			test.LessEq(t, max(c.room+size/20+(4<<20), minImage*BlockSize), free)
			info, err := os.Stat(image)
			must.NoError(t, err)
			test.Eq(t, size, info.Size(), test.Sprint("mke2fs omitted a group"))
		})
	}
}

var freeBlocksPattern = regexp.MustCompile(`Free blocks:\s+(\d+)`)

// freeBytes returns the free space of an image.
func freeBytes(t *testing.T, image string) int64 {
	t.Helper()
	m := freeBlocksPattern.FindStringSubmatch(runDebugfs(t, image, "show_super_stats -h"))
	must.SliceLen(t, 2, m)
	return number(t, m[1], 10) * BlockSize
}

// writeFiles writes n files with the sizes that size returns.
func writeFiles(t *testing.T, dir string, n int, size func() int) {
	t.Helper()
	body := strings.Repeat("content ", 1<<20)
	for i := range n {
		left := size()
		f, err := os.Create(filepath.Join(dir, fmt.Sprint("file-", i)))
		must.NoError(t, err)
		for left > 0 {
			n, err := f.WriteString(body[:min(left, len(body))])
			must.NoError(t, err)
			left -= n
		}
		must.NoError(t, f.Close())
	}
}

func TestBuild_ObservesSize(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	archive := tarFile(t, tarRegular("a", strings.Repeat("x", 10<<20)))
	for _, c := range []struct {
		size int64
		err  error
	}{
		{40 << 20, nil},
		{20<<20 + 5000, nil},
		{12 << 20, nil},
		{3 << 30, nil},
		{10<<20 + 100, ErrNoSpace},
		{1 << 20, ErrNoSpace},
	} {
		image := filepath.Join(t.TempDir(), "image")
		err := Build(ctx, archive, image, BuildOptions{Size: c.size})
		if c.err != nil {
			test.ErrorIs(t, err, c.err)
			continue
		}
		must.NoError(t, err)
		must.NoError(t, ext4.Check(image))
		info, err := os.Stat(image)
		must.NoError(t, err)
		test.Eq(t, c.size-c.size%BlockSize, info.Size())
		test.Eq(t, 0o600, info.Mode())
	}
	must.Error(t, Build(ctx, archive, filepath.Join(t.TempDir(), "image"), BuildOptions{Size: -1}))
}
