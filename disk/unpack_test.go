// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"
)

// No archive creates a file on the host.
func FuzzUnpack_CreatesNoFiles(f *testing.F) {
	f.Add(tarBytes(f, tarRegular("a/b", "x"), tarSymlink("l", "/etc"), tarRegular("l/passwd", "x"), tarHardLink("h", "a/b")))
	f.Add(tarBytes(f, tarSymlink("a", ".."), tarRegular("a/x", "x"), tarDirectory("a"), tarRegular("../x", "x")))
	f.Add(gzipped(f, tarBytes(f, tarRegular("a", "x"), tarRegular("a", "y"), tarDirectory("a"))))
	f.Fuzz(func(t *testing.T, archive []byte) {
		dir := t.TempDir()
		src := filepath.Join(dir, "archive")
		must.NoError(t, os.WriteFile(src, archive, 0o600))
		below := filepath.Join(dir, "below")
		must.NoError(t, os.Mkdir(below, 0o700))
		in, err := unpack(t.Context(), src, below, BuildOptions{Size: 1 << 20})
		if err == nil {
			use, err := in.measure()
			if err == nil {
				_, err = planGeometry(use, BuildOptions{})
				must.NoError(t, err)
			}
			must.NoError(t, in.files.Close())
		}
		for _, at := range []string{dir, below} {
			left, err := os.ReadDir(at)
			must.NoError(t, err)
			must.SliceLen(t, map[string]int{dir: 2, below: 0}[at], left)
		}
	})
}
