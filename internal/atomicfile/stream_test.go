// SPDX-License-Identifier: MPL-2.0

package atomicfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/shoenig/test/must"
)

func writes(content string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, content)
		return err
	}
}

func TestWriteWith_ReplacesTheWholeFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	must.NoError(t, os.WriteFile(path+TemporarySuffix, []byte("left by a killed writer"), 0o600))
	for _, content := range []string{"long content", "x", ""} {
		must.NoError(t, WriteWith(path, 0o640, writes(content)))
		got, err := os.ReadFile(path)
		must.NoError(t, err)
		must.Eq(t, content, string(got))
		info, err := os.Stat(path)
		must.NoError(t, err)
		must.Eq(t, fs.FileMode(0o640), info.Mode())
		must.Eq(t, []string{"file"}, names(t, filepath.Dir(path)))
	}
}

func TestWriteWith_KeepsTheOldFileAfterAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	must.NoError(t, WriteWith(path, 0o600, writes("old")))
	failed := errors.New("failed")
	must.ErrorIs(t, WriteWith(path, 0o600, func(w io.Writer) error {
		must.NoError(t, writes("new")(w))
		return failed
	}), failed)
	got, err := os.ReadFile(path)
	must.NoError(t, err)
	must.Eq(t, "old", string(got))
	must.Eq(t, []string{"file"}, names(t, filepath.Dir(path)))
}

func TestWriteWith_LetsOneOfSeveralWritersWin(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	var writers sync.WaitGroup
	for _, content := range []string{"a", "b", "c", "d"} {
		writers.Go(func() { must.NoError(t, WriteWith(path, 0o600, writes(content))) })
	}
	writers.Wait()
	got, err := os.ReadFile(path)
	must.NoError(t, err)
	must.Eq(t, 1, len(got))
	must.Eq(t, []string{"file"}, names(t, filepath.Dir(path)))
}
