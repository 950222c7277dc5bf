// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/procfd"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/safeopen"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// openBind opens the source of a bind mount.
func openBind(v Volumes, task *drivers.TaskConfig, name string) (*os.File, error) {
	source, err := v.bindSource(task, name)
	if err != nil {
		return nil, err
	}
	return source.locate()
}

// contentOf returns the content of a file by its O_PATH descriptor.
func contentOf(t *testing.T, located *os.File) string {
	t.Helper()
	f, err := os.Open(procfd.SelfPath(located))
	must.NoError(t, err)
	defer f.Close()
	content, err := io.ReadAll(f)
	must.NoError(t, err)
	return string(content)
}

// bindTree adds the directories of another task, and files that only Nomad may read.
func bindTree(t *testing.T) (host string, task *drivers.TaskConfig) {
	host, task = taskTree(t)
	for _, dir := range []string{"alloc/web/secrets", "alloc/other/local", "alloc/other/private", "alloc/other/bin", "alloc/other/secrets"} {
		must.NoError(t, os.MkdirAll(filepath.Join(host, dir), 0o755))
	}
	for _, file := range []string{
		"alloc/web/private/token", "alloc/other/private/token", "alloc/other/local/k",
		"alloc/web/secrets/key", "alloc/other/bin/sh", "alloc/other/secrets/key",
	} {
		must.NoError(t, os.WriteFile(filepath.Join(host, file), []byte(file), 0o600))
	}
	for link, target := range map[string]string{
		"alloc/web/local/token":   "../private/token",
		"alloc/web/local/private": "../private",
		"alloc/web/local/task":    "..",
		"alloc/web/local/root":    "/",
		"alloc/web/local/magic":   "/proc/self/root",
		"alloc/web/local/up":      "../../..",
		"alloc/web/local/sibling": "../../other/local/k",
		"alloc/web/local/bin":     "../../other/bin",
		"alloc/alloc/data/out":    "../../../other/k",
	} {
		must.NoError(t, os.Symlink(target, filepath.Join(host, link)))
	}
	return host, task
}

func TestBindSource_StaysInItsRoot(t *testing.T) {
	host, task := bindTree(t)
	at := func(p string) string { return filepath.Join(host, p) }
	volumes := Volumes{Enabled: true, Paths: []string{at("missing"), at("images"), at("mirror")}}
	for _, c := range []struct {
		path, content string // or a part of the error
	}{
		{"local/k", "alloc/web/local/k"},
		{"./local//k", "alloc/web/local/k"},
		{"/local/k", "alloc/web/local/k"},
		{"secrets/key", "alloc/web/secrets/key"},
		{"/secrets/key", "alloc/web/secrets/key"},
		{"alloc/data/k", "alloc/alloc/data/k"},
		{"/alloc/data/k", "alloc/alloc/data/k"},
		{"../alloc/data/k", "alloc/alloc/data/k"},
		{"../other/local/k", "alloc/other/local/k"},
		{at("alloc/web/local/k"), "alloc/web/local/k"},
		{"local/fine", "alloc/web/k"},
		{"local/sibling", "alloc/other/local/k"},
		{at("images/k"), "images/k"},
		{at("images/deep/../k"), "images/k"},
		{at("mirror/deep/k"), "images/deep/k"}, // the operator's link

		{"local/missing", "does not exist"},
		{"local/out", "leads out"},
		{"local/abs", "leads out"},
		{"local/root/etc/passwd", "leads out"},
		{"local/magic/etc/passwd", "leads out"},
		{"local/up/other/k", "leads out"},
		{"alloc/data/out", "leads out"},
		{"local/fifo", "it is a FIFO"},
		{"local/token", "reserved by Nomad"},
		{"local/private", "reserved by Nomad"},
		{"local/private/token", "reserved by Nomad"},
		{"local/task", "reserved by Nomad"},
		{"local/task/private/token", "reserved by Nomad"},
		{"private/token", "reserved by Nomad"},
		{"../other/private", "reserved by Nomad"},
		{"../other", "reserved by Nomad"},
		{"../other/bin", "directory of another task"},
		{"../other/bin/sh", "directory of another task"},
		{"../other/secrets/key", "directory of another task"},
		{at("alloc/other/bin/sh"), "directory of another task"},
		{"local/bin/sh", "directory of another task"},
		{".", "reserved by Nomad"},
		{"..", "reserved by Nomad"},
		{at("alloc/web/private/token"), "reserved by Nomad"},
		{"../../other/k", "not below any of the volumes.paths"},
		{at("other/k"), "not below any of the volumes.paths"},
		{at("images-k"), "not below any of the volumes.paths"},
		{at("images/../other/k"), "not below any of the volumes.paths"},
		{at("images/out"), "leads out"},
		{at("images/fifo"), "it is a FIFO"},
		{"", "is missing"},
		{"local/\x00", "NUL"},
	} {
		t.Run(c.path, func(t *testing.T) {
			f, err := openBind(volumes, task, c.path)
			if err != nil {
				must.ErrorContains(t, err, c.content)
				return
			}
			defer f.Close()
			must.Eq(t, c.content, contentOf(t, f))
		})
	}
}

// The root directory of an exec task contains hard links to programs of the host, and a disk is
// open for writing whatever the user of the guest is.
func TestDiskSource_StaysOutOfOtherTasks(t *testing.T) {
	_, task := bindTree(t)
	for source, says := range map[string]string{
		"../other/bin/sh":      "directory of another task",
		"local/bin/sh":         "directory of another task",
		"../other/new":         "directory of another task",
		"local/private/token":  "reserved by Nomad",
		"../other/private/new": "reserved by Nomad",
		"../new":               "reserved by Nomad",
		"local/up/new":         "leads out",
	} {
		_, err := new(Volumes).openDiskSource(task, source)
		must.ErrorContains(t, err, says, must.Sprint(source))
	}
	for _, source := range []string{"local/k", "image", "alloc/data/image", "alloc/image", "../other/local/image"} {
		opened, err := new(Volumes).openDiskSource(task, source)
		must.NoError(t, err, must.Sprint(source))
		opened.Close()
	}
}

func TestBindSource_NeedsVolumesEnabled(t *testing.T) {
	host, task := bindTree(t)
	source := filepath.Join(host, "images/k")
	for _, volumes := range []Volumes{{}, {Paths: []string{filepath.Join(host, "images")}}} {
		_, err := volumes.bindSource(task, source)
		must.ErrorContains(t, err, "does not set volumes.enabled")
	}
	everything := Volumes{Enabled: true, Paths: []string{"/"}}
	f, err := openBind(everything, task, source)
	must.NoError(t, err)
	defer f.Close()
	must.Eq(t, "images/k", contentOf(t, f))
}

// A socket or a device of the host has no meaning for the guest's kernel.
func TestBindSource_RefusesSocketsAndDevices(t *testing.T) {
	testenv.Need(t, testenv.Root)
	_, task := bindTree(t)
	local := task.TaskDir().LocalDir
	listener, err := net.Listen("unix", filepath.Join(local, "socket"))
	must.NoError(t, err)
	defer listener.Close()
	device := filepath.Join(local, "device")
	must.NoError(t, unix.Mknod(device, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	opens := testenv.Opens(t, device)
	for _, name := range []string{"local/socket", "local/device"} {
		_, err := openBind(Volumes{}, task, name)
		must.ErrorIs(t, err, safeopen.ErrType)
	}
	must.Eq(t, 0, opens())
}

// exchange exchanges two files again and again until the test ends.
func exchange(t *testing.T, a, b string) {
	t.Helper()
	done, ended := make(chan struct{}), sync.WaitGroup{}
	ended.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
			}
		}
	})
	t.Cleanup(func() {
		close(done)
		ended.Wait()
	})
}

// Another task of the alloc exchanges a directory for a symbolic link during the start
// (CVE-2021-30465 of runc).
func TestBindSource_StaysInsideDuringAnExchange(t *testing.T) {
	for name, target := range map[string]string{"relative": "../../../other", "absolute": "/etc", "Nomad's": "../../web/private"} {
		t.Run(name, func(t *testing.T) {
			host, task := bindTree(t)
			data := filepath.Join(host, "alloc/alloc/data")
			must.NoError(t, os.Mkdir(filepath.Join(data, "dir"), 0o755))
			for file, content := range map[string]string{
				"alloc/alloc/data/dir/hosts": "inside", "alloc/web/private/hosts": "private", "other/hosts": "outside",
			} {
				must.NoError(t, os.WriteFile(filepath.Join(host, file), []byte(content), 0o600))
			}
			must.NoError(t, os.Symlink(target, filepath.Join(data, "link")))
			exchange(t, filepath.Join(data, "dir"), filepath.Join(data, "link"))
			inside, refused := 0, 0
			for inside == 0 || refused == 0 || inside+refused < 3000 {
				f, err := openBind(Volumes{}, task, "alloc/data/dir/hosts")
				if err != nil {
					refused++
					continue
				}
				inside++
				must.Eq(t, "inside", contentOf(t, f))
				f.Close()
			}
		})
	}
}

// The descriptor stays in use after the path has been replaced.
func TestBindSource_IsResolvedOnce(t *testing.T) {
	host, task := bindTree(t)
	f, err := openBind(Volumes{}, task, "local/k")
	must.NoError(t, err)
	defer f.Close()
	path := filepath.Join(host, "alloc/web/local/k")
	must.NoError(t, os.Remove(path))
	must.NoError(t, os.Symlink(filepath.Join(host, "other/k"), path))
	must.Eq(t, "alloc/web/local/k", contentOf(t, f))
}

func TestOpenVolume_OpensTheHostsPath(t *testing.T) {
	host, _ := taskTree(t)
	at := func(p string) string { return filepath.Join(host, p) }
	m, err := openVolume(&drivers.MountConfig{TaskPath: "/data/", HostPath: at("mirror"), Readonly: true, PropagationMode: "host-to-task"})
	must.NoError(t, err)
	defer m.share.Close()
	must.Eq(t, "/data", m.target)
	must.True(t, m.readOnly)
	must.True(t, m.follow)
	info, err := m.share.Stat()
	must.NoError(t, err)
	must.True(t, info.IsDir())
	for path, says := range map[string]string{"missing": "no such file", "images/fifo": "it is a FIFO"} {
		_, err := openVolume(&drivers.MountConfig{TaskPath: "/data", HostPath: at(path)})
		must.ErrorContains(t, err, "volume_mount: /data: "+at(path))
		must.ErrorContains(t, err, says)
	}
}
