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

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/ext4"
)

// sampleImage builds an image with files, directories, symlinks and hard links.
func sampleImage(t testing.TB) string {
	t.Helper()
	return buildChecked(t, tarFile(t,
		tarRegular("etc/hosts", "old"), tarSymlink("etc/resolv.conf", "../run/nowhere/resolv.conf"),
		tarHardLink("etc/hosts-too", "etc/hosts"), tarDirectory("data"), tarRegular("data/kept", "kept"),
		tarSymlink("alias", "data"), tarSymlink("dangling", "nowhere"),
	), BuildOptions{Room: 8 << 20})
}

func textFile(path, body string) File { return File{Path: path, Mode: 0o644, Content: []byte(body)} }

func TestPut_CreatesAndReplacesFiles(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	image := sampleImage(t)
	host := writeFile(t, filepath.Join(t.TempDir(), "host file"), strings.Repeat("from the host", 100_000))
	must.NoError(t, Put(ctx, Sandbox{}, image, []File{
		textFile("/etc/hosts", "new"),
		textFile("/etc/resolv.conf", "nameserver 192.0.2.1\n"),
		{Path: "/secrets", Mode: fs.ModeDir | 0o700, UID: 1000, GID: 2000},
		{Path: "/secrets/token", Mode: 0o600, UID: 70000, GID: 80000, Content: []byte("s3cret")},
		{Path: "/local/deep/er/file", Mode: 0o755 | fs.ModeSetuid, Source: host},
		{Path: "/alias/below", Mode: 0o644, Content: nil},
		{Path: "/alias", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
		{Path: "/link", Mode: fs.ModeSymlink, Link: "/etc/hosts", UID: 9},
		{Path: "/link", Mode: fs.ModeSymlink, Link: strings.Repeat("far/", 100)},
		{Path: "/", Mode: fs.ModeDir | 0o711, GID: 3},
	}))
	must.NoError(t, ext4.Check(image))
	for path, want := range map[string]fileStatus{
		"/etc/hosts":          {kind: "regular", mode: 0o644, size: 3, links: 1},
		"/etc/hosts-too":      {kind: "regular", mode: 0o644, size: 3, links: 1},
		"/secrets/token":      {kind: "regular", mode: 0o600, uid: 70000, gid: 80000, size: 6, links: 1},
		"/local/deep/er/file": {kind: "regular", mode: 0o4755, size: 1_300_000, links: 1},
		"/data/below":         {kind: "regular", mode: 0o644, links: 1},
		"/link":               {kind: "symlink", mode: 0o777, size: 400, links: 1},
	} {
		got := statFile(t, image, path)
		want.exist, want.mtime = true, got.mtime
		test.Eq(t, want, got, test.Sprint(path))
	}
	must.Eq(t, 0o1777, statFile(t, image, "/data").mode)
	must.Eq(t, "symlink", statFile(t, image, "/alias").kind)
	must.Eq(t, 0o711, statFile(t, image, "/").mode)
	secrets := statFile(t, image, "/secrets")
	must.Eq(t, []int64{0o700, 1000, 2000}, []int64{secrets.mode, secrets.uid, secrets.gid})
	must.Eq(t, "new", readFile(t, image, "/etc/hosts"))
	must.Eq(t, "old", readFile(t, image, "/etc/hosts-too"))
	must.Eq(t, "kept", readFile(t, image, "/data/kept"))
	must.Eq(t, 1_300_000, len(readFile(t, image, "/local/deep/er/file")))
}

func TestPut_AcceptsUnusualNames(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	image := sampleImage(t)
	var files []File
	for i, name := range []string{
		`with blank`, ` lead`, `trail `, `"`, `""`, `a"b"c`, `"quoted"`, `<12>`, `#comment`, `!sh`, `-f`, `-`,
		`back\slash`, `\n`, `tab	tab`, `$HOME`, "`id`", `;ls`, `é`, `日本`, "\xff\xfe", "\x01\x7f", `*`, `~`,
		`quit`, `debugfs: rm`, strings.Repeat("n", 255), `'`, `a'b`, `%s%n`, `...`, `?offset=1`,
	} {
		files = append(files, textFile("/n/"+name, fmt.Sprint(i)),
			File{Path: "/l/" + name, Mode: fs.ModeSymlink, Link: name},
			textFile("/d/"+name+"/x", fmt.Sprint("in ", i)))
	}
	must.NoError(t, Put(ctx, Sandbox{}, image, files))
	must.NoError(t, Put(ctx, Sandbox{}, image, files), must.Sprint("replacing the files of the first call"))
	must.NoError(t, ext4.Check(image))
	for i, f := range files {
		if f.Mode.IsRegular() {
			must.Eq(t, string(f.Content), readFile(t, image, f.Path), must.Sprint(i, f.Path))
		}
	}
	must.Eq(t, len(files)/3+2, strings.Count(runDebugfs(t, image, "ls -p /n"), "\n/"), must.Sprint(runDebugfs(t, image, "ls -p /n")))
}

func TestPut_ChecksNamesBeforeWriting(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	image := sampleImage(t)
	before, err := os.ReadFile(image)
	must.NoError(t, err)
	for name, f := range map[string]File{
		"newline":         textFile("/a\nrm /etc/hosts", ""),
		"return":          textFile("/a\rb", ""),
		"nul":             textFile("/a\x00b", ""),
		"relative":        textFile("etc/hosts", ""),
		"nothing":         textFile("", ""),
		"up":              textFile("/a/../b", ""),
		"long name":       textFile("/"+strings.Repeat("n", 256), ""),
		"long path":       textFile(strings.Repeat("/"+strings.Repeat("n", 200), 50), ""),
		"root":            textFile("/", ""),
		"newline in link": {Path: "/a", Mode: fs.ModeSymlink, Link: "a\nb"},
		"empty link":      {Path: "/a", Mode: fs.ModeSymlink},
		"long link":       {Path: "/a", Mode: fs.ModeSymlink, Link: strings.Repeat("l", 4096)},
	} {
		test.ErrorIs(t, Put(ctx, Sandbox{}, image, []File{textFile("/first", "x"), f}), ErrName, test.Sprint(name))
	}
	must.Error(t, Put(ctx, Sandbox{}, image, []File{{Path: "/d", Mode: fs.ModeDevice}}))
	must.Error(t, Put(ctx, Sandbox{}, image, []File{{Path: "/d", UID: -1}}))
	after, err := os.ReadFile(image)
	must.NoError(t, err)
	must.True(t, string(before) == string(after), must.Sprint("the image was changed"))
}

// debugfs exits with 0 after each of these failures.
func TestPut_ReportsEveryFailure(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	for name, f := range map[string]File{
		"file over a directory":  textFile("/data", "x"),
		"link over a directory":  {Path: "/data", Mode: fs.ModeSymlink, Link: "x"},
		"directory over a file":  {Path: "/etc/hosts", Mode: fs.ModeDir | 0o755},
		"below a file":           textFile("/etc/hosts/x", "x"),
		"below a dangling link":  textFile("/dangling/x", "x"),
		"missing source":         {Path: "/x", Source: "/does/not/exist"},
		"source is a directory":  {Path: "/x", Source: t.TempDir()},
		"source is a device":     {Path: "/x", Source: "/dev/zero"},
		"more than there is":     textFile("/x", strings.Repeat("x", 20<<20)),
		"source of too much":     {Path: "/x", Source: hostFile(t, 20<<20)},
		"directory below a file": {Path: "/etc/hosts/a/b", Mode: fs.ModeDir | 0o755},
	} {
		err := Put(ctx, Sandbox{}, sampleImage(t), []File{textFile("/before", "x"), f})
		test.Error(t, err, test.Sprint(name))
		if strings.Contains(name, "much") || strings.Contains(name, "more") {
			test.ErrorIs(t, err, ErrNoSpace, test.Sprint(name))
		}
		if err != nil {
			test.StrContains(t, err.Error(), f.Path)
		}
	}
	must.Error(t, Put(ctx, Sandbox{}, writeFile(t, filepath.Join(t.TempDir(), "text"), "no image"), []File{textFile("/x", "x")}))
	must.ErrorIs(t, Put(ctx, Sandbox{}, filepath.Join(t.TempDir(), "missing"), nil), fs.ErrNotExist)
}

func hostFile(t *testing.T, size int) string {
	t.Helper()
	return writeFile(t, filepath.Join(t.TempDir(), "big"), strings.Repeat("x", size))
}

func TestPut_ManyFilesGrowTheirDirectory(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	image := sampleImage(t)
	var files []File
	for i := range 600 {
		files = append(files, textFile(fmt.Sprintf("/many/%0100d", i), fmt.Sprint(i)))
	}
	must.NoError(t, Put(ctx, Sandbox{}, image, files))
	must.NoError(t, ext4.Check(image))
	must.Eq(t, "599", readFile(t, image, files[599].Path))
}

func TestTree_ListsDirectory(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "a", "b"), "b")
	writeFile(t, filepath.Join(dir, "skipped", "c"), "c")
	writeFile(t, filepath.Join(dir, "skipped file"), "c")
	writeFile(t, filepath.Join(dir, "\xff", "\xfe"), "any bytes")
	must.NoError(t, os.Symlink("/etc/passwd", filepath.Join(dir, "link")))
	must.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	must.NoError(t, os.Chmod(filepath.Join(dir, "a", "b"), 0o600))
	files, err := Tree(t.Context(), dir, ".", "/local", func(name string) bool { return strings.HasPrefix(name, "skipped") })
	must.NoError(t, err)
	var paths []string
	for _, f := range files {
		paths = append(paths, f.Path)
	}
	must.Eq(t, []string{"/local", "/local/a", "/local/a/b", "/local/link", "/local/\xff", "/local/\xff/\xfe"}, paths)
	image := sampleImage(t)
	must.NoError(t, Put(ctx, Sandbox{}, image, files))
	must.NoError(t, ext4.Check(image))
	must.Eq(t, "b", readFile(t, image, "/local/a/b"))
	b := statFile(t, image, "/local/a/b")
	must.Eq(t, []int64{0o600, int64(os.Getuid()), int64(os.Getgid())}, []int64{b.mode, b.uid, b.gid})
	must.Eq(t, "/etc/passwd", statFile(t, image, "/local/link").link)
}

// Another task of the alloc may change the directory between Tree and Put.
func TestTree_NeverReadsOutsideItsDirectory(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	secret := writeFile(t, filepath.Join(t.TempDir(), "dir", "secret"), "of the host")
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
		files, err := Tree(t.Context(), dir, ".", "/local", nil)
		must.NoError(t, err)
		must.NoError(t, os.Remove(mine))
		must.NoError(t, swap(dir))
		if name == "directory" {
			must.NoError(t, os.Symlink(filepath.Dir(secret), filepath.Join(dir, "sub")))
		}
		image := sampleImage(t)
		test.Error(t, Put(ctx, Sandbox{}, image, files), test.Sprint(name))
		test.True(t, statFile(t, image, "/local/sub/secret").missing, test.Sprint(name))
	}
}

func TestPut_LeavesOutFilesThatVanish(t *testing.T) {
	dir := t.TempDir()
	gone := writeFile(t, filepath.Join(dir, "sub", "gone"), "x")
	writeFile(t, filepath.Join(dir, "sub", "stays"), "y")
	files, err := Tree(t.Context(), dir, ".", "/alloc", func(name string) bool {
		if name == "sub/gone" {
			must.NoError(t, os.Remove(gone)) // after the directory has been listed
		}
		return false
	})
	must.NoError(t, err)
	must.Len(t, 3, files)
	must.NoError(t, os.WriteFile(gone, nil, 0o600))
	files, err = Tree(t.Context(), dir, ".", "/alloc", nil)
	must.NoError(t, err)
	must.NoError(t, os.Remove(gone))
	image := sampleImage(t)
	must.NoError(t, Put(toolContext(t), Sandbox{}, image, files))
	must.True(t, statFile(t, image, "/alloc/sub/gone").missing)
	must.True(t, statFile(t, image, "/alloc/sub/stays").exist)
}
