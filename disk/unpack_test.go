// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

// describedLayer converts a short description to a layer. Entries end with a semicolon. They
// consist of a type, a name, and the target or body behind ">". A mutation of a description
// is another valid archive more often than a mutation of an archive.
func describedLayer(t testing.TB, description string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for entry := range strings.SplitSeq(description, ";") {
		if entry == "" {
			continue
		}
		name, rest, _ := strings.Cut(entry[1:], ">")
		h := tar.Header{Typeflag: entry[0], Name: name, Mode: int64(len(rest)) * 73, Format: tar.FormatPAX}
		switch h.Typeflag {
		case tar.TypeLink, tar.TypeSymlink:
			h.Linkname, rest = rest, ""
		case tar.TypeReg:
			h.Size = int64(len(rest))
		case tar.TypeChar, tar.TypeBlock:
			h.Devmajor, rest = int64(len(rest)), ""
		case 'x': // a file with an extended attribute
			key, value, _ := strings.Cut(rest, "=")
			h.Typeflag, h.PAXRecords, rest = tar.TypeReg, map[string]string{"SCHILY.xattr." + key: value}, ""
		default:
			rest = ""
		}
		if w.WriteHeader(&h) == nil {
			_, err := w.Write([]byte(rest))
			must.NoError(t, err)
		}
	}
	must.NoError(t, w.Close())
	return b.Bytes()
}

// FuzzLayer applies two described layers. Content stays within its limits and remains valid,
// and creates no file on the host.
func FuzzLayer(f *testing.F) {
	layers := []string{
		"0a/b>x;2l>/etc;0l/passwd>x;1h>a/b;5etc;3null>x;6pipe;xcap>security.capability=x",
		"2a>..;0a/x>x;5a;0../x>x;0a>x;0a>y;5a;1a/c>l/passwd;2up>../../etc/./x;0up/y>y",
		"0a/.wh.b;0a/b>y;0.wh..wh..opq;0a/c>x;0.wh.a",
		"0.wh.;0.wh.../x;0/etc/.wh.passwd;0.wh..wh.plnk/1>x;1z>.wh..wh.plnk/1;5lost+found;1h>h;2h>h;0h/x",
	}
	for _, lower := range layers {
		for _, upper := range layers {
			f.Add(lower, upper)
		}
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, lower, upper string) {
		fuzzLayers(t, dir, describedLayer(t, lower), describedLayer(t, upper))
	})
}

// FuzzLayerBytes applies a layer of any bytes.
func FuzzLayerBytes(f *testing.F) {
	plain := describedLayer(f, "0a>b;2s>a;xx>user.x=y")
	f.Add(plain)
	f.Add(gzipped(f, plain))
	f.Add(zstdCompressed(f, plain))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, layer []byte) { fuzzLayers(t, dir, layer) })
}

func fuzzLayers(t *testing.T, dir string, layers ...[]byte) {
	t.Helper()
	c, err := NewContent(dir, ContentOptions{Max: 1 << 20})
	must.NoError(t, err)
	for _, layer := range layers {
		if err = c.AddLayer(t.Context(), bytes.NewReader(layer)); err != nil {
			break
		}
	}
	if err != nil {
		must.True(t, errors.Is(err, ErrArchive) || errors.Is(err, ErrTooLarge), must.Sprint(err))
	} else {
		checkContent(t, c)
	}
	must.LessEq(t, int64(1<<20/BlockSize)+1, c.spool.blocks)
	must.NoError(t, c.Close())
	left, err := os.ReadDir(dir)
	must.NoError(t, err)
	must.SliceEmpty(t, left)
}
