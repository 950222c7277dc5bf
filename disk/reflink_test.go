// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/loopfs"
)

// On XFS, a copy shares the blocks of its original.
func TestCopy_SharesBlocksOnXFS(t *testing.T) {
	dir := newXFS(t)
	src := writeFile(t, filepath.Join(dir, "src"), strings.Repeat("data", 8<<20))
	f, err := os.Open(src)
	must.NoError(t, err)
	must.NoError(t, unix.Syncfs(int(f.Fd()))) // data that is not on disk yet has no blocks to share
	must.NoError(t, f.Close())
	free := func() uint64 {
		var stat unix.Statfs_t
		must.NoError(t, unix.Statfs(dir, &stat))
		return stat.Bfree * uint64(stat.Bsize)
	}
	before := free()
	dst := filepath.Join(dir, "dst")
	must.NoError(t, Copy(t.Context(), src, dst))
	must.True(t, sameContent(t, src, dst))
	must.Less(t, 1<<20, before-free())
	must.NoError(t, os.Truncate(src, 0))
	must.False(t, sameContent(t, src, dst))
}

// newXFS creates a file system and returns the path of its root. It is not mounted at any
// path, and vanishes with the test's descriptor.
func newXFS(t *testing.T) string {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Tool("mkfs.xfs"), testenv.Loop)
	fs, err := loopfs.New(loopfs.XFS, filepath.Join(t.TempDir(), "xfs"), 512<<20)
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, fs.Close()) })
	return fs.Path()
}
