// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/loopfs"
	"github.com/shoenig/test"
	"github.com/shoenig/test/must"
)

// smallHostDir returns a directory in a file system of 12 MiB.
func smallHostDir(t *testing.T) string {
	t.Helper()
	testenv.Need(t, testenv.Root)
	root, err := loopfs.Mount("tmpfs", [2]string{"size", "12m"})
	must.NoError(t, err)
	t.Cleanup(func() { root.Close() })
	return loopfs.Path(root)
}

// mustBeHostFull requires the error of a full host. ErrNoSpace would be wrong, because a
// larger image would not help.
func mustBeHostFull(t *testing.T, err error) {
	t.Helper()
	must.ErrorIs(t, err, syscall.ENOSPC)
	test.False(t, errors.Is(err, ErrNoSpace), test.Sprint(err))
}

func randomBytes(size int) []byte {
	b := make([]byte, size)
	rand.Read(b)
	return b
}

func TestBuild_ReportsFullHost(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	src, host := t.TempDir(), smallHostDir(t)
	must.NoError(t, os.WriteFile(filepath.Join(src, "large"), randomBytes(20<<20), 0o600))
	must.ErrorIs(t, Build(ctx, src, filepath.Join(host, "image"), BuildOptions{Room: 1 << 20}), ErrReserve)
	archive := tarFile(t, tarRegular("large", string(randomBytes(20<<20))))
	must.ErrorIs(t, Build(ctx, archive, filepath.Join(host, "image"), BuildOptions{}), ErrReserve)
	left, err := os.ReadDir(host)
	must.NoError(t, err)
	must.SliceEmpty(t, left)
}

func TestPut_ReportsFullHost(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	image := filepath.Join(smallHostDir(t), "image")
	must.NoError(t, Build(ctx, tarFile(t, tarRegular("small", "x")), image, BuildOptions{Room: 40 << 20}))
	mustBeHostFull(t, Put(ctx, Sandbox{}, image, []File{textFile("/large", string(randomBytes(20<<20)))}))
}

func TestGrow_ReportsFullHost(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	host := smallHostDir(t)
	image := filepath.Join(host, "image")
	must.NoError(t, Build(ctx, tarFile(t, tarRegular("small", "x")), image, BuildOptions{Room: 1 << 20}))
	f, err := os.Create(filepath.Join(host, "others"))
	must.NoError(t, err)
	defer f.Close()
	_, err = f.Write(randomBytes(12 << 20))
	must.ErrorIs(t, err, syscall.ENOSPC)
	mustBeHostFull(t, Grow(ctx, Sandbox{}, image, 4<<30))
}
