// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/safeopen"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// taskTree creates an alloc directory with a task "web", and other directories of
// a host.
func taskTree(t *testing.T) (host string, task *drivers.TaskConfig) {
	host = t.TempDir()
	alloc := filepath.Join(host, "alloc")
	for _, dir := range []string{"alloc/web/local", "alloc/web/private", "alloc/alloc/data", "images/deep", "other"} {
		must.NoError(t, os.MkdirAll(filepath.Join(host, dir), 0o755))
	}
	for _, file := range []string{
		"alloc/web/local/k", "alloc/web/k", "alloc/alloc/data/k", "images/k", "images/deep/k", "other/k", "images-k",
	} {
		must.NoError(t, os.WriteFile(filepath.Join(host, file), []byte(file), 0o644))
	}
	links := map[string]string{
		"alloc/web/local/out":  "../../../other/k",
		"alloc/web/local/abs":  filepath.Join(host, "other/k"),
		"alloc/web/local/fine": "../k",
		"images/out":           "../other/k",
		"images/fine":          filepath.Join(host, "images/deep/k"),
		"in":                   filepath.Join(host, "images/k"),
		"mirror":               filepath.Join(host, "images"),
	}
	for link, target := range links {
		must.NoError(t, os.Symlink(target, filepath.Join(host, link)))
	}
	must.NoError(t, unix.Mkfifo(filepath.Join(alloc, "web/local/fifo"), 0o644))
	must.NoError(t, unix.Mkfifo(filepath.Join(host, "images/fifo"), 0o644))
	return host, &drivers.TaskConfig{Name: "web", AllocDir: alloc}
}

func TestOpenJobFile(t *testing.T) {
	host, task := taskTree(t)
	at := func(p string) string { return filepath.Join(host, p) }
	allowed := []string{at("missing"), at("mirror")} // a link to images
	cases := []struct {
		name, path, content string // "" for a refused path
	}{
		{"in the task directory", "local/k", "alloc/web/local/k"},
		{"as the task sees it", "/local/k", "alloc/web/local/k"},
		{"next to local", "k", "alloc/web/k"},
		{"shared, relative", "alloc/data/k", "alloc/alloc/data/k"},
		{"shared, absolute", "/alloc/data/k", "alloc/alloc/data/k"},
		{"a link that stays inside", "local/fine", "alloc/web/k"},
		{"a link that leads out", "local/out", ""},
		{"a link that leads out by name", "local/abs", ""},
		{"missing", "local/missing", ""},
		{"a FIFO", "local/fifo", ""},
		{"allowed on the host", at("images/k"), "images/k"},
		{"deep below", at("images/deep/k"), "images/deep/k"},
		{"a link below that stays", at("images/fine"), "images/deep/k"},
		{"a link from elsewhere", at("in"), "images/k"},
		{"through a link of the directory", at("mirror/k"), "images/k"},
		{"a link below that leads out", at("images/out"), ""},
		{"out by dots", at("images/../other/k"), ""},
		{"elsewhere", at("other/k"), ""},
		{"the same prefix", at("images-k"), ""},
		{"a FIFO on the host", at("images/fifo"), ""},
		{"a device", "/dev/null", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s, err := openJobFile(task, allowed, c.path)
			if c.content == "" {
				must.Error(t, err)
				return
			}
			must.NoError(t, err)
			defer s.Close()
			content, err := io.ReadAll(s)
			must.NoError(t, err)
			must.Eq(t, c.content, string(content))
		})
	}
}

// Opening a FIFO or a device can have effects: the start of a watchdog, for example.
func TestOpenJobFile_DoesNotOpenFIFOsAndDevices(t *testing.T) {
	testenv.Need(t, testenv.Root)
	host, task := taskTree(t)
	for _, dir := range []string{"alloc/web/local", "alloc/alloc/data", "images"} {
		must.NoError(t, unix.Mknod(filepath.Join(host, dir, "dev"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	}
	for path, name := range map[string]string{
		"alloc/web/local/fifo": "local/fifo",
		"alloc/web/local/dev":  "local/dev",
		"alloc/alloc/data/dev": "/alloc/data/dev",
		"images/fifo":          filepath.Join(host, "images/fifo"),
		"images/dev":           filepath.Join(host, "images/dev"),
	} {
		opens := testenv.Opens(t, filepath.Join(host, path))
		_, err := openJobFile(task, []string{filepath.Join(host, "images")}, name)
		must.ErrorIs(t, err, safeopen.ErrType)
		must.ErrorContains(t, err, name)
		must.Eq(t, 0, opens(), must.Sprint(path))
	}
}

func TestOpenJobFile_RefusesHostPathsWithoutImagePaths(t *testing.T) {
	host, task := taskTree(t)
	_, err := openJobFile(task, nil, filepath.Join(host, "images/k"))
	must.ErrorContains(t, err, "image_paths")
}

// The open file stays in use after its path has been replaced.
func TestJobFile_PathLeadsToTheOpenFile(t *testing.T) {
	host, task := taskTree(t)
	s, err := openJobFile(task, nil, "local/k")
	must.NoError(t, err)
	defer s.Close()
	must.NoError(t, os.Remove(filepath.Join(host, "alloc/web/local/k")))
	must.NoError(t, os.WriteFile(filepath.Join(host, "alloc/web/local/k"), []byte("another"), 0o644))
	content, err := os.ReadFile(s.path())
	must.NoError(t, err)
	must.Eq(t, "alloc/web/local/k", string(content))
}

func TestJobFile_PathOfADirectoryIsADirectory(t *testing.T) {
	_, task := taskTree(t)
	s, err := openJobFile(task, nil, "local")
	must.NoError(t, err)
	defer s.Close()
	info, err := os.Lstat(s.path())
	must.NoError(t, err)
	must.True(t, info.IsDir())
}
