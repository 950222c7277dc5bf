// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"strings"
	"testing"

	"github.com/hashicorp/nomad/helper/pluginutils/hclutils"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

// The blocks are those of jobs for the docker driver.
func TestTaskSchema_ParsesMounts(t *testing.T) {
	var job TaskConfig
	hclutils.NewConfigParser(schema(taskOptions)).ParseHCL(t, `
config {
  kernel = "local/web.spt"
  mount {
    type     = "bind"
    target   = "/etc/nginx/nginx.conf"
    source   = "local/nginx.conf"
    readonly = true
    bind_options {
      propagation = "rslave"
    }
  }
  mount {
    type   = "tmpfs"
    target = "/cache"
    tmpfs_options {
      size = 67108864
      mode = 448
    }
  }
  mount = {
    type   = "tmpfs"
    target = "/more"
  }
}`, &job)
	must.Eq(t, []MountConfig{
		{
			Type: "bind", Target: "/etc/nginx/nginx.conf", Source: "local/nginx.conf", ReadOnly: true,
			Bind: &BindOptions{Propagation: "rslave"},
		},
		{Type: "tmpfs", Target: "/cache", Tmpfs: &TmpfsOptions{Size: 64 << 20, Mode: 0o700}},
		{Type: "tmpfs", Target: "/more"},
	}, job.Mounts)
}

func TestPluginSchema_VolumesAreDisabled(t *testing.T) {
	var config Config
	hclutils.NewConfigParser(schema(pluginOptions)).ParseHCL(t, `config {}`, &config)
	must.Eq(t, Volumes{Paths: []string{}}, config.Volumes)
	hclutils.NewConfigParser(schema(pluginOptions)).ParseHCL(t, `
config {
  volumes {
    enabled = true
    paths   = ["/srv"]
  }
}`, &config)
	must.Eq(t, Volumes{Enabled: true, Paths: []string{"/srv"}}, config.Volumes)
}

func TestTaskConfig_ValidatesMounts(t *testing.T) {
	bind := func(target string) MountConfig {
		return MountConfig{Type: "bind", Target: target, Source: "local/x"}
	}
	tmpfs := func(target string) MountConfig { return MountConfig{Type: "tmpfs", Target: target} }
	volume := func(target string) *drivers.MountConfig {
		return &drivers.MountConfig{TaskPath: target, HostPath: "/srv", PropagationMode: "private"}
	}
	for _, c := range []struct {
		name    string
		mounts  []MountConfig
		volumes []*drivers.MountConfig
		wrong   []string // fields, in order
		says    string
	}{
		{
			name:    "nothing wrong",
			mounts:  []MountConfig{bind("/etc/nginx/nginx.conf"), tmpfs("/cache"), tmpfs("/dev/shm"), tmpfs("/tmp"), bind("/local/x"), bind("/alloc/data/deep/x")},
			volumes: []*drivers.MountConfig{volume("/data"), volume("/data/deep"), volume("/alloc/data/x"), volume("/run")},
		},
		{name: "a relative path", mounts: []MountConfig{bind("data")}, wrong: []string{"mount[0].target"}, says: "not an absolute path"},
		{name: "no path", mounts: []MountConfig{bind("")}, wrong: []string{"mount[0].target"}},
		{name: "the root", volumes: []*drivers.MountConfig{volume("/")}, wrong: []string{"volume_mount"}, says: "root directory"},
		{name: "dots", volumes: []*drivers.MountConfig{volume("/data/../etc")}, wrong: []string{"volume_mount"}, says: `contains ".."`},
		{name: "/proc", volumes: []*drivers.MountConfig{volume("/proc/")}, wrong: []string{"volume_mount"}, says: "conflicts with /proc"},
		{name: "below /proc", mounts: []MountConfig{bind("/proc/sys")}, wrong: []string{"mount[0].target"}},
		{name: "below /sys", mounts: []MountConfig{bind("/sys/x")}, wrong: []string{"mount[0].target"}},
		{name: "/dev", mounts: []MountConfig{bind("/dev")}, wrong: []string{"mount[0].target"}},
		{name: "/dev/null", mounts: []MountConfig{bind("//dev/./null")}, wrong: []string{"mount[0].target"}},
		{
			name: "the task's directories", mounts: []MountConfig{tmpfs("/local"), tmpfs("/alloc/"), tmpfs("/secrets")},
			wrong: []string{"mount[0].target", "mount[1].target", "mount[2].target"},
		},
		{
			name: "the same twice", mounts: []MountConfig{bind("/data/"), tmpfs("/data")}, volumes: []*drivers.MountConfig{volume("/data")},
			wrong: []string{"mount[0].target", "mount[1].target"}, says: `"/data" is the mount point of another volume_mount`,
		},
		{name: "no type", mounts: []MountConfig{{Target: "/x"}}, wrong: []string{"mount[0].type"}, says: "is missing"},
		{name: "docker's volumes", mounts: []MountConfig{{Type: "volume", Target: "/x", Source: "v"}}, wrong: []string{"mount[0].type"}, says: "volume_mount of Nomad"},
		{name: "another type", mounts: []MountConfig{{Type: "npipe", Target: "/x"}}, wrong: []string{"mount[0].type"}},
		{name: "a tmpfs with a source", mounts: []MountConfig{{Type: "tmpfs", Target: "/x", Source: "local"}}, wrong: []string{"mount[0].source"}},
		{
			name:  "swapped options",
			wrong: []string{"mount[0].tmpfs_options", "mount[1].bind_options"},
			mounts: []MountConfig{
				{Type: "bind", Target: "/x", Source: "local", Tmpfs: &TmpfsOptions{}}, {Type: "tmpfs", Target: "/y", Bind: &BindOptions{}},
			},
		},
		{
			name:  "sizes and modes",
			wrong: []string{"mount[0].tmpfs_options.size", "mount[0].tmpfs_options.mode", "mount[1].tmpfs_options.mode"},
			mounts: []MountConfig{
				{Type: "tmpfs", Target: "/x", Tmpfs: &TmpfsOptions{Size: -1, Mode: -1}},
				{Type: "tmpfs", Target: "/y", Tmpfs: &TmpfsOptions{Mode: 0o10000}},
			},
		},
		{
			name:  "propagation",
			wrong: []string{"mount[0].bind_options.propagation", "mount[1].bind_options.propagation"},
			mounts: []MountConfig{
				{Type: "bind", Target: "/x", Source: "local", Bind: &BindOptions{Propagation: "rshared"}},
				{Type: "bind", Target: "/y", Source: "local", Bind: &BindOptions{Propagation: "sideways"}},
			},
		},
		{
			name: "propagation of a volume", wrong: []string{"volume_mount", "volume_mount"}, says: `use "host-to-task"`,
			volumes: []*drivers.MountConfig{{TaskPath: "/x", PropagationMode: "bidirectional"}, {TaskPath: "/y", PropagationMode: "sideways"}},
		},
		{name: "a source on the host", mounts: []MountConfig{{Type: "bind", Target: "/x", Source: "/etc"}}, wrong: []string{"mount[0].source"}, says: "volumes.enabled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			task := plainTask()
			task.AllocDir, task.Mounts = "/var/nomad/alloc/x", c.volumes
			job := TaskConfig{Kernel: "local/k", Mounts: c.mounts}
			err := job.validate(&Config{}, task)
			must.Eq(t, c.wrong, fields(err), must.Sprint(err))
			if c.says != "" {
				must.ErrorContains(t, err, c.says)
			}
		})
	}
}

func TestSortMounts_PutsContainingMountsFirst(t *testing.T) {
	mounts := []lkl.Mount{{Path: "/alloc/data/x"}, {Path: "/b"}, {Path: "/local"}, {Path: "/alloc/data"}, {Path: "/alloc"}}
	sortMounts(mounts)
	var paths []string
	for _, m := range mounts {
		paths = append(paths, m.Path)
	}
	must.Eq(t, "/b /local /alloc /alloc/data /alloc/data/x", strings.Join(paths, " "))
}

func TestTaskConfig_RefusesOneFileForSeveralDisks(t *testing.T) {
	task := plainTask()
	task.AllocDir = "/var/nomad/alloc/x"
	job := TaskConfig{Kernel: "local/k", Rootfs: "local/r", RootfsPersist: "alloc/data/root", Disks: map[string]DiskConfig{
		"a": {Source: "alloc/data/root", Size: "1GiB"},
		"b": {Source: "local/x", Size: "1GiB"},
		"c": {Source: "local/./x", Size: "1GiB"},
		"d": {Size: "1GiB"},
		"f": {Source: "local/y", ReadOnly: true},
		"g": {Source: "local/y", ReadOnly: true},
		"h": {Source: "local/y", Size: "1GiB"},
		"e": {Size: "1GiB"},
	}}
	err := job.validate(&Config{}, task)
	must.Eq(t, []string{"disk.a.source", "disk.c.source", "disk.h.source"}, fields(err), must.Sprint(err))
	must.ErrorContains(t, err, "is the file of rootfs_persist too")
	must.ErrorContains(t, err, "is the file of disk.b too")

	// Without rootfs_persist, no disk has its file.
	job.RootfsPersist, job.Disks = "", map[string]DiskConfig{"a": {Source: ".", Size: "1GiB"}}
	must.StrNotContains(t, job.validate(&Config{}, task).Error(), "rootfs_persist")
}
