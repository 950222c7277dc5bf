// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/safeopen"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

// hasLiveFiles reports whether the guest mounts the task's directories. Other LKL guests get
// copies of local/, secrets/ and alloc/ on their root disk.
func (k kernelInfo) hasLiveFiles() bool { return k.supports(unikernel.LiveFeatures) }

// checkMounts reports the mounts of a job that the guest does not support.
func (k kernelInfo) checkMounts(list *problems.List, j job) {
	if k.hasLiveFiles() {
		return
	}
	needs := fmt.Sprintf("needs a guest with the features %s, which this kernel lacks: link it again with the current lkl-cc (%s)",
		unikernel.LiveFeatures, inspectHint)
	if k.flavor != unikernel.FlavorLKL {
		needs = "is only supported by guests of flavor lkl"
	}
	for _, m := range j.task.Mounts {
		if j.config.hasDiskIn(j.task, m) {
			continue // the guest has only the disk of the volume
		}
		list.Addf("volume_mount", "%s %s; or use the volume for a disk: name an image in it, such as %q, as source of a block disk",
			m.TaskPath, needs, path.Join(m.TaskPath, "disk.img"))
	}
	for i := range j.config.Mounts {
		list.Addf(fmt.Sprintf("mount[%d]", i), "%s", needs)
	}
}

// A guestMount is a file system of the guest that is not on a disk: a share, or memory.
type guestMount struct {
	target       string
	share        *os.File // O_PATH descriptor of a file or directory of the host; nil for memory
	readOnly     bool
	follow       bool          // of a share: files.Share.Follow
	hidden       []files.Inode // of a share: files.Share.Hidden
	readOnlyDirs []string      // of a share: files.Share.ReadOnlyDirs
	options      []string      // of memory
}

// liveFiles are the mounts of a guest, and what their file server needs. It is nil for a guest
// that has none.
type liveFiles struct {
	mounts []guestMount
	server *os.File // the program of the file server
}

// Close closes the files. The executor has its own descriptors. Close does nothing for nil.
func (l *liveFiles) Close() {
	if l == nil {
		return
	}
	for _, m := range l.mounts {
		if m.share != nil {
			_ = m.share.Close() // O_PATH: nothing was written
		}
	}
	if l.server != nil {
		_ = l.server.Close() // it was only read
	}
}

// openLiveFiles opens everything that a guest mounts, except for its disks.
func (d *Driver) openLiveFiles(j job, k *kernel) (*liveFiles, error) {
	if !k.hasLiveFiles() {
		return nil, nil
	}
	live := &liveFiles{}
	if err := live.open(j, d.runningFiles(j, k), &d.config.Volumes); err != nil {
		live.Close()
		return nil, err
	}
	var err error
	if live.server, err = d.openFileServer(); err != nil {
		live.Close()
		return nil, retryable(err)
	}
	return live, nil
}

// open opens the shares. The task's directories do not contain the hidden files.
func (l *liveFiles) open(j job, hidden []files.Inode, volumes *Volumes) error {
	if err := l.openTaskDirs(j.task, hidden); err != nil {
		return err
	}
	for _, m := range j.task.Mounts {
		if j.config.isDisk(j.task, m) {
			continue // a block device, which the guest mounts itself
		}
		mount, err := openVolume(m)
		if err != nil {
			return err
		}
		l.mounts = append(l.mounts, mount)
	}
	list := &problems.List{}
	for i, m := range j.config.Mounts {
		mount, err := openMount(m, volumes, j.task)
		if err != nil {
			list.Addf(fmt.Sprintf("mount[%d].source", i), "%w", err)
			continue
		}
		l.mounts = append(l.mounts, mount)
	}
	return list.Err()
}

// openTaskDirs opens the task's directories. Other tasks of the alloc can replace files in
// them, but not the directories themselves.
func (l *liveFiles) openTaskDirs(task *drivers.TaskConfig, hidden []files.Inode) error {
	root, err := safeopen.Locate(task.AllocDir, 0)
	if err != nil {
		return err
	}
	defer root.Close()
	dir := task.TaskDir()
	for _, m := range []struct{ target, path string }{
		{"/alloc", dir.SharedAllocDir}, {"/local", dir.LocalDir}, {"/secrets", dir.SecretsDir},
	} {
		rel, err := filepath.Rel(task.AllocDir, m.path)
		if err != nil {
			return err
		}
		f, err := safeopen.LocateBelow(root, rel, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue // only in tests: Nomad creates all of them
		}
		if err == nil {
			err = safeopen.Directory.Check(f)
		}
		if err != nil {
			f.Close()
			return fmt.Errorf("open %s: %w", m.path, withoutPath(err))
		}
		mount := guestMount{target: m.target, share: f, hidden: hidden}
		if m.target == "/alloc" {
			mount.readOnlyDirs = []string{logsDir}
		}
		l.mounts = append(l.mounts, mount)
	}
	return nil
}

// taskMountPoints are the mount points of the task's directories. A guest that mounts its root
// read-only cannot create them.
var taskMountPoints = []string{"/alloc", "/local", "/secrets"}

// directories returns empty directories for the root disk.
func directories(paths ...string) []disk.File {
	var dirs []disk.File
	for _, path := range paths {
		dirs = append(dirs, disk.File{Path: path, Mode: fs.ModeDir | 0o755})
	}
	return dirs
}

// logsDir is the name of the directory of the tasks' logs in the alloc's shared directory.
// Processes of Nomad rotate the logs as root and follow symbolic links there, so no guest may
// write to it.
const logsDir = "logs"

// sealLogs keeps the guest from writing to the logs by a bind mount.
func (m *guestMount) sealLogs(task *drivers.TaskConfig) error {
	source, err := m.share.Stat()
	if err != nil {
		return err
	}
	dir := task.TaskDir()
	if shared, err := os.Lstat(dir.SharedAllocDir); err == nil && os.SameFile(source, shared) {
		m.readOnlyDirs = []string{logsDir}
	}
	if logs, err := os.Lstat(dir.LogDir); err == nil && os.SameFile(source, logs) && !m.readOnly {
		return errors.New("only Nomad may write to the directory of the logs: set readonly = true")
	}
	return nil
}

// openMount returns the mount of a block mount.
func openMount(m MountConfig, volumes *Volumes, task *drivers.TaskConfig) (guestMount, error) {
	mount := guestMount{target: filepath.Clean(m.Target), readOnly: m.ReadOnly, follow: m.Bind.follows()}
	if m.Type == mountTmpfs {
		mount.options = append([]string{"noexec"}, m.Tmpfs.options()...)
		return mount, nil
	}
	source, err := volumes.bindSource(task, m.Source)
	if err != nil {
		return mount, err
	}
	if mount.share, err = source.locate(); err != nil || !source.inAlloc {
		return mount, err
	}
	if err = mount.sealLogs(task); err != nil {
		mount.share.Close()
	}
	return mount, err
}

// runningFiles returns the files of the job from which the guest runs. A guest does not see
// them in the task's directories.
func (d *Driver) runningFiles(j job, k *kernel) []files.Inode {
	sources := []*jobFile{k.jobFile, j.image.localFile()}
	if j.image == nil && j.config.Rootfs != "" {
		if root, err := d.openRoot(j); err == nil { // otherwise the start fails at the root disk
			defer root.Close()
			sources = append(sources, root)
		}
	}
	disks := d.diskFiles(j)
	defer closeAll(disks)
	sources = append(sources, disks...)
	var found []files.Inode
	for _, f := range sources {
		if f == nil {
			continue
		}
		if stat, ok := f.info.Sys().(*syscall.Stat_t); ok {
			found = append(found, files.Inode{Dev: stat.Dev, Ino: stat.Ino})
		}
	}
	return found
}

// lkl returns the mounts for the guest's configuration.
func (l *liveFiles) lkl() []lkl.Mount {
	if l == nil {
		return nil
	}
	var mounts []lkl.Mount
	shares := 0
	for _, m := range l.mounts {
		if m.share != nil {
			mounts = append(mounts, lkl.ShareMount(shares, m.target, m.readOnly))
			shares++
			continue
		}
		options := []string{"nosuid", "nodev"}
		if m.readOnly {
			options = append(options, "ro")
		}
		options = append(options, m.options...)
		mounts = append(mounts, lkl.Mount{Device: lkl.TmpFS, Path: m.target, Type: lkl.TmpFS, Options: strings.Join(options, ",")})
	}
	return mounts
}

// plan returns the plan of the file server and the files that the plan refers to by index: those
// in inherited, the server's program and the shares. It returns no plan without a share.
func (l *liveFiles) plan(user owner, inherited []*os.File) (*executor.FilesPlan, []*os.File) {
	if l == nil {
		return nil, inherited
	}
	plan := executor.FilesPlan{
		ProgramFD: len(inherited),
		Server:    files.Plan{Version: files.Version, UID: user.uid, GID: user.gid},
	}
	all := append(inherited, l.server)
	for _, m := range l.mounts {
		if m.share == nil {
			continue
		}
		share := files.Share{FD: len(all), ReadOnly: m.readOnly, Follow: m.follow, Hidden: m.hidden, ReadOnlyDirs: m.readOnlyDirs}
		all = append(all, m.share)
		plan.Server.Shares = append(plan.Server.Shares, share)
	}
	if len(plan.Server.Shares) == 0 {
		return nil, inherited
	}
	return &plan, all
}
