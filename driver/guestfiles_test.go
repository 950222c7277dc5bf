// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
)

var fixedTime = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestGuestFiles_ContainTheTasksFiles(t *testing.T) {
	host, task := taskTree(t)
	alloc := filepath.Join(host, "alloc")
	for name, mode := range map[string]fs.FileMode{
		"web/secrets/token": 0o644, "web/secrets/read-only": 0o400, "web/secrets/group": 0o040, "web/secrets/deep/key": 0o777, "alloc/logs/web.stdout.0": 0o644, "alloc/tmp/x": 0o640,
	} {
		path := filepath.Join(alloc, name)
		must.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must.NoError(t, os.WriteFile(path, nil, mode))
		must.NoError(t, os.Chmod(path, mode))
	}
	task.AllocID = "0a1b2c3d-1111-2222-3333-444444444444"
	excluded, err := openJobFile(task, nil, "local/k")
	must.NoError(t, err)
	defer excluded.Close()

	files, err := guestFiles(job{task: task}, addresses{v4: netip.MustParsePrefix("172.26.64.5/20")}, newGuestResolver(&drivers.DNSConfig{Servers: []string{"10.0.0.53"}}, addresses{}))
	must.NoError(t, err)
	copies, err := taskFiles(t.Context(), job{task: task}, []*jobFile{excluded, nil})
	must.NoError(t, err)
	files = append(files, copies...)
	found := map[string]disk.File{}
	for _, f := range files {
		found[f.Path] = f
		must.Eq(t, 0, f.UID+f.GID, must.Sprint(f.Path))
	}
	must.Eq(t, "web-0a1b2c3d\n", string(found["/etc/hostname"].Content))
	must.StrHasPrefix(t, "nameserver 10.0.0.53\n", string(found["/etc/resolv.conf"].Content))
	must.StrContains(t, string(found["/etc/hosts"].Content), "\n172.26.64.5 web-0a1b2c3d\n")
	must.Eq(t, 0o600, found[seedPath].Mode)
	must.Eq(t, seedSize, len(found[seedPath].Content))
	must.Eq(t, 0o600, found["/secrets/token"].Mode)
	must.Eq(t, 0o400, found["/secrets/read-only"].Mode)
	must.Eq(t, 0o400, found["/secrets/group"].Mode)
	must.Eq(t, 0o700, found["/secrets/deep/key"].Mode)
	must.Eq(t, fs.ModeDir|0o700, found["/secrets"].Mode)
	must.Eq(t, fs.ModeDir|0o700, found["/secrets/deep"].Mode)
	must.MapContainsKeys(t, found, []string{"/local", "/alloc/data", "/alloc/data/k", "/alloc/tmp/x"})
	for path := range found {
		must.False(t, strings.Contains(path, "logs"), must.Sprint(path))
		must.False(t, strings.Contains(path, "fifo"), must.Sprint(path))
	}
	must.MapNotContainsKey(t, found, "/local/k") // the kernel itself
}

func TestGuestFiles_StayInsideTheAlloc(t *testing.T) {
	host, task := taskTree(t)
	secret := filepath.Join(t.TempDir(), "secret")
	must.NoError(t, os.WriteFile(secret, []byte("the host's"), 0o600))
	shared := filepath.Join(host, "alloc", "alloc")
	// Another task of the alloc can replace its files by links.
	must.NoError(t, os.RemoveAll(filepath.Join(shared, "data")))
	must.NoError(t, os.Symlink(filepath.Dir(secret), filepath.Join(shared, "data")))
	must.NoError(t, os.MkdirAll(filepath.Join(shared, "tmp"), 0o777))
	must.NoError(t, os.Symlink(secret, filepath.Join(shared, "tmp", "link")))
	files, err := taskFiles(t.Context(), job{task: task}, nil)
	must.NoError(t, err)
	links := 0
	for _, f := range files {
		must.NotEq(t, "/alloc/data/secret", f.Path)
		if strings.HasPrefix(f.Path, "/alloc/") && f.Mode.Type() == fs.ModeSymlink {
			links++
		}
	}
	must.Eq(t, 2, links) // copied as links, which lead nowhere in the guest
}

func TestGuestFiles_SeedsDiffer(t *testing.T) {
	_, task := taskTree(t)
	seed := func() string {
		files, err := guestFiles(job{task: task}, addresses{}, guestResolver{})
		must.NoError(t, err)
		return string(files[3].Content)
	}
	must.NotEq(t, seed(), seed())
}

func TestHostname_IsADNSLabel(t *testing.T) {
	const alloc = "0a1b2c3d-1111-2222-3333-444444444444"
	for name, want := range map[string]string{
		"web":                    "web-0a1b2c3d",
		"Web_Server.1":           "web-server-1-0a1b2c3d",
		strings.Repeat("x", 100): strings.Repeat("x", 54) + "-0a1b2c3d",
		"-":                      "0a1b2c3d",
	} {
		got := job{task: &drivers.TaskConfig{Name: name, AllocID: alloc}}.hostname()
		must.Eq(t, want, got)
		must.LessEq(t, 63, len(got))
	}
}

// Another task may create such a file in alloc/.
func TestLinux_StartsWithoutFilesWhoseNamesHaveALineBreak(t *testing.T) {
	p := newTestPlugin(t)
	task := p.linux(t, "cat.c", TaskConfig{Args: []string{"/alloc/data/good"}})
	removeFeatures(t, task)
	data := filepath.Join(task.TaskDir().SharedAllocDir, "data")
	must.NoError(t, os.MkdirAll(filepath.Join(data, "bad\ndirectory"), 0o755))
	for name, content := range map[string]string{"good": "read\n", "bad\nname": "x", "bad\ndirectory/file": "x"} {
		must.NoError(t, os.WriteFile(filepath.Join(data, name), []byte(content), 0o644))
	}
	must.NoError(t, os.Symlink("a\nb", filepath.Join(data, "link")))
	_, _, err := p.StartTask(task)
	must.NoError(t, err)
	must.Zero(t, p.wait(t, task).ExitCode)
	waitForLine(t, task, "read")
}
