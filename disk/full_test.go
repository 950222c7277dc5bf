// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/shoenig/test"
	"github.com/shoenig/test/must"
)

// fullHost is a directory of a file system of 12 MiB.
func fullHost(t *testing.T) string {
	t.Helper()
	testenv.Need(t, testenv.Root)
	root, err := detachedMount("tmpfs", [2]string{"size", "12m"})
	must.NoError(t, err)
	t.Cleanup(func() { root.Close() })
	return fmt.Sprintf("/proc/self/fd/%d", root.Fd())
}

// A larger image would not help, and the same image may do so later.
func mustBlameTheHost(t *testing.T, err error) {
	t.Helper()
	must.ErrorIs(t, err, syscall.ENOSPC)
	test.False(t, errors.Is(err, ErrNoSpace), test.Sprint(err))
}

func noise(size int) []byte {
	b := make([]byte, size)
	rand.Read(b)
	return b
}

func TestBuild_OnAFullHost(t *testing.T) {
	t.Parallel()
	ctx := begin(t)
	src, host := t.TempDir(), fullHost(t)
	must.NoError(t, os.WriteFile(filepath.Join(src, "large"), noise(20<<20), 0o600))
	mustBlameTheHost(t, Build(ctx, src, filepath.Join(host, "image"), BuildOptions{Room: 1 << 20}))
	mustBlameTheHost(t, Build(ctx, tarFile(t, regular("large", string(noise(20<<20)))), filepath.Join(host, "image"), BuildOptions{}))
}

func TestPut_OnAFullHost(t *testing.T) {
	t.Parallel()
	ctx := begin(t)
	image := filepath.Join(fullHost(t), "image")
	must.NoError(t, Build(ctx, tarFile(t, regular("small", "x")), image, BuildOptions{Room: 40 << 20}))
	mustBlameTheHost(t, Put(ctx, image, []File{file("/large", string(noise(20<<20)))}))
}

func TestGrow_OnAFullHost(t *testing.T) {
	t.Parallel()
	ctx := begin(t)
	host := fullHost(t)
	image := filepath.Join(host, "image")
	must.NoError(t, Build(ctx, tarFile(t, regular("small", "x")), image, BuildOptions{Room: 1 << 20}))
	f, err := os.Create(filepath.Join(host, "others"))
	must.NoError(t, err)
	defer f.Close()
	_, err = f.Write(noise(12 << 20))
	must.ErrorIs(t, err, syscall.ENOSPC)
	mustBlameTheHost(t, Grow(ctx, image, 4<<30))
}
