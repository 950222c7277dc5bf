// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/ext4"
)

func TestBuild_ObservesMax(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	big := tarRegular("big", strings.Repeat("x", 40<<20))
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "big"), big.body)
	// 256 MiB of data in less than 1 MiB of gzip.
	bomb := filepath.Join(t.TempDir(), "bomb")
	must.NoError(t, os.WriteFile(bomb, gzipped(t, tarBytes(t, tarRegular("a", strings.Repeat("A", 1<<28)))), 0o600))
	for name, c := range map[string]struct {
		src     string
		options BuildOptions
	}{
		"archive":   {tarFile(t, big), BuildOptions{Max: 32 << 20}},
		"directory": {dir, BuildOptions{Max: 32 << 20}},
		"bomb":      {bomb, BuildOptions{Max: 128 << 20}},
		"size":      {tarFile(t, tarRegular("a", "b")), BuildOptions{Size: 65 << 20, Max: 64 << 20}},
		"both":      {bomb, BuildOptions{Size: 120 << 20, Max: 64 << 20}},
	} {
		out := t.TempDir()
		err := Build(ctx, c.src, filepath.Join(out, "image"), c.options)
		must.ErrorIs(t, err, ErrTooLarge, must.Sprint(name))
		left, err := os.ReadDir(out)
		must.NoError(t, err)
		must.SliceEmpty(t, left)
	}
}

func TestBuild_ReducesRoomToMax(t *testing.T) {
	t.Parallel()
	toolContext(t)
	image := buildChecked(t, tarFile(t, tarRegular("a", "b")), BuildOptions{Room: 1 << 30, Max: 32 << 20})
	info, err := os.Stat(image)
	must.NoError(t, err)
	must.Eq(t, 32<<20, info.Size())
}

// The contents of an archive leave the spool as they enter the image, so both together
// need little more space than one of them.
func TestBuild_NeedsSpaceForOneCopyOfAnArchive(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	var entries []tarEntry
	for _, name := range []string{"a", "b", "c", "d"} {
		entries = append(entries, tarRegular(name, string(randomBytes(2<<20))))
	}
	image := filepath.Join(smallHostDir(t), "image") // of 12 MiB
	must.NoError(t, Build(ctx, tarFile(t, entries...), image, BuildOptions{Size: 14 << 20}))
	// The tools of other processes do not see the file system of image.
	copied := filepath.Join(t.TempDir(), "image")
	must.NoError(t, Copy(ctx, image, copied))
	must.NoError(t, ext4.Check(copied))
	must.Eq(t, entries[3].body, readFile(t, copied, "/d"))
}

func TestCopy_KeepsReserve(t *testing.T) {
	t.Parallel()
	host := smallHostDir(t)
	src := filepath.Join(t.TempDir(), "src")
	must.NoError(t, os.WriteFile(src, randomBytes(11<<20), 0o600))
	must.NoError(t, Copy(t.Context(), src, filepath.Join(host, "dst")))
	must.NoError(t, os.Remove(filepath.Join(host, "dst")))
	must.NoError(t, os.WriteFile(src, randomBytes(12<<20-1<<18), 0o600))
	must.ErrorIs(t, Copy(t.Context(), src, filepath.Join(host, "dst")), ErrReserve)
	var stat unix.Statfs_t
	must.NoError(t, unix.Statfs(host, &stat))
	must.Eq(t, stat.Blocks, stat.Bavail, must.Sprint("the copy left data"))
}

func TestCheckFreeSpace_NamesTheNeed(t *testing.T) {
	t.Parallel()
	host := smallHostDir(t)
	must.NoError(t, CheckFreeSpace(host, 11<<20))
	err := CheckFreeSpace(host, 20<<20)
	must.ErrorIs(t, err, ErrReserve)
	must.ErrorContains(t, err, "20 MiB are needed")
}
