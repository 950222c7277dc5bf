// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/ext4"
)

// In a small archive, symlinks can make every path resolve in millions of steps.
func TestBuild_LimitsPathResolution(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	entries := []tarEntry{tarSymlink("s", strings.Repeat("./", 1500))}
	for i := range 1000 {
		entries = append(entries, tarSymlink(strings.Repeat("s/", 40)+strconv.Itoa(i), "x"))
	}
	err := Build(ctx, tarFile(t, entries...), filepath.Join(t.TempDir(), "image"), BuildOptions{})
	must.ErrorIs(t, err, ErrArchive)
	must.ErrorContains(t, err, "steps to resolve")
}

func TestBuild_AllowsLostFoundOnlyAsDirectory(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "lost+found/kept"), "x")
	must.Eq(t, "x", readFile(t, buildChecked(t, dir, BuildOptions{}), "/lost+found/kept"))
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

// mke2fs -d of e2fsprogs 1.47 writes behind its buffer for a path of 2040 bytes.
func TestBuild_LimitsPathsToThoseOfPrograms(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	deep := strings.Repeat(strings.Repeat("d", 99)+"/", 50)
	for _, length := range []int{2039, 2040, maxPathLen, maxPathLen + 1} {
		name := deep[:length-1] + "f"
		dir := t.TempDir()
		writeDeepFile(t, dir, name)
		for _, src := range []string{dir, tarFile(t, tarRegular(name, "x"))} {
			image := filepath.Join(t.TempDir(), "image")
			err := Build(ctx, src, image, BuildOptions{})
			if length > maxPathLen {
				must.ErrorContains(t, err, "more than 4095 bytes")
				continue
			}
			must.NoError(t, err, must.Sprint(length))
			must.NoError(t, ext4.Check(image))
			must.Eq(t, "x", readFile(t, image, "/"+name))
		}
	}
}

// writeDeepFile writes a file at a path that may be too long for a system call.
func writeDeepFile(t *testing.T, dir, name string) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	must.NoError(t, err)
	defer root.Close()
	must.NoError(t, root.MkdirAll(path.Dir(name), 0o755))
	must.NoError(t, root.WriteFile(name, []byte("x"), 0o644))
}

func TestBuild_RefusesLineBreaksInNames(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	for name, put := range map[string]func(dir string) error{
		"file":   func(dir string) error { return os.WriteFile(filepath.Join(dir, "a\nb"), nil, 0o644) },
		"target": func(dir string) error { return os.Symlink("a\nb", filepath.Join(dir, "link")) },
	} {
		dir := t.TempDir()
		must.NoError(t, put(dir))
		err := Build(ctx, dir, filepath.Join(t.TempDir(), "image"), BuildOptions{})
		must.ErrorIs(t, err, ErrName, must.Sprint(name))
	}
}

// debugfs's ln does not enlarge a directory.
func TestBuild_PreservesManyHardLinks(t *testing.T) {
	t.Parallel()
	toolContext(t)
	const names = 300 // 21 blocks of directory entries
	entries := []tarEntry{tarRegular("original", "content")}
	dir := t.TempDir()
	original := writeFile(t, filepath.Join(dir, "original"), "content")
	for i := range names {
		name := strings.Repeat("n", 250) + strconv.Itoa(i)
		entries = append(entries, tarHardLink("d/"+name, "original"))
		must.NoError(t, os.MkdirAll(filepath.Join(dir, "d"), 0o755))
		must.NoError(t, os.Link(original, filepath.Join(dir, "d", name)))
	}
	for _, src := range []string{dir, tarFile(t, entries...)} {
		image := buildChecked(t, src, BuildOptions{})
		last := statFile(t, image, "/d/"+strings.Repeat("n", 250)+strconv.Itoa(names-1))
		must.Eq(t, names+1, last.links)
		must.Eq(t, statFile(t, image, "/original"), last)
	}
}

func TestBuild_PreservesAttributesOfADirectorysFiles(t *testing.T) {
	t.Parallel()
	toolContext(t)
	testenv.Need(t, testenv.Root)
	dir := t.TempDir()
	file := writeFile(t, filepath.Join(dir, "file"), "x")
	must.NoError(t, unix.Setxattr(file, "trusted.test", []byte("a\nb\x00"), 0))
	must.NoError(t, os.Chmod(file, 0))
	must.NoError(t, unix.Mknod(filepath.Join(dir, "device"), unix.S_IFCHR|0o640, int(unix.Mkdev(5, 7))))
	must.NoError(t, unix.Mknod(filepath.Join(dir, "socket"), unix.S_IFSOCK|0o640, 0))
	image := buildChecked(t, dir, BuildOptions{})
	must.Eq(t, 0, statFile(t, image, "/file").mode)
	must.StrContains(t, runDebugfs(t, image, "ea_get -x /file trusted.test"), "61 0a 62 00")
	device := statFile(t, image, "/device")
	must.Eq(t, "character special", device.kind)
	must.StrHasSuffix(t, ":7", strings.ReplaceAll(device.device, ":0", ":"))
	must.Eq(t, 0o640, device.mode)
	must.True(t, statFile(t, image, "/socket").missing)
}
