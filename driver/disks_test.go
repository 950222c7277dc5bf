// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/ext4"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/loopfs"
)

const imageInAlloc = "alloc/data/image"

// dataTask prepares a task that counts its starts on a disk.
func (p *testPlugin) dataTask(t *testing.T, config DiskConfig) *drivers.TaskConfig {
	t.Helper()
	testenv.Need(t, testenv.Tool("mke2fs"), testenv.Tool("debugfs"), testenv.Tool("e2fsck"))
	return p.countingTask(t, config, true)
}

// refusedTask is dataTask for a task that does not start, without a collector of its console.
func (p *testPlugin) refusedTask(t *testing.T, config DiskConfig) *drivers.TaskConfig {
	t.Helper()
	testenv.Need(t, testenv.Tool("mke2fs"), testenv.Tool("debugfs"), testenv.Tool("e2fsck"))
	return p.countingTask(t, config, false)
}

func (p *testPlugin) countingTask(t *testing.T, config DiskConfig, logs bool) *drivers.TaskConfig {
	t.Helper()
	config.Mount = "/data"
	task := p.taskOf(t, uuid.Generate(), "web", logs)
	task.NetworkIsolation = newTestNetwork(t).spec()
	compileLinux(t, task, "count.c", TaskConfig{Args: []string{"/data"}, Disks: map[string]DiskConfig{"data": config}})
	return task
}

// again prepares the next start of a task, as Nomad does after the end of the first.
func (p *testPlugin) again(t *testing.T, task *drivers.TaskConfig) *drivers.TaskConfig {
	t.Helper()
	_ = p.DestroyTask(task.ID, true) // the test may have done it
	next := task.Copy()
	next.ID += "+"
	collectLogs(t, next)
	t.Cleanup(func() { _ = p.impl.DestroyTask(next.ID, true) })
	return next
}

func imageOf(task *drivers.TaskConfig) string {
	return filepath.Join(task.TaskDir().SharedAllocDir, "data/image")
}

// startCounting starts a task of dataTask and waits until the program has counted the start.
func (p *testPlugin) startCounting(t *testing.T, task *drivers.TaskConfig, count int) *drivers.TaskHandle {
	t.Helper()
	handle, _, err := p.StartTask(task)
	must.NoError(t, err)
	waitForLine(t, task, fmt.Sprintf("count=%d", count))
	return handle
}

func TestDisk_OutlivesItsTask(t *testing.T) {
	p := newTestPlugin(t)
	task := p.dataTask(t, DiskConfig{Source: imageInAlloc, Size: "20MiB"})
	task.User = "1000:100"
	handle := p.startCounting(t, task, 1)
	waitForLine(t, task, "owner=1000 mode=755\ncount=1")
	for i, kill := range []func(){
		func() { must.NoError(t, p.StopTask(task.ID, time.Minute, "SIGTERM")) },
		func() { must.NoError(t, syscall.Kill(stateOf(t, handle).Guest.Pid, syscall.SIGKILL)) },
		func() { must.NoError(t, syscall.Kill(stateOf(t, handle).Executor.Pid, syscall.SIGKILL)) },
		func() { p = p.restart(t); must.NoError(t, p.RecoverTask(handle)) },
	} {
		kill()
		task = p.again(t, task)
		handle = p.startCounting(t, task, i+2)
	}
	must.NoError(t, p.DestroyTask(task.ID, true))
	info, err := os.Stat(imageOf(task))
	must.NoError(t, err)
	must.Eq(t, 20<<20, info.Size())
	must.Eq(t, 0o600, info.Mode().Perm())
}

func TestDisk_WithoutASourceIsEmptyAtEachStart(t *testing.T) {
	p := newTestPlugin(t)
	task := p.dataTask(t, DiskConfig{Size: "20MiB"})
	handle := p.startCounting(t, task, 1)
	must.NoError(t, p.StopTask(task.ID, time.Minute, "SIGTERM"))
	must.NoError(t, ext4.Check(filepath.Join(stateOf(t, handle).Dir, scratchPrefix+"data")))
	task = p.again(t, task)
	noTrace(t, handle)
	waitForLine(t, task, "ready")
	_, _, err := p.StartTask(task)
	must.NoError(t, err)
	waitFor(t, "the second start", func() bool { return strings.Count(console(task), "count=1\n") == 2 })
}

func TestRootfsPersist_OutlivesItsTask(t *testing.T) {
	testenv.Need(t, testenv.Tool("mke2fs"), testenv.Tool("debugfs"), testenv.Tool("e2fsck"))
	p := newTestPlugin(t)
	task := p.linux(t, "count.c", TaskConfig{Args: []string{"/srv"}, RootfsPersist: imageInAlloc, Hostname: "first"})
	handle := p.startCounting(t, task, 1)
	must.FileNotExists(t, filepath.Join(stateOf(t, handle).Dir, diskFile))
	must.NoError(t, syscall.Kill(stateOf(t, handle).Guest.Pid, syscall.SIGKILL))
	for count, job := range map[int]TaskConfig{2: {Hostname: "second"}} {
		task = p.again(t, task)
		job.Args, job.RootfsPersist = []string{"/srv"}, imageInAlloc
		compileLinux(t, task, "count.c", job)
		p.startCounting(t, task, count)
	}
	must.NoError(t, p.StopTask(task.ID, time.Minute, "SIGTERM"))
	must.NoError(t, ext4.Check(imageOf(task)))
	content, err := ext4.ReadFile(imageOf(task), "/etc/hostname")
	must.NoError(t, err)
	must.Eq(t, "second\n", string(content))
}

// An empty file system is no root, and a later start would not fill it.
func TestRootfsPersist_LeavesAnEmptyFileAsItIs(t *testing.T) {
	testenv.Need(t, testenv.Tool("mke2fs"), testenv.Tool("debugfs"), testenv.Tool("e2fsck"))
	p := newTestPlugin(t)
	for name, size := range map[string]int64{"no bytes": 0, "a hole": 20 << 20} {
		t.Run(name, func(t *testing.T) {
			task := p.taskOf(t, uuid.Generate(), "web", false)
			task.NetworkIsolation = newTestNetwork(t).spec()
			compileLinux(t, task, "count.c", TaskConfig{RootfsPersist: imageInAlloc})
			must.NoError(t, os.WriteFile(imageOf(task), nil, 0o600))
			must.NoError(t, os.Truncate(imageOf(task), size))
			must.ErrorContains(t, p.startFails(t, task), "is empty: remove the file")
			f, err := os.Open(imageOf(task))
			must.NoError(t, err)
			defer f.Close()
			empty, err := disk.IsEmpty(f)
			must.NoError(t, err)
			must.True(t, empty)
		})
	}
}

// startFails starts a task and returns the error. The task leaves nothing behind.
func (p *testPlugin) startFails(t *testing.T, task *drivers.TaskConfig) error {
	t.Helper()
	_, _, err := p.StartTask(task)
	must.Error(t, err)
	must.DirNotExists(t, taskDirPath(p.config.StateDir, task.ID))
	return err
}

func TestDisk_LeavesOtherContentAsItIs(t *testing.T) {
	p := newTestPlugin(t)
	for name, c := range map[string]struct {
		content string
		says    string
	}{
		"XFS":     {"XFSB" + strings.Repeat("x", 1<<20), "contains an XFS file system"},
		"text":    {"my notes", "contains unknown data"},
		"zeros":   {strings.Repeat("\x00", 1<<20), "contains zeros at its start"},
		"damaged": {strings.Repeat("\x00", 1024+0x38) + "\x53\xef" + strings.Repeat("\xff", 1<<20), "the ext4 image is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			task := p.refusedTask(t, DiskConfig{Source: imageInAlloc, Size: "20MiB"})
			must.NoError(t, os.WriteFile(imageOf(task), []byte(c.content), 0o640))
			err := p.startFails(t, task)
			must.ErrorContains(t, err, c.says)
			must.ErrorContains(t, err, imageInAlloc)
			content, err := os.ReadFile(imageOf(task))
			must.NoError(t, err)
			must.Eq(t, c.content, string(content))
		})
	}
}

func TestDisk_FormatsAnEmptyFile(t *testing.T) {
	p := newTestPlugin(t)
	task := p.dataTask(t, DiskConfig{Source: imageInAlloc})
	must.NoError(t, os.WriteFile(imageOf(task), nil, 0o640))
	must.ErrorContains(t, p.startFails(t, task), "set size to create a file system in it")
	must.NoError(t, os.Truncate(imageOf(task), 20<<20))
	events := collect(t, p.impl)
	p.startCounting(t, task, 1)
	awaitMessage(t, events, "Created a file system of 20 MiB in the empty file "+imageInAlloc)
	info, err := os.Stat(imageOf(task))
	must.NoError(t, err)
	must.Eq(t, 0o640, info.Mode().Perm())
}

// Another task of the alloc can put anything at the path.
func TestDisk_FollowsNoLinkAndOpensNoOtherFile(t *testing.T) {
	p := newTestPlugin(t)
	secret := filepath.Join(t.TempDir(), "secret")
	must.NoError(t, disk.Build(t.Context(), t.TempDir(), secret, disk.BuildOptions{Size: 4 << 20}))
	before, err := os.ReadFile(secret)
	must.NoError(t, err)
	for name, put := range map[string]func(image string) error{
		"link to a file":      func(image string) error { return os.Symlink(secret, image) },
		"link inside":         func(image string) error { return os.Symlink("other", image) },
		"link of a directory": func(image string) error { return replaceByLink(filepath.Dir(image), filepath.Dir(secret)) },
		"device":              func(image string) error { return unix.Mknod(image, unix.S_IFBLK|0o666, int(unix.Mkdev(7, 0))) },
		"FIFO":                func(image string) error { return unix.Mkfifo(image, 0o666) },
		"directory":           func(image string) error { return os.Mkdir(image, 0o755) },
	} {
		t.Run(name, func(t *testing.T) {
			source := "alloc/data/secret"
			task := p.refusedTask(t, DiskConfig{Source: source, Size: "20MiB"})
			image := filepath.Join(filepath.Dir(imageOf(task)), "secret")
			must.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(image), "other"), before, 0o600))
			must.NoError(t, put(image))
			must.ErrorContains(t, p.startFails(t, task), source)
			after, err := os.ReadFile(secret)
			must.NoError(t, err)
			must.True(t, bytes.Equal(before, after))
		})
	}
}

func replaceByLink(path, target string) error {
	return errors.Join(os.RemoveAll(path), os.Symlink(target, path))
}

func TestDisk_HasOneUser(t *testing.T) {
	p := newTestPlugin(t)
	task := p.dataTask(t, DiskConfig{Source: imageInAlloc, Size: "20MiB"})
	handle := p.startCounting(t, task, 1)
	second := p.dataTask(t, DiskConfig{Source: imageInAlloc})
	must.NoError(t, os.Link(imageOf(task), imageOf(second)))
	err := p.startFails(t, second)
	must.ErrorContains(t, err, fmt.Sprintf(`in use by the task "web" of the alloc %s`, task.AllocID))
	var recoverable *structs.RecoverableError
	must.True(t, errors.As(err, &recoverable) && recoverable.IsRecoverable())

	// The lock belongs to the guest, so it survives the plugin.
	p = p.restart(t)
	must.ErrorContains(t, p.startFails(t, second), task.AllocID)
	must.NoError(t, p.RecoverTask(handle))
	must.NoError(t, p.DestroyTask(task.ID, true))
	p.startCounting(t, second, 2)
	must.NoError(t, p.DestroyTask(second.ID, true)) // the first plugin's clean-up does not know the task
}

func TestDisk_ReadOnlyHasManyUsers(t *testing.T) {
	p := newTestPlugin(t)
	task := p.dataTask(t, DiskConfig{Source: imageInAlloc, Size: "20MiB"})
	p.startCounting(t, task, 1)
	readers := []*drivers.TaskConfig{
		p.dataTask(t, DiskConfig{Source: imageInAlloc, ReadOnly: true}),
		p.dataTask(t, DiskConfig{Source: imageInAlloc, ReadOnly: true}),
	}
	for _, reader := range readers {
		must.NoError(t, os.Link(imageOf(task), imageOf(reader)))
	}
	must.ErrorContains(t, p.startFails(t, readers[0]), "in use by the task")
	must.NoError(t, p.DestroyTask(task.ID, true))
	must.ErrorContains(t, p.startFails(t, readers[0]), "was not unmounted cleanly")

	clean := p.again(t, task)
	p.startCounting(t, clean, 2)
	must.NoError(t, p.StopTask(clean.ID, time.Minute, "SIGTERM"))
	before, err := os.ReadFile(imageOf(task))
	must.NoError(t, err)
	for _, reader := range readers {
		p.startCounting(t, reader, 3)
		must.StrContains(t, console(reader), "open: Read-only file system")
	}
	after, err := os.ReadFile(imageOf(task))
	must.NoError(t, err)
	must.True(t, bytes.Equal(before, after))
}

func TestDisk_GrowsWithItsSize(t *testing.T) {
	p := newTestPlugin(t)
	task := p.dataTask(t, DiskConfig{Source: imageInAlloc, Size: "20MiB"})
	p.startCounting(t, task, 1)
	events := collect(t, p.impl)
	for i, size := range []string{"200MiB", "50MiB"} {
		task = p.again(t, task)
		compileLinux(t, task, "count.c", TaskConfig{
			Args: []string{"/data"}, Disks: map[string]DiskConfig{"data": {Source: imageInAlloc, Size: size, Mount: "/data"}},
		})
		p.startCounting(t, task, i+2)
		info, err := os.Stat(imageOf(task))
		must.NoError(t, err)
		must.Eq(t, 200<<20, info.Size())
	}
	awaitMessage(t, events, "The disk "+imageInAlloc+" grew from 20 to 200 MiB")
	awaitMessage(t, events, "disks never shrink")
	must.NoError(t, p.StopTask(task.ID, time.Minute, "SIGTERM"))
	must.NoError(t, ext4.Check(imageOf(task)))
}

// awaitMessage waits for an event whose message contains the text.
func awaitMessage(t *testing.T, events <-chan *drivers.TaskEvent, text string) {
	t.Helper()
	for !strings.Contains(testenv.Receive(t, events).Message, text) {
	}
}

// The disk is on a host file system that becomes full. Everything for which fsync has returned
// stays on the disk.
func TestDisk_KeepsSyncedDataOnAFullHost(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Tool("mke2fs"))
	p := newTestPlugin(t)
	host, err := loopfs.Mount("tmpfs", [2]string{"size", "40m"})
	must.NoError(t, err)
	defer host.Close()
	task := p.linux(t, "count.c", TaskConfig{
		Args: []string{"/data", "30"}, Disks: map[string]DiskConfig{"data": {Source: "/volume/image", Size: "36MiB", Mount: "/data"}},
	})
	task.Mounts = []*drivers.MountConfig{{TaskPath: "/volume", HostPath: loopfs.Path(host)}}
	must.NoError(t, os.WriteFile(filepath.Join(loopfs.Path(host), "other"), bytes.Repeat([]byte{'x'}, 20<<20), 0o600))
	must.ErrorContains(t, p.startFails(t, task), "remove files from the file system of the disk")
	must.NoError(t, os.Remove(filepath.Join(loopfs.Path(host), "other")))
	image := filepath.Join(loopfs.Path(host), "image")
	dir, err := os.Open(filepath.Dir(image))
	must.NoError(t, err)
	defer dir.Close()
	must.NoError(t, disk.Create(t.Context(), dir, "image", disk.NewOptions{Size: 36 << 20}))
	must.NoError(t, os.WriteFile(filepath.Join(loopfs.Path(host), "other"), bytes.Repeat([]byte{'x'}, 20<<20), 0o600))

	p.startCounting(t, task, 1)
	waitForLine(t, task, "ready")
	var synced int
	_, rest, _ := strings.Cut(console(task), "synced=")
	_, err = fmt.Sscan(rest, &synced)
	must.NoError(t, err)
	must.Between(t, 1, synced, 25)
	must.NoError(t, p.DestroyTask(task.ID, true))

	must.NoError(t, os.Remove(filepath.Join(loopfs.Path(host), "other")))
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	must.NoError(t, err)
	defer f.Close()
	_, err = disk.Check(t.Context(), disk.Sandbox{}, f, t.TempDir())
	must.NoError(t, err)
	content, err := ext4.ReadFile(image, "/fill")
	must.NoError(t, err)
	must.GreaterEq(t, synced<<20, len(content))
	must.Eq(t, synced<<20, bytes.Count(content[:synced<<20], []byte{'x'}))
}

// Current versions of mke2fs enable features that Linux has had since 2021.
func TestDisk_AcceptsTheDefaultsOfMke2fs(t *testing.T) {
	p := newTestPlugin(t)
	task := p.dataTask(t, DiskConfig{Source: imageInAlloc, Size: "40MiB"})
	features := "metadata_csum,metadata_csum_seed,orphan_file,64bit"
	out, err := exec.Command("mke2fs", "-q", "-t", "ext4", "-O", features, imageOf(task), "30M").CombinedOutput()
	must.NoError(t, err, must.Sprint(string(out)))
	handle := p.startCounting(t, task, 1)
	waitForLine(t, task, "ready")
	// Orphaned files are in the orphan file when the guest dies.
	must.NoError(t, syscall.Kill(stateOf(t, handle).Guest.Pid, syscall.SIGKILL))
	task = p.again(t, task)
	p.startCounting(t, task, 2)
	must.NoError(t, p.StopTask(task.ID, time.Minute, "SIGTERM"))
	must.NoError(t, ext4.Check(imageOf(task)))
}

// The guest's kernel has no code for these features.
func TestDisk_RefusesFeaturesThatTheGuestLacks(t *testing.T) {
	p := newTestPlugin(t)
	for _, feature := range []string{"quota", "project", "casefold", "encrypt", "verity", "bigalloc", "mmp"} {
		t.Run(feature, func(t *testing.T) {
			task := p.refusedTask(t, DiskConfig{Source: imageInAlloc})
			out, err := exec.Command("mke2fs", "-q", "-t", "ext4", "-O", feature, imageOf(task), "40M").CombinedOutput()
			must.NoError(t, err, must.Sprint(string(out)))
			before, err := os.ReadFile(imageOf(task))
			must.NoError(t, err)
			must.ErrorContains(t, p.startFails(t, task), "the feature "+feature+": not supported")
			after, err := os.ReadFile(imageOf(task))
			must.NoError(t, err)
			must.True(t, bytes.Equal(before, after))
		})
	}
}

// A block-device volume of CSI is a device at the path of the volume.
func TestDisk_MayBeABlockDevice(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Loop, testenv.Tool("losetup"), testenv.Tool("mke2fs"))
	p := newTestPlugin(t)
	file := filepath.Join(t.TempDir(), "device")
	must.NoError(t, os.WriteFile(file, nil, 0o600))
	must.NoError(t, os.Truncate(file, 20<<20))
	out, err := exec.Command("losetup", "--find", "--show", file).CombinedOutput()
	must.NoError(t, err, must.Sprint(string(out)))
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() { must.NoError(t, exec.Command("losetup", "--detach", device).Run()) })

	task := p.refusedTask(t, DiskConfig{Source: "/volume"})
	task.Mounts = []*drivers.MountConfig{{TaskPath: "/volume", HostPath: device}}
	must.ErrorContains(t, p.startFails(t, task), "create one with mkfs.ext4")
	out, err = exec.Command("mke2fs", "-q", "-t", "ext4", device).CombinedOutput()
	must.NoError(t, err, must.Sprint(string(out)))
	task = p.dataTask(t, DiskConfig{Source: "/volume"})
	task.Mounts = []*drivers.MountConfig{{TaskPath: "/volume", HostPath: device}}
	handle := p.startCounting(t, task, 1)
	must.NoError(t, syscall.Kill(stateOf(t, handle).Guest.Pid, syscall.SIGKILL))
	task = p.again(t, task)
	p.startCounting(t, task, 2)
	must.NoError(t, p.DestroyTask(task.ID, true))
}
