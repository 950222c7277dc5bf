// SPDX-License-Identifier: MPL-2.0

package kernelfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"
)

func TestRead_ReadsFilesUpToTheSizeLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, size := range []int{0, 1, 1023, 1024, 1025, maxSize - 1} {
		want := strings.Repeat("x", size)
		must.NoError(t, os.WriteFile(path, []byte(want), 0o600))
		got, err := Read(path)
		must.NoError(t, err)
		must.Eq(t, want, string(got))
	}
	must.NoError(t, os.WriteFile(path, make([]byte, maxSize+1), 0o600))
	_, err := Read(path)
	must.ErrorIs(t, err, unix.EFBIG)
}

func TestReadWrite_ErrorsNameThePath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	_, err := Read(path)
	must.ErrorIs(t, err, os.ErrNotExist)
	must.ErrorContains(t, err, path)
	err = Write(path, "1")
	must.ErrorIs(t, err, os.ErrNotExist)
	must.ErrorContains(t, err, path)
	must.ErrorContains(t, Write("/dev/full", "1"), "write 1 to /dev/full")
}
