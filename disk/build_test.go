// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"
)

func TestBuild_KeepsWhatATarHolds(t *testing.T) {
	t.Parallel()
	begin(t)
	when := time.Unix(1234567890, 0)
	long := strings.Repeat("x/", 100) + "y"
	entries := []tarEntry{
		{tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o711, Uid: 5, Gid: 6, ModTime: when}, ""},
		{tar.Header{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o2750, Uid: 1000, Gid: 100000, ModTime: when}, ""},
		{tar.Header{Name: "etc/shadow", Typeflag: tar.TypeReg, Mode: 0, Gid: 42, ModTime: when}, "secret"},
		{tar.Header{Name: "bin/su", Typeflag: tar.TypeReg, Mode: 0o4755, ModTime: when}, "su"},
		{tar.Header{Name: "tmp", Typeflag: tar.TypeDir, Mode: 0o1777, ModTime: when}, ""},
		{tar.Header{Name: "etc/link", Typeflag: tar.TypeSymlink, Linkname: "/bin/su", Uid: 7, ModTime: when}, ""},
		{tar.Header{Name: "etc/far", Typeflag: tar.TypeSymlink, Linkname: long, ModTime: when}, ""},
		{tar.Header{Name: "bin/sudo", Typeflag: tar.TypeLink, Linkname: "bin/su", ModTime: when}, ""},
		{tar.Header{Name: "dev/null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3, ModTime: when}, ""},
		{tar.Header{Name: "dev/big", Typeflag: tar.TypeBlock, Mode: 0o660, Gid: 6, Devmajor: 259, Devminor: 4097, ModTime: when}, ""},
		{tar.Header{Name: "run/pipe", Typeflag: tar.TypeFifo, Mode: 0o600, Uid: 8, ModTime: when}, ""},
		{tar.Header{Name: `a "b" c/é `, Typeflag: tar.TypeReg, Mode: 0o640, Uid: 4294967294, ModTime: when}, "odd"},
	}
	image := build(t, tarFile(t, entries...), BuildOptions{})
	for path, want := range map[string]status{
		"/":              {kind: "directory", mode: 0o711, uid: 5, gid: 6},
		"/etc":           {kind: "directory", mode: 0o2750, uid: 1000, gid: 100000},
		"/etc/shadow":    {kind: "regular", gid: 42, size: 6, links: 1},
		"/bin/su":        {kind: "regular", mode: 0o4755, size: 2, links: 2},
		"/bin/sudo":      {kind: "regular", mode: 0o4755, size: 2, links: 2},
		"/tmp":           {kind: "directory", mode: 0o1777},
		"/etc/link":      {kind: "symlink", mode: 0o777, uid: 7, size: 7, links: 1, link: "/bin/su"},
		"/etc/far":       {kind: "symlink", mode: 0o777, size: 201, links: 1},
		"/dev/null":      {kind: "character special", mode: 0o666, links: 1, device: "01:03"},
		"/dev/big":       {kind: "block special", mode: 0o660, gid: 6, links: 1, device: "259:4097"},
		"/run/pipe":      {kind: "FIFO", mode: 0o600, uid: 8, links: 1},
		`/a "b" c/é `:    {kind: "regular", mode: 0o640, uid: 4294967294, size: 3, links: 1},
		"/run":           {kind: "directory", mode: 0o755},
		"/a \"b\" c/nix": {missing: true},
	} {
		got := stat(t, image, path)
		want.exist = !want.missing
		if want.exist && path != "/run" {
			want.mtime = when.Unix()
		}
		if want.kind == "directory" {
			want.size, want.links = got.size, got.links
		}
		if want.kind == "character special" || want.kind == "block special" {
			got.device = strings.Replace(got.device, "1:3", "01:03", 1)
			got.size = 0
		}
		test.Eq(t, want, got, test.Sprint(path))
	}
	must.Eq(t, "secret", content(t, image, "/etc/shadow"))
	must.Eq(t, "odd", content(t, image, `/a "b" c/é `))
	must.StrContains(t, debug(t, image, "cat /etc/far"), long)
}

func TestBuild_KeepsExtendedAttributes(t *testing.T) {
	t.Parallel()
	begin(t)
	odd := "a\nb\x00\"\xff"
	records := map[string]string{
		"SCHILY.xattr.user.odd":            odd,
		"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"SCHILY.xattr.user.long":           strings.Repeat("v", 3000),
	}
	image := build(t, tarFile(t, tarEntry{tar.Header{
		Name: "file", Typeflag: tar.TypeReg, Mode: 0o755, PAXRecords: records, Format: tar.FormatPAX,
	}, "x"}), BuildOptions{})
	for record, value := range records {
		out := filepath.Join(t.TempDir(), "value")
		debug(t, image, fmt.Sprintf("ea_get -f %s /file %s", out, strings.TrimPrefix(record, "SCHILY.xattr.")))
		got, err := os.ReadFile(out)
		must.NoError(t, err)
		test.Eq(t, value, string(got), test.Sprint(record))
	}
}

func TestBuild_KeepsADirectoryAsItIs(t *testing.T) {
	t.Parallel()
	begin(t)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "bin", "tool"), "tool")
	must.NoError(t, os.Chmod(filepath.Join(dir, "bin", "tool"), 0o755|fs.ModeSetuid))
	must.NoError(t, os.Link(filepath.Join(dir, "bin", "tool"), filepath.Join(dir, "bin", "other")))
	must.NoError(t, os.Symlink("bin/tool", filepath.Join(dir, "link")))
	must.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	writeFile(t, filepath.Join(dir, "line\nbreak", "\xff"), "any bytes")
	owner := os.Getuid()
	if owner == 0 {
		owner = 1234
		must.NoError(t, os.Chown(filepath.Join(dir, "bin"), 1234, 4321))
	}
	must.NoError(t, os.Chmod(dir, 0o750))
	hole, err := os.Create(filepath.Join(dir, "hole"))
	must.NoError(t, err)
	must.NoError(t, hole.Truncate(1<<30))
	_, err = hole.WriteAt([]byte("end"), 1<<30-3)
	must.NoError(t, err)
	must.NoError(t, hole.Close())

	link := filepath.Join(t.TempDir(), "link")
	must.NoError(t, os.Symlink(dir, link))
	image := build(t, link, BuildOptions{})
	must.Eq(t, 0o750, stat(t, image, "/").mode)
	must.Eq(t, int64(os.Getuid()), stat(t, image, "/").uid)
	must.Eq(t, int64(owner), stat(t, image, "/bin").uid)
	tool := stat(t, image, "/bin/tool")
	must.Eq(t, 0o4755, tool.mode)
	must.Eq(t, 2, tool.links)
	must.Eq(t, tool, stat(t, image, "/bin/other"))
	must.Eq(t, "bin/tool", stat(t, image, "/link").link)
	must.Eq(t, "FIFO", stat(t, image, "/pipe").kind)
	must.Eq(t, 1<<30, stat(t, image, "/hole").size)
	info, err := os.Stat(image)
	must.NoError(t, err)
	must.Less(t, 64<<20, info.Size(), must.Sprint("a hole takes no room"))
}

func TestBuild_IsReproducible(t *testing.T) {
	t.Parallel()
	begin(t)
	dir := t.TempDir()
	for i := range 300 {
		writeFile(t, filepath.Join(dir, fmt.Sprint("d", i%7), fmt.Sprint("f", i)), strings.Repeat("x", i*50))
	}
	archive := tarFile(t, regular("a/b", "c"), symlink("s", "a/b"), hardlink("h", "a/b"),
		tarEntry{tar.Header{Name: "dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}, ""})
	for _, src := range []string{dir, archive} {
		one, err := os.ReadFile(build(t, src, BuildOptions{Room: 1 << 20}))
		must.NoError(t, err)
		// Times of access and of change move on, and so does the clock.
		next := time.Now().Truncate(time.Second).Add(time.Second)
		<-time.After(time.Until(next))
		changed := filepath.Join(dir, "d0", "f0")
		must.NoError(t, os.Chtimes(changed, next, mtime(t, changed)))
		two, err := os.ReadFile(build(t, src, BuildOptions{Room: 1 << 20}))
		must.NoError(t, err)
		must.True(t, string(one) == string(two), must.Sprint("the images differ"))
	}
}

func mtime(t *testing.T, path string) time.Time {
	t.Helper()
	info, err := os.Stat(path)
	must.NoError(t, err)
	return info.ModTime()
}

func TestBuild_LaterEntriesReplaceEarlierOnes(t *testing.T) {
	t.Parallel()
	begin(t)
	image := build(t, tarFile(t,
		regular("file", "old"), regular("file", "new"),
		symlink("was-link", "file"), regular("was-link", "now a file"),
		regular("dir/inside", "gone"), regular("dir", "now a file"),
		regular("was-file", "gone"), directory("was-file"), regular("was-file/in", "in"),
		regular("linked", "1"), hardlink("hard", "linked"), regular("linked", "2"),
		directory("kept"), regular("kept/in", "kept"),
		tarEntry{tar.Header{Name: "kept", Typeflag: tar.TypeDir, Mode: 0o700}, ""},
	), BuildOptions{})
	for path, want := range map[string]string{
		"/file": "new", "/was-link": "now a file", "/dir": "now a file", "/was-file/in": "in",
		"/linked": "2", "/hard": "1", "/kept/in": "kept",
	} {
		test.Eq(t, want, content(t, image, path), test.Sprint(path))
	}
	must.Eq(t, 0o700, stat(t, image, "/kept").mode)
}

func TestBuild_FollowsSymlinksAsAGuestWould(t *testing.T) {
	t.Parallel()
	begin(t)
	image := build(t, tarFile(t,
		directory("usr/lib"), symlink("lib", "/usr/lib"), regular("lib/a.so", "a"),
		symlink("up", "../../../usr"), regular("up/b", "b"),
		symlink("chain", "lib"), regular("chain/c", "c"),
		symlink("later", "/not/yet"), regular("later/d", "d"),
		regular("/absolute", "e"), hardlink("lib/hard", "/chain/a.so"),
	), BuildOptions{})
	for path, want := range map[string]string{
		"/usr/lib/a.so": "a", "/usr/b": "b", "/usr/lib/c": "c", "/not/yet/d": "d",
		"/absolute": "e", "/usr/lib/hard": "a",
	} {
		test.Eq(t, want, content(t, image, path), test.Sprint(path))
	}
}

func TestBuild_RefusesHostileArchives(t *testing.T) {
	t.Parallel()
	ctx := begin(t)
	outside := writeFile(t, filepath.Join(t.TempDir(), "outside"), "mine")
	device := func(major, minor int64) tarEntry {
		return tarEntry{tar.Header{Name: "d", Typeflag: tar.TypeChar, Devmajor: major, Devminor: minor}, ""}
	}
	xattr := func(name, value string) tarEntry {
		return tarEntry{tar.Header{
			Name: "x", Typeflag: tar.TypeReg, Format: tar.FormatPAX,
			PAXRecords: map[string]string{"SCHILY.xattr." + name: value},
		}, ""}
	}
	for name, entries := range map[string][]tarEntry{
		"dots":                 {regular("../../etc/passwd", "x")},
		"dots inside":          {regular("a/../../b", "x")},
		"dots at the end":      {directory("a/..")},
		"hard link out":        {hardlink("a", "../../../.."+outside)},
		"hard link by symlink": {symlink("s", outside), hardlink("a", "s/x")},
		"hard link to nothing": {hardlink("a", outside)},
		"hard link to itself":  {hardlink("a", "a")},
		"hard link to dir":     {directory("d"), hardlink("a", "d")},
		"symlink loop":         {symlink("a", "b"), symlink("b", "a"), regular("a/x", "x")},
		"file as directory":    {regular("a", "x"), regular("a/b", "x")},
		"line break":           {regular("a\nb", "x")},
		"long name":            {regular(strings.Repeat("n", 256), "x")},
		"long path":            {regular(strings.Repeat(strings.Repeat("n", 200)+"/", 30)+"n", "x")},
		"long path by symlink": {symlink("s", strings.Repeat("n/", 1000)), regular("s/x", "x")},
		"root is a file":       {regular(".", "x")},
		"empty target":         {symlink("a", "")},
		"long target":          {symlink("a", strings.Repeat("t", 4096))},
		"device":               {device(1<<20, 0)},
		"device minor":         {device(1, 1<<20)},
		"xattr space":          {xattr("evil.name", "x")},
		"xattr size":           {xattr("user.name", strings.Repeat("x", 4000))},
		"lost+found is a FIFO": {{tar.Header{Name: "lost+found", Typeflag: tar.TypeFifo}, ""}},
		"lost+found is a file": {regular("lost+found", "x")},
		"owner":                {{tar.Header{Name: "a", Typeflag: tar.TypeReg, Uid: 1<<32 - 1}, ""}},
	} {
		dir := t.TempDir()
		err := Build(ctx, tarFile(t, entries...), filepath.Join(dir, "image"), BuildOptions{})
		test.ErrorIs(t, err, ErrArchive, test.Sprint(name))
		left, err := os.ReadDir(dir)
		must.NoError(t, err)
		test.SliceEmpty(t, left, test.Sprint(name))
	}
	body, err := os.ReadFile(outside)
	must.NoError(t, err)
	must.Eq(t, "mine", string(body))
}

// A few bytes of an archive may stand for a long way, each step of which the host
// takes again for every file.
func TestBuild_RefusesPathsWithoutEnd(t *testing.T) {
	t.Parallel()
	ctx := begin(t)
	entries := []tarEntry{symlink("s", strings.Repeat("./", 1500))}
	for i := range 1000 {
		entries = append(entries, symlink(strings.Repeat("s/", 40)+strconv.Itoa(i), "x"))
	}
	err := Build(ctx, tarFile(t, entries...), filepath.Join(t.TempDir(), "image"), BuildOptions{})
	must.ErrorIs(t, err, ErrArchive)
	must.ErrorContains(t, err, "steps along its paths")
}

func TestBuild_TakesLostFoundAsADirectoryAlone(t *testing.T) {
	t.Parallel()
	ctx := begin(t)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "lost+found/kept"), "x")
	must.Eq(t, "x", content(t, build(t, dir, BuildOptions{}), "/lost+found/kept"))
	for name, put := range map[string]func(path string) error{
		"FIFO": func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"file": func(path string) error { return os.WriteFile(path, nil, 0o600) },
	} {
		dir := t.TempDir()
		must.NoError(t, put(filepath.Join(dir, "lost+found")))
		err := Build(ctx, dir, filepath.Join(t.TempDir(), "image"), BuildOptions{})
		must.ErrorIs(t, err, errLostFound, must.Sprint(name))
	}
}

// A path of 2040 bytes, which mke2fs counts with a slash before it, makes it write
// behind its buffer.
func TestBuild_PathsAreShortEnoughForMke2fs(t *testing.T) {
	t.Parallel()
	ctx := begin(t)
	deep := strings.Repeat(strings.Repeat("d", 100)+"/", 20)[:longestBuilt-1]
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, deep+"f"), "x")
	for _, src := range []string{dir, tarFile(t, regular(deep+"f", "x"))} {
		must.Eq(t, "x", content(t, build(t, src, BuildOptions{}), "/"+deep+"f"))
	}
	for more := range 60 {
		name := deep + strings.Repeat("f", 2+more)
		dst := filepath.Join(t.TempDir(), "image")
		must.ErrorIs(t, Build(ctx, tarFile(t, regular(name, "x")), dst, BuildOptions{}), ErrArchive)
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, name), "x")
		must.ErrorContains(t, Build(ctx, dir, dst, BuildOptions{}), "path of over 2000 bytes")
	}
}

func TestBuild_RefusesABombEarly(t *testing.T) {
	t.Parallel()
	ctx := begin(t)
	dir := t.TempDir()
	// 1 GiB that is not zero, in a megabyte of gzip.
	bomb := filepath.Join(dir, "bomb")
	must.NoError(t, os.WriteFile(bomb, gzipped(t, tarBytes(t, regular("a", strings.Repeat("A", 1<<28)))), 0o600))
	err := Build(ctx, bomb, filepath.Join(dir, "image"), BuildOptions{Size: 64 << 20})
	must.ErrorIs(t, err, ErrNoSpace)
	// An announced size that is not there costs nothing.
	huge := tarBytes(t, regular("a", "x"))
	copy(huge[124:], "77777777777\x00")
	must.NoError(t, os.WriteFile(bomb, huge, 0o600))
	must.ErrorIs(t, Build(ctx, bomb, filepath.Join(dir, "image"), BuildOptions{}), ErrKind) // checksum
}

func TestBuild_ZerosInATarTakeNoRoom(t *testing.T) {
	t.Parallel()
	begin(t)
	image := build(t, tarFile(t, regular("zeros", strings.Repeat("\x00", 200<<20)+"end")), BuildOptions{Size: 32 << 20})
	must.Eq(t, 200<<20+3, stat(t, image, "/zeros").size)
}

// The kernels of guests are Linux 5.3 and 6.1: no feature may be younger.
func TestBuild_UsesOnlyOldFeatures(t *testing.T) {
	t.Parallel()
	begin(t)
	image := build(t, tarFile(t, regular("a", "b")), BuildOptions{})
	out := debug(t, image, "show_super_stats -h")
	must.StrContains(t, out, "has_journal ext_attr resize_inode dir_index filetype extent 64bit flex_bg "+
		"sparse_super large_file huge_file dir_nlink extra_isize metadata_csum\n")
	must.StrContains(t, out, "Block size:               4096")
	must.StrContains(t, out, "Filesystem state:         clean")
}

func TestBuild_LeavesNothingBehind(t *testing.T) {
	t.Parallel()
	ctx := begin(t)
	archive := tarFile(t, regular("a", "b"))
	dir := t.TempDir()
	dst := filepath.Join(dir, "image")

	stopped, stop := context.WithCancelCause(ctx)
	cause := errors.New("the task is gone")
	stop(cause)
	must.ErrorIs(t, Build(stopped, archive, dst, BuildOptions{}), cause)
	left, err := os.ReadDir(dir)
	must.NoError(t, err)
	must.SliceEmpty(t, left)

	writeFile(t, dst, "mine")
	must.ErrorIs(t, Build(ctx, archive, dst, BuildOptions{}), fs.ErrExist)
	body, err := os.ReadFile(dst)
	must.NoError(t, err)
	must.Eq(t, "mine", string(body))
	must.NoError(t, os.Remove(dst))

	must.NoError(t, Build(ctx, archive, dst, BuildOptions{}))
	left, err = os.ReadDir(dir)
	must.NoError(t, err)
	must.SliceLen(t, 1, left)
	must.ErrorContains(t, Build(ctx, dst, filepath.Join(dir, "copy"), BuildOptions{}), "already")
}
