// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// readOnlyTask prepares a task with a read-only root disk, without a rootfs_size.
func (p *testPlugin) readOnlyTask(t *testing.T, job TaskConfig) *drivers.TaskConfig {
	t.Helper()
	testenv.Need(t, testenv.Tool("mke2fs"), testenv.Tool("debugfs"))
	task := p.linux(t, "signals.c", job)
	job.Kernel = "local/kernel"
	if job.Rootfs == "" {
		job.Rootfs = "local/root"
	}
	must.NoError(t, task.EncodeConcreteDriverConfig(&job))
	return task
}

// mustBeReadOnly waits for the program, and requires that it cannot write to the root.
func mustBeReadOnly(t *testing.T, task *drivers.TaskConfig) (random string) {
	t.Helper()
	waitForLine(t, task, "ready")
	must.StrContains(t, console(task), "host="+defaultHostname(task)+" ")
	waitFor(t, "the program's error", func() bool { return errorsOf(task) == "written: Read-only file system\n" })
	_, random, _ = strings.Cut(console(task), "random=")
	random, _, _ = strings.Cut(random, "\n")
	return random
}

// mustHaveReadOnlyDisk requires that the guest's process cannot write to its root disk.
func mustHaveReadOnlyDisk(t *testing.T, handle *drivers.TaskHandle) {
	t.Helper()
	const rootfs = 5 // the first device of the manifest: docs/tender.md
	info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", stateOf(t, handle).Guest.Pid, rootfs))
	must.NoError(t, err)
	var position, flags int
	_, err = fmt.Sscanf(string(info), "pos: %d\nflags: %o", &position, &flags)
	must.NoError(t, err)
	must.Eq(t, os.O_RDONLY, flags&unix.O_ACCMODE)
}

func TestReadOnlyRoot_IsBuiltAsISO9660(t *testing.T) {
	p := newTestPlugin(t)
	task := p.readOnlyTask(t, TaskConfig{RootfsFormat: formatISO9660})
	handle, _, err := p.StartTask(task)
	must.NoError(t, err)
	mustBeReadOnly(t, task)
	mustHaveReadOnlyDisk(t, handle)
	f, err := os.Open(filepath.Join(stateOf(t, handle).Dir, diskFile))
	must.NoError(t, err)
	defer f.Close()
	must.True(t, disk.HasISO9660(f))
	must.NoError(t, p.StopTask(task.ID, time.Minute, ""))
	must.Eq(t, 7, p.wait(t, task).ExitCode)
}

// disk-lkl.spt has the devices of a legacy LKL guest.
func TestReadOnlyRoot_IsISO9660ForOtherGuests(t *testing.T) {
	for _, flavor := range []string{"solo5", "lkl"} {
		t.Run(flavor, func(t *testing.T) {
			p := newTestPlugin(t)
			image, _ := readDisk(t, p, TaskConfig{Rootfs: "local/root", RootfsFormat: formatISO9660, Flavor: flavor}, func(local string) {
				must.NoError(t, os.MkdirAll(filepath.Join(local, "root", "etc"), 0o755))
				must.NoError(t, os.WriteFile(filepath.Join(local, "root", "etc", "hosts"), []byte("of the job\n"), 0o644))
			})
			f, err := os.Open(image)
			must.NoError(t, err)
			defer f.Close()
			must.True(t, disk.HasISO9660(f))
			content, err := os.ReadFile(image)
			must.NoError(t, err)
			must.Eq(t, flavor == "solo5", bytes.Contains(content, []byte("of the job\n"))) // the driver writes /etc/hosts for Linux
		})
	}
}

func TestReadOnlyRoot_IsBuiltFromADirectory(t *testing.T) {
	p := newTestPlugin(t)
	task := p.readOnlyTask(t, TaskConfig{RootfsReadOnly: true})
	handle, _, err := p.StartTask(task)
	must.NoError(t, err)
	mustBeReadOnly(t, task)
	mustHaveReadOnlyDisk(t, handle)
}

func TestReadOnlyRoot_IsOneImageForAllTasks(t *testing.T) {
	p := newTestPlugin(t)
	src := t.TempDir()
	for _, dir := range slices.Concat(startMountPoints, taskMountPoints, []string{"/etc"}) {
		must.NoError(t, os.Mkdir(filepath.Join(src, dir), 0o755))
	}
	for _, file := range etcFiles {
		must.NoError(t, os.WriteFile(filepath.Join(src, file), nil, 0o644))
	}
	image := filepath.Join(t.TempDir(), "image")
	must.NoError(t, disk.Build(t.Context(), src, image, disk.BuildOptions{Size: 16 << 20}))
	before, err := os.ReadFile(image)
	must.NoError(t, err)
	seeds := map[string]bool{}
	for range 2 {
		task := p.readOnlyTask(t, TaskConfig{RootfsReadOnly: true, Rootfs: "local/image"})
		must.NoError(t, os.Rename(image, filepath.Join(task.TaskDir().LocalDir, "image")))
		image = filepath.Join(task.TaskDir().LocalDir, "image")
		handle, _, err := p.StartTask(task)
		must.NoError(t, err)
		seeds[mustBeReadOnly(t, task)] = true
		mustHaveReadOnlyDisk(t, handle)
		must.FileNotExists(t, filepath.Join(stateOf(t, handle).Dir, diskFile))
	}
	must.MapLen(t, 2, seeds)
	after, err := os.ReadFile(image)
	must.NoError(t, err)
	must.True(t, bytes.Equal(before, after))
}

func TestReadOnlyRoot_HasAMountPointForAFile(t *testing.T) {
	p := newTestPlugin(t)
	for _, job := range []TaskConfig{{RootfsReadOnly: true}, {RootfsFormat: formatISO9660}} {
		task := p.linux(t, "cat.c", job)
		must.NoError(t, os.WriteFile(filepath.Join(task.TaskDir().LocalDir, "settings"), []byte("of the host\n"), 0o644))
		const target = "/opt/new/settings"
		job.Kernel, job.Rootfs, job.Args = "local/kernel", "local/root", []string{target}
		job.Mounts = []MountConfig{{Type: "bind", Source: "local/settings", Target: target}}
		must.NoError(t, task.EncodeConcreteDriverConfig(&job))
		_, _, err := p.StartTask(task)
		must.NoError(t, err)
		must.Eq(t, 0, p.wait(t, task).ExitCode, must.Sprint(console(task)))
		waitForLine(t, task, "of the host")
	}
}

func TestReadOnlyRoot_HasTheTasksHosts(t *testing.T) {
	p := newTestPlugin(t)
	for _, job := range []TaskConfig{{RootfsReadOnly: true}, {RootfsFormat: formatISO9660}, {RootfsReadOnly: true, Rootfs: "local/image"}} {
		task := p.linux(t, "cat.c", job)
		job.Kernel, job.Args, job.ExtraHosts = "local/kernel", etcFiles, []string{"db:10.9.8.7"}
		if local := task.TaskDir().LocalDir; job.Rootfs != "" {
			src := t.TempDir()
			for _, dir := range slices.Concat(startMountPoints, taskMountPoints, []string{"/etc"}) {
				must.NoError(t, os.Mkdir(filepath.Join(src, dir), 0o755))
			}
			for _, file := range etcFiles {
				must.NoError(t, os.WriteFile(filepath.Join(src, file), []byte("of the image\n"), 0o644))
			}
			must.NoError(t, disk.Build(t.Context(), src, filepath.Join(local, "image"), disk.BuildOptions{Size: 16 << 20}))
		} else {
			job.Rootfs = "local/root"
		}
		must.NoError(t, task.EncodeConcreteDriverConfig(&job))
		_, _, err := p.StartTask(task)
		must.NoError(t, err)
		must.Eq(t, 0, p.wait(t, task).ExitCode, must.Sprint(console(task)))
		waitForLine(t, task, "10.9.8.7 db")
		must.StrNotContains(t, console(task), "of the image")
	}
}

// The users in the guest find their neighbors on a host whose agent has a strict umask.
func TestReadOnlyRoot_EtcIsReadableForAllUsers(t *testing.T) {
	defer unix.Umask(unix.Umask(0o077))
	live := &liveFiles{}
	defer live.Close()
	must.NoError(t, live.mountEtc(taskDir{path: t.TempDir()}, []disk.File{{Path: "/etc/hosts", Content: []byte("::1 localhost\n")}}))
	must.SliceLen(t, 1, live.mounts)
	info, err := live.mounts[0].share.Stat()
	must.NoError(t, err)
	must.Eq(t, 0o644, info.Mode())
}
