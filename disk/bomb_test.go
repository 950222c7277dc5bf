// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// repeat returns a reader of n times the same bytes.
func repeat(part []byte, n int) io.Reader {
	readers := make([]io.Reader, n)
	for i := range readers {
		readers[i] = bytes.NewReader(part)
	}
	return io.MultiReader(readers...)
}

// A decompression bomb consists of zeros, which take no space on the host, but time.
func TestContent_LimitsUnpackedBytes(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	const tooMuch = unpackFactor*limit + unpackExtra + 1<<20
	zeros := make([]byte, 16<<20)
	header := func(h tar.Header) []byte {
		var b bytes.Buffer
		must.NoError(t, tar.NewWriter(&b).WriteHeader(&h))
		return append(b.Bytes(), make([]byte, -b.Len()&511)...)
	}
	body := header(tar.Header{Typeflag: tar.TypeReg, Name: "zeros", Size: tooMuch})
	skipped := header(tar.Header{Typeflag: tar.TypeReg, Name: ".wh.zeros", Size: tooMuch})
	// Global headers are no files.
	global := header(tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "g", PAXRecords: map[string]string{"comment": strings.Repeat("c", 512<<10)}})
	for name, bomb := range map[string]func(compress func(testing.TB, []byte) []byte) io.Reader{
		"file": func(compress func(testing.TB, []byte) []byte) io.Reader {
			return io.MultiReader(bytes.NewReader(compress(t, body)), repeat(compress(t, zeros), tooMuch/len(zeros)+1))
		},
		"whiteout": func(compress func(testing.TB, []byte) []byte) io.Reader {
			return io.MultiReader(bytes.NewReader(compress(t, skipped)), repeat(compress(t, zeros), tooMuch/len(zeros)+1))
		},
		"after the end": func(compress func(testing.TB, []byte) []byte) io.Reader {
			return repeat(compress(t, zeros), tooMuch/len(zeros)+1)
		},
		"headers": func(compress func(testing.TB, []byte) []byte) io.Reader {
			return repeat(compress(t, global), tooMuch/len(global)+1)
		},
	} {
		for format, compress := range map[string]func(testing.TB, []byte) []byte{"gzip": gzipped, "zstd": zstdCompressed} {
			c, err := NewContent(t.TempDir(), ContentOptions{Max: limit})
			must.NoError(t, err)
			err = c.AddLayer(t.Context(), bomb(compress))
			if name == "headers" && errors.Is(err, ErrArchive) {
				must.ErrorContains(t, err, "MiB of names")
			} else {
				must.ErrorIs(t, err, ErrTooLarge, must.Sprint(name, format))
			}
			must.NoError(t, c.Close())
		}
	}
}

// The limit is that of all layers together.
func TestContent_LimitsAllLayers(t *testing.T) {
	t.Parallel()
	c, err := NewContent(t.TempDir(), ContentOptions{Max: 1 << 20})
	must.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	layer := tarBytes(t, tarRegular("a", strings.Repeat("x", 700<<10)))
	must.NoError(t, c.AddLayer(t.Context(), bytes.NewReader(layer)))
	must.NoError(t, c.AddLayer(t.Context(), bytes.NewReader(layer)), must.Sprint("the file replaces the one of the lower layer"))
	err = c.AddLayer(t.Context(), bytes.NewReader(tarBytes(t, tarRegular("b", strings.Repeat("x", 700<<10)))))
	must.ErrorIs(t, err, ErrTooLarge)
}

func TestContent_LimitsHolesOfSparseFiles(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Tool("tar"))
	dir := t.TempDir()
	must.NoError(t, os.WriteFile(filepath.Join(dir, "sparse"), nil, 0o600))
	must.NoError(t, os.Truncate(filepath.Join(dir, "sparse"), 1<<40))
	for _, format := range []string{"posix", "gnu", "oldgnu"} {
		layer, err := exec.Command("tar", "-C", dir, "--sparse", "--format="+format, "-c", "sparse").Output()
		must.NoError(t, err)
		c, err := NewContent(t.TempDir(), ContentOptions{Max: 1 << 20})
		must.NoError(t, err)
		must.ErrorIs(t, c.AddLayer(t.Context(), bytes.NewReader(layer)), ErrTooLarge)
		must.NoError(t, c.Close())
	}
}

func TestContent_LimitsEntries(t *testing.T) {
	t.Parallel()
	for name, reach := range map[string]func(c *Content){
		"files":            func(c *Content) { c.nodes = maxEntries - 1 },
		"MiB of names":     func(c *Content) { c.textBytes = maxArchiveText },
		"steps to resolve": func(c *Content) { c.steps = maxArchiveSteps },
		"hard links":       func(c *Content) { c.top.children["a"].links = maxLinks },
	} {
		c := newLayers(t, []tarEntry{tarRegular("a", "")})
		reach(c)
		err := c.AddLayer(t.Context(), bytes.NewReader(tarBytes(t, tarHardLink("d/b", "a"))))
		must.ErrorIs(t, err, ErrArchive, must.Sprint(name))
		must.ErrorContains(t, err, name)
	}
}

func TestContent_ExplainsDamagedLayers(t *testing.T) {
	t.Parallel()
	whole := tarBytes(t, tarRegular("a", strings.Repeat("x", 1<<20)))
	changed := func(b []byte) []byte {
		b = bytes.Clone(b)
		b[len(b)-6]++ // of the checksum
		return b
	}
	window, err := zstd.NewWriter(nil, zstd.WithWindowSize(2*maxZstdWindow))
	must.NoError(t, err)
	var wide bytes.Buffer
	window.Reset(&wide)
	_, err = window.Write(whole)
	must.NoError(t, err)
	must.NoError(t, window.Flush())
	must.NoError(t, window.Close())
	zipped, zstandard := gzipped(t, whole), zstdCompressed(t, whole)
	for name, c := range map[string]struct {
		layer []byte
		want  string
	}{
		"text":            {[]byte(strings.Repeat("text", 1000)), "damaged or incomplete"},
		"cut tar":         {whole[:len(whole)/2], "damaged or incomplete"},
		"cut header":      {whole[:100], "damaged or incomplete"},
		"cut gzip":        {zipped[:len(zipped)/2], "damaged or incomplete"},
		"cut gzip header": {zipped[:5], "damaged or incomplete"},
		"cut gzip end":    {zipped[:len(zipped)-1], "damaged or incomplete"},
		"gzip checksum":   {changed(zipped), "damaged or incomplete"},
		"after gzip":      {append(bytes.Clone(zipped), "text"...), "damaged or incomplete"},
		"cut zstd":        {zstandard[:len(zstandard)/2], "damaged or incomplete"},
		"cut zstd end":    {zstandard[:len(zstandard)-1], "damaged or incomplete"},
		"zstd checksum":   {append(bytes.Clone(zstandard[:len(zstandard)-1]), zstandard[len(zstandard)-1]+1), "damaged or incomplete"},
		"zstd window":     {wide.Bytes(), "--long"},
		"xz":              {[]byte("\xfd7zXZ\x00\x00\x00"), "xz"},
		"bzip2":           {[]byte("BZh91AY&SY"), "bzip2"},
	} {
		content := newLayers(t)
		err := content.AddLayer(t.Context(), bytes.NewReader(c.layer))
		must.ErrorIs(t, err, ErrArchive, must.Sprint(name))
		must.ErrorContains(t, err, c.want, must.Sprint(name))
	}
}

func TestContent_AcceptsEmptyLayers(t *testing.T) {
	t.Parallel()
	for _, layer := range [][]byte{nil, make([]byte, 1024), gzipped(t, make([]byte, 1024)), zstdCompressed(t, nil)} {
		c := newLayers(t)
		must.NoError(t, c.AddLayer(t.Context(), bytes.NewReader(layer)))
		must.True(t, c.IsEmpty())
	}
}

func TestContent_EndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the task was stopped")
	c := newLayers(t)
	endless := tarBytes(t, tarRegular("a", strings.Repeat("x", 1<<20)))
	err := c.AddLayer(ctx, io.MultiReader(repeat(endless[:len(endless)-1024], 100), readerFunc(func(p []byte) (int, error) {
		cancel(cause)
		return copy(p, endless), nil
	})))
	must.ErrorIs(t, err, cause)
	must.False(t, errors.Is(err, ErrArchive))
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestContent_LeavesOutForeignAttributes(t *testing.T) {
	t.Parallel()
	records := map[string]string{}
	for _, name := range []string{
		"com.apple.provenance", "trusted.overlay.opaque", "user.overlay.origin", "trusted.other", "user.kept",
		"security.capability", "system.data", "system.richacl", "user", "user.", "security.",
	} {
		records["SCHILY.xattr."+name] = "value"
	}
	c := newLayers(t, []tarEntry{{tar.Header{Name: "a", Typeflag: tar.TypeReg, PAXRecords: records, Format: tar.FormatPAX}, ""}})
	must.Eq(t, []xattr{{"security.capability", "value"}, {"trusted.other", "value"}, {"user.kept", "value"}}, c.top.children["a"].xattrs)
}

// The same layers give the same bytes, however they are compressed.
func TestContent_IsReproducible(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	lower := tarBytes(t, tarDirectory("etc"), tarRegular("etc/a", "a"), tarRegular("etc/b", strings.Repeat("b", 1<<20)), tarHardLink("h", "etc/a"),
		tarHardLink("h2", "etc/b"), tarEntry{tar.Header{
			Name: "x", Typeflag: tar.TypeReg, Format: tar.FormatPAX,
			PAXRecords: map[string]string{"SCHILY.xattr.user.a": "1", "SCHILY.xattr.user.b": "2", "SCHILY.xattr.security.c": "3"},
		}, ""})
	upper := tarBytes(t, tarRegular("etc/.wh.a", ""), tarRegular("etc/c", "c"), tarRegular("usr/.wh..wh..opq", ""))
	var first []byte
	for _, compress := range []func(testing.TB, []byte) []byte{
		func(_ testing.TB, b []byte) []byte { return b }, gzipped, zstdCompressed,
	} {
		dir := t.TempDir()
		c, err := NewContent(dir, ContentOptions{})
		must.NoError(t, err)
		must.NoError(t, c.AddLayer(ctx, bytes.NewReader(compress(t, lower))))
		must.NoError(t, c.AddLayer(ctx, bytes.NewReader(compress(t, upper))))
		must.NoError(t, c.WriteImage(ctx, filepath.Join(dir, "image"), BuildOptions{Room: 1 << 20}))
		must.NoError(t, c.Close())
		image, err := os.ReadFile(filepath.Join(dir, "image"))
		must.NoError(t, err)
		if first == nil {
			first = image
		}
		must.True(t, bytes.Equal(first, image), must.Sprint("the images differ"))
	}
}
