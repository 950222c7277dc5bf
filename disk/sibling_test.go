// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/ext4"
)

// Other tasks of an alloc can change a directory below alloc/ at any time. In these tests,
// they do so while Build reads a large file.

// buildDuring builds an image from a directory, and calls change once a process has opened
// the file large.
func buildDuring(t *testing.T, dir, large string, change func() error) (image string, err error) {
	t.Helper()
	ctx := toolContext(t)
	must.NoError(t, os.WriteFile(large, bytes.Repeat([]byte("large "), 20<<20), 0o644))
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	must.NoError(t, err)
	opens := os.NewFile(uintptr(watch), "inotify")
	defer opens.Close()
	_, err = unix.InotifyAddWatch(watch, large, unix.IN_OPEN)
	must.NoError(t, err)
	changed := make(chan error, 1)
	go func() {
		_, err := opens.Read(make([]byte, unix.SizeofInotifyEvent))
		if err == nil {
			err = change()
		}
		changed <- err
	}()
	image = filepath.Join(t.TempDir(), "image")
	err = Build(ctx, dir, image, BuildOptions{})
	must.NoError(t, <-changed)
	return image, err
}

// A tool that walks a directory by its name and ".." leaves it if a parent is renamed.
func TestBuild_DoesNotClimbOutOfRenamedDirectories(t *testing.T) {
	t.Parallel()
	outer := t.TempDir()
	base := filepath.Join(outer, "base")
	// The tool looks at these names when it leaves the directories.
	must.NoError(t, os.MkdirAll(filepath.Join(outer, "top"), 0o755))
	shared := filepath.Join(base, "shared")
	victim := filepath.Join(base, "victim")
	must.NoError(t, os.MkdirAll(filepath.Join(victim, "name-in-another-alloc"), 0o700))
	must.NoError(t, os.Symlink("/target-in-another-alloc", filepath.Join(victim, "link")))

	// The tool must visit the directory with the large file first.
	top := filepath.Join(shared, "root", "top")
	must.NoError(t, os.MkdirAll(filepath.Join(top, "victim"), 0o755))
	var first string
	for i := 0; first == ""; i++ {
		name := fmt.Sprint("d", i)
		must.NoError(t, os.MkdirAll(filepath.Join(base, name), 0o755))
		must.NoError(t, os.Mkdir(filepath.Join(top, name), 0o755))
		dir, err := os.Open(top)
		must.NoError(t, err)
		names, err := dir.Readdirnames(-1)
		must.NoError(t, err)
		must.NoError(t, dir.Close())
		if slices.Index(names, name) < slices.Index(names, "victim") {
			first = name
			break
		}
		must.NoError(t, os.Remove(filepath.Join(top, name)))
	}
	inner := filepath.Join(top, first, "inner")
	must.NoError(t, os.Mkdir(inner, 0o755))
	image, err := buildDuring(t, filepath.Join(shared, "root"), filepath.Join(inner, "large"), func() error {
		return os.Rename(inner, filepath.Join(shared, "inner"))
	})
	must.NoError(t, err)
	must.NoError(t, ext4.Check(image))
	content, err := os.ReadFile(image)
	must.NoError(t, err)
	must.False(t, bytes.Contains(content, []byte("in-another-alloc")))
}

// mke2fs -d corrupts its heap at a path of 2040 bytes.
func TestBuild_IgnoresDirectoriesThatAppearDuringBuild(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	dir := filepath.Join(base, "root")
	for _, name := range []string{"root/a", "root/z", "elsewhere"} {
		must.NoError(t, os.MkdirAll(filepath.Join(base, name), 0o755))
	}
	deep := strings.Repeat("d", 100) + strings.Repeat("/"+strings.Repeat("d", 100), 20)
	deep = deep[:2040-len("/z/")]
	root, err := os.OpenRoot(filepath.Join(base, "elsewhere"))
	must.NoError(t, err)
	defer root.Close()
	must.NoError(t, root.MkdirAll(deep, 0o755))
	image, err := buildDuring(t, dir, filepath.Join(dir, "a", "large"), func() error {
		first, _, _ := strings.Cut(deep, "/")
		return os.Rename(filepath.Join(base, "elsewhere", first), filepath.Join(dir, "z", first))
	})
	must.NoError(t, err)
	must.NoError(t, ext4.Check(image))
	must.True(t, statFile(t, image, "/z").exist)
	must.True(t, statFile(t, image, "/z/"+strings.Repeat("d", 100)).missing)
}

func TestBuild_ReportsFilesThatChangeDuringBuild(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(file string) error{
		"removed":   os.Remove,
		"truncated": func(file string) error { return os.Truncate(file, 10) },
		"replaced": func(file string) error {
			return os.WriteFile(file+".new", []byte("new"), 0o644)
		},
		"symlink": func(file string) error { return os.Symlink("/etc/passwd", file+".new") },
		"FIFO":    func(file string) error { return unix.Mkfifo(file+".new", 0o644) },
		"device":  func(file string) error { return unix.Mknod(file+".new", unix.S_IFBLK|0o644, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := writeFile(t, filepath.Join(dir, "z", "file"), strings.Repeat("old", 1000))
			image, err := buildDuring(t, dir, filepath.Join(dir, "large"), func() error {
				err := change(file)
				if _, found := os.Lstat(file + ".new"); err == nil && found == nil {
					err = os.Rename(file+".new", file)
				}
				return err
			})
			must.ErrorIs(t, err, errChanged)
			must.ErrorContains(t, err, `"z/file": `)
			_, err = os.Stat(image)
			must.ErrorIs(t, err, os.ErrNotExist)
		})
	}
}
