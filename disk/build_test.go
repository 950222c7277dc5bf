// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// tarOfEveryType returns entries of every type that an archive may contain, and the target
// of the symlink etc/far.
func tarOfEveryType(when time.Time) (entries []tarEntry, long string) {
	long = strings.Repeat("x/", 100) + "y"
	return []tarEntry{
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
	}, long
}

func TestBuild_PreservesTarEntries(t *testing.T) {
	t.Parallel()
	toolContext(t)
	when := time.Unix(1234567890, 0)
	entries, long := tarOfEveryType(when)
	image := buildChecked(t, tarFile(t, entries...), BuildOptions{})
	for path, want := range map[string]fileStatus{
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
		got := statFile(t, image, path)
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
	must.Eq(t, "secret", readFile(t, image, "/etc/shadow"))
	must.Eq(t, "odd", readFile(t, image, `/a "b" c/é `))
	must.StrContains(t, runDebugfs(t, image, "cat /etc/far"), long)
}

func TestBuild_PreservesExtendedAttributes(t *testing.T) {
	t.Parallel()
	toolContext(t)
	odd := "a\nb\x00\"\xff"
	records := map[string]string{
		"SCHILY.xattr.user.odd":            odd,
		"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"SCHILY.xattr.user.long":           strings.Repeat("v", 3000),
	}
	const acl = "SCHILY.xattr.system.posix_acl_access"
	for _, entry := range []string{"\x01\x00\x06\x00", "\x04\x00\x04\x00", "\x20\x00\x04\x00"} {
		records[acl] += entry + "\x00\x00\x00\x00" // no user or group
	}
	records[acl] = "\x02\x00\x00\x00" + records[acl]
	image := buildChecked(t, tarFile(t, tarEntry{tar.Header{
		Name: "file", Typeflag: tar.TypeReg, Mode: 0o755, PAXRecords: records, Format: tar.FormatPAX,
	}, "x"}), BuildOptions{})
	for record, value := range records {
		out := filepath.Join(t.TempDir(), "value")
		runDebugfs(t, image, fmt.Sprintf("ea_get -f %s /file %s", out, strings.TrimPrefix(record, "SCHILY.xattr.")))
		got, err := os.ReadFile(out)
		must.NoError(t, err)
		test.Eq(t, value, string(got), test.Sprint(record))
	}
}

func TestBuild_PreservesDirectory(t *testing.T) {
	t.Parallel()
	toolContext(t)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "bin", "tool"), "tool")
	must.NoError(t, os.Chmod(filepath.Join(dir, "bin", "tool"), 0o755|fs.ModeSetuid))
	must.NoError(t, os.Link(filepath.Join(dir, "bin", "tool"), filepath.Join(dir, "bin", "other")))
	must.NoError(t, os.Symlink("bin/tool", filepath.Join(dir, "link")))
	must.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	writeFile(t, filepath.Join(dir, "\xff", `"<12>"`), "any bytes")
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
	image := buildChecked(t, link, BuildOptions{})
	must.Eq(t, 0o750, statFile(t, image, "/").mode)
	must.Eq(t, int64(os.Getuid()), statFile(t, image, "/").uid)
	must.Eq(t, int64(owner), statFile(t, image, "/bin").uid)
	tool := statFile(t, image, "/bin/tool")
	must.Eq(t, 0o4755, tool.mode)
	must.Eq(t, 2, tool.links)
	must.Eq(t, tool, statFile(t, image, "/bin/other"))
	must.Eq(t, "bin/tool", statFile(t, image, "/link").link)
	must.Eq(t, "FIFO", statFile(t, image, "/pipe").kind)
	must.Eq(t, "any bytes", readFile(t, image, "/\xff/\"<12>\""))
	must.Eq(t, 1<<30, statFile(t, image, "/hole").size)
	info, err := os.Stat(image)
	must.NoError(t, err)
	must.Less(t, 64<<20, info.Size(), must.Sprint("a hole must take no space"))
}

// On some hosts, a file in memory can become executable only if it was made so. The setting
// belongs to a PID namespace.
func TestBuild_PreservesPermissionsWhereMemoryIsNotExecutable(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Root, testenv.Tool("unshare"))
	toolContext(t)
	const sysctl = "/proc/sys/vm/memfd_noexec"
	if _, err := os.Stat(sysctl); err != nil {
		t.Skip("needs Linux 6.3: ", err)
	}
	script := `echo 1 >` + sysctl + ` && exec "$0" -test.run='^TestBuild_PreservesDirectory$'`
	out, err := exec.Command("unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script, os.Args[0]).CombinedOutput()
	must.NoError(t, err, must.Sprint(string(out)))
}

func TestBuild_IsReproducible(t *testing.T) {
	t.Parallel()
	toolContext(t)
	dir := t.TempDir()
	for i := range 300 {
		writeFile(t, filepath.Join(dir, fmt.Sprint("d", i%7), fmt.Sprint("f", i)), strings.Repeat("x", i*50))
	}
	archive := tarFile(t, tarRegular("a/b", "c"), tarSymlink("s", "a/b"), tarHardLink("h", "a/b"),
		tarEntry{tar.Header{Name: "dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}, ""})
	for _, src := range []string{dir, archive} {
		one, err := os.ReadFile(buildChecked(t, src, BuildOptions{Room: 1 << 20}))
		must.NoError(t, err)
		// A second later, with other times of access and change, the image is the same.
		changed := filepath.Join(dir, "d0", "f0")
		before := statusChangeTime(t, changed)
		must.Wait(t, testenv.EventuallyTrue(func() bool {
			must.NoError(t, os.Chtimes(changed, time.Now(), modificationTime(t, changed)))
			return statusChangeTime(t, changed) > before
		}))
		two, err := os.ReadFile(buildChecked(t, src, BuildOptions{Room: 1 << 20}))
		must.NoError(t, err)
		must.True(t, string(one) == string(two), must.Sprint("the images differ"))
	}
}

func modificationTime(t *testing.T, path string) time.Time {
	t.Helper()
	info, err := os.Stat(path)
	must.NoError(t, err)
	return info.ModTime()
}

// statusChangeTime returns a file's ctime in seconds.
func statusChangeTime(t *testing.T, path string) int64 {
	t.Helper()
	var stat syscall.Stat_t
	must.NoError(t, syscall.Stat(path, &stat))
	return stat.Ctim.Sec
}

func TestBuild_LaterEntriesReplaceEarlierOnes(t *testing.T) {
	t.Parallel()
	toolContext(t)
	image := buildChecked(t, tarFile(t,
		tarRegular("file", "old"), tarRegular("file", "new"),
		tarSymlink("was-link", "file"), tarRegular("was-link", "now a file"),
		tarRegular("dir/inside", "gone"), tarRegular("dir", "now a file"),
		tarRegular("was-file", "gone"), tarDirectory("was-file"), tarRegular("was-file/in", "in"),
		tarRegular("linked", "1"), tarHardLink("hard", "linked"), tarRegular("linked", "2"),
		tarDirectory("kept"), tarRegular("kept/in", "kept"),
		tarEntry{tar.Header{Name: "kept", Typeflag: tar.TypeDir, Mode: 0o700}, ""},
	), BuildOptions{})
	for path, want := range map[string]string{
		"/file": "new", "/was-link": "now a file", "/dir": "now a file", "/was-file/in": "in",
		"/linked": "2", "/hard": "1", "/kept/in": "kept",
	} {
		test.Eq(t, want, readFile(t, image, path), test.Sprint(path))
	}
	must.Eq(t, 0o700, statFile(t, image, "/kept").mode)
}

func TestBuild_ResolvesSymlinksAsTheGuestWould(t *testing.T) {
	t.Parallel()
	toolContext(t)
	image := buildChecked(t, tarFile(t,
		tarDirectory("usr/lib"), tarSymlink("lib", "/usr/lib"), tarRegular("lib/a.so", "a"),
		tarSymlink("up", "../../../usr"), tarRegular("up/b", "b"),
		tarSymlink("chain", "lib"), tarRegular("chain/c", "c"),
		tarSymlink("later", "/not/yet"), tarRegular("later/d", "d"),
		tarRegular("/absolute", "e"), tarHardLink("lib/hard", "/chain/a.so"),
	), BuildOptions{})
	for path, want := range map[string]string{
		"/usr/lib/a.so": "a", "/usr/b": "b", "/usr/lib/c": "c", "/not/yet/d": "d",
		"/absolute": "e", "/usr/lib/hard": "a",
	} {
		test.Eq(t, want, readFile(t, image, path), test.Sprint(path))
	}
}

func TestBuild_RefusesHostileArchives(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
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
		"dots":                 {tarRegular("../../etc/passwd", "x")},
		"dots inside":          {tarRegular("a/../../b", "x")},
		"dots at the end":      {tarDirectory("a/..")},
		"hard link out":        {tarHardLink("a", "../../../.."+outside)},
		"hard link by symlink": {tarSymlink("s", outside), tarHardLink("a", "s/x")},
		"hard link to nothing": {tarHardLink("a", outside)},
		"hard link to itself":  {tarHardLink("a", "a")},
		"hard link to dir":     {tarDirectory("d"), tarHardLink("a", "d")},
		"symlink loop":         {tarSymlink("a", "b"), tarSymlink("b", "a"), tarRegular("a/x", "x")},
		"file as directory":    {tarRegular("a", "x"), tarRegular("a/b", "x")},
		"line break":           {tarRegular("a\nb", "x")},
		"long name":            {tarRegular(strings.Repeat("n", 256), "x")},
		"long path":            {tarRegular(strings.Repeat(strings.Repeat("n", 200)+"/", 30)+"n", "x")},
		"long path by symlink": {tarSymlink("s", strings.Repeat("n/", 2047)), tarRegular("s/xx", "x")},
		"root is a file":       {tarRegular(".", "x")},
		"empty target":         {tarSymlink("a", "")},
		"long target":          {tarSymlink("a", strings.Repeat("t", 4096))},
		"device":               {device(1<<20, 0)},
		"device minor":         {device(1, 1<<20)},
		"xattr name":           {xattr("user.a\nb", "x")},
		"short ACL":            {xattr("system.posix_acl_access", "x")},
		"odd ACL":              {xattr("system.posix_acl_default", "\x02\x00\x00\x00\x03\x00\x07\x00\x00\x00\x00\x00")},
		"xattr size":           {xattr("user.name", strings.Repeat("x", 4000))},
		"lost+found is a FIFO": {{tar.Header{Name: "lost+found", Typeflag: tar.TypeFifo}, ""}},
		"lost+found is a file": {tarRegular("lost+found", "x")},
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

func TestBuild_ExplainsDamagedArchive(t *testing.T) {
	t.Parallel()
	whole, err := os.ReadFile(tarFile(t, tarRegular("a", strings.Repeat("x", 4096)), tarRegular("b", "x")))
	must.NoError(t, err)
	for name, size := range map[string]int{"in a file": 2000, "in a header": 4800} {
		archive := filepath.Join(t.TempDir(), "cut.tar")
		must.NoError(t, os.WriteFile(archive, whole[:size], 0o600))
		err := Build(t.Context(), archive, filepath.Join(t.TempDir(), "image"), BuildOptions{})
		must.ErrorContains(t, err, "it is damaged or incomplete", must.Sprint(name))
	}
}

func TestBuild_StopsUnpackingAtItsSize(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	dir := t.TempDir()
	// 256 MiB of data in less than 1 MiB of gzip.
	bomb := filepath.Join(dir, "bomb")
	must.NoError(t, os.WriteFile(bomb, gzipped(t, tarBytes(t, tarRegular("a", strings.Repeat("A", 1<<28)))), 0o600))
	err := Build(ctx, bomb, filepath.Join(dir, "image"), BuildOptions{Size: 64 << 20})
	must.ErrorIs(t, err, ErrNoSpace)
	// A header with a false size is refused by its checksum.
	huge := tarBytes(t, tarRegular("a", "x"))
	copy(huge[124:], "77777777777\x00")
	must.NoError(t, os.WriteFile(bomb, huge, 0o600))
	must.ErrorIs(t, Build(ctx, bomb, filepath.Join(dir, "image"), BuildOptions{}), ErrKind)
}

func TestBuild_StoresZerosAsHoles(t *testing.T) {
	t.Parallel()
	toolContext(t)
	image := buildChecked(t, tarFile(t, tarRegular("zeros", strings.Repeat("\x00", 200<<20)+"end")), BuildOptions{Size: 32 << 20})
	must.Eq(t, 200<<20+3, statFile(t, image, "/zeros").size)
}

// Guests have Linux 5.3 or 6.1, so newer features must not be used.
func TestBuild_UsesOnlyFeaturesOfLinux53(t *testing.T) {
	t.Parallel()
	toolContext(t)
	image := buildChecked(t, tarFile(t, tarRegular("a", "b")), BuildOptions{})
	out := runDebugfs(t, image, "show_super_stats -h")
	must.StrContains(t, out, "has_journal ext_attr resize_inode dir_index filetype extent 64bit flex_bg "+
		"sparse_super large_file huge_file dir_nlink extra_isize metadata_csum\n")
	must.StrContains(t, out, "Block size:               4096")
	must.StrContains(t, out, "Filesystem state:         clean")
}

func TestBuild_LeavesNoTemporaryFiles(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	archive := tarFile(t, tarRegular("a", "b"))
	dir := t.TempDir()
	dst := filepath.Join(dir, "image")

	canceled, cancel := context.WithCancelCause(ctx)
	cause := errors.New("the task was stopped")
	cancel(cause)
	must.ErrorIs(t, Build(canceled, archive, dst, BuildOptions{}), cause)
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
