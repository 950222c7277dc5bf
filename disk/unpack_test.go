// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/shoenig/test/must"
)

// FuzzLayer applies two layers. It creates no file on the host, stays within its limits, and
// leaves content that an image can hold.
func FuzzLayer(f *testing.F) {
	plain := tarBytes(f, tarRegular("a/b", "x"), tarSymlink("l", "/etc"), tarRegular("l/passwd", "x"), tarHardLink("h", "a/b"))
	for _, upper := range [][]byte{
		tarBytes(f, tarSymlink("a", ".."), tarRegular("a/x", "x"), tarDirectory("a"), tarRegular("../x", "x")),
		tarBytes(f, tarRegular("a/.wh.b", ""), tarRegular("a/b", "y"), tarRegular(".wh..wh..opq", "")),
		tarBytes(f, tarRegular("a/c", "x"), tarRegular(".wh.a", ""), tarRegular(".wh.", ""), tarRegular(".wh.../x", "")),
		gzipped(f, tarBytes(f, tarRegular("a", "x"), tarRegular("a", "y"), tarDirectory("a"))),
		zstdCompressed(f, tarBytes(f, tarHardLink("a/c", "l/passwd"), tarRegular("etc/.wh.passwd", ""))),
	} {
		f.Add(plain, upper)
		f.Add(upper, plain)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, lower, upper []byte) {
		c, err := NewContent(dir, ContentOptions{Max: 1 << 20})
		must.NoError(t, err)
		for _, layer := range [][]byte{lower, upper} {
			if err = c.AddLayer(t.Context(), bytes.NewReader(layer)); err != nil {
				break
			}
		}
		if err != nil {
			must.True(t, errors.Is(err, ErrArchive) || errors.Is(err, ErrTooLarge), must.Sprint(err))
		} else {
			checkContent(t, c)
		}
		must.LessEq(t, int64(1<<20/BlockSize), c.spool.blocks)
		must.NoError(t, c.Close())
		left, err := os.ReadDir(dir)
		must.NoError(t, err)
		must.SliceEmpty(t, left)
	})
}
