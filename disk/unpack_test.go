// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"
)

// Whatever an archive holds, nothing appears on the host but files, directories
// and symlinks inside of the stage.
func FuzzUnpack_StaysInItsStage(f *testing.F) {
	f.Add(tarBytes(f, regular("a/b", "x"), symlink("l", "/etc"), regular("l/passwd", "x"), hardlink("h", "a/b")))
	f.Add(tarBytes(f, symlink("a", ".."), regular("a/x", "x"), directory("a"), regular("../x", "x")))
	f.Add(gzipped(f, tarBytes(f, regular("a", "x"), regular("a", "y"), directory("a"))))
	f.Fuzz(func(t *testing.T, archive []byte) {
		dir := t.TempDir()
		src := filepath.Join(dir, "archive")
		must.NoError(t, os.WriteFile(src, archive, 0o600))
		below := filepath.Join(dir, "below")
		must.NoError(t, os.Mkdir(below, 0o700))
		s, err := unpack(t.Context(), src, below, BuildOptions{Size: 1 << 20})
		if err == nil {
			_, err = layout(s.contents, BuildOptions{})
			must.NoError(t, err)
			s.remove()
		}
		for _, at := range []string{dir, below} {
			left, err := os.ReadDir(at)
			must.NoError(t, err)
			must.SliceLen(t, map[string]int{dir: 2, below: 0}[at], left)
		}
	})
}
