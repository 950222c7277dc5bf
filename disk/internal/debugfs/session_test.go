// SPDX-License-Identifier: MPL-2.0

package debugfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/disk/internal/e2fsprogs"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/memfd"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/ext4"
)

// newImage creates an ext4 image of 16 MiB and opens it.
func newImage(t *testing.T) *os.File {
	t.Helper()
	testenv.Need(t, testenv.Tool("mke2fs"), testenv.Tool("debugfs"), testenv.Tool("e2fsck"))
	path := filepath.Join(t.TempDir(), "image")
	out, err := exec.Command("mke2fs", "-q", "-F", "-t", "ext4", path, "16M").CombinedOutput()
	must.NoError(t, err, must.Sprint(string(out)))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Patience)
	t.Cleanup(cancel)
	return ctx
}

func openSession(ctx context.Context, t *testing.T, image *os.File) *Session {
	t.Helper()
	s, err := Open(ctx, image, Options{})
	must.NoError(t, err)
	t.Cleanup(s.Kill)
	return s
}

func TestFileType_DistinguishesTypes(t *testing.T) {
	t.Parallel()
	image := newImage(t)
	content, err := memfd.New("content", []byte("text"))
	must.NoError(t, err)
	defer content.Close()
	s, err := Open(testContext(t), image, Options{Files: []*os.File{content}})
	must.NoError(t, err)
	defer s.Kill()
	must.NoError(t, s.Run("mkdir", "/directory"))
	must.NoError(t, s.Run("symlink", "/link", "directory"))
	must.NoError(t, s.Run("write", e2fsprogs.FilePath(0), "/file"))
	for path, want := range map[string]uint16{
		"/": unix.S_IFDIR, "/directory": unix.S_IFDIR, "/link": unix.S_IFLNK, "/file": unix.S_IFREG,
	} {
		found, err := s.FileType(path)
		must.NoError(t, err)
		must.Eq(t, want, found, must.Sprint(path))
	}
	must.NoError(t, s.CheckDirectory("/directory"))
	must.NoError(t, s.CheckDirectory("/link/."))
	must.ErrorIs(t, s.CheckDirectory("/link"), ErrNotDirectory)
	must.ErrorIs(t, s.CheckDirectory("/file"), ErrNotDirectory)
	must.ErrorIs(t, s.CheckDirectory("/missing"), fs.ErrNotExist)
	for path, want := range map[string]error{
		"/missing": fs.ErrNotExist, "/missing/file": fs.ErrNotExist,
		"/file/below": ErrNotDirectory, "/line\nbreak": ErrName,
	} {
		_, err := s.FileType(path)
		must.ErrorIs(t, err, want, must.Sprintf("%q", path))
	}
	must.ErrorIs(t, s.Remove("/./directory"), ErrIsDirectory)
	must.ErrorIs(t, s.Remove("/./missing"), fs.ErrNotExist)
	must.NoError(t, s.Remove("/./link"))
	must.NoError(t, s.Remove("/./file"))
	must.ErrorIs(t, s.Remove("/./file"), fs.ErrNotExist)
	must.NoError(t, s.CheckDirectory("/directory"))
	must.NoError(t, s.Close())
	must.NoError(t, ext4.Check(image.Name()))
}

func TestRunAll_NamesTheCommandThatFailed(t *testing.T) {
	t.Parallel()
	s := openSession(testContext(t), t, newImage(t))
	err := s.RunAll(func(yield func(string, error) bool) {
		for i := range 900 {
			name := fmt.Sprintf("/d%d", i)
			if i == 800 {
				name = "/missing/directory"
			}
			if !yield(Command("mkdir", name)) {
				return
			}
		}
	})
	must.ErrorContains(t, err, `mkdir "/missing/directory": /missing: File not found`)
}

func TestOpen_RefusesInvalidImage(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Tool("debugfs"))
	f, err := os.Create(t.TempDir() + "/empty")
	must.NoError(t, err)
	defer f.Close()
	_, err = Open(testContext(t), f, Options{})
	must.ErrorIs(t, err, ErrDamaged)
}

func TestSession_EndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(testContext(t))
	s := openSession(ctx, t, newImage(t))
	cause := errors.New("no longer needed")
	cancel(cause)
	_ = s.cmd.Wait() // reports the kill
	_, err := s.FileType("/")
	must.ErrorIs(t, err, cause)
}
