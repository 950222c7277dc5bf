// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"
)

// base is an image with a little of everything in it.
func base(t testing.TB) string {
	t.Helper()
	return build(t, tarFile(t,
		regular("etc/hosts", "old"), symlink("etc/resolv.conf", "../run/nowhere/resolv.conf"),
		hardlink("etc/hosts-too", "etc/hosts"), directory("data"), regular("data/kept", "kept"),
		symlink("alias", "data"), symlink("dangling", "nowhere"),
	), BuildOptions{Room: 8 << 20})
}

func file(path, body string) File { return File{Path: path, Mode: 0o644, Content: []byte(body)} }

func TestPut_PutsWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	ctx := begin(t)
	image := base(t)
	host := writeFile(t, filepath.Join(t.TempDir(), "host file"), strings.Repeat("from the host", 100_000))
	must.NoError(t, Put(ctx, image, []File{
		file("/etc/hosts", "new"),
		file("/etc/resolv.conf", "nameserver 192.0.2.1\n"),
		{Path: "/secrets", Mode: fs.ModeDir | 0o700, UID: 1000, GID: 2000},
		{Path: "/secrets/token", Mode: 0o600, UID: 70000, GID: 80000, Content: []byte("s3cret")},
		{Path: "/local/deep/er/file", Mode: 0o755 | fs.ModeSetuid, Source: host},
		{Path: "/alias/below", Mode: 0o644, Content: nil},
		{Path: "/alias", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
		{Path: "/link", Mode: fs.ModeSymlink, Link: "/etc/hosts", UID: 9},
		{Path: "/link", Mode: fs.ModeSymlink, Link: strings.Repeat("far/", 100)},
		{Path: "/", Mode: fs.ModeDir | 0o711, GID: 3},
	}))
	must.NoError(t, Check(ctx, image))
	for path, want := range map[string]status{
		"/etc/hosts":          {kind: "regular", mode: 0o644, size: 3, links: 1},
		"/etc/hosts-too":      {kind: "regular", mode: 0o644, size: 3, links: 1},
		"/secrets/token":      {kind: "regular", mode: 0o600, uid: 70000, gid: 80000, size: 6, links: 1},
		"/local/deep/er/file": {kind: "regular", mode: 0o4755, size: 1_300_000, links: 1},
		"/data/below":         {kind: "regular", mode: 0o644, links: 1},
		"/link":               {kind: "symlink", mode: 0o777, size: 400, links: 1},
	} {
		got := stat(t, image, path)
		want.exist, want.mtime = true, got.mtime
		test.Eq(t, want, got, test.Sprint(path))
	}
	must.Eq(t, 0o1777, stat(t, image, "/data").mode)
	must.Eq(t, "symlink", stat(t, image, "/alias").kind)
	must.Eq(t, 0o711, stat(t, image, "/").mode)
	secrets := stat(t, image, "/secrets")
	must.Eq(t, []int64{0o700, 1000, 2000}, []int64{secrets.mode, secrets.uid, secrets.gid})
	must.Eq(t, "new", content(t, image, "/etc/hosts"))
	must.Eq(t, "old", content(t, image, "/etc/hosts-too"))
	must.Eq(t, "kept", content(t, image, "/data/kept"))
	must.Eq(t, 1_300_000, len(content(t, image, "/local/deep/er/file")))
}

func TestPut_TakesAnyNameThatALineHolds(t *testing.T) {
	t.Parallel()
	ctx := begin(t)
	image := base(t)
	var files []File
	for i, name := range []string{
		`with blank`, ` lead`, `trail `, `"`, `""`, `a"b"c`, `"quoted"`, `<12>`, `#comment`, `!sh`, `-f`, `-`,
		`back\slash`, `\n`, `tab	tab`, `$HOME`, "`id`", `;ls`, `é`, `日本`, "\xff\xfe", "\x01\x7f", `*`, `~`,
		`quit`, `debugfs: rm`, strings.Repeat("n", 255), `'`, `a'b`, `%s%n`, `...`, `?offset=1`,
	} {
		files = append(files, file("/n/"+name, fmt.Sprint(i)),
			File{Path: "/l/" + name, Mode: fs.ModeSymlink, Link: name},
			file("/d/"+name+"/x", fmt.Sprint("in ", i)))
	}
	must.NoError(t, Put(ctx, image, files))
	must.NoError(t, Put(ctx, image, files), must.Sprint("once more, over what is there"))
	must.NoError(t, Check(ctx, image))
	for i, f := range files {
		if f.Mode.IsRegular() {
			must.Eq(t, string(f.Content), content(t, image, f.Path), must.Sprint(i, f.Path))
		}
	}
	must.Eq(t, len(files)/3+2, strings.Count(debug(t, image, "ls -p /n"), "\n/"), must.Sprint(debug(t, image, "ls -p /n")))
}

func TestPut_RefusesNamesBeforeItWrites(t *testing.T) {
	t.Parallel()
	ctx := begin(t)
	image := base(t)
	before, err := os.ReadFile(image)
	must.NoError(t, err)
	for name, f := range map[string]File{
		"newline":         file("/a\nrm /etc/hosts", ""),
		"return":          file("/a\rb", ""),
		"nul":             file("/a\x00b", ""),
		"relative":        file("etc/hosts", ""),
		"nothing":         file("", ""),
		"up":              file("/a/../b", ""),
		"long name":       file("/"+strings.Repeat("n", 256), ""),
		"long path":       file(strings.Repeat("/"+strings.Repeat("n", 200), 50), ""),
		"root":            file("/", ""),
		"newline in link": {Path: "/a", Mode: fs.ModeSymlink, Link: "a\nb"},
		"empty link":      {Path: "/a", Mode: fs.ModeSymlink},
		"long link":       {Path: "/a", Mode: fs.ModeSymlink, Link: strings.Repeat("l", 4096)},
	} {
		test.ErrorIs(t, Put(ctx, image, []File{file("/first", "x"), f}), ErrName, test.Sprint(name))
	}
	must.Error(t, Put(ctx, image, []File{{Path: "/d", Mode: fs.ModeDevice}}))
	must.Error(t, Put(ctx, image, []File{{Path: "/d", UID: -1}}))
	after, err := os.ReadFile(image)
	must.NoError(t, err)
	must.True(t, string(before) == string(after), must.Sprint("the image was changed"))
}

// debugfs exits with 0 after each of these.
func TestPut_TellsEveryFailure(t *testing.T) {
	t.Parallel()
	ctx := begin(t)
	for name, f := range map[string]File{
		"file over a directory":  file("/data", "x"),
		"link over a directory":  {Path: "/data", Mode: fs.ModeSymlink, Link: "x"},
		"directory over a file":  {Path: "/etc/hosts", Mode: fs.ModeDir | 0o755},
		"below a file":           file("/etc/hosts/x", "x"),
		"below a dangling link":  file("/dangling/x", "x"),
		"missing source":         {Path: "/x", Source: "/does/not/exist"},
		"source is a directory":  {Path: "/x", Source: t.TempDir()},
		"source is a device":     {Path: "/x", Source: "/dev/zero"},
		"more than there is":     file("/x", strings.Repeat("x", 20<<20)),
		"source of too much":     {Path: "/x", Source: big(t, 20<<20)},
		"directory below a file": {Path: "/etc/hosts/a/b", Mode: fs.ModeDir | 0o755},
	} {
		err := Put(ctx, base(t), []File{file("/before", "x"), f})
		test.Error(t, err, test.Sprint(name))
		if strings.Contains(name, "much") || strings.Contains(name, "more") {
			test.ErrorIs(t, err, ErrNoSpace, test.Sprint(name))
		}
		if err != nil {
			test.StrContains(t, err.Error(), f.Path)
		}
	}
	must.Error(t, Put(ctx, writeFile(t, filepath.Join(t.TempDir(), "text"), "no image"), []File{file("/x", "x")}))
	must.ErrorIs(t, Put(ctx, filepath.Join(t.TempDir(), "missing"), nil), fs.ErrNotExist)
}

func big(t *testing.T, size int) string {
	t.Helper()
	return writeFile(t, filepath.Join(t.TempDir(), "big"), strings.Repeat("x", size))
}

func TestPut_ManyFilesGrowTheirDirectory(t *testing.T) {
	t.Parallel()
	ctx := begin(t)
	image := base(t)
	var files []File
	for i := range 600 {
		files = append(files, file(fmt.Sprintf("/many/%0100d", i), fmt.Sprint(i)))
	}
	must.NoError(t, Put(ctx, image, files))
	must.NoError(t, Check(ctx, image))
	must.Eq(t, "599", content(t, image, files[599].Path))
}

// An image that a guest was killed on has changes in its journal, which the next
// mount would write over those of Put.
func TestPut_ReplaysTheJournalFirst(t *testing.T) {
	t.Parallel()
	ctx := begin(t)
	image := base(t)
	block := strings.Fields(debug(t, image, "blocks /etc/hosts-too"))
	must.SliceNotEmpty(t, block)
	number := block[len(block)-1]
	written := writeFile(t, filepath.Join(t.TempDir(), "block"), "journaled"+strings.Repeat("\x00", BlockSize-9))
	img, err := openImage(image, os.O_RDWR)
	must.NoError(t, err)
	defer img.Close()
	s, err := openSession(ctx, img.File, true)
	must.NoError(t, err)
	must.NoError(t, s.run("journal_open"))
	_, err = s.ask("journal_write", "-b", number, written)
	must.NoError(t, err)
	must.NoError(t, s.run("journal_close"))
	must.NoError(t, s.close())
	sb, err := readSuperblock(img.File)
	must.NoError(t, err)
	must.True(t, sb.recover)

	must.NoError(t, Put(ctx, image, []File{file("/new", "new")}))
	must.NoError(t, Check(ctx, image))
	must.Eq(t, "jou", content(t, image, "/etc/hosts-too"))
	must.Eq(t, "new", content(t, image, "/new"))
}

func TestGet_TellsWhatItCannotGet(t *testing.T) {
	t.Parallel()
	ctx := begin(t)
	image := base(t)
	for path, want := range map[string]error{
		"/missing": fs.ErrNotExist, "/missing/too": fs.ErrNotExist, "/etc/hosts/x": errNotDirectory,
		"/line\nbreak": ErrName,
	} {
		_, err := Get(ctx, image, path)
		test.ErrorIs(t, err, want, test.Sprint(path))
	}
	for _, path := range []string{"/", "/etc", "/alias", "/dangling"} {
		_, err := Get(ctx, image, path)
		test.Error(t, err)
	}
	must.Eq(t, "kept", content(t, image, "/alias/kept"), must.Sprint("symlinks on the way are followed"))

	large := build(t, tarFile(t, regular("zeros", strings.Repeat("\x00", largestGet+1))), BuildOptions{})
	_, err := Get(ctx, large, "/zeros")
	must.ErrorContains(t, err, "too many")
}

func TestTree_ListsADirectory(t *testing.T) {
	t.Parallel()
	ctx := begin(t)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "a", "b"), "b")
	writeFile(t, filepath.Join(dir, "skipped", "c"), "c")
	writeFile(t, filepath.Join(dir, "skipped file"), "c")
	writeFile(t, filepath.Join(dir, "\xff", "\xfe"), "any bytes")
	must.NoError(t, os.Symlink("/etc/passwd", filepath.Join(dir, "link")))
	must.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	must.NoError(t, os.Chmod(filepath.Join(dir, "a", "b"), 0o600))
	files, err := Tree(dir, ".", "/local", func(name string) bool { return strings.HasPrefix(name, "skipped") })
	must.NoError(t, err)
	var paths []string
	for _, f := range files {
		paths = append(paths, f.Path)
	}
	must.Eq(t, []string{"/local", "/local/a", "/local/a/b", "/local/link", "/local/\xff", "/local/\xff/\xfe"}, paths)
	image := base(t)
	must.NoError(t, Put(ctx, image, files))
	must.NoError(t, Check(ctx, image))
	must.Eq(t, "b", content(t, image, "/local/a/b"))
	b := stat(t, image, "/local/a/b")
	must.Eq(t, []int64{0o600, int64(os.Getuid()), int64(os.Getgid())}, []int64{b.mode, b.uid, b.gid})
	must.Eq(t, "/etc/passwd", stat(t, image, "/local/link").link)
}

// Another task of the alloc can change the tree between Tree and Put.
func TestTree_NeverLeavesTheTree(t *testing.T) {
	t.Parallel()
	ctx := begin(t)
	secret := writeFile(t, filepath.Join(t.TempDir(), "dir", "secret"), "the host's")
	for name, swap := range map[string]func(dir string) error{
		"file": func(dir string) error {
			return os.Symlink(secret, filepath.Join(dir, "sub", "secret"))
		},
		"relative": func(dir string) error {
			return os.Symlink("../../../../../../../../../.."+secret, filepath.Join(dir, "sub", "secret"))
		},
		"directory": func(dir string) error {
			return os.Remove(filepath.Join(dir, "sub"))
		},
		"pipe": func(dir string) error {
			return syscall.Mkfifo(filepath.Join(dir, "sub", "secret"), 0o600)
		},
	} {
		dir := t.TempDir()
		mine := writeFile(t, filepath.Join(dir, "sub", "secret"), "mine")
		files, err := Tree(dir, ".", "/local", nil)
		must.NoError(t, err)
		must.NoError(t, os.Remove(mine))
		must.NoError(t, swap(dir))
		if name == "directory" {
			must.NoError(t, os.Symlink(filepath.Dir(secret), filepath.Join(dir, "sub")))
		}
		image := base(t)
		test.Error(t, Put(ctx, image, files), test.Sprint(name))
		test.True(t, stat(t, image, "/local/sub/secret").missing, test.Sprint(name))
	}
}
