// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

func inodeOf(t *testing.T, path string) files.Inode {
	t.Helper()
	var stat unix.Stat_t
	must.NoError(t, unix.Lstat(path, &stat))
	return files.Inode{Dev: stat.Dev, Ino: stat.Ino}
}

func TestLiveFiles_PlanAndMounts(t *testing.T) {
	host, task := bindTree(t)
	at := func(p string) string { return filepath.Join(host, p) }
	must.NoError(t, os.Mkdir(at("alloc/alloc/logs"), 0o755))
	task.Mounts = []*drivers.MountConfig{{TaskPath: "/data", HostPath: at("other"), Readonly: true, PropagationMode: "host-to-task"}}
	j := job{task: task, program: program{user: owner{1000, 100}}, config: TaskConfig{Mounts: []MountConfig{
		{Type: "tmpfs", Target: "/cache", ReadOnly: true, Tmpfs: &TmpfsOptions{Size: 1 << 20, Mode: 0o1777}},
		{Type: "bind", Target: "/etc/k", Source: "local/k", Bind: &BindOptions{Propagation: "slave"}},
	}}}
	kernel := inodeOf(t, at("alloc/web/local/k"))
	server, err := os.Open(os.DevNull)
	must.NoError(t, err)
	live := &liveFiles{server: server}
	defer live.Close()
	must.NoError(t, live.open(j, []files.Inode{kernel}, &Volumes{}))

	must.Eq(t, []lkl.Mount{
		{Device: "0", Path: "/alloc", Type: "hostfs", Options: "nosuid,nodev"},
		{Device: "1", Path: "/local", Type: "hostfs", Options: "nosuid,nodev"},
		{Device: "2", Path: "/secrets", Type: "hostfs", Options: "nosuid,nodev"},
		{Device: "3", Path: "/data", Type: "hostfs", Options: "nosuid,nodev,ro"},
		{Device: "tmpfs", Path: "/cache", Type: "tmpfs", Options: "nosuid,nodev,ro,noexec,size=1048576,mode=1777"},
		{Device: "4", Path: "/etc/k", Type: "hostfs", Options: "nosuid,nodev"},
	}, live.lkl())

	plan, inherited := live.plan(j.program.user, []*os.File{os.Stdin})
	must.Eq(t, &executor.FilesPlan{ProgramFD: 1, Server: files.Plan{
		Version: files.Version, UID: 1000, GID: 100,
		Shares: []files.Share{
			{FD: 2, Hidden: []files.Inode{kernel}, ReadOnlyDirs: []string{"logs"}},
			{FD: 3, Hidden: []files.Inode{kernel}},
			{FD: 4, Hidden: []files.Inode{kernel}},
			{FD: 5, ReadOnly: true, Follow: true},
			{FD: 6, Follow: true},
		},
	}}, plan)
	must.NoError(t, plan.Server.Check(len(inherited)))
	for i, path := range []string{"alloc/alloc", "alloc/web/local", "alloc/web/secrets", "other", "alloc/web/local/k"} {
		var stat unix.Stat_t
		must.NoError(t, unix.Fstat(int(inherited[2+i].Fd()), &stat))
		must.Eq(t, inodeOf(t, at(path)), files.Inode{Dev: stat.Dev, Ino: stat.Ino})
		flags, err := unix.FcntlInt(inherited[2+i].Fd(), unix.F_GETFL, 0)
		must.NoError(t, err)
		must.Eq(t, unix.O_PATH, flags&unix.O_PATH)
	}
}

// Nomad's logmon rotates logs as root, and follows symbolic links.
func TestLiveFiles_LogsAreReadOnly(t *testing.T) {
	host, task := bindTree(t)
	logs := filepath.Join(host, "alloc/alloc/logs")
	must.NoError(t, os.Mkdir(logs, 0o777))
	must.NoError(t, os.Symlink("../../alloc/logs", filepath.Join(host, "alloc/web/local/logs")))
	open := func(m MountConfig) (*liveFiles, error) {
		live := &liveFiles{}
		t.Cleanup(live.Close)
		m.Type, m.Target = mountBind, "/x"
		return live, live.open(job{task: task, config: TaskConfig{Mounts: []MountConfig{m}}}, nil, &Volumes{})
	}
	for _, source := range []string{"alloc/logs", "/alloc/logs", "../alloc/logs", "local/logs", logs} {
		_, err := open(MountConfig{Source: source})
		must.ErrorContains(t, err, "set readonly = true")
		_, err = open(MountConfig{Source: source, ReadOnly: true})
		must.NoError(t, err)
	}
	live, err := open(MountConfig{Source: "../alloc"})
	must.NoError(t, err)
	must.Eq(t, []string{"logs"}, live.mounts[len(live.mounts)-1].readOnlyDirs)
}

func TestLiveFiles_TaskDirectoryIsNoLink(t *testing.T) {
	host, task := bindTree(t)
	for _, name := range []string{"alloc/web/local", "alloc/alloc"} {
		path := filepath.Join(host, name)
		must.NoError(t, os.Rename(path, path+"-moved"))
		must.NoError(t, os.Symlink(filepath.Join(host, "other"), path))
		live := &liveFiles{}
		must.Error(t, live.openTaskDirs(task, nil))
		live.Close()
		must.NoError(t, os.Remove(path))
		must.NoError(t, os.Rename(path+"-moved", path))
	}
}

func TestKernel_RefusesMountsWithoutTheFeature(t *testing.T) {
	j := job{task: plainTask(), config: TaskConfig{Mounts: []MountConfig{{Type: "tmpfs", Target: "/cache"}}}}
	j.task.Mounts = []*drivers.MountConfig{{TaskPath: "/data"}}
	k := kernelInfo{elf: &unikernel.Info{Features: unikernel.FeatureFiles}, flavor: unikernel.FlavorLKL}
	err := k.check(j, &Config{})
	must.ErrorContains(t, err, "volume_mount: /data needs a guest with the features devices, files, which this kernel lacks: "+
		"link it again with the current lkl-cc")
	must.ErrorContains(t, err, `such as "/data/disk.img", as source of a block disk`)
	must.ErrorContains(t, err, "mount[0]: needs a guest")
	k.flavor = unikernel.FlavorSolo5
	must.ErrorContains(t, k.check(j, &Config{}), "volume_mount: /data is only supported by guests of flavor lkl")
	k.flavor, k.elf.Features = unikernel.FlavorLKL, unikernel.LiveFeatures
	must.NoError(t, k.check(j, &Config{}))
}

// A guest without live directories sees the disk, not the volume.
func TestKernel_AcceptsVolumesOfDisksWithoutTheFeature(t *testing.T) {
	task := plainTask()
	task.Mounts = []*drivers.MountConfig{
		{TaskPath: "/root", HostPath: "/srv/root"}, {TaskPath: "/data", HostPath: "/srv/data"}, {TaskPath: "/data/deep", HostPath: "/srv/deep"},
	}
	j := job{task: task, config: TaskConfig{
		Rootfs: "local/root", RootfsPersist: "/root/root.img", Disks: map[string]DiskConfig{"data": {Source: "/data/deep/../deep/x.img"}},
	}}
	k := kernelInfo{elf: &unikernel.Info{Manifest: []unikernel.Device{blockEntry("disk"), blockEntry("data")}}, flavor: unikernel.FlavorSolo5}
	err := k.check(j, &Config{})
	must.ErrorContains(t, err, "volume_mount: /data is only supported by guests of flavor lkl")
	must.StrNotContains(t, err.Error(), "/data/deep ")
	must.StrNotContains(t, err.Error(), "/root ")
	task.Mounts = append(task.Mounts[:1], task.Mounts[2])
	must.NoError(t, k.check(j, &Config{}))
}

// The guest gets no copies of files that it sees live.
func TestKernel_LiveFilesNeedBothFeatures(t *testing.T) {
	for features, live := range map[unikernel.Features]bool{
		0: false, unikernel.FeatureFiles: false, unikernel.FeatureDevices: false, unikernel.LiveFeatures: true,
	} {
		k := kernelInfo{elf: &unikernel.Info{Features: features}, flavor: unikernel.FlavorLKL}
		must.Eq(t, live, k.hasLiveFiles())
	}
}
