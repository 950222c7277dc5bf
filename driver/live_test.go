// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/atomicfile"
)

// files prepares a task that runs the commands of testdata/files.c.
func (p *testPlugin) files(t *testing.T, job TaskConfig, commands ...string) *drivers.TaskConfig {
	t.Helper()
	for _, c := range commands {
		job.Args = append(job.Args, strings.Fields(c)...)
	}
	return p.linux(t, "files.c", job)
}

// finish starts a task, and returns its output after it has ended.
func (p *testPlugin) finish(t *testing.T, task *drivers.TaskConfig) string {
	t.Helper()
	_, _, err := p.StartTask(task)
	must.NoError(t, err)
	result := p.wait(t, task)
	must.True(t, result.Successful(), must.Sprint(result.Err, console(task)))
	waitForLine(t, task, "end")
	return console(task)
}

// render replaces a file as Nomad renders a template.
func render(t *testing.T, path, content string) {
	t.Helper()
	must.NoError(t, atomicfile.Write(path, []byte(content), 0o644))
}

func TestLive_GuestReadsARenderedFile(t *testing.T) {
	p := newTestPlugin(t)
	task := p.files(t, TaskConfig{}, "read /local/conf", "reload /local/conf", "await /secrets/token second", "exit 4")
	conf, token := filepath.Join(task.TaskDir().LocalDir, "conf"), filepath.Join(task.TaskDir().SecretsDir, "token")
	render(t, conf, "first")
	render(t, token, "first")
	_, _, err := p.StartTask(task)
	must.NoError(t, err)
	waitForLine(t, task, "read /local/conf: first")
	waitForLine(t, task, "reload /local/conf: waiting")
	render(t, conf, "second")
	must.NoError(t, p.SignalTask(task.ID, "SIGHUP"))
	waitForLine(t, task, "read /local/conf: second")
	render(t, token, "second")
	must.Eq(t, 4, p.wait(t, task).ExitCode, must.Sprint(console(task)))
}

func TestLive_GuestWritesReachTheHost(t *testing.T) {
	p := newTestPlugin(t)
	task := p.files(t, TaskConfig{},
		"write /alloc/data/result computed", "mkdir /alloc/data/deep", "write /local/new x", "rename /local/new /local/renamed",
		"symlink /etc/hostname /alloc/data/link", "read /alloc/data/link", "say end")
	task.User = "1000:100"
	out := p.finish(t, task)
	must.StrContains(t, out, "read /alloc/data/link: "+defaultHostname(task)) // the guest's file, not the host's

	data := filepath.Join(task.TaskDir().SharedAllocDir, "data")
	content, err := os.ReadFile(filepath.Join(data, "result"))
	must.NoError(t, err)
	must.Eq(t, "computed", string(content))
	must.FileExists(t, filepath.Join(task.TaskDir().LocalDir, "renamed"))
	for name, mode := range map[string]fs.FileMode{"result": 0o640, "deep": fs.ModeDir | 0o750, "link": fs.ModeSymlink | 0o777} {
		info, err := os.Lstat(filepath.Join(data, name))
		must.NoError(t, err)
		must.Eq(t, mode, info.Mode(), must.Sprint(name))
		stat, ok := info.Sys().(*syscall.Stat_t)
		must.True(t, ok)
		must.Eq(t, []uint32{1000, 100}, []uint32{stat.Uid, stat.Gid}, must.Sprint(name))
	}
	target, err := os.Readlink(filepath.Join(data, "link"))
	must.NoError(t, err)
	must.Eq(t, "/etc/hostname", target)
}

func TestLive_HidesTheFilesOfTheGuest(t *testing.T) {
	p := newTestPlugin(t)
	task := p.files(t, TaskConfig{}, "list /local", "list /alloc", "read /local/kernel", "list /alloc/logs",
		"write /alloc/logs/x y", "symlink /etc/passwd /alloc/logs/l", "rename /alloc/logs /alloc/old", "say end")
	must.NoError(t, os.MkdirAll(task.TaskDir().LogDir, 0o777))
	render(t, filepath.Join(task.TaskDir().LocalDir, "conf"), "x")
	out := p.finish(t, task)
	must.StrContains(t, out, "list /local: conf\n")
	must.StrContains(t, out, "list /alloc: data logs tmp\n")
	must.StrContains(t, out, "read /local/kernel: No such file or directory\n")
	must.StrContains(t, out, "list /alloc/logs: web.stderr.0 web.stdout.0\n")
	must.StrContains(t, out, "write /alloc/logs/x: Read-only file system\n")
	must.StrContains(t, out, "symlink /alloc/logs/l: Read-only file system\n")
	must.StrContains(t, out, "rename /alloc/logs: Resource busy\n")
}

// Secrets are on no disk, not even after the guest has read them.
func TestLive_SecretsStayOffTheDisk(t *testing.T) {
	p := newTestPlugin(t)
	task := p.files(t, TaskConfig{}, "read /secrets/token", "say end")
	const secret = "a-secret-of-thirty-two-characters"
	render(t, filepath.Join(task.TaskDir().SecretsDir, "token"), secret)
	handle, _, err := p.StartTask(task)
	must.NoError(t, err)
	must.True(t, p.wait(t, task).Successful(), must.Sprint(console(task)))
	waitForLine(t, task, "read /secrets/token: "+secret)
	image, err := os.ReadFile(filepath.Join(stateOf(t, handle).Dir, diskFile))
	must.NoError(t, err)
	must.False(t, bytes.Contains(image, []byte(secret)))
}

func TestLive_TasksShareVolumes(t *testing.T) {
	p := newTestPlugin(t)
	data, config := t.TempDir(), t.TempDir()
	must.NoError(t, os.Chmod(data, 0o777))
	render(t, filepath.Join(config, "conf"), "the operator's")
	mounts := []*drivers.MountConfig{
		{TaskPath: "/srv/deep/data", HostPath: data, PropagationMode: "private"},
		{TaskPath: "/etc/conf.d", HostPath: config, Readonly: true, PropagationMode: "host-to-task"},
	}
	writer := p.files(t, TaskConfig{},
		"read /etc/conf.d/conf", "write /etc/conf.d/conf x", "remove /etc/conf.d/conf", "mkdir /etc/conf.d/x", "chmod /etc/conf.d/conf 777",
		"write /srv/deep/data/a from-the-first", "await /srv/deep/data/b from-the-second", "say end")
	reader := p.files(t, TaskConfig{}, "await /srv/deep/data/a from-the-first", "write /srv/deep/data/b from-the-second", "say end")
	writer.Mounts, reader.Mounts = mounts, mounts[:1]
	for _, task := range []*drivers.TaskConfig{writer, reader} {
		_, _, err := p.StartTask(task)
		must.NoError(t, err)
	}
	for _, task := range []*drivers.TaskConfig{writer, reader} {
		must.True(t, p.wait(t, task).Successful(), must.Sprint(console(task)))
		waitForLine(t, task, "end")
	}
	out := console(writer)
	must.StrContains(t, out, "read /etc/conf.d/conf: the operator's\n")
	for _, line := range []string{"write /etc/conf.d/conf", "remove /etc/conf.d/conf", "mkdir /etc/conf.d/x", "chmod /etc/conf.d/conf"} {
		must.StrContains(t, out, line+": Read-only file system\n")
	}
}

func TestLive_MountBlocksReachTheGuest(t *testing.T) {
	config := Config{StateDir: t.TempDir(), ImagePaths: []string{guestDir(t)}, Volumes: Volumes{Enabled: true, Paths: []string{t.TempDir()}}}
	p := newTestPluginWith(t, config)
	shared := config.Volumes.Paths[0]
	render(t, filepath.Join(shared, "page"), "shared")
	task := p.files(t, TaskConfig{Mounts: []MountConfig{
		{Type: "bind", Source: "local/app.conf", Target: "/etc/app/app.conf", ReadOnly: true},
		{Type: "bind", Source: "alloc/data", Target: "/srv/data"},
		{Type: "bind", Source: shared, Target: "/srv/data/shared"},
		{Type: "tmpfs", Target: "/cache", Tmpfs: &TmpfsOptions{Size: 1 << 20, Mode: 0o700}},
	}},
		"read /etc/app/app.conf", "write /etc/app/app.conf x", "list /etc/app", "write /srv/data/x y", "read /srv/data/shared/page",
		"stat /cache", "write /cache/x y", "say end")
	render(t, filepath.Join(task.TaskDir().LocalDir, "app.conf"), "one=1")
	out := p.finish(t, task)
	for _, line := range []string{
		"read /etc/app/app.conf: one=1", "write /etc/app/app.conf: Read-only file system", "list /etc/app: app.conf",
		"write /srv/data/x: done", "read /srv/data/shared/page: shared",
		"stat /cache: mode 40700 uid 0 gid 0", "write /cache/x: done",
	} {
		must.StrContains(t, out, line)
	}
	must.FileExists(t, filepath.Join(task.TaskDir().SharedAllocDir, "data", "x"))
}

// A mount that appears on the host later is visible with the propagation mode host-to-task.
func TestLive_FollowsMountsOfTheHost(t *testing.T) {
	p := newTestPlugin(t)
	volume := t.TempDir()
	// Its mounts reach the server's namespace only if it is a shared mount.
	must.NoError(t, unix.Mount(volume, volume, "", unix.MS_BIND, ""))
	t.Cleanup(func() { must.NoError(t, unix.Unmount(volume, unix.MNT_DETACH)) })
	must.NoError(t, unix.Mount("", volume, "", unix.MS_SHARED, ""))
	must.NoError(t, os.Mkdir(filepath.Join(volume, "later"), 0o755))
	task := p.files(t, TaskConfig{}, "say started", "await /follow/later/file mounted", "list /private/later", "say end")
	task.Mounts = []*drivers.MountConfig{
		{TaskPath: "/follow", HostPath: volume, PropagationMode: "host-to-task"},
		{TaskPath: "/private", HostPath: volume, PropagationMode: "private"},
	}
	_, _, err := p.StartTask(task)
	must.NoError(t, err)
	waitForLine(t, task, "started")
	later := filepath.Join(volume, "later")
	must.NoError(t, unix.Mount("later", later, "tmpfs", 0, ""))
	t.Cleanup(func() { must.NoError(t, unix.Unmount(later, unix.MNT_DETACH)) })
	render(t, filepath.Join(later, "file"), "mounted")
	must.True(t, p.wait(t, task).Successful(), must.Sprint(console(task)))
	waitForLine(t, task, "end")
	must.StrContains(t, console(task), "list /private/later:\n")
}

func TestLive_SurvivesAPluginRestart(t *testing.T) {
	first := newTestPlugin(t)
	task := first.files(t, TaskConfig{}, "say started", "await /local/conf second", "write /alloc/data/x done", "say end")
	handle, _, err := first.StartTask(task)
	must.NoError(t, err)
	waitForLine(t, task, "started")
	second := first.restart(t)
	must.NoError(t, second.RecoverTask(handle))
	render(t, filepath.Join(task.TaskDir().LocalDir, "conf"), "second")
	must.True(t, second.wait(t, task).Successful(), must.Sprint(console(task)))
	must.FileExists(t, filepath.Join(task.TaskDir().SharedAllocDir, "data", "x"))
	must.NoError(t, second.DestroyTask(task.ID, false))
	noTrace(t, handle)
}

// A guest of root that is hostile cannot leave the directories: the server resolves no link.
func TestLive_LinksOfTheGuestStayInTheGuest(t *testing.T) {
	p := newTestPlugin(t)
	volume, outside := t.TempDir(), t.TempDir()
	render(t, filepath.Join(outside, "secret"), "the host's")
	for name, target := range map[string]string{"absolute": outside, "relative": "../" + filepath.Base(outside), "proc": "/proc/self/root" + outside} {
		must.NoError(t, os.Symlink(target, filepath.Join(volume, name)))
	}
	task := p.files(t, TaskConfig{},
		"read /volume/absolute/secret", "read /volume/relative/secret", "read /volume/proc/secret", "read /volume/../"+filepath.Base(outside)+"/secret",
		"write /volume/absolute x", "say end")
	task.Mounts = []*drivers.MountConfig{{TaskPath: "/volume", HostPath: volume}}
	out := p.finish(t, task)
	must.StrNotContains(t, out, "the host's")
	content, err := os.ReadFile(filepath.Join(outside, "secret"))
	must.NoError(t, err)
	must.Eq(t, "the host's", string(content))
}

// The guest ends with a reason if it cannot create a mount point.
func TestLive_ReportsAMountPointThatCannotBeMade(t *testing.T) {
	p := newTestPlugin(t)
	volume := t.TempDir()
	task := p.files(t, TaskConfig{Mounts: []MountConfig{{Type: "tmpfs", Target: "/data/missing"}}}, "say end")
	task.Mounts = []*drivers.MountConfig{{TaskPath: "/data", HostPath: volume, Readonly: true}}
	_, _, err := p.StartTask(task)
	must.NoError(t, err)
	result := p.wait(t, task)
	must.False(t, result.Successful())
	waitFor(t, "the reason", func() bool { return strings.Contains(errorsOf(task), "/data/missing") })
}

func TestLive_LegacyGuestsKeepTheCopies(t *testing.T) {
	p := newTestPlugin(t)
	task := p.files(t, TaskConfig{}, "read /local/conf", "write /local/new x", "list /alloc", "say end")
	withoutFeatures(t, task)
	render(t, filepath.Join(task.TaskDir().LocalDir, "conf"), "first")
	out := p.finish(t, task)
	must.StrContains(t, out, "read /local/conf: first\n")
	must.StrContains(t, out, "write /local/new: done\n")
	must.StrContains(t, out, "list /alloc: data tmp\n")
	must.FileNotExists(t, filepath.Join(task.TaskDir().LocalDir, "new"))
}

// The server acts as the task's user, whose numbers are those of the host.
func TestLive_UserHasTheRightsOfTheHostsUser(t *testing.T) {
	p := newTestPlugin(t)
	task := p.files(t, TaskConfig{},
		"read /volume/mine", "read /volume/private", "write /volume/private x", "chmod /volume/private 666", "chown /volume/mine 0",
		"write /volume/new x", "remove /volume/mine", "say end")
	task.User = "1000:100"
	volume := t.TempDir()
	must.NoError(t, os.Chmod(volume, 0o755))
	for name, uid := range map[string]int{"mine": 1000, "private": 0} {
		path := filepath.Join(volume, name)
		must.NoError(t, os.WriteFile(path, []byte(name), 0o600))
		must.NoError(t, os.Chown(path, uid, uid))
	}
	task.Mounts = []*drivers.MountConfig{{TaskPath: "/volume", HostPath: volume}}
	out := p.finish(t, task)
	for _, line := range []string{
		"read /volume/mine: mine", "read /volume/private: Permission denied", "write /volume/private: Permission denied",
		"chmod /volume/private: Operation not permitted", "chown /volume/mine: Operation not permitted",
		"write /volume/new: Permission denied", "remove /volume/mine: Permission denied",
	} {
		must.StrContains(t, out, line+"\n")
	}
}

// A guest of root has the rights of root in its directories.
func TestLive_RootChangesFilesOfOthers(t *testing.T) {
	p := newTestPlugin(t)
	task := p.files(t, TaskConfig{}, "read /volume/private", "chown /volume/private 1001", "chmod /volume/private 640", "stat /volume/private", "say end")
	volume := t.TempDir()
	path := filepath.Join(volume, "private")
	must.NoError(t, os.WriteFile(path, []byte("private"), 0o600))
	must.NoError(t, os.Chown(path, 1000, 1000))
	task.Mounts = []*drivers.MountConfig{{TaskPath: "/volume", HostPath: volume}}
	out := p.finish(t, task)
	must.StrContains(t, out, "read /volume/private: private\n")
	must.StrContains(t, out, "stat /volume/private: mode 100640 uid 1001 gid 1001 size 7\n")
	info, err := os.Stat(path)
	must.NoError(t, err)
	must.Eq(t, 0o640, info.Mode())
}

// runs reports whether a process runs a program. It does not if the process has ended.
func runs(pid int, program string) bool {
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	name, _, _ := strings.Cut(string(line), "\x00")
	return name == program
}

// childOf returns the process of a program that a process has started.
func childOf(t *testing.T, parent int, program string) int {
	t.Helper()
	found := 0
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", parent))
	must.NoError(t, err)
	for _, path := range tasks {
		children, _ := os.ReadFile(path) // the thread may have ended
		for _, text := range strings.Fields(string(children)) {
			pid, err := strconv.Atoi(text)
			must.NoError(t, err)
			if runs(pid, program) {
				found = pid
			}
		}
	}
	must.Positive(t, found, must.Sprintf("process %d has no child %s", parent, program))
	return found
}

func TestLive_GuestOutlivesItsFileServer(t *testing.T) {
	p := newTestPlugin(t)
	events, err := p.TaskEvents(t.Context())
	must.NoError(t, err)
	task := p.files(t, TaskConfig{}, "hold /local/conf", "read /local/conf", "write /alloc/data/x y", "read /etc/hostname", "exit 4")
	render(t, filepath.Join(task.TaskDir().LocalDir, "conf"), "first")
	handle, _, err := p.StartTask(task)
	must.NoError(t, err)
	stats, err := p.TaskStats(t.Context(), task.ID, 100*time.Millisecond)
	must.NoError(t, err)
	go func() {
		for range stats { // the agent reads them
		}
	}()
	waitForLine(t, task, "hold /local/conf: open")
	must.NoError(t, syscall.Kill(childOf(t, stateOf(t, handle).Executor.Pid, files.Program), syscall.SIGKILL))
	must.Eq(t, 4, p.wait(t, task).ExitCode, must.Sprint(console(task)))
	for _, line := range []string{
		"hold /local/conf: I/O error", "read /local/conf: I/O error", "write /alloc/data/x: I/O error", "read /etc/hostname: " + defaultHostname(task),
	} {
		waitForLine(t, task, line)
	}
	for event := range events {
		if strings.Contains(event.Message, "live directories") {
			break
		}
	}
	must.NoError(t, p.DestroyTask(task.ID, false))
	noTrace(t, handle)
}

// The server of a task that ends goes with it, also when the executor is killed.
func TestLive_ServerEndsWithTheGuest(t *testing.T) {
	for name, victim := range map[string]func(taskState) int{
		"guest":    func(s taskState) int { return s.Guest.Pid },
		"executor": func(s taskState) int { return s.Executor.Pid },
	} {
		t.Run(name, func(t *testing.T) {
			p := newTestPlugin(t)
			task := p.files(t, TaskConfig{}, "say started", "hold /etc/hostname")
			handle, _, err := p.StartTask(task)
			must.NoError(t, err)
			waitForLine(t, task, "started")
			server := childOf(t, stateOf(t, handle).Executor.Pid, files.Program)
			must.NoError(t, syscall.Kill(victim(stateOf(t, handle)), syscall.SIGKILL))
			waitFor(t, "the end of the file server", func() bool { return !runs(server, files.Program) })
			p.wait(t, task)
			must.NoError(t, p.DestroyTask(task.ID, false))
			noTrace(t, handle)
		})
	}
}
