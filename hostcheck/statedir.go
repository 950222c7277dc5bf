// SPDX-License-Identifier: MPL-2.0

package hostcheck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/bytesize"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/statedir"
)

// A stateDir makes the checks of a state directory, which may be missing.
type stateDir string

// checkOwner reports a directory that other users could change.
func (s stateDir) checkOwner(context.Context) Finding {
	if err := statedir.Check(string(s)); err != nil {
		return failed("", "%v", err) // the error contains the command
	}
	stat, err := os.Stat(string(s))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return info("missing: the driver creates it")
	case err != nil:
		return skipped("%v", err)
	case stat.Mode().Perm()&0o077 != 0:
		return warning("chmod 0700 "+string(s),
			"mode %#o: users other than root can list the tasks; the disks and sockets in it are protected by their own modes", stat.Mode().Perm())
	}
	return ok("mode %#o, and no user other than root can change a directory of its path", stat.Mode().Perm())
}

// checkMount reports mount options that keep tasks from running.
func (s stateDir) checkMount(context.Context) Finding {
	path, _, err := statedir.Statfs(string(s))
	if err != nil {
		return skipped("%v", err)
	}
	m, err := findMount(path)
	if err != nil {
		return skipped("%v", err)
	}
	if err := statedir.CheckMount(string(s)); err != nil {
		return failed("mount -o remount,rw,exec "+m.point, "%v", err)
	}
	var harmless string
	for _, option := range []string{"nosuid", "nodev"} {
		if slices.Contains(m.options, option) {
			harmless += ", " + option + " (no effect on tasks)"
		}
	}
	return ok("%s is mounted with rw, exec%s", m.point, harmless)
}

// Types of file systems that are not suitable for the state directory.
var (
	volatileTypes = []string{"tmpfs", "ramfs", "overlay"}
	networkTypes  = []string{"nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "virtiofs"}
)

// checkFileSystem reports the type of the file system, and whether it copies files by
// reflink.
func (s stateDir) checkFileSystem(context.Context) Finding {
	path, _, err := statedir.Statfs(string(s))
	if err != nil {
		return skipped("%v", err)
	}
	m, err := findMount(path)
	if err != nil {
		return skipped("%v", err)
	}
	text := fmt.Sprintf("%s on %s", m.fsType, m.source)
	switch {
	case slices.Contains(volatileTypes, m.fsType):
		return warning("", "%s: running tasks are not recovered after the loss of its content, and cached images are fetched again", text)
	case slices.Contains(networkTypes, m.fsType) || strings.HasPrefix(m.fsType, "fuse"):
		return warning("", "%s: use a local file system, because sockets and locks are needed", text)
	}
	switch supported, err := hasReflink(path); {
	case err != nil:
		return info("%s; reflink not tried: %v", text, err)
	case supported:
		return ok("%s, with reflink: a root disk is copied at once, and shares its blocks with the cached image", text)
	}
	return info("%s, without reflink: each start copies the used bytes of the root disk (XFS and Btrfs share them)", text)
}

// hasReflink clones a block between two files without a name in a directory.
func hasReflink(dir string) (bool, error) {
	from, err := os.OpenFile(dir, os.O_RDWR|unix.O_TMPFILE, 0o600)
	if err != nil {
		return false, err
	}
	defer from.Close()
	to, err := os.OpenFile(dir, os.O_RDWR|unix.O_TMPFILE, 0o600)
	if err != nil {
		return false, err
	}
	defer to.Close()
	const block = 64 << 10 // a multiple of each file system's block
	if _, err := from.Write(make([]byte, block)); err != nil {
		return false, err
	}
	return unix.IoctlFileClone(int(to.Fd()), int(from.Fd())) == nil, nil
}

func (s stateDir) checkSpace(context.Context) Finding {
	path, stat, err := statedir.Statfs(string(s))
	if err != nil {
		return skipped("%v", err)
	}
	if err := statedir.CheckSpace(string(s)); err != nil {
		return failed("lkl image gc --all --state-dir "+string(s)+" && du -xh --max-depth=2 "+path+" | sort -h", "%v", err)
	}
	text := fmt.Sprintf("%s of %s are free", bytesize.Format(int64(stat.Bavail)*stat.Bsize), bytesize.Format(int64(stat.Blocks)*stat.Bsize))
	if stat.Files > 0 {
		text += fmt.Sprintf(", %d of %d inodes", stat.Ffree, stat.Files)
	}
	return ok("%s", text)
}

// incompleteAge is more than the age at which the driver removes incomplete directories.
const incompleteAge = 10 * time.Minute

// checkTasks counts the tasks, and those that nothing will remove without the driver.
func (s stateDir) checkTasks(context.Context) Finding {
	tasks, err := readDir(string(s), "tasks")
	if err != nil {
		return skipped("%v", err)
	}
	incomplete, err := readDir(string(s), "incomplete")
	if err != nil {
		return skipped("%v", err)
	}
	running, left := 0, 0
	for _, t := range tasks {
		dir := filepath.Join(string(s), "tasks", t.Name())
		if id, err := executor.ReadIdentity(dir); err == nil && id.Executor.Alive() {
			running++
		} else if isStray(dir) {
			left++
		}
	}
	for _, d := range incomplete {
		if info, err := d.Info(); err == nil && time.Since(info.ModTime()) > incompleteAge {
			left++
		}
	}
	text := fmt.Sprintf("%d running, %d ended", running, len(tasks)-running)
	if left > 0 {
		return warning("", "%s, %d of allocs that are gone or from starts that were killed: the driver removes them while it runs",
			text, left)
	}
	return ok("%s", text)
}

// isStray reports whether the alloc of a task is gone. The driver's record names its
// directory.
func isStray(dir string) bool {
	content, err := os.ReadFile(filepath.Join(dir, "task.json"))
	var record struct {
		AllocDir string `json:"AllocDir"`
	}
	if err != nil || json.Unmarshal(content, &record) != nil || record.AllocDir == "" {
		return true
	}
	_, err = os.Stat(record.AllocDir)
	return errors.Is(err, fs.ErrNotExist)
}

// checkCache reports the size of the image cache.
func (s stateDir) checkCache(ctx context.Context) Finding {
	images, err := readDir(string(s), "images/images")
	if err != nil {
		return skipped("%v", err)
	}
	if len(images) == 0 {
		return info("empty")
	}
	used, err := diskUsage(ctx, filepath.Join(string(s), "images"))
	if err != nil {
		return skipped("%v", err)
	}
	text := fmt.Sprintf("1 image uses %s; lkl image list names it", bytesize.Format(used))
	if n := len(images); n > 1 {
		text = fmt.Sprintf("%d images use %s; lkl image list names them", n, bytesize.Format(used))
	}
	return info("%s", text)
}

// readDir lists a directory below the state directory, which may be missing.
func readDir(elem ...string) ([]os.DirEntry, error) {
	entries, err := os.ReadDir(filepath.Join(elem...))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return entries, err
}

// diskUsage returns the allocated bytes of the files below a directory. It counts a file
// with several names once.
func diskUsage(ctx context.Context, dir string) (total int64, err error) {
	seen := map[uint64]bool{}
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		var stat unix.Stat_t
		if err := unix.Lstat(path, &stat); err == nil && !seen[stat.Ino] {
			seen[stat.Ino] = true
			total += stat.Blocks * 512 // the unit of st_blocks
		}
		return nil
	})
	return total, err
}
