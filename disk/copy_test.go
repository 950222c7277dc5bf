// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/ext4"
)

func TestCopy_PreservesContentAndHoles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	f, err := os.Create(src)
	must.NoError(t, err)
	for _, at := range []int64{0, 5 << 20, 5<<20 + 100, 63 << 20} {
		_, err := f.WriteAt([]byte(strings.Repeat("data", 10_000)), at)
		must.NoError(t, err)
	}
	must.NoError(t, f.Truncate(256<<20))
	must.NoError(t, f.Close())
	dst := filepath.Join(dir, "dst")
	must.NoError(t, Copy(t.Context(), src, dst))
	must.True(t, sameContent(t, src, dst))
	info, err := os.Stat(dst)
	must.NoError(t, err)
	must.Eq(t, 0o600, info.Mode())
	must.Less(t, 2<<20, info.Sys().(*syscall.Stat_t).Blocks*512)
}

func sameContent(t *testing.T, a, b string) bool {
	t.Helper()
	one, err := os.ReadFile(a)
	must.NoError(t, err)
	two, err := os.ReadFile(b)
	must.NoError(t, err)
	return string(one) == string(two)
}

func TestCopy_WorksAcrossFileSystems(t *testing.T) {
	t.Parallel()
	shm, err := os.MkdirTemp("/dev/shm", "copy-")
	if err != nil {
		t.Skip("needs /dev/shm:", err)
	}
	defer os.RemoveAll(shm)
	src := writeFile(t, filepath.Join(t.TempDir(), "src"), strings.Repeat("data", 3<<20))
	dst := filepath.Join(shm, "dst")
	must.NoError(t, Copy(t.Context(), src, dst))
	must.True(t, sameContent(t, src, dst))
}

func TestCopy_LeavesNoPartialFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := writeFile(t, filepath.Join(dir, "src"), strings.Repeat("data", 1000))
	dst := filepath.Join(dir, "dst")
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	must.ErrorIs(t, Copy(canceled, src, dst), context.Canceled)
	must.ErrorIs(t, Copy(t.Context(), src, src), fs.ErrExist)
	must.ErrorIs(t, Copy(t.Context(), filepath.Join(dir, "missing"), dst), fs.ErrNotExist)
	must.Error(t, Copy(t.Context(), dir, dst))
	must.Error(t, Copy(t.Context(), "/dev/zero", dst))
	left, err := os.ReadDir(dir)
	must.NoError(t, err)
	must.SliceLen(t, 1, left)
}

// Only file systems without O_TMPFILE use a temporary name.
func TestPendingFile_WithTemporaryName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	newPendingFile := func() *pendingFile {
		f, err := os.CreateTemp(dir, ".lkl-*")
		must.NoError(t, err)
		return &pendingFile{File: f, path: filepath.Join(dir, "dst"), temporaryName: f.Name()}
	}
	newPendingFile().discard()
	must.NoError(t, newPendingFile().commit())
	must.ErrorIs(t, newPendingFile().commit(), fs.ErrExist)
	left, err := os.ReadDir(dir)
	must.NoError(t, err)
	must.SliceLen(t, 1, left)
	must.Eq(t, "dst", left[0].Name())
}

func TestCopy_IsIndependentOfItsOriginal(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	src := sampleImage(t)
	dst := filepath.Join(t.TempDir(), "dst")
	must.NoError(t, Copy(ctx, src, dst))
	must.NoError(t, Put(ctx, Sandbox{}, dst, []File{textFile("/etc/hosts", "changed")}))
	must.Eq(t, "old", readFile(t, src, "/etc/hosts"))
	must.Eq(t, "changed", readFile(t, dst, "/etc/hosts"))
}

func TestGrow_AddsFreeSpace(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	image := sampleImage(t)
	size := func() int64 {
		info, err := os.Stat(image)
		must.NoError(t, err)
		return info.Size()
	}
	before := size()
	must.NoError(t, Grow(ctx, Sandbox{}, image, before))
	must.NoError(t, Grow(ctx, Sandbox{}, image, before+100))
	must.Eq(t, before, size())
	must.Error(t, Grow(ctx, Sandbox{}, image, before-BlockSize))
	for _, to := range []int64{before + BlockSize*100, 64<<20 + 5, 2 << 30} {
		must.NoError(t, Grow(ctx, Sandbox{}, image, to))
		must.NoError(t, ext4.Check(image))
		must.Eq(t, to-to%BlockSize, size())
	}
	must.NoError(t, Put(ctx, Sandbox{}, image, []File{{Path: "/big", Source: hostFile(t, 50<<20)}}))
	must.Eq(t, "old", readFile(t, image, "/etc/hosts"))
	must.ErrorIs(t, Grow(ctx, Sandbox{}, writeFile(t, filepath.Join(t.TempDir(), "x"), "text"), 1<<20), ErrKind)
}
