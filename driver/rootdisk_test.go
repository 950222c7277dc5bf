// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/ext4"
)

// diskGuest returns the guest that has a disk, for a flavor.
func diskGuest(flavor string) string {
	if flavor == "lkl" {
		return "disk-lkl.spt"
	}
	return "disk.spt"
}

// readDisk starts a guest that only reads its disk. It returns the path of the
// disk.
func readDisk(t *testing.T, p *testPlugin, job TaskConfig, prepare func(local string)) (image string, task *drivers.TaskConfig) {
	testenv.Need(t, testenv.Tool("mke2fs"), testenv.Tool("debugfs"))
	job.Kernel, job.Args = diskGuest(job.Flavor), []string{"mode=check", "bytes=512"}
	task = p.task(t, job, false)
	prepare(task.TaskDir().LocalDir)
	handle, _, err := p.StartTask(task)
	must.NoError(t, err)
	p.wait(t, task)
	return filepath.Join(stateOf(t, handle).Dir, diskFile), task
}

// The holes of a file take no space on the host, so the file may be larger than the host's
// disk.
func TestRootDisk_ContainsSparseFilesOfTheTask(t *testing.T) {
	p := newTestPlugin(t)
	image, _ := readDisk(t, p, TaskConfig{Rootfs: "local/root", Flavor: "lkl", RootfsSize: "100MiB"}, func(local string) {
		must.NoError(t, os.Mkdir(filepath.Join(local, "root"), 0o755))
		sparse := filepath.Join(local, "sparse")
		must.NoError(t, os.WriteFile(sparse, []byte("data"), 0o644))
		must.NoError(t, os.Truncate(sparse, 4<<40))
	})
	must.NoError(t, ext4.Check(image))
}

func TestRootDisk_ContainsTheTasksFilesForLinux(t *testing.T) {
	p := newTestPlugin(t)
	image, task := readDisk(t, p, TaskConfig{Rootfs: "local/root", Flavor: "lkl", RootfsSize: "100MiB"}, func(local string) {
		must.NoError(t, os.MkdirAll(filepath.Join(local, "root/etc"), 0o755))
		must.NoError(t, os.WriteFile(filepath.Join(local, "root/etc/hosts"), []byte("replaced"), 0o644))
		must.NoError(t, os.WriteFile(filepath.Join(local, "root/own"), []byte("kept"), 0o644))
		must.NoError(t, os.WriteFile(filepath.Join(local, "data"), []byte("local"), 0o644))
		must.NoError(t, os.WriteFile(filepath.Join(local, "../secrets/token"), []byte("secret"), 0o644))
		must.NoError(t, os.WriteFile(filepath.Join(local, "../../alloc/data/shared"), []byte("shared"), 0o644))
	})
	must.NoError(t, ext4.Check(image))
	for path, want := range map[string]string{
		"/own": "kept", "/local/data": "local", "/secrets/token": "secret", "/alloc/data/shared": "shared",
		"/etc/hostname": defaultHostname(task) + "\n",
	} {
		content, err := ext4.ReadFile(image, path)
		must.NoError(t, err, must.Sprint(path))
		must.Eq(t, want, string(content))
	}
	hosts, err := ext4.ReadFile(image, "/etc/hosts")
	must.NoError(t, err)
	must.StrContains(t, string(hosts), "localhost")
	_, err = ext4.ReadFile(image, "/local/root/own") // the source of the disk
	must.Error(t, err)
	info, err := os.Stat(image)
	must.NoError(t, err)
	must.Eq(t, 100<<20, info.Size())
	must.Eq(t, 0o600, info.Mode().Perm())
}

func TestRootDisk_GrowsACopyOfAnImage(t *testing.T) {
	for _, flavor := range []string{"lkl", "solo5"} {
		t.Run(flavor, func(t *testing.T) {
			p := newTestPlugin(t)
			var original string
			image, _ := readDisk(t, p, TaskConfig{Rootfs: "local/root.ext4", Flavor: flavor, RootfsSize: "32M"}, func(local string) {
				original = filepath.Join(local, "root.ext4")
				must.NoError(t, disk.Build(context.Background(), t.TempDir(), original, disk.BuildOptions{Size: 16 << 20}))
			})
			info, err := os.Stat(image)
			must.NoError(t, err)
			must.Eq(t, 32<<20, info.Size())
			must.NoError(t, ext4.Check(image))
			_, err = ext4.ReadFile(image, "/etc/hostname")
			must.Eq(t, flavor == "lkl", err == nil) // the driver adds files for LKL guests only
			_, err = ext4.ReadFile(original, "/etc/hostname")
			must.Error(t, err)
		})
	}
}

func TestRootDisk_CopiesRawDisksForOtherGuests(t *testing.T) {
	p := newTestPlugin(t)
	image, _ := readDisk(t, p, TaskConfig{Rootfs: "local/raw"}, func(local string) {
		must.NoError(t, os.WriteFile(filepath.Join(local, "raw"), []byte("anything"), 0o644))
	})
	content, err := os.ReadFile(image)
	must.NoError(t, err)
	must.Eq(t, tender.MinBlockSize, len(content))
	must.True(t, strings.HasPrefix(string(content), "anything\x00"))
}

func TestRootDisk_FailsIfTheContentDoesNotFit(t *testing.T) {
	for name, c := range map[string]struct {
		job  TaskConfig
		fill int
		says string
	}{
		"the content":      {TaskConfig{Rootfs: "local/root", RootfsSize: "8M"}, 20 << 20, "content takes about 24 MiB: no space left in the image: set a larger rootfs_size"},
		"the task's files": {TaskConfig{Rootfs: "local/root.ext4", Flavor: "lkl"}, 20 << 20, "set a larger rootfs_size"},
		"no file system":   {TaskConfig{Rootfs: "local/big", Flavor: "lkl"}, 1 << 10, "neither a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			testenv.Need(t, testenv.Tool("mke2fs"), testenv.Tool("debugfs"))
			p := newTestPlugin(t)
			c.job.Kernel = diskGuest(c.job.Flavor)
			task := p.task(t, c.job, false)
			local := task.TaskDir().LocalDir
			must.NoError(t, os.Mkdir(filepath.Join(local, "root"), 0o755))
			must.NoError(t, os.WriteFile(filepath.Join(local, "root", "big"), bytes.Repeat([]byte{'x'}, c.fill), 0o644))
			must.NoError(t, os.WriteFile(filepath.Join(local, "big"), bytes.Repeat([]byte{'x'}, c.fill), 0o644))
			must.NoError(t, disk.Build(t.Context(), t.TempDir(), filepath.Join(local, "root.ext4"), disk.BuildOptions{Size: 8 << 20}))
			_, _, err := p.StartTask(task)
			must.ErrorContains(t, err, "rootfs")
			must.ErrorContains(t, err, c.says)
			records, err := readRecords(p.config.StateDir)
			must.NoError(t, err)
			must.MapEmpty(t, records)
		})
	}
}

func TestRootDisk_NamesTheDamagedImage(t *testing.T) {
	testenv.Need(t, testenv.Tool("mke2fs"), testenv.Tool("debugfs"))
	p := newTestPlugin(t)
	for _, job := range []TaskConfig{{Flavor: "lkl"}, {Flavor: "solo5", RootfsSize: "9MiB"}} {
		job.Kernel, job.Rootfs = diskGuest(job.Flavor), "local/cut.ext4"
		task := p.task(t, job, false)
		image := filepath.Join(task.TaskDir().LocalDir, "cut.ext4")
		must.NoError(t, disk.Build(t.Context(), t.TempDir(), image, disk.BuildOptions{Size: 8 << 20}))
		must.NoError(t, os.Truncate(image, 4<<20))
		_, _, err := p.StartTask(task)
		must.ErrorContains(t, err, "rootfs: local/cut.ext4: truncated")
		must.ErrorContains(t, err, "check local/cut.ext4 with e2fsck -f")
	}
}

func TestRootDisk_NamesTheFileWithALineBreak(t *testing.T) {
	testenv.Need(t, testenv.Tool("mke2fs"), testenv.Tool("debugfs"))
	p := newTestPlugin(t)
	task := p.task(t, TaskConfig{Kernel: diskGuest("lkl"), Rootfs: "local/root", Flavor: "lkl"}, false)
	root := filepath.Join(task.TaskDir().LocalDir, "root")
	must.NoError(t, os.Mkdir(root, 0o755))
	must.NoError(t, os.WriteFile(filepath.Join(root, "a\nb"), nil, 0o644))
	_, _, err := p.StartTask(task)
	must.ErrorContains(t, err, `build an image from local/root: "a\nb": `)
	must.ErrorContains(t, err, "rename the file, or remove it")
}

func TestRootDisk_GuestWritesToItsCopy(t *testing.T) {
	p := newTestPlugin(t)
	task := p.task(t, TaskConfig{Kernel: "disk.spt", Rootfs: "local/raw", RootfsSize: "1MiB", Args: []string{"seed=7"}}, false)
	raw := filepath.Join(task.TaskDir().LocalDir, "raw")
	must.NoError(t, os.WriteFile(raw, nil, 0o644))
	_, _, err := p.StartTask(task)
	must.NoError(t, err)
	must.True(t, p.wait(t, task).Successful())
	info, err := os.Stat(raw)
	must.NoError(t, err)
	must.Eq(t, 0, info.Size())
}

// The guest cannot mount the volume. It only has the disk.
func TestRootfsPersist_IsOnAVolumeOfAGuestWithoutFiles(t *testing.T) {
	p := newTestPlugin(t)
	volume := t.TempDir()
	for _, mode := range []string{"write", "check"} {
		task := p.task(t, TaskConfig{
			Kernel: "disk.spt", Rootfs: "local/raw", RootfsPersist: "/data/root.img", RootfsSize: "1MiB", Args: []string{"mode=" + mode},
		}, false)
		task.Mounts = []*drivers.MountConfig{{TaskPath: "/data", HostPath: volume}}
		must.NoError(t, os.WriteFile(filepath.Join(task.TaskDir().LocalDir, "raw"), nil, 0o644))
		_, _, err := p.StartTask(task)
		must.NoError(t, err)
		must.True(t, p.wait(t, task).Successful())
	}
}

func TestRootfsPersist_RefusesAVolumeItself(t *testing.T) {
	task := plainTask()
	task.Mounts = []*drivers.MountConfig{{TaskPath: "/data", HostPath: "/srv/data"}}
	config := TaskConfig{Kernel: "local/k", Rootfs: "local/root", RootfsPersist: "/data/"}
	must.ErrorContains(t, config.validate(&Config{}, task), `name a file in a directory, such as "/data/root.img"`)
	config.RootfsPersist = "/data/root.img"
	must.NoError(t, config.validate(&Config{}, task))
}

func TestRootDisk_ObservesMaxRootfsSize(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Tool("mke2fs"), testenv.Tool("debugfs"))
	p := newTestPluginWith(t, Config{StateDir: t.TempDir(), ImagePaths: []string{guestDir(t)}, MaxRootfsSize: "8MiB"})
	for name, job := range map[string]TaskConfig{
		"rootfs_size": {Rootfs: "local/small", RootfsSize: "9MiB"},
		"directory":   {Rootfs: "local/large"},
		"image":       {Rootfs: "local/root.ext4"},
		"raw disk":    {Rootfs: "local/large/file"},
	} {
		job.Kernel = diskGuest("")
		task := p.task(t, job, false)
		local := task.TaskDir().LocalDir
		for _, dir := range []string{"small", "large"} {
			must.NoError(t, os.Mkdir(filepath.Join(local, dir), 0o755))
		}
		must.NoError(t, os.WriteFile(filepath.Join(local, "large/file"), bytes.Repeat([]byte{'x'}, 9<<20), 0o644))
		must.NoError(t, disk.Build(t.Context(), t.TempDir(), filepath.Join(local, "root.ext4"), disk.BuildOptions{Size: 9 << 20}))
		_, _, err := p.StartTask(task)
		must.ErrorContains(t, err, "raise max_rootfs_size in the client's plugin config", must.Sprint(name))
		records, err := readRecords(p.config.StateDir)
		must.NoError(t, err)
		must.MapEmpty(t, records)
	}
}

func TestRootDisk_IsNotLargerThanTheFreeSpace(t *testing.T) {
	testenv.Need(t, testenv.Root)
	p := newTestPluginWith(t, Config{StateDir: t.TempDir(), ImagePaths: []string{guestDir(t)}, MaxRootfsSize: "16384GiB"})
	task := p.linux(t, "streams.c", TaskConfig{})
	job := TaskConfig{Kernel: "local/kernel", Rootfs: "local/root", RootfsSize: "16000GiB"}
	must.NoError(t, task.EncodeConcreteDriverConfig(&job))
	_, _, err := p.StartTask(task)
	must.ErrorContains(t, err, "rootfs_size 16000GiB: ")
	must.ErrorContains(t, err, " MiB are free")
	must.ErrorContains(t, err, "16384000 MiB are needed")
}
