// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/ext4"
)

func zstdCompressed(t testing.TB, plain []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	must.NoError(t, err)
	return w.EncodeAll(plain, nil)
}

// newLayers applies layers to new content.
func newLayers(t testing.TB, layers ...[]tarEntry) *Content {
	t.Helper()
	c, err := NewContent(t.TempDir(), ContentOptions{})
	must.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	for _, layer := range layers {
		must.NoError(t, c.AddLayer(t.Context(), bytes.NewReader(tarBytes(t, layer...))))
	}
	checkContent(t, c)
	return c
}

// paths returns the paths of all files except for the root, sorted, with a slash behind
// those of directories.
func paths(c *Content) []string {
	var found []string
	var add func(n *node, at string)
	add = func(n *node, at string) {
		for name, child := range n.children {
			if child.isType(unix.S_IFDIR) {
				found = append(found, path.Join(at, name)+"/")
				add(child, path.Join(at, name))
				continue
			}
			found = append(found, path.Join(at, name))
		}
	}
	add(c.top, "")
	slices.Sort(found)
	return found
}

// checkContent requires that an image can hold content, and that the counts of links and
// blocks are right.
func checkContent(t testing.TB, c *Content) {
	t.Helper()
	links, blocks := map[*inode]int{}, int64(0)
	var check func(n *node, at string)
	check = func(n *node, at string) {
		must.Eq(t, n.isType(unix.S_IFDIR), n.children != nil, must.Sprint(at))
		for name, child := range n.children {
			must.False(t, name == "" || name == "." || name == ".." || len(name) > maxNameLen || strings.ContainsAny(name, "/\n\r\x00"), must.Sprintf("%q", name))
			must.LessEq(t, maxPathLen, len(path.Join(at, name)))
			if links[child.inode]++; links[child.inode] == 1 {
				blocks += child.data.blocks
			}
			check(child, path.Join(at, name))
		}
	}
	check(c.top, "")
	for i, n := range links {
		must.Eq(t, n, i.links)
	}
	must.Eq(t, c.spool.blocks, blocks)
	root := rootContent{top: c.top}
	use, err := root.measure()
	if err == nil {
		_, err = planGeometry(use, BuildOptions{})
		must.NoError(t, err)
	}
}

func TestContent_AppliesWhiteouts(t *testing.T) {
	t.Parallel()
	lower := []tarEntry{
		tarDirectory("d"), tarRegular("d/a", "a"), tarRegular("d/b", "b"), tarDirectory("d/sub"), tarRegular("d/sub/c", "c"),
		tarSymlink("link", "d"), tarRegular("f", "f"),
	}
	all := []string{"d/", "d/a", "d/b", "d/sub/", "d/sub/c", "f", "link"}
	without := func(removed ...string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(p string) bool { return slices.Contains(removed, p) })
	}
	wh := func(name string) tarEntry { return tarRegular(name, "") }
	for name, c := range map[string]struct {
		upper []tarEntry
		want  []string
	}{
		"nothing":                     {nil, all},
		"file":                        {[]tarEntry{wh("d/.wh.a")}, without("d/a")},
		"directory":                   {[]tarEntry{wh(".wh.d")}, []string{"f", "link"}},
		"symlink, not its target":     {[]tarEntry{wh(".wh.link")}, without("link")},
		"through symlink":             {[]tarEntry{wh("link/.wh.a")}, without("d/a")},
		"dots in the path":            {[]tarEntry{wh("./d/./.wh.a")}, without("d/a")},
		"absolute":                    {[]tarEntry{wh("/d/.wh.a")}, without("d/a")},
		"of nothing":                  {[]tarEntry{wh("d/.wh.x"), wh("x/.wh.y"), wh("x/.wh..wh..opq")}, all},
		"opaque":                      {[]tarEntry{wh("d/.wh..wh..opq")}, []string{"d/", "f", "link"}},
		"opaque root":                 {[]tarEntry{wh(".wh..wh..opq"), tarRegular("g", "")}, []string{"g"}},
		"opaque twice":                {[]tarEntry{wh("d/.wh..wh..opq"), tarRegular("d/n", ""), wh("d/.wh..wh..opq")}, []string{"d/", "d/n", "f", "link"}},
		"file before its replacement": {[]tarEntry{wh("d/.wh.a"), tarRegular("d/a", "new")}, all},
		"file after its replacement":  {[]tarEntry{tarRegular("d/a", "new"), wh("d/.wh.a")}, all},
		"directory before entries":    {[]tarEntry{wh(".wh.d"), tarDirectory("d"), tarRegular("d/n", "")}, []string{"d/", "d/n", "f", "link"}},
		"directory after entries":     {[]tarEntry{tarDirectory("d"), tarRegular("d/n", ""), wh(".wh.d")}, []string{"d/", "d/n", "f", "link"}},
		"directory after its listing": {[]tarEntry{tarDirectory("d"), wh(".wh.d")}, []string{"d/", "f", "link"}},
		"directory after a file in it": {
			[]tarEntry{tarRegular("d/sub/n", ""), wh(".wh.d")},
			[]string{"d/", "d/sub/", "d/sub/n", "f", "link"},
		},
		"opaque after entries": {
			[]tarEntry{tarRegular("d/sub/n", ""), tarRegular("d/a", ""), wh("d/.wh..wh..opq")},
			[]string{"d/", "d/a", "d/sub/", "d/sub/n", "f", "link"},
		},
		"hard link kept":      {[]tarEntry{tarHardLink("kept", "d/a"), wh(".wh.d")}, []string{"f", "kept", "link"}},
		"hard link by link":   {[]tarEntry{tarHardLink("kept", "link/sub/c"), wh(".wh.d")}, []string{"f", "kept", "link"}},
		"AUFS's own files":    {[]tarEntry{tarDirectory(".wh..wh.plnk"), wh(".wh..wh.plnk/1.2"), wh(".wh..wh.aufs")}, all},
		"file becomes dir":    {[]tarEntry{tarRegular("f/x", "")}, nil},
		"dir becomes file":    {[]tarEntry{tarRegular("d", "")}, []string{"d", "f", "link"}},
		"whiteout, then dir":  {[]tarEntry{wh(".wh.f"), tarRegular("f/x", "")}, append(without("f"), "f/", "f/x")},
		"whiteout with bytes": {[]tarEntry{tarRegular("d/.wh.a", "body")}, without("d/a")},
	} {
		content, err := NewContent(t.TempDir(), ContentOptions{})
		must.NoError(t, err)
		must.NoError(t, content.AddLayer(t.Context(), bytes.NewReader(tarBytes(t, lower...))))
		err = content.AddLayer(t.Context(), bytes.NewReader(tarBytes(t, c.upper...)))
		if c.want == nil {
			must.ErrorIs(t, err, ErrArchive, must.Sprint(name))
			continue
		}
		must.NoError(t, err, must.Sprint(name))
		checkContent(t, content)
		slices.Sort(c.want)
		must.Eq(t, c.want, paths(content), must.Sprint(name))
		must.NoError(t, content.Close())
	}
}

// A layer that has files in a directory that it removes, and does not list, makes a new
// directory, wherever the whiteout stands.
func TestContent_DirectoryAfterWhiteoutIsNew(t *testing.T) {
	t.Parallel()
	lower := []tarEntry{{tar.Header{Name: "d", Typeflag: tar.TypeDir, Mode: 0o700, Uid: 7}, ""}, tarRegular("d/a", "")}
	for _, upper := range [][]tarEntry{
		{tarRegular(".wh.d", ""), tarRegular("d/n", "")},
		{tarRegular("d/n", ""), tarRegular(".wh.d", "")},
	} {
		c := newLayers(t, lower, upper)
		must.Eq(t, []string{"d/", "d/n"}, paths(c))
		must.Eq(t, 0o755, c.top.children["d"].mode&0o7777)
		must.Zero(t, c.top.children["d"].uid)
	}
}

func TestContent_RefusesInvalidWhiteouts(t *testing.T) {
	t.Parallel()
	for _, name := range []string{".wh.", "d/.wh.", "/.wh.", ".wh..", ".wh...", "d/.wh...", ".wh.d/x", "../.wh.x", "d/../.wh.x", ".wh.a\nb"} {
		c := newLayers(t, []tarEntry{tarRegular("d/a", "")})
		err := c.AddLayer(t.Context(), bytes.NewReader(tarBytes(t, tarRegular(name, ""))))
		must.ErrorIs(t, err, ErrArchive, must.Sprint(name))
		must.ErrorIs(t, c.AddLayer(t.Context(), bytes.NewReader(nil)), err)
		must.ErrorIs(t, c.WriteImage(t.Context(), filepath.Join(t.TempDir(), "image"), BuildOptions{}), err)
	}
}

// A rootfs archive is no layer.
func TestBuild_KeepsNamesOfWhiteouts(t *testing.T) {
	t.Parallel()
	toolContext(t)
	image := buildChecked(t, tarFile(t, tarRegular("a", "a"), tarRegular(".wh.a", "b")), BuildOptions{})
	must.Eq(t, "a", readFile(t, image, "/a"))
	must.Eq(t, "b", readFile(t, image, "/.wh.a"))
}

func TestContent_MakesImageOfLayers(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	lower := tarBytes(t, tarRegular("bin/tool", "tool"), tarRegular("etc/old", "old"), tarSymlink("lib", "usr/lib"), tarRegular("usr/lib/a", "a"))
	middle := tarBytes(t, tarRegular("etc/.wh.old", ""), tarRegular("lib/b", "b"), tarHardLink("bin/other", "bin/tool"))
	upper := tarBytes(t, tarRegular("usr/lib/a", "new"), tarRegular("kernel", "ELF"))
	for name, encode := range map[string]func(testing.TB, []byte) []byte{
		"plain": func(_ testing.TB, b []byte) []byte { return b }, "gzip": gzipped, "zstd": zstdCompressed,
		"frames": func(t testing.TB, b []byte) []byte {
			return append(zstdCompressed(t, b[:700]), zstdCompressed(t, b[700:])...)
		},
		"members": func(t testing.TB, b []byte) []byte { return append(gzipped(t, b[:700]), gzipped(t, b[700:])...) },
	} {
		dir := t.TempDir()
		c, err := NewContent(dir, ContentOptions{})
		must.NoError(t, err)
		for _, layer := range [][]byte{lower, middle, upper} {
			must.NoError(t, c.AddLayer(ctx, iotest.OneByteReader(bytes.NewReader(encode(t, layer)))), must.Sprint(name))
		}
		must.NoError(t, c.Remove("kernel"))
		image := filepath.Join(dir, "image")
		must.NoError(t, c.WriteImage(ctx, image, BuildOptions{Room: 1 << 20}))
		must.Error(t, c.WriteImage(ctx, image+"2", BuildOptions{}))
		must.NoError(t, c.Close())
		must.NoError(t, ext4.Check(image))
		for path, want := range map[string]string{
			"/bin/tool": "tool", "/bin/other": "tool", "/usr/lib/a": "new", "/usr/lib/b": "b",
		} {
			must.Eq(t, want, readFile(t, image, path), must.Sprint(path))
		}
		must.True(t, statFile(t, image, "/kernel").missing)
		must.True(t, statFile(t, image, "/etc/old").missing)
		left, err := os.ReadDir(dir)
		must.NoError(t, err)
		must.SliceLen(t, 1, left)
	}
}

func TestContent_OpensFilesAsTheGuestWould(t *testing.T) {
	t.Parallel()
	sparse := strings.Repeat("\x00", 3*BlockSize) + "data" + strings.Repeat("\x00", 2*BlockSize+5)
	c := newLayers(t, []tarEntry{
		tarRegular("boot/kernel", "ELF"), tarSymlink("k", "/boot/../boot/kernel"), tarSymlink("loop", "loop"),
		tarSymlink("out", "../../../boot"), tarRegular("etc/passwd", "root:x:0:0"), tarSymlink("dangling", "nowhere"),
		tarRegular("sparse", sparse),
	})
	for _, name := range []string{"boot/kernel", "/boot/kernel", "//boot/./kernel", "k", "/k", "out/kernel", "/etc/../../k"} {
		f, err := c.Open(name)
		must.NoError(t, err, must.Sprint(name))
		must.Eq(t, "/boot/kernel", f.Path())
		must.Eq(t, 3, f.Size())
		content, err := io.ReadAll(io.NewSectionReader(f, 0, 10))
		must.NoError(t, err)
		must.Eq(t, "ELF", string(content))
	}
	for _, name := range []string{"", "/", "boot", "boot/kernel/x", "x", "dangling", "loop", "etc/passwd/", "k/."} {
		_, err := c.Open(name)
		must.Error(t, err, must.Sprint(name))
	}
	for _, name := range []string{"x", "dangling"} {
		_, err := c.Open(name)
		must.ErrorIs(t, err, fs.ErrNotExist)
	}
	content, err := c.ReadFile("/etc/passwd", 10)
	must.NoError(t, err)
	must.Eq(t, "root:x:0:0", string(content))
	_, err = c.ReadFile("/etc/passwd", 9)
	must.ErrorContains(t, err, "10 bytes")
	content, err = c.ReadFile("sparse", 1<<20)
	must.NoError(t, err)
	must.Eq(t, sparse, string(content))

	f, err := c.Open("sparse")
	must.NoError(t, err)
	out, err := os.Create(filepath.Join(t.TempDir(), "copy"))
	must.NoError(t, err)
	defer out.Close()
	_, err = out.WriteString(strings.Repeat("x", 1<<20))
	must.NoError(t, err)
	must.NoError(t, f.CopyTo(t.Context(), out))
	content, err = os.ReadFile(out.Name())
	must.NoError(t, err)
	must.Eq(t, sparse, string(content))

	must.NoError(t, c.Remove("out/kernel"))
	_, err = c.Open("k")
	must.ErrorIs(t, err, fs.ErrNotExist)
	must.ErrorIs(t, c.Remove("k"), fs.ErrNotExist)
	must.False(t, c.IsEmpty())
	checkContent(t, c)
}

func TestContent_IsEmptyWithoutTheKernel(t *testing.T) {
	t.Parallel()
	c := newLayers(t, []tarEntry{tarRegular("app.spt", "ELF")})
	must.False(t, c.IsEmpty())
	must.NoError(t, c.Remove("/app.spt"))
	must.True(t, c.IsEmpty())
}

func TestContent_ReturnsTheErrorOfTheReader(t *testing.T) {
	t.Parallel()
	cut := errors.New("connection cut")
	whole := tarBytes(t, tarRegular("a", strings.Repeat("x", 1<<20)))
	for name, layer := range map[string][]byte{"plain": whole, "gzip": gzipped(t, whole), "zstd": zstdCompressed(t, whole)} {
		for _, at := range []int{0, 4, len(layer) / 2, len(layer) - 1} {
			c := newLayers(t)
			err := c.AddLayer(t.Context(), io.MultiReader(bytes.NewReader(layer[:at]), iotest.ErrReader(cut)))
			must.ErrorIs(t, err, cut, must.Sprint(name, at))
			must.False(t, errors.Is(err, ErrArchive), must.Sprint(name, at, err))
		}
	}
}
